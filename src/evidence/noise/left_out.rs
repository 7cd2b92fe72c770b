//! What a build leaves out, told apart from code that is missing.
//!
//! A name says what a file is for (a test, a manual, a recipe of the build); what else of its folder has
//! arrived says whether it was left out. `COPY` copies whole folders: where a part of a folder is there, the
//! rest is missing, and where nothing of a folder is there, nobody copied it.

use std::collections::{HashMap, HashSet};

use bstr::{BStr, BString, ByteSlice as _};

use super::{Class, Noise, ignored::Ignored};
use crate::evidence::{
    comparison::ReferenceFile,
    mapping::{self, Mapping},
};

/// What a file of a repository is for, beside being run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Purpose {
    Tests,
    Documentation,
    Build,
}

impl Purpose {
    const fn words(self) -> &'static str {
        match self {
            Self::Tests => "tests",
            Self::Documentation => "documentation",
            Self::Build => "for the build or the repository",
        }
    }
}

/// Whether a path is source that runs only as what a compiler makes of it.
pub fn is_compiled(path: &BStr) -> bool {
    let end = path.rsplit_once_str(".").map(|(_, end)| end);
    end.is_some_and(|end| COMPILED.iter().any(|known| known.as_bytes() == end))
}

/// Names of documents, without their ends.
const DOCUMENTS: [&[u8]; 15] = [
    b"readme",
    b"license",
    b"licence",
    b"copying",
    b"changelog",
    b"changes",
    b"history",
    b"authors",
    b"contributors",
    b"contributing",
    b"notice",
    b"security",
    b"code_of_conduct",
    b"codeowners",
    b"unlicense",
];

/// Ends of files that a program reads.
const CODE: [&[u8]; 12] = [
    b".py", b".js", b".ts", b".rb", b".php", b".go", b".rs", b".java", b".json", b".html", b".css",
    b".sql",
];

/// Files of builds and tools.
const NAMES: [&[u8]; 52] = [
    b"appveyor.yml",
    b"azure-pipelines.yml",
    b"bower.json",
    b"build.gradle",
    b"build.gradle.kts",
    b"build.sbt",
    b"cargo.lock",
    b"cargo.toml",
    b"chart.yaml",
    b"cmakelists.txt",
    b"codecov.yml",
    b"composer.lock",
    b"gemfile.lock",
    b"gnumakefile",
    b"go.mod",
    b"go.sum",
    b"gradle.properties",
    b"gradlew",
    b"gradlew.bat",
    b"jenkinsfile",
    b"justfile",
    b"lerna.json",
    b"makefile",
    b"manifest.in",
    b"mkdocs.yml",
    b"mvnw",
    b"mvnw.cmd",
    b"mypy.ini",
    b"noxfile.py",
    b"npm-shrinkwrap.json",
    b"nx.json",
    b"package-lock.json",
    b"pipfile",
    b"pipfile.lock",
    b"pnpm-lock.yaml",
    b"pnpm-workspace.yaml",
    b"poetry.lock",
    b"pom.xml",
    b"procfile",
    b"pylintrc",
    b"pyproject.toml",
    b"pytest.ini",
    b"renovate.json",
    b"setup.cfg",
    b"setup.py",
    b"skaffold.yaml",
    b"sonar-project.properties",
    b"tiltfile",
    b"tox.ini",
    b"turbo.json",
    b"uv.lock",
    b"yarn.lock",
];

/// Starts of such files, up to the first dot.
const STEMS: [&[u8]; 14] = [
    b"babel",
    b"docker-compose",
    b"compose",
    b"dockerfile",
    b"eslint",
    b"gruntfile",
    b"gulpfile",
    b"jest",
    b"karma",
    b"phpunit",
    b"rollup",
    b"tsconfig",
    b"vitest",
    b"webpack",
];

/// What of the reference has arrived.
pub struct Arrivals<'a> {
    tops: Vec<&'a BStr>,
    /// The innermost folder that has all that arrived below each top: what was copied at least.
    copied: HashMap<&'a BStr, &'a BStr>,
    /// Folders right in which a file arrived.
    direct: HashSet<&'a BStr>,
    /// How many files arrived below each folder; of every folder of the reference.
    folders: HashMap<&'a BStr, usize>,
    /// Folders with the purposes of files that arrived right in them.
    purposes: HashSet<(&'a BStr, Purpose)>,
    /// Ends of the names of sources of which nothing arrived, because they were compiled.
    compiled: HashSet<&'a [u8]>,
    /// Tops that were copied whole: a recipe of the build arrived with the code.
    whole: HashSet<&'a BStr>,
}

/// Ends of the names of sources that a compiler turns into a program.
const COMPILED: [&str; 19] = [
    "go", "rs", "java", "kt", "kts", "scala", "groovy", "clj", "c", "cc", "cpp", "cxx", "h", "hpp",
    "cs", "fs", "swift", "zig", "hs",
];

impl<'a> Arrivals<'a> {
    /// Takes stock. `has_arrived` tells it of a path of the reference.
    pub fn new(
        reference: &'a [ReferenceFile],
        mappings: &'a [Mapping],
        has_arrived: &dyn Fn(&BStr) -> bool,
    ) -> Self {
        let mut arrivals = Self {
            tops: mappings
                .iter()
                .map(|mapping| mapping.repository.as_ref())
                .collect(),
            copied: HashMap::new(),
            direct: HashSet::new(),
            folders: HashMap::new(),
            purposes: HashSet::new(),
            compiled: HashSet::new(),
            whole: HashSet::new(),
        };
        let mut arrived_ends: HashSet<&[u8]> = HashSet::new();
        let mut all_ends: HashSet<&[u8]> = HashSet::new();
        for file in reference {
            let path: &BStr = file.path.as_ref();
            let arrived = has_arrived(path);
            let (direct, name) = mapping::parent(path);
            let end = name.rsplit_once_str(".").map_or(&b""[..], |(_, end)| end);
            all_ends.insert(end);
            if arrived {
                arrivals.note_copied(path, direct);
                arrived_ends.insert(end);
                if let Some(purpose) = purpose_of_name(name) {
                    arrivals.purposes.insert((direct, purpose));
                    if purpose == Purpose::Build && is_of_repository(name) {
                        arrivals.whole.insert(direct);
                    }
                }
            }
            let mut folder = direct;
            while !folder.is_empty() {
                *arrivals.folders.entry(folder).or_default() += usize::from(arrived);
                folder = mapping::parent(folder).0;
            }
        }
        arrivals.compiled = all_ends
            .into_iter()
            .filter(|end| {
                COMPILED.iter().any(|known| known.as_bytes() == *end) && !arrived_ends.contains(end)
            })
            .collect();
        arrivals
    }

    /// The ends of the names of sources of which nothing arrived.
    pub fn compiled(&self) -> Vec<BString> {
        let mut ends: Vec<BString> = self
            .compiled
            .iter()
            .map(|end| BString::from(*end))
            .collect();
        ends.sort();
        ends
    }

    /// Why a file of the reference that does not run was left out; `None` when it is missing.
    pub fn left_out(&self, path: &BStr, ignored: &Ignored) -> Option<Noise> {
        if let Some(because) = ignored.by_docker(path) {
            return Some(Noise::new(Class::LeftOut, because));
        }
        let (folder, name) = mapping::parent(path);
        let end = name.rsplit_once_str(".").map_or(&b""[..], |(_, end)| end);
        let purpose = purpose_of_name(name).or_else(|| purpose_of_folder(folder));
        if purpose != Some(Purpose::Tests) && self.compiled.contains(end) {
            let because = format!("no `.{}` file runs", end.as_bstr());
            return Some(Noise::new(Class::Compiled, because));
        }
        let top = self.top_of(path);
        let empty = self.emptied(folder, top);
        match (empty, purpose) {
            (Some(empty), Some(purpose)) => Some(Noise::new(
                Class::LeftOut,
                format!("{}, and nothing of `{empty}` is there", purpose.words()),
            )),
            (Some(empty), None) => {
                let above = mapping::parent(empty).0;
                (self.holds_all(above, top) && !self.whole.contains(above))
                    .then(|| Noise::new(Class::LeftOut, format!("nothing of `{empty}` is there")))
            }
            (None, Some(purpose)) => {
                let is_one_of_several = purpose != Purpose::Build
                    && !is_on_its_own(name)
                    && !self.is_vacant(folder, purpose);
                (!is_one_of_several).then(|| Noise::new(Class::LeftOut, purpose.words().to_owned()))
            }
            (None, None) => {
                (self.holds_all(folder, top) && !self.direct.contains(folder)).then(|| {
                    let because = format!("nothing right in `{folder}` is there");
                    Noise::new(Class::LeftOut, because)
                })
            }
        }
    }

    fn note_copied(&mut self, path: &BStr, direct: &'a BStr) {
        self.direct.insert(direct);
        let top = self.top_of(path);
        let copied = self.copied.entry(top).or_insert(direct);
        while mapping::strip(direct, copied).is_none() {
            *copied = mapping::parent(copied).0;
        }
    }

    /// Whether somebody chose what to copy from a folder: all that arrived lies deeper, or it is the top.
    fn holds_all(&self, folder: &BStr, top: &BStr) -> bool {
        folder == top
            || self.copied.get(top).is_none_or(|copied| {
                mapping::strip(copied, folder).is_some_and(|rest| !rest.is_empty())
            })
    }

    /// The folder of the repository that the innermost mapping of a path has.
    fn top_of(&self, path: &BStr) -> &'a BStr {
        self.tops
            .iter()
            .filter(|top| mapping::strip(path, top).is_some())
            .max_by_key(|top| top.len())
            .copied()
            .unwrap_or_default()
    }

    /// The outermost folder on the way to a file of which nothing has arrived.
    fn emptied<'b>(&self, folder: &'b BStr, top: &BStr) -> Option<&'b BStr> {
        let mut outermost = None;
        let mut folder = folder;
        while folder.len() > top.len() {
            if self.folders.get(folder).copied().unwrap_or(0) == 0 {
                outermost = Some(folder);
            }
            folder = mapping::parent(folder).0;
        }
        outermost
    }

    /// Whether no file of this purpose arrived in a folder.
    fn is_vacant(&self, folder: &BStr, purpose: Purpose) -> bool {
        if purpose_of_folder(folder) == Some(purpose) {
            return self.folders.get(folder).copied().unwrap_or(0) == 0;
        }
        !self.purposes.contains(&(folder, purpose))
    }
}

fn purpose_of_folder(folder: &BStr) -> Option<Purpose> {
    folder.split_str("/").find_map(|part| {
        Some(match part {
            b"test" | b"tests" | b"__tests__" | b"__mocks__" | b"__fixtures__" | b"spec"
            | b"specs" | b"e2e" | b"testdata" | b"testing" | b"cypress" | b"fixtures" => {
                Purpose::Tests
            }
            b"doc" | b"docs" | b"documentation" | b"example" | b"examples" | b"samples"
            | b"man" => Purpose::Documentation,
            b".github" | b".gitlab" | b".circleci" | b".husky" | b".vscode" | b".idea"
            | b".devcontainer" | b".buildkite" | b".changeset" | b".yarn" | b"bench"
            | b"benches" | b"benchmark" | b"benchmarks" | b"ci" | b"k8s" | b"kubernetes"
            | b"helm" | b"charts" | b"deploy" | b"deployment" | b"terraform" | b"infra"
            | b"ansible" | b"requirements" | b"tools" | b"hack" => Purpose::Build,
            _ => return None,
        })
    })
}

/// Names of which there is one, so that nothing follows from the others of its purpose.
fn is_on_its_own(name: &BStr) -> bool {
    purpose_of_name(name) == Some(Purpose::Documentation)
}

fn purpose_of_name(name: &BStr) -> Option<Purpose> {
    let lower = name.to_ascii_lowercase();
    let stem = lower.split_once_str(".").map_or(&*lower, |(stem, _)| stem);
    let code_stem = lower.rsplit_once_str(".").map_or(&*lower, |(stem, _)| stem);
    let is_test = stem.starts_with(b"test_")
        || stem == b"conftest"
        || [
            &b"_test"[..],
            b"_spec",
            b".test",
            b".spec",
            b"-test",
            b"-spec",
        ]
        .iter()
        .any(|end| code_stem.ends_with(end));
    if is_test {
        return Some(Purpose::Tests);
    }
    if is_build(name, &lower, stem) {
        return Some(Purpose::Build);
    }
    let is_document = [&b".md"[..], b".rst", b".adoc", b".markdown"]
        .iter()
        .any(|end| lower.ends_with(end))
        || DOCUMENTS.iter().any(|known| {
            let bare = stem.split_once_str("-").map_or(stem, |(bare, _)| bare);
            bare == *known && !has_code_end(&lower)
        });
    is_document.then_some(Purpose::Documentation)
}

fn has_code_end(name: &[u8]) -> bool {
    CODE.iter().any(|end| name.ends_with(end))
}

/// Files of the repository itself, which arrive only where the whole folder was copied.
fn is_of_repository(name: &BStr) -> bool {
    name.starts_with(b".git")
        || name.starts_with(b"Dockerfile")
        || name.ends_with(b".dockerignore")
        || name.starts_with(b"docker-compose")
        || matches!(
            name.as_bytes(),
            b"Makefile" | b"Jenkinsfile" | b".editorconfig" | b".travis.yml" | b"tox.ini"
        )
}

fn is_build(name: &BStr, lower: &[u8], stem: &[u8]) -> bool {
    if name.starts_with(b".") {
        // These are read by servers and by programs that run.
        return !name.starts_with(b".env") && name != ".htaccess" && name != ".user.ini";
    }
    NAMES.contains(&lower)
        || lower.ends_with(b".dockerfile")
        || (STEMS.contains(&stem)
            && (!has_code_end(lower)
                || lower.contains_str(".conf")
                || stem == b"tsconfig"
                || stem.ends_with(b"file")))
        || (stem.starts_with(b"requirements") && lower.ends_with(b".txt"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::comparison::testing::{mapped, reference};

    /// The class of each missing file; `-` for one that is missing indeed.
    fn classes(tree: &[&str], arrived: &[&str], top: &str) -> Vec<String> {
        let files: Vec<_> = tree.iter().map(|path| reference(path, path)).collect();
        let mappings = [mapped("/app", top)];
        let has = |path: &BStr| {
            arrived
                .iter()
                .any(|known| known.as_bytes() == path.as_bytes())
        };
        let arrivals = Arrivals::new(&files, &mappings, &has);
        tree.iter()
            .filter(|path| !arrived.contains(path))
            .map(|path| {
                let class = arrivals
                    .left_out(BStr::new(path), &Ignored::default())
                    .map_or("-", |noise| noise.class.name());
                format!("{class} {path}")
            })
            .collect()
    }

    #[test]
    fn tests_documents_and_recipes_are_left_out() {
        assert_eq!(
            classes(
                &[
                    "app.py",
                    "Dockerfile",
                    "README.md",
                    "tests/a.py",
                    "docs/conf.py",
                    ".github/workflows/x.yml",
                    "lib/a.py",
                    "lib/test_a.py",
                    "LICENSE",
                ],
                &["app.py", "lib/a.py"],
                "",
            ),
            [
                "left-out Dockerfile",
                "left-out README.md",
                "left-out tests/a.py",
                "left-out docs/conf.py",
                "left-out .github/workflows/x.yml",
                "left-out lib/test_a.py",
                "left-out LICENSE",
            ]
        );
    }

    #[test]
    fn one_test_of_many_that_arrived_is_missing() {
        assert_eq!(
            classes(
                &[
                    "app.py",
                    "tests/a.py",
                    "tests/b.py",
                    "lib/a_test.js",
                    "lib/b_test.js"
                ],
                &["app.py", "tests/a.py", "lib/a_test.js"],
                "",
            ),
            ["- tests/b.py", "- lib/b_test.js"]
        );
    }

    #[test]
    fn code_of_a_folder_that_arrived_in_part_is_missing() {
        assert_eq!(
            classes(
                &["src/a.py", "src/b.py", "src/plugins/x.py", "web/index.html"],
                &["src/a.py"],
                "",
            ),
            [
                "- src/b.py",
                "- src/plugins/x.py",
                "left-out web/index.html"
            ]
        );
    }

    #[test]
    fn a_folder_is_missing_where_all_was_copied() {
        assert_eq!(
            classes(
                &["a.py", ".gitignore", "Dockerfile", "web/index.html"],
                &["a.py", ".gitignore", "Dockerfile"],
                "",
            ),
            ["- web/index.html"]
        );
    }

    #[test]
    fn what_lies_beside_the_only_folder_that_was_copied_was_left_out() {
        assert_eq!(
            classes(
                &[
                    "services/shop/web/a.js",
                    "services/shop/web/b.js",
                    "services/shop/tool/x.js",
                    "services/shop/main.js",
                    "services/cart/main.js",
                ],
                &["services/shop/web/a.js"],
                "services",
            ),
            [
                "- services/shop/web/b.js",
                "left-out services/shop/tool/x.js",
                "left-out services/shop/main.js",
                "left-out services/cart/main.js"
            ]
        );
    }

    #[test]
    fn sources_of_a_compiled_program_are_no_missing_code() {
        assert_eq!(
            classes(
                &[
                    "cmd/main.go",
                    "pkg/x_test.go",
                    "templates/a.html",
                    "templates/b.html"
                ],
                &["templates/a.html"],
                "",
            ),
            [
                "compiled cmd/main.go",
                "left-out pkg/x_test.go",
                "- templates/b.html"
            ]
        );
    }
}
