//! Which ref stands for "what should be running" when nobody names one.

use gix::refs::TargetRef;

use super::error::GitError;
use super::repository::Repository;

/// The ref that is compared with by default, and why it was chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DefaultRef {
    /// The ref in full (`refs/remotes/origin/main`) or `HEAD`, which [`Repository::resolve`] takes.
    pub full_name: String,
    /// The ref as a person writes it: `origin/main`.
    pub name: String,
    /// Why this one.
    pub reason: DefaultRefReason,
}

/// Why a ref is the default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DefaultRefReason {
    /// The remote `origin` calls it its default branch.
    OriginHead,
    /// It is the branch that a bare repository gives to those who clone it.
    BareHead,
    /// Nothing says which branch is the default, and one of its usual names exists.
    UsualName,
    /// Nothing else is left: it is what is checked out.
    CheckedOut,
}

impl DefaultRefReason {
    /// The reason as the end of a sentence: "compared with `main`, …".
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OriginHead => "the default branch of the remote `origin`",
            Self::BareHead => "the default branch of the bare repository",
            Self::UsualName => "the usual name of a default branch",
            Self::CheckedOut => "the commit that is checked out",
        }
    }
}

impl Repository {
    /// The repository's default branch: what `origin` says, else the HEAD of a bare repository, else `main` or
    /// `master`, here or in `origin`, else HEAD.
    pub fn default_ref(&self) -> Result<DefaultRef, GitError> {
        let local = self.inner.to_thread_local();
        let exists = |name: &str| {
            local
                .try_find_reference(name)
                .ok()
                .flatten()
                .is_some_and(|mut reference| reference.peel_to_id().is_ok())
        };
        let chosen = |full_name: &str, reason| DefaultRef {
            full_name: full_name.to_owned(),
            name: short_name(full_name).to_owned(),
            reason,
        };
        if let Some(target) = self.symbolic_target("refs/remotes/origin/HEAD")
            && exists(&target)
        {
            return Ok(chosen(&target, DefaultRefReason::OriginHead));
        }
        if self.is_bare
            && let Some(target) = self.symbolic_target("HEAD")
            && exists(&target)
        {
            return Ok(chosen(&target, DefaultRefReason::BareHead));
        }
        for name in [
            "refs/heads/main",
            "refs/heads/master",
            "refs/remotes/origin/main",
            "refs/remotes/origin/master",
        ] {
            if exists(name) {
                return Ok(chosen(name, DefaultRefReason::UsualName));
            }
        }
        if exists("HEAD") {
            return Ok(chosen("HEAD", DefaultRefReason::CheckedOut));
        }
        if self.has_no_refs() {
            return Err(GitError::EmptyRepository {
                path: self.display_path().to_owned(),
            });
        }
        Err(self.unknown_ref("HEAD"))
    }

    /// What a symbolic ref points to, whether that exists or not.
    pub(super) fn symbolic_target(&self, name: &str) -> Option<String> {
        let local = self.inner.to_thread_local();
        let reference = local.try_find_reference(name).ok().flatten()?;
        match reference.target() {
            TargetRef::Symbolic(target) => Some(target.as_bstr().to_string()),
            TargetRef::Object(_) => None,
        }
    }
}

/// A full name as a person writes it: without `refs/heads/`, `refs/tags/` or `refs/remotes/`.
pub(super) fn short_name(full_name: &str) -> &str {
    ["refs/heads/", "refs/tags/", "refs/remotes/"]
        .iter()
        .find_map(|prefix| full_name.strip_prefix(prefix))
        .unwrap_or(full_name)
}
