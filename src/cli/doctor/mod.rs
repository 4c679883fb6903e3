//! `flipgate doctor`: whether everything stands that a proxy on this machine needs, and what to do where it does not.
//!
//! What is found is judged by pure functions ([`verdict`], [`networks`], [`servers`], `access`); [`stored`],
//! [`contact`], [`routes`] and `cluster` ask the store, the network, the kernel and Kubernetes.

#[cfg(feature = "kubernetes")]
mod access;
#[cfg(feature = "kubernetes")]
mod cluster;
mod contact;
mod networks;
mod report;
mod routes;
mod servers;
mod stored;
mod verdict;

use super::check::load_stored;
use super::context::{Context, Exit, Output};
#[cfg(feature = "kubernetes")]
use super::flags::DoctorFlags;
use super::flags::TargetFlags;
use super::references::Objects;
use super::table::count;
use super::target::Target;
use crate::store::Store;
use anyhow::bail;
use networks::PodNetwork;
use report::{Check, Grade, Report};
use routes::Routes;
use std::sync::Arc;

/// From so many places on it is said that it takes a while: if none answers, it does.
const MANY: usize = 5 * contact::AT_ONCE;

/// Find out what keeps traffic from flowing: store, Kubernetes, the way to every server
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  flipgate doctor --store dir:routes
  flipgate doctor --store etcd://127.0.0.1:2379 --output json

Run it where the proxy runs: it connects to every server that requests are sent to, and waits 2 s for each. In the \
store it writes a key of its own, below doctor/ in the state area, and removes it. Kubernetes is asked if a kubeconfig \
or a pod's service account is there, by a program with the feature `kubernetes`; what the registrar needs there follows \
from its settings.

Exits with 1 if anything failed.")]
pub(super) struct Doctor {
    #[cfg(feature = "kubernetes")]
    #[command(flatten)]
    cluster: DoctorFlags,
    #[command(flatten)]
    target: TargetFlags,
}

impl Doctor {
    pub(super) async fn run(self, context: &mut Context<'_, '_>) -> anyhow::Result<Exit> {
        let Target::Store(store) = context.target(&self.target)? else {
            bail!("doctor looks at the store itself: --store dir:PATH or --store etcd://HOST:PORT");
        };
        let mut checks = Vec::new();
        let objects = self.look_at_store(context, &store, &mut checks).await?;
        let pods = self.look_at_cluster(context, &mut checks).await?;
        match objects {
            Some(objects) => look_at_servers(context, &mut checks, &objects, &pods).await,
            None => checks.push(Check::new(
                Grade::Skipped,
                "servers",
                "the store says where they are, and does not answer",
            )),
        }
        let report = Report(checks);
        match context.output {
            Output::Text => context.say(&report)?,
            Output::Json => context.json(&report.to_json())?,
        }
        Ok(if report.is_well() { Exit::Done } else { Exit::No })
    }

    /// The objects that it has, if it answers.
    async fn look_at_store(
        &self,
        context: &Context<'_, '_>,
        store: &Arc<dyn Store>,
        checks: &mut Vec<Check>,
    ) -> anyhow::Result<Option<Objects>> {
        let (answer, snapshot) = stored::answers(store).await;
        checks.push(answer);
        let Some(snapshot) = snapshot else { return Ok(None) };
        checks.extend(stored::prefix(store).await);
        let state = stored::state(store).await;
        let has_state = state.grade == Grade::Ok;
        checks.push(state);
        checks.push(stored::routing(store).await);
        let (number, objects, rows) = load_stored(snapshot, &self.target.seal_keys(context)?);
        checks.push(stored::objects(number, rows));
        checks.push(match has_state {
            true => stored::fleet(store).await,
            false => Check::new(Grade::Skipped, "fleet", "it is kept in the state area"),
        });
        Ok(Some(objects))
    }

    /// Where the cluster's nodes say that their pods are.
    #[cfg(feature = "kubernetes")]
    async fn look_at_cluster(
        &self,
        context: &Context<'_, '_>,
        checks: &mut Vec<Check>,
    ) -> anyhow::Result<Vec<PodNetwork>> {
        Ok(cluster::look(&self.cluster.settings(context)?, checks).await)
    }

    #[cfg(not(feature = "kubernetes"))]
    async fn look_at_cluster(
        &self,
        _: &Context<'_, '_>,
        checks: &mut Vec<Check>,
    ) -> anyhow::Result<Vec<PodNetwork>> {
        let detail = "this program was built without the feature `kubernetes`";
        checks.push(Check::new(Grade::Skipped, "kubernetes", detail));
        Ok(Vec::new())
    }
}

async fn look_at_servers(
    context: &mut Context<'_, '_>,
    checks: &mut Vec<Check>,
    objects: &Objects,
    pods: &[PodNetwork],
) {
    let servers::Reached { places, backends, resting, left_out } = servers::reached(objects);
    let mut detail = match places.len() {
        0 => "nothing that is in force leads to a server".to_owned(),
        number => format!("{} of {}", count(number, "server"), count(backends, "backend")),
    };
    if resting > 0 {
        detail.push_str(&format!(
            "; {} that get no new requests are not connected to",
            count(resting, "server")
        ));
    }
    let grade = if left_out == 0 { Grade::Ok } else { Grade::Warning };
    if left_out > 0 {
        detail.push_str(&format!(
            "; {left_out} more are left out: at most {} are connected to",
            servers::PLACES_MAX
        ));
    }
    checks.push(Check::new(grade, "servers", detail).fact("resting", resting).fact("leftOut", left_out));
    if places.len() > MANY {
        context.note(format_args!("connecting to {} ..", count(places.len(), "server")));
    }
    let contacts = contact::contact_all(places).await;
    let routes = Routes::read();
    checks.extend(networks::group(&contacts, pods, |address| routes.way(address)).iter().map(verdict::judge));
}
