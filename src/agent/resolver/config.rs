//! `resolv.conf`, `hosts` and `nsswitch.conf`, read as the C libraries read them.
//!
//! The two differ: musl has no `nsswitch.conf`, no `rotate` and the like, takes at most three servers as glibc does,
//! and lower limits for its options (glibc resolv/res_init.c, musl src/network/resolvconf.c).

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use bstr::{BString, ByteSlice as _};

use crate::protocol::message::{HostsLine, Libc, LibcKind, ResolverSetup, Source};

/// `MAXNS` in both.
const SERVERS: usize = 3;
const PORT: u16 = 53;

/// What the process's files say, in the eyes of its library.
pub(super) fn setup(
    libc: Libc,
    resolv_conf: Option<&[u8]>,
    nsswitch: Option<&[u8]>,
) -> ResolverSetup {
    let sources = match libc.kind {
        LibcKind::Glibc => sources(nsswitch.unwrap_or_default()),
        LibcKind::Musl => vec![Source::Files, Source::Dns],
    };
    let mut setup = ResolverSetup {
        libc,
        sources,
        has_configuration: resolv_conf.is_some(),
        servers: Vec::new(),
        ignored_servers: Vec::new(),
        search: Vec::new(),
        ndots: 1,
        timeout: 5,
        attempts: 2,
        options: Vec::new(),
    };
    for line in resolv_conf.unwrap_or_default().lines() {
        directive(line, &mut setup);
    }
    if setup.servers.is_empty() {
        setup.servers.push((Ipv4Addr::LOCALHOST, PORT).into());
    }
    setup
}

fn directive(line: &[u8], setup: &mut ResolverSetup) {
    let mut words = line.fields_with(|character| character.is_ascii_whitespace());
    let Some(keyword) = words.next() else {
        return;
    };
    match keyword {
        b"nameserver" => {
            if let Some(address) = words.next().and_then(server) {
                if setup.servers.len() < SERVERS {
                    setup.servers.push(address);
                } else {
                    setup.ignored_servers.push(address.ip());
                }
            }
        }
        // The last one counts; `domain` is a list of one.
        b"search" => setup.search = words.map(BString::from).collect(),
        b"domain" => setup.search = words.take(1).map(BString::from).collect(),
        b"options" => words.for_each(|word| option(word, setup)),
        _ => {}
    }
}

/// An address, with a zone for a link-local one.
fn server(word: &[u8]) -> Option<SocketAddr> {
    let text = word.to_str().ok()?;
    let (text, zone) = text
        .split_once('%')
        .map_or((text, None), |(address, zone)| (address, Some(zone)));
    match text.parse().ok()? {
        IpAddr::V4(address) => Some((address, PORT).into()),
        IpAddr::V6(address) => {
            let scope = zone.and_then(|zone| zone.parse().ok()).unwrap_or(0);
            Some(std::net::SocketAddrV6::new(address, PORT, 0, scope).into())
        }
    }
}

fn option(word: &[u8], setup: &mut ResolverSetup) {
    let Ok(word) = word.to_str() else {
        return;
    };
    let is_musl = setup.libc.kind == LibcKind::Musl;
    let number = |key: &str, limit: u8| {
        let value: u32 = word.strip_prefix(key)?.parse().ok()?;
        Some(u8::try_from(value).map_or(limit, |value| value.min(limit)))
    };
    if let Some(ndots) = number("ndots:", 15) {
        setup.ndots = ndots;
    } else if let Some(timeout) = number("timeout:", if is_musl { 60 } else { 30 }) {
        setup.timeout = timeout.max(1);
    } else if let Some(attempts) = number("attempts:", if is_musl { 10 } else { 5 }) {
        setup.attempts = attempts.max(1);
    } else if matches!(
        word,
        "rotate"
            | "single-request"
            | "single-request-reopen"
            | "use-vc"
            | "edns0"
            | "no-tld-query"
            | "no-aaaa"
            | "trust-ad"
    ) {
        setup.options.push(word.to_owned());
    }
}

/// The line `hosts:` of `nsswitch.conf`; without it, glibc asks files, then DNS.
fn sources(nsswitch: &[u8]) -> Vec<Source> {
    let line = nsswitch.lines().find_map(|line| {
        let line = line.split_str("#").next().unwrap_or_default();
        line.trim_ascii()
            .strip_prefix(b"hosts:")
            .map(<[u8]>::to_vec)
    });
    let Some(line) = line else {
        return vec![Source::Files, Source::Dns];
    };
    let mut found = Vec::new();
    let mut in_action = false;
    for word in line.fields_with(|character| character.is_ascii_whitespace()) {
        let text = word.to_str_lossy();
        if in_action || text.starts_with('[') {
            let condition = text.trim_matches(['[', ']']).to_ascii_uppercase();
            if condition == "NOTFOUND=RETURN" || condition == "!SUCCESS=RETURN" {
                found.push(Source::StopIfNotFound);
            }
            in_action = !text.ends_with(']');
            continue;
        }
        found.push(match text.as_ref() {
            "files" => Source::Files,
            "dns" => Source::Dns,
            other => Source::Other(other.to_owned()),
        });
    }
    found
}

/// The lines of a hosts file that have a name.
pub(super) fn hosts(file: &[u8], name: &[u8]) -> Vec<HostsLine> {
    let wanted = name.strip_suffix(b".").unwrap_or(name);
    let mut found = Vec::new();
    for (number, line) in (1..).zip(file.lines()) {
        let line = line.split_str("#").next().unwrap_or_default();
        let mut words = line.fields_with(|character| character.is_ascii_whitespace());
        let address = words
            .next()
            .and_then(|word| word.to_str().ok())
            .and_then(|word| word.split('%').next()?.parse().ok());
        let Some(address) = address else {
            continue;
        };
        let names: Vec<_> = words.map(BString::from).collect();
        if names.iter().any(|name| name.eq_ignore_ascii_case(wanted)) {
            found.push(HostsLine {
                line: number,
                address,
                names,
            });
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn libc(kind: LibcKind) -> Libc {
        Libc {
            kind,
            because: "/lib/libc.so".into(),
            loaded: true,
        }
    }

    const POD: &[u8] = b"search shop.svc.cluster.local svc.cluster.local cluster.local\nnameserver 10.96.0.10\noptions ndots:5\n";

    #[test]
    fn a_pods_configuration_is_read() {
        let setup = setup(libc(LibcKind::Glibc), Some(POD), None);
        assert_eq!(setup.servers, ["10.96.0.10:53".parse().unwrap()]);
        assert_eq!(
            setup.search,
            [
                "shop.svc.cluster.local",
                "svc.cluster.local",
                "cluster.local"
            ]
        );
        assert_eq!((setup.ndots, setup.timeout, setup.attempts), (5, 5, 2));
        assert_eq!(setup.sources, [Source::Files, Source::Dns]);
    }

    #[test]
    fn without_a_configuration_the_machine_itself_is_asked() {
        let setup = setup(libc(LibcKind::Musl), None, None);
        assert!(!setup.has_configuration);
        assert_eq!(setup.servers, ["127.0.0.1:53".parse().unwrap()]);
    }

    #[test]
    fn a_fourth_server_is_asked_by_nobody_and_limits_hold() {
        let text = b"nameserver 1.1.1.1\nnameserver ::1\nnameserver 3.3.3.3\nnameserver 4.4.4.4\nnameserver x\n\
            domain a\nsearch b c\noptions ndots:99 timeout:99 attempts:0 rotate unheard-of\n# nameserver 5.5.5.5\n";
        let setup = setup(libc(LibcKind::Glibc), Some(text), None);
        assert_eq!(setup.servers.len(), 3);
        assert_eq!(
            setup.ignored_servers,
            ["4.4.4.4".parse::<IpAddr>().unwrap()]
        );
        assert_eq!(setup.search, ["b", "c"]);
        assert_eq!((setup.ndots, setup.timeout, setup.attempts), (15, 30, 1));
        assert_eq!(setup.options, ["rotate"]);
    }

    #[test]
    fn the_order_of_sources_is_nsswitchs_for_glibc_and_fixed_for_musl() {
        let file: &[u8] =
            b"passwd: files\nhosts: files mdns4_minimal [NOTFOUND=return] dns # end\n";
        let other = Source::Other("mdns4_minimal".to_owned());
        assert_eq!(
            setup(libc(LibcKind::Glibc), None, Some(file)).sources,
            [Source::Files, other, Source::StopIfNotFound, Source::Dns]
        );
        assert_eq!(
            setup(libc(LibcKind::Musl), None, Some(file)).sources,
            [Source::Files, Source::Dns]
        );
    }

    #[test]
    fn every_line_of_the_hosts_file_that_has_the_name_counts() {
        let file = b"127.0.0.1 localhost\n# 9.9.9.9 web\n10.0.0.1\tweb web.local # here\nfe80::1%eth0 Web\nbad web\n";
        let found = hosts(file, b"WEB.");
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].line, found[1].line), (3, 4));
        assert_eq!(found[1].address, "fe80::1".parse::<IpAddr>().unwrap());
        assert!(hosts(file, b"we").is_empty());
    }
}
