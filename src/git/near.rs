//! Names that look like one that does not exist.
//!
//! Pure: a wanted name and the existing ones in, the few nearest out.

/// The most names that a hint shows.
const SHOWN: usize = 4;
/// Longer names are compared by their beginning only; a hint is not worth more time.
const COMPARED: usize = 96;

/// The names nearest to `wanted`, at most four, the nearest first.
///
/// Near means: a few letters apart, or one contained in the other, upper and lower case alike. The last
/// component counts as well as the whole (`login` finds `feature/login`).
pub(super) fn nearest<'a>(
    wanted: &[u8],
    names: impl IntoIterator<Item = &'a [u8]>,
) -> Vec<&'a [u8]> {
    let wanted = wanted.to_ascii_lowercase();
    let wanted_last = last_component(&wanted).to_owned();
    let mut scored: Vec<(usize, &[u8])> = names
        .into_iter()
        .filter_map(|name| {
            let lower = name.to_ascii_lowercase();
            let score = score(&wanted, &lower)
                .min(score(&wanted_last, last_component(&lower)).saturating_add(1));
            (score <= limit(&wanted)).then_some((score, name))
        })
        .collect();
    scored.sort();
    scored.dedup();
    scored
        .into_iter()
        .take(SHOWN)
        .map(|(_, name)| name)
        .collect()
}

fn last_component(name: &[u8]) -> &[u8] {
    name.rsplit(|byte| *byte == b'/').next().unwrap_or(name)
}

/// How far apart two names may be and still be called alike: one letter in three.
fn limit(wanted: &[u8]) -> usize {
    (wanted.len() / 3).clamp(1, 6)
}

fn score(wanted: &[u8], name: &[u8]) -> usize {
    let contained =
        wanted.len() >= 3 && name.len() >= 3 && (contains(name, wanted) || contains(wanted, name));
    let distance = distance(wanted, name);
    if contained { distance.min(1) } else { distance }
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack
        .windows(needle.len())
        .any(|window| window == needle)
}

/// The number of letters to insert, delete, replace or swap with their neighbour.
fn distance(left: &[u8], right: &[u8]) -> usize {
    let left = left.get(..COMPARED).unwrap_or(left);
    let right = right.get(..COMPARED).unwrap_or(right);
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=right.len()).collect();
    let mut left_before = None;
    for (row, &a) in left.iter().enumerate() {
        let mut current = Vec::with_capacity(right.len() + 1);
        current.push(row + 1);
        let mut right_before = None;
        for (column, &b) in right.iter().enumerate() {
            let at =
                |line: &[usize], index: usize| line.get(index).copied().unwrap_or(usize::MAX / 2);
            let mut best = (at(&last, column) + usize::from(a != b))
                .min(at(&last, column + 1) + 1)
                .min(at(&current, column) + 1);
            if left_before == Some(b) && right_before == Some(a) && column > 0 {
                best = best.min(at(&before_last, column - 1) + 1);
            }
            current.push(best);
            right_before = Some(b);
        }
        before_last = std::mem::replace(&mut last, current);
        left_before = Some(a);
    }
    last.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(wanted: &str, names: &[&str]) -> Vec<String> {
        nearest(wanted.as_bytes(), names.iter().map(|name| name.as_bytes()))
            .into_iter()
            .map(|name| String::from_utf8_lossy(name).into_owned())
            .collect()
    }

    #[test]
    fn a_slip_of_the_finger_is_found() {
        let names = ["main", "release-1.2", "feature/login", "v1.2.3", "v1.2.4"];
        assert_eq!(near("mian", &names), ["main"]);
        assert_eq!(near("Main", &names), ["main"]);
        assert_eq!(near("login", &names), ["feature/login"]);
        assert_eq!(near("v1.2.5", &names), ["v1.2.3", "v1.2.4"]);
        assert!(near("wholly-different", &names).is_empty());
    }

    #[test]
    fn distances_are_those_of_the_textbook() {
        assert_eq!(distance(b"kitten", b"sitting"), 3);
        assert_eq!(distance(b"ab", b"ba"), 1);
        assert_eq!(distance(b"", b"abc"), 3);
        assert_eq!(distance(b"same", b"same"), 0);
    }
}
