//! The connection to a cluster, found as kubectl finds it.

use std::{ffi::OsString, path::PathBuf, time::Duration};

use hyper_timeout::TimeoutConnector;
use hyper_util::{client::legacy::connect::HttpConnector, rt::TokioExecutor};
use kube::{
    Client,
    client::{ClientBuilder, ConfigExt as _, retry::RetryPolicy},
    config::{Config, KubeConfigOptions, Kubeconfig},
};
use tower::{BoxError, ServiceBuilder, retry::RetryLayer};

use super::PodError;

/// An API server that is slower than this is not usable in an incident; over a VPN a second is normal.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// Which cluster and namespace, as they were asked for.
#[derive(Clone, Debug, Default)]
pub struct ClusterOptions {
    /// A kubeconfig instead of `$KUBECONFIG`, `~/.kube/config` or the pod's own account.
    pub kubeconfig: Option<PathBuf>,
    /// A context of the kubeconfig instead of its current one.
    pub context: Option<String>,
    /// A namespace instead of the context's.
    pub namespace: Option<String>,
    /// Look in all namespaces.
    pub all_namespaces: bool,
}

/// A cluster, and the namespace that is meant.
#[derive(Clone)]
pub struct Cluster {
    /// The connection.
    pub client: Client,
    /// Where names are looked up.
    pub namespace: String,
    /// The address of the API server.
    pub server: String,
    /// A digest of who asks whom: the server, and all that the account is known by. Equal ones get equal answers.
    pub account: String,
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Cluster")
            .field("namespace", &self.namespace)
            .field("server", &self.server)
            .finish_non_exhaustive()
    }
}

impl Cluster {
    /// Connects. Nothing is sent yet.
    pub async fn connect(options: &ClusterOptions) -> Result<Self, PodError> {
        // The second call of a process is refused, and that is fine.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut config = config(options).await?;
        config.connect_timeout = Some(CONNECT_LIMIT);
        // A session is silent for long; it has its own heartbeat.
        config.read_timeout = None;
        let namespace = options
            .namespace
            .clone()
            .unwrap_or_else(|| config.default_namespace.clone());
        let server = config.cluster_url.to_string();
        let account = account(&config, std::env::vars_os());
        let client = client(config).map_err(|error| PodError::Config(error.to_string()))?;
        Ok(Self {
            client,
            namespace,
            server,
            account,
        })
    }
}

/// What the programs that fetch credentials choose an account by, beside what the kubeconfig tells them.
const PLUGIN_VARIABLES: [&str; 12] = [
    "AAD_",
    "ARM_",
    "AWS_",
    "AZURE_",
    "CLOUDSDK_",
    "GOOGLE_",
    "HOME",
    "KUBE",
    "OCI_",
    "OS_",
    "TELEPORT_",
    "VAULT_",
];

/// The digest of who asks whom. Names of files stand for what they hold.
fn account(config: &Config, variables: impl Iterator<Item = (OsString, OsString)>) -> String {
    let mut hasher = blake3::Hasher::new_derive_key("kdbg 2026 account of a cluster");
    let mut add = |bytes: &[u8]| {
        hasher.update(&bytes.len().to_le_bytes());
        hasher.update(bytes);
    };
    let auth = &config.auth_info;
    // Its maps have no order of their own.
    let mut value = serde_json::to_value(auth).unwrap_or_default();
    value.sort_all_objects();
    add(value.to_string().as_bytes());
    let server = (
        &config.cluster_url,
        &config.root_cert,
        &config.root_cert_file,
        &config.proxy_url,
        &config.tls_server_name,
        config.accept_invalid_certs,
        &config.headers,
    );
    add(format!("{server:?}").as_bytes());
    if auth.exec.is_some() || auth.auth_provider.is_some() {
        let is_asked = |name: &OsString| {
            let name = name.as_encoded_bytes();
            PLUGIN_VARIABLES
                .iter()
                .any(|prefix| name.starts_with(prefix.as_bytes()))
        };
        let mut asked: Vec<_> = variables.filter(|(name, _)| is_asked(name)).collect();
        asked.sort();
        for (name, value) in asked {
            add(name.as_encoded_bytes());
            add(value.as_encoded_bytes());
        }
    }
    hasher.finalize().to_hex().to_string()
}

/// The layers of kube's own client, on connections that send at once. Those of kube hold a small segment back until the
/// one before it is acknowledged (RFC 896), and the other side acknowledges the end of its handshake only 40 ms later: as
/// long as all the rest of a second look at a pod takes. Through a proxy kube's own is used as it is.
fn client(config: Config) -> Result<Client, kube::Error> {
    if config.proxy_url.is_some() {
        return Client::try_from(config);
    }
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    let mut connector = TimeoutConnector::new(config.rustls_https_connector_with_connector(tcp)?);
    connector.set_connect_timeout(config.connect_timeout);
    connector.set_read_timeout(config.read_timeout);
    connector.set_write_timeout(config.write_timeout);
    let http = hyper_util::client::legacy::Client::builder(TokioExecutor::new()).build(connector);
    let retry = config
        .default_retry
        .then(|| RetryLayer::new(RetryPolicy::server_retry()));
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(retry)
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .map_err(BoxError::from)
        .service(http);
    Ok(ClientBuilder::new(service, config.default_namespace).build())
}

async fn config(options: &ClusterOptions) -> Result<Config, PodError> {
    let selection = KubeConfigOptions {
        context: options.context.clone(),
        ..KubeConfigOptions::default()
    };
    if let Some(path) = &options.kubeconfig {
        let kubeconfig =
            Kubeconfig::read_from(path).map_err(|error| PodError::Config(error.to_string()))?;
        return Config::from_custom_kubeconfig(kubeconfig, &selection)
            .await
            .map_err(|error| PodError::Config(error.to_string()));
    }
    if options.context.is_some() {
        return Config::from_kubeconfig(&selection)
            .await
            .map_err(|error| PodError::Config(error.to_string()));
    }
    Config::infer()
        .await
        .map_err(|error| PodError::Config(error.to_string()))
}

#[cfg(test)]
mod tests {
    use kube::config::{AuthInfo, ExecConfig};
    use serde_json::json;

    use super::*;

    fn config(auth: &serde_json::Value) -> Config {
        let mut config = Config::new("https://127.0.0.1:6443".parse().unwrap());
        config.auth_info = serde_json::from_value::<AuthInfo>(auth.clone()).unwrap();
        config
    }

    fn of(config: &Config, variables: &[(&str, &str)]) -> String {
        let variables = variables.iter();
        account(
            config,
            variables.map(|(name, value)| (OsString::from(name), OsString::from(value))),
        )
    }

    #[test]
    fn accounts_differ_by_server_credentials_and_whom_they_act_as() {
        let auths = [
            json!({}),
            json!({"token": "a"}),
            json!({"token": "b"}),
            json!({"client-certificate-data": "a"}),
            json!({"token": "a", "as": "someone"}),
            json!({"token": "a", "as": "someone", "as-groups": ["some"]}),
        ];
        let mut accounts: Vec<_> = auths.iter().map(|auth| of(&config(auth), &[])).collect();
        let mut elsewhere = config(&auths[1]);
        elsewhere.cluster_url = "https://127.0.0.2:6443".parse().unwrap();
        accounts.push(of(&elsewhere, &[]));
        let count = accounts.len();
        accounts.sort();
        accounts.dedup();
        assert_eq!(accounts.len(), count);
        assert_eq!(of(&config(&auths[1]), &[]), of(&config(&auths[1]), &[]));
        assert!(!accounts.iter().any(|account| account.contains("token")));
    }

    #[test]
    fn a_program_that_fetches_credentials_may_choose_by_its_environment() {
        let mut with_plugin = config(&json!({}));
        with_plugin.auth_info.exec = Some(
            serde_json::from_value::<ExecConfig>(json!({
                "command": "aws", "args": ["eks", "get-token"],
                "env": [{"name": "A", "value": "1"}, {"value": "2", "name": "B"}],
            }))
            .unwrap(),
        );
        let one = of(&with_plugin, &[("AWS_PROFILE", "one"), ("TERM", "xterm")]);
        assert_eq!(
            one,
            of(&with_plugin, &[("TERM", "dumb"), ("AWS_PROFILE", "one")])
        );
        assert_ne!(one, of(&with_plugin, &[("AWS_PROFILE", "two")]));
        let plain = config(&json!({"token": "a"}));
        assert_eq!(of(&plain, &[("AWS_PROFILE", "one")]), of(&plain, &[]));
    }
}
