//! Parts of a large file, read as they turn out to be needed.
//!
//! A parser runs over what is there; where something is missing it fails, and says what. The caller fetches
//! that and runs the parser again.

use std::{
    cell::Cell,
    collections::BTreeMap,
    io::{self, Read, Seek, SeekFrom},
    ops::Range,
};

/// What a reader of archives is given at once.
const PIECE: u64 = 64 * 1024;

/// A file of which some parts are known.
#[derive(Debug, Default)]
pub struct Sparse {
    length: u64,
    parts: BTreeMap<u64, Vec<u8>>,
    missing: Cell<Option<(u64, u64)>>,
}

/// The part that was needed and is not there: offset and length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Missing {
    /// Where it begins.
    pub offset: u64,
    /// How many bytes.
    pub length: u64,
}

impl Sparse {
    /// A file of this length of which nothing is known.
    #[must_use]
    pub fn new(length: u64) -> Self {
        Self {
            length,
            ..Self::default()
        }
    }

    /// A file of which all is known.
    #[must_use]
    pub fn whole(content: Vec<u8>) -> Self {
        let mut file = Self::new(content.len() as u64);
        file.add(0, content);
        file
    }

    /// Adds a part.
    pub fn add(&mut self, offset: u64, content: Vec<u8>) {
        self.missing.set(None);
        self.parts.insert(offset, content);
    }

    /// What the last parser lacked, when it failed for that.
    #[must_use]
    pub fn missing(&self) -> Option<Missing> {
        let (offset, length) = self.missing.get()?;
        Some(Missing { offset, length })
    }

    /// A reader for parsers that read one piece after the other.
    #[must_use]
    pub const fn reader(&self) -> SparseReader<'_> {
        SparseReader {
            file: self,
            position: 0,
        }
    }

    /// The known bytes from a position to the end of the part that they lie in.
    fn known(&self, offset: u64) -> Option<&[u8]> {
        // Of several parts that reach so far, the one that begins last may be the shorter one.
        self.parts
            .range(..=offset)
            .rev()
            .find_map(|(start, content)| {
                let skip = usize::try_from(offset - start).ok()?;
                content.get(skip..).filter(|rest| !rest.is_empty())
            })
    }

    fn lacks(&self, offset: u64, length: u64) {
        if self.missing.get().is_none() {
            self.missing.set(Some((offset, length)));
        }
    }
}

impl<'a> object::ReadRef<'a> for &'a Sparse {
    fn len(self) -> Result<u64, ()> {
        Ok(self.length)
    }

    fn read_bytes_at(self, offset: u64, size: u64) -> Result<&'a [u8], ()> {
        if size == 0 {
            return Ok(&[]);
        }
        let end = offset.checked_add(size).ok_or(())?;
        if end > self.length {
            return Err(());
        }
        let wanted = usize::try_from(size).map_err(drop)?;
        // The longest of the parts that hold the beginning: the same place may have been asked for twice.
        let found = self
            .parts
            .range(..=offset)
            .rev()
            .find_map(|(start, content)| {
                let skip = usize::try_from(offset - start).ok()?;
                content.get(skip..)?.get(..wanted)
            });
        found.ok_or_else(|| self.lacks(offset, size))
    }

    fn read_bytes_at_until(self, range: Range<u64>, delimiter: u8) -> Result<&'a [u8], ()> {
        let size = range.end.checked_sub(range.start).ok_or(())?;
        let bytes = self.read_bytes_at(range.start, size)?;
        let end = bytes.iter().position(|byte| *byte == delimiter).ok_or(())?;
        bytes.get(..end).ok_or(())
    }
}

/// Reads a [`Sparse`] from front to back; what is not there is an error.
#[derive(Debug)]
pub struct SparseReader<'a> {
    file: &'a Sparse,
    position: u64,
}

impl Read for SparseReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.file.length.saturating_sub(self.position);
        if left == 0 || buffer.is_empty() {
            return Ok(0);
        }
        let Some(known) = self.file.known(self.position) else {
            self.file.lacks(self.position, left.min(PIECE));
            return Err(io::Error::other("this part was not read yet"));
        };
        let count = known.len().min(buffer.len());
        let (Some(from), Some(to)) = (known.get(..count), buffer.get_mut(..count)) else {
            return Ok(0);
        };
        to.copy_from_slice(from);
        self.position += count as u64;
        Ok(count)
    }
}

impl Seek for SparseReader<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::End(offset) => self.file.length.checked_add_signed(offset),
            SeekFrom::Current(offset) => self.position.checked_add_signed(offset),
        };
        self.position = position.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        Ok(self.position)
    }
}

#[cfg(test)]
pub(super) fn all_by_parts<T>(content: &[u8], mut parse: impl FnMut(&Sparse) -> T) -> (T, u64) {
    let mut file = Sparse::new(content.len() as u64);
    let mut fetched = 0;
    loop {
        let result = parse(&file);
        let Some(missing) = file.missing() else {
            return (result, fetched);
        };
        fetched += missing.length;
        let start = usize::try_from(missing.offset).unwrap();
        let end = start + usize::try_from(missing.length).unwrap();
        file.add(missing.offset, content[start..end].to_vec());
    }
}
