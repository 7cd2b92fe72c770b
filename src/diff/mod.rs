//! Differences between two trees, printed as git prints them.
