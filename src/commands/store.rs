//! Where copied files go: a folder, or an archive.

use std::{
    collections::HashSet,
    ffi::OsStr,
    fs::File,
    io::{self, BufReader, Seek as _, Write},
    os::unix::ffi::OsStrExt as _,
    path::Path,
    sync::{Mutex, MutexGuard, PoisonError},
};

use bstr::{BStr, BString};
use tar::{EntryType, Header};

use crate::extract::{
    Attributes, Destination, ExtractError, Extractor, FileWriter, Refusal, check, stays_inside,
};

/// A destination under construction. Files may be written several at once; everything else is in order.
pub(super) enum Store<'a> {
    /// A folder.
    Folder(Mutex<Extractor>),
    /// A tar archive, compressed.
    Archive(Mutex<Archive>, &'a Destination),
}

/// A tar archive whose links come last, so that it can be unpacked by anything.
pub(super) struct Archive {
    writer: tar::Builder<zstd::Encoder<'static, File>>,
    /// The folder that all entries are in.
    top: BString,
    names: HashSet<BString>,
    links: Vec<(BString, BString)>,
}

impl<'a> Store<'a> {
    /// A store in a folder.
    pub(super) fn folder_at(extractor: Extractor) -> Self {
        Self::Folder(Mutex::new(extractor))
    }

    /// A store in a file. Contents pass through nameless files beside the destination: an archive needs to
    /// know the length of a file before its first byte.
    pub(super) fn archive(
        file: File,
        top: BString,
        destination: &'a Destination,
    ) -> io::Result<Self> {
        let mut encoder = zstd::Encoder::new(file, 3)?;
        encoder.include_checksum(true)?;
        let archive = Archive {
            writer: tar::Builder::new(encoder),
            top,
            names: HashSet::new(),
            links: Vec::new(),
        };
        Ok(Self::Archive(Mutex::new(archive), destination))
    }

    /// A file to write to.
    pub(super) fn create(&self, path: &BStr) -> Result<FileWriter, ExtractError> {
        match self {
            Self::Folder(extractor) => lock(extractor).file(path),
            Self::Archive(_, destination) => {
                check(path)?;
                let spool = destination.spool().map_err(|error| failure(path, error))?;
                Ok(FileWriter::new(spool, path))
            }
        }
    }

    /// Takes a file that is complete.
    pub(super) fn complete(
        &self,
        path: &BStr,
        writer: FileWriter,
        attributes: Attributes,
    ) -> Result<(), ExtractError> {
        let length = writer.length();
        let file = writer.finish(attributes)?;
        match self {
            Self::Folder(_) => Ok(()),
            Self::Archive(archive, _) => lock(archive).file(path, file, length, attributes),
        }
    }

    /// Removes what was written of a file.
    pub(super) fn discard(&self, path: &BStr) {
        if let Self::Folder(extractor) = self {
            // It may never have been made.
            let _ = lock(extractor).discard(path);
        }
    }

    /// Makes a folder.
    pub(super) fn folder(&self, path: &BStr, attributes: Attributes) -> Result<(), ExtractError> {
        match self {
            _ if path.is_empty() => Ok(()),
            Self::Folder(extractor) => lock(extractor).folder(path, attributes),
            Self::Archive(archive, _) => lock(archive).folder(path, attributes),
        }
    }

    /// Remembers a link.
    pub(super) fn link(&self, path: &BStr, target: &BStr) -> Result<(), ExtractError> {
        match self {
            Self::Folder(extractor) => lock(extractor).link(path, target),
            Self::Archive(archive, _) => {
                check(path)?;
                if !stays_inside(path, target) {
                    return Err(Refusal::Link(target.into()).into());
                }
                lock(archive).links.push((path.into(), target.into()));
                Ok(())
            }
        }
    }

    /// Makes the links; answers those that were not made.
    pub(super) fn links(&self) -> Result<Vec<(BString, ExtractError)>, ExtractError> {
        match self {
            Self::Folder(extractor) => lock(extractor).links(),
            Self::Archive(archive, _) => lock(archive).write_links(),
        }
    }

    /// Completes the whole.
    pub(super) fn finish(self) -> Result<(), ExtractError> {
        match self {
            Self::Folder(extractor) => extractor
                .into_inner()
                .unwrap_or_else(PoisonError::into_inner)
                .finish(),
            Self::Archive(archive, _) => {
                let archive = archive.into_inner().unwrap_or_else(PoisonError::into_inner);
                let close = || archive.writer.into_inner()?.finish()?.sync_all();
                close().map_err(|error| failure(BStr::new("the archive"), error))
            }
        }
    }
}

impl Archive {
    fn file(
        &mut self,
        path: &BStr,
        mut content: File,
        length: u64,
        attributes: Attributes,
    ) -> Result<(), ExtractError> {
        self.take_name(path)?;
        let mut header = header(EntryType::Regular, attributes, 0o600);
        header.set_size(length);
        let written = content.rewind().and_then(|()| {
            let content = BufReader::with_capacity(64 * 1024, content);
            self.append(path, &mut header, content)
        });
        written.map_err(|error| failure(path, error))
    }

    fn folder(&mut self, path: &BStr, attributes: Attributes) -> Result<(), ExtractError> {
        self.take_name(path)?;
        let mut header = header(EntryType::Directory, attributes, 0o700);
        header.set_size(0);
        self.append(path, &mut header, io::empty())
            .map_err(|error| failure(path, error))
    }

    fn write_links(&mut self) -> Result<Vec<(BString, ExtractError)>, ExtractError> {
        let mut refused = Vec::new();
        for (path, target) in std::mem::take(&mut self.links) {
            if let Err(error) = self.take_name(path.as_ref()) {
                refused.push((path, error));
                continue;
            }
            let attributes = Attributes {
                permissions: 0o777,
                modified: 0,
            };
            let mut header = header(EntryType::Symlink, attributes, 0);
            header.set_size(0);
            header.set_mode(0o777);
            let name = self.within(path.as_ref());
            self.writer
                .append_link(&mut header, as_path(&name), as_path(&target))
                .map_err(|error| failure(path.as_ref(), error))?;
        }
        Ok(refused)
    }

    /// A second entry with the same name, or one below a file, is not for those who unpack this to sort out.
    fn take_name(&mut self, path: &BStr) -> Result<(), ExtractError> {
        check(path)?;
        if self.names.insert(path.into()) {
            Ok(())
        } else {
            Err(Refusal::Duplicate.into())
        }
    }

    fn append(
        &mut self,
        path: &BStr,
        header: &mut Header,
        content: impl io::Read,
    ) -> io::Result<()> {
        let name = self.within(path);
        self.writer.append_data(header, as_path(&name), content)
    }

    fn within(&self, path: &BStr) -> BString {
        let mut name = self.top.clone();
        name.push(b'/');
        name.extend_from_slice(path);
        name
    }
}

/// The same for every user and machine.
fn header(kind: EntryType, attributes: Attributes, least: u32) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode((attributes.permissions & 0o777 & !0o022) | least);
    header.set_uid(0);
    header.set_gid(0);
    let seconds = attributes.modified.div_euclid(1_000_000_000);
    header.set_mtime(u64::try_from(seconds).unwrap_or(0));
    header
}

fn as_path(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(bytes))
}

fn failure(path: &BStr, source: io::Error) -> ExtractError {
    ExtractError::Write {
        path: path.into(),
        source,
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing that runs under these locks leaves them half-changed.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Lets a serialiser write to a file.
pub(super) struct Sink(pub(super) FileWriter);

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.0.data(bytes) {
            Ok(()) => Ok(bytes.len()),
            Err(ExtractError::Write { source, .. }) => Err(source),
            Err(error) => Err(io::Error::other(error)),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
