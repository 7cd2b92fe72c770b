//! `kdbg cleanup`: ends the agents that rest in pods, and takes away the pods that kdbg has started itself.

use std::time::Duration;

use clap::Args;
use serde::Serialize;

use super::subject::counted;
use crate::{
    cli::{
        args::{ClusterArgs, OutputFormat, duration},
        error::CommandError,
        exit::ExitStatus,
        printer::Printer,
    },
    render::table::{self, Align},
    target::{
        Selector,
        pod::cleanup::{self, AgentFound, AgentState, Agents, Outcome},
    },
};

/// Arguments of `kdbg cleanup`.
#[derive(Args, Debug)]
pub struct CleanupArgs {
    /// A pod (`web-7f9c`), something that has pods (`deploy/web`), or `all` for all pods of the namespace
    #[arg(value_name = "TARGET", required_unless_present_any = ["labels", "all_namespaces"])]
    target: Option<String>,
    #[command(flatten)]
    cluster: ClusterArgs,
    /// Only list the agents
    #[arg(long)]
    dry_run: bool,
    /// End agents that other commands use, too
    #[arg(long)]
    force: bool,
    /// How long to wait until an agent has ended
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = duration)]
    timeout: Duration,
    /// How to print it
    #[arg(short, long, value_enum, value_name = "FORMAT", default_value_t)]
    output: OutputFormat,
}

/// Runs `kdbg cleanup`.
pub async fn run(args: CleanupArgs, printer: &mut Printer) -> Result<ExitStatus, CommandError> {
    let selector = match (args.target.as_deref(), args.cluster.labels.as_deref()) {
        (Some("all") | None, None) => None,
        (target, labels) => Some(Selector::of(target, labels)?),
    };
    if let Some(Selector::Pid(_) | Selector::Name(_)) = selector {
        return Err(CommandError::usage(
            "on this machine nothing stays behind: an agent ends with its command",
        ));
    }
    let agents = cleanup::find(&args.cluster.options(), selector.as_ref()).await?;
    let rows = if args.dry_run {
        listed(&agents)
    } else {
        let progress = printer.progress("ending agents");
        let rows = end(&agents, &args).await?;
        drop(progress);
        rows
    };
    match args.output {
        OutputFormat::Text => text(&rows, printer)?,
        OutputFormat::Json => printer.json(&Report {
            schema: 1,
            dry_run: args.dry_run,
            agents: &rows,
        })?,
    }
    remainder(&agents, args.dry_run, printer);
    if let Some(error) = &agents.not_searched {
        printer.note(&format!(
            "pods that `--from new` or `--from node` has started for it are not looked for: {error}"
        ));
    }
    let is_done = |row: &Row<'_>| matches!(row.state, "ended" | "ended before" | "removed");
    Ok(if args.dry_run || rows.iter().all(is_done) {
        ExitStatus::Complete
    } else {
        ExitStatus::Incomplete
    })
}

fn listed(agents: &Agents) -> Vec<Row<'_>> {
    agents.all.iter().map(Row::listed).collect()
}

async fn end<'a>(agents: &'a Agents, args: &CleanupArgs) -> Result<Vec<Row<'a>>, CommandError> {
    let mut outcomes = agents.end(args.force, args.timeout).await.into_iter();
    let mut rows = Vec::new();
    for agent in &agents.all {
        let mut row = Row::listed(agent);
        if agent.can_end(args.force)
            && let Some((_, outcome)) = outcomes.next()
        {
            (row.state, row.reason) = match outcome {
                Outcome::Ended => ("ended", None),
                Outcome::Removed => ("removed", None),
                Outcome::InUse(users) => ("in use", Some(format!("by {users}; `--force` ends it"))),
                Outcome::Failed(reason) => ("failed", Some(reason)),
                Outcome::Forbidden(error) => return Err(error.into()),
            };
        }
        rows.push(row);
    }
    Ok(rows)
}

fn text(rows: &[Row<'_>], printer: &mut Printer) -> Result<(), CommandError> {
    if rows.is_empty() {
        printer.note("there is no agent of kdbg in these pods");
        return Ok(());
    }
    let columns = [
        ("NAMESPACE", Align::Left),
        ("POD", Align::Left),
        ("CONTAINER", Align::Left),
        ("STATE", Align::Left),
    ];
    let cells = rows.iter().map(|row| {
        let state = match &row.reason {
            Some(reason) => format!("{}: {reason}", row.state),
            None => row.state.to_owned(),
        };
        vec![
            row.namespace.to_owned(),
            row.pod.to_owned(),
            row.container.to_owned(),
            state,
        ]
    });
    let rendered = table::render(&columns, cells, printer.width());
    write!(printer.data(), "{rendered}").map_err(CommandError::output)
}

/// Says what cannot be taken away.
fn remainder(agents: &Agents, dry_run: bool, printer: &Printer) {
    let staying = || agents.all.iter().filter(|agent| !agent.is_pod);
    let entries = staying().count() as u64;
    if entries == 0 {
        return;
    }
    let mut pods: Vec<_> = staying()
        .map(|agent| (&agent.namespace, &agent.pod))
        .collect();
    pods.dedup();
    let what = if dry_run {
        "ending an agent leaves its entry in the pod"
    } else {
        "what stays are their entries"
    };
    printer.note(&format!(
        "{what}: Kubernetes removes an ephemeral container only with its pod ({} in {})",
        counted(entries, "container"),
        counted(pods.len() as u64, "pod")
    ));
}

/// An agent, and what became of it.
#[derive(Serialize)]
struct Row<'a> {
    namespace: &'a str,
    pod: &'a str,
    container: &'a str,
    /// `running`, `waiting`, `ended before`; `ended`, `in use` or `failed` when it was to end, `removed` with a pod of kdbg's own.
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

impl<'a> Row<'a> {
    fn listed(agent: &'a AgentFound) -> Self {
        let (state, reason) = match &agent.state {
            AgentState::Running => ("running", None),
            AgentState::Waiting(reason) => ("waiting", Some(reason.clone())),
            AgentState::Ended => ("ended before", None),
        };
        Self {
            namespace: &agent.namespace,
            pod: &agent.pod,
            container: &agent.container,
            state,
            reason,
        }
    }
}

#[derive(Serialize)]
struct Report<'a> {
    schema: u32,
    dry_run: bool,
    agents: &'a [Row<'a>],
}
