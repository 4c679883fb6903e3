//! How many pods nodes have room for.

use super::need::{add, read, requests};
use super::quantity::show;
use super::{Resources, fits};
use k8s_openapi::api::core::v1::{
    Node, NodeSelectorRequirement, NodeSelectorTerm, Pod, PodSpec, Taint, Toleration,
};
use std::collections::BTreeMap;

/// The place that a pod takes itself.
const PODS: &str = "pods";

/// What pods take of each node.
#[derive(Debug, Default)]
pub(in crate::deployer) struct Taken(BTreeMap<String, Resources>);

impl Taken {
    /// Counts a pod, if it is on a node and not over.
    pub(in crate::deployer) fn add(&mut self, pod: &Pod) {
        let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
        let Some(spec) = pod.spec.as_ref().filter(|_| !matches!(phase, Some("Succeeded" | "Failed"))) else {
            return;
        };
        if let Some(node) = &spec.node_name {
            let own = self.0.entry(node.clone()).or_default();
            add(own, &with_place(requests(spec)));
        }
    }
}

/// What a node offers to one kind of pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Offer {
    pub(super) node: String,
    pub(super) pods: u64,
    /// Why not more.
    pub(super) short: String,
}

/// What each node offers to such pods.
pub(super) fn offers(spec: &PodSpec, nodes: &[Node], taken: &Taken) -> Vec<Offer> {
    let need = with_place(requests(spec));
    let offer = |node: &Node| {
        let name = node.metadata.name.clone().unwrap_or_default();
        if let Some(short) = closed(node, spec) {
            return Offer { node: name, pods: 0, short };
        }
        let mut free = read(node.status.as_ref().and_then(|status| status.allocatable.as_ref()));
        for (resource, amount) in taken.0.get(&name).into_iter().flatten() {
            *free.entry(resource.clone()).or_default() -= amount;
        }
        let pods = fits(&need, &free);
        let short = need.iter().filter_map(|(resource, each)| {
            let rest = free.get(resource).unwrap_or(&0) - each.saturating_mul(i128::from(pods));
            (rest < *each).then(|| format!("{resource} short by {}", show(resource, each - rest)))
        });
        Offer { pods, short: short.collect::<Vec<_>>().join(", "), node: name }
    };
    nodes.iter().map(offer).collect()
}

fn with_place(mut need: Resources) -> Resources {
    need.insert(PODS.to_owned(), 1_000);
    need
}

/// Why a node takes no such pod, however empty it is.
fn closed(node: &Node, spec: &PodSpec) -> Option<String> {
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
    let is_ready = conditions.into_iter().flatten().any(|one| one.type_ == "Ready" && one.status == "True");
    if !is_ready {
        return Some("not ready".to_owned());
    }
    let own = node.spec.as_ref();
    if own.and_then(|own| own.unschedulable) == Some(true) {
        return Some("takes no new pods (cordoned)".to_owned());
    }
    if !is_selected(node, spec) {
        return Some("not selected by nodeSelector or nodeAffinity".to_owned());
    }
    let mut taints = own.into_iter().flat_map(|own| own.taints.iter().flatten());
    let tolerations = spec.tolerations.as_deref().unwrap_or_default();
    let taint = taints.find(|taint| {
        matches!(taint.effect.as_str(), "NoSchedule" | "NoExecute")
            && !tolerations.iter().any(|toleration| tolerates(toleration, taint))
    })?;
    Some(format!("its taint {}:{} is not tolerated", taint.key, taint.effect))
}

fn tolerates(toleration: &Toleration, taint: &Taint) -> bool {
    let is_given = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
    let effect = !is_given(&toleration.effect) || toleration.effect.as_deref() == Some(&taint.effect);
    let key = !is_given(&toleration.key) || toleration.key.as_deref() == Some(&taint.key);
    let value = toleration.operator.as_deref() == Some("Exists")
        || is_given(&toleration.key)
            && toleration.value.as_deref().unwrap_or_default() == taint.value.as_deref().unwrap_or_default();
    effect && key && value
}

fn is_selected(node: &Node, spec: &PodSpec) -> bool {
    let labels = node.metadata.labels.clone().unwrap_or_default();
    let selected = spec.node_selector.iter().flatten().all(|(key, value)| labels.get(key) == Some(value));
    let affinity = spec.affinity.as_ref().and_then(|affinity| affinity.node_affinity.as_ref());
    let required = affinity.and_then(|it| it.required_during_scheduling_ignored_during_execution.as_ref());
    let name = node.metadata.name.as_deref().unwrap_or_default();
    selected
        && required
            .is_none_or(|it| it.node_selector_terms.iter().any(|term| matches_term(term, &labels, name)))
}

fn matches_term(term: &NodeSelectorTerm, labels: &BTreeMap<String, String>, name: &str) -> bool {
    let expressions = term.match_expressions.as_deref().unwrap_or_default();
    let fields = term.match_fields.as_deref().unwrap_or_default();
    // A term that says nothing selects nothing.
    !(expressions.is_empty() && fields.is_empty())
        && expressions.iter().all(|one| matches_one(one, labels.get(&one.key).map(String::as_str)))
        && fields.iter().all(|one| one.key == "metadata.name" && matches_one(one, Some(name)))
}

fn matches_one(requirement: &NodeSelectorRequirement, value: Option<&str>) -> bool {
    let values = requirement.values.as_deref().unwrap_or_default();
    let is_in = || value.is_some_and(|value| values.iter().any(|one| one == value));
    let numbers = || {
        let bound: i64 = values.first()?.parse().ok()?;
        Some((value?.parse::<i64>().ok()?, bound))
    };
    match requirement.operator.as_str() {
        "In" => is_in(),
        "NotIn" => !is_in(),
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        "Gt" => numbers().is_some_and(|(value, bound)| value > bound),
        "Lt" => numbers().is_some_and(|(value, bound)| value < bound),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn node(name: &str, cpu: &str, beside: Value) -> Node {
        let mut node = json!({
            "metadata": {"name": name, "labels": {"zone": "a", "size": "7"}},
            "spec": {},
            "status": {
                "conditions": [{"type": "Ready", "status": "True"}],
                "allocatable": {"cpu": cpu, "memory": "1Gi", "pods": "3"},
            },
        });
        for (pointer, value) in beside.as_object().into_iter().flatten() {
            *node.pointer_mut(pointer).unwrap() = value.clone();
        }
        serde_json::from_value(node).unwrap()
    }

    fn spec(cpu: &str, beside: Value) -> PodSpec {
        let mut spec = json!({"containers": [{"name": "a", "resources": {"requests": {"cpu": cpu}}}]});
        for (field, value) in beside.as_object().into_iter().flatten() {
            spec[field] = value.clone();
        }
        serde_json::from_value(spec).unwrap()
    }

    fn pod(node: &str, cpu: &str, phase: &str) -> Pod {
        let mut spec = serde_json::to_value(spec(cpu, Value::Null)).unwrap();
        spec["nodeName"] = node.into();
        serde_json::from_value(json!({"spec": spec, "status": {"phase": phase}})).unwrap()
    }

    fn check(spec: &PodSpec, node: Node, pods: &[Pod], room: u64, short: &str) {
        let mut taken = Taken::default();
        pods.iter().for_each(|pod| taken.add(pod));
        let offer = offers(spec, std::slice::from_ref(&node), &taken).pop().unwrap();
        assert_eq!((offer.pods, offer.short.as_str()), (room, short), "{spec:?} {node:?}");
    }

    #[test]
    fn a_node_has_room_for_what_others_leave() {
        let plain = |cpu| spec(cpu, Value::Null);
        let one = |cpu| node("one", cpu, Value::Null);
        check(&plain("500m"), one("1"), &[], 2, "cpu short by 500m");
        check(&plain("600m"), one("1"), &[], 1, "cpu short by 200m");
        check(&plain("1m"), one("1"), &[], 3, "pods short by 1");
        check(&plain("500m"), one("1"), &[pod("one", "200m", "Running")], 1, "cpu short by 200m");
        check(
            &plain("500m"),
            one("1"),
            &[pod("one", "1", "Succeeded"), pod("two", "1", "Running")],
            2,
            "cpu short by 500m",
        );
        // More is taken than there is, as by pods that were there before the node became smaller.
        check(&plain("500m"), one("1"), &[pod("one", "2", "Running")], 0, "cpu short by 1500m");
        let gpu = json!({"containers": [{"name": "a", "resources": {"limits": {"example.com/gpu": 1}}}]});
        check(&serde_json::from_value(gpu).unwrap(), one("1"), &[], 0, "example.com/gpu short by 1");
    }

    #[test]
    fn some_nodes_are_closed() {
        let check = |beside: Value, spec_beside: Value, room: u64, short: &str| {
            check(&spec("1", spec_beside), node("one", "1", beside), &[], room, short);
        };
        let short = "cpu short by 1";
        check(json!({"/status/conditions/0/status": "Unknown"}), Value::Null, 0, "not ready");
        check(json!({"/spec": {"unschedulable": true}}), Value::Null, 0, "takes no new pods (cordoned)");
        let tainted =
            |effect: &str| json!({"/spec": {"taints": [{"key": "k", "value": "v", "effect": effect}]}});
        let tolerant = |toleration: Value| json!({"tolerations": [toleration]});
        check(tainted("PreferNoSchedule"), Value::Null, 1, short);
        check(tainted("NoSchedule"), Value::Null, 0, "its taint k:NoSchedule is not tolerated");
        check(tainted("NoExecute"), tolerant(json!({"operator": "Exists"})), 1, short);
        check(tainted("NoExecute"), tolerant(json!({"key": "k", "value": "v"})), 1, short);
        let refused = "its taint k:NoExecute is not tolerated";
        check(tainted("NoExecute"), tolerant(json!({"key": "k", "value": "w"})), 0, refused);
        check(
            tainted("NoExecute"),
            tolerant(json!({"key": "k", "operator": "Exists", "effect": "NoSchedule"})),
            0,
            refused,
        );
    }

    #[test]
    fn pods_choose_nodes() {
        let check = |beside: Value, is_chosen: bool| {
            let chosen = is_selected(&node("one", "1", Value::Null), &spec("1", beside.clone()));
            assert_eq!(chosen, is_chosen, "{beside}");
        };
        check(json!({"nodeSelector": {"zone": "a"}}), true);
        check(json!({"nodeSelector": {"zone": "b"}}), false);
        let affine = |terms: Value| {
            json!({"affinity": {"nodeAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms},
            }}})
        };
        let one = |key: &str, operator: &str, values: Value| {
            affine(json!([{"matchExpressions": [{"key": key, "operator": operator, "values": values}]}]))
        };
        check(one("zone", "In", json!(["a", "b"])), true);
        check(one("zone", "NotIn", json!(["a", "b"])), false);
        check(one("none", "NotIn", json!(["a"])), true);
        check(one("zone", "Exists", json!([])), true);
        check(one("zone", "DoesNotExist", json!([])), false);
        check(one("size", "Gt", json!(["6"])), true);
        check(one("size", "Gt", json!(["7"])), false);
        check(one("size", "Lt", json!(["8"])), true);
        check(one("zone", "Lt", json!(["8"])), false);
        check(one("zone", "Like", json!(["a"])), false);
        check(affine(json!([{}])), false);
        let name = json!({"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["one"]}]});
        check(affine(json!([{}, name])), true);
    }
}
