//! The report for programs.

use std::collections::BTreeMap;

use bstr::BString;
use serde::Serialize;

use super::output::{Report, status};
use crate::{
    commands::subject::Subject,
    diff::Counts,
    evidence::{comparison::Difference, mapping::How, noise::Class},
    object::{FileMode, ObjectId},
    render::JsonBytes,
};

impl Report<'_> {
    /// The report as it is written.
    pub(super) fn json(&self) -> impl Serialize {
        JsonReport {
            schema: 2,
            process: Subject::new(self.target),
            reference: JsonReference {
                spec: self.reference.spec(),
                commit: self.reference.commit().id.to_string(),
                repository: self.reference.repository_path().display().to_string(),
            },
            revision: self.revision.as_deref(),
            roots: self.roots(),
            mappings: self.mappings(),
            complete: self.is_complete(),
            equal: self.comparison.equal,
            outside: self.comparison.outside.len(),
            running_files: self.running.count(),
            submodules: bytes(&self.comparison.submodules),
            compiled: bytes(&self.judgement.compiled),
            classes: self.classes.as_ref().map(|classes| JsonClasses {
                matched: classes.matched,
                without_class: bytes(&classes.without_class),
                without_source: bytes(&classes.without_source),
            }),
            files: self
                .judgement
                .real
                .iter()
                .map(|difference| self.file(difference))
                .collect(),
            noise: self.noise(),
            findings: self.findings(),
            unreadable: self.unreadable(),
        }
    }

    fn roots(&self) -> Vec<JsonRoot<'_>> {
        let roots = self.running.roots().iter();
        roots
            .filter_map(|root| {
                Some(JsonRoot {
                    path: JsonBytes(root.path.as_ref()?),
                    because: root.asked.why.because(),
                })
            })
            .collect()
    }

    fn mappings(&self) -> Vec<JsonMapping<'_>> {
        let rows = self.mappings.iter().zip(&self.comparison.coverage);
        rows.map(|(mapping, coverage)| JsonMapping {
            running: JsonBytes(&mapping.running),
            repository: JsonBytes(&mapping.repository),
            asked: mapping.how == How::Asked,
            equal_files: coverage.equal,
            files: coverage.of,
        })
        .collect()
    }

    fn file<'b>(&'b self, difference: &'b Difference) -> JsonFile<'b> {
        let counts = self
            .counts
            .binary_search_by(|count| count.path.cmp(&difference.path))
            .ok()
            .and_then(|found| self.counts.get(found));
        let (added, deleted) = match counts.map(|count| count.counts) {
            Some(Counts::Text { added, deleted }) => (Some(added), Some(deleted)),
            Some(Counts::Binary { .. }) | None => (None, None),
        };
        let change = super::contents::without_contents(difference);
        JsonFile {
            status: change.status().map_or('M', crate::diff::Status::letter),
            path: JsonBytes(&difference.path),
            running_path: difference
                .running
                .as_ref()
                .map(|file| JsonBytes(&file.path)),
            renamed_from: difference
                .origin
                .as_ref()
                .map(|origin| JsonBytes(&origin.path)),
            similarity: difference.origin.as_ref().map(|origin| origin.similarity),
            reference: difference
                .reference
                .map(|version| side(version.mode, version.id)),
            running: difference
                .running
                .as_ref()
                .map(|file| side(file.version.mode, file.version.id)),
            binary: counts.map(|count| matches!(count.counts, Counts::Binary { .. })),
            added,
            deleted,
        }
    }

    /// By class; a class without files is there too, so that a program need not know which there are.
    fn noise(&self) -> BTreeMap<&'static str, Vec<JsonNoise<'_>>> {
        let mut classes: BTreeMap<&'static str, Vec<JsonNoise<'_>>> = Class::ALL
            .into_iter()
            .map(|class| (class.name(), Vec::new()))
            .collect();
        for row in &self.judgement.noise {
            classes
                .entry(row.noise.class.name())
                .or_default()
                .push(JsonNoise {
                    status: status(row),
                    path: JsonBytes(&row.difference.path),
                    renamed_from: row
                        .difference
                        .origin
                        .as_ref()
                        .map(|origin| JsonBytes(&origin.path)),
                    because: &row.noise.because,
                });
        }
        classes
    }

    fn findings(&self) -> Vec<JsonFinding<'_>> {
        self.judgement
            .findings
            .iter()
            .map(|finding| JsonFinding {
                kind: finding.kind(),
                running_path: finding.running().map(|path| JsonBytes(path)),
                message: finding.sentence(),
            })
            .collect()
    }

    fn unreadable(&self) -> Vec<JsonUnreadable<'_>> {
        let running = self.running.unreadable.iter();
        let running = running.map(|(path, failure)| JsonUnreadable {
            path: JsonBytes(path),
            reason: failure.to_string(),
        });
        let unshown = self.unshown.iter().map(|(path, reason)| JsonUnreadable {
            path: JsonBytes(path),
            reason: reason.clone(),
        });
        running.chain(unshown).collect()
    }
}

fn bytes(paths: &[BString]) -> Vec<JsonBytes<'_>> {
    paths.iter().map(|path| JsonBytes(path)).collect()
}

fn side(mode: FileMode, id: ObjectId) -> JsonSide {
    JsonSide {
        mode: mode.as_octal(),
        id: id.to_string(),
    }
}

#[derive(Serialize)]
struct JsonReport<'a> {
    schema: u32,
    process: Subject<'a>,
    reference: JsonReference<'a>,
    /// Which commit runs, in one line.
    revision: Option<&'a str>,
    roots: Vec<JsonRoot<'a>>,
    mappings: Vec<JsonMapping<'a>>,
    complete: bool,
    equal: usize,
    outside: usize,
    running_files: usize,
    submodules: Vec<JsonBytes<'a>>,
    compiled: Vec<JsonBytes<'a>>,
    classes: Option<JsonClasses<'a>>,
    files: Vec<JsonFile<'a>>,
    noise: BTreeMap<&'static str, Vec<JsonNoise<'a>>>,
    findings: Vec<JsonFinding<'a>>,
    unreadable: Vec<JsonUnreadable<'a>>,
}

#[derive(Serialize)]
struct JsonReference<'a> {
    spec: &'a str,
    commit: String,
    repository: String,
}

#[derive(Serialize)]
struct JsonRoot<'a> {
    path: JsonBytes<'a>,
    because: String,
}

#[derive(Serialize)]
struct JsonMapping<'a> {
    running: JsonBytes<'a>,
    repository: JsonBytes<'a>,
    asked: bool,
    equal_files: usize,
    files: usize,
}

#[derive(Serialize)]
struct JsonClasses<'a> {
    matched: usize,
    without_class: Vec<JsonBytes<'a>>,
    without_source: Vec<JsonBytes<'a>>,
}

#[derive(Serialize)]
struct JsonFile<'a> {
    status: char,
    path: JsonBytes<'a>,
    running_path: Option<JsonBytes<'a>>,
    renamed_from: Option<JsonBytes<'a>>,
    similarity: Option<u8>,
    reference: Option<JsonSide>,
    running: Option<JsonSide>,
    binary: Option<bool>,
    added: Option<usize>,
    deleted: Option<usize>,
}

#[derive(Serialize)]
struct JsonSide {
    mode: &'static str,
    id: String,
}

#[derive(Serialize)]
struct JsonNoise<'a> {
    status: char,
    path: JsonBytes<'a>,
    renamed_from: Option<JsonBytes<'a>>,
    because: &'a str,
}

#[derive(Serialize)]
struct JsonFinding<'a> {
    kind: &'static str,
    running_path: Option<JsonBytes<'a>>,
    message: String,
}

#[derive(Serialize)]
struct JsonUnreadable<'a> {
    path: JsonBytes<'a>,
    reason: String,
}
