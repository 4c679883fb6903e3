//! `flipgate registrar`: keep the store in step with Kubernetes.

use super::context::{Context, Exit};
use super::flags::{RegistrarFlags, access, open_store};
use super::proxy::Signals;
use crate::admin;
use crate::config::{Config, RegistrarSettings};
use crate::kubernetes::lease::{self, Hold, Timings, unique_holder};
use crate::kubernetes::{Name, Target};
use crate::registrar::convert::{Classes, Remit};
use crate::registrar::events::Events;
use crate::registrar::metrics::Meters;
use crate::registrar::plan::Planner;
use crate::registrar::runner::{Core, Parts, Runner};
use crate::registrar::status::{Addresses, StatusWriter};
use crate::registrar::watch::{Scope, watch as follow};
use crate::registrar::{Kind, Notes, health};
use crate::telemetry::logs::{self, LogFormat};
use crate::tls::SealKeys;
use anyhow::bail;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Keep the store in step with Kubernetes
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  flipgate registrar --store dir:routes
  flipgate registrar --store etcd://10.0.0.1:2379 --kubeconfig admin.conf --ingress-class flipgate,nginx
  flipgate registrar --store etcd://10.0.0.1:2379 --namespace shop --namespace blog --health 0.0.0.0:8183

Pods whose label `name` makes the id of a backend become its servers; Services with the annotation flipgate.io/route and \
Ingresses of the classes become frontends, backends and servers. Only objects whose `Owner` says that they are this \
cluster's are ever changed or removed. Several may run: one writes, and another takes over within seconds. SIGTERM ends \
the running transaction and gives the Lease back.

`flipgate doctor`, with the same --store and --ingress-class, says which rights are missing and which pods are not \
reached; the Events of an Ingress or Service say what is wrong with it.")]
pub(super) struct Registrar {
    #[command(flatten)]
    flags: RegistrarFlags,
}

impl Registrar {
    pub(super) async fn run(self, context: &mut Context<'_, '_>) -> anyhow::Result<Exit> {
        if self.flags.0.has("seal-key") {
            context
                .note("warning: others on this machine can read --seal-key; --seal-key-file keeps it to you");
        }
        let config = context.settings(self.flags.0, |_| true)?;
        let store = open_store(&config.store)?;
        let planner = planner(&config)?;
        let addresses = addresses(&config.registrar)?;
        let target = Target::find(&access(&config.registrar)).await?;
        let client = target.client()?;
        let format = if config.log.json { LogFormat::Json } else { LogFormat::Text };
        logs::init(format, &config.log.level)?;
        let socket = match config.health {
            Some(address) => Some(bind(address).await?),
            None => None,
        };
        let mut signals = Signals::new()?;
        let lease_name = lease_name(&config.registrar, &target);
        context.note(format_args!(
            "registrar of cluster {} at {} ({}), store {}, lease {lease_name}",
            planner.cluster,
            target.server_url(),
            target.place(),
            store.location(),
        ));

        let kinds = kinds(&config.registrar);
        let scope = Scope {
            namespaces: config.registrar.namespaces.clone(),
            pod_label: config.registrar.pod_label.as_str().into(),
            kinds: kinds.clone(),
        };
        let holder = unique_holder(&machine());
        let hold = lease::hold(client.clone(), &lease_name, holder.clone(), Timings::default());
        let meters = Arc::new(Meters::default());
        let (notes, leads) = (Notes::default(), watch::Sender::new(false));
        let core = Core::new(remit(&config.registrar), planner, &kinds);
        tokio::spawn(Events::new(client.clone(), notes.clone(), leads.subscribe(), &holder).run());
        if let Some(addresses) = addresses {
            let (statuses, notes) = (core.statuses(), notes.clone());
            let writer = StatusWriter::new(client.clone(), addresses, statuses, notes, leads.subscribe());
            tokio::spawn(writer.run());
        }
        let parts = Parts {
            store,
            seen: follow(client, scope),
            leadership: hold.leadership(),
            holder,
            cluster: config.registrar.cluster.as_str().into(),
            meters: meters.clone(),
            notes: notes.clone(),
            leads,
        };
        let (runner, progress) = Runner::new(core, parts);
        let stop = CancellationToken::new();
        if let Some(socket) = socket {
            context.note(format_args!("health listening on http://{}", socket.local_addr()?));
            let router = health::router(progress, meters, notes);
            tokio::spawn(admin::serve(socket, router, stop.clone()));
        }
        let mut running = tokio::spawn(runner.run(stop.clone()));
        tokio::select! {
            () = signals.end() => end(running, hold, stop).await,
            // It ends only when it is told to.
            ended = &mut running => match ended {
                Ok(()) => bail!("the registrar stopped by itself"),
                Err(error) => Err(error.into()),
            },
        }
    }
}

/// What was begun at the store ends before another registrar may begin.
async fn end(
    running: tokio::task::JoinHandle<()>,
    hold: Hold,
    stop: CancellationToken,
) -> anyhow::Result<Exit> {
    tracing::info!("ending");
    stop.cancel();
    running.await?;
    hold.release().await;
    Ok(Exit::Done)
}

fn planner(config: &Config) -> anyhow::Result<Planner> {
    let direct: Vec<&str> = config.store.seal_keys.iter().map(|key| key.expose()).collect();
    Ok(Planner {
        cluster: config.registrar.cluster.as_str().into(),
        seal_keys: SealKeys::gather(&direct, &config.store.seal_key_files)?,
        plain_keys: config.registrar.plain_keys,
    })
}

/// What `--write-status` says.
fn addresses(settings: &RegistrarSettings) -> anyhow::Result<Option<Addresses>> {
    if settings.write_status.is_empty() {
        return Ok(None);
    }
    let text = settings.write_status.join(",");
    let addresses = text.parse().map_err(|error| anyhow::anyhow!("--write-status {text}: {error}"))?;
    Ok(Some(addresses))
}

fn remit(settings: &RegistrarSettings) -> Remit {
    Remit {
        classes: Classes::new(settings.ingress_classes.iter().map(String::as_str)),
        hosts: settings.hosts.iter().map(|(namespace, host)| (&**namespace, &**host)).collect(),
    }
}

/// Without a class no Ingress is anybody's, and Secrets need not be read.
fn kinds(settings: &RegistrarSettings) -> Vec<Kind> {
    let is_needed = |kind: &Kind| match kind {
        Kind::Service | Kind::Slice | Kind::Pod => true,
        Kind::Ingress | Kind::Secret | Kind::Class => !settings.ingress_classes.is_empty(),
    };
    Kind::ALL.into_iter().filter(is_needed).collect()
}

fn lease_name(settings: &RegistrarSettings, target: &Target) -> Name {
    let namespace = settings.lease_namespace.as_deref().unwrap_or(target.namespace());
    Name::new(namespace, &settings.lease_name)
}

/// The machine's name, for people.
pub(super) fn machine() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let plain = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-');
    let name: String = name.trim().chars().filter(plain).take(63).collect();
    if name.is_empty() { "flipgate".to_owned() } else { name }
}

pub(super) async fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    let bound = TcpListener::bind(address).await;
    bound.map_err(|error| anyhow::anyhow!("--health {address}: {error}"))
}
