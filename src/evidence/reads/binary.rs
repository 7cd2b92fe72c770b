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
/// What tells that a program's texts stand behind each other without an end: Go's build info, Rust's panics.
const RUN_TOGETHER: [&[u8]; 3] = [b"\xff Go buildinf:", b"/rustc/", b"RUST_BACKTRACE"];
/// Shorter names occur in any file.
const SHORTEST: usize = 4;

/// Those of the names that stand in a program as words of their own.
#[must_use]
pub fn hints(program: &[u8], names: &[&[u8]]) -> Vec<Hint> {
    if !READERS.iter().any(|reader| program.contains_str(reader)) {
        return Vec::new();
    }
    let run_together = RUN_TOGETHER.iter().any(|trace| program.contains_str(trace));
    let continues = |byte: u8| match byte {
        b'_' => true,
        // Whatever the next text begins with; a name in another one has a `_` between, as `OLD_NAME` has.
        b'A'..=b'Z' | b'0'..=b'9' => !run_together,
        _ => false,
    };
    names
        .iter()
        .filter(|name| name.len() >= SHORTEST)
        .filter_map(|name| {
            let offset = program
                .find_iter(name)
                .find(|at| is_word(program, *at..*at + name.len(), continues))?;
            Some(Hint {
                name: (*name).into(),
                offset,
            })
        })
        .collect()
}

/// Whether no byte beside it belongs to it. Small letters never do: they may be another text's.
fn is_word(program: &[u8], range: Range<usize>, continues: impl Fn(u8) -> bool) -> bool {
    let belongs = |at: Option<usize>| {
        at.and_then(|at| program.get(at))
            .is_some_and(|byte| continues(*byte))
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

    /// As it stands in a program of `net/http`: its neighbours are whatever has its length.
    #[test]
    fn in_a_go_program_a_name_may_stand_right_behind_another_text() {
        let go = b"\xff Go buildinf:\0os.Getenv\0avxvnniint8REVIEWS_PORTCONTINUATION\0";
        let found = |program: &[u8]| hints(program, &[b"REVIEWS_PORT"]).len();
        assert_eq!(found(go), 1);
        for (program, why) in [
            (
                &b"\xff Go buildinf:\0os.Getenv\0short bufferREVIEWS_PORT_9080_TCP\0"[..],
                "a longer name",
            ),
            (
                b"\xff Go buildinf:\0os.Getenv\0short bufferOLD_REVIEWS_PORTshort\0",
                "the end of another name",
            ),
            (
                b"\x7fELF\0getenv\0XREVIEWS_PORT\0REVIEWS_PORT9\0",
                "C ends its texts",
            ),
        ] {
            assert_eq!(found(program), 0, "{why}");
        }
    }
}
