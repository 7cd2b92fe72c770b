//! The privilege ladder: with which rights the agent runs beside a target.
//!
//! Least privilege is found out, not configured. The lowest rung that can answer is tried first; a patch that
//! admission refuses persists nothing, so trying costs one round trip. Which rung reads which process was
//! measured: see `docs/security.md`.

use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::protocol::message::{Cause, Denial, FailedCheck};

/// User and group of a container's first process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct User {
    /// The numeric user id.
    pub uid: u32,
    /// The numeric primary group id. A reader needs the right one as much as the right user id.
    pub gid: u32,
}

/// The user of a first look when nothing says who the target is: the traditional `nobody`-like id of distroless images.
pub(super) const STRANGER: User = User {
    uid: 65532,
    gid: 65532,
};

/// The rights of an agent's container, from the least to the most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Rung {
    /// The target's own user and group, no capabilities, nothing to be gained: passes Pod Security *restricted*.
    SameUser(User),
    /// Root with the runtime's default capabilities, which let it take the ids of the target to read: passes *baseline*.
    Root,
    /// Root that may look into every process of its user namespace, also into those that protect themselves.
    Ptrace,
    /// All that the node allows. Only when asked for.
    Privileged,
}

impl Rung {
    /// The letter by which documentation and container names call it.
    pub const fn letter(self) -> char {
        match self {
            Self::SameUser(_) => 'a',
            Self::Root => 'b',
            Self::Ptrace => 'c',
            Self::Privileged => 'd',
        }
    }

    /// The Pod Security level that admits it.
    pub const fn level(self) -> &'static str {
        match self {
            Self::SameUser(_) => "restricted",
            Self::Root => "baseline",
            Self::Ptrace | Self::Privileged => "privileged",
        }
    }

    /// The `securityContext` of the container. Ids are always set and numeric: an inherited `runAsUser` would take
    /// the capabilities away, and the kubelet refuses names under `runAsNonRoot`.
    pub fn security_context(self) -> Value {
        match self {
            Self::SameUser(User { uid, gid }) => json!({
                "runAsUser": uid,
                "runAsGroup": gid,
                "runAsNonRoot": uid != 0,
                "allowPrivilegeEscalation": false,
                "capabilities": {"drop": ["ALL"]},
                "seccompProfile": {"type": "RuntimeDefault"},
            }),
            Self::Root => json!({"runAsUser": 0, "runAsGroup": 0, "runAsNonRoot": false}),
            Self::Ptrace => json!({
                "runAsUser": 0,
                "runAsGroup": 0,
                "runAsNonRoot": false,
                "capabilities": {"add": ["SYS_PTRACE", "DAC_READ_SEARCH"]},
            }),
            Self::Privileged => json!({
                "runAsUser": 0,
                "runAsGroup": 0,
                "runAsNonRoot": false,
                "privileged": true,
            }),
        }
    }

    /// What would help an agent on this rung with something that it could not do; `None` when rights are not what it
    /// lacks. `refused` are the rungs that admission did not want, `node` is where the pod runs.
    pub fn remedies(self, cause: &Cause, refused: &[Self], node: &str) -> Option<Vec<String>> {
        let remedy = match cause {
            Cause::Denied(denial) => {
                let wanted = refused.iter().find(|rung| rung.lifts(denial));
                match wanted {
                    Some(rung) => format!(
                        "have the namespace of the pod admit an agent that is {rung} (Pod Security `{}`) for the time of the incident: it is {self} now",
                        rung.level()
                    ),
                    None if self != Self::Privileged && Self::Privileged.lifts(denial) => {
                        self.as_privileged()
                    }
                    None => format!("run kdbg as root on the node itself ({node}), on `pid/NAME`"),
                }
            }
            Cause::Lacks(_) if self != Self::Privileged => self.as_privileged(),
            _ => return None,
        };
        Some(vec![remedy])
    }

    fn as_privileged(self) -> String {
        format!(
            "run it again with `--privileged`, if the namespace of the pod admits that: the agent is {self} now"
        )
    }

    /// Whether this rung lifts the rules by which the kernel refused a lower one.
    fn lifts(self, denial: &Denial) -> bool {
        denial.failed.iter().all(|check| match check {
            FailedCheck::Uid | FailedCheck::Gid | FailedCheck::Permissions => match self {
                Self::SameUser(user) => user == User::of(denial),
                Self::Root | Self::Ptrace | Self::Privileged => true,
            },
            FailedCheck::Capabilities(_) => !matches!(self, Self::SameUser(_)),
            FailedCheck::Dumpable | FailedCheck::Yama { .. } => {
                matches!(self, Self::Ptrace | Self::Privileged)
            }
            FailedCheck::UserNamespace => false,
        })
    }
}

impl User {
    /// The user of the process that could not be read.
    fn of(denial: &Denial) -> Self {
        Self {
            uid: denial.target.uids[1],
            gid: denial.target.gids[1],
        }
    }
}

impl fmt::Display for User {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.uid, self.gid)
    }
}

impl fmt::Display for Rung {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SameUser(user) => write!(formatter, "user {user} without capabilities"),
            Self::Root => formatter.write_str("root with default capabilities"),
            Self::Ptrace => formatter.write_str("root with SYS_PTRACE"),
            Self::Privileged => formatter.write_str("privileged"),
        }
    }
}

/// The rungs to try for a first look, from the lowest that may answer, given the target's user if it is known.
///
/// A root process with capabilities cannot be read by one without, so for root the ladder starts at [`Rung::Root`]; for
/// an unknown user too, because that rung can become whoever it turns out to be. Who `needs_chroot` needs a capability
/// that the lowest rung never has.
pub(super) fn first_rungs(user: Option<User>, needs_chroot: bool) -> Vec<Rung> {
    match user {
        _ if needs_chroot => vec![Rung::Root],
        Some(user) if user.uid != 0 => vec![Rung::SameUser(user), Rung::Root],
        Some(_) => vec![Rung::Root],
        None => vec![Rung::Root, Rung::SameUser(STRANGER)],
    }
}

/// The rungs that may read what `tried` could not, from the lowest.
pub(super) fn next_rungs(tried: Rung, denial: &Denial) -> Vec<Rung> {
    let own = User::of(denial);
    let candidates = match tried {
        // With the right ids this rung may do, and it is all that *restricted* admits.
        Rung::SameUser(_) if own.uid != 0 => {
            vec![Rung::Root, Rung::SameUser(own), Rung::Ptrace]
        }
        Rung::SameUser(_) => vec![Rung::Root, Rung::Ptrace],
        Rung::Root => vec![Rung::Ptrace],
        Rung::Ptrace | Rung::Privileged => Vec::new(),
    };
    candidates
        .into_iter()
        .filter(|rung| *rung != tried && rung.lifts(denial))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::message::{Capabilities, Identity};

    const APP: User = User {
        uid: 1000,
        gid: 1000,
    };

    fn denial(target: User, failed: &[FailedCheck]) -> Denial {
        let identity = |user: User| Identity {
            uids: [user.uid; 4],
            gids: [user.gid; 4],
            capabilities: Capabilities(0),
        };
        Denial {
            reader: identity(APP),
            target: identity(target),
            failed: failed.to_vec(),
        }
    }

    #[test]
    fn a_known_user_is_looked_at_as_itself_first() {
        assert_eq!(
            first_rungs(Some(APP), false),
            [Rung::SameUser(APP), Rung::Root]
        );
    }

    #[test]
    fn root_cannot_be_read_without_capabilities_so_its_ladder_starts_higher() {
        assert_eq!(
            first_rungs(Some(User { uid: 0, gid: 0 }), false),
            [Rung::Root]
        );
    }

    #[test]
    fn what_needs_chroot_starts_where_that_can_work() {
        for user in [None, Some(APP)] {
            assert_eq!(first_rungs(user, true), [Rung::Root]);
        }
    }

    #[test]
    fn a_user_that_changed_needs_its_new_ids_where_root_is_not_admitted() {
        let redis = User { uid: 999, gid: 999 };
        assert_eq!(
            next_rungs(
                Rung::SameUser(APP),
                &denial(redis, &[FailedCheck::Uid, FailedCheck::Gid])
            ),
            [Rung::Root, Rung::SameUser(redis), Rung::Ptrace]
        );
    }

    #[test]
    fn only_ptrace_reads_a_process_that_protects_itself() {
        let denial = denial(APP, &[FailedCheck::Dumpable]);
        assert_eq!(next_rungs(Rung::SameUser(APP), &denial), [Rung::Ptrace]);
        assert_eq!(next_rungs(Rung::Root, &denial), [Rung::Ptrace]);
        assert_eq!(next_rungs(Rung::Ptrace, &denial), []);
    }

    #[test]
    fn what_would_help_in_a_pod_is_another_rung_and_not_another_user_of_this_machine() {
        let protected = Cause::Denied(Box::new(denial(APP, &[FailedCheck::Dumpable])));
        let remedies = |rung: Rung, cause: &Cause, refused: &[Rung]| {
            let remedies = rung.remedies(cause, refused, "node-1").unwrap();
            assert!(
                !remedies
                    .iter()
                    .any(|text| text.contains("run kdbg as root with"))
            );
            remedies.join("\n")
        };
        let refused = remedies(Rung::SameUser(APP), &protected, &[Rung::Root, Rung::Ptrace]);
        assert!(
            refused.contains(
                "admit an agent that is root with SYS_PTRACE (Pod Security `privileged`)"
            ),
            "{refused}"
        );
        assert!(
            refused.ends_with("it is user 1000:1000 without capabilities now"),
            "{refused}"
        );
        let untried = remedies(Rung::Root, &protected, &[]);
        assert!(
            untried.starts_with("run it again with `--privileged`"),
            "{untried}"
        );
        let elsewhere = Cause::Denied(Box::new(denial(APP, &[FailedCheck::UserNamespace])));
        let elsewhere = remedies(Rung::Ptrace, &elsewhere, &[]);
        assert!(
            elsewhere.contains("on the node itself (node-1)"),
            "{elsewhere}"
        );
        let chroot = Cause::Lacks(Capabilities::SYS_CHROOT);
        let chroot = remedies(Rung::SameUser(APP), &chroot, &[]);
        assert!(chroot.contains("`--privileged`"), "{chroot}");
        assert_eq!(Rung::Root.remedies(&Cause::NotFound, &[], "node-1"), None);
    }

    #[test]
    fn nothing_helps_across_user_namespaces() {
        let denial = denial(APP, &[FailedCheck::UserNamespace]);
        assert_eq!(next_rungs(Rung::SameUser(APP), &denial), []);
    }

    #[test]
    fn a_rule_outside_of_the_kernel_may_give_way_to_any_higher_rung() {
        let denial = denial(APP, &[]);
        assert_eq!(
            next_rungs(Rung::SameUser(APP), &denial),
            [Rung::Root, Rung::Ptrace]
        );
    }
}
