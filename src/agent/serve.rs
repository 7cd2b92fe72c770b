//! The serve loop: one conversation over two pipes, many requests at once.
//!
//! The main thread reads frames, keeps the clock and never waits for anything but its input. Each request
//! runs in a thread of its own, at most [`WORKERS`] at a time, and writes its frames itself, one frame per
//! lock of the pipe. A worker that has used up its stream's credit sleeps until the client grants more, so
//! a reader that is slow, or stopped, costs one frame of memory.
//!
//! The loop ends with the client's goodbye, with the end of its input, or after silence. A closed pipe
//! cannot be relied on: closing a websocket does not end the process that it started.

use std::{
    collections::{HashMap, VecDeque},
    fs::File,
    io::{self, Read as _, Write as _},
    os::fd::{AsFd, BorrowedFd},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Instant,
};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use thiserror::Error;

use super::{
    http,
    output::{Output, Stop},
    probe,
    run::{self, Channel, Families, Family, Inbox, Message},
};
use crate::protocol::{
    Beat, Decoder, Frame, FrameBuffer, FrameError, Hello, HelloError, Kind, Liveness, MAX_PAYLOAD,
    OutgoingStream, StreamError, encode,
    message::{Cause, Failure, Request, from_bytes, to_bytes},
};

/// Requests that run at once. Each holds a thread and at most one frame buffer (256 KiB).
const WORKERS: usize = 32;
/// Requests that wait for a worker; a client that asks for more is told that the agent is busy.
const WAITING: usize = 1024;
/// Enough for every probe; the default of 2 MiB would only be address space, but there may be many.
const STACK: usize = 512 * 1024;

/// Why a conversation ended.
#[derive(Debug, Error)]
pub enum Ended {
    /// The client closed its end without a goodbye.
    #[error("the client closed the pipe with {unacknowledged} streams unfinished")]
    Closed {
        /// Streams that the client has not acknowledged.
        unacknowledged: usize,
    },
    /// The client has not been heard for too long.
    #[error("the client has said nothing for {} s", crate::protocol::SILENCE_LIMIT.as_secs())]
    Silent,
    /// What came is not a frame.
    #[error("the client's bytes cannot be understood: {0}")]
    Garbled(#[from] FrameError),
    /// The client is not a kdbg of this build.
    #[error("{0}")]
    Stranger(#[from] HelloError),
    /// A command's input did not arrive as it was sent.
    #[error("the client's stream is damaged: {0}")]
    Damaged(#[from] StreamError),
    /// The pipe is broken.
    #[error("the pipe is broken: {0}")]
    Pipe(#[from] io::Error),
}

/// Talks with one client until it says goodbye. What it had started then has ended too.
pub fn serve(input: File, output: File) -> Result<(), Ended> {
    let conversation = Arc::new(Conversation {
        pipe: Mutex::new(Pipe {
            output,
            said: Instant::now(),
            scratch: Vec::new(),
        }),
        streams: Mutex::default(),
        queue: Mutex::default(),
        families: Families::default(),
    });
    conversation
        .lock_pipe()
        .write(Kind::Hello, 0, &Hello::ours().encode())?;
    let reader = Reader {
        input,
        decoder: Decoder::default(),
        liveness: Liveness::new(Instant::now()),
        greeted: false,
    };
    let ended = reader.run(&conversation);
    // Here and not in their own threads: those may wait for a pipe that nobody reads.
    conversation.families.end();
    ended
}

/// The main thread's half.
struct Reader {
    input: File,
    decoder: Decoder,
    liveness: Liveness,
    greeted: bool,
}

impl Reader {
    fn run(mut self, conversation: &Arc<Conversation>) -> Result<(), Ended> {
        loop {
            if let Some(said) = conversation.last_said() {
                self.liveness.said(said);
            }
            let wait = match self.liveness.beat(Instant::now()) {
                Beat::Silent => return Err(Ended::Silent),
                Beat::Ping => {
                    conversation.ping()?;
                    self.liveness.said(Instant::now());
                    continue;
                }
                Beat::Wait(wait) => wait,
            };
            let timeout = PollTimeout::try_from(wait).unwrap_or(PollTimeout::MAX);
            match poll(
                &mut [PollFd::new(self.input.as_fd(), PollFlags::POLLIN)],
                timeout,
            ) {
                Ok(0) | Err(nix::errno::Errno::EINTR) => continue,
                Ok(_) => {}
                Err(errno) => return Err(Ended::Pipe(errno.into())),
            }
            match self.input.read(self.decoder.space()) {
                Ok(0) => {
                    return Err(Ended::Closed {
                        unacknowledged: conversation.lock_streams().len(),
                    });
                }
                Ok(count) => self.decoder.filled(count),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(Ended::Pipe(error)),
            }
            self.liveness.heard(Instant::now());
            if self.handle_frames(conversation)? {
                return Ok(());
            }
        }
    }

    /// Handles what has arrived; answers whether the client said goodbye.
    fn handle_frames(&mut self, conversation: &Arc<Conversation>) -> Result<bool, Ended> {
        while let Some(frame) = self.decoder.next_frame()? {
            if !self.greeted && frame.kind != Kind::Hello {
                return Err(Ended::Stranger(HelloError::NotKdbg));
            }
            match frame.kind {
                Kind::Hello => {
                    Hello::decode(frame.payload)?;
                    self.greeted = true;
                }
                Kind::Request => conversation.accept(frame.stream, from_bytes(frame.payload))?,
                Kind::Credit => {
                    if let Ok(credit) = frame.payload.try_into() {
                        conversation.update(frame.stream, |books| {
                            books.outgoing.grant(u32::from_le_bytes(credit));
                        });
                    }
                }
                Kind::Cancel => {
                    conversation.update(frame.stream, |books| books.cancelled = true);
                    conversation.lock_streams().remove(&frame.stream);
                }
                Kind::Ack => drop(conversation.lock_streams().remove(&frame.stream)),
                Kind::Goodbye => return Ok(true),
                Kind::Input | Kind::InputEnd | Kind::Resize | Kind::Signal => {
                    conversation.deliver(&frame)?;
                }
                // Pings need no answer; the rest is for the other direction.
                Kind::Ping
                | Kind::Head
                | Kind::Data
                | Kind::ErrorData
                | Kind::Hole
                | Kind::End
                | Kind::Failure => {}
            }
        }
        Ok(false)
    }
}

/// What the threads share.
struct Conversation {
    pipe: Mutex<Pipe>,
    /// The streams that the client has not acknowledged yet.
    streams: Mutex<HashMap<u32, Arc<Stream>>>,
    queue: Mutex<Queue>,
    /// What was started for the client and has not ended.
    families: Families,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<(u32, Arc<Stream>, Result<Request, Cause>)>,
    running: usize,
}

#[derive(Default)]
struct Stream {
    books: Mutex<Books>,
    changed: Condvar,
    /// What the client sends to a command.
    inbox: Option<Inbox>,
}

#[derive(Default)]
struct Books {
    outgoing: OutgoingStream,
    cancelled: bool,
}

struct Pipe {
    output: File,
    said: Instant,
    scratch: Vec<u8>,
}

/// No thread panics while it holds one of these locks: nothing in them can fail half-way.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Pipe {
    fn write(&mut self, kind: Kind, stream: u32, payload: &[u8]) -> io::Result<()> {
        self.scratch.clear();
        encode(&mut self.scratch, kind, stream, payload);
        self.output.write_all(&self.scratch)?;
        self.said = Instant::now();
        Ok(())
    }

    fn write_sealed(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.output.write_all(bytes)?;
        self.said = Instant::now();
        Ok(())
    }
}

impl Conversation {
    fn lock_pipe(&self) -> MutexGuard<'_, Pipe> {
        lock(&self.pipe)
    }

    fn lock_streams(&self) -> MutexGuard<'_, HashMap<u32, Arc<Stream>>> {
        lock(&self.streams)
    }

    /// When this side last said something; `None` while a worker is saying something, or waits to.
    fn last_said(&self) -> Option<Instant> {
        self.pipe.try_lock().ok().map(|pipe| pipe.said)
    }

    /// Sends a ping unless that would wait: a pipe that is full, or in use, carries content already.
    fn ping(&self) -> io::Result<()> {
        let Ok(mut pipe) = self.pipe.try_lock() else {
            return Ok(());
        };
        let writable = poll(
            &mut [PollFd::new(pipe.output.as_fd(), PollFlags::POLLOUT)],
            PollTimeout::ZERO,
        )?;
        if writable == 0 {
            Ok(())
        } else {
            pipe.write(Kind::Ping, 0, &[])
        }
    }

    fn update(&self, stream: u32, change: impl FnOnce(&mut Books)) {
        let stream = self.lock_streams().get(&stream).map(Arc::clone);
        if let Some(stream) = stream {
            change(&mut lock(&stream.books));
            stream.changed.notify_all();
            if let Some(inbox) = &stream.inbox {
                inbox.wake();
            }
        }
    }

    /// Hands something to a running command; one that has ended needs it no more.
    fn deliver(&self, frame: &Frame<'_>) -> Result<(), StreamError> {
        let stream = self.lock_streams().get(&frame.stream).map(Arc::clone);
        match stream.as_ref().and_then(|stream| stream.inbox.as_ref()) {
            Some(inbox) => inbox.receive(frame),
            None => Ok(()),
        }
    }

    /// Starts a request, or queues it. A refusal is queued too: this thread must not wait for the pipe.
    fn accept(self: &Arc<Self>, number: u32, request: Option<Request>) -> io::Result<()> {
        let inbox = match &request {
            Some(request) if request.has_input() => Some(Inbox::new()?),
            _ => None,
        };
        let stream = Arc::new(Stream {
            inbox,
            ..Stream::default()
        });
        let is_new = self
            .lock_streams()
            .insert(number, Arc::clone(&stream))
            .is_none();
        let mut queue = lock(&self.queue);
        let job = match request {
            Some(request) if is_new && queue.waiting.len() < WAITING => Ok(request),
            Some(_) if is_new => Err(Cause::Busy),
            _ => Err(Cause::BadRequest),
        };
        queue.waiting.push_back((number, stream, job));
        if queue.running < WORKERS {
            queue.running += 1;
            let conversation = Arc::clone(self);
            let worker = thread::Builder::new()
                .name("worker".to_owned())
                .stack_size(STACK);
            if let Err(error) = worker.spawn(move || conversation.work()) {
                queue.running -= 1;
                // Without a single worker the queue would never move.
                return if queue.running == 0 {
                    Err(error)
                } else {
                    Ok(())
                };
            }
        }
        Ok(())
    }

    /// A worker's life: takes requests until there is none.
    fn work(self: &Arc<Self>) {
        let mut buffer = None;
        loop {
            let next = {
                let mut queue = lock(&self.queue);
                let next = queue.waiting.pop_front();
                if next.is_none() {
                    queue.running -= 1;
                }
                next
            };
            let Some((number, stream, job)) = next else {
                return;
            };
            let mut output = StreamOutput {
                conversation: self,
                number,
                stream: &stream,
                buffer: &mut buffer,
            };
            let answer = match job {
                Ok(request) => output.checkpoint().and_then(|()| match &request {
                    Request::Run(run) => run::answer(run, &mut output),
                    other => {
                        let input = StreamInput::of(self, number, &stream);
                        let input = input.as_ref().map(|input| input as &dyn http::Input);
                        probe::answer_with(other, input, &mut output)
                    }
                }),
                Err(cause) => Err(Failure::new("answer the request", cause).into()),
            };
            // A pipe that is broken by now shows itself to the main thread too.
            let _ = self.conclude(number, &stream, answer);
        }
    }

    /// Lets the client send more.
    fn grant(&self, number: u32, credit: Option<u32>) -> Result<(), Stop> {
        let Some(credit) = credit else {
            return Ok(());
        };
        self.lock_pipe()
            .write(Kind::Credit, number, &credit.to_le_bytes())
            .map_err(|_| Stop::Broken)
    }

    fn conclude(
        &self,
        number: u32,
        stream: &Stream,
        answer: Result<Vec<u8>, Stop>,
    ) -> io::Result<()> {
        match answer {
            Ok(trailer) => {
                let end = lock(&stream.books).outgoing.end(trailer);
                self.lock_pipe().write(Kind::End, number, &to_bytes(&end))
            }
            Err(Stop::Failed(failure)) => {
                self.lock_pipe()
                    .write(Kind::Failure, number, &to_bytes(&failure))
            }
            Err(Stop::Cancelled | Stop::Broken) => Ok(()),
        }
    }
}

/// What the client sends beside a request.
struct StreamInput<'a> {
    conversation: &'a Conversation,
    number: u32,
    inbox: &'a Inbox,
}

impl<'a> StreamInput<'a> {
    fn of(conversation: &'a Conversation, number: u32, stream: &'a Stream) -> Option<Self> {
        let inbox = stream.inbox.as_ref()?;
        Some(Self {
            conversation,
            number,
            inbox,
        })
    }
}

impl http::Input for StreamInput<'_> {
    fn wake(&self) -> BorrowedFd<'_> {
        self.inbox.waker()
    }

    fn messages(&self) -> Vec<Message> {
        self.inbox.take()
    }

    fn took(&self, bytes: usize) -> Result<(), Stop> {
        self.conversation
            .grant(self.number, self.inbox.taken(bytes))
    }
}

/// The answer to one request, on its way to the client.
struct StreamOutput<'a> {
    conversation: &'a Conversation,
    number: u32,
    stream: &'a Stream,
    /// Kept by the worker from request to request.
    buffer: &'a mut Option<FrameBuffer>,
}

impl StreamOutput<'_> {
    /// Waits for credit.
    fn wait_for(&self, length: usize) -> Result<MutexGuard<'_, Books>, Stop> {
        let books = lock(&self.stream.books);
        let books = self
            .stream
            .changed
            .wait_while(books, |books| {
                !books.cancelled && !books.outgoing.may_send(length)
            })
            .unwrap_or_else(PoisonError::into_inner);
        if books.cancelled {
            Err(Stop::Cancelled)
        } else {
            Ok(books)
        }
    }

    fn send(&self, kind: Kind, payload: &[u8]) -> Result<(), Stop> {
        self.wait_for(payload.len())?.outgoing.sent(kind, payload);
        self.conversation
            .lock_pipe()
            .write(kind, self.number, payload)
            .map_err(|_| Stop::Broken)
    }

    /// Fills a frame and sends it.
    fn fill_frame(
        &mut self,
        kind: Kind,
        read: &mut dyn FnMut(&mut [u8]) -> io::Result<usize>,
    ) -> Result<io::Result<usize>, Stop> {
        // Credit first: a buffer filled now and sent much later would show an older state than its time.
        drop(self.wait_for(MAX_PAYLOAD)?);
        let mut buffer = self.buffer.take().unwrap_or_default();
        let result = read(buffer.payload_mut());
        if let Ok(count @ 1..) = result {
            let sent = {
                lock(&self.stream.books)
                    .outgoing
                    .sent(kind, buffer.payload(count));
                let sealed = buffer.seal(kind, self.number, count);
                self.conversation.lock_pipe().write_sealed(sealed)
            };
            sent.map_err(|_| Stop::Broken)?;
        }
        *self.buffer = Some(buffer);
        Ok(result)
    }

    /// Every request that is answered through a [`Channel`] has one (see `accept`).
    fn inbox(&self) -> &Inbox {
        self.stream
            .inbox
            .as_ref()
            .expect("a stream for a command is made with an inbox")
    }
}

impl Output for StreamOutput<'_> {
    fn head(&mut self, payload: &[u8]) -> Result<(), Stop> {
        self.send(Kind::Head, payload)
    }

    fn data(&mut self, payload: &[u8]) -> Result<(), Stop> {
        self.send(Kind::Data, payload)
    }

    fn hole(&mut self, length: u64) -> Result<(), Stop> {
        self.send(Kind::Hole, &length.to_le_bytes())
    }

    fn fill(
        &mut self,
        read: &mut dyn FnMut(&mut [u8]) -> io::Result<usize>,
    ) -> Result<io::Result<usize>, Stop> {
        self.fill_frame(Kind::Data, read)
    }

    fn checkpoint(&self) -> Result<(), Stop> {
        if lock(&self.stream.books).cancelled {
            Err(Stop::Cancelled)
        } else {
            Ok(())
        }
    }
}

impl Channel for StreamOutput<'_> {
    fn may_fill(&self) -> bool {
        lock(&self.stream.books).outgoing.may_send(MAX_PAYLOAD)
    }

    fn fill_errors(
        &mut self,
        read: &mut dyn FnMut(&mut [u8]) -> io::Result<usize>,
    ) -> Result<io::Result<usize>, Stop> {
        self.fill_frame(Kind::ErrorData, read)
    }

    fn wake(&self) -> BorrowedFd<'_> {
        self.inbox().waker()
    }

    fn messages(&mut self) -> Result<Vec<Message>, Stop> {
        let messages = self.inbox().take();
        self.checkpoint()?;
        Ok(messages)
    }

    fn took_input(&mut self, bytes: usize) -> Result<(), Stop> {
        self.conversation
            .grant(self.number, self.inbox().taken(bytes))
    }

    fn started(&mut self, family: &Arc<Family>) {
        self.conversation.families.add(family);
    }
}
