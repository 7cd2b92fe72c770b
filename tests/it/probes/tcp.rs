//! What answers, and who says that nothing does.

use std::{net::TcpListener, os::fd::AsRawFd as _, process::Command};

use super::{report, server, silence, target, text};
use crate::support::running::{Running, assert_code, is_root, kdbg};

/// A process in a network namespace of its own, with routes that lead nowhere and a server on port 7000.
fn in_namespace() -> Option<Running> {
    if !is_root("make a network namespace with routes") {
        return None;
    }
    let script = "
        ip link set lo up
        iptables -A INPUT -p tcp --dport 7002 -j DROP || true
        ip route add blackhole 10.10.1.0/24
        ip route add unreachable 10.10.2.0/24
        ip route add prohibit 10.10.3.0/24
        exec python3 -c \"
import socket, sys
s = socket.create_server(('127.0.0.1', 7000))
print('ready', flush=True)
sys.stdin.read()\"
    ";
    let mut command = Command::new("unshare");
    command.args(["-n", "sh", "-c", script]);
    Some(Running::start(&mut command))
}

fn outcome(target: &Running, address: &str) -> (String, String) {
    let words = [address, "--connect-timeout", "500ms"];
    let report = report("tcp", target, &words, &["-o", "json"]);
    let one = &report["connections"][0];
    let word = |key: &str| one[key].as_str().unwrap().to_owned();
    (word("outcome"), word("said"))
}

#[test]
fn the_processs_own_namespace_is_asked_from_and_its_routes_are_named() {
    let Some(target) = in_namespace() else { return };
    let own = report("tcp", &target, &["127.0.0.1:7000"], &["-o", "json"]);
    assert_eq!(own["entered_network"], true);
    assert_eq!(own["connections"][0]["outcome"], "connected");
    assert_eq!(own["connections"][0]["interface"], "lo");
    for (address, outcome_expected, words) in [
        ("127.0.0.1:7001", "refused", "a TCP reset came back"),
        ("10.10.1.1:80", "unreachable", "`blackhole` route"),
        ("10.10.2.1:80", "unreachable", "`unreachable` route"),
        ("10.10.3.1:80", "unreachable", "`prohibit` route"),
        ("10.11.0.1:80", "unreachable", "no route"),
    ] {
        let (outcome, said) = outcome(&target, address);
        assert_eq!(outcome, outcome_expected, "{address}: {said}");
        assert!(said.contains(words), "{address}: {said}");
    }
}

#[test]
fn a_firewall_that_answers_with_icmp_is_named_with_its_address() {
    let Some(target) = in_namespace() else { return };
    let rule = Command::new("nsenter")
        .args([
            "-t",
            &target.pid().to_string(),
            "-n",
            "iptables",
            "-A",
            "OUTPUT",
        ])
        .args(["-p", "tcp", "--dport", "7070", "-j", "REJECT"])
        .args(["--reject-with", "icmp-admin-prohibited"])
        .output();
    if !rule.is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: this machine has no iptables");
        return;
    }
    // One that drops what comes leaves nothing but silence.
    let (dropped, said) = outcome(&target, "127.0.0.1:7002");
    assert_eq!(dropped, "timeout", "{said}");
    assert!(said.contains("nothing came back"), "{said}");
    let (outcome, said) = outcome(&target, "127.0.0.1:7070");
    assert_eq!(outcome, "unreachable", "{said}");
    assert!(
        said.contains("127.0.0.1 says \"communication administratively prohibited\""),
        "{said}"
    );
}

#[test]
fn a_server_that_says_nothing_is_told_from_one_that_does_not_take_anything() {
    let target = target();
    let address = server(silence).to_string();
    let words = [
        "tcp",
        &target.target(),
        &address,
        "--send",
        "hello",
        "--wait",
        "300ms",
    ];
    let output = kdbg(words);
    assert_code(&output, 3);
    assert!(
        text(&output)
            .contains("connected, 5 bytes sent and acknowledged by the kernel, no byte in 300 ms"),
        "{}",
        text(&output)
    );
}

#[test]
fn a_reset_is_told_from_a_close_and_an_expected_answer_is_found() {
    let target = target();
    // It has read before it resets: a reset that comes sooner would meet the connect.
    let reset = server(|mut stream| {
        std::io::Read::read_exact(&mut stream, &mut [0; 6]).unwrap();
        let linger = nix::libc::linger {
            l_onoff: 1,
            l_linger: 0,
        };
        nix::sys::socket::setsockopt(&stream, nix::sys::socket::sockopt::Linger, &linger).unwrap();
        assert!(stream.as_raw_fd() > 0);
    });
    let words = |address: &str| {
        [
            address.to_owned(),
            "--send".to_owned(),
            "PING\\r\\n".to_owned(),
        ]
    };
    let run = |address: &str, more: &[&str]| {
        let mut all = vec!["tcp".to_owned(), target.target()];
        all.extend(words(address));
        all.extend(more.iter().map(|word| (*word).to_owned()));
        kdbg(all)
    };
    let output = run(&reset.to_string(), &[]);
    assert_code(&output, 5);
    assert!(text(&output).contains("a reset"), "{}", text(&output));

    let pong = server(|mut stream| {
        use std::io::{Read as _, Write as _};
        let mut buffer = [0; 6];
        stream.read_exact(&mut buffer).unwrap();
        stream.write_all(b"+PONG\r\n").unwrap();
    });
    assert_code(&run(&pong.to_string(), &["--expect", "PONG"]), 0);
    assert_code(&run(&pong.to_string(), &["--expect", "OK"]), 1);
}

#[test]
fn a_try_leaves_nothing_in_the_socket_table_and_what_was_said_ends_in_order() {
    use std::{io::Read as _, sync::mpsc};
    let target = target();
    let (ends_tx, ends_rx) = mpsc::channel();
    let address = server(move |mut stream| {
        let end = stream.read_to_end(&mut Vec::new());
        ends_tx.send(end.map_err(|error| error.kind())).unwrap();
    });
    let waiting = || {
        let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
        let far = format!("0100007F:{:04X}", address.port());
        let rows = table.lines().map(|row| row.split_whitespace().collect());
        rows.filter(|row: &Vec<_>| row.get(2) == Some(&far.as_str()) && row[3] == "06")
            .count()
    };
    let name = target.target();
    assert_code(&kdbg(["tcp", &name, &address.to_string()]), 0);
    assert_eq!(
        ends_rx.recv_timeout(std::time::Duration::from_mins(1)),
        Ok(Err(std::io::ErrorKind::ConnectionReset))
    );
    assert_eq!(waiting(), 0, "nothing of it stays");
    let address = address.to_string();
    kdbg(["tcp", &name, &address, "--send", "hello", "--wait", "200ms"]);
    let end = ends_rx.recv_timeout(std::time::Duration::from_mins(1));
    assert_eq!(end, Ok(Ok(5)), "all of it arrives, and then the end");
}

#[test]
fn a_port_that_nobody_listens_on_is_refused() {
    let target = target();
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap().to_string();
    drop(free);
    let output = kdbg(["tcp", &target.target(), &address]);
    assert_code(&output, 4);
    assert!(text(&output).contains("refused after"), "{}", text(&output));
    assert_code(&kdbg(["tcp", &target.target(), "no-port"]), 2);
}
