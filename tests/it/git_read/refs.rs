//! Names of versions, compared with `git rev-parse`.

use std::fmt::Write as _;

use kdbg::git::{DefaultRefReason, GitError, Repository};

use super::fixture::{Place, assert_same_as_git, commit, git, git_input, git_line, write};

/// A repository with branches, tags, a pull request and a remote.
fn repository(place: &Place) -> std::path::PathBuf {
    let upstream = place.small("upstream");
    git(&upstream, ["checkout", "-q", "-b", "feature/login"]);
    write(&upstream, "login", b"x\n");
    commit(&upstream, "login");
    git(&upstream, ["checkout", "-q", "main"]);
    git(&place.path(""), ["clone", "-q", "upstream", "r"]);
    let path = place.path("r");
    for number in 0..3 {
        write(&path, "a", format!("version {number}\n").as_bytes());
        commit(&path, &format!("number {number}"));
    }
    git(&path, ["tag", "light", "HEAD~1"]);
    git(&path, ["tag", "-a", "-m", "a tag", "v1.0", "HEAD~2"]);
    git(
        &path,
        ["tag", "-a", "-m", "a tag of a tag", "v1.0-again", "v1.0"],
    );
    git(&path, ["branch", "topic", "HEAD~1"]);
    git(&path, ["update-ref", "refs/pull/7/head", "HEAD~2"]);
    path
}

#[test]
fn names_mean_what_git_says_they_mean() {
    let place = Place::new();
    let path = repository(&place);
    for packed in [false, true] {
        if packed {
            git(&path, ["pack-refs", "--all"]);
            git(&path, ["repack", "-q", "-a", "-d"]);
        }
        let opened = Repository::open(&path).unwrap();
        let full = git_line(&path, ["rev-parse", "HEAD~1"]);
        for spec in [
            "HEAD",
            "@",
            "main",
            "heads/main",
            "refs/heads/main",
            "topic",
            "light",
            "tags/light",
            "v1.0",
            "v1.0-again",
            "v1.0^{}",
            "v1.0^{commit}",
            "v1.0-again^{}",
            "origin/main",
            "origin",
            "origin/feature/login",
            "refs/remotes/origin/main",
            "refs/pull/7/head",
            "HEAD~2",
            "HEAD^",
            "main~1",
            "HEAD^0",
            "v1.0~0",
            &full,
            &full[..12],
            &full[..7],
        ] {
            let commit = assert_same_as_git(&path, &opened, spec);
            assert_eq!(commit.notice, None, "{spec}");
        }
        let tree = opened.resolve("HEAD^{tree}").unwrap();
        assert_eq!(
            tree.id.to_string(),
            git_line(&path, ["rev-parse", "HEAD^{tree}"])
        );
        assert_eq!((tree.summary, tree.time), (None, None));
        let folder = opened.resolve("HEAD:dir").unwrap();
        assert_eq!(
            folder.tree.to_string(),
            git_line(&path, ["rev-parse", "HEAD:dir"])
        );
    }
}

#[test]
fn a_branch_of_the_remote_is_found_by_its_bare_name_and_said() {
    let place = Place::new();
    let path = repository(&place);
    let opened = Repository::open(&path).unwrap();
    let found = opened.resolve("feature/login").unwrap();
    assert_eq!(
        found.id.to_string(),
        git_line(&path, ["rev-parse", "origin/feature/login"])
    );
    assert_eq!(
        found.reference.as_deref(),
        Some("refs/remotes/origin/feature/login")
    );
    assert_eq!(
        found.notice.as_deref(),
        Some(
            "`feature/login` is no branch or tag here, taken from the remote branch `origin/feature/login`"
        )
    );
    let parent = opened.resolve("feature/login~1").unwrap();
    assert_eq!(
        parent.id.to_string(),
        git_line(&path, ["rev-parse", "origin/feature/login~1"])
    );

    // `login` is the end of a branch's name, not a branch.
    assert!(matches!(
        opened.resolve("login"),
        Err(GitError::UnknownRef { .. })
    ));
    git(
        &path,
        ["update-ref", "refs/remotes/other/feature/login", "HEAD"],
    );
    assert_eq!(opened.resolve("feature/login").unwrap().id, found.id);
    git(
        &path,
        ["update-ref", "-d", "refs/remotes/origin/feature/login"],
    );
    git(
        &path,
        ["update-ref", "refs/remotes/third/feature/login", "HEAD"],
    );
    let error = opened.resolve("feature/login").err().unwrap();
    assert!(
        matches!(&error, GitError::AmbiguousRemote { candidates, .. } if candidates.len() == 2),
        "{error:?}"
    );
}

#[test]
fn an_unknown_name_comes_with_its_neighbours() {
    let place = Place::new();
    let path = repository(&place);
    let opened = Repository::open(&path).unwrap();
    for (spec, expected) in [
        ("mian", "main"),
        ("v1.1", "v1.0"),
        ("tpoic~2", "topic"),
        ("refs/pull/8/head", "refs/pull/7/head"),
    ] {
        let error = opened.resolve(spec).err().unwrap();
        let GitError::UnknownRef { candidates, .. } = &error else {
            panic!("{spec}: {error:?}")
        };
        assert!(
            candidates.iter().any(|name| name == expected),
            "{spec}: {candidates:?}"
        );
    }
    let absent = "0123456789012345678901234567890123456789";
    for spec in [
        "",
        " ",
        "-",
        "--upload-pack=id",
        "-x",
        "..",
        "../../config",
        "config",
        "HEAD/../config",
        "no such",
        "a\0b",
        "@{upstream",
        "^",
        "~",
        ":",
        absent,
        "deadbeef",
    ] {
        let error = opened.resolve(spec).err();
        assert!(
            matches!(
                error,
                Some(GitError::UnknownRef { .. } | GitError::Unresolvable { .. })
            ),
            "{spec}: {error:?}"
        );
    }
    for spec in ["HEAD~99", "main..topic", "main...topic", "^main"] {
        assert!(
            matches!(opened.resolve(spec), Err(GitError::Unresolvable { .. })),
            "{spec}"
        );
    }
    assert!(matches!(
        opened.resolve("HEAD:a"),
        Err(GitError::NotATree { .. })
    ));
}

#[test]
fn a_name_that_looks_like_an_option_is_only_a_name() {
    let place = Place::new();
    let path = repository(&place);
    git(&path, ["update-ref", "refs/heads/--output=x", "HEAD~1"]);
    let opened = Repository::open(&path).unwrap();
    let found = opened.resolve("--output=x").unwrap();
    assert_eq!(
        found.id.to_string(),
        git_line(&path, ["rev-parse", "HEAD~1"])
    );
    assert!(!path.join("x").exists());
}

#[test]
fn an_ambiguous_abbreviation_lists_its_candidates() {
    let place = Place::new();
    let path = place.init("r", "sha1");
    // Among so many commits two begin with the same four digits; git finds the pair for us.
    let mut input = String::new();
    for number in 0..2000 {
        let message = number.to_string();
        write!(input, "commit refs/heads/n{number}\ncommitter c <c@example.invalid> {} +0000\ndata {}\n{message}\n",
            1_700_000_000 + number,
            message.len()).unwrap();
    }
    git_input(&path, &["fast-import", "--quiet"], input.as_bytes());
    let ids = git_line(&path, ["for-each-ref", "--format=%(objectname)"]);
    let mut ids: Vec<_> = ids.lines().map(str::to_owned).collect();
    ids.sort();
    let pair = ids
        .windows(2)
        .find(|pair| pair[0][..4] == pair[1][..4])
        .unwrap();
    let opened = Repository::open(&path).unwrap();
    let error = opened.resolve(&pair[0][..4]).err().unwrap();
    let GitError::AmbiguousId { candidates, .. } = &error else {
        panic!("{error:?}")
    };
    assert!(
        candidates.len() >= 2 && candidates.iter().all(|line| line.contains("(commit ")),
        "{candidates:?}"
    );
    let common = pair[0]
        .bytes()
        .zip(pair[1].bytes())
        .take_while(|(a, b)| a == b)
        .count();
    assert_eq!(
        opened.resolve(&pair[0][..=common]).unwrap().id.to_string(),
        pair[0]
    );
}

#[test]
fn of_an_abbreviation_that_fits_a_commit_and_a_file_the_commit_is_meant() {
    let place = Place::new();
    let path = place.init("r", "sha1");
    let mut input = String::new();
    for number in 0..500 {
        let content = number.to_string();
        let length = content.len();
        write!(input, "commit refs/heads/n{number}\ncommitter c <c@example.invalid> 1700000000 +0000\ndata {length}\n{content}\n").unwrap();
    }
    for number in 0..4000 {
        write!(input, "blob\ndata 6\n{number:06}\n").unwrap();
    }
    git_input(&path, &["fast-import", "--quiet"], input.as_bytes());
    let all = git_line(
        &path,
        [
            "cat-file",
            "--batch-all-objects",
            "--batch-check=%(objecttype) %(objectname)",
        ],
    );
    let of = |kind: &str| -> Vec<&str> {
        all.lines()
            .filter_map(|line| line.strip_prefix(kind))
            .collect()
    };
    let (commits, blobs) = (of("commit "), of("blob "));
    let begins = |ids: &[&str], id: &str| ids.iter().filter(|other| other[..4] == id[..4]).count();
    // The ids are fixed, so the pair exists in every run.
    let id = commits
        .iter()
        .find(|id| begins(&commits, id) == 1 && begins(&blobs, id) > 0)
        .unwrap();
    assert_eq!(
        git_line(&path, ["rev-parse", &format!("{}^{{commit}}", &id[..4])]),
        **id
    );
    let found = Repository::open(&path).unwrap().resolve(&id[..4]).unwrap();
    assert_eq!(found.id.to_string(), **id);
}

#[test]
fn the_default_ref_is_the_remotes_then_the_usual_names() {
    let place = Place::new();
    let path = repository(&place);
    let default = |path| Repository::open(path).unwrap().default_ref().unwrap();
    let chosen = default(&path);
    assert_eq!(
        (chosen.full_name.as_str(), chosen.name.as_str()),
        ("refs/remotes/origin/main", "origin/main")
    );
    assert_eq!(chosen.reason, DefaultRefReason::OriginHead);

    // The remote's default branch was deleted: a name that leads nowhere is no default.
    git(
        &path,
        [
            "symbolic-ref",
            "refs/remotes/origin/HEAD",
            "refs/remotes/origin/gone",
        ],
    );
    let chosen = default(&path);
    assert_eq!(
        (chosen.name.as_str(), chosen.reason),
        ("main", DefaultRefReason::UsualName)
    );
    git(&path, ["branch", "-m", "main", "work"]);
    assert_eq!(default(&path).name, "origin/main");
    git(&path, ["update-ref", "-d", "refs/remotes/origin/main"]);
    let chosen = default(&path);
    assert_eq!(
        (chosen.name.as_str(), chosen.reason),
        ("HEAD", DefaultRefReason::CheckedOut)
    );
    git(&path, ["branch", "master", "HEAD~1"]);
    assert_eq!(default(&path).name, "master");

    git(
        &place.path(""),
        ["clone", "-q", "--bare", "-b", "topic", "r", "bare.git"],
    );
    git(
        &place.path("bare.git"),
        ["symbolic-ref", "HEAD", "refs/heads/topic"],
    );
    let chosen = default(&place.path("bare.git"));
    assert_eq!(
        (chosen.name.as_str(), chosen.reason),
        ("topic", DefaultRefReason::BareHead)
    );
}

#[test]
fn a_name_that_is_a_tag_and_a_branch_is_the_tag_and_that_is_said() {
    let place = Place::new();
    let path = place.init("r", "sha1");
    git(&path, ["commit", "-q", "--allow-empty", "-m", "one"]);
    git(&path, ["tag", "both"]);
    git(&path, ["commit", "-q", "--allow-empty", "-m", "two"]);
    git(&path, ["branch", "both"]);
    let commit = Repository::open(&path).unwrap().resolve("both").unwrap();
    assert_eq!(
        commit.id.to_string(),
        String::from_utf8(git(&path, ["rev-parse", "refs/tags/both"]))
            .unwrap()
            .trim_end()
    );
    let notice = commit.notice.unwrap();
    assert!(notice.contains("`both` is a tag and a branch"), "{notice}");
    assert_eq!(
        Repository::open(&path)
            .unwrap()
            .resolve("heads/both")
            .unwrap()
            .notice,
        None
    );
}
