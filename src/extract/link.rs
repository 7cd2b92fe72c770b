//! Which symbolic links may be made.

use bstr::{BStr, ByteSlice as _};

/// Whether a link at `path` that points to `target` cannot lead outside of the folder that `path` is
/// relative to.
///
/// `..` is allowed at the start only, and not beyond the top: there it stands for real folders, which are
/// counted. Behind a name it could stand for the parent of whatever another link points to, and a chain of
/// links that are harmless one by one would lead anywhere (CVE-2019-11251). So each link ends inside of the
/// folder, whatever other links it passes.
pub fn stays_inside(path: &BStr, target: &BStr) -> bool {
    if target.is_empty() || target.starts_with(b"/") || target.contains(&0) {
        return false;
    }
    let mut depth = path.find_iter("/").count();
    let mut in_names = false;
    for part in target.split_str("/") {
        match part {
            b"" | b"." => {}
            b".." => {
                if in_names || depth == 0 {
                    return false;
                }
                depth -= 1;
            }
            _ => in_names = true,
        }
    }
    true
}
