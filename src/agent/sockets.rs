//! The sockets of a process's network namespace, and which of them the process holds.

use std::collections::HashMap;

use nix::errno::Errno;

use super::{
    Answer, Output, Records, Stop,
    access::Guard,
    net::{Descriptors, for_each_socket},
    target::Target,
};
use crate::protocol::message::{Failure, ProcessId, Socket};

/// Lists the sockets. Without the right to follow the process's descriptors, none shows one.
pub(super) fn answer(process: ProcessId, output: &mut dyn Output) -> Answer {
    let target = Target::open(process)?;
    let doing = format!("list the sockets of process {}", process.pid);
    let held = held_sockets(&target);
    let mut records = Records::new(output);
    let listed = for_each_socket(&target, |mut socket: Socket| -> Result<(), End> {
        socket.descriptor = held.get(&socket.inode).copied();
        let bytes = 64 + socket.path.as_ref().map_or(0, |path| path.len());
        Ok(records.push(socket, bytes)?)
    });
    match listed {
        Ok(()) => {}
        Err(End::Stop(stop)) => return Err(stop),
        Err(End::Kernel(errno)) => return Err(fail(&target, doing, errno).into()),
    }
    target.check_alive(&doing)?;
    records.finish()
}

fn fail(target: &Target, doing: String, errno: Errno) -> Failure {
    target.failure(doing, errno, Guard::Trace)
}

/// The lowest descriptor of each socket that the process holds.
fn held_sockets(target: &Target) -> HashMap<u64, u32> {
    let mut held = HashMap::new();
    if let Ok(descriptors) = Descriptors::open(target) {
        // What was found before an error is still true.
        let _ = descriptors.for_each_socket(|descriptor, inode| {
            held.entry(inode).or_insert(descriptor);
        });
    }
    held
}

/// Why a table was not read to its end.
enum End {
    Kernel(Errno),
    Stop(Stop),
}

impl From<Errno> for End {
    fn from(errno: Errno) -> Self {
        Self::Kernel(errno)
    }
}

impl From<Stop> for End {
    fn from(stop: Stop) -> Self {
        Self::Stop(stop)
    }
}
