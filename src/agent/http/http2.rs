//! A request and its response over HTTP/2 (RFC 9113).
//!
//! The frames are the `h2` crate's, which is written for an asynchronous runtime. Here there is none: its parts are polled
//! in turn by this thread, which then waits for the socket as every other probe does, with a deadline and a phase.

use std::{
    cell::RefCell,
    future::Future,
    io,
    os::fd::BorrowedFd,
    pin::Pin,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    time::Instant,
};

use bstr::{BString, ByteSlice as _};
use bytes::Bytes;
use h2::{
    RecvStream, SendStream,
    client::{Connection, ResponseFuture, SendRequest},
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Uri, response::Parts};
use nix::poll::PollFlags;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{
    HEAD_LIMIT, HEAD_TIME, INTERIM_LIMIT,
    upload::{Next, Upload},
    wire::Wire,
};
use crate::{
    agent::{
        Stop,
        steps::{Deadline, Steps},
        target::errno_of,
    },
    protocol::message::{
        BodyEnd, Ending, Http2State, HttpBody, HttpHead, HttpRequest, HttpVersion, Phase,
        ProbeRecord,
    },
};

/// So much of a body may be under way before it was passed on; a server that fills it does not fill the agent.
const WINDOW: u32 = 1024 * 1024;
/// So much is read before the clock, the client and the phase are looked at again, however fast more comes.
const TURN: usize = 256 * 1024;
/// A frame's head: length, type, flags and stream.
const FRAME_HEAD: usize = 9;
const SETTINGS: u8 = 4;

/// A connection on which HTTP/2 is spoken.
pub(super) struct Conversation<'a> {
    request: &'a HttpRequest,
    wire: Rc<RefCell<Traffic>>,
    stage: Stage,
    upload: Upload<'a>,
    sending: Option<Sending>,
    state: Http2State,
    first_byte: Option<u64>,
    sent_at: Option<u64>,
    /// When the head began to be all that is waited for.
    head_since: Option<Instant>,
    body: u64,
    phase: Phase,
    interim: u32,
}

/// Both sides of a new connection.
type Opened = (SendRequest<Bytes>, Connection<Pipe, Bytes>);

/// How far it is.
enum Stage {
    Greeting(Pin<Box<dyn Future<Output = Result<Opened, h2::Error>>>>),
    Opening(SendRequest<Bytes>),
    Head(ResponseFuture),
    Body(RecvStream),
}

/// The body of the request.
struct Sending {
    stream: SendStream<Bytes>,
    /// The part that waits for room.
    left: Bytes,
    /// The client has to send more before anything can go out.
    is_starved: bool,
}

/// What a turn comes to.
enum Turn {
    /// There was something to do.
    Moved,
    /// The server's turn.
    Wait,
    Over(Ending),
}

impl<'a> Conversation<'a> {
    pub(super) fn new(request: &'a HttpRequest, wire: Wire, upload: Upload<'a>) -> Self {
        let wire = Rc::new(RefCell::new(Traffic::new(wire)));
        let mut builder = h2::client::Builder::new();
        builder
            .enable_push(false)
            .initial_window_size(WINDOW)
            .initial_connection_window_size(WINDOW)
            .max_header_list_size(u32::try_from(HEAD_LIMIT).unwrap_or(u32::MAX));
        let greeting = builder.handshake(Pipe(Rc::clone(&wire)));
        Self {
            request,
            wire,
            stage: Stage::Greeting(Box::pin(greeting)),
            upload,
            sending: None,
            state: Http2State::default(),
            first_byte: None,
            sent_at: None,
            head_since: None,
            body: 0,
            phase: Phase::Send,
            interim: 0,
        }
    }

    pub(super) fn run(mut self, steps: &mut Steps<'_>) -> Result<(), Stop> {
        let mut connection = None;
        let ending = self.exchange(steps, &mut connection)?;
        self.state.body_sent = self.upload.sent.bytes;
        self.state.body_waits = self
            .sending
            .as_ref()
            .map_or(0, |sending| sending.left.len() as u64);
        let traffic = self.wire.borrow();
        steps.tell(ProbeRecord::BodyEnd(Box::new(BodyEnd {
            at: steps.now(),
            phase: self.phase,
            sent: traffic.wire.sent(),
            acknowledged: traffic.wire.acknowledged(),
            received: traffic.wire.received(),
            body: self.body,
            upload: self.upload.sent,
            ending,
            http2: Some(self.state),
        })))
    }

    fn exchange(
        &mut self,
        steps: &mut Steps<'_>,
        connection: &mut Option<Connection<Pipe, Bytes>>,
    ) -> Result<Ending, Stop> {
        let woken = Arc::new(Woken(AtomicBool::new(false)));
        let waker = Waker::from(Arc::clone(&woken));
        let mut context = Context::from_waker(&waker);
        let mut deadline = steps.within(self.request.idle_limit);
        loop {
            woken.0.store(false, Ordering::Relaxed);
            steps.sign_of_life(self.phase)?;
            self.wire.borrow_mut().begin_turn();
            let broken = poll_connection(connection, &mut context);
            self.note(steps);
            let mut moved = false;
            let ending = loop {
                match self.turn(steps, connection, &mut context)? {
                    Turn::Moved => moved = true,
                    Turn::Wait => break None,
                    Turn::Over(ending) => break Some(ending),
                }
            };
            self.note(steps);
            // What had come before the connection broke counts.
            let verdict = self.verdict(broken, moved);
            match (ending, verdict) {
                // The connection knows the reason where the request only knows that it is over.
                (Some(Ending::Closed) | None, Some(verdict)) => return Ok(verdict),
                (Some(ending), _) => return Ok(ending),
                (None, None) => {}
            }
            if moved {
                deadline = steps.within(self.request.idle_limit);
                // That is so only when all of it has taken too long.
                if deadline.has_passed() {
                    return Ok(self.timed_out(deadline));
                }
                continue;
            }
            let head_is_late = self.phase == Phase::Head
                && self
                    .head_since
                    .is_some_and(|since| since.elapsed() > HEAD_TIME);
            if deadline.has_passed() || head_is_late {
                return Ok(self.timed_out(deadline));
            }
            if woken.0.load(Ordering::Relaxed) {
                // A flood of frames that mean nothing keeps it awake; the client is heard all the same.
                steps.checkpoint()?;
                continue;
            }
            if self.wait(steps, deadline)? {
                continue;
            }
            if self.starved().is_none() {
                return Ok(self.timed_out(deadline));
            }
            // The server waits too: for a client that may take as long as it likes, within the time for all of it.
            deadline = steps.within(self.request.idle_limit);
            if deadline.has_passed() {
                return Ok(self.timed_out(deadline));
            }
        }
    }

    /// Why it ends, when the connection does and nothing more is to be had from it.
    fn verdict(&self, broken: Option<Result<(), h2::Error>>, moved: bool) -> Option<Ending> {
        match broken? {
            Err(error) if !moved => Some(self.ending(&error)),
            Ok(()) if !moved => Some(Ending::Closed),
            _ => None,
        }
    }

    fn timed_out(&self, deadline: Deadline) -> Ending {
        Ending::TimedOut {
            after: deadline.after,
            phase: self.phase,
        }
    }

    fn wait(&self, steps: &mut Steps<'_>, deadline: Deadline) -> Result<bool, Stop> {
        let traffic = self.wire.borrow();
        let interest = traffic.interest();
        match self.starved() {
            Some(wake) => {
                let sockets = [
                    (traffic.wire.tcp() as _, interest),
                    (&wake as _, PollFlags::POLLIN),
                ];
                steps.wait(&sockets, deadline, self.phase)
            }
            None => steps.wait(&[(traffic.wire.tcp(), interest)], deadline, self.phase),
        }
    }

    /// Where the client is heard, when it is its turn.
    fn starved(&self) -> Option<BorrowedFd<'a>> {
        let sending = self.sending.as_ref()?;
        sending.is_starved.then(|| self.upload.wake()).flatten()
    }

    /// Notes when what was sent has gone, and when the server's first word came.
    fn note(&mut self, steps: &Steps<'_>) {
        let traffic = self.wire.borrow();
        if self.state.settings.is_none() && traffic.begins_with_settings() {
            self.state.settings = Some(steps.now());
        }
        let all_handed_over = self.sending.is_none() && !matches!(self.phase, Phase::Send);
        if self.sent_at.is_none() && all_handed_over && traffic.is_flushed() {
            self.sent_at = Some(steps.now());
            self.head_since = Some(Instant::now());
        }
    }

    /// One step further, when that is possible.
    fn turn(
        &mut self,
        steps: &mut Steps<'_>,
        connection: &mut Option<Connection<Pipe, Bytes>>,
        context: &mut Context<'_>,
    ) -> Result<Turn, Stop> {
        if self.send_body(context)? {
            return Ok(Turn::Moved);
        }
        match &mut self.stage {
            Stage::Greeting(greeting) => match greeting.as_mut().poll(context) {
                Poll::Pending => Ok(Turn::Wait),
                Poll::Ready(Ok((sender, opened))) => {
                    *connection = Some(opened);
                    self.stage = Stage::Opening(sender);
                    Ok(Turn::Moved)
                }
                Poll::Ready(Err(error)) => Ok(Turn::Over(self.ending(&error))),
            },
            Stage::Opening(sender) => {
                let ready = sender.poll_ready(context);
                match ready {
                    Poll::Pending => return Ok(Turn::Wait),
                    Poll::Ready(Err(error)) => return Ok(Turn::Over(self.ending(&error))),
                    Poll::Ready(Ok(())) => {}
                }
                let head = match head(self.request) {
                    Ok(head) => head,
                    Err(why) => return Ok(Turn::Over(Ending::Refused(why))),
                };
                let is_empty = self.upload.is_empty();
                self.upload.sent.whole = is_empty;
                match sender.send_request(head, is_empty) {
                    Ok((response, stream)) => {
                        self.begin_body(stream, is_empty);
                        self.stage = Stage::Head(response);
                        self.phase = Phase::Head;
                        // The connection is to be polled, or nothing goes out.
                        context.waker().wake_by_ref();
                        Ok(Turn::Wait)
                    }
                    Err(error) => Ok(Turn::Over(self.ending(&error))),
                }
            }
            Stage::Head(_) => self.receive_head(steps, context),
            Stage::Body(_) => self.receive_body(steps, context),
        }
    }

    fn begin_body(&mut self, stream: SendStream<Bytes>, is_empty: bool) {
        if !is_empty {
            self.sending = Some(Sending {
                stream,
                left: Bytes::new(),
                is_starved: false,
            });
        }
    }

    /// Hands over as much of the body as there is, and as the server gives room for; answers whether that was something.
    fn send_body(&mut self, context: &mut Context<'_>) -> Result<bool, Stop> {
        let Some(sending) = self.sending.as_mut().filter(|_| !self.upload.sent.stopped) else {
            return Ok(false);
        };
        if sending.left.is_empty() {
            let next = self.upload.next()?;
            sending.is_starved = matches!(next, Next::NotYet);
            match next {
                Next::Part(part) => sending.left = part,
                Next::NotYet => return Ok(false),
                Next::End => {
                    // Where the server wants no more, its answer tells why.
                    self.upload.sent.whole = sending.stream.send_data(Bytes::new(), true).is_ok();
                    self.sending = None;
                    context.waker().wake_by_ref();
                    return Ok(true);
                }
            }
        }
        sending.stream.reserve_capacity(sending.left.len());
        match sending.stream.poll_capacity(context) {
            Poll::Ready(Some(Ok(room))) if room > 0 => {
                let part = sending.left.split_to(room.min(sending.left.len()));
                let count = part.len() as u64;
                let is_last = sending.left.is_empty() && self.upload.is_empty();
                match sending.stream.send_data(part, is_last) {
                    Ok(()) => self.upload.sent.bytes += count,
                    // The answer tells why, where the server wants no more of it.
                    Err(_) => self.sending = None,
                }
                if is_last {
                    self.upload.sent.whole = self.sending.take().is_some();
                }
                context.waker().wake_by_ref();
                Ok(true)
            }
            // Reset, or ended: the answer tells why.
            Poll::Ready(Some(Err(_)) | None) => {
                self.sending = None;
                Ok(true)
            }
            Poll::Ready(Some(Ok(_))) | Poll::Pending => Ok(false),
        }
    }

    fn receive_head(
        &mut self,
        steps: &mut Steps<'_>,
        context: &mut Context<'_>,
    ) -> Result<Turn, Stop> {
        let Stage::Head(response) = &mut self.stage else {
            return Ok(Turn::Wait);
        };
        if let Poll::Ready(Some(Ok(interim))) = response.poll_informational(context) {
            let (parts, ()) = interim.into_parts();
            self.tell_head(steps, &parts, HttpBody::None, true)?;
            self.interim += 1;
            return Ok(if self.interim > INTERIM_LIMIT {
                let why = format!("more than {INTERIM_LIMIT} heads before the final one");
                Turn::Over(Ending::Garbled(why))
            } else {
                Turn::Moved
            });
        }
        match Pin::new(response).poll(context) {
            Poll::Pending => Ok(Turn::Wait),
            Poll::Ready(Err(error)) => Ok(Turn::Over(self.ending(&error))),
            Poll::Ready(Ok(response)) => {
                let (parts, body) = response.into_parts();
                let framing = if body.is_end_stream() {
                    HttpBody::None
                } else {
                    HttpBody::Stream
                };
                self.tell_head(steps, &parts, framing, false)?;
                // As for curl: after less than success the rest is useless.
                if self.sending.is_some() && parts.status.as_u16() >= 300 {
                    self.upload.stop();
                }
                self.phase = Phase::Body;
                self.stage = Stage::Body(body);
                Ok(Turn::Moved)
            }
        }
    }

    fn tell_head(
        &mut self,
        steps: &mut Steps<'_>,
        parts: &Parts,
        body: HttpBody,
        interim: bool,
    ) -> Result<(), Stop> {
        let at = steps.now();
        let first_byte = *self.first_byte.get_or_insert(at);
        let sent = self.wire.borrow().wire.sent();
        steps.tell(ProbeRecord::Head(Box::new(HttpHead {
            first_byte,
            at,
            sent,
            sent_at: self.sent_at.unwrap_or(at),
            version: HttpVersion::Http2,
            status: parts.status.as_u16(),
            reason: BString::default(),
            fields: fields(&parts.headers),
            body,
            interim,
        })))
    }

    fn receive_body(
        &mut self,
        steps: &mut Steps<'_>,
        context: &mut Context<'_>,
    ) -> Result<Turn, Stop> {
        let Stage::Body(stream) = &mut self.stage else {
            return Ok(Turn::Wait);
        };
        match stream.poll_data(context) {
            Poll::Ready(Some(Ok(part))) => {
                // Given back at once: what was read is passed on before more is.
                let released = stream.flow_control().release_capacity(part.len());
                self.body += part.len() as u64;
                if !part.is_empty() {
                    steps.tell(ProbeRecord::Body(part.as_ref().into()))?;
                }
                match released {
                    Ok(()) => Ok(Turn::Moved),
                    Err(error) => Ok(Turn::Over(self.ending(&error))),
                }
            }
            Poll::Ready(Some(Err(error))) => Ok(Turn::Over(self.ending(&error))),
            Poll::Ready(None) => match stream.poll_trailers(context) {
                Poll::Pending => Ok(Turn::Wait),
                Poll::Ready(Ok(trailers)) => {
                    if let Some(trailers) = trailers {
                        steps.tell(ProbeRecord::Trailers(fields(&trailers)))?;
                    }
                    Ok(Turn::Over(Ending::Done))
                }
                Poll::Ready(Err(error)) => Ok(Turn::Over(self.ending(&error))),
            },
            Poll::Pending => Ok(Turn::Wait),
        }
    }

    /// Who ended it, and how.
    fn ending(&self, error: &h2::Error) -> Ending {
        let traffic = self.wire.borrow();
        if traffic.beginning.len() >= FRAME_HEAD && !traffic.begins_with_settings() {
            let line = traffic.beginning.lines().next().unwrap_or_default();
            return Ending::Garbled(format!(
                "no HTTP/2, but what begins with `{}`: the server does not speak it here",
                line.escape_ascii()
            ));
        }
        if let Some(error) = error.get_io() {
            return match error.kind() {
                io::ErrorKind::InvalidData => Ending::Garbled(error.to_string()),
                io::ErrorKind::BrokenPipe | io::ErrorKind::UnexpectedEof if traffic.is_over => {
                    Ending::Closed
                }
                _ => Ending::Failed {
                    errno: errno_of(error) as i32,
                },
            };
        }
        match error.reason() {
            Some(reason) if error.is_remote() => Ending::Aborted {
                code: reason.into(),
                connection: error.is_go_away(),
            },
            _ => Ending::Garbled(error.to_string()),
        }
    }
}

/// Sends and takes frames; what it comes to when the connection is over.
fn poll_connection(
    connection: &mut Option<Connection<Pipe, Bytes>>,
    context: &mut Context<'_>,
) -> Option<Result<(), h2::Error>> {
    match Pin::new(connection.as_mut()?).poll(context) {
        Poll::Pending => None,
        Poll::Ready(result) => Some(result),
    }
}

/// The head as HTTP/2 has it: without what speaks of the connection, names in small letters.
fn head(request: &HttpRequest) -> Result<Request<()>, String> {
    let mut authority = None;
    let mut headers = HeaderMap::new();
    for (name, value) in &request.fields {
        let lower = name.to_ascii_lowercase();
        match lower.as_slice() {
            b"host" => authority = Some(value.to_str_lossy().into_owned()),
            b"connection" | b"keep-alive" | b"proxy-connection" | b"transfer-encoding"
            | b"upgrade" => {}
            _ => {
                let name = HeaderName::from_bytes(&lower).map_err(|error| error.to_string())?;
                let value = HeaderValue::from_bytes(value).map_err(|error| error.to_string())?;
                headers.append(name, value);
            }
        }
    }
    let uri = Uri::builder()
        .scheme(if request.tls { "https" } else { "http" })
        .authority(authority.unwrap_or_else(|| request.host.to_str_lossy().into_owned()))
        .path_and_query(request.path.as_slice())
        .build()
        .map_err(|error| error.to_string())?;
    let method = Method::from_bytes(&request.method).map_err(|error| error.to_string())?;
    let mut head = Request::new(());
    *head.method_mut() = method;
    *head.uri_mut() = uri;
    *head.headers_mut() = headers;
    Ok(head)
}

fn fields(headers: &HeaderMap) -> Vec<(BString, BString)> {
    headers
        .iter()
        .map(|(name, value)| (name.as_str().into(), value.as_bytes().into()))
        .collect()
}

/// Whether bytes begin with a frame of settings on stream 0, as all that a server says in HTTP/2 does.
pub(super) fn begins_with_settings(bytes: &[u8]) -> bool {
    bytes.len() >= FRAME_HEAD
        && bytes.get(3) == Some(&SETTINGS)
        && bytes.get(5..FRAME_HEAD) == Some(&[0; 4])
}

/// Remembers that something is to be polled again.
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The wire, and what its last use showed.
struct Traffic {
    wire: Wire,
    /// The first bytes that came: a frame's head, or another protocol.
    beginning: Vec<u8>,
    /// What may still be read in this turn.
    budget: usize,
    /// Whether the kernel takes no more for now.
    is_full: bool,
    is_over: bool,
}

impl Traffic {
    const fn new(wire: Wire) -> Self {
        Self {
            wire,
            beginning: Vec::new(),
            budget: TURN,
            is_full: false,
            is_over: false,
        }
    }

    fn begin_turn(&mut self) {
        self.budget = TURN;
        self.is_full = false;
    }

    fn is_flushed(&self) -> bool {
        !self.is_full && self.wire.is_flushed()
    }

    fn interest(&self) -> PollFlags {
        if self.is_flushed() {
            PollFlags::POLLIN
        } else {
            PollFlags::POLLIN | PollFlags::POLLOUT
        }
    }

    fn begins_with_settings(&self) -> bool {
        begins_with_settings(&self.beginning)
    }

    fn read(&mut self, buffer: &mut ReadBuf<'_>) -> io::Result<()> {
        let room = buffer.remaining().min(self.budget);
        let count = self.wire.read(buffer.initialize_unfilled_to(room))?;
        self.is_over |= count == 0;
        self.budget -= count;
        buffer.advance(count);
        let wanted = 64_usize.saturating_sub(self.beginning.len()).min(count);
        let filled = buffer.filled();
        let from = filled.len() - count;
        self.beginning
            .extend_from_slice(filled.get(from..from + wanted).unwrap_or_default());
        Ok(())
    }
}

/// The wire as `h2` uses it.
struct Pipe(Rc<RefCell<Traffic>>);

impl AsyncRead for Pipe {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut traffic = self.0.borrow_mut();
        if traffic.budget == 0 {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        ready(traffic.read(buffer))
    }
}

impl AsyncWrite for Pipe {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut traffic = self.0.borrow_mut();
        let written = ready(traffic.wire.write(bytes));
        traffic.is_full = written.is_pending();
        written
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready(self.0.borrow_mut().wire.flush())
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// A socket that would block says so when it is waited for.
fn ready<T>(result: io::Result<T>) -> Poll<io::Result<T>> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Poll::Pending,
        result => Poll::Ready(result),
    }
}
