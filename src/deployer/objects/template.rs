//! What a descriptor's pods become.

use super::Record;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Whose pods.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// The version's, which are there for good.
    Version,
    /// A hook's, which end.
    Hook,
}

/// A PodTemplateSpec. Containers get variables that say which application and version they are, those of all pods, and
/// those of the descriptor; what a container itself says counts more than each of them.
pub(super) fn template(
    record: &Record,
    kind: Kind,
    podspec: &Value,
    labels: &Value,
    environment: &BTreeMap<String, String>,
) -> Value {
    let mut spec = podspec.clone();
    if let Some(spec) = spec.as_object_mut() {
        let policy = if kind == Kind::Version { "Always" } else { "Never" };
        spec.entry("restartPolicy").or_insert(policy.into());
        spec.entry("dnsPolicy").or_insert("ClusterFirst".into());
        let variables = variables(record, environment);
        for part in ["containers", "initContainers"] {
            for container in spec.get_mut(part).and_then(Value::as_array_mut).into_iter().flatten() {
                give(container, &variables);
            }
        }
    }
    json!({ "metadata": { "labels": labels }, "spec": spec })
}

/// By name, in the order in which they are given.
fn variables(record: &Record, environment: &BTreeMap<String, String>) -> Vec<(String, Value)> {
    let field = |path: &str| json!({ "valueFrom": { "fieldRef": { "fieldPath": path } } });
    let text = |text: &str| json!({ "value": text });
    let mut variables = vec![
        ("APP_NAME".to_owned(), text(&record.descriptor.app_name)),
        ("POD_NAMESPACE".to_owned(), field("metadata.namespace")),
        ("APP_VERSION".to_owned(), text(&record.version)),
        ("POD_NAME".to_owned(), field("metadata.name")),
    ];
    let given = |(name, value): (&String, &String)| (name.to_uppercase().replace('-', "_"), text(value));
    variables.extend(environment.iter().map(given));
    variables.extend(record.descriptor.environment.iter().map(|(name, value)| (name.clone(), text(value))));
    variables
}

fn give(container: &mut Value, variables: &[(String, Value)]) {
    let Some(container) = container.as_object_mut() else { return };
    let own = container.get("env").and_then(Value::as_array).cloned().unwrap_or_default();
    let is_own = |name: &str| own.iter().any(|it| it.get("name").and_then(Value::as_str) == Some(name));
    let mut env: Vec<Value> = Vec::new();
    for (at, (name, value)) in variables.iter().enumerate() {
        let is_last = variables.iter().skip(at + 1).all(|(later, _)| later != name);
        if is_last && !is_own(name) {
            let mut variable = value.clone();
            if let Some(fields) = variable.as_object_mut() {
                fields.insert("name".into(), name.as_str().into());
            }
            env.push(variable);
        }
    }
    // Behind the others: theirs may refer to them.
    env.extend(own);
    container.insert("env".into(), env.into());
}

#[cfg(test)]
mod tests {
    use super::super::record_of;
    use super::*;

    #[test]
    fn a_containers_own_word_counts_most() {
        let podspec = json!({
            "containers": [{ "name": "main", "image": "i", "env": [
                { "name": "MODE", "value": "$(APP_NAME)" }, { "name": "REGION", "value": "own" },
            ] }],
            "initContainers": [{ "name": "first", "image": "i" }],
        });
        let record = record_of(json!({
            "podspec": podspec, "environment": { "MODE": "descriptor", "LEVEL": "descriptor" },
        }));
        let all = [("region", "all"), ("log-level", "all"), ("level", "all")];
        let all = all.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let made = template(&record, Kind::Version, &record.descriptor.podspec, &json!({}), &all);
        let of = |part: &str| -> Vec<(String, String)> {
            let env = made["spec"][part][0]["env"].as_array().unwrap();
            let text = |value: &Value| value.as_str().unwrap_or("field").to_owned();
            env.iter().map(|it| (text(&it["name"]), text(&it["value"]))).collect()
        };
        let pairs = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
        };
        let told =
            [("APP_NAME", "web"), ("POD_NAMESPACE", "field"), ("APP_VERSION", "7"), ("POD_NAME", "field")];
        let main =
            [("LOG_LEVEL", "all"), ("LEVEL", "descriptor"), ("MODE", "$(APP_NAME)"), ("REGION", "own")];
        assert_eq!(of("containers"), pairs(&[&told[..], &main[..]].concat()));
        let first =
            [("LOG_LEVEL", "all"), ("REGION", "all"), ("LEVEL", "descriptor"), ("MODE", "descriptor")];
        assert_eq!(of("initContainers"), pairs(&[&told[..], &first[..]].concat()));
        assert_eq!(made["spec"]["restartPolicy"], "Always");
    }
}
