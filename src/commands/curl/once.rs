//! One request by its URL, for a command that only wants to know what came of it: nothing is shown and no redirection
//! is followed.

use std::time::Duration;

use ::url::Url;

use super::{
    show::Seen,
    url::{self, UrlError},
};
use crate::{
    cli::error::CommandError,
    commands::tcp::milliseconds,
    evidence::reach,
    protocol::message::{HttpProtocol, HttpRequest, HttpUpload, ProbeRecord, Reading, Request},
    render::safe,
    target::Target,
};

/// A request that can be sent from a target.
#[derive(Clone, Debug)]
pub(in crate::commands) struct Once {
    url: Url,
    /// Whether the process itself is asked.
    pub(in crate::commands) is_own: bool,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::commands) enum Answer {
    /// A whole response: its status, and in words how it came.
    Status(u16, String),
    /// Connected, and no whole response came: how far it got.
    Broken(String),
    /// No connection came about, and why.
    Unreached(String),
}

/// Whether a text can be asked for at all, before there is a target.
pub(in crate::commands) fn check(typed: &str) -> Result<(), CommandError> {
    match url::place(typed, &Reading::Known(Vec::new())) {
        // Whether the process listens is not known yet.
        Ok(_) | Err(UrlError::NoListener) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

impl Once {
    /// Reads what was typed, as `kdbg curl` does: `:8080/x` and `/x` are the process's own listener.
    pub(in crate::commands) fn new(typed: &str, target: &Target) -> Result<Self, CommandError> {
        let listening = &target.process().listening;
        let place = url::place(typed, listening)?;
        let (host, port, _) = url::authority(&place.url);
        let is_loopback = host
            .parse::<std::net::IpAddr>()
            .map_or(host == "localhost", |address| address.is_loopback());
        // Something beside the process may listen on the same loopback: a proxy.
        let listens = listening
            .known()
            .is_some_and(|all| all.iter().any(|one| one.address.port() == port));
        Ok(Self {
            is_own: typed.starts_with([':', '/']) || (is_loopback && listens),
            url: place.url,
        })
    }

    /// The URL without what may be a secret in it, harmless to show.
    pub(in crate::commands) fn shown(&self) -> String {
        let mut url = self.url.clone();
        // Only a URL without a host refuses these, and this one has one.
        let _ = url.set_username("");
        let _ = url.set_password(None);
        url.set_query(self.url.query().map(|_| "..."));
        safe(url.as_str().as_bytes())
    }

    /// Whom it asks.
    pub(in crate::commands) fn host(&self) -> String {
        url::authority(&self.url).0
    }

    /// On which port.
    pub(in crate::commands) fn port(&self) -> u16 {
        url::authority(&self.url).1
    }

    /// Sends it from where the process stands.
    pub(in crate::commands) async fn ask(
        &self,
        target: &Target,
        connect: Duration,
        total: Duration,
    ) -> Result<Answer, CommandError> {
        let request = Request::Http(Box::new(self.request(target, connect, total)));
        let mut reply = target.session.request(&request)?;
        let mut seen = Seen::default();
        while let Some(records) = reply.batch::<ProbeRecord>().await? {
            for record in records {
                match record {
                    ProbeRecord::Head(head) => seen.heads.push(*head),
                    ProbeRecord::Tls(session) => seen.tls = Some(*session),
                    ProbeRecord::BodyEnd(end) => seen.end = Some(*end),
                    ProbeRecord::Body(_) | ProbeRecord::Waiting { .. } => {}
                    other => seen.told.add(other),
                }
            }
        }
        Ok(answer(&seen))
    }

    fn request(&self, target: &Target, connect: Duration, total: Duration) -> HttpRequest {
        let (host, port, field) = url::authority(&self.url);
        let fields = [
            ("Host", field.as_str()),
            ("User-Agent", concat!("kdbg/", env!("CARGO_PKG_VERSION"))),
            ("Accept", "*/*"),
            ("Connection", "close"),
        ];
        HttpRequest {
            process: target.process().id,
            tls: self.url.scheme() == "https",
            host: host.as_str().into(),
            port,
            addresses: Vec::new(),
            server_name: host.into(),
            method: "GET".into(),
            path: url::path(&self.url).into(),
            fields: fields
                .into_iter()
                .map(|(name, value)| (name.into(), value.into()))
                .collect(),
            body: HttpUpload::Whole("".into()),
            insecure: false,
            authorities: None,
            connect_limit: milliseconds(connect),
            idle_limit: milliseconds(total),
            total_limit: Some(milliseconds(total)),
            protocol: HttpProtocol::Negotiated,
        }
    }
}

fn answer(seen: &Seen) -> Answer {
    if seen.told.connected() == 0 {
        let why = seen.told.lookup_error().map_or_else(
            || {
                let last = seen.told.connections.last();
                last.map_or_else(|| "nothing was tried".to_owned(), reach::connection)
            },
            |error| format!("the name has no address ({error})"),
        );
        return Answer::Unreached(why);
    }
    match (seen.status(), &seen.end, seen.stuck()) {
        (Some(status), Some(end), None) => {
            let reason = seen.heads.last().map_or_else(String::new, |head| {
                let reason = safe(&head.reason);
                if reason.is_empty() {
                    reason
                } else {
                    format!(" {reason}")
                }
            });
            let took = reach::time(end.at);
            let size = reach::bytes(end.body);
            Answer::Status(status, format!("{status}{reason}, {size} in {took}"))
        }
        (_, _, stuck) => {
            let why = stuck.unwrap_or_else(|| "connected, and nothing came of it".to_owned());
            Answer::Broken(safe(why.as_bytes()))
        }
    }
}
