//! Programs of this machine that a test needs: git, compilers, archivers.

use std::path::Path;
use std::process::Command;

use super::wait::{Failure, check};

/// Runs a program and returns what it printed.
pub(crate) fn succeed(command: &mut Command) -> Result<String, Failure> {
    let output = command.output().map_err(Failure::of("run a program"))?;
    check(output.status.success(), || {
        format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr))
    })?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Runs git in a folder, as somebody.
pub(crate) fn git(folder: &Path, arguments: &[&str]) -> Result<String, Failure> {
    let mut command = Command::new("git");
    command
        .arg("-C")
        .arg(folder)
        .args(["-c", "user.name=t", "-c", "user.email=t@invalid"])
        .args(arguments);
    succeed(&mut command)
}
