//! One file a command: arguments in, facts fetched, findings rendered.

pub mod env;
pub mod ps;
mod subject;
