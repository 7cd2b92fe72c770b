//! What an applet cannot do, the next program of its name may.

use std::{
    ffi::OsString,
    fs,
    io::{self, Write as _},
    os::unix::{
        fs::{MetadataExt as _, PermissionsExt as _},
        process::CommandExt as _,
    },
    path::{Path, PathBuf},
    process::Command,
};

use super::{Applet, Trouble};

/// Becomes the next program of this name; returns only when there is none.
pub(super) fn run(applet: Applet, option: &str, arguments: &[OsString]) -> Trouble {
    let Some(program) = find(applet.name()) else {
        return Trouble::Unknown(option.to_owned());
    };
    // Whoever compares the two must know which one has answered, and the other does not look from the target.
    let shown = program.display();
    let name = applet.name();
    let _ = writeln!(
        io::stderr(),
        "{name}: the agent's own does not know `{option}`: `{shown}` runs instead"
    );
    let error = Command::new(&program).arg0(name).args(arguments).exec();
    Trouble::said(126, format!("cannot run `{shown}`: {error}"))
}

/// The first program of this name in `PATH` that is not this one.
pub(super) fn find(name: &str) -> Option<PathBuf> {
    let ours = number(Path::new("/proc/self/exe"));
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|folder| folder.join(name))
        .find(|program| is_program(program) && number(program) != ours)
}

/// By which two names of one file are known.
fn number(path: &Path) -> Option<(u64, u64)> {
    let found = fs::metadata(path).ok()?;
    Some((found.dev(), found.ino()))
}

fn is_program(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}
