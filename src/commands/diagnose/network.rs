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

use super::limit::Limit;
use crate::{
    commands::{declared::Declared, net, probe::Told, tcp},
    evidence::{
        findings::{Check, Facts},
        provenance::{Declaration, Lookup, Service},
        reach,
    },
    protocol::message::{Request, SocketFacts, SocketState, TcpRequest},
    target::{Place, Target},
};

/// Services that are tried at most.
const MOST_SERVICES: usize = 8;
/// How long a connection may take.
const TRY: Duration = Duration::from_secs(3);
/// How long a look-up may take before it: as long as a C library waits for one silent name server.
const LOOKUP: Duration = Duration::from_secs(5);

/// Tries the Services whose links the code reads. `before` are the sockets before the process was asked for the symptom,
/// when it was, and `now` those before anything is tried here.
pub(super) async fn checks(
    target: &Target,
    facts: &Facts<'_>,
    declared: &Declared,
    before: Option<Vec<SocketFacts>>,
    now: Option<Vec<SocketFacts>>,
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
    let sockets = Sockets { before, now };
    let checks = endpoints.iter().map(|endpoint| async {
        let tried = limit.within(endpoint.connect(target)).await;
        endpoint.check(tried.unwrap_or_else(Tried::Unknown), &sockets)
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

    fn check(&self, tried: Tried, sockets: &Sockets) -> Check {
        let to = format!("{}:{}", self.name, self.port);
        let at = SocketAddr::new(self.address, self.port);
        let used = sockets.used(at);
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
}

/// The sockets of the pod.
struct Sockets {
    /// Before the process itself was asked for the symptom, when it was.
    before: Option<Vec<SocketFacts>>,
    /// Before anything was tried. `None` when they could not be listed.
    now: Option<Vec<SocketFacts>>,
}

impl Sockets {
    /// Whether anything in the pod has a connection there.
    ///
    /// One that was closed is no sign: nobody can tell whose it was, and what kdbg tried a minute ago leaves such, too.
    fn used(&self, at: SocketAddr) -> String {
        let Some(now) = &self.now else {
            return String::new();
        };
        let there: Vec<_> = now.iter().filter(|socket| is_to(socket, at)).collect();
        let open = there
            .iter()
            .filter(|socket| socket.state != Some(SocketState::TimeWait))
            .count();
        let mut text = match (open, there.len()) {
            (0, 0) => "; nothing in the pod had a connection to it".to_owned(),
            (0, _) => "; nothing in the pod has a connection to it, and what was closed in the last minute may be kdbg's own".to_owned(),
            (1, _) => "; the pod had 1 connection to it".to_owned(),
            (count, _) => format!("; the pod had {count} connections to it"),
        };
        if let Some(before) = &self.before {
            let is_new =
                |socket: &&&SocketFacts| !before.iter().any(|other| is_same(other, socket));
            text.push_str(&match there.iter().filter(is_new).count() {
                0 => "; asking for the symptom made none".to_owned(),
                1 => "; asking for the symptom made one".to_owned(),
                count => format!("; asking for the symptom made {count}"),
            });
        }
        text
    }
}

fn is_to(socket: &SocketFacts, at: SocketAddr) -> bool {
    socket.far.is_some_and(|far| {
        far.ip().to_canonical() == at.ip().to_canonical() && far.port() == at.port()
    })
}

fn is_same(one: &SocketFacts, other: &SocketFacts) -> bool {
    (one.near, one.far) == (other.near, other.far)
}

/// The sockets of the process's network; `None` when they cannot be listed.
pub(super) async fn sockets(target: &Target, limit: &Limit) -> Option<Vec<SocketFacts>> {
    let read = limit.within(net::sockets(target, true)).await.ok()?.ok()?;
    Some(
        read.sockets
            .into_iter()
            .map(|socket| socket.facts)
            .collect(),
    )
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::message::Protocol;

    fn socket(port: u16, state: SocketState) -> SocketFacts {
        SocketFacts {
            protocol: Protocol::Tcp,
            near: Some(SocketAddr::from(([10, 0, 0, 1], port))),
            far: Some(SocketAddr::from(([10, 0, 0, 7], 9080))),
            path: None,
            state: Some(state),
            unread: 0,
            unsent: 0,
            retransmits: 0,
            timer: None,
            uid: 0,
            inode: 0,
            only_v6: None,
            tcp: None,
        }
    }

    #[test]
    fn what_was_closed_is_no_sign_and_what_the_symptom_opened_is() {
        let at = SocketAddr::from(([10, 0, 0, 7], 9080));
        let said = |before: Option<Vec<SocketFacts>>, now: Vec<SocketFacts>| {
            let now = Some(now);
            Sockets { before, now }.used(at)
        };
        assert_eq!(
            said(None, Vec::new()),
            "; nothing in the pod had a connection to it"
        );
        let closed = socket(1, SocketState::TimeWait);
        assert!(said(None, vec![closed.clone()]).contains("may be kdbg's own"));
        let open = socket(2, SocketState::Established);
        assert_eq!(
            said(None, vec![closed.clone(), open]),
            "; the pod had 1 connection to it"
        );
        let text = said(Some(vec![closed.clone()]), vec![closed.clone()]);
        assert!(text.ends_with("asking for the symptom made none"), "{text}");
        let text = said(Some(Vec::new()), vec![closed]);
        assert!(text.ends_with("asking for the symptom made one"), "{text}");
    }
}
