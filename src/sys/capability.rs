//! `capget(2)` and `capset(2)`: the capability sets of one thread.
//!
//! The crate `caps` has them as sets of names; a mask is what `/proc/PID/status` and the protocol have, and
//! it keeps capabilities that are younger than this program.

use nix::{errno::Errno, libc};

/// The capability sets of a thread, as masks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CapabilitySets {
    /// Those that count.
    pub effective: u64,
    /// Those that the thread may make count.
    pub permitted: u64,
    /// Those that a program it starts may keep.
    pub inheritable: u64,
}

/// `struct __user_cap_header_struct` (include/uapi/linux/capability.h).
#[repr(C)]
struct Header {
    version: u32,
    pid: libc::pid_t,
}

/// `struct __user_cap_data_struct`; the first of two has the lower halves.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct Data {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// `_LINUX_CAPABILITY_VERSION_3`, and this thread.
const OURS: Header = Header {
    version: 0x2008_0522,
    pid: 0,
};

/// The sets of this thread.
pub fn capabilities() -> Result<CapabilitySets, Errno> {
    let mut header = OURS;
    let mut data = [Data::default(); 2];
    // SAFETY: both pointers are to memory of the layout and size that version 3 has, borrowed mutably for
    // the whole call; any value that the kernel writes there is valid for `u32`.
    #[expect(unsafe_code, reason = "neither nix nor libc has capget")]
    let result = unsafe { libc::syscall(libc::SYS_capget, &raw mut header, data.as_mut_ptr()) };
    Errno::result(result)?;
    let [low, high] = data;
    let join = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
    Ok(CapabilitySets {
        effective: join(low.effective, high.effective),
        permitted: join(low.permitted, high.permitted),
        inheritable: join(low.inheritable, high.inheritable),
    })
}

/// Changes the sets of this thread, of no other.
pub fn set_capabilities(sets: CapabilitySets) -> Result<(), Errno> {
    let mut header = OURS;
    let half = |shift: u32| {
        #[expect(clippy::cast_possible_truncation, reason = "one half at a time")]
        let part = |set: u64| (set >> shift) as u32;
        Data {
            effective: part(sets.effective),
            permitted: part(sets.permitted),
            inheritable: part(sets.inheritable),
        }
    };
    let data = [half(0), half(32)];
    // SAFETY: as above; the kernel only reads the sets.
    #[expect(unsafe_code, reason = "neither nix nor libc has capset")]
    let result = unsafe { libc::syscall(libc::SYS_capset, &raw mut header, data.as_ptr()) };
    Errno::result(result).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sets_are_those_in_the_threads_status_and_can_be_lowered_alone() {
        std::thread::spawn(|| {
            let status = || std::fs::read_to_string("/proc/thread-self/status").unwrap();
            let line = |key: &str, set: u64| format!("{key}:\t{set:016x}\n");
            let sets = capabilities().unwrap();
            assert!(status().contains(&line("CapEff", sets.effective)));
            assert!(status().contains(&line("CapPrm", sets.permitted)));
            assert!(status().contains(&line("CapInh", sets.inheritable)));
            let lowered = CapabilitySets {
                effective: 0,
                ..sets
            };
            set_capabilities(lowered).unwrap();
            assert_eq!(capabilities(), Ok(lowered));
            assert!(status().contains(&line("CapEff", 0)));
            set_capabilities(sets).unwrap();
            let more = CapabilitySets {
                permitted: !0,
                ..sets
            };
            assert_eq!(set_capabilities(more).is_err(), sets.permitted != !0);
        })
        .join()
        .unwrap();
    }
}
