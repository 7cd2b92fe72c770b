//! From arguments to a request.

use bstr::BString;
use url::Url;

use super::{args::CurlArgs, body::Body, url as place};
use crate::{
    cli::error::CommandError,
    commands::tcp::milliseconds,
    evidence::grpc,
    protocol::message::{HttpProtocol, HttpRequest, HttpUpload, ProcessId},
};

/// From so many bytes on, and where their number is not known, the server is asked first whether it wants them, as curl does.
const EXPECT_FROM: u64 = 1024 * 1024;

/// What stays the same from one redirection to the next.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    pub(super) method: String,
    pub(super) body: Option<Body>,
    given: Vec<(String, Option<String>)>,
    authorities: Option<Vec<u8>>,
    /// Instead of that of the URL.
    path: Option<&'static str>,
    /// The server is not asked whether it wants the body: it has refused to be (417).
    goes_unasked: bool,
}

impl Plan {
    pub(super) fn new(args: &CurlArgs) -> Result<Self, CommandError> {
        if let Some(service) = &args.grpc_health {
            return Self::of_health(service, given(args)?, authorities(args)?);
        }
        let body = Body::of(&args.data.parts)?;
        let method = match (&args.request, args.head, &body) {
            (Some(method), _, _) => method.clone(),
            (None, true, _) => "HEAD".to_owned(),
            (None, false, Some(_)) => "POST".to_owned(),
            (None, false, None) => "GET".to_owned(),
        };
        if method.is_empty() || !method.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(CommandError::usage(format!("`{method}` is no method")));
        }
        Ok(Self {
            method,
            body,
            given: given(args)?,
            authorities: authorities(args)?,
            path: None,
            goes_unasked: false,
        })
    }

    /// The request for the health of a gRPC server.
    fn of_health(
        service: &str,
        mut given: Vec<(String, Option<String>)>,
        authorities: Option<Vec<u8>>,
    ) -> Result<Self, CommandError> {
        let body = grpc::health_request(service)
            .ok_or_else(|| CommandError::usage("the name of the service is too long"))?;
        for (name, value) in [("content-type", "application/grpc"), ("te", "trailers")] {
            given.push((name.to_owned(), Some(value.to_owned())));
        }
        Ok(Self {
            method: "POST".to_owned(),
            body: Some(Body::Whole(body)),
            given,
            authorities,
            path: Some(grpc::HEALTH),
            goes_unasked: false,
        })
    }

    /// The request to one URL.
    pub(super) fn request(&self, args: &CurlArgs, url: &Url, process: ProcessId) -> HttpRequest {
        let (host, port, shown) = place::authority(url);
        let (mut to_host, mut to_port) = (host.clone(), port);
        let other = args.connect_to.iter().find(|one| {
            one.host.as_ref().is_none_or(|wanted| *wanted == host)
                && one.port.is_none_or(|wanted| wanted == port)
        });
        if let Some(other) = other {
            to_host = other.to_host.clone().unwrap_or(to_host);
            to_port = other.to_port.unwrap_or(to_port);
        }
        let addresses = args
            .resolve
            .iter()
            .filter(|one| one.host == to_host && one.port == to_port)
            .flat_map(|one| one.addresses.clone())
            .collect();
        HttpRequest {
            process,
            tls: url.scheme() == "https",
            host: to_host.into(),
            port: to_port,
            addresses,
            server_name: host.into(),
            method: self.method.as_str().into(),
            path: self
                .path
                .map_or_else(|| place::path(url), str::to_owned)
                .into(),
            fields: self.fields(&shown),
            body: self.upload(),
            insecure: args.insecure,
            authorities: self.authorities.clone().map(BString::from),
            connect_limit: milliseconds(args.connect_timeout),
            idle_limit: milliseconds(args.idle_timeout),
            total_limit: args.max_time.map(milliseconds),
            protocol: protocol(args, url),
        }
    }

    /// The body, or that it follows.
    fn upload(&self) -> HttpUpload {
        match &self.body {
            None => HttpUpload::Whole(BString::default()),
            Some(Body::Whole(bytes)) => HttpUpload::Whole(bytes.clone().into()),
            Some(Body::Streamed(parts)) => HttpUpload::Input {
                expect: self.asks_first(),
                length: parts.length(),
            },
        }
    }

    /// Whether the server is asked for leave to send the body, without the user having said so.
    pub(super) fn asks_first(&self) -> bool {
        let is_long = match &self.body {
            None | Some(Body::Whole(_)) => false,
            Some(Body::Streamed(parts)) => parts.length().is_none_or(|length| length > EXPECT_FROM),
        };
        is_long && !self.goes_unasked && !self.is_given("expect")
    }

    /// Whether it could do without leave when that is refused: what can be read only once may be half gone.
    pub(super) fn may_go_unasked(&self) -> bool {
        let body = self.body.as_ref();
        self.asks_first() && body.is_some_and(|body| body.check_again("").is_ok())
    }

    /// Has the next request send its body without leave.
    pub(super) const fn go_unasked(&mut self) {
        self.goes_unasked = true;
    }

    fn is_given(&self, name: &str) -> bool {
        let mut given = self.given.iter();
        given.any(|(given, _)| given.eq_ignore_ascii_case(name))
    }

    /// Ours where the user gave none of that name, then the user's.
    fn fields(&self, host: &str) -> Vec<(BString, BString)> {
        let mut ours = vec![
            ("Host", host.to_owned()),
            (
                "User-Agent",
                concat!("kdbg/", env!("CARGO_PKG_VERSION")).to_owned(),
            ),
            ("Accept", "*/*".to_owned()),
            ("Connection", "close".to_owned()),
        ];
        if let Some(body) = &self.body {
            let form = "application/x-www-form-urlencoded".to_owned();
            ours.push(("Content-Type", form));
            match body
                .length()
                .filter(|_| !self.is_given("transfer-encoding"))
            {
                Some(length) => ours.push(("Content-Length", length.to_string())),
                None if self.is_given("content-length") => {}
                None => ours.push(("Transfer-Encoding", "chunked".to_owned())),
            }
        }
        ours.retain(|(name, _)| !self.is_given(name));
        let ours = ours
            .into_iter()
            .map(|(name, value)| (name.into(), value.into()));
        let given = self.given.iter().filter_map(|(name, value)| {
            Some((name.as_str().into(), value.as_ref()?.as_str().into()))
        });
        ours.chain(given).collect()
    }

    /// What curl makes of a request that is redirected: POST becomes GET, except where the status forbids it; credentials
    /// stay with their host.
    pub(super) fn redirect(&mut self, status: u16, same_host: bool) {
        let becomes_get = match status {
            301 | 302 => self.method == "POST",
            303 => self.method != "HEAD",
            _ => false,
        };
        if becomes_get {
            "GET".clone_into(&mut self.method);
            self.body = None;
        }
        if !same_host {
            self.given.retain(|(name, _)| {
                !["authorization", "cookie", "host"].contains(&name.to_ascii_lowercase().as_str())
            });
        }
    }
}

/// Over TLS the server chooses, as with curl.
fn protocol(args: &CurlArgs, url: &Url) -> HttpProtocol {
    let is_plain = url.scheme() == "http";
    if args.http1_1 {
        HttpProtocol::Http1
    } else if args.http2_prior_knowledge || args.grpc_health.is_some() || (args.http2 && is_plain) {
        HttpProtocol::Http2
    } else {
        HttpProtocol::Negotiated
    }
}

fn given(args: &CurlArgs) -> Result<Vec<(String, Option<String>)>, CommandError> {
    args.header.iter().map(|text| field(text)).collect()
}

fn authorities(args: &CurlArgs) -> Result<Option<Vec<u8>>, CommandError> {
    let read = |path: &std::path::PathBuf| {
        std::fs::read(path).map_err(|error| {
            CommandError::usage(format!("cannot read `{}`: {error}", path.display()))
        })
    };
    args.cacert.as_ref().map(read).transpose()
}

/// `Name: value`, `Name:` for none, `Name;` for an empty one.
fn field(text: &str) -> Result<(String, Option<String>), CommandError> {
    let bad = || {
        CommandError::usage(format!("`{}` is no field of a head", text.escape_debug()))
            .hint("write it as `Name: value`")
    };
    let (name, value) = match text.split_once(':') {
        Some((name, value)) => (name, value.trim()),
        None => (text.strip_suffix(';').ok_or_else(bad)?, ""),
    };
    let is_token = !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte));
    // A line end in a value would be another field.
    if !is_token || value.contains(['\r', '\n', '\0']) {
        return Err(bad());
    }
    let is_left_out = value.is_empty() && text.contains(':');
    Ok((name.to_owned(), (!is_left_out).then(|| value.to_owned())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_given_left_out_or_empty() {
        let parsed = |text| field(text).unwrap();
        assert_eq!(parsed("A: b:c"), ("A".to_owned(), Some("b:c".to_owned())));
        assert_eq!(parsed("Accept:"), ("Accept".to_owned(), None));
        assert_eq!(parsed("X-A;"), ("X-A".to_owned(), Some(String::new())));
        for text in ["A", "A b: c", ": x", "A: b\r\nC: d"] {
            assert!(field(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_redirected_post_becomes_get_and_credentials_stay() {
        let mut plan = Plan {
            method: "POST".to_owned(),
            body: Some(Body::Whole(b"x".to_vec())),
            given: vec![("Authorization".to_owned(), Some("b".to_owned()))],
            authorities: None,
            path: None,
            goes_unasked: false,
        };
        plan.redirect(307, true);
        assert_eq!((plan.method.as_str(), plan.given.len()), ("POST", 1));
        plan.redirect(302, false);
        assert_eq!((plan.method.as_str(), plan.given.len()), ("GET", 0));
        assert!(plan.body.is_none());
    }
}
