//! `kdbg watch`: lines, JSON, and a screen that leaves a terminal as it was.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::process::Command;

use nix::sys::signal::Signal;

use crate::support::{
    running::{Running, assert_code, command, idle, kdbg, python, said, wait_until},
    screen::Screen,
};

/// What a terminal gets when its other screen is left.
const LEFT: &str = "\u{1b}[?25h\u{1b}[?1049l";

/// A program that uses as much of a processor as it gets.
fn busy() -> Running {
    let code = "print('ready', flush=True)\nwhile True: pass";
    Running::start(Command::new(python()).args(["-S", "-c", code]))
}

fn looks(target: &Running, words: &[&str]) -> Vec<serde_json::Value> {
    let name = target.target();
    let words = ["watch", &name, "-o", "json"]
        .into_iter()
        .chain(words.iter().copied());
    let output = kdbg(words);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let looks: Vec<_> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert!(!looks.is_empty(), "{}", said(&output));
    looks
}

#[test]
fn into_a_pipe_a_look_is_a_line() {
    let target = Running::start(&mut idle());
    let output = kdbg([
        "watch",
        &target.target(),
        "--interval",
        "200ms",
        "--for",
        "600ms",
    ]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(text.lines().count() >= 2, "{text} {}", said(&output));
    for line in text.lines() {
        for part in [
            "  cpu ",
            "  mem ",
            "  rss ",
            "  threads 1  ",
            "  fds ",
            "  tcp ",
        ] {
            assert!(line.contains(part), "{part}: {line}");
        }
        assert!(!line.contains('\u{1b}'), "{line:?}");
    }
    // The first look has nothing to compare with, which is not zero.
    assert!(text.lines().next().unwrap().contains("  cpu -  "), "{text}");
}

#[test]
fn samples_say_what_the_kernel_says() {
    let target = busy();
    let looks = looks(&target, &["--interval", "400ms", "--for", "1200ms"]);
    let last = looks.last().unwrap();
    assert_eq!(
        (&last["schema"], &last["process"]["pid"]),
        (&1.into(), &target.pid().into())
    );
    let open = std::fs::read_dir(format!("/proc/{}/fd", target.pid()))
        .unwrap()
        .count();
    assert_eq!(last["process"]["descriptors"], open);
    assert_eq!(last["process"]["threads"], 1);
    assert_eq!(looks[0]["process"]["cpu"], serde_json::Value::Null);
    // It never rests, but it shares the machine.
    let used = |look: &serde_json::Value| look["process"]["cpu_microseconds"].as_u64().unwrap();
    assert!(used(last) > used(&looks[0]), "{last}");
    assert!(last["over_microseconds"].as_u64().unwrap() > 0);
    assert_eq!(last.get("restarts"), None);
}

#[test]
fn a_process_that_ends_ends_it() {
    let mut target = Running::start(&mut idle());
    let mut watching = command(["watch", &target.target(), "--interval", "50ms"]);
    let watching = watching
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    std::thread::sleep(std::time::Duration::from_millis(300));
    target.kill();
    let output = watching.wait_with_output().unwrap();
    assert_code(&output, 4);
}

#[test]
fn the_screen_is_left_however_it_ends() {
    let target = Running::start(&mut idle());
    // A terminal of its own, for the one of a program that runs may be raw already.
    let before = Screen::start(Command::new("true"), 30, 100).settings();
    let start = || {
        let screen = Screen::start(
            command(["watch", &target.target(), "--interval", "100ms"]),
            30,
            100,
        );
        screen.wait_for("q ends");
        assert!(screen.shows("\u{1b}[?1049h") && !screen.shows(LEFT));
        assert_ne!(screen.settings(), before);
        screen
    };
    for (keys, code) in [("q", 0), ("\u{3}", 130)] {
        let mut screen = start();
        screen.resize(20, 60);
        screen.type_keys(keys);
        assert_eq!(screen.wait().code(), Some(code));
        screen.wait_for(LEFT);
        assert_eq!(screen.settings(), before);
    }
    for (signal, code) in [
        (Signal::SIGTERM, 143),
        (Signal::SIGHUP, 129),
        (Signal::SIGINT, 130),
    ] {
        let mut screen = start();
        screen.signal(signal);
        assert_eq!(screen.wait().code(), Some(code));
        screen.wait_for(LEFT);
        assert_eq!(screen.settings(), before);
    }
    let mut screen = start();
    screen.kill_agent();
    assert_eq!(screen.wait().code(), Some(5));
    // What is said about it must not be lost with the screen.
    screen.wait_for("the agent has gone away");
    assert!(screen.shows(LEFT));
    assert_eq!(screen.settings(), before);
}

#[test]
fn a_screen_can_be_watched_for_a_while() {
    let target = Running::start(&mut idle());
    let arguments = [
        "watch",
        &target.target(),
        "--interval",
        "100ms",
        "--for",
        "300ms",
    ];
    let mut screen = Screen::start(command(arguments), 30, 100);
    screen.wait_for("descriptors");
    assert_eq!(screen.wait().code(), Some(0));
    screen.wait_for(LEFT);
    let mut lines = Screen::start(command(arguments.into_iter().chain(["--lines"])), 30, 200);
    lines.wait_for("  threads 1");
    assert_eq!(lines.wait().code(), Some(0));
    assert!(!lines.shows("\u{1b}[?1049h"));
}

#[test]
fn the_screen_is_left_in_a_panic() {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([
        "--ignored",
        "--exact",
        "watch::panics_while_the_screen_is_shown",
    ]);
    let mut screen = Screen::start(command, 24, 80);
    let before = screen.settings();
    assert_eq!(screen.wait().code(), Some(101));
    screen.wait_for(LEFT);
    wait_until("it says why", || screen.shows("it was shown"));
    assert_eq!(screen.settings(), before);
}

#[test]
#[ignore = "run by the test above, at a terminal of its own"]
fn panics_while_the_screen_is_shown() {
    // As in a release build, where a panic aborts.
    std::mem::forget(kdbg::cli::terminal::FullScreen::enter().unwrap());
    panic!("it was shown");
}
