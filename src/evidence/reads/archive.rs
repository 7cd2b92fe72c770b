//! Hints of which variables the classes of an archive may read.
//!
//! The texts of a class stand in its constant pool as they are, and so do the names of what it calls. Archives within
//! an archive are libraries, and not looked into.

use std::io::{Cursor, Read as _};

use bstr::BString;

use super::binary::{Hint, hints as of_class};

/// Classes that are looked at in one archive at most.
const CLASSES: usize = 4_000;
/// Larger classes are generated, in bytes.
const LARGEST: u64 = 4 << 20;

/// Whether a file is an archive, by how it begins.
#[must_use]
pub fn is_one(content: &[u8]) -> bool {
    content.starts_with(b"PK\x03\x04")
}

/// Those of the names that stand in classes, each with the first class that has it. None of what is no archive.
#[must_use]
pub fn hints(content: &[u8], names: &[&[u8]]) -> Vec<(BString, Hint)> {
    let Ok(mut archive) = zip::ZipArchive::new(Cursor::new(content)) else {
        return Vec::new();
    };
    let mut found: Vec<(BString, Hint)> = Vec::new();
    for index in 0..archive.len().min(CLASSES) {
        let Ok(file) = archive.by_index(index) else {
            continue;
        };
        let path = BString::from(file.name_raw());
        let mut class = Vec::new();
        if !path.ends_with(b".class") || file.take(LARGEST).read_to_end(&mut class).is_err() {
            continue;
        }
        for hint in of_class(&class, names) {
            if !found.iter().any(|(_, known)| known.name == hint.name) {
                found.push((path.clone(), hint));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
        let options = zip::write::SimpleFileOptions::default();
        for (path, content) in files {
            writer.start_file(*path, options).unwrap();
            writer.write_all(content).unwrap();
        }
        writer.finish().unwrap().into_inner()
    }

    #[test]
    fn names_stand_in_the_classes_that_call_getenv() {
        let jar = archive(&[
            ("META-INF/x.txt", b"getenv REVIEWS_PORT"),
            ("a/Other.class", b"\xca\xfe\xba\xbe\x01\0\x0cREVIEWS_PORT"),
            (
                "a/Page.class",
                b"\xca\xfe\xba\xbe\x01\0\x06getenv\x01\0\x0cREVIEWS_PORT",
            ),
            (
                "a/Page2.class",
                b"\xca\xfe\xba\xbe\x01\0\x06getenv\x01\0\x0cREVIEWS_PORT",
            ),
        ]);
        assert!(is_one(&jar));
        let names: [&[u8]; 2] = [b"REVIEWS_PORT", b"DETAILS_PORT"];
        let found = hints(&jar, &names);
        assert_eq!(found.len(), 1);
        assert_eq!(
            (found[0].0.as_slice(), found[0].1.name.as_slice()),
            (&b"a/Page.class"[..], names[0])
        );
        assert!(hints(b"PK\x03\x04 broken", &names).is_empty());
    }
}
