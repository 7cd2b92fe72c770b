//! The health of a gRPC server: one message out, one in, written by hand.
//!
//! `grpc.health.v1.Health/Check` (grpc/grpc, `doc/health-checking.md`) over the framing of `doc/PROTOCOL-HTTP2.md`: a byte that says
//! whether the message is compressed, its length, and the message, which is one field in either direction.

use std::fmt;

use bstr::{BString, ByteSlice as _};

/// The path of the method.
pub const HEALTH: &str = "/grpc.health.v1.Health/Check";

/// Field 1 of type string, as protobuf has it.
const NAME: u8 = 0x0a;
/// Field 1 of type varint.
const STATUS: u64 = 0x08;

/// The request for the health of a service, the empty name for the server as a whole; `None` when the name is too long.
pub fn health_request(service: &str) -> Option<Vec<u8>> {
    let mut message = Vec::new();
    if !service.is_empty() {
        // A length below 128 is one byte.
        let length = u8::try_from(service.len())
            .ok()
            .filter(|length| *length < 128)?;
        message.extend([NAME, length]);
        message.extend_from_slice(service.as_bytes());
    }
    let length = u32::try_from(message.len()).ok()?;
    let mut body = vec![0];
    body.extend(length.to_be_bytes());
    body.extend(message);
    Some(body)
}

/// What a server says of its health.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// `SERVING`
    Serving,
    /// Another state: its name.
    Not(String),
    /// The call failed.
    Failed {
        /// The status of gRPC.
        code: u32,
        /// What the server says to it.
        message: String,
    },
    /// What came is no answer of gRPC; the text says why.
    Other(String),
}

/// Reads an answer: the status of HTTP, the fields of the head and those behind the body, and the body.
pub fn health(status: u16, fields: &[(BString, BString)], body: &[u8]) -> Health {
    let field = |name: &str| {
        fields
            .iter()
            .rfind(|(known, _)| known.eq_ignore_ascii_case(name.as_bytes()))
            .map(|(_, value)| value.as_slice())
    };
    let Some(code) = field("grpc-status") else {
        return Health::Other(format!(
            "the answer has no field `grpc-status` (status {status}): this is no gRPC server, or a proxy answers for it"
        ));
    };
    let Some(code) = code.to_str().ok().and_then(|code| code.parse().ok()) else {
        return Health::Other("its field `grpc-status` is no number".to_owned());
    };
    if code != 0 {
        let message = field("grpc-message")
            .map(percent_decoded)
            .unwrap_or_default();
        return Health::Failed { code, message };
    }
    match state(body) {
        Ok(1) => Health::Serving,
        Ok(0) => Health::Not("UNKNOWN".to_owned()),
        Ok(2) => Health::Not("NOT_SERVING".to_owned()),
        Ok(3) => Health::Not("SERVICE_UNKNOWN".to_owned()),
        Ok(other) => Health::Not(format!("state {other}")),
        Err(why) => Health::Other(why.to_owned()),
    }
}

impl Health {
    /// In one word: the state as the protocol names it, the status of a call that failed, or that it is no gRPC.
    pub fn word(&self) -> String {
        match self {
            Self::Serving => "SERVING".to_owned(),
            Self::Not(state) => state.clone(),
            Self::Failed { code, .. } => status_name(*code),
            Self::Other(_) => "NO_GRPC".to_owned(),
        }
    }
}

impl fmt::Display for Health {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Serving => formatter.write_str("SERVING"),
            Self::Not(state) => formatter.write_str(state),
            Self::Failed { code, message } => {
                write!(formatter, "{}", status_name(*code))?;
                if !message.is_empty() {
                    write!(formatter, ": {message}")?;
                }
                match code {
                    5 => formatter.write_str(" (the server does not know this service)"),
                    12 => formatter.write_str(" (the server has no health service)"),
                    _ => Ok(()),
                }
            }
            Self::Other(why) => formatter.write_str(why),
        }
    }
}

/// The number in field 1 of the message; 0 when the field is left out, as protobuf does with it.
fn state(body: &[u8]) -> Result<u64, &'static str> {
    let (head, rest) = body
        .split_first_chunk::<5>()
        .ok_or("the body is shorter than the head of a gRPC message")?;
    let [compressed, length @ ..] = *head;
    if compressed != 0 {
        return Err("the message is compressed, which was not asked for");
    }
    let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
    let mut message = rest.get(..length).ok_or("the message is cut")?;
    let mut state = 0;
    while !message.is_empty() {
        let key = varint(&mut message).ok_or("the message is no protobuf")?;
        match key & 7 {
            0 => {
                let value = varint(&mut message).ok_or("the message is no protobuf")?;
                if key == STATUS {
                    state = value;
                }
            }
            2 => {
                let length = varint(&mut message).ok_or("the message is no protobuf")?;
                let length = usize::try_from(length).unwrap_or(usize::MAX);
                message = message.get(length..).ok_or("the message is no protobuf")?;
            }
            _ => return Err("the message has a field that it should not have"),
        }
    }
    Ok(state)
}

/// A number of protobuf: seven bits a byte, the lowest first.
fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

/// `grpc-message` is percent-encoded.
fn percent_decoded(bytes: &[u8]) -> String {
    let mut decoded = Vec::new();
    let mut rest = bytes;
    while let Some((first, after)) = rest.split_first() {
        let hexadecimal = after
            .get(..2)
            .filter(|_| *first == b'%')
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        if let Some(byte) = hexadecimal {
            decoded.push(byte);
            rest = after.get(2..).unwrap_or_default();
        } else {
            decoded.push(*first);
            rest = after;
        }
    }
    decoded.to_str_lossy().into_owned()
}

/// The name of a status of gRPC.
fn status_name(code: u32) -> String {
    const NAMES: [&str; 17] = [
        "OK",
        "CANCELLED",
        "UNKNOWN",
        "INVALID_ARGUMENT",
        "DEADLINE_EXCEEDED",
        "NOT_FOUND",
        "ALREADY_EXISTS",
        "PERMISSION_DENIED",
        "RESOURCE_EXHAUSTED",
        "FAILED_PRECONDITION",
        "ABORTED",
        "OUT_OF_RANGE",
        "UNIMPLEMENTED",
        "INTERNAL",
        "UNAVAILABLE",
        "DATA_LOSS",
        "UNAUTHENTICATED",
    ];
    usize::try_from(code)
        .ok()
        .and_then(|code| NAMES.get(code))
        .map_or_else(|| format!("status {code}"), |name| (*name).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(status: &str, message: &str) -> Vec<(BString, BString)> {
        vec![
            ("content-type".into(), "application/grpc".into()),
            ("grpc-status".into(), status.into()),
            ("grpc-message".into(), message.into()),
        ]
    }

    #[test]
    fn a_request_is_framed_as_grpc_frames_it() {
        assert_eq!(health_request("").unwrap(), [0, 0, 0, 0, 0]);
        assert_eq!(health_request("a").unwrap(), [0, 0, 0, 0, 3, 0x0a, 1, b'a']);
        assert_eq!(health_request(&"a".repeat(128)), None);
    }

    #[test]
    fn the_state_is_read_and_one_that_is_left_out_is_unknown() {
        let read = |body: &[u8]| health(200, &fields("0", ""), body);
        assert_eq!(read(&[0, 0, 0, 0, 2, 8, 1]), Health::Serving);
        assert_eq!(read(&[0, 0, 0, 0, 2, 8, 2]).to_string(), "NOT_SERVING");
        assert_eq!(read(&[0, 0, 0, 0, 0]).to_string(), "UNKNOWN");
        assert_eq!(read(&[0, 0, 0, 0, 5, 0x12, 1, b'x', 8, 1]), Health::Serving);
    }

    #[test]
    fn what_is_no_answer_says_why() {
        for body in [
            &b""[..],
            &[0, 0, 0, 0, 9, 8, 1],
            &[1, 0, 0, 0, 0],
            &[0, 0, 0, 0, 1, 0x80],
            &[0, 0, 0, 0, 2, 0x0a, 9],
            &[0, 0, 0, 0, 1, 0x0b],
        ] {
            let health = health(200, &fields("0", ""), body);
            assert!(matches!(health, Health::Other(_)), "{health:?}");
        }
        let failed = health(200, &fields("12", "unknown%20service%"), b"");
        assert_eq!(
            failed.to_string(),
            "UNIMPLEMENTED: unknown service% (the server has no health service)"
        );
        assert!(matches!(health(503, &[], b""), Health::Other(why) if why.contains("503")));
    }
}
