//! What the probes of the network share: collecting their records, and showing them.

use bstr::ByteSlice as _;
use serde::Serialize;

use super::subject::Subject;
use crate::{
    cli::{error::CommandError, printer::Printer},
    evidence::{
        dns::{kind_name, rcode_name},
        reach,
    },
    protocol::message::{
        ConnectOutcome, Connection, DnsOutcome, DnsQuery, DnsRecord, Ending, Exchange, HostsLine,
        LibcKind, Network, ProbeRecord, Resolution, ResolverSetup, SearchRule, Source, Via,
    },
    render::{
        JsonBytes, safe,
        table::{self, Align},
    },
    session::Reply,
    target::Target,
};

/// All that a probe has told, but a body.
#[derive(Debug, Default)]
pub(super) struct Told {
    pub(super) network: Option<Network>,
    pub(super) setup: Option<ResolverSetup>,
    pub(super) hosts: Vec<HostsLine>,
    pub(super) queries: Vec<DnsQuery>,
    pub(super) resolutions: Vec<Resolution>,
    pub(super) connections: Vec<Connection>,
    pub(super) exchange: Option<Exchange>,
}

impl Told {
    /// Waits for all of it.
    pub(super) async fn collect(mut reply: Reply) -> Result<Self, CommandError> {
        let mut told = Self::default();
        while let Some(records) = reply.batch().await? {
            for record in records {
                told.add(record);
            }
        }
        Ok(told)
    }

    /// Takes a record; one of HTTP is not meant for here.
    pub(super) fn add(&mut self, record: ProbeRecord) {
        match record {
            ProbeRecord::Network(network) => self.network = Some(network),
            ProbeRecord::Resolver(setup) => self.setup = Some(*setup),
            ProbeRecord::Hosts(line) => self.hosts.push(line),
            ProbeRecord::Query(query) => self.queries.push(*query),
            ProbeRecord::Resolved(resolution) => self.resolutions.push(resolution),
            ProbeRecord::Connection(connection) => self.connections.push(*connection),
            ProbeRecord::Exchange(exchange) => self.exchange = Some(*exchange),
            ProbeRecord::Waiting { .. }
            | ProbeRecord::Tls(_)
            | ProbeRecord::Head(_)
            | ProbeRecord::Body(_)
            | ProbeRecord::BodyEnd(_)
            | ProbeRecord::Trailers(_) => {}
        }
    }

    /// Whether an address answered.
    pub(super) fn connected(&self) -> usize {
        let connected = |one: &&Connection| matches!(one.outcome, ConnectOutcome::Connected { .. });
        self.connections.iter().filter(connected).count()
    }

    /// Why the name has no address.
    pub(super) fn lookup_error(&self) -> Option<&str> {
        self.resolutions.last()?.error.as_deref()
    }

    /// The course of the look-up, one line a question.
    pub(super) fn print_lookup(&self, printer: &mut Printer) -> Result<(), CommandError> {
        let width = printer.width();
        let out = printer.data();
        if let Some(setup) = &self.setup {
            writeln!(out, "{}", resolver(setup)).map_err(CommandError::output)?;
        }
        for line in &self.hosts {
            let names = bstr::join(" ", &line.names);
            writeln!(
                out,
                "hosts file, line {}: {} {}",
                line.line,
                line.address,
                safe(&names)
            )
            .map_err(CommandError::output)?;
        }
        if !self.queries.is_empty() {
            let columns = [
                ("AT", Align::Right),
                ("TOOK", Align::Right),
                ("SERVER", Align::Left),
                ("", Align::Left),
                ("NAME", Align::Left),
                ("TYPE", Align::Left),
                ("", Align::Left),
            ];
            let rows = self.queries.iter().map(query_row);
            write!(out, "{}", table::render(&columns, rows, width))
                .map_err(CommandError::output)?;
        }
        Ok(())
    }

    /// One line an address.
    pub(super) fn print_connections(&self, printer: &mut Printer) -> Result<(), CommandError> {
        let out = printer.data();
        for one in &self.connections {
            let mut line = format!("{}  {}", one.address, reach::connection(one));
            if let Some(source) = one.source {
                line += &format!("; from {source}");
            }
            if let Some(route) = reach::route(&one.route) {
                line += &format!(" {route}");
            }
            writeln!(out, "{line}").map_err(CommandError::output)?;
        }
        Ok(())
    }
}

fn resolver(setup: &ResolverSetup) -> String {
    let sources: Vec<_> = setup.sources.iter().map(source).collect();
    let search: Vec<_> = setup.search.iter().map(|suffix| safe(suffix)).collect();
    let mut text = format!(
        "rules of {}; sources: {}; ndots {}, timeout {} s, attempts {}",
        libc(setup),
        sources.join(" "),
        setup.ndots,
        setup.timeout,
        setup.attempts
    );
    for option in &setup.options {
        text += &format!(", {option}");
    }
    if !search.is_empty() {
        text += &format!("; search: {}", search.join(" "));
    }
    if !setup.ignored_servers.is_empty() {
        let ignored: Vec<_> = setup
            .ignored_servers
            .iter()
            .map(ToString::to_string)
            .collect();
        text += &format!("; never asked: {}", ignored.join(" "));
    }
    if !setup.has_configuration {
        text += "; there is no /etc/resolv.conf";
    }
    text
}

fn libc(setup: &ResolverSetup) -> String {
    let name = libc_name(setup.libc.kind);
    let because = safe(&setup.libc.because);
    match (setup.libc.loaded, because.as_str()) {
        (true, because) => format!("{name} ({because} is loaded)"),
        (false, "") => {
            format!("{name}, for want of a C library: a static program may have its own")
        }
        (false, "as asked for") => format!("{name} (as asked for)"),
        (false, because) => {
            format!("{name} ({because} is there but not loaded: the program may have its own)")
        }
    }
}

pub(super) const fn libc_name(kind: LibcKind) -> &'static str {
    match kind {
        LibcKind::Glibc => "glibc",
        LibcKind::Musl => "musl",
    }
}

fn source(source: &Source) -> String {
    match source {
        Source::Files => "files".to_owned(),
        Source::Dns => "dns".to_owned(),
        Source::Other(name) => format!("{} (not asked)", safe(name.as_bytes())),
        Source::StopIfNotFound => "[NOTFOUND=return]".to_owned(),
    }
}

fn query_row(query: &DnsQuery) -> Vec<String> {
    vec![
        reach::time(query.at),
        reach::time(query.took),
        query.server.to_string(),
        via(query.via).to_owned(),
        safe(query.name.as_bytes()),
        kind_name(query.kind),
        safe(reach::query(&query.outcome).as_bytes()),
    ]
}

const fn via(via: Via) -> &'static str {
    match via {
        Via::Udp => "udp",
        Via::Tcp => "tcp",
    }
}

/// What a probe found, as JSON.
#[derive(Serialize)]
pub(super) struct Report<'a> {
    schema: u32,
    subject: Subject<'a>,
    /// Whether the agent had to go into the process's network namespace.
    entered_network: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    resolver: Option<ResolverRow<'a>>,
    hosts: Vec<HostsRow<'a>>,
    queries: Vec<QueryRow<'a>>,
    resolutions: Vec<ResolutionRow<'a>>,
    connections: Vec<ConnectionRow>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exchange: Option<ExchangeRow<'a>>,
}

#[derive(Serialize)]
struct ResolverRow<'a> {
    libc: &'static str,
    because: JsonBytes<'a>,
    loaded: bool,
    sources: Vec<String>,
    servers: Vec<String>,
    never_asked: Vec<String>,
    search: Vec<JsonBytes<'a>>,
    ndots: u8,
    timeout_seconds: u8,
    attempts: u8,
    options: &'a [String],
}

#[derive(Serialize)]
struct HostsRow<'a> {
    line: u32,
    address: String,
    names: Vec<JsonBytes<'a>>,
}

#[derive(Serialize)]
struct QueryRow<'a> {
    at_us: u64,
    took_us: u64,
    server: String,
    via: &'static str,
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    suffix: Option<JsonBytes<'a>>,
    r#type: String,
    attempt: u8,
    outcome: &'static str,
    said: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    answer: Option<AnswerRow<'a>>,
}

#[derive(Serialize)]
struct AnswerRow<'a> {
    rcode: String,
    truncated: bool,
    authoritative: bool,
    recursive: bool,
    size: u32,
    edns: Option<u16>,
    answers: Vec<RecordRow<'a>>,
    authorities: Vec<RecordRow<'a>>,
    additionals: Vec<RecordRow<'a>>,
    left_out: u32,
    strays: u32,
}

#[derive(Serialize)]
struct RecordRow<'a> {
    name: &'a str,
    ttl: u32,
    r#type: String,
    data: &'a str,
}

#[derive(Serialize)]
struct ResolutionRow<'a> {
    at_us: u64,
    took_us: u64,
    addresses: Vec<String>,
    error: Option<&'a str>,
    name: Option<&'a str>,
}

#[derive(Serialize)]
struct ConnectionRow {
    at_us: u64,
    took_us: u64,
    address: String,
    source: Option<String>,
    interface: Option<String>,
    gateway: Option<String>,
    route: Option<String>,
    outcome: &'static str,
    said: String,
    errno: Option<i32>,
    icmp: Option<IcmpRow>,
    round_trip_us: Option<u32>,
    retransmits: u32,
}

#[derive(Serialize)]
struct IcmpRow {
    from: Option<String>,
    r#type: u8,
    code: u8,
}

#[derive(Serialize)]
struct ExchangeRow<'a> {
    address: String,
    sent: u64,
    acknowledged: u64,
    received: u64,
    beginning: JsonBytes<'a>,
    first_byte_us: Option<u64>,
    found: Option<bool>,
    at_us: u64,
    ending: &'static str,
    said: String,
}

impl<'a> Report<'a> {
    pub(super) fn new(target: &'a Target, told: &'a Told) -> Self {
        Self {
            schema: 1,
            subject: Subject::new(target),
            entered_network: told.network == Some(Network::Entered),
            resolver: told.setup.as_ref().map(ResolverRow::new),
            hosts: told.hosts.iter().map(HostsRow::new).collect(),
            queries: told.queries.iter().map(QueryRow::new).collect(),
            resolutions: told.resolutions.iter().map(ResolutionRow::new).collect(),
            connections: told.connections.iter().map(ConnectionRow::new).collect(),
            exchange: told.exchange.as_ref().map(ExchangeRow::new),
        }
    }
}

fn strings<T: ToString>(values: &[T]) -> Vec<String> {
    values.iter().map(ToString::to_string).collect()
}

impl<'a> ResolverRow<'a> {
    fn new(setup: &'a ResolverSetup) -> Self {
        Self {
            libc: libc_name(setup.libc.kind),
            because: JsonBytes(&setup.libc.because),
            loaded: setup.libc.loaded,
            sources: setup.sources.iter().map(source).collect(),
            servers: strings(&setup.servers),
            never_asked: strings(&setup.ignored_servers),
            search: setup
                .search
                .iter()
                .map(|suffix| JsonBytes(suffix))
                .collect(),
            ndots: setup.ndots,
            timeout_seconds: setup.timeout,
            attempts: setup.attempts,
            options: &setup.options,
        }
    }
}

impl<'a> HostsRow<'a> {
    fn new(line: &'a HostsLine) -> Self {
        Self {
            line: line.line,
            address: line.address.to_string(),
            names: line.names.iter().map(|name| JsonBytes(name)).collect(),
        }
    }
}

impl<'a> QueryRow<'a> {
    fn new(query: &'a DnsQuery) -> Self {
        let (outcome, answer) = match &query.outcome {
            DnsOutcome::Answered(answer) => (
                "answered",
                Some(AnswerRow {
                    rcode: rcode_name(answer.rcode),
                    truncated: answer.truncated,
                    authoritative: answer.authoritative,
                    recursive: answer.recursive,
                    size: answer.size,
                    edns: answer.edns,
                    answers: records(&answer.answers),
                    authorities: records(&answer.authorities),
                    additionals: records(&answer.additionals),
                    left_out: answer.left_out,
                    strays: answer.strays,
                }),
            ),
            DnsOutcome::TimedOut => ("timeout", None),
            DnsOutcome::Unreachable { .. } => ("unreachable", None),
            DnsOutcome::Garbled(_) => ("garbage", None),
            DnsOutcome::NotNeeded => ("not-waited-for", None),
        };
        Self {
            at_us: query.at,
            took_us: query.took,
            server: query.server.to_string(),
            via: via(query.via),
            name: &query.name,
            suffix: match &query.rule {
                SearchRule::AsIs => None,
                SearchRule::Suffix(suffix) => Some(JsonBytes(suffix)),
            },
            r#type: kind_name(query.kind),
            attempt: query.attempt,
            outcome,
            said: reach::query(&query.outcome),
            answer,
        }
    }
}

fn records(records: &[DnsRecord]) -> Vec<RecordRow<'_>> {
    records.iter().map(RecordRow::new).collect()
}

impl<'a> RecordRow<'a> {
    fn new(record: &'a DnsRecord) -> Self {
        Self {
            name: &record.name,
            ttl: record.ttl,
            r#type: kind_name(record.kind),
            data: &record.data,
        }
    }
}

impl<'a> ResolutionRow<'a> {
    fn new(resolution: &'a Resolution) -> Self {
        Self {
            at_us: resolution.at,
            took_us: resolution.took,
            addresses: strings(&resolution.addresses),
            error: resolution.error.as_deref(),
            name: resolution.name.as_deref(),
        }
    }
}

impl ConnectionRow {
    fn new(connection: &Connection) -> Self {
        let route = connection.route.known();
        let (errno, icmp, round_trip_us, retransmits) = match &connection.outcome {
            ConnectOutcome::Connected {
                round_trip,
                retransmits,
            } => (None, None, *round_trip, *retransmits),
            ConnectOutcome::Failed { errno, icmp } => (Some(*errno), *icmp, None, 0),
            ConnectOutcome::TimedOut { retransmits } => (None, None, None, *retransmits),
        };
        Self {
            at_us: connection.at,
            took_us: connection.took,
            address: connection.address.to_string(),
            source: connection.source.map(|source| source.to_string()),
            interface: route.and_then(|route| route.interface.clone()),
            gateway: route.and_then(|route| Some(route.gateway?.to_string())),
            route: route.and_then(|route| route.entry.clone()),
            outcome: reach::outcome_word(&connection.outcome),
            said: reach::connection(connection),
            errno,
            icmp: icmp.map(|icmp| IcmpRow {
                from: icmp.from.map(|from| from.to_string()),
                r#type: icmp.kind,
                code: icmp.code,
            }),
            round_trip_us,
            retransmits,
        }
    }
}

impl<'a> ExchangeRow<'a> {
    fn new(exchange: &'a Exchange) -> Self {
        Self {
            address: exchange.address.to_string(),
            sent: exchange.sent,
            acknowledged: exchange.acknowledged,
            received: exchange.received,
            beginning: JsonBytes(exchange.beginning.as_bytes()),
            first_byte_us: exchange.first_byte,
            found: exchange.found,
            at_us: exchange.at,
            ending: match &exchange.ending {
                Ending::Done => "done",
                Ending::Closed => "closed",
                Ending::Failed { .. } => "failed",
                Ending::TimedOut { .. } => "timeout",
                Ending::Garbled(_) => "garbage",
                Ending::Refused(_) => "refused",
                Ending::Aborted { .. } => "aborted",
            },
            said: reach::exchange(exchange),
        }
    }
}
