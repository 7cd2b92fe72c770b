//! One target looked at: the probes side by side, then what they need of each other, then the verdict.

use std::{fmt::Display, sync::Arc, time::Duration};

use bstr::BString;
use tokio::sync::SetOnce;

use super::{
    DiagnoseArgs, code,
    limit::Limit,
    network,
    raw::{Material, Raw},
    symptom::Asked,
};
use crate::{
    cli::{error::CommandError, progress::Progress},
    commands::{
        ahead::Ahead,
        declared::{Ask, Beside, Declared},
        diff_src::{Changes, Code, Listing, Reference},
        env, facts,
        fetch::is_final,
        files::fetch::facts as files_held,
        net,
    },
    evidence::{
        environment::Environment,
        findings::{self, CodeFile, Denied, Facts, Replica, Unchecked, Variables, Verdict},
        peers::Directory,
        provenance::Lookup,
        redact::Redactor,
    },
    render::safe,
    session::RequestError,
    target::{
        Place, Target,
        pod::{
            Described, directory,
            replicas::{owner, replicas},
        },
    },
};

/// A log that has not been written for so long may be stalled, as for `kdbg files`.
const STALLED_AFTER: Duration = Duration::from_mins(10);
/// Unreadable paths that are named one by one.
const MOST_PATHS: usize = 5;

/// The reference, once it is open; `None` when there is none.
pub(super) type Opening = SetOnce<Option<Arc<Reference>>>;

/// Looks at a target, and collects what a bundle keeps of it where one is wanted. `named` is what it was called.
pub(super) async fn look(
    args: &DiagnoseArgs,
    reference: &Opening,
    target: &Target,
    early: Early,
    named: &str,
    progress: &Progress,
) -> Result<(Verdict, Raw), CommandError> {
    let limit = Limit::new(args.deadline);
    let wants_raw = args.save.is_some();
    let symptom = Asked::new(args.symptom.as_deref(), target)?;
    // Before anything is tried, or what is tried would be seen.
    let before = network::sockets(target, &limit);
    let directory = early.directory.map(Ahead::get);
    let connections = Box::pin(limit.within(net::verdict(target, directory)));
    let (environment, beside, declared, survey, siblings, connections, files, before) = tokio::join!(
        env::read(&target.session, target.process()),
        Beside::read(target),
        early.declared.get(),
        Box::pin(Survey::read(target, reference, &limit, wants_raw, progress)),
        limit.within(early.replicas.get()),
        connections,
        limit.within(files_held(target, named, STALLED_AFTER)),
        before,
    );
    tracing::debug!("the process is looked at");
    let declared = declared??.with(beside);
    let mut denied = Vec::new();
    let environment = readable_environment(target, environment, &mut denied)?;
    let explained = environment
        .as_ref()
        .map(|environment| declared.explain(environment));
    let mut facts = Facts {
        namespace: namespace(target),
        owner: owner_of(target),
        variables: match (&environment, &explained) {
            (Ok(environment), Ok((attribution, restart))) => Lookup::Found(Variables {
                environment,
                attribution,
                declarations: &declared.declarations,
                restart,
                has_spec: declared.spec.found().is_some(),
            }),
            (Err(why), _) => Lookup::Unreadable(why.clone()),
            (_, Err(why)) => Lookup::Unreadable((*why).clone()),
        },
        code: Vec::new(),
        hints: Vec::new(),
        drift: Lookup::Missing,
        origin: Lookup::Missing,
        patched: Lookup::Missing,
        replicas: siblings.unwrap_or_else(|why| Ok(Lookup::Unreadable(why)))?,
        checks: Vec::new(),
        symptom: None,
        files: unless_final(files)?,
        denied,
        redactor: Redactor::new(args.show_secrets),
    };
    let mut unchecked = Vec::new();
    let mut patch = BString::default();
    match survey {
        Ok(survey) => {
            let code;
            (code, patch) = survey.add_to(&mut facts, &mut unchecked);
            facts.hints = code::hints(target, &code, &facts, &limit).await;
            let reference = reference.get().and_then(Option::as_deref);
            let sources = code::at_commit(target, reference, &facts.hints, &limit).await;
            facts.code.extend(sources);
        }
        Err(why) => without_code(why, &mut facts),
    }
    progress.say("trying what the code talks to");
    // Asking the process itself may make it connect to others; what it makes is told by the sockets before.
    let is_own = symptom.as_ref().is_some_and(Asked::is_own);
    let (before, now) = if is_own {
        if let Some(asked) = &symptom {
            facts.symptom = Some(asked.ask(target, &limit).await);
        }
        (before, network::sockets(target, &limit).await)
    } else {
        (None, before)
    };
    let sockets = wants_raw.then(|| now.clone()).flatten();
    facts.checks = network::checks(target, &facts, &declared, before, now, &limit).await;
    // Last: a connection of its own would be taken for one of the process.
    if let (Some(asked), None) = (&symptom, &facts.symptom) {
        facts.symptom = Some(asked.ask(target, &limit).await);
    }
    tracing::debug!("everything is tried");
    unchecked.extend(without_spec(&declared));
    let raw = if wants_raw {
        let material = Material {
            variables: &facts.variables,
            declared: &declared,
            sockets: sockets.as_deref(),
            patch,
        };
        material.files(target, &limit).await
    } else {
        Raw::new()
    };
    let mut verdict = findings::judge(&facts);
    verdict.unchecked.append(&mut unchecked);
    add_connections(&mut verdict, connections);
    Ok((verdict, raw))
}

/// What was read in time, or why not; an error where nothing more can be read.
fn unless_final<T>(
    read: Result<Result<T, RequestError>, String>,
) -> Result<Lookup<T>, CommandError> {
    Ok(match read {
        Ok(Ok(found)) => Lookup::Found(found),
        Ok(Err(error)) if is_final(&error) => return Err(error.into()),
        Ok(Err(error)) => Lookup::Unreadable(error.to_string()),
        Err(why) => Lookup::Unreadable(why),
    })
}

/// Adds what is wrong with the connections, or why that is not known.
fn add_connections(
    verdict: &mut Verdict,
    connections: Result<Result<Verdict, RequestError>, String>,
) {
    match connections.map(|known| known.map_err(|error| error.to_string())) {
        Ok(Ok(known)) => verdict.join(known),
        Ok(Err(why)) | Err(why) => verdict.unchecked.push(Unchecked {
            what: "what is wrong with its connections".to_owned(),
            why,
        }),
    }
}

/// What the cluster is asked before the agent is there.
pub(super) struct Early {
    declared: Ahead<Result<Declared, CommandError>>,
    replicas: Ahead<Lookup<Vec<Replica>>>,
    /// `None` for a process of this machine.
    directory: Option<Ahead<Directory>>,
}

impl Early {
    /// Asks. `None` is a process of this machine, of which a cluster knows nothing.
    pub(super) fn ask(described: Option<Described>, ask: Ask) -> Self {
        let described = described.map(Arc::new);
        let of_replicas = described.clone();
        let directory = described.clone().map(|one| {
            Ahead::ask(move || {
                let one = Arc::clone(&one);
                async move { directory::read(&one.cluster, &one.object).await }
            })
        });
        Self {
            declared: Ahead::ask(move || {
                let one = described.clone();
                async move { Declared::of_cluster(one.as_deref(), ask).await }
            }),
            replicas: Ahead::ask(move || {
                let one = of_replicas.clone();
                async move {
                    match one {
                        Some(one) => replicas(&one.cluster, &one.object, &one.container).await,
                        None => Lookup::Missing,
                    }
                }
            }),
            directory,
        }
    }
}

/// The code of a target: what it is, how it differs, what it reads.
struct Survey {
    code: Code,
    changes: Lookup<Changes>,
    files: Vec<CodeFile>,
    unchecked: Vec<Unchecked>,
}

impl Survey {
    /// Lists the code; then compares it and reads what it asks for, both at once.
    async fn read(
        target: &Target,
        reference: &Opening,
        limit: &Limit,
        wants_patch: bool,
        progress: &Progress,
    ) -> Result<Self, String> {
        let facts = limit.within(facts::fetch(target));
        // What is not open by the deadline is as good as none.
        let (facts, reference) = tokio::join!(facts, limit.within(reference.wait()));
        let facts = facts?.map_err(|error| error.to_string())?;
        let is_late = reference.is_err();
        let reference = reference.ok().and_then(|reference| reference.as_deref());
        let listing = limit
            .within(Listing::read(target, reference, &facts, progress))
            .await;
        let listing = listing?.map_err(|error| error.to_string())?;
        progress.say("comparing the code, and reading what it asks for");
        let code = listing.code.clone();
        let (changes, texts) = tokio::join!(
            limit.within(listing.compare(wants_patch, progress)),
            code::read(target, &code.sources, limit),
        );
        let changes = match changes {
            Ok(Lookup::Missing) if is_late => {
                Lookup::Unreadable("the repository was not open in time".to_owned())
            }
            Ok(changes) => changes,
            Err(why) => Lookup::Unreadable(why),
        };
        let mut unchecked = Vec::new();
        let files = texts.beside(&changes, &mut unchecked);
        Ok(Self {
            code,
            changes,
            files,
            unchecked,
        })
    }

    /// Puts what is known of the code to the facts, and answers what runs, and how that differs as a patch.
    fn add_to(self, facts: &mut Facts<'_>, unchecked: &mut Vec<Unchecked>) -> (Code, BString) {
        facts.code = self.files;
        unchecked.extend(self.unchecked);
        for (path, failure) in self.code.unreadable.iter().take(MOST_PATHS) {
            facts.denied.push(denied(safe(path), failure));
        }
        let mut patch = BString::default();
        match self.changes {
            Lookup::Found(changes) => {
                for (path, why) in changes.unshown.iter().take(MOST_PATHS) {
                    facts.denied.push(denied(safe(path), why));
                }
                facts.drift = Lookup::Found(changes.drift);
                facts.origin = changes.origin;
                facts.patched = Lookup::Found(changes.patched);
                patch = changes.patch;
            }
            Lookup::Missing => {
                facts.drift = Lookup::Unreadable("no repository was named".to_owned());
            }
            Lookup::Unreadable(why) => facts.drift = Lookup::Unreadable(why),
        }
        (self.code, patch)
    }
}

/// What is not known where the pod's spec could not be read.
fn without_spec(declared: &Declared) -> Option<Unchecked> {
    let Lookup::Unreadable(why) = &declared.spec else {
        return None;
    };
    Some(Unchecked {
        what: "what declares the variables, and what a restart would change".to_owned(),
        why: why.clone(),
    })
}

/// Notes that the code could not be listed.
fn without_code(why: String, facts: &mut Facts<'_>) {
    facts.drift = Lookup::Unreadable(why.clone());
    facts.denied.push(denied("the running code", why));
}

/// The environment, or why it could not be read, which is noted. That the process is gone is an error.
fn readable_environment(
    target: &Target,
    environment: Result<Environment, RequestError>,
    denied: &mut Vec<Denied>,
) -> Result<Result<Environment, String>, CommandError> {
    match environment {
        Ok(environment) => {
            if environment.overwritten {
                let process = target.process();
                denied.push(Denied {
                    what: format!("all of the environment of process {}", process.id.pid),
                    why: format!(
                        "{} has overwritten a part of it, to set its title for example",
                        safe(&process.name)
                    ),
                    needs: String::new(),
                });
            }
            Ok(Ok(environment))
        }
        Err(error) if is_final(&error) => Err(error.into()),
        Err(error) => {
            let why = error.to_string();
            let process = target.process();
            let what = format!(
                "the environment of process {} ({})",
                process.id.pid,
                safe(&process.name)
            );
            let needs = CommandError::from(error).all_hints().join("; ");
            denied.push(Denied {
                what,
                why: why.clone(),
                needs,
            });
            Ok(Err(why))
        }
    }
}

fn denied(what: impl Into<String>, why: impl Display) -> Denied {
    Denied {
        what: what.into(),
        why: why.to_string(),
        needs: String::new(),
    }
}

fn namespace(target: &Target) -> String {
    match &target.place {
        Place::Machine(_) => String::new(),
        Place::Pod(place) => place.namespace.clone(),
    }
}

fn owner_of(target: &Target) -> Option<String> {
    match &target.place {
        Place::Machine(_) => None,
        Place::Pod(place) => owner(&place.object),
    }
}
