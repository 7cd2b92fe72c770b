//! What `.gitattributes` does to a content between the repository and a working tree, or an archive.

use std::path::PathBuf;

use bstr::{BStr, BString, ByteSlice as _};
use gix_attributes::{
    Search, StateRef,
    search::{MetadataCollection, Outcome},
};
use sha2::{Digest as _, Sha256};

use super::{Class, Noise, placeholders};
use crate::evidence::mapping::parent;

/// The attribute files of a tree.
pub struct Attributes {
    search: Search,
    collection: MetadataCollection,
}

/// What a path's attributes say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is an attribute of its own"
)]
pub struct OfPath {
    /// `-text`: its line endings are its content.
    pub is_binary: bool,
    /// `eol=lf`: it never has carriage returns in a working tree.
    pub wants_lf: bool,
    /// `eol=crlf`, or `text`: its line endings change on the way.
    pub changes_endings: bool,
    /// `ident`
    pub ident: bool,
    /// `export-subst`
    pub export_subst: bool,
    /// `working-tree-encoding`
    pub encoding: Option<BString>,
}

/// Whether a path of the reference holds attributes, so that its content is wanted.
pub fn is_attributes_file(path: &BStr) -> bool {
    *parent(path).1 == ".gitattributes"
}

const NAMES: [&str; 7] = [
    "text",
    "eol",
    "ident",
    "export-subst",
    "export-ignore",
    "working-tree-encoding",
    "crlf",
];

impl Attributes {
    /// Reads the attribute files of a tree, given with their paths.
    pub fn new(files: &[(BString, Vec<u8>)]) -> Self {
        let mut attributes = Self {
            search: Search::default(),
            collection: MetadataCollection::default(),
        };
        attributes.add(b"[attr]binary -diff -merge -text", None, true);
        // Those of inner folders come later and win.
        let mut files: Vec<&(BString, Vec<u8>)> = files.iter().collect();
        files.sort_by_key(|(path, _)| path.split_str("/").count());
        for (path, content) in files {
            // git takes macros from the top only.
            attributes.add(content, Some(path.as_ref()), !path.contains(&b'/'));
        }
        attributes
    }

    fn add(&mut self, content: &[u8], path: Option<&BStr>, macros: bool) {
        let source = path
            .and_then(|path| path.to_os_str().ok())
            .map_or_else(PathBuf::new, |path| PathBuf::from("/").join(path));
        let root = path.map(|_| std::path::Path::new("/"));
        // Nothing is read here: an error could only come from a file system.
        let _ =
            self.search
                .add_patterns_buffer(content, source, root, &mut self.collection, macros);
    }

    /// The attributes of a file.
    pub fn of(&self, path: &BStr) -> OfPath {
        let mut attributes = OfPath::default();
        self.each(path, false, |name, state| match (name, state) {
            ("text" | "crlf", StateRef::Unset) => attributes.is_binary = true,
            ("text" | "crlf", StateRef::Set) => attributes.changes_endings = true,
            ("text", StateRef::Value(value)) if value.as_bstr() == "auto" => {
                attributes.changes_endings = true;
            }
            ("eol", StateRef::Value(value)) => match value.as_bstr().as_bytes() {
                b"lf" => attributes.wants_lf = true,
                b"crlf" => attributes.changes_endings = true,
                _ => {}
            },
            ("ident", StateRef::Set) => attributes.ident = true,
            ("export-subst", StateRef::Set) => attributes.export_subst = true,
            ("working-tree-encoding", StateRef::Value(value)) => {
                attributes.encoding = Some(value.as_bstr().to_owned());
            }
            _ => {}
        });
        attributes
    }

    /// Whether `git archive` leaves a file out, because of itself or of a folder above it.
    pub fn is_left_out_of_archives(&self, path: &BStr) -> bool {
        let ends = path
            .find_iter("/")
            .map(|slash| (slash, true))
            .chain([(path.len(), false)]);
        ends.into_iter().any(|(end, is_folder)| {
            let part = path.get(..end).unwrap_or_default().as_bstr();
            let mut found = false;
            self.each(part, is_folder, |name, state| {
                found |= name == "export-ignore" && matches!(state, StateRef::Set);
            });
            found
        })
    }

    fn each(&self, path: &BStr, is_folder: bool, mut tell: impl FnMut(&str, StateRef<'_>)) {
        let mut outcome = Outcome::default();
        outcome.initialize_with_selection(&self.collection, NAMES);
        self.search.pattern_matching_relative_path(
            path,
            gix_glob::pattern::Case::Sensitive,
            Some(is_folder),
            &mut outcome,
        );
        for found in outcome.iter_selected() {
            tell(found.assignment.name.as_str(), found.assignment.state);
        }
    }
}

/// Why the running content is the reference's in another form; `None` when it is another content.
pub fn same_content(reference: &[u8], running: &[u8], attributes: &OfPath) -> Option<Noise> {
    let noise = |because: String| Some(Noise::new(Class::Attributes, because));
    if let Some(pointer) = Pointer::parse(reference) {
        let digest = Sha256::digest(running);
        return (digest.as_slice() == pointer.digest)
            .then(|| Noise::new(Class::Attributes, "the LFS object of the pointer"));
    }
    let mut reasons: Vec<&str> = Vec::new();
    let mut new = running.to_vec();
    let mut old = reference.to_vec();
    if let Some(encoding) = &attributes.encoding
        && let Some(decoded) = decoded(&new, encoding.as_ref())
    {
        new = decoded;
        reasons.push("working-tree-encoding");
    }
    if attributes.ident {
        let (bare_old, bare_new) = (without_ident(&old), without_ident(&new));
        if bare_old != old || bare_new != new {
            reasons.push("ident");
        }
        (old, new) = (bare_old, bare_new);
    }
    if let Some(because) = endings(&mut old, &mut new, attributes) {
        reasons.push(because);
    }
    if attributes.export_subst && is_substituted(&old, &new) {
        reasons.push("export-subst");
        return noise(reasons.join(", "));
    }
    if old == new && !reasons.is_empty() {
        return noise(reasons.join(", "));
    }
    let names = placeholders::filled(&old, &new)?;
    let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    Some(Noise::new(
        Class::Generated,
        format!("the build has filled in {}", names.join(", ")),
    ))
}

/// Takes the carriage returns out of both sides where they may come from a working tree.
fn endings(old: &mut Vec<u8>, new: &mut Vec<u8>, attributes: &OfPath) -> Option<&'static str> {
    if attributes.is_binary || old.contains(&0) || new.contains(&0) {
        return None;
    }
    let (plain_old, plain_new) = (old.replace("\r\n", "\n"), new.replace("\r\n", "\n"));
    let (changes_old, changes_new) = (plain_old.len() != old.len(), plain_new.len() != new.len());
    // Carriage returns where the repository says that there are none are somebody's doing.
    if changes_new && attributes.wants_lf {
        return None;
    }
    if !changes_old && !changes_new {
        return None;
    }
    (*old, *new) = (plain_old, plain_new);
    Some(if attributes.changes_endings {
        "line endings"
    } else {
        "line endings, which no attribute asks for"
    })
}

/// Replaces each `$Id: …$` by `$Id$`.
fn without_ident(content: &[u8]) -> Vec<u8> {
    let mut bare = Vec::with_capacity(content.len());
    let mut rest = content;
    while let Some(start) = rest.find(b"$Id: ") {
        let (before, ident) = rest.split_at(start);
        bare.extend_from_slice(before);
        let line = ident.lines().next().unwrap_or_default();
        if let Some(end) = line.get(1..).and_then(|line| line.find_byte(b'$')) {
            bare.extend_from_slice(b"$Id$");
            rest = ident.get(end + 2..).unwrap_or_default();
        } else {
            bare.extend_from_slice(b"$Id: ");
            rest = ident.get(5..).unwrap_or_default();
        }
    }
    bare.extend_from_slice(rest);
    bare
}

/// Whether the new content is the old one with each `$Format:…$` replaced by something.
fn is_substituted(old: &[u8], new: &[u8]) -> bool {
    let mut literals: Vec<&[u8]> = Vec::new();
    let mut rest = old;
    while let Some(start) = rest.find(b"$Format:") {
        let (literal, format) = rest.split_at(start);
        let line = format.lines().next().unwrap_or_default();
        let Some(end) = line.get(8..).and_then(|line| line.find_byte(b'$')) else {
            break;
        };
        literals.push(literal);
        rest = format.get(8 + end + 1..).unwrap_or_default();
    }
    let Some((first, inner)) = literals.split_first() else {
        return false;
    };
    let Some(mut text) = new.strip_prefix(*first) else {
        return false;
    };
    let is_value = |value: &[u8]| value.len() <= 200 && !value.contains(&b'\n');
    for literal in inner {
        let Some(at) = text.find(literal) else {
            return false;
        };
        let (value, behind) = text.split_at(at);
        if !is_value(value) {
            return false;
        }
        text = behind.get(literal.len()..).unwrap_or_default();
    }
    text.strip_suffix(rest).is_some_and(is_value)
}

/// Makes UTF-8 of the encodings that `working-tree-encoding` is used for.
fn decoded(content: &[u8], encoding: &BStr) -> Option<Vec<u8>> {
    let name = encoding.to_ascii_uppercase();
    match name.as_slice() {
        b"UTF-16" | b"UTF-16LE" | b"UTF-16BE" | b"UTF-16LE-BOM" | b"UTF-16BE-BOM" => {
            let (content, is_big) = match content {
                [0xff, 0xfe, rest @ ..] => (rest, false),
                [0xfe, 0xff, rest @ ..] => (rest, true),
                _ => (content, !name.starts_with(b"UTF-16LE")),
            };
            let units = content.chunks_exact(2).map(|unit| {
                let unit: [u8; 2] = [
                    unit.first().copied().unwrap_or(0),
                    unit.last().copied().unwrap_or(0),
                ];
                if is_big {
                    u16::from_be_bytes(unit)
                } else {
                    u16::from_le_bytes(unit)
                }
            });
            let text: Result<String, _> = char::decode_utf16(units).collect();
            text.ok()
                .filter(|_| content.len().is_multiple_of(2))
                .map(String::into_bytes)
        }
        b"ISO-8859-1" | b"LATIN1" | b"LATIN-1" => {
            let text: String = content.iter().map(|byte| char::from(*byte)).collect();
            Some(text.into_bytes())
        }
        _ => None,
    }
}

/// An LFS pointer, which the repository has in the place of a large file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pointer {
    /// SHA-256 of the file.
    pub digest: [u8; 32],
}

impl Pointer {
    /// Reads a pointer; `None` when the content is none.
    pub fn parse(content: &[u8]) -> Option<Self> {
        let rest = content.strip_prefix(b"version https://git-lfs.github.com/spec/v1\n")?;
        if content.len() > 1024 {
            return None;
        }
        let oid = rest
            .lines()
            .find_map(|line| line.strip_prefix(b"oid sha256:"))?;
        let mut digest = [0; 32];
        if oid.len() != 64 {
            return None;
        }
        for (byte, digits) in digest.iter_mut().zip(oid.chunks_exact(2)) {
            *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
        }
        Some(Self { digest })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(attributes: &str, path: &str) -> OfPath {
        let files = [(
            BString::from(".gitattributes"),
            attributes.as_bytes().to_vec(),
        )];
        Attributes::new(&files).of(path.into())
    }

    /// The class and reason of a running content that differs.
    fn because(attributes: &str, reference: &[u8], running: &[u8]) -> Option<String> {
        same_content(reference, running, &of(attributes, "dir/a.txt"))
            .map(|noise| noise.because.into_owned())
    }

    #[test]
    fn attributes_are_read_as_git_reads_them() {
        let files = [
            (
                BString::from(".gitattributes"),
                b"* text=auto\n*.png binary\n*.sh eol=lf\ndir export-ignore\n".to_vec(),
            ),
            (
                BString::from("dir/.gitattributes"),
                b"*.txt eol=crlf ident\nutf.txt working-tree-encoding=UTF-16LE\n".to_vec(),
            ),
        ];
        let attributes = Attributes::new(&files);
        assert!(attributes.of("a.png".into()).is_binary);
        assert!(attributes.of("a.sh".into()).wants_lf);
        let inner = attributes.of("dir/a.txt".into());
        assert!(inner.changes_endings && inner.ident && !inner.is_binary);
        assert!(!attributes.of("a.txt".into()).ident);
        assert_eq!(
            attributes.of("dir/utf.txt".into()).encoding,
            Some("UTF-16LE".into())
        );
        assert!(attributes.is_left_out_of_archives("dir/x/y".into()));
        assert!(!attributes.is_left_out_of_archives("other/x".into()));
    }

    #[test]
    fn line_endings_are_the_attributes_and_content_is_not() {
        let crlf = because("* text=auto\n", b"a\nb\n", b"a\r\nb\r\n");
        assert_eq!(crlf.as_deref(), Some("line endings"));
        assert_eq!(
            because("", b"a\nb\n", b"a\r\nb\r\n").as_deref(),
            Some("line endings, which no attribute asks for")
        );
        assert_eq!(because("* text=auto\n", b"a\nb\n", b"a\r\nc\r\n"), None);
        assert_eq!(because("* -text\n", b"a\n", b"a\r\n"), None);
        assert_eq!(because("* text eol=lf\n", b"a\n", b"a\r\n"), None);
        assert_eq!(because("", b"a\0\n", b"a\0\r\n"), None);
    }

    #[test]
    fn ident_and_format_are_expanded_by_git() {
        assert_eq!(
            because("* ident\n", b"x $Id$ y\n", b"x $Id: 90940f68 $ y\n").as_deref(),
            Some("ident")
        );
        assert_eq!(because("", b"x $Id$ y\n", b"x $Id: 90940f68 $ y\n"), None);
        assert_eq!(
            because(
                "* export-subst\n",
                b"v = '$Format:%H$'\nd = '$Format:%ci$'\n",
                b"v = '90940f68'\nd = '2026-01-01'\n"
            )
            .as_deref(),
            Some("export-subst")
        );
        assert_eq!(
            because(
                "* export-subst\n",
                b"v = '$Format:%H$'\nx = 1\n",
                b"v = '90940f68'\nx = 2\n"
            ),
            None
        );
    }

    #[test]
    fn another_encoding_is_the_same_text() {
        let utf16: Vec<u8> = "h\u{e9}\n"
            .encode_utf16()
            .flat_map(u16::to_le_bytes)
            .collect();
        assert_eq!(
            because(
                "* working-tree-encoding=UTF-16LE\n",
                "h\u{e9}\n".as_bytes(),
                &utf16
            )
            .as_deref(),
            Some("working-tree-encoding")
        );
        assert_eq!(
            because("* working-tree-encoding=UTF-16LE\n", b"other\n", &utf16),
            None
        );
    }

    #[test]
    fn the_object_of_an_lfs_pointer_is_known_by_its_digest() {
        // `printf 'large\n' | sha256sum`
        let digest = Sha256::digest(b"large\n");
        let oid: Vec<String> = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        let oid = oid.concat();
        let pointer =
            format!("version https://git-lfs.github.com/spec/v1\noid sha256:{oid}\nsize 6\n");
        assert_eq!(
            because("", pointer.as_bytes(), b"large\n").as_deref(),
            Some("the LFS object of the pointer")
        );
        assert_eq!(because("", pointer.as_bytes(), b"other\n"), None);
    }
}
