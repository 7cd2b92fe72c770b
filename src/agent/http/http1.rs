//! A request and its response over HTTP/1.1 (RFC 9112).

use std::{io::ErrorKind, ops::Range, time::Instant};

use bstr::BString;
use nix::poll::PollFlags;

use super::{
    HEAD_LIMIT, HEAD_TIME, INTERIM_LIMIT, PART,
    body::{self, Decoder},
    http2,
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
        BodyEnd, Ending, HttpHead, HttpRequest, HttpUpload, HttpVersion, Phase, ProbeRecord,
    },
};

/// The most fields of a head.
const FIELD_LIMIT: usize = 512;

/// So long a server that was asked whether it wants the body may say nothing, until it gets it (RFC 9110, section 10.1.1;
/// as long as curl waits).
const EXPECT_TIME: u32 = 1000;
/// So much is sent before it is looked again whether the server has answered already.
const TURN: usize = 1024 * 1024;

/// A request and its response: both under way at once, for a server may answer before it has read all.
pub(super) struct Conversation<'a> {
    request: &'a HttpRequest,
    wire: Wire,
    upload: Upload<'a>,
    outgoing: Outgoing,
    is_chunked: bool,
    /// The body waits until the server wants it, or until then.
    hold: Option<Deadline>,
    /// Nothing more is written.
    is_sent: bool,
    /// The error because of which that is so.
    broken: Option<i32>,
    /// What came and was not understood yet.
    pending: Vec<u8>,
    buffer: Vec<u8>,
    first_byte: Option<u64>,
    sent_at: Option<u64>,
    /// When the head began to be all that is waited for.
    head_since: Option<Instant>,
    decoder: Option<Decoder>,
    body: u64,
    phase: Phase,
    interim: u32,
}

/// What a step comes to.
enum Turn {
    Moved,
    Wait,
    Over(Ending),
}

impl<'a> Conversation<'a> {
    pub(super) fn new(request: &'a HttpRequest, wire: Wire, upload: Upload<'a>) -> Self {
        Self {
            request,
            wire,
            upload,
            outgoing: Outgoing::default(),
            is_chunked: has_field(request, "transfer-encoding", b"chunked"),
            hold: None,
            is_sent: false,
            broken: None,
            pending: Vec::new(),
            buffer: vec![0; PART],
            first_byte: None,
            sent_at: None,
            head_since: None,
            decoder: None,
            body: 0,
            phase: Phase::Send,
            interim: 0,
        }
    }

    pub(super) fn run(mut self, steps: &mut Steps<'_>) -> Result<(), Stop> {
        let ending = self.exchange(steps)?;
        self.upload.sent.bytes += self.outgoing.of_body();
        steps.tell(ProbeRecord::BodyEnd(Box::new(BodyEnd {
            at: steps.now(),
            phase: self.phase,
            sent: self.wire.sent(),
            acknowledged: self.wire.acknowledged(),
            received: self.wire.received(),
            body: self.body,
            upload: self.upload.sent,
            ending,
            http2: None,
        })))
    }

    fn exchange(&mut self, steps: &mut Steps<'_>) -> Result<Ending, Stop> {
        let expects = self.begin()?;
        let mut deadline = steps.within(self.request.idle_limit);
        if expects {
            self.hold = Some(steps.within(EXPECT_TIME));
        }
        loop {
            steps.checkpoint()?;
            steps.sign_of_life(self.phase)?;
            let has_sent = self.send(steps)?;
            let has_come = match self.receive(steps)? {
                Turn::Over(ending) => return Ok(ending),
                Turn::Moved => true,
                Turn::Wait => false,
            };
            // While it sends, only a server that reads is one that goes on.
            if has_sent || (has_come && self.phase != Phase::Send) {
                deadline = steps.within(self.request.idle_limit);
            }
            // Also where there is always something to do.
            if deadline.has_passed() || self.head_is_late() {
                return Ok(self.timed_out(deadline));
            }
            if !has_sent && !has_come && !self.wait(steps, &mut deadline)? {
                return Ok(self.timed_out(deadline));
            }
        }
    }

    /// Puts the head, and a body that is there, into the way out; answers whether the server is asked for leave first.
    fn begin(&mut self) -> Result<bool, Stop> {
        let is_streamed = matches!(self.request.body, HttpUpload::Input { .. });
        let asks = matches!(self.request.body, HttpUpload::Input { expect: true, .. });
        let has_asked = has_field(self.request, "expect", b"100-continue");
        self.outgoing.bytes = head(self.request, asks && !has_asked);
        self.outgoing.body = self.outgoing.bytes.len()..self.outgoing.bytes.len();
        let expects = (asks || has_asked) && !self.upload.is_empty();
        // Together with the head: what is small goes out at once.
        if !is_streamed && !expects && !self.upload.is_empty() {
            self.load()?;
        }
        Ok(expects)
    }

    /// Takes the next part of the body; answers whether there is something to write.
    fn load(&mut self) -> Result<bool, Stop> {
        if self.hold.is_some() {
            return Ok(false);
        }
        match self.upload.next()? {
            Next::Part(part) => {
                self.outgoing.load(&part, self.is_chunked);
                Ok(true)
            }
            Next::NotYet => Ok(false),
            Next::End if self.upload.sent.whole => Ok(false),
            Next::End => {
                self.upload.sent.whole = true;
                if self.is_chunked {
                    self.outgoing.bytes.extend_from_slice(b"0\r\n\r\n");
                }
                Ok(self.is_chunked)
            }
        }
    }

    /// Sends what may be sent; answers whether anything was.
    fn send(&mut self, steps: &Steps<'_>) -> Result<bool, Stop> {
        if self.hold.is_some_and(Deadline::has_passed) {
            self.hold = None;
        }
        let mut count = 0;
        while !self.is_sent && count < TURN {
            if self.outgoing.is_empty() {
                self.upload.sent.bytes += self.outgoing.clear();
                if self.load()? {
                    continue;
                }
            }
            let result = if self.outgoing.is_empty() {
                self.wire.flush().map(|()| 0)
            } else {
                self.wire.write(self.outgoing.rest())
            };
            match result {
                Ok(0) if self.outgoing.is_empty() => {
                    if self.upload.sent.whole || self.upload.sent.stopped {
                        self.all_sent(steps);
                    }
                    break;
                }
                Ok(some) => {
                    self.outgoing.at += some;
                    count += some;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                // A server that refuses a body answers, and closes before it was sent whole: what it said counts.
                Err(error) => {
                    self.is_sent = true;
                    self.broken = Some(errno_of(&error) as i32);
                }
            }
        }
        Ok(count > 0)
    }

    fn all_sent(&mut self, steps: &Steps<'_>) {
        self.is_sent = true;
        self.sent_at = Some(steps.now());
        if self.phase == Phase::Send {
            self.phase = Phase::Head;
            self.head_since = Some(Instant::now());
        }
    }

    fn head_is_late(&self) -> bool {
        self.phase == Phase::Head
            && self
                .head_since
                .is_some_and(|since| since.elapsed() > HEAD_TIME)
    }

    fn timed_out(&self, deadline: Deadline) -> Ending {
        Ending::TimedOut {
            after: if self.head_is_late() {
                u32::try_from(HEAD_TIME.as_millis()).unwrap_or(u32::MAX)
            } else {
                deadline.after
            },
            phase: self.phase,
        }
    }

    /// Waits for the server, or for the client where it is its turn; `false` once that has taken too long.
    fn wait(&mut self, steps: &mut Steps<'_>, deadline: &mut Deadline) -> Result<bool, Stop> {
        let mut interest = self.wire.interest();
        if !self.is_sent && !self.outgoing.is_empty() {
            interest |= PollFlags::POLLOUT;
        }
        let wake = self
            .upload
            .wake()
            .filter(|_| !self.is_sent && self.outgoing.is_empty() && self.hold.is_none());
        let until = self.hold.filter(|hold| hold.at < deadline.at);
        let until = until.unwrap_or(*deadline);
        let is_ready = match &wake {
            Some(wake) => {
                let sockets = [
                    (self.wire.tcp() as _, interest),
                    (wake as _, PollFlags::POLLIN),
                ];
                steps.wait(&sockets, until, self.phase)?
            }
            None => steps.wait(&[(self.wire.tcp(), interest)], until, self.phase)?,
        };
        if is_ready || self.hold.is_some() {
            return Ok(true);
        }
        if wake.is_some() && self.wire.is_flushed() {
            // The server waits too: for a client that may take as long as it likes, within the time for all of it.
            *deadline = steps.within(self.request.idle_limit);
            return Ok(!deadline.has_passed());
        }
        Ok(false)
    }

    /// Reads what has come, at most a buffer of it.
    fn receive(&mut self, steps: &mut Steps<'_>) -> Result<Turn, Stop> {
        match self.wire.read(&mut self.buffer) {
            Ok(0) => Ok(Turn::Over(match (&self.decoder, self.broken) {
                (Some(decoder), _) if decoder.may_close() => Ending::Done,
                (None, Some(errno)) => Ending::Failed { errno },
                _ => Ending::Closed,
            })),
            Ok(count) => {
                self.first_byte.get_or_insert(steps.now());
                let ending = self.understand(steps, count)?;
                Ok(ending.map_or(Turn::Moved, Turn::Over))
            }
            Err(error) => match error.kind() {
                ErrorKind::Interrupted => Ok(Turn::Moved),
                ErrorKind::WouldBlock => Ok(Turn::Wait),
                ErrorKind::InvalidData => Ok(Turn::Over(Ending::Garbled(error.to_string()))),
                _ => {
                    let errno = errno_of(&error) as i32;
                    Ok(Turn::Over(Ending::Failed { errno }))
                }
            },
        }
    }

    /// Takes apart what is at the beginning of the buffer; why it ends, when it does.
    fn understand(&mut self, steps: &mut Steps<'_>, count: usize) -> Result<Option<Ending>, Stop> {
        let bytes = self.buffer.get(..count).unwrap_or_default();
        self.pending.extend_from_slice(bytes);
        if self.decoder.is_none() {
            match self.parse_head(steps)? {
                Ok(None) => return Ok(None),
                Ok(Some(decoder)) => {
                    self.decoder = Some(decoder);
                    self.phase = Phase::Body;
                }
                Err(why) => return Ok(Some(Ending::Garbled(why))),
            }
        }
        self.pass_body(steps)
    }

    /// What a head means for a body that is still being sent: less than success makes the rest useless, as for curl.
    fn heed(&mut self, status: u16, interim: bool) {
        let held = self.hold.take().is_some();
        if !interim && !self.upload.sent.whole && (held || status >= 300) {
            self.upload.stop();
            self.is_sent = true;
        }
    }

    /// Tells the client of a head that has come whole; answers how to read the body behind a final one.
    fn parse_head(
        &mut self,
        steps: &mut Steps<'_>,
    ) -> Result<Result<Option<Decoder>, String>, Stop> {
        loop {
            let mut fields = vec![httparse::EMPTY_HEADER; FIELD_LIMIT];
            let mut response = httparse::Response::new(&mut fields);
            let length = match response.parse(&self.pending) {
                Ok(httparse::Status::Complete(length)) => length,
                Ok(httparse::Status::Partial) if self.pending.len() > HEAD_LIMIT => {
                    let why = format!("a head of more than {HEAD_LIMIT} bytes");
                    return Ok(Err(why));
                }
                Ok(httparse::Status::Partial) => return Ok(Ok(None)),
                Err(_) if http2::begins_with_settings(&self.pending) => {
                    let why =
                        "a frame of HTTP/2: the server speaks that without being asked (`--http2`)";
                    return Ok(Err(why.to_owned()));
                }
                Err(error) => return Ok(Err(format!("no head of HTTP/1: {error}"))),
            };
            let status = response.code.unwrap_or_default();
            let framing = match body::framing(&self.request.method, status, response.headers) {
                Ok(framing) => framing,
                Err(why) => return Ok(Err(why)),
            };
            let interim = (100..200).contains(&status) && status != 101;
            let head = HttpHead {
                first_byte: self.first_byte.unwrap_or_default(),
                at: steps.now(),
                sent: self.wire.sent(),
                sent_at: self.sent_at.unwrap_or_else(|| steps.now()),
                version: if response.version == Some(0) {
                    HttpVersion::Http10
                } else {
                    HttpVersion::Http11
                },
                status,
                reason: response.reason.unwrap_or_default().into(),
                fields: response
                    .headers
                    .iter()
                    .map(|field| (BString::from(field.name), BString::from(field.value)))
                    .collect(),
                body: framing,
                interim,
            };
            steps.tell(ProbeRecord::Head(Box::new(head)))?;
            self.pending.drain(..length);
            self.heed(status, interim);
            if !interim {
                return Ok(Ok(Some(Decoder::new(framing))));
            }
            self.interim += 1;
            if self.interim > INTERIM_LIMIT {
                let why = format!("more than {INTERIM_LIMIT} heads before the final one");
                return Ok(Err(why));
            }
        }
    }

    /// Passes on what has come of the body; why it ends, when it does.
    fn pass_body(&mut self, steps: &mut Steps<'_>) -> Result<Option<Ending>, Stop> {
        let bytes = std::mem::take(&mut self.pending);
        let Some(decoder) = &mut self.decoder else {
            return Ok(None);
        };
        // Put together: a server may send chunks of one byte.
        let mut part = Vec::with_capacity(bytes.len());
        let taken = decoder.take(&bytes, |some| {
            part.extend_from_slice(some);
            Ok::<_, Stop>(())
        })?;
        let is_done = decoder.is_done();
        self.body += part.len() as u64;
        for part in part.chunks(PART) {
            steps.tell(ProbeRecord::Body(part.into()))?;
        }
        // Its room is used again.
        self.pending = bytes;
        self.pending.clear();
        Ok(match taken {
            Err(why) => Some(Ending::Garbled(why)),
            Ok(()) => is_done.then_some(Ending::Done),
        })
    }
}

/// What is being written: the head, or a part of the body with what chunks put around it.
#[derive(Default)]
struct Outgoing {
    bytes: Vec<u8>,
    /// So much of them is written.
    at: usize,
    /// Which of them are the body's own.
    body: Range<usize>,
}

impl Outgoing {
    const fn is_empty(&self) -> bool {
        self.at >= self.bytes.len()
    }

    fn rest(&self) -> &[u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    /// Adds a part of the body.
    fn load(&mut self, part: &[u8], is_chunked: bool) {
        if is_chunked {
            let size = format!("{:x}\r\n", part.len());
            self.bytes.extend_from_slice(size.as_bytes());
        }
        self.body = self.bytes.len()..self.bytes.len() + part.len();
        self.bytes.extend_from_slice(part);
        if is_chunked {
            self.bytes.extend_from_slice(b"\r\n");
        }
    }

    /// How many bytes of the body were written.
    fn of_body(&self) -> u64 {
        let written = self.at.clamp(self.body.start, self.body.end) - self.body.start;
        written as u64
    }

    /// Empties it; answers how many bytes of the body were written.
    fn clear(&mut self) -> u64 {
        let written = self.of_body();
        self.bytes.clear();
        self.at = 0;
        self.body = 0..0;
        written
    }
}

/// Whether the request has a field with this value.
fn has_field(request: &HttpRequest, name: &str, value: &[u8]) -> bool {
    request.fields.iter().any(|(known, said)| {
        known.eq_ignore_ascii_case(name.as_bytes()) && said.trim_ascii().eq_ignore_ascii_case(value)
    })
}

/// The head of the request as it goes out.
fn head(request: &HttpRequest, asks: bool) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(1024);
    for part in [
        request.method.as_slice(),
        b" ",
        request.path.as_slice(),
        b" HTTP/1.1\r\n",
    ] {
        bytes.extend_from_slice(part);
    }
    for (name, value) in &request.fields {
        for part in [name.as_slice(), b": ", value.as_slice(), b"\r\n"] {
            bytes.extend_from_slice(part);
        }
    }
    if asks {
        bytes.extend_from_slice(b"Expect: 100-continue\r\n");
    }
    bytes.extend_from_slice(b"\r\n");
    bytes
}
