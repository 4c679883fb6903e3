//! Entries that only their predicates tell apart, in the order of preference.

use super::entry::{Entry, Key};
use smallvec::SmallVec;
use std::sync::Arc;

/// More entries than this are kept in chunks, so that an edit copies one chunk and not all.
const CHUNK_ENTRIES_MAX: usize = 64;

type Chunk<T> = Vec<Arc<Entry<T>>>;
type Slices<'a, T> = (&'a [Arc<Entry<T>>], &'a [Arc<Chunk<T>>]);

/// Never empty. Cheap to clone.
#[derive(Debug)]
pub(super) enum Group<T> {
    One(Arc<Entry<T>>),
    Few(Arc<SmallVec<[Arc<Entry<T>>; 4]>>),
    Many(Arc<Vec<Arc<Chunk<T>>>>),
}

impl<T> Clone for Group<T> {
    fn clone(&self) -> Self {
        match self {
            Group::One(entry) => Group::One(entry.clone()),
            Group::Few(entries) => Group::Few(entries.clone()),
            Group::Many(chunks) => Group::Many(chunks.clone()),
        }
    }
}

impl<T> Group<T> {
    pub(super) fn first(&self) -> Option<&Arc<Entry<T>>> {
        match self {
            Group::One(entry) => Some(entry),
            Group::Few(entries) => entries.first(),
            Group::Many(chunks) => chunks.first().and_then(|chunk| chunk.first()),
        }
    }

    /// Best first.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<Entry<T>>> {
        let (few, chunks): Slices<'_, T> = match self {
            Group::One(entry) => (std::slice::from_ref(entry), &[]),
            Group::Few(entries) => (entries, &[]),
            Group::Many(chunks) => (&[], chunks),
        };
        few.iter().chain(chunks.iter().flat_map(|chunk| chunk.iter()))
    }

    /// Adds an entry, or replaces the one with the same key; says whether it is a new one.
    pub(super) fn insert(&mut self, entry: Arc<Entry<T>>) -> bool {
        match self {
            Group::One(only) => {
                if only.key() == entry.key() {
                    *only = entry;
                    return false;
                }
                let mut both: SmallVec<[_; 4]> = [only.clone(), entry].into_iter().collect();
                both.sort_by(|a, b| a.key().cmp(&b.key()));
                *self = Group::Few(Arc::new(both));
                true
            }
            Group::Few(entries) => {
                let entries = Arc::make_mut(entries);
                match entries.binary_search_by(|other| other.key().cmp(&entry.key())) {
                    Ok(at) => {
                        if let Some(old) = entries.get_mut(at) {
                            *old = entry;
                        }
                        return false;
                    }
                    Err(at) => entries.insert(at, entry),
                }
                if entries.len() > CHUNK_ENTRIES_MAX {
                    *self = Group::Many(Arc::new(vec![Arc::new(entries.to_vec())]));
                }
                true
            }
            Group::Many(chunks) => insert_into(Arc::make_mut(chunks), entry),
        }
    }

    /// Removes the entry with that key: whether there was one, and what is left.
    pub(super) fn remove(mut self, key: Key<'_>) -> (bool, Option<Self>) {
        match &mut self {
            Group::One(only) => match only.key() == key {
                true => (true, None),
                false => (false, Some(self)),
            },
            Group::Few(entries) => {
                let Ok(at) = entries.binary_search_by(|other| other.key().cmp(&key)) else {
                    return (false, Some(self));
                };
                let entries = Arc::make_mut(entries);
                entries.remove(at);
                match entries.as_slice() {
                    [] => (true, None),
                    [only] => (true, Some(Group::One(only.clone()))),
                    _ => (true, Some(self)),
                }
            }
            Group::Many(chunks) => {
                let at = chunk_of(chunks, key);
                let found =
                    chunks.get(at).and_then(|c| c.binary_search_by(|other| other.key().cmp(&key)).ok());
                let Some(found) = found else { return (false, Some(self)) };
                let chunks = Arc::make_mut(chunks);
                if let Some(chunk) = chunks.get_mut(at) {
                    let chunk = Arc::make_mut(chunk);
                    chunk.remove(found);
                    if chunk.is_empty() {
                        chunks.remove(at);
                    }
                }
                match chunks.as_slice() {
                    [] => (true, None),
                    [chunk] if chunk.len() <= CHUNK_ENTRIES_MAX / 2 => {
                        (true, Some(Group::Few(Arc::new(chunk.iter().cloned().collect()))))
                    }
                    _ => (true, Some(self)),
                }
            }
        }
    }
}

/// The chunk that holds `key` or should: the first that does not end before it, or the last.
fn chunk_of<T>(chunks: &[Arc<Chunk<T>>], key: Key<'_>) -> usize {
    let at = chunks.partition_point(|chunk| chunk.last().is_some_and(|last| last.key() < key));
    at.min(chunks.len().saturating_sub(1))
}

fn insert_into<T>(chunks: &mut Vec<Arc<Chunk<T>>>, entry: Arc<Entry<T>>) -> bool {
    let at = chunk_of(chunks, entry.key());
    let Some(chunk) = chunks.get_mut(at) else { return false };
    let chunk = Arc::make_mut(chunk);
    match chunk.binary_search_by(|other| other.key().cmp(&entry.key())) {
        Ok(found) => {
            if let Some(old) = chunk.get_mut(found) {
                *old = entry;
            }
            return false;
        }
        Err(found) => chunk.insert(found, entry),
    }
    if chunk.len() > CHUNK_ENTRIES_MAX {
        let behind = chunk.split_off(CHUNK_ENTRIES_MAX / 2);
        chunks.insert(at + 1, Arc::new(behind));
    }
    true
}
