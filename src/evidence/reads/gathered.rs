//! What the signs say of one read: names, defaults, and where its value goes.

use bstr::{BString, ByteSlice as _};

use super::{ShownBy, Unset, Use, UseKind, calls};

/// What is known of a read so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Gathered {
    /// The default, when it is a literal.
    pub literal: Option<BString>,
    /// Whether the program fails where nothing is set.
    pub raises: bool,
    /// How it is used.
    pub uses: Vec<Use>,
    has_default: bool,
}

impl Gathered {
    /// There is a default; its text if it is a literal.
    pub(super) fn falls_back(&mut self, literal: Option<BString>, line: usize) {
        self.has_default = true;
        let Some(literal) = literal else { return };
        if let Some(kind) = kind_of_value(&literal) {
            self.add(kind, ShownBy::Default, line);
        }
        self.literal.get_or_insert(literal);
    }

    /// Something with this name gets the value.
    pub(super) fn binding(&mut self, name: &[u8], line: usize) {
        if let Some(kind) = kind_of_name(name) {
            self.add(kind, ShownBy::Binding, line);
        }
    }

    /// Something of this type gets the value.
    pub(super) fn typed(&mut self, name: &[u8], line: usize) {
        if let Some(kind) = calls::kind_of_type(name) {
            self.add(kind, ShownBy::Conversion, line);
        }
    }

    /// The variable has this name.
    pub(super) fn names(&mut self, name: &[u8], line: usize) {
        if let Some(kind) = kind_of_name(name) {
            self.add(kind, ShownBy::Name, line);
        }
    }

    pub(super) fn unset(&self, raises: bool) -> Unset {
        if self.has_default {
            Unset::Default
        } else if raises || self.raises {
            Unset::Raises
        } else {
            Unset::Nothing
        }
    }

    /// Notes a sign, once.
    pub(super) fn add(&mut self, kind: UseKind, shown_by: ShownBy, line: usize) {
        let one = Use {
            kind,
            shown_by,
            line,
        };
        if !self.uses.contains(&one) {
            self.uses.push(one);
        }
    }
}

/// Whether a text is one of those that stand for yes and no.
pub(super) fn is_yes_or_no(text: &[u8]) -> bool {
    const WORDS: [&[u8]; 10] = [
        b"true", b"false", b"yes", b"no", b"on", b"off", b"1", b"0", b"t", b"y",
    ];
    WORDS.iter().any(|word| text.eq_ignore_ascii_case(word))
}

/// What a default says of its variable.
fn kind_of_value(value: &[u8]) -> Option<UseKind> {
    if value.contains_str("://") {
        Some(UseKind::Url)
    } else if value.starts_with(b"/") {
        Some(UseKind::Path)
    } else if !matches!(value, b"0" | b"1")
        && value.to_str().is_ok_and(|text| text.parse::<f64>().is_ok())
    {
        Some(UseKind::Number)
    } else if is_yes_or_no(value) && !matches!(value, b"0" | b"1") {
        Some(UseKind::Boolean)
    } else {
        None
    }
}

/// What a name says: the last of its words.
fn kind_of_name(name: &[u8]) -> Option<UseKind> {
    let start = name
        .iter()
        .rposition(|byte| matches!(byte, b'_' | b'-' | b'.' | b'$' | b'@'))
        .map_or(0, |at| at + 1);
    let last = name.get(start..)?;
    // `reviewsPort`; all capitals are one word.
    let has_small = last.iter().any(u8::is_ascii_lowercase);
    let humps = last
        .iter()
        .rposition(u8::is_ascii_uppercase)
        .filter(|_| has_small);
    let word = match humps {
        Some(at) if last.get(at + 1).is_some_and(u8::is_ascii_lowercase) => last.get(at..)?,
        // `baseURL`
        Some(at) => {
            let first = last
                .get(..=at)?
                .iter()
                .rposition(|byte| !byte.is_ascii_uppercase());
            last.get(first.map_or(0, |before| before + 1)..)?
        }
        None => last,
    };
    match word.to_ascii_lowercase().as_slice() {
        b"port" => Some(UseKind::Port),
        b"host" | b"hostname" => Some(UseKind::Host),
        b"url" | b"uri" | b"endpoint" | b"dsn" => Some(UseKind::Url),
        b"path" | b"dir" | b"directory" | b"file" | b"folder" => Some(UseKind::Path),
        b"enabled" | b"enable" | b"disabled" | b"disable" | b"debug" | b"verbose" => {
            Some(UseKind::Boolean)
        }
        b"timeout" | b"seconds" | b"ms" | b"count" | b"size" | b"limit" | b"workers"
        | b"threads" | b"retries" | b"ttl" | b"interval" => Some(UseKind::Number),
        _ => None,
    }
}
