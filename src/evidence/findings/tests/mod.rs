//! Rules, and the controls at which they must stay silent.

mod collision;
mod source;
mod symptom;
mod variables;

use bstr::ByteSlice as _;

use super::*;
use crate::evidence::{
    environment::Environment,
    provenance::{
        self, Attribution, Cluster, ContainerSpec, Declarations, EnvFrom, EnvVar, ImageVariable,
        Keyring, Known, Lookup, Object, ObjectKind, ObjectRef, Port, Restart, Rules, Service,
        Value, ValueFrom,
    },
    reads::{self, Limits},
    redact::Redactor,
};

const STARTED: i64 = 1_000;

/// The code of the pull request, in the incident's shape.
const PULL_REQUEST: &str = r#"import os
port = "9080" if (os.environ.get("REVIEWS_PORT") is None) else os.environ.get("REVIEWS_PORT")
reviews = {"name": "http://{0}:{1}".format("reviews", port)}
"#;
const MASTER: &str = r#"import os
reviews = {"name": "http://reviews:9080"}
"#;
const LINKS: &str = "REVIEWS_SERVICE_HOST=10.0.0.7\0REVIEWS_SERVICE_PORT=9080\0REVIEWS_PORT=tcp://10.0.0.7:9080\0\
    REVIEWS_PORT_9080_TCP=tcp://10.0.0.7:9080\0REVIEWS_PORT_9080_TCP_PROTO=tcp\0REVIEWS_PORT_9080_TCP_PORT=9080\0\
    REVIEWS_PORT_9080_TCP_ADDR=10.0.0.7\0";

/// A pod: what the process has, what the cluster says, what the code is.
struct Case {
    block: String,
    spec: ContainerSpec,
    cluster: Cluster,
    image: Vec<ImageVariable>,
    code: Vec<CodeFile>,
    edit: fn(&mut Facts<'_>),
}

impl Case {
    fn new(path: &str, source: &str) -> Self {
        Self {
            block: LINKS.to_owned(),
            spec: ContainerSpec {
                namespace: "shop".into(),
                service_links: true,
                ..ContainerSpec::default()
            },
            cluster: Cluster {
                services: Lookup::Found(vec![reviews("10.0.0.7")]),
                api_server_unread: None,
                objects: std::collections::BTreeMap::new(),
            },
            image: Vec::new(),
            code: vec![file(path, source)],
            edit: |_| (),
        }
    }

    fn judge(&self) -> Verdict {
        let environment = Environment::parse(self.block.as_str());
        let declarations = provenance::declarations(&self.spec, &self.cluster, Rules::default());
        let image = Lookup::Found(self.image.clone());
        let known = Known {
            environment: &environment,
            spec: &self.spec,
            cluster: &self.cluster,
            declarations: &declarations,
            image: &image,
            sample: None,
            first: None,
            started_at: Some(STARTED),
            keys: &KEYS,
        };
        let attribution = provenance::attribute(&known);
        let restart = provenance::after_restart(&known, &attribution);
        let mut facts = facts(Variables {
            environment: &environment,
            attribution: &attribution,
            declarations: &declarations,
            restart: &restart,
            has_spec: true,
        });
        facts.code.clone_from(&self.code);
        (self.edit)(&mut facts);
        judge(&facts)
    }

    /// The ids of the causes, then of what is listed.
    fn ids(&self) -> (Vec<&'static str>, Vec<&'static str>) {
        let verdict = self.judge();
        let ids = |findings: &[Finding]| findings.iter().map(|one| one.id.as_str()).collect();
        (ids(&verdict.causes), ids(&verdict.listed))
    }
}

/// Facts of a pod of which nothing but its variables is known.
fn facts(variables: Variables<'_>) -> Facts<'_> {
    Facts {
        namespace: "shop".into(),
        owner: Some("deploy/productpage-v1".into()),
        variables: Lookup::Found(variables),
        code: Vec::new(),
        hints: Vec::new(),
        drift: Lookup::Missing,
        origin: Lookup::Missing,
        patched: Lookup::Missing,
        replicas: Lookup::Missing,
        checks: Vec::new(),
        files: Lookup::Missing,
        symptom: None,
        denied: Vec::new(),
        redactor: Redactor::new(false),
    }
}

const KEYS: Keyring = Keyring::new([5; 32]);

fn reviews(address: &str) -> Service {
    Service {
        namespace: "shop".into(),
        name: "reviews".into(),
        cluster_ip: address.into(),
        ports: vec![Port {
            name: "http".into(),
            number: 9080,
            protocol: "TCP".into(),
        }],
        created_at: Some(1),
    }
}

fn file(path: &str, source: &str) -> CodeFile {
    CodeFile {
        built: None,
        path: path.into(),
        reads: reads::reads(path.as_bytes(), source.as_bytes(), Limits::default()).unwrap(),
        own: true,
        changed_lines: None,
    }
}

fn config_map(case: &mut Case, key: &str, value: &str, changed_at: i64) {
    let object = ObjectRef {
        kind: ObjectKind::ConfigMap,
        name: "settings".into(),
    };
    let data = [(key.to_owned(), Value::clear(value))].into();
    let changed_at = Some(changed_at);
    case.cluster
        .objects
        .insert(object.clone(), Lookup::Found(Object { data, changed_at }));
    case.spec.env_from.push(EnvFrom {
        prefix: String::new(),
        object,
        optional: false,
    });
}

fn literal(case: &mut Case, name: &str, value: &str) {
    case.spec.env.push(EnvVar {
        name: name.into(),
        from: ValueFrom::Literal(value.into()),
    });
}

fn text(finding: &Finding) -> String {
    let lines: Vec<_> = finding
        .facts
        .iter()
        .map(|fact| fact.text.to_string())
        .collect();
    lines.join("\n") + "\n"
}

/// The code reads the ports of two Services, and takes the links to both for numbers.
const TWO_PORTS: &str = r#"import os
reviews = "http://reviews:{0}".format(os.environ.get("REVIEWS_PORT", "9080"))
details = "http://details:{0}".format(os.environ.get("DETAILS_PORT", "9080"))
"#;

fn facts_with(edit: impl FnOnce(&mut Facts<'_>)) -> Verdict {
    let (environment, attribution) = (Environment::parse(""), Attribution::default());
    let (declarations, restart) = (Declarations::default(), Restart::default());
    let mut facts = facts(Variables {
        environment: &environment,
        attribution: &attribution,
        declarations: &declarations,
        restart: &restart,
        has_spec: true,
    });
    edit(&mut facts);
    judge(&facts)
}
