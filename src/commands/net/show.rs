//! The sockets as tables, and what is wrong with them.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
};

use super::{Known, NetArgs};
use crate::{
    cli::{error::CommandError, printer::Printer},
    evidence::{
        connections::{Side, Socket, Sockets, lasted},
        findings::Verdict,
        peers::{Names, Owner, Scope},
    },
    protocol::message::{Protocol, SocketState, Way},
    render::{
        findings, safe,
        table::{self, Align},
    },
};

/// Prints the listeners, the connections and the findings.
pub(super) fn text(
    args: &NetArgs,
    known: &Known,
    names: Option<&Names<'_>>,
    verdict: &Verdict,
    printer: &mut Printer,
) -> Result<(), CommandError> {
    say_limits(known, names, printer);
    let width = printer.width();
    let sockets = &known.sockets;
    let mut out = listeners(sockets, width);
    let mut left_out = Vec::new();
    if !args.listening {
        out.push('\n');
        if args.all_sockets {
            out += &each(sockets, names, width);
        } else {
            out += &grouped(sockets, names, width);
            let waiting = sockets.connections().filter(|one| is_over(one)).count();
            if waiting > 0 {
                left_out.push(format!("{waiting} that only wait for the last packets"));
            }
        }
    }
    if args.all_sockets {
        out += &unix(sockets, width);
    }
    out.push('\n');
    out += &findings::text(verdict);
    write!(printer.data(), "{out}").map_err(CommandError::output)?;
    if known.others > 0 {
        left_out.push(format!("{} of other processes, or of none", known.others));
    }
    if !left_out.is_empty() {
        printer.note(&format!(
            "not shown: {}; `-a` shows them",
            left_out.join(", ")
        ));
    }
    Ok(())
}

/// Says from where the sockets are, where that is not the best source, and what of the cluster is not known.
fn say_limits(known: &Known, names: Option<&Names<'_>>, printer: &Printer) {
    let mut reasons = BTreeSet::new();
    for table in &known.sockets.tables {
        if let Way::ProcNet(Some(failure)) = &table.way {
            reasons.insert(failure.to_string());
        }
    }
    for reason in &reasons {
        printer.warning(&format!(
            "the sockets are from /proc, without times and retransmissions: {reason}"
        ));
    }
    if reasons.is_empty() {
        printer.note("the sockets are from sock_diag");
    }
    for (process, failure) in &known.sockets.unseen {
        printer.warning(&format!(
            "what process {} ({}) holds is not known: {failure}",
            process.id.pid,
            safe(&process.name)
        ));
    }
    for remedy in &known.remedies {
        printer.hint(remedy);
    }
    let Some(names) = names else { return };
    for (what, scope) in scopes(names) {
        match scope {
            Scope::Everywhere => {}
            Scope::Namespace(why) => printer.warning(&format!(
                "{what} of other namespaces are not known, only those of the pod's: {why}"
            )),
            Scope::Nothing(why) => printer.warning(&format!("{what} are not known: {why}")),
        }
    }
}

/// What was listed, and of which part of the cluster.
pub(super) fn scopes<'a>(names: &Names<'a>) -> Vec<(&'static str, &'a Scope)> {
    let directory = names.directory();
    vec![
        ("pods", &directory.pods.scope),
        ("Services", &directory.services.scope),
        ("EndpointSlices", &directory.endpoints.scope),
        ("nodes", &directory.nodes.scope),
    ]
}

fn listeners(sockets: &Sockets, width: Option<usize>) -> String {
    let columns = [
        ("LISTENS", Align::Left),
        ("ADDRESS", Align::Left),
        ("WAITING", Align::Right),
        ("PROCESS", Align::Left),
    ];
    let mut rows: Vec<_> = sockets
        .listeners()
        .map(|socket| {
            vec![
                socket.facts.protocol.to_string(),
                socket.near().map_or_else(String::new, listening_at),
                queue(sockets, socket),
                process(sockets, socket),
            ]
        })
        .collect();
    // Several sockets of one port share the work (SO_REUSEPORT).
    rows.dedup();
    if rows.is_empty() {
        return "nothing listens\n".to_owned();
    }
    table::render(&columns, rows, width)
}

/// An address as a listener shows it.
pub(super) fn listening_at(address: SocketAddr) -> String {
    match address {
        SocketAddr::V4(address) if address.ip().is_unspecified() => format!("*:{}", address.port()),
        other => other.to_string(),
    }
}

/// How many connections wait, and how many may; of UDP the bytes that were not read.
fn queue(sockets: &Sockets, socket: &Socket) -> String {
    let facts = &socket.facts;
    let is_v6 = facts.near.is_some_and(|near| near.is_ipv6());
    match facts.protocol {
        Protocol::Tcp if sockets.is_by_sock_diag(Protocol::Tcp, is_v6) => {
            format!("{}/{}", facts.unread, facts.unsent)
        }
        Protocol::Tcp => format!("{}/?", facts.unread),
        Protocol::Udp | Protocol::Unix => format!("{} B", facts.unread),
    }
}

/// Who holds a socket, shortened where many do.
fn process(sockets: &Sockets, socket: &Socket) -> String {
    let mut text = match (socket.holders.as_slice(), socket.facts.inode) {
        ([], 0) if socket.side == Side::Accepted && !is_over(socket) => "not accepted".to_owned(),
        ([], 0) => "-".to_owned(),
        ([], _) => "?".to_owned(),
        ([first, more @ ..], _) => {
            let name = sockets.processes.get(&first.pid);
            let name = name.map_or_else(String::new, |process| safe(&process.name));
            let more = match more.len() {
                0 => String::new(),
                count => format!(" and {count} more"),
            };
            format!("{} ({name}){more}", first.pid)
        }
    };
    if text.is_empty() {
        text.push('?');
    }
    text
}

/// Whether nobody waits for it any more.
const fn is_over(socket: &Socket) -> bool {
    matches!(
        socket.facts.state,
        Some(SocketState::TimeWait | SocketState::FinWait2 | SocketState::Closed)
    ) && socket.facts.inode == 0
}

/// The connections of one process to one peer in one state.
#[derive(Default)]
struct Group {
    count: usize,
    unread: u64,
    unsent: u64,
    retransmits: u64,
    age: Option<u64>,
    silence: Option<u64>,
}

impl Group {
    fn add(&mut self, socket: &Socket) {
        self.count += 1;
        self.unread += u64::from(socket.unread());
        self.unsent += u64::from(socket.facts.unsent);
        self.retransmits += u64::from(retransmits(socket));
        self.age = self.age.max(socket.age());
        self.silence = self.silence.max(socket.silence());
    }
}

/// How often anything was sent again.
fn retransmits(socket: &Socket) -> u32 {
    let total = socket.facts.tcp.map_or(0, |tcp| tcp.total_retransmits);
    total.max(socket.facts.retransmits.into())
}

fn grouped(sockets: &Sockets, names: Option<&Names<'_>>, width: Option<usize>) -> String {
    let columns = [
        ("PROCESS", Align::Left),
        ("CONNECTED", Align::Left),
        ("WHOSE", Align::Left),
        ("STATE", Align::Left),
        ("COUNT", Align::Right),
        ("UNREAD", Align::Right),
        ("UNSENT", Align::Right),
        ("RESENT", Align::Right),
        ("AGE", Align::Right),
        ("SILENT", Align::Right),
    ];
    let mut groups: BTreeMap<(String, Side, String, String, Option<SocketState>), Group> =
        BTreeMap::new();
    for socket in connections(sockets).filter(|socket| !is_over(socket)) {
        let key = (
            process(sockets, socket),
            socket.side,
            ends(socket),
            whose(names, socket),
            socket.facts.state,
        );
        groups.entry(key).or_default().add(socket);
    }
    if groups.is_empty() {
        return "nothing is connected\n".to_owned();
    }
    let rows = groups
        .into_iter()
        .map(|((process, _, ends, whose, state), group)| {
            vec![
                process,
                ends,
                whose,
                state.map_or("", state_name).to_owned(),
                group.count.to_string(),
                group.unread.to_string(),
                group.unsent.to_string(),
                group.retransmits.to_string(),
                time(group.age),
                time(group.silence),
            ]
        });
    table::render(&columns, rows, width)
}

/// TCP, and UDP that has a peer.
fn connections(sockets: &Sockets) -> impl Iterator<Item = &Socket> {
    let with_peer = |socket: &&Socket| socket.side != Side::Listening;
    sockets.sockets.iter().filter(with_peer)
}

/// `to 10.2.0.9:5432`; who came is known by its address, for its port is any.
fn ends(socket: &Socket) -> String {
    let (Some(near), Some(far)) = (socket.near(), socket.far()) else {
        return String::new();
    };
    match (socket.side, socket.facts.protocol) {
        (Side::Accepted, _) => format!("from {} on :{}", far.ip(), near.port()),
        (_, Protocol::Udp) => format!("to {far}/udp"),
        _ => format!("to {far}"),
    }
}

/// Whose the peer is.
fn whose(names: Option<&Names<'_>>, socket: &Socket) -> String {
    let Some(far) = socket.far() else {
        return String::new();
    };
    let owner = owner(names, far);
    match names {
        Some(names) if names.is_name_server(far) => format!("name server, {owner}"),
        _ => owner.to_string(),
    }
}

/// Whose an address is, also where there is no cluster.
pub(super) fn owner(names: Option<&Names<'_>>, address: SocketAddr) -> Owner {
    match names {
        Some(names) => names.owner(address),
        None if address.ip().is_loopback() => Owner::Loopback,
        None => Owner::Unasked,
    }
}

fn each(sockets: &Sockets, names: Option<&Names<'_>>, width: Option<usize>) -> String {
    let columns = [
        ("PROCESS", Align::Left),
        ("FD", Align::Right),
        ("OWN ADDRESS", Align::Left),
        ("PEER", Align::Left),
        ("WHOSE", Align::Left),
        ("STATE", Align::Left),
        ("UNREAD", Align::Right),
        ("UNSENT", Align::Right),
        ("RESENT", Align::Right),
        ("RTT", Align::Right),
        ("AGE", Align::Right),
        ("SILENT", Align::Right),
    ];
    let rows = connections(sockets).map(|socket| {
        let address = |address: Option<SocketAddr>| {
            address.map_or_else(String::new, |address| address.to_string())
        };
        let descriptor = socket.holders.first().map(|holder| holder.descriptor);
        let round_trip = socket.facts.tcp.filter(|tcp| tcp.round_trip > 0);
        vec![
            process(sockets, socket),
            descriptor.map_or_else(String::new, |number| number.to_string()),
            address(socket.near()),
            address(socket.far()),
            whose(names, socket),
            socket.facts.state.map_or("", state_name).to_owned(),
            socket.unread().to_string(),
            socket.facts.unsent.to_string(),
            retransmits(socket).to_string(),
            round_trip.map_or_else(String::new, |tcp| {
                crate::evidence::reach::time(tcp.round_trip.into())
            }),
            time(socket.age()),
            time(socket.silence()),
        ]
    });
    table::render(&columns, rows, width)
}

fn unix(sockets: &Sockets, width: Option<usize>) -> String {
    let columns = [("UNIX", Align::Left), ("PROCESS", Align::Left)];
    let rows: Vec<_> = sockets
        .sockets
        .iter()
        .filter(|socket| socket.facts.protocol == Protocol::Unix)
        .map(|socket| {
            let path = socket.facts.path.as_ref();
            let path = path.map_or_else(|| "-".to_owned(), |path| safe(path));
            vec![path, process(sockets, socket)]
        })
        .collect();
    if rows.is_empty() {
        return String::new();
    }
    format!("\n{}", table::render(&columns, rows, width))
}

fn time(milliseconds: Option<u64>) -> String {
    milliseconds.map_or_else(|| "?".to_owned(), lasted)
}

/// A state as `ss` and `netstat` name it.
pub(in crate::commands) const fn state_name(state: SocketState) -> &'static str {
    match state {
        SocketState::Established => "ESTABLISHED",
        SocketState::SynSent => "SYN_SENT",
        SocketState::SynReceived => "SYN_RECV",
        SocketState::FinWait1 => "FIN_WAIT1",
        SocketState::FinWait2 => "FIN_WAIT2",
        SocketState::TimeWait => "TIME_WAIT",
        SocketState::Closed => "CLOSE",
        SocketState::CloseWait => "CLOSE_WAIT",
        SocketState::LastAck => "LAST_ACK",
        SocketState::Listening => "LISTEN",
        SocketState::Closing => "CLOSING",
    }
}
