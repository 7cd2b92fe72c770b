//! What can go wrong with a repository or a remote, and what would help.
//!
//! One variant an operation, each naming the object it failed on. The library's own error stays behind as
//! the source: its text is printed, its type is not part of any interface.

use std::path::PathBuf;
use std::time::Duration;

use bstr::BString;

use super::BoxedError;
use crate::object::ObjectId;

/// A repository could not be read, or a remote not be fetched.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GitError {
    /// There is nothing at the path.
    #[error("there is no file or directory at `{}`", path.display())]
    NoSuchPath {
        /// The path that was given.
        path: PathBuf,
    },
    /// The path exists and is not a repository.
    #[error("`{}` is not a git repository", path.display())]
    NotARepository {
        /// The path that was given.
        path: PathBuf,
        /// The repository around the path, when there is one.
        enclosing: Option<PathBuf>,
        /// What was missing.
        #[source]
        source: BoxedError,
    },
    /// No repository was found at or above a directory.
    #[error("there is no git repository in `{}` or in any directory above it", start.display())]
    NotInRepository {
        /// Where the search began.
        start: PathBuf,
        /// How the search ended.
        #[source]
        source: BoxedError,
    },
    /// A file of the repository may not be read.
    #[error("not allowed to read `{}`", path.display())]
    PermissionDenied {
        /// The file or directory that is closed.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: BoxedError,
    },
    /// A file of the repository is a pipe, a socket or a device: reading it could wait for ever.
    #[error("`{}` is not a regular file, so the repository is not read", path.display())]
    SpecialFile {
        /// The file in question.
        path: PathBuf,
    },
    /// The repository is stored in a way that this version does not read.
    #[error("the repository `{}` uses {what}, which kdbg does not read", path.display())]
    Unsupported {
        /// The repository.
        path: PathBuf,
        /// What it uses.
        what: String,
    },
    /// The repository's settings or files are damaged.
    #[error("cannot open the repository `{}`", path.display())]
    Open {
        /// The repository.
        path: PathBuf,
        /// What is damaged.
        #[source]
        source: BoxedError,
    },
    /// The repository has no commit yet.
    #[error("the repository `{}` has no commits", path.display())]
    EmptyRepository {
        /// The repository.
        path: PathBuf,
    },
    /// No branch, tag or object has this name.
    #[error("the ref `{spec}` is not in the repository `{}`", path.display())]
    UnknownRef {
        /// What was asked for.
        spec: String,
        /// The repository.
        path: PathBuf,
        /// Names of refs that look like it, the nearest first.
        candidates: Vec<String>,
        /// Whether the repository has only its newest commits.
        shallow: bool,
    },
    /// The ref exists in several remotes and none of them is `origin`.
    #[error("the ref `{spec}` is in several remotes")]
    AmbiguousRemote {
        /// What was asked for.
        spec: String,
        /// The refs that match.
        candidates: Vec<String>,
    },
    /// An abbreviated id begins the names of several objects.
    #[error("the abbreviated id `{spec}` fits several objects")]
    AmbiguousId {
        /// What was asked for.
        spec: String,
        /// The objects: id, kind, and date and subject of commits.
        candidates: Vec<String>,
    },
    /// The ref is well formed but leads nowhere, or is not one commit.
    #[error("the ref `{spec}` cannot be resolved")]
    Unresolvable {
        /// What was asked for.
        spec: String,
        /// Whether the repository has only its newest commits.
        shallow: bool,
        /// Why.
        #[source]
        source: BoxedError,
    },
    /// The ref names a file's content, not a commit or a folder.
    #[error("the ref `{spec}` names a {kind}, not a commit or a tree")]
    NotATree {
        /// What was asked for.
        spec: String,
        /// What it is: `blob` or another kind of object.
        kind: String,
    },
    /// The path is not in the tree of the ref.
    #[error("the path `{path}` is not in the tree of `{commit}`")]
    PathNotInTree {
        /// The path that was asked for.
        path: BString,
        /// The commit, abbreviated.
        commit: String,
        /// Paths of that tree that look like it, the nearest first.
        candidates: Vec<BString>,
    },
    /// A tree has more entries than are read.
    #[error("the tree of `{commit}` has more than {limit} entries")]
    TreeTooLarge {
        /// The commit, abbreviated.
        commit: String,
        /// The most that is read.
        limit: usize,
    },
    /// The object is named but not there.
    #[error("the object {id} is missing from the repository `{}`{}", path.display(), missing_why(promisor.as_deref(), *shallow))]
    MissingObject {
        /// The object's name.
        id: ObjectId,
        /// The repository.
        path: PathBuf,
        /// The remote that has promised the missing objects: a partial clone.
        promisor: Option<String>,
        /// Whether the repository has only its newest commits.
        shallow: bool,
    },
    /// The object's bytes are not what its name says.
    #[error("the object {id} is damaged in the repository `{}`", path.display())]
    CorruptObject {
        /// The object's name.
        id: ObjectId,
        /// The repository.
        path: PathBuf,
        /// What does not fit.
        #[source]
        source: BoxedError,
    },
    /// The object is larger than is read into memory.
    #[error("the object {id} is larger than {limit} bytes")]
    ObjectTooLarge {
        /// The object's name.
        id: ObjectId,
        /// The most that is read.
        limit: usize,
        /// The library's own words.
        #[source]
        source: BoxedError,
    },
    /// The object is of another kind than its use demands.
    #[error("the object {id} is a {actual}, not a {expected}")]
    WrongKind {
        /// The object's name.
        id: ObjectId,
        /// What was needed.
        expected: &'static str,
        /// What it is.
        actual: String,
    },
    /// No ref has a name that fits a pattern.
    #[error("no ref of `{}` fits `{pattern}`", path.display())]
    NoSuchRefs {
        /// The pattern.
        pattern: String,
        /// The repository.
        path: PathBuf,
    },
    /// The reading of a history was ended from elsewhere.
    #[error("the history of `{}` was not read to its end", path.display())]
    HistoryCancelled {
        /// The repository.
        path: PathBuf,
    },
    /// The refs could not be listed.
    #[error("cannot list the refs of the repository `{}`", path.display())]
    ListRefs {
        /// The repository.
        path: PathBuf,
        /// Why.
        #[source]
        source: BoxedError,
    },
    /// The URL's transport can run programs or is unknown.
    #[error("the transport `{transport}` of `{url}` is refused")]
    TransportRefused {
        /// The URL, without credentials.
        url: String,
        /// The transport it asks for.
        transport: String,
    },
    /// The URL is malformed, or written to be taken for an option.
    #[error("`{url}` is not a usable URL: {reason}")]
    InvalidUrl {
        /// The URL, without credentials.
        url: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// There is no git program.
    #[error("cannot start the git program `{program}`")]
    GitNotStarted {
        /// The program that was tried.
        program: String,
        /// The system's answer.
        #[source]
        source: std::io::Error,
    },
    /// git gave up.
    #[error("`git {operation}` failed for `{url}`: {}", last_line(stderr))]
    Fetch {
        /// The git command.
        operation: &'static str,
        /// The URL, without credentials.
        url: String,
        /// The exit status in words.
        status: String,
        /// The end of what git said, without credentials and control characters.
        stderr: String,
        /// What kind of failure its words show.
        failure: FetchFailure,
        /// An older clone of the same URL, which can still be read.
        stale: Option<PathBuf>,
    },
    /// git said nothing for too long.
    #[error("`git {operation}` for `{url}` made no progress for {} s; it last said: {}", timeout.as_secs(), last_line(stderr))]
    Stalled {
        /// The git command.
        operation: &'static str,
        /// The URL, without credentials.
        url: String,
        /// How long was waited.
        timeout: Duration,
        /// The end of what git said.
        stderr: String,
        /// An older clone of the same URL, which can still be read.
        stale: Option<PathBuf>,
    },
    /// Another kdbg works on the same clone and does not finish.
    #[error("waited {} s for another kdbg that holds `{}`", timeout.as_secs(), lock.display())]
    CacheLocked {
        /// The lock file.
        lock: PathBuf,
        /// How long was waited.
        timeout: Duration,
    },
    /// The caller cancelled the fetch.
    #[error("the fetch of `{url}` was interrupted")]
    Cancelled {
        /// The URL, without credentials.
        url: String,
    },
    /// The cache directory belongs to somebody else, who could make git run programs from it.
    #[error("the cache directory `{}` belongs to user {owner}", path.display())]
    CacheNotOwned {
        /// The directory.
        path: PathBuf,
        /// Its owner's uid.
        owner: u32,
    },
    /// There is no place for the cache.
    #[error("cannot find the cache directory: neither XDG_CACHE_HOME nor HOME names one")]
    NoCacheDir,
    /// A file of the cache could not be made, moved or removed.
    #[error("cannot {operation} `{}`", path.display())]
    Cache {
        /// What was tried.
        operation: &'static str,
        /// On which file.
        path: PathBuf,
        /// The system's answer.
        #[source]
        source: std::io::Error,
    },
}

/// What a failed fetch was about, as far as git's words show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FetchFailure {
    /// The server wants credentials or does not accept ours.
    Authentication,
    /// ssh does not know the server's key.
    HostKey,
    /// The name of the server is unknown, or nothing answers there.
    Unreachable,
    /// The server answers and has no such repository.
    NoSuchRepository,
    /// git refuses a repository of this machine that another user owns.
    DubiousOwnership,
    /// The certificate of the server is not trusted.
    Certificate,
    /// The disk is full.
    DiskFull,
    /// The clone in the cache does not fit the remote any more.
    StaleCache,
    /// Anything else.
    Other,
}

impl GitError {
    /// What the user can do about it, one sentence each; the most useful first.
    #[must_use]
    pub fn hints(&self) -> Vec<String> {
        match self {
            Self::NoSuchPath { .. } => {
                vec!["`--repo` takes a work tree, a bare repository, a `.git` folder or a URL".into()]
            }
            Self::NotARepository { enclosing, .. } => match enclosing {
                Some(path) => vec![format!("it lies inside the repository {}", quote(path))],
                None => vec!["`--repo` takes a work tree, a bare repository, a `.git` folder or a URL".into()],
            },
            Self::NotInRepository { .. } => {
                vec!["name the repository with `--repo PATH` or `--repo URL`".into()]
            }
            Self::PermissionDenied { path, .. } => {
                vec![format!("run as a user who may read {}, or name a clone of your own", quote(path))]
            }
            Self::SpecialFile { .. } => {
                vec!["a repository that holds a pipe or a device was made to block its readers: clone it afresh".into()]
            }
            Self::Unsupported { path, .. } => vec![format!(
                "`git clone --bare --ref-format=files {} COPY` makes a copy that can be read",
                quote(path)
            )],
            Self::Open { path, .. } => vec![format!("`git -C {} fsck` says what is damaged", quote(path))],
            Self::EmptyRepository { .. } => vec!["commit something, or name another repository".into()],
            Self::UnknownRef { spec, path, candidates, shallow } => {
                unknown_ref_hints(spec, path, candidates, *shallow)
            }
            Self::AmbiguousRemote { candidates, .. } | Self::AmbiguousId { candidates, .. } => {
                vec![format!("use one of: {}", candidates.join(", "))]
            }
            Self::NoSuchRefs { path, .. } => vec![format!(
                "`git -C {} for-each-ref` lists the refs; pull requests are fetched by `git fetch origin 'refs/pull/*/head:refs/pull/*/head'`",
                quote(path)
            )],
            Self::Unresolvable { shallow: true, .. } => vec![unshallow_hint(None)],
            Self::NotATree { .. } => vec!["name a commit and choose files with `--path`".into()],
            Self::PathNotInTree { candidates, .. } => {
                let mut hints = Vec::new();
                if !candidates.is_empty() {
                    let names: Vec<_> = candidates.iter().map(|path| format!("`{path}`")).collect();
                    hints.push(format!("did you mean {}", names.join(" or ")));
                }
                hints.push("paths are relative to the top of the repository".into());
                hints
            }
            Self::MissingObject { id, path, promisor, shallow } => {
                missing_object_hints(id, path, promisor.as_deref(), *shallow)
            }
            Self::CorruptObject { path, .. } => {
                vec![format!("`git -C {} fsck` lists what is damaged; clone it afresh", quote(path))]
            }
            Self::TransportRefused { .. } => {
                vec!["kdbg fetches over http, https, ssh, git and file; clone other transports yourself and name the clone with `--repo PATH`".into()]
            }
            Self::GitNotStarted { .. } => vec![
                "install git, or clone the repository elsewhere and name the clone with `--repo PATH`; reading a clone needs no git".into(),
            ],
            Self::Fetch { failure, url, stale, .. } => {
                let mut hints = fetch_hints(*failure, url);
                hints.extend(stale_hint(stale.as_deref()));
                hints
            }
            Self::Stalled { stale, .. } => {
                let mut hints = vec!["try `git ls-remote` with the same URL to see whether the server answers".to_owned()];
                hints.extend(stale_hint(stale.as_deref()));
                hints
            }
            Self::CacheLocked { lock, .. } => {
                vec![format!("`fuser {}` names the process", quote(lock))]
            }
            Self::CacheNotOwned { .. } | Self::NoCacheDir => {
                vec!["set XDG_CACHE_HOME to a directory of your own".into()]
            }
            Self::Unresolvable { .. }
            | Self::TreeTooLarge { .. }
            | Self::ObjectTooLarge { .. }
            | Self::WrongKind { .. }
            | Self::ListRefs { .. }
            | Self::InvalidUrl { .. }
            | Self::Cancelled { .. }
            | Self::HistoryCancelled { .. }
            | Self::Cache { .. } => Vec::new(),
        }
    }
}

fn missing_why(promisor: Option<&str>, shallow: bool) -> &'static str {
    match (promisor, shallow) {
        (Some(_), _) => ", which is a partial clone",
        (None, true) => ", which is a shallow clone",
        (None, false) => "",
    }
}

fn unknown_ref_hints(
    spec: &str,
    path: &std::path::Path,
    candidates: &[String],
    shallow: bool,
) -> Vec<String> {
    let mut hints = Vec::new();
    if !candidates.is_empty() {
        let names: Vec<_> = candidates.iter().map(|name| format!("`{name}`")).collect();
        hints.push(format!("did you mean {}", names.join(" or ")));
    }
    if shallow {
        hints.push(unshallow_hint(Some(path)));
    } else if spec.starts_with("refs/pull/") || spec.starts_with("refs/merge-requests/") {
        hints.push(format!(
            "`git -C {} fetch origin {spec}:{spec}` gets it",
            quote(path)
        ));
    } else if candidates.is_empty() {
        hints.push(format!(
            "`git -C {} fetch --all --tags` gets what is new",
            quote(path)
        ));
    }
    hints
}

fn unshallow_hint(path: Option<&std::path::Path>) -> String {
    let place = path
        .map(|path| format!(" -C {}", quote(path)))
        .unwrap_or_default();
    format!(
        "the repository is a shallow clone: `git{place} fetch --unshallow` gets the rest of the history"
    )
}

fn missing_object_hints(
    id: &ObjectId,
    path: &std::path::Path,
    promisor: Option<&str>,
    shallow: bool,
) -> Vec<String> {
    let place = quote(path);
    match promisor {
        Some(remote) => vec![
            format!(
                "`git -C {place} fetch --refetch --no-filter {remote}` gets every missing object"
            ),
            format!("`git -C {place} cat-file -e {id}` gets this one"),
        ],
        None if shallow => vec![unshallow_hint(Some(path))],
        None => vec![format!(
            "`git -C {place} fsck` lists what is missing; clone it afresh"
        )],
    }
}

fn fetch_hints(failure: FetchFailure, url: &str) -> Vec<String> {
    let hint = match failure {
        FetchFailure::Authentication => {
            "kdbg never asks for a password: set up a credential helper, an ssh agent or GIT_ASKPASS, and try `git ls-remote` with the same URL"
        }
        FetchFailure::HostKey => "connect to the server once with ssh and check its key",
        FetchFailure::Unreachable => "check the URL, the network and the proxy settings of git",
        FetchFailure::NoSuchRepository => {
            "check the URL; a server also says this when the credentials may not see the repository"
        }
        FetchFailure::DubiousOwnership => {
            let path = url.strip_prefix("file://").unwrap_or(url);
            return vec![format!(
                "read it in place, which executes nothing: `--repo {path}`"
            )];
        }
        FetchFailure::Certificate => "tell git of the certificate authority with `http.sslCAInfo`",
        FetchFailure::DiskFull => "make room, or set XDG_CACHE_HOME to a larger disk",
        FetchFailure::StaleCache => "remove the old clone and try again",
        FetchFailure::Other => return Vec::new(),
    };
    vec![hint.to_owned()]
}

fn stale_hint(stale: Option<&std::path::Path>) -> Option<String> {
    stale.map(|path| format!("an older clone can be read with `--repo {}`", quote(path)))
}

fn last_line(text: &str) -> &str {
    let meaningful = |line: &&str| line.starts_with("fatal: ") || line.starts_with("error: ");
    let lines = || text.lines().rev().filter(|line| !line.trim().is_empty());
    lines()
        .find(meaningful)
        .or_else(|| lines().next())
        .unwrap_or("(nothing)")
}

/// The path as a shell takes it.
pub(super) fn quote(path: &std::path::Path) -> String {
    let text = path.display().to_string();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-+@%=:,".contains(&byte);
    if !text.is_empty() && text.bytes().all(plain) {
        text
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::object::HashKind;

    #[test]
    fn a_partial_clone_says_so_and_names_the_command() {
        let error = GitError::MissingObject {
            id: ObjectId::null(HashKind::Sha1),
            path: "/r".into(),
            promisor: Some("origin".into()),
            shallow: false,
        };
        assert!(
            error
                .to_string()
                .ends_with("`/r`, which is a partial clone")
        );
        assert_eq!(
            error.hints()[0],
            "`git -C /r fetch --refetch --no-filter origin` gets every missing object"
        );
    }

    #[test]
    fn a_path_in_a_hint_survives_the_shell() {
        assert_eq!(quote(Path::new("/a/b-c.git")), "/a/b-c.git");
        assert_eq!(quote(Path::new("/a b/it's")), r"'/a b/it'\''s'");
    }

    #[test]
    fn the_line_that_names_the_failure_is_shown() {
        assert_eq!(
            last_line("Cloning…\nfatal: no such repository\n\nmake sure it exists\n"),
            "fatal: no such repository"
        );
        assert_eq!(last_line(""), "(nothing)");
    }
}
