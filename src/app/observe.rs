//! The admin servers, and the running process as they see it.

use super::{Running, StartError, warning};
use crate::admin::{
    self, Access, Admin, ConfirmError, ListenerView, Parts, RouteView, Routes, ServerView, State,
};
use crate::config::Config;
use crate::control::{Control, confirm, image};
use crate::model::{FrontendId, ListenAddress, Problem, Revision, ServerState};
use crate::proxy::Observer;
use crate::store::{Area, LeaseChoice, Operation, Store, Transaction};
use crate::table::Topic;
use crate::telemetry::{FrontendLabels, Scrape};
use crate::tls::SealKeys;
use futures_util::future::BoxFuture;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::net::TcpListener;
use tokio::sync::watch;

/// Longest wait for one revision; the API bounds it further.
const SERVED_WAIT_MAX: Duration = Duration::from_secs(3600);

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
            let access = Access::new(address, file, trusted, settings.hosts.clone())?;
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
    pub fn serve(
        self,
        mut running: Running,
        config: &Config,
        store: Arc<dyn Store>,
        seal: Arc<SealKeys>,
    ) -> Running {
        let seen = Arc::new(Seen {
            control: running.control.clone(),
            proxy: running.proxy.observer(),
            lame: running.lame.subscribe(),
            dropped_lines: running.access_log.dropped_counter(),
            by: format!("admin API of process {}", std::process::id()),
        });
        let Sockets { admin, health } = self;
        let access = admin.as_ref().map(|(_, access)| access.clone());
        if let Some(reason) = access.as_ref().and_then(|access| access.warning()) {
            let topic = Topic { key: String::new(), aspect: "admin access" };
            running.control.board().report(topic, warning(reason));
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

/// The running process, as the API sees it.
struct Seen {
    control: Control,
    proxy: Observer,
    lame: watch::Receiver<bool>,
    dropped_lines: crate::telemetry::access_log::DroppedLines,
    by: String,
}

impl admin::Running for Seen {
    fn state(&self) -> State {
        let status = self.control.status();
        let not_ready = if *self.lame.borrow() {
            Some("the process is shutting down".to_owned())
        } else if !status.ready {
            Some("no table is served yet".to_owned())
        } else {
            None
        };
        let listeners = self.proxy.bound().addresses().into_iter().map(|(id, address)| ListenerView {
            id: id.to_string(),
            address: match address {
                ListenAddress::Tcp(address) => address.to_string(),
                ListenAddress::Unix(path) => format!("unix:{}", path.display()),
            },
        });
        State {
            revision: status.revision,
            hash: status.hash,
            store_revision: status.store_revision,
            connected: status.connected,
            since: status.since,
            reason: status.reason,
            not_ready,
            stale: status.stale,
            held: status.held,
            workers: self.control.board().workers(),
            errors: status.problems.errors,
            warnings: status.problems.warnings,
            listeners: listeners.collect(),
        }
    }

    fn served(&self, revision: Revision) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            if !self.control.wait_for(revision, SERVED_WAIT_MAX).await {
                std::future::pending::<()>().await;
            }
        })
    }

    fn routes(&self, host: Option<&str>, frontend: Option<&FrontendId>, limit: usize) -> Routes {
        let table = self.control.board().table();
        let (listed, truncated) = table.listed_routes(host, frontend, limit);
        let routes = listed.into_iter().map(|route| RouteView {
            rank: route.rank,
            frontend: route.frontend.to_string(),
            route: route.route,
            priority: route.priority,
            backend: route.backend.to_string(),
            resolved: route.resolved.map(|id| id.to_string()),
            servers: route.servers.into_iter().map(server_view).collect(),
        });
        Routes { revision: table.revision, routes: routes.collect(), truncated }
    }

    fn problems(&self) -> Vec<Problem> {
        self.control.problems().1
    }

    fn confirm(&self) -> BoxFuture<'_, Result<usize, ConfirmError>> {
        Box::pin(async move {
            let status = self.control.status();
            let confirmation = image::Confirmation { revision: status.store_revision, at: SystemTime::now() };
            let put = Operation::Put {
                area: Area::State,
                key: confirm::KEY.into(),
                value: confirm::to_value(&confirmation, &self.by).to_string().into(),
                lease: LeaseChoice::Keep,
            };
            self.control.store().commit(Transaction { expect: Vec::new(), operations: vec![put] }).await?;
            Ok(status.held)
        })
    }

    fn scrape(&self, scrape: &mut Scrape, labels: &mut FrontendLabels) {
        let table = self.control.board().table();
        labels.retain(|id| FrontendId::try_from(id).is_ok_and(|id| table.frontend(&id).is_some()));
        for frontend in table.frontends() {
            scrape.frontend(frontend.object.id.as_str(), &frontend.counters, labels);
        }
        scrape.frontend("", self.proxy.unmatched(), labels);
        for backend in table.backends() {
            scrape.backend(backend.id.as_str(), backend.counters(), backend.in_flight().into());
        }
        self.proxy.bound().for_each_counters(|id, counters| scrape.listener(id.as_str(), counters));
        scrape.refused(self.proxy.refused());
        let now = SystemTime::now();
        for (host, certificate) in table.hosts() {
            if let Some(certificate) = certificate {
                scrape.certificate(host.name.as_str(), certificate.seconds_left(now));
            }
        }
        let status = self.control.status();
        scrape.table_revision(status.revision.0);
        scrape.swaps(status.swaps.count, status.swaps.total);
        scrape.store(status.connected, status.in_sync_age);
        scrape.problems(status.problems.errors as u64, status.problems.warnings as u64);
        scrape.access_log_dropped(self.dropped_lines.get());
    }
}

fn server_view(server: crate::table::ListedServer) -> ServerView {
    ServerView {
        id: server.id.to_string(),
        url: server.url,
        state: match server.state {
            ServerState::Active => "active",
            ServerState::Draining => "draining",
            ServerState::Disabled => "disabled",
        }
        .to_owned(),
        healthy: server.healthy,
        in_flight: server.in_flight.into(),
    }
}
