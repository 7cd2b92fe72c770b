//! What a restart would change.

use bstr::{BString, ByteSlice as _};

use super::{
    attribute::{
        Agreement, Attribution, Known, LinkState, Origin, WhyAbsent, all_names, image_value,
        is_empty_home, origin_of, values,
    },
    facts::Lookup,
    value::Value,
};

/// A variable as it would be after a restart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum After {
    /// It would have this value.
    Value(Value),
    /// It would not be there.
    Absent,
    /// The container would not start.
    Blocked,
}

/// A variable that a restart would change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Its name.
    pub name: BString,
    /// Whether the process has it; its value is in the environment.
    pub present: bool,
    /// How it would be.
    pub after: After,
    /// What would give it the new value, or gave it the old one.
    pub because: Origin,
}

/// What a restart would change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Restart {
    /// The changes, by name.
    pub changes: Vec<Change>,
    /// Variables of which nobody can say whether they would change, with the reason.
    pub unknown: Vec<(BString, String)>,
    /// Why the container would not start at all.
    pub blocked: Vec<String>,
}

/// Lays what the process has beside what it would have after a restart.
///
/// `known.declarations` and `known.image` are those of the spec that a restart would use: for another replica of a
/// Deployment that is its template, not the running pod. What the entrypoint did it is taken to do again.
#[must_use]
pub fn after_restart(known: &Known<'_>, attribution: &Attribution) -> Restart {
    let mut restart = Restart {
        blocked: known.declarations.blocked.clone(),
        ..Restart::default()
    };
    let present = values(known.environment);
    for name in all_names(known) {
        let now = present.get(name.as_slice()).copied();
        match expected(known, attribution, &name) {
            Expected::Same => {}
            Expected::Unknown(why) => restart.unknown.push((name, why)),
            Expected::Becomes(after, because) => {
                let same = match (&after, now) {
                    (After::Value(value), Some(now)) => known.keys.matches(value, now),
                    (After::Absent, None) => true,
                    _ => false,
                };
                // A part of the environment that is lost proves no change.
                if !same && (now.is_some() || !known.environment.overwritten) {
                    restart.changes.push(Change {
                        name,
                        present: now.is_some(),
                        after,
                        because,
                    });
                }
            }
        }
    }
    restart
}

enum Expected {
    /// As it is now.
    Same,
    Becomes(After, Origin),
    Unknown(String),
}

fn expected(known: &Known<'_>, attribution: &Attribution, name: &BString) -> Expected {
    let attributed = attribution.get(name);
    if attributed.is_some_and(|one| one.agreement == Agreement::Overridden) {
        // The entrypoint replaces whatever is declared.
        return Expected::Same;
    }
    let text = name.to_str().unwrap_or_default();
    if let Some(variable) = known.declarations.variables.get(text) {
        let because = origin_of(known.spec, name, &variable.winner.by);
        if !variable.rivals.is_empty() {
            return Expected::Unknown("several Services make it".to_owned());
        }
        if attributed.is_none() && removed(attribution, text) {
            return Expected::Same;
        }
        if is_empty_home(known.keys, name, &variable.winner.value) {
            return match attributed.map(|one| &one.origin) {
                Some(Origin::Runtime | Origin::Entrypoint { .. }) => Expected::Same,
                _ => Expected::Unknown(EMPTY_HOME.to_owned()),
            };
        }
        return match &variable.winner.value {
            Lookup::Found(value) => Expected::Becomes(After::Value(value.clone()), because),
            Lookup::Missing => Expected::Becomes(After::Blocked, because),
            Lookup::Unreadable(why) => Expected::Unknown(why.clone()),
        };
    }
    if let Some(value) = known
        .image
        .found()
        .and_then(|image| image_value(image, name))
    {
        return match attributed {
            Some(one) if one.origin == Origin::Image => {
                Expected::Becomes(After::Value(value), Origin::Image)
            }
            // The entrypoint has removed or replaced it, and will again.
            _ => Expected::Same,
        };
    }
    match attributed.map(|one| &one.origin) {
        Some(
            origin @ Origin::ServiceLink {
                state: LinkState::Gone | LinkState::Changed,
                ..
            },
        ) => Expected::Becomes(After::Absent, origin.clone()),
        Some(Origin::ServiceLink { .. }) => {
            Expected::Unknown("the Services could not be read".to_owned())
        }
        // The image that a restart would use has it no longer.
        Some(Origin::Image) => Expected::Becomes(After::Absent, Origin::Image),
        Some(Origin::Unknown { why }) => Expected::Unknown(why.clone()),
        _ => Expected::Same,
    }
}

/// Only the image says which that is.
const EMPTY_HOME: &str =
    "the spec sets it to nothing, for which the container runtime takes the home of the user";

fn removed(attribution: &Attribution, name: &str) -> bool {
    attribution
        .absent
        .iter()
        .any(|absent| absent.name == name && absent.why == WhyAbsent::Removed)
}
