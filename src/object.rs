//! Git's object names and file modes, as both sides use them.
//!
//! The agent names every running file as git would name its blob, so that the client can tell which
//! files differ without reading one of them. Nothing here does I/O.

use std::fmt;

use serde::{Deserialize, Serialize};
use sha2::Digest as _;

/// The hash function that names the objects of a repository (`extensions.objectFormat`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum HashKind {
    /// SHA-1 with collision detection: 20 bytes, git's default.
    #[default]
    Sha1,
    /// SHA-256: 32 bytes.
    Sha256,
}

/// The name of a git object.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ObjectId {
    /// A name in a SHA-1 repository.
    Sha1([u8; 20]),
    /// A name in a SHA-256 repository.
    Sha256([u8; 32]),
}

impl ObjectId {
    /// Reads an object name from its raw bytes: 20 for SHA-1, 32 for SHA-256, `None` for any other length.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        match bytes.len() {
            20 => bytes.try_into().ok().map(Self::Sha1),
            32 => bytes.try_into().ok().map(Self::Sha256),
            _ => None,
        }
    }

    /// The all-zero name that git prints for a side that does not exist.
    #[must_use]
    pub const fn null(kind: HashKind) -> Self {
        match kind {
            HashKind::Sha1 => Self::Sha1([0; 20]),
            HashKind::Sha256 => Self::Sha256([0; 32]),
        }
    }

    /// The hash function that this name belongs to.
    #[must_use]
    pub const fn kind(&self) -> HashKind {
        match self {
            Self::Sha1(_) => HashKind::Sha1,
            Self::Sha256(_) => HashKind::Sha256,
        }
    }

    /// The raw bytes of the name.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Sha1(bytes) => bytes,
            Self::Sha256(bytes) => bytes,
        }
    }
}

impl fmt::Display for ObjectId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_bytes()
            .iter()
            .try_for_each(|byte| write!(formatter, "{byte:02x}"))
    }
}

impl fmt::Debug for ObjectId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

/// The kind of a tree entry, with the one permission bit that git keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum FileMode {
    /// A file without the owner's execute bit: `100644`.
    Regular,
    /// A file with the owner's execute bit: `100755`.
    Executable,
    /// A symbolic link, whose content is its target: `120000`.
    Symlink,
    /// A commit of a submodule: `160000`.
    Gitlink,
}

impl FileMode {
    /// The mode of a regular file with the given permission bits.
    #[must_use]
    pub const fn of_file(permissions: u32) -> Self {
        if permissions & 0o100 == 0 {
            Self::Regular
        } else {
            Self::Executable
        }
    }

    /// The mode as git prints it, six octal digits.
    #[must_use]
    pub const fn as_octal(self) -> &'static str {
        match self {
            Self::Regular => "100644",
            Self::Executable => "100755",
            Self::Symlink => "120000",
            Self::Gitlink => "160000",
        }
    }

    /// Whether both are of the same type (file, link, submodule); a change of type is git's `T`.
    #[must_use]
    pub const fn same_type(self, other: Self) -> bool {
        matches!(
            (self, other),
            (
                Self::Regular | Self::Executable,
                Self::Regular | Self::Executable
            ) | (Self::Symlink, Self::Symlink)
                | (Self::Gitlink, Self::Gitlink)
        )
    }
}

/// Names a blob while its content streams by.
///
/// ```
/// use kdbg::object::{BlobHasher, HashKind};
/// let mut hasher = BlobHasher::new(HashKind::Sha1, 6);
/// hasher.update(b"hello\n");
/// assert_eq!(hasher.finish().unwrap().to_string(), "ce013625030ba8dba906f756967f9e9ca394464a");
/// ```
pub struct BlobHasher {
    state: HashState,
}

enum HashState {
    Sha1(Box<sha1dc::Hasher>),
    Sha256(sha2::Sha256),
}

/// The content was built to have the SHA-1 of another content; git refuses such blobs too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the content is part of a SHA-1 collision attack")]
pub struct CollisionAttack;

impl BlobHasher {
    /// Starts a blob of `length` bytes; git hashes the length before the content.
    #[must_use]
    pub fn new(kind: HashKind, length: u64) -> Self {
        let state = match kind {
            HashKind::Sha1 => HashState::Sha1(Box::new(sha1dc::Hasher::new())),
            HashKind::Sha256 => HashState::Sha256(sha2::Sha256::new()),
        };
        let mut hasher = Self { state };
        hasher.update(format!("blob {length}\0").as_bytes());
        hasher
    }

    /// Adds the next bytes of the content.
    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.state {
            HashState::Sha1(state) => state.update(bytes),
            HashState::Sha256(state) => state.update(bytes),
        }
    }

    /// The blob's name.
    pub fn finish(self) -> Result<ObjectId, CollisionAttack> {
        match self.state {
            HashState::Sha1(state) => match state.finalize() {
                Ok(digest) => Ok(ObjectId::Sha1(digest.into())),
                Err(_) => Err(CollisionAttack),
            },
            HashState::Sha256(state) => Ok(ObjectId::Sha256(state.finalize().into())),
        }
    }
}

/// Names the blob with this content.
pub fn blob_id(kind: HashKind, content: &[u8]) -> Result<ObjectId, CollisionAttack> {
    let mut hasher = BlobHasher::new(kind, content.len() as u64);
    hasher.update(content);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_equal_those_of_git_hash_object() {
        // `printf '' | git hash-object --stdin`, the same in a repository made with --object-format=sha256
        assert_eq!(
            blob_id(HashKind::Sha1, b"").unwrap().to_string(),
            "e69de29bb2d1d6434b8b29ae775ad8c2e48c5391"
        );
        assert_eq!(
            blob_id(HashKind::Sha256, b"").unwrap().to_string(),
            "473a0f4c3be8a93681a267e3b1e9a7dcda1185436fe141f7749120a303721813"
        );
    }

    #[test]
    fn only_the_owners_execute_bit_makes_a_file_executable() {
        assert_eq!(FileMode::of_file(0o755), FileMode::Executable);
        assert_eq!(FileMode::of_file(0o611), FileMode::Regular);
        assert_eq!(FileMode::of_file(0o100), FileMode::Executable);
    }
}
