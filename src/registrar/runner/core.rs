//! What the runner knows, and what follows from it. Knows no store, clock or task: events go in, steps come out.

use crate::control::image::{Confirmation, Now};
use crate::model::{ObjectKey, Revision, Severity};
use crate::registrar::convert::ingress::is_ours;
use crate::registrar::convert::{Remit, convert};
use crate::registrar::hold::Holds;
use crate::registrar::image::{Image, Touched};
use crate::registrar::ledger::Ledger;
use crate::registrar::plan::{Planner, Step, pack};
use crate::registrar::status::Statuses;
use crate::registrar::watch::Seen;
use crate::registrar::world::{Kind, World};
use crate::registrar::{Note, Source, Unit};
use crate::store::Event;
use std::collections::{BTreeMap, BTreeSet};
use tokio::time::Instant;

/// How far a kind of objects is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Known {
    /// It was not listed completely yet.
    Not {
        /// Why not; absent: there was no answer yet.
        reason: Option<String>,
    },
    /// It may not be read, and can be done without: nothing is known of it.
    Denied {
        /// One sentence.
        reason: String,
    },
    /// It is followed.
    Listed,
    /// It was known, and is not followed now: what was known counts, and nothing is removed.
    Lost {
        /// One sentence.
        reason: String,
    },
}

/// Cluster and store as they are known, and what is to be looked at again.
pub struct Core {
    remit: Remit,
    planner: Planner,
    world: World,
    ledger: Ledger,
    image: Image,
    holds: Holds,
    kinds: BTreeMap<Kind, Known>,
    is_image_whole: bool,
    /// To be converted, with the moment when the change was read.
    units: BTreeMap<Unit, Option<Instant>>,
    /// To be compared.
    dirty: BTreeMap<ObjectKey, Option<Instant>>,
    /// To be removed once everything is known.
    deferred: BTreeSet<ObjectKey>,
    /// Removals up to here were confirmed, which proxies are to be told.
    confirmed: Option<Revision>,
    statuses: Statuses,
}

impl Core {
    /// Of nothing yet; `kinds` are those that are watched.
    pub fn new(remit: Remit, planner: Planner, kinds: &[Kind]) -> Self {
        Self {
            image: Image::new(&planner.cluster),
            remit,
            planner,
            world: World::default(),
            ledger: Ledger::default(),
            holds: Holds::default(),
            kinds: kinds.iter().map(|kind| (*kind, Known::Not { reason: None })).collect(),
            is_image_whole: false,
            units: BTreeMap::new(),
            dirty: BTreeMap::new(),
            deferred: BTreeSet::new(),
            confirmed: None,
            statuses: Statuses::default(),
        }
    }

    /// What the Ingresses that are ours tell in their status.
    pub fn statuses(&self) -> Statuses {
        self.statuses.clone()
    }

    /// Takes in what was seen of the cluster.
    pub fn see(&mut self, seen: Seen) {
        match seen {
            Seen::Changed(change, at) => {
                let units = self.world.apply(change);
                self.soil_units(units, Some(at));
            }
            Seen::Listed(kind, names) => {
                let units = self.world.retain(kind, &names);
                self.soil_units(units, None);
                self.listed(kind);
            }
            Seen::Found { kind } => self.listed(kind),
            Seen::Lost { kind, reason, is_denied } => {
                if let Some(known) = self.kinds.get_mut(&kind) {
                    *known = match known {
                        // Ingresses whose Secrets are not read have that as a problem, and all else goes on.
                        Known::Not { .. } if is_denied && kind == Kind::Secret => Known::Denied { reason },
                        Known::Denied { .. } => Known::Denied { reason },
                        Known::Not { .. } => Known::Not { reason: Some(reason) },
                        Known::Listed | Known::Lost { .. } => Known::Lost { reason },
                    };
                }
            }
        }
    }

    /// Takes in what the store tells of its routing area.
    pub fn follow(&mut self, event: Event) {
        let touched = match event {
            Event::Snapshot(snapshot) => {
                self.is_image_whole = true;
                self.image.reset(snapshot)
            }
            Event::Batch(batch) => self.image.apply(batch),
            Event::InSync { revision } => {
                self.image.reach(revision);
                Touched::default()
            }
            Event::Lost { .. } => Touched::default(),
        };
        for (backend, is_there) in touched.backends {
            let unit = self.world.set_backend(&backend, is_there);
            self.soil_units(unit, None);
        }
        self.soil(touched.keys, None);
    }

    /// Converts what changed, once everything is known: half a cluster would be read as one that lost the other half.
    pub fn convert(&mut self) {
        if !self.is_known() {
            return;
        }
        for (unit, since) in std::mem::take(&mut self.units) {
            let converted = convert(&self.world, &unit, &self.remit);
            if let Unit::Ingress(name) = &unit {
                let ours =
                    self.world.ingress(name).filter(|it| is_ours(&self.world, &self.remit.classes, it));
                self.statuses.saw(name, ours.map(|it| &*it.published));
            }
            let created = self.created(&unit);
            let touched = self.ledger.state(&unit, created, converted);
            self.soil(touched, since);
        }
    }

    /// What is to be written now, in transactions of at most `steps_max` steps, to be committed in this order.
    pub fn plan(&mut self, now: Now, steps_max: usize) -> Vec<Vec<Step>> {
        self.convert();
        if !self.is_known() {
            return Vec::new();
        }
        let mut steps = Vec::new();
        for (key, since) in std::mem::take(&mut self.dirty) {
            let wanted = self.ledger.wanted(&key);
            let is_wanted = wanted.is_some();
            let decision = self.planner.decide(&key, wanted, &self.image);
            self.ledger.judge(&key, decision.notes);
            if is_wanted {
                self.holds.returned(&key);
            }
            if !decision.steps.iter().any(Step::is_delete) {
                self.holds.forget(&key);
            }
            let may_remove = self.may_remove(&key);
            for step in decision.steps {
                if step.is_delete() && !may_remove {
                    self.deferred.insert(key.clone());
                } else {
                    steps.push(Step { since, ..step });
                }
            }
        }
        let steps = self.holds.judge(steps, &self.image, now);
        if self.holds.have_ended() {
            self.confirmed = Some(self.image.revision());
        }
        pack(steps, steps_max)
    }

    /// Compares everything again.
    pub fn soil_all(&mut self) {
        let owned: BTreeSet<_> = self.image.owned().cloned().collect();
        self.soil(owned, None);
        for key in self.ledger.keys() {
            self.dirty.entry(key.clone()).or_insert(None);
        }
    }

    /// Steps that were not taken.
    pub fn requeue(&mut self, steps: impl IntoIterator<Item = Step>) {
        for step in steps {
            self.soil([step.key], step.since);
        }
    }

    /// A store refused one step, and would again.
    pub fn refused(&mut self, step: &Step, reason: &str) {
        let Some(wanted) = self.ledger.wanted(&step.key) else { return };
        let note = Note {
            about: wanted.unit.source(),
            field: step.key.canonical().into(),
            reason: format!("is not written: {reason}").into(),
            severity: Severity::Error,
        };
        self.ledger.judge(&step.key, BTreeSet::from([note]));
    }

    /// Somebody confirmed removals.
    pub fn confirm(&mut self, confirmation: Confirmation) -> usize {
        let freed = self.holds.confirm(confirmation);
        let count = freed.len();
        self.soil(freed, None);
        count
    }

    /// Up to which revision the proxies are to be told that removals are meant, once.
    pub fn take_confirmed(&mut self) -> Option<Revision> {
        self.confirmed.take()
    }

    /// They have not been told.
    pub fn set_confirmed(&mut self, revision: Revision) {
        self.confirmed = Some(revision);
    }

    /// Somebody else decides from now on.
    pub fn resign(&mut self) {
        self.confirmed = None;
        self.holds.clear();
        self.deferred.clear();
    }

    /// Somebody else compares: who begins to do so compares everything, so nothing is kept for that.
    pub fn follow_along(&mut self) {
        self.dirty.clear();
    }

    /// Whether a key of these steps is to be looked at again.
    pub fn is_outdated(&self, steps: &[Step]) -> bool {
        steps.iter().any(|step| self.dirty.contains_key(&step.key))
    }

    /// Whether something is to be compared or converted.
    pub fn has_work(&self) -> bool {
        self.is_known() && !(self.dirty.is_empty() && self.units.is_empty())
    }

    /// How much is to be converted or compared.
    pub fn pending(&self) -> usize {
        self.units.len() + self.dirty.len()
    }

    /// Whether the store and every kind were listed completely once.
    pub fn is_known(&self) -> bool {
        self.is_image_whole && self.kinds.values().all(|known| !matches!(known, Known::Not { .. }))
    }

    /// How many objects of each kind are known, and how well.
    pub fn kinds(&self) -> impl Iterator<Item = (Kind, usize, &Known)> {
        self.kinds.iter().map(|(kind, known)| (*kind, self.world.count(*kind), known))
    }

    /// The store as it is known.
    pub fn image(&self) -> &Image {
        &self.image
    }

    /// The claims, with notes.
    pub fn ledger(&mut self) -> &mut Ledger {
        &mut self.ledger
    }

    /// How many removals are held.
    pub fn held(&self) -> usize {
        self.holds.count()
    }

    /// Whether all that a key may come from is followed. A certificate whose Secret may not be read stays.
    fn may_remove(&self, key: &ObjectKey) -> bool {
        self.kinds.values().all(|known| match known {
            Known::Listed => true,
            Known::Denied { .. } => !matches!(key, ObjectKey::Host(_)),
            Known::Not { .. } | Known::Lost { .. } => false,
        })
    }

    fn listed(&mut self, kind: Kind) {
        self.kinds.insert(kind, Known::Listed);
        let deferred = std::mem::take(&mut self.deferred);
        self.soil(deferred, None);
    }

    fn soil(&mut self, keys: impl IntoIterator<Item = ObjectKey>, since: Option<Instant>) {
        for key in keys {
            let entry = self.dirty.entry(key).or_insert(since);
            *entry = earlier(*entry, since);
        }
    }

    fn soil_units(&mut self, units: impl IntoIterator<Item = Unit>, since: Option<Instant>) {
        for unit in units {
            let entry = self.units.entry(unit).or_insert(since);
            *entry = earlier(*entry, since);
        }
    }

    /// The age of a unit's object. Pods come last: they only join what others made.
    fn created(&self, unit: &Unit) -> i64 {
        let created = match unit.source() {
            Source::Service(name) => self.world.service(&name).map(|it| it.meta.created),
            Source::Ingress(name) => self.world.ingress(&name).map(|it| it.meta.created),
            Source::Pods(_) | Source::Pod(_) | Source::Secret(_) => None,
        };
        created.unwrap_or(i64::MAX)
    }
}

fn earlier(one: Option<Instant>, two: Option<Instant>) -> Option<Instant> {
    match (one, two) {
        (Some(one), Some(two)) => Some(one.min(two)),
        (one, two) => one.or(two),
    }
}
