//! `kdbg curl`: a request over HTTP from where the target stands, each phase timed.

mod args;
mod once;
mod request;
mod show;
mod url;

use std::io::Write;

use ::url::Url;

pub use args::CurlArgs;
pub(super) use once::{Answer, Once, check};

use self::{
    request::Plan,
    show::{Seen, report},
    url::UrlError,
};
use crate::{
    cli::{error::CommandError, exit::ExitStatus, printer::Printer},
    protocol::message::{Address, HttpHead, ProbeRecord, Request},
    render::safe,
    target::Target,
};

/// As many redirections as curl follows.
const REDIRECTIONS: usize = 50;
/// A body in JSON is cut here.
const JSON_BODY: usize = 1024 * 1024;

impl From<UrlError> for CommandError {
    fn from(error: UrlError) -> Self {
        let error = Self::usage(error);
        error
            .hint("write a URL, `web:8080/path`, or `:8080/healthz` for the process's own listener")
    }
}

/// Runs `kdbg curl`.
pub async fn run(mut args: CurlArgs, printer: &mut Printer) -> Result<ExitStatus, CommandError> {
    if let Some(word) = args.target.misplaced() {
        args.url = Some(word.to_string_lossy().into_owned());
    }
    let typed = args.url.clone().ok_or_else(|| {
        CommandError::usage("no URL is given")
            .hint("name the target first, then the URL, as in `kdbg curl web-7f9c :8080/healthz`")
    })?;
    let mut plan = Plan::new(&args)?;
    let target = super::open(&args.target, printer).await?;
    let listening: &[Address] = target
        .process()
        .listening
        .known()
        .map_or(&[], Vec::as_slice);
    let place = url::place(&typed, listening)?;
    if place.is_missing {
        printer.warning(&format!(
            "the process does not listen on {}",
            place.url.port_or_known_default().unwrap_or_default()
        ));
    }
    let mut destination = Destination::new(&args, printer)?;
    let mut url = place.url;
    let mut seen = Seen::default();
    for _ in 0..=REDIRECTIONS {
        seen = one(&args, &plan, &url, &target, &mut destination, printer).await?;
        let Some(next) = redirection(&args, &url, &seen)? else {
            break;
        };
        printer.note(&format!("redirected to {}", safe(next.as_str().as_bytes())));
        let same_host = next.host() == url.host()
            && next.port_or_known_default() == url.port_or_known_default();
        plan.redirect(seen.status().unwrap_or_default(), same_host);
        url = next;
    }
    let status = seen.exit_status(&args);
    destination.finish(&seen)?;
    if args.json {
        printer.json(&report(&target, &url, &seen))?;
    } else {
        show::say(&seen, printer);
        if let Some(format) = &args.write_out {
            write!(printer.data(), "{}", show::write_out(format, &seen))
                .map_err(CommandError::output)?;
        }
    }
    target.close().await;
    Ok(status)
}

/// One request and its response.
async fn one(
    args: &CurlArgs,
    plan: &Plan,
    url: &Url,
    target: &Target,
    destination: &mut Destination,
    printer: &mut Printer,
) -> Result<Seen, CommandError> {
    let request = plan.request(args, url, target.process().id);
    let request = Request::Http(Box::new(request));
    let mut reply = target.session.request(&request)?;
    let mut seen = Seen::default();
    let progress = printer.progress(format!("asking {}", safe(url.as_str().as_bytes())));
    let mut progress = Some(progress);
    while let Some(records) = reply.batch::<ProbeRecord>().await? {
        for record in records {
            match record {
                ProbeRecord::Head(head) => {
                    progress = None;
                    let is_redirected = location(args, &head).is_some();
                    if args.include || args.head {
                        destination.write(&shown_head(&head), printer)?;
                    }
                    destination.skips = is_redirected || (args.fail && head.status >= 400);
                    seen.heads.push(*head);
                }
                ProbeRecord::Body(bytes) => {
                    let room = JSON_BODY.saturating_sub(seen.body.len());
                    if args.json && args.output.is_none() {
                        let kept = bytes.get(..room.min(bytes.len()));
                        seen.body.extend_from_slice(kept.unwrap_or_default());
                    } else if !destination.skips {
                        destination.write(&bytes, printer)?;
                    }
                }
                ProbeRecord::Tls(session) => seen.tls = Some(*session),
                ProbeRecord::BodyEnd(end) => seen.end = Some(*end),
                ProbeRecord::Waiting { at, phase } => {
                    if let Some(progress) = &progress {
                        progress.say(show::waiting(at, phase));
                    }
                }
                other => seen.told.add(other),
            }
        }
    }
    Ok(seen)
}

/// Where a response sends on, when that is to be followed.
fn location<'a>(args: &CurlArgs, head: &'a HttpHead) -> Option<&'a [u8]> {
    let is_redirection = matches!(head.status, 301 | 302 | 303 | 307 | 308);
    if !args.location || !is_redirection {
        return None;
    }
    head.fields
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(b"location"))
        .map(|(_, value)| value.as_slice())
}

fn redirection(args: &CurlArgs, url: &Url, seen: &Seen) -> Result<Option<Url>, CommandError> {
    let Some(to) = seen.heads.last().and_then(|head| location(args, head)) else {
        return Ok(None);
    };
    let to = String::from_utf8_lossy(to);
    let next = url
        .join(&to)
        .map_err(|error| UrlError::Bad(to.into_owned(), error.to_string()))?;
    Ok(Some(url::parse(next.as_str())?))
}

fn shown_head(head: &HttpHead) -> Vec<u8> {
    let mut text = format!("HTTP/1.{} {} ", head.minor_version, head.status).into_bytes();
    text.extend_from_slice(&head.reason);
    text.extend_from_slice(b"\r\n");
    for (name, value) in &head.fields {
        for part in [name.as_slice(), b": ", value.as_slice(), b"\r\n"] {
            text.extend_from_slice(part);
        }
    }
    text.extend_from_slice(b"\r\n");
    text
}

/// Where the body goes.
struct Destination {
    /// Beside the file, until the body is whole.
    file: Option<(tempfile::NamedTempFile, std::path::PathBuf)>,
    skips: bool,
}

impl Destination {
    fn new(args: &CurlArgs, _printer: &Printer) -> Result<Self, CommandError> {
        let file = args
            .output
            .as_ref()
            .map(|path| {
                let folder = path
                    .parent()
                    .filter(|folder| !folder.as_os_str().is_empty())
                    .unwrap_or_else(|| std::path::Path::new("."));
                tempfile::Builder::new()
                    .prefix(".kdbg-")
                    .tempfile_in(folder)
                    .map(|file| (file, path.clone()))
                    .map_err(|error| CommandError::output_to(path, &error))
            })
            .transpose()?;
        Ok(Self { file, skips: false })
    }

    fn write(&mut self, bytes: &[u8], printer: &mut Printer) -> Result<(), CommandError> {
        if let Some((file, path)) = &mut self.file {
            return file
                .write_all(bytes)
                .map_err(|error| CommandError::output_to(path, &error));
        }
        printer
            .data()
            .write_all(bytes)
            .map_err(CommandError::output)?;
        printer.finish()
    }

    /// Puts a whole body in its place; what is not whole is thrown away.
    fn finish(self, seen: &Seen) -> Result<(), CommandError> {
        let Some((file, path)) = self.file else {
            return Ok(());
        };
        if !seen.is_whole() || self.skips {
            return Ok(());
        }
        // As a program would make it: `tempfile` makes files for their owner alone.
        let permissions = std::os::unix::fs::PermissionsExt::from_mode(0o644);
        file.as_file()
            .set_permissions(permissions)
            .map_err(|error| CommandError::output_to(&path, &error))?;
        file.persist(&path)
            .map(drop)
            .map_err(|error| CommandError::output_to(&path, &error.error))
    }
}
