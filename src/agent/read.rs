//! The content of one file.

use std::{fs::File, io, ops::Range, os::unix::fs::FileExt as _};

use bstr::BStr;
use nix::{
    errno::Errno,
    libc::off_t,
    sys::stat,
    unistd::{Whence, lseek},
};

use super::{
    Answer, Output, Stop,
    file_system::{entry, is_unchanged, kind_of, pseudo_file_system, reopen, size_of},
    target::{Target, errno_of},
    view::View,
};
use crate::protocol::message::{Cause, Failure, FileHead, FileKind, FileTail, ProcessId, to_bytes};

/// Sends a file, or a range of it, up to the size it had when it was opened: a log that is written to has no
/// other end.
pub(super) fn answer(
    process: ProcessId,
    path: &BStr,
    range: Option<Range<u64>>,
    output: &mut dyn Output,
) -> Answer {
    let target = Target::open(process)?;
    let view = View::open(&target)?;
    let fail = |errno| view.failure("read", path, errno);
    let found = view.resolve(path).map_err(fail)?;
    let kind = kind_of(&stat::fstat(&found).map_err(fail)?);
    // Nothing else is ever opened: a fifo wakes its writer, and a device may do anything.
    let kind = kind.ok_or(Errno::EINVAL).map_err(fail)?;
    if kind != FileKind::File {
        return Err(Failure::at("read", path, Cause::NotAFile(kind)).into());
    }
    let file = reopen(&found).map_err(fail)?;
    let before = stat::fstat(&file).map_err(fail)?;
    let head = FileHead {
        entry: entry("".into(), kind, &before, None),
    };
    output.head(&to_bytes(&head))?;

    // Where the kernel makes the content up the size says nothing, and neither does 0 elsewhere (FUSE).
    let size = size_of(&before);
    let is_made_up = size == 0 || pseudo_file_system(&file).map_err(fail)?.is_some();
    let content = if is_made_up {
        Content { file, size: None }
    } else {
        let size = Some(size);
        Content { file, size }
    };
    let range = range.unwrap_or(0..u64::MAX);
    let start = range.start;
    let expected = |size: u64| size.min(range.end).saturating_sub(start);
    // What begins behind the end is nothing, not less.
    let length = content.send(&range, output, &fail)?.saturating_sub(start);

    let after = stat::fstat(&content.file).map_err(fail)?;
    let tail = FileTail {
        length,
        size: size_of(&after),
        changed: !is_unchanged(&before, &after)
            || content.size.is_some_and(|size| length < expected(size)),
    };
    Ok(to_bytes(&tail))
}

/// An open file and how much of it is wanted; all that comes when the size is unknown.
struct Content {
    file: File,
    size: Option<u64>,
}

impl Content {
    /// Sends a range of the content, holes as such, and returns where it ended. A file that shrinks ends early.
    fn send(
        &self,
        range: &Range<u64>,
        output: &mut dyn Output,
        fail: &dyn Fn(Errno) -> Failure,
    ) -> Result<u64, Stop> {
        let Some(size) = self.size else {
            return self.send_data(range.start, range.end, output, fail);
        };
        let size = size.min(range.end);
        let mut position = range.start;
        while position < size {
            let data = self.next_data(position, size).map_err(fail)?;
            if data > position {
                output.hole(data - position)?;
                position = data;
                continue;
            }
            let hole = self.next_hole(position, size).map_err(fail)?;
            position = self.send_data(position, hole, output, fail)?;
            if position < hole {
                break;
            }
        }
        Ok(position)
    }

    /// Sends what is between two positions and returns where it ended.
    fn send_data(
        &self,
        start: u64,
        end: u64,
        output: &mut dyn Output,
        fail: &dyn Fn(Errno) -> Failure,
    ) -> Result<u64, Stop> {
        let mut position = start;
        while position < end {
            let wanted = usize::try_from(end - position).unwrap_or(usize::MAX);
            let filled = output.fill(&mut |buffer| {
                let room = buffer.len().min(wanted);
                read_at(
                    &self.file,
                    buffer.get_mut(..room).unwrap_or_default(),
                    position,
                )
            })?;
            match filled {
                Ok(0) => break,
                Ok(count) => position += u64::try_from(count).unwrap_or(0),
                Err(error) => return Err(fail(errno_of(&error)).into()),
            }
        }
        Ok(position)
    }

    /// Where the next data begins; `size` when there is none.
    fn next_data(&self, position: u64, size: u64) -> Result<u64, Errno> {
        match self.seek(position, Whence::SeekData) {
            Ok(data) => Ok(data.min(size)),
            // Only a hole is left, or the file has shrunk to before this position: then reading tells.
            Err(Errno::ENXIO) => {
                let is_there = size_of(&stat::fstat(&self.file)?) >= size;
                Ok(if is_there { size } else { position })
            }
            // The file system does not know of holes.
            Err(Errno::EINVAL | Errno::ENOTSUP) => Ok(position),
            Err(errno) => Err(errno),
        }
    }

    /// Where the next hole begins; `size` when there is none.
    fn next_hole(&self, position: u64, size: u64) -> Result<u64, Errno> {
        match self.seek(position, Whence::SeekHole) {
            Ok(hole) if hole > position => Ok(hole.min(size)),
            Ok(_) | Err(Errno::ENXIO | Errno::EINVAL | Errno::ENOTSUP) => Ok(size),
            Err(errno) => Err(errno),
        }
    }

    fn seek(&self, position: u64, whence: Whence) -> Result<u64, Errno> {
        let position = off_t::try_from(position).map_err(|_| Errno::EOVERFLOW)?;
        let found = lseek(&self.file, position, whence)?;
        u64::try_from(found).map_err(|_| Errno::EOVERFLOW)
    }
}

/// Reads what comes; a signal does not end it.
fn read_at(file: &File, buffer: &mut [u8], position: u64) -> io::Result<usize> {
    loop {
        match file.read_at(buffer, position) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests;
