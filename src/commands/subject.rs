//! What every report says of the process and of a file.

use bstr::BString;
use jiff::Timestamp;
use serde::Serialize;

use crate::{
    protocol::message::{Entry, FileKind, Process, Reading},
    render::JsonBytes,
};

/// The process that was looked at.
#[derive(Serialize)]
pub(super) struct Subject<'a> {
    pid: u32,
    inner_pid: u32,
    name: JsonBytes<'a>,
    started: Option<String>,
    executable: Option<JsonBytes<'a>>,
    folder: Option<JsonBytes<'a>>,
}

impl<'a> Subject<'a> {
    pub(super) fn new(process: &'a Process) -> Self {
        let path = |reading: &'a Reading<BString>| reading.known().map(|path| JsonBytes(path));
        Self {
            pid: process.id.pid,
            inner_pid: process.inner_pid,
            name: JsonBytes(&process.name),
            started: Timestamp::from_millisecond(process.started_at)
                .ok()
                .map(|time| time.to_string()),
            executable: path(&process.executable),
            folder: path(&process.folder),
        }
    }
}

/// A file of the target, as JSON.
#[derive(Serialize)]
pub(super) struct FileRow<'a> {
    path: JsonBytes<'a>,
    kind: &'static str,
    mode: String,
    uid: u32,
    gid: u32,
    size: u64,
    modified: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    link: Option<JsonBytes<'a>>,
}

impl<'a> FileRow<'a> {
    /// A file under the path that is given, which may be longer than the entry's own.
    pub(super) fn new(path: &'a [u8], entry: &'a Entry) -> Self {
        Self {
            path: JsonBytes(path),
            kind: kind(entry.kind),
            mode: format!("{:04o}", entry.permissions),
            uid: entry.uid,
            gid: entry.gid,
            size: entry.size,
            modified: Timestamp::from_nanosecond(i128::from(entry.modified))
                .ok()
                .map(|time| time.to_string()),
            link: entry.link.as_ref().map(|link| JsonBytes(link)),
        }
    }
}

/// The word for a kind of file in JSON.
pub(super) const fn kind(kind: FileKind) -> &'static str {
    match kind {
        FileKind::File => "file",
        FileKind::Folder => "folder",
        FileKind::Symlink => "symlink",
        FileKind::Fifo => "fifo",
        FileKind::Socket => "socket",
        FileKind::BlockDevice => "block-device",
        FileKind::CharacterDevice => "character-device",
    }
}

/// A number with its noun.
pub(super) fn counted(number: u64, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
}
