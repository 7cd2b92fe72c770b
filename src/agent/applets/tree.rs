//! `tree`: the files below a folder of the target.
//!
//! A path means what it means to the target: `/app` is its `/app`, and so is `$TARGET_ROOT/app`. Where the shell stands
//! in a folder of the agent's own container, a relative path is one there.

use std::{ffi::OsString, io::Write, os::unix::ffi::OsStringExt as _};

use bstr::{BStr, BString, ByteSlice as _};
use lexopt::{
    Arg::{Short, Value},
    ValueExt as _,
};

use super::{Trouble, ask, harmless};
use crate::protocol::message::{Entry, FileKind, ProcessId, Request};

/// The kernel makes these up while they are read; they are shown, and not gone into unless asked for.
const MADE_UP: [&str; 2] = ["/proc", "/sys"];

/// Prints the tree.
pub(super) fn run(arguments: &[OsString], out: &mut dyn Write) -> Result<u8, Trouble> {
    let mut wanted = Wanted::parse(arguments)?;
    if wanted.folders.is_empty() {
        wanted.folders.push(".".into());
    }
    let mut walk = Walk {
        wanted: &wanted,
        folders: 0,
        files: 0,
        unreadable: 0,
        out,
    };
    for typed in &wanted.folders {
        let place = Place::of(typed.as_bstr())?;
        walk.out.write_all(&harmless(typed))?;
        walk.out.write_all(b"\n")?;
        walk.folders += 1;
        walk.list(place.process, &place.path, &mut Vec::new())?;
    }
    let (folders, files, unreadable) = (walk.folders, walk.files, walk.unreadable);
    let plural = |count: u64, one: &str, many: &str| {
        format!("{count} {}", if count == 1 { one } else { many })
    };
    let mut summary = format!("\n{}", plural(folders, "directory", "directories"));
    if !wanted.only_folders {
        summary.push_str(", ");
        summary.push_str(&plural(files, "file", "files"));
    }
    writeln!(out, "{summary}")?;
    // As tree does.
    Ok(if unreadable == 0 { 0 } else { 2 })
}

/// What the arguments ask for.
#[derive(Default)]
struct Wanted {
    folders: Vec<BString>,
    hidden: bool,
    only_folders: bool,
    full_paths: bool,
    depth: Option<usize>,
    left_out: Vec<BString>,
}

impl Wanted {
    fn parse(arguments: &[OsString]) -> Result<Self, Trouble> {
        let mut wanted = Self::default();
        let mut parser = lexopt::Parser::from_args(arguments.iter().cloned());
        while let Some(argument) = parser.next()? {
            match argument {
                Short('a') => wanted.hidden = true,
                Short('d') => wanted.only_folders = true,
                Short('f') => wanted.full_paths = true,
                Short('L') => {
                    let depth: usize = parser.value()?.parse()?;
                    if depth == 0 {
                        let message = "the depth of `-L` must be greater than 0";
                        return Err(Trouble::Usage(message.to_owned()));
                    }
                    wanted.depth = Some(depth);
                }
                // Names alone: a pattern is for the real one.
                Short('I') => {
                    let names = parser.value()?.into_vec();
                    if names.find_byteset("*?[").is_some() {
                        return Err(Trouble::Unknown("-I with a pattern".to_owned()));
                    }
                    wanted
                        .left_out
                        .extend(names.split_str("|").map(BString::from));
                }
                Short('n') => {}
                Value(path) => wanted.folders.push(path.into_vec().into()),
                other => return Err(other.unexpected().into()),
            }
        }
        Ok(wanted)
    }

    fn shows(&self, entry: &Entry) -> bool {
        (self.hidden || !entry.path.starts_with(b"."))
            && (!self.only_folders || entry.kind == FileKind::Folder)
            && !self.left_out.contains(&entry.path)
    }
}

/// Whose file system is meant, and where in it.
#[derive(Debug)]
struct Place {
    process: ProcessId,
    path: BString,
}

impl Place {
    fn of(typed: &BStr) -> Result<Self, Trouble> {
        let root = std::env::var_os("TARGET_ROOT")
            .unwrap_or_default()
            .into_vec();
        let here = std::env::var_os("PWD")
            .unwrap_or_else(|| "/".into())
            .into_vec();
        let (is_target, path) = locate(typed, root.as_bstr(), here.as_bstr());
        let process = if is_target {
            ask::target()?
        } else {
            ask::ourselves()?
        };
        Ok(Self { process, path })
    }
}

/// Whether a path is the target's, and what it is called there.
fn locate(typed: &BStr, root: &BStr, here: &BStr) -> (bool, BString) {
    let below_root = |path: &[u8]| -> Option<BString> {
        let rest = path
            .strip_prefix(root.as_bytes())
            .filter(|_| root.len() > 1)?;
        match rest.first() {
            None => Some("/".into()),
            Some(b'/') => Some(rest.into()),
            Some(_) => None,
        }
    };
    if typed.starts_with(b"/") {
        return (true, below_root(typed).unwrap_or_else(|| typed.into()));
    }
    let joined = [here.as_bytes(), b"/", typed.as_bytes()].concat();
    match below_root(here) {
        Some(_) => (true, below_root(&joined).unwrap_or_else(|| joined.into())),
        None => (false, joined.into()),
    }
}

struct Walk<'a> {
    wanted: &'a Wanted,
    folders: u64,
    files: u64,
    unreadable: u64,
    out: &'a mut dyn Write,
}

impl Walk<'_> {
    /// Prints what is in a folder; `above` says of each folder above it whether more follows there.
    fn list(
        &mut self,
        process: ProcessId,
        path: &BString,
        above: &mut Vec<bool>,
    ) -> Result<(), Trouble> {
        let request = Request::List {
            process,
            path: path.clone(),
        };
        let mut entries: Vec<Entry> = Vec::new();
        let listed = ask::rows(&request, |entry: Entry| {
            entries.push(entry);
            Ok(())
        });
        if let Err(Trouble::Failed(failure)) = &listed
            && !failure.is_gone()
        {
            self.unreadable += 1;
            let text = format!("{failure}");
            self.line(above, true, &harmless(format!("[{text}]").as_bytes()))?;
            return Ok(());
        }
        listed?;
        entries.retain(|entry| self.wanted.shows(entry));
        let count = entries.len();
        for (place, entry) in entries.into_iter().enumerate() {
            let is_last = place + 1 == count;
            self.entry(process, path, &entry, is_last, above)?;
        }
        Ok(())
    }

    fn entry(
        &mut self,
        process: ProcessId,
        folder: &BString,
        entry: &Entry,
        is_last: bool,
        above: &mut Vec<bool>,
    ) -> Result<(), Trouble> {
        let path: BString = [
            folder.strip_suffix(b"/").unwrap_or(folder),
            b"/",
            &entry.path,
        ]
        .concat()
        .into();
        let mut shown = harmless(if self.wanted.full_paths {
            &path
        } else {
            &entry.path
        });
        if let Some(link) = &entry.link {
            shown.extend_from_slice(b" -> ");
            shown.extend(harmless(link));
        }
        self.line(above, is_last, &shown)?;
        if entry.kind != FileKind::Folder {
            self.files += 1;
            return Ok(());
        }
        self.folders += 1;
        let is_deep_enough = self
            .wanted
            .depth
            .is_some_and(|depth| above.len() + 1 >= depth);
        let is_made_up = MADE_UP.iter().any(|made_up| path == *made_up);
        if is_deep_enough || is_made_up {
            return Ok(());
        }
        above.push(!is_last);
        self.list(process, &path, above)?;
        above.pop();
        Ok(())
    }

    fn line(&mut self, above: &[bool], is_last: bool, shown: &[u8]) -> Result<(), Trouble> {
        for goes_on in above {
            let bar = if *goes_on {
                "\u{2502}\u{a0}\u{a0} "
            } else {
                "    "
            };
            self.out.write_all(bar.as_bytes())?;
        }
        let branch = if is_last {
            "\u{2514}\u{2500}\u{2500} "
        } else {
            "\u{251c}\u{2500}\u{2500} "
        };
        self.out.write_all(branch.as_bytes())?;
        self.out.write_all(shown)?;
        self.out.write_all(b"\n")?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_means_what_it_means_to_the_target() {
        let at = |typed: &str, here: &str| {
            let (is_target, path) = locate(typed.into(), "/proc/7/root".into(), here.into());
            (is_target, path.to_string())
        };
        let target = |path: &str| (true, path.to_owned());
        assert_eq!(at("/app", "/tmp"), target("/app"));
        assert_eq!(at("/proc/7/root/app", "/tmp"), target("/app"));
        assert_eq!(at("/proc/7/root", "/tmp"), target("/"));
        assert_eq!(at("/proc/7/rooted", "/tmp"), target("/proc/7/rooted"));
        assert_eq!(at("src", "/proc/7/root/app"), target("/app/src"));
        assert_eq!(at(".", "/proc/7/root"), target("/."));
        assert_eq!(at("src", "/tmp"), (false, "/tmp/src".to_owned()));
    }

    #[test]
    fn a_depth_of_nothing_is_refused() {
        let words = ["-L", "0"].map(OsString::from);
        assert!(matches!(Wanted::parse(&words), Err(Trouble::Usage(_))));
    }
}
