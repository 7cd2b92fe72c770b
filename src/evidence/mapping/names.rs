//! What the names of files say where their contents say next to nothing.
//!
//! A service of which every file was changed, but for one that was moved there from elsewhere, is equal to nothing
//! but that elsewhere. The vote takes it for the folder of the service; the names of the others object. Names prove
//! nothing either, so this gives a doubt and no mapping.

use std::collections::{HashMap, HashSet};

use bstr::{BStr, BString};

use super::{
    COMMON, How, Mapping, ReferenceFile, RunningFile, SMALL, fork, is_boilerplate, join, noise,
    parent, strip, within_root,
};

/// Why the mapping that was voted for may be the wrong one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Doubt {
    /// The mapping that rests on one file.
    pub voted: Mapping,
    /// That file, as the process sees it.
    pub file: BString,
    /// The running folder that is named like another one of the repository.
    pub running: BString,
    /// That folder of the repository.
    pub repository: BString,
    /// How many running files have their names there.
    pub files: usize,
}

impl Doubt {
    /// Whether a mapping that is known from elsewhere is what the names say.
    pub fn is_settled_by(&self, mapping: &Mapping) -> bool {
        mapping.running == self.running && mapping.repository == self.repository
    }
}

/// Whether a vote that one file has decided is contradicted by the names of the others. Pairs that the user gave are
/// not doubted.
pub fn doubt(
    running: &[RunningFile],
    reference: &[ReferenceFile],
    roots: &[BString],
    mappings: &[Mapping],
) -> Option<Doubt> {
    let is_voted = |mapping: &Mapping| matches!(mapping.how, How::Voted { .. });
    let voted = mappings.first().filter(|_| mappings.iter().all(is_voted))?;
    let paths: HashMap<&BStr, &ReferenceFile> = reference
        .iter()
        .map(|file| (file.path.as_ref(), file))
        .collect();
    let code: Vec<&RunningFile> = running.iter().filter(|file| is_code(file, roots)).collect();
    let at = |file: &RunningFile, mapping: &Mapping| {
        let path = mapping.repository_path(file.path.as_ref())?;
        paths.get(<&BStr>::from(path.as_slice())).copied()
    };
    let equal: Vec<&&RunningFile> = code
        .iter()
        .filter(|file| {
            let is_equal = |known: &ReferenceFile| known.version.id == file.version.id;
            mappings
                .iter()
                .any(|mapping| at(file, mapping).is_some_and(is_equal))
        })
        .collect();
    let [file] = equal.as_slice() else {
        return None;
    };
    let known = code
        .iter()
        .filter(|file| mappings.iter().any(|mapping| at(file, mapping).is_some()))
        .count();
    let (running, repository, files) = best_by_name(&code, reference, roots, voted)?;
    // A file below the folder of the service is moved sooner than that folder itself, beside which there may be a file
    // of the image that is called like one of another service.
    let more = if roots.contains(&voted.running) { 2 } else { 1 };
    (files >= known + more).then(|| Doubt {
        voted: voted.clone(),
        file: file.path.clone(),
        running,
        repository,
        files,
    })
}

/// Whether a file says something by its name: not one that every folder has, and of no installed package.
fn is_code(file: &RunningFile, roots: &[BString]) -> bool {
    let name = parent(file.path.as_ref()).1;
    file.size >= SMALL
        && !is_boilerplate(name)
        && noise::installed_in(file.path.as_ref(), roots).is_none()
        && noise::is_generated(file.path.as_ref(), &|_| true, &|_| false).is_none()
}

/// The pair of folders under which most files have their names on both sides, with how many these are. Files that were
/// moved within the folder that was voted for do not contradict the vote.
fn best_by_name(
    code: &[&RunningFile],
    reference: &[ReferenceFile],
    roots: &[BString],
    voted: &Mapping,
) -> Option<(BString, BString, usize)> {
    let mut by_name: HashMap<&BStr, Vec<&BStr>> = HashMap::new();
    for file in reference {
        let name = parent(file.path.as_ref()).1;
        by_name.entry(name).or_default().push(file.path.as_ref());
    }
    let mut pairs: HashSet<(&BStr, BString)> = HashSet::new();
    for file in code {
        let places = by_name.get(parent(file.path.as_ref()).1);
        for place in places
            .filter(|places| places.len() <= COMMON)
            .into_iter()
            .flatten()
        {
            let path = file.path.as_ref();
            let (running, repository) = within_root(roots, path, fork(path, place));
            let is_elsewhere = strip(repository.as_ref(), voted.repository.as_ref()).is_none();
            let is_in_root = |root: &BString| strip(running, root.as_ref()).is_some();
            if is_elsewhere && roots.iter().any(is_in_root) {
                pairs.insert((running, repository));
            }
        }
    }
    let paths: HashSet<&BStr> = reference.iter().map(|file| file.path.as_ref()).collect();
    let files = |(running, repository): &(&BStr, BString)| {
        let named = |file: &&&RunningFile| {
            let rest = strip(file.path.as_ref(), running);
            let path = rest.map(|rest| join(repository.as_ref(), rest));
            path.is_some_and(|path| paths.contains(<&BStr>::from(path.as_slice())))
        };
        code.iter().filter(named).count()
    };
    let best = pairs.into_iter().map(|pair| (files(&pair), pair));
    let (count, (running, repository)) =
        best.max_by(|left, right| left.0.cmp(&right.0).then_with(|| right.1.cmp(&left.1)))?;
    Some((running.to_owned(), repository, count))
}

#[cfg(test)]
mod tests {
    use super::{super::learn, *};
    use crate::evidence::comparison::testing::{reference, running};

    /// What is doubted, as `running=repository`.
    fn doubted(files: &[(&str, &str)], tree: &[(&str, &str)]) -> Option<String> {
        doubted_in("/app", files, tree)
    }

    fn doubted_in(root: &str, files: &[(&str, &str)], tree: &[(&str, &str)]) -> Option<String> {
        let files: Vec<_> = files
            .iter()
            .map(|(path, content)| running(path, &content.repeat(64)))
            .collect();
        let tree: Vec<_> = tree
            .iter()
            .map(|(path, content)| reference(path, &content.repeat(64)))
            .collect();
        let roots = [root.into()];
        let mappings = learn(&files, &tree, &roots, &[]);
        doubt(&files, &tree, &roots, &mappings)
            .map(|doubt| format!("{}={}", doubt.running, doubt.repository))
    }

    const TREE: [(&str, &str); 5] = [
        ("services/shop/main.py", "1"),
        ("services/shop/util/helpers.py", "2"),
        ("services/shop/util/text.py", "3"),
        ("services/cart/cart.py", "4"),
        ("shared/helpers.py", "moved"),
    ];

    #[test]
    fn one_equal_file_that_was_moved_does_not_decide_where_the_others_belong() {
        let files = [
            ("/app/main.py", "patched"),
            ("/app/util/helpers.py", "moved"),
            ("/app/util/text.py", "patched too"),
        ];
        let shop = Some("/app=services/shop".to_owned());
        assert_eq!(doubted(&files, &TREE), shop);
        assert_eq!(doubted(&files[..2], &TREE), shop);
    }

    #[test]
    fn a_root_that_is_called_like_its_folder_of_the_repository_is_no_other_case() {
        let files = [
            ("/srv/shop/main.py", "patched"),
            ("/srv/shop/util/helpers.py", "moved"),
            ("/srv/shop/util/text.py", "patched too"),
        ];
        let shop = Some("/srv/shop=services/shop".to_owned());
        assert_eq!(doubted_in("/srv/shop", &files, &TREE), shop);
    }

    #[test]
    fn one_equal_file_in_its_place_is_enough() {
        let files = [
            ("/app/main.py", "1"),
            ("/app/util/helpers.py", "patched"),
            ("/app/util/text.py", "patched too"),
        ];
        assert_eq!(doubted(&files, &TREE), None);
        assert_eq!(doubted(&files[..1], &TREE), None);
    }

    #[test]
    fn a_file_of_the_image_beside_the_only_one_of_a_service_is_no_doubt() {
        let files = [("/app/cart.py", "4"), ("/app/main.py", "made by the build")];
        let tree = [
            &TREE[..],
            &[
                ("services/other/cart.py", "5"),
                ("services/other/main.py", "6"),
            ],
        ];
        assert_eq!(doubted(&files, &tree.concat()), None);
    }

    #[test]
    fn files_that_were_moved_within_the_folder_do_not_object() {
        let files = [
            ("/app/fs.go", "1"),
            ("/app/js/app.js", "changed"),
            ("/app/js/plot.js", "changed too"),
            ("/app/js/stats.js", "and this"),
        ];
        let tree = [
            ("static/fs.go", "1"),
            ("static/app.js", "2"),
            ("static/plot.js", "3"),
            ("static/stats.js", "4"),
        ];
        assert_eq!(doubted(&files, &tree), None);
    }

    #[test]
    fn names_do_not_object_to_several_equal_files() {
        let files = [
            ("/app/main.py", "1"),
            ("/app/util/helpers.py", "moved"),
            ("/app/util/text.py", "3"),
        ];
        assert_eq!(doubted(&files, &TREE), None);
    }

    #[test]
    fn names_of_installed_packages_do_not_object() {
        let files = [
            ("/app/helpers.py", "moved"),
            ("/app/node_modules/x/main.py", "x"),
            ("/app/node_modules/x/util/text.py", "y"),
        ];
        assert_eq!(doubted(&files, &TREE), None);
    }
}
