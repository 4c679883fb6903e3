//! Puts servers together by network: pods of one node share their fate, and the advice.

use super::contact::{Contact, Outcome};
use super::routes::Way;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// Where nodes do not say what they hold: a network of the size that a node usually gets.
const USUAL_V4: u8 = 24;
const USUAL_V6: u8 = 64;
/// Neighbours that do not differ are shown as one network of this size, which a whole cluster usually gets.
const WIDE_V4: u8 = 16;

/// The pods' network of a node, as its `spec.podCIDRs` says. Without the feature `kubernetes` nobody asks nodes.
#[cfg_attr(not(any(test, feature = "kubernetes")), expect(dead_code))]
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PodNetwork {
    pub(super) network: IpNet,
    /// The node's name.
    pub(super) node: String,
    /// Its `InternalIP` of the same family, if it has one.
    pub(super) address: Option<IpAddr>,
}

/// Servers in one network that packets leave for in the same way.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Network<'c> {
    /// None: of names without an address.
    pub(super) network: Option<IpNet>,
    /// Whose pods they are.
    pub(super) node: Option<&'c PodNetwork>,
    pub(super) way: Way,
    pub(super) contacts: Vec<&'c Contact>,
}

impl Network<'_> {
    /// What came of connecting to its servers.
    pub(super) fn outcomes(&self) -> BTreeSet<&Outcome> {
        self.contacts.iter().map(|contact| &contact.outcome).collect()
    }
}

/// The networks of all contacts, in order. `way` says how packets leave for an address.
pub(super) fn group<'c>(
    contacts: &'c [Contact],
    pods: &'c [PodNetwork],
    way: impl Fn(IpAddr) -> Way,
) -> Vec<Network<'c>> {
    let mut cells: BTreeMap<(Option<IpNet>, Way), Network<'c>> = BTreeMap::new();
    for contact in contacts {
        let node = contact.address.and_then(|address| node(pods, address));
        let network = contact.address.map(|address| node.map_or_else(|| usual(address), |node| node.network));
        let way = contact.address.map_or(Way::Unknown, &way);
        let empty = || Network { network, node, way: way.clone(), contacts: Vec::new() };
        cells.entry((network, way.clone())).or_insert_with(empty).contacts.push(contact);
    }
    widen(cells.into_values().collect())
}

/// The node with the smallest network that holds an address.
fn node(pods: &[PodNetwork], address: IpAddr) -> Option<&PodNetwork> {
    pods.iter().filter(|pod| pod.network.contains(&address)).max_by_key(|pod| pod.network.prefix_len())
}

fn usual(address: IpAddr) -> IpNet {
    let network = match address {
        IpAddr::V4(address) if address.is_loopback() => Ipv4Net::new(address, 8).map(IpNet::from),
        IpAddr::V4(address) => Ipv4Net::new(address, USUAL_V4).map(IpNet::from),
        IpAddr::V6(address) if address.is_loopback() => Ipv6Net::new(address, 128).map(IpNet::from),
        IpAddr::V6(address) => Ipv6Net::new(address, USUAL_V6).map(IpNet::from),
    };
    network.map_or_else(|_| address.into(), |network| network.trunc())
}

/// Makes one network of neighbours that no node speaks for, if all that is known of them is the same.
fn widen(networks: Vec<Network<'_>>) -> Vec<Network<'_>> {
    let mut wide: BTreeMap<IpNet, Vec<usize>> = BTreeMap::new();
    for (index, network) in networks.iter().enumerate() {
        if let (Some(IpNet::V4(own)), None) = (network.network, network.node)
            && own.prefix_len() == USUAL_V4
            && let Ok(around) = Ipv4Net::new(own.addr(), WIDE_V4)
        {
            wide.entry(around.trunc().into()).or_default().push(index);
        }
    }
    let differ = |members: &[usize]| {
        let mut known =
            members.iter().filter_map(|index| networks.get(*index)).map(|it| (&it.way, it.outcomes()));
        let first = known.next();
        known.any(|other| Some(other) != first)
    };
    wide.retain(|_, members| members.len() > 1 && !differ(members));
    let around: BTreeMap<usize, IpNet> = wide
        .into_iter()
        .flat_map(|(net, members)| members.into_iter().map(move |member| (member, net)))
        .collect();
    let mut merged: Vec<Network<'_>> = Vec::new();
    for (index, mut network) in networks.into_iter().enumerate() {
        if let Some(around) = around.get(&index) {
            network.network = Some(*around);
        }
        match merged.iter_mut().find(|it| (it.network, &it.way) == (network.network, &network.way)) {
            Some(before) => before.contacts.extend(network.contacts),
            None => merged.push(network),
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contact(address: &str, outcome: Outcome) -> Contact {
        let names = vec![format!("shop/{address}")];
        Contact { names, place: format!("{address}:8080"), address: address.parse().ok(), outcome }
    }

    /// Addresses of 10.9 have no route, all others have the default one.
    fn way(address: IpAddr) -> Way {
        match address {
            IpAddr::V4(address) if address.octets()[1] == 9 => Way::None,
            _ => Way::Default { gateway: None, device: "tun0".into() },
        }
    }

    fn check(contacts: &[Contact], pods: &[PodNetwork], networks: &[(&str, usize)]) {
        let found = group(contacts, pods, way);
        let found = found.iter().map(|it| {
            (it.network.map_or_else(|| "names".to_owned(), |net| net.to_string()), it.contacts.len())
        });
        let networks = networks.iter().map(|(name, count)| (name.to_string(), *count)).collect::<Vec<_>>();
        assert_eq!(found.collect::<Vec<_>>(), networks);
    }

    #[test]
    fn servers_are_put_together_by_network() {
        use Outcome::{Reached, Refused, TimedOut, Unresolved};
        let lone =
            [contact("10.1.2.3", Reached), contact("10.1.2.4", TimedOut), contact("fd00::1:2", Reached)];
        check(&lone, &[], &[("10.1.2.0/24", 2), ("fd00::/64", 1)]);
        let alike =
            [contact("10.1.2.3", TimedOut), contact("10.1.3.3", TimedOut), contact("10.2.3.3", TimedOut)];
        check(&alike, &[], &[("10.1.0.0/16", 2), ("10.2.3.0/24", 1)]);
        let unlike =
            [contact("10.1.2.3", TimedOut), contact("10.1.3.3", Reached), contact("10.1.4.3", TimedOut)];
        check(&unlike, &[], &[("10.1.2.0/24", 1), ("10.1.3.0/24", 1), ("10.1.4.0/24", 1)]);
        let mixed =
            [contact("10.1.2.3", Refused), contact("10.1.3.3", Refused), contact("10.9.4.3", TimedOut)];
        check(&mixed, &[], &[("10.1.0.0/16", 2), ("10.9.4.0/24", 1)]);
        let own = [contact("127.0.0.1", Reached), contact("127.1.1.1", Refused), contact("::1", Reached)];
        check(&own, &[], &[("127.0.0.0/8", 2), ("::1/128", 1)]);
        check(&[contact("shop.invalid", Unresolved)], &[], &[("names", 1)]);
    }

    #[test]
    fn nodes_say_what_they_hold() {
        let pod = |network: &str, node: &str| PodNetwork {
            network: network.parse().unwrap(),
            node: node.to_owned(),
            address: None,
        };
        let pods = [pod("10.1.2.0/25", "one"), pod("10.1.2.128/25", "two"), pod("10.1.0.0/16", "all")];
        let contacts = ["10.1.2.3", "10.1.2.4", "10.1.2.200", "10.1.9.9", "10.2.0.1", "10.2.1.1"]
            .map(|address| contact(address, Outcome::Reached));
        check(
            &contacts,
            &pods,
            &[("10.1.0.0/16", 1), ("10.1.2.0/25", 2), ("10.1.2.128/25", 1), ("10.2.0.0/16", 2)],
        );
        let found = group(&contacts, &pods, way);
        assert_eq!(found[1].node.map(|node| node.node.as_str()), Some("one"));
        assert_eq!(found[3].node, None);
    }
}
