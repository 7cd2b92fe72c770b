//! What a value is taken for by its place in a text: `http://HOST:PORT/`.

use std::ops::Range;

use bstr::ByteSlice as _;

use super::UseKind;

/// How placeholders are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    /// `{}`, `{0}`, `{name}`
    Braces,
    /// `%s`, `%[1]d`, `%1$s`, `%(name)s`
    Percent,
}

/// Which of the values.
#[derive(Clone, Copy, Debug)]
pub(super) enum Which<'a> {
    /// The one at this position, counted from 0.
    At(usize),
    /// The one with this name.
    Named(&'a [u8]),
}

/// What the value is taken for in this format.
pub(super) fn placed(format: &[u8], style: Style, which: Which<'_>) -> Option<UseKind> {
    let mut next = 0;
    for (range, key) in placeholders(format, style) {
        let position = match key.to_str().ok().and_then(|key| key.parse::<usize>().ok()) {
            // `%1$s` and `%[1]s` count from 1.
            Some(number) if style == Style::Percent => number.checked_sub(1),
            Some(number) => Some(number),
            None if key.is_empty() => {
                next += 1;
                Some(next - 1)
            }
            None => None,
        };
        let is_it = match which {
            Which::At(wanted) => position == Some(wanted),
            Which::Named(name) => key == name,
        };
        if is_it {
            let before = format.get(..range.start).unwrap_or_default();
            let after = format.get(range.end..).unwrap_or_default();
            return between(before, after);
        }
    }
    None
}

/// What stands between these two is taken for.
pub(super) fn between(before: &[u8], after: &[u8]) -> Option<UseKind> {
    let ends = |byte: Option<&u8>| byte.is_none_or(|byte| b"/?\"'` \\\n".contains(byte));
    if before.ends_with(b"://") {
        // `http://user:…@host`
        return (!after.starts_with(b"@")).then_some(UseKind::Host);
    }
    if let Some(host) = before.strip_suffix(b":") {
        let is_host = host
            .last()
            .is_none_or(|byte| byte.is_ascii_alphanumeric() || b"]})$_\"'".contains(byte));
        // Behind `user:` stands a password; a second colon is no port's.
        return (is_host && ends(after.first())).then_some(UseKind::Port);
    }
    if before.ends_with(b"@") && (after.starts_with(b":") || ends(after.first())) {
        return Some(UseKind::Host);
    }
    let starts = before.is_empty() || before.ends_with(b"\"") || before.ends_with(b"'");
    if starts && let Some(rest) = after.strip_prefix(b":") {
        let number = rest
            .first()
            .is_some_and(|byte| byte.is_ascii_digit() || b"{%$#".contains(byte));
        return number.then_some(UseKind::Host);
    }
    (starts && after.starts_with(b"/") && after.len() > 1).then_some(UseKind::Url)
}

/// The placeholders with what stands in them: a number, a name or nothing.
fn placeholders(format: &[u8], style: Style) -> Vec<(Range<usize>, &[u8])> {
    let mut found = Vec::new();
    let mut at = 0;
    let sign = match style {
        Style::Braces => b'{',
        Style::Percent => b'%',
    };
    while let Some(offset) = format.get(at..).and_then(|rest| rest.find_byte(sign)) {
        let start = at + offset;
        let rest = format.get(start + 1..).unwrap_or_default();
        if rest.first() == Some(&sign) {
            at = start + 2;
            continue;
        }
        let inner = match style {
            Style::Braces => braces(rest),
            Style::Percent => percent(rest),
        };
        let Some((key, length)) = inner else { break };
        found.push((start..start + 1 + length, key));
        at = start + 1 + length;
    }
    found
}

fn braces(rest: &[u8]) -> Option<(&[u8], usize)> {
    let end = rest.find_byte(b'}')?;
    let inner = rest.get(..end)?;
    let key = inner.splitn_str(2, ":").next().unwrap_or(inner);
    Some((key.splitn_str(2, "!").next().unwrap_or(key), end + 1))
}

fn percent(rest: &[u8]) -> Option<(&[u8], usize)> {
    let end = rest.iter().position(u8::is_ascii_alphabetic);
    for (open, close) in [(b'(', b')'), (b'[', b']')] {
        if rest.first() == Some(&open) {
            let end = rest.find_byte(close)?;
            return Some((rest.get(1..end)?, end + 2));
        }
    }
    let end = end?;
    let flags = rest.get(..end)?;
    let key = flags.find_byte(b'$').and_then(|dollar| flags.get(..dollar));
    Some((key.unwrap_or_default(), end + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_in_a_text_says_what_stands_there() {
        use Style::{Braces, Percent};
        use UseKind::{Host, Port, Url};
        for (format, style, position, kind) in [
            ("http://{0}{1}:{2}", Braces, 2, Some(Port)),
            ("http://{0}{1}:{2}", Braces, 0, Some(Host)),
            ("http://{0}{1}:{2}", Braces, 1, None),
            ("http://{}:{}/x", Braces, 1, Some(Port)),
            ("{}:{}", Braces, 0, Some(Host)),
            ("{{}}{}:{}", Braces, 1, Some(Port)),
            ("%s:%d", Percent, 1, Some(Port)),
            ("%2$s:%1$d", Percent, 0, Some(Port)),
            ("100%% %s:%d", Percent, 1, Some(Port)),
            (":%s", Percent, 0, Some(Port)),
            ("pg://%s:%s@%s/db", Percent, 1, None),
            ("pg://%s:%s@%s/db", Percent, 2, Some(Host)),
            ("port: %s", Percent, 0, None),
            ("{}/api", Braces, 0, Some(Url)),
            ("{", Braces, 0, None),
            ("%", Percent, 0, None),
        ] {
            assert_eq!(
                placed(format.as_bytes(), style, Which::At(position)),
                kind,
                "{format} {position}"
            );
        }
        assert_eq!(placed(b"{h}:{p}", Braces, Which::Named(b"p")), Some(Port));
        assert_eq!(
            placed(b"%(h)s:%(p)s", Percent, Which::Named(b"p")),
            Some(Port)
        );
    }
}
