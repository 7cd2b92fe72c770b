//! Code that is not what the reference has, and replicas that are not the same.

use super::*;

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
