//! A `.git` folder that was left in an image: what it has checked out.

use bstr::{BString, ByteSlice as _};

use super::revision;

/// What `HEAD` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Head {
    /// A commit itself.
    Commit(String),
    /// A ref, which is in a file of its own or among the packed ones.
    Ref(BString),
}

/// Reads `HEAD`, or the file of a ref.
#[must_use]
pub fn head(content: &[u8]) -> Option<Head> {
    let content = content.trim();
    if let Some(name) = content.strip_prefix(b"ref:") {
        let name = name.trim();
        // It becomes a path: it must stay in the folder.
        let is_inside =
            name.starts_with(b"refs/") && !name.split_str("/").any(|part| part == b"..");
        return is_inside.then(|| Head::Ref(name.into()));
    }
    revision(content.to_str().ok()?).map(Head::Commit)
}

/// The commit of a ref among the packed ones.
#[must_use]
pub fn packed(content: &[u8], name: &[u8]) -> Option<String> {
    content.lines().find_map(|line| {
        let (id, found) = line.split_once_str(" ")?;
        (found.trim() == name).then(|| revision(id.to_str().ok()?))?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checked_out_branch_leads_to_its_commit() {
        let id = "90940f68bdc22959c67e74599936805de6a43c4d";
        assert_eq!(
            head(format!("{id}\n").as_bytes()),
            Some(Head::Commit(id.to_owned()))
        );
        assert_eq!(
            head(b"ref: refs/heads/main\n"),
            Some(Head::Ref("refs/heads/main".into()))
        );
        assert_eq!(head(b"ref: refs/../../etc/passwd\n"), None);
        assert_eq!(head(b"nothing"), None);
        let refs = format!("# pack-refs with: peeled\n{id} refs/heads/main\n^1111111111\n");
        assert_eq!(
            packed(refs.as_bytes(), b"refs/heads/main"),
            Some(id.to_owned())
        );
        assert_eq!(packed(refs.as_bytes(), b"refs/heads/mai"), None);
    }
}
