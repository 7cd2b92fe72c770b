//! Programs that choose a pod of a Service themselves.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Confidence, Finding, Id, NetFacts, Next, PROXIES, Said, Severity, Source, counted, fact,
    held_by, sidecar,
};
use crate::{
    evidence::{
        connections::{Side, Socket},
        peers::{Names, Owner},
        provenance::Lookup,
    },
    protocol::message::SocketState,
};

/// Peers are pods that a Service leads to, by their own addresses: whatever acts on the Service does not act on them.
///
/// A socket keeps the address to which it was connected: what kube-proxy does to packets does not show in it. So a
/// pod's address was the program's choice, but where the network rewrites it before the socket has it.
pub(super) fn bypasses_service(facts: &NetFacts<'_>) -> Said {
    let mut said = Said::default();
    let Some(names) = facts.names else {
        return said;
    };
    let found = bypassed(facts, names);
    if found.is_empty() {
        return said;
    }
    let services: Vec<_> = found.keys().copied().collect();
    let what = format!("whether it bypasses {}", services.join(", "));
    match &facts.rewriting.does {
        Lookup::Found(false) => {
            for (service, sockets) in found {
                said.findings
                    .push(bypass(facts, names, service, &sockets));
            }
        }
        Lookup::Found(true) => said.unchecked(
            what,
            format!(
                "the network rewrites the addresses of connections, so that one to a Service looks like one to its pod: {}",
                facts.rewriting.because
            ),
        ),
        Lookup::Missing => said.unchecked(
            what,
            "nothing says whether the network rewrites the addresses of connections",
        ),
        Lookup::Unreadable(why) => said.unchecked(what, why.as_str()),
    }
    said
}

/// The Services whose members are dialled by their own addresses, with the sockets.
pub(super) fn bypassed<'a>(
    facts: &NetFacts<'a>,
    names: &Names<'a>,
) -> BTreeMap<&'a str, Vec<&'a Socket>> {
    let mut found: BTreeMap<&str, Vec<&Socket>> = BTreeMap::new();
    for socket in facts.sockets.connections() {
        let is_open = matches!(
            socket.state(),
            Some(SocketState::SynSent | SocketState::Established | SocketState::CloseWait)
        );
        let Some(far) = socket
            .far()
            .filter(|_| is_open && socket.side == Side::Dialled)
        else {
            continue;
        };
        if !matches!(names.owner(far), Owner::Pod(_)) || is_of_mesh(facts, socket) {
            continue;
        }
        let services: BTreeSet<&str> = names
            .members(far)
            .map(|member| member.service.as_str())
            .collect();
        // A headless Service hands out the addresses of its pods: that is no bypass of another one.
        let mut with_address = Vec::new();
        let mut is_handed_out = false;
        for service in services {
            match names.service(service) {
                Some(known) if !known.addresses.is_empty() => with_address.push(service),
                Some(_) => is_handed_out = true,
                None => {}
            }
        }
        if !is_handed_out && let Some(service) = with_address.first() {
            found.entry(service).or_default().push(socket);
        }
    }
    found
}

/// Whether it is the mesh that connects, as it should: its proxy, which is out of sight in its own container.
fn is_of_mesh(facts: &NetFacts<'_>, socket: &Socket) -> bool {
    let has_sidecar = facts.pod.is_some_and(|pod| sidecar(pod).is_some());
    let mut holders = socket.holders.iter();
    has_sidecar
        && holders.all(|holder| {
            let process = facts.sockets.processes.get(&holder.pid);
            process.is_some_and(|process| PROXIES.iter().any(|name| process.name == *name))
        })
}

fn bypass(facts: &NetFacts<'_>, names: &Names<'_>, service: &str, sockets: &[&Socket]) -> Finding {
    let peers: BTreeSet<_> = sockets.iter().filter_map(|socket| socket.far()).collect();
    let mut known: Vec<_> = peers
        .iter()
        .map(|peer| {
            let count = sockets.iter().filter(|one| one.far() == Some(*peer));
            let owner = names.owner(*peer);
            let text = format!(
                "{} to {peer}, {owner}",
                counted(count.count(), "connection")
            );
            fact(text, Source::Sockets)
        })
        .take(8)
        .collect();
    known.push(fact(
        format!("these are members of Service {service}"),
        Source::Object(format!("EndpointSlices of Service {service}")),
    ));
    let address = names
        .service(service)
        .and_then(|service| service.addresses.first());
    if let Some(address) = address {
        let connections = facts.sockets.connections();
        let by_service =
            connections.filter(|one| one.far().is_some_and(|far| far.ip() == *address));
        known.push(fact(
            format!(
                "{} to its own address {address}",
                counted(by_service.count(), "connection")
            ),
            Source::Sockets,
        ));
    }
    known.push(fact(facts.rewriting.because.as_str(), Source::Probe));
    Finding {
        id: Id::BypassesService,
        about: service.into(),
        severity: Severity::Low,
        confidence: Confidence::Likely,
        cause: format!(
            "{} connects to pods of Service {service} by their own addresses: it balances by itself, and what changes the Service does not change where it connects",
            held_by(facts.sockets, sockets)
        )
        .into(),
        facts: known,
        refuted_by: "it takes the addresses from another Service or a name that leads to these pods"
            .to_owned(),
        next: vec![Next {
            what: "look for where it gets the addresses from: a registry, or a list of its own"
                .to_owned(),
            command: bstr::BString::default(),
        }],
    }
}
