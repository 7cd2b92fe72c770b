//! Asking for what a process holds, and on what.

use std::time::Duration;

use tokio::time::sleep;

use crate::{
    commands::fetch::is_final,
    evidence::{
        files::{Activity, FileFacts, limit, stores},
        findings::asks_for_activity,
        noise::mounts::Mount,
        provenance::Lookup,
        usage::Usage,
    },
    protocol::message::{Failure, ProcFile, Reading, Request, Sample, Volume},
    session::RequestError,
    target::{Place, Target},
};

/// The most that is read of a table of the kernel.
const LIMIT: usize = 8 << 20;
/// How long a process is looked at to see how busy it is.
const BUSY: Duration = Duration::from_secs(1);

/// Asks for all that the rules about files look at. `named` is the target as kdbg takes it.
pub(in crate::commands) async fn facts(
    target: &Target,
    named: &str,
    stalled_after: Duration,
) -> Result<FileFacts, RequestError> {
    let process = target.process();
    let mut facts = FileFacts::of(named, process);
    facts.stalled_after = stalled_after;
    let (held, volumes, mountinfo, limits, sample) = tokio::join!(
        records(target, Request::Files(process.id)),
        records::<Volume>(target, Request::Volumes(process.id)),
        table(target, ProcFile::Mountinfo),
        table(target, ProcFile::Limits),
        sample(target),
    );
    let mut remedies = Remedies::default();
    facts.held = remedies.lookup(held)?;
    facts.stores = match (remedies.lookup(volumes)?, remedies.lookup(mountinfo)?) {
        (Lookup::Found(volumes), Lookup::Found(table)) => {
            Lookup::Found(stores(&table, volumes, declared(target)))
        }
        (Lookup::Unreadable(why), _) | (_, Lookup::Unreadable(why)) => Lookup::Unreadable(why),
        _ => Lookup::Missing,
    };
    facts.descriptors = match remedies.lookup(limits)? {
        Lookup::Found(table) => limit(&table, "Max open files").map_or_else(
            || Lookup::Unreadable("`/proc/PID/limits` has no `Max open files`".to_owned()),
            Lookup::Found,
        ),
        Lookup::Unreadable(why) => Lookup::Unreadable(why),
        Lookup::Missing => Lookup::Missing,
    };
    remedies.of_parts(target, &facts);
    facts.remedies = remedies.0;
    // The clock beside the files, not this machine's.
    let sample = sample?;
    facts.now = sample.wall;
    if asks_for_activity(&facts) {
        sleep(BUSY).await;
        facts.activity = activity(&sample, &self::sample(target).await?, facts.started_at)
            .map_or(Lookup::Missing, Lookup::Found);
    }
    Ok(facts)
}

/// Takes one look at the process.
pub(in crate::commands) async fn sample(target: &Target) -> Result<Sample, RequestError> {
    let request = Request::Sample(target.process().id);
    let mut reply = target.session.request(&request)?;
    let sample = reply.head().await?;
    // Until its end, where its count and digest are.
    while reply.next().await?.is_some() {}
    Ok(sample)
}

/// How busy the process was between two looks, and from its start.
fn activity(before: &Sample, after: &Sample, started_at: i64) -> Option<Activity> {
    let (first, second) = (Usage::of(before), Usage::of(after));
    let now = crate::evidence::usage::rates(&first, &second)?.cpu?;
    let lived = u64::try_from(after.wall.checked_sub(started_at)?).ok()?;
    // Microseconds a millisecond are thousandths.
    let mean = second.cpu?.checked_div(lived)?;
    Some(Activity { now, mean })
}

/// The volumes that the pod of a target declares; none on this machine.
fn declared(target: &Target) -> &[Mount] {
    match &target.place {
        Place::Machine(_) => &[],
        Place::Pod(place) => &place.volumes,
    }
}

async fn records<T: for<'a> serde::Deserialize<'a>>(
    target: &Target,
    request: Request,
) -> Result<Vec<T>, RequestError> {
    target.session.request(&request)?.records().await
}

async fn table(target: &Target, file: ProcFile) -> Result<Vec<u8>, RequestError> {
    let process = target.process().id;
    let request = Request::ProcFile { process, file };
    target.session.request(&request)?.bytes(LIMIT).await
}

/// What would let in whoever could not read something, each sentence once.
#[derive(Default)]
struct Remedies(Vec<String>);

impl Remedies {
    /// What cannot be read is not known; when the process or the conversation has ended, nothing will be.
    fn lookup<T>(&mut self, result: Result<T, RequestError>) -> Result<Lookup<T>, RequestError> {
        match result {
            Ok(value) => Ok(Lookup::Found(value)),
            Err(error) if is_final(&error) => Err(error),
            Err(error) => {
                if let RequestError::Failed(failure) = &error {
                    self.add(failure.remedies());
                }
                Ok(Lookup::Unreadable(error.to_string()))
            }
        }
    }

    /// Of what could be read in part.
    fn of_parts(&mut self, target: &Target, facts: &FileFacts) {
        let stores = facts.stores.found().into_iter().flatten();
        let spaces = stores.filter_map(|store| failure(&store.space));
        let held = facts.held().iter();
        let held = held.filter_map(|file| failure(&file.name).or_else(|| failure(&file.stat)));
        for failure in held.chain(spaces) {
            self.add(target.session.remedies(failure));
        }
    }

    fn add(&mut self, remedies: Vec<String>) {
        for remedy in remedies {
            if !self.0.contains(&remedy) {
                self.0.push(remedy);
            }
        }
    }
}

const fn failure<T>(reading: &Reading<T>) -> Option<&Failure> {
    match reading {
        Reading::Known(_) => None,
        Reading::Unavailable(failure) => Some(failure),
    }
}
