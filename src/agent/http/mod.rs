//! One request over HTTP, each phase told as it happens.

mod body;
mod http1;
mod http2;
mod tls;
mod upload;
mod wire;

use std::{net::SocketAddr, time::Duration};

use bstr::ByteSlice as _;

pub(super) use self::upload::Input;
use self::{upload::Upload, wire::Wire};
use super::{
    Answer, Output, Stop, dial::dial, network::Network, resolver, steps::Steps, target::Target,
};
use crate::protocol::message::{
    Ending, HttpProtocol, HttpRequest, ProbeRecord, TlsSession, Trusted,
};

/// The longest head of a response: what common servers and proxies accept is far below.
const HEAD_LIMIT: usize = 128 * 1024;
/// As many heads may come before the final one (1xx).
const INTERIM_LIMIT: u32 = 100;
/// A head that is not whole by then never will be, however steadily its bytes trickle.
const HEAD_TIME: Duration = Duration::from_mins(1);
/// So much of a body is passed on at once.
const PART: usize = 64 * 1024;

/// Connects to the first address that answers, sends the request, and passes the response on. A body that did not come
/// with the request comes from `input`.
pub(super) fn answer(
    request: &HttpRequest,
    input: Option<&dyn Input>,
    output: &mut dyn Output,
) -> Answer {
    let target = Target::open(request.process)?;
    let upload = Upload::new(&request.body, input)?;
    let network = Network::of(&target)?;
    let mut steps = Steps::new(output, request.total_limit);
    steps.tell(ProbeRecord::Network(network.told()))?;
    let addresses = if request.addresses.is_empty() {
        resolver::addresses(&mut steps, &target, &network, request.host.as_bstr())?
    } else {
        request.addresses.clone()
    };
    for address in addresses {
        let address = SocketAddr::new(address, request.port);
        if let Some(tcp) = dial(&mut steps, &network, address, request.connect_limit)? {
            if let Some(wire) = secure(&mut steps, request, &target, tcp)? {
                converse(&mut steps, request, wire, upload)?;
            }
            break;
        }
    }
    target.check_alive("send an HTTP request")?;
    steps.finish()
}

/// The request and its response, in the version that was asked for or that the server chose.
fn converse(
    steps: &mut Steps<'_>,
    request: &HttpRequest,
    wire: Wire,
    upload: Upload<'_>,
) -> Result<(), Stop> {
    let chosen = wire.tls().and_then(|tls| tls.alpn_protocol());
    let is_http2 = match request.protocol {
        HttpProtocol::Http1 => false,
        HttpProtocol::Negotiated => chosen == Some(tls::HTTP2),
        HttpProtocol::Http2 => chosen != Some(tls::HTTP1),
    };
    if is_http2 {
        http2::Conversation::new(request, wire, upload).run(steps)
    } else {
        http1::Conversation::new(request, wire, upload).run(steps)
    }
}

/// The connection, over TLS when that is wanted; `None` when the handshake failed, of which the client is told.
fn secure(
    steps: &mut Steps<'_>,
    request: &HttpRequest,
    target: &Target,
    tcp: std::net::TcpStream,
) -> Result<Option<Wire>, Stop> {
    if !request.tls {
        return Ok(Some(Wire::new(tcp, None)));
    }
    let (connection, judge) = match tls::prepare(request, target)? {
        Ok(prepared) => prepared,
        Err(why) => {
            let at = steps.now();
            steps.tell(ProbeRecord::Tls(Box::new(TlsSession {
                at,
                took: 0,
                version: None,
                cipher: None,
                protocol: None,
                chain: Vec::new(),
                trusted: Trusted::NotAsked,
                failure: Some(Ending::Refused(why)),
            })))?;
            return Ok(None);
        }
    };
    let mut wire = Wire::new(tcp, Some(connection));
    let went_well = tls::shake_hands(steps, &mut wire, &judge, request.idle_limit)?;
    wire.begin();
    Ok(went_well.then_some(wire))
}
