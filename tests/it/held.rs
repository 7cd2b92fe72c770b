//! `kdbg files` against lsof, df and prlimit, and on real faults.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    collections::BTreeMap,
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Command, Output},
};

use crate::support::running::{Running, assert_code, command, is_root, kdbg, python, said};

/// A Python program that works in a folder, says that it is ready and waits.
fn program(folder: &Path, code: &str) -> Running {
    let mut command = Command::new(python());
    Running::start(
        command
            .current_dir(folder)
            .args(["-S", "-c", &waiting(code)]),
    )
}

fn waiting(code: &str) -> String {
    format!("import os, sys\n{code}\nprint('ready', flush=True)\nsys.stdin.read()")
}

fn report(output: &Output) -> serde_json::Value {
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", said(output)))
}

fn files(target: &Running) -> serde_json::Value {
    report(&kdbg(["files", &target.target(), "-o", "json"]))
}

/// What the rules found of this target, without what they say of the machine that the test runs on.
fn found(report: &serde_json::Value) -> Vec<String> {
    let findings = report["findings"].as_array().unwrap().iter();
    let mut ids: Vec<_> = findings
        .filter(|finding| finding["id"] != "files.volume-full" || finding["about"] == "/mnt")
        .map(|finding| finding["id"].as_str().unwrap().to_owned())
        .collect();
    ids.sort();
    ids
}

/// A tool that a test compares with; `None` when it is not installed.
fn tool(words: &[&str]) -> Option<String> {
    let Ok(output) = Command::new(words[0])
        .args(&words[1..])
        .env("LC_ALL", "C")
        .output()
    else {
        eprintln!("skipped: {} is not installed", words[0]);
        return None;
    };
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// One line of what is held: type, mode, size, inode and name.
type Row = (String, String, String, String, String);

/// What lsof says, in its own words.
fn by_lsof(pid: u32) -> Option<BTreeMap<String, Row>> {
    let text = tool(&[
        "lsof",
        "-n",
        "-P",
        "-w",
        "-p",
        &pid.to_string(),
        "-F",
        "fatsin",
    ])?;
    let mut rows: BTreeMap<String, Row> = BTreeMap::new();
    let mut key = String::new();
    for line in text.lines() {
        let (field, value) = line.split_at(1);
        if field == "f" {
            value.clone_into(&mut key);
            // Several files have the word `mem`.
            if value == "mem" {
                key = format!("mem{}", rows.len());
            }
            rows.entry(key.clone()).or_default();
            continue;
        }
        let Some(row) = rows.get_mut(&key) else {
            continue;
        };
        let place = match field {
            "t" => &mut row.0,
            "a" => &mut row.1,
            "s" => &mut row.2,
            "i" => &mut row.3,
            "n" => &mut row.4,
            _ => continue,
        };
        value.trim().clone_into(place);
    }
    Some(rows)
}

#[test]
fn lsof_lists_the_same() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("a folder")).unwrap();
    let target = program(
        folder.path(),
        "import socket, select, mmap\n\
         log = open('a.log', 'a'); log.write('12345'); log.flush()\n\
         both = open('both', 'w+b'); both.write(b'x' * 5000); both.flush(); mapped = mmap.mmap(both.fileno(), 0)\n\
         gone = open('gone', 'w'); gone.write('gone'); gone.flush(); os.unlink('gone')\n\
         odd = open('a\\tb\\n\\u00e9', 'w')\n\
         folder = os.open('a folder', os.O_RDONLY)\n\
         things = (os.pipe(), os.eventfd(0), select.epoll(), os.memfd_create('m'), open('/dev/zero'),\n\
         \x20socket.create_server(('127.0.0.1', 0)), socket.socketpair())",
    );
    let Some(theirs) = by_lsof(target.pid()) else {
        return;
    };
    let report = files(&target);
    let ours = report["files"].as_array().unwrap();
    same_descriptors(ours, &theirs);
    same_places(ours, &theirs);
    let gone = ours
        .iter()
        .find(|row| text(&row["name"]).ends_with("/gone (deleted)"))
        .unwrap();
    assert_eq!((&gone["deleted"], &gone["size"]), (&true.into(), &4.into()));
    let log = ours
        .iter()
        .find(|row| text(&row["name"]).ends_with("/a.log"))
        .unwrap();
    assert_eq!((&log["offset"], &log["links"]), (&5.into(), &1.into()));
    assert!(
        log["flags"].as_array().unwrap().contains(&"APPEND".into()),
        "{log}"
    );
    let info = std::fs::read_to_string(format!(
        "/proc/{}/fdinfo/{}",
        target.pid(),
        log["descriptor"]
    ))
    .unwrap();
    assert!(
        info.contains(&format!(
            "flags:\t{}\n",
            log["flags_octal"].as_str().unwrap()
        )),
        "{info} {log}"
    );
    assert_eq!(found(&report), Vec::<String>::new());
}

/// A value as text, without quotes.
fn text(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::Null => String::new(),
        serde_json::Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn same_descriptors(ours: &[serde_json::Value], theirs: &BTreeMap<String, Row>) {
    let mut compared = 0;
    for row in ours.iter().filter(|row| row["by"] == "descriptor") {
        let (kind, mode, size, inode, name) = &theirs[&text(&row["descriptor"])];
        let expected = match row["kind"].as_str().unwrap() {
            "file" | "memfd" => "REG",
            "folder" => "DIR",
            "pipe" => "FIFO",
            "device" => "CHR",
            "socket" if kind.starts_with("IP") => kind.as_str(),
            "socket" => "unix",
            _ => "a_inode",
        };
        assert_eq!(kind, expected, "{row}");
        let flags = row["flags"][0].as_str().unwrap();
        let letter = match flags {
            "RDONLY" => "r",
            "WRONLY" => "w",
            _ => "u",
        };
        assert_eq!(mode, letter, "{row}");
        if expected == "REG" || expected == "DIR" {
            assert_eq!(
                (size, inode),
                (&text(&row["size"]), &text(&row["inode"])),
                "{row}"
            );
            // lsof escapes what a terminal would act on.
            if !name.contains('\\') {
                assert_eq!(name, &text(&row["name"]), "{row}");
            }
        }
        compared += 1;
    }
    let numbers = theirs
        .keys()
        .filter(|key| key.bytes().all(|byte| byte.is_ascii_digit()));
    assert_eq!(compared, numbers.count());
    assert!(compared >= 15, "{theirs:?}");
}

/// What is held without a descriptor.
fn same_places(ours: &[serde_json::Value], theirs: &BTreeMap<String, Row>) {
    for (by, word) in [("cwd", "cwd"), ("root", "rtd"), ("exe", "txt")] {
        let row = ours.iter().find(|row| row["by"] == by).unwrap();
        assert_eq!(
            (&theirs[word].3, &theirs[word].4),
            (&text(&row["inode"]), &text(&row["name"]))
        );
    }
    let mut mapped: Vec<_> = ours
        .iter()
        .filter(|row| row["by"] == "mapping")
        .map(|row| text(&row["name"]))
        .collect();
    let is_mapping = |key: &&String| key.starts_with("mem") || key.as_str() == "DEL";
    let mut expected: Vec<_> = theirs
        .keys()
        .filter(is_mapping)
        .map(|key| theirs[key].4.clone())
        .collect();
    mapped.sort();
    expected.sort();
    assert_eq!(mapped, expected);
}

/// A program in a mount namespace of its own, with a tmpfs of one megabyte and 64 files at `/mnt`.
fn with_small_disk(code: &str) -> Option<Running> {
    if !is_root("mounts a small file system in a namespace") {
        return None;
    }
    let mut unshare = Command::new("unshare");
    unshare.args(["-m", "sh", "-c"]).arg(
        "mount -t tmpfs -o size=1m,nr_inodes=64 small /mnt && cd / && exec \"$0\" -S -c \"$1\"",
    );
    Some(Running::start(unshare.args([python(), &waiting(code)])))
}

#[test]
fn df_says_the_same_in_the_namespace_of_the_process() {
    let code =
        "open('/mnt/a', 'w').write('x' * 300_000)\n[open(f'/mnt/{n}', 'w') for n in range(20)]";
    let Some(target) = with_small_disk(code) else {
        return;
    };
    let pid = target.pid().to_string();
    let columns = "--output=size,used,avail,pcent,itotal,iused,iavail,ipcent";
    let text = tool(&["nsenter", "-t", &pid, "-m", "df", "-B1", columns, "/mnt"]).unwrap();
    let df: Vec<&str> = text.lines().nth(1).unwrap().split_whitespace().collect();
    let report = files(&target);
    let volume = report["volumes"]
        .as_array()
        .unwrap()
        .iter()
        .find(|row| row["mounted_on"] == "/mnt")
        .unwrap();
    let (bytes, inodes) = (&volume["bytes"], &volume["inodes"]);
    let ours = [
        bytes["size"].to_string(),
        bytes["used"].to_string(),
        bytes["available"].to_string(),
        format!("{}%", bytes["percent"]),
        inodes["size"].to_string(),
        inodes["used"].to_string(),
        inodes["available"].to_string(),
        format!("{}%", inodes["percent"]),
    ];
    assert_eq!(df, ours);
    assert_eq!(volume["is"], "tmpfs small");
    // Neither full nor near its end.
    assert_eq!(found(&report), Vec::<String>::new());
}

#[test]
fn prlimit_says_the_same_of_descriptors() {
    let folder = tempfile::tempdir().unwrap();
    let limit = "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (200, 300))";
    let target = program(folder.path(), limit);
    let pid = target.pid().to_string();
    let Some(text) = tool(&[
        "prlimit",
        "-p",
        &pid,
        "-n",
        "-o",
        "SOFT,HARD",
        "--noheadings",
        "--raw",
    ]) else {
        return;
    };
    let report = files(&target);
    let ours = &report["descriptors"];
    let limits = format!("{} {}", ours["soft_limit"], ours["hard_limit"]);
    assert_eq!(text.trim(), limits);
    let open = std::fs::read_dir(format!("/proc/{pid}/fd"))
        .unwrap()
        .count();
    assert_eq!(ours["open"], open);
}

#[test]
fn faults_are_found_together_and_each_is_silent_without_its_reason() {
    let sick = "import resource\n\
        log = open('/mnt/app.log', 'w'); log.write('x' * 1000); log.flush()\n\
        gone = open('/mnt/gone', 'wb'); gone.write(b'x' * 400_000); gone.flush(); os.unlink('/mnt/gone')\n\
        full = open('/mnt/full', 'wb', buffering=0)\n\
        try:\n while full.write(b'x' * 4096): pass\n\
        except OSError: pass\n\
        resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))\n\
        import time; time.sleep(1.2)\n\
        keep = []\n\
        try:\n while True: keep.append(open('/dev/null'))\n\
        except OSError: pass";
    let Some(target) = with_small_disk(sick) else {
        return;
    };
    let arguments = [
        "files",
        &target.target(),
        "--stalled-after",
        "1s",
        "-o",
        "json",
    ];
    let output = kdbg(arguments);
    assert_code(&output, 1);
    assert_eq!(
        found(&report(&output)),
        [
            "files.deleted-open",
            "files.fd-limit-near",
            "files.log-stalled",
            "files.volume-full"
        ]
    );
    let text = kdbg(["files", &target.target()]);
    assert_code(&text, 1);
    let text = String::from_utf8_lossy(&text.stdout).into_owned();
    assert!(text.contains(" descriptors of 40\n"), "{text}");
    assert!(
        text.contains("cause: the file system on /mnt is full: no space is left\n"),
        "{text}"
    );

    let well = "import resource\n\
        log = open('/mnt/app.log', 'w'); log.write('x' * 1000); log.flush()\n\
        gone = open('/mnt/gone', 'wb'); gone.write(b'x' * 1000); gone.flush(); os.unlink('/mnt/gone')\n\
        resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))\n\
        memory = os.memfd_create('jit'); os.write(memory, b'x' * 900_000)\n\
        import time; time.sleep(1.2)\n\
        keep = [open('/dev/null') for _ in range(20)]";
    let target = with_small_disk(well).unwrap();
    let output = kdbg([
        "files",
        &target.target(),
        "--stalled-after",
        "1s",
        "-o",
        "json",
    ]);
    assert_eq!(found(&report(&output)), Vec::<String>::new());

    let no_inodes = "files = []\n\
        try:\n for n in range(100): open(f'/mnt/{n}', 'w')\n\
        except OSError: pass";
    let target = with_small_disk(no_inodes).unwrap();
    let report = files(&target);
    assert_eq!(found(&report), ["files.volume-full"]);
    assert!(
        report["findings"][0]["cause"]
            .as_str()
            .unwrap()
            .contains("no more files"),
        "{report}"
    );
}

#[test]
fn what_grows_is_shown_with_its_rate() {
    let folder = tempfile::tempdir().unwrap();
    let code = "import threading, time\n\
        log = open('app.log', 'w')\n\
        still = open('still', 'w')\n\
        def write():\n while True: log.write('x' * 1000); log.flush(); time.sleep(0.01)\n\
        threading.Thread(target=write, daemon=True).start()";
    let target = program(folder.path(), code);
    let words = ["--watch", "--interval", "300ms", "--for", "900ms"];
    let output = kdbg(["files", &target.target()].into_iter().chain(words));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        text.contains("/app.log: ") && text.contains("/s  "),
        "{text} {}",
        said(&output)
    );
    assert!(!text.contains("/still"), "{text}");
    let output = kdbg(
        ["files", &target.target(), "-o", "json"]
            .into_iter()
            .chain(words),
    );
    let lines = String::from_utf8(output.stdout).unwrap();
    let looks: Vec<serde_json::Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert!(!looks.is_empty());
    let rate = looks[0]["growing"][0]["bytes_per_second"].as_i64().unwrap();
    assert!(rate > 0 && looks[0]["schema"] == 1, "{lines}");
}

#[test]
fn what_may_not_be_read_is_named_and_is_not_nothing() {
    if !is_root("looks as another user") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let target = program(folder.path(), "");
    let output = command(["files", &target.target(), "-o", "json"])
        .uid(65534)
        .gid(65534)
        .output();
    let Ok(output) = output else {
        eprintln!("skipped: another user may not run the program under test");
        return;
    };
    if output.status.code() == Some(4) {
        eprintln!(
            "skipped: another user may not run the agent under test: {}",
            said(&output)
        );
        return;
    }
    assert_code(&output, 3);
    let report = report(&output);
    assert_eq!(report["descriptors"], serde_json::Value::Null);
    assert_eq!(report["findings"], serde_json::json!([]));
    let why = report["not_checked"].to_string();
    assert!(why.contains("permission denied: uid"), "{why}");
    // With what would help, as every command that is denied something.
    let hint = "run kdbg as root";
    assert!(report["hints"].to_string().contains(hint), "{report:#}");
    for (name, by_root) in [
        ("files", false),
        ("net", false),
        ("files", true),
        ("net", true),
    ] {
        let mut command = command([name, &target.target()]);
        if !by_root {
            command.uid(65534).gid(65534);
        }
        let said = said(&command.output().unwrap());
        let hint = format!("hint: {hint}");
        let hinted = said.lines().any(|line| line.starts_with(&hint));
        assert_eq!(hinted, !by_root, "{name}: {said}");
    }
}
