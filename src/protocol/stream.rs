//! The books of one stream: how much may be sent, how much came, and what it must digest to.
//!
//! An exec pipe may end early and still report success (kubernetes issues 60140 and 124571), so the end of
//! a stream is a message of its own that counts and digests all that was sent; without it the stream is
//! truncated, whatever the pipe says.

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::Kind;

/// How many bytes a stream may have under way before the client grants more.
///
/// Sixteen full frames: enough for 40 MB/s over a round trip of 100 ms, and the most that a slow reader
/// makes the client hold for each stream. The agent holds one frame, whatever the window.
pub const WINDOW: u32 = 4 * 1024 * 1024;

/// The end of a stream, as its sender saw it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// Payload bytes of all frames that carry content: head, data, hole and error data from the agent, input
    /// from the client.
    pub bytes: u64,
    /// Their number.
    pub frames: u64,
    /// BLAKE3 over each frame's kind and payload, in order.
    pub digest: [u8; 32],
    /// What is known only once all was read (see the request's message type).
    pub trailer: Vec<u8>,
}

/// A stream that did not arrive as it was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum StreamError {
    /// More was sent than granted.
    #[error("{0} bytes more were sent than was allowed")]
    OverWindow(u64),
    /// Count or digest differ.
    #[error("{received} of {sent} bytes arrived")]
    Truncated {
        /// What the sender counted.
        sent: u64,
        /// What arrived.
        received: u64,
    },
    /// All bytes came, but not the same ones.
    #[error("the content was damaged on its way: its digest does not fit")]
    Digest,
    /// The frame does not belong into a stream of this direction.
    #[error("a frame of kind {0:?} came where content belongs")]
    Unexpected(Kind),
}

#[derive(Clone, Default)]
struct Tally {
    bytes: u64,
    frames: u64,
    digest: blake3::Hasher,
}

impl Tally {
    fn add(&mut self, kind: Kind, payload: &[u8]) {
        self.bytes += payload.len() as u64;
        self.frames += 1;
        self.digest.update(&[kind as u8]);
        self.digest.update(payload);
    }
}

/// The sending half: kept by the agent for its answer, by the client for a command's input.
pub struct OutgoingStream {
    credit: u64,
    tally: Tally,
}

impl Default for OutgoingStream {
    fn default() -> Self {
        Self {
            credit: u64::from(WINDOW),
            tally: Tally::default(),
        }
    }
}

impl OutgoingStream {
    /// Whether a frame with so many bytes may be sent now.
    #[must_use]
    pub fn may_send(&self, length: usize) -> bool {
        self.credit >= length as u64
    }

    /// The receiver took so many bytes.
    pub fn grant(&mut self, bytes: u32) {
        self.credit = self.credit.saturating_add(u64::from(bytes));
    }

    /// A frame is about to be sent; [`Self::may_send`] must have allowed it.
    pub fn sent(&mut self, kind: Kind, payload: &[u8]) {
        self.credit = self.credit.saturating_sub(payload.len() as u64);
        self.tally.add(kind, payload);
    }

    /// Closes the books.
    #[must_use]
    pub fn end(&self, trailer: Vec<u8>) -> End {
        End {
            bytes: self.tally.bytes,
            frames: self.tally.frames,
            digest: *self.tally.digest.finalize().as_bytes(),
            trailer,
        }
    }
}

/// Which way a stream's content goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Direction {
    /// From the agent: what was asked for.
    Answer,
    /// From the client: what a command is to read.
    Input,
}

impl Direction {
    const fn carries(self, kind: Kind) -> bool {
        match self {
            Self::Answer => {
                matches!(kind, Kind::Head | Kind::Data | Kind::Hole | Kind::ErrorData)
            }
            Self::Input => matches!(kind, Kind::Input),
        }
    }
}

/// The receiving half: kept by the client for an answer, by the agent for a command's input.
pub struct IncomingStream {
    direction: Direction,
    /// What may still be sent.
    allowed: u64,
    /// Taken by the reader and not yet granted again.
    taken: u32,
    tally: Tally,
}

impl Default for IncomingStream {
    fn default() -> Self {
        Self::new(Direction::Answer)
    }
}

impl IncomingStream {
    fn new(direction: Direction) -> Self {
        Self {
            direction,
            allowed: u64::from(WINDOW),
            taken: 0,
            tally: Tally::default(),
        }
    }

    /// The books of what a client sends to a command.
    #[must_use]
    pub fn of_input() -> Self {
        Self::new(Direction::Input)
    }

    /// A frame arrived.
    pub fn received(&mut self, kind: Kind, payload: &[u8]) -> Result<(), StreamError> {
        if !self.direction.carries(kind) {
            return Err(StreamError::Unexpected(kind));
        }
        let length = payload.len() as u64;
        let over = length.saturating_sub(self.allowed);
        if over > 0 {
            return Err(StreamError::OverWindow(over));
        }
        self.allowed -= length;
        self.tally.add(kind, payload);
        Ok(())
    }

    /// The reader took so many bytes; answers how many to grant, in portions of half a window.
    pub fn taken(&mut self, length: usize) -> Option<u32> {
        self.taken = self
            .taken
            .saturating_add(u32::try_from(length).unwrap_or(u32::MAX));
        if self.taken < WINDOW / 2 {
            return None;
        }
        self.allowed += u64::from(self.taken);
        Some(std::mem::take(&mut self.taken))
    }

    /// Compares what came with what was sent.
    pub fn verify(&self, end: &End) -> Result<(), StreamError> {
        if (self.tally.bytes, self.tally.frames) != (end.bytes, end.frames) {
            return Err(StreamError::Truncated {
                sent: end.bytes,
                received: self.tally.bytes,
            });
        }
        if *self.tally.digest.finalize().as_bytes() != end.digest {
            return Err(StreamError::Digest);
        }
        Ok(())
    }

    /// The payload bytes that have arrived so far.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.tally.bytes
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::protocol::MAX_PAYLOAD;

    #[test]
    fn a_stream_that_arrives_whole_is_accepted() {
        let (mut sender, mut receiver) = (OutgoingStream::default(), IncomingStream::default());
        for payload in [&b"one"[..], b"", b"three"] {
            sender.sent(Kind::Data, payload);
            receiver.received(Kind::Data, payload).unwrap();
        }
        assert_eq!(receiver.verify(&sender.end(Vec::new())), Ok(()));
    }

    #[test]
    fn a_lost_frame_an_empty_one_too_is_a_truncation() {
        for lost in [&b"three"[..], b""] {
            let (mut sender, mut receiver) = (OutgoingStream::default(), IncomingStream::default());
            sender.sent(Kind::Data, b"one");
            receiver.received(Kind::Data, b"one").unwrap();
            sender.sent(Kind::Data, lost);
            let sent = 3 + lost.len() as u64;
            assert_eq!(
                receiver.verify(&sender.end(Vec::new())),
                Err(StreamError::Truncated { sent, received: 3 })
            );
        }
    }

    #[test]
    fn other_bytes_of_the_same_length_fail_the_digest() {
        let (mut sender, mut receiver) = (OutgoingStream::default(), IncomingStream::default());
        sender.sent(Kind::Data, b"one");
        receiver.received(Kind::Data, b"0ne").unwrap();
        assert_eq!(
            receiver.verify(&sender.end(Vec::new())),
            Err(StreamError::Digest)
        );
    }

    #[test]
    fn a_hole_is_not_data_with_the_same_bytes() {
        let (mut sender, mut receiver) = (OutgoingStream::default(), IncomingStream::default());
        sender.sent(Kind::Hole, &[0; 8]);
        receiver.received(Kind::Data, &[0; 8]).unwrap();
        assert_eq!(
            receiver.verify(&sender.end(Vec::new())),
            Err(StreamError::Digest)
        );
    }

    #[test]
    fn a_sender_that_ignores_the_window_is_caught() {
        let mut receiver = IncomingStream::default();
        let frame = vec![0; MAX_PAYLOAD];
        for _ in 0..16 {
            receiver.received(Kind::Data, &frame).unwrap();
        }
        assert_eq!(
            receiver.received(Kind::Data, b"x"),
            Err(StreamError::OverWindow(1))
        );
    }

    #[test]
    fn what_goes_the_wrong_way_is_caught() {
        let (mut answer, mut input) = (IncomingStream::default(), IncomingStream::of_input());
        for kind in [Kind::Head, Kind::Data, Kind::Hole, Kind::ErrorData] {
            answer.received(kind, b"x").unwrap();
            assert_eq!(
                input.received(kind, b"x"),
                Err(StreamError::Unexpected(kind))
            );
        }
        input.received(Kind::Input, b"x").unwrap();
        for kind in [Kind::Input, Kind::InputEnd, Kind::Credit] {
            assert_eq!(
                answer.received(kind, b"x"),
                Err(StreamError::Unexpected(kind))
            );
        }
    }

    #[test]
    fn bytes_on_the_other_output_fail_the_digest() {
        let (mut sender, mut receiver) = (OutgoingStream::default(), IncomingStream::default());
        sender.sent(Kind::ErrorData, b"one");
        receiver.received(Kind::Data, b"one").unwrap();
        assert_eq!(
            receiver.verify(&sender.end(Vec::new())),
            Err(StreamError::Digest)
        );
    }

    #[test]
    fn input_is_counted_as_an_answer_is() {
        let (mut sender, mut receiver) = (OutgoingStream::default(), IncomingStream::of_input());
        for part in [&b"one"[..], b"two"] {
            sender.sent(Kind::Input, part);
        }
        receiver.received(Kind::Input, b"one").unwrap();
        let end = sender.end(Vec::new());
        assert_eq!(
            receiver.verify(&end),
            Err(StreamError::Truncated {
                sent: 6,
                received: 3
            })
        );
        receiver.received(Kind::Input, b"two").unwrap();
        assert_eq!(receiver.verify(&end), Ok(()));
    }

    proptest! {
        /// Whatever the sizes and however late the reader, an honest sender gets everything through.
        #[test]
        fn flow_control_never_stalls_and_never_overflows(sizes in prop::collection::vec(0..=MAX_PAYLOAD, 1..120), lag in 0_usize..12) {
            let (mut sender, mut receiver) = (OutgoingStream::default(), IncomingStream::default());
            let mut unread = std::collections::VecDeque::new();
            let content = vec![1; MAX_PAYLOAD];
            for size in sizes {
                while !sender.may_send(size) || unread.len() > lag {
                    let length: usize = unread.pop_front().expect("a full window means unread bytes");
                    if let Some(credit) = receiver.taken(length) {
                        sender.grant(credit);
                    }
                }
                sender.sent(Kind::Data, &content[..size]);
                receiver.received(Kind::Data, &content[..size]).unwrap();
                unread.push_back(size);
            }
            prop_assert_eq!(receiver.verify(&sender.end(Vec::new())), Ok(()));
        }
    }
}
