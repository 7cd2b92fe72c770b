//! The answer to one request, while it arrives.

use std::{sync::Arc, time::Duration};

use serde::Deserialize;
use tokio::{sync::mpsc, time::timeout};

use super::{Event, RequestError, Shared};
use crate::protocol::{Kind, message::from_bytes};

/// A request that brings nothing for this long has stalled: the agent is there (it pings), but whatever it
/// reads hangs, a dead NFS server for example. Hashing a file of the largest size takes a tenth of it.
const STALL_LIMIT: Duration = Duration::from_mins(1);

/// A part of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// What was found, before its content.
    Head(Vec<u8>),
    /// The next bytes.
    Data(Vec<u8>),
    /// The next bytes that a command has written to its standard error.
    ErrorData(Vec<u8>),
    /// So many zero bytes that are a hole.
    Hole(u64),
}

/// An answer on its way. Dropping it before its end cancels the request.
pub struct Reply {
    number: u32,
    /// Reader task -> this reply: what arrived.
    events_rx: mpsc::UnboundedReceiver<Event>,
    shared: Arc<Shared>,
    trailer: Option<Vec<u8>>,
    over: bool,
    /// What was asked for, to say what has stalled.
    doing: &'static str,
    /// For how long nothing may come; a command may say nothing for as long as it likes.
    stall_limit: Option<Duration>,
}

impl Reply {
    pub(super) fn new(
        number: u32,
        events_rx: mpsc::UnboundedReceiver<Event>,
        shared: Arc<Shared>,
        doing: &'static str,
    ) -> Self {
        Self {
            number,
            events_rx,
            shared,
            trailer: None,
            over: false,
            doing,
            stall_limit: Some(STALL_LIMIT),
        }
    }

    /// The number of its stream.
    pub(super) const fn number(&self) -> u32 {
        self.number
    }

    /// Waits for ever, as long as the agent is there.
    pub(super) fn patient(mut self) -> Self {
        self.stall_limit = None;
        self
    }

    /// The next part; `None` once all has arrived and count and digest were found right.
    pub async fn next(&mut self) -> Result<Option<Piece>, RequestError> {
        if self.over {
            return Ok(None);
        }
        let event =
            match self.stall_limit {
                None => self.events_rx.recv().await,
                Some(limit) => timeout(limit, self.events_rx.recv()).await.map_err(|_| {
                    RequestError::Stalled {
                        seconds: limit.as_secs(),
                        doing: self.doing,
                    }
                })?,
            };
        match event {
            Some(Event::Piece(piece)) => {
                self.grant(&piece);
                Ok(Some(piece))
            }
            Some(Event::Complete { trailer }) => {
                self.over = true;
                self.trailer = Some(trailer);
                Ok(None)
            }
            Some(Event::Failed(error)) => {
                self.over = true;
                Err(error)
            }
            // The reader task was aborted with its session.
            None => {
                self.over = true;
                Err(super::SessionError::Closed.into())
            }
        }
    }

    /// Tells the agent that the piece no longer takes up room.
    fn grant(&self, piece: &Piece) {
        let length = match piece {
            Piece::Head(bytes) | Piece::Data(bytes) | Piece::ErrorData(bytes) => bytes.len(),
            Piece::Hole(_) => size_of::<u64>(),
        };
        let credit = self
            .shared
            .lock()
            .streams
            .get_mut(&self.number)
            .and_then(|stream| stream.books.taken(length));
        if let Some(credit) = credit {
            self.shared
                .send(Kind::Credit, self.number, &credit.to_le_bytes());
        }
    }

    /// The head of the answer, for requests that have one.
    pub async fn head<T: for<'a> Deserialize<'a>>(&mut self) -> Result<T, RequestError> {
        match self.next().await? {
            Some(Piece::Head(bytes)) => from_bytes(&bytes).ok_or(RequestError::Unreadable),
            _ => Err(RequestError::Unreadable),
        }
    }

    /// The trailer of an answer that has arrived whole.
    pub fn trailer<T: for<'a> Deserialize<'a>>(&self) -> Result<T, RequestError> {
        self.trailer
            .as_deref()
            .and_then(from_bytes)
            .ok_or(RequestError::Unreadable)
    }

    /// The next records of a list; `None` at its end.
    pub async fn batch<T: for<'a> Deserialize<'a>>(
        &mut self,
    ) -> Result<Option<Vec<T>>, RequestError> {
        match self.next().await? {
            None => Ok(None),
            Some(Piece::Data(bytes)) => {
                from_bytes(&bytes).map(Some).ok_or(RequestError::Unreadable)
            }
            Some(Piece::Head(_) | Piece::ErrorData(_) | Piece::Hole(_)) => {
                Err(RequestError::Unreadable)
            }
        }
    }

    /// All records of a list.
    pub async fn records<T: for<'a> Deserialize<'a>>(mut self) -> Result<Vec<T>, RequestError> {
        let mut records = Vec::new();
        while let Some(batch) = self.batch().await? {
            records.extend(batch);
        }
        Ok(records)
    }

    /// All bytes of the answer, holes filled with zeros, at most `limit` of them.
    pub async fn bytes(&mut self, limit: usize) -> Result<Vec<u8>, RequestError> {
        let mut content = Vec::new();
        while let Some(piece) = self.next().await? {
            let length = match &piece {
                Piece::Head(_) | Piece::ErrorData(_) => return Err(RequestError::Unreadable),
                Piece::Data(bytes) => bytes.len(),
                Piece::Hole(length) => usize::try_from(*length).unwrap_or(usize::MAX),
            };
            let total = content.len().saturating_add(length);
            if total > limit {
                return Err(RequestError::TooLong { limit });
            }
            match piece {
                Piece::Data(bytes) => content.extend_from_slice(&bytes),
                Piece::Head(_) | Piece::ErrorData(_) | Piece::Hole(_) => content.resize(total, 0),
            }
        }
        Ok(content)
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        let stream = self.shared.lock().streams.remove(&self.number);
        if let Some(input) = stream.as_ref().and_then(|stream| stream.input.as_ref()) {
            input.close();
        }
        if stream.is_some() && !self.over {
            self.shared.send(Kind::Cancel, self.number, &[]);
        }
    }
}
