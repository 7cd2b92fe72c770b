//! `kdbg which-ref` as a user runs it: real processes, real histories, git as the oracle.

mod origin;
mod packages;
mod registry;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::Write as _,
    path::Path,
    process::Output,
};

use kdbg::object::HashKind;
use serde_json::Value;

use crate::support::{
    git::{Repository, git, run},
    running::{Running, assert_code, command, said},
};

type Tree = BTreeMap<String, String>;

fn tree(files: &[(&str, &str)]) -> Tree {
    files
        .iter()
        .map(|(path, content)| ((*path).to_owned(), (*content).to_owned()))
        .collect()
}

/// A history under construction, for `git fast-import`.
struct Story {
    repository: Repository,
    stream: Vec<u8>,
    commits: usize,
    /// The user's cache, so that nothing is left in the real one.
    cache: tempfile::TempDir,
}

impl Story {
    fn new(kind: HashKind) -> Self {
        Self {
            repository: Repository::new(kind),
            stream: Vec::new(),
            commits: 0,
            cache: tempfile::tempdir().unwrap(),
        }
    }

    /// Adds a commit with this whole tree to a ref, and returns its number.
    fn commit(&mut self, reference: &str, parents: &[usize], tree: &Tree) -> usize {
        self.commits += 1;
        let number = self.commits;
        let out = &mut self.stream;
        writeln!(out, "commit {reference}\nmark :{number}").unwrap();
        writeln!(
            out,
            "committer Ada <ada@example.invalid> {} +0000",
            1_600_000_000 + number * 86_400
        )
        .unwrap();
        let subject = format!("change {number}");
        writeln!(out, "data {}\n{subject}", subject.len()).unwrap();
        for (position, parent) in parents.iter().enumerate() {
            let word = if position == 0 { "from" } else { "merge" };
            writeln!(out, "{word} :{parent}").unwrap();
        }
        out.extend_from_slice(b"deleteall\n");
        for (path, content) in tree {
            writeln!(
                out,
                "M 100644 inline {path}\ndata {}\n{content}",
                content.len()
            )
            .unwrap();
        }
        number
    }

    fn point(&mut self, reference: &str, commit: usize) {
        writeln!(self.stream, "reset {reference}\nfrom :{commit}\n").unwrap();
    }

    /// Writes what has been told.
    fn tell(&mut self) {
        let marks = self.repository.path().join("marks");
        let marks = marks.to_str().unwrap();
        let import = [
            "fast-import",
            "--quiet",
            "--force",
            &format!("--import-marks-if-exists={marks}"),
            &format!("--export-marks={marks}"),
        ];
        run(
            &mut git(self.repository.path(), &import),
            &std::mem::take(&mut self.stream),
            &[0],
        );
        self.repository
            .git(&["symbolic-ref", "HEAD", "refs/heads/main"]);
    }

    fn id(&self, commit: usize) -> String {
        let marks = fs::read_to_string(self.repository.path().join("marks")).unwrap();
        let line = marks
            .lines()
            .find(|line| line.starts_with(&format!(":{commit} ")))
            .unwrap();
        line.split(' ').nth(1).unwrap().to_owned()
    }

    fn ask(&self, running: &Running, more: &[&str]) -> Output {
        let repository = self.repository.path().to_str().unwrap();
        let arguments = ["which-ref", &running.target(), "--repo", repository];
        command(arguments.iter().chain(more))
            .env("XDG_CACHE_HOME", self.cache.path())
            .output()
            .unwrap()
    }

    fn json(&self, running: &Running, more: &[&str]) -> Value {
        let output = self.ask(running, &[&["-o", "json"], more].concat());
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", said(&output)))
    }

    fn kept(&self) -> std::path::PathBuf {
        let folder = fs::read_dir(self.cache.path().join("kdbg/history")).unwrap();
        let files: Vec<_> = folder.map(|entry| entry.unwrap().path()).collect();
        assert_eq!(files.len(), 1, "{files:?}");
        files.into_iter().next().unwrap()
    }
}

/// A process that works in a folder with these files.
fn process(tree: &Tree) -> (Running, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), tree);
    (Running::in_folder(folder.path()), folder)
}

fn write(folder: &Path, tree: &Tree) {
    for (path, content) in tree {
        let path = folder.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// main: 1 - 2 - 4; the pull request 3 from 2 is on no branch.
fn pull_request() -> Story {
    let mut story = Story::new(HashKind::Sha1);
    let service = |page: &str, lock: &str| {
        tree(&[
            ("services/shop/page.py", page),
            ("services/shop/util.py", "util\n"),
            ("services/shop/requirements.txt", lock),
            ("services/shop/Dockerfile", "FROM x\n"),
            ("services/cart/page.py", "cart\n"),
        ])
    };
    story.commit("refs/heads/main", &[], &service("page 1\n", "lock 1\n"));
    story.commit("refs/heads/main", &[1], &service("page 2\n", "lock 1\n"));
    story.commit(
        "refs/pull/7/head",
        &[2],
        &service("page of the request\n", "lock 1\n"),
    );
    story.commit("refs/heads/main", &[2], &service("page 2\n", "lock 2\n"));
    story.tell();
    story
}

#[test]
fn a_commit_that_is_only_in_a_pull_request_is_found_and_told_as_not_merged() {
    let story = pull_request();
    let (running, _folder) = process(&tree(&[
        ("page.py", "page of the request\n"),
        ("util.py", "util\n"),
        ("requirements.txt", "lock 1\n"),
    ]));
    let output = story.ask(&running, &[]);
    assert_code(&output, 1);
    // Of the two commits on main before the request both have another page, so which one it was cannot be told.
    let (short, others) = (
        &story.id(3)[..7],
        format!("{}..{}", &story.id(1)[..7], &story.id(2)[..7]),
    );
    assert_eq!(
        text(&output).lines().next().unwrap(),
        format!(
            "runs {short} (refs/pull/7/head, not on main) · nearest on main: {others}, 1 file differs"
        )
    );
    assert!(
        text(&output).contains("1 commit ahead of main, 1 behind"),
        "{}",
        text(&output)
    );
    assert!(text(&output).contains("/page.py\n"), "{}", text(&output));
    let json = story.json(&running, &[]);
    assert_eq!(json["verdict"], "fits");
    assert_eq!(json["answers"][0]["newest"]["id"], story.id(3));
    assert_eq!(json["answers"][0]["merged"], false);
    assert_eq!(
        json["answers"][0]["refs"],
        serde_json::json!(["refs/pull/7/head"])
    );
    assert_eq!(
        json["on_reference"]["differs"][0]["repository"],
        "services/shop/page.py"
    );
    assert_eq!(json["mappings"][0]["repository"], "services/shop");
}

#[test]
fn diff_src_says_in_its_head_which_commit_runs() {
    let story = pull_request();
    let (running, _folder) = process(&tree(&[
        ("page.py", "page of the request\n"),
        ("util.py", "util\n"),
        ("requirements.txt", "lock 1\n"),
    ]));
    let repository = story.repository.path().to_str().unwrap();
    let diff = || {
        command([
            "diff-src",
            &running.target(),
            "--repo",
            repository,
            "--stat",
        ])
        .env("XDG_CACHE_HOME", story.cache.path())
        .output()
        .unwrap()
    };
    let head = format!(
        "note: runs {} (refs/pull/7/head, not on main) · nearest on main: ",
        &story.id(3)[..7]
    );
    assert!(said(&diff()).contains(&head), "{}", said(&diff()));
    // What is read in a moment is not kept, and what is kept is used.
    assert!(
        !story
            .cache
            .path()
            .join("kdbg/history")
            .read_dir()
            .is_ok_and(|mut files| files.next().is_some())
    );
    story.ask(&running, &[]);
    story.kept();
    assert!(said(&diff()).contains(&head), "{}", said(&diff()));
}

#[test]
fn a_commit_of_the_default_branch_is_no_finding_and_one_with_a_patched_file_is() {
    let story = pull_request();
    let files = [
        ("page.py", "page 2\n"),
        ("util.py", "util\n"),
        ("requirements.txt", "lock 2\n"),
    ];
    let (running, folder) = process(&tree(&files));
    let output = story.ask(&running, &[]);
    assert_code(&output, 0);
    let short = &story.id(4)[..7];
    assert!(
        text(&output).starts_with(&format!("runs {short} (on main)\n")),
        "{}",
        text(&output)
    );
    fs::write(folder.path().join("util.py"), "patched\n").unwrap();
    let output = story.ask(&running, &[]);
    assert_code(&output, 1);
    assert!(
        text(&output).starts_with(&format!("nearest {short} (on main), 1 file differs\n")),
        "{}",
        text(&output)
    );
    assert!(text(&output).contains("/util.py\n"), "{}", text(&output));
}

#[test]
fn only_the_refs_that_are_asked_for_are_searched() {
    let story = pull_request();
    let (running, _folder) = process(&tree(&[
        ("page.py", "page of the request\n"),
        ("util.py", "util\n"),
        ("requirements.txt", "lock 1\n"),
    ]));
    let json = story.json(&running, &["--refs", "refs/heads/*"]);
    assert_eq!(json["searched"]["refs"], 1);
    assert_eq!(json["answers"][0]["newest"]["id"], story.id(2));
    let output = story.ask(&running, &["--refs", "release-*"]);
    assert_code(&output, 2);
    assert!(said(&output).contains("no ref of"), "{}", said(&output));
}

#[test]
fn a_package_managers_copy_of_a_lock_file_is_no_file_that_differs() {
    let mut story = Story::new(HashKind::Sha1);
    let service = |page: &str, lock: &str| {
        tree(&[
            ("page.js", page),
            ("util.js", "util\n"),
            ("pnpm-lock.yaml", lock),
        ])
    };
    story.commit("refs/heads/main", &[], &service("1\n", "lock 1\n"));
    story.commit("refs/heads/main", &[1], &service("2\n", "lock 2\n"));
    story.tell();
    // The packages were installed in an earlier layer, from the older lock file.
    let (running, _folder) = process(&tree(&[
        ("page.js", "2\n"),
        ("util.js", "util\n"),
        ("node_modules/.pnpm/lock.yaml", "lock 1\n"),
        ("node_modules/.modules.yaml", "layoutVersion: 5\n"),
        ("vendor/composer/installed.json", "lock 1\n"),
    ]));
    let output = story.ask(&running, &[]);
    assert_code(&output, 0);
    let first = format!("runs {} (on main)", &story.id(2)[..7]);
    assert_eq!(text(&output).lines().next().unwrap(), first);
}

#[test]
fn two_branches_with_the_same_files_cannot_be_told_apart() {
    let mut story = Story::new(HashKind::Sha1);
    story.commit(
        "refs/heads/main",
        &[],
        &tree(&[("a.py", "1\n"), ("b.py", "1\n")]),
    );
    story.commit(
        "refs/heads/left",
        &[1],
        &tree(&[("a.py", "2\n"), ("b.py", "1\n")]),
    );
    story.commit(
        "refs/heads/right",
        &[1],
        &tree(&[("a.py", "2\n"), ("b.py", "1\n")]),
    );
    story.tell();
    let (running, _folder) = process(&tree(&[("a.py", "2\n"), ("b.py", "1\n")]));
    let output = story.ask(&running, &[]);
    assert_code(&output, 1);
    assert!(
        text(&output).contains("cannot be told apart by what runs: left, right\n"),
        "{}",
        text(&output)
    );
    let json = story.json(&running, &[]);
    assert_eq!(
        json["answers"][0]["refs"],
        serde_json::json!(["refs/heads/left", "refs/heads/right"])
    );
    assert_eq!(json["answers"][0]["commits"], 2);
}

#[test]
fn commits_with_other_files_that_are_as_near_are_told_as_undecided() {
    let mut story = Story::new(HashKind::Sha1);
    story.commit(
        "refs/heads/main",
        &[],
        &tree(&[("a.py", "1\n"), ("b.py", "1\n"), ("c.py", "c\n")]),
    );
    story.commit(
        "refs/heads/left",
        &[1],
        &tree(&[("a.py", "2\n"), ("b.py", "1\n"), ("c.py", "c\n")]),
    );
    story.commit(
        "refs/heads/right",
        &[1],
        &tree(&[("a.py", "1\n"), ("b.py", "2\n"), ("c.py", "c\n")]),
    );
    story.tell();
    let (running, _folder) = process(&tree(&[("a.py", "2\n"), ("b.py", "2\n"), ("c.py", "c\n")]));
    let output = story.ask(&running, &[]);
    assert_code(&output, 1);
    assert!(
        text(&output).contains("equally near: "),
        "{}",
        text(&output)
    );
    assert_eq!(story.json(&running, &[])["verdict"], "undecided");
}

#[test]
fn nothing_fits_when_nothing_is_equal_or_only_what_lies_everywhere() {
    let story = pull_request();
    let (running, _folder) = process(&tree(&[("other.js", "x\n")]));
    let output = story.ask(&running, &[]);
    assert_code(&output, 1);
    assert!(
        text(&output).starts_with("no commit fits: 1 running file, 4 commits of 2 refs searched\n"),
        "{}",
        text(&output)
    );
    let mut story = Story::new(HashKind::Sha1);
    let empty: Vec<(String, &str)> = (0..60)
        .map(|number| (format!("p{number}/__init__.py"), ""))
        .collect();
    let empty: Vec<(&str, &str)> = empty
        .iter()
        .map(|(path, content)| (path.as_str(), *content))
        .collect();
    story.commit("refs/heads/main", &[], &tree(&empty));
    story.tell();
    let (running, _folder) = process(&tree(&[("pkg/__init__.py", "")]));
    assert_eq!(story.json(&running, &[])["verdict"], "nothing");
}

#[test]
fn a_folder_that_was_renamed_later_is_found_at_its_old_place() {
    let mut story = Story::new(HashKind::Sha1);
    let files = |folder: &str, last: &str| {
        let path = |name: &str| format!("{folder}/{name}");
        [
            (path("a.py"), "a\n"),
            (path("b.py"), "b\n"),
            (path("c.py"), last),
        ]
        .into_iter()
        .map(|(path, content)| (path, content.to_owned()))
        .collect::<Tree>()
    };
    story.commit("refs/heads/main", &[], &files("old", "c 1\n"));
    story.commit("refs/heads/main", &[1], &files("old", "c 2\n"));
    story.commit("refs/heads/main", &[2], &files("services/new", "c 2\n"));
    story.commit("refs/heads/main", &[3], &files("services/new", "c 3\n"));
    story.tell();
    for (content, oldest, newest) in [("c 1\n", 1, 1), ("c 2\n", 2, 3), ("c 3\n", 4, 4)] {
        let (running, _folder) = process(&tree(&[
            ("a.py", "a\n"),
            ("b.py", "b\n"),
            ("c.py", content),
        ]));
        let json = story.json(&running, &[]);
        assert_eq!(
            json["answers"][0]["oldest"]["id"],
            story.id(oldest),
            "{content}"
        );
        assert_eq!(
            json["answers"][0]["newest"]["id"],
            story.id(newest),
            "{content}"
        );
    }
}

#[test]
fn files_whose_lines_end_otherwise_are_equal_and_said_to_be_converted() {
    let story = pull_request();
    let (running, _folder) = process(&tree(&[
        ("page.py", "page of the request\r\n"),
        ("util.py", "util\n"),
        ("requirements.txt", "lock 1\r\n"),
    ]));
    let json = story.json(&running, &[]);
    assert_eq!(json["verdict"], "fits", "{json:#}");
    assert_eq!(json["answers"][0]["newest"]["id"], story.id(3));
    assert_eq!(json["answers"][0]["equal"], 3);
    assert_eq!(json["answers"][0]["converted"], 2);
    let shown = text(&story.ask(&running, &[]));
    assert!(
        shown.contains("3 of 3 files are equal, 2 of them but for line endings"),
        "{shown}"
    );
}

#[test]
fn a_repository_with_the_other_hash_is_searched_too() {
    let mut story = Story::new(HashKind::Sha256);
    story.commit("refs/heads/main", &[], &tree(&[("a.py", "1\n")]));
    story.commit("refs/heads/main", &[1], &tree(&[("a.py", "2\n")]));
    story.tell();
    let (running, _folder) = process(&tree(&[("a.py", "1\n")]));
    for _ in 0..2 {
        assert_eq!(
            story.json(&running, &[])["answers"][0]["newest"]["id"],
            story.id(1)
        );
    }
}

#[test]
fn the_kept_history_is_added_to_and_made_anew_when_it_is_damaged() {
    let mut story = pull_request();
    let (running, folder) = process(&tree(&[
        ("page.py", "page of the request\n"),
        ("util.py", "util\n"),
        ("requirements.txt", "lock 1\n"),
    ]));
    story.json(&running, &[]);
    let kept = fs::read(story.kept()).unwrap();
    let said_of = |story: &Story| said(&story.ask(&running, &["-v"]));
    assert!(said_of(&story).contains("added=0"), "{}", said_of(&story));
    assert_eq!(fs::read(story.kept()).unwrap(), kept);
    // A new commit is read, the others are not.
    story.commit(
        "refs/heads/main",
        &[4],
        &tree(&[
            ("services/shop/page.py", "page 5\n"),
            ("services/shop/util.py", "util\n"),
        ]),
    );
    story.tell();
    assert!(said_of(&story).contains("added=1"));
    write(folder.path(), &tree(&[("page.py", "page 5\n")]));
    fs::remove_file(folder.path().join("requirements.txt")).unwrap();
    assert_eq!(
        story.json(&running, &[])["answers"][0]["newest"]["id"],
        story.id(5)
    );
    // Damaged in the middle, cut, foreign, empty: each is as good as none, and said.
    let whole = fs::read(story.kept()).unwrap();
    let mut flipped = whole.clone();
    let middle = flipped.len() / 2;
    flipped[middle] ^= 1;
    for damaged in [
        flipped,
        whole[..whole.len() - 1].to_vec(),
        b"something else, and long enough to be a head of a file".to_vec(),
        Vec::new(),
    ] {
        fs::write(story.kept(), damaged).unwrap();
        let complaint = said_of(&story);
        assert!(complaint.contains("read afresh"), "{complaint}");
        assert!(complaint.contains("added=5"), "{complaint}");
        assert!(said_of(&story).contains("added=0"));
    }
}

#[test]
fn runs_beside_each_other_give_the_same_answer() {
    let story = pull_request();
    let (running, _folder) = process(&tree(&[("page.py", "page 2\n"), ("util.py", "util\n")]));
    let outputs: Vec<Value> = std::thread::scope(|scope| {
        let runs: Vec<_> = (0..6)
            .map(|_| scope.spawn(|| story.json(&running, &[])))
            .collect();
        runs.into_iter().map(|run| run.join().unwrap()).collect()
    });
    // When the process started is computed from the time since boot, which is not known to the millisecond.
    let text = |output: &Value| {
        let mut output = output.clone();
        output["process"]["started"] = Value::Null;
        serde_json::to_string(&output).unwrap()
    };
    let first = text(&outputs[0]);
    assert!(outputs.iter().all(|output| text(output) == first));
    story.kept();
}

#[test]
fn a_shallow_clone_says_that_older_commits_were_not_searched() {
    let story = pull_request();
    let clone = tempfile::tempdir().unwrap();
    let url = format!("file://{}", story.repository.path().display());
    run(
        &mut git(
            clone.path(),
            &["clone", "-q", "--depth=1", "--branch=main", &url, "copy"],
        ),
        b"",
        &[0],
    );
    let (running, _folder) = process(&tree(&[
        ("page.py", "page 2\n"),
        ("util.py", "util\n"),
        ("requirements.txt", "lock 2\n"),
    ]));
    let copy = clone.path().join("copy");
    let ask = || {
        command([
            "which-ref",
            &running.target(),
            "--repo",
            copy.to_str().unwrap(),
            "-o",
            "json",
        ])
        .env("XDG_CACHE_HOME", story.cache.path())
        .output()
        .unwrap()
    };
    let output = ask();
    assert!(
        said(&output).contains("the clone is shallow"),
        "{}",
        said(&output)
    );
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["searched"]["commits"], 1);
    run(&mut git(&copy, &["fetch", "-q", "--unshallow"]), b"", &[0]);
    let json: Value = serde_json::from_slice(&ask().stdout).unwrap();
    assert_eq!(json["searched"]["commits"], 3);
}

/// Small numbers from a seed, the same ones each time.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % limit
    }
}

/// What the rule says for one commit, by `git ls-tree`: files equal at their place, and files that could run
/// and do not.
fn naive(story: &Story, commit: &str, running: &Tree) -> (usize, usize) {
    let listed = story.repository.git(&["ls-tree", "-r", commit]);
    let listed = String::from_utf8(listed).unwrap();
    let listed: BTreeMap<&str, &str> = listed
        .lines()
        .map(|line| line.split_once('\t').unwrap())
        .map(|(about, path)| (path, about.split(' ').nth(2).unwrap()))
        .collect();
    let equal = running
        .iter()
        .filter(|(path, content)| {
            let id = kdbg::object::blob_id(HashKind::Sha1, content.as_bytes())
                .unwrap()
                .to_string();
            listed.get(format!("svc/{path}").as_str()) == Some(&id.as_str())
        })
        .count();
    let missing = listed
        .keys()
        .filter_map(|path| path.strip_prefix("svc/"))
        .filter(|path| !running.contains_key(*path))
        .count();
    (equal, missing)
}

#[test]
fn the_best_commits_of_random_histories_are_those_that_git_ls_tree_says() {
    for seed in 1..=12 {
        let mut numbers = Numbers(seed);
        let mut story = Story::new(HashKind::Sha1);
        let mut trees: Vec<Tree> = Vec::new();
        for number in 0..30 {
            let mut parents = Vec::new();
            if number > 0 {
                parents.push(numbers.below(number) + 1);
                let second = numbers.below(number) + 1;
                if numbers.below(3) == 0 && !parents.contains(&second) {
                    parents.push(second);
                }
            }
            let mut tree = parents
                .first()
                .map(|parent| trees[parent - 1].clone())
                .unwrap_or_default();
            // A file of its own says which folder is which, whatever the rest does.
            tree.insert("svc/anchor.py".to_owned(), "anchor\n".to_owned());
            for _ in 0..numbers.below(4) {
                let path = format!("svc/f{}.py", numbers.below(6));
                match numbers.below(5) {
                    0 => drop(tree.remove(&path)),
                    content => drop(tree.insert(path.clone(), format!("{path} {content}\n"))),
                }
            }
            story.commit(&format!("refs/heads/b{number}"), &parents, &tree);
            trees.push(tree);
        }
        story.point("refs/heads/main", 30);
        story.tell();
        let ids: Vec<String> = (1..=30).map(|number| story.id(number)).collect();
        for _ in 0..3 {
            let mut wanted: Tree = trees[numbers.below(30)]
                .iter()
                .map(|(path, content)| {
                    (
                        path.strip_prefix("svc/").unwrap().to_owned(),
                        content.clone(),
                    )
                })
                .collect();
            if numbers.below(2) == 0 {
                wanted.insert("f0.py".to_owned(), "patched\n".to_owned());
            }
            let (running, _folder) = process(&wanted);
            let json = story.json(&running, &[]);
            let scores: Vec<(usize, usize)> =
                ids.iter().map(|id| naive(&story, id, &wanted)).collect();
            let best = scores
                .iter()
                .max_by_key(|(equal, missing)| (*equal, usize::MAX - missing))
                .unwrap();
            let same: BTreeSet<&str> = ids
                .iter()
                .zip(&scores)
                .filter(|(_, score)| *score == best)
                .map(|(id, _)| id.as_str())
                .collect();
            let answer = &json["answers"][0];
            assert_eq!(answer["equal"], best.0, "seed {seed}: {wanted:?}\n{json:#}");
            assert_eq!(
                answer["missing"].as_array().unwrap().len(),
                best.1,
                "seed {seed}: {wanted:?}\n{json:#}"
            );
            assert!(
                same.contains(answer["newest"]["id"].as_str().unwrap()),
                "seed {seed}"
            );
            let told: u64 = json["answers"]
                .as_array()
                .unwrap()
                .iter()
                .filter(|other| {
                    other["equal"] == answer["equal"]
                        && other["missing"].as_array().unwrap().len() == best.1
                })
                .map(|other| {
                    other["commits"].as_u64().unwrap() + other["commits_beside"].as_u64().unwrap()
                })
                .sum();
            // Up to five different answers are told of.
            assert!(
                told == same.len() as u64 || json["answers"].as_array().unwrap().len() == 5,
                "seed {seed}: {told} of {}",
                same.len()
            );
        }
    }
}
