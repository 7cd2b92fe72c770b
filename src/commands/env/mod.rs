//! `kdbg env`: the environment that a process was started with.

mod against;
mod dotenv;
mod explained;
mod processes;

use std::sync::Arc;

use clap::{Args, ValueEnum};
use serde::Serialize;

use self::explained::{Asking, Explained, Kind};
use super::{
    ahead::Ahead,
    declared::{Ask, Declared},
    fan_out,
    subject::Subject,
};
use crate::{
    cli::{
        args::{OutputFormat, TargetArgs},
        error::CommandError,
        exit::ExitStatus,
        printer::Printer,
    },
    evidence::{
        environment::{Entry, Environment, Mark},
        provenance::{Agreement, Origin},
        redact::{Hidden, Redactor, Shown, Source},
    },
    protocol::message::{Cause, Failure, Process, Reading, Request},
    render::{JsonBytes, JsonCow, safe},
    session::{RequestError, Session},
    target::{Target, pod::Described},
};

/// No kernel lets a process start with more: a quarter of the stack's limit, which is rarely raised.
const LIMIT: usize = 256 * 1024 * 1024;

/// Arguments of `kdbg env`.
#[derive(Args, Debug)]
pub struct EnvArgs {
    #[command(flatten)]
    target: TargetArgs,
    /// How to print it
    #[arg(short, long, value_enum, value_name = "FORMAT", default_value_t)]
    output: EnvFormat,
    /// Only variables that come from there; may be given several times (pods only)
    #[arg(long = "source", value_enum, value_name = "WHERE")]
    sources: Vec<Kind>,
    /// Only entries with this text in their name or shown value, in upper or lower case
    #[arg(long, value_name = "TEXT")]
    grep: Option<String>,
    /// Print what a restart would change, as the pod's spec and what it refers to are now
    #[arg(long, value_enum, value_name = "WHAT", conflicts_with_all = ["sources", "grep"])]
    against: Option<Against>,
    /// Ask the registry of the pod's image what variables it sets, and what its name means now
    #[arg(long)]
    registry: bool,
    /// Lay the environments of all processes of the target beside that of its first one: what a worker has that process
    /// 1 has not
    #[arg(long, conflicts_with_all = ["sources", "grep", "against"])]
    all_processes: bool,
    /// Print passwords, tokens and keys as they are
    #[arg(long)]
    show_secrets: bool,
}

impl EnvArgs {
    const fn ask(&self) -> Ask {
        Ask {
            registry: self.registry,
            moved: self.against.is_some(),
        }
    }

    /// Asks the cluster of what was found; there is nothing to ask of a process of this machine.
    fn ask_ahead(&self, found: Option<Described>) -> Asking {
        let (found, ask) = (Arc::new(found?), self.ask());
        Some(Ahead::ask(move || {
            let found = Arc::clone(&found);
            async move { Declared::of_cluster(Some(&found), ask).await }
        }))
    }
}

/// What an environment is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Against {
    /// What the pod's spec makes of it now
    Spec,
}

/// The formats of an environment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum EnvFormat {
    /// For people: one entry a line, with what is unusual about it
    #[default]
    Text,
    /// For programs; see `schema` for its version
    Json,
    /// A file that a shell or a dotenv library reads
    Dotenv,
    /// The bytes of the kernel: entries that end with a zero byte
    Null,
}

/// Runs `kdbg env`.
pub async fn run(args: EnvArgs, printer: &mut Printer) -> Result<ExitStatus, CommandError> {
    let format = match args.output {
        EnvFormat::Json => OutputFormat::Json,
        EnvFormat::Text | EnvFormat::Dotenv | EnvFormat::Null => OutputFormat::Text,
    };
    let prepare = |found| args.ask_ahead(found);
    let look = async |target, declared, printer: &mut Printer| {
        look(&args, target, declared, printer).await
    };
    fan_out::run_prepared(&args.target, format, printer, prepare, look).await
}

async fn look(
    args: &EnvArgs,
    target: Target,
    declared: Asking,
    printer: &mut Printer,
) -> Result<ExitStatus, CommandError> {
    if args.all_processes {
        let status = processes::print(args, &target, declared, printer).await?;
        target.close().await;
        return Ok(status);
    }
    let (environment, explained) = tokio::join!(
        read(&target.session, target.process()),
        explained::declared(&target, declared)
    );
    let environment = environment?;
    let explained = explained?.map(|declared| Explained::of(declared, &environment));
    let redactor = Redactor::new(args.show_secrets);
    if args.against.is_some() {
        let explained = explained.as_ref().ok_or_else(no_pod)?;
        let status = against::print(args, &target, &environment, explained, redactor, printer)?;
        target.close().await;
        return Ok(status);
    }
    let view = View {
        environment: &environment,
        explained: explained.as_ref(),
        redactor,
    };
    let wanted = view.wanted(args)?;
    // The kubelet hands variables over in a random order.
    printer.compare_by(
        environment
            .entries
            .iter()
            .map(|entry| environment.bytes(entry)),
    );
    match args.output {
        EnvFormat::Text => view.text(&wanted, printer)?,
        EnvFormat::Json => printer.json(&Report::of(&target, view, &wanted))?,
        EnvFormat::Dotenv => {
            let file = dotenv::render(view);
            printer
                .data()
                .write_all(&file.text)
                .map_err(CommandError::output)?;
            if file.left_out > 0 {
                printer.warning(&format!(
                    "{} of {} entries cannot be expressed in this format and are comments",
                    file.left_out,
                    environment.entries.len()
                ));
            }
        }
        EnvFormat::Null => {
            let block = null(view);
            printer
                .data()
                .write_all(&block)
                .map_err(CommandError::output)?;
        }
    }
    explain(&target, view, &wanted, printer);
    target.close().await;
    Ok(ExitStatus::of_comparison(false, !environment.overwritten))
}

/// Reads the environment of a process.
pub(super) async fn read(
    session: &Session,
    process: &Process,
) -> Result<Environment, RequestError> {
    let mut reply = session.request(&Request::Environment(process.id))?;
    let block = match reply.bytes(LIMIT).await {
        // Newer kernels call a process without memory gone (ESRCH), older ones show an empty file.
        Err(RequestError::Failed(failure)) if failure.is_gone() && has_no_memory(process) => {
            Vec::new()
        }
        result => result?,
    };
    Ok(Environment::parse(block))
}

/// What is asked for needs a pod's spec.
fn no_pod() -> CommandError {
    CommandError::usage("a process of this machine has no spec that declares its variables")
        .hint("name a pod, or leave out `--against` and `--source`")
}

/// An environment with what is known of it.
#[derive(Clone, Copy)]
struct View<'a> {
    environment: &'a Environment,
    /// Where the variables come from; `None` for a process of this machine.
    explained: Option<&'a Explained>,
    redactor: Redactor,
}

impl<'a> View<'a> {
    /// The positions of the entries that are asked for.
    fn wanted(self, args: &EnvArgs) -> Result<Vec<usize>, CommandError> {
        let all = 0..self.environment.entries.len();
        if args.sources.is_empty() && args.grep.is_none() {
            return Ok(all.collect());
        }
        if matches!(args.output, EnvFormat::Dotenv | EnvFormat::Null) {
            return Err(CommandError::usage(
                "`--source` and `--grep` choose among what is printed as text or JSON",
            )
            .hint("leave out `-o`, or use `-o json`"));
        }
        if !args.sources.is_empty() && self.explained.is_none() {
            return Err(no_pod());
        }
        let text = args.grep.as_ref().map(|text| text.to_lowercase());
        Ok(all
            .filter(|position| {
                args.sources.is_empty() || args.sources.contains(&self.kind(*position))
            })
            .filter(|position| {
                text.as_ref()
                    .is_none_or(|text| self.line(*position).to_lowercase().contains(text))
            })
            .collect())
    }

    fn kind(self, position: usize) -> Kind {
        self.explained
            .and_then(|explained| explained.entry(position))
            .map_or(Kind::Unknown, |variable| Kind::of(&variable.origin))
    }

    /// The value of an entry, as far as it may be shown.
    fn shown(self, position: usize, entry: &Entry) -> Shown<'a> {
        let source = self
            .explained
            .map_or(Source::Unknown, |explained| explained.source(position));
        shown_from(self.environment, entry, self.redactor, source)
    }

    /// An entry as it is shown, without what is said of it.
    fn line(self, position: usize) -> String {
        let Some(entry) = self.environment.entries.get(position) else {
            return String::new();
        };
        let value = self.shown(position, entry);
        if entry.name_length.is_some() {
            let name = safe(self.environment.name(entry));
            format!("{name}={}", safe(&value.bytes()))
        } else {
            safe(&value.bytes())
        }
    }

    /// For people: in the order of the kernel, or by where it is from when that is known.
    fn text(self, wanted: &[usize], printer: &mut Printer) -> Result<(), CommandError> {
        let out = printer.data();
        if self.explained.is_none() {
            return self.lines(wanted.iter().copied(), out);
        }
        for kind in Kind::value_variants() {
            let mut of_kind: Vec<_> = wanted
                .iter()
                .copied()
                .filter(|position| self.kind(*position) == *kind)
                .collect();
            // The kubelet's order is random; that of entries of one name means something.
            of_kind.sort_by_key(|position| {
                let entry = self.environment.entries.get(*position);
                entry.map(|entry| self.environment.name(entry))
            });
            if !of_kind.is_empty() {
                writeln!(out, "# {}", kind.heading()).map_err(CommandError::output)?;
                self.lines(of_kind.into_iter(), out)?;
            }
        }
        Ok(())
    }

    fn lines(
        self,
        positions: impl Iterator<Item = usize>,
        out: &mut dyn std::io::Write,
    ) -> Result<(), CommandError> {
        for position in positions {
            let mut line = self.line(position);
            let entry = self.environment.entries.get(position);
            let marks = entry.iter().flat_map(|entry| &entry.marks);
            let mut remarks: Vec<_> = marks.map(Mark::meaning).collect();
            remarks.extend(
                self.explained
                    .and_then(|explained| explained.entry(position))
                    .and_then(crate::render::provenance::remark),
            );
            if !remarks.is_empty() {
                line.push_str("  # ");
                line.push_str(&remarks.join("; "));
            }
            writeln!(out, "{line}").map_err(CommandError::output)?;
        }
        Ok(())
    }
}

/// The value of an entry, as far as it may be shown; the whole entry when it has no `=`.
pub(super) fn shown<'a>(
    environment: &'a Environment,
    entry: &Entry,
    redactor: Redactor,
) -> Shown<'a> {
    shown_from(environment, entry, redactor, Source::Unknown)
}

fn shown_from<'a>(
    environment: &'a Environment,
    entry: &Entry,
    redactor: Redactor,
    source: Source,
) -> Shown<'a> {
    let value = environment.value(entry);
    if entry.has_lost_its_name() {
        return redactor.nameless(value.unwrap_or_else(|| environment.bytes(entry)));
    }
    match value {
        Some(value) => redactor.variable(environment.name(entry), value, source),
        None => redactor.text(environment.bytes(entry)),
    }
}

/// The block as the kernel has it, but for what is hidden.
fn null(view: View<'_>) -> Vec<u8> {
    let environment = view.environment;
    let mut block = Vec::with_capacity(environment.block.len());
    let mut copied_to = 0;
    for (position, entry) in environment.entries.iter().enumerate() {
        let value = view.shown(position, entry);
        let start = entry.range.start + entry.name_length.map_or(0, |length| length + 1);
        block.extend_from_slice(environment.block.get(copied_to..start).unwrap_or_default());
        block.extend_from_slice(&value.bytes());
        copied_to = entry.range.end;
    }
    block.extend_from_slice(environment.block.get(copied_to..).unwrap_or_default());
    block
}

/// Says what the entries alone do not.
fn explain(target: &Target, view: View<'_>, wanted: &[usize], printer: &Printer) {
    let process = target.process();
    let environment = view.environment;
    if environment.overwritten {
        printer.warning(&format!(
            "the process has overwritten its environment: what stood at its beginning is lost ({} bytes in all)",
            environment.block.len()
        ));
    } else if environment.entries.is_empty() {
        printer.note(&format!(
            "process {} {}",
            process.id.pid,
            why_empty(process)
        ));
    }
    if let Some(explained) = view.explained {
        for unread in explained.unread() {
            printer.note(&unread);
        }
    }
    let hidden = wanted
        .iter()
        .filter_map(|position| Some((*position, environment.entries.get(*position)?)))
        .filter(|(position, entry)| !view.shown(*position, entry).hidden().is_empty())
        .count();
    if hidden > 0 {
        let values = if hidden == 1 {
            "value is"
        } else {
            "values are"
        };
        printer.note(&format!(
            "{hidden} {values} redacted; `--show-secrets` prints them"
        ));
    }
}

fn why_empty(process: &Process) -> &'static str {
    if process.state == b'Z' {
        "has ended and waits for its parent: its environment is gone"
    } else if has_no_memory(process) {
        "is a thread of the kernel, which has no environment"
    } else {
        "was started with an empty environment"
    }
}

/// Whether it is a zombie or a thread of the kernel, for which the kernel names no executable
/// (`proc_exe_link`, fs/proc/base.c).
fn has_no_memory(process: &Process) -> bool {
    let nameless = matches!(
        &process.executable,
        Reading::Unavailable(Failure {
            cause: Cause::NotFound,
            ..
        })
    );
    process.state == b'Z' || (nameless && process.arguments.is_empty())
}

/// An environment, as JSON.
#[derive(Serialize)]
pub(super) struct Report<'a> {
    schema: u32,
    process: Subject<'a>,
    overwritten: bool,
    bytes: usize,
    entries: Vec<Row<'a>>,
}

#[derive(Serialize)]
struct Row<'a> {
    /// `null` for an entry without `=`.
    name: Option<JsonBytes<'a>>,
    value: JsonCow<'a>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    redacted: Vec<Hidden>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    marks: Vec<Mark>,
    /// Where it comes from, and whether that still says the same; left out for a process of this machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    provenance: Option<ProvenanceRow<'a>>,
}

#[derive(Serialize)]
struct ProvenanceRow<'a> {
    #[serde(flatten)]
    origin: &'a Origin,
    #[serde(flatten)]
    agreement: &'a Agreement,
    secret: bool,
    #[serde(skip_serializing_if = "<[Origin]>::is_empty")]
    shadowed: &'a [Origin],
}

impl<'a> Report<'a> {
    pub(super) fn new(
        target: &'a Target,
        environment: &'a Environment,
        redactor: Redactor,
    ) -> Self {
        let all: Vec<_> = (0..environment.entries.len()).collect();
        let view = View {
            environment,
            explained: None,
            redactor,
        };
        Self::of(target, view, &all)
    }

    fn of(target: &'a Target, view: View<'a>, wanted: &[usize]) -> Self {
        let environment = view.environment;
        let row = |position: &usize| {
            let entry = environment.entries.get(*position)?;
            let value = view.shown(*position, entry);
            let variable = view
                .explained
                .and_then(|explained| explained.entry(*position));
            Some(Row {
                name: entry
                    .name_length
                    .map(|_| JsonBytes(environment.name(entry))),
                value: JsonCow(value.bytes()),
                redacted: value.hidden().to_vec(),
                marks: entry.marks.clone(),
                provenance: variable.map(|variable| ProvenanceRow {
                    origin: &variable.origin,
                    agreement: &variable.agreement,
                    secret: variable.secret,
                    shadowed: &variable.shadowed,
                }),
            })
        };
        Self {
            schema: 1,
            process: Subject::new(target),
            overwritten: environment.overwritten,
            bytes: environment.block.len(),
            entries: wanted.iter().filter_map(row).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use bstr::ByteSlice as _;

    use super::*;

    fn view(environment: &Environment, show_secrets: bool) -> View<'_> {
        View {
            environment,
            explained: None,
            redactor: Redactor::new(show_secrets),
        }
    }

    #[test]
    fn the_null_format_is_the_block_but_for_secrets() {
        let block = b"A=1\0\0TOKEN=abc\0plain\0B=2";
        let environment = Environment::parse(&block[..]);
        assert_eq!(null(view(&environment, true)), block);
        let environment = Environment::parse("A=1\0TOKEN=abc\0plain\0B=2");
        assert_eq!(
            null(view(&environment, false)).as_bstr(),
            "A=1\0TOKEN=[redacted: 3 bytes]\0plain\0B=2"
        );
    }

    #[test]
    fn a_torn_entry_shows_no_value_because_its_name_may_have_been_a_secrets() {
        let environment = Environment::parse("ker process\0ter2\0WORD=hunter2\0A=1\0");
        let text = null(view(&environment, false));
        assert!(!text.contains_str("ter2"), "{}", text.as_bstr());
        assert!(text.contains_str("A=1"));
    }
}
