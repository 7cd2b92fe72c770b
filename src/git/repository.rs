//! Opening a repository without believing it.
//!
//! Everything the library could read beyond the repository's own files is switched off: the user's and the
//! system's settings, includes, environment variables, replaced objects. The repository's settings are
//! loaded as untrusted, so that only those take effect which say how it is stored.

use std::fs;
use std::io::{self, Read as _};
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};

use bstr::ByteSlice as _;
use gix::discover::upwards;
use gix::sec::Trust;

use super::BoxedError;
use super::error::GitError;
use crate::object::HashKind;

/// The most bytes of one object that are read into memory.
///
/// The library's own limit for repositories it does not trust is 16 MiB, less than a bundled script may have.
pub(super) const OBJECT_LIMIT: usize = 2 << 30;

/// A repository that is open for reading.
///
/// Cheap to share between threads; it holds no lock and writes nothing. Objects that another process packs
/// or adds while it is open are found.
#[derive(Clone)]
pub struct Repository {
    pub(super) inner: gix::ThreadSafeRepository,
    pub(super) hash_kind: HashKind,
    pub(super) promisor: Option<String>,
    pub(super) is_bare: bool,
}

impl Repository {
    /// Opens the repository at `path`: a work tree, a bare repository, a `.git` folder, or the `.git` file of
    /// a linked work tree or a submodule. It does not look in the directories above.
    ///
    /// Files of another owner are read like any other, see the module's description.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, GitError> {
        let path = path.as_ref();
        match fs::metadata(path) {
            Ok(_) => {}
            Err(error) if is_absence(&error) => {
                return Err(GitError::NoSuchPath {
                    path: path.to_owned(),
                });
            }
            Err(source) => return Err(unreadable(path, source)),
        }
        let path = absolute(path);
        // The `.git` file itself is taken for what it stands for: the work tree that it lies in.
        let path = match path.parent() {
            Some(parent) if path.is_file() && path.ends_with(".git") => parent.to_owned(),
            _ => path,
        };
        refuse_special_work_tree(&path)?;
        refuse_special_git_dir(&path)?;
        let location = locate(&path)?;
        check_files(&location.git_dir, &location.common_dir)?;
        let opened = gix::ThreadSafeRepository::open_opts(&path, options())
            .map_err(|source| open_error(&path, source))?;
        Self::finish(opened, &path)
    }

    /// Opens the repository that `start_dir` lies in, looking upwards, and not into another file system.
    ///
    /// A bare repository counts only when no `.git` is found on the way up: one that is embedded in a work
    /// tree may have come with a pull request (git's `safe.bareRepository`) and is opened only by
    /// [`open`](Self::open).
    pub fn discover(start_dir: impl AsRef<Path>) -> Result<Self, GitError> {
        let start = start_dir.as_ref();
        match fs::metadata(start) {
            Ok(_) => {}
            Err(error) if is_absence(&error) => {
                return Err(GitError::NoSuchPath {
                    path: start.to_owned(),
                });
            }
            Err(source) => return Err(unreadable(start, source)),
        }
        let start = absolute(start);
        let find = |dot_git_only| {
            let search = upwards::Options {
                trust: upwards::TrustPolicy::Assume(Trust::Reduced),
                dot_git_only,
                ..upwards::Options::default()
            };
            gix::discover::upwards_opts(&start, search)
        };
        start.ancestors().try_for_each(refuse_special_work_tree)?;
        let found = if let Ok(found) = find(true) {
            Ok(found)
        } else {
            start.ancestors().try_for_each(refuse_special_git_dir)?;
            find(false)
        };
        let (found, _) = found.map_err(|source| GitError::NotInRepository {
            start: start.clone(),
            source: source.into(),
        })?;
        let (git_dir, work_dir) = found.into_repository_and_work_tree_directories();
        Self::open(work_dir.unwrap_or(git_dir))
    }

    /// The hash function that names this repository's objects.
    #[must_use]
    pub fn hash_kind(&self) -> HashKind {
        self.hash_kind
    }

    /// The directory that holds the repository: `.git`, or the bare repository itself.
    #[must_use]
    pub fn git_dir(&self) -> &Path {
        self.inner.git_dir()
    }

    /// The directory of the checked-out files, `None` for a bare repository.
    #[must_use]
    pub fn work_dir(&self) -> Option<&Path> {
        self.inner.work_dir()
    }

    /// Whether the repository has no work tree.
    #[must_use]
    pub fn is_bare(&self) -> bool {
        self.is_bare
    }

    /// Whether the history ends early (`git clone --depth`).
    #[must_use]
    pub fn is_shallow(&self) -> bool {
        let common_dir = self.inner.common_dir.as_deref().unwrap_or(self.git_dir());
        fs::metadata(common_dir.join("shallow")).is_ok_and(|file| file.len() > 0)
    }

    /// The remote that keeps objects which this repository lacks on purpose (`git clone --filter`).
    #[must_use]
    pub fn promisor(&self) -> Option<&str> {
        self.promisor.as_deref()
    }

    /// The path by which a person knows the repository: its work tree, else its git directory.
    #[must_use]
    pub fn display_path(&self) -> &Path {
        self.work_dir().unwrap_or(self.git_dir())
    }

    /// The addresses of its remotes, as its settings name them.
    #[must_use]
    pub fn remote_urls(&self) -> Vec<String> {
        let local = self.inner.to_thread_local();
        let config = local.config_snapshot();
        let sections = config.plumbing().sections_by_name("remote");
        sections
            .into_iter()
            .flatten()
            .filter_map(|section| section.value("url").map(|url| printable(&url)))
            .collect()
    }

    fn finish(opened: gix::ThreadSafeRepository, path: &Path) -> Result<Self, GitError> {
        let local = opened.to_thread_local();
        let hash_kind = match local.object_hash() {
            gix::hash::Kind::Sha1 => HashKind::Sha1,
            gix::hash::Kind::Sha256 => HashKind::Sha256,
            other => {
                return Err(GitError::Unsupported {
                    path: path.to_owned(),
                    what: format!("the hash function {other}"),
                });
            }
        };
        let config = local.config_snapshot();
        // The library reads files only and would see a repository with other storage as one without refs.
        if let Some(storage) = config.string("extensions.refStorage")
            && !storage.eq_ignore_ascii_case(b"files")
        {
            return Err(GitError::Unsupported {
                path: path.to_owned(),
                what: format!("the ref storage `{}`", printable(&storage)),
            });
        }
        let promisor = config
            .string("extensions.partialClone")
            .map(|name| printable(&name))
            .or_else(|| promisor_remote(&config));
        Ok(Self {
            is_bare: local.workdir().is_none(),
            hash_kind,
            promisor,
            inner: opened,
        })
    }
}

/// The first remote with `promisor = true`, or with a filter, which implies it.
fn promisor_remote(config: &gix::config::Snapshot<'_>) -> Option<String> {
    config
        .plumbing()
        .sections_by_name("remote")?
        .find_map(|section| {
            let name = section.header().subsection_name()?;
            let promises = section
                .value("promisor")
                .is_some_and(|value| !value.eq_ignore_ascii_case(b"false"))
                || section.value("partialclonefilter").is_some();
            promises.then(|| printable(name))
        })
}

fn options() -> gix::open::Options {
    gix::open::Options::isolated()
        .with(Trust::Reduced)
        .cli_overrides([
            // An object is what its name says, not what `refs/replace` puts in its place.
            "core.useReplaceRefs=false".to_owned(),
            format!("gitoxide.objects.allocLimit={OBJECT_LIMIT}"),
        ])
}

struct Location {
    git_dir: PathBuf,
    common_dir: PathBuf,
}

/// Where the files of the repository at `path` are, found without reading any of its settings.
fn locate(path: &Path) -> Result<Location, GitError> {
    let dot_git = path.join(".git");
    let candidate =
        if fs::symlink_metadata(&dot_git).is_ok() && gix::discover::is_git(&dot_git).is_ok() {
            dot_git
        } else {
            path.to_owned()
        };
    let kind =
        gix::discover::is_git(&candidate).map_err(|source| not_a_repository(path, source))?;
    let current_dir = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/"));
    let git_dir = gix::discover::repository::Path::from_dot_git_dir(candidate, kind, &current_dir)
        .map_or_else(
            || path.to_owned(),
            |found| found.into_repository_and_work_tree_directories().0,
        );
    let common_dir = fs::read(git_dir.join("commondir")).map_or_else(
        |_| git_dir.clone(),
        |content| git_dir.join(content.trim_end().to_path_lossy()),
    );
    Ok(Location {
        git_dir,
        common_dir,
    })
}

/// Refuses files that would block a reader, and names those that may not be read.
///
/// Without this a pipe called `HEAD` would hang the program, and settings that may not be read would be taken
/// for absent, so that a SHA-256 repository looked like a broken SHA-1 one.
fn check_files(git_dir: &Path, common_dir: &Path) -> Result<(), GitError> {
    for file in ["HEAD", "config.worktree", "commondir"] {
        check_file(&git_dir.join(file))?;
    }
    for file in [
        "config",
        "packed-refs",
        "shallow",
        "objects/info/alternates",
    ] {
        check_file(&common_dir.join(file))?;
    }
    let objects = common_dir.join("objects");
    fs::read_dir(&objects).map_err(|source| unreadable(&objects, source))?;
    refuse_special_files_below(&common_dir.join("objects/pack"), 1)?;
    // Names of branches have few components; a deeper tree is left to the lookup of the ref itself.
    refuse_special_files_below(&common_dir.join("refs"), 12)
}

/// Refuses what would block the search for a repository in this work tree.
fn refuse_special_work_tree(directory: &Path) -> Result<(), GitError> {
    let dot_git = directory.join(".git");
    refuse_special_file(&dot_git)?;
    refuse_special_git_dir(&dot_git)?;
    if dot_git.is_file()
        && let Ok(content) = read_beginning(&dot_git)
        && let Some(target) = content.strip_prefix(b"gitdir:")
    {
        refuse_special_git_dir(&directory.join(target.trim().to_path_lossy()))?;
    }
    Ok(())
}

/// Refuses what would block the look whether a directory is a repository.
fn refuse_special_git_dir(directory: &Path) -> Result<(), GitError> {
    ["HEAD", "commondir", "gitdir"]
        .iter()
        .try_for_each(|file| refuse_special_file(&directory.join(file)))
}

fn read_beginning(path: &Path) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    fs::File::open(path)?
        .take(64 << 10)
        .read_to_end(&mut content)?;
    Ok(content)
}

fn check_file(path: &Path) -> Result<(), GitError> {
    refuse_special_file(path)?;
    match fs::File::open(path) {
        Ok(_) => Ok(()),
        Err(error) if is_absence(&error) => Ok(()),
        Err(source) => Err(unreadable(path, source)),
    }
}

fn refuse_special_file(path: &Path) -> Result<(), GitError> {
    match fs::metadata(path) {
        Ok(metadata) if is_special(metadata.file_type()) => Err(GitError::SpecialFile {
            path: path.to_owned(),
        }),
        _ => Ok(()),
    }
}

fn refuse_special_files_below(directory: &Path, depth: usize) -> Result<(), GitError> {
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if is_absence(&error) => return Ok(()),
        Err(source) => return Err(unreadable(directory, source)),
    };
    for entry in entries.flatten() {
        let Ok(kind) = entry.file_type() else {
            continue;
        };
        if kind.is_symlink() {
            refuse_special_file(&entry.path())?;
        } else if is_special(kind) {
            return Err(GitError::SpecialFile { path: entry.path() });
        } else if kind.is_dir() && depth > 1 {
            refuse_special_files_below(&entry.path(), depth - 1)?;
        }
    }
    Ok(())
}

fn is_special(kind: fs::FileType) -> bool {
    kind.is_fifo() || kind.is_socket() || kind.is_char_device() || kind.is_block_device()
}

fn is_absence(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

fn unreadable(path: &Path, source: io::Error) -> GitError {
    let path = path.to_owned();
    if source.kind() == io::ErrorKind::PermissionDenied {
        GitError::PermissionDenied {
            path,
            source: source.into(),
        }
    } else {
        GitError::Open {
            path,
            source: source.into(),
        }
    }
}

/// Tells a directory without a repository from one whose repository may not be looked at.
fn not_a_repository(path: &Path, source: gix::Error) -> GitError {
    for closed in [
        path.to_owned(),
        path.join(".git"),
        path.join(".git/HEAD"),
        path.join("HEAD"),
    ] {
        let denied = match fs::metadata(&closed) {
            Ok(metadata) if metadata.is_dir() => fs::read_dir(&closed).err(),
            Ok(metadata) if metadata.is_file() => fs::File::open(&closed).err(),
            Ok(_) => return GitError::SpecialFile { path: closed },
            Err(error) => Some(error),
        };
        if let Some(error) = denied
            && error.kind() == io::ErrorKind::PermissionDenied
        {
            return GitError::PermissionDenied {
                path: closed,
                source: error.into(),
            };
        }
    }
    let search = upwards::Options {
        trust: upwards::TrustPolicy::Assume(Trust::Reduced),
        ..upwards::Options::default()
    };
    let directory = if path.is_dir() {
        Some(path)
    } else {
        path.parent()
    };
    let enclosing = directory
        .and_then(|directory| gix::discover::upwards_opts(directory, search).ok())
        .map(|(found, _)| found.into_repository_and_work_tree_directories())
        .map(|(git_dir, work_dir)| work_dir.unwrap_or(git_dir));
    GitError::NotARepository {
        path: path.to_owned(),
        enclosing,
        source: source.into(),
    }
}

fn open_error(path: &Path, source: gix::Error) -> GitError {
    let path = path.to_owned();
    let source: BoxedError = source.into();
    GitError::Open { path, source }
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

fn printable(text: &[u8]) -> String {
    text.to_str_lossy()
        .chars()
        .map(|letter| if letter.is_control() { '?' } else { letter })
        .collect()
}
