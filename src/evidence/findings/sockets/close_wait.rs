//! Connections that the peer has closed and the process has not.

use std::{collections::BTreeMap, net::SocketAddr};

use super::{Confidence, Finding, Id, NetFacts, Said, Severity, Source, counted, fact, held_by};
use crate::{
    evidence::connections::{Side, Socket, lasted},
    protocol::message::SocketState,
};

/// A process that is well closes much sooner.
const SOON: u64 = 10_000;
/// A pool of idle connections may keep so many until it uses them again.
const POOL: usize = 3;
/// So many, or for so long, is no slow answer any more.
const MANY: usize = 3;
const LONG: u64 = 60_000;

/// The peer has closed, and the process does not: it is stuck, or it has forgotten the connection.
pub(super) fn close_wait(facts: &NetFacts<'_>) -> Said {
    let mut said = Said::default();
    let mut groups: BTreeMap<(Side, Option<SocketAddr>), Vec<&Socket>> = BTreeMap::new();
    let mut untold = 0;
    for socket in facts.sockets.connections() {
        if socket.state() != Some(SocketState::CloseWait) {
            continue;
        }
        // Only then nothing came any more, not even the end.
        match socket.silence() {
            None => untold += 1,
            Some(silence) if silence < SOON => {}
            Some(_) => {
                let at = match socket.side {
                    Side::Dialled => socket.far(),
                    Side::Accepted | Side::Listening => socket.near(),
                };
                groups.entry((socket.side, at)).or_default().push(socket);
            }
        }
    }
    if untold > 0 {
        said.unchecked(
            format!(
                "for how long {} in CLOSE_WAIT",
                counted(untold, "connection")
            ),
            "`/proc/net/tcp` does not tell, and sock_diag could not be asked",
        );
    }
    let found = groups
        .into_iter()
        .filter_map(|((side, at), sockets)| unclosed(facts, side, at?, &sockets));
    said.findings.extend(found);
    said
}

fn unclosed(
    facts: &NetFacts<'_>,
    side: Side,
    at: SocketAddr,
    sockets: &[&Socket],
) -> Option<Finding> {
    let unread: u64 = sockets.iter().map(|one| u64::from(one.unread())).sum();
    let oldest = sockets.iter().filter_map(|one| one.silence()).max()?;
    let with_end = sockets.iter().filter(|one| one.has_unread_end()).count();
    let (severity, confidence) = match side {
        Side::Dialled if sockets.len() < POOL && unread == 0 => return None,
        // A pool notices when it uses the connection the next time.
        Side::Dialled if sockets.len() < 10 && unread == 0 => (Severity::Low, Confidence::Possible),
        Side::Dialled => (Severity::Medium, Confidence::Likely),
        _ if sockets.len() >= MANY || oldest >= LONG => (Severity::High, Confidence::Likely),
        // A slow answer, for which the peer did not want to wait.
        _ => (Severity::Medium, Confidence::Possible),
    };
    let whose = match side {
        Side::Dialled => format!("to {at}"),
        Side::Accepted | Side::Listening => format!("on {at}"),
    };
    let mut known = vec![fact(
        format!(
            "{} {whose} in CLOSE_WAIT, the oldest for {}",
            counted(sockets.len(), "connection"),
            lasted(oldest)
        ),
        Source::Sockets,
    )];
    let read = sockets.len() - with_end;
    if with_end > 0 {
        known.push(fact(
            format!(
                "of {with_end} the process has not read the end, {} unread: it does not look at them",
                counted(usize::try_from(unread).unwrap_or(usize::MAX), "byte")
            ),
            Source::Sockets,
        ));
    }
    if read > 0 {
        known.push(fact(
            format!("of {read} it has read the end and not closed"),
            Source::Sockets,
        ));
    }
    let waiting = sockets.iter().filter(|one| one.facts.inode == 0).count();
    if waiting > 0 {
        known.push(fact(
            format!("{waiting} of them the process has never accepted"),
            Source::Sockets,
        ));
    }
    Some(Finding {
        id: Id::CloseWait,
        about: at.to_string().into(),
        severity,
        confidence,
        cause: format!(
            "the peers have closed {} {whose}, and {} has not: it is stuck, or has forgotten them",
            counted(sockets.len(), "connection"),
            held_by(facts.sockets, sockets)
        )
        .into(),
        facts: known,
        refuted_by: match side {
            Side::Dialled => "a pool keeps them until it uses them again, and then closes them",
            Side::Accepted | Side::Listening => {
                "it is still at work on an answer, for a peer that has closed only its half"
            }
        }
        .to_owned(),
        next: Vec::new(),
    })
}
