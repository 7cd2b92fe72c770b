//! The manifest of a bundle: what is in it, what is not, and why.

use bstr::BString;
use jiff::Timestamp;
use serde::{Serialize, Serializer};

use super::facts::Fact;
use crate::{
    commands::{
        subject::{FileRow, Subject},
        tree::{Found, Item, Outcome, Tree},
    },
    evidence::redact::Redactor,
    extract::ExtractError,
    render::JsonBytes,
    target::Target,
};

/// The manifest.
#[derive(Serialize)]
pub(super) struct Manifest<'a> {
    schema: u32,
    kdbg: &'static str,
    /// When it was begun.
    taken: String,
    target: TargetRow<'a>,
    /// Whether the environment and the arguments are redacted. Files never are.
    redacted: bool,
    /// Whether everything could be read.
    complete: bool,
    facts: Vec<FactRow<'a>>,
    roots: Vec<RootRow<'a>>,
    files: Vec<ItemRow<'a>>,
}

#[derive(Serialize)]
struct TargetRow<'a> {
    asked: &'a str,
    process: Subject<'a>,
    because: String,
}

#[derive(Serialize)]
struct FactRow<'a> {
    file: JsonBytes<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sha256: Option<Hex>,
    #[serde(skip_serializing_if = "Option::is_none")]
    missing: Option<&'a str>,
}

#[derive(Serialize)]
struct RootRow<'a> {
    /// Empty for the working directory.
    asked: JsonBytes<'a>,
    path: Option<JsonBytes<'a>>,
}

#[derive(Serialize)]
struct ItemRow<'a> {
    #[serde(flatten)]
    what: What<'a>,
    /// Where it is in the bundle.
    #[serde(skip_serializing_if = "Option::is_none")]
    stored: Option<Owned>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sha256: Option<Hex>,
    /// Whether it changed while it was read.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    changed: bool,
    /// Why it could not be copied.
    #[serde(skip_serializing_if = "Option::is_none")]
    missing: Option<String>,
    /// Why it was not to be copied.
    #[serde(skip_serializing_if = "Option::is_none")]
    left_out: Option<String>,
}

/// What is known of something: all, or where it is.
#[derive(Serialize)]
#[serde(untagged)]
enum What<'a> {
    File(OwnedFile<'a>),
    Path { path: Owned },
}

/// A [`FileRow`] with a path of its own.
struct OwnedFile<'a> {
    path: BString,
    entry: &'a crate::protocol::message::Entry,
}

impl Serialize for OwnedFile<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        FileRow::new(&self.path, self.entry).serialize(serializer)
    }
}

struct Owned(BString);

impl Serialize for Owned {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        JsonBytes(&self.0).serialize(serializer)
    }
}

struct Hex([u8; 32]);

impl Serialize for Hex {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use std::fmt::Write as _;
        let mut text = String::with_capacity(64);
        for byte in self.0 {
            let _ = write!(text, "{byte:02x}");
        }
        serializer.serialize_str(&text)
    }
}

/// The trees of a bundle and what became of them.
pub(super) struct Contents<'a> {
    tree: &'a Tree,
    rows: Vec<ItemRow<'a>>,
    missing: usize,
}

impl<'a> Contents<'a> {
    pub(super) fn new(
        tree: &'a Tree,
        outcomes: &'a [Outcome],
        unlinked: &[(BString, ExtractError)],
        place: impl Fn(&Item) -> BString,
    ) -> Self {
        let mut missing = 0;
        let row = |(item, outcome): (&'a Item, &'a Outcome)| {
            let place = place(item);
            let unlinked = unlinked
                .iter()
                .find(|(path, _)| matches!(outcome, Outcome::Link) && *path == place);
            let mut row = ItemRow {
                what: what(tree, item, outcome),
                stored: Some(Owned(place)),
                sha256: None,
                changed: false,
                missing: None,
                left_out: unlinked.map(|(_, error)| error.to_string()),
            };
            match outcome {
                Outcome::Folder | Outcome::Link => {}
                Outcome::File(fetched) => {
                    row.sha256 = Some(Hex(fetched.digest));
                    row.changed = fetched.changed;
                }
                Outcome::LeftOut(reason) => row.left_out = Some(reason.clone()),
                Outcome::Missing(reason) => {
                    row.missing = Some(reason.clone());
                    missing += 1;
                }
            }
            if row.missing.is_some() || row.left_out.is_some() {
                row.stored = None;
            }
            row
        };
        let rows = tree.items.iter().zip(outcomes).map(row).collect();
        Self {
            tree,
            rows,
            missing,
        }
    }

    pub(super) const fn is_complete(&self) -> bool {
        self.missing == 0
    }

    pub(super) const fn missing(&self) -> usize {
        self.missing
    }

    /// How many are there and were left out on purpose.
    pub(super) fn left_out(&self) -> usize {
        self.rows
            .iter()
            .filter(|row| row.left_out.is_some())
            .count()
    }
}

fn what<'a>(tree: &Tree, item: &'a Item, outcome: &'a Outcome) -> What<'a> {
    let path = tree.full_path(item);
    match (&item.found, outcome) {
        // As it was when it was read, not when it was listed.
        (_, Outcome::File(fetched)) => What::File(OwnedFile {
            path,
            entry: &fetched.entry,
        }),
        (Found::Entry(entry), _) => What::File(OwnedFile { path, entry }),
        (Found::Unreadable(_) | Found::Skipped(_), _) => What::Path { path: Owned(path) },
    }
}

impl<'a> Manifest<'a> {
    pub(super) fn new(
        asked: &'a str,
        target: &'a Target,
        taken: Timestamp,
        redactor: Redactor,
        facts: &'a [Fact],
        contents: Contents<'a>,
    ) -> Self {
        let fact = |fact: &'a Fact| {
            let stored = fact.content.as_ref().ok();
            FactRow {
                file: JsonBytes(&fact.file),
                bytes: stored.map(|stored| stored.bytes),
                sha256: stored.map(|stored| Hex(stored.digest)),
                missing: fact.content.as_ref().err().map(String::as_str),
            }
        };
        Self {
            schema: 1,
            kdbg: env!("CARGO_PKG_VERSION"),
            taken: taken.to_string(),
            target: TargetRow {
                asked,
                process: Subject::new(target),
                because: target.choice.because(),
            },
            redacted: redactor.hides(),
            complete: contents.is_complete() && facts.iter().all(Fact::is_known),
            facts: facts.iter().map(fact).collect(),
            roots: contents
                .tree
                .roots
                .iter()
                .map(|root| RootRow {
                    asked: JsonBytes(&root.asked),
                    path: root.path.as_ref().map(|path| JsonBytes(path)),
                })
                .collect(),
            files: contents.rows,
        }
    }
}
