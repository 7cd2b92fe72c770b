//! Commands beside the target, for a person or a script.
//!
//! The agent starts the command itself, and does not leave that to whoever started the agent: closing a websocket
//! does not end what an exec has started, the end of its input cannot be told (v4), and the last of its output may
//! be lost. Here the command's bytes go through a stream that is counted, digested and granted, in both directions,
//! and the command ends with its client.
//!
//! One thread serves a command: it waits for whatever comes first (`pump`). What the command has started is found
//! and ended with it (`family`).

mod channel;
mod family;
mod folder;
mod inbox;
mod pump;
mod start;

use std::{sync::Arc, time::Instant};

pub(super) use channel::{Channel, Message};
pub use family::end_descendants;
pub(super) use family::{Families, Family};
pub(super) use inbox::Inbox;

use super::{Answer, Stop, applets::Folder, identity::Borrowed, target::Target};
use crate::protocol::message::{RunEnd, RunRequest, to_bytes};
use pump::Pump;
use start::{Running, Start, start};

/// Runs a command until it ends, or the client does.
pub(super) fn answer(request: &RunRequest, channel: &mut dyn Channel) -> Answer {
    let target = Target::open(request.process)?;
    let (started, _applets) = {
        let borrowed = Borrowed::of(request.process);
        // Below the target's own root nothing of ours is there.
        let applets = (!request.chroot).then(Folder::make);
        // Only a process of the target's own user can look at it then: so is the command, unless it needs a right
        // that this user lacks.
        let user = borrowed.as_ref().filter(|_| !request.chroot);
        let user = user.map(Borrowed::ids);
        (start(&target, request, user, applets.as_ref())?, applets)
    };
    let running = match started {
        Start::Running(running) => running,
        Start::Refused(errno) => {
            return Ok(to_bytes(&RunEnd::NotStarted {
                errno: errno as i32,
            }));
        }
    };
    let Running {
        mut child,
        ends,
        head,
        mark,
    } = *running;
    let family = Arc::new(Family::new(child.id(), mark));
    channel.started(&family);
    let result = channel
        .head(&to_bytes(&head))
        .and_then(|()| Pump::new(ends, &family, channel)?.run());
    family.end(Instant::now() + family::GRACE);
    // From here on its number may be given to another process.
    family.close();
    let status = child.wait().map_err(|error| {
        Stop::io(
            "wait for",
            "the command".into(),
            super::target::errno_of(&error),
        )
    });
    result?;
    Ok(to_bytes(&end_of(status?)))
}

fn end_of(status: std::process::ExitStatus) -> RunEnd {
    use std::os::unix::process::ExitStatusExt as _;
    match (status.code(), status.signal()) {
        (Some(code), _) => RunEnd::Exited(u8::try_from(code).unwrap_or(u8::MAX)),
        (None, signal) => RunEnd::Killed {
            signal: signal.unwrap_or_default(),
        },
    }
}
