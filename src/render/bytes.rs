//! Bytes of a target, as text.

use std::{borrow::Cow, fmt::Write as _};

use bstr::ByteSlice as _;
use serde::{Serialize, Serializer, ser::SerializeMap as _};

/// Shows bytes on one line: control characters and what could steer a terminal or turn the reading
/// direction are escaped, as are backslashes in front of them and bytes that are no UTF-8.
///
/// ```
/// assert_eq!(kdbg::render::safe(b"a\x1b[2Jb\n\xff"), r"a\x1b[2Jb\n\xff");
/// ```
pub fn safe(bytes: &[u8]) -> String {
    escape(bytes, false)
}

/// Like [`safe`] for text that may have several lines: newlines and tabs stay.
pub fn safe_lines(text: &str) -> String {
    escape(text.as_bytes(), true)
}

fn escape(bytes: &[u8], keep_lines: bool) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '\n' | '\t' if keep_lines => text.push(character),
                '\n' => text.push_str("\\n"),
                '\r' => text.push_str("\\r"),
                '\t' => text.push_str("\\t"),
                '\0'..='\x1f' | '\x7f' => push_hex(&mut text, character as u32),
                _ if is_steering(character) => {
                    let _ = write!(text, "\\u{{{:x}}}", character as u32);
                }
                _ => text.push(character),
            }
        }
        for byte in chunk.invalid() {
            push_hex(&mut text, u32::from(*byte));
        }
    }
    text
}

fn push_hex(text: &mut String, value: u32) {
    let _ = write!(text, "\\x{value:02x}");
}

/// C1 controls, and the characters that turn or hide text (Trojan Source, CVE-2021-42574).
fn is_steering(character: char) -> bool {
    matches!(character,
        '\u{80}'..='\u{9f}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// Bytes in JSON: a string when they are UTF-8, else `{"base64": "..."}`, so that nothing is lost.
pub struct JsonBytes<'a>(pub &'a [u8]);

impl Serialize for JsonBytes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if let Ok(text) = self.0.to_str() {
            return serializer.serialize_str(text);
        }
        let mut map = serializer.serialize_map(Some(1))?;
        map.serialize_entry("base64", &base64(self.0))?;
        map.end()
    }
}

/// Like [`JsonBytes`], for bytes that may have been made here.
pub struct JsonCow<'a>(pub Cow<'a, [u8]>);

impl Serialize for JsonCow<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        JsonBytes(&self.0).serialize(serializer)
    }
}

/// Base64 with padding, RFC 4648.
fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn terminal_escapes_are_shown_and_not_sent() {
        for (bytes, text) in [
            (&b"\x1b]0;pwn\x07"[..], r"\x1b]0;pwn\x07"),
            (b"\x1b[2J", r"\x1b[2J"),
            ("\u{9b}31m".as_bytes(), r"\u{9b}31m"),
            (b"\x9b31m", r"\x9b31m"),
            ("a\u{202e}b".as_bytes(), r"a\u{202e}b"),
            (b"one\rtwo", r"one\rtwo"),
            ("größe".as_bytes(), "größe"),
        ] {
            assert_eq!(safe(bytes), text);
        }
    }

    #[test]
    fn bytes_that_are_no_text_stay_whole_in_json() {
        assert_eq!(
            serde_json::to_string(&JsonBytes(b"plain")).unwrap(),
            r#""plain""#
        );
        assert_eq!(
            serde_json::to_string(&JsonBytes(b"\xff\x00")).unwrap(),
            r#"{"base64":"/wA="}"#
        );
    }

    proptest! {
        #[test]
        fn nothing_that_steers_a_terminal_ever_gets_through(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(safe(&bytes).chars().all(|character| !character.is_control() && !is_steering(character)));
        }
    }
}
