//! What curl's `-w` prints: text with variables.

use super::{
    Seen, location_of,
    show::{self, version},
};
use crate::protocol::message::HttpHead;

/// The text, and the variables that nobody knows.
pub(super) fn write_out(format: &str, seen: &Seen) -> (Vec<u8>, Vec<String>) {
    let mut text = Vec::new();
    let mut unknown = Vec::new();
    let mut rest = format;
    while let Some(at) = rest.find(['%', '\\']) {
        let (before, special) = rest.split_at(at);
        text.extend_from_slice(before.as_bytes());
        rest = match special.strip_prefix('\\') {
            Some(escape) => escaped(escape, &mut text),
            None => variable(special, seen, &mut text, &mut unknown),
        };
    }
    text.extend_from_slice(rest.as_bytes());
    (text, unknown)
}

/// `\n` and the like; another one stays as it is.
fn escaped<'f>(after: &'f str, text: &mut Vec<u8>) -> &'f str {
    let mut rest = after.chars();
    match rest.next() {
        Some('n') => text.push(b'\n'),
        Some('r') => text.push(b'\r'),
        Some('t') => text.push(b'\t'),
        Some(other) => {
            text.push(b'\\');
            text.extend(other.encode_utf8(&mut [0; 4]).bytes());
        }
        None => text.push(b'\\'),
    }
    rest.as_str()
}

/// `%{name}`, `%header{name}`, `%%`; answers what follows.
fn variable<'f>(
    special: &'f str,
    seen: &Seen,
    text: &mut Vec<u8>,
    unknown: &mut Vec<String>,
) -> &'f str {
    if let Some(rest) = special.strip_prefix("%%") {
        text.push(b'%');
        return rest;
    }
    let braced = |prefix: &str| special.strip_prefix(prefix)?.split_once('}');
    if let Some((name, rest)) = braced("%header{") {
        let field = seen.head().and_then(|head| field(head, name));
        text.extend_from_slice(field.unwrap_or_default());
        return rest;
    }
    if let Some((name, rest)) = braced("%{") {
        match value(name, seen) {
            Some(value) => text.extend_from_slice(value.as_bytes()),
            None => unknown.push(name.to_owned()),
        }
        return rest;
    }
    text.push(b'%');
    special.get(1..).unwrap_or_default()
}

fn field<'h>(head: &'h HttpHead, name: &str) -> Option<&'h [u8]> {
    let mut fields = head.fields.iter();
    let found = fields.find(|(known, _)| known.eq_ignore_ascii_case(name.as_bytes()));
    found.map(|(_, value)| value.as_slice())
}

fn value(name: &str, seen: &Seen) -> Option<String> {
    timing(name, seen)
        .map(seconds)
        .or_else(|| of_request(name, seen))
        .or_else(|| of_response(name, seen))
}

/// A moment of the last request, in microseconds since its start; 0 where it did not come so far.
fn timing(name: &str, seen: &Seen) -> Option<u64> {
    let connection = seen.connection();
    let named = || seen.told.resolutions.last().map(|one| one.at + one.took);
    let secured = || seen.tls.as_ref().map(|tls| tls.at + tls.took);
    let connected = || connection.map(|one| one.at + one.took);
    let moment = match name {
        "time_namelookup" => named(),
        "time_connect" => connected(),
        "time_appconnect" => secured(),
        "time_pretransfer" => secured().or_else(connected),
        "time_starttransfer" => seen.head().map(|head| head.first_byte),
        "time_total" => seen.end.as_ref().map(|end| end.at),
        _ => return None,
    };
    Some(moment.unwrap_or_default())
}

fn seconds(microseconds: u64) -> String {
    format!(
        "{}.{:06}",
        microseconds / 1_000_000,
        microseconds % 1_000_000
    )
}

fn of_request(name: &str, seen: &Seen) -> Option<String> {
    let connection = seen.connection();
    let source = connection.and_then(|one| one.source);
    Some(match name {
        "url_effective" => seen
            .url
            .as_ref()
            .map_or_else(String::new, ToString::to_string),
        "scheme" => seen
            .url
            .as_ref()
            .map_or_else(String::new, |url| url.scheme().to_ascii_uppercase()),
        "method" => seen.method.clone(),
        "num_redirects" => seen.redirections.to_string(),
        "num_connects" => usize::from(connection.is_some()).to_string(),
        "size_upload" => seen
            .end
            .as_ref()
            .map_or(0, |end| end.upload.bytes)
            .to_string(),
        "remote_ip" => connection.map_or_else(String::new, |one| one.address.ip().to_string()),
        "remote_port" => connection.map_or(0, |one| one.address.port()).to_string(),
        "local_ip" => source.map_or_else(String::new, |source| source.ip().to_string()),
        "local_port" => source.map_or(0, |source| source.port()).to_string(),
        _ => return None,
    })
}

fn of_response(name: &str, seen: &Seen) -> Option<String> {
    let head = seen.head();
    Some(match name {
        "http_code" | "response_code" => format!("{:03}", seen.status().unwrap_or_default()),
        "http_version" => head
            .and_then(|head| version(head.version).strip_prefix("HTTP/"))
            .unwrap_or("0")
            .to_owned(),
        "content_type" => {
            let value = head.and_then(|head| field(head, "content-type"));
            String::from_utf8_lossy(value.unwrap_or_default()).into_owned()
        }
        "num_headers" => head.map_or(0, |head| head.fields.len()).to_string(),
        "redirect_url" => redirect_url(seen).unwrap_or_default(),
        "size_download" => seen.end.as_ref().map_or(0, |end| end.body).to_string(),
        "ssl_verify_result" => show::verify_result(seen).to_owned(),
        "errormsg" => seen.stuck().unwrap_or_default(),
        _ => return None,
    })
}

/// Where `-L` would have gone.
fn redirect_url(seen: &Seen) -> Option<String> {
    let to = location_of(seen.head()?)?;
    let url = seen.url.as_ref()?.join(&String::from_utf8_lossy(to)).ok()?;
    Some(url.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_filled_in_once_and_unknown_ones_named() {
        let seen = Seen {
            method: "%{scheme}".to_owned(),
            ..Seen::default()
        };
        let (text, unknown) = write_out("%{method} 5%% \\t%{http_code}%{nothing}%x\\q%", &seen);
        assert_eq!(String::from_utf8(text).unwrap(), "%{scheme} 5% \t000%x\\q%");
        assert_eq!(unknown, ["nothing"]);
    }
}
