//! The real git as the oracle: trees go in through `fast-import`, what git prints comes out.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use kdbg::diff::{Blob, Change, quoted, sort};
use kdbg::object::{FileMode, HashKind};

/// What a commit has, by path.
pub(crate) type Tree = BTreeMap<Vec<u8>, Blob>;

/// All paths of which the trees differ.
pub(crate) fn changes(old: &Tree, new: &Tree) -> Vec<Change> {
    let mut changes: Vec<Change> = old
        .keys()
        .chain(new.keys().filter(|path| !old.contains_key(*path)))
        .map(|path| Change {
            path: path.clone().into(),
            old: old.get(path).cloned(),
            new: new.get(path).cloned(),
            origin: None,
        })
        .filter(|change| change.status().is_some())
        .collect();
    sort(&mut changes);
    changes
}

/// A git command that sees no configuration but the repository's own.
pub(crate) fn git(directory: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new("git");
    command
        .current_dir(directory)
        .args(arguments)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("HOME", directory)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("LC_ALL", "C");
    command
}

/// Runs a command with this input; fails with its error text unless its exit code is one of these.
pub(crate) fn run(command: &mut Command, input: &[u8], codes: &[i32]) -> Vec<u8> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let feeder = std::thread::spawn(move || stdin.write_all(&input));
    let output = child.wait_with_output().unwrap();
    feeder.join().unwrap().ok();
    assert!(
        output
            .status
            .code()
            .is_some_and(|code| codes.contains(&code)),
        "{command:?}: {}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    output.stdout
}

/// A bare repository with the two sides of many cases.
pub(crate) struct Repository {
    directory: tempfile::TempDir,
}

impl Repository {
    pub(crate) fn new(kind: HashKind) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let format = match kind {
            HashKind::Sha1 => "--object-format=sha1",
            HashKind::Sha256 => "--object-format=sha256",
        };
        run(
            &mut git(directory.path(), &["init", "-q", "--bare", format, "."]),
            b"",
            &[0],
        );
        Self { directory }
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn git(&self, arguments: &[&str]) -> Vec<u8> {
        run(&mut git(self.path(), arguments), b"", &[0])
    }

    /// Stores the trees and returns their names.
    pub(crate) fn import(&self, trees: &[&Tree]) -> Vec<String> {
        let mut stream = Vec::new();
        for (index, tree) in trees.iter().enumerate() {
            writeln!(stream, "commit refs/heads/tree{index:06}").unwrap();
            stream.extend_from_slice(b"committer kdbg <> 0 +0000\ndata 0\ndeleteall\n");
            for (path, blob) in *tree {
                let path = quoted(path);
                // A blank in front would end the path; fast-import takes quotes round any path.
                let path = if path.starts_with(b"\"") {
                    path.into_owned()
                } else {
                    [b"\"", path.as_ref(), b"\""].concat()
                };
                if blob.mode == FileMode::Gitlink {
                    write!(stream, "M 160000 {} ", blob.id).unwrap();
                    stream.extend_from_slice(&path);
                    stream.push(b'\n');
                    continue;
                }
                write!(stream, "M {} inline ", blob.mode.as_octal()).unwrap();
                stream.extend_from_slice(&path);
                write!(stream, "\ndata {}\n", blob.content.len()).unwrap();
                stream.extend_from_slice(&blob.content);
                stream.push(b'\n');
            }
        }
        run(
            &mut git(self.path(), &["fast-import", "--quiet", "--force"]),
            &stream,
            &[0],
        );
        let listed = self.git(&["for-each-ref", "--format=%(tree)", "refs/heads/tree*"]);
        let names: Vec<String> = String::from_utf8(listed)
            .unwrap()
            .lines()
            .map(str::to_owned)
            .collect();
        assert_eq!(names.len(), trees.len());
        names
    }

    /// What `git diff-tree` prints for each pair of trees, all from one process.
    pub(crate) fn diff_trees(&self, pairs: &[(&str, &str)], options: &[&str]) -> Vec<Vec<u8>> {
        let mut input = String::new();
        for (old, new) in pairs {
            input += old;
            input += " ";
            input += new;
            input += "\n";
        }
        let arguments = [&["diff-tree", "--stdin", "-r", "--no-renames"], options].concat();
        let output = run(&mut git(self.path(), &arguments), input.as_bytes(), &[0]);
        // Each part is behind a line with the pair.
        let mut rest = output.as_slice();
        let mut parts = Vec::new();
        for (index, line) in input.lines().enumerate() {
            rest = rest
                .strip_prefix(format!("{line}\n").as_bytes())
                .unwrap_or_else(|| panic!("no output for pair {index}"));
            let next = input.lines().nth(index + 1).map_or(rest.len(), |next| {
                position(rest, format!("{next}\n").as_bytes())
            });
            parts.push(rest[..next].to_vec());
            rest = &rest[next..];
        }
        parts
    }

    /// The tree that a patch makes of a tree.
    pub(crate) fn apply(&self, tree: &str, patch: &[u8]) -> String {
        if patch.is_empty() {
            return tree.to_owned();
        }
        let index = self.path().join("apply.index");
        let in_index = |arguments: &[&str]| {
            let mut command = git(self.path(), arguments);
            command.env("GIT_INDEX_FILE", &index);
            command
        };
        run(&mut in_index(&["read-tree", tree]), b"", &[0]);
        run(
            &mut in_index(&["apply", "--cached", "--binary", "--whitespace=nowarn", "-"]),
            patch,
            &[0],
        );
        let written = run(&mut in_index(&["write-tree"]), b"", &[0]);
        String::from_utf8(written).unwrap().trim_end().to_owned()
    }
}

/// Where a line begins in lines, their end if it is not there.
fn position(lines: &[u8], line: &[u8]) -> usize {
    if lines.starts_with(line) {
        return 0;
    }
    lines
        .windows(line.len() + 1)
        .position(|window| window[0] == b'\n' && &window[1..] == line)
        .map_or(lines.len(), |at| at + 1)
}
