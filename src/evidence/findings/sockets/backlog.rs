//! Listeners whose queue is full.

use super::{Confidence, Finding, Id, NetFacts, Said, Severity, Source, counted, fact, held_by};
use crate::{
    evidence::connections::{Socket, Sockets},
    protocol::message::Protocol,
};

/// The queue of connections that wait to be accepted is full: the kernel drops those that come.
pub(super) fn backlog_full(facts: &NetFacts<'_>) -> Said {
    let mut said = Said::default();
    let mut is_full_now = false;
    for listener in tcp_listeners(facts.sockets) {
        let is_v6 = listener.facts.near.is_some_and(|near| near.is_ipv6());
        if !facts.sockets.is_by_sock_diag(Protocol::Tcp, is_v6) {
            if listener.facts.unread > 0 {
                said.unchecked(
                    format!("whether the queue of {} is full", at(listener)),
                    "`/proc/net/tcp` does not tell how many may wait, and sock_diag could not be asked",
                );
            }
            continue;
        }
        if !is_full(listener) {
            continue;
        }
        match facts.again {
            None => said.unchecked(
                format!("whether the queue of {} stays full", at(listener)),
                "it was looked at only once",
            ),
            // A burst is over by then.
            Some(again) => {
                if let Some(later) = later(again, listener) {
                    is_full_now = true;
                    said.findings.push(full(facts, again, listener, later));
                }
            }
        }
    }
    if !is_full_now {
        said.findings.extend(was_full(facts));
    }
    said
}

/// Whether a listener takes no more: `sk_acceptq_is_full` (include/net/sock.h).
pub(super) fn is_full(listener: &Socket) -> bool {
    listener.facts.unread > listener.facts.unsent
}

/// Whether any listener is full, so that it is worth looking again.
pub(super) fn tcp_listeners(sockets: &Sockets) -> impl Iterator<Item = &Socket> {
    sockets
        .listeners()
        .filter(|socket| socket.facts.protocol == Protocol::Tcp)
}

/// The same listener a moment later, if it is still full.
fn later<'a>(again: &'a Sockets, listener: &Socket) -> Option<&'a Socket> {
    tcp_listeners(again).find(|other| other.facts.inode == listener.facts.inode && is_full(other))
}

fn at(listener: &Socket) -> String {
    listener
        .near()
        .map(|near| near.to_string())
        .unwrap_or_default()
}

fn overflows(sockets: &Sockets) -> Option<u64> {
    sockets.counters?.listen_overflows
}

fn full(facts: &NetFacts<'_>, again: &Sockets, listener: &Socket, later: &Socket) -> Finding {
    let mut known = vec![fact(
        format!(
            "{} on {} wait to be accepted, {} may; a second later {} wait",
            counted(listener.facts.unread as usize, "connection"),
            at(listener),
            listener.facts.unsent,
            later.facts.unread
        ),
        Source::Sockets,
    )];
    if let (Some(before), Some(after)) = (overflows(facts.sockets), overflows(again)) {
        known.push(fact(
            format!(
                "ListenOverflows is {after}, {} more than a second before",
                after.saturating_sub(before)
            ),
            Source::Sockets,
        ));
    }
    Finding {
        id: Id::BacklogFull,
        about: at(listener).into(),
        severity: Severity::High,
        confidence: Confidence::Certain,
        cause: format!(
            "the queue of {} is full, for {} does not accept what comes: more connections are dropped, and their clients wait",
            at(listener),
            held_by(facts.sockets, &[listener])
        )
        .into(),
        facts: known,
        refuted_by: "it accepts again: the queue is shorter when it is looked at once more".to_owned(),
        next: Vec::new(),
    }
}

/// What the kernel has counted. On a node it is the sum of years, and of everybody.
fn was_full(facts: &NetFacts<'_>) -> Option<Finding> {
    let pod = facts.pod.filter(|pod| !pod.host_network)?;
    let count = overflows(facts.sockets).filter(|count| *count > 0)?;
    Some(Finding {
        id: Id::BacklogFull,
        about: pod.name.as_str().into(),
        severity: Severity::Low,
        confidence: Confidence::Certain,
        cause: format!(
            "{count} connections were dropped since the pod started, for a queue was full; none is now"
        )
        .into(),
        facts: vec![fact(
            format!("ListenOverflows is {count}"),
            Source::Sockets,
        )],
        refuted_by: String::new(),
        next: Vec::new(),
    })
}
