//! `kdbg watch`: what a process and its control group use, look after look.
//!
//! On a terminal it is a screen of its own, elsewhere one line a look. Looks are raw; what they mean is worked out in
//! `evidence::usage`.

mod line;
mod screen;

use std::{
    collections::VecDeque,
    future::pending,
    io::{self, IsTerminal as _},
    time::{Duration, Instant},
};

use clap::Args;
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc,
    time::{MissedTickBehavior, interval},
};

use self::screen::Screen;
use super::files::fetch::sample;
use crate::{
    cli::{
        args::{OutputFormat, TargetArgs, short_time},
        error::CommandError,
        exit::ExitStatus,
        printer::Printer,
    },
    commands::attach::streams,
    evidence::{
        provenance::Lookup,
        usage::{Rates, Usage, rates},
    },
    target::{
        Place, Target,
        pod::{self, Restarts},
    },
};

/// Arguments of `kdbg watch`.
#[derive(Args, Debug)]
pub struct WatchArgs {
    #[command(flatten)]
    target: TargetArgs,
    /// The time between two looks
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = short_time)]
    interval: Duration,
    /// Look for so long; without it until Ctrl-C, or `q` on a terminal
    #[arg(long = "for", value_name = "TIME", value_parser = short_time)]
    duration: Option<Duration>,
    /// How to print it; `json` is one line a look
    #[arg(short, long, value_enum, value_name = "FORMAT", default_value_t)]
    output: OutputFormat,
    /// Print lines, also on a terminal
    #[arg(long)]
    lines: bool,
}

/// How often the cluster is asked for restarts.
const RESTARTS_EVERY: Duration = Duration::from_secs(5);
/// Looks that are kept for the curves.
const KEPT: usize = 512;

/// One look, and what happened since the one before.
#[derive(Clone, Debug, Default)]
struct Look {
    usage: Usage,
    rates: Option<Rates>,
}

/// All that is known of the target by now.
struct Watched {
    /// What it is, in a line.
    title: String,
    pid: u32,
    /// The last look is the last one.
    looks: VecDeque<Look>,
    /// `Missing` on this machine.
    restarts: Lookup<Restarts>,
    /// Whether every look was whole.
    whole: bool,
}

impl Watched {
    fn new(target: &Target) -> Self {
        let process = target.process();
        let name = crate::render::safe(&process.name);
        let place = match &target.place {
            Place::Machine(_) => String::new(),
            Place::Pod(place) => format!("pod {}, container {}, ", place.pod, place.container),
        };
        Self {
            title: format!("{place}process {} ({name})", process.id.pid),
            pid: process.id.pid,
            looks: VecDeque::new(),
            restarts: Lookup::Missing,
            whole: true,
        }
    }

    fn add(&mut self, usage: Usage) {
        let before = self.looks.back();
        let rates = before.and_then(|before| rates(&before.usage, &usage));
        self.whole &= usage.is_whole();
        self.looks.push_back(Look { usage, rates });
        if self.looks.len() > KEPT {
            self.looks.pop_front();
        }
    }
}

/// Runs `kdbg watch`.
pub async fn run(args: WatchArgs, printer: &mut Printer) -> Result<ExitStatus, CommandError> {
    if args.target.cluster.all {
        return Err(
            CommandError::usage("a screen shows one pod, not all of them").hint("name one of them"),
        );
    }
    let target = super::open(&args.target, printer).await?;
    let result = watch(&args, &target, printer).await;
    target.close().await;
    result
}

async fn watch(
    args: &WatchArgs,
    target: &Target,
    printer: &mut Printer,
) -> Result<ExitStatus, CommandError> {
    let on_screen = args.output == OutputFormat::Text && !args.lines && io::stdout().is_terminal();
    let mut view = View::open(args, on_screen, printer)?;
    let mut watched = Watched::new(target);
    let mut ticks = interval(args.interval);
    // A look that took long is not made up for.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut ask_cluster = interval(RESTARTS_EVERY);
    ask_cluster.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let started = Instant::now();
    let status = loop {
        tokio::select! {
            // In this order: what the cluster says belongs to the look that follows.
            biased;
            said = view.hears() => match said {
                Said::Quit => break ExitStatus::Complete,
                Said::Resized => view.draw(&watched)?,
            },
            _ = ask_cluster.tick() => {
                if let Place::Pod(place) = &target.place {
                    watched.restarts = pod::restarts(place).await;
                }
            }
            _ = ticks.tick() => {
                watched.add(Usage::of(&sample(target).await?));
                view.show(&watched, printer)?;
                if args.duration.is_some_and(|all| started.elapsed() >= all) {
                    break ExitStatus::Complete;
                }
            }
        }
    };
    // The terminal is as it was before anything is said about the end.
    drop(view);
    let unread = watched.looks.back().map(|look| look.usage.unread.clone());
    for why in unread.unwrap_or_default() {
        printer.warning(&why);
    }
    if let Lookup::Unreadable(why) = &watched.restarts {
        printer.warning(why);
        watched.whole = false;
    }
    Ok(match status {
        ExitStatus::Complete if !watched.whole => ExitStatus::Incomplete,
        status => status,
    })
}

/// What happens at a terminal.
enum Said {
    Quit,
    Resized,
}

/// Where looks are shown.
enum View {
    Lines {
        format: OutputFormat,
        shown: u64,
    },
    Screen {
        screen: Box<Screen>,
        keys: Option<mpsc::Receiver<Vec<u8>>>,
        resized: Signal,
    },
}

impl View {
    fn open(
        args: &WatchArgs,
        on_screen: bool,
        printer: &mut Printer,
    ) -> Result<Self, CommandError> {
        if !on_screen {
            return Ok(Self::Lines {
                format: args.output,
                shown: 0,
            });
        }
        let resized = signal(SignalKind::window_change()).map_err(CommandError::internal)?;
        let screen = Screen::open(printer.bytes()?).map_err(CommandError::output)?;
        let keys = if screen.has_keys() {
            Some(streams::read_input().map_err(CommandError::internal)?)
        } else {
            None
        };
        Ok(Self::Screen {
            screen: Box::new(screen),
            keys,
            resized,
        })
    }

    /// Waits for the person at the terminal; nobody is at one that is none.
    async fn hears(&mut self) -> Said {
        let Self::Screen { keys, resized, .. } = self else {
            return pending().await;
        };
        let quits = async {
            while let Some(typed) = match keys {
                Some(keys) => keys.recv().await,
                None => None,
            } {
                // Every key is a byte then, Ctrl-C and Ctrl-D too.
                if typed.iter().any(|byte| matches!(byte, b'q' | b'Q' | 3 | 4)) {
                    return;
                }
            }
            pending().await
        };
        tokio::select! {
            () = quits => Said::Quit,
            _ = resized.recv() => Said::Resized,
        }
    }

    fn draw(&mut self, watched: &Watched) -> Result<(), CommandError> {
        match self {
            Self::Screen { screen, .. } => screen.draw(watched).map_err(CommandError::output),
            Self::Lines { .. } => Ok(()),
        }
    }

    /// Shows the last look.
    fn show(&mut self, watched: &Watched, printer: &mut Printer) -> Result<(), CommandError> {
        let Self::Lines { format, shown } = self else {
            return self.draw(watched);
        };
        match format {
            OutputFormat::Text => line::text(watched, *shown, printer)?,
            OutputFormat::Json => line::json(watched, printer)?,
        }
        *shown += 1;
        // Whoever reads it wants to see it now.
        printer.finish()
    }
}
