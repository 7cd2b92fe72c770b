//! What is printed: the formats that git has, and the notes round them. JSON is in `json`.

use std::collections::{BTreeMap, BTreeSet};

use bstr::{BString, ByteSlice as _};

use super::{
    DiffSrcArgs,
    judge::{Judgement, NoiseRow},
    reference::Reference,
    running::RunningTree,
};
use crate::{
    cli::{args::OutputFormat, error::CommandError, exit::ExitStatus, printer::Printer},
    diff::{
        Abbreviation, Change, FileCount, Limits, PatchOptions, Terminator, write_name_only,
        write_name_status, write_numstat, write_shortstat, write_stat,
    },
    evidence::{
        classes::Classes,
        comparison::Comparison,
        finding::Finding,
        mapping::{How, Mapping},
        noise::Class,
    },
    protocol::message::Skip,
    render::safe,
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
    /// What is noise, of one class or of all.
    Noise(Option<Class>),
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
                noise: Some(noise), ..
            } => Self::Noise(noise.0),
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
        !matches!(self, Self::NameStatus | Self::NameOnly | Self::Noise(_))
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
            Self::Noise(_) => Ok(()),
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
    pub(super) target: &'a Target,
    pub(super) reference: &'a Reference,
    pub(super) running: &'a RunningTree,
    pub(super) mappings: Vec<Mapping>,
    pub(super) comparison: Comparison,
    pub(super) judgement: Judgement,
    pub(super) counts: Vec<FileCount>,
    /// Paths that differ but whose content could not be had, with the reason.
    pub(super) unshown: Vec<(BString, String)>,
    /// Classes that run against sources, where there are both.
    pub(super) classes: Option<Classes>,
    /// Which commit runs, in one line; `None` when that is not known.
    pub(super) revision: Option<String>,
    /// That commit, when it is another one than that of the reference.
    pub(super) other_commit: Option<String>,
}

impl Report<'_> {
    /// Says what is compared with what.
    pub(super) fn print_head(&self, printer: &Printer) {
        if let Some(revision) = &self.revision {
            printer.note(revision);
        }
        if let Some(commit) = &self.other_commit {
            printer.note(&format!(
                "with `--ref {commit}` kdbg compares with that commit instead of {}",
                self.reference.name()
            ));
        }
        for root in self.running.roots() {
            if let Some(path) = &root.path {
                tracing::info!("looking in `{}`, {}", safe(path), root.asked.why.because());
            }
        }
        for (index, mapping) in self.mappings.iter().enumerate() {
            printer.note(&self.mapping(index, mapping));
        }
        for volume in &self.judgement.on_volume {
            printer.note(volume);
        }
        if !self.comparison.outside.is_empty() {
            let outside = self.comparison.outside.len();
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
        if let Some(note) = self.revision_only() {
            printer.note(&note);
        }
        if let Some(classes) = &self.classes {
            Self::print_classes(classes, printer);
        }
    }

    /// Says which classes have no source, and which sources no class.
    fn print_classes(classes: &Classes, printer: &Printer) {
        const SHOWN: usize = 5;
        printer.note(&format!(
            "{} sources have a class of their name, {} have none, and {} classes of their packages have no source",
            classes.matched,
            classes.without_class.len(),
            classes.without_source.len()
        ));
        for source in classes.without_class.iter().take(SHOWN) {
            printer.note(&format!("no class runs of `{}`", safe(source)));
        }
        for class in classes.without_source.iter().take(SHOWN) {
            printer.note(&format!(
                "no source is there of the class `{}`",
                safe(class)
            ));
        }
    }

    /// `/app`, the working directory, with `services/shop` of `main` (2 of 3 files are equal there)
    fn mapping(&self, index: usize, mapping: &Mapping) -> String {
        let root = self.running.root_of(mapping.running.as_ref());
        let why = root.map_or_else(String::new, |root| {
            let whole = root
                .path
                .as_ref()
                .filter(|whole| **whole != mapping.running);
            let within = whole.map_or_else(String::new, |whole| format!(" in `{}`", safe(whole)));
            format!("{within}, {},", root.asked.why.because())
        });
        let repository = folder(&mapping.repository);
        let coverage = self.comparison.coverage.get(index).copied();
        let how = match (&mapping.how, coverage) {
            (How::Voted { as_well, .. }, Some(coverage)) => {
                let other = as_well.as_ref().map_or_else(String::new, |other| {
                    format!(", and as many in {}: pin it with `--map`", folder(other))
                });
                let (equal, of) = (coverage.equal, coverage.of);
                format!(" ({equal} of {of} files are equal there{other})")
            }
            (How::History, _) => {
                " (no file is equal there; the commit that runs has them there)".to_owned()
            }
            (How::Asked, _) | (_, None) => String::new(),
        };
        format!(
            "comparing `{}`{why} with {repository} of {}{how}",
            safe(&mapping.running),
            self.reference.name()
        )
    }

    /// What cannot be compared by lines, because only what a compiler made of it runs.
    fn revision_only(&self) -> Option<String> {
        let rows = self.judgement.noise.iter();
        let sources: Vec<&BString> = rows
            .filter(|row| row.noise.class == Class::Compiled && row.difference.reference.is_some())
            .map(|row| &row.difference.path)
            .collect();
        // other folders of the repository may have sources of other languages
        let ends: BTreeSet<String> = sources
            .iter()
            .filter_map(|path| path.rsplit_once_str("."))
            .map(|(_, end)| format!("`.{}`", safe(end)))
            .collect();
        let ends: Vec<String> = ends.into_iter().collect();
        let sources = sources.len();
        (sources > 0).then(|| {
            format!(
                "revision only for {sources} {} files: none of them runs as it is, so their lines cannot be compared",
                ends.join(", ")
            )
        })
    }

    /// Says what was left out as noise.
    pub(super) fn print_summary(&self, printer: &Printer) {
        if self.judgement.noise.is_empty() {
            return;
        }
        let mut counts: BTreeMap<Class, usize> = BTreeMap::new();
        for row in &self.judgement.noise {
            *counts.entry(row.noise.class).or_default() += 1;
        }
        let counts: Vec<String> = counts
            .iter()
            .map(|(class, count)| format!("{count} {class}"))
            .collect();
        let real = self.judgement.real.len();
        let plural = if real == 1 { "" } else { "s" };
        printer.note(&format!(
            "{real} real difference{plural}; noise: {} (`--noise` lists it)",
            counts.join(", ")
        ));
    }

    /// Lists the noise of a class, or all of it: class, status, path and reason, with tabs.
    pub(super) fn print_noise(
        &self,
        class: Option<Class>,
        printer: &mut Printer,
    ) -> Result<(), CommandError> {
        let rows = self
            .judgement
            .noise
            .iter()
            .filter(|row| class.is_none_or(|class| row.noise.class == class));
        for row in rows {
            let line = format!(
                "{}\t{}\t{}\t{}\n",
                row.noise.class,
                status(row),
                crate::diff::quoted(&row.difference.path).as_bstr(),
                safe(row.noise.because.as_bytes())
            );
            printer
                .data()
                .write_all(line.as_bytes())
                .map_err(CommandError::output)?;
        }
        Ok(())
    }

    /// Says what was found of the process, and what could not be read.
    pub(super) fn print_warnings(&self, printer: &Printer) {
        let findings: Vec<String> = self
            .judgement
            .findings
            .iter()
            .map(Finding::sentence)
            .collect();
        print_some(&findings, printer);
        let unreadable = self
            .running
            .unreadable
            .iter()
            .map(|(_, failure)| failure.to_string());
        let unshown = self.unshown.iter().map(|(path, reason)| {
            format!("`{}` differs but cannot be shown: {reason}", safe(path))
        });
        let skipped = self
            .running
            .skipped
            .iter()
            .filter_map(|(path, skip)| match skip {
                Skip::PseudoFileSystem(kind) => Some(format!(
                    "`{}` was left out: it is a {kind} file system",
                    safe(path)
                )),
                Skip::OtherRoot(_) | Skip::LeftOut => None,
            });
        let unopened =
            self.running.unopened.iter().map(|(path, reason)| {
                format!("`{}` could not be looked into: {reason}", safe(path))
            });
        let warnings: Vec<String> = unreadable
            .chain(unshown)
            .chain(skipped)
            .chain(unopened)
            .collect();
        print_some(&warnings, printer);
    }

    pub(super) fn is_complete(&self) -> bool {
        self.running.unreadable.is_empty()
            && self.unshown.is_empty()
            && self.running.unopened.is_empty()
    }

    pub(super) fn status(&self) -> ExitStatus {
        let differs = !self.judgement.real.is_empty() || !self.judgement.findings.is_empty();
        ExitStatus::of_comparison(differs, self.is_complete())
    }
}

/// A folder of the repository, for people.
fn folder(path: &BString) -> String {
    if path.is_empty() {
        "the top".to_owned()
    } else {
        format!("`{}`", safe(path))
    }
}

/// git's letter for a row of noise.
pub(super) fn status(row: &NoiseRow) -> char {
    let change = super::contents::without_contents(&row.difference);
    change.status().map_or('M', crate::diff::Status::letter)
}

/// Warns of the first of many things.
fn print_some(warnings: &[String], printer: &Printer) {
    const SHOWN: usize = 10;
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
