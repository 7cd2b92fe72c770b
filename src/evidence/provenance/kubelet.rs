//! What the kubelet would give a container now: `makeEnvironmentVariables` of
//! `pkg/kubelet/kubelet_pods.go`, step by step.
//! `tests/it/kubelet_oracle.rs` holds it to that function.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use serde::Serialize;

use super::{
    expansion::{self, Resolved},
    facts::{Cluster, ContainerSpec, EnvFrom, EnvVar, Lookup, ObjectRef, Service, ValueFrom},
    links::{LinkForm, links, makes_links},
    value::Value,
};

/// What declares a variable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "from")]
pub enum Declaration {
    /// A Service: the kubelet makes links to those that exist when a container starts.
    ServiceLink {
        /// `NAMESPACE/NAME`
        service: String,
        /// Which of its variables.
        form: LinkForm,
    },
    /// A key of an object in `envFrom`.
    EnvFrom {
        /// Whose key.
        object: ObjectRef,
        /// Which.
        key: String,
    },
    /// `value` in `env`.
    Literal,
    /// `value` in `env`, in which other variables are expanded.
    Expansion {
        /// The variables to which it refers.
        references: Vec<String>,
    },
    /// `fieldRef` in `env`.
    Field {
        /// Its path.
        path: String,
    },
    /// `resourceFieldRef` in `env`.
    Resource {
        /// Which.
        resource: String,
    },
    /// `configMapKeyRef` or `secretKeyRef` in `env`.
    Key {
        /// Whose key.
        object: ObjectRef,
        /// Which.
        key: String,
    },
    /// `fileKeyRef` in `env`.
    File {
        /// The volume.
        volume: String,
        /// The file in it.
        path: String,
        /// The key in the file.
        key: String,
    },
}

/// For a sentence.
impl fmt::Display for Declaration {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ServiceLink { service, .. } => {
                write!(formatter, "the link to Service {service}")
            }
            Self::EnvFrom { object, key } => write!(formatter, "key {key} of {object} in envFrom"),
            Self::Key { object, key } => write!(formatter, "key {key} of {object}"),
            Self::Literal | Self::Expansion { .. } => formatter.write_str("the value in env"),
            Self::Field { path } => write!(formatter, "the pod's {path}"),
            Self::Resource { resource } => write!(formatter, "the container's {resource}"),
            Self::File { volume, path, key } => {
                write!(formatter, "key {key} of {path} in volume {volume}")
            }
        }
    }
}

impl Declaration {
    /// The object that holds the value.
    #[must_use]
    pub const fn object(&self) -> Option<&ObjectRef> {
        match self {
            Self::EnvFrom { object, .. } | Self::Key { object, .. } => Some(object),
            _ => None,
        }
    }

    /// Whether the spec says it, so that no other part of the cluster can take its place.
    #[must_use]
    pub const fn is_in_spec(&self) -> bool {
        !matches!(self, Self::ServiceLink { .. })
    }
}

/// A value that something declares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Declared {
    /// What declares it.
    pub by: Declaration,
    /// Its value now; `Missing` where an object is gone that must be there, so that a restart would fail.
    pub value: Lookup<Value>,
}

/// Everything that declares one variable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variable {
    /// What wins.
    pub winner: Declared,
    /// Other Services that make the same name: the kubelet takes any of them.
    pub rivals: Vec<Declared>,
    /// What it beats, weakest first.
    pub shadowed: Vec<Declared>,
}

/// An object in `envFrom` that could not be read: any variable may be from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blind {
    /// The object.
    pub object: ObjectRef,
    /// What its variables begin with.
    pub prefix: String,
    /// Why it could not be read.
    pub why: String,
}

/// What the kubelet would give a container now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Declarations {
    /// The variables.
    pub variables: BTreeMap<String, Variable>,
    /// Objects in `envFrom` that nobody could read.
    pub blind: Vec<Blind>,
    /// Why links are not known.
    pub blind_services: Option<String>,
    /// What is missing and not optional: the container would not start. One sentence each.
    pub blocked: Vec<String>,
    /// Keys that the kubelet leaves out, for they are no names of variables.
    pub invalid: Vec<(ObjectRef, String)>,
}

/// What differs between kubelets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// Whether keys of `envFrom` that are no C-like names are left out.
    pub skips_invalid_names: bool,
}

impl Rules {
    /// The rules of Kubernetes `1.MINOR`; an unknown version has the newest ones.
    #[must_use]
    pub const fn of_minor(minor: Option<u16>) -> Self {
        Self {
            // kubernetes#123385
            skips_invalid_names: matches!(minor, Some(..30)),
        }
    }
}

/// Replays the kubelet.
#[must_use]
pub fn declarations(spec: &ContainerSpec, cluster: &Cluster, rules: Rules) -> Declarations {
    let mut replay = Replay {
        spec,
        cluster,
        rules,
        found: Declarations::default(),
        given: BTreeSet::new(),
    };
    replay.services();
    for from in &spec.env_from {
        replay.env_from(from);
    }
    for variable in &spec.env {
        replay.env(variable);
    }
    replay.found
}

struct Replay<'a> {
    spec: &'a ContainerSpec,
    cluster: &'a Cluster,
    rules: Rules,
    found: Declarations,
    /// The names that `envFrom` and `env` gave so far (the kubelet's `tmpEnv`), and that nothing unread may have
    /// given since.
    given: BTreeSet<String>,
}

impl Replay<'_> {
    fn services(&mut self) {
        let services = match &self.cluster.services {
            Lookup::Found(services) => services,
            Lookup::Missing => return,
            Lookup::Unreadable(why) => {
                self.found.blind_services = Some(why.clone());
                return;
            }
        };
        for service in linked(services, self.spec) {
            for link in links(service) {
                let declared = Declared {
                    by: Declaration::ServiceLink {
                        service: format!("{}/{}", service.namespace, service.name),
                        form: link.form,
                    },
                    value: Lookup::Found(Value::clear(link.value)),
                };
                self.declare_link(link.name, declared);
            }
        }
    }

    fn declare_link(&mut self, name: String, declared: Declared) {
        match self.found.variables.get_mut(&name) {
            // Two ports with one number, or the same Service's own names: the later entry of the list wins.
            Some(variable) if same_service(&variable.winner.by, &declared.by) => {
                variable.winner = declared;
            }
            Some(variable) => variable.rivals.push(declared),
            None => {
                let variable = Variable {
                    winner: declared,
                    rivals: Vec::new(),
                    shadowed: Vec::new(),
                };
                self.found.variables.insert(name, variable);
            }
        }
    }

    fn env_from(&mut self, from: &EnvFrom) {
        let object = match self.cluster.object(&from.object) {
            Lookup::Found(object) => object,
            Lookup::Missing if from.optional => return,
            Lookup::Missing => {
                self.found
                    .blocked
                    .push(format!("{} in envFrom does not exist", from.object));
                return;
            }
            Lookup::Unreadable(why) => {
                self.given.retain(|name| !name.starts_with(&from.prefix));
                self.found.blind.push(Blind {
                    object: from.object.clone(),
                    prefix: from.prefix.clone(),
                    why,
                });
                return;
            }
        };
        for (key, value) in &object.data {
            let name = format!("{}{key}", from.prefix);
            if self.rules.skips_invalid_names && !is_variable_name(&name) {
                self.found.invalid.push((from.object.clone(), key.clone()));
                continue;
            }
            let by = Declaration::EnvFrom {
                object: from.object.clone(),
                key: key.clone(),
            };
            let value = Lookup::Found(value.clone());
            self.declare(name, Declared { by, value });
        }
    }

    fn env(&mut self, variable: &EnvVar) {
        let name = variable.name.clone();
        let declared = match &variable.from {
            ValueFrom::Literal(text) => self.literal(text),
            ValueFrom::Field { path, value } => Declared {
                by: Declaration::Field { path: path.clone() },
                value: cleared(value),
            },
            ValueFrom::Resource { resource, value } => Declared {
                by: Declaration::Resource {
                    resource: resource.clone(),
                },
                value: cleared(value),
            },
            ValueFrom::Key {
                object,
                key,
                optional,
            } => match self.key(object, key, *optional) {
                Some(value) => Declared {
                    by: Declaration::Key {
                        object: object.clone(),
                        key: key.clone(),
                    },
                    value,
                },
                None => return,
            },
            ValueFrom::File { volume, path, key } => Declared {
                by: Declaration::File {
                    volume: volume.clone(),
                    path: path.clone(),
                    key: key.clone(),
                },
                value: Lookup::Unreadable("the file is in a volume".to_owned()),
            },
        };
        self.declare(name, declared);
    }

    /// The value of a key; `None` where the kubelet leaves the variable out.
    fn key(&mut self, reference: &ObjectRef, key: &str, optional: bool) -> Option<Lookup<Value>> {
        let missing = match self.cluster.object(reference) {
            Lookup::Found(object) => match object.data.get(key) {
                Some(value) => return Some(Lookup::Found(value.clone())),
                None => format!("{reference} has no key `{key}`"),
            },
            Lookup::Missing => format!("{reference} does not exist"),
            Lookup::Unreadable(why) => return Some(Lookup::Unreadable(why)),
        };
        if optional {
            return None;
        }
        self.found.blocked.push(missing);
        Some(Lookup::Missing)
    }

    fn literal(&self, text: &str) -> Declared {
        let references = expansion::references(text);
        let value = match expansion::expand(text, |name| self.resolve(name)) {
            Ok(value) => Lookup::Found(value),
            Err(why) => Lookup::Unreadable(why),
        };
        let by = if references.is_empty() {
            Declaration::Literal
        } else {
            Declaration::Expansion { references }
        };
        Declared { by, value }
    }

    /// What a reference stands for: what `envFrom` and the `env` before it gave, then links. Not the image's.
    fn resolve(&self, name: &str) -> Resolved {
        let blind = |what: &str| Resolved::Unknown(format!("it refers to `{name}`, {what}"));
        let variable = self.found.variables.get(name);
        if !self.given.contains(name)
            && let Some(from) = self
                .found
                .blind
                .iter()
                .find(|from| name.starts_with(&from.prefix))
        {
            return blind(&format!("which {} may set: {}", from.object, from.why));
        }
        match variable {
            Some(variable) if variable.rivals.is_empty() => match &variable.winner.value {
                Lookup::Found(value) => Resolved::Value(value.clone()),
                Lookup::Missing => blind("whose value is missing"),
                Lookup::Unreadable(why) => blind(&format!("which could not be read: {why}")),
            },
            Some(_) => blind("which several Services make"),
            None => match self.blind_link(name) {
                Some(why) => blind(&format!("which may be a link to a Service: {why}")),
                None => Resolved::Nothing,
            },
        }
    }

    /// Why it is not known whether a name is a link.
    fn blind_link(&self, name: &str) -> Option<&String> {
        let api_server = self.cluster.api_server_unread.as_ref();
        let api_server = api_server.filter(|_| name.starts_with("KUBERNETES_"));
        self.found.blind_services.as_ref().or(api_server)
    }

    fn declare(&mut self, name: String, declared: Declared) {
        self.given.insert(name.clone());
        if let Some(variable) = self.found.variables.get_mut(&name) {
            let beaten = std::mem::replace(&mut variable.winner, declared);
            variable.shadowed.append(&mut variable.rivals);
            variable.shadowed.push(beaten);
        } else {
            let variable = Variable {
                winner: declared,
                rivals: Vec::new(),
                shadowed: Vec::new(),
            };
            self.found.variables.insert(name, variable);
        }
    }
}

/// The Services that a container gets links to: those of its namespace where it wants links, and `default/kubernetes`
/// always, unless its own namespace has a `kubernetes` that takes its place.
pub(super) fn linked<'a>(services: &'a [Service], spec: &ContainerSpec) -> Vec<&'a Service> {
    let is_master =
        |service: &Service| service.namespace == "default" && service.name == "kubernetes";
    let own = |service: &&Service| {
        spec.service_links && service.namespace == spec.namespace && !is_master(service)
    };
    let with_address = || services.iter().filter(|service| makes_links(service));
    let mut linked: Vec<_> = with_address().filter(own).collect();
    if !linked.iter().any(|service| service.name == "kubernetes") {
        linked.extend(with_address().filter(|service| is_master(service)));
    }
    linked
}

fn same_service(left: &Declaration, right: &Declaration) -> bool {
    matches!((left, right),
        (Declaration::ServiceLink { service: left, .. }, Declaration::ServiceLink { service: right, .. }) if left == right)
}

fn cleared(value: &Lookup<String>) -> Lookup<Value> {
    match value {
        Lookup::Found(value) => Lookup::Found(Value::clear(value.as_str())),
        Lookup::Missing => Lookup::Missing,
        Lookup::Unreadable(why) => Lookup::Unreadable(why.clone()),
    }
}

/// `IsEnvVarName` of apimachinery: `[-._a-zA-Z][-._a-zA-Z0-9]*`, and no path.
#[must_use]
pub fn is_variable_name(name: &str) -> bool {
    let is_first = |byte: u8| byte.is_ascii_alphabetic() || b"-._".contains(&byte);
    let bytes = name.as_bytes();
    bytes.first().is_some_and(|byte| is_first(*byte))
        && bytes
            .iter()
            .all(|byte| is_first(*byte) || byte.is_ascii_digit())
        && name != "."
        && !name.starts_with("..")
}
