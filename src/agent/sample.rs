//! What a process and its control groups use now.

use std::{
    collections::BTreeMap,
    fs::File,
    io::Read as _,
    sync::OnceLock,
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use bstr::BString;
use nix::{
    errno::Errno,
    unistd::{SysconfVar, sysconf},
};

use super::{
    Answer, Output,
    access::Guard,
    groups,
    net::{Descriptors, for_each_socket_of},
    target::Target,
};
use crate::protocol::message::{ProcessId, Protocol, Reading, Sample, SocketCount, to_bytes};

/// The most that is read of one file.
const LIMIT: u64 = 64 * 1024;

/// Sends one look at a process. Each part that cannot be read says why.
pub(super) fn answer(process: ProcessId, output: &mut dyn Output) -> Answer {
    let target = Target::open(process)?;
    let sample = Sample {
        at: now(),
        wall: wall(),
        ticks: setting(SysconfVar::CLK_TCK, 100),
        page: setting(SysconfVar::PAGE_SIZE, 4096),
        stat: file(&target, "stat"),
        status: file(&target, "status"),
        limits: file(&target, "limits"),
        descriptors: descriptors(&target),
        sockets: sockets(&target),
        groups: groups::read(&target).into(),
        pressure: pressure(),
    };
    target.check_alive("look at what is used")?;
    output.head(&to_bytes(&sample))?;
    Ok(Vec::new())
}

/// Since the first look of this agent.
fn now() -> u64 {
    static FIRST: OnceLock<Instant> = OnceLock::new();
    let since = FIRST.get_or_init(Instant::now).elapsed();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

fn wall() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    i64::try_from(now.unwrap_or_default().as_millis()).unwrap_or(0)
}

fn setting(name: SysconfVar, usual: u32) -> u32 {
    let value = sysconf(name).ok().flatten();
    value
        .and_then(|value| u32::try_from(value).ok())
        .filter(|value| *value > 0)
        .unwrap_or(usual)
}

fn file(target: &Target, name: &str) -> Reading<BString> {
    let read = target
        .file(name)
        .and_then(|file| limited(file, LIMIT))
        .map_err(|errno| {
            let doing = format!("read `{name}` of process {}", target.id().pid);
            target.failure(doing, errno, Guard::Trace)
        });
    read.into()
}

/// Reads a file, at most so many bytes.
pub(super) fn limited(file: File, limit: u64) -> Result<BString, Errno> {
    let mut bytes = Vec::new();
    file.take(limit)
        .read_to_end(&mut bytes)
        .map_err(|error| super::target::errno_of(&error))?;
    Ok(bytes.into())
}

fn descriptors(target: &Target) -> Reading<u32> {
    let count = Descriptors::open(target).and_then(|descriptors| {
        let mut count = 0_u32;
        descriptors.for_each(|_| {
            count = count.saturating_add(1);
            Ok(())
        })?;
        Ok(count)
    });
    let count = count.map_err(|errno| {
        let doing = format!("count the descriptors of process {}", target.id().pid);
        target.failure(doing, errno, Guard::Bits)
    });
    count.into()
}

/// TCP sockets by state.
fn sockets(target: &Target) -> Reading<Vec<SocketCount>> {
    let mut counts = BTreeMap::new();
    let counted = for_each_socket_of(target, &[Protocol::Tcp], &mut |socket| {
        if let Some(state) = socket.state {
            *counts.entry(state).or_insert(0_u32) += 1;
        }
    });
    let counted = counted.map_err(|errno| {
        let doing = format!("count the sockets of process {}", target.id().pid);
        target.failure(doing, errno, Guard::Trace)
    });
    let rows = counts
        .into_iter()
        .map(|(state, count)| SocketCount { state, count })
        .collect();
    counted.map(|()| rows).into()
}

/// What the whole machine waits for; not there before Linux 4.20, and not with `psi=0`.
fn pressure() -> Vec<(String, BString)> {
    let names = ["cpu", "memory", "io"].into_iter();
    names
        .filter_map(|name| {
            let file = File::open(format!("/proc/pressure/{name}")).ok()?;
            Some((name.to_owned(), limited(file, LIMIT).ok()?))
        })
        .collect()
}
