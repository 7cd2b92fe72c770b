//! The environment block of a process, byte for byte.

use super::{Answer, Output, access::Guard, proc_file::stream, target::Target};
use crate::protocol::message::ProcessId;

/// Sends `/proc/PID/environ`: what the process was started with, as far as it has not written over it.
///
/// It is read to its end, which may be far beyond the page that older kernels showed; a kernel thread
/// has none.
pub(super) fn answer(process: ProcessId, output: &mut dyn Output) -> Answer {
    let target = Target::open(process)?;
    let doing = format!("read the environment of process {}", process.pid);
    stream(&target, "environ", Guard::BitsAndTrace, &doing, output)
}
