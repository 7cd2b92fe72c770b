//! Services, their endpoints and the pods of addresses, from the API server to the types of
//! [`evidence::names`](crate::evidence::names). What may not be read is a fact with its reason.

use std::{future::Future, net::IpAddr, time::Duration};

use k8s_openapi::api::{
    core::v1::{Pod, Service, ServiceSpec},
    discovery::v1::EndpointSlice,
};
use kube::{Api, ResourceExt as _, api::ListParams};
use tokio::time::timeout;

use super::Cluster;
use crate::evidence::{
    names::{Endpoint, ServiceFacts, ServiceKind},
    provenance::Lookup,
};

/// How long the API server may take for one of them.
const LIMIT: Duration = Duration::from_secs(10);

/// The Service of a name.
pub async fn service(cluster: &Cluster, namespace: &str, name: &str) -> Lookup<ServiceFacts> {
    let api: Api<Service> = Api::namespaced(cluster.client.clone(), namespace);
    match within(api.get_opt(name)).await {
        Ok(Some(service)) => Lookup::Found(facts(&service)),
        Ok(None) => Lookup::Missing,
        Err(error) => Lookup::Unreadable(format!("cannot get Service {namespace}/{name}: {error}")),
    }
}

/// The endpoints of a Service, as its `EndpointSlices` have them.
pub async fn endpoints(cluster: &Cluster, namespace: &str, service: &str) -> Lookup<Vec<Endpoint>> {
    let api: Api<EndpointSlice> = Api::namespaced(cluster.client.clone(), namespace);
    let label = format!("kubernetes.io/service-name={service}");
    match within(api.list(&ListParams::default().labels(&label))).await {
        Ok(list) => Lookup::Found(list.items.iter().flat_map(of_slice).collect()),
        Err(error) => Lookup::Unreadable(format!(
            "cannot list EndpointSlices in {namespace}: {error}"
        )),
    }
}

/// The names of the pods of a namespace that have an address.
pub async fn pods_with(cluster: &Cluster, namespace: &str, address: &str) -> Lookup<Vec<String>> {
    let api: Api<Pod> = Api::namespaced(cluster.client.clone(), namespace);
    let field = format!("status.podIP={address}");
    match within(api.list(&ListParams::default().fields(&field))).await {
        Ok(list) => Lookup::Found(list.items.iter().map(Pod::name_any).collect()),
        Err(error) => Lookup::Unreadable(format!("cannot list pods in {namespace}: {error}")),
    }
}

/// The answer, or why there is none.
async fn within<T>(asked: impl Future<Output = kube::Result<T>>) -> Result<T, String> {
    match timeout(LIMIT, asked).await {
        Ok(answer) => answer.map_err(|error| error.to_string()),
        Err(_) => Err(format!("no answer in {} s", LIMIT.as_secs())),
    }
}

fn facts(service: &Service) -> ServiceFacts {
    let spec = service.spec.clone().unwrap_or_default();
    let kind = match &spec.external_name {
        Some(name) if spec.type_.as_deref() == Some("ExternalName") => {
            ServiceKind::External(name.clone())
        }
        _ if cluster_ips(&spec).any(|address| address == "None") => ServiceKind::Headless,
        _ => ServiceKind::ClusterIp(
            cluster_ips(&spec)
                .filter_map(|address| address.parse().ok())
                .collect(),
        ),
    };
    ServiceFacts {
        kind,
        has_selector: spec.selector.is_some_and(|labels| !labels.is_empty()),
        publishes_not_ready: spec.publish_not_ready_addresses.unwrap_or_default(),
        ports: spec
            .ports
            .unwrap_or_default()
            .into_iter()
            .map(|port| {
                let protocol = port.protocol.unwrap_or_else(|| "TCP".to_owned());
                (port.name.unwrap_or_default(), protocol.to_ascii_lowercase())
            })
            .collect(),
    }
}

fn of_slice(slice: &EndpointSlice) -> Vec<Endpoint> {
    let found = members(slice).map(|member| Endpoint {
        address: member.address,
        hostname: member.hostname.map(str::to_owned),
        pod: member.pod.map(str::to_owned),
        ready: member.ready,
    });
    found.collect()
}

/// An address of an `EndpointSlice`.
pub(super) struct Member<'a> {
    pub(super) address: IpAddr,
    /// The name of its pod, in the namespace of the slice; `None` for what is no pod.
    pub(super) pod: Option<&'a str>,
    hostname: Option<&'a str>,
    ready: bool,
}

/// The addresses of an `EndpointSlice`, names (`addressType: FQDN`) left out.
pub(super) fn members(slice: &EndpointSlice) -> impl Iterator<Item = Member<'_>> {
    slice.endpoints.iter().flat_map(|one| {
        let target = one.target_ref.as_ref();
        let pod = target.filter(|target| target.kind.as_deref() == Some("Pod"));
        let pod = pod.and_then(|pod| pod.name.as_deref());
        // What is not said counts as ready (`EndpointConditions`).
        let ready = one.conditions.as_ref().and_then(|told| told.ready);
        let addresses = one.addresses.iter().filter_map(|text| text.parse().ok());
        addresses.map(move |address| Member {
            address,
            pod,
            hostname: one.hostname.as_deref(),
            ready: ready.unwrap_or(true),
        })
    })
}

/// The addresses that a Service has in the cluster, as they are written: `None` for a headless one.
pub(super) fn cluster_ips(spec: &ServiceSpec) -> impl Iterator<Item = &String> {
    let several = spec
        .cluster_ips
        .as_ref()
        .filter(|several| !several.is_empty());
    let one = spec.cluster_ip.iter().filter(move |_| several.is_none());
    several.into_iter().flatten().chain(one)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn kind(spec: &serde_json::Value) -> ServiceFacts {
        facts(&serde_json::from_value(json!({"spec": spec})).unwrap())
    }

    #[test]
    fn the_kind_of_a_service_is_read_off_its_spec() {
        let own = kind(
            &json!({"clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1", "fd00::1"], "selector": {"a": "b"},
            "ports": [{"name": "http", "port": 80}]}),
        );
        assert!(matches!(&own.kind, ServiceKind::ClusterIp(own) if own.len() == 2));
        assert!(own.has_selector);
        assert_eq!(own.ports, [("http".to_owned(), "tcp".to_owned())]);
        let headless = kind(&json!({"clusterIP": "None", "clusterIPs": ["None"]}));
        assert_eq!(headless.kind, ServiceKind::Headless);
        assert!(!headless.has_selector);
        let other = kind(&json!({"type": "ExternalName", "externalName": "db.example"}));
        assert_eq!(other.kind, ServiceKind::External("db.example".to_owned()));
    }

    #[test]
    fn endpoints_are_ready_unless_said_otherwise() {
        let slice: EndpointSlice =
            serde_json::from_value(json!({"addressType": "IPv4", "endpoints": [
                {"addresses": ["10.0.0.1"], "conditions": {"ready": false}, "hostname": "db-0",
                 "targetRef": {"kind": "Pod", "name": "db-0"}},
                {"addresses": ["10.0.0.2"]},
            ]}))
            .unwrap();
        let found = of_slice(&slice);
        assert_eq!(found.len(), 2);
        assert!(!found[0].ready && found[1].ready);
        assert_eq!(found[0].pod.as_deref(), Some("db-0"));
    }
}
