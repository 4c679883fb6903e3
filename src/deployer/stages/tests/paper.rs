//! A proxy of paper: it writes what a member would, from what stands in the store.

use crate::flip::record::{
    ALIVE, Alive, BackendView, FLIPS, Flip, FlipView, MEMBERS, Phase, WATCH, Warmth, write,
};
use crate::store::memory::MemoryStore;
use crate::store::{Area, LeaseChoice, Operation, Store, Transaction};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;
use tokio_util::task::AbortOnDropHandle;

/// A proxy that does what these say.
#[derive(Default)]
pub(super) struct Paper {
    /// Requests open on backends that nothing names.
    pub open: AtomicU64,
    /// Servers that are well, of two.
    pub well: AtomicU32,
    /// It takes in nothing.
    pub stuck: AtomicBool,
}

/// Begins to write; ends with what is returned.
pub(super) fn start(memory: &MemoryStore) -> (Arc<Paper>, AbortOnDropHandle<()>) {
    let paper = Arc::new(Paper { well: AtomicU32::new(2), ..Paper::default() });
    let (own, memory) = (paper.clone(), memory.clone());
    memory.put(Area::State, &format!("{MEMBERS}gate-1"), "{}").unwrap();
    let handle = tokio::spawn(async move {
        loop {
            tell(&own, &memory).await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
    (paper, AbortOnDropHandle::new(handle))
}

async fn tell(paper: &Paper, memory: &MemoryStore) {
    if paper.stuck.load(Ordering::Relaxed) {
        return;
    }
    let revision = memory.revision().0;
    let state = memory.snapshot(Area::State).entries;
    let flips: Vec<Flip> = state
        .iter()
        .filter(|entry| entry.key.starts_with(FLIPS))
        .map(|entry| serde_json::from_slice(&entry.value).unwrap())
        .collect();
    let watched = state.iter().filter_map(|entry| entry.key.strip_prefix(WATCH)?.split('/').next());
    let mut ids: BTreeSet<&str> = watched.collect();
    for flip in &flips {
        ids.extend(flip.old_side().into_iter().chain(flip.new_side()));
    }
    let backends = ids.into_iter().map(|id| (id.to_owned(), view(paper, memory, id))).collect();
    let flips = flips.iter().map(|flip| (flip.id.clone(), readiness(paper, flip))).collect();
    let alive = Alive { served: revision, quiet: revision, backends, flips, ..Alive::default() };
    let put = Operation::Put {
        area: Area::State,
        key: format!("{ALIVE}gate-1/1").into(),
        value: write(&alive),
        lease: LeaseChoice::Ttl(Duration::from_secs(10)),
    };
    memory.commit(Transaction { expect: Vec::new(), operations: vec![put] }).await.unwrap();
}

fn view(paper: &Paper, memory: &MemoryStore, id: &str) -> BackendView {
    let routing = memory.snapshot(Area::Routing).entries;
    let leads = |entry: &crate::store::Entry| {
        let value: Value = serde_json::from_slice(&entry.value).unwrap_or_default();
        value["Target"] == id || value["BackendId"] == id
    };
    let named = routing.iter().any(leads);
    let in_flight = if named { 0 } else { paper.open.load(Ordering::Relaxed) };
    BackendView { active: 2, well: 2, named, free: !named, in_flight, ..BackendView::default() }
}

fn readiness(paper: &Paper, flip: &Flip) -> FlipView {
    if flip.phase == Phase::Committed {
        return FlipView::default();
    }
    let warmth = Warmth { active: 2, well: paper.well.load(Ordering::Relaxed), unwell: BTreeMap::new() };
    let prepared = flip.new_side().into_iter().map(|id| (id.to_owned(), warmth.clone())).collect();
    FlipView { prepared, ..FlipView::default() }
}
