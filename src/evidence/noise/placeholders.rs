//! Placeholders that a build fills in: `@VERSION@`, `%%COMMIT%%`, `__BUILD_DATE__`.
//!
//! Only names in capitals count, and only values that are no code: a changed template literal is a change.

use bstr::{BStr, BString, ByteSlice as _};

/// The longest value that is filled in.
const LONGEST: usize = 120;

/// The placeholders that the running content has filled in, when that is all that differs.
pub fn filled(reference: &[u8], running: &[u8]) -> Option<Vec<BString>> {
    let mut names: Vec<BString> = Vec::new();
    let (mut old, mut new) = (
        reference.lines_with_terminator(),
        running.lines_with_terminator(),
    );
    loop {
        match (old.next(), new.next()) {
            (None, None) => break,
            (Some(old), Some(new)) if old == new => {}
            (Some(old), Some(new)) => {
                for name in filled_line(old, new)? {
                    if !names.contains(&name) {
                        names.push(name);
                    }
                }
            }
            _ => return None,
        }
    }
    (!names.is_empty()).then_some(names)
}

fn filled_line(old: &[u8], mut new: &[u8]) -> Option<Vec<BString>> {
    let mut names = Vec::new();
    let mut rest = old;
    loop {
        let Some((start, length)) = placeholder(rest) else {
            return (new == rest && !names.is_empty()).then_some(names);
        };
        let (literal, behind) = rest.split_at(start);
        new = new.strip_prefix(literal)?;
        let (name, behind) = behind.split_at(length);
        // Up to what follows, the shortest way.
        let next = placeholder(behind).map_or(behind.len(), |(start, _)| start);
        let following = behind.get(..next)?;
        let end = if following.is_empty() {
            new.len()
        } else {
            new.find(following)?
        };
        let (value, after) = new.split_at(end);
        if !is_value(value) {
            return None;
        }
        names.push(name.into());
        rest = behind;
        new = after;
    }
}

fn is_value(value: &[u8]) -> bool {
    value.len() <= LONGEST
        && value
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._+:/ -~".contains(byte))
}

/// Where the first placeholder begins, and its length.
fn placeholder(line: &[u8]) -> Option<(usize, usize)> {
    (0..line.len()).find_map(|start| {
        let rest = line.get(start..)?;
        ["@", "%%", "__"]
            .iter()
            .find_map(|mark| length_of(rest.as_bstr(), mark.as_bytes()))
            .map(|length| (start, length))
    })
}

fn length_of(text: &BStr, mark: &[u8]) -> Option<usize> {
    let name = text.strip_prefix(mark)?;
    let end = name.find(mark)?;
    let inner = name.get(..end)?;
    let is_name = inner.first().is_some_and(u8::is_ascii_uppercase)
        && inner
            .iter()
            .all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || b"_.".contains(byte));
    (is_name && inner.len() > 2).then_some(2 * mark.len() + end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(reference: &str, running: &str) -> Option<Vec<String>> {
        let names = filled(reference.as_bytes(), running.as_bytes())?;
        Some(names.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn values_in_the_place_of_placeholders_are_the_builds() {
        assert_eq!(
            names(
                "version = \"@VERSION@\"\ncommit = '%%COMMIT%%' # __BUILD_DATE__\n",
                "version = \"1.2.3\"\ncommit = '90940f68' # 2026-01-01T10:00:00Z\n"
            ),
            Some(vec![
                "@VERSION@".to_owned(),
                "%%COMMIT%%".to_owned(),
                "__BUILD_DATE__".to_owned()
            ])
        );
    }

    #[test]
    fn anything_else_is_a_change() {
        assert_eq!(names("a = @VERSION@\nb\n", "a = 1\nc\n"), None);
        assert_eq!(names("x = `${NAME}`\n", "x = `${OTHER}`\n"), None);
        assert_eq!(names("a = @VERSION@\n", "a = run(1)\n"), None);
        assert_eq!(names("a\n", "b\n"), None);
        assert_eq!(names("a = @VERSION@\n", "a = 1\nmore\n"), None);
        assert_eq!(names("__init__ and __name__\n", "x and y\n"), None);
    }
}
