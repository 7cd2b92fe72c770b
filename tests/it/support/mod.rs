//! What several tests need: the real git, processes to look at, generated trees, published packages.

pub(crate) mod fixtures;
pub(crate) mod git;
pub(crate) mod running;
pub(crate) mod screen;
pub(crate) mod trees;
