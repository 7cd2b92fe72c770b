//! git's binary patches (`--binary`): both contents in full, compressed, in base 85.
//!
//! git also prints deltas, whichever is shorter. Contents in full apply just the same and say the same.

use std::io::{self, Write};

use flate2::Compression;
use flate2::write::ZlibEncoder;

/// git's alphabet, which avoids quotes, the backslash and what mail programs change.
const ALPHABET: &[u8; 85] =
    b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%&()*+-;<=>?@^_`{|}~";

/// How many bytes a line carries at most; its length must fit one letter.
const BYTES_PER_LINE: usize = 52;

/// Writes the patch from `old` to `new` and back.
pub(super) fn write(out: &mut dyn Write, old: &[u8], new: &[u8]) -> io::Result<()> {
    writeln!(out, "GIT binary patch")?;
    write_literal(out, new)?;
    write_literal(out, old)
}

fn write_literal(out: &mut dyn Write, content: &[u8]) -> io::Result<()> {
    writeln!(out, "literal {}", content.len())?;
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(content)?;
    let compressed = encoder.finish()?;
    for bytes in compressed.chunks(BYTES_PER_LINE) {
        let mut line = vec![length_letter(bytes.len())];
        for word in bytes.chunks(4) {
            line.extend_from_slice(&base85(word));
        }
        line.push(b'\n');
        out.write_all(&line)?;
    }
    writeln!(out)
}

/// `A` to `Z` for 1 to 26, `a` to `z` for 27 to 52.
fn length_letter(length: usize) -> u8 {
    match u8::try_from(length) {
        Ok(length @ 1..=26) => b'A' + length - 1,
        Ok(length @ 27..=52) => b'a' + length - 27,
        // Lines are never longer; git would reject the letter.
        _ => b'?',
    }
}

/// Up to four bytes, padded with zeros, as five digits with the most significant first.
fn base85(bytes: &[u8]) -> [u8; 5] {
    let mut rest = (0..4).fold(0_u32, |word, index| {
        word << 8 | u32::from(bytes.get(index).copied().unwrap_or(0))
    });
    let mut digits = [b'0'; 5];
    for digit in digits.iter_mut().rev() {
        let value = (rest % 85) as usize;
        *digit = ALPHABET.get(value).copied().unwrap_or(b'0');
        rest /= 85;
    }
    digits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_padded_to_five_digits() {
        assert_eq!(&base85(&[0, 0, 0, 0]), b"00000");
        assert_eq!(&base85(&[0xff; 4]), b"|NsC0");
        assert_eq!(base85(&[1]), base85(&[1, 0, 0, 0]));
    }

    #[test]
    fn lengths_are_letters() {
        let letters: Vec<_> = [1, 26, 27, 52].map(length_letter).into();
        assert_eq!(letters, b"AZaz");
    }

    #[test]
    fn an_empty_side_is_the_literal_that_git_prints() {
        let mut out = Vec::new();
        write_literal(&mut out, b"").unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "literal 0\nHcmV?d00001\n\n"
        );
    }
}
