//! What every test needs: a cluster, a namespace of its own, pods, and waits that end with a reason.

mod cluster;
mod kdbg;
mod pod;
mod test;
mod wait;

pub(crate) use cluster::Cluster;
pub(crate) use kdbg::{Account, Ran};
pub(crate) use pod::{Phase, answering, container, image_name, pod, waiting_reason};
pub(crate) use test::{Level, Test, run};
pub(crate) use wait::{Failure, check, wait_until};
