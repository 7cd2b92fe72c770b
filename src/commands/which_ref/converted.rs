//! Files that differ from the best commit may only have been converted: their contents tell.
//!
//! What git stored for line endings and `$Id$` is guessed, and any commit may have it. Encodings, `export-subst` and
//! LFS lose too much for that: such a file is compared with what the best commit has, by the rules of its attributes.

use std::{collections::HashMap, sync::Arc};

use bstr::{BStr, BString, ByteSlice as _};
use futures::{StreamExt as _, stream};

use super::{origin, search::Found};
use crate::{
    cli::error::CommandError,
    commands::{repository::blocking, running::NamedFiles},
    evidence::{
        fit::{FileFit, variants},
        noise::attributes::{self, Attributes, OfPath},
    },
    git::{Commit, GitError, Repository},
    object::{HashKind, ObjectId},
    target::Target,
};

/// No larger file is read for this.
const SIZE: u64 = 1 << 20;
/// As many files are read.
const FILES: usize = 1000;
/// As many requests are under way at once.
const AT_ONCE: usize = 16;

/// A running file and what the best commit has in its place.
struct Pair {
    /// The number of the running file.
    number: usize,
    /// Its path as the process sees it.
    running: BString,
    /// The path in the commit.
    path: BString,
}

/// What a commit has at a path.
#[derive(Clone)]
struct Stored {
    id: ObjectId,
    attributes: OfPath,
}

/// Adds to the files that differ from the best commit the names that they may have had; answers whether there
/// were any. A file that cannot be read stays as it is: it was named, so it was there a moment ago.
pub(super) async fn add(
    target: &Target,
    repository: &Arc<Repository>,
    walked: &NamedFiles,
    found: &mut Found,
    kind: HashKind,
) -> Result<bool, CommandError> {
    let Some(best) = found.answers.first() else {
        return Ok(false);
    };
    let commit = best.newest.clone();
    let pairs = pairs(walked, found);
    if pairs.is_empty() {
        return Ok(false);
    }
    let stored = stored(repository, commit, &pairs).await?;
    let limit = usize::try_from(SIZE).unwrap_or(usize::MAX);
    let names: Vec<(usize, Vec<ObjectId>)> = stream::iter(pairs)
        .map(|pair| {
            let stored = stored.get(&pair.path).cloned();
            async move {
                let Ok(content) = origin::read(target, &pair.running, limit).await else {
                    return (pair.number, Vec::new());
                };
                let mut names = variants(kind, &content);
                names.extend(the_same(repository, stored, content).await);
                (pair.number, names)
            }
        })
        .buffered(AT_ONCE)
        .collect()
        .await;
    let mut added = false;
    for (number, names) in names {
        if let Some(file) = found.running.get_mut(number) {
            added |= !names.is_empty();
            file.ids.extend(names);
        }
    }
    Ok(added)
}

/// The files that differ and are small enough to be read.
fn pairs(walked: &NamedFiles, found: &Found) -> Vec<Pair> {
    let small: HashMap<&[u8], &BString> = walked
        .files
        .iter()
        .filter(|file| file.size <= SIZE)
        .map(|file| {
            let path = file.path.trim_start_with(|character| character == '/');
            (path, &file.path)
        })
        .collect();
    let files = found.answers.first().map(|best| &best.tree.files);
    found
        .running
        .iter()
        .zip(files.into_iter().flatten())
        .enumerate()
        .filter_map(|(number, (file, fit))| {
            let FileFit::Differs(path) = fit else {
                return None;
            };
            Some(Pair {
                number,
                running: (*small.get(file.path.as_slice())?).clone(),
                path: path.clone(),
            })
        })
        .take(FILES)
        .collect()
}

/// What the commit has at the paths of some files, with the attributes that it gives them.
async fn stored(
    repository: &Arc<Repository>,
    commit: Commit,
    pairs: &[Pair],
) -> Result<HashMap<BString, Stored>, CommandError> {
    let repository = Arc::clone(repository);
    let wanted: Vec<BString> = pairs.iter().map(|pair| pair.path.clone()).collect();
    blocking(move || {
        let entries = repository.tree(&commit, BStr::new(""))?;
        let mut files = Vec::new();
        for entry in &entries {
            if attributes::is_attributes_file(entry.path.as_ref())
                && let Ok(blob) = repository.read_blob(&entry.id)
            {
                files.push((entry.path.clone(), blob));
            }
        }
        let rules = Attributes::new(&files);
        let ids: HashMap<&BString, ObjectId> = entries
            .iter()
            .map(|entry| (&entry.path, entry.id))
            .collect();
        let stored = wanted.iter().filter_map(|path| {
            let attributes = rules.of(path.as_ref());
            let id = *ids.get(path)?;
            Some((path.clone(), Stored { id, attributes }))
        });
        Ok(stored.collect())
    })
    .await
}

/// The name of what the commit has, when the running content is the same in another form.
async fn the_same(
    repository: &Arc<Repository>,
    stored: Option<Stored>,
    content: Vec<u8>,
) -> Option<ObjectId> {
    let Stored { id, attributes } = stored?;
    let repository = Arc::clone(repository);
    let is_same = blocking(move || {
        if repository.blob_size(&id)? > SIZE {
            return Ok::<_, GitError>(false);
        }
        let old = repository.read_blob(&id)?;
        Ok(attributes::same_content(&old, &content, &attributes).is_some())
    })
    .await;
    matches!(is_same, Ok(true)).then_some(id)
}
