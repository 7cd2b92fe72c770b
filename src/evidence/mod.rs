//! Conclusions from facts: pure functions, no I/O. Most tests live here.

pub mod choice;
pub mod classes;
pub mod comparison;
pub mod connections;
pub mod container;
pub mod dns;
pub mod environment;
pub mod files;
pub mod finding;
pub mod findings;
pub mod fit;
pub mod grpc;
pub mod mapping;
pub mod names;
pub mod noise;
pub mod origin;
pub mod packages;
pub mod peers;
pub mod phases;
pub mod provenance;
pub mod reach;
pub mod reads;
pub mod redact;
pub mod renames;
pub mod roots;
pub mod usage;
