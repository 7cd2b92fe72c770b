//! Whose addresses are: what the cluster of a pod says, and the target's own `resolv.conf`.

use std::net::IpAddr;

use crate::{
    commands::facts,
    evidence::peers::Directory,
    target::{Place, Target, pod::directory},
};

/// The most that is read of a `resolv.conf`.
const LIMIT: usize = 64 * 1024;

/// What the cluster says of addresses now; nothing where there is none.
pub(super) async fn of_cluster(target: &Target) -> Directory {
    match &target.place {
        Place::Machine(_) => Directory::default(),
        Place::Pod(place) => directory::read(&place.cluster, &place.object).await,
    }
}

/// Takes what the cluster says, and reads which servers the target asks for names.
pub(super) async fn directory(
    target: &Target,
    of_cluster: impl Future<Output = Directory>,
) -> Directory {
    let (mut directory, name_servers) = tokio::join!(of_cluster, name_servers(target));
    directory.name_servers = name_servers;
    directory
}

/// The servers in the target's `resolv.conf`; none when it cannot be read, which only leaves a word out.
async fn name_servers(target: &Target) -> Vec<IpAddr> {
    let content = facts::read(target, "/etc/resolv.conf".into(), LIMIT).await;
    let content = content.unwrap_or_default();
    String::from_utf8_lossy(&content)
        .lines()
        .filter_map(|line| line.trim().strip_prefix("nameserver"))
        .filter_map(|rest| rest.split_whitespace().next()?.parse().ok())
        .collect()
}
