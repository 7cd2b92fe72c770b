//! Which process of a network namespace holds which sockets.

use super::{
    super::{Records, Stop},
    is_beside,
};
use crate::{
    agent::{
        access::Guard, identity::Borrowed, net::Descriptors, processes::all_numbers, status,
        target::Target,
    },
    protocol::message::{ConnectionRecord, Failure, Held, NetProcess},
};

/// Descriptors that travel in one record.
const AT_ONCE: usize = 2048;

/// Sends every process of the namespace that the agent sees, each with the sockets that it holds.
pub(super) fn send(
    target: &Target,
    records: &mut Records<'_, ConnectionRecord>,
) -> Result<(), Stop> {
    let numbers =
        all_numbers().map_err(|errno| Stop::io("list the processes in", "/proc".into(), errno))?;
    for pid in numbers {
        records.checkpoint()?;
        // Gone by now, or hidden altogether (`hidepid`).
        let Ok((process, stat)) = Target::open_number(pid) else {
            continue;
        };
        if stat.has_ended() || !is_beside(target, &process).unwrap_or(false) {
            continue;
        }
        let told = NetProcess {
            id: process.id(),
            name: stat.name,
        };
        match held(&process) {
            // A thread of the kernel, or a process without any.
            Ok(held) if held.is_empty() => {}
            Ok(held) => {
                records.push(ConnectionRecord::Process(told), 48)?;
                for part in held.chunks(AT_ONCE) {
                    records.push(ConnectionRecord::Held(part.to_vec()), 8 * part.len())?;
                }
            }
            Err(failure) if failure.is_gone() => {}
            Err(failure) => {
                records.push(ConnectionRecord::Process(told), 48)?;
                records.push(ConnectionRecord::Unseen(failure), 256)?;
            }
        }
    }
    Ok(())
}

/// The sockets of a process, looked at with its own ids where that helps.
fn held(process: &Target) -> Result<Vec<Held>, Failure> {
    let status = process.read("status").ok();
    let status = status.as_deref().and_then(status::parse_status);
    let _borrowed = status
        .as_ref()
        .and_then(|status| Borrowed::of_open(process, status));
    let refused = |guard| {
        move |errno| {
            let doing = format!("follow the descriptors of process {}", process.id().pid);
            process.failure(doing, errno, guard)
        }
    };
    let descriptors = Descriptors::open(process).map_err(refused(Guard::Bits))?;
    let mut held = Vec::new();
    descriptors
        .for_each_socket(|descriptor, inode| held.push(Held { descriptor, inode }))
        .map_err(refused(Guard::BitsAndTrace))?;
    Ok(held)
}
