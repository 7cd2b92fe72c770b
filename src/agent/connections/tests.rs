use std::{
    collections::BTreeMap,
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::unix::{ffi::OsStrExt as _, net::UnixListener},
    process::Command,
};

use super::*;
use crate::{
    agent::testing::{Collected, Running, identify, is_root},
    protocol::message::{ProcessId, SocketState},
};

fn records(process: ProcessId) -> Vec<ConnectionRecord> {
    let mut output = Collected::default();
    let request = ConnectionsRequest {
        process,
        unix: true,
    };
    answer(&request, &mut output).unwrap();
    output.rows()
}

fn sockets(records: &[ConnectionRecord]) -> Vec<&SocketFacts> {
    fn socket(record: &ConnectionRecord) -> Option<&SocketFacts> {
        match record {
            ConnectionRecord::Socket(socket) => Some(socket),
            _ => None,
        }
    }
    records.iter().filter_map(socket).collect()
}

fn at<'a>(sockets: &[&'a SocketFacts], near: SocketAddr) -> Vec<&'a SocketFacts> {
    sockets
        .iter()
        .copied()
        .filter(|socket| socket.near == Some(near))
        .collect()
}

#[test]
fn own_sockets_are_found_with_their_queues_and_the_descriptor_that_holds_them() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    // Nobody accepts it: it waits in the queue.
    let stream = TcpStream::connect(address).unwrap();
    let datagrams = UdpSocket::bind("[::1]:0").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a socket");
    let _unix = UnixListener::bind(&path).unwrap();
    let records = records(identify(std::process::id()));
    let sockets = sockets(&records);
    let own = at(&sockets, address);
    let listening = own
        .iter()
        .find(|socket| socket.state == Some(SocketState::Listening))
        .unwrap();
    assert_eq!(listening.unread, 1, "a connection waits");
    assert_eq!(listening.unsent, 128, "as std asks for");
    let waiting = own
        .iter()
        .find(|socket| socket.state == Some(SocketState::Established))
        .unwrap();
    assert_eq!(waiting.inode, 0, "no descriptor has it yet");
    let dialled = at(&sockets, stream.local_addr().unwrap());
    assert_eq!(dialled[0].far, Some(address));
    assert!(dialled[0].tcp.unwrap().round_trip > 0);
    let udp = at(&sockets, datagrams.local_addr().unwrap());
    assert_eq!(udp[0].protocol, Protocol::Udp);
    let held: Vec<u64> = records
        .iter()
        .filter_map(|record| match record {
            ConnectionRecord::Held(held) => Some(held),
            _ => None,
        })
        .flatten()
        .map(|held| held.inode)
        .collect();
    let path = path.as_os_str().as_bytes();
    let unix = sockets
        .iter()
        .find(|socket| socket.path.as_ref().is_some_and(|told| told == path))
        .unwrap();
    assert_eq!(unix.protocol, Protocol::Unix);
    for socket in [listening, dialled[0], udp[0], unix] {
        assert!(socket.inode > 0 && held.contains(&socket.inode));
    }
    assert!(
        records
            .iter()
            .any(|record| matches!(record, ConnectionRecord::Counters(_)))
    );
}

#[test]
fn proc_shows_the_same_sockets_as_sock_diag() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let stream = TcpStream::connect(address).unwrap();
    let six = TcpListener::bind("[::1]:0").unwrap();
    let datagrams = UdpSocket::bind("127.0.0.1:0").unwrap();
    let own = [
        address,
        stream.local_addr().unwrap(),
        six.local_addr().unwrap(),
        datagrams.local_addr().unwrap(),
    ];
    let (target, _) = Target::open_number(std::process::id()).unwrap();
    let diag = diag::open(&Network::Shared).unwrap();
    let mut both = [BTreeMap::new(), BTreeMap::new()];
    for (protocol, is_v6, name) in TABLES {
        let mut keep = |which: usize, socket: SocketFacts| {
            if own.contains(&socket.near.unwrap()) {
                let key = (socket.near, socket.far, socket.protocol);
                // What only one of the two knows.
                let is_listening = socket.state == Some(SocketState::Listening);
                let unsent = if is_listening { 0 } else { socket.unsent };
                let known = (
                    socket.state,
                    socket.unread,
                    unsent,
                    socket.inode,
                    socket.uid,
                );
                both[which].insert(key, known);
            }
        };
        let dumped = diag
            .dump(protocol, is_v6)
            .unwrap()
            .for_each(|socket| -> Result<(), End> {
                keep(0, socket);
                Ok(())
            });
        assert!(dumped.is_ok());
        let read = for_each_socket(&target, name, protocol, &mut |socket| {
            keep(1, socket);
            Ok::<(), Errno>(())
        });
        assert_eq!(read, Ok(()));
    }
    assert_eq!(both[0].len(), 5);
    assert_eq!(both[0], both[1]);
}

#[test]
fn the_sockets_of_another_namespace_are_its_own() {
    if !is_root("make a network namespace") {
        return;
    }
    let ours = TcpListener::bind("127.0.0.1:0").unwrap();
    let code = "import socket, sys
import subprocess; subprocess.run(['ip', 'link', 'set', 'lo', 'up'], check=True)
s = socket.create_server(('127.0.0.1', 7000), backlog=3)
print('ready', flush=True); sys.stdin.read()";
    let mut command = Command::new("unshare");
    command.args(["-n", "python3", "-c", code]);
    let running = Running::start(&mut command);
    let records = records(running.id());
    assert_eq!(
        records.first(),
        Some(&ConnectionRecord::Network(message::Network::Entered))
    );
    let sockets = sockets(&records);
    let theirs = at(&sockets, ([127, 0, 0, 1], 7000).into());
    assert_eq!(theirs[0].unsent, 3);
    assert!(at(&sockets, ours.local_addr().unwrap()).is_empty());
    let processes: Vec<_> = records
        .iter()
        .filter_map(|record| match record {
            ConnectionRecord::Process(process) => Some(process.id.pid),
            _ => None,
        })
        .collect();
    assert_eq!(processes, [running.id().pid], "only those that are in it");
}
