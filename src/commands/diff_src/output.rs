//! What is printed: the formats that git has, JSON, and the notes round them.

use bstr::BString;
use serde::Serialize;

use super::{DiffSrcArgs, pairing::Pairings, reference::Reference, running::RunningTree};
use crate::{
    cli::{args::OutputFormat, error::CommandError, exit::ExitStatus, printer::Printer},
    commands::subject::Subject,
    diff::{
        Abbreviation, Change, Counts, FileCount, Limits, PatchOptions, Terminator, write_name_only,
        write_name_status, write_numstat, write_shortstat, write_stat,
    },
    evidence::{
        comparison::{Comparison, Difference},
        mapping::{self, How},
    },
    object::FileMode,
    protocol::message::Skip,
    render::{JsonBytes, safe},
    target::Target,
};

/// The width of `--stat` where there is no terminal, as in git.
const STAT_WIDTH: usize = 80;

/// What to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Patch,
    Stat,
    Numstat,
    Shortstat,
    NameStatus,
    NameOnly,
    Json,
}

impl Format {
    pub(super) fn of(args: &DiffSrcArgs) -> Self {
        match args {
            DiffSrcArgs { stat: true, .. } => Self::Stat,
            DiffSrcArgs { numstat: true, .. } => Self::Numstat,
            DiffSrcArgs {
                shortstat: true, ..
            } => Self::Shortstat,
            DiffSrcArgs {
                name_status: true, ..
            } => Self::NameStatus,
            DiffSrcArgs {
                name_only: true, ..
            } => Self::NameOnly,
            DiffSrcArgs {
                output: OutputFormat::Json,
                ..
            } => Self::Json,
            DiffSrcArgs {
                output: OutputFormat::Text,
                ..
            } => Self::Patch,
        }
    }

    /// Whether the contents of both sides are needed, or their names are enough.
    pub(super) const fn needs_contents(self) -> bool {
        !matches!(self, Self::NameStatus | Self::NameOnly)
    }

    pub(super) fn limits(args: &DiffSrcArgs) -> Limits {
        let limits = Limits::default();
        Limits {
            big_file: limits
                .big_file
                .min(usize::try_from(args.max_file_size).unwrap_or(usize::MAX)),
            ..limits
        }
    }

    pub(super) fn patch_options(args: &DiffSrcArgs, printer: &Printer) -> PatchOptions {
        PatchOptions {
            context: args.unified,
            abbreviation: if args.full_index {
                Abbreviation::Full
            } else {
                Abbreviation::Digits(7)
            },
            binary: args.binary,
            color: printer.colours_data(),
            limits: Self::limits(args),
        }
    }

    pub(super) fn print_names(
        self,
        changes: &[Change],
        args: &DiffSrcArgs,
        printer: &mut Printer,
    ) -> Result<(), CommandError> {
        let written = match self {
            Self::NameOnly => write_name_only(printer.data(), changes, terminator(args)),
            _ => write_name_status(printer.data(), changes, terminator(args)),
        };
        written.map_err(CommandError::output)
    }

    pub(super) fn print_counts(
        self,
        counts: &[FileCount],
        args: &DiffSrcArgs,
        printer: &mut Printer,
    ) -> Result<(), CommandError> {
        let width = printer.width().unwrap_or(STAT_WIDTH);
        let written = match self {
            Self::Stat => write_stat(printer.data(), counts, width),
            Self::Numstat => write_numstat(printer.data(), counts, terminator(args)),
            Self::Shortstat => write_shortstat(printer.data(), counts),
            _ => Ok(()),
        };
        written.map_err(CommandError::output)
    }
}

fn terminator(args: &DiffSrcArgs) -> Terminator {
    if args.nul {
        Terminator::Nul
    } else {
        Terminator::LineFeed
    }
}

/// All that a run has found.
pub(super) struct Report<'a> {
    target: &'a Target,
    reference: &'a Reference,
    running: &'a RunningTree,
    pairings: Pairings,
    pub(super) comparison: Comparison,
    pub(super) counts: Vec<FileCount>,
    /// Paths that differ but whose content could not be had, with the reason.
    pub(super) unshown: Vec<(BString, String)>,
}

impl<'a> Report<'a> {
    pub(super) fn new(
        target: &'a Target,
        reference: &'a Reference,
        running: &'a RunningTree,
        pairings: Pairings,
        comparison: Comparison,
    ) -> Self {
        Self {
            target,
            reference,
            running,
            pairings,
            comparison,
            counts: Vec::new(),
            unshown: Vec::new(),
        }
    }

    /// Says what is compared with what.
    pub(super) fn print_notes(&self, printer: &Printer) {
        for (pairing, how) in self.pairings.pairs.iter().zip(&self.pairings.how) {
            let Some(root) = self.running.roots().get(pairing.root as usize) else {
                continue;
            };
            let whole = root.path.clone().unwrap_or_default();
            let why = root.asked.why.because();
            let folder = if pairing.running.is_empty() {
                format!("`{}`, {why},", safe(&whole))
            } else {
                let folder = mapping::join(whole.as_ref(), pairing.running.as_ref());
                format!("`{}` in `{}`, {why},", safe(&folder), safe(&whole))
            };
            let repository = if pairing.repository.is_empty() {
                "the top".to_owned()
            } else {
                format!("`{}`", safe(&pairing.repository))
            };
            let how = match how {
                How::Asked => String::new(),
                How::Voted { agree, of } => format!(" ({agree} of {of} files are equal there)"),
            };
            printer.note(&format!(
                "comparing {folder} with {repository} of {}{how}",
                self.reference.name()
            ));
        }
        if self.comparison.outside > 0 {
            let outside = self.comparison.outside;
            printer.note(&format!(
                "{outside} running files lie outside of that folder and were not compared"
            ));
        }
        for submodule in &self.comparison.submodules {
            printer.note(&format!(
                "`{}` is a submodule, whose files are in another repository: not compared",
                safe(submodule)
            ));
        }
        if self.running.special > 0 {
            printer.note(&format!(
                "{} pipes, sockets or devices were left out",
                self.running.special
            ));
        }
    }

    /// Says what could not be read.
    pub(super) fn print_warnings(&self, printer: &Printer) {
        const SHOWN: usize = 10;
        let unreadable = self
            .running
            .unreadable
            .iter()
            .map(|(_, _, failure)| failure.to_string());
        let unshown = self.unshown.iter().map(|(path, reason)| {
            format!("`{}` differs but cannot be shown: {reason}", safe(path))
        });
        let skipped = self
            .running
            .skipped
            .iter()
            .filter_map(|(_, path, skip)| match skip {
                Skip::PseudoFileSystem(kind) => Some(format!(
                    "`{}` was left out: it is a {kind} file system",
                    safe(path)
                )),
                Skip::OtherRoot(_) | Skip::LeftOut => None,
            });
        let warnings: Vec<String> = unreadable.chain(unshown).chain(skipped).collect();
        for warning in warnings.iter().take(SHOWN) {
            printer.warning(warning);
        }
        if warnings.len() > SHOWN {
            printer.warning(&format!(
                "and {} more; `-o json` lists all of them",
                warnings.len() - SHOWN
            ));
        }
    }

    fn is_complete(&self) -> bool {
        self.running.unreadable.is_empty() && self.unshown.is_empty()
    }

    pub(super) fn status(&self) -> ExitStatus {
        ExitStatus::of_comparison(!self.comparison.differences.is_empty(), self.is_complete())
    }

    pub(super) fn json(&self) -> impl Serialize {
        JsonReport {
            schema: 1,
            process: Subject::new(self.target),
            reference: JsonReference {
                spec: self.reference.spec(),
                commit: self.reference.commit().id.to_string(),
                repository: self.reference.repository_path().display().to_string(),
            },
            mappings: self.mappings(),
            complete: self.is_complete(),
            equal: self.comparison.equal,
            outside: self.comparison.outside,
            running_files: self.running.count(),
            submodules: self
                .comparison
                .submodules
                .iter()
                .map(|path| JsonBytes(path))
                .collect(),
            files: self
                .comparison
                .differences
                .iter()
                .map(|difference| self.file(difference))
                .collect(),
            unreadable: self.unreadable(),
        }
    }

    fn mappings(&self) -> Vec<JsonMapping<'_>> {
        let rows = self.pairings.pairs.iter().zip(&self.pairings.how);
        rows.map(|(pairing, how)| {
            let root = self.running.roots().get(pairing.root as usize);
            JsonMapping {
                root: root
                    .and_then(|root| root.path.as_ref())
                    .map(|path| JsonBytes(path)),
                running: JsonBytes(&pairing.running),
                repository: JsonBytes(&pairing.repository),
                equal_files: match how {
                    How::Asked => None,
                    How::Voted { agree, .. } => Some(*agree),
                },
            }
        })
        .collect()
    }

    fn file<'b>(&'b self, difference: &'b Difference) -> JsonFile<'b> {
        let counts = self
            .counts
            .binary_search_by(|count| count.path.cmp(&difference.path))
            .ok()
            .and_then(|found| self.counts.get(found));
        let (added, deleted) = match counts.map(|count| count.counts) {
            Some(Counts::Text { added, deleted }) => (Some(added), Some(deleted)),
            Some(Counts::Binary { .. }) | None => (None, None),
        };
        let side = |mode: FileMode, id: crate::object::ObjectId| JsonSide {
            mode: mode.as_octal(),
            id: id.to_string(),
        };
        let change = super::contents::without_contents(difference);
        JsonFile {
            status: change.status().map_or('M', crate::diff::Status::letter),
            path: JsonBytes(&difference.path),
            running_path: difference
                .running
                .as_ref()
                .map(|file| JsonOwned(self.running.path_of(file))),
            reference: difference
                .reference
                .map(|version| side(version.mode, version.id)),
            running: difference
                .running
                .as_ref()
                .map(|file| side(file.version.mode, file.version.id)),
            binary: counts.map(|count| matches!(count.counts, Counts::Binary { .. })),
            added,
            deleted,
        }
    }

    fn unreadable(&self) -> Vec<JsonUnreadable<'_>> {
        let running = self
            .running
            .unreadable
            .iter()
            .map(|(_, path, failure)| JsonUnreadable {
                path: JsonBytes(path),
                reason: failure.to_string(),
            });
        let unshown = self.unshown.iter().map(|(path, reason)| JsonUnreadable {
            path: JsonBytes(path),
            reason: reason.clone(),
        });
        running.chain(unshown).collect()
    }
}

#[derive(Serialize)]
struct JsonReport<'a> {
    schema: u32,
    process: Subject<'a>,
    reference: JsonReference<'a>,
    mappings: Vec<JsonMapping<'a>>,
    complete: bool,
    equal: usize,
    outside: usize,
    running_files: usize,
    submodules: Vec<JsonBytes<'a>>,
    files: Vec<JsonFile<'a>>,
    unreadable: Vec<JsonUnreadable<'a>>,
}

#[derive(Serialize)]
struct JsonReference<'a> {
    spec: &'a str,
    commit: String,
    repository: String,
}

#[derive(Serialize)]
struct JsonMapping<'a> {
    root: Option<JsonBytes<'a>>,
    running: JsonBytes<'a>,
    repository: JsonBytes<'a>,
    equal_files: Option<usize>,
}

#[derive(Serialize)]
struct JsonFile<'a> {
    status: char,
    path: JsonBytes<'a>,
    running_path: Option<JsonOwned>,
    reference: Option<JsonSide>,
    running: Option<JsonSide>,
    binary: Option<bool>,
    added: Option<usize>,
    deleted: Option<usize>,
}

#[derive(Serialize)]
struct JsonSide {
    mode: &'static str,
    id: String,
}

#[derive(Serialize)]
struct JsonUnreadable<'a> {
    path: JsonBytes<'a>,
    reason: String,
}

/// [`JsonBytes`] of its own bytes.
struct JsonOwned(BString);

impl Serialize for JsonOwned {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        JsonBytes(&self.0).serialize(serializer)
    }
}
