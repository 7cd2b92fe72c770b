//! What is known of a container and of the cluster round it. Whoever reads the cluster makes these; what could
//! not be read is [`Lookup::Unreadable`], which no rule takes for an absence.

use std::{collections::BTreeMap, fmt};

use bstr::BString;
use serde::Serialize;

use super::value::Value;

/// The outcome of asking for something that may not exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup<T> {
    /// It exists.
    Found(T),
    /// It does not exist: somebody who may see it said so.
    Missing,
    /// Nobody knows: why it could not be read.
    Unreadable(String),
}

impl<T> Lookup<T> {
    /// The thing, if it is known.
    pub const fn found(&self) -> Option<&T> {
        match self {
            Self::Found(value) => Some(value),
            Self::Missing | Self::Unreadable(_) => None,
        }
    }

    /// Why it could not be read.
    pub fn unreadable(&self) -> Option<&str> {
        match self {
            Self::Unreadable(why) => Some(why),
            Self::Found(_) | Self::Missing => None,
        }
    }
}

/// What holds variables.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ObjectKind {
    /// A `ConfigMap`.
    ConfigMap,
    /// A Secret.
    Secret,
}

/// A `ConfigMap` or Secret of the pod's namespace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct ObjectRef {
    /// What it is.
    pub kind: ObjectKind,
    /// Its name.
    pub name: String,
}

impl fmt::Display for ObjectRef {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            ObjectKind::ConfigMap => "ConfigMap",
            ObjectKind::Secret => "Secret",
        };
        write!(formatter, "{kind} {}", self.name)
    }
}

/// The part of a pod's spec that makes the environment of one container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ContainerSpec {
    /// The pod's namespace.
    pub namespace: String,
    /// `spec.enableServiceLinks`; the API server sets it to true where nobody says anything.
    pub service_links: bool,
    /// `envFrom`, in order.
    pub env_from: Vec<EnvFrom>,
    /// `env`, in order.
    pub env: Vec<EnvVar>,
    /// Who else than the maker of the pod has put an entry into `env`: webhooks, and managers that came later, as far
    /// as `managedFields` tell. By the variable's name.
    pub injected: BTreeMap<String, String>,
}

/// An entry of `envFrom`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnvFrom {
    /// What is put in front of each key.
    pub prefix: String,
    /// Whose keys.
    pub object: ObjectRef,
    /// Whether it may be missing.
    pub optional: bool,
}

/// An entry of `env`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnvVar {
    /// The variable's name.
    pub name: String,
    /// Where its value is from.
    pub from: ValueFrom,
}

/// Where the value of an entry of `env` is from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ValueFrom {
    /// `value`, in which `$(NAME)` is expanded. It is empty when neither `value` nor `valueFrom` is there.
    Literal(String),
    /// `fieldRef`.
    Field {
        /// Its path, as in `status.podIP`.
        path: String,
        /// Its value now.
        value: Lookup<String>,
    },
    /// `resourceFieldRef`.
    Resource {
        /// Which, as in `limits.memory`.
        resource: String,
        /// Its value, divided and rounded.
        value: Lookup<String>,
    },
    /// `configMapKeyRef` and `secretKeyRef`.
    Key {
        /// Whose key.
        object: ObjectRef,
        /// Which.
        key: String,
        /// Whether it may be missing.
        optional: bool,
    },
    /// `fileKeyRef`.
    File {
        /// The volume.
        volume: String,
        /// The file in it.
        path: String,
        /// The key in the file.
        key: String,
    },
}

/// A `ConfigMap` or a Secret.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Object {
    /// Its keys; those of a Secret are sealed.
    pub data: BTreeMap<String, Value>,
    /// When its content was last changed (milliseconds since 1970), as far as `managedFields` tell.
    pub changed_at: Option<i64>,
}

/// A Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// `spec.clusterIP`: empty or `None` where it has none.
    pub cluster_ip: String,
    /// Its ports, in order.
    pub ports: Vec<Port>,
    /// When it was made (milliseconds since 1970).
    pub created_at: Option<i64>,
}

/// A port of a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// Its name; empty where it has none.
    pub name: String,
    /// Its number.
    pub number: u16,
    /// `TCP`, `UDP` or `SCTP`; empty means TCP.
    pub protocol: String,
}

/// What the cluster holds now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// The Services of the pod's namespace, and `default/kubernetes`.
    pub services: Lookup<Vec<Service>>,
    /// Why `default/kubernetes` is not among them though it may exist: few may read another namespace.
    pub api_server_unread: Option<String>,
    /// The objects to which the container refers. One that is not here was not asked for.
    pub objects: BTreeMap<ObjectRef, Lookup<Object>>,
}

impl Cluster {
    /// An object, or why there is none.
    pub fn object(&self, wanted: &ObjectRef) -> Lookup<&Object> {
        match self.objects.get(wanted) {
            Some(Lookup::Found(object)) => Lookup::Found(object),
            Some(Lookup::Missing) => Lookup::Missing,
            Some(Lookup::Unreadable(why)) => Lookup::Unreadable(why.clone()),
            None => Lookup::Unreadable("it was not asked for".to_owned()),
        }
    }
}

/// A variable of an image's config.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageVariable {
    /// Its name.
    pub name: BString,
    /// Its value.
    pub value: BString,
}
