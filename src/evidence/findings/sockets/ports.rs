//! Ports that are declared, and what listens.

use super::{
    Confidence, DeclaredPort, Finding, Id, NetFacts, PodFacts, Said, Severity, Source, fact,
    selects, sidecar,
};
use crate::{
    evidence::{
        connections::{Socket, Sockets},
        peers::{ServiceAddress, ServicePort, TargetPort},
    },
    protocol::message::Protocol,
};

/// A container that runs for less than this may still be starting.
const STARTING: u64 = 60;
/// The same where something of it listens already.
const SETTLING: u64 = 10;

/// Who can reach what listens at a port.
enum Reach<'a> {
    /// Others.
    Open,
    /// Nobody but the pod itself.
    Loopback(Vec<&'a Socket>),
    /// Nothing listens.
    Nothing,
}

fn reach(sockets: &Sockets, protocol: Protocol, port: u16) -> Reach<'_> {
    let at_port = |socket: &&Socket| {
        socket.facts.protocol == protocol && socket.near().is_some_and(|near| near.port() == port)
    };
    let listeners: Vec<_> = sockets.listeners().filter(at_port).collect();
    let is_loopback = |socket: &&Socket| socket.near().is_some_and(|near| near.ip().is_loopback());
    if listeners.is_empty() {
        Reach::Nothing
    } else if listeners.iter().all(is_loopback) {
        Reach::Loopback(listeners)
    } else {
        Reach::Open
    }
}

fn protocol_of(name: &str) -> Option<Protocol> {
    match name {
        "" | "TCP" => Some(Protocol::Tcp),
        "UDP" => Some(Protocol::Udp),
        _ => None,
    }
}

/// A port that the spec declares is only open to the pod itself.
pub(super) fn listen_loopback(facts: &NetFacts<'_>) -> Said {
    let mut said = Said::default();
    let Some(pod) = facts.pod else {
        return said;
    };
    for declared in &pod.ports {
        let Some(protocol) = protocol_of(&declared.protocol) else {
            continue;
        };
        if let Reach::Loopback(listeners) = reach(facts.sockets, protocol, declared.number) {
            said.findings
                .push(loopback(facts, pod, declared, &listeners));
        }
    }
    said
}

fn loopback(
    facts: &NetFacts<'_>,
    pod: &PodFacts,
    declared: &DeclaredPort,
    listeners: &[&Socket],
) -> Finding {
    let mut known: Vec<_> = listeners
        .iter()
        .filter_map(|socket| {
            let holders = facts.sockets.holders(socket);
            Some(fact(
                format!("{} listens on {} and nowhere else", holders, socket.near()?),
                Source::Sockets,
            ))
        })
        .collect();
    known.push(fact(
        format!(
            "container {} declares port {}",
            declared.container, declared.number
        ),
        Source::Spec,
    ));
    let services = serving(facts, pod, declared.number);
    let is_wanted = !services.is_empty();
    known.extend(services.into_iter().map(|service| {
        fact(
            format!("Service {} leads to this port", service.name),
            Source::Object(format!("Service {}", service.name)),
        )
    }));
    let sidecar = sidecar(pod);
    Finding {
        id: Id::ListenLoopback,
        about: declared.number.to_string().into(),
        severity: if is_wanted {
            Severity::High
        } else {
            Severity::Medium
        },
        confidence: if sidecar.is_some() {
            Confidence::Possible
        } else {
            Confidence::Certain
        },
        cause: format!(
            "port {} is declared, and listens on loopback only: nothing outside of the pod reaches it",
            declared.number
        )
        .into(),
        facts: known,
        refuted_by: sidecar.map_or_else(
            || "something in the pod hands on what comes for this port".to_owned(),
            |sidecar| format!("container {sidecar} hands on what comes for this port"),
        ),
        next: vec![super::Next {
            what: "have the program listen on all addresses: 0.0.0.0 or ::".to_owned(),
            command: bstr::BString::default(),
        }],
    }
}

/// The Services of the pod that lead to one of its ports.
fn serving<'a>(facts: &NetFacts<'a>, pod: &PodFacts, number: u16) -> Vec<&'a ServiceAddress> {
    let services = facts
        .names
        .into_iter()
        .flat_map(|names| &names.directory().services.rows);
    services
        .filter(|service| selects(service, pod))
        .filter(|service| {
            let mut ports = service.ports.iter();
            ports.any(|port| targets(port, pod) == Some(number))
        })
        .collect()
}

/// The port of the pod to which a port of a Service leads; `None` when it has none of that name.
fn targets(port: &ServicePort, pod: &PodFacts) -> Option<u16> {
    match &port.target {
        TargetPort::Number(number) => Some(*number),
        TargetPort::Name(name) => {
            let mut ports = pod.ports.iter();
            ports
                .find(|declared| {
                    declared.name == *name
                        && protocol_of(&declared.protocol) == protocol_of(&port.protocol)
                })
                .map(|declared| declared.number)
        }
    }
}

/// A Service leads to a port on which the pod does not listen.
pub(super) fn port_mismatch(facts: &NetFacts<'_>) -> Said {
    let mut said = Said::default();
    let (Some(pod), Some(names)) = (facts.pod, facts.names) else {
        return said;
    };
    let services = &names.directory().services;
    // Those of the pod's own namespace are known unless nothing is.
    if let crate::evidence::peers::Scope::Nothing(why) = &services.scope {
        said.unchecked(
            "whether the pod listens where its Services lead",
            why.as_str(),
        );
    }
    for service in services.rows.iter().filter(|one| selects(one, pod)) {
        for port in &service.ports {
            let Some(protocol) = protocol_of(&port.protocol) else {
                continue;
            };
            let target = targets(port, pod);
            let reached = target.map(|target| reach(facts.sockets, protocol, target));
            match reached {
                Some(Reach::Open) => {}
                // The rule of loopback says it.
                Some(Reach::Loopback(_)) if is_declared(pod, target) => {}
                Some(Reach::Nothing) if !has_settled(facts, pod) => said.unchecked(
                    format!("whether it listens where Service {} leads", service.name),
                    "the container has just started",
                ),
                reached => said
                    .findings
                    .push(mismatch(facts, service, port, target, reached)),
            }
        }
    }
    said
}

fn is_declared(pod: &PodFacts, port: Option<u16>) -> bool {
    pod.ports.iter().any(|one| Some(one.number) == port)
}

/// Whether what does not listen by now will not.
fn has_settled(facts: &NetFacts<'_>, pod: &PodFacts) -> bool {
    let is_alone = pod.containers.len() == 1;
    let mut listeners = facts.sockets.listeners();
    let listens = listeners.any(|socket| socket.facts.protocol == Protocol::Tcp);
    match pod.running {
        Some(running) => running >= STARTING || (is_alone && listens && running >= SETTLING),
        None => false,
    }
}

fn mismatch(
    facts: &NetFacts<'_>,
    service: &ServiceAddress,
    port: &ServicePort,
    target: Option<u16>,
    reached: Option<Reach<'_>>,
) -> Finding {
    let object = || Source::Object(format!("Service {}", service.name));
    let mut known = vec![match (&port.target, target) {
        (TargetPort::Name(name), None) => fact(
            format!(
                "port {} leads to the port named {name}, and no container declares one",
                port.number
            ),
            object(),
        ),
        (TargetPort::Name(name), Some(number)) => fact(
            format!("port {} leads to {name}, which is {number}", port.number),
            object(),
        ),
        (TargetPort::Number(number), _) => {
            fact(format!("port {} leads to {number}", port.number), object())
        }
    }];
    let open = facts
        .sockets
        .listeners()
        .filter(|socket| Some(socket.facts.protocol) == protocol_of(&port.protocol))
        .filter_map(|socket| Some((socket.near()?, facts.sockets.holders(socket))))
        .map(|(near, holders)| {
            if holders.is_empty() {
                near.to_string()
            } else {
                format!("{near} by {holders}")
            }
        });
    let open: Vec<_> = open.take(12).collect();
    let listens = if open.is_empty() {
        "nothing of this protocol listens in the pod".to_owned()
    } else {
        format!("the pod listens on {}", open.join(", "))
    };
    known.push(fact(listens, Source::Sockets));
    let is_loopback = matches!(reached, Some(Reach::Loopback(_)));
    let is_handed_on = is_loopback && facts.pod.is_some_and(|pod| sidecar(pod).is_some());
    let what = match (target, reached) {
        (None, _) => "to a port that the pod does not have".to_owned(),
        (Some(target), Some(Reach::Loopback(_))) => {
            format!("to port {target}, on which the pod listens on loopback only")
        }
        (Some(target), _) => format!("to port {target}, on which the pod does not listen"),
    };
    Finding {
        id: Id::PortMismatch,
        about: format!("{}:{}", service.name, port.number).into(),
        severity: Severity::High,
        confidence: if is_handed_on {
            Confidence::Possible
        } else if open.is_empty() {
            Confidence::Likely
        } else {
            Confidence::Certain
        },
        cause: format!("Service {} leads {what}", service.name).into(),
        facts: known,
        refuted_by:
            "the program opens the port later, or something in the pod hands on what comes for it"
                .to_owned(),
        next: vec![super::Next {
            what: "set the Service's targetPort to a port on which the pod listens".to_owned(),
            command: format!(
                "kubectl -n {} edit service {}",
                service.namespace,
                service.name.rsplit('/').next().unwrap_or_default()
            )
            .into(),
        }],
    }
}
