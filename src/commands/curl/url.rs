//! Where a request goes: a URL as curl takes it, or the process's own listener.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use thiserror::Error;
use url::{Host, Url};

use crate::protocol::message::{Address, Protocol, Reading};

/// Why a text is no place to send a request to.
#[derive(Debug, Error, PartialEq, Eq)]
pub(super) enum UrlError {
    /// It cannot be read.
    #[error("`{0}` is no URL: {1}")]
    Bad(String, String),
    /// It is of another protocol.
    #[error("kdbg speaks http and https, not {0}")]
    Scheme(String),
    /// The process listens nowhere, or several times.
    #[error("the process listens on {0}: which of its ports is meant?")]
    WhichPort(String),
    /// The process listens on no TCP port.
    #[error("the process listens on no TCP port")]
    NoListener,
    /// It is not known where the process listens.
    #[error("which port is meant is not known ({0}); name it, as in `:8080/`")]
    Unknown(String),
}

/// Where a request goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) url: Url,
    /// The process does not listen on the port that was asked for.
    pub(super) is_missing: bool,
    /// It is the process's own listener.
    pub(super) is_own: bool,
}

/// Reads what was typed: `:8080/x` and `/x` are the process's own listener, and no scheme is `http`.
pub(super) fn place(text: &str, listening: &Reading<Vec<Address>>) -> Result<Place, UrlError> {
    let is_own = text.starts_with(':') || text.starts_with('/');
    if !is_own {
        let whole = if text.contains("://") {
            text.to_owned()
        } else {
            format!("http://{text}")
        };
        return Ok(Place {
            url: parse(&whole)?,
            is_missing: false,
            is_own: false,
        });
    }
    let (port, path) = match text.strip_prefix(':') {
        None => (None, text),
        Some(rest) => {
            let end = rest.find('/').unwrap_or(rest.len());
            let (port, path) = rest.split_at(end);
            let number: u16 = port
                .parse()
                .map_err(|_| UrlError::Bad(text.to_owned(), "no port".to_owned()))?;
            (Some(number), if path.is_empty() { "/" } else { path })
        }
    };
    let (address, is_missing) = own(listening, port)?;
    Ok(Place {
        url: parse(&format!("http://{address}{path}"))?,
        is_missing,
        is_own: true,
    })
}

pub(super) fn parse(text: &str) -> Result<Url, UrlError> {
    let url =
        Url::parse(text).map_err(|error| UrlError::Bad(text.to_owned(), error.to_string()))?;
    match url.scheme() {
        "http" | "https" => Ok(url),
        other => Err(UrlError::Scheme(other.to_owned())),
    }
}

/// The address of the process's own listener, and whether it is known not to listen there.
fn own(
    listening: &Reading<Vec<Address>>,
    port: Option<u16>,
) -> Result<(SocketAddr, bool), UrlError> {
    let listening = match (listening, port) {
        (Reading::Known(listening), _) => listening,
        (Reading::Unavailable(_), Some(port)) => {
            return Ok(((Ipv4Addr::LOCALHOST, port).into(), false));
        }
        (Reading::Unavailable(failure), None) => {
            return Err(UrlError::Unknown(failure.to_string()));
        }
    };
    let mut addresses: Vec<SocketAddr> = listening
        .iter()
        .filter(|one| one.protocol == Protocol::Tcp)
        .map(|one| one.address)
        .collect();
    // What listens on every address is reached over loopback; IPv4 first, as `localhost` mostly is.
    addresses.sort_by_key(|address| (!address.ip().is_unspecified(), address.is_ipv6()));
    let found = if let Some(port) = port {
        addresses.iter().find(|address| address.port() == port)
    } else {
        let mut ports: Vec<u16> = addresses.iter().map(SocketAddr::port).collect();
        ports.sort_unstable();
        ports.dedup();
        if ports.len() > 1 {
            let ports: Vec<_> = ports.iter().map(ToString::to_string).collect();
            return Err(UrlError::WhichPort(ports.join(", ")));
        }
        addresses.first()
    };
    match (found, port) {
        (Some(address), _) => Ok((reachable(*address), false)),
        (None, Some(port)) => Ok(((Ipv4Addr::LOCALHOST, port).into(), true)),
        (None, None) => Err(UrlError::NoListener),
    }
}

fn reachable(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

/// A listener of a pod as others reach it: by the pod's address.
pub(super) fn of_pod(own: &Url, address: &str) -> Option<Url> {
    let mut url = own.clone();
    url.set_ip_host(address.parse().ok()?).ok()?;
    Some(url)
}

/// The host of a URL without brackets, its port, and what goes into the field `Host`.
pub(super) fn authority(url: &Url) -> (String, u16, String) {
    let host = match url.host() {
        Some(Host::Domain(name)) => name.to_owned(),
        Some(Host::Ipv4(address)) => address.to_string(),
        Some(Host::Ipv6(address)) => address.to_string(),
        None => String::new(),
    };
    let port = url.port_or_known_default().unwrap_or(80);
    let shown = url.host_str().unwrap_or_default();
    let field = match url.port() {
        Some(port) => format!("{shown}:{port}"),
        None => shown.to_owned(),
    };
    (host, port, field)
}

/// Path and query, as they go out.
pub(super) fn path(url: &Url) -> String {
    match url.query() {
        Some(query) => format!("{}?{query}", url.path()),
        None => url.path().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::message::{Cause, Failure};

    fn listening(texts: &[&str]) -> Reading<Vec<Address>> {
        let address = |text: &&str| Address {
            protocol: Protocol::Tcp,
            address: text.parse().unwrap(),
        };
        Reading::Known(texts.iter().map(address).collect())
    }

    fn url(text: &str, listens: &[&str]) -> String {
        place(text, &listening(listens)).unwrap().url.to_string()
    }

    #[test]
    fn a_port_alone_is_the_processs_own_listener() {
        assert_eq!(
            url(":8080/healthz?full", &["0.0.0.0:8080"]),
            "http://127.0.0.1:8080/healthz?full"
        );
        assert_eq!(url(":8080", &["[::]:8080"]), "http://[::1]:8080/");
        assert_eq!(url(":8080", &["10.0.0.7:8080"]), "http://10.0.0.7:8080/");
        assert_eq!(url("/x", &["10.0.0.7:8080"]), "http://10.0.0.7:8080/x");
        let missing = place(":9/x", &listening(&["0.0.0.0:8080"])).unwrap();
        assert!(missing.is_missing);
        assert_eq!(missing.url.as_str(), "http://127.0.0.1:9/x");
        let two = listening(&["0.0.0.0:1", "0.0.0.0:2"]);
        assert_eq!(
            place("/x", &two),
            Err(UrlError::WhichPort("1, 2".to_owned()))
        );
        assert_eq!(place("/x", &listening(&[])), Err(UrlError::NoListener));
    }

    #[test]
    fn listeners_that_cannot_be_read_are_not_taken_for_none() {
        let failure = Failure::new(
            "read the descriptors of process 7",
            Cause::NoSuchProcess { pid: 7 },
        );
        let closed = Reading::Unavailable(failure.clone());
        let named = place(":8080/x", &closed).unwrap();
        assert_eq!(named.url.as_str(), "http://127.0.0.1:8080/x");
        assert!(!named.is_missing);
        assert_eq!(
            place("/x", &closed),
            Err(UrlError::Unknown(failure.to_string()))
        );
    }

    #[test]
    fn what_has_no_scheme_is_http_and_others_are_refused() {
        assert_eq!(url("web:81/x", &[]), "http://web:81/x");
        assert_eq!(url("https://web", &[]), "https://web/");
        assert!(place("ftp://web", &listening(&[])).is_err());
        let parsed = parse("http://[fd00::1]/a?b").unwrap();
        assert_eq!(
            authority(&parsed),
            ("fd00::1".to_owned(), 80, "[fd00::1]".to_owned())
        );
        assert_eq!(path(&parsed), "/a?b");
    }
}
