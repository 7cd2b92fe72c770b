//! What is known of the process itself, each as a file of the bundle.

use bstr::{BStr, BString};
use jiff::Timestamp;
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::made_here;
use crate::{
    commands::{
        env, facts, fetch::is_final, net, ps, store::Store, subject::kind, tree::CopyError,
    },
    evidence::{connections, redact::Redactor},
    protocol::message::{HeldBy, HeldFile, Opened, ProcFile, ProcessId, Reading, Request},
    render::JsonBytes,
    session::RequestError,
    target::Target,
};

/// `maps` of a process with very many mappings has some ten megabytes.
const LIMIT: usize = 256 * 1024 * 1024;

/// A fact, or why it is missing.
pub(super) struct Fact {
    /// Its file in the bundle.
    pub(super) file: BString,
    pub(super) content: Result<Stored, String>,
}

/// The content of a file of the bundle.
pub(super) struct Stored {
    pub(super) bytes: usize,
    pub(super) digest: [u8; 32],
}

impl Fact {
    pub(super) const fn is_known(&self) -> bool {
        self.content.is_ok()
    }
}

/// Reads all facts and stores them.
pub(super) async fn collect(
    target: &Target,
    redactor: Redactor,
    store: &Store<'_>,
    taken: Timestamp,
) -> Result<Vec<Fact>, CopyError> {
    let mut facts = Vec::new();
    let mut keep = |file: &str, content: Result<Vec<u8>, RequestError>| {
        let file = BString::from(file);
        let content = match content {
            Ok(content) => Ok(write(store, file.as_ref(), &content, taken)?),
            Err(error) if is_final(&error) => return Err(CopyError::from(error)),
            Err(error) => Err(error.to_string()),
        };
        facts.push(Fact { file, content });
        Ok(())
    };
    let session = &target.session;
    let process = target.process().id;

    keep("processes.json", json(&ps::Report::new(target, redactor)))?;
    let environment = env::read(session, target.process()).await;
    let environment =
        environment.and_then(|environment| json(&env::Report::new(target, &environment, redactor)));
    keep("environment.json", environment)?;
    let open_files = facts::held(target).await;
    let open_files = open_files.and_then(|files| json(&OpenFiles::new(&files)));
    keep("open-files.json", open_files)?;
    let sockets = net::sockets(target, true).await;
    keep(
        "sockets.json",
        sockets.and_then(|sockets| json(&Sockets::new(&sockets, process))),
    )?;
    for file in ProcFile::ALL {
        let content = match session.request(&Request::ProcFile { process, file }) {
            Ok(mut reply) => reply.bytes(LIMIT).await,
            Err(error) => Err(error),
        };
        // Sources of mounts may be URLs with a password.
        let content = content.map(|content| redactor.text(&content).bytes().into_owned());
        keep(&format!("proc/{}", file.name()), content)?;
    }
    Ok(facts)
}

fn write(
    store: &Store<'_>,
    file: &BStr,
    content: &[u8],
    taken: Timestamp,
) -> Result<Stored, CopyError> {
    let mut writer = store.create(file)?;
    writer.data(content)?;
    store.complete(file, writer, made_here(taken))?;
    Ok(Stored {
        bytes: content.len(),
        digest: Sha256::digest(content).into(),
    })
}

fn json(value: &impl Serialize) -> Result<Vec<u8>, RequestError> {
    // No map with keys that are no strings, and nothing else that this could refuse.
    let mut content = serde_json::to_vec_pretty(value).map_err(|_| RequestError::Unreadable)?;
    content.push(b'\n');
    Ok(content)
}

#[derive(Serialize)]
struct OpenFiles<'a> {
    schema: u32,
    files: Vec<OpenFileRow<'a>>,
}

#[derive(Serialize)]
struct OpenFileRow<'a> {
    descriptor: u32,
    name: Option<JsonBytes<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unavailable: Option<String>,
    kind: Option<&'static str>,
    size: Option<u64>,
    deleted: bool,
    position: u64,
    flags: String,
}

impl<'a> OpenFiles<'a> {
    fn new(files: &'a [HeldFile]) -> Self {
        let row = |file: &'a HeldFile| {
            let HeldBy::Descriptor(descriptor) = file.by else {
                return None;
            };
            let stat = file.stat.known();
            let of_file = stat.and_then(|stat| Some((kind(stat.kind?), stat.size)));
            let opened = file.opened.unwrap_or(Opened {
                flags: 0,
                position: 0,
            });
            Some(OpenFileRow {
                descriptor,
                name: file.name.known().map(|name| JsonBytes(name)),
                unavailable: match &file.name {
                    Reading::Known(_) => None,
                    Reading::Unavailable(failure) => Some(failure.to_string()),
                },
                kind: of_file.map(|(kind, _)| kind),
                size: of_file.map(|(_, size)| size),
                deleted: stat.is_some_and(|stat| stat.links == 0),
                position: opened.position,
                flags: format!("{:#o}", opened.flags),
            })
        };
        Self {
            schema: 1,
            files: files.iter().filter_map(row).collect(),
        }
    }
}

#[derive(Serialize)]
struct Sockets<'a> {
    schema: u32,
    sockets: Vec<SocketRow<'a>>,
}

#[derive(Serialize)]
struct SocketRow<'a> {
    protocol: String,
    near: Option<String>,
    far: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<JsonBytes<'a>>,
    state: Option<String>,
    unread: u32,
    unsent: u32,
    inode: u64,
    descriptor: Option<u32>,
}

impl<'a> Sockets<'a> {
    fn new(sockets: &'a connections::Sockets, process: ProcessId) -> Self {
        let row = |socket: &'a connections::Socket| {
            let facts = &socket.facts;
            let mut holders = socket.holders.iter();
            SocketRow {
                protocol: facts.protocol.to_string(),
                near: facts.near.map(|address| address.to_string()),
                far: facts.far.map(|address| address.to_string()),
                path: facts.path.as_ref().map(|path| JsonBytes(path)),
                state: facts.state.map(|state| state_name(state).to_owned()),
                unread: facts.unread,
                unsent: facts.unsent,
                inode: facts.inode,
                descriptor: holders
                    .find(|holder| holder.pid == process.pid)
                    .map(|holder| holder.descriptor),
            }
        };
        Self {
            schema: 1,
            sockets: sockets.sockets.iter().map(row).collect(),
        }
    }
}

/// As `ss` names them.
const fn state_name(state: crate::protocol::message::SocketState) -> &'static str {
    use crate::protocol::message::SocketState as State;
    match state {
        State::Established => "established",
        State::SynSent => "syn-sent",
        State::SynReceived => "syn-recv",
        State::FinWait1 => "fin-wait-1",
        State::FinWait2 => "fin-wait-2",
        State::TimeWait => "time-wait",
        State::Closed => "closed",
        State::CloseWait => "close-wait",
        State::LastAck => "last-ack",
        State::Listening => "listening",
        State::Closing => "closing",
    }
}
