//! All findings in order, with what was ruled out and what was not checked.

use super::{
    Confidence, Facts, Finding, Id, ProgramHint, Severity, access, env, files, image, network,
    source, symptom,
};
use crate::evidence::{provenance::Lookup, reads::Gap};

/// What is the matter with a container, as far as the facts say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// What explains a failure, best first.
    pub causes: Vec<Finding>,
    /// What is true and is not to blame, as far as anybody can tell.
    pub listed: Vec<Finding>,
    /// What is not the cause.
    pub ruled_out: Vec<RuledOut>,
    /// What nobody could look at, or nobody asked for.
    pub unchecked: Vec<Unchecked>,
}

/// Something that is not the cause.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuledOut {
    /// What.
    pub what: String,
    /// By which fact.
    pub because: String,
}

/// Something that was not checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unchecked {
    /// What.
    pub what: String,
    /// Why not.
    pub why: String,
}

impl Verdict {
    /// Adds what other rules have found, behind what is there.
    pub fn join(&mut self, other: Self) {
        self.causes.extend(other.causes);
        self.listed.extend(other.listed);
        self.ruled_out.extend(other.ruled_out);
        self.unchecked.extend(other.unchecked);
    }

    /// Whether anything was found.
    #[must_use]
    pub fn is_found(&self) -> bool {
        let mut findings = self.causes.iter().chain(&self.listed);
        findings.any(|finding| finding.id != Id::AccessDenied)
    }

    /// Whether everything could be looked at that somebody wanted to look at.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        let mut findings = self.listed.iter();
        !findings.any(|finding| finding.id == Id::AccessDenied)
    }
}

/// Runs the rules and puts their findings in order.
#[must_use]
pub fn judge(facts: &Facts<'_>) -> Verdict {
    let mut verdict = Verdict {
        ruled_out: ruled_out(facts),
        unchecked: unchecked(facts),
        ..Verdict::default()
    };
    let all: Vec<_> = RULES.iter().flat_map(|rule| rule(facts)).collect();
    let is_cause =
        |finding: &Finding| explains(finding) && !symptom::is_beside(facts, finding, &all);
    let blamed: Vec<_> = all.iter().map(is_cause).collect();
    for (finding, is_cause) in all.into_iter().zip(blamed) {
        if is_cause {
            verdict.causes.push(finding);
        } else {
            verdict.listed.push(finding);
        }
    }
    join(facts, &mut verdict);
    symptom::join(facts, &mut verdict.causes);
    let rank = |finding: &Finding| {
        (
            finding.severity,
            finding.confidence,
            !symptom::is_touched_by(facts, finding),
            !is_on_changed_line(facts, finding),
            finding.id,
            finding.about.clone(),
        )
    };
    verdict.causes.sort_by_cached_key(rank);
    verdict.listed.sort_by_cached_key(rank);
    if !verdict
        .causes
        .iter()
        .any(|finding| finding.id == Id::ServiceLinkCollision)
        && let Some(harmless) = harmless_links(facts)
    {
        verdict.ruled_out.push(harmless);
    }
    verdict
}

type Rule = fn(&Facts<'_>) -> Vec<Finding>;

const RULES: [Rule; 12] = [
    env::service_link_collision,
    network::unreachable,
    symptom::reproduced,
    env::read_but_unset,
    env::stale,
    env::shadowed,
    source::not_on_ref,
    source::drift,
    source::patched_after_start,
    image::replicas_differ,
    files::of_container,
    access::denied,
];

/// Whether a finding explains a failure by itself.
fn explains(finding: &Finding) -> bool {
    let is_cause = matches!(
        finding.id,
        Id::ServiceLinkCollision
            | Id::Unreachable
            | Id::ReadButUnset
            | Id::Stale
            | Id::SymptomReproduced
    );
    // A file system to which nobody writes, and a limit that is only near, explain nothing yet.
    let is_shortage = matches!(finding.id, Id::VolumeFull | Id::DescriptorLimitNear)
        && finding.severity == Severity::High;
    (is_cause || is_shortage) && is_grave(finding)
}

/// Whether something is bad and sure enough to be named as a cause.
pub(super) fn is_grave(finding: &Finding) -> bool {
    finding.severity <= Severity::Medium && finding.confidence <= Confidence::Likely
}

/// Puts what the code's origin says beside the cause that stands on a changed line: that is how the fault came in.
fn join(facts: &Facts<'_>, verdict: &mut Verdict) {
    let origin: Vec<_> = verdict
        .listed
        .iter()
        .filter(|finding| finding.id == Id::NotOnRef)
        .flat_map(|finding| finding.facts.clone())
        .collect();
    for cause in &mut verdict.causes {
        if cause.id == Id::ServiceLinkCollision && is_on_changed_line(facts, cause) {
            cause.facts.extend(drift_of(facts, cause));
            cause.facts.extend(origin.clone());
        }
    }
}

/// How the files in which a cause stands differ from the reference.
fn drift_of(facts: &Facts<'_>, cause: &Finding) -> Vec<super::Fact> {
    let Lookup::Found(drift) = &facts.drift else {
        return Vec::new();
    };
    let is_of = |file: &&super::DriftedFile| {
        code_places(cause).any(|(path, _)| file.running.as_ref() == Some(path))
    };
    drift
        .files
        .iter()
        .filter(is_of)
        .map(|file| {
            let text = format!("{} differs: +{} -{}", file.path, file.added, file.deleted);
            super::fact(
                text,
                super::Source::Git(format!(
                    "{} ({})",
                    drift.reference,
                    source::short(&drift.commit)
                )),
            )
        })
        .collect()
}

fn is_on_changed_line(facts: &Facts<'_>, finding: &Finding) -> bool {
    code_places(finding).any(|(path, line)| {
        facts
            .code
            .iter()
            .filter(|file| file.path == *path)
            .filter_map(|file| file.changed_lines.as_ref())
            .any(|lines| lines.contains(&line))
    })
}

fn code_places(finding: &Finding) -> impl Iterator<Item = (&bstr::BString, usize)> {
    finding.facts.iter().filter_map(|fact| match &fact.source {
        super::Source::Code { path, line } => Some((path, *line)),
        _ => None,
    })
}

fn ruled_out(facts: &Facts<'_>) -> Vec<RuledOut> {
    let mut ruled_out: Vec<_> = facts
        .checks
        .iter()
        .filter(|check| check.worked == Lookup::Found(true))
        .map(|check| RuledOut {
            what: format!("the network to {}", check.to),
            because: format!("the pod {}: {}", check.what, check.seen),
        })
        .collect();
    ruled_out.extend(symptom::ruled_out(facts));
    if let Lookup::Found(drift) = &facts.drift
        && drift.files.is_empty()
    {
        ruled_out.push(RuledOut {
            what: "other code than expected".to_owned(),
            because: format!(
                "{} running files are those of {}",
                drift.compared, drift.reference
            ),
        });
    }
    ruled_out
}

/// Links are in every pod. Those that no code reads harm nothing, which is worth saying when there are any.
fn harmless_links(facts: &Facts<'_>) -> Option<RuledOut> {
    let unread = env::unread_links(facts);
    (unread > 0 && !facts.code.is_empty()).then(|| RuledOut {
        what: format!("{unread} variables that link to Services"),
        because: "no code that was read asks for them, or it takes them for what they are"
            .to_owned(),
    })
}

fn unchecked(facts: &Facts<'_>) -> Vec<Unchecked> {
    let mut unchecked = Vec::new();
    let mut add = |what: &str, why: Option<&str>| {
        if let Some(why) = why {
            unchecked.push(Unchecked {
                what: what.to_owned(),
                why: why.to_owned(),
            });
        }
    };
    add("the process's variables", facts.variables.unreadable());
    add("the code against the reference", facts.drift.unreadable());
    add("which commit runs", facts.origin.unreadable());
    add("changes since the start", facts.patched.unreadable());
    add("the other replicas", facts.replicas.unreadable());
    add("what the process holds open", facts.files.unreadable());
    if let Lookup::Found(files) = &facts.files {
        add("the open files", files.held.unreadable());
        add("how full the file systems are", files.stores.unreadable());
        add("the limit of open files", files.descriptors.unreadable());
    }
    for check in &facts.checks {
        add(
            &format!("whether the pod {}", check.what),
            check.worked.unreadable(),
        );
    }
    let is_read = |hint: &&ProgramHint| {
        let reads = facts.code.iter().flat_map(|file| &file.reads.reads);
        !reads
            .filter_map(|read| read.known_name())
            .any(|name| name == hint.name.as_slice())
    };
    for hint in facts.hints.iter().filter(is_read) {
        add(
            &format!(
                "for what {} takes {}, a link's URL, if it reads it",
                hint.path, hint.name
            ),
            Some("hint: the name stands in the program, whose source does not run"),
        );
    }
    if let Some(symptom) = &facts.symptom {
        add(
            &format!("what comes of {}", symptom.request),
            symptom.outcome.unreadable(),
        );
    }
    if let Lookup::Found(variables) = &facts.variables {
        for (why, names) in by_reason(&variables.restart.unknown) {
            add(&format!("what a restart makes of {names}"), Some(why));
        }
        if variables.environment.overwritten {
            add(
                "which variables the process lacks",
                Some("it has overwritten a part of its environment"),
            );
        }
    }
    for file in &facts.code {
        for gap in &file.reads.gaps {
            let why = match gap {
                Gap::TooLarge { .. } => "the file is too large",
                Gap::TimedOut => "it took too long",
                Gap::TooMany => "it has too many",
                Gap::BrokenSyntax => "its syntax is broken in places",
            };
            add(&format!("all that {} reads", file.path), Some(why));
        }
    }
    unchecked
}

/// Variables with one reason in common, on one line.
fn by_reason(unknown: &[(bstr::BString, String)]) -> Vec<(&str, String)> {
    const SHOWN: usize = 3;
    let mut reasons: Vec<(&str, Vec<String>)> = Vec::new();
    for (name, why) in unknown {
        match reasons.iter_mut().find(|(reason, _)| reason == why) {
            Some((_, names)) => names.push(name.to_string()),
            None => reasons.push((why, vec![name.to_string()])),
        }
    }
    reasons
        .into_iter()
        .map(|(why, mut names)| {
            let more = names.len().saturating_sub(SHOWN);
            names.truncate(SHOWN);
            let mut line = names.join(", ");
            if more > 0 {
                line = format!("{line} and {more} more");
            }
            (why, line)
        })
        .collect()
}
