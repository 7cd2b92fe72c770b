//! `kdbg dig`: what a name means to the target, question by question.

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use clap::{Args, ValueEnum};

use super::{
    probe::{Report, Told},
    tcp::milliseconds,
};
use crate::{
    cli::{
        args::{OutputFormat, TargetArgs, short_time},
        error::CommandError,
        exit::ExitStatus,
        printer::Printer,
    },
    evidence::{
        dns::{kind_name, kind_number, reverse_name},
        reach,
    },
    protocol::message::{Answered, DnsOutcome, LibcKind, LookupRequest, ProcessId, Request},
    render::safe,
};

/// Arguments of `kdbg dig`.
#[derive(Args, Debug)]
pub struct DigArgs {
    #[command(flatten)]
    target: TargetArgs,
    /// The name; then, in any order, a record type (without one A and AAAA are asked for, as a program does that
    /// connects) and servers to ask instead of the target's, as `@10.96.0.10` or `@10.96.0.10:5353`
    #[arg(value_name = "NAME [TYPE] [@SERVER]")]
    words: Vec<String>,
    /// Look up which name an address has
    #[arg(short = 'x', long, value_name = "ADDRESS")]
    reverse: Option<IpAddr>,
    /// Ask for the name as it is, without the search list
    #[arg(long)]
    exact: bool,
    /// Ask each server by itself, and compare their answers
    #[arg(long)]
    all_servers: bool,
    /// Ask over TCP
    #[arg(long)]
    tcp: bool,
    /// Ask with EDNS
    #[arg(long)]
    edns: bool,
    /// Follow the rules of this C library instead of the target's
    #[arg(long, value_enum, value_name = "LIBC")]
    libc: Option<LibcName>,
    /// How long to wait for an answer, instead of as long as the target would
    #[arg(long, value_name = "TIME", value_parser = short_time)]
    wait: Option<Duration>,
    /// Print the answers only
    #[arg(long)]
    short: bool,
    /// How to print it
    #[arg(short, long, value_enum, value_name = "FORMAT", default_value_t)]
    output: OutputFormat,
}

/// A C library.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum LibcName {
    /// One server after the other
    Glibc,
    /// All servers at once
    Musl,
}

/// What the words ask for.
#[derive(Debug, Default, PartialEq, Eq)]
struct Asked {
    name: Option<String>,
    kinds: Vec<u16>,
    servers: Vec<SocketAddr>,
}

/// Runs `kdbg dig`.
pub async fn run(mut args: DigArgs, printer: &mut Printer) -> Result<ExitStatus, CommandError> {
    if let Some(word) = args.target.misplaced() {
        args.words.insert(0, word.to_string_lossy().into_owned());
    }
    let mut asked = Asked::parse(&args.words)?;
    let mut exact = args.exact;
    if let Some(address) = args.reverse {
        if asked.name.is_some() {
            return Err(
                CommandError::usage("both a name and `-x` are given").hint("leave one of them out")
            );
        }
        asked.name = Some(reverse_name(address));
        asked.kinds = vec![kind_number("PTR").unwrap_or_default()];
        exact = true;
    }
    let Some(name) = asked.name else {
        return Err(CommandError::usage("no name is given")
            .hint("name the target first, then the name, as in `kdbg dig web-7f9c db`"));
    };
    let target = super::open(&args.target, printer).await?;
    let request = request(
        &args,
        &name,
        asked.kinds,
        asked.servers,
        exact,
        target.process().id,
    );
    let progress = printer.progress(format!("looking up {}", safe(name.as_bytes())));
    let told = Told::collect(target.session.request(&Request::Lookup(request))?).await?;
    drop(progress);
    match args.output {
        OutputFormat::Json => printer.json(&Report::new(&target, &told))?,
        OutputFormat::Text if args.short => short(&told, printer)?,
        OutputFormat::Text => text(&told, printer)?,
    }
    if args.all_servers {
        compare(&told, printer);
    }
    target.close().await;
    Ok(status(&told))
}

fn request(
    args: &DigArgs,
    name: &str,
    kinds: Vec<u16>,
    servers: Vec<SocketAddr>,
    exact: bool,
    process: ProcessId,
) -> LookupRequest {
    LookupRequest {
        process,
        name: name.into(),
        kinds,
        servers,
        each_server: args.all_servers,
        exact,
        tcp: args.tcp,
        edns: args.edns,
        libc: args.libc.map(|name| match name {
            LibcName::Glibc => LibcKind::Glibc,
            LibcName::Musl => LibcKind::Musl,
        }),
        timeout: args.wait.map(milliseconds),
    }
}

impl Asked {
    fn parse(words: &[String]) -> Result<Self, CommandError> {
        let mut asked = Self::default();
        for word in words {
            if let Some(server) = word.strip_prefix('@') {
                asked.servers.push(parse_server(server).ok_or_else(|| {
                    CommandError::usage(format!("`@{server}` is no address of a server"))
                        .hint("write an address, as `@10.96.0.10` or `@[fd00::a]:5353`")
                })?);
            } else if asked.name.is_none() {
                asked.name = Some(word.clone());
            } else if let Some(kind) = kind_number(word) {
                asked.kinds.push(kind);
            } else {
                return Err(
                    CommandError::usage(format!("`{word}` is no record type")).hint(
                        "write A, AAAA, CNAME, MX, NS, PTR, SOA, SRV, TXT, or a number as TYPE65",
                    ),
                );
            }
        }
        Ok(asked)
    }
}

fn parse_server(text: &str) -> Option<SocketAddr> {
    let with_port = text.parse().ok();
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    with_port.or_else(|| Some(SocketAddr::new(bare.parse().ok()?, 53)))
}

/// The answers that count, once each.
fn answers(told: &Told) -> Vec<&Answered> {
    told.queries
        .iter()
        .filter_map(|query| match &query.outcome {
            DnsOutcome::Answered(answer) if !answer.truncated && !answer.answers.is_empty() => {
                Some(answer)
            }
            _ => None,
        })
        .collect()
}

fn text(told: &Told, printer: &mut Printer) -> Result<(), CommandError> {
    told.print_lookup(printer)?;
    let out = printer.data();
    let mut lines = Vec::new();
    for record in answers(told).iter().flat_map(|answer| &answer.answers) {
        let line = format!(
            "{}  {}  {}  {}",
            safe(record.name.as_bytes()),
            record.ttl,
            kind_name(record.kind),
            safe(record.data.as_bytes())
        );
        if !lines.contains(&line) {
            lines.push(line);
        }
    }
    for line in lines {
        writeln!(out, "{line}").map_err(CommandError::output)?;
    }
    for resolution in &told.resolutions {
        let took = reach::time(resolution.took);
        let line = match &resolution.error {
            Some(error) => format!("=> {} after {took}", safe(error.as_bytes())),
            None if resolution.addresses.is_empty() => format!("=> answered in {took}"),
            None => {
                let addresses: Vec<_> = resolution
                    .addresses
                    .iter()
                    .map(ToString::to_string)
                    .collect();
                format!("=> {} in {took}", addresses.join(" "))
            }
        };
        writeln!(out, "{line}").map_err(CommandError::output)?;
    }
    for line in told.cluster_names() {
        printer.note(&line);
    }
    Ok(())
}

fn short(told: &Told, printer: &mut Printer) -> Result<(), CommandError> {
    let out = printer.data();
    for line in &told.hosts {
        writeln!(out, "{}", line.address).map_err(CommandError::output)?;
    }
    for record in answers(told).iter().flat_map(|answer| &answer.answers) {
        writeln!(out, "{}", safe(record.data.as_bytes())).map_err(CommandError::output)?;
    }
    Ok(())
}

/// Says when servers disagree: each resolution is of one server.
fn compare(told: &Told, printer: &Printer) {
    let data = |resolution: &crate::protocol::message::Resolution| {
        let mut addresses = resolution.addresses.clone();
        addresses.sort_unstable();
        (addresses, resolution.error.clone())
    };
    let mut answers: Vec<_> = told.resolutions.iter().map(data).collect();
    answers.dedup();
    if answers.len() > 1 {
        printer.warning("the servers do not agree");
    }
}

/// An answer, none, or nobody to ask.
fn status(told: &Told) -> ExitStatus {
    let Some(last) = told.resolutions.last() else {
        return ExitStatus::Incomplete;
    };
    let is_known = told.resolutions.iter().any(|one| one.error.is_none());
    if is_known {
        return ExitStatus::of_comparison(
            told.resolutions.iter().any(|one| one.error.is_some()),
            true,
        );
    }
    match last.error.as_deref() {
        Some("EAI_AGAIN") => ExitStatus::Unreachable,
        _ => ExitStatus::Found,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn type_and_servers_stand_in_any_order_behind_the_name() {
        let asked = Asked::parse(&words("@10.0.0.1 db srv @[fd00::1]:5353")).unwrap();
        assert_eq!(asked.name.as_deref(), Some("db"));
        assert_eq!(asked.kinds, [33]);
        assert_eq!(
            asked.servers,
            [
                "10.0.0.1:53".parse().unwrap(),
                "[fd00::1]:5353".parse().unwrap()
            ]
        );
        // A name may be spelt as a type.
        assert_eq!(
            Asked::parse(&words("mx")).unwrap().name.as_deref(),
            Some("mx")
        );
        assert!(Asked::parse(&words("db nonsense")).is_err());
        assert!(Asked::parse(&words("db @dns.example")).is_err());
    }
}
