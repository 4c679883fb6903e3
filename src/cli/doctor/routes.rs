//! The kernel's table of routes, as `/proc/net` shows it: which way packets to an address leave this machine.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The route's packets go nowhere (`RTF_REJECT`).
const REJECT: u32 = 0x200;
/// The route is an address of this machine itself (`RTF_LOCAL`).
const LOCAL: u32 = 0x8000_0000;

/// Which way packets leave.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Way {
    /// There is no route.
    None,
    /// A route that throws them away or refuses them.
    Nowhere,
    /// Within this machine.
    Local,
    /// Its own network: straight over a device.
    Link { device: Box<str> },
    /// A route of their own, by another machine.
    By { gateway: IpAddr, device: Box<str> },
    /// Only the route for everything else.
    Default {
        /// None where the device leads to one machine only.
        gateway: Option<IpAddr>,
        device: Box<str>,
    },
    /// The table is not known.
    Unknown,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Route {
    to: ipnet::IpNet,
    gateway: Option<IpAddr>,
    device: Box<str>,
    metric: u32,
    flags: u32,
}

/// The main table. Routes of other tables, which rules choose, are not in it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Routes {
    routes: Vec<Route>,
    is_known: bool,
}

impl Routes {
    /// This machine's, or that of the network namespace that the process is in.
    pub(super) fn read() -> Self {
        let text = |path| std::fs::read_to_string(path).unwrap_or_default();
        Self::parse(&text("/proc/thread-self/net/route"), &text("/proc/thread-self/net/ipv6_route"))
    }

    /// From the texts of `route` and `ipv6_route`. Lines that are not understood are passed over.
    fn parse(v4: &str, v6: &str) -> Self {
        let routes = v4.lines().filter_map(route_v4).chain(v6.lines().filter_map(route_v6)).collect();
        // The file of IPv4 has a head, whatever it holds.
        Self { routes, is_known: !v4.is_empty() }
    }

    /// The way to an address: of the longest network, then of the least metric.
    pub(super) fn way(&self, address: IpAddr) -> Way {
        if !self.is_known {
            return Way::Unknown;
        }
        if address.is_loopback() {
            return Way::Local;
        }
        let rank = |route: &&Route| (route.to.prefix_len(), u32::MAX - route.metric);
        let Some(route) = self.routes.iter().filter(|route| route.to.contains(&address)).max_by_key(rank)
        else {
            return Way::None;
        };
        let (gateway, device) = (route.gateway, route.device.clone());
        match gateway {
            _ if route.flags & LOCAL != 0 => Way::Local,
            // The kernel itself refuses what has no route, in IPv6 by a route for everything.
            _ if route.flags & REJECT != 0 && route.to.prefix_len() == 0 => Way::None,
            // A route that only throws away has no device.
            _ if route.flags & REJECT != 0 || &*device == "*" => Way::Nowhere,
            _ if route.to.prefix_len() == 0 => Way::Default { gateway, device },
            Some(gateway) => Way::By { gateway, device },
            None => Way::Link { device },
        }
    }
}

/// `Iface Destination Gateway Flags RefCnt Use Metric Mask ..`, numbers in hexadecimal and in the machine's own order.
fn route_v4(line: &str) -> Option<Route> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let [device, to, gateway, flags, _, _, metric, mask, ..] = *fields else { return None };
    let address = |hex| Some(Ipv4Addr::from(u32::from_str_radix(hex, 16).ok()?.to_ne_bytes()));
    let (to, gateway, mask) = (address(to)?, address(gateway)?, address(mask)?);
    Some(Route {
        to: ipnet::Ipv4Net::with_netmask(to, mask).ok()?.into(),
        gateway: (!gateway.is_unspecified()).then_some(gateway.into()),
        device: device.into(),
        metric: metric.parse().ok()?,
        flags: u32::from_str_radix(flags, 16).ok()?,
    })
}

/// `Destination Length Source Length NextHop Metric RefCnt Use Flags Device`, numbers in hexadecimal.
fn route_v6(line: &str) -> Option<Route> {
    let fields: Vec<&str> = line.split_whitespace().collect();
    let [to, length, _, _, gateway, metric, _, _, flags, device] = *fields else { return None };
    let address = |hex| Some(Ipv6Addr::from(u128::from_str_radix(hex, 16).ok()?));
    let gateway = address(gateway)?;
    Some(Route {
        to: ipnet::Ipv6Net::new(address(to)?, u8::from_str_radix(length, 16).ok()?).ok()?.into(),
        gateway: (!gateway.is_unspecified()).then_some(gateway.into()),
        device: device.into(),
        metric: u32::from_str_radix(metric, 16).ok()?,
        flags: u32::from_str_radix(flags, 16).ok()?,
    })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    const HEAD: &str =
        "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n";
    const V4: &str = "\
eth0\t00000000\t0100000A\t0003\t0\t0\t100\t00000000\t0\t0\t0
eth0\t0000000A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0
eth0\t0001F40A\t0200000A\t0003\t0\t0\t0\t00FFFFFF\t0\t0\t0
eth0\t0002F40A\t0300000A\t0003\t0\t0\t20\t00FFFFFF\t0\t0\t0
eth1\t0002F40A\t0400000A\t0003\t0\t0\t10\t00FFFFFF\t0\t0\t0
*\t0003F40A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0
*\t0004F40A\t00000000\t0201\t0\t0\t0\t00FFFFFF\t0\t0\t0
";
    const V6: &str = "\
fd000000000000000000000000000000 40 00000000000000000000000000000000 00 00000000000000000000000000000000 00000100 00000001 00000000 00000001 eth0
fd000000000000010000000000000000 40 00000000000000000000000000000000 00 fd000000000000000000000000000002 00000400 00000001 00000000 00000003 eth0
00000000000000000000000000000000 00 00000000000000000000000000000000 00 00000000000000000000000000000000 ffffffff 00000001 00000000 00200200 lo
fd000000000000000000000000000005 80 00000000000000000000000000000000 00 00000000000000000000000000000000 00000000 00000002 00000000 80200001 eth0
";

    /// Of a machine at 10.0.0.0/24 with routes to 10.244.1.0/24 and 10.244.2.0/24, ones that throw away
    /// 10.244.3.0/24 and 10.244.4.0/24, and a default route by 10.0.0.1 if wanted.
    pub(in crate::cli::doctor) fn sample(with_default: bool) -> Routes {
        let lines = V4.lines().skip(usize::from(!with_default)).collect::<Vec<_>>().join("\n");
        Routes::parse(&format!("{HEAD}{lines}\n"), V6)
    }

    #[test]
    fn the_longest_network_and_the_least_metric_say_the_way() {
        let device: Box<str> = "eth0".into();
        let by = |gateway: &str, device: &str| Way::By {
            gateway: gateway.parse().unwrap(),
            device: device.into(),
        };
        let link = Way::Link { device: device.clone() };
        let usual = Way::Default { gateway: Some("10.0.0.1".parse().unwrap()), device };
        for (address, with_default, without) in [
            ("10.0.0.9", link.clone(), link.clone()),
            ("10.244.1.5", by("10.0.0.2", "eth0"), by("10.0.0.2", "eth0")),
            ("10.244.2.5", by("10.0.0.4", "eth1"), by("10.0.0.4", "eth1")),
            ("10.244.3.5", Way::Nowhere, Way::Nowhere),
            ("10.244.4.5", Way::Nowhere, Way::Nowhere),
            ("10.244.9.5", usual.clone(), Way::None),
            ("127.0.0.7", Way::Local, Way::Local),
            ("fd00::9", link.clone(), link.clone()),
            ("fd00::5", Way::Local, Way::Local),
            ("fd00:0:0:1::9", by("fd00::2", "eth0"), by("fd00::2", "eth0")),
            ("fd00:0:0:2::9", Way::None, Way::None),
        ] {
            let at = address.parse().unwrap();
            assert_eq!((sample(true).way(at), sample(false).way(at)), (with_default, without), "{address}");
        }
    }

    #[test]
    fn what_is_not_there_is_not_known() {
        let routes = Routes::parse("", "");
        assert_eq!(routes.way("10.0.0.1".parse().unwrap()), Way::Unknown);
        assert_eq!(Routes::parse(HEAD, "").way("10.0.0.1".parse().unwrap()), Way::None);
        assert_eq!(
            Routes::parse(&format!("{HEAD}a b\nc\n"), "x\n").way("10.0.0.1".parse().unwrap()),
            Way::None
        );
    }
}
