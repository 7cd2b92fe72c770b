//! An agent as a child process of this one, for targets of this machine.

use std::{process::Stdio, sync::Arc, time::Duration};

use nix::fcntl::{FcntlArg, fcntl};
use tokio::{
    io::AsyncReadExt as _,
    process::{Child, ChildStderr, Command},
    sync::Mutex,
    time::timeout,
};

use super::{TargetError, agent_binary::AgentBinary};
use crate::{
    protocol::SILENCE_LIMIT,
    session::{Session, SessionError},
};

/// Pipes hold 64 KiB; this much lets either side work on while the other one is not scheduled.
const PIPE_SIZE: i32 = 1024 * 1024;
/// What is kept of an agent's complaints.
const COMPLAINT_LIMIT: u64 = 4096;
/// An agent ends at once after a goodbye; one that does not is ended.
const EXIT_LIMIT: Duration = Duration::from_secs(2);

/// An agent that was started here. Dropping it ends it.
pub struct AgentProcess {
    child: Child,
    pid: u32,
}

impl AgentProcess {
    pub(super) const fn pid(&self) -> u32 {
        self.pid
    }

    /// Waits for an agent that was told goodbye.
    pub(super) async fn wait(mut self) {
        if timeout(EXIT_LIMIT, self.child.wait()).await.is_err() {
            // Ended by its drop.
            tracing::warn!(pid = self.pid, "the agent did not end by itself");
        }
    }
}

/// Starts an agent and greets it.
pub(super) async fn start() -> Result<(Session, AgentProcess), TargetError> {
    let binary = AgentBinary::find()
        .map_err(TargetError::Start)?
        .ok_or(TargetError::NoAgent)?;
    let mut child = Command::new(binary.path())
        .arg0("kdbg-agent")
        .arg("serve")
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        // Ctrl-C goes to the foreground group; the agent ends with its client, not beside it.
        .process_group(0)
        .spawn()
        .map_err(TargetError::Start)?;
    let pid = child.id().unwrap_or_default();
    let (Some(input), Some(output), Some(complaints)) =
        (child.stdout.take(), child.stdin.take(), child.stderr.take())
    else {
        return Err(TargetError::NoAgent);
    };
    for result in [
        fcntl(&input, FcntlArg::F_SETPIPE_SZ(PIPE_SIZE)),
        fcntl(&output, FcntlArg::F_SETPIPE_SZ(PIPE_SIZE)),
    ] {
        if let Err(errno) = result {
            // Slower, not wrong: the user's limit of pipe memory may be used up.
            tracing::debug!(%errno, "the pipe keeps its size");
        }
    }
    let said = Complaints::collect(complaints);
    let agent = AgentProcess { child, pid };
    let reason = match timeout(SILENCE_LIMIT, Session::open(input, output)).await {
        Ok(Ok(session)) => return Ok((session, agent)),
        Ok(Err(reason)) => reason,
        Err(_) => SessionError::Silent,
    };
    drop(agent);
    Err(TargetError::NoConversation {
        reason,
        said: said.text().await,
    })
}

/// What an agent says on its standard error: nothing, unless something is wrong.
struct Complaints(Arc<Mutex<Vec<u8>>>);

impl Complaints {
    fn collect(stderr: ChildStderr) -> Self {
        let collected = Arc::new(Mutex::new(Vec::new()));
        let target = Arc::clone(&collected);
        tokio::spawn(async move {
            let mut text = target.lock().await;
            // Whatever was read before an error is worth showing.
            let _ = stderr.take(COMPLAINT_LIMIT).read_to_end(&mut text).await;
        });
        Self(collected)
    }

    async fn text(&self) -> Option<String> {
        let bytes = timeout(EXIT_LIMIT, self.0.lock()).await.ok()?;
        let text = String::from_utf8_lossy(&bytes).trim().to_owned();
        (!text.is_empty()).then_some(text)
    }
}
