//! The control groups of a process, and their files.
//!
//! `/proc/PID/cgroup` and the roots in `/proc/PID/mountinfo` both name groups as the *reader's* cgroup namespace sees
//! them (`cgroup_show_path` and `proc_cgroup_show`, kernel/cgroup/cgroup.c): from a neighbour's namespace both start
//! with `/..`. So one leads from the other to a path below a mount of the process, whatever namespace anybody is in. A
//! container mounts its own group and none above: what is set for the whole pod cannot be seen from there. Where
//! the process has no such mount, the agent's own mounts are tried.

use std::os::fd::{AsFd, OwnedFd};

use bstr::{BStr, BString, ByteSlice as _};
use nix::{
    errno::Errno,
    fcntl::{self, OFlag},
    sys::stat::{self, Mode},
};

use super::{
    access::Guard,
    file_system::{kind_of, pseudo_file_system},
    mounts::{self, Mount},
    sample::limited,
    target::Target,
    view::View,
};
use crate::protocol::message::{Cause, Failure, FileKind, GroupFile, Reading};

/// Groups above the process's own that are looked at: where a limit is set, and throttling is counted.
const ABOVE: usize = 6;
/// The most that is read of one file.
const LIMIT: u64 = 16 * 1024;

/// What is read in the unified hierarchy (Documentation/admin-guide/cgroup-v2.rst).
const UNIFIED: &[&str] = &[
    "cpu.stat",
    "cpu.max",
    "memory.current",
    "memory.max",
    "memory.high",
    "memory.peak",
    "memory.stat",
    "memory.events",
    "pids.current",
    "pids.max",
    "cpu.pressure",
    "memory.pressure",
    "io.pressure",
];

/// What is read of each controller of version 1 (Documentation/admin-guide/cgroup-v1).
const CONTROLLERS: &[(&str, &[&str])] = &[
    (
        "cpu",
        &["cpu.stat", "cpu.cfs_quota_us", "cpu.cfs_period_us"],
    ),
    ("cpuacct", &["cpuacct.usage"]),
    (
        "memory",
        &[
            "memory.usage_in_bytes",
            "memory.limit_in_bytes",
            "memory.max_usage_in_bytes",
            "memory.stat",
            "memory.oom_control",
            "memory.failcnt",
        ],
    ),
    ("pids", &["pids.current", "pids.max"]),
];

/// Reads the files of a process's groups. A file that is not there is left out: the group has not that controller.
pub(super) fn read(target: &Target) -> Result<Vec<GroupFile>, Failure> {
    let doing = format!("find the control groups of process {}", target.id().pid);
    let fail = |errno| target.failure(doing.as_str(), errno, Guard::Trace);
    let groups = parse(&target.read("cgroup").map_err(fail)?);
    let theirs = mounts::of(target).map_err(fail)?;
    let mut files = Vec::new();
    let mut why = match View::open(target) {
        Ok(view) => search(&view, &theirs, &groups, &mut files),
        Err(failure) => Some(failure),
    };
    if files.is_empty() {
        // On a machine it sees the same; in a pod it does not see the neighbour's group.
        let ourselves = Target::open_number(std::process::id()).map_err(fail)?.0;
        let ours = mounts::of(&ourselves).map_err(fail)?;
        let view = View::open(&ourselves)?;
        let failure = search(&view, &ours, &groups, &mut files);
        why = why.or(failure);
    }
    match why {
        Some(failure) if files.is_empty() => Err(failure),
        None if files.is_empty() => Err(Failure::new(doing, Cause::NotFound)),
        _ => Ok(files),
    }
}

/// The group of a process in one hierarchy.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Group {
    /// Empty for the unified hierarchy.
    controllers: Vec<BString>,
    path: BString,
}

/// Reads `/proc/PID/cgroup`: `number:controllers:path`.
fn parse(text: &[u8]) -> Vec<Group> {
    let group = |line: &[u8]| {
        let mut fields = line.splitn(3, |byte| *byte == b':').skip(1);
        let (controllers, path) = (fields.next()?, fields.next()?);
        let controllers = controllers.split(|byte| *byte == b',');
        // The kernel says so of a group that was removed with the process still in it.
        let path = path.strip_suffix(b" (deleted)").unwrap_or(path);
        path.starts_with(b"/").then(|| Group {
            controllers: controllers
                .filter(|name| !name.is_empty())
                .map(BString::from)
                .collect(),
            path: path.into(),
        })
    };
    text.lines().filter_map(group).collect()
}

/// Reads all that is found below some mounts; answers what stood in the way.
fn search(
    view: &View<'_>,
    mounts: &[Mount],
    groups: &[Group],
    files: &mut Vec<GroupFile>,
) -> Option<Failure> {
    let mut why = None;
    for group in groups {
        let unified = group.controllers.is_empty();
        let wanted: Vec<&str> = if unified {
            UNIFIED.to_vec()
        } else {
            let has = |name: &str| group.controllers.iter().any(|one| one == name);
            let known = CONTROLLERS.iter().filter(|(name, _)| has(name));
            known.flat_map(|(_, files)| files.iter().copied()).collect()
        };
        if wanted.is_empty() {
            continue;
        }
        for (above, (folder, name)) in places(mounts, group)
            .into_iter()
            .take(ABOVE + 1)
            .enumerate()
        {
            let opened = open(view, folder.as_bstr());
            let opened = opened.map_err(|errno| view.failure("open", folder.as_bstr(), errno));
            match opened {
                Ok(opened) => read_group(&opened, &wanted, files, |file, content| GroupFile {
                    above: u32::try_from(above).unwrap_or(u32::MAX),
                    unified,
                    group: name.clone(),
                    name: file.to_owned(),
                    content,
                }),
                Err(failure) => {
                    why.get_or_insert(failure);
                    break;
                }
            }
        }
    }
    why
}

/// The folders of a group and of those above it, as far as one mount shows them, with their names.
fn places(mounts: &[Mount], group: &Group) -> Vec<(BString, BString)> {
    // The last one covers those before it.
    let mount = mounts.iter().rev().find_map(|mount| {
        let is_of = if group.controllers.is_empty() {
            mount.file_system == "cgroup2"
        } else {
            let mut options = mount.options.split(|byte| *byte == b',');
            mount.file_system == "cgroup"
                && options.any(|one| group.controllers.iter().any(|name| name == one))
        };
        let rest = is_of
            .then(|| below(group.path.as_bstr(), mount.root.as_bstr()))
            .flatten()?;
        Some((mount, rest))
    });
    let Some((mount, rest)) = mount else {
        return Vec::new();
    };
    let mut places = Vec::new();
    let mut rest = rest;
    loop {
        let join = |base: &[u8]| {
            let base = base.strip_suffix(b"/").unwrap_or(base);
            let joined = [base, b"/", rest].concat();
            BString::from(joined.strip_suffix(b"/").unwrap_or(&joined))
        };
        let name = join(&mount.root);
        let name = if name.is_empty() { "/".into() } else { name };
        places.push((join(&mount.point), name));
        if rest.is_empty() {
            return places;
        }
        rest = rest
            .rfind_byte(b'/')
            .and_then(|end| rest.get(..end))
            .unwrap_or_default();
    }
}

/// What a path has below another one; `None` when it is not below it.
fn below<'a>(path: &'a BStr, root: &BStr) -> Option<&'a [u8]> {
    let root = root.strip_suffix(b"/").unwrap_or(root);
    let rest = path.strip_prefix(root)?;
    if rest.is_empty() {
        return Some(rest);
    }
    let rest = rest.strip_prefix(b"/")?;
    // A name above the reader's own group cannot be told from the one that it stands for.
    (!rest.starts_with(b"..")).then_some(rest)
}

/// Opens a group's folder. It lies in the target's view: it is one only if the kernel says so.
fn open(view: &View<'_>, path: &BStr) -> Result<OwnedFd, Errno> {
    let folder = view.resolve(path)?;
    match pseudo_file_system(&folder)? {
        Some("cgroup" | "cgroup2") => Ok(folder),
        _ => Err(Errno::ENOENT),
    }
}

fn read_group(
    folder: &OwnedFd,
    wanted: &[&str],
    files: &mut Vec<GroupFile>,
    describe: impl Fn(&str, Reading<BString>) -> GroupFile,
) {
    for name in wanted {
        let content = match read_file(folder, name) {
            Ok(content) => Reading::Known(content),
            // Not there, or PSI is switched off.
            Err(Errno::ENOENT | Errno::EOPNOTSUPP) => continue,
            Err(errno) => {
                let doing = format!("read `{name}` of a control group");
                Reading::Unavailable(Failure::new(doing, Cause::from(errno)))
            }
        };
        files.push(describe(name, content));
    }
}

fn read_file(folder: impl AsFd, name: &str) -> Result<BString, Errno> {
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let file = fcntl::openat(folder, name, flags, Mode::empty())?;
    if kind_of(&stat::fstat(&file)?) != Some(FileKind::File) {
        return Err(Errno::ENOENT);
    }
    limited(file.into(), LIMIT)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(cgroup: &[u8], mountinfo: &[u8]) -> Vec<Vec<String>> {
        let mounts = mounts::parse(mountinfo);
        let folders = |group: &Group| {
            let places = places(&mounts, group).into_iter();
            places.map(|(folder, _)| folder.to_string()).collect()
        };
        parse(cgroup).iter().map(folders).collect()
    }

    #[test]
    fn a_group_is_found_below_the_mounts_of_a_container() {
        // Version 1, no cgroup namespace: a container mounts its own group.
        let mounts = b"1 0 0:1 /kubepods/pod1/id /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n\
            2 0 0:2 /kubepods/pod1/id /sys/fs/cgroup/cpu,cpuacct ro - cgroup cgroup rw,cpu,cpuacct\n";
        let groups = b"4:memory:/kubepods/pod1/id\n2:cpu,cpuacct:/kubepods/pod1/id/inner\n1:name=systemd:/x\n";
        assert_eq!(
            found(groups, mounts),
            [
                vec!["/sys/fs/cgroup/memory"],
                vec![
                    "/sys/fs/cgroup/cpu,cpuacct/inner",
                    "/sys/fs/cgroup/cpu,cpuacct"
                ],
                vec![],
            ]
        );
    }

    #[test]
    fn a_neighbours_namespace_makes_no_difference() {
        let mounts = b"1 0 0:1 /../cri-containerd-a.scope /sys/fs/cgroup ro - cgroup2 cgroup rw\n";
        assert_eq!(
            found(b"0::/../cri-containerd-a.scope/init\n", mounts),
            [vec!["/sys/fs/cgroup/init", "/sys/fs/cgroup"]]
        );
        // Another container's group is not below it, nor is a name that only begins like it.
        for group in [
            &b"0::/../b\n"[..],
            b"0::/../cri-containerd-a.scope2\n",
            b"0::/\n",
        ] {
            assert_eq!(found(group, mounts), [Vec::<String>::new()]);
        }
    }

    #[test]
    fn a_machine_shows_every_group_up_to_the_top() {
        let mounts = b"1 0 0:1 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
        assert_eq!(
            found(b"0::/user.slice/a b\n", mounts),
            [vec![
                "/sys/fs/cgroup/user.slice/a b",
                "/sys/fs/cgroup/user.slice",
                "/sys/fs/cgroup"
            ]]
        );
        assert_eq!(found(b"0::/\n", mounts), [vec!["/sys/fs/cgroup"]]);
        // Above the reader's own group nobody knows the names.
        assert_eq!(found(b"0::/../a\n", mounts), [Vec::<String>::new()]);
    }

    #[test]
    fn garbage_is_no_group() {
        for text in [
            &b""[..],
            b"0:",
            b"0::",
            b"::",
            b"0::relative",
            b"\xff:\xff:\xff",
            b"a:b",
        ] {
            assert!(parse(text).is_empty(), "{text:?}");
        }
        assert_eq!(parse(b"0::/a:b (deleted)\n")[0].path, "/a:b");
    }
}
