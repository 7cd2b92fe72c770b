//! Rules, and the controls at which they must stay silent.

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
        judge_all(&environment, &attribution, &declarations, &restart, self)
    }

    /// The ids of the causes, then of what is listed.
    fn ids(&self) -> (Vec<&'static str>, Vec<&'static str>) {
        let verdict = self.judge();
        let ids = |findings: &[Finding]| findings.iter().map(|one| one.id.as_str()).collect();
        (ids(&verdict.causes), ids(&verdict.listed))
    }
}

fn judge_all(
    environment: &Environment,
    attribution: &Attribution,
    declarations: &Declarations,
    restart: &Restart,
    case: &Case,
) -> Verdict {
    let mut facts = Facts {
        namespace: "shop".into(),
        owner: Some("deploy/productpage-v1".into()),
        variables: Lookup::Found(Variables {
            environment,
            attribution,
            declarations,
            restart,
            has_spec: true,
        }),
        code: case.code.clone(),
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
    };
    (case.edit)(&mut facts);
    judge(&facts)
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

#[test]
fn the_incident_is_named_with_all_its_facts() {
    let mut case = Case::new("/opt/microservices/productpage.py", PULL_REQUEST);
    case.code[0].changed_lines = Some(vec![2, 3]);
    case.edit = |facts| {
        facts.drift = Lookup::Found(Drift {
            reference: "master".into(),
            commit: "d50c9dfa51d50c9dfa51d50c9dfa51d50c9dfa51".into(),
            files: vec![
                DriftedFile {
                    path: "src/productpage/productpage.py".into(),
                    running: Some("/opt/microservices/productpage.py".into()),
                    added: 7,
                    deleted: 4,
                },
                DriftedFile {
                    path: "src/productpage/requirements.txt".into(),
                    running: Some("/opt/microservices/requirements.txt".into()),
                    added: 1,
                    deleted: 1,
                },
            ],
            compared: 20,
        });
        facts.origin = Lookup::Found(CodeOrigin {
            reference: "master".into(),
            commits: vec![MatchedCommit {
                commit: "90940f68bdc22959c67e74599936805de6a43c4d".into(),
                reached_from: "refs/pull/28308/head".into(),
                on_reference: false,
                unmatched: 0,
            }],
        });
        facts.checks = vec![Check {
            what: "connects to reviews:9080".into(),
            to: "reviews:9080".into(),
            worked: Lookup::Found(true),
            seen: "it answers".into(),
        }];
    };
    let verdict = case.judge();
    let [cause] = verdict.causes.as_slice() else {
        panic!("{verdict:#?}")
    };
    assert_eq!(cause.id, Id::ServiceLinkCollision);
    assert_eq!(
        (cause.severity, cause.confidence),
        (Severity::High, Confidence::Certain)
    );
    assert_eq!(
        cause.cause,
        "the code takes REVIEWS_PORT for a port's number, but the kubelet has set it to a URL, the link to Service shop/reviews"
    );
    assert_eq!(
        text(cause),
        "REVIEWS_PORT=tcp://10.0.0.7:9080\n\
         Service shop/reviews has this address and port\n\
         neither env nor envFrom sets REVIEWS_PORT\n\
         the code reads REVIEWS_PORT with the default 9080, on a line that the reference does not have\n\
         it takes it for a port's number: it is put into an address here\n\
         expected: an integer from 1 to 65535; got: a URL\n\
         src/productpage/productpage.py differs: +7 -4\n\
         commit 90940f68bdc2 has all of the running files\n\
         no commit of master fits as well\n"
    );
    assert!(cause.facts.iter().any(|fact| fact.source
        == Source::Code {
            path: "/opt/microservices/productpage.py".into(),
            line: 2
        }));
    let commands: Vec<_> = cause
        .next
        .iter()
        .map(|next| next.command.to_string())
        .collect();
    assert_eq!(
        commands,
        [
            r#"kubectl -n shop patch deploy/productpage-v1 -p '{"spec":{"template":{"spec":{"enableServiceLinks":false}}}}'"#,
            "kubectl -n shop set env deploy/productpage-v1 REVIEWS_PORT=9080",
            "/opt/microservices/productpage.py:2",
        ]
    );
    let listed: Vec<_> = verdict.listed.iter().map(|one| one.id).collect();
    assert_eq!(
        listed,
        [Id::NotOnRef, Id::Drift],
        "true, and not to blame by themselves"
    );
    assert_eq!(verdict.ruled_out[0].what, "the network to reviews:9080");
    assert!(verdict.is_found() && verdict.is_complete());
}

#[test]
fn the_same_defect_is_named_in_other_languages() {
    for (path, source) in [
        (
            "/app/server.js",
            "const port = process.env.REVIEWS_PORT || 9080;\nfetch(`http://reviews:${port}/x`);",
        ),
        (
            "/app/server.rb",
            "port = ENV.fetch('REVIEWS_PORT', 9080)\nuri = URI(\"http://reviews:#{port}/x\")",
        ),
        (
            "/app/A.java",
            "class A { void f() { String p = System.getenv(\"REVIEWS_PORT\"); String u = \"http://reviews:\" + p; } }",
        ),
        (
            "/app/index.php",
            "<?php $p = getenv('REVIEWS_PORT') ?: '9080'; $u = \"http://reviews:$p/x\";",
        ),
        (
            "/app/main.go",
            "package main\nfunc f() { p, _ := strconv.Atoi(os.Getenv(\"REVIEWS_PORT\")) }",
        ),
        (
            "/app/main.rs",
            "fn f() { let p: u16 = std::env::var(\"REVIEWS_PORT\").unwrap().parse::<u16>(); }",
        ),
        (
            "/app/run.sh",
            "exec curl \"http://reviews:$REVIEWS_PORT/x\"",
        ),
    ] {
        let (causes, _) = Case::new(path, source).ids();
        assert_eq!(causes, ["env.service-link-collision"], "{path}");
    }
}

#[test]
fn controls_stay_silent_about_the_collision() {
    let silent = |case: &Case, why: &str| {
        let (causes, listed) = case.ids();
        let all: Vec<_> = causes.into_iter().chain(listed).collect();
        assert!(
            !all.contains(&"env.service-link-collision"),
            "{why}: {all:?}"
        );
    };
    silent(
        &Case::new("/a.py", MASTER),
        "master's code with the same variables",
    );
    let mut case = Case::new("/a.py", PULL_REQUEST);
    case.spec.service_links = false;
    case.block = "PATH=/bin\0".into();
    silent(&case, "no links");
    let mut case = Case::new("/a.py", PULL_REQUEST);
    case.block = "PATH=/bin\0".into();
    silent(&case, "a pod that started before the Service existed");
    let mut case = Case::new("/a.py", PULL_REQUEST);
    literal(&mut case, "REVIEWS_PORT", "9080");
    case.block = LINKS.replace("REVIEWS_PORT=tcp://10.0.0.7:9080", "REVIEWS_PORT=9080");
    silent(&case, "the variable set in the spec");
    let mut case = Case::new("/a.py", PULL_REQUEST);
    literal(&mut case, "REVIEWS_PORT", "tcp://10.0.0.7:9080");
    silent(&case, "somebody set a URL in the spec: that is no link");
    let case = Case::new(
        "/a.py",
        "import os\nu = os.environ['REVIEWS_PORT']\nrequests.get(u)",
    );
    silent(&case, "code that wants a URL");
    let case = Case::new(
        "/a.py",
        "import os\np = int(os.environ['REVIEWS_SERVICE_PORT'])",
    );
    silent(&case, "the link that is a number");
    let case = Case::new(
        "/a.rs",
        "fn f() { let p = env!(\"REVIEWS_PORT\").parse::<u16>(); }",
    );
    silent(&case, "a read of the compiler");
    let mut case = Case::new("/a.py", PULL_REQUEST);
    case.edit = |facts| facts.variables = Lookup::Unreadable("permission denied".into());
    silent(&case, "variables that cannot be read");
}

#[test]
fn links_that_nothing_reads_are_ruled_out() {
    let verdict = Case::new("/a.py", MASTER).judge();
    assert_eq!((verdict.causes.len(), verdict.listed.len()), (0, 0));
    assert_eq!(
        verdict.ruled_out[0].what,
        "7 variables that link to Services"
    );
}

#[test]
fn an_unreadable_environment_is_said_and_never_taken_for_an_empty_one() {
    let mut case = Case::new("/a.py", "import os\nu = os.environ['MONGO_DB_URL']");
    case.edit = |facts| {
        facts.variables = Lookup::Unreadable("permission denied".into());
        facts.denied = vec![Denied {
            what: "the environment of process 7".into(),
            why: "the process runs as user 1000".into(),
            needs: "an agent that runs as user 1000".into(),
        }];
    };
    let verdict = case.judge();
    let ids: Vec<_> = verdict.listed.iter().map(|one| one.id).collect();
    assert_eq!(ids, [Id::AccessDenied]);
    assert!(verdict.causes.is_empty() && !verdict.is_found() && !verdict.is_complete());
    assert_eq!(verdict.unchecked[0].what, "the process's variables");
}

#[test]
fn a_link_that_could_only_be_told_by_its_siblings_is_likely() {
    let mut case = Case::new("/a.py", PULL_REQUEST);
    case.cluster.services = Lookup::Unreadable("forbidden".into());
    let verdict = case.judge();
    assert_eq!(verdict.causes[0].confidence, Confidence::Likely);
    let mut case = Case::new("/a.py", PULL_REQUEST);
    case.cluster.services = Lookup::Found(Vec::new());
    let verdict = case.judge();
    assert_eq!(verdict.causes[0].confidence, Confidence::Certain);
    assert!(text(&verdict.causes[0]).contains("the Service is gone"));
}

#[test]
fn what_cannot_be_reached_is_the_networks_fault() {
    let mut case = Case::new("/a.py", MASTER);
    case.edit = |facts| {
        facts.checks = vec![Check {
            what: "connects to reviews:9080".into(),
            to: "reviews:9080".into(),
            worked: Lookup::Found(false),
            seen: "no answer in 2 s".into(),
        }];
    };
    let (causes, listed) = case.ids();
    assert_eq!((causes, listed), (vec!["net.unreachable"], vec![]));
}

#[test]
fn a_variable_that_the_code_needs_and_the_process_lacks_is_found() {
    let case = Case::new(
        "/app/ratings.js",
        "const url = process.env.MONGO_DB_URL;\nMongoClient.connect(url);",
    );
    let verdict = case.judge();
    assert_eq!(verdict.causes[0].id, Id::ReadButUnset);
    assert_eq!(
        verdict.causes[0].cause,
        "the code needs MONGO_DB_URL for a URL and has no default, and the process does not have it"
    );
}

#[test]
fn controls_stay_silent_about_unset_variables() {
    for (source, why) in [
        ("process.env.DEBUG === 'true'", "yes or no"),
        ("const u = process.env.SOME_URL || 'http://x';", "a default"),
        (
            "const u = process.env.SOME_URL; const v = process.env.SOME_URL ?? 'http://x';",
            "a default elsewhere",
        ),
        (
            "const x = process.env.ANYTHING;",
            "nothing says that it is needed",
        ),
        ("const x = process.env[name];", "a name that is not known"),
        ("const u = process.env.REVIEWS_SERVICE_HOST", "it is set"),
    ] {
        let (causes, listed) = Case::new("/app/a.js", source).ids();
        assert_eq!((causes, listed), (vec![], vec![]), "{why}");
    }
    let mut case = Case::new("/app/node_modules/x/a.js", "const u = process.env.SOME_URL");
    case.code[0].own = false;
    assert_eq!(case.ids().0, Vec::<&str>::new(), "a library asks for much");
    let mut case = Case::new("/app/a.js", "const u = process.env.SOME_URL");
    case.block = "a title\0\0\0PATH=/bin\0".into();
    assert_eq!(
        case.ids().0,
        Vec::<&str>::new(),
        "an overwritten environment proves nothing"
    );
}

#[test]
fn a_config_map_changed_since_the_start_is_stale_and_matters_where_the_code_reads_it() {
    let source = "import os\nm = os.environ['MODE']";
    let mut case = Case::new("/a.py", source);
    config_map(&mut case, "MODE", "new", STARTED + 1);
    case.block = "MODE=old\0".into();
    assert_eq!(case.ids(), (vec!["env.stale"], vec![]));
    assert!(text(&case.judge().causes[0]).contains("has another value now: new"));
    case.code = vec![file("/a.py", MASTER)];
    assert_eq!(case.ids(), (vec![], vec!["env.stale"]), "nothing reads it");
    case.block = "MODE=new\0".into();
    assert_eq!(case.ids(), (vec![], vec![]), "the same value");
    let mut case = Case::new("/a.py", source);
    config_map(&mut case, "MODE", "new", STARTED - 1);
    case.block = "MODE=old\0".into();
    assert_eq!(case.ids(), (vec![], vec![]), "the entrypoint's doing");
}

#[test]
fn two_declarations_that_differ_are_listed_and_links_are_not() {
    let mut case = Case::new("/a.py", MASTER);
    config_map(&mut case, "MODE", "a", 1);
    literal(&mut case, "MODE", "b");
    case.block = "MODE=b\0".into();
    assert_eq!(case.ids(), (vec![], vec!["env.shadowed"]));
    for (name, value) in [
        ("MODE", "a"),
        ("REVIEWS_PORT", "9080"),
        ("MODE", "$(MODE)-more"),
    ] {
        let mut case = Case::new("/a.py", MASTER);
        config_map(&mut case, "MODE", "a", 1);
        literal(&mut case, name, value);
        case.block = "MODE=a\0REVIEWS_PORT=9080\0".into();
        let (_, listed) = case.ids();
        assert!(!listed.contains(&"env.shadowed"), "{name}={value}");
    }
    let mut case = Case::new("/a.py", MASTER);
    case.block = "TWICE=1\0TWICE=2\0SAME=1\0SAME=1\0".into();
    let verdict = case.judge();
    let about: Vec<_> = verdict
        .listed
        .iter()
        .map(|one| one.about.to_string())
        .collect();
    assert_eq!(about, ["TWICE"]);
}

#[test]
fn code_of_a_commit_off_the_reference_is_named_and_code_on_it_is_not() {
    let mut case = Case::new("/a.py", MASTER);
    let commit = |on_reference, unmatched| MatchedCommit {
        commit: "90940f68bdc22959c67e74599936805de6a43c4d".into(),
        reached_from: if on_reference {
            "master".into()
        } else {
            "refs/pull/1/head".into()
        },
        on_reference,
        unmatched,
    };
    let origin = |commits| CodeOrigin {
        reference: "master".into(),
        commits,
    };
    let ids = |commits| {
        let facts = facts_with(|facts| facts.origin = Lookup::Found(origin(commits)));
        facts
            .listed
            .iter()
            .map(|one| one.id.as_str())
            .collect::<Vec<_>>()
    };
    assert_eq!(ids(vec![commit(false, 0)]), ["src.not-on-ref"]);
    assert_eq!(ids(vec![commit(true, 0)]), Vec::<&str>::new());
    assert_eq!(
        ids(vec![commit(false, 0), commit(true, 0)]),
        Vec::<&str>::new(),
        "as good"
    );
    assert_eq!(
        ids(vec![commit(false, 0), commit(true, 3)]),
        ["src.not-on-ref"]
    );
    assert_eq!(ids(Vec::new()), Vec::<&str>::new());
    case.edit = |facts| facts.origin = Lookup::Unreadable("no repository".into());
    assert!(case.judge().listed.is_empty());
}

/// The verdict over master's code with one thing changed.
fn facts_with(edit: impl FnOnce(&mut Facts<'_>)) -> Verdict {
    let (environment, attribution) = (Environment::parse(""), Attribution::default());
    let (declarations, restart) = (Declarations::default(), Restart::default());
    let mut facts = Facts {
        namespace: "shop".into(),
        owner: Some("deploy/a".into()),
        variables: Lookup::Found(Variables {
            environment: &environment,
            attribution: &attribution,
            declarations: &declarations,
            restart: &restart,
            has_spec: true,
        }),
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
    };
    edit(&mut facts);
    judge(&facts)
}

#[test]
fn drift_is_listed_and_no_drift_is_ruled_out() {
    let drift = |files| Drift {
        reference: "master".into(),
        commit: "d50c9dfa51".into(),
        files,
        compared: 20,
    };
    let file = DriftedFile {
        path: "a.py".into(),
        running: None,
        added: 0,
        deleted: 3,
    };
    let verdict = facts_with(|facts| facts.drift = Lookup::Found(drift(vec![file])));
    assert_eq!(
        verdict.listed[0].cause,
        "the running code differs from master in 1 file of 20"
    );
    assert!(verdict.causes.is_empty());
    let verdict = facts_with(|facts| facts.drift = Lookup::Found(drift(Vec::new())));
    assert_eq!(
        verdict.ruled_out[0].because,
        "20 running files are those of master"
    );
    assert!(!verdict.is_found());
}

#[test]
fn a_source_changed_in_the_container_is_found_and_written_data_is_not() {
    let patched = |path: &str, as_reference| {
        let file = PatchedFile {
            path: path.into(),
            seconds_after_start: 60,
            as_reference,
        };
        let verdict = facts_with(|facts| facts.patched = Lookup::Found(vec![file]));
        verdict
            .listed
            .iter()
            .map(|one| one.id.as_str())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        patched("/app/a.py", Some(false)),
        ["src.patched-after-start"]
    );
    assert_eq!(patched("/app/a.py", None), ["src.patched-after-start"]);
    assert_eq!(patched("/app/a.py", Some(true)), Vec::<&str>::new());
    assert_eq!(patched("/app/app.log", Some(false)), Vec::<&str>::new());
    assert_eq!(patched("/app/__pycache__/a.py", None), Vec::<&str>::new());
}

#[test]
fn replicas_of_one_tag_and_two_digests_differ_and_a_rollout_is_a_rollout() {
    let replica = |pod: &str, digest: &str, template: &str| Replica {
        pod: pod.into(),
        image: "shop/a:1".into(),
        image_id: digest.into(),
        template: template.into(),
    };
    let judge = |replicas| facts_with(|facts| facts.replicas = Lookup::Found(replicas));
    let verdict = judge(vec![
        replica("a", "sha256:1", "x"),
        replica("b", "sha256:2", "x"),
    ]);
    assert_eq!(verdict.listed[0].id, Id::ReplicasDiffer);
    assert!(verdict.listed[0].cause.contains_str("shop/a:1 was moved"));
    let verdict = judge(vec![
        replica("a", "sha256:1", "x"),
        replica("b", "sha256:2", "y"),
    ]);
    assert_eq!(verdict.listed[0].severity, Severity::Low);
    for replicas in [
        vec![replica("a", "sha256:1", "x"), replica("b", "sha256:1", "x")],
        vec![replica("a", "sha256:1", "x"), replica("b", "", "x")],
        vec![],
    ] {
        assert!(judge(replicas).listed.is_empty());
    }
}

#[test]
fn secrets_stay_hidden_in_findings() {
    let source = "import os\nm = os.environ['DB_PASSWORD']";
    let mut case = Case::new("/a.py", source);
    config_map(&mut case, "DB_PASSWORD", "newsecret", STARTED + 1);
    case.block = "DB_PASSWORD=oldsecret\0".into();
    let verdict = format!("{:?}", case.judge());
    assert!(verdict.contains("env.stale") || verdict.contains("Stale"));
    assert!(
        !verdict.contains("oldsecret") && !verdict.contains("newsecret"),
        "{verdict}"
    );
}

/// The code reads the ports of two Services, and takes the links to both for numbers.
const TWO_PORTS: &str = r#"import os
reviews = "http://reviews:{0}".format(os.environ.get("REVIEWS_PORT", "9080"))
details = "http://details:{0}".format(os.environ.get("DETAILS_PORT", "9080"))
"#;

fn symptom(host: &str, outcome: Outcome) -> Symptom {
    Symptom {
        request: format!("GET http://{host}:9080/x"),
        host: host.to_owned(),
        port: 9080,
        is_own: host == "127.0.0.1",
        outcome: Lookup::Found(outcome),
    }
}

fn well() -> Outcome {
    Outcome::Status(200, "200 OK, 5 bytes in 1.0 ms".into())
}

fn two_collisions(edit: fn(&mut Facts<'_>)) -> Verdict {
    let mut case = Case::new("/app/page.py", TWO_PORTS);
    case.block += "DETAILS_SERVICE_HOST=10.0.0.8\0DETAILS_PORT=tcp://10.0.0.8:9080\0";
    let details = Service {
        name: "details".into(),
        ..reviews("10.0.0.8")
    };
    case.cluster.services = Lookup::Found(vec![reviews("10.0.0.7"), details]);
    case.edit = edit;
    case.judge()
}

fn about(findings: &[Finding]) -> Vec<String> {
    findings.iter().map(|one| one.about.to_string()).collect()
}

#[test]
fn a_symptom_that_answers_well_rules_its_service_out_and_parts_what_touches_it_from_the_rest() {
    let verdict = two_collisions(|facts| facts.symptom = Some(symptom("reviews", well())));
    assert_eq!(about(&verdict.causes), ["REVIEWS_PORT"]);
    assert_eq!(about(&verdict.listed), ["DETAILS_PORT"]);
    let facts = text(&verdict.causes[0]);
    assert!(
        facts.contains("GET http://reviews:9080/x from the pod answers 200 OK"),
        "{facts}"
    );
    assert_eq!(
        verdict.ruled_out[0].what,
        "reviews:9080 and the network to it"
    );
}

#[test]
fn a_symptom_that_leads_to_no_cause_takes_no_blame_from_any() {
    // The page itself, under a name from outside: it may need all of it.
    for host in ["productpage", "shop.example", "10.0.0.8", "127.0.0.1"] {
        let verdict = match host {
            "productpage" => {
                two_collisions(|facts| facts.symptom = Some(symptom("productpage", well())))
            }
            "shop.example" => {
                two_collisions(|facts| facts.symptom = Some(symptom("shop.example", well())))
            }
            "10.0.0.8" => two_collisions(|facts| facts.symptom = Some(symptom("10.0.0.8", well()))),
            _ => two_collisions(|facts| facts.symptom = Some(symptom("127.0.0.1", well()))),
        };
        assert_eq!(
            about(&verdict.causes),
            ["DETAILS_PORT", "REVIEWS_PORT"],
            "{host}"
        );
    }
    // A Service of the same name in another namespace has no link.
    let verdict = two_collisions(|facts| facts.symptom = Some(symptom("reviews.other", well())));
    assert_eq!(verdict.causes.len(), 2);
    let verdict = two_collisions(|facts| facts.symptom = Some(symptom("reviews.shop.svc", well())));
    assert_eq!(about(&verdict.causes), ["REVIEWS_PORT"]);
}

#[test]
fn a_symptom_that_shows_is_named_by_how_far_it_got() {
    let judged = |edit: fn(&mut Facts<'_>)| facts_with(edit);
    let verdict = judged(|facts| {
        facts.symptom = Some(symptom(
            "reviews",
            Outcome::Unreached("refused after 1.0 ms".into()),
        ));
    });
    assert_eq!(verdict.causes[0].id, Id::Unreachable);
    assert_eq!(about(&verdict.causes), ["reviews:9080"]);
    let verdict = {
        let mut case = Case::new("/app/page.py", MASTER);
        case.edit = |facts| {
            facts.symptom = Some(symptom(
                "reviews",
                Outcome::Status(503, "503 Service Unavailable, 0 bytes in 1.0 ms".into()),
            ));
        };
        case.judge()
    };
    assert_eq!(verdict.causes[0].id, Id::SymptomReproduced);
    assert_eq!(
        verdict.causes[0].next[0].command,
        "kdbg diagnose svc/reviews -n shop"
    );
    assert!(
        verdict
            .ruled_out
            .iter()
            .any(|one| one.what == "the network to reviews:9080")
    );
    // It asks for the wrong thing: true, and no fault of anybody's.
    let verdict = judged(|facts| {
        facts.symptom = Some(symptom(
            "reviews",
            Outcome::Status(404, "404 Not Found".into()),
        ));
    });
    assert!(verdict.causes.is_empty() && verdict.listed[0].id == Id::SymptomReproduced);
    // The process itself: that it fails says not why.
    let verdict = judged(|facts| {
        facts.symptom = Some(symptom(
            "127.0.0.1",
            Outcome::Status(500, "500 Internal".into()),
        ));
    });
    assert!(verdict.causes.is_empty() && verdict.listed[0].id == Id::SymptomReproduced);
    // One failure is one finding.
    let verdict = judged(|facts| {
        facts.symptom = Some(symptom("reviews", Outcome::Unreached("refused".into())));
        facts.checks = vec![Check {
            what: "connects to reviews:9080".into(),
            to: "reviews:9080".into(),
            worked: Lookup::Found(false),
            seen: "refused".into(),
        }];
    });
    assert_eq!(
        (verdict.causes.len(), verdict.causes[0].facts.len()),
        (1, 2)
    );
}

#[test]
fn a_symptom_that_could_not_be_tried_is_not_checked_and_rules_nothing_out() {
    let verdict = facts_with(|facts| {
        facts.symptom = Some(Symptom {
            outcome: Lookup::Unreadable("it took longer than 30s".into()),
            ..symptom("reviews", well())
        });
    });
    assert!(verdict.causes.is_empty() && verdict.ruled_out.is_empty());
    assert!(
        verdict
            .unchecked
            .iter()
            .any(|one| one.what == "what comes of GET http://reviews:9080/x")
    );
}

#[test]
fn a_name_in_a_compiled_program_is_a_hint_and_no_cause() {
    let mut case = Case::new("/app/x.py", "");
    case.code.clear();
    case.edit = |facts| {
        facts.hints = vec![ProgramHint {
            path: "/app/server".into(),
            name: "REVIEWS_PORT".into(),
        }];
    };
    let verdict = case.judge();
    assert!(verdict.causes.is_empty() && verdict.listed.is_empty());
    assert!(verdict.unchecked.iter().any(|one| one.what
        == "for what /app/server takes REVIEWS_PORT, a link's URL, if it reads it"
        && one.why.starts_with("hint:")));
}

#[test]
fn an_overwritten_environment_leaves_what_the_kubelet_gave_as_likely() {
    let mut case = Case::new(
        "/app/index.php",
        "<?php $p = getenv('REVIEWS_PORT') ?: '9080'; $u = \"http://reviews:{$p}/\";",
    );
    case.block = "-fpm: pool www\0\0\0".to_owned();
    assert!(Environment::parse(case.block.as_str()).overwritten);
    let verdict = case.judge();
    let [cause] = verdict.causes.as_slice() else {
        panic!("{verdict:#?}")
    };
    assert_eq!(
        (cause.id, cause.confidence),
        (Id::ServiceLinkCollision, Confidence::Likely)
    );
    assert!(text(cause).contains("the process has overwritten its environment"));
    // Links are off, the spec sets it, or the Service is younger than the container: it was given no URL.
    case.spec.service_links = false;
    assert!(case.judge().causes.is_empty());
    case.spec.service_links = true;
    literal(&mut case, "REVIEWS_PORT", "9080");
    assert!(case.judge().causes.is_empty());
    case.spec.env.clear();
    let younger = Service {
        created_at: Some(STARTED + 1),
        ..reviews("10.0.0.7")
    };
    case.cluster.services = Lookup::Found(vec![younger]);
    assert!(case.judge().causes.is_empty());
}
