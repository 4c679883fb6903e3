//! The pods of a version.

use super::{Cluster, Stop};
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use k8s_openapi::jiff::Timestamp;
use kube::api::ListParams;

/// Longest text about one pod.
const TEXT_MAX: usize = 300;

/// The pods of a version, those that are over left out.
#[derive(Debug, Default)]
pub(in crate::deployer) struct Pods {
    /// That are to stay.
    pub(in crate::deployer) current: Vec<Pod>,
    /// That are about to end.
    pub(in crate::deployer) ending: Vec<Pod>,
}

impl Pods {
    /// By the label that all pods of a version bear.
    pub(in crate::deployer) async fn of(cluster: &Cluster, name: &str) -> Result<Self, Stop> {
        let pods = cluster.list::<Pod>(ListParams::default().labels(&format!("name={name}"))).await?;
        let there = pods.into_iter().filter(|pod| !is_over(pod));
        let (ending, current) = there.partition(|pod| pod.metadata.deletion_timestamp.is_some());
        Ok(Self { current, ending })
    }

    /// Those that are ready.
    pub(in crate::deployer) fn ready(&self) -> impl Iterator<Item = &Pod> {
        self.current.iter().filter(|pod| is_ready(pod))
    }

    /// How many there are.
    pub(in crate::deployer) fn len(&self) -> usize {
        self.current.len() + self.ending.len()
    }
}

fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default()
}

/// What it ran has ended for good.
fn is_over(pod: &Pod) -> bool {
    matches!(phase(pod), "Succeeded" | "Failed")
}

/// Whether it may get requests.
pub(in crate::deployer) fn is_ready(pod: &Pod) -> bool {
    condition(pod, "Ready").is_some_and(|(status, _)| status == "True") && phase(pod) == "Running"
}

fn condition<'a>(pod: &'a Pod, kind: &str) -> Option<(&'a str, Option<&'a str>)> {
    let mut all = pod.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let found = all.find(|condition| condition.type_ == kind)?;
    Some((&found.status, found.message.as_deref()))
}

/// Why a pod is not ready, for people, in one line; none: nothing is wrong with it so far.
pub(in crate::deployer) fn trouble_of(pod: &Pod, now: Timestamp) -> Option<String> {
    if let Some(("False", message)) = condition(pod, "PodScheduled") {
        return Some(line("is not scheduled", message));
    }
    let status = pod.status.as_ref()?;
    let init = status.init_container_statuses.iter().flatten();
    let mut containers = init.chain(status.container_statuses.iter().flatten());
    if let Some(text) = containers.find_map(of_container) {
        return Some(text);
    }
    if phase(pod) == "Running" && !is_ready(pod) {
        let age = status.start_time.as_ref().map(|since| now.duration_since(since.0).as_secs());
        let age = age.map_or(String::new(), |seconds| format!(" for {} s", seconds.max(0)));
        return Some(format!("runs{age}, and its readiness probe does not pass"));
    }
    None
}

fn of_container(status: &ContainerStatus) -> Option<String> {
    let state = status.state.as_ref()?;
    if let Some(waiting) = &state.waiting {
        let reason = waiting.reason.as_deref().unwrap_or_default();
        // As it should be, on its way.
        if matches!(reason, "ContainerCreating" | "PodInitializing" | "") {
            return None;
        }
        let last = status.last_state.as_ref().and_then(|last| last.terminated.as_ref());
        let code = last.map(|last| format!("ended with {}", last.exit_code));
        return Some(line(reason, waiting.message.as_deref().or(code.as_deref())));
    }
    let ended = state.terminated.as_ref().filter(|ended| ended.exit_code != 0)?;
    let text = format!("container {} ended with {}", status.name, ended.exit_code);
    Some(line(&text, ended.message.as_deref().or(ended.reason.as_deref())))
}

/// In one line that is not too long.
fn line(text: &str, more: Option<&str>) -> String {
    let more = more.map(str::trim).filter(|more| !more.is_empty());
    let all = more.map_or_else(|| text.to_owned(), |more| format!("{text}: {more}"));
    let line = all.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(TEXT_MAX) {
        Some((end, _)) => format!("{}…", line.get(..end).unwrap_or_default()),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn check(status: Value, is_ready: bool, trouble: Option<&str>) {
        let pod: Pod = serde_json::from_value(json!({"status": status})).unwrap();
        let now = Timestamp::from_second(1_000).unwrap();
        let found = (super::is_ready(&pod), trouble_of(&pod, now));
        assert_eq!((found.0, found.1.as_deref()), (is_ready, trouble), "{pod:?}");
    }

    #[test]
    fn pods_tell_what_is_wrong_with_them() {
        let ready = json!([{"type": "Ready", "status": "True"}]);
        check(json!({}), false, None);
        check(json!({"phase": "Running", "conditions": ready}), true, None);
        check(json!({"phase": "Pending", "conditions": ready}), false, None);
        let waiting = |reason: &str, message: &str| {
            json!({"phase": "Pending", "containerStatuses": [{
                "name": "a", "image": "i", "imageID": "", "ready": false, "restartCount": 0,
                "state": {"waiting": {"reason": reason, "message": message}},
                "lastState": {"terminated": {"exitCode": 3}},
            }]})
        };
        check(waiting("ContainerCreating", ""), false, None);
        check(waiting("ImagePullBackOff", "no such\nimage"), false, Some("ImagePullBackOff: no such image"));
        let mut crashed = waiting("CrashLoopBackOff", "");
        crashed["containerStatuses"][0]["state"]["waiting"]["message"] = Value::Null;
        check(crashed, false, Some("CrashLoopBackOff: ended with 3"));
        let unscheduled = json!([{"type": "PodScheduled", "status": "False", "message": "0/2 nodes"}]);
        check(
            json!({"phase": "Pending", "conditions": unscheduled}),
            false,
            Some("is not scheduled: 0/2 nodes"),
        );
        check(
            json!({"phase": "Running", "startTime": "1970-01-01T00:16:00Z"}),
            false,
            Some("runs for 40 s, and its readiness probe does not pass"),
        );
        let long = waiting("ErrImagePull", &"x".repeat(900));
        let pod: Pod = serde_json::from_value(json!({"status": long})).unwrap();
        assert_eq!(trouble_of(&pod, Timestamp::UNIX_EPOCH).unwrap().chars().count(), TEXT_MAX + 1);
    }
}
