//! How a target is named.

use std::{fmt, str::FromStr};

use thiserror::Error;

/// A target, as it is written on the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selector {
    /// `pid/1234`: this process of this machine and what it has started.
    Pid(u32),
    /// `pid/nginx`: the process of this machine that has this name.
    Name(String),
    /// `pod/web`, `deploy/web`, or `web` for a pod: something of a cluster that is or has pods.
    Object {
        /// Of what kind.
        kind: Kind,
        /// Its name.
        name: String,
    },
    /// `-l app=web`: the pods of a cluster with these labels.
    Labels(String),
}

/// The kinds of objects that are pods or have some.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `pod/`
    Pod,
    /// `deploy/`
    Deployment,
    /// `sts/`
    StatefulSet,
    /// `ds/`
    DaemonSet,
    /// `rs/`
    ReplicaSet,
    /// `job/`
    Job,
    /// `svc/`
    Service,
}

/// The text does not name a target.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SelectorError {
    /// There is neither a target nor a label selector.
    #[error("no target is named")]
    Nothing,
    /// There is a target and a label selector too.
    #[error("`{0}` and a label selector cannot both name the target")]
    Both(String),
    /// Its prefix is none that is known.
    #[error("`{kind}/` is not a kind of target")]
    UnknownKind {
        /// The text before the slash.
        kind: String,
    },
    /// Nothing follows the prefix.
    #[error("a name is missing after `{kind}/`")]
    NoName {
        /// The text before the slash.
        kind: String,
    },
    /// The number cannot be a process.
    #[error("`{0}` is not a process number")]
    BadNumber(String),
    /// No object of Kubernetes can have this name.
    #[error("`{0}` cannot be the name of a Kubernetes object")]
    BadName(String),
}

impl Kind {
    /// The short names and the full ones that kubectl knows.
    fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "po" | "pod" | "pods" => Self::Pod,
            "deploy" | "deployment" | "deployments" => Self::Deployment,
            "sts" | "statefulset" | "statefulsets" => Self::StatefulSet,
            "ds" | "daemonset" | "daemonsets" => Self::DaemonSet,
            "rs" | "replicaset" | "replicasets" => Self::ReplicaSet,
            "job" | "jobs" => Self::Job,
            "svc" | "service" | "services" => Self::Service,
            _ => return None,
        })
    }

    /// Its short name.
    pub const fn short(self) -> &'static str {
        match self {
            Self::Pod => "pod",
            Self::Deployment => "deploy",
            Self::StatefulSet => "sts",
            Self::DaemonSet => "ds",
            Self::ReplicaSet => "rs",
            Self::Job => "job",
            Self::Service => "svc",
        }
    }
}

impl Selector {
    /// The target of a command line: a name or labels, not both.
    pub fn of(target: Option<&str>, labels: Option<&str>) -> Result<Self, SelectorError> {
        match (target, labels) {
            (Some(target), None) => target.parse(),
            (None, Some(labels)) => Ok(Self::Labels(labels.to_owned())),
            (Some(target), Some(_)) => Err(SelectorError::Both(target.to_owned())),
            (None, None) => Err(SelectorError::Nothing),
        }
    }
}

impl FromStr for Selector {
    type Err = SelectorError;

    fn from_str(text: &str) -> Result<Self, SelectorError> {
        let Some((kind, name)) = text.split_once('/') else {
            return object(Kind::Pod, text);
        };
        if name.is_empty() {
            return Err(SelectorError::NoName {
                kind: kind.to_owned(),
            });
        }
        if kind == "pid" {
            return process(name);
        }
        match Kind::parse(kind) {
            Some(kind) => object(kind, name),
            None => Err(SelectorError::UnknownKind {
                kind: kind.to_owned(),
            }),
        }
    }
}

fn process(name: &str) -> Result<Selector, SelectorError> {
    if !name.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(Selector::Name(name.to_owned()));
    }
    match name.parse() {
        Ok(pid @ 1..=0x7fff_ffff) => Ok(Selector::Pid(pid)),
        Ok(_) | Err(_) => Err(SelectorError::BadNumber(name.to_owned())),
    }
}

/// A name goes into a URL, so what cannot be one is refused here. The rule is that of DNS subdomains (RFC 1123).
fn object(kind: Kind, name: &str) -> Result<Selector, SelectorError> {
    let label = |label: &str| {
        let letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        label.bytes().next().is_some_and(letter)
            && label.bytes().last().is_some_and(letter)
            && label.bytes().all(|byte| letter(byte) || byte == b'-')
    };
    if name.len() > 253 || !name.split('.').all(label) {
        return Err(SelectorError::BadName(name.to_owned()));
    }
    Ok(Selector::Object {
        kind,
        name: name.to_owned(),
    })
}

impl fmt::Display for Selector {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pid(pid) => write!(formatter, "pid/{pid}"),
            Self::Name(name) => write!(formatter, "pid/{name}"),
            Self::Object { kind, name } => write!(formatter, "{}/{name}", kind.short()),
            Self::Labels(labels) => write!(formatter, "-l {labels}"),
        }
    }
}

impl SelectorError {
    /// What to write instead.
    pub fn hint(&self) -> String {
        match self {
            Self::Both(target) => format!("leave out `{target}`, or `-l`"),
            Self::Nothing | Self::UnknownKind { .. } | Self::NoName { .. } | Self::BadNumber(_) | Self::BadName(_) => {
                "name a pod (`web-7f9c`), what has pods (`deploy/web`, `sts/`, `ds/`, `rs/`, `job/`, `svc/`), labels (`-l app=web`), or a process of this machine (`pid/1234`, `pid/nginx`)"
                    .to_owned()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object_of(kind: Kind, name: &str) -> Selector {
        Selector::Object {
            kind,
            name: name.to_owned(),
        }
    }

    #[test]
    fn a_number_is_a_process_and_everything_else_a_name() {
        assert_eq!("pid/12".parse(), Ok(Selector::Pid(12)));
        assert_eq!("pid/nginx".parse(), Ok(Selector::Name("nginx".to_owned())));
        assert_eq!("pid/7zip".parse(), Ok(Selector::Name("7zip".to_owned())));
    }

    #[test]
    fn a_bare_name_is_a_pod_and_kinds_have_their_usual_names() {
        assert_eq!("web-7f9c".parse(), Ok(object_of(Kind::Pod, "web-7f9c")));
        assert_eq!("12".parse(), Ok(object_of(Kind::Pod, "12")));
        assert_eq!(
            "deployment/web".parse(),
            Ok(object_of(Kind::Deployment, "web"))
        );
        assert_eq!("svc/a.b".parse(), Ok(object_of(Kind::Service, "a.b")));
    }

    #[test]
    fn labels_stand_instead_of_a_name() {
        assert_eq!(
            Selector::of(None, Some("app=web")),
            Ok(Selector::Labels("app=web".to_owned()))
        );
        assert_eq!(
            Selector::of(Some("web"), Some("app=web")),
            Err(SelectorError::Both("web".to_owned()))
        );
        assert_eq!(Selector::of(None, None), Err(SelectorError::Nothing));
    }

    #[test]
    fn what_cannot_be_a_target_is_refused() {
        let bad_name = |name: &str| SelectorError::BadName(name.to_owned());
        for (text, error) in [
            (
                "node/web",
                SelectorError::UnknownKind {
                    kind: "node".to_owned(),
                },
            ),
            (
                "pid/",
                SelectorError::NoName {
                    kind: "pid".to_owned(),
                },
            ),
            ("pid/0", SelectorError::BadNumber("0".to_owned())),
            (
                "pid/99999999999",
                SelectorError::BadNumber("99999999999".to_owned()),
            ),
            ("Web", bad_name("Web")),
            ("pod/../secrets", bad_name("../secrets")),
            ("pod/web?watch=1", bad_name("web?watch=1")),
            ("", bad_name("")),
        ] {
            assert_eq!(text.parse::<Selector>(), Err(error), "{text}");
        }
    }
}
