//! The screen of `kdbg watch`.

use std::{
    fs::File,
    io::{self, IsTerminal as _},
};

use ratatui::{
    Frame, Terminal,
    backend::CrosstermBackend,
    layout::{Constraint, Layout, Rect},
    style::{Style, Stylize as _},
    text::{Line, Span},
    widgets::{Block, Borders, Gauge, Paragraph, Sparkline},
};

use super::{Look, Watched, line};
use crate::{
    cli::terminal::FullScreen,
    evidence::provenance::Lookup,
    render::{quantity, safe},
};

/// A screen of its own, while it lives. The terminal is as it was once it is dropped.
pub(super) struct Screen {
    terminal: Terminal<CrosstermBackend<File>>,
    // After the terminal, which must not write any more.
    guard: FullScreen,
}

impl Screen {
    pub(super) fn open(output: File) -> io::Result<Self> {
        let guard = FullScreen::enter()?;
        // Not cleared: a screen that was just switched to is empty, and `clear` asks the terminal where its cursor is,
        // whose answer is taken for keys.
        let terminal = Terminal::new(CrosstermBackend::new(output))?;
        Ok(Self { terminal, guard })
    }

    /// Whether keys arrive as they are typed.
    pub(super) fn has_keys(&self) -> bool {
        self.guard.has_keys() && io::stdin().is_terminal()
    }

    pub(super) fn draw(&mut self, watched: &Watched) -> io::Result<()> {
        self.terminal.draw(|frame| paint(frame, watched)).map(drop)
    }
}

/// Paints all of it. Pure: the same for the same looks and size.
fn paint(frame: &mut Frame<'_>, watched: &Watched) {
    let Some(look) = watched.looks.back() else {
        return;
    };
    let [title, cpu, memory, words, foot] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(6),
        Constraint::Length(6),
        Constraint::Min(0),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    frame.render_widget(Line::from(watched.title.as_str()).bold(), title);
    paint_cpu(frame, cpu, watched, look);
    paint_memory(frame, memory, watched, look);
    frame.render_widget(Paragraph::new(facts(watched, look)), words);
    frame.render_widget(Line::from("q ends").dim(), foot);
}

fn paint_cpu(frame: &mut Frame<'_>, area: Rect, watched: &Watched, look: &Look) {
    let throttled =
        line::throttled(look).map_or(String::new(), |share| format!(", throttled {share}"));
    let group = line::group_cpu(look).map_or(String::new(), |group| format!(", group {group}"));
    let title = format!(" cpu {}{group}{throttled} ", line::cpu(look));
    let used = |look: &Look| {
        let rates = look.rates?;
        rates.group_cpu.or(rates.cpu)
    };
    let values: Vec<u64> = watched
        .looks
        .iter()
        .map(|look| used(look).unwrap_or(0))
        .collect();
    // A curve that is as high as the limit touches the top.
    paint_curve(frame, area, title, &values, look.usage.group_cpu.limit);
}

fn paint_memory(frame: &mut Frame<'_>, area: Rect, watched: &Watched, look: &Look) {
    let memory = look.usage.group_memory;
    let title = format!(" memory {} ", line::memory(&look.usage));
    let [curve, bar] = Layout::vertical([Constraint::Min(0), Constraint::Length(1)]).areas(area);
    let used = |look: &Look| {
        let memory = look.usage.group_memory;
        memory.working_set.or(memory.used).or(look.usage.resident)
    };
    let values: Vec<u64> = watched
        .looks
        .iter()
        .map(|look| used(look).unwrap_or(0))
        .collect();
    paint_curve(frame, curve, title, &values, memory.limit);
    if let (Some(used), Some(limit)) = (used(look), memory.limit) {
        let percent = u16::try_from(quantity::percent(used, limit))
            .unwrap_or(100)
            .min(100);
        let style = if percent >= 90 {
            Style::new().red()
        } else {
            Style::new().green()
        };
        frame.render_widget(Gauge::default().percent(percent).gauge_style(style), bar);
    }
}

fn paint_curve(
    frame: &mut Frame<'_>,
    area: Rect,
    title: String,
    values: &[u64],
    limit: Option<u64>,
) {
    let block = Block::new().borders(Borders::TOP).title(title);
    let room = usize::from(area.width);
    let shown = values
        .get(values.len().saturating_sub(room)..)
        .unwrap_or_default();
    let highest = shown.iter().copied().max().unwrap_or(0);
    let top = limit.unwrap_or(highest).max(highest).max(1);
    // In thousandths: the widget multiplies by the height, which a number of bytes may not stand.
    let part = |value: &u64| {
        let part = u128::from(*value) * 1000 / u128::from(top);
        u64::try_from(part).unwrap_or(1000)
    };
    let curve = Sparkline::default()
        .block(block)
        .data(shown.iter().map(part))
        .max(1000);
    frame.render_widget(curve, area);
}

/// What needs no curve.
fn facts<'a>(watched: &'a Watched, look: &'a Look) -> Vec<Line<'a>> {
    let usage = &look.usage;
    let row = |name: &'static str, value: String| {
        Line::from(vec![
            Span::from(format!("{name:<12}")).dim(),
            Span::from(value),
        ])
    };
    let mut rows = vec![
        row(
            "resident",
            line::or_unknown(usage.resident.map(quantity::bytes)),
        ),
        row("threads", line::or_unknown(usage.threads)),
        row("descriptors", line::descriptors(usage)),
        row("tcp", line::sockets(usage)),
    ];
    if let Some(killed) = usage.group_memory.killed {
        let hits = usage.group_memory.met_limit.map_or(String::new(), |hits| {
            format!(", the limit was met {hits} times")
        });
        rows.push(row("oom kills", format!("{killed}{hits}")));
    }
    if let Some((whose, pressure)) = line::pressure(look) {
        rows.push(row("waits", format!("{pressure}{whose}")));
    }
    match &watched.restarts {
        Lookup::Found(restarts) => {
            let last = restarts.last.as_ref().map_or(String::new(), |last| {
                format!(", the last time: {}", safe(last.as_bytes()))
            });
            rows.push(row("restarts", format!("{}{last}", restarts.count)));
        }
        Lookup::Unreadable(why) => {
            rows.push(row("restarts", format!("? {}", safe(why.as_bytes()))));
        }
        Lookup::Missing => {}
    }
    for why in &usage.unread {
        rows.push(row("not read", safe(why.as_bytes())));
    }
    rows
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use insta::assert_snapshot;
    use ratatui::backend::TestBackend;

    use super::*;
    use crate::{
        evidence::usage::{Cpu, Memory, Pressures, Rates, Usage},
        protocol::message::{SocketCount, SocketState},
        target::pod::Restarts,
    };

    fn look(used: u64) -> Look {
        Look {
            usage: Usage {
                threads: Some(3),
                resident: Some(20 << 20),
                descriptors: Some(12),
                descriptor_limit: Some(1024),
                sockets: Some(vec![SocketCount {
                    state: SocketState::Listening,
                    count: 1,
                }]),
                group_cpu: Cpu {
                    used: Some(9),
                    limit: Some(500),
                    ..Cpu::default()
                },
                group_memory: Memory {
                    used: Some(used),
                    limit: Some(64 << 20),
                    killed: Some(1),
                    ..Memory::default()
                },
                ..Usage::default()
            },
            rates: Some(Rates {
                over: 1_000_000,
                cpu: Some(200),
                group_cpu: Some(250),
                throttled: Some(400),
                pressure: Pressures {
                    cpu: Some(15),
                    ..Pressures::default()
                },
                ..Rates::default()
            }),
        }
    }

    fn painted(watched: &Watched, width: u16, height: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|frame| paint(frame, watched)).unwrap();
        terminal.backend().to_string()
    }

    fn watched(looks: VecDeque<Look>) -> Watched {
        Watched {
            title: "pod web-1, container app, process 7 (server)".to_owned(),
            pid: 7,
            looks,
            restarts: Lookup::Found(Restarts {
                count: 2,
                last: Some("OOMKilled, exit code 137".to_owned()),
            }),
            whole: true,
        }
    }

    #[test]
    fn the_screen_says_what_is_used_against_what_may_be() {
        let watched = watched([look(16 << 20), look(32 << 20)].into());
        assert_snapshot!(painted(&watched, 72, 22), @r#"
        "pod web-1, container app, process 7 (server)                            "
        " cpu 20.0 %, group 25.0 % of 50.0 %, throttled 40.0 % ──────────────────"
        "                                                                        "
        "                                                                        "
        "▄▄                                                                      "
        "██                                                                      "
        "██                                                                      "
        " memory 32.0 MiB of 64.0 MiB (50 %) ────────────────────────────────────"
        "                                                                        "
        "                                                                        "
        " █                                                                      "
        "██                                                                      "
        "██████████████████████████████████50%                                   "
        "resident    20.0 MiB                                                    "
        "threads     3                                                           "
        "descriptors 12 of 1024                                                  "
        "tcp         1 listening                                                 "
        "oom kills   1                                                           "
        "waits       cpu 1.5 % mem ? io ?                                        "
        "restarts    2, the last time: OOMKilled, exit code 137                  "
        "                                                                        "
        "q ends                                                                  "
        "#);
    }

    #[test]
    fn no_size_of_a_screen_breaks_it() {
        let watched = watched([look(1), look(u64::MAX)].into());
        for (width, height) in [(1, 1), (3, 40), (200, 2), (80, 24)] {
            painted(&watched, width, height);
        }
        painted(&self::watched(VecDeque::new()), 80, 24);
    }
}
