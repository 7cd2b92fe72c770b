//! `kdbg env`: the environment that a process was started with.

mod dotenv;

use clap::{Args, ValueEnum};
use serde::Serialize;

use super::{fan_out, subject::Subject};
use crate::{
    cli::{
        args::{OutputFormat, TargetArgs},
        error::CommandError,
        exit::ExitStatus,
        printer::Printer,
    },
    evidence::{
        environment::{Entry, Environment, Mark},
        redact::{Hidden, Redactor, Shown, Source},
    },
    protocol::message::{Cause, Failure, Process, Reading, Request},
    render::{JsonBytes, JsonCow, safe},
    session::{RequestError, Session},
    target::Target,
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
    /// Print passwords, tokens and keys as they are
    #[arg(long)]
    show_secrets: bool,
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
    fan_out::run(&args.target, format, printer, async |target, printer| {
        look(&args, target, printer).await
    })
    .await
}

async fn look(
    args: &EnvArgs,
    target: Target,
    printer: &mut Printer,
) -> Result<ExitStatus, CommandError> {
    let environment = read(&target.session, target.process()).await?;
    let redactor = Redactor::new(args.show_secrets);
    // The kubelet hands variables over in a random order.
    printer.compare_by(
        environment
            .entries
            .iter()
            .map(|entry| environment.bytes(entry)),
    );
    match args.output {
        EnvFormat::Text => text(&environment, redactor, printer)?,
        EnvFormat::Json => printer.json(&Report::new(&target, &environment, redactor))?,
        EnvFormat::Dotenv => {
            let file = dotenv::render(&environment, redactor);
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
            let block = null(&environment, redactor);
            printer
                .data()
                .write_all(&block)
                .map_err(CommandError::output)?;
        }
    }
    explain(&target, &environment, redactor, printer);
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

fn text(
    environment: &Environment,
    redactor: Redactor,
    printer: &mut Printer,
) -> Result<(), CommandError> {
    let out = printer.data();
    for entry in &environment.entries {
        let mut line = safe(environment.name(entry));
        let value = shown(environment, entry, redactor);
        if entry.name_length.is_some() {
            line.push('=');
            line.push_str(&safe(&value.bytes()));
        } else {
            line = safe(&value.bytes());
        }
        if !entry.marks.is_empty() {
            let marks: Vec<_> = entry.marks.iter().map(Mark::meaning).collect();
            line.push_str("  # ");
            line.push_str(&marks.join("; "));
        }
        writeln!(out, "{line}").map_err(CommandError::output)?;
    }
    Ok(())
}

/// The value of an entry, as far as it may be shown; the whole entry when it has no `=`.
pub(super) fn shown<'a>(
    environment: &'a Environment,
    entry: &Entry,
    redactor: Redactor,
) -> Shown<'a> {
    let value = environment.value(entry);
    if entry.has_lost_its_name() {
        return redactor.nameless(value.unwrap_or_else(|| environment.bytes(entry)));
    }
    match value {
        Some(value) => redactor.variable(environment.name(entry), value, Source::Unknown),
        None => redactor.text(environment.bytes(entry)),
    }
}

/// The block as the kernel has it, but for what is hidden.
fn null(environment: &Environment, redactor: Redactor) -> Vec<u8> {
    let mut block = Vec::with_capacity(environment.block.len());
    let mut copied_to = 0;
    for entry in &environment.entries {
        let value = shown(environment, entry, redactor);
        let start = entry.range.start + entry.name_length.map_or(0, |length| length + 1);
        block.extend_from_slice(environment.block.get(copied_to..start).unwrap_or_default());
        block.extend_from_slice(&value.bytes());
        copied_to = entry.range.end;
    }
    block.extend_from_slice(environment.block.get(copied_to..).unwrap_or_default());
    block
}

/// Says what the entries alone do not.
fn explain(target: &Target, environment: &Environment, redactor: Redactor, printer: &Printer) {
    let process = target.process();
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
    let hidden = environment
        .entries
        .iter()
        .filter(|entry| !shown(environment, entry, redactor).hidden().is_empty())
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
}

impl<'a> Report<'a> {
    pub(super) fn new(
        target: &'a Target,
        environment: &'a Environment,
        redactor: Redactor,
    ) -> Self {
        let row = |entry: &'a Entry| {
            let value = shown(environment, entry, redactor);
            Row {
                name: entry
                    .name_length
                    .map(|_| JsonBytes(environment.name(entry))),
                value: JsonCow(value.bytes()),
                redacted: value.hidden().to_vec(),
                marks: entry.marks.clone(),
            }
        };
        Self {
            schema: 1,
            process: Subject::new(target),
            overwritten: environment.overwritten,
            bytes: environment.block.len(),
            entries: environment.entries.iter().map(row).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use bstr::ByteSlice as _;

    use super::*;

    #[test]
    fn the_null_format_is_the_block_but_for_secrets() {
        let block = b"A=1\0\0TOKEN=abc\0plain\0B=2";
        let environment = Environment::parse(&block[..]);
        assert_eq!(null(&environment, Redactor::new(true)), block);
        let environment = Environment::parse("A=1\0TOKEN=abc\0plain\0B=2");
        assert_eq!(
            null(&environment, Redactor::new(false)).as_bstr(),
            "A=1\0TOKEN=[redacted: 3 bytes]\0plain\0B=2"
        );
    }

    #[test]
    fn a_torn_entry_shows_no_value_because_its_name_may_have_been_a_secrets() {
        let environment = Environment::parse("ker process\0ter2\0WORD=hunter2\0A=1\0");
        let text = null(&environment, Redactor::new(false));
        assert!(!text.contains_str("ter2"), "{}", text.as_bstr());
        assert!(text.contains_str("A=1"));
    }
}
