//! Addresses that clients reach the edge at, as the status of an Ingress tells them.

use crate::model::is_host_name;
use serde_json::{Value, json};
use std::net::IpAddr;
use std::str::FromStr;

/// Most addresses of one Ingress.
const ADDRESSES_MAX: usize = 16;

/// `--write-status`: addresses and host names, sorted, each once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addresses(Vec<Address>);

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Address {
    Ip(IpAddr),
    Host(Box<str>),
}

impl FromStr for Addresses {
    type Err = String;

    /// Separated by commas: `192.0.2.7,edge.example`.
    ///
    /// # Errors
    /// What is wrong, and what would be right.
    fn from_str(text: &str) -> Result<Self, String> {
        let mut addresses =
            text.split(',').map(|part| address(part.trim())).collect::<Result<Vec<_>, _>>()?;
        addresses.sort();
        addresses.dedup();
        match addresses.len() {
            ..=ADDRESSES_MAX => Ok(Self(addresses)),
            more => Err(format!("has {more} addresses, and at most {ADDRESSES_MAX} are written")),
        }
    }
}

impl Addresses {
    /// As the status of an Ingress is remembered: as text, sorted.
    pub(super) fn published(&self) -> Vec<Box<str>> {
        let text = |address: &Address| match address {
            Address::Ip(ip) => ip.to_string().into(),
            Address::Host(host) => host.clone(),
        };
        let mut published: Vec<Box<str>> = self.0.iter().map(text).collect();
        published.sort();
        published
    }

    /// The merge patch that writes them.
    pub(super) fn patch(&self) -> Value {
        let one = |address: &Address| match address {
            Address::Ip(ip) => json!({ "ip": ip }),
            Address::Host(host) => json!({ "hostname": host }),
        };
        let ingress: Vec<Value> = self.0.iter().map(one).collect();
        json!({ "status": { "loadBalancer": { "ingress": ingress } } })
    }
}

fn address(text: &str) -> Result<Address, String> {
    if let Ok(ip) = text.parse::<IpAddr>() {
        return match ip.is_unspecified() || ip.is_multicast() {
            true => Err(format!("{text:?} is nobody's address; give the one that clients connect to")),
            false => Ok(Address::Ip(ip)),
        };
    }
    let host = text.to_ascii_lowercase();
    if is_host(&host) {
        return Ok(Address::Host(host.into()));
    }
    Err(format!(
        "{text:?} is neither an IP address nor a host name; give `192.0.2.7`, `2001:db8::7` or `edge.example`, without a \
         port"
    ))
}

/// The API takes less of names than proxies do: no underscore, and no dot at the end.
fn is_host(host: &str) -> bool {
    is_host_name(host) && !host.contains('_') && !host.ends_with('.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_written() {
        for (text, patch, published) in [
            ("192.0.2.7", r#"[{"ip":"192.0.2.7"}]"#, &["192.0.2.7"][..]),
            (
                "Edge.Example, 2001:DB8:0::7,192.0.2.7,192.0.2.7",
                r#"[{"ip":"192.0.2.7"},{"ip":"2001:db8::7"},{"hostname":"edge.example"}]"#,
                &["192.0.2.7", "2001:db8::7", "edge.example"],
            ),
            ("b-1", r#"[{"hostname":"b-1"}]"#, &["b-1"]),
        ] {
            let addresses: Addresses = text.parse().unwrap();
            let expected = format!(r#"{{"status":{{"loadBalancer":{{"ingress":{patch}}}}}}}"#);
            assert_eq!(addresses.patch().to_string(), expected);
            assert_eq!(addresses.published().iter().map(|it| &**it).collect::<Vec<_>>(), published);
        }
    }

    #[test]
    fn what_is_no_address_is_refused() {
        let many = (0..17).map(|last| format!("192.0.2.{last}")).collect::<Vec<_>>().join(",");
        let (label, host) = ("a".repeat(64), format!("{}a", "a.".repeat(127)));
        for text in [
            "",
            "a,,b",
            "192.0.2.300",
            "192.0.2.7:80",
            "http://a",
            "*.example",
            "-a",
            "a-",
            "a_b",
            "ä",
            "0.0.0.0",
            "::",
            "224.0.0.1",
            &label,
            &host,
            &many,
        ] {
            let error = text.parse::<Addresses>().unwrap_err();
            assert!(!error.is_empty(), "{text}");
        }
    }
}
