//! The notes that an image carries of its own origin: fetched through the agent with limits, taken apart by
//! `evidence::origin`, and checked against what runs.

use std::{collections::HashMap, sync::Arc};

use bstr::{BStr, BString, ByteSlice as _};
use futures::{StreamExt as _, stream};
use sha2::{Digest as _, Sha256};

use super::search::Found;
use crate::{
    cli::error::CommandError,
    commands::{
        repository::blocking,
        running::{NamedFile, NamedFiles, below},
    },
    evidence::{
        fit::{FileFit, RunningFile},
        origin::{
            Claim, Kind, Recorded, Says, Sparse, Verdict, composer, executable, git_folder, java,
            labels, node, python,
        },
        reads::Language,
    },
    git::Repository,
    object::{HashKind, ObjectId, blob_id},
    protocol::message::{FileHead, FileTail, Request},
    registry::{self, Image},
    render::safe,
    session::RequestError,
    target::{Place, Target},
};

/// No larger note is read whole.
const NOTE_LIMIT: usize = 16 << 20;
/// As many of each kind are read: an image has thousands of packages and needs none of them.
const NOTES: usize = 20;
/// As much of installed files is read to check their digests.
const CHECK_LIMIT: u64 = 64 << 20;
/// As many of them.
const CHECK_FILES: usize = 5_000;
/// As many parts of one large file are read.
const PARTS: usize = 256;
/// As many requests are under way at once.
const AT_ONCE: usize = 16;

/// The notes that were found.
#[derive(Default)]
pub(super) struct Notes {
    pub(super) claims: Vec<Claim>,
    /// What could not be read: path and why.
    pub(super) unread: Vec<(BString, String)>,
}

/// A claim with what came of checking it.
pub(super) struct Checked {
    pub(super) claim: Claim,
    pub(super) verdict: Verdict,
    /// Something about it that a reader must know, as a sentence.
    pub(super) warning: Option<String>,
}

/// The commit that a compiled program says it is of.
pub(in crate::commands) struct BuiltFrom {
    /// Its name, maybe abbreviated.
    pub(in crate::commands) revision: String,
    /// Whether there were changes beside it; `None` when it does not say.
    pub(in crate::commands) modified: Option<bool>,
    /// The file that says it.
    pub(in crate::commands) said_by: BString,
    /// What such programs are compiled from.
    pub(in crate::commands) languages: &'static [Language],
}

/// Asks the executable, and the archive that a virtual machine was started with.
pub(in crate::commands) async fn built_from(target: &Target) -> Option<BuiltFrom> {
    let mut notes = Notes::default();
    notes.executable(target).await;
    for path in started_archives(target) {
        notes.archive(target, &path).await;
    }
    notes.sort();
    notes.claims.into_iter().find_map(|claim| {
        let languages: &[Language] = match claim.kind {
            Kind::GoBuildInfo => &[Language::Go],
            Kind::GitProperties | Kind::Manifest => &[Language::Java, Language::Kotlin],
            _ => return None,
        };
        match claim.says {
            Says::Commit {
                revision, modified, ..
            } => Some(BuiltFrom {
                revision,
                modified,
                said_by: claim.source,
                languages,
            }),
            _ => None,
        }
    })
}

/// The archives that stand behind `-jar`, as the process sees them.
pub(in crate::commands) fn started_archives(target: &Target) -> Vec<BString> {
    let process = target.process();
    let folder = process.folder.known();
    let arguments = process.arguments.iter();
    let pairs = arguments.clone().zip(arguments.skip(1));
    pairs
        .filter(|(option, _)| *option == "-jar")
        .filter_map(|(_, path)| {
            if path.starts_with(b"/") {
                return Some(path.clone());
            }
            folder.map(|folder| below(folder, path))
        })
        .collect()
}

/// Fetches the notes among the running files, and that of the executable.
pub(super) async fn collect(target: &Target, walked: &NamedFiles) -> Notes {
    let mut notes = Notes::default();
    if let Place::Pod(place) = &target.place {
        notes.claims.extend(labels::tag(&place.image));
    }
    notes.executable(target).await;
    for path in archives(target, walked) {
        notes.archive(target, &path).await;
    }
    for file in notes_among(walked) {
        match read(target, &file.path, NOTE_LIMIT).await {
            Ok(content) => {
                let path: &BStr = file.path.as_ref();
                notes.claims.extend(java::claims(path, &content));
                notes.claims.extend(python::claims(path, &content));
                notes.claims.extend(node::claims(path, &content));
                let composer = composer::claims(path, &content).into_iter();
                // What it says of dependencies is about other repositories.
                notes
                    .claims
                    .extend(composer.filter(|claim| matches!(claim.says, Says::Commit { .. })));
            }
            Err(error) => notes.unread.push((file.path.clone(), error.to_string())),
        }
    }
    for folder in &walked.git_folders {
        notes.git_folder(target, folder).await;
    }
    notes.sort();
    notes
}

/// What the labels of an image say, as its registry tells them.
pub(super) async fn labels(image: Option<&Image>) -> Notes {
    let mut notes = Notes::default();
    let Some(image) = image else {
        return notes;
    };
    match registry::describe(image).await {
        Ok(description) => notes.claims = labels::claims(&description.labels),
        Err(error) => {
            let hint = error
                .hint()
                .map_or_else(String::new, |hint| format!("; {hint}"));
            notes.unread.push((
                format!("labels of {image}").into(),
                format!("{error}{hint}"),
            ));
        }
    }
    notes
}

/// The sources that notes carry, as files that run: what they were before they were bundled.
pub(super) fn embedded(notes: &Notes, kind: HashKind) -> Vec<RunningFile> {
    let mut files = Vec::new();
    for claim in &notes.claims {
        let Says::Sources(sources) = &claim.says else {
            continue;
        };
        for source in sources {
            let Ok(id) = blob_id(kind, &source.content) else {
                continue;
            };
            let inner = source_path(source.path.as_ref());
            let holder = claim.source.strip_prefix(b"/").unwrap_or(&claim.source);
            files.push(RunningFile {
                path: [holder, b"!/", inner].concat().into(),
                ids: vec![id],
                installed_in: None,
            });
        }
    }
    files
}

/// `webpack://shop/./src/a.ts?1234` is `src/a.ts`, `../src/a.ts` is too.
fn source_path(path: &BStr) -> &[u8] {
    let path = match path.find("://") {
        Some(scheme) => {
            let rest = path.get(scheme + 3..).unwrap_or_default();
            rest.split_once_str("/").map_or(rest, |(_, path)| path)
        }
        None => path,
    };
    let path = path.split_once_str("?").map_or(path, |(path, _)| path);
    let mut path = path;
    while let Some(rest) = path
        .strip_prefix(b"./")
        .or_else(|| path.strip_prefix(b"../"))
    {
        path = rest;
    }
    path.trim_start_with(|character| character == '/')
}

/// The small files that are notes by their names, at most so many of each kind.
fn notes_among(walked: &NamedFiles) -> Vec<&NamedFile> {
    let kinds: [fn(&BStr) -> bool; 5] = [
        java::is_note,
        |path| python::is_note(path),
        |path| path.ends_with(b"/package.json"),
        |path| {
            path.ends_with(b"composer/installed.php") || path.ends_with(b"composer/installed.json")
        },
        |path| path.ends_with(b".js.map") || path.ends_with(b".css.map"),
    ];
    let mut found = Vec::new();
    for (number, kind) in kinds.iter().enumerate() {
        // Installed packages are many, and each has its digests to be checked.
        let limit = if number == 1 { NOTES * 20 } else { NOTES };
        found.extend(
            walked
                .files
                .iter()
                .filter(|file| !file.path.contains_str("/node_modules/"))
                .filter(|file| file.size <= NOTE_LIMIT as u64 && kind(file.path.as_ref()))
                .take(limit),
        );
    }
    found
}

/// The archives of classes: the one that runs, and those in the running folders.
fn archives(target: &Target, walked: &NamedFiles) -> Vec<BString> {
    let arguments = &target.process().arguments;
    let is_archive = |path: &[u8]| {
        [&b".jar"[..], b".war", b".ear"]
            .iter()
            .any(|end| path.ends_with(end))
    };
    let mut paths: Vec<BString> = arguments
        .iter()
        .zip(arguments.iter().skip(1))
        .filter(|(option, _)| *option == "-jar")
        .map(|(_, path)| path.clone())
        .collect();
    let found = walked.files.iter().map(|file| &file.path);
    paths.extend(found.filter(|path| is_archive(path)).take(NOTES).cloned());
    let mut seen = std::collections::HashSet::new();
    let name = |path: &BString| path.rsplit_str("/").next().map(<[u8]>::to_vec);
    paths.retain(|path| seen.insert(name(path)));
    paths
}

impl Notes {
    /// Adds others.
    pub(super) fn extend(&mut self, others: Self) {
        self.claims.extend(others.claims);
        self.unread.extend(others.unread);
        self.sort();
    }

    fn sort(&mut self) {
        self.claims
            .sort_by(|left, right| (left.kind, &left.source).cmp(&(right.kind, &right.source)));
    }

    async fn executable(&mut self, target: &Target) {
        let Some(path) = target.process().executable.known() else {
            return;
        };
        let path = path.clone();
        let parse = |file: &Sparse| Some(executable::claims(path.as_ref(), file));
        match parse_by_parts(target, &path, parse).await {
            Ok(claims) => self.claims.extend(claims.into_iter().flatten()),
            Err(error) => self.unread.push((path.clone(), error.to_string())),
        }
    }

    async fn archive(&mut self, target: &Target, path: &BString) {
        let parse = |file: &Sparse| java::archive(path.as_ref(), file);
        match parse_by_parts(target, path, parse).await {
            Ok(Some(claims)) => self.claims.extend(claims),
            Ok(None) => {
                let reason = "it is no archive that can be read".to_owned();
                self.unread.push((path.clone(), reason));
            }
            Err(error) => self.unread.push((path.clone(), error.to_string())),
        }
    }

    /// A folder that is no repository has nothing to say.
    async fn git_folder(&mut self, target: &Target, folder: &BString) {
        let file = |name: &[u8]| below(folder, &name.into());
        let Ok(content) = read(target, &file(b"HEAD"), NOTE_LIMIT).await else {
            return;
        };
        let revision = match git_folder::head(&content) {
            Some(git_folder::Head::Commit(revision)) => Some(revision),
            Some(git_folder::Head::Ref(name)) => {
                let loose = read(target, &file(&name), NOTE_LIMIT).await;
                match loose.ok().and_then(|content| git_folder::head(&content)) {
                    Some(git_folder::Head::Commit(revision)) => Some(revision),
                    _ => read(target, &file(b"packed-refs"), NOTE_LIMIT)
                        .await
                        .ok()
                        .and_then(|content| git_folder::packed(&content, &name)),
                }
            }
            None => None,
        };
        self.claims.extend(revision.map(|revision| Claim {
            kind: Kind::GitFolder,
            source: folder.clone(),
            says: Says::Commit {
                revision,
                modified: None,
                repository: None,
            },
        }));
    }
}

/// Runs a parser over a large file, reading the parts that it turns out to need.
async fn parse_by_parts<T>(
    target: &Target,
    path: &BString,
    mut parse: impl FnMut(&Sparse) -> T,
) -> Result<T, RequestError> {
    let mut file = Sparse::new(range(target, path, 0, 0).await?.1);
    let mut result = parse(&file);
    for _ in 0..PARTS {
        let Some(missing) = file.missing() else {
            break;
        };
        if missing.length > NOTE_LIMIT as u64 {
            break;
        }
        let (content, _) = range(target, path, missing.offset, missing.length).await?;
        if (content.len() as u64) < missing.length {
            // It has become shorter: whatever else it says is of another file.
            break;
        }
        file.add(missing.offset, content);
        result = parse(&file);
    }
    Ok(result)
}

/// A part of a file, and the size of the whole.
async fn range(
    target: &Target,
    path: &BString,
    offset: u64,
    length: u64,
) -> Result<(Vec<u8>, u64), RequestError> {
    let mut reply = target.session.request(&Request::ReadRange {
        process: target.process().id,
        path: path.clone(),
        offset,
        length,
    })?;
    let head: FileHead = reply.head().await?;
    let content = reply.bytes(NOTE_LIMIT).await?;
    let _: FileTail = reply.trailer()?;
    Ok((content, head.entry.size))
}

/// A whole file, at most so many bytes of it.
pub(super) async fn read(
    target: &Target,
    path: &BString,
    limit: usize,
) -> Result<Vec<u8>, RequestError> {
    let mut reply = target.session.request(&Request::ReadFile {
        process: target.process().id,
        path: path.clone(),
    })?;
    let _: FileHead = reply.head().await?;
    reply.bytes(limit).await
}

/// Checks each claim against what runs.
pub(super) async fn check(
    target: &Target,
    repository: &Arc<Repository>,
    walked: &NamedFiles,
    found: &Arc<Found>,
    notes: &mut Notes,
) -> Result<Vec<Checked>, CommandError> {
    let mut checked = Vec::new();
    for claim in std::mem::take(&mut notes.claims) {
        let warning = warning(repository, &claim);
        let verdict = match &claim.says {
            Says::Files(files) => check_files(target, walked, &claim.source, files).await,
            Says::Commit { revision, .. } => {
                let spec = revision.clone();
                let absent = format!("the commit {revision} is not in the repository");
                check_commit(repository, found, vec![spec], absent).await?
            }
            Says::Version { version, .. } => {
                let bare = version.strip_prefix('v').unwrap_or(version);
                let specs = ["refs/tags/v", "refs/tags/"].map(|tag| format!("{tag}{bare}"));
                let absent = format!("no tag is named for version {version}");
                check_commit(repository, found, specs.into(), absent).await?
            }
            Says::Sources(_) => check_sources(found, &claim),
        };
        checked.push(Checked {
            claim,
            verdict,
            warning,
        });
    }
    Ok(checked)
}

/// A claim that names another repository is about another repository.
fn warning(repository: &Repository, claim: &Claim) -> Option<String> {
    let Says::Commit {
        repository: Some(named),
        ..
    } = &claim.says
    else {
        return None;
    };
    let remotes = repository.remote_urls();
    let is_ours = |remote: &String| labels::is_same_repository(remote, named);
    if claim.kind == Kind::GoBuildInfo || remotes.is_empty() || remotes.iter().any(is_ours) {
        return None;
    }
    let inherited = if claim.kind == Kind::Label {
        ": the label may be inherited from the base image"
    } else {
        ""
    };
    Some(format!("it names another repository, {named}{inherited}"))
}

async fn check_commit(
    repository: &Arc<Repository>,
    found: &Arc<Found>,
    specs: Vec<String>,
    absent: String,
) -> Result<Verdict, CommandError> {
    let (repository, found) = (Arc::clone(repository), Arc::clone(found));
    blocking(move || {
        let commit = specs.iter().find_map(|spec| repository.resolve(spec).ok());
        let Some(commit) = commit else {
            return Ok(Verdict::Unchecked { reason: absent });
        };
        let entries = repository.tree(&commit, BStr::new(""))?;
        let entries: Vec<(BString, ObjectId)> = entries
            .into_iter()
            .map(|entry| (entry.path, entry.id))
            .collect();
        let fit = found.fit.tree(&found.running, &entries);
        let compared = fit.equal() + fit.distance();
        if compared == 0 {
            let reason = "nothing that runs was ever a file of the repository".to_owned();
            return Ok(Verdict::Unchecked { reason });
        }
        let apart = fit
            .files
            .iter()
            .zip(&found.running)
            .filter(|(fit, _)| matches!(fit, FileFit::Differs(_) | FileFit::Absent(_)));
        let files: Vec<String> = apart
            .map(|(_, file)| format!("/{}", safe(&file.path)))
            .collect();
        Ok(verdict(compared, files))
    })
    .await
}

fn verdict(compared: usize, files: Vec<String>) -> Verdict {
    if files.is_empty() {
        Verdict::Fits { compared }
    } else {
        Verdict::Contradicts { compared, files }
    }
}

/// The sources took part in the search; the best commit has them or has not.
fn check_sources(found: &Found, claim: &Claim) -> Verdict {
    let holder = claim.source.strip_prefix(b"/").unwrap_or(&claim.source);
    let prefix = [holder, b"!/"].concat();
    let Some(best) = found.answers.first() else {
        let reason = "no commit fits".to_owned();
        return Verdict::Unchecked { reason };
    };
    let ours = found.running.iter().zip(&best.tree.files);
    let ours = ours.filter(|(file, _)| file.path.starts_with(&prefix));
    let (mut compared, mut files) = (0, Vec::new());
    for (file, fit) in ours {
        match fit {
            FileFit::Unknown => continue,
            FileFit::Equal(_) => {}
            FileFit::Differs(_) | FileFit::Absent(_) => {
                files.push(format!("/{}", safe(&file.path)));
            }
        }
        compared += 1;
    }
    if compared == 0 {
        let reason = "none of its sources was ever a file of the repository".to_owned();
        return Verdict::Unchecked { reason };
    }
    verdict(compared, files)
}

/// Compares installed files with the digests that they were installed with.
async fn check_files(
    target: &Target,
    walked: &NamedFiles,
    note: &BString,
    recorded: &[Recorded],
) -> Verdict {
    let mut parts = note.rsplitn_str(3, "/").skip(2);
    let folder: BString = parts.next().unwrap_or_default().into();
    let sizes: HashMap<&BString, u64> = walked
        .files
        .iter()
        .map(|file| (&file.path, file.size))
        .collect();
    let mut left = CHECK_LIMIT;
    let (mut edited, mut wanted, mut skipped) = (Vec::new(), Vec::new(), 0);
    for file in recorded {
        let path = below(&folder, &file.path);
        // What is not there was left out of the image; what lies above is a script with a changed first line.
        let Some(size) = sizes.get(&path).copied() else {
            continue;
        };
        if file.size.is_some_and(|recorded| recorded != size) {
            edited.push(path);
        } else if size > left || wanted.len() >= CHECK_FILES {
            skipped += 1;
        } else {
            left -= size;
            wanted.push((path, file.sha256));
        }
    }
    let compared = edited.len() + wanted.len();
    let results: Vec<Option<(BString, bool)>> = stream::iter(wanted)
        .map(|(path, expected)| async move {
            let content = read(target, &path, NOTE_LIMIT).await.ok()?;
            let is_same = <[u8; 32]>::from(Sha256::digest(&content)) == expected;
            Some((path, is_same))
        })
        .buffered(AT_ONCE)
        .collect()
        .await;
    skipped += results.iter().filter(|result| result.is_none()).count();
    let other = results.into_iter().flatten().filter(|(_, same)| !same);
    edited.extend(other.map(|(path, _)| path));
    edited.sort();
    let files: Vec<String> = edited.iter().map(|path| safe(path)).collect();
    if files.is_empty() && skipped > 0 {
        return Verdict::Unchecked {
            reason: format!("{skipped} files were not read"),
        };
    }
    if compared == 0 {
        let reason = "none of its files was walked".to_owned();
        return Verdict::Unchecked { reason };
    }
    verdict(compared, files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_of_an_embedded_source_is_that_of_the_file() {
        for (written, path) in [
            ("webpack://shop/./src/a.ts?1a2b", "src/a.ts"),
            ("webpack:///src/a.ts", "src/a.ts"),
            ("../../src/a.ts", "src/a.ts"),
            ("/src/a.ts", "src/a.ts"),
            ("a.ts", "a.ts"),
        ] {
            assert_eq!(source_path(written.into()).as_bstr(), path, "{written}");
        }
    }
}
