//! One thread of a walk.
//!
//! It goes down before it goes on (depth first) and keeps what it needs to come back: for each folder on the
//! way its name, its number and the names of its sub-folders that are still to come. Only the innermost
//! folders stay open; one that was closed is opened again from the root, name by name, and must have the
//! number it had. So a tree of any depth takes few descriptors, one of any width little memory.

use std::{
    ffi::CStr,
    os::fd::OwnedFd,
    sync::{Arc, atomic::Ordering, mpsc::SyncSender},
};

use bstr::{BString, ByteSlice as _};
use nix::{
    errno::Errno,
    fcntl::{self, OFlag},
    sys::stat::{self, FileStat, Mode},
};

use super::{
    Root, Walk,
    blob::{BlobReader, Nameless},
    queue::Task,
    size_of_row, skipped, unreadable,
};
use crate::{
    agent::file_system::{
        FileNumber, entry, kind_of, link, look, number_of, pseudo_file_system, size_of,
    },
    object::{ObjectId, blob_id},
    protocol::message::{Cause, Failure, FileKind, Skip, TreeRecord},
    sys::{NameKind, read_names},
};

/// Folders on the way down that stay open.
const OPEN_FOLDERS: usize = 16;

/// Names of sub-folders that are collected, in bytes, before the first of them is walked.
const PENDING_LIMIT: usize = 64 * 1024;

/// The longest path that is walked: longer ones than any program can use, short enough for a frame.
const PATH_LIMIT: usize = 32 * 1024;

/// Rows are passed on when they come to this many bytes.
const BATCH: usize = 16 * 1024;

/// How many names are worth giving away.
const SHARE: usize = 4;

/// A worker of a walk.
pub(super) struct Worker<'a> {
    walk: &'a Walk<'a>,
    // this worker -> the thread that answers: rows
    rows_tx: SyncSender<Vec<TreeRecord>>,
    rows: Vec<TreeRecord>,
    bytes: usize,
    names: Box<[u8]>,
    reader: Option<BlobReader>,
    /// A device known to hold real files.
    real_device: Option<u64>,
}

/// The walk is over: the client wants no more.
struct Over;

/// A folder on the way down.
struct Level {
    root: u32,
    /// Relative to the root.
    path: BString,
    number: FileNumber,
    /// `None` when closed to save descriptors.
    folder: Option<Arc<OwnedFd>>,
    /// Names of sub-folders that are still to come, each ended by a NUL.
    pending: Vec<u8>,
    /// Whether the folder has no more names than those.
    is_listed: bool,
}

impl<'a> Worker<'a> {
    pub(super) fn new(walk: &'a Walk<'a>, rows_tx: SyncSender<Vec<TreeRecord>>) -> Self {
        Self {
            walk,
            rows_tx,
            rows: Vec::new(),
            bytes: 0,
            names: vec![0; 32 * 1024].into_boxed_slice(),
            reader: walk.hash.map(BlobReader::new),
            real_device: None,
        }
    }

    /// Works until nothing is left.
    pub(super) fn run(mut self) {
        while let Some(task) = self.walk.queue.next() {
            let result = self.task(task).and_then(|()| self.flush());
            if result.is_err() {
                return;
            }
        }
    }

    fn task(&mut self, task: Task) -> Result<(), Over> {
        match task {
            Task::Folder {
                root,
                path,
                folder,
                above,
            } => self.tree(root, path, folder, above),
            Task::Names {
                root,
                path,
                folder,
                names,
            } => self.files(root, &path, &folder, names),
            Task::RootFile {
                root,
                mut stat,
                mut file,
            } => {
                let path = BString::default();
                let Some(limit) = self.over_limit(&stat) else {
                    let named = match &mut self.reader {
                        Some(reader) => reader
                            .name_file(&mut file, &mut stat, &self.walk.is_over)
                            .map(Some),
                        None => Ok(None),
                    };
                    return self.row_of_file(root, path, &stat, named);
                };
                self.row_of_large_file(root, path, &stat, limit)
            }
        }
    }

    /// Walks a folder and all below it.
    fn tree(
        &mut self,
        root: u32,
        path: BString,
        folder: Arc<OwnedFd>,
        mut above: Vec<FileNumber>,
    ) -> Result<(), Over> {
        let stat = match stat::fstat(&*folder) {
            Ok(stat) => stat,
            Err(errno) => return self.unreadable(root, path, errno),
        };
        if path.is_empty() {
            let root_entry = entry(path.clone(), FileKind::Folder, &stat, None);
            self.row_of(root, root_entry, None)?;
        }
        let number = number_of(&stat);
        let mut levels = vec![Level::new(root, path, number, folder)];
        above.push(number);
        while let Some(level) = levels.last_mut() {
            if !level.is_listed && level.pending.is_empty() {
                self.list(level)?;
                continue;
            }
            let Some(name) = level.take_pending() else {
                above.pop();
                if let (Some(done), Some(parent)) = (levels.pop(), levels.last_mut()) {
                    parent.reopen_from(&done);
                }
                continue;
            };
            let Some(below) = self.enter(level, &name, &above)? else {
                continue;
            };
            if self.walk.queue.is_hungry() {
                let folder = below.folder.clone();
                if let Some(folder) = folder {
                    self.walk.queue.push(Task::Folder {
                        root,
                        path: below.path,
                        folder,
                        above: above.clone(),
                    });
                    continue;
                }
            }
            above.push(below.number);
            levels.push(below);
            let closed = levels.len().checked_sub(OPEN_FOLDERS + 1);
            if let Some(level) = closed.and_then(|index| levels.get_mut(index))
                && level.is_listed
            {
                level.folder = None;
            }
        }
        Ok(())
    }

    /// Reads the names of a folder: files are worked on at once, sub-folders are left for later.
    fn list(&mut self, level: &mut Level) -> Result<(), Over> {
        let Some(folder) = level.folder.clone() else {
            level.is_listed = true;
            return Ok(());
        };
        while level.pending.len() < PENDING_LIMIT {
            let mut buffer = std::mem::take(&mut self.names);
            let mut files = Vec::new();
            let mut left_out = Vec::new();
            let is_end = match read_names(&*folder, &mut buffer) {
                Ok(names) => {
                    let is_end = names.is_end();
                    for (name, kind) in names {
                        if self.walk.leaves_out(name) {
                            left_out.push(join(&level.path, name.to_bytes()));
                            continue;
                        }
                        let list = if is_folder(&folder, name, kind) {
                            &mut level.pending
                        } else {
                            &mut files
                        };
                        list.extend_from_slice(name.to_bytes_with_nul());
                    }
                    Ok(is_end)
                }
                Err(errno) => Err(errno),
            };
            self.names = buffer;
            for path in left_out {
                self.push(skipped(level.root, path, Skip::LeftOut))?;
            }
            match is_end {
                Ok(false) => self.files(level.root, &level.path, &folder, files)?,
                Ok(true) => {
                    level.is_listed = true;
                    break;
                }
                Err(errno) => {
                    level.is_listed = true;
                    // A folder that was removed has no names any more.
                    if errno != Errno::ENOENT {
                        self.unreadable(level.root, level.path.clone(), errno)?;
                    }
                    break;
                }
            }
        }
        Ok(())
    }

    /// Works on names of a folder, and gives half of them away whenever another worker has nothing to do.
    fn files(
        &mut self,
        root: u32,
        path: &BString,
        folder: &Arc<OwnedFd>,
        mut names: Vec<u8>,
    ) -> Result<(), Over> {
        let mut start = 0;
        while let Some(name) = names
            .get(start..)
            .and_then(|rest| CStr::from_bytes_until_nul(rest).ok())
        {
            start += name.count_bytes() + 1;
            let name = name.to_owned();
            if self.walk.queue.is_hungry()
                && let Some(half) = second_half(&names, start)
            {
                let given = names.split_off(half);
                self.walk.queue.push(Task::Names {
                    root,
                    path: path.clone(),
                    folder: Arc::clone(folder),
                    names: given,
                });
            }
            self.file(root, join(path, name.to_bytes()), folder, &name)?;
        }
        Ok(())
    }

    /// Tells of one file.
    fn file(
        &mut self,
        root: u32,
        path: BString,
        folder: &OwnedFd,
        name: &CStr,
    ) -> Result<(), Over> {
        if self.walk.is_over.load(Ordering::Relaxed) {
            return Err(Over);
        }
        let mut stat = match look(folder, name) {
            Ok(stat) => stat,
            // Removed meanwhile: it is not there.
            Err(Errno::ENOENT) => return Ok(()),
            Err(errno) => return self.unreadable(root, path, errno),
        };
        match kind_of(&stat) {
            Some(FileKind::File) => {
                if let Some(limit) = self.over_limit(&stat) {
                    return self.row_of_large_file(root, path, &stat, limit);
                }
                let named = match &mut self.reader {
                    Some(reader) => reader
                        .name_at(folder, name, &mut stat, &self.walk.is_over)
                        .map(Some),
                    None => Ok(None),
                };
                self.row_of_file(root, path, &stat, named)
            }
            Some(FileKind::Symlink) => match link(folder, name) {
                Ok(target) => {
                    let hash = self.walk.hash;
                    let id = hash.and_then(|hash| blob_id(hash, &target).ok());
                    let entry = entry(path, FileKind::Symlink, &stat, Some(target));
                    self.row_of(root, entry, id)
                }
                Err(Errno::ENOENT) => Ok(()),
                Err(Errno::EINVAL) => self.failed(root, path, Cause::KeepsChanging),
                Err(errno) => self.unreadable(root, path, errno),
            },
            // It was none when its folder was read; what is below it now was not seen.
            Some(FileKind::Folder) => self.failed(root, path, Cause::KeepsChanging),
            Some(kind) => self.row_of(root, entry(path, kind, &stat, None), None),
            None => Ok(()),
        }
    }

    /// The limit that a file is too large for, when it would be read at all.
    fn over_limit(&self, stat: &FileStat) -> Option<u64> {
        let limit = self.walk.hash_limit;
        (self.reader.is_some() && size_of(stat) > limit).then_some(limit)
    }

    fn row_of_large_file(
        &mut self,
        root: u32,
        path: BString,
        stat: &FileStat,
        limit: u64,
    ) -> Result<(), Over> {
        let file = entry(path.clone(), FileKind::File, stat, None);
        self.row_of(root, file, None)?;
        let size = size_of(stat);
        self.failed(root, path, Cause::TooLarge { size, limit })
    }

    fn row_of_file(
        &mut self,
        root: u32,
        path: BString,
        stat: &FileStat,
        named: Result<Option<ObjectId>, Nameless>,
    ) -> Result<(), Over> {
        let file = entry(path.clone(), FileKind::File, stat, None);
        let cause = match named {
            Ok(id) => return self.row_of(root, file, id),
            Err(Nameless::Over) => return Err(Over),
            Err(Nameless::Kernel(Errno::ENOENT)) => return Ok(()),
            Err(Nameless::Kernel(errno)) => self.walk.cause(errno),
            Err(Nameless::KeepsChanging) => Cause::KeepsChanging,
            Err(Nameless::CollisionAttack) => Cause::CollisionAttack,
        };
        self.row_of(root, file, None)?;
        self.failed(root, path, cause)
    }

    /// Opens a sub-folder and tells of it; `None` when there is nothing to walk in it.
    fn enter(
        &mut self,
        level: &mut Level,
        name: &CStr,
        above: &[FileNumber],
    ) -> Result<Option<Level>, Over> {
        let root = level.root;
        let path = join(&level.path, name.to_bytes());
        let parent = match self.folder_of(level) {
            Ok(folder) => folder,
            Err(cause) => {
                self.failed(root, path, cause)?;
                return Ok(None);
            }
        };
        let stat = match look(&*parent, name) {
            Ok(stat) => stat,
            Err(Errno::ENOENT) => return Ok(None),
            Err(errno) => {
                self.unreadable(root, path, errno)?;
                return Ok(None);
            }
        };
        if kind_of(&stat) != Some(FileKind::Folder) {
            self.file(root, path, &parent, name)?;
            return Ok(None);
        }
        let number = number_of(&stat);
        self.row_of(
            root,
            entry(path.clone(), FileKind::Folder, &stat, None),
            None,
        )?;
        if let Some(other) = self.walk.other_root(root, number) {
            self.push(skipped(root, path, Skip::OtherRoot(other)))?;
            return Ok(None);
        }
        if self.walk.leaves_out_path(root, &path) {
            self.push(skipped(root, path, Skip::LeftOut))?;
            return Ok(None);
        }
        if above.contains(&number) {
            // A mount of a folder below itself.
            self.failed(root, path, Cause::LinkLoop)?;
            return Ok(None);
        }
        if path.len() > PATH_LIMIT {
            self.unreadable(root, path, Errno::ENAMETOOLONG)?;
            return Ok(None);
        }
        match self.open_folder(&parent, name, &stat) {
            Ok(Opened::Folder(folder)) => {
                Ok(Some(Level::new(root, path, number, Arc::new(folder))))
            }
            Ok(Opened::Pseudo(file_system)) => {
                let skip = Skip::PseudoFileSystem(file_system.to_owned());
                self.push(skipped(root, path, skip))?;
                Ok(None)
            }
            Ok(Opened::Another) => {
                self.failed(root, path, Cause::KeepsChanging)?;
                Ok(None)
            }
            Err(errno) => {
                self.unreadable(root, path, errno)?;
                Ok(None)
            }
        }
    }

    /// Opens a sub-folder, unless it belongs to a pseudo file system; to know that, only a path is opened,
    /// because opening the folder would have an automounter mount something there.
    fn open_folder(
        &mut self,
        parent: &OwnedFd,
        name: &CStr,
        stat: &FileStat,
    ) -> Result<Opened, Errno> {
        if self.real_device != Some(stat.st_dev) {
            let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
            let found = fcntl::openat(parent, name, flags, Mode::empty())?;
            if let Some(file_system) = pseudo_file_system(&found)? {
                return Ok(Opened::Pseudo(file_system));
            }
            self.real_device = Some(stat.st_dev);
        }
        let folder = open_folder(parent, name)?;
        if number_of(&stat::fstat(&folder)?) == number_of(stat) {
            Ok(Opened::Folder(folder))
        } else {
            Ok(Opened::Another)
        }
    }

    /// The folder of a level, opened again when it was closed.
    fn folder_of(&self, level: &mut Level) -> Result<Arc<OwnedFd>, Cause> {
        if let Some(folder) = &level.folder {
            return Ok(Arc::clone(folder));
        }
        let mut roots = self.walk.roots.iter();
        let root = roots.find(|root| root.position == level.root);
        let folder = root
            .ok_or(Errno::ENOENT)
            .and_then(|root| reopen_below(root, &level.path))
            .map_err(|errno| self.walk.cause(errno))?;
        let stat = stat::fstat(&folder).map_err(Cause::from)?;
        if number_of(&stat) != level.number {
            return Err(Cause::KeepsChanging);
        }
        let folder = Arc::new(folder);
        level.folder = Some(Arc::clone(&folder));
        Ok(folder)
    }

    fn unreadable(&mut self, root: u32, path: BString, errno: Errno) -> Result<(), Over> {
        let cause = self.walk.cause(errno);
        self.failed(root, path, cause)
    }

    fn failed(&mut self, root: u32, path: BString, cause: Cause) -> Result<(), Over> {
        let failure = Failure::at("read", path.as_bstr(), cause);
        self.push(unreadable(root, path, failure))
    }

    fn row_of(
        &mut self,
        root: u32,
        entry: crate::protocol::message::Entry,
        id: Option<ObjectId>,
    ) -> Result<(), Over> {
        self.push(TreeRecord::Entry { root, entry, id })
    }

    fn push(&mut self, row: TreeRecord) -> Result<(), Over> {
        self.bytes += size_of_row(&row);
        self.rows.push(row);
        if self.bytes >= BATCH {
            self.flush()
        } else {
            Ok(())
        }
    }

    fn flush(&mut self) -> Result<(), Over> {
        self.bytes = 0;
        if self.rows.is_empty() {
            return Ok(());
        }
        let rows = std::mem::take(&mut self.rows);
        self.rows_tx.send(rows).map_err(|_| Over)
    }
}

/// What became of a sub-folder.
enum Opened {
    Folder(OwnedFd),
    Pseudo(&'static str),
    /// Another one has its name by now.
    Another,
}

impl Level {
    fn new(root: u32, path: BString, number: FileNumber, folder: Arc<OwnedFd>) -> Self {
        Self {
            root,
            path,
            number,
            folder: Some(folder),
            pending: Vec::new(),
            is_listed: false,
        }
    }

    /// Opens a closed folder again from one below it. Should that have been moved away meanwhile, it stays
    /// closed, to be looked for from the root.
    fn reopen_from(&mut self, below: &Self) {
        if self.folder.is_some() || self.pending.is_empty() {
            return;
        }
        let folder = below
            .folder
            .as_ref()
            .and_then(|folder| open_folder(folder, "..").ok())
            .filter(|folder| stat::fstat(folder).is_ok_and(|stat| number_of(&stat) == self.number));
        self.folder = folder.map(Arc::new);
    }

    /// The last of the names that are still to come.
    fn take_pending(&mut self) -> Option<std::ffi::CString> {
        self.pending.pop()?;
        let start = self.pending.rfind_byte(0).map_or(0, |nul| nul + 1);
        std::ffi::CString::new(self.pending.split_off(start)).ok()
    }
}

fn is_folder(folder: &OwnedFd, name: &CStr, kind: NameKind) -> bool {
    match kind {
        NameKind::Folder => true,
        NameKind::Other => false,
        NameKind::Unknown => {
            look(folder, name).is_ok_and(|stat| kind_of(&stat) == Some(FileKind::Folder))
        }
    }
}

fn open_folder<P: ?Sized + nix::NixPath>(parent: &OwnedFd, name: &P) -> Result<OwnedFd, Errno> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    match fcntl::openat(parent, name, flags | OFlag::O_NOATIME, Mode::empty()) {
        Err(Errno::EPERM) => fcntl::openat(parent, name, flags, Mode::empty()),
        result => result,
    }
}

/// Opens a folder below a root name by name, so that no link that was put there meanwhile is followed.
fn reopen_below(root: &Root, path: &BString) -> Result<OwnedFd, Errno> {
    let mut folder = open_folder(&root.file, ".")?;
    for name in path
        .split(|byte| *byte == b'/')
        .filter(|name| !name.is_empty())
    {
        folder = open_folder(&folder, name)?;
    }
    Ok(folder)
}

/// Where the second half of the names after `start` begins, if there are enough of them.
fn second_half(names: &[u8], start: usize) -> Option<usize> {
    let rest = names.get(start..)?;
    if rest.iter().filter(|byte| **byte == 0).take(SHARE).count() < SHARE {
        return None;
    }
    let middle = rest.len() / 2;
    let half = start + middle + rest.get(middle..)?.find_byte(0)? + 1;
    (half < names.len()).then_some(half)
}

fn join(path: &BString, name: &[u8]) -> BString {
    let mut joined = BString::new(Vec::with_capacity(path.len() + name.len() + 1));
    joined.extend_from_slice(path);
    if !path.is_empty() {
        joined.push(b'/');
    }
    joined.extend_from_slice(name);
    joined
}
