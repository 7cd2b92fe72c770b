//! `kdbg ls`, `cat` and `pull` on real files of real processes.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    fs,
    io::Write as _,
    os::unix::{
        fs::{MetadataExt as _, PermissionsExt as _, symlink},
        process::CommandExt as _,
    },
    path::Path,
    process::Command,
    sync::atomic::{AtomicBool, Ordering},
};

use insta::{allow_duplicates, assert_snapshot};
use nix::sys::signal::Signal;

use crate::support::running::{
    HeldUp, Running, SmallDisk, assert_code, command, is_root, kdbg, names, python, said, shown,
};

/// A folder with a file of every kind, and a process that works in it.
struct Place {
    folder: tempfile::TempDir,
    process: Running,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let process = Running::in_folder(folder.path());
        Self { folder, process }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        fs::write(self.path().join(name), content).unwrap();
    }

    fn kdbg(&self, command: &str, more: &[&str]) -> std::process::Output {
        let mut arguments = vec![command.to_owned(), self.process.target()];
        arguments.extend(more.iter().map(|argument| (*argument).to_owned()));
        kdbg(arguments)
    }
}

/// Content of every byte, and of what terminals and colour filters act on.
fn every_byte() -> Vec<u8> {
    let mut content: Vec<u8> = (0..=255).collect();
    content.extend_from_slice(b"\x1b[31mred\x1b[0m\r\n");
    content
}

#[test]
fn a_folder_is_listed_with_names_that_cannot_steer_a_terminal() {
    let place = Place::new();
    place.write("plain", "12345");
    place.write("esc\x1b[2J\nnew", "");
    fs::create_dir(place.path().join("sub")).unwrap();
    symlink("/etc/passwd", place.path().join("link")).unwrap();
    nix::unistd::mkfifo(&place.path().join("pipe"), nix::sys::stat::Mode::S_IRUSR).unwrap();
    fs::set_permissions(
        place.path().join("plain"),
        fs::Permissions::from_mode(0o4751),
    )
    .unwrap();
    for name in ["plain", "esc\x1b[2J\nnew", "sub", "link", "pipe"] {
        let touched = Command::new("touch")
            .args(["-h", "-d", "@1700000000", name])
            .current_dir(place.path())
            .status();
        assert!(touched.unwrap().success());
    }
    let size = fs::metadata(place.path().join("sub"))
        .unwrap()
        .len()
        .to_string();
    let output = place.kdbg("ls", &[]);
    let owner = fs::metadata(place.path()).unwrap();
    if (owner.uid(), owner.gid(), size.as_str()) == (0, 0, "4096") {
        assert_snapshot!(shown(&output, &[]), @r"
        exit 0
        --- stdout
        MODE        UID  GID  SIZE  MODIFIED             NAME
        -rw-r--r--    0    0     0  2023-11-14 22:13:20  esc\x1b[2J\nnew
        lrwxrwxrwx    0    0    11  2023-11-14 22:13:20  link -> /etc/passwd
        pr--------    0    0     0  2023-11-14 22:13:20  pipe
        -rwsr-x--x    0    0     5  2023-11-14 22:13:20  plain
        drwxr-xr-x    0    0  4096  2023-11-14 22:13:20  sub
        --- stderr
        ");
    }
    let report: serde_json::Value =
        serde_json::from_slice(&place.kdbg("ls", &["-o", "json"]).stdout).unwrap();
    assert_eq!(report["schema"], 1);
    assert_eq!(report["of"]["kind"], "folder");
    assert_eq!(report["entries"].as_array().unwrap().len(), 5);
    assert_eq!(report["entries"][3]["mode"], "4751");
    assert_eq!(report["entries"][1]["link"], "/etc/passwd");
    assert_eq!(report["entries"][0]["path"], "esc\x1b[2J\nnew");
}

#[test]
fn a_single_file_and_an_empty_folder_are_listed_too() {
    let place = Place::new();
    assert!(said(&place.kdbg("ls", &[])).contains("note: the folder is empty"));
    place.write("file", "abc");
    let output = place.kdbg("ls", &["file"]);
    assert_code(&output, 0);
    assert!(String::from_utf8_lossy(&output.stdout).contains(" 3 "));
    let report: serde_json::Value =
        serde_json::from_slice(&place.kdbg("ls", &["file", "-o", "json"]).stdout).unwrap();
    assert_eq!(
        (&report["of"]["size"], &report["entries"]),
        (&3.into(), &serde_json::Value::Null)
    );
}

#[test]
fn content_is_printed_byte_for_byte_and_file_after_file() {
    let place = Place::new();
    place.write("one", every_byte());
    place.write("two", "no newline");
    let output = place.kdbg(
        "cat",
        &[
            "one",
            "two",
            place.path().join("one").to_str().unwrap(),
            "--color=never",
        ],
    );
    assert_code(&output, 0);
    assert_eq!(
        output.stdout,
        [every_byte(), b"no newline".to_vec(), every_byte()].concat()
    );
}

#[test]
fn what_is_no_file_is_refused_with_its_kind() {
    let place = Place::new();
    nix::unistd::mkfifo(&place.path().join("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    symlink("loop", place.path().join("loop")).unwrap();
    fs::create_dir(place.path().join("sub")).unwrap();
    for (path, code, reason) in [
        (
            "pipe",
            2,
            "cannot read `pipe`: it is a named pipe, not a regular file",
        ),
        (
            "sub",
            2,
            "cannot read `sub`: it is a folder, not a regular file",
        ),
        (
            "/dev/zero",
            2,
            "cannot read `/dev/zero`: it is a character device, not a regular file",
        ),
        (
            "loop",
            2,
            "cannot read `loop`: its symbolic links run in a circle",
        ),
        ("none", 4, "cannot read `none`: no such file or folder"),
    ] {
        let output = place.kdbg("cat", &[path]);
        assert_code(&output, code);
        assert_eq!(
            said(&output).lines().next().unwrap(),
            format!("error: {reason}")
        );
    }
    assert_code(&place.kdbg("pull", &["pipe", "-d", "/tmp"]), 2);
    place.write("file", "");
    for path in ["none", "file/below"] {
        assert_code(&place.kdbg("ls", &[path]), 4);
    }
}

#[test]
fn a_file_that_the_user_may_not_read_says_why() {
    if !is_root("has a file of another user") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(folder.path().join("secret"), "x").unwrap();
    fs::set_permissions(
        folder.path().join("secret"),
        fs::Permissions::from_mode(0o600),
    )
    .unwrap();
    let Ok(mut child) = Command::new("sleep")
        .arg("60")
        .current_dir(folder.path())
        .uid(65534)
        .gid(65534)
        .spawn()
    else {
        println!("skipped: other users may not run `sleep`");
        return;
    };
    let target = format!("pid/{}", child.id());
    let output = command(["cat", &target, "secret"])
        .uid(65534)
        .gid(65534)
        .output();
    let bundle = tempfile::tempdir().unwrap();
    fs::set_permissions(bundle.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let place = bundle.path().join("out");
    let snapshot = command(["snapshot", &target, "-d", place.to_str().unwrap()])
        .uid(65534)
        .gid(65534)
        .output();
    child.kill().unwrap();
    child.wait().unwrap();
    let (Ok(output), Ok(snapshot)) = (output, snapshot) else {
        println!("skipped: other users may not run the programs of this build");
        return;
    };
    assert_code(&output, 4);
    assert!(
        said(&output).contains("permission bits: the file is for its owner only"),
        "{}",
        said(&output)
    );
    // A bundle goes on without it, and says so.
    assert_code(&snapshot, 3);
    let manifest: serde_json::Value =
        serde_json::from_slice(&fs::read(place.join("manifest.json")).unwrap()).unwrap();
    assert_eq!(manifest["complete"], false);
    let file = &manifest["files"].as_array().unwrap()[1];
    assert!(
        file["missing"]
            .as_str()
            .unwrap()
            .contains("permission denied"),
        "{file}"
    );
    assert_eq!(file["stored"], serde_json::Value::Null);
}

#[test]
fn holes_stay_holes_in_a_file_and_are_zeros_in_a_pipe() {
    let place = Place::new();
    let mut sparse = fs::File::create(place.path().join("sparse")).unwrap();
    sparse.write_all(b"start").unwrap();
    sparse.set_len(32 << 20).unwrap();
    drop(sparse);
    let content = fs::read(place.path().join("sparse")).unwrap();
    assert!(place.kdbg("cat", &["sparse"]).stdout == content);

    let copy = place.path().join("copy");
    let to = fs::File::create(&copy).unwrap();
    let status = command(["cat", &place.process.target(), "sparse", "sparse"])
        .stdout(to)
        .status()
        .unwrap();
    assert!(status.success());
    assert!(fs::read(&copy).unwrap() == [&content[..], &content].concat());
    assert!(
        fs::metadata(&copy).unwrap().blocks() * 512 < 1 << 20,
        "the holes were written"
    );

    // Where something stands already, zeros are written over it.
    let over = place.path().join("over");
    fs::write(&over, vec![b'x'; 33 << 20]).unwrap();
    let to = fs::OpenOptions::new().write(true).open(&over).unwrap();
    assert!(
        command(["cat", &place.process.target(), "sparse"])
            .stdout(to)
            .status()
            .unwrap()
            .success()
    );
    assert!(fs::read(&over).unwrap()[..32 << 20] == content);

    assert_code(
        &place.kdbg(
            "pull",
            &[
                "sparse",
                "-d",
                place.path().join(".").to_str().unwrap(),
                "--force",
            ],
        ),
        0,
    );
    let pulled = fs::metadata(place.path().join("sparse")).unwrap();
    assert_eq!(pulled.len(), 32 << 20);
    assert!(pulled.blocks() * 512 < 1 << 20);
}

/// Appends to a file for as long as something is done.
fn while_it_grows<T>(path: &Path, work: impl FnOnce() -> T) -> T {
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut file = fs::OpenOptions::new().append(true).open(path).unwrap();
            while !is_over.load(Ordering::Relaxed) {
                file.write_all(b"more\n").unwrap();
            }
        });
        let result = work();
        is_over.store(true, Ordering::Relaxed);
        result
    })
}

#[test]
fn a_file_that_changes_while_it_is_read_is_shown_with_a_warning() {
    let place = Place::new();
    place.write("log", vec![b'x'; 16 << 20]);
    let output = while_it_grows(&place.path().join("log"), || place.kdbg("cat", &["log"]));
    assert_code(&output, 3);
    assert!(output.stdout.len() >= 16 << 20);
    assert_eq!(
        said(&output),
        "warning: `log` changed while it was read: its bytes may never have stood together\n"
    );
    let out = tempfile::tempdir().unwrap();
    let output = while_it_grows(&place.path().join("log"), || {
        place.kdbg("pull", &["log", "-d", out.path().to_str().unwrap()])
    });
    assert_code(&output, 3);
    assert!(out.path().join("log").exists());
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error_and_a_full_one_is() {
    let place = Place::new();
    place.write("large", vec![b'x'; 4 << 20]);
    let mut child = command(["cat", &place.process.target(), "large"])
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_code(&output, 0);
    assert_eq!(said(&output), "");
    let full = fs::OpenOptions::new()
        .write(true)
        .open("/dev/full")
        .unwrap();
    let output = command(["cat", &place.process.target(), "large"])
        .stdout(full)
        .output()
        .unwrap();
    assert_code(&output, 5);
}

/// A reader that does not read must not keep Ctrl-C from working.
#[test]
fn an_interrupt_works_while_nobody_reads() {
    let place = Place::new();
    place.write("large", vec![b'x'; 4 << 20]);
    let mut child = command(["cat", &place.process.target(), "large"])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    std::thread::sleep(std::time::Duration::from_millis(300));
    let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap());
    nix::sys::signal::kill(pid, Signal::SIGINT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(130));
}

/// Files, folders, modes, times, links, names and holes.
fn fill(folder: &Path) {
    let write = |name: &str, content: &[u8]| fs::write(folder.join(name), content).unwrap();
    fs::create_dir_all(folder.join("a/b/c")).unwrap();
    fs::create_dir(folder.join("empty folder")).unwrap();
    write("a/every byte", &every_byte());
    write("a/b/empty", b"");
    write("a/b/c/run", b"#!/bin/sh\n");
    fs::set_permissions(folder.join("a/b/c/run"), fs::Permissions::from_mode(0o755)).unwrap();
    write("new\nline \"quoted\" \x1b[2J", b"1");
    fs::File::create(folder.join("sparse"))
        .unwrap()
        .set_len(8 << 20)
        .unwrap();
    symlink("a/b/empty", folder.join("link")).unwrap();
    symlink("../every byte", folder.join("a/b/up")).unwrap();
    symlink("nowhere", folder.join("a/dangling")).unwrap();
    symlink("a", folder.join("to folder")).unwrap();
    for number in 0..300 {
        write(
            &format!("a/b/c/{number:03}"),
            format!("{number}").repeat(number).as_bytes(),
        );
    }
}

#[test]
fn a_folder_arrives_as_it_is() {
    let place = Place::new();
    fs::create_dir(place.path().join("app")).unwrap();
    fill(&place.path().join("app"));
    let out = tempfile::tempdir().unwrap();
    let output = place.kdbg("pull", &["app", "-d", out.path().to_str().unwrap()]);
    let shown_path = out.path().display().to_string();
    assert_snapshot!(shown(&output, &[(&shown_path, "OUT")]), @r"
    exit 0
    --- stdout
    --- stderr
    note: copied 305 files, 8518444 bytes to OUT/app
    ");
    let compared = Command::new("diff")
        .args(["-r", "--no-dereference"])
        .args([place.path().join("app"), out.path().join("app")])
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&compared.stdout), "");
    for name in ["a", "a/b/c/run", "a/b/c/007", "empty folder", "sparse"] {
        let [source, copy] = [place.path(), out.path()]
            .map(|folder| fs::metadata(folder.join("app").join(name)).unwrap());
        assert_eq!(
            (source.mode(), source.mtime()),
            (copy.mode(), copy.mtime()),
            "{name}"
        );
    }
    assert!(
        fs::metadata(out.path().join("app/sparse"))
            .unwrap()
            .blocks()
            < 100
    );
}

#[test]
fn what_is_there_is_replaced_only_when_asked_to() {
    let place = Place::new();
    place.write("file", "new");
    fs::create_dir(place.path().join("folder")).unwrap();
    place.write("folder/x", "new");
    let out = tempfile::tempdir().unwrap();
    fs::write(out.path().join("file"), "old").unwrap();
    fs::create_dir(out.path().join("folder")).unwrap();
    fs::write(out.path().join("folder/old"), "old").unwrap();
    let to = out.path().to_str().unwrap();
    for name in ["file", "folder"] {
        let output = place.kdbg("pull", &[name, "-d", to]);
        assert_code(&output, 2);
        assert!(
            said(&output).contains(
                "exists already\nhint: choose another name, or replace it with `--force`"
            )
        );
    }
    assert_eq!(fs::read(out.path().join("file")).unwrap(), b"old");
    assert_code(&place.kdbg("pull", &["file", "-d", to, "--force"]), 0);
    assert_eq!(fs::read(out.path().join("file")).unwrap(), b"new");
    // A folder of the user's own is worth more than a flag.
    let output = place.kdbg("pull", &["folder", "-d", to, "--force"]);
    assert_code(&output, 2);
    assert!(
        said(&output).contains("is a folder that kdbg did not make"),
        "{}",
        said(&output)
    );
    assert_eq!(names(&out.path().join("folder")), ["old"]);
    fs::remove_file(out.path().join("folder/old")).unwrap();
    assert_code(&place.kdbg("pull", &["folder", "-d", to, "--force"]), 0);
    assert_eq!(names(&out.path().join("folder")), ["x"]);
    assert_eq!(names(out.path()), ["file", "folder"]);
    assert_code(&place.kdbg("pull", &["file", "-d", "/no/such/folder"]), 2);
    assert_code(&place.kdbg("pull", &["/", "-d", to]), 2);
}

/// What a hostile target has in its folder, copied by kdbg itself.
#[test]
fn what_must_not_be_copied_is_said_and_left_out() {
    let place = Place::new();
    let app = place.path().join("app");
    fs::create_dir_all(app.join(".git/hooks")).unwrap();
    fs::create_dir_all(app.join("sub/.GIT")).unwrap();
    fs::write(app.join(".git/hooks/post-checkout"), "#!/bin/sh\n").unwrap();
    fs::write(app.join("sub/.GIT/config"), "x").unwrap();
    fs::write(app.join("suid"), "x").unwrap();
    fs::set_permissions(app.join("suid"), fs::Permissions::from_mode(0o4755)).unwrap();
    nix::unistd::mkfifo(&app.join("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(app.join("socket")).unwrap();
    symlink("/etc", app.join("absolute")).unwrap();
    symlink("../..", app.join("up")).unwrap();
    symlink(".", app.join("l1")).unwrap();
    symlink("l1/..", app.join("l2")).unwrap();
    let out = tempfile::tempdir().unwrap();
    let output = place.kdbg("pull", &["app", "-d", out.path().to_str().unwrap()]);
    let (from, to) = (
        place.path().display().to_string(),
        out.path().display().to_string(),
    );
    assert_snapshot!(shown(&output, &[(&from, "TARGET"), (&to, "OUT")]), @r"
    exit 3
    --- stdout
    --- stderr
    warning: `TARGET/app/.git` is missing: it is a git repository, which can run programs
    warning: `TARGET/app/absolute` is missing: a link to `/etc` could lead outside of the destination
    warning: `TARGET/app/l2` is missing: a link to `l1/..` could lead outside of the destination
    warning: `TARGET/app/pipe` is missing: it is a named pipe
    warning: `TARGET/app/socket` is missing: it is a socket
    warning: `TARGET/app/sub/.GIT` is missing: a folder named `.GIT` would be taken for a git repository, which can run programs
    warning: `TARGET/app/sub/.GIT/config` is missing: a folder named `.GIT` would be taken for a git repository, which can run programs
    warning: `TARGET/app/up` is missing: a link to `../..` could lead outside of the destination
    note: copied 1 file, 1 byte to OUT/app
    ");
    assert_eq!(names(&out.path().join("app")), ["l1", "sub", "suid"]);
    assert_eq!(
        fs::metadata(out.path().join("app/suid")).unwrap().mode() & 0o7777,
        0o755
    );
    assert!(names(&out.path().join("app/sub")).is_empty());
}

/// The file that the process sees, not the one that we see under that path; absolute links included.
#[test]
fn paths_are_those_of_the_process() {
    if !is_root("makes a mount namespace") {
        return;
    }
    let place = Place::new();
    place.write("same name", "outside");
    let path = place.path().display();
    let script = format!(
        "mount -t tmpfs tmpfs '{path}' && cd '{path}' && echo inside >'same name' && ln -s '{path}/same name' link \
         && exec '{}' -S -c 'print(\"ready\", flush=True); import sys; sys.stdin.read()'",
        python()
    );
    if !Command::new("unshare")
        .args(["-m", "true"])
        .status()
        .is_ok_and(|status| status.success())
    {
        println!("skipped: this container may not make a mount namespace");
        return;
    }
    let process = Running::start(Command::new("unshare").args(["-m", "sh", "-c", &script]));
    for name in ["same name", "link", &format!("{path}/link")] {
        let output = kdbg(["cat", &process.target(), name]);
        assert_code(&output, 0);
        assert_eq!(output.stdout, b"inside\n", "{name}");
    }
}

#[test]
fn a_full_disk_is_an_error_and_leaves_nothing() {
    let Some(disk) = SmallDisk::mount() else {
        return;
    };
    let place = Place::new();
    fs::create_dir(place.path().join("app")).unwrap();
    place.write("app/large", vec![b'x'; 3 << 20]);
    let to = disk.path().to_str().unwrap();
    for path in ["app/large", "app"] {
        let output = place.kdbg("pull", &[path, "-d", to]);
        let name = path.rsplit('/').next().unwrap();
        allow_duplicates! {
            assert_snapshot!(shown(&output, &[(to, "DISK"), (name, "NAME")]), @r"
            exit 5
            --- stdout
            --- stderr
            error: cannot write `DISK/NAME`: No space left on device (os error 28)
            hint: free some space there, or choose a place on another file system; nothing was left
            ");
        }
        assert!(names(disk.path()).is_empty());
    }
}

#[test]
fn an_interrupt_half_way_leaves_nothing() {
    let place = Place::new();
    fs::create_dir(place.path().join("app")).unwrap();
    place.write("app/large", vec![b'x'; 256 << 20]);
    for (path, signal, code) in [
        ("app/large", Signal::SIGINT, 130),
        ("app", Signal::SIGTERM, 143),
    ] {
        let out = tempfile::tempdir().unwrap();
        let run = command([
            "pull",
            &place.process.target(),
            path,
            "-d",
            out.path().to_str().unwrap(),
        ]);
        let run = HeldUp::when(run, || !names(out.path()).is_empty());
        assert!(
            names(out.path())[0].starts_with('.'),
            "it has its name already"
        );
        run.signal(signal);
        assert_code(&run.output(), code);
        assert!(names(out.path()).is_empty(), "{:?}", names(out.path()));
    }
}

#[test]
fn a_process_that_is_not_there_is_said_to_be() {
    let mut place = Place::new();
    place.process.kill();
    for (command, more) in [("ls", &[][..]), ("cat", &["x"]), ("pull", &["x"])] {
        let output = place.kdbg(command, more);
        assert_code(&output, 4);
        assert!(
            said(&output).contains("there is no process"),
            "{}",
            said(&output)
        );
    }
}

#[test]
fn self_in_proc_is_the_target_and_never_the_agent() {
    let place = Place::new();
    let truth = fs::read(format!("/proc/{}/cmdline", place.process.pid())).unwrap();
    let output = place.kdbg("cat", &["/proc/self/cmdline"]);
    assert_code(&output, 0);
    assert_eq!(output.stdout, truth);
    let output = place.kdbg("ls", &["/dev/fd", "-o", "json"]);
    let listed: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let count = fs::read_dir(format!("/proc/{}/fd", place.process.pid()))
        .unwrap()
        .count();
    assert_eq!(listed["entries"].as_array().unwrap().len(), count);
    // A link is followed by the kernel, for which the agent is the one who asks.
    symlink("/proc/self/cmdline", place.path().join("link")).unwrap();
    let output = place.kdbg("cat", &["link"]);
    assert_ne!(output.status.code(), Some(0));
    assert!(output.stdout.is_empty());
    assert!(
        said(&output).contains("it leads outside"),
        "{}",
        said(&output)
    );
}
