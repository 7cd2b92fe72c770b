//! Accounts to run kdbg as, and what they have asked of the API server.

use std::path::PathBuf;

use k8s_openapi::api::authentication::v1::TokenRequest;
use k8s_openapi::api::authorization::v1::SubjectAccessReview;
use k8s_openapi::api::core::v1::ServiceAccount;
use k8s_openapi::api::rbac::v1::{Role, RoleBinding};
use kube::api::{Api, PostParams};
use serde_json::{Value, json};

use super::Cluster;
use super::kdbg::Ran;
use super::test::{Test, from_json};
use super::wait::{Failure, wait_until};

/// An account with a kubeconfig of its own.
pub(crate) struct Account {
    folder: tempfile::TempDir,
    /// The name that the API server gives it.
    pub(crate) user: String,
}

impl Account {
    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.folder.path().join("kubeconfig")
    }
}

impl Test {
    /// Runs kdbg as an account.
    pub(crate) async fn kdbg_as(
        &self,
        account: &Account,
        arguments: &[&str],
    ) -> Result<Ran, Failure> {
        let mut command = self.kdbg_command(arguments);
        command
            .args(["--namespace", &self.namespace])
            .env("KUBECONFIG", account.kubeconfig());
        self.run_to_end(command).await
    }

    /// Makes an account that may do nothing yet.
    pub(crate) async fn account(&self, name: &str) -> Result<Account, Failure> {
        self.create_object::<ServiceAccount>(json!({"metadata": {"name": name}}))
            .await?;
        let request: TokenRequest = from_json(json!({"spec": {"audiences": []}}));
        let token = self
            .api::<ServiceAccount>()
            .create_token_request(name, &PostParams::default(), &request)
            .await?
            .status
            .ok_or_else(|| Failure::new("no token was made"))?
            .token;
        let folder = tempfile::tempdir().map_err(Failure::of("make a folder"))?;
        let account = Account {
            folder,
            user: format!("system:serviceaccount:{}:{name}", self.namespace),
        };
        let kubeconfig = self.cluster.kubeconfig_with_token(&token)?;
        std::fs::write(account.kubeconfig(), kubeconfig.to_string())
            .map_err(Failure::of("write a kubeconfig"))?;
        Ok(account)
    }

    /// Creates the Role and `RoleBinding` that are given, and waits until the API server knows of them.
    pub(crate) async fn grant(
        &self,
        account: &Account,
        role: &Value,
        binding: &Value,
    ) -> Result<(), Failure> {
        self.create_object::<Role>(role.clone()).await?;
        self.create_object::<RoleBinding>(binding.clone()).await?;
        let rule = &role["rules"][0];
        let resource = rule["resources"][0].as_str().unwrap_or_default();
        let (resource, subresource) = resource.split_once('/').unwrap_or((resource, ""));
        let review: SubjectAccessReview = from_json(json!({"spec": {
            "user": account.user,
            "resourceAttributes": {
                "namespace": self.namespace, "verb": rule["verbs"][0], "group": rule["apiGroups"][0],
                "resource": resource, "subresource": subresource,
            },
        }}));
        let reviews: Api<SubjectAccessReview> = Api::all(self.client.clone());
        wait_until(&self.cluster, "the role is in force", async || {
            let review = reviews.create(&PostParams::default(), &review).await?;
            let allowed = review.status.is_some_and(|status| status.allowed);
            Ok(if allowed {
                Ok(())
            } else {
                Err("it is not".to_owned())
            })
        })
        .await
    }
}

impl Cluster {
    /// Returns what an account has asked of an own cluster, each once: `patch pods/ephemeralcontainers`.
    pub(crate) fn requests_of(&self, user: &str) -> Result<Vec<String>, Failure> {
        let log = self.folder().join("log/audit.log");
        let text = std::fs::read_to_string(&log).map_err(Failure::of("read the audit log"))?;
        let mut requests: Vec<_> = text
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
            .filter(|event| event["user"]["username"] == user)
            .map(|event| {
                let verb = event["verb"].as_str().unwrap_or_default();
                let object = &event["objectRef"];
                match (object["resource"].as_str(), object["subresource"].as_str()) {
                    (Some(resource), Some(sub)) => format!("{verb} {resource}/{sub}"),
                    (Some(resource), None) => format!("{verb} {resource}"),
                    (None, _) => format!("{verb} {}", event["requestURI"].as_str().unwrap_or("?")),
                }
            })
            .collect();
        requests.sort_unstable();
        requests.dedup();
        Ok(requests)
    }
}
