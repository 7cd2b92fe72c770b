//! Who handles the signals that would end this program.
//!
//! Ctrl-C and SIGTERM end a command from outside (see `cli::main`), unless it has claimed them: a command that runs
//! another one passes them on, and ends by itself; one that has started something takes it away first.

use std::{
    io,
    sync::atomic::{AtomicBool, Ordering},
};

use tokio::signal::unix::{Signal, SignalKind, signal};

use super::exit::ExitStatus;
use crate::protocol::message::RunSignal;

static CLAIMED: AtomicBool = AtomicBool::new(false);

/// Whether the command handles signals by itself.
pub fn are_claimed() -> bool {
    CLAIMED.load(Ordering::Acquire)
}

/// The signals of this program, for the command that has claimed them.
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
    /// Claims them, for good unless they are released: whoever handles the last one still has to end in order.
    pub fn claim() -> io::Result<Self> {
        let signals = Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hang_up: signal(SignalKind::hangup())?,
            quit: signal(SignalKind::quit())?,
            resize: signal(SignalKind::window_change())?,
        };
        CLAIMED.store(true, Ordering::Release);
        Ok(signals)
    }

    /// Has them end this program from outside again.
    pub fn release(self) {
        CLAIMED.store(false, Ordering::Release);
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

    /// Waits for the next one that would end this program.
    pub async fn ending(&mut self) -> RunSignal {
        loop {
            if let Heard::Ending(signal) = self.next().await {
                return signal;
            }
        }
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
