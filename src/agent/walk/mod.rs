//! Whole trees of files, each named as git would name it.
//!
//! A few workers share the work: the hash takes most of the time, and two files can be hashed at once. They
//! hold no list of what they have seen; rows leave through a short channel, and a slow client slows them
//! down. Whatever is walked, memory and descriptors stay bounded (see `worker`).
//!
//! Hidden and ignored files and `.git` are rows like others; what they mean is for the client to say.

mod blob;
mod queue;
mod worker;

use std::{
    ffi::CStr,
    os::fd::OwnedFd,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
        mpsc::{self, Receiver, RecvTimeoutError},
    },
    thread,
    time::Duration,
};

use bstr::{BString, ByteSlice as _};
use nix::{errno::Errno, sys::stat};

use self::{
    queue::{Queue, Task},
    worker::Worker,
};
use super::{
    Answer, Output, Records, Stop,
    access::Denials,
    file_system::{
        FileNumber, entry, kind_of, number_of, pseudo_file_system, reopen, reopen_folder,
    },
    target::Target,
    view::View,
};
use crate::{
    object::HashKind,
    protocol::message::{Cause, Failure, FileKind, Skip, TreeRecord, WalkRequest},
};

/// More workers than this gain nothing on the disks and pods that are looked at.
const WORKER_LIMIT: usize = 4;

/// Every root is held open.
const ROOT_LIMIT: usize = 64;

/// Batches of rows that may wait for the client.
const BATCHES_WAITING: usize = 8;

/// How often a walk that finds nothing to send asks whether it is still wanted.
const CHECK_AFTER: Duration = Duration::from_millis(100);

/// Lists the trees below the roots of a request.
pub(super) fn answer(request: &WalkRequest, output: &mut dyn Output) -> Answer {
    let target = Target::open(request.process)?;
    let doing = format!("list the files of process {}", request.process.pid);
    if request.roots.len() > ROOT_LIMIT {
        return Err(Failure::new(doing, Cause::BadRequest).into());
    }
    let view = View::open(&target)?;
    let mut records = Records::new(output);
    let roots = open_roots(&view, &request.roots, &mut records)?;
    let walk = Walk {
        view: &view,
        roots,
        hash: request.hash,
        hash_limit: request.hash_limit,
        leave_out: &request.leave_out,
        leave_out_paths: &request.leave_out_paths,
        queue: Queue::new(),
        is_over: AtomicBool::new(false),
        denials: OnceLock::new(),
        target: &target,
    };
    walk.enqueue_roots(&mut records)?;
    let workers = thread::available_parallelism().map_or(1, usize::from);
    walk.run(workers.min(WORKER_LIMIT), &mut records)?;
    target.check_alive(&doing)?;
    records.finish()
}

/// A walk under way: what its workers share.
struct Walk<'a> {
    target: &'a Target,
    view: &'a View<'a>,
    roots: Vec<Root>,
    hash: Option<HashKind>,
    hash_limit: u64,
    leave_out: &'a [BString],
    leave_out_paths: &'a [BString],
    queue: Queue,
    /// The client wants no more.
    is_over: AtomicBool,
    /// Read once, by the first refusal.
    denials: OnceLock<Denials>,
}

/// An opened root.
struct Root {
    /// Its position in the request.
    position: u32,
    /// Its name as the process has it, links followed.
    name: BString,
    number: FileNumber,
    kind: FileKind,
    stat: stat::FileStat,
    /// An `O_PATH` descriptor.
    file: OwnedFd,
}

impl Walk<'_> {
    /// Whether nothing of this name is wanted.
    fn leaves_out(&self, name: &CStr) -> bool {
        self.leave_out.iter().any(|other| other == name.to_bytes())
    }

    /// Whether a folder below a root is not wanted.
    fn leaves_out_path(&self, root: u32, path: &BString) -> bool {
        let root = self.roots.iter().find(|other| other.position == root);
        let above = root.map(|root| root.name.strip_suffix(b"/").unwrap_or(&root.name));
        self.leave_out_paths.iter().any(|other| {
            above
                .and_then(|above| other.strip_prefix(above)?.strip_prefix(b"/"))
                .is_some_and(|rest| rest == path.as_bytes())
        })
    }
}

/// Opens the roots; those that cannot be opened are told and left out.
fn open_roots(
    view: &View<'_>,
    paths: &[BString],
    records: &mut Records<'_, TreeRecord>,
) -> Result<Vec<Root>, Stop> {
    let mut roots: Vec<Root> = Vec::with_capacity(paths.len());
    for (position, path) in (0..).zip(paths) {
        match open_root(view, position, path) {
            Ok(root) => {
                let row = TreeRecord::Root {
                    root: position,
                    path: root.name.clone(),
                };
                records.push(row, 16 + root.name.len())?;
                roots.push(root);
            }
            Err(errno) => {
                let failure = view.failure("open the folder", path.as_bstr(), errno);
                if failure.is_gone() {
                    return Err(failure.into());
                }
                records.push(unreadable(position, BString::default(), failure), 128)?;
            }
        }
    }
    Ok(roots)
}

fn open_root(view: &View<'_>, position: u32, path: &BString) -> Result<Root, Errno> {
    let file = view.resolve(path.as_bstr())?;
    let stat = stat::fstat(&file)?;
    Ok(Root {
        position,
        name: view.name_of(&file)?,
        number: number_of(&stat),
        kind: kind_of(&stat).ok_or(Errno::EINVAL)?,
        stat,
        file,
    })
}

impl Walk<'_> {
    /// Puts the roots to work, except those that another root includes.
    fn enqueue_roots(&self, records: &mut Records<'_, TreeRecord>) -> Result<(), Stop> {
        for (index, root) in self.roots.iter().enumerate() {
            let position = root.position;
            let row = if let Some(other) = self.root_that_includes(index) {
                Some(skipped(
                    position,
                    BString::default(),
                    Skip::OtherRoot(other),
                ))
            } else {
                match self.first_task(root) {
                    Ok(Start::Task(task)) => {
                        self.queue.push(task);
                        None
                    }
                    Ok(Start::Row(row)) => Some(row),
                    Err(errno) => {
                        let failure = self.failure("open the folder", &root.name, errno);
                        Some(unreadable(position, BString::default(), failure))
                    }
                }
            };
            if let Some(row) = row {
                records.push(row, 128)?;
            }
        }
        Ok(())
    }

    /// An earlier root that is the same, or, for a single file, a folder that has it.
    ///
    /// A folder below another root is met there and left to itself, see [`Walk::other_root`].
    fn root_that_includes(&self, index: usize) -> Option<u32> {
        let root = self.roots.get(index)?;
        let same = |(other_index, other): (usize, &Root)| {
            let is_same = other_index < index
                && other.number == root.number
                && (root.kind == FileKind::Folder || other.name == root.name);
            let is_above = root.kind != FileKind::Folder
                && other.kind == FileKind::Folder
                && is_below(&root.name, &other.name);
            (is_same || is_above).then_some(other.position)
        };
        self.roots.iter().enumerate().find_map(same)
    }

    /// The root that a folder is, when it is met below another.
    fn other_root(&self, root: u32, number: FileNumber) -> Option<u32> {
        let mut roots = self.roots.iter();
        roots
            .find(|other| other.kind == FileKind::Folder && other.number == number)
            .map(|other| other.position)
            .filter(|other| *other != root)
    }

    fn first_task(&self, root: &Root) -> Result<Start, Errno> {
        if let Some(name) = pseudo_file_system(&root.file)? {
            let skip = Skip::PseudoFileSystem(name.to_owned());
            return Ok(Start::Row(skipped(root.position, BString::default(), skip)));
        }
        let path = BString::default();
        Ok(match root.kind {
            FileKind::Folder => Start::Task(Task::Folder {
                root: root.position,
                path,
                folder: Arc::new(reopen_folder(&root.file)?),
                above: Vec::new(),
            }),
            FileKind::File if self.hash.is_some() => Start::Task(Task::RootFile {
                root: root.position,
                stat: root.stat,
                file: reopen(&root.file)?,
            }),
            kind => Start::Row(TreeRecord::Entry {
                root: root.position,
                entry: entry(path, kind, &root.stat, None),
                id: None,
            }),
        })
    }

    /// Runs the workers and passes their rows on.
    fn run(&self, workers: usize, records: &mut Records<'_, TreeRecord>) -> Result<(), Stop> {
        thread::scope(|scope| {
            // workers -> this thread: rows, in batches
            let (rows_tx, rows_rx) = mpsc::sync_channel(BATCHES_WAITING);
            self.queue.open(workers);
            for _ in 0..workers {
                let rows_tx = rows_tx.clone();
                let started = thread::Builder::new()
                    .name("walk".to_owned())
                    .spawn_scoped(scope, move || Worker::new(self, rows_tx).run());
                if started.is_err() {
                    // A limit on threads: the others do its work; without any, there is nobody to wait for.
                    self.queue.leave();
                }
            }
            drop(rows_tx);
            let result = pass_on(&rows_rx, records);
            // Workers that wait for room in the channel, or for work, end now.
            self.is_over.store(true, Ordering::Relaxed);
            drop(rows_rx);
            self.queue.close();
            result
        })?;
        if self.queue.is_finished() {
            Ok(())
        } else {
            let cause = Cause::Io {
                errno: Errno::EAGAIN as i32,
            };
            Err(Failure::new("start the threads of a walk", cause).into())
        }
    }

    fn failure(&self, verb: &str, path: &BString, errno: Errno) -> Failure {
        Failure::at(verb, path.as_bstr(), self.cause(errno))
    }

    /// The reason behind an error; a tree may hold a thousand refusals, so who asks is looked up once.
    fn cause(&self, errno: Errno) -> Cause {
        self.view.cause(errno, || {
            self.denials.get_or_init(|| Denials::of(self.target))
        })
    }
}

/// How a root begins.
enum Start {
    Task(Task),
    Row(TreeRecord),
}

fn pass_on(
    rows_rx: &Receiver<Vec<TreeRecord>>,
    records: &mut Records<'_, TreeRecord>,
) -> Result<(), Stop> {
    loop {
        match rows_rx.recv_timeout(CHECK_AFTER) {
            Ok(rows) => {
                for row in rows {
                    let bytes = size_of_row(&row);
                    records.push(row, bytes)?;
                }
            }
            // What is there is shown; the next row may be a large file away.
            Err(RecvTimeoutError::Timeout) => {
                records.flush()?;
                records.checkpoint()?;
            }
            Err(RecvTimeoutError::Disconnected) => return Ok(()),
        }
    }
}

/// About the encoded size of a row.
fn size_of_row(row: &TreeRecord) -> usize {
    match row {
        TreeRecord::Root { path, .. } | TreeRecord::Skipped { path, .. } => 32 + path.len(),
        TreeRecord::Entry { entry, .. } => {
            80 + entry.path.len() + entry.link.as_ref().map_or(0, |link| link.len())
        }
        TreeRecord::Unreadable { path, failure, .. } => 160 + path.len() + failure.doing.len(),
    }
}

/// Whether one path is below another.
fn is_below(path: &[u8], folder: &[u8]) -> bool {
    let folder = folder.strip_suffix(b"/").unwrap_or(folder);
    path.strip_prefix(folder)
        .is_some_and(|rest| rest.starts_with(b"/"))
}

fn unreadable(root: u32, path: BString, failure: Failure) -> TreeRecord {
    TreeRecord::Unreadable {
        root,
        path,
        failure,
    }
}

fn skipped(root: u32, path: BString, skip: Skip) -> TreeRecord {
    TreeRecord::Skipped { root, path, skip }
}

#[cfg(test)]
mod tests;
