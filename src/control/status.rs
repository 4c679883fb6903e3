//! What the control plane shows of itself, and the few things that can be asked of it.

use super::image::{Confirmation, Counts, Image, Listing, Now, PROBLEMS_MAX, Record, View};
use super::journal::Journal;
use super::publisher::Command;
use crate::model::{BackendId, InForce, ObjectKey, Problem, Revision, Severity};
use crate::store::{Area, Store};
use crate::table::Board;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

/// How long the disk gets.
const JOURNAL_PATIENCE: Duration = Duration::from_secs(2);

/// A handle of the control plane, for the API and the program around it.
#[derive(Clone)]
pub struct Control {
    shared: Arc<Shared>,
}

/// How things stand.
#[derive(Debug, Clone, PartialEq)]
pub struct Status {
    /// Every worker serves a table of this revision or later.
    pub revision: Revision,
    /// The store's revision as last seen.
    pub store_revision: Revision,
    /// `etcd`, `directory` or `memory`.
    pub store_kind: &'static str,
    /// Where the store is, without secrets.
    pub store_location: String,
    /// The store answers.
    pub connected: bool,
    /// Since when it does or does not.
    pub since: SystemTime,
    /// Why it does not.
    pub reason: Option<String>,
    /// Since the store last said that nothing was missed; `None`: it never has.
    pub in_sync_age: Option<Duration>,
    /// Every worker serves a first table.
    pub ready: bool,
    /// The table may be older than the store's.
    pub stale: bool,
    /// Objects whose removal waits to be confirmed.
    pub held: usize,
    /// Of everything in force.
    pub hash: u64,
    /// How many problems there are.
    pub problems: Counts,
    /// How long swaps take.
    pub swaps: Swaps,
}

/// How long swaps take, from the first event of a turn to the swap.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Swaps {
    /// How many there were.
    pub count: u64,
    /// All together.
    pub total: Duration,
    /// The last one.
    pub last: Duration,
    /// The longest one.
    pub longest: Duration,
}

/// What loop and handles share. Locks are held for as long as it takes to look or to apply one turn.
pub(super) struct Shared {
    pub(super) store: Arc<dyn Store>,
    pub(super) board: Arc<Board>,
    image: Mutex<Image>,
    journal: Option<Journal>,
    link: Mutex<Link>,
    progress: watch::Sender<Progress>,
    swaps: Mutex<Swaps>,
    commands: mpsc::Sender<Command>,
}

/// How the store answers.
#[derive(Debug, Clone)]
struct Link {
    connected: bool,
    since: SystemTime,
    reason: Option<String>,
    revision: Revision,
    in_sync_at: Option<Instant>,
    /// Why the state area cannot be followed, and since when.
    state_loss: Option<(String, SystemTime)>,
}

/// How far publishing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Progress {
    /// Of the last table.
    published: Option<Revision>,
    /// Everything up to here is in the last table.
    synced: Revision,
}

impl Control {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Leaves the image on the disk to the process that takes over. Waits for a disk.
    pub fn sleep_journal(&self) {
        if let Some(journal) = &self.shared.journal {
            journal.sleep(JOURNAL_PATIENCE);
        }
    }

    /// Writes the image from now on: the process before this one has stopped to.
    pub fn wake_journal(&self) {
        if let Some(journal) = &self.shared.journal {
            journal.wake();
        }
    }

    /// Brings the image to the disk; false: that took too long. Waits for a disk.
    pub fn flush_journal(&self) -> bool {
        self.shared.flush_journal()
    }

    /// The data directory's lock once more.
    pub fn data_lock(&self) -> std::io::Result<Option<std::fs::File>> {
        self.shared.journal.as_ref().map_or(Ok(None), Journal::lock)
    }

    /// How things stand.
    pub fn status(&self) -> Status {
        let shared = &self.shared;
        let link = lock(&shared.link).clone();
        // A guard of the marks that lives while they are asked for again can wait for itself.
        let served = shared.board.marks().borrow().served;
        let (held, hash) = {
            let image = shared.image();
            (image.held(), image.hash())
        };
        Status {
            revision: served,
            store_revision: link.revision,
            store_kind: shared.store.kind(),
            store_location: shared.store.location(),
            connected: link.connected,
            since: link.since,
            reason: link.reason,
            in_sync_age: link.in_sync_at.map(|at| at.elapsed()),
            ready: self.ready(),
            stale: !link.connected,
            held,
            hash,
            problems: self.problem_counts(),
            swaps: *lock(&shared.swaps),
        }
    }

    /// The revision that is published, and what is wrong: with the store and the disk first, then with what only
    /// running shows, then with objects, errors before warnings. At most [`PROBLEMS_MAX`].
    pub fn problems(&self) -> (Revision, Vec<Problem>) {
        let revision = self.shared.progress.borrow().published.unwrap_or_default();
        let mut problems = self.shared.own_problems();
        problems.extend(self.shared.board.problems());
        let Listing { problems: of_objects, .. } = self.shared.image().problems(Now::read());
        problems.extend(of_objects);
        problems.sort_by_key(|problem| problem.severity == Severity::Warning);
        problems.truncate(PROBLEMS_MAX);
        (revision, problems)
    }

    /// How many problems there are, listed or not.
    pub fn problem_counts(&self) -> Counts {
        let mut counts = self.shared.image().counts(Now::read());
        for problem in self.shared.own_problems().iter().chain(&self.shared.board.problems()) {
            match problem.severity {
                Severity::Error => counts.errors += 1,
                Severity::Warning => counts.warnings += 1,
            }
        }
        counts
    }

    /// Waits until every worker serves a table that holds everything up to `revision`; false: not within `timeout`.
    pub async fn wait_for(&self, revision: Revision, timeout: Duration) -> bool {
        let (mut marks, mut progress) = (self.shared.board.marks(), self.shared.progress.subscribe());
        let waiting = async {
            loop {
                let (mark, now) = (*marks.borrow_and_update(), *progress.borrow_and_update());
                let is_synced = now.synced >= revision && now.published.is_some_and(|it| mark.served >= it);
                if mark.generation > 0 && (mark.served >= revision || is_synced) {
                    return true;
                }
                let is_over = tokio::select! {
                    changed = marks.changed() => changed.is_err(),
                    changed = progress.changed() => changed.is_err(),
                };
                if is_over {
                    return false;
                }
            }
        };
        tokio::time::timeout(timeout, waiting).await.unwrap_or(false)
    }

    /// Every worker serves a first table.
    pub fn ready(&self) -> bool {
        self.shared.board.marks().borrow().generation > 0
    }

    /// Waits until [`Control::ready`]; false: not within `timeout`.
    pub async fn wait_ready(&self, timeout: Duration) -> bool {
        let mut marks = self.shared.board.marks();
        let ready = marks.wait_for(|marks| marks.generation > 0);
        matches!(tokio::time::timeout(timeout, ready).await, Ok(Ok(_)))
    }

    /// Releases, in this process alone, what removals up to `revision` hold. False: the control plane has ended.
    pub async fn confirm_local(&self, revision: Revision) -> bool {
        let confirmation = Confirmation { revision, at: SystemTime::now() };
        self.shared.commands.send(Command::Confirm(confirmation)).await.is_ok()
    }

    /// Reads files named by hosts again. False: the control plane has ended.
    pub async fn reload(&self) -> bool {
        self.shared.commands.send(Command::Reload).await.is_ok()
    }

    /// Whether a frontend or alias in force names this backend.
    pub fn is_named(&self, backend: &BackendId) -> bool {
        self.shared.image().is_named(backend)
    }

    /// Whether a frontend or alias in force names this backend, and the revision of which that is said.
    pub(super) fn naming(&self, backend: &BackendId) -> (bool, Revision) {
        let image = self.shared.image();
        (image.is_named(backend), image.revision())
    }

    /// Up to where every worker serves everything, and up to where no request of an older table can still begin.
    pub(super) fn served_and_quiet(&self) -> (Revision, Revision) {
        let progress = *self.shared.progress.borrow();
        let marks = *self.shared.board.marks().borrow();
        let up_to = |mark: Revision| match progress.published {
            Some(published) if mark >= published && marks.generation > 0 => mark.max(progress.synced),
            _ => mark,
        };
        (up_to(marks.served), up_to(marks.quiet))
    }

    /// Wakes when more of the store is in the last table.
    pub(super) fn synced(&self) -> watch::Receiver<impl Sized + use<>> {
        self.shared.progress.subscribe()
    }

    /// Everything up to it is in the last table.
    pub(super) fn synced_revision(&self) -> Revision {
        self.shared.progress.borrow().synced
    }

    /// One object, as stored and as in force.
    pub fn object(&self, key: &ObjectKey) -> Option<View> {
        self.shared.image().object(key)
    }

    /// At most `max` objects in key order, after `after`.
    pub fn objects(&self, after: Option<&ObjectKey>, max: usize) -> Vec<(ObjectKey, View)> {
        self.shared.image().objects(after, max)
    }

    /// The board that tables are published on.
    pub fn board(&self) -> &Arc<Board> {
        &self.shared.board
    }

    /// The store that is followed.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.shared.store
    }
}

impl Shared {
    pub(super) fn new(
        store: Arc<dyn Store>,
        board: Arc<Board>,
        image: Image,
        journal: Option<Journal>,
        commands: mpsc::Sender<Command>,
    ) -> Self {
        let link = Link {
            connected: false,
            since: SystemTime::now(),
            reason: Some("it has not answered yet".into()),
            revision: image.revision(),
            in_sync_at: None,
            state_loss: None,
        };
        Self {
            store,
            board,
            image: Mutex::new(image),
            journal,
            link: Mutex::new(link),
            progress: watch::Sender::new(Progress::default()),
            swaps: Mutex::default(),
            commands,
        }
    }

    pub(super) fn image(&self) -> MutexGuard<'_, Image> {
        lock(&self.image)
    }

    /// Something came from the store.
    pub(super) fn note_answer(&self, revision: Revision) {
        let mut link = lock(&self.link);
        if !link.connected {
            tracing::info!(%revision, "the store answers");
            (link.connected, link.since, link.reason) = (true, SystemTime::now(), None);
        }
        link.revision = revision;
        link.in_sync_at = Some(Instant::now());
    }

    pub(super) fn note_loss(&self, area: Area, reason: &str) {
        let mut link = lock(&self.link);
        let now = SystemTime::now();
        if area == Area::State {
            link.state_loss = Some((reason.to_owned(), now));
            return;
        }
        tracing::warn!(reason, "the store does not answer; the table stays as it is");
        if link.connected {
            link.since = now;
        }
        (link.connected, link.reason) = (false, Some(reason.to_owned()));
    }

    pub(super) fn note_state_answer(&self) {
        lock(&self.link).state_loss = None;
    }

    pub(super) fn note_swap(&self, revision: Revision, took: Duration) {
        self.progress.send_modify(|progress| progress.published = Some(revision));
        let mut swaps = lock(&self.swaps);
        swaps.count += 1;
        swaps.total += took;
        swaps.last = took;
        swaps.longest = swaps.longest.max(took);
    }

    pub(super) fn note_synced(&self, revision: Revision) {
        self.progress.send_if_modified(|progress| {
            let is_news = progress.synced != revision;
            progress.synced = revision;
            is_news
        });
    }

    pub(super) fn append(&self, revision: Revision, records: Vec<Record>) {
        if let Some(journal) = &self.journal {
            journal.append(revision, records);
        }
    }

    pub(super) fn skip_to_base(&self) {
        if let Some(journal) = &self.journal {
            journal.skip();
        }
    }

    /// Gives the journal a new base where it wants one. An image that has seen neither disk nor store is none.
    pub(super) fn write_base(&self) {
        if self.progress.borrow().published.is_none() {
            return;
        }
        let Some(journal) = self.journal.as_ref().filter(|journal| journal.wants_base()) else { return };
        let (revision, records) = {
            let image = self.image();
            (image.revision(), image.records())
        };
        journal.base(revision, records);
    }

    /// False: it took too long.
    pub(super) fn flush_journal(&self) -> bool {
        self.journal.as_ref().is_none_or(|journal| journal.flush(JOURNAL_PATIENCE))
    }

    /// What is wrong with the store as a whole and with the disk.
    fn own_problems(&self) -> Vec<Problem> {
        let revision = self.progress.borrow().published.unwrap_or_default();
        let problem = |reason: String, severity, since| Problem {
            key: String::new(),
            field: String::new(),
            reason,
            severity,
            revision,
            since,
            in_force: InForce::This,
        };
        let mut problems = Vec::new();
        let link = lock(&self.link).clone();
        if let Some(reason) = link.reason.filter(|_| !link.connected) {
            let reason = format!("the store does not answer, and the table stays as it is: {reason}");
            problems.push(problem(reason, Severity::Error, link.since));
        }
        if let Some((reason, since)) = link.state_loss {
            let reason =
                format!("the state area cannot be followed, so confirmations are not seen: {reason}");
            problems.push(problem(reason, Severity::Warning, since));
        }
        if let Some(journal) = &self.journal {
            let ill = journal.problem().map(|(reason, since)| problem(reason, Severity::Error, since));
            problems.extend(ill);
            let passed = journal.passed_over();
            problems
                .extend(passed.into_iter().map(|(reason, since)| problem(reason, Severity::Warning, since)));
        }
        problems
    }
}

/// What these locks guard is whole between any two statements that can panic.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
