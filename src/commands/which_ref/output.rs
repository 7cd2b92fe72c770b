//! What is printed: one line that says it all, what it rests on, and JSON.

use std::fmt::Write as _;

use bstr::BString;
use jiff::Timestamp;
use serde::Serialize;

use super::{
    origin::Checked,
    search::{Described, Found},
    without_slash,
};
use crate::{
    cli::{error::CommandError, exit::ExitStatus, printer::Printer},
    commands::{
        running::NamedFiles,
        subject::{Subject, counted},
    },
    evidence::{
        fit::{FileFit, RunningFile},
        origin::{self, Says},
    },
    git::{Commit, Repository},
    render::{JsonBytes, JsonCow, safe},
    target::Target,
};

/// As many files are named in text; `-o json` has all.
const FILES: usize = 20;
/// As many refs are named in text.
const REFS: usize = 6;

/// What was concluded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(in crate::commands) enum Verdict {
    /// Every file that could be is as a commit has it.
    Fits,
    /// A commit is nearest, and files differ from it.
    Differs,
    /// Several commits with different files are equally near.
    Undecided,
    /// No commit has more than what lies everywhere.
    Nothing,
}

impl Found {
    /// The conclusion.
    pub(in crate::commands) fn verdict(&self) -> Verdict {
        let Some(best) = self.answers.first().filter(|best| best.is_evidence) else {
            return Verdict::Nothing;
        };
        let rival = self.answers.get(1);
        if rival.is_some_and(|rival| rival.is_as_good_as(best)) {
            return Verdict::Undecided;
        }
        if best.tree.distance() > 0 || !best.missing.is_empty() {
            return Verdict::Differs;
        }
        Verdict::Fits
    }

    /// The conclusion in one line; `None` when nothing fits.
    pub(in crate::commands) fn headline(&self) -> Option<String> {
        let best = self.answers.first()?;
        if self.verdict() == Verdict::Nothing {
            return None;
        }
        let verb = match self.verdict() {
            Verdict::Fits => "runs",
            _ => "nearest",
        };
        let mut line = format!("{verb} {}", self.commits(best));
        if best.distance() > 0 {
            let _ = write!(line, ", {}", differ(best.distance()));
        }
        if let (Some((name, _)), false) = (&self.reference, best.range.merged) {
            match &self.on_reference {
                Some(other) => {
                    let _ = write!(
                        line,
                        " · nearest on {name}: {}, {}",
                        range(other),
                        differ(other.distance())
                    );
                }
                None => {
                    let _ = write!(line, " · nothing on {name} fits");
                }
            }
        }
        Some(line)
    }

    /// The commits of an answer with what people know them by: `1a2b3c4..5d6e7f8 (3 commits, v1.2, on main)`.
    fn commits(&self, answer: &Described) -> String {
        let mut about = Vec::new();
        if answer.range.commits > 1 {
            about.push(counted(answer.range.commits as u64, "commit"));
        }
        let known = answer.names.best.as_ref();
        if let Some(name) = known {
            let is_reference = self
                .reference
                .as_ref()
                .is_some_and(|(reference, _)| short(name) == reference);
            if !(is_reference && answer.range.merged) {
                let at = answer.names.at.iter().any(|tip| tip.name == *name);
                about.push(if at {
                    short(name).to_owned()
                } else {
                    format!("in {}", short(name))
                });
            }
        }
        if let Some((name, _)) = &self.reference {
            about.push(if answer.range.merged {
                format!("on {name}")
            } else {
                format!("not on {name}")
            });
        }
        if about.is_empty() {
            return range(answer);
        }
        format!("{} ({})", range(answer), about.join(", "))
    }
}

impl Described {
    /// Files by which what runs and the commit are apart.
    pub(in crate::commands) fn distance(&self) -> usize {
        self.tree.distance() + self.missing.len()
    }
}

fn range(answer: &Described) -> String {
    if answer.oldest.id == answer.newest.id {
        return answer.newest.short_id.clone();
    }
    format!("{}..{}", answer.oldest.short_id, answer.newest.short_id)
}

fn differ(files: usize) -> String {
    match files {
        0 => "no file differs".to_owned(),
        1 => "1 file differs".to_owned(),
        _ => format!("{files} files differ"),
    }
}

/// A ref as people write it.
fn short(name: &str) -> &str {
    ["refs/heads/", "refs/tags/", "refs/remotes/"]
        .iter()
        .find_map(|prefix| name.strip_prefix(prefix))
        .unwrap_or(name)
}

/// All that a run has found.
pub(super) struct Report<'a> {
    pub(super) target: &'a Target,
    pub(super) repository: &'a Repository,
    pub(super) walked: &'a NamedFiles,
    pub(super) found: &'a Found,
    pub(super) checked: &'a [Checked],
    /// Notes that could not be read: path and why.
    pub(super) unread: &'a [(BString, String)],
}

impl<'a> Report<'a> {
    pub(super) fn text(&self, printer: &mut Printer) -> Result<(), CommandError> {
        let mut text = String::new();
        match self.found.headline() {
            Some(line) => {
                let _ = writeln!(text, "{line}");
                self.details(&mut text);
            }
            None => self.nothing(&mut text),
        }
        self.evidence(&mut text);
        printer
            .data()
            .write_all(text.as_bytes())
            .map_err(CommandError::output)?;
        if self.found.verdict() == Verdict::Nothing && !self.is_compiled() {
            self.say_what_to_try(printer);
        }
        Ok(())
    }

    /// What may be wrong with the question when nothing fits.
    fn say_what_to_try(&self, printer: &Printer) {
        const SHOWN: usize = 5;
        let folders = self.walked.roots.iter().take(SHOWN);
        let folders: Vec<String> = folders
            .map(|(_, path)| format!("`{}`", safe(path)))
            .collect();
        printer.note(&format!(
            "kdbg has looked in {}; `--root DIR` names another folder, `--repo` another repository, and pull requests are searched once they are fetched",
            folders.join(", ")
        ));
    }

    fn nothing(&self, text: &mut String) {
        let files = counted(self.found.running.len() as u64, "running file");
        let _ = writeln!(
            text,
            "no commit fits: {files}, {} commits of {} refs searched",
            self.found.fit.searched, self.found.refs.0
        );
        if self.is_compiled() {
            text.push_str(
                "  only compiled code runs, so nothing but what it says of itself tells its commit\n",
            );
        }
        if let Some(weak) = self.found.answers.first() {
            let _ = writeln!(
                text,
                "  only what lies everywhere is equal ({}), which says nothing",
                counted(weak.tree.equal() as u64, "file")
            );
        }
    }

    /// Whether all that runs is what a compiler has made: the program itself, classes and archives of them.
    fn is_compiled(&self) -> bool {
        let program = self.target.process().executable.known();
        let program = program.map(without_slash);
        let is_compiled = |path: &BString| {
            let ends: [&[u8]; 4] = [b".class", b".jar", b".war", b".so"];
            ends.iter().any(|end| path.ends_with(end)) || program.as_ref() == Some(path)
        };
        let running = &self.found.running;
        !running.is_empty() && running.iter().all(|file| is_compiled(&file.path))
    }

    fn details(&self, text: &mut String) {
        let Some(best) = self.found.answers.first() else {
            return;
        };
        let _ = writeln!(text, "  {}", about(&best.newest));
        let comparable = self.found.fit.comparable();
        let _ = write!(
            text,
            "  {} of {comparable} files are equal",
            best.tree.equal()
        );
        let converted = best.converted(&self.found.running);
        if converted > 0 {
            let _ = write!(text, ", {converted} of them but for line endings or `$Id$`");
        }
        let unknown = best.tree.unknown();
        if unknown > 0 {
            let _ = write!(
                text,
                "; {unknown} more run that no commit has at their place"
            );
        }
        text.push('\n');
        for pair in self.found.fit.mappings() {
            let _ = writeln!(
                text,
                "  `/{}` is {}",
                safe(&pair.running),
                folder(&pair.repository)
            );
        }
        if let (Some(apart), Some((name, _))) = (best.apart, &self.found.reference) {
            let _ = writeln!(
                text,
                "  {} ahead of {name}, {} behind",
                counted(apart.ahead as u64, "commit"),
                apart.behind
            );
        }
        self.files(best, text);
        Self::alike(best, text);
        self.rivals(text);
        if let (Some(other), false) = (&self.found.on_reference, best.range.merged) {
            let name = self.found.reference.as_ref().map_or("", |(name, _)| name);
            let _ = writeln!(text, "nearest on {name}: {}", range(other));
            let _ = writeln!(text, "  {}", about(&other.newest));
            self.files(other, text);
        }
    }

    /// The files by which a commit is not what runs.
    fn files(&self, answer: &Described, text: &mut String) {
        let rows = answer
            .dirty(&self.found.running)
            .map(|(file, fit)| match fit {
                FileFit::Absent(_) => format!("A /{}", safe(&file.path)),
                _ => format!("M /{}", safe(&file.path)),
            });
        let missing = answer
            .missing
            .iter()
            .map(|path| format!("D {}", safe(path)));
        let rows: Vec<String> = rows.chain(missing).collect();
        for row in rows.iter().take(FILES) {
            let _ = writeln!(text, "  {row}");
        }
        if rows.len() > FILES {
            let _ = writeln!(text, "  and {} more", rows.len() - FILES);
        }
    }

    /// Commits that hold the same.
    fn alike(best: &Described, text: &mut String) {
        let at: Vec<&str> = best.names.at.iter().map(|tip| short(&tip.name)).collect();
        let different: std::collections::BTreeSet<u32> =
            best.names.at.iter().map(|tip| tip.commit).collect();
        if different.len() > 1 {
            let shown = at.iter().take(REFS).copied().collect::<Vec<_>>().join(", ");
            let more = at.len().saturating_sub(REFS);
            let more = if more > 0 {
                format!(" and {more} more")
            } else {
                String::new()
            };
            let _ = writeln!(text, "  cannot be told apart by what runs: {shown}{more}");
        }
        if best.range.beside > 0 {
            let _ = writeln!(
                text,
                "  {} on other branches have the same files",
                counted(best.range.beside as u64, "more commit")
            );
        }
    }

    /// Answers with other files: equally near, or next.
    fn rivals(&self, text: &mut String) {
        let Some((best, others)) = self.found.answers.split_first() else {
            return;
        };
        let told_below = |other: &Described| {
            let nearest = self.found.on_reference.as_ref();
            !best.range.merged
                && nearest.is_some_and(|nearest| nearest.newest.id == other.newest.id)
        };
        // Those that are as near are needed to see that nothing is decided; of the others, the first.
        let equal = others.iter().filter(|other| other.is_as_good_as(best));
        let next = others.iter().find(|other| !other.is_as_good_as(best));
        let next = next.filter(|next| !told_below(next));
        for other in equal.chain(next).filter(|other| other.is_evidence) {
            let word = if other.is_as_good_as(best) {
                "equally near"
            } else {
                "next"
            };
            let _ = writeln!(
                text,
                "{word}: {}, {}",
                self.found.commits(other),
                differ(other.distance())
            );
            if other.is_as_good_as(best) {
                self.files(other, text);
            }
        }
    }

    /// What the image says of its origin, the strongest first, and what came of checking it.
    fn evidence(&self, text: &mut String) {
        let is_told = |checked: &&Checked| {
            // Packages that are as they were installed are many, and no news.
            let is_plain = matches!(checked.claim.says, Says::Files(_))
                && !matches!(checked.verdict, origin::Verdict::Contradicts { .. });
            !is_plain
        };
        let told: Vec<&Checked> = self.checked.iter().filter(is_told).collect();
        let plain = self.checked.len() - told.len();
        if self.checked.is_empty() {
            return;
        }
        text.push_str("evidence:\n");
        for checked in told {
            let _ = writeln!(
                text,
                "  {} `{}`: {}: {}",
                checked.claim.kind.as_str(),
                safe(&checked.claim.source),
                said(&checked.claim.says),
                outcome(&checked.verdict)
            );
            if let Some(warning) = &checked.warning {
                let _ = writeln!(text, "    {}", crate::render::safe(warning.as_bytes()));
            }
            if let origin::Verdict::Contradicts { files, .. } = &checked.verdict {
                for file in files.iter().take(FILES) {
                    let _ = writeln!(text, "    M {file}");
                }
                if files.len() > FILES {
                    let _ = writeln!(text, "    and {} more", files.len() - FILES);
                }
            }
        }
        if plain > 0 {
            let _ = writeln!(
                text,
                "  {} as installed, or not compared (`-o json` lists them)",
                counted(plain as u64, "installed package")
            );
        }
    }

    pub(super) fn print_warnings(&self, printer: &Printer) {
        const SHOWN: usize = 10;
        let unreadable = &self.walked.unreadable;
        for (_, failure) in unreadable.iter().take(SHOWN) {
            printer.warning(&failure.to_string());
        }
        if unreadable.len() > SHOWN {
            printer.warning(&format!(
                "and {} more; `-o json` lists all of them",
                unreadable.len() - SHOWN
            ));
        }
        for (path, reason) in self.unread {
            printer.note(&format!(
                "`{}` may say where the image comes from and was not read: {reason}",
                safe(path)
            ));
        }
        if self.found.refs.1 > 0 {
            printer.warning(&format!(
                "{} could not be read and were not searched",
                counted(self.found.refs.1 as u64, "ref")
            ));
        }
        if self.found.is_shallow {
            printer
                .warning("the clone is shallow: older commits are not in it and were not searched");
        }
    }

    pub(super) fn status(&self) -> ExitStatus {
        let merged = self
            .found
            .answers
            .first()
            .is_some_and(|best| best.range.merged || self.found.reference.is_none());
        let contradicted = self
            .checked
            .iter()
            .any(|checked| matches!(checked.verdict, origin::Verdict::Contradicts { .. }));
        let fits = self.found.verdict() == Verdict::Fits && merged && !contradicted;
        let complete = self.walked.unreadable.is_empty() && self.found.refs.1 == 0;
        ExitStatus::of_comparison(!fits, complete)
    }

    pub(super) fn json(&self) -> impl Serialize {
        let found = self.found;
        JsonReport {
            schema: 1,
            process: Subject::new(self.target),
            repository: self.repository.display_path().display().to_string(),
            reference: found
                .reference
                .as_ref()
                .map(|(name, commit)| JsonReference {
                    spec: name.clone(),
                    commit: commit.id.to_string(),
                }),
            verdict: found.verdict(),
            headline: found.headline(),
            searched: JsonSearched {
                commits: found.fit.searched,
                refs: found.refs.0,
                unreadable_refs: found.refs.1,
                shallow: found.is_shallow,
            },
            running_files: found.running.len(),
            comparable_files: found.fit.comparable(),
            mappings: found
                .fit
                .mappings()
                .iter()
                .map(|pair| JsonMapping {
                    running: owned([b"/", pair.running.as_slice()].concat()),
                    repository: JsonBytes(&pair.repository),
                })
                .collect(),
            answers: found.answers.iter().map(|one| self.answer(one)).collect(),
            on_reference: found.on_reference.as_ref().map(|one| self.answer(one)),
            evidence: self.checked.iter().map(JsonClaim::new).collect(),
            complete: self.walked.unreadable.is_empty(),
            unreadable: self
                .walked
                .unreadable
                .iter()
                .map(|(path, failure)| JsonUnreadable {
                    path: JsonBytes(path),
                    reason: failure.to_string(),
                })
                .collect(),
            unread_evidence: self
                .unread
                .iter()
                .map(|(path, reason)| JsonUnreadable {
                    path: JsonBytes(path),
                    reason: reason.clone(),
                })
                .collect(),
        }
    }

    fn answer(&self, answer: &'a Described) -> JsonAnswer<'a> {
        let path = |file: &RunningFile| owned([b"/", file.path.as_slice()].concat());
        let (mut differs, mut absent) = (Vec::new(), Vec::new());
        for (file, fit) in answer.dirty(&self.found.running) {
            match fit {
                FileFit::Differs(repository) => differs.push(JsonFile {
                    running: path(file),
                    repository: JsonBytes(repository),
                }),
                FileFit::Absent(_) | FileFit::Equal(_) | FileFit::Unknown => {
                    absent.push(path(file));
                }
            }
        }
        JsonAnswer {
            newest: JsonCommit::new(&answer.newest),
            oldest: JsonCommit::new(&answer.oldest),
            commits: answer.range.commits,
            commits_beside: answer.range.beside,
            merged: self
                .found
                .reference
                .is_some()
                .then_some(answer.range.merged),
            refs: answer.names.at.iter().map(|tip| tip.name.clone()).collect(),
            best_ref: answer.names.best.clone(),
            refs_containing: answer.names.containing,
            ahead: answer.apart.map(|apart| apart.ahead),
            behind: answer.apart.map(|apart| apart.behind),
            distance: answer.distance(),
            equal: answer.tree.equal(),
            converted: answer.converted(&self.found.running),
            unknown: answer.tree.unknown(),
            differs,
            absent,
            missing: answer.missing.iter().map(|path| JsonBytes(path)).collect(),
        }
    }
}

/// What a claim says, in words.
fn said(says: &Says) -> String {
    match says {
        Says::Commit {
            revision, modified, ..
        } => {
            let short: String = revision.chars().take(12).collect();
            match modified {
                Some(true) => format!("commit {short} with changes beside it"),
                Some(false) => format!("commit {short}, unchanged"),
                None => format!("commit {short}"),
            }
        }
        Says::Version { name, version } => {
            format!("{} {}", safe(name.as_bytes()), safe(version.as_bytes()))
        }
        Says::Files(files) => counted(files.len() as u64, "installed file"),
        Says::Sources(sources) => counted(sources.len() as u64, "source"),
    }
}

/// What came of checking a claim, in words.
fn outcome(verdict: &origin::Verdict) -> String {
    match verdict {
        origin::Verdict::Fits { compared } => {
            format!("fits ({} compared)", counted(*compared as u64, "file"))
        }
        origin::Verdict::Contradicts { compared, files } => {
            format!("contradicted, {} of {compared} files differ", files.len())
        }
        origin::Verdict::Unchecked { reason } => format!("not checked, {reason}"),
    }
}

fn folder(path: &BString) -> String {
    if path.is_empty() {
        "the top of the repository".to_owned()
    } else {
        format!("`{}` of the repository", safe(path))
    }
}

/// A commit's date and subject.
fn about(commit: &Commit) -> String {
    let date = commit
        .time
        .and_then(|time| Timestamp::from_second(time).ok());
    let date = date.map_or_else(String::new, |date| {
        format!("{} ", date.strftime("%Y-%m-%d"))
    });
    let summary = commit.summary.as_ref().map(|summary| safe(summary));
    format!("{date}{}", summary.unwrap_or_default())
}

fn owned(bytes: Vec<u8>) -> JsonCow<'static> {
    JsonCow(bytes.into())
}

#[derive(Serialize)]
struct JsonReport<'a> {
    schema: u32,
    process: Subject<'a>,
    repository: String,
    reference: Option<JsonReference>,
    verdict: Verdict,
    headline: Option<String>,
    searched: JsonSearched,
    running_files: usize,
    comparable_files: usize,
    mappings: Vec<JsonMapping<'a>>,
    answers: Vec<JsonAnswer<'a>>,
    on_reference: Option<JsonAnswer<'a>>,
    evidence: Vec<JsonClaim<'a>>,
    complete: bool,
    unreadable: Vec<JsonUnreadable<'a>>,
    /// Notes of the image's origin that could not be read.
    unread_evidence: Vec<JsonUnreadable<'a>>,
}

#[derive(Serialize)]
struct JsonClaim<'a> {
    kind: origin::Kind,
    source: JsonBytes<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    revision: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    modified: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    repository: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    files: Option<usize>,
    warning: Option<&'a str>,
    check: &'a origin::Verdict,
}

impl<'a> JsonClaim<'a> {
    fn new(checked: &'a Checked) -> Self {
        let mut claim = Self {
            kind: checked.claim.kind,
            source: JsonBytes(&checked.claim.source),
            revision: None,
            modified: None,
            repository: None,
            name: None,
            version: None,
            files: None,
            warning: checked.warning.as_deref(),
            check: &checked.verdict,
        };
        match &checked.claim.says {
            Says::Commit {
                revision,
                modified,
                repository,
            } => {
                claim.revision = Some(revision);
                claim.modified = *modified;
                claim.repository = repository.as_deref();
            }
            Says::Version { name, version } => {
                claim.name = Some(name);
                claim.version = Some(version);
            }
            Says::Files(files) => claim.files = Some(files.len()),
            Says::Sources(sources) => claim.files = Some(sources.len()),
        }
        claim
    }
}

#[derive(Serialize)]
struct JsonReference {
    spec: String,
    commit: String,
}

#[derive(Serialize)]
struct JsonSearched {
    commits: usize,
    refs: usize,
    unreadable_refs: usize,
    shallow: bool,
}

#[derive(Serialize)]
struct JsonMapping<'a> {
    running: JsonCow<'static>,
    repository: JsonBytes<'a>,
}

#[derive(Serialize)]
struct JsonAnswer<'a> {
    newest: JsonCommit,
    oldest: JsonCommit,
    commits: usize,
    commits_beside: usize,
    merged: Option<bool>,
    refs: Vec<String>,
    best_ref: Option<String>,
    refs_containing: usize,
    ahead: Option<usize>,
    behind: Option<usize>,
    distance: usize,
    equal: usize,
    converted: usize,
    unknown: usize,
    differs: Vec<JsonFile<'a>>,
    absent: Vec<JsonCow<'static>>,
    missing: Vec<JsonBytes<'a>>,
}

#[derive(Serialize)]
struct JsonCommit {
    id: String,
    time: Option<String>,
    summary: Option<JsonCow<'static>>,
}

impl JsonCommit {
    fn new(commit: &Commit) -> Self {
        Self {
            id: commit.id.to_string(),
            time: commit
                .time
                .and_then(|time| Timestamp::from_second(time).ok())
                .map(|time| time.to_string()),
            summary: commit.summary.clone().map(|summary| owned(summary.into())),
        }
    }
}

#[derive(Serialize)]
struct JsonFile<'a> {
    running: JsonCow<'static>,
    repository: JsonBytes<'a>,
}

#[derive(Serialize)]
struct JsonUnreadable<'a> {
    path: JsonBytes<'a>,
    reason: String,
}
