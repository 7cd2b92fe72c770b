//! The only unsafe code: system calls that nix does not offer.
//!
//! Each call is wrapped once, as narrowly as it is needed, in a function that is safe to call.

#[cfg(target_os = "linux")]
mod born;
#[cfg(target_os = "linux")]
mod capability;
#[cfg(target_os = "linux")]
mod folder;
#[cfg(target_os = "linux")]
mod start;
mod tcp;
#[cfg(target_os = "linux")]
mod terminal;

#[cfg(target_os = "linux")]
pub use born::born;
#[cfg(target_os = "linux")]
pub use capability::{CapabilitySets, capabilities, set_capabilities};
#[cfg(target_os = "linux")]
pub use folder::{NameKind, Names, read_names};
#[cfg(target_os = "linux")]
pub use start::{Step, Surroundings, failed_step, surround};
pub use tcp::{TcpInfo, tcp_info, unacknowledged};
#[cfg(target_os = "linux")]
pub use terminal::set_terminal_size;
