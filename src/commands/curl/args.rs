//! The arguments of `kdbg curl`, named as curl names them.

use std::{net::IpAddr, path::PathBuf, time::Duration};

use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches};

use crate::{
    cli::args::{TargetArgs, short_time},
    commands::from::FromArgs,
};

/// Arguments of `kdbg curl`.
#[derive(Args, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "curl's flags")]
pub struct CurlArgs {
    #[command(flatten)]
    pub(super) target: TargetArgs,
    /// A URL, `web:8080/path`, or the process's own listener: `:8080/healthz`, or `/healthz` when it has one port
    #[arg(value_name = "URL|PATH")]
    pub(super) url: Option<String>,
    /// The method
    #[arg(short = 'X', long, value_name = "METHOD")]
    pub(super) request: Option<String>,
    /// A field of the head, `Name: value`; `Name:` leaves one out that kdbg would send, `Name;` sends it empty
    #[arg(short = 'H', long, value_name = "FIELD")]
    pub(super) header: Vec<String>,
    #[command(flatten)]
    pub(super) data: DataArgs,
    /// Write the body to this file, which is there only once the body is whole
    #[arg(short, long, value_name = "FILE", conflicts_with = "from")]
    pub(super) output: Option<PathBuf>,
    /// Print the head too
    #[arg(short, long, conflicts_with = "from")]
    pub(super) include: bool,
    /// Ask for the head only
    #[arg(short = 'I', long)]
    pub(super) head: bool,
    /// Accept any certificate
    #[arg(short = 'k', long)]
    pub(super) insecure: bool,
    /// Follow redirections
    #[arg(short = 'L', long)]
    pub(super) location: bool,
    /// End with 1 when the status is 400 or above, and do not print the body
    #[arg(short, long)]
    pub(super) fail: bool,
    /// How long all of it may take
    #[arg(short, long, value_name = "TIME", value_parser = short_time)]
    pub(super) max_time: Option<Duration>,
    /// How long to wait for a connection to each address
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = short_time)]
    pub(super) connect_timeout: Duration,
    /// How long to wait for the next byte
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = short_time)]
    pub(super) idle_timeout: Duration,
    /// Use these addresses for a host: `HOST:PORT:ADDRESS[,ADDRESS]`
    #[arg(long, value_name = "HOST:PORT:ADDRESS", value_parser = resolve)]
    pub(super) resolve: Vec<Resolve>,
    /// Connect to another host: `HOST1:PORT1:HOST2:PORT2`; what is empty matches anything, or stays
    #[arg(long, value_name = "HOST1:PORT1:HOST2:PORT2", value_parser = connect_to)]
    pub(super) connect_to: Vec<ConnectTo>,
    /// Trust the certificates of this file, and no others
    #[arg(long, value_name = "FILE")]
    pub(super) cacert: Option<PathBuf>,
    /// Speak HTTP/1.1, also where the server would rather speak HTTP/2
    #[arg(long = "http1.1", group = "http-version")]
    pub(super) http1_1: bool,
    /// Speak HTTP/2: over TLS when the server chooses it, which is so without this flag too; without TLS at once, as a server
    /// of h2c or gRPC expects it (curl would ask for an upgrade)
    #[arg(long, group = "http-version")]
    pub(super) http2: bool,
    /// Speak HTTP/2 whatever the server chooses
    #[arg(long, group = "http-version")]
    pub(super) http2_prior_knowledge: bool,
    /// Ask a gRPC server for its health (`grpc.health.v1.Health/Check`), or for that of one of its services
    #[arg(
        long,
        value_name = "SERVICE",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "",
        conflicts_with_all = ["request", "data", "data_binary", "head", "include", "location", "output", "http1_1"]
    )]
    pub(super) grpc_health: Option<String>,
    /// Print this afterwards, with curl's variables: `%{http_code}`, `%{http_version}`, `%{time_total}`, `%{time_connect}`,
    /// `%{size_download}`, `%{remote_ip}`, `%header{NAME}` and more; those that kdbg does not know are named and left empty
    #[arg(short, long, value_name = "FORMAT", conflicts_with = "from")]
    pub(super) write_out: Option<String>,
    #[command(flatten)]
    pub(super) from: FromArgs,
    /// Print what was found as JSON instead of the body
    #[arg(long, conflicts_with_all = ["include", "write_out"])]
    pub(super) json: bool,
}

/// What is to be sent, in the order in which it was typed: clap's derive keeps that of one flag only.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct DataArgs {
    pub(super) parts: Vec<Data>,
}

/// A part of what is to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Data {
    /// Itself, or where it is: `@FILE`.
    pub(super) text: String,
    /// Byte for byte.
    pub(super) is_binary: bool,
}

impl Args for DataArgs {
    fn augment_args(command: Command) -> Command {
        let flag = |name: &'static str| {
            let arg = Arg::new(name).value_name("DATA");
            arg.action(ArgAction::Append)
        };
        command
            .arg(
                flag("data").short('d').long("data").help(
                    "Send this in a POST; `@FILE` without line ends, `@-` from standard input",
                ),
            )
            .arg(
                flag("data_binary")
                    .long("data-binary")
                    .help("The same, byte for byte"),
            )
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for DataArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut parts = Vec::new();
        for (name, is_binary) in [("data", false), ("data_binary", true)] {
            let texts = matches.get_many::<String>(name).into_iter().flatten();
            let places = matches.indices_of(name).into_iter().flatten();
            let given = texts.cloned().map(|text| Data { text, is_binary });
            parts.extend(places.zip(given));
        }
        parts.sort_by_key(|(place, _)| *place);
        let parts = parts.into_iter().map(|(_, part)| part).collect();
        Ok(Self { parts })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// Addresses that were given for a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Resolve {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) addresses: Vec<IpAddr>,
}

/// Another place that was given for a host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ConnectTo {
    pub(super) host: Option<String>,
    pub(super) port: Option<u16>,
    pub(super) to_host: Option<String>,
    pub(super) to_port: Option<u16>,
}

fn resolve(text: &str) -> Result<Resolve, String> {
    let mut parts = text.splitn(3, ':');
    let (Some(host), Some(port), Some(addresses)) = (parts.next(), parts.next(), parts.next())
    else {
        return Err("it has not the form HOST:PORT:ADDRESS".to_owned());
    };
    let address = |text: &str| {
        let bare = text.trim_start_matches('[').trim_end_matches(']');
        bare.parse().map_err(|_| format!("`{text}` is no address"))
    };
    Ok(Resolve {
        host: host.to_ascii_lowercase(),
        port: port.parse().map_err(|_| format!("`{port}` is no port"))?,
        addresses: addresses
            .split(',')
            .map(address)
            .collect::<Result<_, String>>()?,
    })
}

fn connect_to(text: &str) -> Result<ConnectTo, String> {
    let parts = outside_brackets(text);
    let [host, port, to_host, to_port] = parts.as_slice() else {
        return Err("it has not the form HOST1:PORT1:HOST2:PORT2".to_owned());
    };
    let name = |text: &str| {
        let bare = text.trim_start_matches('[').trim_end_matches(']');
        (!bare.is_empty()).then(|| bare.to_ascii_lowercase())
    };
    let number = |text: &str| {
        if text.is_empty() {
            return Ok(None);
        }
        let port = text.parse().map_err(|_| format!("`{text}` is no port"))?;
        Ok::<_, String>(Some(port))
    };
    Ok(ConnectTo {
        host: name(host),
        port: number(port)?,
        to_host: name(to_host),
        to_port: number(to_port)?,
    })
}

/// The parts between colons, but for those of an IPv6 address in brackets.
fn outside_brackets(text: &str) -> Vec<&str> {
    let mut depth = 0_u8;
    text.split(|character| {
        match character {
            '[' => depth = 1,
            ']' => depth = 0,
            _ => {}
        }
        character == ':' && depth == 0
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_both_families_are_read_as_curl_reads_them() {
        let given = resolve("Web:80:10.0.0.1,[fd00::1],fd00::2").unwrap();
        assert_eq!((given.host.as_str(), given.port), ("web", 80));
        assert_eq!(given.addresses.len(), 3);
        let other = connect_to("[fd00::1]:80:[::1]:81").unwrap();
        assert_eq!(other.host.as_deref(), Some("fd00::1"));
        assert_eq!(other.to_host.as_deref(), Some("::1"));
        assert_eq!((other.port, other.to_port), (Some(80), Some(81)));
        assert_eq!(connect_to(":::"), Ok(ConnectTo::default()));
        for text in ["a:80", "a:b:1.2.3.4", "a:80:b"] {
            assert!(resolve(text).is_err(), "{text}");
        }
        assert!(connect_to("a:1:b").is_err());
    }
}
