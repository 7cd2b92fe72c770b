//! Asking a probe in this process: what it would send to a client arrives here.

use std::io;

use nix::errno::Errno;
use serde::Deserialize;

use super::Trouble;
use crate::{
    agent::{Output, Stop, answer, target::Target},
    protocol::{
        MAX_PAYLOAD,
        message::{Cause, Failure, ProcessId, Request, from_bytes},
    },
};

/// The process that `kdbg attach` was called for.
pub(super) fn target() -> Result<ProcessId, Trouble> {
    let number = std::env::var("TARGET_PID").ok();
    let Some(pid) = number.and_then(|text| text.parse().ok()) else {
        let message = "TARGET_PID names no process; `kdbg attach` sets it";
        return Err(Trouble::Usage(message.to_owned()));
    };
    identify(pid)
}

/// This process itself, for a look at what the agent sees.
pub(super) fn ourselves() -> Result<ProcessId, Trouble> {
    identify(std::process::id())
}

fn identify(pid: u32) -> Result<ProcessId, Trouble> {
    let doing = || format!("look at process {pid}");
    match Target::open_number(pid) {
        Ok((target, stat)) if !stat.has_ended() => Ok(target.id()),
        Ok(_) | Err(Errno::ENOENT | Errno::ESRCH) => {
            Err(Failure::new(doing(), Cause::NoSuchProcess { pid }).into())
        }
        Err(errno) => Err(Target::refused(pid, doing(), errno).into()),
    }
}

/// Asks for records, and has each seen as it comes.
pub(super) fn rows<T>(
    request: &Request,
    mut each: impl FnMut(T) -> Result<(), Trouble>,
) -> Result<(), Trouble>
where
    T: for<'a> Deserialize<'a>,
{
    let unreadable = || Failure::new(request.doing(), Cause::Unparsable);
    bytes(request, |payload| {
        let rows: Vec<T> = from_bytes(payload).ok_or_else(unreadable)?;
        rows.into_iter().try_for_each(&mut each)
    })
}

/// Asks for bytes, and has each piece seen as it comes.
pub(super) fn bytes(
    request: &Request,
    mut each: impl FnMut(&[u8]) -> Result<(), Trouble>,
) -> Result<(), Trouble> {
    let mut taken = Taken {
        each: &mut each,
        trouble: None,
    };
    let answer = answer(request, &mut taken);
    match (taken.trouble, answer) {
        (Some(trouble), _) => Err(trouble),
        (None, Err(Stop::Failed(failure))) => Err(failure.into()),
        (None, Ok(_) | Err(Stop::Cancelled | Stop::Broken)) => Ok(()),
    }
}

/// Hands on what a probe sends, until it is not wanted any more.
struct Taken<'a> {
    each: &'a mut dyn FnMut(&[u8]) -> Result<(), Trouble>,
    trouble: Option<Trouble>,
}

impl Output for Taken<'_> {
    fn head(&mut self, _payload: &[u8]) -> Result<(), Stop> {
        Ok(())
    }

    fn data(&mut self, payload: &[u8]) -> Result<(), Stop> {
        (self.each)(payload).map_err(|trouble| {
            self.trouble = Some(trouble);
            Stop::Cancelled
        })
    }

    /// Only contents of files have holes, and no applet reads those.
    fn hole(&mut self, _length: u64) -> Result<(), Stop> {
        Ok(())
    }

    fn fill(
        &mut self,
        read: &mut dyn FnMut(&mut [u8]) -> io::Result<usize>,
    ) -> Result<io::Result<usize>, Stop> {
        let mut buffer = vec![0; MAX_PAYLOAD];
        let filled = read(&mut buffer);
        if let Ok(count @ 1..) = filled {
            self.data(buffer.get(..count).unwrap_or_default())?;
        }
        Ok(filled)
    }

    fn checkpoint(&self) -> Result<(), Stop> {
        Ok(())
    }
}
