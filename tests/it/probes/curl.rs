//! HTTP: the same answers as curl, each phase named, and servers that mean harm.

use std::{
    io::Write as _,
    net::SocketAddr,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use super::{has, read_head, report, says, server, silence, target, text};
use crate::support::running::{Running, assert_code, command, is_root, kdbg, python, said};

/// What curl prints for the same words.
pub(super) fn curl(words: &[&str]) -> Vec<u8> {
    let output = Command::new("curl").arg("-s").args(words).output().unwrap();
    output.stdout
}

pub(super) fn url(address: SocketAddr, path: &str) -> String {
    format!("http://{address}{path}")
}

/// Answers every request with what it was, as JSON would be too much: method, path, some fields, body.
fn echo() -> SocketAddr {
    server(|mut stream| {
        let head = read_head(&mut stream);
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("Content-Length: "))
            .map_or(0, |length| length.parse().unwrap());
        let mut body = vec![0; length];
        std::io::Read::read_exact(&mut stream, &mut body).unwrap();
        let mut lines: Vec<_> = head
            .lines()
            .filter(|line| !line.starts_with("User-Agent") && !line.starts_with("Connection"))
            .collect();
        lines[1..].sort_unstable();
        let mut said = lines.join("\n").into_bytes();
        said.extend_from_slice(&body);
        let head = format!(
            "HTTP/1.1 201 Made\r\nContent-Length: {}\r\n\r\n",
            said.len()
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(&said).unwrap();
    })
}

#[test]
fn requests_are_those_of_curl() {
    if !has("curl") {
        return;
    }
    let (target, echo) = (target(), echo());
    let name = target.target();
    let url = url(echo, "/a/b?c=d%20e");
    for words in [
        &[][..],
        &["-X", "DELETE"],
        &["-H", "X-A: b", "-H", "Accept:"],
        &["-d", "one=1", "-d", "two=2"],
        &["-H", "Content-Type: text/plain", "--data-binary", "line\n"],
    ] {
        let words: Vec<_> = words.iter().copied().chain([url.as_str()]).collect();
        let ours = kdbg(
            ["-q", "curl", &name]
                .into_iter()
                .chain(words.iter().copied()),
        );
        assert_code(&ours, 0);
        assert_eq!(
            text(&ours),
            String::from_utf8(curl(&words)).unwrap(),
            "{words:?}"
        );
    }
}

#[test]
fn bodies_of_every_framing_arrive_whole() {
    let target = target();
    for (bytes, body) in [
        (&b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcdef"[..], "abc"),
        (
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n",
            "abc",
        ),
        (b"HTTP/1.0 404 No\r\n\r\nuntil closed", "until closed"),
        (b"HTTP/1.1 204 None\r\n\r\n", ""),
    ] {
        let output = kdbg(["curl", &target.target(), &url(says(bytes), "/")]);
        assert_code(&output, 0);
        assert_eq!(text(&output), body);
    }
    let output = kdbg([
        "curl",
        "-f",
        &target.target(),
        &url(says(b"HTTP/1.0 404 No\r\n\r\nx"), "/"),
    ]);
    assert_code(&output, 1);
    assert_eq!(text(&output), "");
}

#[test]
fn the_phase_in_which_it_is_stuck_is_named() {
    let target = target();
    let name = target.target();
    let stuck = |address: SocketAddr, code: i32, expected: &str| {
        let output = kdbg(["curl", &name, &url(address, "/"), "--idle-timeout", "300ms"]);
        assert_code(&output, code);
        assert!(said(&output).contains(expected), "{}", said(&output));
    };
    stuck(
        server(silence),
        3,
        "sent and acknowledged by the kernel, no byte in 300 ms",
    );
    stuck(
        server(|mut stream| {
            read_head(&mut stream);
            stream
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc")
                .unwrap();
            silence(stream);
        }),
        3,
        "the head and 3 bytes of the body came in 300 ms",
    );
    stuck(
        says(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc"),
        5,
        "the head and 3 bytes of the body came, then the other side closed",
    );
    stuck(says(b"\x16\x03\x01 no http at all\r\n\r\n"), 5, "garbage");
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    stuck(address, 4, "refused after");
}

#[test]
fn a_redirection_is_followed_when_asked_for() {
    let target = target();
    let address = server(|mut stream| {
        let head = read_head(&mut stream);
        let answer: &[u8] = if head.starts_with("GET /end ") {
            b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nhere"
        } else {
            b"HTTP/1.1 302 Go\r\nLocation: /end\r\nContent-Length: 5\r\n\r\nthere"
        };
        stream.write_all(answer).unwrap();
    });
    let name = target.target();
    assert_eq!(text(&kdbg(["curl", &name, &url(address, "/")])), "there");
    let followed = kdbg([
        "curl",
        "-L",
        &name,
        &url(address, "/"),
        "-w",
        "\\n%{http_code}",
    ]);
    assert_eq!(text(&followed), "here\n200");
}

#[test]
fn a_port_alone_is_the_processs_own_listener() {
    let script = "
import http.server, sys
class H(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.send_header('Content-Length', '2'); self.end_headers(); self.wfile.write(b'ok')
    def log_message(self, *a): pass
s = http.server.HTTPServer(('127.0.0.1', 0), H)
print('ready', flush=True)
s.serve_forever()
";
    let target = Running::start(Command::new(python()).args(["-c", script]));
    let output = kdbg(["curl", &target.target(), "/healthz"]);
    assert_code(&output, 0);
    assert_eq!(text(&output), "ok");
}

/// A certificate authority and a server certificate for `localhost`, as files in a folder.
pub(super) fn certificates(folder: &Path) {
    let script = "
        openssl req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -days 30 -subj '/CN=Test CA' \
            -addext basicConstraints=critical,CA:true -addext keyUsage=keyCertSign
        openssl req -newkey rsa:2048 -nodes -keyout key.pem -out request.pem -subj '/CN=localhost'
        printf 'subjectAltName=DNS:localhost\\nbasicConstraints=CA:false\\n' > extensions
        openssl x509 -req -in request.pem -CA ca.pem -CAkey ca.key -CAcreateserial -days 5 -extfile extensions -out cert.pem
    ";
    let made = Command::new("sh")
        .args(["-ec", script])
        .current_dir(folder)
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", said(&made));
}

/// A process that serves `hello` over TLS, on the port that it writes to a file.
fn tls_server(folder: &Path) -> (Running, String) {
    let script = "
import http.server, ssl, sys
class H(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.send_header('Content-Length', '5'); self.end_headers(); self.wfile.write(b'hello')
    def log_message(self, *a): pass
s = http.server.HTTPServer(('127.0.0.1', 0), H)
c = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER); c.load_cert_chain('cert.pem', 'key.pem')
s.socket = c.wrap_socket(s.socket, server_side=True)
open('port', 'w').write(str(s.server_address[1]))
print('ready', flush=True)
s.serve_forever()
";
    let mut command = Command::new(python());
    command.args(["-c", script]).current_dir(folder);
    let running = Running::start(&mut command);
    let port = std::fs::read_to_string(folder.join("port")).unwrap();
    (running, port)
}

#[test]
fn trust_comes_from_the_targets_own_bundle_and_the_chain_is_shown() {
    if !has("openssl") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    certificates(folder.path());
    let (_server, port) = tls_server(folder.path());
    let url = format!("https://localhost:{port}/");
    let resolve = format!("localhost:{port}:127.0.0.1");
    let words = [url.as_str(), "--resolve", &resolve];
    let plain = target();
    let run = |target: &Running, more: &[&str]| {
        let name = target.target();
        let words = ["curl", &name]
            .into_iter()
            .chain(words)
            .chain(more.iter().copied());
        kdbg(words)
    };
    let refused = run(&plain, &[]);
    assert_code(&refused, 4);
    assert!(
        said(&refused).contains("UnknownIssuer"),
        "{}",
        said(&refused)
    );
    let insecure = run(&plain, &["-k"]);
    assert_code(&insecure, 0);
    assert_eq!(text(&insecure), "hello");
    let ca = folder.path().join("ca.pem");
    assert_eq!(
        text(&run(&plain, &["--cacert", ca.to_str().unwrap()])),
        "hello"
    );

    // The process's own environment names its bundle.
    let mut idle = crate::support::running::idle();
    let own = Running::start(idle.env("SSL_CERT_FILE", &ca));
    let trusted = run(&own, &["--json"]);
    let report: serde_json::Value = serde_json::from_slice(&trusted.stdout).unwrap();
    assert_eq!(report["tls"]["version"], "TLSv1.3");
    let by = report["tls"]["trusted_by"].as_str().unwrap();
    assert!(by.contains("ca.pem (1 certificates)"), "{by}");
    assert_eq!(report["tls"]["chain"][0]["subject"], "CN=localhost");
    // Its last day is the one that openssl reads.
    let ends = Command::new("openssl")
        .args(["x509", "-noout", "-enddate", "-dateopt", "iso_8601", "-in"])
        .arg(folder.path().join("cert.pem"))
        .output()
        .unwrap();
    let day = text(&ends)
        .trim()
        .replace("notAfter=", "")
        .replace(' ', "T");
    assert_eq!(report["tls"]["chain"][0]["not_after"], day);
    let warned = format!("warning: certificate `CN=localhost` of `CN=Test CA` expires on {day}");
    assert!(said(&insecure).contains(&warned), "{}", said(&insecure));

    // And so does the bundle below its own root, where it has another one than we.
    let bundle = "/etc/ssl/certs/ca-certificates.crt";
    if is_root("mount a file over the bundle") && Path::new(bundle).exists() {
        let script = "mount --bind \"$0\" \"$1\" && echo ready && exec cat";
        let mut command = Command::new("unshare");
        command
            .args(["-m", "sh", "-c", script])
            .arg(&ca)
            .arg(bundle);
        let other = Running::start(&mut command);
        let trusted = run(&other, &["--json"]);
        let report: serde_json::Value = serde_json::from_slice(&trusted.stdout).unwrap();
        let by = report["tls"]["trusted_by"].as_str().unwrap();
        assert!(by.contains(&format!("{bundle} (1 certificates)")), "{by}");
    }
    assert_eq!(report["body"], "hello");
    assert_eq!(report["response"]["status"], 200);
}

#[test]
fn hostile_servers_end_with_a_reason() {
    let target = target();
    let name = target.target();
    let endless_head = server(|mut stream| {
        read_head(&mut stream);
        stream.write_all(b"HTTP/1.1 200 OK\r\n").unwrap();
        while stream.write_all(b"X-More: and more\r\n").is_ok() {}
    });
    let output = kdbg(["curl", &name, &url(endless_head, "/")]);
    assert_code(&output, 5);
    let slow = server(|mut stream| {
        read_head(&mut stream);
        while stream.write_all(b"H").is_ok() {
            std::thread::sleep(Duration::from_millis(20));
        }
    });
    let output = kdbg(["curl", &name, &url(slow, "/"), "-m", "500ms"]);
    assert!(
        matches!(output.status.code(), Some(3 | 5)),
        "{}",
        said(&output)
    );
    for bytes in [
        &b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999999\r\n\r\n"[..],
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"HTTP/1.1 99999 OK\r\n\r\n",
        b"",
    ] {
        let output = kdbg(["curl", &name, &url(says(bytes), "/")]);
        assert_code(&output, 5);
    }
}

#[test]
fn flags_do_what_they_do_in_curl() {
    if !has("curl") {
        return;
    }
    let (target, echo) = (target(), echo());
    let name = target.target();
    let port = echo.port();
    let moved = server(move |mut stream| {
        let head = read_head(&mut stream);
        let answer = if head.contains(" /b") {
            "HTTP/1.1 200 OK\r\nContent-Type: text/x\r\nContent-Length: 4\r\n\r\nhere".to_owned()
        } else {
            "HTTP/1.1 301 Go\r\nLocation: /b?c\r\nX-A: 1\r\nContent-Length: 5\r\n\r\nthere"
                .to_owned()
        };
        stream.write_all(answer.as_bytes()).ok();
    });
    let at = |path: &str| url(moved, path);
    let resolve = format!("other.test:{port}:127.0.0.1");
    let resolved = format!("http://other.test:{port}/x");
    let connect_to = format!("else.test:80:127.0.0.1:{port}");
    let whatever = format!("::127.0.0.1:{port}");
    for words in [
        &["-i", &at("/")][..],
        &["-I", &at("/")],
        &[
            "-L",
            &at("/"),
            "-w",
            "\n%{http_code} %{num_redirects} %{url_effective} %{content_type} %{method}",
        ],
        &[
            &at("/"),
            "-w",
            "%{redirect_url} %{size_download} %{num_headers} %{http_version} %{scheme} %header{X-a}%{remote_ip}:%{remote_port} %%\\t",
        ],
        &[
            "-d",
            "abc",
            &url(echo, "/"),
            "-w",
            " %{size_upload} %{ssl_verify_result} %{response_code}",
        ],
        &["--resolve", &resolve, &resolved],
        &["--connect-to", &connect_to, "http://else.test/x"],
        &["--connect-to", &whatever, "http://nowhere.test:81/x"],
        &["-f", &at("/b"), "-m", "5.5"],
        &["-L", "-d", "a=b", &at("/")],
        &[
            "-X",
            "PUT",
            "--data-binary",
            "a",
            "-d",
            "b",
            &url(echo, "/"),
        ],
    ] {
        let ours = kdbg(
            ["-q", "curl", &name]
                .into_iter()
                .chain(words.iter().copied()),
        );
        let theirs = curl(words);
        assert_eq!(
            text(&ours),
            String::from_utf8_lossy(&theirs),
            "{words:?}: {}",
            said(&ours)
        );
        assert_code(&ours, 0);
    }
    // The body from standard input, and from a file.
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("body");
    std::fs::write(&file, "one\ntwo\n").unwrap();
    for flag in ["-d", "--data-binary"] {
        let from_file = format!("@{}", file.display());
        let theirs = curl(&[flag, &from_file, &url(echo, "/")]);
        for source in [from_file.as_str(), "@-"] {
            let words = ["-q", "curl", &name, flag, source, &url(echo, "/")];
            let output = command(words)
                .stdin(std::fs::File::open(&file).unwrap())
                .output()
                .unwrap();
            assert_eq!(
                text(&output),
                String::from_utf8_lossy(&theirs),
                "{flag} {source}"
            );
        }
    }
    // What takes too long ends, here with 3 where curl has 28.
    let slow = kdbg(["curl", &name, &url(server(silence), "/"), "-m", "0.3"]);
    assert_code(&slow, 3);
}

#[test]
fn endless_heads_and_small_chunks_leave_the_agent_small() {
    type Way = fn(&mut std::net::TcpStream);
    let target = target();
    let ways: [(&str, Way); 3] = [
        ("a field without an end", |stream| {
            stream.write_all(b"HTTP/1.1 200 OK\r\nX: ").ok();
            while stream.write_all(&[b'x'; 4096]).is_ok() {}
        }),
        ("heads before the final one", |stream| {
            while stream.write_all(b"HTTP/1.1 102 Wait\r\n\r\n").is_ok() {}
        }),
        ("chunks of one byte", |stream| {
            stream
                .write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
                .ok();
            while stream.write_all(&b"1\r\nx\r\n".repeat(1000)).is_ok() {}
        }),
    ];
    for (what, way) in ways {
        let address = server(move |mut stream| {
            read_head(&mut stream);
            way(&mut stream);
        });
        let mut child = command(["curl", &target.target(), &url(address, "/"), "-m", "1s"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(500));
        let peak = super::http2::agent_peak_if_running(child.id());
        let code = child.wait().unwrap().code();
        assert!(matches!(code, Some(3 | 5)), "{what}: {code:?}");
        assert!(peak < 32 * 1024, "{what}: {peak} KiB");
    }
}

#[test]
fn a_long_body_flows_and_the_agent_stays_small() {
    let target = target();
    let address = server(|mut stream| {
        read_head(&mut stream);
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 200000000\r\n\r\n")
            .unwrap();
        let part = vec![b'x'; 50_000];
        for _ in 0..4000 {
            if stream.write_all(&part).is_err() {
                return;
            }
        }
    });
    let mut child = command(["-q", "curl", &target.target(), &url(address, "/")])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdout = child.stdout.take().unwrap();
    // It reads only once the agent has run into the end of its credit.
    std::thread::sleep(Duration::from_millis(500));
    let peak = agent_peak(child.id());
    let length = std::io::copy(&mut stdout, &mut std::io::sink()).unwrap();
    assert!(child.wait().unwrap().success());
    assert_eq!(length, 200_000_000);
    assert!(peak < 32 * 1024, "{peak} KiB");
}

/// The most memory that the agent of a run has had, in KiB.
pub(super) fn agent_peak(kdbg: u32) -> u64 {
    let tasks = std::fs::read_dir(format!("/proc/{kdbg}/task")).unwrap();
    let agent: u32 = tasks
        .filter_map(|task| std::fs::read_to_string(task.unwrap().path().join("children")).ok())
        .find_map(|text| text.split_whitespace().next()?.parse().ok())
        .unwrap();
    let status = std::fs::read_to_string(format!("/proc/{agent}/status")).unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM"))
        .unwrap();
    eprintln!("agent {line}");
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn a_refused_body_is_not_left_at_its_destination() {
    let target = target();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("body");
    let file = file.to_str().unwrap();
    let cut = says(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc");
    assert_code(
        &kdbg(["curl", &target.target(), &url(cut, "/"), "-o", file]),
        5,
    );
    assert!(crate::support::running::names(folder.path()).is_empty());
    let whole = says(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc");
    assert_code(
        &kdbg(["curl", &target.target(), &url(whole, "/"), "-o", file]),
        0,
    );
    assert_eq!(std::fs::read(file).unwrap(), b"abc");
    let shown = report("curl", &target, &[&url(echo(), "/")], &["--json"]);
    assert_eq!(shown["end"]["whole"], true);
}
