//! What is expected where: for each path of the repository, the running file that it would be.
//!
//! Files that the same mappings can explain form a region. In one commit a region is explained by one of its
//! mappings, the one with most equal files: a folder that was renamed lies in one place or the other. So a
//! region has one sum for each mapping, and each sum is exact under additions and subtractions.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use bstr::{BStr, BString, ByteSlice as _};

use super::{
    RunningFile, Search, is_set,
    mappings::{self, FolderPair, Sighting, parent},
};
use crate::object::ObjectId;

/// The weight of a file that says something.
pub(super) const RARE: u32 = 16;
/// The weight of one that lies everywhere.
const COMMON: u32 = 1;
/// Blobs seen in more places than this say nothing.
const PLACES: usize = 50;
/// As many sums are kept for each commit; files of further regions are explained by their first mapping.
const SLOT_LIMIT: usize = 24;
/// Names of folders and the beginnings of names of files that builds leave out.
const LEFT_OUT: [&str; 12] = [
    "test",
    "tests",
    "__tests__",
    "testdata",
    "spec",
    "specs",
    "doc",
    "docs",
    "example",
    "examples",
    "benchmarks",
    "e2e",
];

/// The plan of a search.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) mappings: Vec<FolderPair>,
    /// For each running file, the paths at which the repository may have it, in order of preference.
    pub(super) paths: Vec<Vec<BString>>,
    /// By path number: what it adds to which sum.
    expected: HashMap<u32, Vec<Expected>>,
    /// The sums of each region, one for each mapping that may explain it.
    pub(super) regions: Vec<Vec<Sum>>,
    /// How many sums there are in all, those of missing files included.
    pub(super) slots: usize,
    /// For each mapping, the sum of files that are there and do not run.
    pub(super) missing: Vec<usize>,
    /// Paths that are missing where a commit has them.
    pub(super) could_run: HashSet<BString>,
}

/// One of the sums that a region has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Sum {
    pub(super) slot: usize,
    /// The mapping; `None` for files that lie where no mapping says.
    pub(super) mapping: Option<usize>,
}

/// What a path adds to a sum.
#[derive(Clone, Debug)]
pub(super) struct Expected {
    pub(super) slot: usize,
    pub(super) weight: u32,
    /// Tells sets of files apart: the marks of its files, combined.
    pub(super) mark: u64,
    /// The blobs that count.
    pub(super) blobs: Blobs,
}

/// Which blobs count at a path.
#[derive(Clone, Debug)]
pub(super) enum Blobs {
    Any,
    Of(Vec<u32>),
    OtherThan(Vec<u32>),
}

impl Plan {
    pub(super) fn new(search: &Search<'_>, reachable: &[bool]) -> Self {
        let sightings = Sightings::new(search, reachable);
        let mappings = if search.pinned.is_empty() {
            let chosen = mappings::choose(sightings.votes(search, Voters::Code));
            if chosen.is_empty() {
                mappings::choose(sightings.votes(search, Voters::All))
            } else {
                chosen
            }
        } else {
            search.pinned.to_vec()
        };
        let mut plan = Self {
            mappings,
            paths: Vec::with_capacity(search.running.len()),
            expected: HashMap::new(),
            regions: Vec::new(),
            slots: 0,
            missing: Vec::new(),
            could_run: HashSet::new(),
        };
        let packages = plan.expect(search, &sightings);
        let first = plan.slots;
        plan.missing = (first..).take(plan.mappings.len()).collect();
        plan.slots += plan.mappings.len();
        plan.expect_packages(search, &sightings, &packages);
        plan.expect_missing(search);
        plan
    }

    pub(super) fn expected(&self, path: u32) -> &[Expected] {
        self.expected.get(&path).map_or(&[], Vec::as_slice)
    }

    pub(super) fn comparable(&self) -> usize {
        self.paths.iter().filter(|paths| !paths.is_empty()).count()
    }

    /// Expects the running files where the history had them; returns the installed packages that it tracks.
    fn expect(&mut self, search: &Search<'_>, sightings: &Sightings) -> Vec<Package> {
        let mut packages = Vec::new();
        let numbers: HashMap<&BStr, u32> = search
            .history
            .paths()
            .map(|(number, path)| (path, number))
            .collect();
        let mut regions: BTreeMap<Vec<Option<usize>>, Vec<Sum>> = BTreeMap::new();
        for (position, file) in search.running.iter().enumerate() {
            let candidates = self.candidates(file, &numbers);
            if let Some(tracked) = self.tracked_package(file, &candidates) {
                self.paths
                    .push(vec![search.history.path(tracked.1).to_owned()]);
                packages.push((tracked, position));
                continue;
            }
            // Of the paths that a mapping gives, those that ever held the file.
            let mut alternatives: Vec<(Option<usize>, u32)> = candidates
                .iter()
                .filter(|(_, number)| !sightings.held(position, *number).is_empty())
                .map(|(mapping, number)| (Some(*mapping), *number))
                .collect();
            let weight = sightings.weight(position);
            let may_be_moved = search.pinned.is_empty() && file.installed_in.is_none();
            if alternatives.is_empty() && may_be_moved && weight == RARE {
                // Moved by itself, as by `COPY a b`: to the first path that held it.
                alternatives.extend(sightings.first(position).map(|number| (None, number)));
            }
            let known: Vec<u32> = if alternatives.is_empty() {
                candidates.iter().map(|(_, number)| *number).collect()
            } else {
                alternatives.iter().map(|(_, number)| *number).collect()
            };
            self.paths.push(
                known
                    .iter()
                    .map(|number| search.history.path(*number).to_owned())
                    .collect(),
            );
            if self.slots + alternatives.len() > SLOT_LIMIT {
                alternatives.truncate(1);
            }
            let mark = mark(file.path.as_ref());
            let key: Vec<Option<usize>> =
                alternatives.iter().map(|(mapping, _)| *mapping).collect();
            if key.is_empty() {
                continue;
            }
            let sums = regions.entry(key).or_insert_with_key(|key| {
                let first = self.slots;
                self.slots += key.len();
                (first..)
                    .zip(key)
                    .map(|(slot, mapping)| Sum {
                        slot,
                        mapping: *mapping,
                    })
                    .collect()
            });
            for (sum, (_, number)) in sums.iter().zip(&alternatives) {
                self.expected.entry(*number).or_default().push(Expected {
                    slot: sum.slot,
                    weight,
                    mark,
                    blobs: Blobs::Of(sightings.held(position, *number)),
                });
            }
        }
        self.regions = regions.into_values().collect();
        packages
    }

    /// Where the history tracks an installed package, when that is all that it knows of the file.
    fn tracked_package(
        &self,
        file: &RunningFile,
        candidates: &[(usize, u32)],
    ) -> Option<(usize, u32)> {
        let installed_in = file.installed_in.as_ref()?;
        let holds_packages = |(mapping, _): &(usize, u32)| {
            let pair = self.mappings.get(*mapping);
            pair.is_some_and(|pair| pair.running.len() < installed_in.len())
        };
        let tracked = *candidates.first()?;
        candidates.iter().all(holds_packages).then_some(tracked)
    }

    /// Expects installed packages: another content in a commit that tracks them counts as a missing file does.
    fn expect_packages(
        &mut self,
        search: &Search<'_>,
        sightings: &Sightings,
        packages: &[Package],
    ) {
        for ((mapping, number), file) in packages {
            let (Some(slot), Some(running)) =
                (self.missing.get(*mapping), search.running.get(*file))
            else {
                continue;
            };
            self.expected.entry(*number).or_default().push(Expected {
                slot: *slot,
                weight: 1,
                mark: mark(running.path.as_ref()),
                blobs: Blobs::OtherThan(sightings.held(*file, *number)),
            });
        }
    }

    /// The paths that mappings give for a running file and that the history knows, the best mapping first.
    fn candidates(&self, file: &RunningFile, numbers: &HashMap<&BStr, u32>) -> Vec<(usize, u32)> {
        let mut seen = HashSet::new();
        self.mappings
            .iter()
            .enumerate()
            .filter_map(|(position, pair)| {
                let path = pair.repository_path(file.path.as_ref())?;
                let number = *numbers.get(path.as_bstr())?;
                seen.insert(number).then_some((position, number))
            })
            .collect()
    }

    /// Expects the files that a commit may have and that do not run: in a folder that runs, of a kind that
    /// runs there, not by its name something that builds leave out.
    fn expect_missing(&mut self, search: &Search<'_>) {
        let running: HashSet<&BStr> = search
            .running
            .iter()
            .map(|file| file.path.as_ref())
            .collect();
        let kinds: HashSet<(&BStr, &[u8])> = self
            .paths
            .iter()
            .zip(search.running)
            .filter(|(paths, _)| !paths.is_empty())
            .map(|(_, file)| {
                let (folder, name) = parent(file.path.as_ref());
                (folder, kind(name))
            })
            .collect();
        let mapped: HashSet<&BStr> = self.paths.iter().flatten().map(AsRef::as_ref).collect();
        let mut expected = Vec::new();
        for (number, path) in search.history.paths() {
            if mapped.contains(path) || is_left_out(path) {
                continue;
            }
            // The mapping with the longest folder is the one that says where the file would run.
            let pair = self
                .mappings
                .iter()
                .enumerate()
                .filter_map(|(position, pair)| Some((position, pair, pair.running_path(path)?)))
                .max_by_key(|(position, pair, _)| (pair.repository.len(), usize::MAX - position));
            let Some((position, _, would_run)) = pair else {
                continue;
            };
            let (folder, name) = parent(would_run.as_ref());
            let is_kind_that_runs = kinds.contains(&(folder, kind(name)));
            if let Some(slot) = self.missing.get(position)
                && is_kind_that_runs
                && !running.contains(would_run.as_bstr())
            {
                expected.push((
                    number,
                    Expected {
                        slot: *slot,
                        weight: 1,
                        mark: mark(path),
                        blobs: Blobs::Any,
                    },
                ));
            }
        }
        for (number, missing) in expected {
            self.could_run
                .insert(search.history.path(number).to_owned());
            self.expected.entry(number).or_default().push(missing);
        }
    }
}

/// The mapping and the number of the path that an installed file is tracked at, and the file's own number.
type Package = ((usize, u32), usize);

/// Whose files say which folder is which.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Voters {
    /// What is no installed package, or lies where the repository has it among installed packages too.
    Code,
    All,
}

/// Where the blobs of running files were seen.
struct Sightings {
    /// For each running file, the numbers of its blobs that the history knows.
    blobs: Vec<Vec<u32>>,
    /// By blob number: the paths that held it.
    places: HashMap<u32, BTreeSet<u32>>,
    /// Blobs that say nothing: those in very many places, and the empty one.
    common: HashSet<u32>,
}

impl Sightings {
    fn new(search: &Search<'_>, reachable: &[bool]) -> Self {
        let mut files: HashMap<ObjectId, Vec<usize>> = HashMap::new();
        for (position, file) in search.running.iter().enumerate() {
            for id in &file.ids {
                files.entry(*id).or_default().push(position);
            }
        }
        let mut blobs = vec![Vec::new(); search.running.len()];
        let mut wanted = vec![false; search.history.blob_count()];
        let mut common = HashSet::new();
        let empty = crate::object::blob_id(search.history.kind(), b"").ok();
        for (id, number) in search.history.blobs() {
            let Some(files) = files.get(&id) else {
                continue;
            };
            if let Some(wanted) = wanted.get_mut(number as usize) {
                *wanted = true;
            }
            if files.len() > PLACES || Some(id) == empty {
                common.insert(number);
            }
            for file in files {
                if let Some(blobs) = blobs.get_mut(*file) {
                    blobs.push(number);
                }
            }
        }
        let mut places: HashMap<u32, BTreeSet<u32>> = HashMap::new();
        for commit in search.history.commits() {
            if !is_set(reachable, commit.number) {
                continue;
            }
            for change in commit.changes {
                if let Some(blob) = change.after().filter(|blob| is_set(&wanted, *blob)) {
                    places.entry(blob).or_default().insert(change.path);
                }
            }
        }
        let many = places.iter().filter(|(_, paths)| paths.len() > PLACES);
        common.extend(many.map(|(blob, _)| *blob));
        Self {
            blobs,
            places,
            common,
        }
    }

    /// The blobs of a running file that a path held.
    fn held(&self, file: usize, path: u32) -> Vec<u32> {
        let blobs = self.blobs.get(file).map_or(&[][..], Vec::as_slice);
        blobs
            .iter()
            .filter(|blob| {
                let places = self.places.get(*blob);
                places.is_some_and(|places| places.contains(&path))
            })
            .copied()
            .collect()
    }

    fn places_of(&self, blob: u32) -> impl Iterator<Item = u32> {
        self.places.get(&blob).into_iter().flatten().copied()
    }

    /// The first path that held a running file that says something.
    fn first(&self, file: usize) -> Option<u32> {
        self.telling(file)
            .filter_map(|blob| self.places_of(blob).next())
            .min()
    }

    fn telling(&self, file: usize) -> impl Iterator<Item = u32> {
        self.blobs
            .get(file)
            .into_iter()
            .flatten()
            .filter(|blob| !self.common.contains(blob))
            .copied()
    }

    fn weight(&self, file: usize) -> u32 {
        if self.telling(file).next().is_some() {
            RARE
        } else {
            COMMON
        }
    }

    fn votes<'a>(
        &'a self,
        search: &'a Search<'_>,
        voters: Voters,
    ) -> impl Iterator<Item = Sighting<'a>> {
        let sightings = search
            .running
            .iter()
            .enumerate()
            .flat_map(move |(position, file)| {
                self.telling(position).flat_map(move |blob| {
                    let places = self.places.get(&blob).map_or(0, BTreeSet::len);
                    self.places_of(blob).map(move |path| Sighting {
                        file: position,
                        running: file.path.as_ref(),
                        repository: search.history.path(path),
                        places,
                    })
                })
            });
        sightings.filter(move |sighting| {
            let file = search.running.get(sighting.file);
            let installed_in = file.and_then(|file| file.installed_in.as_ref());
            let (folder, _) = mappings::fork(sighting.running, sighting.repository);
            voters == Voters::All || installed_in.is_none_or(|inner| folder.len() < inner.len())
        })
    }
}

/// What a name says of the kind of a file: what stands behind its last dot.
fn kind(name: &BStr) -> &[u8] {
    name.rsplit_once_str(".").map_or(b"", |(_, kind)| kind)
}

/// Whether builds usually leave a file out: tests, documentation, what begins with a dot.
fn is_left_out(path: &BStr) -> bool {
    let (folder, name) = parent(path);
    let lower = name.to_ascii_lowercase();
    let is_test = lower.starts_with(b"test_")
        || [&b"_test."[..], b".test.", b".spec.", b"_spec."]
            .iter()
            .any(|mark| lower.contains_str(mark));
    let is_about = lower.starts_with(b".")
        || lower.starts_with(b"dockerfile")
        || [&b".md"[..], b".rst"]
            .iter()
            .any(|end| lower.ends_with(end));
    is_test
        || is_about
        || folder.split_str("/").any(|part| {
            part.starts_with(b".") || LEFT_OUT.iter().any(|name| name.as_bytes() == part)
        })
}

/// A number that stands for a path; the combination of several by exclusive or stands for their set.
fn mark(path: &BStr) -> u64 {
    let digest = blake3::hash(path);
    digest
        .as_bytes()
        .first_chunk()
        .map_or(0, |bytes| u64::from_le_bytes(*bytes))
}
