//! A name, looked up as the process would look it up.

use bstr::ByteSlice as _;

use super::{
    Answer, Output,
    network::Network,
    resolver::{self, A, AAAA, Files, Query},
    steps::Steps,
    target::Target,
};
use crate::protocol::message::{LookupRequest, ProbeRecord, Source};

/// Tells the setup, every question with its answer, and what a program would be told.
pub(super) fn answer(request: &LookupRequest, output: &mut dyn Output) -> Answer {
    let target = Target::open(request.process)?;
    let network = Network::of(&target)?;
    let files = Files::read(&target)?;
    let mut setup = resolver::with_servers(files.setup(&target, request.libc), &request.servers);
    let mut steps = Steps::new(output, None);
    steps.tell(ProbeRecord::Network(network.told()))?;
    steps.tell(ProbeRecord::Resolver(Box::new(setup.clone())))?;
    let kinds = if request.kinds.is_empty() {
        resolver::address_kinds(&setup)
    } else {
        request.kinds.clone()
    };
    let wants_addresses = kinds.iter().all(|kind| [A, AAAA].contains(kind));
    let asks_servers_only = !request.servers.is_empty() || request.each_server || !wants_addresses;
    if asks_servers_only {
        setup.sources = vec![Source::Dns];
    }
    let query = Query {
        name: request.name.as_bstr(),
        kinds,
        exact: request.exact,
        tcp: request.tcp,
        edns: request.edns,
        limit: request.timeout,
        with_files: !asks_servers_only,
        each_server: request.each_server,
    };
    resolver::look_up(&mut steps, &network, &setup, &files, &query)?;
    target.check_alive("look up a name")?;
    steps.finish()
}
