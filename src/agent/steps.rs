//! The course of a probe of the network: its clock, its records, and waiting for sockets.
//!
//! Every wait has a deadline, hears that the client no longer wants the answer, and says now and then that
//! it still waits, so that the client never takes it for stalled.

use std::{
    os::fd::AsFd,
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
};

use super::{Answer, Output, Records, Stop};
use crate::protocol::message::{Phase, ProbeRecord};

/// How often a wait looks whether it is still wanted.
const SLICE: Duration = Duration::from_millis(200);
/// How often a wait says that it goes on. The client gives up a request that is silent for a minute.
const SIGN_OF_LIFE: Duration = Duration::from_secs(5);

/// A probe under way.
pub(super) struct Steps<'a> {
    records: Records<'a, ProbeRecord>,
    started: Instant,
    /// When all of it must have ended.
    end: Option<Instant>,
    last_record: Instant,
}

/// A moment at which a wait ends, and how long it was.
#[derive(Clone, Copy, Debug)]
pub(super) struct Deadline {
    pub(super) at: Instant,
    /// In milliseconds.
    pub(super) after: u32,
}

impl Deadline {
    /// After so many milliseconds from now.
    pub(super) fn after(milliseconds: u32) -> Self {
        let time = Duration::from_millis(milliseconds.into());
        Self {
            at: Instant::now() + time,
            after: milliseconds,
        }
    }

    pub(super) fn has_passed(self) -> bool {
        Instant::now() >= self.at
    }
}

impl<'a> Steps<'a> {
    /// Starts the clock; all must have ended after so many milliseconds.
    pub(super) fn new(output: &'a mut dyn Output, total_limit: Option<u32>) -> Self {
        let started = Instant::now();
        Self {
            records: Records::new(output),
            started,
            end: total_limit.map(|limit| started + Duration::from_millis(limit.into())),
            last_record: started,
        }
    }

    /// Microseconds since the start.
    pub(super) fn now(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// A deadline, or the end of all when that comes first.
    pub(super) fn within(&self, milliseconds: u32) -> Deadline {
        let deadline = Deadline::after(milliseconds);
        match self.end {
            Some(end) if end < deadline.at => Deadline {
                at: end,
                after: u32::try_from(end.duration_since(self.started).as_millis())
                    .unwrap_or(u32::MAX),
            },
            _ => deadline,
        }
    }

    /// Tells the client something, now.
    pub(super) fn tell(&mut self, record: ProbeRecord) -> Result<(), Stop> {
        self.records.push(record, 0)?;
        self.last_record = Instant::now();
        self.records.flush()
    }

    /// Hears whether the answer is still wanted.
    pub(super) fn checkpoint(&mut self) -> Result<(), Stop> {
        self.records.checkpoint()
    }

    /// Says that it goes on, when it has said nothing for a while.
    pub(super) fn sign_of_life(&mut self, phase: Phase) -> Result<(), Stop> {
        if self.last_record.elapsed() >= SIGN_OF_LIFE {
            let at = self.now();
            self.tell(ProbeRecord::Waiting { at, phase })?;
        }
        Ok(())
    }

    /// Waits until one of several sockets is ready; `false` when the deadline passes first.
    pub(super) fn wait(
        &mut self,
        sockets: &[(&dyn AsFdRef, PollFlags)],
        deadline: Deadline,
        phase: Phase,
    ) -> Result<bool, Stop> {
        loop {
            self.records.checkpoint()?;
            self.sign_of_life(phase)?;
            let left = deadline.at.saturating_duration_since(Instant::now());
            // Rounded up, so that the last moment is not spent in a loop.
            let slice = left.min(SLICE) + Duration::from_micros(999);
            let mut descriptors: Vec<_> = sockets
                .iter()
                .map(|(socket, flags)| PollFd::new(socket.fd(), *flags))
                .collect();
            match poll(
                &mut descriptors,
                PollTimeout::try_from(slice).unwrap_or(PollTimeout::MAX),
            ) {
                Ok(0) | Err(Errno::EINTR) => {}
                // A broken descriptor shows its error at its next use.
                Ok(_) | Err(_) => return Ok(true),
            }
            if left.is_zero() {
                return Ok(false);
            }
        }
    }

    /// Ends the answer.
    pub(super) fn finish(self) -> Answer {
        self.records.finish()
    }
}

/// [`AsFd`] for lists of sockets of several types.
pub(super) trait AsFdRef {
    fn fd(&self) -> std::os::fd::BorrowedFd<'_>;
}

impl<T: AsFd> AsFdRef for T {
    fn fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.as_fd()
    }
}
