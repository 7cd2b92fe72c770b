//! What is mounted over the running folders.

use std::fmt;

use bstr::{BStr, BString, ByteSlice as _};

use crate::evidence::mapping::strip;

/// A mount of the process's view.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// Where it is.
    pub point: BString,
    /// What is there.
    pub kind: MountKind,
}

/// What is mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MountKind {
    /// A volume of a pod: its plugin (`configmap`, `secret`, `empty-dir`, ...) and name.
    Volume {
        /// The plugin, without `kubernetes.io~`.
        plugin: BString,
        /// The volume's name in the pod.
        name: BString,
    },
    /// Anything else: its file system, and the folder of it that is mounted.
    Other {
        /// Its type.
        file_system: BString,
        /// What is mounted: a device, or a name.
        source: BString,
    },
}

/// Reads `/proc/PID/mountinfo`. Lines that are none are left out.
pub fn parse(mountinfo: &[u8]) -> Vec<Mount> {
    mountinfo.lines().filter_map(mount).collect()
}

fn mount(line: &[u8]) -> Option<Mount> {
    let (before, behind) = line.split_once_str(" - ")?;
    let mut fields = before.split_str(" ").skip(3);
    let (root, point) = (unescaped(fields.next()?), unescaped(fields.next()?));
    let mut fields = behind.split_str(" ");
    let (file_system, source) = (unescaped(fields.next()?), unescaped(fields.next()?));
    let kind = volume(&root)
        .or_else(|| volume(&source))
        .unwrap_or(MountKind::Other {
            file_system,
            source,
        });
    Some(Mount { point, kind })
}

/// The volume in a path of the kubelet's: `…/volumes/kubernetes.io~configmap/NAME/…`.
fn volume(path: &BString) -> Option<MountKind> {
    if let Some((_, rest)) = path.split_once_str("/volumes/kubernetes.io~") {
        let mut parts = rest.split_str("/");
        return Some(MountKind::Volume {
            plugin: parts.next()?.into(),
            name: parts.next()?.into(),
        });
    }
    let (_, rest) = path.split_once_str("/volume-subpaths/")?;
    Some(MountKind::Volume {
        plugin: "subpath".into(),
        name: rest.split_str("/").next()?.into(),
    })
}

/// The kernel writes blanks, tabs, line feeds and backslashes as three octal digits.
fn unescaped(field: &[u8]) -> BString {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, behind)) = rest.split_first() {
        let code = (*first == b'\\')
            .then(|| behind.get(..3))
            .flatten()
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        if let Some(byte) = code {
            bytes.push(byte);
            rest = behind.get(3..).unwrap_or_default();
        } else {
            bytes.push(*first);
            rest = behind;
        }
    }
    bytes.into()
}

/// Gives mounts that the table of the kernel does not name the names that the pod declares: a Secret lies in memory,
/// and is a tmpfs like any other.
pub fn named(mut mounts: Vec<Mount>, declared: &[Mount]) -> Vec<Mount> {
    for mount in &mut mounts {
        let mut same = declared.iter().filter(|other| other.point == mount.point);
        if let (MountKind::Other { .. }, Some(declared)) = (&mount.kind, same.next()) {
            mount.kind = declared.kind.clone();
        }
    }
    mounts
}

/// The mounts that lie below a root, so that they hide a part of it. One that holds a whole root is where the code
/// lies, and hides nothing.
pub fn below(mounts: Vec<Mount>, roots: &[BString]) -> Vec<Mount> {
    mounts
        .into_iter()
        .filter(|mount| {
            let is_below = |root: &BString| {
                strip(mount.point.as_ref(), root.as_ref()).is_some_and(|rest| !rest.is_empty())
            };
            let holds = |root: &BString| strip(root.as_ref(), mount.point.as_ref()).is_some();
            roots.iter().any(is_below) && !roots.iter().any(holds)
        })
        .collect()
}

/// The volume that a root lies on, when it is one of a pod: the code is not from the image then.
pub fn holding<'a>(root: &BStr, mounts: &'a [Mount]) -> Option<&'a Mount> {
    mounts
        .iter()
        .filter(|mount| mount.point != "/" && strip(root, mount.point.as_ref()).is_some())
        .max_by_key(|mount| mount.point.len())
        .filter(|mount| matches!(mount.kind, MountKind::Volume { .. }))
}

/// The mount that a path lies on, of those below the roots.
pub fn over<'a>(path: &BStr, mounts: &'a [Mount]) -> Option<&'a Mount> {
    mounts
        .iter()
        .filter(|mount| strip(path, mount.point.as_ref()).is_some())
        .max_by_key(|mount| mount.point.len())
}

impl fmt::Display for Mount {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            MountKind::Volume { plugin, name } => {
                write!(
                    formatter,
                    "{plugin} `{name}` is mounted at `{}`",
                    self.point
                )
            }
            MountKind::Other {
                file_system,
                source,
            } => write!(
                formatter,
                "{file_system} `{source}` is mounted at `{}`",
                self.point
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &[u8] = b"\
1 0 0:50 / / rw - overlay overlay rw
2 1 254:1 /var/lib/kubelet/pods/6/volumes/kubernetes.io~configmap/settings /app/config ro - ext4 /dev/vda1 rw
3 1 0:60 / /app/se\\040cret ro - tmpfs tmpfs rw
4 1 254:1 /var/lib/kubelet/pods/6/volume-subpaths/code/app/0 /srv/code rw - ext4 /dev/vda1 rw
nonsense
";

    #[test]
    fn volumes_of_a_pod_are_named() {
        let mounts = below(parse(TABLE), &["/app".into()]);
        let over = |path: &str| over(path.into(), &mounts).map(ToString::to_string);
        assert_eq!(
            over("/app/config/..data/x").as_deref(),
            Some("configmap `settings` is mounted at `/app/config`")
        );
        assert_eq!(
            over("/app/se cret/key").as_deref(),
            Some("tmpfs `tmpfs` is mounted at `/app/se cret`")
        );
        assert_eq!(over("/app/main.py"), None);
        assert_eq!(over("/app/configuration"), None);
    }

    #[test]
    fn what_lies_in_memory_has_the_name_that_the_pod_declares() {
        let declared = |point: &str| Mount {
            point: point.into(),
            kind: MountKind::Volume {
                plugin: "secret".into(),
                name: "keys".into(),
            },
        };
        let mounts = named(
            parse(TABLE),
            &[declared("/app/se cret"), declared("/app/config")],
        );
        let names: Vec<String> = mounts.iter().map(ToString::to_string).collect();
        assert_eq!(names[2], "secret `keys` is mounted at `/app/se cret`");
        assert_eq!(names[1], "configmap `settings` is mounted at `/app/config`");
    }

    #[test]
    fn a_volume_that_holds_the_code_hides_nothing() {
        let all = parse(TABLE);
        assert_eq!(
            holding("/srv/code/app".into(), &all).map(ToString::to_string),
            Some("subpath `code` is mounted at `/srv/code`".to_owned())
        );
        assert!(below(all, &["/srv/code".into()]).is_empty());
    }
}
