//! `kdbg env --against spec`: what a restart would change.

use bstr::{BStr, BString, ByteSlice as _};
use serde::Serialize;

use super::{EnvArgs, EnvFormat, explained::Explained};
use crate::{
    cli::{error::CommandError, exit::ExitStatus, printer::Printer},
    commands::subject::Subject,
    evidence::{
        environment::Environment,
        provenance::{After, Change, ImageMoved, ObjectKind, Origin},
        redact::{Redactor, Source},
    },
    render::{JsonBytes, safe},
    target::Target,
};

/// Prints the changes, and says whether there are any.
pub(super) fn print(
    args: &EnvArgs,
    target: &Target,
    environment: &Environment,
    explained: &Explained,
    redactor: Redactor,
    printer: &mut Printer,
) -> Result<ExitStatus, CommandError> {
    let restart = &explained.restart;
    let rows: Vec<Row<'_>> = restart
        .changes
        .iter()
        .map(|change| Row::of(change, environment, explained, redactor))
        .collect();
    let moved = explained.moved();
    match args.output {
        EnvFormat::Text => {
            let image = moved.found().map(image_line);
            let lines: String = image
                .into_iter()
                .chain(rows.iter().map(Row::line))
                .collect();
            let out = printer.data();
            out.write_all(lines.as_bytes())
                .map_err(CommandError::output)?;
        }
        EnvFormat::Json => printer.json(&Report {
            schema: 1,
            process: Subject::new(target),
            changes: &rows,
            unknown: restart
                .unknown
                .iter()
                .map(|(name, why)| Unknown {
                    name: JsonBytes(name),
                    why,
                })
                .collect(),
            blocked: &restart.blocked,
            image: moved.found(),
        })?,
        EnvFormat::Dotenv | EnvFormat::Null => {
            return Err(
                CommandError::usage("`--against` prints changes, as text or as JSON")
                    .hint("leave out `-o`, or use `-o json`"),
            );
        }
    }
    for why in &restart.blocked {
        printer.warning(&format!("the container would not start: {why}"));
    }
    if let Some(why) = moved.unreadable() {
        printer.note(&format!(
            "not known whether the image's name means another image by now: {why}"
        ));
    }
    for (names, why) in by_reason(&restart.unknown) {
        printer.note(&format!("not known of {names}: {why}"));
    }
    let is_moved = moved.found().is_some();
    if rows.is_empty() && restart.blocked.is_empty() && restart.unknown.is_empty() && !is_moved {
        printer.note("a restart changes no variable");
    }
    Ok(ExitStatus::of_comparison(
        !rows.is_empty() || !restart.blocked.is_empty() || is_moved,
        restart.unknown.is_empty() && moved.unreadable().is_none(),
    ))
}

/// `image NAME: now → after (who says so)`
fn image_line(moved: &ImageMoved) -> String {
    format!(
        "image {}: {} → {}  # {}\n",
        safe(moved.image.as_bytes()),
        safe(moved.now.as_bytes()),
        safe(moved.after.as_bytes()),
        safe(moved.because.as_bytes())
    )
}

fn by_reason(unknown: &[(BString, String)]) -> Vec<(String, &str)> {
    let mut reasons: Vec<(String, &str)> = Vec::new();
    for (name, why) in unknown {
        match reasons.iter_mut().find(|(_, reason)| reason == why) {
            Some((names, _)) => {
                names.push_str(", ");
                names.push_str(&safe(name));
            }
            None => reasons.push((safe(name), why)),
        }
    }
    reasons
}

#[derive(Serialize)]
struct Report<'a> {
    schema: u32,
    process: Subject<'a>,
    changes: &'a [Row<'a>],
    unknown: Vec<Unknown<'a>>,
    blocked: &'a [String],
    /// Another image that the image's name means by now; `null` when it is not known to.
    image: Option<&'a ImageMoved>,
}

#[derive(Serialize)]
struct Unknown<'a> {
    name: JsonBytes<'a>,
    why: &'a str,
}

/// A change, as far as it may be shown.
#[derive(Serialize)]
struct Row<'a> {
    name: JsonBytes<'a>,
    /// `null` when the process does not have it.
    now: Option<Text>,
    /// `null` when it would not be there.
    after: Option<Text>,
    because: &'a Origin,
}

/// A value without its secrets.
#[derive(Serialize)]
#[serde(transparent)]
struct Text(String);

impl<'a> Row<'a> {
    fn of(
        change: &'a Change,
        environment: &Environment,
        explained: &Explained,
        redactor: Redactor,
    ) -> Self {
        let variable = explained.attribution.get(&change.name);
        let is_secret =
            variable.is_some_and(|variable| variable.secret) || is_of_secret(&change.because);
        let source = if is_secret {
            Source::Secret
        } else {
            Source::Unknown
        };
        let text = |value: &[u8]| {
            let shown = redactor.variable(&change.name, value, source);
            Text(safe(&shown.bytes()))
        };
        let now = variable
            .and_then(|variable| environment.entries.get(variable.entry))
            .and_then(|entry| environment.value(entry));
        Self {
            name: JsonBytes(&change.name),
            now: now.filter(|_| change.present).map(text),
            after: match &change.after {
                After::Value(value) => Some(match value.bytes() {
                    Some(bytes) => text(bytes),
                    None => Text("[another value of a Secret]".to_owned()),
                }),
                After::Blocked => Some(Text("[the container would not start]".to_owned())),
                After::Absent => None,
            },
            because: &change.because,
        }
    }

    /// `NAME: now → after (why)`
    fn line(&self) -> String {
        let side = |text: &Option<Text>| {
            text.as_ref()
                .map_or_else(|| "(not set)".to_owned(), |text| text.0.clone())
        };
        let name: &BStr = self.name.0.as_bstr();
        format!(
            "{}: {} → {}  # {}\n",
            safe(name),
            side(&self.now),
            side(&self.after),
            because(self.because)
        )
    }
}

fn is_of_secret(origin: &Origin) -> bool {
    let Origin::Spec { declaration, .. } = origin else {
        return false;
    };
    declaration
        .object()
        .is_some_and(|object| object.kind == ObjectKind::Secret)
}

fn because(origin: &Origin) -> String {
    match origin {
        Origin::Spec { declaration, .. } => declaration.to_string(),
        Origin::ServiceLink {
            service: Some(service),
            ..
        } => format!("Service {service}"),
        Origin::ServiceLink { .. } => "a Service that is gone".to_owned(),
        Origin::Image => "the image".to_owned(),
        Origin::Runtime => "the container runtime".to_owned(),
        Origin::Entrypoint { .. } => "the entrypoint".to_owned(),
        Origin::Unknown { why } => why.clone(),
    }
}
