//! Integration tests that need no cluster: the real programs, real processes, real git.

mod diff_oracle;
mod diff_src;
mod generated;
mod git_read;
mod ps;
mod session;
mod support;
