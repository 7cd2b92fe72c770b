//! How a shell finds the applets: a folder of links that comes first in `PATH`, and a script of functions.
//!
//! The folder lies in the agent's own file system and lives as long as the command. The functions are for interactive
//! shells (`ENV`): Debian's busybox prefers its own `ps` and `env` to whatever lies in `PATH`, but not to a function.
//! Where no folder can be made, the script alone does, from memory. A link may lie where nothing may be executed
//! (`/dev/shm` mostly is `noexec`): what counts is where it leads.
//!
//! An agent that is killed cannot remove its folder. So each holds a lock on its own, which the kernel takes from it
//! however it ends, and whoever makes a folder removes those beside it that nobody holds. A number of a process would
//! tell less: a folder of this machine may be seen from several PID namespaces.

use std::{
    ffi::{CStr, OsStr},
    fs::{self, File},
    io::{self, Write as _},
    os::{
        fd::{AsRawFd as _, OwnedFd},
        unix::{ffi::OsStrExt as _, fs::symlink},
    },
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use bstr::BString;
use nix::{
    errno::Errno,
    fcntl::{self, Flock, FlockArg, OFlag},
    sys::{
        memfd::{MFdFlags, memfd_create},
        stat::{FileStat, Mode, fstat},
    },
    unistd::{UnlinkatFlags, mkdtemp, unlinkat},
};

use super::Applet;
use crate::{
    agent::target::errno_of,
    protocol::message::{Failure, Reading},
    sys::read_names,
};

/// Where a folder may be made, best first.
const PLACES: [&str; 3] = ["/tmp", "/var/tmp", "/dev/shm"];
/// How the names of folders begin.
const PREFIX: &str = ".kdbg-applets-";
/// The script of functions in a folder.
const SCRIPT: &str = ".functions";
/// By which a shell can start the agent itself.
const AGENT: &str = "kdbg-agent";

/// Folders that are there, to be removed even when their thread does not get to it.
static MADE: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// What a command needs to find the applets. It is gone once this is dropped.
pub(in crate::agent) struct Folder {
    links: Reading<PathBuf>,
    script: Option<PathBuf>,
    /// Says that the folder is in use. `None` where a file system has no locks: nobody takes it for dead there.
    _lock: Option<Flock<OwnedFd>>,
    /// Holds the script where there is no folder.
    _memory: Option<File>,
}

impl Folder {
    /// Makes one, as far as possible, for a command with the file-system ids that this thread has now.
    pub(in crate::agent) fn make() -> Self {
        Self::make_in(&PLACES.map(Path::new))
    }

    fn make_in(places: &[&Path]) -> Self {
        let doing = "offer the agent's own programs";
        let program = match program() {
            Ok(program) => program,
            Err(errno) => {
                return Self {
                    links: Reading::Unavailable(Failure::new(doing, errno.into())),
                    script: None,
                    _lock: None,
                    _memory: None,
                };
            }
        };
        let mut refused = Errno::ENOENT;
        for place in places {
            match fill(place, &program) {
                Ok((folder, lock)) => {
                    return Self {
                        script: Some(folder.join(SCRIPT)),
                        links: Reading::Known(folder),
                        _lock: lock,
                        _memory: None,
                    };
                }
                Err(errno) => refused = errno,
            }
        }
        let memory = keep_in_memory(&program).ok();
        let script = memory.as_ref().map(|memory| {
            let own = std::process::id();
            PathBuf::from(format!("/proc/{own}/fd/{}", memory.as_raw_fd()))
        });
        let tried: Vec<_> = places
            .iter()
            .map(|place| place.display().to_string())
            .collect();
        let doing = format!(
            "make a folder for the agent's own programs in {}",
            tried.join(", ")
        );
        Self {
            links: Reading::Unavailable(Failure::new(doing, refused.into())),
            script,
            _lock: None,
            _memory: memory,
        }
    }

    /// The folder of links, or why there is none.
    pub(in crate::agent) fn links(&self) -> Reading<BString> {
        match &self.links {
            Reading::Known(path) => Reading::Known(path.as_os_str().as_bytes().into()),
            Reading::Unavailable(failure) => Reading::Unavailable(failure.clone()),
        }
    }

    /// What an interactive shell reads when it starts (`ENV`).
    pub(in crate::agent) fn script(&self) -> Option<&Path> {
        self.script.as_deref()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if let Reading::Known(folder) = &self.links {
            remove(folder);
            made().retain(|other| other != folder);
        }
    }
}

/// Removes what is left when the agent ends.
pub fn remove_all() {
    for folder in made().drain(..) {
        remove(&folder);
    }
}

fn made() -> std::sync::MutexGuard<'static, Vec<PathBuf>> {
    MADE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Only what was put there: a shell may have put something beside it.
fn remove(folder: &Path) {
    for name in content() {
        // Somebody may have removed it.
        let _ = fs::remove_file(folder.join(name));
    }
    let _ = fs::remove_dir(folder);
}

/// The names of all that is put into a folder.
fn content() -> impl Iterator<Item = &'static str> {
    let links = Applet::ALL.map(Applet::name);
    links.into_iter().chain([AGENT, SCRIPT])
}

/// A folder, no link to one.
const ITSELF: OFlag = OFlag::O_DIRECTORY
    .union(OFlag::O_NOFOLLOW)
    .union(OFlag::O_CLOEXEC);

/// Opens a folder.
fn open(path: &Path) -> Result<OwnedFd, Errno> {
    fcntl::open(path, ITSELF, Mode::empty())
}

/// Locks a folder, without waiting for whoever has it locked.
fn lock(folder: OwnedFd) -> Result<Flock<OwnedFd>, Errno> {
    Flock::lock(folder, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| errno)
}

/// Makes an empty folder that says it is in use.
fn make(place: &Path) -> Result<(PathBuf, Option<Flock<OwnedFd>>), Errno> {
    let folder = mkdtemp(&place.join(format!("{PREFIX}XXXXXX")))?;
    // Another agent may take it for a dead one's before it is locked: it is gone then, or about to be.
    let taken = |_| Errno::EAGAIN;
    let lock = match lock(open(&folder).map_err(taken)?) {
        Ok(lock) if fstat(&*lock)?.st_nlink == 0 => return Err(Errno::EAGAIN),
        Ok(lock) => Some(lock),
        Err(Errno::EWOULDBLOCK) => return Err(Errno::EAGAIN),
        Err(_) => None,
    };
    made().push(folder.clone());
    sweep(place, lock.as_ref());
    Ok((folder, lock))
}

/// Removes the folders that agents have left in a place which were killed. `own` is one that this agent holds.
fn sweep(place: &Path, own: Option<&Flock<OwnedFd>>) {
    let Some(Ok(own)) = own.map(|own| fstat(&**own)) else {
        return;
    };
    let Ok(place) = open(place) else {
        return;
    };
    let mut buffer = [0; 4096];
    while let Ok(names) = read_names(&place, &mut buffer)
        && !names.is_end()
    {
        for (name, _) in names {
            if name.to_bytes().starts_with(PREFIX.as_bytes()) {
                // It stays, then.
                let _ = remove_dead(&place, name, &own);
            }
        }
    }
}

/// Removes a folder when it is like our own and nobody holds it.
fn remove_dead(place: &OwnedFd, name: &CStr, own: &FileStat) -> Result<(), Errno> {
    let folder = fcntl::openat(place, name, ITSELF, Mode::empty())?;
    let found = fstat(&folder)?;
    if (found.st_uid, found.st_mode) != (own.st_uid, own.st_mode) {
        return Ok(());
    }
    let folder = lock(folder)?;
    for name in content() {
        let _ = unlinkat(&*folder, name, UnlinkatFlags::NoRemoveDir);
    }
    unlinkat(place, name, UnlinkatFlags::RemoveDir)
}

/// A name by which the command can execute this program.
fn program() -> Result<PathBuf, Errno> {
    let of = |error: io::Error| errno_of(&error);
    let name = fs::read_link("/proc/self/exe").map_err(of)?;
    // From memory, or replaced: it can be had as long as this process lives, by whoever may look into it.
    let program = if name.is_absolute() && is_us(&name) {
        name
    } else {
        PathBuf::from(format!("/proc/{}/exe", std::process::id()))
    };
    // With the ids of the command: whoever may not read it may hardly execute it.
    File::open(&program).map_err(of)?;
    Ok(program)
}

fn is_us(name: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let number = |path: &Path| {
        fs::metadata(path)
            .map(|found| (found.dev(), found.ino()))
            .ok()
    };
    number(name).is_some_and(|named| number(Path::new("/proc/self/exe")) == Some(named))
}

fn fill(place: &Path, program: &Path) -> Result<(PathBuf, Option<Flock<OwnedFd>>), Errno> {
    let (folder, lock) = match make(place) {
        Err(Errno::EAGAIN) => make(place)?,
        made => made?,
    };
    let filled = (|| {
        for applet in Applet::ALL {
            symlink(program, folder.join(applet.name()))?;
        }
        symlink(program, folder.join(AGENT))?;
        fs::write(folder.join(SCRIPT), functions(program))
    })();
    if let Err(error) = filled {
        remove(&folder);
        made().retain(|other| other != &folder);
        return Err(errno_of(&error));
    }
    Ok((folder, lock))
}

fn keep_in_memory(program: &Path) -> io::Result<File> {
    let mut memory = File::from(memfd_create(c"kdbg-functions", MFdFlags::MFD_CLOEXEC)?);
    memory.write_all(&functions(program))?;
    Ok(memory)
}

/// A function for each applet. Every shell of a debugging image understands them.
fn functions(program: &Path) -> Vec<u8> {
    let quoted = quoted(program.as_os_str());
    let mut script = Vec::new();
    for applet in Applet::ALL {
        let name = applet.name().as_bytes();
        let parts: [&[u8]; 6] = [name, b"() { ", &quoted, b" ", name, b" \"$@\"; }\n"];
        script.extend(parts.concat());
    }
    script
}

fn quoted(text: &OsStr) -> Vec<u8> {
    let mut quoted = vec![b'\''];
    for byte in text.as_bytes() {
        match byte {
            b'\'' => quoted.extend_from_slice(b"'\\''"),
            other => quoted.push(*other),
        }
    }
    quoted.push(b'\'');
    quoted
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_folder_is_made_in_the_first_place_that_takes_it_and_goes_with_its_command() {
        let place = tempfile::tempdir().unwrap();
        let nowhere = place.path().join("nowhere");
        let made = Folder::make_in(&[&nowhere, place.path()]);
        let Reading::Known(folder) = &made.links else {
            panic!("{:?}", made.links);
        };
        let folder = folder.clone();
        let ours = fs::read_link("/proc/self/exe").unwrap();
        for applet in Applet::ALL {
            assert_eq!(fs::read_link(folder.join(applet.name())).unwrap(), ours);
        }
        assert!(made.script().unwrap().starts_with(&folder));
        drop(made);
        assert!(!folder.exists());
        assert!(fs::read_dir(place.path()).unwrap().next().is_none());
    }

    #[test]
    fn what_a_killed_agent_has_left_goes_with_the_next_one_and_nothing_else() {
        let place = tempfile::tempdir().unwrap();
        let folder = |name: &str, mode: u32| {
            let path = place.path().join(format!("{PREFIX}{name}"));
            fs::create_dir(&path).unwrap();
            symlink("/nowhere", path.join("ps")).unwrap();
            fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
            path
        };
        let dead = folder("dead", 0o700);
        let open_to_others = folder("others", 0o755);
        let with_more = folder("more", 0o700);
        fs::write(with_more.join("notes"), "mine").unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        symlink("/nowhere", elsewhere.path().join("ps")).unwrap();
        let link = place.path().join(format!("{PREFIX}link"));
        symlink(elsewhere.path(), &link).unwrap();
        let strangers = nix::unistd::geteuid().is_root().then(|| {
            let path = folder("strangers", 0o700);
            std::os::unix::fs::chown(&path, Some(12345), None).unwrap();
            path
        });
        let living = Folder::make_in(&[place.path()]);
        assert!(!dead.exists());
        let Reading::Known(alive) = &living.links else {
            panic!("{:?}", living.links);
        };
        let next = Folder::make_in(&[place.path()]);
        assert!(alive.join("ps").is_symlink());
        assert!(open_to_others.join("ps").is_symlink());
        assert!(elsewhere.path().join("ps").is_symlink() && link.is_symlink());
        assert_eq!(fs::read(with_more.join("notes")).unwrap(), b"mine");
        if let Some(strangers) = strangers {
            assert!(strangers.join("ps").is_symlink());
        }
        drop((living, next));
    }

    #[test]
    fn agents_that_make_their_folders_at_once_leave_each_other_alone() {
        let place = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..100 {
                        let made = Folder::make_in(&[place.path()]);
                        let Reading::Known(folder) = &made.links else {
                            panic!("{:?}", made.links);
                        };
                        assert_eq!(fs::read_dir(folder).unwrap().count(), content().count());
                    }
                });
            }
        });
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 0);
    }

    #[test]
    fn without_any_place_the_functions_come_from_memory() {
        let made = Folder::make_in(&[Path::new("/proc"), Path::new("/nowhere")]);
        let Reading::Unavailable(failure) = made.links() else {
            panic!("/proc takes no folder");
        };
        assert!(
            failure.to_string().contains("in /proc, /nowhere"),
            "{failure}"
        );
        // a shell of another program, as the one beside a target is
        let script = made.script().unwrap();
        let asked = Command::new("sh")
            .args(["-c", r#". "$0"; type ps; type env"#])
            .arg(script)
            .output()
            .unwrap();
        let said = String::from_utf8(asked.stdout).unwrap();
        assert_eq!(said.matches("function").count(), 2, "{said}");
    }

    #[test]
    fn no_path_ends_its_quotes() {
        let path = OsStr::new("/a 'b' $(id)");
        let line = [b"printf %s ".as_slice(), &quoted(path)].concat();
        let shell = Command::new("sh")
            .arg("-c")
            .arg(OsStr::from_bytes(&line))
            .output()
            .unwrap();
        assert_eq!(shell.stdout, path.as_bytes());
    }
}
