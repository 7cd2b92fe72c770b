//! What came of one request, in curl's words and numbers.

use std::io::{self, Write};

use bstr::ByteSlice as _;
use nix::errno::Errno;

use super::{Ended, Place, status_line};
use crate::protocol::message::{
    BodyEnd, ConnectOutcome, Connection, Ending, HttpHead, HttpVersion, Phase, ProbeRecord,
    Resolution, TlsSession, Trusted,
};

/// curl's codes for what can go wrong on the way.
mod code {
    pub(super) const RESOLVE: u8 = 6;
    pub(super) const CONNECT: u8 = 7;
    pub(super) const WEIRD: u8 = 8;
    pub(super) const HTTP2: u8 = 16;
    pub(super) const PARTIAL: u8 = 18;
    pub(super) const TIMEOUT: u8 = 28;
    pub(super) const TLS: u8 = 35;
    pub(super) const EMPTY: u8 = 52;
    pub(super) const SEND: u8 = 55;
    pub(super) const RECEIVE: u8 = 56;
    pub(super) const CERTIFICATE: u8 = 60;
    pub(super) const STREAM: u8 = 92;
}

/// The kernel's own patience has ended.
const TIMED_OUT: i32 = Errno::ETIMEDOUT as i32;

/// The course of one request.
#[derive(Default)]
pub(super) struct Seen {
    pub(super) heads: Vec<HttpHead>,
    resolution: Option<Resolution>,
    connections: Vec<Connection>,
    tls: Option<TlsSession>,
    end: Option<BodyEnd>,
    /// What is sent, for `-v`.
    pub(super) request: String,
}

impl Seen {
    pub(super) fn add(&mut self, record: ProbeRecord) {
        match record {
            ProbeRecord::Resolved(resolution) => self.resolution = Some(resolution),
            ProbeRecord::Connection(connection) => self.connections.push(*connection),
            ProbeRecord::Tls(tls) => self.tls = Some(*tls),
            ProbeRecord::BodyEnd(end) => self.end = Some(*end),
            _ => {}
        }
    }

    /// 0 where none came.
    pub(super) fn status(&self) -> u16 {
        self.heads.last().map_or(0, |head| head.status)
    }

    /// The value of a field of the last head.
    fn field(&self, name: &str) -> Option<String> {
        let fields = &self.heads.last()?.fields;
        let found = fields
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name.as_bytes()));
        found.map(|(_, value)| value.to_str_lossy().into_owned())
    }

    /// Where a redirection leads.
    pub(super) fn leads_to(&self) -> Option<String> {
        let is_redirection = matches!(self.status(), 301..=303 | 307 | 308);
        self.field("location").filter(|_| is_redirection)
    }

    /// The connection over which the request went.
    fn connected(&self) -> Option<&Connection> {
        let mut connections = self.connections.iter();
        connections.find(|one| matches!(one.outcome, ConnectOutcome::Connected { .. }))
    }

    /// Whether a whole response came.
    pub(super) fn ended(&self, place: &Place) -> Ended {
        let (host, port) = (&place.host, place.port);
        if self.connected().is_none() {
            let Some(last) = self.connections.last() else {
                return Err((code::RESOLVE, format!("Could not resolve host: {host}")));
            };
            return Err(match last.outcome {
                ConnectOutcome::TimedOut { .. }
                | ConnectOutcome::Failed {
                    errno: TIMED_OUT, ..
                } => {
                    let waited = last.took / 1000;
                    (
                        code::TIMEOUT,
                        format!("Connection timed out after {waited} milliseconds"),
                    )
                }
                ConnectOutcome::Failed { errno, .. } => {
                    let why = Errno::from_raw(errno).desc();
                    (
                        code::CONNECT,
                        format!("Failed to connect to {host} port {port}: {why}"),
                    )
                }
                ConnectOutcome::Connected { .. } => return Ok(()),
            });
        }
        if let Some(tls) = &self.tls
            && let Some(failure) = &tls.failure
        {
            return Err(of_handshake(failure, tls));
        }
        match &self.end {
            Some(end) => self.of_exchange(end),
            None => Err((code::RECEIVE, "the connection ended".to_owned())),
        }
    }

    fn of_exchange(&self, end: &BodyEnd) -> Ended {
        let is_final = self.heads.last().is_some_and(|head| !head.interim);
        Err(match &end.ending {
            Ending::Done => return Ok(()),
            Ending::Closed if !is_final && end.received == 0 => {
                (code::EMPTY, "Empty reply from server".to_owned())
            }
            Ending::Closed => (
                code::PARTIAL,
                "transfer closed with outstanding read data remaining".to_owned(),
            ),
            Ending::TimedOut { .. } => {
                let (waited, body) = (end.at / 1000, end.body);
                (
                    code::TIMEOUT,
                    format!(
                        "Operation timed out after {waited} milliseconds with {body} bytes received"
                    ),
                )
            }
            Ending::Failed { errno } => {
                let why = Errno::from_raw(*errno).desc();
                if end.phase == Phase::Send {
                    (code::SEND, format!("Send failure: {why}"))
                } else {
                    (code::RECEIVE, format!("Recv failure: {why}"))
                }
            }
            Ending::Garbled(why) if is_final => (code::RECEIVE, why.clone()),
            Ending::Garbled(why) => (code::WEIRD, format!("Weird server reply: {why}")),
            Ending::Refused(why) => (code::TLS, why.clone()),
            Ending::Aborted {
                code,
                connection: false,
            } => (
                code::STREAM,
                format!("HTTP/2 stream was not closed cleanly: error {code}"),
            ),
            Ending::Aborted { code, .. } => (
                code::HTTP2,
                format!("the server ended HTTP/2 with error {code}"),
            ),
        })
    }
}

fn of_handshake(failure: &Ending, tls: &TlsSession) -> (u8, String) {
    match (failure, &tls.trusted) {
        (_, Trusted::Refused(by)) => {
            let why: Vec<_> = by.iter().map(|(_, why)| why.as_str()).collect();
            (
                code::CERTIFICATE,
                format!("SSL certificate problem: {}", why.join("; ")),
            )
        }
        (Ending::TimedOut { after, .. }, _) => (
            code::TIMEOUT,
            format!("SSL connection timeout after {after} milliseconds"),
        ),
        (Ending::Refused(why) | Ending::Garbled(why), _) => (code::TLS, why.clone()),
        (Ending::Failed { errno }, _) => (code::TLS, Errno::from_raw(*errno).desc().to_owned()),
        _ => (
            code::TLS,
            "the server closed the connection in the handshake".to_owned(),
        ),
    }
}

/// What `-v` says of it.
pub(super) fn narrate(record: &ProbeRecord, seen: &Seen, errors: &mut dyn Write) -> io::Result<()> {
    match record {
        ProbeRecord::Connection(one) => match &one.outcome {
            ConnectOutcome::Connected { .. } => {
                writeln!(errors, "* Connected to {}", one.address)?;
                // Over TLS it goes out once that stands, which nobody can tell from here.
                errors.write_all(seen.request.as_bytes())
            }
            ConnectOutcome::Failed { errno, .. } => {
                writeln!(
                    errors,
                    "* connect to {} failed: {}",
                    one.address,
                    Errno::from_raw(*errno).desc()
                )
            }
            ConnectOutcome::TimedOut { .. } => {
                writeln!(errors, "* connect to {} timed out", one.address)
            }
        },
        ProbeRecord::Resolved(resolution) => match &resolution.error {
            Some(error) => writeln!(errors, "* no address: {error}"),
            None => writeln!(errors, "* addresses: {:?}", resolution.addresses),
        },
        ProbeRecord::Tls(tls) => {
            let version = tls.version.as_deref().unwrap_or("no TLS");
            let cipher = tls.cipher.as_deref().unwrap_or("no cipher");
            writeln!(errors, "* {version} / {cipher}")
        }
        ProbeRecord::Head(head) => {
            let line = [b"< ", status_line(head).as_slice(), b"\n"].concat();
            errors.write_all(&line)?;
            for (name, value) in &head.fields {
                errors.write_all(
                    &[b"< ", name.as_bytes(), b": ", value.as_bytes(), b"\n"].concat(),
                )?;
            }
            errors.write_all(b"<\n")
        }
        _ => Ok(()),
    }
}

/// The text of `-w` with what its variables are; those that are unknown come to nothing, as with curl.
pub(super) fn write_out(
    format: &str,
    seen: &Seen,
    place: &Place,
    redirections: u32,
    code: u8,
) -> Vec<u8> {
    let mut text = String::new();
    let mut rest = format;
    while let Some(at) = rest.find(['%', '\\']) {
        let (before, special) = rest.split_at(at);
        text.push_str(before);
        let mut letters = special.chars();
        let (sign, next) = (letters.next(), letters.next());
        rest = letters.as_str();
        match (sign, next) {
            (Some('\\'), Some('n')) => text.push('\n'),
            (Some('\\'), Some('r')) => text.push('\r'),
            (Some('\\'), Some('t')) => text.push('\t'),
            (Some('%'), Some('%')) => text.push('%'),
            (Some('%'), Some('{')) => {
                let (name, after) = rest.split_once('}').unwrap_or((rest, ""));
                rest = after;
                if let Some(value) = variable(name, seen, place, redirections, code) {
                    text.push_str(&value);
                }
            }
            (sign, next) => text.extend(sign.into_iter().chain(next)),
        }
    }
    text.push_str(rest);
    text.into_bytes()
}

fn variable(name: &str, seen: &Seen, place: &Place, redirections: u32, code: u8) -> Option<String> {
    let connected = seen.connected();
    let time = |moment: Option<u64>| {
        let moment = moment.unwrap_or_default();
        format!("{}.{:06}", moment / 1_000_000, moment % 1_000_000)
    };
    let far = connected.map(|one| one.address);
    let near = connected.and_then(|one| one.source);
    Some(match name {
        "http_code" | "response_code" => format!("{:03}", seen.status()),
        "http_version" => match seen.heads.last().map(|head| head.version) {
            Some(HttpVersion::Http10) => "1",
            Some(HttpVersion::Http11) => "1.1",
            Some(HttpVersion::Http2) => "2",
            None => "0",
        }
        .to_owned(),
        "exitcode" => code.to_string(),
        "num_redirects" => redirections.to_string(),
        "size_download" => seen.end.as_ref().map_or(0, |end| end.body).to_string(),
        "content_type" => seen.field("content-type")?,
        "redirect_url" => place.joined(&seen.leads_to()?).ok()?.to_string(),
        "url_effective" => place.to_string(),
        "scheme" => place.scheme().to_ascii_uppercase(),
        "remote_ip" => far?.ip().to_string(),
        "remote_port" => far.map_or(0, |far| far.port()).to_string(),
        "local_ip" => near?.ip().to_string(),
        "local_port" => near.map_or(0, |near| near.port()).to_string(),
        "time_namelookup" => time(seen.resolution.as_ref().map(|one| one.at + one.took)),
        "time_connect" => time(connected.map(|one| one.at + one.took)),
        "time_appconnect" => time(seen.tls.as_ref().map(|tls| tls.at + tls.took)),
        "time_starttransfer" => time(seen.heads.first().map(|head| head.first_byte)),
        "time_total" => time(seen.end.as_ref().map(|end| end.at)),
        _ => return None,
    })
}
