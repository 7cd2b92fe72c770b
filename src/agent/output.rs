//! Where a probe puts its answer.

use std::io;

use bstr::BStr;
use serde::Serialize;

use crate::protocol::message::{Cause, Failure, to_bytes};

/// The answer under way. Every call may wait until the client has taken what was sent before.
pub trait Output {
    /// Says what was found, before its content. At most once, first.
    fn head(&mut self, payload: &[u8]) -> Result<(), Stop>;

    /// Sends the next bytes of the content, at most [`crate::protocol::MAX_PAYLOAD`].
    fn data(&mut self, payload: &[u8]) -> Result<(), Stop>;

    /// Sends a run of zero bytes that is a hole.
    fn hole(&mut self, length: u64) -> Result<(), Stop>;

    /// Has `read` fill a buffer of [`crate::protocol::MAX_PAYLOAD`] bytes and sends what it filled, without
    /// a copy; answers its count. Nothing is sent for 0, the end of the content.
    fn fill(
        &mut self,
        read: &mut dyn FnMut(&mut [u8]) -> io::Result<usize>,
    ) -> Result<io::Result<usize>, Stop>;

    /// Fails with [`Stop::Cancelled`] once the client no longer wants the answer; for probes that work
    /// long without sending.
    fn checkpoint(&self) -> Result<(), Stop>;
}

/// What a probe comes to: the trailer of its stream (empty for most), or why there is none.
pub type Answer = Result<Vec<u8>, Stop>;

/// Why a probe ends before its answer is complete.
#[derive(Debug)]
pub enum Stop {
    /// The client is told.
    Failed(Failure),
    /// The client took the request back.
    Cancelled,
    /// The pipe is broken; there is nobody to tell.
    Broken,
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

impl Stop {
    /// A failure with an error of the kernel, at a path.
    #[must_use]
    pub fn io(verb: &str, path: &BStr, errno: nix::errno::Errno) -> Self {
        Self::Failed(Failure::at(verb, path, Cause::from(errno)))
    }
}

impl From<nix::errno::Errno> for Cause {
    fn from(errno: nix::errno::Errno) -> Self {
        match errno {
            nix::errno::Errno::ENOENT => Self::NotFound,
            nix::errno::Errno::ELOOP => Self::LinkLoop,
            other => Self::Io {
                errno: other as i32,
            },
        }
    }
}

/// Collects records into data frames, so that small rows do not travel one by one and the first do not
/// wait for the last.
pub struct Records<'a, T> {
    output: &'a mut dyn Output,
    rows: Vec<T>,
    bytes: usize,
}

/// A frame is sent once its records come to this many bytes.
const BATCH: usize = 32 * 1024;

impl<'a, T: Serialize> Records<'a, T> {
    /// Starts a list.
    pub fn new(output: &'a mut dyn Output) -> Self {
        Self {
            output,
            rows: Vec::new(),
            bytes: 0,
        }
    }

    /// Adds a row, whose encoded size is about `bytes`.
    pub fn push(&mut self, row: T, bytes: usize) -> Result<(), Stop> {
        self.rows.push(row);
        self.bytes += bytes;
        if self.bytes >= BATCH {
            self.flush()
        } else {
            Ok(())
        }
    }

    /// Sends what is pending.
    pub fn flush(&mut self) -> Result<(), Stop> {
        self.bytes = 0;
        if self.rows.is_empty() {
            return Ok(());
        }
        let rows = std::mem::take(&mut self.rows);
        self.output.data(&to_bytes(&rows))
    }

    /// See [`Output::checkpoint`].
    pub fn checkpoint(&self) -> Result<(), Stop> {
        self.output.checkpoint()
    }

    /// Sends the rest.
    pub fn finish(mut self) -> Answer {
        self.flush()?;
        Ok(Vec::new())
    }
}
