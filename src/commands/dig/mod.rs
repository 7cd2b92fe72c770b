//! `kdbg dig`: what a name means to the target, question by question.

mod cluster;

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use clap::{Args, ValueEnum};

use serde::Serialize;

use super::{
    fan_out,
    from::{self, FromArgs, Outcome},
    probe::{Report, Told, libc_name},
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
        dns::{kind_name, kind_number, reverse_name, search_remarks},
        names::Remark,
        phases::{self, Step},
        reach,
    },
    protocol::message::{Answered, DnsOutcome, LibcKind, LookupRequest, ProcessId, Request},
    render::safe,
    target::Target,
};

/// Arguments of `kdbg dig`.
#[derive(Args, Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a switch of its own, as the user typed it"
)]
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
    /// Follow the rules of this C library instead of the target's; `both` shows where the two part
    #[arg(long, value_enum, value_name = "LIBC")]
    libc: Option<LibcName>,
    /// How long to wait for an answer, instead of as long as the target would
    #[arg(long, value_name = "TIME", value_parser = short_time)]
    wait: Option<Duration>,
    /// Print the answers only
    #[arg(long)]
    short: bool,
    #[command(flatten)]
    from: FromArgs,
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
    /// One after the other, and where they part
    Both,
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
    let is_compared = args.from.is_wanted() || args.libc == Some(LibcName::Both);
    if is_compared && args.from.is_wanted() && args.libc == Some(LibcName::Both) {
        return Err(
            CommandError::usage("both `--from` and `--libc both` are given")
                .hint("compare places or libraries, one at a time"),
        );
    }
    let question = Question {
        name,
        kinds: asked.kinds,
        servers: asked.servers,
        exact,
    };
    args.from.check_one(&args.target)?;
    if !is_compared {
        let look = async |target: Target, printer: &mut Printer| {
            let status = alone(&args, &question, &target, printer).await;
            target.close().await;
            status
        };
        return fan_out::run(&args.target, args.output, printer, look).await;
    }
    let ask = async |targets: &[Target], printer: &mut Printer| {
        everywhere(&args, &question, targets, printer).await
    };
    let (targets, all) = match args.from.ask(&args.target, printer, ask).await? {
        Outcome::All(targets, all) => (targets, all),
        Outcome::Ended(status) => return Ok(status),
    };
    let status = compared(&args, &targets, &all, printer)?;
    for target in targets {
        target.close().await;
    }
    Ok(status)
}

/// What is looked up, wherever.
struct Question {
    name: String,
    kinds: Vec<u16>,
    servers: Vec<SocketAddr>,
    exact: bool,
}

async fn alone(
    args: &DigArgs,
    question: &Question,
    target: &Target,
    printer: &mut Printer,
) -> Result<ExitStatus, CommandError> {
    let wanted = question.request(
        args,
        args.libc.and_then(LibcName::kind),
        target.process().id,
    );
    let told = ask(&wanted, target, printer).await?;
    let is_json = args.output == OutputFormat::Json;
    let by_server = match rotated(&told, &wanted) {
        Some(each) => Some(ask(&each, target, printer).await?),
        None => None,
    };
    printer.compare_by_outline(phases::outline(&course(&told)));
    let mut remarks = lookup_remarks(&told, &question.name);
    if !args.short {
        remarks.extend(cluster::remarks(&told, target).await);
    }
    match args.output {
        OutputFormat::Json => printer.json(&DigReport {
            probe: Report::new(target, &told),
            by_server: by_server
                .as_ref()
                .or(args.all_servers.then_some(&told))
                .map(server_rows),
            remarks: remarks.iter().map(RemarkRow::new).collect(),
        })?,
        OutputFormat::Text if args.short => short(&told, printer)?,
        OutputFormat::Text => text(&told, printer)?,
    }
    for told in by_server.iter().chain(args.all_servers.then_some(&told)) {
        by_servers(told, is_json, printer)?;
    }
    if !is_json {
        // What was found stands above what it means.
        printer.finish()?;
        for remark in &remarks {
            let text = safe(remark.text.as_bytes());
            if remark.is_wrong {
                printer.warning(&text);
            } else {
                printer.note(&text);
            }
        }
    }
    let is_wrong = remarks.iter().any(|remark| remark.is_wrong);
    Ok(match status(&told) {
        ExitStatus::Complete if is_wrong => ExitStatus::Found,
        status => status,
    })
}

/// The libraries by whose rules one target asks, to compare them.
const BOTH: [LibcKind; 2] = [LibcKind::Glibc, LibcKind::Musl];

/// Asks from all places, or the only one by the rules of both libraries.
async fn everywhere(
    args: &DigArgs,
    question: &Question,
    targets: &[Target],
    printer: &mut Printer,
) -> Result<Vec<Told>, CommandError> {
    let mut all: Vec<Told> = Vec::new();
    for (place, target) in targets.iter().enumerate() {
        let kinds = match args.libc {
            Some(LibcName::Both) => BOTH.map(Some).to_vec(),
            Some(name) => vec![name.kind()],
            // Nothing runs in a pod that was started for this, so no library has rules there: the target's are meant.
            None if args.from.is_started(place) => {
                let setup = all.first().and_then(|told| told.setup.as_ref());
                vec![setup.map(|setup| setup.libc.kind)]
            }
            None => vec![None],
        };
        for kind in kinds {
            let request = question.request(args, kind, target.process().id);
            all.push(ask(&request, target, printer).await?);
        }
    }
    Ok(all)
}

/// Shows the answers side by side: from several places, or by the rules of both libraries.
fn compared(
    args: &DigArgs,
    targets: &[Target],
    all: &[Told],
    printer: &mut Printer,
) -> Result<ExitStatus, CommandError> {
    let courses: Vec<_> = all.iter().map(course).collect();
    // With both libraries there is one target.
    let asked = targets.iter().chain(targets.last()).zip(all);
    let reports = (args.output == OutputFormat::Json).then(|| {
        asked
            .map(|(target, told)| Report::new(target, told))
            .collect()
    });
    let differs = if args.from.is_wanted() {
        args.from.compare(targets, &courses, reports, printer)?
    } else {
        let names = BOTH.map(|kind| format!("rules of {}", libc_name(kind)));
        from::compare(&names, &courses, reports, printer)?
    };
    Ok(differs
        .or_else(|| all.first().map(status))
        .unwrap_or(ExitStatus::Incomplete))
}

async fn ask(
    request: &LookupRequest,
    target: &Target,
    printer: &Printer,
) -> Result<Told, CommandError> {
    let progress = printer.progress(format!("looking up {}", safe(&request.name)));
    let told = Told::collect(target.session.request(&Request::Lookup(request.clone()))?).await?;
    drop(progress);
    Ok(told)
}

impl LibcName {
    const fn kind(self) -> Option<LibcKind> {
        match self {
            Self::Glibc => Some(LibcKind::Glibc),
            Self::Musl => Some(LibcKind::Musl),
            Self::Both => None,
        }
    }
}

impl Question {
    fn request(&self, args: &DigArgs, libc: Option<LibcKind>, process: ProcessId) -> LookupRequest {
        LookupRequest {
            process,
            name: self.name.as_str().into(),
            kinds: self.kinds.clone(),
            servers: self.servers.clone(),
            each_server: args.all_servers,
            exact: self.exact,
            tcp: args.tcp,
            edns: args.edns,
            libc,
            timeout: args.wait.map(milliseconds),
        }
    }
}

/// With `rotate` any server may be the first one: then each is asked by itself as well.
fn rotated(told: &Told, request: &LookupRequest) -> Option<LookupRequest> {
    let setup = told.setup.as_ref()?;
    let rotates = setup.options.iter().any(|option| option == "rotate");
    let is_asked = rotates && setup.servers.len() > 1 && !request.each_server;
    is_asked.then(|| LookupRequest {
        each_server: true,
        ..request.clone()
    })
}

fn lookup_remarks(told: &Told, name: &str) -> Vec<Remark> {
    let (Some(setup), Some(resolution)) = (&told.setup, told.resolutions.last()) else {
        return Vec::new();
    };
    search_remarks(setup, name, &told.queries, resolution)
}

/// The phases, to be compared with those of another one.
fn course(told: &Told) -> Vec<Step> {
    let mut steps: Vec<_> = told
        .setup
        .as_ref()
        .map(phases::resolver)
        .into_iter()
        .collect();
    let mut asked: Vec<&str> = Vec::new();
    for query in &told.queries {
        if !asked.contains(&query.name.as_str()) {
            asked.push(&query.name);
        }
    }
    if !asked.is_empty() {
        steps.push(Step::new("asked", asked.join(" "), None));
    } else if !told.hosts.is_empty() {
        let shown = "nobody: the hosts file has it".to_owned();
        steps.push(Step::new("asked", shown, None));
    }
    let servers = told.setup.as_ref().map_or(&[][..], |setup| &setup.servers);
    let is_by_server = told.resolutions.len() > 1;
    for (place, resolution) in told.resolutions.iter().enumerate() {
        let mut step = phases::name(resolution);
        if let Some(server) = servers.get(place).filter(|_| is_by_server) {
            step.phase = format!("name by {server}");
        }
        steps.push(step);
    }
    let mut data: Vec<_> = answers(told)
        .iter()
        .flat_map(|answer| &answer.answers)
        .filter(|record| record.address.is_none())
        .map(|record| format!("{} {}", kind_name(record.kind), record.data))
        .collect();
    data.sort_unstable();
    data.dedup();
    if !data.is_empty() {
        steps.push(Step::new("records", data.join(", "), None));
    }
    steps
}

/// What was found, and what it means.
#[derive(Serialize)]
struct DigReport<'a> {
    #[serde(flatten)]
    probe: Report<'a>,
    /// What each server says by itself, where any of them may be asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    by_server: Option<Vec<ServerRow<'a>>>,
    remarks: Vec<RemarkRow<'a>>,
}

#[derive(Serialize)]
struct ServerRow<'a> {
    server: String,
    took_us: u64,
    addresses: Vec<String>,
    error: Option<&'a str>,
}

/// Each resolution is of one server, in the order of the servers.
fn server_rows(told: &Told) -> Vec<ServerRow<'_>> {
    let servers = told.setup.as_ref().map_or(&[][..], |setup| &setup.servers);
    let both = servers.iter().zip(&told.resolutions);
    both.map(|(server, one)| ServerRow {
        server: server.to_string(),
        took_us: one.took,
        addresses: one.addresses.iter().map(ToString::to_string).collect(),
        error: one.error.as_deref(),
    })
    .collect()
}

#[derive(Serialize)]
struct RemarkRow<'a> {
    text: &'a str,
    is_wrong: bool,
}

impl<'a> RemarkRow<'a> {
    fn new(remark: &'a Remark) -> Self {
        Self {
            text: &remark.text,
            is_wrong: remark.is_wrong,
        }
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

/// What each server says by itself, and whether they agree: each resolution is of one server.
fn by_servers(told: &Told, is_json: bool, printer: &mut Printer) -> Result<(), CommandError> {
    let servers = told.setup.as_ref().map_or(&[][..], |setup| &setup.servers);
    let steps: Vec<_> = told.resolutions.iter().map(phases::name).collect();
    if !is_json {
        let out = printer.data();
        for (server, step) in servers.iter().zip(&steps) {
            let took = reach::time(step.took.unwrap_or_default());
            writeln!(out, "{server}  {} in {took}", safe(step.shown.as_bytes()))
                .map_err(CommandError::output)?;
        }
    }
    let mut keys = steps.iter().map(|step| &step.key);
    let first = keys.next();
    if keys.any(|key| Some(key) != first) {
        printer.warning("the servers do not agree");
    }
    Ok(())
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
