//! The parts of a netlink message that all families share (include/uapi/linux/netlink.h).

/// `NLM_F_REQUEST`, in the width that a header has for it.
pub(super) const NLM_F_REQUEST: u16 = 1;
/// `NLM_F_DUMP`: all there is, not one.
pub(super) const NLM_F_DUMP: u16 = 0x300;
/// The answer is an error, or an acknowledgement.
pub(super) const NLMSG_ERROR: u16 = 2;
/// The answer is complete.
pub(super) const NLMSG_DONE: u16 = 3;
/// The length of `struct nlmsghdr`: length, type, flags, sequence, port.
pub(super) const HEADER: usize = 16;

/// The attributes in a part of a message; `None` for one that is cut, which is the last.
pub(super) fn attributes(bytes: &[u8]) -> impl Iterator<Item = Option<(u16, &[u8])>> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        if rest.len() < 4 {
            return None;
        }
        let attribute = (|| {
            let length = usize::from(u16_at(rest, 0)?);
            let kind = u16_at(rest, 2)?;
            let value = rest.get(4..length)?;
            Some((kind, value, length))
        })();
        let Some((kind, value, length)) = attribute else {
            rest = &[];
            return Some(None);
        };
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(Some((kind, value)))
    })
}

/// A number of 16 bits in the machine's order.
pub(super) fn u16_at(bytes: &[u8], offset: usize) -> Option<u16> {
    let bytes = bytes.get(offset..offset + 2)?;
    Some(u16::from_ne_bytes(bytes.try_into().ok()?))
}

/// A number of 32 bits in the machine's order.
pub(super) fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    let bytes = bytes.get(offset..offset + 4)?;
    Some(u32::from_ne_bytes(bytes.try_into().ok()?))
}

/// A number of 64 bits in the machine's order.
pub(super) fn u64_at(bytes: &[u8], offset: usize) -> Option<u64> {
    let bytes = bytes.get(offset..offset + 8)?;
    Some(u64::from_ne_bytes(bytes.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_that_are_cut_or_lie_about_their_length_end_the_list() {
        let mut bytes = vec![5, 0, 7, 0, 42, 0, 0, 0, 4, 0, 8, 0];
        let found: Vec<_> = attributes(&bytes).collect();
        assert_eq!(found, [Some((7, &[42_u8][..])), Some((8, &[][..]))]);
        for length in [0, 3, 200] {
            bytes[8] = length;
            let found: Vec<_> = attributes(&bytes).collect();
            assert_eq!(found, [Some((7, &[42_u8][..])), None]);
        }
    }
}
