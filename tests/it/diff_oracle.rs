//! kdbg's diff against the real git, byte by byte.
//!
//! Many generated pairs of trees go through a few git processes. Each pair is compared alone, in both
//! directions, in every format; then all of them together as one large change with `git diff`; then the
//! patch is applied. Trees of published packages follow where they can be fetched.

use kdbg::diff::{
    Abbreviation, Change, FileCount, Limits, PatchOptions, Terminator, write_name_only,
    write_name_status, write_numstat, write_patch, write_shortstat, write_stat,
};
use kdbg::object::{FileMode, HashKind};

use crate::support::{
    fixtures::{Registry, release},
    git::{Repository, Tree, changes, git, run},
    trees::{generated, joined, number, write_out},
};

/// How many pairs are generated; `KDBG_ORACLE_CASES` and `KDBG_ORACLE_SEED` choose others.
const CASES: u64 = 256;

/// What one of our writers prints.
fn print(write: impl FnOnce(&mut Vec<u8>) -> std::io::Result<()>) -> Vec<u8> {
    let mut out = Vec::new();
    write(&mut out).unwrap();
    out
}

fn patch(changes: &[Change], options: &PatchOptions) -> Vec<u8> {
    print(|out| write_patch(out, changes, options))
}

/// A format under its git options.
type Format = (&'static [&'static str], fn(&[Change]) -> Vec<u8>);

fn counts(changes: &[Change]) -> Vec<FileCount> {
    FileCount::all(changes, &Limits::default())
}

fn with_context(changes: &[Change], context: usize) -> Vec<u8> {
    let options = PatchOptions {
        context,
        abbreviation: Abbreviation::Digits(DIGITS),
        ..PatchOptions::default()
    };
    patch(changes, &options)
}

/// Enough for the names of all generated blobs to differ; git adds digits where 7 are ambiguous.
const DIGITS: usize = 12;

const FORMATS: &[Format] = &[
    (&["-p", "--abbrev=12"], |changes| with_context(changes, 3)),
    (&["-p", "--full-index"], |changes| {
        let options = PatchOptions {
            abbreviation: Abbreviation::Full,
            ..PatchOptions::default()
        };
        patch(changes, &options)
    }),
    (&["-U0", "--abbrev=12"], |changes| with_context(changes, 0)),
    (&["-U1", "--abbrev=12"], |changes| with_context(changes, 1)),
    (&["-U25", "--abbrev=12"], |changes| {
        with_context(changes, 25)
    }),
    (&["--stat=80"], |changes| stat(changes, 80)),
    (&["--stat=1"], |changes| stat(changes, 1)),
    (&["--stat=26"], |changes| stat(changes, 26)),
    (&["--stat=41"], |changes| stat(changes, 41)),
    (&["--stat=60"], |changes| stat(changes, 60)),
    (&["--stat=200"], |changes| stat(changes, 200)),
    (&["--shortstat"], |changes| {
        print(|out| write_shortstat(out, &counts(changes)))
    }),
    (&["--numstat"], |changes| {
        print(|out| write_numstat(out, &counts(changes), Terminator::LineFeed))
    }),
    (&["--name-status"], |changes| {
        print(|out| write_name_status(out, changes, Terminator::LineFeed))
    }),
    (&["--name-only"], |changes| {
        print(|out| write_name_only(out, changes, Terminator::LineFeed))
    }),
];

/// Only for the change as a whole: the line between two pairs of trees would be ambiguous.
const NUL_FORMATS: &[Format] = &[
    (&["--numstat", "-z"], |changes| {
        print(|out| write_numstat(out, &counts(changes), Terminator::Nul))
    }),
    (&["--name-status", "-z"], |changes| {
        print(|out| write_name_status(out, changes, Terminator::Nul))
    }),
    (&["--name-only", "-z"], |changes| {
        print(|out| write_name_only(out, changes, Terminator::Nul))
    }),
];

fn stat(changes: &[Change], width: usize) -> Vec<u8> {
    print(|out| write_stat(out, &counts(changes), width))
}

/// Fails with the lines round the first difference.
fn assert_same(ours: &[u8], gits: &[u8], what: &str) {
    if ours == gits {
        return;
    }
    let lines = |text: &[u8]| -> Vec<String> {
        text.split_inclusive(|&byte| byte == b'\n')
            .map(|line| String::from_utf8_lossy(line).into_owned())
            .collect()
    };
    let (ours, gits) = (lines(ours), lines(gits));
    let at = ours
        .iter()
        .zip(&gits)
        .take_while(|(ours, gits)| ours == gits)
        .count();
    let near = |lines: &[String]| {
        lines[at.saturating_sub(25).min(lines.len())..(at + 15).min(lines.len())].concat()
    };
    panic!(
        "{what}: line {}\n== ours\n{}\n== git's\n{}",
        at + 1,
        near(&ours),
        near(&gits)
    );
}

/// Compares each pair alone and in both directions.
fn compare_each(repository: &Repository, pairs: &[(Tree, Tree)]) {
    let trees: Vec<&Tree> = pairs.iter().flat_map(|(old, new)| [old, new]).collect();
    let names = repository.import(&trees);
    for swapped in [false, true] {
        let order = |pair: &[String]| -> (String, String) {
            let (old, new) = (pair[0].clone(), pair[1].clone());
            if swapped { (new, old) } else { (old, new) }
        };
        let names: Vec<(String, String)> = names.chunks(2).map(order).collect();
        let names: Vec<(&str, &str)> = names
            .iter()
            .map(|(old, new)| (old.as_str(), new.as_str()))
            .collect();
        let all_changes: Vec<Vec<Change>> = pairs
            .iter()
            .map(|(old, new)| {
                if swapped {
                    changes(new, old)
                } else {
                    changes(old, new)
                }
            })
            .collect();
        for (options, print) in FORMATS {
            let gits = repository.diff_trees(&names, options);
            for (index, (changes, gits)) in all_changes.iter().zip(&gits).enumerate() {
                let what = format!("pair {index}, swapped: {swapped}, git {options:?}");
                assert_same(&print(changes), gits, &what);
            }
        }
    }
}

/// Both directions of a change: the trees and their names.
fn directions<'t>(
    trees: [&'t Tree; 2],
    names: &'t [String],
) -> [(&'t Tree, &'t Tree, &'t str, &'t str); 2] {
    let [old, new] = trees;
    [
        (old, new, &names[0], &names[1]),
        (new, old, &names[1], &names[0]),
    ]
}

/// Compares one large change with `git diff`.
fn compare(repository: &Repository, trees: [&Tree; 2]) {
    let names = repository.import(&trees);
    for (old, new, old_name, new_name) in directions(trees, &names) {
        let changes = changes(old, new);
        assert!(!changes.is_empty());
        for (options, print) in FORMATS.iter().chain(NUL_FORMATS) {
            let arguments = [&["diff", "--no-renames"], *options, &[old_name, new_name]].concat();
            let what = format!("git {arguments:?}");
            assert_same(&print(&changes), &repository.git(&arguments), &what);
        }
    }
}

/// Has git apply our patch, which must make the other tree of the first one.
fn apply(repository: &Repository, trees: [&Tree; 2]) {
    let names = repository.import(&trees);
    for (old, new, old_name, new_name) in directions(trees, &names) {
        let options = PatchOptions {
            binary: true,
            ..PatchOptions::default()
        };
        let applied = repository.apply(old_name, &patch(&changes(old, new), &options));
        assert_eq!(applied, new_name, "the applied patch makes another tree");
    }
}

#[test]
fn generated_trees_are_printed_as_git_prints_them() {
    let count = number("KDBG_ORACLE_CASES", CASES);
    let pairs = generated(HashKind::Sha1, count);
    compare_each(&Repository::new(HashKind::Sha1), &pairs);
}

#[test]
fn a_change_of_many_files_is_printed_as_by_git_diff() {
    let count = number("KDBG_ORACLE_CASES", CASES);
    let (old, new) = joined(&generated(HashKind::Sha1, count));
    compare(&Repository::new(HashKind::Sha1), [&old, &new]);
}

#[test]
fn patches_apply_and_make_the_other_tree() {
    let count = number("KDBG_ORACLE_CASES", CASES);
    let (mut old, mut new) = joined(&generated(HashKind::Sha1, count));
    for tree in [&mut old, &mut new] {
        // `git apply` cannot read such a name from the first line of a patch, not even of git's own.
        tree.retain(|path, _| !path.windows(2).any(|bytes| bytes == b" /"));
    }
    apply(&Repository::new(HashKind::Sha1), [&old, &new]);
}

#[test]
fn sha_256_repositories_have_their_own_names() {
    let (old, new) = joined(&generated(HashKind::Sha256, 40));
    compare(&Repository::new(HashKind::Sha256), [&old, &new]);
}

/// The parts of a patch by file, sorted: `--no-index` walks folders in another order than trees.
fn sections(patch: &[u8]) -> Vec<Vec<u8>> {
    let mut sections: Vec<Vec<u8>> = Vec::new();
    for line in patch.split_inclusive(|&byte| byte == b'\n') {
        if line.starts_with(b"diff --git ") {
            sections.push(Vec::new());
        }
        sections.last_mut().unwrap().extend_from_slice(line);
    }
    sections.sort();
    sections
}

/// Names a file that only one side has twice by that side, as `--no-index` does in the first line.
fn as_no_index(mut section: Vec<u8>) -> Vec<u8> {
    let end = section.iter().position(|&byte| byte == b'\n').unwrap();
    let first_name = b"diff --git ".len();
    let length = (end - first_name - 1) / 2;
    let second_name = first_name + length + 1;
    let side = |section: &[u8], name: usize| name + usize::from(section[name] == b'"');
    if section[end..].starts_with(b"\nnew file mode") {
        let at = side(&section, first_name);
        section[at] = b'b';
    } else if section[end..].starts_with(b"\ndeleted file mode") {
        let at = side(&section, second_name);
        section[at] = b'a';
    }
    section
}

#[test]
fn folders_on_disk_are_printed_as_by_git_diff_no_index() {
    let (mut old, mut new) = joined(&generated(
        HashKind::Sha1,
        number("KDBG_ORACLE_CASES", CASES),
    ));
    for tree in [&mut old, &mut new] {
        tree.retain(|_, blob| blob.mode != FileMode::Gitlink);
    }
    let directory = tempfile::tempdir().unwrap();
    write_out(&old, &directory.path().join("a"));
    write_out(&new, &directory.path().join("b"));
    // With these names of the folders and without prefixes the paths are those of a repository.
    let arguments = [
        "diff",
        "--no-index",
        "--no-renames",
        "--no-prefix",
        "a",
        "b",
    ];
    let gits = run(&mut git(directory.path(), &arguments), b"", &[1]);
    let ours = patch(&changes(&old, &new), &PatchOptions::default());
    let mut ours: Vec<_> = sections(&ours).into_iter().map(as_no_index).collect();
    ours.sort();
    assert_same(
        &ours.concat(),
        &sections(&gits).concat(),
        "git diff --no-index",
    );
}

/// Compares two releases, or prints why they cannot be had.
fn compare_releases(registry: Registry, name: &str, old: &str, new: &str) {
    let trees = release(registry, name, old)
        .and_then(|old| release(registry, name, new).map(|new| (old, new)));
    let (old_tree, new_tree) = match trees {
        Ok(trees) => trees,
        Err(reason) => {
            eprintln!("skipped: {name} {old} and {new} cannot be fetched: {reason}");
            return;
        }
    };
    let repository = Repository::new(HashKind::Sha1);
    compare(&repository, [&old_tree, &new_tree]);
    let names = repository.import(&[&old_tree, &new_tree]);
    let gits = repository.git(&["diff", "--no-renames", &names[0], &names[1]]);
    let ours = patch(&changes(&old_tree, &new_tree), &PatchOptions::default());
    assert_same(&ours, &gits, "git diff without options");
    apply(&repository, [&old_tree, &new_tree]);
}

#[test]
fn releases_of_express_are_printed_as_git_prints_them() {
    compare_releases(Registry::Npm, "express", "4.18.2", "4.19.2");
    compare_releases(Registry::Npm, "express", "3.0.0", "4.19.2");
    compare_releases(Registry::Npm, "express", "3.21.2", "4.0.0");
}

#[test]
fn releases_of_flask_are_printed_as_git_prints_them() {
    compare_releases(Registry::Pip, "Flask", "2.2.5", "2.3.3");
    compare_releases(Registry::Pip, "Flask", "0.12", "3.0.0");
}
