//! Reads of variables in the Python code of this machine, against Python's own parser.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use kdbg::evidence::reads::{self, Gap, Limits};

/// What Python's `ast` sees: `PATH \t LINE \t NAME` for each read with a constant name; a file that it cannot parse
/// is left out.
const ORACLE: &str = r#"
import ast, sys

def is_environ(node):
    name = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
    return name in ("environ", "environb")

def key(node):
    if not isinstance(node, ast.Constant) or not isinstance(node.value, (str, bytes)):
        return None
    return node.value if isinstance(node.value, str) else node.value.decode("latin-1")

def reads(tree):
    for node in ast.walk(tree):
        name = None
        if isinstance(node, ast.Subscript) and is_environ(node.value) and isinstance(node.ctx, ast.Load):
            name = key(node.slice)
        elif isinstance(node, ast.Call) and node.args:
            called = node.func
            last = called.attr if isinstance(called, ast.Attribute) else called.id if isinstance(called, ast.Name) else ""
            if last in ("getenv", "getenvb"):
                name = key(node.args[0])
            elif last in ("get", "pop", "setdefault") and isinstance(called, ast.Attribute) and is_environ(called.value):
                name = key(node.args[0])
        elif isinstance(node, ast.Compare) and isinstance(node.ops[0], (ast.In, ast.NotIn)) and len(node.ops) == 1:
            if isinstance(node.comparators[0], (ast.Attribute, ast.Name)) and is_environ(node.comparators[0]):
                name = key(node.left)
        if name:
            yield node.lineno, name

for path in sys.stdin.read().split("\n"):
    try:
        tree = ast.parse(open(path, "rb").read())
    except (SyntaxError, ValueError, OSError, RecursionError):
        continue
    print(f"+{path}")
    for line, name in reads(tree):
        if name.isprintable() and "\t" not in name:
            print(f"{path}\t{line}\t{name}")
"#;

#[test]
fn pythons_own_parser_sees_the_same_reads() {
    let mut files = Vec::new();
    for folder in [
        "/usr/lib/python3",
        "/usr/lib/python3.11",
        "/usr/lib/python3.12",
        "/usr/lib/python3.13",
        "/usr/share",
    ] {
        python_files(Path::new(folder), &mut files, 0);
    }
    files.retain(|path| std::fs::read(path).is_ok_and(|content| contains(&content, b"env")));
    files.truncate(3000);
    let (parsed, expected) = match ask(&files) {
        Some(answer) if !files.is_empty() => answer,
        _ => {
            eprintln!("skipped: no python3, or none of its libraries here");
            return;
        }
    };
    let started = Instant::now();
    let limits = Limits {
        time: Duration::from_secs(30),
        ..Limits::default()
    };
    let mut compared = 0;
    for path in files.iter().filter(|path| parsed.contains(*path)) {
        let content = std::fs::read(path).unwrap();
        let found = reads::reads(b"a.py", &content, limits).unwrap();
        // Some of its newest syntax may be unknown to the grammar, which the file says of itself.
        if found.gaps.contains(&Gap::BrokenSyntax) {
            continue;
        }
        let lines: Vec<_> = content.split(|byte| *byte == b'\n').collect();
        let ours: BTreeSet<_> = found
            .reads
            .iter()
            .filter(|read| {
                lines
                    .get(read.line - 1)
                    .is_some_and(|line| contains(line, b"environ") || contains(line, b"getenv"))
            })
            .filter_map(|read| {
                Some((
                    read.line,
                    String::from_utf8_lossy(read.known_name()?).into_owned(),
                ))
            })
            .collect();
        let theirs: BTreeSet<_> = expected
            .iter()
            .filter(|(of, ..)| of == path)
            .map(|(_, line, name)| (*line, name.clone()))
            .collect();
        assert_eq!(ours, theirs, "{}", path.display());
        compared += theirs.len();
    }
    eprintln!(
        "{} files, {compared} reads, {:?}",
        parsed.len(),
        started.elapsed()
    );
    assert!(compared > 20, "only {compared} reads");
}

fn python_files(folder: &Path, files: &mut Vec<PathBuf>, depth: usize) {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten() {
        let path = entry.path();
        let Ok(kind) = entry.file_type() else {
            continue;
        };
        if kind.is_dir() && depth < 8 {
            python_files(&path, files, depth + 1);
        } else if kind.is_file() && path.extension().is_some_and(|ending| ending == "py") {
            files.push(path);
        }
    }
}

type Answer = (BTreeSet<PathBuf>, Vec<(PathBuf, usize, String)>);

fn ask(files: &[PathBuf]) -> Option<Answer> {
    let list = tempfile::NamedTempFile::new().unwrap();
    let names: Vec<_> = files.iter().filter_map(|path| path.to_str()).collect();
    std::fs::write(list.path(), names.join("\n")).unwrap();
    let output = Command::new("python3")
        .args(["-W", "ignore", "-c", ORACLE])
        .stdin(std::fs::File::open(list.path()).unwrap())
        .output()
        .ok()?;
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let mut answer = Answer::default();
    for line in String::from_utf8(output.stdout).unwrap().lines() {
        if let Some(path) = line.strip_prefix('+') {
            answer.0.insert(path.into());
            continue;
        }
        let fields: Vec<_> = line.split('\t').collect();
        let [path, line, name] = fields.as_slice() else {
            panic!("{line}")
        };
        answer
            .1
            .push((path.into(), line.parse().unwrap(), (*name).to_owned()));
    }
    Some(answer)
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}
