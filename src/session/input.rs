//! What goes to a running command: its input, the size of its terminal, signals. And the body of a request over HTTP.

use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;
use tokio::sync::Notify;

use super::Shared;
use crate::protocol::{
    Kind, MAX_PAYLOAD, OutgoingStream,
    message::{RunSignal, TerminalSize, to_bytes},
};

/// The way to a running command. It stays usable, and does nothing, when the command has ended.
#[derive(Clone)]
pub struct Input {
    number: u32,
    books: Arc<Books>,
    shared: Arc<Shared>,
}

/// What was sent and what may be.
#[derive(Default)]
pub(super) struct Books {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    outgoing: OutgoingStream,
    /// The command has ended, or the conversation has.
    closed: bool,
}

impl Books {
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        // Nothing that runs under this lock can panic half-way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The command has taken so many bytes.
    pub(super) fn grant(&self, bytes: u32) {
        self.lock().outgoing.grant(bytes);
        self.changed.notify_one();
    }

    /// Nothing more is wanted.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_one();
    }
}

impl Input {
    pub(super) fn new(number: u32, books: Arc<Books>, shared: Arc<Shared>) -> Self {
        Self {
            number,
            books,
            shared,
        }
    }

    /// Sends bytes as fast as the other side takes them; answers whether more are wanted. For one task at a time.
    pub async fn send(&self, bytes: &[u8]) -> bool {
        for part in bytes.chunks(MAX_PAYLOAD) {
            loop {
                {
                    let mut state = self.books.lock();
                    if state.closed {
                        return false;
                    }
                    if state.outgoing.may_send(part.len()) {
                        state.outgoing.sent(Kind::Input, part);
                        break;
                    }
                }
                self.books.changed.notified().await;
            }
            self.shared.send(Kind::Input, self.number, part);
        }
        true
    }

    /// Says that there is no more input.
    pub fn finish(&self) {
        let end = self.books.lock().outgoing.end(Vec::new());
        self.say(Kind::InputEnd, &end);
    }

    /// Says that the terminal has another size.
    pub fn resize(&self, size: TerminalSize) {
        self.say(Kind::Resize, &size);
    }

    /// Passes a signal on.
    pub fn signal(&self, signal: RunSignal) {
        self.say(Kind::Signal, &signal);
    }

    fn say(&self, kind: Kind, message: &impl Serialize) {
        self.shared.send(kind, self.number, &to_bytes(message));
    }
}
