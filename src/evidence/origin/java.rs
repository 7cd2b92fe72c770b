//! What Java builds leave: `git.properties`, Maven's `pom.properties`, manifests; also inside of jars.

use std::io::Read as _;

use bstr::{BStr, BString, ByteSlice as _};

use super::{Claim, Kind, Says, Sparse, revision};

/// No larger note is read.
const LIMIT: u64 = 1 << 20;
/// As many notes of one archive are read: a fat jar has one for each of its hundreds of dependencies.
const NOTES: usize = 16;
/// Attributes of a manifest that hold a commit.
const COMMITS: [&str; 9] = [
    "git-commit",
    "git-commit-id",
    "git-revision",
    "git-sha",
    "git-sha-1",
    "implementation-build",
    "implementation-scm-revision",
    "scm-revision",
    "build-revision",
];

/// The claims of a file by its name; none for other files.
#[must_use]
pub fn claims(path: &BStr, content: &[u8]) -> Vec<Claim> {
    let (kind, says) = match name(path).as_bytes() {
        b"git.properties" => (Kind::GitProperties, git_properties(content)),
        b"pom.properties" => (Kind::MavenProperties, pom_properties(content)),
        b"MANIFEST.MF" => (Kind::Manifest, manifest(content)),
        _ => return Vec::new(),
    };
    says.map(|says| Claim {
        kind,
        source: path.to_owned(),
        says,
    })
    .into_iter()
    .collect()
}

/// Whether a file of this name is read for its notes.
#[must_use]
pub fn is_note(path: &BStr) -> bool {
    matches!(
        name(path).as_bytes(),
        b"git.properties" | b"pom.properties" | b"MANIFEST.MF"
    )
}

/// The claims of an archive of classes; `None` when it cannot be read (ask [`Sparse::missing`] whether that
/// is final). The notes of archives within it are those of its dependencies, and not read.
#[must_use]
pub fn archive(path: &BStr, file: &Sparse) -> Option<Vec<Claim>> {
    let mut archive = zip::ZipArchive::new(file.reader()).ok()?;
    let mut names: Vec<String> = archive
        .file_names()
        .filter_map(Result::ok)
        .filter(|name| is_note(BStr::new(name.as_bytes())))
        .map(std::borrow::Cow::into_owned)
        .collect();
    // A fat jar that was not nested has the properties of all; which is its own is not said.
    let poms = |name: &String| name.ends_with("pom.properties");
    if names.iter().filter(|name| poms(name)).count() > 1 {
        names.retain(|name| !poms(name));
    }
    names.sort();
    names.truncate(NOTES);
    let mut found = Vec::new();
    for name in names {
        let mut content = Vec::new();
        let entry = archive.by_name(&name).ok()?;
        entry.take(LIMIT).read_to_end(&mut content).ok()?;
        let inner: BString = [path.as_bytes(), b"!/", name.as_bytes()].concat().into();
        found.extend(claims(inner.as_ref(), &content));
    }
    Some(found)
}

fn name(path: &BStr) -> &BStr {
    path.rsplit_str("/").next().unwrap_or_default().as_bstr()
}

fn git_properties(content: &[u8]) -> Option<Says> {
    let find = |wanted: &str| {
        properties(content)
            .find(|(name, _)| name == wanted)
            .map(|(_, value)| value)
    };
    let revision = find("git.commit.id.full")
        .or_else(|| find("git.commit.id"))
        .or_else(|| find("git.commit.id.abbrev"))
        .and_then(|value| revision(&value))?;
    Some(Says::Commit {
        revision,
        modified: find("git.dirty").map(|dirty| dirty == "true"),
        repository: find("git.remote.origin.url").filter(|url| !url.is_empty()),
    })
}

fn pom_properties(content: &[u8]) -> Option<Says> {
    let find = |wanted: &str| properties(content).find(|(name, _)| name == wanted);
    let group = find("groupId").map_or_else(String::new, |(_, group)| group + ":");
    Some(Says::Version {
        name: group + &find("artifactId")?.1,
        version: find("version")?.1,
    })
}

/// The pairs of a property file. Lines that go on in the next one do not occur in these.
fn properties(content: &[u8]) -> impl Iterator<Item = (String, String)> {
    content
        .lines()
        .map(|line| line.trim().to_str_lossy())
        .filter(|line| !line.starts_with(['#', '!']))
        .filter_map(|line| {
            let (name, value) = line.split_once(['=', ':'])?;
            let unescaped = |text: &str| text.trim().replace("\\:", ":").replace("\\=", "=");
            Some((unescaped(name), unescaped(value)))
        })
}

/// The commit in the main section of a manifest, else the version.
fn manifest(content: &[u8]) -> Option<Says> {
    let attributes = main_section(content);
    let find = |wanted: &str| {
        let mut all = attributes.iter();
        all.find(|(name, _)| name.eq_ignore_ascii_case(wanted))
            .map(|(_, value)| value.as_str())
    };
    if let Some(revision) = COMMITS.iter().find_map(|name| revision(find(name)?)) {
        return Some(Says::Commit {
            revision,
            modified: None,
            repository: None,
        });
    }
    Some(Says::Version {
        name: find("Implementation-Title")?.to_owned(),
        version: find("Implementation-Version")?.to_owned(),
    })
}

/// The attributes up to the first empty line; a line that begins with a blank goes on with the one before.
fn main_section(content: &[u8]) -> Vec<(String, String)> {
    let mut attributes: Vec<(String, String)> = Vec::new();
    for line in content.lines() {
        let line = line.to_str_lossy();
        if line.is_empty() {
            break;
        }
        if let Some(more) = line.strip_prefix(' ') {
            if let Some((_, value)) = attributes.last_mut() {
                value.push_str(more);
            }
        } else if let Some((name, value)) = line.split_once(": ") {
            attributes.push((name.to_owned(), value.to_owned()));
        }
    }
    attributes
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Write as _};

    use super::*;
    use crate::evidence::origin::sparse::all_by_parts;

    const COMMIT: &str = "90940f68bdc22959c67e74599936805de6a43c4d";

    fn says(path: &str, content: &str) -> Vec<Says> {
        let claims = claims(path.into(), content.as_bytes());
        claims.into_iter().map(|claim| claim.says).collect()
    }

    fn commit(modified: Option<bool>, repository: Option<&str>) -> Vec<Says> {
        vec![Says::Commit {
            revision: COMMIT.to_owned(),
            modified,
            repository: repository.map(str::to_owned),
        }]
    }

    #[test]
    fn git_properties_name_commit_repository_and_changes() {
        let text = format!(
            "#Generated by Git-Commit-Id-Plugin\ngit.branch=main\ngit.commit.id={COMMIT}\ngit.dirty=true\ngit.remote.origin.url=https\\://git.example/shop.git\n"
        );
        assert_eq!(
            says("app/BOOT-INF/classes/git.properties", &text),
            commit(Some(true), Some("https://git.example/shop.git"))
        );
        assert_eq!(
            says("git.properties", "git.commit.id=${git.commit.id}\n"),
            []
        );
    }

    #[test]
    fn a_manifest_gives_its_commit_even_over_two_lines_and_only_of_its_main_section() {
        let text = format!(
            "Manifest-Version: 1.0\r\nGit-Commit: {}\r\n {}\r\n\r\nName: x\r\n",
            &COMMIT[..30],
            &COMMIT[30..]
        );
        assert_eq!(says("META-INF/MANIFEST.MF", &text), commit(None, None));
        let text = format!("Manifest-Version: 1.0\n\nGit-Commit: {COMMIT}\n");
        assert_eq!(says("META-INF/MANIFEST.MF", &text), []);
        let text = "Implementation-Title: shop\nImplementation-Build: nightly\nImplementation-Version: 1.2\n";
        let version = Says::Version {
            name: "shop".to_owned(),
            version: "1.2".to_owned(),
        };
        assert_eq!(says("META-INF/MANIFEST.MF", text), [version]);
    }

    #[test]
    fn the_notes_in_a_jar_are_found_without_reading_all_of_it() {
        let mut jar = zip::ZipWriter::new(Cursor::new(Vec::new()));
        let stored = zip::write::SimpleFileOptions::default()
            .compression_method(zip::CompressionMethod::Stored);
        jar.start_file("BOOT-INF/lib/big.jar", stored).unwrap();
        jar.write_all(&vec![7; 3 << 20]).unwrap();
        jar.start_file(
            "BOOT-INF/classes/git.properties",
            zip::write::SimpleFileOptions::default(),
        )
        .unwrap();
        jar.write_all(format!("git.commit.id={COMMIT}\n").as_bytes())
            .unwrap();
        jar.start_file("META-INF/maven/g/a/pom.properties", stored)
            .unwrap();
        jar.write_all(b"groupId=g\nartifactId=a\nversion=3\n")
            .unwrap();
        let bytes = jar.finish().unwrap().into_inner();
        let (claims, fetched) = all_by_parts(&bytes, |file| archive("app.jar".into(), file));
        let claims = claims.unwrap();
        assert_eq!(claims.len(), 2, "{claims:?}");
        assert_eq!(claims[0].source, "app.jar!/BOOT-INF/classes/git.properties");
        assert!(fetched < 512 << 10, "{fetched}");
    }

    #[test]
    fn what_is_no_archive_has_no_claims() {
        for content in [&b""[..], b"PK\x03\x04 and no more", &[0xff; 4000]] {
            assert_eq!(
                all_by_parts(content, |file| archive("x.jar".into(), file)).0,
                None
            );
        }
    }
}
