//! How `diff-src` finds its way, what it takes for noise and what it finds: real processes, real files.

use std::{
    fs::{self, File},
    os::unix::fs::symlink,
    path::Path,
    process::Command,
    time::{Duration, SystemTime},
};

use crate::support::{
    git::{git, run},
    running::{Running, assert_code, idle, is_root, kdbg, python, said},
};

/// A repository with one commit of these files.
fn repository(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    run(
        &mut git(folder.path(), &["init", "-q", "-b", "main"]),
        b"",
        &[0],
    );
    write(folder.path(), files);
    for arguments in [&["add", "--all"][..], &["commit", "-q", "-m", "all"]] {
        let mut command = git(folder.path(), arguments);
        for role in ["AUTHOR", "COMMITTER"] {
            command
                .env(format!("GIT_{role}_NAME"), "x")
                .env(format!("GIT_{role}_EMAIL"), "x@example.invalid");
        }
        run(&mut command, b"", &[0]);
    }
    folder
}

fn write(folder: &Path, files: &[(&str, &str)]) {
    for (path, content) in files {
        let path = folder.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
}

/// Lines that no other file has.
fn code(name: &str) -> String {
    let lines: Vec<String> = (0..10).map(|line| format!("{name} {line}\n")).collect();
    lines.concat()
}

/// Standard output and standard error of `diff-src` with these options.
fn diff(process: &Running, repository: &Path, options: &[&str]) -> std::process::Output {
    let mut arguments = vec!["diff-src".to_owned(), process.target(), "--repo".to_owned()];
    arguments.push(repository.to_str().unwrap().to_owned());
    arguments.extend(options.iter().map(|option| (*option).to_owned()));
    kdbg(arguments)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Lets the start of a process lie so far back that what happens now happens later.
fn let_time_pass() {
    std::thread::sleep(Duration::from_millis(1200));
}

#[test]
fn noise_is_counted_and_listed_and_is_no_difference() {
    let files = [("app.py", code("app")), ("lib/a.py", code("a"))];
    let files: Vec<(&str, &str)> = files
        .iter()
        .map(|(path, text)| (*path, text.as_str()))
        .collect();
    let repository = repository(
        &[
            &files[..],
            &[("tests/test_a.py", "x\n"), (".gitignore", "*.tmp\n")],
        ]
        .concat(),
    );
    let running = tempfile::tempdir().unwrap();
    write(running.path(), &files);
    write(
        running.path(),
        &[
            ("lib/__pycache__/a.pyc", "x"),
            ("x.tmp", "x"),
            ("node_modules/y/index.js", "y\n"),
        ],
    );
    let process = Running::in_folder(running.path());
    let output = diff(&process, repository.path(), &[]);
    assert_code(&output, 0);
    assert_eq!(text(&output.stdout), "");
    assert!(
        said(&output).contains(
            "note: 0 real differences; noise: 1 generated, 1 dependency, 1 ignored, 2 left-out (`--noise` lists it)"
        ),
        "{}",
        said(&output)
    );
    let listed = diff(&process, repository.path(), &["--noise"]);
    assert_eq!(
        text(&listed.stdout),
        "generated\tA\tlib/__pycache__/a.pyc\tin `__pycache__`\n\
         dependency\tA\tnode_modules/y/index.js\tin `node_modules`\n\
         ignored\tA\tx.tmp\t`*.tmp` in `.gitignore`\n\
         left-out\tD\t.gitignore\tfor the build or the repository\n\
         left-out\tD\ttests/test_a.py\ttests, and nothing of `tests` is there\n"
    );
    let one = diff(&process, repository.path(), &["--noise=ignored"]);
    assert_eq!(text(&one.stdout).lines().count(), 1);
    let none = diff(&process, repository.path(), &["--noise=nonsense"]);
    assert_code(&none, 2);
    let exact = diff(&process, repository.path(), &["--exact", "--name-only"]);
    assert_eq!(text(&exact.stdout).lines().count(), 5);
}

#[test]
fn code_that_was_changed_below_a_running_process_is_a_finding_even_when_it_is_right_now() {
    let repository = repository(&[
        ("app.py", &code("app")),
        ("b.py", &code("b")),
        ("c.py", &code("c")),
    ]);
    let running = tempfile::tempdir().unwrap();
    write(
        running.path(),
        &[
            ("app.py", "old\n"),
            ("b.py", &code("b")),
            ("c.py", &code("c")),
        ],
    );
    let process = Running::in_folder(running.path());
    let_time_pass();
    write(running.path(), &[("app.py", &code("app"))]);
    let output = diff(&process, repository.path(), &["--name-status"]);
    assert_code(&output, 1);
    assert_eq!(text(&output.stdout), "");
    let path = running.path().join("app.py");
    assert!(
        said(&output).contains(&format!("warning: `{}` was changed", path.display()))
            && said(&output).contains("it is the same as the ref now"),
        "{}",
        said(&output)
    );
    fs::remove_file(running.path().join("c.py")).unwrap();
    let output = diff(&process, repository.path(), &["--name-status"]);
    assert_eq!(text(&output.stdout), "D\tc.py\n");
    assert!(
        said(&output).contains("its folder was changed"),
        "{}",
        said(&output)
    );
}

#[test]
fn a_time_that_was_set_back_hides_no_change() {
    let repository = repository(&[("app.py", &code("app")), ("b.py", &code("b"))]);
    let running = tempfile::tempdir().unwrap();
    write(
        running.path(),
        &[("app.py", &code("app")), ("b.py", &code("b"))],
    );
    let process = Running::in_folder(running.path());
    let_time_pass();
    let path = running.path().join("b.py");
    fs::write(&path, code("b")).unwrap();
    let long_ago = SystemTime::now() - Duration::from_hours(48);
    File::options()
        .write(true)
        .open(&path)
        .unwrap()
        .set_modified(long_ago)
        .unwrap();
    let output = diff(&process, repository.path(), &["-o", "json"]);
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        report["findings"][0]["kind"], "changed-after-start",
        "{report:#}"
    );
}

#[test]
fn code_that_is_still_mapped_after_it_was_replaced_is_a_finding() {
    let repository = repository(&[("app.py", &code("app")), ("fast.so", &code("so"))]);
    let running = tempfile::tempdir().unwrap();
    write(
        running.path(),
        &[("app.py", &code("app")), ("fast.so", &code("so"))],
    );
    let mut command = Command::new(python());
    command.current_dir(running.path()).args([
        "-S",
        "-c",
        "import mmap,sys; f = open('fast.so'); m = mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ); f.close(); \
         print('ready', flush=True); sys.stdin.read()",
    ]);
    let process = Running::start(&mut command);
    let path = running.path().join("fast.so");
    fs::remove_file(&path).unwrap();
    fs::write(&path, code("so")).unwrap();
    let output = diff(&process, repository.path(), &["--name-status"]);
    assert_code(&output, 1);
    let wanted = format!(
        "`{}` was deleted or replaced, and the process still runs the old one",
        path.display()
    );
    assert!(said(&output).contains(&wanted), "{}", said(&output));
}

#[test]
fn a_file_that_was_renamed_and_changed_is_shown_as_git_shows_it() {
    let repository = repository(&[
        ("app.py", &code("app")),
        ("lib/old.py", &code("x")),
        ("lib/b.py", &code("b")),
    ]);
    let running = tempfile::tempdir().unwrap();
    let changed = code("x").replace("x 3\n", "another\n");
    write(
        running.path(),
        &[
            ("app.py", &code("app")),
            ("lib/new.py", &changed),
            ("lib/b.py", &code("b")),
        ],
    );
    let process = Running::in_folder(running.path());
    let ours = |options: &[&str]| text(&diff(&process, repository.path(), options).stdout);
    // git's own words, of a work tree that has the same change.
    fs::rename(
        repository.path().join("lib/old.py"),
        repository.path().join("lib/new.py"),
    )
    .unwrap();
    fs::write(repository.path().join("lib/new.py"), &changed).unwrap();
    run(&mut git(repository.path(), &["add", "--all"]), b"", &[0]);
    for options in [
        &["--name-status"][..],
        &["--name-status", "-z"],
        &["--name-only"],
        &["--numstat"],
        &["--numstat", "-z"],
        &["--stat"],
        &["--full-index"],
    ] {
        let arguments = [&["diff", "--cached", "-M"], options, &["HEAD"]].concat();
        let gits = text(&run(&mut git(repository.path(), &arguments), b"", &[0]));
        assert_eq!(ours(options), gits, "{options:?}");
    }
}

#[test]
fn each_copy_of_an_image_is_found_and_a_map_overrides_it() {
    let repository = repository(&[
        ("src/app.py", &code("app")),
        ("src/b.py", &code("b")),
        ("web/site.css", &code("css")),
        ("tests/unit/test_app.py", &code("test")),
        ("other/app.py", &code("other")),
    ]);
    let running = tempfile::tempdir().unwrap();
    write(
        running.path(),
        &[
            ("app.py", &code("app")),
            ("b.py", "patched\n"),
            ("static/site.css", &code("css")),
            ("test_app.py", &code("test")),
        ],
    );
    let process = Running::in_folder(running.path());
    let output = diff(&process, repository.path(), &["--name-status"]);
    assert_eq!(text(&output.stdout), "M\tsrc/b.py\n", "{}", said(&output));
    for wanted in ["with `src` of", "with `tests/unit` of", "with `web` of"] {
        assert!(said(&output).contains(wanted), "{}", said(&output));
    }
    let map = format!("{}=other", running.path().display());
    let output = diff(
        &process,
        repository.path(),
        &["--name-status", "--map", &map],
    );
    assert!(
        text(&output.stdout).contains("M\tother/app.py\n"),
        "{}",
        text(&output.stdout)
    );
    assert_code(&diff(&process, repository.path(), &["--map", "x"]), 2);
    assert_code(
        &diff(&process, repository.path(), &["--map", "/x=no/such"]),
        2,
    );
}

#[test]
fn a_process_that_works_in_slash_is_found_by_its_script_and_its_search_path() {
    let repository = repository(&[
        ("shop/run.py", &code("#")),
        ("common/x.py", &code("x")),
        ("common/y.py", &code("y")),
    ]);
    let running = tempfile::tempdir().unwrap();
    let script = "print('ready', flush=True); import sys; sys.stdin.read()\n";
    write(
        running.path(),
        &[
            ("opt/shop/run.py", script),
            ("srv/common/x.py", &code("x")),
            ("srv/common/y.py", "patched\n"),
        ],
    );
    let mut command = Command::new(python());
    command
        .arg(running.path().join("opt/shop/run.py"))
        .current_dir("/")
        .env("PYTHONPATH", running.path().join("srv/common"));
    let process = Running::start(&mut command);
    let output = diff(&process, repository.path(), &["-o", "json"]);
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let because: Vec<_> = report["roots"]
        .as_array()
        .unwrap()
        .iter()
        .map(|root| root["because"].as_str().unwrap().to_owned())
        .collect();
    assert!(because[0].starts_with("the folder of `"), "{because:?}");
    assert_eq!(because[1], "named by `PYTHONPATH`");
    assert_eq!(report["files"][0]["path"], "common/y.py", "{report:#}");
}

#[test]
fn what_is_mounted_over_the_code_is_named_and_is_no_difference() {
    if !is_root("mounts a folder over another") {
        return;
    }
    let repository = repository(&[
        ("app.py", &code("app")),
        ("b.py", &code("b")),
        ("config/x.ini", "a=1\n"),
    ]);
    let running = tempfile::tempdir().unwrap();
    let volume = tempfile::tempdir().unwrap();
    write(
        running.path(),
        &[
            ("app.py", &code("app")),
            ("b.py", &code("b")),
            ("config/x.ini", "a=1\n"),
        ],
    );
    // As the kubelet fills a volume.
    write(volume.path(), &[("..2026/x.ini", "a=2\n")]);
    symlink("..2026", volume.path().join("..data")).unwrap();
    symlink("..data/x.ini", volume.path().join("x.ini")).unwrap();
    let mount = format!(
        "mount --bind {} {}/config && cd {} && exec {} -S -c \"print('ready', flush=True); import sys; sys.stdin.read()\"",
        volume.path().display(),
        running.path().display(),
        running.path().display(),
        python()
    );
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", &mount]);
    let process = Running::start(&mut command);
    let output = diff(&process, repository.path(), &["--noise=mounted"]);
    assert_code(&output, 0);
    let rows = text(&output.stdout);
    assert!(rows.contains("mounted\tT\tconfig/x.ini\t"), "{rows}");
    assert!(rows.contains("mounted\tA\tconfig/..data\t"), "{rows}");
}

#[test]
fn an_installed_package_of_another_version_than_the_lock_file_says_is_a_finding() {
    let repository = repository(&[
        ("app.py", &code("app")),
        ("requirements.txt", "Flask==2.2.5\n"),
    ]);
    let running = tempfile::tempdir().unwrap();
    write(
        running.path(),
        &[
            ("app.py", &code("app")),
            (
                "venv/lib/python3.11/site-packages/Flask-2.2.4.dist-info/METADATA",
                "x\n",
            ),
        ],
    );
    let process = Running::in_folder(running.path());
    let output = diff(&process, repository.path(), &["--name-only"]);
    assert_code(&output, 1);
    assert!(
        said(&output).contains("`flask` 2.2.4 is installed, and `requirements.txt` says 2.2.5"),
        "{}",
        said(&output)
    );
}

#[test]
fn a_dependency_that_is_edited_below_a_running_process_is_a_finding() {
    let repository = repository(&[("app.py", &code("app"))]);
    let running = tempfile::tempdir().unwrap();
    let package = [
        ("node_modules/qs/index.js", "x\n"),
        ("node_modules/.cache/y.js", "y\n"),
    ];
    write(running.path(), &[("app.py", &code("app"))]);
    write(running.path(), &package);
    let process = Running::in_folder(running.path());
    assert_code(&diff(&process, repository.path(), &[]), 0);
    let_time_pass();
    write(running.path(), &package);
    let output = diff(&process, repository.path(), &["-o", "json"]);
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let found: Vec<_> = report["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|finding| finding["running_path"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(
        found,
        [running
            .path()
            .join("node_modules/qs/index.js")
            .to_str()
            .unwrap()],
        "{report:#}"
    );
}

#[test]
fn a_compiled_program_has_a_revision_and_no_lines() {
    let repository = repository(&[
        ("main.go", &code("main")),
        ("util.go", &code("util")),
        ("templates/a.html", &code("a")),
        ("templates/b.html", &code("b")),
    ]);
    let running = tempfile::tempdir().unwrap();
    write(
        running.path(),
        &[
            ("templates/a.html", &code("a")),
            ("templates/b.html", "patched\n"),
        ],
    );
    fs::copy("/bin/sleep", running.path().join("server")).unwrap();
    let mut command = Command::new(running.path().join("server"));
    let process = Running::spawn(command.arg("1000").current_dir(running.path()));
    let output = diff(&process, repository.path(), &["--name-status"]);
    assert_eq!(
        text(&output.stdout),
        "M\ttemplates/b.html\n",
        "{}",
        said(&output)
    );
    assert!(
        said(&output).contains("revision only for"),
        "{}",
        said(&output)
    );
    fs::remove_dir_all(running.path().join("templates")).unwrap();
    let output = diff(&process, repository.path(), &["--name-status"]);
    assert_code(&output, 3);
}

#[test]
fn an_archive_of_classes_is_looked_into() {
    let repository = repository(&[
        ("src/main/java/com/acme/Main.java", &code("main")),
        ("src/main/java/com/acme/New.java", &code("new")),
        ("src/main/resources/templates/a.html", &code("a")),
        ("src/main/resources/templates/b.html", &code("b")),
        ("src/main/resources/application.yml", &code("yml")),
        ("pom.xml", "<project/>\n"),
    ]);
    let running = tempfile::tempdir().unwrap();
    let built = tempfile::tempdir().unwrap();
    write(
        built.path(),
        &[
            ("BOOT-INF/classes/com/acme/Main.class", "class"),
            ("BOOT-INF/classes/templates/a.html", &code("a")),
            ("BOOT-INF/classes/templates/b.html", &code("b")),
            ("BOOT-INF/classes/application.yml", "patched: true\n"),
            ("BOOT-INF/lib/other.jar", "jar"),
            ("META-INF/MANIFEST.MF", "Manifest-Version: 1.0\n"),
        ],
    );
    let zipped = "import shutil, sys; shutil.make_archive(sys.argv[1], 'zip', sys.argv[2])";
    let archive = running.path().join("shop");
    let made = Command::new(python())
        .args(["-c", zipped])
        .args([&archive, built.path()])
        .status()
        .unwrap();
    assert!(made.success());
    fs::rename(
        archive.with_extension("zip"),
        running.path().join("shop.jar"),
    )
    .unwrap();
    let mut command = idle();
    let process = Running::start(
        command
            .current_dir(running.path())
            .args(["-jar", "shop.jar"]),
    );
    let output = diff(&process, repository.path(), &["--name-status"]);
    assert_eq!(
        text(&output.stdout),
        "M\tsrc/main/resources/application.yml\n",
        "{}",
        said(&output)
    );
    assert!(
        said(&output).contains("no class runs of `src/main/java/com/acme/New.java`"),
        "{}",
        said(&output)
    );
}

/// A repository with every attribute that changes what a checkout or an archive has.
fn attributed() -> tempfile::TempDir {
    let attributes = "crlf.txt text eol=crlf\nident.py ident\nversion.txt export-subst\n\
        private export-ignore\nwords.txt text working-tree-encoding=UTF-16LE\nmodel.bin filter=lfs -text\n";
    let pointer = format!(
        "version https://git-lfs.github.com/spec/v1\noid sha256:{OBJECT_DIGEST}\nsize {}\n",
        OBJECT.len()
    );
    let (crlf, app, lib) = (code("crlf"), code("app"), code("lib"));
    let ident = format!("# $Id$\n{}", code("ident"));
    let version = format!("commit = '$Format:%H$'\n{}", code("version"));
    let folder = repository(&[
        (".gitattributes", attributes),
        ("app.py", &app),
        ("lib.py", &lib),
        ("crlf.txt", &crlf),
        ("ident.py", &ident),
        ("version.txt", &version),
        ("private/key.txt", "key\n"),
        ("model.bin", &pointer),
    ]);
    let words: Vec<u8> = code("words")
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    fs::write(folder.path().join("words.txt"), words).unwrap();
    let submodule = format!("160000,{},parts", "5".repeat(40));
    for arguments in [
        &["add", "words.txt"][..],
        &["update-index", "--add", "--cacheinfo", &submodule],
        &[
            "-c",
            "user.name=x",
            "-c",
            "user.email=x@example.invalid",
            "commit",
            "-q",
            "-m",
            "more",
        ],
    ] {
        run(&mut git(folder.path(), arguments), b"", &[0]);
    }
    folder
}

const OBJECT: &[u8] = b"hello\n";
const OBJECT_DIGEST: &str = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03";

#[test]
fn what_git_itself_makes_of_attributes_is_no_difference_and_a_change_in_it_is_one() {
    let repository = attributed();
    let running = tempfile::tempdir().unwrap();
    // git is the oracle: an archive is what its attributes make of a tree.
    let archive = run(&mut git(repository.path(), &["archive", "HEAD"]), b"", &[0]);
    let mut tar = Command::new("tar");
    run(tar.args(["-x", "-C"]).arg(running.path()), &archive, &[0]);
    let crlf = fs::read(running.path().join("crlf.txt")).unwrap();
    assert!(crlf.windows(2).any(|pair| pair == b"\r\n"), "git converts");
    fs::remove_file(running.path().join(".gitattributes")).unwrap();
    fs::write(running.path().join("model.bin"), OBJECT).unwrap();
    write(running.path(), &[("parts/part.py", &code("part"))]);
    let process = Running::in_folder(running.path());
    let listed = diff(&process, repository.path(), &["--noise"]);
    assert_code(&listed, 0);
    let below = format!("{}/", running.path().display());
    let rows: Vec<String> = text(&listed.stdout)
        .replace(&below, "")
        .lines()
        .map(|line| line.split('\t').take(3).collect::<Vec<_>>().join(" "))
        .collect();
    assert_eq!(
        rows,
        [
            "attributes M crlf.txt",
            "attributes M ident.py",
            "attributes M model.bin",
            "attributes M version.txt",
            "attributes M words.txt",
            "left-out D .gitattributes",
            "left-out D private/key.txt",
            "submodule A parts/part.py",
        ]
    );
    // which-ref knows them too.
    let repository_path = repository.path().to_str().unwrap();
    let asked =
        |process: &Running| kdbg(["which-ref", &process.target(), "--repo", repository_path]);
    let output = asked(&process);
    assert_code(&output, 0);
    assert!(
        text(&output.stdout).starts_with("runs "),
        "{}",
        said(&output)
    );

    for name in [
        "crlf.txt",
        "ident.py",
        "model.bin",
        "version.txt",
        "words.txt",
    ] {
        let path = running.path().join(name);
        let mut bytes = fs::read(&path).unwrap();
        let last = bytes.iter().rposition(u8::is_ascii_alphanumeric).unwrap();
        bytes[last] = b'X';
        fs::write(path, bytes).unwrap();
    }
    let process = Running::in_folder(running.path());
    let changed = diff(&process, repository.path(), &["--name-status"]);
    assert_code(&changed, 1);
    assert_eq!(
        text(&changed.stdout),
        "M\tcrlf.txt\nM\tident.py\nM\tmodel.bin\nM\tversion.txt\nM\twords.txt\n"
    );
    let output = asked(&process);
    assert_code(&output, 1);
    assert!(
        text(&output.stdout).contains(", 5 files differ"),
        "{}",
        said(&output)
    );
}

#[test]
fn a_file_that_was_moved_and_is_the_only_equal_one_decides_no_mapping() {
    let (main, helpers, moved, text_of) =
        (code("main"), code("helpers"), code("moved"), code("text"));
    let repository = repository(&[
        ("services/shop/main.py", &main),
        ("services/shop/util/helpers.py", &helpers),
        ("services/shop/util/text.py", &text_of),
        ("services/cart/cart.py", &code("cart")),
        ("shared/helpers.py", &moved),
    ]);
    let running = tempfile::tempdir().unwrap();
    let patched = |text: &str| text.replace("5\n", "five\n");
    write(
        running.path(),
        &[
            ("main.py", &patched(&main)),
            ("util/helpers.py", &moved),
            ("util/text.py", &patched(&text_of)),
        ],
    );
    let process = Running::in_folder(running.path());
    let output = diff(&process, repository.path(), &["--name-status"]);
    assert_code(&output, 3);
    assert!(
        said(&output).contains("it is not certain which folder is which"),
        "{}",
        said(&output)
    );
    let map = format!("--map={}=services/shop", running.path().display());
    assert!(
        said(&output).replace("--map ", "--map=").contains(&map),
        "{}",
        said(&output)
    );
    let pinned = diff(&process, repository.path(), &["--name-status", &map]);
    assert_eq!(
        text(&pinned.stdout),
        "M\tservices/shop/main.py\nM\tservices/shop/util/helpers.py\nM\tservices/shop/util/text.py\n"
    );
    // A commit that has the files as they run knows better than names.
    write(
        &repository.path().join("services/shop"),
        &[
            ("main.py", &patched(&main)),
            ("util/text.py", &patched(&text_of)),
        ],
    );
    for (branch, message) in [("fix", "as it runs"), ("main", "")] {
        let switch = if message.is_empty() {
            &["switch", "-q", "main"][..]
        } else {
            &["switch", "-q", "-c", branch]
        };
        run(&mut git(repository.path(), switch), b"", &[0]);
        if !message.is_empty() {
            let commit = [
                "-c",
                "user.name=x",
                "-c",
                "user.email=x@example.invalid",
                "commit",
                "-qam",
                message,
            ];
            run(&mut git(repository.path(), &commit), b"", &[0]);
        }
    }
    let known = diff(
        &process,
        repository.path(),
        &["--name-status", "--ref", "main"],
    );
    assert_code(&known, 1);
    assert_eq!(text(&known.stdout), text(&pinned.stdout));
}
