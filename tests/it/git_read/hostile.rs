//! Repositories made to harm whoever reads them.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use bstr::BStr;
use kdbg::git::{GitError, Repository};

use super::fixture::{
    Place, assert_same_as_git, command, commit, git, git_input, git_line, listed, write,
    write_tree_by_hand,
};

/// Every setting that makes some git command run a program, and includes that bring more of them.
fn hostile_settings(marker: &Path) -> Vec<(String, String)> {
    let run = format!("touch {}", marker.display());
    let script = marker.with_extension("sh").display().to_string();
    [
        ("core.fsmonitor", &script),
        (
            "core.hooksPath",
            &marker.with_extension("hooks").display().to_string(),
        ),
        ("core.pager", &run),
        ("core.editor", &run),
        ("core.askPass", &script),
        ("core.sshCommand", &run),
        ("core.gitProxy", &script),
        ("core.alternateRefsCommand", &run),
        ("core.useReplaceRefs", &"true".to_owned()),
        ("sequence.editor", &run),
        ("diff.external", &script),
        ("diff.evil.textconv", &run),
        ("diff.evil.command", &script),
        ("merge.evil.driver", &run),
        ("filter.evil.clean", &run),
        ("filter.evil.smudge", &run),
        ("filter.evil.process", &run),
        ("filter.evil.required", &"true".to_owned()),
        ("gpg.program", &script),
        ("gpg.ssh.program", &script),
        ("alias.status", &format!("!{run}")),
        ("credential.helper", &format!("!{run}")),
        ("uploadpack.packObjectsHook", &script),
        ("remote.origin.uploadpack", &run),
        ("remote.origin.url", &format!("ext::sh -c '{run}'")),
        ("remote.origin.vcs", &"ext".to_owned()),
        ("remote.origin.promisor", &"true".to_owned()),
        ("extensions.partialClone", &"origin".to_owned()),
        ("url.ext::sh.insteadOf", &"https://".to_owned()),
        ("protocol.ext.allow", &"always".to_owned()),
        (
            "include.path",
            &marker.with_extension("include").display().to_string(),
        ),
        (
            "includeIf.gitdir:/.path",
            &marker.with_extension("include").display().to_string(),
        ),
        (
            "gitoxide.objects.replaceRefBase",
            &"refs/replace/".to_owned(),
        ),
        ("gitoxide.objects.allocLimit", &"1".to_owned()),
        ("trace2.eventTarget", &marker.display().to_string()),
        (
            "core.attributesFile",
            &marker.with_extension("include").display().to_string(),
        ),
        ("core.worktree", &"/".to_owned()),
    ]
    .into_iter()
    .map(|(key, value)| (key.to_owned(), value.clone()))
    .collect()
}

#[test]
fn no_setting_of_a_repository_is_executed() {
    let place = Place::new();
    let path = place.small("r");
    write(
        &path,
        ".gitattributes",
        b"* filter=evil diff=evil merge=evil\n",
    );
    commit(&path, "attributes");
    let expected = listed_by_git(&path);
    let marker = place.path("marker");
    let script = marker.with_extension("sh");
    write(
        Path::new("/"),
        script.to_str().unwrap(),
        format!("#!/bin/sh\ntouch {}\n", marker.display()).as_bytes(),
    );
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let hooks = [marker.with_extension("hooks"), path.join(".git/hooks")];
    for directory in hooks {
        fs::create_dir_all(&directory).unwrap();
        for hook in [
            "post-checkout",
            "post-index-change",
            "reference-transaction",
            "fsmonitor-watchman",
        ] {
            fs::copy(&script, directory.join(hook)).unwrap();
        }
    }
    let include = format!(
        "[core]\n\tfsmonitor = {}\n[extensions]\n\trefStorage = reftable\n",
        script.display()
    );
    write(
        Path::new("/"),
        marker.with_extension("include").to_str().unwrap(),
        include.as_bytes(),
    );

    // The trap bites: git itself runs the program with the first of the settings alone.
    git(
        &path,
        ["config", "core.fsmonitor", script.to_str().unwrap()],
    );
    let _ = command(&path, ["status"]).output().unwrap();
    assert!(marker.exists(), "the trap does not work");
    fs::remove_file(&marker).unwrap();

    let mut config = fs::read_to_string(path.join(".git/config")).unwrap();
    for (key, value) in hostile_settings(&marker) {
        let (section, rest) = key.split_once('.').unwrap();
        let (subsection, name) = rest
            .rsplit_once('.')
            .map_or((None, rest), |(sub, name)| (Some(sub), name));
        let header =
            subsection.map_or_else(|| section.to_owned(), |sub| format!("{section} \"{sub}\""));
        let value = value.replace('\\', "\\\\").replace('"', "\\\"");
        write!(config, "[{header}]\n\t{name} = \"{value}\"\n").unwrap();
    }
    config = config.replace("repositoryformatversion = 0", "repositoryformatversion = 1");
    fs::write(path.join(".git/config"), config).unwrap();

    let opened = Repository::open(&path).unwrap();
    assert_eq!(opened.promisor(), Some("origin"));
    let head = opened.resolve("HEAD").unwrap();
    assert_eq!(opened.default_ref().unwrap().name, "main");
    let entries = opened.tree(&head, BStr::new("")).unwrap();
    assert_eq!(listed(&entries), expected);
    for entry in &entries {
        opened.read_blob(&entry.id).unwrap();
        // A lazy fetch would run the remote's program for a missing object.
        fs::remove_file(loose_object(&path, &entry.id.to_string())).unwrap();
        assert!(matches!(
            opened.read_blob(&entry.id),
            Err(GitError::MissingObject {
                promisor: Some(_),
                ..
            })
        ));
    }
    assert!(opened.resolve("no-such").is_err());
    assert!(Repository::discover(path.join("dir")).is_ok());
    assert!(!marker.exists(), "something was executed");
}

fn listed_by_git(path: &Path) -> Vec<(String, String, Vec<u8>)> {
    super::fixture::ls_tree(path, "HEAD", "")
}

fn loose_object(repository: &Path, id: &str) -> std::path::PathBuf {
    repository
        .join(".git/objects")
        .join(&id[..2])
        .join(&id[2..])
}

#[test]
fn replaced_objects_are_read_as_they_are_named() {
    let place = Place::new();
    let path = place.small("r");
    let blob = git_line(&path, ["rev-parse", "HEAD:a"]);
    let other = git_input(&path, &["hash-object", "-w", "--stdin"], b"replaced\n");
    git(&path, ["replace", &blob, &other]);
    let first = git_line(&path, ["rev-parse", "HEAD"]);
    write(&path, "c", b"three\n");
    let second = commit(&path, "second");
    git(&path, ["replace", &second, &first]);
    let opened = Repository::open(&path).unwrap();
    assert_same_as_git(&path, &opened, "HEAD");
    let head = opened.resolve("HEAD").unwrap();
    let entry = &opened.tree(&head, BStr::new("a")).unwrap()[0];
    assert_eq!(opened.read_blob(&entry.id).unwrap(), b"one\n");
    assert_eq!(opened.tree(&head, BStr::new("")).unwrap().len(), 3);
}

/// The other half of the next test: runs in a process of its own, because the environment is the process's.
#[test]
fn helper_that_reads_under_a_redirecting_environment() {
    let Some(path) = std::env::var_os("KDBG_TEST_REPOSITORY") else {
        return;
    };
    let opened = Repository::open(&path).unwrap();
    let head = opened.resolve("HEAD").unwrap();
    assert_eq!(opened.tree(&head, BStr::new("")).unwrap().len(), 2);
    let discovered = Repository::discover(Path::new(&path).join("dir")).unwrap();
    assert_eq!(discovered.display_path(), Path::new(&path));
    assert_eq!(discovered.resolve("HEAD").unwrap(), head);
}

#[test]
fn the_environment_does_not_redirect_reading() {
    let place = Place::new();
    let path = place.small("r");
    let blob = git_line(&path, ["rev-parse", "HEAD:a"]);
    let other = git_input(&path, &["hash-object", "-w", "--stdin"], b"replaced\n");
    git(&path, ["replace", &blob, &other]);
    let elsewhere = place.init("elsewhere", "sha256");
    let output = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "git_read::hostile::helper_that_reads_under_a_redirecting_environment",
            "--nocapture",
        ])
        .env("KDBG_TEST_REPOSITORY", &path)
        .env("GIT_DIR", elsewhere.join(".git"))
        .env("GIT_COMMON_DIR", elsewhere.join(".git"))
        .env("GIT_WORK_TREE", &elsewhere)
        .env("GIT_INDEX_FILE", "/no/where")
        .env("GIT_OBJECT_DIRECTORY", elsewhere.join(".git/objects"))
        .env("GIT_ALTERNATE_OBJECT_DIRECTORIES", "/no/where")
        .env("GIT_NAMESPACE", "space")
        .env("GIT_SHALLOW_FILE", "/no/where")
        .env("GIT_REPLACE_REF_BASE", "refs/replace/")
        .env("GIT_CEILING_DIRECTORIES", &path)
        .env("GIT_CONFIG_GLOBAL", "/no/where")
        .env("GIT_CONFIG_COUNT", "2")
        .env("GIT_CONFIG_KEY_0", "core.bare")
        .env("GIT_CONFIG_VALUE_0", "true")
        .env("GIT_CONFIG_KEY_1", "extensions.objectFormat")
        .env("GIT_CONFIG_VALUE_1", "sha256")
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success() && printed.contains("1 passed"),
        "{printed}"
    );
}

#[test]
fn the_owner_of_a_repository_does_not_matter() {
    let place = Place::new();
    let path = place.small("r");
    if !nix::unistd::geteuid().is_root() {
        println!("skipped: only root can give a repository to another user");
        return;
    }
    let status = Command::new("chown")
        .args(["-R", "54321:54321"])
        .arg(&path)
        .status()
        .unwrap();
    assert!(status.success());
    assert!(
        !command(&path, ["status"])
            .output()
            .unwrap()
            .status
            .success(),
        "git should refuse it"
    );
    let opened = Repository::open(&path).unwrap();
    let head = opened.resolve("HEAD").unwrap();
    assert_eq!(opened.tree(&head, BStr::new("")).unwrap().len(), 2);
    assert!(Repository::discover(path.join("dir")).is_ok());
}

#[test]
fn a_bare_repository_inside_a_work_tree_is_not_discovered() {
    let place = Place::new();
    let path = place.small("r");
    git(&path, ["init", "-q", "--bare", "embedded"]);
    let found = Repository::discover(path.join("embedded/refs")).unwrap();
    assert_eq!(found.display_path(), path);
    let explicit = Repository::open(path.join("embedded")).unwrap();
    assert!(explicit.is_bare());
}

#[test]
fn a_pipe_in_place_of_a_file_blocks_nobody() {
    for file in [
        "HEAD",
        "config",
        "packed-refs",
        "commondir",
        "gitdir",
        "shallow",
        "objects/info/alternates",
        "refs/heads/pipe",
        "refs/remotes/origin/deep/pipe",
        "objects/pack/pack-1.idx",
    ] {
        let place = Place::new();
        let path = place.small("r");
        let pipe = path.join(".git").join(file);
        let _ = fs::remove_file(&pipe);
        fs::create_dir_all(pipe.parent().unwrap()).unwrap();
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let started = Instant::now();
        let error = Repository::open(&path)
            .err()
            .unwrap_or_else(|| panic!("{file}"));
        assert!(
            matches!(&error, GitError::SpecialFile { path } if *path == pipe),
            "{file}: {error:?}"
        );
        assert!(Repository::discover(path.join("dir")).is_err(), "{file}");
        assert!(started.elapsed() < Duration::from_secs(30));
    }
    // The same for what links lead to.
    let place = Place::new();
    let path = place.small("r");
    symlink("/dev/zero", path.join(".git/packed-refs")).unwrap();
    assert!(matches!(
        Repository::open(&path),
        Err(GitError::SpecialFile { .. })
    ));
}

#[test]
fn trees_with_names_that_lead_astray_are_refused() {
    let place = Place::new();
    let path = place.small("r");
    let blob = git_line(&path, ["rev-parse", "HEAD:a"]);
    for name in ["..", ".", ".git", ".GIT", "a/b", ""] {
        let tree = write_tree_by_hand(&path, &[("100644", name.as_bytes(), &blob)]);
        let opened = Repository::open(&path).unwrap();
        let found = opened.resolve(&tree).unwrap();
        let error = opened.tree(&found, BStr::new("")).err();
        assert!(
            matches!(error, Some(GitError::CorruptObject { .. })),
            "{name}: {error:?}"
        );
    }
}

#[test]
fn modes_that_git_wrote_long_ago_are_read_as_git_reads_them() {
    let place = Place::new();
    let path = place.small("r");
    let blob = git_line(&path, ["rev-parse", "HEAD:a"]);
    let tree = write_tree_by_hand(
        &path,
        &[("100664", b"group", &blob), ("100775", b"tool", &blob)],
    );
    let opened = Repository::open(&path).unwrap();
    let found = opened.resolve(&tree).unwrap();
    let modes: Vec<_> = opened
        .tree(&found, BStr::new(""))
        .unwrap()
        .iter()
        .map(|entry| entry.mode.as_octal())
        .collect();
    assert_eq!(modes, ["100644", "100755"]);
}

#[test]
fn a_tree_that_multiplies_itself_meets_the_limit() {
    let place = Place::new();
    let path = place.small("r");
    let mut inner = git_line(&path, ["rev-parse", "HEAD:a"]);
    for level in 0..9 {
        let mode = if level == 0 { "100644" } else { "40000" };
        let names: Vec<String> = (0..20).map(|number| format!("n{number:02}")).collect();
        let entries: Vec<_> = names
            .iter()
            .map(|name| (mode, name.as_bytes(), inner.as_str()))
            .collect();
        inner = write_tree_by_hand(&path, &entries);
    }
    let opened = Repository::open(&path).unwrap();
    let found = opened.resolve(&inner).unwrap();
    let started = Instant::now();
    let error = opened.tree(&found, BStr::new("")).err();
    assert!(
        matches!(error, Some(GitError::TreeTooLarge { .. })),
        "{error:?}"
    );
    println!("the limit was met after {:?}", started.elapsed());
}

#[test]
fn a_tree_of_great_depth_is_listed() {
    let place = Place::new();
    let path = place.small("r");
    let deep = vec!["d"; 3000].join("/");
    let input = format!(
        "commit refs/heads/deep\ncommitter c <c@example.invalid> 1700000000 +0000\ndata 0\nM 100644 inline {deep}\ndata 0\n"
    );
    git_input(&path, &["fast-import", "--quiet"], input.as_bytes());
    let opened = Repository::open(&path).unwrap();
    let found = opened.resolve("deep").unwrap();
    let entries = opened.tree(&found, BStr::new("")).unwrap();
    assert_eq!(entries.len(), 1);
    assert_eq!(entries[0].path.len(), 2 * 3000 - 1);
}

#[test]
fn alternates_that_go_in_circles_or_nowhere_end() {
    let place = Place::new();
    let path = place.small("r");
    let alternates = path.join(".git/objects/info/alternates");
    for content in [
        "../objects\n",
        "/no/where\n",
        "/proc/self/fd\n",
        "\n\n#\n",
        "\"unfinished\n",
        "/dev\n/etc\n",
    ] {
        fs::write(&alternates, content).unwrap();
        let outcome = Repository::open(&path).and_then(|opened| {
            let head = opened.resolve("HEAD")?;
            opened.tree(&head, BStr::new(""))
        });
        match outcome {
            Ok(entries) => assert_eq!(entries.len(), 2, "{content:?}"),
            // In circles: git reads on with a warning, the library refuses.
            Err(error) => {
                assert!(
                    matches!(error, GitError::Open { .. }),
                    "{content:?}: {error:?}"
                );
                assert_eq!(content, "../objects\n");
            }
        }
    }
}

#[test]
fn refs_that_go_in_circles_or_lead_out_end() {
    let place = Place::new();
    let path = place.small("r");
    let secret = place.path("secret");
    fs::write(&secret, "0123456789012345678901234567890123456789\n").unwrap();
    write(&path, ".git/refs/heads/one", b"ref: refs/heads/two\n");
    write(&path, ".git/refs/heads/two", b"ref: refs/heads/one\n");
    write(&path, ".git/refs/heads/out", b"ref: ../../../secret\n");
    write(&path, ".git/refs/heads/rubbish", &[0xff; 5000]);
    write(&path, ".git/refs/heads/short", b"0123\n");
    let opened = Repository::open(&path).unwrap();
    for name in [
        "one",
        "out",
        "rubbish",
        "short",
        "refs/heads/../../config",
        "../secret",
    ] {
        let error = opened
            .resolve(name)
            .err()
            .unwrap_or_else(|| panic!("{name}"));
        println!("{name}: {error}");
    }
    assert_eq!(opened.default_ref().unwrap().name, "main");
}

#[test]
fn damaged_objects_are_named() {
    let place = Place::new();
    let path = place.small("r");
    let opened = Repository::open(&path).unwrap();
    let head = opened.resolve("HEAD").unwrap();
    let entries = opened.tree(&head, BStr::new("")).unwrap();
    let (one, two) = (&entries[0].id, &entries[1].id);
    let object = loose_object(&path, &one.to_string());
    let sound = fs::read(&object).unwrap();
    fs::set_permissions(&object, fs::Permissions::from_mode(0o644)).unwrap();
    let mut flipped = sound.clone();
    *flipped.last_mut().unwrap() ^= 0xff;
    let other = fs::read(loose_object(&path, &two.to_string())).unwrap();
    for (what, content) in [
        ("cut", &sound[..sound.len() / 2]),
        ("empty", &[][..]),
        ("flipped", &flipped),
        ("another's", &other),
        ("rubbish", b"rubbish"),
    ] {
        fs::write(&object, content).unwrap();
        let error = opened.read_blob(one).err();
        assert!(
            matches!(error, Some(GitError::CorruptObject { .. })),
            "{what}: {error:?}"
        );
        let batch = opened.read_blobs(&[*one, *two]);
        assert!(batch[0].is_err() && batch[1].is_ok(), "{what}");
    }
    fs::write(&object, &sound).unwrap();
    git(&path, ["repack", "-q", "-a", "-d"]);
    let pack = fs::read_dir(path.join(".git/objects/pack"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|file| {
            file.extension()
                .is_some_and(|extension| extension == "pack")
        })
        .unwrap();
    fs::set_permissions(&pack, fs::Permissions::from_mode(0o644)).unwrap();
    let packed = fs::read(&pack).unwrap();
    for position in (12..packed.len() - 20).step_by(7) {
        let mut damaged = packed.clone();
        damaged[position] ^= 0x55;
        fs::write(&pack, damaged).unwrap();
        let read = Repository::open(&path).and_then(|opened| {
            let head = opened.resolve("HEAD")?;
            let entries = opened.tree(&head, BStr::new(""))?;
            opened
                .read_blobs(&entries.iter().map(|entry| entry.id).collect::<Vec<_>>())
                .into_iter()
                .collect::<Result<Vec<_>, _>>()
        });
        // Right or refused, never wrong: what was read was checked against its name.
        if let Ok(contents) = read {
            assert_eq!(
                contents,
                [b"one\n".to_vec(), b"two\n".to_vec()],
                "byte {position}"
            );
        }
    }
}

#[test]
fn files_that_may_not_be_read_are_named() {
    if nix::unistd::geteuid().is_root() {
        // Root may read everything, so a child without its rights looks.
        return assert_denied_as_nobody();
    }
    for file in ["config", "objects"] {
        let place = Place::new();
        let path = place.small("r");
        let closed = path.join(".git").join(file);
        fs::set_permissions(&closed, fs::Permissions::from_mode(0o0)).unwrap();
        let error = Repository::open(&path).err();
        fs::set_permissions(&closed, fs::Permissions::from_mode(0o755)).unwrap();
        assert!(
            matches!(error, Some(GitError::PermissionDenied { .. })),
            "{file}: {error:?}"
        );
    }
}

/// The other half of [`assert_denied_as_nobody`].
#[test]
fn helper_that_may_not_read() {
    let Some(path) = std::env::var_os("KDBG_TEST_CLOSED") else {
        return;
    };
    let error = Repository::open(&path).err();
    assert!(
        matches!(error, Some(GitError::PermissionDenied { .. })),
        "{error:?}"
    );
}

fn assert_denied_as_nobody() {
    use std::os::unix::process::CommandExt as _;
    for file in ["", ".git", ".git/HEAD", ".git/config", ".git/objects"] {
        let place = Place::new();
        let path = place.small("r");
        fs::set_permissions(place.path(""), fs::Permissions::from_mode(0o755)).unwrap();
        // The test program itself may lie where nobody may go.
        let program = place.path("it");
        fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        fs::set_permissions(path.join(file), fs::Permissions::from_mode(0o700)).unwrap();
        let output = Command::new(&program)
            .args([
                "--exact",
                "git_read::hostile::helper_that_may_not_read",
                "--nocapture",
            ])
            .current_dir("/")
            .env("KDBG_TEST_CLOSED", &path)
            .uid(54321)
            .gid(54321)
            .output()
            .unwrap();
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success() && printed.contains("1 passed"),
            "{file}: {printed}"
        );
    }
}

#[test]
fn storage_that_is_not_read_is_named() {
    let place = Place::new();
    let path = place.small("r");
    let config = fs::read_to_string(path.join(".git/config")).unwrap();
    let config = config.replace("repositoryformatversion = 0", "repositoryformatversion = 1");
    fs::write(
        path.join(".git/config"),
        format!("{config}[extensions]\n\trefStorage = reftable\n"),
    )
    .unwrap();
    let error = Repository::open(&path).err();
    assert!(
        matches!(error, Some(GitError::Unsupported { .. })),
        "{error:?}"
    );
    for broken in [
        "[core\n",
        "[extensions]\n\tobjectFormat = sha3\n",
        "[core]\n\trepositoryformatversion = 99\n",
    ] {
        fs::write(path.join(".git/config"), format!("{config}{broken}")).unwrap();
        let error = Repository::open(&path).err();
        assert!(
            matches!(error, Some(GitError::Open { .. })),
            "{broken}: {error:?}"
        );
    }
}
