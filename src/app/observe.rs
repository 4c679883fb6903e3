//! The admin servers: their sockets, and what they are told of the running process.

use super::handover::Legacy;
use super::{Running, StartError};
use crate::admin::{self, Access, Admin, Live, Parts};
use crate::config::Config;
use crate::store::Store;
use crate::telemetry::{FrontendLabels, Scrape};
use crate::tls::SealKeys;
use socket2::SockRef;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpListener;

/// The admin servers' sockets, before there is anything to tell.
pub(super) struct Sockets {
    admin: Option<(TcpListener, Arc<Access>)>,
    health: Option<TcpListener>,
}

/// Binds what the configuration names.
pub(super) async fn bind(config: &Config, legacy: &mut Legacy) -> Result<Sockets, StartError> {
    let admin = match config.admin.address {
        Some(address) => {
            let settings = &config.admin;
            let (file, trusted) = (settings.token_file.clone(), settings.trusted.clone());
            let access =
                Access::new(address, file, trusted, settings.hosts.clone()).map_err(StartError::Admin)?;
            Some((listen("--admin", address, legacy.admin.take()).await?, Arc::new(access)))
        }
        None => None,
    };
    let health = match config.health {
        Some(address) => Some(listen("--health", address, legacy.health.take()).await?),
        None => None,
    };
    Ok(Sockets { admin, health })
}

/// The socket that the process before this one had for the same address, or a new one.
async fn listen(
    flag: &str,
    address: SocketAddr,
    inherited: Option<(SocketAddr, std::net::TcpListener)>,
) -> Result<TcpListener, StartError> {
    let failed = |error| StartError::Io { setting: format!("{flag} {address}"), error };
    match inherited {
        Some((asked, socket)) if asked == address => {
            socket.set_nonblocking(true).and_then(|()| TcpListener::from_std(socket)).map_err(failed)
        }
        _ => TcpListener::bind(address).await.map_err(failed),
    }
}

/// Once more, for the process that takes over.
fn keep(running: &mut Running, place: usize, asked: Option<SocketAddr>, socket: &TcpListener) {
    let kept = SockRef::from(socket).try_clone();
    // Without, the next process binds anew, which fails, and says so.
    if let (Some(asked), Ok(kept)) = (asked, kept) {
        running.sockets.push((place, asked, kept.into()));
    }
}

/// Answers once the process before this one does not any more.
fn answer(running: &Running, socket: TcpListener, router: axum::Router) {
    let (may_answer, stop) = (running.may_answer.clone(), running.stop_admin.clone());
    tokio::spawn(async move {
        may_answer.cancelled().await;
        admin::serve(socket, router, stop).await;
    });
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
            let (prefix, stop) = (config.statsd_prefix.clone(), running.stop_admin.clone());
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
            keep(&mut running, Running::ADMIN, config.admin.address, &socket);
            answer(&running, socket, Admin::new(parts(access)).api());
        }
        if let Some(socket) = health {
            running.health = socket.local_addr().ok();
            let router =
                match Access::new(SocketAddr::from(([127, 0, 0, 1], 0)), None, Vec::new(), Vec::new()) {
                    Ok(nobody) => Admin::new(parts(Arc::new(nobody))).health(),
                    // Loopback without tokens is never refused.
                    Err(_) => return running,
                };
            keep(&mut running, Running::HEALTH, config.health, &socket);
            answer(&running, socket, router);
        }
        running.access = access;
        running
    }
}
