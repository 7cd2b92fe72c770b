//! Targets in a cluster: the pod is found, and an agent is put beside the container that is meant.
//!
//! The way there: `resolve` finds the pods of a name, `container` the container, `rung` says with which rights to look,
//! `inject` finds or adds the agent's container and waits for it, `exec` is the pipe, and `push` carries the agent into
//! an image that has none. `keep` holds sessions ready, and takes one that is. `temporary` starts a pod to ask from, where the
//! user wants one, and takes it away. What cannot work is refused before anything is added to the target's pod, because
//! nothing that is added there can be taken away.

pub mod access;
mod admission;
pub mod cleanup;
mod client;
mod container;
pub mod declared;
pub mod directory;
mod error;
pub mod examine;
mod exec;
mod images;
mod inject;
pub mod keep;
pub mod objects;
mod push;
pub mod replicas;
mod resolve;
mod restarts;
mod rung;
mod temporary;
mod witness;

use std::{sync::Arc, time::Duration};

use k8s_openapi::api::core::v1::Pod;
use kube::{Api, ResourceExt as _};

pub use client::{Cluster, ClusterOptions};
pub use error::{PodError, Refusal, Verb};
pub use restarts::{Restarts, restarts};
pub use rung::{Rung, User};
pub use temporary::{Temporary, Vantage};

use self::{
    container::Found,
    inject::{Entry, NotAdded},
    witness::Witness,
};
use super::{Selector, TargetError, list};
use crate::{
    evidence::{
        choice::{self, Choice},
        container as evidence,
        noise::mounts::Mount,
    },
    protocol::message::{Agent, Cause, Denial, Process, ProcessScope, Reading, Request},
    session::{Adviser, RequestError, Session, SessionError},
};

/// The image of the agent's container when none is asked for. Whoever ships kdbg sets `KDBG_DEFAULT_IMAGE` when
/// building it.
pub const DEFAULT_IMAGE: &str = match option_env!("KDBG_DEFAULT_IMAGE") {
    Some(image) => image,
    None => concat!("kdbg-agent:", env!("CARGO_PKG_VERSION")),
};

/// How to get beside a container, as it was asked for.
#[derive(Clone, Debug)]
pub struct PodOptions {
    /// The cluster.
    pub cluster: ClusterOptions,
    /// The container; `None` for the default.
    pub container: Option<String>,
    /// The image of the agent's container.
    pub image: String,
    /// How long the agent's container rests after the last command before it ends.
    pub idle: Duration,
    /// How long to wait for the agent.
    pub limit: Duration,
    /// Ask for all rights on the node.
    pub privileged: bool,
    /// Have an agent that may make the target's root its own (chroot(2)).
    pub chroot: bool,
    /// Take a session that `kdbg keep` holds ready, when there is one.
    pub keep: bool,
}

/// A pod that was found, before anything is done to it.
pub struct PodFound {
    cluster: Cluster,
    pod: Pod,
    found: Found,
    /// How many pods the name means.
    pub of: usize,
}

/// A container as the cluster tells of it: what can be asked for while the agent is still on its way.
#[derive(Clone, Debug)]
pub struct Described {
    /// The cluster.
    pub cluster: Cluster,
    /// The pod, as it was found.
    pub object: Box<Pod>,
    /// The container that is looked at.
    pub container: String,
    /// Its image, as the node names it.
    pub image: String,
    /// The digest of its image.
    pub image_id: String,
}

/// Where the agent stands, and by which way it got there.
#[derive(Clone, Debug)]
pub struct Place {
    /// The cluster, for what its objects say.
    pub cluster: Cluster,
    /// The pod, as it was found.
    pub object: Box<Pod>,
    /// The pod's namespace.
    pub namespace: String,
    /// Its name.
    pub pod: String,
    /// How many pods the name of the target means.
    pub of: usize,
    /// Its uid.
    pub uid: String,
    /// Its address in the pod network.
    pub address: String,
    /// Its node.
    pub node: String,
    /// The container that is looked at.
    pub container: String,
    /// Its id, 64 hexadecimal digits.
    pub container_id: String,
    /// Its image, as the node names it.
    pub image: String,
    /// The digest of its image.
    pub image_id: String,
    /// The rights of the agent.
    pub rung: Rung,
    /// The agent's container.
    pub agent: String,
    /// The image of that.
    pub agent_image: String,
    /// Whether it was there before.
    pub reused: bool,
    /// Whether the session was held ready by `kdbg keep`.
    pub kept: bool,
    /// Higher rungs that admission refused, with its words, when a lower one had to do.
    pub refused: Vec<(Rung, String)>,
    /// The image that was wanted and could not be had, and why, when another one had to do.
    pub missing_image: Option<(String, String)>,
    /// The volumes of the container, where it sees them. The kernel does not name those that lie in memory.
    pub volumes: Vec<Mount>,
}

/// An agent beside a container, and what it sees of it.
pub(super) struct Opened {
    pub(super) session: Session,
    pub(super) processes: Vec<Process>,
    pub(super) choice: Choice,
    pub(super) place: Place,
    /// The agent's program in its container.
    agent_path: String,
}

/// A pod that a name means and that cannot be looked at.
pub struct PodRefused {
    /// Its name.
    pub name: String,
    /// Why.
    pub error: PodError,
}

impl PodRefused {
    /// Whether it is no replica any more, so that nobody misses its answer.
    pub fn is_over(&self) -> bool {
        matches!(
            self.error,
            PodError::Refused {
                refusal: Refusal::Ended { .. } | Refusal::Terminating,
                ..
            }
        )
    }
}

/// Finds the pods that a selector means, best first, with the container to look at in each, and those that cannot be
/// looked at. Without any of the first kind it is an error.
pub async fn find(
    options: &PodOptions,
    selector: &Selector,
) -> Result<(Vec<PodFound>, Vec<PodRefused>), PodError> {
    let cluster = Cluster::connect(&options.cluster).await?;
    let all_namespaces = options.cluster.all_namespaces;
    let pods = resolve::pods(&cluster, selector, all_namespaces).await?;
    let by_name = matches!(
        selector,
        Selector::Object {
            kind: super::Kind::Pod,
            ..
        }
    );
    if by_name && pods.len() > 1 {
        return Err(PodError::Ambiguous {
            pods: pods
                .iter()
                .map(|pod| (pod.namespace().unwrap_or_default(), pod.name_any()))
                .collect(),
        });
    }
    let of = pods.len();
    let mut refused = Vec::new();
    let mut suitable = Vec::new();
    for pod in pods {
        match container::find(&pod, options.container.as_deref()) {
            Ok(found) => suitable.push(PodFound {
                cluster: Cluster {
                    namespace: pod.namespace().unwrap_or_else(|| cluster.namespace.clone()),
                    ..cluster.clone()
                },
                pod,
                found,
                of,
            }),
            Err(error) => refused.push(PodRefused {
                name: pod.name_any(),
                error,
            }),
        }
    }
    if suitable.is_empty() && !refused.is_empty() {
        return Err(refused.swap_remove(0).error);
    }
    Ok((suitable, refused))
}

impl PodFound {
    /// The pod's name.
    pub fn name(&self) -> String {
        self.pod.name_any()
    }

    /// What the cluster tells of it.
    pub fn described(&self) -> Described {
        Described {
            cluster: self.cluster.clone(),
            object: Box::new(self.pod.clone()),
            container: self.found.name.clone(),
            image: self.found.image.clone(),
            image_id: self.found.image_id.clone(),
        }
    }

    /// Puts an agent beside the container, with the least rights that let it look.
    pub(super) async fn open(
        mut self,
        options: &PodOptions,
        process: Option<u32>,
    ) -> Result<Opened, PodError> {
        let mut rungs = if options.privileged {
            vec![Rung::Privileged]
        } else {
            rung::first_rungs(self.found.user, options.chroot)
        };
        let mut refused = Vec::new();
        let mut best: Option<Opened> = None;
        let mut image = options.image.clone();
        let mut missing_image: Option<(String, String)> = None;
        while !rungs.is_empty() {
            let rung = rungs.remove(0);
            match self.stand(rung, &image, options, process).await {
                Ok(opened) => {
                    let denial = denial(&opened.choice.process);
                    rungs = denial.map_or_else(Vec::new, |denial| rung::next_rungs(rung, denial));
                    // One that cannot read either is no better than the one before.
                    if best.is_none() || rungs.is_empty() {
                        best = Some(opened);
                    }
                }
                Err(Standing::Refused(message)) => refused.push((rung, message)),
                Err(Standing::Failed(PodError::NotStarting {
                    image: Some(missing),
                    reason,
                    ..
                })) if let Some(other) = self.image_instead(&missing, options).await => {
                    missing_image = Some((missing, reason));
                    image = other;
                    rungs.insert(0, rung);
                }
                Err(Standing::Failed(error)) => {
                    // What a lower rung sees is better than nothing.
                    if best.is_none() {
                        return Err(error);
                    }
                    tracing::warn!(%rung, %error, "the agent did not get these rights");
                    break;
                }
            }
        }
        match best {
            Some(mut opened) => {
                opened.place.refused = refused;
                opened.place.missing_image = missing_image;
                opened.session.advise_with(adviser(&opened.place));
                Ok(opened)
            }
            None if options.chroot && !options.privileged => Err(PodError::NoChroot {
                pod: self.name(),
                refusals: refused,
            }),
            None => Err(PodError::Admission {
                pod: self.name(),
                refusals: refused,
            }),
        }
    }

    /// Puts an agent on one rung.
    async fn stand(
        &mut self,
        rung: Rung,
        image: &str,
        options: &PodOptions,
        process: Option<u32>,
    ) -> Result<Opened, Standing> {
        let target = self.found.name.clone();
        let wanted = inject::Wanted {
            image,
            rung,
            target: &target,
            idle: options.idle,
        };
        let mut tries = 3;
        let (name, reused, (session, path)) = loop {
            tries -= 1;
            let (name, reused) = self.enter(&wanted).await?;
            match self.converse(&wanted, &name, options).await {
                // Its idle time was over after the pod was read, whose status follows a moment later. What has ended is
                // never started again, so another one is added.
                Err(error) if reused && tries > 0 && error.may_have_ended() => {
                    tracing::info!(container = name, %error, "the agent's container has ended");
                    self.pod = self.read_again().await?;
                }
                answer => break (name, reused, answer?),
            }
        };
        tracing::debug!("the agent answers");
        let agent = inject::Standing {
            container: name,
            path,
            reused,
        };
        Ok(self.look(session, rung, image, agent, process).await?)
    }

    async fn read_again(&self) -> Result<Pod, PodError> {
        let verb = access::GET_PODS.inside(&self.cluster.namespace);
        let pods: Api<Pod> = Api::namespaced(self.cluster.client.clone(), &self.cluster.namespace);
        let pod = pods.get(&self.name()).await;
        pod.map_err(|error| PodError::api(error, &verb))
    }

    /// The agent's container, and whether it was there before.
    async fn enter(&mut self, wanted: &inject::Wanted<'_>) -> Result<(String, bool), Standing> {
        let (name, reused) = match inject::look(&self.pod, wanted) {
            Entry::Present(name) => (name, true),
            Entry::Absent(name) => {
                tracing::debug!(container = name, "adding the agent's container");
                self.pod = inject::add(&self.cluster, &self.pod, wanted, &name).await?;
                (name, false)
            }
        };
        tracing::info!(container = name, reused, rung = %wanted.rung, "the agent's container");
        Ok((name, reused))
    }

    async fn converse(
        &self,
        wanted: &inject::Wanted<'_>,
        name: &str,
        options: &PodOptions,
    ) -> Result<(Session, String), PodError> {
        let Self {
            cluster,
            pod,
            found,
            ..
        } = self;
        inject::converse(cluster, pod, found, wanted, name, options.limit).await
    }

    /// Finds the processes of the container with an agent beside it, and chooses one.
    async fn look(
        &self,
        session: Session,
        rung: Rung,
        image: &str,
        agent: inject::Standing,
        process: Option<u32>,
    ) -> Result<Opened, PodError> {
        let witness = Witness::new(
            &self.cluster,
            &self.pod,
            Some(&self.found),
            &agent.container,
        );
        session.when_lost(witness.testify());
        let place = self.place(rung, image, agent.container, agent.reused);
        let processes = members(&session, &place).await?;
        let choice = choice::choose(&processes, process).ok_or_else(|| PodError::NotVisible {
            pod: self.name(),
            container: self.found.name.clone(),
            reason: match process {
                Some(pid) => format!("it has no process {pid}"),
                None => "no process of it is in sight".to_owned(),
            },
        })?;
        Ok(Opened {
            session,
            processes,
            choice,
            place,
            agent_path: agent.path,
        })
    }

    /// What to use when the node cannot get the image: one that it has. Only once, and not when an image was asked for.
    async fn image_instead(&self, missing: &str, options: &PodOptions) -> Option<String> {
        if missing != options.image || options.image != DEFAULT_IMAGE {
            return None;
        }
        let node = self.pod.spec.as_ref()?.node_name.as_deref()?;
        images::on_node(&self.cluster, node).await
    }

    fn place(&self, rung: Rung, agent_image: &str, agent: String, reused: bool) -> Place {
        let spec = self.pod.spec.as_ref();
        Place {
            cluster: self.cluster.clone(),
            object: Box::new(self.pod.clone()),
            namespace: self.cluster.namespace.clone(),
            pod: self.name(),
            of: self.of,
            uid: self.pod.uid().unwrap_or_default(),
            address: self
                .pod
                .status
                .as_ref()
                .and_then(|status| status.pod_ip.clone())
                .unwrap_or_default(),
            node: spec
                .and_then(|spec| spec.node_name.clone())
                .unwrap_or_default(),
            container: self.found.name.clone(),
            container_id: self.found.id.clone(),
            image: self.found.image.clone(),
            image_id: self.found.image_id.clone(),
            rung,
            agent,
            agent_image: agent_image.to_owned(),
            reused,
            kept: false,
            refused: Vec::new(),
            missing_image: None,
            volumes: declared::volumes(&self.pod, &self.found.name),
        }
    }
}

/// Who knows what would help: in a pod not what helps on this machine, but another rung.
fn adviser(place: &Place) -> Adviser {
    let rung = place.rung;
    let refused: Vec<_> = place.refused.iter().map(|(rung, _)| *rung).collect();
    let node = place.node.clone();
    Arc::new(move |failure| rung.remedies(&failure.cause, &refused, &node))
}

impl Place {
    /// What the cluster tells of the container.
    pub fn described(&self) -> Described {
        Described {
            cluster: self.cluster.clone(),
            object: self.object.clone(),
            container: self.container.clone(),
            image: self.image.clone(),
            image_id: self.image_id.clone(),
        }
    }
}

/// Why no agent stands on a rung.
enum Standing {
    /// Admission wants another one.
    Refused(String),
    Failed(PodError),
}

impl From<NotAdded> for Standing {
    fn from(reason: NotAdded) -> Self {
        match reason {
            NotAdded::Refused(message) => Self::Refused(message),
            NotAdded::Error(error) => Self::Failed(error),
        }
    }
}

impl From<PodError> for Standing {
    fn from(error: PodError) -> Self {
        Self::Failed(error)
    }
}

/// The processes of the container that is looked at, told from all others that the agent sees.
async fn members(session: &Session, place: &Place) -> Result<Vec<Process>, PodError> {
    let not_visible = |reason: String| PodError::NotVisible {
        pod: place.pod.clone(),
        container: place.container.clone(),
        reason,
    };
    let ourselves = async { Ok(session.request(&Request::Agent)?.head::<Agent>().await?) };
    let all = list(session, ProcessScope::All);
    let (ourselves, all) =
        tokio::try_join!(ourselves, all).map_err(|error: TargetError| match error {
            TargetError::Request(RequestError::Session(SessionError::Lost { what })) => {
                PodError::TargetLost { what }
            }
            error => not_visible(error.to_string()),
        })?;
    let wanted = evidence::Wanted {
        id: place.container_id.parse().ok(),
        pod: Some(&place.uid),
        name: &place.container,
    };
    let members = evidence::members(&all, &wanted, &ourselves.container)
        .map_err(|error| not_visible(error.to_string()))?;
    tracing::debug!(
        because = members.by.because(),
        untold = members.untold,
        "the container's processes"
    );
    Ok(members.processes)
}

/// Why the kernel does not let the agent look into a process, if it does not.
fn denial(process: &Process) -> Option<&Denial> {
    match &process.folder {
        Reading::Unavailable(failure) => match &failure.cause {
            Cause::Denied(denial) => Some(denial),
            _ => None,
        },
        Reading::Known(_) => None,
    }
}
