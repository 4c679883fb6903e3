//! A persistent hash map: a clone is one reference count, an edit of a clone copies one path from the root and shares
//! the rest.
//!
//! A tree of branches of [`FAN_OUT`], chosen by the hash from its highest bits down, ends in leaves of up to
//! [`LEAF_SLOTS_MAX`] slots sorted by hash. A look-up guesses the place of a hash within its leaf from its value, so it
//! costs one or two cache misses whatever the size: the branches of 100,000 entries take 64 KB and stay in cache.

use foldhash::quality::RandomState;
use std::borrow::Borrow;
use std::fmt;
use std::hash::{BuildHasher, Hash};
use std::sync::Arc;

/// A leaf with more slots is split, unless the hash is used up.
const LEAF_SLOTS_MAX: usize = 128;
/// A branch with fewer entries becomes a leaf.
const BRANCH_ENTRIES_MIN: usize = 64;
const FAN_OUT: usize = 64;
const FAN_OUT_BITS: u32 = 6;

/// The map without a hasher: callers bring hash and comparison. Several slots may have the same hash.
#[derive(Debug)]
pub(super) struct Shards<E> {
    root: Option<Node<E>>,
    len: usize,
}

#[derive(Debug)]
enum Node<E> {
    Leaf(Arc<[Slot<E>]>),
    Branch(Arc<[Node<E>; FAN_OUT]>),
}

#[derive(Debug, Clone)]
struct Slot<E> {
    hash: u64,
    entry: E,
}

impl<E> Clone for Shards<E> {
    fn clone(&self) -> Self {
        Self { root: self.root.clone(), len: self.len }
    }
}

impl<E> Clone for Node<E> {
    fn clone(&self) -> Self {
        match self {
            Node::Leaf(slots) => Node::Leaf(slots.clone()),
            Node::Branch(children) => Node::Branch(children.clone()),
        }
    }
}

impl<E> Default for Shards<E> {
    fn default() -> Self {
        Self { root: None, len: 0 }
    }
}

impl<E> Shards<E> {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(super) fn find(&self, hash: u64, same: impl Fn(&E) -> bool) -> Option<&E> {
        let mut node = self.root.as_ref()?;
        let mut depth = 0;
        loop {
            match node {
                Node::Branch(children) => node = children.get(child_index(hash, depth))?,
                Node::Leaf(slots) => {
                    let found = position(slots, hash, depth, same)?;
                    return slots.get(found).map(|slot| &slot.entry);
                }
            }
            depth += 1;
        }
    }

    /// All entries, in no order that means anything.
    pub(super) fn iter(&self) -> Iter<'_, E> {
        let root = self.root.as_ref();
        Iter {
            branches: root.map(std::slice::from_ref).map(<[_]>::iter).into_iter().collect(),
            leaf: [].iter(),
        }
    }
}

impl<E: Clone> Shards<E> {
    /// Copies what is shared on the way to the entry.
    pub(super) fn find_mut(&mut self, hash: u64, same: impl Fn(&E) -> bool) -> Option<&mut E> {
        self.find(hash, &same)?;
        let mut node = self.root.as_mut()?;
        let mut depth = 0;
        loop {
            match node {
                Node::Branch(children) => {
                    node = Arc::make_mut(children).get_mut(child_index(hash, depth))?;
                }
                Node::Leaf(slots) => {
                    let found = position(slots, hash, depth, same)?;
                    return Arc::make_mut(slots).get_mut(found).map(|slot| &mut slot.entry);
                }
            }
            depth += 1;
        }
    }

    /// Adds an entry; that none is the same is the caller's business.
    pub(super) fn add(&mut self, hash: u64, entry: E) {
        let slot = Slot { hash, entry };
        self.len += 1;
        match &mut self.root {
            Some(root) => root.add(slot, 0),
            None => self.root = Some(Node::Leaf(Arc::new([slot]))),
        }
    }

    pub(super) fn remove(&mut self, hash: u64, same: impl Fn(&E) -> bool) -> Option<E> {
        self.find(hash, &same)?;
        let removed = self.root.as_mut()?.remove(hash, 0, &same)?;
        self.len -= 1;
        if self.len == 0 {
            self.root = None;
        }
        Some(removed)
    }
}

impl<E: Clone> Node<E> {
    fn add(&mut self, slot: Slot<E>, depth: u32) {
        match self {
            Node::Branch(children) => {
                if let Some(child) = Arc::make_mut(children).get_mut(child_index(slot.hash, depth)) {
                    child.add(slot, depth + 1);
                }
            }
            Node::Leaf(slots) if slots.len() < LEAF_SLOTS_MAX || depth * FAN_OUT_BITS >= u64::BITS => {
                let at = slots.partition_point(|other| other.hash < slot.hash);
                let (before, behind) = slots.split_at_checked(at).unwrap_or_default();
                *slots = before.iter().cloned().chain([slot]).chain(behind.iter().cloned()).collect();
            }
            Node::Leaf(slots) => {
                let children = std::array::from_fn(|index| {
                    let own = |other: &&Slot<E>| child_index(other.hash, depth) == index;
                    Node::Leaf(slots.iter().filter(own).cloned().collect::<Vec<_>>().into())
                });
                *self = Node::Branch(Arc::new(children));
                self.add(slot, depth);
            }
        }
    }

    fn remove(&mut self, hash: u64, depth: u32, same: &impl Fn(&E) -> bool) -> Option<E> {
        match self {
            Node::Leaf(slots) => {
                let at = position(slots, hash, depth, same)?;
                let removed = slots.get(at)?.entry.clone();
                let (before, behind) = slots.split_at_checked(at).unwrap_or_default();
                *slots = before.iter().chain(behind.iter().skip(1)).cloned().collect();
                Some(removed)
            }
            Node::Branch(children) => {
                let child = Arc::make_mut(children).get_mut(child_index(hash, depth))?;
                let removed = child.remove(hash, depth + 1, same)?;
                if let Some(slots) = few(children.as_slice()) {
                    *self = Node::Leaf(slots);
                }
                Some(removed)
            }
        }
    }
}

/// The slots of all children if they are leaves and hold few.
fn few<E: Clone>(children: &[Node<E>]) -> Option<Arc<[Slot<E>]>> {
    let mut total = 0;
    for child in children {
        match child {
            Node::Leaf(slots) => total += slots.len(),
            Node::Branch(_) => return None,
        }
        if total >= BRANCH_ENTRIES_MIN {
            return None;
        }
    }
    let leaves = children.iter().filter_map(|child| match child {
        Node::Leaf(slots) => Some(slots.iter().cloned()),
        Node::Branch(_) => None,
    });
    Some(leaves.flatten().collect::<Vec<_>>().into())
}

fn child_index(hash: u64, depth: u32) -> usize {
    let shifted = hash.checked_shl(depth * FAN_OUT_BITS).unwrap_or_default();
    (shifted >> (u64::BITS - FAN_OUT_BITS)) as usize
}

/// Where the slot is, in a leaf at `depth`. Hashes within a leaf are spread evenly, so the place is guessed from the
/// bits that no branch has used, and searched from there.
fn position<E>(slots: &[Slot<E>], hash: u64, depth: u32, same: impl Fn(&E) -> bool) -> Option<usize> {
    let unused = hash.checked_shl(depth * FAN_OUT_BITS).unwrap_or_default();
    let mut at = ((u128::from(unused) * slots.len() as u128) >> u64::BITS) as usize;
    if slots.get(at)?.hash < hash {
        while slots.get(at)?.hash < hash {
            at += 1;
        }
    } else {
        while at > 0 && slots.get(at - 1)?.hash >= hash {
            at -= 1;
        }
    }
    loop {
        let slot = slots.get(at)?;
        if slot.hash != hash {
            return None;
        }
        if same(&slot.entry) {
            return Some(at);
        }
        at += 1;
    }
}

#[derive(Debug)]
pub(super) struct Iter<'a, E> {
    branches: Vec<std::slice::Iter<'a, Node<E>>>,
    leaf: std::slice::Iter<'a, Slot<E>>,
}

impl<'a, E> Iterator for Iter<'a, E> {
    type Item = &'a E;

    fn next(&mut self) -> Option<&'a E> {
        loop {
            if let Some(slot) = self.leaf.next() {
                return Some(&slot.entry);
            }
            match self.branches.last_mut()?.next() {
                Some(Node::Leaf(slots)) => self.leaf = slots.iter(),
                Some(Node::Branch(children)) => self.branches.push(children.iter()),
                None => {
                    self.branches.pop();
                }
            }
        }
    }
}

/// A persistent hash map. A clone shares everything; `insert` and `remove` copy what is shared on one path: some hundred
/// pointers and up to 128 keys and values, which should be cheap to clone.
#[derive(Clone)]
pub struct ShardedMap<K, V> {
    shards: Shards<(K, V)>,
    hasher: RandomState,
}

impl<K, V> ShardedMap<K, V> {
    /// An empty map, with a hash seed of its own.
    pub fn new() -> Self {
        Self { shards: Shards::default(), hasher: RandomState::default() }
    }

    /// Number of entries.
    pub fn len(&self) -> usize {
        self.shards.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.shards.is_empty()
    }

    /// All entries, in no order that means anything.
    pub fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.shards.iter().map(|(key, value)| (key, value))
    }

    /// All keys, in the order of [`iter`](Self::iter).
    pub fn keys(&self) -> impl Iterator<Item = &K> {
        self.iter().map(|(key, _)| key)
    }

    /// All values, in the order of [`iter`](Self::iter).
    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.iter().map(|(_, value)| value)
    }
}

impl<K: Hash + Eq, V> ShardedMap<K, V> {
    /// The value of `key`.
    pub fn get<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.get_key_value(key).map(|(_, value)| value)
    }

    /// The key as it is stored, and its value.
    pub fn get_key_value<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> Option<(&K, &V)>
    where
        K: Borrow<Q>,
    {
        let found = self.shards.find(self.hasher.hash_one(key), |(other, _)| other.borrow() == key)?;
        Some((&found.0, &found.1))
    }

    /// Whether `key` has a value.
    pub fn contains_key<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.get(key).is_some()
    }
}

impl<K: Hash + Eq + Clone, V: Clone> ShardedMap<K, V> {
    /// Sets the value of `key`; returns the one it had.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        if let Some(old) = self.get_mut(&key) {
            return Some(std::mem::replace(old, value));
        }
        self.shards.add(self.hasher.hash_one(&key), (key, value));
        None
    }

    /// Removes `key`; returns the value it had.
    pub fn remove<Q: Hash + Eq + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        let hash = self.hasher.hash_one(key);
        self.shards.remove(hash, |(other, _)| other.borrow() == key).map(|(_, value)| value)
    }

    /// The value of `key`, to be changed here and in no clone.
    pub fn get_mut<Q: Hash + Eq + ?Sized>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        let hash = self.hasher.hash_one(key);
        self.shards.find_mut(hash, |(other, _)| other.borrow() == key).map(|(_, value)| value)
    }
}

impl<K, V> Default for ShardedMap<K, V> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K: fmt::Debug, V: fmt::Debug> fmt::Debug for ShardedMap<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl<K: Hash + Eq, V: PartialEq> PartialEq for ShardedMap<K, V> {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.iter().all(|(key, value)| other.get(key) == Some(value))
    }
}

impl<K: Hash + Eq + Clone, V: Clone> Extend<(K, V)> for ShardedMap<K, V> {
    fn extend<I: IntoIterator<Item = (K, V)>>(&mut self, entries: I) {
        for (key, value) in entries {
            self.insert(key, value);
        }
    }
}

impl<K: Hash + Eq + Clone, V: Clone> FromIterator<(K, V)> for ShardedMap<K, V> {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        let mut map = Self::new();
        map.extend(entries);
        map
    }
}
