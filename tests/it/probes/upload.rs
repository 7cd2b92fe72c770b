//! Long bodies of requests: whole on the other side, whatever their length, and told exactly where the server does not take
//! all of them.

use std::{
    io::{Read, Write as _},
    net::{SocketAddr, TcpStream},
    path::Path,
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use super::{
    curl, has, http2::agent_peak_if_running, read_head, report, server, silence, target, text,
};
use crate::support::running::{Running, assert_code, command, kdbg, said};

/// As long as nothing that is kept in memory could be.
const LONG: u64 = 500_000_000;

/// Longer than all that waits on the way.
const SHORTER: u64 = 50_000_000;

/// A file with a number every so often, so that nothing can be lost, doubled or exchanged; the rest of it takes no room.
fn numbered(path: &Path, length: u64) {
    use std::os::unix::fs::FileExt as _;
    let file = std::fs::File::create(path).unwrap();
    file.set_len(length).unwrap();
    for place in (0..length - 8).step_by(1_000_003) {
        file.write_all_at(&place.to_le_bytes(), place).unwrap();
    }
}

/// Reads a body that is told by its length, or that comes in chunks; answers its length and digest.
fn digest(stream: &mut TcpStream, head: &str) -> (u64, String) {
    let field = |name: &str| {
        let mut lines = head.lines();
        lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    };
    let mut stream = std::io::BufReader::with_capacity(256 * 1024, stream);
    let mut hasher = blake3::Hasher::new();
    let mut add = |from: &mut dyn Read| std::io::copy(from, &mut hasher).unwrap();
    let length = if field("Transfer-Encoding") == Some("chunked") {
        let mut length = 0;
        loop {
            let mut line = String::new();
            std::io::BufRead::read_line(&mut stream, &mut line).unwrap();
            let size = u64::from_str_radix(line.trim(), 16).unwrap();
            let came = add(&mut (&mut stream).take(size));
            assert_eq!(came, size);
            length += came;
            let mut end = [0; 2];
            stream.read_exact(&mut end).unwrap();
            assert_eq!(&end, b"\r\n");
            if size == 0 {
                break length;
            }
        }
    } else {
        let length: u64 = field("Content-Length").unwrap().parse().unwrap();
        add(&mut (&mut stream).take(length))
    };
    (length, hasher.finalize().to_hex().to_string())
}

/// Reads a request whole, with a word in between for whoever asks first; answers its body's length and digest.
fn take(stream: &mut TcpStream) -> (u64, String) {
    let head = read_head(stream);
    if head.contains("Expect: 100-continue") {
        stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").unwrap();
    }
    digest(stream, &head)
}

/// Says how a body came, its length and its digest.
fn digester() -> SocketAddr {
    server(|mut stream| {
        let (length, digest) = take(&mut stream);
        let said = format!("{length} {digest}");
        let answer = format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{said}",
            said.len()
        );
        stream.write_all(answer.as_bytes()).unwrap();
    })
}

/// Sends a body, from the file or from standard input, and watches the agent's memory meanwhile.
fn sent(target: &Running, url: &str, flags: &[&str], stdin: Stdio) -> (String, u64) {
    let name = target.target();
    let words = ["-q", "curl", &name, url];
    let mut child = command(words.iter().chain(flags))
        .stdin(stdin)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut peak = 0;
    while child.try_wait().unwrap().is_none() {
        peak = peak.max(agent_peak_if_running(child.id()));
        std::thread::sleep(Duration::from_millis(50));
    }
    let output = child.wait_with_output().unwrap();
    assert_code(&output, 0);
    (text(&output), peak)
}

#[test]
fn a_body_of_500_mb_arrives_as_curl_sends_it_and_the_agent_stays_small() {
    if !has("curl") {
        return;
    }
    let (target, address) = (target(), digester());
    let (_folder, from_file) = long_file(LONG);
    let file = named(&from_file);
    let url = curl::url(address, "/");
    let theirs = curl::curl(&["-X", "POST", "-T", file, &url]);
    let theirs = String::from_utf8(theirs).unwrap();
    assert!(theirs.starts_with("500000000 "), "{theirs}");
    let arrives = |body: &str, stdin: Stdio| {
        let (ours, peak) = sent(&target, &url, &["--data-binary", body], stdin);
        assert_eq!(ours, theirs);
        assert!((1..32 * 1024).contains(&peak), "{peak} KiB");
        eprintln!("the agent has taken {peak} KiB");
    };
    arrives(&from_file, Stdio::null());
    // What has no length comes in chunks.
    arrives("@-", std::fs::File::open(file).unwrap().into());
}

#[test]
fn a_long_file_with_d_loses_its_line_ends_as_with_curl() {
    if !has("curl") {
        return;
    }
    let (target, address) = (target(), digester());
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("body");
    std::fs::write(&file, b"a line\r\nand another\n".repeat(100_000)).unwrap();
    let (url, from_file) = (curl::url(address, "/"), format!("@{}", file.display()));
    let theirs = String::from_utf8(curl::curl(&["-d", &from_file, "-d", "x", &url])).unwrap();
    let (ours, _) = sent(&target, &url, &["-d", &from_file, "-d", "x"], Stdio::null());
    assert_eq!(ours, theirs);
    let stdin = std::fs::File::open(&file).unwrap();
    let (ours, _) = sent(&target, &url, &["-d", "@-", "-d", "x"], stdin.into());
    assert_eq!(ours, theirs);
}

/// A long file, and its name as curl takes it.
fn long_file(length: u64) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("body");
    numbered(&file, length);
    let name = format!("@{}", file.display());
    (folder, name)
}

/// The path in a name as curl takes it.
fn named(body: &str) -> &str {
    body.strip_prefix('@').unwrap()
}

#[test]
fn a_server_that_is_asked_first_and_says_no_gets_nothing() {
    let (target, (_folder, body)) = (target(), long_file(SHORTER));
    let heard = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&heard);
    let address = server(move |mut stream| {
        let head = read_head(&mut stream);
        assert!(head.contains("Expect: 100-continue"), "{head}");
        stream
            .write_all(
                b"HTTP/1.1 413 Too Large\r\nContent-Length: 4\r\nConnection: close\r\n\r\nlong",
            )
            .unwrap();
        let more = std::io::copy(&mut stream, &mut std::io::sink()).unwrap();
        counter.store(more + 1, Ordering::Release);
    });
    let url = curl::url(address, "/");
    let words = [url.as_str(), "--data-binary", &body];
    let told = report("curl", &target, &words, &["--json"]);
    assert_eq!(told["response"]["status"], 413);
    assert_eq!(told["end"]["uploaded"], 0);
    assert_eq!(told["end"]["upload_whole"], false);
    assert_eq!(told["body"], "long");
    crate::support::running::wait_until("the connection ends", || {
        heard.load(Ordering::Acquire) > 0
    });
    assert_eq!(
        heard.load(Ordering::Acquire),
        1,
        "nothing of the body was sent"
    );
    let output = kdbg(["curl", &target.target(), &url, "--data-binary", &body]);
    assert_code(&output, 0);
    assert!(
        said(&output).contains("the server answered when 0 of 50000000 bytes of the body had been sent, and got no more, "),
        "{}",
        said(&output)
    );
}

/// Refuses to be asked for leave, and counts how often it was and how many bodies came without.
fn refuses_to_be_asked() -> (SocketAddr, Arc<(AtomicU64, AtomicU64)>) {
    let counts: Arc<(AtomicU64, AtomicU64)> = Arc::default();
    let counters = Arc::clone(&counts);
    // curl goes on on the same connection, and only where the server has not said that it closes.
    let address = server(move |mut stream| {
        loop {
            let head = read_head(&mut stream);
            if head.is_empty() {
                return;
            }
            let (status, said) = if head.contains("Expect: 100-continue") {
                counters.0.fetch_add(1, Ordering::Relaxed);
                ("417 Expectation Failed", "do not ask".to_owned())
            } else {
                counters.1.fetch_add(1, Ordering::Relaxed);
                let (length, digest) = digest(&mut stream, &head);
                ("200 OK", format!("{length} {digest}"))
            };
            let length = said.len();
            let answer = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n{said}");
            if stream.write_all(answer.as_bytes()).is_err() {
                return;
            }
        }
    });
    (address, counts)
}

#[test]
fn a_server_that_refuses_to_be_asked_gets_the_body_without_as_with_curl() {
    if !has("curl") {
        return;
    }
    let (target, (folder, body)) = (target(), long_file(SHORTER));
    let (address, counts) = refuses_to_be_asked();
    let url = curl::url(address, "/");
    let taken = || {
        (
            counts.0.swap(0, Ordering::Relaxed),
            counts.1.swap(0, Ordering::Relaxed),
        )
    };
    for flags in [&[][..], &["-i"], &["-f"]] {
        let words = [flags, &["--data-binary", &body, &url]].concat();
        let theirs = String::from_utf8(curl::curl(&words)).unwrap();
        let by_curl = taken();
        let ours = kdbg([&["-q", "curl", &target.target()][..], &words].concat());
        assert_eq!(text(&ours), theirs, "{flags:?}");
        assert_eq!(taken(), by_curl, "{flags:?}");
        // With -f the first answer is the last.
        let fails = flags == ["-f"];
        assert_eq!(by_curl, (1, u64::from(!fails)), "{flags:?}");
        assert_code(&ours, i32::from(fails));
    }
    let out = folder.path().join("out");
    let words = [
        "curl",
        &target.target(),
        &url,
        "--data-binary",
        &body,
        "-o",
        out.to_str().unwrap(),
    ];
    let output = kdbg(words);
    assert_code(&output, 0);
    assert!(
        said(&output).contains("the body goes without"),
        "{}",
        said(&output)
    );
    assert!(
        std::fs::read_to_string(&out)
            .unwrap()
            .starts_with("50000000 ")
    );
    // From where it is read only once, some of it may be gone already: the answer stays what it is.
    taken();
    let stdin = std::fs::File::open(named(&body)).unwrap();
    let output = command(["curl", &target.target(), &url, "--data-binary", "@-"])
        .stdin(stdin)
        .output()
        .unwrap();
    assert_code(&output, 0);
    assert_eq!((text(&output).as_str(), taken()), ("do not ask", (1, 0)));
    assert!(
        said(&output).contains("hint: leave out what it refuses"),
        "{}",
        said(&output)
    );
}

#[test]
fn an_answer_in_the_middle_of_a_body_is_shown_and_what_was_sent_is_counted() {
    let (target, (_folder, body)) = (target(), long_file(SHORTER));
    let address = server(|mut stream| {
        read_head(&mut stream);
        std::io::copy(&mut (&mut stream).take(1_000_000), &mut std::io::sink()).unwrap();
        stream
            .write_all(b"HTTP/1.1 413 Too Large\r\nContent-Length: 4\r\n\r\nlong")
            .unwrap();
        silence(stream);
    });
    // Without being asked.
    let flags = ["-H", "Expect:", "--data-binary", &body];
    let url = curl::url(address, "/");
    let words: Vec<_> = [url.as_str()].into_iter().chain(flags).collect();
    let told = report("curl", &target, &words, &["--json"]);
    assert_eq!(told["response"]["status"], 413);
    assert_eq!(told["body"], "long");
    let uploaded = told["end"]["uploaded"].as_u64().unwrap();
    assert!((1_000_000..50_000_000).contains(&uploaded), "{uploaded}");
    let end = &told["end"];
    assert!(end["acknowledged"].as_u64() <= end["sent"].as_u64());
    assert!(end["acknowledged"].as_u64().unwrap() >= 1_000_000, "{end}");
}

#[test]
fn a_server_that_never_reads_is_told_with_what_was_sent_and_acknowledged() {
    let (target, (_folder, body)) = (target(), long_file(SHORTER));
    let waited = |url: &str| {
        let flags = ["--data-binary", &body, "--idle-timeout", "1500ms"];
        let words = ["curl", &target.target(), url];
        let output = kdbg(words.into_iter().chain(flags));
        assert_code(&output, 3);
        said(&output)
    };
    let said = waited(&curl::url(server(silence), "/"));
    assert!(said.contains("acknowledged by the kernel"), "{said}");
    assert!(said.contains(" of 50000000 bytes of the body"), "{said}");
    assert!(
        said.contains("the other side takes no more for 1500 ms: it does not read"),
        "{said}"
    );
    // One that reads, and never answers.
    let address = server(|mut stream| {
        let head = read_head(&mut stream);
        digest(&mut stream, &head);
        silence(stream);
    });
    let said = waited(&curl::url(address, "/"));
    assert!(
        said.contains("sent and acknowledged by the kernel, no byte in 1500 ms"),
        "{said}"
    );
}

#[test]
fn a_client_that_takes_its_time_is_no_server_that_does_not_answer() {
    let (target, address) = (target(), digester());
    let name = target.target();
    let url = curl::url(address, "/");
    let mut child = command([
        "-q",
        "curl",
        &name,
        &url,
        "--data-binary",
        "@-",
        "--idle-timeout",
        "300ms",
    ])
    .stdin(Stdio::piped())
    .stdout(Stdio::piped())
    .spawn()
    .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let part = vec![b'x'; 300_000];
    stdin.write_all(&part).unwrap();
    // Longer than the server may be silent.
    std::thread::sleep(Duration::from_millis(1500));
    stdin.write_all(&part).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    assert_code(&output, 0);
    let expected = blake3::hash(&[part.as_slice(), &part].concat()).to_hex();
    assert_eq!(text(&output), format!("600000 {expected}"));
}

#[test]
fn what_can_be_read_once_is_not_sent_twice() {
    let (target, (_folder, body)) = (target(), long_file(SHORTER));
    let again = digester();
    let moved = server(move |mut stream| {
        take(&mut stream);
        let answer =
            format!("HTTP/1.1 307 There\r\nLocation: http://{again}/\r\nContent-Length: 0\r\n\r\n");
        stream.write_all(answer.as_bytes()).ok();
    });
    let url = curl::url(moved, "/");
    let (ours, _) = sent(
        &target,
        &url,
        &["-L", "--data-binary", &body],
        Stdio::null(),
    );
    assert!(ours.starts_with("50000000 "), "{ours}");
    let stdin = std::fs::File::open(named(&body)).unwrap();
    let output = command(["curl", &target.target(), &url, "-L", "--data-binary", "@-"])
        .stdin(stdin)
        .output()
        .unwrap();
    assert_code(&output, 2);
    assert!(
        said(&output).contains("what it is read from can be read only once"),
        "{}",
        said(&output)
    );
}
