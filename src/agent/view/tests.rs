use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::Path,
};

use super::*;
use crate::{
    agent::{
        file_system::reopen,
        testing::{
            Container, Running, ask, become_stranger, has_user_namespaces, is_root, ourselves,
        },
    },
    protocol::message::Request,
};

fn content(file: &OwnedFd) -> String {
    std::io::read_to_string(reopen(file).unwrap()).unwrap()
}

/// Both ways to resolve: the kernel's and our own.
fn views(target: &Target) -> [View<'_>; 2] {
    let kernel = View::open(target).unwrap();
    assert!(kernel.has_openat2, "this kernel is older than these tests");
    let mut own = View::open(target).unwrap();
    own.has_openat2 = false;
    [kernel, own]
}

const LINKS: &str = "
import os
os.makedirs('etc'); os.makedirs('app/src')
write('etc/passwd', 'theirs')
write('app/main', 'main')
os.symlink('/etc/passwd', 'app/absolute')
os.symlink('../../../../../../etc/passwd', 'app/climbs')
os.symlink('../app/./src/../main', 'app/around')
os.symlink('loop', 'app/loop')
os.symlink('/proc/self/root/etc/passwd', 'app/magic')
os.symlink('app', 'here')
";

#[test]
fn links_of_a_target_lead_to_its_own_files() {
    if !has_user_namespaces() {
        return;
    }
    for way in ["pivot", "chroot"] {
        let root = tempfile::tempdir().unwrap();
        let container = Container::start(root.path(), way, LINKS);
        let target = Target::open(container.id()).unwrap();
        for view in views(&target) {
            let read = |path: &str| view.resolve(path.into()).map(|file| content(&file));
            for path in [
                "/etc/passwd",
                "/app/absolute",
                "absolute",
                "/app/climbs",
                "climbs",
                "../../../etc/passwd",
                "/here/../etc/passwd",
                "/here/climbs",
                "//etc//./passwd",
            ] {
                assert_eq!(read(path).as_deref(), Ok("theirs"), "{way} {path}");
            }
            for path in [
                "main",
                "around",
                "/here/around",
                "./src/../main",
                "../here/main",
            ] {
                assert_eq!(read(path).as_deref(), Ok("main"), "{way} {path}");
            }
            assert_eq!(read("loop"), Err(Errno::ELOOP));
            assert_eq!(read("magic"), Err(Errno::ENOENT));
            assert_eq!(read("main/x"), Err(Errno::ENOTDIR));
            assert_eq!(read("missing"), Err(Errno::ENOENT));
            let main = view.resolve("around".into()).unwrap();
            assert_eq!(view.name_of(&main).unwrap(), "/app/main", "{way}");
            let cwd = view.resolve("".into()).unwrap();
            assert_eq!(view.name_of(&cwd).unwrap(), "/app", "{way}");
            let root = view.resolve("/../..".into()).unwrap();
            assert_eq!(view.name_of(&root).unwrap(), "/", "{way}");
        }
    }
}

#[test]
fn magic_links_are_not_followed() {
    let target = Target::open(ourselves()).unwrap();
    for view in views(&target) {
        for path in [
            "/proc/self/root/etc",
            "/proc/thread-self/cwd",
            "/proc/self/exe",
        ] {
            let errno = view.resolve(path.into()).map(|_| ()).unwrap_err();
            assert_eq!(errno, Errno::EXDEV, "{path}");
            let failure = view.failure("read", path.into(), errno);
            assert_eq!(failure.cause, Cause::LeadsOutside);
        }
    }
}

#[test]
fn both_ways_to_resolve_agree() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::create_dir_all(at("a/b/c")).unwrap();
    fs::write(at("a/file"), "x").unwrap();
    symlink("b/c", at("a/link")).unwrap();
    symlink("../../a/link/../../file", at("a/b/far")).unwrap();
    symlink("/a/b", at("absolute")).unwrap();
    symlink("..", at("a/b/c/up")).unwrap();
    symlink("missing", at("dangling")).unwrap();
    for number in 1..=41 {
        symlink(
            format!("chain{}", number - 1),
            at(&format!("chain{number}")),
        )
        .unwrap();
    }
    fs::write(at("chain0"), "end").unwrap();

    let root = fcntl::open(
        folder.path(),
        OFlag::O_PATH | OFlag::O_CLOEXEC,
        Mode::empty(),
    )
    .unwrap();
    for path in [
        "a",
        "a/b/c",
        "a/file",
        "a/link",
        "a/link/up/c/up/far",
        "a/b/far",
        "absolute",
        "absolute/far",
        "absolute/c/up/../file",
        "..",
        "../../a",
        "a/../../a/file",
        "dangling",
        "a/file/x",
        "chain40",
        "chain41",
        ".",
        "a/./b//c/",
        "nothing/..",
    ] {
        let path = BStr::new(path);
        for (bounds, resolve) in [
            (Bounds::InRoot, ResolveFlag::RESOLVE_IN_ROOT),
            (Bounds::Beneath, ResolveFlag::RESOLVE_BENEATH),
        ] {
            let number = |fd: OwnedFd| number_of(&stat::fstat(&fd).unwrap());
            assert_eq!(
                walk(&root, path, bounds).map(number),
                open_in(&root, path, resolve).map(number),
                "{path} {bounds:?}"
            );
        }
    }
}

#[test]
fn a_working_directory_that_was_removed_is_still_one() {
    let folder = tempfile::tempdir().unwrap();
    let gone = folder.path().join("gone");
    fs::create_dir(&gone).unwrap();
    let script = format!("cd {0}; rmdir {0}; echo ready; read line", gone.display());
    let running = Running::shell(&script);
    let target = Target::open(running.id()).unwrap();
    for view in views(&target) {
        let found = view.resolve("".into()).unwrap();
        let name = view.name_of(&found).unwrap();
        assert_eq!(name, format!("{} (deleted)", gone.display()));
        assert_eq!(view.resolve("x".into()).unwrap_err(), Errno::ENOENT);
        assert_eq!(view.resolve("../x".into()).unwrap_err(), Errno::EXDEV);
        assert!(view.resolve("/".into()).is_ok());
    }
    // Somebody else's folder by the same name is not it.
    fs::create_dir(&gone).unwrap();
    fs::write(gone.join("x"), "another").unwrap();
    for view in views(&target) {
        assert_eq!(view.resolve("x".into()).unwrap_err(), Errno::ENOENT);
    }
}

#[test]
fn a_working_directory_outside_of_the_root_does_not_lead_up() {
    if !is_root("chroot") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let jail = folder.path().join("jail");
    let outside = folder.path().join("outside");
    for path in [&jail, &outside] {
        fs::create_dir(path).unwrap();
        fs::write(
            path.join("file"),
            path.file_name().unwrap().as_encoded_bytes(),
        )
        .unwrap();
    }
    symlink("/file", outside.join("absolute")).unwrap();
    let script = format!(
        "import os\nos.chdir({outside:?})\nos.chroot({jail:?})\nprint(flush=True)\ninput()"
    );
    let running = Running::python(&script);
    let target = Target::open(running.id()).unwrap();
    for view in views(&target) {
        let read = |path: &str| view.resolve(path.into()).map(|file| content(&file));
        assert_eq!(read("file").as_deref(), Ok("outside"));
        assert_eq!(read("/file").as_deref(), Ok("jail"));
        assert_eq!(read("../jail/file"), Err(Errno::EXDEV));
        assert_eq!(read("absolute"), Err(Errno::EXDEV));
    }
}

#[test]
fn a_file_without_permission_is_denied_by_its_bits() {
    if !is_root("make a file that another user may not read") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("secret");
    fs::write(&path, "x").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    let denied = std::thread::spawn(move || {
        let running = Running::shell("echo ready; read line");
        become_stranger();
        ask(&Request::ReadFile {
            process: running.id(),
            path: path_bytes(&path),
        })
        .map(|_| ())
    });
    let failure = denied.join().unwrap().unwrap_err();
    let Cause::Denied(denial) = failure.cause else {
        panic!("{failure:?}");
    };
    assert_eq!(
        denial.failed,
        [crate::protocol::message::FailedCheck::Permissions]
    );
    assert_eq!(denial.reader.uids[3], 1001);
}

fn path_bytes(path: &Path) -> BString {
    path.as_os_str().as_encoded_bytes().into()
}
