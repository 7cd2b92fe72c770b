//! Where each variable of a process comes from.
//!
//! The kubelet, the image, the container runtime and the entrypoint all put variables into an environment, and
//! `/proc/PID/environ` does not say who put which: order means nothing, for the kubelet hands them over in the
//! random order of a Go map. So [`declarations`] replays the kubelet over what the cluster holds now,
//! [`attribute()`] lays the process's variables beside that, and [`after_restart`] says what a restart would change.
//!
//! What could not be read stays unknown in all of it, and values of Secrets are kept as keyed digests only.

mod attribute;
mod expansion;
mod facts;
mod image;
mod kubelet;
mod links;
mod quantity;
mod restart;
#[cfg(test)]
mod tests;
mod value;

pub use attribute::{
    Absent, Agreement, Attributed, Attribution, Known, LinkState, Origin, WhyAbsent, attribute,
};
pub use facts::{
    Cluster, ContainerSpec, EnvFrom, EnvVar, ImageVariable, Lookup, Object, ObjectKind, ObjectRef,
    Port, Service, ValueFrom,
};
pub use image::{ImageMoved, Running, moved_by};
pub use kubelet::{
    Blind, Declaration, Declarations, Declared, Rules, Variable, declarations, is_variable_name,
};
pub use links::{Link, LinkForm, links, makes_links};
pub use quantity::divided;
pub use restart::{After, Change, Restart, after_restart};
pub use value::{Keyring, Sealed, Value};
