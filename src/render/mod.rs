//! From facts and findings to text, JSON and tables.
//!
//! What comes from a target is bytes that the target chose: control characters, terminal escapes and bytes
//! that are no UTF-8 are shown, never sent (CVE-2021-25743 was kubectl letting them through).

mod bytes;
pub mod findings;
pub mod provenance;
pub mod quantity;
pub mod report;
pub mod saved;
pub mod table;

pub use bytes::{JsonBytes, JsonCow, safe, safe_lines};
