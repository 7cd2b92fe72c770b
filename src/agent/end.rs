//! Ends the agent that rests in the same container. The only signal that an agent ever sends, and only to another
//! agent: nothing but that process can end an ephemeral container.

use nix::{
    errno::Errno,
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::{rest::Neighbours, target::Target};

/// What was found in the container, and done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// This process rests, and is to be told.
    Resting(u32),
    /// So do these others use it, and it was left alone.
    InUse(Vec<u32>),
    /// Nobody rests here.
    Nobody,
}

/// Looks for the process that rests in this container, and for those that use it.
pub fn resting(force: bool) -> Result<Ending, Errno> {
    let mut resting = None;
    let mut others = Vec::new();
    for target in Neighbours::new()?.list()? {
        let pid = target.id().pid;
        if rests(&target) {
            resting = Some(pid);
        } else {
            others.push(pid);
        }
    }
    Ok(match resting {
        None => Ending::Nobody,
        Some(_) if !force && !others.is_empty() => Ending::InUse(others),
        Some(pid) => Ending::Resting(pid),
    })
}

/// Tells a process that rests to end. This container ends with it, and so does this process.
pub fn tell(pid: u32) -> Result<(), Errno> {
    let pid = i32::try_from(pid).map_err(|_| Errno::ESRCH)?;
    kill(Pid::from_raw(pid), Signal::SIGTERM)
}

/// Whether it was started as `kdbg-agent rest --idle SECONDS`, under whichever name.
fn rests(target: &Target) -> bool {
    let arguments = target.read("cmdline").unwrap_or_default();
    let mut words = arguments.split(|byte| *byte == 0).skip(1);
    words.next() == Some(b"rest") && words.next() == Some(b"--idle")
}
