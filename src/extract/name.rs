//! Which paths may be written.

use bstr::{BStr, ByteSlice as _};

use super::Refusal;

/// The longest name that Linux file systems hold (`NAME_MAX`).
const NAME_LIMIT: usize = 255;

/// Refuses a path that is not plainly below, or that a program would take for more than data.
pub fn check(path: &BStr) -> Result<(), Refusal> {
    for part in path.split_str("/") {
        if matches!(part, b"" | b"." | b"..") || part.contains(&0) {
            return Err(Refusal::Outside(path.into()));
        }
        if part.len() > NAME_LIMIT {
            return Err(Refusal::LongName(part.len()));
        }
        if is_repository(part) {
            return Err(Refusal::Repository(part.into()));
        }
    }
    Ok(())
}

/// Whether a file system somewhere takes this name for `.git`: without regard to case (macOS, Windows), to
/// characters that are not printed (HFS+), to dots, blanks and streams at the end, or by the short name
/// that NTFS makes (CVE-2014-9390, CVE-2019-1352, CVE-2019-1353).
fn is_repository(name: &[u8]) -> bool {
    let name = match name.find_byte(b':') {
        Some(colon) => name.get(..colon).unwrap_or_default(),
        None => name,
    };
    let text = name.to_str_lossy();
    let visible: String = text
        .chars()
        .filter(|character| !is_ignored(*character))
        .collect();
    let bare = visible.trim_end_matches(['.', ' ']);
    bare.eq_ignore_ascii_case(".git") || bare.eq_ignore_ascii_case("git~1")
}

/// The code points that HFS+ leaves out when it compares names (`next_hfs_char`, git's utf8.c).
const fn is_ignored(character: char) -> bool {
    matches!(character,
        '\u{200c}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{206a}'..='\u{206f}' | '\u{feff}')
}
