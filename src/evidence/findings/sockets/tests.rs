use super::*;
use crate::{
    evidence::{
        connections::tests::{joined, tcp},
        peers::{
            Directory, EndpointAddress, Listing, PastPod, Scope, ServicePort, TargetPort,
            tests::{address, directory},
        },
        provenance::Lookup,
    },
    protocol::message::{ConnectionRecord, Counters, SocketFacts, SocketState, TcpFacts},
};

/// A pod that declares port 8080, and runs for five minutes.
fn pod() -> PodFacts {
    PodFacts {
        namespace: "shop".to_owned(),
        name: "web".to_owned(),
        addresses: vec![address("10.1.0.5")],
        labels: BTreeMap::from([("app".to_owned(), "web".to_owned())]),
        host_network: false,
        ports: vec![DeclaredPort {
            container: "app".to_owned(),
            name: "http".to_owned(),
            number: 8080,
            protocol: "TCP".to_owned(),
        }],
        containers: vec!["app".to_owned()],
        running: Some(300),
    }
}

fn kube_proxy() -> Rewriting {
    Rewriting {
        does: Lookup::Found(false),
        because: "a connection to a Service shows the Service's address".to_owned(),
    }
}

struct Case {
    directory: Directory,
    pod: PodFacts,
    rewriting: Rewriting,
    again: Option<Sockets>,
}

impl Case {
    fn new() -> Self {
        Self {
            directory: directory(),
            pod: pod(),
            rewriting: kube_proxy(),
            again: None,
        }
    }

    fn judge(&self, sockets: impl IntoIterator<Item = SocketFacts>) -> Verdict {
        self.judge_joined(&joined(sockets))
    }

    fn judge_joined(&self, sockets: &Sockets) -> Verdict {
        let names = Names::new(&self.directory);
        judge_sockets(&NetFacts {
            sockets,
            again: self.again.as_ref(),
            names: Some(&names),
            pod: Some(&self.pod),
            rewriting: &self.rewriting,
        })
    }

    fn serve(&mut self, target: TargetPort) {
        self.directory.services.rows.push(ServiceAddress {
            namespace: "shop".to_owned(),
            name: "shop/web".to_owned(),
            addresses: vec![address("10.2.0.20")],
            selector: BTreeMap::from([("app".to_owned(), "web".to_owned())]),
            ports: vec![ServicePort {
                number: 80,
                protocol: "TCP".to_owned(),
                target,
            }],
        });
    }
}

fn ids(verdict: &Verdict) -> Vec<&'static str> {
    let findings = verdict.causes.iter().chain(&verdict.listed);
    findings.map(|finding| finding.id.as_str()).collect()
}

fn listening(at: &str) -> SocketFacts {
    let mut facts = tcp(at, "0.0.0.0:0", SocketState::Listening);
    facts.unsent = 128;
    facts
}

/// A connection of the pod, from which nothing has come for so many milliseconds.
fn connection(port: u16, far: &str, state: SocketState, silence: u32) -> SocketFacts {
    let mut facts = tcp(&format!("10.1.0.5:{port}"), far, state);
    facts.tcp = Some(TcpFacts {
        timeout: 1_000_000,
        last_acknowledged: silence,
        ..TcpFacts::default()
    });
    facts
}

fn healthy() -> Vec<SocketFacts> {
    vec![
        listening("0.0.0.0:8080"),
        connection(8080, "10.1.0.6:4000", SocketState::Established, 10),
        connection(40000, "10.2.0.9:5432", SocketState::Established, 90_000),
        connection(40001, "8.8.8.8:443", SocketState::SynSent, 0),
        connection(40002, "10.2.0.9:5432", SocketState::CloseWait, 100),
        connection(40003, "10.1.0.99:80", SocketState::TimeWait, 0),
    ]
}

#[test]
fn a_healthy_pod_has_no_finding() {
    let mut case = Case::new();
    case.serve(TargetPort::Name("http".to_owned()));
    let verdict = case.judge(healthy());
    assert_eq!(ids(&verdict), [""; 0]);
    assert_eq!(verdict.unchecked, []);
    case.directory.services.rows.pop();
    case.serve(TargetPort::Number(8080));
    assert_eq!(ids(&case.judge(healthy())), [""; 0]);
}

#[test]
fn an_address_that_nobody_has_and_that_does_not_answer_is_stale() {
    let mut case = Case::new();
    let mut dialled = connection(40000, "10.1.0.99:80", SocketState::SynSent, 0);
    dialled.retransmits = 3;
    dialled.timer = Some(1000);
    let verdict = case.judge([dialled.clone()]);
    assert_eq!(ids(&verdict), ["net.stale-endpoint"]);
    let finding = &verdict.causes[0];
    assert_eq!(
        (finding.severity, finding.confidence),
        (Severity::High, Confidence::Likely)
    );
    assert!(
        finding.facts[0]
            .text
            .to_string()
            .contains("the oldest for 3 s, its SYN sent 4 times")
    );
    case.directory.past = Listing::everywhere(vec![PastPod {
        name: "shop/gone".to_owned(),
        address: address("10.1.0.99"),
        ago: Some(600),
        because: "Killing: Stopping container app".to_owned(),
    }]);
    let verdict = case.judge([dialled.clone()]);
    assert_eq!(verdict.causes[0].confidence, Confidence::Certain);
    assert!(
        verdict.causes[0]
            .cause
            .to_string()
            .contains("once of pod shop/gone")
    );
    // A pod that does not answer is another matter, and so is what a node has.
    dialled.far = Some("10.1.0.6:81".parse().unwrap());
    assert_eq!(ids(&case.judge([dialled.clone()])), [""; 0]);
    dialled.far = Some("10.1.0.1:81".parse().unwrap());
    assert_eq!(ids(&case.judge([dialled])), [""; 0]);
}

#[test]
fn an_unlisted_part_of_the_cluster_makes_no_address_stale() {
    let mut case = Case::new();
    case.directory.pods.scope = Scope::Namespace("not allowed to list pods".to_owned());
    let mut dialled = connection(40000, "10.1.0.99:80", SocketState::SynSent, 0);
    dialled.retransmits = 3;
    let verdict = case.judge([dialled]);
    assert_eq!(ids(&verdict), [""; 0]);
    assert_eq!(verdict.unchecked[0].why, "not allowed to list pods");
}

#[test]
fn where_no_ranges_are_known_silence_makes_an_address_only_suspect() {
    let mut case = Case::new();
    case.directory.nodes.rows[0].ranges.clear();
    let mut dialled = connection(40000, "10.1.0.99:80", SocketState::SynSent, 0);
    assert_eq!(ids(&case.judge([dialled.clone()])), [""; 0]);
    dialled.retransmits = 3;
    let verdict = case.judge([dialled.clone()]);
    assert_eq!(verdict.listed[0].confidence, Confidence::Possible);
    // A machine that is no pod, and answers: a database beside the pods.
    let kept = connection(40000, "10.1.0.99:80", SocketState::Established, 60_000);
    assert_eq!(ids(&case.judge([kept])), [""; 0]);
}

#[test]
fn a_connection_is_stale_when_nothing_comes_and_not_when_something_does() {
    let case = Case::new();
    let kept = |silence, retransmits| {
        let mut facts = connection(40000, "10.1.0.99:80", SocketState::Established, silence);
        facts.retransmits = retransmits;
        case.judge([facts])
    };
    assert_eq!(ids(&kept(100, 0)), [""; 0], "something answers there");
    assert_eq!(kept(60_000, 0).causes[0].severity, Severity::Medium);
    assert_eq!(kept(5000, 2).causes[0].severity, Severity::High);
    // Who came from there may have come through a tunnel of a node.
    let mut accepted = connection(8080, "10.1.0.99:4000", SocketState::Established, 60_000);
    accepted.retransmits = 2;
    let verdict = case.judge([listening("0.0.0.0:8080"), accepted]);
    assert_eq!(ids(&verdict), [""; 0]);
}

#[test]
fn pods_of_a_service_by_their_own_addresses_bypass_it() {
    let mut case = Case::new();
    let direct = || {
        [
            connection(40000, "10.1.0.6:5432", SocketState::Established, 0),
            connection(40001, "10.1.0.6:5432", SocketState::Established, 0),
        ]
    };
    let verdict = case.judge(direct());
    assert_eq!(ids(&verdict), ["net.bypasses-service"]);
    assert!(
        verdict.listed[0].facts[0]
            .text
            .to_string()
            .contains("2 connections to 10.1.0.6:5432, pod shop/db-0")
    );
    // Another port of the pod is no member's.
    let other = connection(40000, "10.1.0.6:9999", SocketState::Established, 0);
    assert_eq!(ids(&case.judge([other])), [""; 0]);
    for (does, why) in [
        (Lookup::Found(true), "the network rewrites"),
        (Lookup::Unreadable("no answer".to_owned()), "no answer"),
        (Lookup::Missing, "nothing says"),
    ] {
        case.rewriting.does = does;
        let verdict = case.judge(direct());
        assert_eq!(ids(&verdict), [""; 0]);
        assert!(verdict.unchecked[0].why.starts_with(why));
    }
    case.rewriting = kube_proxy();
    // A headless Service hands out exactly these addresses.
    case.directory.services.rows.push(ServiceAddress {
        namespace: "shop".to_owned(),
        name: "shop/db-headless".to_owned(),
        ..ServiceAddress::default()
    });
    case.directory.endpoints.rows.push(EndpointAddress {
        service: "shop/db-headless".to_owned(),
        address: address("10.1.0.6"),
        ports: vec![5432],
        pod: Some("shop/db-0".to_owned()),
    });
    assert_eq!(ids(&case.judge(direct())), [""; 0]);
}

#[test]
fn a_mesh_chooses_pods_and_hands_on_over_loopback() {
    let mut case = Case::new();
    case.pod.containers.push("istio-proxy".to_owned());
    let mut direct = connection(40000, "10.1.0.6:5432", SocketState::Established, 0);
    let verdict = case.judge([direct.clone()]);
    assert_eq!(
        ids(&verdict),
        ["net.bypasses-service"],
        "the program itself"
    );
    direct.inode = 0;
    assert_eq!(
        ids(&case.judge([direct])),
        [""; 0],
        "out of sight: the proxy"
    );
    case.pod.ports.clear();
    case.serve(TargetPort::Number(9090));
    let verdict = case.judge([listening("127.0.0.1:9090")]);
    assert_eq!(verdict.listed[0].confidence, Confidence::Possible);
}

#[test]
fn connections_that_only_the_peer_has_closed_are_found_when_they_stay() {
    let case = Case::new();
    let closed = |count: u16, silence, unread| {
        let sockets = (0..count).map(|number| {
            let far = format!("10.1.0.6:{}", 4000 + number);
            let mut facts = connection(8080, &far, SocketState::CloseWait, silence);
            facts.unread = unread;
            facts
        });
        let all: Vec<_> = [listening("0.0.0.0:8080")]
            .into_iter()
            .chain(sockets)
            .collect();
        case.judge(all)
    };
    assert_eq!(ids(&closed(20, 500, 10)), [""; 0], "they have just closed");
    let verdict = closed(6, 20_000, 312);
    assert_eq!(ids(&verdict), ["net.close-wait"]);
    let finding = &verdict.causes[0];
    assert_eq!(finding.severity, Severity::High);
    assert!(
        finding.facts[1]
            .text
            .to_string()
            .contains("1866 bytes unread"),
        "{finding:?}"
    );
    let verdict = closed(6, 20_000, 0);
    assert!(
        verdict.causes[0].facts[1]
            .text
            .to_string()
            .contains("of 6 it has read the end")
    );
    assert_eq!(
        closed(1, 20_000, 1).listed[0].confidence,
        Confidence::Possible
    );
}

#[test]
fn a_pool_may_keep_what_the_server_has_closed() {
    let case = Case::new();
    let closed = |count: u16| {
        let sockets = (0..count).map(|number| {
            connection(
                40000 + number,
                "10.2.0.9:5432",
                SocketState::CloseWait,
                60_000,
            )
        });
        case.judge(sockets.collect::<Vec<_>>())
    };
    assert_eq!(ids(&closed(2)), [""; 0]);
    assert_eq!(closed(5).listed[0].severity, Severity::Low);
    assert_eq!(closed(20).causes[0].severity, Severity::Medium);
}

#[test]
fn times_that_were_not_told_are_not_checked() {
    let case = Case::new();
    let mut facts = connection(40000, "10.2.0.9:5432", SocketState::CloseWait, 0);
    facts.tcp = None;
    let verdict = case.judge([facts]);
    assert_eq!(ids(&verdict), [""; 0]);
    assert!(
        verdict.unchecked[0]
            .what
            .contains("1 connection in CLOSE_WAIT")
    );
}

#[test]
fn a_declared_port_on_loopback_is_found_unless_it_is_open_too() {
    let mut case = Case::new();
    let verdict = case.judge([listening("127.0.0.1:8080")]);
    assert_eq!(ids(&verdict), ["net.listen-loopback"]);
    assert_eq!(verdict.causes[0].severity, Severity::Medium);
    case.serve(TargetPort::Number(8080));
    // Said once, not by two rules.
    let verdict = case.judge([listening("127.0.0.1:8080"), listening("[::1]:8080")]);
    assert_eq!(ids(&verdict), ["net.listen-loopback"]);
    assert_eq!(verdict.causes[0].severity, Severity::High);
    for open in ["10.1.0.5:8080", "[::]:8080"] {
        let verdict = case.judge([listening("127.0.0.1:8080"), listening(open)]);
        assert_eq!(ids(&verdict), [""; 0], "{open}");
    }
    case.pod.containers.push("istio-proxy".to_owned());
    let verdict = case.judge([listening("127.0.0.1:8080")]);
    assert_eq!(verdict.listed[0].confidence, Confidence::Possible);
}

#[test]
fn a_port_that_is_not_declared_may_be_on_loopback() {
    let case = Case::new();
    let verdict = case.judge([listening("0.0.0.0:8080"), listening("127.0.0.1:9090")]);
    assert_eq!(ids(&verdict), [""; 0]);
}

#[test]
fn a_service_that_leads_where_nothing_listens_is_found_once_the_pod_has_settled() {
    let mut case = Case::new();
    case.serve(TargetPort::Number(9999));
    let verdict = case.judge([listening("0.0.0.0:8080")]);
    assert_eq!(ids(&verdict), ["net.port-mismatch"]);
    assert_eq!(verdict.causes[0].confidence, Confidence::Certain);
    assert_eq!(case.judge([]).causes[0].confidence, Confidence::Likely);
    case.pod.running = Some(5);
    let verdict = case.judge([listening("0.0.0.0:8080")]);
    assert_eq!(ids(&verdict), [""; 0]);
    assert_eq!(verdict.unchecked[0].why, "the container has just started");
    case.pod.running = Some(20);
    assert_eq!(ids(&case.judge([])), [""; 0], "nothing of it listens yet");
    // What is not its own leads elsewhere.
    case.pod.running = Some(300);
    case.pod.labels.clear();
    assert_eq!(ids(&case.judge([listening("0.0.0.0:8080")])), [""; 0]);
}

#[test]
fn a_name_of_a_port_that_no_container_declares_is_a_mismatch() {
    let mut case = Case::new();
    case.serve(TargetPort::Name("web".to_owned()));
    let verdict = case.judge([listening("0.0.0.0:8080")]);
    assert_eq!(ids(&verdict), ["net.port-mismatch"]);
    assert!(
        verdict.causes[0].facts[0]
            .text
            .to_string()
            .contains("no container declares one")
    );
}

#[test]
fn a_queue_is_full_when_it_stays_so() {
    let mut case = Case::new();
    let with_queue = |waiting, limit| {
        let mut facts = listening("0.0.0.0:8080");
        facts.unread = waiting;
        facts.unsent = limit;
        facts
    };
    let verdict = case.judge([with_queue(6, 5)]);
    assert_eq!(ids(&verdict), [""; 0]);
    assert!(verdict.unchecked[0].why.contains("only once"));
    case.again = Some(joined([with_queue(2, 5)]));
    assert_eq!(ids(&case.judge([with_queue(6, 5)])), [""; 0], "a burst");
    case.again = Some(joined([with_queue(6, 5)]));
    assert_eq!(ids(&case.judge([with_queue(6, 5)])), ["net.backlog-full"]);
    // As many as may wait are not too many.
    case.again = Some(joined([with_queue(5, 5)]));
    assert_eq!(ids(&case.judge([with_queue(5, 5)])), [""; 0]);
}

#[test]
fn dropped_connections_of_the_past_are_told_of_a_pod_and_not_of_a_node() {
    let mut case = Case::new();
    let mut sockets = Sockets::of([ConnectionRecord::Counters(Counters {
        listen_overflows: Some(7),
        listen_drops: Some(7),
    })]);
    let verdict = case.judge_joined(&sockets);
    assert_eq!(ids(&verdict), ["net.backlog-full"]);
    assert_eq!(verdict.listed[0].severity, Severity::Low);
    case.pod.host_network = true;
    assert_eq!(ids(&case.judge_joined(&sockets)), [""; 0]);
    case.pod.host_network = false;
    sockets.counters = Some(Counters {
        listen_overflows: Some(0),
        listen_drops: Some(0),
    });
    assert_eq!(ids(&case.judge_joined(&sockets)), [""; 0]);
}
