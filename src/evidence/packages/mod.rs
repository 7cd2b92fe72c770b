//! The files that the packages of a distribution brought, by the databases of its package managers.
//!
//! Parsers of bytes of any content, without I/O. What a database does not say, or a kind of database that is not
//! known here, is left to convention (`roots::system`).

mod rpm;

use std::{collections::HashSet, hash::BuildHasher};

use bstr::{BString, ByteSlice as _};

pub use rpm::rpm_files;

/// Where apk keeps its database: one file, older releases and newer ones.
pub const APK_DATABASES: [&str; 2] = ["/lib/apk/db/installed", "/usr/lib/apk/db/installed"];

/// Where dpkg keeps a list of files for each package, `NAME.list`. Distroless images have the folder without lists.
pub const DPKG_FOLDER: &str = "/var/lib/dpkg/info";

/// Where rpm keeps its database; newer releases have moved it below `/usr`.
pub const RPM_DATABASES: [&str; 2] = [
    "/var/lib/rpm/rpmdb.sqlite",
    "/usr/lib/sysimage/rpm/rpmdb.sqlite",
];

/// Reads apk's database: `F:` names a folder, `R:` a file in it.
pub fn apk_files(database: &[u8]) -> HashSet<BString> {
    let mut folder: &[u8] = b"";
    let mut files = HashSet::new();
    for line in database.lines() {
        if let Some(name) = line.strip_prefix(b"F:") {
            folder = name;
        } else if let Some(name) = line.strip_prefix(b"R:") {
            let parts: &[&[u8]] = &[
                b"/",
                folder,
                if folder.is_empty() { b"" } else { b"/" },
                name,
            ];
            files.insert(parts.concat().into());
        }
    }
    files
}

/// Reads a list of dpkg: a path a line.
pub fn dpkg_files(list: &[u8], files: &mut HashSet<BString, impl BuildHasher>) {
    files.extend(
        list.lines()
            .filter(|line| line.starts_with(b"/") && *line != b"/.")
            .map(BString::from),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn apk_names_files_by_folder() {
        let apk = apk_files(b"P:musl\nF:lib\nR:libc.so\nZ:x\nF:usr/bin\nR:ldd\n\nF:\nR:top\n");
        let mut names: Vec<_> = apk.iter().map(ToString::to_string).collect();
        names.sort();
        assert_eq!(names, ["/lib/libc.so", "/top", "/usr/bin/ldd"]);
    }

    #[test]
    fn dpkg_names_files_by_line() {
        let mut dpkg = HashSet::new();
        dpkg_files(b"/.\n/usr\n/usr/bin/ldd\n", &mut dpkg);
        assert!(dpkg.contains(&BString::from("/usr/bin/ldd")) && dpkg.len() == 2);
    }
}
