//! `/proc/PID/mountinfo`, as far as probes need it.

use bstr::{BString, ByteSlice as _};
use nix::errno::Errno;

use super::{status::number, target::Target};

/// A line of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mount {
    /// Its number.
    pub(super) number: u32,
    /// The folder of the file system that is mounted. Of a control group: the group, as the reader sees it.
    pub(super) root: BString,
    /// Where, as the process sees it.
    pub(super) point: BString,
    /// The type of the file system.
    pub(super) file_system: BString,
    /// Its options; of version 1 of the control groups: the controllers.
    pub(super) options: BString,
}

/// The mounts that a process sees, in their order: a later one covers an earlier one.
pub(super) fn of(target: &Target) -> Result<Vec<Mount>, Errno> {
    Ok(parse(&target.read("mountinfo")?))
}

/// Reads the table; lines that are none are left out (`show_mountinfo`, `fs/proc_namespace.c`).
pub(super) fn parse(table: &[u8]) -> Vec<Mount> {
    table.lines().filter_map(mount).collect()
}

fn mount(line: &[u8]) -> Option<Mount> {
    let (before, behind) = line.split_once_str(" - ")?;
    let mut before = before.split_str(" ");
    let (number, root) = (number(before.next()?)?, before.nth(2)?);
    let point = before.next()?;
    let mut behind = behind.split_str(" ");
    Some(Mount {
        number,
        root: unescaped(root),
        point: unescaped(point),
        file_system: behind.next()?.into(),
        options: behind.nth(1).unwrap_or_default().into(),
    })
}

/// The kernel writes blanks, tabs, line feeds and backslashes as three octal digits.
fn unescaped(field: &[u8]) -> BString {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, behind)) = rest.split_first() {
        let code = behind
            .get(..3)
            .filter(|_| *first == b'\\')
            .and_then(|digits| u8::from_str_radix(digits.to_str().ok()?, 8).ok());
        bytes.push(code.unwrap_or(*first));
        rest = behind
            .get(if code.is_some() { 3 } else { 0 }..)
            .unwrap_or_default();
    }
    bytes.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_whatever_stands_in_their_names() {
        let table = b"29 1 0:25 / / rw,relatime shared:1 master:2 - ext4 /dev/root rw,discard\n\
            30 29 0:26 /a\\040b /mnt\\134x\\012y ro - cgroup cgroup rw,cpu,cpuacct\n\
            31 29 0:27 /../c /z\xff rw - tmpfs\n";
        let mounts = parse(table);
        assert_eq!(mounts.len(), 3);
        assert_eq!((mounts[0].number, &mounts[0].point), (29, &"/".into()));
        assert_eq!(mounts[0].file_system, "ext4");
        assert_eq!(
            (mounts[1].root.as_slice(), mounts[1].point.as_slice()),
            (&b"/a b"[..], &b"/mnt\\x\ny"[..])
        );
        assert_eq!(mounts[1].options, "rw,cpu,cpuacct");
        assert_eq!(
            (mounts[2].point.as_slice(), mounts[2].options.as_slice()),
            (&b"/z\xff"[..], &b""[..])
        );
    }

    #[test]
    fn lines_that_are_none_are_left_out() {
        for line in [
            &b""[..],
            b"\n\n",
            b"29 1 0:25 / / rw",
            b"x 1 0:25 / / rw - ext4 a b",
            b" - - - ",
            b"29 1 0:25 -  - ",
            b"\xff\xfe - \xff",
        ] {
            for mount in parse(line) {
                assert!(mount.number > 0, "{line:?}");
            }
        }
        assert!(parse(b"29 1 0:25 / / rw\n1\n").is_empty());
    }
}
