//! The agent inside this program.

use std::{fs::File, io, os::fd::OwnedFd, path::PathBuf};

use nix::{
    errno::Errno,
    sys::memfd::{MFdFlags, memfd_create},
};

/// The agent that was built with this program, compressed with zstd; `None` in a debug build.
#[cfg(embedded_agent)]
static EMBEDDED: Option<&[u8]> = Some(include_bytes!(concat!(env!("OUT_DIR"), "/kdbg-agent.zst")));
#[cfg(not(embedded_agent))]
static EMBEDDED: Option<&[u8]> = None;

/// `MFD_EXEC` of `linux/memfd.h`: this memory is meant to be run.
const MFD_EXEC: MFdFlags = MFdFlags::from_bits_retain(0x10);

/// An agent that can be started; keep it until it has been.
pub(super) enum AgentBinary {
    /// In memory: nothing is left behind, whatever happens.
    Memory(OwnedFd),
    /// In a temporary folder, where the kernel does not run programs from memory (`vm.memfd_noexec`).
    Temporary(tempfile::TempPath),
    /// Beside this program, in a debug build.
    Beside(PathBuf),
}

impl AgentBinary {
    /// Unpacks the agent; `None` when there is none.
    pub(super) fn find() -> io::Result<Option<Self>> {
        let Some(packed) = EMBEDDED else {
            return Ok(beside()?.map(Self::Beside));
        };
        match unpack_to_memory(packed) {
            Ok(memory) => Ok(Some(Self::Memory(memory))),
            Err(_) => unpack_to_folder(packed).map(|path| Some(Self::Temporary(path))),
        }
    }

    /// The path by which this process can start it.
    pub(super) fn path(&self) -> PathBuf {
        use std::os::fd::AsRawFd as _;
        match self {
            Self::Memory(memory) => PathBuf::from(format!("/proc/self/fd/{}", memory.as_raw_fd())),
            Self::Temporary(path) => path.to_path_buf(),
            Self::Beside(path) => path.clone(),
        }
    }
}

/// The agent's own bytes, to be carried to where it shall run; `None` when there is none.
pub(super) fn bytes() -> io::Result<Option<Vec<u8>>> {
    match EMBEDDED {
        Some(packed) => zstd::decode_all(packed).map(Some),
        None => beside()?.map(std::fs::read).transpose(),
    }
}

/// The agent of a debug build. `KDBG_AGENT` names another one: what is beside is not static, and runs in few images.
fn beside() -> io::Result<Option<PathBuf>> {
    let path = match std::env::var_os("KDBG_AGENT") {
        Some(path) => PathBuf::from(path),
        None => std::env::current_exe()?.with_file_name("kdbg-agent"),
    };
    Ok(path.exists().then_some(path))
}

fn unpack_to_memory(packed: &[u8]) -> io::Result<OwnedFd> {
    let memory = match memfd_create(c"kdbg-agent", MFdFlags::MFD_CLOEXEC | MFD_EXEC) {
        // Before Linux 6.3 there was no such flag, and no need for it.
        Err(Errno::EINVAL) => memfd_create(c"kdbg-agent", MFdFlags::MFD_CLOEXEC)?,
        result => result?,
    };
    let mut file = File::from(memory);
    zstd::stream::copy_decode(packed, &mut file)?;
    Ok(file.into())
}

fn unpack_to_folder(packed: &[u8]) -> io::Result<tempfile::TempPath> {
    use std::os::unix::fs::PermissionsExt as _;
    let mut file = tempfile::Builder::new()
        .prefix("kdbg-agent-")
        .permissions(std::fs::Permissions::from_mode(0o700))
        .tempfile()?;
    zstd::stream::copy_decode(packed, &mut file)?;
    // An open descriptor for writing would make the exec fail with ETXTBSY.
    Ok(file.into_temp_path())
}
