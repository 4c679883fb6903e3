//! The mass removal rule: what counts, within which time, against what.

use super::form::GhostKind;
use crate::model::Revision;
use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::time::{Duration, Instant, SystemTime};

/// Removals this far apart are looked at together.
pub const WINDOW: Duration = Duration::from_secs(60);
/// So many frontends can always be removed, less one.
pub const FRONTENDS_MIN: usize = 20;
/// So many backends can always lose their last server, less one.
pub const BACKENDS_MIN: usize = 5;
/// How long before a proxy sees a removal its confirmation may have been given.
pub(super) const CONFIRMED_AHEAD: Duration = Duration::from_secs(600);

/// Someone said that removals up to a revision are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Confirmation {
    /// The last revision that it covers.
    pub revision: Revision,
    /// When it was given.
    pub at: SystemTime,
}

impl Confirmation {
    /// Whether it covers a removal by `revision` that this process first saw at `since`. One given long before says
    /// nothing about it: the store's revision may have gone back meanwhile.
    pub fn covers(&self, revision: Revision, since: SystemTime) -> bool {
        let ahead = since.duration_since(self.at).unwrap_or_default();
        revision <= self.revision && ahead <= CONFIRMED_AHEAD
    }
}

/// In force although the store lacks it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ghost {
    pub(super) kind: GhostKind,
    /// The revision that removed it.
    pub(super) revision: Revision,
    pub(super) since: SystemTime,
}

/// What went within the last [`WINDOW`] and is still gone.
#[derive(Debug)]
pub struct Window<K> {
    /// Oldest first, with how many there were just before.
    order: VecDeque<(Instant, K, usize)>,
    gone: HashMap<K, Instant>,
}

impl<K> Default for Window<K> {
    fn default() -> Self {
        Self { order: VecDeque::new(), gone: HashMap::new() }
    }
}

impl<K: Clone + Eq + Hash> Window<K> {
    /// Whether `going` more of `present` cross the bound: more than half of those that were there when the window
    /// began, and at least `min`.
    pub fn is_crossed(&mut self, now: Instant, going: usize, present: usize, min: usize) -> bool {
        self.prune(now);
        let base = self.order.front().map_or(present, |(_, _, base)| *base);
        let gone = self.gone.len() + going;
        going > 0 && gone >= min && gone * 2 > base
    }

    /// They went, out of `present`.
    pub fn went(&mut self, now: Instant, keys: impl IntoIterator<Item = K>, present: usize) {
        for key in keys {
            self.order.push_back((now, key.clone(), present));
            self.gone.insert(key, now);
        }
    }

    /// It is there again, or no longer missed.
    pub fn returned(&mut self, key: &K) {
        if !self.gone.is_empty() {
            self.gone.remove(key);
        }
    }

    /// What went was meant; counting begins anew.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    fn prune(&mut self, now: Instant) {
        while let Some((then, key, _)) = self.order.front() {
            if now.saturating_duration_since(*then) < WINDOW {
                break;
            }
            if self.gone.get(key) == Some(then) {
                self.gone.remove(key);
            }
            self.order.pop_front();
        }
    }
}
