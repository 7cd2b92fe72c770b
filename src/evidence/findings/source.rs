//! Rules about the code that runs.

use bstr::ByteSlice as _;

use super::{Confidence, Facts, Finding, Id, Next, Severity, Source, fact};
use crate::evidence::{provenance::Lookup, reads::Language};

/// More files than this are counted, not named.
const MOST_FILES: usize = 10;

/// The running code is not that of the reference. That alone breaks nothing: it is listed.
pub(super) fn drift(facts: &Facts<'_>) -> Vec<Finding> {
    let Lookup::Found(drift) = &facts.drift else {
        return Vec::new();
    };
    if drift.files.is_empty() {
        return Vec::new();
    }
    let count = drift.files.len();
    let mut known: Vec<_> = drift
        .files
        .iter()
        .take(MOST_FILES)
        .map(|file| {
            let text = format!("{} +{} -{}", file.path, file.added, file.deleted);
            fact(
                text,
                Source::Git(format!("{} ({})", drift.reference, short(&drift.commit))),
            )
        })
        .collect();
    if count > MOST_FILES {
        known.push(fact(
            format!("and {} more", count - MOST_FILES),
            Source::Git(drift.reference.clone()),
        ));
    }
    let files = if count == 1 {
        "1 file".to_owned()
    } else {
        format!("{count} files")
    };
    vec![Finding {
        id: Id::Drift,
        about: drift.reference.as_str().into(),
        severity: Severity::Low,
        confidence: Confidence::Certain,
        cause: format!(
            "the running code differs from {} in {files} of {}",
            drift.reference, drift.compared
        )
        .into(),
        facts: known,
        refuted_by: format!("{} is not what should run", drift.reference),
        next: Vec::new(),
    }]
}

/// The running code is of a commit that the reference does not have.
pub(super) fn not_on_ref(facts: &Facts<'_>) -> Vec<Finding> {
    let Lookup::Found(origin) = &facts.origin else {
        return Vec::new();
    };
    let Some(best) = origin.commits.first() else {
        return Vec::new();
    };
    let is_as_good = |commit: &&super::MatchedCommit| commit.unmatched == best.unmatched;
    if origin
        .commits
        .iter()
        .filter(is_as_good)
        .any(|commit| commit.on_reference)
    {
        return Vec::new();
    }
    let fit = match best.unmatched {
        0 => "has all of the running files".to_owned(),
        1 => "has all of the running files but one".to_owned(),
        files => format!("has all of the running files but {files}"),
    };
    let commit = short(&best.commit);
    vec![Finding {
        id: Id::NotOnRef,
        about: commit.into(),
        severity: Severity::Medium,
        confidence: if best.unmatched == 0 {
            Confidence::Certain
        } else {
            Confidence::Likely
        },
        cause: format!(
            "the running code is of {}, which is not on {}",
            best.reached_from, origin.reference
        )
        .into(),
        facts: vec![
            fact(
                format!("commit {commit} {fit}"),
                Source::Git(best.reached_from.clone()),
            ),
            fact(
                format!("no commit of {} fits as well", origin.reference),
                Source::Git(origin.reference.clone()),
            ),
        ],
        refuted_by: format!(
            "{} was rewritten, or this repository is behind",
            origin.reference
        ),
        next: vec![Next {
            what: "see what it changes".to_owned(),
            command: format!("git log --patch {}..{}", origin.reference, best.commit).into(),
        }],
    }]
}

/// Somebody changed the code in the running container: what the process has loaded may be older.
pub(super) fn patched_after_start(facts: &Facts<'_>) -> Vec<Finding> {
    let Lookup::Found(files) = &facts.patched else {
        return Vec::new();
    };
    // Programs write files: only sources, and what is not in the reference as it is, can have been patched.
    let is_patch = |file: &&super::PatchedFile| {
        Language::of(&file.path, b"").is_some()
            && file.as_reference != Some(true)
            && !file.path.contains_str("__pycache__")
    };
    let patched: Vec<_> = files.iter().filter(is_patch).collect();
    let Some(first) = patched.first() else {
        return Vec::new();
    };
    let known = patched.iter().take(MOST_FILES).map(|file| {
        let differs = match file.as_reference {
            Some(_) => ", and it differs from the reference",
            None => "",
        };
        let text = format!(
            "changed {} s after the process started{differs}",
            file.seconds_after_start
        );
        fact(text, Source::File(file.path.clone()))
    });
    vec![Finding {
        id: Id::PatchedAfterStart,
        about: first.path.clone(),
        severity: Severity::Medium,
        confidence: Confidence::Likely,
        cause: match patched.len() {
            1 => format!("{} was changed in the running container", first.path).into(),
            count => format!(
                "{} and {} other sources were changed in the running container",
                first.path,
                count - 1
            )
            .into(),
        },
        facts: known.collect(),
        refuted_by: "the program writes its own sources, or a volume was filled late".to_owned(),
        next: vec![Next {
            what: "start the pod again to run what its image has".to_owned(),
            command: facts
                .owner
                .as_ref()
                .map(|owner| format!("kubectl -n {} rollout restart {owner}", facts.namespace))
                .unwrap_or_default()
                .into(),
        }],
    }]
}

/// A commit as people write it.
pub(super) fn short(commit: &str) -> &str {
    commit.get(..12).unwrap_or(commit)
}
