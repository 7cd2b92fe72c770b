//! Each rule on its fault, and on the controls at which it must stay silent.

use super::*;
use crate::{
    evidence::{
        files::{Limit, stores},
        provenance::Lookup,
    },
    protocol::message::{Cause, Failure, FileKind, Opened, Process, Reading, Space, Volume},
};

const NOW: i64 = 1_000_000_000;
const MINUTE: i64 = 60_000;
const WRONLY: u32 = 0o1;
const TMPFILE: u32 = 0o20_200_002;

/// A process that holds nothing, on a file system of 1 GiB that is half full, with `/data` of 10 MiB.
fn facts() -> FileFacts {
    let mut process = Process::example(7, 1, &["/bin/app"]);
    process.started_at = NOW - 600 * MINUTE;
    let mut facts = FileFacts::of("pid/7", &process);
    facts.now = NOW;
    facts.descriptors = Lookup::Found(Limit {
        soft: Bound::At(1000),
        hard: Bound::At(4000),
    });
    facts.held = Lookup::Found(Vec::new());
    on(&mut facts, half(1 << 30), half(10 << 20));
    facts
}

fn half(size: u64) -> Space {
    Space {
        size,
        free: size / 2,
        available: size / 2,
        inodes: 1000,
        free_inodes: 900,
        read_only: false,
    }
}

fn full(size: u64) -> Space {
    Space {
        free: 0,
        available: 0,
        ..half(size)
    }
}

fn on(facts: &mut FileFacts, root: Space, data: Space) {
    let table = b"29 1 8:1 / / rw - ext4 /dev/a rw\n30 29 0:9 / /data rw - tmpfs tmpfs rw\n";
    let volume = |mount, space| Volume {
        mount,
        space: Reading::Known(space),
    };
    let volumes = vec![volume(29, root), volume(30, data)];
    facts.stores = Lookup::Found(stores(table, volumes, &[]));
}

fn file(descriptor: u32, name: &str, flags: u32) -> HeldFile {
    HeldFile {
        by: HeldBy::Descriptor(descriptor),
        name: Reading::Known(name.into()),
        stat: Reading::Known(HeldStat {
            kind: Some(FileKind::File),
            device: 1,
            inode: u64::from(descriptor),
            links: u64::from(!name.ends_with("(deleted)")),
            size: 1 << 20,
            allocated: 1 << 20,
            modified: NOW * 1_000_000,
            born: None,
        }),
        opened: Some(Opened { flags, position: 0 }),
    }
}

fn stat(file: &mut HeldFile) -> &mut HeldStat {
    match &mut file.stat {
        Reading::Known(stat) => stat,
        Reading::Unavailable(_) => unreachable!("the tests know it"),
    }
}

fn holds(facts: &mut FileFacts, files: Vec<HeldFile>) {
    facts.held = Lookup::Found(files);
}

fn found(facts: &FileFacts) -> Vec<(&'static str, Severity)> {
    let findings = files(facts).into_iter();
    findings
        .map(|one| (one.id.as_str(), one.severity))
        .collect()
}

#[test]
fn a_deleted_file_that_takes_up_much_is_found_once() {
    let mut facts = facts();
    let mut large = file(3, "/var/cache/a.dat (deleted)", WRONLY);
    stat(&mut large).allocated = 100 << 20;
    let mut again = large.clone();
    again.by = HeldBy::Descriptor(9);
    holds(&mut facts, vec![large.clone(), again]);
    assert_eq!(found(&facts), [("files.deleted-open", Severity::Medium)]);
    let finding = files(&facts).remove(0);
    assert_eq!(finding.about, "/var/cache/a.dat");
    assert!(finding.facts[0].text.contains_str("descriptor 3, 9"));
    // Large, but a small part of what there is.
    on(&mut facts, half(1 << 40), half(10 << 20));
    assert_eq!(found(&facts), [("files.deleted-open", Severity::Low)]);
    // Small, but a large part of what there is.
    holds(&mut facts, vec![file(3, "/data/b (deleted)", 0)]);
    assert_eq!(found(&facts), [("files.deleted-open", Severity::Medium)]);
}

#[test]
fn a_deleted_file_that_is_meant_so_is_not_found() {
    let mut facts = facts();
    let large = |name: &str, flags| {
        let mut large = file(3, name, flags);
        // Less than a twentieth of the file system.
        stat(&mut large).allocated = 40 << 20;
        large
    };
    let mut linked = large("/var/lib/a (deleted)", WRONLY);
    stat(&mut linked).links = 1;
    let mut sparse = large("/var/lib/a (deleted)", WRONLY);
    (stat(&mut sparse).size, stat(&mut sparse).allocated) = (10 << 30, 0);
    let mut unknown = large("/var/lib/a (deleted)", WRONLY);
    unknown.stat = Reading::Unavailable(Failure::new("look", Cause::Busy));
    let mut mapped = large("/usr/lib/a.so (deleted)", 0);
    mapped.by = HeldBy::Mapping;
    for (why, held) in [
        ("it is small", large("/var/lib/a (deleted)", WRONLY)),
        ("it has another name", linked),
        ("it takes up nothing", sparse),
        ("nobody knows", unknown),
        ("it is a library", mapped),
        ("it never had a name", large("/memfd:jit (deleted)", 2)),
        ("it is shared memory", large("/SYSV00000000 (deleted)", 2)),
        ("it is not deleted", large("/var/lib/a", WRONLY)),
    ] {
        holds(&mut facts, vec![held]);
        assert_eq!(found(&facts), [], "{why}");
    }
    // Temporary files may be larger than others.
    on(&mut facts, half(100 << 30), half(10 << 20));
    for (name, flags) in [
        ("/tmp/tmpf3Xa (deleted)", 2),
        ("/var/lib/#123 (deleted)", TMPFILE),
    ] {
        let mut temporary = large(name, flags);
        stat(&mut temporary).allocated = 1 << 30;
        holds(&mut facts, vec![temporary]);
        assert_eq!(found(&facts), [], "{name}");
    }
}

#[test]
fn a_full_file_system_is_found_by_bytes_and_by_files() {
    let mut facts = facts();
    on(&mut facts, half(1 << 30), full(10 << 20));
    assert_eq!(found(&facts), [("files.volume-full", Severity::Medium)]);
    holds(&mut facts, vec![file(3, "/data/out", WRONLY)]);
    assert_eq!(found(&facts), [("files.volume-full", Severity::High)]);
    assert!(files(&facts)[0].facts[1].text.contains_str("/data/out"));
    let no_inodes = Space {
        free_inodes: 0,
        ..half(10 << 20)
    };
    on(&mut facts, half(1 << 30), no_inodes);
    assert_eq!(found(&facts), [("files.volume-full", Severity::High)]);
    assert!(files(&facts)[0].cause.contains_str("no more files"));
    // Nearly.
    let little = Space {
        free: 100 << 10,
        available: 100 << 10,
        ..half(10 << 20)
    };
    on(&mut facts, half(1 << 30), little);
    assert_eq!(found(&facts), [("files.volume-full", Severity::Low)]);
    // What is kept for root, root may use.
    let kept = Space {
        free: 50 << 20,
        ..full(1 << 30)
    };
    facts.uid = 0;
    on(&mut facts, kept, half(10 << 20));
    assert_eq!(files(&facts)[0].confidence, Confidence::Likely);
}

#[test]
fn a_file_system_that_is_full_by_its_nature_is_not_found() {
    let mut facts = facts();
    holds(&mut facts, vec![file(3, "/data/out", 0)]);
    for (why, space) in [
        (
            "it is read-only",
            Space {
                read_only: true,
                ..full(10 << 20)
            },
        ),
        (
            "it has no limit",
            Space {
                inodes: 0,
                free_inodes: 0,
                ..full(0)
            },
        ),
        (
            "it is large: 4 % of it are much",
            Space {
                free: 40 << 30,
                available: 40 << 30,
                ..half(1 << 40)
            },
        ),
        (
            "it makes files as it needs them",
            Space {
                inodes: 0,
                free_inodes: 0,
                ..half(1 << 20)
            },
        ),
    ] {
        on(&mut facts, half(1 << 30), space);
        assert_eq!(found(&facts), [], "{why}");
    }
    let failure = Failure::new("look", Cause::Busy);
    let table = b"30 29 0:9 / /data rw - tmpfs tmpfs rw\n";
    let unknown = Volume {
        mount: 30,
        space: Reading::Unavailable(failure),
    };
    facts.stores = Lookup::Found(stores(table, vec![unknown], &[]));
    assert_eq!(found(&facts), [], "nobody knows");
    facts.stores = Lookup::Unreadable("denied".to_owned());
    assert_eq!(found(&facts), [], "nobody knows anything");
}

#[test]
fn descriptors_are_near_their_limit_from_nine_tenths_on() {
    let mut facts = facts();
    let many = |count| {
        (0..count)
            .map(|number| file(number, "/a", 0))
            .collect::<Vec<_>>()
    };
    for (count, limit, expected) in [
        (900, 1000, Some(Severity::Medium)),
        (1000, 1000, Some(Severity::High)),
        (899, 1000, None),
        // Lowered after they were opened, as sandboxes do.
        (1200, 1000, None),
        // One that was inherited with a high number.
        (1001, 1000, Some(Severity::High)),
        (3, 3, None),
        (0, 0, None),
    ] {
        holds(&mut facts, many(count));
        facts.descriptors = Lookup::Found(Limit {
            soft: Bound::At(limit),
            hard: Bound::At(limit),
        });
        let expected: Vec<_> = expected
            .map(|severity| ("files.fd-limit-near", severity))
            .into_iter()
            .collect();
        assert_eq!(found(&facts), expected, "{count} of {limit}");
    }
    holds(&mut facts, many(1000));
    facts.descriptors = Lookup::Found(Limit {
        soft: Bound::Unlimited,
        hard: Bound::Unlimited,
    });
    assert_eq!(found(&facts), []);
    facts.descriptors = Lookup::Unreadable("denied".to_owned());
    assert_eq!(found(&facts), []);
}

/// A log of 10 MiB that was written over two hours and has been silent for one.
fn silent_log(name: &str) -> HeldFile {
    let mut log = file(3, name, WRONLY);
    let stat = stat(&mut log);
    stat.size = 10 << 20;
    stat.modified = (NOW - 60 * MINUTE) * 1_000_000;
    stat.born = Some((NOW - 180 * MINUTE) * 1_000_000);
    log
}

const BUSY: Activity = Activity {
    now: 200,
    mean: 210,
};

#[test]
fn a_steady_log_that_falls_silent_under_a_busy_process_is_found() {
    let mut facts = facts();
    facts.activity = Lookup::Found(BUSY);
    holds(&mut facts, vec![silent_log("/app/server.log")]);
    assert_eq!(found(&facts), [("files.log-stalled", Severity::Low)]);
    assert_eq!(files(&facts)[0].confidence, Confidence::Possible);
    assert!(asks_for_activity(&facts));
    // A full file system is a reason, whatever the process does.
    facts.activity = Lookup::Missing;
    holds(&mut facts, vec![silent_log("/data/server.log")]);
    on(&mut facts, half(1 << 30), full(10 << 20));
    assert_eq!(
        found(&facts),
        [
            ("files.volume-full", Severity::High),
            ("files.log-stalled", Severity::Medium)
        ]
    );
}

#[test]
fn a_silence_that_has_another_reason_is_not_found() {
    let mut facts = facts();
    let log = || silent_log("/app/server.log");
    let edited = |edit: fn(&mut HeldStat)| {
        let mut log = log();
        edit(stat(&mut log));
        log
    };
    let read = HeldFile {
        opened: Some(Opened {
            flags: 0,
            position: 0,
        }),
        ..log()
    };
    facts.activity = Lookup::Found(BUSY);
    for (why, held) in [
        (
            "it was written just now",
            edited(|stat| stat.modified = (NOW - MINUTE) * 1_000_000),
        ),
        ("it is an error log", silent_log("/var/log/error.log")),
        ("it is no log", silent_log("/app/data.db")),
        ("it is only read", read),
        (
            "nobody wrote it since the process started",
            edited(|stat| stat.modified = 1),
        ),
        ("it has a line a day", edited(|stat| stat.size = 100)),
        (
            "nobody knows how it was written before",
            edited(|stat| stat.born = None),
        ),
        (
            "it was written for a minute only",
            edited(|stat| stat.born = Some(stat.modified - 60_000_000_000)),
        ),
        ("it is empty", edited(|stat| stat.size = 0)),
        (
            "its time is in the future",
            edited(|stat| stat.modified = i64::MAX),
        ),
        (
            "its time is nonsense",
            edited(|stat| (stat.modified, stat.born) = (i64::MIN, Some(i64::MAX))),
        ),
    ] {
        holds(&mut facts, vec![held]);
        assert_eq!(found(&facts), [], "{why}");
    }
    holds(&mut facts, vec![log()]);
    for activity in [
        Lookup::Missing,
        Lookup::Found(Activity { now: 0, mean: 0 }),
        Lookup::Found(Activity { now: 20, mean: 800 }),
    ] {
        facts.activity = activity;
        assert_eq!(found(&facts), [], "{:?}", facts.activity);
    }
}
