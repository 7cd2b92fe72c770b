//! The variables that the kubelet makes of Services (pkg/kubelet/envvars/envvars.go).

use serde::Serialize;

use super::facts::Service;

/// Which of a Service's variables it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum LinkForm {
    /// `X_SERVICE_HOST`: the address.
    ServiceHost,
    /// `X_SERVICE_PORT`: the first port's number.
    ServicePort,
    /// `X_SERVICE_PORT_NAME`: a named port's number.
    NamedPort,
    /// `X_PORT`: `tcp://ADDRESS:NUMBER` of the first port, which is what collides with a port's number.
    Url,
    /// `X_PORT_80_TCP`: the same for each port.
    PortUrl,
    /// `X_PORT_80_TCP_PROTO`
    Protocol,
    /// `X_PORT_80_TCP_PORT`
    PortNumber,
    /// `X_PORT_80_TCP_ADDR`
    Address,
}

impl LinkForm {
    /// Whether its value is a URL.
    #[must_use]
    pub const fn is_url(self) -> bool {
        matches!(self, Self::Url | Self::PortUrl)
    }
}

/// A variable that a Service makes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
    /// Which it is.
    pub form: LinkForm,
}

/// Whether a Service makes variables at all.
#[must_use]
pub fn makes_links(service: &Service) -> bool {
    !matches!(service.cluster_ip.as_str(), "" | "None") && !service.ports.is_empty()
}

/// The variables that a Service makes.
#[must_use]
pub fn links(service: &Service) -> Vec<Link> {
    let mut links = Vec::new();
    if !makes_links(service) {
        return links;
    }
    let prefix = variable_name(&service.name);
    let address = &service.cluster_ip;
    let mut add = |name: String, value: String, form| links.push(Link { name, value, form });
    add(
        format!("{prefix}_SERVICE_HOST"),
        address.clone(),
        LinkForm::ServiceHost,
    );
    for (position, port) in service.ports.iter().enumerate() {
        let number = port.number.to_string();
        let protocol = if port.protocol.is_empty() {
            "TCP"
        } else {
            &port.protocol
        };
        let lower = protocol.to_lowercase();
        let url = format!("{lower}://{}", join(address, &number));
        if position == 0 {
            add(
                format!("{prefix}_SERVICE_PORT"),
                number.clone(),
                LinkForm::ServicePort,
            );
            add(format!("{prefix}_PORT"), url.clone(), LinkForm::Url);
        }
        if !port.name.is_empty() {
            let name = format!("{prefix}_SERVICE_PORT_{}", variable_name(&port.name));
            add(name, number.clone(), LinkForm::NamedPort);
        }
        let base = format!("{prefix}_PORT_{number}_{}", protocol.to_uppercase());
        add(base.clone(), url, LinkForm::PortUrl);
        add(format!("{base}_PROTO"), lower, LinkForm::Protocol);
        add(format!("{base}_PORT"), number, LinkForm::PortNumber);
        add(format!("{base}_ADDR"), address.clone(), LinkForm::Address);
    }
    links
}

/// `makeEnvVariableName`: nothing but dashes and case.
fn variable_name(name: &str) -> String {
    name.replace('-', "_").to_uppercase()
}

/// `net.JoinHostPort`
fn join(address: &str, port: &str) -> String {
    if address.contains(':') {
        format!("[{address}]:{port}")
    } else {
        format!("{address}:{port}")
    }
}
