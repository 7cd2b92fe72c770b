//! What the registry of an image says of it: labels, annotations and the environment that it sets.
//!
//! The API server does not know them, and a node tells them only to its own users. A registry is asked when the user
//! wants it, with the credentials that `docker login` and its like have left, and for the very image that runs: by its
//! digest where the node names one, and otherwise the image that comes is compared with what the node has.

use std::{
    fmt,
    fs::File,
    io::{self, BufReader},
    net::IpAddr,
    path::PathBuf,
    time::Duration,
};

use docker_credential::{CredentialRetrievalError, DockerCredential};
use oci_client::{
    Client, Reference,
    client::{ClientConfig, ClientProtocol},
    errors::OciDistributionError,
    manifest::{ImageIndexEntry, OciImageManifest},
    secrets::RegistryAuth,
};
use serde::Deserialize;
use thiserror::Error;
use tokio::time::timeout;

/// How long a registry may take to answer. What it says is a help, and nobody waits long for that in an incident.
const LIMIT: Duration = Duration::from_secs(10);

/// An image that runs somewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    reference: Reference,
    /// The digest of its configuration, when the node has no other name for it.
    configuration: Option<String>,
}

/// What an image says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Description {
    /// Its labels and the annotations of its manifest, in no order.
    pub labels: Vec<(String, String)>,
    /// The variables that it sets: name and value.
    pub environment: Vec<(String, String)>,
}

/// Why a registry did not tell.
#[derive(Debug, Error)]
pub enum RegistryError {
    /// What names the image is no name of an image.
    #[error("`{image}` is not the name of an image: {reason}")]
    Name {
        /// The name.
        image: String,
        /// Why not.
        reason: String,
    },
    /// The credentials could not be had.
    #[error("the credentials for {registry} cannot be had: {reason}")]
    Credentials {
        /// The registry.
        registry: String,
        /// Why not.
        reason: String,
    },
    /// The registry did not answer in time.
    #[error("{registry} has not answered within {} s", LIMIT.as_secs())]
    Silent {
        /// The registry.
        registry: String,
    },
    /// The registry did not give it, or cannot be reached.
    #[error("{registry} does not tell what {image} is: {reason}")]
    NotTold {
        /// The registry.
        registry: String,
        /// The image.
        image: String,
        /// Why not.
        reason: String,
    },
    /// The name now means something else.
    #[error("{image} is another image by now: the node has {running}, {registry} has {found}")]
    Moved {
        /// The registry.
        registry: String,
        /// The image.
        image: String,
        /// The digest of the configuration of what runs.
        running: String,
        /// That of what the registry has.
        found: String,
    },
    /// What it gave cannot be understood.
    #[error("the configuration of {image} cannot be understood: {reason}")]
    Strange {
        /// The image.
        image: String,
        /// Why not.
        reason: String,
    },
}

impl RegistryError {
    /// What to do about it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::NotTold { .. } => Some("log in with `docker login`, or leave `--registry` out"),
            Self::Credentials { .. } => Some("log in again, or leave `--registry` out"),
            _ => None,
        }
    }
}

impl Image {
    /// An image by its name.
    pub fn named(name: &str) -> Result<Self, RegistryError> {
        let reference =
            name.parse()
                .map_err(|error: oci_client::ParseError| RegistryError::Name {
                    image: name.to_owned(),
                    reason: error.to_string(),
                })?;
        Ok(Self {
            reference,
            configuration: None,
        })
    }

    /// The image of a container, by what its status calls it: `image`, and `imageID`, which is `NAME@sha256:…`, or the
    /// bare digest of the configuration when the image was not pulled.
    pub fn of_status(image: &str, id: &str) -> Result<Self, RegistryError> {
        let id = id.split_once("://").map_or(id, |(_, id)| id);
        if id.contains('@') {
            return Self::named(id);
        }
        Ok(Self {
            configuration: id.starts_with("sha256:").then(|| id.to_owned()),
            ..Self::named(image)?
        })
    }
}

impl fmt::Display for Image {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.reference)
    }
}

/// What the name of an image means now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tag {
    /// The digest of what the name leads to, which may be an index of several platforms.
    pub digest: String,
    /// That of the manifest for one platform, which may be the same.
    pub manifest: String,
    /// That of its configuration.
    pub configuration: String,
    /// What it says of itself.
    pub description: Description,
}

impl Tag {
    /// Whether an image that runs, as the node names it (`imageID`), is what the name means now; `None` when that cannot
    /// be told: the configuration of one platform says nothing of another one's.
    #[must_use]
    pub fn is(&self, id: &str) -> Option<bool> {
        let id = id.split_once("://").map_or(id, |(_, id)| id);
        if let Some((_, digest)) = id.rsplit_once('@') {
            return Some(digest == self.digest || digest == self.manifest);
        }
        if !id.starts_with("sha256:") {
            return None;
        }
        let is_index = self.digest != self.manifest;
        match id == self.configuration {
            false if is_index => None,
            is_same => Some(is_same),
        }
    }
}

/// Asks the registry of an image what its name means now.
pub async fn resolve(image: &Image) -> Result<Tag, RegistryError> {
    let digest = tell(image, async |client, reference, credentials| {
        client.fetch_manifest_digest(reference, credentials).await
    })
    .await?;
    let (manifest, of_manifest, configuration) = pull(image).await?;
    Ok(Tag {
        digest,
        manifest: of_manifest,
        configuration: manifest.config.digest.clone(),
        description: description(image, &manifest, &configuration)?,
    })
}

/// Asks the registry of an image what it is.
pub async fn describe(image: &Image) -> Result<Description, RegistryError> {
    let (manifest, _, configuration) = pull(image).await?;
    if let Some(running) = &image.configuration
        && *running != manifest.config.digest
    {
        return Err(RegistryError::Moved {
            registry: image.reference.resolve_registry().to_owned(),
            image: image.to_string(),
            running: running.clone(),
            found: manifest.config.digest,
        });
    }
    description(image, &manifest, &configuration)
}

fn description(
    image: &Image,
    manifest: &OciImageManifest,
    configuration: &str,
) -> Result<Description, RegistryError> {
    let mut description =
        read(configuration.as_bytes()).map_err(|error| RegistryError::Strange {
            image: image.to_string(),
            reason: error.to_string(),
        })?;
    let annotations = manifest.annotations.iter().flatten();
    description
        .labels
        .extend(annotations.map(|(name, value)| (name.clone(), value.clone())));
    Ok(description)
}

/// The manifest for one platform, its digest, and its configuration.
async fn pull(image: &Image) -> Result<(OciImageManifest, String, String), RegistryError> {
    tell(image, async |client, reference, credentials| {
        client
            .pull_manifest_and_config(reference, credentials)
            .await
    })
    .await
}

/// Has a registry tell something, in time and with what was left for it by whoever logged in.
async fn tell<T>(
    image: &Image,
    ask: impl AsyncFnOnce(&Client, &Reference, &RegistryAuth) -> Result<T, OciDistributionError>,
) -> Result<T, RegistryError> {
    let registry = image.reference.resolve_registry().to_owned();
    let credentials = credentials(&registry).await?;
    let client = client(&registry);
    match timeout(LIMIT, ask(&client, &image.reference, &credentials)).await {
        Err(_) => Err(RegistryError::Silent { registry }),
        Ok(answer) => answer.map_err(|error| RegistryError::NotTold {
            registry,
            image: image.to_string(),
            reason: error.to_string(),
        }),
    }
}

fn client(registry: &str) -> Client {
    // The second call of a process is refused, and that is fine.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let protocol = if is_loopback(registry) {
        ClientProtocol::Http
    } else {
        ClientProtocol::Https
    };
    Client::new(ClientConfig {
        protocol,
        platform_resolver: Some(Box::new(platform)),
        connect_timeout: Some(LIMIT),
        user_agent: concat!("kdbg/", env!("CARGO_PKG_VERSION")),
        ..ClientConfig::default()
    })
}

/// Whether a registry is on this machine: such ones are spoken to without TLS, as docker does it.
fn is_loopback(registry: &str) -> bool {
    let host = registry.rsplit_once(':').map_or(registry, |(host, _)| host);
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || address
            .parse()
            .is_ok_and(|address: IpAddr| address.is_loopback())
}

/// Of an image for several platforms the one for this machine's architecture, else any for Linux: labels are the same in
/// all of them.
fn platform(entries: &[ImageIndexEntry]) -> Option<String> {
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let of = |entry: &&ImageIndexEntry, wanted: Option<&str>| {
        entry.platform.as_ref().is_some_and(|platform| {
            platform.os.to_string() == "linux"
                && wanted.is_none_or(|wanted| platform.architecture.to_string() == wanted)
        })
    };
    entries
        .iter()
        .find(|entry| of(entry, Some(architecture)))
        .or_else(|| entries.iter().find(|entry| of(entry, None)))
        .map(|entry| entry.digest.clone())
}

/// What was left for a registry by whoever logged in. Programs that keep credentials are asked, which may take time.
async fn credentials(registry: &str) -> Result<RegistryAuth, RegistryError> {
    let name = match registry {
        // Under the name that it had first.
        "docker.io" | "index.docker.io" => "https://index.docker.io/v1/",
        registry => registry,
    }
    .to_owned();
    let failed = |reason: String| RegistryError::Credentials {
        registry: registry.to_owned(),
        reason,
    };
    tokio::task::spawn_blocking(move || stored_credentials(&name))
        .await
        .map_err(|error| failed(error.to_string()))?
        .map_err(failed)
}

/// Looks into the files of docker and podman, the first that has any for a registry.
fn stored_credentials(registry: &str) -> Result<RegistryAuth, String> {
    let variable = |name| std::env::var_os(name).map(PathBuf::from);
    let docker = variable("DOCKER_CONFIG").or_else(|| Some(variable("HOME")?.join(".docker")));
    let podman = variable("XDG_RUNTIME_DIR").map(|folder| folder.join("containers/auth.json"));
    let files = [
        variable("REGISTRY_AUTH_FILE"),
        docker.map(|folder| folder.join("config.json")),
        podman,
    ];
    for path in files.into_iter().flatten() {
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(format!("{}: {error}", path.display())),
        };
        match docker_credential::get_credential_from_reader(BufReader::new(file), registry) {
            Ok(DockerCredential::UsernamePassword(name, password)) => {
                return Ok(RegistryAuth::Basic(name, password));
            }
            Ok(DockerCredential::IdentityToken(token)) => return Ok(RegistryAuth::Bearer(token)),
            Err(CredentialRetrievalError::NoCredentialConfigured) => {}
            Err(error) => return Err(format!("{}: {error}", path.display())),
        }
    }
    Ok(RegistryAuth::Anonymous)
}

/// The parts of an image's configuration that are wanted (`image-spec/config.md`). Empty lists may be `null`.
#[derive(Deserialize)]
struct Configuration {
    config: Option<Execution>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Execution {
    #[serde(default)]
    env: Option<Vec<String>>,
    #[serde(default)]
    labels: Option<std::collections::BTreeMap<String, String>>,
}

fn read(configuration: &[u8]) -> Result<Description, serde_json::Error> {
    let configuration: Configuration = serde_json::from_slice(configuration)?;
    let Some(execution) = configuration.config else {
        return Ok(Description::default());
    };
    let variable = |entry: &String| {
        let (name, value) = entry.split_once('=')?;
        Some((name.to_owned(), value.to_owned()))
    };
    Ok(Description {
        labels: execution.labels.into_iter().flatten().collect(),
        environment: execution
            .env
            .iter()
            .flatten()
            .filter_map(variable)
            .collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_runs_is_what_a_name_means_now_or_is_not_or_cannot_be_told() {
        let tag = |digest: &str| Tag {
            digest: digest.to_owned(),
            manifest: "sha256:m".to_owned(),
            configuration: "sha256:c".to_owned(),
            description: Description::default(),
        };
        let (plain, index) = (tag("sha256:m"), tag("sha256:i"));
        for (id, is_plain, is_index) in [
            ("shop/web@sha256:m", Some(true), Some(true)),
            (
                "docker-pullable://shop/web@sha256:i",
                Some(false),
                Some(true),
            ),
            ("shop/web@sha256:old", Some(false), Some(false)),
            ("sha256:c", Some(true), Some(true)),
            // Of another platform, for all that is known.
            ("sha256:old", Some(false), None),
            ("", None, None),
        ] {
            assert_eq!((plain.is(id), index.is(id)), (is_plain, is_index), "{id}");
        }
    }

    #[test]
    fn the_image_that_runs_is_named_by_its_digest_where_the_node_has_one() {
        let digest = format!("sha256:{}", "a".repeat(64));
        let pulled =
            Image::of_status("shop/web:7", &format!("host.example/shop/web@{digest}")).unwrap();
        assert_eq!(
            pulled.to_string(),
            format!("host.example/shop/web@{digest}")
        );
        let old = format!("docker-pullable://host.example/shop/web@{digest}");
        assert_eq!(Image::of_status("shop/web:7", &old).unwrap(), pulled);
        let loaded = Image::of_status("host.example/shop/web:7", &digest).unwrap();
        assert_eq!(loaded.to_string(), "host.example/shop/web:7");
        assert_eq!(loaded.configuration, Some(digest));
        assert!(Image::of_status("no image at all", "").is_err());
    }

    #[test]
    fn registries_of_this_machine_are_spoken_to_without_tls() {
        for near in [
            "localhost",
            "localhost:5000",
            "127.0.0.1:5000",
            "[::1]:5000",
        ] {
            assert!(is_loopback(near), "{near}");
        }
        for far in [
            "host.example",
            "host.example:5000",
            "10.0.0.1:5000",
            "[fd00::1]:5000",
        ] {
            assert!(!is_loopback(far), "{far}");
        }
    }

    #[test]
    fn a_configuration_may_have_no_labels_and_no_variables() {
        for empty in [
            r"{}",
            r#"{"config":null}"#,
            r#"{"config":{"Env":null,"Labels":null}}"#,
        ] {
            assert_eq!(
                read(empty.as_bytes()).unwrap(),
                Description::default(),
                "{empty}"
            );
        }
        let full = read(br#"{"config":{"Env":["A=1","B","C=2=3"],"Labels":{"x":"y"}}}"#).unwrap();
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(full.environment, [pair("A", "1"), pair("C", "2=3")]);
        assert_eq!(full.labels, [pair("x", "y")]);
        assert!(read(b"[").is_err());
    }
}
