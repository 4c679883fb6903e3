//! Which hosts the authors of which namespace may have, where the operator says so.

use crate::expr::{Route, literal};
use std::collections::BTreeMap;

/// `--host-of NAMESPACE=HOST`: by namespace; empty: all may have all.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Hosts(BTreeMap<Box<str>, Vec<Box<str>>>);

/// Every host, and requests without regard to it.
const ALL: &str = "*";

impl Hosts {
    /// Whether a namespace may have a host; absent: every one. `*.shop.example` is every name one label below.
    pub fn may_have(&self, namespace: &str, host: Option<&str>) -> bool {
        let host = host.map(str::to_ascii_lowercase);
        let below = host.as_deref().and_then(|host| host.split_once('.')).map(|(_, below)| below);
        self.0.is_empty()
            || self.of(namespace).iter().any(|own| match own.strip_prefix("*.") {
                Some(own) => below == Some(own),
                None => **own == *ALL || host.as_deref() == Some(own),
            })
    }

    /// A route that takes of a namespace's hosts what the given one takes; none if the namespace has no host. What is no
    /// route stays as it is.
    pub fn bind(&self, namespace: &str, route: &str) -> Option<String> {
        // By itself: it must not end the parentheses that are put around it.
        if self.may_have(namespace, None) || Route::parse(route).is_err() {
            return Some(route.to_owned());
        }
        let hosts: Vec<_> =
            self.of(namespace).iter().map(|host| format!("Host({})", literal(host))).collect();
        (!hosts.is_empty()).then(|| format!("({route}) && ({})", hosts.join(" || ")))
    }

    fn of(&self, namespace: &str) -> &[Box<str>] {
        self.0.get(namespace).map(Vec::as_slice).unwrap_or_default()
    }
}

impl<'h> FromIterator<(&'h str, &'h str)> for Hosts {
    /// Of namespaces with a host each.
    fn from_iter<I: IntoIterator<Item = (&'h str, &'h str)>>(pairs: I) -> Self {
        let mut hosts: BTreeMap<Box<str>, Vec<Box<str>>> = BTreeMap::new();
        for (namespace, host) in pairs {
            hosts.entry(namespace.into()).or_default().push(host.to_ascii_lowercase().into());
        }
        Self(hosts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_has_its_hosts_and_no_other() {
        let hosts: Hosts =
            [("shop", "Shop.example"), ("shop", "*.shop.example"), ("edge", "*")].into_iter().collect();
        for (namespace, host, may) in [
            ("shop", Some("shop.example"), true),
            ("shop", Some("SHOP.example"), true),
            ("shop", Some("a.shop.example"), true),
            ("shop", Some("*.shop.example"), true),
            ("shop", Some("a.b.shop.example"), false),
            ("shop", Some("*.example"), false),
            ("shop", Some("bank.example"), false),
            ("shop", None, false),
            ("edge", Some("bank.example"), true),
            ("edge", None, true),
            ("evil", Some("shop.example"), false),
        ] {
            assert_eq!(hosts.may_have(namespace, host), may, "{namespace} {host:?}");
            assert!(Hosts::default().may_have(namespace, host));
        }
    }

    #[test]
    fn a_route_is_bound_to_the_hosts() {
        let hosts: Hosts = [("shop", "shop.example"), ("shop", "*.shop.example")].into_iter().collect();
        let bound = hosts.bind("shop", "PathPrefix(`/a`) || Path(`/b`)").unwrap();
        assert_eq!(
            bound,
            "(PathPrefix(`/a`) || Path(`/b`)) && (Host(`shop.example`) || Host(`*.shop.example`))"
        );
        assert!(Route::parse(&bound).is_ok());
        // Nobody leaves the parentheses.
        let escape = "Path(`/a`)) || (Path(`/b`)";
        assert_eq!(hosts.bind("shop", escape).as_deref(), Some(escape));
        assert_eq!(hosts.bind("evil", "Path(`/`)"), None);
        assert_eq!(Hosts::default().bind("evil", "Path(`/`)").as_deref(), Some("Path(`/`)"));
    }
}
