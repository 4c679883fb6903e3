//! What a kubelet writes as the status of a pod.

use k8s_openapi::api::core::v1::Pod as Object;
use serde_json::{Value, json};
use std::net::IpAddr;

/// Where a node is. Nobody connects to it.
pub const NODE_ADDRESS: &str = "10.244.0.2";

/// How a pod is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// The first is `podIP`.
    pub addresses: Vec<IpAddr>,
    pub state: State,
    pub is_ready: bool,
    /// How often it was started again.
    pub restarts: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Running,
    /// Its process ended with this exit code, and would be started again.
    Crashed(i32),
    /// Its process ended, and the pod with it.
    Over(i32),
}

/// The value of `.status`, as a merge patch has it.
pub fn status(object: &Object, seen: &Seen, started: &str) -> Value {
    let now = now();
    let condition = |kind: &str, is_so: bool| {
        let value = if is_so { "True" } else { "False" };
        json!({"type": kind, "status": value, "lastTransitionTime": now})
    };
    let (phase, state) = match seen.state {
        State::Running => ("Running", json!({"running": {"startedAt": started}})),
        State::Crashed(_) => ("Running", json!({"waiting": {"reason": "CrashLoopBackOff"}})),
        State::Over(code) => {
            let phase = if code == 0 { "Succeeded" } else { "Failed" };
            let reason = if code == 0 { "Completed" } else { "Error" };
            (
                phase,
                json!({"terminated": {"exitCode": code, "reason": reason, "startedAt": started, "finishedAt": now}}),
            )
        }
    };
    let containers = object.spec.iter().flat_map(|spec| &spec.containers);
    let containers = containers.map(|container| {
        json!({
            "name": container.name, "image": container.image.as_deref().unwrap_or("none"), "imageID": "none",
            "ready": seen.is_ready, "started": seen.state == State::Running, "restartCount": seen.restarts,
            "state": state,
        })
    });
    json!({"status": {
        "phase": phase,
        "hostIP": NODE_ADDRESS,
        "podIP": seen.addresses[0],
        "podIPs": seen.addresses.iter().map(|address| json!({"ip": address})).collect::<Vec<_>>(),
        "startTime": started,
        "conditions": [
            condition("PodScheduled", true), condition("Initialized", true),
            condition("ContainersReady", seen.is_ready), condition("Ready", seen.is_ready),
        ],
        "containerStatuses": containers.collect::<Vec<_>>(),
    }})
}

/// This second, as objects have it.
pub fn now() -> String {
    let seconds = k8s_openapi::jiff::Timestamp::now().as_second();
    k8s_openapi::jiff::Timestamp::from_second(seconds).unwrap().to_string()
}
