//! Values that may hold a Secret's: those are never kept, only what is needed to recognise them.

use std::fmt;

use bstr::BString;

/// Makes digests of secret values. Its key is random and lives as long as the run, so that a digest that gets
/// out tells nothing and cannot be looked up.
#[derive(Clone)]
pub struct Keyring {
    key: [u8; 32],
}

/// A secret value, as far as it is kept.
#[derive(Clone, PartialEq, Eq)]
pub struct Sealed {
    digest: [u8; 32],
    /// Its length in bytes.
    pub length: usize,
}

/// A value: what is known of it in clear, and the parts that came from a Secret.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Value {
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Clear(BString),
    Sealed(Sealed),
}

impl Keyring {
    /// A keyring with this key, which must be random and new for each run.
    #[must_use]
    pub const fn new(key: [u8; 32]) -> Self {
        Self { key }
    }

    /// What is kept of a secret value.
    #[must_use]
    pub fn seal(&self, value: &[u8]) -> Sealed {
        Sealed {
            digest: *blake3::keyed_hash(&self.key, value).as_bytes(),
            length: value.len(),
        }
    }

    /// Whether these bytes are the value.
    #[must_use]
    pub fn matches(&self, value: &Value, bytes: &[u8]) -> bool {
        let mut rest = bytes;
        for part in &value.parts {
            let Some((head, tail)) = rest.split_at_checked(part.len()) else {
                return false;
            };
            let same = match part {
                Part::Clear(clear) => *clear == head,
                Part::Sealed(sealed) => self.seal(head) == *sealed,
            };
            if !same {
                return false;
            }
            rest = tail;
        }
        rest.is_empty()
    }
}

impl Value {
    /// A value that is no secret.
    #[must_use]
    pub fn clear(bytes: impl Into<BString>) -> Self {
        let mut value = Self::default();
        value.push_clear(&bytes.into());
        value
    }

    /// A secret.
    #[must_use]
    pub fn sealed(sealed: Sealed) -> Self {
        Self {
            parts: vec![Part::Sealed(sealed)],
        }
    }

    /// Its bytes; `None` when a part of it is a secret.
    #[must_use]
    pub fn bytes(&self) -> Option<&[u8]> {
        match self.parts.as_slice() {
            [] => Some(b""),
            [Part::Clear(clear)] => Some(clear),
            _ => None,
        }
    }

    /// Whether a part of it is a secret.
    #[must_use]
    pub fn is_secret(&self) -> bool {
        self.bytes().is_none()
    }

    pub(super) fn push_clear(&mut self, bytes: &[u8]) {
        match self.parts.last_mut() {
            _ if bytes.is_empty() => {}
            Some(Part::Clear(last)) => last.extend_from_slice(bytes),
            _ => self.parts.push(Part::Clear(bytes.into())),
        }
    }

    pub(super) fn push(&mut self, value: &Self) {
        for part in &value.parts {
            match part {
                Part::Clear(clear) => self.push_clear(clear),
                Part::Sealed(_) => self.parts.push(part.clone()),
            }
        }
    }
}

impl Part {
    fn len(&self) -> usize {
        match self {
            Self::Clear(clear) => clear.len(),
            Self::Sealed(sealed) => sealed.length,
        }
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Keyring")
    }
}

impl fmt::Debug for Sealed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Sealed({} bytes)", self.length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_inside_a_value_is_recognised_without_being_kept() {
        let keys = Keyring::new([7; 32]);
        let mut value = Value::clear("pg://me:");
        value.push(&Value::sealed(keys.seal(b"hunter2")));
        value.push_clear(b"@db");
        assert!(keys.matches(&value, b"pg://me:hunter2@db"));
        assert!(!keys.matches(&value, b"pg://me:hunter3@db"));
        assert!(!keys.matches(&value, b"pg://me:hunter2@db2"));
        assert!(!keys.matches(&value, b"pg"));
        assert!(value.is_secret());
        assert!(!format!("{value:?}{keys:?}").contains("hunter"));
    }

    #[test]
    fn an_empty_value_is_known() {
        assert_eq!(Value::clear("").bytes(), Some(&b""[..]));
        assert!(Keyring::new([0; 32]).matches(&Value::default(), b""));
    }

    #[test]
    fn another_run_has_other_digests() {
        assert!(Keyring::new([1; 32]).seal(b"x") != Keyring::new([2; 32]).seal(b"x"));
    }
}
