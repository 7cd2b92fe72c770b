//! `kdbg attach`: a shell or a command beside the target.
//!
//! The agent starts it; here are the person's end of it and the exit code. Whatever happens, the conversation is
//! ended in order and the agent waited for, because only that ends the command too.

mod escape;
pub(super) mod streams;

use std::{
    ffi::OsString,
    future::pending,
    io::{self, IsTerminal as _},
    os::unix::ffi::OsStringExt as _,
    time::Duration,
};

use bstr::{BString, ByteSlice as _};
use clap::Args;
use nix::errno::Errno;
use tokio::{sync::mpsc, time::timeout};

use self::{escape::Escape, streams::Sink};
use crate::{
    cli::{
        args::TargetArgs,
        error::{CommandError, ErrorKind},
        exit::ExitStatus,
        printer::Printer,
        signals::{Heard, Signals, status_of},
        terminal::{self, RawMode},
    },
    protocol::message::{Reading, RunEnd, RunHead, RunRequest, Terminal, TerminalSize, from_bytes},
    render::safe,
    session::{Input, Piece, Reply, RequestError},
    target::{Place, Target},
};

/// Arguments of `kdbg attach`.
#[derive(Args, Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a flag of the command line"
)]
pub struct AttachArgs {
    #[command(flatten)]
    target: TargetArgs,
    /// Run this instead of a shell; its exit code is kdbg's
    #[arg(last = true, value_name = "CMD")]
    command: Vec<OsString>,
    /// Give the command a terminal even when standard input or output is none
    #[arg(short = 't', long = "tty", conflicts_with = "no_tty")]
    tty: bool,
    /// Give the command no terminal: its bytes arrive as they are, standard error apart
    #[arg(short = 'T', long = "no-tty")]
    no_tty: bool,
    /// Do not read standard input; the command sees its end at once
    #[arg(long = "no-stdin")]
    no_stdin: bool,
    /// Pass `~.` on instead of ending the session
    #[arg(long)]
    no_escape: bool,
    /// Run the target's own programs, in its own file system (needs `CAP_SYS_CHROOT`)
    #[arg(long)]
    chroot: bool,
    /// Start here instead of in the working directory of the process
    #[arg(long, value_name = "DIR")]
    folder: Option<OsString>,
    /// Set a variable in the environment of the command; can be given several times
    #[arg(short = 'e', long = "env", value_name = "NAME=VALUE")]
    environment: Vec<OsString>,
}

/// How long the end of a conversation may take: longer than the agent gives a command to end.
const CLOSE_LIMIT: Duration = Duration::from_secs(3);
/// The size of a terminal that nobody looks at.
const USUAL_SIZE: TerminalSize = TerminalSize {
    rows: 24,
    columns: 80,
};

/// Runs `kdbg attach`.
pub async fn run(args: AttachArgs, printer: &mut Printer) -> Result<ExitStatus, CommandError> {
    let variables = variables(&args.environment)?;
    if args.target.cluster.all {
        return Err(
            CommandError::usage("a command runs beside one pod, not beside all")
                .hint("name one of them, or leave `--all` out: kdbg chooses one and says which"),
        );
    }
    let mut wanted = args.target.wanted()?;
    wanted.pod.chroot = args.chroot;
    let (target, ()) = super::open_wanted(&wanted, printer, |_| ()).await?;
    let result = Attachment::new(&args, variables, &target, printer)
        .run()
        .await;
    // Also after an error: the agent ends what it has started before it ends.
    if timeout(CLOSE_LIMIT, target.close()).await.is_err() {
        tracing::warn!("the agent does not answer: it ends by itself");
    }
    result
}

/// The environment additions, as they were typed.
fn variables(typed: &[OsString]) -> Result<Vec<(BString, BString)>, CommandError> {
    typed
        .iter()
        .map(|entry| {
            let entry = BString::from(entry.clone().into_vec());
            match entry.split_once_str("=") {
                Some((name, value)) if !name.is_empty() => Ok((name.into(), value.into())),
                _ => Err(
                    CommandError::usage(format!("`{}` sets no variable", safe(&entry)))
                        .hint("write `--env NAME=VALUE`"),
                ),
            }
        })
        .collect()
}

/// A command that runs, or is about to.
struct Attachment<'a> {
    args: &'a AttachArgs,
    variables: Vec<(BString, BString)>,
    target: &'a Target,
    printer: &'a Printer,
    /// The command gets a terminal.
    has_terminal: bool,
    /// A person sits at ours: the keys go to the command.
    is_raw: bool,
}

impl<'a> Attachment<'a> {
    fn new(
        args: &'a AttachArgs,
        variables: Vec<(BString, BString)>,
        target: &'a Target,
        printer: &'a Printer,
    ) -> Self {
        let at_terminal = io::stdin().is_terminal() && io::stdout().is_terminal();
        let has_terminal = !args.no_tty && (args.tty || at_terminal);
        Self {
            args,
            variables,
            target,
            printer,
            has_terminal,
            is_raw: has_terminal && at_terminal && !args.no_stdin,
        }
    }

    async fn run(&self) -> Result<ExitStatus, CommandError> {
        let (stdout, stderr) = (Sink::new(io::stdout())?, Sink::new(io::stderr())?);
        let mut signals = Signals::claim().map_err(CommandError::internal)?;
        let (mut reply, input) = self.target.session.run(self.request())?;
        let first = tokio::select! {
            piece = reply.next() => piece?,
            status = self.supervise(&mut signals, &input) => return Ok(status),
        };
        let Some(piece) = first else {
            return self.end(&reply);
        };
        let Piece::Head(head) = piece else {
            return Err(RequestError::Unreadable.into());
        };
        let head: RunHead = from_bytes(&head).ok_or(RequestError::Unreadable)?;
        self.greet(&head);
        // Dropped, and with it the terminal put back, before anybody says anything about the end.
        let raw = self.enter_raw_mode()?;
        let keys = if self.args.no_stdin {
            None
        } else {
            Some(streams::read_input().map_err(CommandError::internal)?)
        };
        let ended = tokio::select! {
            copied = copy(&mut reply, &stdout, &stderr) => copied.map(|()| None),
            status = self.supervise(&mut signals, &input) => Ok(Some(status)),
            () = self.feed(keys, &input) => Ok(Some(ExitStatus::Interrupted)),
            () = stdout.closed() => Err(CommandError::output(io::ErrorKind::BrokenPipe.into())),
        };
        drop(raw);
        match ended? {
            Some(status) => Ok(status),
            None => self.end(&reply),
        }
    }

    fn request(&self) -> RunRequest {
        let name = std::env::var_os("TERM").filter(|name| !name.is_empty());
        RunRequest {
            process: self.target.process().id,
            command: self
                .args
                .command
                .iter()
                .map(|argument| argument.clone().into_vec().into())
                .collect(),
            terminal: self.has_terminal.then(|| Terminal {
                name: name.map_or_else(|| "xterm".into(), |name| name.into_vec().into()),
                size: terminal::size().unwrap_or(USUAL_SIZE),
            }),
            environment: self.variables.clone(),
            folder: self.args.folder.clone().map(super::target_path),
            chroot: self.args.chroot,
            title: match &self.target.place {
                Place::Machine(_) => self.args.target.named().into(),
                Place::Pod(place) => format!("pod/{}", place.pod).into(),
            },
        }
    }

    /// Says where the command starts, when that is not to be expected, and tells a person what is there.
    fn greet(&self, head: &RunHead) {
        if let Reading::Unavailable(failure) = &head.folder {
            self.printer
                .note(&format!("starting in `/` instead: {failure}"));
        }
        if let Some(Reading::Unavailable(failure)) = &head.applets {
            self.printer.note(&format!(
                "the agent's own curl, dig, ps, ... are not in PATH (a shell at a terminal may still have them): {failure}"
            ));
        }
        if !self.is_raw || !self.args.command.is_empty() {
            return;
        }
        let process = self.target.process();
        let (pid, name) = (process.id.pid, safe(&process.name));
        let program = format!("{}` as {}:{}", safe(&head.program), head.user, head.group);
        self.printer.note(&if self.args.chroot {
            format!("`{program}, in the file system of process {pid} ({name})")
        } else {
            format!("`{program}, beside process {pid} ({name}), whose files are below $TARGET_ROOT (/proc/{pid}/root)")
        });
        let path = safe(&head.path);
        let way_out = if self.args.no_escape {
            ""
        } else {
            "; `~.` at the start of a line ends a session that hangs"
        };
        self.printer
            .note(&format!("programs come from {path}{way_out}"));
    }

    fn enter_raw_mode(&self) -> Result<Option<RawMode>, CommandError> {
        if !self.is_raw {
            return Ok(None);
        }
        RawMode::enter().map(Some).map_err(|error| {
            let message = format!("cannot switch the terminal: {error}");
            CommandError::internal(message).hint("run it without a terminal: `-T`")
        })
    }

    /// Passes signals on; answers the exit code when this program is to end.
    async fn supervise(&self, signals: &mut Signals, input: &Input) -> ExitStatus {
        let mut passed = false;
        loop {
            match signals.next().await {
                Heard::Resized => {
                    if let (true, Some(size)) = (self.has_terminal, terminal::size()) {
                        input.resize(size);
                    }
                }
                // Keys are bytes then: this one came from elsewhere and means us.
                Heard::Ending(signal) if self.is_raw || passed => return status_of(signal),
                Heard::Ending(signal) => {
                    passed = true;
                    input.signal(signal);
                }
            }
        }
    }

    /// Passes our input on; returns when the escape is typed.
    async fn feed(&self, keys: Option<mpsc::Receiver<Vec<u8>>>, input: &Input) {
        let mut escape = (self.is_raw && !self.args.no_escape).then(Escape::default);
        if let Some(mut keys_rx) = keys {
            while let Some(keys) = keys_rx.recv().await {
                let passed = match &mut escape {
                    Some(escape) => escape.pass(&keys),
                    None => Some(keys),
                };
                let Some(passed) = passed else {
                    return;
                };
                if !input.send(&passed).await {
                    return pending().await;
                }
            }
        }
        input.finish();
        pending::<()>().await;
    }

    /// How the command ended.
    fn end(&self, reply: &Reply) -> Result<ExitStatus, CommandError> {
        match reply.trailer()? {
            RunEnd::Exited(code) => Ok(ExitStatus::Command(code)),
            RunEnd::Killed { signal } => {
                let code = 128_i32.saturating_add(signal);
                Ok(ExitStatus::Command(u8::try_from(code).unwrap_or(u8::MAX)))
            }
            RunEnd::NotStarted { errno } => Ok(self.not_started(Errno::from_raw(errno))),
        }
    }

    /// As a shell does: 127 for a program that is not there, 126 for one that cannot be executed.
    fn not_started(&self, errno: Errno) -> ExitStatus {
        let program = self.args.command.first().cloned().unwrap_or_default();
        let program = BString::from(program.into_vec());
        let is_missing = matches!(errno, Errno::ENOENT | Errno::ENOTDIR);
        let why = match errno {
            // Of a script, it may be what runs it.
            _ if is_missing => "it, or what it needs to run, is not there",
            Errno::ENOEXEC => "it is no program of this machine",
            other => other.desc(),
        };
        let message = format!("cannot run `{}`: {why}", safe(&program));
        let mut error = CommandError::new(ErrorKind::Unreachable, message);
        if is_missing && !self.args.chroot {
            error = error.hint("run the target's own programs with `--chroot`");
        }
        self.printer.error(&error);
        ExitStatus::Command(if is_missing { 127 } else { 126 })
    }
}

/// Writes what the command writes, until all of it has come.
async fn copy(reply: &mut Reply, stdout: &Sink, stderr: &Sink) -> Result<(), CommandError> {
    while let Some(piece) = reply.next().await? {
        match piece {
            Piece::Data(bytes) => stdout.write(bytes).await?,
            Piece::ErrorData(bytes) => stderr.write(bytes).await?,
            Piece::Head(_) | Piece::Hole(_) => return Err(RequestError::Unreadable.into()),
        }
    }
    Ok(())
}
