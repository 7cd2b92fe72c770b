//! A connection to each address of a name, and a few bytes over the first that works.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
};

use bstr::{BString, ByteSlice as _};
use nix::{
    libc,
    poll::PollFlags,
    sys::socket::{setsockopt, sockopt::Linger},
};

use super::{
    Answer, Output, Stop,
    dial::{acknowledged, dial},
    network::Network,
    resolver,
    steps::Steps,
    target::{Target, errno_of},
};
use crate::protocol::message::{Ending, Exchange, Phase, ProbeRecord, TcpRequest};

/// As much of what comes is told.
const BEGINNING: usize = 4096;
/// As much of what comes is searched for what is expected.
const SEARCHED: usize = 1024 * 1024;

/// Tries every address, also after one has worked: which of them work is the question.
pub(super) fn answer(request: &TcpRequest, output: &mut dyn Output) -> Answer {
    let target = Target::open(request.process)?;
    let network = Network::of(&target)?;
    let mut steps = Steps::new(output, None);
    steps.tell(ProbeRecord::Network(network.told()))?;
    let addresses = resolver::addresses(&mut steps, &target, &network, request.host.as_bstr())?;
    let mut first = None;
    for address in addresses {
        let address = SocketAddr::new(address, request.port);
        let connected = dial(&mut steps, &network, address, request.connect_limit)?;
        if let Some(stream) = connected {
            leave_no_trace(&stream);
            first.get_or_insert((address, stream));
        }
    }
    if let Some((address, stream)) = first
        && request.wait > 0
    {
        // Over this one something is said, and a reset might take it back.
        close_in_order(&stream);
        let exchange = talk(&mut steps, request, address, stream)?;
        steps.tell(ProbeRecord::Exchange(Box::new(exchange)))?;
    }
    target.check_alive("connect")?;
    steps.finish()
}

/// Has a connection over which nothing was said end with a reset. Closed in order it would stay in the pod's table for a
/// minute (`TIME_WAIT`), and the next look at that could not tell whose it was. It is what load balancers do after a check.
fn leave_no_trace(stream: &TcpStream) {
    linger(stream, true);
}

fn close_in_order(stream: &TcpStream) {
    linger(stream, false);
}

fn linger(stream: &TcpStream, is_reset: bool) {
    let value = libc::linger {
        l_onoff: is_reset.into(),
        l_linger: 0,
    };
    // Without it the connection only stays in the table.
    let _ = setsockopt(stream, Linger, &value);
}

/// Sends what is to be sent, and reads until what is expected has come, or until nothing more comes.
fn talk(
    steps: &mut Steps<'_>,
    request: &TcpRequest,
    address: SocketAddr,
    mut stream: TcpStream,
) -> Result<Exchange, Stop> {
    let mut said = Exchange {
        address,
        sent: 0,
        acknowledged: 0,
        received: 0,
        beginning: BString::default(),
        first_byte: None,
        found: request.expect.as_ref().map(|_| false),
        at: 0,
        ending: Ending::Done,
    };
    said.ending = match send(steps, request, &mut stream, &mut said)? {
        None => receive(steps, request, &mut stream, &mut said)?,
        Some(ending) => ending,
    };
    said.at = steps.now();
    said.acknowledged = acknowledged(&stream, said.sent);
    Ok(said)
}

fn send(
    steps: &mut Steps<'_>,
    request: &TcpRequest,
    stream: &mut TcpStream,
    said: &mut Exchange,
) -> Result<Option<Ending>, Stop> {
    let deadline = steps.within(request.wait);
    let mut rest = request.send.as_slice();
    while !rest.is_empty() {
        match stream.write(rest) {
            Ok(count) => {
                said.sent += count as u64;
                rest = rest.get(count..).unwrap_or_default();
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                if !steps.wait(&[(&*stream, PollFlags::POLLOUT)], deadline, Phase::Send)? {
                    return Ok(Some(Ending::TimedOut {
                        after: deadline.after,
                        phase: Phase::Send,
                    }));
                }
            }
            Err(error) => {
                let errno = errno_of(&error) as i32;
                return Ok(Some(Ending::Failed { errno }));
            }
        }
    }
    Ok(None)
}

fn receive(
    steps: &mut Steps<'_>,
    request: &TcpRequest,
    stream: &mut TcpStream,
    said: &mut Exchange,
) -> Result<Ending, Stop> {
    let deadline = steps.within(request.wait);
    let mut searched = Vec::new();
    let mut buffer = vec![0; 16 * 1024];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return Ok(Ending::Closed),
            Ok(count) => {
                let bytes = buffer.get(..count).unwrap_or_default();
                said.first_byte.get_or_insert(steps.now());
                said.received += count as u64;
                let room = BEGINNING.saturating_sub(said.beginning.len());
                said.beginning
                    .extend_from_slice(bytes.get(..room.min(count)).unwrap_or_default());
                if let Some(expected) = &request.expect {
                    searched.extend_from_slice(bytes);
                    if searched.contains_str(expected.as_slice()) {
                        said.found = Some(true);
                        return Ok(Ending::Done);
                    }
                    if searched.len() > SEARCHED {
                        return Ok(Ending::Done);
                    }
                } else if said.beginning.len() >= BEGINNING {
                    return Ok(Ending::Done);
                }
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                if !steps.wait(&[(&*stream, PollFlags::POLLIN)], deadline, Phase::Head)? {
                    // Whoever has said something and is silent now has said it.
                    let is_answered = said.received > 0 && request.expect.is_none();
                    return Ok(if is_answered {
                        Ending::Done
                    } else {
                        Ending::TimedOut {
                            after: deadline.after,
                            phase: Phase::Head,
                        }
                    });
                }
            }
            Err(error) => {
                let errno = errno_of(&error) as i32;
                return Ok(Ending::Failed { errno });
            }
        }
        if deadline.has_passed() && said.received > 0 {
            return Ok(Ending::Done);
        }
    }
}
