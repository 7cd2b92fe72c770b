//! `kdbg diff-src` as a user runs it: a real process, a real repository, git as the oracle.

use std::{
    fs::{self, File},
    os::unix::{
        fs::{PermissionsExt as _, symlink},
        process::{CommandExt as _, ExitStatusExt as _},
    },
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::Duration,
};

use kdbg::object::{FileMode, HashKind};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::support::{
    fixtures::{Registry, release},
    git::{Repository, Tree, git, run},
    running::Running,
    trees::{generated, joined, write_out},
};

/// Trees in one comparison, each in a folder of its own.
const CASES: u64 = 240;

/// A process that works in a folder of its own.
struct Served {
    process: Running,
    folder: tempfile::TempDir,
}

impl Served {
    fn new(tree: &Tree) -> Self {
        let folder = tempfile::tempdir().unwrap();
        write_out(tree, folder.path());
        Self::in_folder(folder, |_| {})
    }

    fn in_folder(folder: tempfile::TempDir, prepare: impl FnOnce(&mut Command)) -> Self {
        // Not Python: another user may not be able to start it.
        let mut command = Command::new("sleep");
        command.arg("1000").current_dir(folder.path());
        prepare(&mut command);
        Self {
            process: Running::spawn(&mut command),
            folder,
        }
    }

    fn target(&self) -> String {
        self.process.target()
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }
}

fn kdbg(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kdbg"));
    command
        .args(arguments)
        .env_remove("NO_COLOR")
        .stdin(Stdio::null());
    command
}

fn diff(running: &Served, repository: &Path, reference: &str, more: &[&str]) -> Output {
    kdbg(&[
        "diff-src",
        &running.target(),
        "--repo",
        repository.to_str().unwrap(),
        "--ref",
        reference,
    ])
    .args(more)
    .output()
    .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Exit code, and standard error with what differs from run to run replaced.
fn complaint(output: &Output) -> (Option<i32>, String) {
    let mut stderr = text(&output.stderr);
    let temporary = std::env::temp_dir();
    while let Some(start) = stderr.find(temporary.to_str().unwrap()) {
        let end = stderr
            .get(start..)
            .unwrap()
            .find(['`', '\n', ' '])
            .map_or(stderr.len(), |length| start + length);
        stderr.replace_range(start..end, "[FOLDER]");
    }
    let lines: Vec<_> = stderr
        .lines()
        .filter(|line| {
            // Which process, and which commit: each has its own tests.
            !["note: looking at", "note: runs ", "note: nearest "]
                .iter()
                .any(|start| line.starts_with(start))
        })
        .collect();
    (output.status.code(), lines.join("\n"))
}

#[track_caller]
fn assert_same(ours: &[u8], gits: &[u8], what: &str) {
    if ours != gits {
        let (ours, gits) = (text(ours), text(gits));
        let line = ours
            .lines()
            .zip(gits.lines())
            .position(|(ours, gits)| ours != gits)
            .unwrap_or(0);
        panic!(
            "{what}: line {line}\nours: {:?}\ngits: {:?}",
            ours.lines().nth(line),
            gits.lines().nth(line)
        );
    }
}

/// A tree that a folder can hold: a submodule's commit is in another repository.
fn on_disk(mut tree: Tree) -> Tree {
    tree.retain(|_, blob| blob.mode != FileMode::Gitlink);
    tree
}

/// Compares what kdbg prints in every format with what git prints, and applies the patch.
fn compare(kind: HashKind, reference: &Tree, running: &Tree) {
    let repository = Repository::new(kind);
    let names = repository.import(&[reference, running]);
    let [old, new] = names.as_slice() else {
        panic!("two trees")
    };
    let process = Served::new(running);
    let root = process.path().to_str().unwrap();
    for options in [
        &["--full-index"][..],
        &["--full-index", "--unified=0"],
        &["--stat"],
        &["--shortstat"],
        &["--numstat"],
        &["--numstat", "-z"],
        &["--name-status"],
        &["--name-status", "-z"],
        &["--name-only"],
    ] {
        let output = diff(
            &process,
            repository.path(),
            old,
            &[&["--exact", "--root", root, "--path", "."], options].concat(),
        );
        assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
        let gits = repository.git(&[&["diff", "--no-renames"], options, &[old, new]].concat());
        assert_same(&output.stdout, &gits, &format!("{options:?}"));
    }
}

/// Has git apply the patch that kdbg prints, which must make the tree that runs.
fn apply(kind: HashKind, reference: &Tree, running: &Tree) {
    let repository = Repository::new(kind);
    let names = repository.import(&[reference, running]);
    let [old, new] = names.as_slice() else {
        panic!("two trees")
    };
    let process = Served::new(running);
    let root = process.path().to_str().unwrap();
    let options = ["--exact", "--binary", "--root", root, "--path", "."];
    let patch = diff(&process, repository.path(), old, &options).stdout;
    assert_eq!(&repository.apply(old, &patch), new);
}

#[test]
fn generated_trees_are_compared_as_git_compares_them() {
    for kind in [HashKind::Sha1, HashKind::Sha256] {
        let (reference, running) = joined(&generated(kind, CASES));
        let [mut reference, mut running] = [on_disk(reference), on_disk(running)];
        compare(kind, &reference, &running);
        for tree in [&mut reference, &mut running] {
            // `git apply` cannot read such a name from the first line of a patch, not even of git's own.
            tree.retain(|path, _| !path.windows(2).any(|bytes| bytes == b" /"));
        }
        apply(kind, &reference, &running);
    }
}

#[test]
fn releases_of_real_packages_are_compared_as_git_compares_them() {
    for (registry, name, old, new) in [
        (Registry::Npm, "express", "4.18.2", "4.19.2"),
        (Registry::Pip, "Flask", "2.2.5", "2.3.3"),
    ] {
        match (release(registry, name, old), release(registry, name, new)) {
            (Ok(old), Ok(new)) => {
                compare(HashKind::Sha1, &old, &new);
                compare(HashKind::Sha1, &new, &old);
                apply(HashKind::Sha1, &old, &new);
            }
            (Err(reason), _) | (_, Err(reason)) => eprintln!("skipped: {name}: {reason}"),
        }
    }
}

/// A small service and its repository, with a branch `main`.
struct Service {
    repository: tempfile::TempDir,
    running: tempfile::TempDir,
}

fn commit(folder: &Path, message: &str) {
    for arguments in [&["add", "--all"][..], &["commit", "-q", "-m", message]] {
        let mut command = git(folder, arguments);
        for role in ["AUTHOR", "COMMITTER"] {
            command
                .env(format!("GIT_{role}_NAME"), "x")
                .env(format!("GIT_{role}_EMAIL"), "x@example.invalid");
        }
        run(&mut command, b"", &[0]);
    }
}

impl Service {
    fn new() -> Self {
        let repository = tempfile::tempdir().unwrap();
        let running = tempfile::tempdir().unwrap();
        run(
            &mut git(repository.path(), &["init", "-q", "-b", "main"]),
            b"",
            &[0],
        );
        let shop = repository.path().join("services/shop");
        fs::create_dir_all(shop.join("lib")).unwrap();
        fs::write(repository.path().join("README"), "all services\n").unwrap();
        for name in ["app.py", "lib/a.py", "lib/b.py"] {
            fs::write(shop.join(name), format!("print('{name}')\n")).unwrap();
        }
        commit(repository.path(), "shop");
        fs::create_dir_all(running.path().join("lib")).unwrap();
        for name in ["app.py", "lib/a.py", "lib/b.py"] {
            fs::copy(shop.join(name), running.path().join(name)).unwrap();
        }
        Self {
            repository,
            running,
        }
    }

    fn start(self) -> (tempfile::TempDir, Served) {
        (self.repository, Served::in_folder(self.running, |_| {}))
    }
}

#[test]
fn the_same_code_is_no_difference() {
    let (repository, running) = Service::new().start();
    let output = diff(
        &running,
        repository.path(),
        "main",
        &["--path", "services/shop"],
    );
    assert_eq!(
        (output.status.code(), text(&output.stdout).as_str()),
        (Some(0), ""),
        "{}",
        text(&output.stderr)
    );
}

#[test]
fn the_folder_of_a_monorepo_is_found_by_the_files_that_are_equal() {
    let service = Service::new();
    fs::write(
        service.running.path().join("lib/b.py"),
        "print('patched')\n",
    )
    .unwrap();
    let (repository, running) = service.start();
    let output = diff(&running, repository.path(), "main", &["--name-status"]);
    assert_eq!(
        (output.status.code(), text(&output.stdout).as_str()),
        (Some(1), "M\tservices/shop/lib/b.py\n")
    );
    assert!(
        text(&output.stderr).contains("with `services/shop` of `main`"),
        "{}",
        text(&output.stderr)
    );
    assert!(
        text(&output.stderr).contains("(2 of 3 files are equal there)"),
        "{}",
        text(&output.stderr)
    );
}

#[test]
fn a_root_below_another_is_compared_once_and_in_its_own_place() {
    let service = Service::new();
    fs::write(
        service.running.path().join("lib/b.py"),
        "print('patched')\n",
    )
    .unwrap();
    let (repository, running) = service.start();
    let pins = [
        "--root",
        "lib",
        "--root",
        ".",
        "--path",
        "services/shop/lib",
        "--path",
        "services/shop",
    ];
    let output = diff(
        &running,
        repository.path(),
        "main",
        &[&pins[..], &["--name-status"]].concat(),
    );
    assert_eq!(
        text(&output.stdout),
        "M\tservices/shop/lib/b.py\n",
        "{}",
        text(&output.stderr)
    );
}

#[test]
fn ctrl_c_ends_a_command_whose_output_nobody_reads() {
    let service = Service::new();
    fs::write(
        service.running.path().join("large.txt"),
        "line\n".repeat(2_000_000),
    )
    .unwrap();
    let (repository, running) = service.start();
    let mut child = kdbg(&[
        "diff-src",
        &running.target(),
        "--repo",
        repository.path().to_str().unwrap(),
        "-q",
    ])
    .stdout(Stdio::piped())
    .stderr(Stdio::piped())
    .spawn()
    .unwrap();
    // Until the pipe is full.
    let blocked = || {
        fs::read_to_string(format!("/proc/{}/wchan", child.id()))
            .is_ok_and(|place| place.contains("pipe_write"))
    };
    for _ in 0..1000 {
        if blocked() {
            break;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    std::thread::sleep(Duration::from_millis(200));
    kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGINT).unwrap();
    let status = child.wait().unwrap();
    assert_eq!((status.code(), status.signal()), (Some(130), None));
}

#[test]
fn the_default_ref_and_repository_are_those_of_the_current_directory() {
    let service = Service::new();
    fs::write(service.running.path().join("new.py"), "").unwrap();
    let (repository, running) = service.start();
    let output = kdbg(&["diff-src", &running.target(), "--name-status"])
        .current_dir(repository.path().join("services"))
        .output()
        .unwrap();
    assert_eq!(
        (output.status.code(), text(&output.stdout).as_str()),
        (Some(1), "A\tservices/shop/new.py\n")
    );
    assert!(
        text(&output.stderr).starts_with("note: the ref is `main`, "),
        "{}",
        text(&output.stderr)
    );
}

#[test]
fn a_git_folder_in_the_running_tree_is_left_out() {
    let (repository, running) = Service::new().start();
    run(&mut git(running.path(), &["init", "-q"]), b"", &[0]);
    let output = diff(&running, repository.path(), "main", &[]);
    assert_eq!(
        (output.status.code(), text(&output.stdout).as_str()),
        (Some(0), ""),
        "{}",
        text(&output.stderr)
    );
}

#[test]
fn pipes_and_sockets_are_counted_and_never_opened() {
    let service = Service::new();
    nix::unistd::mkfifo(
        &service.running.path().join("pipe"),
        nix::sys::stat::Mode::S_IRWXU,
    )
    .unwrap();
    let (repository, running) = service.start();
    let output = diff(&running, repository.path(), "main", &[]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    assert!(
        text(&output.stderr).contains("1 pipes, sockets or devices were left out"),
        "{}",
        text(&output.stderr)
    );
}

#[test]
fn a_symbolic_link_out_of_the_tree_is_compared_as_a_link_and_not_followed() {
    let service = Service::new();
    symlink("/etc/passwd", service.running.path().join("link")).unwrap();
    let (repository, running) = service.start();
    let output = diff(&running, repository.path(), "main", &[]);
    let patch = text(&output.stdout);
    assert!(patch.contains("new file mode 120000"), "{patch}");
    assert!(
        patch.ends_with("+/etc/passwd\n\\ No newline at end of file\n"),
        "{patch}"
    );
}

#[test]
fn json_says_all_that_the_text_says() {
    let service = Service::new();
    fs::write(
        service.running.path().join("lib/b.py"),
        "print('patched')\nmore\n",
    )
    .unwrap();
    let (repository, running) = service.start();
    let output = diff(&running, repository.path(), "main", &["-o", "json"]);
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["schema"], 2);
    assert_eq!(report["complete"], true);
    assert_eq!(report["equal"], 2);
    assert_eq!(report["reference"]["spec"], "main");
    assert_eq!(report["mappings"][0]["repository"], "services/shop");
    let file = &report["files"][0];
    assert_eq!(
        (&file["status"], &file["path"]),
        (&"M".into(), &"services/shop/lib/b.py".into())
    );
    assert_eq!(
        (&file["added"], &file["deleted"], &file["binary"]),
        (&2.into(), &1.into(), &false.into())
    );
    assert_eq!(
        file["running_path"],
        running.path().join("lib/b.py").to_str().unwrap()
    );
}

#[test]
fn mistakes_on_the_command_line_are_told_with_what_to_do() {
    let (repository, running) = Service::new().start();
    let path = repository.path();
    let empty = tempfile::tempdir().unwrap();
    run(&mut git(empty.path(), &["init", "-q"]), b"", &[0]);
    let nothing = tempfile::tempdir().unwrap();

    let (code, stderr) = complaint(&diff(&running, path, "mian", &[]));
    assert_eq!(code, Some(2));
    assert!(stderr.contains("hint: did you mean `main`"), "{stderr}");

    let (code, stderr) = complaint(&diff(&running, nothing.path(), "main", &[]));
    assert_eq!(code, Some(2));
    assert!(
        stderr.starts_with("error: ") && stderr.contains("hint: `--repo` takes"),
        "{stderr}"
    );

    let (code, stderr) = complaint(&diff(&running, empty.path(), "main", &[]));
    assert_eq!(code, Some(2), "{stderr}");
    assert!(stderr.contains("no commit"), "{stderr}");

    let (code, stderr) = complaint(&diff(&running, path, "main", &["--path", "services/shp"]));
    assert_eq!(code, Some(2));
    assert!(stderr.contains("services/shop"), "{stderr}");

    let (code, stderr) = complaint(&diff(&running, path, "main", &["--path", "../x"]));
    assert_eq!(code, Some(2));
    assert!(
        stderr.contains("does not name a folder of the repository"),
        "{stderr}"
    );

    let (code, stderr) = complaint(&diff(
        &running,
        path,
        "main",
        &["--root", "/a", "--root", "/b", "--path", "."],
    ));
    assert_eq!(code, Some(2));
    assert!(
        stderr.contains("2 `--root` and 1 `--path` cannot be paired"),
        "{stderr}"
    );

    let (code, stderr) = complaint(&diff(&running, path, "main", &["--root", "app.py"]));
    assert_eq!(code, Some(2));
    assert!(stderr.contains("is a file, not a folder"), "{stderr}");

    let twice = [
        "--root",
        "lib",
        "--root",
        "lib",
        "--path",
        "services/shop/lib",
        "--path",
        "services/shop/lib",
    ];
    let (code, stderr) = complaint(&diff(&running, path, "main", &twice));
    assert_eq!(code, Some(2));
    assert!(
        stderr.contains("`--path services/shop/lib` is given twice"),
        "{stderr}"
    );

    let (code, stderr) = complaint(&diff(
        &running,
        path,
        "main",
        &["--root", "/no/such/folder"],
    ));
    assert_eq!(code, Some(4));
    assert!(
        stderr.contains("`/no/such/folder`: no such file or folder"),
        "{stderr}"
    );
}

#[test]
fn a_target_that_is_not_there_is_told() {
    let (repository, _running) = Service::new().start();
    let target = |target: &str| {
        let repository = repository.path().to_str().unwrap();
        complaint(
            &kdbg(&["diff-src", target, "--repo", repository])
                .output()
                .unwrap(),
        )
    };
    let (code, stderr) = target("pid/2147483646");
    assert_eq!(code, Some(4));
    assert!(
        stderr.contains("there is no process 2147483646"),
        "{stderr}"
    );
    let (code, stderr) = target("pid/no-such-name");
    assert_eq!(code, Some(4));
    assert!(
        stderr.contains("no process is named `no-such-name`"),
        "{stderr}"
    );
    let (code, stderr) = target("node/x");
    assert_eq!(code, Some(2));
    assert!(
        stderr.contains("`node/` is not a kind of target"),
        "{stderr}"
    );
}

#[test]
fn several_processes_of_one_name_are_listed() {
    let folder = tempfile::tempdir().unwrap();
    let name = "kdbg-twin";
    fs::copy("/bin/sleep", folder.path().join(name)).unwrap();
    let start = || {
        Command::new(folder.path().join(name))
            .arg("1000")
            .spawn()
            .unwrap()
    };
    let mut twins = [start(), start()];
    let output = kdbg(&["ps", &format!("pid/{name}")]).output().unwrap();
    for twin in &mut twins {
        assert!(
            text(&output.stderr).contains(&format!("hint: choose `pid/{}`", twin.id())),
            "{}",
            text(&output.stderr)
        );
        twin.kill().unwrap();
        twin.wait().unwrap();
    }
    assert_eq!(output.status.code(), Some(2));
}

/// A folder that takes a while to walk.
fn large_folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let content = vec![b'x'; 64 * 1024];
    for number in 0..3000 {
        fs::write(folder.path().join(format!("file{number}")), &content).unwrap();
    }
    folder
}

#[test]
fn a_target_that_ends_half_way_is_no_difference() {
    let (repository, _) = Service::new().start();
    let mut running = Served::in_folder(large_folder(), |_| {});
    let child = kdbg(&[
        "diff-src",
        &running.target(),
        "--repo",
        repository.path().to_str().unwrap(),
        "--path",
        ".",
    ])
    .stdout(Stdio::piped())
    .stderr(Stdio::piped())
    .spawn()
    .unwrap();
    std::thread::sleep(Duration::from_millis(30));
    running.process.kill();
    let output = child.wait_with_output().unwrap();
    assert_eq!(
        (output.status.code(), text(&output.stdout).as_str()),
        (Some(4), ""),
        "{}",
        text(&output.stderr)
    );
    let stderr = text(&output.stderr);
    assert!(
        stderr.contains("has ended") || stderr.contains("there is no process"),
        "{stderr}"
    );
}

#[test]
fn ctrl_c_ends_with_130_and_leaves_no_agent() {
    let (repository, _) = Service::new().start();
    let running = Served::in_folder(large_folder(), |_| {});
    let mut child = kdbg(&[
        "diff-src",
        &running.target(),
        "--repo",
        repository.path().to_str().unwrap(),
        "--path",
        ".",
    ])
    .stdout(Stdio::null())
    .stderr(Stdio::null())
    .spawn()
    .unwrap();
    let agents = || children_of(child.id());
    let mut started = agents();
    while started.is_empty() {
        started = agents();
    }
    // The handler stands before the agent is started; a moment more for a slow machine.
    std::thread::sleep(Duration::from_millis(20));
    kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGINT).unwrap();
    let status = child.wait().unwrap();
    assert_eq!((status.code(), status.signal()), (Some(130), None));
    for agent in started {
        let mut waited = 0;
        while Path::new(&format!("/proc/{agent}/exe")).exists() {
            std::thread::sleep(Duration::from_millis(10));
            waited += 10;
            assert!(waited < 3000, "agent {agent} is still there");
        }
    }
}

fn children_of(pid: u32) -> Vec<u32> {
    let mut children = Vec::new();
    for task in fs::read_dir(format!("/proc/{pid}/task"))
        .into_iter()
        .flatten()
        .flatten()
    {
        let list = fs::read_to_string(task.path().join("children")).unwrap_or_default();
        children.extend(
            list.split_whitespace()
                .filter_map(|number| number.parse::<u32>().ok()),
        );
    }
    children
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error_and_a_full_disk_is_one() {
    let service = Service::new();
    fs::write(
        service.running.path().join("large.txt"),
        "line\n".repeat(100_000),
    )
    .unwrap();
    let (repository, running) = service.start();
    let repository = repository.path().to_str().unwrap();
    let mut child = kdbg(&["diff-src", &running.target(), "--repo", repository, "-q"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(
        (output.status.code(), text(&output.stderr).as_str()),
        (Some(0), "")
    );
    let full = File::create("/dev/full").unwrap();
    let output = kdbg(&["diff-src", &running.target(), "--repo", repository, "-q"])
        .stdout(full)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(5));
    assert_eq!(
        text(&output.stderr),
        "error: cannot write the output: No space left on device (os error 28)\n"
    );
}

/// Runs a command as an ordinary user; `None`, with its reason, when we are one ourselves.
fn as_nobody(command: &mut Command) -> Option<&mut Command> {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: running as another user needs root");
        return None;
    }
    Some(command.uid(65534).gid(65534).env("HOME", "/nonexistent"))
}

#[test]
fn a_file_that_may_not_be_read_is_neither_deleted_nor_equal() {
    let service = Service::new();
    for path in [service.running.path(), service.repository.path()] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    fs::set_permissions(
        service.running.path().join("lib/b.py"),
        fs::Permissions::from_mode(0o600),
    )
    .unwrap();
    fs::set_permissions(
        service.running.path().join("lib"),
        fs::Permissions::from_mode(0o755),
    )
    .unwrap();
    let repository = service.repository;
    if as_nobody(&mut Command::new("true")).is_none() {
        return;
    }
    let running = Served::in_folder(service.running, |command| {
        as_nobody(command);
    });
    let mut command = kdbg(&[
        "diff-src",
        &running.target(),
        "--repo",
        repository.path().to_str().unwrap(),
        "--ref",
        "main",
    ]);
    let output = as_nobody(&mut command).unwrap().output().unwrap();
    let (code, stderr) = complaint(&output);
    assert_eq!(
        (code, text(&output.stdout).as_str()),
        (Some(3), ""),
        "{stderr}"
    );
    assert!(
        stderr.contains("warning: ")
            && stderr.contains("lib/b.py")
            && stderr.contains("permission"),
        "{stderr}"
    );
}

#[test]
fn a_folder_that_may_not_be_listed_hides_its_files_and_deletes_none() {
    if as_nobody(&mut Command::new("true")).is_none() {
        return;
    }
    let service = Service::new();
    fs::set_permissions(service.repository.path(), fs::Permissions::from_mode(0o755)).unwrap();
    // The process may enter its folder, not list it.
    fs::set_permissions(service.running.path(), fs::Permissions::from_mode(0o711)).unwrap();
    let repository = service.repository;
    let running = Served::in_folder(service.running, |command| {
        as_nobody(command);
    });
    let mut command = kdbg(&[
        "diff-src",
        &running.target(),
        "--repo",
        repository.path().to_str().unwrap(),
        "--ref",
        "main",
        "--path",
        "services/shop",
    ]);
    let (code, stderr) = complaint(&as_nobody(&mut command).unwrap().output().unwrap());
    assert_eq!(code, Some(3), "{stderr}");
    assert!(stderr.contains("permission bits"), "{stderr}");
}

#[test]
fn another_users_process_is_refused_with_the_kernels_reason() {
    let (repository, running) = Service::new().start();
    fs::set_permissions(repository.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = kdbg(&[
        "diff-src",
        &running.target(),
        "--repo",
        repository.path().to_str().unwrap(),
        "--ref",
        "main",
    ]);
    let Some(command) = as_nobody(&mut command) else {
        return;
    };
    let (code, stderr) = complaint(&command.output().unwrap());
    assert_eq!(code, Some(4), "{stderr}");
    assert!(
        stderr.contains("uid: we are 65534, the process is 0"),
        "{stderr}"
    );
    assert!(stderr.contains("hint: run kdbg as root"), "{stderr}");
}

#[test]
fn a_partial_clone_names_what_it_lacks_and_fetches_nothing() {
    let service = Service::new();
    fs::write(
        service.running.path().join("lib/b.py"),
        "print('patched')\n",
    )
    .unwrap();
    let (repository, running) = service.start();
    run(
        &mut git(
            repository.path(),
            &["config", "uploadpack.allowFilter", "true"],
        ),
        b"",
        &[0],
    );
    let clone: PathBuf = running.path().with_extension("clone");
    let url = format!("file://{}", repository.path().display());
    run(
        &mut git(
            repository.path(),
            &[
                "clone",
                "-q",
                "--bare",
                "--filter=blob:none",
                &url,
                clone.to_str().unwrap(),
            ],
        ),
        b"",
        &[0],
    );
    let names = diff(&running, &clone, "main", &["--name-status"]);
    let patch = diff(&running, &clone, "main", &[]);
    fs::remove_dir_all(&clone).unwrap();
    // Names are in the trees, which a partial clone has.
    assert_eq!(
        (names.status.code(), text(&names.stdout).as_str()),
        (Some(1), "M\tservices/shop/lib/b.py\n")
    );
    let (code, stderr) = complaint(&patch);
    assert_eq!((code, text(&patch.stdout).as_str()), (Some(1), ""));
    assert!(
        stderr.contains("differs but cannot be shown") && stderr.contains("partial clone"),
        "{stderr}"
    );
}

#[test]
fn a_url_is_cloned_into_the_cache_once_and_updated_after() {
    let service = Service::new();
    fs::write(
        service.running.path().join("lib/b.py"),
        "print('patched')\n",
    )
    .unwrap();
    let cache = tempfile::tempdir().unwrap();
    let (repository, running) = service.start();
    let url = format!("file://{}", repository.path().display());
    let compare = || {
        let output = kdbg(&[
            "diff-src",
            &running.target(),
            "--repo",
            &url,
            "--name-status",
        ])
        .env("XDG_CACHE_HOME", cache.path())
        .output()
        .unwrap();
        (
            output.status.code(),
            text(&output.stdout),
            text(&output.stderr),
        )
    };
    let (code, stdout, stderr) = compare();
    assert_eq!(
        (code, stdout.as_str()),
        (Some(1), "M\tservices/shop/lib/b.py\n"),
        "{stderr}"
    );
    fs::write(
        repository.path().join("services/shop/lib/b.py"),
        "print('patched')\n",
    )
    .unwrap();
    commit(repository.path(), "the patch");
    let (code, stdout, stderr) = compare();
    assert_eq!((code, stdout.as_str()), (Some(0), ""), "{stderr}");
}

#[test]
fn a_hostile_repository_runs_nothing() {
    let service = Service::new();
    let marker = service.repository.path().join("ran");
    let command = format!("touch {}", marker.display());
    for key in [
        "core.fsmonitor",
        "core.sshCommand",
        "core.pager",
        "diff.external",
        "filter.x.smudge",
        "filter.x.clean",
        "diff.x.textconv",
    ] {
        run(
            &mut git(service.repository.path(), &["config", key, &command]),
            b"",
            &[0],
        );
    }
    fs::write(
        service.repository.path().join(".git/info/attributes"),
        "* filter=x diff=x\n",
    )
    .unwrap();
    fs::write(service.running.path().join("app.py"), "changed\n").unwrap();
    let (repository, running) = service.start();
    fs::remove_file(&marker).ok();
    let output = diff(&running, repository.path(), "main", &[]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stderr));
    assert!(!marker.exists());
}

#[test]
fn a_server_in_namespaces_of_its_own_is_compared_from_its_own_root() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: making namespaces needs root");
        return;
    }
    let service = Service::new();
    let root = tempfile::tempdir().unwrap();
    fs::create_dir_all(root.path().join("app/lib")).unwrap();
    for name in ["app.py", "lib/a.py"] {
        fs::copy(
            service.running.path().join(name),
            root.path().join("app").join(name),
        )
        .unwrap();
    }
    // An absolute link, which is followed in the target's root and not in ours.
    symlink("/app", root.path().join("current")).unwrap();
    let busybox = ["/bin/busybox", "/usr/bin/busybox"]
        .into_iter()
        .find(|path| Path::new(path).exists());
    let Some(busybox) = busybox else {
        eprintln!("skipped: no busybox here to run alone in a root");
        return;
    };
    fs::create_dir(root.path().join("bin")).unwrap();
    fs::copy(busybox, root.path().join("bin/sleep")).unwrap();
    let mut outer = Command::new("unshare")
        .args([
            "--mount",
            "--pid",
            "--fork",
            "--kill-child",
            "--user",
            "--map-root-user",
            "chroot",
            root.path().to_str().unwrap(),
            "/bin/sleep",
            "1000",
        ])
        .spawn()
        .unwrap();
    let inner = loop {
        let children = children_of(outer.id());
        if let [child] = children.as_slice()
            && fs::read_to_string(format!("/proc/{child}/comm")).is_ok_and(|name| name == "sleep\n")
        {
            break *child;
        }
        std::thread::sleep(Duration::from_millis(10));
    };
    let output = kdbg(&[
        "diff-src",
        &format!("pid/{inner}"),
        "--repo",
        service.repository.path().to_str().unwrap(),
        "--ref",
        "main",
    ])
    .args([
        "--root",
        "/current",
        "--path",
        "services/shop",
        "--name-status",
    ])
    .output()
    .unwrap();
    let processes = kdbg(&["ps", &format!("pid/{inner}"), "-o", "json"])
        .output()
        .unwrap();
    outer.kill().unwrap();
    outer.wait().unwrap();
    let processes: serde_json::Value = serde_json::from_slice(&processes.stdout).unwrap();
    assert_eq!(processes["processes"][0]["folder"], "/");
    assert_eq!(processes["processes"][0]["executable"], "/bin/sleep");
    assert_eq!(processes["processes"][0]["inner_pid"], 1);
    assert_eq!(
        (output.status.code(), text(&output.stdout).as_str()),
        (Some(1), "D\tservices/shop/lib/b.py\n"),
        "{}",
        text(&output.stderr)
    );
    assert!(
        text(&output.stderr).contains("comparing `/app`, as asked for"),
        "{}",
        text(&output.stderr)
    );
}
