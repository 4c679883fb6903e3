//! What a pod takes: the sum over its containers, as the scheduler and quotas count it.

use super::Resources;
use super::quantity::parse;
use k8s_openapi::api::core::v1::{Container, PodSpec};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use std::collections::{BTreeMap, BTreeSet};

/// Quantities as the API has them.
type Given = BTreeMap<String, Quantity>;

/// What a pod asks for, without the place that it takes itself.
pub(super) fn requests(spec: &PodSpec) -> Resources {
    let of = |container: &Container| {
        let resources = container.resources.as_ref();
        let limits = read(resources.and_then(|resources| resources.limits.as_ref()));
        let mut asked = read(resources.and_then(|resources| resources.requests.as_ref()));
        // Who says only how much it may have at most asks for as much.
        for (resource, limit) in limits {
            asked.entry(resource).or_insert(limit);
        }
        asked
    };
    let whole = spec.resources.as_ref().and_then(|resources| resources.requests.as_ref());
    let mut together = total(spec, of, &read(whole));
    add(&mut together, &read(spec.overhead.as_ref()));
    together
}

/// What a pod may have at most.
pub(super) fn limits(spec: &PodSpec) -> Resources {
    let of = |container: &Container| {
        read(container.resources.as_ref().and_then(|resources| resources.limits.as_ref()))
    };
    let whole = spec.resources.as_ref().and_then(|resources| resources.limits.as_ref());
    let mut together = total(spec, of, &read(whole));
    // What is not limited stays so.
    for (resource, more) in read(spec.overhead.as_ref()) {
        together.entry(resource).and_modify(|limit| *limit = limit.saturating_add(more));
    }
    together
}

/// `whole`: what the pod itself says, in the place of its containers.
fn total(spec: &PodSpec, of: impl Fn(&Container) -> Resources, whole: &Resources) -> Resources {
    let (mut together, mut beside, mut alone) = (Resources::new(), Resources::new(), Resources::new());
    for container in spec.init_containers.iter().flatten() {
        let own = of(container);
        // One that restarts always stays beside all that come after it.
        if container.restart_policy.as_deref() == Some("Always") {
            add(&mut beside, &own);
            add(&mut together, &own);
            raise(&mut alone, &beside);
        } else {
            let mut at_once = beside.clone();
            add(&mut at_once, &own);
            raise(&mut alone, &at_once);
        }
    }
    for container in &spec.containers {
        add(&mut together, &of(container));
    }
    raise(&mut together, &alone);
    together.extend(whole.iter().map(|(resource, amount)| (resource.clone(), *amount)));
    together.retain(|_, amount| *amount > 0);
    together
}

/// What can be read of quantities.
pub(super) fn read(given: Option<&Given>) -> Resources {
    let read = |(resource, quantity): (&String, &Quantity)| Some((resource.clone(), parse(&quantity.0)?));
    given.into_iter().flatten().filter_map(read).collect()
}

/// Adds up.
pub(super) fn add(to: &mut Resources, more: &Resources) {
    for (resource, amount) in more {
        let sum = to.entry(resource.clone()).or_default();
        *sum = sum.saturating_add(*amount);
    }
}

fn raise(to: &mut Resources, least: &Resources) {
    for (resource, amount) in least {
        let most = to.entry(resource.clone()).or_default();
        *most = (*most).max(*amount);
    }
}

/// Whether nothing of it asks for or limits cpu and memory.
pub(super) fn is_best_effort(spec: &PodSpec) -> bool {
    let (requests, limits) = (requests(spec), limits(spec));
    let named = requests.keys().chain(limits.keys()).collect::<BTreeSet<_>>();
    !named.iter().any(|resource| matches!(resource.as_str(), "cpu" | "memory"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(spec: serde_json::Value, asked: &[(&str, i128)], limited: &[(&str, i128)]) {
        let spec: PodSpec = serde_json::from_value(spec).unwrap();
        let expected = |amounts: &[(&str, i128)]| {
            amounts.iter().map(|(resource, amount)| ((*resource).to_owned(), *amount)).collect::<Resources>()
        };
        assert_eq!(requests(&spec), expected(asked), "{spec:?}");
        assert_eq!(limits(&spec), expected(limited), "{spec:?}");
    }

    fn container(name: &str, cpu: &str) -> serde_json::Value {
        json!({"name": name, "resources": {"requests": {"cpu": cpu}}})
    }

    #[test]
    fn containers_are_added_up() {
        check(json!({"containers": [{"name": "a"}]}), &[], &[]);
        check(json!({"containers": [container("a", "1"), container("b", "500m")]}), &[("cpu", 1_500)], &[]);
        let limited = json!({"name": "a", "resources": {"limits": {"cpu": "2", "memory": "1Ki"}, "requests": {"cpu": "1"}}});
        let memory = ("memory", 1_024_000);
        check(json!({"containers": [limited]}), &[("cpu", 1_000), memory], &[("cpu", 2_000), memory]);
    }

    #[test]
    fn init_containers_count_where_they_need_more() {
        let sidecar =
            json!({"name": "s", "restartPolicy": "Always", "resources": {"requests": {"cpu": "100m"}}});
        let check = |init: &[serde_json::Value], cpu: i128| {
            let spec = json!({"containers": [container("a", "1")], "initContainers": init, "overhead": {"cpu": "10m"}});
            check(spec, &[("cpu", cpu)], &[]);
        };
        check(&[], 1_010);
        check(&[container("i", "500m")], 1_010);
        check(&[container("i", "3"), container("j", "2")], 3_010);
        check(std::slice::from_ref(&sidecar), 1_110);
        check(&[sidecar.clone(), container("i", "3")], 3_110);
        check(&[container("i", "3"), sidecar], 3_010);
    }

    #[test]
    fn what_the_pod_says_of_itself_counts() {
        let spec = json!({"containers": [container("a", "1")], "resources": {"requests": {"cpu": "3"}}});
        check(spec, &[("cpu", 3_000)], &[]);
    }
}
