//! Installed packages against the lock files of the repository.
//!
//! Only what both name is compared: images leave out development packages, and a list of requirements names
//! no packages of packages.

use std::collections::BTreeMap;

use bstr::{BStr, BString, ByteSlice as _};
use serde_json::Value;

use crate::evidence::mapping::parent;

/// Whose packages they are: names of one kind mean nothing to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Python's.
    Python,
    /// Node's.
    Node,
    /// PHP's.
    Php,
    /// Ruby's.
    Ruby,
}

/// Versions by package. Node has several versions of a package in several folders, so its names are paths.
pub type Versions = BTreeMap<(Kind, String), String>;

/// Whether a path of the reference is a lock file that is understood.
pub fn is_lock_file(path: &BStr) -> bool {
    matches!(
        parent(path).1.as_bytes(),
        b"package-lock.json"
            | b"npm-shrinkwrap.json"
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
}

/// Reads a lock file.
pub fn locked(path: &BStr, content: &[u8]) -> Versions {
    let mut versions = Versions::new();
    match parent(path).1.as_bytes() {
        b"package-lock.json" | b"npm-shrinkwrap.json" => node(content, &mut versions),
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
        node(content, versions);
    } else {
        composer(content, versions);
    }
}

/// Reads an installed package off the name of one of its files: `NAME-VERSION.dist-info/METADATA`,
/// `gems/NAME-VERSION/…`.
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
        above = part;
    }
}

/// The packages of which another version is installed than the lock says: name, locked, installed.
pub fn mismatches(locked: &Versions, installed: &Versions) -> Vec<(String, String, String)> {
    locked
        .iter()
        .filter_map(|(package, wanted)| {
            let found = installed.get(package)?;
            (found != wanted).then(|| (package.1.clone(), wanted.clone(), found.clone()))
        })
        .collect()
}

fn node(content: &[u8], versions: &mut Versions) {
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
            insert(versions, Kind::Node, name, version.as_bytes());
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
    versions.insert((kind, name.to_owned()), text(version));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(versions: &Versions) -> Vec<String> {
        versions
            .iter()
            .map(|((_, name), version)| format!("{name} {version}"))
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
