//! A program in a container, and the pipe to it: the websocket of `pods/exec`.
//!
//! The channels and subprotocols are those of apimachinery's `pkg/util/remotecommand/constants.go`. Nothing is
//! concluded from the end of the connection or from the program's exit status, which may overtake its output: what
//! arrived whole is for the protocol above to say. Standard input is never closed: over `v4.channel.k8s.io` that
//! would close the whole connection.
//!
//! The two halves serve the same socket, each polled by its own task, so neither waits for the other. Bytes are
//! handed on as they lie in the message: no pipe and no copy in between.

use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
};

use bytes::{Buf as _, Bytes};
use futures::{
    Sink, SinkExt as _, StreamExt as _,
    stream::{self, BoxStream},
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use kube::{Client, api::AttachParams, core::Request};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_tungstenite::tungstenite::{self, Message};

/// The channel of a message is its first byte.
mod channel {
    pub(super) const STDIN: u8 = 0;
    pub(super) const STDOUT: u8 = 1;
    pub(super) const STDERR: u8 = 2;
    pub(super) const STATUS: u8 = 3;
}

/// A message towards the container holds at most this many bytes of input: what the servers between use as their
/// buffers, and what old ones accept.
const INPUT_LIMIT: usize = 32 * 1024;
/// What is kept of the program's complaints.
const COMPLAINT_LIMIT: usize = 4096;

type Incoming = BoxStream<'static, Result<Message, tungstenite::Error>>;
type Outgoing = Pin<Box<dyn Sink<Message, Error = tungstenite::Error> + Send>>;

/// A program that was started in a container.
pub(super) struct Exec {
    /// Its standard output; ends with the connection, whatever the reason.
    pub(super) stdout: Stdout,
    /// Its standard input.
    pub(super) stdin: Stdin,
    /// What the cluster and the program's standard error say beside it.
    pub(super) end: End,
}

/// What is known of the end of a program. Filled by whoever reads its standard output.
#[derive(Clone, Default)]
pub(super) struct End(Arc<Mutex<Known>>);

#[derive(Default)]
struct Known {
    status: Option<Status>,
    complaints: Vec<u8>,
    closed: Option<String>,
}

/// Starts a program in a container. That it is there, and that it runs, only the first bytes of it show.
pub(super) async fn exec(
    client: &Client,
    namespace: &str,
    pod: &str,
    container: &str,
    command: &[&str],
) -> Result<Exec, kube::Error> {
    let parameters = AttachParams::default()
        .container(container)
        .stdin(true)
        .stdout(true)
        .stderr(true);
    let request = Request::new(format!("/api/v1/namespaces/{namespace}/pods"))
        .exec(pod, command.iter().copied(), &parameters)
        .map_err(kube::Error::BuildRequest)?;
    let connection = client.connect(request).await?;
    let subprotocol = if connection.supports_stream_close() {
        "v5"
    } else {
        "v4"
    };
    tracing::debug!(pod, container, subprotocol, "a program in a container");
    let socket = connection.into_stream();
    let (outgoing, incoming) = socket.split();
    Ok(Exec::new(incoming.boxed(), Box::pin(outgoing)))
}

impl Exec {
    fn new(incoming: Incoming, outgoing: Outgoing) -> Self {
        let end = End::default();
        Self {
            stdout: Stdout {
                incoming,
                current: Bytes::new(),
                end: end.clone(),
            },
            stdin: Stdin(outgoing),
            end,
        }
    }
}

impl End {
    fn lock(&self) -> MutexGuard<'_, Known> {
        // Nothing that runs under this lock can panic half-way.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the cluster says that the program succeeded. A connection that ended without a word did not.
    pub(super) fn succeeded(&self) -> bool {
        self.lock()
            .status
            .as_ref()
            .is_some_and(|status| status.status.as_deref() == Some("Success"))
    }

    /// Why the program failed or could not be started, in the cluster's words.
    pub(super) fn failure(&self) -> Option<String> {
        let known = self.lock();
        match &known.status {
            Some(status) if status.status.as_deref() == Some("Success") => None,
            Some(status) => status.message.clone(),
            None => known.closed.clone(),
        }
    }

    /// With which code the program ended, when it was not 0 and the cluster says it.
    pub(super) fn code(&self) -> Option<u8> {
        let known = self.lock();
        let details = known.status.as_ref()?.details.as_ref()?;
        let mut causes = details.causes.iter().flatten();
        let cause = causes.find(|cause| cause.reason.as_deref() == Some("ExitCode"))?;
        cause.message.as_ref()?.parse().ok()
    }

    /// What the program said on its standard error.
    pub(super) fn complaints(&self) -> Option<String> {
        let known = self.lock();
        let text = String::from_utf8_lossy(&known.complaints).trim().to_owned();
        (!text.is_empty()).then_some(text)
    }
}

/// The standard output of a program.
pub(super) struct Stdout {
    incoming: Incoming,
    current: Bytes,
    end: End,
}

impl Stdout {
    /// Takes a message apart; answers whether the connection goes on.
    fn receive(&mut self, message: Message) -> bool {
        let mut payload = match message {
            Message::Binary(payload) => payload,
            Message::Text(text) => text.into(),
            Message::Close(frame) => {
                if let Some(frame) = frame {
                    self.end.lock().closed = Some(format!(
                        "the connection was closed with code {}: {}",
                        frame.code, frame.reason
                    ));
                }
                return false;
            }
            Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => return true,
        };
        if payload.is_empty() {
            return true;
        }
        match payload.get_u8() {
            channel::STDOUT => self.current = payload,
            channel::STDERR => {
                let complaints = &mut self.end.lock().complaints;
                let space = COMPLAINT_LIMIT.saturating_sub(complaints.len());
                complaints.extend(payload.iter().take(space));
            }
            channel::STATUS => {
                self.end.lock().status = serde_json::from_slice(&payload).ok();
                return false;
            }
            _ => {}
        }
        true
    }
}

impl AsyncRead for Stdout {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.current.is_empty() {
            match ready!(self.incoming.poll_next_unpin(context)) {
                Some(Ok(message)) => {
                    if !self.receive(message) {
                        self.incoming = stream::empty().boxed();
                    }
                }
                Some(Err(error)) => return Poll::Ready(Err(io::Error::other(error))),
                None => return Poll::Ready(Ok(())),
            }
        }
        let count = self.current.len().min(buffer.remaining());
        buffer.put_slice(&self.current.split_to(count));
        Poll::Ready(Ok(()))
    }
}

/// The standard input of a program.
pub(super) struct Stdin(Outgoing);

impl AsyncWrite for Stdin {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.0.poll_ready_unpin(context)).map_err(io::Error::other)?;
        let part = bytes.get(..INPUT_LIMIT).unwrap_or(bytes);
        let mut message = Vec::with_capacity(part.len() + 1);
        message.push(channel::STDIN);
        message.extend_from_slice(part);
        self.0
            .start_send_unpin(Message::binary(message))
            .map_err(io::Error::other)?;
        Poll::Ready(Ok(part.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_flush_unpin(context).map_err(io::Error::other)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_close_unpin(context).map_err(io::Error::other)
    }
}

#[cfg(test)]
mod tests {
    use futures::channel::mpsc;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[expect(clippy::unnecessary_wraps, reason = "as the socket gives it")]
    fn message(channel: u8, payload: &[u8]) -> Result<Message, tungstenite::Error> {
        Ok(Message::binary([&[channel], payload].concat()))
    }

    fn receiving(messages: Vec<Result<Message, tungstenite::Error>>) -> Exec {
        let (outgoing, _) = mpsc::unbounded();
        Exec::new(
            stream::iter(messages).boxed(),
            Box::pin(outgoing.sink_map_err(|_| tungstenite::Error::ConnectionClosed)),
        )
    }

    const FAILURE: &[u8] = br#"{"status":"Failure","message":"container not found (\"x\")"}"#;

    #[tokio::test]
    async fn output_and_complaints_are_told_apart() {
        let mut exec = receiving(vec![
            message(1, b"one "),
            message(2, b"careful"),
            message(1, b""),
            message(1, b"two"),
            message(3, br#"{"status":"Success"}"#),
            message(1, b"after the end"),
        ]);
        let mut text = String::new();
        exec.stdout.read_to_string(&mut text).await.unwrap();
        assert_eq!(text, "one two");
        assert_eq!(exec.end.complaints().as_deref(), Some("careful"));
        assert!(exec.end.succeeded());
        assert_eq!(exec.end.failure(), None);
    }

    #[tokio::test]
    async fn an_end_without_a_status_is_no_success() {
        let mut exec = receiving(vec![message(1, b"part")]);
        exec.stdout.read_to_end(&mut Vec::new()).await.unwrap();
        assert!(!exec.end.succeeded());
    }

    #[tokio::test]
    async fn a_failure_is_in_the_words_of_the_cluster() {
        let mut exec = receiving(vec![message(3, FAILURE)]);
        exec.stdout.read_to_end(&mut Vec::new()).await.unwrap();
        assert_eq!(
            exec.end.failure().as_deref(),
            Some("container not found (\"x\")")
        );
    }

    #[tokio::test]
    async fn the_code_of_a_program_is_told_from_all_other_failures() {
        let ended = br#"{"status":"Failure","reason":"NonZeroExitCode","message":"command terminated with non-zero exit code",
            "details":{"causes":[{"reason":"ExitCode","message":"139"}]}}"#;
        for (status, code) in [(ended.as_slice(), Some(139)), (FAILURE, None)] {
            let mut exec = receiving(vec![message(3, status)]);
            exec.stdout.read_to_end(&mut Vec::new()).await.unwrap();
            assert_eq!(exec.end.code(), code);
        }
    }

    #[tokio::test]
    async fn input_is_cut_into_messages_that_every_server_accepts() {
        let (outgoing, mut sent) = mpsc::unbounded();
        let mut exec = Exec::new(
            stream::pending().boxed(),
            Box::pin(outgoing.sink_map_err(|_| tungstenite::Error::ConnectionClosed)),
        );
        exec.stdin.write_all(&vec![7; 70_000]).await.unwrap();
        exec.stdin.flush().await.unwrap();
        drop(exec);
        let mut lengths = Vec::new();
        while let Some(message) = sent.next().await {
            let payload = message.into_data();
            assert_eq!(payload[0], 0);
            lengths.push(payload.len() - 1);
        }
        assert_eq!(lengths, [32_768, 32_768, 4464]);
    }
}
