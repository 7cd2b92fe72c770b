use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::{
    evidence::noise::installed_below,
    history::{Appender, NewCommit},
    object::{HashKind, blob_id},
};

type Tree = BTreeMap<String, u32>;

fn id(content: u32) -> ObjectId {
    blob_id(HashKind::Sha1, &content.to_le_bytes()).unwrap()
}

/// Commits with their whole trees, of which the changes are made.
#[derive(Default)]
struct Repository {
    trees: Vec<Tree>,
    parents: Vec<Vec<u32>>,
    /// Which of the parents the changes are against.
    bases: Vec<usize>,
}

impl Repository {
    fn commit(&mut self, parents: &[u32], files: &[(&str, u32)]) -> u32 {
        let tree = files
            .iter()
            .map(|(path, content)| ((*path).to_owned(), *content));
        self.add(parents, 0, tree.collect())
    }

    fn add(&mut self, parents: &[u32], base: usize, tree: Tree) -> u32 {
        self.trees.push(tree);
        self.parents.push(parents.to_vec());
        self.bases.push(base);
        u32::try_from(self.trees.len() - 1).unwrap()
    }

    fn history(&self) -> History {
        let mut history = History::new(HashKind::Sha1);
        let mut appender = Appender::new(&mut history);
        let none = Tree::new();
        for (number, tree) in self.trees.iter().enumerate() {
            let parents = &self.parents[number];
            let base = parents.get(self.bases[number]).copied();
            let old = base.map_or(&none, |base| &self.trees[base as usize]);
            let paths = old
                .keys()
                .chain(tree.keys().filter(|path| !old.contains_key(*path)));
            let changes = paths
                .filter(|path| old.get(*path) != tree.get(*path))
                .map(|path| {
                    let side = |tree: &Tree| tree.get(path).map(|content| id(*content));
                    (path.as_str().into(), side(old), side(tree))
                });
            appender
                .push(&NewCommit {
                    id: id(1_000_000 + u32::try_from(number).unwrap()),
                    time: i64::try_from(number).unwrap(),
                    parents: parents.clone(),
                    base,
                    changes: changes.collect(),
                })
                .unwrap();
        }
        history
    }

    fn tree(&self, commit: u32) -> Vec<(BString, ObjectId)> {
        let tree = &self.trees[commit as usize];
        tree.iter()
            .map(|(path, content)| (path.as_str().into(), id(*content)))
            .collect()
    }
}

fn running(files: &[(&str, u32)]) -> Vec<RunningFile> {
    files
        .iter()
        .map(|(path, content)| RunningFile {
            path: (*path).into(),
            ids: vec![id(*content)],
            installed_in: installed_below((*path).into()),
        })
        .collect()
}

fn fit(repository: &Repository, running: &[RunningFile], tips: &[u32], reference: u32) -> Fit {
    Search {
        history: &repository.history(),
        running,
        tips,
        reference: Some(reference),
        pinned: &[],
    }
    .run()
}

#[test]
fn the_commit_that_runs_is_found_under_another_folder() {
    let mut repository = Repository::default();
    let first = repository.commit(&[], &[("svc/a.py", 1), ("svc/b.py", 2), ("x", 9)]);
    let second = repository.commit(&[first], &[("svc/a.py", 3), ("svc/b.py", 2), ("x", 9)]);
    let third = repository.commit(&[second], &[("svc/a.py", 3), ("svc/b.py", 4), ("x", 9)]);
    let running = running(&[("app/a.py", 3), ("app/b.py", 2), ("app/a.pyc", 77)]);
    let fit = fit(&repository, &running, &[third], third);
    assert_eq!(fit.answers[0].commits, [second]);
    assert_eq!(fit.mappings()[0].repository, "svc");
    assert_eq!(fit.mappings()[0].running, "app");
    let tree = fit.tree(&running, &repository.tree(third));
    assert_eq!((tree.equal(), tree.distance(), tree.unknown()), (1, 1, 1));
    assert_eq!(tree.files[1], FileFit::Differs("svc/b.py".into()));
}

#[test]
fn a_package_managers_copy_of_an_older_lock_file_is_no_difference() {
    let mut repository = Repository::default();
    let old = [("app.js", 1), ("lib.js", 5), ("pnpm-lock.yaml", 10)];
    let first = repository.commit(&[], &old);
    let new = [("app.js", 2), ("lib.js", 5), ("pnpm-lock.yaml", 11)];
    let second = repository.commit(&[first], &new);
    let running = running(&[
        ("app/app.js", 2),
        ("app/lib.js", 5),
        ("app/node_modules/.pnpm/lock.yaml", 10),
    ]);
    let fit = fit(&repository, &running, &[second], second);
    assert_eq!(fit.answers[0].commits, [second]);
    assert_eq!(fit.mappings().len(), 1, "{:?}", fit.mappings());
    let tree = fit.tree(&running, &repository.tree(second));
    assert_eq!((tree.equal(), tree.distance(), tree.unknown()), (2, 0, 1));
}

#[test]
fn installed_packages_that_some_commits_track_do_not_outweigh_the_code() {
    let mut repository = Repository::default();
    let packages = [
        ("vendor/a/a.go", 20),
        ("vendor/b/b.go", 21),
        ("vendor/c/c.go", 22),
    ];
    let with = |code: u32| [&packages[..], &[("a.go", code), ("b.go", 2)]].concat();
    let first = repository.commit(&[], &with(1));
    let second = repository.commit(&[first], &[("a.go", 3), ("b.go", 2)]);
    let runs = [
        ("app/a.go", 3),
        ("app/b.go", 2),
        ("app/vendor/a/a.go", 20),
        ("app/vendor/b/b.go", 21),
        ("app/vendor/c/c.go", 22),
    ];
    let running = running(&runs);
    let fit = fit(&repository, &running, &[second], second);
    assert_eq!(fit.answers[0].commits, [second]);
    let tree = fit.tree(&running, &repository.tree(second));
    assert_eq!((tree.equal(), tree.distance()), (2, 0));
    // In a commit that tracks them they are files as any others.
    let tree = fit.tree(&running, &repository.tree(first));
    assert_eq!((tree.equal(), tree.distance()), (4, 1));
}

#[test]
fn installed_packages_that_the_repository_tracks_tell_its_commits_apart() {
    let mut repository = Repository::default();
    let first = repository.commit(&[], &[("a.go", 1), ("b.go", 2), ("vendor/x.go", 20)]);
    let second = repository.commit(&[first], &[("a.go", 1), ("b.go", 2), ("vendor/x.go", 21)]);
    let third = repository.commit(&[second], &[("a.go", 1), ("b.go", 2), ("vendor/x.go", 22)]);
    let running = running(&[("app/a.go", 1), ("app/b.go", 2), ("app/vendor/x.go", 21)]);
    let fit = fit(&repository, &running, &[third], third);
    assert_eq!(fit.answers[0].commits, [second]);
    let tree = fit.tree(&running, &repository.tree(third));
    assert_eq!((tree.equal(), tree.distance()), (2, 1));
}

#[test]
fn a_package_that_is_all_that_runs_of_the_repository_is_found_where_it_is_installed() {
    let mut repository = Repository::default();
    let first = repository.commit(&[], &[("lib/a.js", 1), ("lib/b.js", 2)]);
    let second = repository.commit(&[first], &[("lib/a.js", 1), ("lib/b.js", 3)]);
    let running = running(&[
        ("app/server.js", 77),
        ("app/node_modules/x/lib/a.js", 1),
        ("app/node_modules/x/lib/b.js", 2),
    ]);
    let fit = fit(&repository, &running, &[second], second);
    assert_eq!(fit.answers[0].commits, [first]);
    assert_eq!(fit.mappings()[0].running, "app/node_modules/x");
}

#[test]
fn a_side_branch_does_not_get_the_state_of_what_stands_beside_it() {
    let mut repository = Repository::default();
    let base = repository.commit(&[], &[("a", 1), ("b", 2)]);
    let main = repository.commit(&[base], &[("a", 3), ("b", 2)]);
    let side = repository.commit(&[base], &[("a", 1), ("b", 4)]);
    let merge = repository.commit(&[main, side], &[("a", 3), ("b", 4)]);
    let both = |a, b| running(&[("app/a", a), ("app/b", b)]);
    let found = |a, b| {
        fit(&repository, &both(a, b), &[merge], merge).answers[0]
            .commits
            .clone()
    };
    assert_eq!(found(1, 2), [base]);
    assert_eq!(found(3, 2), [main]);
    assert_eq!(found(1, 4), [side]);
    assert_eq!(found(3, 4), [merge]);
}

#[test]
fn commits_that_do_not_touch_what_runs_are_one_range() {
    let mut repository = Repository::default();
    let first = repository.commit(&[], &[("s/a", 1), ("s/b", 1), ("doc", 1)]);
    let second = repository.commit(&[first], &[("s/a", 2), ("s/b", 2), ("doc", 1)]);
    let third = repository.commit(&[second], &[("s/a", 2), ("s/b", 2), ("doc", 2)]);
    let fourth = repository.commit(&[third], &[("s/a", 2), ("s/b", 3), ("doc", 2)]);
    let side = repository.commit(&[second], &[("s/a", 2), ("s/b", 2), ("doc", 7)]);
    let history = repository.history();
    let fit = fit(
        &repository,
        &running(&[("a", 2), ("b", 2)]),
        &[fourth, side],
        fourth,
    );
    assert_eq!(fit.answers[0].commits, [second, third, side]);
    let range = Range::of(&history, &fit.answers[0].commits, Some(fourth)).unwrap();
    assert_eq!(
        range,
        Range {
            oldest: second,
            newest: third,
            commits: 2,
            merged: true,
            beside: 1
        }
    );
    assert_eq!(
        AheadBehind::of(&history, side, fourth),
        AheadBehind {
            ahead: 1,
            behind: 2
        }
    );
}

#[test]
fn two_branches_with_the_same_files_are_one_answer_and_other_files_are_another() {
    let mut repository = Repository::default();
    let base = repository.commit(&[], &[("a", 1), ("b", 2), ("c", 3)]);
    let left = repository.commit(&[base], &[("a", 9), ("b", 2), ("c", 3)]);
    let right = repository.commit(&[base], &[("a", 9), ("b", 2), ("c", 3)]);
    let other = repository.commit(&[base], &[("a", 1), ("b", 2), ("c", 4)]);
    let tips = [left, right, other];
    let answers = fit(
        &repository,
        &running(&[("a", 9), ("b", 2), ("c", 3)]),
        &tips,
        base,
    )
    .answers;
    assert_eq!(answers[0].commits, [left, right]);
    // One file each apart, but not the same one: two answers of equal worth.
    let answers = fit(
        &repository,
        &running(&[("a", 9), ("b", 2), ("c", 4)]),
        &tips,
        base,
    )
    .answers;
    assert_eq!(answers[0].score, answers[1].score);
    assert_eq!(answers[0].commits, [other]);
    assert_eq!(answers[1].commits, [left, right]);
}

#[test]
fn a_folder_that_was_renamed_is_found_under_both_names() {
    let mut repository = Repository::default();
    let old = repository.commit(&[], &[("old/a", 1), ("old/b", 2), ("old/c", 3)]);
    let renamed = repository.commit(&[old], &[("new/a", 1), ("new/b", 2), ("new/c", 3)]);
    let later = repository.commit(&[renamed], &[("new/a", 1), ("new/b", 2), ("new/c", 4)]);
    let before = repository.commit(&[old], &[("old/a", 5), ("old/b", 2), ("old/c", 3)]);
    let found = |c| {
        let running = running(&[("app/a", 1), ("app/b", 2), ("app/c", c)]);
        fit(&repository, &running, &[later, before], later).answers[0]
            .commits
            .clone()
    };
    assert_eq!(found(4), [later]);
    assert_eq!(found(3), [old, renamed]);
}

#[test]
fn an_image_of_several_folders_and_of_a_file_moved_by_itself_is_found_whole() {
    let mut repository = Repository::default();
    let files = [
        ("svc/a.py", 1),
        ("svc/b.py", 2),
        ("lib/c.py", 3),
        ("lib/d.py", 4),
        ("tests/unit/test_a.py", 5),
    ];
    let first = repository.commit(&[], &files);
    let mut changed = files;
    changed[3].1 = 6;
    changed[4].1 = 7;
    let second = repository.commit(&[first], &changed);
    let running = running(&[
        ("app/a.py", 1),
        ("app/b.py", 2),
        ("app/common/c.py", 3),
        ("app/common/d.py", 6),
        ("app/test_a.py", 7),
    ]);
    let fit = fit(&repository, &running, &[second], second);
    assert_eq!(fit.answers[0].commits, [second]);
    assert_eq!(fit.tree(&running, &repository.tree(second)).distance(), 0);
}

#[test]
fn of_equal_files_the_commit_counts_that_has_none_that_does_not_run() {
    let mut repository = Repository::default();
    let old = repository.commit(
        &[],
        &[("s/a.py", 1), ("s/b.py", 2), ("s/tests/test_a.py", 3)],
    );
    let tested = repository.commit(
        &[old],
        &[
            ("s/a.py", 1),
            ("s/b.py", 2),
            ("s/tests/test_a.py", 3),
            ("s/tests/test_b.py", 3),
        ],
    );
    let grown = repository.commit(&[tested], &[("s/a.py", 1), ("s/b.py", 2), ("s/new.py", 8)]);
    let answers = fit(
        &repository,
        &running(&[("a.py", 1), ("b.py", 2)]),
        &[grown],
        grown,
    )
    .answers;
    assert_eq!(
        (answers[0].commits.as_slice(), answers[0].missing),
        ([old, tested].as_slice(), 0)
    );
    assert_eq!(
        (answers[1].commits.as_slice(), answers[1].missing),
        ([grown].as_slice(), 1)
    );
}

#[test]
fn a_file_may_be_any_of_several_blobs() {
    let mut repository = Repository::default();
    let first = repository.commit(&[], &[("a", 1)]);
    let second = repository.commit(&[first], &[("a", 2)]);
    let file = RunningFile {
        path: "a".into(),
        ids: vec![id(77), id(2)],
        installed_in: None,
    };
    assert_eq!(
        fit(&repository, &[file], &[second], second).answers[0].commits,
        [second]
    );
}

#[test]
fn nothing_in_common_is_no_answer_and_what_lies_everywhere_is_no_evidence() {
    let mut repository = Repository::default();
    let files: Vec<(String, u32)> = (0..60)
        .map(|number| (format!("d{number}/init"), 1))
        .collect();
    let files: Vec<(&str, u32)> = files
        .iter()
        .map(|(path, content)| (path.as_str(), *content))
        .collect();
    let only = repository.commit(&[], &files);
    assert!(
        fit(&repository, &running(&[("app/x", 2)]), &[only], only)
            .answers
            .is_empty()
    );
    let everywhere = fit(&repository, &running(&[("app/init", 1)]), &[only], only);
    assert!(
        everywhere
            .answers
            .iter()
            .all(|answer| !Fit::is_evidence(answer))
    );
}

#[test]
fn a_ref_of_people_goes_before_one_of_machines() {
    let mut repository = Repository::default();
    let first = repository.commit(&[], &[("a", 1)]);
    let second = repository.commit(&[first], &[("a", 2)]);
    let history = repository.history();
    let tip = |name: &str, commit| NamedTip {
        name: name.to_owned(),
        commit,
    };
    let tips = [
        tip("refs/pull/7/head", first),
        tip("refs/tags/v1", first),
        tip("refs/heads/main", second),
    ];
    let names = names_of(&history, &[first], &tips);
    assert_eq!(names.best.as_deref(), Some("refs/tags/v1"));
    assert_eq!(names.at.len(), 2);
    assert_eq!(names.containing, 3);
}

/// What the rule says, computed from whole trees, for running files that lie at the repository's own paths.
fn naive(repository: &Repository, commit: u32, running: &[RunningFile]) -> (usize, usize) {
    let tree = repository.tree(commit);
    let has = |file: &&RunningFile| {
        tree.iter()
            .any(|(path, id)| *path == file.path && file.ids.contains(id))
    };
    let lacks = |path: &BString| running.iter().all(|file| file.path != *path);
    let missing = tree.iter().filter(|(path, _)| lacks(path)).count();
    (running.iter().filter(has).count(), missing)
}

proptest! {
    /// Random histories with merges and any parent as base, all files in one folder that is pinned: every
    /// commit is in the group that the rule puts it in, and the best group is the best.
    #[test]
    fn scores_are_those_of_whole_trees(
        steps in prop::collection::vec((any::<u32>(), any::<u32>(), prop::collection::vec((0_u32..6, 0_u32..5), 0..5)), 1..24),
        files in prop::collection::btree_map(0_u32..6, 1_u32..5, 1..6),
    ) {
        let mut repository = Repository::default();
        for (one, other, edits) in &steps {
            let count = u32::try_from(repository.trees.len()).unwrap();
            let parents = match count {
                0 => vec![],
                _ if other % 3 == 0 && one % count != (other / 3) % count => vec![one % count, (other / 3) % count],
                _ => vec![one % count],
            };
            let mut tree = parents.first().map(|parent| repository.trees[*parent as usize].clone()).unwrap_or_default();
            for (name, content) in edits {
                let path = format!("f{name}");
                if *content == 0 { tree.remove(&path); } else { tree.insert(path, name * 10 + content); }
            }
            let base = if parents.len() > 1 { (*one % 2) as usize } else { 0 };
            repository.add(&parents, base, tree);
        }
        let running: Vec<RunningFile> = files
            .iter()
            .map(|(name, content)| RunningFile { path: format!("f{name}").into(), ids: vec![id(name * 10 + content)], installed_in: None })
            .collect();
        let last = u32::try_from(repository.trees.len() - 1).unwrap();
        let history = repository.history();
        let pinned = [FolderPair { running: BString::default(), repository: BString::default() }];
        let tips: Vec<u32> = (0..=last).collect();
        let found = Search { history: &history, running: &running, tips: &tips, reference: Some(last), pinned: &pinned }.run();
        let best = tips
            .iter()
            .map(|commit| naive(&repository, *commit, &running))
            .filter(|(equal, _)| *equal > 0)
            .max_by_key(|(equal, missing)| (*equal, std::cmp::Reverse(*missing)));
        prop_assert_eq!(found.answers.is_empty(), best.is_none());
        for answer in &found.answers {
            for commit in &answer.commits {
                let (equal, missing) = naive(&repository, *commit, &running);
                prop_assert_eq!(answer.score, plan::RARE * u32::try_from(equal).unwrap());
                prop_assert_eq!(answer.missing, u32::try_from(missing).unwrap());
                prop_assert_eq!(found.tree(&running, &repository.tree(*commit)).equal(), equal);
            }
        }
        if let (Some(first), Some((equal, missing))) = (found.answers.first(), best) {
            prop_assert_eq!(first.score, plan::RARE * u32::try_from(equal).unwrap());
            prop_assert_eq!(first.missing, u32::try_from(missing).unwrap());
        }
    }
}
