//! A client's session with a real agent over real pipes; faults that a real pipe cannot be made to show come
//! from a relay between them, which is a fake of the network and of nothing else.

use std::{
    io::{Seek as _, Write as _},
    process::Stdio,
    time::{Duration, Instant},
};

use kdbg::{
    protocol::message::{Cause, FileHead, FileTail, Process, ProcessId, ProcessScope, Request},
    session::{Piece, RequestError, Session, SessionError},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, DuplexStream, duplex},
    process::{Child, Command},
};

fn start_agent() -> Child {
    Command::new(env!("CARGO_BIN_EXE_kdbg-agent"))
        .arg("serve")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

pub(crate) async fn open() -> (Session, Child) {
    let mut agent = start_agent();
    let session = Session::open(agent.stdout.take().unwrap(), agent.stdin.take().unwrap())
        .await
        .unwrap();
    (session, agent)
}

pub(crate) async fn ourselves(session: &Session) -> ProcessId {
    let request = Request::Processes(ProcessScope::Tree(std::process::id()));
    let processes: Vec<Process> = session.request(&request).unwrap().records().await.unwrap();
    // What other tests have started is in the list too, with lower numbers when the kernel has begun anew.
    let ours = |process: &&Process| process.id.pid == std::process::id();
    processes.iter().find(ours).unwrap().id
}

async fn read(session: &Session, process: ProcessId, path: &str) -> Result<Vec<u8>, RequestError> {
    let mut reply = session.request(&Request::ReadFile {
        process,
        path: path.into(),
    })?;
    let _: FileHead = reply.head().await?;
    let content = reply.bytes(1 << 30).await?;
    let _: FileTail = reply.trailer()?;
    Ok(content)
}

/// A file with content that repeats nowhere.
fn file_of(bytes: usize) -> (tempfile::NamedTempFile, Vec<u8>) {
    let mut content = vec![0; bytes];
    let mut state = 1_u64;
    for byte in &mut content {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        *byte = (state >> 56) as u8;
    }
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(&content).unwrap();
    (file, content)
}

#[tokio::test(flavor = "multi_thread")]
async fn many_requests_at_once_share_one_pipe_and_each_gets_its_own_answer() {
    let (session, agent) = open().await;
    let process = ourselves(&session).await;
    let files: Vec<_> = (0..200).map(|number| file_of(1 + number * 1571)).collect();
    let reads = files
        .iter()
        .map(|(file, _)| read(&session, process, file.path().to_str().unwrap()));
    for (answer, (_, content)) in futures::future::join_all(reads)
        .await
        .into_iter()
        .zip(&files)
    {
        assert_eq!(&answer.unwrap(), content);
    }
    session.close().await;
    assert!(agent.wait_with_output().await.unwrap().status.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_that_nobody_reads_holds_up_no_other_and_costs_the_agent_no_memory() {
    let (session, agent) = open().await;
    let process = ourselves(&session).await;
    let (large, content) = file_of(64 << 20);
    let path = large.path().to_str().unwrap().to_owned();
    let mut stopped: Vec<_> = (0..20)
        .map(|_| {
            session
                .request(&Request::ReadFile {
                    process,
                    path: path.as_str().into(),
                })
                .unwrap()
        })
        .collect();
    for reply in &mut stopped {
        let _: FileHead = reply.head().await.unwrap();
    }
    let (small, small_content) = file_of(3 << 20);
    assert_eq!(
        read(&session, process, small.path().to_str().unwrap())
            .await
            .unwrap(),
        small_content
    );
    let peak = peak_memory(agent.id().unwrap());
    assert!(peak < 32 << 20, "the agent has taken {peak} bytes");
    // What was stopped goes on where it was.
    assert_eq!(
        stopped.pop().unwrap().bytes(1 << 30).await.unwrap(),
        content
    );
    session.close().await;
}

/// `VmHWM` of a process, in bytes.
pub(crate) fn peak_memory(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM:"))
        .unwrap();
    line.split_whitespace()
        .nth(1)
        .unwrap()
        .parse::<u64>()
        .unwrap()
        * 1024
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reply_that_is_dropped_is_cancelled_and_the_rest_goes_on() {
    let (session, _agent) = open().await;
    let process = ourselves(&session).await;
    let (large, _) = file_of(32 << 20);
    for _ in 0..50 {
        let path = large.path().to_str().unwrap();
        let mut reply = session
            .request(&Request::ReadFile {
                process,
                path: path.into(),
            })
            .unwrap();
        let _: FileHead = reply.head().await.unwrap();
    }
    let (small, content) = file_of(1000);
    assert_eq!(
        read(&session, process, small.path().to_str().unwrap())
            .await
            .unwrap(),
        content
    );
    session.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hole_of_a_terabyte_travels_as_a_number() {
    let (session, _agent) = open().await;
    let process = ourselves(&session).await;
    let mut sparse = tempfile::NamedTempFile::new().unwrap();
    sparse.as_file().set_len(1 << 40).unwrap();
    sparse.seek(std::io::SeekFrom::Start(1 << 39)).unwrap();
    sparse.write_all(b"island").unwrap();
    let path = sparse.path().to_str().unwrap();
    let mut reply = session
        .request(&Request::ReadFile {
            process,
            path: path.into(),
        })
        .unwrap();
    let (mut length, mut data) = (0, 0);
    while let Some(piece) = reply.next().await.unwrap() {
        match piece {
            Piece::Head(_) | Piece::ErrorData(_) => {}
            Piece::Data(bytes) => {
                data += bytes.len();
                length += bytes.len() as u64;
            }
            Piece::Hole(hole) => length += hole,
        }
    }
    assert_eq!(length, 1 << 40);
    assert!(data < 1 << 20, "{data} bytes of data");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_ends_when_its_client_is_gone() {
    let mut agent = start_agent();
    drop(agent.stdin.take());
    let status = tokio::time::timeout(Duration::from_mins(1), agent.wait())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(status.code(), Some(5));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_ends_after_15_s_of_silence_though_the_pipe_is_open() {
    let started = Instant::now();
    let agent = start_agent();
    let output = tokio::time::timeout(Duration::from_mins(2), async {
        // Keep both pipes open and say nothing.
        let mut agent = agent;
        let (input, mut output) = (agent.stdin.take().unwrap(), agent.stdout.take().unwrap());
        let mut said = Vec::new();
        output.read_to_end(&mut said).await.unwrap();
        drop(input);
        agent.wait_with_output().await.unwrap()
    })
    .await
    .unwrap();
    assert_eq!(output.status.code(), Some(5));
    assert!(
        started.elapsed() >= Duration::from_secs(15),
        "{:?}",
        started.elapsed()
    );
    assert_eq!(
        String::from_utf8_lossy(&output.stderr),
        "the client has said nothing for 15 s\n"
    );
}

/// What a relay does to the bytes from the agent to the client.
enum Fault {
    /// Hands them on one by one.
    Crumbs,
    /// Closes after so many bytes.
    CutAfter(usize),
    /// Flips a bit of the byte at this place.
    FlipAt(usize),
    /// Hands nothing on after so many bytes, and does not close.
    StallAfter(usize),
}

/// An agent behind a relay that damages what it says.
async fn open_through(fault: Fault) -> (Result<Session, SessionError>, Child) {
    let mut agent = start_agent();
    let (ours, relay) = duplex(1 << 16);
    tokio::spawn(damage(agent.stdout.take().unwrap(), relay, fault));
    let session = Session::open(ours, agent.stdin.take().unwrap()).await;
    (session, agent)
}

async fn damage(mut from: impl AsyncRead + Unpin, mut to: DuplexStream, fault: Fault) {
    let mut seen = 0;
    let mut buffer = vec![0; 1 << 16];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        let mut bytes = &mut buffer[..count];
        match fault {
            Fault::Crumbs => {
                for byte in bytes {
                    to.write_all(&[*byte]).await.unwrap();
                    to.flush().await.unwrap();
                }
                continue;
            }
            Fault::FlipAt(place) if (seen..seen + count).contains(&place) => {
                bytes[place - seen] ^= 1;
            }
            Fault::CutAfter(limit) | Fault::StallAfter(limit) if seen + count > limit => {
                bytes = &mut bytes[..limit - seen];
                to.write_all(bytes).await.unwrap();
                if matches!(fault, Fault::StallAfter(_)) {
                    std::future::pending::<()>().await;
                }
                return;
            }
            _ => {}
        }
        seen += count;
        if to.write_all(bytes).await.is_err() {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_in_crumbs_are_put_together() {
    let (session, _agent) = open_through(Fault::Crumbs).await;
    let session = session.unwrap();
    let process = ourselves(&session).await;
    let (file, content) = file_of(20_000);
    assert_eq!(
        read(&session, process, file.path().to_str().unwrap())
            .await
            .unwrap(),
        content
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_is_cut_off_is_an_error_and_never_a_short_file() {
    let (file, _) = file_of(3 << 20);
    for limit in [200_000, 1 << 20, 3 << 20] {
        let (session, _agent) = open_through(Fault::CutAfter(limit)).await;
        let session = session.unwrap();
        let process = ourselves(&session).await;
        let error = read(&session, process, file.path().to_str().unwrap())
            .await
            .unwrap_err();
        assert!(
            matches!(error, RequestError::Session(SessionError::Closed)),
            "{error:?}"
        );
        // And so is every request after it.
        assert!(
            session
                .request(&Request::Processes(ProcessScope::All))
                .is_err()
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_bit_ends_the_conversation() {
    let (file, _) = file_of(3 << 20);
    let (session, _agent) = open_through(Fault::FlipAt(1 << 20)).await;
    let session = session.unwrap();
    let process = ourselves(&session).await;
    let error = read(&session, process, file.path().to_str().unwrap())
        .await
        .unwrap_err();
    assert!(
        matches!(error, RequestError::Session(SessionError::Garbled(_))),
        "{error:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_gives_up_after_15_s_of_silence() {
    let (session, _agent) = open_through(Fault::StallAfter(100_000)).await;
    let session = session.unwrap();
    let process = ourselves(&session).await;
    let (file, _) = file_of(3 << 20);
    let started = Instant::now();
    let error = read(&session, process, file.path().to_str().unwrap())
        .await
        .unwrap_err();
    assert!(
        matches!(error, RequestError::Session(SessionError::Silent)),
        "{error:?}"
    );
    assert!(
        started.elapsed() >= Duration::from_secs(14),
        "{:?}",
        started.elapsed()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_at_the_other_end_is_quoted() {
    let (ours, mut theirs) = duplex(1024);
    let (_input, output) = duplex(1024);
    theirs
        .write_all(b"sh: 1: kdbg-agent: not found\n")
        .await
        .unwrap();
    drop(theirs);
    let error = open_error(ours, output).await;
    assert_eq!(
        error.to_string(),
        "the other side does not speak kdbg's protocol: it said `sh: 1: kdbg-agent: not found`"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_of_another_build_is_named() {
    let (ours, mut theirs) = duplex(1024);
    let (_input, output) = duplex(1024);
    let mut hello = b"kdbg".to_vec();
    hello.extend(kdbg::protocol::VERSION.to_le_bytes());
    hello.extend([5]);
    hello.extend(b"0.0.9");
    hello.extend([4]);
    hello.extend(b"cafe");
    let mut frame = Vec::new();
    kdbg::protocol::encode(&mut frame, kdbg::protocol::Kind::Hello, 0, &hello);
    theirs.write_all(&frame).await.unwrap();
    let error = open_error(ours, output).await.to_string();
    assert!(
        error.starts_with("the agent is 0.0.9+cafe, this kdbg is "),
        "{error}"
    );
}

async fn open_error<R, W>(input: R, output: W) -> SessionError
where
    R: AsyncRead + Send + Unpin + 'static,
    W: AsyncWrite + Send + Unpin + 'static,
{
    Session::open(input, output).await.err().unwrap()
}

#[test]
fn an_agent_that_is_started_by_hand_says_who_starts_it() {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_kdbg-agent"))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(
        String::from_utf8_lossy(&output.stderr),
        "kdbg-agent is started by kdbg; usage: kdbg-agent serve | rest --idle SECONDS | end [--force] | build | digest | --version\n\
         or, in `kdbg attach`: kdbg-agent curl | dig | env | ps | ss | tree [ARGUMENTS]\n"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_cannot_be_understood_is_refused_and_the_conversation_goes_on() {
    let mut agent = start_agent();
    let (mut input, mut output) = (agent.stdin.take().unwrap(), agent.stdout.take().unwrap());
    let mut frames = Vec::new();
    kdbg::protocol::encode(
        &mut frames,
        kdbg::protocol::Kind::Hello,
        0,
        &kdbg::protocol::Hello::ours().encode(),
    );
    kdbg::protocol::encode(&mut frames, kdbg::protocol::Kind::Request, 1, b"\xff\xff");
    kdbg::protocol::encode(&mut frames, kdbg::protocol::Kind::Goodbye, 0, b"");
    let (head, goodbye) = frames.split_at(frames.len() - 13);
    input.write_all(head).await.unwrap();
    let mut decoder = kdbg::protocol::Decoder::default();
    let failure = loop {
        let count = output.read(decoder.space()).await.unwrap();
        assert!(count > 0);
        decoder.filled(count);
        let mut failure = None;
        while let Some(frame) = decoder.next_frame().unwrap() {
            if frame.kind == kdbg::protocol::Kind::Failure {
                failure = kdbg::protocol::message::from_bytes::<kdbg::protocol::message::Failure>(
                    frame.payload,
                );
            }
        }
        if let Some(failure) = failure {
            break failure;
        }
    };
    assert_eq!(
        failure.to_string(),
        "cannot answer the request: the agent does not understand the request"
    );
    input.write_all(goodbye).await.unwrap();
    assert!(agent.wait().await.unwrap().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_would_help_is_said_by_who_knows_where_the_agent_stands() {
    let (session, agent) = open().await;
    let process = ourselves(&session).await;
    session.advise_with(std::sync::Arc::new(|failure| {
        (failure.cause == Cause::NotFound).then(|| vec!["look elsewhere".to_owned()])
    }));
    let Err(RequestError::Failed(failure)) = read(&session, process, "/nosuch").await else {
        panic!("there is no such file");
    };
    assert_eq!(failure.remedies(), ["look elsewhere"]);
    let Err(RequestError::Failed(failure)) = read(&session, process, "/").await else {
        panic!("a folder is no file");
    };
    assert_eq!(failure.remedies(), Vec::<String>::new());
    session.close().await;
    drop(agent);
}
