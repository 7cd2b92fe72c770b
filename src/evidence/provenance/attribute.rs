//! The variables that a process has, beside what declares them.

use std::{
    collections::{BTreeSet, HashMap},
    net::IpAddr,
};

use bstr::{BString, ByteSlice as _};
use serde::Serialize;

use super::{
    facts::{Cluster, ContainerSpec, ImageVariable, Lookup},
    kubelet::{Declaration, Declarations, Declared, Variable},
    links::LinkForm,
    value::{Keyring, Value},
};
use crate::evidence::environment::Environment;

/// What is known of a process and of what started it.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    /// Its environment.
    pub environment: &'a Environment,
    /// The container's spec.
    pub spec: &'a ContainerSpec,
    /// What the cluster holds now.
    pub cluster: &'a Cluster,
    /// What the kubelet would give it now.
    pub declarations: &'a Declarations,
    /// The variables of the image's config.
    pub image: &'a Lookup<Vec<ImageVariable>>,
    /// The environment of a container of the same pod that declares nothing: links and the runtime's variables as
    /// of now.
    pub sample: Option<&'a Environment>,
    /// The environment of the container's first process, when this one is another, below it: what the two do not share
    /// was put there on the way.
    pub first: Option<&'a Environment>,
    /// When the container was started, in milliseconds since 1970.
    pub started_at: Option<i64>,
    /// Recognises the values of Secrets.
    pub keys: &'a Keyring,
}

/// Where a variable comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "origin")]
pub enum Origin {
    /// The container's spec, or an object to which it refers.
    Spec {
        /// What of it.
        declaration: Declaration,
        /// The webhook or other manager that put it into the spec.
        #[serde(skip_serializing_if = "Option::is_none")]
        injected_by: Option<String>,
    },
    /// The kubelet, for a Service that was there when the container started.
    ServiceLink {
        /// `NAMESPACE/NAME`; `None` when no such Service is there now, or when Services could not be read.
        service: Option<String>,
        /// What the Service's variables begin with.
        prefix: String,
        /// Which of them it is.
        form: LinkForm,
        /// What became of the Service.
        state: LinkState,
    },
    /// The image's config.
    Image,
    /// The container runtime, or what it runs for a node's devices.
    Runtime,
    /// The entrypoint, or a process between it and this one: nothing declares it.
    Entrypoint {
        /// Whether it is one of the variables that a shell leaves behind.
        shell: bool,
    },
    /// It cannot be told.
    Unknown {
        /// Why.
        why: String,
    },
}

/// What became of the Service behind a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum LinkState {
    /// It is as it was.
    Current,
    /// It has another address or port now.
    Changed,
    /// It is gone.
    Gone,
    /// Services could not be read.
    NotRead,
    /// Services could not be read; the kubelet gave the same link to a container that was started later.
    Sampled,
}

/// Whether a value is what its origin says now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "agreement")]
pub enum Agreement {
    /// It is.
    Same,
    /// The origin has changed since the container started: a restart changes the value.
    Stale,
    /// The origin cannot have changed: the entrypoint, or a process between, has put another value there.
    Overridden,
    /// One of the two, and nothing tells which.
    Undecided,
    /// The origin's value could not be read.
    NotCompared {
        /// Why.
        why: String,
    },
}

/// A variable of a process with its origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attributed {
    /// The position of its entry in the environment.
    pub entry: usize,
    /// Its name; the whole entry where it has none.
    pub name: BString,
    /// Where it comes from.
    pub origin: Origin,
    /// Whether that has the same value now.
    pub agreement: Agreement,
    /// Whether its value is a Secret's.
    pub secret: bool,
    /// What declares the same name and loses.
    pub shadowed: Vec<Origin>,
}

/// Why a process lacks a variable that is declared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum WhyAbsent {
    /// It was declared after the container started.
    SinceStart,
    /// The entrypoint, or a process between, has removed it.
    Removed,
    /// One of the two.
    Undecided,
    /// It was declared before the container started, and the process has overwritten a part of its environment.
    Overwritten,
}

/// A variable that is declared and that the process lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Absent {
    /// Its name.
    pub name: String,
    /// What declares it.
    pub by: Declaration,
    /// Why the process lacks it.
    pub why: WhyAbsent,
}

/// All variables with their origins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Attribution {
    /// Those that the process has, in the order of its environment.
    pub variables: Vec<Attributed>,
    /// Those that it should have and lacks.
    pub absent: Vec<Absent>,
    /// Whether a shell ran between the start of the container and this process.
    pub through_shell: bool,
}

impl Attribution {
    /// The variable that `getenv` finds under a name.
    #[must_use]
    pub fn get(&self, name: &[u8]) -> Option<&Attributed> {
        self.variables.iter().find(|variable| variable.name == name)
    }
}

/// Tells where each variable comes from.
#[must_use]
pub fn attribute(known: &Known<'_>) -> Attribution {
    let attributor = Attributor::new(known);
    let variables: Vec<_> = (0..known.environment.entries.len())
        .filter_map(|entry| attributor.entry(entry))
        .collect();
    Attribution {
        absent: attributor.absent(),
        through_shell: SHELL
            .iter()
            .any(|name| attributor.values.contains_key(name.as_bytes())),
        variables,
    }
}

/// What a shell leaves behind.
const SHELL: [&str; 4] = ["PWD", "OLDPWD", "SHLVL", "_"];
/// What runtimes set where nobody else does: containerd and CRI-O the first three, runc `HOME`.
const RUNTIME: [&str; 5] = ["PATH", "HOSTNAME", "TERM", "HOME", "container"];

struct Attributor<'a> {
    known: &'a Known<'a>,
    /// The value that `getenv` finds.
    values: HashMap<&'a [u8], &'a [u8]>,
    sample: HashMap<&'a [u8], &'a [u8]>,
    /// `None` where nothing can be concluded from it.
    first: Option<HashMap<&'a [u8], &'a [u8]>>,
}

impl<'a> Attributor<'a> {
    fn new(known: &'a Known<'a>) -> Self {
        Self {
            known,
            values: values(known.environment),
            sample: known.sample.map(values).unwrap_or_default(),
            first: known.first.filter(|first| !first.overwritten).map(values),
        }
    }

    fn entry(&self, position: usize) -> Option<Attributed> {
        let environment = self.known.environment;
        let entry = environment.entries.get(position)?;
        let name = environment.name(entry);
        let unknown = |why: &str| Attributed {
            entry: position,
            name: name.into(),
            origin: Origin::Unknown {
                why: why.to_owned(),
            },
            agreement: Agreement::NotCompared {
                why: why.to_owned(),
            },
            secret: false,
            shadowed: Vec::new(),
        };
        let Some(value) = environment.value(entry) else {
            return Some(unknown("it has no name"));
        };
        if entry.has_lost_its_name() {
            return Some(unknown("the process has overwritten its environment"));
        }
        let declared = name
            .to_str()
            .ok()
            .and_then(|name| self.known.declarations.variables.get(name));
        let mut shadowed = self.shadowed(name, declared);
        let (origin, agreement) = match declared {
            Some(variable) if self.is_filled_in(name, value, &variable.winner.value) => {
                shadowed.push(origin_of(self.known.spec, name, &variable.winner.by));
                self.filled_in(name, value)
            }
            Some(variable) => self.declared(name, value, variable),
            None => self.undeclared(name, value),
        };
        Some(Attributed {
            entry: position,
            name: name.into(),
            secret: self.is_secret(name, value, declared),
            origin,
            agreement,
            shadowed,
        })
    }

    /// Whether the runtime has put the user's home where an empty one was declared.
    fn is_filled_in(&self, name: &[u8], value: &[u8], declared: &Lookup<Value>) -> bool {
        !value.is_empty() && is_empty_home(self.known.keys, name, declared)
    }

    fn filled_in(&self, name: &[u8], value: &[u8]) -> (Origin, Agreement) {
        let origin = if self.is_set_on_the_way(name, value) {
            Origin::Entrypoint { shell: false }
        } else {
            Origin::Runtime
        };
        (origin, Agreement::Same)
    }

    fn declared(&self, name: &[u8], value: &[u8], variable: &Variable) -> (Origin, Agreement) {
        if let Declaration::ServiceLink { .. } = variable.winner.by {
            return self.link(name, value, variable);
        }
        let origin = origin_of(self.known.spec, name, &variable.winner.by);
        let agreement = match &variable.winner.value {
            Lookup::Unreadable(why) => Agreement::NotCompared { why: why.clone() },
            Lookup::Found(expected) if self.known.keys.matches(expected, value) => Agreement::Same,
            _ if self
                .blind(name)
                .is_some_and(|_| is_env_from(&variable.winner.by)) =>
            {
                return (
                    self.unread(name),
                    Agreement::NotCompared {
                        why: "another object in envFrom may set it".to_owned(),
                    },
                );
            }
            _ if self.is_set_on_the_way(name, value) => Agreement::Overridden,
            Lookup::Missing => Agreement::Stale,
            Lookup::Found(_) => self.disagreement(&variable.winner),
        };
        (origin, agreement)
    }

    /// Why a value is not what its declaration says now.
    fn disagreement(&self, declared: &Declared) -> Agreement {
        match &declared.by {
            // It cannot be changed while the container runs; limits can be.
            Declaration::Literal => Agreement::Overridden,
            Declaration::EnvFrom { object, .. } | Declaration::Key { object, .. } => {
                let changed = self.known.cluster.object(object);
                let changed_at = changed.found().and_then(|object| object.changed_at);
                match (changed_at, self.known.started_at) {
                    (Some(changed), Some(started)) if changed > started => Agreement::Stale,
                    (Some(_), Some(_)) => Agreement::Overridden,
                    _ => Agreement::Undecided,
                }
            }
            // Labels and annotations change, addresses in theory do not; what an expansion refers to may.
            _ => Agreement::Undecided,
        }
    }

    fn link(&self, name: &[u8], value: &[u8], variable: &Variable) -> (Origin, Agreement) {
        let same = std::iter::once(&variable.winner)
            .chain(&variable.rivals)
            .find(|declared| match &declared.value {
                Lookup::Found(expected) => self.known.keys.matches(expected, value),
                _ => false,
            });
        let declared = same.unwrap_or(&variable.winner);
        let Declaration::ServiceLink { service, form } = &declared.by else {
            return self.undeclared(name, value);
        };
        let link = |state| Origin::ServiceLink {
            service: Some(service.clone()),
            prefix: prefix_of(service),
            form: *form,
            state,
        };
        if same.is_some() {
            return (link(LinkState::Current), Agreement::Same);
        }
        if self.is_set_on_the_way(name, value) {
            return self.undeclared(name, value);
        }
        if self.blind(name).is_some() {
            return (
                self.unread(name),
                Agreement::NotCompared {
                    why: "an object in envFrom may set it".to_owned(),
                },
            );
        }
        match self.link_shape(name, value) {
            Some(_) => (link(LinkState::Changed), Agreement::Stale),
            // Nothing that a Service makes: the link was made later, or something else took its place.
            None => self.undeclared(name, value),
        }
    }

    fn undeclared(&self, name: &[u8], value: &[u8]) -> (Origin, Agreement) {
        if let Some(agreement) = self.image_agreement(name, value) {
            return (Origin::Image, agreement);
        }
        if self.is_set_on_the_way(name, value) {
            let shell = is_one_of(&SHELL, name);
            return (Origin::Entrypoint { shell }, Agreement::Same);
        }
        if let Some((prefix, form)) = self.link_shape(name, value) {
            let (state, agreement) = match self.blind_link(&prefix) {
                Some(why) if self.sample.get(name).is_some_and(|sample| *sample == value) => (
                    LinkState::Sampled,
                    Agreement::NotCompared { why: why.clone() },
                ),
                Some(why) => (
                    LinkState::NotRead,
                    Agreement::NotCompared { why: why.clone() },
                ),
                None => (LinkState::Gone, Agreement::Stale),
            };
            let service = None;
            return (
                Origin::ServiceLink {
                    service,
                    prefix,
                    form,
                    state,
                },
                agreement,
            );
        }
        if is_one_of(&SHELL, name) {
            return (Origin::Entrypoint { shell: true }, Agreement::Same);
        }
        if self.sample.get(name).is_some_and(|sample| *sample == value) || is_one_of(&RUNTIME, name)
        {
            return (Origin::Runtime, Agreement::Same);
        }
        if self.blind(name).is_some() {
            let why = "an object in envFrom could not be read".to_owned();
            return (self.unread(name), Agreement::NotCompared { why });
        }
        match self.known.image {
            Lookup::Unreadable(why) => {
                let why = format!(
                    "the image or the entrypoint; the image's config could not be read: {why}"
                );
                (
                    Origin::Unknown { why: why.clone() },
                    Agreement::NotCompared { why },
                )
            }
            _ => (Origin::Entrypoint { shell: false }, Agreement::Same),
        }
    }

    /// Whether a process between the container's first one and this one has set the variable, or changed it.
    fn is_set_on_the_way(&self, name: &[u8], value: &[u8]) -> bool {
        self.first
            .as_ref()
            .is_some_and(|first| first.get(name).is_none_or(|other| *other != value))
    }

    /// Whether the image has the variable with this value; `None` when it does not have it at all, or nobody knows.
    fn image_agreement(&self, name: &[u8], value: &[u8]) -> Option<Agreement> {
        let variables = self.known.image.found()?;
        // A later entry of an image's list replaces an earlier one.
        let variable = variables.iter().rev().find(|one| one.name == name)?;
        let declared = Lookup::Found(Value::clear(variable.value.clone()));
        if self.is_filled_in(name, value, &declared) {
            return None;
        }
        Some(if variable.value == value {
            Agreement::Same
        } else {
            Agreement::Overridden
        })
    }

    /// Whether the process's own variables show that this is a link: the address and the port that it names are those
    /// of `X_SERVICE_HOST` and its siblings.
    fn link_shape(&self, name: &[u8], value: &[u8]) -> Option<(String, LinkForm)> {
        let name = name.to_str().ok()?;
        let value = value.to_str().ok()?;
        self.values.iter().find_map(|(host_name, host)| {
            let prefix = host_name.to_str().ok()?.strip_suffix("_SERVICE_HOST")?;
            let host = host.to_str().ok()?;
            let _: IpAddr = host.parse().ok()?;
            if !self.known.spec.service_links && prefix != "KUBERNETES" {
                return None;
            }
            let form = form_of(name.strip_prefix(prefix)?, value, host)?;
            Some((prefix.to_owned(), form))
        })
    }

    /// Why it is not known whether the Service behind a link is still there.
    fn blind_link(&self, prefix: &str) -> Option<&String> {
        let api_server = self.known.cluster.api_server_unread.as_ref();
        let api_server = api_server.filter(|_| prefix == "KUBERNETES");
        let services = self.known.declarations.blind_services.as_ref();
        services.or(api_server)
    }

    /// The unread object that may have set a variable.
    fn blind(&self, name: &[u8]) -> Option<&super::kubelet::Blind> {
        self.known
            .declarations
            .blind
            .iter()
            .find(|blind| name.starts_with(blind.prefix.as_bytes()))
    }

    fn unread(&self, name: &[u8]) -> Origin {
        let why = match self.blind(name) {
            Some(blind) => format!(
                "{} may set it, but could not be read: {}",
                blind.object, blind.why
            ),
            None => "nothing that could be read sets it".to_owned(),
        };
        Origin::Unknown { why }
    }

    fn shadowed(&self, name: &[u8], declared: Option<&Variable>) -> Vec<Origin> {
        let image = self.known.image.found().filter(|_| declared.is_some());
        let image = image
            .is_some_and(|variables| variables.iter().any(|one| one.name == name))
            .then_some(Origin::Image);
        let declared = declared.map_or(&[][..], |variable| &variable.shadowed);
        image
            .into_iter()
            .chain(
                declared
                    .iter()
                    .map(|beaten| origin_of(self.known.spec, name, &beaten.by)),
            )
            .collect()
    }

    fn is_secret(&self, name: &[u8], value: &[u8], declared: Option<&Variable>) -> bool {
        let from_secret = |declared: &Declared| {
            matches!(declared.by.object(), Some(object) if object.kind == super::ObjectKind::Secret)
                || matches!(&declared.value, Lookup::Found(value) if value.is_secret())
        };
        // A Secret that cannot be read may be behind it, also through an expansion.
        let blind = || {
            self.blind(name)
                .is_some_and(|blind| blind.object.kind == super::ObjectKind::Secret)
                && self.image_agreement(name, value).is_none()
                && !is_one_of(&RUNTIME, name)
        };
        match declared {
            Some(variable) => {
                from_secret(&variable.winner)
                    || matches!(
                        (&variable.winner.by, &variable.winner.value),
                        (Declaration::Expansion { .. }, Lookup::Unreadable(_))
                    )
                    || (is_env_from(&variable.winner.by) && blind())
            }
            None => blind() && self.link_shape(name, value).is_none(),
        }
    }

    fn absent(&self) -> Vec<Absent> {
        let mut absent = Vec::new();
        for (name, variable) in &self.known.declarations.variables {
            if self.values.contains_key(name.as_bytes())
                || matches!(variable.winner.value, Lookup::Missing)
            {
                continue;
            }
            absent.push(Absent {
                name: name.clone(),
                by: variable.winner.by.clone(),
                why: self.why_absent(&variable.winner),
            });
        }
        absent
    }

    fn why_absent(&self, declared: &Declared) -> WhyAbsent {
        let overwritten = self.known.environment.overwritten;
        let changed_at = match &declared.by {
            Declaration::ServiceLink { service, .. } => self.service_created_at(service),
            Declaration::EnvFrom { object, .. } | Declaration::Key { object, .. } => self
                .known
                .cluster
                .object(object)
                .found()
                .and_then(|object| object.changed_at),
            _ if overwritten => return WhyAbsent::Overwritten,
            _ => return WhyAbsent::Removed,
        };
        match (changed_at, self.known.started_at) {
            (Some(changed), Some(started)) if changed > started => WhyAbsent::SinceStart,
            (Some(_), Some(_)) if overwritten => WhyAbsent::Overwritten,
            (Some(_), Some(_)) if declared.by.is_in_spec() => WhyAbsent::Removed,
            // A kubelet may start a container before it hears of a Service.
            _ => WhyAbsent::Undecided,
        }
    }

    fn service_created_at(&self, wanted: &str) -> Option<i64> {
        let services = self.known.cluster.services.found()?;
        services
            .iter()
            .find(|service| format!("{}/{}", service.namespace, service.name) == wanted)?
            .created_at
    }
}

/// The values as `getenv` finds them: the first of a name.
pub(super) fn values(environment: &Environment) -> HashMap<&[u8], &[u8]> {
    let mut values = HashMap::new();
    for entry in &environment.entries {
        if let Some(value) = environment.value(entry)
            && !entry.has_lost_its_name()
        {
            values.entry(environment.name(entry)).or_insert(value);
        }
    }
    values
}

/// The origin that a declaration is.
pub(super) fn origin_of(spec: &ContainerSpec, name: &[u8], declaration: &Declaration) -> Origin {
    match declaration {
        Declaration::ServiceLink { service, form } => Origin::ServiceLink {
            service: Some(service.clone()),
            prefix: prefix_of(service),
            form: *form,
            state: LinkState::Current,
        },
        _ => Origin::Spec {
            declaration: declaration.clone(),
            injected_by: name
                .to_str()
                .ok()
                .filter(|_| !is_env_from(declaration))
                .and_then(|name| spec.injected.get(name).cloned()),
        },
    }
}

/// The names that the process and the declarations have.
pub(super) fn all_names(known: &Known<'_>) -> BTreeSet<BString> {
    let declared = known.declarations.variables.keys();
    let image = known.image.found().into_iter().flatten();
    values(known.environment)
        .into_keys()
        .map(BString::from)
        .chain(declared.map(|name| name.as_str().into()))
        .chain(image.map(|variable| variable.name.clone()))
        .collect()
}

/// Whether a declaration is one of an empty `HOME`: runc takes it for none, and sets the home of the user that
/// `/etc/passwd` says (`prepareEnv` of libcontainer). An empty `PATH` stays empty.
pub(super) fn is_empty_home(keys: &Keyring, name: &[u8], declared: &Lookup<Value>) -> bool {
    name == b"HOME" && matches!(declared, Lookup::Found(value) if keys.matches(value, b""))
}

fn is_one_of(names: &[&str], name: &[u8]) -> bool {
    names.iter().any(|one| one.as_bytes() == name)
}

const fn is_env_from(declaration: &Declaration) -> bool {
    matches!(declaration, Declaration::EnvFrom { .. })
}

fn prefix_of(service: &str) -> String {
    let name = service.rsplit('/').next().unwrap_or(service);
    name.replace('-', "_").to_uppercase()
}

/// The form that a name behind its prefix says, when its value agrees.
fn form_of(rest: &str, value: &str, host: &str) -> Option<LinkForm> {
    let is_number = || value.parse::<u16>().is_ok();
    if rest == "_SERVICE_HOST" {
        return Some(LinkForm::ServiceHost);
    }
    if rest == "_SERVICE_PORT" {
        return is_number().then_some(LinkForm::ServicePort);
    }
    if rest.starts_with("_SERVICE_PORT_") {
        return is_number().then_some(LinkForm::NamedPort);
    }
    if rest == "_PORT" {
        return is_url_of(value, host).then_some(LinkForm::Url);
    }
    let (number, protocol) = rest.strip_prefix("_PORT_")?.split_once('_')?;
    let _: u16 = number.parse().ok()?;
    let (protocol, kind) = protocol.split_once('_').unwrap_or((protocol, ""));
    if !matches!(protocol, "TCP" | "UDP" | "SCTP") {
        return None;
    }
    match kind {
        "" => is_url_of(value, host).then_some(LinkForm::PortUrl),
        "PROTO" => (value == protocol.to_lowercase()).then_some(LinkForm::Protocol),
        "PORT" => (value == number).then_some(LinkForm::PortNumber),
        "ADDR" => (value == host).then_some(LinkForm::Address),
        _ => None,
    }
}

/// `tcp://HOST:NUMBER`, as only the kubelet (and docker before it) writes it.
fn is_url_of(value: &str, host: &str) -> bool {
    let Some((scheme, rest)) = value.split_once("://") else {
        return false;
    };
    let Some((address, port)) = rest.rsplit_once(':') else {
        return false;
    };
    matches!(scheme, "tcp" | "udp" | "sctp")
        && address.trim_start_matches('[').trim_end_matches(']') == host
        && port.parse::<u16>().is_ok()
}

/// What an image's config says of a variable.
pub(super) fn image_value(image: &[ImageVariable], name: &[u8]) -> Option<Value> {
    let variable = image.iter().rev().find(|one| one.name == name)?;
    Some(Value::clear(variable.value.clone()))
}
