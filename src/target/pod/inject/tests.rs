use super::*;
use crate::target::pod::{User, container::Reason};

const WANTED: Wanted<'static> = Wanted {
    image: "registry/kdbg-agent:1",
    rung: Rung::Root,
    target: "app",
    idle: Duration::from_mins(15),
};

fn found() -> Found {
    Found {
        name: "app".to_owned(),
        id: "abc".to_owned(),
        image: String::new(),
        image_id: String::new(),
        restarts: 0,
        user: Some(User { uid: 1, gid: 1 }),
        reason: Reason::Only,
    }
}

fn pod(ephemeral: &[(&str, Value)], app_restarts: i32) -> Pod {
    let containers: Vec<_> = ephemeral
        .iter()
        .map(|(name, _)| json!({"name": name, "image": "i"}))
        .collect();
    let statuses: Vec<_> = ephemeral
        .iter()
        .filter(|(_, state)| !state.is_null())
        .map(|(name, state)| json!({"name": name, "image": "i", "imageID": "", "ready": false, "restartCount": 0, "state": state}))
        .collect();
    serde_json::from_value(json!({
        "metadata": {"name": "web"},
        "spec": {"containers": [{"name": "app"}], "ephemeralContainers": containers},
        "status": {
            "phase": "Running",
            "containerStatuses": [{
                "name": "app", "image": "i", "imageID": "", "ready": true, "restartCount": app_restarts,
                "containerID": "containerd://abc", "state": {"running": {}},
            }],
            "ephemeralContainerStatuses": statuses,
        },
    }))
    .unwrap()
}

#[test]
fn a_container_that_runs_or_may_start_is_used_again_and_an_ended_one_is_not() {
    let base = WANTED.base_name();
    let second = format!("{base}-2");
    let ended = json!({"terminated": {"exitCode": 0}});
    let named = |pod: &Pod| match look(pod, &WANTED) {
        Entry::Present(name) => (true, name),
        Entry::Absent(name) => (false, name),
    };
    assert_eq!(named(&pod(&[], 0)), (false, base.clone()));
    assert_eq!(
        named(&pod(&[(&base, json!({"running": {}}))], 0)),
        (true, base.clone())
    );
    assert_eq!(
        named(&pod(&[(&base, Value::Null)], 0)),
        (true, base.clone())
    );
    assert_eq!(
        named(&pod(&[(&base, ended.clone())], 0)),
        (false, second.clone())
    );
    assert_eq!(
        named(&pod(
            &[(&base, ended), (&second, json!({"running": {}}))],
            0
        )),
        (true, second)
    );
}

#[test]
fn another_rung_target_or_image_is_another_container() {
    let other = Wanted {
        rung: Rung::Ptrace,
        ..WANTED
    };
    assert_ne!(other.base_name()[7..], WANTED.base_name()[7..]);
    assert!(other.base_name().starts_with("kdbg-c-"));
    let target = Wanted {
        target: "proxy",
        ..WANTED
    };
    assert_ne!(target.base_name(), WANTED.base_name());
}

#[test]
fn an_image_that_does_not_come_ends_the_wait_with_its_reason() {
    let waiting = json!({"waiting": {"reason": "ImagePullBackOff", "message": "Back-off pulling"}});
    let Prospect::None(PodError::NotStarting { reason, image, .. }) =
        prospect(&pod(&[("k", waiting)], 0), &found(), &WANTED, "k")
    else {
        panic!("it will not start");
    };
    assert_eq!(reason, "ImagePullBackOff: Back-off pulling");
    assert_eq!(image.as_deref(), Some("registry/kdbg-agent:1"));
}

#[test]
fn an_image_without_a_shell_is_told_from_one_whose_agent_does_not_start() {
    let failed = json!({"waiting": {
        "reason": "RunContainerError",
        "message": r#"failed to create shim task: exec: "sh": executable file not found in $PATH"#,
    }});
    let error = |image| {
        let wanted = Wanted { image, ..WANTED };
        match prospect(&pod(&[("k", failed.clone())], 0), &found(), &wanted, "k") {
            Prospect::None(error) => error.to_string(),
            Prospect::Waiting(text) => panic!("it will not start: {text}"),
        }
    };
    assert_eq!(
        error("shop/web:7"),
        "image shop/web:7 carries no agent, and none can be carried there: it has no shell"
    );
    assert!(error("registry/kdbg-agent:1").contains("executable file not found"));
}

#[test]
fn creation_is_waited_for_with_what_the_kubelet_says() {
    let waiting = json!({"waiting": {"reason": "ContainerCreating"}});
    let Prospect::Waiting(text) = prospect(&pod(&[("k", waiting)], 0), &found(), &WANTED, "k")
    else {
        panic!("it may start");
    };
    assert_eq!(text, "the kubelet says: ContainerCreating");
}

#[test]
fn a_target_that_restarts_ends_the_wait() {
    let Prospect::None(PodError::TargetLost { what }) =
        prospect(&pod(&[("k", Value::Null)], 1), &found(), &WANTED, "k")
    else {
        panic!("the agent goes with its target");
    };
    assert!(what.starts_with("container app ended or was restarted"));
}
