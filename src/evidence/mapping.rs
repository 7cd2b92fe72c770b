//! Which folders of the repository the running folders are.
//!
//! Equal blobs vote: a running file that is somewhere in the reference tree says that the folder above the
//! common end of both paths is the same. A vote is split among the places that hold the blob on either side,
//! and boilerplate (an empty `__init__.py`, a licence) has next to none. An image is made of several `COPY`s,
//! so what the first mapping leaves unexplained votes again.

mod names;

use std::{
    cmp::Reverse,
    collections::{HashMap, HashSet},
};

use bstr::{BStr, BString, ByteSlice};

use super::{
    comparison::{ReferenceFile, RunningFile},
    noise,
};
use crate::object::{FileMode, ObjectId};

pub use names::{Doubt, doubt};

/// A running folder and the folder of the repository that it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// The running folder, as the process sees it: absolute.
    pub running: BString,
    /// The folder of the repository; empty for its top.
    pub repository: BString,
    /// How it was found.
    pub how: How,
}

/// How a mapping was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum How {
    /// The user said so.
    Asked,
    /// Equal files voted for it.
    Voted {
        /// Running files that are equal under it, and under none that was found before.
        equal: usize,
        /// Another folder of the repository that as much speaks for.
        as_well: Option<BString>,
    },
    /// No file is equal there; a commit of the history that has the running files has them there.
    History,
}

/// A blob in more places of the reference than this has no vote: it is boilerplate.
const COMMON: usize = 50;

/// More mappings than this are no `COPY`s but coincidence.
const MOST: usize = 32;

/// A mapping beside the first needs the weight of half a rare file.
const WEIGHT_BESIDE: f64 = 0.5;

/// Weights that are no further apart than this are the same.
const SAME_WEIGHT: f64 = 1e-9;

/// Files below this size are equal by chance.
const SMALL: u64 = 32;

impl Mapping {
    /// Where a running path belongs in the repository; `None` when it lies elsewhere.
    pub fn repository_path(&self, running: &BStr) -> Option<BString> {
        let rest = strip(running, self.running.as_ref())?;
        Some(join(self.repository.as_ref(), rest))
    }

    /// Where a path of the repository would run; `None` when it lies elsewhere.
    pub fn running_path(&self, repository: &BStr) -> Option<BString> {
        let rest = strip(repository, self.repository.as_ref())?;
        Some(join(self.running.as_ref(), rest))
    }
}

/// Finds the mappings that explain most of the running files, the heaviest first, behind those that are given.
/// Nothing is found when no file is equal to any in the reference tree. No mapping reaches above a root.
pub fn learn(
    running: &[RunningFile],
    reference: &[ReferenceFile],
    roots: &[BString],
    given: &[Mapping],
) -> Vec<Mapping> {
    let mut election = Election::new(running, reference, roots);
    let mut mappings = given.to_vec();
    for mapping in given {
        election.settle_given(mapping);
    }
    let mut learned = 0;
    while learned < MOST {
        let is_first = mappings.is_empty();
        let Some(winner) = election.winner(&mappings) else {
            break;
        };
        if !is_first && winner.weight < WEIGHT_BESIDE {
            break;
        }
        let mut mapping = Mapping {
            running: winner.running,
            repository: winner.repository,
            how: How::Asked,
        };
        if !election.is_credible(&mapping) {
            election.rejected.push(mapping);
            continue;
        }
        let equal = election.settle(&mapping);
        let as_well = winner.as_well;
        mapping.how = How::Voted { equal, as_well };
        mappings.push(mapping);
        learned += 1;
    }
    mappings
}

/// What is left to be explained.
struct Election<'a> {
    /// All that runs.
    all: Vec<&'a RunningFile>,
    /// What votes.
    running: Vec<&'a RunningFile>,
    roots: &'a [BString],
    places: HashMap<ObjectId, Vec<&'a BStr>>,
    by_path: HashMap<&'a BStr, ObjectId>,
    /// How often each blob runs.
    copies: HashMap<ObjectId, usize>,
    /// Pairs of folders that have votes and are none.
    rejected: Vec<Mapping>,
    /// Whether nothing but installed packages ever had a vote.
    is_only_packages: bool,
}

/// A pair of folders with what speaks for it.
struct Winner {
    running: BString,
    repository: BString,
    weight: f64,
    /// Another folder of the repository with the same votes.
    as_well: Option<BString>,
}

impl<'a> Election<'a> {
    fn new(
        running: &'a [RunningFile],
        reference: &'a [ReferenceFile],
        roots: &'a [BString],
    ) -> Self {
        let mut places: HashMap<ObjectId, Vec<&BStr>> = HashMap::new();
        let mut by_path = HashMap::with_capacity(reference.len());
        for file in reference {
            if file.version.mode != FileMode::Gitlink {
                let path: &BStr = file.path.as_ref();
                places.entry(file.version.id).or_default().push(path);
                by_path.insert(path, file.version.id);
            }
        }
        places.retain(|_, places| places.len() <= COMMON);
        let all: Vec<&RunningFile> = running.iter().collect();
        let mut copies: HashMap<ObjectId, usize> = HashMap::new();
        let running: Vec<&RunningFile> = running
            .iter()
            .filter(|file| places.contains_key(&file.version.id))
            .collect();
        for file in &running {
            *copies.entry(file.version.id).or_default() += 1;
        }
        let is_installed =
            |file: &&RunningFile| noise::installed_in(file.path.as_ref(), roots).is_some();
        let is_only_packages = running.iter().all(is_installed);
        Self {
            all,
            running,
            roots,
            places,
            by_path,
            copies,
            rejected: Vec::new(),
            is_only_packages,
        }
    }

    /// The pair of folders with the most weight that is not taken.
    fn winner(&self, taken: &[Mapping]) -> Option<Winner> {
        let is_first = taken.is_empty();
        let taken: HashSet<(&BStr, &BStr)> = taken
            .iter()
            .chain(&self.rejected)
            .map(|mapping| (mapping.running.as_ref(), mapping.repository.as_ref()))
            .collect();
        let mut votes: HashMap<(&BStr, BString), f64> = HashMap::new();
        for file in &self.running {
            let Some(places) = self.places.get(&file.version.id) else {
                continue;
            };
            let weight = self.weight(file, places.len());
            for place in places {
                let is_renamed = parent(file.path.as_ref()).1 != parent(place).1;
                // A file with another name is no hint of a second `COPY`.
                if is_renamed && !is_first {
                    continue;
                }
                let path = file.path.as_ref();
                let fork = within_root(self.roots, path, fork(path, place));
                if !taken.contains(&(fork.0, fork.1.as_ref())) {
                    let factor = if is_renamed { 0.25 } else { 1.0 };
                    *votes.entry(fork).or_default() += weight * factor;
                }
            }
        }
        let most = votes.values().copied().max_by(f64::total_cmp)?;
        let mut best: Vec<_> = votes
            .into_iter()
            .filter(|(_, weight)| most - weight < SAME_WEIGHT)
            .map(|((running, repository), _)| (running, repository))
            .collect();
        // With equal weight more files by their names win, then the shorter paths, so that the answer does not
        // depend on the order of a map.
        best.sort();
        let known = |(running, repository): &(&BStr, BString)| self.known(running, repository);
        if best.len() > 1 {
            best.sort_by_cached_key(|pair| Reverse(known(pair)));
        }
        let mut best = best.into_iter().peekable();
        let first = best.next()?;
        let as_well = best
            .find(|other| other.0 == first.0 && known(other) == known(&first))
            .map(|(_, repository)| repository);
        Some(Winner {
            running: first.0.to_owned(),
            repository: first.1,
            weight: most,
            as_well,
        })
    }

    /// How many of the files that vote have a path under a pair of folders, whatever they hold there.
    fn known(&self, running: &BStr, repository: &BString) -> usize {
        let has = |file: &&&RunningFile| {
            let rest = strip(file.path.as_ref(), running);
            let path = rest.map(|rest| join(repository.as_ref(), rest));
            path.is_some_and(|path| self.by_path.contains_key(path.as_bstr()))
        };
        self.all.iter().filter(has).count()
    }

    /// Whether a folder among installed packages is one of the repository: at least half of it must be.
    fn is_credible(&self, mapping: &Mapping) -> bool {
        let any_file = join(mapping.running.as_ref(), "x".into());
        if noise::installed_in(any_file.as_ref(), self.roots).is_none() {
            return true;
        }
        if self.is_only_packages {
            return true;
        }
        let (mut files, mut equal) = (0, 0);
        for file in &self.all {
            if let Some(path) = mapping.repository_path(file.path.as_ref()) {
                files += 1;
                let known = self.by_path.get(path.as_bstr());
                equal += usize::from(known == Some(&file.version.id));
            }
        }
        equal * 2 >= files
    }

    fn weight(&self, file: &RunningFile, places: usize) -> f64 {
        let copies = self.copies.get(&file.version.id).copied().unwrap_or(1);
        #[expect(clippy::cast_precision_loss, reason = "numbers of files")]
        let rarity = 1.0 / (places * copies.max(1)) as f64;
        let substance = if file.size == 0 {
            0.001
        } else if is_boilerplate(parent(file.path.as_ref()).1) {
            0.01
        } else if file.size < SMALL {
            0.1
        } else {
            1.0
        };
        rarity * substance
    }

    /// Takes what a mapping explains out of the election: what is equal there. What the reference has there with
    /// another content has no vote any more either: it is changed, wherever else its new content may lie.
    fn settle(&mut self, mapping: &Mapping) -> usize {
        let by_path = &self.by_path;
        let mut equal = 0;
        self.running.retain(|file| {
            let path = mapping.repository_path(file.path.as_ref());
            match path.and_then(|path| by_path.get(path.as_bstr())) {
                Some(id) => {
                    equal += usize::from(*id == file.version.id);
                    false
                }
                None => true,
            }
        });
        equal
    }

    /// A mapping of the user's is the only one below its folder.
    fn settle_given(&mut self, mapping: &Mapping) {
        self.running
            .retain(|file| strip(file.path.as_ref(), mapping.running.as_ref()).is_none());
    }
}

/// Files that repositories have from each other.
fn is_boilerplate(name: &BStr) -> bool {
    const NAMES: [&[u8]; 14] = [
        b"license",
        b"licence",
        b"copying",
        b"notice",
        b"authors",
        b"code_of_conduct",
        b"contributing",
        b"patents",
        b"unlicense",
        b"__init__",
        b".gitkeep",
        b".gitignore",
        b".npmignore",
        b".editorconfig",
    ];
    let name = name.to_ascii_lowercase();
    NAMES.iter().any(|start| {
        name.strip_prefix(*start)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with(b".") || rest.starts_with(b"-"))
    })
}

/// Cuts the common end, in whole parts, off two paths: `/a/src/x.py` and `svc/src/x.py` fork at `/a` and `svc`.
/// Files that were renamed fork at their folders.
fn fork<'a>(running: &'a BStr, reference: &'a BStr) -> (&'a BStr, &'a BStr) {
    let (mut running, mut reference) = (parent(running).0, parent(reference).0);
    loop {
        let ((running_parent, running_name), (reference_parent, reference_name)) =
            (parent(running), parent(reference));
        if running_name != reference_name || running_name.is_empty() || reference.is_empty() {
            return (running, reference);
        }
        (running, reference) = (running_parent, reference_parent);
    }
}

/// A fork may lie above the root: `/srv/app` with `app` of the repository forks at `/srv`.
fn within_root<'a>(
    roots: &'a [BString],
    path: &BStr,
    (running, repository): (&'a BStr, &BStr),
) -> (&'a BStr, BString) {
    let holds = |root: &&BString, path: &BStr| strip(path, root.as_bstr()).is_some();
    if roots.iter().any(|root| holds(&root, running)) {
        return (running, repository.to_owned());
    }
    let above = roots.iter().filter(|root| holds(root, path));
    let outermost = above.min_by_key(|root| root.len());
    match outermost.and_then(|root| Some((root, strip(root.as_ref(), running)?))) {
        Some((root, rest)) => (root.as_ref(), join(repository, rest)),
        None => (running, repository.to_owned()),
    }
}

/// The folder of a path and its name. The folder of `/a` is `/`, that of `a` is empty.
pub fn parent(path: &BStr) -> (&BStr, &BStr) {
    match path.rfind_byte(b'/') {
        Some(0) => {
            let (folder, name) = path.split_at(1);
            (folder.as_bstr(), name.as_bstr())
        }
        Some(slash) => {
            let (folder, name) = path.split_at(slash);
            (
                folder.as_bstr(),
                name.get(1..).unwrap_or_default().as_bstr(),
            )
        }
        None => (b"".as_bstr(), path),
    }
}

/// Joins a folder and a path in it; either may be empty.
pub fn join(folder: &BStr, path: &BStr) -> BString {
    if folder.is_empty() {
        return path.to_owned();
    }
    if path.is_empty() {
        return folder.to_owned();
    }
    let mut joined = folder.to_owned();
    if !joined.ends_with(b"/") {
        joined.push(b'/');
    }
    joined.extend_from_slice(path);
    joined
}

/// The path inside of a folder; `None` when it lies elsewhere. An empty folder holds everything.
pub fn strip<'a>(path: &'a BStr, folder: &BStr) -> Option<&'a BStr> {
    if folder.is_empty() {
        return Some(path);
    }
    let rest = path.strip_prefix(folder.as_bytes())?;
    if rest.is_empty() {
        Some(b"".as_bstr())
    } else if folder.ends_with(b"/") {
        Some(rest.as_bstr())
    } else {
        rest.strip_prefix(b"/").map(ByteSlice::as_bstr)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::comparison::testing::{reference, running};

    /// What is learned, as `running=repository`. Contents are padded, so that they are no chance.
    fn learned(files: &[(&str, &str)], tree: &[(&str, &str)], roots: &[&str]) -> Vec<String> {
        let padded = |content: &str| {
            if content.is_empty() {
                String::new()
            } else {
                content.repeat(64)
            }
        };
        let files: Vec<_> = files
            .iter()
            .map(|(path, content)| running(path, &padded(content)))
            .collect();
        let tree: Vec<_> = tree
            .iter()
            .map(|(path, content)| reference(path, &padded(content)))
            .collect();
        let roots: Vec<BString> = roots.iter().map(|root| BString::from(*root)).collect();
        learn(&files, &tree, &roots, &[])
            .iter()
            .map(|mapping| format!("{}={}", mapping.running, mapping.repository))
            .collect()
    }

    #[test]
    fn a_folder_of_a_monorepo_is_found() {
        let files = [
            ("/app/app.py", "1"),
            ("/app/lib/a.py", "2"),
            ("/app/lib/b.py", "changed"),
        ];
        let tree = [
            ("services/shop/app.py", "1"),
            ("services/shop/lib/a.py", "2"),
            ("services/shop/lib/b.py", "3"),
            ("services/cart/app.py", "9"),
        ];
        assert_eq!(learned(&files, &tree, &["/app"]), ["/app=services/shop"]);
    }

    #[test]
    fn a_package_below_the_running_root_is_found() {
        let files = [
            ("/app/node_modules/express/lib/a.js", "1"),
            ("/app/node_modules/express/lib/b.js", "2"),
            ("/app/node_modules/other/x.js", "3"),
        ];
        let tree = [("lib/a.js", "1"), ("lib/b.js", "2")];
        assert_eq!(
            learned(&files, &tree, &["/app"]),
            ["/app/node_modules/express="]
        );
    }

    #[test]
    fn boilerplate_in_many_places_does_not_decide() {
        let mut tree: Vec<(String, &str)> = (0..20)
            .map(|n| (format!("svc{n}/__init__.py"), ""))
            .collect();
        tree.push(("svc7/main.py".to_owned(), "unique"));
        tree.push(("svc8/LICENSE".to_owned(), "a licence"));
        let tree: Vec<(&str, &str)> = tree
            .iter()
            .map(|(path, content)| (path.as_str(), *content))
            .collect();
        let files = [
            ("/app/__init__.py", ""),
            ("/app/main.py", "unique"),
            ("/app/LICENSE", "a licence"),
        ];
        assert_eq!(learned(&files, &tree, &["/app"]), ["/app=svc7"]);
    }

    #[test]
    fn a_file_that_stands_in_many_places_goes_where_the_rare_ones_go() {
        let files = [
            ("/app/common.py", "common"),
            ("/app/other.py", "other"),
            ("/app/rare.py", "rare"),
        ];
        let tree = [
            ("a/common.py", "common"),
            ("a/other.py", "other"),
            ("b/common.py", "common"),
            ("b/other.py", "other"),
            ("b/rare.py", "rare"),
        ];
        assert_eq!(learned(&files, &tree, &["/app"]), ["/app=b"]);
    }

    #[test]
    fn each_copy_of_an_image_is_a_mapping() {
        let files = [
            ("/app/app.py", "1"),
            ("/app/lib/a.py", "2"),
            ("/app/static/x.css", "3"),
            ("/etc/shop/shop.conf", "4"),
            ("/app/test_app.py", "5"),
        ];
        let tree = [
            ("src/app.py", "1"),
            ("src/lib/a.py", "2"),
            ("web/assets/x.css", "3"),
            ("deploy/shop.conf", "4"),
            ("tests/unit/test_app.py", "5"),
        ];
        assert_eq!(
            learned(&files, &tree, &["/app", "/etc/shop"]),
            [
                "/app=src",
                "/app=tests/unit",
                "/app/static=web/assets",
                "/etc/shop=deploy"
            ]
        );
    }

    #[test]
    fn a_changed_file_is_not_explained_by_another_that_it_equals_now() {
        let files = [
            ("/app/a.py", "1"),
            ("/app/c.py", "2"),
            ("/app/lib/b.py", "of the cart"),
        ];
        let tree = [
            ("shop/a.py", "1"),
            ("shop/c.py", "2"),
            ("shop/lib/b.py", "of the shop"),
            ("cart/lib/b.py", "of the cart"),
        ];
        assert_eq!(learned(&files, &tree, &["/app"]), ["/app=shop"]);
    }

    #[test]
    fn of_folders_with_the_same_files_that_one_wins_that_has_the_others_by_name() {
        let files = [("/app/a.py", "same"), ("/app/main.py", "patched")];
        let tree = [
            ("a/a.py", "same"),
            ("a/other.py", "1"),
            ("b/a.py", "same"),
            ("b/main.py", "2"),
        ];
        assert_eq!(learned(&files, &tree, &["/app"]), ["/app=b"]);
    }

    #[test]
    fn a_folder_that_as_much_speaks_for_is_named() {
        let files = [running("/app/a.py", &"1".repeat(64))];
        let tree = [
            reference("one/a.py", &"1".repeat(64)),
            reference("two/a.py", &"1".repeat(64)),
        ];
        let learned = learn(&files, &tree, &["/app".into()], &[]);
        assert_eq!(learned.len(), 1, "{learned:?}");
        assert_eq!(learned[0].repository, "one");
        let as_well = Some("two".into());
        assert_eq!(learned[0].how, How::Voted { equal: 1, as_well });
    }

    #[test]
    fn a_file_that_an_installed_package_has_too_makes_it_no_folder_of_the_repository() {
        let package = "/app/node_modules/jquery/dist";
        let paths = ["jquery.js", "jquery.min.js", "core.js", "slim.js"];
        let paths: Vec<String> = paths
            .iter()
            .map(|name| format!("{package}/{name}"))
            .collect();
        let mut files = vec![
            ("/app/server.js", "1"),
            ("/app/lib/a.js", "2"),
            ("/app/static/jquery.js", "jquery"),
        ];
        files.extend(paths.iter().map(|path| (path.as_str(), path.as_str())));
        files[3].1 = "jquery";
        let tree = [
            ("server.js", "1"),
            ("lib/a.js", "2"),
            ("static/jquery.js", "jquery"),
        ];
        assert_eq!(learned(&files, &tree, &["/app"]), ["/app="]);
        // The same package, all of it in the repository.
        let whole: Vec<(String, &str)> = files[3..]
            .iter()
            .map(|(path, content)| (path.replace(package, "packages/jquery"), *content))
            .collect();
        let mut tree = tree.to_vec();
        tree.extend(
            whole
                .iter()
                .map(|(path, content)| (path.as_str(), *content)),
        );
        let learned = learned(&files, &tree, &["/app"]);
        assert!(
            learned.contains(&format!("{package}=packages/jquery")),
            "{learned:?}"
        );
    }

    #[test]
    fn a_mapping_does_not_reach_above_its_root() {
        let files = [("/srv/app/x.py", "1"), ("/srv/app/y.py", "2")];
        let tree = [("app/x.py", "1"), ("app/y.py", "2"), ("other/z.py", "3")];
        assert_eq!(learned(&files, &tree, &["/srv/app"]), ["/srv/app=app"]);
    }

    #[test]
    fn a_renamed_file_votes_for_its_folder_when_it_is_all_there_is() {
        let tree = [("src/app.py", "1")];
        assert_eq!(
            learned(&[("/app/main.py", "1")], &tree, &["/app"]),
            ["/app=src"]
        );
    }

    #[test]
    fn what_the_user_says_is_not_voted_on() {
        let given = Mapping {
            running: "/app".into(),
            repository: "b".into(),
            how: How::Asked,
        };
        let files = [running("/app/x", &"1".repeat(64))];
        let tree = [reference("a/x", &"1".repeat(64))];
        assert_eq!(
            learn(
                &files,
                &tree,
                &["/app".into()],
                std::slice::from_ref(&given)
            ),
            [given]
        );
    }

    #[test]
    fn nothing_in_common_gives_no_mapping() {
        assert!(learned(&[("/a", "1")], &[("a", "2")], &["/"]).is_empty());
    }

    #[test]
    fn folders_join_and_strip() {
        assert_eq!(join("".into(), "a/b".into()), "a/b");
        assert_eq!(join("x".into(), "a/b".into()), "x/a/b");
        assert_eq!(join("/".into(), "a".into()), "/a");
        assert_eq!(strip("x/a".into(), "x".into()), Some("a".into()));
        assert_eq!(strip("xy/a".into(), "x".into()), None);
        assert_eq!(strip("x/a".into(), "".into()), Some("x/a".into()));
        assert_eq!(strip("/a".into(), "/".into()), Some("a".into()));
    }
}
