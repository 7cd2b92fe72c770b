//! What a command and a keeper say to each other before the command talks with the agent.
//!
//! A message is a length (u32, little endian) and so many bytes of JSON. The command says who it is; the keeper answers
//! what there is to know of the target, or why the command gets nothing. Behind a yes follow the agent's own bytes, from
//! its greeting on.

use std::{io, time::Duration};

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::Value;
use thiserror::Error;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::unix::{OwnedReadHalf, OwnedWriteHalf},
    time::timeout,
};

use super::folder::{Folder, FolderError, Key};
use crate::protocol::Hello;

/// A message holds at most this; a pod's object is below 1.5 MiB, the most that etcd takes.
const LIMIT: u32 = 8 * 1024 * 1024;
/// A keeper that has nothing to give in this time costs more than it saves.
const BORROW_LIMIT: Duration = Duration::from_secs(3);

/// Who asks for a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ask {
    /// The build of the command; only its own is lent a session.
    pub build: String,
    /// The container that is meant; `None` for the default.
    pub container: Option<String>,
}

impl Ask {
    /// What this program asks.
    pub fn ours(container: Option<&str>) -> Self {
        Self {
            build: Hello::ours().name(),
            container: container.map(str::to_owned),
        }
    }
}

/// What a keeper answers.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Offer {
    Given(Value),
    None(String),
}

/// A session that was lent.
pub struct Borrowed {
    /// What there is to know of the target.
    pub facts: Value,
    /// What the agent says, from its greeting on.
    pub input: OwnedReadHalf,
    /// What it is told.
    pub output: OwnedWriteHalf,
}

/// A keeper was found, and there is no session.
#[derive(Debug, Error)]
pub enum NotLent {
    /// Its socket cannot be used.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// It has none for this command.
    #[error("the keeper has no session: {0}")]
    None(String),
    /// It does not say what a keeper says.
    #[error("the keeper cannot be understood: {0}")]
    Unreadable(#[from] io::Error),
    /// It says nothing.
    #[error("the keeper has said nothing for {} s", BORROW_LIMIT.as_secs())]
    Silent,
}

/// Takes a session from its keeper; `None` when nobody keeps it.
pub async fn borrow(folder: &Folder, key: &Key, ask: &Ask) -> Result<Option<Borrowed>, NotLent> {
    let asking = async {
        let Some(mut stream) = folder.find(key).await? else {
            return Ok(None);
        };
        send(&mut stream, ask).await?;
        match receive(&mut stream).await? {
            Offer::None(reason) => Err(NotLent::None(reason)),
            Offer::Given(facts) => {
                let (input, output) = stream.into_split();
                Ok(Some(Borrowed {
                    facts,
                    input,
                    output,
                }))
            }
        }
    };
    timeout(BORROW_LIMIT, asking)
        .await
        .map_err(|_| NotLent::Silent)?
}

/// Sends a message with its length before it.
pub(super) async fn send<T: Serialize>(
    output: &mut (impl AsyncWrite + Unpin),
    message: &T,
) -> io::Result<()> {
    let text = serde_json::to_vec(message)?;
    let length = u32::try_from(text.len())
        .ok()
        .filter(|length| *length <= LIMIT)
        .ok_or_else(|| io::Error::other("a message is too long"))?;
    output
        .write_all(&[&length.to_le_bytes(), text.as_slice()].concat())
        .await
}

/// Reads one message, and no byte behind it: what follows is the agent's.
pub(super) async fn receive<T: DeserializeOwned>(
    input: &mut (impl AsyncRead + Unpin),
) -> io::Result<T> {
    let length = input.read_u32_le().await?;
    if length > LIMIT {
        return Err(io::Error::other(format!(
            "a message of {length} bytes is too long"
        )));
    }
    // Not allocated before it is there: whoever says a length may send nothing.
    let mut text = Vec::new();
    input
        .take(length.into())
        .read_to_end(&mut text)
        .await
        .and_then(|count| {
            if count == length as usize {
                Ok(serde_json::from_slice(&text)?)
            } else {
                Err(io::ErrorKind::UnexpectedEof.into())
            }
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn nothing_behind_a_message_is_read() {
        let mut wire = Vec::new();
        let offer = Offer::Given(serde_json::json!({"pod": "web"}));
        send(&mut wire, &offer).await.unwrap();
        wire.extend(b"the agent's own bytes");
        let mut rest = wire.as_slice();
        assert_eq!(receive::<Offer>(&mut rest).await.unwrap(), offer);
        assert_eq!(rest, b"the agent's own bytes");
    }

    #[tokio::test]
    async fn what_is_no_message_is_refused() {
        for wire in [
            &b""[..],
            b"\x01\x00",
            b"\xff\xff\xff\xff{}",
            b"\x05\x00\x00\x00{}",
            b"\x02\x00\x00\x00no",
        ] {
            assert!(receive::<Offer>(&mut &*wire).await.is_err(), "{wire:?}");
        }
    }
}
