//! What the cluster declares of a target's environment, read and laid beside what the process has.

use std::io::Read as _;

use crate::{
    cli::error::CommandError,
    evidence::{
        environment::Environment,
        provenance::{
            self, Attribution, Cluster, ContainerSpec, Declarations, ImageMoved, ImageVariable,
            Keyring, Known, Lookup, Restart, Rules, Service,
        },
    },
    protocol::message::{Agent, Process, ProcessId, Request},
    registry::{self, Image},
    target::{
        Place, Target,
        pod::{self, Described, declared, replicas::of_image},
    },
};

/// Why nothing is declared of a process of this machine.
const NO_POD: &str = "it is a process of this machine, not of a pod";

/// No environment that is only laid beside another one is read beyond, in bytes.
const BLOCK_LIMIT: usize = 16 << 20;

/// What is asked for that not every command needs.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Ask {
    /// The registry of the image.
    pub(super) registry: bool,
    /// Whether the image's name means another one by now.
    pub(super) moved: bool,
}

/// What is declared of a container now.
pub(super) struct Declared {
    /// The container's spec; `Unreadable` where no pod is behind the process.
    pub(super) spec: Lookup<ContainerSpec>,
    cluster: Cluster,
    pub(super) declarations: Declarations,
    image: Lookup<Vec<ImageVariable>>,
    /// The same of what the image's name means now, where that is another image.
    image_after: Option<Vec<ImageVariable>>,
    /// The move of the image's name; `Missing` where it is not known to have moved.
    pub(super) moved: Lookup<ImageMoved>,
    /// The agent's own: what a container of the pod gets that declares nothing.
    sample: Option<Environment>,
    /// That of the container's first process, where another one is looked at.
    first: Option<Environment>,
    started_at: Option<i64>,
    keys: Keyring,
}

impl Declared {
    /// Asks the cluster of a pod, and the registry of its image where that is wanted, for which no agent is needed. What may
    /// not be read is a fact, no error. `None` is a process of this machine.
    pub(super) async fn of_cluster(
        described: Option<&Described>,
        ask: Ask,
    ) -> Result<Self, CommandError> {
        let keys = keyring()?;
        let Some(described) = described else {
            return Ok(Self::nothing(keys));
        };
        let (declared, image, (moved, image_after)) = tokio::join!(
            Self::of_pod(described, keys),
            // Asking a registry takes much room.
            Box::pin(image(described, ask.registry)),
            Box::pin(moved(described, ask)),
        );
        Ok(Self {
            image,
            image_after,
            moved,
            ..declared
        })
    }

    /// Adds the environments of other processes in the pod.
    pub(super) fn with(self, Beside { sample, first }: Beside) -> Self {
        Self {
            sample,
            first,
            ..self
        }
    }

    fn nothing(keys: Keyring) -> Self {
        Self {
            spec: Lookup::Unreadable(NO_POD.to_owned()),
            cluster: Cluster {
                services: Lookup::Unreadable(NO_POD.to_owned()),
                api_server_unread: None,
                objects: std::collections::BTreeMap::new(),
            },
            declarations: Declarations {
                blind_services: Some(NO_POD.to_owned()),
                ..Declarations::default()
            },
            image: Lookup::Unreadable(NO_POD.to_owned()),
            image_after: None,
            moved: Lookup::Missing,
            sample: None,
            first: None,
            started_at: None,
            keys,
        }
    }

    async fn of_pod(place: &Described, keys: Keyring) -> Self {
        // The container was found in this pod.
        let asked = declared::container_spec(&place.object, &place.container).unwrap_or_default();
        let mut spec = asked.clone();
        let (cluster, minor, ()) = tokio::join!(
            declared::read(&place.cluster, &asked, &keys),
            minor(&place.cluster),
            declared::fill_from_node(&place.cluster, &mut spec, &place.object, &place.container),
        );
        Self {
            declarations: provenance::declarations(&spec, &cluster, Rules::of_minor(minor)),
            cluster,
            image: Lookup::Missing,
            image_after: None,
            moved: Lookup::Missing,
            sample: None,
            first: None,
            started_at: declared::started_at(&place.object, &place.container),
            spec: Lookup::Found(spec),
            keys,
        }
    }

    /// Says where each variable is from, and what a restart would change.
    pub(super) fn explain(&self, environment: &Environment) -> (Attribution, Restart) {
        let unknown = ContainerSpec {
            service_links: true,
            ..ContainerSpec::default()
        };
        let known = Known {
            environment,
            spec: self.spec.found().unwrap_or(&unknown),
            cluster: &self.cluster,
            declarations: &self.declarations,
            image: &self.image,
            sample: self.sample.as_ref(),
            first: self.first.as_ref(),
            started_at: self.started_at,
            keys: &self.keys,
        };
        let attribution = provenance::attribute(&known);
        let restart = if self.spec.found().is_some() {
            let after = self.image_after.clone().map(Lookup::Found);
            let known = Known {
                image: after.as_ref().unwrap_or(&self.image),
                ..known
            };
            provenance::after_restart(&known, &attribution)
        } else {
            Restart::default()
        };
        (attribution, restart)
    }

    /// The Services of the namespace; `None` where they could not be read.
    pub(super) fn services(&self) -> Option<&[Service]> {
        self.cluster.services.found().map(Vec::as_slice)
    }

    /// A Service by `NAMESPACE/NAME`.
    pub(super) fn service(&self, name: &str) -> Option<&Service> {
        let mut services = self.cluster.services.found()?.iter();
        services.find(|service| format!("{}/{}", service.namespace, service.name) == name)
    }
}

/// The variables of the image that runs, as its registry tells them.
async fn image(place: &Described, registry: bool) -> Lookup<Vec<ImageVariable>> {
    if !registry {
        return Lookup::Unreadable("its registry is asked with `--registry` only".to_owned());
    }
    let described = match Image::of_status(&place.image, &place.image_id) {
        Ok(image) => registry::describe(&image).await,
        Err(error) => Err(error),
    };
    match described {
        Ok(description) => Lookup::Found(variables(description)),
        Err(error) => Lookup::Unreadable(error.to_string()),
    }
}

fn variables(description: registry::Description) -> Vec<ImageVariable> {
    let environment = description.environment.into_iter();
    environment
        .map(|(name, value)| ImageVariable {
            name: name.into(),
            value: value.into(),
        })
        .collect()
}

/// Whether the name of the image means another one by now, as the registry says where it is asked, else as other pods
/// show; and what that sets, where it is told.
async fn moved(place: &Described, ask: Ask) -> (Lookup<ImageMoved>, Option<Vec<ImageVariable>>) {
    if !ask.moved {
        return (Lookup::Missing, None);
    }
    let (own, all) = match of_image(&place.cluster, &place.object, &place.container).await {
        Lookup::Found(found) => found,
        Lookup::Missing => return (Lookup::Missing, None),
        Lookup::Unreadable(why) => return (Lookup::Unreadable(why), None),
    };
    if !ask.registry {
        let moved = provenance::moved_by(&own, &all);
        return (moved.map_or(Lookup::Missing, Lookup::Found), None);
    }
    let tag = match Image::named(&own.image) {
        Ok(image) => registry::resolve(&image).await,
        Err(error) => Err(error),
    };
    match tag {
        Ok(tag) if tag.is(&own.id) == Some(false) => {
            // What the node names by its configuration is beside a configuration.
            let after = if own.id.contains('@') {
                tag.digest
            } else {
                tag.configuration
            };
            let moved = ImageMoved {
                image: own.image,
                now: own.id,
                after,
                because: "its registry has it under this name".to_owned(),
            };
            (Lookup::Found(moved), Some(variables(tag.description)))
        }
        Ok(_) => (Lookup::Missing, None),
        Err(error) => (Lookup::Unreadable(error.to_string()), None),
    }
}

/// Environments of other processes in the pod, by which that of the target is told.
#[derive(Default)]
pub(super) struct Beside {
    sample: Option<Environment>,
    first: Option<Environment>,
}

impl Beside {
    /// Asks the agent of a pod for them; there is nothing to tell on this machine.
    pub(super) async fn read(target: &Target) -> Self {
        if matches!(target.place, Place::Machine(_)) {
            return Self::default();
        }
        let (sample, first) = tokio::join!(sample(target), first(target));
        Self { sample, first }
    }
}

/// The environment of the agent.
async fn sample(target: &Target) -> Option<Environment> {
    let mut reply = target.session.request(&Request::Agent).ok()?;
    let agent: Agent = reply.head().await.ok()?;
    block(target, agent.process).await
}

/// The environment of the process from which all others of the container come, unless it is the one that is looked at.
async fn first(target: &Target) -> Option<Environment> {
    let mut first = target.process();
    // A process has fewer ancestors than there are processes.
    for _ in &target.processes {
        let parent = |one: &&Process| one.id.pid == first.parent;
        match target.processes.iter().find(parent) {
            Some(parent) => first = parent,
            None => break,
        }
    }
    if first.id == target.process().id {
        return None;
    }
    block(target, first.id).await
}

async fn block(target: &Target, process: ProcessId) -> Option<Environment> {
    let request = Request::Environment(process);
    let mut reply = target.session.request(&request).ok()?;
    Some(Environment::parse(reply.bytes(BLOCK_LIMIT).await.ok()?))
}

/// A keyring for this run: with it the values of Secrets are recognised and never kept.
fn keyring() -> Result<Keyring, CommandError> {
    let mut key = [0; 32];
    std::fs::File::open("/dev/urandom")
        .and_then(|mut random| random.read_exact(&mut key))
        .map_err(CommandError::internal)?;
    Ok(Keyring::new(key))
}

/// The `N` of Kubernetes `1.N`; some vendors write `30+`.
async fn minor(cluster: &pod::Cluster) -> Option<u16> {
    let version = cluster.client.apiserver_version().await.ok()?;
    version.minor.trim_end_matches('+').parse().ok()
}
