//! The keeper's loop: sessions on one side, commands on the other, and an eye on the clock.
//!
//! What the target is, and whether it is still the same, only its [`Source`] knows; the keeper asks it for the facts
//! again with every command, so that none is told what was true before. When a session that waited has ended by itself,
//! nothing new is started until it is known why, and nothing is added to a cluster but for a command that would add it
//! too.

use std::{
    collections::VecDeque,
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::{
    StreamExt as _,
    future::{self, BoxFuture},
    stream,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::UnixStream,
    sync::{mpsc, oneshot},
    task::JoinSet,
    time::{sleep, timeout},
};

use super::{
    Source, Trouble,
    folder::Lender,
    offer::{self, Ask, Offer},
    spare::{Ready, Spare},
};
use crate::protocol::Hello;

/// A command that has connected asks at once.
const ASK_LIMIT: Duration = Duration::from_secs(2);
/// For the facts, and again for a session; then the command is better served by itself.
const FACTS_LIMIT: Duration = Duration::from_secs(2);
/// A new session is begun so long after one was lent: just then its command wants the node's processor.
const REFILL_AFTER: Duration = Duration::from_millis(50);
/// Between two looks at a target that is gone, at first and at last.
const LOOK_AFTER: Duration = Duration::from_secs(1);
const LOOK_AT_LATEST: Duration = Duration::from_secs(30);
/// What is handed on at once.
const BUFFER: usize = 256 * 1024;
/// To tell the agent's side that its command has gone.
const CLOSE_LIMIT: Duration = Duration::from_secs(1);

/// How long to keep what.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Sessions that are held ready.
    pub spares: usize,
    /// The keeper ends when no command has come for this long.
    pub idle: Duration,
    /// The keeper ends after this time, whoever comes.
    pub life: Option<Duration>,
}

/// What a keeper tells its user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A session is ready: the first, or the first after something had gone wrong.
    Ready,
    /// There is none, and why.
    Fallen(String),
    /// It waits for so many commands before it ends.
    Ending(usize),
}

/// Why a keeper has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why {
    /// No command has come for long.
    Idle,
    /// Its time is over.
    Life,
    /// It was told to.
    Stopped,
    /// There is nothing to keep any more.
    Over(String),
}

/// Lends sessions until it has a reason to end.
pub struct Keeper {
    source: Arc<dyn Source>,
    settings: Settings,
    spares: VecDeque<Spare>,
    /// Sessions being made.
    starting: JoinSet<Result<Spare, Trouble>>,
    /// Sessions being ended.
    closing: JoinSet<()>,
    /// Commands that wait for one.
    waiting: VecDeque<oneshot::Sender<Ready>>,
    /// Commands that ask or have one.
    commands: JoinSet<()>,
    place: Place,
    /// What is being found out of the target: one question at a time.
    asking: JoinSet<Found>,
    /// How long to wait before the next look at a target that is gone.
    pause: Duration,
    /// What the user was told last: whether sessions can be had. Nothing, at first.
    told: Option<bool>,
    /// When the next session may be begun.
    refill: Instant,
    /// When a command was last here.
    used: Instant,
    number: u64,
    // command's task -> loop: what it wants or has found out
    news_tx: mpsc::UnboundedSender<News>,
    news_rx: mpsc::UnboundedReceiver<News>,
    // spare -> loop: it has ended by itself
    ended_tx: mpsc::UnboundedSender<u64>,
    ended_rx: mpsc::UnboundedReceiver<u64>,
    // loop -> user
    events_tx: mpsc::UnboundedSender<Event>,
}

/// Whether agents can be started.
#[derive(Clone, Copy)]
enum Place {
    Yes,
    /// The source is being asked.
    Asked,
    /// No; the target is looked at again at this moment.
    No(Instant),
}

enum News {
    Wanted(oneshot::Sender<Ready>),
    Trouble(Trouble),
}

/// What the source has said.
enum Found {
    /// What became of the target when a session had ended.
    Ended(Trouble),
    /// The same later, when it was known that something is wrong.
    Later(Trouble),
    /// Whether there is a place again.
    Stood(Result<(), Trouble>),
}

/// What the loop has waited for.
enum Woken {
    Connected(io::Result<UnixStream>),
    News(News),
    Started(Result<Spare, Trouble>),
    Ended(u64),
    Found(Found),
    CommandOver,
    Look,
    Refill,
    Idle,
    Life,
    Stopped,
}

impl Keeper {
    /// A keeper of what its source stands beside already.
    pub fn new(
        source: Arc<dyn Source>,
        settings: Settings,
        events_tx: mpsc::UnboundedSender<Event>,
    ) -> Self {
        let (news_tx, news_rx) = mpsc::unbounded_channel();
        let (ended_tx, ended_rx) = mpsc::unbounded_channel();
        Self {
            source,
            settings,
            spares: VecDeque::new(),
            starting: JoinSet::new(),
            closing: JoinSet::new(),
            waiting: VecDeque::new(),
            commands: JoinSet::new(),
            place: Place::Yes,
            asking: JoinSet::new(),
            pause: LOOK_AFTER,
            told: None,
            refill: Instant::now(),
            used: Instant::now(),
            number: 0,
            news_tx,
            news_rx,
            ended_tx,
            ended_rx,
            events_tx,
        }
    }

    /// Lends until the end. Told to stop once, it waits for the commands that have a session; told twice, it does not.
    pub async fn run(
        mut self,
        lenders: Vec<Lender>,
        mut stop_rx: mpsc::UnboundedReceiver<()>,
    ) -> Why {
        let born = Instant::now();
        let why = loop {
            self.fill();
            let woken = self.wait(&lenders, &mut stop_rx, born).await;
            if let Some(why) = self.handle(woken).await {
                break why;
            }
        };
        // From here on commands find nobody and go the ordinary way.
        drop(lenders);
        self.end(&why, stop_rx).await;
        why
    }

    /// Begins sessions until there are enough.
    fn fill(&mut self) {
        let is_due = self.refill <= Instant::now() || !self.waiting.is_empty();
        while is_due && self.is_missing() {
            self.number += 1;
            let (source, number) = (Arc::clone(&self.source), self.number);
            let ended_tx = self.ended_tx.clone();
            self.starting.spawn(async move {
                let pipe = source.start().await?;
                match Spare::greet(pipe, number, ended_tx).await {
                    Ok(spare) => Ok(spare),
                    Err(reason) => {
                        tracing::info!(reason, "a session did not begin");
                        Err(source.examine().await)
                    }
                }
            });
        }
    }

    /// Whether one more session is to be begun. Those that wait get what is being made, and the next ones are not to
    /// wait.
    fn is_missing(&self) -> bool {
        let there = self.spares.len() + self.starting.len();
        matches!(self.place, Place::Yes) && there < self.settings.spares + self.waiting.len()
    }

    async fn wait(
        &mut self,
        lenders: &[Lender],
        stop_rx: &mut mpsc::UnboundedReceiver<()>,
        born: Instant,
    ) -> Woken {
        let mut accepting: stream::FuturesUnordered<_> =
            lenders.iter().map(Lender::accept).collect();
        let is_idle = self.commands.is_empty();
        let idle = until(self.used + self.settings.idle);
        let life = self.settings.life.map(|life| until(born + life));
        let look = match self.place {
            Place::No(look) => Some(until(look)),
            Place::Yes | Place::Asked => None,
        };
        let refill = self.is_missing().then(|| until(self.refill));
        tokio::select! {
            _ = stop_rx.recv() => Woken::Stopped,
            Some(news) = self.news_rx.recv() => Woken::News(news),
            Some(started) = self.starting.join_next() => Woken::Started(flat(started)),
            Some(number) = self.ended_rx.recv() => Woken::Ended(number),
            Some(Ok(found)) = self.asking.join_next() => Woken::Found(found),
            Some(_) = self.commands.join_next() => Woken::CommandOver,
            Some(stream) = accepting.next() => Woken::Connected(stream),
            () = maybe(refill) => Woken::Refill,
            () = maybe(look) => Woken::Look,
            () = maybe(life) => Woken::Life,
            () = sleep(idle), if is_idle => Woken::Idle,
        }
    }

    async fn handle(&mut self, woken: Woken) -> Option<Why> {
        match woken {
            Woken::Connected(Ok(stream)) => {
                self.used = Instant::now();
                let command = Command {
                    source: Arc::clone(&self.source),
                    news_tx: self.news_tx.clone(),
                };
                self.commands.spawn(command.serve(stream));
            }
            // Out of descriptors, perhaps: the commands go the ordinary way meanwhile.
            Woken::Connected(Err(error)) => {
                tracing::warn!(%error, "a command could not connect");
                sleep(Duration::from_millis(100)).await;
            }
            Woken::News(News::Wanted(wanted_tx)) => {
                // Dropped when there is no place: it is told that there is none.
                if matches!(self.place, Place::Yes) {
                    self.waiting.push_back(wanted_tx);
                    self.give().await;
                }
            }
            Woken::News(News::Trouble(Trouble::Passing(_))) | Woken::Refill => {}
            Woken::News(News::Trouble(Trouble::Over(reason))) => return Some(Why::Over(reason)),
            Woken::News(News::Trouble(Trouble::Fallen(reason))) => self.stand(reason),
            Woken::Started(Ok(spare)) => {
                self.spares.push_back(spare);
                self.stands();
                self.give().await;
            }
            Woken::Started(Err(trouble)) => return self.fall(trouble),
            Woken::Ended(number) => {
                if self.spares.iter().any(|spare| spare.number == number) {
                    self.lose();
                }
            }
            Woken::Found(found) => return self.found(found),
            Woken::CommandOver => self.used = Instant::now(),
            Woken::Look => {
                self.ask(|source| Box::pin(async move { Found::Later(source.examine().await) }));
            }
            Woken::Idle => return Some(Why::Idle),
            Woken::Life => return Some(Why::Life),
            Woken::Stopped => return Some(Why::Stopped),
        }
        None
    }

    /// Gives the sessions that are there to the commands that wait for one.
    async fn give(&mut self) {
        // Commands that have given up do not count.
        self.waiting.retain(|wanted_tx| !wanted_tx.is_closed());
        while !self.waiting.is_empty()
            && let Some(spare) = self.spares.pop_front()
        {
            match spare.take().await {
                Ok(ready) => {
                    self.refill = Instant::now() + REFILL_AFTER;
                    if let Some(wanted_tx) = self.waiting.pop_front()
                        && let Err(ready) = wanted_tx.send(ready)
                    {
                        self.closing.spawn(ready.close());
                    }
                }
                Err(reason) => {
                    tracing::info!(reason, "a session had just ended");
                    return self.lose();
                }
            }
        }
    }

    /// A session has ended by itself: no other one is begun before it is known why.
    fn lose(&mut self) {
        if matches!(self.place, Place::Yes) {
            self.clear();
            self.ask(|source| Box::pin(async move { Found::Ended(source.examine().await) }));
        }
    }

    /// Ends what there is: none of it is worth anything any more.
    fn clear(&mut self) {
        self.starting.abort_all();
        // Whoever waits is told that there is none.
        self.waiting.clear();
        for spare in self.spares.drain(..) {
            self.closing.spawn(spare.close());
        }
    }

    /// Has the source asked, beside all else.
    fn ask(&mut self, question: impl FnOnce(Arc<dyn Source>) -> BoxFuture<'static, Found>) {
        self.place = Place::Asked;
        self.asking.spawn(question(Arc::clone(&self.source)));
    }

    /// A command has seen that the place is gone. It goes the ordinary way, so what this adds to the target is added
    /// anyway.
    fn stand(&mut self, reason: String) {
        if !matches!(self.place, Place::Asked) {
            self.clear();
            self.tell(reason);
            self.ask(|source| Box::pin(async move { Found::Stood(source.stand().await) }));
        }
    }

    fn found(&mut self, found: Found) -> Option<Why> {
        match found {
            Found::Ended(trouble) | Found::Stood(Err(trouble)) => return self.fall(trouble),
            Found::Later(trouble @ (Trouble::Over(_) | Trouble::Fallen(_))) => {
                return self.fall(trouble);
            }
            // All is there: only the connection had broken.
            Found::Later(Trouble::Passing(_)) | Found::Stood(Ok(())) => {
                self.place = Place::Yes;
                self.refill = Instant::now();
            }
        }
        None
    }

    /// There is no place, or no session can be begun there.
    fn fall(&mut self, trouble: Trouble) -> Option<Why> {
        let reason = match trouble {
            Trouble::Over(reason) => return Some(Why::Over(reason)),
            Trouble::Passing(reason) | Trouble::Fallen(reason) => reason,
        };
        self.clear();
        self.tell(reason);
        self.place = Place::No(Instant::now() + self.pause);
        self.pause = (self.pause * 2).min(LOOK_AT_LATEST);
        None
    }

    fn tell(&mut self, reason: String) {
        if self.told.replace(false) != Some(false) {
            // Nobody may be listening.
            let _ = self.events_tx.send(Event::Fallen(reason));
        }
    }

    /// A session has begun.
    fn stands(&mut self) {
        self.pause = LOOK_AFTER;
        if self.told.replace(true) != Some(true) {
            let _ = self.events_tx.send(Event::Ready);
        }
    }

    /// Ends what waits, and waits for what was lent.
    async fn end(mut self, why: &Why, mut stop_rx: mpsc::UnboundedReceiver<()>) {
        self.clear();
        while self.closing.join_next().await.is_some() {}
        if *why != Why::Stopped || self.commands.is_empty() {
            return;
        }
        let _ = self.events_tx.send(Event::Ending(self.commands.len()));
        // A command that has not got one yet is told that there is none.
        drop(self.news_rx);
        tokio::select! {
            _ = stop_rx.recv() => {}
            () = async { while self.commands.join_next().await.is_some() {} } => {}
        }
    }
}

/// A task that panicked or was ended has started nothing.
fn flat(started: Result<Result<Spare, Trouble>, tokio::task::JoinError>) -> Result<Spare, Trouble> {
    started.unwrap_or_else(|error| Err(Trouble::Passing(error.to_string())))
}

fn until(moment: Instant) -> Duration {
    moment.saturating_duration_since(Instant::now())
}

/// Waits for a moment, or for ever.
async fn maybe(wait: Option<Duration>) {
    match wait {
        Some(wait) => sleep(wait).await,
        None => future::pending().await,
    }
}

/// A command that has connected.
struct Command {
    source: Arc<dyn Source>,
    news_tx: mpsc::UnboundedSender<News>,
}

impl Command {
    async fn serve(self, mut stream: UnixStream) {
        // Whoever says nothing, or something else, is no command of ours.
        let Ok(Ok(ask)) = timeout(ASK_LIMIT, offer::receive::<Ask>(&mut stream)).await else {
            return;
        };
        let (facts, ready) = match self.find(&ask).await {
            Ok(found) => found,
            Err(reason) => {
                tracing::info!(reason, "a command gets no session");
                // It may have gone.
                let _ = offer::send(&mut stream, &Offer::None(reason)).await;
                return;
            }
        };
        let given = async {
            offer::send(&mut stream, &Offer::Given(facts)).await?;
            stream.write_all(&ready.said).await
        };
        match given.await {
            Ok(()) => splice(stream, ready).await,
            Err(_) => ready.close().await,
        }
    }

    async fn find(&self, ask: &Ask) -> Result<(serde_json::Value, Ready), String> {
        let ours = Hello::ours().name();
        if ask.build != ours {
            return Err(format!("it keeps sessions for kdbg {ours}"));
        }
        let facts = match timeout(FACTS_LIMIT, self.source.facts(ask)).await {
            Ok(Ok(facts)) => facts,
            Ok(Err(trouble)) => {
                let reason = trouble.to_string();
                // The keeper may be about to end.
                let _ = self.news_tx.send(News::Trouble(trouble));
                return Err(reason);
            }
            Err(_) => {
                return Err(format!(
                    "the target's state is not known after {} s",
                    FACTS_LIMIT.as_secs()
                ));
            }
        };
        let (wanted_tx, wanted_rx) = oneshot::channel();
        let _ = self.news_tx.send(News::Wanted(wanted_tx));
        match timeout(FACTS_LIMIT, wanted_rx).await {
            Ok(Ok(ready)) => Ok((facts, ready)),
            Ok(Err(_)) => Err("none can be had at the moment".to_owned()),
            Err(_) => Err(format!("none was ready in {} s", FACTS_LIMIT.as_secs())),
        }
    }
}

/// Hands the bytes of both on to each other until one of them ends. Then the other one learns of it.
async fn splice(stream: UnixStream, ready: Ready) {
    let (mut from_command, mut to_command) = stream.into_split();
    let mut pipe = ready.pipe;
    tokio::select! {
        _ = hand_on(&mut from_command, &mut pipe.output) => {
            // All that the command has said is on its way, perhaps its goodbye.
            let _ = timeout(CLOSE_LIMIT, pipe.output.shutdown()).await;
        }
        _ = hand_on(&mut pipe.input, &mut to_command) => {}
    }
}

async fn hand_on(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    loop {
        let count = from.read(&mut buffer).await?;
        let Some(bytes) = buffer.get(..count).filter(|bytes| !bytes.is_empty()) else {
            return Ok(());
        };
        to.write_all(bytes).await?;
        to.flush().await?;
    }
}
