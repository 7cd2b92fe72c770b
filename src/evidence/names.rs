//! What the answer to a name of a cluster means, once it is held against the Services, `EndpointSlices` and pods
//! behind it.
//!
//! What could not be read is said and concludes nothing: a Service is missing only where the API server says so.

use std::net::IpAddr;

use super::{dns::ClusterName, provenance::Lookup};

/// A Service, as far as its name goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceFacts {
    /// What its name stands for.
    pub kind: ServiceKind,
    /// Whether it chooses pods; without, its `EndpointSlices` are made by hand or by a controller of their own.
    pub has_selector: bool,
    /// Whether pods that are not ready count as well.
    pub publishes_not_ready: bool,
    /// Name and protocol (`tcp`) of its ports.
    pub ports: Vec<(String, String)>,
}

/// What the name of a Service stands for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServiceKind {
    /// Its own addresses.
    ClusterIp(Vec<IpAddr>),
    /// The addresses of its endpoints.
    Headless,
    /// Another name.
    External(String),
}

/// An address behind a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Where.
    pub address: IpAddr,
    /// The name under which a headless Service has it.
    pub hostname: Option<String>,
    /// The pod that has it.
    pub pod: Option<String>,
    /// Whether traffic goes there.
    pub ready: bool,
}

/// What a name server said of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// These addresses, perhaps none: other records than addresses.
    Records(Vec<IpAddr>),
    /// There is no such name.
    NoName,
    /// Something else: no answer, no such record, a failure.
    Other,
}

impl Answer {
    /// Adds what was said of the same name and another record type, or by another server.
    pub fn join(&mut self, other: Self) {
        match (self, other) {
            (Self::Records(known), Self::Records(more)) => known.extend(more),
            (Self::Records(_), _) | (_, Self::Other) => {}
            (known, other) => *known = other,
        }
    }
}

/// What the cluster has behind a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Behind {
    /// The Service that the name names.
    pub service: Lookup<ServiceFacts>,
    /// Its endpoints.
    pub endpoints: Lookup<Vec<Endpoint>>,
    /// The pods that have the address in the name, where it is one.
    pub pods: Lookup<Vec<String>>,
}

/// Something that is worth knowing of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remark {
    /// One sentence.
    pub text: String,
    /// Whether something is wrong.
    pub is_wrong: bool,
}

fn fine(text: String) -> Remark {
    Remark {
        text,
        is_wrong: false,
    }
}

fn wrong(text: String) -> Remark {
    Remark {
        text,
        is_wrong: true,
    }
}

/// Holds an answer against what is behind the name.
pub fn explain(form: &ClusterName, answer: &Answer, behind: &Behind) -> Vec<Remark> {
    match form {
        ClusterName::Pod { address, namespace } => pod(address, namespace, behind),
        ClusterName::Service { service, namespace } => {
            of_service(&format!("{namespace}/{service}"), answer, behind)
        }
        ClusterName::Port {
            port,
            protocol,
            service,
            namespace,
        } => {
            let name = format!("{namespace}/{service}");
            let mut remarks = missing(&name, answer, &behind.service);
            if let Lookup::Found(facts) = &behind.service {
                remarks.push(named_port(&name, port, protocol, answer, facts));
            }
            remarks
        }
        ClusterName::Endpoint {
            host,
            service,
            namespace,
        } => {
            let name = format!("{namespace}/{service}");
            let mut remarks = missing(&name, answer, &behind.service);
            if matches!(behind.service, Lookup::Found(_)) {
                remarks.push(one_endpoint(&name, host, answer, &behind.endpoints));
            }
            remarks
        }
    }
}

fn missing(name: &str, answer: &Answer, service: &Lookup<ServiceFacts>) -> Vec<Remark> {
    match (service, answer) {
        (Lookup::Found(_), _) => Vec::new(),
        (Lookup::Missing, Answer::Records(_)) => vec![wrong(format!(
            "there is no Service {name}, and yet its name is answered: from a cache, or by a server that is not the cluster's"
        ))],
        (Lookup::Missing, _) => vec![fine(format!("there is no Service {name}"))],
        (Lookup::Unreadable(why), _) => {
            vec![fine(format!(
                "whether there is a Service {name} is not known: {why}"
            ))]
        }
    }
}

fn of_service(name: &str, answer: &Answer, behind: &Behind) -> Vec<Remark> {
    let Lookup::Found(facts) = &behind.service else {
        return missing(name, answer, &behind.service);
    };
    match &facts.kind {
        ServiceKind::External(to) => vec![fine(format!(
            "Service {name} is an ExternalName: it stands for {to}, and has no endpoints"
        ))],
        ServiceKind::ClusterIp(own) => {
            let mut remarks = vec![with_address(name, own, answer)];
            remarks.extend(endpoints(name, facts, &behind.endpoints));
            remarks
        }
        ServiceKind::Headless => headless(name, facts, answer, &behind.endpoints),
    }
}

/// A Service with an address of its own.
fn with_address(name: &str, own: &[IpAddr], answer: &Answer) -> Remark {
    let shown = words(own);
    match answer {
        Answer::NoName => wrong(format!(
            "Service {name} is there ({shown}), and the name server does not know it: it is not the cluster's, or has lost sight of the API server"
        )),
        Answer::Records(found) => {
            let foreign: Vec<_> = found
                .iter()
                .filter(|one| !own.contains(one))
                .copied()
                .collect();
            if foreign.is_empty() {
                fine(format!("Service {name} has {shown}"))
            } else {
                wrong(format!(
                    "the answer {} is not the address of Service {name}, which has {shown}: it is from a cache, from a hosts file or from another server",
                    words(&foreign)
                ))
            }
        }
        Answer::Other => fine(format!("Service {name} has {shown}")),
    }
}

/// How many of the endpoints take traffic.
fn endpoints(name: &str, facts: &ServiceFacts, endpoints: &Lookup<Vec<Endpoint>>) -> Vec<Remark> {
    let found = match endpoints {
        Lookup::Found(found) => found.as_slice(),
        Lookup::Missing => &[],
        Lookup::Unreadable(why) => {
            return vec![fine(format!("its endpoints are not known: {why}"))];
        }
    };
    let by_hand = if facts.has_selector {
        ""
    } else {
        "; it has no selector, so they are made by hand"
    };
    let ready = found.iter().filter(|one| counts(one, facts)).count();
    if found.is_empty() {
        let why = if facts.has_selector {
            "no pod has its labels, or none has an address yet"
        } else {
            "it has no selector, and nobody has made an EndpointSlice for it"
        };
        return vec![wrong(format!(
            "Service {name} has no endpoint: {why}; a connection to it is refused, or dropped by some networks"
        ))];
    }
    if ready == 0 {
        return vec![wrong(format!(
            "none of the {} endpoints of Service {name} is ready: a connection to it is refused, or dropped by some networks",
            found.len()
        ))];
    }
    let pods: Vec<_> = found.iter().map(shown).collect();
    vec![fine(format!(
        "{ready} of its {} endpoints are ready: {}{by_hand}",
        found.len(),
        some(&pods)
    ))]
}

/// A Service whose name stands for its endpoints.
fn headless(
    name: &str,
    facts: &ServiceFacts,
    answer: &Answer,
    endpoints: &Lookup<Vec<Endpoint>>,
) -> Vec<Remark> {
    let found = match endpoints {
        Lookup::Found(found) => found.as_slice(),
        Lookup::Missing => &[],
        Lookup::Unreadable(why) => {
            return vec![fine(format!(
                "Service {name} is headless; its endpoints are not known: {why}"
            ))];
        }
    };
    let wanted: Vec<IpAddr> = found
        .iter()
        .filter(|one| counts(one, facts))
        .map(|one| one.address)
        .collect();
    let by_hand = if facts.has_selector {
        ""
    } else {
        ", and has no selector: its endpoints are made by hand"
    };
    let shown: Vec<_> = found.iter().map(shown).collect();
    let mut remarks = vec![fine(format!(
        "Service {name} is headless{by_hand}: its name stands for its endpoints, {} of {} ready{}",
        wanted.len(),
        found.len(),
        if shown.is_empty() {
            String::new()
        } else {
            format!(": {}", some(&shown))
        }
    ))];
    match answer {
        _ if wanted.is_empty() => remarks.push(wrong(format!(
            "Service {name} is headless and has no endpoint that is ready: its name has no address"
        ))),
        Answer::NoName => remarks.push(wrong(
            "it has endpoints that are ready, and the name server does not know the name"
                .to_owned(),
        )),
        Answer::Records(answered) => remarks.extend(drift(answered, &wanted)),
        Answer::Other => {}
    }
    remarks
}

/// Addresses that are in the answer and are no endpoint any more. One that is not in the answer yet is only new: an answer
/// may be half a minute old, and need not have all.
fn drift(answered: &[IpAddr], wanted: &[IpAddr]) -> Option<Remark> {
    let gone: Vec<_> = answered
        .iter()
        .filter(|one| !wanted.contains(one))
        .copied()
        .collect();
    (!gone.is_empty()).then(|| {
        wrong(format!(
            "the answer has {}, which no endpoint that is ready has: it is older than the EndpointSlices",
            words(&gone)
        ))
    })
}

fn named_port(
    name: &str,
    port: &str,
    protocol: &str,
    answer: &Answer,
    facts: &ServiceFacts,
) -> Remark {
    let has = facts
        .ports
        .iter()
        .any(|(known, spoken)| known == port && spoken.eq_ignore_ascii_case(protocol));
    if has {
        return fine(format!("Service {name} has a port {port}/{protocol}"));
    }
    let ports: Vec<_> = facts
        .ports
        .iter()
        .map(|(name, protocol)| format!("{name}/{protocol}"))
        .collect();
    let text = format!(
        "Service {name} has no port {port}/{protocol}; it has {}",
        ports.join(", ")
    );
    match answer {
        Answer::NoName | Answer::Other => fine(text),
        Answer::Records(_) => wrong(format!("{text}, and yet the name is answered")),
    }
}

fn one_endpoint(
    name: &str,
    host: &str,
    answer: &Answer,
    endpoints: &Lookup<Vec<Endpoint>>,
) -> Remark {
    let found = match endpoints {
        Lookup::Found(found) => found.as_slice(),
        Lookup::Missing => &[],
        Lookup::Unreadable(why) => {
            return fine(format!(
                "the endpoints of Service {name} are not known: {why}"
            ));
        }
    };
    let is_it =
        |one: &&Endpoint| one.hostname.as_deref() == Some(host) || dashed(one.address) == host;
    match (found.iter().find(is_it), answer) {
        (Some(one), _) => fine(format!(
            "{host} is an endpoint of Service {name}: {}",
            shown(one)
        )),
        (None, Answer::Records(_)) => wrong(format!(
            "Service {name} has no endpoint {host}, and yet its name is answered: from a cache"
        )),
        (None, _) => fine(format!(
            "Service {name} has no endpoint {host}: no pod of that host name with `subdomain: {}` is ready",
            name.rsplit('/').next().unwrap_or(name)
        )),
    }
}

fn pod(address: &str, namespace: &str, behind: &Behind) -> Vec<Remark> {
    let address = address.replace('-', ".");
    vec![match &behind.pods {
        Lookup::Found(pods) if !pods.is_empty() => {
            fine(format!("pod {} has {address}", pods.join(", ")))
        }
        Lookup::Found(_) | Lookup::Missing => fine(format!(
            "no pod in {namespace} has {address}; such a name is answered all the same"
        )),
        Lookup::Unreadable(why) => fine(format!("which pod has {address} is not known: {why}")),
    }]
}

const fn counts(endpoint: &Endpoint, facts: &ServiceFacts) -> bool {
    endpoint.ready || facts.publishes_not_ready
}

/// An address as `CoreDNS` writes it for an endpoint without a host name.
fn dashed(address: IpAddr) -> String {
    address.to_string().replace(['.', ':'], "-")
}

fn shown(endpoint: &Endpoint) -> String {
    let mut text = endpoint.address.to_string();
    if let Some(pod) = &endpoint.pod {
        text += &format!(" (pod {pod}");
        text += if endpoint.ready { ")" } else { ", not ready)" };
    } else if !endpoint.ready {
        text += " (not ready)";
    }
    text
}

fn some(texts: &[String]) -> String {
    const SHOWN: usize = 5;
    match texts.get(SHOWN..) {
        Some(rest) if !rest.is_empty() => format!(
            "{} and {} more",
            texts.get(..SHOWN).unwrap_or_default().join(", "),
            rest.len()
        ),
        _ => texts.join(", "),
    }
}

fn words(addresses: &[IpAddr]) -> String {
    let texts: Vec<_> = addresses.iter().map(ToString::to_string).collect();
    texts.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(last: u8) -> IpAddr {
        [10, 0, 0, last].into()
    }

    fn service(kind: ServiceKind) -> ServiceFacts {
        ServiceFacts {
            kind,
            has_selector: true,
            publishes_not_ready: false,
            ports: vec![("http".to_owned(), "tcp".to_owned())],
        }
    }

    fn endpoint(last: u8, ready: bool) -> Endpoint {
        Endpoint {
            address: ip(last),
            hostname: (last == 1).then(|| "db-0".to_owned()),
            pod: Some(format!("pod-{last}")),
            ready,
        }
    }

    fn behind(service: Lookup<ServiceFacts>, endpoints: Vec<Endpoint>) -> Behind {
        Behind {
            service,
            endpoints: Lookup::Found(endpoints),
            pods: Lookup::Found(Vec::new()),
        }
    }

    fn form(name: &str) -> ClusterName {
        super::super::dns::cluster_name(name).unwrap()
    }

    const WEB: &str = "web.shop.svc.cluster.local";

    fn told(name: &str, answer: &Answer, behind: &Behind) -> (bool, String) {
        let remarks = explain(&form(name), answer, behind);
        let texts: Vec<_> = remarks.iter().map(|one| one.text.as_str()).collect();
        (remarks.iter().any(|one| one.is_wrong), texts.join("\n"))
    }

    #[test]
    fn a_service_with_ready_endpoints_is_fine_and_one_without_is_not() {
        let facts = Lookup::Found(service(ServiceKind::ClusterIp(vec![ip(9)])));
        let answer = Answer::Records(vec![ip(9)]);
        let good = behind(facts.clone(), vec![endpoint(1, true), endpoint(2, false)]);
        let (is_wrong, text) = told(WEB, &answer, &good);
        assert!(!is_wrong, "{text}");
        assert!(text.contains("1 of its 2 endpoints are ready"), "{text}");
        for endpoints in [vec![], vec![endpoint(2, false)]] {
            let (is_wrong, text) = told(WEB, &answer, &behind(facts.clone(), endpoints));
            assert!(is_wrong, "{text}");
        }
    }

    #[test]
    fn an_answer_that_is_not_the_services_address_is_named() {
        let facts = Lookup::Found(service(ServiceKind::ClusterIp(vec![ip(9)])));
        let behind = behind(facts, vec![endpoint(1, true)]);
        let (is_wrong, text) = told(WEB, &Answer::Records(vec![ip(8)]), &behind);
        assert!(
            is_wrong && text.contains("10.0.0.8 is not the address"),
            "{text}"
        );
        assert!(told(WEB, &Answer::NoName, &behind).0);
        assert!(!told(WEB, &Answer::Other, &behind).0);
    }

    #[test]
    fn a_headless_service_stands_for_its_ready_endpoints() {
        let facts = Lookup::Found(service(ServiceKind::Headless));
        let both = behind(facts.clone(), vec![endpoint(1, true), endpoint(2, true)]);
        assert!(!told(WEB, &Answer::Records(vec![ip(1), ip(2)]), &both).0);
        // One that is new and not in the answer yet is no fault.
        assert!(!told(WEB, &Answer::Records(vec![ip(1)]), &both).0);
        let (is_wrong, text) = told(WEB, &Answer::Records(vec![ip(1), ip(7)]), &both);
        assert!(is_wrong && text.contains("10.0.0.7"), "{text}");
        let none = behind(facts.clone(), vec![endpoint(1, false)]);
        let (is_wrong, text) = told(WEB, &Answer::NoName, &none);
        assert!(
            is_wrong && text.contains("no endpoint that is ready"),
            "{text}"
        );
        let published = Lookup::Found(ServiceFacts {
            publishes_not_ready: true,
            ..service(ServiceKind::Headless)
        });
        let not_ready = behind(published, vec![endpoint(1, false)]);
        assert!(!told(WEB, &Answer::Records(vec![ip(1)]), &not_ready).0);
    }

    #[test]
    fn what_could_not_be_read_concludes_nothing() {
        let denied = behind(
            Lookup::Unreadable("services is forbidden".to_owned()),
            Vec::new(),
        );
        for answer in [Answer::NoName, Answer::Records(vec![ip(9)]), Answer::Other] {
            let (is_wrong, text) = told(WEB, &answer, &denied);
            assert!(!is_wrong && text.contains("forbidden"), "{text}");
        }
        let facts = Lookup::Found(service(ServiceKind::Headless));
        let unread = Behind {
            endpoints: Lookup::Unreadable("forbidden".to_owned()),
            ..behind(facts, Vec::new())
        };
        assert!(!told(WEB, &Answer::Records(vec![ip(1)]), &unread).0);
    }

    #[test]
    fn a_service_that_is_not_there_is_no_fault_unless_its_name_is_answered() {
        let none = behind(Lookup::Missing, Vec::new());
        assert_eq!(
            told(WEB, &Answer::NoName, &none),
            (false, "there is no Service shop/web".to_owned())
        );
        assert!(told(WEB, &Answer::Records(vec![ip(1)]), &none).0);
    }

    #[test]
    fn ports_endpoints_pods_and_other_names_are_joined() {
        let facts = Lookup::Found(service(ServiceKind::Headless));
        let behind = behind(facts, vec![endpoint(1, true)]);
        let (_, text) = told(
            "_http._tcp.web.shop.svc.x",
            &Answer::Records(vec![]),
            &behind,
        );
        assert!(text.contains("has a port http/tcp"), "{text}");
        let (_, text) = told("_grpc._tcp.web.shop.svc.x", &Answer::NoName, &behind);
        assert!(text.contains("no port grpc/tcp; it has http/tcp"), "{text}");
        for host in ["db-0", "10-0-0-1"] {
            let name = format!("{host}.web.shop.svc.x");
            let (_, text) = told(&name, &Answer::Records(vec![ip(1)]), &behind);
            assert!(text.contains("pod pod-1"), "{text}");
        }
        let (_, text) = told(
            "10-0-0-7.shop.pod.x",
            &Answer::Records(vec![ip(7)]),
            &behind,
        );
        assert!(text.contains("no pod in shop has 10.0.0.7"), "{text}");
        let external = Lookup::Found(service(ServiceKind::External("db.example".to_owned())));
        let external = Behind {
            service: external,
            ..behind
        };
        let (is_wrong, text) = told(WEB, &Answer::Records(vec![]), &external);
        assert!(
            !is_wrong && text.contains("stands for db.example"),
            "{text}"
        );
    }
}
