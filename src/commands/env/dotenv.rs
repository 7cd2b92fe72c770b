//! An environment as a file that a shell (`set -a; . ./file`) and dotenv libraries read alike.
//!
//! Shells and libraries agree on single quotes around a value without quotes and without backslashes that
//! could escape something, and on double quotes around one without `$`, `` ` ``, `"` and backslashes. What
//! fits neither is written for the shell, under a comment that says so. What no shell can set is a comment.

use bstr::ByteSlice as _;

use super::View;
use crate::{
    evidence::environment::{Entry, Mark},
    render::safe,
};

/// A dotenv file.
pub(super) struct File {
    /// Its bytes.
    pub(super) text: Vec<u8>,
    /// How many entries are comments, because nothing can set them. Redacted ones are not counted.
    pub(super) left_out: usize,
}

/// Names that a shell sets by itself or does not let anyone set (bash, dash, busybox).
const SHELLS_OWN: [&str; 13] = [
    "_",
    "BASHOPTS",
    "BASHPID",
    "BASH_VERSINFO",
    "EUID",
    "LINENO",
    "OPTIND",
    "PPID",
    "RANDOM",
    "SECONDS",
    "SHELLOPTS",
    "SRANDOM",
    "UID",
];

/// Writes an environment.
pub(super) fn render(view: View<'_>) -> File {
    let environment = view.environment;
    let mut file = File {
        text: Vec::new(),
        left_out: 0,
    };
    for (position, entry) in environment.entries.iter().enumerate() {
        let shown = view.shown(position, entry);
        let name = environment.name(entry);
        let reason = why_not(name, entry);
        let value = shown.bytes();
        if !shown.hidden().is_empty() || reason.is_some() {
            if reason.is_some() {
                file.left_out += 1;
            }
            let sign = if entry.name_length.is_some() { "=" } else { "" };
            let name = entry.name_length.map_or_else(String::new, |_| safe(name));
            let because = reason.unwrap_or("redacted");
            let line = format!("# {because}: {name}{sign}{}\n", safe(&value));
            file.text.extend_from_slice(line.as_bytes());
            continue;
        }
        let (quoted, anywhere) = quote(&value);
        if !anywhere {
            file.text.extend_from_slice(
                b"# for a shell; a dotenv library may read this one otherwise\n",
            );
        }
        file.text.extend_from_slice(name);
        file.text.push(b'=');
        file.text.extend_from_slice(&quoted);
        file.text.push(b'\n');
    }
    file
}

/// Why an entry cannot be set by a file.
fn why_not(name: &[u8], entry: &Entry) -> Option<&'static str> {
    let starts = |byte: &u8| byte.is_ascii_alphabetic() || *byte == b'_';
    let is_identifier = name.first().is_some_and(starts)
        && name
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
    if entry.name_length.is_none() {
        Some("no `=`")
    } else if !is_identifier {
        Some("no shell can set this name")
    } else if entry.has_lost_its_name() {
        Some("may have lost its beginning")
    } else if entry
        .marks
        .iter()
        .any(|mark| matches!(mark, Mark::Duplicate { .. }))
    {
        // `getenv` sees the first; the last line of a file would win.
        Some("duplicate, getenv does not see it")
    } else if SHELLS_OWN.iter().any(|own| own.as_bytes() == name) {
        Some("the shell sets this itself")
    } else {
        None
    }
}

/// A value in quotes, and whether libraries read it as a shell does.
fn quote(value: &[u8]) -> (Vec<u8>, bool) {
    let has = |bytes: &[u8]| value.iter().any(|byte| bytes.contains(byte));
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"_./:@%+,-".contains(byte);
    if !value.is_empty() && value.iter().all(is_plain) {
        return (value.to_vec(), true);
    }
    // Libraries expand `${`, and take some backslashes and line ends for others.
    let is_read_alike = !value.contains_str("${") && !has(b"\r");
    let quoted = |quote: u8, content: &[u8]| [&[quote], content, &[quote]].concat();
    if is_read_alike && !has(b"'") && !value.contains_str(r"\\") && !value.ends_with(b"\\") {
        return (quoted(b'\'', value), true);
    }
    if is_read_alike && !has(b"\"$`\\") {
        return (quoted(b'"', value), true);
    }
    // One string, so that a library that reads this value otherwise still finds its end.
    let mut content = Vec::with_capacity(value.len() * 2);
    for byte in value {
        if b"\"$`\\".contains(byte) {
            content.push(b'\\');
        }
        content.push(*byte);
    }
    let mut text = quoted(b'"', &content);
    if value.ends_with(b"\\") {
        // Some take `\\"` for an escaped quote and look for the next one; they find it here.
        text.extend_from_slice(b"\"\"");
    }
    (text, false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::{environment::Environment, redact::Redactor};

    fn written(block: &[u8]) -> (String, usize) {
        let file = render(View {
            environment: &Environment::parse(block),
            explained: None,
            redactor: Redactor::new(false),
        });
        (file.text.to_str_lossy().into_owned(), file.left_out)
    }

    #[test]
    fn values_are_quoted_so_that_shells_and_libraries_agree() {
        for (value, line) in [
            ("plain/1.2:3", "A=plain/1.2:3\n"),
            ("", "A=''\n"),
            ("two words", "A='two words'\n"),
            ("a#b", "A='a#b'\n"),
            ("$HOME `x` \"q\"", "A='$HOME `x` \"q\"'\n"),
            ("one\ntwo", "A='one\ntwo'\n"),
            ("it's", "A=\"it's\"\n"),
            (r"a\b", r"A='a\b'"),
        ] {
            assert_eq!(
                written(format!("A={value}\0").as_bytes()).0.trim_end(),
                line.trim_end(),
                "{value}"
            );
        }
    }

    #[test]
    fn what_only_a_shell_reads_says_so() {
        for value in ["it's $5", r"ends\", r"a\\b", "${A}", "a\rb"] {
            let (text, left_out) = written(format!("A={value}\0").as_bytes());
            assert!(text.starts_with("# for a shell"), "{text}");
            assert_eq!(left_out, 0);
        }
    }

    #[test]
    fn what_nothing_can_set_is_a_comment_on_one_line() {
        let (text, left_out) = written(b"A=1\0A=2\0plain\0x.y=a\nb\0=v\0UID=0\0TOKEN=abc\0");
        assert_eq!(
            text,
            "A=1\n# duplicate, getenv does not see it: A=2\n# no `=`: plain\n# no shell can set this name: x.y=a\\nb\n\
             # no shell can set this name: =v\n# the shell sets this itself: UID=0\n# redacted: TOKEN=[redacted: 3 bytes]\n"
        );
        assert_eq!(left_out, 5);
    }
}
