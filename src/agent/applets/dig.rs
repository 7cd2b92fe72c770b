//! `dig`: one question to the name servers of the target, or to one that is named, from where the target stands.

use std::{
    ffi::OsString,
    fmt::Write as _,
    io::Write,
    net::{IpAddr, SocketAddr},
    str::FromStr as _,
    time::Duration,
};

use hickory_proto::rr::{Name, RecordType};
use lexopt::{
    Arg::{Short, Value},
    ValueExt as _,
};

use super::{Trouble, ask};
use crate::{
    agent::{resolver, target::Target},
    protocol::message::{
        Answered, DnsOutcome, DnsQuery, DnsRecord, LookupRequest, ProbeRecord, Request,
    },
};

/// As dig has it for a server that does not answer.
const NO_REPLY: u8 = 9;

/// Asks and prints.
pub(super) fn run(arguments: &[OsString], out: &mut dyn Write) -> Result<u8, Trouble> {
    let wanted = Wanted::parse(arguments)?;
    let process = ask::target()?;
    let mut servers = wanted.servers.clone();
    if servers.is_empty() {
        // Named, so that the hosts file has no say: dig asks servers only.
        let target = Target::open(process)?;
        servers = resolver::Files::read(&target)?.setup(&target, None).servers;
        if let Some(port) = wanted.port {
            for server in &mut servers {
                server.set_port(port);
            }
        }
    }
    let request = Request::Lookup(LookupRequest {
        process,
        name: wanted.name.as_str().into(),
        kinds: vec![wanted.kind],
        servers,
        each_server: false,
        exact: !wanted.search,
        tcp: wanted.tcp,
        edns: true,
        libc: None,
        timeout: wanted.timeout,
    });
    let mut queries: Vec<DnsQuery> = Vec::new();
    ask::rows(&request, |record| {
        if let ProbeRecord::Query(query) = record {
            queries.push(*query);
        }
        Ok(())
    })?;
    let Some((query, answer)) = chosen(&queries) else {
        return Err(no_reply(&queries));
    };
    out.write_all(wanted.shown(query, answer).as_bytes())?;
    Ok(0)
}

/// The answer that counts: a whole one with records, of several names the last.
fn chosen(queries: &[DnsQuery]) -> Option<(&DnsQuery, &Answered)> {
    let answered = |query: &'_ DnsQuery| match &query.outcome {
        DnsOutcome::Answered(answer) => Some((answer.truncated, answer.answers.is_empty())),
        _ => None,
    };
    let best = queries
        .iter()
        .rev()
        .filter(|query| answered(query).is_some())
        .min_by_key(|query| answered(query))?;
    match &best.outcome {
        DnsOutcome::Answered(answer) => Some((best, answer)),
        _ => None,
    }
}

fn no_reply(queries: &[DnsQuery]) -> Trouble {
    let mut text = String::new();
    for query in queries {
        let why = match &query.outcome {
            DnsOutcome::Unreachable { errno, .. } => nix::errno::Errno::from_raw(*errno).desc(),
            DnsOutcome::Garbled(why) => why.as_str(),
            _ => "timed out",
        };
        // Writing to a string does not fail.
        let _ = write!(
            text,
            "communications error to {}: {why}\n;; ",
            server(query.server)
        );
    }
    text.push_str("no servers could be reached");
    Trouble::said(NO_REPLY, text)
}

/// What the arguments ask for.
#[expect(clippy::struct_excessive_bools, reason = "each is an option of dig")]
struct Wanted {
    name: String,
    kind: u16,
    servers: Vec<SocketAddr>,
    port: Option<u16>,
    search: bool,
    tcp: bool,
    timeout: Option<u32>,
    short: bool,
    answer_only: bool,
}

impl Wanted {
    fn parse(arguments: &[OsString]) -> Result<Self, Trouble> {
        let mut wanted = Self {
            name: String::new(),
            kind: resolver::A,
            servers: Vec::new(),
            port: None,
            search: false,
            tcp: false,
            timeout: None,
            short: false,
            answer_only: false,
        };
        let (mut servers, mut shows_answer) = (Vec::new(), true);
        let mut parser = lexopt::Parser::from_args(arguments.iter().cloned());
        while let Some(argument) = parser.next()? {
            match argument {
                Short('p') => wanted.port = Some(parser.value()?.parse()?),
                Short('t') => {
                    let typed = parser.value()?.string()?;
                    wanted.kind = kind(&typed)
                        .ok_or_else(|| Trouble::Usage(format!("`{typed}` is no record type")))?;
                }
                Short('q') => wanted.name = parser.value()?.string()?,
                Short('x') => {
                    let typed = parser.value()?.string()?;
                    let address = IpAddr::from_str(&typed)
                        .map_err(|_| Trouble::Usage(format!("`{typed}` is no address")))?;
                    wanted.name = Name::from(address).to_ascii();
                    wanted.kind = u16::from(RecordType::PTR);
                }
                // The address of a server decides.
                Short('4' | '6') => {}
                Value(word) => {
                    let word = word.string()?;
                    match word.split_at_checked(1) {
                        Some(("@", typed)) => servers.push(typed.to_owned()),
                        Some(("+", "answer")) => shows_answer = true,
                        Some(("+", "noall")) => (wanted.answer_only, shows_answer) = (true, false),
                        Some(("+", switch)) => wanted.switch(switch)?,
                        _ => wanted.word(word)?,
                    }
                }
                other => return Err(other.unexpected().into()),
            }
        }
        if wanted.answer_only && !shows_answer {
            return Err(Trouble::Unknown("+noall".to_owned()));
        }
        for typed in servers {
            wanted.add_server(&typed)?;
        }
        if wanted.name.is_empty() {
            (wanted.name, wanted.kind) = (".".to_owned(), u16::from(RecordType::NS));
        }
        Ok(wanted)
    }

    fn switch(&mut self, switch: &str) -> Result<(), Trouble> {
        let (name, value) = match switch.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (switch, None),
        };
        match (name, value) {
            ("short", None) => self.short = true,
            ("tcp" | "vc", None) => self.tcp = true,
            ("search", None) => self.search = true,
            ("time" | "timeout", Some(seconds)) => {
                let seconds: u32 = seconds
                    .parse()
                    .map_err(|_| Trouble::Usage(format!("`{seconds}` is no number of seconds")))?;
                self.timeout = Some(seconds.saturating_mul(1000));
            }
            // As it is in any case.
            (
                "nosearch" | "notcp" | "novc" | "nocomments" | "nocmd" | "nostats" | "noquestion"
                | "recurse" | "edns",
                None,
            ) => {}
            _ => return Err(Trouble::Unknown(format!("+{switch}"))),
        }
        Ok(())
    }

    /// A type, a class, or the name: whatever comes first that is neither.
    fn word(&mut self, word: String) -> Result<(), Trouble> {
        if self.name.is_empty() {
            self.name = word;
        } else if let Some(number) = kind(&word) {
            self.kind = number;
        } else if !word.eq_ignore_ascii_case("in") {
            return Err(Trouble::Unknown(word));
        }
        Ok(())
    }

    fn add_server(&mut self, typed: &str) -> Result<(), Trouble> {
        let address = IpAddr::from_str(typed.trim_matches(['[', ']'])).map_err(|_| {
            Trouble::Usage(format!(
                "`@{typed}` is no address: the agent's own dig takes no names of servers"
            ))
        })?;
        self.servers
            .push(SocketAddr::new(address, self.port.unwrap_or(53)));
        Ok(())
    }

    fn shown(&self, query: &DnsQuery, answer: &Answered) -> String {
        let mut text = String::new();
        if self.short {
            for record in &answer.answers {
                text.push_str(&record.data);
                text.push('\n');
            }
        } else if self.answer_only {
            add_records(&mut text, &answer.answers);
        } else {
            add_answer(&mut text, query, answer);
        }
        text
    }
}

/// As dig prints it; what it makes up itself (its version, the question's number, the date) is left out.
fn add_answer(text: &mut String, query: &DnsQuery, answer: &Answered) {
    let counts = [&answer.answers, &answer.authorities, &answer.additionals].map(Vec::len);
    let flags = [
        (true, " qr"),
        (answer.authoritative, " aa"),
        (answer.truncated, " tc"),
        (true, " rd"),
        (answer.recursive, " ra"),
    ];
    let flags: String = flags
        .iter()
        .filter(|(is_set, _)| *is_set)
        .map(|(_, flag)| *flag)
        .collect();
    let rcode = rcode(answer.rcode);
    let [answers, authorities, additionals] = counts;
    // Writing to a string does not fail.
    let _ = write!(
        text,
        ";; ->>HEADER<<- opcode: QUERY, status: {rcode}\n;; flags:{flags}; QUERY: 1, ANSWER: {answers}, AUTHORITY: {authorities}, ADDITIONAL: {additionals}\n\n;; QUESTION SECTION:\n;{}\t\tIN\t{}\n",
        query.name,
        RecordType::from(query.kind),
    );
    let sections = [
        ("ANSWER", &answer.answers),
        ("AUTHORITY", &answer.authorities),
        ("ADDITIONAL", &answer.additionals),
    ];
    for (name, records) in sections
        .into_iter()
        .filter(|(_, records)| !records.is_empty())
    {
        let _ = write!(text, "\n;; {name} SECTION:\n");
        add_records(text, records);
    }
    if answer.left_out > 0 {
        let _ = writeln!(text, ";; {} more records", answer.left_out);
    }
    let took = Duration::from_micros(query.took).as_millis();
    let via = match query.via {
        crate::protocol::message::Via::Udp => "UDP",
        crate::protocol::message::Via::Tcp => "TCP",
    };
    let _ = write!(
        text,
        "\n;; Query time: {took} msec\n;; SERVER: {} ({via})\n;; MSG SIZE  rcvd: {}\n",
        server(query.server),
        answer.size
    );
}

fn add_records(text: &mut String, records: &[DnsRecord]) {
    for record in records {
        let kind = RecordType::from(record.kind);
        let _ = writeln!(
            text,
            "{}\t\t{}\tIN\t{kind}\t{}",
            record.name, record.ttl, record.data
        );
    }
}

fn server(address: SocketAddr) -> String {
    format!("{}#{}", address.ip(), address.port())
}

fn rcode(number: u16) -> String {
    let names = [
        "NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED", "YXDOMAIN", "YXRRSET",
        "NXRRSET", "NOTAUTH", "NOTZONE",
    ];
    match names.get(usize::from(number)) {
        Some(name) => (*name).to_owned(),
        None => format!("RCODE{number}"),
    }
}

/// A record type by its name or as `TYPE65`.
fn kind(word: &str) -> Option<u16> {
    let upper = word.to_ascii_uppercase();
    if let Some(number) = upper.strip_prefix("TYPE") {
        return number.parse().ok();
    }
    RecordType::from_str(&upper).ok().map(u16::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(words: &[&str]) -> Result<Wanted, Trouble> {
        let words: Vec<_> = words.iter().map(OsString::from).collect();
        Wanted::parse(&words)
    }

    #[test]
    fn words_are_taken_as_dig_takes_them() {
        let wanted = parsed(&["@127.0.0.1", "web.test", "srv", "-p", "5353", "+short"]).unwrap();
        assert_eq!(
            (wanted.name.as_str(), wanted.kind, wanted.short),
            ("web.test", 33, true)
        );
        assert_eq!(wanted.servers, ["127.0.0.1:5353".parse().unwrap()]);
        let reverse = parsed(&["-x", "10.0.0.1"]).unwrap();
        assert_eq!(
            (reverse.name.as_str(), reverse.kind),
            ("1.0.0.10.in-addr.arpa.", 12)
        );
        assert_eq!(parsed(&["mx", "TYPE65"]).unwrap().kind, 65);
        assert_eq!(parsed(&[]).unwrap().kind, 2);
    }

    #[test]
    fn what_it_does_not_know_is_left_to_another_dig() {
        for words in [
            &["+trace", "a"][..],
            &["a", "nosuchtype"],
            &["-k", "key", "a"],
        ] {
            assert!(
                matches!(parsed(words), Err(Trouble::Unknown(_))),
                "{words:?}"
            );
        }
    }
}
