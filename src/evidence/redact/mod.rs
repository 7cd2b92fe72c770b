//! What must not be shown of values and arguments.
//!
//! A value is a secret by its source (the pod's spec takes it from a Secret), by its name (`DB_PASSWORD`),
//! or by its shape (`AKIA…`, the password in a URL). Every output goes through here: what is hidden is
//! replaced by its length, everything else stays byte for byte. The rules prefer to hide too much:
//! `--show-secrets` is one flag away, a leaked key is not.

mod arguments;
mod name;
mod object;
mod shape;

use std::{borrow::Cow, ops::Range};

use bstr::BString;
use serde::Serialize;

/// Where a value comes from, as far as that is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A Kubernetes Secret.
    Secret,
    /// Anything else, or nobody knows.
    Unknown,
}

/// Why something is hidden.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Why {
    /// It comes from a Secret.
    Source,
    /// Its name says so.
    Name,
    /// Its name is lost: the process has overwritten it.
    LostName,
    /// It is a private key.
    PrivateKey,
    /// It is the password of a URL.
    UrlPassword,
    /// It looks like a token of a known issuer.
    Issued,
    /// It looks random, as keys do.
    Random,
}

/// A part of a value that is hidden.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hidden {
    /// Which bytes.
    pub range: Range<usize>,
    /// Why.
    pub why: Why,
}

/// Decides what is hidden.
#[derive(Clone, Copy, Debug)]
pub struct Redactor {
    hides: bool,
}

/// A value with what must not be shown of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown<'a> {
    value: &'a [u8],
    hidden: Vec<Hidden>,
}

impl Redactor {
    /// A redactor; it hides nothing when the user asked for `--show-secrets`.
    #[must_use]
    pub const fn new(show_secrets: bool) -> Self {
        Self {
            hides: !show_secrets,
        }
    }

    /// Whether it hides anything at all.
    #[must_use]
    pub const fn hides(self) -> bool {
        self.hides
    }

    /// The value of a variable.
    ///
    /// ```
    /// use kdbg::evidence::redact::{Redactor, Source};
    /// let redactor = Redactor::new(false);
    /// assert_eq!(*redactor.variable(b"DB_PASSWORD", b"hunter2", Source::Unknown).bytes(), *b"[redacted: 7 bytes]");
    /// assert_eq!(*redactor.variable(b"DB", b"pg://me:hunter2@db/x", Source::Unknown).bytes(), *b"pg://me:[redacted: 7 bytes]@db/x");
    /// ```
    #[must_use]
    pub fn variable<'a>(self, name: &[u8], value: &'a [u8], source: Source) -> Shown<'a> {
        if source == Source::Secret {
            self.whole(value, Why::Source)
        } else if name::hides(name, value) {
            self.whole(value, Why::Name)
        } else {
            self.text(value)
        }
    }

    /// A value whose name can no longer be read.
    #[must_use]
    pub fn nameless(self, value: &[u8]) -> Shown<'_> {
        self.whole(value, Why::LostName)
    }

    /// A text that may hold names with values, and values that look like secrets.
    #[must_use]
    pub fn text(self, value: &[u8]) -> Shown<'_> {
        if !self.hides {
            return Shown::open(value);
        }
        let mut found = shape::find(value);
        found.extend(arguments::named(value));
        Shown::new(value, found)
    }

    /// The arguments of a process.
    #[must_use]
    pub fn arguments(self, arguments: &[BString]) -> Vec<Shown<'_>> {
        if self.hides {
            arguments::all(self, arguments)
        } else {
            arguments.iter().map(|value| Shown::open(value)).collect()
        }
    }

    fn whole(self, value: &[u8], why: Why) -> Shown<'_> {
        if self.hides && !value.is_empty() {
            Shown::new(value, vec![(0..value.len(), why)])
        } else {
            Shown::open(value)
        }
    }
}

impl<'a> Shown<'a> {
    const fn open(value: &'a [u8]) -> Self {
        Self {
            value,
            hidden: Vec::new(),
        }
    }

    /// Hides these parts; those that overlap become one.
    fn new(value: &'a [u8], mut found: Vec<(Range<usize>, Why)>) -> Self {
        found.retain(|(range, _)| !range.is_empty());
        found.sort_by_key(|(range, _)| (range.start, std::cmp::Reverse(range.end)));
        let mut hidden: Vec<Hidden> = Vec::new();
        for (range, why) in found {
            match hidden.last_mut() {
                Some(last) if range.start < last.range.end => {
                    last.range.end = last.range.end.max(range.end);
                }
                _ => hidden.push(Hidden { range, why }),
            }
        }
        Self { value, hidden }
    }

    /// What may be shown: each hidden part is replaced by `[redacted: N bytes]`.
    #[must_use]
    pub fn bytes(&self) -> Cow<'a, [u8]> {
        if self.hidden.is_empty() {
            return Cow::Borrowed(self.value);
        }
        let mut bytes = Vec::with_capacity(self.value.len());
        let mut shown_to = 0;
        for Hidden { range, .. } in &self.hidden {
            bytes.extend_from_slice(self.value.get(shown_to..range.start).unwrap_or_default());
            bytes.extend_from_slice(placeholder(range.len()).as_bytes());
            shown_to = range.end;
        }
        bytes.extend_from_slice(self.value.get(shown_to..).unwrap_or_default());
        Cow::Owned(bytes)
    }

    /// What is hidden, in order.
    #[must_use]
    pub fn hidden(&self) -> &[Hidden] {
        &self.hidden
    }
}

fn placeholder(bytes: usize) -> String {
    let plural = if bytes == 1 { "" } else { "s" };
    format!("[redacted: {bytes} byte{plural}]")
}

impl Serialize for Hidden {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct as _;
        let mut fields = serializer.serialize_struct("Hidden", 2)?;
        fields.serialize_field("bytes", &self.range.len())?;
        fields.serialize_field("because", &self.why)?;
        fields.end()
    }
}

#[cfg(test)]
mod tests;
