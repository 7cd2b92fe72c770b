//! What a bundle keeps of what was looked at, for whoever reads on when the pod is gone.
//!
//! None of it holds a secret, also where `--show-secrets` shows them: what is hidden in the environment is hidden
//! wherever else it stands.

use bstr::{BString, ByteSlice as _};
use serde_json::{Value, json};

use super::limit::Limit;
use crate::{
    commands::{declared::Declared, facts, net::show::state_name},
    evidence::{
        findings::Variables,
        provenance::{Lookup, Service},
        redact::{Redactor, Source},
    },
    protocol::message::SocketFacts,
    render::safe,
    target::{Place, Target},
};

/// Files of the target's name look-up.
const NAMES: [(&str, &str); 2] = [("resolv.conf", "/etc/resolv.conf"), ("hosts", "/etc/hosts")];
/// None of them is read beyond, in bytes.
const LIMIT: usize = 64 * 1024;
/// Shorter secrets stand in any text by chance.
const SHORTEST: usize = 5;

/// Files by their names.
pub(super) type Raw = Vec<(String, BString)>;

/// What is kept of a target.
pub(super) struct Material<'a> {
    pub(super) variables: &'a Lookup<Variables<'a>>,
    pub(super) declared: &'a Declared,
    pub(super) sockets: Option<&'a [SocketFacts]>,
    /// How the running code differs from the reference.
    pub(super) patch: BString,
}

impl Material<'_> {
    /// Collects it, without secrets.
    pub(super) async fn files(self, target: &Target, limit: &Limit) -> Raw {
        let redactor = Redactor::new(false);
        let mut files = Raw::new();
        let mut secrets = Vec::new();
        if let Lookup::Found(variables) = self.variables {
            let (environ, hidden) = environ(variables, redactor);
            files.push(("environ".to_owned(), environ));
            secrets = hidden;
        }
        for (name, path) in NAMES {
            let read = limit.within(facts::read(target, path.into(), LIMIT)).await;
            if let Ok(Ok(content)) = read {
                files.push((name.to_owned(), content.into()));
            }
        }
        if !self.patch.is_empty() {
            files.push(("patch.diff".to_owned(), self.patch));
        }
        if let Some(sockets) = self.sockets {
            files.push(("sockets.tsv".to_owned(), table(sockets)));
        }
        if let Place::Pod(place) = &target.place {
            let pod = serde_json::to_value(&place.object).unwrap_or_default();
            files.push(("pod.json".to_owned(), object(pod, redactor)));
        }
        if let Some(services) = self.declared.services() {
            let rows = services.iter().map(service).collect();
            files.push(("services.json".to_owned(), object(rows, redactor)));
        }
        for (name, content) in &mut files {
            if name != "environ" {
                *content = redactor.text(content).bytes().into_owned().into();
            }
            for secret in &secrets {
                *content = content.replace(secret, "[redacted]").into();
            }
        }
        files
    }
}

/// The variables, one a line, and the values that are hidden in them.
fn environ(variables: &Variables<'_>, redactor: Redactor) -> (BString, Vec<BString>) {
    let mut text = BString::default();
    let mut secrets: Vec<BString> = Vec::new();
    let environment = variables.environment;
    for (position, entry) in environment.entries.iter().enumerate() {
        let attributed = variables.attribution.variables.iter();
        let is_secret = attributed
            .filter(|one| one.entry == position)
            .any(|one| one.secret);
        let source = if is_secret {
            Source::Secret
        } else {
            Source::Unknown
        };
        let (name, value) = (environment.name(entry), environment.value(entry));
        let shown = match value {
            None => redactor.text(environment.bytes(entry)),
            Some(value) if entry.has_lost_its_name() => redactor.nameless(value),
            Some(value) => redactor.variable(name, value, source),
        };
        let hidden = shown.hidden().iter();
        let of = value.unwrap_or(environment.bytes(entry));
        secrets.extend(hidden.filter_map(|hidden| Some(of.get(hidden.range.clone())?.into())));
        if value.is_some() {
            text.extend_from_slice(safe(name).as_bytes());
            text.push(b'=');
        }
        text.extend_from_slice(safe(&shown.bytes()).as_bytes());
        text.push(b'\n');
    }
    secrets.retain(|secret| secret.len() >= SHORTEST);
    // The longest first: one may be a part of another.
    secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
    (text, secrets)
}

fn table(sockets: &[SocketFacts]) -> BString {
    let end = |end: Option<std::net::SocketAddr>| {
        end.map_or_else(|| "-".to_owned(), |address| address.to_string())
    };
    let mut text = BString::from("protocol\tstate\tnear\tfar\tunread\tunsent\tinode\n");
    for socket in sockets {
        let state = socket.state.map_or("-", state_name);
        let row = format!(
            "{:?}\t{state}\t{}\t{}\t{}\t{}\t{}\n",
            socket.protocol,
            end(socket.near),
            end(socket.far),
            socket.unread,
            socket.unsent,
            socket.inode
        );
        text.extend_from_slice(row.as_bytes());
    }
    text
}

fn service(service: &Service) -> Value {
    let ports = service.ports.iter();
    let ports: Vec<_> = ports
        .map(|port| json!({"name": port.name, "port": port.number, "protocol": port.protocol}))
        .collect();
    json!({
        "namespace": service.namespace,
        "name": service.name,
        "clusterIP": service.cluster_ip,
        "ports": ports,
    })
}

fn object(mut value: Value, redactor: Redactor) -> BString {
    redactor.object(&mut value);
    let mut text = serde_json::to_vec_pretty(&value).unwrap_or_default();
    text.push(b'\n');
    text.into()
}
