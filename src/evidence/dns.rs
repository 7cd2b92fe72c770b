//! What the numbers and the names of DNS mean.

use super::{names::Remark, reach};
use crate::protocol::message::{DnsQuery, LibcKind, Resolution, ResolverSetup, SearchRule};

/// Record types by their numbers (IANA), those that are met.
const KINDS: [(u16, &str); 18] = [
    (1, "A"),
    (2, "NS"),
    (5, "CNAME"),
    (6, "SOA"),
    (12, "PTR"),
    (13, "HINFO"),
    (15, "MX"),
    (16, "TXT"),
    (28, "AAAA"),
    (33, "SRV"),
    (35, "NAPTR"),
    (39, "DNAME"),
    (43, "DS"),
    (48, "DNSKEY"),
    (64, "SVCB"),
    (65, "HTTPS"),
    (255, "ANY"),
    (257, "CAA"),
];

/// The name of a record type; `TYPE123` for others (RFC 3597).
pub fn kind_name(kind: u16) -> String {
    KINDS
        .iter()
        .find(|(number, _)| *number == kind)
        .map_or_else(|| format!("TYPE{kind}"), |(_, name)| (*name).to_owned())
}

/// The number of a record type.
pub fn kind_number(name: &str) -> Option<u16> {
    let name = name.to_ascii_uppercase();
    if let Some(number) = name.strip_prefix("TYPE") {
        return number.parse().ok();
    }
    KINDS
        .iter()
        .find(|(_, known)| *known == name)
        .map(|(number, _)| *number)
}

/// The name of a response code.
pub fn rcode_name(rcode: u16) -> String {
    match rcode {
        0 => "NOERROR",
        1 => "FORMERR",
        2 => "SERVFAIL",
        3 => "NXDOMAIN",
        4 => "NOTIMP",
        5 => "REFUSED",
        9 => "NOTAUTH",
        16 => "BADVERS",
        other => return format!("RCODE{other}"),
    }
    .to_owned()
}

/// The name under which an address is looked up in reverse.
pub fn reverse_name(address: std::net::IpAddr) -> String {
    use std::fmt::Write as _;
    match address {
        std::net::IpAddr::V4(address) => {
            let [a, b, c, d] = address.octets();
            format!("{d}.{c}.{b}.{a}.in-addr.arpa.")
        }
        std::net::IpAddr::V6(address) => {
            let mut name = String::new();
            for byte in address.octets().iter().rev() {
                let _ = write!(name, "{:x}.{:x}.", byte & 15, byte >> 4);
            }
            name + "ip6.arpa."
        }
    }
}

/// What the search list did to a look-up, and what another C library would have done.
pub fn search_remarks(
    setup: &ResolverSetup,
    name: &str,
    queries: &[DnsQuery],
    resolution: &Resolution,
) -> Vec<Remark> {
    let mut remarks = Vec::new();
    let mut say = |text: String| {
        remarks.push(Remark {
            text,
            is_wrong: false,
        });
    };
    if queries.is_empty() || name.ends_with('.') {
        return remarks;
    }
    let dots = name.matches('.').count();
    let has_enough_dots = dots >= usize::from(setup.ndots);
    let in_vain: Vec<_> = queries
        .iter()
        .filter(|query| matches!(query.rule, SearchRule::Suffix(_)))
        .collect();
    let is_found = resolution.error.is_none();
    let as_is = resolution.name.is_none();
    if is_found && as_is && !in_vain.is_empty() && !has_enough_dots {
        let took: u64 = in_vain
            .iter()
            .map(|query| query.at + query.took)
            .max()
            .unwrap_or_default();
        let began = in_vain
            .iter()
            .map(|query| query.at)
            .min()
            .unwrap_or_default();
        say(format!(
            "ndots:{}: the name has {dots} dots, so {} questions with the search list came first and in vain ({}); a dot at its end \
             saves them",
            setup.ndots,
            in_vain.len(),
            reach::time(took.saturating_sub(began))
        ));
    }
    if matches!(
        resolution.error.as_deref(),
        Some("EAI_NONAME" | "EAI_NODATA")
    ) {
        let mut asked: Vec<&str> = Vec::new();
        for query in queries {
            if !asked.contains(&query.name.as_str()) {
                asked.push(&query.name);
            }
        }
        if asked.len() > 1 {
            say(format!(
                "ndots:{}: asked for as {}: none of these has such a record",
                setup.ndots,
                asked.join(", ")
            ));
        }
    }
    match setup.libc.kind {
        LibcKind::Glibc if is_found && !as_is && has_enough_dots => say(format!(
            "musl would not find it: a name with {} dots or more is never asked for with the search list there",
            setup.ndots
        )),
        LibcKind::Musl if !is_found && has_enough_dots && !setup.search.is_empty() => say(
            "glibc would go on with the search list: musl does not, for a name with this many dots"
                .to_owned(),
        ),
        _ => {}
    }
    if setup.options.iter().any(|option| option == "rotate") && setup.servers.len() > 1 {
        say(
            "`rotate`: any of the servers may be asked first; `--all-servers` asks each by itself"
                .to_owned(),
        );
    }
    remarks
}

/// What a name of a cluster stands for, told by its form (the DNS specification of Kubernetes).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClusterName {
    /// `NAME.NAMESPACE.svc.DOMAIN`
    Service {
        /// The Service.
        service: String,
        /// Its namespace.
        namespace: String,
    },
    /// `_PORT._PROTOCOL.NAME.NAMESPACE.svc.DOMAIN`
    Port {
        /// The name of the port.
        port: String,
        /// `tcp`, `udp` or `sctp`.
        protocol: String,
        /// The Service.
        service: String,
        /// Its namespace.
        namespace: String,
    },
    /// `HOST.NAME.NAMESPACE.svc.DOMAIN`: one endpoint of a headless Service.
    Endpoint {
        /// Its host name, or its address with dashes.
        host: String,
        /// The Service.
        service: String,
        /// Its namespace.
        namespace: String,
    },
    /// `10-1-2-3.NAMESPACE.pod.DOMAIN`: whatever address is written there, pod or not.
    Pod {
        /// The address with dashes.
        address: String,
        /// The namespace.
        namespace: String,
    },
}

/// What a name stands for; `None` when it has not the form of a cluster's names.
pub fn cluster_name(name: &str) -> Option<ClusterName> {
    let labels: Vec<&str> = name.trim_end_matches('.').split('.').collect();
    let place = labels
        .iter()
        .position(|label| matches!(*label, "svc" | "pod"))?;
    // A cluster's domain has a name of its own behind it.
    labels.get(place + 1)?;
    let before = labels.get(..place)?;
    if before.iter().any(|label| label.is_empty()) {
        return None;
    }
    let owned = |label: &str| label.to_owned();
    match (*labels.get(place)?, before) {
        ("svc", [service, namespace]) => Some(ClusterName::Service {
            service: owned(service),
            namespace: owned(namespace),
        }),
        ("svc", [port, protocol, service, namespace])
            if port.starts_with('_') && protocol.starts_with('_') =>
        {
            Some(ClusterName::Port {
                port: port.trim_start_matches('_').to_owned(),
                protocol: protocol.trim_start_matches('_').to_owned(),
                service: owned(service),
                namespace: owned(namespace),
            })
        }
        ("svc", [host, service, namespace]) => Some(ClusterName::Endpoint {
            host: owned(host),
            service: owned(service),
            namespace: owned(namespace),
        }),
        ("pod", [address, namespace]) => Some(ClusterName::Pod {
            address: owned(address),
            namespace: owned(namespace),
        }),
        _ => None,
    }
}

impl std::fmt::Display for ClusterName {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Service { service, namespace } => write!(
                formatter,
                "has the form of Service {service} in namespace {namespace}"
            ),
            Self::Port {
                port,
                protocol,
                service,
                namespace,
            } => write!(
                formatter,
                "has the form of port {port}/{protocol} of Service {service} in namespace {namespace}"
            ),
            Self::Endpoint {
                host,
                service,
                namespace,
            } => write!(
                formatter,
                "has the form of endpoint {host} of headless Service {service} in namespace {namespace}"
            ),
            Self::Pod { address, namespace } => write!(
                formatter,
                "has the form of address {} in namespace {namespace}; such a name is answered whether or not a pod has it",
                address.replace('-', ".")
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_have_names_both_ways() {
        for (number, name) in KINDS {
            assert_eq!(kind_name(number), name);
            assert_eq!(kind_number(&name.to_lowercase()), Some(number));
        }
        assert_eq!(kind_name(999), "TYPE999");
        assert_eq!(kind_number("type999"), Some(999));
        assert_eq!(kind_number("web"), None);
    }

    #[test]
    fn addresses_are_turned_round() {
        assert_eq!(reverse_name([10, 1, 2, 3].into()), "3.2.1.10.in-addr.arpa.");
        let name = reverse_name("fd00::12".parse().unwrap());
        assert!(name.starts_with("2.1.0.0."), "{name}");
        assert!(name.ends_with(".0.0.d.f.ip6.arpa."), "{name}");
    }

    fn setup(kind: LibcKind, ndots: u8) -> ResolverSetup {
        ResolverSetup {
            libc: crate::protocol::message::Libc {
                kind,
                because: "".into(),
                loaded: true,
            },
            sources: Vec::new(),
            has_configuration: true,
            servers: vec![([10, 0, 0, 1], 53).into()],
            ignored_servers: Vec::new(),
            search: vec!["shop.svc.x".into()],
            ndots,
            timeout: 5,
            attempts: 2,
            options: Vec::new(),
        }
    }

    fn query(name: &str, rule: SearchRule) -> DnsQuery {
        DnsQuery {
            at: 0,
            took: 1000,
            server: ([10, 0, 0, 1], 53).into(),
            via: crate::protocol::message::Via::Udp,
            name: name.to_owned(),
            rule,
            kind: 1,
            attempt: 1,
            outcome: crate::protocol::message::DnsOutcome::TimedOut,
        }
    }

    fn resolution(error: Option<&str>, name: Option<&str>) -> Resolution {
        Resolution {
            at: 0,
            took: 1,
            addresses: Vec::new(),
            error: error.map(str::to_owned),
            name: name.map(str::to_owned),
        }
    }

    fn remarks(setup: &ResolverSetup, name: &str, resolution: &Resolution) -> String {
        let suffix = SearchRule::Suffix("shop.svc.x".into());
        let queries = [
            query(&format!("{name}.shop.svc.x"), suffix),
            query(name, SearchRule::AsIs),
        ];
        let remarks = search_remarks(setup, name, &queries, resolution);
        assert!(remarks.iter().all(|remark| !remark.is_wrong));
        let texts: Vec<_> = remarks.into_iter().map(|remark| remark.text).collect();
        texts.join("; ")
    }

    #[test]
    fn questions_in_vain_are_told_with_the_rule_that_makes_them() {
        let glibc = setup(LibcKind::Glibc, 5);
        let found = remarks(&glibc, "api.example.org", &resolution(None, None));
        assert!(
            found.contains("ndots:5: the name has 2 dots, so 1 questions"),
            "{found}"
        );
        let none = remarks(&glibc, "db", &resolution(Some("EAI_NONAME"), None));
        assert!(
            none.contains("asked for as db.shop.svc.x, db: none"),
            "{none}"
        );
        // A name that is found by the list is found as it should be.
        assert_eq!(
            remarks(&glibc, "db", &resolution(None, Some("db.shop.svc.x"))),
            ""
        );
        assert_eq!(remarks(&glibc, "db.", &resolution(None, None)), "");
    }

    #[test]
    fn what_the_other_library_would_do_is_told_where_they_part() {
        let found = resolution(None, Some("a.b.shop.svc.x"));
        assert!(remarks(&setup(LibcKind::Glibc, 1), "a.b", &found).contains("musl would not"));
        let none = resolution(Some("EAI_NONAME"), None);
        assert!(remarks(&setup(LibcKind::Musl, 1), "a.b", &none).contains("glibc would go on"));
        assert_eq!(remarks(&setup(LibcKind::Glibc, 5), "a.b", &found), "");
    }

    #[test]
    fn names_of_a_cluster_are_told_by_their_form() {
        let told = |name| cluster_name(name).map(|name| name.to_string());
        assert_eq!(
            told("web.shop.svc.cluster.local.").as_deref(),
            Some("has the form of Service web in namespace shop")
        );
        assert_eq!(
            told("_http._tcp.web.shop.svc.cluster.local").as_deref(),
            Some("has the form of port http/tcp of Service web in namespace shop")
        );
        assert_eq!(
            told("db-0.db.shop.svc.example.org").as_deref(),
            Some("has the form of endpoint db-0 of headless Service db in namespace shop")
        );
        assert!(told("10-1-2-3.shop.pod.cluster.local").is_some());
        for name in [
            "web",
            "svc",
            "web.svc",
            "a.b.c.d.e.svc.x",
            "example.org",
            ".a.svc.x",
        ] {
            assert_eq!(told(name), None, "{name}");
        }
    }
}
