//! Sessions to a pod that are held ready, and a command that takes one.
//!
//! The keeper reads the pod again for every command, so that no command is told what was true before: what it hands over
//! is what the command would have read itself. Beside that the command looks which processes the agent sees, and a
//! session whose agent sees none of that container is no use to it. Whatever is the matter with a kept session, the
//! command goes the ordinary way.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::future::BoxFuture;
use k8s_openapi::api::core::v1::Pod;
use kube::{Api, ResourceExt as _};
use serde::{Deserialize, Serialize};
use tokio::time::timeout;

use super::{
    Cluster, Found, Opened, PodError, PodFound, PodOptions, Rung, access, adviser, container,
    denial, exec::exec, inject, rung, witness::Witness,
};
use crate::{
    keep::{Ask, Borrowed, Folder, FolderError, Key, Lender, Pipe, Source, Trouble, borrow},
    session::Session,
    target::{Kind, Selector},
};

/// For one question to the API server, or one attempt to start something.
const ASK_LIMIT: Duration = Duration::from_secs(10);
/// A borrowed session that has not shown the target by then is left for an own one.
const LOOK_LIMIT: Duration = Duration::from_secs(10);

/// What a command has to know of the target.
#[derive(Debug, Serialize, Deserialize)]
struct Facts {
    /// The pod as it is now.
    pod: Pod,
    #[serde(flatten)]
    standing: Standing,
}

/// Where the agents stand, and by which way they got there.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Standing {
    /// The id of the container that is looked at.
    container_id: String,
    /// The agent's container.
    agent: String,
    /// Its image.
    image: String,
    /// The agent's program in it.
    path: String,
    rung: Rung,
    refused: Vec<(Rung, String)>,
    missing_image: Option<(String, String)>,
}

/// A pod to which sessions are held ready.
pub struct Kept {
    cluster: Cluster,
    options: PodOptions,
    pod: String,
    uid: String,
    container: String,
    /// Whether the container is the one that is meant when none is named.
    is_default: bool,
    /// What tells how the agents end, and where they stand; `None` when they stand nowhere.
    standing: Mutex<Option<Arc<(Standing, Witness)>>>,
}

/// The container in which agents are held ready.
#[derive(Clone, Debug)]
pub struct KeptAgent {
    /// Its name.
    pub container: String,
    /// Its image.
    pub image: String,
    /// Its rights.
    pub rung: Rung,
}

/// The key of the sessions that a command can use: who asks whom, for which container, and with what beside it.
fn key(cluster: &Cluster, pod: &str, container: Option<&str>, options: &PodOptions) -> Key {
    let build = crate::protocol::Hello::ours().name();
    let of_container = container.map_or_else(Vec::new, |name| [b"=", name.as_bytes()].concat());
    Key::of(&[
        build.as_bytes(),
        cluster.account.as_bytes(),
        cluster.namespace.as_bytes(),
        pod.as_bytes(),
        &of_container,
        options.image.as_bytes(),
        &[u8::from(options.privileged)],
    ])
}

/// The pod that a target's name is, when that takes no question to the API server.
pub(in crate::target) fn named<'a>(
    options: &PodOptions,
    selector: &'a Selector,
) -> Option<&'a str> {
    match selector {
        Selector::Object {
            kind: Kind::Pod,
            name,
        } if !options.cluster.all_namespaces => Some(name),
        _ => None,
    }
}

/// Takes a session that is held ready for the pod of this name; `None` when there is none that would do.
pub(in crate::target) async fn take_named(
    options: &PodOptions,
    name: &str,
    process: Option<u32>,
) -> Option<Opened> {
    let folder = folder(options)?;
    let pod = Meant {
        // What is wrong with the configuration, the ordinary way says.
        cluster: Cluster::connect(&options.cluster).await.ok()?,
        name: name.to_owned(),
        uid: None,
        of: 1,
        needs_chroot: options.chroot,
    };
    take(&folder, options, pod, process).await
}

/// The same for a pod that was found by whatever names it.
pub(in crate::target) async fn take_found(
    options: &PodOptions,
    found: &PodFound,
    process: Option<u32>,
) -> Option<Opened> {
    let folder = folder(options)?;
    let pod = Meant {
        cluster: found.cluster.clone(),
        name: found.name(),
        uid: found.pod.uid(),
        of: found.of,
        needs_chroot: options.chroot,
    };
    take(&folder, options, pod, process).await
}

/// The folder of the sockets, when there may be one that a command may use.
fn folder(options: &PodOptions) -> Option<Folder> {
    let folder = Folder::ours();
    (options.keep && folder.has_sockets()).then_some(folder)
}

/// The pod that a command means.
struct Meant {
    cluster: Cluster,
    name: String,
    /// What tells it from another one of its name, where that is known.
    uid: Option<String>,
    /// How many pods the name of the target means.
    of: usize,
    /// Whether only an agent will do that may use chroot(2).
    needs_chroot: bool,
}

async fn take(
    folder: &Folder,
    options: &PodOptions,
    pod: Meant,
    process: Option<u32>,
) -> Option<Opened> {
    let container = options.container.as_deref();
    let key = key(&pod.cluster, &pod.name, container, options);
    match borrow(folder, &key, &Ask::ours(container)).await {
        Ok(Some(borrowed)) => {
            match timeout(LOOK_LIMIT, look(pod, container, borrowed, process)).await {
                Ok(Ok(opened)) => return Some(opened),
                Ok(Err(reason)) => tracing::info!(reason, "the kept session is of no use"),
                Err(_) => tracing::info!("the kept session does not answer"),
            }
        }
        Ok(None) => tracing::debug!("nobody keeps a session to this pod"),
        Err(error) => tracing::info!(%error, "no kept session"),
    }
    None
}

/// Looks at the target with a borrowed session; says why it would not do.
async fn look(
    meant: Meant,
    container: Option<&str>,
    borrowed: Borrowed,
    process: Option<u32>,
) -> Result<Opened, String> {
    let Facts { pod, standing } =
        serde_json::from_value(borrowed.facts).map_err(|error| error.to_string())?;
    let is_meant = pod.name_any() == meant.name
        && pod.namespace().as_ref() == Some(&meant.cluster.namespace)
        && (meant.uid.is_none() || pod.uid() == meant.uid);
    if !is_meant {
        return Err("it is one to another pod".to_owned());
    }
    let found = container::find(&pod, container).map_err(|error| error.to_string())?;
    if found.id != standing.container_id {
        return Err("it is one to another container".to_owned());
    }
    if meant.needs_chroot && matches!(standing.rung, Rung::SameUser(_)) {
        return Err("its rights do not let it use chroot(2)".to_owned());
    }
    let session = Session::open(borrowed.input, borrowed.output)
        .await
        .map_err(|error| error.to_string())?;
    let pod = PodFound {
        cluster: meant.cluster,
        pod,
        found,
        of: meant.of,
    };
    let agent = inject::Standing {
        container: standing.agent,
        path: standing.path,
        reused: true,
    };
    let mut opened = pod
        .look(session, standing.rung, &standing.image, agent, process)
        .await
        .map_err(|error| error.to_string())?;
    opened.place.kept = true;
    opened.place.refused = standing.refused;
    opened.place.missing_image = standing.missing_image;
    opened.session.advise_with(adviser(&opened.place));
    let refused = |rung: &Rung| opened.place.refused.iter().any(|(other, _)| other == rung);
    let higher = denial(&opened.choice.process)
        .map_or_else(Vec::new, |denial| rung::next_rungs(standing.rung, denial));
    if higher.iter().any(|rung| !refused(rung)) {
        return Err("its rights do not let it look into this process".to_owned());
    }
    Ok(opened)
}

impl Kept {
    /// Stands beside the best pod that a selector means.
    pub async fn open(options: PodOptions, selector: &Selector) -> Result<Self, PodError> {
        let (mut found, _) = Box::pin(super::find(&options, selector)).await?;
        if found.is_empty() {
            return Err(PodError::NoPods {
                selector: selector.to_string(),
                namespace: None,
            });
        }
        let found = found.swap_remove(0);
        let is_default =
            container::find(&found.pod, None).is_ok_and(|default| default.name == found.found.name);
        let kept = Self {
            cluster: found.cluster.clone(),
            options,
            pod: found.name(),
            uid: found.pod.uid().unwrap_or_default(),
            container: found.found.name.clone(),
            is_default,
            standing: Mutex::new(None),
        };
        kept.settle(found).await?;
        Ok(kept)
    }

    /// The namespace of the pod.
    pub fn namespace(&self) -> &str {
        &self.cluster.namespace
    }

    /// The pod's name.
    pub fn pod(&self) -> &str {
        &self.pod
    }

    /// The container that is looked at.
    pub fn container(&self) -> &str {
        &self.container
    }

    /// The agents' container; `None` while there is none.
    pub fn agent(&self) -> Option<KeptAgent> {
        let standing = self.lock().clone()?;
        Some(KeptAgent {
            container: standing.0.agent.clone(),
            image: standing.0.image.clone(),
            rung: standing.0.rung,
        })
    }

    /// Listens for the commands that need such a session, whether or not they name the container.
    pub async fn lend(&self, folder: &Folder) -> Result<Vec<Lender>, FolderError> {
        let mut lenders = Vec::new();
        let named = Some(self.container.as_str());
        for container in [named, None] {
            if container.is_some() || self.is_default {
                let key = key(&self.cluster, &self.pod, container, &self.options);
                lenders.push(folder.lend(&key).await?);
            }
        }
        Ok(lenders)
    }

    fn lock(&self) -> MutexGuard<'_, Option<Arc<(Standing, Witness)>>> {
        // Nothing that runs under this lock can panic half-way.
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts an agent beside the container as any command would, and notes where.
    async fn settle(&self, found: PodFound) -> Result<(), PodError> {
        let (pod, target) = (found.pod.clone(), found.found.clone());
        // The way there is long, and its future large.
        let opened = Box::pin(found.open(&self.options, None)).await?;
        let Opened {
            session,
            place,
            agent_path,
            ..
        } = opened;
        session.close().await;
        let witness = Witness::new(&self.cluster, &pod, Some(&target), &place.agent);
        let standing = Standing {
            container_id: place.container_id,
            agent: place.agent,
            image: place.agent_image,
            path: agent_path,
            rung: place.rung,
            refused: place.refused,
            missing_image: place.missing_image,
        };
        *self.lock() = Some(Arc::new((standing, witness)));
        Ok(())
    }

    /// The pod as it is now.
    async fn read(&self) -> Result<Pod, Trouble> {
        let api: Api<Pod> = Api::namespaced(self.cluster.client.clone(), &self.cluster.namespace);
        let verb = access::GET_PODS.inside(&self.cluster.namespace);
        let pod = match timeout(ASK_LIMIT, api.get_opt(&self.pod)).await {
            Ok(Ok(pod)) => pod,
            Ok(Err(error)) => return Err(trouble_of(PodError::api(error, &verb))),
            Err(_) => {
                return Err(Trouble::Fallen(format!(
                    "the API server has said nothing for {} s",
                    ASK_LIMIT.as_secs()
                )));
            }
        };
        match pod {
            Some(pod) if pod.uid().unwrap_or_default() == self.uid => Ok(pod),
            Some(_) => Err(Trouble::Over(format!(
                "pod {} was deleted, and another one has its name",
                self.pod
            ))),
            None => Err(Trouble::Over(format!("pod {} was deleted", self.pod))),
        }
    }

    /// What the pod says of the place where the agents stood. Pure.
    fn judge(&self, pod: &Pod) -> Option<Trouble> {
        let ended = pod
            .status
            .as_ref()
            .and_then(|status| status.phase.as_deref())
            .filter(|phase| ["Failed", "Succeeded"].contains(phase));
        if let Some(phase) = ended {
            return Some(Trouble::Over(format!("pod {} ended ({phase})", self.pod)));
        }
        if pod.metadata.deletion_timestamp.is_some() {
            let reason = format!("pod {} is being deleted", self.pod);
            return Some(Trouble::Over(reason));
        }
        let standing = self.lock().clone();
        let Some(standing) = standing else {
            return Some(Trouble::Fallen("no agent stands beside it".to_owned()));
        };
        let reason = standing.1.account(Some(pod))?;
        *self.lock() = None;
        Some(Trouble::Fallen(reason))
    }
}

/// An account that may not is told no again; the rest may pass.
#[expect(clippy::needless_pass_by_value, reason = "`map_err` passes it so")]
fn trouble_of(error: PodError) -> Trouble {
    let reason = error.to_string();
    match error {
        PodError::Forbidden { .. } | PodError::NotFound { .. } => Trouble::Over(reason),
        _ => Trouble::Fallen(reason),
    }
}

impl Source for Kept {
    fn stand(&self) -> BoxFuture<'_, Result<(), Trouble>> {
        Box::pin(async {
            let pod = self.read().await?;
            let found: Found = container::find(&pod, Some(&self.container)).map_err(trouble_of)?;
            let found = PodFound {
                cluster: self.cluster.clone(),
                pod,
                found,
                of: 1,
            };
            self.settle(found).await.map_err(trouble_of)
        })
    }

    fn start(&self) -> BoxFuture<'_, Result<Pipe, Trouble>> {
        Box::pin(async {
            let Some(standing) = self.lock().clone() else {
                return Err(self.examine().await);
            };
            let (client, namespace) = (&self.cluster.client, &self.cluster.namespace);
            let (agent, path) = (&standing.0.agent, standing.0.path.as_str());
            let command = [path, "serve"];
            let starting = exec(client, namespace, &self.pod, agent, &command);
            match timeout(ASK_LIMIT, starting).await {
                Ok(Ok(program)) => Ok(Pipe {
                    input: Box::new(program.stdout),
                    output: Box::new(program.stdin),
                }),
                Ok(Err(error)) => match inject::not_executed(error, namespace) {
                    error @ PodError::Forbidden { .. } => Err(trouble_of(error)),
                    error => {
                        tracing::info!(%error, "no agent could be started");
                        Err(self.examine().await)
                    }
                },
                Err(_) => Err(Trouble::Passing(format!(
                    "the cluster has not started an agent in {} s",
                    ASK_LIMIT.as_secs()
                ))),
            }
        })
    }

    fn facts<'a>(&'a self, ask: &'a Ask) -> BoxFuture<'a, Result<serde_json::Value, Trouble>> {
        Box::pin(async {
            let pod = self.read().await?;
            let found = container::find(&pod, ask.container.as_deref())
                .map_err(|error| Trouble::Passing(error.to_string()))?;
            if found.name != self.container {
                let reason = format!("it is one to container {}", self.container);
                return Err(Trouble::Passing(reason));
            }
            if let Some(trouble) = self.judge(&pod) {
                return Err(trouble);
            }
            let Some(standing) = self.lock().clone() else {
                return Err(Trouble::Fallen("no agent stands beside it".to_owned()));
            };
            let facts = Facts {
                pod,
                standing: standing.0.clone(),
            };
            serde_json::to_value(facts).map_err(|error| Trouble::Passing(error.to_string()))
        })
    }

    fn examine(&self) -> BoxFuture<'_, Trouble> {
        Box::pin(async {
            match self.read().await {
                Ok(pod) => self
                    .judge(&pod)
                    .unwrap_or_else(|| Trouble::Passing("the connection to it broke".to_owned())),
                Err(trouble) => trouble,
            }
        })
    }
}
