//! A session that waits for a command: the greeting is done, and pings keep it alive.
//!
//! It is no [`crate::session::Session`], because it must be given away whole: nothing of the agent's may have been read
//! that the command will miss, and nothing half-written may be under way.

use std::time::{Duration, Instant};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    sync::{mpsc, oneshot},
    task::JoinHandle,
    time::{sleep, timeout},
};

use super::Pipe;
use crate::protocol::{Beat, Decoder, Hello, Kind, Liveness, SILENCE_LIMIT, encode};

/// An agent that is told to end hears it at once, or its node is gone.
const GOODBYE_LIMIT: Duration = Duration::from_secs(1);

/// A session that waits.
pub(super) struct Spare {
    /// Tells it from the others.
    pub(super) number: u64,
    /// Keeper -> its task: it is wanted. Dropped: it is not wanted any more.
    wanted_tx: oneshot::Sender<()>,
    waiting: JoinHandle<Result<Ready, String>>,
}

/// A session as a command gets it.
pub(super) struct Ready {
    pub(super) pipe: Pipe,
    /// What the agent has said that a command has to hear: its greeting, and perhaps the beginning of a frame.
    pub(super) said: Vec<u8>,
}

/// The pipe, and what is known of it.
struct Waiting {
    pipe: Pipe,
    decoder: Decoder,
    liveness: Liveness,
    /// The agent's greeting, as it came.
    greeting: Option<Vec<u8>>,
}

impl Spare {
    /// Greets an agent and has its session wait. Should it end while it waits, its number is said.
    pub(super) async fn greet(
        pipe: Pipe,
        number: u64,
        ended_tx: mpsc::UnboundedSender<u64>,
    ) -> Result<Self, String> {
        let mut waiting = Waiting {
            pipe,
            decoder: Decoder::default(),
            liveness: Liveness::new(Instant::now()),
            greeting: None,
        };
        timeout(SILENCE_LIMIT, waiting.greet())
            .await
            .map_err(|_| "the agent does not answer".to_owned())??;
        let (wanted_tx, wanted_rx) = oneshot::channel();
        let waiting = tokio::spawn(async move {
            let result = waiting.until(wanted_rx).await;
            if result.is_err() {
                // The keeper itself may have ended.
                let _ = ended_tx.send(number);
            }
            result
        });
        Ok(Self {
            number,
            wanted_tx,
            waiting,
        })
    }

    /// Gives the session away; says why when it has just ended.
    pub(super) async fn take(self) -> Result<Ready, String> {
        // Its task may have ended; that says why.
        let _ = self.wanted_tx.send(());
        self.waiting
            .await
            .unwrap_or_else(|error| Err(error.to_string()))
    }

    /// Tells the agent to end.
    pub(super) async fn close(self) {
        drop(self.wanted_tx);
        // Within the limit of its own goodbye.
        let _ = self.waiting.await;
    }
}

impl Ready {
    /// Tells an agent to end that nobody takes.
    pub(super) async fn close(mut self) {
        self.pipe.say_goodbye().await;
    }
}

impl Pipe {
    async fn say(&mut self, kind: Kind, payload: &[u8]) -> Result<(), String> {
        let mut frame = Vec::new();
        encode(&mut frame, kind, 0, payload);
        let saying = async {
            self.output.write_all(&frame).await?;
            self.output.flush().await
        };
        match timeout(SILENCE_LIMIT, saying).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(format!("the pipe to the agent is broken: {error}")),
            Err(_) => Err("the pipe to the agent is stuck".to_owned()),
        }
    }

    async fn say_goodbye(&mut self) {
        // Else the agent notices the silence.
        let _ = timeout(GOODBYE_LIMIT, async {
            let _ = self.say(Kind::Goodbye, &[]).await;
            let _ = self.output.shutdown().await;
        })
        .await;
    }
}

impl Waiting {
    /// Exchanges greetings.
    async fn greet(&mut self) -> Result<(), String> {
        self.pipe.say(Kind::Hello, &Hello::ours().encode()).await?;
        while self.greeting.is_none() {
            self.read().await?;
        }
        Ok(())
    }

    /// Takes in what the agent says next.
    async fn read(&mut self) -> Result<(), String> {
        match self.pipe.input.read(self.decoder.space()).await {
            Ok(0) => return Err("the agent has gone away".to_owned()),
            Ok(count) => self.decoder.filled(count),
            Err(error) => return Err(format!("the pipe to the agent is broken: {error}")),
        }
        self.liveness.heard(Instant::now());
        loop {
            match self.decoder.next_frame() {
                Ok(None) => return Ok(()),
                Ok(Some(frame)) => match (frame.kind, &self.greeting) {
                    (Kind::Hello, None) => {
                        Hello::decode(frame.payload).map_err(|error| error.to_string())?;
                        let mut greeting = Vec::new();
                        encode(&mut greeting, Kind::Hello, 0, frame.payload);
                        self.greeting = Some(greeting);
                    }
                    (Kind::Ping, Some(_)) => {}
                    (kind, _) => {
                        return Err(format!("the agent says what it was not asked ({kind:?})"));
                    }
                },
                Err(error) => return Err(error.to_string()),
            }
        }
    }

    /// Waits until it is wanted, or not any more.
    async fn until(mut self, mut wanted_rx: oneshot::Receiver<()>) -> Result<Ready, String> {
        loop {
            let wait = match self.liveness.beat(Instant::now()) {
                Beat::Silent => return Err("the agent has fallen silent".to_owned()),
                Beat::Ping => {
                    self.pipe.say(Kind::Ping, &[]).await?;
                    self.liveness.said(Instant::now());
                    continue;
                }
                Beat::Wait(wait) => wait,
            };
            tokio::select! {
                biased;
                wanted = &mut wanted_rx => {
                    if wanted.is_err() {
                        self.pipe.say_goodbye().await;
                        return Err("it is not wanted any more".to_owned());
                    }
                    let mut said = self.greeting.unwrap_or_default();
                    said.extend_from_slice(self.decoder.pending());
                    return Ok(Ready { pipe: self.pipe, said });
                }
                // A read that is not finished has taken nothing.
                result = self.read() => result?,
                () = sleep(wait) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{DuplexStream, duplex, split};

    use super::*;

    /// A pipe whose other end is the test's.
    fn pipe() -> (Pipe, DuplexStream) {
        let (ours, theirs) = duplex(64 * 1024);
        let (input, output) = split(ours);
        let pipe = Pipe {
            input: Box::new(input),
            output: Box::new(output),
        };
        (pipe, theirs)
    }

    fn frame(kind: Kind, payload: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        encode(&mut bytes, kind, 0, payload);
        bytes
    }

    fn greeting() -> Vec<u8> {
        frame(Kind::Hello, &Hello::ours().encode())
    }

    async fn heard(theirs: &mut DuplexStream, expected: &[u8]) {
        let mut bytes = vec![0; expected.len()];
        theirs.read_exact(&mut bytes).await.unwrap();
        assert_eq!(bytes, expected);
    }

    #[tokio::test]
    async fn a_spare_is_given_away_with_its_greeting_and_what_had_begun_to_arrive() {
        let (pipe, mut theirs) = pipe();
        let (ended_tx, _ended_rx) = mpsc::unbounded_channel();
        theirs.write_all(&greeting()).await.unwrap();
        let spare = Spare::greet(pipe, 1, ended_tx).await.unwrap();
        heard(&mut theirs, &greeting()).await;
        let ping = frame(Kind::Ping, &[]);
        theirs.write_all(&ping).await.unwrap();
        theirs.write_all(&ping[..5]).await.unwrap();
        // Until the spare has taken it in.
        sleep(Duration::from_millis(50)).await;
        let mut ready = spare.take().await.unwrap();
        theirs.write_all(&ping[5..]).await.unwrap();
        let mut rest = vec![0; ping.len() - 5];
        let at_once = ready.said.len() > greeting().len();
        if at_once {
            ready.pipe.input.read_exact(&mut rest).await.unwrap();
        } else {
            rest = vec![0; ping.len()];
            ready.pipe.input.read_exact(&mut rest).await.unwrap();
        }
        assert_eq!([ready.said, rest].concat(), [greeting(), ping].concat());
    }

    #[tokio::test]
    async fn a_spare_says_goodbye_when_it_is_not_wanted() {
        let (pipe, mut theirs) = pipe();
        let (ended_tx, mut ended_rx) = mpsc::unbounded_channel();
        theirs.write_all(&greeting()).await.unwrap();
        let spare = Spare::greet(pipe, 1, ended_tx).await.unwrap();
        heard(&mut theirs, &greeting()).await;
        spare.close().await;
        heard(&mut theirs, &frame(Kind::Goodbye, &[])).await;
        assert_eq!(ended_rx.recv().await, Some(1));
    }

    #[tokio::test]
    async fn an_agent_that_ends_is_noticed() {
        let (pipe, mut theirs) = pipe();
        let (ended_tx, mut ended_rx) = mpsc::unbounded_channel();
        theirs.write_all(&greeting()).await.unwrap();
        let spare = Spare::greet(pipe, 7, ended_tx).await.unwrap();
        drop(theirs);
        assert_eq!(ended_rx.recv().await, Some(7));
        assert_eq!(
            spare.take().await.err().as_deref(),
            Some("the agent has gone away")
        );
    }

    #[tokio::test]
    async fn an_agent_of_another_build_is_no_spare() {
        let (pipe, mut theirs) = pipe();
        let (ended_tx, _ended_rx) = mpsc::unbounded_channel();
        theirs
            .write_all(&frame(Kind::Hello, b"kdbg\x07\x00"))
            .await
            .unwrap();
        let error = Spare::greet(pipe, 1, ended_tx).await.err().unwrap();
        assert!(error.contains("protocol 7"), "{error}");
    }
}
