//! Names by which generated files and installed packages are known.
//!
//! A name such as `build` proves nothing where the repository itself keeps files in such a folder, so it
//! counts only for folders of which the reference has nothing.

use std::borrow::Cow;

use bstr::{BStr, BString, ByteSlice as _};

use crate::evidence::mapping::{join, parent};

/// Folders that programs and tools fill, wherever they lie.
const CACHES: [&str; 16] = [
    "__pycache__",
    ".cache",
    ".eggs",
    ".gradle",
    ".hypothesis",
    ".mypy_cache",
    ".next",
    ".nuxt",
    ".nyc_output",
    ".parcel-cache",
    ".pytest_cache",
    ".ruff_cache",
    ".sass-cache",
    ".svelte-kit",
    ".terraform",
    ".turbo",
];

/// Folders that builds fill, unless the repository has files there.
const OUTPUTS: [&str; 9] = [
    "_build", "build", "coverage", "dist", "htmlcov", "logs", "out", "target", "tmp",
];

/// Ends of names that nobody writes by hand.
const GENERATED_ENDS: [&str; 14] = [
    ".pyc",
    ".pyo",
    ".class",
    ".o",
    ".a",
    ".map",
    ".tsbuildinfo",
    ".log",
    ".pid",
    ".sock",
    ".swp",
    ".lock.tmp",
    ".coverage",
    ".DS_Store",
];

/// Files that builds put information about themselves into.
const BUILD_INFORMATION: [&str; 18] = [
    "_version.py",
    "_version.txt",
    ".revision",
    ".version",
    "BUILD_ID",
    "BUILD_INFO",
    "GIT_COMMIT",
    "GIT_SHA",
    "REVISION",
    "build-info.json",
    "build-info.properties",
    "build.json",
    "build_info.json",
    "buildinfo.json",
    "git.properties",
    "git-info.json",
    "version.json",
    "version.txt",
];

/// What is made of a source in the same folder: the end of its name, and the end of the source's.
const MADE_OF: [(&str, &str); 26] = [
    (".js", ".ts"),
    (".js", ".tsx"),
    (".js", ".mts"),
    (".js", ".coffee"),
    (".jsx", ".tsx"),
    (".mjs", ".mts"),
    (".cjs", ".cts"),
    (".d.ts", ".ts"),
    (".d.ts", ".tsx"),
    (".min.js", ".js"),
    (".css", ".scss"),
    (".css", ".sass"),
    (".css", ".less"),
    (".min.css", ".css"),
    (".min.css", ".scss"),
    (".gz", ""),
    (".br", ""),
    (".zst", ""),
    (".c", ".pyx"),
    (".cpp", ".pyx"),
    (".so", ".pyx"),
    (".mo", ".po"),
    ("_pb2.py", ".proto"),
    ("_pb2_grpc.py", ".proto"),
    (".pb.go", ".proto"),
    (".html", ".pug"),
];

/// Why a path that only runs is generated. `tracked` tells whether the reference has something in a folder, `has`
/// whether it has a file.
pub fn is_generated(
    path: &BStr,
    tracked: &dyn Fn(&BStr) -> bool,
    has: &dyn Fn(&BStr) -> bool,
) -> Option<Cow<'static, str>> {
    let (folder, name) = parent(path);
    for (above, part) in parts(folder) {
        if let Some(cache) = CACHES.iter().find(|cache| cache.as_bytes() == part) {
            return Some(format!("in `{cache}`").into());
        }
        if part == b"META-INF" || (part.ends_with(b".jar!") && path.ends_with(b".idx")) {
            return Some("written by the packager of the archive".into());
        }
        if part.ends_with(b".egg-info") || part.ends_with(b".dist-info") {
            return Some("metadata of an installed package".into());
        }
        let output = OUTPUTS.iter().find(|output| output.as_bytes() == part);
        if let Some(output) = output.filter(|_| !tracked(above.as_ref())) {
            return Some(format!("in `{output}`, of which the ref has nothing").into());
        }
    }
    if let Some(end) = GENERATED_ENDS
        .iter()
        .find(|end| name.ends_with(end.as_bytes()))
    {
        return Some(format!("ends in `{end}`").into());
    }
    if let Some(known) = BUILD_INFORMATION
        .iter()
        .find(|known| known.as_bytes() == name.as_bytes())
    {
        return Some(format!("`{known}` is written by builds").into());
    }
    made_of(path, has).map(|source| format!("made of `{source}`").into())
}

/// The file of the reference that a file is made of, in the same folder.
fn made_of(path: &BStr, has: &dyn Fn(&BStr) -> bool) -> Option<BString> {
    MADE_OF.into_iter().find_map(|(made, source)| {
        let stem = path.strip_suffix(made.as_bytes())?;
        let source = BString::from([stem, source.as_bytes()].concat());
        has(source.as_ref()).then_some(source)
    })
}

/// Why a path that only runs is part of an installed package.
pub fn is_dependency(path: &BStr, tracked: &dyn Fn(&BStr) -> bool) -> Option<Cow<'static, str>> {
    if let Some(folder) = library(path, tracked) {
        let name = parent(folder.as_ref()).1;
        return Some(format!("in `{name}`").into());
    }
    // `vendor` with files of the repository in it: each package beside them is a folder of its own.
    let mut folders = parts(parent(path).0).into_iter();
    let vendor = folders.find(|(_, part)| *part == b"vendor");
    let package = vendor.and(folders.next());
    if let Some((above, _)) = package.filter(|(above, _)| !tracked(above.as_ref())) {
        return Some(format!("in `{above}`, of which the ref has nothing").into());
    }
    (path.ends_with(b".jar") || path.ends_with(b".gem") || path.ends_with(b".whl"))
        .then(|| "a packed package".into())
}

/// The outermost folder of installed packages that a path lies in, by its name alone.
pub fn installed_below(path: &BStr) -> Option<BString> {
    library(path, &|_| false)
}

/// The outermost folder above a path that holds installed packages and of which the reference has nothing.
fn library(path: &BStr, tracked: &dyn Fn(&BStr) -> bool) -> Option<BString> {
    let is_library = |(above, part): &(BString, &[u8])| {
        let always = matches!(
            *part,
            b"node_modules"
                | b"bower_components"
                | b"site-packages"
                | b"dist-packages"
                | b".venv"
                | b".bundle"
                | b"__pypackages__"
        );
        let is_in_archive = above.ends_with(b"BOOT-INF/lib") || above.ends_with(b"WEB-INF/lib");
        let unless_tracked = matches!(*part, b"vendor" | b"venv" | b"virtualenv" | b"gems")
            && !tracked(above.as_ref());
        always || unless_tracked || is_in_archive
    };
    let mut folders = parts(parent(path).0).into_iter();
    folders.find(is_library).map(|(above, _)| above)
}

/// The parts of a folder, each with the path that ends in it.
fn parts(folder: &BStr) -> Vec<(BString, &[u8])> {
    let mut above = BString::default();
    folder
        .split_str("/")
        .filter(|part| !part.is_empty())
        .map(|part| {
            above = join(above.as_ref(), part.as_bstr());
            (above.clone(), part)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn generated(path: &str, reference: &[&str]) -> bool {
        let tracked = |folder: &BStr| {
            reference
                .iter()
                .any(|file| file.as_bytes().starts_with(folder))
        };
        let has = |path: &BStr| {
            reference
                .iter()
                .any(|file| file.as_bytes() == path.as_bytes())
        };
        is_generated(path.into(), &tracked, &has).is_some()
    }

    fn dependency(path: &str, reference: &[&str]) -> bool {
        let tracked = |folder: &BStr| {
            reference
                .iter()
                .any(|file| file.as_bytes().starts_with(folder))
        };
        is_dependency(path.into(), &tracked).is_some()
    }

    #[test]
    fn byte_code_caches_and_build_information_are_generated() {
        for path in [
            "shop/__pycache__/app.cpython-311.pyc",
            "app.pyc",
            ".next/server/x.js",
            "shop.egg-info/PKG-INFO",
            "REVISION",
        ] {
            assert!(generated(path, &[]), "{path}");
        }
        for path in ["app.py", "lib/new.js", "revision.py"] {
            assert!(!generated(path, &[]), "{path}");
        }
    }

    #[test]
    fn a_folder_of_the_repository_is_no_build_output_whatever_its_name() {
        assert!(generated("dist/x.js", &["src/x.js"]));
        assert!(!generated("build/new.py", &["build/tool.py"]));
    }

    #[test]
    fn what_a_compiler_makes_beside_its_source_is_generated() {
        assert!(generated("src/a.js", &["src/a.ts"]));
        assert!(generated("static/x.min.js", &["static/x.js"]));
        assert!(generated("static/x.js.gz", &["static/x.js"]));
        assert!(!generated("src/b.js", &["src/a.ts"]));
    }

    #[test]
    fn installed_packages_are_dependencies_and_tracked_vendor_folders_are_not() {
        assert!(dependency("node_modules/qs/index.js", &["package.json"]));
        assert!(dependency("vendor/acme/x.php", &["composer.json"]));
        assert!(dependency("BOOT-INF/lib/x.jar", &[]));
        assert!(dependency("vendor/other/x.go", &["vendor/acme/x.go"]));
        assert!(!dependency("vendor/acme/new.go", &["vendor/acme/x.go"]));
        assert!(!dependency("lib/new.py", &[]));
    }
}
