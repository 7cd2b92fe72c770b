//! The arguments of `kdbg curl`, named as curl names them.

use std::{net::IpAddr, path::PathBuf, time::Duration};

use clap::Args;

use crate::cli::args::{TargetArgs, short_time};

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
    /// Send this in a POST; `@FILE` without line ends, `@-` from standard input
    #[arg(short, long, value_name = "DATA")]
    pub(super) data: Vec<String>,
    /// The same, byte for byte
    #[arg(long, value_name = "DATA")]
    pub(super) data_binary: Vec<String>,
    /// Write the body to this file, which is there only once the body is whole
    #[arg(short, long, value_name = "FILE")]
    pub(super) output: Option<PathBuf>,
    /// Print the head too
    #[arg(short, long)]
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
    /// Use this address for a host: `HOST:PORT:ADDRESS`
    #[arg(long, value_name = "HOST:PORT:ADDRESS", value_parser = resolve)]
    pub(super) resolve: Vec<Resolve>,
    /// Connect to another host: `HOST1:PORT1:HOST2:PORT2`; what is empty matches anything, or stays
    #[arg(long, value_name = "HOST1:PORT1:HOST2:PORT2", value_parser = connect_to)]
    pub(super) connect_to: Vec<ConnectTo>,
    /// Trust the certificates of this file, and no others
    #[arg(long, value_name = "FILE")]
    pub(super) cacert: Option<PathBuf>,
    /// Speak HTTP/1.1, which is all that kdbg speaks
    #[arg(long = "http1.1")]
    pub(super) http1_1: bool,
    /// Print this afterwards: `%{http_code}`, `%{time_total}`, `%{time_namelookup}`, `%{time_connect}`, `%{time_appconnect}`,
    /// `%{time_starttransfer}`, `%{size_download}`, `%{remote_ip}`, `%{remote_port}`, `%{local_ip}`, `\n`, `\t`
    #[arg(short, long, value_name = "FORMAT")]
    pub(super) write_out: Option<String>,
    /// Print what was found as JSON instead of the body
    #[arg(long, conflicts_with_all = ["include", "write_out"])]
    pub(super) json: bool,
}

/// An address that was given for a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Resolve {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) address: IpAddr,
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
    let (Some(host), Some(port), Some(address)) = (parts.next(), parts.next(), parts.next()) else {
        return Err("it has not the form HOST:PORT:ADDRESS".to_owned());
    };
    let bare = address.trim_start_matches('[').trim_end_matches(']');
    Ok(Resolve {
        host: host.to_ascii_lowercase(),
        port: port.parse().map_err(|_| format!("`{port}` is no port"))?,
        address: bare
            .parse()
            .map_err(|_| format!("`{address}` is no address"))?,
    })
}

fn connect_to(text: &str) -> Result<ConnectTo, String> {
    let parts: Vec<&str> = text.split(':').collect();
    let [host, port, to_host, to_port] = parts.as_slice() else {
        return Err("it has not the form HOST1:PORT1:HOST2:PORT2".to_owned());
    };
    let name = |text: &str| (!text.is_empty()).then(|| text.to_ascii_lowercase());
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
