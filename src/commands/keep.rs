//! `kdbg keep`: holds a session to a pod ready, for the commands of this user on this machine.

use std::{
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use clap::Args;
use serde::Serialize;
use tokio::sync::mpsc;

use crate::{
    cli::{
        args::{AgentArgs, ClusterArgs, OutputFormat, duration},
        error::{CommandError, ErrorKind},
        exit::ExitStatus,
        printer::Printer,
        signals::{Heard, Signals, status_of},
    },
    keep::{Event, Folder, FolderError, Keeper, Lender, Settings, Why},
    protocol::Hello,
    render::JsonBytes,
    target::{
        Selector,
        pod::{PodOptions, keep::Kept},
    },
};

/// More would only be processes that wait in the pod.
const MOST_SPARES: u8 = 8;

/// Arguments of `kdbg keep`.
#[derive(Args, Debug)]
pub struct KeepArgs {
    /// The pod (`web-7f9c`), or something that has pods (`deploy/web`): the best of them is taken
    #[arg(value_name = "TARGET", required_unless_present = "labels")]
    target: Option<String>,
    /// End after this time, whoever uses it; `--idle` ends it when no command has come for that long
    #[arg(long = "for", value_name = "TIME", value_parser = duration)]
    life: Option<Duration>,
    /// How many sessions to hold ready, for commands that come at once
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=i64::from(MOST_SPARES)))]
    spares: u8,
    #[command(flatten)]
    cluster: ClusterArgs,
    #[command(flatten)]
    agent: AgentArgs,
    /// How to tell what happens: JSON is one line each time
    #[arg(short, long, value_enum, value_name = "FORMAT", default_value_t)]
    output: OutputFormat,
}

/// Runs `kdbg keep`.
pub async fn run(args: KeepArgs, printer: &mut Printer) -> Result<ExitStatus, CommandError> {
    let selector = Selector::of(args.target.as_deref(), args.cluster.labels.as_deref())?;
    check(&args, &selector)?;
    let idle = args.agent.idle;
    let progress = printer.progress(format!("getting beside {selector}"));
    let kept = Arc::new(Kept::open(options(&args), &selector).await?);
    drop(progress);
    let lenders = kept.lend(&Folder::ours()).await.map_err(not_kept)?;
    let mut teller = Teller {
        kept: &kept,
        sockets: lenders
            .iter()
            .map(Lender::path)
            .map(Path::to_owned)
            .collect(),
        format: args.output,
        printer,
    };
    let mut signals = Signals::claim().map_err(CommandError::internal)?;
    let (events_tx, mut events_rx) = mpsc::unbounded_channel();
    let (stop_tx, stop_rx) = mpsc::unbounded_channel();
    let settings = Settings {
        spares: args.spares.into(),
        idle,
        life: args.life,
    };
    let mut keeping = std::pin::pin!(
        Keeper::new(Arc::clone(&kept) as Arc<_>, settings, events_tx).run(lenders, stop_rx)
    );
    let mut heard = None;
    let why = loop {
        tokio::select! {
            why = &mut keeping => break why,
            Some(event) = events_rx.recv() => teller.say(&event)?,
            signal = signals.next() => if let Heard::Ending(signal) = signal {
                heard.get_or_insert(signal);
                // Its receiver goes with the loop that is about to end.
                let _ = stop_tx.send(());
            },
        }
    };
    let (reason, because) = match &why {
        Why::Idle => ("idle", format!("no command has come for {}", shown(idle))),
        Why::Life => ("time", "the time is over".to_owned()),
        Why::Stopped => ("stopped", "it was told to end".to_owned()),
        Why::Over(because) => ("over", because.clone()),
    };
    teller.line("ended", Some(reason), Some(&because))?;
    match why {
        Why::Idle | Why::Life => {
            printer.note(&because);
            Ok(ExitStatus::Complete)
        }
        Why::Stopped => Ok(heard.map_or(ExitStatus::Complete, status_of)),
        Why::Over(reason) => Err(CommandError::new(ErrorKind::Unreachable, reason)),
    }
}

fn check(args: &KeepArgs, selector: &Selector) -> Result<(), CommandError> {
    if matches!(selector, Selector::Pid(_) | Selector::Name(_)) {
        return Err(CommandError::usage(
            "on this machine there is nothing to keep: an agent starts in a few milliseconds",
        )
        .hint("name a pod"));
    }
    if args.cluster.all {
        return Err(
            CommandError::usage("one pod is kept, not all of them").hint("leave out `--all`")
        );
    }
    Ok(())
}

fn options(args: &KeepArgs) -> PodOptions {
    PodOptions {
        cluster: args.cluster.options(),
        container: args.cluster.container.clone(),
        image: args.agent.image.clone(),
        idle: args.agent.idle,
        limit: args.agent.timeout,
        privileged: args.agent.privileged,
        chroot: false,
        // Its own it must not take from another keeper.
        keep: false,
    }
}

/// Tells what becomes of the sessions: a person in notes, a program in lines.
struct Teller<'a> {
    kept: &'a Kept,
    sockets: Vec<PathBuf>,
    format: OutputFormat,
    printer: &'a mut Printer,
}

/// What has happened, for a program.
#[derive(Serialize)]
struct Line<'a> {
    schema: u32,
    event: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    because: Option<&'a str>,
    namespace: &'a str,
    pod: &'a str,
    container: &'a str,
    /// The agents' container; not there while there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    agent: Option<AgentRow>,
    sockets: Vec<JsonBytes<'a>>,
}

#[derive(Serialize)]
struct AgentRow {
    container: String,
    image: String,
    version: String,
    rung: char,
    rights: String,
}

impl Teller<'_> {
    fn say(&mut self, event: &Event) -> Result<(), CommandError> {
        let (pod, container) = (self.kept.pod(), self.kept.container());
        match event {
            Event::Ready => {
                let agent = self.kept.agent().map_or_else(String::new, |agent| {
                    format!(" (agent {}, {})", agent.container, agent.rung)
                });
                self.printer.note(&format!(
                    "a session to pod {pod}, container {container} is ready{agent}"
                ));
                self.line("ready", None, None)
            }
            Event::Fallen(reason) => {
                self.printer.note(&format!(
                    "no session is ready: {reason}; commands start their own"
                ));
                self.line("fallen", None, Some(reason))
            }
            Event::Ending(commands) => {
                self.printer.note(&format!(
                    "waiting for {} that use a session; again to end them",
                    super::subject::counted(*commands as u64, "command")
                ));
                Ok(())
            }
        }
    }

    /// Writes a line for a program, at once: it may wait for it.
    fn line(
        &mut self,
        event: &'static str,
        reason: Option<&'static str>,
        because: Option<&str>,
    ) -> Result<(), CommandError> {
        if self.format == OutputFormat::Text {
            return Ok(());
        }
        let sockets = self.sockets.iter();
        let line = Line {
            schema: 1,
            event,
            reason,
            because,
            namespace: self.kept.namespace(),
            pod: self.kept.pod(),
            container: self.kept.container(),
            agent: self.kept.agent().map(|agent| AgentRow {
                container: agent.container,
                image: agent.image,
                version: Hello::ours().name(),
                rung: agent.rung.letter(),
                rights: agent.rung.to_string(),
            }),
            sockets: sockets
                .map(|path| JsonBytes(path.as_os_str().as_bytes()))
                .collect(),
        };
        let out = self.printer.data();
        serde_json::to_writer(&mut *out, &line)
            .map_err(|error| CommandError::output(error.into()))?;
        out.write_all(b"\n").map_err(CommandError::output)?;
        self.printer.finish()
    }
}

fn not_kept(error: FolderError) -> CommandError {
    match error {
        FolderError::Taken { .. } => {
            CommandError::usage(error).hint("use that one, or end it with Ctrl-C first")
        }
        FolderError::Unsafe { .. } | FolderError::TooLong { .. } => {
            CommandError::usage(error).hint("set XDG_RUNTIME_DIR to a folder of your own")
        }
        error => CommandError::internal(error),
    }
}

/// A time as it would be typed.
fn shown(time: Duration) -> String {
    match time.as_secs() {
        seconds if seconds % 3600 == 0 => format!("{} h", seconds / 3600),
        seconds if seconds % 60 == 0 => format!("{} min", seconds / 60),
        seconds => format!("{seconds} s"),
    }
}
