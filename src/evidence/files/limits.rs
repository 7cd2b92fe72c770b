//! `/proc/PID/limits`.

use bstr::ByteSlice as _;

/// One end of a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// So many.
    At(u64),
    /// As many as it likes.
    Unlimited,
}

/// A limit of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// What holds.
    pub soft: Bound,
    /// To what the process may raise it by itself.
    pub hard: Bound,
}

/// The limit with this name, as in `Max open files`; `None` when there is none or it is not understood.
#[must_use]
pub fn limit(table: &[u8], name: &str) -> Option<Limit> {
    let rest = table
        .lines()
        .find_map(|line| line.strip_prefix(name.as_bytes()))
        .filter(|rest| rest.starts_with(b" "))?;
    let mut words = rest.fields();
    Some(Limit {
        soft: bound(words.next()?)?,
        hard: bound(words.next()?)?,
    })
}

fn bound(word: &[u8]) -> Option<Bound> {
    if word == b"unlimited" {
        return Some(Bound::Unlimited);
    }
    word.to_str().ok()?.parse().ok().map(Bound::At)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_the_kernel_is_read() {
        let table =
            b"Limit                     Soft Limit           Hard Limit           Units     \n\
            Max cpu time              unlimited            unlimited            seconds   \n\
            Max open files            1024                 1048576              files     \n";
        assert_eq!(
            limit(table, "Max open files"),
            Some(Limit {
                soft: Bound::At(1024),
                hard: Bound::At(1_048_576)
            })
        );
        assert_eq!(limit(table, "Max cpu time").unwrap().soft, Bound::Unlimited);
        assert_eq!(limit(table, "Max open"), None);
        for table in [
            &b""[..],
            b"Max open files",
            b"Max open files x y",
            b"Max open files \xff 1",
        ] {
            assert_eq!(limit(table, "Max open files"), None);
        }
        let ours = std::fs::read("/proc/self/limits").unwrap();
        assert!(limit(&ours, "Max open files").is_some());
    }
}
