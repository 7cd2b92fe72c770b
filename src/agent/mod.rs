//! The half that runs beside the target: threads and blocking I/O, nothing else.
//!
//! One file a probe. A probe takes a request apart, reads the kernel, and writes its answer to an
//! [`Output`]; it knows neither frames nor the pipe. The agent never writes to the target's file system,
//! never stops or signals a process, and exits by itself (see `serve`).

mod output;
mod probe;
mod serve;

pub use output::{Answer, Output, Records, Stop};
pub use probe::answer;
pub use serve::{Ended, serve};
