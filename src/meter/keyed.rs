//! What is remembered of each of many keys, in bounded memory: exact over all threads, with a short lock on a part of the
//! keys.
//!
//! A key is a keyed hash (SipHash with a secret of the process) of what it stands for: nobody outside can choose two that
//! meet. What stands for nothing any more is dropped. Where all that fit are in use, those that lose the least are dropped,
//! so that who is at a limit cannot come by a fresh start but by bringing as many others to theirs.

use std::collections::HashMap;
use std::hash::{BuildHasher, BuildHasherDefault, Hash, Hasher, RandomState};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

/// Keys that always fit.
pub const KEYS_MAX: usize = 65_536;

const SHARDS: usize = 32;
/// An even share, and four standard deviations more: keys do not spread exactly.
const SHARD_KEYS_MAX: usize = KEYS_MAX / SHARDS + 192;
/// Dropped at once where everything is in use, so that the search for them is rare.
const DROPPED_AT_ONCE: usize = SHARD_KEYS_MAX / 16;

/// Stands for one value of what is counted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key(u64);

impl Key {
    /// The key of a value.
    pub fn of(value: impl Hash) -> Self {
        static SECRET: LazyLock<RandomState> = LazyLock::new(RandomState::new);
        Self(SECRET.hash_one(value))
    }
}

/// Keys are hashes already.
#[derive(Debug, Default)]
pub struct AsItIs(u64);

impl Hasher for AsItIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = number;
    }
}

/// The keys of one part.
pub type Keys<V> = HashMap<Key, V, BuildHasherDefault<AsItIs>>;

/// A value for each key.
#[derive(Debug)]
pub struct Keyed<V> {
    shards: [Mutex<Keys<V>>; SHARDS],
}

impl<V> Default for Keyed<V> {
    fn default() -> Self {
        Self { shards: std::array::from_fn(|_| Mutex::default()) }
    }
}

impl<V> Keyed<V> {
    /// The part of the keys in which `key` is. Nothing that waits may be done while it is held.
    pub fn lock(&self, key: Key) -> MutexGuard<'_, Keys<V>> {
        // The map takes the upper and the lower bits; these are others.
        let [first, ..] = &self.shards;
        let shard = self.shards.get((key.0 >> 32) as usize % SHARDS).unwrap_or(first);
        shard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().unwrap_or_else(PoisonError::into_inner).len()).sum()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<V: Default> Keyed<V> {
    /// Changes the value of a key, which is a new one where it has none. `ends_at` tells when a value stands for nothing any
    /// more: one whose end is not after `now` is as none, and the sooner it ends, the less is lost without it.
    pub fn change<T>(
        &self,
        key: Key,
        now: u64,
        ends_at: impl Fn(&V) -> u64,
        change: impl FnOnce(&mut V) -> T,
    ) -> T {
        let mut keys = self.lock(key);
        if keys.len() >= SHARD_KEYS_MAX && !keys.contains_key(&key) {
            make_room(&mut keys, now, ends_at);
        }
        change(keys.entry(key).or_default())
    }
}

#[cold]
fn make_room<V>(keys: &mut Keys<V>, now: u64, ends_at: impl Fn(&V) -> u64) {
    keys.retain(|_, value| ends_at(value) > now);
    if keys.len() < SHARD_KEYS_MAX {
        return;
    }
    let mut ends: Vec<u64> = keys.values().map(&ends_at).collect();
    let (_, last, _) = ends.select_nth_unstable(DROPPED_AT_ONCE.min(SHARD_KEYS_MAX - 1));
    let (last, mut left) = (*last, DROPPED_AT_ONCE);
    keys.retain(|_, value| {
        let drops = left > 0 && ends_at(value) <= last;
        left -= usize::from(drops);
        !drops
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(keyed: &Keyed<u64>, name: u64, now: u64, end: u64) {
        keyed.change(Key::of(name), now, |end| *end, |value| *value = end);
    }

    fn has(keyed: &Keyed<u64>, name: u64) -> bool {
        let key = Key::of(name);
        keyed.lock(key).contains_key(&key)
    }

    #[test]
    fn as_many_keys_as_promised_fit() {
        let keyed = Keyed::default();
        (0..KEYS_MAX as u64).for_each(|name| put(&keyed, name, 0, 10));
        // Within a thousandth: a part that is full by chance loses some.
        assert!(keyed.len() >= KEYS_MAX - KEYS_MAX / 1_000, "{}", keyed.len());
    }

    #[test]
    fn memory_is_bounded_and_the_most_indebted_stay() {
        let keyed = Keyed::default();
        (0..100).for_each(|name| put(&keyed, name, 0, 1_000));
        // A flood of others that each owe little.
        (100..1_000_000).for_each(|name| put(&keyed, name, 0, 10));
        assert!(keyed.len() <= SHARDS * SHARD_KEYS_MAX, "{}", keyed.len());
        assert_eq!((0..100).filter(|name| has(&keyed, *name)).count(), 100);
    }

    #[test]
    fn what_has_ended_goes_first() {
        let keyed = Keyed::default();
        (0..100_000).for_each(|name| put(&keyed, name, 0, 10));
        // Later those stand for nothing, and the new ones all fit.
        (200_000..250_000).for_each(|name| put(&keyed, name, 10, 20));
        assert_eq!((200_000..250_000).filter(|name| has(&keyed, *name)).count(), 50_000);
    }

    #[test]
    fn values_are_told_apart() {
        assert_eq!(Key::of("a"), Key::of("a"));
        assert_ne!(Key::of("a"), Key::of("b"));
        assert_ne!(Key::of(["ab", "c"]), Key::of(["a", "bc"]));
    }
}
