//! Which probe answers which request.

use super::{
    Answer, Output, connections, environ, held_files, http, identity::Borrowed, list, lookup,
    ourselves, proc_file, processes, read, sample, tcp, volumes, walk,
};
use crate::protocol::message::{Cause, Failure, ProcessId, Request};

/// Answers a request: writes head and content to `output`, and returns the trailer of the stream.
///
/// Blocks until all is sent. Needs nothing but the thread it runs in (a walk adds its own, which end with
/// it), so that a thread with the file-system ids of another user sees what that user may see.
pub fn answer(request: &Request, output: &mut dyn Output) -> Answer {
    answer_with(request, None, output)
}

/// The same for a request that the client may send more of.
pub(super) fn answer_with(
    request: &Request,
    input: Option<&dyn http::Input>,
    output: &mut dyn Output,
) -> Answer {
    let _borrowed = process_of(request).and_then(Borrowed::of);
    match request {
        Request::Processes(scope) => processes::answer(*scope, output),
        Request::Environment(process) => environ::answer(*process, output),
        Request::Walk(walk) => walk::answer(walk, output),
        Request::ReadFile { process, path } => read::answer(*process, path.as_ref(), None, output),
        Request::ReadRange {
            process,
            path,
            offset,
            length,
        } => read::answer(
            *process,
            path.as_ref(),
            Some(*offset..offset.saturating_add(*length)),
            output,
        ),
        Request::List { process, path } => list::answer(*process, path.as_ref(), output),
        Request::ProcFile { process, file } => proc_file::answer(*process, *file, output),
        Request::Agent => ourselves::answer(output),
        // It needs both directions of its stream: see `run`.
        Request::Run(_) => Err(Failure::new(request.doing(), Cause::BadRequest).into()),
        Request::Tcp(request) => tcp::answer(request, output),
        Request::Lookup(request) => lookup::answer(request, output),
        Request::Http(request) => http::answer(request, input, output),
        Request::Connections(request) => connections::answer(request, output),
        Request::Files(process) => held_files::answer(*process, output),
        Request::Volumes(process) => volumes::answer(*process, output),
        Request::Sample(process) => sample::answer(*process, output),
    }
}

/// The one process that a request is about.
fn process_of(request: &Request) -> Option<ProcessId> {
    match request {
        Request::Environment(process)
        | Request::ReadFile { process, .. }
        | Request::ReadRange { process, .. }
        | Request::List { process, .. }
        | Request::ProcFile { process, .. }
        | Request::Files(process)
        | Request::Volumes(process)
        | Request::Sample(process) => Some(*process),
        Request::Walk(walk) => Some(walk.process),
        Request::Tcp(request) => Some(request.process),
        Request::Lookup(request) => Some(request.process),
        Request::Http(request) => Some(request.process),
        // It looks at one process after the other, with the ids that each takes.
        Request::Processes(_) | Request::Agent | Request::Run(_) | Request::Connections(_) => None,
    }
}

#[cfg(test)]
mod tests;
