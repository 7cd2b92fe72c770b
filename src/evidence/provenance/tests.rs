//! Provenance of whole environments.

use std::collections::BTreeMap;

use super::*;
use crate::evidence::environment::Environment;

const STARTED: i64 = 1_000;

struct Case {
    spec: ContainerSpec,
    cluster: Cluster,
    image: Lookup<Vec<ImageVariable>>,
    keys: Keyring,
    sample: Option<String>,
    first: Option<String>,
}

impl Default for Case {
    fn default() -> Self {
        Self {
            spec: ContainerSpec {
                namespace: "shop".into(),
                service_links: true,
                ..ContainerSpec::default()
            },
            cluster: Cluster {
                services: Lookup::Found(vec![service("default", "kubernetes", "10.96.0.1", 443)]),
                api_server_unread: None,
                objects: BTreeMap::new(),
            },
            image: Lookup::Found(vec![ImageVariable {
                name: "LANG".into(),
                value: "C.UTF-8".into(),
            }]),
            keys: Keyring::new([9; 32]),
            sample: None,
            first: None,
        }
    }
}

impl Case {
    fn object(
        &mut self,
        kind: ObjectKind,
        data: &[(&str, &str)],
        changed_at: Option<i64>,
    ) -> ObjectRef {
        let object = ObjectRef {
            kind,
            name: "settings".into(),
        };
        let value = |text: &str| match kind {
            ObjectKind::ConfigMap => Value::clear(text),
            ObjectKind::Secret => Value::sealed(self.keys.seal(text.as_bytes())),
        };
        let data = data
            .iter()
            .map(|(key, text)| ((*key).to_owned(), value(text)))
            .collect();
        let found = Lookup::Found(Object { data, changed_at });
        self.cluster.objects.insert(object.clone(), found);
        object
    }

    fn from(&mut self, object: ObjectRef) {
        self.spec.env_from.push(EnvFrom {
            prefix: String::new(),
            object,
            optional: false,
        });
    }

    fn literal(&mut self, name: &str, value: &str) {
        self.spec.env.push(EnvVar {
            name: name.into(),
            from: ValueFrom::Literal(value.into()),
        });
    }

    fn service(&mut self, service: Service) {
        if let Lookup::Found(services) = &mut self.cluster.services {
            services.push(service);
        }
    }

    fn judge(&self, block: &str) -> (Attribution, Restart) {
        let environment = Environment::parse(block);
        let declarations = declarations(&self.spec, &self.cluster, Rules::default());
        let beside = |block: &Option<String>| block.as_deref().map(Environment::parse);
        let (sample, first) = (beside(&self.sample), beside(&self.first));
        let known = Known {
            environment: &environment,
            spec: &self.spec,
            cluster: &self.cluster,
            declarations: &declarations,
            image: &self.image,
            sample: sample.as_ref(),
            first: first.as_ref(),
            started_at: Some(STARTED),
            keys: &self.keys,
        };
        let attribution = attribute(&known);
        let restart = after_restart(&known, &attribution);
        (attribution, restart)
    }

    fn origin(&self, block: &str, name: &str) -> (Origin, Agreement) {
        let (attribution, _) = self.judge(block);
        let one = attribution.get(name.as_bytes()).unwrap().clone();
        (one.origin, one.agreement)
    }
}

fn service(namespace: &str, name: &str, address: &str, port: u16) -> Service {
    Service {
        namespace: namespace.into(),
        name: name.into(),
        cluster_ip: address.into(),
        ports: vec![Port {
            name: String::new(),
            number: port,
            protocol: "TCP".into(),
        }],
        created_at: Some(500),
    }
}

const LINKS: &str = "REVIEWS_SERVICE_HOST=10.0.0.7\0REVIEWS_SERVICE_PORT=9080\0REVIEWS_PORT=tcp://10.0.0.7:9080\0\
    REVIEWS_PORT_9080_TCP=tcp://10.0.0.7:9080\0REVIEWS_PORT_9080_TCP_PROTO=tcp\0REVIEWS_PORT_9080_TCP_PORT=9080\0\
    REVIEWS_PORT_9080_TCP_ADDR=10.0.0.7\0";

fn link(service: Option<&str>, state: LinkState) -> Origin {
    Origin::ServiceLink {
        service: service.map(Into::into),
        prefix: "REVIEWS".into(),
        form: LinkForm::Url,
        state,
    }
}

#[test]
fn a_link_names_its_service() {
    let mut case = Case::default();
    case.service(service("shop", "reviews", "10.0.0.7", 9080));
    assert_eq!(
        case.origin(LINKS, "REVIEWS_PORT"),
        (
            link(Some("shop/reviews"), LinkState::Current),
            Agreement::Same
        )
    );
    let (_, restart) = case.judge(LINKS);
    // The process of this test lacks the links to the API server, which a restart would give it.
    assert!(
        restart
            .changes
            .iter()
            .all(|change| change.name.starts_with(b"KUBERNETES_"))
    );
}

#[test]
fn a_service_made_again_with_another_address_is_a_stale_link() {
    let mut case = Case::default();
    case.service(service("shop", "reviews", "10.0.0.8", 9080));
    assert_eq!(
        case.origin(LINKS, "REVIEWS_PORT"),
        (
            link(Some("shop/reviews"), LinkState::Changed),
            Agreement::Stale
        )
    );
    let (_, restart) = case.judge(LINKS);
    let change = restart
        .changes
        .iter()
        .find(|change| change.name == "REVIEWS_PORT")
        .unwrap();
    assert_eq!(
        change.after,
        After::Value(Value::clear("tcp://10.0.0.8:9080"))
    );
}

#[test]
fn the_link_of_a_service_that_is_gone_is_still_a_link_and_a_restart_removes_it() {
    let case = Case::default();
    assert_eq!(
        case.origin(LINKS, "REVIEWS_PORT"),
        (link(None, LinkState::Gone), Agreement::Stale)
    );
    let (_, restart) = case.judge(LINKS);
    let change = restart
        .changes
        .iter()
        .find(|change| change.name == "REVIEWS_PORT")
        .unwrap();
    assert_eq!(change.after, After::Absent);
}

/// runc takes an empty `HOME` for none; found by the generated specs of `tests/cluster/generated.rs`.
#[test]
fn an_empty_home_is_filled_in_by_the_runtime_and_that_is_nobody_elses_doing() {
    let mut case = Case::default();
    case.literal("HOME", "");
    case.literal("OTHER", "");
    let (attribution, restart) = case.judge("HOME=/root\0OTHER=x\0");
    let home = attribution.get(b"HOME").unwrap();
    assert_eq!(
        (&home.origin, &home.agreement),
        (&Origin::Runtime, &Agreement::Same)
    );
    assert!(
        matches!(home.shadowed.as_slice(), [Origin::Spec { .. }]),
        "{home:?}"
    );
    assert!(
        restart.changes.iter().all(|change| change.name != "HOME"),
        "{restart:?}"
    );
    let other = attribution.get(b"OTHER").unwrap();
    assert_eq!(
        other.agreement,
        Agreement::Overridden,
        "nothing fills it in"
    );
    // Other runtimes leave it empty.
    let (origin, agreement) = case.origin("HOME=\0", "HOME");
    assert!(matches!(origin, Origin::Spec { .. }), "{origin:?}");
    assert_eq!(agreement, Agreement::Same);
    // The image's is taken for none as well.
    let empty = ImageVariable {
        name: "HOME".into(),
        value: "".into(),
    };
    let case = Case {
        image: Lookup::Found(vec![empty]),
        ..Case::default()
    };
    assert_eq!(
        case.origin("HOME=/root\0", "HOME"),
        (Origin::Runtime, Agreement::Same)
    );
}

/// Addresses of IPv6 are in brackets in a URL, and nowhere else; `tests/it/kubelet_oracle.rs` has them from the kubelet.
#[test]
fn links_of_ipv6_are_links_while_their_service_is_there_and_when_it_is_gone() {
    let block = LINKS
        .replace("10.0.0.7:", "[fd00::7]:")
        .replace("10.0.0.7", "fd00::7");
    let gone = Case::default();
    let mut current = Case::default();
    current.service(service("shop", "reviews", "fd00::7", 9080));
    let mut changed = Case::default();
    changed.service(service("shop", "reviews", "fd00::8", 9080));
    let (attribution, restart) = current.judge(&block);
    assert!(
        attribution
            .variables
            .iter()
            .all(|one| one.agreement == Agreement::Same),
        "{attribution:?}"
    );
    assert!(
        restart
            .changes
            .iter()
            .all(|change| change.name.starts_with(b"KUBERNETES_"))
    );
    for (case, service, state) in [
        (&gone, None, LinkState::Gone),
        (&current, Some("shop/reviews"), LinkState::Current),
        (&changed, Some("shop/reviews"), LinkState::Changed),
    ] {
        assert_eq!(
            case.origin(&block, "REVIEWS_PORT").0,
            link(service, state),
            "{state:?}"
        );
    }
}

#[test]
fn services_that_cannot_be_read_leave_a_link_a_link_but_say_so() {
    let mut case = Case::default();
    case.cluster.services = Lookup::Unreadable("forbidden: list services".into());
    let (origin, agreement) = case.origin(LINKS, "REVIEWS_PORT");
    assert_eq!(origin, link(None, LinkState::NotRead));
    assert!(matches!(agreement, Agreement::NotCompared { .. }));
    let (_, restart) = case.judge(LINKS);
    assert!(restart.changes.is_empty());
    assert!(
        restart
            .unknown
            .iter()
            .any(|(name, _)| name == "REVIEWS_PORT")
    );
}

#[test]
fn the_shape_of_a_link_without_its_siblings_is_no_link() {
    let case = Case::default();
    for block in [
        "REVIEWS_PORT=tcp://10.0.0.7:9080\0",
        "REVIEWS_SERVICE_HOST=10.0.0.9\0REVIEWS_PORT=tcp://10.0.0.7:9080\0",
        "REVIEWS_SERVICE_HOST=reviews\0REVIEWS_PORT=tcp://reviews:9080\0",
    ] {
        assert_eq!(
            case.origin(block, "REVIEWS_PORT").0,
            Origin::Entrypoint { shell: false },
            "{block}"
        );
    }
}

#[test]
fn without_links_only_the_api_server_has_them() {
    let mut case = Case::default();
    case.service(service("shop", "reviews", "10.0.0.7", 9080));
    case.spec.service_links = false;
    let found = declarations(&case.spec, &case.cluster, Rules::default());
    assert!(
        found
            .variables
            .keys()
            .all(|name| name.starts_with("KUBERNETES_"))
    );
    assert_eq!(found.variables.len(), 7);
}

#[test]
fn the_spec_beats_a_link_and_both_are_named() {
    let mut case = Case::default();
    case.service(service("shop", "reviews", "10.0.0.7", 9080));
    case.literal("REVIEWS_PORT", "9080");
    let (attribution, _) = case.judge("REVIEWS_PORT=9080\0");
    let one = attribution.get(b"REVIEWS_PORT").unwrap();
    assert!(matches!(
        one.origin,
        Origin::Spec {
            declaration: Declaration::Literal,
            ..
        }
    ));
    assert_eq!(
        one.shadowed,
        [link(Some("shop/reviews"), LinkState::Current)]
    );
}

#[test]
fn a_config_map_changed_since_the_start_is_stale_and_one_changed_before_is_not() {
    for (changed_at, agreement) in [
        (Some(STARTED + 1), Agreement::Stale),
        (Some(STARTED - 1), Agreement::Overridden),
        (None, Agreement::Undecided),
    ] {
        let mut case = Case::default();
        let object = case.object(ObjectKind::ConfigMap, &[("MODE", "new")], changed_at);
        case.from(object);
        assert_eq!(case.origin("MODE=old\0", "MODE").1, agreement);
    }
}

#[test]
fn secrets_are_compared_and_never_held() {
    let mut case = Case::default();
    let object = case.object(
        ObjectKind::Secret,
        &[("TOKEN", "hunter2")],
        Some(STARTED + 1),
    );
    case.from(object);
    case.literal("URL", "pg://me:$(TOKEN)@db");
    let (attribution, _) = case.judge("TOKEN=hunter2\0URL=pg://me:hunter2@db\0");
    for name in ["TOKEN", "URL"] {
        let one = attribution.get(name.as_bytes()).unwrap();
        assert_eq!(
            (one.agreement.clone(), one.secret),
            (Agreement::Same, true),
            "{name}"
        );
    }
    let (attribution, restart) = case.judge("TOKEN=old\0URL=pg://me:old@db\0");
    assert_eq!(
        attribution.get(b"TOKEN").unwrap().agreement,
        Agreement::Stale
    );
    assert!(restart.changes.iter().any(|change| change.name == "URL"));
    assert!(!format!("{case:?}", case = (&case.cluster, &restart)).contains("hunter2"));
}

#[test]
fn a_secret_that_may_not_be_read_is_unknown_and_its_variables_count_as_secret() {
    let mut case = Case::default();
    let object = case.object(ObjectKind::Secret, &[], None);
    case.cluster
        .objects
        .insert(object.clone(), Lookup::Unreadable("forbidden".into()));
    case.from(object);
    case.literal("URL", "pg://$(TOKEN)@db");
    let (attribution, restart) = case.judge("TOKEN=x\0URL=pg://x@db\0LANG=C.UTF-8\0PATH=/bin\0");
    let one = |name: &str| attribution.get(name.as_bytes()).unwrap();
    assert!(
        matches!(&one("TOKEN").origin, Origin::Unknown { why } if why.contains("Secret settings"))
    );
    assert!(one("TOKEN").secret && one("URL").secret && !one("LANG").secret && !one("PATH").secret);
    assert!(matches!(
        one("URL").agreement,
        Agreement::NotCompared { .. }
    ));
    assert_eq!(one("LANG").origin, Origin::Image);
    let unknown: Vec<_> = restart
        .unknown
        .iter()
        .map(|(name, _)| name.to_string())
        .collect();
    assert_eq!(unknown, ["TOKEN", "URL"]);
}

#[test]
fn what_nothing_declares_is_the_entrypoints_and_a_shell_leaves_its_mark() {
    let case = Case::default();
    let (attribution, _) = case.judge("LANG=de\0PWD=/app\0ADDED=1\0PATH=/bin\0HOSTNAME=p\0");
    let origin = |name: &str| attribution.get(name.as_bytes()).unwrap().origin.clone();
    assert_eq!(origin("LANG"), Origin::Image);
    assert_eq!(
        attribution.get(b"LANG").unwrap().agreement,
        Agreement::Overridden
    );
    assert_eq!(origin("PWD"), Origin::Entrypoint { shell: true });
    assert_eq!(origin("ADDED"), Origin::Entrypoint { shell: false });
    assert_eq!(origin("PATH"), Origin::Runtime);
    assert!(attribution.through_shell);
}

#[test]
fn an_image_that_cannot_be_read_makes_the_rest_unknown_not_the_entrypoints() {
    let case = Case {
        image: Lookup::Unreadable("no access to the registry".into()),
        ..Case::default()
    };
    assert!(matches!(
        case.origin("ADDED=1\0", "ADDED").0,
        Origin::Unknown { .. }
    ));
}

#[test]
fn what_is_declared_and_lacking_has_a_reason() {
    let mut case = Case::default();
    let mut late = service("shop", "late", "10.0.0.9", 80);
    late.created_at = Some(STARTED + 1);
    case.service(late);
    case.literal("GONE", "1");
    let (attribution, _) = case.judge("LANG=C.UTF-8\0");
    let why = |name: &str| {
        attribution
            .absent
            .iter()
            .find(|one| one.name == name)
            .map(|one| one.why)
    };
    assert_eq!(why("GONE"), Some(WhyAbsent::Removed));
    assert_eq!(why("LATE_PORT"), Some(WhyAbsent::SinceStart));
    assert_eq!(why("KUBERNETES_PORT"), Some(WhyAbsent::Undecided));
    let (attribution, restart) = case.judge("a process title\0\0\0LANG=C.UTF-8\0");
    assert!(
        attribution
            .absent
            .iter()
            .filter(|one| !one.name.starts_with("LATE_"))
            .all(|one| one.why == WhyAbsent::Overwritten)
    );
    assert_eq!(restart.changes, []);
}

#[test]
fn what_must_be_there_and_is_not_blocks_a_restart() {
    let mut case = Case::default();
    let object = ObjectRef {
        kind: ObjectKind::ConfigMap,
        name: "gone".into(),
    };
    case.cluster.objects.insert(object.clone(), Lookup::Missing);
    case.from(object);
    let (_, restart) = case.judge("MODE=old\0");
    assert_eq!(
        restart.blocked,
        ["ConfigMap gone in envFrom does not exist"]
    );
}

#[test]
fn old_kubelets_leave_out_names_that_are_no_variables() {
    let mut case = Case::default();
    let object = case.object(
        ObjectKind::ConfigMap,
        &[("a b", "1"), ("ok", "1"), ("1x", "1")],
        None,
    );
    case.from(object);
    let names = |minor| {
        let found = declarations(&case.spec, &case.cluster, Rules::of_minor(minor));
        (found.variables.contains_key("a b"), found.invalid.len())
    };
    assert_eq!(names(Some(29)), (false, 2));
    assert_eq!(names(Some(34)), (true, 0));
    assert_eq!(names(None), (true, 0));
}

#[test]
fn a_webhook_that_put_a_variable_into_the_spec_is_named() {
    let mut case = Case::default();
    case.literal("AWS_ROLE_ARN", "arn");
    case.spec
        .injected
        .insert("AWS_ROLE_ARN".into(), "pod-identity-webhook".into());
    let (origin, _) = case.origin("AWS_ROLE_ARN=arn\0", "AWS_ROLE_ARN");
    assert!(
        matches!(origin, Origin::Spec { injected_by: Some(by), .. } if by == "pod-identity-webhook")
    );
}

#[test]
fn what_the_first_process_has_not_was_put_there_on_the_way() {
    let mut pod = Case::default();
    pod.literal("LEVEL", "info");
    pod.service(service("shop", "reviews", "10.0.0.7", 9080));
    pod.first = Some(format!("{LINKS}LEVEL=info\0FROM=image\0"));
    let block = format!("{LINKS}LEVEL=debug\0FROM=image\0RELOADER=1\0");
    let entrypoint = Origin::Entrypoint { shell: false };
    pod.image = Lookup::Unreadable("not asked".into());
    assert_eq!(
        pod.origin(&block, "RELOADER"),
        (entrypoint.clone(), Agreement::Same)
    );
    assert_eq!(pod.origin(&block, "LEVEL").1, Agreement::Overridden);
    // What both have says nothing more than before.
    assert!(matches!(
        pod.origin(&block, "FROM").0,
        Origin::Unknown { .. }
    ));
    assert_eq!(
        pod.origin(&block, "REVIEWS_PORT").0,
        link(Some("shop/reviews"), LinkState::Current)
    );
    // A link that was replaced on the way is no link any more.
    let replaced = block.replace(
        "REVIEWS_PORT=tcp://10.0.0.7:9080",
        "REVIEWS_PORT=tcp://10.0.0.7:1",
    );
    assert_eq!(pod.origin(&replaced, "REVIEWS_PORT").0, entrypoint);
    // An environment that was overwritten proves nothing.
    pod.first = Some("ker process\0LEVEL=info\0".to_owned());
    assert!(matches!(
        pod.origin(&block, "RELOADER").0,
        Origin::Unknown { .. }
    ));
}

#[test]
fn a_link_that_the_agents_container_got_too_is_known_without_the_services() {
    let mut pod = Case::default();
    pod.cluster.services = Lookup::Unreadable("forbidden".into());
    pod.sample = Some(LINKS.to_owned());
    assert_eq!(
        pod.origin(LINKS, "REVIEWS_PORT").0,
        link(None, LinkState::Sampled)
    );
    let other = LINKS.replace("10.0.0.7", "10.0.0.8");
    pod.sample = Some(other);
    assert_eq!(
        pod.origin(LINKS, "REVIEWS_PORT").0,
        link(None, LinkState::NotRead)
    );
}
