//! Integration tests that need no cluster: the real programs, real processes, real git.

mod session;
