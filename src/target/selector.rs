//! How a target is named.

use std::{fmt, str::FromStr};

use thiserror::Error;

/// A target, as it is written on the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selector {
    /// `pid/1234`: this process of this machine and what it has started.
    Pid(u32),
    /// `pid/nginx`: the process of this machine that has this name.
    Name(String),
}

/// The text does not name a target.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SelectorError {
    /// It has no prefix.
    #[error("`{0}` does not say what kind of target it is")]
    NoKind(String),
    /// Its prefix is none that this release knows.
    #[error("`{kind}/` is not a kind of target that this release can look at")]
    UnknownKind {
        /// The text before the slash.
        kind: String,
    },
    /// Nothing follows the prefix.
    #[error("a process number or name is missing after `pid/`")]
    NoProcess,
    /// The number cannot be a process.
    #[error("`{0}` is not a process number")]
    BadNumber(String),
}

impl FromStr for Selector {
    type Err = SelectorError;

    fn from_str(text: &str) -> Result<Self, SelectorError> {
        let Some((kind, name)) = text.split_once('/') else {
            return Err(SelectorError::NoKind(text.to_owned()));
        };
        if kind != "pid" {
            return Err(SelectorError::UnknownKind {
                kind: kind.to_owned(),
            });
        }
        if name.is_empty() {
            return Err(SelectorError::NoProcess);
        }
        if name.bytes().all(|byte| byte.is_ascii_digit()) {
            return match name.parse() {
                Ok(pid @ 1..=0x7fff_ffff) => Ok(Self::Pid(pid)),
                Ok(_) | Err(_) => Err(SelectorError::BadNumber(name.to_owned())),
            };
        }
        Ok(Self::Name(name.to_owned()))
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pid(pid) => write!(formatter, "pid/{pid}"),
            Self::Name(name) => write!(formatter, "pid/{name}"),
        }
    }
}

impl SelectorError {
    /// What to write instead.
    pub fn hint(&self) -> String {
        match self {
            Self::NoKind(text) => format!("write `pid/{text}` for a process of this machine"),
            Self::UnknownKind { .. } | Self::NoProcess | Self::BadNumber(_) => {
                "name a process of this machine by number or name, as in `pid/1234` or `pid/nginx`"
                    .to_owned()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_a_process_and_everything_else_a_name() {
        assert_eq!("pid/12".parse(), Ok(Selector::Pid(12)));
        assert_eq!("pid/nginx".parse(), Ok(Selector::Name("nginx".to_owned())));
        assert_eq!("pid/7zip".parse(), Ok(Selector::Name("7zip".to_owned())));
    }

    #[test]
    fn what_cannot_be_a_process_is_refused() {
        for (text, error) in [
            ("12", SelectorError::NoKind("12".to_owned())),
            (
                "pod/web",
                SelectorError::UnknownKind {
                    kind: "pod".to_owned(),
                },
            ),
            ("pid/", SelectorError::NoProcess),
            ("pid/0", SelectorError::BadNumber("0".to_owned())),
            (
                "pid/99999999999",
                SelectorError::BadNumber("99999999999".to_owned()),
            ),
        ] {
            assert_eq!(text.parse::<Selector>(), Err(error));
        }
    }
}
