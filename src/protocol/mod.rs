//! The conversation between client and agent, sans-I/O.
//!
//! Both sides share this module: it turns bytes into frames and frames into typed messages, keeps the
//! books of a stream (credit, count, digest) and the clock of a conversation. It never reads, writes
//! or waits; `session` (client) and `agent::serve` do that. `docs/protocol.md` describes the bytes.
//!
//! Compatibility: a client and an agent talk only when [`VERSION`] and the build are equal, because the
//! client carries its own agent. Still, within a version enum variants are only ever appended and golden-bytes tests hold
//! every message in place, so that a capture stays readable. What nobody sends any more goes with the next version.

mod frame;
mod hello;
mod liveness;
pub mod message;
mod stream;

pub use frame::{Decoder, Frame, FrameBuffer, FrameError, Kind, MAX_PAYLOAD, encode};
pub use hello::{Hello, HelloError};
pub use liveness::{Beat, Liveness, PING_AFTER, SILENCE_LIMIT};
pub use stream::{End, IncomingStream, OutgoingStream, StreamError, WINDOW};

/// The version of the frames and messages. Raised by every change of either.
pub const VERSION: u16 = 3;
