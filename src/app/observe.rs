//! The admin servers: their sockets, and what they are told of the running process.

use super::{Running, StartError};
use crate::admin::{self, Access, Admin, Live, Parts};
use crate::config::Config;
use crate::store::Store;
use crate::telemetry::{FrontendLabels, Scrape};
use crate::tls::SealKeys;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpListener;

/// The admin servers' sockets, before there is anything to tell.
pub(super) struct Sockets {
    admin: Option<(TcpListener, Arc<Access>)>,
    health: Option<TcpListener>,
}

/// Binds what the configuration names.
pub(super) async fn bind(config: &Config) -> Result<Sockets, StartError> {
    let admin = match config.admin.address {
        Some(address) => {
            let settings = &config.admin;
            let (file, trusted) = (settings.token_file.clone(), settings.trusted.clone());
            let access =
                Access::new(address, file, trusted, settings.hosts.clone()).map_err(StartError::Admin)?;
            Some((listen("--admin", address).await?, Arc::new(access)))
        }
        None => None,
    };
    let health = match config.health {
        Some(address) => Some(listen("--health", address).await?),
        None => None,
    };
    Ok(Sockets { admin, health })
}

async fn listen(flag: &str, address: SocketAddr) -> Result<TcpListener, StartError> {
    let failed = |error| StartError::Io { setting: format!("{flag} {address}"), error };
    TcpListener::bind(address).await.map_err(failed)
}

impl Sockets {
    /// Begins to answer for `running`.
    pub(super) fn serve(
        self,
        mut running: Running,
        config: &Config,
        store: Arc<dyn Store>,
        seal: Arc<SealKeys>,
    ) -> Running {
        let proxy = running.proxy.observer();
        let dropped = running.access_log.dropped_counter();
        let more = Box::new(move |scrape: &mut Scrape, labels: &mut FrontendLabels| {
            scrape.frontend("", proxy.unmatched(), labels);
            scrape.refused(proxy.refused());
            scrape.access_log_dropped(dropped.get());
            scrape.mirror_dropped(proxy.mirror_dropped());
            scrape.trace_dropped(proxy.trace_dropped());
        });
        let live =
            Live::new(running.control.clone(), running.bound.clone(), running.member.lame.subscribe(), more);
        let Sockets { admin, health } = self;
        let access = admin.as_ref().map(|(_, access)| access.clone());
        if let Some(access) = &access {
            live.report_access(access);
        }
        let seen = Arc::new(live);
        if let Some(address) = config.statsd.clone() {
            let (prefix, stop) = (config.statsd_prefix.clone(), running.stop.clone());
            tokio::spawn(admin::report(address, prefix, seen.clone(), stop));
        }
        let parts = |access: Arc<Access>| Parts {
            store: store.clone(),
            running: seen.clone(),
            access,
            seal: seal.clone(),
            secrets_dir: config.secrets_dir.clone(),
        };
        if let Some((socket, access)) = admin {
            running.admin = socket.local_addr().ok();
            tokio::spawn(admin::serve(socket, Admin::new(parts(access)).api(), running.stop.clone()));
        }
        if let Some(socket) = health {
            running.health = socket.local_addr().ok();
            let router =
                match Access::new(SocketAddr::from(([127, 0, 0, 1], 0)), None, Vec::new(), Vec::new()) {
                    Ok(nobody) => Admin::new(parts(Arc::new(nobody))).health(),
                    // Loopback without tokens is never refused.
                    Err(_) => return running,
                };
            tokio::spawn(admin::serve(socket, router, running.stop.clone()));
        }
        running.access = access;
        running
    }
}
