//! A request and its response over HTTP/1.1 (RFC 9112).

use std::{io::ErrorKind, time::Instant};

use bstr::BString;
use nix::poll::PollFlags;

use super::{
    HEAD_LIMIT, HEAD_TIME, INTERIM_LIMIT, PART,
    body::{self, Decoder},
    http2,
    wire::Wire,
};
use crate::{
    agent::{
        Stop,
        steps::{Deadline, Steps},
        target::errno_of,
    },
    protocol::message::{BodyEnd, Ending, HttpHead, HttpRequest, HttpVersion, Phase, ProbeRecord},
};

/// The most fields of a head.
const FIELD_LIMIT: usize = 512;

/// A request and its response.
pub(super) struct Conversation<'a> {
    request: &'a HttpRequest,
    wire: Wire,
    /// What came and was not understood yet.
    pending: Vec<u8>,
    buffer: Vec<u8>,
    first_byte: Option<u64>,
    sent_at: u64,
    body: u64,
    phase: Phase,
    interim: u32,
}

/// What reading comes to.
enum Come {
    /// So many bytes, at the beginning of the buffer.
    Bytes(usize),
    /// It is over.
    Over(Ending),
}

impl<'a> Conversation<'a> {
    pub(super) fn new(request: &'a HttpRequest, wire: Wire) -> Self {
        Self {
            request,
            wire,
            pending: Vec::new(),
            buffer: vec![0; PART],
            first_byte: None,
            sent_at: 0,
            body: 0,
            phase: Phase::Send,
            interim: 0,
        }
    }

    pub(super) fn run(mut self, steps: &mut Steps<'_>) -> Result<(), Stop> {
        let ending = self.exchange(steps)?;
        steps.tell(ProbeRecord::BodyEnd(Box::new(BodyEnd {
            at: steps.now(),
            phase: self.phase,
            sent: self.wire.sent(),
            acknowledged: self.wire.acknowledged(),
            received: self.wire.received(),
            body: self.body,
            ending,
            http2: None,
        })))
    }

    fn exchange(&mut self, steps: &mut Steps<'_>) -> Result<Ending, Stop> {
        if let Some(ending) = self.send(steps)? {
            // A server that refuses a body answers, and closes before it was sent whole.
            let is_broken = matches!(ending, Ending::Failed { .. });
            if !is_broken {
                return Ok(ending);
            }
        }
        self.sent_at = steps.now();
        self.phase = Phase::Head;
        let mut decoder = match self.head(steps)? {
            Ok(decoder) => decoder,
            Err(ending) => return Ok(ending),
        };
        self.phase = Phase::Body;
        self.body(steps, &mut decoder)
    }

    /// Sends head and body; answers why not.
    fn send(&mut self, steps: &mut Steps<'_>) -> Result<Option<Ending>, Stop> {
        let bytes = written(self.request);
        let mut rest = bytes.as_slice();
        let mut deadline = steps.within(self.request.idle_limit);
        while !rest.is_empty() || !self.wire.is_flushed() {
            let result = if rest.is_empty() {
                self.wire.flush().map(|()| 0)
            } else {
                self.wire.write(rest)
            };
            match result {
                Ok(count) => {
                    rest = rest.get(count..).unwrap_or_default();
                    deadline = steps.within(self.request.idle_limit);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    let interest = [(self.wire.tcp(), PollFlags::POLLOUT)];
                    let interest = interest.map(|(tcp, flags)| (tcp as _, flags));
                    if !steps.wait(&interest, deadline, Phase::Send)? {
                        return Ok(Some(Ending::TimedOut {
                            after: deadline.after,
                            phase: Phase::Send,
                        }));
                    }
                }
                Err(error) => {
                    let errno = errno_of(&error) as i32;
                    return Ok(Some(Ending::Failed { errno }));
                }
            }
        }
        Ok(None)
    }

    /// Reads what comes next.
    fn read(&mut self, steps: &mut Steps<'_>, deadline: Deadline) -> Result<Come, Stop> {
        loop {
            // Also where there is always something to read.
            if deadline.has_passed() {
                let (after, phase) = (deadline.after, self.phase);
                return Ok(Come::Over(Ending::TimedOut { after, phase }));
            }
            match self.wire.read(&mut self.buffer) {
                Ok(0) => return Ok(Come::Over(Ending::Closed)),
                Ok(count) => {
                    self.first_byte.get_or_insert(steps.now());
                    return Ok(Come::Bytes(count));
                }
                Err(error) => match error.kind() {
                    ErrorKind::Interrupted => {}
                    ErrorKind::WouldBlock => {
                        let interest = self.wire.interest();
                        if !steps.wait(&[(self.wire.tcp(), interest)], deadline, self.phase)? {
                            return Ok(Come::Over(Ending::TimedOut {
                                after: deadline.after,
                                phase: self.phase,
                            }));
                        }
                    }
                    ErrorKind::InvalidData => {
                        return Ok(Come::Over(Ending::Garbled(error.to_string())));
                    }
                    _ => {
                        let errno = errno_of(&error) as i32;
                        return Ok(Come::Over(Ending::Failed { errno }));
                    }
                },
            }
        }
    }

    /// Reads heads until the final one.
    fn head(&mut self, steps: &mut Steps<'_>) -> Result<Result<Decoder, Ending>, Stop> {
        let started = Instant::now();
        loop {
            match self.parse_head(steps)? {
                Ok(Some(decoder)) => return Ok(Ok(decoder)),
                Ok(None) => {}
                Err(why) => return Ok(Err(Ending::Garbled(why))),
            }
            if started.elapsed() > HEAD_TIME {
                let after = u32::try_from(HEAD_TIME.as_millis()).unwrap_or(u32::MAX);
                let phase = Phase::Head;
                return Ok(Err(Ending::TimedOut { after, phase }));
            }
            let deadline = steps.within(self.request.idle_limit);
            match self.read(steps, deadline)? {
                Come::Over(ending) => return Ok(Err(ending)),
                Come::Bytes(count) => {
                    let bytes = self.buffer.get(..count).unwrap_or_default();
                    self.pending.extend_from_slice(bytes);
                }
            }
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
                sent_at: self.sent_at,
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

    /// Passes the body on.
    fn body(&mut self, steps: &mut Steps<'_>, decoder: &mut Decoder) -> Result<Ending, Stop> {
        let mut bytes = std::mem::take(&mut self.pending);
        loop {
            // Put together: a server may send chunks of one byte.
            let mut part = Vec::with_capacity(bytes.len());
            let taken = decoder.take(&bytes, |some| {
                part.extend_from_slice(some);
                Ok::<_, Stop>(())
            })?;
            self.body += part.len() as u64;
            for part in part.chunks(PART) {
                steps.tell(ProbeRecord::Body(part.into()))?;
            }
            if let Err(why) = taken {
                return Ok(Ending::Garbled(why));
            }
            if decoder.is_done() {
                return Ok(Ending::Done);
            }
            let deadline = steps.within(self.request.idle_limit);
            match self.read(steps, deadline)? {
                Come::Over(Ending::Closed) if decoder.may_close() => return Ok(Ending::Done),
                Come::Over(ending) => return Ok(ending),
                Come::Bytes(count) => {
                    bytes.clear();
                    bytes.extend_from_slice(self.buffer.get(..count).unwrap_or_default());
                }
            }
        }
    }
}

/// The request as it goes out.
fn written(request: &HttpRequest) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(512 + request.body.len());
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
    bytes.extend_from_slice(b"\r\n");
    bytes.extend_from_slice(&request.body);
    bytes
}
