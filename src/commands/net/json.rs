//! The sockets and findings as JSON.

use bstr::ByteSlice as _;
use serde::Serialize;

use super::{
    Known,
    show::{owner, scopes, state_name},
};
use crate::{
    commands::subject::Subject,
    evidence::{
        connections::{Side, Socket, Sockets},
        findings::Verdict,
        peers::{Names, Owner, Scope},
    },
    protocol::message::{Network, Way},
    render::{JsonBytes, findings::JsonVerdict},
    target::Target,
};

/// The sockets of a target, as JSON.
#[derive(Serialize)]
pub(super) struct Report<'a> {
    schema: u32,
    subject: Subject<'a>,
    /// Whether the process's network namespace is another one than the agent's.
    entered_network: bool,
    tables: Vec<TableRow>,
    counters: CountersRow,
    sockets: Vec<SocketRow<'a>>,
    /// What of the cluster could not be listed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    not_listed: Vec<NotListed<'a>>,
    /// Processes whose descriptors cannot be followed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    not_seen: Vec<NotSeen<'a>>,
    /// What would let in whoever could not see something.
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    hints: &'a [String],
    findings: JsonVerdict<'a>,
}

#[derive(Serialize)]
struct TableRow {
    protocol: String,
    ipv6: bool,
    source: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    because: Option<String>,
}

#[derive(Serialize)]
struct CountersRow {
    listen_overflows: Option<u64>,
    listen_drops: Option<u64>,
}

#[derive(Serialize)]
struct NotListed<'a> {
    what: &'static str,
    /// Whether those of the pod's namespace are known.
    own_namespace: bool,
    because: &'a str,
}

#[derive(Serialize)]
struct NotSeen<'a> {
    pid: u32,
    name: JsonBytes<'a>,
    because: String,
}

#[derive(Serialize)]
struct SocketRow<'a> {
    protocol: String,
    side: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    peer: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<JsonBytes<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    owner: Option<OwnerRow>,
    /// Of a listener: connections that wait, and how many may, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    queue: Option<QueueRow>,
    unread_bytes: u32,
    unsent_bytes: u32,
    retransmits: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    only_ipv6: Option<bool>,
    uid: u32,
    inode: u64,
    /// At least so old.
    age_ms: Option<u64>,
    silent_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tcp: Option<TcpRow>,
    processes: Vec<ProcessRow<'a>>,
}

#[derive(Serialize)]
struct OwnerRow {
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    name_server: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_pod: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    because: Option<String>,
}

#[derive(Serialize)]
struct QueueRow {
    waiting: u32,
    limit: Option<u32>,
}

#[derive(Serialize)]
struct TcpRow {
    round_trip_us: u32,
    unacknowledged_packets: u32,
    total_retransmits: u32,
    last_sent_ms: u32,
    last_received_ms: u32,
    bytes_acknowledged: u64,
    bytes_received: u64,
}

#[derive(Serialize)]
struct ProcessRow<'a> {
    pid: u32,
    name: JsonBytes<'a>,
    descriptor: u32,
}

impl<'a> Report<'a> {
    pub(super) fn new(
        target: &'a Target,
        known: &'a Known,
        names: Option<&Names<'a>>,
        verdict: &'a Verdict,
    ) -> Self {
        let sockets = &known.sockets;
        let counters = sockets.counters.unwrap_or_default();
        Self {
            schema: 1,
            subject: Subject::new(target),
            entered_network: sockets.network == Some(Network::Entered),
            tables: tables(sockets),
            counters: CountersRow {
                listen_overflows: counters.listen_overflows,
                listen_drops: counters.listen_drops,
            },
            sockets: sockets
                .sockets
                .iter()
                .map(|socket| SocketRow::new(sockets, socket, names))
                .collect(),
            not_listed: names.map_or_else(Vec::new, not_listed),
            not_seen: sockets
                .unseen
                .iter()
                .map(|(process, failure)| NotSeen {
                    pid: process.id.pid,
                    name: JsonBytes(&process.name),
                    because: failure.to_string(),
                })
                .collect(),
            hints: &known.remedies,
            findings: JsonVerdict(verdict),
        }
    }
}

fn tables(sockets: &Sockets) -> Vec<TableRow> {
    let tables = sockets.tables.iter();
    tables
        .map(|table| {
            let (source, because) = match &table.way {
                Way::SockDiag => ("sock_diag", None),
                Way::ProcNet(why) => ("proc", why.as_ref().map(ToString::to_string)),
            };
            TableRow {
                protocol: table.protocol.to_string(),
                ipv6: table.is_v6,
                source,
                because,
            }
        })
        .collect()
}

fn not_listed<'a>(names: &Names<'a>) -> Vec<NotListed<'a>> {
    let row = |(what, scope): (&'static str, &'a Scope)| match scope {
        Scope::Everywhere => None,
        Scope::Namespace(why) => Some(NotListed {
            what,
            own_namespace: true,
            because: why,
        }),
        Scope::Nothing(why) => Some(NotListed {
            what,
            own_namespace: false,
            because: why,
        }),
    };
    scopes(names).into_iter().filter_map(row).collect()
}

impl<'a> SocketRow<'a> {
    fn new(sockets: &'a Sockets, socket: &'a Socket, names: Option<&Names<'_>>) -> Self {
        let facts = &socket.facts;
        let is_v6 = facts.near.is_some_and(|near| near.is_ipv6());
        let has_peer = socket.side != Side::Listening;
        let is_listening = socket.side == Side::Listening
            && facts.protocol == crate::protocol::message::Protocol::Tcp;
        let knows_limit = sockets.is_by_sock_diag(facts.protocol, is_v6);
        Self {
            protocol: facts.protocol.to_string(),
            side: match socket.side {
                Side::Listening => "listening",
                Side::Accepted => "accepted",
                Side::Dialled => "dialled",
            },
            state: facts.state.map(state_name),
            address: socket.near().map(|address| address.to_string()),
            peer: socket
                .far()
                .filter(|_| has_peer)
                .map(|address| address.to_string()),
            path: facts.path.as_ref().map(|path| JsonBytes(path.as_bytes())),
            owner: socket
                .far()
                .filter(|_| has_peer)
                .map(|far| OwnerRow::new(&owner(names, far), names, far)),
            queue: is_listening.then(|| QueueRow {
                waiting: facts.unread,
                limit: knows_limit.then_some(facts.unsent),
            }),
            unread_bytes: if is_listening { 0 } else { socket.unread() },
            unsent_bytes: if is_listening { 0 } else { facts.unsent },
            retransmits: facts.retransmits,
            only_ipv6: facts.only_v6,
            uid: facts.uid,
            inode: facts.inode,
            age_ms: socket.age(),
            silent_ms: socket.silence(),
            tcp: facts.tcp.map(|tcp| TcpRow {
                round_trip_us: tcp.round_trip,
                unacknowledged_packets: tcp.unacknowledged,
                total_retransmits: tcp.total_retransmits,
                last_sent_ms: tcp.last_sent,
                last_received_ms: tcp.last_received,
                bytes_acknowledged: tcp.bytes_acknowledged,
                bytes_received: tcp.bytes_received,
            }),
            processes: socket
                .holders
                .iter()
                .filter_map(|holder| {
                    Some(ProcessRow {
                        pid: holder.pid,
                        name: JsonBytes(&sockets.processes.get(&holder.pid)?.name),
                        descriptor: holder.descriptor,
                    })
                })
                .collect(),
        }
    }
}

impl OwnerRow {
    fn new(owner: &Owner, names: Option<&Names<'_>>, far: std::net::SocketAddr) -> Self {
        let (last_pod, because) = match owner {
            Owner::Nobody(Some(past)) => (Some(past.name.clone()), Some(past.because.clone())),
            Owner::Unknown(why) => (None, Some(why.clone())),
            _ => (None, None),
        };
        Self {
            kind: owner.kind(),
            name: owner.name().map(str::to_owned),
            name_server: names.is_some_and(|names| names.is_name_server(far)),
            last_pod,
            because,
        }
    }
}
