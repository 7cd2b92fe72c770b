//! Clones in the cache, made by the real git from repositories of this machine.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use kdbg::git::{FetchOptions, Fetched, GitError, Progress, Repository, fetch};
use kdbg::object::HashKind;

use super::fixture::{Place, assert_same_as_git, commit, git, git_input, git_line, write};

/// A place with a repository to fetch from, a cache, and a git that sees none of this machine's settings.
struct Server {
    place: Place,
    url: String,
}

impl Server {
    fn new() -> Self {
        let place = Place::new();
        place.small("upstream");
        let url = format!("file://{}", place.path("upstream").display());
        Self { place, url }
    }

    fn upstream(&self) -> PathBuf {
        self.place.path("upstream")
    }

    fn cache(&self) -> PathBuf {
        self.place.path("cache")
    }

    /// A program that runs `before` and then git.
    fn program(&self, before: &str) -> OsString {
        let path = self.place.path("git-wrapper");
        let script = format!(
            "#!/bin/sh\nexport GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_NOSYSTEM=1\n{before}\nexec git \"$@\"\n"
        );
        // Written beside and renamed: another thread's child may still hold the old one open for writing.
        let beside = self.place.path("git-wrapper.new");
        let _ = fs::remove_file(&path);
        fs::write(&beside, script).unwrap();
        fs::set_permissions(&beside, fs::Permissions::from_mode(0o755)).unwrap();
        fs::rename(beside, &path).unwrap();
        path.into()
    }

    fn options(&self) -> FetchOptions {
        FetchOptions {
            program: self.program(""),
            ..FetchOptions::default()
        }
    }

    fn fetch(&self) -> Result<Fetched, GitError> {
        self.fetch_with(&self.options())
    }

    fn fetch_with(&self, options: &FetchOptions) -> Result<Fetched, GitError> {
        fetch(&self.url, &self.cache(), options, &mut |_| {})
    }

    /// What is in the cache, without the locks.
    fn entries(&self) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.cache().join("git")) else {
            return Vec::new();
        };
        entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| {
                Path::new(name)
                    .extension()
                    .is_none_or(|extension| extension != "lock")
            })
            .collect()
    }
}

#[test]
fn a_first_fetch_clones_and_a_second_one_updates() {
    for format in ["sha1", "sha256"] {
        let mut server = Server::new();
        if format == "sha256" {
            let path = server.place.init("other", "sha256");
            write(&path, "a", b"x\n");
            commit(&path, "first");
            server.url = format!("file://{}", path.display());
        }
        let upstream = PathBuf::from(server.url.strip_prefix("file://").unwrap());
        git(&upstream, ["tag", "-a", "-m", "t", "v1"]);
        git(&upstream, ["branch", "old"]);
        git(&upstream, ["update-ref", "refs/pull/7/head", "HEAD"]);
        git(
            &upstream,
            ["update-ref", "refs/merge-requests/3/head", "HEAD"],
        );
        let mut steps = Vec::new();
        let first = fetch(
            &server.url,
            &server.cache(),
            &server.options(),
            &mut |step| steps.push(step),
        )
        .unwrap();
        assert!(first.is_new && first.notices.is_empty(), "{first:?}");
        assert_eq!(steps[0], Progress::Connecting);
        assert!(
            steps
                .iter()
                .any(|step| matches!(step, Progress::Step { .. })),
            "{steps:?}"
        );
        let opened = Repository::open(&first.path).unwrap();
        assert_eq!(
            opened.hash_kind(),
            if format == "sha1" {
                HashKind::Sha1
            } else {
                HashKind::Sha256
            }
        );
        assert_eq!(opened.default_ref().unwrap().name, "main");
        for reference in [
            "main",
            "v1",
            "old",
            "refs/pull/7/head",
            "refs/merge-requests/3/head",
        ] {
            assert_same_as_git(&upstream, &opened, reference);
        }
        let mode = fs::metadata(server.cache().join("git"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o700);

        // The remote moves on: a new commit, a rewritten branch, a moved tag, a deleted branch, a new default.
        write(&upstream, "a", b"changed\n");
        commit(&upstream, "second");
        git(&upstream, ["branch", "-D", "-q", "old"]);
        git(&upstream, ["branch", "old/now-a-folder"]);
        git(&upstream, ["tag", "-f", "-a", "-m", "t", "v1"]);
        git(&upstream, ["update-ref", "refs/pull/8/head", "HEAD"]);
        git(&upstream, ["update-ref", "-d", "refs/pull/7/head"]);
        git(&upstream, ["checkout", "-q", "-b", "trunk"]);
        git(&upstream, ["commit", "-q", "--amend", "-m", "rewritten"]);
        let second = server.fetch().unwrap();
        assert!(!second.is_new);
        assert_eq!(second.path, first.path);
        // The repository that was open before sees the new state too.
        for opened in [opened, Repository::open(&second.path).unwrap()] {
            assert_eq!(opened.default_ref().unwrap().name, "trunk");
            for reference in [
                "main",
                "trunk",
                "v1",
                "old/now-a-folder",
                "refs/pull/8/head",
            ] {
                assert_same_as_git(&upstream, &opened, reference);
            }
            for gone in ["old", "refs/pull/7/head"] {
                assert!(
                    matches!(opened.resolve(gone), Err(GitError::UnknownRef { .. })),
                    "{gone}"
                );
            }
        }
        assert_eq!(server.entries().len(), 1);
    }
}

#[test]
fn an_empty_remote_gives_an_empty_repository_that_fills() {
    let mut server = Server::new();
    let path = server.place.init("empty", "sha1");
    server.url = format!("file://{}", path.display());
    let fetched = server.fetch().unwrap();
    let opened = Repository::open(&fetched.path).unwrap();
    assert!(matches!(
        opened.default_ref(),
        Err(GitError::EmptyRepository { .. })
    ));
    write(&path, "a", b"x\n");
    commit(&path, "first");
    server.fetch().unwrap();
    assert_same_as_git(&path, &Repository::open(&fetched.path).unwrap(), "main");
}

#[test]
fn what_cannot_be_fetched_says_why_and_leaves_nothing() {
    let mut server = Server::new();
    server.url = format!("file://{}", server.place.path("absent").display());
    let error = server.fetch().unwrap_err();
    assert!(
        matches!(
            &error,
            GitError::Fetch {
                operation: "clone",
                ..
            }
        ),
        "{error:?}"
    );
    assert!(!error.hints().is_empty(), "{error:?}");
    assert!(server.entries().is_empty());

    let options = FetchOptions {
        program: "/no/where/git".into(),
        ..FetchOptions::default()
    };
    let error = server.fetch_with(&options).unwrap_err();
    assert!(
        matches!(&error, GitError::GitNotStarted { .. }),
        "{error:?}"
    );
    assert!(error.hints()[0].contains("install git"));

    for url in [
        "ext::sh -c id",
        "--upload-pack=id",
        "/a/path",
        "ftp://example.invalid/a",
    ] {
        let error = fetch(url, &server.cache(), &server.options(), &mut |_| {}).unwrap_err();
        assert!(
            matches!(
                error,
                GitError::TransportRefused { .. } | GitError::InvalidUrl { .. }
            ),
            "{url}: {error:?}"
        );
    }
}

#[test]
fn credentials_are_never_printed_or_kept() {
    let server = Server::new();
    // A server that nothing answers for; git repeats the URL in its message.
    let url = "http://user:hunter2@127.0.0.1:1/team/shop.git";
    let error = fetch(url, &server.cache(), &server.options(), &mut |_| {}).unwrap_err();
    let printed = format!("{error} {error:?} {:?}", error.hints());
    assert!(!printed.contains("hunter2"), "{printed}");
    assert!(printed.contains("127.0.0.1"), "{printed}");

    let fetched = server.fetch().unwrap();
    let config = fs::read_to_string(fetched.path.join("config")).unwrap();
    assert!(!config.contains("url"), "{config}");
}

#[test]
fn an_outdated_clone_is_offered_when_the_remote_is_gone() {
    let server = Server::new();
    let fetched = server.fetch().unwrap();
    fs::rename(server.upstream(), server.place.path("moved")).unwrap();
    let error = server.fetch().unwrap_err();
    assert!(
        matches!(&error, GitError::Fetch { stale: Some(_), .. }),
        "{error:?}"
    );
    assert!(error.hints().iter().any(|hint| hint.contains("--repo")));
    assert!(
        Repository::open(&fetched.path)
            .unwrap()
            .resolve("main")
            .is_ok()
    );
}

#[test]
fn a_broken_clone_is_made_again() {
    let server = Server::new();
    let fetched = server.fetch().unwrap();
    fs::remove_file(fetched.path.join("HEAD")).unwrap();
    let again = server.fetch().unwrap();
    assert!(again.is_new);
    assert_same_as_git(
        &server.upstream(),
        &Repository::open(&again.path).unwrap(),
        "main",
    );
}

#[test]
fn nothing_of_a_hostile_remote_or_directory_is_executed() {
    let server = Server::new();
    let upstream = server.upstream();
    let marker = server.place.path("marker");
    let script = server.place.path("script");
    fs::write(&script, format!("#!/bin/sh\ntouch {}\n", marker.display())).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let run = script.to_str().unwrap();
    for hook in [
        "post-checkout",
        "reference-transaction",
        "pre-receive",
        "post-update",
    ] {
        fs::create_dir_all(upstream.join(".git/hooks")).unwrap();
        fs::copy(&script, upstream.join(".git/hooks").join(hook)).unwrap();
    }
    for key in [
        "core.fsmonitor",
        "core.sshCommand",
        "core.gitProxy",
        "core.alternateRefsCommand",
        "core.pager",
        "uploadpack.packObjectsHook",
        "remote.origin.uploadpack",
        "credential.helper",
    ] {
        git(&upstream, ["config", key, run]);
    }
    // A promised object: serving it must not make the remote fetch it.
    let id = git_line(&upstream, ["rev-parse", "HEAD:a"]);
    git(
        &upstream,
        ["config", "remote.origin.url", "ssh://example.invalid/a"],
    );
    git(&upstream, ["config", "remote.origin.promisor", "true"]);
    git(&upstream, ["config", "core.repositoryformatversion", "1"]);
    git(&upstream, ["config", "extensions.partialClone", "origin"]);
    let object = upstream.join(".git/objects").join(&id[..2]).join(&id[2..]);
    let content = fs::read(&object).unwrap();
    fs::remove_file(&object).unwrap();
    let _ = server.fetch();
    assert!(!marker.exists(), "the remote's settings were executed");
    fs::write(&object, content).unwrap();

    // A repository around the cache, as a home directory under version control has it.
    git(&server.place.path(""), ["init", "-q", "."]);
    for key in [
        "core.sshCommand",
        "core.fsmonitor",
        "core.gitProxy",
        "credential.helper",
    ] {
        git(&server.place.path(""), ["config", key, run]);
    }
    let template = server.place.path("template");
    fs::create_dir_all(template.join("hooks")).unwrap();
    fs::copy(&script, template.join("hooks/post-checkout")).unwrap();
    fs::copy(&script, template.join("hooks/reference-transaction")).unwrap();
    let settings = format!("export GIT_TEMPLATE_DIR={}", template.display());
    let options = FetchOptions {
        program: server.program(&settings),
        ..FetchOptions::default()
    };
    let fetched = server.fetch_with(&options).unwrap();
    server.fetch_with(&options).unwrap();
    for url in [
        "ssh://127.0.0.1:1/a",
        "git://127.0.0.1:1/a",
        "http://127.0.0.1:1/a",
    ] {
        assert!(fetch(url, &server.cache(), &options, &mut |_| {}).is_err());
    }
    assert!(!fetched.path.join("hooks").exists());
    assert!(!marker.exists(), "a setting around the cache was executed");
}

#[test]
fn git_is_started_clean_and_without_prompts() {
    let server = Server::new();
    let log = server.place.path("log");
    let before = format!("env >> {0}; echo \"args: $*\" >> {0}", log.display());
    let options = FetchOptions {
        program: server.program(&before),
        ..FetchOptions::default()
    };
    server.fetch_with(&options).unwrap();
    let logged = fs::read_to_string(log).unwrap();
    for expected in [
        "GIT_TERMINAL_PROMPT=0",
        "GIT_ALLOW_PROTOCOL=http:https:ssh:git:file",
        "GIT_NO_REPLACE_OBJECTS=1",
        "GIT_NO_LAZY_FETCH=1",
        "SSH_ASKPASS_REQUIRE=force",
        "LC_ALL=C",
        "core.hooksPath=/dev/null",
        "core.fsmonitor=false",
        "--no-optional-locks",
    ] {
        assert!(logged.contains(expected), "{expected}");
    }
    for line in logged.lines().filter(|line| line.starts_with("args: ")) {
        assert!(line.contains(&format!("-- {}", server.url)), "{line}");
    }
}

#[test]
fn a_silent_git_is_ended_and_leaves_nothing() {
    let server = Server::new();
    // Half a clone, then silence.
    let before = format!(
        "case \"$*\" in *\" clone \"*) mkdir -p {0}/git/half.partial; echo 'Receiving objects:   1% (1/100)' >&2; sleep 1000;; esac",
        server.cache().display()
    );
    let options = FetchOptions {
        program: server.program(&before),
        stall_timeout: Duration::from_millis(400),
        ..FetchOptions::default()
    };
    let started = Instant::now();
    let error = server.fetch_with(&options).unwrap_err();
    assert!(
        matches!(
            &error,
            GitError::Stalled {
                operation: "clone",
                ..
            }
        ),
        "{error:?}"
    );
    assert!(started.elapsed() < Duration::from_secs(20));
    fs::remove_dir(server.cache().join("git/half.partial")).unwrap();
    assert!(server.entries().is_empty());
    assert!(server.fetch().unwrap().is_new);
}

#[test]
fn a_cancelled_fetch_ends_at_once() {
    let server = Server::new();
    let cancel = Arc::new(AtomicBool::new(false));
    let options = FetchOptions {
        program: server.program("echo 'Receiving objects:   1% (1/100)' >&2; sleep 1000"),
        cancel: Arc::clone(&cancel),
        ..FetchOptions::default()
    };
    let started = Instant::now();
    let error = fetch(&server.url, &server.cache(), &options, &mut |step| {
        if matches!(step, Progress::Step { .. }) {
            cancel.store(true, Ordering::Relaxed);
        }
    });
    assert!(
        matches!(error, Err(GitError::Cancelled { .. })),
        "{error:?}"
    );
    assert!(started.elapsed() < Duration::from_secs(20));
    assert!(server.entries().is_empty());
}

/// The other half of the next two tests: a kdbg of its own.
#[test]
fn helper_that_fetches() {
    let (Some(url), Some(cache), Some(program)) = (
        std::env::var_os("KDBG_TEST_URL"),
        std::env::var_os("KDBG_TEST_CACHE"),
        std::env::var_os("KDBG_TEST_GIT"),
    ) else {
        return;
    };
    let options = FetchOptions {
        program,
        ..FetchOptions::default()
    };
    let fetched = fetch(
        url.to_str().unwrap(),
        Path::new(&cache),
        &options,
        &mut |step| {
            println!("{step:?}");
        },
    );
    println!("fetched {:?}", fetched.unwrap());
}

fn fetch_elsewhere(server: &Server, program: &OsString) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "git_read::fetch::helper_that_fetches",
            "--nocapture",
        ])
        .env("KDBG_TEST_URL", &server.url)
        .env("KDBG_TEST_CACHE", server.cache())
        .env("KDBG_TEST_GIT", program)
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap()
}

#[test]
fn a_kdbg_that_is_killed_half_way_leaves_no_clone() {
    let server = Server::new();
    // Half a clone, then numbers for ever: like git it ends when nobody reads them any more.
    let started = server.place.path("started");
    let program = server.program(&format!(
        "case \"$*\" in *\" clone \"*) \
           for last; do :; done; mkdir -p \"$last/objects\"; touch {}; \
           while echo 'Receiving objects:   1% (1/100)' >&2; do sleep 0.1; done; exit 1;; esac",
        started.display()
    ));
    let mut child = fetch_elsewhere(&server, &program);
    let deadline = Instant::now() + Duration::from_secs(30);
    while !started.exists() {
        assert!(Instant::now() < deadline, "the clone did not start");
        std::thread::sleep(Duration::from_millis(10));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let left = server.entries();
    assert!(
        left.iter()
            .all(|name| Path::new(name).extension().unwrap() == "partial"),
        "{left:?}"
    );
    assert_eq!(left.len(), 1);

    let fetched = server.fetch().unwrap();
    assert!(fetched.is_new);
    assert_eq!(server.entries().len(), 1);
    assert_same_as_git(
        &server.upstream(),
        &Repository::open(&fetched.path).unwrap(),
        "main",
    );
}

#[test]
fn several_at_once_take_turns() {
    let server = Server::new();
    let many = (0..200)
        .map(|number| {
            format!(
                "commit refs/heads/n{number}\ncommitter c <c@example.invalid> {number} +0000\ndata 0\n"
            )
        })
        .collect::<Vec<_>>()
        .concat();
    git_input(
        &server.upstream(),
        &["fast-import", "--quiet"],
        many.as_bytes(),
    );
    let program = server.program("sleep 0.2");
    let children: Vec<_> = (0..4).map(|_| fetch_elsewhere(&server, &program)).collect();
    let outputs: Vec<_> = children
        .into_iter()
        .map(|child| {
            let output = child.wait_with_output().unwrap();
            let printed = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(
                output.status.success(),
                "{printed}{}",
                String::from_utf8_lossy(&output.stderr)
            );
            printed
        })
        .collect();
    let count = |text: &str| {
        outputs
            .iter()
            .filter(|printed| printed.contains(text))
            .count()
    };
    assert_eq!(count("is_new: true"), 1);
    assert_eq!(count("is_new: false"), 3);
    assert_eq!(count("Waiting"), 3);
    let fetched = server.fetch().unwrap();
    assert_same_as_git(
        &server.upstream(),
        &Repository::open(&fetched.path).unwrap(),
        "main",
    );
    assert!(
        Repository::open(&fetched.path)
            .unwrap()
            .resolve("n199")
            .is_ok()
    );
}
