//! Carries bytes between a command and its client, until the command has ended and all that it wrote is sent.
//!
//! One thread, which waits for all at once. It reads from the command only what may be sent, and writes to it only
//! what it takes: a command that does not read, or a client that does not, costs one window of memory.

use std::{
    collections::VecDeque,
    fs::File,
    io::{self, Read as _, Write as _},
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        signal::{Signal, killpg},
        termios::{self, LocalFlags, SpecialCharacterIndices},
        wait::{Id, WaitPidFlag, waitid},
    },
    unistd::{Pid, tcgetpgrp},
};

use super::{Channel, Family, Message, start::Ends};
use crate::{agent::Stop, protocol::message::RunSignal, sys::set_terminal_size};

/// Whoever inherited a command's output may hold it open for ever after the command has ended (a service that it
/// has started, for example); when nothing has come for this long, nothing more is waited for.
const LINGER: Duration = Duration::from_millis(250);
/// How often what nobody else buries is buried.
const BURY_EVERY: Duration = Duration::from_secs(5);

/// A command's bytes on their way.
pub(super) struct Pump<'a> {
    channel: &'a mut dyn Channel,
    family: &'a Family,
    /// What the command is to read next.
    pending: VecDeque<Vec<u8>>,
    /// How much of the first of them it has read.
    written: usize,
    input_is_complete: bool,
    input: Option<File>,
    output: Option<File>,
    errors: Option<File>,
    terminal: Option<OwnedFd>,
    has_ended: Arc<AtomicBool>,
}

/// What has become ready.
#[derive(Clone, Copy)]
enum Source {
    Messages,
    Input,
    Output,
    Errors,
}

impl<'a> Pump<'a> {
    /// Takes over a command that has just started.
    pub(super) fn new(
        ends: Ends,
        family: &'a Family,
        channel: &'a mut dyn Channel,
    ) -> Result<Self, Stop> {
        let has_ended = Arc::new(AtomicBool::new(false));
        watch(family.leader(), Arc::clone(&has_ended), channel.wake())
            .map_err(|error| Stop::io("watch", "the command".into(), errno_of(&error)))?;
        Ok(Self {
            channel,
            family,
            pending: VecDeque::new(),
            written: 0,
            input_is_complete: false,
            input: Some(ends.input),
            output: Some(ends.output),
            errors: ends.errors,
            terminal: ends.terminal,
            has_ended,
        })
    }

    /// Returns when the command has ended and what it wrote is sent.
    pub(super) fn run(mut self) -> Result<(), Stop> {
        loop {
            for message in self.channel.messages()? {
                self.handle(message);
            }
            let has_ended = self.has_ended.load(Ordering::Acquire);
            if has_ended && self.output.is_none() && self.errors.is_none() {
                return Ok(());
            }
            let may_fill = self.channel.may_fill();
            let timeout = if has_ended { LINGER } else { BURY_EVERY };
            let ready = self.wait(may_fill, timeout)?;
            if ready.is_empty() {
                // Without credit nothing can have come: that the client is slow is no end.
                if has_ended && may_fill {
                    return Ok(());
                }
                self.family.bury();
            }
            for source in ready {
                match source {
                    Source::Messages => {}
                    Source::Input => self.feed()?,
                    Source::Output => self.pass_output()?,
                    Source::Errors => self.pass_errors()?,
                }
            }
        }
    }

    /// Waits for anything to do.
    fn wait(&self, may_fill: bool, timeout: Duration) -> Result<Vec<Source>, Stop> {
        let input = self.input.as_ref().filter(|_| !self.pending.is_empty());
        let output = self.output.as_ref().filter(|_| may_fill);
        let errors = self.errors.as_ref().filter(|_| may_fill);
        let wanted = [
            (
                Source::Messages,
                Some(self.channel.wake()),
                PollFlags::POLLIN,
            ),
            (Source::Input, input.map(File::as_fd), PollFlags::POLLOUT),
            (Source::Output, output.map(File::as_fd), PollFlags::POLLIN),
            (Source::Errors, errors.map(File::as_fd), PollFlags::POLLIN),
        ];
        let (sources, mut descriptors): (Vec<_>, Vec<_>) = wanted
            .into_iter()
            .filter_map(|(source, file, flags)| Some((source, PollFd::new(file?, flags))))
            .unzip();
        match poll(
            &mut descriptors,
            PollTimeout::try_from(timeout).unwrap_or(PollTimeout::MAX),
        ) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(Stop::io("wait for", "the command".into(), errno)),
        }
        let ready = sources.into_iter().zip(descriptors);
        Ok(ready
            .filter(|(_, descriptor)| descriptor.any() == Some(true))
            .map(|(source, _)| source)
            .collect())
    }

    fn handle(&mut self, message: Message) {
        match message {
            Message::Input(bytes) => {
                if self.input.is_some() {
                    self.pending.push_back(bytes);
                }
            }
            Message::EndOfInput => {
                self.input_is_complete = true;
                self.end_input();
            }
            Message::Resize(size) => {
                if let Some(terminal) = &self.terminal {
                    // A terminal that nobody holds any more has no size.
                    let _ = set_terminal_size(terminal, size.rows, size.columns);
                }
            }
            Message::Signal(signal) => self.pass_signal(signal),
        }
    }

    /// To whoever would get it from a keyboard.
    fn pass_signal(&self, signal: RunSignal) {
        let signal = match signal {
            RunSignal::Interrupt => Signal::SIGINT,
            RunSignal::Terminate => Signal::SIGTERM,
            RunSignal::HangUp => Signal::SIGHUP,
            RunSignal::Quit => Signal::SIGQUIT,
        };
        let foreground = self
            .terminal
            .as_ref()
            .and_then(|terminal| tcgetpgrp(terminal).ok())
            .filter(|group| group.as_raw() > 0);
        // The group may have ended since.
        let _ = killpg(foreground.unwrap_or(self.family.leader()), signal);
    }

    /// Writes what the command takes.
    fn feed(&mut self) -> Result<(), Stop> {
        while let (Some(input), Some(bytes)) = (&mut self.input, self.pending.front()) {
            match input.write(bytes.get(self.written..).unwrap_or_default()) {
                Ok(count) => self.written += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(_) => {
                    // It reads no more. No credit for what is left: the client sends no more either.
                    self.input = None;
                    self.pending.clear();
                    return Ok(());
                }
            }
            if self.written >= bytes.len() {
                let length = bytes.len();
                self.written = 0;
                self.pending.pop_front();
                self.channel.took_input(length)?;
            }
        }
        self.end_input();
        Ok(())
    }

    /// Ends the input once all of it is written.
    fn end_input(&mut self) {
        if !self.input_is_complete || !self.pending.is_empty() {
            return;
        }
        match &self.terminal {
            None => self.input = None,
            // A terminal has no end; a character says so to whoever reads lines.
            Some(terminal) => {
                if let Some(character) = end_character(terminal.as_fd()) {
                    self.input_is_complete = false;
                    self.pending.push_back(vec![character]);
                }
            }
        }
    }

    fn pass_output(&mut self) -> Result<(), Stop> {
        let Some(output) = &mut self.output else {
            return Ok(());
        };
        let filled = self.channel.fill(&mut |buffer| output.read(buffer))?;
        if is_end(&filled) {
            self.output = None;
        }
        Ok(())
    }

    fn pass_errors(&mut self) -> Result<(), Stop> {
        // Both may be ready with credit for one frame.
        let (Some(errors), true) = (&mut self.errors, self.channel.may_fill()) else {
            return Ok(());
        };
        let filled = self
            .channel
            .fill_errors(&mut |buffer| errors.read(buffer))?;
        if is_end(&filled) {
            self.errors = None;
        }
        Ok(())
    }
}

/// Whether nothing more can come. A terminal ends with EIO, when nobody holds its inner side.
fn is_end(filled: &io::Result<usize>) -> bool {
    match filled {
        Ok(count) => *count == 0,
        Err(error) => !matches!(
            error.kind(),
            io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
        ),
    }
}

/// What ends the input of a program that reads lines from a terminal; nothing for one that reads characters.
fn end_character(terminal: BorrowedFd<'_>) -> Option<u8> {
    let settings = termios::tcgetattr(terminal).ok()?;
    let reads_lines = settings.local_flags.contains(LocalFlags::ICANON);
    let index = SpecialCharacterIndices::VEOF as usize;
    settings
        .control_chars
        .get(index)
        .copied()
        .filter(|_| reads_lines)
}

/// Wakes whoever waits when a command ends. It stays a zombie: its number is not given to another yet.
fn watch(command: Pid, has_ended: Arc<AtomicBool>, wake: BorrowedFd<'_>) -> io::Result<()> {
    let wake = wake.try_clone_to_owned()?;
    let watcher = thread::Builder::new()
        .name("watcher".to_owned())
        .stack_size(64 * 1024);
    watcher.spawn(move || {
        let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT;
        while waitid(Id::Pid(command), flags) == Err(Errno::EINTR) {}
        has_ended.store(true, Ordering::Release);
        // It fails when it has not been read 2^64 times: whoever waits is awake.
        let _ = nix::unistd::write(&wake, &1_u64.to_ne_bytes());
    })?;
    Ok(())
}

fn errno_of(error: &io::Error) -> Errno {
    crate::agent::target::errno_of(error)
}
