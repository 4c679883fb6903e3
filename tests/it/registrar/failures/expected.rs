//! What has to stand in the store, worked out from the cluster's objects alone, for the kinds of them that these tests
//! have: Services with a route and the port 80, and pods that join the backend `default-live` by their label.

use crate::support::kubernetes::Client;
use serde_json::{Value, json};
use std::collections::BTreeMap;

pub const SERVICES: &str = "/api/v1/namespaces/default/services";
pub const SLICES: &str = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices";
pub const LIVE: &str = "/api/v1/namespaces/default/pods?labelSelector=name=live";

/// One address behind a backend.
struct Endpoint {
    server: String,
    is_ready: bool,
    /// Answers, ready or not.
    serves: bool,
    ends: bool,
    zone: Value,
}

/// All keys of the registrar, with their values.
pub fn expected(client: &Client) -> BTreeMap<String, Value> {
    let mut all = BTreeMap::new();
    let slices = client.list(SLICES);
    for service in client.list(SERVICES) {
        let route = &service["metadata"]["annotations"]["flipgate.io/route"];
        if route.is_null() {
            continue;
        }
        let name = service["metadata"]["name"].as_str().unwrap();
        let (owner, backend) = (format!("kubernetes:service/default/{name}"), format!("default-{name}-80"));
        let frontend = json!({
            "Type": "http", "BackendId": backend, "Route": route, "Settings": {"PassHostHeader": true}, "Owner": owner,
        });
        all.insert(format!("frontends/default-{name}/frontend"), frontend);
        all.insert(format!("backends/{backend}/backend"), json!({"Type": "http", "Owner": owner}));
        let own = slices.iter().filter(|it| it["metadata"]["labels"]["kubernetes.io/service-name"] == name);
        put_servers(&mut all, &backend, &owner, &own.flat_map(endpoints_of_slice).collect::<Vec<_>>());
    }
    let live = client.list(LIVE).iter().filter_map(endpoint_of_pod).collect::<Vec<_>>();
    put_servers(&mut all, "default-live", "kubernetes:pods/default-live", &live);
    all
}

/// Those that are ready get requests. Those that end get no new ones, unless there is nobody else.
fn put_servers(all: &mut BTreeMap<String, Value>, backend: &str, owner: &str, endpoints: &[Endpoint]) {
    let is_served = endpoints.iter().any(|one| one.is_ready && !one.ends);
    for Endpoint { server, is_ready, serves, ends, zone } in endpoints {
        if !is_ready && !ends {
            continue;
        }
        let mut value = json!({"URL": format!("http://{server}"), "Owner": owner});
        if *ends && (is_served || !serves) {
            value["State"] = json!("draining");
        }
        if !zone.is_null() {
            value["Zone"] = zone.clone();
        }
        all.insert(format!("backends/{backend}/servers/{server}"), value);
    }
}

fn endpoints_of_slice(slice: &Value) -> Vec<Endpoint> {
    let port = &slice["ports"][0]["port"];
    let endpoint = |endpoint: &Value| {
        let is = |name: &str| endpoint["conditions"][name] == true;
        Endpoint {
            server: format!("{}:{port}", endpoint["addresses"][0].as_str().unwrap()),
            is_ready: is("ready"),
            serves: is("serving"),
            ends: is("terminating"),
            zone: endpoint["zone"].clone(),
        }
    };
    slice["endpoints"].as_array().into_iter().flatten().map(endpoint).collect()
}

/// None before it has an address.
fn endpoint_of_pod(pod: &Value) -> Option<Endpoint> {
    let is_ready = is_pod_ready(pod);
    let port = &pod["spec"]["containers"][0]["ports"][0]["containerPort"];
    Some(Endpoint {
        server: format!("{}:{port}", pod["status"]["podIP"].as_str()?),
        is_ready,
        serves: is_ready,
        ends: !pod["metadata"]["deletionTimestamp"].is_null(),
        zone: Value::Null,
    })
}

/// Whether its condition says so.
pub fn is_pod_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array();
    conditions.into_iter().flatten().any(|one| one["type"] == "Ready" && one["status"] == "True")
}
