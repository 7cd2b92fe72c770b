//! What every report says of the process and of a file.

use bstr::BString;
use jiff::Timestamp;
use serde::Serialize;

use crate::{
    protocol::{
        Hello,
        message::{Entry, FileKind, Reading},
    },
    render::JsonBytes,
    target::{Place, Target, pod},
};

/// The process that was looked at, and where.
#[derive(Serialize)]
pub(super) struct Subject<'a> {
    pid: u32,
    inner_pid: u32,
    name: JsonBytes<'a>,
    started: Option<String>,
    executable: Option<JsonBytes<'a>>,
    folder: Option<JsonBytes<'a>>,
    /// Why it is this process.
    because: String,
    /// Where it runs, when that is a cluster.
    #[serde(skip_serializing_if = "Option::is_none")]
    pod: Option<PodRow<'a>>,
}

/// The pod in which a process runs, and the agent beside it.
#[derive(Serialize)]
struct PodRow<'a> {
    namespace: &'a str,
    name: &'a str,
    uid: &'a str,
    node: &'a str,
    container: &'a str,
    container_id: &'a str,
    image: &'a str,
    image_id: &'a str,
    agent: AgentRow<'a>,
}

/// The agent's container.
#[derive(Serialize)]
struct AgentRow<'a> {
    container: &'a str,
    image: &'a str,
    version: String,
    /// Whether it was there before this command.
    reused: bool,
    /// Whether `kdbg keep` had the session ready.
    kept: bool,
    rung: char,
    rights: String,
    /// What else would have let it see more, and why it has not got it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    refused: Vec<RefusedRow<'a>>,
}

/// Rights that admission refused.
#[derive(Serialize)]
struct RefusedRow<'a> {
    rung: char,
    rights: String,
    message: &'a str,
}

impl<'a> PodRow<'a> {
    fn new(place: &'a pod::Place) -> Self {
        Self {
            namespace: &place.namespace,
            name: &place.pod,
            uid: &place.uid,
            node: &place.node,
            container: &place.container,
            container_id: &place.container_id,
            image: &place.image,
            image_id: &place.image_id,
            agent: AgentRow {
                container: &place.agent,
                image: &place.agent_image,
                version: Hello::ours().name(),
                reused: place.reused,
                kept: place.kept,
                rung: place.rung.letter(),
                rights: place.rung.to_string(),
                refused: place
                    .refused
                    .iter()
                    .map(|(rung, message)| RefusedRow {
                        rung: rung.letter(),
                        rights: rung.to_string(),
                        message,
                    })
                    .collect(),
            },
        }
    }
}

impl<'a> Subject<'a> {
    pub(super) fn new(target: &'a Target) -> Self {
        let process = target.process();
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
            because: target.choice.because(),
            pod: match &target.place {
                Place::Machine(_) => None,
                Place::Pod(place) => Some(PodRow::new(place)),
            },
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
