//! What a probe of the network asks, and what it finds: a list of records in the order of events.
//!
//! Times are microseconds since the request arrived. Names of hosts are bytes as they were typed; names in
//! answers are in DNS presentation form, so that nothing in them can steer a terminal.

use std::net::{IpAddr, SocketAddr};

use bstr::BString;
use serde::{Deserialize, Serialize};

use super::{ProcessId, Reading};

/// A connection to try, and what to say over it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TcpRequest {
    /// From whose network namespace, with whose resolver files.
    pub process: ProcessId,
    /// An address or a name.
    pub host: BString,
    /// The port.
    pub port: u16,
    /// How long to wait for a connection to each address, in milliseconds.
    pub connect_limit: u32,
    /// What to send once connected.
    pub send: BString,
    /// What must come back.
    pub expect: Option<BString>,
    /// How long to wait for bytes, in milliseconds; 0 to close at once.
    pub wait: u32,
}

/// A name to look up.
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a switch of its own, as the user typed it"
)]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LookupRequest {
    /// From whose network namespace, with whose resolver files.
    pub process: ProcessId,
    /// The name.
    pub name: BString,
    /// The record types, by their numbers; none for what a program asks for that wants addresses: A and AAAA.
    pub kinds: Vec<u16>,
    /// Servers instead of those of the process.
    pub servers: Vec<SocketAddr>,
    /// Ask each server by itself.
    pub each_server: bool,
    /// Ask for the name as it is, whatever the search list says.
    pub exact: bool,
    /// Over TCP from the start.
    pub tcp: bool,
    /// With EDNS, although the process would do without.
    pub edns: bool,
    /// Rules other than those of the process's C library.
    pub libc: Option<LibcKind>,
    /// How long to wait for one answer, in milliseconds, instead of what the process would wait.
    pub timeout: Option<u32>,
}

/// A request over HTTP.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpRequest {
    /// From whose network namespace, with whose resolver files and certificates.
    pub process: ProcessId,
    /// Whether over TLS.
    pub tls: bool,
    /// To whom to connect: an address or a name.
    pub host: BString,
    /// The port.
    pub port: u16,
    /// Addresses to use instead of looking the name up.
    pub addresses: Vec<IpAddr>,
    /// The name that the server's certificate must have, and that is sent as SNI.
    pub server_name: BString,
    /// The method.
    pub method: BString,
    /// Path and query.
    pub path: BString,
    /// The fields of the head, in order.
    pub fields: Vec<(BString, BString)>,
    /// The body; the fields say its length, or that it comes in chunks.
    pub body: HttpUpload,
    /// Accept any certificate.
    pub insecure: bool,
    /// Certificates to trust instead of the others, as PEM.
    pub authorities: Option<BString>,
    /// How long to wait for a connection to each address, in milliseconds.
    pub connect_limit: u32,
    /// How long to wait for the next byte, in milliseconds.
    pub idle_limit: u32,
    /// How long all of it may take, in milliseconds.
    pub total_limit: Option<u32>,
    /// Which version to speak.
    pub protocol: HttpProtocol,
}

/// The body of a request over HTTP.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum HttpUpload {
    /// Itself, as short as a frame is.
    Whole(BString),
    /// It comes as the input of the request's stream.
    Input {
        /// Ask the server first whether it wants the body (`Expect: 100-continue`), where HTTP/1.1 is spoken.
        expect: bool,
        /// How many bytes come, when that is known.
        length: Option<u64>,
    },
}

/// Which version of HTTP to speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum HttpProtocol {
    /// HTTP/1.1.
    Http1,
    /// The one that the server chooses over TLS (ALPN); without TLS HTTP/1.1.
    Negotiated,
    /// HTTP/2, without TLS too: the server is known to speak it.
    Http2,
}

/// One thing that a probe found or did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ProbeRecord {
    /// From which network namespace it asks.
    Network(Network),
    /// How the process looks names up.
    Resolver(Box<ResolverSetup>),
    /// A line of the hosts file that has the name.
    Hosts(HostsLine),
    /// A question to a name server, and what came of it.
    Query(Box<DnsQuery>),
    /// What a program would be told.
    Resolved(Resolution),
    /// An attempt to connect.
    Connection(Box<Connection>),
    /// It still waits.
    Waiting {
        /// When.
        at: u64,
        /// For what.
        phase: Phase,
    },
    /// What was said over a plain connection.
    Exchange(Box<Exchange>),
    /// A TLS handshake.
    Tls(Box<TlsSession>),
    /// The head of a response.
    Head(Box<HttpHead>),
    /// The next bytes of the body of a response.
    Body(BString),
    /// How the exchange over HTTP ended.
    BodyEnd(Box<BodyEnd>),
    /// The fields behind the body of a response over HTTP/2.
    Trailers(Vec<(BString, BString)>),
}

/// What a probe is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// Looking a name up.
    Lookup,
    /// Connecting.
    Connect,
    /// Shaking hands over TLS.
    Tls,
    /// Sending.
    Send,
    /// Waiting for the first byte, or for the rest of the head.
    Head,
    /// Waiting for more of the body.
    Body,
}

/// Whose network namespace a probe asked from: always the process's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Network {
    /// The agent has the same one.
    Shared,
    /// The agent has another one, and went into it.
    Entered,
}

/// How a process looks names up, from its own files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResolverSetup {
    /// Its C library.
    pub libc: Libc,
    /// What is asked, in order: `files` and `dns` are; others are named and left out.
    pub sources: Vec<Source>,
    /// Whether `resolv.conf` is there; without it a library asks 127.0.0.1.
    pub has_configuration: bool,
    /// The servers it would ask, at most three.
    pub servers: Vec<SocketAddr>,
    /// Further servers, which no library asks.
    pub ignored_servers: Vec<IpAddr>,
    /// The search list.
    pub search: Vec<BString>,
    /// So many dots make a name be asked as it is first.
    pub ndots: u8,
    /// How long it waits for an answer, in seconds.
    pub timeout: u8,
    /// How often it asks.
    pub attempts: u8,
    /// Other options that matter: `rotate`, `single-request`, `use-vc`, ...
    pub options: Vec<String>,
}

/// A C library, and how it was recognised.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Libc {
    /// Which one.
    pub kind: LibcKind,
    /// By what: a path, in most cases.
    pub because: BString,
    /// Whether the process has it loaded; a static program may do its own look-ups.
    pub loaded: bool,
}

/// The libraries that look names up in ways of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum LibcKind {
    /// The GNU C library: one server after the other.
    Glibc,
    /// musl: all servers at once.
    Musl,
}

/// Where names come from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Source {
    /// The hosts file.
    Files,
    /// Name servers.
    Dns,
    /// Something else, which is not asked here.
    Other(String),
    /// The search ends here when the source before it does not know the name.
    StopIfNotFound,
}

/// A line of the hosts file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostsLine {
    /// Its number, from 1.
    pub line: u32,
    /// The address.
    pub address: IpAddr,
    /// Its names.
    pub names: Vec<BString>,
}

/// Why a name is asked in this form.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SearchRule {
    /// As it is.
    AsIs,
    /// With a suffix of the search list.
    Suffix(BString),
}

/// Over what a question goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Via {
    /// One datagram.
    Udp,
    /// A connection.
    Tcp,
}

/// A question to a name server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DnsQuery {
    /// When it was sent.
    pub at: u64,
    /// How long it took.
    pub took: u64,
    /// To whom.
    pub server: SocketAddr,
    /// Over what.
    pub via: Via,
    /// The name, whole.
    pub name: String,
    /// Why this name.
    pub rule: SearchRule,
    /// The record type.
    pub kind: u16,
    /// Which attempt, from 1.
    pub attempt: u8,
    /// What came of it.
    pub outcome: DnsOutcome,
}

/// What came of a question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DnsOutcome {
    /// An answer.
    Answered(Answered),
    /// None in time.
    TimedOut,
    /// The network said that it cannot get there.
    Unreachable {
        /// The error of the kernel.
        errno: i32,
        /// The message behind it.
        icmp: Option<Icmp>,
    },
    /// Something that is no answer.
    Garbled(String),
    /// Another server was faster, and its answer was taken.
    NotNeeded,
}

/// An answer of a name server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answered {
    /// Its response code, extended by EDNS.
    pub rcode: u16,
    /// Whether it was cut.
    pub truncated: bool,
    /// Whether the server speaks for the zone.
    pub authoritative: bool,
    /// Whether it looks further for others.
    pub recursive: bool,
    /// The size of the message in bytes.
    pub size: u32,
    /// The size of datagrams that the server takes, by EDNS.
    pub edns: Option<u16>,
    /// The records of the answer.
    pub answers: Vec<DnsRecord>,
    /// Those of the authority section.
    pub authorities: Vec<DnsRecord>,
    /// Those of the additional section, without EDNS's own.
    pub additionals: Vec<DnsRecord>,
    /// How many more there are than are passed on.
    pub left_out: u32,
    /// Datagrams that came to the same port and were no answer to the question.
    pub strays: u32,
}

/// A record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DnsRecord {
    /// Whose.
    pub name: String,
    /// How long it may be kept, in seconds.
    pub ttl: u32,
    /// Its type.
    pub kind: u16,
    /// Its address, when it is one.
    pub address: Option<IpAddr>,
    /// Its data in presentation form.
    pub data: String,
}

/// What a look-up comes to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resolution {
    /// When.
    pub at: u64,
    /// How long it took.
    pub took: u64,
    /// The addresses, in the order in which a program would try them.
    pub addresses: Vec<IpAddr>,
    /// The error that a program would get, as `EAI_NONAME`; `None` when there is an answer.
    pub error: Option<String>,
    /// The name that was answered, when it is not the one that was asked for.
    pub name: Option<String>,
}

/// An attempt to connect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connection {
    /// When it began.
    pub at: u64,
    /// How long it took.
    pub took: u64,
    /// To where.
    pub address: SocketAddr,
    /// From where.
    pub source: Option<SocketAddr>,
    /// The way that the kernel would choose.
    pub route: Reading<Route>,
    /// What came of it.
    pub outcome: ConnectOutcome,
}

/// What came of an attempt to connect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ConnectOutcome {
    /// It is connected.
    Connected {
        /// The time there and back as the kernel measured it, in microseconds.
        round_trip: Option<u32>,
        /// How often something was sent again.
        retransmits: u32,
    },
    /// It cannot be.
    Failed {
        /// The error of the kernel.
        errno: i32,
        /// The message behind it; without one, a TCP packet or the kernel itself said so.
        icmp: Option<Icmp>,
    },
    /// Nothing came back in time.
    TimedOut {
        /// How often the first packet was sent again.
        retransmits: u32,
    },
}

/// An ICMP message that ended something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Icmp {
    /// Who sent it.
    pub from: Option<IpAddr>,
    /// Whether it is `ICMPv6`.
    pub is_v6: bool,
    /// Its type.
    pub kind: u8,
    /// Its code.
    pub code: u8,
}

/// The way to an address.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Route {
    /// The interface.
    pub interface: Option<String>,
    /// The next hop; `None` when it is on the link itself.
    pub gateway: Option<IpAddr>,
    /// The source address that goes with it.
    pub source: Option<IpAddr>,
    /// The entry of the table that decided, `0.0.0.0/0` for the default route.
    pub entry: Option<String>,
    /// The error with which the kernel refuses the way: there is none, or it is a black hole.
    pub refused: Option<i32>,
}

/// What was said over a connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exchange {
    /// With whom.
    pub address: SocketAddr,
    /// Bytes that the kernel took.
    pub sent: u64,
    /// Bytes that the other side's kernel has acknowledged.
    pub acknowledged: u64,
    /// Bytes that came.
    pub received: u64,
    /// The first of them, at most 4 KiB.
    pub beginning: BString,
    /// When the first came.
    pub first_byte: Option<u64>,
    /// Whether what was expected came.
    pub found: Option<bool>,
    /// When it ended.
    pub at: u64,
    /// How it ended.
    pub ending: Ending,
}

/// How a conversation over a connection ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ending {
    /// By us, with all that was wanted.
    Done,
    /// The other side closed.
    Closed,
    /// The kernel ended it.
    Failed {
        /// Its error: `ECONNRESET` for a reset.
        errno: i32,
    },
    /// Nothing came, or could be sent, in time.
    TimedOut {
        /// For how long, in milliseconds.
        after: u32,
        /// While doing what.
        phase: Phase,
    },
    /// What came is not what the protocol allows.
    Garbled(String),
    /// The handshake failed, or the certificate was not accepted.
    Refused(String),
    /// The server ended it in words of HTTP/2.
    Aborted {
        /// Its error code (RFC 9113, section 7).
        code: u32,
        /// Whether the whole connection (`GOAWAY`), not only the request (`RST_STREAM`).
        connection: bool,
    },
}

/// What a TLS handshake came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TlsSession {
    /// When it began.
    pub at: u64,
    /// How long it took.
    pub took: u64,
    /// `TLSv1.3`; `None` when it did not come so far.
    pub version: Option<String>,
    /// The cipher suite.
    pub cipher: Option<String>,
    /// The protocol that the server chose (ALPN): `h2`, `http/1.1`.
    pub protocol: Option<BString>,
    /// The server's certificates, DER, its own first.
    pub chain: Vec<BString>,
    /// Whether and by what the chain is trusted.
    pub trusted: Trusted,
    /// How the handshake ended; `None` for well.
    pub failure: Option<Ending>,
}

/// By which certificates a chain was checked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TrustStore {
    /// Those that were given.
    Given,
    /// The bundle that the process would use.
    Target {
        /// Where it is.
        path: BString,
        /// How many certificates it has.
        count: u32,
    },
    /// Mozilla's, which the agent carries.
    Ours,
}

/// Whether a chain is trusted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Trusted {
    /// The server sent none, so far.
    NotAsked,
    /// This store accepts it; those before it do not, for these reasons.
    By {
        /// The store.
        store: TrustStore,
        /// The others.
        refused_by: Vec<(TrustStore, String)>,
    },
    /// None does.
    Refused(Vec<(TrustStore, String)>),
}

/// A version of HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum HttpVersion {
    /// HTTP/1.0
    Http10,
    /// HTTP/1.1
    Http11,
    /// HTTP/2
    Http2,
}

/// The head of a response.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpHead {
    /// When the first byte came; over HTTP/2, where a server speaks first, the first of the head.
    pub first_byte: u64,
    /// When its last came.
    pub at: u64,
    /// Bytes of the request that the kernel took, TLS included.
    pub sent: u64,
    /// When the last of them was taken.
    pub sent_at: u64,
    /// The version.
    pub version: HttpVersion,
    /// The status.
    pub status: u16,
    /// Its reason.
    pub reason: BString,
    /// The fields, in order.
    pub fields: Vec<(BString, BString)>,
    /// How the end of the body is told.
    pub body: HttpBody,
    /// Whether it is followed by the final one (1xx).
    pub interim: bool,
}

/// How the end of a body is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum HttpBody {
    /// There is none.
    None,
    /// By its length in bytes.
    Length(u64),
    /// By its last chunk.
    Chunked,
    /// By the end of the connection.
    UntilClosed,
    /// By the end of the stream (HTTP/2).
    Stream,
}

/// How an exchange over HTTP ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BodyEnd {
    /// When.
    pub at: u64,
    /// In which phase.
    pub phase: Phase,
    /// Bytes of the request that the kernel took, TLS included.
    pub sent: u64,
    /// Bytes that the other side's kernel has acknowledged of them.
    pub acknowledged: u64,
    /// Bytes of a response that came, head and TLS included.
    pub received: u64,
    /// Bytes of the body that came.
    pub body: u64,
    /// How much of the request's own body was sent.
    pub upload: Uploaded,
    /// How it ended.
    pub ending: Ending,
    /// How far HTTP/2 got, where that was spoken.
    pub http2: Option<Http2State>,
}

/// How much of the body of a request was sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Uploaded {
    /// Bytes of it that the kernel took, or for which HTTP/2 gave room; without what TLS and chunks add.
    pub bytes: u64,
    /// Whether that is all of it.
    pub whole: bool,
    /// Whether the server's answer made the rest useless: its status came first, and is none of success.
    pub stopped: bool,
}

/// How far a conversation over HTTP/2 got.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Http2State {
    /// When the server's own settings came, its first word in HTTP/2.
    pub settings: Option<u64>,
    /// Bytes of the request's body for which the server gave room.
    pub body_sent: u64,
    /// Bytes of it that wait for room (flow control).
    pub body_waits: u64,
}
