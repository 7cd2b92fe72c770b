//! What linkers write into executables: Go's build info, and the dependency list of `cargo auditable`.

use std::{collections::BTreeMap, io::Read as _};

use object::{Endianness, Object as _, ObjectSection as _, ObjectSegment as _};

use super::{Claim, Kind, Says, Sparse, revision, text};

/// No longer note is read.
const LIMIT: u64 = 16 << 20;
/// What `.go.buildinfo` begins with.
const MAGIC: &[u8] = b"\xff Go buildinf:";
/// It begins at a multiple of this.
const ALIGNMENT: usize = 16;
/// What the linker writes comes at this distance.
const HEAD: usize = 32;
/// The strings follow the head themselves, as since Go 1.18.
const INLINE: u8 = 2;
/// Numbers are big-endian.
const BIG_ENDIAN: u8 = 1;

/// What Go says of a build.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GoBuild {
    /// The version of Go.
    pub go: String,
    /// The path of the main package.
    pub package: String,
    /// The main module.
    pub main: Option<GoModule>,
    /// The modules that it depends on.
    pub modules: Vec<GoModule>,
    /// Settings of the build: `vcs.revision`, `vcs.modified`, `-tags`, ...
    pub settings: BTreeMap<String, String>,
}

/// A module of a Go build.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GoModule {
    /// Its path.
    pub path: String,
    /// Its version; `(devel)` when it was built in its own folder.
    pub version: String,
    /// Whether another module was put in its place: then its name says nothing.
    pub replaced: bool,
}

/// The claims of an executable. None without notes; ask [`Sparse::missing`] whether that is final.
#[must_use]
pub fn claims(path: &bstr::BStr, file: &Sparse) -> Vec<Claim> {
    let mut claims = Vec::new();
    let claim = |kind, says| Claim {
        kind,
        source: path.to_owned(),
        says,
    };
    if let Some(build) = go_build(file) {
        claims.extend(go_claims(&build).map(|says| claim(Kind::GoBuildInfo, says)));
    }
    if let Some((name, version)) = rust_root(file) {
        claims.push(claim(Kind::RustAuditable, Says::Version { name, version }));
    }
    claims
}

/// The commit, by the setting or by the version that Go makes of a commit; without one, the module.
fn go_claims(build: &GoBuild) -> Option<Says> {
    let main = build.main.as_ref();
    let repository = main.map(|main| main.path.clone());
    let setting = build.settings.get("vcs.revision");
    if let Some(revision) = setting.and_then(|name| revision(name)) {
        let modified = build.settings.get("vcs.modified");
        return Some(Says::Commit {
            revision,
            modified: modified.map(|modified| modified == "true"),
            repository,
        });
    }
    let main = main.filter(|main| !main.replaced)?;
    if let Some((revision, modified)) = pseudo_version(&main.version) {
        return Some(Says::Commit {
            revision,
            modified,
            repository,
        });
    }
    Some(Says::Version {
        name: main.path.clone(),
        version: main.version.clone(),
    })
}

/// The commit in `v1.2.4-0.20240110100000-7981f770d015+dirty`, and whether it was changed.
fn pseudo_version(version: &str) -> Option<(String, Option<bool>)> {
    let (version, modified) = match version.split_once('+') {
        Some((version, mark)) => (version, mark.contains("dirty").then_some(true)),
        None => (version, None),
    };
    let (rest, commit) = version.rsplit_once('-')?;
    let time = rest.rsplit(['-', '.']).next()?;
    let is_time = time.len() == 14 && time.bytes().all(|byte| byte.is_ascii_digit());
    (is_time && commit.len() == 12)
        .then(|| revision(commit))?
        .map(|commit| (commit, modified))
}

type Elf<'a> = object::File<'a, &'a Sparse>;

fn section<'a>(elf: &Elf<'a>, name: &str) -> Option<&'a [u8]> {
    let section = elf.section_by_name(name)?;
    let (_, size) = section.file_range()?;
    (size <= LIMIT).then(|| section.data().ok()).flatten()
}

/// Go's build info.
#[must_use]
pub fn go_build(file: &Sparse) -> Option<GoBuild> {
    let elf = Elf::parse(file).ok()?;
    let data = section(&elf, ".go.buildinfo")?;
    let start = (0..data.len()).step_by(ALIGNMENT).find(|start| {
        data.get(*start..)
            .is_some_and(|data| data.starts_with(MAGIC))
    })?;
    let data = data.get(start..)?;
    let (pointer_size, flags) = (*data.get(MAGIC.len())?, *data.get(MAGIC.len() + 1)?);
    let (go, modules) = if flags & INLINE != 0 {
        let (go, rest) = inline(data.get(HEAD..)?)?;
        let (modules, _) = inline(rest)?;
        (go.to_vec(), modules.to_vec())
    } else {
        let layout = Layout {
            pointer_size: pointer_size.into(),
            endian: if flags & BIG_ENDIAN == 0 {
                Endianness::Little
            } else {
                Endianness::Big
            },
        };
        let at = |index: usize| {
            layout.string_at(
                &elf,
                file,
                layout.pointer(data, 16 + index * layout.pointer_size)?,
            )
        };
        (at(0)?, at(1)?)
    };
    let mut build = modules_of(&modules);
    build.go = String::from_utf8_lossy(&go).into_owned();
    Some(build)
}

/// A string with its length, as `binary.Uvarint` writes it, in front.
fn inline(data: &[u8]) -> Option<(&[u8], &[u8])> {
    let (mut length, mut rest) = (0_u64, data);
    for shift in (0..64).step_by(7) {
        let (byte, after) = rest.split_first()?;
        rest = after;
        length |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return rest.split_at_checked(usize::try_from(length).ok()?);
        }
    }
    None
}

/// How a program from before Go 1.18 keeps its strings: pointers to pointers.
struct Layout {
    pointer_size: usize,
    endian: Endianness,
}

impl Layout {
    fn pointer(&self, data: &[u8], at: usize) -> Option<u64> {
        let bytes = data.get(at..at.checked_add(self.pointer_size)?)?;
        let number = |bytes: &mut dyn Iterator<Item = &u8>| {
            bytes.fold(0_u64, |number, byte| number << 8 | u64::from(*byte))
        };
        match (self.pointer_size, self.endian) {
            (4 | 8, Endianness::Little) => Some(number(&mut bytes.iter().rev())),
            (4 | 8, Endianness::Big) => Some(number(&mut bytes.iter())),
            _ => None,
        }
    }

    fn string_at(&self, elf: &Elf<'_>, file: &Sparse, address: u64) -> Option<Vec<u8>> {
        let size = u64::try_from(self.pointer_size).ok()? * 2;
        let header = read(elf, file, address, size)?;
        let (start, length) = (
            self.pointer(header, 0)?,
            self.pointer(header, self.pointer_size)?,
        );
        (length <= LIMIT)
            .then(|| read(elf, file, start, length).map(<[u8]>::to_vec))
            .flatten()
    }
}

/// What the program will have at an address. A segment is not read whole for it.
fn read<'a>(elf: &Elf<'a>, file: &'a Sparse, address: u64, length: u64) -> Option<&'a [u8]> {
    let offset = elf
        .segments()
        .map(|segment| (segment.address(), segment.file_range()))
        .find(|(start, (_, size))| {
            address >= *start && address.saturating_add(length) <= start.saturating_add(*size)
        })
        .map(|(start, (offset, _))| offset.saturating_add(address - start))?;
    object::ReadRef::read_bytes_at(file, offset, length).ok()
}

/// Takes the lines of `runtime/debug.BuildInfo` apart.
fn modules_of(text: &[u8]) -> GoBuild {
    // Sixteen bytes in front and behind let a debugger find it.
    let text = text
        .get(16..text.len().saturating_sub(16))
        .unwrap_or_default();
    let text = String::from_utf8_lossy(text);
    let mut build = GoBuild::default();
    for line in text.lines() {
        let mut fields = line.split('\t');
        let module = |mut fields: std::str::Split<'_, char>| {
            Some(GoModule {
                path: fields.next()?.to_owned(),
                version: fields.next().unwrap_or_default().to_owned(),
                replaced: false,
            })
        };
        match fields.next() {
            Some("path") => fields
                .next()
                .unwrap_or_default()
                .clone_into(&mut build.package),
            Some("mod") => build.main = module(fields),
            Some("dep") => build.modules.extend(module(fields)),
            Some("=>") => {
                if let Some(last) = build.modules.last_mut().or(build.main.as_mut()) {
                    last.replaced = true;
                }
            }
            Some("build") => {
                if let Some((name, value)) = fields.next().and_then(|line| line.split_once('=')) {
                    let value = value.trim_matches('"');
                    build.settings.insert(name.to_owned(), value.to_owned());
                }
            }
            _ => {}
        }
    }
    build
}

/// Name and version of the crate that an auditable build is of.
fn rust_root(file: &Sparse) -> Option<(String, String)> {
    let elf = Elf::parse(file).ok()?;
    let packed = section(&elf, ".dep-v0")?;
    let mut json = Vec::new();
    flate2::read::ZlibDecoder::new(packed)
        .take(LIMIT)
        .read_to_end(&mut json)
        .ok()?;
    let list: serde_json::Value = serde_json::from_slice(&json).ok()?;
    let packages = list.get("packages")?.as_array()?;
    let root = packages
        .iter()
        .find(|package| package.get("root").and_then(serde_json::Value::as_bool) == Some(true))?;
    Some((
        text(root, "name")?.to_owned(),
        text(root, "version")?.to_owned(),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_that_go_makes_of_a_commit_names_it() {
        let commit =
            |version| pseudo_version(version).map(|(commit, modified)| (commit.len(), modified));
        assert_eq!(
            commit("v0.0.0-20240110100000-7981f770d015"),
            Some((12, None))
        );
        assert_eq!(
            commit("v1.2.4-0.20240110100000-7981f770d015+dirty"),
            Some((12, Some(true)))
        );
        for other in [
            "v1.2.3",
            "(devel)",
            "v1.2.3-rc.1",
            "v1.0.0-2024-7981f770d015",
            "",
        ] {
            assert_eq!(commit(other), None, "{other}");
        }
    }

    #[test]
    fn the_lines_of_a_build_are_taken_apart() {
        let text = "0123456789abcdef\
path\tgit.example/shop\n\
mod\tgit.example/shop\tv1.0.0\th1:x=\n\
dep\tgit.example/a\tv0.1.0\n\
dep\tgit.example/b\tv0.2.0\n=>\t./b\t\n\
build\tvcs.revision=90940f68bdc22959c67e74599936805de6a43c4d\nbuild\tvcs.modified=true\n\
0123456789abcdef";
        let build = modules_of(text.as_bytes());
        assert_eq!(build.package, "git.example/shop");
        let replaced: Vec<_> = build.modules.iter().map(|module| module.replaced).collect();
        assert_eq!(replaced, [false, true]);
        assert!(matches!(
            go_claims(&build),
            Some(Says::Commit { modified: Some(true), revision, .. }) if revision.starts_with("90940f")
        ));
    }

    #[test]
    fn what_is_no_executable_has_no_claims() {
        for content in [&b""[..], b"#!/bin/sh\n", b"\x7fELF", &[0x7f; 300]] {
            assert_eq!(claims("x".into(), &Sparse::whole(content.to_vec())), []);
        }
    }
}
