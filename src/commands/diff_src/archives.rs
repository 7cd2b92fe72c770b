//! Archives of classes, looked into: their resources are compared like other files, their classes by name.

use std::{
    io::{Cursor, Read as _},
    time::Duration,
};

use bstr::{BStr, BString, ByteSlice as _};
use tokio::{task::spawn_blocking, time::timeout};

use super::{facts, running::RunningTree};
use crate::{
    cli::error::CommandError,
    commands::fetch::is_final,
    evidence::{
        comparison::{RunningFile, Version},
        mapping::parent,
        noise::is_dependency,
        roots::is_jar,
    },
    object::{FileMode, HashKind, blob_id},
    target::Target,
};

/// Archives that are looked into at most.
const MOST: usize = 4;
/// The largest archive that is fetched.
const SIZE: usize = 256 << 20;
/// How long the fetch of one may take.
const DEADLINE: Duration = Duration::from_mins(1);
/// The largest resource that is compared.
const ENTRY_SIZE: u64 = 4 << 20;
/// Bytes of resources of one archive that are compared; more is no archive of one service, or a bomb.
const UNPACKED: u64 = 128 << 20;
/// Entries that are looked at.
const ENTRIES: usize = 200_000;

/// An entry of an archive.
struct Entry {
    name: BString,
    /// `None` for classes, whose names are all that can be compared, and for what is too large.
    content: Option<Vec<u8>>,
}

/// Adds what is in the archives that the arguments of the process name to the running tree.
pub(super) async fn look_into(
    running: &mut RunningTree,
    target: &Target,
    hash: HashKind,
) -> Result<(), CommandError> {
    let archives: Vec<RunningFile> = running
        .files()
        .iter()
        .filter(|file| is_started(file.path.as_ref(), target))
        .take(MOST)
        .cloned()
        .collect();
    for archive in archives {
        let fetched = timeout(DEADLINE, facts::read(target, archive.path.clone(), SIZE)).await;
        let content = match fetched {
            Ok(Ok(content)) => content,
            Ok(Err(error)) if is_final(&error) => return Err(error.into()),
            Ok(Err(error)) => {
                running.unopened(&archive.path, error.to_string());
                continue;
            }
            Err(_) => {
                let reason = format!("it did not arrive within {} s", DEADLINE.as_secs());
                running.unopened(&archive.path, reason);
                continue;
            }
        };
        let entries = spawn_blocking(move || entries(content)).await;
        match entries.map_err(CommandError::internal)? {
            Ok(entries) => add(running, &archive, entries, hash),
            Err(reason) => running.unopened(&archive.path, reason),
        }
    }
    Ok(())
}

/// Whether an argument of the process names an archive, which is then the service's own and no library.
fn is_started(path: &BStr, target: &Target) -> bool {
    let name = parent(path).1;
    let is_named = |argument: &BString| {
        argument
            .split(|byte| *byte == b':')
            .any(|part| parent(part.as_bstr()).1 == name)
    };
    is_jar(path)
        && is_dependency(parent(path).0, &|_| false).is_none()
        && target.process().arguments.iter().any(is_named)
}

fn entries(content: Vec<u8>) -> Result<Vec<Entry>, String> {
    let mut archive =
        zip::ZipArchive::new(Cursor::new(content)).map_err(|error| error.to_string())?;
    let mut entries = Vec::new();
    let mut unpacked = 0;
    for index in 0..archive.len().min(ENTRIES) {
        let Ok(file) = archive.by_index(index) else {
            continue;
        };
        if file.is_dir() {
            continue;
        }
        let name = BString::from(file.name_raw());
        let is_code = name.ends_with(b".class") || name.ends_with(b".jar");
        let is_small = file.size() <= ENTRY_SIZE && unpacked < UNPACKED;
        let content = if is_code || !is_small {
            None
        } else {
            let mut content = Vec::new();
            let read = file.take(ENTRY_SIZE + 1).read_to_end(&mut content);
            unpacked += content.len() as u64;
            read.is_ok().then_some(content)
        };
        entries.push(Entry { name, content });
    }
    Ok(entries)
}

fn add(running: &mut RunningTree, archive: &RunningFile, entries: Vec<Entry>, hash: HashKind) {
    for entry in entries {
        let path = BString::from([archive.path.as_slice(), b"!/", &entry.name].concat());
        let Some(content) = entry.content else {
            running.add_class(path);
            continue;
        };
        let Ok(id) = blob_id(hash, &content) else {
            continue;
        };
        let file = RunningFile {
            path,
            version: Version {
                mode: FileMode::Regular,
                id,
            },
            size: content.len() as u64,
            changed: archive.changed,
        };
        running.add_inner(file, content);
    }
}
