//! Who wants what: the claims of all units, put together.
//!
//! Two units that want the same value at a key do not disturb one another: a backend of a Service may be wanted by the
//! Service itself and by two Ingresses. Where they want different values the older object gets it, and the others have
//! a note. Whoever gets it stands in the object's `Owner`. A unit that cannot say what it wants keeps what stands there,
//! unless another can.

use super::convert::{Converted, Desired};
use super::note::Note;
use super::remarks::Remarks;
use super::unit::{Source, Unit};
use crate::model::{ObjectKey, Severity};
use serde_json::{Map, Value};
use smallvec::SmallVec;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use zeroize::Zeroizing;

/// The claims of all units.
#[derive(Debug, Default)]
pub struct Ledger {
    units: BTreeMap<Unit, Stated>,
    /// Who gets the key comes first.
    claims: BTreeMap<ObjectKey, SmallVec<[Claim; 1]>>,
    /// What is wrong with keys rather than with units.
    about_keys: BTreeMap<(ObjectKey, Why), BTreeSet<Note>>,
    notes: Remarks,
}

/// What is to stand at a key, but for its `Owner`. Kept as text: ten thousand servers are many.
#[derive(Debug, Clone, PartialEq)]
pub enum Want {
    /// A JSON object.
    Value(Arc<[u8]>),
    /// A host with a certificate.
    Certificate(Arc<WantedCertificate>),
    /// What stands there, if it is the registrar's.
    Kept,
}

/// A host with a certificate that is yet to be sealed. `Debug` shows nothing of it.
#[derive(Clone, PartialEq)]
pub struct WantedCertificate {
    /// The host's further fields.
    pub value: Map<String, Value>,
    /// PEM, leaf first.
    pub certificate: Zeroizing<Vec<u8>>,
    /// PEM.
    pub key: Zeroizing<Vec<u8>>,
    /// Where it comes from.
    pub secret: Source,
}

/// Who gets a key, and what is to stand there.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'l> {
    /// For `Owner`.
    pub unit: &'l Unit,
    /// What.
    pub want: &'l Want,
}

/// Which part of the registrar knows something of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Why {
    /// Another unit gets it.
    Claims,
    /// It is not, or not like that, in the store.
    Store,
}

#[derive(Debug)]
struct Stated {
    keys: Vec<ObjectKey>,
    notes: BTreeSet<Note>,
}

#[derive(Debug)]
struct Claim {
    by: Arc<Claimant>,
    want: Want,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Claimant {
    created: i64,
    unit: Unit,
}

impl Ledger {
    /// Takes in what a unit wants now, in place of what it wanted before; `created` is its object's age, in seconds
    /// since 1970. The keys whose wanted value may have changed.
    pub fn state(&mut self, unit: &Unit, created: i64, converted: Converted) -> BTreeSet<ObjectKey> {
        let mut touched = BTreeSet::new();
        let before = self.units.remove(unit);
        let Stated { keys: old_keys, notes: old_notes } =
            before.unwrap_or_else(|| Stated { keys: Vec::new(), notes: BTreeSet::new() });
        let mut wants: BTreeMap<ObjectKey, Want> =
            converted.kept.into_iter().map(|key| (key, Want::Kept)).collect();
        wants.extend(converted.objects.into_iter().map(|(key, desired)| (key, Want::new(desired))));
        for key in old_keys.into_iter().filter(|key| !wants.contains_key(key)) {
            self.withdraw(&key, unit);
            touched.insert(key);
        }
        let by = Arc::new(Claimant { created, unit: unit.clone() });
        let mut keys = Vec::with_capacity(wants.len());
        for (key, want) in wants {
            keys.push(key.clone());
            if self.claim(&key, &by, want) {
                touched.insert(key);
            }
        }
        self.notes.replace(&old_notes, &converted.notes);
        if !keys.is_empty() || !converted.notes.is_empty() {
            self.units.insert(unit.clone(), Stated { keys, notes: converted.notes });
        }
        touched.extend(self.parts(unit, &touched));
        touched
    }

    /// What is to stand at a key; `None`: nothing.
    pub fn wanted(&self, key: &ObjectKey) -> Option<Wanted<'_>> {
        let claims = self.claims.get(key)?;
        let claim = match self.whole_of(key) {
            // Two Ingresses whose names run together must not do something to the requests of one another.
            Some(unit) => claims.iter().find(|claim| claim.by.unit == *unit)?,
            None => claims.first()?,
        };
        Some(Wanted { unit: &claim.by.unit, want: &claim.want })
    }

    /// All keys at which something is to stand, in order.
    pub fn keys(&self) -> impl Iterator<Item = &ObjectKey> {
        self.claims.keys()
    }

    /// What is wrong with a wanted object's way into the store, in place of what was before.
    pub fn judge(&mut self, key: &ObjectKey, notes: BTreeSet<Note>) {
        self.note_key(key, Why::Store, notes);
    }

    /// What the authors of the cluster's objects must know.
    pub fn notes(&mut self) -> &mut Remarks {
        &mut self.notes
    }

    /// Whether something changed.
    fn claim(&mut self, key: &ObjectKey, by: &Arc<Claimant>, want: Want) -> bool {
        let claims = self.claims.entry(key.clone()).or_default();
        let mine = claims.iter().position(|claim| claim.by.unit == by.unit);
        match mine.and_then(|at| claims.get_mut(at)) {
            Some(claim) if claim.by == *by && claim.want.is(&want) => return false,
            Some(claim) => *claim = Claim { by: by.clone(), want },
            None => {
                // One text for all that want the same.
                let same = claims.iter().find(|claim| claim.want.is(&want));
                let want = same.map_or(want, |claim| claim.want.clone());
                claims.push(Claim { by: by.clone(), want });
            }
        }
        // Who says what is to stand there comes before who cannot say it.
        let rank = |claim: &Claim| (claim.want == Want::Kept, claim.by.clone());
        claims.sort_by_key(rank);
        self.note_losers(key);
        true
    }

    /// Who gets the frontend that a middleware is a part of.
    fn whole_of(&self, key: &ObjectKey) -> Option<&Unit> {
        let ObjectKey::OwnMiddleware(frontend, _) = key else { return None };
        let whole = self.claims.get(&ObjectKey::Frontend(frontend.clone()))?.first()?;
        Some(&whole.by.unit)
    }

    /// The middlewares of those frontends among `touched` that not only `unit` wants: they come and go with them.
    fn parts(&self, unit: &Unit, touched: &BTreeSet<ObjectKey>) -> BTreeSet<ObjectKey> {
        let mut parts = BTreeSet::new();
        for key in touched {
            let (ObjectKey::Frontend(id), Some(claims)) = (key, self.claims.get(key)) else { continue };
            if claims.iter().all(|claim| claim.by.unit == *unit) {
                continue;
            }
            let all = claims.iter().filter_map(|claim| self.units.get(&claim.by.unit));
            let is_part = |key: &&ObjectKey| matches!(key, ObjectKey::OwnMiddleware(of, _) if of == id);
            parts.extend(all.flat_map(|stated| stated.keys.iter().filter(is_part)).cloned());
        }
        parts
    }

    fn withdraw(&mut self, key: &ObjectKey, unit: &Unit) {
        let Some(claims) = self.claims.get_mut(key) else { return };
        claims.retain(|claim| claim.by.unit != *unit);
        if claims.is_empty() {
            self.claims.remove(key);
            self.note_key(key, Why::Store, BTreeSet::new());
        }
        self.note_losers(key);
    }

    fn note_losers(&mut self, key: &ObjectKey) {
        let mut notes = BTreeSet::new();
        if let Some((first, others)) = self.claims.get(key).and_then(|claims| claims.split_first()) {
            let is_loser = |other: &&Claim| other.want != Want::Kept && !other.want.is(&first.want);
            for other in others.iter().filter(is_loser) {
                let winner = first.by.unit.source();
                notes.insert(Note {
                    about: other.by.unit.source(),
                    field: key.canonical().into(),
                    reason: format!("is wanted with another value by {winner}, which is older and gets it")
                        .into(),
                    severity: Severity::Error,
                });
            }
        }
        self.note_key(key, Why::Claims, notes);
    }

    fn note_key(&mut self, key: &ObjectKey, why: Why, notes: BTreeSet<Note>) {
        // Most keys have none, and had none.
        if notes.is_empty() && self.about_keys.is_empty() {
            return;
        }
        let at = (key.clone(), why);
        let before = self.about_keys.remove(&at).unwrap_or_default();
        self.notes.replace(&before, &notes);
        if !notes.is_empty() {
            self.about_keys.insert(at, notes);
        }
    }
}

impl Want {
    fn new(desired: Desired) -> Self {
        match desired {
            Desired::Value(value) => Self::Value(Value::Object(value).to_string().into_bytes().into()),
            Desired::Certificate { value, certificate, key, secret } => {
                Self::Certificate(Arc::new(WantedCertificate { value, certificate, key, secret }))
            }
        }
    }

    /// Whether both are the same to a reader of JSON.
    fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Value(one), Self::Value(two)) => one == two || is_same(one, two),
            (one, two) => one == two,
        }
    }
}

impl std::fmt::Debug for WantedCertificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "WantedCertificate({})", self.secret)
    }
}

/// Whether two texts are the same to a reader of JSON.
pub(super) fn is_same(one: &[u8], two: &[u8]) -> bool {
    let read = |text: &[u8]| serde_json::from_slice::<Value>(text).ok();
    read(one).is_some_and(|one| Some(one) == read(two))
}

#[cfg(test)]
mod tests;
