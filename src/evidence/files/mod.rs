//! What a process holds open, and what it holds it on.
//!
//! The kernel says it in names (`anon_inode:[eventfd]`, `/a/b (deleted)`), in flags and in tables; here that becomes facts.
//! What could not be read stays apart: it is never an empty list.

mod held;
mod limits;
mod volumes;

use std::time::Duration;

pub use held::{Kind, flag_names, growth, is_log, kind, letter, path};
pub use limits::{Bound, Limit, limit};
pub use volumes::{Fill, Store, stores};

use crate::{
    evidence::provenance::Lookup,
    protocol::message::{HeldFile, Process, ProcessId},
};

/// What the rules about files look at.
#[derive(Clone, Debug)]
pub struct FileFacts {
    /// The target, as kdbg takes it.
    pub target: String,
    /// The process.
    pub process: ProcessId,
    /// Its effective user.
    pub uid: u32,
    /// When it started: milliseconds since 1970.
    pub started_at: i64,
    /// When all of this was looked at, on the same clock: milliseconds since 1970.
    pub now: i64,
    /// What it holds.
    pub held: Lookup<Vec<HeldFile>>,
    /// What it sees of file systems.
    pub stores: Lookup<Vec<Store>>,
    /// How many descriptors it may have.
    pub descriptors: Lookup<Limit>,
    /// How busy it is; `Missing` when nobody had to know.
    pub activity: Lookup<Activity>,
    /// For how long a log must have been silent to be worth a word.
    pub stalled_after: Duration,
    /// What would let in whoever could not read some of it, each a sentence that starts with a verb.
    pub remedies: Vec<String>,
}

/// How busy a process is, in thousandths of one processor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Activity {
    /// Now, over a second or so.
    pub now: u64,
    /// From its start until now.
    pub mean: u64,
}

impl FileFacts {
    /// Facts of nothing but a process, to be filled in.
    #[must_use]
    pub fn of(target: &str, process: &Process) -> Self {
        Self {
            target: target.to_owned(),
            process: process.id,
            uid: process.credentials.uids[1],
            started_at: process.started_at,
            now: 0,
            held: Lookup::Missing,
            stores: Lookup::Missing,
            descriptors: Lookup::Missing,
            activity: Lookup::Missing,
            stalled_after: Duration::from_mins(10),
            remedies: Vec::new(),
        }
    }

    /// What it holds, as far as that is known.
    pub fn held(&self) -> &[HeldFile] {
        self.held.found().map_or(&[], Vec::as_slice)
    }

    /// The file system that a path lies on: the one that is mounted deepest.
    pub fn store_of(&self, path: &bstr::BStr) -> Option<&Store> {
        let stores = self.stores.found()?;
        stores
            .iter()
            .filter(|store| store.holds(path))
            // The last of equals covers the others.
            .max_by_key(|store| store.mount.point.len())
    }
}
