//! Shallow and partial clones: what is missing is named with the command that gets it, and never fetched.

use std::fs;
use std::path::Path;
use std::process::Command;

use bstr::BStr;
use kdbg::git::{GitError, Repository};
use kdbg::object::{HashKind, ObjectId};

use super::fixture::{Place, assert_same_as_git, command, commit, git, git_line, write};

fn upstream(place: &Place) -> std::path::PathBuf {
    let path = place.small("upstream");
    for number in 0..3 {
        write(&path, "a", format!("version {number}\n").as_bytes());
        commit(&path, &format!("number {number}"));
    }
    git(&path, ["config", "uploadpack.allowFilter", "true"]);
    git(&path, ["config", "uploadpack.allowAnySHA1InWant", "true"]);
    path
}

fn clone(place: &Place, option: &str) -> std::path::PathBuf {
    let url = format!("file://{}", place.path("upstream").display());
    git(
        &place.path(""),
        ["clone", "-q", "--no-checkout", option, &url, "r"],
    );
    place.path("r")
}

/// Runs a hint's command as a user would, without the settings of this machine.
fn run_hint(hint: &str) {
    let line = hint.split('`').nth(1).unwrap();
    let template = command(Path::new("/"), [""]);
    let status = Command::new("sh")
        .args(["-c", line])
        .envs(
            template
                .get_envs()
                .filter_map(|(name, value)| Some((name, value?))),
        )
        .status()
        .unwrap();
    assert!(status.success(), "{line}");
}

#[test]
fn a_shallow_clone_is_read_and_its_edge_is_named() {
    let place = Place::new();
    upstream(&place);
    let path = clone(&place, "--depth=1");
    let opened = Repository::open(&path).unwrap();
    assert!(opened.is_shallow());
    assert_same_as_git(&path, &opened, "HEAD");
    let error = opened.resolve("HEAD~1").err().unwrap();
    assert!(
        matches!(
            error,
            GitError::Unresolvable { shallow: true, .. }
                | GitError::MissingObject { shallow: true, .. }
        ),
        "{error:?}"
    );
    assert!(error.hints()[0].contains("--unshallow"), "{error:?}");
    let beyond = git_line(&place.path("upstream"), ["rev-parse", "HEAD~1"]);
    let error = opened.resolve(&beyond).err().unwrap();
    assert!(
        matches!(&error, GitError::UnknownRef { shallow: true, .. }),
        "{error:?}"
    );
    run_hint(&error.hints()[0]);
    let opened = Repository::open(&path).unwrap();
    assert!(!opened.is_shallow());
    assert_same_as_git(&path, &opened, "HEAD~1");
}

#[test]
fn a_partial_clone_names_what_it_lacks_and_the_command_works() {
    for filter in ["--filter=blob:none", "--filter=tree:0"] {
        let place = Place::new();
        upstream(&place);
        let path = clone(&place, filter);
        // Would run for any lazy fetch.
        let marker = place.path("marker");
        git(
            &path,
            [
                "config",
                "remote.origin.uploadpack",
                &format!("touch {}; git-upload-pack", marker.display()),
            ],
        );
        let opened = Repository::open(&path).unwrap();
        assert_eq!(opened.promisor(), Some("origin"));
        let head = opened.resolve("HEAD").unwrap();
        let error = match opened.tree(&head, BStr::new("")) {
            Ok(entries) => {
                let ids: Vec<_> = entries.iter().map(|entry| entry.id).collect();
                let mut results = opened.read_blobs(&ids);
                assert!(results.iter().all(Result::is_err));
                results.remove(0).unwrap_err()
            }
            Err(error) => error,
        };
        let GitError::MissingObject { promisor, .. } = &error else {
            panic!("{error:?}")
        };
        assert_eq!(promisor.as_deref(), Some("origin"));
        assert!(error.to_string().ends_with("which is a partial clone"));
        assert!(!marker.exists(), "an object was fetched lazily");
        git(&path, ["config", "--unset", "remote.origin.uploadpack"]);
        // The second hint gets this object, the first all of them.
        run_hint(&error.hints()[1]);
        run_hint(&error.hints()[0]);
        assert_same_as_git(&path, &Repository::open(&path).unwrap(), "HEAD");
    }
}

#[test]
fn an_object_that_is_nowhere_is_missing_without_a_promise() {
    let place = Place::new();
    let path = upstream(&place);
    let opened = Repository::open(&path).unwrap();
    let id = ObjectId::Sha1([0x42; 20]);
    let error = opened.read_blob(&id).err().unwrap();
    assert!(
        matches!(
            &error,
            GitError::MissingObject {
                promisor: None,
                shallow: false,
                ..
            }
        ),
        "{error:?}"
    );
    assert!(error.hints()[0].contains("fsck"));
    for id in [
        ObjectId::Sha256([0x42; 32]),
        ObjectId::null(HashKind::Sha1),
        ObjectId::null(HashKind::Sha256),
    ] {
        assert!(matches!(
            opened.read_blob(&id),
            Err(GitError::MissingObject { .. })
        ));
    }
    let head = opened.resolve("HEAD").unwrap();
    assert!(matches!(
        opened.read_blob(&head.id),
        Err(GitError::WrongKind { .. })
    ));

    // A branch whose commit is gone.
    write(&path, ".git/refs/heads/lost", format!("{id}\n").as_bytes());
    let error = opened.resolve("lost").err().unwrap();
    assert!(
        matches!(&error, GitError::MissingObject { id: missing, .. } if *missing == id),
        "{error:?}"
    );
    let error = opened.resolve("lost~1").err().unwrap();
    assert!(
        matches!(&error, GitError::MissingObject { .. }),
        "{error:?}"
    );
    fs::remove_dir_all(path.join(".git/objects")).unwrap();
    let error = Repository::open(&path).err().unwrap();
    assert!(
        matches!(
            error,
            GitError::NotARepository { .. } | GitError::Open { .. }
        ),
        "{error:?}"
    );
}
