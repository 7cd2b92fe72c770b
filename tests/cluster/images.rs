//! Every test image starts as a user and as root, answers, and holds no shell.

use serde_json::{Value, json};

use crate::harness::{Failure, Level, Test, answering, check, container, pod, run};

/// Starts the image as both users and compares what it says about itself.
async fn answers(test: &Test, image: &str, port: u16, path: &str) -> Result<(), Failure> {
    test.start(pod(
        "asker",
        &[container("app", "python:user", json!({}))],
        json!({}),
    ))
    .await?;
    for (tag, uid) in [("user", 1000), ("root", 0)] {
        let name = format!("{image}-{tag}");
        let image_name = format!("{image}:{tag}");
        let mut containers = if image == "php" {
            vec![
                container("app", &image_name, json!({})),
                container("web", "nginx:user", answering(port, path)),
            ]
        } else {
            vec![container("app", &image_name, answering(port, path))]
        };
        if tag == "root" && matches!(image, "php" | "nginx") {
            // the master changes to another user for its workers
            containers[0]["securityContext"]["capabilities"]["add"] =
                json!(["SETUID", "SETGID", "CHOWN"]);
        }
        let started = test.start(pod(&name, &containers, json!({}))).await?;
        let address = started
            .status
            .and_then(|status| status.pod_ip)
            .unwrap_or_default();
        let code = format!(
            "import urllib.request as r; print(r.urlopen('http://{address}:{port}{path}', timeout=10).read().decode())"
        );
        let reply = test.python("asker", &code).await?;
        let answer: Value =
            serde_json::from_str(&reply).map_err(Failure::of("read the answer as JSON"))?;
        check(answer["image"] == image, || {
            format!("{name} answered {reply}")
        })?;
        match image {
            "nginx" => {}
            // the workers of a master that is root run as nobody
            "php" if uid == 0 => check(answer["uid"] == 65534, || {
                format!("{name} answered {reply}")
            })?,
            _ => check(
                answer["uid"].to_string().trim_matches('"') == uid.to_string(),
                || format!("{name} answered {reply}"),
            )?,
        }
        for program in ["/bin/sh", "/bin/bash", "/usr/bin/tar", "/usr/bin/env"] {
            let outcome = test.exec(&name, "app", &[program]).await;
            check(
                outcome
                    .as_ref()
                    .is_ok_and(|outcome| outcome.failure.is_some())
                    || outcome.is_err(),
                || format!("{name} is not distroless: it runs {program}: {outcome:?}"),
            )?;
        }
    }
    Ok(())
}

macro_rules! image_test {
    ($name:ident, $image:literal, $path:literal) => {
        #[tokio::test]
        #[ignore = "needs a cluster: starts pods of the image"]
        async fn $name() {
            run(concat!("image-", $image), Level::Baseline, async |test| {
                answers(test, $image, 8080, $path).await
            })
            .await;
        }
    };
}

image_test!(image_python_answers, "python", "/");
image_test!(image_node_answers, "node", "/");
image_test!(image_jvm_answers, "jvm", "/");
image_test!(image_go_answers, "go", "/");
image_test!(image_nginx_answers, "nginx", "/");
image_test!(image_php_answers_behind_nginx, "php", "/php");
image_test!(image_ruby_answers, "ruby", "/");
