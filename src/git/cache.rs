//! The user's directory of cached clones: one bare repository a URL, one lock each.
//!
//! A clone is made beside its place and renamed, so what stands at the place is always whole. Because git
//! reads settings from there, the directory must be the user's own and closed to others.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{
    DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _,
};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, Flock, FlockArg, fcntl};

use super::error::GitError;
use super::url::cache_key;

/// How often a waiting kdbg looks at the lock.
const TICK: Duration = Duration::from_millis(50);

/// The place of one URL's clone.
pub(super) struct CacheEntry {
    /// The directory of all clones.
    pub(super) root: PathBuf,
    /// The bare repository.
    pub(super) repository: PathBuf,
    /// Where it is made.
    pub(super) partial: PathBuf,
    lock: PathBuf,
}

impl CacheEntry {
    /// Finds the place for `url` below `cache_dir` and makes the directories, closed to others.
    pub(super) fn new(cache_dir: &Path, url: &str) -> Result<Self, GitError> {
        let root = private_folder(cache_dir, "git")?;
        let digest = blake3::hash(cache_key(url).as_bytes()).to_hex();
        let name = digest.get(..32).unwrap_or(&digest).to_owned();
        Ok(Self {
            repository: root.join(format!("{name}.git")),
            partial: root.join(format!("{name}.partial")),
            lock: root.join(format!("{name}.lock")),
            root,
        })
    }

    /// Waits until no other kdbg works on this clone. The lock ends with the value.
    ///
    /// The git that is started meanwhile inherits the file: when this process is killed, the lock lasts until
    /// its git has ended as well, and nobody cleans up under it.
    pub(super) fn lock(
        &self,
        timeout: Duration,
        cancel: &AtomicBool,
        on_wait: &mut dyn FnMut(),
    ) -> Result<Option<Flock<File>>, GitError> {
        let mut file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&self.lock)
            .map_err(failed("open", &self.lock))?;
        let started = Instant::now();
        let mut told = false;
        loop {
            file = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(lock) => {
                    fcntl(&*lock, FcntlArg::F_SETFD(FdFlag::empty()))
                        .map_err(|errno| failed("lock", &self.lock)(io::Error::from(errno)))?;
                    return Ok(Some(lock));
                }
                Err((file, Errno::EWOULDBLOCK | Errno::EINTR)) => file,
                Err((_, errno)) => {
                    return Err(failed("lock", &self.lock)(io::Error::from(errno)));
                }
            };
            if cancel.load(Ordering::Relaxed) {
                return Ok(None);
            }
            if started.elapsed() > timeout {
                return Err(GitError::CacheLocked {
                    lock: self.lock.clone(),
                    timeout,
                });
            }
            if !told {
                on_wait();
                told = true;
            }
            std::thread::sleep(TICK);
        }
    }

    /// Removes what an interrupted clone or fetch left behind. Only under the lock: nobody else works here.
    pub(super) fn clean(&self) -> Result<(), GitError> {
        remove(&self.partial)?;
        if self.repository.exists() {
            // git refuses to touch a ref whose lock file exists, whoever made it and died.
            remove_locks(&self.repository, false);
            remove_locks(&self.repository.join("refs"), true);
            remove_temporary_packs(&self.repository.join("objects/pack"));
        }
        Ok(())
    }

    /// Puts the finished clone into its place.
    pub(super) fn publish(&self) -> Result<(), GitError> {
        remove(&self.repository)?;
        fs::rename(&self.partial, &self.repository).map_err(failed("move", &self.partial))
    }
}

/// Makes a folder of the cache, the user's own and closed to others.
pub(super) fn private_folder(cache_dir: &Path, name: &str) -> Result<PathBuf, GitError> {
    let root = cache_dir.join(name);
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&root)
        .map_err(failed("create the directory", &root))?;
    // Without links in it: git compares the place with the directories it must not look above.
    let root = root.canonicalize().map_err(failed("find", &root))?;
    let metadata = fs::metadata(&root).map_err(failed("look at", &root))?;
    if metadata.uid() != nix::unistd::geteuid().as_raw() {
        return Err(GitError::CacheNotOwned {
            path: root,
            owner: metadata.uid(),
        });
    }
    if metadata.mode() & 0o077 != 0 {
        fs::set_permissions(&root, fs::Permissions::from_mode(0o700))
            .map_err(failed("close to others", &root))?;
    }
    Ok(root)
}

/// Removes a directory that may be absent.
pub(super) fn remove(directory: &Path) -> Result<(), GitError> {
    match fs::remove_dir_all(directory) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(failed("remove", directory)(error)),
    }
}

pub(super) fn failed<'a>(
    operation: &'static str,
    path: &'a Path,
) -> impl FnOnce(io::Error) -> GitError + 'a {
    move |source| GitError::Cache {
        operation,
        path: path.to_owned(),
        source,
    }
}

fn remove_locks(directory: &Path, recursive: bool) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let Ok(kind) = entry.file_type() else {
            continue;
        };
        let path = entry.path();
        if kind.is_dir() && recursive {
            remove_locks(&path, true);
        } else if kind.is_file()
            && path
                .extension()
                .is_some_and(|extension| extension == "lock")
        {
            let _ = fs::remove_file(path);
        }
    }
}

fn remove_temporary_packs(directory: &Path) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with("tmp_") {
            let _ = fs::remove_file(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cache_is_closed_to_others() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("kdbg/git");
        fs::create_dir_all(&root).unwrap();
        fs::set_permissions(&root, fs::Permissions::from_mode(0o777)).unwrap();
        let entry =
            CacheEntry::new(&directory.path().join("kdbg"), "https://example.invalid/a").unwrap();
        assert_eq!(fs::metadata(&entry.root).unwrap().mode() & 0o777, 0o700);
        assert_eq!(entry.repository.file_name().unwrap().len(), 36);
    }

    #[test]
    fn a_second_one_waits_and_gives_up_in_time() {
        let directory = tempfile::tempdir().unwrap();
        let entry = CacheEntry::new(directory.path(), "https://example.invalid/a").unwrap();
        let cancel = AtomicBool::new(false);
        let held = entry
            .lock(Duration::from_secs(1), &cancel, &mut || {})
            .unwrap();
        assert!(held.is_some());
        let mut waited = 0;
        let second = entry.lock(Duration::from_millis(200), &cancel, &mut || waited += 1);
        assert!(matches!(second, Err(GitError::CacheLocked { .. })));
        assert_eq!(waited, 1);
        drop(held);
        assert!(
            entry
                .lock(Duration::from_secs(1), &cancel, &mut || {})
                .unwrap()
                .is_some()
        );
    }

    #[test]
    fn what_a_killed_git_left_behind_goes() {
        let directory = tempfile::tempdir().unwrap();
        let entry = CacheEntry::new(directory.path(), "https://example.invalid/a").unwrap();
        let leftovers = [
            "packed-refs.lock",
            "refs/heads/a.lock",
            "objects/pack/tmp_pack_x",
        ];
        let kept = ["packed-refs", "refs/heads/a", "objects/pack/pack-1.pack"];
        for file in leftovers.iter().chain(&kept) {
            let path = entry.repository.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, "").unwrap();
        }
        fs::create_dir_all(entry.partial.join("objects")).unwrap();
        entry.clean().unwrap();
        assert!(!entry.partial.exists());
        for file in leftovers {
            assert!(!entry.repository.join(file).exists(), "{file}");
        }
        for file in kept {
            assert!(entry.repository.join(file).exists(), "{file}");
        }
    }
}
