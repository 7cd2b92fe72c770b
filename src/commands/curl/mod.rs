//! `kdbg curl`: a request over HTTP from where the target stands, each phase timed.

mod args;
mod body;
mod once;
mod request;
mod show;
mod url;
mod write_out;

use std::{io::Write, pin::pin};

use ::url::Url;

pub use args::CurlArgs;
pub(super) use once::{Answer, Once, check};

use self::{
    body::Body,
    request::Plan,
    show::{Seen, report},
    url::UrlError,
};
use crate::{
    cli::{error::CommandError, exit::ExitStatus, printer::Printer},
    commands::from::Outcome,
    evidence::grpc::Health,
    protocol::message::{HttpHead, HttpVersion, ProbeRecord, Request},
    render::safe,
    session::Reply,
    target::{Place as TargetPlace, Target},
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
    let plan = Plan::new(&args)?;
    if args.from.is_wanted() {
        return compared(&args, &plan, &typed, printer).await;
    }
    let target = super::open(&args.target, printer).await?;
    let place = own_place(&typed, &target, printer)?;
    let mut destination = Destination::new(&args)?;
    let seen = followed(&args, plan, place.url, &target, &mut destination, printer).await?;
    let status = status(&args, &seen);
    destination.finish(&seen)?;
    if args.json {
        printer.json(&report(&args, &target, &seen))?;
    } else {
        show_health(&args, &seen, printer)?;
        show::say(&seen, printer);
        write_out(&args, &seen, printer)?;
    }
    target.close().await;
    Ok(status)
}

/// The same request from several places.
async fn compared(
    args: &CurlArgs,
    plan: &Plan,
    typed: &str,
    printer: &mut Printer,
) -> Result<ExitStatus, CommandError> {
    if let Some(body) = &plan.body {
        body.check_again("every place sends the body")?;
    }
    let ask = async |targets: &[Target], printer: &mut Printer| {
        let first = targets
            .first()
            .ok_or_else(|| CommandError::usage("no target is given"))?;
        let place = own_place(typed, first, printer)?;
        let mut all = Vec::new();
        for target in targets {
            let url = seen_from(&place, first, target);
            let mut nowhere = Destination::nowhere();
            let seen = followed(args, plan.clone(), url, target, &mut nowhere, printer).await?;
            all.push(seen);
        }
        Ok(all)
    };
    let (targets, all) = match args.from.ask(&args.target, printer, ask).await? {
        Outcome::All(targets, all) => (targets, all),
        Outcome::Ended(status) => return Ok(status),
    };
    let courses: Vec<_> = all.iter().map(|seen| show::course(args, seen)).collect();
    let reports = args.json.then(|| {
        let both = targets.iter().zip(&all);
        both.map(|(target, seen)| report(args, target, seen))
            .collect()
    });
    let differs = args.from.compare(&targets, &courses, reports, printer)?;
    let status = all
        .first()
        .map_or(ExitStatus::Incomplete, |seen| status(args, seen));
    for target in targets {
        target.close().await;
    }
    Ok(differs.unwrap_or(status))
}
/// The place that was typed; a listener that is not there is worth a warning.
fn own_place(typed: &str, target: &Target, printer: &Printer) -> Result<url::Place, CommandError> {
    let place = url::place(typed, &target.process().listening)?;
    if place.is_missing {
        printer.warning(&format!(
            "the process does not listen on {}",
            place.url.port_or_known_default().unwrap_or_default()
        ));
    }
    Ok(place)
}

/// Where another target finds a place: the listener of a pod's process has the pod's address there.
fn seen_from(place: &url::Place, first: &Target, target: &Target) -> Url {
    let (
        Target {
            place: TargetPlace::Pod(own),
            ..
        },
        true,
    ) = (first, place.is_own)
    else {
        return place.url.clone();
    };
    let is_same = matches!(&target.place, TargetPlace::Pod(other) if other.uid == own.uid);
    let outside = (!is_same).then(|| url::of_pod(&place.url, &own.address));
    outside.flatten().unwrap_or_else(|| place.url.clone())
}

/// A request, and those to which it is redirected.
async fn followed(
    args: &CurlArgs,
    mut plan: Plan,
    mut url: Url,
    target: &Target,
    destination: &mut Destination,
    printer: &mut Printer,
) -> Result<Seen, CommandError> {
    let mut redirections = 0;
    loop {
        // As curl, which with `-f` takes the answer for the end.
        destination.skips_refusal = !args.fail && plan.may_go_unasked();
        let mut seen = one(args, &plan, &url, target, destination, printer).await?;
        if destination.skips_refusal && seen.head().is_some_and(refuses_to_be_asked) {
            printer.note("the server does not want to be asked first (417 to `Expect: 100-continue`); the body goes without");
            plan.go_unasked();
            continue;
        }
        if !args.fail && plan.asks_first() && seen.head().is_some_and(refuses_to_be_asked) {
            printer.hint("leave out what it refuses with `-H Expect:`, or give the body as a file, which can be sent again");
        }
        let next = redirection(args, &url, &seen)?;
        let Some(next) = next.filter(|_| redirections < REDIRECTIONS) else {
            seen.url = Some(url);
            seen.redirections = redirections;
            seen.method.clone_from(&plan.method);
            return Ok(seen);
        };
        printer.note(&format!("redirected to {}", safe(next.as_str().as_bytes())));
        let same_host = next.host() == url.host()
            && next.port_or_known_default() == url.port_or_known_default();
        plan.redirect(seen.status().unwrap_or_default(), same_host);
        if let Some(body) = &plan.body {
            body.check_again("the redirection wants the body a second time")?;
        }
        url = next;
        redirections += 1;
    }
}

/// An answer is 0, whatever its status; of a gRPC server that was asked for its health, any state but `SERVING` is a finding.
fn status(args: &CurlArgs, seen: &Seen) -> ExitStatus {
    match seen.health().filter(|_| args.grpc_health.is_some()) {
        Some(health) => ExitStatus::of_comparison(health != Health::Serving, true),
        None => seen.exit_status(args),
    }
}

/// What a gRPC server says of its health.
fn show_health(args: &CurlArgs, seen: &Seen, printer: &mut Printer) -> Result<(), CommandError> {
    let Some(health) = seen.health().filter(|_| args.grpc_health.is_some()) else {
        return Ok(());
    };
    writeln!(printer.data(), "{}", safe(health.to_string().as_bytes()))
        .map_err(CommandError::output)?;
    printer.finish()
}

fn write_out(args: &CurlArgs, seen: &Seen, printer: &mut Printer) -> Result<(), CommandError> {
    let Some(format) = &args.write_out else {
        return Ok(());
    };
    let (text, unknown) = write_out::write_out(format, seen);
    printer
        .data()
        .write_all(&text)
        .map_err(CommandError::output)?;
    for name in unknown {
        printer.warning(&format!(
            "`-w` knows no variable `{}`",
            safe(name.as_bytes())
        ));
    }
    Ok(())
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
    let Some(Body::Streamed(parts)) = &plan.body else {
        let reply = target.session.request(&request)?;
        let mut seen = received(args, url, reply, destination, printer).await?;
        seen.upload = plan.body.as_ref().and_then(Body::length);
        return Ok(seen);
    };
    let (reply, input) = target.session.request_with_input(&request)?;
    let mut sent = pin!(parts.send(&input));
    let received = received(args, url, reply, destination, printer);
    // The answer may come before all is sent, and what is left is of no use to anybody then.
    let seen = tokio::select! {
        biased;
        seen = received => seen,
        error = async {
            match sent.as_mut().await {
                Ok(()) => std::future::pending().await,
                Err(error) => error,
            }
        } => Err(error),
    };
    let mut seen = seen?;
    seen.upload = parts.length();
    Ok(seen)
}

/// A response, while it arrives.
async fn received(
    args: &CurlArgs,
    url: &Url,
    mut reply: Reply,
    destination: &mut Destination,
    printer: &mut Printer,
) -> Result<Seen, CommandError> {
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
                    destination.skips = is_redirected
                        || (args.fail && head.status >= 400)
                        || (destination.skips_refusal && refuses_to_be_asked(&head));
                    seen.heads.push(*head);
                }
                ProbeRecord::Body(bytes) => {
                    let room = JSON_BODY.saturating_sub(seen.body.len());
                    if keeps_body(args) {
                        let kept = bytes.get(..room.min(bytes.len()));
                        seen.body.extend_from_slice(kept.unwrap_or_default());
                    } else if !destination.skips {
                        destination.write(&bytes, printer)?;
                    }
                }
                ProbeRecord::Tls(session) => seen.tls = Some(*session),
                ProbeRecord::BodyEnd(end) => seen.end = Some(*end),
                ProbeRecord::Trailers(fields) => seen.trailers = fields,
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

/// Whether the body is shown in another form than it comes.
fn keeps_body(args: &CurlArgs) -> bool {
    (args.json && args.output.is_none()) || args.grpc_health.is_some()
}

/// Whether the server would not be asked whether it wants the body (RFC 9110, 15.5.18), which is done over HTTP/1 only.
fn refuses_to_be_asked(head: &HttpHead) -> bool {
    head.status == 417 && head.version != HttpVersion::Http2
}

/// Where a response sends on, when that is to be followed.
fn location<'a>(args: &CurlArgs, head: &'a HttpHead) -> Option<&'a [u8]> {
    args.location.then(|| location_of(head)).flatten()
}

/// Where a response sends on.
fn location_of(head: &HttpHead) -> Option<&[u8]> {
    if !matches!(head.status, 301 | 302 | 303 | 307 | 308) {
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
    let mut text = format!("{} {} ", show::version(head.version), head.status).into_bytes();
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
    /// The answer of a server that does not want to be asked first is not the last one.
    skips_refusal: bool,
    is_nowhere: bool,
}

impl Destination {
    /// For a body of which nothing is wanted.
    const fn nowhere() -> Self {
        Self {
            file: None,
            skips: true,
            skips_refusal: false,
            is_nowhere: true,
        }
    }

    fn new(args: &CurlArgs) -> Result<Self, CommandError> {
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
        Ok(Self {
            file,
            skips: false,
            skips_refusal: false,
            is_nowhere: false,
        })
    }

    fn write(&mut self, bytes: &[u8], printer: &mut Printer) -> Result<(), CommandError> {
        if self.is_nowhere {
            return Ok(());
        }
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
