//! Provenance against the kubelet's own code, on generated pods: `tests/oracle/kubelet` calls the function of
//! pkg/kubelet that makes a container's environment.

use std::{
    collections::BTreeMap,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use kdbg::evidence::{
    environment::Environment,
    provenance::{
        Agreement, Cluster, ContainerSpec, Declarations, EnvFrom, EnvVar, Keyring, Known, Lookup,
        Object, ObjectKind, ObjectRef, Origin, Port, Rules, Service, Value, ValueFrom,
        after_restart, attribute, declarations, is_variable_name,
    },
};
use proptest::{prelude::*, sample::select, strategy::ValueTree as _, test_runner::TestRunner};
use serde_json::{Value as Json, json};

const CASES: usize = 4000;

#[test]
fn the_replay_gives_what_the_kubelet_gives() {
    let Some(oracle) = oracle() else { return };
    let mut runner = TestRunner::deterministic();
    let cases: Vec<_> = (0..CASES)
        .map(|_| case().new_tree(&mut runner).unwrap().current())
        .collect();
    let questions: Vec<_> = cases.iter().map(Case::question).collect();
    let answers = ask(&oracle, &questions);
    assert_eq!(answers.len(), CASES);
    let mut variables = 0;
    let mut refused = 0;
    for (case, answer) in cases.iter().zip(&answers) {
        match answer["error"].as_str() {
            Some(_) => refused += 1,
            None => variables += answer["env"].as_object().unwrap().len(),
        }
        case.agrees(answer);
    }
    // A generator that makes only trivial pods would prove nothing.
    assert!(
        variables > 4 * CASES && refused > CASES / 50 && refused < CASES / 2,
        "{variables} {refused}"
    );
}

#[derive(Clone, Debug)]
struct Case {
    spec: ContainerSpec,
    services: Vec<Service>,
    objects: BTreeMap<String, BTreeMap<String, String>>,
    secrets: BTreeMap<String, BTreeMap<String, String>>,
}

/// Names that meet: a Service's variables, an object's keys, entries of `env` and references.
const NAMES: [&str; 14] = [
    "A",
    "B",
    "A_PORT",
    "A_SERVICE_PORT",
    "B_SERVICE_HOST",
    "A_PORT_80_TCP",
    "A_PORT_80_TCP_PORT",
    "KUBERNETES_PORT",
    "KUBERNETES_SERVICE_HOST",
    "X",
    "a.b",
    "1x",
    "x-y",
    "_",
];
const PIECES: [&str; 16] = [
    "$(A)",
    "$(A_PORT)",
    "$(B_SERVICE_HOST)",
    "$(X)",
    "$(none)",
    "$$(A)",
    "$$",
    "$",
    "$(",
    ")",
    "(A)",
    "$()",
    "ä",
    "x",
    "tcp://10.0.0.1:80",
    "$(KUBERNETES_SERVICE_HOST)",
];

fn text() -> impl Strategy<Value = String> {
    prop::collection::vec(select(&PIECES[..]), 0..5).prop_map(|pieces| pieces.concat())
}

fn name() -> impl Strategy<Value = String> {
    select(&NAMES[..]).prop_map(str::to_owned)
}

fn data() -> impl Strategy<Value = BTreeMap<String, BTreeMap<String, String>>> {
    let object = prop::collection::btree_map(name(), text(), 0..5);
    prop::collection::btree_map(
        select(&["one", "two"][..]).prop_map(str::to_owned),
        object,
        0..3,
    )
}

fn reference() -> impl Strategy<Value = ObjectRef> {
    let kind = select(&[ObjectKind::ConfigMap, ObjectKind::Secret][..]);
    // "three" never exists.
    let name = select(&["one", "one", "one", "two", "two", "three"][..]);
    (kind, name).prop_map(|(kind, name)| ObjectRef {
        kind,
        name: name.to_owned(),
    })
}

fn optional() -> impl Strategy<Value = bool> {
    prop::bool::weighted(0.85)
}

fn env_from() -> impl Strategy<Value = EnvFrom> {
    (select(&["", "", "A_", "1"][..]), reference(), optional()).prop_map(
        |(prefix, object, optional)| EnvFrom {
            prefix: prefix.to_owned(),
            object,
            optional,
        },
    )
}

fn env() -> impl Strategy<Value = EnvVar> {
    let key =
        (reference(), name(), optional()).prop_map(|(object, key, optional)| ValueFrom::Key {
            object,
            key,
            optional,
        });
    let field = Just(ValueFrom::Field {
        path: "metadata.namespace".to_owned(),
        value: Lookup::Missing,
    });
    let from = prop_oneof![4 => text().prop_map(ValueFrom::Literal), 2 => key, 1 => field];
    (name(), from).prop_map(|(name, from)| EnvVar { name, from })
}

fn service() -> impl Strategy<Value = Service> {
    let port = (
        select(&["", "http", "grpc-web"][..]),
        select(&[80_u16, 443, 65535][..]),
        select(&["", "TCP", "UDP", "SCTP"][..]),
    );
    (
        select(&["shop", "shop", "default", "other"][..]),
        select(
            &[
                "a",
                "b",
                "a-port",
                "a-port-80-tcp",
                "kubernetes",
                "my-shop-2",
            ][..],
        ),
        select(&["10.0.0.1", "10.0.0.2", "fd00::1", "None", ""][..]),
        prop::collection::vec(port, 1..3),
    )
        .prop_map(|(namespace, name, address, ports)| Service {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            cluster_ip: address.to_owned(),
            ports: ports
                .into_iter()
                .map(|(name, number, protocol)| Port {
                    name: name.to_owned(),
                    number,
                    protocol: protocol.to_owned(),
                })
                .collect(),
            created_at: None,
        })
}

fn case() -> impl Strategy<Value = Case> {
    let services = prop::collection::vec(service(), 0..7);
    (
        select(&["shop", "default"][..]),
        any::<bool>(),
        services,
        prop::collection::vec(env_from(), 0..4),
        prop::collection::vec(env(), 0..7),
        data(),
        data(),
    )
        .prop_map(
            |(namespace, service_links, mut services, env_from, mut env, objects, secrets)| {
                let mut seen = std::collections::BTreeSet::new();
                services.retain(|one| seen.insert((one.namespace.clone(), one.name.clone())));
                for variable in &mut env {
                    if let ValueFrom::Field { value, .. } = &mut variable.from {
                        *value = Lookup::Found(namespace.to_owned());
                    }
                }
                Case {
                    spec: ContainerSpec {
                        namespace: namespace.to_owned(),
                        service_links,
                        env_from,
                        env,
                        injected: BTreeMap::new(),
                    },
                    services,
                    objects,
                    secrets,
                }
            },
        )
}

impl Case {
    fn cluster(&self, keys: &Keyring) -> Cluster {
        let mut objects = BTreeMap::new();
        for name in ["one", "two", "three"] {
            for (kind, all) in [
                (ObjectKind::ConfigMap, &self.objects),
                (ObjectKind::Secret, &self.secrets),
            ] {
                let value = |text: &String| match kind {
                    ObjectKind::ConfigMap => Value::clear(text.as_str()),
                    ObjectKind::Secret => Value::sealed(keys.seal(text.as_bytes())),
                };
                let found = all.get(name).map_or(Lookup::Missing, |data| {
                    Lookup::Found(Object {
                        data: data
                            .iter()
                            .map(|(key, text)| (key.clone(), value(text)))
                            .collect(),
                        changed_at: None,
                    })
                });
                let name = name.to_owned();
                objects.insert(ObjectRef { kind, name }, found);
            }
        }
        Cluster {
            services: Lookup::Found(self.services.clone()),
            api_server_unread: None,
            objects,
        }
    }

    fn agrees(&self, answer: &Json) {
        let keys = Keyring::new([3; 32]);
        let cluster = self.cluster(&keys);
        let found = declarations(&self.spec, &cluster, Rules::default());
        if let Some(error) = answer["error"].as_str() {
            assert!(
                !found.blocked.is_empty(),
                "the kubelet refuses ({error}): {self:#?}"
            );
            return;
        }
        assert_eq!(found.blocked, Vec::<String>::new(), "{self:#?}");
        let actual = variables(answer);
        let names: Vec<_> = found.variables.keys().collect();
        assert_eq!(names, actual.keys().collect::<Vec<_>>(), "{self:#?}");
        self.names_agree(answer, &found);
        let ambiguous = found.variables.values().any(|one| !one.rivals.is_empty());
        for (name, value) in &actual {
            let variable = &found.variables[name];
            let is_it = |value_now: &Lookup<Value>| match value_now {
                Lookup::Found(expected) => keys.matches(expected, value),
                // Only what refers to a name that several Services make is not known here.
                Lookup::Unreadable(_) => ambiguous,
                Lookup::Missing => false,
            };
            let candidates = std::iter::once(&variable.winner).chain(&variable.rivals);
            assert!(
                candidates.into_iter().any(|one| is_it(&one.value)),
                "{name}={value:?} in {self:#?}"
            );
        }
        if !ambiguous {
            self.is_attributed(&actual, &cluster, &found, &keys);
        }
    }

    fn names_agree(&self, answer: &Json, found: &Declarations) {
        let invalid: Vec<_> = answer["invalidNames"].as_array().unwrap().iter().collect();
        for name in found.variables.keys() {
            let is_invalid = invalid.iter().any(|one| **one == json!(name));
            assert_eq!(is_variable_name(name), !is_invalid, "{name} in {self:#?}");
        }
    }

    /// A process that has just been started has nothing that is not explained, and a restart changes nothing.
    fn is_attributed(
        &self,
        actual: &BTreeMap<String, Vec<u8>>,
        cluster: &Cluster,
        found: &Declarations,
        keys: &Keyring,
    ) {
        let mut block = Vec::new();
        for (name, value) in actual {
            block.extend_from_slice(name.as_bytes());
            block.push(b'=');
            block.extend_from_slice(value);
            block.push(0);
        }
        let environment = Environment::parse(block);
        let known = Known {
            environment: &environment,
            spec: &self.spec,
            cluster,
            declarations: found,
            image: &Lookup::Found(Vec::new()),
            sample: None,
            first: None,
            started_at: None,
            keys,
        };
        let attribution = attribute(&known);
        for one in &attribution.variables {
            assert_eq!(one.agreement, Agreement::Same, "{one:?} in {self:#?}");
            assert!(
                matches!(one.origin, Origin::Spec { .. } | Origin::ServiceLink { .. }),
                "{one:?} in {self:#?}"
            );
        }
        assert_eq!(attribution.absent, [], "{self:#?}");
        assert_eq!(after_restart(&known, &attribution).changes, [], "{self:#?}");
    }

    fn question(&self) -> Json {
        let meta = |namespace: &str, name: &str| json!({"namespace": namespace, "name": name});
        let objects = |all: &BTreeMap<String, BTreeMap<String, String>>| -> Vec<Json> {
            let object = |(name, data): (&String, &BTreeMap<String, String>)| json!({"metadata": meta(&self.spec.namespace, name), "data": data});
            all.iter().map(object).collect()
        };
        let secrets = self
            .secrets
            .iter()
            .map(|(name, data)| {
                let data = data
                    .iter()
                    .map(|(key, text)| (key.clone(), encode(text)))
                    .collect();
                (name.clone(), data)
            })
            .collect();
        let service = |one: &Service| {
            let ports: Vec<_> = one
                .ports
                .iter()
                .map(|port| json!({"name": port.name, "port": port.number, "protocol": port.protocol}))
                .collect();
            json!({"metadata": meta(&one.namespace, &one.name), "spec": {"clusterIP": one.cluster_ip, "ports": ports}})
        };
        json!({
            "pod": {
                "metadata": meta(&self.spec.namespace, "pod"),
                "spec": {
                    "enableServiceLinks": self.spec.service_links,
                    "containers": [{
                        "name": "main",
                        "envFrom": self.spec.env_from.iter().map(env_from_json).collect::<Vec<_>>(),
                        "env": self.spec.env.iter().map(env_json).collect::<Vec<_>>(),
                    }],
                },
            },
            "services": self.services.iter().map(service).collect::<Vec<_>>(),
            "configMaps": objects(&self.objects),
            "secrets": objects(&secrets),
        })
    }
}

fn env_from_json(from: &EnvFrom) -> Json {
    let kind = match from.object.kind {
        ObjectKind::ConfigMap => "configMapRef",
        ObjectKind::Secret => "secretRef",
    };
    json!({"prefix": from.prefix, kind: {"name": from.object.name, "optional": from.optional}})
}

fn env_json(variable: &EnvVar) -> Json {
    let name = &variable.name;
    match &variable.from {
        ValueFrom::Literal(value) => json!({"name": name, "value": value}),
        ValueFrom::Field { path, .. } => {
            json!({"name": name, "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": path}}})
        }
        ValueFrom::Key {
            object,
            key,
            optional,
        } => {
            let kind = match object.kind {
                ObjectKind::ConfigMap => "configMapKeyRef",
                ObjectKind::Secret => "secretKeyRef",
            };
            json!({"name": name, "valueFrom": {kind: {"name": object.name, "key": key, "optional": optional}}})
        }
        other => panic!("not generated: {other:?}"),
    }
}

fn variables(answer: &Json) -> BTreeMap<String, Vec<u8>> {
    use base64::Engine as _;
    let decode = |value: &Json| {
        let text = value.as_str().unwrap_or_default();
        base64::engine::general_purpose::STANDARD
            .decode(text)
            .unwrap()
    };
    let variables = answer["env"].as_object().unwrap();
    variables
        .iter()
        .map(|(name, value)| (name.clone(), decode(value)))
        .collect()
}

fn encode(text: &str) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(text)
}

/// The oracle, built; `None` without a Go toolchain.
fn oracle() -> Option<PathBuf> {
    let go = ["go", "/usr/local/go/bin/go"]
        .into_iter()
        .find(|go| Command::new(go).arg("version").output().is_ok());
    let Some(go) = go else {
        eprintln!(
            "skipped: no Go toolchain to build the kubelet's code with; scripts/test fetches one"
        );
        return None;
    };
    let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join("kubelet-oracle");
    let built = Command::new(go)
        .args([
            "build",
            "-mod=readonly",
            "-trimpath",
            "-buildvcs=false",
            "-o",
        ])
        .arg(&program)
        .arg(".")
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/oracle/kubelet"))
        .env("GOTOOLCHAIN", "local")
        .env("CGO_ENABLED", "0")
        .output()
        .unwrap();
    assert!(
        built.status.success(),
        "{}",
        String::from_utf8_lossy(&built.stderr)
    );
    Some(program)
}

fn ask(oracle: &Path, questions: &[Json]) -> Vec<Json> {
    let mut child = Command::new(oracle)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let lines: Vec<_> = questions.iter().map(ToString::to_string).collect();
    let writer = std::thread::spawn(move || {
        for line in lines {
            writeln!(stdin, "{line}").unwrap();
        }
    });
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}
