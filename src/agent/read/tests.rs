use std::{fs, io::Write as _, os::unix::fs::PermissionsExt as _, path::Path};

use nix::sys::stat::Mode;

use super::*;
use crate::{
    agent::testing::{Collected, ask, ask_into, ourselves},
    protocol::message::{Request, from_bytes},
};

fn request(path: &Path) -> Request {
    Request::ReadFile {
        process: ourselves(),
        path: path.as_os_str().as_encoded_bytes().into(),
    }
}

fn tail(output: &Collected) -> FileTail {
    from_bytes(&output.trailer).unwrap()
}

fn head(output: &Collected) -> FileHead {
    from_bytes(&output.head).unwrap()
}

#[test]
fn a_file_arrives_with_its_description() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    let content: Vec<u8> = (0..600_000_u32).flat_map(u32::to_le_bytes).collect();
    fs::write(&path, &content).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    let output = ask(&request(&path)).unwrap();
    assert!(output.data() == content);
    let entry = head(&output).entry;
    assert_eq!(entry.path, "");
    assert_eq!(entry.kind, FileKind::File);
    assert_eq!(entry.permissions, 0o640);
    assert_eq!(entry.size, 2_400_000);
    let expected = FileTail {
        length: 2_400_000,
        size: 2_400_000,
        changed: false,
    };
    assert_eq!(tail(&output), expected);
    assert_eq!(output.holes, [] as [u64; 0]);
}

#[test]
fn a_range_is_what_lies_between() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let content: Vec<u8> = (0..100_000_u32).flat_map(u32::to_le_bytes).collect();
    fs::write(file.path(), &content).unwrap();
    file.as_file().set_len(500_000).unwrap();
    let range = |offset, length| Request::ReadRange {
        process: ourselves(),
        path: file.path().as_os_str().as_encoded_bytes().into(),
        offset,
        length,
    };
    let mut whole = content;
    whole.resize(500_000, 0);
    for (offset, length) in [
        (0, 0),
        (0, 10),
        (399_000, 2_000),
        (450_000, 100_000),
        (500_000, 10),
        (u64::MAX, u64::MAX),
    ] {
        let output = ask(&range(offset, length)).unwrap();
        let start = usize::try_from(offset).unwrap().min(whole.len());
        let end = whole
            .len()
            .min(start.saturating_add(usize::try_from(length).unwrap()));
        let expected = (end - start) as u64;
        let found = output.data().len() as u64 + output.holes.iter().sum::<u64>();
        assert_eq!(found, expected, "{offset} {length}");
        assert_eq!(tail(&output).length, expected);
        assert!(!tail(&output).changed);
        assert_eq!(head(&output).entry.size, 500_000);
        if output.holes.is_empty() {
            assert!(output.data() == whole[start..end], "{offset} {length}");
        }
    }
}

#[test]
fn an_empty_file_is_empty() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let output = ask(&request(file.path())).unwrap();
    assert_eq!(output.data(), b"");
    assert_eq!(tail(&output).length, 0);
    assert!(!tail(&output).changed);
}

#[test]
fn a_terabyte_of_nothing_costs_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sparse");
    let mut file = fs::File::create(&path).unwrap();
    file.write_all(b"begin").unwrap();
    file.set_len(1 << 40).unwrap();
    file.write_all_at(b"middle", 1 << 39).unwrap();
    let output = ask(&request(&path)).unwrap();
    assert_eq!(tail(&output).length, 1 << 40);
    let data = output.data();
    let holes: u64 = output.holes.iter().sum();
    assert_eq!(u64::try_from(data.len()).unwrap() + holes, 1 << 40);
    assert!(data.len() < 1 << 20 && output.holes.len() == 2);
    assert!(data.starts_with(b"begin"));
    assert!(data.windows(6).any(|window| window == b"middle"));
}

#[test]
fn a_file_that_is_all_hole_is_one_hole() {
    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().set_len(12345).unwrap();
    let output = ask(&request(file.path())).unwrap();
    assert_eq!((output.data().len(), output.holes), (0, vec![12345]));
}

/// Reads a file that something happens to after its first frame.
fn read_while(size: usize, happens: impl Fn(&fs::File) + 'static) -> Collected {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), vec![7; size]).unwrap();
    let handle = fs::OpenOptions::new()
        .append(true)
        .open(file.path())
        .unwrap();
    let output = Collected {
        before: Some(Box::new(move |frames| {
            if frames == 1 {
                happens(&handle);
            }
        })),
        ..Collected::default()
    };
    ask_into(&request(file.path()), output).unwrap()
}

#[test]
fn a_file_that_grows_ends_where_it_ended_at_first() {
    let output = read_while(600_000, |mut file| file.write_all(&[8; 1000]).unwrap());
    assert_eq!(output.data(), vec![7; 600_000]);
    let expected = FileTail {
        length: 600_000,
        size: 601_000,
        changed: true,
    };
    assert_eq!(tail(&output), expected);
}

#[test]
fn a_file_that_shrinks_ends_early() {
    let output = read_while(600_000, |file| file.set_len(300_000).unwrap());
    assert_eq!(output.data(), vec![7; 300_000]);
    let expected = FileTail {
        length: 300_000,
        size: 300_000,
        changed: true,
    };
    assert_eq!(tail(&output), expected);
}

#[test]
fn what_is_no_file_is_not_opened() {
    let folder = tempfile::tempdir().unwrap();
    let fifo = folder.path().join("fifo");
    nix::unistd::mkfifo(&fifo, Mode::S_IRWXU).unwrap();
    let socket = folder.path().join("socket");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    for (path, kind) in [
        (fifo.as_path(), FileKind::Fifo),
        (&socket, FileKind::Socket),
        (folder.path(), FileKind::Folder),
        (Path::new("/dev/zero"), FileKind::CharacterDevice),
    ] {
        let failure = ask(&request(path)).map(|_| ()).unwrap_err();
        assert_eq!(failure.cause, Cause::NotAFile(kind), "{}", path.display());
    }
}

#[test]
fn a_file_of_the_kernel_is_read_to_its_end() {
    let output = ask(&request(Path::new("/proc/sys/kernel/ostype"))).unwrap();
    assert_eq!(output.data(), b"Linux\n");
    let output = ask(&request(Path::new("/proc/filesystems"))).unwrap();
    assert!(output.data().len() > 100);
}

#[test]
fn errors_name_the_path() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("missing");
    let failure = ask(&request(&path)).map(|_| ()).unwrap_err();
    assert_eq!(failure.cause, Cause::NotFound);
    assert_eq!(failure.doing, format!("read `{}`", path.display()));
}
