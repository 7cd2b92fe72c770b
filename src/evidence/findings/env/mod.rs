//! Rules about variables: what the process has, what declares it, and what the code takes it for.

mod collision;
mod shadowed;
mod stale;
mod unset;

use std::collections::BTreeMap;

use bstr::{BStr, BString, ByteSlice as _};

pub use collision::mistakable_links;
pub(super) use collision::service_link_collision;
pub(super) use shadowed::shadowed;
pub(super) use stale::stale;
pub(super) use unset::read_but_unset;

use super::{Built, CodeFile, Fact, Facts, Source, Variables, fact, source::short};
use crate::evidence::{
    provenance::{Attributed, Declaration, Declared, Lookup, Origin},
    reads::{EnvRead, ShownBy, Unset, UseKind},
    redact,
};

/// More places than this make a finding no clearer.
const MOST_PLACES: usize = 5;

/// A read with the file that it is in.
#[derive(Clone, Copy)]
struct Place<'a> {
    file: &'a CodeFile,
    read: &'a EnvRead,
}

/// Who else than the maker of the pod has put a variable into its spec: whoever looks at a Deployment does not find it.
fn injected_fact(variables: &Variables<'_>, name: &BStr) -> Option<Fact> {
    match &variables.attribution.get(name)?.origin {
        Origin::Spec {
            injected_by: Some(manager),
            ..
        } => Some(fact(
            format!("{manager} has put {name} into the spec of the pod"),
            Source::Spec,
        )),
        _ => None,
    }
}

/// How many links nothing reads: they are harmless.
pub(super) fn unread_links(facts: &Facts<'_>) -> usize {
    let Lookup::Found(variables) = &facts.variables else {
        return 0;
    };
    let read = reads_by_name(facts);
    variables
        .attribution
        .variables
        .iter()
        .filter(|one| {
            matches!(one.origin, Origin::ServiceLink { .. }) && !read.contains_key(&one.name)
        })
        .count()
}

/// The reads that a running program makes, by name.
fn reads_by_name<'a>(facts: &'a Facts<'_>) -> BTreeMap<BString, Vec<Place<'a>>> {
    let mut places: BTreeMap<BString, Vec<Place<'_>>> = BTreeMap::new();
    for file in &facts.code {
        for read in file.reads.reads.iter().filter(|read| !read.at_build) {
            if let Some(name) = read.known_name() {
                places
                    .entry(name.into())
                    .or_default()
                    .push(Place { file, read });
            }
        }
    }
    places
}

impl Place<'_> {
    /// The read itself, and where its use shows.
    fn facts(&self) -> Vec<Fact> {
        let Self { file, read } = self;
        let at = |line| match &file.built {
            None => Source::Code {
                path: file.path.clone(),
                line,
            },
            Some(built) => Source::Git(format!(
                "{}, {}:{line}",
                short(&built.commit),
                file.path.to_str_lossy()
            )),
        };
        let name = read.known_name().unwrap_or_default().as_bstr();
        let default = match (&read.default, read.unset) {
            (Some(default), _) if default.is_empty() => " with an empty default".to_owned(),
            (Some(default), _) => format!(" with the default {default}"),
            (None, Unset::Raises) => ", and fails without it".to_owned(),
            (None, _) => String::new(),
        };
        let changed = file
            .changed_lines
            .as_ref()
            .is_some_and(|lines| lines.contains(&read.line));
        let changed = if changed {
            ", on a line that the reference does not have"
        } else {
            ""
        };
        let mut facts = vec![fact(
            format!("the code reads {name}{default}{changed}"),
            at(read.line),
        )];
        if let Some(one) = read.kind() {
            facts.push(fact(
                format!("it takes it for {}: {}", noun(one.kind), how(one.shown_by)),
                at(one.line),
            ));
        }
        facts
    }
}

/// What joins a program with the commit in which its source was read.
fn built_facts(built: &Built, facts: &Facts<'_>, name: &BString) -> Vec<Fact> {
    let source = Source::File(built.said_by.clone());
    let changes = match built.modified {
        Some(true) => ", with changes that are in no commit",
        Some(false) => ", without changes",
        None => "",
    };
    let mut known = vec![fact(
        format!(
            "the program says that it was built from commit {}{changes}: its source was read there, not in the pod",
            short(&built.commit)
        ),
        source,
    )];
    let hints = facts.hints.iter().filter(|hint| hint.name == *name);
    known.extend(hints.take(1).map(|hint| {
        fact(
            format!("{name} stands in the program"),
            Source::File(hint.path.clone()),
        )
    }));
    known
}

/// Whether a read makes something of the value that no URL can be.
fn takes_no_url(read: &EnvRead) -> bool {
    matches!(
        read.kind().map(|one| one.kind),
        Some(UseKind::Port | UseKind::Number | UseKind::Host)
    )
}

fn declared_now<'a>(variables: &'a Variables<'_>, name: &BString) -> Option<&'a Declared> {
    let name = name.to_str().ok()?;
    let variable = variables.declarations.variables.get(name)?;
    variable.winner.value.found().map(|_| &variable.winner)
}

/// `: VALUE`, as far as it may be shown; nothing for a secret.
fn shown(facts: &Facts<'_>, name: &BString, declared: &Declared, secret: bool) -> String {
    let value = declared.value.found().and_then(|value| value.bytes());
    match value {
        Some(value) => {
            let source = if secret {
                redact::Source::Secret
            } else {
                redact::Source::Unknown
            };
            format!(
                ": {}",
                facts
                    .redactor
                    .variable(name, value, source)
                    .bytes()
                    .as_bstr()
            )
        }
        None => String::new(),
    }
}

fn value_of(variables: &Variables<'_>, variable: &Attributed) -> BString {
    let entry = variables.environment.entries.get(variable.entry);
    entry
        .and_then(|entry| variables.environment.value(entry))
        .unwrap_or_default()
        .into()
}

fn value_shown(facts: &Facts<'_>, variables: &Variables<'_>, variable: &Attributed) -> BString {
    let source = if variable.secret {
        redact::Source::Secret
    } else {
        redact::Source::Unknown
    };
    let value = value_of(variables, variable);
    facts
        .redactor
        .variable(&variable.name, &value, source)
        .bytes()
        .into_owned()
        .into()
}

/// What declares a variable, for a sentence.
fn describe(declaration: &Declaration) -> String {
    declaration.to_string()
}

fn source_of(declaration: &Declaration) -> Source {
    match (declaration.object(), declaration) {
        (Some(object), _) => Source::Object(object.to_string()),
        (None, Declaration::ServiceLink { service, .. }) => {
            Source::Object(format!("Service {service}"))
        }
        (None, _) => Source::Spec,
    }
}

/// Whether a name can stand in a command as it is.
fn is_plain(name: &[u8]) -> bool {
    !name.is_empty()
        && name
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
}

const fn noun(kind: UseKind) -> &'static str {
    match kind {
        UseKind::Port => "a port's number",
        UseKind::Host => "a host's name",
        UseKind::Url => "a URL",
        UseKind::Boolean => "yes or no",
        UseKind::Number => "a number",
        UseKind::Path => "a path",
    }
}

const fn expected(kind: UseKind) -> &'static str {
    match kind {
        UseKind::Port => "an integer from 1 to 65535",
        UseKind::Number => "a number",
        UseKind::Host => "a name or an address",
        UseKind::Url | UseKind::Boolean | UseKind::Path => "something else",
    }
}

const fn how(shown_by: ShownBy) -> &'static str {
    match shown_by {
        ShownBy::Conversion => "it is converted here",
        ShownBy::Format => "it is put into an address here",
        ShownBy::Argument => "it is passed to a function that takes such a thing",
        ShownBy::Comparison => "it is compared with such a value",
        ShownBy::Binding => "what gets the value has such a name",
        ShownBy::Default => "its default is one",
        ShownBy::Name => "its name says so",
    }
}
