//! Whether the network rewrites the address to which a socket connects.
//!
//! It decides whether a pod's address in a socket is the program's own choice. A connection to a Service that shows
//! the Service's address settles it; where there is none, one is made, to the Service in question and without a byte.

use std::{net::SocketAddr, time::Duration};

use tokio::time::timeout;

use super::Known;
use crate::{
    commands::tcp::milliseconds,
    evidence::{
        connections::{Socket, Sockets, canonical},
        findings::bypassed_services,
        peers::{Names, Owner, Rewriting, ServiceAddress},
        provenance::Lookup,
    },
    protocol::message::{ConnectOutcome, ProbeRecord, Request, TcpRequest},
    target::{Place, Target, pod::directory},
};

/// How long a connection may take, and how long it is kept to be looked at.
const TRY: Duration = Duration::from_secs(3);
const KEEP: Duration = Duration::from_secs(5);

/// Finds out, if anything depends on it.
pub(super) async fn find(target: &Target, known: &Known) -> Rewriting {
    let nothing = Rewriting {
        does: Lookup::Missing,
        because: String::new(),
    };
    let (Place::Pod(place), Some(names)) = (&target.place, known.names()) else {
        return nothing;
    };
    let facts = known.facts(Some(&names));
    let services = bypassed_services(&facts);
    if services.is_empty() {
        return nothing;
    }
    if let Some(shown) = shown(&known.sockets, &names) {
        return shown;
    }
    for service in services
        .iter()
        .filter_map(|name| names.service(name))
        .take(2)
    {
        let tried = timeout(TRY + KEEP, try_one(target, service)).await;
        if let Ok(Some(tried)) = tried {
            return tried;
        }
    }
    directory::configured_rewriting(&place.cluster).await
}

/// A connection to a Service that shows the Service's address.
fn shown(sockets: &Sockets, names: &Names<'_>) -> Option<Rewriting> {
    let mut peers = sockets.connections().filter_map(Socket::far);
    peers.find_map(|peer| {
        let owner = names.owner(peer);
        matches!(owner, Owner::Service(_) | Owner::ApiServer).then(|| Rewriting {
            does: Lookup::Found(false),
            because: format!(
                "a connection to {peer} shows the Service's own address ({owner}): the network does not rewrite it"
            ),
        })
    })
}

/// Connects to a Service, and looks at which address the socket has then; `None` when no connection comes about.
async fn try_one(target: &Target, service: &ServiceAddress) -> Option<Rewriting> {
    let address = *service.addresses.first()?;
    let port = service
        .ports
        .iter()
        .find(|port| matches!(port.protocol.as_str(), "" | "TCP"))?;
    let asked = SocketAddr::new(address, port.number);
    let request = Request::Tcp(TcpRequest {
        process: target.process().id,
        host: address.to_string().into(),
        port: port.number,
        connect_limit: milliseconds(TRY),
        send: "".into(),
        expect: None,
        wait: milliseconds(KEEP),
    });
    // Dropped once it was looked at, which ends the connection.
    let mut reply = target.session.request(&request).ok()?;
    let source = loop {
        let records = reply.batch::<ProbeRecord>().await.ok()??;
        let connected = records.into_iter().find_map(|record| match record {
            ProbeRecord::Connection(one) => Some(one),
            _ => None,
        });
        if let Some(one) = connected {
            if !matches!(one.outcome, ConnectOutcome::Connected { .. }) {
                return None;
            }
            break one.source?;
        }
    };
    let sockets = super::sockets(target, false).await.ok()?;
    let own = sockets
        .connections()
        .find(|socket| socket.near() == Some(canonical(source)))?;
    let far = own.far()?;
    Some(Rewriting {
        does: Lookup::Found(far != asked),
        because: if far == asked {
            format!(
                "a connection from the pod to {asked}, Service {}, keeps that address: the network does not rewrite it",
                service.name
            )
        } else {
            format!(
                "a connection from the pod to {asked}, Service {}, has become one to {far}",
                service.name
            )
        },
    })
}
