//! Who handles the signals that would end this program.
//!
//! Ctrl-C and SIGTERM end a command from outside (see `cli::main`), unless it has claimed them: a command that runs
//! another one passes them on, and ends by itself.

use std::{
    io,
    sync::atomic::{AtomicUsize, Ordering},
};

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::exit::ExitStatus;
use crate::protocol::message::RunSignal;

static CLAIMS: AtomicUsize = AtomicUsize::new(0);

/// Whether a command handles signals by itself now.
pub fn are_claimed() -> bool {
    CLAIMS.load(Ordering::Acquire) > 0
}

/// The signals of this program, for the command that has claimed them. Dropping it gives them back.
pub struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hang_up: Signal,
    quit: Signal,
    resize: Signal,
}

/// What was heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// A signal that would end this program.
    Ending(RunSignal),
    /// The terminal has another size.
    Resized,
}

impl Signals {
    /// Claims them.
    pub fn claim() -> io::Result<Self> {
        let signals = Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hang_up: signal(SignalKind::hangup())?,
            quit: signal(SignalKind::quit())?,
            resize: signal(SignalKind::window_change())?,
        };
        CLAIMS.fetch_add(1, Ordering::AcqRel);
        Ok(signals)
    }

    /// Waits for the next one.
    pub async fn next(&mut self) -> Heard {
        tokio::select! {
            _ = self.interrupt.recv() => Heard::Ending(RunSignal::Interrupt),
            _ = self.terminate.recv() => Heard::Ending(RunSignal::Terminate),
            _ = self.hang_up.recv() => Heard::Ending(RunSignal::HangUp),
            _ = self.quit.recv() => Heard::Ending(RunSignal::Quit),
            _ = self.resize.recv() => Heard::Resized,
        }
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        CLAIMS.fetch_sub(1, Ordering::AcqRel);
    }
}

/// The exit code of a program that a signal has ended.
pub const fn status_of(signal: RunSignal) -> ExitStatus {
    match signal {
        RunSignal::Interrupt => ExitStatus::Interrupted,
        RunSignal::Terminate => ExitStatus::Terminated,
        RunSignal::HangUp => ExitStatus::Command(129),
        RunSignal::Quit => ExitStatus::Command(131),
    }
}
