//! From steps to transactions: as few as possible, and none that shows a reader something half done.
//!
//! All in one if it fits. Otherwise what belongs together stays together: the steps of one source, and of sources whose
//! frontends lead, before or after, to backends of one another. What is too much even so is cut in an order that never
//! lets a frontend dangle nor empties a backend that goes on: first what others name, then who names it; deletions the
//! other way round, and last.

use super::Step;
use crate::model::{BackendId, ObjectKey};
use std::collections::{BTreeMap, BTreeSet};

/// Steps in transactions, to be committed in this order; at most `steps_max` in each.
pub fn pack(mut steps: Vec<Step>, steps_max: usize) -> Vec<Vec<Step>> {
    let steps_max = steps_max.max(1);
    if steps.is_empty() {
        return Vec::new();
    }
    if steps.len() <= steps_max {
        steps.sort_by_key(phase);
        return vec![steps];
    }
    let mut packed: Vec<Vec<Step>> = Vec::new();
    let mut open: Vec<Step> = Vec::new();
    for mut group in groups(steps) {
        if open.len() + group.len() > steps_max && !open.is_empty() {
            packed.push(std::mem::take(&mut open));
        }
        group.sort_by_key(phase);
        while group.len() > steps_max {
            let rest = group.split_off(steps_max);
            packed.push(std::mem::replace(&mut group, rest));
        }
        open.append(&mut group);
    }
    if !open.is_empty() {
        packed.push(open);
    }
    for steps in &mut packed {
        steps.sort_by_key(phase);
    }
    packed
}

/// Steps that are to be seen together. Those that only write come first, those that only delete last: what moves from
/// one object of the cluster to another is never away in between.
fn groups(steps: Vec<Step>) -> Vec<Vec<Step>> {
    let mut ids: BTreeMap<Box<str>, usize> = BTreeMap::new();
    for step in &steps {
        let next = ids.len();
        ids.entry(step.source.clone()).or_insert(next);
    }
    let mut joined = Joined::new(ids.len());
    let id = |step: &Step| ids.get(&step.source).copied().unwrap_or_default();
    let mut of_backend: BTreeMap<&BackendId, BTreeSet<usize>> = BTreeMap::new();
    for step in &steps {
        if let ObjectKey::Backend(backend) | ObjectKey::Server(backend, _) = &step.key {
            of_backend.entry(backend).or_default().insert(id(step));
        }
    }
    for step in &steps {
        for other in step.leads_to.iter().filter_map(|backend| of_backend.get(backend)).flatten() {
            joined.join(id(step), *other);
        }
    }
    let mut groups: BTreeMap<usize, Vec<Step>> = BTreeMap::new();
    for step in steps {
        let root = joined.root(ids.get(&step.source).copied().unwrap_or_default());
        groups.entry(root).or_default().push(step);
    }
    let mut groups: Vec<_> = groups.into_values().collect();
    groups.sort_by_key(|group| {
        let deletes = group.iter().filter(|step| step.is_delete()).count();
        match deletes {
            0 => 0,
            all if all == group.len() => 2,
            _ => 1,
        }
    });
    groups
}

/// The place of a step within its transactions.
fn phase(step: &Step) -> u8 {
    let named = match &step.key {
        ObjectKey::Listener(_)
        | ObjectKey::Host(_)
        | ObjectKey::SharedMiddleware(_)
        | ObjectKey::OwnMiddleware(..) => 0,
        ObjectKey::Backend(_) => 1,
        ObjectKey::Server(..) => 2,
        ObjectKey::Frontend(_) => 3,
    };
    if step.is_delete() { 7 - named } else { named }
}

/// Which numbers belong together.
struct Joined(Vec<usize>);

impl Joined {
    fn new(count: usize) -> Self {
        Self((0..count).collect())
    }

    fn root(&self, mut number: usize) -> usize {
        while let Some(up) = self.0.get(number).copied().filter(|up| *up != number) {
            number = up;
        }
        number
    }

    fn join(&mut self, one: usize, two: usize) {
        let (one, two) = (self.root(one), self.root(two));
        // The smaller is the root, so that chains stay short in the order in which things come.
        if let Some(up) = self.0.get_mut(one.max(two)) {
            *up = one.min(two);
        }
    }
}
