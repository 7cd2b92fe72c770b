//! Frames: the unit that travels.
//!
//! ```text
//! u32 payload length | u8 kind | u32 stream | payload | u32 CRC-32 of all that precedes
//! ```
//!
//! All numbers are little endian. The length is checked against [`MAX_PAYLOAD`] before a byte is stored,
//! so a peer cannot make this side allocate. The checksum finds a damaged or misaligned pipe at the frame
//! where it happened; the digest at the end of each stream (see [`super::End`]) finds everything else.

use thiserror::Error;

/// The most bytes that one frame carries.
pub const MAX_PAYLOAD: usize = 256 * 1024;

const HEADER: usize = 9;
const TRAILER: usize = 4;

/// What a frame means. Stream 0 carries what concerns the whole conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Both, stream 0, first: who is speaking ([`super::Hello`]).
    Hello = 1,
    /// Both, stream 0: still here, nothing to say.
    Ping = 2,
    /// Client: opens a stream with a [`super::message::Request`].
    Request = 3,
    /// Agent: what the request found, before its content.
    Head = 4,
    /// Agent: the next bytes of the content.
    Data = 5,
    /// Agent: a run of zero bytes that is a hole in a sparse file; the payload is its length.
    Hole = 6,
    /// Agent: the stream is complete ([`super::End`]).
    End = 7,
    /// Agent: the request failed ([`super::message::Failure`]); ends the stream.
    Failure = 8,
    /// Client: the stream arrived whole; the agent may forget it.
    Ack = 9,
    /// Both: so many more bytes may be sent on this stream (u32).
    Credit = 10,
    /// Client: stop this stream; whatever is under way is dropped.
    Cancel = 11,
    /// Both, stream 0: the conversation is over; nothing follows.
    Goodbye = 12,
    /// Client: the next bytes of a command's standard input.
    Input = 13,
    /// Client: its standard input is complete ([`super::End`]).
    InputEnd = 14,
    /// Client: the terminal has another size now ([`super::message::TerminalSize`]).
    Resize = 15,
    /// Client: a signal for the command ([`super::message::RunSignal`]).
    Signal = 16,
    /// Agent: the next bytes of a command's standard error.
    ErrorData = 17,
}

impl Kind {
    const fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            1 => Self::Hello,
            2 => Self::Ping,
            3 => Self::Request,
            4 => Self::Head,
            5 => Self::Data,
            6 => Self::Hole,
            7 => Self::End,
            8 => Self::Failure,
            9 => Self::Ack,
            10 => Self::Credit,
            11 => Self::Cancel,
            12 => Self::Goodbye,
            13 => Self::Input,
            14 => Self::InputEnd,
            15 => Self::Resize,
            16 => Self::Signal,
            17 => Self::ErrorData,
            _ => return None,
        })
    }
}

/// One frame, its payload borrowed from the decoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// What it means.
    pub kind: Kind,
    /// The stream that it belongs to; 0 is the conversation itself.
    pub stream: u32,
    /// What it carries.
    pub payload: &'a [u8],
}

/// The bytes are not a frame. Nothing after it can be read, so the conversation ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum FrameError {
    /// The length field is above [`MAX_PAYLOAD`].
    #[error("a frame of {0} bytes is longer than the limit of {MAX_PAYLOAD}")]
    TooLong(usize),
    /// The kind is none of [`Kind`].
    #[error("a frame has the unknown kind {0}")]
    UnknownKind(u8),
    /// The checksum does not fit.
    #[error("a frame is damaged: its checksum does not fit")]
    Checksum,
}

/// Appends a frame to `out`.
///
/// # Panics
///
/// When the payload is longer than [`MAX_PAYLOAD`]: callers cut their content into frames.
pub fn encode(out: &mut Vec<u8>, kind: Kind, stream: u32, payload: &[u8]) {
    assert!(
        payload.len() <= MAX_PAYLOAD,
        "a payload is cut before it is framed"
    );
    let start = out.len();
    out.extend_from_slice(&header(kind, stream, payload.len()));
    out.extend_from_slice(payload);
    let checksum = crc32fast::hash(out.get(start..).unwrap_or_default());
    out.extend_from_slice(&checksum.to_le_bytes());
}

fn header(kind: Kind, stream: u32, length: usize) -> [u8; HEADER] {
    let [l0, l1, l2, l3] = u32::try_from(length).unwrap_or(u32::MAX).to_le_bytes();
    let [s0, s1, s2, s3] = stream.to_le_bytes();
    [l0, l1, l2, l3, kind as u8, s0, s1, s2, s3]
}

/// A frame that is filled in place, so that file content goes from `read(2)` to `write(2)` without a copy.
pub struct FrameBuffer {
    bytes: Box<[u8]>,
}

impl Default for FrameBuffer {
    fn default() -> Self {
        Self {
            bytes: vec![0; HEADER + MAX_PAYLOAD + TRAILER].into_boxed_slice(),
        }
    }
}

impl FrameBuffer {
    /// The room for the payload: [`MAX_PAYLOAD`] bytes.
    pub fn payload_mut(&mut self) -> &mut [u8] {
        self.bytes
            .get_mut(HEADER..HEADER + MAX_PAYLOAD)
            .unwrap_or_default()
    }

    /// The first `length` bytes of the payload.
    #[must_use]
    pub fn payload(&self, length: usize) -> &[u8] {
        self.bytes.get(HEADER..HEADER + length).unwrap_or_default()
    }

    /// Completes the frame round the first `length` bytes of the payload and gives all of its bytes.
    pub fn seal(&mut self, kind: Kind, stream: u32, length: usize) -> &[u8] {
        let length = length.min(MAX_PAYLOAD);
        if let Some(head) = self.bytes.get_mut(..HEADER) {
            head.copy_from_slice(&header(kind, stream, length));
        }
        let checksum = crc32fast::hash(self.bytes.get(..HEADER + length).unwrap_or_default());
        if let Some(tail) = self
            .bytes
            .get_mut(HEADER + length..HEADER + length + TRAILER)
        {
            tail.copy_from_slice(&checksum.to_le_bytes());
        }
        self.bytes
            .get(..HEADER + length + TRAILER)
            .unwrap_or_default()
    }
}

/// Cuts a byte stream into frames, whatever pieces it arrives in.
///
/// ```
/// use kdbg::protocol::{Decoder, Kind, encode};
/// let mut bytes = Vec::new();
/// encode(&mut bytes, Kind::Data, 7, b"hello");
/// let mut decoder = Decoder::default();
/// for byte in bytes {
///     decoder.push(&[byte]);
/// }
/// let frame = decoder.next_frame().unwrap().unwrap();
/// assert_eq!((frame.kind, frame.stream, frame.payload), (Kind::Data, 7, &b"hello"[..]));
/// ```
pub struct Decoder {
    buffer: Box<[u8]>,
    /// The bytes not yet consumed are `buffer[start..end]`.
    start: usize,
    end: usize,
}

impl Default for Decoder {
    fn default() -> Self {
        // Two frames: one that is complete and one that is arriving.
        Self {
            buffer: vec![0; 2 * (HEADER + MAX_PAYLOAD + TRAILER)].into_boxed_slice(),
            start: 0,
            end: 0,
        }
    }
}

impl Decoder {
    /// The room to read the next bytes into; never empty once [`Self::next_frame`] has answered `None`.
    pub fn space(&mut self) -> &mut [u8] {
        self.make_room();
        self.buffer.get_mut(self.end..).unwrap_or_default()
    }

    /// Says that the first `count` bytes of [`Self::space`] were filled.
    pub fn filled(&mut self, count: usize) {
        self.end = self.buffer.len().min(self.end + count);
    }

    /// Takes bytes in; at most as many as [`Self::space`] has room for are taken, and their count is given back.
    pub fn push(&mut self, bytes: &[u8]) -> usize {
        let space = self.space();
        let count = space.len().min(bytes.len());
        if let (Some(target), Some(source)) = (space.get_mut(..count), bytes.get(..count)) {
            target.copy_from_slice(source);
        }
        self.filled(count);
        count
    }

    /// The next whole frame, or `None` until more bytes arrive.
    pub fn next_frame(&mut self) -> Result<Option<Frame<'_>>, FrameError> {
        let pending = self.buffer.get(self.start..self.end).unwrap_or_default();
        let Some((&[l0, l1, l2, l3, kind, s0, s1, s2, s3], rest)) =
            pending.split_first_chunk::<HEADER>()
        else {
            return Ok(None);
        };
        let length = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
        if length > MAX_PAYLOAD {
            return Err(FrameError::TooLong(length));
        }
        let kind = Kind::from_byte(kind).ok_or(FrameError::UnknownKind(kind))?;
        let Some((payload, rest)) = rest.split_at_checked(length) else {
            return Ok(None);
        };
        let Some((checksum, _)) = rest.split_first_chunk::<TRAILER>() else {
            return Ok(None);
        };
        let covered = pending.get(..HEADER + length).unwrap_or_default();
        if crc32fast::hash(covered) != u32::from_le_bytes(*checksum) {
            return Err(FrameError::Checksum);
        }
        self.start += HEADER + length + TRAILER;
        Ok(Some(Frame {
            kind,
            stream: u32::from_le_bytes([s0, s1, s2, s3]),
            payload,
        }))
    }

    /// The bytes that are not a frame yet: what a peer that does not speak the protocol has said.
    #[must_use]
    pub fn pending(&self) -> &[u8] {
        self.buffer.get(self.start..self.end).unwrap_or_default()
    }

    /// Moves what is left to the front when less than one whole frame fits behind it.
    fn make_room(&mut self) {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if self.buffer.len() - self.end < HEADER + MAX_PAYLOAD + TRAILER && self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KINDS: [Kind; 17] = [
        Kind::Hello,
        Kind::Ping,
        Kind::Request,
        Kind::Head,
        Kind::Data,
        Kind::Hole,
        Kind::End,
        Kind::Failure,
        Kind::Ack,
        Kind::Credit,
        Kind::Cancel,
        Kind::Goodbye,
        Kind::Input,
        Kind::InputEnd,
        Kind::Resize,
        Kind::Signal,
        Kind::ErrorData,
    ];

    fn decode_all(mut bytes: &[u8], step: usize) -> Result<Vec<(Kind, u32, Vec<u8>)>, FrameError> {
        let mut decoder = Decoder::default();
        let mut frames = Vec::new();
        loop {
            while let Some(frame) = decoder.next_frame()? {
                frames.push((frame.kind, frame.stream, frame.payload.to_vec()));
            }
            if bytes.is_empty() {
                return Ok(frames);
            }
            let taken = decoder.push(&bytes[..step.min(bytes.len())]);
            assert!(taken > 0, "a decoder without a whole frame has room");
            bytes = &bytes[taken..];
        }
    }

    #[test]
    fn a_frame_has_these_bytes() {
        // The last four bytes were computed with zlib.
        let mut bytes = Vec::new();
        encode(&mut bytes, Kind::Data, 0x0102_0304, b"abc");
        assert_eq!(
            bytes,
            [
                3, 0, 0, 0, 5, 4, 3, 2, 1, b'a', b'b', b'c', 0x93, 0xe0, 0x69, 0x3e
            ]
        );
    }

    #[test]
    fn every_kind_survives_the_way_through_its_byte() {
        for kind in KINDS {
            assert_eq!(Kind::from_byte(kind as u8), Some(kind));
        }
        assert_eq!(Kind::from_byte(0), None);
        assert_eq!(Kind::from_byte(18), None);
    }

    #[test]
    fn a_frame_filled_in_place_equals_an_encoded_one() {
        let mut buffer = FrameBuffer::default();
        buffer.payload_mut()[..4].copy_from_slice(b"same");
        let mut encoded = Vec::new();
        encode(&mut encoded, Kind::Data, 9, b"same");
        assert_eq!(buffer.seal(Kind::Data, 9, 4), encoded);
    }

    #[test]
    fn text_in_place_of_frames_is_refused_and_can_be_shown() {
        let mut decoder = Decoder::default();
        decoder.push(b"sh: kdbg-agent: not found\n");
        assert!(matches!(decoder.next_frame(), Err(FrameError::TooLong(_))));
        assert_eq!(decoder.pending(), b"sh: kdbg-agent: not found\n");
    }

    #[test]
    fn the_longest_frame_fits_and_one_byte_more_is_refused() {
        let mut bytes = Vec::new();
        encode(&mut bytes, Kind::Data, 1, &vec![7; MAX_PAYLOAD]);
        assert_eq!(decode_all(&bytes, 4096).unwrap().len(), 1);
        let longer = u32::try_from(MAX_PAYLOAD + 1).unwrap().to_le_bytes();
        bytes[..4].copy_from_slice(&longer);
        assert_eq!(
            decode_all(&bytes, 4096),
            Err(FrameError::TooLong(MAX_PAYLOAD + 1))
        );
    }

    proptest! {
        #[test]
        fn frames_survive_any_cutting(
            frames in prop::collection::vec((0..KINDS.len(), any::<u32>(), prop::collection::vec(any::<u8>(), 0..3000)), 0..20),
            step in 1_usize..5000,
        ) {
            let mut bytes = Vec::new();
            let frames: Vec<_> = frames.into_iter().map(|(kind, stream, payload)| (KINDS[kind], stream, payload)).collect();
            for (kind, stream, payload) in &frames {
                encode(&mut bytes, *kind, *stream, payload);
            }
            prop_assert_eq!(decode_all(&bytes, step).unwrap(), frames);
        }

        #[test]
        fn one_flipped_bit_never_passes_for_another_frame(payload in prop::collection::vec(any::<u8>(), 0..200), bit in any::<prop::sample::Index>()) {
            let mut bytes = Vec::new();
            encode(&mut bytes, Kind::Data, 3, &payload);
            let bit = bit.index(bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            let decoded = decode_all(&bytes, bytes.len());
            prop_assert!(matches!(decoded.as_deref(), Ok([]) | Err(_)), "{:?}", decoded);
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..4000), step in 1_usize..64) {
            let _ = decode_all(&bytes, step);
        }
    }
}
