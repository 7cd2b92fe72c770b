//! What TCP has counted in a namespace: `/proc/PID/net/netstat`.

use crate::{
    agent::{status::number, target::Target},
    protocol::message::Counters,
};

/// Reads the counters; `None` where there are none.
pub(super) fn read(target: &Target) -> Option<Counters> {
    parse(&target.read("net/netstat").ok()?)
}

/// Two lines a group: names, then values in the same order.
fn parse(text: &[u8]) -> Option<Counters> {
    let mut lines = text
        .split(|byte| *byte == b'\n')
        .filter_map(|line| line.strip_prefix(b"TcpExt:"));
    let words = |line: &'_ [u8]| -> Vec<Vec<u8>> {
        line.split(|byte| *byte == b' ')
            .filter(|word| !word.is_empty())
            .map(<[u8]>::to_vec)
            .collect()
    };
    let (names, values) = (words(lines.next()?), words(lines.next()?));
    let value = |wanted: &[u8]| {
        let position = names.iter().position(|name| name == wanted)?;
        number(values.get(position)?)
    };
    Some(Counters {
        listen_overflows: value(b"ListenOverflows"),
        listen_drops: value(b"ListenDrops"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_found_by_their_names() {
        let text = b"TcpExt: A ListenOverflows ListenDrops\nTcpExt: 1 2 3\nIpExt: B\nIpExt: 4\n";
        let counters = parse(text).unwrap();
        assert_eq!(counters.listen_overflows, Some(2));
        assert_eq!(counters.listen_drops, Some(3));
    }

    #[test]
    fn what_is_missing_is_not_zero() {
        assert_eq!(parse(b""), None);
        assert_eq!(parse(b"TcpExt: ListenOverflows\n"), None);
        let counters = parse(b"TcpExt: A ListenOverflows\nTcpExt: 1\n").unwrap();
        assert_eq!(counters, Counters::default());
        let counters = parse(b"TcpExt: ListenOverflows\nTcpExt: x\n").unwrap();
        assert_eq!(counters.listen_overflows, None);
    }
}
