//! Where a request goes: a URL, and where a redirection leads from it.

use std::fmt;

use http::Uri;

use super::MALFORMED;
use crate::agent::applets::Trouble;

/// A URL, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) is_tls: bool,
    /// A name or an address, without brackets.
    pub(super) host: String,
    pub(super) port: u16,
    /// Path and query, as they go out.
    pub(super) path: String,
    /// `user:password`, when the URL has them.
    pub(super) user: Option<String>,
}

impl Place {
    /// Reads a URL; without a scheme it is `http`.
    pub(super) fn parse(text: &str) -> Result<Self, Trouble> {
        let bad = |why: &str| {
            let text = text.escape_debug();
            Trouble::said(
                MALFORMED,
                format!("({MALFORMED}) URL rejected: {why}: {text}"),
            )
        };
        let text = text.split('#').next().unwrap_or_default();
        let (scheme, rest) = text.split_once("://").unwrap_or(("http", text));
        let is_tls = match scheme.to_ascii_lowercase().as_str() {
            "http" => false,
            "https" => true,
            _ => {
                return Err(Trouble::said(
                    1,
                    format!("(1) Protocol \"{scheme}\" not supported"),
                ));
            }
        };
        // `http::Uri` wants a path behind the authority.
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at_checked(end).ok_or_else(|| bad("no host"))?;
        let slash = if path.starts_with('/') { "" } else { "/" };
        let whole = format!("http://{authority}{slash}{path}");
        let uri: Uri = whole.parse().map_err(|_| bad("it is no URL"))?;
        let host = uri
            .host()
            .filter(|host| !host.is_empty())
            .ok_or_else(|| bad("no host part"))?;
        let usual = if is_tls { 443 } else { 80 };
        let authority = uri.authority().ok_or_else(|| bad("no host part"))?;
        let user = authority
            .as_str()
            .rsplit_once('@')
            .map(|(user, _)| user.to_owned());
        // `http::Uri` takes anything behind the colon.
        let behind = authority.as_str().rsplit('@').next().unwrap_or_default();
        let port = match behind.strip_prefix(host).unwrap_or_default() {
            "" => usual,
            port => port
                .strip_prefix(':')
                .and_then(|port| port.parse().ok())
                .ok_or_else(|| bad("no port number"))?,
        };
        Ok(Self {
            is_tls,
            host: host.trim_matches(['[', ']']).to_owned(),
            port,
            path: uri
                .path_and_query()
                .map_or("/", |path| path.as_str())
                .to_owned(),
            user,
        })
    }

    /// Where a `Location` leads from here.
    pub(super) fn joined(&self, location: &str) -> Result<Self, Trouble> {
        let location = location.split('#').next().unwrap_or_default();
        if location.contains("://") {
            return Self::parse(location);
        }
        let scheme = self.scheme();
        if location.starts_with("//") {
            return Self::parse(&format!("{scheme}:{location}"));
        }
        let path = self.path.split('?').next().unwrap_or_default();
        let path = if location.starts_with('/') {
            location.to_owned()
        } else if location.starts_with('?') {
            format!("{path}{location}")
        } else {
            let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
            format!("{folder}/{location}")
        };
        let mut place = Self::parse(&format!(
            "{scheme}://{}{}",
            self.authority(),
            without_dots(&path)
        ))?;
        place.user.clone_from(&self.user);
        Ok(place)
    }

    pub(super) fn is_same_host(&self, other: &Self) -> bool {
        (self.is_tls, &self.host, self.port) == (other.is_tls, &other.host, other.port)
    }

    pub(super) const fn scheme(&self) -> &'static str {
        if self.is_tls { "https" } else { "http" }
    }

    /// What goes into the field `Host`.
    pub(super) fn authority(&self) -> String {
        let host = if self.host.contains(':') {
            format!("[{}]", self.host)
        } else {
            self.host.clone()
        };
        match (self.is_tls, self.port) {
            (false, 80) | (true, 443) => host,
            (_, port) => format!("{host}:{port}"),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{}://{}{}",
            self.scheme(),
            self.authority(),
            self.path
        )
    }
}

/// A path without `.` and `..` (RFC 3986, section 5.2.4).
fn without_dots(path: &str) -> String {
    let (path, query) = match path.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (path, None),
    };
    let mut parts: Vec<&str> = Vec::new();
    let is_folder = path.ends_with(['/']) || path.ends_with("/.") || path.ends_with("/..");
    for part in path
        .split('/')
        .filter(|part| !part.is_empty() && *part != ".")
    {
        if part == ".." {
            parts.pop();
        } else {
            parts.push(part);
        }
    }
    let mut joined = format!("/{}", parts.join("/"));
    if is_folder && !joined.ends_with('/') {
        joined.push('/');
    }
    if let Some(query) = query {
        joined.push('?');
        joined.push_str(query);
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_taken_apart_as_curl_does() {
        let shown = |text: &str| Place::parse(text).unwrap().to_string();
        assert_eq!(shown("web:81/x?y#z"), "http://web:81/x?y");
        assert_eq!(shown("https://web?y"), "https://web/?y");
        assert_eq!(shown("http://[::1]:8080"), "http://[::1]:8080/");
        let with_user = Place::parse("http://a:b@web/").unwrap();
        assert_eq!(with_user.user.as_deref(), Some("a:b"));
        assert_eq!(with_user.to_string(), "http://web/");
        for (text, code) in [
            ("", 3),
            ("http://", 3),
            ("http://a b/", 3),
            ("http://web:x/", 3),
            ("ftp://web/", 1),
        ] {
            let Err(Trouble::Said { code: said, .. }) = Place::parse(text) else {
                panic!("{text}");
            };
            assert_eq!(said, code, "{text}");
        }
    }

    #[test]
    fn a_location_leads_where_a_browser_would_go() {
        let from = Place::parse("http://web:81/a/b?c").unwrap();
        for (location, to) in [
            ("https://other/x", "https://other/x"),
            ("//other/x", "http://other/x"),
            ("/x/../y", "http://web:81/y"),
            ("x", "http://web:81/a/x"),
            ("./x/", "http://web:81/a/x/"),
            ("../../x", "http://web:81/x"),
            ("?d", "http://web:81/a/b?d"),
        ] {
            assert_eq!(from.joined(location).unwrap().to_string(), to, "{location}");
        }
    }
}
