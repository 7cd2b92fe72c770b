//! DNS messages: questions out, answers in. What comes in may be anything.

use std::fmt::Write as _;

use hickory_proto::{
    op::{Edns, Message, MessageType, Query},
    rr::{Name, RData, Record, RecordType},
};

use crate::protocol::message::{Answered, DnsRecord};

/// As many records are passed on, and as many bytes of them: an answer over TCP may have 64 KiB, in which every name is a
/// pointer to a long one.
const RECORDS: usize = 1000;
const RECORD_BYTES: usize = 128 * 1024;
/// The size of datagrams that we say we take (DNS flag day 2020).
const PAYLOAD: u16 = 1232;

/// A question, ready to be sent.
pub(super) struct Packet {
    pub(super) bytes: Vec<u8>,
    id: u16,
    query: Query,
}

/// Why bytes are not the answer.
pub(super) enum NoAnswer {
    /// They belong to another question; to be ignored, as libraries do.
    Stray,
    /// They cannot be understood.
    Garbled(String),
}

impl Packet {
    /// A question with a random number.
    pub(super) fn new(name: &Name, kind: u16, edns: bool) -> Option<Self> {
        let mut message = Message::query();
        message.metadata.recursion_desired = true;
        let query = Query::query(name.clone(), RecordType::from(kind));
        message.add_query(query.clone());
        if edns {
            let mut edns = Edns::new();
            edns.set_max_payload(PAYLOAD);
            message.set_edns(edns);
        }
        Some(Self {
            bytes: message.to_vec().ok()?,
            id: message.metadata.id,
            query,
        })
    }

    /// Reads an answer to this question.
    pub(super) fn read(&self, bytes: &[u8]) -> Result<Answered, NoAnswer> {
        // Number and direction come first: a datagram of somebody else may be anything behind them.
        let id = bytes.get(..2).map(|id| id == self.id.to_be_bytes());
        if id != Some(true) {
            return Err(NoAnswer::Stray);
        }
        let message =
            Message::from_vec(bytes).map_err(|error| NoAnswer::Garbled(error.to_string()))?;
        if message.metadata.message_type != MessageType::Response {
            return Err(NoAnswer::Stray);
        }
        match message.queries.as_slice() {
            [query] if self.is_about(query) => {}
            // A server that cannot read a question need not repeat it (FORMERR).
            [] if u16::from(message.metadata.response_code) != 0 => {}
            _ => return Err(NoAnswer::Stray),
        }
        Ok(answered(&message, bytes.len()))
    }

    fn is_about(&self, query: &Query) -> bool {
        query.name() == self.query.name() && query.query_type() == self.query.query_type()
    }
}

fn answered(message: &Message, size: usize) -> Answered {
    let mut left = Left {
        records: RECORDS,
        bytes: RECORD_BYTES,
        out: 0,
    };
    Answered {
        rcode: message.metadata.response_code.into(),
        truncated: message.metadata.truncation,
        authoritative: message.metadata.authoritative,
        recursive: message.metadata.recursion_available,
        size: u32::try_from(size).unwrap_or(u32::MAX),
        edns: message.edns.as_ref().map(Edns::max_payload),
        answers: left.take(&message.answers),
        authorities: left.take(&message.authorities),
        additionals: left.take(&message.additionals),
        left_out: left.out,
        strays: 0,
    }
}

/// What may still be passed on.
struct Left {
    records: usize,
    bytes: usize,
    out: u32,
}

impl Left {
    fn take(&mut self, records: &[Record]) -> Vec<DnsRecord> {
        let mut taken = Vec::new();
        for record in records {
            let row = row(record);
            let bytes = row.name.len() + row.data.len() + 32;
            if self.records == 0 || self.bytes < bytes {
                self.out += 1;
                continue;
            }
            self.records -= 1;
            self.bytes -= bytes;
            taken.push(row);
        }
        taken
    }
}

fn row(record: &Record) -> DnsRecord {
    DnsRecord {
        name: record.name.to_ascii(),
        ttl: record.ttl,
        kind: record.data.record_type().into(),
        address: record.data.ip_addr(),
        data: presentation(&record.data),
    }
}

/// Data as dig shows it; the crate's own form of text has no quotes.
fn presentation(data: &RData) -> String {
    let RData::TXT(text) = data else {
        return data.to_string();
    };
    let strings = text.txt_data.iter().map(|string| quoted(string));
    strings.collect::<Vec<_>>().join(" ")
}

fn quoted(bytes: &[u8]) -> String {
    let mut text = String::from("\"");
    for byte in bytes {
        match byte {
            b'"' | b'\\' => text.extend(['\\', char::from(*byte)]),
            b' '..=b'~' => text.push(char::from(*byte)),
            _ => {
                let _ = write!(text, "\\{byte:03}");
            }
        }
    }
    text.push('"');
    text
}

/// A name of bytes as a library sends it: split at the dots, nothing else.
pub(super) fn name_of(bytes: &[u8]) -> Result<Name, String> {
    let bytes = bytes.strip_suffix(b".").unwrap_or(bytes);
    if bytes.is_empty() {
        return Ok(Name::root());
    }
    let labels = bytes.split(|byte| *byte == b'.');
    let mut name = Name::from_labels(labels).map_err(|error| error.to_string())?;
    name.set_fqdn(true);
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet() -> Packet {
        Packet::new(&name_of(b"a.example").unwrap(), 1, false).unwrap()
    }

    /// The question as an answer, with a changed header and more behind it.
    fn answer(packet: &Packet, more: &[u8], answers: u16) -> Vec<u8> {
        let mut bytes = packet.bytes.clone();
        bytes[2] |= 0x80;
        bytes[6..8].copy_from_slice(&answers.to_be_bytes());
        bytes.extend(more);
        bytes
    }

    #[test]
    fn an_answer_is_read_and_what_is_not_one_is_a_stray() {
        let packet = packet();
        let record = [0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 10, 0, 0, 1];
        let Ok(answered) = packet.read(&answer(&packet, &record, 1)) else {
            panic!("no answer");
        };
        assert_eq!(answered.answers[0].data, "10.0.0.1");
        assert_eq!(answered.answers[0].name, "a.example.");
        let mut other = answer(&packet, &record, 1);
        other[0] ^= 1;
        for bytes in [other, packet.bytes.clone(), Vec::new(), vec![0]] {
            assert!(matches!(packet.read(&bytes), Err(NoAnswer::Stray)));
        }
    }

    #[test]
    fn names_that_point_in_a_circle_are_garbage_and_end() {
        let packet = packet();
        let at = u8::try_from(packet.bytes.len()).unwrap();
        for pointer in [[0xc0, at], [0xc0, at + 2], [0xff, 0xff]] {
            let record = [&pointer[..], &[0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 10, 0, 0, 1]].concat();
            let read = packet.read(&answer(&packet, &record, 1));
            assert!(matches!(read, Err(NoAnswer::Garbled(_))));
        }
        assert!(matches!(
            packet.read(&answer(&packet, &[], 65_535)),
            Err(NoAnswer::Garbled(_))
        ));
    }

    #[test]
    fn an_answer_of_many_records_is_passed_on_in_part() {
        let packet = packet();
        let record = [0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 10, 0, 0, 1];
        let many = record.repeat(4000);
        let Ok(answered) = packet.read(&answer(&packet, &many, 4000)) else {
            panic!("no answer");
        };
        assert_eq!(answered.answers.len(), RECORDS);
        assert_eq!(answered.left_out, 3000);
    }

    #[test]
    fn text_is_quoted_as_dig_does() {
        assert_eq!(quoted(b"a \"b\" \\ \x07"), r#""a \"b\" \\ \007""#);
    }

    #[test]
    fn a_label_that_is_too_long_is_no_name() {
        assert!(name_of(&[b'a'; 64]).is_err());
        assert!(name_of(b"a..b").is_err());
        assert_eq!(
            name_of(b"_http._tcp.web").unwrap().to_ascii(),
            "_http._tcp.web."
        );
    }
}
