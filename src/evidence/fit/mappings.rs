//! Which running folder may be which folder of the repository, over all of its history.
//!
//! Each running file votes with every path that ever held its blob: the folders above the common end of both
//! paths may be the same. A folder that was renamed has several answers, each right at its time, and an image
//! may be put together from several folders; so all that have something to say are kept.

use std::collections::{HashMap, HashSet};

use bstr::{BStr, BString, ByteSlice as _};

use crate::evidence::mapping::{join, strip};

/// As many pairs of folders are kept.
const LIMIT: usize = 12;
/// A name in more places than this says nothing.
const NAMES: usize = 50;
/// A pair whose files another pair explains as well is kept when it has this share of the votes of the best.
const RIVAL: f64 = 0.1;

/// A running folder and a folder of the repository.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FolderPair {
    /// The running folder from `/`, without the slash in front; empty for `/` itself.
    pub running: BString,
    /// The folder of the repository; empty for its top.
    pub repository: BString,
}

impl FolderPair {
    /// Where the repository has a running file, when that lies in the folder.
    pub(super) fn repository_path(&self, running: &BStr) -> Option<BString> {
        let rest = strip(running, self.running.as_ref())?;
        Some(join(self.repository.as_ref(), rest))
    }

    /// Where a file of the repository would run, when it lies in the folder.
    pub(super) fn running_path(&self, repository: &BStr) -> Option<BString> {
        let rest = strip(repository, self.repository.as_ref())?;
        Some(join(self.running.as_ref(), rest))
    }
}

/// A running file, by its number, and a path that held one of its blobs.
pub(super) struct Sighting<'a> {
    pub(super) file: usize,
    pub(super) running: &'a BStr,
    pub(super) repository: &'a BStr,
    /// In how many places the blob was seen; it says the less the more there are.
    pub(super) places: usize,
}

/// What a pair has to say for itself.
#[derive(Default)]
struct Votes {
    weight: f64,
    files: HashSet<usize>,
}

/// Chooses the pairs that count, the one with most votes first. Sightings in very many places must have been
/// left out.
pub(super) fn choose<'a>(sightings: impl Iterator<Item = Sighting<'a>>) -> Vec<FolderPair> {
    let mut votes: HashMap<(&BStr, &BStr), Votes> = HashMap::new();
    let mut weights: HashMap<usize, f64> = HashMap::new();
    for sighting in sightings {
        #[expect(clippy::cast_precision_loss, reason = "few places")]
        let weight = 1.0 / sighting.places as f64;
        weights.insert(sighting.file, weight);
        let pair = votes
            .entry(fork(sighting.running, sighting.repository))
            .or_default();
        if pair.files.insert(sighting.file) {
            pair.weight += weight;
        }
    }
    let mut pairs: Vec<_> = votes.into_iter().collect();
    // With equal weight the shorter paths win, so that the answer does not depend on the order of a map.
    pairs.sort_by(|(left_name, left), (right_name, right)| {
        right
            .weight
            .total_cmp(&left.weight)
            .then_with(|| left_name.cmp(right_name))
    });
    let best = pairs.first().map_or(0.0, |(_, votes)| votes.weight);
    let mut covered: HashSet<usize> = HashSet::new();
    let mut chosen = Vec::new();
    while chosen.len() < LIMIT && !pairs.is_empty() {
        // The pair that explains most of what no pair explains yet; of those that explain nothing new, the
        // rivals of the best.
        let gain = |votes: &Votes| -> f64 {
            let new = votes.files.difference(&covered);
            new.filter_map(|file| weights.get(file)).sum()
        };
        let next = pairs
            .iter()
            .enumerate()
            .map(|(position, (_, votes))| (position, gain(votes)))
            .fold(
                None,
                |best: Option<(usize, f64)>, (position, gain)| match best {
                    Some((_, other)) if other >= gain => best,
                    _ => Some((position, gain)),
                },
            )
            .filter(|(_, gain)| *gain > 0.0)
            .map(|(position, _)| position)
            .or_else(|| {
                pairs
                    .iter()
                    .position(|(_, votes)| votes.weight >= best * RIVAL)
            });
        let Some(next) = next else {
            break;
        };
        let ((running, repository), votes) = pairs.remove(next);
        covered.extend(&votes.files);
        chosen.push(FolderPair {
            running: running.into(),
            repository: repository.into(),
        });
    }
    chosen
}

/// The pair of folders under which most files have their names on both sides: what one equal file may belie. None when
/// there are two such, or when it has not at least two files more than the pairs that were chosen.
pub(super) fn by_name<'a>(
    running: &[&'a BStr],
    paths: impl Iterator<Item = &'a BStr>,
    chosen: &[FolderPair],
) -> Option<FolderPair> {
    let wanted: HashSet<&BStr> = running.iter().map(|path| parent(path).1).collect();
    let mut places: HashMap<&BStr, Vec<&BStr>> = HashMap::new();
    for path in paths {
        let name = parent(path).1;
        if wanted.contains(name) {
            places.entry(name).or_default().push(path);
        }
    }
    let all: HashSet<&BStr> = places.values().flatten().copied().collect();
    let known = |pair: &FolderPair| {
        let has = |path: &&&BStr| {
            let place = pair.repository_path(path);
            place.is_some_and(|place| all.contains(place.as_bstr()))
        };
        running.iter().filter(has).count()
    };
    let mut pairs: HashSet<FolderPair> = HashSet::new();
    for path in running {
        let places = places
            .get(parent(path).1)
            .filter(|places| places.len() <= NAMES);
        for place in places.into_iter().flatten() {
            let (running, repository) = fork(path, place);
            // Files that were moved within a folder that is known contradict nothing.
            let is_known =
                |pair: &FolderPair| strip(repository, pair.repository.as_ref()).is_some();
            if !chosen.iter().any(is_known) {
                pairs.insert(FolderPair {
                    running: running.to_owned(),
                    repository: repository.to_owned(),
                });
            }
        }
    }
    let mut counted: Vec<(usize, FolderPair)> =
        pairs.into_iter().map(|pair| (known(&pair), pair)).collect();
    counted.sort_by_key(|one| std::cmp::Reverse(one.0));
    let next = counted.get(1).map_or(0, |(count, _)| *count);
    let before = chosen.iter().map(known).max().unwrap_or(0);
    let (count, best) = counted.into_iter().next()?;
    (count > next && count >= before + 2).then_some(best)
}

/// Cuts the common end, in whole parts, off two paths: `a/src/x.py` and `svc/src/x.py` fork at `a` and `svc`.
/// Files that were renamed fork at their folders.
pub(super) fn fork<'a>(left: &'a BStr, right: &'a BStr) -> (&'a BStr, &'a BStr) {
    let (mut left, mut right) = (parent(left).0, parent(right).0);
    while !left.is_empty() && !right.is_empty() {
        let ((left_parent, left_name), (right_parent, right_name)) = (parent(left), parent(right));
        if left_name != right_name {
            break;
        }
        (left, right) = (left_parent, right_parent);
    }
    (left, right)
}

/// The folder of a path, and the name in it.
pub(super) fn parent(path: &BStr) -> (&BStr, &BStr) {
    match path.rsplit_once_str("/") {
        Some((parent, name)) => (parent.as_bstr(), name.as_bstr()),
        None => (b"".as_bstr(), path),
    }
}
