//! What an image says of its own origin, taken apart without believing it.
//!
//! Compilers, packagers and people leave notes of where code came from: a revision in a binary, a property
//! file in a jar, a digest for each installed file. Each becomes a [`Claim`] with the file that made it. A
//! claim is worth what it is checked against: the running files beside the commit, the file beside its digest.
//! Parsers here take bytes of any content and have no I/O; [`Sparse`] lets them ask for the parts of a large
//! file that they need.

pub mod composer;
pub mod executable;
pub mod git_folder;
pub mod java;
pub mod labels;
pub mod node;
pub mod python;
mod sparse;

use bstr::BString;
use serde::Serialize;

pub use sparse::{Missing, Sparse};

/// What kind of note it is, the strongest first: what a compiler writes into its output is harder to get wrong
/// than what somebody copies along.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// The Go linker's `.go.buildinfo`.
    GoBuildInfo,
    /// The `.dep-v0` that `cargo auditable` writes.
    RustAuditable,
    /// The digests of installed files, `*.dist-info/RECORD`.
    PythonRecord,
    /// `*.dist-info/direct_url.json`.
    PythonDirectUrl,
    /// `git.properties` of the Maven and Gradle plugins.
    GitProperties,
    /// The sources that a source map carries.
    SourceMap,
    /// A `.git` folder that was left in the image.
    GitFolder,
    /// `vendor/composer/installed.json` and `installed.php`.
    Composer,
    /// `gitHead` of a `package.json`, which npm writes when it publishes.
    PackageJson,
    /// `META-INF/MANIFEST.MF`.
    Manifest,
    /// `META-INF/maven/**/pom.properties`.
    MavenProperties,
    /// A label or annotation of the image.
    Label,
}

impl Kind {
    /// The words for people.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::GoBuildInfo => "Go build info",
            Self::RustAuditable => "Rust dependency list",
            Self::PythonRecord => "RECORD",
            Self::PythonDirectUrl => "direct_url.json",
            Self::GitProperties => "git.properties",
            Self::SourceMap => "source map",
            Self::GitFolder => ".git folder",
            Self::Composer => "composer",
            Self::PackageJson => "package.json",
            Self::Manifest => "MANIFEST.MF",
            Self::MavenProperties => "pom.properties",
            Self::Label => "image label",
        }
    }
}

/// Something that the image says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// What kind of note.
    pub kind: Kind,
    /// The file that says it, inside of another one after `!`; the label's name for a label.
    pub source: BString,
    /// What it says.
    pub says: Says,
}

/// What a claim says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Says {
    /// It was built from this commit.
    Commit {
        /// The name of the commit, hexadecimal, maybe abbreviated.
        revision: String,
        /// Whether there were changes beside it; `None` when it does not say.
        modified: Option<bool>,
        /// The repository that it names.
        repository: Option<String>,
    },
    /// It is this version of that.
    Version {
        /// The module or package.
        name: String,
        /// Its version.
        version: String,
    },
    /// These files were installed with these digests.
    Files(Vec<Recorded>),
    /// These sources went into it.
    Sources(Vec<EmbeddedSource>),
}

/// A file with the digest that it was installed with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// Its path, relative to the folder above the note's own.
    pub path: BString,
    /// SHA-256 of its content.
    pub sha256: [u8; 32],
    /// Its size in bytes, when it was noted.
    pub size: Option<u64>,
}

/// A source file that a note carries whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EmbeddedSource {
    /// Its path, as the tool wrote it.
    pub path: BString,
    /// Its content.
    pub content: BString,
}

/// What came of checking a claim.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "verdict")]
pub enum Verdict {
    /// All that could be compared is as it says.
    Fits {
        /// How many files were compared.
        compared: usize,
    },
    /// Files are not as it says.
    Contradicts {
        /// How many were compared.
        compared: usize,
        /// The files that differ, as the process sees them.
        files: Vec<String>,
    },
    /// Nothing that runs can be compared with it.
    Unchecked {
        /// Why.
        reason: String,
    },
}

/// The name of a commit, if that is what a text is: seven or more hexadecimal digits.
#[must_use]
pub fn revision(text: &str) -> Option<String> {
    let text = text.trim();
    let is_name =
        (7..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_name.then(|| text.to_ascii_lowercase())
}

/// A text of JSON.
fn text<'a>(value: &'a serde_json::Value, name: &str) -> Option<&'a str> {
    value.get(name)?.as_str()
}
