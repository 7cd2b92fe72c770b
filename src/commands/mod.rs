//! One file a command: arguments in, facts fetched, findings rendered.

use std::{ffi::OsString, os::unix::ffi::OsStringExt as _};

use bstr::BString;

pub mod cat;
pub mod completions;
pub mod diff_src;
pub mod env;
mod fetch;
pub mod ls;
pub mod man;
pub mod ps;
pub mod pull;
pub mod snapshot;
mod store;
mod subject;
mod tree;

/// A path of the target, as it was typed.
fn target_path(path: OsString) -> BString {
    path.into_vec().into()
}
