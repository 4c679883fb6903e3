//! Pods that join a backend by their label.

use super::{Pod, convert_pods, notes, objects, pod};
use serde_json::{Value, json};

#[track_caller]
fn check(pods: &[Pod], servers: Value, said: &[&str]) {
    let converted = convert_pods(pods);
    let mut found = objects(&converted);
    let found = found.as_object_mut().unwrap();
    let found = found.iter_mut().map(|(key, value)| {
        let id = key.strip_prefix("backends/shop-web/servers/").unwrap().to_owned();
        (id, value.take())
    });
    assert_eq!(found.collect::<serde_json::Map<_, _>>(), *servers.as_object().unwrap());
    assert_eq!(notes(&converted), said);
}

#[test]
fn a_ready_pod_is_a_server() {
    let a = || pod("a", &[], "http:8080", "10.0.0.1", "ready");
    let server = |address: &str| json!({ "URL": format!("http://{address}") });
    check(&[a()], json!({ "10.0.0.1:8080": server("10.0.0.1:8080") }), &[]);
    check(
        &[a(), pod("b", &[], "http:8080", "10.0.0.2", "ready")],
        json!({ "10.0.0.1:8080": server("10.0.0.1:8080"), "10.0.0.2:8080": server("10.0.0.2:8080") }),
        &[],
    );
    check(&[pod("a", &[], "http:8080", "10.0.0.1", "starting")], json!({}), &[]);
    // It has not started yet.
    check(&[pod("a", &[], "http:8080", "", "ready")], json!({}), &[]);
}

#[test]
fn a_pod_that_ends_drains_and_serves_where_no_other_does() {
    let pods = |first: &str, second: &str| {
        let one = |name: &str, address: &str, ready: &str| pod(name, &[], ":80", address, ready);
        [one("a", "10.0.0.1", first), one("b", "10.0.0.2", second)]
    };
    let states = |first: Option<&str>, second: Option<&str>| {
        let one = |address: &str, state: &str| {
            let url = format!("http://{address}:80");
            let value =
                if state == "active" { json!({ "URL": url }) } else { json!({ "URL": url, "State": state }) };
            (format!("{address}:80"), value)
        };
        let first = first.map(|state| one("10.0.0.1", state));
        let both = first.into_iter().chain(second.map(|state| one("10.0.0.2", state)));
        Value::Object(both.collect())
    };
    for (given, expected) in [
        (("ready", "ending"), (Some("active"), Some("draining"))),
        (("ready", "ended"), (Some("active"), Some("draining"))),
        (("ending", "ending"), (Some("active"), Some("active"))),
        (("ending", "ended"), (Some("active"), Some("draining"))),
        (("ending", "starting"), (Some("active"), None)),
        (("starting", "starting"), (None, None)),
    ] {
        check(&pods(given.0, given.1), states(expected.0, expected.1), &[]);
    }
    // Two pods at their node's address: the better one counts.
    let twins = ["ended", "ready"].map(|ready| pod(ready, &[], ":80", "10.0.0.1", ready));
    check(&twins, states(Some("active"), None), &[]);
}

#[test]
fn the_port_is_told_by_name_number_or_place() {
    let ports = "metrics:9100 http:8080 admin:9000";
    let at = |port: u16| json!({ format!("10.0.0.1:{port}"): { "URL": format!("http://10.0.0.1:{port}") } });
    let with = |annotations, ports| [pod("a", annotations, ports, "10.0.0.1", "ready")];
    check(&with(&[], ports), at(8080), &[]);
    check(&with(&[], ":81 :82"), at(81), &[]);
    check(&with(&[("port", "admin")], ports), at(9000), &[]);
    check(&with(&[("port", " 9100 ")], ports), at(9100), &[]);
    check(&with(&[("port", "7000")], ""), at(7000), &[]);
    check(
        &with(&[], ""),
        json!({}),
        &[
            "error pod/shop/a spec.containers have no ports; one is needed, or its number in `flipgate.io/port`",
        ],
    );
    for wrong in ["htp", "0", "70000", "-1"] {
        let said = format!(
            "error pod/shop/a flipgate.io/port is {wrong:?}, no number and no name of a container's port"
        );
        let pods = [pod("a", &[("port", wrong)], ports, "10.0.0.1", "ready")];
        check(&pods, json!({}), &[&said]);
    }
}

#[test]
fn annotations_tell_scheme_and_family() {
    let with = |annotations| [pod("a", annotations, ":80", "10.0.0.1 fd00::1", "ready")];
    let four = |scheme: &str| json!({ "10.0.0.1:80": { "URL": format!("{scheme}://10.0.0.1:80") } });
    let six = || json!({ "[fd00::1]:80": { "URL": "http://[fd00::1]:80" } });
    check(&with(&[("scheme", "https")]), four("https"), &[]);
    check(&with(&[("ip-family", "ipv4")]), four("http"), &[]);
    check(&with(&[("ip-family", "ipv6")]), six(), &[]);
    check(
        &with(&[("scheme", "h2")]),
        four("http"),
        &["warning pod/shop/a flipgate.io/scheme is \"h2\"; `http` or `https` is expected"],
    );
    check(
        &with(&[("ip-family", "6")]),
        four("http"),
        &["warning pod/shop/a flipgate.io/ip-family is \"6\"; `ipv4` or `ipv6` is expected"],
    );
    check(
        &[pod("a", &[("ip-family", "ipv6")], ":80", "10.0.0.1", "ready")],
        json!({}),
        &[
            "error pod/shop/a status.podIPs has no address of the family that `flipgate.io/ip-family` asks for",
        ],
    );
    check(
        &with(&[("prot", "80"), ("port.http", "80"), ("route", "Path(`/`)")]),
        four("http"),
        &[
            "warning pod/shop/a flipgate.io/port.http cannot be given for one port",
            "warning pod/shop/a flipgate.io/prot is no annotation known here; did you mean `flipgate.io/port`?",
            "warning pod/shop/a flipgate.io/route is no annotation known here",
        ],
    );
}
