//! The work that one worker of a walk leaves to another.
//!
//! It stays short: a worker offers a part of its work only while another one has nothing to do.

use std::{
    fs::File,
    os::fd::OwnedFd,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use bstr::BString;
use nix::sys::stat::FileStat;

use crate::agent::file_system::FileNumber;

/// A part of a walk.
pub(super) enum Task {
    /// A folder and all below it.
    Folder {
        root: u32,
        /// Relative to the root.
        path: BString,
        folder: Arc<OwnedFd>,
        /// The folders above it, from the root on.
        above: Vec<FileNumber>,
    },
    /// Some of the names of a folder, none of which is a folder.
    Names {
        root: u32,
        path: BString,
        folder: Arc<OwnedFd>,
        /// Each ended by a NUL.
        names: Vec<u8>,
    },
    /// A root that is a single file.
    RootFile {
        root: u32,
        stat: FileStat,
        file: File,
    },
}

/// Tasks that wait for a worker.
pub(super) struct Queue {
    state: Mutex<State>,
    changed: Condvar,
    /// Workers that wait, minus tasks that wait for them.
    hungry: AtomicUsize,
}

#[derive(Default)]
struct State {
    tasks: Vec<Task>,
    /// Workers that have not left.
    workers: usize,
    waiting: usize,
    is_closed: bool,
}

impl Queue {
    pub(super) fn new() -> Self {
        Self {
            state: Mutex::default(),
            changed: Condvar::new(),
            hungry: AtomicUsize::new(0),
        }
    }

    /// Says how many workers there will be.
    pub(super) fn open(&self, workers: usize) {
        self.lock().workers = workers;
    }

    /// Takes back the announcement of a worker.
    pub(super) fn leave(&self) {
        let mut state = self.lock();
        state.workers = state.workers.saturating_sub(1);
        self.update(&state);
        self.changed.notify_all();
    }

    /// Adds a task.
    pub(super) fn push(&self, task: Task) {
        let mut state = self.lock();
        state.tasks.push(task);
        self.update(&state);
        self.changed.notify_one();
    }

    /// Whether a worker has nothing to do. Cheap, and true only for a moment.
    pub(super) fn is_hungry(&self) -> bool {
        self.hungry.load(Ordering::Relaxed) > 0
    }

    /// Waits for a task; `None` once no worker has one and none is left.
    pub(super) fn next(&self) -> Option<Task> {
        let mut state = self.lock();
        state.waiting += 1;
        loop {
            let is_finished = state.tasks.is_empty() && state.waiting >= state.workers;
            if state.is_closed || is_finished {
                self.changed.notify_all();
                return None;
            }
            if let Some(task) = state.tasks.pop() {
                state.waiting -= 1;
                self.update(&state);
                return Some(task);
            }
            self.update(&state);
            let woken = self.changed.wait(state);
            state = woken.unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Gives no more tasks.
    pub(super) fn close(&self) {
        self.lock().is_closed = true;
        self.changed.notify_all();
    }

    /// Whether all tasks were taken.
    pub(super) fn is_finished(&self) -> bool {
        self.lock().tasks.is_empty()
    }

    fn update(&self, state: &State) {
        let hungry = state.waiting.saturating_sub(state.tasks.len());
        self.hungry.store(hungry, Ordering::Relaxed);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic ends the agent (`panic = "abort"`); in a test build the state is still whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
