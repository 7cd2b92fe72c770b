use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs,
    io::Write as _,
    os::unix::{
        ffi::OsStrExt as _,
        fs::{PermissionsExt as _, symlink},
    },
    path::Path,
    process::{Command, Stdio},
};

use nix::{fcntl::OFlag, sys::stat::Mode};

use super::*;
use crate::{
    agent::testing::{
        Collected, Container, Running, ask, ask_into, become_stranger, has_user_namespaces,
        is_root, ourselves,
    },
    object::{ObjectId, blob_id},
    protocol::message::{Entry, FailedCheck, ProcessId, Request},
};

fn bytes(path: &Path) -> BString {
    path.as_os_str().as_bytes().into()
}

fn request(process: ProcessId, roots: &[&Path]) -> WalkRequest {
    WalkRequest {
        process,
        roots: roots.iter().map(|root| bytes(root)).collect(),
        hash: Some(HashKind::Sha1),
        hash_limit: u64::MAX,
        leave_out: Vec::new(),
        leave_out_paths: Vec::new(),
    }
}

fn rows(request: WalkRequest) -> Vec<TreeRecord> {
    ask(&Request::Walk(request)).unwrap().rows()
}

/// The entries of one root, and that all else is as expected.
fn entries(rows: &[TreeRecord]) -> BTreeMap<BString, (Entry, Option<ObjectId>)> {
    let mut entries = BTreeMap::new();
    for row in rows {
        match row {
            TreeRecord::Entry { entry, id, .. } => {
                let twice = entries.insert(entry.path.clone(), (entry.clone(), *id));
                assert_eq!(twice, None, "listed twice");
            }
            TreeRecord::Root { .. } => {}
            other => panic!("{other:?}"),
        }
    }
    entries
}

fn walk_one(root: &Path) -> BTreeMap<BString, (Entry, Option<ObjectId>)> {
    entries(&rows(request(ourselves(), &[root])))
}

/// Names the files of a folder by git itself.
fn git_names(folder: &Path, kind: HashKind, names: &[&str]) -> Vec<String> {
    let format = match kind {
        HashKind::Sha1 => "sha1",
        HashKind::Sha256 => "sha256",
    };
    let repository = tempfile::tempdir().unwrap();
    let git = |arguments: &[&str]| {
        let mut command = Command::new("git");
        command.args(arguments).current_dir(repository.path());
        command.env_remove("GIT_DIR");
        command
    };
    let option = format!("--object-format={format}");
    assert!(git(&["init", "-q", &option]).status().unwrap().success());
    let mut child = git(&["hash-object", "--no-filters", "--stdin-paths"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    for name in names {
        writeln!(stdin, "{}", folder.join(name).display()).unwrap();
    }
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(str::to_owned).collect()
}

#[test]
fn files_are_named_as_git_names_them() {
    let folder = tempfile::tempdir().unwrap();
    let sizes = [0, 1, 55, 56, 64, 1000, 262_143, 262_144, 262_145, 1_000_000];
    let names: Vec<String> = sizes.iter().map(|size| format!("file-{size}")).collect();
    for (size, name) in sizes.iter().zip(&names) {
        let content: Vec<u8> = (0..*size)
            .map(|index: u32| (index / 3).to_le_bytes()[0])
            .collect();
        fs::write(folder.path().join(name), content).unwrap();
    }
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    for kind in [HashKind::Sha1, HashKind::Sha256] {
        let mut request = request(ourselves(), &[folder.path()]);
        request.hash = Some(kind);
        let entries = entries(&rows(request));
        for (name, expected) in names.iter().zip(git_names(folder.path(), kind, &names)) {
            let (_, id) = &entries[BStr(name)];
            assert_eq!(id.unwrap().to_string(), expected, "{name}");
        }
    }
}

/// A map of `BString`s is asked by any bytes.
#[expect(non_snake_case, reason = "reads as the type it makes")]
fn BStr(name: &str) -> &bstr::BStr {
    bstr::BStr::new(name)
}

#[test]
fn every_kind_of_file_is_listed_and_only_files_are_opened() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::create_dir_all(at("sub/.git/objects")).unwrap();
    fs::create_dir(at("empty")).unwrap();
    fs::write(at("sub/.git/HEAD"), "ref").unwrap();
    fs::write(at(".gitignore"), "*").unwrap();
    fs::write(at("run"), "#!").unwrap();
    fs::set_permissions(at("run"), fs::Permissions::from_mode(0o4751)).unwrap();
    symlink("../else where", at("sub/link")).unwrap();
    symlink("sub", at("link-to-folder")).unwrap();
    nix::unistd::mkfifo(&at("fifo"), Mode::S_IRWXU).unwrap();
    let _listener = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
    let odd = folder.path().join(OsStr::from_bytes(b"sub/\n\xff\"\t"));
    fs::write(&odd, "odd").unwrap();

    let entries = walk_one(folder.path());
    let kinds: Vec<(&[u8], FileKind)> = entries
        .iter()
        .map(|(path, (entry, _))| (path.as_slice(), entry.kind))
        .collect();
    let expected: &[(&[u8], FileKind)] = &[
        (b"", FileKind::Folder),
        (b".gitignore", FileKind::File),
        (b"empty", FileKind::Folder),
        (b"fifo", FileKind::Fifo),
        (b"link-to-folder", FileKind::Symlink),
        (b"run", FileKind::File),
        (b"socket", FileKind::Socket),
        (b"sub", FileKind::Folder),
        (b"sub/\n\xff\"\t", FileKind::File),
        (b"sub/.git", FileKind::Folder),
        (b"sub/.git/HEAD", FileKind::File),
        (b"sub/.git/objects", FileKind::Folder),
        (b"sub/link", FileKind::Symlink),
    ];
    assert_eq!(kinds, expected);
    let (link, id) = &entries[BStr("sub/link")];
    assert_eq!(link.link, Some("../else where".into()));
    assert_eq!(*id, blob_id(HashKind::Sha1, b"../else where").ok());
    let (run, id) = &entries[BStr("run")];
    assert_eq!((run.permissions, run.size), (0o4751, 2));
    assert_eq!(*id, blob_id(HashKind::Sha1, b"#!").ok());
    assert_eq!(entries[BStr("fifo")].1, None);
    assert_eq!(entries[BStr("sub")].1, None);
}

#[test]
fn without_a_hash_nothing_is_read() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("file"), "x").unwrap();
    let mut request = request(ourselves(), &[folder.path()]);
    request.hash = None;
    request.hash_limit = 0;
    let entries = entries(&rows(request));
    assert_eq!(entries[BStr("file")].1, None);
}

#[test]
fn a_large_file_is_listed_and_told() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("small"), "123").unwrap();
    fs::write(folder.path().join("large"), "1234").unwrap();
    let mut request = request(ourselves(), &[folder.path()]);
    request.hash_limit = 3;
    let rows = rows(request);
    assert!(rows.iter().any(|row| matches!(row,
        TreeRecord::Entry { entry, id: None, .. } if entry.path == "large")));
    assert!(rows.iter().any(|row| matches!(row,
        TreeRecord::Entry { entry, id: Some(_), .. } if entry.path == "small")));
    let cause = Cause::TooLarge { size: 4, limit: 3 };
    assert!(
        rows.iter().any(|row| matches!(row,
        TreeRecord::Unreadable { path, failure, .. } if path == "large" && failure.cause == cause))
    );
}

#[test]
fn roots_are_what_they_are_for_the_process() {
    let folder = tempfile::tempdir().unwrap();
    let app = folder.path().join("app");
    fs::create_dir(&app).unwrap();
    fs::write(app.join("main"), "x").unwrap();
    symlink(&app, folder.path().join("link")).unwrap();
    let mut command = Command::new("sh");
    command
        .args(["-c", "echo ready; read line"])
        .current_dir(&app);
    let running = Running::start(&mut command);
    for root in ["", ".", "../app", "../link", app.to_str().unwrap()] {
        let rows = rows(request(running.id(), &[Path::new(root)]));
        let name = rows.iter().find_map(|row| match row {
            TreeRecord::Root { root: 0, path } => Some(path.clone()),
            _ => None,
        });
        assert_eq!(name, Some(bytes(&app)), "{root}");
        assert_eq!(entries(&rows).len(), 2);
    }
}

#[test]
fn a_root_may_be_a_single_file_or_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    fs::write(&file, "x").unwrap();
    let fifo = folder.path().join("fifo");
    nix::unistd::mkfifo(&fifo, Mode::S_IRWXU).unwrap();
    let missing = folder.path().join("missing");
    let rows = rows(request(ourselves(), &[&missing, &file, &fifo]));
    let found: Vec<_> = rows
        .iter()
        .filter_map(|row| match row {
            TreeRecord::Entry { root, entry, id } => {
                assert_eq!(entry.path, "");
                Some((*root, entry.kind, *id))
            }
            _ => None,
        })
        .collect();
    let id = blob_id(HashKind::Sha1, b"x").ok();
    assert!(found.contains(&(1, FileKind::File, id)) && found.contains(&(2, FileKind::Fifo, None)));
    assert!(rows.iter().any(|row| matches!(row,
        TreeRecord::Unreadable { root: 0, failure, .. } if failure.cause == Cause::NotFound)));
}

#[test]
fn what_several_roots_share_is_listed_once() {
    let folder = tempfile::tempdir().unwrap();
    let inner = folder.path().join("a/inner");
    fs::create_dir_all(&inner).unwrap();
    fs::write(inner.join("file"), "x").unwrap();
    let file = inner.join("file");
    let roots: [&Path; 4] = [folder.path(), &inner, &inner, &file];
    let rows = rows(request(ourselves(), &roots));
    let files = rows.iter().filter(|row| {
        matches!(row,
        TreeRecord::Entry { entry, .. } if entry.kind == FileKind::File)
    });
    assert_eq!(files.count(), 1);
    let mut skipped: Vec<_> = rows
        .iter()
        .filter_map(|row| match row {
            TreeRecord::Skipped { root, path, skip } => {
                Some((*root, path.to_string(), skip.clone()))
            }
            _ => None,
        })
        .collect();
    skipped.sort_by_key(|skipped| skipped.0);
    assert_eq!(
        skipped,
        [
            (0, "a/inner".to_owned(), Skip::OtherRoot(1)),
            (2, String::new(), Skip::OtherRoot(1)),
            (3, String::new(), Skip::OtherRoot(0)),
        ]
    );
}

#[test]
fn file_systems_that_the_kernel_makes_up_are_left_out() {
    let rows = rows(request(ourselves(), &[Path::new("/proc/self")]));
    let expected = Skip::PseudoFileSystem("proc".to_owned());
    assert!(
        rows.iter().any(|row| matches!(row,
        TreeRecord::Skipped { skip, .. } if *skip == expected)),
        "{rows:?}"
    );
    assert!(entries_of_any(&rows) == 0);
}

fn entries_of_any(rows: &[TreeRecord]) -> usize {
    let is_entry = |row: &&TreeRecord| matches!(row, TreeRecord::Entry { .. });
    rows.iter().filter(is_entry).count()
}

#[test]
fn a_container_shows_its_own_mounts() {
    if !has_user_namespaces() {
        return;
    }
    let setup = "
for name in ('app/data', 'app/proc', 'app/again'): os.makedirs(name)
write('app/main', 'main')
os.symlink('/etc/shadow', 'app/shadow')
check(libc.mount(b'tmpfs', b'app/data', b'tmpfs', 0, None))
write('app/data/inner', 'inner')
check(libc.mount(b'proc', b'app/proc', b'proc', 0, None))
check(libc.mount(b'app', b'app/again', None, 0x1000, None))
";
    let folder = tempfile::tempdir().unwrap();
    let container = Container::start(folder.path(), "pivot", setup);
    let rows = rows(request(container.id(), &[Path::new("")]));
    let id = |wanted: &str| {
        rows.iter().find_map(|row| match row {
            TreeRecord::Entry { entry, id, .. } if entry.path == wanted => Some(*id),
            _ => None,
        })
    };
    assert_eq!(id("main"), Some(blob_id(HashKind::Sha1, b"main").ok()));
    assert_eq!(
        id("data/inner"),
        Some(blob_id(HashKind::Sha1, b"inner").ok())
    );
    assert_eq!(
        id("shadow"),
        Some(blob_id(HashKind::Sha1, b"/etc/shadow").ok())
    );
    let skip = Skip::PseudoFileSystem("proc".to_owned());
    assert!(rows.iter().any(|row| matches!(row,
        TreeRecord::Skipped { path, skip: found, .. } if path == "proc" && *found == skip)));
    // The folder is mounted in itself; it is not walked twice.
    assert!(rows.iter().any(|row| matches!(row,
        TreeRecord::Unreadable { path, failure, .. }
            if path == "again" && failure.cause == Cause::LinkLoop)));
    assert_eq!(id("again/main"), None);
}

#[test]
fn a_removed_working_directory_is_an_empty_tree() {
    let folder = tempfile::tempdir().unwrap();
    let gone = folder.path().join("gone");
    fs::create_dir(&gone).unwrap();
    let script = format!("cd {0}; rmdir {0}; echo ready; read line", gone.display());
    let running = Running::shell(&script);
    let rows = rows(request(running.id(), &[Path::new("")]));
    let name = format!("{} (deleted)", gone.display());
    assert!(
        rows.iter()
            .any(|row| matches!(row, TreeRecord::Root { path, .. } if *path == name))
    );
    assert_eq!(entries(&rows).len(), 1);
}

#[test]
fn a_wide_folder_is_listed_whole() {
    let folder = tempfile::tempdir().unwrap();
    for number in 0..50_000 {
        fs::File::create(folder.path().join(format!("file-{number}"))).unwrap();
    }
    let entries = walk_one(folder.path());
    assert_eq!(entries.len(), 50_001);
    let empty = blob_id(HashKind::Sha1, b"").ok();
    assert!(
        entries
            .values()
            .all(|(entry, id)| entry.kind == FileKind::Folder || *id == empty)
    );
}

#[test]
fn many_folders_are_listed_whole() {
    let folder = tempfile::tempdir().unwrap();
    // Names of 200 bytes: more than one portion of pending sub-folders.
    for number in 0..400 {
        let sub = folder.path().join(format!("{number:0200}/x"));
        fs::create_dir_all(&sub).unwrap();
        fs::write(sub.join("file"), number.to_string()).unwrap();
    }
    let entries = walk_one(folder.path());
    assert_eq!(entries.len(), 1_201);
}

#[test]
fn a_deep_tree_is_walked_to_its_end_and_back() {
    let folder = tempfile::tempdir().unwrap();
    let mut here = reopen_folder_of(folder.path());
    // Beyond PATH_MAX, so it is made and removed step by step; each level has something on the way back.
    let depth = 500;
    for _ in 0..depth {
        nix::sys::stat::mkdirat(&here, "level", Mode::S_IRWXU).unwrap();
        nix::sys::stat::mkdirat(&here, "after", Mode::S_IRWXU).unwrap();
        let flags = OFlag::O_CREAT | OFlag::O_WRONLY | OFlag::O_CLOEXEC;
        nix::fcntl::openat(&here, "file", flags, Mode::S_IRUSR).unwrap();
        here = nix::fcntl::openat(&here, "level", OFlag::O_PATH, Mode::empty()).unwrap();
    }
    let entries = walk_one(folder.path());
    assert_eq!(entries.len(), 1 + 3 * depth);
    assert!(
        Command::new("rm")
            .arg("-rf")
            .arg(folder.path())
            .status()
            .unwrap()
            .success()
    );
}

fn reopen_folder_of(path: &Path) -> OwnedFd {
    nix::fcntl::open(path, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty()).unwrap()
}

#[test]
fn what_may_not_be_read_is_told() {
    if !is_root("make files that another user may not read") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::create_dir(at("closed")).unwrap();
    fs::write(at("closed/inner"), "x").unwrap();
    fs::write(at("secret"), "x").unwrap();
    fs::write(at("open"), "x").unwrap();
    for name in ["closed", "secret"] {
        fs::set_permissions(at(name), fs::Permissions::from_mode(0o700)).unwrap();
    }
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let root = folder.path().to_owned();
    let rows = std::thread::spawn(move || {
        let running = Running::shell("echo ready; read line");
        become_stranger();
        rows(request(running.id(), &[&root]))
    });
    let rows = rows.join().unwrap();
    for name in ["closed", "secret"] {
        assert!(rows.iter().any(|row| matches!(row,
            TreeRecord::Entry { entry, id: None, .. } if entry.path == name)));
        let failure = rows.iter().find_map(|row| match row {
            TreeRecord::Unreadable { path, failure, .. } if path == name => Some(failure),
            _ => None,
        });
        let Some(Failure {
            cause: Cause::Denied(denial),
            ..
        }) = failure
        else {
            panic!("{failure:?}");
        };
        assert_eq!(denial.failed, [FailedCheck::Permissions]);
    }
    assert!(rows.iter().any(|row| matches!(row,
        TreeRecord::Entry { entry, id: Some(_), .. } if entry.path == "open")));
}

#[test]
fn a_walk_that_is_taken_back_ends() {
    let folder = tempfile::tempdir().unwrap();
    for number in 0..2_000 {
        fs::write(folder.path().join(format!("{number:0100}")), "x").unwrap();
    }
    let mut output = Collected {
        cancels: true,
        ..Collected::default()
    };
    let request = Request::Walk(request(ourselves(), &[folder.path()]));
    let answer = crate::agent::answer(&request, &mut output);
    assert!(matches!(answer, Err(Stop::Cancelled)), "{answer:?}");
    assert_eq!(output.frames.len(), 1);
}

#[test]
fn a_process_that_ends_fails_the_walk() {
    let folder = tempfile::tempdir().unwrap();
    let mut running = Running::shell("echo ready; read line");
    let id = running.id();
    running.kill();
    let failure = ask(&Request::Walk(request(id, &[folder.path()]))).map(|_| ());
    assert_eq!(failure.unwrap_err().cause, Cause::Gone(id));
}

#[test]
fn a_process_that_ends_meanwhile_fails_the_walk() {
    let folder = tempfile::tempdir().unwrap();
    for number in 0..1_000 {
        fs::write(folder.path().join(format!("{number:0100}")), "x").unwrap();
    }
    let mut running = Some(Running::shell("echo ready; read line"));
    let id = running.as_ref().unwrap().id();
    let output = Collected {
        before: Some(Box::new(move |_| drop(running.take()))),
        ..Collected::default()
    };
    let request = Request::Walk(request(id, &[folder.path()]));
    let failure = ask_into(&request, output).map(|_| ());
    assert_eq!(failure.unwrap_err().cause, Cause::Gone(id));
}

#[test]
fn only_what_is_below_is_below() {
    assert!(is_below(b"/a/b", b"/a"));
    assert!(is_below(b"/a", b"/"));
    assert!(!is_below(b"/ab", b"/a"));
    assert!(!is_below(b"/a", b"/a"));
}

#[test]
fn names_to_leave_out_are_told_and_not_entered() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir_all(folder.path().join("a/.git/objects")).unwrap();
    fs::write(folder.path().join("a/.git/HEAD"), "x").unwrap();
    fs::write(folder.path().join("a/.gitignore"), "x").unwrap();
    fs::write(folder.path().join(".git"), "gitdir: elsewhere").unwrap();
    let rows = rows(WalkRequest {
        leave_out: vec![".git".into()],
        leave_out_paths: Vec::new(),
        ..request(ourselves(), &[folder.path()])
    });
    let mut left_out: Vec<_> = rows
        .iter()
        .filter_map(|row| match row {
            TreeRecord::Skipped {
                path,
                skip: Skip::LeftOut,
                ..
            } => Some(path.to_string()),
            _ => None,
        })
        .collect();
    left_out.sort();
    assert_eq!(left_out, [".git", "a/.git"]);
    let mut paths: Vec<_> = rows
        .iter()
        .filter_map(|row| match row {
            TreeRecord::Entry { entry, .. } => Some(entry.path.to_string()),
            _ => None,
        })
        .collect();
    paths.sort();
    assert_eq!(paths, ["", "a", "a/.gitignore"]);
}
