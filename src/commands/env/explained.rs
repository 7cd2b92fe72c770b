//! Where the variables of a pod's process come from.

use clap::ValueEnum;

use crate::{
    cli::error::CommandError,
    commands::{
        ahead::Ahead,
        declared::{Beside, Declared},
    },
    evidence::{
        environment::Environment,
        provenance::{Attributed, Attribution, ImageMoved, Lookup, Origin, Restart},
        redact::Source,
    },
    target::Target,
};

/// Where variables come from, in the order in which they are shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Kind {
    /// The container's spec, and the `ConfigMap`s and Secrets to which it refers
    Spec,
    /// The kubelet's links to Services
    ServiceLink,
    /// The image
    Image,
    /// The container runtime
    Runtime,
    /// The entrypoint, or a process between it and this one
    Entrypoint,
    /// It cannot be told
    Unknown,
}

impl Kind {
    pub(super) const fn of(origin: &Origin) -> Self {
        match origin {
            Origin::Spec { .. } => Self::Spec,
            Origin::ServiceLink { .. } => Self::ServiceLink,
            Origin::Image => Self::Image,
            Origin::Runtime => Self::Runtime,
            Origin::Entrypoint { .. } => Self::Entrypoint,
            Origin::Unknown { .. } => Self::Unknown,
        }
    }

    pub(super) const fn heading(self) -> &'static str {
        match self {
            Self::Spec => "the container's spec",
            Self::ServiceLink => "links to Services",
            Self::Image => "the image",
            Self::Runtime => "the container runtime",
            Self::Entrypoint => "the entrypoint, or a process between it and this one",
            Self::Unknown => "not known",
        }
    }
}

/// What the cluster was asked of a pod before the agent was there.
pub(super) type Asking = Option<Ahead<Result<Declared, CommandError>>>;

/// What the cluster declares, once it has answered, with what the pod itself tells; `None` for a process of this machine.
pub(super) async fn declared(
    target: &Target,
    declared: Asking,
) -> Result<Option<Declared>, CommandError> {
    let Some(declared) = declared else {
        return Ok(None);
    };
    let (declared, beside) = tokio::join!(declared.get(), Beside::read(target));
    Ok(Some(declared??.with(beside)))
}

/// An environment with its origins.
pub(super) struct Explained {
    declared: Declared,
    pub(super) attribution: Attribution,
    pub(super) restart: Restart,
}

impl Explained {
    pub(super) fn of(declared: Declared, environment: &Environment) -> Self {
        let (attribution, restart) = declared.explain(environment);
        Self {
            declared,
            attribution,
            restart,
        }
    }

    /// Whether the image's name means another image by now.
    pub(super) const fn moved(&self) -> &Lookup<ImageMoved> {
        &self.declared.moved
    }

    /// What is known of the entry at a position.
    pub(super) fn entry(&self, position: usize) -> Option<&Attributed> {
        let variables = &self.attribution.variables;
        // Each entry has one, so it is at its place.
        let at_place = variables.get(position);
        at_place
            .filter(|variable| variable.entry == position)
            .or_else(|| variables.iter().find(|one| one.entry == position))
    }

    /// Whether a value is a Secret's.
    pub(super) fn source(&self, position: usize) -> Source {
        match self.entry(position) {
            Some(variable) if variable.secret => Source::Secret,
            _ => Source::Unknown,
        }
    }

    /// What of the cluster could not be read.
    pub(super) fn unread(&self) -> Vec<String> {
        let declarations = &self.declared.declarations;
        let services = declarations.blind_services.iter().cloned();
        let objects = declarations.blind.iter();
        services
            .chain(objects.map(|blind| blind.why.clone()))
            .collect()
    }
}
