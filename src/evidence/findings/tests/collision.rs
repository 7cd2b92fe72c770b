//! A variable that the kubelet made of a Service, read as something else.

use super::*;

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
