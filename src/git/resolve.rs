//! From what a person calls a version to the commit it means.
//!
//! The rules are those of `git rev-parse`, with one addition: a branch that exists only in a remote is found
//! by its bare name, which is how people talk about branches, and the answer says so. Nothing here reaches a
//! command line, so a name that begins with a dash is only a name.

use bstr::{BStr, BString, ByteSlice as _};
use gix::revision::spec::parse::{Error as ParseError, ObjectKindHint, Options, RefsHint};

use super::default_ref::short_name;
use super::error::GitError;
use super::near;
use super::object_id;
use super::repository::Repository;
use crate::object::ObjectId;

/// A tag may point to a tag; a longer chain than this is a trap.
const TAG_CHAIN: usize = 64;
/// The most objects that an error lists for an ambiguous id.
const LISTED: usize = 8;
/// So many digits abbreviate an id when the repository cannot be asked for a number.
const SHORT: usize = 7;

/// What a ref resolved to: a commit, or a bare tree when the ref names one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    /// The commit's name, or the tree's when the ref names a tree.
    pub id: ObjectId,
    /// The beginning of the name that fits no other object.
    pub short_id: String,
    /// The tree that is compared.
    pub tree: ObjectId,
    /// The first line of the commit's message, as bytes.
    pub summary: Option<BString>,
    /// When it was committed, in seconds since 1970.
    pub time: Option<i64>,
    /// The ref that was found, in full, when the ref was a name.
    pub reference: Option<String>,
    /// Something about the choice that the user should know, as a sentence.
    pub notice: Option<String>,
}

impl Repository {
    /// Finds the commit that `spec` means.
    ///
    /// Takes what `git rev-parse` takes for one commit: branches, tags, `origin/x`, full names such as
    /// `refs/pull/7/head`, ids in full or abbreviated, and `~2`, `^`, `^{}` behind any of them; also a tree,
    /// by id or as `REF:folder`. A name that exists only in one remote is found without the remote's name.
    pub fn resolve(&self, spec: &str) -> Result<Commit, GitError> {
        match self.parse(spec) {
            Ok((id, reference)) => self.commit(spec, id, reference, self.ambiguity(spec)),
            Err(error) if error.missing_reference => self.resolve_in_remotes(spec),
            Err(error) => Err(self.resolve_error(spec, error.source)),
        }
    }

    /// A name that is a tag and a branch is the tag, in git too, which warns of it.
    fn ambiguity(&self, spec: &str) -> Option<String> {
        let (name, _) = split_suffix(spec);
        let local = self.inner.to_thread_local();
        let find = |folder: &str| {
            let reference = local
                .try_find_reference(&format!("refs/{folder}/{name}"))
                .ok()
                .flatten();
            reference
                .and_then(|mut reference| reference.peel_to_id().ok())
                .map(|id| object_id(&id))
        };
        let (tag, branch) = (find("tags")?, find("heads")?);
        (tag != branch).then(|| {
            format!(
                "`{name}` is a tag and a branch: the tag is taken; the branch is `heads/{name}`"
            )
        })
    }

    fn parse(&self, spec: &str) -> Result<(ObjectId, Option<String>), ParseFailure> {
        let local = self.inner.to_thread_local();
        let options = Options {
            refs_hint: RefsHint::default(),
            // Of an abbreviation that fits a commit and a file, git takes the commit.
            object_kind_hint: Some(ObjectKindHint::Committish),
        };
        let parsed =
            gix::revision::Spec::from_bstr(BStr::new(spec), &local, options).map_err(|source| {
                ParseFailure {
                    missing_reference: is_missing_reference(&source),
                    source: ParseSource::Library(source),
                }
            })?;
        let reference = parsed
            .first_reference()
            .map(|reference| reference.name.as_bstr().to_string());
        match parsed.single() {
            Some(id) => Ok((object_id(&id), reference)),
            None => Err(ParseFailure {
                missing_reference: false,
                source: ParseSource::Range,
            }),
        }
    }

    /// Looks for a bare name below `refs/remotes/`, `origin` first.
    fn resolve_in_remotes(&self, spec: &str) -> Result<Commit, GitError> {
        let (name, suffix) = split_suffix(spec);
        let local = self.inner.to_thread_local();
        let remotes = local.remote_names();
        let is_remote = |remote: &str| {
            !remote.is_empty()
                && (!remote.contains('/')
                    || remotes
                        .iter()
                        .any(|known| known.as_bytes() == remote.as_bytes()))
        };
        let mut matches: Vec<String> = self
            .ref_names("refs/remotes/")?
            .into_iter()
            .filter(|full| {
                full.strip_prefix("refs/remotes/")
                    .and_then(|rest| rest.strip_suffix(name)?.strip_suffix('/'))
                    // `login` is the end of `origin/feature/login`, and no branch of a remote `origin/feature`.
                    .is_some_and(|remote| !name.is_empty() && is_remote(remote))
            })
            .collect();
        let origin = format!("refs/remotes/origin/{name}");
        if matches.contains(&origin) {
            matches = vec![origin];
        }
        match matches.as_slice() {
            [] => Err(self.unknown_ref(spec)),
            [full] => {
                let (id, _) = self
                    .parse(&format!("{full}{suffix}"))
                    .map_err(|error| self.resolve_error(spec, error.source))?;
                let notice = format!(
                    "`{name}` is no branch or tag here, taken from the remote branch `{}`",
                    short_name(full)
                );
                self.commit(spec, id, Some(full.clone()), Some(notice))
            }
            several => Err(GitError::AmbiguousRemote {
                spec: spec.to_owned(),
                candidates: several
                    .iter()
                    .map(|full| short_name(full).to_owned())
                    .collect(),
            }),
        }
    }

    fn commit(
        &self,
        spec: &str,
        id: ObjectId,
        reference: Option<String>,
        notice: Option<String>,
    ) -> Result<Commit, GitError> {
        let reader = self.reader();
        let mut id = id;
        let mut content = Vec::new();
        for _ in 0..TAG_CHAIN {
            match reader.read(&id, &mut content)? {
                gix::objs::Kind::Tag => {
                    let kind = super::blob::library_kind(self.hash_kind);
                    let tag = gix::objs::TagRef::from_bytes(&content, kind)
                        .map_err(|error| self.corrupt(id, error))?;
                    id = object_id(&tag.target());
                }
                gix::objs::Kind::Commit => {
                    let kind = super::blob::library_kind(self.hash_kind);
                    let commit = gix::objs::CommitRef::from_bytes(&content, kind)
                        .map_err(|error| self.corrupt(id, error))?;
                    return Ok(Commit {
                        id,
                        short_id: self.short_id(&id),
                        tree: object_id(&commit.tree()),
                        summary: Some(commit.message().summary().into_owned()),
                        time: commit.committer().ok().map(|signature| signature.seconds()),
                        reference,
                        notice,
                    });
                }
                gix::objs::Kind::Tree => {
                    return Ok(Commit {
                        id,
                        short_id: self.short_id(&id),
                        tree: id,
                        summary: None,
                        time: None,
                        reference,
                        notice,
                    });
                }
                gix::objs::Kind::Blob => {
                    return Err(GitError::NotATree {
                        spec: spec.to_owned(),
                        kind: "blob".to_owned(),
                    });
                }
            }
        }
        Err(GitError::NotATree {
            spec: spec.to_owned(),
            kind: "tag of tags without end".to_owned(),
        })
    }

    fn short_id(&self, id: &ObjectId) -> String {
        use gix::prelude::ObjectIdExt as _;
        let local = self.inner.to_thread_local();
        gix::oid::try_from_bytes(id.as_bytes())
            .ok()
            .and_then(|name| name.to_owned().attach(&local).shorten().ok())
            .map_or_else(
                || id.to_string().chars().take(SHORT).collect(),
                |prefix| prefix.to_string(),
            )
    }

    /// The error for a name that nothing has; an empty repository gets its own.
    pub(super) fn unknown_ref(&self, spec: &str) -> GitError {
        let path = self.display_path().to_owned();
        if self.has_no_refs() {
            return GitError::EmptyRepository { path };
        }
        let wanted = split_suffix(spec).0;
        // Thousands of pull requests are noise unless one was asked for.
        let names: Vec<String> = self
            .ref_names("refs/")
            .unwrap_or_default()
            .into_iter()
            .filter(|full| short_name(full) != full || wanted.starts_with("refs/"))
            .collect();
        let shown = |full: &str| {
            if wanted.starts_with("refs/") {
                full.to_owned()
            } else {
                short_name(full).to_owned()
            }
        };
        let short: Vec<String> = names.iter().map(|full| shown(full)).collect();
        let candidates = near::nearest(wanted.as_bytes(), short.iter().map(String::as_bytes))
            .into_iter()
            .map(|name| name.to_str_lossy().into_owned())
            .collect();
        GitError::UnknownRef {
            spec: spec.to_owned(),
            path,
            candidates,
            shallow: self.is_shallow(),
        }
    }

    pub(super) fn has_no_refs(&self) -> bool {
        self.ref_names("refs/").is_ok_and(|names| names.is_empty())
            && self.inner.to_thread_local().head_id().is_err()
    }

    /// The full names of all refs below a prefix. Broken ones are left out.
    fn ref_names(&self, prefix: &str) -> Result<Vec<String>, GitError> {
        let failed = |source: gix::Error| GitError::ListRefs {
            path: self.display_path().to_owned(),
            source: source.into(),
        };
        let local = self.inner.to_thread_local();
        let platform = local.references().map_err(failed)?;
        let names = platform
            .prefixed(prefix.as_bytes())
            .map_err(failed)?
            .filter_map(Result::ok)
            .map(|reference| reference.name().as_bstr().to_string())
            .collect();
        Ok(names)
    }

    /// The object that a ref names and the repository lacks.
    fn missing_target(&self, spec: &str) -> Option<ObjectId> {
        let local = self.inner.to_thread_local();
        let reference = local.try_find_reference(split_suffix(spec).0).ok()??;
        let id = match reference.target() {
            gix::refs::TargetRef::Object(id) => id.to_owned(),
            gix::refs::TargetRef::Symbolic(_) => reference.follow()?.ok()?.try_id()?.detach(),
        };
        (!local.has_object(id)).then(|| object_id(&id))
    }

    fn resolve_error(&self, spec: &str, source: ParseSource) -> GitError {
        let ParseSource::Library(error) = source else {
            return GitError::Unresolvable {
                spec: spec.to_owned(),
                shallow: false,
                source: "it names a range, not one commit".into(),
            };
        };
        for cause in error.iter_errors() {
            match cause.downcast_ref::<ParseError>() {
                Some(ParseError::AmbiguousPrefix { candidates, .. }) => {
                    let candidates = candidates
                        .iter()
                        .take(LISTED)
                        .map(|(id, info)| format!("{id} ({info})"))
                        .collect();
                    return GitError::AmbiguousId {
                        spec: spec.to_owned(),
                        candidates,
                    };
                }
                Some(ParseError::MissingReference { .. }) => return self.unknown_ref(spec),
                _ => {}
            }
        }
        if let Some(id) = self.missing_target(spec) {
            return self.missing(id);
        }
        GitError::Unresolvable {
            spec: spec.to_owned(),
            shallow: self.is_shallow(),
            source: error.into(),
        }
    }
}

struct ParseFailure {
    missing_reference: bool,
    source: ParseSource,
}

enum ParseSource {
    Library(gix::Error),
    Range,
}

fn is_missing_reference(error: &gix::Error) -> bool {
    error.iter_errors().any(|cause| {
        matches!(
            cause.downcast_ref::<ParseError>(),
            Some(ParseError::MissingReference { .. })
        )
    })
}

/// Splits `name~2`, `name^{tree}`, `name@{1}` and `name:path` behind the name.
fn split_suffix(spec: &str) -> (&str, &str) {
    let end = [spec.find(['~', '^', ':']), spec.find("@{")]
        .into_iter()
        .flatten()
        .min()
        .unwrap_or(spec.len());
    spec.split_at(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_follows_a_name_is_kept_apart() {
        assert_eq!(split_suffix("topic~2^{tree}"), ("topic", "~2^{tree}"));
        assert_eq!(split_suffix("topic@{1}"), ("topic", "@{1}"));
        assert_eq!(split_suffix("feature/x"), ("feature/x", ""));
        assert_eq!(split_suffix("HEAD:src"), ("HEAD", ":src"));
        assert_eq!(split_suffix("user@host"), ("user@host", ""));
    }
}
