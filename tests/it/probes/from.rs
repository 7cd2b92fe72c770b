//! The same probe from two places: where they part, and that they do not when they need not.

use std::process::Command;

use super::{report, says, target, text};
use crate::support::running::{Running, assert_code, is_root, kdbg, said};

/// A process in a network namespace of its own, with nothing in it.
fn elsewhere() -> Option<Running> {
    if !is_root("make a network namespace") {
        return None;
    }
    let mut command = Command::new("unshare");
    command.args(["-n", "sh", "-c", "ip link set lo up; echo ready; read line"]);
    Some(Running::start(&mut command))
}

#[test]
fn the_phase_in_which_two_places_part_is_named() {
    let Some(elsewhere) = elsewhere() else { return };
    let (target, other) = (target(), elsewhere.target());
    let answer = says(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    let url = format!("http://{answer}/");
    let curl = kdbg(["curl", &target.target(), &url, "--from", &other]);
    assert_code(&curl, 1);
    let shown = text(&curl);
    assert!(shown.contains("they part in `connect`:"), "{shown}");
    assert!(
        shown.contains(&format!("{other}: {answer} refused")),
        "{shown}"
    );
    let tcp = kdbg([
        "tcp",
        &target.target(),
        &answer.to_string(),
        "--from",
        &other,
    ]);
    assert_code(&tcp, 1);
    assert!(
        text(&tcp).contains("they part in `connect"),
        "{}",
        text(&tcp)
    );

    let words = [url.as_str(), "--from", other.as_str()];
    let json = report("curl", &target, &words, &["--json"]);
    assert_eq!(json["probes"][0]["response"]["status"], 200);
    assert_eq!(json["differences"][0]["phase"], "connect");
    assert_eq!(json["differences"][0]["from"][1]["place"], other.as_str());
}

#[test]
fn where_nothing_differs_nothing_is_claimed() {
    let target = target();
    let answer = says(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
    for words in [
        ["curl", &format!("http://{answer}/")],
        ["tcp", &answer.to_string()],
        ["dig", "localhost"],
    ] {
        let [command, what] = words;
        let output = kdbg([command, &target.target(), what, "--from", "here"]);
        assert_code(&output, 0);
        assert!(
            text(&output).contains("no phase differs"),
            "{}",
            said(&output)
        );
    }
    for place in ["new", "node"] {
        let output = kdbg(["tcp", &target.target(), "127.0.0.1:1", "--from", place]);
        assert_code(&output, 2);
    }
}
