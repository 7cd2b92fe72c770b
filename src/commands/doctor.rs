//! `kdbg doctor`: what a command on a target would meet, without changing anything.

use clap::{Args, ValueEnum};
use serde::Serialize;
use serde_json::{Value, json};

use crate::{
    cli::{
        args::{AgentArgs, ClusterArgs, OutputFormat, TargetArgs},
        error::CommandError,
        exit::ExitStatus,
        printer::Printer,
    },
    render::safe_lines,
    target::{
        Selector,
        pod::{
            Vantage, access,
            examine::{self, Check, Examination, State, Subject},
        },
    },
};

/// Arguments of `kdbg doctor`.
#[derive(Args, Debug)]
pub struct DoctorArgs {
    /// A pod (`web-7f9c`) or something that has pods (`deploy/web`); without one, only the cluster and the permissions
    /// are looked at
    #[arg(value_name = "TARGET")]
    target: Option<String>,
    /// Print the role that commands on the target need, and nothing else
    #[arg(long)]
    role: bool,
    /// Also look at what `--from new` or `--from node` of `kdbg curl`, `dig` and `tcp` would meet; may be given twice
    #[arg(long, value_enum, value_name = "PLACE")]
    from: Vec<StartedPod>,
    #[command(flatten)]
    cluster: ClusterArgs,
    #[command(flatten)]
    agent: AgentArgs,
    /// How to print it
    #[arg(short, long, value_enum, value_name = "FORMAT", default_value_t)]
    output: OutputFormat,
}

/// A pod that kdbg starts to ask from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum StartedPod {
    /// In the pod network
    New,
    /// In the network of the target's node
    Node,
}

impl From<StartedPod> for Vantage {
    fn from(pod: StartedPod) -> Self {
        match pod {
            StartedPod::New => Self::New,
            StartedPod::Node => Self::Node,
        }
    }
}

/// Runs `kdbg doctor`.
pub async fn run(args: DoctorArgs, printer: &mut Printer) -> Result<ExitStatus, CommandError> {
    let target = TargetArgs {
        target: args.target,
        process: None,
        cluster: args.cluster,
        agent: args.agent,
    };
    let options = target.pod_options();
    let started: Vec<Vantage> = args.from.into_iter().map(Into::into).collect();
    let selector = match (&target.target, &target.cluster.labels) {
        (None, None) => None,
        (target, labels) => Some(Selector::of(target.as_deref(), labels.as_deref())?),
    };
    if let Some(Selector::Pid(_) | Selector::Name(_)) = selector {
        return Err(CommandError::usage(
            "`kdbg doctor` looks at pods, not at processes of this machine",
        )
        .hint("see what can be read with `kdbg ps`"));
    }
    if args.role {
        let examination = examine::needs(&options, selector.as_ref(), &started).await?;
        return print_role(&examination, args.output, printer);
    }
    let progress = printer.progress("examining");
    let examination = Box::pin(examine::examine(&options, selector.as_ref(), &started)).await?;
    drop(progress);
    match args.output {
        OutputFormat::Text => text(&examination, printer)?,
        OutputFormat::Json => printer.json(&Report {
            schema: 1,
            account: examination
                .account
                .as_ref()
                .map(|account| account.name.as_str()),
            namespace: examination.namespace.as_deref(),
            checks: &examination.checks,
            role: examination.lacks_permission.then(|| role(&examination)),
        })?,
    }
    Ok(if examination.has(State::Refused) {
        ExitStatus::Unreachable
    } else if examination.has(State::Unknown) {
        ExitStatus::Incomplete
    } else {
        ExitStatus::Complete
    })
}

fn text(examination: &Examination, printer: &mut Printer) -> Result<(), CommandError> {
    for check in &examination.checks {
        let (state, subject) = (state(check.state), subject(check.subject));
        let text = safe_lines(&check.text);
        writeln!(printer.data(), "{state:<8} {subject:<8} {text}").map_err(CommandError::output)?;
        for hint in &check.hints {
            let hint = safe_lines(hint);
            writeln!(printer.data(), "{:17} - {hint}", "").map_err(CommandError::output)?;
        }
    }
    if examination.lacks_permission {
        let yaml = yaml(&role(examination))?;
        write!(
            printer.data(),
            "\n# what is missing is in here; for whoever may give it: kubectl apply -f -\n{yaml}"
        )
        .map_err(CommandError::output)?;
    }
    Ok(())
}

fn print_role(
    examination: &Examination,
    output: OutputFormat,
    printer: &mut Printer,
) -> Result<ExitStatus, CommandError> {
    let objects = role(examination);
    match output {
        OutputFormat::Text => {
            let yaml = yaml(&objects)?;
            write!(printer.data(), "{yaml}").map_err(CommandError::output)?;
        }
        OutputFormat::Json => {
            printer.json(&json!({"apiVersion": "v1", "kind": "List", "items": objects}))?;
        }
    }
    if examination.account.is_none() {
        printer.warning("the API server does not say who we are, so the binding is missing");
    }
    Ok(ExitStatus::Complete)
}

fn role(examination: &Examination) -> Vec<Value> {
    access::role(
        &examination.permissions,
        examination.namespace.as_deref(),
        examination.account.as_ref(),
    )
}

fn yaml(objects: &[Value]) -> Result<String, CommandError> {
    let documents: Result<Vec<_>, _> = objects.iter().map(serde_saphyr::to_string).collect();
    Ok(documents.map_err(CommandError::internal)?.join("---\n"))
}

const fn state(state: State) -> &'static str {
    match state {
        State::Ok => "ok",
        State::Note => "note",
        State::Unknown => "unknown",
        State::Refused => "refused",
    }
}

const fn subject(subject: Subject) -> &'static str {
    match subject {
        Subject::Cluster => "cluster",
        Subject::Account => "account",
        Subject::Access => "access",
        Subject::Target => "target",
        Subject::Node => "node",
        Subject::Policy => "policy",
        Subject::Rung => "rung",
        Subject::Entry => "entry",
        Subject::Started => "from",
    }
}

#[derive(Serialize)]
struct Report<'a> {
    schema: u32,
    account: Option<&'a str>,
    namespace: Option<&'a str>,
    checks: &'a [Check],
    /// What would give the permissions, when one is missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<Vec<Value>>,
}
