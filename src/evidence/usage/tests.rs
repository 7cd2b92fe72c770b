//! Files of both versions, and files that say something else.

use proptest::prelude::*;

use super::*;
use crate::protocol::message::{Cause, Failure, GroupFile, SocketState};

fn sample(groups: Vec<GroupFile>) -> Sample {
    let known = |text: &str| Reading::Known(text.into());
    Sample {
        at: 5_000_000,
        wall: 1,
        ticks: 100,
        page: 4096,
        stat: known(
            "7 (a) b) S 1 7 7 0 -1 4194304 9 0 0 0 150 50 0 0 20 0 3 0 1234 8192 5 184 1 1\n",
        ),
        status: known("Name:\ta\nVmRSS:\t    2048 kB\nVmSwap:\t 1 kB\n"),
        limits: known(
            "Max open files            1024                 4096                 files     \n",
        ),
        descriptors: Reading::Known(12),
        sockets: Reading::Known(vec![SocketCount {
            state: SocketState::Listening,
            count: 1,
        }]),
        groups: Reading::Known(groups),
        pressure: vec![(
            "cpu".to_owned(),
            "some avg10=1.00 total=77\nfull avg10=0.00 total=5\n".into(),
        )],
    }
}

fn group(above: u32, name: &str, content: &str) -> GroupFile {
    GroupFile {
        above,
        unified: true,
        group: "/g".into(),
        name: name.to_owned(),
        content: Reading::Known(content.into()),
    }
}

#[test]
fn a_process_is_read_whatever_its_name_is() {
    let usage = Usage::of(&sample(Vec::new()));
    assert_eq!((usage.state, usage.threads), (Some('S'), Some(3)));
    assert_eq!(
        (usage.cpu, usage.started_ticks),
        (Some(2_000_000), Some(1234))
    );
    assert_eq!((usage.resident, usage.swapped), (Some(2 << 20), Some(1024)));
    assert_eq!(
        (usage.descriptors, usage.descriptor_limit),
        (Some(12), Some(1024))
    );
    assert_eq!(usage.machine_pressure.cpu, Some(77));
    assert!(usage.is_whole());
}

#[test]
fn version_2_says_limits_events_and_pressure() {
    let usage = Usage::of(&sample(vec![
        group(
            0,
            "cpu.stat",
            "usage_usec 9000000\nnr_periods 40\nnr_throttled 10\nthrottled_usec 700\n",
        ),
        group(0, "cpu.max", "50000 100000\n"),
        group(0, "memory.current", "1000\n"),
        group(0, "memory.max", "4000\n"),
        group(0, "memory.high", "max\n"),
        group(0, "memory.stat", "anon 1\ninactive_file 300\n"),
        group(
            0,
            "memory.events",
            "low 0\nhigh 0\nmax 6\noom 2\noom_kill 1\n",
        ),
        group(
            0,
            "memory.pressure",
            "some avg10=0.00 avg60=0.00 avg300=0.00 total=900\n",
        ),
        group(0, "pids.current", "4\n"),
        group(0, "pids.max", "max\n"),
    ]));
    assert_eq!(
        usage.group_cpu,
        Cpu {
            used: Some(9_000_000),
            limit: Some(500),
            periods: Some(40),
            throttled_periods: Some(10),
            throttled: Some(700),
        }
    );
    let memory = usage.group_memory;
    assert_eq!(
        (memory.used, memory.working_set, memory.limit),
        (Some(1000), Some(700), Some(4000))
    );
    assert_eq!(
        (memory.high, memory.killed, memory.met_limit),
        (None, Some(1), Some(6))
    );
    assert_eq!(usage.pressure.memory, Some(900));
    assert_eq!(
        (usage.group_tasks.count, usage.group_tasks.limit),
        (Some(4), None)
    );
}

#[test]
fn version_1_says_the_same_in_other_words() {
    let usage = Usage::of(&sample(vec![
        group(
            0,
            "cpu.stat",
            "nr_periods 40\nnr_throttled 10\nthrottled_time 700000\n",
        ),
        group(0, "cpu.cfs_quota_us", "20000\n"),
        group(0, "cpu.cfs_period_us", "100000\n"),
        group(0, "cpuacct.usage", "9000000000\n"),
        group(0, "memory.usage_in_bytes", "1000\n"),
        group(0, "memory.limit_in_bytes", "9223372036854771712\n"),
        group(
            0,
            "memory.stat",
            "total_inactive_file 400\nhierarchical_memory_limit 4000\n",
        ),
        group(
            0,
            "memory.oom_control",
            "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n",
        ),
    ]));
    assert_eq!(
        (usage.group_cpu.used, usage.group_cpu.limit),
        (Some(9_000_000), Some(200))
    );
    assert_eq!(usage.group_cpu.throttled, Some(700));
    let memory = usage.group_memory;
    assert_eq!(
        (memory.limit, memory.working_set, memory.killed),
        (Some(4000), Some(600), Some(3))
    );
}

#[test]
fn no_limit_is_no_number() {
    let usage = Usage::of(&sample(vec![
        group(0, "cpu.cfs_quota_us", "-1\n"),
        group(0, "cpu.cfs_period_us", "100000\n"),
        group(0, "cpu.stat", "nr_periods 0\n"),
        group(0, "memory.usage_in_bytes", "1000\n"),
        group(0, "memory.limit_in_bytes", "9223372036854771712\n"),
    ]));
    assert_eq!(
        (usage.group_cpu.limit, usage.group_memory.limit),
        (None, None)
    );
    assert_eq!(usage.group_memory.used, Some(1000));
}

#[test]
fn the_lowest_limit_of_the_groups_above_decides() {
    let usage = Usage::of(&sample(vec![
        group(0, "memory.current", "10\n"),
        group(0, "memory.max", "max\n"),
        group(1, "memory.current", "30\n"),
        group(1, "memory.max", "40\n"),
        group(2, "memory.current", "90\n"),
        group(2, "memory.max", "100\n"),
        group(1, "cpu.stat", "usage_usec 5\n"),
        group(1, "cpu.max", "max 100000\n"),
        group(2, "cpu.stat", "usage_usec 9\n"),
        group(2, "cpu.max", "100000 100000\n"),
    ]));
    assert_eq!(
        (usage.group_memory.used, usage.group_memory.limit),
        (Some(30), Some(40))
    );
    assert_eq!(
        (usage.group_cpu.used, usage.group_cpu.limit),
        (Some(9), Some(1000))
    );
}

#[test]
fn what_could_not_be_read_is_named_and_is_no_zero() {
    let failure = Failure::new("look", Cause::Busy);
    let mut blind = sample(Vec::new());
    blind.descriptors = Reading::Unavailable(failure.clone());
    blind.groups = Reading::Unavailable(failure);
    let usage = Usage::of(&blind);
    assert_eq!(usage.descriptors, None);
    assert_eq!(
        usage.unread,
        ["cannot look: the agent has too many requests at hand"]
    );
}

#[test]
fn two_looks_give_rates_and_a_new_beginning_gives_none() {
    let groups = |used: u64, periods: u64, throttled: u64| {
        vec![group(
            0,
            "cpu.stat",
            &format!("usage_usec {used}\nnr_periods {periods}\nnr_throttled {throttled}\n"),
        )]
    };
    let before = Usage::of(&sample(groups(1_000_000, 10, 1)));
    let mut after = Usage::of(&sample(groups(1_500_000, 20, 6)));
    after.at += 1_000_000;
    after.cpu = before.cpu.map(|cpu| cpu + 250_000);
    let found = rates(&before, &after).unwrap();
    assert_eq!(
        (found.cpu, found.group_cpu, found.throttled),
        (Some(250), Some(500), Some(500))
    );
    assert_eq!(rates(&after, &before), None);
    assert_eq!(rates(&after, &after), None);
    let mut anew = after.clone();
    anew.at += 1;
    anew.cpu = Some(0);
    assert_eq!(rates(&after, &anew).unwrap().cpu, None);
}

proptest! {
    #[test]
    fn no_file_of_a_kernel_breaks_it(
        stat in prop::collection::vec(any::<u8>(), 0..200),
        name in prop::sample::select(vec!["cpu.stat", "cpu.max", "memory.current", "memory.max", "memory.stat", "cpu.pressure"]),
        text in "[a-z_ .=0-9\n-]{0,60}",
        ticks in 0_u32..3,
    ) {
        let mut hostile = sample(vec![group(0, name, &text), group(u32::MAX, name, &text)]);
        hostile.stat = Reading::Known(stat.into());
        hostile.ticks = ticks;
        let usage = Usage::of(&hostile);
        let _ = rates(&usage, &usage);
    }
}
