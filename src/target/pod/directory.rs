//! What a cluster knows of addresses: from the API's types to those of [`evidence::peers`](crate::evidence::peers),
//! which know nothing of an API.
//!
//! Each kind is listed for the whole cluster; who may not do that gets what the pod's namespace has, and the rest is
//! said to be unknown.

use std::{collections::BTreeMap, net::IpAddr, time::Duration};

use futures::future::join;
use jiff::Timestamp;
use k8s_openapi::{
    NamespaceResourceScope,
    api::{
        core::v1::{ConfigMap, Event, Node, Pod, Service},
        discovery::v1::EndpointSlice,
    },
    apimachinery::pkg::util::intstr::IntOrString,
};
use kube::{Api, Resource, ResourceExt as _, api::ListParams};
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use super::{
    Cluster, PodError, Verb,
    access::{GET_CONFIG_MAPS, LIST_EVENTS, LIST_NODES, LIST_PODS, LIST_SERVICES, LIST_SLICES},
    objects,
};
use crate::evidence::{
    findings::{DeclaredPort, PodFacts},
    peers::{
        Directory, EndpointAddress, Listing, NodeAddress, PastPod, PodAddress, Rewriting, Scope,
        ServiceAddress, ServicePort, TargetPort,
    },
    provenance::Lookup,
};

/// How many objects a page has.
const PAGE: u32 = 500;
/// How long the API server may take for all pages of a kind.
const LIMIT: Duration = Duration::from_secs(15);
/// Annotations in which networks say what they have for themselves in a node's range.
const INNER: [&str; 8] = [
    "network.cilium.io/ipv4-cilium-host",
    "network.cilium.io/ipv6-cilium-host",
    "network.cilium.io/ipv4-health-ip",
    "network.cilium.io/ipv6-health-ip",
    "projectcalico.org/IPv4IPIPTunnelAddr",
    "projectcalico.org/IPv4VXLANTunnelAddr",
    "projectcalico.org/IPv6VXLANTunnelAddr",
    "projectcalico.org/IPv4WireguardInterfaceAddr",
];

/// Asks the cluster for all that has an address. What may not be listed is a fact, no error.
pub async fn read(cluster: &Cluster, pod: &Pod) -> Directory {
    let objects = join(
        join(
            everywhere::<Pod>(cluster, LIST_PODS),
            everywhere::<Service>(cluster, LIST_SERVICES),
        ),
        join(
            everywhere::<EndpointSlice>(cluster, LIST_SLICES),
            pages(Api::<Node>::all(cluster.client.clone()), LIST_NODES),
        ),
    );
    let ((pods, services), (slices, nodes)) = objects.await;
    Directory {
        own: addresses_of(pod),
        pods: mapped(pods, |pod| vec![pod_address(pod)]),
        services: mapped(services, |service| vec![service_address(service)]),
        endpoints: mapped(slices, members),
        nodes: match nodes {
            Ok(nodes) => Listing::everywhere(nodes.iter().map(node_address).collect()),
            Err(error) => Listing {
                rows: Vec::new(),
                scope: Scope::Nothing(error.to_string()),
            },
        },
        past: Listing::default(),
        name_servers: Vec::new(),
    }
}

/// The pods that had one of these addresses, as events of the last time tell: those of probes name it.
pub async fn past(cluster: &Cluster, wanted: &[IpAddr], since: Duration) -> Listing<PastPod> {
    let events = everywhere::<Event>(cluster, LIST_EVENTS).await;
    let now = Timestamp::now().as_second();
    mapped(events, |event| past_pods(event, wanted, now, since))
}

/// What the network's own configuration says of rewriting; `Missing` where it says nothing.
///
/// Cilium without kube-proxy translates in `connect` (`bpf-lb-sock`), for pods too unless it is told otherwise.
pub async fn configured_rewriting(cluster: &Cluster) -> Rewriting {
    let api: Api<ConfigMap> = Api::namespaced(cluster.client.clone(), "kube-system");
    let verb = GET_CONFIG_MAPS.inside("kube-system");
    let found = match timeout(LIMIT, api.get_opt("cilium-config")).await {
        Ok(found) => found.map_err(|error| PodError::api(error, &verb).to_string()),
        Err(_) => Err(format!(
            "the API server has not answered within {LIMIT:?}: {verb}"
        )),
    };
    let does = match found {
        Ok(Some(map)) => rewrites(&map.data.unwrap_or_default()),
        Ok(None) => Lookup::Missing,
        Err(why) => Lookup::Unreadable(why),
    };
    Rewriting {
        does,
        because: "ConfigMap kube-system/cilium-config has socket-level load balancing on"
            .to_owned(),
    }
}

/// Only a yes counts: nothing says that no other part of the network does it.
fn rewrites(settings: &BTreeMap<String, String>) -> Lookup<bool> {
    let is = |key: &str, values: &[&str]| {
        settings
            .get(key)
            .is_some_and(|value| values.contains(&value.as_str()))
    };
    let is_on = is("kube-proxy-replacement", &["true", "strict", "probe"])
        || is("bpf-lb-sock", &["true"])
        || is("enable-host-reachable-services", &["true"]);
    if is_on && !is("bpf-lb-sock-hostns-only", &["true"]) {
        Lookup::Found(true)
    } else {
        Lookup::Missing
    }
}

/// What a pod declares of its ports.
pub fn pod_facts(pod: &Pod, container: &str) -> PodFacts {
    let spec = pod.spec.as_ref();
    let containers = spec.map(|spec| spec.containers.as_slice());
    let containers = containers.unwrap_or_default();
    let sidecars = spec.and_then(|spec| spec.init_containers.as_deref());
    // An init container that stays is a sidecar.
    let sidecars = sidecars
        .unwrap_or_default()
        .iter()
        .filter(|container| container.restart_policy.as_deref() == Some("Always"));
    let all: Vec<_> = containers.iter().chain(sidecars).collect();
    let started = super::declared::started_at(pod, container);
    let running = started.map(|started| Timestamp::now().as_millisecond() - started);
    PodFacts {
        namespace: pod.namespace().unwrap_or_default(),
        name: pod.name_any(),
        addresses: addresses_of(pod),
        labels: pod.labels().clone(),
        host_network: has_host_network(pod),
        ports: all
            .iter()
            .flat_map(|container| {
                let ports = container.ports.iter().flatten();
                ports.filter_map(|port| {
                    Some(DeclaredPort {
                        container: container.name.clone(),
                        name: port.name.clone().unwrap_or_default(),
                        number: u16::try_from(port.container_port).ok()?,
                        protocol: port.protocol.clone().unwrap_or_default(),
                    })
                })
            })
            .collect(),
        containers: all.iter().map(|container| container.name.clone()).collect(),
        running: running.and_then(|running| u64::try_from(running / 1000).ok()),
    }
}

/// Objects of a kind from the whole cluster, or from the one namespace where that is not allowed.
async fn everywhere<K>(cluster: &Cluster, verb: Verb) -> (Vec<K>, Scope)
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
        + Clone
        + DeserializeOwned
        + std::fmt::Debug,
{
    let why = match pages(Api::<K>::all(cluster.client.clone()), verb.clone()).await {
        Ok(all) => return (all, Scope::Everywhere),
        Err(error) => error.to_string(),
    };
    let own = Api::namespaced(cluster.client.clone(), &cluster.namespace);
    match pages(own, verb.inside(&cluster.namespace)).await {
        Ok(some) => (some, Scope::Namespace(why)),
        Err(error) => (Vec::new(), Scope::Nothing(error.to_string())),
    }
}

/// All pages of a list.
async fn pages<K>(api: Api<K>, verb: Verb) -> Result<Vec<K>, PodError>
where
    K: Clone + DeserializeOwned + std::fmt::Debug,
{
    let mut parameters = ListParams::default().limit(PAGE);
    let all = async {
        let mut objects = Vec::new();
        loop {
            let page = api.list(&parameters).await?;
            objects.extend(page.items);
            match page.metadata.continue_.filter(|next| !next.is_empty()) {
                Some(next) => parameters = ListParams::default().limit(PAGE).continue_token(&next),
                None => return Ok(objects),
            }
        }
    };
    match timeout(LIMIT, all).await {
        Ok(objects) => objects.map_err(|error| PodError::api(error, &verb)),
        Err(_) => Err(PodError::Api {
            verb,
            message: format!("the API server has not answered within {LIMIT:?}"),
        }),
    }
}

fn mapped<K, T>((objects, scope): (Vec<K>, Scope), row: impl Fn(&K) -> Vec<T>) -> Listing<T> {
    Listing {
        rows: objects.iter().flat_map(row).collect(),
        scope,
    }
}

fn has_host_network(pod: &Pod) -> bool {
    let spec = pod.spec.as_ref();
    spec.and_then(|spec| spec.host_network).unwrap_or_default()
}

fn addresses_of(pod: &Pod) -> Vec<IpAddr> {
    let Some(status) = &pod.status else {
        return Vec::new();
    };
    let several = status.pod_ips.iter().flatten().map(|ip| &ip.ip);
    parsed(several.chain(&status.pod_ip))
}

/// Those of the texts that are addresses, each once.
fn parsed<'a>(texts: impl IntoIterator<Item = &'a String>) -> Vec<IpAddr> {
    let mut addresses: Vec<IpAddr> = texts
        .into_iter()
        .filter_map(|text| text.parse().ok())
        .collect();
    addresses.sort_unstable();
    addresses.dedup();
    addresses
}

/// `namespace/name`.
fn full_name<K: Resource>(object: &K) -> String {
    format!(
        "{}/{}",
        object.namespace().unwrap_or_default(),
        object.name_any()
    )
}

fn pod_address(pod: &Pod) -> PodAddress {
    let phase = pod
        .status
        .as_ref()
        .and_then(|status| status.phase.as_deref());
    PodAddress {
        name: full_name(pod),
        addresses: addresses_of(pod),
        host_network: has_host_network(pod),
        has_ended: matches!(phase, Some("Succeeded" | "Failed")),
    }
}

fn service_address(service: &Service) -> ServiceAddress {
    let spec = service.spec.clone().unwrap_or_default();
    let balancers = service
        .status
        .iter()
        .filter_map(|status| status.load_balancer.as_ref())
        .flat_map(|balancer| balancer.ingress.iter().flatten())
        .filter_map(|ingress| ingress.ip.as_ref());
    let addresses = objects::cluster_ips(&spec)
        .chain(spec.external_ips.iter().flatten())
        .chain(balancers);
    ServiceAddress {
        namespace: service.namespace().unwrap_or_default(),
        name: full_name(service),
        // A headless Service has the address `None`, which is none.
        addresses: parsed(addresses),
        selector: spec.selector.unwrap_or_default(),
        ports: spec
            .ports
            .iter()
            .flatten()
            .map(|port| ServicePort {
                number: u16::try_from(port.port).unwrap_or_default(),
                protocol: port.protocol.clone().unwrap_or_default(),
                target: match &port.target_port {
                    Some(IntOrString::String(name)) => match name.parse() {
                        Ok(number) => TargetPort::Number(number),
                        Err(_) => TargetPort::Name(name.clone()),
                    },
                    Some(IntOrString::Int(number)) => {
                        TargetPort::Number(u16::try_from(*number).unwrap_or_default())
                    }
                    None => TargetPort::Number(u16::try_from(port.port).unwrap_or_default()),
                },
            })
            .collect(),
    }
}

fn members(slice: &EndpointSlice) -> Vec<EndpointAddress> {
    let namespace = slice.namespace().unwrap_or_default();
    let Some(service) = slice.labels().get("kubernetes.io/service-name") else {
        return Vec::new();
    };
    let ports: Vec<u16> = slice
        .ports
        .iter()
        .flatten()
        .filter_map(|port| u16::try_from(port.port?).ok())
        .collect();
    let members = objects::members(slice).map(|member| EndpointAddress {
        service: format!("{namespace}/{service}"),
        address: member.address,
        ports: ports.clone(),
        pod: member.pod.map(|name| format!("{namespace}/{name}")),
    });
    members.collect()
}

fn node_address(node: &Node) -> NodeAddress {
    let status = node.status.as_ref();
    let addresses = status
        .iter()
        .flat_map(|status| status.addresses.iter().flatten())
        .map(|address| &address.address);
    let spec = node.spec.as_ref();
    let mut ranges: Vec<&String> = spec
        .iter()
        .flat_map(|spec| spec.pod_cidrs.iter().flatten().chain(&spec.pod_cidr))
        .collect();
    ranges.dedup();
    NodeAddress {
        name: node.name_any(),
        addresses: parsed(addresses),
        inner: parsed(INNER.iter().filter_map(|key| node.annotations().get(*key))),
        ranges: ranges.iter().filter_map(|text| text.parse().ok()).collect(),
    }
}

/// The pod of an event that names one of the addresses.
fn past_pods(event: &Event, wanted: &[IpAddr], now: i64, since: Duration) -> Vec<PastPod> {
    let object = &event.involved_object;
    if object.kind.as_deref() != Some("Pod") {
        return Vec::new();
    }
    let series = event.series.as_ref();
    let last = series
        .and_then(|series| series.last_observed_time.as_ref())
        .or(event.event_time.as_ref())
        .map(|time| time.0.as_second());
    let last = last.max(event.last_timestamp.as_ref().map(|time| time.0.as_second()));
    let ago = last.map(|last| u64::try_from(now - last).unwrap_or_default());
    if ago.is_some_and(|ago| ago > since.as_secs()) {
        return Vec::new();
    }
    let message = event.message.as_deref().unwrap_or_default();
    let name = format!(
        "{}/{}",
        object.namespace.as_deref().unwrap_or_default(),
        object.name.as_deref().unwrap_or_default()
    );
    let reason = event.reason.as_deref().unwrap_or_default();
    addresses_in(message)
        .into_iter()
        .filter(|address| wanted.contains(address))
        .map(|address| PastPod {
            name: name.clone(),
            address,
            ago,
            because: format!("event {reason} names it"),
        })
        .collect()
}

/// The addresses in the words of a message: `dial tcp 10.1.2.3:8080: connect: refused`, `http://[fd00::1]:80/`.
fn addresses_in(message: &str) -> Vec<IpAddr> {
    let is_other = |letter: char| !(letter.is_ascii_hexdigit() || letter == '.' || letter == ':');
    let mut found = Vec::new();
    for word in message.split(is_other) {
        let word = word.trim_matches([':', '.']);
        let without_port = word.rsplit_once(':').map_or(word, |(host, _)| host);
        if let Ok(address) = word.parse().or_else(|_| without_port.parse())
            && !found.contains(&address)
        {
            found.push(address);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object<T: DeserializeOwned>(value: serde_json::Value) -> T {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn a_headless_service_has_no_address_and_a_named_port_keeps_its_name() {
        let service: Service = object(json!({
            "metadata": {"name": "db", "namespace": "shop"},
            "spec": {"clusterIP": "None", "clusterIPs": ["None"], "selector": {"app": "db"}, "ports": [
                {"port": 80, "targetPort": "http"}, {"port": 81, "targetPort": 8081}, {"port": 82},
            ]},
        }));
        let row = service_address(&service);
        assert_eq!(row.name, "shop/db");
        assert!(row.addresses.is_empty());
        let targets: Vec<_> = row.ports.into_iter().map(|port| port.target).collect();
        assert_eq!(
            targets,
            [
                TargetPort::Name("http".to_owned()),
                TargetPort::Number(8081),
                TargetPort::Number(82)
            ]
        );
    }

    #[test]
    fn a_slice_gives_its_members_with_their_pods() {
        let slice: EndpointSlice = object(json!({
            "metadata": {"name": "db-x", "namespace": "shop", "labels": {"kubernetes.io/service-name": "db"}},
            "addressType": "IPv4",
            "ports": [{"port": 5432}],
            "endpoints": [
                {"addresses": ["10.1.0.6"], "targetRef": {"kind": "Pod", "name": "db-0"}},
                {"addresses": ["192.168.0.9"]},
            ],
        }));
        let rows = members(&slice);
        assert_eq!(rows[0].pod.as_deref(), Some("shop/db-0"));
        assert_eq!(
            (rows[1].pod.as_deref(), rows[1].ports.as_slice()),
            (None, &[5432][..])
        );
        assert_eq!(rows[1].service, "shop/db");
    }

    #[test]
    fn a_node_has_ranges_and_what_its_network_has_in_them() {
        let node: Node = object(json!({
            "metadata": {"name": "n", "annotations": {"network.cilium.io/ipv4-cilium-host": "10.1.0.77"}},
            "spec": {"podCIDR": "10.1.0.0/24", "podCIDRs": ["10.1.0.0/24", "fd00::/64"]},
            "status": {"addresses": [{"type": "InternalIP", "address": "192.168.0.2"}, {"type": "Hostname", "address": "n"}]},
        }));
        let row = node_address(&node);
        assert_eq!(row.addresses, ["192.168.0.2".parse::<IpAddr>().unwrap()]);
        assert_eq!(row.inner, ["10.1.0.77".parse::<IpAddr>().unwrap()]);
        assert!(
            row.ranges
                .iter()
                .any(|range| range.to_string() == "fd00::/64")
        );
    }

    #[test]
    fn events_of_probes_name_the_address_of_a_pod_that_is_gone() {
        let now = Timestamp::now();
        let event: Event = object(json!({
            "metadata": {"name": "e", "namespace": "shop"},
            "involvedObject": {"kind": "Pod", "namespace": "shop", "name": "web-1"},
            "reason": "Unhealthy",
            "message": "Readiness probe failed: Get \"http://10.1.0.9:8080/healthz\": dial tcp 10.1.0.9:8080: connect: connection refused",
            "lastTimestamp": now.to_string(),
        }));
        let wanted = ["10.1.0.9".parse().unwrap()];
        let hour = Duration::from_hours(1);
        let past = past_pods(&event, &wanted, now.as_second() + 60, hour);
        assert_eq!(
            (past[0].name.as_str(), past[0].ago),
            ("shop/web-1", Some(60))
        );
        assert_eq!(past_pods(&event, &wanted, now.as_second() + 7200, hour), []);
        assert_eq!(
            past_pods(
                &event,
                &["10.1.0.1".parse().unwrap()],
                now.as_second(),
                hour
            ),
            []
        );
        assert_eq!(
            addresses_in("http://[fd00::1]:80/ and 10.1.0.9."),
            [
                "fd00::1".parse::<IpAddr>().unwrap(),
                "10.1.0.9".parse().unwrap()
            ]
        );
    }

    #[test]
    fn only_a_yes_of_cilium_counts() {
        let settings = |pairs: &[(&str, &str)]| {
            let pairs = pairs.iter();
            rewrites(
                &pairs
                    .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                    .collect(),
            )
        };
        assert_eq!(
            settings(&[("kube-proxy-replacement", "true")]),
            Lookup::Found(true)
        );
        assert_eq!(settings(&[("bpf-lb-sock", "true")]), Lookup::Found(true));
        assert_eq!(
            settings(&[("bpf-lb-sock", "true"), ("bpf-lb-sock-hostns-only", "true")]),
            Lookup::Missing
        );
        assert_eq!(
            settings(&[("kube-proxy-replacement", "false")]),
            Lookup::Missing
        );
    }
}
