//! `--from`: the same probe from several places, side by side.

use clap::Args;
use serde::Serialize;

use super::open;
use crate::{
    cli::{args::TargetArgs, error::CommandError, exit::ExitStatus, printer::Printer},
    evidence::{
        phases::{self, Difference, Step},
        reach,
    },
    render::{
        safe,
        table::{self, Align},
    },
    target::Target,
};

/// Other places to ask from.
#[derive(Args, Clone, Debug)]
pub(super) struct FromArgs {
    /// Ask from this target too, or from `here` (this machine), and say in which phase they part; may be given several times
    #[arg(long, value_name = "TARGET|here", value_parser = place)]
    pub(super) from: Vec<From>,
}

/// A place to ask from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum From {
    /// This machine.
    Here,
    /// A target in the namespace and context of the first one.
    Target(String),
}

fn place(text: &str) -> Result<From, String> {
    match text {
        "" => Err("it is empty".to_owned()),
        "here" => Ok(From::Here),
        "new" => Err(
            "kdbg adds no pod to compare with, for it would have other labels, and with them other policies, than any pod that \
             matters; start one (`kubectl run`) and name it, or name a pod that works"
                .to_owned(),
        ),
        "node" => Err(
            "a node's network is reached through a pod that has it (`hostNetwork`), as those of kube-proxy do; name that pod"
                .to_owned(),
        ),
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

    /// Opens all places, the target itself first.
    pub(super) async fn open(
        &self,
        args: &TargetArgs,
        printer: &Printer,
    ) -> Result<Vec<Target>, CommandError> {
        let mut targets = vec![open(args, printer).await?];
        for from in &self.from {
            targets.push(match from {
                From::Here => Target::here().await?,
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

    /// What to call the places.
    fn names(&self, targets: &[Target]) -> Vec<String> {
        let mut names: Vec<_> = targets.iter().map(ToString::to_string).collect();
        for (name, from) in names.iter_mut().skip(1).zip(&self.from) {
            if *from == From::Here {
                "here".clone_into(name);
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
    fn what_kdbg_will_not_ask_from_is_refused_with_what_to_do_instead() {
        assert_eq!(place("here"), Ok(From::Here));
        assert_eq!(place("web-1"), Ok(From::Target("web-1".to_owned())));
        assert!(place("new").unwrap_err().contains("kubectl run"));
        assert!(place("node").unwrap_err().contains("hostNetwork"));
    }
}
