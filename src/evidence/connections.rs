//! The sockets of a network namespace, joined with the processes that hold them.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    net::{IpAddr, SocketAddr},
};

use bstr::BString;

use crate::protocol::message::{
    ConnectionRecord, Counters, Failure, Held, NetProcess, Network, Protocol, SocketFacts,
    SocketState, SocketTable, Way,
};

/// All that is known of a namespace's sockets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sockets {
    /// Whose namespace it is.
    pub network: Option<Network>,
    /// How each table was read.
    pub tables: Vec<SocketTable>,
    /// The sockets, those that listen first.
    pub sockets: Vec<Socket>,
    /// What the kernel has counted, where it counts.
    pub counters: Option<Counters>,
    /// The processes that hold sockets, by number.
    pub processes: BTreeMap<u32, NetProcess>,
    /// The processes whose descriptors cannot be followed, and why.
    pub unseen: Vec<(NetProcess, Failure)>,
}

/// A socket and who holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Socket {
    /// As the kernel shows it.
    pub facts: SocketFacts,
    /// Who holds it, by number of process; nobody in sight when it is empty.
    pub holders: Vec<Holder>,
    /// Which side it is.
    pub side: Side,
}

/// A process with the lowest descriptor by which it holds a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Holder {
    /// The process.
    pub pid: u32,
    /// The descriptor.
    pub descriptor: u32,
}

/// Which side of a connection a socket is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    /// It waits for others to come.
    Listening,
    /// Others have come.
    Accepted,
    /// It went to others.
    Dialled,
}

impl Sockets {
    /// Joins what an agent has told.
    pub fn of(records: impl IntoIterator<Item = ConnectionRecord>) -> Self {
        let mut joined = Self::default();
        let mut tables: Vec<(SocketTable, Vec<SocketFacts>)> = Vec::new();
        let mut holders: HashMap<u64, Vec<Holder>> = HashMap::new();
        let mut process = None;
        for record in records {
            match record {
                ConnectionRecord::Network(network) => joined.network = Some(network),
                ConnectionRecord::Table(table) => {
                    // One that is told again stands for what came before: that broke off.
                    tables.retain(|(known, _)| {
                        (known.protocol, known.is_v6) != (table.protocol, table.is_v6)
                    });
                    tables.push((table, Vec::new()));
                }
                ConnectionRecord::Socket(socket) => {
                    if let Some((_, sockets)) = tables.last_mut() {
                        sockets.push(*socket);
                    }
                }
                ConnectionRecord::Counters(counters) => joined.counters = Some(counters),
                ConnectionRecord::Process(told) => process = Some(told),
                ConnectionRecord::Held(held) => {
                    if let Some(process) = &process {
                        joined
                            .processes
                            .entry(process.id.pid)
                            .or_insert_with(|| process.clone());
                        hold(&mut holders, process.id.pid, &held);
                    }
                }
                ConnectionRecord::Unseen(failure) => {
                    joined
                        .unseen
                        .extend(process.take().map(|process| (process, failure)));
                }
            }
        }
        joined.join(tables, &holders);
        joined
    }

    fn join(
        &mut self,
        tables: Vec<(SocketTable, Vec<SocketFacts>)>,
        holders: &HashMap<u64, Vec<Holder>>,
    ) {
        let all = tables.iter().flat_map(|(_, sockets)| sockets);
        let ports: HashMap<u16, Vec<IpAddr>> =
            all.filter_map(listens_at)
                .fold(HashMap::new(), |mut ports, address| {
                    ports
                        .entry(address.port())
                        .or_default()
                        .push(address.ip().to_canonical());
                    ports
                });
        for (table, sockets) in tables {
            self.tables.push(table);
            self.sockets.extend(sockets.into_iter().map(|facts| Socket {
                side: side(&facts, &ports),
                holders: match facts.inode {
                    0 => Vec::new(),
                    inode => holders.get(&inode).cloned().unwrap_or_default(),
                },
                facts,
            }));
        }
        self.sockets.sort_by_cached_key(|socket| {
            (
                socket.side,
                socket.facts.protocol,
                socket.near().map(|near| (near.port(), near.ip())),
                socket.far().map(|far| (far.ip(), far.port())),
            )
        });
    }

    /// Leaves only what some processes hold, and what waits for them to accept it. Answers how many went.
    pub fn keep_those_of(&mut self, processes: &[u32]) -> usize {
        let is_held = |socket: &Socket| {
            let mut holders = socket.holders.iter();
            holders.any(|holder| processes.contains(&holder.pid))
        };
        let ports: HashSet<u16> = self
            .listeners()
            .filter(|socket| is_held(socket))
            .filter_map(|socket| Some(socket.near()?.port()))
            .collect();
        let before = self.sockets.len();
        self.sockets.retain(|socket| {
            let waits = socket.side == Side::Accepted
                && socket.facts.inode == 0
                && socket
                    .near()
                    .is_some_and(|near| ports.contains(&near.port()));
            is_held(socket) || waits
        });
        before - self.sockets.len()
    }

    /// Whether all that listens is known with its queues.
    pub fn is_by_sock_diag(&self, protocol: Protocol, is_v6: bool) -> bool {
        self.tables
            .iter()
            .filter(|table| table.protocol == protocol && table.is_v6 == is_v6)
            .all(|table| table.way == Way::SockDiag)
    }

    /// The sockets that wait for others to come.
    pub fn listeners(&self) -> impl Iterator<Item = &Socket> {
        self.sockets
            .iter()
            .filter(|socket| socket.side == Side::Listening && socket.near().is_some())
    }

    /// The connections over TCP.
    pub fn connections(&self) -> impl Iterator<Item = &Socket> {
        self.sockets.iter().filter(|socket| {
            socket.side != Side::Listening && socket.facts.protocol == Protocol::Tcp
        })
    }

    /// The names of those that hold a socket: `12 (nginx), 13 (nginx)`.
    pub fn holders(&self, socket: &Socket) -> BString {
        let names = socket.holders.iter().map(|holder| {
            let name = self.processes.get(&holder.pid);
            let name = name.map_or_else(BString::default, |process| process.name.clone());
            BString::from(format!("{} ({name})", holder.pid))
        });
        bstr::join(", ", names).into()
    }
}

fn hold(holders: &mut HashMap<u64, Vec<Holder>>, pid: u32, held: &[Held]) {
    for one in held {
        let known = holders.entry(one.inode).or_default();
        // The lowest comes first.
        if known.last().is_none_or(|last| last.pid != pid) {
            known.push(Holder {
                pid,
                descriptor: one.descriptor,
            });
        }
    }
}

/// Where a socket waits for others to come: TCP that listens, UDP without a peer.
fn listens_at(facts: &SocketFacts) -> Option<SocketAddr> {
    let is_waiting = match facts.protocol {
        Protocol::Tcp => facts.state == Some(SocketState::Listening),
        Protocol::Udp => facts.far.is_some_and(|far| far.port() == 0),
        Protocol::Unix => false,
    };
    facts.near.filter(|_| is_waiting)
}

fn side(facts: &SocketFacts, ports: &HashMap<u16, Vec<IpAddr>>) -> Side {
    let Some(near) = facts.near else {
        return Side::Listening;
    };
    if listens_at(facts).is_some() {
        return Side::Listening;
    }
    let ip = near.ip().to_canonical();
    let is_ours = ports.get(&near.port()).is_some_and(|listening| {
        listening
            .iter()
            .any(|one| one.is_unspecified() || *one == ip)
    });
    if facts.protocol == Protocol::Tcp && (is_ours || facts.state == Some(SocketState::SynReceived))
    {
        Side::Accepted
    } else {
        Side::Dialled
    }
}

impl Socket {
    /// Its own address, one of IPv4 in the clothes of IPv6 as what it is.
    pub fn near(&self) -> Option<SocketAddr> {
        self.facts.near.map(canonical)
    }

    /// Its peer's address, in the same way.
    pub fn far(&self) -> Option<SocketAddr> {
        self.facts.far.map(canonical)
    }

    /// Its state.
    pub const fn state(&self) -> Option<SocketState> {
        self.facts.state
    }

    /// For how many milliseconds it has been trying to connect, at least.
    ///
    /// The kernel keeps no such time. It follows from the timer: the first SYNs are sent at equal distances
    /// (`tcp_syn_linear_timeouts`), then at twice the one before.
    pub fn dialling(&self) -> Option<u64> {
        if self.state() != Some(SocketState::SynSent) {
            return None;
        }
        let retransmits = u64::from(self.facts.retransmits);
        let Some(tcp) = self.facts.tcp else {
            return Some(retransmits * 1000);
        };
        let backoff = u32::from(tcp.backoff).min(20);
        let timeout = u64::from(tcp.timeout) / 1000;
        let unit = timeout >> backoff;
        let doubled = (1_u64 << backoff) - 1;
        let sent_at = (retransmits.saturating_sub(backoff.into()) + doubled) * unit;
        let since = timeout.saturating_sub(self.facts.timer.unwrap_or_default().into());
        Some(sent_at + since)
    }

    /// For how many milliseconds there has been a connection, at least.
    pub fn age(&self) -> Option<u64> {
        if self.state() == Some(SocketState::SynSent) {
            return self.dialling();
        }
        let tcp = self.facts.tcp?;
        let times = [tcp.last_sent, tcp.last_received, tcp.last_acknowledged];
        times.into_iter().max().map(u64::from)
    }

    /// For how many milliseconds nothing at all has come from the peer.
    pub fn silence(&self) -> Option<u64> {
        if self.state() == Some(SocketState::SynSent) {
            return self.dialling();
        }
        self.facts.tcp.map(|tcp| tcp.last_acknowledged.into())
    }

    /// Bytes of the peer that the process has not read; the peer's end counts as one to the kernel, and not here.
    pub fn unread(&self) -> u32 {
        match self.state() {
            Some(SocketState::CloseWait | SocketState::LastAck | SocketState::Closing) => {
                self.facts.unread.saturating_sub(1)
            }
            _ => self.facts.unread,
        }
    }

    /// Whether the peer's end still waits to be read.
    pub fn has_unread_end(&self) -> bool {
        self.state() == Some(SocketState::CloseWait) && self.facts.unread > 0
    }
}

/// An address of IPv4 as such, also where a socket of IPv6 has it.
pub fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// Milliseconds for people, in the largest unit that fits.
pub fn lasted(milliseconds: u64) -> String {
    match milliseconds / 1000 {
        0 => format!("{milliseconds} ms"),
        seconds @ 1..120 => format!("{seconds} s"),
        seconds @ 120..7200 => format!("{} min", seconds / 60),
        seconds @ 7200..172_800 => format!("{} h", seconds / 3600),
        seconds => format!("{} days", seconds / 86400),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::protocol::message::{Cause, ProcessId, TcpFacts};

    /// A socket of TCP for tests, with an inode that is its own port.
    pub(crate) fn tcp(near: &str, far: &str, state: SocketState) -> SocketFacts {
        let near: SocketAddr = near.parse().unwrap();
        SocketFacts {
            protocol: Protocol::Tcp,
            near: Some(near),
            far: Some(far.parse().unwrap()),
            path: None,
            state: Some(state),
            unread: 0,
            unsent: 0,
            retransmits: 0,
            timer: None,
            uid: 0,
            inode: near.port().into(),
            only_v6: None,
            tcp: (state != SocketState::Listening).then(TcpFacts::default),
        }
    }

    /// All that an agent would tell of these sockets, which one process holds.
    pub(crate) fn joined(sockets: impl IntoIterator<Item = SocketFacts>) -> Sockets {
        let sockets: Vec<_> = sockets.into_iter().collect();
        let held = sockets
            .iter()
            .map(|socket| Held {
                descriptor: 7,
                inode: socket.inode,
            })
            .collect();
        let mut records = vec![
            ConnectionRecord::Network(Network::Shared),
            ConnectionRecord::Table(table(Way::SockDiag)),
        ];
        records.extend(
            sockets
                .into_iter()
                .map(|socket| ConnectionRecord::Socket(Box::new(socket))),
        );
        records.push(ConnectionRecord::Process(process(1)));
        records.push(ConnectionRecord::Held(held));
        Sockets::of(records)
    }

    fn table(way: Way) -> SocketTable {
        SocketTable {
            protocol: Protocol::Tcp,
            is_v6: false,
            way,
        }
    }

    fn process(pid: u32) -> NetProcess {
        NetProcess {
            id: ProcessId { pid, started: 1 },
            name: "app".into(),
        }
    }

    #[test]
    fn the_side_of_a_connection_follows_from_what_listens() {
        let joined = joined([
            tcp("[::]:80", "[::]:0", SocketState::Listening),
            tcp("127.0.0.1:90", "0.0.0.0:0", SocketState::Listening),
            tcp("10.0.0.1:80", "10.0.0.9:4000", SocketState::Established),
            tcp("10.0.0.1:90", "10.0.0.9:4000", SocketState::Established),
            tcp(
                "[::ffff:10.0.0.1]:5000",
                "[::ffff:10.0.0.2]:80",
                SocketState::SynSent,
            ),
        ]);
        let side = |port: u16, side| {
            joined
                .sockets
                .iter()
                .any(|one| one.near().unwrap().port() == port && one.side == side)
        };
        assert!(side(80, Side::Accepted));
        assert!(side(90, Side::Dialled), "nothing listens on that address");
        assert!(side(5000, Side::Dialled));
        assert_eq!(joined.listeners().count(), 2);
        let dialled = joined.sockets.last().unwrap();
        assert_eq!(dialled.far().unwrap().to_string(), "10.0.0.2:80");
        assert_eq!(joined.holders(dialled), "1 (app)");
    }

    #[test]
    fn a_table_that_broke_off_is_replaced_by_the_one_that_came_instead() {
        let socket = |port: u16| {
            let near = format!("10.0.0.1:{port}");
            ConnectionRecord::Socket(Box::new(tcp(&near, "10.0.0.2:1", SocketState::Established)))
        };
        let joined = Sockets::of([
            ConnectionRecord::Table(table(Way::SockDiag)),
            socket(1),
            ConnectionRecord::Table(table(Way::ProcNet(None))),
            socket(1),
            socket(2),
        ]);
        assert_eq!(joined.sockets.len(), 2);
        assert!(!joined.is_by_sock_diag(Protocol::Tcp, false));
    }

    #[test]
    fn what_others_hold_can_be_left_out() {
        let mut waiting = tcp("10.0.0.1:80", "10.0.0.9:4000", SocketState::Established);
        waiting.inode = 0;
        let mut over = tcp("10.0.0.1:90", "10.0.0.9:4000", SocketState::TimeWait);
        over.inode = 0;
        let mut both = joined([
            tcp("0.0.0.0:80", "0.0.0.0:0", SocketState::Listening),
            waiting,
            over,
        ]);
        assert_eq!(both.clone().keep_those_of(&[2]), 3);
        assert_eq!(both.keep_those_of(&[1]), 1);
        assert_eq!(both.sockets.len(), 2);
    }

    #[test]
    fn a_process_that_cannot_be_looked_into_is_told() {
        let failure = Failure::new("follow", Cause::NotFound);
        let joined = Sockets::of([
            ConnectionRecord::Process(process(1)),
            ConnectionRecord::Unseen(failure.clone()),
        ]);
        assert_eq!(joined.unseen, [(process(1), failure)]);
    }

    #[test]
    fn the_time_of_dialling_follows_from_the_timer() {
        let dialling = |retransmits, backoff, timeout: u32, timer| {
            let mut facts = tcp("10.0.0.1:1", "10.0.0.2:2", SocketState::SynSent);
            facts.retransmits = retransmits;
            facts.timer = Some(timer);
            facts.tcp = Some(TcpFacts {
                backoff,
                timeout: timeout * 1000,
                ..TcpFacts::default()
            });
            joined([facts]).sockets[0].dialling().unwrap()
        };
        assert_eq!(dialling(0, 0, 1000, 400), 600);
        // Four at equal distances, as kernels since 6.5 do.
        assert_eq!(dialling(4, 0, 1000, 1000), 4000);
        assert_eq!(dialling(6, 2, 4000, 4000), 4000 + 3000);
        // Doubled from the first on, as kernels before.
        assert_eq!(dialling(3, 3, 8000, 8000), 7000);
        assert_eq!(dialling(3, 3, 8000, 0), 15000);
    }

    #[test]
    fn the_end_of_the_peer_is_no_byte_of_it() {
        let mut facts = tcp("10.0.0.1:1", "10.0.0.2:2", SocketState::CloseWait);
        facts.unread = 21;
        let sockets = joined([facts]);
        assert_eq!(sockets.sockets[0].unread(), 20);
        assert!(sockets.sockets[0].has_unread_end());
    }
}
