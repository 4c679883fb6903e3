//! Judges a network by what came of connecting to its servers, and says what to do.

use super::contact::Outcome;
use super::networks::Network;
use super::report::{Check, Grade};
use super::routes::Way;
use ipnet::IpNet;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt;

/// Servers of an outcome that are named to people.
const NAMES_MAX: usize = 3;
/// And to programs.
const FACTS_MAX: usize = 1_000;

/// Whether the servers of a network are reached, and if not what is missing.
pub(super) fn judge(network: &Network<'_>) -> Check {
    let count = |wanted: &Outcome| network.contacts.iter().filter(|it| it.outcome == *wanted).count();
    let (all, reached) = (network.contacts.len(), count(&Outcome::Reached));
    let grade = if reached == all { Grade::Ok } else { Grade::Failed };
    let mut check = Check::new(grade, what(network), detail(network, reached));
    for outcome in network.outcomes() {
        check.advice.extend(advice(network, outcome, reached + count(&Outcome::Refused) > 0));
    }
    if grade == Grade::Failed && reached + count(&Outcome::Refused) == 0 && network.network.is_some() {
        check.advice.extend(ways(network));
    }
    check
        .fact("network", network.network.map(|net| net.to_string()))
        .fact("node", network.node.map(|node| node.node.as_str()))
        .fact("way", way_json(&network.way))
        .fact("servers", all)
        .fact("reached", reached)
        .fact("outcomes", outcomes_json(network))
}

fn what(network: &Network<'_>) -> String {
    match (network.network, network.node) {
        (None, _) => "names of servers".to_owned(),
        (Some(net), None) => format!("network {net}"),
        (Some(net), Some(node)) => format!("network {net} (node {})", node.node),
    }
}

/// `1 of 3 servers reached, by 10.0.0.2 on eth0: 2 timed out (shop/a at 10.244.1.2:8080, ..)`
fn detail(network: &Network<'_>, reached: usize) -> String {
    let all = network.contacts.len();
    let servers = if all == 1 { "server" } else { "servers" };
    let way = match network.way {
        Way::Unknown => String::new(),
        // It comes from a table that was not read.
        Way::None if reached > 0 => String::new(),
        _ => format!(", {}", network.way),
    };
    let missing = network.outcomes().into_iter().filter(|outcome| **outcome != Outcome::Reached);
    let missing = missing.map(|outcome| {
        let contacts = network.contacts.iter().filter(|contact| contact.outcome == *outcome);
        let number = contacts.clone().count();
        let names = contacts.take(NAMES_MAX).map(|contact| {
            format!("{} at {}", contact.names.first().map(String::as_str).unwrap_or_default(), contact.place)
        });
        let mut names = names.collect::<Vec<_>>();
        if number > NAMES_MAX {
            names.push(format!("{} more", number - NAMES_MAX));
        }
        format!("{number} {} ({})", outcome.words(), names.join(", "))
    });
    let missing = missing.collect::<Vec<_>>();
    let colon = if missing.is_empty() { "" } else { ": " };
    format!("{reached} of {all} {servers} reached{way}{colon}{}", missing.join("; "))
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("this machine has no route"),
            Self::Nowhere => f.write_str("by a route that leads nowhere"),
            Self::Local => f.write_str("within this machine"),
            Self::Link { device } => write!(f, "on {device}"),
            Self::By { gateway, device } => write!(f, "by {gateway} on {device}"),
            Self::Default { gateway: Some(gateway), device } => {
                write!(f, "by the default route, {gateway} on {device}")
            }
            Self::Default { gateway: None, device } => write!(f, "by the default route, on {device}"),
            Self::Unknown => f.write_str("by a route that is not known"),
        }
    }
}

/// What a network's outcome calls for. `answers`: somebody in the network does.
fn advice(network: &Network<'_>, outcome: &Outcome, answers: bool) -> Option<String> {
    let net = network.network.map(|net| net.to_string()).unwrap_or_default();
    let text = match (outcome, &network.way) {
        (Outcome::Reached, _) => return None,
        (Outcome::Refused, Way::Local) => "nothing on this machine listens at the port: is the server started?".into(),
        (Outcome::Refused, _) => {
            "the address answers, and nothing listens at the port: compare the server's port with the one that the \
             container listens on, and see with `kubectl get pods -o wide` whose address it is now"
                .into()
        }
        (Outcome::Unresolved, _) => {
            "this machine's resolver knows no address of the name: a proxy outside the cluster does not see the \
             cluster's DNS; let servers be addresses of pods, as the registrar writes them"
                .into()
        }
        (Outcome::NetworkUnreachable, Way::None) => {
            "this machine has no route to this network, so that packets to it are not even sent".into()
        }
        (_, Way::Nowhere) => format!(
            "a route of this machine throws away what goes to {net}: `ip route show to match {}` names it",
            network.network.map(|net| net.addr().to_string()).unwrap_or_default()
        ),
        (Outcome::Forbidden | Outcome::Discarded, _) => format!(
            "this machine itself forbids connections to {net}: look at its firewall (`nft list ruleset`) and at its \
             rules of routing (`ip rule`)"
        ),
        (Outcome::NetworkUnreachable | Outcome::HostUnreachable | Outcome::TimedOut, _) if answers => {
            "others in this network answer, so the way there is well: these pods are gone or stand on a node that is \
             not reached, or a NetworkPolicy or firewall drops what comes from this machine"
                .into()
        }
        (Outcome::TimedOut, way) => lost(&net, way, true),
        (Outcome::NetworkUnreachable | Outcome::HostUnreachable, way) => lost(&net, way, false),
        (Outcome::Other(_), _) => return None,
    };
    Some(text)
}

/// Packets to the network leave, and nothing comes back (`is_silent`), or that they cannot be delivered.
fn lost(net: &str, way: &Way, is_silent: bool) -> String {
    match way {
        Way::Default { gateway, device } => {
            let by = gateway.map_or_else(|| device.to_string(), |gateway| gateway.to_string());
            format!(
                "this machine has no route of its own to this network: packets go by the default route to {by}, which \
                 does not lead to pods"
            )
        }
        Way::By { gateway, device } if is_silent => format!(
            "packets to {net} go to {gateway} on {device}, and nothing comes back: is that the node with these pods, \
             does it forward (`sysctl net.ipv4.ip_forward`), do its firewall or a NetworkPolicy drop them, and does it \
             know the way back to this machine?"
        ),
        Way::By { gateway, device } => format!(
            "packets to {net} go to {gateway} on {device}, and it, or somebody behind it, says that they cannot be \
             delivered: is that the node with these pods, and are they still there?"
        ),
        Way::Link { device } => format!(
            "{net} is taken for this machine's own network on {device}, where nobody answers for these addresses: are \
             the pods gone, or does that network overlap with the pods'?"
        ),
        _ if is_silent => {
            format!(
                "packets to {net} leave this machine, and nothing comes back: `ip route get ADDRESS` shows the way"
            )
        }
        _ => {
            format!("packets to {net} cannot be delivered: `ip route get ADDRESS` shows the way that they go")
        }
    }
}

/// How pods of a network can be reached at all.
fn ways(network: &Network<'_>) -> Vec<String> {
    let Some(net) = network.network.filter(|_| network.way != Way::Local) else { return Vec::new() };
    let family = if matches!(net, IpNet::V6(_)) { "ip -6 route" } else { "ip route" };
    let route = match network.node {
        Some(node) => {
            let via = node.address.map_or_else(|| "NODE".to_owned(), |address| address.to_string());
            format!(
                "`{family} add {net} via {via}`, where the node {} is on this machine's own network",
                node.node
            )
        }
        None => format!("`{family} add POD_NETWORK via NODE` for each node on this machine's own network"),
    };
    vec![
        format!("a route on this machine: {route}"),
        "or a pod network that is routable from here: Calico or Cilium with native routing (BGP tells routers the \
         way), or Weave"
            .to_owned(),
        "or a proxy within the cluster, on the nodes' own network: config/kubernetes/proxy.yaml".to_owned(),
    ]
}

fn way_json(way: &Way) -> Value {
    match way {
        Way::None => json!({ "kind": "none" }),
        Way::Nowhere => json!({ "kind": "nowhere" }),
        Way::Local => json!({ "kind": "local" }),
        Way::Link { device } => json!({ "kind": "link", "device": device }),
        Way::By { gateway, device } => json!({ "kind": "route", "gateway": gateway, "device": device }),
        Way::Default { gateway, device } => {
            json!({ "kind": "default", "gateway": gateway, "device": device })
        }
        Way::Unknown => json!({ "kind": "unknown" }),
    }
}

/// Outcomes with their servers; of those reached only the number.
fn outcomes_json(network: &Network<'_>) -> Value {
    let mut all: BTreeMap<&str, (usize, Vec<Value>)> = BTreeMap::new();
    for contact in &network.contacts {
        let (number, servers) = all.entry(contact.outcome.name()).or_default();
        *number += 1;
        if contact.outcome != Outcome::Reached && servers.len() < FACTS_MAX {
            servers.push(json!({ "servers": contact.names, "place": contact.place }));
        }
    }
    let one = |(name, (number, servers))| json!({ "outcome": name, "number": number, "servers": servers });
    all.into_iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::super::contact::Contact;
    use super::super::networks::{PodNetwork, group};
    use super::*;
    use std::net::IpAddr;

    fn contacts(all: &[(&str, Outcome)]) -> Vec<Contact> {
        let one = |(address, outcome): &(&str, Outcome)| Contact {
            names: vec![format!("shop/{address}")],
            place: format!("{address}:80"),
            address: address.parse().ok(),
            outcome: outcome.clone(),
        };
        all.iter().map(one).collect()
    }

    fn judged(all: &[(&str, Outcome)], pods: &[PodNetwork], way: Way) -> Check {
        let contacts = contacts(all);
        let networks = group(&contacts, pods, |_| way.clone());
        assert_eq!(networks.len(), 1);
        judge(&networks[0])
    }

    /// What the detail and each piece of advice hold.
    fn check(all: &[(&str, Outcome)], way: Way, grade: Grade, detail: &str, advice: &[&str]) {
        let found = judged(all, &[], way);
        assert_eq!(found.grade, grade, "{found:?}");
        assert_eq!(found.detail, detail);
        assert_eq!(found.advice.len(), advice.len(), "{:#?}", found.advice);
        for (found, part) in found.advice.iter().zip(advice) {
            assert!(found.contains(part), "{part}: {found}");
        }
    }

    const HOW: [&str; 3] =
        ["a route on this machine: `ip route add", "Calico or Cilium", "config/kubernetes/proxy.yaml"];

    fn with_how(first: &str) -> [&str; 4] {
        [first, HOW[0], HOW[1], HOW[2]]
    }

    #[test]
    fn a_network_is_judged_by_its_servers_and_the_way() {
        use Outcome::{Discarded, HostUnreachable, NetworkUnreachable, Reached, Refused, TimedOut};
        let by = || Way::By { gateway: IpAddr::from([10, 0, 0, 2]), device: "eth0".into() };
        let usual = || Way::Default { gateway: Some(IpAddr::from([10, 0, 0, 1])), device: "eth0".into() };
        let (a, b, c, d, e) = ("10.1.2.3", "10.1.2.4", "10.1.2.5", "10.1.2.6", "10.1.2.7");
        check(
            &[(a, Reached), (b, Reached)],
            by(),
            Grade::Ok,
            "2 of 2 servers reached, by 10.0.0.2 on eth0",
            &[],
        );
        check(
            &[(a, NetworkUnreachable)],
            Way::None,
            Grade::Failed,
            "0 of 1 server reached, this machine has no route: 1 without a route (network unreachable) \
             (shop/10.1.2.3 at 10.1.2.3:80)",
            &with_how("no route to this network"),
        );
        check(
            &[(a, TimedOut), (b, TimedOut), (c, TimedOut), (d, TimedOut), (e, TimedOut)],
            usual(),
            Grade::Failed,
            "0 of 5 servers reached, by the default route, 10.0.0.1 on eth0: 5 timed out (shop/10.1.2.3 at \
             10.1.2.3:80, shop/10.1.2.4 at 10.1.2.4:80, shop/10.1.2.5 at 10.1.2.5:80, 2 more)",
            &with_how("no route of its own"),
        );
        check(
            &[(a, HostUnreachable)],
            by(),
            Grade::Failed,
            "0 of 1 server reached, by 10.0.0.2 on eth0: 1 host unreachable (shop/10.1.2.3 at 10.1.2.3:80)",
            &with_how("cannot be delivered"),
        );
        check(
            &[(a, Discarded)],
            Way::Nowhere,
            Grade::Failed,
            "0 of 1 server reached, by a route that leads nowhere: 1 thrown away by a route of this machine \
             (shop/10.1.2.3 at 10.1.2.3:80)",
            &with_how("ip route show to match 10.1.2.0"),
        );
        check(
            &[(a, Refused)],
            by(),
            Grade::Failed,
            "0 of 1 server reached, by 10.0.0.2 on eth0: 1 refused (the port is closed) (shop/10.1.2.3 at 10.1.2.3:80)",
            &["nothing listens"],
        );
        check(
            &[(a, Reached), (b, TimedOut)],
            by(),
            Grade::Failed,
            "1 of 2 servers reached, by 10.0.0.2 on eth0: 1 timed out (shop/10.1.2.4 at 10.1.2.4:80)",
            &["others in this network answer"],
        );
        check(
            &[("127.0.0.1", Refused)],
            Way::Local,
            Grade::Failed,
            "0 of 1 server reached, within this machine: 1 refused (the port is closed) (shop/127.0.0.1 at \
             127.0.0.1:80)",
            &["is the server started"],
        );
        check(
            &[("shop.invalid", Outcome::Unresolved)],
            Way::Unknown,
            Grade::Failed,
            "0 of 1 server reached: 1 whose name has no address (shop/shop.invalid at shop.invalid:80)",
            &["cluster's DNS"],
        );
    }

    #[test]
    fn a_node_that_is_known_is_named_with_its_route() {
        let pods = [PodNetwork {
            network: "10.244.1.0/24".parse().unwrap(),
            node: "worker-1".to_owned(),
            address: "192.168.0.11".parse().ok(),
        }];
        let found = judged(&[("10.244.1.2", Outcome::NetworkUnreachable)], &pods, Way::None);
        assert_eq!(found.what, "network 10.244.1.0/24 (node worker-1)");
        assert!(
            found.advice[1].contains("`ip route add 10.244.1.0/24 via 192.168.0.11`"),
            "{:?}",
            found.advice
        );
        assert_eq!(found.facts["way"], json!({"kind": "none"}));
        assert_eq!(
            found.facts["outcomes"],
            json!([{"outcome": "networkUnreachable", "number": 1,
                "servers": [{"servers": ["shop/10.244.1.2"], "place": "10.244.1.2:80"}]}])
        );
        let pods =
            [PodNetwork { network: "fd00:1::/64".parse().unwrap(), node: "six".to_owned(), address: None }];
        let found = judged(&[("fd00:1::2", Outcome::NetworkUnreachable)], &pods, Way::None);
        assert!(found.advice[1].contains("`ip -6 route add fd00:1::/64 via NODE`"), "{:?}", found.advice);
    }
}
