//! Which image an agent's container can have on a node.

use k8s_openapi::api::core::v1::Node;
use kube::Api;

use super::Cluster;

/// Images that are known to have a shell, by the last part of their name.
const WITH_SHELL: [&str; 10] = [
    "busybox",
    "alpine",
    "toybox",
    "debian",
    "ubuntu",
    "fedora",
    "rockylinux",
    "bash",
    "netshoot",
    "toolbox",
];

/// Whether an image is one of kdbg's own, wherever it was copied to.
pub(super) fn is_own(image: &str) -> bool {
    base_name(image) == "kdbg-agent"
}

/// The last part of an image's name, without tag and digest.
fn base_name(image: &str) -> &str {
    let name = image.rsplit('/').next().unwrap_or(image);
    name.split([':', '@']).next().unwrap_or(name)
}

/// An image that a node has already and that will do: one of kdbg's own, else one with a shell. `None` when there is
/// none, or when this account may not look at nodes.
pub(super) async fn on_node(cluster: &Cluster, node: &str) -> Option<String> {
    let nodes: Api<Node> = Api::all(cluster.client.clone());
    let node = match nodes.get(node).await {
        Ok(node) => node,
        Err(error) => {
            tracing::debug!(%error, "the node's images cannot be listed");
            return None;
        }
    };
    let images = node.status?.images.unwrap_or_default();
    let names: Vec<String> = images
        .into_iter()
        .flat_map(|image| image.names.unwrap_or_default())
        .collect();
    choose(&names)
}

fn choose(names: &[String]) -> Option<String> {
    // A name with a tag first: a bare digest says nothing to whoever reads the pod later.
    let mut names: Vec<_> = names.iter().collect();
    names.sort_by_key(|name| name.contains('@'));
    let with_shell = |name: &&&String| WITH_SHELL.contains(&base_name(name));
    names
        .iter()
        .find(|name| is_own(name))
        .or_else(|| names.iter().find(with_shell))
        .map(|name| (*name).clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_known_by_its_last_name_wherever_it_was_copied() {
        assert!(is_own("kdbg-agent"));
        assert!(is_own("registry.example:5000/tools/kdbg-agent:1.2"));
        assert!(is_own("registry.example/kdbg-agent@sha256:00"));
        assert!(!is_own("registry.example/kdbg-agent-tools:1"));
        assert!(!is_own("kdbg-agent.example/other"));
    }

    #[test]
    fn our_own_image_is_better_than_one_that_only_has_a_shell() {
        let names = |names: &[&str]| -> Vec<String> {
            names.iter().map(|name| (*name).to_owned()).collect()
        };
        assert_eq!(
            choose(&names(&[
                "docker.io/library/alpine:3",
                "mirror/kdbg-agent@sha256:00",
                "mirror/kdbg-agent:1"
            ])),
            Some("mirror/kdbg-agent:1".to_owned())
        );
        assert_eq!(
            choose(&names(&["shop/web:7", "docker.io/library/alpine:3"])),
            Some("docker.io/library/alpine:3".to_owned())
        );
        assert_eq!(choose(&names(&["shop/web:7"])), None);
    }
}
