//! Provenance against a living kubelet, on generated specs: what `kdbg env` says of each variable is laid beside what was
//! declared, and beside what the kernel says that the process has.
//!
//! `tests/it/kubelet_oracle.rs` asks the kubelet's code for thousands of specs. What only a node has is here: fields,
//! resources, the container runtime, and what an API server lets through.

use std::collections::BTreeMap;

use base64::Engine as _;
use k8s_openapi::api::core::v1::{ConfigMap, Secret, Service};
use serde_json::{Value, json};

use crate::harness::{Failure, Level, Numbers, Test, check, container, merged, pod, run};

const PODS: usize = 5;
/// Entries of `env` in each.
const ENTRIES: usize = 80;
/// Keys of each object.
const KEYS: usize = 7;
/// It stands in every value of a Secret, and nowhere else.
const SECRET: &str = "hush";

/// Names that meet: of Services' links, of keys, of entries, of what the runtime and the image set.
const NAMES: [&str; 30] = [
    "A_PORT",
    "A_SERVICE_HOST",
    "A_PORT_80_TCP_ADDR",
    "MY_SHOP_SERVICE_PORT_GRPC_WEB",
    "KUBERNETES_PORT",
    "KUBERNETES_SERVICE_HOST",
    "V0",
    "V1",
    "V2",
    "V3",
    "V4",
    "V5",
    "V6",
    "V7",
    "V8",
    "P_V0",
    "P_V1",
    "1V2",
    "a.V3",
    "a.b",
    "1x",
    "x-y",
    "_",
    ".hidden",
    "DB_PASSWORD",
    "HOSTNAME",
    "HOME",
    "PATH",
    "LANG",
    "PYTHONDONTWRITEBYTECODE",
];
/// Names that an API server takes since Kubernetes 1.32: whatever can be printed, but for `=`.
const ODD_NAMES: [&str; 6] = ["with space", "a(b", "a)b", "$(V1)", "{}", "#!"];
const PIECES: [&str; 25] = [
    "$(V0)",
    "$(V1)",
    "$(V2)",
    "$(P_V0)",
    "$(A_PORT)",
    "$(A_SERVICE_HOST)",
    "$(KUBERNETES_PORT)",
    "$(a.b)",
    "$(HOSTNAME)",
    "$(PATH)",
    "$(nobody)",
    "$$(V0)",
    "$$",
    "$",
    "$(",
    ")",
    "(V0)",
    "$()",
    "ä",
    "\n",
    "\\",
    "'\"",
    "=",
    " x ",
    "tcp://10.0.0.1:80",
];
const PREFIXES: [&str; 5] = ["", "", "P_", "a.", "1"];
const FIELDS: [&str; 13] = [
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "metadata.labels['app']",
    "metadata.labels['none']",
    "metadata.annotations['example.com/banner']",
    "metadata.annotations['none']",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.podIP",
    "status.podIPs",
    "status.hostIP",
    "status.hostIPs",
];
/// Resources with the divisors that an API server takes for them.
const RESOURCES: [(&str, &[&str]); 6] = [
    ("limits.cpu", &["0", "1", "1m"]),
    ("requests.cpu", &["0", "1", "1m"]),
    (
        "limits.memory",
        &["0", "1", "1k", "1M", "1Ki", "1Mi", "1Gi"],
    ),
    ("requests.memory", &["0", "1k", "1Mi"]),
    ("limits.ephemeral-storage", &["0", "1M", "1Mi", "1Gi"]),
    ("requests.ephemeral-storage", &["0", "1Mi"]),
];

#[tokio::test]
#[ignore = "needs a cluster: its kubelet makes the variables of generated specs"]
async fn of_generated_specs_every_variable_has_the_kubelets_value_and_its_source() {
    run("generated", Level::Restricted, async |test| {
        let mut numbers = Numbers::new();
        let seed = numbers.seed();
        Box::pin(generated(test, &mut numbers))
            .await
            .map_err(|failure| Failure::new(format!("KDBG_TEST_SEED={seed}: {failure}")))
    })
    .await;
}

async fn generated(test: &Test, numbers: &mut Numbers) -> Result<(), Failure> {
    let services = services(test).await?;
    let objects = Object::all(test, numbers).await?;
    let odd = takes_odd_names(test).await?;
    let specs: Vec<_> = (0..PODS)
        .map(|number| Spec::generate(format!("app-{number}"), numbers, &objects, odd))
        .collect();
    let starting = specs.iter().map(|spec| test.start(spec.pod.clone()));
    futures::future::try_join_all(starting).await?;
    for spec in &specs {
        spec.is_told(test, &services).await.map_err(|failure| {
            Failure::new(format!("{}: {failure}\n{:#}", spec.name, spec.pod["spec"]))
        })?;
    }
    Ok(())
}

/// Services of every kind that makes links or none, two of which make one name. Returns those that make some.
async fn services(test: &Test) -> Result<Vec<String>, Failure> {
    let port = |name: &str, number: u16, protocol: &str| json!({"name": name, "port": number, "protocol": protocol});
    for (name, spec) in [
        ("a", json!({"ports": [{"port": 80}]})),
        ("a-port-80-tcp", json!({"ports": [{"port": 90}]})),
        (
            "my-shop",
            json!({"ports": [port("grpc-web", 443, "TCP"), port("dns", 443, "UDP"), port("sctp", 9, "SCTP")]}),
        ),
        (
            "headless",
            json!({"clusterIP": "None", "ports": [{"port": 80}]}),
        ),
        (
            "outside",
            json!({"type": "ExternalName", "externalName": "example.com"}),
        ),
    ] {
        test.create_object::<Service>(json!({"metadata": {"name": name}, "spec": spec}))
            .await?;
    }
    let own = ["a", "a-port-80-tcp", "my-shop"].map(|name| format!("{}/{name}", test.namespace));
    Ok(own.into_iter().collect())
}

/// Whether the API server takes names that were none before Kubernetes 1.32.
async fn takes_odd_names(test: &Test) -> Result<bool, Failure> {
    let version = test.client.apiserver_version().await?;
    let minor = version.minor.trim_end_matches('+').parse();
    Ok(minor.is_ok_and(|minor: u16| minor >= 32))
}

fn text(numbers: &mut Numbers) -> String {
    (0..numbers.below(5))
        .map(|_| numbers.pick(&PIECES))
        .collect()
}

/// A `ConfigMap` or a Secret, with its keys.
struct Object {
    is_secret: bool,
    name: String,
    keys: Vec<String>,
}

impl Object {
    async fn all(test: &Test, numbers: &mut Numbers) -> Result<Vec<Self>, Failure> {
        let mut objects = Vec::new();
        for number in 0..6 {
            objects.push(
                Self::make(test, number % 2 == 1, format!("object-{number}"), numbers).await?,
            );
        }
        Ok(objects)
    }

    async fn make(
        test: &Test,
        is_secret: bool,
        name: String,
        numbers: &mut Numbers,
    ) -> Result<Self, Failure> {
        let mut data = BTreeMap::new();
        for _ in 0..KEYS {
            let text = text(numbers);
            let value = if is_secret {
                format!("{SECRET}{text}")
            } else {
                text
            };
            data.insert(numbers.pick(&NAMES).to_owned(), value);
        }
        let keys = data.keys().cloned().collect();
        let metadata = json!({"name": name});
        if is_secret {
            test.create_object::<Secret>(json!({"metadata": metadata, "stringData": data}))
                .await?;
        } else {
            // What is not text makes no variable.
            let more = json!({"BINARY": "//79"});
            test.create_object::<ConfigMap>(
                json!({"metadata": metadata, "data": data, "binaryData": more}),
            )
            .await?;
        }
        Ok(Self {
            is_secret,
            name,
            keys,
        })
    }

    /// As kdbg names it.
    fn as_json(&self) -> Value {
        let kind = if self.is_secret {
            "secret"
        } else {
            "config-map"
        };
        json!({"kind": kind, "name": self.name})
    }
}

/// What declares a variable, as kdbg must say it.
#[derive(Clone, Debug)]
struct Declared {
    by: Value,
    is_secret: bool,
}

/// A generated pod, with what it declares: the last word on each name.
struct Spec {
    name: String,
    pod: Value,
    links: bool,
    declared: BTreeMap<String, Declared>,
}

impl Spec {
    fn generate(name: String, numbers: &mut Numbers, objects: &[Object], odd: bool) -> Self {
        let mut spec = Self {
            name,
            pod: Value::Null,
            links: numbers.below(3) > 0,
            declared: BTreeMap::new(),
        };
        let env_from: Vec<_> = (0..5)
            .map(|_| spec.env_from(numbers, objects, odd))
            .collect();
        let env: Vec<_> = (0..ENTRIES)
            .map(|_| spec.env(numbers, objects, odd))
            .collect();
        let mut resources = json!({"requests": {"cpu": "10m", "memory": "8Mi"}});
        if numbers.below(2) == 0 {
            resources["limits"] = json!({
                "cpu": numbers.pick(&["250m", "1500m", "2", "0.5"]),
                "memory": numbers.pick(&["65M", "100Mi", "123456789"]),
                "ephemeral-storage": "1Gi",
            });
        }
        let app = container(
            "app",
            "python:user",
            json!({
                "command": ["/usr/bin/python3.11", "-c", "import os, signal
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
while True: signal.pause()"],
                "resources": resources, "envFrom": env_from, "env": env,
            }),
        );
        let annotations =
            json!({"metadata": {"annotations": {"example.com/banner": "one\ntwo $(V0)"}}});
        spec.pod = merged(
            pod(
                &spec.name,
                &[app],
                json!({"enableServiceLinks": spec.links}),
            ),
            annotations,
        );
        spec
    }

    fn env_from(&mut self, numbers: &mut Numbers, objects: &[Object], odd: bool) -> Value {
        let prefix = numbers.pick(if odd { &PREFIXES } else { &PREFIXES[..4] });
        let place = usize::try_from(numbers.below(8)).unwrap_or_default();
        let Some(object) = objects.get(place) else {
            // There is none.
            return json!({"prefix": prefix, "secretRef": {"name": "absent", "optional": true}});
        };
        for key in &object.keys {
            let by = json!({"from": "env-from", "object": object.as_json(), "key": key});
            self.declare(&format!("{prefix}{key}"), by, object.is_secret);
        }
        let kind = if object.is_secret {
            "secretRef"
        } else {
            "configMapRef"
        };
        json!({"prefix": prefix, kind: {"name": object.name}})
    }

    fn env(&mut self, numbers: &mut Numbers, objects: &[Object], odd: bool) -> Value {
        let name = if odd && numbers.below(8) == 0 {
            numbers.pick(&ODD_NAMES)
        } else {
            numbers.pick(&NAMES)
        };
        match numbers.below(10) {
            0 => {
                self.declare(name, json!({"from": "literal"}), false);
                json!({"name": name})
            }
            1..5 => {
                let text = text(numbers);
                let references = references(&text);
                let is_secret = references
                    .iter()
                    .any(|one| self.declared.get(*one).is_some_and(|one| one.is_secret));
                let by = if references.is_empty() {
                    json!({"from": "literal"})
                } else {
                    json!({"from": "expansion", "references": references})
                };
                self.declare(name, by, is_secret);
                json!({"name": name, "value": text})
            }
            5..7 => {
                let (from, declared) = key(numbers, objects);
                if let Some(Declared { by, is_secret }) = declared {
                    self.declare(name, by, is_secret);
                }
                json!({"name": name, "valueFrom": from})
            }
            7 | 8 => {
                let path = numbers.pick(&FIELDS);
                self.declare(name, json!({"from": "field", "path": path}), false);
                json!({"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}})
            }
            _ => {
                let (resource, divisors) = numbers.pick(&RESOURCES);
                self.declare(
                    name,
                    json!({"from": "resource", "resource": resource}),
                    false,
                );
                let from = json!({"resource": resource, "divisor": numbers.pick(divisors)});
                json!({"name": name, "valueFrom": {"resourceFieldRef": from}})
            }
        }
    }

    fn declare(&mut self, name: &str, by: Value, is_secret: bool) {
        self.declared
            .insert(name.to_owned(), Declared { by, is_secret });
    }

    async fn is_told(&self, test: &Test, services: &[String]) -> Result<(), Failure> {
        let all = ["env", &self.name, "-o", "json", "--show-secrets"];
        let ran = test.kdbg(&all).await?.ended_with(0)?;
        let report = ran.json()?;
        let entries = report["entries"].as_array().cloned().unwrap_or_default();
        let kernel = environ(test, &self.name).await?;
        let told: Vec<_> = entries
            .iter()
            .map(|entry| {
                format!(
                    "{}={}",
                    entry["name"].as_str().unwrap_or_default(),
                    entry["value"].as_str().unwrap_or_default()
                )
            })
            .collect();
        check(told == kernel, || {
            format!("not what the kernel has, {kernel:#?}: {ran}")
        })?;
        for entry in &entries {
            self.is_told_of(entry, services)?;
        }
        for name in self.declared.keys() {
            check(
                entries.iter().any(|entry| entry["name"] == name.as_str()),
                || format!("the process lacks {name}: {ran}"),
            )?;
        }
        let ran = test.kdbg(&all[..4]).await?.ended_with(0)?;
        check(!ran.stdout.contains(SECRET), || {
            format!("a secret got out: {ran}")
        })?;
        self.a_restart_changes_nothing(test).await
    }

    fn is_told_of(&self, entry: &Value, services: &[String]) -> Result<(), Failure> {
        let name = entry["name"].as_str().unwrap_or_default();
        let provenance = &entry["provenance"];
        let wrong = |what: &str| format!("{what}: {entry:#}");
        let origin = provenance["origin"].as_str().unwrap_or_default();
        let Some(declared) = self.declared.get(name) else {
            return match origin {
                "service-link" => {
                    let service = provenance["service"].as_str().unwrap_or_default();
                    let is_own = self.links && services.iter().any(|one| one == service);
                    check(is_own || service == "default/kubernetes", || {
                        wrong("no such Service makes links")
                    })?;
                    check(
                        provenance["agreement"] == "same" && provenance["state"] == "current",
                        || wrong("not as it is"),
                    )
                }
                "runtime" => check(["PATH", "HOSTNAME", "HOME"].contains(&name), || {
                    wrong("the runtime sets no such thing")
                }),
                "unknown" => check(["PATH", "PYTHONDONTWRITEBYTECODE"].contains(&name), || {
                    wrong("it is known")
                }),
                _ => Err(Failure::new(wrong("nothing declares it"))),
            };
        };
        // runc takes an empty home for none, and "/" is that of the image's user.
        let beaten = provenance["shadowed"].as_array().and_then(|all| all.last());
        let is_beaten = beaten.is_some_and(|beaten| beaten["declaration"] == declared.by);
        if name == "HOME" && origin == "runtime" && is_beaten {
            return check(entry["value"] == "/", || wrong("it was not empty"));
        }
        check(
            origin == "spec" && provenance["declaration"] == declared.by,
            || wrong(&format!("{} declares it", declared.by)),
        )?;
        check(provenance["agreement"] == "same", || {
            wrong("not the value that the kubelet gives it")
        })?;
        check(provenance["secret"] == declared.is_secret, || {
            wrong("whether it is secret")
        })
    }

    async fn a_restart_changes_nothing(&self, test: &Test) -> Result<(), Failure> {
        let ran = test
            .kdbg(&["env", &self.name, "--against", "spec", "-o", "json"])
            .await?;
        let report = ran.json()?;
        check(
            report["changes"] == json!([]) && report["blocked"] == json!([]),
            || format!("a restart changes something: {ran}"),
        )?;
        let unknown = report["unknown"].as_array().into_iter().flatten();
        for one in unknown {
            let name = one["name"].as_str().unwrap_or_default();
            // What the image sets, and the name of two Services' links.
            let is_so = ["PATH", "PYTHONDONTWRITEBYTECODE", "A_PORT_80_TCP_PORT"].contains(&name);
            check(is_so && !self.declared.contains_key(name), || {
                format!("{name} is known: {ran}")
            })?;
        }
        Ok(())
    }
}

/// A reference to a key that is there, or to one that may be missing and is. The second is what it declares.
fn key(numbers: &mut Numbers, objects: &[Object]) -> (Value, Option<Declared>) {
    let place = usize::try_from(numbers.below(7)).unwrap_or_default();
    let Some(object) = objects.get(place) else {
        let absent = json!({"name": "absent", "key": "V0", "optional": true});
        return (json!({"configMapKeyRef": absent}), None);
    };
    let keys: Vec<&str> = object.keys.iter().map(String::as_str).collect();
    let (key, optional) = match numbers.below(6) {
        0 => ("none", true),
        1 => ("BINARY", true),
        number => (numbers.pick(&keys), number == 2),
    };
    let kind = if object.is_secret {
        "secretKeyRef"
    } else {
        "configMapKeyRef"
    };
    let declared = keys.contains(&key).then(|| Declared {
        by: json!({"from": "key", "object": object.as_json(), "key": key}),
        is_secret: object.is_secret,
    });
    (
        json!({kind: {"name": object.name, "key": key, "optional": optional}}),
        declared,
    )
}

/// The names to which a value refers: `$(NAME)`, where `$$` is a dollar.
fn references(text: &str) -> Vec<&str> {
    let mut names = Vec::new();
    let mut rest = text;
    while let Some((_, after)) = rest.split_once('$') {
        rest = after;
        if let Some(after) = after.strip_prefix('$') {
            rest = after;
        } else if let Some((name, after)) = after
            .strip_prefix('(')
            .and_then(|after| after.split_once(')'))
        {
            names.push(name);
            rest = after;
        }
    }
    names
}

/// What the kernel says that the process was started with.
async fn environ(test: &Test, pod: &str) -> Result<Vec<String>, Failure> {
    let code =
        "import base64; print(base64.b64encode(open('/proc/1/environ', 'rb').read()).decode())";
    let bytes = base64::engine::general_purpose::STANDARD
        .decode(test.python(pod, code).await?)
        .map_err(Failure::of("read base64"))?;
    let text = String::from_utf8(bytes).map_err(Failure::of("read the environment as text"))?;
    Ok(text.split_terminator('\0').map(str::to_owned).collect())
}
