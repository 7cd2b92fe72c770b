//! What every test needs: a cluster, a namespace of its own, pods, and waits that end with a reason.

mod account;
mod cluster;
mod kdbg;
mod numbers;
mod pod;
mod program;
mod test;
mod wait;

pub(crate) use account::Account;
pub(crate) use cluster::Cluster;
pub(crate) use kdbg::Ran;
pub(crate) use numbers::Numbers;
pub(crate) use pod::{Phase, answering, container, image_name, merged, pod, waiting_reason};
pub(crate) use program::{git, succeed};
pub(crate) use test::{Level, Test, from_json, run};
pub(crate) use wait::{Failure, PATIENCE, check, wait_until};
