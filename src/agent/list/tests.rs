use std::{
    ffi::OsStr,
    fs,
    os::unix::{ffi::OsStrExt as _, fs::symlink},
    path::Path,
};

use super::*;
use crate::{
    agent::testing::{Collected, ask, ourselves},
    protocol::message::{Cause, Request, from_bytes},
};

fn list(path: &Path) -> Collected {
    ask(&Request::List {
        process: ourselves(),
        path: path.as_os_str().as_encoded_bytes().into(),
    })
    .unwrap()
}

#[test]
fn a_folder_is_listed_by_name() {
    use FileKind::{Fifo, File, Folder, Symlink};
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &[u8]| folder.path().join(OsStr::from_bytes(name));
    fs::write(at(b"b"), "bb").unwrap();
    fs::write(at(b".hidden"), "").unwrap();
    fs::write(at(b"a\n\xff"), "").unwrap();
    fs::create_dir(at(b"folder")).unwrap();
    symlink("no where", at(b"link")).unwrap();
    nix::unistd::mkfifo(&at(b"fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let output = list(folder.path());
    let head: Entry = from_bytes(&output.head).unwrap();
    assert_eq!(
        (head.kind, head.path.as_bstr()),
        (FileKind::Folder, "".into())
    );
    let rows: Vec<Entry> = output.rows();
    let names: Vec<&[u8]> = rows.iter().map(|entry| entry.path.as_slice()).collect();
    assert_eq!(
        names,
        [
            &b".hidden"[..],
            b"a\n\xff",
            b"b",
            b"fifo",
            b"folder",
            b"link"
        ]
    );
    let kinds: Vec<FileKind> = rows.iter().map(|entry| entry.kind).collect();
    assert_eq!(kinds, [File, File, File, Fifo, Folder, Symlink]);
    assert_eq!(rows[2].size, 2);
    assert_eq!(rows[5].link, Some("no where".into()));
}

#[test]
fn a_file_is_its_own_head() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let output = list(file.path());
    let head: Entry = from_bytes(&output.head).unwrap();
    assert_eq!(head.kind, FileKind::File);
    assert!(output.frames.is_empty());
}

#[test]
fn a_link_is_followed_and_a_device_told_by_number() {
    let folder = tempfile::tempdir().unwrap();
    symlink("/dev/null", folder.path().join("link")).unwrap();
    let head: Entry = from_bytes(&list(&folder.path().join("link")).head).unwrap();
    assert_eq!(head.kind, FileKind::CharacterDevice);
    assert_eq!(head.size, nix::libc::makedev(1, 3));
}

#[test]
fn a_large_folder_arrives_in_order() {
    let folder = tempfile::tempdir().unwrap();
    for number in 0..5_000 {
        fs::write(
            folder
                .path()
                .join(format!("{:05}", (number * 7919) % 5_000)),
            "",
        )
        .unwrap();
    }
    let output = list(folder.path());
    let rows: Vec<Entry> = output.rows();
    assert_eq!(rows.len(), 5_000);
    assert!(rows.is_sorted_by(|left, right| left.path < right.path));
    assert!(output.frames.len() > 1);
}

#[test]
fn a_circle_of_links_is_named() {
    let folder = tempfile::tempdir().unwrap();
    symlink("b", folder.path().join("a")).unwrap();
    symlink("a", folder.path().join("b")).unwrap();
    let request = Request::List {
        process: ourselves(),
        path: folder
            .path()
            .join("a")
            .as_os_str()
            .as_encoded_bytes()
            .into(),
    };
    let failure = ask(&request).map(|_| ()).unwrap_err();
    assert_eq!(failure.cause, Cause::LinkLoop);
}
