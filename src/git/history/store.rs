//! Where a history is kept between runs: one file a repository, in the user's cache.
//!
//! A commit's name stands for all that led to it, so a kept history never gets wrong; it only lacks what came
//! since. The one exception is a shallow clone that is deepened, so its boundary is part of the file's name.
//! A file that cannot be read, was written by another version or is damaged is as good as none. It is written
//! beside its place and renamed, so runs beside each other each see a whole one, and the last one stays.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use crate::git::cache;
use crate::git::repository::Repository;
use crate::history::History;
use crate::object::HashKind;

/// What the file begins with; the number is that of the format.
const MAGIC: &[u8] = b"kdbg history 1\n";
/// No larger file is written.
const FILE_LIMIT: usize = 200 << 20;
/// No larger history is read from a file, which may be a trap.
const DECODED_LIMIT: u64 = 1 << 30;
/// Little time for much of the gain.
const LEVEL: i32 = 3;

/// The place of one repository's history.
pub(super) struct Store {
    file: PathBuf,
    kind: HashKind,
}

/// Why a kept history is not used.
#[derive(Debug, thiserror::Error)]
enum Unusable {
    #[error("it cannot be read: {0}")]
    Io(#[from] io::Error),
    #[error("it is of another version of kdbg, or no history")]
    Foreign,
    #[error("it is damaged")]
    Damaged,
    #[error("it is of a repository with another hash function")]
    OtherHash,
}

impl Store {
    /// The place for a repository; `None` when the cache cannot be used, which is no reason to fail.
    pub(super) fn new(cache_dir: &Path, repository: &Repository) -> Option<Self> {
        let folder = match cache::private_folder(cache_dir, "history") {
            Ok(folder) => folder,
            Err(error) => {
                tracing::info!(%error, "the history will not be kept");
                return None;
            }
        };
        let git_dir = repository
            .inner
            .common_dir
            .as_deref()
            .unwrap_or(repository.git_dir());
        let place = git_dir.canonicalize().ok()?;
        let mut key = blake3::Hasher::new();
        key.update(place.as_os_str().as_encoded_bytes());
        key.update(b"\0");
        key.update(&fs::read(place.join("shallow")).unwrap_or_default());
        let digest = key.finalize().to_hex();
        let name = digest.get(..32).unwrap_or(&digest);
        Some(Self {
            file: folder.join(format!("{name}.history")),
            kind: repository.hash_kind(),
        })
    }

    pub(super) fn exists(&self) -> bool {
        self.file.exists()
    }

    /// The kept history; `None` when there is none that can be used.
    pub(super) fn load(&self) -> Option<History> {
        match self.read() {
            Ok(history) => Some(history),
            Err(Unusable::Io(error)) if error.kind() == io::ErrorKind::NotFound => None,
            Err(reason) => {
                tracing::info!(file = %self.file.display(), %reason, "the kept history is read afresh from the repository");
                None
            }
        }
    }

    fn read(&self) -> Result<History, Unusable> {
        let mut file = fs::File::open(&self.file)?;
        let mut head = [0; MAGIC.len() + blake3::OUT_LEN];
        file.read_exact(&mut head).map_err(|_| Unusable::Foreign)?;
        let digest = head.strip_prefix(MAGIC).ok_or(Unusable::Foreign)?;
        let mut packed = Vec::new();
        file.take(FILE_LIMIT as u64).read_to_end(&mut packed)?;
        if blake3::hash(&packed).as_bytes() != digest {
            return Err(Unusable::Damaged);
        }
        let mut bytes = Vec::new();
        zstd::Decoder::new(packed.as_slice())?
            .take(DECODED_LIMIT)
            .read_to_end(&mut bytes)?;
        drop(packed);
        let history = History::decode(&bytes).ok_or(Unusable::Damaged)?;
        if history.kind() != self.kind {
            return Err(Unusable::OtherHash);
        }
        Ok(history)
    }

    /// Keeps a history. That it cannot be kept is no reason to fail.
    pub(super) fn save(&self, history: &History) {
        match self.write(history) {
            Ok(bytes) => tracing::info!(file = %self.file.display(), bytes, "the history is kept"),
            Err(error) => {
                tracing::info!(file = %self.file.display(), %error, "the history is not kept");
            }
        }
    }

    fn write(&self, history: &History) -> io::Result<usize> {
        let packed = zstd::bulk::compress(&history.encode(), LEVEL)?;
        if packed.len() + MAGIC.len() + blake3::OUT_LEN > FILE_LIMIT {
            return Err(io::Error::new(
                io::ErrorKind::FileTooLarge,
                format!("it would take {} bytes", packed.len()),
            ));
        }
        let folder = self.file.parent().unwrap_or(Path::new("."));
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(MAGIC)?;
        file.write_all(blake3::hash(&packed).as_bytes())?;
        file.write_all(&packed)?;
        file.persist(&self.file).map_err(|error| error.error)?;
        Ok(packed.len() + MAGIC.len() + blake3::OUT_LEN)
    }
}
