//! `kdbg ls`: a folder of the target.

use bstr::BString;
use clap::Args;
use jiff::{Timestamp, tz::TimeZone};
use serde::Serialize;

use super::{
    fan_out,
    subject::{FileRow, Subject},
};
use crate::{
    cli::{
        args::{OutputFormat, TargetArgs},
        error::CommandError,
        exit::ExitStatus,
        printer::Printer,
    },
    protocol::message::{Entry, FileKind, Request},
    render::{
        JsonBytes, safe,
        table::{self, Align},
    },
    target::Target,
};

/// Arguments of `kdbg ls`.
#[derive(Args, Debug)]
pub struct LsArgs {
    #[command(flatten)]
    target: TargetArgs,
    /// A folder or file, as the process sees it; relative paths start at its working directory, which is
    /// the default
    path: Option<std::ffi::OsString>,
    /// How to print it
    #[arg(short, long, value_enum, value_name = "FORMAT", default_value_t)]
    output: OutputFormat,
}

/// Runs `kdbg ls`.
pub async fn run(mut args: LsArgs, printer: &mut Printer) -> Result<ExitStatus, CommandError> {
    args.path = args.path.or_else(|| args.target.misplaced());
    fan_out::run(
        &args.target,
        args.output,
        printer,
        async |target, printer| look(&args, target, printer).await,
    )
    .await
}

async fn look(
    args: &LsArgs,
    target: Target,
    printer: &mut Printer,
) -> Result<ExitStatus, CommandError> {
    let path = super::target_path(args.path.clone().unwrap_or_default());
    let mut reply = target.session.request(&Request::List {
        process: target.process().id,
        path: path.clone(),
    })?;
    let head: Entry = reply.head().await?;
    let mut entries: Vec<Entry> = reply.records().await?;
    // Large folders arrive in several sorted runs.
    entries.sort_by(|left, right| left.path.cmp(&right.path));
    match args.output {
        OutputFormat::Text => text(&path, &head, &entries, printer)?,
        OutputFormat::Json => {
            let entries = entries.iter().map(|entry| FileRow::new(&entry.path, entry));
            printer.json(&Report {
                schema: 1,
                process: Subject::new(&target),
                path: JsonBytes(&path),
                of: FileRow::new(b"", &head),
                entries: (head.kind == FileKind::Folder).then(|| entries.collect()),
            })?;
        }
    }
    target.close().await;
    Ok(ExitStatus::Complete)
}

fn text(
    path: &BString,
    head: &Entry,
    entries: &[Entry],
    printer: &mut Printer,
) -> Result<(), CommandError> {
    if head.kind == FileKind::Folder && entries.is_empty() {
        printer.note("the folder is empty");
        return Ok(());
    }
    let columns = [
        ("MODE", Align::Left),
        ("UID", Align::Right),
        ("GID", Align::Right),
        ("SIZE", Align::Right),
        ("MODIFIED", Align::Left),
        ("NAME", Align::Left),
    ];
    let rows: Vec<_> = if head.kind == FileKind::Folder {
        entries
            .iter()
            .map(|entry| row(&entry.path, entry))
            .collect()
    } else {
        vec![row(path, head)]
    };
    let rendered = table::render(&columns, rows, None);
    write!(printer.data(), "{rendered}").map_err(CommandError::output)
}

fn row(name: &BString, entry: &Entry) -> Vec<String> {
    let mut name = safe(name);
    if let Some(link) = &entry.link {
        name.push_str(" -> ");
        name.push_str(&safe(link));
    }
    let size = match entry.kind {
        // As ls(1) shows them: major and minor number.
        FileKind::BlockDevice | FileKind::CharacterDevice => format!(
            "{}, {}",
            nix::sys::stat::major(entry.size),
            nix::sys::stat::minor(entry.size)
        ),
        _ => entry.size.to_string(),
    };
    vec![
        mode(entry),
        entry.uid.to_string(),
        entry.gid.to_string(),
        size,
        modified(entry.modified),
        name,
    ]
}

fn modified(nanoseconds: i64) -> String {
    Timestamp::from_nanosecond(i128::from(nanoseconds)).map_or_else(
        |_| "?".to_owned(),
        |time| {
            time.to_zoned(TimeZone::system())
                .strftime("%Y-%m-%d %H:%M:%S")
                .to_string()
        },
    )
}

/// Type and permissions, as `ls -l` writes them.
fn mode(entry: &Entry) -> String {
    let mut text = String::with_capacity(10);
    text.push(match entry.kind {
        FileKind::File => '-',
        FileKind::Folder => 'd',
        FileKind::Symlink => 'l',
        FileKind::Fifo => 'p',
        FileKind::Socket => 's',
        FileKind::BlockDevice => 'b',
        FileKind::CharacterDevice => 'c',
    });
    for (shift, special, set, unset) in [
        (6, 0o4000, 's', 'S'),
        (3, 0o2000, 's', 'S'),
        (0, 0o1000, 't', 'T'),
    ] {
        let bits = entry.permissions >> shift;
        text.push(if bits & 4 == 0 { '-' } else { 'r' });
        text.push(if bits & 2 == 0 { '-' } else { 'w' });
        text.push(match (bits & 1 != 0, entry.permissions & special != 0) {
            (true, true) => set,
            (false, true) => unset,
            (true, false) => 'x',
            (false, false) => '-',
        });
    }
    text
}

#[derive(Serialize)]
struct Report<'a> {
    schema: u32,
    process: Subject<'a>,
    path: JsonBytes<'a>,
    of: FileRow<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    entries: Option<Vec<FileRow<'a>>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_written_as_ls_does() {
        let entry = |kind, permissions| Entry {
            path: "".into(),
            kind,
            permissions,
            uid: 0,
            gid: 0,
            size: 0,
            modified: 0,
            changed: 0,
            link: None,
        };
        for (kind, permissions, text) in [
            (FileKind::File, 0o644, "-rw-r--r--"),
            (FileKind::Folder, 0o1777, "drwxrwxrwt"),
            (FileKind::File, 0o6755, "-rwsr-sr-x"),
            (FileKind::File, 0o7000, "---S--S--T"),
            (FileKind::Fifo, 0o600, "prw-------"),
        ] {
            assert_eq!(mode(&entry(kind, permissions)), text);
        }
    }
}
