//! curl's options, as far as the agent's own knows them.

use std::{ffi::OsString, io::Read as _, net::IpAddr, path::PathBuf, str::FromStr as _};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bstr::BString;
use lexopt::{
    Arg::{Long, Short, Value},
    ValueExt as _,
};

use super::{place::Place, seen::Seen};
use crate::{agent::applets::Trouble, protocol::message::HttpProtocol};

/// As long as curl waits for a connection, in milliseconds.
const CONNECT_LIMIT: u32 = 300_000;

/// What was asked for.
#[expect(clippy::struct_excessive_bools, reason = "each is an option of curl")]
pub(super) struct Options {
    pub(super) url: String,
    request: Option<String>,
    given: Vec<(String, Option<String>)>,
    user: Option<String>,
    pub(super) body: Option<Vec<u8>>,
    as_query: bool,
    pub(super) head: bool,
    pub(super) include: bool,
    pub(super) insecure: bool,
    pub(super) authorities: Option<Vec<u8>>,
    pub(super) follow: bool,
    pub(super) redirections: Option<u32>,
    pub(super) fail: bool,
    pub(super) silent: bool,
    pub(super) show_error: bool,
    pub(super) verbose: bool,
    pub(super) no_buffer: bool,
    pub(super) output: Option<PathBuf>,
    pub(super) write_out: Option<String>,
    connect_limit: Option<u32>,
    /// In milliseconds.
    pub(super) max_time: Option<u32>,
    pub(super) resolve: Vec<Resolve>,
    pub(super) protocol: HttpProtocol,
}

/// An address that is not to be looked up.
pub(super) struct Resolve {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) address: IpAddr,
}

impl Options {
    pub(super) fn parse(arguments: &[OsString]) -> Result<Self, Trouble> {
        let mut options = Self::none();
        let mut url = None;
        let mut parser = lexopt::Parser::from_args(arguments.iter().cloned());
        while let Some(argument) = parser.next()? {
            match argument {
                Short('X') | Long("request") => options.request = Some(parser.value()?.string()?),
                Short('H') | Long("header") => options.give(&parser.value()?.string()?)?,
                Short('A') | Long("user-agent") => {
                    let value = parser.value()?.string()?;
                    options.give(&format!("User-Agent: {value}"))?;
                }
                Short('e') | Long("referer") => {
                    let value = parser.value()?.string()?;
                    options.give(&format!("Referer: {value}"))?;
                }
                Short('b') | Long("cookie") => {
                    let value = parser.value()?.string()?;
                    if !value.contains('=') {
                        return Err(Trouble::Unknown("-b with a file".to_owned()));
                    }
                    options.give(&format!("Cookie: {value}"))?;
                }
                Short('u') | Long("user") => options.user = Some(parser.value()?.string()?),
                Short('d') | Long("data" | "data-ascii") => {
                    let mut part = data(&parser.value()?.string()?)?;
                    part.retain(|byte| !matches!(byte, b'\r' | b'\n'));
                    options.add(&part);
                }
                Long("data-binary") => {
                    let part = data(&parser.value()?.string()?)?;
                    options.add(&part);
                }
                Long("data-raw") => {
                    let part = parser.value()?.string()?;
                    options.add(part.as_bytes());
                }
                Long("json") => {
                    let part = data(&parser.value()?.string()?)?;
                    options.body.get_or_insert_default().extend(part);
                    options.give("Content-Type: application/json")?;
                    options.give("Accept: application/json")?;
                }
                Short('G') | Long("get") => options.as_query = true,
                Short('I') | Long("head") => options.head = true,
                Short('i') | Long("include" | "show-headers") => options.include = true,
                Short('k') | Long("insecure") => options.insecure = true,
                Long("cacert") => {
                    let path = PathBuf::from(parser.value()?);
                    let read = std::fs::read(&path).map_err(|error| {
                        Trouble::said(
                            77,
                            format!("(77) cannot read `{}`: {error}", path.display()),
                        )
                    })?;
                    options.authorities = Some(read);
                }
                Short('L') | Long("location") => options.follow = true,
                Long("max-redirs") => options.redirections = Some(parser.value()?.parse()?),
                Short('f') | Long("fail") => options.fail = true,
                Short('s') | Long("silent") => options.silent = true,
                Short('S') | Long("show-error") => options.show_error = true,
                Short('v') | Long("verbose") => options.verbose = true,
                Short('N') | Long("no-buffer") => options.no_buffer = true,
                Short('o') | Long("output") => {
                    let path = parser.value()?;
                    options.output = (path != "-").then(|| path.into());
                }
                Short('w') | Long("write-out") => {
                    options.write_out = Some(parser.value()?.string()?);
                }
                Short('m') | Long("max-time") => {
                    options.max_time = Some(time(&parser.value()?.string()?)?);
                }
                Long("connect-timeout") => {
                    options.connect_limit = Some(time(&parser.value()?.string()?)?);
                }
                Long("resolve") => options.resolve.push(resolve(&parser.value()?.string()?)?),
                Long("http1.1") => options.protocol = HttpProtocol::Http1,
                Long("http2") => options.protocol = HttpProtocol::Negotiated,
                Long("http2-prior-knowledge") => options.protocol = HttpProtocol::Http2,
                // As it is in any case.
                Short('g') | Long("globoff" | "no-progress-meter" | "path-as-is") => {}
                Long("url") => url = Some(parser.value()?.string()?),
                Value(word) if url.is_none() => url = Some(word.string()?),
                Value(_) => return Err(Trouble::Unknown("more than one URL".to_owned())),
                other => return Err(other.unexpected().into()),
            }
        }
        options.url = url.ok_or_else(|| Trouble::Usage("no URL specified".to_owned()))?;
        options.finish();
        Ok(options)
    }

    const fn none() -> Self {
        Self {
            url: String::new(),
            request: None,
            given: Vec::new(),
            user: None,
            body: None,
            as_query: false,
            head: false,
            include: false,
            insecure: false,
            authorities: None,
            follow: false,
            redirections: None,
            fail: false,
            silent: false,
            show_error: false,
            verbose: false,
            no_buffer: false,
            output: None,
            write_out: None,
            connect_limit: None,
            max_time: None,
            resolve: Vec::new(),
            protocol: HttpProtocol::Negotiated,
        }
    }

    /// With `-G` what was to be sent is asked for.
    fn finish(&mut self) {
        if self.as_query
            && let Some(body) = self.body.take()
        {
            let sign = if self.url.contains('?') { '&' } else { '?' };
            self.url.push(sign);
            self.url.push_str(&String::from_utf8_lossy(&body));
        }
    }

    /// `Name: value`, `Name:` for none, `Name;` for an empty one.
    fn give(&mut self, text: &str) -> Result<(), Trouble> {
        let bad = || Trouble::Usage(format!("`{}` is no header", text.escape_debug()));
        let (name, value) = match text.split_once(':') {
            Some((name, value)) => (name, Some(value.trim()).filter(|value| !value.is_empty())),
            None => (text.strip_suffix(';').ok_or_else(bad)?, Some("")),
        };
        let is_name = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic());
        // A line end in a value would be another field.
        if !is_name || value.is_some_and(|value| value.contains(['\r', '\n', '\0'])) {
            return Err(bad());
        }
        self.given.push((name.to_owned(), value.map(str::to_owned)));
        Ok(())
    }

    /// Parts of a form are joined.
    fn add(&mut self, part: &[u8]) {
        let body = self.body.get_or_insert_default();
        if !body.is_empty() {
            body.push(b'&');
        }
        body.extend_from_slice(part);
    }

    pub(super) fn method(&self) -> &str {
        match (&self.request, self.head, &self.body) {
            (Some(method), ..) => method,
            (None, true, _) => "HEAD",
            (None, false, Some(_)) => "POST",
            (None, false, None) => "GET",
        }
    }

    /// Ours where none of that name was given, then those that were.
    pub(super) fn fields(&self, place: &Place) -> Vec<(BString, BString)> {
        let mut ours = vec![("Host", place.authority())];
        if let Some(user) = self.user.as_ref().or(place.user.as_ref()) {
            ours.push(("Authorization", format!("Basic {}", STANDARD.encode(user))));
        }
        let agent = concat!("kdbg-curl/", env!("CARGO_PKG_VERSION"));
        ours.push(("User-Agent", agent.to_owned()));
        ours.push(("Accept", "*/*".to_owned()));
        if let Some(body) = &self.body {
            ours.push(("Content-Length", body.len().to_string()));
            ours.push((
                "Content-Type",
                "application/x-www-form-urlencoded".to_owned(),
            ));
        }
        ours.retain(|(name, _)| {
            !self
                .given
                .iter()
                .any(|(given, _)| given.eq_ignore_ascii_case(name))
        });
        let ours = ours
            .into_iter()
            .map(|(name, value)| (name.into(), value.into()));
        let given = self.given.iter().filter_map(|(name, value)| {
            Some((name.as_str().into(), value.as_ref()?.as_str().into()))
        });
        ours.chain(given).collect()
    }

    /// In milliseconds.
    pub(super) fn connect_limit(&self) -> u32 {
        self.connect_limit.unwrap_or(CONNECT_LIMIT)
    }

    /// What changes with a redirection: POST becomes GET where the status says so, and what lets us in stays with its
    /// host.
    pub(super) fn redirect(&mut self, status: u16, same_host: bool) {
        let is_post = self.body.is_some();
        if matches!(status, 301..=303) && is_post {
            self.body = None;
        }
        if !same_host {
            self.user = None;
            let stays = ["authorization", "cookie", "host"];
            self.given
                .retain(|(name, _)| !stays.contains(&name.to_ascii_lowercase().as_str()));
        }
    }

    /// Whether the body of the last head is to be seen.
    pub(super) fn shows_body(&self, seen: &Seen) -> bool {
        let is_refused = self.fail && seen.status() >= 400;
        let is_passed = self.follow && seen.leads_to().is_some();
        !is_refused && !is_passed
    }
}

/// `@FILE`, `@-`, or the text itself.
fn data(text: &str) -> Result<Vec<u8>, Trouble> {
    let Some(path) = text.strip_prefix('@') else {
        return Ok(text.as_bytes().to_vec());
    };
    let read = if path == "-" {
        let mut bytes = Vec::new();
        std::io::stdin().read_to_end(&mut bytes).map(|_| bytes)
    } else {
        std::fs::read(path)
    };
    read.map_err(|error| Trouble::said(26, format!("(26) cannot read `{path}`: {error}")))
}

/// Seconds, with a fraction.
fn time(text: &str) -> Result<u32, Trouble> {
    let seconds = text
        .parse()
        .ok()
        .and_then(|seconds| std::time::Duration::try_from_secs_f64(seconds).ok());
    let milliseconds = seconds.and_then(|time| u32::try_from(time.as_millis()).ok());
    match milliseconds {
        Some(milliseconds) => Ok(milliseconds),
        None => Err(Trouble::Usage(format!("`{text}` is no number of seconds"))),
    }
}

/// `HOST:PORT:ADDRESS`.
fn resolve(text: &str) -> Result<Resolve, Trouble> {
    let parts = || {
        let (host, rest) = text.split_once(':')?;
        let (port, address) = rest.split_once(':')?;
        Some(Resolve {
            host: host.to_owned(),
            port: port.parse().ok()?,
            address: IpAddr::from_str(address.trim_matches(['[', ']'])).ok()?,
        })
    };
    parts().ok_or_else(|| Trouble::said(49, format!("(49) `{text}` is not HOST:PORT:ADDRESS")))
}
