//! Where the body of a response ends (RFC 9112, section 6).

use crate::protocol::message::HttpBody;

/// The longest line with the size of a chunk, its extensions included.
const LINE_LIMIT: usize = 4096;
/// The most that may follow the last chunk.
const TRAILER_LIMIT: usize = 64 * 1024;

/// How the end of a body is told.
pub(super) fn framing(
    method: &[u8],
    status: u16,
    fields: &[httparse::Header<'_>],
) -> Result<HttpBody, String> {
    if method == b"HEAD" || (100..200).contains(&status) || matches!(status, 204 | 304) {
        return Ok(HttpBody::None);
    }
    let named = |name: &'static str| {
        fields
            .iter()
            .filter(move |field| field.name.eq_ignore_ascii_case(name))
            .map(|field| field.value.trim_ascii())
    };
    if let Some(coding) = named("transfer-encoding").next_back() {
        let is_chunked = coding.to_ascii_lowercase().ends_with(b"chunked");
        return Ok(if is_chunked {
            HttpBody::Chunked
        } else {
            HttpBody::UntilClosed
        });
    }
    let mut lengths = named("content-length");
    let Some(first) = lengths.next() else {
        return Ok(HttpBody::UntilClosed);
    };
    if lengths.any(|other| other != first) {
        return Err("two different lengths of the body".to_owned());
    }
    let is_number = !first.is_empty() && first.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(first)
        .ok()
        .filter(|_| is_number)
        .and_then(|digits| digits.parse().ok())
        .map(HttpBody::Length)
        .ok_or_else(|| "a length of the body that is no number".to_owned())
}

/// Takes a body out of what comes.
pub(super) struct Decoder {
    state: State,
    line: Vec<u8>,
    trailer: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Length(u64),
    UntilClosed,
    Size,
    Chunk(u64),
    ChunkEnd,
    Trailer,
    Done,
}

impl Decoder {
    pub(super) const fn new(body: HttpBody) -> Self {
        let state = match body {
            HttpBody::None | HttpBody::Length(0) => State::Done,
            HttpBody::Length(length) => State::Length(length),
            HttpBody::Chunked => State::Size,
            HttpBody::UntilClosed | HttpBody::Stream => State::UntilClosed,
        };
        Self {
            state,
            line: Vec::new(),
            trailer: 0,
        }
    }

    pub(super) fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Whether the end of the connection is the end of the body.
    pub(super) fn may_close(&self) -> bool {
        matches!(self.state, State::UntilClosed | State::Done)
    }

    /// Calls `each` with the parts of the body in some bytes.
    pub(super) fn take<E>(
        &mut self,
        mut bytes: &[u8],
        mut each: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<Result<(), String>, E> {
        while !bytes.is_empty() && self.state != State::Done {
            match self.state {
                State::Length(left) | State::Chunk(left) => {
                    let now = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
                    let (part, rest) = bytes.split_at_checked(now).unwrap_or_default();
                    each(part)?;
                    bytes = rest;
                    self.state = match (self.state, left - now as u64) {
                        (State::Length(_), 0) => State::Done,
                        (State::Length(_), left) => State::Length(left),
                        (_, 0) => State::ChunkEnd,
                        (_, left) => State::Chunk(left),
                    };
                }
                State::UntilClosed => {
                    each(bytes)?;
                    return Ok(Ok(()));
                }
                State::Size | State::ChunkEnd | State::Trailer => {
                    let Some((line, rest)) = self.line(bytes) else {
                        return Ok(if self.line.len() > LINE_LIMIT {
                            Err("a line between chunks without an end".to_owned())
                        } else {
                            Ok(())
                        });
                    };
                    bytes = rest;
                    if let Err(why) = self.step(&line) {
                        return Ok(Err(why));
                    }
                }
                State::Done => {}
            }
        }
        Ok(Ok(()))
    }

    /// The next whole line, without its end, and what follows it.
    fn line<'b>(&mut self, bytes: &'b [u8]) -> Option<(Vec<u8>, &'b [u8])> {
        let Some(end) = bytes.iter().position(|byte| *byte == b'\n') else {
            let room = (LINE_LIMIT + 1).saturating_sub(self.line.len());
            self.line
                .extend_from_slice(bytes.get(..room.min(bytes.len())).unwrap_or_default());
            return None;
        };
        let (head, rest) = bytes.split_at_checked(end + 1)?;
        let mut line = std::mem::take(&mut self.line);
        line.extend_from_slice(head);
        let bare = line.trim_ascii_end().len();
        line.truncate(bare);
        Some((line, rest))
    }

    fn step(&mut self, line: &[u8]) -> Result<(), String> {
        self.state = match self.state {
            State::Size => match size(line).ok_or("a chunk without a size")? {
                0 => State::Trailer,
                size => State::Chunk(size),
            },
            State::ChunkEnd if line.is_empty() => State::Size,
            State::ChunkEnd => return Err("a chunk that is longer than its size".to_owned()),
            State::Trailer if line.is_empty() => State::Done,
            State::Trailer => {
                self.trailer += line.len();
                if self.trailer > TRAILER_LIMIT {
                    return Err("a trailer without an end".to_owned());
                }
                State::Trailer
            }
            other => other,
        };
        Ok(())
    }
}

/// The size of a chunk, in front of its extensions.
fn size(line: &[u8]) -> Option<u64> {
    let digits = line.split(|byte| *byte == b';').next()?.trim_ascii();
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The body, when it is whole, however the bytes are cut.
    fn decode(body: HttpBody, bytes: &[u8], cut: usize) -> Result<Option<Vec<u8>>, String> {
        let mut decoder = Decoder::new(body);
        let mut found = Vec::new();
        for part in bytes.chunks(cut) {
            decoder
                .take(part, |part| {
                    found.extend_from_slice(part);
                    Ok::<_, ()>(())
                })
                .unwrap()?;
        }
        Ok(decoder.is_done().then_some(found))
    }

    #[test]
    fn chunks_are_joined_however_they_arrive() {
        let bytes = b"5;x=y\r\nhello\r\n6\r\n world\r\n0\r\nA: b\r\n\r\n";
        for cut in 1..=bytes.len() {
            let body = decode(HttpBody::Chunked, bytes, cut).unwrap();
            assert_eq!(body.as_deref(), Some(&b"hello world"[..]), "{cut}");
        }
    }

    #[test]
    fn what_is_no_chunk_is_an_error_and_never_endless() {
        for bytes in [
            &b"zz\r\n"[..],
            b"\r\n",
            b"-1\r\n",
            b"+1\r\na\r\n",
            b"11111111111111111\r\n",
            b"1\r\nab\r\n",
        ] {
            assert!(decode(HttpBody::Chunked, bytes, 3).is_err());
        }
        assert!(decode(HttpBody::Chunked, &[b'1'; 10_000], 100).is_err());
        let trailer = [b"0\r\n".to_vec(), b"a: b\r\n".repeat(20_000)].concat();
        assert!(decode(HttpBody::Chunked, &trailer, 1000).is_err());
    }

    #[test]
    fn a_length_ends_a_body_and_two_lengths_are_an_error() {
        assert_eq!(
            decode(HttpBody::Length(3), b"abcdef", 2),
            Ok(Some(b"abc".to_vec()))
        );
        let field = |value| httparse::Header {
            name: "Content-Length",
            value,
        };
        assert_eq!(
            framing(b"GET", 200, &[field(b"3")]),
            Ok(HttpBody::Length(3))
        );
        assert_eq!(framing(b"HEAD", 200, &[field(b"3")]), Ok(HttpBody::None));
        assert_eq!(framing(b"GET", 200, &[]), Ok(HttpBody::UntilClosed));
        assert!(framing(b"GET", 200, &[field(b"3"), field(b"4")]).is_err());
        assert!(framing(b"GET", 200, &[field(b"+3")]).is_err());
    }
}
