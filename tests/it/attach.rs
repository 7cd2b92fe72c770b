//! `kdbg attach` with real commands; its oracle is the same command run by itself.

use std::{
    fs::{self, File},
    io::{Read as _, Write as _},
    os::unix::{fs::PermissionsExt as _, process::ExitStatusExt as _},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use sha2::{Digest as _, Sha256};

use crate::support::{
    running::{Running, assert_code, command, is_root, kdbg, said, shown, wait_until},
    screen::Screen,
};

fn target() -> (Running, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    (Running::in_folder(folder.path()), folder)
}

/// `kdbg attach TARGET -- sh -c SCRIPT`.
fn script(target: &Running, script: &str) -> Command {
    command(["attach", &target.target(), "--", "sh", "-c", script])
}

fn pid(child: &Child) -> Pid {
    Pid::from_raw(i32::try_from(child.id()).unwrap())
}

/// Nothing that has this in its arguments is there.
#[track_caller]
fn assert_nothing_left(marker: &str) {
    let left = find(marker);
    assert!(left.is_empty(), "{left:#?}");
}

/// How many processes have this in their arguments.
fn count(marker: &str) -> usize {
    find(marker).len()
}

fn find(marker: &str) -> Vec<String> {
    let is_meant = |folder: &Path| {
        let arguments = fs::read(folder.join("cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&arguments).contains(marker)
            && !arguments.starts_with(env!("CARGO_BIN_EXE_kdbg").as_bytes())
    };
    let processes = fs::read_dir("/proc").unwrap();
    processes
        .map(|entry| entry.unwrap().path())
        .filter(|folder| is_meant(folder))
        .map(|folder| {
            let stat = fs::read_to_string(folder.join("stat")).unwrap_or_default();
            let arguments = fs::read(folder.join("cmdline")).unwrap_or_default();
            format!("{stat}: {}", String::from_utf8_lossy(&arguments))
        })
        .collect()
}

/// A number of seconds that no other sleep has.
fn seconds() -> String {
    static COUNT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let count = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    format!("{}.{count:04}", 100_000 + std::process::id())
}

#[test]
fn the_exit_code_is_that_of_the_command() {
    let (target, folder) = target();
    for (line, code) in [
        ("exit 0", 0),
        ("exit 7", 7),
        ("exit 255", 255),
        ("kill -9 $$", 137),
        ("kill -TERM $$", 143),
    ] {
        assert_code(&script(&target, line).output().unwrap(), code);
    }
    let attach = |program: &str| kdbg(["attach", &target.target(), "--", program]);
    insta::assert_snapshot!(shown(&attach("nosuch"), &[]), @"
    exit 127
    --- stdout
    --- stderr
    error: cannot run `nosuch`: it, or what it needs to run, is not there
    hint: run the target's own programs with `--chroot`
    ");
    let text = folder.path().join("text");
    fs::write(&text, "text").unwrap();
    insta::assert_snapshot!(shown(&attach(text.to_str().unwrap()), &[(folder.path().to_str().unwrap(), "FOLDER")]), @"
    exit 126
    --- stdout
    --- stderr
    error: cannot run `FOLDER/text`: Permission denied
    ");
    let gone = kdbg(["attach", "pid/2147483647", "--", "true"]);
    assert_code(&gone, 4);
}

#[test]
fn standard_output_and_standard_error_stay_apart_byte_for_byte() {
    let (target, _folder) = target();
    let line = r"printf 'a\0\377\r\n'; printf 'b\0\376' >&2";
    let output = script(&target, line).output().unwrap();
    assert_code(&output, 0);
    assert_eq!(output.stdout, b"a\0\xff\r\n");
    assert_eq!(output.stderr, b"b\0\xfe");
}

#[test]
fn a_command_finds_itself_beside_the_target() {
    let (target, folder) = target();
    fs::write(folder.path().join("marker"), "here").unwrap();
    let line = r#"echo "$TARGET_PID $TARGET_ROOT $X"; cat marker "$TARGET_ROOT$PWD/marker"; readlink -f "$(command -v kdbg-agent)"; pwd"#;
    let pid = target.target();
    let output = command(["attach", &pid, "-e", "X=a=b", "--", "sh", "-c", line])
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    let number = target.pid();
    let agent = env!("CARGO_BIN_EXE_kdbg-agent");
    let folder = folder.path().display();
    assert_eq!(
        text,
        format!("{number} /proc/{number}/root a=b\nherehere{agent}\n{folder}\n"),
        "{}",
        said(&output)
    );
    let elsewhere = kdbg(["attach", &pid, "--folder", "/usr", "--", "pwd"]);
    assert_eq!(elsewhere.stdout, b"/usr\n");
    let nowhere = kdbg(["attach", &pid, "--folder", "/nosuch", "--", "pwd"]);
    assert_code(&nowhere, 4);
    assert_code(&kdbg(["attach", &pid, "-e", "X", "--", "pwd"]), 2);
    assert_code(&kdbg(["attach", &pid, "--all", "--", "pwd"]), 2);
}

#[test]
fn a_shell_without_a_terminal_runs_what_it_reads() {
    let (target, _folder) = target();
    let mut child = command(["attach", &target.target()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"echo $((6 * 7))\nexit 3\n").unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.stdout, b"42\n");
    assert_code(&output, 3);
}

/// Bytes that repeat nowhere, and their digest.
fn write_noise(mut file: impl std::io::Write, megabytes: usize) -> String {
    let mut digest = Sha256::new();
    let mut state = 1_u64;
    let mut part = vec![0; 1 << 20];
    for _ in 0..megabytes {
        for word in part.chunks_exact_mut(8) {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            word.copy_from_slice(&state.to_le_bytes());
        }
        digest.update(&part);
        if file.write_all(&part).is_err() {
            break;
        }
    }
    hex(&digest.finalize())
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

#[test]
fn two_hundred_megabytes_of_input_arrive_whole() {
    let (target, _folder) = target();
    let mut child = command(["attach", &target.target(), "--", "sha256sum"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let digest = write_noise(child.stdin.take().unwrap(), 200);
    let output = child.wait_with_output().unwrap();
    assert_eq!(
        String::from_utf8(output.stdout).unwrap(),
        format!("{digest}  -\n")
    );
}

#[test]
fn input_waits_for_a_command_that_does_not_read_it() {
    let (target, _folder) = target();
    let mut child = script(&target, "sleep 1; sha256sum")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let digest = write_noise(child.stdin.take().unwrap(), 40);
    let memory = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
    let peak = memory
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .and_then(|rest| rest.trim().strip_suffix(" kB")?.parse::<u64>().ok())
        .unwrap();
    assert!(peak < 35_000, "kdbg has taken {peak} kB");
    let output = child.wait_with_output().unwrap();
    assert_eq!(
        String::from_utf8(output.stdout).unwrap(),
        format!("{digest}  -\n")
    );
}

#[test]
fn five_hundred_megabytes_of_output_arrive_whole() {
    let (target, folder) = target();
    let path = folder.path().join("noise");
    let digest = write_noise(File::create(&path).unwrap(), 125);
    let _ = digest;
    let mut expected = Sha256::new();
    let content = fs::read(&path).unwrap();
    for _ in 0..4 {
        expected.update(&content);
    }
    let mut child = script(&target, "cat noise noise noise noise; exit 9")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = child.stdout.take().unwrap();
    let (mut digest, mut length) = (Sha256::new(), 0);
    let mut part = vec![0; 1 << 20];
    loop {
        let count = output.read(&mut part).unwrap();
        if count == 0 {
            break;
        }
        length += count;
        digest.update(&part[..count]);
    }
    assert_eq!(length, 500 << 20);
    assert_eq!(digest.finalize(), expected.finalize());
    assert_eq!(child.wait().unwrap().code(), Some(9));
}

#[test]
fn a_closed_output_ends_the_command() {
    let (target, _folder) = target();
    let marker = seconds();
    for line in [
        format!("yes {marker}"),
        format!("echo once; sleep {marker}"),
    ] {
        let mut child = script(&target, &line)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut output = child.stdout.take().unwrap();
        output.read_exact(&mut [0; 4]).unwrap();
        let started = Instant::now();
        drop(output);
        assert_eq!(child.wait().unwrap().code(), Some(0));
        assert!(started.elapsed() < Duration::from_secs(12));
        assert_nothing_left(&marker);
    }
}

#[test]
fn what_a_command_leaves_behind_ends_with_it() {
    let (target, _folder) = target();
    let marker = seconds();
    let line = format!(
        "sleep {marker} & nohup sleep {marker} >/dev/null 2>&1 & setsid sleep {marker} & \
         (setsid sh -c 'sleep {marker} & sleep {marker}' &) ; \
         until [ $(pgrep -cf '^sleep {marker}') = 5 ]; do sleep 0.01; done; echo done"
    );
    let started = Instant::now();
    let output = script(&target, &line).output().unwrap();
    assert_code(&output, 0);
    assert_eq!(output.stdout, b"done\n");
    assert!(started.elapsed() < Duration::from_secs(30));
    assert_nothing_left(&marker);
}

#[test]
fn what_a_child_still_writes_after_the_command_is_not_lost() {
    let (target, _folder) = target();
    let line = "(sleep 0.1; echo one; sleep 0.1; echo two) & exit 4";
    let output = script(&target, line).output().unwrap();
    assert_eq!(output.stdout, b"one\ntwo\n");
    assert_code(&output, 4);
}

#[test]
fn kill_9_of_kdbg_leaves_nothing() {
    let (target, _folder) = target();
    let marker = seconds();
    let line = format!(
        "trap '' HUP TERM INT; sleep {marker} & setsid sleep {marker} & echo; sleep {marker}"
    );
    let mut child = script(&target, &line)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = child.stdout.take().unwrap();
    output.read_exact(&mut [0; 1]).unwrap();
    wait_until("all of it runs", || count(&marker) >= 3);
    child.kill().unwrap();
    child.wait().unwrap();
    wait_until("nothing is left", || count(&marker) == 0);
}

#[test]
fn a_client_that_falls_silent_leaves_nothing() {
    let (target, _folder) = target();
    let marker = seconds();
    let mut child = script(&target, &format!("echo; sleep {marker}"))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = child.stdout.take().unwrap();
    output.read_exact(&mut [0; 1]).unwrap();
    // As a websocket that nobody closes: its pipes stay open.
    kill(pid(&child), Signal::SIGSTOP).unwrap();
    wait_until("nothing is left", || count(&marker) == 0);
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_signal_is_passed_on_once_and_ends_kdbg_the_second_time() {
    let (target, _folder) = target();
    let start = |line: &str| {
        let mut child = script(&target, line)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut output = child.stdout.take().unwrap();
        output.read_exact(&mut [0; 1]).unwrap();
        (child, output)
    };
    for (signal, name) in [
        (Signal::SIGINT, "INT"),
        (Signal::SIGTERM, "TERM"),
        (Signal::SIGHUP, "HUP"),
        (Signal::SIGQUIT, "QUIT"),
    ] {
        let line = format!("trap 'echo {name}; exit 5' {name}; echo; while :; do sleep 0.05; done");
        let (mut child, mut output) = start(&line);
        kill(pid(&child), signal).unwrap();
        let mut heard = String::new();
        output.read_to_string(&mut heard).unwrap();
        assert_eq!(heard, format!("{name}\n"));
        assert_eq!(child.wait().unwrap().code(), Some(5));
    }
    let marker = seconds();
    let line = format!("trap 'echo again' INT; echo; while :; do sleep {marker} & wait; done");
    let (mut child, mut output) = start(&line);
    kill(pid(&child), Signal::SIGINT).unwrap();
    output.read_exact(&mut [0; 6]).unwrap();
    kill(pid(&child), Signal::SIGINT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_nothing_left(&marker);
}

#[test]
fn two_signals_end_kdbg_also_while_nobody_reads_its_output() {
    let (target, _folder) = target();
    let marker = seconds();
    let mut child = script(&target, &format!("yes {marker}"))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let _unread = child.stdout.take().unwrap();
    // By then all buffers on the way are full.
    std::thread::sleep(Duration::from_secs(1));
    kill(pid(&child), Signal::SIGINT).unwrap();
    std::thread::sleep(Duration::from_millis(100));
    kill(pid(&child), Signal::SIGINT).unwrap();
    wait_until("it has ended", || child.try_wait().unwrap().is_some());
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_nothing_left(&marker);
}

#[test]
fn standard_input_is_left_alone_when_asked_to() {
    let (target, _folder) = target();
    let mut child = command(["attach", "--no-stdin", &target.target(), "--", "cat"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_forced_terminal_is_one_and_its_input_ends() {
    let (target, _folder) = target();
    let mut child = command(["attach", "-t", &target.target(), "--", "sh", "-c"])
        .arg("stty -echo; test -t 0 && test -t 1 && test -t 2 && stty size; cat")
        .env("TERM", "dumb")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = child.stdout.take().unwrap();
    output.read_exact(&mut [0; 5]).unwrap();
    child.stdin.take().unwrap().write_all(b"line\n").unwrap();
    let mut rest = String::new();
    output.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "\r\nline\r\n");
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_person_types_into_a_shell_and_the_terminal_is_put_back() {
    let (target, folder) = target();
    let mut screen = Screen::start(command(["attach", &target.target()]), 30, 100);
    let before = screen.settings();
    screen.wait_for("programs come from ");
    screen.wait_for(&format!(
        "[{} {}]",
        target.target(),
        folder.path().display()
    ));
    assert_ne!(screen.settings(), before);
    screen.type_keys("stty size; echo $TERM\r");
    screen.wait_for("30 100\r\ntest-term\r\n");
    screen.resize(31, 101);
    // A resize and a key take different ways to the shell.
    wait_until("the new size is seen", || {
        screen.type_keys("stty size\r");
        std::thread::sleep(Duration::from_millis(50));
        screen.shows("31 101\r\n")
    });
    let marker = seconds();
    screen.type_keys(&format!("sleep {marker}; echo in''terrupted $?\r"));
    wait_until("it sleeps", || count(&format!("sleep\x00{marker}")) > 0);
    screen.type_keys("\x03");
    screen.wait_for("^C");
    screen.type_keys("\recho still $((40 + 2))\r");
    screen.wait_for("still 42\r\n");
    screen.type_keys("exit 6\r");
    assert_eq!(screen.wait().code(), Some(6));
    assert_eq!(screen.settings(), before);
}

#[test]
fn ctrl_c_at_a_terminal_is_for_the_command() {
    let (target, _folder) = target();
    let marker = seconds();
    let arguments = ["attach", &target.target(), "--", "sleep", &marker];
    let mut screen = Screen::start(command(arguments), 24, 80);
    let before = screen.settings();
    wait_until("it is raw", || screen.settings() != before);
    wait_until("it sleeps", || count(&format!("sleep\x00{marker}")) > 0);
    screen.type_keys("\x03");
    assert_eq!(screen.wait().code(), Some(130));
    assert_eq!(screen.settings(), before);
    assert_nothing_left(&marker);
}

#[test]
fn the_terminal_is_put_back_when_kdbg_is_told_to_end() {
    let (target, _folder) = target();
    for (signal, code) in [(Signal::SIGTERM, 143), (Signal::SIGHUP, 129)] {
        let marker = seconds();
        let arguments = ["attach", &target.target(), "--", "sleep", &marker];
        let mut screen = Screen::start(command(arguments), 24, 80);
        let before = screen.settings();
        wait_until("it is raw", || screen.settings() != before);
        screen.signal(signal);
        assert_eq!(screen.wait().code(), Some(code));
        assert_eq!(screen.settings(), before);
        assert_nothing_left(&marker);
    }
}

#[test]
fn the_terminal_is_put_back_in_a_panic() {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([
        "--ignored",
        "--exact",
        "attach::panics_while_the_terminal_is_raw",
    ]);
    let mut screen = Screen::start(command, 24, 80);
    let before = screen.settings();
    assert_eq!(screen.wait().code(), Some(101));
    screen.wait_for("it was raw");
    assert_eq!(screen.settings(), before);
}

#[test]
#[ignore = "run by the test above, at a terminal of its own"]
fn panics_while_the_terminal_is_raw() {
    let local_flags = || {
        let settings: nix::libc::termios = nix::sys::termios::tcgetattr(std::io::stdin())
            .unwrap()
            .into();
        settings.c_lflag
    };
    let before = local_flags();
    // As in a release build, where a panic aborts.
    std::mem::forget(kdbg::cli::terminal::RawMode::enter().unwrap());
    assert_eq!(local_flags(), before, "it was raw");
}

#[test]
fn the_terminal_is_put_back_when_the_agent_dies() {
    let (target, _folder) = target();
    let marker = seconds();
    let arguments = ["attach", &target.target(), "--", "sleep", &marker];
    let mut screen = Screen::start(command(arguments), 24, 80);
    let before = screen.settings();
    wait_until("it is raw", || screen.settings() != before);
    screen.kill_agent();
    let status = screen.wait();
    assert_eq!(status.code(), Some(5), "{:?}", status.signal());
    screen.wait_for(": the agent has gone away\r\n");
    assert_eq!(screen.settings(), before);
    wait_until("nothing is left", || count(&marker) == 0);
}

#[test]
fn the_escape_ends_a_session_whose_agent_hangs() {
    let (target, _folder) = target();
    let marker = seconds();
    let arguments = ["attach", &target.target(), "--", "sleep", &marker];
    let mut screen = Screen::start(command(arguments), 24, 80);
    let before = screen.settings();
    wait_until("it is raw", || screen.settings() != before);
    screen.stop_agent();
    let started = Instant::now();
    screen.type_keys("~.");
    assert_eq!(screen.wait().code(), Some(130));
    assert!(started.elapsed() < Duration::from_secs(12));
    assert_eq!(screen.settings(), before);
    wait_until("nothing is left", || count(&marker) == 0);
}

/// A process with a root of its own, which holds busybox and, on demand, a shell.
struct Rooted {
    running: Running,
    _root: tempfile::TempDir,
}

impl Rooted {
    fn start(with_shell: bool) -> Option<Self> {
        if !is_root("makes a root folder of its own for a process") {
            return None;
        }
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("app/sub")).unwrap();
        fs::create_dir(root.path().join("bin")).unwrap();
        fs::copy("/usr/bin/busybox", root.path().join("bin/tool")).unwrap();
        let mode = fs::Permissions::from_mode(0o755);
        fs::set_permissions(root.path().join("bin/tool"), mode).unwrap();
        for name in ["cat", "pwd", "echo"] {
            std::os::unix::fs::symlink("tool", root.path().join("bin").join(name)).unwrap();
        }
        if with_shell {
            std::os::unix::fs::symlink("tool", root.path().join("bin/sh")).unwrap();
        }
        fs::write(root.path().join("app/file"), "of the target").unwrap();
        // The process itself needs a shell to say that it is ready; nobody looks for it there.
        fs::create_dir(root.path().join("opt")).unwrap();
        std::os::unix::fs::symlink("/bin/tool", root.path().join("opt/sh")).unwrap();
        let mut command = Command::new("/usr/bin/busybox");
        command
            .arg("chroot")
            .arg(root.path())
            .args(["/opt/sh", "-c", "cd /app; echo ready; read line"])
            .env_clear()
            .env("PATH", "/bin");
        Some(Self {
            running: Running::start(&mut command),
            _root: root,
        })
    }

    fn attach(&self, rest: &[&str]) -> std::process::Output {
        let target = self.running.target();
        kdbg(["attach", &target].into_iter().chain(rest.iter().copied()))
    }
}

#[test]
fn the_targets_own_programs_run_in_its_own_root() {
    let Some(target) = Rooted::start(true) else {
        return;
    };
    let output = target.attach(&["--chroot", "--", "cat", "file", "/app/file"]);
    assert_eq!(
        output.stdout,
        b"of the targetof the target",
        "{}",
        said(&output)
    );
    let output = target.attach(&[
        "--chroot",
        "--folder",
        "sub",
        "--",
        "sh",
        "-c",
        "pwd; echo $TARGET_ROOT",
    ]);
    assert_eq!(output.stdout, b"/app/sub\n/\n", "{}", said(&output));
    assert_code(&target.attach(&["--chroot", "--", "sha256sum"]), 127);
    // Beside it, the tools are ours and the files are its.
    let output = target.attach(&[
        "--",
        "sh",
        "-c",
        "cat file; pwd; sha256sum </dev/null | cut -c1-4",
    ]);
    let pid = target.running.pid();
    let expected = format!("of the target/proc/{pid}/root/app\ne3b0\n");
    assert_eq!(String::from_utf8(output.stdout).unwrap(), expected);
}

#[test]
fn a_target_without_a_shell_is_said_to_have_none() {
    let Some(target) = Rooted::start(false) else {
        return;
    };
    insta::assert_snapshot!(shown(&target.attach(&["--chroot"]), &[]), @"
    exit 4
    --- stdout
    --- stderr
    error: cannot start a shell: there is no shell
    hint: name a command after `--`, or run the target's own shell with `--chroot`
    ");
}

#[test]
fn root_that_may_not_trace_starts_the_command_as_the_user_of_the_target() {
    if !is_root("starts a process as another user") {
        return;
    }
    let folder = tempfile::tempdir_in("/tmp").unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(folder.path().join("file"), "of the target\n").unwrap();
    let mut command = Command::new("/usr/bin/setpriv");
    command
        .args(["--reuid", "1000", "--regid", "1001", "--clear-groups"])
        .args(["sh", "-c", "echo ready; read line"])
        .current_dir(folder.path());
    let target = Running::start(&mut command);
    let attach = |line: &str| {
        Command::new("setpriv")
            .args(["--bounding-set", "-sys_ptrace,-sys_admin,-dac_read_search"])
            .args([env!("CARGO_BIN_EXE_kdbg"), "attach", &target.target()])
            .args(["--", "sh", "-c", line])
            .stdin(Stdio::null())
            .output()
            .unwrap()
    };
    let output = attach("id -u; id -g; id -G; cat file $TARGET_ROOT$PWD/file");
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "1000\n1001\n1001\nof the target\nof the target\n",
        "{}",
        said(&output)
    );
    let marker = seconds();
    assert_code(&attach(&format!("setsid sleep {marker} & exit 3")), 3);
    assert_nothing_left(&marker);
}

#[test]
fn chroot_without_the_capability_names_it() {
    let Some(target) = Rooted::start(true) else {
        return;
    };
    let output = Command::new("setpriv")
        .args(["--bounding-set", "-sys_chroot", env!("CARGO_BIN_EXE_kdbg")])
        .args(["attach", &target.running.target(), "--chroot", "--", "pwd"])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let pid = target.running.pid().to_string();
    insta::assert_snapshot!(shown(&output, &[(&pid, "PID")]), @"
    exit 4
    --- stdout
    --- stderr
    error: cannot make the root folder of process PID our own: it needs CAP_SYS_CHROOT
    hint: run kdbg as root with CAP_SYS_CHROOT
    ");
}
