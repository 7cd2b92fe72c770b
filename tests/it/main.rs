//! Integration tests that need no cluster: the real programs, real processes, real git.

mod diff_oracle;
mod env;
mod files;
mod git_read;
mod running;
mod session;
mod snapshot;
