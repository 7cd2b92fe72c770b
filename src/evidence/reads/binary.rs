//! Hints of which variables a program without sources may read.
//!
//! A program that was compiled has names of variables among its other texts, and nothing that says what they are for:
//! what is found here is a hint, never a fact. So only names that are asked for are looked for, and only in programs
//! that have a function for reading variables at all.

use std::ops::Range;

use bstr::{BString, ByteSlice as _};

/// A name that occurs in a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hint {
    /// The name.
    pub name: BString,
    /// Where it first stands in the file.
    pub offset: usize,
}

/// What tells that a program reads variables: C's functions, Go's, Rust's, Java's.
const READERS: [&[u8]; 5] = [
    b"getenv",
    b"os.Getenv",
    b"syscall.Getenv",
    b"environ",
    b"LookupEnv",
];
/// Shorter names occur in any file.
const SHORTEST: usize = 4;

/// Those of the names that stand in a program as words of their own.
#[must_use]
pub fn hints(program: &[u8], names: &[&[u8]]) -> Vec<Hint> {
    if !READERS.iter().any(|reader| program.contains_str(reader)) {
        return Vec::new();
    }
    names
        .iter()
        .filter(|name| name.len() >= SHORTEST)
        .filter_map(|name| {
            let offset = program
                .find_iter(name)
                .find(|at| is_word(program, *at..*at + name.len()))?;
            Some(Hint {
                name: (*name).into(),
                offset,
            })
        })
        .collect()
}

/// Go and Rust put texts behind each other without an end, so small letters may follow.
fn is_word(program: &[u8], range: Range<usize>) -> bool {
    let belongs = |at: Option<usize>| {
        at.and_then(|at| program.get(at))
            .is_some_and(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || *byte == b'_')
    };
    !belongs(range.start.checked_sub(1)) && !belongs(Some(range.end))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_hints_only_where_something_reads_variables() {
        let program = b"\x7fELF\0getenv\0XREVIEWS_PORT\0REVIEWS_PORT_9\0REVIEWS_PORT\0HOME\0";
        let names: [&[u8]; 3] = [b"REVIEWS_PORT", b"HOME", b"ABSENT"];
        let found = hints(program, &names);
        assert_eq!(
            found
                .iter()
                .map(|hint| hint.name.to_string())
                .collect::<Vec<_>>(),
            ["REVIEWS_PORT", "HOME"]
        );
        assert_eq!(
            program.get(found[0].offset..found[0].offset + 12),
            Some(&b"REVIEWS_PORT"[..])
        );
        assert_eq!(hints(b"\x7fELF\0REVIEWS_PORT\0", &names), []);
    }
}
