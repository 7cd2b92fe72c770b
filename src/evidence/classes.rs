//! The classes that run against the sources that they should come from.
//!
//! A class says its package and name by its path, and a source does so too. Whether a class was compiled from the
//! source as it is cannot be told from that; that one is missing or left over can.

use std::collections::HashSet;

use bstr::{BStr, BString, ByteSlice as _};

use super::mapping::{Mapping, join, parent, strip};

/// The outcome.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Classes {
    /// Sources that have their class.
    pub matched: usize,
    /// Sources without one: paths of the repository.
    pub without_class: Vec<BString>,
    /// Classes without a source in packages that the repository has: paths without their ends.
    pub without_source: Vec<BString>,
}

/// Ends of sources, and whether a source makes exactly the classes that its name says.
const SOURCES: [(&str, bool); 4] = [
    (".java", true),
    (".kt", false),
    (".scala", false),
    (".groovy", false),
];

/// Compares class files, by their paths, with the sources of a repository; `None` when either has none.
pub fn compare<'a>(
    running: impl Iterator<Item = &'a BStr>,
    reference: impl Iterator<Item = &'a BStr>,
    mappings: &[Mapping],
) -> Option<Classes> {
    let mut sources: Vec<(BString, &BStr, bool)> = Vec::new();
    for path in reference.filter(|path| !is_test(path)) {
        for (end, exact) in SOURCES {
            if let Some(stem) = path.strip_suffix(end.as_bytes()) {
                sources.push((below_source_folder(stem.as_bstr(), mappings), path, exact));
            }
        }
    }
    let classes: HashSet<BString> = running.filter_map(class_of).collect();
    if sources.is_empty() || classes.is_empty() {
        return None;
    }
    let mut outcome = Classes::default();
    // Classes may lie below a folder of their own, so each end of a path is a name.
    let names: HashSet<&BStr> = classes
        .iter()
        .flat_map(|class| ends(class.as_ref()))
        .collect();
    for (name, path, exact) in &sources {
        let facade = BString::from([name.as_slice(), b"Kt"].concat());
        if names.contains(name.as_bstr()) || (!exact && names.contains(facade.as_bstr())) {
            outcome.matched += 1;
        } else if *exact {
            outcome.without_class.push((*path).to_owned());
        }
    }
    let known: HashSet<&BStr> = sources.iter().map(|(name, _, _)| name.as_ref()).collect();
    let package = |name: &'_ BString| parent(name.as_ref()).0.to_owned();
    // Where a source may make classes of any name, nothing follows from a class without one.
    let loose: HashSet<BString> = sources
        .iter()
        .filter(|(_, _, exact)| !exact)
        .map(|(name, _, _)| package(name))
        .collect();
    let packages: HashSet<BString> = sources
        .iter()
        .map(|(name, _, _)| package(name))
        .filter(|package| !package.is_empty() && !loose.contains(package))
        .collect();
    outcome.without_source = classes
        .iter()
        .filter(|class| {
            ends(parent(class.as_ref()).0).any(|end| packages.contains(end))
                && !ends(class.as_ref()).any(|end| known.contains(end))
        })
        .cloned()
        .collect();
    outcome.without_source.sort();
    outcome.without_class.sort();
    Some(outcome)
}

/// The ends of a path that begin with one of its parts, the whole of it first.
fn ends(path: &BStr) -> impl Iterator<Item = &BStr> {
    let starts = std::iter::once(0).chain(path.find_iter("/").map(|slash| slash + 1));
    starts.map(|start| path.get(start..).unwrap_or_default().as_bstr())
}

/// The path of a class file without its end; `None` for what is none of a source's own: inner classes and
/// descriptions.
fn class_of(path: &BStr) -> Option<BString> {
    let stem = path.strip_suffix(b".class")?.as_bstr();
    let name = parent(stem).1;
    let is_own = !name.contains(&b'$') && name != "module-info" && name != "package-info";
    is_own.then(|| inner_most_part(stem).to_owned())
}

/// What is below the folder or archive that classes are kept in.
fn inner_most_part(path: &BStr) -> &BStr {
    for folder in [
        &b"BOOT-INF/classes/"[..],
        b"WEB-INF/classes/",
        b".jar!/",
        b".war!/",
    ] {
        if let Some((_, rest)) = path.rsplit_once_str(folder) {
            return rest.as_bstr();
        }
    }
    path
}

fn is_test(path: &BStr) -> bool {
    path.contains_str("src/test/") || path.starts_with(b"test/") || path.contains_str("/test/")
}

/// The package and name of a source: what is below `src/main/java` or its like, else below the folder that runs.
fn below_source_folder(path: &BStr, mappings: &[Mapping]) -> BString {
    for folder in ["java", "kotlin", "scala", "groovy"] {
        let whole = join(BStr::new("src/main"), BStr::new(folder));
        if let Some((_, rest)) = path.split_once_str([whole.as_slice(), b"/"].concat().as_slice()) {
            return rest.into();
        }
    }
    match path.split_once_str("src/") {
        Some((_, rest)) => rest.into(),
        None => mappings
            .iter()
            .filter_map(|mapping| strip(path, mapping.repository.as_ref()))
            .min_by_key(|rest| rest.len())
            .unwrap_or(path)
            .to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_without_classes_and_classes_without_sources_are_named() {
        let running = [
            "/app/a.jar!/BOOT-INF/classes/com/acme/Main.class",
            "/app/a.jar!/BOOT-INF/classes/com/acme/Main$1.class",
            "/app/a.jar!/BOOT-INF/classes/com/acme/Left.class",
            "/app/a.jar!/org/springframework/boot/loader/JarLauncher.class",
            "/app/a.jar!/BOOT-INF/classes/com/acme/k/UtilKt.class",
        ];
        let reference = [
            "svc/src/main/java/com/acme/Main.java",
            "svc/src/main/java/com/acme/New.java",
            "svc/src/main/kotlin/com/acme/k/Util.kt",
            "svc/src/test/java/com/acme/MainTest.java",
        ];
        let classes = compare(
            running.iter().map(|path| BStr::new(*path)),
            reference.iter().map(|path| BStr::new(*path)),
            &[],
        );
        assert_eq!(
            classes,
            Some(Classes {
                matched: 2,
                without_class: vec!["svc/src/main/java/com/acme/New.java".into()],
                without_source: vec!["com/acme/Left".into()],
            })
        );
    }

    #[test]
    fn nothing_is_said_where_one_side_has_none() {
        let none = compare([].into_iter(), [BStr::new("src/A.java")].into_iter(), &[]);
        assert_eq!(none, None);
    }

    #[test]
    fn a_source_without_a_source_folder_has_its_name_from_the_folder_that_runs() {
        let mapping = Mapping {
            running: "/app".into(),
            repository: "services/shop".into(),
            how: crate::evidence::mapping::How::Asked,
        };
        let classes = compare(
            [BStr::new("/app/Server.class")].into_iter(),
            [
                BStr::new("services/shop/Server.java"),
                BStr::new("services/shop/acme/New.java"),
            ]
            .into_iter(),
            &[mapping],
        );
        assert_eq!(
            classes,
            Some(Classes {
                matched: 1,
                without_class: vec!["services/shop/acme/New.java".into()],
                without_source: Vec::new(),
            })
        );
    }
}
