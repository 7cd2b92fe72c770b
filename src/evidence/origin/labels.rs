//! Labels and annotations of an image, as a registry or the node tells them.
//!
//! An image inherits the labels of the image that it is built on, so a revision may be of another repository
//! altogether; the repository that is named beside it tells.

use super::{Claim, Kind, Says, revision};

/// Labels that hold a commit, each with the one beside it that names the repository.
const COMMITS: [(&str, &str); 4] = [
    (
        "org.opencontainers.image.revision",
        "org.opencontainers.image.source",
    ),
    ("org.label-schema.vcs-ref", "org.label-schema.vcs-url"),
    ("vcs-ref", "url"),
    (
        "io.openshift.build.commit.id",
        "io.openshift.build.source-location",
    ),
];

/// The claims of an image's labels.
#[must_use]
pub fn claims(labels: &[(String, String)]) -> Vec<Claim> {
    let find = |wanted: &str| {
        let found = labels.iter().find(|(name, _)| name == wanted);
        found.map(|(_, value)| value.as_str())
    };
    COMMITS
        .iter()
        .filter_map(|(commit, source)| {
            Some(Claim {
                kind: Kind::Label,
                source: (*commit).into(),
                says: Says::Commit {
                    revision: revision(find(commit)?)?,
                    modified: None,
                    repository: find(source).map(str::to_owned),
                },
            })
        })
        .collect()
}

/// The claim of an image's tag, when that is the name of a commit, as many pipelines have it.
#[must_use]
pub fn tag(image: &str) -> Option<Claim> {
    let name = image.split('@').next()?;
    // A colon before the last slash is that of a port.
    let (_, tag) = name.rsplit('/').next()?.rsplit_once(':')?;
    let commit = ["sha-", "git-", "g"]
        .iter()
        .find_map(|prefix| revision(tag.strip_prefix(prefix)?))
        .or_else(|| revision(tag))
        // Seven digits without a letter are a date or a build number rather than a commit.
        .filter(|commit| commit.bytes().any(|byte| byte.is_ascii_alphabetic()))?;
    Some(Claim {
        kind: Kind::Label,
        source: image.into(),
        says: Says::Commit {
            revision: commit,
            modified: None,
            repository: None,
        },
    })
}

/// Whether two addresses mean the same repository, however it is fetched.
#[must_use]
pub fn is_same_repository(left: &str, right: &str) -> bool {
    address(left) == address(right)
}

/// `git@host:a/b.git`, `git+https://user@host/a/b`, `ssh://host:22/a/b/`: host and path in lower case.
fn address(url: &str) -> String {
    let url = url.trim().to_ascii_lowercase();
    let url = url.split(['#', '?']).next().unwrap_or_default();
    let (scheme, rest) = match url.split_once("://") {
        Some((scheme, rest)) => (Some(scheme), rest),
        None => (None, url),
    };
    let authority_end = rest.find('/').unwrap_or(rest.len());
    let rest = match rest.find('@') {
        Some(at) if at < authority_end => rest.get(at + 1..).unwrap_or_default(),
        _ => rest,
    };
    let path = if scheme.is_none() {
        // `host:a/b`, as ssh has it.
        rest.replacen(':', "/", 1)
    } else {
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        let host = host.split(':').next().unwrap_or_default();
        format!("{host}/{path}")
    };
    let path = path.trim_end_matches('/');
    path.strip_suffix(".git").unwrap_or(path).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repository_is_the_same_by_every_way_to_it() {
        let all = [
            "https://git.example/a/b",
            "git@git.example:a/b.git",
            "ssh://git@git.example:22/a/b/",
            "git+https://user@GIT.example/a/b.git#main",
        ];
        for left in all {
            for right in all {
                assert!(is_same_repository(left, right), "{left} {right}");
            }
            assert!(
                !is_same_repository(left, "https://git.example/a/base"),
                "{left}"
            );
        }
    }

    #[test]
    fn a_tag_that_is_the_name_of_a_commit_is_a_claim() {
        let commit = |image: &str| match tag(image)?.says {
            Says::Commit { revision, .. } => Some(revision),
            _ => None,
        };
        assert_eq!(commit("host:5000/shop:90940f6").as_deref(), Some("90940f6"));
        assert_eq!(
            commit("shop:sha-90940f6@sha256:00").as_deref(),
            Some("90940f6")
        );
        for other in [
            "host:5000/shop",
            "shop:20241121",
            "shop:1.2.3",
            "shop@sha256:90940f68",
            "shop:latest",
        ] {
            assert_eq!(commit(other), None, "{other}");
        }
    }

    #[test]
    fn a_revision_is_told_with_its_repository() {
        let labels = [
            (
                "org.opencontainers.image.revision",
                "90940f68bdc22959c67e74599936805de6a43c4d",
            ),
            (
                "org.opencontainers.image.source",
                "https://git.example/base",
            ),
        ];
        let labels = labels.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert!(
            matches!(&claims(&labels)[..], [Claim { says: Says::Commit { repository: Some(url), .. }, .. }] if url.ends_with("base"))
        );
        assert_eq!(
            claims(&[(
                "org.opencontainers.image.revision".to_owned(),
                "main".to_owned()
            )]),
            []
        );
    }
}
