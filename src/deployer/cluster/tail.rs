//! The end of what a Job's pods wrote.

use super::Cluster;
use crate::kubernetes::{Refusal, in_time};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{ListParams, LogParams};

/// Most lines that are shown.
const LINES_MAX: i64 = 20;
/// Longest line that is shown, in characters.
const LINE_MAX: usize = 500;
/// Most that is read.
const BYTES_MAX: i64 = 64 * 1024;

/// The last lines of the last of a Job's pods. Where they are not to be had, why.
pub(in crate::deployer) async fn job_tail(cluster: &Cluster, job: &Job) -> Vec<String> {
    let uid = job.metadata.uid.as_deref().unwrap_or_default();
    let selected = ListParams::default().labels(&format!("batch.kubernetes.io/controller-uid={uid}"));
    let Ok(pods) = cluster.list::<Pod>(selected).await else { return Vec::new() };
    let Some(pod) = pods.iter().max_by_key(|pod| pod.metadata.creation_timestamp.as_ref().map(|at| at.0))
    else {
        return Vec::new();
    };
    let name = pod.metadata.name.as_deref().unwrap_or_default();
    let log = LogParams {
        container: failed_container(pod),
        tail_lines: Some(LINES_MAX),
        limit_bytes: Some(BYTES_MAX),
        ..LogParams::default()
    };
    match in_time(cluster.api::<Pod>().logs(name, &log)).await {
        Ok(text) => lines(&text),
        Err(Refusal::Forbidden(reason) | Refusal::Final(reason) | Refusal::Later(reason)) => {
            vec![format!("the log of its pod {name} is not to be had: {reason}")]
        }
    }
}

/// The first that ended badly, else the first.
fn failed_container(pod: &Pod) -> Option<String> {
    let status = pod.status.as_ref();
    let init = status.and_then(|status| status.init_container_statuses.as_ref());
    let own = status.and_then(|status| status.container_statuses.as_ref());
    let failed = init.into_iter().chain(own).flatten().find(|status| {
        let ended = status.state.as_ref().and_then(|state| state.terminated.as_ref());
        ended.is_some_and(|ended| ended.exit_code != 0)
    });
    let first = pod.spec.as_ref().and_then(|spec| spec.containers.first());
    failed.map(|status| status.name.clone()).or(first.map(|container| container.name.clone()))
}

fn lines(text: &str) -> Vec<String> {
    let most = usize::try_from(LINES_MAX).unwrap_or(usize::MAX);
    let all = text.lines().map(str::trim_end).filter(|line| !line.is_empty()).collect::<Vec<_>>();
    let last = all.iter().skip(all.len().saturating_sub(most));
    last.map(|line| line.chars().filter(|one| !one.is_control()).take(LINE_MAX).collect()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_last_lines_are_shown() {
        let text = (1..=30).map(|number| format!("line {number}\r\n\n")).collect::<String>();
        let shown = lines(&text);
        assert_eq!((shown.len(), shown[0].as_str(), shown[19].as_str()), (20, "line 11", "line 30"));
        assert_eq!(lines("a\u{1b}[31mb"), ["a[31mb"]);
        assert_eq!(lines(&"x".repeat(900))[0].len(), LINE_MAX);
    }

    #[test]
    fn the_container_that_failed_is_asked() {
        let pod = |statuses: serde_json::Value| -> Pod {
            serde_json::from_value(json!({
                "spec": {"containers": [{"name": "a"}, {"name": "b"}]},
                "status": {"containerStatuses": statuses},
            }))
            .unwrap()
        };
        let ended = |name: &str, code: i32| {
            json!({"name": name, "image": "i", "imageID": "", "ready": false, "restartCount": 0,
                "state": {"terminated": {"exitCode": code}}})
        };
        assert_eq!(failed_container(&pod(json!([]))).as_deref(), Some("a"));
        assert_eq!(failed_container(&pod(json!([ended("a", 0), ended("b", 1)]))).as_deref(), Some("b"));
    }
}
