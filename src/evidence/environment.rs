//! An environment block, taken apart without believing it.
//!
//! `/proc/PID/environ` is the memory in which the kernel put the strings at the start, and whatever the
//! process did to it since: `setproctitle` (nginx, postgres, sshd, perl's `$0`) writes over it. Strings
//! without `=`, names that occur twice and bytes that are no UTF-8 are all allowed and all kept.

use std::{collections::HashMap, ops::Range};

use bstr::{BString, ByteSlice as _};
use serde::Serialize;

/// An environment block with its entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Environment {
    /// The block, byte for byte.
    pub block: BString,
    /// Its entries, in order. Padding is not an entry.
    pub entries: Vec<Entry>,
    /// Whether the process has written over it: what stood there is lost.
    pub overwritten: bool,
}

/// A string of the block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Where it stands in the block, without the zero byte that ends it.
    pub range: Range<usize>,
    /// The length of its name; `None` without a `=`.
    pub name_length: Option<usize>,
    /// What is unusual about it.
    pub marks: Vec<Mark>,
}

/// What is unusual about an entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "mark")]
pub enum Mark {
    /// Its name stood before: `getenv` sees the first, a shell the last.
    Duplicate {
        /// The position of the first, counted from 0.
        first: usize,
    },
    /// It has no `=`: no program can ask for it.
    NoEquals,
    /// Nothing stands before the `=`.
    NoName,
    /// It holds bytes that are no UTF-8.
    NotUtf8,
    /// The process wrote this over its environment.
    Overwritten,
    /// Its beginning may be lost: what stands before it was overwritten.
    MaybeTorn,
    /// No zero byte ends it: the end of the block cuts it off.
    Unterminated,
}

impl Environment {
    /// Takes a block apart.
    pub fn parse(block: impl Into<BString>) -> Self {
        let block = block.into();
        let mut environment = Self {
            entries: split(&block),
            overwritten: false,
            block,
        };
        environment.mark_overwritten();
        environment.mark_entries();
        environment
    }

    /// The bytes of an entry.
    pub fn bytes(&self, entry: &Entry) -> &[u8] {
        self.block.get(entry.range.clone()).unwrap_or_default()
    }

    /// The name of an entry, all of it when there is no `=`.
    pub fn name(&self, entry: &Entry) -> &[u8] {
        let bytes = self.bytes(entry);
        entry
            .name_length
            .and_then(|length| bytes.get(..length))
            .unwrap_or(bytes)
    }

    /// The value of an entry; `None` without a `=`.
    pub fn value(&self, entry: &Entry) -> Option<&[u8]> {
        self.bytes(entry).get(entry.name_length? + 1..)
    }

    /// A title starts where the environment started, and padding follows: an entry without `=` or with a
    /// name that nobody gives, or empty strings (execve allows one, nobody passes two).
    fn mark_overwritten(&mut self) {
        let title = self.entries.first().is_some_and(|first| {
            first.name_length.is_none()
                || self
                    .name(first)
                    .iter()
                    .any(|byte| byte.is_ascii_whitespace() || byte.is_ascii_control())
        });
        let padding = self.block.starts_with(b"\0") || self.block.contains_str("\0\0");
        self.overwritten = title || padding;
        if !self.overwritten {
            return;
        }
        let sound = self.entries.iter().position(|entry| {
            entry.name_length.is_some()
                && self
                    .name(entry)
                    .iter()
                    .all(|byte| byte.is_ascii_graphic() && *byte != b'/')
        });
        // The title runs up to a zero byte, what follows may be the rest of a longer entry.
        let first_sound = sound.unwrap_or(self.entries.len());
        for (position, entry) in self.entries.iter_mut().enumerate() {
            match position.cmp(&first_sound) {
                std::cmp::Ordering::Less if position == 0 => entry.marks.push(Mark::Overwritten),
                std::cmp::Ordering::Less | std::cmp::Ordering::Equal => {
                    entry.marks.push(Mark::MaybeTorn);
                }
                std::cmp::Ordering::Greater => break,
            }
        }
    }

    fn mark_entries(&mut self) {
        let mut first_of: HashMap<&[u8], usize> = HashMap::new();
        for (position, entry) in self.entries.iter_mut().enumerate() {
            let bytes = self.block.get(entry.range.clone()).unwrap_or_default();
            match entry.name_length.and_then(|length| bytes.get(..length)) {
                None => entry.marks.push(Mark::NoEquals),
                Some(b"") => entry.marks.push(Mark::NoName),
                Some(name) => {
                    let first = *first_of.entry(name).or_insert(position);
                    if first < position {
                        entry.marks.push(Mark::Duplicate { first });
                    }
                }
            }
            if bytes.to_str().is_err() {
                entry.marks.push(Mark::NotUtf8);
            }
            if entry.range.end == self.block.len() {
                entry.marks.push(Mark::Unterminated);
            }
        }
    }
}

impl Entry {
    /// Whether its name cannot be trusted to be the one that its value had.
    pub fn has_lost_its_name(&self) -> bool {
        self.marks.contains(&Mark::MaybeTorn)
    }
}

fn split(block: &[u8]) -> Vec<Entry> {
    let mut entries = Vec::new();
    let mut start = 0;
    for bytes in block.split(|byte| *byte == 0) {
        let range = start..start + bytes.len();
        start = range.end + 1;
        if !bytes.is_empty() {
            entries.push(Entry {
                range,
                name_length: bytes.find_byte(b'='),
                marks: Vec::new(),
            });
        }
    }
    entries
}

impl Mark {
    /// What it means, for people.
    pub fn meaning(&self) -> String {
        match self {
            Self::Duplicate { first } => {
                format!("duplicate: getenv sees entry {first}, a shell sees the last")
            }
            Self::NoEquals => "no `=`".to_owned(),
            Self::NoName => "no name".to_owned(),
            Self::NotUtf8 => "not UTF-8".to_owned(),
            Self::Overwritten => "written by the process over its environment".to_owned(),
            Self::MaybeTorn => "may have lost its beginning".to_owned(),
            Self::Unterminated => "cut off at the end of the block".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn marks(block: &[u8]) -> (bool, Vec<Vec<Mark>>) {
        let environment = Environment::parse(block);
        let marks = environment
            .entries
            .into_iter()
            .map(|entry| entry.marks)
            .collect();
        (environment.overwritten, marks)
    }

    #[test]
    fn a_usual_block_has_no_marks() {
        assert_eq!(
            marks(b"A=1\0B=\0C=x=y\0"),
            (false, vec![vec![], vec![], vec![]])
        );
        assert_eq!(marks(b""), (false, vec![]));
    }

    #[test]
    fn names_and_values_part_at_the_first_sign() {
        let environment = Environment::parse("C=x=y\0");
        let entry = &environment.entries[0];
        assert_eq!(environment.name(entry), b"C");
        assert_eq!(environment.value(entry), Some(&b"x=y"[..]));
    }

    #[test]
    fn what_execve_allows_is_kept_and_marked() {
        assert_eq!(
            marks(b"DUP=1\0DUP=2\0plain\0=x\0N=\xff\0"),
            (
                false,
                vec![
                    vec![],
                    vec![Mark::Duplicate { first: 0 }],
                    vec![Mark::NoEquals],
                    vec![Mark::NoName],
                    vec![Mark::NotUtf8]
                ]
            )
        );
    }

    #[test]
    fn a_title_over_the_environment_is_told_with_what_it_tore() {
        // `setproctitle("nginx: worker process")` over `PATH=...`, `SECRET=...`, then the rest.
        assert_eq!(
            marks(b"ker process\0aaaa\0TOK=x\0HOME=/root\0"),
            (
                true,
                vec![
                    vec![Mark::Overwritten, Mark::NoEquals],
                    vec![Mark::MaybeTorn, Mark::NoEquals],
                    vec![Mark::MaybeTorn],
                    vec![]
                ]
            )
        );
    }

    #[test]
    fn padding_without_a_title_is_told_too() {
        assert_eq!(marks(b"\0\0\0\0"), (true, vec![]));
        assert_eq!(
            marks(b"\0\0LL=/bin/sh\0A=1\0"),
            (true, vec![vec![Mark::MaybeTorn], vec![]])
        );
    }

    #[test]
    fn a_name_with_a_blank_at_the_start_is_a_title() {
        assert!(marks(b"rker --x=y\0A=1\0").0);
        assert!(!marks(b"BASH_FUNC_f%%=() { :; }\0A=1\0").0);
    }

    #[test]
    fn a_block_that_does_not_end_is_marked() {
        assert_eq!(marks(b"A=1\0B=2").1[1], [Mark::Unterminated]);
    }

    proptest! {
        #[test]
        fn no_byte_is_lost(block in prop::collection::vec(prop::sample::select(b"\0\0=AB \xff\n".to_vec()), 0..60)) {
            let environment = Environment::parse(block.clone());
            let mut rebuilt = vec![0; block.len()];
            for entry in &environment.entries {
                rebuilt[entry.range.clone()].copy_from_slice(environment.bytes(entry));
            }
            prop_assert_eq!(rebuilt, block);
        }
    }
}
