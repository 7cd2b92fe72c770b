//! Which probe answers which request.

use super::output::{Answer, Output};
use crate::protocol::message::{Cause, Failure, Request};

/// Answers a request.
pub fn answer(_request: &Request, _output: &mut dyn Output) -> Answer {
    Err(Failure::new("answer the request", Cause::BadRequest).into())
}
