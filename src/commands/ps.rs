//! `kdbg ps`: the processes of a target.

use clap::Args;
use jiff::{Timestamp, tz::TimeZone};
use serde::Serialize;

use super::{fan_out, subject::Subject};
use crate::{
    cli::{
        args::{OutputFormat, TargetArgs},
        error::CommandError,
        exit::ExitStatus,
        printer::Printer,
    },
    evidence::redact::{Hidden, Redactor},
    protocol::message::{Cause, Process, Reading},
    render::{
        JsonBytes, JsonCow, safe,
        table::{self, Align},
    },
    target::Target,
};

/// Arguments of `kdbg ps`.
#[derive(Args, Debug)]
pub struct PsArgs {
    #[command(flatten)]
    target: TargetArgs,
    /// How to print it
    #[arg(short, long, value_enum, value_name = "FORMAT", default_value_t)]
    output: OutputFormat,
    /// Print passwords, tokens and keys among the arguments as they are
    #[arg(long)]
    show_secrets: bool,
}

/// Runs `kdbg ps`.
pub async fn run(args: PsArgs, printer: &mut Printer) -> Result<ExitStatus, CommandError> {
    fan_out::run(
        &args.target,
        args.output,
        printer,
        async |target, printer| look(&args, target, printer).await,
    )
    .await
}

async fn look(
    args: &PsArgs,
    target: Target,
    printer: &mut Printer,
) -> Result<ExitStatus, CommandError> {
    let redactor = Redactor::new(args.show_secrets);
    match args.output {
        OutputFormat::Text => text(&target, redactor, printer)?,
        OutputFormat::Json => printer.json(&Report::new(&target, redactor))?,
    }
    let complete = target
        .processes
        .iter()
        .all(|process| process.listening.known().is_some());
    target.close().await;
    Ok(ExitStatus::of_comparison(false, complete))
}

fn text(target: &Target, redactor: Redactor, printer: &mut Printer) -> Result<(), CommandError> {
    let columns = [
        ("", Align::Left),
        ("PID", Align::Right),
        ("INNER", Align::Right),
        ("PARENT", Align::Right),
        ("UID:GID", Align::Left),
        ("STARTED", Align::Left),
        ("LISTENS", Align::Left),
        ("EXE", Align::Left),
        ("CWD", Align::Left),
        ("ARGUMENTS", Align::Left),
    ];
    let chosen = target.process().id;
    let rows = target.processes.iter().map(|process| {
        vec![
            if process.id == chosen {
                "*".to_owned()
            } else {
                String::new()
            },
            process.id.pid.to_string(),
            process.inner_pid.to_string(),
            process.parent.to_string(),
            format!(
                "{}:{}",
                process.credentials.uids[1], process.credentials.gids[1]
            ),
            started(process.started_at),
            listening(process),
            path(&process.executable),
            path(&process.folder),
            arguments(process, redactor),
        ]
    });
    let rendered = table::render(&columns, rows, printer.width());
    write!(printer.data(), "{rendered}").map_err(CommandError::output)?;
    for failure in unavailable(&target.processes) {
        printer.warning(&failure);
    }
    Ok(())
}

/// Each reason once, however many processes share it.
fn unavailable(processes: &[Process]) -> Vec<String> {
    let mut reasons = Vec::new();
    for process in processes {
        for reading in [&process.executable, &process.folder] {
            // A kernel thread has none, and a zombie no longer.
            if let Reading::Unavailable(failure) = reading
                && failure.cause != Cause::NotFound
            {
                reasons.push(failure.to_string());
            }
        }
        if let Reading::Unavailable(failure) = &process.listening {
            reasons.push(failure.to_string());
        }
    }
    reasons.dedup();
    reasons
}

fn started(milliseconds: i64) -> String {
    Timestamp::from_millisecond(milliseconds).map_or_else(
        |_| "?".to_owned(),
        |time| {
            time.to_zoned(TimeZone::system())
                .strftime("%Y-%m-%d %H:%M:%S")
                .to_string()
        },
    )
}

fn listening(process: &Process) -> String {
    match &process.listening {
        Reading::Known(addresses) if addresses.is_empty() => "-".to_owned(),
        Reading::Known(addresses) => addresses
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(","),
        Reading::Unavailable(_) => "?".to_owned(),
    }
}

fn path(reading: &Reading<bstr::BString>) -> String {
    reading
        .known()
        .map_or_else(|| "?".to_owned(), |path| safe(path))
}

fn arguments(process: &Process, redactor: Redactor) -> String {
    if process.arguments.is_empty() {
        // As ps(1) shows a process without arguments.
        return format!("[{}]", safe(&process.name));
    }
    redactor
        .arguments(&process.arguments)
        .iter()
        .map(|argument| safe(&argument.bytes()))
        .collect::<Vec<_>>()
        .join(" ")
}

/// The processes, as JSON.
#[derive(Serialize)]
pub(super) struct Report<'a> {
    schema: u32,
    chosen: Subject<'a>,
    processes: Vec<Row<'a>>,
}

#[derive(Serialize)]
struct Row<'a> {
    pid: u32,
    inner_pid: u32,
    parent: u32,
    state: char,
    name: JsonBytes<'a>,
    uid: u32,
    gid: u32,
    started: Option<String>,
    threads: u32,
    resident_bytes: u64,
    listens: Option<Vec<String>>,
    executable: Option<JsonBytes<'a>>,
    folder: Option<JsonBytes<'a>>,
    arguments: Vec<JsonCow<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    redacted: Vec<Hidden>,
    arguments_cut: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    unavailable: Vec<String>,
}

impl<'a> Report<'a> {
    pub(super) fn new(target: &'a Target, redactor: Redactor) -> Self {
        Self {
            schema: 1,
            chosen: Subject::new(target),
            processes: target
                .processes
                .iter()
                .map(|process| Row::new(process, redactor))
                .collect(),
        }
    }
}

impl<'a> Row<'a> {
    fn new(process: &'a Process, redactor: Redactor) -> Self {
        let arguments = redactor.arguments(&process.arguments);
        Self {
            pid: process.id.pid,
            inner_pid: process.inner_pid,
            parent: process.parent,
            state: char::from(process.state),
            name: JsonBytes(&process.name),
            uid: process.credentials.uids[1],
            gid: process.credentials.gids[1],
            started: Timestamp::from_millisecond(process.started_at)
                .ok()
                .map(|time| time.to_string()),
            threads: process.threads,
            resident_bytes: process.resident,
            listens: process
                .listening
                .known()
                .map(|addresses| addresses.iter().map(ToString::to_string).collect()),
            executable: process.executable.known().map(|path| JsonBytes(path)),
            folder: process.folder.known().map(|path| JsonBytes(path)),
            arguments: arguments
                .iter()
                .map(|argument| JsonCow(argument.bytes()))
                .collect(),
            redacted: arguments
                .iter()
                .flat_map(|argument| argument.hidden().iter().cloned())
                .collect(),
            arguments_cut: process.arguments_cut,
            unavailable: unavailable(std::slice::from_ref(process)),
        }
    }
}
