//! `kdbg tcp`, `dig`, `curl` and `net` against real servers on loopback and in namespaces, and against hostile ones.

mod curl;
mod dig;
mod edns;
mod from;
mod hostile_dns;
mod http2;
mod ipv6;
mod net;
mod tcp;
mod upload;

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    process::{Command, Output},
    time::Duration,
};

use super::support::running::{Running, idle, kdbg, said};

/// A process of this machine to ask from.
fn target() -> Running {
    Running::start(&mut idle())
}

/// Listens for datagrams and connections on the same port; 0 is any.
fn both_ways((ip, port): (&str, u16)) -> (UdpSocket, TcpListener) {
    // A port that is free for datagrams may be in use for connections.
    let both = std::iter::repeat_with(|| {
        let udp = UdpSocket::bind((ip, port)).unwrap();
        let tcp = TcpListener::bind(udp.local_addr().unwrap()).ok()?;
        Some((udp, tcp))
    });
    both.take(20).flatten().next().unwrap()
}

/// Answers the first DNS question of each connection, for ever.
fn answer_all(listener: &TcpListener, answer: impl Fn(&[u8]) -> Vec<u8>) {
    for stream in listener.incoming() {
        let mut stream = stream.unwrap();
        let mut length = [0; 2];
        if stream.read_exact(&mut length).is_err() {
            continue;
        }
        let mut question = vec![0; u16::from_be_bytes(length).into()];
        stream.read_exact(&mut question).unwrap();
        let answer = answer(&question);
        let length = u16::try_from(answer.len()).unwrap().to_be_bytes();
        stream.write_all(&[&length[..], &answer].concat()).ok();
    }
}

/// Runs a command on a target and reads the JSON that it prints.
fn report(command: &str, target: &Running, words: &[&str], format: &[&str]) -> serde_json::Value {
    let name = target.target();
    let words = [command, &name].into_iter().chain(words.iter().copied());
    let output = kdbg(words.chain(format.iter().copied()));
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", said(&output)))
}

/// A server that treats each connection in this way, in a thread of its own.
pub(crate) fn server(treat: impl Fn(TcpStream) + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let treat = std::sync::Arc::new(treat);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let treat = std::sync::Arc::clone(&treat);
            std::thread::spawn(move || treat(stream.unwrap()));
        }
    });
    address
}

/// Reads a request up to the end of its head.
pub(crate) fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap_or(0) > 0 {
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}

/// Answers with these bytes, and closes.
pub(crate) fn says(bytes: &'static [u8]) -> SocketAddr {
    server(move |mut stream| {
        read_head(&mut stream);
        stream.write_all(bytes).ok();
    })
}

/// Keeps a connection open without a word.
fn silence(stream: TcpStream) {
    std::thread::sleep(Duration::from_secs(30));
    drop(stream);
}

/// Whether a tool is there; says so when not.
pub(crate) fn has(tool: &str) -> bool {
    let is_there = Command::new(tool)
        .arg("--version")
        .output()
        .or_else(|_| Command::new(tool).arg("-v").output())
        .is_ok();
    if !is_there {
        eprintln!("skipped: {tool} is not installed");
    }
    is_there
}

pub(crate) fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}
