//! A variable that the code takes for a port, and that is the URL of a link to a Service.

use bstr::{BString, ByteSlice as _};

use super::{
    MOST_PLACES, Place, built_facts, declared_now, expected, is_plain, noun, reads_by_name,
    takes_no_url, value_of,
};
use crate::evidence::{
    findings::{Confidence, Fact, Facts, Finding, Id, Next, Severity, Source, Variables, fact},
    provenance::{Declaration, LinkState, Lookup, Origin, WhyAbsent},
    reads::{ShownBy, UseKind},
};

/// The code takes a variable for a port, a number or a host, and it is the URL of the kubelet's link to a Service.
///
/// The variable alone is no fault: it is in every pod of the namespace. The code alone is none either.
pub(in crate::evidence::findings) fn service_link_collision(facts: &Facts<'_>) -> Vec<Finding> {
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
