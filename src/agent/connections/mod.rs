//! The sockets of a process's network namespace, with all that the kernel tells of them, and who holds them.
//!
//! The tables come first and the descriptors after them, each as it is read: nothing has to be kept, however many
//! connections there are. The client puts the two together.

mod counters;
mod diag;
mod holders;

use nix::errno::Errno;

use super::{
    Answer, Output, Records, Stop,
    access::Guard,
    net::{TABLES, for_each_socket, for_each_unix_socket},
    network::{self, Network},
    target::Target,
};
use crate::protocol::message::{
    self, Cause, ConnectionRecord, ConnectionsRequest, Failure, Protocol, SocketFacts, SocketTable,
    Way,
};

/// Lists the sockets, and then what the processes of the namespace hold.
pub(super) fn answer(request: &ConnectionsRequest, output: &mut dyn Output) -> Answer {
    let target = Target::open(request.process)?;
    let doing = format!("list the connections of process {}", request.process.pid);
    let mut records = Records::new(output);
    // Who may not go in sees the same sockets in /proc, with less of each.
    let (told, diag) = match Network::of(&target) {
        Ok(network) => (network.told(), diag::open(&network)),
        Err(failure) if failure.is_gone() => return Err(failure.into()),
        Err(failure) => (message::Network::Entered, Err(failure)),
    };
    records.push(ConnectionRecord::Network(told), 8)?;
    for (protocol, is_v6, name) in TABLES {
        let table = Table {
            protocol,
            is_v6,
            name,
        };
        table.send(&target, diag.as_ref(), &mut records, &doing)?;
    }
    if request.unix {
        send_unix(&target, &mut records, &doing)?;
    }
    if let Some(counters) = counters::read(&target) {
        records.push(ConnectionRecord::Counters(counters), 24)?;
    }
    records.flush()?;
    holders::send(&target, &mut records)?;
    target.check_alive(&doing)?;
    records.finish()
}

/// A table of sockets.
struct Table {
    protocol: Protocol,
    is_v6: bool,
    name: &'static str,
}

impl Table {
    fn send(
        &self,
        target: &Target,
        diag: Result<&diag::Diag, &Failure>,
        records: &mut Records<'_, ConnectionRecord>,
        doing: &str,
    ) -> Result<(), Stop> {
        let refused = match diag {
            Ok(diag) => match diag.dump(self.protocol, self.is_v6) {
                Ok(mut dump) => {
                    records.push(self.told(Way::SockDiag), 8)?;
                    match dump.for_each(|socket| push(records, socket)) {
                        Ok(()) => return Ok(()),
                        Err(End::Stop(stop)) => return Err(stop),
                        // What was sent is taken back by the table that is sent instead.
                        Err(End::Kernel(errno)) => unasked(errno),
                    }
                }
                Err(errno) => unasked(errno),
            },
            Err(failure) => failure.clone(),
        };
        records.push(self.told(Way::ProcNet(Some(refused))), 256)?;
        match for_each_socket(target, self.name, self.protocol, &mut |socket| {
            push(records, socket)
        }) {
            Ok(()) => Ok(()),
            Err(End::Stop(stop)) => Err(stop),
            Err(End::Kernel(errno)) => Err(target.failure(doing, errno, Guard::Trace).into()),
        }
    }

    const fn told(&self, way: Way) -> ConnectionRecord {
        ConnectionRecord::Table(SocketTable {
            protocol: self.protocol,
            is_v6: self.is_v6,
            way,
        })
    }
}

fn unasked(errno: Errno) -> Failure {
    Failure::new("ask sock_diag for the sockets", Cause::from(errno))
}

fn push(records: &mut Records<'_, ConnectionRecord>, socket: SocketFacts) -> Result<(), End> {
    let bytes = 96 + socket.path.as_ref().map_or(0, |path| path.len());
    Ok(records.push(ConnectionRecord::Socket(Box::new(socket)), bytes)?)
}

fn send_unix(
    target: &Target,
    records: &mut Records<'_, ConnectionRecord>,
    doing: &str,
) -> Result<(), Stop> {
    let told = SocketTable {
        protocol: Protocol::Unix,
        is_v6: false,
        way: Way::ProcNet(None),
    };
    records.push(ConnectionRecord::Table(told), 8)?;
    match for_each_unix_socket(target, &mut |socket| push(records, socket)) {
        Ok(()) => Ok(()),
        Err(End::Stop(stop)) => Err(stop),
        Err(End::Kernel(errno)) => Err(target.failure(doing, errno, Guard::Trace).into()),
    }
}

/// Whether another process is in the same network namespace.
fn is_beside(target: &Target, other: &Target) -> Result<bool, Errno> {
    Ok(network::key(target)? == network::key(other)?)
}

/// Why a table was not read to its end.
enum End {
    Kernel(Errno),
    Stop(Stop),
}

impl From<Errno> for End {
    fn from(errno: Errno) -> Self {
        Self::Kernel(errno)
    }
}

impl From<Stop> for End {
    fn from(stop: Stop) -> Self {
        Self::Stop(stop)
    }
}

#[cfg(test)]
mod tests;
