//! The folder of the sockets: one for each kept target, in a folder that only its user can enter.
//!
//! A socket outlives a keeper that was killed. Connecting tells: nobody listens to it any more. Who removes such a one
//! and who makes a new one hold the folder's lock, so that nobody's new socket is taken for an old one.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use nix::{
    errno::Errno,
    fcntl::{Flock, FlockArg, OFlag},
    unistd::geteuid,
};
use thiserror::Error;
use tokio::net::{UnixListener, UnixStream};

/// The bytes that a socket's path may have (`sun_path`, with its final zero).
const PATH_LIMIT: usize = 107;
/// Permissions of others on a folder of ours.
const OTHERS: u32 = 0o077;

/// The folder of the sockets of this user.
#[derive(Clone, Debug)]
pub struct Folder {
    path: PathBuf,
}

/// Which session a command needs: equal keys mean that one does for the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key(String);

/// The sockets cannot be used.
#[derive(Debug, Error)]
pub enum FolderError {
    /// Something could not be done with a file.
    #[error("cannot {doing} `{}`: {source}", path.display())]
    Io {
        /// What.
        doing: &'static str,
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Others could put a socket of theirs into it.
    #[error("`{}` is not a folder that only this user can enter ({reason})", path.display())]
    Unsafe {
        /// The folder.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A socket's path has a limit of the kernel's.
    #[error("the path `{}` is too long for a socket", path.display())]
    TooLong {
        /// The path.
        path: PathBuf,
    },
    /// Somebody keeps it already.
    #[error("another `kdbg keep` has it already{}", pid.map(|pid| format!(" (process {pid})")).unwrap_or_default())]
    Taken {
        /// The other keeper.
        pid: Option<i32>,
    },
    /// Whoever listens there is somebody else.
    #[error("the socket `{}` belongs to user {uid}", path.display())]
    Stranger {
        /// The socket.
        path: PathBuf,
        /// Its user.
        uid: u32,
    },
}

impl FolderError {
    fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io {
            doing,
            path,
            source,
        }
    }
}

impl Key {
    /// The key of all that decides which session it is, in this order. Each part is told from the next by its length.
    pub fn of(parts: &[&[u8]]) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("kdbg 2026 name of a kept session");
        for part in parts {
            hasher.update(&part.len().to_le_bytes());
            hasher.update(part);
        }
        Self(hasher.finalize().to_hex().as_str()[..32].to_owned())
    }
}

impl Folder {
    /// The folder of this user: `$XDG_RUNTIME_DIR/kdbg`, or one in the folder for temporary files.
    pub fn ours() -> Self {
        let runtime = std::env::var_os("XDG_RUNTIME_DIR")
            .map(PathBuf::from)
            .filter(|path| path.is_absolute());
        let path = runtime.map_or_else(
            || std::env::temp_dir().join(format!("kdbg-{}", geteuid())),
            |runtime| runtime.join("kdbg"),
        );
        Self { path }
    }

    /// A folder of somebody's choice.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// The path of a key's socket.
    pub fn socket(&self, key: &Key) -> PathBuf {
        self.path.join(format!("{}.sock", key.0))
    }

    /// Whether there may be a keeper at all. Cheap: most commands have none.
    pub fn has_sockets(&self) -> bool {
        fs::read_dir(&self.path).is_ok_and(|mut entries| entries.next().is_some())
    }

    /// Makes the folder unless it is there, and checks that nobody else can enter it.
    fn make(&self) -> Result<File, FolderError> {
        match DirBuilder::new().mode(0o700).create(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(FolderError::io("make", &self.path)(error));
            }
            _ => {}
        }
        self.open()
    }

    /// Opens the folder, and checks that nobody else can enter it.
    fn open(&self) -> Result<File, FolderError> {
        let folder = OpenOptions::new()
            .read(true)
            .custom_flags((OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW).bits())
            .open(&self.path)
            .map_err(FolderError::io("open", &self.path))?;
        let metadata = folder
            .metadata()
            .map_err(FolderError::io("look at", &self.path))?;
        let (uid, mode) = (metadata.uid(), metadata.mode() & 0o7777);
        let reason = if uid != geteuid().as_raw() {
            format!("it belongs to user {uid}")
        } else if mode & OTHERS != 0 {
            format!("its mode is {mode:04o}")
        } else {
            return Ok(folder);
        };
        Err(FolderError::Unsafe {
            path: self.path.clone(),
            reason,
        })
    }

    fn lock(&self, folder: File) -> Result<Flock<File>, FolderError> {
        // Held for a few system calls only.
        Flock::lock(folder, FlockArg::LockExclusive)
            .map_err(|(_, errno)| FolderError::io("lock", &self.path)(errno.into()))
    }

    /// Listens for commands that need this session. The socket goes with its lender.
    pub async fn lend(&self, key: &Key) -> Result<Lender, FolderError> {
        let path = self.socket(key);
        if path.as_os_str().len() > PATH_LIMIT {
            return Err(FolderError::TooLong { path });
        }
        let lock = self.lock(self.make()?)?;
        if let Some(living) = connect(&path).await? {
            let pid = living.peer_cred().ok().and_then(|peer| peer.pid());
            return Err(FolderError::Taken { pid });
        }
        remove(&path)?;
        let listener = UnixListener::bind(&path).map_err(FolderError::io("listen on", &path))?;
        drop(lock);
        let inode = fs::symlink_metadata(&path)
            .map_err(FolderError::io("look at", &path))?
            .ino();
        Ok(Lender {
            listener,
            path,
            inode,
        })
    }

    /// Connects to the keeper of a session; `None` when nobody keeps it.
    pub(super) async fn find(&self, key: &Key) -> Result<Option<UnixStream>, FolderError> {
        let path = self.socket(key);
        if path.as_os_str().len() > PATH_LIMIT || fs::symlink_metadata(&path).is_err() {
            return Ok(None);
        }
        let folder = self.open()?;
        let Some(stream) = connect(&path).await? else {
            // Looked at again under the lock: a new keeper may just have come.
            let lock = self.lock(folder)?;
            if connect(&path).await?.is_none() {
                tracing::info!(path = %path.display(), "removed the socket of a keeper that is dead");
                remove(&path)?;
            }
            drop(lock);
            return Ok(None);
        };
        let uid = stream
            .peer_cred()
            .map_err(FolderError::io("ask for the user of", &path))?
            .uid();
        if uid == geteuid().as_raw() {
            Ok(Some(stream))
        } else {
            Err(FolderError::Stranger { path, uid })
        }
    }
}

/// Connects to a socket; `None` when it is not there, or nobody listens to it any more.
async fn connect(path: &Path) -> Result<Option<UnixStream>, FolderError> {
    match UnixStream::connect(path).await {
        Ok(stream) => Ok(Some(stream)),
        Err(error)
            if matches!(
                error.raw_os_error().map(Errno::from_raw),
                Some(Errno::ECONNREFUSED | Errno::ENOENT)
            ) =>
        {
            Ok(None)
        }
        Err(error) => Err(FolderError::io("connect to", path)(error)),
    }
}

fn remove(path: &Path) -> Result<(), FolderError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(FolderError::io("remove", path)(error))
        }
        _ => Ok(()),
    }
}

/// A socket on which commands ask for a session. Dropping it removes it.
#[derive(Debug)]
pub struct Lender {
    listener: UnixListener,
    path: PathBuf,
    /// Of the socket: whoever removed it by hand may have started another keeper.
    inode: u64,
}

impl Lender {
    /// Waits for a command of this user.
    pub(super) async fn accept(&self) -> io::Result<UnixStream> {
        loop {
            let (stream, _) = self.listener.accept().await?;
            let uid = stream.peer_cred()?.uid();
            if is_welcome(uid, geteuid().as_raw()) {
                return Ok(stream);
            }
            tracing::warn!(uid, "another user asked for a session, and gets none");
        }
    }

    /// Its socket.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Whether a user may have a session: its own user. Root could take it anyway, but then it should say so.
const fn is_welcome(uid: u32, ours: u32) -> bool {
    uid == ours
}

impl Drop for Lender {
    fn drop(&mut self) {
        let is_ours =
            fs::symlink_metadata(&self.path).is_ok_and(|metadata| metadata.ino() == self.inode);
        if is_ours {
            // Should it stay, the next command finds nobody behind it and removes it.
            let _ = fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    fn folder() -> (tempfile::TempDir, Folder) {
        let above = tempfile::tempdir().unwrap();
        let folder = Folder::at(above.path().join("kdbg"));
        (above, folder)
    }

    #[test]
    fn parts_of_a_key_do_not_run_into_each_other() {
        assert_eq!(Key::of(&[b"ab", b"c"]), Key::of(&[b"ab", b"c"]));
        let others: [&[&[u8]]; 4] = [
            &[b"a", b"bc"],
            &[b"abc"],
            &[b"ab", b"c", b""],
            &[b"c", b"ab"],
        ];
        for other in others {
            assert_ne!(Key::of(&[b"ab", b"c"]), Key::of(other), "{other:?}");
        }
    }

    #[tokio::test]
    async fn a_lender_is_found_by_its_key_alone_and_its_socket_goes_with_it() {
        let (_above, folder) = folder();
        let (key, other) = (Key::of(&[b"a"]), Key::of(&[b"b"]));
        assert!(!folder.has_sockets());
        let lender = folder.lend(&key).await.unwrap();
        assert!(folder.has_sockets());
        let (found, accepted) = tokio::join!(folder.find(&key), lender.accept());
        assert!(found.unwrap().is_some() && accepted.is_ok());
        assert!(folder.find(&other).await.unwrap().is_none());
        let mode = fs::metadata(&folder.path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        drop(lender);
        assert!(!folder.has_sockets());
        assert!(folder.find(&key).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn the_socket_of_a_dead_keeper_is_removed_by_whoever_notices() {
        let (_above, folder) = folder();
        let key = Key::of(&[b"a"]);
        drop(folder.make().unwrap());
        // A listener of std does not remove its socket, as a keeper that was killed has not.
        let die = || drop(std::os::unix::net::UnixListener::bind(folder.socket(&key)).unwrap());
        die();
        assert!(folder.has_sockets());
        assert!(folder.find(&key).await.unwrap().is_none());
        assert!(!folder.has_sockets());
        die();
        let lender = folder.lend(&key).await.unwrap();
        let Err(FolderError::Taken { pid }) = folder.lend(&key).await else {
            panic!("two keep the same");
        };
        assert_eq!(pid.map(i32::cast_unsigned), Some(std::process::id()));
        drop(lender);
    }

    #[tokio::test]
    async fn a_keeper_that_lost_its_socket_leaves_that_of_the_next_one_alone() {
        let (_above, folder) = folder();
        let key = Key::of(&[b"a"]);
        let first = folder.lend(&key).await.unwrap();
        fs::remove_file(folder.socket(&key)).unwrap();
        let second = folder.lend(&key).await.unwrap();
        drop(first);
        assert!(folder.find(&key).await.unwrap().is_some());
        drop(second);
    }

    #[tokio::test]
    async fn a_folder_that_others_can_enter_is_not_used() {
        let (above, folder) = folder();
        let key = Key::of(&[b"a"]);
        fs::create_dir(&folder.path).unwrap();
        fs::set_permissions(&folder.path, fs::Permissions::from_mode(0o755)).unwrap();
        drop(std::os::unix::net::UnixListener::bind(folder.socket(&key)).unwrap());
        let refused = |error: FolderError| matches!(error, FolderError::Unsafe { reason, .. } if reason.contains("0755"));
        assert!(refused(folder.lend(&key).await.unwrap_err()));
        assert!(refused(folder.find(&key).await.unwrap_err()));
        fs::set_permissions(&folder.path, fs::Permissions::from_mode(0o700)).unwrap();
        assert!(folder.find(&key).await.unwrap().is_none());
        // A link that somebody else has put where the folder would be leads nowhere.
        let link = Folder::at(above.path().join("link"));
        symlink(&folder.path, &link.path).unwrap();
        assert!(matches!(link.lend(&key).await, Err(FolderError::Io { .. })));
    }

    #[test]
    fn a_folder_of_another_user_is_not_used() {
        if !geteuid().is_root() {
            return;
        }
        let (_above, folder) = folder();
        drop(folder.make().unwrap());
        std::os::unix::fs::chown(&folder.path, Some(12345), None).unwrap();
        let error = folder.open().unwrap_err().to_string();
        assert!(error.contains("belongs to user 12345"), "{error}");
    }

    #[test]
    fn only_its_own_user_gets_a_session() {
        assert!(is_welcome(1000, 1000));
        assert!(!is_welcome(0, 1000));
        assert!(!is_welcome(1001, 1000));
    }

    #[tokio::test]
    async fn a_path_that_no_socket_can_have_is_refused_by_name() {
        let above = tempfile::tempdir().unwrap();
        let folder = Folder::at(above.path().join("x".repeat(120)));
        let key = Key::of(&[b"a"]);
        assert!(matches!(
            folder.lend(&key).await,
            Err(FolderError::TooLong { .. })
        ));
        assert!(folder.find(&key).await.unwrap().is_none());
    }
}
