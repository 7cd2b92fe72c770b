//! `curl`: HTTP from where the target stands, with its resolver files and its certificates.

mod options;
mod place;
mod seen;

use std::{
    ffi::OsString,
    fs::File,
    io::{self, Write},
};

use bstr::ByteSlice as _;

use self::{options::Options, place::Place, seen::Seen};
use super::{Trouble, ask};
use crate::protocol::message::{
    HttpHead, HttpRequest, HttpUpload, HttpVersion, ProbeRecord, ProcessId, Request,
};

/// curl's own limit.
const REDIRECTIONS: u32 = 50;
/// Codes that have no phase of their own.
const MALFORMED: u8 = 3;
const REFUSED: u8 = 22;
const WRITE: u8 = 23;
const TOO_MANY: u8 = 47;

/// Sends the request, follows where it leads if that is wanted, and prints what comes.
pub(super) fn run(arguments: &[OsString], out: &mut dyn Write) -> Result<u8, Trouble> {
    let mut options = Options::parse(arguments)?;
    let place = Place::parse(&options.url)?;
    let process = ask::target()?;
    let mut file = match options.output.as_deref() {
        None => None,
        Some(path) => Some(io::BufWriter::new(File::create(path).map_err(|error| {
            Trouble::said(
                WRITE,
                format!("({WRITE}) cannot write `{}`: {error}", path.display()),
            )
        })?)),
    };
    let mut transfer = Transfer {
        process,
        options: &mut options,
        place,
        redirections: 0,
    };
    let (seen, ended) = match &mut file {
        Some(file) => transfer.run(file)?,
        None => transfer.run(out)?,
    };
    if let Some(file) = &mut file {
        file.flush()?;
    }
    let (redirections, place) = (transfer.redirections, transfer.place);
    if let Some(format) = &options.write_out {
        let code = ended.as_ref().err().map_or(0, |(code, _)| *code);
        out.write_all(&seen::write_out(format, &seen, &place, redirections, code))?;
    }
    match ended {
        Ok(()) => Ok(0),
        Err((code, message)) => {
            let is_silent = options.silent && !options.show_error;
            let message = if is_silent {
                String::new()
            } else {
                format!("({code}) {message}")
            };
            Err(Trouble::said(code, message))
        }
    }
}

/// Whether it went well: curl's code and its words.
type Ended = Result<(), (u8, String)>;

struct Transfer<'a> {
    process: ProcessId,
    options: &'a mut Options,
    place: Place,
    redirections: u32,
}

impl Transfer<'_> {
    fn run(&mut self, out: &mut dyn Write) -> Result<(Seen, Ended), Trouble> {
        loop {
            let seen = self.ask(out)?;
            if let Err(error) = seen.ended(&self.place) {
                return Ok((seen, Err(error)));
            }
            let next = if self.options.follow {
                seen.leads_to()
            } else {
                None
            };
            let Some(location) = next else {
                let status = seen.status();
                let is_refused = self.options.fail && status >= 400;
                let why = || {
                    (
                        REFUSED,
                        format!("The requested URL returned error: {status}"),
                    )
                };
                return Ok((seen, if is_refused { Err(why()) } else { Ok(()) }));
            };
            self.redirections += 1;
            if self.redirections > self.options.redirections.unwrap_or(REDIRECTIONS) {
                let limit = self.redirections - 1;
                let why = (TOO_MANY, format!("Maximum ({limit}) redirects followed"));
                return Ok((seen, Err(why)));
            }
            let Ok(place) = self.place.joined(&location) else {
                let why = format!("URL rejected: {}", location.escape_debug());
                return Ok((seen, Err((MALFORMED, why))));
            };
            self.options
                .redirect(seen.status(), place.is_same_host(&self.place));
            self.place = place;
        }
    }

    /// One request and its response.
    fn ask(&mut self, out: &mut dyn Write) -> Result<Seen, Trouble> {
        let request = self.request();
        let mut seen = Seen::default();
        let mut errors = io::stderr();
        let options = &*self.options;
        if options.verbose {
            seen.request = spoken(&request);
        }
        ask::rows(&Request::Http(Box::new(request)), |record| {
            if options.verbose {
                seen::narrate(&record, &seen, &mut errors)?;
            }
            match record {
                ProbeRecord::Head(head) => {
                    if options.include || options.head {
                        out.write_all(&written(&head))?;
                    }
                    seen.heads.push(*head);
                }
                ProbeRecord::Body(bytes) => {
                    if options.shows_body(&seen) {
                        out.write_all(&bytes)?;
                        // A server that sends a line an hour is watched.
                        if options.no_buffer {
                            out.flush()?;
                        }
                    }
                }
                other => seen.add(other),
            }
            Ok(())
        })?;
        Ok(seen)
    }

    fn request(&self) -> HttpRequest {
        let (options, place) = (&*self.options, &self.place);
        let addresses = options
            .resolve
            .iter()
            .filter(|one| one.host == place.host && one.port == place.port)
            .map(|one| one.address)
            .collect();
        HttpRequest {
            process: self.process,
            tls: place.is_tls,
            host: place.host.as_str().into(),
            port: place.port,
            addresses,
            server_name: place.host.as_str().into(),
            method: options.method().into(),
            path: place.path.as_str().into(),
            fields: options.fields(place),
            body: HttpUpload::Whole(options.body.clone().unwrap_or_default().into()),
            insecure: options.insecure,
            authorities: options.authorities.clone().map(Into::into),
            connect_limit: options.connect_limit(),
            // Until `-m`: curl waits as long as it takes.
            idle_limit: u32::MAX,
            total_limit: options.max_time,
            protocol: options.protocol,
        }
    }
}

/// The request's head, for `-v`.
fn spoken(request: &HttpRequest) -> String {
    let mut text = format!("> {} {} HTTP/1.1\n", request.method, request.path);
    for (name, value) in &request.fields {
        text.push_str(&format!("> {name}: {value}\n"));
    }
    text.push_str(">\n");
    text
}

/// A head as it came.
fn written(head: &HttpHead) -> Vec<u8> {
    let mut bytes = status_line(head);
    bytes.extend_from_slice(b"\r\n");
    for (name, value) in &head.fields {
        bytes.extend([name.as_bytes(), b": ", value.as_bytes(), b"\r\n"].concat());
    }
    bytes.extend_from_slice(b"\r\n");
    bytes
}

fn status_line(head: &HttpHead) -> Vec<u8> {
    let version = match head.version {
        HttpVersion::Http10 => "1.0",
        HttpVersion::Http11 => "1.1",
        HttpVersion::Http2 => "2",
    };
    let line = format!("HTTP/{version} {} ", head.status);
    [line.as_bytes(), head.reason.as_bytes()].concat()
}
