//! Board, workers and publisher, put together for the program and for embedders alike.

use super::StartError;
use crate::control::image::Environment;
use crate::control::{Control, Parts, Publisher, check_servers};
use crate::model::{Listener, ListenerId};
use crate::proxy::{Override, Proxy, Settings};
use crate::store::Store;
use crate::table::Board;
use crate::telemetry::AccessLog;
use crate::tls::SealKeys;
use crate::upstream::StickyKey;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// What is to run.
pub(super) struct Plan {
    pub store: Arc<dyn Store>,
    pub seal_keys: SealKeys,
    pub secrets_dir: Option<PathBuf>,
    pub data_dir: Option<PathBuf>,
    pub workers: usize,
    pub settings: Settings,
    pub overrides: BTreeMap<ListenerId, Override>,
    /// Listeners that no store holds.
    pub extra_listeners: Vec<Listener>,
}

/// What runs.
pub(super) struct Wired {
    pub control: Control,
    pub proxy: Proxy,
    pub stop: CancellationToken,
    pub publisher: tokio::task::JoinHandle<()>,
}

pub(super) fn start(plan: Plan, access_log: &AccessLog) -> Result<Wired, StartError> {
    let (board, inboxes) = Board::new(plan.workers);
    // Proxies that share a seal key know each other's cookies.
    let sticky_key = match plan.seal_keys.derive(b"flipgate sticky cookies") {
        Some(secret) => StickyKey::derived(&secret),
        None => StickyKey::random(),
    };
    let environment = Environment { seal_keys: plan.seal_keys, secrets_dir: plan.secrets_dir };
    let parts = Parts { store: plan.store, board: board.clone(), environment, data_dir: plan.data_dir };
    let (publisher, control) = Publisher::open(parts).map_err(StartError::Data)?;
    let proxy = Proxy::start(
        board.clone(),
        inboxes,
        plan.settings,
        plan.overrides,
        plan.extra_listeners,
        sticky_key,
        access_log,
    )
    .map_err(|error| StartError::Io { setting: "--workers".to_owned(), error })?;
    let stop = CancellationToken::new();
    let publisher = tokio::spawn(publisher.run(stop.clone()));
    // Ends by the token; nobody waits for it.
    drop(tokio::spawn(check_servers(board, stop.clone())));
    Ok(Wired { control, proxy, stop, publisher })
}
