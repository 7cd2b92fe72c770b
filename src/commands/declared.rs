//! What the cluster declares of a target's environment, read and laid beside what the process has.

use std::io::Read as _;

use crate::{
    cli::error::CommandError,
    evidence::{
        environment::Environment,
        provenance::{
            self, Attribution, Cluster, ContainerSpec, Declarations, ImageVariable, Keyring, Known,
            Lookup, Restart, Rules, Service,
        },
    },
    target::{
        Place, Target,
        pod::{self, declared},
    },
};

/// Why nothing is declared of a process of this machine.
const NO_POD: &str = "it is a process of this machine, not of a pod";

/// What is declared of a container now.
pub(super) struct Declared {
    /// The container's spec; `Unreadable` where no pod is behind the process.
    pub(super) spec: Lookup<ContainerSpec>,
    cluster: Cluster,
    pub(super) declarations: Declarations,
    image: Lookup<Vec<ImageVariable>>,
    started_at: Option<i64>,
    keys: Keyring,
}

impl Declared {
    /// Asks the cluster of a pod. What may not be read is a fact, no error.
    pub(super) async fn read(target: &Target) -> Result<Self, CommandError> {
        let keys = keyring()?;
        match &target.place {
            Place::Machine(_) => Ok(Self::nothing(keys)),
            Place::Pod(place) => Ok(Self::of_pod(place, keys).await),
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
            started_at: None,
            keys,
        }
    }

    async fn of_pod(place: &pod::Place, keys: Keyring) -> Self {
        // The container was found in this pod.
        let spec = declared::container_spec(&place.object, &place.container).unwrap_or_default();
        let (cluster, minor) = tokio::join!(
            declared::read(&place.cluster, &spec, &keys),
            minor(&place.cluster),
        );
        Self {
            declarations: provenance::declarations(&spec, &cluster, Rules::of_minor(minor)),
            cluster,
            image: Lookup::Unreadable("kdbg does not ask registries".to_owned()),
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
            sample: None,
            started_at: self.started_at,
            keys: &self.keys,
        };
        let attribution = provenance::attribute(&known);
        let restart = if self.spec.found().is_some() {
            provenance::after_restart(&known, &attribution)
        } else {
            Restart::default()
        };
        (attribution, restart)
    }

    /// A Service by `NAMESPACE/NAME`.
    pub(super) fn service(&self, name: &str) -> Option<&Service> {
        let mut services = self.cluster.services.found()?.iter();
        services.find(|service| format!("{}/{}", service.namespace, service.name) == name)
    }
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
