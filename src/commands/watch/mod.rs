//! `kdbg watch`: what a process and its control group use, look after look.
//!
//! On a terminal it is a screen of its own, elsewhere one line a look. Looks are raw; what they mean is worked out in
//! `evidence::usage`.

mod line;
mod screen;

use std::{
    collections::VecDeque,
    convert::Infallible,
    future::pending,
    io::{self, IsTerminal as _},
    time::{Duration, Instant},
};

use clap::Args;
use tokio::{
    sync::mpsc,
    time::{MissedTickBehavior, interval, timeout},
};

use self::screen::Screen;
use super::files::fetch::sample;
use crate::{
    cli::{
        args::{OutputFormat, TargetArgs, short_time},
        error::CommandError,
        exit::ExitStatus,
        printer::Printer,
        signals::{Heard, Signals, status_of},
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
/// How long it may take to answer.
const ANSWER: Duration = Duration::from_secs(2);
const CTRL_C: u8 = 3;
const CTRL_D: u8 = 4;
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
    // Looking -> showing: what was seen. Whoever is slow to show it holds up the next look.
    let (seen_tx, mut seen_rx) = mpsc::channel(1);
    let looking = look_on(args.interval, target, seen_tx);
    tokio::pin!(looking);
    let started = Instant::now();
    let status = loop {
        tokio::select! {
            said = view.hears() => match said {
                Said::End(status) => break status,
                Said::Resized => view.draw(&watched)?,
            },
            ended = &mut looking => match ended? {},
            Some(seen) = seen_rx.recv() => {
                match seen {
                    Seen::Restarts(restarts) => {
                        watched.restarts = restarts;
                        continue;
                    }
                    Seen::Usage(usage) => watched.add(*usage),
                }
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

/// What was seen.
enum Seen {
    Usage(Box<Usage>),
    Restarts(Lookup<Restarts>),
}

/// Looks at the process, and now and then asks the cluster, until that fails or nobody wants to know any more.
async fn look_on(
    every: Duration,
    target: &Target,
    seen_tx: mpsc::Sender<Seen>,
) -> Result<Infallible, CommandError> {
    let mut ticks = interval(every);
    // A look that took long is not made up for.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut asked: Option<Instant> = None;
    loop {
        ticks.tick().await;
        if let Place::Pod(place) = &target.place
            && asked.is_none_or(|asked| asked.elapsed() >= RESTARTS_EVERY)
        {
            let restarts = timeout(ANSWER, pod::restarts(place)).await;
            let restarts = restarts.unwrap_or_else(|_| {
                Lookup::Unreadable(format!("the API server has not answered in {ANSWER:?}"))
            });
            asked = Some(Instant::now());
            // Nobody listens only when this future is dropped too.
            let _ = seen_tx.send(Seen::Restarts(restarts)).await;
        }
        let usage = Usage::of(&sample(target).await?);
        let _ = seen_tx.send(Seen::Usage(Box::new(usage))).await;
    }
}

/// What happens at a terminal.
enum Said {
    End(ExitStatus),
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
        signals: Signals,
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
        // Before the screen: whoever ends this program from now on ends it in order.
        let signals = Signals::claim().map_err(CommandError::internal)?;
        let screen = Screen::open(printer.bytes()?).map_err(CommandError::output)?;
        let keys = if screen.has_keys() {
            Some(streams::read_input().map_err(CommandError::internal)?)
        } else {
            None
        };
        Ok(Self::Screen {
            screen: Box::new(screen),
            keys,
            signals,
        })
    }

    /// Waits for the person at the terminal, and for signals; without a screen, both end this program by themselves.
    async fn hears(&mut self) -> Said {
        let Self::Screen { keys, signals, .. } = self else {
            return pending().await;
        };
        let typed = async {
            while let Some(typed) = match keys {
                Some(keys) => keys.recv().await,
                None => None,
            } {
                for byte in typed {
                    match byte {
                        b'q' | b'Q' | CTRL_D => return ExitStatus::Complete,
                        // Every key is a byte then.
                        CTRL_C => return ExitStatus::Interrupted,
                        _ => {}
                    }
                }
            }
            pending().await
        };
        tokio::select! {
            status = typed => Said::End(status),
            heard = signals.next() => match heard {
                Heard::Resized => Said::Resized,
                Heard::Ending(signal) => Said::End(status_of(signal)),
            },
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
