//! HTTP/2: the same answers as curl from node's servers, the stuck phase named, and servers that mean harm.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use super::{
    curl::{agent_peak, certificates, curl, url},
    has, server, target, text,
};
use crate::support::running::{Running, assert_code, command, kdbg, said};

/// Node's own HTTP/2, in clear, over TLS, and beside HTTP/1.1, on ports that it writes to files.
const NODE: &str = r"
const http2 = require('http2'), fs = require('fs');
const health = (stream, state) => {
  stream.respond({':status': 200, 'content-type': 'application/grpc'}, {waitForTrailers: true});
  stream.once('wantTrailers', () => stream.sendTrailers({'grpc-status': '0'}));
  stream.end(Buffer.from([0, 0, 0, 0, 2, 8, state]));
};
const paths = {
  '/echo': (stream, head) => {
    const parts = [];
    stream.on('data', part => parts.push(part));
    stream.on('end', () => {
      stream.respond({':status': 201, 'x-a': 'b'});
      stream.end([head[':method'], head[':authority'], head['x-x'], head['content-type'], Buffer.concat(parts)].join('\n'));
    });
  },
  '/big': stream => { stream.respond({':status': 200}); stream.end(Buffer.alloc(20000000, 'x')); },
  '/refused': stream => stream.close(http2.constants.NGHTTP2_REFUSED_STREAM),
  '/silent': () => {},
  '/half': stream => { stream.respond({':status': 200}); stream.write('abc'); },
  '/moved': stream => { stream.respond({':status': 302, 'location': '/echo'}); stream.end(); },
  '/interim': stream => { stream.additionalHeaders({':status': 103, 'link': 'x'}); stream.respond({':status': 200}); stream.end('ok'); },
  '/digest': stream => {
    const digest = require('crypto').createHash('sha256');
    let length = 0;
    stream.on('data', part => { digest.update(part); length += part.length; });
    stream.on('end', () => { stream.respond({':status': 200}); stream.end(length + ' ' + digest.digest('hex')); });
  },
  '/much': stream => { stream.respond({':status': 413}); stream.end('too much'); },
  '/empty': stream => { stream.respond({':status': 204}, {endStream: true}); },
  '/grpc.health.v1.Health/Check': (stream, head) => {
    const parts = [];
    stream.on('data', part => parts.push(part));
    stream.on('end', () => {
      const name = Buffer.concat(parts).subarray(7).toString();
      if (head['content-type'] !== 'application/grpc' || head.te !== 'trailers') return stream.close(1);
      if (name === 'gone') {
        stream.respond({':status': 200, 'content-type': 'application/grpc', 'grpc-status': '5', 'grpc-message': 'unknown%20service'}, {endStream: true});
      } else health(stream, name === 'ill' ? 2 : 1);
    });
  },
};
const serve = server => {
  server.on('sessionError', () => {});
  server.on('stream', (stream, head) => {
    stream.on('error', () => {});
    const answer = paths[head[':path']];
    if (answer) return answer(stream, head);
    stream.respond({':status': 404}); stream.end('no');
  });
};
const pair = {key: fs.readFileSync('key.pem'), cert: fs.readFileSync('cert.pem')};
const plain = http2.createServer(), secure = http2.createSecureServer(pair), either = http2.createSecureServer(
  {...pair, allowHTTP1: true}, (request, response) => response.end(request.httpVersion));
serve(plain); serve(secure);
const all = Object.entries({plain, secure, either});
let left = all.length;
for (const [name, server] of all) server.listen(0, '127.0.0.1', () => {
  fs.writeFileSync(name, String(server.address().port));
  if (--left === 0) console.log('ready');
});
";

struct Node {
    running: Running,
    folder: tempfile::TempDir,
}

impl Node {
    /// `None` where node or openssl is not installed.
    fn start() -> Option<Self> {
        if !has("node") || !has("openssl") {
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        certificates(folder.path());
        let mut command = Command::new("node");
        command.args(["-e", NODE]).current_dir(folder.path());
        let running = Running::start(&mut command);
        Some(Self { running, folder })
    }

    fn port(&self, name: &str) -> String {
        std::fs::read_to_string(self.folder.path().join(name)).unwrap()
    }

    fn plain(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port("plain"))
    }

    fn secure(&self, path: &str) -> String {
        format!("https://localhost:{}{path}", self.port("secure"))
    }

    /// The one that speaks HTTP/1.1 too.
    fn either(&self) -> String {
        format!("https://localhost:{}/", self.port("either"))
    }

    fn authority(&self) -> String {
        let path: &Path = self.folder.path();
        path.join("ca.pem").to_str().unwrap().to_owned()
    }

    /// Asks from the server itself.
    fn ask(&self, words: &[&str]) -> std::process::Output {
        let target = self.running.target();
        kdbg(
            ["-q", "curl", &target]
                .into_iter()
                .chain(words.iter().copied()),
        )
    }
}

#[test]
fn the_answers_over_http2_are_those_of_curl() {
    let Some(node) = Node::start() else { return };
    let authority = node.authority();
    let (plain, secure) = (node.plain("/echo"), node.secure("/echo"));
    for words in [
        &[secure.as_str(), "--cacert", &authority][..],
        &[
            &secure, "--cacert", &authority, "--http2", "-X", "PUT", "-H", "X-X: y",
        ],
        &[&node.either(), "--cacert", &authority, "--http1.1"],
        &[&node.either(), "--cacert", &authority],
        &[&secure, "-k", "-d", "a=b"],
        &[
            &plain,
            "--http2-prior-knowledge",
            "--data-binary",
            "one\ntwo",
        ],
        &[
            &plain,
            "--http2-prior-knowledge",
            "-H",
            "Host: other.example",
        ],
        &[
            &node.plain("/empty"),
            "--http2-prior-knowledge",
            "-w",
            "%{http_code} %{http_version}",
        ],
        &[&node.plain("/echo"), "--http2-prior-knowledge", "-I"],
        &[
            &node.secure("/moved"),
            "-k",
            "-L",
            "-w",
            " %{num_redirects} %{url_effective}",
        ],
        &[
            &node.plain("/moved"),
            "--http2-prior-knowledge",
            "-w",
            "%{redirect_url} %{size_download}",
        ],
        &[
            &node.plain("/no"),
            "--http2-prior-knowledge",
            "-w",
            " %{http_code} %header{x-none}.",
        ],
    ] {
        let ours = node.ask(words);
        assert_code(&ours, 0);
        let without_date = |text: String| {
            let lines: Vec<_> = text
                .lines()
                .filter(|line| !line.starts_with("date:"))
                .collect();
            lines.join("\n")
        };
        let theirs = String::from_utf8(curl(words)).unwrap();
        assert_eq!(without_date(text(&ours)), without_date(theirs), "{words:?}");
    }
    // Without TLS `--http2` is prior knowledge here.
    assert!(text(&node.ask(&[&plain, "--http2"])).starts_with("GET\n127.0.0.1:"));
    assert_eq!(
        node.ask(&[&node.plain("/big"), "--http2"]).stdout.len(),
        20_000_000
    );
}

#[test]
fn a_long_body_is_sent_as_the_server_gives_room_for_it() {
    let Some(node) = Node::start() else { return };
    let file = node.folder.path().join("body");
    // More than the 65,535 bytes for which a server has room before it says more.
    std::fs::write(&file, vec![b'x'; 190_000]).unwrap();
    let body = format!("@{}", file.display());
    let sent = node.ask(&[&node.plain("/echo"), "--http2", "--data-binary", &body]);
    assert_code(&sent, 0);
    assert!(text(&sent).ends_with(&"x".repeat(190_000)));
}

#[test]
fn a_body_of_any_length_is_streamed_over_http2_as_curl_does() {
    let Some(node) = Node::start() else { return };
    let file = node.folder.path().join("long");
    let mut content = vec![0; 20_000_000];
    for (place, byte) in content.iter_mut().enumerate() {
        *byte = u8::try_from(place / 7 % 251).unwrap();
    }
    std::fs::write(&file, &content).unwrap();
    let body = format!("@{}", file.display());
    let (plain, secure) = (node.plain("/digest"), node.secure("/digest"));
    let theirs = curl(&["--http2-prior-knowledge", "--data-binary", &body, &plain]);
    let theirs = String::from_utf8(theirs).unwrap();
    assert!(theirs.starts_with("20000000 "), "{theirs}");
    for url in [&plain, &secure] {
        let sent = node.ask(&[url, "-k", "--http2", "--data-binary", &body]);
        assert_code(&sent, 0);
        assert_eq!(text(&sent), theirs, "{url}");
        let target = node.running.target();
        let words = [
            "-q",
            "curl",
            &target,
            url,
            "-k",
            "--http2",
            "--data-binary",
            "@-",
        ];
        let stdin = std::fs::File::open(&file).unwrap();
        let sent = command(words).stdin(stdin).output().unwrap();
        assert_code(&sent, 0);
        assert_eq!(text(&sent), theirs, "{url}, from standard input");
    }
    // An answer that comes first ends it.
    let sent = node.ask(&[&node.plain("/much"), "--http2", "--data-binary", &body]);
    assert_code(&sent, 0);
    assert_eq!(text(&sent), "too much");
}

#[test]
fn the_phase_in_which_http2_is_stuck_is_named() {
    let Some(node) = Node::start() else { return };
    let target = node.running.target();
    let stuck = |url: &str, code: i32, expected: &str| {
        let words = ["curl", &target, url, "--http2", "--idle-timeout", "400ms"];
        let output = kdbg(words);
        assert_code(&output, code);
        assert!(said(&output).contains(expected), "{}", said(&output));
    };
    stuck(
        &node.plain("/silent"),
        3,
        "acknowledged by the kernel, the server's settings and no head in 400 ms",
    );
    stuck(
        &node.plain("/half"),
        3,
        "the head and 3 bytes of the body came in 400 ms",
    );
    stuck(
        &node.plain("/refused"),
        5,
        "the server ended the request (RST_STREAM): refused, not processed",
    );
    stuck(
        &url(server(super::silence), "/"),
        3,
        "acknowledged by the kernel, not even the server's settings: it may not speak HTTP/2 here in 400 ms",
    );
    let one = super::says(b"HTTP/1.1 400 Bad Request\r\n\r\n");
    stuck(
        &url(one, "/"),
        5,
        "no HTTP/2, but what begins with `HTTP/1.1 400 Bad Request`",
    );
    // The other way round.
    let one = kdbg(["curl", &target, &node.plain("/")]);
    assert_code(&one, 5);
    assert!(said(&one).contains("`--http2`"), "{}", said(&one));
}

#[test]
fn a_server_that_gives_no_room_for_the_body_is_told_from_one_that_does_not_answer() {
    let target = target();
    let address = server(|mut stream| {
        greet(&mut stream);
        // It reads all that comes, and never says that there is room for more.
        std::io::copy(&mut stream, &mut std::io::sink()).ok();
    });
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("body");
    std::fs::write(&file, vec![b'x'; 190_000]).unwrap();
    let body = format!("@{}", file.display());
    let (name, url) = (target.target(), url(address, "/"));
    let words = [
        "curl",
        &name,
        &url,
        "--http2",
        "--data-binary",
        &body,
        "--idle-timeout",
        "400ms",
    ];
    let output = kdbg(words);
    assert_code(&output, 3);
    let expected =
        "room for 65535 of 190000 bytes of the request's body: it does not read the rest in 400 ms";
    assert!(said(&output).contains(expected), "{}", said(&output));
    let words = [
        "curl",
        &name,
        &url,
        "--http2",
        "-d",
        "x",
        "--idle-timeout",
        "400ms",
    ];
    let output = kdbg(words);
    assert!(
        said(&output).contains("settings and no head in 400 ms"),
        "{}",
        said(&output)
    );
}

#[test]
fn the_connection_that_a_server_gives_up_is_told_with_its_reason() {
    let target = target();
    let address = server(|mut stream| {
        greet(&mut stream);
        // GOAWAY: no stream was processed, enhance your calm.
        stream
            .write_all(&frame(7, 0, 0, &[0, 0, 0, 0, 0, 0, 0, 11]))
            .ok();
        std::thread::sleep(Duration::from_millis(200));
    });
    let output = kdbg(["curl", &target.target(), &url(address, "/"), "--http2"]);
    assert_code(&output, 5);
    let expected = "the server ended the connection (GOAWAY): enhance your calm";
    assert!(said(&output).contains(expected), "{}", said(&output));
}

#[test]
fn the_health_of_a_grpc_server_is_told() {
    let Some(node) = Node::start() else { return };
    for (service, code, expected) in [
        ("--grpc-health", 0, "SERVING\n"),
        ("--grpc-health=ill", 1, "NOT_SERVING\n"),
        (
            "--grpc-health=gone",
            1,
            "NOT_FOUND: unknown service (the server does not know this service)\n",
        ),
    ] {
        for url in [node.plain(""), node.secure("")] {
            let output = node.ask(&[&url, "-k", service]);
            assert_code(&output, code);
            assert_eq!(text(&output), expected);
        }
    }
    // As JSON, and from two places.
    for (service, state, code) in [
        ("--grpc-health", "SERVING", 0),
        ("--grpc-health=ill", "NOT_SERVING", 1),
        ("--grpc-health=gone", "NOT_FOUND", 1),
    ] {
        let output = node.ask(&[&node.plain(""), service, "--json"]);
        assert_code(&output, code);
        let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(told["health"]["state"], state);
        assert_eq!(told["health"]["serving"], code == 0);
        let from = node.ask(&[&node.plain(""), service, "--from", "here"]);
        assert_code(&from, code);
        let shown = text(&from);
        assert!(
            shown.contains("health") && shown.contains(state) && shown.contains("no phase differs"),
            "{shown}"
        );
        let both = node.ask(&[&node.plain(""), service, "--from", "here", "--json"]);
        let told: serde_json::Value = serde_json::from_slice(&both.stdout).unwrap();
        for probe in told["probes"].as_array().unwrap() {
            assert_eq!(probe["health"]["state"], state, "{told:#}");
        }
    }
    // What speaks HTTP/2 and is no gRPC server.
    let target = target();
    let plain = server(|mut stream| {
        greet(&mut stream);
        // HEADERS: status 200 of the static table, and the end of the stream.
        stream.write_all(&frame(1, 5, 1, &[0x88])).ok();
        super::silence(stream);
    });
    let output = kdbg(["curl", &target.target(), &url(plain, "/"), "--grpc-health"]);
    assert_code(&output, 1);
    assert!(
        text(&output).contains("no gRPC server"),
        "{}",
        text(&output)
    );
}

/// A frame: type, flags, stream, payload.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = length[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// Says what a server says first, and reads the request's first bytes.
fn greet(stream: &mut TcpStream) {
    stream.read_exact(&mut [0; 24]).unwrap();
    stream.write_all(&frame(4, 0, 0, &[])).unwrap();
    // The request itself comes a moment later; what follows must not be for a stream that is not there yet.
    let mut buffer = [0; 4096];
    let mut seen = 0;
    while seen < 60 {
        match stream.read(&mut buffer) {
            Ok(count) if count > 0 => seen += count,
            _ => return,
        }
    }
    std::thread::sleep(Duration::from_millis(50));
    stream.set_nonblocking(false).unwrap();
}

/// Sends the same again and again, and takes what comes back.
fn flood(mut stream: TcpStream, bytes: &[u8]) {
    greet(&mut stream);
    let mut back = stream.try_clone().unwrap();
    std::thread::spawn(move || std::io::copy(&mut back, &mut std::io::sink()));
    while stream.write_all(bytes).is_ok() {}
}

/// Runs kdbg against a server; it must end in time, with a reason, and with little memory.
fn survives(address: SocketAddr, what: &str, codes: &[i32]) {
    let target = target();
    let url = url(address, "/");
    let words = [
        "curl",
        &target.target(),
        &url,
        "--http2",
        "-m",
        "2s",
        "--idle-timeout",
        "1s",
    ];
    let started = Instant::now();
    let mut child = command(words)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    std::thread::sleep(Duration::from_millis(600));
    let peak = agent_peak_if_running(child.id());
    let mut complaint = String::new();
    child
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut complaint)
        .unwrap();
    let code = child.wait().unwrap().code().unwrap();
    assert!(codes.contains(&code), "{what}: {code}: {complaint}");
    assert!(complaint.contains("warning:"), "{what}: {complaint}");
    assert!(peak < 32 * 1024, "{what}: {peak} KiB");
    assert!(started.elapsed() < Duration::from_secs(20), "{what}");
}

/// 0 when it has ended already.
pub(super) fn agent_peak_if_running(kdbg: u32) -> u64 {
    let is_running = std::fs::read_dir(format!("/proc/{kdbg}/task"))
        .into_iter()
        .flatten()
        .filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("children")).ok())
        .any(|text| !text.trim().is_empty());
    if is_running { agent_peak(kdbg) } else { 0 }
}

#[test]
fn floods_of_frames_end_with_a_reason_and_leave_the_agent_small() {
    let ping = frame(6, 0, 0, &[7; 8]);
    survives(server(move |stream| flood(stream, &ping)), "pings", &[3, 5]);
    let settings = frame(4, 0, 0, &[0, 4, 0, 1, 0, 0]);
    survives(
        server(move |stream| flood(stream, &settings)),
        "settings",
        &[3, 5],
    );
    let window = frame(8, 0, 0, &[0, 0, 0, 1]);
    survives(
        server(move |stream| flood(stream, &window)),
        "windows",
        &[3, 5],
    );
    survives(
        server(|mut stream| {
            greet(&mut stream);
            // Half a head, and then its continuation without an end.
            stream.write_all(&frame(1, 0, 1, &[0x88])).ok();
            let more = frame(9, 0, 1, &[&b"\x00\x01a\x7f\x00"[..], &[b'b'; 127]].concat());
            while stream.write_all(&more).is_ok() {}
        }),
        "continuations",
        &[3, 5],
    );
    survives(
        server(|mut stream| {
            greet(&mut stream);
            // One long field in the table, and then thousands of references to it.
            let mut block = vec![0x88, 0x40, 1, b'a', 0x7f, 0x81, 0x1e];
            block.extend([b'b'; 4000]);
            block.extend([0xbe; 12_000]);
            stream.write_all(&frame(1, 5, 1, &block)).ok();
            super::silence(stream);
        }),
        "a bomb of references",
        &[3, 5],
    );
    survives(
        server(|mut stream| {
            greet(&mut stream);
            stream.write_all(&frame(1, 4, 1, &[0x88])).ok();
            let nothing = frame(0, 0, 1, &[]);
            while stream.write_all(&nothing).is_ok() {}
        }),
        "empty data",
        &[3, 5],
    );
    survives(
        server(|mut stream| {
            greet(&mut stream);
            stream.write_all(&frame(1, 4, 1, &[0x88])).ok();
            // It does not heed the window.
            let data = frame(0, 0, 1, &[0; 16_384]);
            for _ in 0..1000 {
                stream.write_all(&data).ok();
            }
            super::silence(stream);
        }),
        "data beyond the window",
        &[3, 5],
    );
}

#[test]
fn frames_that_should_not_be_end_with_a_reason() {
    for (what, bytes) in [
        (
            "a length beyond the limit",
            vec![0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 1],
        ),
        ("data without a head", frame(0, 0, 1, b"abc")),
        ("a promise", frame(5, 4, 1, &[0, 0, 0, 2, 0x88])),
        ("a stream that is not there", frame(1, 5, 7, &[0x88])),
        ("a head that is no HPACK", frame(1, 5, 1, &[0xff; 40])),
        (
            "a status that is none",
            frame(1, 5, 1, &[8, 3, b'x', b'y', b'z']),
        ),
        ("no status", frame(1, 5, 1, &[0, 1, b'a', 1, b'b'])),
        (
            "a window of too much",
            frame(8, 0, 0, &[0x7f, 0xff, 0xff, 0xff]),
        ),
        ("settings of a wrong length", frame(4, 0, 0, &[1, 2, 3])),
    ] {
        let bytes = bytes.clone();
        let address = server(move |mut stream| {
            greet(&mut stream);
            stream.write_all(&bytes).ok();
            super::silence(stream);
        });
        survives(address, what, &[3, 5]);
    }
}
