//! `kdbg snapshot`: one bundle with everything, or nothing.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    collections::BTreeMap,
    fs,
    io::Write as _,
    os::unix::{
        fs::{MetadataExt as _, PermissionsExt as _, symlink},
        process::CommandExt as _,
    },
    path::Path,
    process::{Command, Output},
};

use insta::{allow_duplicates, assert_snapshot};
use nix::sys::signal::Signal;
use serde_json::Value;

use crate::support::running::{
    HeldUp, Running, SmallDisk, assert_code, command, idle, is_root, kdbg, names, said, shown,
};

/// A process with a folder of its own, and a place for bundles.
struct Place {
    folder: tempfile::TempDir,
    out: tempfile::TempDir,
    process: Running,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut command = idle();
        command
            .current_dir(folder.path())
            .env("DB_PASSWORD", "hunter2hunter2")
            .args(["--token", "hunter2hunter2"]);
        Self {
            out: tempfile::tempdir().unwrap(),
            process: Running::start(&mut command),
            folder,
        }
    }

    /// A folder of the target.
    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// A place for a bundle.
    fn to(&self, name: &str) -> String {
        self.out.path().join(name).to_str().unwrap().to_owned()
    }

    fn arguments(&self, more: &[&str]) -> Vec<String> {
        let mut arguments = vec!["snapshot".to_owned(), self.process.target()];
        arguments.extend(more.iter().map(|argument| (*argument).to_owned()));
        arguments
    }

    fn take(&self, more: &[&str]) -> Output {
        kdbg(self.arguments(more))
    }

    /// Where the target's folder is in a bundle.
    fn copy_in(&self, bundle: &str) -> std::path::PathBuf {
        Path::new(bundle)
            .join("files")
            .join(self.path().strip_prefix("/").unwrap())
    }
}

fn manifest(bundle: &str) -> Value {
    serde_json::from_slice(&fs::read(Path::new(bundle).join("manifest.json")).unwrap()).unwrap()
}

/// The rows of a manifest by the last part of their path.
fn rows(manifest: &Value) -> BTreeMap<String, Value> {
    let rows = manifest["files"].as_array().unwrap().iter();
    rows.map(|row| {
        let path = row["path"].as_str().unwrap();
        (path.rsplit('/').next().unwrap().to_owned(), row.clone())
    })
    .collect()
}

fn fill(folder: &Path) {
    fs::create_dir_all(folder.join("a/b")).unwrap();
    fs::create_dir(folder.join("empty")).unwrap();
    for number in 0..100 {
        fs::write(
            folder.join(format!("a/{number:03}")),
            format!("{number}\n").repeat(number * 50),
        )
        .unwrap();
    }
    fs::write(folder.join("a/b/run"), "#!/bin/sh\n").unwrap();
    fs::set_permissions(folder.join("a/b/run"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::write(folder.join("n".repeat(255)), "long name").unwrap();
    fs::write(folder.join("binary"), (0..=255).collect::<Vec<u8>>()).unwrap();
    symlink("a/b/run", folder.join("link")).unwrap();
    let mut sparse = fs::File::create(folder.join("sparse")).unwrap();
    sparse.set_len(16 << 20).unwrap();
    sparse.write_all(b"start").unwrap();
}

fn diff(left: &Path, right: &Path) -> String {
    let compared = Command::new("diff")
        .args(["-r", "--no-dereference"])
        .args([left, right])
        .output()
        .unwrap();
    String::from_utf8_lossy(&compared.stdout).into_owned()
}

/// `sha256sum` of a file.
fn digest(path: &Path) -> String {
    let output = Command::new("sha256sum")
        .arg("--zero")
        .arg(path)
        .output()
        .unwrap();
    String::from_utf8_lossy(&output.stdout)
        .split_whitespace()
        .next()
        .unwrap()
        .to_owned()
}

#[test]
fn a_bundle_holds_the_tree_as_it_is_and_a_manifest_that_proves_it() {
    let place = Place::new();
    fill(place.path());
    let bundle = place.to("bundle");
    let output = place.take(&["-d", &bundle]);
    assert_snapshot!(shown(&output, &[(&bundle, "BUNDLE")]), @r"
    exit 0
    --- stdout
    --- stderr
    note: copied 104 files, 17517741 bytes to BUNDLE; what is in files is not redacted
    ");
    assert_eq!(
        names(Path::new(&bundle)),
        [
            "environment.json",
            "files",
            "manifest.json",
            "open-files.json",
            "proc",
            "processes.json",
            "sockets.json"
        ]
    );
    assert_eq!(
        names(&Path::new(&bundle).join("proc")),
        ["cgroup", "limits", "maps", "mountinfo", "status"]
    );
    assert_eq!(diff(place.path(), &place.copy_in(&bundle)), "");
    assert_eq!(fs::metadata(&bundle).unwrap().mode() & 0o7777, 0o700);
    assert_eq!(
        fs::metadata(Path::new(&bundle).join("environment.json"))
            .unwrap()
            .mode()
            & 0o7777,
        0o600
    );
    assert!(
        fs::metadata(place.copy_in(&bundle).join("sparse"))
            .unwrap()
            .blocks()
            < 100,
        "holes were written"
    );

    let manifest = manifest(&bundle);
    assert_eq!(
        (&manifest["schema"], &manifest["complete"]),
        (&1.into(), &true.into())
    );
    assert_eq!(manifest["target"]["process"]["pid"], place.process.pid());
    assert_eq!(manifest["roots"][0]["path"], place.path().to_str().unwrap());
    let mut files = 0;
    for row in manifest["files"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|row| row["kind"] == "file")
    {
        let stored = Path::new(&bundle).join(row["stored"].as_str().unwrap());
        assert_eq!(row["sha256"], digest(&stored), "{row}");
        assert_eq!(row["size"], fs::metadata(&stored).unwrap().len());
        files += 1;
    }
    assert_eq!(files, 104);
    for fact in manifest["facts"].as_array().unwrap() {
        let stored = Path::new(&bundle).join(fact["file"].as_str().unwrap());
        assert_eq!(fact["sha256"], digest(&stored), "{fact}");
    }
    let limits = fs::read_to_string(format!("/proc/{}/limits", place.process.pid())).unwrap();
    assert_eq!(
        fs::read_to_string(Path::new(&bundle).join("proc/limits")).unwrap(),
        limits
    );
}

#[test]
fn an_archive_unpacked_by_tar_is_the_same_as_a_folder() {
    let place = Place::new();
    fill(place.path());
    let [archive, again, folder] = ["b.tar.zst", "c.tar.zst", "b"].map(|name| place.to(name));
    assert_code(&place.take(&["-o", &archive]), 0);
    assert_code(&place.take(&["-o", &again]), 0);
    assert_code(&place.take(&["-d", &folder]), 0);
    assert_eq!(fs::metadata(&archive).unwrap().mode() & 0o7777, 0o600);
    let unpacked = place.to("unpacked");
    fs::create_dir(&unpacked).unwrap();
    let unpack = |archive: &str, how: &str| {
        let output = Command::new("sh")
            .args(["-c", &format!("zstd -dc '{archive}' | tar {how}")])
            .current_dir(&unpacked)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", said(&output));
        String::from_utf8(output.stdout).unwrap()
    };
    unpack(&archive, "x");
    assert_eq!(names(Path::new(&unpacked)), ["b"]);
    let files = |top: &str| Path::new(top).join("files");
    assert_eq!(diff(&files(&format!("{unpacked}/b")), &files(&folder)), "");
    assert_eq!(
        diff(place.path(), &place.copy_in(&format!("{unpacked}/b"))),
        ""
    );
    // Names, order and headers of the files are the same each time.
    let listing = |archive: &str, top: &str| -> Vec<String> {
        let lines = unpack(archive, "tv --full-time");
        lines
            .lines()
            .filter(|line| line.contains("/files/"))
            .map(|line| line.replace(&format!(" {top}/"), " "))
            .collect()
    };
    assert_eq!(listing(&archive, "b"), listing(&again, "c"));
    assert!(
        listing(&archive, "b")
            .iter()
            .all(|line| line.contains(" 0/0 "))
    );
}

#[test]
fn secrets_of_the_process_are_in_no_file_of_a_bundle_unless_asked_for() {
    let place = Place::new();
    let [redacted, open] = ["redacted", "open"].map(|name| place.to(name));
    assert_code(&place.take(&["-d", &redacted, "--no-files"]), 0);
    assert_code(
        &place.take(&["-d", &open, "--no-files", "--show-secrets"]),
        0,
    );
    let found = |bundle: &str| {
        let output = Command::new("grep")
            .args(["-rl", "hunter2hunter2", bundle])
            .output()
            .unwrap();
        String::from_utf8_lossy(&output.stdout).lines().count()
    };
    assert_eq!(found(&redacted), 0);
    assert_eq!(found(&open), 2, "arguments and environment");
    assert_eq!(manifest(&redacted)["redacted"], true);
    assert_eq!(manifest(&open)["redacted"], false);
}

#[test]
fn what_is_no_file_or_leads_outside_is_in_the_manifest_only() {
    let place = Place::new();
    let at = |name: &str| place.path().join(name);
    fs::create_dir_all(at(".git/hooks")).unwrap();
    fs::write(at(".git/hooks/post-checkout"), "x").unwrap();
    nix::unistd::mkfifo(&at("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
    symlink("/etc/passwd", at("absolute")).unwrap();
    symlink("../../../../../../../etc", at("climbing")).unwrap();
    symlink("loop2", at("loop1")).unwrap();
    symlink("loop1", at("loop2")).unwrap();
    symlink(".", at("self")).unwrap();
    symlink("self/..", at("chained")).unwrap();
    fs::write(at("suid"), "x").unwrap();
    fs::set_permissions(at("suid"), fs::Permissions::from_mode(0o6755)).unwrap();
    if is_root("makes a device") {
        let mode = nix::sys::stat::Mode::S_IRWXU;
        nix::sys::stat::mknod(
            &at("device"),
            nix::sys::stat::SFlag::S_IFCHR,
            mode,
            nix::sys::stat::makedev(1, 3),
        )
        .unwrap();
    }
    for bundle in ["folder", "b.tar.zst"] {
        let flag = if bundle == "folder" { "-d" } else { "-o" };
        assert_code(&place.take(&[flag, &place.to(bundle)]), 0);
    }
    let unpacked = Command::new("sh")
        .args(["-c", "zstd -dc b.tar.zst | tar x"])
        .current_dir(place.out.path())
        .status()
        .unwrap();
    assert!(unpacked.success());
    for bundle in ["folder", "b"].map(|name| place.to(name)) {
        assert_eq!(
            names(&place.copy_in(&bundle)),
            ["loop1", "loop2", "self", "suid"]
        );
        assert_eq!(
            fs::metadata(place.copy_in(&bundle).join("suid"))
                .unwrap()
                .mode()
                & 0o7777,
            0o755
        );
        let manifest = manifest(&bundle);
        let rows = rows(&manifest);
        assert_eq!(rows["pipe"]["left_out"], "it is a named pipe");
        assert_eq!(rows["socket"]["left_out"], "it is a socket");
        assert_eq!(
            rows[".git"]["left_out"],
            "it is a git repository, which can run programs"
        );
        assert_eq!(rows["absolute"]["link"], "/etc/passwd");
        for name in ["absolute", "climbing", "chained"] {
            assert!(
                rows[name]["left_out"]
                    .as_str()
                    .unwrap()
                    .contains("could lead outside"),
                "{name}"
            );
        }
        assert_eq!(rows["suid"]["mode"], "6755");
        assert_eq!(manifest["complete"], true);
    }
}

#[test]
fn the_whole_file_system_is_never_copied_by_accident() {
    let place = Place::new();
    let mut command = idle();
    let process = Running::start(command.current_dir("/"));
    let bundle = place.to("bundle");
    let output = kdbg(["snapshot", &process.target(), "-d", &bundle]);
    let pid = process.pid().to_string();
    assert_snapshot!(shown(&output, &[(&pid, "PID")]), @r"
    exit 2
    --- stdout
    --- stderr
    error: the working directory of process PID is `/`, which is its whole file system
    hint: say which folders to copy with `--root DIR`, or copy none with `--no-files`
    ");
    assert!(names(place.out.path()).is_empty());
    // Said explicitly, it is done; here only a part of it.
    fs::write(place.path().join("x"), "1").unwrap();
    let root = place.path().to_str().unwrap();
    assert_code(
        &kdbg(["snapshot", &process.target(), "-d", &bundle, "--root", root]),
        0,
    );
    assert_eq!(names(&place.copy_in(&bundle)), ["x"]);
}

#[test]
fn roots_can_be_several_files_or_folders_and_missing_ones_are_said() {
    let place = Place::new();
    fill(place.path());
    let at = |name: &str| place.path().join(name).to_str().unwrap().to_owned();
    let bundle = place.to("bundle");
    let output = place.take(&[
        "-d",
        &bundle,
        "--root",
        &at("a/b"),
        "--root",
        &at("binary"),
        "--root",
        &at("none"),
        "--root",
        "empty",
    ]);
    assert_code(&output, 3);
    assert_eq!(names(&place.copy_in(&bundle)), ["a", "binary", "empty"]);
    assert_eq!(names(&place.copy_in(&bundle).join("a")), ["b"]);
    let manifest = manifest(&bundle);
    assert_eq!(manifest["complete"], false);
    assert!(
        rows(&manifest)["none"]["missing"]
            .as_str()
            .unwrap()
            .contains("no such file or folder")
    );
}

#[test]
fn what_does_not_fit_is_left_out_and_said() {
    let place = Place::new();
    fs::write(place.path().join("1 small"), "x".repeat(1000)).unwrap();
    fs::write(place.path().join("2 large"), "x".repeat(100_000)).unwrap();
    fs::write(place.path().join("3 small"), "x".repeat(1000)).unwrap();
    // More than any disk holds; it is not read to find that out.
    fs::File::create(place.path().join("4 huge"))
        .unwrap()
        .set_len(1 << 40)
        .unwrap();
    let bundle = place.to("bundle");
    let output = place.take(&["-d", &bundle, "--max-bytes", "50K"]);
    assert_code(&output, 3);
    assert!(
        said(&output)
            .contains("warning: 2 entries of `manifest.json` could not be read; it says why"),
        "{}",
        said(&output)
    );
    assert_eq!(names(&place.copy_in(&bundle)), ["1 small", "3 small"]);
    assert_eq!(
        rows(&manifest(&bundle))["4 huge"]["missing"],
        "it does not fit into the limit of all files"
    );
}

#[test]
fn a_file_that_grows_is_marked() {
    let place = Place::new();
    let log = place.path().join("log");
    fs::write(&log, vec![b'x'; 16 << 20]).unwrap();
    let bundle = place.to("bundle");
    let is_over = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut file = fs::OpenOptions::new().append(true).open(&log).unwrap();
            while !is_over.load(std::sync::atomic::Ordering::Relaxed) {
                file.write_all(b"more\n").unwrap();
            }
        });
        let output = place.take(&["-d", &bundle]);
        is_over.store(true, std::sync::atomic::Ordering::Relaxed);
        assert_code(&output, 0);
    });
    let row = rows(&manifest(&bundle))["log"].clone();
    assert_eq!(row["changed"], true);
    let stored = Path::new(&bundle).join(row["stored"].as_str().unwrap());
    assert_eq!(row["sha256"], digest(&stored));
}

#[test]
fn a_bundle_within_the_tree_is_not_copied_into_itself() {
    let place = Place::new();
    fs::write(place.path().join("x"), "1").unwrap();
    for (flag, name) in [("-d", "bundle"), ("-o", "bundle.tar.zst")] {
        let bundle = place.path().join(name);
        assert_code(&place.take(&[flag, bundle.to_str().unwrap()]), 0);
        if flag == "-d" {
            assert_eq!(names(&place.copy_in(bundle.to_str().unwrap())), ["x"]);
            fs::remove_dir_all(bundle).unwrap();
        }
    }
    assert_eq!(names(place.path()), ["bundle.tar.zst", "x"]);
}

/// What anyone may see is worth keeping, and the rest is said to be missing.
#[test]
fn a_bundle_of_another_users_process_says_what_was_denied() {
    if !is_root("looks as one user at the process of another") {
        return;
    }
    let place = Place::new();
    fs::set_permissions(place.out.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let bundle = place.to("bundle");
    let run = command(place.arguments(&["-d", &bundle]))
        .uid(65534)
        .gid(65534)
        .output();
    let Ok(output) = run else {
        println!("skipped: other users may not run the programs of this build");
        return;
    };
    assert_code(&output, 3);
    let manifest = manifest(&bundle);
    let facts: BTreeMap<_, _> = manifest["facts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|fact| (fact["file"].as_str().unwrap(), fact["missing"].as_str()))
        .collect();
    assert!(
        facts["environment.json"]
            .unwrap()
            .contains("uid: we are 65534, the process is 0")
    );
    assert_eq!(facts["proc/status"], None);
    assert!(
        manifest["files"][0]["missing"]
            .as_str()
            .unwrap()
            .contains("permission denied")
    );
}

#[test]
fn a_working_directory_that_was_removed_is_still_copied() {
    let place = Place::new();
    let gone = place.path().join("gone");
    fs::create_dir(&gone).unwrap();
    let process = Running::in_folder(&gone);
    fs::remove_dir(&gone).unwrap();
    let bundle = place.to("bundle");
    let output = kdbg(["snapshot", &process.target(), "-d", &bundle]);
    assert_code(&output, 0);
    assert!(
        manifest(&bundle)["roots"][0]["path"]
            .as_str()
            .unwrap()
            .ends_with("gone (deleted)")
    );
}

#[test]
fn destinations_are_checked_before_anything_is_read() {
    let place = Place::new();
    fs::create_dir(place.out.path().join("there")).unwrap();
    for (arguments, message) in [
        (&["-d", &place.to("there")][..], "exists already"),
        (&["-o", &place.to("x.tar.gz")], "ends with `.tar.zst`"),
        (&["-d", &place.to("no/such")], "there is no folder"),
        (&[], "required"),
        (
            &["-d", &place.to("x"), "-o", &place.to("x.tar.zst")],
            "cannot be used with",
        ),
        (
            &["-d", &place.to("x"), "--no-files", "--root", "/"],
            "cannot be used with",
        ),
    ] {
        let output = place.take(arguments);
        assert_code(&output, 2);
        assert!(
            said(&output).contains(message),
            "{arguments:?}: {}",
            said(&output)
        );
    }
    assert_code(&place.take(&["-d", &place.to("there"), "--force"]), 0);
    assert_eq!(names(place.out.path()), ["there"]);
}

#[test]
fn a_full_disk_is_an_error_and_leaves_nothing() {
    let Some(disk) = SmallDisk::mount() else {
        return;
    };
    let place = Place::new();
    let mut content = vec![0_u8; 3 << 20];
    // What cannot be compressed.
    let mut state = 1_u64;
    for byte in &mut content {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        *byte = (state >> 56) as u8;
    }
    fs::write(place.path().join("large"), content).unwrap();
    for number in 0..40 {
        fs::write(place.path().join(format!("{number}")), vec![b'x'; 100_000]).unwrap();
    }
    for (flag, name) in [("-d", "bundle"), ("-o", "bundle.tar.zst")] {
        let bundle = disk.path().join(name);
        let output = place.take(&[flag, bundle.to_str().unwrap()]);
        allow_duplicates! {
            assert_snapshot!(shown(&output, &[(bundle.to_str().unwrap(), "BUNDLE")]), @r"
            exit 5
            --- stdout
            --- stderr
            error: cannot write `BUNDLE`: No space left on device (os error 28)
            hint: free some space there, or choose a place on another file system; nothing was left
            ");
        }
        assert!(names(disk.path()).is_empty(), "{:?}", names(disk.path()));
    }
}

/// Ctrl-C and SIGTERM, with the agent held up in the middle.
#[test]
fn an_interrupt_half_way_leaves_nothing() {
    let place = Place::new();
    for number in 0..40 {
        fs::write(place.path().join(format!("{number}")), vec![b'x'; 4 << 20]).unwrap();
    }
    for (flag, name, signal, code) in [
        ("-d", "b", Signal::SIGINT, 130),
        ("-o", "b.tar.zst", Signal::SIGINT, 130),
        ("-d", "b", Signal::SIGTERM, 143),
    ] {
        let run = command(place.arguments(&[flag, &place.to(name)]));
        let run = HeldUp::when(run, || !names(place.out.path()).is_empty());
        run.signal(signal);
        assert_code(&run.output(), code);
        assert!(
            names(place.out.path()).is_empty(),
            "{:?}",
            names(place.out.path())
        );
    }
}

#[test]
fn a_target_that_ends_half_way_is_an_error_and_leaves_nothing() {
    let mut place = Place::new();
    for number in 0..3000 {
        fs::write(place.path().join(format!("{number}")), "x").unwrap();
    }
    let run = command(place.arguments(&["-d", &place.to("b")]));
    let run = HeldUp::when(run, || !names(place.out.path()).is_empty());
    place.process.kill();
    run.go_on();
    let output = run.output();
    assert_code(&output, 4);
    assert!(said(&output).contains("has ended"), "{}", said(&output));
    assert!(names(place.out.path()).is_empty());
}
