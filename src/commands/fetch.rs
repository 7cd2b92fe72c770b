//! The content of a file of the target, passed on piece by piece.

use std::sync::atomic::{AtomicU64, Ordering};

use bstr::BStr;
use sha2::{Digest as _, Sha256};
use thiserror::Error;

use crate::{
    extract::{ExtractError, FileWriter},
    protocol::message::{Entry, FileHead, FileTail, ProcessId, Request},
    session::{Piece, RequestError, Session},
};

/// A file that was copied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fetched {
    /// What it was when it was opened.
    pub(super) entry: Entry,
    /// The bytes that were copied, holes included.
    pub(super) length: u64,
    /// SHA-256 of them.
    pub(super) digest: [u8; 32],
    /// Whether it changed meanwhile.
    pub(super) changed: bool,
}

/// Why a file was not copied.
#[derive(Debug, Error)]
pub(super) enum FetchError {
    /// It could not be read.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// It could not be written.
    #[error(transparent)]
    Write(#[from] ExtractError),
    /// It is more than what is left of the limit.
    #[error("it does not fit into the limit of all files")]
    OverLimit,
}

/// What may still be copied. A file has its listed size to itself; what it has grown by since is taken
/// from what all have in common.
pub(super) struct Budget {
    common: AtomicU64,
}

impl Budget {
    /// So many bytes for what grows.
    pub(super) const fn new(common: u64) -> Self {
        Self {
            common: AtomicU64::new(common),
        }
    }

    fn take(&self, own: &mut u64, bytes: u64) -> bool {
        let from_common = bytes.saturating_sub(*own);
        *own = own.saturating_sub(bytes);
        let rest = |common: u64| common.checked_sub(from_common);
        self.common
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, rest)
            .is_ok()
    }
}

/// Copies a file to a writer that is made once the file is open.
pub(super) async fn fetch(
    session: &Session,
    process: ProcessId,
    path: &BStr,
    listed_size: u64,
    budget: &Budget,
    make: impl FnOnce() -> Result<FileWriter, ExtractError>,
) -> Result<(Fetched, FileWriter), FetchError> {
    let mut reply = session.request(&Request::ReadFile {
        process,
        path: path.into(),
    })?;
    let head: FileHead = reply.head().await?;
    let mut writer = make()?;
    let mut digest = Sha256::new();
    let mut own = listed_size;
    while let Some(piece) = reply.next().await? {
        match piece {
            Piece::Data(bytes) => {
                if !budget.take(&mut own, bytes.len() as u64) {
                    return Err(FetchError::OverLimit);
                }
                digest.update(&bytes);
                writer.data(&bytes)?;
            }
            Piece::Hole(length) => {
                if !budget.take(&mut own, length) {
                    return Err(FetchError::OverLimit);
                }
                add_zeros(&mut digest, length).await;
                writer.hole(length)?;
            }
            Piece::Head(_) | Piece::ErrorData(_) => return Err(RequestError::Unreadable.into()),
        }
    }
    let tail: FileTail = reply.trailer()?;
    if tail.length != writer.length() {
        return Err(RequestError::Unreadable.into());
    }
    let fetched = Fetched {
        entry: head.entry,
        length: tail.length,
        digest: digest.finalize().into(),
        changed: tail.changed,
    };
    Ok((fetched, writer))
}

static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];

/// Adds a hole to a digest. It may be long: others, and Ctrl-C, get their turn.
async fn add_zeros(digest: &mut Sha256, mut length: u64) {
    while length > 0 {
        let now = length.min(ZEROS.len() as u64);
        digest.update(
            ZEROS
                .get(..usize::try_from(now).unwrap_or(0))
                .unwrap_or_default(),
        );
        length -= now;
        if length.is_multiple_of(64 * ZEROS.len() as u64) {
            tokio::task::yield_now().await;
        }
    }
}

/// Whether nothing more can be had after this error: the process or the conversation has ended.
pub(super) fn is_final(error: &RequestError) -> bool {
    match error {
        RequestError::Failed(failure) => failure.is_gone(),
        RequestError::Session(_) => true,
        RequestError::Unreadable | RequestError::Stalled { .. } | RequestError::TooLong { .. } => {
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_grows_takes_from_what_is_common_and_no_more() {
        let budget = Budget::new(10);
        let mut own = 5;
        assert!(budget.take(&mut own, 5));
        assert!(budget.take(&mut own, 10));
        assert!(!budget.take(&mut own, 1));
        let mut other = 3;
        assert!(budget.take(&mut other, 3));
        assert!(!budget.take(&mut other, 1));
    }
}
