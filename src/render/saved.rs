//! A verdict as it was saved: from the JSON of [`JsonVerdict`](super::findings::JsonVerdict) back to what it was made of.
//!
//! A bundle may come from anybody: nothing of it is trusted but its shape, and what is shown of it goes through the
//! same renderers as a fresh verdict.

use bstr::BString;
use serde::{Deserialize, Deserializer, de::Error as _};
use serde_json::value::RawValue;
use thiserror::Error;

use super::findings::SCHEMA;
use crate::evidence::findings::{
    Confidence, Fact, Finding, Id, Next, RuledOut, Severity, Source, Unchecked, Verdict,
};

/// A saved report.
#[derive(Debug)]
pub struct Saved {
    /// What was found.
    pub verdict: Verdict,
    /// What was looked at, as it was named.
    pub target: String,
    /// By which program, and when.
    pub made_by: String,
    /// The process, as it stands in the file.
    pub process: Box<RawValue>,
}

/// Why a text is no saved report.
#[derive(Debug, Error)]
pub enum SavedError {
    /// It is no JSON, or of another shape.
    #[error("it is no saved diagnosis: {0}")]
    Shape(#[from] serde_json::Error),
    /// It is of another version.
    #[error("it has schema {0}, and this kdbg reads {SCHEMA}")]
    Schema(u32),
}

impl Saved {
    /// Reads a report.
    pub fn parse(text: &str) -> Result<Self, SavedError> {
        let Version { schema } = serde_json::from_str(text)?;
        if schema != SCHEMA {
            return Err(SavedError::Schema(schema));
        }
        let file: File = serde_json::from_str(text)?;
        Ok(Self {
            verdict: Verdict {
                causes: file.causes.into_iter().map(FindingRow::into).collect(),
                listed: file.listed.into_iter().map(FindingRow::into).collect(),
                ruled_out: file
                    .ruled_out
                    .into_iter()
                    .map(|row| RuledOut {
                        what: row.what,
                        because: row.because,
                    })
                    .collect(),
                unchecked: file
                    .not_checked
                    .into_iter()
                    .map(|row| Unchecked {
                        what: row.what,
                        why: row.because,
                    })
                    .collect(),
            },
            target: file.target,
            made_by: file.made_by,
            process: file.process,
        })
    }
}

#[derive(Deserialize)]
struct Version {
    schema: u32,
}

#[derive(Deserialize)]
struct File {
    causes: Vec<FindingRow>,
    listed: Vec<FindingRow>,
    ruled_out: Vec<PairRow>,
    not_checked: Vec<PairRow>,
    target: String,
    made_by: String,
    process: Box<RawValue>,
}

#[derive(Deserialize)]
struct PairRow {
    what: String,
    because: String,
}

#[derive(Deserialize)]
struct FindingRow {
    #[serde(deserialize_with = "id")]
    id: Id,
    about: Bytes,
    severity: Severity,
    confidence: Confidence,
    cause: Bytes,
    facts: Vec<FactRow>,
    refuted_by: String,
    next: Vec<NextRow>,
}

#[derive(Deserialize)]
struct FactRow {
    fact: Bytes,
    source: SourceRow,
}

#[derive(Deserialize)]
struct NextRow {
    what: String,
    command: Option<Bytes>,
}

/// A string, or `{"base64": …}`.
struct Bytes(BString);

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
enum SourceRow {
    Environ,
    Code { path: Bytes, line: usize },
    File { path: Bytes },
    Spec,
    Object { name: String },
    Git { name: String },
    Status,
    Probe,
    Sockets,
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use base64::Engine as _;
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Form {
            Text(String),
            Base64 { base64: String },
        }
        match Form::deserialize(deserializer)? {
            Form::Text(text) => Ok(Self(text.into())),
            Form::Base64 { base64 } => base64::engine::general_purpose::STANDARD
                .decode(base64)
                .map(|bytes| Self(bytes.into()))
                .map_err(D::Error::custom),
        }
    }
}

fn id<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Id, D::Error> {
    let text = String::deserialize(deserializer)?;
    Id::ALL
        .iter()
        .copied()
        .find(|id| id.as_str() == text)
        .ok_or_else(|| D::Error::custom(format!("this kdbg knows no finding `{text}`")))
}

impl From<FindingRow> for Finding {
    fn from(row: FindingRow) -> Self {
        Self {
            id: row.id,
            about: row.about.0,
            severity: row.severity,
            confidence: row.confidence,
            cause: row.cause.0,
            facts: row
                .facts
                .into_iter()
                .map(|row| Fact {
                    text: row.fact.0,
                    source: row.source.into(),
                })
                .collect(),
            refuted_by: row.refuted_by,
            next: row
                .next
                .into_iter()
                .map(|row| Next {
                    what: row.what,
                    command: row.command.map(|command| command.0).unwrap_or_default(),
                })
                .collect(),
        }
    }
}

impl From<SourceRow> for Source {
    fn from(row: SourceRow) -> Self {
        match row {
            SourceRow::Environ => Self::Environ,
            SourceRow::Code { path, line } => Self::Code { path: path.0, line },
            SourceRow::File { path } => Self::File(path.0),
            SourceRow::Spec => Self::Spec,
            SourceRow::Object { name } => Self::Object(name),
            SourceRow::Git { name } => Self::Git(name),
            SourceRow::Status => Self::Status,
            SourceRow::Probe => Self::Probe,
            SourceRow::Sockets => Self::Sockets,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::render::findings::{JsonVerdict, tests::example};

    fn saved(verdict: &Verdict) -> String {
        let mut report = serde_json::to_value(JsonVerdict(verdict)).unwrap();
        report["target"] = "deploy/page".into();
        report["made_by"] = "kdbg 1, today".into();
        report["process"] = json!({"pid": 7});
        report.to_string()
    }

    #[test]
    fn what_was_saved_is_read_back_whole() {
        let mut verdict = example("REVIEWS_PORT");
        let sources = [
            Source::Environ,
            Source::File(b"/a/\xff".into()),
            Source::Spec,
            Source::Object("Service a/b".into()),
            Source::Git("master".into()),
            Source::Status,
            Source::Probe,
            Source::Sockets,
        ];
        for source in sources {
            // One that is new does not compile here before it is in the list above.
            match source {
                Source::Environ
                | Source::Code { .. }
                | Source::File(_)
                | Source::Spec
                | Source::Object(_)
                | Source::Git(_)
                | Source::Status
                | Source::Probe
                | Source::Sockets => {}
            }
            verdict.causes[0].facts.push(Fact {
                text: b"no text: \xfe".into(),
                source,
            });
        }
        for id in Id::ALL.iter().copied() {
            verdict.listed.push(Finding {
                id,
                next: vec![Next {
                    what: "look".into(),
                    command: BString::default(),
                }],
                ..verdict.causes[0].clone()
            });
        }
        let read = Saved::parse(&saved(&verdict)).unwrap();
        assert_eq!(read.verdict, verdict);
        assert_eq!(
            (read.target.as_str(), read.process.get()),
            ("deploy/page", r#"{"pid":7}"#)
        );
    }

    #[test]
    fn what_is_of_another_version_or_no_diagnosis_is_refused() {
        let change = |field: &str, value: Value| {
            let mut report: Value = serde_json::from_str(&saved(&example("X"))).unwrap();
            report[field] = value;
            Saved::parse(&report.to_string()).unwrap_err().to_string()
        };
        assert_eq!(
            change("schema", 2.into()),
            "it has schema 2, and this kdbg reads 1"
        );
        assert!(change("causes", json!([{"id": "x.y"}])).contains("`x.y`"));
        for text in ["", "[]", "{}", "\u{0}", r#"{"schema": 1}"#] {
            assert!(Saved::parse(text).is_err(), "{text}");
        }
    }
}
