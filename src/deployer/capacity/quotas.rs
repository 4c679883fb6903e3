//! How many pods the quotas of a namespace leave room for.

use super::need::{is_best_effort, limits, read, requests};
use super::quantity::show;
use super::{Asked, Resources};
use k8s_openapi::api::core::v1::{PodSpec, ResourceQuota, ScopedResourceSelectorRequirement};

/// What a quota leaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Left {
    pub(super) pods: u64,
    /// What of it does not reach.
    pub(super) short: String,
}

/// What a quota leaves to so many pods; none: enough.
pub(super) fn left(asked: &Asked<'_>, quota: &ResourceQuota) -> Option<Left> {
    if !concerns(quota, asked.spec) {
        return None;
    }
    let status = quota.status.as_ref();
    let hard = status.and_then(|status| status.hard.as_ref());
    let hard = read(hard.or(quota.spec.as_ref().and_then(|spec| spec.hard.as_ref())));
    let used = read(status.and_then(|status| status.used.as_ref()));
    let (each, once) = needs(asked);
    let (mut pods, mut short) = (u64::from(asked.pods), Vec::new());
    for (resource, most) in &hard {
        let taken = *used.get(resource).unwrap_or(&0);
        let room = room(most - taken, each.get(resource), once.get(resource));
        if room < u64::from(asked.pods) {
            pods = pods.min(room);
            short.push(format!("{resource} {} of {} used", show(resource, taken), show(resource, *most)));
        }
    }
    let name = quota.metadata.name.as_deref().unwrap_or_default();
    (!short.is_empty()).then(|| Left { pods, short: format!("quota {name}: {}", short.join(", ")) })
}

/// For how many pods `free` reaches.
fn room(free: i128, each: Option<&i128>, once: Option<&i128>) -> u64 {
    let rest = free - once.unwrap_or(&0);
    match (rest < 0 && (each.is_some() || once.is_some()), each) {
        (true, _) => 0,
        (false, Some(each)) if *each > 0 => u64::try_from(rest / each).unwrap_or(u64::MAX),
        _ => u64::MAX,
    }
}

/// What each pod takes, and what the whole takes, as quotas name it.
fn needs(asked: &Asked<'_>) -> (Resources, Resources) {
    let mut each = Resources::from([("pods".to_owned(), 1_000), ("count/pods".to_owned(), 1_000)]);
    for (resource, amount) in requests(asked.spec) {
        if matches!(resource.as_str(), "cpu" | "memory" | "ephemeral-storage") {
            each.insert(resource.clone(), amount);
        }
        each.insert(format!("requests.{resource}"), amount);
    }
    for (resource, amount) in limits(asked.spec) {
        each.insert(format!("limits.{resource}"), amount);
    }
    let once = asked.objects.iter().map(|(name, count)| ((*name).to_owned(), i128::from(*count) * 1_000));
    (each, once.filter(|(_, amount)| *amount > 0).collect())
}

/// Whether a quota counts such pods, by its scopes. One with a scope that is not known here is left to the API server.
fn concerns(quota: &ResourceQuota, spec: &PodSpec) -> bool {
    let own = quota.spec.as_ref();
    let scopes = own.into_iter().flat_map(|own| own.scopes.iter().flatten());
    let selector = own.and_then(|own| own.scope_selector.as_ref());
    let expressions = selector.into_iter().flat_map(|selector| selector.match_expressions.iter().flatten());
    scopes.map(|scope| in_scope(scope, spec)).chain(expressions.map(|one| matches(one, spec))).all(|it| it)
}

fn matches(expression: &ScopedResourceSelectorRequirement, spec: &PodSpec) -> bool {
    if expression.scope_name != "PriorityClass" {
        let is_in = in_scope(&expression.scope_name, spec);
        return if expression.operator == "DoesNotExist" { !is_in } else { is_in };
    }
    let class = spec.priority_class_name.as_deref().filter(|class| !class.is_empty());
    let is_named = || expression.values.iter().flatten().any(|value| Some(value.as_str()) == class);
    match expression.operator.as_str() {
        "In" => is_named(),
        "NotIn" => !is_named(),
        "Exists" => class.is_some(),
        "DoesNotExist" => class.is_none(),
        _ => false,
    }
}

fn in_scope(scope: &str, spec: &PodSpec) -> bool {
    match scope {
        "BestEffort" => is_best_effort(spec),
        "NotBestEffort" => !is_best_effort(spec),
        "Terminating" => spec.active_deadline_seconds.is_some(),
        "NotTerminating" => spec.active_deadline_seconds.is_none(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn check(hard: Value, used: Value, beside: Value, expected: Option<(u64, &str)>) {
        let spec = json!({
            "priorityClassName": "high",
            "containers": [{"name": "a", "resources": {
                "requests": {"cpu": "500m", "memory": "1Gi"}, "limits": {"memory": "2Gi"},
            }}],
        });
        let spec: PodSpec = serde_json::from_value(spec).unwrap();
        let mut quota = json!({"metadata": {"name": "compute"}, "spec": {"hard": hard}});
        for (field, value) in beside.as_object().into_iter().flatten() {
            quota["spec"][field] = value.clone();
        }
        quota["status"] = json!({"hard": hard, "used": used});
        let objects = [("count/deployments.apps", 1), ("services", 0)];
        let asked = Asked { spec: &spec, pods: 3, objects: &objects, beside: String::new() };
        let left = left(&asked, &serde_json::from_value(quota.clone()).unwrap());
        let found = left.as_ref().map(|left| (left.pods, left.short.as_str()));
        assert_eq!(found, expected, "{quota}");
    }

    #[test]
    fn what_is_not_used_is_left() {
        let check = |hard: Value, used: Value, expected| check(hard, used, Value::Null, expected);
        check(json!({}), json!({}), None);
        check(json!({"requests.cpu": "2"}), json!({"requests.cpu": "500m"}), None);
        let text = "quota compute: requests.cpu 1 of 2 used";
        check(json!({"requests.cpu": "2"}), json!({"requests.cpu": "1"}), Some((2, text)));
        check(json!({"cpu": "2"}), json!({"cpu": "2"}), Some((0, "quota compute: cpu 2 of 2 used")));
        let text = "quota compute: limits.memory 1Gi of 6Gi used, pods 9 of 10 used";
        check(
            json!({"limits.memory": "6Gi", "pods": 10, "secrets": 1}),
            json!({"limits.memory": "1Gi", "pods": 9, "secrets": 1}),
            Some((1, text)),
        );
        let text = "quota compute: count/deployments.apps 4 of 4 used";
        check(json!({"count/deployments.apps": 4}), json!({"count/deployments.apps": 4}), Some((0, text)));
        // None is created.
        check(json!({"services": 4}), json!({"services": 4}), None);
        check(json!({"pods": 2}), json!({"pods": 5}), Some((0, "quota compute: pods 5 of 2 used")));
    }

    #[test]
    fn quotas_concern_some_pods() {
        let full = Some((0, "quota compute: pods 1 of 1 used"));
        let check = |beside: Value, is_meant: bool| {
            check(json!({"pods": 1}), json!({"pods": 1}), beside, full.filter(|_| is_meant));
        };
        check(json!({"scopes": ["NotBestEffort", "NotTerminating"]}), true);
        check(json!({"scopes": ["BestEffort"]}), false);
        check(json!({"scopes": ["Terminating"]}), false);
        check(json!({"scopes": ["SomethingNew"]}), false);
        let selected = |operator: &str, values: Value| {
            let one = json!({"scopeName": "PriorityClass", "operator": operator, "values": values});
            json!({"scopeSelector": {"matchExpressions": [one]}})
        };
        check(selected("In", json!(["high"])), true);
        check(selected("In", json!(["low"])), false);
        check(selected("NotIn", json!(["low"])), true);
        check(selected("Exists", json!([])), true);
        check(selected("DoesNotExist", json!([])), false);
    }
}
