//! The course of a probe from several places, phase by phase, and in which phase they part.

use super::reach;
use crate::protocol::message::{ConnectOutcome, Connection, Resolution, ResolverSetup};

/// One phase of a probe, as it went from one place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// Which phase.
    pub phase: String,
    /// What came of it, in words.
    pub shown: String,
    /// What counts when it is compared: no times, and no addresses that differ by place.
    pub key: String,
    /// How long it took, in microseconds.
    pub took: Option<u64>,
}

/// A phase that did not go alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Which phase.
    pub phase: String,
    /// What came of it from each place; `None` where it did not come so far.
    pub shown: Vec<Option<String>>,
}

/// A phase that went alike and takes so many times longer is told.
const SLOWER: u64 = 10;
/// But not below so many microseconds.
const WORTH_TELLING: u64 = 200_000;

impl Step {
    /// A step of which all that is shown counts.
    pub fn new(phase: &str, shown: String, took: Option<u64>) -> Self {
        Self {
            phase: phase.to_owned(),
            key: shown.clone(),
            shown,
            took,
        }
    }

    /// Another key than what is shown.
    #[must_use]
    pub fn with_key(self, key: String) -> Self {
        Self { key, ..self }
    }

    fn cell(&self) -> String {
        match self.took {
            Some(took) => format!("{} in {}", self.shown, reach::time(took)),
            None => self.shown.clone(),
        }
    }
}

/// What a course comes to, one line a phase, without times.
pub fn outline(steps: &[Step]) -> Vec<String> {
    let line = |step: &Step| format!("{}: {}", step.phase, step.key);
    steps.iter().map(line).collect()
}

/// All phases of all courses, in order, with what came of each from each place.
pub fn table(courses: &[Vec<Step>]) -> Vec<(String, Vec<Option<String>>)> {
    let row = |phase: &String| {
        let cells = courses
            .iter()
            .map(|steps| find(steps, phase).map(Step::cell))
            .collect();
        (phase.clone(), cells)
    };
    phases(courses).iter().map(row).collect()
}

/// The phases that did not go alike, in order: the first is where they part.
pub fn differences(courses: &[Vec<Step>]) -> Vec<Difference> {
    phases(courses)
        .into_iter()
        .filter_map(|phase| {
            let steps: Vec<_> = courses.iter().map(|steps| find(steps, &phase)).collect();
            let mut keys = steps.iter().map(|step| step.map(|step| &step.key));
            let first = keys.next()?;
            keys.any(|key| key != first).then(|| Difference {
                shown: steps.iter().map(|step| step.map(Step::cell)).collect(),
                phase,
            })
        })
        .collect()
}

/// A phase that went alike and yet takes much longer from one place: its name, the shortest and the longest time.
pub fn slower(courses: &[Vec<Step>]) -> Option<(String, u64, u64)> {
    phases(courses).into_iter().find_map(|phase| {
        let times = courses.iter().filter_map(|steps| find(steps, &phase)?.took);
        let (least, most) = times.fold((u64::MAX, 0), |(least, most), time| {
            (least.min(time), most.max(time))
        });
        let is_much = most >= WORTH_TELLING && most / SLOWER >= least;
        is_much.then_some((phase, least, most))
    })
}

fn phases(courses: &[Vec<Step>]) -> Vec<String> {
    // The longest course has them in their order; the others rarely add one.
    let mut sorted: Vec<_> = courses.iter().collect();
    sorted.sort_by_key(|steps| std::cmp::Reverse(steps.len()));
    let mut found: Vec<String> = Vec::new();
    for step in sorted.into_iter().flatten() {
        if !found.contains(&step.phase) {
            found.push(step.phase.clone());
        }
    }
    found
}

fn find<'s>(steps: &'s [Step], phase: &str) -> Option<&'s Step> {
    steps.iter().find(|step| step.phase == phase)
}

/// By which servers and rules names are looked up.
pub fn resolver(setup: &ResolverSetup) -> Step {
    let servers: Vec<_> = setup.servers.iter().map(ToString::to_string).collect();
    let search: Vec<_> = setup.search.iter().map(ToString::to_string).collect();
    let mut shown = format!("servers {}, ndots {}", servers.join(" "), setup.ndots);
    if !search.is_empty() {
        shown += &format!(", search {}", search.join(" "));
    }
    Step::new("resolver", shown, None)
}

/// What a name came to.
pub fn name(resolution: &Resolution) -> Step {
    let shown = match &resolution.error {
        Some(error) => error.clone(),
        None if resolution.addresses.is_empty() => "answered".to_owned(),
        None => {
            let mut addresses: Vec<_> = resolution
                .addresses
                .iter()
                .map(ToString::to_string)
                .collect();
            addresses.sort_unstable();
            addresses.join(" ")
        }
    };
    Step::new("name", shown, Some(resolution.took))
}

/// The connections that were tried, as one phase: their addresses differ where a name means something else.
pub fn connect(connections: &[Connection]) -> Option<Step> {
    let words: Vec<_> = connections
        .iter()
        .map(|one| reach::outcome_word(&one.outcome))
        .collect();
    let shown: Vec<_> = connections
        .iter()
        .map(|one| format!("{} {}", one.address, reach::outcome_word(&one.outcome)))
        .collect();
    let took = connections.iter().map(|one| one.took).sum();
    // Which of several addresses was tried first is chance; whether one answered is not.
    let connected = |one: &Connection| matches!(one.outcome, ConnectOutcome::Connected { .. });
    let key = if connections.iter().any(connected) {
        "connected".to_owned()
    } else {
        words.join(" ")
    };
    (!connections.is_empty())
        .then(|| Step::new("connect", shown.join(", "), Some(took)).with_key(key))
}

/// Each connection as a phase of its own.
pub fn connects(connections: &[Connection]) -> Vec<Step> {
    connections
        .iter()
        .map(|one| {
            let word = reach::outcome_word(&one.outcome).to_owned();
            Step::new(&format!("connect {}", one.address), word, Some(one.took))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn course(words: &[(&str, &str, u64)]) -> Vec<Step> {
        words
            .iter()
            .map(|(phase, shown, took)| Step::new(phase, (*shown).to_owned(), Some(*took)))
            .collect()
    }

    #[test]
    fn the_first_phase_that_differs_is_where_they_part() {
        let here = course(&[("name", "10.0.0.1", 10), ("connect", "refused", 10)]);
        let there = course(&[
            ("name", "10.0.0.1", 90),
            ("connect", "connected", 10),
            ("answer", "200", 10),
        ]);
        let found = differences(&[here.clone(), there]);
        assert_eq!(found[0].phase, "connect");
        assert_eq!(found[1].phase, "answer");
        assert_eq!(found[1].shown[0], None);
        assert!(differences(&[here.clone(), here]).is_empty());
    }

    #[test]
    fn times_do_not_make_a_difference_but_a_long_wait_is_told() {
        let fast = course(&[("name", "10.0.0.1", 900)]);
        let slow = course(&[("name", "10.0.0.1", 5_000_000)]);
        let both = [fast.clone(), slow];
        assert!(differences(&both).is_empty());
        assert_eq!(slower(&both), Some(("name".to_owned(), 900, 5_000_000)));
        let hardly = course(&[("name", "10.0.0.1", 90_000)]);
        assert_eq!(slower(&[fast, hardly]), None);
    }

    #[test]
    fn the_table_has_every_phase_and_a_gap_where_it_was_not_reached() {
        let rows = table(&[
            course(&[("name", "x", 1000)]),
            course(&[("name", "x", 1000), ("connect", "refused", 2000)]),
        ]);
        assert_eq!(
            rows[0].1,
            [
                Some("x in 1.0 ms".to_owned()),
                Some("x in 1.0 ms".to_owned())
            ]
        );
        assert_eq!(rows[1].1, [None, Some("refused in 2.0 ms".to_owned())]);
    }
}
