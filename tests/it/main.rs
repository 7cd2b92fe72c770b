//! Integration tests that need no cluster: the real programs, real processes, real git.

mod diff_oracle;
mod diff_src;
mod env;
mod files;
mod generated;
mod git_read;
mod ps;
mod running;
mod session;
mod snapshot;
mod support;
