//! Files of `/proc/PID`, as they are.

use std::{
    fs::File,
    io::{self, Read as _},
};

use super::{
    Answer, Output,
    access::Guard,
    target::{Target, errno_of},
};
use crate::protocol::message::{ProcFile, ProcessId};

/// Sends a file of `/proc/PID`.
pub(super) fn answer(process: ProcessId, file: ProcFile, output: &mut dyn Output) -> Answer {
    let target = Target::open(process)?;
    let name = file.name();
    let doing = format!("read `{name}` of process {}", process.pid);
    stream(&target, name, Guard::Trace, &doing, output)
}

/// Sends a file of `/proc/PID` to its end. Fails when the process ends meanwhile: the kernel then cuts the
/// file short and reports success.
pub(super) fn stream(
    target: &Target,
    name: &str,
    guard: Guard,
    doing: &str,
    output: &mut dyn Output,
) -> Answer {
    let fail = |errno| target.failure(doing, errno, guard);
    let mut file = target.file(name).map_err(fail)?;
    loop {
        let filled = output.fill(&mut |buffer| fill(&mut file, buffer))?;
        match filled {
            Ok(0) => break,
            Ok(_) => {}
            Err(error) => return Err(fail(errno_of(&error)).into()),
        }
    }
    target.check_alive(doing)?;
    Ok(Vec::new())
}

/// Reads until the buffer is full or the file ends: a read of `/proc` gives a page or less.
///
/// An error after the first bytes is left for the next call, which meets it again.
fn fill(file: &mut File, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read(rest) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) if filled > 0 => break,
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
