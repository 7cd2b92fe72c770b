//! Integration tests that need no cluster: the real programs, real processes, real git.

mod diff_oracle;
mod git_read;
mod session;
