//! In which order a C library asks which server for which name, and when it stops.
//!
//! glibc: `__res_context_search` (resolv/res_query.c) and `__res_context_send` (resolv/res_send.c).
//! musl: `name_from_dns_search` (src/network/lookup_name.c) and `__res_msend_rc` (src/network/res_msend.c).

use std::net::SocketAddr;

use bstr::{BStr, BString, ByteSlice as _};

use super::{
    Query,
    round::{Manner, NO_ERROR, NO_SUCH_NAME, Question, SERVER_FAILURE, ask},
    wire::name_of,
};
use crate::{
    agent::{Stop, network::Network, steps::Steps},
    protocol::message::{Answered, DnsOutcome, LibcKind, ResolverSetup, SearchRule},
};

/// What asking for one name comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// There are records.
    Found(Vec<Answered>),
    /// The name exists, without such records.
    NoData,
    /// The name does not exist.
    NoName,
    /// Every server has failed.
    ServerFailure,
    /// No server could be reached at all.
    Refused,
    /// There was no answer, or none that counts.
    TryAgain,
    /// The server will not do it.
    Fail,
    /// It is no name that could be asked for.
    BadName(String),
}

/// A name to try.
pub(super) struct Candidate {
    pub(super) name: BString,
    pub(super) rule: SearchRule,
}

/// The names to try in turn, as far as the library has not stopped before.
pub(super) fn candidates(name: &BStr, setup: &ResolverSetup, exact: bool) -> Vec<Candidate> {
    let as_is = || Candidate {
        name: name.into(),
        rule: SearchRule::AsIs,
    };
    let is_absolute = name.ends_with(b".");
    if exact || is_absolute {
        return vec![as_is()];
    }
    let dots = name.find_iter(".").count();
    let has_enough_dots = dots >= usize::from(setup.ndots);
    let suffixes = setup.search.iter().map(|suffix| {
        let bare = suffix.strip_suffix(b".").unwrap_or(suffix);
        let dot: &[u8] = if bare.is_empty() { b"" } else { b"." };
        Candidate {
            name: [name, dot, bare].concat().into(),
            rule: SearchRule::Suffix(suffix.clone()),
        }
    });
    match (setup.libc.kind, has_enough_dots) {
        // Enough dots: musl never looks at the list.
        (LibcKind::Musl, true) => vec![as_is()],
        (LibcKind::Glibc, true) => std::iter::once(as_is()).chain(suffixes).collect(),
        (LibcKind::Glibc, false) if dots == 0 && has(setup, "no-tld-query") => suffixes.collect(),
        (_, false) => suffixes.chain(std::iter::once(as_is())).collect(),
    }
}

/// Tries the candidates and answers the verdict of the library with the name that decided.
pub(super) fn search(
    steps: &mut Steps<'_>,
    network: &Network,
    setup: &ResolverSetup,
    query: &Query<'_>,
) -> Result<(Verdict, BString), Stop> {
    let mut seen = Seen::default();
    let mut skips_suffixes = false;
    for candidate in candidates(query.name, setup, query.exact) {
        let is_suffix = candidate.rule != SearchRule::AsIs;
        if is_suffix && skips_suffixes {
            continue;
        }
        let verdict = match setup.libc.kind {
            LibcKind::Glibc => glibc(steps, network, setup, query, &candidate)?,
            LibcKind::Musl => musl(steps, network, setup, query, &candidate)?,
        };
        match (&verdict, setup.libc.kind) {
            (Verdict::Found(_), _) => return Ok((verdict, candidate.name)),
            // musl goes on only when the name does not exist.
            (Verdict::NoName, LibcKind::Musl) => {}
            (_, LibcKind::Musl) => return Ok((verdict, candidate.name)),
            (Verdict::Refused, LibcKind::Glibc) => return Ok((verdict, candidate.name)),
            // glibc tries the name as it is even after it has given up the list.
            (Verdict::TryAgain | Verdict::Fail, LibcKind::Glibc) if is_suffix => {
                skips_suffixes = true;
            }
            _ => {}
        }
        seen.note(verdict);
    }
    Ok((seen.verdict(), query.name.into()))
}

/// The verdicts of the names so far; the worst news that is still good for something counts.
#[derive(Default)]
struct Seen {
    no_data: bool,
    server_failure: bool,
    last: Option<Verdict>,
}

impl Seen {
    fn note(&mut self, verdict: Verdict) {
        self.no_data |= verdict == Verdict::NoData;
        self.server_failure |= verdict == Verdict::ServerFailure;
        self.last = Some(verdict);
    }

    fn verdict(self) -> Verdict {
        match self.last {
            Some(last @ (Verdict::TryAgain | Verdict::Fail | Verdict::BadName(_))) => last,
            _ if self.no_data => Verdict::NoData,
            _ if self.server_failure => Verdict::ServerFailure,
            Some(last) => last,
            None => Verdict::NoName,
        }
    }
}

fn has(setup: &ResolverSetup, option: &str) -> bool {
    setup.options.iter().any(|known| known == option)
}

fn questions(query: &Query<'_>, candidate: &Candidate) -> Result<Vec<Question>, String> {
    let name = name_of(&candidate.name)?;
    let question = |kind: &u16| Question {
        name: name.clone(),
        rule: candidate.rule.clone(),
        kind: *kind,
    };
    Ok(query.kinds.iter().map(question).collect())
}

/// One server after the other, all of them several times.
fn glibc(
    steps: &mut Steps<'_>,
    network: &Network,
    setup: &ResolverSetup,
    query: &Query<'_>,
    candidate: &Candidate,
) -> Result<Verdict, Stop> {
    let questions = match questions(query, candidate) {
        Ok(questions) => questions,
        Err(why) => return Ok(Verdict::BadName(why)),
    };
    let one_by_one = has(setup, "single-request") || has(setup, "single-request-reopen");
    let groups: Vec<Vec<Question>> = if one_by_one {
        questions
            .into_iter()
            .map(|question| vec![question])
            .collect()
    } else {
        vec![questions]
    };
    let mut outcomes = Vec::new();
    for group in groups {
        outcomes.extend(ask_in_turn(steps, network, setup, query, group)?);
    }
    Ok(verdict(&outcomes))
}

fn ask_in_turn(
    steps: &mut Steps<'_>,
    network: &Network,
    setup: &ResolverSetup,
    query: &Query<'_>,
    mut open: Vec<Question>,
) -> Result<Vec<Option<DnsOutcome>>, Stop> {
    let mut done = Vec::new();
    let mut failed: Vec<Option<DnsOutcome>> = Vec::new();
    for attempt in 1..=setup.attempts {
        for (place, server) in setup.servers.iter().enumerate() {
            let manner = Manner {
                tcp: query.tcp || has(setup, "use-vc"),
                edns: query.edns || has(setup, "edns0"),
                limit: query.limit.unwrap_or_else(|| patience(setup, place)),
                attempt,
                first_wins: false,
            };
            let outcomes = ask(steps, network, &[*server], &open, manner)?;
            failed.clear();
            let mut still_open = Vec::new();
            for (question, outcome) in open.into_iter().zip(outcomes) {
                if counts(outcome.as_ref()) {
                    done.push(outcome);
                } else {
                    failed.push(outcome);
                    still_open.push(question);
                }
            }
            open = still_open;
            if open.is_empty() {
                return Ok(done);
            }
        }
    }
    done.append(&mut failed);
    Ok(done)
}

/// How long glibc waits for a server, in milliseconds: longer for later ones (`get_timeout`).
fn patience(setup: &ResolverSetup, place: usize) -> u32 {
    let seconds = u32::from(setup.timeout) << place.min(3);
    let count = u32::try_from(setup.servers.len()).unwrap_or(1).max(1);
    let seconds = if place > 0 { seconds / count } else { seconds };
    seconds.max(1) * 1000
}

/// Whether glibc takes an outcome for an answer: after the others it asks the next server.
fn counts(outcome: Option<&DnsOutcome>) -> bool {
    const NOT_IMPLEMENTED: u16 = 4;
    const REFUSED: u16 = 5;
    match outcome {
        Some(DnsOutcome::Answered(answer)) => {
            !matches!(answer.rcode, SERVER_FAILURE | NOT_IMPLEMENTED | REFUSED)
        }
        _ => false,
    }
}

/// All servers at once; the first that says yes or no counts.
fn musl(
    steps: &mut Steps<'_>,
    network: &Network,
    setup: &ResolverSetup,
    query: &Query<'_>,
    candidate: &Candidate,
) -> Result<Verdict, Stop> {
    let questions = match questions(query, candidate) {
        Ok(questions) => questions,
        Err(why) => return Ok(Verdict::BadName(why)),
    };
    let whole = u32::from(setup.timeout) * 1000;
    let limit = query.limit.unwrap_or(whole / u32::from(setup.attempts));
    let mut last = Vec::new();
    for attempt in 1..=setup.attempts {
        let manner = Manner {
            tcp: query.tcp,
            edns: query.edns,
            limit,
            attempt,
            first_wins: true,
        };
        last = ask(steps, network, &setup.servers, &questions, manner)?;
        let is_answered = |outcome: &Option<DnsOutcome>| matches!(outcome, Some(DnsOutcome::Answered(answer)) if matches!(answer.rcode, NO_ERROR | NO_SUCH_NAME));
        if last.iter().all(is_answered) {
            break;
        }
    }
    Ok(verdict(&last))
}

/// What outcomes of all record types of one name say together.
pub(super) fn verdict(outcomes: &[Option<DnsOutcome>]) -> Verdict {
    let mut answers = Vec::new();
    let (mut no_data, mut no_name, mut failures, mut refusals) = (false, false, 0, 0);
    let (mut silent, mut unreachable) = (0, 0);
    for outcome in outcomes {
        match outcome {
            Some(DnsOutcome::Answered(answer)) => match answer.rcode {
                NO_ERROR if !answer.answers.is_empty() => answers.push(answer.clone()),
                NO_ERROR => no_data = true,
                NO_SUCH_NAME => no_name = true,
                SERVER_FAILURE => failures += 1,
                _ => refusals += 1,
            },
            Some(DnsOutcome::Unreachable { .. }) => unreachable += 1,
            _ => silent += 1,
        }
    }
    if !answers.is_empty() {
        Verdict::Found(answers)
    } else if silent > 0 {
        Verdict::TryAgain
    } else if failures > 0 {
        Verdict::ServerFailure
    } else if refusals > 0 {
        Verdict::Fail
    } else if no_data {
        Verdict::NoData
    } else if no_name {
        Verdict::NoName
    } else if unreachable > 0 {
        Verdict::Refused
    } else {
        Verdict::TryAgain
    }
}

/// One server of the setup, to be asked by itself.
pub(super) fn only(setup: &ResolverSetup, server: SocketAddr) -> ResolverSetup {
    ResolverSetup {
        servers: vec![server],
        ..setup.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::message::Libc;

    fn setup(kind: LibcKind) -> ResolverSetup {
        let libc = Libc {
            kind,
            because: "".into(),
            loaded: true,
        };
        super::super::config::setup(libc, Some(b"search a.test b.test\noptions ndots:2\n"), None)
    }

    fn names(name: &str, kind: LibcKind) -> Vec<String> {
        candidates(name.into(), &setup(kind), false)
            .into_iter()
            .map(|candidate| candidate.name.to_string())
            .collect()
    }

    #[test]
    fn few_dots_go_through_the_list_first_in_both_libraries() {
        for kind in [LibcKind::Glibc, LibcKind::Musl] {
            assert_eq!(names("web", kind), ["web.a.test", "web.b.test", "web"]);
            assert_eq!(names("web.", kind), ["web."]);
        }
    }

    #[test]
    fn with_enough_dots_glibc_falls_back_on_the_list_and_musl_never_does() {
        assert_eq!(
            names("x.y.z", LibcKind::Glibc),
            ["x.y.z", "x.y.z.a.test", "x.y.z.b.test"]
        );
        assert_eq!(names("x.y.z", LibcKind::Musl), ["x.y.z"]);
    }

    #[test]
    fn later_servers_are_waited_for_longer_but_share_the_time() {
        let mut setup = setup(LibcKind::Glibc);
        setup.servers = vec!["1.1.1.1:53".parse().unwrap(); 3];
        let waits: Vec<_> = (0..3).map(|place| patience(&setup, place)).collect();
        assert_eq!(waits, [5000, 3000, 6000]);
    }
}
