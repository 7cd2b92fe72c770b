//! Reading a repository at a ref, and getting one from a remote.
//!
//! Owns everything git: [`Repository`] opens a repository that somebody else may have prepared, resolves a
//! ref, lists its tree and reads its blobs; [`fetch()`] makes a bare clone of a URL in the user's cache. The
//! rest of the program sees [`ObjectId`](crate::object::ObjectId), [`FileMode`](crate::object::FileMode) and
//! bytes, never a type of the library below, which breaks its interface every month.
//!
//! **A repository is hostile until proven otherwise.** It may come out of a tarball, a pod or a pull request.
//! Reading one starts no process and no filter, follows no include and asks no network: objects are read by
//! name, checked against that name, and nothing else in the repository is believed except the few settings
//! that say how it is stored. That is also why the owner of the files does not matter here: git's
//! `safe.directory` protects against a configuration that gets executed, and none is. Environment variables
//! that redirect git (`GIT_DIR` and its like) are ignored, so a command means the same inside a git hook.
//!
//! Remotes are the business of the git command line, because it has the user's credential helpers, proxies
//! and ssh settings. It only ever runs in a directory of our own making.

mod blob;
mod cache;
mod command;
mod default_ref;
mod error;
mod fetch;
mod history;
mod near;
mod progress;
mod repository;
mod resolve;
mod tree;
mod url;

pub use blob::Blob;
pub use default_ref::{DefaultRef, DefaultRefReason};
pub use error::{FetchFailure, GitError};
pub use fetch::{FetchOptions, Fetched, default_cache_dir, fetch};
pub use history::{HistoryOptions, HistoryStep, ReadHistory, Tip, Tips};
pub use progress::{Phase, Progress};
pub use repository::Repository;
pub use resolve::Commit;
pub use tree::TreeEntry;
pub use url::{is_url, redact};

/// What a caller gets from a failed operation's source: its text and chain, not its type.
type BoxedError = Box<dyn std::error::Error + Send + Sync>;

/// The library's name of an object as ours.
fn object_id(id: &gix::oid) -> crate::object::ObjectId {
    crate::object::ObjectId::from_bytes(id.as_bytes())
        .expect("the library only knows names of 20 and 32 bytes, as we do")
}
