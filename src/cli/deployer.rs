//! `flipgate deployer`: put one version in the place of another.

use super::context::{Context, Exit};
use super::flags::{DeployerFlags, access, open_store};
use super::proxy::{Signals, Told};
use super::registrar::{bind, machine};
use crate::config::{Config, DeployerSettings};
use crate::deployer::api::{Access, Api};
use crate::deployer::desk::Desk;
use crate::deployer::runner;
use crate::deployer::world::World;
use crate::kubernetes::Target;
use crate::kubernetes::lease::unique_holder;
use crate::store::Store;
use crate::telemetry::logs::{self, LogFormat};
use crate::tls::SealKeys;
use crate::web::{ServerTls, TlsFiles, serve, serve_tls};
use anyhow::bail;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Put one version of an application in the place of another
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  flipgate deployer --store etcd://10.0.0.1:2379
  flipgate deployer --store etcd://10.0.0.1:2379 --deploy 0.0.0.0:8000 --deploy-token-file tokens \\
      --deploy-cert deployer.pem --deploy-key deployer.key
  flipgate deploy -f shop.json --wait

It needs a store with leases, etcd, and a registrar that makes the pods servers. Several may run on one store: a \
deployment whose deployer has died is taken over by another one within seconds, or by the same one started again. \
SIGTERM leaves what is under way to them; SIGHUP reads tokens and certificates again.")]
pub(super) struct Deployer {
    #[command(flatten)]
    flags: DeployerFlags,
}

impl Deployer {
    pub(super) async fn run(self, context: &mut Context<'_, '_>) -> anyhow::Result<Exit> {
        let config = context.settings(self.flags.0, |_| true)?;
        let store = open_store(&config.store)?;
        if !store.capabilities().leases {
            bail!(
                "the store {} has no leases, by which a dead deployer is told from one that is alive; \
                 give --store etcd://HOST:PORT",
                store.location()
            );
        }
        let server = Server::open(&config.deployer).await?;
        let health = match config.health {
            Some(address) => Some(bind(address).await?),
            None => None,
        };
        let target = Target::find(&access(&config.registrar)).await?;
        let client = target.client()?;
        let format = if config.log.json { LogFormat::Json } else { LogFormat::Text };
        logs::init(format, &config.log.level)?;
        let mut signals = Signals::new()?;
        context.note(format_args!(
            "deployer for {} ({}), store {}",
            target.server_url(),
            target.place(),
            store.location(),
        ));
        let world = Arc::new(world(&config, client.clone(), &store)?);
        let desk = Desk::new(store.clone(), client);
        let api = Api::new(desk.clone(), store, server.access.clone());
        let stop = CancellationToken::new();
        let mut running = tokio::spawn(runner::run(desk, world, unique_holder(&machine()), stop.clone()));
        let mut servers = vec![tokio::spawn(api.clone().measure(stop.clone()))];
        if let Some(socket) = health {
            context.note(format_args!("health listening on http://{}", socket.local_addr()?));
            servers.push(tokio::spawn(serve(socket, api.health(), stop.clone())));
        }
        let reload = server.reloads();
        servers.extend(server.start(&api, &stop, context)?);
        loop {
            let told = tokio::select! {
                told = signals.next() => told,
                // It ends only when it is told to.
                ended = &mut running => match ended {
                    Ok(()) => bail!("the deployer stopped by itself"),
                    Err(error) => return Err(error.into()),
                },
            };
            match told {
                Told::Reload => reload(),
                Told::Upgrade => {}
                Told::End => break,
            }
        }
        end(running, servers, stop).await
    }
}

/// Locks are given back before the API is gone, so that what is asked last is still written down.
async fn end(
    running: JoinHandle<()>,
    servers: Vec<JoinHandle<()>>,
    stop: CancellationToken,
) -> anyhow::Result<Exit> {
    tracing::info!("ending");
    stop.cancel();
    running.await?;
    for server in servers {
        server.await?;
    }
    Ok(Exit::Done)
}

fn world(config: &Config, client: kube::Client, store: &Arc<dyn Store>) -> anyhow::Result<World> {
    let direct: Vec<&str> = config.store.seal_keys.iter().map(|key| key.expose()).collect();
    Ok(World {
        client,
        store: store.clone(),
        seal_keys: SealKeys::gather(&direct, &config.store.seal_key_files)?,
        plain_keys: config.registrar.plain_keys,
        hosts: config.registrar.hosts.iter().map(|(namespace, host)| (&**namespace, &**host)).collect(),
    })
}

/// Where the API listens, and to whom.
struct Server {
    socket: Option<TcpListener>,
    access: Arc<Access>,
    tls: Option<Arc<ServerTls>>,
}

impl Server {
    async fn open(settings: &DeployerSettings) -> anyhow::Result<Self> {
        let address = settings.address.unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 0)));
        let access = Access::new(
            address,
            settings.token_file.clone(),
            settings.trusted.clone(),
            settings.hosts.clone(),
        )?;
        let tls = match &settings.cert_and_key {
            Some((cert, key)) => Some(Arc::new(ServerTls::load(TlsFiles {
                cert: cert.clone(),
                key: key.clone(),
                client_authorities: settings.client_ca.clone(),
            })?)),
            None if settings.client_ca.is_some() => {
                bail!(
                    "--deploy-client-ca needs --deploy-cert and --deploy-key: clients show certificates over TLS"
                )
            }
            None => None,
        };
        let socket = match settings.address {
            Some(address) => {
                let bound = TcpListener::bind(address).await;
                Some(bound.map_err(|error| anyhow::anyhow!("--deploy {address}: {error}"))?)
            }
            None => None,
        };
        Ok(Self { socket, access: Arc::new(access), tls })
    }

    /// Reads tokens and certificates again; what cannot be read stays as it was.
    fn reloads(&self) -> impl Fn() + use<> {
        let (access, tls) = (self.access.clone(), self.tls.clone());
        move || {
            let read = access.reload().map_err(anyhow::Error::from);
            let tls = tls.as_ref().map_or(Ok(()), |tls| tls.reload().map_err(anyhow::Error::from));
            match read.and(tls) {
                Ok(()) => tracing::info!("tokens and certificates were read again"),
                Err(error) => tracing::error!(%error, "the former ones stay"),
            }
        }
    }

    fn start(
        self,
        api: &Arc<Api>,
        stop: &CancellationToken,
        context: &mut Context<'_, '_>,
    ) -> anyhow::Result<Option<JoinHandle<()>>> {
        if let Some(warning) = self.access.warning() {
            context.note(format_args!("warning: {warning}"));
        }
        let Some(socket) = self.socket else { return Ok(None) };
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        context.note(format_args!("deployments at {scheme}://{}", socket.local_addr()?));
        let (router, stop) = (api.router(), stop.clone());
        Ok(Some(match self.tls {
            Some(tls) => tokio::spawn(serve_tls(socket, router, tls, stop)),
            None => tokio::spawn(serve(socket, router, stop)),
        }))
    }
}
