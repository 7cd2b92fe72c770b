//! Integration tests that need no cluster: the real programs, real processes, real git.

#![expect(
    clippy::indexing_slicing,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "a test fails by panicking, what tests share too, and says on stderr what it skipped"
)]

mod agent_program;
mod applets;
mod attach;
mod containers;
mod diagnose;
mod diagnose_built;
mod diff_oracle;
mod diff_pod;
mod diff_src;
mod env;
mod files;
mod generated;
mod git_read;
mod held;
mod identity;
mod keep;
mod kubelet_oracle;
mod noise;
mod packages_oracle;
mod probes;
mod ps;
mod reads_oracle;
mod roundtrip;
mod session;
mod snapshot;
mod support;
mod watch;
mod which_ref;
