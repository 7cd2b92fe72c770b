//! Volumes that the kubelet writes at once: `ConfigMap`s, `Secret`s and their like.
//!
//! Their files lie in a folder that is named after the time, `..2026_11_21_15_51_33.73270717`, and the link
//! `..data` leads to it ([kubernetes/pkg/volume/util/atomic_writer.go][source]). The time is a pod's own.
//!
//! [source]: https://github.com/kubernetes/kubernetes/blob/master/pkg/volume/util/atomic_writer.go

use bstr::{BStr, BString, ByteSlice as _};

use crate::evidence::mapping::parent;

const LINK: &[u8] = b"..data";

/// Whether a symbolic link is the one to the folder of the time, by its name.
pub fn is_link(path: &BStr) -> bool {
    parent(path).1 == LINK
}

/// A path by way of the link instead of the folder of the time.
pub fn settled(path: &BStr) -> BString {
    let parts = path
        .split_str("/")
        .map(|part| if is_time(part) { LINK } else { part });
    bstr::join("/", parts).into()
}

/// `..YEAR_MONTH_DAY_HOUR_MINUTE_SECOND.RANDOM`
fn is_time(name: &[u8]) -> bool {
    let Some((time, random)) = name
        .strip_prefix(b"..")
        .and_then(|name| name.split_once_str("."))
    else {
        return false;
    };
    let is_number = |part: &[u8]| !part.is_empty() && part.iter().all(u8::is_ascii_digit);
    is_number(random) && time.split_str("_").count() == 6 && time.split_str("_").all(is_number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_kubelets_folders_of_the_time_are_renamed() {
        for (path, wanted) in [
            (
                "config/..2026_11_21_15_51_33.73270717/a.json",
                "config/..data/a.json",
            ),
            ("..2026_11_21/a", "..2026_11_21/a"),
            ("..data/..hidden.1", "..data/..hidden.1"),
            ("2026_11_21_15_51_33.7", "2026_11_21_15_51_33.7"),
        ] {
            assert_eq!(settled(path.into()), wanted);
        }
        assert!(is_link("config/..data".into()) && !is_link("config/..data/x".into()));
    }
}
