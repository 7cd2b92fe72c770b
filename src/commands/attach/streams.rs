//! Our own three streams. Nothing here keeps the program from ending: whoever waits for a key or for a reader is
//! a thread that nobody waits for.

use std::{
    fs::File,
    io::{self, Read as _, Write as _},
    os::fd::AsFd,
    sync::Arc,
    time::Duration,
};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tokio::sync::mpsc;

use crate::cli::error::CommandError;

/// How often it is looked whether anybody still reads our output.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Read at once.
const PIECE: usize = 128 * 1024;

/// Reads standard input in a thread; the channel ends where the input does.
pub(in crate::commands) fn read_input() -> io::Result<mpsc::Receiver<Vec<u8>>> {
    let mut input = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    // Thread -> session: what was read. Short: what is not wanted stays where it is.
    let (input_tx, input_rx) = mpsc::channel(1);
    let read = move || {
        let mut buffer = vec![0; PIECE];
        loop {
            let count = match input.read(&mut buffer) {
                Ok(0) => return,
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    wait_for(&input, PollFlags::POLLIN, PollTimeout::NONE);
                    continue;
                }
                // A terminal that is gone, for example: there is no more input.
                Err(_) => return,
            };
            let piece = buffer.get(..count).unwrap_or_default().to_vec();
            if input_tx.blocking_send(piece).is_err() {
                return;
            }
        }
    };
    std::thread::Builder::new()
        .name("stdin".to_owned())
        .spawn(read)?;
    Ok(input_rx)
}

/// Standard output or standard error.
pub(super) struct Sink(Arc<File>);

impl Sink {
    pub(super) fn new(stream: impl AsFd) -> Result<Self, CommandError> {
        let stream = stream.as_fd().try_clone_to_owned();
        let file: File = stream.map_err(CommandError::output)?.into();
        Ok(Self(Arc::new(file)))
    }

    /// Writes all of it, in a thread: a reader that does not read must not keep Ctrl-C from working.
    pub(super) async fn write(&self, bytes: Vec<u8>) -> Result<(), CommandError> {
        let file = Arc::clone(&self.0);
        tokio::task::spawn_blocking(move || write_all(&file, &bytes))
            .await
            .map_err(CommandError::internal)?
            .map_err(CommandError::output)
    }

    /// Resolves once nobody reads it any more: a command that says nothing would not find out.
    pub(super) async fn closed(&self) {
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            // The end of a reader is reported whether it is asked for or not.
            if wait_for(&self.0, PollFlags::empty(), PollTimeout::ZERO)
                .intersects(PollFlags::POLLERR)
            {
                return;
            }
        }
    }
}

/// Whoever shares our terminal may have made it one that does not wait.
fn write_all(mut file: &File, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match file.write(bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(count) => bytes = bytes.get(count..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                wait_for(file, PollFlags::POLLOUT, PollTimeout::NONE);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn wait_for(file: &File, flags: PollFlags, timeout: PollTimeout) -> PollFlags {
    let mut descriptors = [PollFd::new(file.as_fd(), flags)];
    // What cannot be waited for shows itself when it is used.
    let _ = poll(&mut descriptors, timeout);
    let [descriptor] = descriptors;
    descriptor.revents().unwrap_or(PollFlags::empty())
}
