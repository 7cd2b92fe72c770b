//! How alike two contents are, as git's rename detection counts it (`diffcore-delta.c`).
//!
//! A content is cut into pieces, at line feeds and after 64 bytes; what both have of a piece counts as copied.

use std::collections::HashMap;

/// The longest piece.
const PIECE: usize = 64;

/// git's hash of a piece is taken modulo this.
const HASH_BASE: u32 = 107_927;

/// git counts in parts of this.
const MAX_SCORE: u64 = 60_000;

/// The pieces of a content: how many bytes each has in sum.
pub struct Pieces {
    bytes: HashMap<u32, u64>,
    size: u64,
}

impl Pieces {
    /// Cuts a content. In text a carriage return in front of a line feed does not count.
    #[must_use]
    pub fn of(content: &[u8]) -> Self {
        let is_text = !content.iter().take(8000).any(|byte| *byte == 0);
        let mut bytes: HashMap<u32, u64> = HashMap::new();
        let (mut length, mut low, mut high) = (0_usize, 0_u32, 0_u32);
        let mut rest = content.iter().copied().peekable();
        while let Some(byte) = rest.next() {
            if is_text && byte == b'\r' && rest.peek() == Some(&b'\n') {
                continue;
            }
            let old = low;
            low = (low << 7) ^ (high >> 25);
            high = (high << 7) ^ (old >> 25);
            low = low.wrapping_add(u32::from(byte));
            length += 1;
            if length < PIECE && byte != b'\n' {
                continue;
            }
            add(&mut bytes, low, high, length);
            (length, low, high) = (0, 0, 0);
        }
        if length > 0 {
            add(&mut bytes, low, high, length);
        }
        Self {
            bytes,
            size: content.len() as u64,
        }
    }

    /// How alike two contents are, in percent: what of the first is in the second, of the larger one's size.
    #[must_use]
    pub fn similarity(&self, new: &Self) -> u8 {
        let largest = self.size.max(new.size);
        if largest == 0 {
            return 100;
        }
        let copied: u64 = self
            .bytes
            .iter()
            .filter_map(|(piece, bytes)| Some((*bytes).min(*new.bytes.get(piece)?)))
            .sum();
        let score = copied * MAX_SCORE / largest;
        u8::try_from(score * 100 / MAX_SCORE)
            .unwrap_or(100)
            .min(100)
    }

    /// Whether the sizes alone say that the contents are less alike than this, in percent.
    #[must_use]
    pub fn cannot_reach(&self, new: &Self, percent: u64) -> bool {
        let (small, large) = (self.size.min(new.size), self.size.max(new.size));
        small * 100 < large * percent
    }
}

fn add(bytes: &mut HashMap<u32, u64>, low: u32, high: u32, length: usize) {
    let hash = low.wrapping_add(high.wrapping_mul(0x61)) % HASH_BASE;
    *bytes.entry(hash).or_default() += length as u64;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn percent(old: &str, new: &str) -> u8 {
        Pieces::of(old.as_bytes()).similarity(&Pieces::of(new.as_bytes()))
    }

    #[test]
    fn equal_lines_count_and_others_do_not() {
        assert_eq!(percent("a\nb\nc\nd\n", "a\nb\nc\nd\n"), 100);
        assert_eq!(percent("a\nb\nc\nd\n", "a\nb\nc\nx\n"), 75);
        assert_eq!(percent("a\n", "b\n"), 0);
        assert_eq!(percent("", ""), 100);
        assert!(Pieces::of(b"a").cannot_reach(&Pieces::of(b"aaaa"), 50));
    }
}
