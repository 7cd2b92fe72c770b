//! Conclusions from facts: pure functions, no I/O. Most tests live here.

pub mod choice;
