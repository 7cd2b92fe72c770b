//! `ps`: the processes that the agent sees, which in a pod are the target's, the agent's and those of this shell.

use std::{
    ffi::OsString,
    io::Write,
    time::{SystemTime, UNIX_EPOCH},
};

use bstr::ByteSlice as _;
use lexopt::{
    Arg::{Long, Short, Value},
    ValueExt as _,
};

use super::{Trouble, ask, harmless};
use crate::protocol::message::{Process, ProcessScope, Reading, Request};

/// Prints the processes.
pub(super) fn run(arguments: &[OsString], out: &mut dyn Write) -> Result<u8, Trouble> {
    let wanted = Wanted::parse(arguments)?;
    // Whatever the target is: the list begins with who cannot be looked at any more.
    ask::target()?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = i64::try_from(now.unwrap_or_default().as_millis()).unwrap_or(0);
    let mut lines = Vec::new();
    ask::rows(
        &Request::Processes(ProcessScope::All),
        |process: Process| {
            if wanted.shows(&process) {
                let cells = wanted
                    .columns
                    .iter()
                    .map(|column| column.cell(&process, now));
                lines.push((process.id.pid, cells.collect::<Vec<_>>()));
            }
            Ok(())
        },
    )?;
    lines.sort_by_key(|(pid, _)| *pid);
    let is_none = lines.is_empty();
    let mut table: Vec<Vec<Vec<u8>>> = lines.into_iter().map(|(_, cells)| cells).collect();
    if wanted.has_titles() {
        let titles = wanted
            .columns
            .iter()
            .map(|column| column.title.clone().into_bytes());
        table.insert(0, titles.collect());
    }
    print(&table, &wanted.columns, out)?;
    Ok(u8::from(is_none))
}

fn print(table: &[Vec<Vec<u8>>], columns: &[Column], out: &mut dyn Write) -> Result<(), Trouble> {
    let width = |place: usize| {
        let cells = table.iter().filter_map(|line| line.get(place));
        cells.map(Vec::len).max().unwrap_or_default()
    };
    let widths: Vec<_> = (0..columns.len()).map(width).collect();
    for line in table {
        let mut text = Vec::new();
        for (place, ((cell, column), width)) in line.iter().zip(columns).zip(&widths).enumerate() {
            if place > 0 {
                text.push(b' ');
            }
            let padding = vec![b' '; width.saturating_sub(cell.len())];
            if column.kind.is_number() {
                text.extend_from_slice(&padding);
                text.extend_from_slice(cell);
            } else {
                text.extend_from_slice(cell);
                if place + 1 < line.len() {
                    text.extend_from_slice(&padding);
                }
            }
        }
        text.push(b'\n');
        out.write_all(&text)?;
    }
    Ok(())
}

/// What the arguments ask for.
struct Wanted {
    /// Only these; none for all.
    pids: Vec<u32>,
    columns: Vec<Column>,
}

const USUAL: &str = "pid,ppid,uid,s,rss,etime,args";

impl Wanted {
    fn parse(arguments: &[OsString]) -> Result<Self, Trouble> {
        let mut wanted = Self {
            pids: Vec::new(),
            columns: Vec::new(),
        };
        let mut parser = lexopt::Parser::from_args(arguments.iter().cloned());
        while let Some(argument) = parser.next()? {
            match argument {
                // All are shown in any case, in the one form that there is, as wide as they are.
                Short('e' | 'A' | 'a' | 'f' | 'F' | 'w' | 'x') => {}
                Short('p') | Long("pid") => wanted.add_pids(&parser.value()?.string()?)?,
                Short('o') | Long("format") => wanted.add_columns(&parser.value()?.string()?)?,
                Value(word) => wanted.add_word(&word.string()?)?,
                other => return Err(other.unexpected().into()),
            }
        }
        if wanted.columns.is_empty() {
            wanted.add_columns(USUAL)?;
        }
        Ok(wanted)
    }

    /// `aux`, or a number.
    fn add_word(&mut self, word: &str) -> Result<(), Trouble> {
        if word.starts_with(|first: char| first.is_ascii_digit()) {
            self.add_pids(word)
        } else if word.chars().all(|letter| "auxwef".contains(letter)) {
            Ok(())
        } else {
            Err(Trouble::Unknown(word.to_owned()))
        }
    }

    fn add_pids(&mut self, list: &str) -> Result<(), Trouble> {
        for word in list.split([',', ' ']).filter(|word| !word.is_empty()) {
            let pid = word.parse();
            let pid = pid.map_err(|_| Trouble::Usage(format!("`{word}` is no process number")))?;
            self.pids.push(pid);
        }
        Ok(())
    }

    /// `pid,comm=NAME`: an empty name, as in `pid=`, prints no title.
    fn add_columns(&mut self, list: &str) -> Result<(), Trouble> {
        for word in list.split([',', ' ']).filter(|word| !word.is_empty()) {
            let (name, title) = match word.split_once('=') {
                Some((name, title)) => (name, Some(title)),
                None => (word, None),
            };
            let kind = Kind::named(name).ok_or_else(|| Trouble::Unknown(format!("-o {name}")))?;
            self.columns.push(Column {
                kind,
                title: title.map_or_else(|| kind.title().to_owned(), str::to_owned),
            });
        }
        Ok(())
    }

    fn shows(&self, process: &Process) -> bool {
        self.pids.is_empty() || self.pids.contains(&process.id.pid)
    }

    fn has_titles(&self) -> bool {
        self.columns.iter().any(|column| !column.title.is_empty())
    }
}

struct Column {
    kind: Kind,
    title: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Pid,
    Parent,
    InnerPid,
    User,
    Group,
    State,
    Threads,
    Resident,
    Elapsed,
    Name,
    Arguments,
    Executable,
    Folder,
}

impl Kind {
    fn named(name: &str) -> Option<Self> {
        Some(match name {
            "pid" => Self::Pid,
            "ppid" => Self::Parent,
            "nspid" => Self::InnerPid,
            "uid" | "euid" | "user" | "euser" => Self::User,
            "gid" | "egid" | "group" | "egroup" => Self::Group,
            "s" | "state" | "stat" => Self::State,
            "nlwp" | "thcount" => Self::Threads,
            "rss" | "rssize" => Self::Resident,
            "etime" => Self::Elapsed,
            "comm" | "ucmd" => Self::Name,
            "args" | "cmd" | "command" => Self::Arguments,
            "exe" => Self::Executable,
            "cwd" => Self::Folder,
            _ => return None,
        })
    }

    const fn title(self) -> &'static str {
        match self {
            Self::Pid => "PID",
            Self::Parent => "PPID",
            Self::InnerPid => "NSPID",
            Self::User => "UID",
            Self::Group => "GID",
            Self::State => "S",
            Self::Threads => "NLWP",
            Self::Resident => "RSS",
            Self::Elapsed => "ELAPSED",
            Self::Name | Self::Arguments => "COMMAND",
            Self::Executable => "EXE",
            Self::Folder => "CWD",
        }
    }

    /// Whether it stands at the right of its column.
    const fn is_number(self) -> bool {
        !matches!(
            self,
            Self::State | Self::Name | Self::Arguments | Self::Executable | Self::Folder
        )
    }
}

impl Column {
    fn cell(&self, process: &Process, now: i64) -> Vec<u8> {
        let number = |number: u64| number.to_string().into_bytes();
        let ids = &process.credentials;
        match self.kind {
            Kind::Pid => number(process.id.pid.into()),
            Kind::Parent => number(process.parent.into()),
            Kind::InnerPid => number(process.inner_pid.into()),
            Kind::User => number(ids.uids[1].into()),
            Kind::Group => number(ids.gids[1].into()),
            Kind::State => vec![process.state],
            Kind::Threads => number(process.threads.into()),
            Kind::Resident => number(process.resident / 1024),
            Kind::Elapsed => elapsed((now - process.started_at).max(0) / 1000).into_bytes(),
            Kind::Name => harmless(&process.name),
            Kind::Arguments => command_line(process),
            Kind::Executable => read(&process.executable),
            Kind::Folder => read(&process.folder),
        }
    }
}

/// As ps has it: a kernel thread and a zombie have no arguments.
fn command_line(process: &Process) -> Vec<u8> {
    if !process.arguments.is_empty() {
        return harmless(&bstr::join(" ", &process.arguments));
    }
    let name = process.name.to_str_lossy();
    let shown = if process.state == b'Z' {
        format!("[{name}] <defunct>")
    } else {
        format!("[{name}]")
    };
    harmless(shown.as_bytes())
}

/// A dash where it cannot be read, as ps prints one.
fn read(path: &Reading<bstr::BString>) -> Vec<u8> {
    path.known()
        .map_or_else(|| b"-".to_vec(), |path| harmless(path))
}

/// `[[DD-]hh:]mm:ss`.
fn elapsed(seconds: i64) -> String {
    let (minutes, second) = (seconds / 60, seconds % 60);
    let (hours, minute) = (minutes / 60, minutes % 60);
    let (days, hour) = (hours / 24, hours % 24);
    match (days, hours) {
        (1.., _) => format!("{days}-{hour:02}:{minute:02}:{second:02}"),
        (_, 1..) => format!("{hour:02}:{minute:02}:{second:02}"),
        _ => format!("{minute:02}:{second:02}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_ps_does() {
        for (seconds, shown) in [
            (0, "00:00"),
            (3599, "59:59"),
            (3600, "01:00:00"),
            (90_061, "1-01:01:01"),
        ] {
            assert_eq!(elapsed(seconds), shown);
        }
    }

    #[test]
    fn what_no_column_or_option_is_is_left_to_another_ps() {
        for words in [&["-o", "pid,wchan"][..], &["--forest"], &["lax"]] {
            let words: Vec<_> = words.iter().map(OsString::from).collect();
            assert!(matches!(Wanted::parse(&words), Err(Trouble::Unknown(_))));
        }
        let words = ["aux", "-o", "pid=,comm=NAME", "-p", "1,2"].map(OsString::from);
        let wanted = Wanted::parse(&words).unwrap();
        assert_eq!(wanted.pids, [1, 2]);
        assert_eq!(wanted.columns[1].title, "NAME");
    }
}
