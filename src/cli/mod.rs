//! What was typed, and everything that a person sees of a run as a whole: the printer, the errors with
//! their hints, and the exit codes.

pub mod args;
pub mod command;
pub mod error;
pub mod exit;
pub mod printer;
pub mod progress;
pub mod signals;
pub mod terminal;

use std::{process::ExitCode, time::Duration};

use clap::{CommandFactory as _, Parser as _};
use tokio::signal::unix::{SignalKind, signal};

use self::{
    command::{Cli, Command},
    error::CommandError,
    exit::ExitStatus,
    printer::Printer,
};
use crate::commands;

/// How long work that cannot be interrupted may go on after an interruption.
const SHUTDOWN_LIMIT: Duration = Duration::from_secs(2);

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    let mut printer = Printer::new(&cli.global);
    start_log(&cli.global, &printer);
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return ExitCode::from(report(&printer, &CommandError::internal(error))),
    };
    let result = runtime.block_on(async {
        let interrupted = tokio::spawn(interrupted());
        tokio::select! {
            result = run(cli.command, &mut printer) => result,
            Ok(status) = interrupted => Ok(status),
        }
    });
    // Long enough for a fetch to end its git; a read of a dead file system must not keep the program alive.
    runtime.shutdown_timeout(SHUTDOWN_LIMIT);
    let code = match result {
        Ok(status @ (ExitStatus::Interrupted | ExitStatus::Terminated)) => {
            // Nobody may be reading: what is still buffered is dropped with the program.
            std::mem::forget(printer);
            status.code()
        }
        result => match result.and_then(|status| printer.finish().map(|()| status)) {
            Ok(status) => status.code(),
            Err(error) => report(&printer, &error),
        },
    };
    ExitCode::from(code)
}

async fn run(command: Command, printer: &mut Printer) -> Result<ExitStatus, CommandError> {
    match command {
        Command::Attach(args) => commands::attach::run(args, printer).await,
        Command::Ps(args) => commands::ps::run(args, printer).await,
        Command::Diagnose(args) => Box::pin(commands::diagnose::run(args, printer)).await,
        Command::Env(args) => commands::env::run(args, printer).await,
        Command::Files(args) => commands::files::run(args, printer).await,
        Command::Ls(args) => commands::ls::run(args, printer).await,
        Command::Cat(args) => commands::cat::run(args, printer).await,
        Command::Pull(args) => commands::pull::run(args, printer).await,
        Command::Snapshot(args) => commands::snapshot::run(args, printer).await,
        Command::DiffSrc(args) => commands::diff_src::run(args, printer).await,
        Command::Doctor(args) => commands::doctor::run(args, printer).await,
        Command::Keep(args) => commands::keep::run(args, printer).await,
        Command::Cleanup(args) => commands::cleanup::run(args, printer).await,
        Command::DiffPod(args) => commands::diff_pod::run(args, printer).await,
        Command::WhichRef(args) => commands::which_ref::run(args, printer).await,
        Command::Completions(args) => commands::completions::run(&args, Cli::command(), printer),
        Command::Curl(args) => commands::curl::run(args, printer).await,
        Command::Dig(args) => commands::dig::run(args, printer).await,
        Command::Net(args) => commands::net::run(args, printer).await,
        Command::Tcp(args) => commands::tcp::run(args, printer).await,
        Command::Watch(args) => commands::watch::run(args, printer).await,
        Command::Man(args) => commands::man::run(&args, Cli::command(), printer),
    }
}

/// Resolves when the user, or whoever runs this program, wants it to stop, unless the command has claimed that. Runs beside the command: that may be
/// stuck in a write to a pipe that nobody reads, and is then ended from here.
#[expect(clippy::exit, reason = "the command is stuck and will not return")]
async fn interrupted() -> ExitStatus {
    let (Ok(mut interrupt), Ok(mut terminate)) = (
        signal(SignalKind::interrupt()),
        signal(SignalKind::terminate()),
    ) else {
        return std::future::pending().await;
    };
    let status = loop {
        let status = tokio::select! {
            _ = interrupt.recv() => ExitStatus::Interrupted,
            _ = terminate.recv() => ExitStatus::Terminated,
        };
        if !signals::are_claimed() {
            break status;
        }
    };
    std::thread::spawn(move || {
        std::thread::sleep(2 * SHUTDOWN_LIMIT);
        terminal::restore();
        std::process::exit(status.code().into());
    });
    status
}

/// clap's own errors, help and version; its codes for them are 2 and 0.
fn usage(error: &clap::Error) -> ExitCode {
    // Nothing can be done when even this cannot be printed.
    let _ = error.print();
    if error.use_stderr() {
        ExitCode::from(ExitStatus::Usage.code())
    } else {
        ExitCode::SUCCESS
    }
}

/// Prints an error with its hints and answers the exit code that it asks for.
fn report(printer: &Printer, error: &CommandError) -> u8 {
    if error.is_broken_pipe() {
        // Whoever read the output has seen enough of it.
        return ExitStatus::Complete.code();
    }
    printer.error(error);
    error.exit_status().code()
}

fn start_log(global: &args::Global, printer: &Printer) {
    let level = match global.verbose {
        0 => "warn",
        1 => "kdbg=info",
        2 => "kdbg=debug",
        _ => "trace",
    };
    let filter = tracing_subscriber::EnvFilter::try_from_env("KDBG_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new(level));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(printer.colours_errors())
        .init();
}
