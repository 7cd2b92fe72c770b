//! Names: the same answers as dig, the questions of a C library, and servers that mean harm.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener},
    process::Command,
    str::FromStr as _,
    sync::Arc,
    time::{Duration, Instant},
};

use hickory_proto::{
    op::{Message, MessageType, ResponseCode},
    rr::{
        Name, RData, Record, RecordType,
        rdata::{A, AAAA, CNAME, MX, PTR, SRV, TXT},
    },
};

use super::{answer_all, both_ways, has, report, target, text};
use crate::support::running::{Running, assert_code, is_root, kdbg, said};

/// A name server for `.test`, over UDP and TCP on the same port; `bend` may change what goes over UDP.
struct NameServer {
    address: SocketAddr,
}

impl NameServer {
    fn start(ip: &str, port: u16, bend: impl Fn(Vec<u8>) -> Vec<Vec<u8>> + Send + 'static) -> Self {
        let (udp, tcp) = both_ways((ip, port));
        let address = udp.local_addr().unwrap();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok((length, from)) = udp.recv_from(&mut buffer) {
                for answer in bend(answer(&buffer[..length], false)) {
                    udp.send_to(&answer, from).ok();
                }
            }
        });
        std::thread::spawn(move || answer_all(&tcp, |question| answer(question, true)));
        Self { address }
    }

    fn honest() -> Self {
        Self::start("127.0.0.1", 0, |answer| vec![answer])
    }

    /// As kdbg is told.
    fn named(&self) -> String {
        format!("@{}", self.address)
    }
}

fn name(text: &str) -> Name {
    Name::from_str(text).unwrap()
}

fn zone(asked: &Name, kind: RecordType) -> Option<Vec<Record>> {
    let record = |owner: &str, data| Record::from_rdata(name(owner), 60, data);
    let a = |owner, last| record(owner, RData::A(A::new(10, 0, 0, last)));
    let all = match asked.to_ascii().to_ascii_lowercase().as_str() {
        "web.test." | "web.a.test." => vec![
            a(&asked.to_ascii(), 1),
            a(&asked.to_ascii(), 2),
            record(
                &asked.to_ascii(),
                RData::AAAA(AAAA::new(0xfd00, 0, 0, 0, 0, 0, 0, 1)),
            ),
            record(
                &asked.to_ascii(),
                RData::TXT(TXT::new(vec!["say \"hi\"".to_owned(), "two".to_owned()])),
            ),
            record(
                &asked.to_ascii(),
                RData::MX(MX::new(10, name("mail.test."))),
            ),
        ],
        "near.a.test." => vec![
            record("near.a.test.", RData::A(A::new(127, 77, 9, 1))),
            record("near.a.test.", RData::A(A::new(127, 77, 9, 2))),
            record(
                "near.a.test.",
                RData::AAAA(AAAA::new(0, 0, 0, 0, 0, 0, 0, 1)),
            ),
        ],
        "alias.test." => vec![
            record("alias.test.", RData::CNAME(CNAME(name("middle.test.")))),
            record("middle.test.", RData::CNAME(CNAME(name("web.test.")))),
            a("web.test.", 1),
        ],
        "_http._tcp.web.test." => vec![record(
            "_http._tcp.web.test.",
            RData::SRV(SRV::new(1, 2, 8080, name("web.test."))),
        )],
        "1.0.0.10.in-addr.arpa." => {
            vec![record(
                "1.0.0.10.in-addr.arpa.",
                RData::PTR(PTR(name("web.test."))),
            )]
        }
        "big.test." => (0..200).map(|last| a("big.test.", last)).collect(),
        _ => return None,
    };
    let matches = |record: &Record| {
        let found = record.data.record_type();
        found == kind || (found == RecordType::CNAME && kind == RecordType::A)
    };
    Some(all.into_iter().filter(matches).collect())
}

fn answer(question: &[u8], over_tcp: bool) -> Vec<u8> {
    let question = Message::from_vec(question).unwrap();
    let query = &question.queries[0];
    let mut answer = question.clone();
    answer.edns = None;
    answer.metadata.message_type = MessageType::Response;
    answer.metadata.recursion_available = true;
    match zone(query.name(), query.query_type()) {
        Some(records) => {
            answer.add_answers(records);
        }
        None => answer.metadata.response_code = ResponseCode::NXDomain,
    }
    if !over_tcp && answer.answers.len() > 20 {
        answer.answers.clear();
        answer.metadata.truncation = true;
    }
    answer.to_vec().unwrap()
}

/// The records of an answer, sorted, without their times.
fn records(report: &serde_json::Value) -> Vec<String> {
    let queries = report["queries"].as_array().unwrap();
    let last = queries.last().unwrap();
    let word = |record: &serde_json::Value, key: &str| record[key].as_str().unwrap().to_owned();
    let mut records: Vec<_> = last["answer"]["answers"]
        .as_array()
        .unwrap()
        .iter()
        .map(|record| {
            let parts = ["name", "type", "data"].map(|key| word(record, key));
            parts.join(" ")
        })
        .collect();
    records.sort();
    records
}

/// What dig answers, in the same form.
fn dig(server: SocketAddr, words: &[&str]) -> Vec<String> {
    let output = Command::new("dig")
        .arg(format!("@{}", server.ip()))
        .args(["-p", &server.port().to_string(), "+noall", "+answer"])
        .args(words)
        .output()
        .unwrap();
    let mut records: Vec<_> = text(&output)
        .lines()
        .map(|line| {
            let words: Vec<_> = line.split_whitespace().collect();
            [&words[..1], &words[3..]].concat().join(" ")
        })
        .collect();
    records.sort();
    records
}

#[test]
fn the_answers_are_those_of_dig() {
    if !has("dig") {
        return;
    }
    let (target, server) = (target(), NameServer::honest());
    for (name, kind) in [
        ("web.test.", "A"),
        ("web.test.", "AAAA"),
        ("web.test.", "TXT"),
        ("web.test.", "MX"),
        ("alias.test.", "A"),
        ("_http._tcp.web.test.", "SRV"),
        ("big.test.", "A"),
    ] {
        let words = [name, kind, &server.named()];
        let ours = records(&report("dig", &target, &words, &["-o", "json"]));
        assert!(!ours.is_empty());
        assert_eq!(ours, dig(server.address, &[name, kind]), "{name} {kind}");
    }
    let words = ["-x", "10.0.0.1", &server.named()];
    let ours = records(&report("dig", &target, &words, &["-o", "json"]));
    assert_eq!(ours, dig(server.address, &["-x", "10.0.0.1"]));
}

#[test]
fn a_cut_answer_is_asked_for_again_over_tcp() {
    let (target, server) = (target(), NameServer::honest());
    let report = report(
        "dig",
        &target,
        &["big.test.", "A", &server.named()],
        &["-o", "json"],
    );
    let queries = report["queries"].as_array().unwrap();
    assert_eq!(
        (&queries[0]["via"], &queries[1]["via"]),
        (&"udp".into(), &"tcp".into())
    );
    assert_eq!(queries[0]["answer"]["truncated"], true);
    assert_eq!(
        queries[1]["answer"]["answers"].as_array().unwrap().len(),
        200
    );
}

#[test]
fn a_name_that_is_not_there_is_a_finding_and_silence_is_not() {
    let (target, server) = (target(), NameServer::honest());
    let name = target.target();
    let output = kdbg(["dig", &name, "nobody.test.", &server.named()]);
    assert_code(&output, 1);
    assert!(text(&output).contains("NXDOMAIN"), "{}", text(&output));
    assert!(text(&output).contains("=> EAI_NONAME"), "{}", text(&output));
    let silent = NameServer::start("127.0.0.1", 0, |_| Vec::new());
    let output = kdbg([
        "dig",
        &name,
        "web.test.",
        "A",
        &silent.named(),
        "--wait",
        "100ms",
    ]);
    assert_code(&output, 4);
    assert!(text(&output).contains("no answer"), "{}", text(&output));
    let short = kdbg([
        "dig",
        &name,
        "web.test.",
        "AAAA",
        &server.named(),
        "--short",
    ]);
    assert_eq!(text(&short), "fd00::1\n");
}

/// A process whose resolver files are these, in a mount namespace of its own.
fn with_files(resolv_conf: &str, hosts: &str) -> Option<(Running, tempfile::TempDir)> {
    if !is_root("mount files over those in /etc") {
        return None;
    }
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("resolv.conf"), resolv_conf).unwrap();
    std::fs::write(folder.path().join("hosts"), hosts).unwrap();
    let script =
        "for file in resolv.conf hosts; do mount --bind $0/$file /etc/$file || exit 1; done
        echo ready; exec cat";
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-c", script]).arg(folder.path());
    Some((Running::start(&mut command), folder))
}

fn asked(report: &serde_json::Value) -> Vec<String> {
    let mut names: Vec<_> = report["queries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|query| query["name"].as_str().unwrap().to_owned())
        .collect();
    names.dedup();
    names
}

#[test]
fn the_questions_are_those_of_the_targets_library_and_files() {
    let server = Arc::new(NameServer::start("127.77.0.1", 53, |answer| vec![answer]));
    let resolv_conf = format!(
        "search b.test a.test\nnameserver {}\noptions ndots:2\n",
        server.address.ip()
    );
    let Some((target, _folder)) = with_files(&resolv_conf, "10.1.1.1 fromfile other\n") else {
        return;
    };
    let ask = |words: &[&str]| report("dig", &target, words, &["-o", "json"]);
    let found = ask(&["web"]);
    assert_eq!(found["resolver"]["libc"], "glibc");
    assert_eq!(asked(&found), ["web.b.test.", "web.a.test."]);
    assert_eq!(found["resolutions"][0]["name"], "web.a.test", "{found:#}");
    // Enough dots: glibc falls back on the list, musl does not look at it.
    assert_eq!(
        asked(&ask(&["x.y.z"])),
        ["x.y.z.", "x.y.z.b.test.", "x.y.z.a.test."]
    );
    assert_eq!(asked(&ask(&["x.y.z", "--libc", "musl"])), ["x.y.z."]);
    // It exists without an AAAA record: musl stops there.
    let from_file = ask(&["other"]);
    assert_eq!(from_file["hosts"][0]["line"], 1);
    assert_eq!(from_file["resolutions"][0]["addresses"][0], "10.1.1.1");
    assert!(asked(&from_file).is_empty());
}

#[test]
fn the_names_asked_are_those_that_glibc_asks() {
    if !is_root("watch what getaddrinfo asks") {
        return;
    }
    let log: Arc<std::sync::Mutex<Vec<String>>> = Arc::default();
    let heard = Arc::clone(&log);
    let server = NameServer::start("127.77.0.2", 53, move |answer| {
        let message = Message::from_vec(&answer).unwrap();
        heard
            .lock()
            .unwrap()
            .push(message.queries[0].name().to_ascii());
        vec![answer]
    });
    let resolv_conf = format!(
        "search b.test a.test\nnameserver {}\noptions ndots:3\n",
        server.address.ip()
    );
    let Some((target, _folder)) = with_files(&resolv_conf, "127.0.0.1 localhost\n") else {
        return;
    };
    for name in ["web", "web.test", "nobody", "x.y.z.w", "web.test."] {
        log.lock().unwrap().clear();
        Command::new("nsenter")
            .args(["-t", &target.pid().to_string(), "-m"])
            .args(["getent", "ahosts", name])
            .output()
            .unwrap();
        let mut theirs = log.lock().unwrap().clone();
        theirs.dedup();
        let ours = asked(&report("dig", &target, &[name], &["-o", "json"]));
        assert_eq!(ours, theirs, "{name}");
    }
}

/// What a program asks for that wants addresses, as every C library does it.
const LOOK_UP: &str = r#"
#include <netdb.h>
#include <string.h>
int main(int count, char **words) {
    struct addrinfo hints, *found = 0;
    memset(&hints, 0, sizeof hints);
    hints.ai_socktype = SOCK_STREAM;
    return getaddrinfo(words[1], "80", &hints, &found) != 0;
}"#;

/// Which server was asked what: address, name, type; once each, sorted.
type Questions = std::collections::BTreeSet<(String, String, String)>;

#[test]
fn the_questions_are_those_that_musl_and_glibc_send() {
    if !is_root("watch what getaddrinfo asks") {
        return;
    }
    let log: Arc<std::sync::Mutex<Vec<(String, String, String)>>> = Arc::default();
    let server = |ip: &'static str| {
        let heard = Arc::clone(&log);
        NameServer::start(ip, 53, move |answer| {
            let message = Message::from_vec(&answer).unwrap();
            let query = &message.queries[0];
            let asked = (
                format!("{ip}:53"),
                query.name().to_ascii(),
                query.query_type().to_string(),
            );
            heard.lock().unwrap().push(asked);
            vec![answer]
        })
    };
    let (first, second) = (server("127.77.0.6"), server("127.77.0.7"));
    let resolv_conf = format!(
        "search b.test a.test\nnameserver {}\nnameserver {}\noptions ndots:2\n",
        first.address.ip(),
        second.address.ip()
    );
    let Some((target, folder)) = with_files(&resolv_conf, "127.0.0.1 localhost\n") else {
        return;
    };
    std::fs::write(folder.path().join("lookup.c"), LOOK_UP).unwrap();
    for (libc, compiler) in [("musl", "musl-gcc"), ("glibc", "cc")] {
        if !has(compiler) {
            continue;
        }
        let program = folder.path().join(libc);
        let made = Command::new(compiler)
            .arg("-o")
            .arg(&program)
            .arg(folder.path().join("lookup.c"))
            .output()
            .unwrap();
        assert_code(&made, 0);
        for name in ["web", "web.test", "nobody", "x.y", "x.y.z", "web.test."] {
            // A datagram may be read after its sender has ended.
            let settle = |expected: &Questions| {
                let until = Instant::now() + Duration::from_secs(20);
                loop {
                    let heard: Questions = log.lock().unwrap().iter().cloned().collect();
                    if heard == *expected || Instant::now() > until {
                        return heard;
                    }
                    std::thread::sleep(Duration::from_millis(10));
                }
            };
            log.lock().unwrap().clear();
            let words = [name, "--libc", libc];
            let report = report("dig", &target, &words, &["-o", "json"]);
            let word =
                |query: &serde_json::Value, key: &str| query[key].as_str().unwrap().to_owned();
            let queries = report["queries"].as_array().unwrap();
            let ours: Questions = queries
                .iter()
                .map(|query| {
                    ["server", "name", "type"]
                        .map(|key| word(query, key))
                        .into()
                })
                .collect();
            assert_eq!(settle(&ours), ours, "{libc} {name}: what is said was sent");
            log.lock().unwrap().clear();
            Command::new("nsenter")
                .args(["-t", &target.pid().to_string(), "-m"])
                .arg(&program)
                .arg(name)
                .output()
                .unwrap();
            assert_eq!(settle(&ours), ours, "{libc} {name}");
            let log = log.lock().unwrap();
            let of_first = log.iter().filter(|(ip, ..)| ip.starts_with("127.77.0.6"));
            let mut theirs: Vec<_> = of_first.map(|(_, name, _)| name.clone()).collect();
            theirs.dedup();
            assert_eq!(asked(&report), theirs, "{libc} {name}");
        }
    }
}

#[test]
fn a_request_by_name_tells_each_question_of_the_search_list_and_each_address_with_its_time() {
    let server = NameServer::start("127.77.0.8", 53, |answer| vec![answer]);
    let resolv_conf = format!(
        "search b.test a.test\nnameserver {}\noptions ndots:5\n",
        server.address.ip()
    );
    let Some((target, _folder)) = with_files(&resolv_conf, "") else {
        return;
    };
    // A port that nobody has any more.
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let words = [&format!("http://near:{port}/"), "--connect-timeout", "2s"];
    let told = report("curl", &target, &words, &["--json"]);
    assert_eq!(asked(&told), ["near.b.test.", "near.a.test."]);
    for query in told["queries"].as_array().unwrap() {
        assert!(query["took_us"].as_u64().unwrap() > 0, "{query}");
        let rcode = &query["answer"]["rcode"];
        let is_there = query["name"] == "near.a.test.";
        assert_eq!(rcode, if is_there { "NOERROR" } else { "NXDOMAIN" });
    }
    let connections = told["connections"].as_array().unwrap();
    let mut addresses: Vec<_> = connections
        .iter()
        .map(|one| one["address"].as_str().unwrap())
        .collect();
    addresses.sort_unstable();
    let expected = ["127.77.9.1", "127.77.9.2", "[::1]"];
    assert_eq!(
        addresses,
        expected.map(|address| format!("{address}:{port}"))
    );
    for one in connections {
        assert!(one["took_us"].as_u64().is_some(), "{one}");
        assert_eq!(one["outcome"], "refused", "{one}");
        assert!(!one["said"].as_str().unwrap().is_empty(), "{one}");
    }
}

#[test]
fn where_glibc_and_musl_part_is_told() {
    let server = NameServer::start("127.77.0.3", 53, |answer| vec![answer]);
    let resolv_conf = format!("search test\nnameserver {}\n", server.address.ip());
    let Some((target, _folder)) = with_files(&resolv_conf, "") else {
        return;
    };
    let name = target.target();
    // A dot is enough to be asked for as it is; only glibc goes on to `web.a.test`.
    let output = kdbg(["dig", &name, "web.a", "--libc", "both"]);
    assert_code(&output, 1);
    let shown = text(&output);
    assert!(shown.contains("they part in `asked`"), "{shown}");
    assert!(shown.contains("rules of musl: web.a.\n"), "{shown}");
    let output = kdbg(["dig", &name, "web.a"]);
    assert_code(&output, 0);
    assert!(
        said(&output).contains("musl would not find it"),
        "{}",
        said(&output)
    );
    let output = kdbg(["dig", &name, "web.a.test.", "--libc", "both"]);
    assert_code(&output, 0);
    assert!(
        text(&output).contains("no phase differs"),
        "{}",
        text(&output)
    );
}

#[test]
fn with_rotate_each_server_is_asked_and_one_that_disagrees_is_named() {
    let good = NameServer::start("127.77.0.4", 53, |answer| vec![answer]);
    let bad = NameServer::start("127.77.0.5", 53, |mut answer| {
        // NXDOMAIN, whatever it knows.
        answer[3] = (answer[3] & 0xf0) | 3;
        answer[6..8].copy_from_slice(&[0, 0]);
        answer.truncate(12 + 15);
        vec![answer]
    });
    let conf = |servers: [&NameServer; 2], options: &str| {
        let [first, second] = servers.map(|server| server.address.ip());
        format!("nameserver {first}\nnameserver {second}\n{options}\n")
    };
    let Some((target, _folder)) = with_files(&conf([&good, &bad], "options rotate"), "") else {
        return;
    };
    let output = kdbg(["dig", &target.target(), "web.test."]);
    assert!(
        said(&output).contains("the servers do not agree"),
        "{}",
        said(&output)
    );
    assert!(
        text(&output).contains("127.77.0.5:53  EAI_NONAME"),
        "{}",
        text(&output)
    );
    let told = report("dig", &target, &["web.test."], &["-o", "json"]);
    let by_server = told["by_server"].as_array().unwrap();
    assert_eq!(by_server.len(), 2, "{told:#}");
    assert_eq!(by_server[0]["server"], "127.77.0.4:53");
    let addresses = by_server[0]["addresses"].as_array().unwrap();
    assert!(addresses.contains(&"10.0.0.1".into()), "{told:#}");
    assert_eq!(by_server[1]["server"], "127.77.0.5:53");
    assert_eq!(by_server[1]["error"], "EAI_NONAME");
    let Some((target, _folder)) = with_files(&conf([&good, &good], "options rotate"), "") else {
        return;
    };
    let output = kdbg(["dig", &target.target(), "web.test."]);
    assert!(!said(&output).contains("do not agree"), "{}", said(&output));
    let Some((target, _folder)) = with_files(&conf([&good, &bad], ""), "") else {
        return;
    };
    // Without the option the first one decides.
    let output = kdbg(["dig", &target.target(), "web.test."]);
    assert_code(&output, 0);
    assert!(!text(&output).contains("127.77.0.5"), "{}", text(&output));
    let told = report("dig", &target, &["web.test."], &["-o", "json"]);
    assert!(told.get("by_server").is_none(), "{told:#}");
}

/// A name server over TCP alone: what it says to a question.
fn over_tcp(say: impl Fn(&mut std::net::TcpStream, Vec<u8>) + Send + Sync + 'static) -> SocketAddr {
    super::server(move |mut stream| {
        let mut length = [0; 2];
        if stream.read_exact(&mut length).is_err() {
            return;
        }
        let mut question = vec![0; u16::from_be_bytes(length).into()];
        stream.read_exact(&mut question).unwrap();
        question[2] |= 0x80;
        say(&mut stream, question);
    })
}

#[test]
fn huge_slow_and_cut_answers_over_tcp_end_in_time() {
    let target = target();
    let name = target.target();
    let ask = |server: SocketAddr| {
        let server = format!("@{server}");
        let words = [
            "dig",
            &name,
            "web.test.",
            "A",
            "--tcp",
            "--wait",
            "500ms",
            &server,
        ];
        let output = kdbg(words);
        (output.status.code(), text(&output))
    };
    // As many records as there is room for, every name of them a pointer to a pointer to a long one.
    let (code, shown) = ask(over_tcp(|stream, mut bytes| {
        let start = u16::try_from(bytes.len()).unwrap();
        let long = [[63; 64].as_slice(), &[63; 64], &[63; 64], &[0]].concat();
        let record = |name: &[u8]| [name, &[0, 16, 0, 1, 0, 0, 0, 9, 0, 2, 1, b'x']].concat();
        bytes.extend(record(&long));
        let pointer = (0xc000 | start).to_be_bytes();
        let mut count = 1_u16;
        while bytes.len() + 14 < 65_535 {
            bytes.extend(record(&pointer));
            count += 1;
        }
        bytes[6..8].copy_from_slice(&count.to_be_bytes());
        let length = u16::try_from(bytes.len()).unwrap().to_be_bytes();
        stream.write_all(&[&length[..], &bytes].concat()).ok();
    }));
    assert_eq!(code, Some(0), "{shown}");
    assert!(shown.contains("records"), "{shown}");
    let (code, shown) = ask(over_tcp(|stream, bytes| {
        stream.write_all(&[0xff, 0xff]).ok();
        for byte in bytes.iter().cycle() {
            if stream.write_all(&[*byte]).is_err() {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
    }));
    assert_eq!(code, Some(4), "{shown}");
    let (code, shown) = ask(over_tcp(|stream, bytes| {
        stream.write_all(&[&[0xff, 0xff], &bytes[..]].concat()).ok();
    }));
    assert_eq!(code, Some(4), "{shown}");
}

#[test]
fn a_flood_of_datagrams_that_are_no_answer_ends_in_time() {
    let target = target();
    let flood = NameServer::start("127.0.0.1", 0, |mut answer| {
        answer[0] ^= 1;
        vec![answer; 200_000]
    });
    let words = [
        "dig",
        &target.target(),
        "web.test.",
        "A",
        &flood.named(),
        "--wait",
        "300ms",
    ];
    let started = std::time::Instant::now();
    let output = kdbg(words);
    assert_code(&output, 4);
    assert!(started.elapsed() < std::time::Duration::from_secs(20));
}

#[test]
fn a_hostile_server_gets_an_honest_report_and_nothing_else() {
    type Bend = fn(Vec<u8>) -> Vec<Vec<u8>>;
    let target = target();
    let name = target.target();
    let bends: [(&str, Bend, &str); 5] = [
        (
            "another number",
            |mut bytes| {
                bytes[0] ^= 1;
                vec![bytes]
            },
            "no answer",
        ),
        (
            "noise",
            |bytes| vec![[&bytes[..2], &[0xff; 600]].concat()],
            "garbage",
        ),
        (
            "cut",
            |bytes| vec![bytes[..bytes.len() - 3].to_vec()],
            "garbage",
        ),
        (
            "a circle of names",
            |bytes| {
                let mut bytes = bytes;
                let at = u8::try_from(bytes.len()).unwrap();
                bytes[6..8].copy_from_slice(&9_u16.to_be_bytes());
                bytes.extend([0xc0, at, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 1, 2, 3, 4]);
                vec![bytes]
            },
            "garbage",
        ),
        (
            "a stray, then the answer",
            |bytes| {
                let mut stray = bytes.clone();
                stray[1] ^= 1;
                vec![stray, vec![], bytes]
            },
            "after 2 datagrams of others",
        ),
    ];
    for (what, bend, expected) in bends {
        let server = NameServer::start("127.0.0.1", 0, bend);
        let words = [
            "dig",
            &name,
            "web.test.",
            "A",
            &server.named(),
            "--wait",
            "200ms",
        ];
        let output = kdbg(words);
        assert!(
            text(&output).contains(expected),
            "{what}: {}",
            text(&output)
        );
    }
}

#[test]
fn the_agents_own_dig_answers_what_dig_answers() {
    if !has("dig") {
        return;
    }
    let (target, honest) = (target(), NameServer::honest());
    let place = [
        format!("@{}", honest.address.ip()),
        "-p".to_owned(),
        honest.address.port().to_string(),
    ];
    let run = |program: &str, first: &[&str], words: &[&str]| {
        Command::new(program)
            .args(first)
            .args(&place)
            .args(words)
            .env("TARGET_PID", target.pid().to_string())
            .env("PATH", "/nowhere:/usr/bin:/bin")
            .output()
            .unwrap()
    };
    let agent = env!("CARGO_BIN_EXE_kdbg-agent");
    let sorted = |output: &std::process::Output| {
        let mut lines: Vec<_> = text(output)
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect();
        lines.sort_unstable();
        lines
    };
    for words in [
        &["web.test", "+short"][..],
        &["web.test", "AAAA", "+short"],
        &["+short", "-t", "TXT", "web.test"],
        &["alias.test", "+noall", "+answer"],
        &["_http._tcp.web.test", "SRV", "+noall", "+answer"],
        &["-x", "10.0.0.1", "+short"],
        &["big.test", "+short"],
        &["web.test", "+tcp", "+short"],
        &["nosuch.test", "+short"],
    ] {
        let (ours, theirs) = (run(agent, &["dig"], words), run("dig", &[], words));
        assert_eq!(
            ours.status.code(),
            theirs.status.code(),
            "{words:?}: {}",
            said(&ours)
        );
        assert_eq!(sorted(&ours), sorted(&theirs), "{words:?}");
    }
    let status = |words: &[&str]| {
        let lines = sorted(&run(agent, &["dig"], words));
        lines
            .into_iter()
            .find(|line| line.contains("status:"))
            .unwrap()
    };
    assert!(status(&["nosuch.test"]).ends_with("status: NXDOMAIN"));
    assert!(status(&["web.test"]).ends_with("status: NOERROR"));
    // nobody listens there
    let mute = Command::new(agent)
        .args(["dig", "@127.0.0.1", "-p", "9", "web.test"])
        .env("TARGET_PID", target.pid().to_string())
        .output()
        .unwrap();
    assert_code(&mute, 9);
    assert!(
        said(&mute).contains("no servers could be reached"),
        "{}",
        said(&mute)
    );
}
