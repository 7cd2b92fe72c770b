//! What git would have stored for a file that a checkout or a build pipeline has converted.
//!
//! Line endings and the keyword `$Id$` are changed when files are checked out; what was in the repository is
//! found by changing them back. A result counts only when a commit has it, so a wrong guess does no harm.

use std::borrow::Cow;

use bstr::ByteSlice as _;

use crate::object::{HashKind, ObjectId, blob_id};

/// The names that a content may have had before it was converted; its own name is not among them.
#[must_use]
pub fn variants(kind: HashKind, content: &[u8]) -> Vec<ObjectId> {
    let unix = unix_lines(content);
    let contents = [
        unix.clone(),
        without_ids(content).into_owned().into(),
        without_ids(&unix).into_owned().into(),
    ];
    let mut found: Vec<ObjectId> = Vec::new();
    for variant in contents {
        if variant.as_ref() != content
            && let Ok(id) = blob_id(kind, &variant)
            && !found.contains(&id)
        {
            found.push(id);
        }
    }
    found
}

fn unix_lines(content: &[u8]) -> Cow<'_, [u8]> {
    if content.contains_str("\r\n") {
        content.replace("\r\n", "\n").into()
    } else {
        content.into()
    }
}

/// `$Id: 90940f68... $` is `$Id$` again.
fn without_ids(content: &[u8]) -> Cow<'_, [u8]> {
    const START: &[u8] = b"$Id:";
    if !content.contains_str(START) {
        return content.into();
    }
    let mut out = Vec::with_capacity(content.len());
    let mut rest = content;
    while let Some(start) = rest.find(START) {
        let (before, keyword) = rest.split_at(start);
        out.extend_from_slice(before);
        let inner = keyword.get(START.len()..).unwrap_or_default();
        match inner.find_byteset(b"$\n") {
            Some(end) if inner.get(end) == Some(&b'$') => {
                out.extend_from_slice(b"$Id$");
                rest = inner.get(end + 1..).unwrap_or_default();
            }
            _ => {
                out.extend_from_slice(START);
                rest = inner;
            }
        }
    }
    out.extend_from_slice(rest);
    out.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(content: &str) -> ObjectId {
        blob_id(HashKind::Sha1, content.as_bytes()).unwrap()
    }

    #[test]
    fn converted_files_have_the_name_that_git_stored() {
        let of = |content: &str| variants(HashKind::Sha1, content.as_bytes());
        assert_eq!(of("a\r\nb\r\n"), [id("a\nb\n")]);
        assert_eq!(
            of("x $Id: 90940f68bdc22959c67e74599936805de6a43c4d $ y"),
            [id("x $Id$ y")]
        );
        assert!(of("# $Id: 1 $\r\n").contains(&id("# $Id$\n")));
        assert_eq!(of("plain\n"), []);
        assert_eq!(of("$Id: not ended\nhere $"), []);
    }
}
