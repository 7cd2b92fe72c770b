//! One round of questions: to some servers at once, until each is answered or the time is up.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    os::fd::{AsRawFd as _, OwnedFd},
    time::Instant,
};

use hickory_proto::rr::Name;
use nix::{
    errno::Errno,
    poll::PollFlags,
    sys::socket::{MsgFlags, SockType, SockaddrStorage, connect, recv, send},
};

use super::wire::{NoAnswer, Packet};
use crate::{
    agent::{
        Stop,
        dial::{self, socket_for},
        network::Network,
        steps::{AsFdRef, Deadline, Steps},
        target::errno_of,
    },
    protocol::message::{
        Answered, ConnectOutcome, DnsOutcome, DnsQuery, Phase, ProbeRecord, SearchRule, Via,
    },
};

/// What is asked of every server of a round.
pub(super) struct Question {
    pub(super) name: Name,
    pub(super) rule: SearchRule,
    pub(super) kind: u16,
}

/// How a round is done.
#[derive(Clone, Copy, Debug)]
pub(super) struct Manner {
    pub(super) tcp: bool,
    pub(super) edns: bool,
    /// In milliseconds.
    pub(super) limit: u32,
    /// Which attempt this is, from 1.
    pub(super) attempt: u8,
    /// Whether the first answer that says yes or no ends the wait for the other servers.
    pub(super) first_wins: bool,
}

/// A question to one server, under way.
struct Pending<'a> {
    question: &'a Question,
    /// Its place among the questions.
    number: usize,
    server: SocketAddr,
    packet: Packet,
    socket: Option<OwnedFd>,
    at: u64,
    strays: u32,
    outcome: Option<DnsOutcome>,
}

/// Response codes.
pub(super) const NO_ERROR: u16 = 0;
pub(super) const SERVER_FAILURE: u16 = 2;
pub(super) const NO_SUCH_NAME: u16 = 3;

/// As many datagrams that are no answer are read before a socket is given up.
const STRAYS: u32 = 1000;

/// Asks, tells the client each result, and answers them, question by question, for the server that counts.
pub(super) fn ask(
    steps: &mut Steps<'_>,
    network: &Network,
    servers: &[SocketAddr],
    questions: &[Question],
    manner: Manner,
) -> Result<Vec<Option<DnsOutcome>>, Stop> {
    let deadline = steps.within(manner.limit);
    let mut results: Vec<Option<DnsOutcome>> = questions.iter().map(|_| None).collect();
    let mut pending = Vec::new();
    for server in servers {
        for (number, question) in questions.iter().enumerate() {
            let Some(packet) = Packet::new(&question.name, question.kind, manner.edns) else {
                continue;
            };
            let mut one = Pending {
                question,
                number,
                server: *server,
                packet,
                socket: None,
                at: steps.now(),
                strays: 0,
                outcome: None,
            };
            if manner.tcp {
                let outcome = over_tcp(steps, network, &one, deadline)?;
                one.outcome = Some(outcome);
            } else {
                one.send(network);
            }
            if one.outcome.is_some() {
                conclude(steps, &one, manner, via(manner.tcp), &mut results)?;
            }
            pending.push(one);
        }
    }
    while pending.iter().any(|one| one.outcome.is_none()) {
        let is_decided = |number: usize| results.get(number).is_some_and(is_conclusive);
        if manner.first_wins && (0..questions.len()).all(is_decided) {
            break;
        }
        let open: Vec<(&dyn AsFdRef, PollFlags)> = pending
            .iter()
            .filter(|one| one.outcome.is_none())
            .filter_map(|one| Some((one.socket.as_ref()? as &dyn AsFdRef, PollFlags::POLLIN)))
            .collect();
        if !steps.wait(&open, deadline, Phase::Lookup)? {
            break;
        }
        for one in &mut pending {
            if one.outcome.is_none() && one.receive() {
                conclude(steps, one, manner, Via::Udp, &mut results)?;
                if let Some(DnsOutcome::Answered(answer)) = &one.outcome
                    && answer.truncated
                {
                    one.at = steps.now();
                    let outcome = over_tcp(steps, network, one, deadline)?;
                    one.outcome = Some(outcome);
                    conclude(steps, one, manner, Via::Tcp, &mut results)?;
                }
            }
        }
    }
    for one in pending.iter_mut().filter(|one| one.outcome.is_none()) {
        let outcome = if deadline.has_passed() {
            DnsOutcome::TimedOut
        } else {
            DnsOutcome::NotNeeded
        };
        one.outcome = Some(outcome);
        conclude(steps, one, manner, Via::Udp, &mut results)?;
    }
    Ok(results)
}

const fn via(tcp: bool) -> Via {
    if tcp { Via::Tcp } else { Via::Udp }
}

/// Whether an outcome says yes or no.
fn is_conclusive(outcome: &Option<DnsOutcome>) -> bool {
    matches!(outcome, Some(DnsOutcome::Answered(answer)) if matches!(answer.rcode, NO_ERROR | NO_SUCH_NAME))
}

/// Tells the client of an outcome, and keeps it unless a better one is there.
fn conclude(
    steps: &mut Steps<'_>,
    one: &Pending<'_>,
    manner: Manner,
    via: Via,
    results: &mut [Option<DnsOutcome>],
) -> Result<(), Stop> {
    let Some(outcome) = one.outcome.clone() else {
        return Ok(());
    };
    if let Some(result) = results.get_mut(one.number) {
        let is_better = match (&*result, &outcome) {
            (None, _) => true,
            (Some(_), DnsOutcome::NotNeeded) => false,
            // The whole answer after its cut one.
            (Some(DnsOutcome::Answered(kept)), DnsOutcome::Answered(_)) if kept.truncated => true,
            (kept, _) => !is_conclusive(kept) && !matches!(outcome, DnsOutcome::TimedOut),
        };
        if is_better {
            *result = Some(outcome.clone());
        }
    }
    steps.tell(ProbeRecord::Query(Box::new(DnsQuery {
        at: one.at,
        took: steps.now() - one.at,
        server: one.server,
        via,
        name: one.question.name.to_ascii(),
        rule: one.question.rule.clone(),
        kind: one.question.kind,
        attempt: manner.attempt,
        outcome,
    })))
}

impl Pending<'_> {
    /// Sends the question. A socket that is connected hears what ICMP says, and nothing from other addresses.
    fn send(&mut self, network: &Network) {
        let result = socket_for(network, self.server, SockType::Datagram).and_then(|socket| {
            connect(socket.as_raw_fd(), &SockaddrStorage::from(self.server))?;
            send(socket.as_raw_fd(), &self.packet.bytes, MsgFlags::empty())?;
            Ok(socket)
        });
        match result {
            Ok(socket) => self.socket = Some(socket),
            Err(errno) => self.outcome = Some(unreachable(errno, None)),
        }
    }

    /// Reads what has come; answers whether that is the outcome.
    fn receive(&mut self) -> bool {
        let Some(socket) = &self.socket else {
            return false;
        };
        let mut buffer = vec![0; 65_536];
        loop {
            match recv(socket.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT) {
                Ok(length) => match self.packet.read(buffer.get(..length).unwrap_or_default()) {
                    Ok(mut answer) => {
                        answer.strays = self.strays;
                        self.outcome = Some(DnsOutcome::Answered(answer));
                    }
                    Err(NoAnswer::Garbled(why)) => self.outcome = Some(DnsOutcome::Garbled(why)),
                    Err(NoAnswer::Stray) => {
                        self.strays += 1;
                        if self.strays < STRAYS {
                            continue;
                        }
                        let why = format!("{STRAYS} datagrams that answer another question");
                        self.outcome = Some(DnsOutcome::Garbled(why));
                    }
                },
                Err(Errno::EAGAIN | Errno::EINTR) => return false,
                Err(errno) => self.outcome = Some(unreachable(errno, Some(socket))),
            }
            return true;
        }
    }
}

fn unreachable(errno: Errno, socket: Option<&OwnedFd>) -> DnsOutcome {
    DnsOutcome::Unreachable {
        errno: errno as i32,
        icmp: socket.and_then(dial::icmp),
    }
}

/// Asks over a connection of its own.
fn over_tcp(
    steps: &mut Steps<'_>,
    network: &Network,
    one: &Pending<'_>,
    deadline: Deadline,
) -> Result<DnsOutcome, Stop> {
    let limit = deadline.at.saturating_duration_since(Instant::now());
    let limit = u32::try_from(limit.as_millis()).unwrap_or(u32::MAX).max(1);
    let (outcome, stream) = dial::attempt(steps, network, one.server, limit, Phase::Lookup)?;
    let Some(mut stream) = stream else {
        return Ok(match outcome {
            ConnectOutcome::Failed { errno, icmp } => DnsOutcome::Unreachable { errno, icmp },
            _ => DnsOutcome::TimedOut,
        });
    };
    let length = u16::try_from(one.packet.bytes.len()).unwrap_or_default();
    let question = [&length.to_be_bytes(), one.packet.bytes.as_slice()].concat();
    // Some hundred bytes always fit an empty buffer.
    if let Err(error) = stream.write_all(&question) {
        return Ok(unreachable(errno_of(&error), None));
    }
    let mut head = [0; 2];
    if let Some(outcome) = read_all(steps, &mut stream, &mut head, deadline)? {
        return Ok(outcome);
    }
    let mut answer = vec![0; usize::from(u16::from_be_bytes(head))];
    if let Some(outcome) = read_all(steps, &mut stream, &mut answer, deadline)? {
        return Ok(outcome);
    }
    Ok(match one.packet.read(&answer) {
        Ok(answer) => DnsOutcome::Answered(Answered {
            strays: 0,
            ..answer
        }),
        Err(NoAnswer::Garbled(why)) => DnsOutcome::Garbled(why),
        Err(NoAnswer::Stray) => DnsOutcome::Garbled("the answer to another question".to_owned()),
    })
}

/// Fills a buffer; answers what went wrong instead.
fn read_all(
    steps: &mut Steps<'_>,
    stream: &mut TcpStream,
    mut buffer: &mut [u8],
    deadline: Deadline,
) -> Result<Option<DnsOutcome>, Stop> {
    while !buffer.is_empty() {
        match stream.read(buffer) {
            Ok(0) => {
                let why = "the connection ended before the answer did";
                return Ok(Some(DnsOutcome::Garbled(why.to_owned())));
            }
            Ok(count) => buffer = buffer.get_mut(count..).unwrap_or_default(),
            Err(error) => match errno_of(&error) {
                Errno::EINTR => {}
                Errno::EAGAIN => {
                    let ready =
                        steps.wait(&[(&*stream, PollFlags::POLLIN)], deadline, Phase::Lookup)?;
                    if !ready {
                        return Ok(Some(DnsOutcome::TimedOut));
                    }
                }
                errno => return Ok(Some(unreachable(errno, None))),
            },
        }
        if deadline.has_passed() {
            return Ok(Some(DnsOutcome::TimedOut));
        }
    }
    Ok(None)
}
