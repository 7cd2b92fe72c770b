//! One request over HTTP/1.1.
use super::{Answer, Output};
use crate::protocol::message::HttpRequest;
pub(super) fn answer(_request: &HttpRequest, _output: &mut dyn Output) -> Answer {
    Ok(Vec::new())
}
