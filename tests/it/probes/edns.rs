//! EDNS: the same questions on the wire as dig sends, and the same conclusions from what servers make of them.

use std::{
    net::{Ipv4Addr, SocketAddr},
    process::Command,
    sync::{Arc, Mutex},
};

use hickory_proto::{
    op::{Edns, Message, MessageType, ResponseCode},
    rr::{RData, Record, rdata::A},
};
use serde_json::Value;

use super::{answer_all, both_ways, has, report, target, text};

/// What a server makes of a question.
#[derive(Clone, Copy, Debug)]
enum Manner {
    /// It answers, and takes datagrams of this size.
    Takes(u16),
    /// It knows nothing of EDNS and says so.
    Complains(ResponseCode),
    /// It knows nothing of EDNS and leaves it out.
    Ignores,
    /// It knows another version of it.
    OtherVersion,
    /// Its answer has room only over TCP.
    Cuts,
}

/// What was asked: over which transport, and the bytes behind the number of the question.
type Asked = Vec<(&'static str, Vec<u8>)>;

/// A server that keeps what it was asked.
struct Server {
    address: SocketAddr,
    asked: Arc<Mutex<Asked>>,
}

impl Server {
    fn start(manner: Manner) -> Self {
        let (udp, tcp) = both_ways(("127.0.0.1", 0));
        let address = udp.local_addr().unwrap();
        let asked: Arc<Mutex<Asked>> = Arc::default();
        let heard = Arc::clone(&asked);
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok((length, from)) = udp.recv_from(&mut buffer) {
                let question = &buffer[..length];
                heard.lock().unwrap().push(("udp", question[2..].to_vec()));
                udp.send_to(&answer(question, manner, false), from).ok();
            }
        });
        let heard = Arc::clone(&asked);
        std::thread::spawn(move || {
            answer_all(&tcp, |question| {
                heard.lock().unwrap().push(("tcp", question[2..].to_vec()));
                answer(question, manner, true)
            });
        });
        Self { address, asked }
    }

    fn take_asked(&self) -> Asked {
        std::mem::take(&mut self.asked.lock().unwrap())
    }
}

fn answer(question: &[u8], manner: Manner, over_tcp: bool) -> Vec<u8> {
    let question = Message::from_vec(question).unwrap();
    let mut answer = question.clone();
    answer.edns = None;
    answer.metadata.message_type = MessageType::Response;
    answer.metadata.recursion_available = true;
    answer.metadata.authentic_data = false;
    let edns = |payload| {
        let mut edns = Edns::new();
        edns.set_max_payload(payload);
        edns
    };
    let mut is_answered = true;
    match manner {
        Manner::Ignores => {}
        _ if question.edns.is_none() => {}
        Manner::Takes(payload) => {
            answer.set_edns(edns(payload));
        }
        Manner::Complains(code) => {
            is_answered = false;
            answer.metadata.response_code = code;
        }
        Manner::OtherVersion => {
            is_answered = false;
            answer.metadata.response_code = ResponseCode::BADVERS;
            answer.set_edns(edns(1400));
        }
        Manner::Cuts => {
            is_answered = over_tcp;
            answer.metadata.truncation = !over_tcp;
            answer.set_edns(edns(512));
        }
    }
    if is_answered {
        let name = question.queries[0].name().clone();
        let address = RData::A(A::from(Ipv4Addr::new(10, 0, 0, 1)));
        answer.add_answer(Record::from_rdata(name, 60, address));
    }
    answer.to_vec().unwrap()
}

/// Which answers there were: transport, response code, size of datagrams by EDNS, addresses.
type Concluded = (String, Option<u64>, Vec<String>);

fn ours(server: &Server, flags: &[&str]) -> (Concluded, Value) {
    let target = target();
    let named = format!("@{}", server.address);
    let words = ["web.test.", "A", &named, "--wait", "5s"];
    let words: Vec<_> = words.iter().chain(flags).copied().collect();
    let report = report("dig", &target, &words, &["-o", "json"]);
    let last = report["queries"].as_array().unwrap().last().unwrap();
    let answer = &last["answer"];
    let records = answer["answers"].as_array().unwrap().iter();
    let concluded = (
        answer["rcode"].as_str().unwrap().to_owned(),
        answer["edns"].as_u64(),
        records
            .map(|record| record["data"].as_str().unwrap().to_owned())
            .collect(),
    );
    (concluded, report)
}

fn theirs(server: &Server, flags: &[&str]) -> Concluded {
    let output = Command::new("dig")
        .args([&format!("@{}", server.address.ip()), "-p"])
        .args([&server.address.port().to_string(), "web.test.", "A"])
        .args(["+tries=1", "+time=5", "+noall", "+comments", "+answer"])
        .args(flags)
        .output()
        .unwrap();
    let shown = text(&output);
    let behind = |key: &str| {
        let rest = &shown[shown.find(key)? + key.len()..];
        Some(rest.split([',', '\n', ' ']).next().unwrap().to_owned())
    };
    let records = shown.lines().filter(|line| line.starts_with("web.test."));
    (
        behind("status: ").unwrap_or_else(|| panic!("{shown}")),
        behind("udp: ").map(|size| size.parse().unwrap()),
        records
            .map(|line| line.split_whitespace().last().unwrap().to_owned())
            .collect(),
    )
}

/// dig adds two things that no resolver of a C library sends: the bit AD, and a cookie.
const PLAIN: [&str; 2] = ["+noadflag", "+nocookie"];

#[test]
fn a_question_with_edns_is_digs_own_byte_by_byte_without_its_cookie_and_its_bit() {
    if !has("dig") {
        return;
    }
    let server = Server::start(Manner::Takes(4096));
    let asked = |concluded: Concluded| {
        assert_eq!(concluded.2, ["10.0.0.1"]);
        server.take_asked()
    };
    let with = asked(ours(&server, &["--edns"]).0);
    assert_eq!(with, asked(theirs(&server, &PLAIN)));
    let without = asked(ours(&server, &[]).0);
    let noedns = [&PLAIN[..], &["+noedns"]].concat();
    assert_eq!(without, asked(theirs(&server, &noedns)));
    let over_tcp = asked(ours(&server, &["--edns", "--tcp"]).0);
    let tcp = [&PLAIN[..], &["+tcp"]].concat();
    assert_eq!(over_tcp, asked(theirs(&server, &tcp)));

    // The root, type OPT, 1232 bytes, no extended code, version 0, no flags, no options.
    let option = [0, 0, 41, 0x04, 0xd0, 0, 0, 0, 0, 0, 0];
    assert!(with[0].1.ends_with(&option), "{with:x?}");
    // What dig sends by itself has both, and the same size.
    let by_itself = asked(theirs(&server, &[]));
    let message = Message::from_vec(&[&[0, 0], &by_itself[0].1[..]].concat()).unwrap();
    assert!(message.metadata.authentic_data);
    let edns = message.edns.unwrap();
    assert_eq!(edns.max_payload(), 1232);
    assert!(!edns.options().as_ref().is_empty());
}

#[test]
fn what_servers_make_of_edns_is_concluded_as_dig_does_with_as_many_questions() {
    if !has("dig") {
        return;
    }
    for manner in [
        Manner::Takes(4096),
        Manner::Takes(512),
        Manner::Complains(ResponseCode::FormErr),
        Manner::Ignores,
        Manner::OtherVersion,
        Manner::Cuts,
    ] {
        let server = Server::start(manner);
        let (ours, report) = ours(&server, &["--edns"]);
        let asked = server.take_asked();
        assert_eq!(ours, theirs(&server, &PLAIN), "{manner:?}: {report:#}");
        assert_eq!(asked, server.take_asked(), "{manner:?}: {report:#}");
        // What is said was sent.
        let queries = report["queries"].as_array().unwrap().iter();
        let said: Vec<_> = queries
            .map(|query| query["via"].as_str().unwrap())
            .collect();
        let sent: Vec<_> = asked.iter().map(|(via, _)| *via).collect();
        assert_eq!(said, sent, "{manner:?}: {report:#}");
    }
}

/// Not as dig, which asks once: as glibc, for which this is no answer, and which asks as often as `attempts` says.
#[test]
fn a_server_that_does_not_implement_it_is_asked_again_as_a_library_does() {
    if !has("dig") {
        return;
    }
    let server = Server::start(Manner::Complains(ResponseCode::NotImp));
    let (ours, report) = ours(&server, &["--edns"]);
    let mut asked = server.take_asked();
    assert_eq!(report["resolver"]["attempts"], asked.len(), "{report:#}");
    assert_eq!(ours, theirs(&server, &PLAIN));
    asked.dedup();
    assert_eq!(asked, server.take_asked());
}
