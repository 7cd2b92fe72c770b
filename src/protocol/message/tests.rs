use super::*;
use crate::object::{HashKind, ObjectId};

/// What a message looks like on the wire; a changed byte is a changed protocol.
fn golden<T: Serialize + for<'a> Deserialize<'a> + PartialEq + std::fmt::Debug>(
    message: T,
    bytes: &[u8],
) {
    assert_eq!(to_bytes(&message), bytes, "{message:?}");
    assert_eq!(from_bytes::<T>(bytes), Some(message));
}

const PROCESS: ProcessId = ProcessId {
    pid: 300,
    started: 5,
};

fn entry() -> Entry {
    Entry {
        path: "a".into(),
        kind: FileKind::Symlink,
        permissions: 0o777,
        uid: 1,
        gid: 2,
        size: 3,
        modified: -1,
        changed: 1,
        link: Some("b".into()),
    }
}

const ENTRY: [u8; 12] = [1, b'a', 2, 255, 3, 1, 2, 3, 1, 2, 1, 1];

#[test]
fn requests_have_these_bytes() {
    golden(Request::Processes(ProcessScope::All), &[0, 0]);
    golden(Request::Processes(ProcessScope::Tree(7)), &[0, 1, 7]);
    golden(Request::Environment(PROCESS), &[1, 172, 2, 5]);
    golden(
        Request::Walk(WalkRequest {
            process: PROCESS,
            roots: vec!["/r".into()],
            hash: Some(HashKind::Sha256),
            hash_limit: 9,
            leave_out: vec!["x".into()],
            leave_out_paths: vec!["/y".into()],
        }),
        &[
            2, 172, 2, 5, 1, 2, b'/', b'r', 1, 1, 9, 1, 1, b'x', 1, 2, b'/', b'y',
        ],
    );
    golden(
        Request::ReadFile {
            process: PROCESS,
            path: "p".into(),
        },
        &[3, 172, 2, 5, 1, b'p'],
    );
    golden(
        Request::List {
            process: PROCESS,
            path: "p".into(),
        },
        &[4, 172, 2, 5, 1, b'p'],
    );
    for (number, file) in (0..).zip(ProcFile::ALL) {
        golden(
            Request::ProcFile {
                process: PROCESS,
                file,
            },
            &[5, 172, 2, 5, number],
        );
    }
    golden(Request::Agent, &[6]);
    golden(
        Request::ReadRange {
            process: PROCESS,
            path: "p".into(),
            offset: 1,
            length: 300,
        },
        &[7, 172, 2, 5, 1, b'p', 1, 172, 2],
    );
    golden(
        Request::Run(RunRequest {
            process: PROCESS,
            command: vec!["c".into()],
            terminal: Some(Terminal {
                name: "t".into(),
                size: TerminalSize {
                    rows: 24,
                    columns: 200,
                },
            }),
            environment: vec![("n".into(), "v".into())],
            folder: Some("f".into()),
            chroot: true,
            title: "p".into(),
        }),
        &[
            8, 172, 2, 5, 1, 1, b'c', 1, 1, b't', 24, 200, 1, 1, 1, b'n', 1, b'v', 1, 1, b'f', 1,
            1, b'p',
        ],
    );
}

#[test]
fn runs_have_these_bytes() {
    golden(
        RunHead {
            pid: 1,
            program: "s".into(),
            path: "/".into(),
            user: 2,
            group: 3,
            folder: Reading::Known("f".into()),
            applets: Some(Reading::Known("a".into())),
        },
        &[1, 1, b's', 1, b'/', 2, 3, 0, 1, b'f', 1, 0, 1, b'a'],
    );
    golden(RunEnd::Exited(255), &[0, 255]);
    golden(RunEnd::Killed { signal: 9 }, &[1, 18]);
    golden(RunEnd::NotStarted { errno: 2 }, &[2, 4]);
    for (number, signal) in (0..).zip(RunSignal::ALL) {
        golden(signal, &[number]);
    }
}

#[test]
fn requests_of_probes_have_these_bytes() {
    golden(
        Request::Tcp(TcpRequest {
            process: PROCESS,
            host: "h".into(),
            port: 80,
            connect_limit: 2,
            send: "s".into(),
            expect: Some("e".into()),
            wait: 3,
        }),
        &[9, 172, 2, 5, 1, b'h', 80, 2, 1, b's', 1, 1, b'e', 3],
    );
    golden(
        Request::Lookup(LookupRequest {
            process: PROCESS,
            name: "n".into(),
            kinds: vec![1],
            servers: vec![([1, 2, 3, 4], 53).into()],
            each_server: true,
            exact: false,
            tcp: true,
            edns: false,
            libc: Some(LibcKind::Musl),
            timeout: None,
        }),
        &[
            10, 172, 2, 5, 1, b'n', 1, 1, 1, 0, 1, 2, 3, 4, 53, 1, 0, 1, 0, 1, 1, 0,
        ],
    );
    golden(
        Request::Http(Box::new(HttpRequest {
            process: PROCESS,
            tls: true,
            host: "h".into(),
            port: 80,
            addresses: vec![[1, 2, 3, 4].into()],
            server_name: "n".into(),
            method: "m".into(),
            path: "/".into(),
            fields: vec![("a".into(), "b".into())],
            body: HttpUpload::Whole("x".into()),
            insecure: false,
            authorities: None,
            connect_limit: 1,
            idle_limit: 2,
            total_limit: Some(3),
            protocol: HttpProtocol::Http2,
        })),
        &[
            11, 172, 2, 5, 1, 1, b'h', 80, 1, 0, 1, 2, 3, 4, 1, b'n', 1, b'm', 1, b'/', 1, 1, b'a',
            1, b'b', 0, 1, b'x', 0, 0, 1, 2, 1, 3, 2,
        ],
    );
    let input = HttpUpload::Input {
        expect: true,
        length: Some(7),
    };
    golden(input, &[1, 1, 1, 7]);
}

#[test]
fn connections_have_these_bytes() {
    golden(
        Request::Connections(ConnectionsRequest {
            process: PROCESS,
            unix: true,
        }),
        &[12, 172, 2, 5, 1],
    );
    golden(ConnectionRecord::Network(Network::Shared), &[0, 0]);
    golden(
        ConnectionRecord::Table(SocketTable {
            protocol: Protocol::Udp,
            is_v6: true,
            way: Way::ProcNet(None),
        }),
        &[1, 1, 1, 1, 0],
    );
    golden(
        ConnectionRecord::Socket(Box::new(SocketFacts {
            protocol: Protocol::Tcp,
            near: Some(([1, 2, 3, 4], 80).into()),
            far: None,
            path: None,
            state: Some(SocketState::CloseWait),
            unread: 1,
            unsent: 2,
            retransmits: 3,
            timer: Some(4),
            uid: 5,
            inode: 6,
            only_v6: Some(true),
            tcp: Some(TcpFacts {
                backoff: 7,
                timeout: 8,
                unacknowledged: 9,
                total_retransmits: 10,
                round_trip: 11,
                last_sent: 12,
                last_received: 13,
                last_acknowledged: 14,
                bytes_acknowledged: 15,
                bytes_received: 16,
            }),
        })),
        &[
            2, 0, 1, 0, 1, 2, 3, 4, 80, 0, 0, 1, 7, 1, 2, 3, 1, 4, 5, 6, 1, 1, 1, 7, 8, 9, 10, 11,
            12, 13, 14, 15, 16,
        ],
    );
    golden(
        ConnectionRecord::Counters(Counters {
            listen_overflows: Some(1),
            listen_drops: None,
        }),
        &[3, 1, 1, 0],
    );
    golden(
        ConnectionRecord::Process(NetProcess {
            id: PROCESS,
            name: "n".into(),
        }),
        &[4, 172, 2, 5, 1, b'n'],
    );
    golden(
        ConnectionRecord::Held(vec![Held {
            descriptor: 3,
            inode: 4,
        }]),
        &[5, 1, 3, 4],
    );
}

#[test]
fn files_volumes_and_samples_have_these_bytes() {
    golden(Request::Files(PROCESS), &[13, 172, 2, 5]);
    golden(Request::Volumes(PROCESS), &[14, 172, 2, 5]);
    golden(Request::Sample(PROCESS), &[15, 172, 2, 5]);
    let known = || Reading::Known(BString::from("k"));
    golden(
        HeldFile {
            by: HeldBy::Descriptor(3),
            name: known(),
            stat: Reading::Known(HeldStat {
                kind: Some(FileKind::File),
                device: 1,
                inode: 2,
                links: 3,
                size: 4,
                allocated: 5,
                modified: -1,
                born: Some(1),
            }),
            opened: Some(Opened {
                flags: 6,
                position: 7,
            }),
        },
        &[4, 3, 0, 1, b'k', 0, 1, 0, 1, 2, 3, 4, 5, 1, 1, 2, 1, 6, 7],
    );
    golden(
        Volume {
            mount: 1,
            space: Reading::Known(Space {
                size: 2,
                free: 3,
                available: 4,
                inodes: 5,
                free_inodes: 6,
                read_only: true,
            }),
        },
        &[1, 0, 2, 3, 4, 5, 6, 1],
    );
    golden(
        Sample {
            at: 1,
            wall: -1,
            ticks: 100,
            page: 2,
            stat: known(),
            status: known(),
            limits: known(),
            descriptors: Reading::Known(3),
            sockets: Reading::Known(vec![SocketCount {
                state: SocketState::CloseWait,
                count: 4,
            }]),
            groups: Reading::Known(vec![GroupFile {
                above: 5,
                unified: true,
                group: "/g".into(),
                name: "n".to_owned(),
                content: known(),
            }]),
            pressure: vec![("p".to_owned(), "q".into())],
        },
        &[
            1, 1, 100, 2, 0, 1, b'k', 0, 1, b'k', 0, 1, b'k', 0, 3, 0, 1, 7, 4, 0, 1, 5, 1, 2,
            b'/', b'g', 1, b'n', 0, 1, b'k', 1, 1, b'p', 1, b'q',
        ],
    );
}

#[test]
fn records_of_probes_keep_their_numbers() {
    let resolution = Resolution {
        at: 1,
        took: 2,
        addresses: Vec::new(),
        error: None,
        name: None,
    };
    golden(ProbeRecord::Network(Network::Entered), &[0, 1]);
    let line = HostsLine {
        line: 1,
        address: [1, 2, 3, 4].into(),
        names: vec!["n".into()],
    };
    golden(ProbeRecord::Hosts(line), &[2, 1, 0, 1, 2, 3, 4, 1, 1, b'n']);
    golden(
        ProbeRecord::Query(Box::new(DnsQuery {
            at: 1,
            took: 2,
            server: ([1, 2, 3, 4], 53).into(),
            via: Via::Tcp,
            name: "n".to_owned(),
            rule: SearchRule::Suffix("s".into()),
            kind: 28,
            attempt: 1,
            outcome: DnsOutcome::TimedOut,
        })),
        &[3, 1, 2, 0, 1, 2, 3, 4, 53, 1, 1, b'n', 1, 1, b's', 28, 1, 1],
    );
    golden(ProbeRecord::Resolved(resolution), &[4, 1, 2, 0, 0, 0]);
    golden(
        ProbeRecord::Connection(Box::new(Connection {
            at: 1,
            took: 2,
            address: ([1, 2, 3, 4], 80).into(),
            source: None,
            route: Reading::Known(Route::default()),
            outcome: ConnectOutcome::Failed {
                errno: 5,
                icmp: Some(Icmp {
                    from: None,
                    is_v6: false,
                    kind: 3,
                    code: 1,
                }),
            },
        })),
        &[
            5, 1, 2, 0, 1, 2, 3, 4, 80, 0, 0, 0, 0, 0, 0, 0, 1, 10, 1, 0, 0, 3, 1,
        ],
    );
    let waiting = ProbeRecord::Waiting {
        at: 1,
        phase: Phase::Body,
    };
    golden(waiting, &[6, 1, 5]);
    golden(ProbeRecord::Body("b".into()), &[10, 1, b'b']);
    golden(
        ProbeRecord::BodyEnd(Box::new(BodyEnd {
            at: 1,
            phase: Phase::Head,
            sent: 2,
            acknowledged: 3,
            received: 4,
            body: 5,
            upload: Uploaded {
                bytes: 9,
                whole: false,
                stopped: true,
            },
            ending: Ending::TimedOut {
                after: 6,
                phase: Phase::Head,
            },
            http2: Some(Http2State {
                settings: Some(1),
                body_sent: 7,
                body_waits: 8,
            }),
        })),
        &[11, 1, 4, 2, 3, 4, 5, 9, 0, 1, 3, 6, 4, 1, 1, 1, 7, 8],
    );
    golden(
        ProbeRecord::Trailers(vec![("a".into(), "b".into())]),
        &[12, 1, 1, b'a', 1, b'b'],
    );
}

#[test]
fn files_have_these_bytes() {
    let with_link: Vec<u8> = ENTRY.iter().copied().chain([b'b']).collect();
    golden(FileHead { entry: entry() }, &with_link);
    golden(
        FileTail {
            length: 200,
            size: 1,
            changed: true,
        },
        &[200, 1, 1, 1],
    );
}

#[test]
fn rows_of_a_tree_have_these_bytes() {
    golden(
        TreeRecord::Root {
            root: 1,
            path: "/r".into(),
        },
        &[0, 1, 2, b'/', b'r'],
    );
    let mut bytes = vec![1, 0];
    bytes.extend(ENTRY);
    bytes.extend([b'b', 1, 0]);
    bytes.extend([7; 20]);
    golden(
        TreeRecord::Entry {
            root: 0,
            entry: entry(),
            id: Some(ObjectId::Sha1([7; 20])),
        },
        &bytes,
    );
    let failure = Failure::new("x", Cause::NotFound);
    golden(
        TreeRecord::Unreadable {
            root: 0,
            path: "p".into(),
            failure,
        },
        &[2, 0, 1, b'p', 1, b'x', 3],
    );
    for (skip, bytes) in [
        (
            Skip::PseudoFileSystem("proc".to_owned()),
            &[0, 4, b'p', b'r', b'o', b'c'][..],
        ),
        (Skip::OtherRoot(2), &[1, 2]),
        (Skip::LeftOut, &[2]),
    ] {
        let expected: Vec<u8> = [3, 0, 1, b'p']
            .into_iter()
            .chain(bytes.iter().copied())
            .collect();
        golden(
            TreeRecord::Skipped {
                root: 0,
                path: "p".into(),
                skip,
            },
            &expected,
        );
    }
}

#[test]
fn failures_have_these_bytes() {
    let identity = Identity {
        uids: [1, 2, 3, 4],
        gids: [5, 6, 7, 8],
        capabilities: Capabilities(9),
    };
    let denial = Denial {
        reader: identity.clone(),
        target: identity,
        failed: vec![
            FailedCheck::Uid,
            FailedCheck::Gid,
            FailedCheck::Dumpable,
            FailedCheck::Capabilities(Capabilities(1)),
            FailedCheck::UserNamespace,
            FailedCheck::Permissions,
            FailedCheck::Yama { scope: 2 },
        ],
    };
    let ids = [1, 2, 3, 4, 5, 6, 7, 8, 9];
    let mut bytes = vec![0, 2];
    bytes.extend(ids.iter().chain(&ids));
    bytes.extend([7, 0, 1, 2, 3, 1, 4, 5, 6, 2]);
    golden(Failure::new("", Cause::Denied(Box::new(denial))), &bytes);
    for (cause, bytes) in [
        (Cause::NoSuchProcess { pid: 1 }, &[0, 1][..]),
        (Cause::Gone(PROCESS), &[1, 172, 2, 5]),
        (Cause::NotFound, &[3]),
        (Cause::NotAFolder(FileKind::Fifo), &[4, 3]),
        (Cause::NotAFile(FileKind::CharacterDevice), &[5, 6]),
        (Cause::LinkLoop, &[6]),
        (Cause::Io { errno: 5 }, &[7, 10]),
        (Cause::KeepsChanging, &[8]),
        (Cause::TooLarge { size: 2, limit: 1 }, &[9, 2, 1]),
        (Cause::CollisionAttack, &[10]),
        (Cause::Cancelled, &[11]),
        (Cause::Busy, &[12]),
        (Cause::BadRequest, &[13]),
        (Cause::Unparsable, &[14]),
        (Cause::LeadsOutside, &[15]),
        (Cause::NoShell, &[16]),
        (Cause::Lacks(Capabilities::SYS_CHROOT), &[17, 128, 128, 16]),
    ] {
        let expected: Vec<u8> = std::iter::once(0).chain(bytes.iter().copied()).collect();
        golden(Failure::new("", cause), &expected);
    }
}

#[test]
fn processes_and_sockets_have_these_bytes() {
    let process = Process {
        id: PROCESS,
        parent: 1,
        inner_pid: 2,
        state: b'S',
        name: "n".into(),
        credentials: Credentials {
            uids: [1; 4],
            gids: [2; 4],
        },
        started_at: 3,
        threads: 4,
        resident: 5,
        arguments: vec!["a".into(), "".into()],
        arguments_cut: false,
        executable: Reading::Known("e".into()),
        folder: Reading::Unavailable(Failure::new("", Cause::Busy)),
        listening: Reading::Known(vec![Address {
            protocol: Protocol::Udp,
            address: ([1, 2, 3, 4], 80).into(),
        }]),
        container: Reading::Known(ContainerMark {
            ids: Vec::new(),
            pod: Some("p".to_owned()),
            name: None,
            root_mount: Some(200),
        }),
    };
    golden(
        process,
        &[
            172, 2, 5, 1, 2, b'S', 1, b'n', 1, 1, 1, 1, 2, 2, 2, 2, 6, 4, 5, 2, 1, b'a', 0, 0, 0,
            1, b'e', 1, 0, 12, 0, 1, 1, 0, 1, 2, 3, 4, 80, 0, 0, 1, 1, b'p', 0, 1, 200, 1,
        ],
    );
}

#[test]
fn an_agent_has_these_bytes() {
    let range = |inside| IdRange {
        inside,
        outside: 2,
        count: 3,
    };
    let agent = Agent {
        process: PROCESS,
        build: "b".to_owned(),
        credentials: Credentials {
            uids: [1; 4],
            gids: [2; 4],
        },
        effective: Capabilities(3),
        permitted: Capabilities(4),
        bounding: Capabilities(5),
        no_new_privileges: Some(true),
        seccomp: Some(Seccomp::Filter),
        is_initial_user_namespace: Reading::Known(true),
        uid_map: vec![range(0)],
        gid_map: vec![range(1)],
        ptrace_scope: Reading::Known(None),
        container: Reading::Known(ContainerMark {
            ids: vec![ContainerId([6; 32])],
            ..ContainerMark::default()
        }),
    };
    let mut bytes = vec![172, 2, 5, 1, b'b', 1, 1, 1, 1, 2, 2, 2, 2, 3, 4, 5];
    bytes.extend([1, 1, 1, 2, 0, 1, 1, 0, 2, 3, 1, 1, 2, 3, 0, 0, 0, 1]);
    bytes.extend([6; 32]);
    bytes.extend([0, 0, 0]);
    golden(agent, &bytes);
}

#[test]
fn bytes_behind_a_message_are_no_message() {
    assert_eq!(from_bytes::<ProcessScope>(&[0, 0]), None);
    assert_eq!(from_bytes::<ProcessScope>(&[]), None);
    assert_eq!(from_bytes::<ProcessScope>(&[9]), None);
}
