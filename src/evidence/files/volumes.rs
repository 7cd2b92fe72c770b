//! The file systems that a process sees: what the kernel's table says of each mount, joined with how full it is.

use std::collections::BTreeMap;

use bstr::{BStr, BString, ByteSlice as _};

use crate::{
    evidence::{
        mapping::strip,
        noise::mounts::{self, Mount},
    },
    protocol::message::{Reading, Space, Volume},
};

/// A mounted file system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Store {
    /// The number of the mount.
    pub number: u32,
    /// The numbers of the device, as in `8:1`: two mounts of one file system have the same.
    pub device: BString,
    /// Where, and what it is.
    pub mount: Mount,
    /// The type of the file system.
    pub file_system: BString,
    /// How full it is.
    pub space: Reading<Space>,
}

/// How full something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fill {
    /// How much there is at all.
    pub size: u64,
    /// How much is used.
    pub used: u64,
    /// How much more a process without special rights can have.
    pub available: u64,
}

impl Fill {
    /// The share that is used, as df(1) counts it: of what may be used, rounded up.
    #[must_use]
    pub fn percent(&self) -> u64 {
        let whole = u128::from(self.used) + u128::from(self.available);
        let percent = (u128::from(self.used) * 100).div_ceil(whole.max(1));
        u64::try_from(percent).unwrap_or(u64::MAX)
    }
}

impl Store {
    /// How full it is by bytes; `None` for one without a limit, and when it is not known.
    pub fn bytes(&self) -> Option<Fill> {
        let space = self.space.known().filter(|space| space.size > 0)?;
        Some(Fill {
            size: space.size,
            used: space.size.saturating_sub(space.free),
            available: space.available,
        })
    }

    /// How full it is by files; `None` for one that has no limit of them, and when it is not known.
    pub fn inodes(&self) -> Option<Fill> {
        let space = self.space.known().filter(|space| space.inodes > 0)?;
        Some(Fill {
            size: space.inodes,
            used: space.inodes.saturating_sub(space.free_inodes),
            available: space.free_inodes,
        })
    }

    /// Whether a path lies at or below its mount.
    pub fn holds(&self, path: &BStr) -> bool {
        let point = self.mount.point.as_bstr();
        point == "/" || strip(path, point).is_some()
    }
}

/// Joins the table of the mounts with how full they are. `declared` are the volumes of the pod, whose names the table
/// does not always know.
#[must_use]
pub fn stores(mountinfo: &[u8], volumes: Vec<Volume>, declared: &[Mount]) -> Vec<Store> {
    let mut table: BTreeMap<u32, (BString, BString, Mount)> = BTreeMap::new();
    for line in mountinfo.lines() {
        if let Some((number, device, file_system)) = numbers(line)
            && let Some(mount) = mounts::parse(line).pop()
        {
            table.insert(number, (device, file_system, mount));
        }
    }
    let known = volumes.into_iter().filter_map(|volume| {
        let (device, file_system, mount) = table.remove(&volume.mount)?;
        let mount = mounts::named(vec![mount], declared).pop()?;
        Some(Store {
            number: volume.mount,
            device,
            mount,
            file_system,
            space: volume.space,
        })
    });
    known.collect()
}

/// Mount, device and type in a line of the table.
fn numbers(line: &[u8]) -> Option<(u32, BString, BString)> {
    let (before, behind) = line.split_once_str(" - ")?;
    let mut before = before.split_str(" ");
    let number = before.next()?.to_str().ok()?.parse().ok()?;
    let device = before.nth(1)?;
    let file_system = behind.split_str(" ").next()?;
    Some((number, device.into(), file_system.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::noise::mounts::MountKind;

    const SPACE: Space = Space {
        size: 1000,
        free: 100,
        available: 50,
        inodes: 10,
        free_inodes: 0,
        read_only: false,
    };

    fn volume(mount: u32) -> Volume {
        Volume {
            mount,
            space: Reading::Known(SPACE),
        }
    }

    #[test]
    fn mounts_are_joined_with_how_full_they_are() {
        let table = b"29 1 8:1 / / rw - overlay overlay rw\n\
            30 29 0:26 / /cache rw - tmpfs tmpfs rw\n\
            31 29 0:27 / /proc rw - proc proc rw\n\
            garbage\n";
        let declared = [Mount {
            point: "/cache".into(),
            kind: MountKind::Volume {
                plugin: "empty-dir".into(),
                name: "cache".into(),
            },
        }];
        let stores = stores(table, vec![volume(29), volume(30), volume(99)], &declared);
        assert_eq!(stores.len(), 2);
        assert_eq!(
            (&stores[0].device, &stores[0].file_system),
            (&"8:1".into(), &"overlay".into())
        );
        assert_eq!(stores[1].mount.kind, declared[0].kind);
        assert!(stores[1].holds("/cache/a".into()) && !stores[1].holds("/cachet".into()));
        assert!(stores[0].holds("/anything".into()));
    }

    #[test]
    fn shares_are_counted_as_df_counts_them() {
        let table = b"29 1 8:1 / / rw - ext4 /dev/a rw\n";
        let store = stores(table, vec![volume(29)], &[]).pop().unwrap();
        // 900 used, 50 to be had: 900/950, rounded up.
        assert_eq!(store.bytes().unwrap().percent(), 95);
        assert_eq!(store.inodes().unwrap().percent(), 100);
        let unlimited = Volume {
            mount: 29,
            space: Reading::Known(Space {
                size: 0,
                inodes: 0,
                ..SPACE
            }),
        };
        let store = stores(table, vec![unlimited], &[]).pop().unwrap();
        assert_eq!((store.bytes(), store.inodes()), (None, None));
    }
}
