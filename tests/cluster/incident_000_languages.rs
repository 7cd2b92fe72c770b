//! Incident 000 in other languages: the same defect, and the same code without the variable.

use serde_json::{Value, json};

use crate::harness::{Failure, Level, Ran, Test, answering, check, container, merged, pod, run};

/// Where the code runs; PHP has its own place.
const PAGE: &str = "/opt/page";

/// A page of `tests/incidents/000/variants`, or one that its image has.
struct Variant {
    name: &'static str,
    image: &'static str,
    /// Its file and content; the image of Java brings its own, for it has to be compiled.
    code: Option<(&'static str, &'static str)>,
    folder: &'static str,
    command: &'static [&'static str],
    /// What the page is asked for.
    path: &'static str,
}

const VARIANTS: [Variant; 4] = [
    Variant {
        name: "node",
        image: "node:user",
        code: Some(("page.js", include_str!("../incidents/000/variants/page.js"))),
        folder: PAGE,
        command: &["/usr/bin/node", "page.js"],
        path: "/",
    },
    Variant {
        name: "ruby",
        image: "ruby:user",
        code: Some(("page.rb", include_str!("../incidents/000/variants/page.rb"))),
        folder: PAGE,
        command: &["/usr/bin/ruby3.1", "--disable-gems", "page.rb"],
        path: "/",
    },
    Variant {
        name: "php",
        image: "php:user",
        code: Some((
            "index.php",
            include_str!("../incidents/000/variants/index.php"),
        )),
        folder: "/app",
        command: &[],
        path: "/php",
    },
    Variant {
        name: "java",
        image: "jvm:user",
        code: None,
        folder: PAGE,
        command: &["/usr/lib/jvm/bin/java", "-Xmx64m", "-cp", PAGE, "Page"],
        path: "/",
    },
];

/// The page without its source.
const COMPILED: Variant = Variant {
    name: "compiled",
    folder: "/opt/compiled",
    command: &[
        "/usr/lib/jvm/bin/java",
        "-Xmx64m",
        "-cp",
        "/opt/compiled",
        "Page",
    ],
    ..VARIANTS[3]
};

impl Variant {
    fn pod(&self, name: &str, links: bool) -> Value {
        let app = json!({"name": "app", "mountPath": self.folder});
        let mut more = json!({"workingDir": self.folder});
        if !self.command.is_empty() {
            more["command"] = json!(self.command);
        }
        let mut spec = json!({"enableServiceLinks": links});
        if let Some((file, content)) = self.code {
            let put = format!("open('{}/{file}', 'w').write({content:?})", self.folder);
            spec["initContainers"] = json!([container(
                "fill",
                "python:user",
                json!({"command": ["/usr/bin/python3.11", "-c", put], "volumeMounts": [app]}),
            )]);
            spec["volumes"] = json!([{"name": "app", "emptyDir": {}}]);
            more["volumeMounts"] = json!([app]);
        }
        let ready = answering(8080, self.path);
        let containers = if self.name == "php" {
            vec![
                container("app", self.image, more),
                container("web", "nginx:user", ready),
            ]
        } else {
            vec![container("app", self.image, merged(more, ready))]
        };
        pod(name, &containers, spec)
    }

    /// Starts it and answers what its page says.
    async fn start(&self, test: &Test, name: &str, links: bool) -> Result<String, Failure> {
        let started = test.start(self.pod(name, links)).await?;
        let address = started
            .status
            .and_then(|status| status.pod_ip)
            .unwrap_or_default();
        let code = format!(
            "import urllib.request as r; print(r.urlopen('http://{address}:8080{}', timeout=20).read().decode())",
            self.path
        );
        test.python("reviews", &code).await
    }
}

/// Looks without a repository, for there is none round the folder that it is called from.
async fn diagnose(test: &Test, pod: &str) -> Result<Ran, Failure> {
    let words = ["diagnose", pod, "--container", "app", "-o", "json"];
    let mut command = test.kdbg_command(&words);
    command.current_dir(test.folder.path());
    test.run_to_end(command).await
}

fn causes(report: &Value) -> Vec<(&str, &str)> {
    let causes = report["causes"].as_array().into_iter().flatten();
    causes
        .filter_map(|cause| Some((cause["id"].as_str()?, cause["about"].as_str()?)))
        .collect()
}

#[tokio::test]
#[ignore = "needs a cluster: the kubelet makes the variable that breaks the page"]
async fn the_defect_is_named_in_node_ruby_php_and_java_and_not_without_the_variable() {
    run("k-inc000-lang", Level::Baseline, async |test| {
        let reviews = container("app", "python:user", answering(8080, "/"));
        test.start(pod("reviews", &[reviews], json!({}))).await?;
        test.service("reviews", 9080).await?;
        futures::future::try_join_all(VARIANTS.iter().map(|variant| named(test, variant))).await?;
        a_program_without_source_gives_a_hint_and_no_cause(test).await
    })
    .await;
}

async fn named(test: &Test, variant: &Variant) -> Result<(), Failure> {
    let (broken, well) = (variant.name.to_owned(), format!("{}-well", variant.name));
    let (says, well_says) = tokio::try_join!(
        variant.start(test, &broken, true),
        variant.start(test, &well, false)
    )?;
    check(says.contains("currently unavailable"), || {
        format!("{broken} is not broken: {says}")
    })?;
    check(!well_says.contains("unavailable"), || {
        format!("{well} is broken: {well_says}")
    })?;
    let ran = diagnose(test, &broken).await?.ended_with(1)?;
    let report = ran.json()?;
    check(
        causes(&report) == [("env.service-link-collision", "REVIEWS_PORT")],
        || format!("{broken}: {ran}"),
    )?;
    // php-fpm overwrites its environment to set its title.
    let code = if variant.name == "php" { 3 } else { 0 };
    let ran = diagnose(test, &well).await?.ended_with(code)?;
    check(causes(&ran.json()?).is_empty(), || format!("{well}: {ran}"))
}

async fn a_program_without_source_gives_a_hint_and_no_cause(test: &Test) -> Result<(), Failure> {
    COMPILED.start(test, COMPILED.name, true).await?;
    let ran = diagnose(test, COMPILED.name).await?.ended_with(0)?;
    let report = ran.json()?;
    check(causes(&report).is_empty(), || ran.to_string())?;
    check(
        report["not_checked"]
            .to_string()
            .contains("for what /opt/compiled/Page.class takes REVIEWS_PORT"),
        || format!("there is no hint: {ran}"),
    )
}
