//! What several tests need: the real git, generated trees, published packages.

#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

pub(crate) mod fixtures;
pub(crate) mod git;
pub(crate) mod trees;
