//! What has come for a running command and was not handled yet. Bounded by the credit that was granted.

use std::{
    os::fd::{AsFd as _, BorrowedFd},
    sync::Mutex,
};

use nix::{
    errno::Errno,
    sys::eventfd::{EfdFlags, EventFd},
};

use super::Message;
use crate::{
    agent::serve::lock,
    protocol::{End, Frame, IncomingStream, Kind, StreamError, message::from_bytes},
};

/// The client's direction of a stream. The main thread fills it, the command's thread empties it.
pub(in crate::agent) struct Inbox {
    wake: EventFd,
    state: Mutex<State>,
}

struct State {
    books: IncomingStream,
    messages: Vec<Message>,
}

impl Inbox {
    /// An empty one.
    pub(in crate::agent) fn new() -> Result<Self, Errno> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        Ok(Self {
            wake: EventFd::from_flags(flags)?,
            state: Mutex::new(State {
                books: IncomingStream::of_input(),
                messages: Vec::new(),
            }),
        })
    }

    /// Wakes the command's thread.
    pub(in crate::agent) fn wake(&self) {
        // It fails when it has not been read 2^64 times: it is awake.
        let _ = self.wake.write(1);
    }

    /// Readable once there is something to do.
    pub(in crate::agent) fn waker(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }

    /// A frame from the client. One that cannot be understood is an error of the whole conversation.
    pub(in crate::agent) fn receive(&self, frame: &Frame<'_>) -> Result<(), StreamError> {
        let unexpected = || StreamError::Unexpected(frame.kind);
        let mut state = lock(&self.state);
        let message = match frame.kind {
            Kind::Input => {
                state.books.received(frame.kind, frame.payload)?;
                Message::Input(frame.payload.to_vec())
            }
            Kind::InputEnd => {
                let end: End = from_bytes(frame.payload).ok_or_else(unexpected)?;
                state.books.verify(&end)?;
                Message::EndOfInput
            }
            Kind::Resize => Message::Resize(from_bytes(frame.payload).ok_or_else(unexpected)?),
            Kind::Signal => Message::Signal(from_bytes(frame.payload).ok_or_else(unexpected)?),
            _ => return Err(unexpected()),
        };
        state.messages.push(message);
        drop(state);
        self.wake();
        Ok(())
    }

    /// What has come.
    pub(in crate::agent) fn take(&self) -> Vec<Message> {
        // Empty when nothing has come since: that is an answer too.
        let _ = self.wake.read();
        std::mem::take(&mut lock(&self.state).messages)
    }

    /// So much of it was handled; answers how much more the client may be granted.
    pub(in crate::agent) fn taken(&self, bytes: usize) -> Option<u32> {
        lock(&self.state).books.taken(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{
        OutgoingStream, WINDOW,
        message::{RunSignal, TerminalSize, to_bytes},
    };

    fn frame(kind: Kind, payload: &[u8]) -> Frame<'_> {
        Frame {
            kind,
            stream: 1,
            payload,
        }
    }

    #[test]
    fn messages_come_out_in_order_and_once() {
        let inbox = Inbox::new().unwrap();
        let size = TerminalSize {
            rows: 2,
            columns: 3,
        };
        let mut books = OutgoingStream::default();
        books.sent(Kind::Input, b"x");
        for (kind, payload) in [
            (Kind::Resize, to_bytes(&size)),
            (Kind::Input, b"x".to_vec()),
            (Kind::Signal, to_bytes(&RunSignal::Quit)),
            (Kind::InputEnd, to_bytes(&books.end(Vec::new()))),
        ] {
            inbox.receive(&frame(kind, &payload)).unwrap();
        }
        assert_eq!(
            inbox.take(),
            [
                Message::Resize(size),
                Message::Input(b"x".to_vec()),
                Message::Signal(RunSignal::Quit),
                Message::EndOfInput
            ]
        );
        assert_eq!(inbox.take(), []);
    }

    #[test]
    fn lost_input_and_rubbish_are_noticed() {
        let inbox = Inbox::new().unwrap();
        let mut books = OutgoingStream::default();
        books.sent(Kind::Input, b"lost");
        let end = to_bytes(&books.end(Vec::new()));
        assert_eq!(
            inbox.receive(&frame(Kind::InputEnd, &end)),
            Err(StreamError::Truncated {
                sent: 4,
                received: 0
            })
        );
        for kind in [Kind::InputEnd, Kind::Resize, Kind::Signal, Kind::Data] {
            assert_eq!(
                inbox.receive(&frame(kind, b"\xff")),
                Err(StreamError::Unexpected(kind))
            );
        }
    }

    #[test]
    fn a_client_that_ignores_the_window_is_caught() {
        let inbox = Inbox::new().unwrap();
        let part = vec![0; 64 * 1024];
        for _ in 0..WINDOW / (64 * 1024) {
            inbox.receive(&frame(Kind::Input, &part)).unwrap();
        }
        assert_eq!(
            inbox.receive(&frame(Kind::Input, b"x")),
            Err(StreamError::OverWindow(1))
        );
    }
}
