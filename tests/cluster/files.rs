//! `kdbg files` and `kdbg watch` on pods that are short of something, and on one that is not.

use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use crate::harness::{Failure, Level, Phase, Test, check, container, pod, run};

/// Fills its volume, keeps a deleted file and its log on it, uses up its descriptors, and never rests.
const SICK: &str = "
import os, resource, signal
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
log = open('/data/app.log', 'ab', buffering=0)
log.write(b'started\\n')
gone = open('/data/gone', 'wb')
gone.write(b'x' * 1_000_000)
gone.flush()
os.unlink('/data/gone')
full = open('/data/full', 'wb', buffering=0)
try:
    while full.write(b'x' * 65536): pass
except OSError: pass
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
keep = []
try:
    while True: keep.append(open('/dev/null'))
except OSError: pass
# Whoever goes on trying touches the time of the file though nothing is written; this one gives up.
try:
    while True: log.write(b'a line of the log that has no room\\n')
except OSError: pass
while True: pass
";
/// Does a little of each.
const WELL: &str = "
import os, resource, signal, threading, time
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
gone = open('/data/gone', 'wb')
gone.write(b'x' * 1000)
gone.flush()
os.unlink('/data/gone')
kept = open('/data/kept', 'wb', buffering=0)
kept.write(b'x' * 1_000_000)
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
keep = [open('/dev/null') for _ in range(20)]
log = open('/logs/app.log', 'ab', buffering=0)
def speak():
    while time.monotonic() < END:
        log.write(b'a line of the log that says what was done\\n' * 2)
        time.sleep(0.05)
threading.Thread(target=speak, daemon=True).start()
while True:
    sum(range(20000))
    time.sleep(0.01)
";

/// The healthy program, the writer of whose log ends by itself: after so many seconds, or never.
fn speaking(seconds: Option<u32>) -> String {
    let end = match seconds {
        Some(seconds) => format!("START + {seconds}"),
        None => "float('inf')".to_owned(),
    };
    format!("import time\nSTART = time.monotonic()\nEND = {end}\n{WELL}")
}

/// A pod with a volume of 4 MiB in memory, and one for logs.
fn working(name: &str, code: &str, limits: &Value) -> Value {
    let app = container(
        "app",
        "python:user",
        json!({
            "command": ["/usr/bin/python3.11", "-S", "-c", code],
            "volumeMounts": [
                {"name": "data", "mountPath": "/data"},
                {"name": "logs", "mountPath": "/logs"},
            ],
            "resources": {"limits": limits},
        }),
    );
    let volume = json!({"name": "data", "emptyDir": {"medium": "Memory", "sizeLimit": "4Mi"}});
    let logs = json!({"name": "logs", "emptyDir": {}});
    pod(name, &[app], json!({"volumes": [volume, logs]}))
}

/// What `kdbg files` finds, by id and by what it is about, without the node's own disk.
async fn found(test: &Test, pod: &str) -> Result<(Value, Vec<(String, String)>), Failure> {
    let report = test
        .kdbg(&["files", pod, "--stalled-after", "5s", "-o", "json"])
        .await?
        .json()?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let findings = report["findings"].as_array().cloned().unwrap_or_default();
    let mut found: Vec<_> = findings
        .iter()
        .map(|finding| (text(&finding["id"]), text(&finding["about"])))
        .filter(|(id, about)| id != "files.volume-full" || about == "/data")
        .collect();
    found.sort();
    Ok((report, found))
}

/// Some looks at a pod.
async fn watched(test: &Test, pod: &str) -> Result<Vec<Value>, Failure> {
    let arguments = [
        "watch",
        pod,
        "--interval",
        "500ms",
        "--for",
        "2s",
        "-o",
        "json",
    ];
    let ran = test.kdbg(&arguments).await?;
    let samples = ran.stdout.lines().map(serde_json::from_str);
    let samples = samples.collect::<Result<Vec<_>, _>>();
    samples.map_err(|error| Failure::new(format!("no JSON ({error}): {ran}")))
}

#[tokio::test]
#[ignore = "needs a cluster: the kubelet mounts the volume and sets the limits"]
async fn what_a_pod_runs_short_of_is_found_and_what_it_has_enough_of_is_not() {
    run("short", Level::Restricted, async |test| {
        let limits = json!({"memory": "64Mi", "cpu": "100m"});
        test.create_object::<Pod>(working("sick", SICK, &limits))
            .await?;
        let more = json!({"memory": "128Mi"});
        test.create_object::<Pod>(working("well", &speaking(None), &more))
            .await?;
        // It is silent from then on, and is to be seen before it was silent for as long as it had spoken.
        test.create_object::<Pod>(working("quiet", &speaking(Some(90)), &more))
            .await?;
        for name in ["sick", "well", "quiet"] {
            test.wait_for_pod(name, "is ready", |pod| Phase::of(pod).ready)
                .await?;
        }
        // First, as it does not last: a log that was silent for longer than it had spoken is one that has ended.
        let expected = [("files.log-stalled".to_owned(), "/logs/app.log".to_owned())];
        crate::harness::wait_until(&test.cluster, "the log falls silent", async || {
            let (report, found) = found(test, "quiet").await?;
            Ok(if found == expected {
                Ok(())
            } else {
                Err(format!("{found:?} of {report}"))
            })
        })
        .await?;
        // The program needs a while at a tenth of a processor to have used up everything.
        let expected = [
            ("files.deleted-open", "/data/gone"),
            ("files.fd-limit-near", "open files"),
            ("files.log-stalled", "/data/app.log"),
            ("files.volume-full", "/data"),
        ]
        .map(|(id, about)| (id.to_owned(), about.to_owned()));
        crate::harness::wait_until(&test.cluster, "all is used up", async || {
            let (report, found) = found(test, "sick").await?;
            Ok(if found == expected {
                Ok(())
            } else {
                Err(format!("{found:?} of {report}"))
            })
        })
        .await?;
        let (report, found) = found(test, "well").await?;
        check(found.is_empty(), || {
            format!("the control: {found:?} in {report}")
        })?;
        let volume = report["volumes"]
            .as_array()
            .into_iter()
            .flatten()
            .find(|row| row["mounted_on"] == "/data");
        check(
            volume.is_some_and(|row| row["bytes"]["size"] == 4 << 20),
            || format!("{volume:?}"),
        )?;

        let samples = watched(test, "sick").await?;
        let sick = samples.last().unwrap_or(&Value::Null);
        let group = &sick["group"];
        check(group["memory_limit_bytes"] == 64 << 20, || {
            format!("the limit of memory: {sick}")
        })?;
        check(group["cpu_limit"] == 100, || {
            format!("the limit of processor time: {sick}")
        })?;
        // Not in each: a period of the scheduler is long beside the time between two samples.
        let is_throttled = |sample: &Value| sample["group"]["throttled"].as_u64() > Some(0);
        check(samples.iter().any(is_throttled), || {
            format!("throttling: {samples:?}")
        })?;
        check(
            group["memory_bytes"].as_u64().is_some_and(|used| used > 0),
            || format!("memory: {sick}"),
        )?;
        check(sick["restarts"]["count"] == 0, || {
            format!("restarts: {sick}")
        })?;
        let samples = watched(test, "well").await?;
        let well = samples.last().unwrap_or(&Value::Null);
        let group = &well["group"];
        check(group["memory_limit_bytes"] == 128 << 20, || {
            format!("the control's limit: {well}")
        })?;
        check(
            group["cpu_limit"].is_null() && !samples.iter().any(is_throttled),
            || format!("the control is throttled: {well}"),
        )
    })
    .await;
}
