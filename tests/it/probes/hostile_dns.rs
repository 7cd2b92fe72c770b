//! Name servers that mean harm: whatever they say, over datagrams or connections, a look-up ends in time and the agent stays small.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    time::{Duration, Instant},
};

use kdbg::protocol::message::{DnsOutcome, LookupRequest, ProbeRecord, Request};

use super::both_ways;
use crate::session::{open, ourselves, peak_memory};

/// What a server does with a question over UDP: the datagrams that it sends.
type OverUdp = fn(&[u8]) -> Vec<Vec<u8>>;
/// What it does with one over TCP.
type OverTcp = fn(&mut TcpStream, &[u8]);

/// Starts one on both ways.
fn hostile(udp_says: OverUdp, tcp_does: OverTcp) -> SocketAddr {
    let (udp, tcp) = both_ways(("127.0.0.1", 0));
    let address = udp.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok((length, from)) = udp.recv_from(&mut buffer) {
            for answer in udp_says(&buffer[..length]) {
                udp.send_to(&answer, from).ok();
            }
        }
    });
    std::thread::spawn(move || {
        for stream in tcp.incoming() {
            let Ok(mut stream) = stream else { continue };
            std::thread::spawn(move || {
                let mut length = [0; 2];
                if stream.read_exact(&mut length).is_err() {
                    return;
                }
                let mut question = vec![0; u16::from_be_bytes(length).into()];
                if stream.read_exact(&mut question).is_ok() {
                    tcp_does(&mut stream, &question);
                }
            });
        }
    });
    address
}

/// The question as an answer without records.
fn answered(question: &[u8]) -> Vec<u8> {
    let mut bytes = question.to_vec();
    bytes[2] |= 0x80;
    // Without EDNS, should it have been there.
    bytes[10..12].copy_from_slice(&[0, 0]);
    bytes
}

/// The same, which says that it was cut: the question comes again over TCP.
fn cut(question: &[u8]) -> Vec<Vec<u8>> {
    let mut bytes = answered(question);
    bytes[2] |= 0x02;
    vec![bytes]
}

/// As many records as there is room for, each with such a name and such data.
fn full(question: &[u8], kind: u8, name: &[u8], data: &[u8], first: &[u8]) -> Vec<u8> {
    let mut bytes = answered(question);
    bytes.extend_from_slice(first);
    let length = u16::try_from(data.len()).unwrap().to_be_bytes();
    let record = [name, &[0, kind, 0, 1, 0, 0, 0, 9], &length, data].concat();
    let mut count = 0_u16;
    while bytes.len() + record.len() <= 65_535 {
        bytes.extend_from_slice(&record);
        count += 1;
    }
    if !first.is_empty() {
        count += 1;
    }
    bytes[6..8].copy_from_slice(&count.to_be_bytes());
    bytes
}

fn say(stream: &mut TcpStream, bytes: &[u8]) {
    let length = u16::try_from(bytes.len()).unwrap().to_be_bytes();
    stream.write_all(&[&length[..], bytes].concat()).ok();
}

/// A name of 255 bytes as the owner of a first record, to which all others point.
fn long_names(stream: &mut TcpStream, question: &[u8]) {
    let start = u16::try_from(question.len()).unwrap();
    let label = [[63].as_slice(), &[b'x'; 63]].concat();
    let name = [label.as_slice(), &label, &label, &[0]].concat();
    let first = [name.as_slice(), &[0, 16, 0, 1, 0, 0, 0, 9, 0, 2, 1, b'x']].concat();
    let pointer = (0xc000 | start).to_be_bytes();
    // Names in the data as well: each record is 12 bytes, and more than 400 once it is read.
    say(stream, &full(question, 5, &pointer, &pointer, &first));
}

/// Each name is one letter and a pointer to the one before: a chain as long as the message.
fn chain(stream: &mut TcpStream, question: &[u8]) {
    let mut bytes = answered(question);
    let mut before = 12_u16;
    let mut count = 0_u16;
    while bytes.len() + 20 < 16_384 {
        let here = u16::try_from(bytes.len()).unwrap();
        bytes.extend([1, b'a']);
        bytes.extend((0xc000 | before).to_be_bytes());
        bytes.extend([0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 10, 0, 0, 1]);
        before = here;
        count += 1;
    }
    bytes[6..8].copy_from_slice(&count.to_be_bytes());
    say(stream, &bytes);
}

/// A pointer to itself, and two that point at each other.
fn circles(stream: &mut TcpStream, question: &[u8]) {
    let mut bytes = answered(question);
    let start = u16::try_from(bytes.len()).unwrap();
    let record = |to: u16| {
        [
            &(0xc000 | to).to_be_bytes()[..],
            &[0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 10, 0, 0, 1],
        ]
        .concat()
    };
    bytes.extend(record(start + 16));
    bytes.extend(record(start));
    bytes.extend(record(start + 32));
    bytes[6..8].copy_from_slice(&3_u16.to_be_bytes());
    say(stream, &bytes);
}

fn garbage(length: usize) -> Vec<u8> {
    let mut state = 7_u64;
    std::iter::repeat_with(|| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 56) as u8
    })
    .take(length)
    .collect()
}

/// The servers, and what they do.
fn servers() -> Vec<(&'static str, SocketAddr)> {
    let silent: OverUdp = |_| Vec::new();
    let over_tcp = |tcp: OverTcp| hostile(cut, tcp);
    vec![
        ("names of 255 bytes, 5,000 times", over_tcp(long_names)),
        ("a chain of pointers", over_tcp(chain)),
        ("circles of pointers", over_tcp(circles)),
        (
            "addresses, as many as there is room for",
            over_tcp(|stream, question| {
                say(stream, &full(question, 1, &[0xc0, 12], &[10, 0, 0, 1], &[]));
            }),
        ),
        (
            "texts of 255 empty strings",
            over_tcp(|stream, question| {
                say(stream, &full(question, 16, &[0xc0, 12], &[0; 255], &[]));
            }),
        ),
        (
            "numbers of records that are not there",
            over_tcp(|stream, question| {
                let mut bytes = answered(question);
                bytes[4..12].copy_from_slice(&[0xff; 8]);
                say(stream, &bytes);
            }),
        ),
        (
            "64 KiB of noise",
            over_tcp(|stream, question| {
                say(stream, &[&question[..2], &garbage(65_000)].concat());
            }),
        ),
        (
            "noise that never ends",
            over_tcp(|stream, _| {
                let noise = garbage(65_536);
                while stream.write_all(&noise).is_ok() {}
            }),
        ),
        (
            "one byte at a time",
            over_tcp(|stream, _| {
                stream.write_all(&[0xff, 0xff]).ok();
                while stream.write_all(b"x").is_ok() {
                    std::thread::sleep(Duration::from_millis(20));
                }
            }),
        ),
        (
            "a connection without a word",
            over_tcp(|stream, _| {
                stream.set_read_timeout(Some(Duration::from_secs(30))).ok();
                stream.read_exact(&mut [0]).ok();
            }),
        ),
        ("a connection that closes", over_tcp(|_, _| {})),
        ("no word at all", hostile(silent, |_, _| {})),
        (
            "noise in datagrams",
            hostile(
                |question| vec![[&question[..2], &garbage(60_000)].concat(); 20],
                |_, _| {},
            ),
        ),
        (
            "the largest datagrams, for somebody else",
            hostile(|_| vec![garbage(65_000); 2000], |_, _| {}),
        ),
        (
            "an answer as long as a datagram can be",
            hostile(
                |question| {
                    let mut bytes = full(question, 1, &[0xc0, 12], &[10, 0, 0, 1], &[]);
                    let count = (65_000 - question.len()) / 16;
                    bytes.truncate(question.len() + count * 16);
                    bytes[6..8].copy_from_slice(&u16::try_from(count).unwrap().to_be_bytes());
                    vec![bytes]
                },
                |_, _| {},
            ),
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_a_name_server_says_a_look_up_ends_and_the_agent_stays_small() {
    let (session, agent) = open().await;
    let process = ourselves(&session).await;
    let agent = agent.id().unwrap();
    let look_up = async |server: SocketAddr, tcp: bool| {
        let request = Request::Lookup(LookupRequest {
            process,
            name: "web.test.".into(),
            kinds: vec![1, 16],
            servers: vec![server],
            each_server: false,
            exact: true,
            tcp,
            edns: true,
            libc: None,
            timeout: Some(400),
        });
        let reply = session.request(&request).unwrap();
        reply.records::<ProbeRecord>().await.unwrap()
    };
    for (what, server) in servers() {
        for tcp in [false, true] {
            let started = Instant::now();
            let records = look_up(server, tcp).await;
            let took = started.elapsed();
            let queries: Vec<_> = records
                .iter()
                .filter_map(|record| match record {
                    ProbeRecord::Query(query) => Some(query),
                    _ => None,
                })
                .collect();
            assert!(!queries.is_empty(), "{what}: {records:?}");
            assert!(took < Duration::from_secs(20), "{what}: {took:?}");
            for query in &queries {
                if let DnsOutcome::Answered(answer) = &query.outcome {
                    assert!(answer.answers.len() <= 1000, "{what}");
                }
            }
            // It is resolved, one way or another.
            let is_resolved = |record: &ProbeRecord| matches!(record, ProbeRecord::Resolved(_));
            assert!(records.iter().any(is_resolved), "{what}: {records:?}");
            let peak = peak_memory(agent);
            assert!(peak < 32 << 20, "{what}: {peak} bytes");
        }
    }
    // All at once.
    let servers = servers();
    let all = servers.iter().map(|(_, server)| look_up(*server, true));
    futures::future::join_all(all).await;
    let peak = peak_memory(agent);
    assert!(peak < 32 << 20, "all at once: {peak} bytes");
    eprintln!("the agent has taken {} KiB", peak / 1024);
    session.close().await;
}
