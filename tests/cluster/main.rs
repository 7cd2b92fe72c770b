//! Tests on a real Kubernetes: an API server, a kubelet and a container runtime decide, no stand-in does.
//!
//! `scripts/test-cluster` brings a cluster up and runs them; docs/cluster.md says how to use another cluster.
//! Each test has a namespace of its own, so that all can run side by side.

// The lints allow these in functions marked #[test]; here the helpers are test code too.
#![allow(
    clippy::print_stderr,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "all of this crate is test code"
)]

mod cleanup;
mod components;
mod diagnosis;
mod doctor;
mod files;
mod from;
mod generated;
mod harness;
mod images;
mod incident_000;
mod incident_000_compiled;
mod incident_000_languages;
mod labels;
mod net;
mod network;
mod pods;
mod probes;
mod provenance;
mod pull;
mod rbac;
mod security;
mod shapes;
mod sources;
mod webhook;
