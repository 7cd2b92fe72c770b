//! Whether the pod reaches the Services that its code asks for: what is reached is not the cause.
//!
//! The agent connects from the network of the process, and looks names up as the process would. Nothing is sent.

use std::{
    collections::BTreeSet,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use bstr::ByteSlice as _;
use futures::future::join_all;
use tokio::time::timeout;

use super::Limit;
use crate::{
    commands::{declared::Declared, probe::Told, tcp},
    evidence::{
        findings::{Check, Facts},
        provenance::{Declaration, Lookup, Service},
        reach,
    },
    protocol::message::{Request, Socket, TcpRequest},
    target::{Place, Target},
};

/// Services that are tried at most.
const MOST_SERVICES: usize = 8;
/// How long a connection may take.
const TRY: Duration = Duration::from_secs(3);
/// How long a look-up may take before it: as long as a C library waits for one silent name server.
const LOOKUP: Duration = Duration::from_secs(5);

/// Tries the Services whose links the code reads.
pub(super) async fn checks(
    target: &Target,
    facts: &Facts<'_>,
    declared: &Declared,
    limit: &Limit,
) -> Vec<Check> {
    if matches!(target.place, Place::Machine(_)) {
        return Vec::new();
    }
    let endpoints: Vec<_> = services(facts)
        .iter()
        .filter_map(|name| Endpoint::of(declared.service(name)?))
        .take(MOST_SERVICES)
        .collect();
    // Before anything is tried, or what is tried would be seen.
    let sockets = limit.within(sockets(target)).await.ok().flatten();
    let when = facts
        .symptom
        .as_ref()
        .map_or("", |_| ", also after the symptom was asked for");
    let checks = endpoints.iter().map(|endpoint| async {
        let tried = limit.within(endpoint.connect(target)).await;
        endpoint.check(
            tried.unwrap_or_else(Tried::Unknown),
            sockets.as_deref(),
            when,
        )
    });
    join_all(checks).await
}

/// The Services that have a variable of a name that the code reads, also where something else sets it.
fn services(facts: &Facts<'_>) -> BTreeSet<String> {
    let Lookup::Found(variables) = &facts.variables else {
        return BTreeSet::new();
    };
    let declared = &variables.declarations.variables;
    let names = facts
        .code
        .iter()
        .flat_map(|file| &file.reads.reads)
        .filter_map(|read| read.known_name()?.to_str().ok());
    names
        .filter_map(|name| declared.get(name))
        .flat_map(|variable| std::iter::once(&variable.winner).chain(&variable.shadowed))
        .filter_map(|declared| match &declared.by {
            Declaration::ServiceLink { service, .. } => Some(service.clone()),
            _ => None,
        })
        .collect()
}

/// Where a Service is.
struct Endpoint {
    name: String,
    address: IpAddr,
    port: u16,
}

/// What came of a try.
enum Tried {
    /// By the Service's name: that resolves too.
    ByName,
    /// By its address only; why not by its name.
    ByAddress(String),
    Failed(String),
    Unknown(String),
}

impl Endpoint {
    /// Its address and first TCP port, when it has them.
    fn of(service: &Service) -> Option<Self> {
        let is_tcp = |protocol: &str| matches!(protocol, "" | "TCP");
        let port = service.ports.iter().find(|port| is_tcp(&port.protocol))?;
        Some(Self {
            name: service.name.clone(),
            address: service.cluster_ip.parse().ok()?,
            port: port.number,
        })
    }

    async fn connect(&self, target: &Target) -> Tried {
        let address = self.address.to_string();
        let (by_name, by_address) = tokio::join!(
            connects(target, &self.name, self.port),
            connects(target, &address, self.port)
        );
        match (by_name, by_address) {
            (Ok(Ok(())), _) => Tried::ByName,
            (Ok(Err(why)) | Err(why), Ok(Ok(()))) => Tried::ByAddress(why),
            (_, Ok(Err(why))) => Tried::Failed(why),
            (_, Err(why)) => Tried::Unknown(why),
        }
    }

    fn check(&self, tried: Tried, sockets: Option<&[Socket]>, when: &str) -> Check {
        let to = format!("{}:{}", self.name, self.port);
        let at = SocketAddr::new(self.address, self.port);
        let used = sockets.map_or(String::new(), |sockets| self.used(sockets, when));
        let (worked, seen) = match tried {
            Tried::ByName => (
                Lookup::Found(true),
                format!("its name resolves, and {at} answers{used}"),
            ),
            Tried::ByAddress(why) => (
                Lookup::Found(true),
                format!("{at} answers, by its address but not by its name: {why}{used}"),
            ),
            Tried::Failed(why) => (Lookup::Found(false), format!("{at}: {why}{used}")),
            Tried::Unknown(why) => (Lookup::Unreadable(why), String::new()),
        };
        Check {
            what: format!("connects to {to}"),
            to,
            worked,
            seen,
        }
    }

    /// Whether anything in the pod has a connection there.
    fn used(&self, sockets: &[Socket], when: &str) -> String {
        let at = SocketAddr::new(self.address, self.port);
        let is_there = |socket: &&Socket| {
            socket.far.is_some_and(|far| {
                far.ip().to_canonical() == at.ip().to_canonical() && far.port() == at.port()
            })
        };
        match sockets.iter().filter(is_there).count() {
            0 => format!("; nothing in the pod had a connection to it{when}"),
            1 => "; the pod had 1 connection to it".to_owned(),
            count => format!("; the pod had {count} connections to it"),
        }
    }
}

async fn sockets(target: &Target) -> Option<Vec<Socket>> {
    let request = Request::Sockets(target.process().id);
    target.session.request(&request).ok()?.records().await.ok()
}

/// Whether a connection comes about, else why not; or why nobody could try.
async fn connects(target: &Target, host: &str, port: u16) -> Result<Result<(), String>, String> {
    let request = Request::Tcp(TcpRequest {
        process: target.process().id,
        host: host.into(),
        port,
        connect_limit: tcp::milliseconds(TRY),
        send: "".into(),
        expect: None,
        wait: 0,
    });
    let asked = async { Told::collect(target.session.request(&request)?).await };
    match timeout(LOOKUP + TRY, asked).await {
        Ok(Ok(told)) => Ok(outcome(&told)),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no answer within {:?}", LOOKUP + TRY)),
    }
}

fn outcome(told: &Told) -> Result<(), String> {
    if told.connected() > 0 {
        return Ok(());
    }
    if let Some(error) = told.lookup_error() {
        return Err(format!("the name has no address ({error})"));
    }
    Err(told
        .connections
        .last()
        .map_or_else(|| "nothing was tried".to_owned(), reach::connection))
}
