//! Repositories made by the real git, which is also the oracle.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use bstr::{BStr, ByteSlice as _};
use kdbg::git::{Commit, Repository, TreeEntry};
use kdbg::object::FileMode;

/// A directory that is removed at the end, for repositories and marker files.
pub(super) struct Place {
    directory: tempfile::TempDir,
}

impl Place {
    pub(super) fn new() -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
        }
    }

    /// A path in it.
    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().canonicalize().unwrap().join(name)
    }

    /// A new repository with a work tree.
    pub(super) fn init(&self, name: &str, format: &str) -> PathBuf {
        let path = self.path(name);
        let argument = format!("--object-format={format}");
        git(
            self.directory.path(),
            ["init", "-q", "-b", "main", &argument, name],
        );
        path
    }

    /// A new repository with one commit of `a` and `dir/b`.
    pub(super) fn small(&self, name: &str) -> PathBuf {
        let path = self.init(name, "sha1");
        write(&path, "a", b"one\n");
        write(&path, "dir/b", b"two\n");
        commit(&path, "first");
        path
    }
}

/// A git command that sees no settings but the repository's, with a fixed author and clock.
pub(super) fn command<S: AsRef<OsStr>>(
    directory: &Path,
    arguments: impl IntoIterator<Item = S>,
) -> Command {
    let mut command = Command::new("git");
    for (name, _) in std::env::vars_os() {
        if name.as_bytes().starts_with(b"GIT_") {
            command.env_remove(name);
        }
    }
    command
        .current_dir(directory)
        .args(arguments)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        // No repacking in the background of a repository that a test is about to remove.
        .env("GIT_CONFIG_COUNT", "1")
        .env("GIT_CONFIG_KEY_0", "gc.auto")
        .env("GIT_CONFIG_VALUE_0", "0")
        .env("GIT_AUTHOR_NAME", "author")
        .env("GIT_AUTHOR_EMAIL", "author@example.invalid")
        .env("GIT_AUTHOR_DATE", "1700000000 +0000")
        .env("GIT_COMMITTER_NAME", "committer")
        .env("GIT_COMMITTER_EMAIL", "committer@example.invalid")
        .env("GIT_COMMITTER_DATE", "1700000100 +0200")
        .env("GIT_NO_REPLACE_OBJECTS", "1");
    command
}

/// Runs git, which must succeed, and returns what it printed.
pub(super) fn git<S: AsRef<OsStr>>(
    directory: &Path,
    arguments: impl IntoIterator<Item = S>,
) -> Vec<u8> {
    let output = command(directory, arguments).output().unwrap();
    stdout(output)
}

/// Runs git, which must succeed, and returns what it printed without the last line end.
pub(super) fn git_line<S: AsRef<OsStr>>(
    directory: &Path,
    arguments: impl IntoIterator<Item = S>,
) -> String {
    String::from_utf8(git(directory, arguments))
        .unwrap()
        .trim_end()
        .to_owned()
}

fn stdout(output: Output) -> Vec<u8> {
    assert!(output.status.success(), "{}", output.stderr.as_bstr());
    output.stdout
}

/// Runs git with something to read.
pub(super) fn git_input(directory: &Path, arguments: &[&str], input: &[u8]) -> String {
    use std::io::Write as _;
    use std::process::Stdio;
    let mut child = command(directory, arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    let printed = stdout(child.wait_with_output().unwrap());
    String::from_utf8(printed).unwrap().trim_end().to_owned()
}

/// Writes a file and the directories above it.
pub(super) fn write(repository: &Path, name: impl AsRef<[u8]>, content: &[u8]) {
    let path = repository.join(OsStr::from_bytes(name.as_ref()));
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
}

/// Commits everything and returns the commit's name.
pub(super) fn commit(repository: &Path, message: &str) -> String {
    git(repository, ["add", "-A"]);
    git(repository, ["commit", "-q", "--allow-empty", "-m", message]);
    git_line(repository, ["rev-parse", "HEAD"])
}

/// The listing that git gives of the same ref and path.
pub(super) fn ls_tree(
    repository: &Path,
    reference: &str,
    path: &str,
) -> Vec<(String, String, Vec<u8>)> {
    let mut arguments = vec!["ls-tree", "-r", "-z", "--full-tree", reference];
    if !path.is_empty() {
        arguments.extend(["--", path]);
    }
    git(repository, arguments)
        .split(|byte| *byte == 0)
        .filter(|line| !line.is_empty())
        .map(|line| {
            let (head, path) = line.split_once_str("\t").unwrap();
            let head = head.to_str().unwrap();
            let mut fields = head.split(' ');
            let mode = fields.next().unwrap().to_owned();
            (mode, fields.nth(1).unwrap().to_owned(), path.to_owned())
        })
        .collect()
}

/// Ours in the same form.
pub(super) fn listed(entries: &[TreeEntry]) -> Vec<(String, String, Vec<u8>)> {
    entries
        .iter()
        .map(|entry| {
            (
                entry.mode.as_octal().to_owned(),
                entry.id.to_string(),
                entry.path.to_vec(),
            )
        })
        .collect()
}

/// Asserts that a ref's listing and every blob are those of git.
pub(super) fn assert_same_as_git(
    repository: &Path,
    opened: &Repository,
    reference: &str,
) -> Commit {
    let commit = opened.resolve(reference).unwrap();
    let expected_id = git_line(
        repository,
        ["rev-parse", &format!("{reference}^{{commit}}")],
    );
    assert_eq!(commit.id.to_string(), expected_id);
    let entries = opened.tree(&commit, BStr::new("")).unwrap();
    assert_eq!(listed(&entries), ls_tree(repository, reference, ""));
    let blobs: Vec<_> = entries
        .iter()
        .filter(|entry| entry.mode != FileMode::Gitlink)
        .map(|entry| entry.id)
        .collect();
    for (id, content) in blobs.iter().zip(opened.read_blobs(&blobs)) {
        let expected = git(repository, ["cat-file", "blob", &id.to_string()]);
        assert_eq!(content.unwrap().as_bstr(), expected.as_bstr(), "{id}");
        assert_eq!(opened.blob_size(id).unwrap(), expected.len() as u64);
    }
    commit
}

/// Stores a tree that git's own commands would refuse to write.
pub(super) fn write_tree_by_hand(repository: &Path, entries: &[(&str, &[u8], &str)]) -> String {
    let mut content = Vec::new();
    for (mode, name, id) in entries {
        content.extend_from_slice(mode.as_bytes());
        content.push(b' ');
        content.extend_from_slice(name);
        content.push(0);
        for pair in id.as_bytes().chunks(2) {
            content.push(u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap());
        }
    }
    git_input(
        repository,
        &["hash-object", "-t", "tree", "-w", "--stdin", "--literally"],
        &content,
    )
}
