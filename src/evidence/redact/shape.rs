//! What a value looks like: keys and tokens have shapes of their own, whatever they are called.

use std::ops::Range;

use bstr::ByteSlice as _;

use super::Why;

/// Tokens that start with a word of their issuer: the word, the least number of characters behind it.
pub(super) const ISSUED: [(&str, usize); 30] = [
    ("AKIA", 16),
    ("ASIA", 16),
    ("AIza", 30),
    ("SG.", 20),
    ("dop_v1_", 20),
    ("eyJ", 20),
    ("gho_", 20),
    ("ghp_", 20),
    ("ghr_", 20),
    ("ghs_", 20),
    ("ghu_", 20),
    ("github_pat_", 20),
    ("glpat-", 16),
    ("hf_", 20),
    ("hvb.", 20),
    ("hvs.", 20),
    ("npm_", 20),
    ("pypi-", 20),
    ("rk_live_", 10),
    ("shpat_", 20),
    ("sk-", 20),
    ("sk_live_", 10),
    ("sk_test_", 10),
    ("xapp-", 10),
    ("xoxa-", 10),
    ("xoxb-", 10),
    ("xoxe-", 10),
    ("xoxp-", 10),
    ("xoxs-", 10),
    ("ya29.", 20),
];

/// No URL has a longer user and password.
const WINDOW: usize = 2048;

/// Shorter strings are too often words.
const RANDOM_LENGTH: usize = 24;

/// All that looks like a secret in a value.
pub(super) fn find(value: &[u8]) -> Vec<(Range<usize>, Why)> {
    let mut found = Vec::new();
    private_keys(value, &mut found);
    passwords_in_urls(value, &mut found);
    after_bearer(value, &mut found);
    web_hooks(value, &mut found);
    let certificates = certificates(value);
    for token in tokens(value) {
        let text = value.get(token.clone()).unwrap_or_default();
        if let Some(start) = issued(text) {
            found.push((token.start + start..token.end, Why::Issued));
        } else if is_random(text)
            && !certificates
                .iter()
                .any(|range| range.contains(&token.start))
        {
            found.push((token, Why::Random));
        }
    }
    found
}

/// From a private key's first line to its last, or to the end.
fn private_keys(value: &[u8], found: &mut Vec<(Range<usize>, Why)>) {
    for range in blocks(value, |label| label.contains_str("PRIVATE KEY")) {
        found.push((range, Why::PrivateKey));
    }
}

fn certificates(value: &[u8]) -> Vec<Range<usize>> {
    blocks(value, |label| {
        label.contains_str("CERTIFICATE") || label.contains_str("PUBLIC KEY")
    })
}

/// PEM blocks with a label, RFC 7468; newlines may be missing or escaped.
fn blocks(value: &[u8], wanted: impl Fn(&[u8]) -> bool) -> Vec<Range<usize>> {
    const BEGIN: &[u8] = b"-----BEGIN ";
    let mut blocks: Vec<Range<usize>> = Vec::new();
    for start in value.find_iter(BEGIN) {
        if blocks.last().is_some_and(|block| start < block.end) {
            continue;
        }
        let rest = value.get(start + BEGIN.len()..).unwrap_or_default();
        let label = rest
            .get(..rest.find("-----").unwrap_or(rest.len()))
            .unwrap_or_default();
        if !wanted(label) {
            continue;
        }
        let end = rest.find("-----END ").and_then(|end| {
            let tail = rest.get(end + 9..)?;
            Some(start + BEGIN.len() + end + 9 + tail.find("-----")? + 5)
        });
        blocks.push(start..end.unwrap_or(value.len()));
    }
    blocks
}

/// The password of `scheme://user:password@host`, not the user.
fn passwords_in_urls(value: &[u8], found: &mut Vec<(Range<usize>, Why)>) {
    for scheme in value.find_iter("://") {
        let start = scheme + 3;
        let rest = window(value, start);
        if rest.find_byte(b'@').is_none() {
            continue;
        }
        let word_end = rest
            .iter()
            .position(|byte| byte.is_ascii_whitespace() || b"\"'<>\0".contains(byte))
            .unwrap_or(rest.len());
        let word = rest.get(..word_end).unwrap_or_default();
        let authority_end = word.find_byteset("/?#").unwrap_or(word.len());
        let authority = word.get(..authority_end).unwrap_or_default();
        let Some(colon) = authority.find_byte(b':') else {
            continue;
        };
        let at = authority.rfind_byte(b'@').or_else(|| {
            // A password with a slash in it, which should have been escaped. Not a port and a path.
            let after = authority.get(colon + 1..).unwrap_or_default();
            let is_port = after.iter().all(u8::is_ascii_digit) || after.starts_with(b"[");
            (!is_port).then(|| word.rfind_byte(b'@')).flatten()
        });
        if let Some(at) = at.filter(|at| *at > colon + 1) {
            found.push((start + colon + 1..start + at, Why::UrlPassword));
        }
    }
}

/// `Bearer x` and `Basic x`, as in an `Authorization` header.
fn after_bearer(value: &[u8], found: &mut Vec<(Range<usize>, Why)>) {
    for word in ["Bearer ", "bearer ", "Basic "] {
        for start in value.find_iter(word) {
            let start = start + word.len();
            if found.last().is_some_and(|(last, _)| start < last.end) {
                continue;
            }
            let rest = value.get(start..).unwrap_or_default();
            let length = rest
                .iter()
                .position(|byte| byte.is_ascii_whitespace() || b"\"',;".contains(byte))
                .unwrap_or(rest.len());
            if length >= 8 {
                found.push((start..start + length, Why::Issued));
            }
        }
    }
}

/// Whoever knows the path of a web hook may post to it.
fn web_hooks(value: &[u8], found: &mut Vec<(Range<usize>, Why)>) {
    for place in ["hooks.slack.com/services/", "discord.com/api/webhooks/"] {
        for start in value.find_iter(place) {
            let start = start + place.len();
            if found.last().is_some_and(|(last, _)| start < last.end) {
                continue;
            }
            let rest = value.get(start..).unwrap_or_default();
            let length = rest
                .iter()
                .position(|byte| byte.is_ascii_whitespace() || b"\"',;".contains(byte))
                .unwrap_or(rest.len());
            if length > 0 {
                found.push((start..start + length, Why::Issued));
            }
        }
    }
}

/// What follows a place, as far as it is looked at: a hostile value must not cost a second look at all of it
/// for each of its bytes.
fn window(value: &[u8], start: usize) -> &[u8] {
    let rest = value.get(start..).unwrap_or_default();
    rest.get(..WINDOW).unwrap_or(rest)
}

/// Runs of the characters that keys are made of.
fn tokens(value: &[u8]) -> Vec<Range<usize>> {
    let mut tokens = Vec::new();
    let mut start = None;
    for (position, byte) in value.iter().enumerate() {
        if byte.is_ascii_alphanumeric() || b"+/_=-.".contains(byte) {
            start.get_or_insert(position);
        } else if let Some(start) = start.take() {
            tokens.push(start..position);
        }
    }
    tokens.extend(start.map(|start| start..value.len()));
    tokens
}

/// Where an issued token starts in a run: at its start or behind a character that no token holds.
fn issued(text: &[u8]) -> Option<usize> {
    let behind = text
        .iter()
        .enumerate()
        .filter(|(_, byte)| b"=/+.".contains(byte))
        .map(|(position, _)| position + 1);
    std::iter::once(0).chain(behind).find(|start| {
        // As much of it as tells.
        let text = text.get(*start..).unwrap_or_default();
        let text = text.get(..64).unwrap_or(text);
        ISSUED.iter().any(|(prefix, least)| {
            let Some(rest) = text.strip_prefix(prefix.as_bytes()) else {
                return false;
            };
            let length = rest
                .iter()
                .take_while(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(byte))
                .count();
            length >= *least && is_issued_by(prefix, rest)
        })
    })
}

/// `sk-` and `hf_` also start ordinary names; a key behind them has capitals or digits.
fn is_issued_by(prefix: &str, rest: &[u8]) -> bool {
    match prefix {
        "sk-" | "hf_" | "pypi-" | "npm_" => {
            rest.iter().any(u8::is_ascii_digit) && rest.iter().any(u8::is_ascii_uppercase)
                || rest.iter().filter(|byte| byte.is_ascii_digit()).count() >= 4
        }
        _ => true,
    }
}

/// Whether characters follow each other as in base64 of random bytes: capitals, small letters and digits
/// change at two places of three there, in names and paths at one of four. Commit ids, digests and UUIDs
/// have one kind of letters only and are no secrets.
fn is_random(token: &[u8]) -> bool {
    let token = after_name(token);
    if token.contains(&b'.') {
        return token.split_str(".").any(is_random);
    }
    let slashes = token.find_iter("/").count();
    if slashes * 16 > token.len() {
        // A path.
        return token
            .split_str("/")
            .any(|segment| !segment.is_empty() && is_random(segment));
    }
    let body = token.trim_end_with(|character| character == '=');
    let public = [
        &b"AAAAB3NzaC1"[..],
        b"AAAAC3NzaC1",
        b"AAAAE2VjZHNh",
        b"sha256-",
        b"sha384-",
        b"sha512-",
    ];
    if body.len() < RANDOM_LENGTH || public.iter().any(|start| body.starts_with(start)) {
        return false;
    }
    let class = |byte: u8| match byte {
        b'A'..=b'Z' => 0,
        b'a'..=b'z' => 1,
        b'0'..=b'9' => 2,
        _ => 3,
    };
    let mut counts = [0_usize; 4];
    for byte in body {
        if let Some(count) = counts.get_mut(class(*byte)) {
            *count += 1;
        }
    }
    let [capitals, small, _, other] = counts;
    let changes = body
        .iter()
        .zip(body.iter().skip(1))
        .filter(|(one, two)| class(**one) != class(**two))
        .count();
    let mut distinct = body.to_vec();
    distinct.sort_unstable();
    distinct.dedup();
    let is_hex = body.iter().all(u8::is_ascii_hexdigit);
    capitals >= 2
        && small >= 2
        && !is_hex
        && other * 8 <= body.len()
        && changes * 10 >= (body.len() - 1) * 4
        && distinct.len() >= 12
}

/// What follows `name=` in a run; the padding of base64 is no such sign.
fn after_name(token: &[u8]) -> &[u8] {
    let body = token.trim_end_with(|character| character == '=');
    match body.rfind_byte(b'=') {
        Some(sign) => token.get(sign + 1..).unwrap_or_default(),
        None => token,
    }
}
