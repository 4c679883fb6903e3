//! Whether there is room for new pods beside those that are there: pure.
//!
//! What counts: the resources and the number of pods that nodes and quotas have left, whether nodes are ready, their
//! taints, node selectors and required node affinities. What does not: affinities between pods, spreading, host ports
//! and volumes. So "room" is no promise, but "no room" is certain as things are.

mod need;
mod nodes;
mod quantity;
mod quotas;

pub(super) use nodes::Taken;

use k8s_openapi::api::core::v1::{Node, PodSpec, ResourceQuota};
use std::collections::BTreeMap;
use std::fmt::Write;

/// Amounts by resource, in thousandths.
type Resources = BTreeMap<String, i128>;

/// Most nodes that a text names.
const NAMED_MAX: usize = 5;

/// For what room is asked.
#[derive(Debug, Clone)]
pub(super) struct Asked<'a> {
    /// Each pod, with the defaults of its namespace.
    pub spec: &'a PodSpec,
    /// How many of them.
    pub pods: u32,
    /// How many objects beside, as quotas name them: `count/deployments.apps`.
    pub objects: &'a [(&'a str, u32)],
    /// For people, what keeps running meanwhile: ` beside version 3`. May be empty.
    pub beside: String,
}

/// Whether there is room. `nodes`: all of the cluster, with what is taken of them; none: not known.
///
/// # Errors
/// There is not, and what is missing, for people in one line.
pub(super) fn check(
    asked: &Asked<'_>,
    nodes: Option<(&[Node], &Taken)>,
    quotas: &[ResourceQuota],
) -> Result<(), String> {
    let wanted = u64::from(asked.pods);
    let offers = nodes.map(|(nodes, taken)| nodes::offers(asked.spec, nodes, taken));
    let on_nodes = offers
        .as_ref()
        .map_or(wanted, |offers| offers.iter().fold(0, |sum: u64, offer| sum.saturating_add(offer.pods)));
    let left = quotas.iter().filter_map(|quota| quotas::left(asked, quota)).collect::<Vec<_>>();
    let room = left.iter().map(|left| left.pods).fold(on_nodes, u64::min);
    if room >= wanted && left.is_empty() {
        return Ok(());
    }
    let mut text = format!("room for {} of {wanted} pods{}", room.min(wanted), asked.beside);
    let need = need::requests(asked.spec);
    let need = need.iter().map(|(resource, each)| format!("{resource} {}", quantity::show(resource, *each)));
    let need = need.collect::<Vec<_>>().join(", ");
    if !need.is_empty() {
        let _ = write!(text, ": each needs {need}");
    }
    if on_nodes < wanted {
        tell_nodes(&mut text, offers.as_deref().unwrap_or_default());
    }
    for left in left {
        let _ = write!(text, "; {}", left.short);
    }
    Err(text)
}

/// Nodes that are short of the same are named together.
fn tell_nodes(text: &mut String, offers: &[nodes::Offer]) {
    let mut groups: Vec<(&str, Vec<&str>)> = Vec::new();
    for offer in offers.iter().take(1_000) {
        match groups.iter_mut().find(|(short, _)| *short == offer.short) {
            Some((_, nodes)) => nodes.push(&offer.node),
            None => groups.push((&offer.short, vec![&offer.node])),
        }
    }
    if groups.is_empty() {
        text.push_str("; there are no nodes");
    }
    for (short, nodes) in groups.iter().take(NAMED_MAX) {
        let named = nodes.iter().take(NAMED_MAX).copied().collect::<Vec<_>>().join(", ");
        let more = match nodes.len().saturating_sub(NAMED_MAX) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let word = if nodes.len() == 1 { "node" } else { "nodes" };
        let _ = write!(text, "; {word} {named}{more}: {short}");
    }
    if groups.len() > NAMED_MAX {
        text.push_str("; others are as short");
    }
}

/// How many times `need` is in `free`.
fn fits(need: &Resources, free: &Resources) -> u64 {
    let times = |(resource, each): (&String, &i128)| {
        let free = (*free.get(resource).unwrap_or(&0)).max(0);
        u64::try_from(free.checked_div(*each)?).ok()
    };
    need.iter().filter_map(times).min().unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn node(name: &str, cpu: &str) -> Node {
        serde_json::from_value(json!({
            "metadata": {"name": name},
            "status": {
                "conditions": [{"type": "Ready", "status": "True"}],
                "allocatable": {"cpu": cpu, "memory": "16Gi", "pods": "100"},
            },
        }))
        .unwrap()
    }

    fn quota(cpu: &str) -> ResourceQuota {
        serde_json::from_value(json!({
            "metadata": {"name": "compute"},
            "status": {"hard": {"requests.cpu": cpu}, "used": {"requests.cpu": "2"}},
        }))
        .unwrap()
    }

    fn check(nodes: Option<&[Node]>, quotas: &[ResourceQuota], expected: &str) {
        let resources = json!({"requests": {"cpu": "500m", "memory": "1Gi"}});
        let spec = json!({"containers": [{"name": "a", "resources": resources}]});
        let spec = serde_json::from_value(spec).unwrap();
        let asked = Asked { spec: &spec, pods: 5, objects: &[], beside: " beside version 3".to_owned() };
        let taken = Taken::default();
        let said = super::check(&asked, nodes.map(|nodes| (nodes, &taken)), quotas);
        assert_eq!(said.err().unwrap_or_default(), expected);
    }

    #[test]
    fn nodes_and_quotas_have_room_together() {
        let needs = "pods beside version 3: each needs cpu 500m, memory 1Gi";
        check(None, &[], "");
        check(Some(&[node("one", "1"), node("two", "2")]), &[quota("4500m")], "");
        let two = [node("one", "700m"), node("two", "800m")];
        let text =
            format!("room for 2 of 5 {needs}; node one: cpu short by 300m; node two: cpu short by 200m");
        check(Some(&two), &[], &text);
        let quota_text = "; quota compute: requests.cpu 2 of 2500m used";
        check(Some(&two), &[quota("2500m")], &(text.replace("for 2", "for 1") + quota_text));
        check(Some(&[node("one", "9")]), &[quota("2500m")], &format!("room for 1 of 5 {needs}{quota_text}"));
        check(Some(&[]), &[], &format!("room for 0 of 5 {needs}; there are no nodes"));
        let same = (1..8).map(|number| node(&format!("n{number}"), "0")).collect::<Vec<_>>();
        let text = format!("room for 0 of 5 {needs}; nodes n1, n2, n3, n4, n5 and 2 more: cpu short by 500m");
        check(Some(&same), &[], &text);
    }
}
