//! Paths in git's C-style quotes (`core.quotePath=true`).

use std::borrow::Cow;

/// The path as git prints it: as it is, or between double quotes with escapes when it has a control
/// character, a double quote, a backslash or a byte outside of ASCII.
///
/// ```
/// use kdbg::diff::quoted;
/// assert_eq!(quoted(b"a b"), &b"a b"[..]);
/// assert_eq!(quoted("caf\u{e9}".as_bytes()), &br#""caf\303\251""#[..]);
/// ```
#[must_use]
pub fn quoted(path: &[u8]) -> Cow<'_, [u8]> {
    if path.iter().any(|&byte| needs_escape(byte)) {
        Cow::Owned(escaped(b"", path))
    } else {
        Cow::Borrowed(path)
    }
}

/// The path behind a prefix such as `a/`, quoted as one name.
pub(super) fn quoted_behind(prefix: &[u8], path: &[u8]) -> Vec<u8> {
    if path.iter().any(|&byte| needs_escape(byte)) {
        escaped(prefix, path)
    } else {
        [prefix, path].concat()
    }
}

fn needs_escape(byte: u8) -> bool {
    !(0x20..0x7f).contains(&byte) || byte == b'"' || byte == b'\\'
}

fn escaped(prefix: &[u8], path: &[u8]) -> Vec<u8> {
    let mut quoted = vec![b'"'];
    quoted.extend_from_slice(prefix);
    for &byte in path {
        match byte {
            0x07 => quoted.extend_from_slice(b"\\a"),
            0x08 => quoted.extend_from_slice(b"\\b"),
            b'\t' => quoted.extend_from_slice(b"\\t"),
            b'\n' => quoted.extend_from_slice(b"\\n"),
            0x0b => quoted.extend_from_slice(b"\\v"),
            0x0c => quoted.extend_from_slice(b"\\f"),
            b'\r' => quoted.extend_from_slice(b"\\r"),
            b'"' | b'\\' => quoted.extend_from_slice(&[b'\\', byte]),
            byte if needs_escape(byte) => {
                quoted.extend_from_slice(format!("\\{byte:03o}").as_bytes());
            }
            byte => quoted.push(byte),
        }
    }
    quoted.push(b'"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &[u8], expected: &str) {
        assert_eq!(String::from_utf8_lossy(&quoted(path)), expected);
    }

    #[test]
    fn plain_names_and_blanks_are_not_quoted() {
        check(b"-a b/c'd$", "-a b/c'd$");
        check(b"", "");
    }

    #[test]
    fn controls_quotes_and_bytes_above_ascii_are_escaped() {
        check(b"a\tb", r#""a\tb""#);
        check(b"\x07\x08\n\x0b\x0c\r", r#""\a\b\n\v\f\r""#);
        check(b"a\"b\\c", r#""a\"b\\c""#);
        check(b"\x01\x1b\x7f\xff", r#""\001\033\177\377""#);
    }

    #[test]
    fn the_prefix_stands_inside_the_quotes() {
        assert_eq!(quoted_behind(b"a/", b"x\ty"), br#""a/x\ty""#);
        assert_eq!(quoted_behind(b"a/", b"x y"), b"a/x y");
    }
}
