//! What would become of a command, found out without changing anything: `kdbg doctor`.
//!
//! Reads, reviews of access, and patches with `dryRun=All` are all that is sent; an agent that runs already is asked
//! too. What cannot be found out is [`State::Unknown`], which is neither good nor bad.

mod remarks;

use k8s_openapi::api::core::v1::{Namespace, Node, Pod};
use kube::{Api, ResourceExt as _};
use serde::Serialize;
use tokio::time::timeout;

use super::{
    Cluster, PodError, PodFound, PodOptions, Rung, Temporary, Vantage,
    access::{self, Account, Permission},
    container, denial,
    inject::{self, Entry, Verdict, Wanted},
    members, resolve,
    rung::{STRANGER, first_rungs},
};
use crate::{
    evidence::choice,
    protocol::message::{Agent, Reading, Request},
    target::Selector,
};

/// What was found out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It is as it should be.
    Ok,
    /// Something worth knowing.
    Note,
    /// It could not be found out.
    Unknown,
    /// It is not there, or not allowed.
    Refused,
}

/// What is being checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Subject {
    /// The API server.
    Cluster,
    /// Who we are to it.
    Account,
    /// What RBAC lets us do.
    Access,
    /// The pod and its container.
    Target,
    /// Its node.
    Node,
    /// The namespace's policy.
    Policy,
    /// One rung of the privilege ladder.
    Rung,
    /// Whether a command gets beside the target.
    Entry,
    /// Whether a pod of kdbg's own may be started to ask from it.
    #[serde(rename = "from")]
    Started,
}

/// One thing that was checked.
#[derive(Clone, Debug, Serialize)]
pub struct Check {
    /// What.
    pub subject: Subject,
    /// How it is.
    pub state: State,
    /// Whether a command needs it; if not, nothing follows from it.
    pub needed: bool,
    /// What was found out, one sentence.
    pub text: String,
    /// What follows, or what to do about it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hints: Vec<String>,
}

/// All that was found out.
#[derive(Clone, Debug)]
pub struct Examination {
    /// The checks, in the order in which a command would meet them.
    pub checks: Vec<Check>,
    /// The account, when the API server says.
    pub account: Option<Account>,
    /// What commands on this target need.
    pub permissions: Vec<Permission>,
    /// The namespace that is meant; `None` for all.
    pub namespace: Option<String>,
    /// The pods of kdbg's own that a command is to start.
    pub started: Vec<Vantage>,
    /// Whether one of the permissions is missing.
    pub lacks_permission: bool,
}

impl Check {
    fn new(subject: Subject, state: State, text: impl Into<String>) -> Self {
        Self {
            subject,
            state,
            needed: true,
            text: text.into(),
            hints: Vec::new(),
        }
    }

    fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    fn optional(mut self) -> Self {
        self.needed = false;
        self
    }

    /// What an error says, which is about something that is needed.
    fn failed(subject: Subject, error: &PodError) -> Self {
        let state = match error {
            PodError::Api { .. }
            | PodError::Forbidden { .. }
            | PodError::Deadline { .. }
            | PodError::NoConversation { .. } => State::Unknown,
            _ => State::Refused,
        };
        let mut check = Self::new(subject, state, error.to_string());
        // The hint of the other one is to call doctor.
        if !matches!(error, PodError::Forbidden { .. }) {
            check.hints = error.hints();
        }
        check
    }
}

/// Who we are, and which permissions commands on a target need, without asking for anything else.
pub async fn needs(
    options: &PodOptions,
    selector: Option<&Selector>,
    started: &[Vantage],
) -> Result<Examination, PodError> {
    let cluster = Cluster::connect(&options.cluster).await?;
    let mut examination = Examination::new(&cluster, options, selector, started);
    examination.account(&cluster).await;
    Ok(examination)
}

/// Finds out what a command on a target would meet that starts these pods of its own; without a target, what any command
/// would.
pub async fn examine(
    options: &PodOptions,
    selector: Option<&Selector>,
    started: &[Vantage],
) -> Result<Examination, PodError> {
    let cluster = Cluster::connect(&options.cluster).await?;
    let mut examination = Examination::new(&cluster, options, selector, started);
    // An agent that is asked may take as long as one that starts.
    let limit = options.limit * 2;
    let examining = examination.all(&cluster, options, selector);
    if Box::pin(timeout(limit, examining)).await.is_err() {
        let text = format!("the rest was not answered within {} s", limit.as_secs());
        examination.add(
            Check::new(Subject::Cluster, State::Unknown, text).hint("wait longer with `--timeout`"),
        );
    }
    Ok(examination)
}

impl Examination {
    fn new(
        cluster: &Cluster,
        options: &PodOptions,
        selector: Option<&Selector>,
        started: &[Vantage],
    ) -> Self {
        let namespace = (!options.cluster.all_namespaces).then(|| cluster.namespace.clone());
        Self {
            checks: Vec::new(),
            account: None,
            permissions: access::permissions(selector, namespace.as_deref(), !started.is_empty()),
            namespace,
            started: started.to_vec(),
            lacks_permission: false,
        }
    }

    /// Whether something has this state that a command needs.
    pub fn has(&self, state: State) -> bool {
        self.checks
            .iter()
            .any(|check| check.needed && check.state == state)
    }

    fn add(&mut self, check: Check) {
        self.checks.push(check);
    }

    async fn all(&mut self, cluster: &Cluster, options: &PodOptions, selector: Option<&Selector>) {
        let Some(minor) = self.server(cluster).await else {
            return;
        };
        self.account(cluster).await;
        self.access(cluster, minor).await;
        if let Some(selector) = selector {
            Box::pin(self.target(cluster, options, selector)).await;
        }
    }

    /// Answers the minor version of a server that answers at all.
    async fn server(&mut self, cluster: &Cluster) -> Option<u32> {
        match cluster.client.apiserver_version().await {
            Ok(version) => {
                let text = format!("{}: Kubernetes {}", cluster.server, version.git_version);
                self.add(Check::new(Subject::Cluster, State::Ok, text));
                // `28+` on some platforms.
                let digits = version
                    .minor
                    .trim_end_matches(|end: char| !end.is_ascii_digit());
                Some(digits.parse().unwrap_or(u32::MAX))
            }
            Err(error) => {
                let error = PodError::api(error, &super::Verb::new("get", "", "/version"));
                let text = format!("{} does not answer: {error}", cluster.server);
                self.add(
                    Check::new(Subject::Cluster, State::Refused, text)
                        .hint("check the context of the kubeconfig, the network and the login"),
                );
                None
            }
        }
    }

    async fn account(&mut self, cluster: &Cluster) {
        match Account::ask(cluster).await {
            Ok(account) => {
                let groups = account.groups.join(", ");
                let text = format!("{} (groups: {groups})", account.name);
                self.add(Check::new(Subject::Account, State::Ok, text));
                self.account = Some(account);
            }
            Err(error) => self.add(
                Check::new(
                    Subject::Account,
                    State::Unknown,
                    format!("the API server does not say who we are: {error}"),
                )
                .optional(),
            ),
        }
    }

    async fn access(&mut self, cluster: &Cluster, minor: u32) {
        let permissions = self.permissions.clone();
        let verbs = permissions.iter().map(|permission| &permission.verb);
        let answers = access::review(cluster, verbs).await;
        for (permission, allowed) in permissions.iter().zip(answers) {
            let Permission {
                verb,
                purpose,
                otherwise,
            } = permission;
            let is_create_exec = verb.verb == "create" && verb.resource == "pods/exec";
            let otherwise = if is_create_exec && minor < 35 {
                Some("this server does not ask for it")
            } else {
                *otherwise
            };
            let mut check = match &allowed {
                Ok(true) => Check::new(Subject::Access, State::Ok, format!("may {verb}")),
                Ok(false) => {
                    let text = format!("may not {verb}, to {purpose}");
                    Check::new(Subject::Access, State::Refused, text)
                }
                Err(reason) => {
                    let text = format!("cannot tell whether it may {verb}: {reason}");
                    Check::new(Subject::Access, State::Unknown, text)
                }
            };
            check.needed = otherwise.is_none();
            if check.state != State::Ok {
                self.lacks_permission |= check.state == State::Refused;
                check.hints = otherwise.map(str::to_owned).into_iter().collect();
            }
            self.add(check);
        }
    }

    async fn target(&mut self, cluster: &Cluster, options: &PodOptions, selector: &Selector) {
        let all_namespaces = options.cluster.all_namespaces;
        let pods = match resolve::pods(cluster, selector, all_namespaces).await {
            Ok(pods) => pods,
            Err(error) => return self.add(Check::failed(Subject::Target, &error)),
        };
        let of = pods.len();
        let Some(pod) = pods.into_iter().next() else {
            return;
        };
        let cluster = Cluster {
            namespace: pod.namespace().unwrap_or_else(|| cluster.namespace.clone()),
            ..cluster.clone()
        };
        let found = container::find(&pod, options.container.as_deref());
        let is_node_good = self.node(&cluster, &pod).await;
        self.policy(&cluster).await;
        let found = match found {
            Ok(found) => found,
            Err(error) => return self.add(Check::failed(Subject::Target, &error)),
        };
        let mut found = PodFound {
            cluster,
            pod,
            found,
            of,
        };
        self.container(&found);
        if is_node_good {
            self.ladder(&mut found, options).await;
        }
        self.started(&found, options).await;
    }

    fn container(&mut self, found: &PodFound) {
        let of = match found.of {
            1 => String::new(),
            of => format!(" (1 of {of})"),
        };
        let user = match found.found.user {
            Some(user) => format!("started as {user}"),
            None => "started as nobody knows whom: neither the runtime (containerd before 2.0) nor the pod says"
                .to_owned(),
        };
        let text = format!(
            "pod {}{of}, container {}: {user}",
            found.name(),
            found.found.name
        );
        self.add(Check::new(Subject::Target, State::Ok, text));
        let status = container::status_of(&found.pod, &found.found.name);
        let notes = status
            .and_then(remarks::restarts)
            .into_iter()
            .chain(remarks::notes(&found.pod));
        for note in notes {
            self.add(Check::new(Subject::Target, State::Note, note).optional());
        }
    }

    /// Answers whether it is a node on which an agent can run.
    async fn node(&mut self, cluster: &Cluster, pod: &Pod) -> bool {
        let Some(name) = pod.spec.as_ref().and_then(|spec| spec.node_name.clone()) else {
            return true;
        };
        if let Err(reason) = permitted(cluster, &access::GET_NODES).await {
            let text = format!("nothing is known of node {name}: {reason}");
            self.add(Check::new(Subject::Node, State::Unknown, text).optional());
            return true;
        }
        let node = Api::<Node>::all(cluster.client.clone()).get(&name).await;
        let check = match node {
            Ok(node) => remarks::of_node(&node),
            Err(error) => {
                let error = PodError::api(error, &access::GET_NODES);
                Check::new(Subject::Node, State::Unknown, error.to_string()).optional()
            }
        };
        let is_good = check.state != State::Refused;
        self.add(check);
        is_good
    }

    async fn policy(&mut self, cluster: &Cluster) {
        let namespace = &cluster.namespace;
        let check = if let Err(reason) =
            permitted(cluster, &access::GET_NAMESPACES.inside(namespace)).await
        {
            Err(reason)
        } else {
            let api: Api<Namespace> = Api::all(cluster.client.clone());
            api.get(namespace)
                .await
                .map_err(|error| PodError::api(error, &access::GET_NAMESPACES).to_string())
        };
        self.add(match check {
            Ok(namespace) => remarks::of_namespace(&namespace),
            Err(reason) => {
                let text = format!("the labels of namespace {namespace} are not known: {reason}");
                Check::new(Subject::Policy, State::Unknown, text).optional()
            }
        });
    }

    /// Asks for each pod that a command is to start whether it may be.
    async fn started(&mut self, found: &PodFound, options: &PodOptions) {
        for vantage in self.started.clone() {
            let pod = Temporary::new(&found.described(), &options.image, vantage, options);
            let check = match pod.check().await {
                Ok(()) => {
                    let text = format!("a pod may be started to ask from `{vantage}`");
                    Check::new(Subject::Started, State::Ok, text)
                }
                Err(error) => Check::failed(Subject::Started, &error),
            };
            self.add(check);
        }
    }

    /// Tries each rung without taking it.
    async fn ladder(&mut self, found: &mut PodFound, options: &PodOptions) {
        let user = found.found.user;
        let first = if options.privileged {
            vec![Rung::Privileged]
        } else {
            first_rungs(user, false)
        };
        let mut rungs = first.clone();
        if !options.privileged {
            rungs.push(Rung::Ptrace);
        }
        rungs.sort_by_key(|rung| rung.letter());
        let mut best = None;
        let mut is_unknown = false;
        for rung in rungs {
            let may_be_first = first.contains(&rung);
            let (check, step) = self.rung(found, options, rung).await;
            self.add(check.optional());
            let better = |best: Option<Rung>| {
                let place = |wanted: Rung| first.iter().position(|rung| *rung == wanted);
                best.is_none_or(|best| place(rung) < place(best))
            };
            match step {
                Step::Free if may_be_first && better(best) => best = Some(rung),
                Step::Unknown if may_be_first => is_unknown = true,
                _ => {}
            }
        }
        self.add(match best {
            Some(rung) => Check::new(
                Subject::Entry,
                State::Ok,
                format!("a command looks with rung {} first: {rung}", rung.letter()),
            ),
            None if is_unknown => Check::new(
                Subject::Entry,
                State::Unknown,
                "whether an agent is let in shows only when a command tries",
            )
            .hint("try: a patch that is refused leaves nothing behind"),
            None => self.nobody(found, options).await,
        });
    }

    /// Why nobody is let in. Pod Security names only some violators of a kind, our own before others
    /// (`policy/check_runAsNonRoot.go`), so a container without any rights is asked for, which violates nothing.
    async fn nobody(&self, found: &PodFound, options: &PodOptions) -> Check {
        let harmless = Wanted {
            image: &options.image,
            rung: Rung::SameUser(STRANGER),
            target: &found.found.name,
            idle: options.idle,
        };
        if let Entry::Absent(name) = inject::look(&found.pod, &harmless)
            && let Verdict::Error(error @ PodError::Violator { .. }) =
                inject::ask(&found.cluster, &found.pod, &harmless, &name).await
        {
            return Check::failed(Subject::Entry, &error);
        }
        let text = format!(
            "no agent that could look into container {} is let in",
            found.found.name
        );
        Check::new(Subject::Entry, State::Refused, text)
            .hint("see the rungs above for what would have to change")
    }

    async fn rung(&self, found: &mut PodFound, options: &PodOptions, rung: Rung) -> (Check, Step) {
        let name = format!("{} ({rung})", rung.letter());
        let check =
            |state, text: String| Check::new(Subject::Rung, state, format!("{name}: {text}"));
        let wanted = Wanted {
            image: &options.image,
            rung,
            target: &found.found.name,
            idle: options.idle,
        };
        let entry = match inject::look(&found.pod, &wanted) {
            Entry::Present(entry) => {
                let text = format!("the agent in container {entry} is there already");
                // The status lags behind, so whether it runs is found out by asking it.
                return match ask_agent(found, options, rung, &entry).await {
                    Ok(hints) => {
                        let mut check = check(State::Ok, text);
                        check.hints = hints;
                        (check, Step::Free)
                    }
                    Err(error) => {
                        let mut check = check(State::Unknown, format!("{text}, but {error}"));
                        check.hints = error.hints();
                        (check, Step::Unknown)
                    }
                };
            }
            Entry::Absent(entry) => entry,
        };
        let sight = remarks::sight(rung, found.found.user);
        match inject::ask(&found.cluster, &found.pod, &wanted, &entry).await {
            Verdict::Admitted => (
                check(State::Ok, "admitted".to_owned()).hint(sight),
                Step::Free,
            ),
            Verdict::Refused(message) => {
                let mut check = check(State::Refused, format!("refused: {message}"));
                if message.contains("violates PodSecurity") {
                    check = check.hint(format!(
                        "Pod Security would admit it at level `{}`",
                        rung.level()
                    ));
                }
                (check, Step::Closed)
            }
            Verdict::Unknown(message) => (
                check(State::Unknown, message)
                    .hint("a webhook that cannot be asked decides; it may still admit the agent"),
                Step::Unknown,
            ),
            Verdict::Error(error) => {
                let failed = Check::failed(Subject::Rung, &error);
                let step = match failed.state {
                    State::Unknown => Step::Unknown,
                    _ => Step::Closed,
                };
                let mut check = check(failed.state, failed.text);
                check.hints = failed.hints;
                (check, step)
            }
        }
    }
}

/// What a command would find at a rung.
#[derive(Clone, Copy)]
enum Step {
    Free,
    Closed,
    Unknown,
}

/// Whether we may ask for something that is no part of the role; if not, why it is not asked for.
async fn permitted(cluster: &Cluster, verb: &super::Verb) -> Result<(), String> {
    match access::may(cluster, verb).await {
        Ok(true) => Ok(()),
        Ok(false) => Err(format!("not allowed to {} {}", verb.verb, verb.resource)),
        Err(reason) => Err(reason),
    }
}

/// Asks an agent that runs what it sees, and answers in sentences.
async fn ask_agent(
    found: &PodFound,
    options: &PodOptions,
    rung: Rung,
    entry: &str,
) -> Result<Vec<String>, PodError> {
    let wanted = Wanted {
        image: &options.image,
        rung,
        target: &found.found.name,
        idle: options.idle,
    };
    let (session, _) = inject::converse(
        &found.cluster,
        &found.pod,
        &found.found,
        &wanted,
        entry,
        options.limit,
    )
    .await?;
    let place = found.place(rung, &options.image, entry.to_owned(), true);
    let mut sentences = vec![match members(&session, &place).await {
        Err(error) => error.to_string(),
        Ok(processes) => match choice::choose(&processes, None) {
            None => "it sees no process of the container".to_owned(),
            Some(choice) => {
                let process = &choice.process;
                let name = crate::render::safe(&process.name);
                match denial(process) {
                    None => format!("it can read process {} ({name})", process.id.pid),
                    Some(_) => format!(
                        "it cannot read process {} ({name}): a command would try a higher rung",
                        process.id.pid
                    ),
                }
            }
        },
    }];
    if let Ok(mut reply) = session.request(&Request::Agent)
        && let Ok(agent) = reply.head::<Agent>().await
    {
        if let Reading::Known(Some(scope @ 1..)) = agent.ptrace_scope {
            sentences.push(format!(
                "Yama (ptrace_scope {scope}) guards the memory of processes, nothing else"
            ));
        }
        if let Reading::Known(false) = agent.is_initial_user_namespace {
            sentences.push(
                "the pod has a user namespace of its own; rights count inside of it".to_owned(),
            );
        }
    }
    session.close().await;
    Ok(sentences)
}
