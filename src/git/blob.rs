//! Reading objects by name, each checked against its name.
//!
//! An object that is missing is never fetched: a partial clone would run the remote's transport for it, which
//! a hostile repository chooses. The error says so and names the command instead.

use std::cell::RefCell;
use std::sync::Arc;

use gix::objs::Find as _;
use rayon::prelude::*;

use super::error::GitError;
use super::repository::{OBJECT_LIMIT, Repository};
use super::{BoxedError, object_id};
use crate::object::{HashKind, ObjectId};

/// The content of one file, link or other blob.
pub type Blob = Vec<u8>;

/// So many objects are one thread's portion; opening a reader costs about as much as reading one object.
const PORTION: usize = 16;

/// So many bytes of delta bases a reader remembers.
const DELTA_CACHE: usize = 16 << 20;

impl Repository {
    /// Reads the content of a blob.
    pub fn read_blob(&self, id: &ObjectId) -> Result<Blob, GitError> {
        self.reader().read_blob(id)
    }

    /// Reads many blobs on all processors; the answers come in the order of the ids.
    ///
    /// One that cannot be read fails alone.
    pub fn read_blobs(&self, ids: &[ObjectId]) -> Vec<Result<Blob, GitError>> {
        ids.par_chunks(PORTION)
            .flat_map_iter(|portion| {
                let reader = self.reader();
                portion
                    .iter()
                    .map(|id| reader.read_blob(id))
                    .collect::<Vec<_>>()
            })
            .collect()
    }

    /// The size of a blob in bytes, without its content.
    pub fn blob_size(&self, id: &ObjectId) -> Result<u64, GitError> {
        self.reader().size(id)
    }

    /// A reader of one thread.
    pub(super) fn reader(&self) -> Reader<'_> {
        let mut handle = self.inner.objects.to_cache_arc();
        handle.ignore_replacements = true;
        handle.set_pack_cache(|| {
            Box::new(gix::odb::pack::cache::lru::MemoryCappedHashmap::new(
                DELTA_CACHE,
            ))
        });
        Reader {
            repository: self,
            handle,
            buffer: RefCell::default(),
        }
    }

    pub(super) fn missing(&self, id: ObjectId) -> GitError {
        GitError::MissingObject {
            id,
            path: self.display_path().to_owned(),
            promisor: self.promisor.clone(),
            shallow: self.is_shallow(),
        }
    }

    pub(super) fn corrupt(&self, id: ObjectId, source: impl Into<BoxedError>) -> GitError {
        GitError::CorruptObject {
            id,
            path: self.display_path().to_owned(),
            source: source.into(),
        }
    }
}

type Handle = gix::odb::Cache<gix::odb::store::Handle<Arc<gix::odb::Store>>>;

/// Reads the objects of one repository in one thread.
pub(super) struct Reader<'repo> {
    pub(super) repository: &'repo Repository,
    handle: Handle,
    buffer: RefCell<Vec<u8>>,
}

/// The bytes do not have the digest that names them.
#[derive(Debug, thiserror::Error)]
#[error("its content has the name {0}")]
struct OtherContent(ObjectId);

impl Reader<'_> {
    /// Reads a blob.
    pub(super) fn read_blob(&self, id: &ObjectId) -> Result<Blob, GitError> {
        let mut content = Vec::new();
        match self.read(id, &mut content)? {
            gix::objs::Kind::Blob => Ok(content),
            other => Err(GitError::WrongKind {
                id: *id,
                expected: "blob",
                actual: other.to_string(),
            }),
        }
    }

    /// Hands the content of a tree to `visit`.
    pub(super) fn with_tree<R>(
        &self,
        id: &ObjectId,
        visit: impl FnOnce(&[u8]) -> Result<R, GitError>,
    ) -> Result<R, GitError> {
        let mut buffer = self.buffer.borrow_mut();
        match self.read(id, &mut buffer)? {
            gix::objs::Kind::Tree => visit(&buffer),
            other => Err(GitError::WrongKind {
                id: *id,
                expected: "tree",
                actual: other.to_string(),
            }),
        }
    }

    /// Reads an object of any kind and checks that its bytes have its name.
    pub(super) fn read(
        &self,
        id: &ObjectId,
        content: &mut Vec<u8>,
    ) -> Result<gix::objs::Kind, GitError> {
        let name = self.name(id)?;
        let found = self
            .handle
            .try_find(name, content)
            .map_err(|error| self.read_error(*id, error))?;
        let Some(data) = found else {
            // git knows the empty tree without storing it.
            if name.is_empty_tree() {
                content.clear();
                return Ok(gix::objs::Kind::Tree);
            }
            return Err(self.repository.missing(*id));
        };
        let kind = data.kind;
        let length = data.data.len();
        let actual = gix::objs::compute_hash(name.kind(), kind, data.data)
            .map_err(|error| self.repository.corrupt(*id, error))?;
        content.truncate(length);
        if actual != name {
            return Err(self
                .repository
                .corrupt(*id, OtherContent(object_id(&actual))));
        }
        Ok(kind)
    }

    fn size(&self, id: &ObjectId) -> Result<u64, GitError> {
        use gix::prelude::Header as _;
        match self.handle.try_header(self.name(id)?) {
            Ok(Some(header)) => Ok(header.size()),
            Ok(None) => Err(self.repository.missing(*id)),
            Err(error) => Err(self.read_error(*id, error)),
        }
    }

    /// The library's form of a name; one of the other hash function cannot be in this repository.
    fn name<'id>(&self, id: &'id ObjectId) -> Result<&'id gix::oid, GitError> {
        if id.kind() != self.repository.hash_kind {
            return Err(self.repository.missing(*id));
        }
        gix::oid::try_from_bytes(id.as_bytes()).map_err(|_| self.repository.missing(*id))
    }

    fn read_error(&self, id: ObjectId, error: gix::Error) -> GitError {
        if error.is_resource_exhausted() {
            return GitError::ObjectTooLarge {
                id,
                limit: OBJECT_LIMIT,
                source: error.into(),
            };
        }
        if error.is_permission_denied() || has_permission_denied(&error) {
            return GitError::PermissionDenied {
                path: self.repository.inner.objects_dir().to_owned(),
                source: error.into(),
            };
        }
        self.repository.corrupt(id, error)
    }
}

fn has_permission_denied(error: &gix::Error) -> bool {
    error.iter_errors().any(|cause| {
        cause
            .downcast_ref::<std::io::Error>()
            .is_some_and(|cause| cause.kind() == std::io::ErrorKind::PermissionDenied)
    })
}

/// The library's name of a hash function.
pub(super) fn library_kind(kind: HashKind) -> gix::hash::Kind {
    match kind {
        HashKind::Sha1 => gix::hash::Kind::Sha1,
        HashKind::Sha256 => gix::hash::Kind::Sha256,
    }
}
