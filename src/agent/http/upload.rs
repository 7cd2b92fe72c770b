//! The body of a request on its way out: as it came with the request, or as the client sends it piece by piece.
//!
//! What came and was not handed over is bounded by the credit of the stream, and by one part beyond it.

use std::{collections::VecDeque, os::fd::BorrowedFd};

use bytes::Bytes;

use crate::{
    agent::{Stop, run::Message},
    protocol::message::{Cause, Failure, HttpUpload, Uploaded},
};

/// The client's direction of a stream.
pub(in crate::agent) trait Input {
    /// Becomes readable when something has come, or when the client wants no more.
    fn wake(&self) -> BorrowedFd<'_>;

    /// What has come since it was asked last.
    fn messages(&self) -> Vec<Message>;

    /// So many bytes were taken: the client may send more.
    fn took(&self, bytes: usize) -> Result<(), Stop>;
}

/// A body, and how much of it has gone.
pub(super) struct Upload<'a> {
    input: Option<&'a dyn Input>,
    waiting: VecDeque<Bytes>,
    /// No more comes from the client.
    is_complete: bool,
    /// What is still to come, where that was said.
    left: Option<u64>,
    /// What was handed over, and why no more is.
    pub(super) sent: Uploaded,
}

/// What there is to send.
pub(super) enum Next {
    /// The next bytes.
    Part(Bytes),
    /// The client has not sent more yet.
    NotYet,
    /// All was taken.
    End,
}

impl<'a> Upload<'a> {
    pub(super) fn new(body: &HttpUpload, input: Option<&'a dyn Input>) -> Result<Self, Stop> {
        let (waiting, input, left) = match body {
            HttpUpload::Whole(body) if body.is_empty() => (VecDeque::new(), None, None),
            HttpUpload::Whole(body) => {
                let body = Bytes::copy_from_slice(body);
                (VecDeque::from([body]), None, None)
            }
            HttpUpload::Input { length, .. } => {
                let bad = || Failure::new("send a body", Cause::BadRequest);
                (VecDeque::new(), Some(input.ok_or_else(bad)?), *length)
            }
        };
        Ok(Self {
            is_complete: input.is_none(),
            left,
            input,
            waiting,
            sent: Uploaded::default(),
        })
    }

    /// Whether there is nothing to send, and never will be.
    pub(super) fn is_empty(&self) -> bool {
        self.is_complete && self.waiting.is_empty()
    }

    /// The next part. What it takes it has taken: the caller holds no more than one.
    pub(super) fn next(&mut self) -> Result<Next, Stop> {
        if self.waiting.is_empty() {
            self.receive();
        }
        let Some(part) = self.waiting.pop_front() else {
            return Ok(if self.is_complete {
                Next::End
            } else {
                Next::NotYet
            });
        };
        if let Some(input) = self.input {
            input.took(part.len())?;
        }
        Ok(Next::Part(part))
    }

    fn receive(&mut self) {
        let messages = self.input.map(Input::messages).unwrap_or_default();
        for message in messages {
            match message {
                Message::Input(bytes) => {
                    self.left = self
                        .left
                        .map(|left| left.saturating_sub(bytes.len() as u64));
                    // What was promised is there: a server may answer before the client says so.
                    self.is_complete |= self.left == Some(0);
                    self.waiting.push_back(bytes.into());
                }
                Message::EndOfInput => self.is_complete = true,
                // Those are for a command.
                Message::Resize(_) | Message::Signal(_) => {}
            }
        }
    }

    /// What to wait for while the client sends nothing.
    pub(super) fn wake(&self) -> Option<BorrowedFd<'a>> {
        let waits = self.waiting.is_empty() && !self.is_complete && !self.sent.stopped;
        self.input.filter(|_| waits).map(Input::wake)
    }

    /// Nothing more is sent, for the server has answered.
    pub(super) fn stop(&mut self) {
        self.sent.stopped = true;
        self.waiting.clear();
    }
}
