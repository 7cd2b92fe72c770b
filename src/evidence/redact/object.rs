//! What must not be shown of an object of the cluster.

use serde_json::Value;

use super::{Redactor, Source};

impl Redactor {
    /// Hides secrets in an object: values of variables by their names, and what looks like one in any other text.
    ///
    /// What only the API server's bookkeeping needs (`managedFields`) and what `kubectl apply` repeats of the whole object
    /// are left out.
    pub fn object(self, object: &mut Value) {
        if !self.hides {
            return;
        }
        match object {
            Value::String(text) => {
                let shown = self.text(text.as_bytes()).bytes().into_owned();
                *text = String::from_utf8_lossy(&shown).into_owned();
            }
            Value::Array(items) => items.iter_mut().for_each(|item| self.object(item)),
            Value::Object(fields) => {
                fields.remove("managedFields");
                fields.remove("kubectl.kubernetes.io/last-applied-configuration");
                let name = fields
                    .get("name")
                    .and_then(Value::as_str)
                    .map(str::to_owned);
                for (key, value) in fields.iter_mut() {
                    let name = match (&name, key.as_str()) {
                        (Some(name), "value") => name.as_str(),
                        _ => key.as_str(),
                    };
                    match value {
                        Value::String(text) => {
                            let shown =
                                self.variable(name.as_bytes(), text.as_bytes(), Source::Unknown);
                            *text = String::from_utf8_lossy(&shown.bytes()).into_owned();
                        }
                        value => self.object(value),
                    }
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn secrets_of_a_spec_are_hidden_and_the_rest_stays() {
        let mut pod = json!({
            "metadata": {
                "name": "page",
                "managedFields": [{"manager": "kubectl"}],
                "annotations": {
                    "kubectl.kubernetes.io/last-applied-configuration": "{\"value\":\"hunter2\"}",
                    "url": "http://me:hunter2@db/",
                },
            },
            "spec": {"containers": [{
                "name": "app",
                "env": [
                    {"name": "DB_PASSWORD", "value": "hunter2"},
                    {"name": "LOG_LEVEL", "value": "debug"},
                    {"name": "KEY", "valueFrom": {"secretKeyRef": {"name": "s", "key": "password"}}},
                ],
                "command": ["serve", "--password=hunter2"],
            }]},
        });
        Redactor::new(false).object(&mut pod);
        let text = pod.to_string();
        assert!(!text.contains("hunter2"), "{text}");
        let container = &pod["spec"]["containers"][0];
        assert_eq!(container["env"][1]["value"], "debug");
        assert_eq!(container["command"][0], "serve");
        assert_eq!(
            container["env"][2]["valueFrom"]["secretKeyRef"]["name"],
            "s"
        );
        assert_eq!(pod["metadata"]["managedFields"], serde_json::Value::Null);
    }
}
