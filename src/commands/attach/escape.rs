//! The way out of a session that hangs: `~.` after a newline, as in ssh. Sees keys, and nothing else.

/// Looks for the escape among the keys that go to the target.
#[derive(Debug)]
pub(super) struct Escape {
    at_line_start: bool,
    after_tilde: bool,
}

impl Default for Escape {
    fn default() -> Self {
        Self {
            at_line_start: true,
            after_tilde: false,
        }
    }
}

impl Escape {
    /// What of these keys goes to the target; `None` once the escape was typed.
    pub(super) fn pass(&mut self, keys: &[u8]) -> Option<Vec<u8>> {
        let mut passed = Vec::with_capacity(keys.len() + 1);
        for key in keys {
            match (self.after_tilde, key) {
                (true, b'.') => return None,
                // Two of them are one.
                (true, b'~') => passed.push(b'~'),
                (true, _) => passed.extend([b'~', *key]),
                (false, b'~') if self.at_line_start => {
                    self.after_tilde = true;
                    continue;
                }
                (false, _) => passed.push(*key),
            }
            self.after_tilde = false;
            self.at_line_start = matches!(key, b'\r' | b'\n');
        }
        Some(passed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a target gets of keys that arrive in these pieces; whether the session goes on.
    fn typed(pieces: &[&str]) -> (String, bool) {
        let mut escape = Escape::default();
        let mut passed = Vec::new();
        for piece in pieces {
            match escape.pass(piece.as_bytes()) {
                Some(keys) => passed.extend(keys),
                None => return (String::from_utf8(passed).unwrap(), false),
            }
        }
        (String::from_utf8(passed).unwrap(), true)
    }

    #[test]
    fn the_escape_ends_the_session_at_the_start_of_a_line_only() {
        assert_eq!(typed(&["~."]), (String::new(), false));
        assert_eq!(typed(&["ls\r", "~", "."]), ("ls\r".to_owned(), false));
        assert!(!typed(&["ls\n~."]).1);
        assert_eq!(typed(&["ls ~."]), ("ls ~.".to_owned(), true));
        assert_eq!(typed(&["cd ~", "."]), ("cd ~.".to_owned(), true));
    }

    #[test]
    fn everything_else_arrives_as_it_was_typed() {
        for keys in ["~", "a~~b", "ls ~/x\r", "\u{e9}\r"] {
            let at_start = keys == "~";
            let expected = if at_start { "" } else { keys };
            assert_eq!(typed(&[keys]), (expected.to_owned(), true));
        }
        assert_eq!(typed(&["~a"]), ("~a".to_owned(), true));
        assert_eq!(typed(&["~", "/bin/x\r"]), ("~/bin/x\r".to_owned(), true));
        assert_eq!(typed(&["\r~~."]), ("\r~.".to_owned(), true));
        assert_eq!(typed(&["~\r", "~."]), ("~\r".to_owned(), false));
    }
}
