//! The half that runs beside the target: threads and blocking I/O, nothing else.
//!
//! One file a probe. A probe takes a request apart, reads the kernel, and writes its answer to an
//! [`Output`]; it knows neither frames nor the pipe. The agent never writes to the target's file system,
//! never stops or signals a process that it has not started (but an agent that rests, see `end`), and exits by itself (see `serve`).

mod access;
mod applets;
mod connections;
mod container;
mod dial;
mod end;
mod environ;
mod file_system;
mod groups;
mod held_files;
mod http;
mod identity;
mod list;
mod lookup;
mod mounts;
mod net;
mod netlink;
mod network;
mod ourselves;
mod output;
mod probe;
mod proc_file;
mod processes;
mod read;
mod resolver;
mod rest;
mod route;
mod run;
mod sample;
mod serve;
mod status;
mod steps;
mod target;
mod tcp;
#[cfg(test)]
mod testing;
mod view;
mod volumes;
mod walk;

pub use applets::{Applet, remove_all};
pub use end::{Ending, resting, tell};
pub use ourselves::digest;
pub use output::{Answer, Output, Records, Stop};
pub use probe::answer;
pub use rest::rest;
pub use run::end_descendants;
pub use serve::{Ended, serve};
