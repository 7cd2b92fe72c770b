//! Rules about variables: what the process has, what declares it, and what the code takes it for.

use std::collections::BTreeMap;

use bstr::{BStr, BString, ByteSlice as _};

use super::{
    Built, CodeFile, Confidence, Fact, Facts, Finding, Id, Next, Severity, Source, Variables, fact,
    source::short,
};
use crate::evidence::{
    environment::Mark,
    provenance::{
        Agreement, Attributed, Declaration, Declared, LinkState, Lookup, Origin, Variable,
        WhyAbsent,
    },
    reads::{EnvRead, Language, ShownBy, Unset, UseKind},
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

/// The code takes a variable for a port, a number or a host, and it is the URL of the kubelet's link to a Service.
///
/// The variable alone is no fault: it is in every pod of the namespace. The code alone is none either.
pub(super) fn service_link_collision(facts: &Facts<'_>) -> Vec<Finding> {
    let Lookup::Found(variables) = &facts.variables else {
        return Vec::new();
    };
    let mut findings = Vec::new();
    for (name, places) in reads_by_name(facts) {
        let mistaken: Vec<_> = places
            .into_iter()
            .filter(|place| takes_no_url(place.read))
            .collect();
        if mistaken.is_empty() {
            continue;
        }
        if let Some(link) = Link::of(variables, &name) {
            findings.push(link.finding(facts, &mistaken));
        }
    }
    findings
}

/// The variables that a program could take for a port: links to Services that are URLs.
#[must_use]
pub fn mistakable_links(variables: &Variables<'_>) -> Vec<BString> {
    let attributed = variables.attribution.variables.iter();
    attributed
        .filter(|variable| {
            matches!(&variable.origin, Origin::ServiceLink { form, .. } if form.is_url())
        })
        .map(|variable| variable.name.clone())
        .collect()
}

struct Link<'a> {
    name: &'a BString,
    value: BString,
    service: Option<&'a str>,
    state: LinkState,
    /// Whether the process shows it, and not only what the kubelet gives such a container.
    is_seen: bool,
    has_spec: bool,
}

impl<'a> Link<'a> {
    /// The link of this name, when it is a URL.
    fn of(variables: &'a Variables<'_>, name: &'a BString) -> Option<Self> {
        let Some(variable) = variables.attribution.get(name) else {
            return Self::overwritten(variables, name);
        };
        match &variable.origin {
            Origin::ServiceLink {
                service,
                form,
                state,
                ..
            } if form.is_url() => Some(Self {
                name,
                value: value_of(variables, variable),
                service: service.as_deref(),
                state: *state,
                is_seen: true,
                has_spec: variables.has_spec,
            }),
            _ => None,
        }
    }

    /// The link that the kubelet gave a container whose process has overwritten its environment, as php-fpm, nginx and
    /// postgres do to set their titles: the Service was there before the container started.
    fn overwritten(variables: &'a Variables<'_>, name: &'a BString) -> Option<Self> {
        let absent = variables.attribution.absent.iter();
        let absent = absent
            .filter(|absent| absent.why == WhyAbsent::Overwritten)
            .find(|absent| absent.name.as_bytes() == name.as_bytes())?;
        let Declaration::ServiceLink { service, form } = &absent.by else {
            return None;
        };
        let value = declared_now(variables, name)?.value.found()?.bytes()?;
        form.is_url().then(|| Self {
            name,
            value: value.into(),
            service: Some(service),
            state: LinkState::Current,
            is_seen: false,
            has_spec: variables.has_spec,
        })
    }
    fn finding(&self, facts: &Facts<'_>, places: &[Place<'_>]) -> Finding {
        let strongest = places
            .iter()
            .filter_map(|place| place.read.kind())
            .min_by_key(|one| one.shown_by);
        let kind = strongest.map_or(UseKind::Port, |one| one.kind);
        let is_shown = strongest.is_some_and(|one| one.shown_by <= ShownBy::Argument);
        // Code that runs as it is says more than what a program says that it was made of.
        let running: Vec<_> = places
            .iter()
            .filter(|place| place.file.built.is_none())
            .copied()
            .collect();
        let places = if running.is_empty() { places } else { &running };
        let built = places.first().and_then(|place| place.file.built.as_ref());
        let confidence = match built.map(|built| built.modified) {
            Some(Some(true)) => Confidence::Possible,
            None if is_shown && self.is_seen && self.state != LinkState::NotRead => {
                Confidence::Certain
            }
            Some(_) | None => Confidence::Likely,
        };
        let service = self
            .service
            .map_or_else(|| "a Service".to_owned(), |name| format!("Service {name}"));
        let name = self.name;
        let cause = format!(
            "the code takes {name} for {}, but the kubelet has set it to a URL, the link to {service}",
            noun(kind)
        );
        let mut known = if self.is_seen {
            let value = fact(format!("{name}={}", self.value), Source::Environ);
            vec![value, self.link_fact(&service)]
        } else {
            self.given_facts(&service)
        };
        if self.has_spec {
            known.push(fact(
                format!("neither env nor envFrom sets {name}"),
                Source::Spec,
            ));
        }
        known.extend(
            built
                .into_iter()
                .flat_map(|built| built_facts(built, facts, name)),
        );
        for place in places.iter().take(MOST_PLACES) {
            known.extend(place.facts());
        }
        known.push(fact(
            format!("expected: {}; got: a URL", expected(kind)),
            Source::Environ,
        ));
        Finding {
            id: Id::ServiceLinkCollision,
            about: name.clone(),
            severity: Severity::High,
            confidence,
            cause: cause.into(),
            facts: known,
            refuted_by: format!(
                "the code at these places accepts a URL, or the entrypoint sets {name} before it runs{}",
                built.map_or("", |_| ", or the program is of another commit than it says")
            ),
            next: self.next(facts, places),
        }
    }

    /// What is known of a variable that the process does not show.
    fn given_facts(&self, service: &str) -> Vec<Fact> {
        let source = Source::Object(service.to_owned());
        let (name, value) = (self.name, &self.value);
        vec![
            fact(
                format!(
                    "the kubelet gives {name}={value} to such a container: {service} was there when it started"
                ),
                source,
            ),
            fact(
                "the process has overwritten its environment, so that what it was given cannot be read",
                Source::Environ,
            ),
        ]
    }

    fn link_fact(&self, service: &str) -> Fact {
        let source = |name: &str| Source::Object(format!("Service {name}"));
        match (self.state, self.service) {
            (LinkState::Current, Some(name)) => {
                fact(format!("{service} has this address and port"), source(name))
            }
            (LinkState::Changed, Some(name)) => fact(
                format!("{service} has another address or port now: the link is of before"),
                source(name),
            ),
            (LinkState::Sampled, _) => fact(
                "the kubelet gave the same link to the agent's container, which declares nothing",
                Source::Probe,
            ),
            (LinkState::NotRead, _) => fact(
                "its address and port are those of the variables beside it; Services could not be read",
                Source::Environ,
            ),
            _ => fact(
                "its address and port are those of the variables beside it; the Service is gone",
                Source::Environ,
            ),
        }
    }

    fn next(&self, facts: &Facts<'_>, places: &[Place<'_>]) -> Vec<Next> {
        let default = places.iter().find_map(|place| place.read.default.clone());
        let port = self.value.rsplit_str(":").next().unwrap_or_default();
        let is_number = |text: &[u8]| !text.is_empty() && text.iter().all(u8::is_ascii_digit);
        let value = default
            .filter(|text| is_number(text))
            .unwrap_or_else(|| port.into());
        let namespace = &facts.namespace;
        let mut next = Vec::new();
        if let Some(owner) = &facts.owner {
            next.push(Next {
                what: "turn the links off: the program finds Services by their names".to_owned(),
                command: format!(
                    "kubectl -n {namespace} patch {owner} -p '{{\"spec\":{{\"template\":{{\"spec\":{{\"enableServiceLinks\":false}}}}}}}}'"
                )
                .into(),
            });
            if is_plain(self.name) && is_number(&value) {
                next.push(Next {
                    what: "or set the variable: the spec beats a link".to_owned(),
                    command: format!(
                        "kubectl -n {namespace} set env {owner} {}={value}",
                        self.name
                    )
                    .into(),
                });
            }
        } else {
            next.push(Next {
                what: "start the pod again with `enableServiceLinks: false` in its spec".to_owned(),
                command: BString::default(),
            });
        }
        if let Some(place) = places.first() {
            next.push(Next {
                what: "then rename the variable in the code, so that no Service's name makes it"
                    .to_owned(),
                command: format!("{}:{}", place.file.path, place.read.line).into(),
            });
        }
        next
    }
}

/// The code reads a variable, has no default for it, and the process does not have it.
pub(super) fn read_but_unset(facts: &Facts<'_>) -> Vec<Finding> {
    let Lookup::Found(variables) = &facts.variables else {
        return Vec::new();
    };
    // What was overwritten may have been there.
    if variables.environment.overwritten {
        return Vec::new();
    }
    let mut findings = Vec::new();
    for (name, places) in reads_by_name(facts) {
        let has_default = places
            .iter()
            .any(|place| place.read.unset == Unset::Default);
        let is_own = |place: &Place<'_>| place.file.own && place.file.built.is_none();
        let own: Vec<_> = places.into_iter().filter(is_own).collect();
        if own.is_empty() || has_default || variables.attribution.get(&name).is_some() {
            continue;
        }
        let Some((severity, confidence)) = weight(&own) else {
            continue;
        };
        findings.push(unset_finding(
            facts, variables, &name, &own, severity, confidence,
        ));
    }
    findings
}

/// How much an unset variable matters: programs ask for many that nobody needs to set.
fn weight(places: &[Place<'_>]) -> Option<(Severity, Confidence)> {
    // What Spring asks for may be in its own files as well.
    let is_spring =
        |place: &Place<'_>| matches!(place.file.reads.language, Language::Java | Language::Kotlin);
    let raises = places
        .iter()
        .any(|place| place.read.unset == Unset::Raises && !is_spring(place));
    let kind = places
        .iter()
        .filter_map(|place| place.read.kind())
        .min_by_key(|one| one.shown_by);
    match kind.map(|one| one.kind) {
        Some(UseKind::Boolean) if !raises => None,
        _ if raises => Some((Severity::Medium, Confidence::Likely)),
        Some(UseKind::Url | UseKind::Host | UseKind::Port) => {
            Some((Severity::Medium, Confidence::Likely))
        }
        Some(UseKind::Number | UseKind::Path) => Some((Severity::Low, Confidence::Possible)),
        _ => None,
    }
}

fn unset_finding(
    facts: &Facts<'_>,
    variables: &Variables<'_>,
    name: &BString,
    places: &[Place<'_>],
    severity: Severity,
    confidence: Confidence,
) -> Finding {
    let kind = places
        .iter()
        .filter_map(|place| place.read.kind())
        .min_by_key(|one| one.shown_by);
    let role = kind.map_or_else(String::new, |one| format!(" for {}", noun(one.kind)));
    let mut known = vec![fact(format!("there is no {name}"), Source::Environ)];
    let absent = variables
        .attribution
        .absent
        .iter()
        .find(|absent| absent.name.as_bytes() == name.as_bytes());
    match absent {
        Some(absent) => {
            let why = match absent.why {
                WhyAbsent::SinceStart => "declared since the container started: a restart sets it",
                WhyAbsent::Removed => {
                    "declared, but something between the start and this process has removed it"
                }
                WhyAbsent::Undecided | WhyAbsent::Overwritten => {
                    "declared now, and the process does not have it"
                }
            };
            known.push(fact(format!("{name} is {why}"), source_of(&absent.by)));
        }
        None if variables.has_spec => known.push(fact(
            format!("neither env nor envFrom sets {name}"),
            Source::Spec,
        )),
        None => {}
    }
    for place in places.iter().take(MOST_PLACES) {
        known.extend(place.facts());
    }
    let command = match &facts.owner {
        Some(owner) if is_plain(name) => format!(
            "kubectl -n {} set env {owner} {name}=VALUE",
            facts.namespace
        ),
        _ => String::new(),
    };
    Finding {
        id: Id::ReadButUnset,
        about: name.clone(),
        severity,
        confidence,
        cause: format!(
            "the code needs {name}{role} and has no default, and the process does not have it"
        )
        .into(),
        facts: known,
        refuted_by: format!("the code does not get to these places, or works without {name}"),
        next: vec![Next {
            what: format!("set {name}"),
            command: command.into(),
        }],
    }
}

/// An object that declares a variable has changed since the container started.
pub(super) fn stale(facts: &Facts<'_>) -> Vec<Finding> {
    let Lookup::Found(variables) = &facts.variables else {
        return Vec::new();
    };
    let read = reads_by_name(facts);
    let mut findings = Vec::new();
    for variable in &variables.attribution.variables {
        let Origin::Spec { declaration, .. } = &variable.origin else {
            continue;
        };
        let confidence = match variable.agreement {
            Agreement::Stale => Confidence::Certain,
            Agreement::Undecided => Confidence::Possible,
            _ => continue,
        };
        let places = read.get(&variable.name).map_or(&[][..], Vec::as_slice);
        findings.push(stale_finding(
            facts,
            variables,
            variable,
            declaration,
            confidence,
            places,
        ));
    }
    findings
}

fn stale_finding(
    facts: &Facts<'_>,
    variables: &Variables<'_>,
    variable: &Attributed,
    declaration: &Declaration,
    confidence: Confidence,
    places: &[Place<'_>],
) -> Finding {
    let name = &variable.name;
    let declared = describe(declaration);
    let now = declared_now(variables, name).map_or_else(
        || fact(format!("{declared} is gone"), source_of(declaration)),
        |declared_now| {
            let shown = shown(facts, name, declared_now, variable.secret);
            fact(
                format!("{declared} has another value now{shown}"),
                source_of(declaration),
            )
        },
    );
    let mut known = vec![
        fact(
            format!("{name}={}", value_shown(facts, variables, variable)),
            Source::Environ,
        ),
        now,
    ];
    known.extend(injected_fact(variables, name.as_bstr()));
    for place in places.iter().take(MOST_PLACES) {
        known.extend(place.facts());
    }
    let cause = match confidence {
        Confidence::Certain => {
            format!("{name} is of before {declared} was changed; a restart changes it")
        }
        _ => format!(
            "{name} is not what {declared} says now: it was changed since, or the entrypoint set it"
        ),
    };
    let command = facts
        .owner
        .as_ref()
        .map(|owner| format!("kubectl -n {} rollout restart {owner}", facts.namespace));
    Finding {
        id: Id::Stale,
        about: name.clone(),
        severity: if places.is_empty() {
            Severity::Low
        } else {
            Severity::Medium
        },
        confidence,
        cause: cause.into(),
        facts: known,
        refuted_by: format!("the entrypoint sets {name} to this value each time"),
        next: vec![Next {
            what: "restart it to get the new value".to_owned(),
            command: command.unwrap_or_default().into(),
        }],
    }
}

/// Two entries of the spec set one variable to different values, or the environment holds a name twice.
pub(super) fn shadowed(facts: &Facts<'_>) -> Vec<Finding> {
    let Lookup::Found(variables) = &facts.variables else {
        return Vec::new();
    };
    let mut findings: Vec<_> = variables
        .declarations
        .variables
        .iter()
        .filter_map(|(name, variable)| shadowed_finding(variables, name, variable))
        .collect();
    findings.extend(duplicates(variables));
    findings
}

fn shadowed_finding(variables: &Variables<'_>, name: &str, variable: &Variable) -> Option<Finding> {
    let winner = &variable.winner;
    let differs = |beaten: &&Declared| match (&beaten.value, &winner.value) {
        // The spec is there to beat links, and that an entry refers to the one before is meant so.
        _ if !beaten.by.is_in_spec() || refers_to(&winner.by, name) => false,
        (Lookup::Found(beaten), Lookup::Found(winner)) => beaten != winner,
        // Nobody knows whether they differ.
        _ => false,
    };
    let beaten = variable.shadowed.iter().rev().find(differs)?;
    let mut known = vec![
        fact(
            format!("{} sets {name}", describe(&beaten.by)),
            source_of(&beaten.by),
        ),
        fact(
            format!(
                "{} sets it again, and the last one counts",
                describe(&winner.by)
            ),
            source_of(&winner.by),
        ),
    ];
    known.extend(injected_fact(variables, name.into()));
    Some(Finding {
        id: Id::Shadowed,
        about: name.into(),
        severity: Severity::Low,
        confidence: Confidence::Certain,
        cause: format!(
            "{} beats {} for {name}, and they differ",
            describe(&winner.by),
            describe(&beaten.by)
        )
        .into(),
        facts: known,
        refuted_by: "somebody wants it so".to_owned(),
        next: Vec::new(),
    })
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

fn refers_to(declaration: &Declaration, name: &str) -> bool {
    matches!(declaration, Declaration::Expansion { references } if references.iter().any(|one| one == name))
}

fn duplicates(variables: &Variables<'_>) -> Vec<Finding> {
    let environment = variables.environment;
    let mut findings = Vec::new();
    for entry in &environment.entries {
        let first = entry.marks.iter().find_map(|mark| match mark {
            Mark::Duplicate { first } => environment.entries.get(*first),
            _ => None,
        });
        let Some(first) =
            first.filter(|first| environment.value(first) != environment.value(entry))
        else {
            continue;
        };
        let name = environment.name(first).as_bstr();
        findings.push(Finding {
            id: Id::Shadowed,
            about: name.to_owned(),
            severity: Severity::Low,
            confidence: Confidence::Certain,
            cause: format!("the process has {name} twice, with different values").into(),
            facts: vec![fact(
                format!("getenv finds the first {name}, a shell the last"),
                Source::Environ,
            )],
            refuted_by: "nothing reads it".to_owned(),
            next: Vec::new(),
        });
    }
    findings
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
