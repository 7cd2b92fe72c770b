//! kdbg looks into a process that has nothing to look with, compares what it finds with what should
//! be there, and says where they part.
//!
//! The package is one library with two programs: `kdbg` (feature `client`), which a person runs, and
//! `kdbg-agent` (feature `agent`), a static binary that runs beside the target. `docs/ARCHITECTURE.md`
//! shows how the modules depend on each other.

pub mod object;
pub mod protocol;
pub mod sys;

#[cfg(feature = "agent")]
pub mod agent;

#[cfg(feature = "client")]
pub mod cli;
#[cfg(feature = "client")]
pub mod commands;
#[cfg(feature = "client")]
pub mod diff;
#[cfg(feature = "client")]
pub mod evidence;
#[cfg(feature = "client")]
pub mod extract;
#[cfg(feature = "client")]
pub mod git;
#[cfg(feature = "client")]
pub mod history;
#[cfg(feature = "client")]
pub mod keep;
#[cfg(feature = "client")]
pub mod registry;
#[cfg(feature = "client")]
pub mod render;
#[cfg(feature = "client")]
pub mod session;
#[cfg(feature = "client")]
pub mod target;
