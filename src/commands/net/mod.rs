//! `kdbg net`: who is connected to whom, whose each peer is, and what is wrong with that.

mod cluster;
mod json;
mod outline;
mod rewriting;
pub(super) mod show;

use std::{net::IpAddr, time::Duration};

use clap::Args;

use super::fan_out;
use crate::{
    cli::{
        args::{OutputFormat, TargetArgs, duration},
        error::CommandError,
        exit::ExitStatus,
        printer::Printer,
    },
    evidence::{
        connections::{Socket, Sockets},
        findings::{NetFacts, PodFacts, Verdict, has_full_queue, judge_sockets},
        peers::{Directory, Names, Rewriting},
        provenance::Lookup,
    },
    protocol::message::{ConnectionRecord, ConnectionsRequest, Network, Request, Way},
    session::RequestError,
    target::{Place, Target, pod::directory},
};

/// How long a queue must stay full to be no burst.
const AGAIN: Duration = Duration::from_secs(1);

/// Arguments of `kdbg net`.
#[derive(Args, Debug)]
pub struct NetArgs {
    #[command(flatten)]
    target: TargetArgs,
    /// Show only what waits for connections
    #[arg(long, conflicts_with = "all_sockets")]
    listening: bool,
    /// Show each socket by itself, also those that wait for the last packets, Unix sockets, and what other processes
    /// of this machine hold
    #[arg(short = 'a', long)]
    all_sockets: bool,
    /// How far back to look for the pod that had an address
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = duration)]
    since: Duration,
    /// How to print it
    #[arg(short, long, value_enum, value_name = "FORMAT", default_value_t)]
    output: OutputFormat,
}

/// All that is known of the connections of a target.
struct Known {
    sockets: Sockets,
    /// The same a moment later, when that was worth a look.
    again: Option<Sockets>,
    /// Whose addresses are; empty where there is no cluster.
    directory: Directory,
    pod: Option<PodFacts>,
    rewriting: Rewriting,
    /// Sockets of other processes that were left out.
    others: usize,
    /// What would let in whoever could not see something, each a sentence that starts with a verb.
    remedies: Vec<String>,
}

/// Runs `kdbg net`.
pub async fn run(args: NetArgs, printer: &mut Printer) -> Result<ExitStatus, CommandError> {
    fan_out::run(
        &args.target,
        args.output,
        printer,
        async |target, printer| {
            let status = Box::pin(look(&args, &target, printer)).await;
            target.close().await;
            status
        },
    )
    .await
}

async fn look(
    args: &NetArgs,
    target: &Target,
    printer: &mut Printer,
) -> Result<ExitStatus, CommandError> {
    let progress = printer.progress("reading the sockets, and whose the peers are");
    let directory = cluster::directory(target, cluster::of_cluster(target));
    let known = Box::pin(Known::read(target, args.all_sockets, args.since, directory)).await?;
    drop(progress);
    let names = known.names();
    let verdict = known.judge(names.as_ref());
    printer.compare_by_outline(outline::lines(&known, names.as_ref(), &verdict));
    match args.output {
        OutputFormat::Text => show::text(args, &known, names.as_ref(), &verdict, printer)?,
        OutputFormat::Json => {
            printer.json(&json::Report::new(target, &known, names.as_ref(), &verdict))?;
        }
    }
    let is_seen = known
        .sockets
        .unseen
        .iter()
        .all(|(process, _)| process.id != target.process().id);
    Ok(ExitStatus::of_comparison(
        verdict.is_found(),
        is_seen && verdict.unchecked.is_empty(),
    ))
}

impl Known {
    /// Reads the sockets, and asks the cluster of a pod whose the peers are.
    async fn read(
        target: &Target,
        all: bool,
        since: Duration,
        directory: impl Future<Output = Directory>,
    ) -> Result<Self, RequestError> {
        let (sockets, mut directory) = tokio::join!(sockets(target, all), directory);
        let mut sockets = sockets?;
        // The network of a machine is everybody's, that of a pod its own.
        let is_everybodys =
            matches!(target.place, Place::Machine(_)) && sockets.network == Some(Network::Shared);
        let others = if is_everybodys && !all {
            let own: Vec<_> = target.processes.iter().map(|one| one.id.pid).collect();
            sockets.keep_those_of(&own)
        } else {
            0
        };
        let again = if has_full_queue(&sockets) {
            tokio::time::sleep(AGAIN).await;
            Some(self::sockets(target, false).await?)
        } else {
            None
        };
        if let Place::Pod(place) = &target.place {
            let wanted = without_owner(&sockets, &directory);
            if !wanted.is_empty() {
                directory.past = directory::past(&place.cluster, &wanted, since).await;
            }
        }
        let pod = match &target.place {
            Place::Machine(_) => None,
            Place::Pod(place) => Some(directory::pod_facts(&place.object, &place.container)),
        };
        let remedies = remedies(target, &sockets);
        let mut known = Self {
            remedies,
            sockets,
            again,
            directory,
            pod,
            rewriting: Rewriting {
                does: Lookup::Missing,
                because: String::new(),
            },
            others,
        };
        known.rewriting = rewriting::find(target, &known).await;
        Ok(known)
    }

    /// The names of addresses, where there is a cluster to ask.
    fn names(&self) -> Option<Names<'_>> {
        self.pod.as_ref().map(|_| Names::new(&self.directory))
    }

    fn facts<'a>(&'a self, names: Option<&'a Names<'a>>) -> NetFacts<'a> {
        NetFacts {
            sockets: &self.sockets,
            again: self.again.as_ref(),
            names,
            pod: self.pod.as_ref(),
            rewriting: &self.rewriting,
        }
    }

    fn judge(&self, names: Option<&Names<'_>>) -> Verdict {
        judge_sockets(&self.facts(names))
    }
}

/// What is wrong with the connections of a target, for a command that joins it with other things.
///
/// `early` is what the cluster said a moment before. Where that does not have a peer it is asked again: the peer may be
/// younger, and must not be taken for one that is gone.
pub(super) async fn verdict(
    target: &Target,
    early: Option<impl Future<Output = Result<Directory, CommandError>>>,
) -> Result<Verdict, RequestError> {
    let since = Duration::from_hours(1);
    if let Some(early) = early {
        let early = async {
            match early.await {
                Ok(early) => early,
                Err(_) => cluster::of_cluster(target).await,
            }
        };
        let directory = cluster::directory(target, early);
        let known = Box::pin(Known::read(target, false, since, directory)).await?;
        // What lies outside of the cluster is nobody's in either list.
        let may_be_younger = ["no-live-owner", "no-object", "unknown"];
        if of_kinds(&known.sockets, &known.directory, &may_be_younger).is_empty() {
            let names = known.names();
            return Ok(known.judge(names.as_ref()));
        }
    }
    let directory = cluster::directory(target, cluster::of_cluster(target));
    let known = Box::pin(Known::read(target, false, since, directory)).await?;
    let names = known.names();
    Ok(known.judge(names.as_ref()))
}

/// What would help with what could not be seen, each sentence once.
fn remedies(target: &Target, sockets: &Sockets) -> Vec<String> {
    let tables = sockets.tables.iter().filter_map(|table| match &table.way {
        Way::ProcNet(why) => why.as_ref(),
        Way::SockDiag => None,
    });
    let unseen = sockets.unseen.iter().map(|(_, failure)| failure);
    let mut remedies = Vec::new();
    for remedy in tables
        .chain(unseen)
        .flat_map(|failure| target.session.remedies(failure))
    {
        if !remedies.contains(&remedy) {
            remedies.push(remedy);
        }
    }
    remedies
}

/// Asks the agent for the sockets of the target's namespace.
pub(super) async fn sockets(target: &Target, unix: bool) -> Result<Sockets, RequestError> {
    let request = Request::Connections(ConnectionsRequest {
        process: target.process().id,
        unix,
    });
    let reply = target.session.request(&request)?;
    Ok(Sockets::of(reply.records::<ConnectionRecord>().await?))
}

/// The peers that no object has, as far as could be listed.
fn without_owner(sockets: &Sockets, directory: &Directory) -> Vec<IpAddr> {
    let kinds = ["no-live-owner", "no-object", "unknown", "external"];
    of_kinds(sockets, directory, &kinds)
}

/// The peers whose owners are of these kinds.
fn of_kinds(sockets: &Sockets, directory: &Directory, kinds: &[&str]) -> Vec<IpAddr> {
    let names = Names::new(directory);
    let mut addresses: Vec<IpAddr> = sockets
        .connections()
        .filter_map(Socket::far)
        .filter(|far| kinds.contains(&names.owner(*far).kind()))
        .map(|far| far.ip())
        .collect();
    addresses.sort_unstable();
    addresses.dedup();
    addresses
}
