//! One line a look: for people whose output is no terminal, and as JSON.

use std::collections::BTreeMap;

use jiff::{Timestamp, tz::TimeZone};
use serde::Serialize;

use super::{Look, Watched};
use crate::{
    cli::{error::CommandError, printer::Printer},
    evidence::{
        provenance::Lookup,
        usage::{Pressures, Usage},
    },
    protocol::message::SocketState,
    render::quantity,
};

/// Prints the last look as a line of words and numbers.
pub(super) fn text(
    watched: &Watched,
    shown: u64,
    printer: &mut Printer,
) -> Result<(), CommandError> {
    let Some(look) = watched.looks.back() else {
        return Ok(());
    };
    if shown == 0 {
        printer.note(&watched.title);
    }
    let time = Timestamp::from_millisecond(look.usage.wall)
        .unwrap_or_default()
        .to_zoned(TimeZone::system());
    let parts = parts(look, watched).join("  ");
    writeln!(printer.data(), "{}  {parts}", time.strftime("%H:%M:%S")).map_err(CommandError::output)
}

/// What a look says, each part with its name. `?` is what is not known.
fn parts(look: &Look, watched: &Watched) -> Vec<String> {
    let usage = &look.usage;
    let mut parts = vec![format!("cpu {}", cpu(look))];
    if let Some(group) = group_cpu(look) {
        parts.push(format!("group {group}"));
    }
    if let Some(throttled) = throttled(look) {
        parts.push(format!("throttled {throttled}"));
    }
    parts.push(format!("mem {}", memory(usage)));
    parts.push(format!(
        "rss {}",
        or_unknown(usage.resident.map(quantity::bytes))
    ));
    if let Some(killed) = usage.group_memory.killed {
        parts.push(format!("oom-kills {killed}"));
    }
    parts.push(format!("threads {}", or_unknown(usage.threads)));
    parts.push(format!("fds {}", descriptors(usage)));
    parts.push(format!("tcp {}", sockets(usage)));
    if let Some((whose, pressures)) = pressure(look) {
        parts.push(format!("waits{whose} {pressures}"));
    }
    match &watched.restarts {
        Lookup::Found(restarts) => parts.push(format!("restarts {}", restarts.count)),
        Lookup::Unreadable(_) => parts.push("restarts ?".to_owned()),
        Lookup::Missing => {}
    }
    parts
}

/// Processor time of the process.
pub(super) fn cpu(look: &Look) -> String {
    let used = look.rates.and_then(|rates| rates.cpu);
    used.map_or_else(|| "-".to_owned(), share)
}

/// Processor time of its group against what that may use; `None` where the kernel does not count it.
pub(super) fn group_cpu(look: &Look) -> Option<String> {
    look.usage.group_cpu.used?;
    let used = look.rates.and_then(|rates| rates.group_cpu);
    let used = used.map_or_else(|| "-".to_owned(), share);
    Some(match look.usage.group_cpu.limit {
        Some(limit) => format!("{used} of {}", share(limit)),
        None => used,
    })
}

/// How much of the time in which the group wanted to run it was stopped; `None` where nothing can stop it.
pub(super) fn throttled(look: &Look) -> Option<String> {
    look.usage.group_cpu.limit?;
    let share_of = look.rates.and_then(|rates| rates.throttled);
    Some(share_of.map_or_else(|| "-".to_owned(), share))
}

/// Memory of the group against its limit.
pub(super) fn memory(usage: &Usage) -> String {
    let memory = usage.group_memory;
    let used = memory.working_set.or(memory.used);
    match (used, memory.limit) {
        (Some(used), Some(limit)) => format!(
            "{} of {} ({} %)",
            quantity::bytes(used),
            quantity::bytes(limit),
            quantity::percent(used, limit)
        ),
        (Some(used), None) => quantity::bytes(used),
        (None, _) => "?".to_owned(),
    }
}

/// Descriptors against their limit.
pub(super) fn descriptors(usage: &Usage) -> String {
    let count = or_unknown(usage.descriptors);
    match usage.descriptor_limit {
        Some(limit) => format!("{count} of {limit}"),
        None => count,
    }
}

/// Sockets by state; `0` when there are none.
pub(super) fn sockets(usage: &Usage) -> String {
    let Some(sockets) = &usage.sockets else {
        return "?".to_owned();
    };
    let counts: Vec<_> = sockets
        .iter()
        .map(|row| format!("{} {}", row.count, state(row.state)))
        .collect();
    if counts.is_empty() {
        "0".to_owned()
    } else {
        counts.join(", ")
    }
}

/// How much of the time something waited, and whose: that of the group, else of the machine.
pub(super) fn pressure(look: &Look) -> Option<(&'static str, String)> {
    let rates = look.rates?;
    let is_known = |one: &Pressures| one.cpu.is_some() || one.memory.is_some() || one.io.is_some();
    let (whose, pressures) = [("", rates.pressure), (" (machine)", rates.machine_pressure)]
        .into_iter()
        .find(|(_, pressures)| is_known(pressures))?;
    let one = |name: &str, value: Option<u64>| format!("{name} {}", or_unknown(value.map(share)));
    let all = [
        one("cpu", pressures.cpu),
        one("mem", pressures.memory),
        one("io", pressures.io),
    ];
    Some((whose, all.join(" ")))
}

/// Thousandths as a percentage.
fn share(thousandths: u64) -> String {
    format!("{}.{} %", thousandths / 10, thousandths % 10)
}

pub(super) fn or_unknown(value: Option<impl ToString>) -> String {
    value.map_or_else(|| "?".to_owned(), |value| value.to_string())
}

/// A state as ss(8) has it.
const fn state(state: SocketState) -> &'static str {
    match state {
        SocketState::Established => "established",
        SocketState::SynSent => "syn-sent",
        SocketState::SynReceived => "syn-recv",
        SocketState::FinWait1 => "fin-wait-1",
        SocketState::FinWait2 => "fin-wait-2",
        SocketState::TimeWait => "time-wait",
        SocketState::Closed => "closed",
        SocketState::CloseWait => "close-wait",
        SocketState::LastAck => "last-ack",
        SocketState::Listening => "listening",
        SocketState::Closing => "closing",
    }
}

/// A look as JSON. Shares are in thousandths, of one processor or of the time; `null` is not known.
#[derive(Serialize)]
struct Line<'a> {
    schema: u32,
    at: String,
    /// The time since the look before, over which the shares are.
    over_microseconds: Option<u64>,
    process: ProcessRow,
    group: GroupRow,
    pressure: PressureRow,
    machine_pressure: PressureRow,
    sockets: Option<BTreeMap<&'static str, u32>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    restarts: Option<RestartsRow<'a>>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    unavailable: &'a [String],
}

#[derive(Serialize)]
struct ProcessRow {
    pid: u32,
    state: Option<char>,
    cpu: Option<u64>,
    cpu_microseconds: Option<u64>,
    threads: Option<u64>,
    resident_bytes: Option<u64>,
    swapped_bytes: Option<u64>,
    descriptors: Option<u64>,
    descriptor_limit: Option<u64>,
}

#[derive(Serialize)]
struct GroupRow {
    cpu: Option<u64>,
    cpu_limit: Option<u64>,
    cpu_microseconds: Option<u64>,
    throttled: Option<u64>,
    periods: Option<u64>,
    throttled_periods: Option<u64>,
    throttled_microseconds: Option<u64>,
    memory_bytes: Option<u64>,
    working_set_bytes: Option<u64>,
    memory_limit_bytes: Option<u64>,
    memory_high_bytes: Option<u64>,
    memory_peak_bytes: Option<u64>,
    memory_limit_hits: Option<u64>,
    oom_kills: Option<u64>,
    tasks: Option<u64>,
    task_limit: Option<u64>,
}

#[derive(Serialize)]
struct PressureRow {
    cpu: Option<u64>,
    memory: Option<u64>,
    io: Option<u64>,
}

#[derive(Serialize)]
struct RestartsRow<'a> {
    count: u64,
    last: Option<&'a str>,
}

/// Prints the last look as a line of JSON.
pub(super) fn json(watched: &Watched, printer: &mut Printer) -> Result<(), CommandError> {
    let Some(look) = watched.looks.back() else {
        return Ok(());
    };
    let out = printer.data();
    serde_json::to_writer(&mut *out, &Line::new(look, watched))
        .map_err(|error| CommandError::output(error.into()))?;
    out.write_all(b"\n").map_err(CommandError::output)
}

impl<'a> Line<'a> {
    fn new(look: &'a Look, watched: &'a Watched) -> Self {
        let usage = &look.usage;
        let rates = look.rates.unwrap_or_default();
        let (cpu, memory) = (usage.group_cpu, usage.group_memory);
        let row = |pressures: Pressures| PressureRow {
            cpu: pressures.cpu,
            memory: pressures.memory,
            io: pressures.io,
        };
        Self {
            schema: 1,
            at: Timestamp::from_millisecond(usage.wall)
                .unwrap_or_default()
                .to_string(),
            over_microseconds: look.rates.map(|rates| rates.over),
            process: ProcessRow {
                pid: watched.pid,
                state: usage.state,
                cpu: rates.cpu,
                cpu_microseconds: usage.cpu,
                threads: usage.threads,
                resident_bytes: usage.resident,
                swapped_bytes: usage.swapped,
                descriptors: usage.descriptors,
                descriptor_limit: usage.descriptor_limit,
            },
            group: GroupRow {
                cpu: rates.group_cpu,
                cpu_limit: cpu.limit,
                cpu_microseconds: cpu.used,
                throttled: rates.throttled,
                periods: cpu.periods,
                throttled_periods: cpu.throttled_periods,
                throttled_microseconds: cpu.throttled,
                memory_bytes: memory.used,
                working_set_bytes: memory.working_set,
                memory_limit_bytes: memory.limit,
                memory_high_bytes: memory.high,
                memory_peak_bytes: memory.peak,
                memory_limit_hits: memory.met_limit,
                oom_kills: memory.killed,
                tasks: usage.group_tasks.count,
                task_limit: usage.group_tasks.limit,
            },
            pressure: row(rates.pressure),
            machine_pressure: row(rates.machine_pressure),
            sockets: usage.sockets.as_ref().map(|sockets| {
                sockets
                    .iter()
                    .map(|row| (state(row.state), row.count))
                    .collect()
            }),
            restarts: watched.restarts.found().map(|restarts| RestartsRow {
                count: restarts.count,
                last: restarts.last.as_deref(),
            }),
            unavailable: &usage.unread,
        }
    }
}
