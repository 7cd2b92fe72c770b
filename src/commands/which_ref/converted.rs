//! Files that differ from the best commit may only have been converted: their contents tell.

use std::collections::HashMap;

use bstr::{BString, ByteSlice as _};
use futures::{StreamExt as _, stream};

use super::{origin, search::Found};
use crate::{
    commands::running::NamedFiles,
    evidence::fit::{FileFit, variants},
    object::{HashKind, ObjectId},
    target::Target,
};

/// No larger file is read for this.
const SIZE: u64 = 1 << 20;
/// As many files are read.
const FILES: usize = 1000;
/// As many requests are under way at once.
const AT_ONCE: usize = 16;

/// Adds to the files that differ from the best commit the names that they may have had; answers whether there
/// were any. A file that cannot be read stays as it is: it was named, so it was there a moment ago.
pub(super) async fn add(
    target: &Target,
    walked: &NamedFiles,
    found: &mut Found,
    kind: HashKind,
) -> bool {
    let Some(best) = found.answers.first() else {
        return false;
    };
    let small: HashMap<&[u8], &BString> = walked
        .files
        .iter()
        .filter(|file| file.size <= SIZE)
        .map(|file| {
            (
                file.path.trim_start_with(|character| character == '/'),
                &file.path,
            )
        })
        .collect();
    let wanted: Vec<(usize, BString)> = found
        .running
        .iter()
        .zip(&best.tree.files)
        .enumerate()
        .filter(|(_, (_, fit))| matches!(fit, FileFit::Differs(_)))
        .filter_map(|(position, (file, _))| {
            let path = *small.get(file.path.as_slice())?;
            Some((position, path.clone()))
        })
        .take(FILES)
        .collect();
    let limit = usize::try_from(SIZE).unwrap_or(usize::MAX);
    let names: Vec<(usize, Vec<ObjectId>)> = stream::iter(wanted)
        .map(|(position, path)| async move {
            let content = origin::read(target, &path, limit).await;
            let names = content.map(|content| variants(kind, &content));
            (position, names.unwrap_or_default())
        })
        .buffered(AT_ONCE)
        .collect()
        .await;
    let mut added = false;
    for (position, names) in names {
        if let Some(file) = found.running.get_mut(position) {
            added |= !names.is_empty();
            file.ids.extend(names);
        }
    }
    added
}
