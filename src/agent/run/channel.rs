//! What a running command needs beyond an [`Output`]: the other direction.

use std::{io, os::fd::BorrowedFd, sync::Arc};

use super::Family;
use crate::{
    agent::{Output, Stop},
    protocol::message::{RunSignal, TerminalSize},
};

/// What a client says to a running command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::agent) enum Message {
    /// The next bytes of its input.
    Input(Vec<u8>),
    /// There is no more input.
    EndOfInput,
    /// The terminal has another size.
    Resize(TerminalSize),
    /// A signal to pass on.
    Signal(RunSignal),
}

/// Both directions of a stream. Nothing but [`Output::fill`] and its like waits.
pub(in crate::agent) trait Channel: Output {
    /// Whether a whole frame may be sent now.
    fn may_fill(&self) -> bool;

    /// As [`Output::fill`], for what the command writes to its standard error.
    fn fill_errors(
        &mut self,
        read: &mut dyn FnMut(&mut [u8]) -> io::Result<usize>,
    ) -> Result<io::Result<usize>, Stop>;

    /// Becomes readable when there is a message, credit, or the end of the request.
    fn wake(&self) -> BorrowedFd<'_>;

    /// What has come since it was asked last; fails with [`Stop::Cancelled`] once the client wants no more.
    fn messages(&mut self) -> Result<Vec<Message>, Stop>;

    /// The command has taken so many bytes of input: the client may send more.
    fn took_input(&mut self, bytes: usize) -> Result<(), Stop>;

    /// What is to be ended when the conversation ends.
    fn started(&mut self, family: &Arc<Family>);
}
