//! Sockets and their holders, held to what `ss` says of the same network namespace.

use std::{
    collections::BTreeMap,
    process::Command,
    time::{Duration, Instant},
};

use serde_json::Value;

use super::{has, text};
use crate::support::running::{Running, assert_code, is_root, kdbg, said, wait_until};

/// A process in a network namespace of its own, in which what goes to 10.9.0.77 is lost.
fn in_namespace(code: &str) -> Option<Running> {
    if !is_root("make a network namespace with an interface") {
        return None;
    }
    let script = "
        ip link set lo up
        ip link add lost type veth peer name hole && ip addr add 10.9.0.1/24 dev lost
        ip link set lost up && ip link set hole up
        ip neigh add 10.9.0.77 lladdr 02:00:00:00:00:77 nud permanent dev lost
        exec python3 -c \"$CODE\"
    ";
    let mut command = Command::new("unshare");
    command.args(["-n", "sh", "-c", script]).env("CODE", code);
    Some(Running::start(&mut command))
}

/// Sockets in every state that lasts, over both families, held by one process and by two.
const EVERYTHING: &str = "
import socket, os, sys
def server(address, family=socket.AF_INET, **more):
    return socket.create_server((address, 0), family=family, **more)
four, six, both = server('127.0.0.1', backlog=7), server('::1', socket.AF_INET6), server('', socket.AF_INET6, dualstack_ipv6=True)
kept = []
def pair(listener, address, family):
    client = socket.socket(family)
    client.connect((address, listener.getsockname()[1]))
    accepted = listener.accept()[0]
    kept.extend([client, accepted])
    return client, accepted
pair(four, '127.0.0.1', socket.AF_INET)
pair(six, '::1', socket.AF_INET6)
pair(both, '127.0.0.1', socket.AF_INET)
client, accepted = pair(four, '127.0.0.1', socket.AF_INET)
client.sendall(b'x' * 21); client.shutdown(socket.SHUT_WR)
client, accepted = pair(four, '127.0.0.1', socket.AF_INET)
client.shutdown(socket.SHUT_WR); accepted.recv(1)
client, accepted = pair(four, '127.0.0.1', socket.AF_INET)
client.sendall(b'y' * 5)
client, accepted = pair(four, '127.0.0.1', socket.AF_INET)
client.close(); accepted.recv(1); accepted.close()
waiting = socket.create_connection(four.getsockname())
dialling = socket.socket(); dialling.setblocking(False); dialling.connect_ex(('10.9.0.77', 81))
one = socket.socket(type=socket.SOCK_DGRAM); one.bind(('127.0.0.1', 0))
two = socket.socket(type=socket.SOCK_DGRAM); two.connect(one.getsockname()); two.send(b'hello')
three = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM); three.bind(('::1', 0))
if os.fork() == 0:
    sys.stdin.read(); os._exit(0)
print('ready', flush=True)
sys.stdin.read()";

fn report(target: &Running) -> Value {
    let output = kdbg(["net", &target.target(), "-o", "json"]);
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", said(&output)))
}

/// A socket in the words of both: protocol, state, addresses, queues, inode and who holds it.
type Row = (
    String,
    String,
    String,
    String,
    u64,
    u64,
    u64,
    Vec<(u64, u64)>,
);

fn of_kdbg(report: &Value) -> Vec<Row> {
    let sockets = report["sockets"].as_array().unwrap();
    let mut rows: Vec<Row> = sockets
        .iter()
        .map(|socket| {
            let word = |key: &str| socket[key].as_str().unwrap_or_default().to_owned();
            let state = word("state");
            let is_waiting = socket["side"] == "listening";
            let (unread, unsent) = match &socket["queue"] {
                Value::Null => (
                    socket["unread_bytes"].as_u64().unwrap(),
                    socket["unsent_bytes"].as_u64().unwrap(),
                ),
                queue => (
                    queue["waiting"].as_u64().unwrap(),
                    queue["limit"].as_u64().unwrap(),
                ),
            };
            let mut holders: Vec<_> = socket["processes"]
                .as_array()
                .unwrap()
                .iter()
                .map(|one| {
                    (
                        one["pid"].as_u64().unwrap(),
                        one["descriptor"].as_u64().unwrap(),
                    )
                })
                .collect();
            holders.sort_unstable();
            let peer = if is_waiting {
                "-".to_owned()
            } else {
                word("peer")
            };
            let inode = socket["inode"].as_u64().unwrap();
            (
                word("protocol"),
                state,
                word("address"),
                peer,
                unread,
                unsent,
                inode,
                holders,
            )
        })
        .collect();
    rows.sort();
    rows
}

fn of_ss(target: &Running) -> Vec<Row> {
    let pid = target.pid().to_string();
    let mut rows = Vec::new();
    for (protocol, flags) in [("tcp", "-Htanpeio"), ("udp", "-Huanpe")] {
        let output = Command::new("nsenter")
            .args(["-t", &pid, "-n", "ss", flags, "-O"])
            .output()
            .unwrap();
        rows.extend(text(&output).lines().map(|line| row_of_ss(protocol, line)));
    }
    rows.sort();
    rows
}

fn row_of_ss(protocol: &str, line: &str) -> Row {
    let words: Vec<_> = line.split_whitespace().collect();
    let state = match words[0] {
        "ESTAB" => "ESTABLISHED",
        "SYN-SENT" => "SYN_SENT",
        "CLOSE-WAIT" => "CLOSE_WAIT",
        "TIME-WAIT" => "TIME_WAIT",
        "FIN-WAIT-1" => "FIN_WAIT1",
        "FIN-WAIT-2" => "FIN_WAIT2",
        "LAST-ACK" => "LAST_ACK",
        "LISTEN" => "LISTEN",
        "UNCONN" => "CLOSE",
        other => panic!("{other} in {line}"),
    };
    let number = |text: &str| text.parse::<u64>().unwrap();
    let address = |text: &str| {
        let text = text.replace("[::ffff:", "").replace("*:", "[::]:");
        let is_mapped = text.contains('.') && text.contains(']');
        if is_mapped {
            text.replace(']', "")
        } else {
            text
        }
    };
    let peer = if words[4].ends_with(":*") {
        "-".to_owned()
    } else {
        address(words[4])
    };
    let field = |name: &str| {
        let found = words.iter().find_map(|word| word.strip_prefix(name));
        found.map_or(0, number)
    };
    let users = words.iter().find_map(|word| word.strip_prefix("users:"));
    let mut holders: Vec<_> = users
        .unwrap_or_default()
        .split("pid=")
        .skip(1)
        .map(|rest| {
            let (pid, rest) = rest.split_once(",fd=").unwrap();
            let descriptor = rest.split(')').next().unwrap();
            (number(pid), number(descriptor))
        })
        .collect();
    holders.sort_unstable();
    // The peer's end counts as a byte to the kernel.
    let end = u64::from(state == "CLOSE_WAIT");
    (
        protocol.to_owned(),
        state.to_owned(),
        address(words[3]),
        peer,
        number(words[1]).saturating_sub(end),
        number(words[2]),
        field("ino:"),
        holders,
    )
}

#[test]
fn the_sockets_of_a_namespace_are_those_that_ss_shows_with_queues_and_holders() {
    if !has("ss") {
        return;
    }
    let Some(target) = in_namespace(EVERYTHING) else {
        return;
    };
    wait_until("every end has been acknowledged", || {
        let rows = of_ss(&target);
        let is_passing = |state: &str| matches!(state, "FIN_WAIT1" | "LAST_ACK");
        !rows.iter().any(|row| is_passing(&row.1))
    });
    let told = report(&target);
    let (ours, theirs) = (of_kdbg(&told), of_ss(&target));
    assert!(theirs.len() > 15, "{theirs:#?}");
    let states: BTreeMap<_, usize> = theirs.iter().fold(BTreeMap::new(), |mut states, row| {
        *states.entry(row.1.as_str()).or_default() += 1;
        states
    });
    for state in [
        "LISTEN",
        "ESTABLISHED",
        "SYN_SENT",
        "CLOSE_WAIT",
        "TIME_WAIT",
        "FIN_WAIT2",
        "CLOSE",
    ] {
        assert!(states.contains_key(state), "{states:?}");
    }
    assert_eq!(ours, theirs);
    assert_eq!(told["entered_network"], true);
    assert!(
        told["tables"]
            .as_array()
            .unwrap()
            .iter()
            .all(|one| one["source"] == "sock_diag")
    );
    let sockets = told["sockets"].as_array().unwrap();
    let dialling = sockets
        .iter()
        .find(|one| one["state"] == "SYN_SENT")
        .unwrap();
    assert_eq!(dialling["peer"], "10.9.0.77:81");
    assert!(dialling["age_ms"].as_u64().unwrap() < 60_000, "{dialling}");
    let output = kdbg(["net", &target.target(), "-a"]);
    let shown = text(&output);
    assert!(
        shown.contains("10.9.0.77:81") && shown.contains("TIME_WAIT"),
        "{shown}"
    );
    let output = kdbg(["net", &target.target(), "--listening"]);
    assert!(!text(&output).contains("10.9.0.77:81"));
}

#[test]
fn the_time_of_dialling_is_that_of_the_clock() {
    let started = Instant::now();
    let Some(target) = in_namespace(EVERYTHING) else {
        return;
    };
    std::thread::sleep(Duration::from_secs(4));
    let report = report(&target);
    let at_most = u64::try_from(started.elapsed().as_millis()).unwrap();
    let sockets = report["sockets"].as_array().unwrap();
    let dialling = sockets
        .iter()
        .find(|one| one["state"] == "SYN_SENT")
        .unwrap();
    let age = dialling["age_ms"].as_u64().unwrap();
    assert!(
        (3000..=at_most).contains(&age),
        "{age} of {at_most}: {dialling}"
    );
    assert!(dialling["retransmits"].as_u64().unwrap() >= 2);
}

#[test]
fn a_queue_that_stays_full_is_a_finding_and_one_with_room_is_none() {
    let code = |clients: usize| {
        format!("
import socket, sys
listener = socket.create_server(('127.0.0.1', 7000), backlog=1)
kept = []
for _ in range({clients}):
    client = socket.socket(); client.setblocking(False); client.connect_ex(('127.0.0.1', 7000)); kept.append(client)
print('ready', flush=True); sys.stdin.read()")
    };
    let Some(full) = in_namespace(&code(4)) else {
        return;
    };
    let output = kdbg(["net", &full.target()]);
    assert_code(&output, 1);
    let shown = text(&output);
    assert!(
        shown.contains("[net.backlog-full]")
            && shown.contains("the queue of 127.0.0.1:7000 is full"),
        "{shown}"
    );
    let room = in_namespace(&code(1)).unwrap();
    let output = kdbg(["net", &room.target()]);
    assert_code(&output, 0);
    assert!(
        text(&output).ends_with("nothing found\n"),
        "{}",
        text(&output)
    );
}

#[test]
fn connections_that_are_never_closed_are_a_finding_and_closed_ones_are_none() {
    let code = |then: &str| {
        format!(
            "
import socket, sys
listener = socket.create_server(('127.0.0.1', 7000))
kept = []
for _ in range(4):
    client = socket.create_connection(('127.0.0.1', 7000))
    accepted = listener.accept()[0]
    client.sendall(b'x' * 311); client.close()
    {then}
print('ready', flush=True); sys.stdin.read()"
        )
    };
    let started = Instant::now();
    let Some(stuck) = in_namespace(&code("kept.append(accepted)")) else {
        return;
    };
    let well = in_namespace(&code("accepted.recv(999); accepted.close()")).unwrap();
    // They have only just closed: nobody is to blame for that.
    let first = kdbg(["net", &stuck.target()]);
    if started.elapsed() < Duration::from_secs(9) {
        assert_code(&first, 0);
    }
    let mut shown = String::new();
    wait_until("the connections count as forgotten", || {
        std::thread::sleep(Duration::from_millis(500));
        let output = kdbg(["net", &stuck.target()]);
        shown = text(&output);
        output.status.code() == Some(1)
    });
    assert!(
        shown.contains("[net.close-wait]") && shown.contains("1244 bytes unread"),
        "{shown}"
    );
    assert_code(&kdbg(["net", &well.target()]), 0);
}
