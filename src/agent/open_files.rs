//! What a process holds open.

use nix::{
    errno::Errno,
    fcntl::AtFlags,
    sys::stat::{self, FileStat},
};

use super::{
    Answer, Output, Records,
    access::Guard,
    file_system::{entry, kind_of},
    net::Descriptors,
    status::number,
    target::Target,
};
use crate::protocol::message::{Entry, Failure, OpenFile, ProcessId, Reading};

/// Lists the open descriptors. Who may list them but not follow them sees their numbers only.
pub(super) fn answer(process: ProcessId, output: &mut dyn Output) -> Answer {
    let target = Target::open(process)?;
    let doing = format!("list the open files of process {}", process.pid);
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
    let mut refused = None;
    for descriptor in numbers {
        let name = match descriptors.link(descriptor) {
            // Closed meanwhile.
            Err(Errno::ENOENT) => continue,
            Ok(name) => Reading::Known(name),
            Err(errno) => Reading::Unavailable(
                refused
                    .get_or_insert_with(|| unfollowed(&target, errno))
                    .clone(),
            ),
        };
        let bytes = 96 + name.known().map_or(256, |name| name.len());
        let file = describe(&target, &descriptors, descriptor, name);
        records.push(file, bytes)?;
    }
    target.check_alive(&doing)?;
    records.finish()
}

fn unfollowed(target: &Target, errno: Errno) -> Failure {
    let doing = format!("follow the descriptors of process {}", target.id().pid);
    target.failure(doing, errno, Guard::BitsAndTrace)
}

fn describe(
    target: &Target,
    descriptors: &Descriptors,
    descriptor: u32,
    name: Reading<bstr::BString>,
) -> OpenFile {
    // Through the link, not by its text: the file may be elsewhere by now, or nowhere.
    let path = descriptor.to_string();
    let stat = name
        .known()
        .and_then(|_| stat::fstatat(descriptors.folder(), path.as_str(), AtFlags::empty()).ok());
    let info = target.read(&format!("fdinfo/{descriptor}"));
    let (position, flags) = parse_info(&info.unwrap_or_default()).unwrap_or_default();
    OpenFile {
        descriptor,
        name,
        deleted: stat.is_some_and(|stat| stat.st_nlink == 0),
        entry: stat.as_ref().and_then(describe_file),
        position,
        flags,
    }
}

fn describe_file(stat: &FileStat) -> Option<Entry> {
    Some(entry("".into(), kind_of(stat)?, stat, None))
}

/// The lines `pos:` (decimal) and `flags:` (octal) of `/proc/PID/fdinfo/N` (fs/proc/fd.c).
pub(super) fn parse_info(text: &[u8]) -> Option<(u64, u32)> {
    let field = |key: &[u8]| {
        let mut lines = text.split(|byte| *byte == b'\n');
        let value = lines.find_map(|line| line.strip_prefix(key))?;
        Some(value.trim_ascii())
    };
    let position = field(b"pos:").and_then(number)?;
    let flags = std::str::from_utf8(field(b"flags:")?).ok()?;
    Some((position, u32::from_str_radix(flags, 8).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_decimal_and_flags_are_octal() {
        let text = b"pos:\t42\nflags:\t0102001\nmnt_id:\t29\nino:\t7\n";
        assert_eq!(parse_info(text), Some((42, 0o102_001)));
        for text in [&b""[..], b"pos:\t1\n", b"pos:\tx\nflags:\t9\n", b"\xff"] {
            assert_eq!(parse_info(text), None);
        }
    }
}
