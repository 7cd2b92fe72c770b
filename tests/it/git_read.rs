//! Reading repositories that the real git made, compared with what the real git says about them.

mod fetch;
mod fixture;
mod hostile;
mod missing;
mod refs;

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};

use bstr::BStr;
use kdbg::git::{GitError, Repository};
use kdbg::object::HashKind;

use fixture::{Place, assert_same_as_git, commit, git, git_line, listed, ls_tree, write};

/// A repository with everything that a tree can hold.
fn full_repository(place: &Place, name: &str, format: &str) -> std::path::PathBuf {
    let path = place.init(name, format);
    write(&path, "a", b"one\n");
    write(&path, "a.b/c", b"sorts before a/c\n");
    write(&path, "ab", b"");
    write(&path, "dir/deep/er/file", b"no newline at the end");
    write(&path, "dir-x", b"between dir and dir/\n");
    write(&path, b"not-utf8-\xff\xfe", b"bytes\n");
    write(&path, "sp ace\ttab\nline\"quote", b"odd\n");
    write(
        &path,
        "binary",
        &(0..=255).cycle().take(5000).collect::<Vec<u8>>(),
    );
    write(&path, "tool", b"#!/bin/sh\n");
    fs::set_permissions(path.join("tool"), fs::Permissions::from_mode(0o755)).unwrap();
    symlink("a", path.join("link")).unwrap();
    symlink("/no/where", path.join("dangling")).unwrap();
    commit(&path, "first");
    // A submodule is only a name of a commit; what it points to need not exist.
    let id = git_line(&path, ["rev-parse", "HEAD"]);
    git(
        &path,
        [
            "update-index",
            "--add",
            "--cacheinfo",
            &format!("160000,{id},module"),
        ],
    );
    git(&path, ["commit", "-q", "-m", "second\n\nwith a body"]);
    path
}

#[test]
fn loose_packed_and_deltified_objects_of_both_hash_functions_are_gits() {
    for (format, kind) in [("sha1", HashKind::Sha1), ("sha256", HashKind::Sha256)] {
        let place = Place::new();
        let path = full_repository(&place, "r", format);
        let opened = Repository::open(&path).unwrap();
        assert_eq!(opened.hash_kind(), kind);
        let head = assert_same_as_git(&path, &opened, "HEAD");
        assert_eq!(head.summary, Some("second".into()));
        assert_eq!(head.time, Some(1_700_000_100));
        assert_eq!(
            head.short_id,
            git_line(&path, ["rev-parse", "--short", "HEAD"])
        );
        assert_same_as_git(&path, &opened, "HEAD~1");

        // Versions of one large file become deltas of each other; the open repository finds the new pack.
        let mut text = (0..3000)
            .map(|line| format!("line {line}\n"))
            .collect::<Vec<_>>()
            .concat();
        for version in 0..5 {
            writeln!(text, "version {version}").unwrap();
            write(&path, "large", text.as_bytes());
            commit(&path, "more");
        }
        git(&path, ["repack", "-q", "-a", "-d", "-f", "--depth=50"]);
        git(&path, ["pack-refs", "--all"]);
        for reference in ["HEAD", "HEAD~3", "main"] {
            assert_same_as_git(&path, &opened, reference);
            assert_same_as_git(&path, &Repository::open(&path).unwrap(), reference);
        }
    }
}

#[test]
fn a_path_narrows_the_listing() {
    let place = Place::new();
    let path = full_repository(&place, "r", "sha1");
    let opened = Repository::open(&path).unwrap();
    let head = opened.resolve("HEAD").unwrap();
    for wanted in ["dir", "dir/deep", "a", "link", "module", "a.b/c"] {
        let entries = opened.tree(&head, BStr::new(wanted)).unwrap();
        assert_eq!(listed(&entries), ls_tree(&path, "HEAD", wanted), "{wanted}");
    }
    let all = opened.tree(&head, BStr::new("")).unwrap();
    assert_eq!(opened.tree(&head, BStr::new(".")).unwrap(), all);
    let dir = opened.tree(&head, BStr::new("dir")).unwrap();
    assert_eq!(opened.tree(&head, BStr::new("./dir//")).unwrap(), dir);
    assert_eq!(
        opened
            .tree(&head, BStr::new(b"not-utf8-\xff\xfe"))
            .unwrap()
            .len(),
        1
    );
}

#[test]
fn a_path_that_is_not_there_names_the_nearest() {
    let place = Place::new();
    let path = full_repository(&place, "r", "sha1");
    let opened = Repository::open(&path).unwrap();
    let head = opened.resolve("HEAD").unwrap();
    for (wanted, expected) in [
        ("dri", Some("dir")),
        ("dir/depe", Some("dir/deep")),
        ("er", Some("dir/deep/er")),
        ("a/below-a-file", None),
        ("/dir", None),
        ("../dir", None),
        ("no-such-thing-at-all", None),
    ] {
        let error = opened.tree(&head, BStr::new(wanted)).unwrap_err();
        let GitError::PathNotInTree { candidates, .. } = &error else {
            panic!("{error:?}")
        };
        if let Some(expected) = expected {
            assert!(
                candidates.iter().any(|path| path == expected),
                "{wanted}: {candidates:?}"
            );
        }
        assert!(!error.hints().is_empty());
    }
}

#[test]
fn a_repository_opens_by_each_of_its_paths() {
    let place = Place::new();
    let path = place.small("r");
    let id = git_line(&path, ["rev-parse", "HEAD"]);
    git(&path, ["worktree", "add", "-q", "-b", "side", "../linked"]);
    git(&place.path(""), ["clone", "-q", "--bare", "r", "bare.git"]);
    let module = place.small("library");
    git(
        &path,
        [
            "-c",
            "protocol.file.allow=always",
            "submodule",
            "--quiet",
            "add",
            module.to_str().unwrap(),
            "lib",
        ],
    );
    for (name, expected) in [
        ("r", Some(&id)),
        ("r/.git", Some(&id)),
        ("linked", Some(&id)),
        ("linked/.git", Some(&id)),
        ("bare.git", Some(&id)),
        ("r/lib", None),
        ("r/lib/.git", None),
    ] {
        let opened = Repository::open(place.path(name)).unwrap();
        let head = opened.resolve("HEAD").unwrap();
        let expected = expected
            .cloned()
            .unwrap_or_else(|| git_line(&module, ["rev-parse", "HEAD"]));
        assert_eq!(head.id.to_string(), expected, "{name}");
        assert_eq!(opened.is_bare(), name == "bare.git", "{name}");
        assert_eq!(
            opened.tree(&head, BStr::new("")).unwrap().len(),
            2,
            "{name}"
        );
    }
    assert_eq!(
        Repository::open(place.path("linked"))
            .unwrap()
            .resolve("side")
            .unwrap()
            .id
            .to_string(),
        id
    );
    for (start, expected) in [
        ("r/dir", "r"),
        ("r/lib", "r/lib"),
        ("linked/dir", "linked"),
        ("bare.git/refs", "bare.git"),
    ] {
        let found = Repository::discover(place.path(start)).unwrap();
        assert_eq!(found.display_path(), place.path(expected), "{start}");
    }
}

#[test]
fn what_is_no_repository_says_why() {
    let place = Place::new();
    let path = place.small("r");
    assert!(matches!(
        Repository::open(place.path("absent")),
        Err(GitError::NoSuchPath { .. })
    ));
    fs::create_dir(place.path("plain")).unwrap();
    let error = Repository::open(place.path("plain")).err().unwrap();
    assert!(
        matches!(
            error,
            GitError::NotARepository {
                enclosing: None,
                ..
            }
        ),
        "{error:?}"
    );
    assert!(matches!(
        Repository::open(path.join("a")),
        Err(GitError::NotARepository { .. })
    ));
    let error = Repository::open(path.join("dir")).err().unwrap();
    assert!(
        error.hints()[0].contains(path.to_str().unwrap()),
        "{error:?}"
    );
    // The directory of temporary files could itself lie in a repository; the root of the system does not.
    assert!(matches!(
        Repository::discover("/proc"),
        Err(GitError::NotInRepository { .. })
    ));
    write(&place.path("plain"), ".git", b"gitdir: /no/where\n");
    assert!(matches!(
        Repository::open(place.path("plain")),
        Err(GitError::NotARepository { .. } | GitError::Open { .. })
    ));
}

#[test]
fn an_empty_repository_says_so() {
    let place = Place::new();
    let path = place.init("r", "sha1");
    let opened = Repository::open(&path).unwrap();
    for result in [
        opened.resolve("HEAD").err(),
        opened.resolve("main").err(),
        opened.default_ref().err(),
    ] {
        assert!(
            matches!(result, Some(GitError::EmptyRepository { .. })),
            "{result:?}"
        );
    }
    git(&place.path(""), ["init", "-q", "--bare", "bare.git"]);
    let bare = Repository::open(place.path("bare.git")).unwrap();
    assert!(matches!(
        bare.default_ref(),
        Err(GitError::EmptyRepository { .. })
    ));
}

#[test]
fn an_empty_commit_has_an_empty_tree() {
    for format in ["sha1", "sha256"] {
        let place = Place::new();
        let path = place.init("r", format);
        commit(&path, "nothing");
        let opened = Repository::open(&path).unwrap();
        let head = opened.resolve("HEAD").unwrap();
        assert!(opened.tree(&head, BStr::new("")).unwrap().is_empty());
    }
}

#[test]
fn objects_are_found_through_alternates() {
    let place = Place::new();
    let path = full_repository(&place, "r", "sha1");
    git(
        &place.path(""),
        ["clone", "-q", "--shared", "r", "borrower"],
    );
    let borrower = place.path("borrower");
    assert!(borrower.join(".git/objects/info/alternates").exists());
    assert_same_as_git(&borrower, &Repository::open(&borrower).unwrap(), "HEAD");
    // The lender goes away: its objects are missing, and nothing worse happens.
    fs::rename(&path, place.path("moved")).unwrap();
    let opened = Repository::open(&borrower).unwrap();
    let error = opened.resolve("HEAD").err().unwrap();
    assert!(matches!(error, GitError::MissingObject { .. }), "{error:?}");
}

#[test]
fn a_large_tree_is_listed_as_git_lists_it_loose_and_packed() {
    let place = Place::new();
    let path = place.init("r", "sha1");
    let mut index = Vec::new();
    let blob = fixture::git_input(&path, &["hash-object", "-w", "--stdin"], b"x\n");
    for file in 0..10_000 {
        index.extend_from_slice(
            format!(
                "100644 {blob}\tdir{:02}/sub{}/file{file}\n",
                file / 200,
                file % 20
            )
            .as_bytes(),
        );
    }
    fixture::git_input(&path, &["update-index", "--index-info"], &index);
    git(&path, ["commit", "-q", "-m", "large"]);
    for packed in [false, true] {
        if packed {
            git(&path, ["repack", "-q", "-a", "-d"]);
        }
        let opened = Repository::open(&path).unwrap();
        let head = opened.resolve("HEAD").unwrap();
        assert_eq!(
            listed(&opened.tree(&head, BStr::new("")).unwrap()),
            ls_tree(&path, "HEAD", "")
        );
    }
}
