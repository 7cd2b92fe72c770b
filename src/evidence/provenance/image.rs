//! Whether the name of an image means another one by now.

use serde::Serialize;

/// A container that runs an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Running {
    /// Its pod.
    pub pod: String,
    /// Its node.
    pub node: String,
    /// The image, as the spec names it.
    pub image: String,
    /// The image that runs, as the node names it: `NAME@sha256:…`, or the bare digest of its configuration.
    pub id: String,
    /// When it was started, in milliseconds since 1970.
    pub started_at: Option<i64>,
}

/// An image that a restart may change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ImageMoved {
    /// The image, as the spec names it.
    pub image: String,
    /// What runs.
    pub now: String,
    /// What the name means now.
    pub after: String,
    /// Who says so.
    pub because: String,
}

/// The move of a name that a pod shows which was started later and runs another image under it.
///
/// A bare digest is that of one platform's configuration, so it is compared on the same node only.
#[must_use]
pub fn moved_by(own: &Running, others: &[Running]) -> Option<ImageMoved> {
    let later = |other: &&Running| match (own.started_at, other.started_at) {
        (Some(own), Some(other)) => other > own,
        _ => false,
    };
    let is_comparable = |other: &&Running| match (digest(&own.id), digest(&other.id)) {
        (Some(_), Some(_)) => true,
        (None, None) => own.node == other.node,
        _ => false,
    };
    let newest = others
        .iter()
        .filter(|other| other.image == own.image && !other.id.is_empty() && !own.id.is_empty())
        .filter(later)
        .filter(is_comparable)
        .max_by_key(|other| other.started_at)?;
    let differs = match (digest(&own.id), digest(&newest.id)) {
        (Some(own), Some(newest)) => own != newest,
        _ => own.id != newest.id,
    };
    differs.then(|| ImageMoved {
        image: own.image.clone(),
        now: own.id.clone(),
        after: newest.id.clone(),
        because: format!("pod {}, which was started later, runs it", newest.pod),
    })
}

fn digest(id: &str) -> Option<&str> {
    id.rsplit_once('@').map(|(_, digest)| digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn running(pod: &str, id: &str, started_at: i64) -> Running {
        Running {
            pod: pod.into(),
            node: "one".into(),
            image: "shop/web:7".into(),
            id: id.into(),
            started_at: Some(started_at),
        }
    }

    #[test]
    fn a_pod_that_was_started_later_shows_that_a_tag_has_moved() {
        let own = running("a", "shop/web@sha256:1", 10);
        let moved = |others: &[Running]| moved_by(&own, others).map(|moved| moved.after);
        assert_eq!(
            moved(&[
                running("b", "shop/web@sha256:2", 11),
                running("c", "shop/web@sha256:3", 12)
            ]),
            Some("shop/web@sha256:3".to_owned())
        );
        // It was moved back.
        assert_eq!(
            moved(&[
                running("b", "shop/web@sha256:2", 11),
                running("c", "mirror/web@sha256:1", 12)
            ]),
            None
        );
        let other = |edit: fn(&mut Running)| {
            let mut other = running("b", "shop/web@sha256:2", 11);
            edit(&mut other);
            other
        };
        for control in [
            other(|other| other.started_at = Some(9)),
            other(|other| other.started_at = None),
            other(|other| other.image = "shop/web:8".into()),
            other(|other| other.id = String::new()),
            other(|other| other.id = "sha256:9".into()),
        ] {
            assert_eq!(moved(std::slice::from_ref(&control)), None, "{control:?}");
        }
    }

    #[test]
    fn bare_digests_are_compared_on_one_node_only() {
        let own = running("a", "sha256:1", 10);
        let mut other = running("b", "sha256:2", 11);
        assert!(moved_by(&own, std::slice::from_ref(&other)).is_some());
        other.node = "two".into();
        assert!(moved_by(&own, &[other]).is_none());
    }
}
