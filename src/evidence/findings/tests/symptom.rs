//! What was tried, and what that says about the rest.

use super::*;

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
