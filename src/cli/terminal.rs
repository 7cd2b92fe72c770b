//! The terminal that a person sits at, while its keys belong to a program elsewhere.
//!
//! Its settings are the terminal's, not this program's: they stay as they are when it ends. So they are put back
//! whatever happens: at the end of [`RawMode`], in a panic (which aborts a release build: no drop runs), and before
//! this program gives up on a command that is stuck. Only SIGKILL leaves the terminal as it is; `reset` helps then.

use std::{
    io,
    sync::{Mutex, Once, PoisonError},
};

use nix::sys::termios::{SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};

use crate::protocol::message::TerminalSize;

/// How the terminal was before.
static SAVED: Mutex<Option<Termios>> = Mutex::new(None);

/// As long as it lives, every key arrives as a byte, Ctrl-C too, and nothing is echoed.
pub struct RawMode(());

impl RawMode {
    /// Switches the terminal of standard input.
    pub fn enter() -> io::Result<Self> {
        static HOOK: Once = Once::new();
        let before = tcgetattr(io::stdin())?;
        let mut raw = before.clone();
        cfmakeraw(&mut raw);
        HOOK.call_once(restore_in_panic);
        saved().get_or_insert(before);
        tcsetattr(io::stdin(), SetArg::TCSADRAIN, &raw)?;
        Ok(Self(()))
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        restore();
    }
}

/// Puts the terminal back as it was, if it was changed.
pub fn restore() {
    if let Some(before) = saved().take() {
        // Not after what is still being printed: a terminal that is stopped (Ctrl-S) would keep us waiting. One
        // that is gone has no settings.
        let _ = tcsetattr(io::stdin(), SetArg::TCSANOW, &before);
    }
}

fn saved() -> std::sync::MutexGuard<'static, Option<Termios>> {
    // Whoever panicked with it has left it whole.
    SAVED.lock().unwrap_or_else(PoisonError::into_inner)
}

fn restore_in_panic() {
    let previous = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        restore();
        previous(panic);
    }));
}

/// The size of the terminal, whichever stream leads to it.
pub fn size() -> Option<TerminalSize> {
    let size = terminal_size::terminal_size_of(io::stdout())
        .or_else(|| terminal_size::terminal_size_of(io::stdin()))
        .or_else(|| terminal_size::terminal_size_of(io::stderr()));
    size.map(|(width, height)| TerminalSize {
        rows: height.0,
        columns: width.0,
    })
}
