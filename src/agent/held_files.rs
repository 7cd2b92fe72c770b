//! What a process holds: its folders, its program, what it has mapped, and its descriptors.
//!
//! Files are looked at through the links of `/proc/PID`, not by their names: a file may be elsewhere by now, or nowhere.

use std::{
    collections::HashSet,
    ffi::CString,
    io::{BufRead as _, BufReader},
};

use bstr::{BStr, BString, ByteSlice as _};
use nix::{
    errno::Errno,
    fcntl::AtFlags,
    sys::stat::{self, FileStat},
};

use super::{
    Answer, Output, Records,
    access::Guard,
    file_system::{kind_of, nanoseconds, size_of},
    net::Descriptors,
    status::number,
    target::{Target, errno_of},
    view::{View, inner_name},
};
use crate::{
    protocol::message::{
        Capabilities, Cause, Failure, HeldBy, HeldFile, HeldStat, Opened, ProcessId, Reading,
    },
    sys::born,
};

/// The unit of `st_blocks` (stat(2)).
const BLOCK: u64 = 512;

/// Lists what the process holds, in the order of lsof(8): folders, program, mappings, descriptors.
pub(super) fn answer(process: ProcessId, output: &mut dyn Output) -> Answer {
    let target = Target::open(process)?;
    let doing = format!("list what process {} holds open", process.pid);
    let fail = |errno| target.failure(doing.as_str(), errno, Guard::Bits);
    let descriptors = Descriptors::open(&target).map_err(fail)?;
    let mut numbers = Vec::new();
    descriptors
        .for_each(|descriptor| {
            numbers.push(descriptor);
            Ok(())
        })
        .map_err(fail)?;
    numbers.sort_unstable();

    let mut records = Records::new(output);
    let mut look = Look::new(&target);
    for (by, name) in [
        (HeldBy::Folder, "cwd"),
        (HeldBy::Root, "root"),
        (HeldBy::Executable, "exe"),
    ] {
        records.push(look.place(by, name), 160)?;
    }
    for mapping in look.mappings() {
        let bytes = size(&mapping);
        records.push(mapping, bytes)?;
    }
    for number in numbers {
        if let Some(file) = look.descriptor(&descriptors, number) {
            let bytes = size(&file);
            records.push(file, bytes)?;
        }
    }
    target.check_alive(&doing)?;
    records.finish()
}

/// About the size of a record on the wire.
fn size(file: &HeldFile) -> usize {
    96 + file.name.known().map_or(256, |name| name.len())
}

/// One look at a process, which explains a refusal once for all that it concerns.
struct Look<'a> {
    target: &'a Target,
    /// What the kernel calls its root.
    root: BString,
    refused: Option<Failure>,
}

impl<'a> Look<'a> {
    fn new(target: &'a Target) -> Self {
        Self {
            target,
            root: target.link("root").unwrap_or_else(|_| "/".into()),
            refused: None,
        }
    }

    /// As the process calls it; what lies outside of its root keeps the kernel's name.
    fn inner(&self, name: BString) -> BString {
        inner_name(self.root.as_bstr(), name.as_bstr()).unwrap_or(name)
    }

    /// Something that is no descriptor.
    fn place(&self, by: HeldBy, link: &str) -> HeldFile {
        let pid = self.target.id().pid;
        let what = match by {
            HeldBy::Folder => "working directory",
            HeldBy::Root => "root folder",
            _ => "executable",
        };
        let fail = |errno| {
            let doing = format!("look at the {what} of process {pid}");
            self.target.failure(doing, errno, Guard::Trace)
        };
        HeldFile {
            by,
            name: self
                .target
                .link(link)
                .map(|name| self.inner(name))
                .map_err(fail)
                .into(),
            stat: held_stat(self.target, link).map_err(fail).into(),
            opened: None,
        }
    }

    /// A descriptor; `None` when it was closed meanwhile.
    fn descriptor(&mut self, descriptors: &Descriptors, number: u32) -> Option<HeldFile> {
        let (name, stat) = match descriptors.link(number) {
            Err(Errno::ENOENT) => return None,
            Ok(name) => {
                let stat = held_stat(descriptors.folder(), &number.to_string());
                let stat = stat.map_err(|errno| self.failure(errno));
                (Reading::Known(self.inner(name)), Reading::from(stat))
            }
            Err(errno) => {
                let refused = match &self.refused {
                    Some(refused) => refused.clone(),
                    None => self.failure(errno),
                };
                self.refused = Some(refused.clone());
                (
                    Reading::Unavailable(refused.clone()),
                    Reading::Unavailable(refused),
                )
            }
        };
        let info = self.target.read(&format!("fdinfo/{number}")).ok();
        Some(HeldFile {
            by: HeldBy::Descriptor(number),
            name,
            stat,
            opened: info.as_deref().and_then(parse_info),
        })
    }

    fn failure(&self, errno: Errno) -> Failure {
        let doing = format!("follow the descriptors of process {}", self.target.id().pid);
        self.target.failure(doing, errno, Guard::BitsAndTrace)
    }

    /// The files that are mapped, each once; or why they could not be read.
    fn mappings(&self) -> Vec<HeldFile> {
        match self.read_mappings() {
            Ok(mappings) => mappings,
            Err(errno) => {
                let doing = format!("read the mappings of process {}", self.target.id().pid);
                let failure = self.target.failure(doing, errno, Guard::Trace);
                vec![HeldFile {
                    by: HeldBy::Mapping,
                    name: Reading::Unavailable(failure.clone()),
                    stat: Reading::Unavailable(failure),
                    opened: None,
                }]
            }
        }
    }

    fn read_mappings(&self) -> Result<Vec<HeldFile>, Errno> {
        let program = self.target.link("exe").ok();
        let view = View::open(self.target).ok();
        let mut reader = BufReader::new(self.target.file("maps")?);
        let mut line = Vec::new();
        let mut seen = HashSet::new();
        let mut mappings = Vec::new();
        loop {
            line.clear();
            let count = reader.read_until(b'\n', &mut line);
            if count.map_err(|error| errno_of(&error))? == 0 {
                return Ok(mappings);
            }
            let Some(mapping) = Mapping::parse(&line) else {
                continue;
            };
            let is_new = seen.insert((mapping.device.to_vec(), mapping.inode.to_vec()));
            if !is_new || program.as_ref() == Some(&mapping.name) {
                continue;
            }
            mappings.push(self.mapping(&mapping, view.as_ref()));
        }
    }

    fn mapping(&self, mapping: &Mapping<'_>, view: Option<&View<'_>>) -> HeldFile {
        let path = format!("map_files/{}", mapping.range);
        let name = self.inner(mapping.name.clone());
        let stat = held_stat(self.target, &path).or_else(|errno| {
            // Only root of the first user namespace may follow it; what has its name is the same file, unless it is
            // deleted.
            let is_deleted = name.ends_with(DELETED);
            let found = view.filter(|_| !is_deleted).ok_or(errno)?;
            let found = found.resolve(name.as_bstr())?;
            Ok(describe(&stat::fstat(&found)?, None))
        });
        let stat = stat.map_err(|errno: Errno| {
            let doing = format!("look at `{name}`");
            let cause = match errno {
                Errno::EPERM | Errno::EACCES => Cause::Lacks(Capabilities::SYS_ADMIN),
                other => Cause::from(other),
            };
            Failure::new(doing, cause)
        });
        HeldFile {
            by: HeldBy::Mapping,
            name: Reading::Known(name),
            stat: stat.into(),
            opened: None,
        }
    }
}

/// The lines `pos:` (decimal) and `flags:` (octal) of `/proc/PID/fdinfo/N` (fs/proc/fd.c).
fn parse_info(text: &[u8]) -> Option<Opened> {
    let field = |key: &[u8]| {
        let mut lines = text.split(|byte| *byte == b'\n');
        let value = lines.find_map(|line| line.strip_prefix(key))?;
        Some(value.trim_ascii())
    };
    let position = field(b"pos:").and_then(number)?;
    let flags = std::str::from_utf8(field(b"flags:")?).ok()?;
    let flags = u32::from_str_radix(flags, 8).ok()?;
    Some(Opened { flags, position })
}

/// What the kernel puts behind the name of a file that has none any more.
const DELETED: &[u8] = b" (deleted)";

/// A line of `/proc/PID/maps` that is about a file.
struct Mapping<'a> {
    range: &'a str,
    device: &'a [u8],
    inode: &'a [u8],
    name: BString,
}

impl<'a> Mapping<'a> {
    /// `start-end rwxp offset device inode    name`
    fn parse(line: &'a [u8]) -> Option<Self> {
        let mut fields = line.splitn(6, |byte| *byte == b' ');
        let range = fields.next()?.to_str().ok()?;
        let mut fields = fields.skip(2);
        let (device, inode) = (fields.next()?, fields.next()?);
        let name = fields.next()?.trim_start_with(|char| char == ' ');
        let name = BStr::new(name.strip_suffix(b"\n").unwrap_or(name));
        // What is not from a file has inode 0, or a name in brackets.
        let is_file = inode != b"0" && name.starts_with(b"/");
        // seq_file_path escapes the line feed, and nothing else (show_map_vma, fs/proc/task_mmu.c).
        let name = BString::from(name.replace(r"\012", "\n"));
        is_file.then_some(Self {
            range,
            device,
            inode,
            name,
        })
    }
}

fn held_stat(folder: impl std::os::fd::AsFd, name: &str) -> Result<HeldStat, Errno> {
    let stat = stat::fstatat(&folder, name, AtFlags::AT_NO_AUTOMOUNT)?;
    let born = CString::new(name)
        .ok()
        .and_then(|name| born(&folder, &name));
    Ok(describe(&stat, born))
}

fn describe(stat: &FileStat, born: Option<i64>) -> HeldStat {
    HeldStat {
        kind: kind_of(stat),
        device: stat.st_dev,
        inode: stat.st_ino,
        links: stat.st_nlink,
        size: size_of(stat),
        allocated: u64::try_from(stat.st_blocks)
            .unwrap_or(0)
            .saturating_mul(BLOCK),
        modified: nanoseconds(stat.st_mtime, stat.st_mtime_nsec),
        born,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_decimal_and_flags_are_octal() {
        let text = b"pos:\t42\nflags:\t0102001\nmnt_id:\t29\nino:\t7\n";
        let opened = Opened {
            flags: 0o102_001,
            position: 42,
        };
        assert_eq!(parse_info(text), Some(opened));
        for text in [&b""[..], b"pos:\t1\n", b"pos:\tx\nflags:\t9\n", b"\xff"] {
            assert_eq!(parse_info(text), None);
        }
    }

    #[test]
    fn only_lines_about_files_are_mappings() {
        let line = b"7f00-7f10 r-xp 00002000 fd:01 4711                       /lib/a b \xff.so (deleted)\n";
        let mapping = Mapping::parse(line).unwrap();
        assert_eq!(mapping.name, b"/lib/a b \xff.so (deleted)".as_slice());
        assert_eq!(
            (mapping.range, mapping.device),
            ("7f00-7f10", &b"fd:01"[..])
        );
        let line = b"1-2 r--p 0 0:1 5 /a\\012b\n";
        assert_eq!(Mapping::parse(line).unwrap().name, "/a\nb");
        for line in [
            &b""[..],
            b"\n",
            b"7f00-7f10 rw-p 00000000 00:00 0 \n",
            b"7f00-7f10 rw-p 00000000 00:00 0                          [heap]\n",
            b"7f00-7f10 rw-p 00000000 00:05 9 anon_inode:[perf_event]\n",
            b"a b c d e",
            b"\xff\xff - - - 1 /a",
        ] {
            assert!(Mapping::parse(line).is_none(), "{line:?}");
        }
    }
}
