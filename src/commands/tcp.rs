//! `kdbg tcp`: whether a port answers, from where the target stands.

use std::time::Duration;

use clap::Args;

use super::{
    fan_out,
    from::{FromArgs, Outcome},
    probe::{Report, Told},
};
use crate::{
    cli::{
        args::{OutputFormat, TargetArgs, short_time},
        error::CommandError,
        exit::ExitStatus,
        printer::Printer,
    },
    evidence::{
        phases::{self, Step},
        reach,
    },
    protocol::message::{Ending, ProcessId, Request, TcpRequest},
    render::safe,
    target::Target,
};

/// Arguments of `kdbg tcp`.
#[derive(Args, Debug)]
pub struct TcpArgs {
    #[command(flatten)]
    target: TargetArgs,
    /// Where to connect: `web:80`, `10.1.2.3:5432`, `[fd00::1]:80`
    #[arg(value_name = "HOST:PORT")]
    address: Option<String>,
    /// Send this once connected; `\n`, `\r`, `\t`, `\0`, `\\` and `\xHH` are understood
    #[arg(long, value_name = "TEXT", value_parser = unescape)]
    send: Option<Text>,
    /// This must come back
    #[arg(long, value_name = "TEXT", value_parser = unescape)]
    expect: Option<Text>,
    /// How long to wait for a connection to each address
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = short_time)]
    connect_timeout: Duration,
    /// How long to wait for bytes once connected; without `--send` or `--expect`, only when it is given
    #[arg(long, value_name = "TIME", value_parser = short_time)]
    wait: Option<Duration>,
    #[command(flatten)]
    from: FromArgs,
    /// How to print it
    #[arg(short, long, value_enum, value_name = "FORMAT", default_value_t)]
    output: OutputFormat,
}

/// Bytes that were typed as text.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Text(Vec<u8>);

/// Runs `kdbg tcp`.
pub async fn run(mut args: TcpArgs, printer: &mut Printer) -> Result<ExitStatus, CommandError> {
    if let Some(word) = args.target.misplaced() {
        args.address = Some(word.to_string_lossy().into_owned());
    }
    let typed = args.address.clone().unwrap_or_default();
    let (host, port) = host_and_port(&typed).ok_or_else(|| {
        CommandError::usage(format!("`{typed}` is no host with a port"))
            .hint("write it as `web:80`, `10.1.2.3:5432` or `[fd00::1]:80`")
    })?;
    args.from.check_one(&args.target)?;
    if !args.from.is_wanted() {
        let run = async |target, printer: &mut Printer| {
            let targets = vec![target];
            let all = probe(&args, (host, port), &targets, printer).await?;
            end(&args, targets, &all, printer).await
        };
        return fan_out::run(&args.target, args.output, printer, run).await;
    }
    let ask = async |targets: &[Target], printer: &mut Printer| {
        probe(&args, (host, port), targets, printer).await
    };
    match args.from.ask(&args.target, printer, ask).await? {
        Outcome::All(targets, all) => end(&args, targets, &all, printer).await,
        Outcome::Ended(status) => Ok(status),
    }
}

/// Connects from each of some targets.
async fn probe(
    args: &TcpArgs,
    (host, port): (&str, u16),
    targets: &[Target],
    printer: &Printer,
) -> Result<Vec<Told>, CommandError> {
    let mut all = Vec::new();
    for target in targets {
        let request = Request::Tcp(request(args, host, port, target.process().id));
        let progress = printer.progress(format!("connecting to {}", safe(host.as_bytes())));
        all.push(Told::collect(target.session.request(&request)?).await?);
        drop(progress);
    }
    Ok(all)
}

/// Shows what came of it, and ends the sessions.
async fn end(
    args: &TcpArgs,
    targets: Vec<Target>,
    all: &[Told],
    printer: &mut Printer,
) -> Result<ExitStatus, CommandError> {
    let status = show(args, &targets, all, printer)?;
    for target in targets {
        target.close().await;
    }
    Ok(status)
}

fn request(args: &TcpArgs, host: &str, port: u16, process: ProcessId) -> TcpRequest {
    let talks = args.send.is_some() || args.expect.is_some();
    let wait = args.wait.or(talks.then_some(Duration::from_secs(5)));
    let bytes = |text: &Option<Text>| text.as_ref().map(|text| text.0.clone().into());
    TcpRequest {
        process,
        host: host.into(),
        port,
        connect_limit: milliseconds(args.connect_timeout),
        send: bytes(&args.send).unwrap_or_default(),
        expect: bytes(&args.expect),
        wait: wait.map_or(0, milliseconds),
    }
}

fn show(
    args: &TcpArgs,
    targets: &[Target],
    all: &[Told],
    printer: &mut Printer,
) -> Result<ExitStatus, CommandError> {
    let (Some(target), Some(told)) = (targets.first(), all.first()) else {
        return Ok(ExitStatus::Incomplete);
    };
    let is_json = args.output == OutputFormat::Json;
    if args.from.is_wanted() {
        let courses: Vec<_> = all.iter().map(course).collect();
        let reports = is_json.then(|| {
            let both = targets.iter().zip(all);
            both.map(|(target, told)| Report::new(target, told))
                .collect()
        });
        let differs = args.from.compare(targets, &courses, reports, printer)?;
        return Ok(differs.unwrap_or_else(|| status(told)));
    }
    printer.compare_by_outline(phases::outline(&course(told)));
    if is_json {
        printer.json(&Report::new(target, told))?;
    } else {
        text(told, printer)?;
    }
    Ok(status(told))
}

/// The phases, to be compared with those of another one.
fn course(told: &Told) -> Vec<Step> {
    let mut steps: Vec<_> = told
        .resolutions
        .last()
        .map(phases::name)
        .into_iter()
        .collect();
    steps.extend(phases::connects(&told.connections));
    if let Some(exchange) = &told.exchange {
        let key = match (exchange.found, exchange.received) {
            (Some(true), _) => "what was expected came",
            (Some(false), _) => "what was expected did not come",
            (None, 0) => "no byte came",
            (None, _) => "bytes came",
        };
        let step = Step::new("exchange", reach::exchange(exchange), None);
        steps.push(step.with_key(key.to_owned()));
    }
    steps
}

fn text(told: &Told, printer: &mut Printer) -> Result<(), CommandError> {
    if told.setup.is_some() {
        told.print_lookup(printer)?;
    }
    if let Some(error) = told.lookup_error() {
        writeln!(printer.data(), "the name has no address: {error}")
            .map_err(CommandError::output)?;
    }
    told.print_connections(printer)?;
    if let Some(exchange) = &told.exchange {
        let out = printer.data();
        writeln!(out, "{}  {}", exchange.address, reach::exchange(exchange))
            .map_err(CommandError::output)?;
        if !exchange.beginning.is_empty() {
            writeln!(out, "{}", safe(&exchange.beginning)).map_err(CommandError::output)?;
        }
    }
    Ok(())
}

/// All that was asked for works, only a part of it does, or nothing can be reached.
fn status(told: &Told) -> ExitStatus {
    let connected = told.connected();
    if connected == 0 {
        return ExitStatus::Unreachable;
    }
    if let Some(exchange) = &told.exchange {
        match (&exchange.ending, exchange.found) {
            (_, Some(true)) => {}
            (Ending::TimedOut { .. }, _) => return ExitStatus::Incomplete,
            (Ending::Failed { .. }, _) => return ExitStatus::Broken,
            (_, Some(false)) => return ExitStatus::Found,
            _ => {}
        }
    }
    if connected < told.connections.len() {
        ExitStatus::Found
    } else {
        ExitStatus::Complete
    }
}

/// Milliseconds of a time, as the protocol has them.
pub(super) fn milliseconds(time: Duration) -> u32 {
    u32::try_from(time.as_millis()).unwrap_or(u32::MAX)
}

fn host_and_port(text: &str) -> Option<(&str, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    let bracketed = host
        .strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'));
    let host = match bracketed {
        Some(host) => host,
        // Without brackets nobody knows where an address ends.
        None if host.contains(':') => return None,
        None => host,
    };
    let port = port.parse().ok().filter(|port| *port != 0)?;
    (!host.is_empty()).then_some((host, port))
}

fn unescape(text: &str) -> Result<Text, String> {
    let mut bytes = Vec::new();
    let mut rest = text.chars();
    while let Some(character) = rest.next() {
        if character != '\\' {
            bytes.extend(character.encode_utf8(&mut [0; 4]).bytes());
            continue;
        }
        match rest.next() {
            Some('n') => bytes.push(b'\n'),
            Some('r') => bytes.push(b'\r'),
            Some('t') => bytes.push(b'\t'),
            Some('0') => bytes.push(0),
            Some('\\') => bytes.push(b'\\'),
            Some('x') => {
                let digits: String = rest.by_ref().take(2).collect();
                let byte = u8::from_str_radix(&digits, 16)
                    .map_err(|_| format!("`\\x{digits}` is no byte"))?;
                bytes.push(byte);
            }
            other => return Err(format!("`\\{}` means nothing", other.unwrap_or(' '))),
        }
    }
    Ok(Text(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_and_a_port_are_told_apart() {
        assert_eq!(host_and_port("web:80"), Some(("web", 80)));
        assert_eq!(host_and_port("[fd00::1]:80"), Some(("fd00::1", 80)));
        for text in ["web", "web:", ":80", "fd00::1:80", "web:0", "web:70000", ""] {
            assert_eq!(host_and_port(text), None, "{text}");
        }
    }

    #[test]
    fn what_is_sent_may_have_line_ends_and_bytes() {
        assert_eq!(unescape(r"a\r\n\x00\\"), Ok(Text(b"a\r\n\0\\".to_vec())));
        assert!(unescape(r"\q").is_err());
        assert!(unescape(r"\xg").is_err());
    }
}
