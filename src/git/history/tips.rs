//! Where histories begin: the refs, and what each leads to.

use bstr::ByteSlice as _;
use gix::glob::wildmatch;

use crate::git::error::GitError;
use crate::git::object_id;
use crate::git::repository::Repository;
use crate::object::ObjectId;

/// A ref and the object that it names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tip {
    /// The ref in full: `refs/pull/7/head`, or `HEAD` when that is detached.
    pub name: String,
    /// What it names, a tag taken for what it was made for as far as the repository says so itself.
    pub id: ObjectId,
}

/// The refs of a repository.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tips {
    /// Those that name an object, in order of their names.
    pub tips: Vec<Tip>,
    /// How many could not be read.
    pub broken: usize,
}

impl Repository {
    /// Lists the refs whose full name a pattern fits, all of them without one: branches, tags, those of
    /// remotes, and whatever else was fetched (`refs/pull/*/head`).
    ///
    /// In a pattern `*` stands for anything, slashes included. It is compared with the name in full and with
    /// the name as people write it, without `refs/heads/`, `refs/tags/` or `refs/remotes/`.
    pub fn tips(&self, pattern: Option<&str>) -> Result<Tips, GitError> {
        let failed = |source: gix::Error| GitError::ListRefs {
            path: self.display_path().to_owned(),
            source: source.into(),
        };
        let local = self.inner.to_thread_local();
        let platform = local.references().map_err(failed)?;
        let mut found = Tips::default();
        for reference in platform.all().map_err(failed)? {
            let Ok(mut reference) = reference else {
                found.broken += 1;
                continue;
            };
            let name = reference.name().as_bstr().to_str_lossy().into_owned();
            if !pattern.is_none_or(|pattern| fits(pattern, &name)) {
                continue;
            }
            // A packed ref says itself what its tag was made for; others are followed when they are read.
            let id = match (&reference.inner.peeled, reference.try_id()) {
                (Some(id), _) => Some(object_id(id)),
                (None, Some(id)) => Some(object_id(&id)),
                (None, None) => reference.peel_to_id().ok().map(|id| object_id(&id)),
            };
            match id {
                Some(id) => found.tips.push(Tip { name, id }),
                None => found.broken += 1,
            }
        }
        if let Ok(head) = local.head_id()
            && local.head().is_ok_and(|head| head.is_detached())
            && pattern.is_none_or(|pattern| fits(pattern, "HEAD"))
        {
            found.tips.push(Tip {
                name: "HEAD".to_owned(),
                id: object_id(&head),
            });
        }
        found.tips.sort_by(|left, right| left.name.cmp(&right.name));
        Ok(found)
    }
}

fn fits(pattern: &str, name: &str) -> bool {
    let matches = |name: &str| {
        gix::glob::wildmatch(
            pattern.as_bytes().as_bstr(),
            name.as_bytes().as_bstr(),
            wildmatch::Mode::empty(),
        )
    };
    matches(name) || matches(crate::git::default_ref::short_name(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_fits_full_and_short_names() {
        assert!(fits("refs/pull/*", "refs/pull/7/head"));
        assert!(fits("release-*", "refs/heads/release-1.2"));
        assert!(fits("origin/*", "refs/remotes/origin/a/b"));
        assert!(!fits("release-*", "refs/heads/main"));
    }
}
