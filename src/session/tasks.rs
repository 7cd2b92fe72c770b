//! The two tasks that serve a pipe.

use std::{sync::Arc, time::Instant};

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
                Event::Failed(failure.into())
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
    let mut next = greeting;
    loop {
        let started = Instant::now();
        let written = async {
            output.write_all(&next).await?;
            output.flush().await
        };
        match timeout(SILENCE_LIMIT, written).await {
            Ok(Ok(())) => {}
            // The reader may know better why: an agent that ended has closed both pipes.
            Ok(Err(error)) => {
                sleep(std::time::Duration::from_millis(50)).await;
                return shared.lose(SessionError::Pipe(error.to_string())).await;
            }
            Err(_) => return shared.lose(SessionError::Silent).await,
        }
        tracing::trace!(bytes = next.len(), elapsed = ?started.elapsed(), "wrote to the agent");
        if next.get(4).copied() == Some(Kind::Goodbye as u8) {
            return;
        }
        next = match timeout(PING_AFTER, frames_rx.recv()).await {
            Ok(Some(frame)) => frame,
            Ok(None) => return,
            Err(_) => ping.clone(),
        };
    }
}
