//! `kdbg diff-pod`: what two targets have that is not the same.
//!
//! Two pods of one deployment should be the same but for their names; when one of them misbehaves, the
//! difference is the first thing to know. `-` is the first target, `+` the second.

use std::{collections::BTreeMap, fmt::Write as _, path::PathBuf};

use bstr::{BString, ByteSlice as _};
use clap::Args;
use serde::Serialize;

use super::{
    env, facts, fan_out,
    running::{self, NamedFiles},
    subject::{Subject, counted},
};
use crate::{
    cli::{
        args::{AgentArgs, ClusterArgs, OutputFormat, TargetArgs},
        error::CommandError,
        exit::ExitStatus,
        printer::Printer,
        progress::Progress,
    },
    evidence::{
        environment::Environment,
        noise::atomic,
        redact::Redactor,
        roots::{Root, Why},
    },
    object::{FileMode, HashKind, ObjectId},
    protocol::message::Reading,
    render::{JsonBytes, JsonCow, safe},
    target::{Place, Target},
};

/// As many rows of a kind are shown in text; `-o json` has all.
const ROWS: usize = 50;

/// Arguments of `kdbg diff-pod`.
#[derive(Args, Debug)]
pub struct DiffPodArgs {
    /// The first target (`-`): a pod, or something that has pods, or `pid/1234`
    #[arg(value_name = "A")]
    first: String,
    /// The second target (`+`)
    #[arg(value_name = "B")]
    second: String,
    /// A running folder, as both processes see it; may be given several times [default: the working directory and
    /// the folder of the script of each]
    #[arg(long = "root", value_name = "DIR")]
    roots: Vec<PathBuf>,
    /// How to print it
    #[arg(short, long, value_enum, value_name = "FORMAT", default_value_t)]
    output: OutputFormat,
    /// Print passwords, tokens and keys as they are
    #[arg(long)]
    show_secrets: bool,
    /// Do not compare files above this size, in bytes
    #[arg(long, value_name = "BYTES", default_value_t = 1 << 30)]
    max_file_size: u64,
    #[command(flatten)]
    cluster: ClusterArgs,
    #[command(flatten)]
    agent: AgentArgs,
}

/// What is known of one side.
struct Side {
    target: Target,
    files: NamedFiles,
    environment: Result<Environment, String>,
    own: Vec<String>,
}

/// A file under its root, the root by its position: two pods may keep the same code under different names.
type Key = (usize, BString);
type Version = (FileMode, ObjectId);

/// Runs `kdbg diff-pod`.
pub async fn run(args: DiffPodArgs, printer: &mut Printer) -> Result<ExitStatus, CommandError> {
    if args.cluster.labels.is_some() || args.cluster.all {
        let message = "two targets are compared, named one after the other";
        return Err(CommandError::usage(message).hint(
            "`kdbg env -l` and `kdbg ls -l` look at all pods of a kind and group equal answers",
        ));
    }
    let (first, second) = (
        target_args(&args, &args.first),
        target_args(&args, &args.second),
    );
    let first = Box::pin(super::open(&first, printer)).await?;
    let second = Box::pin(super::open(&second, printer)).await?;
    let progress = printer.progress("naming the running files");
    let (first, second) = tokio::join!(
        look(&args, first, &progress),
        look(&args, second, &progress)
    );
    drop(progress);
    let report = Report::new(first?, second?, Redactor::new(args.show_secrets));
    match args.output {
        OutputFormat::Text => report.text(printer)?,
        OutputFormat::Json => printer.json(&report.json())?,
    }
    report.print_warnings(printer);
    let status = report.status();
    let Report { first, second, .. } = report;
    first.target.close().await;
    second.target.close().await;
    Ok(status)
}

fn target_args(args: &DiffPodArgs, target: &str) -> TargetArgs {
    TargetArgs {
        target: Some(target.to_owned()),
        process: None,
        cluster: args.cluster.clone(),
        agent: args.agent.clone(),
    }
}

async fn look(
    args: &DiffPodArgs,
    target: Target,
    progress: &Progress,
) -> Result<Side, CommandError> {
    let roots = roots_of(args, &target).await?;
    let (files, environment) = tokio::join!(
        running::walk(
            &target,
            &roots,
            HashKind::Sha1,
            args.max_file_size,
            progress
        ),
        env::read(&target.session, target.process())
    );
    Ok(Side {
        files: files?,
        environment: environment.map_err(|error| error.to_string()),
        own: fan_out::own_words(&target),
        target,
    })
}

/// The folders of the code, and behind them the executable.
async fn roots_of(args: &DiffPodArgs, target: &Target) -> Result<Vec<Root>, CommandError> {
    let mut found = facts::asked_or_found(target, &args.roots).await?;
    if let Reading::Known(path) = &target.process().executable {
        found.push(Root {
            path: path.clone(),
            why: Why::Asked,
            is_guess: false,
        });
    }
    Ok(found)
}

impl Side {
    /// The executable as the process sees it.
    fn executable(&self) -> Option<&BString> {
        self.target.process().executable.known()
    }

    /// The files under their roots, without the executable.
    fn by_root(&self) -> BTreeMap<Key, Version> {
        let executable = self.executable();
        let roots: Vec<(usize, &BString)> = self
            .files
            .roots
            .iter()
            .map(|(_, path)| path)
            .enumerate()
            .filter(|(_, path)| Some(*path) != executable)
            .collect();
        let below = |path: &BString| {
            roots.iter().find_map(|(position, root)| {
                let root = root.trim_end_with(|character| character == '/');
                let rest = path.strip_prefix(root)?.strip_prefix(b"/")?;
                Some((*position, BString::from(rest)))
            })
        };
        self.files
            .files
            .iter()
            .filter(|file| file.mode != FileMode::Symlink || !atomic::is_link(file.path.as_ref()))
            .filter_map(|file| {
                let (root, path) = below(&file.path)?;
                Some(((root, atomic::settled(path.as_ref())), (file.mode, file.id)))
            })
            .collect()
    }

    fn executable_id(&self) -> Option<ObjectId> {
        let path = self.executable()?;
        let file = self.files.files.iter().find(|file| file.path == *path);
        file.map(|file| file.id)
    }

    /// Whether the process has written its title over its environment, as PHP-FPM does.
    fn has_overwritten(&self) -> bool {
        let environment = self.environment.as_ref();
        environment.is_ok_and(|environment| environment.overwritten)
    }

    fn image(&self) -> Option<(&str, &str)> {
        match &self.target.place {
            Place::Machine(_) => None,
            Place::Pod(place) => Some((&place.image, &place.image_id)),
        }
    }
}

/// A digest of all files: equal when the trees are.
fn digest(files: &BTreeMap<Key, Version>) -> String {
    let mut hasher = blake3::Hasher::new();
    for ((root, path), (mode, id)) in files {
        hasher.update(format!("{root} {} {id} {}\0", mode.as_octal(), path.len()).as_bytes());
        hasher.update(path);
    }
    let hex = hasher.finalize().to_hex();
    hex.get(..16).unwrap_or(&hex).to_owned()
}

/// A variable of which the sides have other values.
struct Variable {
    name: BString,
    /// What is shown of the values; none when the side does not have it.
    first: Option<Vec<u8>>,
    second: Option<Vec<u8>>,
}

/// What a name is set to: as it is, without what is the pod's own, and as it is shown.
struct Value {
    whole: Vec<u8>,
    compared: Vec<u8>,
    shown: Vec<u8>,
}

impl Value {
    /// Equal values are equal whatever the pods are called: a pod `app` has its name in `/app` by chance.
    fn is_same(&self, other: &Self) -> bool {
        self.whole == other.whole || self.compared == other.compared
    }
}

fn values(side: &Side, environment: &Environment, redactor: Redactor) -> BTreeMap<BString, Value> {
    let mut values = BTreeMap::new();
    for entry in &environment.entries {
        let value = environment.value(entry).unwrap_or_default();
        // Of two of the same name `getenv` sees the first.
        values
            .entry(BString::from(environment.name(entry)))
            .or_insert_with(|| Value {
                whole: value.to_vec(),
                compared: fan_out::put_aside(value, &side.own),
                shown: env::shown(environment, entry, redactor)
                    .bytes()
                    .into_owned(),
            });
    }
    values
}

fn variables(first: &Side, second: &Side, redactor: Redactor) -> Option<Vec<Variable>> {
    let (Ok(left), Ok(right)) = (&first.environment, &second.environment) else {
        return None;
    };
    let left = values(first, left, redactor);
    let mut right = values(second, right, redactor);
    let mut found = Vec::new();
    for (name, one) in left {
        let other = right.remove(&name);
        if other.as_ref().is_some_and(|other| other.is_same(&one)) {
            continue;
        }
        found.push(Variable {
            name,
            first: Some(one.shown),
            second: other.map(|other| other.shown),
        });
    }
    found.extend(right.into_iter().map(|(name, other)| Variable {
        name,
        first: None,
        second: Some(other.shown),
    }));
    found.sort_by(|left, right| left.name.cmp(&right.name));
    Some(found)
}

/// All that was found.
struct Report {
    first: Side,
    second: Side,
    digests: (String, String),
    /// Files that are not the same, with what either side has.
    files: Vec<(Key, Option<Version>, Option<Version>)>,
    compared: usize,
    /// `None` when an environment could not be read.
    variables: Option<Vec<Variable>>,
}

impl Report {
    fn new(first: Side, second: Side, redactor: Redactor) -> Self {
        let (left, right) = (first.by_root(), second.by_root());
        let digests = (digest(&left), digest(&right));
        let names: std::collections::BTreeSet<&Key> = left.keys().chain(right.keys()).collect();
        let compared = names.len();
        let files = names
            .into_iter()
            .map(|key| (key.clone(), left.get(key).copied(), right.get(key).copied()))
            .filter(|(_, left, right)| left != right)
            .collect();
        Self {
            variables: variables(&first, &second, redactor),
            first,
            second,
            digests,
            files,
            compared,
        }
    }

    /// Whether the executables are the same; `None` when one could not be read.
    fn same_executable(&self) -> Option<bool> {
        let (left, right) = (self.first.executable_id()?, self.second.executable_id()?);
        Some(left == right)
    }

    fn same_image(&self) -> Option<bool> {
        let ((_, left), (_, right)) = (self.first.image()?, self.second.image()?);
        Some(left == right)
    }

    fn differs(&self) -> bool {
        !self.files.is_empty()
            || self.same_executable() == Some(false)
            || self.same_image() == Some(false)
            || self
                .variables
                .as_ref()
                .is_some_and(|found| !found.is_empty())
    }

    fn is_complete(&self) -> bool {
        let sides = [&self.first, &self.second];
        self.variables.is_some()
            && self.same_executable().is_some()
            && sides
                .iter()
                .all(|side| side.files.unreadable.is_empty() && !side.has_overwritten())
    }

    fn status(&self) -> ExitStatus {
        ExitStatus::of_comparison(self.differs(), self.is_complete())
    }

    /// The path of a file: as both see it, or within its root when the roots have other names.
    fn path(&self, (root, path): &Key) -> BString {
        let of = |side: &Side| side.files.roots.get(*root).map(|(_, path)| path.clone());
        match (of(&self.first), of(&self.second)) {
            (Some(left), Some(right)) if left == right => running::below(&left, path),
            _ => path.clone(),
        }
    }

    fn text(&self, printer: &mut Printer) -> Result<(), CommandError> {
        let mut text = String::new();
        if let (Some((left, left_id)), Some((right, right_id))) =
            (self.first.image(), self.second.image())
        {
            if self.same_image() == Some(true) {
                let _ = writeln!(text, "image: the same, {}", safe(left_id.as_bytes()));
            } else {
                text.push_str("image: differs\n");
                for (sign, image, id) in [('-', left, left_id), ('+', right, right_id)] {
                    let _ = writeln!(
                        text,
                        "  {sign} {} {}",
                        safe(image.as_bytes()),
                        safe(id.as_bytes())
                    );
                }
            }
        }
        self.executable_text(&mut text);
        self.files_text(&mut text);
        self.variables_text(&mut text);
        printer
            .data()
            .write_all(text.as_bytes())
            .map_err(CommandError::output)
    }

    fn executable_text(&self, text: &mut String) {
        let path = |side: &Side| {
            let path = side.executable();
            path.map_or_else(|| "not known".to_owned(), |path| safe(path))
        };
        let (left, right) = (path(&self.first), path(&self.second));
        match self.same_executable() {
            Some(true) if left == right => {
                let _ = writeln!(text, "executable: the same, {left}");
            }
            Some(true) => {
                let _ = writeln!(text, "executable: the same, {left} and {right}");
            }
            Some(false) => {
                let _ = writeln!(text, "executable: differs\n  - {left}\n  + {right}");
            }
            None => {
                let _ = writeln!(
                    text,
                    "executable: could not be compared, {left} and {right}"
                );
            }
        }
    }

    fn files_text(&self, text: &mut String) {
        if self.files.is_empty() {
            let files = counted(self.compared as u64, "file");
            let _ = writeln!(text, "files: the same, {files}, digest {}", self.digests.0);
            return;
        }
        let _ = writeln!(
            text,
            "files: {} of {} differ",
            self.files.len(),
            self.compared
        );
        for (key, left, right) in self.files.iter().take(ROWS) {
            let sign = match (left, right) {
                (Some(_), None) => '-',
                (None, Some(_)) => '+',
                _ => 'M',
            };
            let _ = writeln!(text, "  {sign} {}", safe(&self.path(key)));
        }
        if self.files.len() > ROWS {
            let _ = writeln!(text, "  and {} more", self.files.len() - ROWS);
        }
    }

    fn variables_text(&self, text: &mut String) {
        let Some(variables) = &self.variables else {
            text.push_str("environment: could not be compared\n");
            return;
        };
        if variables.is_empty() {
            let sides = [&self.first, &self.second];
            text.push_str(if sides.into_iter().any(Side::has_overwritten) {
                "environment: the same in what is left of it\n"
            } else {
                "environment: the same\n"
            });
            return;
        }
        let _ = writeln!(
            text,
            "environment: {} set differently",
            counted(variables.len() as u64, "variable")
        );
        for variable in variables.iter().take(ROWS) {
            for (sign, value) in [('-', &variable.first), ('+', &variable.second)] {
                if let Some(value) = value {
                    let _ = writeln!(text, "  {sign} {}={}", safe(&variable.name), safe(value));
                }
            }
        }
        if variables.len() > ROWS {
            let _ = writeln!(text, "  and {} more", variables.len() - ROWS);
        }
    }

    fn print_warnings(&self, printer: &Printer) {
        for side in [&self.first, &self.second] {
            for (_, failure) in side.files.unreadable.iter().take(ROWS) {
                printer.warning(&format!("{}: {failure}", side.target));
            }
            match &side.environment {
                Err(reason) => printer.warning(&format!("{}: {reason}", side.target)),
                Ok(environment) if environment.overwritten => printer.warning(&format!(
                    "{}: the process has overwritten its environment",
                    side.target
                )),
                Ok(_) => {}
            }
        }
    }

    fn json(&self) -> impl Serialize {
        let version = |version: &Option<Version>| {
            version.map(|(mode, id)| JsonVersion {
                mode: mode.as_octal(),
                id: id.to_string(),
            })
        };
        JsonReport {
            schema: 1,
            first: Subject::new(&self.first.target),
            second: Subject::new(&self.second.target),
            same_image: self.same_image(),
            same_executable: self.same_executable(),
            complete: self.is_complete(),
            files: JsonFiles {
                compared: self.compared,
                first_digest: &self.digests.0,
                second_digest: &self.digests.1,
                differences: self
                    .files
                    .iter()
                    .map(|(key, left, right)| JsonFile {
                        path: JsonCow(Vec::from(self.path(key)).into()),
                        first: version(left),
                        second: version(right),
                    })
                    .collect(),
            },
            environment: self.variables.as_ref().map(|variables| {
                variables
                    .iter()
                    .map(|variable| JsonVariable {
                        name: JsonBytes(&variable.name),
                        first: variable.first.as_deref().map(JsonBytes),
                        second: variable.second.as_deref().map(JsonBytes),
                    })
                    .collect()
            }),
            unreadable: [("first", &self.first), ("second", &self.second)]
                .into_iter()
                .flat_map(|(side, of)| {
                    of.files
                        .unreadable
                        .iter()
                        .map(move |(path, failure)| JsonUnreadable {
                            side,
                            path: JsonBytes(path),
                            reason: failure.to_string(),
                        })
                })
                .collect(),
        }
    }
}

#[derive(Serialize)]
struct JsonReport<'a> {
    schema: u32,
    first: Subject<'a>,
    second: Subject<'a>,
    same_image: Option<bool>,
    same_executable: Option<bool>,
    files: JsonFiles<'a>,
    environment: Option<Vec<JsonVariable<'a>>>,
    complete: bool,
    unreadable: Vec<JsonUnreadable<'a>>,
}

#[derive(Serialize)]
struct JsonFiles<'a> {
    compared: usize,
    first_digest: &'a str,
    second_digest: &'a str,
    differences: Vec<JsonFile>,
}

#[derive(Serialize)]
struct JsonFile {
    path: JsonCow<'static>,
    first: Option<JsonVersion>,
    second: Option<JsonVersion>,
}

#[derive(Serialize)]
struct JsonVersion {
    mode: &'static str,
    id: String,
}

#[derive(Serialize)]
struct JsonVariable<'a> {
    name: JsonBytes<'a>,
    first: Option<JsonBytes<'a>>,
    second: Option<JsonBytes<'a>>,
}

#[derive(Serialize)]
struct JsonUnreadable<'a> {
    side: &'static str,
    path: JsonBytes<'a>,
    reason: String,
}
