//! Files that run under another path than the reference has them at.

use std::collections::{HashMap, HashSet};

use bstr::{BString, ByteSlice as _};

use super::{
    comparison::{Difference, Origin},
    mapping::parent,
};
use crate::{diff::similarity::Pieces, object::ObjectId};

/// git's default: contents that are less alike are not called a rename.
const ALIKE: u8 = 50;

/// Takes out of the differences, in pairs, what is missing at one path and there at another with the same content.
/// Each comes with the reason. Empty files are not the same file.
pub fn exact(differences: &mut Vec<Difference>) -> Vec<(Difference, String)> {
    let mut missing: HashMap<ObjectId, Vec<usize>> = HashMap::new();
    for (index, difference) in differences.iter().enumerate() {
        if let (Some(version), None) = (&difference.reference, &difference.running) {
            missing.entry(version.id).or_default().push(index);
        }
    }
    let mut taken: HashSet<usize> = HashSet::new();
    let mut moved: Vec<(usize, usize)> = Vec::new();
    for (index, difference) in differences.iter().enumerate() {
        let Some(file) = difference.running.as_ref().filter(|file| file.size > 0) else {
            continue;
        };
        if difference
            .reference
            .is_some_and(|version| version.id == file.version.id)
        {
            continue;
        }
        let Some(candidates) = missing.get_mut(&file.version.id) else {
            continue;
        };
        let path = |candidate: &usize| differences.get(*candidate).map(|other| &other.path);
        let position = if difference.reference.is_some() {
            // What the ref has at the path itself is not there then; builds put only variants in its place.
            candidates.iter().position(|candidate| {
                path(candidate).is_some_and(|other| is_variant(other, &difference.path))
            })
        } else {
            let same_name = candidates.iter().position(|candidate| {
                path(candidate).is_some_and(|other| {
                    parent(other.as_ref()).1 == parent(difference.path.as_ref()).1
                })
            });
            same_name.or((!candidates.is_empty()).then_some(0))
        };
        if let Some(position) = position {
            let origin = candidates.remove(position);
            taken.insert(origin);
            moved.push((index, origin));
        }
    }
    let rows = moved
        .iter()
        .filter_map(|(index, origin)| {
            let mut difference = differences.get(*index)?.clone();
            let origin = differences.get(*origin)?;
            let because = format!("the content of `{}`", origin.path);
            // What the ref has at the path itself is not there; the content is, that of another path.
            difference.reference = origin.reference;
            difference.origin = Some(Origin {
                path: origin.path.clone(),
                similarity: 100,
            });
            Some((difference, because))
        })
        .collect();
    taken.extend(moved.iter().map(|(index, _)| *index));
    let mut index = 0;
    differences.retain(|_| {
        index += 1;
        !taken.contains(&(index - 1))
    });
    rows
}

/// Whether a file is meant to be copied over another: `config.prod.js` over `config.js`, `.env.example` over `.env`.
fn is_variant(variant: &BString, path: &BString) -> bool {
    let (variant, name) = (parent(variant.as_ref()).1, parent(path.as_ref()).1);
    let stem = name
        .rsplit_once_str(".")
        .map_or(name.as_bytes(), |(stem, _)| {
            if stem.is_empty() {
                name.as_bytes()
            } else {
                stem
            }
        });
    variant != name
        && variant
            .strip_prefix(stem)
            .is_some_and(|rest| rest.first().is_some_and(|byte| b".-_".contains(byte)))
}

/// Pairs missing contents with new ones that are alike, the most alike first: by the new path, the origin.
pub fn similar(
    missing: &[(BString, Vec<u8>)],
    new: &[(BString, Vec<u8>)],
) -> HashMap<BString, Origin> {
    let cut = |files: &[(BString, Vec<u8>)]| -> Vec<Pieces> {
        files
            .iter()
            .map(|(_, content)| Pieces::of(content))
            .collect()
    };
    let (old_pieces, new_pieces) = (cut(missing), cut(new));
    let mut pairs: Vec<(u8, bool, &BString, &BString)> = Vec::new();
    for ((old_path, _), old) in missing.iter().zip(&old_pieces) {
        for ((new_path, content), new) in new.iter().zip(&new_pieces) {
            if content.is_empty() || old.cannot_reach(new, u64::from(ALIKE)) {
                continue;
            }
            let similarity = old.similarity(new);
            if similarity >= ALIKE {
                let same_name = parent(old_path.as_bstr()).1 == parent(new_path.as_bstr()).1;
                pairs.push((similarity, same_name, old_path, new_path));
            }
        }
    }
    pairs.sort_by(|left, right| {
        (right.0, right.1, left.2, left.3).cmp(&(left.0, left.1, right.2, right.3))
    });
    let mut taken: HashSet<&BString> = HashSet::new();
    let mut origins = HashMap::new();
    for (similarity, _, old, new) in pairs {
        if !taken.contains(old) && !origins.contains_key(new) {
            taken.insert(old);
            origins.insert(
                new.clone(),
                Origin {
                    path: old.clone(),
                    similarity,
                },
            );
        }
    }
    origins
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::comparison::{
        NEVER, compare,
        testing::{mapped, reference, running},
    };

    #[test]
    fn the_same_content_at_another_path_is_moved() {
        let mut comparison = compare(
            vec![
                running("/app/config.js", "production"),
                running("/app/empty", ""),
                running("/app/new.js", "new"),
            ],
            &[
                reference("config.js", "development"),
                reference("config.prod.js", "production"),
                reference("other-empty", ""),
            ],
            &[mapped("/app", "")],
            &[],
            NEVER,
        );
        let moved = exact(&mut comparison.differences);
        let [(difference, because)] = moved.as_slice() else {
            panic!("{moved:?}");
        };
        assert_eq!(difference.path, "config.js");
        assert_eq!(because, "the content of `config.prod.js`");
        let left: Vec<_> = comparison
            .differences
            .iter()
            .map(|difference| difference.path.to_string())
            .collect();
        assert_eq!(left, ["empty", "new.js", "other-empty"]);
    }

    #[test]
    fn the_most_alike_are_paired() {
        let file = |path: &str, content: &str| (BString::from(path), content.as_bytes().to_vec());
        let origins = similar(
            &[file("a", "1\n2\n3\n4\n"), file("b", "5\n6\n7\n8\n")],
            &[
                file("x", "1\n2\n3\nx\n"),
                file("y", "1\n2\nx\ny\n"),
                file("z", "nothing of it\n"),
            ],
        );
        let mut pairs: Vec<_> = origins
            .iter()
            .map(|(new, origin)| format!("{} {} {new}", origin.path, origin.similarity))
            .collect();
        pairs.sort();
        assert_eq!(pairs, ["a 75 x"]);
    }
}
