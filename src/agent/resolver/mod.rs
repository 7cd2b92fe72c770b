//! Looking names up as the process would: with its files, its servers and the rules of its C library.
//!
//! Every question and every answer is told to the client as it happens. glibc and musl differ in ways that
//! decide incidents, so which one the process has is found out first, and said.

mod config;
mod round;
mod rules;
mod wire;

use std::{
    fs::File,
    io::Read as _,
    net::{IpAddr, SocketAddr},
};

use bstr::{BStr, BString, ByteSlice as _};
use nix::{errno::Errno, sys::stat};

use self::rules::Verdict;
use super::{
    Stop,
    file_system::{kind_of, reopen},
    network::Network,
    route::route_to,
    steps::Steps,
    target::{Target, errno_of},
    view::View,
};
use crate::protocol::message::{
    Failure, FileKind, Libc, LibcKind, ProbeRecord, Resolution, ResolverSetup, Source,
};

/// Record types.
pub(super) const A: u16 = 1;
pub(super) const AAAA: u16 = 28;
/// No configuration is larger; a hosts file of a million blocked names is 30 MB.
const FILE_LIMIT: u64 = 32 * 1024 * 1024;

/// A name to look up.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a switch of its own, as the user typed it"
)]
pub(super) struct Query<'a> {
    pub(super) name: &'a BStr,
    pub(super) kinds: Vec<u16>,
    pub(super) exact: bool,
    pub(super) tcp: bool,
    pub(super) edns: bool,
    /// How long to wait for one answer, in milliseconds.
    pub(super) limit: Option<u32>,
    /// Whether the hosts file may answer.
    pub(super) with_files: bool,
    pub(super) each_server: bool,
}

/// The addresses of a host, in the order in which a program would try them; an address is its own.
pub(super) fn addresses(
    steps: &mut Steps<'_>,
    target: &Target,
    network: &Network,
    host: &BStr,
) -> Result<Vec<IpAddr>, Stop> {
    if let Some(address) = literal(host) {
        return Ok(vec![address]);
    }
    let files = Files::read(target)?;
    let setup = files.setup(target, None);
    steps.tell(ProbeRecord::Resolver(Box::new(setup.clone())))?;
    let query = Query {
        name: host,
        kinds: address_kinds(&setup),
        exact: false,
        tcp: false,
        edns: false,
        limit: None,
        with_files: true,
        each_server: false,
    };
    look_up(steps, network, &setup, &files, &query)
}

/// What a program asks for that wants addresses.
pub(super) fn address_kinds(setup: &ResolverSetup) -> Vec<u16> {
    if setup.options.iter().any(|option| option == "no-aaaa") {
        vec![A]
    } else {
        vec![A, AAAA]
    }
}

/// An address that is written as such.
pub(super) fn literal(host: &BStr) -> Option<IpAddr> {
    let text = host.to_str().ok()?;
    let text = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'))
        .unwrap_or(text);
    text.parse().ok()
}

/// Looks a name up, source by source, and answers the addresses found.
pub(super) fn look_up(
    steps: &mut Steps<'_>,
    network: &Network,
    setup: &ResolverSetup,
    files: &Files,
    query: &Query<'_>,
) -> Result<Vec<IpAddr>, Stop> {
    let at = steps.now();
    let mut verdict = (Verdict::NoName, BString::from(query.name));
    for source in &setup.sources {
        match source {
            Source::Files if query.with_files => {
                let found = files.addresses(steps, query)?;
                if !found.is_empty() {
                    let resolution = resolved(steps, network, at, found);
                    return tell(steps, resolution);
                }
                verdict = (Verdict::NoName, query.name.into());
            }
            Source::Dns if query.each_server => return each_server(steps, network, setup, query),
            Source::Dns => {
                let found = rules::search(steps, network, setup, query)?;
                if matches!(found.0, Verdict::Found(_)) {
                    let resolution = resolution(steps, network, at, query, found);
                    return tell(steps, resolution);
                }
                verdict = found;
            }
            Source::StopIfNotFound if matches!(verdict.0, Verdict::NoName | Verdict::NoData) => {
                break;
            }
            Source::Files | Source::Other(_) | Source::StopIfNotFound => {}
        }
    }
    let resolution = resolution(steps, network, at, query, verdict);
    tell(steps, resolution)
}

/// The same name from every server; what each says is one resolution.
fn each_server(
    steps: &mut Steps<'_>,
    network: &Network,
    setup: &ResolverSetup,
    query: &Query<'_>,
) -> Result<Vec<IpAddr>, Stop> {
    for server in &setup.servers {
        let at = steps.now();
        let only = rules::only(setup, *server);
        let found = rules::search(steps, network, &only, query)?;
        let resolution = resolution(steps, network, at, query, found);
        tell(steps, resolution)?;
    }
    Ok(Vec::new())
}

fn tell(steps: &mut Steps<'_>, resolution: Resolution) -> Result<Vec<IpAddr>, Stop> {
    let addresses = resolution.addresses.clone();
    steps.tell(ProbeRecord::Resolved(resolution))?;
    Ok(addresses)
}

fn resolved(steps: &Steps<'_>, network: &Network, at: u64, found: Vec<IpAddr>) -> Resolution {
    Resolution {
        at,
        took: steps.now() - at,
        addresses: in_order(network, found),
        error: None,
        name: None,
    }
}

fn resolution(
    steps: &Steps<'_>,
    network: &Network,
    at: u64,
    query: &Query<'_>,
    (verdict, name): (Verdict, BString),
) -> Resolution {
    let error = match verdict {
        Verdict::Found(answers) => {
            let records = answers.iter().flat_map(|answer| &answer.answers);
            let found = records.filter_map(|record| record.address).collect();
            let mut resolution = resolved(steps, network, at, found);
            let is_other = name != query.name;
            resolution.name = is_other.then(|| name.to_str_lossy().into_owned());
            return resolution;
        }
        Verdict::NoName => "EAI_NONAME",
        Verdict::NoData => "EAI_NODATA",
        Verdict::ServerFailure | Verdict::TryAgain | Verdict::Refused => "EAI_AGAIN",
        Verdict::Fail => "EAI_FAIL",
        Verdict::BadName(why) => {
            return Resolution {
                at,
                took: steps.now() - at,
                addresses: Vec::new(),
                error: Some(format!("EAI_NONAME: {why}")),
                name: None,
            };
        }
    };
    Resolution {
        at,
        took: steps.now() - at,
        addresses: Vec::new(),
        error: Some(error.to_owned()),
        name: None,
    }
}

/// Each address once; those to which there is no way last, IPv6 before IPv4 among equals. The whole of RFC 6724
/// would also weigh scopes and prefixes, which a pod's two addresses do not make differ.
fn in_order(network: &Network, mut addresses: Vec<IpAddr>) -> Vec<IpAddr> {
    let mut seen = std::collections::HashSet::new();
    addresses.retain(|address| seen.insert(*address));
    if addresses.len() > 1 {
        let is_refused = |address: &IpAddr| {
            let route = network.within(|| route_to(*address));
            !matches!(route, Ok(Ok(route)) if route.refused.is_none())
        };
        addresses.sort_by_cached_key(|address| (is_refused(address), address.is_ipv4()));
    }
    addresses
}

/// The files of a process that say how names are looked up.
pub(super) struct Files {
    resolv_conf: Option<Vec<u8>>,
    nsswitch: Option<Vec<u8>>,
    hosts: Option<Vec<u8>>,
    /// The loader or library in the process's root, when there is one.
    library: Option<(LibcKind, &'static str)>,
}

impl Files {
    /// Reads them; one that is not there is no error, one that cannot be read is.
    pub(super) fn read(target: &Target) -> Result<Self, Failure> {
        let view = View::open(target)?;
        Ok(Self {
            resolv_conf: read(&view, "/etc/resolv.conf")?,
            nsswitch: read(&view, "/etc/nsswitch.conf")?,
            hosts: read(&view, "/etc/hosts")?,
            library: library(&view),
        })
    }

    /// How the process looks names up.
    pub(super) fn setup(&self, target: &Target, kind: Option<LibcKind>) -> ResolverSetup {
        let mut libc = self.libc(target);
        if let Some(kind) = kind {
            libc = Libc {
                kind,
                because: "as asked for".into(),
                loaded: libc.loaded && libc.kind == kind,
            };
        }
        config::setup(libc, self.resolv_conf.as_deref(), self.nsswitch.as_deref())
    }

    fn libc(&self, target: &Target) -> Libc {
        if let Some(libc) = target.read("maps").ok().and_then(|maps| loaded(&maps)) {
            return libc;
        }
        let (kind, because) = self.library.unwrap_or((LibcKind::Glibc, ""));
        Libc {
            kind,
            because: because.into(),
            loaded: false,
        }
    }

    fn addresses(&self, steps: &mut Steps<'_>, query: &Query<'_>) -> Result<Vec<IpAddr>, Stop> {
        let mut found = Vec::new();
        for line in config::hosts(self.hosts.as_deref().unwrap_or_default(), query.name) {
            let kind = if line.address.is_ipv4() { A } else { AAAA };
            if query.kinds.contains(&kind) && found.len() < 48 {
                found.push(line.address);
                steps.tell(ProbeRecord::Hosts(line))?;
            }
        }
        Ok(found)
    }
}

/// The C library among the files that a process has mapped.
fn loaded(maps: &[u8]) -> Option<Libc> {
    maps.lines().find_map(|line| {
        let path = line.get(line.find_byte(b'/')?..)?;
        let name = path.rsplit_str("/").next().unwrap_or_default();
        let kind = if name.starts_with(b"ld-musl-") || name.starts_with(b"libc.musl-") {
            LibcKind::Musl
        } else if name.starts_with(b"libc.so.6") || name.starts_with(b"libc-2.") {
            LibcKind::Glibc
        } else {
            return None;
        };
        Some(Libc {
            kind,
            because: path.into(),
            loaded: true,
        })
    })
}

/// Where the loaders and libraries of both are.
const LIBRARIES: [(LibcKind, &str); 8] = [
    (LibcKind::Musl, "/lib/ld-musl-x86_64.so.1"),
    (LibcKind::Musl, "/lib/ld-musl-aarch64.so.1"),
    (LibcKind::Glibc, "/lib64/ld-linux-x86-64.so.2"),
    (LibcKind::Glibc, "/lib/ld-linux-aarch64.so.1"),
    (LibcKind::Glibc, "/lib/x86_64-linux-gnu/libc.so.6"),
    (LibcKind::Glibc, "/lib/aarch64-linux-gnu/libc.so.6"),
    (LibcKind::Glibc, "/usr/lib/libc.so.6"),
    (LibcKind::Glibc, "/lib64/libc.so.6"),
];

fn library(view: &View<'_>) -> Option<(LibcKind, &'static str)> {
    LIBRARIES
        .into_iter()
        .find(|(_, path)| view.resolve((*path).into()).is_ok())
}

/// A file of the process; `None` when there is none.
pub(super) fn read(view: &View<'_>, path: &str) -> Result<Option<Vec<u8>>, Failure> {
    let fail = |errno| view.failure("read", path.into(), errno);
    let found = match view.resolve(path.into()) {
        Ok(found) => found,
        Err(Errno::ENOENT | Errno::ENOTDIR) => return Ok(None),
        Err(errno) => return Err(fail(errno)),
    };
    let status = stat::fstat(&found).map_err(fail)?;
    if kind_of(&status) != Some(FileKind::File) {
        return Ok(None);
    }
    let file: File = reopen(&found).map_err(fail)?;
    let mut bytes = Vec::new();
    file.take(FILE_LIMIT)
        .read_to_end(&mut bytes)
        .map_err(|error| fail(errno_of(&error)))?;
    Ok(Some(bytes))
}

/// The servers to ask, when they are named instead of the process's.
pub(super) fn with_servers(mut setup: ResolverSetup, servers: &[SocketAddr]) -> ResolverSetup {
    if !servers.is_empty() {
        setup.servers = servers.to_vec();
        setup.ignored_servers.clear();
    }
    setup
}
