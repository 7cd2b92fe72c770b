//! Connections to addresses that nobody has any more.

use std::{collections::BTreeMap, net::SocketAddr};

use super::{
    Confidence, Finding, Id, NetFacts, Next, Said, Severity, Source, counted, fact, held_by,
};
use crate::{
    evidence::{
        connections::{Side, Socket, lasted},
        findings::Fact,
        peers::{Names, Owner, PastPod},
    },
    protocol::message::SocketState,
};

/// A peer that has said nothing for so many milliseconds may be gone without anybody having noticed.
const SILENT: u64 = 30_000;

/// The program dials, or keeps a connection to, an address of the pod network that no object has.
///
/// Only its own dialling counts: who comes from such an address may be a node or a tunnel.
pub(super) fn stale_endpoint(facts: &NetFacts<'_>) -> Said {
    let mut said = Said::default();
    let Some(names) = facts.names else {
        return said;
    };
    let mut peers: BTreeMap<SocketAddr, Vec<&Socket>> = BTreeMap::new();
    for socket in facts.sockets.connections() {
        let is_trying = matches!(
            socket.state(),
            Some(SocketState::SynSent | SocketState::Established)
        );
        if let Some(far) = socket.far()
            && is_trying
            && socket.side == Side::Dialled
        {
            peers.entry(far).or_default().push(socket);
        }
    }
    let mut unknown = 0;
    let mut reason = String::new();
    for (peer, sockets) in peers {
        match names.owner(peer) {
            Owner::Nobody(past) => {
                said.findings
                    .extend(stale(facts, names, peer, &sockets, past.as_ref()));
            }
            Owner::NoObject(pod) => {
                said.findings
                    .extend(beside_pods(facts, names, peer, &sockets, &pod));
            }
            Owner::Unknown(why) => {
                unknown += 1;
                reason = why;
            }
            _ => {}
        }
    }
    if unknown > 0 {
        said.unchecked(
            format!(
                "whether {} to which it connects still exist",
                counted(unknown, "peer")
            ),
            reason,
        );
    }
    said
}

fn stale(
    facts: &NetFacts<'_>,
    names: &Names<'_>,
    peer: SocketAddr,
    sockets: &[&Socket],
    past: Option<&PastPod>,
) -> Option<Finding> {
    let in_state = |state| {
        let with = sockets.iter().copied();
        with.filter(|socket| socket.state() == Some(state))
            .collect::<Vec<_>>()
    };
    let dialling = in_state(SocketState::SynSent);
    let connected = in_state(SocketState::Established);
    let is_unanswered = |socket: &&Socket| socket.facts.retransmits > 0;
    let silence = connected.iter().filter_map(|socket| socket.silence()).max();
    let (severity, confidence) = if sockets.iter().any(is_unanswered) {
        let known = past.is_some() && names.range(peer.ip()).is_some();
        let confidence = if known {
            Confidence::Certain
        } else {
            Confidence::Likely
        };
        (Severity::High, confidence)
    } else if silence.is_some_and(|silence| silence >= SILENT)
        || (!dialling.is_empty() && past.is_some())
    {
        (Severity::Medium, Confidence::Likely)
    } else if !dialling.is_empty() {
        // It may be answered the next moment: the lists are a moment older.
        (Severity::Medium, Confidence::Possible)
    } else {
        // Something answers there, whatever it is.
        return None;
    };
    let verb = if dialling.is_empty() {
        "keeps a connection to"
    } else {
        "dials"
    };
    let was = past.map_or(String::new(), |past| format!(", once of pod {}", past.name));
    Some(Finding {
        id: Id::StaleEndpoint,
        about: peer.to_string().into(),
        severity,
        confidence,
        cause: format!(
            "{} {verb} {peer}{was}, and nothing in the cluster has this address any more",
            held_by(facts.sockets, sockets)
        )
        .into(),
        facts: evidence(names, peer, &dialling, &connected, past),
        refuted_by: format!(
            "something that is no object of the cluster has {}, or it was given to a pod after the lists were read",
            peer.ip()
        ),
        next: vec![Next {
            what: "see who still names the address: what the program resolves, and what its registry or configuration says"
                .to_owned(),
            command: format!("kubectl get endpointslices -A -o wide | grep -F {}", peer.ip()).into(),
        }],
    })
}

/// The same where it is not known which addresses are pods': only silence makes it worth a word.
fn beside_pods(
    facts: &NetFacts<'_>,
    names: &Names<'_>,
    peer: SocketAddr,
    sockets: &[&Socket],
    pod: &str,
) -> Option<Finding> {
    let is_unanswered = sockets.iter().any(|socket| socket.facts.retransmits > 0);
    let mut finding = stale(facts, names, peer, sockets, None).filter(|_| is_unanswered)?;
    finding.confidence = Confidence::Possible;
    finding.facts.push(fact(
        format!("pod {pod} has an address beside it, and no node says from which range its pods get theirs"),
        Source::Object(format!("Pod {pod}")),
    ));
    finding.refuted_by = format!(
        "{} is of a machine that is no part of the cluster, and that does not answer",
        peer.ip()
    );
    Some(finding)
}

fn evidence(
    names: &Names<'_>,
    peer: SocketAddr,
    dialling: &[&Socket],
    connected: &[&Socket],
    past: Option<&PastPod>,
) -> Vec<Fact> {
    let mut known = Vec::new();
    if let Some(longest) = dialling.iter().filter_map(|socket| socket.dialling()).max() {
        let most = dialling.iter().map(|one| one.facts.retransmits).max();
        let text = format!(
            "{} to {peer} in SYN_SENT, the oldest for {}, its SYN sent {} without an answer",
            counted(dialling.len(), "connection"),
            lasted(longest),
            counted(usize::from(most.unwrap_or_default()) + 1, "time"),
        );
        known.push(fact(text, Source::Sockets));
    }
    if !connected.is_empty() {
        let waiting = connected.iter().filter(|one| one.facts.retransmits > 0);
        let silence = connected.iter().filter_map(|one| one.silence()).max();
        let silence = silence.map_or(String::new(), |silence| {
            format!(", from which nothing has come for {}", lasted(silence))
        });
        let text = format!(
            "{} to {peer} established{silence}; {} of them without an answer to what was sent",
            counted(connected.len(), "connection"),
            waiting.count(),
        );
        known.push(fact(text, Source::Sockets));
    }
    let directory = names.directory();
    let counts = format!(
        "{}, {}, {} of EndpointSlices and {} were listed, and none has {}",
        counted(directory.pods.rows.len(), "pod"),
        counted(directory.services.rows.len(), "Service"),
        counted(directory.endpoints.rows.len(), "member"),
        counted(directory.nodes.rows.len(), "node"),
        peer.ip()
    );
    known.push(fact(counts, Source::Object("the cluster".to_owned())));
    if let Some((node, range)) = names.range(peer.ip()) {
        known.push(fact(
            format!(
                "{} lies in {range}, from which pods get their addresses",
                peer.ip()
            ),
            Source::Object(format!("Node {}", node.name)),
        ));
    }
    if let Some(past) = past {
        let ago = past.ago.map_or(String::new(), |ago| {
            format!(", {} ago", lasted(ago.saturating_mul(1000)))
        });
        known.push(fact(
            format!("pod {} had it: {}{ago}", past.name, past.because),
            Source::Object(format!("Pod {}", past.name)),
        ));
    }
    known
}
