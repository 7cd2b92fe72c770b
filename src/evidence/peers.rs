//! Who an address belongs to, by the objects of a cluster.
//!
//! An address without an object is only said to have no owner when all objects that could have it were listed, and
//! when it lies in a range from which pods get theirs: everything else is outside, or not known.

use std::{
    collections::{BTreeMap, HashMap},
    net::{IpAddr, SocketAddr},
    str::FromStr,
};

use super::provenance::Lookup;

/// What a cluster knows of addresses.
#[derive(Clone, Debug, Default)]
pub struct Directory {
    /// The target's own addresses.
    pub own: Vec<IpAddr>,
    /// Pods.
    pub pods: Listing<PodAddress>,
    /// Services.
    pub services: Listing<ServiceAddress>,
    /// Members of `EndpointSlice`s.
    pub endpoints: Listing<EndpointAddress>,
    /// Nodes.
    pub nodes: Listing<NodeAddress>,
    /// Pods that had an address and are gone, as events tell.
    pub past: Listing<PastPod>,
    /// The servers in the target's `resolv.conf`.
    pub name_servers: Vec<IpAddr>,
}

/// Objects of a kind, as far as they could be listed.
#[derive(Clone, Debug)]
pub struct Listing<T> {
    /// The objects.
    pub rows: Vec<T>,
    /// Of which part of the cluster.
    pub scope: Scope,
}

/// Which part of a cluster was listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All of it.
    Everywhere,
    /// One namespace, and why not all.
    Namespace(String),
    /// Nothing, and why.
    Nothing(String),
}

impl<T> Default for Listing<T> {
    fn default() -> Self {
        Self {
            rows: Vec::new(),
            scope: Scope::Nothing("it was not asked for".to_owned()),
        }
    }
}

impl<T> Listing<T> {
    /// All objects of the cluster.
    pub const fn everywhere(rows: Vec<T>) -> Self {
        Self {
            rows,
            scope: Scope::Everywhere,
        }
    }

    /// Why some are not known.
    pub fn missing(&self) -> Option<&str> {
        match &self.scope {
            Scope::Everywhere => None,
            Scope::Namespace(why) | Scope::Nothing(why) => Some(why),
        }
    }
}

/// A pod and an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodAddress {
    /// `namespace/name`.
    pub name: String,
    /// Its addresses.
    pub addresses: Vec<IpAddr>,
    /// Whether they are its node's.
    pub host_network: bool,
    /// Whether it has ended: its address may be another's.
    pub has_ended: bool,
}

/// A Service and its addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServiceAddress {
    /// Its namespace.
    pub namespace: String,
    /// `namespace/name`.
    pub name: String,
    /// The addresses under which it is reached; none for a headless one.
    pub addresses: Vec<IpAddr>,
    /// The labels of its pods; empty when something else names its members.
    pub selector: BTreeMap<String, String>,
    /// Its ports.
    pub ports: Vec<ServicePort>,
}

/// A port of a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePort {
    /// The number under which it is reached.
    pub number: u16,
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: String,
    /// Where it leads.
    pub target: TargetPort,
}

/// The port of a pod to which a Service leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TargetPort {
    /// This one.
    Number(u16),
    /// The one that a container declares by this name.
    Name(String),
}

/// A member of a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointAddress {
    /// The Service, `namespace/name`.
    pub service: String,
    /// The member's address.
    pub address: IpAddr,
    /// The ports on which it serves.
    pub ports: Vec<u16>,
    /// The pod that it is meant to be, `namespace/name`.
    pub pod: Option<String>,
}

/// A node and its addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeAddress {
    /// Its name.
    pub name: String,
    /// Its own addresses.
    pub addresses: Vec<IpAddr>,
    /// What its network has for itself in the ranges of pods.
    pub inner: Vec<IpAddr>,
    /// The ranges from which its pods get theirs.
    pub ranges: Vec<Range>,
}

/// A pod that is gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PastPod {
    /// `namespace/name`.
    pub name: String,
    /// The address that it had.
    pub address: IpAddr,
    /// When that was said last: seconds ago.
    pub ago: Option<u64>,
    /// What says so: the words of an event, or how the pod ended.
    pub because: String,
}

/// A range of addresses: `10.1.2.0/24`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    base: IpAddr,
    bits: u8,
}

/// Who an address belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owner {
    /// This machine or pod, over loopback.
    Loopback,
    /// The target itself, by its own address.
    Own,
    /// A pod.
    Pod(String),
    /// A Service.
    Service(String),
    /// Something that a Service leads to and that is no pod.
    Endpoint(String),
    /// A node.
    Node(String),
    /// The API server.
    ApiServer,
    /// Something outside of the cluster.
    External,
    /// Nobody: pods have such addresses, and none has this one.
    Nobody(Option<PastPod>),
    /// No object has it. This pod has one beside it, but nodes do not say from which ranges pods get theirs: machines
    /// may have some too.
    NoObject(String),
    /// It is not known, because of this.
    Unknown(String),
    /// There is no cluster to ask.
    Unasked,
}

impl Owner {
    /// One word for its kind.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Loopback => "loopback",
            Self::Own => "self",
            Self::Pod(_) => "pod",
            Self::Service(_) => "service",
            Self::Endpoint(_) => "endpoint",
            Self::Node(_) => "node",
            Self::ApiServer => "api-server",
            Self::External => "external",
            Self::Nobody(_) => "no-live-owner",
            Self::NoObject(_) => "no-object",
            Self::Unknown(_) => "unknown",
            Self::Unasked => "not-asked",
        }
    }

    /// The object's name, where there is one.
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Pod(name) | Self::Service(name) | Self::Endpoint(name) | Self::Node(name) => {
                Some(name)
            }
            _ => None,
        }
    }
}

impl std::fmt::Display for Owner {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Loopback => formatter.write_str("itself (loopback)"),
            Self::Own => formatter.write_str("itself"),
            Self::Pod(name) => write!(formatter, "pod {name}"),
            Self::Service(name) => write!(formatter, "Service {name}"),
            Self::Endpoint(name) => write!(formatter, "a member of Service {name}"),
            Self::Node(name) => write!(formatter, "node {name}"),
            Self::ApiServer => formatter.write_str("the API server"),
            Self::External => formatter.write_str("outside of the cluster"),
            Self::Nobody(None) => formatter.write_str("no live owner"),
            Self::Nobody(Some(past)) => write!(formatter, "no live owner; was pod {}", past.name),
            Self::NoObject(_) => formatter.write_str("no object of the cluster"),
            Self::Unknown(_) => formatter.write_str("?"),
            Self::Unasked => formatter.write_str("-"),
        }
    }
}

/// A directory in which addresses are looked up.
pub struct Names<'a> {
    directory: &'a Directory,
    pods: HashMap<IpAddr, &'a PodAddress>,
    services: HashMap<IpAddr, &'a ServiceAddress>,
    endpoints: HashMap<IpAddr, Vec<&'a EndpointAddress>>,
    nodes: HashMap<IpAddr, &'a NodeAddress>,
}

/// The Service of the API server.
const API_SERVER: &str = "default/kubernetes";

impl<'a> Names<'a> {
    /// Makes the look-up.
    pub fn new(directory: &'a Directory) -> Self {
        let live = |pod: &&PodAddress| !pod.host_network && !pod.has_ended;
        let mut endpoints: HashMap<IpAddr, Vec<&EndpointAddress>> = HashMap::new();
        for endpoint in &directory.endpoints.rows {
            endpoints
                .entry(endpoint.address)
                .or_default()
                .push(endpoint);
        }
        Self {
            directory,
            pods: by_address(directory.pods.rows.iter().filter(live), |pod| {
                &pod.addresses
            }),
            services: by_address(directory.services.rows.iter(), |one| &one.addresses),
            endpoints,
            nodes: by_address(directory.nodes.rows.iter(), |node| &node.addresses),
        }
    }

    /// The directory itself.
    pub const fn directory(&self) -> &'a Directory {
        self.directory
    }

    /// Whether the target asks this server for names.
    pub fn is_name_server(&self, address: SocketAddr) -> bool {
        address.port() == 53 && self.directory.name_servers.contains(&address.ip())
    }

    /// The members of Services that serve at an address.
    pub fn members(&self, address: SocketAddr) -> impl Iterator<Item = &'a EndpointAddress> {
        let members = self.endpoints.get(&address.ip());
        members
            .into_iter()
            .flatten()
            .copied()
            .filter(move |member| member.ports.contains(&address.port()))
    }

    /// The Service with this name.
    pub fn service(&self, name: &str) -> Option<&'a ServiceAddress> {
        let mut services = self.directory.services.rows.iter();
        services.find(|service| service.name == name)
    }

    /// The node from whose range pods get such an address.
    pub fn range(&self, address: IpAddr) -> Option<(&'a NodeAddress, Range)> {
        self.directory.nodes.rows.iter().find_map(|node| {
            let mut ranges = node.ranges.iter();
            Some((node, *ranges.find(|range| range.contains(address))?))
        })
    }

    /// Who an address belongs to.
    pub fn owner(&self, address: SocketAddr) -> Owner {
        let ip = address.ip();
        if ip.is_loopback() || ip.is_unspecified() {
            return Owner::Loopback;
        }
        if self.directory.own.contains(&ip) {
            return Owner::Own;
        }
        if let Some(pod) = self.pods.get(&ip) {
            return Owner::Pod(pod.name.clone());
        }
        if let Some(service) = self.services.get(&ip) {
            return match service.name.as_str() {
                API_SERVER => Owner::ApiServer,
                name => Owner::Service(name.to_owned()),
            };
        }
        if self.members(address).any(|one| one.service == API_SERVER) {
            return Owner::ApiServer;
        }
        if let Some(node) = self.nodes.get(&ip) {
            return Owner::Node(node.name.clone());
        }
        let mut members = self.endpoints.get(&ip).into_iter().flatten();
        if let Some(member) = members.find(|one| one.pod.is_none()) {
            return Owner::Endpoint(member.service.clone());
        }
        self.without_object(ip)
    }

    /// An address that no object has.
    fn without_object(&self, ip: IpAddr) -> Owner {
        let range = self.range(ip);
        if let Some((node, range)) = range
            && (node.inner.contains(&ip) || range.is_gateway(ip))
        {
            return Owner::Node(node.name.clone());
        }
        let past = self.past(ip);
        let unlisted = self.unlisted();
        match (range, past, unlisted) {
            _ if is_public(ip) => Owner::External,
            (_, _, Some(why)) => Owner::Unknown(why),
            (Some(_), past, None) => Owner::Nobody(past),
            (None, Some(past), None) => Owner::Nobody(Some(past)),
            (None, None, None) => match self.beside(ip) {
                Some(pod) => Owner::NoObject(pod.name.clone()),
                None => Owner::External,
            },
        }
    }

    /// A pod whose address differs in the last part only, where no node says from which ranges pods get theirs.
    fn beside(&self, ip: IpAddr) -> Option<&'a PodAddress> {
        let mut nodes = self.directory.nodes.rows.iter();
        if nodes.any(|node| !node.ranges.is_empty()) {
            return None;
        }
        let bits = if ip.is_ipv4() { 24 } else { 64 };
        let around = Range { base: ip, bits };
        let mut pods = self.directory.pods.rows.iter();
        pods.find(|pod| !pod.host_network && pod.addresses.iter().any(|one| around.contains(*one)))
    }

    /// Why it is not known of an address that no object has it.
    pub fn unlisted(&self) -> Option<String> {
        let directory = self.directory;
        let missing = [
            directory.pods.missing(),
            directory.services.missing(),
            directory.endpoints.missing(),
            directory.nodes.missing(),
        ];
        let missing: Vec<_> = missing.into_iter().flatten().collect();
        (!missing.is_empty()).then(|| missing.join("; "))
    }

    /// The last pod that had an address: one that has ended, that a Service still names, or of which events tell.
    fn past(&self, ip: IpAddr) -> Option<PastPod> {
        let directory = self.directory;
        let ended = directory
            .pods
            .rows
            .iter()
            .find(|pod| pod.has_ended && !pod.host_network && pod.addresses.contains(&ip))
            .map(|pod| PastPod {
                name: pod.name.clone(),
                address: ip,
                ago: None,
                because: "it has ended, and is still listed".to_owned(),
            });
        let told = || {
            let past = directory.past.rows.iter().filter(|past| past.address == ip);
            past.min_by_key(|past| past.ago.unwrap_or(u64::MAX))
                .cloned()
        };
        let named = || {
            let members = self.endpoints.get(&ip)?;
            members.iter().find_map(|member| {
                Some(PastPod {
                    name: member.pod.clone()?,
                    address: ip,
                    ago: None,
                    because: format!(
                        "an EndpointSlice of Service {} still names it",
                        member.service
                    ),
                })
            })
        };
        ended.or_else(told).or_else(named)
    }
}

fn by_address<'a, T>(
    rows: impl Iterator<Item = &'a T>,
    addresses: impl Fn(&T) -> &Vec<IpAddr>,
) -> HashMap<IpAddr, &'a T> {
    rows.flat_map(|row| {
        let own: Vec<_> = addresses(row).clone();
        own.into_iter().map(move |address| (address, row))
    })
    .collect()
}

/// Whether an address is of the internet, where no pod is.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            let [a, b, ..] = address.octets();
            let is_shared = a == 100 && (64..128).contains(&b);
            let is_benchmark = a == 198 && (b == 18 || b == 19);
            !(address.is_private()
                || address.is_link_local()
                || address.is_documentation()
                || is_shared
                || is_benchmark)
        }
        // Clusters use public ranges of IPv6 for their pods.
        IpAddr::V6(_) => false,
    }
}

impl Range {
    /// Whether an address lies in it.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.offset(address).is_some()
    }

    /// How far an address lies behind the beginning.
    fn offset(&self, address: IpAddr) -> Option<u128> {
        let (base, address, width) = match (self.base, address) {
            (IpAddr::V4(base), IpAddr::V4(address)) => (
                u128::from(base.to_bits()),
                u128::from(address.to_bits()),
                32_u32,
            ),
            (IpAddr::V6(base), IpAddr::V6(address)) => (base.to_bits(), address.to_bits(), 128),
            _ => return None,
        };
        let free = width.checked_sub(self.bits.into())?;
        let same = base.checked_shr(free).unwrap_or(0) == address.checked_shr(free).unwrap_or(0);
        let mask = 1_u128.checked_shl(free).map_or(u128::MAX, |one| one - 1);
        same.then_some(address & mask)
    }

    /// Whether an address is one that networks take for the node itself: the first two of its range.
    fn is_gateway(&self, address: IpAddr) -> bool {
        self.offset(address).is_some_and(|offset| offset < 2)
    }
}

impl FromStr for Range {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no range of addresses");
        let (base, bits) = text.split_once('/').ok_or_else(wrong)?;
        let base: IpAddr = base.parse().map_err(|_| wrong())?;
        let bits: u8 = bits.parse().map_err(|_| wrong())?;
        let width = if base.is_ipv4() { 32 } else { 128 };
        if bits > width {
            return Err(wrong());
        }
        Ok(Self { base, bits })
    }
}

impl std::fmt::Display for Range {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}/{}", self.base, self.bits)
    }
}

/// Whether the network rewrites the address to which a socket connects before the socket is asked (Cilium's
/// socket-level load balancing): a connection to a Service then looks like one to a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rewriting {
    /// Whether it does.
    pub does: Lookup<bool>,
    /// What says so.
    pub because: String,
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    /// A cluster with one node, two pods, a Service with the second as its member, and a headless one without any.
    pub(crate) fn directory() -> Directory {
        let pod = |name: &str, ip: &str| PodAddress {
            name: name.to_owned(),
            addresses: vec![address(ip)],
            host_network: false,
            has_ended: false,
        };
        Directory {
            own: vec![address("10.1.0.5")],
            pods: Listing::everywhere(vec![
                pod("shop/web", "10.1.0.5"),
                pod("shop/db-0", "10.1.0.6"),
                PodAddress {
                    has_ended: true,
                    ..pod("shop/old", "10.1.0.7")
                },
            ]),
            services: Listing::everywhere(vec![
                ServiceAddress {
                    namespace: "shop".to_owned(),
                    name: "shop/db".to_owned(),
                    addresses: vec![address("10.2.0.9")],
                    ..ServiceAddress::default()
                },
                ServiceAddress {
                    namespace: "default".to_owned(),
                    name: API_SERVER.to_owned(),
                    addresses: vec![address("10.2.0.1")],
                    ..ServiceAddress::default()
                },
            ]),
            endpoints: Listing::everywhere(vec![
                EndpointAddress {
                    service: "shop/db".to_owned(),
                    address: address("10.1.0.6"),
                    ports: vec![5432],
                    pod: Some("shop/db-0".to_owned()),
                },
                EndpointAddress {
                    service: "shop/legacy".to_owned(),
                    address: address("192.168.7.7"),
                    ports: vec![80],
                    pod: None,
                },
            ]),
            nodes: Listing::everywhere(vec![NodeAddress {
                name: "n1".to_owned(),
                addresses: vec![address("192.168.0.2")],
                inner: vec![address("10.1.0.77")],
                ranges: vec!["10.1.0.0/24".parse().unwrap()],
            }]),
            past: Listing::everywhere(Vec::new()),
            name_servers: vec![address("10.2.0.10")],
        }
    }

    fn owner(directory: &Directory, text: &str) -> Owner {
        Names::new(directory).owner(text.parse().unwrap())
    }

    #[test]
    fn each_address_has_the_object_that_has_it() {
        let directory = directory();
        for (text, expected) in [
            ("127.0.0.1:80", "itself (loopback)"),
            ("10.1.0.5:80", "itself"),
            ("10.1.0.6:5432", "pod shop/db-0"),
            ("10.2.0.9:5432", "Service shop/db"),
            ("10.2.0.1:443", "the API server"),
            ("192.168.0.2:443", "node n1"),
            ("192.168.7.7:80", "a member of Service shop/legacy"),
            ("8.8.8.8:53", "outside of the cluster"),
            ("192.168.9.9:80", "outside of the cluster"),
            // What a bridge or a tunnel of the node has is nobody's pod.
            ("10.1.0.1:80", "node n1"),
            ("10.1.0.77:80", "node n1"),
            ("10.1.0.7:80", "no live owner; was pod shop/old"),
            ("10.1.0.99:80", "no live owner"),
        ] {
            assert_eq!(owner(&directory, text).to_string(), expected, "{text}");
        }
        let names = Names::new(&directory);
        assert!(names.is_name_server("10.2.0.10:53".parse().unwrap()));
        assert!(!names.is_name_server("10.2.0.10:80".parse().unwrap()));
    }

    #[test]
    fn without_all_lists_nobody_is_without_an_owner() {
        let denied = || Scope::Namespace("pods of other namespaces could not be listed".to_owned());
        let mut partial = directory();
        partial.pods.scope = denied();
        let Owner::Unknown(why) = owner(&partial, "10.1.0.99:80") else {
            panic!()
        };
        assert_eq!(why, "pods of other namespaces could not be listed");
        // What is known is said, and so is what cannot be inside.
        assert_eq!(owner(&partial, "10.1.0.6:1").kind(), "pod");
        assert_eq!(owner(&partial, "8.8.8.8:1").kind(), "external");
        let mut partial = directory();
        partial.nodes = Listing::default();
        assert_eq!(owner(&partial, "10.1.0.99:80").kind(), "unknown");
        assert_eq!(owner(&partial, "192.168.9.9:80").kind(), "unknown");
    }

    #[test]
    fn a_pod_that_is_gone_is_named_by_what_events_say() {
        let mut directory = directory();
        let past = |name: &str, ago| PastPod {
            name: name.to_owned(),
            address: address("10.9.0.3"),
            ago: Some(ago),
            because: "Unhealthy: Readiness probe failed".to_owned(),
        };
        assert_eq!(owner(&directory, "10.9.0.3:80").kind(), "external");
        directory.past = Listing::everywhere(vec![past("shop/a", 300), past("shop/b", 20)]);
        assert_eq!(
            owner(&directory, "10.9.0.3:80").to_string(),
            "no live owner; was pod shop/b"
        );
    }

    #[test]
    fn where_no_ranges_are_known_an_address_beside_pods_has_no_object_and_no_more_is_said() {
        let mut directory = directory();
        directory.nodes.rows[0].ranges.clear();
        assert_eq!(owner(&directory, "10.1.0.99:80").kind(), "no-object");
        assert_eq!(owner(&directory, "10.1.7.99:80").kind(), "external");
        // One that has ended is known to have had its address.
        assert_eq!(owner(&directory, "10.1.0.7:80").kind(), "no-live-owner");
    }

    #[test]
    fn ranges_hold_their_addresses() {
        let range: Range = "10.1.2.0/23".parse().unwrap();
        assert!(range.contains(address("10.1.3.255")));
        assert!(!range.contains(address("10.1.4.0")));
        assert!(!range.contains(address("::1")));
        let all: Range = "::/0".parse().unwrap();
        assert!(all.contains(address("fd00::1")));
        let six: Range = "fd00:1::/64".parse().unwrap();
        assert!(six.contains(address("fd00:1::99")) && !six.contains(address("fd00:2::99")));
        for wrong in ["10.0.0.0", "10.0.0.0/33", "x/8", "10.0.0.0/x", "::/129"] {
            assert!(wrong.parse::<Range>().is_err(), "{wrong}");
        }
    }
}
