//! What is wrong with the connections of a pod, from its sockets and what the cluster knows of addresses.
//!
//! A rule gets all facts and says what it found and what nobody could check. What a rule needs and could not be read
//! silences it: an address without an owner is one only when all that could own it was listed.

mod backlog;
mod bypass;
mod close_wait;
mod ports;
mod stale;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, net::IpAddr};

use super::{Confidence, Finding, Id, Next, Severity, Source, Unchecked, Verdict, fact, verdict};
use crate::evidence::{
    connections::{Socket, Sockets},
    peers::{Names, Rewriting, ServiceAddress},
};

/// What the rules look at.
pub struct NetFacts<'a> {
    /// The sockets.
    pub sockets: &'a Sockets,
    /// The same a moment later, when something was seen that may be over by then.
    pub again: Option<&'a Sockets>,
    /// Whose the peers are; `None` where there is no cluster.
    pub names: Option<&'a Names<'a>>,
    /// The pod; `None` for a process of this machine.
    pub pod: Option<&'a PodFacts>,
    /// Whether the network rewrites the addresses of connections.
    pub rewriting: &'a Rewriting,
}

/// What is declared of a pod, as far as its ports go.
#[derive(Clone, Debug, Default)]
pub struct PodFacts {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Whether it has its node's network.
    pub host_network: bool,
    /// The ports that its containers declare.
    pub ports: Vec<DeclaredPort>,
    /// The names of its containers.
    pub containers: Vec<String>,
    /// For how many seconds the container that is looked at has been running.
    pub running: Option<u64>,
}

/// A port that a container declares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeclaredPort {
    /// The container.
    pub container: String,
    /// The port's name; may be empty.
    pub name: String,
    /// Its number.
    pub number: u16,
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: String,
}

/// What a rule comes to.
#[derive(Default)]
struct Said {
    findings: Vec<Finding>,
    unchecked: Vec<Unchecked>,
}

impl Said {
    fn unchecked(&mut self, what: impl Into<String>, why: impl Into<String>) {
        self.unchecked.push(Unchecked {
            what: what.into(),
            why: why.into(),
        });
    }
}

type Rule = fn(&NetFacts<'_>) -> Said;

const RULES: [Rule; 6] = [
    stale::stale_endpoint,
    ports::listen_loopback,
    ports::port_mismatch,
    backlog::backlog_full,
    close_wait::close_wait,
    bypass::bypasses_service,
];

/// Runs the rules and puts their findings in order.
#[must_use]
pub fn judge_sockets(facts: &NetFacts<'_>) -> Verdict {
    let mut verdict = Verdict::default();
    for rule in RULES {
        let said = rule(facts);
        for finding in said.findings {
            if verdict::is_grave(&finding) {
                verdict.causes.push(finding);
            } else {
                verdict.listed.push(finding);
            }
        }
        verdict.unchecked.extend(said.unchecked);
    }
    let rank = |finding: &Finding| {
        (
            finding.severity,
            finding.confidence,
            finding.id,
            finding.about.clone(),
        )
    };
    verdict.causes.sort_by_cached_key(rank);
    verdict.listed.sort_by_cached_key(rank);
    verdict
}

/// Whether a queue is full, so that it is worth looking again a moment later.
#[must_use]
pub fn has_full_queue(sockets: &Sockets) -> bool {
    backlog::tcp_listeners(sockets).any(backlog::is_full)
}

/// Services whose members are dialled by their own addresses: whether that is a bypass depends on the network.
#[must_use]
pub fn bypassed_services<'a>(facts: &NetFacts<'a>) -> Vec<&'a str> {
    let bypassed = facts.names.map(|names| bypass::bypassed(facts, names));
    bypassed
        .into_iter()
        .flatten()
        .map(|(name, _)| name)
        .collect()
}

/// Containers of meshes: they hand on over loopback what comes from outside, and choose the pods of a Service
/// themselves.
const SIDECARS: [&str; 4] = ["istio-proxy", "linkerd-proxy", "envoy", "kuma-sidecar"];
/// The programs in them.
const PROXIES: [&str; 3] = ["envoy", "linkerd2-proxy", "kuma-dp"];

/// The container of a mesh in a pod.
fn sidecar(pod: &PodFacts) -> Option<&str> {
    let mut names = pod.containers.iter();
    names
        .find(|name| SIDECARS.contains(&name.as_str()))
        .map(String::as_str)
}

/// Whether the labels of a pod are those that a Service wants; one that wants none has its members from elsewhere.
fn selects(service: &ServiceAddress, pod: &PodFacts) -> bool {
    service.namespace == pod.namespace
        && !service.selector.is_empty()
        && service
            .selector
            .iter()
            .all(|(key, value)| pod.labels.get(key) == Some(value))
}

/// The processes that hold these sockets, each once: `1 (app)`; what it is when nobody in sight does.
fn held_by(sockets: &Sockets, some: &[&Socket]) -> String {
    let mut names: Vec<String> = some
        .iter()
        .map(|socket| sockets.holders(socket).to_string())
        .filter(|names| !names.is_empty())
        .collect();
    names.sort_unstable();
    names.dedup();
    if names.is_empty() {
        "no process in sight".to_owned()
    } else {
        format!("process {}", names.join(", "))
    }
}

/// A number with its noun.
fn counted(number: usize, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{plural}")
}
