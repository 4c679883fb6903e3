//! Kubernetes: whether its API answers, who we are there, what we may do, and where nodes keep their pods.

use super::access::{self, Right};
use super::networks::PodNetwork;
use super::report::{Check, Grade};
use crate::cli::flags;
use crate::config::RegistrarSettings;
use crate::kubernetes::{ConnectError, Target, explain};
use futures_util::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::authentication::v1::SelfSubjectReview;
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use k8s_openapi::api::core::v1::Node;
use kube::api::{ListParams, PostParams};
use kube::{Api, Client};
use std::net::IpAddr;
use std::time::Duration;
use tokio::time::{Instant, timeout};

/// Longest wait for an answer.
const ANSWER_MAX: Duration = Duration::from_secs(10);
/// Questions at a time.
const AT_ONCE: usize = 8;
/// Most nodes that are asked for; pods of others are put together as if no node spoke for them.
const NODES_MAX: u32 = 5_000;

/// Looks at the cluster that is meant, if any is.
pub(super) async fn look(settings: &RegistrarSettings, checks: &mut Vec<Check>) -> Vec<PodNetwork> {
    let (target, client) = match Target::find(&flags::access(settings))
        .await
        .and_then(|it| it.client().map(|client| (it, client)))
    {
        Ok(found) => found,
        Err(error @ ConnectError::Nothing(_)) => {
            checks.push(Check::new(Grade::Skipped, "kubernetes", error.to_string()));
            return Vec::new();
        }
        Err(error) => {
            checks.push(Check::new(Grade::Failed, "kubernetes", error.to_string()));
            return Vec::new();
        }
    };
    let answer = answers(&target, &client).await;
    let is_well = answer.grade == Grade::Ok;
    checks.push(answer);
    if !is_well {
        return Vec::new();
    }
    let user = match user(&client).await {
        Ok(user) => {
            checks.push(
                Check::new(Grade::Ok, "identity", format!("this is {user}")).fact("user", user.as_str()),
            );
            user
        }
        Err(error) => {
            checks.push(Check::new(Grade::Warning, "identity", error));
            "this user".to_owned()
        }
    };
    let lease_namespace = settings.lease_namespace.as_deref().unwrap_or(target.namespace());
    checks.push(match missing(&client, access::rights(settings, lease_namespace)).await {
        Ok(missing) => access::judge(&user, &missing),
        Err(error) => Check::new(Grade::Failed, "permissions", error),
    });
    match pod_networks(&client).await {
        Ok(found) => found,
        Err(error) => {
            let detail = format!("{error}; networks are taken to have the usual sizes");
            checks.push(Check::new(Grade::Skipped, "nodes", detail));
            Vec::new()
        }
    }
}

async fn answers(target: &Target, client: &Client) -> Check {
    let (url, place, begin) = (target.server_url(), target.place(), Instant::now());
    let check = match in_time(client.apiserver_version()).await {
        Ok(version) => {
            let (version, took) = (version.git_version, begin.elapsed().as_millis());
            let detail = format!("{url} (of {place}) answers in {took} ms: {version}");
            Check::new(Grade::Ok, "kubernetes", detail).fact("version", version)
        }
        Err(error) => {
            let advice = "see whether this machine reaches the API server, and whether its certificate and the \
                          credentials are good: `kubectl version` asks the same";
            Check::new(Grade::Failed, "kubernetes", format!("{url} (of {place}): {error}")).advise(advice)
        }
    };
    check.fact("url", url)
}

async fn user(client: &Client) -> Result<String, String> {
    let reviews: Api<SelfSubjectReview> = Api::all(client.clone());
    let review = in_time(reviews.create(&PostParams::default(), &SelfSubjectReview::default())).await?;
    let user = review.status.and_then(|status| status.user_info).and_then(|info| info.username);
    user.ok_or_else(|| "the API server does not say who this is".to_owned())
}

/// Those of the rights that we do not have.
async fn missing(client: &Client, rights: Vec<Right>) -> Result<Vec<Right>, String> {
    let asked = stream::iter(rights).map(|right| async move {
        let is_allowed = is_allowed(client, &right).await?;
        Ok::<_, String>((!is_allowed).then_some(right))
    });
    let missing: Vec<Option<Right>> = asked.buffered(AT_ONCE).try_collect().await?;
    Ok(missing.into_iter().flatten().collect())
}

async fn is_allowed(client: &Client, right: &Right) -> Result<bool, String> {
    let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    let attributes = ResourceAttributes {
        group: text(right.group),
        resource: text(right.resource),
        subresource: text(right.subresource),
        verb: text(right.verb),
        namespace: text(&right.namespace),
        name: text(&right.name),
        ..ResourceAttributes::default()
    };
    let spec = SelfSubjectAccessReviewSpec { resource_attributes: Some(attributes), ..Default::default() };
    let review = SelfSubjectAccessReview { spec, ..Default::default() };
    let reviews: Api<SelfSubjectAccessReview> = Api::all(client.clone());
    let answer = in_time(reviews.create(&PostParams::default(), &review)).await?;
    Ok(answer.status.is_some_and(|status| status.allowed))
}

async fn pod_networks(client: &Client) -> Result<Vec<PodNetwork>, String> {
    let nodes: Api<Node> = Api::all(client.clone());
    let nodes = in_time(nodes.list(&ListParams::default().limit(NODES_MAX))).await?;
    Ok(nodes.items.into_iter().flat_map(networks_of).collect())
}

fn networks_of(node: Node) -> Vec<PodNetwork> {
    let name = node.metadata.name.unwrap_or_default();
    let addresses = node.status.and_then(|status| status.addresses).unwrap_or_default();
    let internal = addresses.iter().filter(|address| address.type_ == "InternalIP");
    let internal: Vec<IpAddr> = internal.filter_map(|address| address.address.parse().ok()).collect();
    let spec = node.spec.unwrap_or_default();
    let texts = spec.pod_cidrs.unwrap_or_else(|| spec.pod_cidr.into_iter().collect());
    let networks = texts.iter().filter_map(|text| text.parse::<ipnet::IpNet>().ok());
    let of_family = |network: &ipnet::IpNet| {
        internal.iter().copied().find(|address| address.is_ipv4() == network.addr().is_ipv4())
    };
    let one =
        |network: ipnet::IpNet| PodNetwork { network, node: name.clone(), address: of_family(&network) };
    networks.map(one).collect()
}

/// An answer, or in one line why there is none.
async fn in_time<T>(asked: impl Future<Output = Result<T, kube::Error>>) -> Result<T, String> {
    match timeout(ANSWER_MAX, asked).await {
        Ok(answer) => answer.map_err(|error| explain(&error)),
        Err(_) => Err(format!("nothing is answered within {} s", ANSWER_MAX.as_secs())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn nodes_say_which_networks_they_hold() {
        let check = |node: serde_json::Value, expected: &[(&str, Option<&str>)]| {
            let found = networks_of(serde_json::from_value(node).unwrap());
            let found = found.iter().map(|it| (it.network.to_string(), it.address.map(|ip| ip.to_string())));
            let expected = expected.iter().map(|(net, ip)| (net.to_string(), ip.map(str::to_owned)));
            assert_eq!(found.collect::<Vec<_>>(), expected.collect::<Vec<_>>());
        };
        let addresses = json!([
            {"type": "Hostname", "address": "one"},
            {"type": "InternalIP", "address": "10.0.0.5"},
            {"type": "InternalIP", "address": "fd00::5"},
        ]);
        check(
            json!({"spec": {"podCIDR": "10.1.0.0/24", "podCIDRs": ["10.1.0.0/24", "fd01::/64"]},
                "status": {"addresses": addresses}}),
            &[("10.1.0.0/24", Some("10.0.0.5")), ("fd01::/64", Some("fd00::5"))],
        );
        check(json!({"spec": {"podCIDR": "10.1.0.0/24"}}), &[("10.1.0.0/24", None)]);
        check(json!({"spec": {"podCIDRs": ["odd"]}}), &[]);
        check(json!({}), &[]);
    }
}
