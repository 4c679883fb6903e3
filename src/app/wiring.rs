//! Board, workers and publisher, put together for the program and for embedders alike.

use super::StartError;
use super::handover::Legacy;
use crate::control::image::Environment;
use crate::control::membership::{Identity, Membership};
use crate::control::{Control, Parts, Publisher, check_servers};
use crate::model::{Listener, ListenerId, RouteOrder};
use crate::proxy::{Estate, Inherited, Override, Proxy, Settings};
use crate::store::Store;
use crate::table::Board;
use crate::telemetry::AccessLog;
use crate::tls::{SealKeys, TicketRings};
use crate::upstream::StickyKey;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// What is to run.
pub(super) struct Plan {
    pub store: Arc<dyn Store>,
    pub seal_keys: SealKeys,
    pub secrets_dir: Option<PathBuf>,
    pub data_dir: Option<PathBuf>,
    pub workers: usize,
    pub route_order: RouteOrder,
    pub settings: Settings,
    pub overrides: BTreeMap<ListenerId, Override>,
    pub identity: Identity,
    /// Listeners that no store holds.
    pub extra_listeners: Vec<Listener>,
    /// What the process before this one has left.
    pub legacy: Legacy,
}

/// What runs.
pub(super) struct Wired {
    pub control: Control,
    pub proxy: Proxy,
    pub stop: CancellationToken,
    pub publisher: tokio::task::JoinHandle<()>,
    pub member: Member,
}

/// This process in the fleet.
pub(super) struct Member {
    /// True: it says that it is ending.
    pub lame: watch::Sender<bool>,
    /// Cancelled when the process has been cut off from its store for too long.
    pub isolated: CancellationToken,
    pub task: tokio::task::JoinHandle<()>,
}

/// Registers, then starts: what is accepted is served by a table at least as new as the registration, if the store
/// answers in time.
pub(super) async fn start(plan: Plan, access_log: &AccessLog) -> Result<Wired, StartError> {
    let (board, inboxes) = Board::with_order(plan.workers, plan.route_order);
    let Legacy { secret, sockets, lock, least, .. } = plan.legacy;
    // Proxies that share a seal key know each other's cookies.
    let sticky_key = match plan.seal_keys.derive(b"flipgate sticky cookies") {
        Some(secret) => StickyKey::derived(&secret),
        None => StickyKey::derived(secret.as_slice()),
    };
    let (tickets, inherited) = (TicketRings::derived(secret), Inherited::new(sockets));
    let environment = Environment {
        seal_keys: plan.seal_keys,
        secrets_dir: plan.secrets_dir,
        trace_dir: plan.settings.trace_dir.clone(),
    };
    let parts =
        Parts { store: plan.store.clone(), board: board.clone(), environment, data_dir: plan.data_dir, lock };
    let (publisher, control) = Publisher::open(parts).map_err(StartError::Data)?;
    let membership = Membership::register(plan.store, plan.identity).await;
    let proxy = Proxy::start(
        board.clone(),
        inboxes,
        plan.settings,
        plan.overrides,
        plan.extra_listeners,
        Estate { sticky_key, tickets, inherited, least },
        access_log,
    )
    .map_err(|error| StartError::Io { setting: "--workers".to_owned(), error })?;
    let stop = CancellationToken::new();
    let publisher = tokio::spawn(publisher.run(stop.clone()));
    // Ends by the token; nobody waits for it.
    drop(tokio::spawn(check_servers(board, stop.clone())));
    let (lame, isolated) = (watch::Sender::new(false), CancellationToken::new());
    let task = membership.run(control.clone(), lame.subscribe(), isolated.clone(), stop.clone());
    let member = Member { lame, isolated, task: tokio::spawn(task) };
    Ok(Wired { control, proxy, stop, publisher, member })
}
