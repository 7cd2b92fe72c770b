//! Installed packages against the lock files of the repository.
//!
//! Only what both name is compared: images leave out development packages, and a list of requirements names
//! no packages of packages.

use std::collections::{BTreeMap, BTreeSet};

use bstr::{BStr, BString, ByteSlice as _};
use serde_json::Value;

use crate::evidence::mapping::parent;

/// Whose packages they are: names of one kind mean nothing to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Python's.
    Python,
    /// Node's, by the folder below `node_modules` that a package is in.
    NodeFolder,
    /// Node's, by name: what lock files that do not say folders are compared with.
    NodePackage,
    /// Go's modules.
    Go,
    /// PHP's.
    Php,
    /// Ruby's.
    Ruby,
}

/// Versions by package. Node's packages may be there in several at once.
pub type Versions = BTreeMap<(Kind, String), BTreeSet<String>>;

/// Whether a path of the reference is a lock file that is understood.
pub fn is_lock_file(path: &BStr) -> bool {
    matches!(
        parent(path).1.as_bytes(),
        b"package-lock.json"
            | b"npm-shrinkwrap.json"
            | b"yarn.lock"
            | b"pnpm-lock.yaml"
            | b"go.mod"
            | b"requirements.txt"
            | b"poetry.lock"
            | b"uv.lock"
            | b"Pipfile.lock"
            | b"composer.lock"
            | b"Gemfile.lock"
    )
}

/// Whether a running file lists installed packages, so that its content is wanted.
pub fn lists_installed(path: &BStr) -> bool {
    path.ends_with(b"/node_modules/.package-lock.json")
        || path.ends_with(b"/vendor/composer/installed.json")
        || path.ends_with(b"/vendor/modules.txt")
}

/// Whether a running file describes one installed package of Node. yarn leaves no list of them, so these are wanted when
/// the reference has a lock file of yarn's.
pub fn describes_installed(path: &BStr) -> bool {
    let mut parts = path.rsplit_str("/");
    let (file, name, above) = (parts.next(), parts.next(), parts.next());
    let folder = match above {
        Some(scope) if scope.starts_with(b"@") => parts.next(),
        other => other,
    };
    file == Some(b"package.json") && name.is_some() && folder == Some(b"node_modules")
}

/// Whether a lock file is yarn's.
pub fn is_of_yarn(path: &BStr) -> bool {
    parent(path).1 == "yarn.lock"
}

/// Reads a lock file.
pub fn locked(path: &BStr, content: &[u8]) -> Versions {
    let mut versions = Versions::new();
    match parent(path).1.as_bytes() {
        b"package-lock.json" | b"npm-shrinkwrap.json" => npm(content, &mut versions),
        b"yarn.lock" => yarn(content, &mut versions),
        b"pnpm-lock.yaml" => pnpm(content, &mut versions),
        b"go.mod" => required_modules(content, &mut versions),
        b"composer.lock" => composer(content, &mut versions),
        b"Gemfile.lock" => gems(content, &mut versions),
        b"Pipfile.lock" => pipfile(content, &mut versions),
        b"poetry.lock" | b"uv.lock" => tables(content, &mut versions),
        _ => requirements(content, &mut versions),
    }
    versions
}

/// Reads what is installed off a list of installed packages.
pub fn installed_in(path: &BStr, content: &[u8], versions: &mut Versions) {
    if path.ends_with(b".package-lock.json") {
        npm(content, versions);
        let names: Vec<(String, String)> = versions
            .iter()
            .filter(|((kind, _), _)| *kind == Kind::NodeFolder)
            .flat_map(|((_, folder), found)| {
                let name = folder.rsplit("node_modules/").next().unwrap_or(folder);
                found
                    .iter()
                    .map(move |version| (name.to_owned(), version.clone()))
            })
            .collect();
        for (name, version) in names {
            insert(versions, Kind::NodePackage, &name, version.as_bytes());
        }
    } else if path.ends_with(b"modules.txt") {
        vendored_modules(content, versions);
    } else if path.ends_with(b"package.json") {
        node_package(content, versions);
    } else {
        composer(content, versions);
    }
}

/// Reads an installed package off the name of one of its files: `NAME-VERSION.dist-info/METADATA`,
/// `gems/NAME-VERSION/…`, `node_modules/.pnpm/NAME@VERSION_PEERS/…`.
pub fn installed_at(path: &BStr, versions: &mut Versions) {
    let mut above: &[u8] = b"";
    for part in path.split_str("/") {
        let info = part.strip_suffix(b".dist-info");
        if let Some((name, version)) = info.and_then(|info| info.rsplit_once_str("-")) {
            insert(versions, Kind::Python, &python_name(name), version);
            return;
        }
        if above == b"gems"
            && let Some((name, version)) = part.rsplit_once_str("-")
            && version.first().is_some_and(u8::is_ascii_digit)
        {
            insert(versions, Kind::Ruby, &text(name), version);
            return;
        }
        if above == b".pnpm"
            && let Some((name, version)) = split_at_version(&text(part).replace('+', "/"))
        {
            let version = version.split('_').next().unwrap_or_default();
            insert(versions, Kind::NodePackage, name, version.as_bytes());
            return;
        }
        above = part;
    }
}

/// The packages of which another version is installed than the lock says: name, locked, installed.
pub fn mismatches(locked: &Versions, installed: &Versions) -> Vec<(String, String, String)> {
    locked
        .iter()
        .filter_map(|(package, wanted)| {
            let found = installed.get(package)?;
            let others: Vec<_> = found.difference(wanted).map(String::as_str).collect();
            let wanted: Vec<_> = wanted.iter().map(String::as_str).collect();
            (!others.is_empty()).then(|| (package.1.clone(), wanted.join(", "), others.join(", ")))
        })
        .collect()
}

fn npm(content: &[u8], versions: &mut Versions) {
    let Ok(lock) = serde_json::from_slice::<Value>(content) else {
        return;
    };
    for (path, package) in lock
        .get("packages")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
    {
        let version = package.get("version").and_then(Value::as_str);
        if let (Some(name), Some(version)) = (path.strip_prefix("node_modules/"), version) {
            insert(versions, Kind::NodeFolder, name, version.as_bytes());
        }
    }
}

/// A `package.json` of an installed package.
fn node_package(content: &[u8], versions: &mut Versions) {
    let Ok(package) = serde_json::from_slice::<Value>(content) else {
        return;
    };
    let field = |name| package.get(name).and_then(Value::as_str);
    if let (Some(name), Some(version)) = (field("name"), field("version")) {
        insert(versions, Kind::NodePackage, name, version.as_bytes());
    }
}

/// `qs@6.11.0, qs@^6.5.0:` with `  version "6.11.0"` below it; from version 2 on `"qs@npm:6.11.0":` with
/// `  version: 6.11.0`. A workspace is no installed package.
fn yarn(content: &[u8], versions: &mut Versions) {
    let mut name: Option<String> = None;
    for line in content.lines() {
        let line = text(line);
        if let Some(version) = line.strip_prefix("  version") {
            let version = version.trim_start_matches(':').trim().trim_matches('"');
            if let Some(name) = name.take() {
                insert(versions, Kind::NodePackage, &name, version.as_bytes());
            }
        } else if !line.starts_with([' ', '#']) {
            let first = line.trim_start_matches('"').split([',', '"']).next();
            name = first
                .and_then(|first| split_at_version(first.trim_end_matches(':')))
                .filter(|(_, range)| !range.starts_with("workspace:"))
                .map(|(name, _)| name.to_owned());
        }
    }
}

/// The keys of `packages:`, two blanks deep: `qs@6.11.0`, `/qs@6.11.0(peer@1)` or `/qs/6.11.0_peer`, by the version of
/// the format.
fn pnpm(content: &[u8], versions: &mut Versions) {
    let mut is_package = false;
    for line in content.lines() {
        let line = text(line);
        if !line.starts_with([' ', '#']) && !line.is_empty() {
            is_package = line == "packages:";
            continue;
        }
        let key = line
            .strip_prefix("  ")
            .filter(|key| is_package && !key.starts_with(' '))
            .and_then(|key| key.strip_suffix(':'));
        let Some(key) = key.map(|key| key.trim_matches(['\'', '"'])) else {
            continue;
        };
        let key = key.split('(').next().unwrap_or_default();
        let is_name = |name: &str| name.matches('/').count() == usize::from(name.starts_with('@'));
        let pair = split_at_version(key.trim_start_matches('/'))
            .filter(|(name, _)| is_name(name))
            .or_else(|| {
                let key = key.strip_prefix('/')?.split('_').next()?;
                key.rsplit_once('/').filter(|(name, _)| is_name(name))
            });
        if let Some((name, version)) = pair {
            insert(versions, Kind::NodePackage, name, version.as_bytes());
        }
    }
}

/// `NAME@VERSION`, where the name may begin with `@`.
fn split_at_version(text: &str) -> Option<(&str, &str)> {
    let at = text.get(1..)?.find('@')? + 1;
    Some((text.get(..at)?, text.get(at + 1..)?))
}

/// `require MODULE VERSION`, also in parentheses. What `replace` puts in the place of a module is left out.
fn required_modules(content: &[u8], versions: &mut Versions) {
    let mut is_list = false;
    let mut replaced = Vec::new();
    for line in content.lines() {
        let line = text(line);
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["require", "("] => is_list = true,
            [")", ..] => is_list = false,
            ["require", module, version, ..] => {
                insert(versions, Kind::Go, module, version.as_bytes());
            }
            [module, version, ..] if is_list && version.starts_with('v') => {
                insert(versions, Kind::Go, module, version.as_bytes());
            }
            _ => {}
        }
        if let Some(arrow) = words.iter().position(|word| *word == "=>") {
            let before = words.iter().take(arrow).filter(|word| **word != "replace");
            replaced.extend(before.take(1).map(|module| (*module).to_owned()));
        }
    }
    versions.retain(|(kind, module), _| *kind != Kind::Go || !replaced.contains(module));
}

/// `# MODULE VERSION` of `vendor/modules.txt`; `# MODULE VERSION => OTHER` is a replacement.
fn vendored_modules(content: &[u8], versions: &mut Versions) {
    for line in content.lines() {
        let line = text(line);
        if let ["#", module, version] = line.split_whitespace().collect::<Vec<_>>().as_slice() {
            insert(versions, Kind::Go, module, version.as_bytes());
        }
    }
}

fn composer(content: &[u8], versions: &mut Versions) {
    let Ok(lock) = serde_json::from_slice::<Value>(content) else {
        return;
    };
    for package in lock
        .get("packages")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        let field = |name| package.get(name).and_then(Value::as_str);
        if let (Some(name), Some(version)) = (field("name"), field("version")) {
            insert(versions, Kind::Php, name, version.as_bytes());
        }
    }
}

fn pipfile(content: &[u8], versions: &mut Versions) {
    let Ok(lock) = serde_json::from_slice::<Value>(content) else {
        return;
    };
    for (name, package) in lock
        .get("default")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
    {
        let version = package.get("version").and_then(Value::as_str);
        if let Some(version) = version.and_then(|version| version.strip_prefix("==")) {
            insert(
                versions,
                Kind::Python,
                &python_name(name.as_bytes()),
                version.as_bytes(),
            );
        }
    }
}

/// `    rack (2.2.3)`, four blanks deep; what is deeper is only asked for.
fn gems(content: &[u8], versions: &mut Versions) {
    for line in content.lines() {
        let Some(package) = line
            .strip_prefix(b"    ")
            .filter(|rest| !rest.starts_with(b" "))
        else {
            continue;
        };
        if let Some((name, rest)) = package.split_once_str(" (")
            && let Some(version) = rest.strip_suffix(b")")
        {
            insert(versions, Kind::Ruby, &text(name), version);
        }
    }
}

/// `name = "x"` and `version = "y"` in one `[[package]]`.
fn tables(content: &[u8], versions: &mut Versions) {
    let mut name: Option<String> = None;
    for line in content.lines() {
        if line.starts_with(b"[") {
            name = None;
        } else if let Some(value) = quoted(line, b"name = ") {
            name = Some(python_name(value));
        } else if let Some(version) = quoted(line, b"version = ")
            && let Some(name) = name.take()
        {
            insert(versions, Kind::Python, &name, version);
        }
    }
}

fn quoted<'a>(line: &'a [u8], key: &[u8]) -> Option<&'a [u8]> {
    line.strip_prefix(key)?
        .strip_prefix(b"\"")?
        .strip_suffix(b"\"")
}

/// `Flask[async]==2.2.5 ; python_version > "3.7" --hash=…`
fn requirements(content: &[u8], versions: &mut Versions) {
    for line in content.lines() {
        let Some((name, rest)) = line.split_once_str("==") else {
            continue;
        };
        let name = name.split_str("[").next().unwrap_or_default().trim();
        let is_name = name
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(byte));
        let version = rest
            .split(|byte| b" ;#\\,\t\r".contains(byte))
            .find(|part| !part.is_empty())
            .unwrap_or_default();
        if is_name && !name.is_empty() && !version.contains(&b'*') && !version.is_empty() {
            insert(versions, Kind::Python, &python_name(name), version);
        }
    }
}

/// PEP 503: case does not count, and runs of `-`, `_` and `.` are one `-`.
fn python_name(name: &[u8]) -> String {
    let parts: Vec<String> = name
        .split(|byte| b"-_.".contains(byte))
        .filter(|part| !part.is_empty())
        .map(|part| text(part).to_lowercase())
        .collect();
    parts.join("-")
}

fn text(bytes: &[u8]) -> String {
    BString::from(bytes).to_string()
}

fn insert(versions: &mut Versions, kind: Kind, name: &str, version: &[u8]) {
    versions
        .entry((kind, name.to_owned()))
        .or_default()
        .insert(text(version));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(versions: &Versions) -> Vec<String> {
        versions
            .iter()
            .flat_map(|((_, name), versions)| {
                versions
                    .iter()
                    .map(move |version| format!("{name} {version}"))
            })
            .collect()
    }

    #[test]
    fn lock_files_of_each_language_are_read() {
        for (path, content, expected) in [
            (
                "package-lock.json",
                r#"{"packages": {"": {"version": "1"}, "node_modules/qs": {"version": "6.11.0"},
                   "node_modules/a/node_modules/qs": {"version": "6.5.0"}}}"#,
                &["a/node_modules/qs 6.5.0", "qs 6.11.0"][..],
            ),
            (
                "yarn.lock",
                "# yarn lockfile v1\n\n\"@s/n@^1.0.0\":\n  version \"1.2.0\"\n  resolved \"x\"\n\nqs@6.11.0, qs@^6.5.0:\n  version \"6.11.0\"\n  dependencies:\n    side-channel \"^1\"\n\nqs@~5.0.0:\n  version \"5.0.1\"\n",
                &["@s/n 1.2.0", "qs 5.0.1", "qs 6.11.0"],
            ),
            (
                "yarn.lock",
                "__metadata:\n  version: 6\n\n\"@s/n@npm:^1.0.0\":\n  version: 1.2.0\n  resolution: \"@s/n@npm:1.2.0\"\n\n\"app@workspace:.\":\n  version: 0.0.0-use.local\n\n\"qs@npm:6.11.0, qs@npm:^6.5.0\":\n  version: 6.11.0\n",
                &["@s/n 1.2.0", "qs 6.11.0"],
            ),
            (
                "pnpm-lock.yaml",
                "lockfileVersion: '9.0'\n\nimporters:\n\n  .:\n    dependencies:\n\npackages:\n\n  '@s/n@1.2.0':\n    resolution: {integrity: x}\n\n  qs@6.11.0:\n    engines: {node: '>=0.6'}\n\nsnapshots:\n\n  other@1.0.0: {}\n",
                &["@s/n 1.2.0", "qs 6.11.0"],
            ),
            (
                "pnpm-lock.yaml",
                "lockfileVersion: 5.4\npackages:\n\n  /@s/n/1.2.0_peer@1.0.0:\n    dev: false\n  /qs/6.11.0:\n    dev: false\n",
                &["@s/n 1.2.0", "qs 6.11.0"],
            ),
            (
                "go.mod",
                "module git.example/shop\n\ngo 1.20\n\nrequire (\n\texample.com/a v1.0.0\n\texample.com/b v2.0.0 // indirect\n)\nrequire example.com/c v3.0.0\nreplace example.com/b => ../b\n",
                &["example.com/a v1.0.0", "example.com/c v3.0.0"],
            ),
            (
                "a/requirements.txt",
                "# x\nFlask[async]==2.2.5 ; python_version > '3'\nJinja2>=3\nzope.interface==5.0 \\\n  --hash=sha256:1\n-r x\n",
                &["flask 2.2.5", "zope-interface 5.0"],
            ),
            (
                "poetry.lock",
                "[[package]]\nname = \"Flask\"\nversion = \"2.2.5\"\n[package.extras]\nversion = \"9\"\n",
                &["flask 2.2.5"],
            ),
            (
                "composer.lock",
                r#"{"packages": [{"name": "a/b", "version": "v1.0"}]}"#,
                &["a/b v1.0"],
            ),
            (
                "Gemfile.lock",
                "GEM\n  specs:\n    rack (2.2.3)\n      other (>= 1)\n",
                &["rack 2.2.3"],
            ),
            (
                "Pipfile.lock",
                r#"{"default": {"flask": {"version": "==2.2.5"}}}"#,
                &["flask 2.2.5"],
            ),
        ] {
            assert_eq!(
                shown(&locked(path.into(), content.as_bytes())),
                expected,
                "{path}"
            );
        }
    }

    #[test]
    fn packages_of_node_are_compared_by_name_where_the_lock_file_says_no_folders() {
        let yarn = locked("yarn.lock".into(), b"qs@^6.5.0:\n  version \"6.11.0\"\nqs@^5:\n  version \"5.0.1\"\nms@2:\n  version \"2.0.0\"\n");
        for (path, content) in [
            (
                "/app/node_modules/.package-lock.json",
                r#"{"packages": {"node_modules/qs": {"version": "5.0.1"}, "node_modules/a/node_modules/ms": {"version": "2.1.0"}}}"#,
            ),
            (
                "/app/node_modules/ms/package.json",
                r#"{"name": "ms", "version": "2.1.0"}"#,
            ),
        ] {
            let mut installed = Versions::new();
            installed_in(path.into(), content.as_bytes(), &mut installed);
            let told = mismatches(&yarn, &installed);
            assert_eq!(
                told,
                [("ms".to_owned(), "2.0.0".to_owned(), "2.1.0".to_owned())],
                "{path}"
            );
        }
        let mut installed = Versions::new();
        for path in [
            "/app/node_modules/.pnpm/@s+n@1.2.0_peer@1.0.0/node_modules/@s/n/a.js",
            "/app/node_modules/.pnpm/ms@2.1.0/x",
        ] {
            installed_at(path.into(), &mut installed);
        }
        assert_eq!(shown(&installed), ["@s/n 1.2.0", "ms 2.1.0"]);
        assert!(describes_installed(
            "/a/node_modules/@s/n/package.json".into()
        ));
        assert!(describes_installed("/a/node_modules/n/package.json".into()));
        assert!(!describes_installed(
            "/a/node_modules/n/lib/package.json".into()
        ));
    }

    #[test]
    fn vendored_modules_are_compared_with_those_that_are_required() {
        let required = locked("go.mod".into(), b"require example.com/a v1.0.0\n");
        let mut installed = Versions::new();
        installed_in(
            "/src/vendor/modules.txt".into(),
            b"# example.com/a v1.1.0\n## explicit\nexample.com/a/sub\n# example.com/b v1 => ../b\n",
            &mut installed,
        );
        assert_eq!(
            mismatches(&required, &installed),
            [(
                "example.com/a".to_owned(),
                "v1.0.0".to_owned(),
                "v1.1.0".to_owned()
            )]
        );
    }

    #[test]
    fn an_installed_version_that_is_not_the_locked_one_is_told() {
        let locked = locked(
            "requirements.txt".into(),
            b"Flask==2.2.5\nJinja2==3.1.2\nnot-there==1\n",
        );
        let mut installed = Versions::new();
        for path in [
            "/x/site-packages/Flask-2.2.4.dist-info/METADATA",
            "/x/site-packages/jinja2-3.1.2.dist-info/RECORD",
            "/x/site-packages/other-1.dist-info/RECORD",
        ] {
            installed_at(path.into(), &mut installed);
        }
        assert_eq!(
            mismatches(&locked, &installed),
            [("flask".to_owned(), "2.2.5".to_owned(), "2.2.4".to_owned())]
        );
    }
}
