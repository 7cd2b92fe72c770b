//! `--from`: the same probe from several places, side by side.

use clap::Args;
use serde::Serialize;

use super::open;
use crate::{
    cli::{
        args::TargetArgs,
        error::CommandError,
        exit::ExitStatus,
        printer::Printer,
        signals::{Signals, status_of},
    },
    evidence::{
        phases::{self, Difference, Step},
        reach,
    },
    render::{
        safe,
        table::{self, Align},
    },
    target::{
        Place, Selector, Target,
        pod::{Temporary, Vantage},
    },
};

/// Other places to ask from.
#[derive(Args, Clone, Debug)]
pub(super) struct FromArgs {
    /// Ask from this target too, from `here` (this machine), from `new` (a pod that is started for it, and goes again) or from
    /// `node` (the same in the network of the target's node), and say in which phase they part; may be given several times
    #[arg(long, value_name = "TARGET|here|new|node", value_parser = place)]
    pub(super) from: Vec<From>,
}

/// A place to ask from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum From {
    /// This machine.
    Here,
    /// A pod that is started for it.
    Started(Vantage),
    /// A target in the namespace and context of the first one.
    Target(String),
}

fn place(text: &str) -> Result<From, String> {
    match text {
        "" => Err("it is empty".to_owned()),
        "here" => Ok(From::Here),
        "new" => Ok(From::Started(Vantage::New)),
        "node" => Ok(From::Started(Vantage::Node)),
        _ => Ok(From::Target(text.to_owned())),
    }
}

impl FromArgs {
    /// Whether a comparison is wanted.
    pub(super) fn is_wanted(&self) -> bool {
        !self.from.is_empty()
    }

    /// Fails where all pods are meant: places are compared with one pod.
    pub(super) fn check_one(&self, args: &TargetArgs) -> Result<(), CommandError> {
        if self.is_wanted() && args.means_all() {
            return Err(CommandError::usage(
                "`--from` compares one pod with other places, not all of them",
            )
            .hint("name one of the pods"));
        }
        Ok(())
    }

    /// Fails where a pod is to be started and the target is in no cluster.
    fn check_started(&self, args: &TargetArgs) -> Result<(), CommandError> {
        let Some(vantage) = self.started().next() else {
            return Ok(());
        };
        match args.wanted()?.selector {
            Selector::Pid(_) | Selector::Name(_) => {
                let error = format!(
                    "`--from {vantage}` starts a pod for a target that is one, and this is a process of this machine"
                );
                Err(CommandError::usage(error).hint("name a pod as the target"))
            }
            Selector::Object { .. } | Selector::Labels(_) => Ok(()),
        }
    }

    /// The pods that are to be started.
    fn started(&self) -> impl Iterator<Item = Vantage> {
        self.from.iter().filter_map(|from| match from {
            From::Started(vantage) => Some(*vantage),
            From::Here | From::Target(_) => None,
        })
    }

    /// Whether a place, counted from the target itself, is a pod that was started, where no program has rules of its own.
    pub(super) fn is_started(&self, place: usize) -> bool {
        let from = place.checked_sub(1).and_then(|place| self.from.get(place));
        matches!(from, Some(From::Started(_)))
    }

    /// Opens all places, the target itself first, and has them asked. The pods that were started for it are gone before this
    /// returns, however it ends; so what is printed comes later, when a reader who does not read cannot keep them.
    pub(super) async fn ask<T>(
        &self,
        args: &TargetArgs,
        printer: &mut Printer,
        ask: impl AsyncFnOnce(&[Target], &mut Printer) -> Result<T, CommandError>,
    ) -> Result<Outcome<T>, CommandError> {
        self.check_started(args)?;
        if self.started().next().is_none() {
            let mut none = Vec::new();
            let targets = self.open(args, &mut none, printer).await?;
            let answer = ask(&targets, printer).await?;
            return Ok(Outcome::All(targets, answer));
        }
        let mut signals = Signals::claim().map_err(CommandError::internal)?;
        let mut started = Vec::new();
        let asking = async {
            let targets = self.open(args, &mut started, printer).await?;
            let answer = ask(&targets, printer).await?;
            Ok(Outcome::All(targets, answer))
        };
        let result = tokio::select! {
            biased;
            result = asking => result,
            signal = signals.ending() => Ok(Outcome::Ended(status_of(signal))),
        };
        remove(&mut started, printer).await;
        signals.release();
        result
    }

    /// Opens all places, the target itself first. What is to be started for it is put down before anything is.
    async fn open(
        &self,
        args: &TargetArgs,
        started: &mut Vec<Temporary>,
        printer: &Printer,
    ) -> Result<Vec<Target>, CommandError> {
        let first = open(args, printer).await?;
        self.prepare(args, &first, started, printer).await?;
        let mut pods = started.iter_mut();
        let mut targets = vec![first];
        for from in &self.from {
            targets.push(match from {
                From::Here => Target::here().await?,
                From::Started(vantage) => match pods.next() {
                    Some(pod) => start(*vantage, pod, printer).await?,
                    // Not beside a process of this machine, which was refused before.
                    None => continue,
                },
                From::Target(name) => {
                    let mut other = args.clone();
                    other.target = Some(name.clone());
                    // What was said of the first target is not said of this one.
                    other.process = None;
                    other.cluster.labels = None;
                    other.cluster.container = None;
                    open(&other, printer).await?
                }
            });
        }
        Ok(targets)
    }

    /// Asks for all pods that are to be started whether they may be, before any of them is.
    async fn prepare(
        &self,
        args: &TargetArgs,
        target: &Target,
        pods: &mut Vec<Temporary>,
        printer: &Printer,
    ) -> Result<(), CommandError> {
        let Place::Pod(place) = &target.place else {
            return Ok(());
        };
        for vantage in self.started() {
            let described = place.described();
            let options = args.pod_options();
            let pod = Temporary::new(&described, &place.agent_image, vantage, &options);
            let progress = printer.progress(format!("asking whether `{vantage}` may be started"));
            pod.check().await?;
            drop(progress);
            pods.push(pod);
        }
        Ok(())
    }

    /// What to call the places.
    fn names(&self, targets: &[Target]) -> Vec<String> {
        let mut names: Vec<_> = targets.iter().map(ToString::to_string).collect();
        for (name, from) in names.iter_mut().skip(1).zip(&self.from) {
            match from {
                From::Here => "here".clone_into(name),
                From::Started(vantage) => *name = format!("{vantage} (pod {name})"),
                From::Target(_) => {}
            }
        }
        names
    }

    /// Shows the courses side by side and says where they part.
    pub(super) fn compare<R: Serialize>(
        &self,
        targets: &[Target],
        courses: &[Vec<Step>],
        reports: Option<Vec<R>>,
        printer: &mut Printer,
    ) -> Result<Option<ExitStatus>, CommandError> {
        let names = self.names(targets);
        compare(&names, courses, reports, printer)
    }
}

/// What came of asking several places.
pub(super) enum Outcome<T> {
    /// All of them have been asked; the target itself is the first.
    All(Vec<Target>, T),
    /// A signal has ended it.
    Ended(ExitStatus),
}

/// Starts a pod and says what it can show.
async fn start(
    vantage: Vantage,
    pod: &mut Temporary,
    printer: &Printer,
) -> Result<Target, CommandError> {
    let progress = printer.progress(format!(
        "starting pod {} to ask from `{vantage}`",
        pod.name()
    ));
    let target = Target::open_temporary(pod).await?;
    drop(progress);
    if let Place::Pod(place) = &target.place {
        for remark in pod.remarks(place) {
            printer.note(&remark);
        }
    }
    Ok(target)
}

/// Takes away what was started; what cannot be is told.
async fn remove(started: &mut [Temporary], printer: &Printer) {
    for pod in started {
        if let Err(error) = pod.remove().await {
            printer.warning(&format!(
                "pod {} is still there: {error}; it ends by itself, and goes with the target or with `kdbg cleanup`",
                pod.name()
            ));
        }
    }
}

/// The same for places that have names already.
pub(super) fn compare<R: Serialize>(
    names: &[String],
    courses: &[Vec<Step>],
    reports: Option<Vec<R>>,
    printer: &mut Printer,
) -> Result<Option<ExitStatus>, CommandError> {
    let differences = phases::differences(courses);
    if let Some(places) = reports {
        let differences = differences.iter().map(|one| row(names, one)).collect();
        printer.json(&Comparison {
            schema: 1,
            places: names,
            probes: places,
            differences,
        })?;
    } else {
        print(names, courses, &differences, printer)?;
    }
    Ok((!differences.is_empty()).then_some(ExitStatus::Found))
}

fn print(
    names: &[String],
    courses: &[Vec<Step>],
    differences: &[Difference],
    printer: &mut Printer,
) -> Result<(), CommandError> {
    let width = printer.width();
    let mut columns = vec![("PHASE", Align::Left)];
    columns.extend(names.iter().map(|name| (name.as_str(), Align::Left)));
    let rows = phases::table(courses)
        .into_iter()
        .map(|(phase, cells)| std::iter::once(phase).chain(shown(cells)).collect());
    let text = table::render(&columns, rows, width);
    let out = printer.data();
    write!(out, "{text}").map_err(CommandError::output)?;
    let mut lines = Vec::new();
    if let Some(first) = differences.first() {
        lines.push(format!("they part in `{}`:", first.phase));
        for (name, shown) in names.iter().zip(&first.shown) {
            let shown = shown.as_deref().unwrap_or("did not come so far");
            lines.push(format!("  {name}: {}", safe(shown.as_bytes())));
        }
    } else {
        lines.push("no phase differs".to_owned());
    }
    if let Some((phase, least, most)) = phases::slower(courses) {
        lines.push(format!(
            "`{phase}` takes {} from one of them and {} from another",
            reach::time(least),
            reach::time(most)
        ));
    }
    for line in lines {
        writeln!(out, "{line}").map_err(CommandError::output)?;
    }
    Ok(())
}

/// The cells of a row; a long one that is the same everywhere stands there once.
fn shown(cells: Vec<Option<String>>) -> Vec<String> {
    const LONG: usize = 40;
    let mut shown: Vec<_> = cells
        .into_iter()
        .map(|cell| safe(cell.as_deref().unwrap_or("-").as_bytes()))
        .collect();
    if let Some((first, others)) = shown.split_first_mut()
        && first.len() > LONG
    {
        for other in others.iter_mut().filter(|other| *other == first) {
            "the same".clone_into(other);
        }
    }
    shown
}

#[derive(Serialize)]
struct Comparison<'a, R> {
    schema: u32,
    places: &'a [String],
    /// What was found from each, as the command prints it for one.
    probes: Vec<R>,
    differences: Vec<DifferenceRow<'a>>,
}

#[derive(Serialize)]
struct DifferenceRow<'a> {
    phase: &'a str,
    from: Vec<SaidRow<'a>>,
}

#[derive(Serialize)]
struct SaidRow<'a> {
    place: &'a str,
    /// `null` where it did not come so far.
    said: Option<&'a str>,
}

fn row<'a>(names: &'a [String], difference: &'a Difference) -> DifferenceRow<'a> {
    DifferenceRow {
        phase: &difference.phase,
        from: names
            .iter()
            .zip(&difference.shown)
            .map(|(place, said)| SaidRow {
                place,
                said: said.as_deref(),
            })
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_cell_stands_once() {
        let long = "x".repeat(50);
        let cells = |texts: [&str; 2]| shown(texts.map(|text| Some(text.to_owned())).to_vec());
        assert_eq!(cells([&long, &long]), [long.clone(), "the same".to_owned()]);
        assert_eq!(cells(["short", "short"]), ["short", "short"]);
    }

    #[test]
    fn a_place_is_counted_from_the_target_itself() {
        let from = ["here", "new", "web-1", "node"].map(|text| place(text).unwrap());
        let from = FromArgs {
            from: from.to_vec(),
        };
        let started: Vec<_> = (0..6).map(|place| from.is_started(place)).collect();
        assert_eq!(started, [false, false, true, false, true, false]);
        assert_eq!(
            from.started().collect::<Vec<_>>(),
            [Vantage::New, Vantage::Node]
        );
    }

    #[test]
    fn the_words_for_places_are_no_names_of_pods() {
        assert_eq!(place("here"), Ok(From::Here));
        assert_eq!(place("web-1"), Ok(From::Target("web-1".to_owned())));
        assert_eq!(place("new"), Ok(From::Started(Vantage::New)));
        assert_eq!(place("node"), Ok(From::Started(Vantage::Node)));
        assert_eq!(place("pod/new"), Ok(From::Target("pod/new".to_owned())));
    }
}
