//! A diagnosis that is kept: a folder with what was found, to be read by people as it is and by `kdbg diagnose DIR`.

use std::{
    fs, io,
    io::Read as _,
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use serde::Serialize;
use serde_json::value::RawValue;

use super::{raw::Raw, several::Several};
use crate::{
    cli::error::CommandError,
    extract::Destination,
    render::{
        findings::JsonVerdict,
        report::{self, Section},
        saved::Saved,
    },
};

/// The file that every bundle has: the report, as `-o json` prints it.
pub(super) const REPORT: &str = "diagnosis.json";
/// The same for people.
const TEXT: &str = "diagnosis.txt";
const HTML: &str = "diagnosis.html";
/// The folder of what was looked at.
const RAW: &str = "raw";
/// No report is larger.
const LIMIT: u64 = 64 << 20;

/// The folder of a bundle, when what was typed for a target is one. Names of pods have neither dot nor slash in front.
pub(super) fn folder(typed: Option<&str>) -> Option<PathBuf> {
    let path = Path::new(typed?);
    let is_path = typed.is_some_and(|typed| typed.starts_with(['.', '/']));
    (is_path || path.join(REPORT).is_file()).then(|| path.to_owned())
}

/// What a bundle has.
pub(super) enum Kept {
    /// A target.
    One(Saved),
    /// Several pods.
    Several(Several),
}

impl Kept {
    /// What was looked at, as it was named, and by which program and when.
    pub(super) fn names(&self) -> (&str, &str) {
        match self {
            Self::One(saved) => (&saved.target, &saved.made_by),
            Self::Several(several) => several.names(),
        }
    }
}

/// Reads a bundle.
pub(super) fn read(folder: &Path) -> Result<Kept, CommandError> {
    let path = folder.join(REPORT);
    let refused = |why: String| {
        CommandError::usage(format!("cannot read `{}`: {why}", path.display()))
            .hint("`kdbg diagnose TARGET --save DIR` makes such a folder")
    };
    let mut text = String::new();
    let read = fs::File::open(&path).and_then(|file| file.take(LIMIT).read_to_string(&mut text));
    read.map_err(|error| refused(error.to_string()))?;
    let kept = match Several::parse(&text) {
        Some(several) => several.map(Kept::Several),
        None => Saved::parse(&text).map(Kept::One),
    };
    kept.map_err(|error| refused(error.to_string()))
}

/// A verdict with what it is about; `P` says which process.
#[derive(Serialize)]
pub(super) struct Report<'a, P> {
    #[serde(flatten)]
    pub(super) verdict: JsonVerdict<'a>,
    /// What was looked at, as it was named.
    pub(super) target: &'a str,
    /// By which program, and when.
    pub(super) made_by: &'a str,
    pub(super) process: P,
}

impl<'a> Report<'a, &'a RawValue> {
    pub(super) fn of_saved(saved: &'a Saved) -> Self {
        Self {
            verdict: JsonVerdict(&saved.verdict),
            target: &saved.target,
            made_by: &saved.made_by,
            process: &saved.process,
        }
    }
}

impl<P> Report<'_, P> {
    /// The page for an incident.
    pub(super) fn html(&self) -> Result<String, CommandError> {
        let JsonVerdict(verdict) = self.verdict;
        let section = Section {
            heading: None,
            verdict,
        };
        html(&[section], self.target, self.made_by)
    }
}

/// The page for an incident.
pub(super) fn html(
    sections: &[Section<'_>],
    target: &str,
    made_by: &str,
) -> Result<String, CommandError> {
    let mut page = report::html(sections, target, made_by).map_err(CommandError::internal)?;
    page.push('\n');
    Ok(page)
}

/// Writes a bundle: the whole of it, or nothing.
pub(super) fn write(
    destination: &Destination,
    report: &impl Serialize,
    text: &str,
    page: &str,
    raw: Raw,
) -> Result<(), CommandError> {
    let mut json = serde_json::to_vec_pretty(report).map_err(CommandError::internal)?;
    json.push(b'\n');
    let folder = destination.folder()?;
    for (name, content) in [
        (REPORT, json.as_slice()),
        (TEXT, text.as_bytes()),
        (HTML, page.as_bytes()),
    ] {
        put(&folder.path().join(name), content).map_err(|error| destination.error(error))?;
    }
    for (name, content) in raw {
        let path = folder.path().join(RAW).join(name);
        let parent = path.parent().unwrap_or(folder.path());
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(parent)
            .and_then(|()| put(&path, &content))
            .map_err(|error| destination.error(error))?;
    }
    destination.publish_folder(folder)?;
    Ok(())
}

/// For its owner only: what was found may be nobody else's business.
fn put(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut options = fs::OpenOptions::new();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    io::Write::write_all(&mut file, content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_one_by_its_report_or_by_how_it_is_written() {
        let folder_with = tempfile::tempdir().unwrap();
        let path = folder_with.path().to_str().unwrap();
        assert_eq!(folder(Some(path)), Some(path.into()));
        assert_eq!(folder(Some("./gone")), Some("./gone".into()));
        for target in ["web-7f9c", "deploy/web", "pid/12"] {
            assert_eq!(folder(Some(target)), None, "{target}");
        }
        assert_eq!(folder(None), None);
    }
}
