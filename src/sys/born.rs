//! `statx(2)`, for what `stat(2)` does not tell: when a file was made.

use std::{
    ffi::CStr,
    os::fd::{AsFd, AsRawFd as _},
};

use nix::libc;

/// The size of `struct statx` (include/uapi/linux/stat.h), which never changes.
const LENGTH: usize = 256;
/// Where `stx_btime` has its seconds and its nanoseconds.
const SECONDS: usize = 80;
const NANOSECONDS: usize = 88;
/// `STATX_BTIME`
const WANTED: u32 = 0x800;

/// When the file under a name of a folder was made, links followed: nanoseconds since 1970. `None` when the file system
/// does not keep it, and when the kernel does not say.
pub fn born(folder: impl AsFd, name: &CStr) -> Option<i64> {
    let mut bytes = [0_u8; LENGTH];
    // SAFETY: `name` ends with a NUL, and the kernel writes a `struct statx`, which is as long as `bytes`; any bytes
    // are valid for `u8`. Both are borrowed for the whole call.
    #[expect(unsafe_code, reason = "nix has no statx")]
    let result = unsafe {
        libc::syscall(
            libc::SYS_statx,
            folder.as_fd().as_raw_fd(),
            name.as_ptr(),
            libc::AT_NO_AUTOMOUNT,
            WANTED,
            bytes.as_mut_ptr(),
        )
    };
    let mask = u32::from_ne_bytes(bytes.first_chunk().copied()?);
    if result != 0 || mask & WANTED == 0 {
        return None;
    }
    let seconds = i64::from_ne_bytes(*bytes.get(SECONDS..)?.first_chunk()?);
    let nanoseconds = u32::from_ne_bytes(*bytes.get(NANOSECONDS..)?.first_chunk()?);
    seconds
        .checked_mul(1_000_000_000)?
        .checked_add(i64::from(nanoseconds))
}

#[cfg(test)]
mod tests {
    use std::{ffi::CString, fs, os::unix::ffi::OsStrExt as _};

    use super::*;

    #[test]
    fn a_file_tells_when_it_was_made_as_the_standard_library_has_it() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let Ok(expected) = fs::metadata(file.path()).unwrap().created() else {
            return;
        };
        let expected = expected.duration_since(std::time::UNIX_EPOCH).unwrap();
        let folder = fs::File::open("/").unwrap();
        let name = CString::new(file.path().as_os_str().as_bytes()).unwrap();
        assert_eq!(
            born(&folder, &name).map(i128::from),
            i128::try_from(expected.as_nanos()).ok()
        );
        assert_eq!(born(&folder, c"/nowhere/at/all"), None);
    }
}
