//! `getdents64(2)`: the names of a folder, a buffer at a time.
//!
//! `nix::dir::Dir` allocates 32 KiB for each open folder and a string for each name. A walk has many
//! folders open and sees a million names, so it brings one buffer of its own.

use std::{
    ffi::CStr,
    os::fd::{AsFd, AsRawFd as _},
};

use nix::{errno::Errno, libc};

/// What a folder says about a name without a look at the file itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameKind {
    /// A folder.
    Folder,
    /// Anything else.
    Other,
    /// The file system does not say.
    Unknown,
}

/// Fills `buffer` with the next names of an open folder; none are left when there are none in it.
pub fn read_names(folder: impl AsFd, buffer: &mut [u8]) -> Result<Names<'_>, Errno> {
    let descriptor = folder.as_fd().as_raw_fd();
    // SAFETY: the pointer and the length describe memory that is borrowed mutably for the whole call,
    // and any bytes that the kernel writes there are valid for `u8`.
    #[expect(unsafe_code, reason = "nix has no getdents64")]
    let filled = unsafe {
        libc::syscall(
            libc::SYS_getdents64,
            descriptor,
            buffer.as_mut_ptr(),
            buffer.len(),
        )
    };
    let filled = Errno::result(filled)?;
    let filled = usize::try_from(filled).unwrap_or(0);
    Ok(Names {
        records: buffer.get(..filled).unwrap_or_default(),
    })
}

/// The names in a filled buffer, without `.` and `..`.
#[derive(Debug)]
pub struct Names<'a> {
    records: &'a [u8],
}

impl Names<'_> {
    /// Whether the kernel had nothing more to say: the end of the folder.
    #[must_use]
    pub const fn is_end(&self) -> bool {
        self.records.is_empty()
    }
}

/// Where `d_reclen`, `d_type` and `d_name` stand in `struct linux_dirent64` (include/linux/dirent.h).
const RECORD_LENGTH: std::ops::Range<usize> = 16..18;
const TYPE: usize = 18;
const NAME: usize = 19;

impl<'a> Iterator for Names<'a> {
    type Item = (&'a CStr, NameKind);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let length = self.records.get(RECORD_LENGTH)?.try_into().ok()?;
            let length = usize::from(u16::from_ne_bytes(length));
            let (record, rest) = self.records.split_at_checked(length)?;
            self.records = rest;
            let kind = match *record.get(TYPE)? {
                libc::DT_DIR => NameKind::Folder,
                libc::DT_UNKNOWN => NameKind::Unknown,
                _ => NameKind::Other,
            };
            let name = CStr::from_bytes_until_nul(record.get(NAME..)?).ok()?;
            if !matches!(name.to_bytes(), b"." | b"..") {
                return Some((name, kind));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs::File};

    use super::*;

    #[test]
    fn names_come_in_as_many_buffers_as_they_need() {
        let folder = tempfile::tempdir().unwrap();
        let mut expected = BTreeSet::new();
        for number in 0..100 {
            let name = format!("file-{number}");
            File::create(folder.path().join(&name)).unwrap();
            expected.insert(name);
        }
        std::fs::create_dir(folder.path().join("sub")).unwrap();
        expected.insert("sub".to_owned());

        let open = File::open(folder.path()).unwrap();
        let mut buffer = [0; 256];
        let mut found = BTreeSet::new();
        loop {
            let names = read_names(&open, &mut buffer).unwrap();
            if names.is_end() {
                break;
            }
            for (name, kind) in names {
                let name = name.to_str().unwrap();
                assert_eq!(kind == NameKind::Folder, name == "sub", "{name}");
                assert!(found.insert(name.to_owned()));
            }
        }
        assert_eq!(found, expected);
    }

    #[test]
    fn a_damaged_buffer_ends_the_names() {
        for records in [&[0; 40][..], &[255; 40], &[1; 17]] {
            assert_eq!(Names { records }.count(), 0);
        }
    }

    #[test]
    fn a_file_is_not_a_folder() {
        let file = tempfile::tempfile().unwrap();
        assert_eq!(read_names(&file, &mut [0; 64]).unwrap_err(), Errno::ENOTDIR);
    }
}
