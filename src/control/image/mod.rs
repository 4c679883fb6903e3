//! The image of the routing area: what the store says and, for every object, which form of it is in force.
//!
//! Pure: events and the time go in, changes of the table and records for the journal come out. The work of an event
//! is proportional to what it changes.
//!
//! # Rules
//!
//! * A value that cannot be read hurts only its own object: the last good form stays in force, or the object takes no
//!   part. Everything found is a problem.
//! * An edit that leads nowhere (a backend that does not exist, an alias of an alias, a shared middleware that is not
//!   there) keeps the previous form, and is tried again when what it waits for appears: the order of writes never
//!   matters. Without a previous form the object waits outside. A name exists if a backend object or a server below
//!   it is in force. An edit that keeps a target which is already missing is taken: it makes nothing worse.
//! * A deletion is obeyed, and what named a deleted backend stays in force and is listed. Two exceptions: a shared
//!   middleware stays while frontends in force name it, since a missing limiter or guard must not open a door; and
//!   a mass removal is held (`hold`).
//! * A frontend that is not in force yet waits until its own middlewares are valid, unless their type only shapes
//!   requests and answers (`read`'s list). Once in force, it is never taken out for a middleware: an edit of either
//!   keeps the previous form.
//! * Of two frontends with the same normalised route and priority the one created later is not in force, even if it
//!   was there first. A held ghost gives its route to any frontend of the store.
//! * A server stands below a real backend; below an alias it is not in force.
//! * Where both `frontends/<id>` and `frontends/<id>/frontend` exist, the nested one counts; so for backends and hosts.
//! * A snapshot is compared with the image, so what it does not change keeps its form. It is obeyed if its revision is
//!   lower (restored backup) or it is empty (wiped prefix), subject to the hold; both are said for ten minutes.

mod form;
mod hold;
mod links;
mod problems;
mod read;
mod reload;
mod removal;
mod settle;
#[cfg(test)]
mod tests;

pub use form::{Form, GhostKind, Kept, Record, Stored};
pub use hold::{BACKENDS_MIN, Confirmation, FRONTENDS_MIN, WINDOW, Window};
pub use problems::{Counts, Listing, PROBLEMS_MAX};
pub use read::Environment;

use crate::model::{BackendId, FrontendId, InForce, MiddlewareId, ObjectKey, Revision, ServerId};
use crate::{store, table};
use form::{Slot, change, rank};
use hold::Ghost;
use links::{Links, Node};
use problems::{Findings, Foreign, Notice};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Instant, SystemTime};

/// An event that touches more keys than this, and more than half of all, is not told key by key to the journal.
const RECORDS_MAX: usize = 10_000;

/// The time, passed in.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    /// For windows and waits; the wall clock may jump.
    pub instant: Instant,
    /// For people.
    pub wall: SystemTime,
}

impl Now {
    /// Reads both clocks; a paused runtime's is honoured.
    pub fn read() -> Self {
        Self { instant: tokio::time::Instant::now().into_std(), wall: SystemTime::now() }
    }
}

/// What an event came to.
#[derive(Debug)]
pub struct Applied {
    /// The image is as of this revision.
    pub revision: Revision,
    /// Each object at most once; what others name comes first.
    pub changes: Vec<table::Change>,
    /// Order-free sum of the hashes of everything in force.
    pub hash: u64,
    /// For the journal.
    pub records: Vec<Record>,
    /// So much changed that `records` are left out: a new base of the journal is due.
    pub base_due: bool,
}

/// The image of the routing area.
pub struct Image {
    environment: Environment,
    revision: Revision,
    hash: u64,
    slots: BTreeMap<ObjectKey, Slot>,
    /// Short keys whose nested twin exists, with the snapshot that last had them.
    shadowed: BTreeMap<ObjectKey, (Stored, u32)>,
    links: Links,
    ghosts: BTreeMap<ObjectKey, Ghost>,
    ghost_servers: BTreeMap<BackendId, u32>,
    findings: Findings,
    foreign: Foreign,
    notices: Vec<Notice>,
    frontends_in_force: usize,
    frontends_gone: Window<FrontendId>,
    backends_emptied: Window<BackendId>,
    confirmed: Option<Confirmation>,
    snapshots: u32,
    work: Work,
}

/// What restores an image.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Restored {
    /// As of which revision.
    pub revision: Revision,
    /// Every key.
    pub records: Vec<(ObjectKey, Kept)>,
}

/// One object as [`Image::object`] shows it.
#[derive(Debug, Clone)]
pub struct View {
    /// What the store says; absent for what is in force although the store lacks it.
    pub stored: Option<Stored>,
    /// Which form is in force.
    pub in_force: InForce,
    /// The bytes of the form in force.
    pub raw: Option<Arc<[u8]>>,
    /// The form in force.
    pub form: Option<Form>,
}

/// The revision and time of the event at hand.
#[derive(Debug, Clone, Copy)]
struct Moment {
    revision: Revision,
    instant: Instant,
    wall: SystemTime,
}

/// What an event has done so far.
struct Work {
    moment: Moment,
    /// Forms as they were before the event, by [`rank`].
    before: BTreeMap<(u8, ObjectKey), Option<Form>>,
    dirty: BTreeSet<(u8, ObjectKey)>,
    /// Keys whose record changed.
    touched: BTreeSet<ObjectKey>,
    /// Deleted by the event while in force.
    removed: Vec<(ObjectKey, Form, Arc<[u8]>)>,
    nodes_before: BTreeMap<BackendId, Node>,
    frontends_before: usize,
    served_before: usize,
}

impl Image {
    /// Nothing is known yet.
    pub fn new(environment: Environment) -> Self {
        let now = Now::read();
        let moment = Moment { revision: Revision(0), instant: now.instant, wall: now.wall };
        Self {
            environment,
            revision: Revision(0),
            hash: 0,
            slots: BTreeMap::new(),
            shadowed: BTreeMap::new(),
            links: Links::default(),
            ghosts: BTreeMap::new(),
            ghost_servers: BTreeMap::new(),
            findings: Findings::default(),
            foreign: Foreign::default(),
            notices: Vec::new(),
            frontends_in_force: 0,
            frontends_gone: Window::default(),
            backends_emptied: Window::default(),
            confirmed: None,
            snapshots: 0,
            work: Work::new(moment),
        }
    }

    /// The image as the journal kept it. What was in force is in force again, without a second look; what was not is
    /// tried once more.
    pub fn restore(environment: Environment, restored: Restored, now: Now) -> (Self, Applied) {
        let mut image = Self::new(environment);
        image.begin(restored.revision, now);
        for (key, kept) in restored.records {
            image.restore_one(key, kept);
        }
        image.settle();
        let applied = image.finish();
        (image, applied)
    }

    /// Takes an event of the routing area. `Lost` and `InSync` change nothing.
    pub fn apply(&mut self, event: &store::Event, now: Now) -> Applied {
        match event {
            store::Event::Snapshot(snapshot) => {
                self.notice_snapshot(snapshot, now);
                self.begin(snapshot.revision, now);
                self.take_snapshot(snapshot);
            }
            store::Event::Batch(batch) => {
                self.begin(batch.revision, now);
                for change in &batch.changes {
                    match change {
                        store::Change::Put(entry) => self.put(entry),
                        store::Change::Delete { key } => self.delete(key),
                    }
                }
            }
            store::Event::Lost { .. } | store::Event::InSync { .. } => self.begin(self.revision, now),
        }
        self.settle();
        self.judge_removals();
        self.finish()
    }

    /// Releases what is held by removals up to the confirmed revision; removals that it covers and that come later
    /// are not held.
    pub fn confirm(&mut self, confirmation: Confirmation, now: Now) -> Applied {
        self.begin(self.revision, now);
        if self.confirmed.is_none_or(|known| known.revision <= confirmation.revision) {
            self.confirmed = Some(confirmation);
        }
        self.release_confirmed(confirmation);
        self.settle();
        self.finish()
    }

    /// Reads files named by hosts and backends again, and tries again what was not valid. A certificate that cannot be read keeps
    /// the one in force.
    pub fn reload(&mut self, now: Now) -> Applied {
        self.begin(self.revision, now);
        self.reload_files();
        self.settle();
        self.finish()
    }

    /// The revision of the last event.
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// Order-free sum of the hashes of everything in force.
    pub fn hash(&self) -> u64 {
        self.hash
    }

    /// How many frontends are in force.
    pub fn frontends_in_force(&self) -> usize {
        self.frontends_in_force
    }

    /// How many objects wait for a confirmation of their removal.
    pub fn held(&self) -> usize {
        self.ghosts.values().filter(|ghost| ghost.kind == GhostKind::Held).count()
    }

    /// Whether a frontend or alias in force names this backend.
    pub fn is_named(&self, backend: &BackendId) -> bool {
        self.links.node(backend).is_named()
    }

    /// One object, if the store has it or a form of it is in force.
    pub fn object(&self, key: &ObjectKey) -> Option<View> {
        self.slots.get(key).map(|slot| View {
            stored: slot.stored.clone(),
            in_force: slot.in_force,
            raw: slot.in_force_raw().cloned(),
            form: slot.form.clone(),
        })
    }

    /// Every object that the store has or of which a form is in force, in key order, from `after` on, at most `max`.
    pub fn objects(&self, after: Option<&ObjectKey>, max: usize) -> Vec<(ObjectKey, View)> {
        use std::ops::Bound;
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let keys: Vec<_> = self.slots.range::<ObjectKey, _>((start, Bound::Unbounded)).take(max).collect();
        keys.into_iter().filter_map(|(key, _)| Some((key.clone(), self.object(key)?))).collect()
    }

    /// Everything, for a new base of the journal.
    pub fn records(&self) -> Vec<(ObjectKey, Kept)> {
        self.slots.keys().filter_map(|key| Some((key.clone(), self.kept(key)?))).collect()
    }

    fn begin(&mut self, revision: Revision, now: Now) {
        self.revision = revision;
        let mut work = Work::new(Moment { revision, instant: now.instant, wall: now.wall });
        // What an earlier event left over for lack of budget.
        work.dirty = std::mem::take(&mut self.work.dirty);
        work.frontends_before = self.frontends_in_force;
        work.served_before = self.links.served as usize;
        self.work = work;
    }

    fn finish(&mut self) -> Applied {
        let mut changes = Vec::new();
        for ((_, key), before) in std::mem::take(&mut self.work.before) {
            let after = self.slots.get(&key).and_then(|slot| slot.form.as_ref());
            let is_same = match (&before, after) {
                (None, None) => true,
                (Some(before), Some(after)) => before.same(after),
                _ => false,
            };
            if !is_same {
                changes.extend(change(&key, after));
            }
        }
        let touched = std::mem::take(&mut self.work.touched);
        let base_due = touched.len() > RECORDS_MAX && touched.len() * 2 > self.slots.len();
        let touched = if base_due { BTreeSet::new() } else { touched };
        let records = touched.into_iter().map(|key| Record { kept: self.kept(&key), key }).collect();
        self.work.nodes_before = BTreeMap::new();
        Applied { revision: self.revision, changes, hash: self.hash, records, base_due }
    }

    fn kept(&self, key: &ObjectKey) -> Option<Kept> {
        let slot = self.slots.get(key)?;
        Some(Kept {
            stored: slot.stored.clone(),
            last_good: slot.last_good.clone(),
            in_force: slot.in_force,
            ghost: self.ghosts.get(key).map(|ghost| (ghost.kind, ghost.revision)),
        })
    }

    fn take_snapshot(&mut self, snapshot: &store::Snapshot) {
        let count_before = self.slots.len();
        self.snapshots = self.snapshots.wrapping_add(1);
        self.foreign.begin_snapshot();
        for entry in &snapshot.entries {
            self.put(entry);
        }
        self.foreign.end_snapshot();
        let number = self.snapshots;
        let gone: Vec<_> = self
            .shadowed
            .iter()
            .filter(|(_, (_, seen))| *seen != number)
            .map(|(key, _)| key.clone())
            .collect();
        for key in gone {
            self.shadowed.remove(&key);
        }
        let gone: Vec<_> = self
            .slots
            .iter()
            .filter(|(_, slot)| slot.stored.is_some() && slot.seen != number)
            .map(|(key, _)| key.clone())
            .collect();
        for key in gone {
            self.delete_nested(&key);
        }
        if self.slots.len() > count_before + count_before / 4 {
            // Keys that come in order leave a map's nodes half empty; built anew, they are full.
            self.slots = std::mem::take(&mut self.slots).into_iter().collect();
        }
    }

    fn put(&mut self, entry: &store::Entry) {
        let Some(key) = ObjectKey::parse(&entry.key) else {
            self.foreign.put(&entry.key, &self.work.moment);
            return;
        };
        let raw = Arc::from(&entry.value[..]);
        let short = is_short(&key, &entry.key);
        let stored = Stored { raw, version: entry.version, created: entry.created, short };
        let twin = self.slots.get(&key).and_then(|slot| Some((slot.stored.as_ref()?.short, slot.seen)));
        match twin {
            // A nested one that this snapshot does not have gives way when it is found to be gone.
            Some((false, _)) if short => {
                self.shadowed.insert(key, (stored, self.snapshots));
            }
            Some((true, seen)) if !short => {
                if let Some(old) = self.slots.get(&key).and_then(|slot| slot.stored.clone()) {
                    self.shadowed.insert(key.clone(), (old, seen));
                }
                self.put_object(key, stored);
            }
            _ => self.put_object(key, stored),
        }
    }

    fn delete(&mut self, text: &str) {
        let Some(key) = ObjectKey::parse(text) else {
            self.foreign.delete(text);
            return;
        };
        if is_short(&key, text) {
            if self.shadowed.remove(&key).is_some() {
                return;
            }
            if self.slots.get(&key).and_then(|slot| slot.stored.as_ref()).is_some_and(|stored| stored.short) {
                self.delete_object(&key);
            }
        } else if self
            .slots
            .get(&key)
            .and_then(|slot| slot.stored.as_ref())
            .is_some_and(|stored| !stored.short)
        {
            self.delete_nested(&key);
        }
    }

    /// The effective value of a key is gone; its short twin, if there is one, takes over.
    fn delete_nested(&mut self, key: &ObjectKey) {
        match self.shadowed.remove(key) {
            Some((stored, _)) => self.put_object(key.clone(), stored),
            None => self.delete_object(key),
        }
    }

    fn put_object(&mut self, key: ObjectKey, stored: Stored) {
        let slot = self.slots.entry(key.clone()).or_default();
        slot.seen = self.snapshots;
        if slot.stored.as_ref() == Some(&stored) {
            return;
        }
        self.work.touched.insert(key.clone());
        match slot.stored.replace(stored) {
            Some(old) => {
                let is_same = slot.stored.as_ref().is_some_and(|new| new.raw == old.raw);
                let is_same_age = slot.stored.as_ref().is_some_and(|new| new.created == old.created);
                if is_same && is_same_age {
                    return;
                }
                if !is_same && slot.in_force == InForce::This {
                    slot.last_good = Some(old.raw);
                    slot.in_force = InForce::Previous;
                }
                self.recall_route(&key);
            }
            None => self.lay_ghost(&key),
        }
        self.soil(key);
    }

    fn delete_object(&mut self, key: &ObjectKey) {
        let Some(slot) = self.slots.get(key) else { return };
        if let (Some(form), Some(raw)) = (&slot.form, slot.in_force_raw()) {
            self.work.removed.push((key.clone(), form.clone(), raw.clone()));
        }
        self.drop_slot(key);
    }

    /// Takes an object out of force and out of the image.
    fn drop_slot(&mut self, key: &ObjectKey) {
        self.set_form(key, None, InForce::None);
        self.slots.remove(key);
        self.links.stop_waiting(key);
        self.findings.set(key, Vec::new(), &self.work.moment);
        self.work.touched.insert(key.clone());
        self.soil_parent(key);
    }

    /// It has to be looked at before the event is done.
    fn soil(&mut self, key: ObjectKey) {
        self.work.dirty.insert((rank(&key), key));
    }

    /// Objects of one parent lie side by side; ids are never empty and have no control characters, so the space is
    /// the least of them.
    fn servers_of(&self, backend: &BackendId) -> impl Iterator<Item = (&ObjectKey, &Slot)> {
        let first = ServerId::try_from(" ").ok().map(|id| ObjectKey::Server(backend.clone(), id));
        let backend = backend.clone();
        first
            .into_iter()
            .flat_map(|first| self.slots.range(first..))
            .take_while(move |(key, _)| matches!(key, ObjectKey::Server(of, _) if *of == backend))
    }

    fn own_middlewares_of(&self, frontend: &FrontendId) -> impl Iterator<Item = (&ObjectKey, &Slot)> {
        let first = MiddlewareId::try_from(" ").ok().map(|id| ObjectKey::OwnMiddleware(frontend.clone(), id));
        let frontend = frontend.clone();
        first
            .into_iter()
            .flat_map(|first| self.slots.range(first..))
            .take_while(move |(key, _)| matches!(key, ObjectKey::OwnMiddleware(of, _) if *of == frontend))
    }
}

impl Work {
    fn new(moment: Moment) -> Self {
        Self {
            moment,
            before: BTreeMap::new(),
            dirty: BTreeSet::new(),
            touched: BTreeSet::new(),
            removed: Vec::new(),
            nodes_before: BTreeMap::new(),
            frontends_before: 0,
            served_before: 0,
        }
    }
}

/// `frontends/<id>`, `backends/<id>` and `hosts/<name>`, as opposed to the nested key.
fn is_short(key: &ObjectKey, text: &str) -> bool {
    matches!(key, ObjectKey::Frontend(_) | ObjectKey::Backend(_) | ObjectKey::Host(_))
        && text.matches('/').count() == 1
}
