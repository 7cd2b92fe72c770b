//! The two tasks that serve a pipe.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bstr::BString;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    sync::{mpsc, oneshot},
    time::{sleep, timeout},
};

use super::{Event, Piece, SessionError, Shared};
use crate::protocol::{
    Decoder, End, Frame, Hello, HelloError, Kind, PING_AFTER, SILENCE_LIMIT, encode,
    message::{Failure, from_bytes},
};

/// Reads the pipe until it ends, is damaged, or falls silent.
pub(super) async fn read<R: AsyncRead + Unpin>(
    mut input: R,
    shared: Arc<Shared>,
    greeted_tx: oneshot::Sender<()>,
) {
    let mut greeted_tx = Some(greeted_tx);
    let mut decoder = Decoder::default();
    let reason = loop {
        match handle_frames(&mut decoder, &shared, &mut greeted_tx) {
            Ok(()) => {}
            Err(reason) => break reason,
        }
        match timeout(SILENCE_LIMIT, input.read(decoder.space())).await {
            Err(_) => break SessionError::Silent,
            Ok(Ok(0)) => break closed(&decoder, greeted_tx.is_some()),
            Ok(Ok(count)) => decoder.filled(count),
            Ok(Err(error)) => break SessionError::Pipe(error.to_string()),
        }
    };
    shared.lose(reason).await;
}

/// Whoever closes the pipe before a greeting has at least said why.
fn closed(decoder: &Decoder, stranger: bool) -> SessionError {
    if stranger && !decoder.pending().is_empty() {
        SessionError::Stranger {
            reason: HelloError::NotKdbg,
            said: BString::from(decoder.pending()),
        }
    } else {
        SessionError::Closed
    }
}

fn handle_frames(
    decoder: &mut Decoder,
    shared: &Shared,
    greeted_tx: &mut Option<oneshot::Sender<()>>,
) -> Result<(), SessionError> {
    loop {
        match decoder.next_frame() {
            Ok(None) => return Ok(()),
            Ok(Some(frame)) if greeted_tx.is_some() => {
                let reason = match frame.kind {
                    Kind::Hello => Hello::decode(frame.payload).err(),
                    _ => Some(HelloError::NotKdbg),
                };
                if let Some(reason) = reason {
                    return Err(SessionError::Stranger {
                        reason,
                        said: BString::default(),
                    });
                }
                if let Some(greeted_tx) = greeted_tx.take() {
                    // Whoever opened the session may have given up; the next write will show it.
                    let _ = greeted_tx.send(());
                }
            }
            Ok(Some(frame)) => handle(&frame, shared)?,
            Err(error) if greeted_tx.is_none() => return Err(error.into()),
            Err(_) => {
                let said = BString::from(decoder.pending());
                return Err(SessionError::Stranger {
                    reason: HelloError::NotKdbg,
                    said,
                });
            }
        }
    }
}

fn handle(frame: &Frame<'_>, shared: &Shared) -> Result<(), SessionError> {
    match frame.kind {
        Kind::Goodbye => Err(SessionError::Closed),
        Kind::Head | Kind::Data | Kind::ErrorData | Kind::Hole => {
            let mut state = shared.lock();
            // A stream that was cancelled may still have frames under way.
            let Some(stream) = state.streams.get_mut(&frame.stream) else {
                return Ok(());
            };
            stream.books.received(frame.kind, frame.payload)?;
            let piece = match frame.kind {
                Kind::Head => Piece::Head(frame.payload.to_vec()),
                Kind::ErrorData => Piece::ErrorData(frame.payload.to_vec()),
                Kind::Hole => Piece::Hole(frame.payload.try_into().map_or(0, u64::from_le_bytes)),
                _ => Piece::Data(frame.payload.to_vec()),
            };
            // A reply that was dropped has taken its stream away, or is about to.
            let _ = stream.events_tx.send(Event::Piece(piece));
            Ok(())
        }
        Kind::End | Kind::Failure => {
            let Some(stream) = shared.lock().streams.remove(&frame.stream) else {
                return Ok(());
            };
            let event = if frame.kind == Kind::End {
                let end: End = from_bytes(frame.payload).ok_or_else(unreadable)?;
                stream.books.verify(&end)?;
                Event::Complete {
                    trailer: end.trailer,
                }
            } else {
                let failure: Failure = from_bytes(frame.payload).ok_or_else(unreadable)?;
                Event::Failed(shared.advised(failure).into())
            };
            shared.send(Kind::Ack, frame.stream, &[]);
            if let Some(input) = &stream.input {
                input.close();
            }
            let _ = stream.events_tx.send(event);
            Ok(())
        }
        Kind::Credit => {
            if let Ok(credit) = frame.payload.try_into()
                && let Some(stream) = shared.lock().streams.get_mut(&frame.stream)
                && let Some(input) = &stream.input
            {
                input.grant(u32::from_le_bytes(credit));
            }
            Ok(())
        }
        // A ping has been heard by arriving; the rest is for the other direction.
        Kind::Ping
        | Kind::Hello
        | Kind::Request
        | Kind::Ack
        | Kind::Cancel
        | Kind::Input
        | Kind::InputEnd
        | Kind::Resize
        | Kind::Signal => Ok(()),
    }
}

fn unreadable() -> SessionError {
    SessionError::Pipe("the end of a stream cannot be understood".to_owned())
}

/// Writes frames until a goodbye; says something at least every [`PING_AFTER`].
pub(super) async fn write<W: AsyncWrite + Unpin>(
    mut output: W,
    mut frames_rx: mpsc::UnboundedReceiver<Vec<u8>>,
    shared: Arc<Shared>,
) {
    let mut greeting = Vec::new();
    encode(&mut greeting, Kind::Hello, 0, &Hello::ours().encode());
    let mut ping = Vec::new();
    encode(&mut ping, Kind::Ping, 0, &[]);
    let mut next = Batch::of(greeting);
    loop {
        let started = Instant::now();
        let written = async {
            output.write_all(&next.bytes).await?;
            output.flush().await
        };
        match timeout(SILENCE_LIMIT, written).await {
            Ok(Ok(())) => {}
            // The reader may know better why: an agent that ended has closed both pipes.
            Ok(Err(error)) => {
                sleep(Duration::from_millis(50)).await;
                return shared.lose(SessionError::Pipe(error.to_string())).await;
            }
            Err(_) => return shared.lose(SessionError::Silent).await,
        }
        tracing::trace!(bytes = next.bytes.len(), elapsed = ?started.elapsed(), "wrote to the agent");
        if next.is_last {
            return;
        }
        next = match timeout(PING_AFTER, frames_rx.recv()).await {
            Ok(Some(frame)) => Batch::of(frame),
            Ok(None) => return,
            Err(_) => Batch::of(ping.clone()),
        };
        next.gather(&mut frames_rx).await;
    }
}

/// How long an acknowledgement waits for something to travel with. The agent is in no hurry for it; but sent alone, it
/// holds up the request behind it: TCP keeps a small segment back while another is not acknowledged (RFC 896), and
/// the other side acknowledges one that needs no answer only after 40 ms.
const COMPANY: Duration = Duration::from_millis(10);
/// Frames above this size go alone: copying them together costs more than it saves.
const SMALL: usize = 4096;

/// Frames that are written at once.
struct Batch {
    bytes: Vec<u8>,
    only_acknowledges: bool,
    /// Whether a goodbye is among them.
    is_last: bool,
}

impl Batch {
    fn of(frame: Vec<u8>) -> Self {
        let kind = frame.get(4).copied();
        Self {
            bytes: frame,
            only_acknowledges: kind == Some(Kind::Ack as u8),
            is_last: kind == Some(Kind::Goodbye as u8),
        }
    }

    fn add(&mut self, frame: Vec<u8>) {
        let Self {
            bytes,
            only_acknowledges,
            is_last,
        } = Self::of(frame);
        self.bytes.extend_from_slice(&bytes);
        self.only_acknowledges &= only_acknowledges;
        self.is_last |= is_last;
    }

    /// Adds what waits to be written already, and gives an acknowledgement some company.
    async fn gather(&mut self, frames_rx: &mut mpsc::UnboundedReceiver<Vec<u8>>) {
        while self.bytes.len() < SMALL {
            match frames_rx.try_recv() {
                Ok(frame) => self.add(frame),
                Err(_) if self.only_acknowledges => {
                    match timeout(COMPANY, frames_rx.recv()).await {
                        Ok(Some(frame)) => self.add(frame),
                        Ok(None) | Err(_) => return,
                    }
                }
                Err(_) => return,
            }
        }
    }
}
