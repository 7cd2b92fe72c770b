//! What a request met, in words and as JSON.

use bstr::{BString, ByteSlice as _};
use serde::Serialize;
use url::Url;
use x509_parser::{certificate::X509Certificate, prelude::FromDer as _};

use super::{super::probe::Told, CurlArgs};
use crate::{
    cli::{exit::ExitStatus, printer::Printer},
    commands::probe::Report,
    evidence::{
        grpc::{self, Health},
        phases::{self, Step},
        reach,
    },
    protocol::message::{
        BodyEnd, ConnectOutcome, Connection, Ending, Http2State, HttpHead, HttpVersion, Phase,
        TlsSession, TrustStore, Trusted,
    },
    render::{JsonBytes, safe},
    target::Target,
};

/// A certificate that ends sooner is worth a warning.
const SOON: i64 = 14 * 86_400;

/// All that one request met.
#[derive(Default)]
pub(super) struct Seen {
    pub(super) told: Told,
    pub(super) tls: Option<TlsSession>,
    pub(super) heads: Vec<HttpHead>,
    pub(super) end: Option<BodyEnd>,
    /// The fields behind the body.
    pub(super) trailers: Vec<(BString, BString)>,
    /// The body, when it is shown in another form than it comes.
    pub(super) body: Vec<u8>,
    /// To where it went, in the end, and after how many redirections.
    pub(super) url: Option<Url>,
    pub(super) redirections: usize,
    /// Bytes of a long body that was to be sent, when their number is known.
    pub(super) upload: Option<u64>,
    pub(super) method: String,
}

impl Seen {
    pub(super) fn head(&self) -> Option<&HttpHead> {
        self.heads.iter().rfind(|head| !head.interim)
    }

    pub(super) fn status(&self) -> Option<u16> {
        self.head().map(|head| head.status)
    }

    pub(super) fn is_whole(&self) -> bool {
        self.head().is_some()
            && self
                .end
                .as_ref()
                .is_some_and(|end| end.ending == Ending::Done)
    }

    /// What the answer of a gRPC server says of its health, once it is whole.
    pub(super) fn health(&self) -> Option<Health> {
        let head = self.head().filter(|_| self.is_whole())?;
        let fields: Vec<_> = head.fields.iter().chain(&self.trailers).cloned().collect();
        Some(grpc::health(head.status, &fields, &self.body))
    }

    /// How long the server's settings took, over HTTP/2.
    fn settings(&self) -> Option<u64> {
        let at = self.end.as_ref()?.http2?.settings?;
        let tls = self.tls.as_ref().map(|tls| tls.at + tls.took);
        let connected = self.connection().map(|one| one.at + one.took);
        Some(at.saturating_sub(tls.or(connected)?))
    }

    pub(super) fn connection(&self) -> Option<&Connection> {
        let connected = |one: &&Connection| matches!(one.outcome, ConnectOutcome::Connected { .. });
        self.told.connections.iter().find(connected)
    }

    /// An answer, whatever its status, is 0; what stopped it decides otherwise.
    pub(super) fn exit_status(&self, args: &CurlArgs) -> ExitStatus {
        let failure = match (&self.end, &self.tls) {
            (Some(end), _) => Some(&end.ending),
            (None, Some(tls)) => tls.failure.as_ref(),
            (None, None) => return ExitStatus::Unreachable,
        };
        match failure {
            None | Some(Ending::Done) => {
                let is_error = self.status().is_some_and(|status| status >= 400);
                ExitStatus::of_comparison(args.fail && is_error, true)
            }
            Some(Ending::TimedOut { .. }) => ExitStatus::Incomplete,
            Some(Ending::Refused(_)) => ExitStatus::Unreachable,
            Some(
                Ending::Closed
                | Ending::Failed { .. }
                | Ending::Garbled(_)
                | Ending::Aborted { .. },
            ) => ExitStatus::Broken,
        }
    }

    /// What is left of a body whose length is known waits here, too.
    fn waiting(&self, end: &BodyEnd, state: Http2State) -> Http2State {
        let left = self.upload.filter(|_| !end.upload.whole);
        let left = left.map(|all| all.saturating_sub(state.body_sent));
        Http2State {
            body_waits: left.unwrap_or(state.body_waits),
            ..state
        }
    }

    /// What became of a body that the server did not want, or not all of it, where the answer came all the same.
    fn unread(&self) -> Option<String> {
        let end = self.end.as_ref()?;
        let (Ending::Done, false) = (&end.ending, end.upload.whole) else {
            return None;
        };
        let so_far = reach::uploaded(&end.upload, self.upload);
        let rest = if end.upload.stopped {
            ", and got no more"
        } else {
            ""
        };
        let sent = reach::sent(end.sent, end.acknowledged);
        Some(format!(
            "the server answered when {so_far} had been sent{rest}{sent}"
        ))
    }

    /// How far it got, when it did not get to its end.
    pub(super) fn stuck(&self) -> Option<String> {
        if let Some(error) = self.told.lookup_error() {
            return Some(format!("the name has no address: {error}"));
        }
        let Some(end) = &self.end else {
            let failure = self.tls.as_ref()?.failure.as_ref()?;
            return Some(format!("connected, {}", handshake(failure)));
        };
        if end.ending == Ending::Done {
            return None;
        }
        let mut text = String::from("connected");
        if self.tls.is_some() {
            text += ", TLS is up";
        }
        text += &reach::sent(end.sent, end.acknowledged);
        if end.http2.is_none() && !end.upload.whole {
            text += ", ";
            text += &reach::uploaded(&end.upload, self.upload);
        }
        let came = match (end.phase, end.received, end.body) {
            (Phase::Send | Phase::Head, received, _) if let Some(state) = &end.http2 => {
                reach::http2(&self.waiting(end, *state), received)
            }
            (Phase::Body, _, 0) => "the head came, and no byte of the body".to_owned(),
            (Phase::Body, _, body) => {
                format!("the head and {} of the body came", reach::bytes(body))
            }
            (_, 0, _) => "no byte".to_owned(),
            (_, received, _) => format!("{} and no whole head", reach::bytes(received)),
        };
        text += &match &end.ending {
            Ending::TimedOut {
                after,
                phase: Phase::Send,
            } if end.http2.is_none() => format!(
                ", the other side takes no more for {}: it does not read",
                reach::limit(*after)
            ),
            Ending::TimedOut { after, .. } => format!(", {came} in {}", reach::limit(*after)),
            Ending::Closed => format!(", {came}, then the other side closed"),
            Ending::Failed { errno } => format!(", {came}, then {}", reach::broken(*errno)),
            Ending::Garbled(why) | Ending::Refused(why) => format!(", then garbage: {why}"),
            Ending::Aborted { code, connection } => {
                format!(", {came}, then {}", reach::aborted(*code, *connection))
            }
            Ending::Done => String::new(),
        };
        Some(text)
    }
}

fn handshake(failure: &Ending) -> String {
    match failure {
        Ending::TimedOut { after, .. } => {
            format!(
                "the TLS handshake got no further for {}",
                reach::limit(*after)
            )
        }
        Ending::Closed => "the other side closed during the TLS handshake".to_owned(),
        Ending::Failed { errno } => {
            format!("the TLS handshake ended with {}", reach::broken(*errno))
        }
        Ending::Refused(why) | Ending::Garbled(why) => format!("the TLS handshake failed: {why}"),
        Ending::Done | Ending::Aborted { .. } => "the TLS handshake failed".to_owned(),
    }
}

/// As OpenSSL numbers it: 0 for a chain that is trusted, or that nobody looked at.
pub(super) fn verify_result(seen: &Seen) -> &'static str {
    const NO_ISSUER: &str = "20";
    match seen.tls.as_ref().map(|tls| &tls.trusted) {
        Some(Trusted::Refused(_)) => NO_ISSUER,
        _ => "0",
    }
}

/// The phases of a request, to be compared with those of another one.
pub(super) fn course(args: &CurlArgs, seen: &Seen) -> Vec<Step> {
    let mut steps: Vec<_> = seen
        .told
        .resolutions
        .last()
        .map(phases::name)
        .into_iter()
        .collect();
    steps.extend(phases::connect(&seen.told.connections));
    if let Some(tls) = &seen.tls {
        steps.push(tls_step(tls));
    }
    if let Some(head) = seen.head() {
        let took = head.at.saturating_sub(head.sent_at);
        let shown = format!("{} {}", version(head.version), head.status);
        steps.push(Step::new("answer", shown, Some(took)));
    }
    if let Some(end) = &seen.end {
        let (shown, took) = match (seen.stuck(), seen.head()) {
            (None, Some(head)) => {
                let took = end.at.saturating_sub(head.at);
                (format!("whole, {}", reach::bytes(end.body)), Some(took))
            }
            (stuck, _) => (stuck.unwrap_or_default(), None),
        };
        // Bodies differ from one request to the next; whether they come does not.
        let key = if seen.is_whole() {
            "whole".to_owned()
        } else {
            "not whole".to_owned()
        };
        steps.push(Step::new("end", shown, took).with_key(key));
    }
    if let Some(health) = seen.health().filter(|_| args.grpc_health.is_some()) {
        steps.push(Step::new("health", health.to_string(), None));
    }
    steps
}

/// The certificate counts: another one is another server, or somebody between.
fn tls_step(tls: &TlsSession) -> Step {
    let leaf = tls.chain.first();
    let certificate = leaf.and_then(|der| Certificate::read(der));
    let mut shown = match (&tls.failure, &tls.version) {
        (Some(failure), _) => handshake(failure),
        (None, version) => version.clone().unwrap_or_default(),
    };
    if let Some(certificate) = certificate {
        shown += &format!(", certificate `{}`", certificate.subject);
    }
    if matches!(tls.trusted, Trusted::Refused(_)) && tls.failure.is_none() {
        shown += ", not trusted";
    }
    let key = format!("{shown} {leaf:?}");
    Step::new("TLS", shown, Some(tls.took)).with_key(key)
}

/// What is said while it waits.
pub(super) fn waiting(at: u64, phase: Phase) -> String {
    let what = match phase {
        Phase::Lookup => "looking the name up",
        Phase::Connect => "connecting",
        Phase::Tls => "connected, shaking hands over TLS",
        Phase::Send => "connected, sending",
        Phase::Head => "connected, sent, waiting for the first byte",
        Phase::Body => "waiting for more of the body",
    };
    format!("{what}, {} so far", reach::time(at))
}

/// The phases, and what is wrong.
pub(super) fn say(seen: &Seen, printer: &Printer) {
    for connection in &seen.told.connections {
        if !matches!(connection.outcome, ConnectOutcome::Connected { .. }) {
            let line = format!("{}: {}", connection.address, reach::connection(connection));
            printer.warning(&line);
        }
    }
    if let Some(tls) = &seen.tls {
        say_tls(tls, printer);
    }
    printer.note(&in_short(seen));
    if let Some(stuck) = seen.stuck().or_else(|| seen.unread()) {
        printer.warning(&safe(stuck.as_bytes()));
    }
}

fn in_short(seen: &Seen) -> String {
    let mut parts = Vec::new();
    if let Some(resolution) = seen.told.resolutions.last() {
        let count = seen.told.queries.len();
        let took = reach::time(resolution.took);
        let plural = if count == 1 { "y" } else { "ies" };
        parts.push(format!("name {took} ({count} quer{plural})"));
    }
    if let Some(connection) = seen.connection() {
        let took = reach::time(connection.took);
        parts.push(format!("connect {took} to {}", connection.address));
    }
    if let Some(tls) = &seen.tls {
        parts.push(format!("TLS {}", reach::time(tls.took)));
    }
    if let Some(settings) = seen.settings() {
        parts.push(format!("HTTP/2 settings {}", reach::time(settings)));
    }
    if let (Some(head), Some(end)) = (seen.head(), &seen.end) {
        parts.push(format!("sent {}", reach::bytes(end.sent)));
        parts.push(format!(
            "first byte {}",
            reach::time(head.first_byte.saturating_sub(head.sent_at))
        ));
        parts.push(format!(
            "body {} ({})",
            reach::time(end.at.saturating_sub(head.at)),
            reach::bytes(end.body)
        ));
        parts.push(format!("status {}", head.status));
    }
    if parts.is_empty() {
        "nothing was reached".to_owned()
    } else {
        parts.join(", ")
    }
}

fn say_tls(tls: &TlsSession, printer: &Printer) {
    if let Trusted::By { store, refused_by } = &tls.trusted {
        for (other, why) in refused_by {
            printer.warning(&format!(
                "{} does not trust the server ({why}); {} does",
                store_name(other),
                store_name(store)
            ));
        }
    }
    if let Trusted::Refused(reasons) = &tls.trusted {
        for (store, why) in reasons {
            printer.warning(&format!(
                "{} does not trust the server: {why}",
                store_name(store)
            ));
        }
    }
    for certificate in tls.chain.iter().filter_map(|der| Certificate::read(der)) {
        let left = certificate.expires - jiff::Timestamp::now().as_second();
        let line = format!(
            "certificate `{}` of `{}` expires on {}",
            certificate.subject,
            certificate.issuer,
            certificate.expiry()
        );
        if left < SOON {
            printer.warning(&line);
        } else {
            printer.note(&line);
        }
    }
}

fn store_name(store: &TrustStore) -> String {
    match store {
        TrustStore::Given => "the given file".to_owned(),
        TrustStore::Target { path, count } => {
            format!("the target's bundle {} ({count} certificates)", safe(path))
        }
        TrustStore::Ours => "kdbg's own bundle (Mozilla's)".to_owned(),
    }
}

/// What people ask of a certificate.
struct Certificate {
    subject: String,
    issuer: String,
    /// Seconds since 1970.
    expires: i64,
    begins: i64,
}

impl Certificate {
    fn read(der: &[u8]) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        Some(Self {
            subject: safe(certificate.subject().to_string().as_bytes()),
            issuer: safe(certificate.issuer().to_string().as_bytes()),
            expires: certificate.validity().not_after.timestamp(),
            begins: certificate.validity().not_before.timestamp(),
        })
    }

    fn expiry(&self) -> String {
        moment(self.expires)
    }
}

fn moment(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds)
        .map_or_else(|_| "an unknown day".to_owned(), |time| time.to_string())
}

/// What a request met, as JSON.
#[derive(Serialize)]
pub(super) struct HttpReport<'a> {
    #[serde(flatten)]
    probe: Report<'a>,
    url: &'a str,
    tls: Option<TlsRow>,
    response: Option<ResponseRow<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    trailers: Vec<(JsonBytes<'a>, JsonBytes<'a>)>,
    end: Option<EndRow>,
    stuck: Option<String>,
    /// Where a gRPC server was asked for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    health: Option<HealthRow>,
    body: Option<JsonBytes<'a>>,
    body_cut: bool,
}

#[derive(Serialize)]
struct HealthRow {
    /// `SERVING`, `NOT_SERVING`, the status of a call that failed, or `NO_GRPC`.
    state: String,
    serving: bool,
    text: String,
}

#[derive(Serialize)]
struct TlsRow {
    at_us: u64,
    took_us: u64,
    version: Option<String>,
    cipher: Option<String>,
    protocol: Option<String>,
    trusted_by: Option<String>,
    refused_by: Vec<RefusalRow>,
    chain: Vec<CertificateRow>,
    failure: Option<String>,
}

#[derive(Serialize)]
struct RefusalRow {
    store: String,
    reason: String,
}

#[derive(Serialize)]
struct CertificateRow {
    subject: String,
    issuer: String,
    not_before: String,
    not_after: String,
}

#[derive(Serialize)]
struct ResponseRow<'a> {
    version: String,
    status: u16,
    reason: JsonBytes<'a>,
    fields: Vec<(JsonBytes<'a>, JsonBytes<'a>)>,
    sent_at_us: u64,
    first_byte_us: u64,
    head_us: u64,
}

#[derive(Serialize)]
struct EndRow {
    at_us: u64,
    sent: u64,
    acknowledged: u64,
    received: u64,
    body_bytes: u64,
    /// Of the request's own body.
    uploaded: u64,
    upload_whole: bool,
    whole: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    settings_us: Option<u64>,
}

/// Puts it together.
pub(super) fn report<'a>(args: &CurlArgs, target: &'a Target, seen: &'a Seen) -> HttpReport<'a> {
    let asks_for_health = args.grpc_health.is_some();
    let health = seen.health().filter(|_| asks_for_health);
    let length = seen.end.as_ref().map_or(0, |end| end.body);
    HttpReport {
        probe: Report::new(target, &seen.told),
        url: seen.url.as_ref().map_or("", Url::as_str),
        tls: seen.tls.as_ref().map(tls_row),
        response: seen.head().map(|head| ResponseRow {
            version: version(head.version).to_owned(),
            status: head.status,
            reason: JsonBytes(head.reason.as_bytes()),
            fields: pairs(&head.fields),
            sent_at_us: head.sent_at,
            first_byte_us: head.first_byte,
            head_us: head.at,
        }),
        trailers: pairs(&seen.trailers),
        end: seen.end.as_ref().map(|end| EndRow {
            at_us: end.at,
            sent: end.sent,
            acknowledged: end.acknowledged,
            received: end.received,
            body_bytes: end.body,
            uploaded: end.upload.bytes,
            upload_whole: end.upload.whole,
            whole: end.ending == Ending::Done,
            settings_us: end.http2.and_then(|state| state.settings),
        }),
        stuck: seen.stuck(),
        health: health.map(|health| HealthRow {
            state: health.word(),
            serving: health == Health::Serving,
            text: health.to_string(),
        }),
        body: (!seen.body.is_empty() && !asks_for_health).then(|| JsonBytes(&seen.body)),
        body_cut: !seen.body.is_empty() && (seen.body.len() as u64) < length,
    }
}

fn pairs(fields: &[(BString, BString)]) -> Vec<(JsonBytes<'_>, JsonBytes<'_>)> {
    fields
        .iter()
        .map(|(name, value)| (JsonBytes(name), JsonBytes(value)))
        .collect()
}

/// A version of HTTP as it is written.
pub(super) const fn version(version: HttpVersion) -> &'static str {
    match version {
        HttpVersion::Http10 => "HTTP/1.0",
        HttpVersion::Http11 => "HTTP/1.1",
        HttpVersion::Http2 => "HTTP/2",
    }
}

fn tls_row(tls: &TlsSession) -> TlsRow {
    let rows = |refused: &[(TrustStore, String)]| {
        let row = |(store, reason): &(TrustStore, String)| RefusalRow {
            store: store_name(store),
            reason: reason.clone(),
        };
        refused.iter().map(row).collect()
    };
    let (trusted_by, refused_by) = match &tls.trusted {
        Trusted::NotAsked => (None, Vec::new()),
        Trusted::By { store, refused_by } => (Some(store_name(store)), rows(refused_by)),
        Trusted::Refused(refused_by) => (None, rows(refused_by)),
    };
    TlsRow {
        at_us: tls.at,
        took_us: tls.took,
        version: tls.version.clone(),
        cipher: tls.cipher.clone(),
        protocol: tls.protocol.as_ref().map(|name| safe(name).clone()),
        trusted_by,
        refused_by,
        chain: tls
            .chain
            .iter()
            .filter_map(|der| Certificate::read(der))
            .map(|certificate| CertificateRow {
                not_before: moment(certificate.begins),
                not_after: certificate.expiry(),
                subject: certificate.subject,
                issuer: certificate.issuer,
            })
            .collect(),
        failure: tls.failure.as_ref().map(handshake),
    }
}
