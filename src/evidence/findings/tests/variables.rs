//! Variables that are unset, stale or declared twice, and what of them is secret.

use super::*;

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
    let said = |case: &Case| text(&case.judge().listed[0]);
    assert!(!said(&case).contains("webhook"), "nobody else has set it");
    case.spec.injected.insert("MODE".into(), "a webhook".into());
    assert!(
        said(&case).contains("a webhook has put MODE into the spec of the pod"),
        "{}",
        said(&case)
    );
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
