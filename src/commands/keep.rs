//! `kdbg keep`: holds a session to a pod ready, for the commands of this user on this machine.

use std::{sync::Arc, time::Duration};

use clap::Args;
use tokio::sync::mpsc;

use crate::{
    cli::{
        args::{AgentArgs, ClusterArgs, duration},
        error::{CommandError, ErrorKind},
        exit::ExitStatus,
        printer::Printer,
        signals::{Heard, Signals, status_of},
    },
    keep::{Event, Folder, FolderError, Keeper, Settings, Why},
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
            Some(event) = events_rx.recv() => say(&event, &kept, printer),
            signal = signals.next() => if let Heard::Ending(signal) = signal {
                heard.get_or_insert(signal);
                // Its receiver goes with the loop that is about to end.
                let _ = stop_tx.send(());
            },
        }
    };
    match why {
        Why::Idle => {
            printer.note(&format!("no command has come for {}", shown(idle)));
            Ok(ExitStatus::Complete)
        }
        Why::Life => {
            printer.note("the time is over");
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
        // Its own it must not take from another keeper.
        keep: false,
    }
}

fn say(event: &Event, kept: &Kept, printer: &Printer) {
    match event {
        Event::Ready => {
            let agent = kept.agent().map_or_else(String::new, |(name, rung)| {
                format!(" (agent {name}, {rung})")
            });
            printer.note(&format!(
                "a session to pod {}, container {} is ready{agent}",
                kept.pod(),
                kept.container()
            ));
        }
        Event::Fallen(reason) => printer.note(&format!(
            "no session is ready: {reason}; commands start their own"
        )),
        Event::Ending(commands) => printer.note(&format!(
            "waiting for {} that use a session; again to end them",
            super::subject::counted(*commands as u64, "command")
        )),
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
