//! What is in a folder, as `ls -la` tells it.

use std::{
    ffi::CStr,
    os::fd::{AsFd, OwnedFd},
};

use bstr::{BStr, ByteSlice as _};
use nix::{errno::Errno, sys::stat};

use super::{
    Answer, Output, Records, Stop,
    file_system::{entry, kind_of, link, look, reopen_folder},
    target::Target,
    view::View,
};
use crate::{
    protocol::message::{Entry, FileKind, ProcessId, to_bytes},
    sys::read_names,
};

/// Names are sorted this many bytes at a time: a folder of any size is listed in bounded memory, and one
/// of less than some hundred thousand entries in one order.
const RUN: usize = 4 * 1024 * 1024;

/// Sends the file or folder that a path leads to, and a folder's entries by name.
pub(super) fn answer(process: ProcessId, path: &BStr, output: &mut dyn Output) -> Answer {
    let target = Target::open(process)?;
    let view = View::open(&target)?;
    let fail = |errno| view.failure("list", path, errno);
    let found = view.resolve(path).map_err(fail)?;
    let stat = stat::fstat(&found).map_err(fail)?;
    let kind = kind_of(&stat).ok_or(Errno::EINVAL).map_err(fail)?;
    let folder = match kind {
        FileKind::Folder => Some(reopen_folder(&found).map_err(fail)?),
        _ => None,
    };
    output.head(&to_bytes(&entry("".into(), kind, &stat, None)))?;

    let mut records = Records::new(output);
    if let Some(folder) = folder {
        let mut run = Names::default();
        let mut buffer = vec![0; 32 * 1024];
        loop {
            let names = read_names(&folder, &mut buffer).map_err(fail)?;
            let is_end = names.is_end();
            for (name, _) in names {
                run.push(name);
            }
            if is_end || run.bytes.len() >= RUN {
                send(&folder, &mut run, &mut records, &fail)?;
            }
            if is_end {
                break;
            }
        }
        target.check_alive(&format!("list `{path}`"))?;
    }
    records.finish()
}

/// Sends the entries with these names, in their order.
fn send(
    folder: &OwnedFd,
    run: &mut Names,
    records: &mut Records<'_, Entry>,
    fail: &dyn Fn(Errno) -> crate::protocol::message::Failure,
) -> Result<(), Stop> {
    for name in run.sorted() {
        match describe(folder, name) {
            Ok(Some(entry)) => {
                let bytes = 64 + entry.path.len();
                records.push(entry, bytes)?;
            }
            // Removed meanwhile.
            Ok(None) | Err(Errno::ENOENT) => {}
            Err(errno) => return Err(fail(errno).into()),
        }
    }
    run.bytes.clear();
    run.starts.clear();
    Ok(())
}

fn describe(folder: impl AsFd, name: &BStr) -> Result<Option<Entry>, Errno> {
    let stat = look(&folder, name.as_bytes())?;
    let Some(kind) = kind_of(&stat) else {
        return Ok(None);
    };
    let link = match kind {
        // Replaced by something else meanwhile, if it fails.
        FileKind::Symlink => link(&folder, name.as_bytes()).ok(),
        _ => None,
    };
    Ok(Some(entry(name.into(), kind, &stat, link)))
}

/// Names in one piece of memory, each ended by a NUL.
#[derive(Default)]
struct Names {
    bytes: Vec<u8>,
    starts: Vec<usize>,
}

impl Names {
    fn push(&mut self, name: &CStr) {
        self.starts.push(self.bytes.len());
        self.bytes.extend_from_slice(name.to_bytes_with_nul());
    }

    fn sorted(&mut self) -> impl Iterator<Item = &BStr> {
        let bytes = &self.bytes;
        let name = |start: usize| {
            let rest = bytes.get(start..).unwrap_or_default();
            rest.split(|byte| *byte == 0).next().unwrap_or_default()
        };
        self.starts
            .sort_unstable_by(|left, right| name(*left).cmp(name(*right)));
        self.starts.iter().map(move |start| BStr::new(name(*start)))
    }
}

#[cfg(test)]
mod tests;
