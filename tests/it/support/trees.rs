//! Generated pairs of trees: code-like contents with repeated lines, and every kind of change.

use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use kdbg::diff::Blob;
use kdbg::object::{FileMode, HashKind, ObjectId, blob_id};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;
use proptest::strategy::{Union, ValueTree as _};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use super::git::Tree;

/// A file before it has a name in a repository.
#[derive(Clone, Debug)]
pub(crate) struct File {
    mode: FileMode,
    content: Vec<u8>,
}

impl File {
    pub(crate) fn new(mode: FileMode, content: Vec<u8>) -> Self {
        Self { mode, content }
    }

    pub(crate) fn blob(self, kind: HashKind) -> Blob {
        if self.mode == FileMode::Gitlink {
            // Any name will do, as long as no blob of the repository has it.
            let named = [b"commit ", self.content.as_slice()].concat();
            return Blob::gitlink(blob_id(kind, &named).unwrap());
        }
        let id: ObjectId = blob_id(kind, &self.content).unwrap();
        Blob {
            mode: self.mode,
            id,
            content: self.content,
        }
    }
}

/// Both sides of a case.
#[derive(Clone, Debug)]
pub(crate) struct Pair {
    entries: Vec<(Vec<u8>, Option<File>, Option<File>)>,
}

impl Pair {
    /// The trees; a path that would be both a file and a folder keeps only the first of the two.
    pub(crate) fn trees(&self, kind: HashKind) -> (Tree, Tree) {
        let mut trees = (Tree::new(), Tree::new());
        for (path, old, new) in &self.entries {
            if let Some(file) = old {
                insert(&mut trees.0, path, file.clone().blob(kind));
            }
            if let Some(file) = new {
                insert(&mut trees.1, path, file.clone().blob(kind));
            }
        }
        trees
    }
}

fn insert(tree: &mut Tree, path: &[u8], blob: Blob) {
    let is_above = |above: &[u8], path: &[u8]| {
        path.strip_prefix(above)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
    };
    if !tree
        .keys()
        .any(|other| is_above(other, path) || is_above(path, other))
    {
        tree.insert(path.to_vec(), blob);
    }
}

/// A few files on each side.
pub(crate) fn pair() -> impl Strategy<Value = Pair> {
    let entry = (path(), sides()).prop_map(|(path, (old, new))| vec![(path, old, new)]);
    let becomes_folder = (path(), file(), file()).prop_map(|(path, old, new)| {
        let below = [&path, &b"/below"[..]].concat();
        vec![(path, Some(old), None), (below, None, Some(new))]
    });
    let entries = prop_oneof![20 => entry, 1 => becomes_folder];
    vec(entries, 1..9).prop_map(|entries| Pair {
        entries: entries.concat(),
    })
}

fn sides() -> impl Strategy<Value = (Option<File>, Option<File>)> {
    prop_oneof![
        8 => edited().prop_map(|(old, new)| regular(old, new)),
        2 => (edited(), any::<bool>()).prop_map(|((old, new), up)| {
            let modes = if up { (FileMode::Regular, FileMode::Executable) } else { (FileMode::Executable, FileMode::Regular) };
            (Some(File::new(modes.0, old)), Some(File::new(modes.1, new)))
        }),
        1 => content().prop_map(|content| (
            Some(File::new(FileMode::Regular, content.clone())),
            Some(File::new(FileMode::Executable, content)),
        )),
        2 => (content(), content()).prop_map(|(old, new)| regular(old, new)),
        2 => file().prop_map(|file| (None, Some(file))),
        2 => file().prop_map(|file| (Some(file), None)),
        2 => (file(), file()).prop_map(|(old, new)| (Some(old), Some(new))),
        1 => binary_edit().prop_map(|(old, new)| regular(old, new)),
        1 => file().prop_map(|file| (Some(file.clone()), Some(file))),
        1 => content().prop_map(|content| regular(content, Vec::new())),
    ]
}

fn regular(old: Vec<u8>, new: Vec<u8>) -> (Option<File>, Option<File>) {
    let file = |content| Some(File::new(FileMode::Regular, content));
    (file(old), file(new))
}

fn file() -> impl Strategy<Value = File> {
    prop_oneof![
        5 => content().prop_map(|content| File::new(FileMode::Regular, content)),
        2 => content().prop_map(|content| File::new(FileMode::Executable, content)),
        2 => path().prop_map(|target| File::new(FileMode::Symlink, target)),
        1 => content().prop_map(|content| File::new(FileMode::Gitlink, content)),
        1 => binary().prop_map(|content| File::new(FileMode::Regular, content)),
        1 => Just(File::new(FileMode::Regular, Vec::new())),
    ]
}

/// A path of one to seven parts, many of which git quotes.
fn path() -> impl Strategy<Value = Vec<u8>> {
    let plain = select(vec![
        "a", "a.b", "a-b", "a0", "src", "lib", "main.rs", "index.js", ".hidden", "Z",
    ]);
    let odd = select(vec![
        &b"with space"[..],
        b" leading and trailing ",
        b"tab\there",
        b"double\"quote",
        b"single'quote",
        b"back\\slash",
        b"line\nfeed",
        b"caf\xc3\xa9",
        b"\xe6\x97\xa5\xe6\x9c\xac\xe8\xaa\x9e",
        b"not utf-8 \xff\xfe",
        b"-leading-dash",
        b"\x01control\x7f",
        b"$dollar`tick`",
        b"{a => b}",
        b"a_name_that_is_so_long_that_it_does_not_fit_into_the_columns_of_any_stat.txt",
    ]);
    let part = prop_oneof![
        5 => plain.prop_map(|part| part.as_bytes().to_vec()),
        2 => odd.prop_map(<[u8]>::to_vec),
    ];
    vec(part, 1..8).prop_map(|parts| parts.join(&b'/'))
}

/// A line of code; few different ones, so that they repeat.
fn line() -> impl Strategy<Value = Vec<u8>> {
    let fixed = select(vec![
        "",
        "",
        "",
        "}",
        "    }",
        "        }",
        "\t}",
        "    return x;",
        "        return x;",
        "    else {",
        "    end",
        "  ",
        "\t",
        "// ----",
        "/*",
        " */",
        "#endif",
        "$global = 1",
        "_private() {   ",
        "class Name:",
        "    def method(self):",
        "        pass",
        "\u{e9}t\u{e9} = 1",
        "trailing   \t",
        "\x0cform feed",
        "@@ -1,2 +3,4 @@ not a hunk",
        "--- not a name",
        "diff --git a/x b/x",
        "\\ No newline at end of file",
        "a_line_that_is_longer_than_eighty_bytes_so_that_headings_are_cut_off_in_the_middle   of_it_where_blanks_are",
    ]);
    prop_oneof![
        6 => fixed.prop_map(|line| line.as_bytes().to_vec()),
        1 => (0_u8..20).prop_map(|number| format!("fn function_{number}() {{").into_bytes()),
        2 => (0_usize..4, 0_u8..9).prop_map(|(depth, number)| {
            format!("{}let v{number} = {number};", "    ".repeat(depth)).into_bytes()
        }),
        1 => (0_usize..3, any::<u16>()).prop_map(|(depth, number)| {
            format!("{}call({number})", "\t".repeat(depth)).into_bytes()
        }),
    ]
}

/// How lines become a content.
#[derive(Clone, Copy, Debug)]
struct Ending {
    carriage_returns: bool,
    final_newline: bool,
}

impl Ending {
    fn join(self, lines: &[Vec<u8>]) -> Vec<u8> {
        let ending: &[u8] = if self.carriage_returns {
            b"\r\n"
        } else {
            b"\n"
        };
        let mut content = lines.join(ending);
        if self.final_newline && !lines.is_empty() {
            content.extend_from_slice(ending);
        }
        content
    }
}

fn ending() -> impl Strategy<Value = Ending> {
    let mostly = |odds| prop::bool::weighted(odds);
    (mostly(0.1), mostly(0.8)).prop_map(|(carriage_returns, final_newline)| Ending {
        carriage_returns,
        final_newline,
    })
}

fn lines() -> Union<BoxedStrategy<Vec<Vec<u8>>>> {
    Union::new_weighted(vec![
        (6, vec(line(), 0..40).boxed()),
        (2, vec(line(), 40..200).boxed()),
        (1, vec(line(), 200..900).boxed()),
    ])
}

fn content() -> impl Strategy<Value = Vec<u8>> {
    (lines(), ending()).prop_map(|(lines, ending)| ending.join(&lines))
}

#[derive(Clone, Debug)]
enum Edit {
    Delete(usize),
    Insert(Vec<Vec<u8>>),
    /// Repeats the lines in front: a block added behind an equal one can slide.
    Repeat(usize),
    Copy(prop::sample::Index, usize),
    Replace(Vec<Vec<u8>>),
    Indent(usize),
}

fn edit() -> impl Strategy<Value = Edit> {
    prop_oneof![
        3 => (1_usize..15).prop_map(Edit::Delete),
        3 => vec(line(), 1..12).prop_map(Edit::Insert),
        3 => (1_usize..20).prop_map(Edit::Repeat),
        3 => (any::<prop::sample::Index>(), 1_usize..20).prop_map(|(from, count)| Edit::Copy(from, count)),
        2 => vec(line(), 1..5).prop_map(Edit::Replace),
        1 => (1_usize..10).prop_map(Edit::Indent),
    ]
}

/// A content and what some edits made of it.
fn edited() -> impl Strategy<Value = (Vec<u8>, Vec<u8>)> {
    let edits = vec((any::<prop::sample::Index>(), edit()), 1..10);
    (
        lines(),
        edits,
        ending(),
        prop::option::weighted(0.15, ending()),
    )
        .prop_map(|(old, edits, ending, new_ending)| {
            let mut new = old.clone();
            for (at, edit) in edits {
                let at = at.index(new.len() + 1);
                apply(&mut new, at, edit);
            }
            (ending.join(&old), new_ending.unwrap_or(ending).join(&new))
        })
}

fn apply(lines: &mut Vec<Vec<u8>>, at: usize, edit: Edit) {
    let end = |count: usize| (at + count).min(lines.len());
    let (range, replacement) = match edit {
        Edit::Delete(count) => (at..end(count), Vec::new()),
        Edit::Insert(inserted) => (at..at, inserted),
        Edit::Repeat(count) => (at..at, lines[at.saturating_sub(count)..at].to_vec()),
        Edit::Copy(from, count) => {
            let from = from.index(lines.len() + 1);
            let to = (from + count).min(lines.len());
            (at..at, lines[from..to].to_vec())
        }
        Edit::Replace(with) => (at..end(with.len()), with),
        Edit::Indent(count) => {
            let range = at..end(count);
            let indented = lines[range.clone()]
                .iter()
                .map(|line| [b"    ", line.as_slice()].concat())
                .collect();
            (range, indented)
        }
    };
    lines.splice(range, replacement);
}

fn binary() -> impl Strategy<Value = Vec<u8>> {
    (vec(any::<u8>(), 0..300), vec(any::<u8>(), 0..300))
        .prop_map(|(before, after)| [before.as_slice(), b"\0", after.as_slice()].concat())
}

/// Binary on one or both sides; a NUL behind the bytes that git looks at leaves a content text.
fn binary_edit() -> impl Strategy<Value = (Vec<u8>, Vec<u8>)> {
    let late = |filler: usize| [&b"text\n".repeat(filler)[..], b"\0\n"].concat();
    prop_oneof![
        (binary(), binary()),
        (content(), binary()),
        (binary(), content()),
        (1597_usize..1603, 1597_usize..1603).prop_map(move |(old, new)| (late(old), late(new))),
    ]
}

pub(crate) fn number(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable)
        .ok()
        .and_then(|value| value.parse().ok())
        .unwrap_or(otherwise)
}

pub(crate) fn generated(kind: HashKind, count: u64) -> Vec<(Tree, Tree)> {
    let mut seed = [0; 32];
    seed[..8].copy_from_slice(&number("KDBG_ORACLE_SEED", 1).to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &seed);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    (0..count)
        .map(|_| {
            let pair = pair().new_tree(&mut runner).unwrap().current();
            pair.trees(kind)
        })
        .collect()
}

/// All pairs as one change, each in a folder of its own.
pub(crate) fn joined(pairs: &[(Tree, Tree)]) -> (Tree, Tree) {
    let mut trees = (Tree::new(), Tree::new());
    for (index, (old, new)) in pairs.iter().enumerate() {
        let under = |path: &[u8]| [format!("case {index:04}/").as_bytes(), path].concat();
        trees
            .0
            .extend(old.iter().map(|(path, blob)| (under(path), blob.clone())));
        trees
            .1
            .extend(new.iter().map(|(path, blob)| (under(path), blob.clone())));
    }
    trees
}

pub(crate) fn write_out(tree: &Tree, directory: &Path) {
    for (path, blob) in tree {
        let path = directory.join(std::ffi::OsStr::from_bytes(path));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        match blob.mode {
            FileMode::Symlink => {
                symlink(std::ffi::OsStr::from_bytes(&blob.content), path).unwrap();
            }
            mode => {
                fs::write(&path, &blob.content).unwrap();
                let bits = if mode == FileMode::Executable {
                    0o755
                } else {
                    0o644
                };
                fs::set_permissions(path, fs::Permissions::from_mode(bits)).unwrap();
            }
        }
    }
}
