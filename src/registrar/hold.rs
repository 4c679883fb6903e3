//! The mass removal rule, before anything is written: a cluster that seems to have lost almost everything is perhaps an
//! API server restored from an old backup, or a wrong `--namespace`.
//!
//! The bounds are the proxies' own ([`control::image`](crate::control::image)), counted over what this registrar owns:
//! its frontends, and the backends in which it has servers, whoever leads there. Once a bound is crossed, that
//! removal's keys and all later ones are held until `flipgate confirm`, but for servers of backends that keep another
//! one, and a frontend's middleware while the frontend itself goes on. A held key that the cluster wants again is free.

use super::image::Image;
use super::plan::Step;
use crate::control::image::{BACKENDS_MIN, Confirmation, FRONTENDS_MIN, Now, Window};
use crate::model::{BackendId, FrontendId, ObjectKey, Revision};
use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

/// What is held, and what went of late.
#[derive(Debug, Default)]
pub(super) struct Holds {
    frontends_gone: Window<FrontendId>,
    backends_emptied: Window<BackendId>,
    /// With the store's revision and the time when it was held.
    held: BTreeMap<ObjectKey, (Revision, SystemTime)>,
    /// Confirmed, and not gone yet.
    released: BTreeSet<ObjectKey>,
    /// Something was confirmed, which the proxies have not been told.
    is_news: bool,
    confirmed: Option<Confirmation>,
}

impl Holds {
    /// Takes from `steps` those that are not to happen now.
    pub(super) fn judge(&mut self, steps: Vec<Step>, image: &Image, now: Now) -> Vec<Step> {
        if !steps.iter().any(|step| step.is_delete() && !self.released.contains(&step.key)) {
            return steps;
        }
        let emptied = emptied(steps.iter().filter(|step| !self.released.contains(&step.key)), image);
        if !self.is_on(&steps, &emptied, image, now) {
            return steps;
        }
        let frontends: BTreeSet<FrontendId> = deleted(&steps).filter_map(frontend).cloned().collect();
        let (held, free): (Vec<Step>, Vec<Step>) = steps.into_iter().partition(|step| {
            let is_released = self.released.contains(&step.key);
            step.is_delete()
                && !is_released
                && match &step.key {
                    ObjectKey::OwnMiddleware(of, _) => frontends.contains(of) || self.is_held(of),
                    ObjectKey::Server(of, _) => emptied.contains(of),
                    _ => true,
                }
        });
        for step in held {
            self.held.entry(step.key).or_insert((image.revision(), now.wall));
        }
        free
    }

    /// A key is wanted, or went, so there is nothing to hold.
    pub(super) fn forget(&mut self, key: &ObjectKey) {
        self.held.remove(key);
        self.released.remove(key);
    }

    /// Something stands at a key again.
    pub(super) fn returned(&mut self, key: &ObjectKey) {
        match key {
            ObjectKey::Frontend(id) => self.frontends_gone.returned(id),
            ObjectKey::Server(backend, _) => self.backends_emptied.returned(backend),
            _ => {}
        }
    }

    /// Somebody said that removals are meant; what may go now.
    pub(super) fn confirm(&mut self, confirmation: Confirmation) -> BTreeSet<ObjectKey> {
        self.confirmed = Some(confirmation);
        let covered = |(_, (revision, since)): &(&ObjectKey, &(Revision, SystemTime))| {
            confirmation.covers(*revision, *since)
        };
        let freed: BTreeSet<_> = self.held.iter().filter(covered).map(|(key, _)| key.clone()).collect();
        if !freed.is_empty() {
            self.frontends_gone.clear();
            self.backends_emptied.clear();
            self.held.retain(|key, _| !freed.contains(key));
            self.released.extend(freed.iter().cloned());
            self.is_news = true;
        }
        freed
    }

    /// Whether everything that was confirmed is gone now, which is told once.
    pub(super) fn have_ended(&mut self) -> bool {
        let is_over = self.released.is_empty() && self.held.is_empty();
        is_over && std::mem::take(&mut self.is_news)
    }

    /// How many keys are held.
    pub(super) fn count(&self) -> usize {
        self.held.len()
    }

    /// Another process decides now.
    pub(super) fn clear(&mut self) {
        let confirmed = self.confirmed;
        *self = Self { confirmed, ..Self::default() };
    }

    /// Whether a hold is on, or these steps cross a bound; if neither, what they remove is counted.
    fn is_on(&mut self, steps: &[Step], emptied: &BTreeSet<BackendId>, image: &Image, now: Now) -> bool {
        if !self.held.is_empty() {
            return true;
        }
        let counted = deleted(steps).filter(|key| !self.released.contains(*key));
        let frontends: Vec<FrontendId> = counted.filter_map(frontend).cloned().collect();
        let (present, served) = (image.frontends(), image.backends());
        let is_confirmed = self.confirmed.is_some_and(|it| it.covers(image.revision(), now.wall));
        if !is_confirmed
            && (self.frontends_gone.is_crossed(now.instant, frontends.len(), present, FRONTENDS_MIN)
                || self.backends_emptied.is_crossed(now.instant, emptied.len(), served, BACKENDS_MIN))
        {
            return true;
        }
        self.frontends_gone.went(now.instant, frontends, present);
        self.backends_emptied.went(now.instant, emptied.iter().cloned(), served);
        false
    }

    fn is_held(&self, frontend: &FrontendId) -> bool {
        self.held.contains_key(&ObjectKey::Frontend(frontend.clone()))
    }
}

/// Backends that have owned servers now and would have none.
fn emptied<'s>(steps: impl Iterator<Item = &'s Step>, image: &Image) -> BTreeSet<BackendId> {
    let mut change: BTreeMap<&BackendId, (usize, usize)> = BTreeMap::new();
    for step in steps {
        let ObjectKey::Server(backend, _) = &step.key else { continue };
        let (more, fewer) = change.entry(backend).or_default();
        if step.is_delete() {
            *fewer += 1;
        } else if image.get(&step.key).is_none() {
            *more += 1;
        }
    }
    let is_emptied = |(backend, (more, fewer)): &(&BackendId, (usize, usize))| {
        let before = image.servers(backend);
        before > 0 && before + more <= *fewer
    };
    change.into_iter().filter(is_emptied).map(|(backend, _)| backend.clone()).collect()
}

fn deleted(steps: &[Step]) -> impl Iterator<Item = &ObjectKey> {
    steps.iter().filter(|step| step.is_delete()).map(|step| &step.key)
}

fn frontend(key: &ObjectKey) -> Option<&FrontendId> {
    match key {
        ObjectKey::Frontend(id) => Some(id),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
