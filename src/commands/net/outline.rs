//! What the connections of a pod come to, to be compared with those of another: what listens, who is talked to, and what is
//! wrong. Ports of this moment, numbers of processes, counts and times are no difference between two pods.

use std::{collections::BTreeSet, net::SocketAddr};

use super::{
    Known,
    show::{listening_at, owner},
};
use crate::{
    evidence::{
        connections::{Side, Socket, Sockets},
        findings::Verdict,
        peers::{Names, Owner},
    },
    protocol::message::{Protocol, SocketState},
    render::safe,
};

/// One line for each kind of socket, and for each finding.
pub(super) fn lines(
    known: &Known,
    names: Option<&Names<'_>>,
    verdict: &Verdict,
) -> BTreeSet<String> {
    let sockets = &known.sockets;
    let listeners = sockets.listeners().filter_map(|socket| {
        let address = listening_at(socket.near()?);
        let process = process(sockets, socket);
        Some(format!(
            "listens on {} {address}{process}",
            socket.facts.protocol
        ))
    });
    let peers = sockets
        .sockets
        .iter()
        .filter_map(|socket| peer(sockets, names, socket));
    listeners.chain(peers).chain(verdict.lines()).collect()
}

fn process(sockets: &Sockets, socket: &Socket) -> String {
    let holder = socket.holders.first();
    let process = holder.and_then(|holder| sockets.processes.get(&holder.pid));
    process.map_or_else(String::new, |process| format!(" ({})", safe(&process.name)))
}

/// With whom it talks; `None` for what listens and for what passes by itself.
fn peer(sockets: &Sockets, names: Option<&Names<'_>>, socket: &Socket) -> Option<String> {
    let (near, far) = (socket.near()?, socket.far()?);
    let process = process(sockets, socket);
    match socket.side {
        Side::Listening => None,
        // Who comes to which pod is the balancer's choice.
        Side::Accepted => {
            let kind = owner(names, far).kind();
            let state = state(socket)?;
            Some(format!("from {kind} on :{}, {state}{process}", near.port()))
        }
        Side::Dialled => {
            let to = whose(names, far);
            let udp = if socket.facts.protocol == Protocol::Udp {
                "/udp"
            } else {
                ""
            };
            let state = state(socket)?;
            Some(format!("to {to} :{}{udp}, {state}{process}", far.port()))
        }
    }
}

fn whose(names: Option<&Names<'_>>, far: SocketAddr) -> String {
    match owner(names, far) {
        owner @ (Owner::Loopback | Owner::Own | Owner::ApiServer) => owner.to_string(),
        owner if owner.name().is_some() => owner.to_string(),
        // What has no name is known by its address.
        owner => format!("{} ({owner})", far.ip()),
    }
}

/// In what state, of those that last; a socket of UDP has none.
const fn state(socket: &Socket) -> Option<&'static str> {
    match socket.facts.state {
        None | Some(SocketState::Established) => Some("connected"),
        Some(SocketState::SynSent) => Some("dialling"),
        Some(SocketState::CloseWait) => Some("closed by the other side, and not by the process"),
        Some(_) => None,
    }
}
