//! Folders of the distribution, by convention; `packages` knows better where there is a database.

use bstr::{BStr, BString, ByteSlice as _};

use crate::evidence::mapping::strip;

/// Folders of which nothing is somebody's code, unless something points right at it.
const SYSTEM: [&str; 21] = [
    "/bin",
    "/boot",
    "/dev",
    "/etc",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/nix",
    "/proc",
    "/run",
    "/sbin",
    "/snap",
    "/sys",
    "/usr",
    "/var/cache",
    "/var/lib",
    "/var/log",
    "/var/run",
    "/var/spool",
    "/var/tmp",
];

/// Folders below those that hold code by convention.
const CODE: [&str; 6] = [
    "/usr/src",
    "/usr/share/nginx/html",
    "/usr/local/app",
    "/usr/local/apache2/htdocs",
    "/usr/local/tomcat/webapps",
    "/etc/service",
];

/// Folders that hold what belongs to many: never a root by themselves.
const BARE: [&str; 26] = [
    "/",
    "/bin",
    "/boot",
    "/dev",
    "/etc",
    "/home",
    "/lib",
    "/lib64",
    "/media",
    "/mnt",
    "/opt",
    "/proc",
    "/root",
    "/run",
    "/sbin",
    "/srv",
    "/sys",
    "/tmp",
    "/usr",
    "/usr/bin",
    "/usr/lib",
    "/usr/local",
    "/usr/local/bin",
    "/usr/sbin",
    "/usr/share",
    "/var",
];

/// Whether a path lies in a folder of the distribution.
pub fn is_system(path: &BStr) -> bool {
    let is_below = |folder: &&str| strip(path, BStr::new(*folder)).is_some();
    SYSTEM.iter().any(is_below) && !CODE.iter().any(is_below)
}

/// Whether a folder is too general to be somebody's code.
pub fn is_bare(folder: &BStr) -> bool {
    BARE.iter().any(|bare| bare.as_bytes() == folder.as_bytes())
}

/// Whether a path belongs to an installed package of a language.
pub fn is_installed(path: &BStr) -> bool {
    path.split_str("/").any(|part| {
        matches!(
            part,
            b"site-packages" | b"dist-packages" | b"node_modules" | b"gems" | b"lib-dynload"
        )
    })
}

/// What is left out of a walk of `/`.
pub fn left_out_of_slash() -> Vec<BString> {
    let mut folders: Vec<BString> = SYSTEM
        .iter()
        .chain(&[
            "/home",
            "/media",
            "/mnt",
            "/opt",
            "/root",
            "/srv",
            "/tmp",
            "/var",
            "/lost+found",
        ])
        .map(|folder| BString::from(*folder))
        .collect();
    folders.sort();
    folders
}

/// Whether the package database is worth asking: a root lies where the distribution puts files.
pub fn needs_packages(root: &BStr) -> bool {
    root == "/" || is_system(root)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_of_the_distribution_are_told_from_those_of_code() {
        for path in ["/usr/lib/x.so", "/etc/passwd", "/lib", "/var/lib/dpkg"] {
            assert!(is_system(path.into()), "{path}");
        }
        for path in [
            "/usr/src/app",
            "/app",
            "/var/www",
            "/library",
            "/usr/share/nginx/html/x",
        ] {
            assert!(!is_system(path.into()), "{path}");
        }
    }
}
