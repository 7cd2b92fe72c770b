//! One test: a namespace with an enforced Pod Security level, and what is done in it.

use std::fmt::Debug;
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::time::Duration;

use futures::FutureExt;
use k8s_openapi::api::core::v1::{Event, Namespace, Pod, Service, ServiceAccount};
use kube::api::{Api, AttachParams, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::{Client, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;

use super::cluster::Cluster;
use super::pod::{Phase, describe};
use super::wait::{Failure, PATIENCE, wait_until};

/// No test takes longer, whatever happens.
const TEST_LIMIT: Duration = Duration::from_mins(30);

/// The Pod Security level that a namespace enforces.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Level {
    Privileged,
    Baseline,
    Restricted,
}

impl Level {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Privileged => "privileged",
            Self::Baseline => "baseline",
            Self::Restricted => "restricted",
        }
    }
}

/// What a program in a container printed, and whether it succeeded.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    /// None when it ended with 0, else what the cluster says about its end.
    pub(crate) failure: Option<String>,
}

/// The place where a test works.
pub(crate) struct Test {
    pub(crate) cluster: Cluster,
    pub(crate) client: Client,
    pub(crate) namespace: String,
    /// For files of the test; goes with it.
    pub(crate) folder: tempfile::TempDir,
}

/// Runs a test in a namespace of its own on the shared cluster; what it leaves behind is an error too.
pub(crate) async fn run(
    name: &str,
    level: Level,
    body: impl AsyncFnOnce(&Test) -> Result<(), Failure>,
) {
    let cluster = Cluster::shared().unwrap_or_else(|failure| panic!("no cluster: {failure}"));
    let test = Test::create(cluster, name, level)
        .await
        .unwrap_or_else(|failure| panic!("{failure}"));
    let ended = AssertUnwindSafe(tokio::time::timeout(TEST_LIMIT, body(&test)))
        .catch_unwind()
        .await;
    let result = match ended {
        Ok(Ok(Ok(()))) => Ok(()),
        Ok(Ok(Err(failure))) => Err(failure),
        Ok(Err(_)) => Err(Failure::new(format!(
            "the test took longer than {} s",
            TEST_LIMIT.as_secs()
        ))),
        Err(panic) => {
            eprintln!("{}", test.report().await);
            let _ = test.remove().await;
            resume_unwind(panic);
        }
    };
    match result {
        Ok(()) => test
            .remove()
            .await
            .unwrap_or_else(|failure| panic!("left behind: {failure}")),
        Err(failure) => {
            let report = test.report().await;
            if std::env::var_os("KDBG_KEEP_NAMESPACE").is_none() {
                let _ = test.remove().await;
            }
            panic!("{failure}\n{report}");
        }
    }
}

impl Test {
    async fn create(cluster: Cluster, name: &str, level: Level) -> Result<Self, Failure> {
        let client = cluster.client().await?;
        // by this scripts/test-cluster finds what its own run has left, beside other runs
        let run = std::env::var("KDBG_TEST_RUN").unwrap_or_else(|_| "none".to_owned());
        let namespace: Namespace = from_json(json!({
            "metadata": {
                "generateName": format!("t-{name}-"),
                "labels": {"kdbg.test-run": run, "pod-security.kubernetes.io/enforce": level.name()},
            }
        }));
        let created = Api::all(client.clone())
            .create(&PostParams::default(), &namespace)
            .await?;
        let test = Self {
            cluster,
            client,
            namespace: created.name_any(),
            folder: tempfile::tempdir().map_err(Failure::of("make a folder"))?,
        };
        test.write_kubeconfig("kubeconfig", None)?;
        // A pod that comes before its ServiceAccount is refused.
        let accounts: Api<ServiceAccount> = test.api();
        wait_until(
            &test.cluster,
            "the namespace has its ServiceAccount",
            async || {
                Ok(accounts
                    .get_opt("default")
                    .await?
                    .ok_or_else(|| "no ServiceAccount".to_owned()))
            },
        )
        .await?;
        Ok(test)
    }

    /// Deletes the namespace and waits until nothing of it is left.
    async fn remove(&self) -> Result<(), Failure> {
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        namespaces
            .delete(&self.namespace, &DeleteParams::default())
            .await?;
        wait_until(&self.cluster, "the namespace is gone", async || {
            Ok(match namespaces.get_opt(&self.namespace).await? {
                None => Ok(()),
                Some(left) => Err(serde_json::to_string(&left.status).unwrap_or_default()),
            })
        })
        .await
    }

    /// Returns an API for objects in the namespace of the test.
    pub(crate) fn api<K>(&self) -> Api<K>
    where
        K: Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Creates an object from its JSON.
    pub(crate) async fn create_object<K>(&self, object: Value) -> Result<K, Failure>
    where
        K: Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>
            + Clone
            + Debug
            + DeserializeOwned
            + Serialize,
    {
        Ok(self
            .api::<K>()
            .create(&PostParams::default(), &from_json(object))
            .await?)
    }

    /// Makes the namespace enforce another level, of which admission knows a moment later.
    pub(crate) async fn relabel(&self, level: Level) -> Result<(), Failure> {
        let labels = json!({
            "metadata": {"labels": {"pod-security.kubernetes.io/enforce": level.name()}}
        });
        let (parameters, patch) = (PatchParams::default(), Patch::Merge(labels));
        Api::<Namespace>::all(self.client.clone())
            .patch(&self.namespace, &parameters, &patch)
            .await?;
        Ok(())
    }

    /// Creates a Service for the pods with `app: NAME`, from a port to their port 8080, and returns its address.
    pub(crate) async fn service(&self, name: &str, port: u16) -> Result<String, Failure> {
        let service: Service = self
            .create_object(json!({
                "metadata": {"name": name},
                "spec": {"selector": {"app": name}, "ports": [{"port": port, "targetPort": 8080}]}
            }))
            .await?;
        service
            .spec
            .and_then(|spec| spec.cluster_ip)
            .ok_or_else(|| Failure::new("the Service has no address"))
    }

    /// Creates a pod and waits until all its containers are ready.
    pub(crate) async fn start(&self, pod: Value) -> Result<Pod, Failure> {
        let created: Pod = self.create_object(pod).await?;
        self.wait_for_pod(&created.name_any(), "is ready", |pod| Phase::of(pod).ready)
            .await
    }

    /// Waits until the pod is as wanted. A pod that cannot start any more ends the wait early.
    pub(crate) async fn wait_for_pod(
        &self,
        name: &str,
        what: &str,
        wanted: impl Fn(&Pod) -> bool,
    ) -> Result<Pod, Failure> {
        let pods: Api<Pod> = self.api();
        let seen = wait_until(&self.cluster, &format!("pod {name} {what}"), async || {
            let Some(pod) = pods.get_opt(name).await? else {
                return Ok(Err("there is no such pod".to_owned()));
            };
            if wanted(&pod) {
                return Ok(Ok(Ok(pod)));
            }
            Ok(match Phase::of(&pod).hopeless {
                Some(reason) => Ok(Err(reason)),
                None => Err(describe(&pod)),
            })
        })
        .await?;
        seen.map_err(|reason| {
            Failure::new(format!(
                "pod {name} will never be as wanted ({what}): {reason}"
            ))
        })
    }

    /// Runs a program in a container of a pod.
    pub(crate) async fn exec(
        &self,
        pod: &str,
        container: &str,
        command: &[&str],
    ) -> Result<Outcome, Failure> {
        let pods: Api<Pod> = self.api();
        let parameters = AttachParams::default().container(container);
        let mut process = pods.exec(pod, command.iter().copied(), &parameters).await?;
        let status = process
            .take_status()
            .expect("the status was not taken before");
        let mut stdout = process.stdout().expect("stdout was asked for");
        let mut stderr = process.stderr().expect("stderr was asked for");
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let (out_end, err_end, status) = tokio::time::timeout(PATIENCE, async {
            tokio::join!(
                stdout.read_to_end(&mut out),
                stderr.read_to_end(&mut err),
                status
            )
        })
        .await
        .map_err(|_| {
            Failure::new(format!(
                "{command:?} did not end within {} s",
                PATIENCE.as_secs()
            ))
        })?;
        out_end
            .and(err_end)
            .map_err(Failure::of("read the output"))?;
        let failure = match status {
            Some(status) if status.status.as_deref() == Some("Success") => None,
            Some(status) => Some(status.message.unwrap_or_default()),
            None => Some("the connection ended without a status".to_owned()),
        };
        Ok(Outcome {
            stdout: String::from_utf8_lossy(&out).into_owned(),
            stderr: String::from_utf8_lossy(&err).into_owned(),
            failure,
        })
    }

    /// Runs Python code in a pod of the Python image and returns what it printed.
    pub(crate) async fn python(&self, pod: &str, code: &str) -> Result<String, Failure> {
        let outcome = self
            .exec(pod, "app", &["/usr/bin/python3.11", "-c", code])
            .await?;
        match outcome.failure {
            None => Ok(outcome.stdout.trim_end().to_owned()),
            Some(reason) => Err(Failure::new(format!(
                "Python in pod {pod}: {reason}\n{}",
                outcome.stderr
            ))),
        }
    }

    /// Returns the messages of the events that concern an object of this name.
    pub(crate) async fn events_of(&self, name: &str) -> Result<Vec<(String, String)>, Failure> {
        let events: Api<Event> = self.api();
        let list = events
            .list(&ListParams::default().fields(&format!("involvedObject.name={name}")))
            .await?;
        Ok(list
            .into_iter()
            .map(|event| {
                (
                    event.reason.unwrap_or_default(),
                    event.message.unwrap_or_default(),
                )
            })
            .collect())
    }

    /// Returns what the cluster says about everything in the namespace, for the message of a failed test.
    async fn report(&self) -> String {
        let broken = self.cluster.broken();
        let gather = async {
            let mut lines = vec![format!("in namespace {}:", self.namespace)];
            for pod in self.api::<Pod>().list(&ListParams::default()).await? {
                lines.push(format!("  pod {}: {}", pod.name_any(), describe(&pod)));
            }
            for event in self.api::<Event>().list(&ListParams::default()).await? {
                let object = event.involved_object.name.unwrap_or_default();
                lines.push(format!(
                    "  event {object}: {}: {}",
                    event.reason.unwrap_or_default(),
                    event.message.unwrap_or_default()
                ));
            }
            Ok::<_, kube::Error>(lines.join("\n"))
        };
        let mut report = match tokio::time::timeout(PATIENCE, gather).await {
            Ok(Ok(report)) => report,
            Ok(Err(error)) => format!("the cluster cannot be asked for more: {error}"),
            Err(_) => "the cluster cannot be asked for more: it does not answer".to_owned(),
        };
        if let Some(broken) = broken {
            report.push('\n');
            report.push_str(&broken);
        }
        report
    }
}

/// Returns the object that the JSON describes.
pub(crate) fn from_json<T: DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).expect("the test writes a valid object")
}
