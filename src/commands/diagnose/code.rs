//! Which variables the running code reads: the files that differ first, then the program's own, then libraries, until
//! it is enough.

use std::collections::HashSet;

use bstr::{BString, ByteSlice as _};
use futures::{StreamExt as _, stream};
use tokio::task::spawn_blocking;

use super::limit::Limit;
use crate::{
    commands::{
        diff_src::{Changes, Code, Reference},
        facts, which_ref,
    },
    evidence::{
        findings::{Built, CodeFile, Facts, ProgramHint, Unchecked, mistakable_links},
        provenance::Lookup,
        reads::{self, Language, Limits},
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

/// Sources that were read, before it is known how they differ.
#[derive(Default)]
pub(super) struct Texts {
    /// What each reads, and its path.
    files: Vec<CodeFile>,
    /// The paths of those that arrived, also where they have no grammar.
    arrived: HashSet<BString>,
    /// How many there are.
    all: usize,
    failed: usize,
}

/// Reads the sources: the program's own first, then libraries.
pub(super) async fn read(target: &Target, sources: &[(BString, u64)], limit: &Limit) -> Texts {
    let mut sorted: Vec<_> = sources.iter().collect();
    sorted.sort_by_key(|(path, _)| (!is_own(path), path.clone()));
    let mut texts = Texts {
        all: sorted.len(),
        ..Texts::default()
    };
    let mut reads = stream::iter(bounded(sorted))
        .map(|(path, size)| async move {
            let most = usize::try_from(size.saturating_mul(2) + 4096).unwrap_or(usize::MAX);
            let content = facts::read(target, path.clone(), most).await.ok()?;
            let of = path.clone();
            let file = spawn_blocking(move || parsed(of, &content, None)).await;
            Some((path, file.ok().flatten()))
        })
        .buffered(AT_ONCE);
    while let Ok(Some(read)) = limit.within(reads.next()).await {
        match read {
            Some((path, file)) => {
                texts.arrived.insert(path);
                texts.files.extend(file);
            }
            None => texts.failed += 1,
        }
    }
    texts
}

impl Texts {
    /// Lays them beside the changes: those that differ come first, with their lines. What was left out is noted.
    pub(super) fn beside(
        self,
        changes: &Lookup<Changes>,
        unchecked: &mut Vec<Unchecked>,
    ) -> Vec<CodeFile> {
        let differing = changes.found().map(|changes| &changes.contents);
        let mut files = Vec::new();
        let mut alike = Vec::new();
        for mut file in self.files {
            let lines = differing.and_then(|differing| differing.get(&file.path));
            let target = if lines.is_some() {
                &mut files
            } else {
                &mut alike
            };
            file.changed_lines = match lines {
                Some((_, lines)) => Some(lines.clone()),
                // A file that is the reference's has no line of its own.
                None => differing.map(|_| Vec::new()),
            };
            target.push(file);
        }
        let mut further = 0;
        for (path, (content, lines)) in differing.into_iter().flatten() {
            if !self.arrived.contains(path) {
                further += 1;
                files.extend(parsed(path.clone(), content, Some(lines.clone())));
            }
        }
        files.sort_by(|left, right| left.path.cmp(&right.path));
        files.append(&mut alike);
        let left_out = self
            .all
            .saturating_sub(self.arrived.len() + self.failed + further);
        note(
            left_out,
            "there are too many, or it took too long",
            unchecked,
        );
        note(self.failed, "they could not be read", unchecked);
        files
    }
}

/// Names of links that stand in what was compiled, where none of the program's own sources run.
pub(super) async fn hints(
    target: &Target,
    code: &Code,
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
    let compiled = code.compiled.iter().map(|(path, _)| path.clone());
    let programs = executable
        .into_iter()
        .chain(which_ref::started_archives(target))
        .chain(compiled);
    let mut hints = Vec::new();
    for path in programs.take(MOST_PROGRAMS) {
        let read = limit.within(facts::read(target, path.clone(), LARGEST_PROGRAM));
        let Ok(Ok(program)) = read.await else {
            continue;
        };
        let names = names.clone();
        let found = spawn_blocking(move || named_in(&path, &program, &names)).await;
        hints.extend(found.unwrap_or_default());
    }
    hints
}

/// Those of the names that stand in a program, or in the classes of an archive.
fn named_in(path: &BString, program: &[u8], names: &[BString]) -> Vec<ProgramHint> {
    let names: Vec<&[u8]> = names.iter().map(|name| name.as_slice()).collect();
    let hint = |path: &BString| {
        let path = path.clone();
        move |hint: reads::binary::Hint| ProgramHint {
            path: path.clone(),
            name: hint.name,
        }
    };
    if !reads::archive::is_one(program) {
        let found = reads::binary::hints(program, &names);
        return found.into_iter().map(hint(path)).collect();
    }
    reads::archive::hints(program, &names)
        .into_iter()
        .map(|(class, found)| {
            let inner: BString = [path.as_slice(), b"!/", class.as_slice()].concat().into();
            hint(&inner)(found)
        })
        .collect()
}

/// The sources of a compiled program, in the commit that it says it is of: those that read a variable whose name stands
/// in the program, and nothing else that they read. Other programs of the repository may read the rest.
pub(super) async fn at_commit(
    target: &Target,
    reference: Option<&Reference>,
    hints: &[ProgramHint],
    limit: &Limit,
) -> Vec<CodeFile> {
    let Some(reference) = reference.filter(|_| !hints.is_empty()) else {
        return Vec::new();
    };
    let Ok(Some(claim)) = limit.within(which_ref::built_from(target)).await else {
        return Vec::new();
    };
    let names: Vec<BString> = hints.iter().map(|hint| hint.name.clone()).collect();
    let languages = claim.languages;
    let is_wanted = move |path: &[u8]| {
        let language = Language::of(path, b"");
        language.is_some_and(|language| languages.contains(&language))
            && is_own(path)
            && !is_test(path)
    };
    let sources = reference.sources_of(&claim.revision, MOST_FILES, is_wanted);
    let (commit, sources) = match limit.within(sources).await {
        Ok(Ok(found)) => found,
        Ok(Err(error)) => {
            tracing::info!(%error, "the source of the program is not in the repository");
            return Vec::new();
        }
        Err(_) => return Vec::new(),
    };
    let built = Built {
        commit,
        said_by: claim.said_by,
        modified: claim.modified,
    };
    let read = move || {
        sources
            .into_iter()
            .filter(|(_, content)| names.iter().any(|name| content.contains_str(name)))
            .filter_map(|(path, content)| parsed(path, &content, None))
            .map(|file| of_names(file, &names, &built))
            .filter(|file| !file.reads.reads.is_empty())
            .collect()
    };
    spawn_blocking(read).await.unwrap_or_default()
}

fn of_names(mut file: CodeFile, names: &[BString], built: &Built) -> CodeFile {
    let is_named = |read: &reads::EnvRead| {
        let name = read.known_name();
        name.is_some_and(|name| names.iter().any(|one| one.as_slice() == name))
    };
    file.reads.reads.retain(is_named);
    file.reads.gaps.clear();
    file.built = Some(built.clone());
    file
}

/// Whether a file is a test, which no program has in it.
fn is_test(path: &[u8]) -> bool {
    path.ends_with(b"_test.go") || path.contains_str("/testdata/") || path.contains_str("src/test/")
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
        built: None,
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
