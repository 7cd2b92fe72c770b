//! Names with values in a text, and the arguments of a process.

use std::ops::Range;

use bstr::{BString, ByteSlice as _};

use super::{Redactor, Shown, Source, Why, name};

/// Programs whose short options carry a password: the program, the option, how it is written.
const SHORT: [(&str, &str, Short); 11] = [
    ("curl", "-u", Short::UserAndPassword),
    ("mariadb", "-p", Short::Joined),
    ("mariadb-admin", "-p", Short::Joined),
    ("mariadb-dump", "-p", Short::Joined),
    ("mysql", "-p", Short::Joined),
    ("mysqladmin", "-p", Short::Joined),
    ("mysqld", "-p", Short::Joined),
    ("mysqldump", "-p", Short::Joined),
    ("redis-cli", "-a", Short::Next),
    ("sqlcmd", "-P", Short::Next),
    ("sshpass", "-p", Short::JoinedOrNext),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Short {
    /// `-psecret`
    Joined,
    /// `-a secret`
    Next,
    /// Either.
    JoinedOrNext,
    /// `-u user:secret`
    UserAndPassword,
}

/// Every argument, with what is hidden of it.
pub(super) fn all(redactor: Redactor, arguments: &[BString]) -> Vec<Shown<'_>> {
    let program = arguments
        .first()
        .and_then(|path| path.rsplit_str("/").next())
        .unwrap_or_default();
    let mut previous: Option<&BString> = None;
    let mut shown = Vec::with_capacity(arguments.len());
    for argument in arguments {
        let hidden = previous
            .and_then(|option| value_of(redactor, program, option, argument))
            // What a shell is to run is a text with several names and values.
            .or_else(|| {
                (previous.is_some_and(|option| option == "-c")).then(|| redactor.text(argument))
            })
            .or_else(|| joined(program, argument));
        shown.push(hidden.unwrap_or_else(|| redactor.text(argument)));
        previous = Some(argument);
    }
    shown
}

/// An argument that is the value of the one before it.
fn value_of<'a>(
    redactor: Redactor,
    program: &[u8],
    option: &BString,
    argument: &'a BString,
) -> Option<Shown<'a>> {
    if argument.starts_with(b"-") && !argument.starts_with(b"-----BEGIN ") {
        return None;
    }
    if option.starts_with(b"-") && !option.contains(&b'=') && name::hides(option, argument) {
        return Some(redactor.variable(option, argument, Source::Unknown));
    }
    match short(program, option)? {
        Short::Next | Short::JoinedOrNext => Some(redactor.whole(argument, Why::Name)),
        Short::UserAndPassword => {
            let colon = argument.find_byte(b':')?;
            Some(Shown::new(
                argument,
                vec![(colon + 1..argument.len(), Why::Name)],
            ))
        }
        Short::Joined => None,
    }
}

/// `--name=value`, `NAME=value` and `-pvalue`.
fn joined<'a>(program: &[u8], argument: &'a BString) -> Option<Shown<'a>> {
    if let Some(sign) = argument.find_byte(b'=') {
        let (name, value) = (argument.get(..sign)?, argument.get(sign + 1..)?);
        let plain = name
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(byte));
        if plain && name::hides(name, value) {
            return Some(Shown::new(
                argument,
                vec![(sign + 1..argument.len(), Why::Name)],
            ));
        }
    }
    let option = argument.get(..2)?;
    match short(program, option)? {
        Short::Joined | Short::JoinedOrNext if argument.len() > 2 => {
            Some(Shown::new(argument, vec![(2..argument.len(), Why::Name)]))
        }
        _ => None,
    }
}

fn short(program: &[u8], option: &[u8]) -> Option<Short> {
    SHORT.iter().find_map(|(name, letter, short)| {
        (name.as_bytes() == program && letter.as_bytes() == option).then_some(*short)
    })
}

/// The values behind names of secrets in a text: `password=x`, `"password": "x"`, `Api-Key: x` and
/// `--password x`, as they stand in connection strings, Java options, headers and overwritten titles.
pub(super) fn named(text: &[u8]) -> Vec<(Range<usize>, Why)> {
    let mut found: Vec<(Range<usize>, Why)> = Vec::new();
    for name in names(text) {
        let bytes = |range: &Range<usize>| text.get(range.clone()).unwrap_or_default();
        let is_within = |(value, _): &(Range<usize>, Why)| name.start < value.end;
        if found.last().is_some_and(is_within) || !name::may_hide(bytes(&name)) {
            continue;
        }
        let Some(value) = value_behind(text, &name) else {
            continue;
        };
        if name::hides_within(bytes(&name), bytes(&value)) {
            found.push((value, Why::Name));
        }
    }
    found
}

fn names(text: &[u8]) -> Vec<Range<usize>> {
    let mut names = Vec::new();
    let mut start = None;
    for (position, byte) in text.iter().enumerate() {
        if byte.is_ascii_alphanumeric() || b"_.-".contains(byte) {
            start.get_or_insert(position);
        } else if let Some(start) = start.take() {
            names.push(start..position);
        }
    }
    names
}

fn value_behind(text: &[u8], name: &Range<usize>) -> Option<Range<usize>> {
    let rest = text.get(name.end..)?;
    let blanks = |bytes: &[u8]| {
        bytes
            .iter()
            .take_while(|byte| b" \t".contains(byte))
            .count()
    };
    // `"name"`, also when the quotes themselves are escaped.
    let quote = rest
        .iter()
        .take_while(|byte| b"\"'\\".contains(byte))
        .count();
    let before_sign = quote + blanks(rest.get(quote..)?);
    let sign = rest.get(before_sign).copied();
    let start = match sign {
        Some(b'=') => before_sign + 1 + blanks(rest.get(before_sign + 1..)?),
        Some(b':') => {
            let after = blanks(rest.get(before_sign + 1..)?);
            let quoted = rest
                .get(before_sign + 1)
                .is_some_and(|byte| b"\"'".contains(byte));
            // Without quotes or a blank it is a list of paths, or host and port.
            if after == 0 && quote == 0 && !quoted {
                return None;
            }
            before_sign + 1 + after
        }
        Some(first)
            if before_sign > 0
                && quote == 0
                && first != b'-'
                && text.get(name.clone())?.starts_with(b"--") =>
        {
            before_sign
        }
        _ => return None,
    };
    let value = rest.get(start..)?;
    let (skipped, length) = extent(value);
    let begin = name.end + start + skipped;
    Some(begin..begin + length)
}

/// Where a value ends: at the quote that opened it, or at a blank or a separator.
fn extent(value: &[u8]) -> (usize, usize) {
    let escapes = value.iter().take_while(|byte| **byte == b'\\').count();
    let open = value.get(escapes).copied();
    if let Some(quote @ (b'"' | b'\'')) = open {
        let start = escapes + 1;
        let body = value.get(start..).unwrap_or_default();
        let mut after_backslash = false;
        for (position, byte) in body.iter().enumerate() {
            if *byte == quote && !after_backslash {
                return (start, position);
            }
            // Within escaped quotes, an escaped one ends the value.
            after_backslash = *byte == b'\\' && !after_backslash && escapes == 0;
        }
        return (start, body.len());
    }
    let length = value
        .iter()
        .position(|byte| byte.is_ascii_whitespace() || b"&;\"'".contains(byte))
        .unwrap_or(value.len());
    (0, length)
}
