//! The loop from the store's feeds to the published table.
//!
//! A start with an answering store begins with the store's table: the image on disk gives it last good forms and what
//! was held, and is served by itself only if the store says nothing for [`STORE_WAIT`]. What the store lost since the
//! image was written counts as removed at once, so a wiped store is held over a restart, too. From then on every turn takes
//! all events that wait, compiles once, swaps, and hands the journal what it needs: no disk stands before a swap.

use super::confirm;
use super::image::{Applied, Confirmation, Environment, Image, Now, Record};
use super::journal::{Journal, JournalError};
use super::status::{Control, Shared};
use crate::model::{InForce, ObjectKey, Problem, Revision, Severity};
use crate::store::{Area, Change, Entry, Event, Feed, Store};
use crate::table::{self, Board, Topic};
use crate::telemetry::{PanicIn, Restarts};
use futures_util::FutureExt;
use std::collections::HashMap;
use std::fs::File;
use std::panic::AssertUnwindSafe;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout_at};
use tokio_util::sync::CancellationToken;

/// How long a start waits for the store before it serves from disk.
pub const STORE_WAIT: Duration = Duration::from_millis(500);
/// What of it is left for the first table at least, whatever came before.
const STORE_WAIT_MIN: Duration = Duration::from_millis(150);
/// Events that are compiled together at most, so that a flood of them does not put off the swap for ever.
const EVENTS_PER_SWAP_MAX: usize = 1024;
/// Commands that wait.
const COMMANDS_MAX: usize = 16;

/// What the control plane works with.
pub struct Parts {
    /// Where objects live.
    pub store: Arc<dyn Store>,
    /// Where tables are published.
    pub board: Arc<Board>,
    /// What reading objects needs.
    pub environment: Environment,
    /// Where the image is kept; `None`: a start without the store has nothing to serve.
    pub data_dir: Option<PathBuf>,
    /// Its lock, where the process before this one still writes there, until [`Control::wake_journal`].
    pub lock: Option<File>,
}

/// What a handle asks of the loop.
#[derive(Debug)]
pub(super) enum Command {
    Confirm(Confirmation),
    Reload,
}

/// The loop, ready to run. There is one for a board.
pub struct Publisher {
    shared: Arc<Shared>,
    commands: mpsc::Receiver<Command>,
    /// What the image on disk puts into the first table.
    restored: Option<Applied>,
    /// Until when a start waits for the store.
    patience: Instant,
}

/// What one turn came to.
#[derive(Default)]
struct Turn {
    changes: Vec<table::Change>,
    revision: Revision,
    hash: u64,
    records: Vec<(Revision, Vec<Record>)>,
    base_due: bool,
    synced: Option<Revision>,
    is_news: bool,
}

impl Publisher {
    /// Opens the data directory and restores the image in it.
    ///
    /// # Errors
    /// Another process has the data directory, or no thread could be started.
    pub fn open(parts: Parts) -> Result<(Self, Control), JournalError> {
        let Parts { store, board, environment, data_dir, lock } = parts;
        let opened = data_dir.map(|dir| Journal::open_with(&dir, lock)).transpose()?;
        let (journal, from_disk) =
            opened.map_or((None, None), |opened| (Some(opened.journal), opened.restored));
        let (image, restored) = match from_disk {
            Some(from_disk) => {
                let (image, applied) = Image::restore(environment, from_disk, Now::read());
                (image, Some(applied))
            }
            None => (Image::new(environment), None),
        };
        let (sender, commands) = mpsc::channel(COMMANDS_MAX);
        let shared = Arc::new(Shared::new(store, board, image, journal, sender));
        let patience = Instant::now() + STORE_WAIT;
        Ok((Self { shared: shared.clone(), commands, restored, patience }, Control::new(shared)))
    }

    /// Publishes tables until `stop`, then brings the image to the disk. The store may fail in any way meanwhile.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut restarts = Restarts::of(PanicIn::Watch);
        // What it holds is whole between two objects, and a new feed begins with everything there is.
        while AssertUnwindSafe(self.follow(&stop)).catch_unwind().await.is_err() {
            tokio::time::sleep(restarts.after_panic()).await;
        }
        self.shared.write_base();
        let shared = self.shared.clone();
        // Waits for a disk.
        let flushed = tokio::task::spawn_blocking(move || shared.flush_journal()).await;
        if !flushed.unwrap_or(false) {
            tracing::warn!("the image was not brought to the disk in time");
        }
    }

    async fn follow(&mut self, stop: &CancellationToken) {
        let mut routing = self.shared.store.follow(Area::Routing);
        let mut state = self.shared.store.follow(Area::State);
        tokio::select! {
            () = stop.cancelled() => return,
            () = self.start(&mut routing) => {}
        }
        let mut tick = interval(Duration::from_secs(1));
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut has_routing, mut has_state) = (true, true);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                event = routing.recv(), if has_routing => match event {
                    Some(event) => self.turn(event, &mut routing).await,
                    None => has_routing = self.on_feed_end(Area::Routing),
                },
                event = state.recv(), if has_state => match event {
                    Some(event) => self.on_state(&event).await,
                    None => has_state = self.on_feed_end(Area::State),
                },
                Some(command) = self.commands.recv() => self.on_command(command).await,
                _ = tick.tick() => self.shared.write_base(),
            }
        }
    }

    /// The first table: the store's if it answers in time, the one on disk otherwise.
    async fn start(&mut self, routing: &mut Feed) {
        // Who registered first has waited already.
        let deadline = self.patience.max(Instant::now() + STORE_WAIT_MIN);
        let mut from_store = Turn::default();
        while !from_store.is_news {
            let Ok(Some(event)) = timeout_at(deadline, routing.recv()).await else { break };
            from_store.append(self.collect(event, routing));
        }
        let mut turn = Turn::default();
        if let Some(restored) = self.restored.take() {
            if !from_store.is_news {
                tracing::warn!(revision = %restored.revision, "the store has not answered; serving the table on disk");
            }
            turn.add(restored);
        }
        turn.append(from_store);
        self.publish(turn, Instant::now()).await;
    }

    /// Takes an event and all that wait behind it.
    async fn turn(&mut self, first: Event, routing: &mut Feed) {
        let began = Instant::now();
        let turn = self.collect(first, routing);
        self.publish(turn, began).await;
    }

    fn collect(&self, first: Event, routing: &mut Feed) -> Turn {
        let mut turn = Turn::default();
        let mut image = self.shared.image();
        let mut next = Some(first);
        let mut taken = 0;
        while let Some(event) = next {
            self.take(&mut image, &event, &mut turn);
            taken += 1;
            next = if taken < EVENTS_PER_SWAP_MAX { routing.try_recv().ok() } else { None };
        }
        turn
    }

    fn take(&self, image: &mut Image, event: &Event, turn: &mut Turn) {
        PanicIn::Watch.trip();
        if let Event::Snapshot(snapshot) = event {
            self.look_at_twin(snapshot.entries.is_empty());
        }
        match event {
            Event::Snapshot(_) | Event::Batch(_) => {
                let applied = image.apply(event, Now::read());
                self.shared.note_answer(applied.revision);
                turn.synced = Some(applied.revision);
                turn.add(applied);
            }
            Event::InSync { revision } => {
                self.shared.note_answer(*revision);
                turn.synced = Some(*revision);
            }
            Event::Lost { reason } => self.shared.note_loss(Area::Routing, reason),
        }
    }

    /// Lists an empty prefix whose twin, with or without the leading slash, is not empty: a slip of the pen.
    fn look_at_twin(&self, is_empty: bool) {
        let (store, board) = (self.shared.store.clone(), self.shared.board.clone());
        let topic = Topic { key: String::new(), aspect: "twin prefix" };
        if !is_empty {
            return board.clear(&topic);
        }
        tokio::spawn(async move {
            // Where the store does not answer, its next snapshot asks again.
            if let Ok(Some(reason)) = store.twin_prefix().await {
                let revision = board.table().revision;
                let (severity, in_force) = (Severity::Error, InForce::This);
                let (key, field, since) = (String::new(), "prefix".to_owned(), SystemTime::now());
                board.report(topic, Problem { key, field, reason, severity, revision, since, in_force });
            }
        });
    }

    async fn on_state(&mut self, event: &Event) {
        let is_confirmation = |key: &str| key.starts_with(confirm::PREFIX);
        let entries: Vec<&Entry> = match event {
            Event::Snapshot(snapshot) => {
                snapshot.entries.iter().filter(|it| is_confirmation(&it.key)).collect()
            }
            Event::Batch(batch) => batch
                .changes
                .iter()
                .filter_map(|change| match change {
                    Change::Put(entry) => Some(entry),
                    Change::Delete { .. } => None,
                })
                .filter(|entry| is_confirmation(&entry.key))
                .collect(),
            Event::Lost { reason } => return self.shared.note_loss(Area::State, reason),
            Event::InSync { .. } => Vec::new(),
        };
        self.shared.note_state_answer();
        for entry in entries {
            match confirm::from_slice(&entry.value) {
                Ok(confirmation) => self.confirm(confirmation).await,
                Err(reason) => tracing::warn!(key = %entry.key, "{reason}"),
            }
        }
    }

    async fn on_command(&mut self, command: Command) {
        match command {
            Command::Confirm(confirmation) => self.confirm(confirmation).await,
            Command::Reload => {
                let (began, applied) = (Instant::now(), self.shared.image().reload(Now::read()));
                self.publish_if_changed(applied, began).await;
            }
        }
    }

    async fn confirm(&mut self, confirmation: Confirmation) {
        let (began, applied) = (Instant::now(), self.shared.image().confirm(confirmation, Now::read()));
        self.publish_if_changed(applied, began).await;
    }

    async fn publish_if_changed(&mut self, applied: Applied, began: Instant) {
        if !applied.changes.is_empty() || !applied.records.is_empty() {
            let mut turn = Turn::default();
            turn.add(applied);
            self.publish(turn, began).await;
        }
    }

    /// Compiles, swaps, and only then thinks of the disk.
    async fn publish(&mut self, turn: Turn, began: Instant) {
        if turn.is_news {
            let previous = self.shared.board.table();
            let next = table::compile(&previous, turn.revision, turn.hash, &turn.changes);
            drop(previous);
            self.shared.board.publish(next).await;
            self.shared.note_swap(turn.revision, began.elapsed());
        }
        if let Some(synced) = turn.synced {
            self.shared.note_synced(synced);
        }
        if turn.base_due {
            self.shared.skip_to_base();
        } else {
            turn.records.into_iter().for_each(|(revision, records)| self.shared.append(revision, records));
        }
        self.shared.write_base();
    }

    fn on_feed_end(&self, area: Area) -> bool {
        tracing::error!(?area, "the store has stopped telling of changes");
        self.shared.note_loss(area, "it has stopped telling of changes; only a restart helps");
        false
    }
}

impl Turn {
    fn add(&mut self, applied: Applied) {
        let Applied { revision, changes, hash, records, base_due } = applied;
        self.base_due |= base_due;
        self.merge(changes);
        (self.revision, self.hash, self.is_news) = (revision, hash, true);
        self.records.push((revision, records));
    }

    fn append(&mut self, later: Self) {
        if later.is_news {
            self.merge(later.changes);
            self.base_due |= later.base_due;
            (self.revision, self.hash, self.is_news) = (later.revision, later.hash, true);
            self.records.extend(later.records);
        }
        self.synced = later.synced.or(self.synced);
    }

    /// Of each object the last change alone.
    fn merge(&mut self, later: Vec<table::Change>) {
        if self.changes.is_empty() {
            self.changes = later;
            return;
        }
        let mut places: HashMap<ObjectKey, usize> =
            self.changes.iter().enumerate().map(|(place, change)| (key_of(change), place)).collect();
        for change in later {
            let key = key_of(&change);
            match places.get(&key).and_then(|place| self.changes.get_mut(*place)) {
                Some(earlier) => *earlier = change,
                None => {
                    places.insert(key, self.changes.len());
                    self.changes.push(change);
                }
            }
        }
    }
}

fn key_of(change: &table::Change) -> ObjectKey {
    use table::Change;
    match change {
        Change::Listener(id, _) => ObjectKey::Listener(id.clone()),
        Change::Host(name, _) => ObjectKey::Host(name.clone()),
        Change::Frontend(id, _) => ObjectKey::Frontend(id.clone()),
        Change::OwnMiddleware(of, id, _) => ObjectKey::OwnMiddleware(of.clone(), id.clone()),
        Change::SharedMiddleware(id, _) => ObjectKey::SharedMiddleware(id.clone()),
        Change::Backend(id, _) => ObjectKey::Backend(id.clone()),
        Change::Server(of, id, _) => ObjectKey::Server(of.clone(), id.clone()),
    }
}
