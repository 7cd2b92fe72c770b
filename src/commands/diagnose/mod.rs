//! `kdbg diagnose`: what is the matter with a target, from all that can be known of it at once.
//!
//! The probes run side by side, each within the deadline; what one of them cannot read is a fact, and never fails the
//! others. What they found goes to [`findings::judge`], which alone decides what it means.

mod bundle;
mod code;
mod network;
mod symptom;

use std::{
    fmt::Display,
    future::Future,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::{Args, ValueEnum};
use jiff::Timestamp;
use serde::Serialize;
use tokio::time::{Instant, timeout_at};

use self::{bundle::Report, symptom::Asked};
use super::{
    curl,
    declared::{Ask, Declared},
    diff_src::{Reference, Survey, survey},
    env,
    facts::{self, TargetFacts},
    fetch::is_final,
    files::fetch::facts as files_held,
    subject::Subject,
};
use crate::{
    cli::{
        args::{TargetArgs, duration},
        error::CommandError,
        exit::ExitStatus,
        printer::Printer,
    },
    evidence::{
        environment::Environment,
        findings::{self, Denied, Facts, Unchecked, Variables},
        provenance::Lookup,
        redact::Redactor,
    },
    extract::Destination,
    protocol::Hello,
    render::{
        findings::{JsonVerdict, text},
        safe,
    },
    session::RequestError,
    target::{
        Place, Target,
        pod::replicas::{owner, replicas},
    },
};

/// A log that has not been written for so long may be stalled, as for `kdbg files`.
const STALLED_AFTER: Duration = Duration::from_mins(10);
/// Unreadable paths that are named one by one.
const MOST_PATHS: usize = 5;

/// Arguments of `kdbg diagnose`.
#[derive(Args, Debug)]
pub struct DiagnoseArgs {
    #[command(flatten)]
    target: TargetArgs,
    /// The branch, tag or commit that should be running [default: the repository's default branch]
    #[arg(long = "ref", value_name = "REF")]
    reference: Option<String>,
    /// The repository: a work tree, a bare repository, a `.git` folder or a URL [default: the one around the
    /// current directory, if there is one]
    #[arg(long, value_name = "PATH|URL")]
    repo: Option<String>,
    /// What somebody complains of: a URL that is asked for from where the process stands, as `kdbg curl` does; `:8080/x`
    /// is the process's own listener
    #[arg(long, value_name = "URL")]
    symptom: Option<String>,
    /// Ask the registry of the pod's image what variables it sets
    #[arg(long)]
    registry: bool,
    /// How long to look, once the agent is there; what is not known by then is said to be unknown
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = duration)]
    deadline: Duration,
    /// Keep what was found in this new folder; `kdbg diagnose DIR` shows it again, without a cluster
    #[arg(long, value_name = "DIR")]
    save: Option<PathBuf>,
    /// How to print it
    #[arg(short, long, value_enum, value_name = "FORMAT", default_value_t)]
    output: Format,
    /// Print passwords, tokens and keys as they are
    #[arg(long)]
    show_secrets: bool,
}

/// The formats of a verdict.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people
    #[default]
    Text,
    /// For programs; see `schema` for its version
    Json,
    /// One file that needs nothing else, to attach to an incident
    Html,
}

/// Runs `kdbg diagnose`.
pub async fn run(args: DiagnoseArgs, printer: &mut Printer) -> Result<ExitStatus, CommandError> {
    if let Some(folder) = bundle::folder(args.target.target.as_deref()) {
        return again(&args, &folder, printer);
    }
    args.target.wanted()?;
    let destination = args
        .save
        .as_ref()
        .map(|path| Destination::new(path, false))
        .transpose()?;
    if let Some(url) = &args.symptom {
        curl::check(url)?;
    }
    let (reference, target) = tokio::join!(
        open_reference(&args, printer),
        super::open(&args.target, printer)
    );
    // What is wrong with the command line matters more than what is wrong with the target.
    let (reference, target) = (reference?, target?);
    if let Some(reference) = &reference {
        reference.print_notices(printer);
    }
    let status = Box::pin(look(
        &args,
        reference.as_ref(),
        &target,
        destination.as_ref(),
        printer,
    ))
    .await;
    target.close().await;
    status
}

/// The reference. That none is found where nobody named one is no reason to fail.
async fn open_reference(
    args: &DiagnoseArgs,
    printer: &Printer,
) -> Result<Option<Reference>, CommandError> {
    let progress = printer.progress("opening the repository");
    match Reference::open(args.repo.clone(), args.reference.clone(), &progress).await {
        Ok(reference) => Ok(Some(reference)),
        Err(error) if args.repo.is_none() && args.reference.is_none() => {
            printer.note(&format!(
                "the code is not compared: {error}; `--repo` names a repository"
            ));
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

async fn look(
    args: &DiagnoseArgs,
    reference: Option<&Reference>,
    target: &Target,
    destination: Option<&Destination>,
    printer: &mut Printer,
) -> Result<ExitStatus, CommandError> {
    let progress = printer.progress("looking");
    let limit = Limit::new(args.deadline);
    let symptom = Asked::new(args.symptom.as_deref(), target)?;
    let process_facts = facts::fetch(target).await?;
    let ask = Ask {
        registry: args.registry,
        ..Ask::default()
    };
    // Before anything is tried, or what is tried would be seen.
    let connections = Box::pin(limit.within(super::net::verdict(target)));
    let named = args.target.named();
    let (environment, declared, survey, replicas, connections, files) = tokio::join!(
        env::read(&target.session, target.process()),
        Declared::read(target, ask),
        limit.within(surveyed(target, reference, &process_facts, &progress)),
        limit.within(replicas_of(target)),
        connections,
        limit.within(files_held(target, &named, STALLED_AFTER)),
    );
    let declared = declared?;
    let mut denied = Vec::new();
    let environment = readable_environment(target, environment, &mut denied)?;
    let mut unchecked = Vec::new();
    let survey = survey.and_then(|survey| survey);
    progress.say("reading what the code asks for");
    let sources = code::read(target, survey.as_ref().ok(), &limit, &mut unchecked).await;
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
        code: sources,
        hints: Vec::new(),
        drift: Lookup::Missing,
        origin: Lookup::Missing,
        patched: Lookup::Missing,
        replicas: replicas.unwrap_or_else(Lookup::Unreadable),
        checks: Vec::new(),
        symptom: None,
        files: match files {
            Ok(Ok(files)) => Lookup::Found(files),
            Ok(Err(error)) if is_final(&error) => return Err(error.into()),
            Ok(Err(error)) => Lookup::Unreadable(error.to_string()),
            Err(why) => Lookup::Unreadable(why),
        },
        denied,
        redactor: Redactor::new(args.show_secrets),
    };
    if let Ok(survey) = &survey {
        facts.hints = code::hints(target, survey, &facts, &limit).await;
    }
    add_survey(&mut facts, survey);
    progress.say("trying what the code talks to");
    let mut before = None;
    if let Some(asked) = symptom.as_ref().filter(|asked| asked.is_own()) {
        before = network::sockets(target, &limit).await;
        facts.symptom = Some(asked.ask(target, &limit).await);
    }
    facts.checks = network::checks(target, &facts, &declared, before, &limit).await;
    // Last: a connection of its own would be taken for one of the process.
    if let (Some(asked), None) = (&symptom, &facts.symptom) {
        facts.symptom = Some(asked.ask(target, &limit).await);
    }
    drop(progress);
    if let Lookup::Unreadable(why) = &declared.spec {
        unchecked.push(Unchecked {
            what: "what declares the variables, and what a restart would change".to_owned(),
            why: why.clone(),
        });
    }
    let mut verdict = findings::judge(&facts);
    verdict.unchecked.append(&mut unchecked);
    add_connections(&mut verdict, connections);
    let made_by = format!("kdbg {}, {:.0}", Hello::ours().name(), Timestamp::now());
    let report = Report {
        verdict: JsonVerdict(&verdict),
        target: &args.target.named(),
        made_by: &made_by,
        process: Subject::new(target),
    };
    if let Some(destination) = destination {
        bundle::write(destination, &report)?;
        printer.note(&format!("saved in {}", destination.path().display()));
    }
    print(args.output, &report, printer)?;
    Ok(status(&verdict))
}

/// Adds what is wrong with the connections, or why that is not known.
fn add_connections(
    verdict: &mut findings::Verdict,
    connections: Result<Result<findings::Verdict, RequestError>, String>,
) {
    match connections.map(|known| known.map_err(|error| error.to_string())) {
        Ok(Ok(known)) => verdict.join(known),
        Ok(Err(why)) | Err(why) => verdict.unchecked.push(Unchecked {
            what: "what is wrong with its connections".to_owned(),
            why,
        }),
    }
}

/// Until when to look.
struct Limit {
    until: Instant,
    given: Duration,
}

impl Limit {
    fn new(given: Duration) -> Self {
        Self {
            until: Instant::now() + given,
            given,
        }
    }

    /// What it yields, or that it took too long.
    async fn within<T>(&self, work: impl Future<Output = T>) -> Result<T, String> {
        timeout_at(self.until, work)
            .await
            .map_err(|_| format!("it took longer than {:?}", self.given))
    }
}

async fn surveyed(
    target: &Target,
    reference: Option<&Reference>,
    facts: &TargetFacts,
    progress: &crate::cli::progress::Progress,
) -> Result<Survey, String> {
    survey(target, reference, facts, progress)
        .await
        .map_err(|error| error.to_string())
}

async fn replicas_of(target: &Target) -> Lookup<Vec<findings::Replica>> {
    match &target.place {
        Place::Machine(_) => Lookup::Missing,
        Place::Pod(place) => replicas(&place.cluster, &place.object, &place.container).await,
    }
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

/// Puts what is known of the code to the facts.
fn add_survey(facts: &mut Facts<'_>, survey: Result<Survey, String>) {
    let survey = match survey {
        Ok(survey) => survey,
        Err(why) => {
            facts.drift = Lookup::Unreadable(why.clone());
            facts.denied.push(denied("the running code", why));
            return;
        }
    };
    for (path, failure) in survey.unreadable.iter().take(MOST_PATHS) {
        facts.denied.push(denied(safe(path), failure));
    }
    match survey.changes {
        Lookup::Found(changes) => {
            for (path, why) in changes.unshown.iter().take(MOST_PATHS) {
                facts.denied.push(denied(safe(path), why));
            }
            facts.drift = Lookup::Found(changes.drift);
            facts.origin = changes.origin;
            facts.patched = Lookup::Found(changes.patched);
        }
        Lookup::Missing => {
            facts.drift = Lookup::Unreadable("no repository was named".to_owned());
        }
        Lookup::Unreadable(why) => facts.drift = Lookup::Unreadable(why),
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

/// Prints what was found, or was saved.
fn print<P: Serialize>(
    format: Format,
    report: &Report<'_, P>,
    printer: &mut Printer,
) -> Result<(), CommandError> {
    let JsonVerdict(verdict) = report.verdict;
    let page = match format {
        Format::Text => text(verdict),
        Format::Json => return printer.json(report),
        Format::Html => bundle::html(verdict, report.target, report.made_by)?,
    };
    printer
        .data()
        .write_all(page.as_bytes())
        .map_err(CommandError::output)
}

fn status(verdict: &findings::Verdict) -> ExitStatus {
    ExitStatus::of_comparison(verdict.is_found(), verdict.is_complete())
}

/// Shows a bundle again. Nothing is looked at, so nothing that says how to look makes sense.
fn again(
    args: &DiagnoseArgs,
    folder: &Path,
    printer: &mut Printer,
) -> Result<ExitStatus, CommandError> {
    let asks = args.reference.is_some() || args.repo.is_some() || args.symptom.is_some();
    if asks || args.save.is_some() {
        return Err(CommandError::usage(format!(
            "`{}` is a saved diagnosis, which is shown as it is",
            folder.display()
        ))
        .hint("leave out all flags but `-o`"));
    }
    let saved = bundle::read(folder)?;
    printer.note(&format!(
        "{} as it was: {}",
        safe(saved.target.as_bytes()),
        safe(saved.made_by.as_bytes())
    ));
    print(args.output, &Report::of_saved(&saved), printer)?;
    Ok(status(&saved.verdict))
}
