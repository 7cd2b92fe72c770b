//! What the agent says of itself.

use std::{
    fmt::Write as _,
    fs::File,
    io::{self, Read as _},
};

use nix::errno::Errno;
use sha2::{Digest as _, Sha256};

use super::{
    Answer, Output, Stop,
    container::Mounts,
    status::{self, number},
    target::{Target, errno_of},
};
use crate::protocol::{
    Hello,
    message::{Agent, Cause, Failure, IdRange, to_bytes},
};

/// `PROC_USER_INIT_INO` (`include/linux/proc_ns.h`): the number of the user namespace that a node starts with.
const INITIAL_USER_NAMESPACE: &str = "user:[4026531837]";

/// Sends who the agent is.
pub(super) fn answer(output: &mut dyn Output) -> Answer {
    output.head(&to_bytes(&describe()?))?;
    Ok(Vec::new())
}

/// The agent, as its main thread is: requests may be answered with other ids for a while.
pub(super) fn describe() -> Result<Agent, Stop> {
    let doing = "look at the agent";
    let fail = |errno: Errno| Failure::new(doing, Cause::from(errno));
    let (target, _) = Target::open_number(std::process::id()).map_err(fail)?;
    let status = target.read("status").map_err(fail)?;
    let status = status::parse_status(&status).ok_or_else(|| fail(Errno::EBADMSG))?;
    let container = Mounts::default().mark(&target);
    Ok(Agent {
        process: target.id(),
        build: Hello::ours().name(),
        credentials: status.credentials(),
        effective: status.effective,
        permitted: status.permitted,
        bounding: status.bounding,
        no_new_privileges: status.no_new_privileges,
        seccomp: status.seccomp,
        is_initial_user_namespace: is_initial_user_namespace(&target).into(),
        uid_map: id_map(&target.read("uid_map").unwrap_or_default()),
        gid_map: id_map(&target.read("gid_map").unwrap_or_default()),
        ptrace_scope: ptrace_scope().into(),
        container: container
            .map_err(|errno| Failure::new("find the agent's container", Cause::from(errno)))
            .into(),
    })
}

/// The SHA-256 of the running program's file, as `sha256sum` prints it: whoever has written it into a
/// container learns whether it arrived whole.
pub fn digest() -> io::Result<String> {
    let mut file = File::open("/proc/self/exe")?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => hasher.update(buffer.get(..count).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    let mut digits = String::with_capacity(64);
    for byte in hasher.finalize() {
        // Writing to a string does not fail.
        let _ = write!(digits, "{byte:02x}");
    }
    Ok(digits)
}

fn is_initial_user_namespace(target: &Target) -> Result<bool, Failure> {
    target
        .link("ns/user")
        .map(|name| name == INITIAL_USER_NAMESPACE)
        .map_err(|errno| Failure::new("find the agent's user namespace", Cause::from(errno)))
}

fn ptrace_scope() -> Result<Option<u8>, Failure> {
    let path = "/proc/sys/kernel/yama/ptrace_scope";
    let fail = |errno| Failure::at("read", path.into(), Cause::from(errno));
    match std::fs::read(path) {
        Ok(text) => number(text.trim_ascii())
            .map(Some)
            .ok_or_else(|| Failure::at("read", path.into(), Cause::Unparsable)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(fail(errno_of(&error))),
    }
}

fn id_map(text: &[u8]) -> Vec<IdRange> {
    let range = |line: &[u8]| {
        let mut columns = line
            .split(u8::is_ascii_whitespace)
            .filter(|column| !column.is_empty())
            .map(number);
        Some(IdRange {
            inside: columns.next()??,
            outside: columns.next()??,
            count: columns.next()??,
        })
    };
    text.split(|byte| *byte == b'\n')
        .filter_map(range)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        agent::testing::ask,
        protocol::message::{Request, from_bytes},
    };

    #[test]
    fn the_agent_is_told_as_its_status_has_it() {
        let head = ask(&Request::Agent).unwrap().head;
        let agent: Agent = from_bytes(&head).unwrap();
        assert_eq!(agent.process, crate::agent::testing::ourselves());
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = |key: &str| {
            let line = status.lines().find(|line| line.starts_with(key)).unwrap();
            line.split_ascii_whitespace().last().unwrap().to_owned()
        };
        for (key, set) in [
            ("CapEff:", agent.effective),
            ("CapPrm:", agent.permitted),
            ("CapBnd:", agent.bounding),
        ] {
            assert_eq!(format!("{:016x}", set.0), line(key), "{key}");
        }
        assert_eq!(agent.no_new_privileges, Some(line("NoNewPrivs:") == "1"));
        let seccomp = agent.seccomp.map(|mode| (mode as u8).to_string());
        assert_eq!(seccomp, Some(line("Seccomp:")));
        assert_eq!(agent.build, Hello::ours().name());
        assert!(agent.ptrace_scope.known().is_some());
        assert!(agent.container.known().unwrap().root_mount.is_some());
    }

    #[test]
    fn a_map_of_ids_is_read() {
        let map = id_map(b"         0     100000      65536\n     70000          1          2\n");
        let range = |inside, outside, count| IdRange {
            inside,
            outside,
            count,
        };
        assert_eq!(map, [range(0, 100_000, 65_536), range(70_000, 1, 2)]);
        assert_eq!(id_map(b""), []);
    }
}
