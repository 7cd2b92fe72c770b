//! Getting a repository from a URL: a bare clone in the user's cache, made once and brought up to date.
//!
//! The clone has the remote's branches as its own, its tags, its HEAD, and as far as the server gives them the
//! heads of pull requests (`refs/pull/N/head`, `refs/merge-requests/N/head`). It holds no checkout, and its
//! settings no credentials.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use super::cache::{self, CacheEntry};
use super::command::{Ended, GitCommand, Outcome};
use super::error::{FetchFailure, GitError};
use super::progress::{self, Progress};
use super::repository::Repository;
use super::url;

const BRANCHES_AND_TAGS: [&str; 2] = ["+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*"];
const PULL_REQUESTS: [&str; 2] = [
    "+refs/pull/*/head:refs/pull/*/head",
    "+refs/merge-requests/*/head:refs/merge-requests/*/head",
];

/// How a fetch goes about it.
#[derive(Clone, Debug)]
pub struct FetchOptions {
    /// The git program.
    pub program: OsString,
    /// The longest silence of git before it is ended.
    pub stall_timeout: Duration,
    /// The longest wait for another kdbg that works on the same clone.
    pub lock_timeout: Duration,
    /// Whether the heads of pull requests are wanted too.
    pub pull_requests: bool,
    /// Set from elsewhere (Ctrl-C), it ends the fetch.
    pub cancel: Arc<AtomicBool>,
}

impl Default for FetchOptions {
    fn default() -> Self {
        Self {
            program: "git".into(),
            stall_timeout: Duration::from_mins(2),
            lock_timeout: Duration::from_mins(10),
            pull_requests: true,
            cancel: Arc::default(),
        }
    }
}

/// A clone that is up to date.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    /// The bare repository, for [`Repository::open`].
    pub path: PathBuf,
    /// Whether it was made now rather than updated.
    pub is_new: bool,
    /// What could not be had and is not needed for the rest, as sentences.
    pub notices: Vec<String>,
}

/// The directory for kdbg's caches: `$XDG_CACHE_HOME/kdbg`, else `~/.cache/kdbg`.
pub fn default_cache_dir() -> Result<PathBuf, GitError> {
    use etcetera::BaseStrategy as _;
    let strategy = etcetera::base_strategy::Xdg::new().map_err(|_| GitError::NoCacheDir)?;
    Ok(strategy.cache_dir().join("kdbg"))
}

/// Brings the clone of `url` below `cache_dir` up to date, making it first when there is none.
///
/// Uses the git command line with the user's credential helpers, proxies and ssh settings, and never asks for
/// anything. Nothing half-made is left at the clone's place, whenever this ends. Two at once take turns.
///
/// The URL is an argument of git and of its helpers, so a password in it is visible to other users of this
/// machine while they run; that is git's design, and why credential helpers exist.
pub fn fetch(
    url: &str,
    cache_dir: &Path,
    options: &FetchOptions,
    progress: &mut dyn FnMut(Progress),
) -> Result<Fetched, GitError> {
    url::check(url)?;
    let entry = CacheEntry::new(cache_dir, url)?;
    let lock = entry.lock(options.lock_timeout, &options.cancel, &mut || {
        progress(Progress::Waiting);
    })?;
    let Some(_lock) = lock else {
        return Err(GitError::Cancelled {
            url: url::redact(url),
        });
    };
    entry.clean()?;
    let mut job = Job {
        url,
        options,
        entry: &entry,
        progress,
        stale: None,
    };
    let is_new = Repository::open(&entry.repository).is_err();
    if is_new {
        job.clone_new()?;
    } else {
        job.stale = Some(entry.repository.clone());
        job.update()?;
    }
    let mut notices = Vec::new();
    if options.pull_requests {
        match job.fetch_refs(&PULL_REQUESTS) {
            Ok(()) => {}
            Err(error @ (GitError::Cancelled { .. } | GitError::GitNotStarted { .. })) => {
                return Err(error);
            }
            Err(error) => notices.push(format!("pull requests could not be fetched: {error}")),
        }
    }
    Ok(Fetched {
        path: entry.repository.clone(),
        is_new,
        notices,
    })
}

struct Job<'a> {
    url: &'a str,
    options: &'a FetchOptions,
    entry: &'a CacheEntry,
    progress: &'a mut dyn FnMut(Progress),
    stale: Option<PathBuf>,
}

impl Job<'_> {
    fn clone_new(&mut self) -> Result<(), GitError> {
        let mut command = self.command();
        // An empty template: no hooks and no settings come along from the system's.
        command.args([
            "clone",
            "--bare",
            "--progress",
            "--template=",
            "--origin=origin",
            "--",
        ]);
        command.arg(self.url).arg(&self.entry.partial);
        let made = self.run("clone", command).and_then(|_| {
            write_config(&self.entry.partial)?;
            let description = self.entry.partial.join("description");
            let text = format!("kdbg's clone of {}\n", url::redact(self.url));
            fs::write(&description, text).map_err(cache::failed("write", &description))?;
            self.entry.publish()
        });
        if made.is_err() {
            // The first error is the one to tell.
            let _ = cache::remove(&self.entry.partial);
        }
        made
    }

    fn update(&mut self) -> Result<(), GitError> {
        self.fetch_refs(&BRANCHES_AND_TAGS)?;
        let mut command = self.command();
        command.arg(git_dir(&self.entry.repository));
        command
            .args(["ls-remote", "--symref", "--"])
            .arg(self.url)
            .arg("HEAD");
        let listed = self.run("ls-remote", command)?;
        match parse_head(&listed.stdout) {
            Some(branch) => write_head(&self.entry.repository, &branch),
            // Detached, or an empty remote: what was known stays.
            None => Ok(()),
        }
    }

    fn fetch_refs(&mut self, refspecs: &[&str]) -> Result<(), GitError> {
        let mut command = self.command();
        command.arg(git_dir(&self.entry.repository));
        command.args([
            "fetch",
            "--progress",
            "--prune",
            "--no-tags",
            "--force",
            "--no-recurse-submodules",
            "--",
        ]);
        command.arg(self.url);
        command.args(refspecs.iter().copied());
        self.run("fetch", command).map(drop)
    }

    fn command(&self) -> GitCommand {
        GitCommand::new(&self.options.program, &self.entry.root)
    }

    fn run(&mut self, operation: &'static str, command: GitCommand) -> Result<Outcome, GitError> {
        (self.progress)(Progress::Connecting);
        let mut on_line = |line: &str| match progress::parse(line) {
            Some(step) => {
                (self.progress)(step);
                true
            }
            None => false,
        };
        let outcome = command
            .run(
                self.options.stall_timeout,
                &self.options.cancel,
                &mut on_line,
            )
            .map_err(|source| GitError::GitNotStarted {
                program: self.options.program.to_string_lossy().into_owned(),
                source,
            })?;
        let url = url::redact(self.url);
        match outcome.ended {
            Ended::Exited(status) if status.success() => Ok(outcome),
            Ended::Exited(status) => Err(GitError::Fetch {
                operation,
                url,
                status: status.to_string(),
                failure: classify(&outcome.stderr),
                stderr: outcome.stderr,
                stale: self.stale.clone(),
            }),
            Ended::Stalled => Err(GitError::Stalled {
                operation,
                url,
                timeout: self.options.stall_timeout,
                stderr: outcome.stderr,
                stale: self.stale.clone(),
            }),
            Ended::Cancelled => Err(GitError::Cancelled { url }),
        }
    }
}

/// Named outright, the directory is used as it is: git does not search and does not mind a bare repository.
fn git_dir(repository: &Path) -> OsString {
    let mut argument = OsString::from("--git-dir=");
    argument.push(repository);
    argument
}

/// Replaces the settings of a fresh clone by the few that say how it is stored: `git clone` writes the URL
/// with its credentials there.
fn write_config(repository: &Path) -> Result<(), GitError> {
    let config = repository.join("config");
    let written = fs::read_to_string(&config).map_err(cache::failed("read", &config))?;
    let sha256 = written.lines().any(|line| {
        line.split_once('=').is_some_and(|(key, value)| {
            key.trim().eq_ignore_ascii_case("objectformat")
                && value.trim().eq_ignore_ascii_case("sha256")
        })
    });
    let text = if sha256 {
        "[core]\n\trepositoryformatversion = 1\n\tbare = true\n[extensions]\n\tobjectformat = sha256\n"
    } else {
        "[core]\n\trepositoryformatversion = 0\n\tbare = true\n"
    };
    fs::write(&config, text).map_err(cache::failed("write", &config))
}

/// The branch in `ref: refs/heads/main<TAB>HEAD`.
fn parse_head(listed: &[u8]) -> Option<String> {
    let listed = std::str::from_utf8(listed).ok()?;
    let branch = listed
        .lines()
        .find_map(|line| line.strip_prefix("ref: ")?.strip_suffix("\tHEAD"))?;
    let forbidden = |letter: char| letter.is_control() || " ~^:?*[\\".contains(letter);
    let is_sound =
        branch.starts_with("refs/heads/") && !branch.contains("..") && !branch.contains(forbidden);
    is_sound.then(|| branch.to_owned())
}

/// Points HEAD to a branch, as a whole or not at all.
fn write_head(repository: &Path, branch: &str) -> Result<(), GitError> {
    let head = repository.join("HEAD");
    let content = format!("ref: {branch}\n");
    if fs::read(&head).is_ok_and(|current| current == content.as_bytes()) {
        return Ok(());
    }
    let beside = repository.join("HEAD.lock");
    fs::write(&beside, content).map_err(cache::failed("write", &beside))?;
    fs::rename(&beside, &head).map_err(cache::failed("move", &beside))
}

fn classify(stderr: &str) -> FetchFailure {
    let says = |words: &[&str]| words.iter().any(|word| stderr.contains(word));
    if says(&["detected dubious ownership"]) {
        FetchFailure::DubiousOwnership
    } else if says(&["Host key verification failed"]) {
        FetchFailure::HostKey
    } else if says(&[
        "could not read Username",
        "could not read Password",
        "Authentication failed",
        "Permission denied (",
        "Invalid username or",
        "returned error: 401",
        "returned error: 403",
    ]) {
        FetchFailure::Authentication
    } else if says(&[
        "SSL certificate problem",
        "certificate verif",
        "unable to get local issuer",
    ]) {
        FetchFailure::Certificate
    } else if says(&["No space left on device"]) {
        FetchFailure::DiskFull
    } else if says(&["mismatched algorithms"]) {
        FetchFailure::StaleCache
    } else if says(&[
        "Could not resolve host",
        "Could not resolve hostname",
        "unable to look up",
        "Failed to connect",
        "Couldn't connect",
        "Connection refused",
        "Connection timed out",
        "Network is unreachable",
        "No route to host",
    ]) {
        FetchFailure::Unreachable
    } else if says(&[
        "does not appear to be a git repository",
        "does not exist",
        "not found",
        "Repository not found",
        "Could not read from remote repository",
    ]) {
        FetchFailure::NoSuchRepository
    } else {
        FetchFailure::Other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_branch_is_read_and_checked() {
        let listed = b"ref: refs/heads/main\tHEAD\n0123\tHEAD\n";
        assert_eq!(parse_head(listed).as_deref(), Some("refs/heads/main"));
        for bad in [
            &b"0123\tHEAD\n"[..],
            b"",
            b"ref: refs/heads/../../config\tHEAD\n",
            b"ref: /etc/passwd\tHEAD\n",
            b"ref: refs/heads/a b\tHEAD\n",
            b"\xff\n",
        ] {
            assert_eq!(parse_head(bad), None);
        }
    }

    #[test]
    fn gits_words_become_kinds_of_failures() {
        let cases = [
            (
                "fatal: could not read Username for 'https://example.invalid': terminal prompts disabled",
                FetchFailure::Authentication,
            ),
            (
                "git@example.invalid: Permission denied (publickey).",
                FetchFailure::Authentication,
            ),
            (
                "fatal: unable to access 'x': Could not resolve host: example.invalid",
                FetchFailure::Unreachable,
            ),
            (
                "fatal: repository 'https://example.invalid/a/' not found",
                FetchFailure::NoSuchRepository,
            ),
            (
                "Host key verification failed.\nfatal: Could not read from remote repository.",
                FetchFailure::HostKey,
            ),
            (
                "fatal: detected dubious ownership in repository at '/a'",
                FetchFailure::DubiousOwnership,
            ),
            ("fatal: something new", FetchFailure::Other),
        ];
        for (words, expected) in cases {
            assert_eq!(classify(words), expected, "{words}");
        }
    }

    #[test]
    fn credentials_do_not_stay_in_the_settings() {
        let directory = tempfile::tempdir().unwrap();
        let config = directory.path().join("config");
        let written = "[core]\n\trepositoryformatversion = 1\n[remote \"origin\"]\n\turl = https://u:pw@h.invalid\n[extensions]\n\tobjectformat = sha256\n";
        fs::write(&config, written).unwrap();
        write_config(directory.path()).unwrap();
        let text = fs::read_to_string(config).unwrap();
        assert!(!text.contains("pw") && text.contains("objectformat = sha256"));
    }
}
