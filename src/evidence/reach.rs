//! How far a probe got, in words: the phase in which it is stuck, and who said so.

use std::net::IpAddr;

use nix::libc;

use crate::protocol::message::{
    ConnectOutcome, Connection, DnsOutcome, Ending, Exchange, Http2State, Icmp, Phase, Reading,
    Route, Uploaded,
};

/// Microseconds as people read them.
pub fn time(microseconds: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
    let milliseconds = microseconds as f64 / 1000.0;
    if milliseconds < 1000.0 {
        format!("{milliseconds:.1} ms")
    } else {
        format!("{:.1} s", milliseconds / 1000.0)
    }
}

/// Milliseconds of a limit: whole seconds as such.
pub fn limit(milliseconds: u32) -> String {
    if milliseconds.is_multiple_of(1000) {
        format!("{} s", milliseconds / 1000)
    } else {
        format!("{milliseconds} ms")
    }
}

/// One word for what came of an attempt to connect.
pub fn outcome_word(outcome: &ConnectOutcome) -> &'static str {
    match outcome {
        ConnectOutcome::Connected { .. } => "connected",
        ConnectOutcome::TimedOut { .. } => "timeout",
        ConnectOutcome::Failed { errno, icmp } => match (*errno, icmp) {
            (libc::ECONNREFUSED, None) => "refused",
            (libc::ECONNRESET, _) => "reset",
            (
                libc::EHOSTUNREACH
                | libc::ENETUNREACH
                | libc::EACCES
                | libc::EINVAL
                | libc::ENOPROTOOPT
                | libc::ECONNREFUSED,
                _,
            ) => "unreachable",
            _ => "failed",
        },
    }
}

/// What came of an attempt to connect, with its reason.
pub fn connection(connection: &Connection) -> String {
    match &connection.outcome {
        ConnectOutcome::Connected {
            round_trip,
            retransmits,
        } => {
            let mut text = format!("connected in {}", time(connection.took));
            if let Some(round_trip) = round_trip {
                text += &format!(", round trip {}", time((*round_trip).into()));
            }
            if *retransmits > 0 {
                text += &format!(
                    ", after the first packet was sent {} times: some are lost on the way",
                    retransmits + 1
                );
            }
            text
        }
        ConnectOutcome::TimedOut { retransmits } => format!(
            "timeout after {}: {} and nothing came back: dropped on the way (a policy, a firewall), or the address has no owner",
            time(connection.took),
            sent_times(*retransmits)
        ),
        ConnectOutcome::Failed { errno, icmp } => format!(
            "{} after {}: {}",
            outcome_word(&connection.outcome),
            time(connection.took),
            reason(*errno, icmp.as_ref(), &connection.route)
        ),
    }
}

fn sent_times(retransmits: u32) -> String {
    match retransmits {
        0 => "the first packet was sent once".to_owned(),
        more => format!("the first packet was sent {} times", more + 1),
    }
}

/// Why the kernel gave up, and who said so.
fn reason(errno: i32, icmp: Option<&Icmp>, route: &Reading<Route>) -> String {
    if let Some(icmp) = icmp {
        return from_icmp(icmp);
    }
    let refused = route.known().and_then(|route| route.refused);
    match errno {
        libc::ECONNREFUSED => {
            "a TCP reset came back: nothing listens on this port of that address, or a firewall answers so"
                .to_owned()
        }
        libc::ECONNRESET => "the connection was reset while it was made".to_owned(),
        _ if refused.is_some() => local(errno),
        libc::EHOSTUNREACH => "no neighbour answers for the next hop".to_owned(),
        libc::EADDRNOTAVAIL => "every local port to there is in use, or the source address is gone".to_owned(),
        libc::EPERM => "a firewall of this namespace drops it on its way out".to_owned(),
        _ => local(errno),
    }
}

/// What the routing table of the namespace says.
fn local(errno: i32) -> String {
    match errno {
        libc::ENETUNREACH => "no route: the namespace has no way to there".to_owned(),
        libc::EHOSTUNREACH => "an `unreachable` route of the namespace".to_owned(),
        libc::EACCES => "a `prohibit` route of the namespace".to_owned(),
        libc::EINVAL => "a `blackhole` route of the namespace".to_owned(),
        other => nix::errno::Errno::from_raw(other).desc().to_owned(),
    }
}

/// What an ICMP message means (RFC 792, RFC 1812, RFC 4443).
pub fn from_icmp(icmp: &Icmp) -> String {
    let what = match (icmp.is_v6, icmp.kind, icmp.code) {
        (false, 3, 0) => "network unreachable",
        (false, 3, 1) => "host unreachable",
        (false, 3, 2) => "protocol unreachable",
        (false, 3, 4) => "fragmentation needed",
        (false, 3, 9) => "network administratively prohibited",
        (false, 3, 10) => "host administratively prohibited",
        (false, 3, 13) => "communication administratively prohibited",
        (false, 11, _) => "time to live exceeded",
        (true, 1, 0) => "no route",
        (true, 1, 1) => "administratively prohibited",
        (true, 1, 3) => "address unreachable",
        (false, 3, 3) | (true, 1, 4) => "port unreachable",
        (true, 1, 5) => "source address refused",
        (true, 1, 6) => "route rejected",
        (true, 3, _) => "hop limit exceeded",
        _ => "an error",
    };
    let version = if icmp.is_v6 { "ICMPv6" } else { "ICMP" };
    let from = icmp
        .from
        .map_or_else(|| "somebody".to_owned(), |from: IpAddr| from.to_string());
    format!(
        "{from} says \"{what}\" ({version} type {} code {})",
        icmp.kind, icmp.code
    )
}

/// The way to an address.
pub fn route(route: &Reading<Route>) -> Option<String> {
    let route = route.known()?;
    let interface = route.interface.as_deref()?;
    let mut text = format!("via {interface}");
    if let Some(gateway) = route.gateway {
        text += &format!(", gateway {gateway}");
    }
    if let Some(entry) = &route.entry {
        text += &format!(", route {entry}");
    }
    Some(text)
}

/// How far a conversation got.
pub fn exchange(exchange: &Exchange) -> String {
    let mut text = String::from("connected");
    text += &sent(exchange.sent, exchange.acknowledged);
    let came = match exchange.received {
        0 => "no byte".to_owned(),
        count => format!("{} came", bytes(count)),
    };
    text += &match &exchange.ending {
        Ending::Done if exchange.found == Some(true) => {
            format!(", what was expected came ({})", bytes(exchange.received))
        }
        Ending::Done => format!(", {came}"),
        Ending::Closed => format!(", {came}, then the other side closed"),
        Ending::Failed { errno } => format!(", {came}, then {}", broken(*errno)),
        Ending::TimedOut { after, phase } => match (phase, exchange.received) {
            (Phase::Send, _) => format!(
                ", the other side takes no more for {}: it does not read",
                limit(*after)
            ),
            (_, 0) => format!(", no byte in {}", limit(*after)),
            _ => format!(", {came} in {}, and not what was expected", limit(*after)),
        },
        Ending::Garbled(why) | Ending::Refused(why) => format!(", {why}"),
        Ending::Aborted { code, connection } => format!(", {}", aborted(*code, *connection)),
    };
    if exchange.found == Some(false) && !matches!(exchange.ending, Ending::TimedOut { .. }) {
        text += "; what was expected did not come";
    }
    text
}

/// What was sent, and how much of it has arrived.
pub fn sent(sent: u64, acknowledged: u64) -> String {
    match (sent, acknowledged) {
        (0, _) => String::new(),
        (sent, acknowledged) if acknowledged >= sent => {
            format!(", {} sent and acknowledged by the kernel", bytes(sent))
        }
        (sent, 0) => format!(", {} sent and none acknowledged by the kernel", bytes(sent)),
        (sent, acknowledged) => format!(
            ", {} sent and {acknowledged} of them acknowledged by the kernel",
            bytes(sent)
        ),
    }
}

/// How much of the body of a request was sent: `5 of 9 bytes of the body`.
pub fn uploaded(upload: &Uploaded, of: Option<u64>) -> String {
    match of {
        Some(all) => format!("{} of {} of the body", upload.bytes, bytes(all)),
        None => format!("{} of the body", bytes(upload.bytes)),
    }
}

/// How a connection broke.
pub fn broken(errno: i32) -> String {
    match errno {
        libc::ECONNRESET => "a reset: the other side threw the connection away".to_owned(),
        libc::EPIPE => "the other side had closed before all was sent".to_owned(),
        libc::ETIMEDOUT => "nothing was acknowledged any more".to_owned(),
        other => nix::errno::Errno::from_raw(other).desc().to_owned(),
    }
}

/// How a server ended a request over HTTP/2.
pub fn aborted(code: u32, connection: bool) -> String {
    let (what, frame) = if connection {
        ("the connection", "GOAWAY")
    } else {
        ("the request", "RST_STREAM")
    };
    let reason = match code {
        0 => "no error",
        1 => "protocol error",
        2 => "internal error",
        3 => "flow control error",
        4 => "settings timeout",
        5 => "stream closed",
        6 => "frame size error",
        7 => "refused, not processed: it may be sent again",
        8 => "cancelled",
        9 => "compression error",
        10 => "connect error",
        11 => "enhance your calm: too much was asked of it",
        12 => "inadequate security",
        13 => "HTTP/1.1 required",
        other => return format!("the server ended {what} ({frame}, code {other})"),
    };
    format!("the server ended {what} ({frame}): {reason}")
}

/// What HTTP/2 waits for, when it got no head.
pub fn http2(state: &Http2State, received: u64) -> String {
    match state {
        Http2State { settings: None, .. } if received == 0 => {
            "not even the server's settings: it may not speak HTTP/2 here".to_owned()
        }
        Http2State { settings: None, .. } => "no settings of HTTP/2".to_owned(),
        Http2State {
            body_waits,
            body_sent,
            ..
        } if *body_waits > 0 => format!(
            "the server's settings, and room for {body_sent} of {} of the request's body: it does not read the rest",
            bytes(body_sent + body_waits)
        ),
        Http2State { .. } => "the server's settings and no head".to_owned(),
    }
}

/// Bytes with their noun.
pub fn bytes(count: u64) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} byte{plural}")
}

/// What came of a question to a name server.
pub fn query(outcome: &DnsOutcome) -> String {
    match outcome {
        DnsOutcome::Answered(answer) => {
            let mut text = super::dns::rcode_name(answer.rcode);
            let count = answer.answers.len() as u64 + u64::from(answer.left_out);
            if count > 0 {
                let plural = if count == 1 { "" } else { "s" };
                text += &format!(", {count} record{plural}");
            } else if answer.rcode == 0 {
                text += ", no such record";
            }
            if answer.truncated {
                text += ", truncated";
            }
            if answer.strays > 0 {
                text += &format!(", after {} datagrams of others", answer.strays);
            }
            text
        }
        DnsOutcome::TimedOut => "no answer".to_owned(),
        DnsOutcome::Unreachable { errno, icmp } => match icmp {
            Some(icmp) => from_icmp(icmp),
            None if *errno == libc::ECONNREFUSED => "refused: nothing listens there".to_owned(),
            None => local(*errno),
        },
        DnsOutcome::Garbled(why) => format!("garbage: {why}"),
        DnsOutcome::NotNeeded => "not waited for".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(received: u64, ending: Ending) -> Exchange {
        Exchange {
            address: ([10, 0, 0, 1], 80).into(),
            sent: 311,
            acknowledged: 311,
            received,
            beginning: "".into(),
            first_byte: None,
            found: None,
            at: 0,
            ending,
        }
    }

    #[test]
    fn a_stuck_phase_is_named_exactly() {
        let stuck = Ending::TimedOut {
            after: 5000,
            phase: Phase::Head,
        };
        assert_eq!(
            exchange(&said(0, stuck)),
            "connected, 311 bytes sent and acknowledged by the kernel, no byte in 5 s"
        );
        assert_eq!(
            exchange(&said(
                7,
                Ending::Failed {
                    errno: libc::ECONNRESET
                }
            )),
            "connected, 311 bytes sent and acknowledged by the kernel, 7 bytes came, then a reset: the other side threw the connection away"
        );
    }

    #[test]
    fn refused_and_unreachable_differ_by_who_says_so() {
        let icmp = Icmp {
            from: Some([10, 0, 0, 9].into()),
            is_v6: false,
            kind: 3,
            code: 3,
        };
        let failed = |icmp| ConnectOutcome::Failed {
            errno: libc::ECONNREFUSED,
            icmp,
        };
        assert_eq!(outcome_word(&failed(None)), "refused");
        assert_eq!(outcome_word(&failed(Some(icmp))), "unreachable");
        assert_eq!(
            from_icmp(&icmp),
            "10.0.0.9 says \"port unreachable\" (ICMP type 3 code 3)"
        );
    }

    #[test]
    fn times_have_units() {
        assert_eq!(time(340), "0.3 ms");
        assert_eq!(time(5_004_000), "5.0 s");
        assert_eq!(limit(1500), "1500 ms");
    }
}
