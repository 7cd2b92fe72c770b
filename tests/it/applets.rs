//! The agent's own curl, dig, env, ps, ss and tree, held to the real ones in one network namespace.

use std::{
    fs,
    io::Write as _,
    path::Path,
    process::{Command, Output, Stdio},
};

use crate::{
    probes::{has, read_head, says, server, text},
    support::running::{Running, assert_code, command, idle, is_root, kdbg, said},
};

const AGENT: &str = env!("CARGO_BIN_EXE_kdbg-agent");

/// A process with a network namespace of its own, where it answers HTTP on port 8080; no server answers for names.
fn in_namespace(folder: &Path) -> Option<Running> {
    if !is_root("make a network namespace") {
        return None;
    }
    let code = "
import http.server, os, socket, sys, threading
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    def do_GET(self):
        length = int(self.headers.get('Content-Length', 0))
        body = ('%s %s %s' % (self.command, self.path, self.rfile.read(length).decode())).encode()
        moved = {'/moved': '/final', '/loop': '/loop'}.get(self.path)
        self.send_response(302 if moved else 404 if self.path == '/missing' else 200)
        if moved:
            self.send_header('Location', moved)
        self.send_header('Content-Length', str(len(body)))
        self.send_header('X-Sent', self.headers.get('X-Sent', 'none'))
        self.send_header('X-Auth', self.headers.get('Authorization', 'none'))
        self.end_headers()
        if self.command != 'HEAD':
            self.wfile.write(body)
    do_HEAD = do_POST = do_PUT = do_GET
    def date_time_string(self, timestamp=None): return 'now'
    def log_message(self, *words): pass
server = http.server.ThreadingHTTPServer(('127.0.0.1', 8080), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
mute = socket.create_server(('127.0.0.1', 8081))
both = socket.create_server(('', 8082), family=socket.AF_INET6, dualstack_ipv6=True)
client = socket.create_connection(('127.0.0.1', 8081))
accepted = mute.accept()[0]
client.sendall(b'unread')
one = socket.socket(type=socket.SOCK_DGRAM); one.bind(('127.0.0.1', 5354))
two = socket.socket(type=socket.SOCK_DGRAM); two.connect(('127.0.0.1', 5354))
print('ready', flush=True)
sys.stdin.read()";
    let script = "ip link set lo up; exec \"$PYTHON\" -S -c \"$CODE\"";
    let mut start = Command::new("unshare");
    start
        .args(["-n", "sh", "-c", script])
        .env("CODE", code)
        .env("PYTHON", crate::support::running::python())
        .current_dir(folder);
    Some(Running::start(&mut start))
}

/// Runs an applet for a target.
fn applet(target: &Running, words: &[&str]) -> Output {
    applet_in(target, Path::new("/"), words)
}

fn applet_in(target: &Running, folder: &Path, words: &[&str]) -> Output {
    Command::new(AGENT)
        .args(words)
        .env("TARGET_PID", target.pid().to_string())
        .env("TARGET_ROOT", format!("/proc/{}/root", target.pid()))
        .env("PATH", "/nowhere")
        .env("PWD", folder)
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

/// Runs the real program where the target is.
fn real(target: &Running, words: &[&str]) -> Output {
    let pid = target.pid().to_string();
    Command::new("nsenter")
        .args(["-t", &pid, "-n"])
        .args(words)
        .output()
        .unwrap()
}

/// Lines without their padding, sorted.
fn lines(output: &Output) -> Vec<String> {
    let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut lines: Vec<_> = text(output).lines().map(words).collect();
    lines.sort_unstable();
    lines
}

#[test]
fn curl_prints_what_curl_prints_and_ends_as_curl_does() {
    let folder = tempfile::tempdir().unwrap();
    let Some(target) = in_namespace(folder.path()) else {
        return;
    };
    if !has("curl") {
        return;
    }
    let here = "http://127.0.0.1:8080";
    let sent = folder.path().join("sent");
    fs::write(&sent, "line\r\nline").unwrap();
    let at = format!("@{}", sent.display());
    let url = |path: &str| format!("{here}{path}");
    for (words, path) in [
        (&[][..], "/a?b=c"),
        (&["-i"], "/"),
        (&["-I"], "/"),
        (&["-X", "PUT", "-d", "x=1", "-d", "y=2"], "/"),
        (&["-d", &at], "/"),
        (&["--data-binary", &at, "-i"], "/"),
        (&["-G", "-d", "x=1"], "/q?a"),
        (&["-H", "X-Sent: yes", "-i"], "/"),
        (&["-u", "me:secret", "-i"], "/"),
        (&["-L", "-i"], "/moved"),
        (&["-L", "-d", "x=1"], "/moved"),
        (&["-L", "-s", "--max-redirs", "2"], "/loop"),
        (&["-f", "-s"], "/missing"),
        (
            &[
                "-o",
                "/dev/null",
                "-w",
                "%{http_code} %{num_redirects} %{url_effective} %{size_download} %{remote_port}\\n",
                "-L",
            ],
            "/moved",
        ),
        (&["-s", "-m", "0.3"], ":8081/"),
        (&["-s"], ":9/"),
        (&["-s"], ":nine/"),
    ] {
        let place = match path.strip_prefix(':') {
            Some(_) => format!("http://127.0.0.1{path}"),
            None => url(path),
        };
        let of = |program: &str| -> Vec<String> {
            let words = words.iter().map(|word| (*word).to_owned());
            [program.to_owned()]
                .into_iter()
                .chain(words)
                .chain([place.clone()])
                .collect()
        };
        let (ours, theirs) = (of("curl"), of("curl"));
        let ours = applet(
            &target,
            &ours.iter().map(String::as_str).collect::<Vec<_>>(),
        );
        let theirs = real(
            &target,
            &theirs.iter().map(String::as_str).collect::<Vec<_>>(),
        );
        assert_eq!(
            ours.status.code(),
            theirs.status.code(),
            "{words:?} {path}: {}",
            said(&ours)
        );
        assert_eq!(text(&ours), text(&theirs), "{words:?} {path}");
    }
}

#[test]
fn curl_says_with_its_code_what_went_wrong() {
    let target = Running::start(&mut idle());
    let code = |words: &[&str], expected: i32, says: &str| {
        let words: Vec<_> = ["curl"].iter().chain(words).copied().collect();
        let output = applet(&target, &words);
        assert_code(&output, expected);
        assert!(said(&output).contains(says), "{}", said(&output));
    };
    let url = |address: std::net::SocketAddr| format!("http://{address}/");
    code(
        &["http://name..invalid/"],
        6,
        "curl: (6) Could not resolve host: name..invalid",
    );
    code(
        &["http://127.0.0.1:9/"],
        7,
        "(7) Failed to connect to 127.0.0.1 port 9",
    );
    code(&["ftp://127.0.0.1/"], 1, "not supported");
    code(&["http://127.0.0.1:nine/"], 3, "URL rejected");
    code(&[&url(says(b""))], 52, "Empty reply from server");
    code(
        &[&url(says(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx"))],
        18,
        "outstanding",
    );
    code(
        &["-f", &url(says(b"HTTP/1.1 500 No\r\n\r\n"))],
        22,
        "error: 500",
    );
    code(
        &[
            "-k",
            &url(server(|mut stream| {
                read_head(&mut stream);
                std::thread::sleep(std::time::Duration::from_secs(20));
            })),
            "-m",
            "0.2",
        ],
        28,
        "timed out",
    );
    let closes = url(server(drop)).replace("http:", "https:");
    code(&["-k", &closes], 35, "");
    code(&["-s", "http://127.0.0.1:9/"], 7, "");
    let quiet = applet(&target, &["curl", "-s", "http://127.0.0.1:9/"]);
    assert_eq!(said(&quiet), "");
    code(
        &["--nosuch", "http://127.0.0.1:9/"],
        1,
        "does not know `--nosuch`",
    );
}

#[test]
fn ss_shows_what_ss_shows() {
    let folder = tempfile::tempdir().unwrap();
    let Some(target) = in_namespace(folder.path()) else {
        return;
    };
    if !has("ss") {
        return;
    }
    for flags in [
        "-tanp", "-tlnp", "-tnp", "-uanp", "-lun", "-tuanp", "-4tanH", "-6tlnp",
    ] {
        // Without cutting to the width of nobody's terminal.
        let theirs = real(&target, &["ss", flags]);
        let ours = applet(&target, &["ss", flags]);
        assert_code(&ours, 0);
        let titles = |line: &String| !line.contains("Address:Port");
        let ours: Vec<_> = lines(&ours).into_iter().filter(titles).collect();
        let theirs: Vec<_> = lines(&theirs).into_iter().filter(titles).collect();
        assert_eq!(ours, theirs, "{flags}");
        assert!(!ours.is_empty(), "{flags}");
    }
}

#[test]
fn ps_shows_what_ps_shows() {
    let folder = tempfile::tempdir().unwrap();
    let target = Running::in_folder(folder.path());
    let (pid, own) = (target.pid().to_string(), std::process::id().to_string());
    let both = format!("{pid},{own}");
    for columns in ["pid,ppid,uid,gid,comm", "pid=,args=", "pid,nlwp,cmd"] {
        let words = ["-o", columns, "-p", &both];
        let theirs = Command::new("ps").arg("-ww").args(words).output().unwrap();
        let ours = applet(&target, &[&["ps"], &words[..]].concat());
        assert_code(&ours, 0);
        let rows = |output: &Output| -> Vec<String> {
            let lines = lines(output).into_iter();
            lines
                .filter(|line| line.starts_with(|first: char| first.is_ascii_digit()))
                .collect()
        };
        // How many threads the test has changes as it runs.
        let only = |rows: Vec<String>| -> Vec<String> {
            let is_wanted = |row: &String| !columns.contains("nlwp") || row.starts_with(&pid);
            rows.into_iter().filter(is_wanted).collect()
        };
        assert_eq!(only(rows(&ours)), only(rows(&theirs)), "{columns}");
    }
    assert_code(&applet(&target, &["ps", "-p", "2147483647"]), 1);
    let all = text(&applet(&target, &["ps", "aux"]));
    assert!(
        all.lines().any(|line| line.trim_start().starts_with(&pid)),
        "{all}"
    );
}

#[test]
fn env_is_the_targets_and_with_a_command_the_ordinary_one() {
    let mut start = idle();
    let target = Running::start(start.env("ODD", "a\nb").env("B", ""));
    let block = fs::read(format!("/proc/{}/environ", target.pid())).unwrap();
    assert_eq!(applet(&target, &["env", "-0"]).stdout, block);
    let by_lines: Vec<u8> = block
        .iter()
        .map(|byte| if *byte == 0 { b'\n' } else { *byte })
        .collect();
    assert_eq!(applet(&target, &["env"]).stdout, by_lines);
    for words in [
        &["-i", "A=1", "/bin/sh", "-c", "echo $A$TARGET_PID; exit 7"][..],
        &["-u", "TARGET_PID", "/bin/sh", "-c", "echo $TARGET_PID."],
        &["-i", "A=1", "B=2"],
        &["/nosuch"],
    ] {
        let ours = applet(&target, &[&["env"], words].concat());
        let theirs = Command::new("env")
            .args(words)
            .env("TARGET_PID", target.pid().to_string())
            .output()
            .unwrap();
        assert_eq!(ours.status.code(), theirs.status.code(), "{words:?}");
        assert_eq!(text(&ours), text(&theirs), "{words:?}");
    }
}

#[test]
fn tree_draws_what_tree_draws() {
    let folder = tempfile::tempdir().unwrap();
    for file in ["a/b/c", "a/.hidden/d", "a/z", "e"] {
        let path = folder.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "x").unwrap();
    }
    std::os::unix::fs::symlink("z", folder.path().join("a/link")).unwrap();
    fs::create_dir(folder.path().join("empty")).unwrap();
    let target = Running::in_folder(folder.path());
    // `.` is where the shell stands, an absolute path is the target's, with or without `$TARGET_ROOT`.
    let through_root = format!("/proc/{}/root{}", target.pid(), folder.path().display());
    let of_target = applet_in(&target, Path::new(&through_root), &["tree", "a"]);
    let expected = "a\n\u{251c}\u{2500}\u{2500} b\n\u{2502}\u{a0}\u{a0} \u{2514}\u{2500}\u{2500} c\n\u{251c}\u{2500}\u{2500} link -> z\n\u{2514}\u{2500}\u{2500} z\n\n2 directories, 3 files\n";
    assert_eq!(text(&of_target), expected);
    let missing = applet_in(&target, folder.path(), &["tree", "nosuch"]);
    assert_code(&missing, 2);
    if !has("tree") {
        return;
    }
    for words in [
        &["."][..],
        &["-a", "."],
        &["-d", "a"],
        &["-L", "1"],
        &["-L", "2", "-a"],
        &["-I", "b|e", "."],
    ] {
        let ours = applet_in(&target, folder.path(), &[&["tree"], words].concat());
        let mut theirs = Command::new("tree");
        let theirs = theirs
            .args(words)
            .current_dir(folder.path())
            .env("LC_ALL", "C.UTF-8");
        assert_eq!(text(&ours), text(&theirs.output().unwrap()), "{words:?}");
    }
}

#[test]
fn a_target_that_is_gone_or_not_named_is_said() {
    let mut target = Running::start(&mut idle());
    target.kill();
    for name in ["env", "ps", "ss", "tree", "dig", "curl"] {
        let words = if name == "curl" {
            &[name, "http://127.0.0.1/"][..]
        } else {
            &[name][..]
        };
        let output = applet_in(&target, Path::new("/proc"), words);
        let is_here = name == "tree";
        assert!(
            is_here || said(&output).contains("there is no process"),
            "{name}: {}",
            said(&output)
        );
        assert!(is_here || output.status.code() == Some(1), "{name}");
    }
    let output = Command::new(AGENT)
        .arg("ss")
        .env_remove("TARGET_PID")
        .output()
        .unwrap();
    assert_code(&output, 2);
    assert!(said(&output).contains("TARGET_PID names no process"));
}

#[test]
fn in_an_attached_shell_the_applets_come_first_and_are_gone_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut start = idle();
    let target = Running::start(start.env("ONLY_THERE", "yes").current_dir(folder.path()));
    let attach = |words: &[&str]| {
        let name = target.target();
        kdbg([&["attach", &name, "--"], words].concat())
    };
    let env = attach(&["env"]);
    assert!(
        text(&env).lines().any(|line| line == "ONLY_THERE=yes"),
        "{}",
        said(&env)
    );
    // what the agent's does not know another one of that name does
    let forest = attach(&["ps", "--forest"]);
    assert_code(&forest, 0);
    assert!(
        said(&forest).contains("ps: the agent's own does not know `--forest`: `/"),
        "{}",
        said(&forest)
    );

    // an interactive shell prefers functions to its own ps and env
    let mut shell = command(["attach", &target.target(), "-t"]);
    let mut child = shell
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut keys = child.stdin.take().unwrap();
    keys.write_all(b"stty -echo; PS1=; echo begin; env | grep ONLY; ps -o comm= -p $TARGET_PID; echo ${PATH%%:*}; exit 5\n").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_code(&output, 5);
    let shown = text(&output).replace('\r', "");
    assert!(shown.contains("ONLY_THERE=yes\n"), "{shown}");
    let name = fs::read_to_string(format!("/proc/{}/comm", target.pid())).unwrap();
    assert!(shown.contains(&format!("\n{name}")), "{shown}");
    let links = shown
        .lines()
        .rev()
        .find(|line| line.contains("kdbg-applets"))
        .unwrap();
    let links = links.trim_start_matches(|letter| letter != '/');
    assert!(!Path::new(links).exists(), "{links}");
}

#[test]
fn the_folder_of_an_agent_that_was_killed_goes_with_the_next_one() {
    let target = Running::start(&mut idle());
    let note = tempfile::NamedTempFile::new().unwrap();
    let attach = |script: &str| {
        let target = target.target();
        let words = ["attach", &target, "--", "sh", "-c", script];
        let output = kdbg(words.into_iter().chain(note.path().to_str()));
        let folder = fs::read_to_string(note.path()).unwrap();
        (output, folder.trim_end().to_owned())
    };
    let (killed, left) = attach("echo ${PATH%%:*} >$0; kill -9 $PPID");
    assert_code(&killed, 5);
    assert!(Path::new(&left).join("curl").is_symlink(), "{left}");
    let (ended, own) = attach("echo ${PATH%%:*} >$0");
    assert_code(&ended, 0);
    assert_ne!(own, left);
    assert!(!Path::new(&left).exists() && !Path::new(&own).exists());
}
