//! The terminal that a person sits at, while its keys belong to a program elsewhere.
//!
//! Its settings are the terminal's, not this program's: they stay as they are when it ends. So they are put back
//! whatever happens: at the end of [`RawMode`], in a panic (which aborts a release build: no drop runs), and before
//! this program gives up on a command that is stuck. Only SIGKILL leaves the terminal as it is; `reset` helps then.

use std::{
    io::{self, IsTerminal as _},
    sync::{
        Mutex, Once, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use nix::{
    sys::termios::{SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr},
    unistd::write,
};

use crate::protocol::message::TerminalSize;

/// How the terminal was before.
static SAVED: Mutex<Option<Termios>> = Mutex::new(None);
/// Whether the terminal of standard output shows a screen of ours instead of what was there.
static SHOWS_SCREEN: AtomicBool = AtomicBool::new(false);

/// As long as it lives, every key arrives as a byte, Ctrl-C too, and nothing is echoed.
pub struct RawMode(());

impl RawMode {
    /// Switches the terminal of standard input.
    pub fn enter() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut raw = before.clone();
        cfmakeraw(&mut raw);
        restore_in_panic();
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

/// As long as it lives, the terminal of standard output shows a screen instead of its lines, without a cursor.
pub struct FullScreen {
    /// Keys arrive as bytes, where a person sits at standard input too.
    raw: Option<RawMode>,
}

/// The other screen of a terminal, and back; the cursor hidden, and back (xterm's private modes).
const ENTER: &[u8] = b"\x1b[?1049h\x1b[?25l";
const LEAVE: &[u8] = b"\x1b[?25h\x1b[?1049l";

impl FullScreen {
    /// Switches the terminal of standard output.
    pub fn enter() -> io::Result<Self> {
        let raw = if io::stdin().is_terminal() {
            Some(RawMode::enter()?)
        } else {
            restore_in_panic();
            None
        };
        SHOWS_SCREEN.store(true, Ordering::Release);
        let screen = Self { raw };
        write(io::stdout(), ENTER)?;
        Ok(screen)
    }

    /// Whether keys arrive as they are typed.
    pub const fn has_keys(&self) -> bool {
        self.raw.is_some()
    }
}

impl Drop for FullScreen {
    fn drop(&mut self) {
        restore();
    }
}

/// Puts the terminal back as it was, if it was changed.
pub fn restore() {
    if SHOWS_SCREEN.swap(false, Ordering::AcqRel) {
        // One that is gone has no screen. Not through the standard library: whoever panics may hold its lock.
        let _ = write(io::stdout(), LEAVE);
    }
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

/// Has a panic put the terminal back before anything is said about it.
fn restore_in_panic() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let previous = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            restore();
            previous(panic);
        }));
    });
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
