//! Which variables the running code reads: the files that differ first, then the program's own, then libraries, until
//! it is enough.

use std::collections::HashMap;

use bstr::{BString, ByteSlice as _};
use futures::{StreamExt as _, stream};
use tokio::task::spawn_blocking;

use super::Limit;
use crate::{
    commands::{diff_src::Survey, facts},
    evidence::{
        findings::{CodeFile, Facts, ProgramHint, Unchecked, mistakable_links},
        provenance::Lookup,
        reads::{self, Limits},
    },
    target::Target,
};

/// Files that are read at most.
const MOST_FILES: usize = 3000;
/// Bytes that are read at most.
const MOST_BYTES: u64 = 48 << 20;
/// Programs in which names are looked for at most.
const MOST_PROGRAMS: usize = 200;
/// The largest program in which they are, in bytes.
const LARGEST_PROGRAM: usize = 48 << 20;
/// Files that are asked for at once.
const AT_ONCE: usize = 16;

/// Reads the code. What was left out is noted.
pub(super) async fn read(
    target: &Target,
    survey: Option<&Survey>,
    limit: &Limit,
    unchecked: &mut Vec<Unchecked>,
) -> Vec<CodeFile> {
    let Some(survey) = survey else {
        return Vec::new();
    };
    let empty = HashMap::new();
    let (differing, is_compared) = match &survey.changes {
        Lookup::Found(changes) => (&changes.contents, true),
        Lookup::Missing | Lookup::Unreadable(_) => (&empty, false),
    };
    let mut files: Vec<_> = differing
        .iter()
        .filter_map(|(path, (content, lines))| parsed(path.clone(), content, Some(lines.clone())))
        .collect();
    files.sort_by(|left, right| left.path.cmp(&right.path));
    let mut others: Vec<_> = survey
        .sources
        .iter()
        .filter(|(path, _)| !differing.contains_key(path))
        .collect();
    others.sort_by_key(|(path, _)| (!is_own(path), path.clone()));
    let all = others.len();
    let wanted = bounded(others);
    let mut left_out = all - wanted.len();
    let mut failed = 0;
    // A file that is the reference's has no line of its own.
    let lines = is_compared.then(Vec::new);
    let mut reads = stream::iter(wanted)
        .map(|(path, size)| async move {
            let most = usize::try_from(size.saturating_mul(2) + 4096).unwrap_or(usize::MAX);
            (path.clone(), facts::read(target, path.clone(), most).await)
        })
        .buffered(AT_ONCE);
    loop {
        match limit.within(reads.next()).await {
            Ok(None) => break,
            Ok(Some((path, Ok(content)))) => {
                let lines = lines.clone();
                let file = spawn_blocking(move || parsed(path, &content, lines)).await;
                files.extend(file.ok().flatten());
            }
            Ok(Some((_, Err(_)))) => failed += 1,
            Err(_) => {
                left_out = all.saturating_sub(files.len());
                break;
            }
        }
    }
    note(
        left_out,
        "there are too many, or it took too long",
        unchecked,
    );
    note(failed, "they could not be read", unchecked);
    files
}

/// Names of links that stand in what was compiled, where none of the program's own sources run.
pub(super) async fn hints(
    target: &Target,
    survey: &Survey,
    facts: &Facts<'_>,
    limit: &Limit,
) -> Vec<ProgramHint> {
    let Lookup::Found(variables) = &facts.variables else {
        return Vec::new();
    };
    let names = mistakable_links(variables);
    if names.is_empty() || facts.code.iter().any(|file| file.own) {
        return Vec::new();
    }
    let executable = target.process().executable.known().cloned();
    let compiled = survey.compiled.iter().map(|(path, _)| path.clone());
    let mut hints = Vec::new();
    for path in executable.into_iter().chain(compiled).take(MOST_PROGRAMS) {
        let read = limit.within(facts::read(target, path.clone(), LARGEST_PROGRAM));
        let Ok(Ok(program)) = read.await else {
            continue;
        };
        let names: Vec<&[u8]> = names.iter().map(|name| name.as_slice()).collect();
        hints.extend(
            reads::binary::hints(&program, &names)
                .into_iter()
                .map(|hint| ProgramHint {
                    path: path.clone(),
                    name: hint.name,
                }),
        );
    }
    hints
}

fn note(count: usize, why: &str, unchecked: &mut Vec<Unchecked>) {
    if count > 0 {
        unchecked.push(Unchecked {
            what: format!("which variables {count} more source files read"),
            why: why.to_owned(),
        });
    }
}

fn bounded(files: Vec<&(BString, u64)>) -> Vec<(BString, u64)> {
    let mut bytes = 0;
    let fits = |(_, size): &&(BString, u64)| {
        bytes += size;
        bytes <= MOST_BYTES
    };
    files
        .into_iter()
        .take(MOST_FILES)
        .take_while(fits)
        .cloned()
        .collect()
}

fn parsed(path: BString, content: &[u8], changed_lines: Option<Vec<usize>>) -> Option<CodeFile> {
    let reads = reads::reads(&path, content, Limits::default())?;
    Some(CodeFile {
        own: is_own(&path),
        path,
        reads,
        changed_lines,
    })
}

/// Whether a file is the program's own, and not of a library that was installed.
fn is_own(path: &[u8]) -> bool {
    const LIBRARIES: [&str; 6] = [
        "/site-packages/",
        "/dist-packages/",
        "/node_modules/",
        "/vendor/",
        "/gems/",
        "/usr/lib/",
    ];
    !LIBRARIES.iter().any(|folder| path.contains_str(folder))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_has_a_bound_in_files_and_bytes() {
        let files = [
            (BString::from("a"), MOST_BYTES - 1),
            ("b".into(), 1),
            ("c".into(), 1),
        ];
        assert_eq!(bounded(files.iter().collect()).len(), 2);
        let files = vec![(BString::from("a"), 0); MOST_FILES + 1];
        assert_eq!(bounded(files.iter().collect()).len(), MOST_FILES);
    }

    #[test]
    fn libraries_are_not_the_programs_own() {
        assert!(is_own(b"/app/server.py"));
        assert!(!is_own(b"/app/node_modules/x/index.js"));
        assert!(!is_own(b"/usr/local/lib/python3.11/site-packages/x.py"));
    }
}
