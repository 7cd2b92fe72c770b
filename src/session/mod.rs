//! The client's half of a conversation with an agent.
//!
//! A [`Session`] owns a byte pipe to an agent and knows nothing of where it leads: a child process or an
//! exec into a pod. Two tasks serve the pipe, so that it is always read, even while something is being
//! written: a pipe whose two directions wait for each other stands still for ever. What a request brings
//! goes to its [`Reply`]; the credit of the protocol keeps a slow reader from filling the memory.

mod error;
mod input;
mod reply;
mod tasks;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use futures::future::BoxFuture;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::{mpsc, oneshot},
    task::JoinHandle,
};

pub use error::{RequestError, SessionError};
pub use input::Input;
pub use reply::{Piece, Reply};

use crate::protocol::{
    IncomingStream, Kind, encode,
    message::{Failure, Request, RunRequest, to_bytes},
};

/// A conversation with one agent. Dropping it ends the conversation.
pub struct Session {
    shared: Arc<Shared>,
    reader: JoinHandle<()>,
    writer: JoinHandle<()>,
}

/// What replies and tasks share.
struct Shared {
    state: Mutex<State>,
    /// Any -> writer task: frames to send, whole.
    frames_tx: mpsc::UnboundedSender<Vec<u8>>,
}

#[derive(Default)]
struct State {
    streams: HashMap<u32, Stream>,
    last_stream: u32,
    /// Why the conversation has ended.
    ended: Option<SessionError>,
    /// Who can say what happened when the pipe breaks.
    witness: Option<BoxFuture<'static, Option<String>>>,
    /// The witness is being heard.
    hearing: bool,
    /// Who knows what would help where the agent stands.
    adviser: Option<Adviser>,
}

/// Answers what would help with a failure; `None` when the failure's own remedies hold.
pub type Adviser = Arc<dyn Fn(&Failure) -> Option<Vec<String>> + Send + Sync>;

/// A stream that is not complete.
struct Stream {
    books: IncomingStream,
    /// Reader task -> reply: what arrived. Bounded by the credit that was granted.
    events_tx: mpsc::UnboundedSender<Event>,
    /// The other direction, for a command.
    input: Option<Arc<input::Books>>,
}

/// What happens to a reply.
enum Event {
    Piece(Piece),
    Complete { trailer: Vec<u8> },
    Failed(RequestError),
}

impl Session {
    /// Greets the agent at the other end of a pipe and waits for its greeting.
    pub async fn open<R, W>(input: R, output: W) -> Result<Self, SessionError>
    where
        R: AsyncRead + Send + Unpin + 'static,
        W: AsyncWrite + Send + Unpin + 'static,
    {
        let (frames_tx, frames_rx) = mpsc::unbounded_channel();
        let (greeted_tx, greeted_rx) = oneshot::channel();
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            frames_tx,
        });
        let reader = tokio::spawn(tasks::read(input, Arc::clone(&shared), greeted_tx));
        let writer = tokio::spawn(tasks::write(output, frames_rx, Arc::clone(&shared)));
        let session = Self {
            shared,
            reader,
            writer,
        };
        match greeted_rx.await {
            Ok(()) => Ok(session),
            // The reader drops its end only when it has noted why.
            Err(_) => Err(session.shared.ended().unwrap_or(SessionError::Closed)),
        }
    }

    /// Sends a request.
    pub fn request(&self, request: &Request) -> Result<Reply, RequestError> {
        self.open_stream(request, None)
    }

    /// Starts a command: what it writes comes back in the reply, what it reads goes into the input.
    pub fn run(&self, request: RunRequest) -> Result<(Reply, Input), RequestError> {
        let (reply, input) = self.request_with_input(&Request::Run(request))?;
        Ok((reply.patient(), input))
    }

    /// Sends a request of which more follows as input: one that [`Request::has_input`].
    pub fn request_with_input(&self, request: &Request) -> Result<(Reply, Input), RequestError> {
        let books = Arc::new(input::Books::default());
        let reply = self.open_stream(request, Some(Arc::clone(&books)))?;
        let input = Input::new(reply.number(), books, Arc::clone(&self.shared));
        Ok((reply, input))
    }

    fn open_stream(
        &self,
        request: &Request,
        input: Option<Arc<input::Books>>,
    ) -> Result<Reply, RequestError> {
        let (events_tx, events_rx) = mpsc::unbounded_channel();
        let number = {
            let mut state = self.shared.lock();
            if let Some(ended) = &state.ended {
                return Err(ended.clone().into());
            }
            state.last_stream += 1;
            let number = state.last_stream;
            state.streams.insert(
                number,
                Stream {
                    books: IncomingStream::default(),
                    events_tx,
                    input,
                },
            );
            number
        };
        self.shared.send(Kind::Request, number, &to_bytes(request));
        Ok(Reply::new(
            number,
            events_rx,
            Arc::clone(&self.shared),
            request.doing(),
        ))
    }

    /// Has this asked what happened, should the pipe break: it may know better than the pipe. Every request waits for
    /// its answer then, so it must come soon.
    pub fn when_lost(&self, witness: impl Future<Output = Option<String>> + Send + 'static) {
        self.shared.lock().witness = Some(Box::pin(witness));
    }

    /// Has this say what would help with what the agent could not do from now on.
    pub fn advise_with(&self, adviser: Adviser) {
        self.shared.lock().adviser = Some(adviser);
    }

    /// What would help with a failure that came as one fact among others: there nobody has been asked for advice yet.
    pub fn remedies(&self, failure: &Failure) -> Vec<String> {
        self.shared.advised(failure.clone()).remedies()
    }

    /// Says goodbye and waits until it is said.
    pub async fn close(mut self) {
        self.shared.send(Kind::Goodbye, 0, &[]);
        // The writer ends after a goodbye, or when the pipe breaks; either is the end.
        let _ = (&mut self.writer).await;
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.reader.abort();
        self.writer.abort();
    }
}

impl Shared {
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        // Nothing that runs under this lock can panic half-way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A failure with what would help where the agent stands.
    fn advised(&self, mut failure: Failure) -> Failure {
        let adviser = self.lock().adviser.clone();
        failure.advice = adviser.and_then(|adviser| adviser(&failure));
        failure
    }

    fn ended(&self) -> Option<SessionError> {
        self.lock().ended.clone()
    }

    fn send(&self, kind: Kind, stream: u32, payload: &[u8]) {
        let mut frame = Vec::with_capacity(payload.len() + 16);
        encode(&mut frame, kind, stream, payload);
        // A writer that is gone has noted why; the reply that waits for an answer will hear it.
        let _ = self.frames_tx.send(frame);
    }

    /// Ends the conversation because its pipe broke.
    async fn lose(&self, reason: SessionError) {
        let witness = {
            let mut state = self.lock();
            if state.hearing {
                // Whoever noticed first asks; its answer is for both.
                return;
            }
            state.hearing = true;
            state.witness.take()
        };
        let what = match (&reason, witness) {
            (
                SessionError::Closed | SessionError::Silent | SessionError::Pipe(_),
                Some(witness),
            ) => witness.await,
            _ => None,
        };
        self.end(what.map_or(reason, |what| SessionError::Lost { what }));
    }

    /// Ends the conversation: every open reply learns why. The first reason stays.
    fn end(&self, reason: SessionError) {
        let mut state = self.lock();
        let reason = state.ended.get_or_insert(reason).clone();
        for (_, stream) in state.streams.drain() {
            // A reply that nobody reads any more needs no reason.
            let _ = stream.events_tx.send(Event::Failed(reason.clone().into()));
            if let Some(input) = &stream.input {
                input.close();
            }
        }
    }
}
