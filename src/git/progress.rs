//! What git says about its progress, as numbers.
//!
//! Pure: lines of `git --progress` in, values out. The server writes some of these lines (`remote: …`), so
//! only numbers and the phases known here come through, never its text.

/// How far a fetch has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Progress {
    /// Another kdbg works on the same clone; this one waits for it.
    Waiting,
    /// The server is being asked.
    Connecting,
    /// git counts, sends or unpacks objects.
    Step {
        /// What is being done.
        phase: Phase,
        /// How many objects are done.
        done: u64,
        /// Of how many, when git knows.
        total: Option<u64>,
        /// How many bytes have come in, while receiving.
        bytes: Option<u64>,
    },
}

/// A phase of a fetch, in git's order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Phase {
    /// The server lists the objects.
    Enumerating,
    /// The server counts them.
    Counting,
    /// The server packs them.
    Compressing,
    /// They come in.
    Receiving,
    /// They are unpacked and checked.
    Resolving,
}

impl Phase {
    const ALL: [(&'static str, Self); 6] = [
        ("Enumerating objects", Self::Enumerating),
        ("Counting objects", Self::Counting),
        ("Compressing objects", Self::Compressing),
        ("Receiving objects", Self::Receiving),
        ("Unpacking objects", Self::Receiving),
        ("Resolving deltas", Self::Resolving),
    ];

    /// The phase in words.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Enumerating => "the server lists objects",
            Self::Counting => "the server counts objects",
            Self::Compressing => "the server compresses objects",
            Self::Receiving => "receiving objects",
            Self::Resolving => "resolving deltas",
        }
    }
}

/// Reads one line of git's progress; `None` for any other line.
///
/// `Receiving objects:  45% (123/273), 1.20 MiB | 3.00 MiB/s`
pub(super) fn parse(line: &str) -> Option<Progress> {
    let line = line.trim();
    let line = line.strip_prefix("remote: ").unwrap_or(line).trim_start();
    let (title, rest) = line.split_once(':')?;
    let (_, phase) = Phase::ALL.into_iter().find(|(name, _)| *name == title)?;
    let rest = rest.trim_start();
    let (done, total) = match rest.split_once('(') {
        Some((_, numbers)) => {
            let (numbers, _) = numbers.split_once(')')?;
            let (done, total) = numbers.split_once('/')?;
            (done.parse().ok()?, Some(total.parse().ok()?))
        }
        None => (rest.split([',', ' ']).next()?.parse().ok()?, None),
    };
    let bytes = (phase == Phase::Receiving)
        .then(|| rest.split(", ").find_map(parse_size))
        .flatten();
    Some(Progress::Step {
        phase,
        done,
        total,
        bytes,
    })
}

/// Reads git's `1.20 MiB`; exact only to the digits that git prints.
fn parse_size(text: &str) -> Option<u64> {
    let text = text.split('|').next()?.trim();
    let (number, unit) = text.split_once(' ')?;
    let shift = match unit {
        "bytes" => 0,
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        _ => return None,
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let whole: u64 = whole.parse().ok()?;
    let hundredths: u64 = format!("{fraction:0<2}").get(..2)?.parse().ok()?;
    let unit = 1_u64 << shift;
    whole
        .checked_mul(unit)?
        .checked_add(hundredths * unit / 100)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_git_become_numbers() {
        let step = |phase, done, total, bytes| {
            Some(Progress::Step {
                phase,
                done,
                total,
                bytes,
            })
        };
        let cases = [
            (
                "remote: Enumerating objects: 1234, done.",
                step(Phase::Enumerating, 1234, None, None),
            ),
            (
                "remote: Counting objects:  42% (5/12)        ",
                step(Phase::Counting, 5, Some(12), None),
            ),
            (
                "Receiving objects:  45% (123/273), 1.20 MiB | 3.00 MiB/s",
                step(Phase::Receiving, 123, Some(273), Some(1_258_291)),
            ),
            (
                "Receiving objects: 100% (273/273), 512 bytes | 512.00 KiB/s, done.",
                step(Phase::Receiving, 273, Some(273), Some(512)),
            ),
            (
                "Receiving objects:   0% (1/273)",
                step(Phase::Receiving, 1, Some(273), None),
            ),
            (
                "Resolving deltas: 100% (9/9), done.",
                step(Phase::Resolving, 9, Some(9), None),
            ),
        ];
        for (line, expected) in cases {
            assert_eq!(parse(line), expected, "{line}");
        }
    }

    #[test]
    fn other_words_of_a_server_do_not_come_through() {
        for line in [
            "remote: \u{1b}]0;owned\u{7}",
            "remote: Receiving objects: many",
            "Receiving objects:  45% (99999999999999999999999/1)",
            "fatal: Counting objects: 3",
            "Cloning into bare repository 'x'...",
            "",
        ] {
            assert_eq!(parse(line), None, "{line}");
        }
    }
}
