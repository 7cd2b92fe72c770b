//! What several tests need: the real git, generated trees, published packages.

pub(crate) mod fixtures;
pub(crate) mod git;
pub(crate) mod trees;
