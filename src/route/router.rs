//! The index over the routes of all frontends.
//!
//! Paths without parameters lie in one table by host and path: one look-up finds them. All others lie with their host,
//! in a tree over their segments. Hosts that cannot be looked up by name share one place for each [`HostRank`], and
//! each entry there is asked for its host. A search goes from the most specific place to the least and stops as soon as
//! nothing with a higher priority can follow.

use super::entry::{Entry, Key, PathClass, Place, Text, wildcard_key};
use super::group::Group;
use super::query::{Params, Query};
use super::rank::HostRank;
use super::sharded::{ShardedMap, Shards};
use super::tree::{Edge, Visit, Walk};
use super::vulcand::{self, Written};
use crate::expr::Route;
use crate::model::{FrontendId, RouteOrder};
use foldhash::HashMap;
use foldhash::quality::RandomState;
use std::cmp::Ordering;
use std::fmt;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;

/// The index. A clone shares everything; `insert` and `remove` on a clone copy the few nodes on their way, so the
/// original goes on answering as before.
pub struct Router<T> {
    hasher: RandomState,
    /// Paths without parameters, by host and path.
    literals: Shards<Group<T>>,
    /// Everything else of `Exact` and `Wildcard` hosts.
    hosts: Shards<HostSlot<T>>,
    /// Everything else of `Labels`, `Regexp` and `Any`.
    shared: [Option<Arc<Bucket<T>>>; 3],
    classes: [Class; 5],
    /// Where routes are preferred as vulcand does it.
    vulcand: Option<Arc<Vulcand>>,
}

/// What vulcand's order needs to know.
#[derive(Clone)]
struct Vulcand {
    /// The expressions that vulcand has.
    written: ShardedMap<FrontendId, Arc<Written>>,
    /// As of the last [`settle`](Router::settle).
    positions: Arc<HashMap<FrontendId, u32>>,
    stale: bool,
}

/// What the router knows about one [`HostRank`].
#[derive(Debug, Clone, Copy)]
struct Class {
    rank: HostRank,
    entries: usize,
    literals: usize,
    /// No priority is higher; it does not fall before the class is empty.
    bound: i64,
}

#[derive(Debug)]
enum HostSlot<T> {
    /// Most hosts have one.
    Single(Arc<Entry<T>>),
    Bucket(Arc<Bucket<T>>),
}

/// All entries of a host whose path is not literal.
#[derive(Debug)]
struct Bucket<T> {
    host: HostRank,
    key: Text,
    /// As [`Class::bound`].
    bound: i64,
    tree: Option<Edge<T>>,
    regexps: Option<Group<T>>,
    any: Option<Group<T>>,
}

impl<T> Clone for HostSlot<T> {
    fn clone(&self) -> Self {
        match self {
            HostSlot::Single(entry) => HostSlot::Single(entry.clone()),
            HostSlot::Bucket(bucket) => HostSlot::Bucket(bucket.clone()),
        }
    }
}

impl<T> HostSlot<T> {
    fn is_of(&self, host: HostRank, key: &[u8]) -> bool {
        match self {
            HostSlot::Single(entry) => entry.host == host && entry.host_key() == key,
            HostSlot::Bucket(bucket) => bucket.host == host && bucket.key.bytes() == key,
        }
    }
}

impl<T> Clone for Bucket<T> {
    fn clone(&self) -> Self {
        Self {
            host: self.host,
            key: self.key.clone(),
            bound: self.bound,
            tree: self.tree.clone(),
            regexps: self.regexps.clone(),
            any: self.any.clone(),
        }
    }
}

impl<T> Bucket<T> {
    fn new(host: HostRank, key: &[u8]) -> Self {
        Self { host, key: Text::new(key, &[]), bound: i64::MIN, tree: None, regexps: None, any: None }
    }

    fn is_empty(&self) -> bool {
        self.tree.is_none() && self.regexps.is_none() && self.any.is_none()
    }

    fn insert(&mut self, entry: Arc<Entry<T>>, hasher: &RandomState) -> bool {
        self.bound = self.bound.max(entry.priority);
        let place = match entry.path {
            PathClass::Regexp => &mut self.regexps,
            PathClass::Any => &mut self.any,
            PathClass::Literal | PathClass::Shape => match &mut self.tree {
                Some(tree) => return tree.insert(entry, hasher),
                None => {
                    self.tree = Some(Edge::Leaf(Group::One(entry)));
                    return true;
                }
            },
        };
        insert_into(place, entry)
    }

    fn remove(&mut self, place: &Place<'_>, key: Key<'_>, hasher: &RandomState) -> bool {
        let group = match place.path {
            PathClass::Regexp => &mut self.regexps,
            PathClass::Any => &mut self.any,
            PathClass::Literal | PathClass::Shape => {
                let Some(tree) = self.tree.take() else { return false };
                let (removed, left) = tree.remove(place.shape, key, hasher);
                self.tree = left;
                return removed;
            }
        };
        let Some((removed, left)) = group.take().map(|group| group.remove(key)) else { return false };
        *group = left;
        removed
    }

    fn walk<'r>(&'r self, path: &str, hasher: &RandomState, visit: &mut impl Visit<'r, T>) {
        if let Some(tree) = &self.tree {
            Walk { path: path.as_bytes(), hasher }.run(tree, visit);
        }
        for group in self.regexps.iter().chain(&self.any) {
            if visit.done() {
                return;
            }
            visit.group(group, false);
        }
    }

    fn for_each<'r>(&'r self, see: &mut dyn FnMut(&'r Entry<T>)) {
        self.tree.iter().for_each(|tree| tree.for_each(see));
        self.regexps.iter().chain(&self.any).flat_map(Group::iter).for_each(|entry| see(entry));
    }
}

fn insert_into<T>(place: &mut Option<Group<T>>, entry: Arc<Entry<T>>) -> bool {
    match place {
        Some(group) => group.insert(entry),
        None => {
            *place = Some(Group::One(entry));
            true
        }
    }
}

impl<T> Clone for Router<T> {
    fn clone(&self) -> Self {
        Self {
            hasher: self.hasher.clone(),
            literals: self.literals.clone(),
            hosts: self.hosts.clone(),
            shared: self.shared.clone(),
            classes: self.classes,
            vulcand: self.vulcand.clone(),
        }
    }
}

impl<T> Default for Router<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> fmt::Debug for Router<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Router").field("len", &self.len()).finish_non_exhaustive()
    }
}

impl<T> Router<T> {
    /// An index without routes, with a hash seed of its own.
    pub fn new() -> Self {
        let class = |rank| Class { rank, entries: 0, literals: 0, bound: i64::MIN };
        Self {
            hasher: RandomState::default(),
            literals: Shards::default(),
            hosts: Shards::default(),
            shared: [None, None, None],
            classes: [
                class(HostRank::Exact),
                class(HostRank::Wildcard),
                class(HostRank::Labels),
                class(HostRank::Regexp),
                class(HostRank::Any),
            ],
            vulcand: None,
        }
    }

    /// An index without routes, which prefers them in this order. With vulcand's, a route's rank decides only among
    /// those of the same priority that vulcand does not have, which stand behind those it has.
    pub fn with_order(order: RouteOrder) -> Self {
        let vulcand = || Vulcand { written: ShardedMap::new(), positions: Arc::default(), stale: false };
        let vulcand = (order == RouteOrder::Vulcand).then(|| Arc::new(vulcand()));
        Self { vulcand, ..Self::new() }
    }

    /// In which order routes of the same priority are preferred.
    pub fn order(&self) -> RouteOrder {
        if self.vulcand.is_some() { RouteOrder::Vulcand } else { RouteOrder::Flipgate }
    }

    /// Which of two entries is preferred.
    pub(super) fn compare(&self, a: &Entry<T>, b: &Entry<T>) -> Ordering {
        match &self.vulcand {
            Some(vulcand) => vulcand.compare(a, b),
            None => a.compare(b),
        }
    }

    /// Number of alternatives of all routes.
    pub fn len(&self) -> usize {
        self.classes.iter().map(|class| class.entries).sum()
    }

    /// Whether there is no route.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn hash(&self, host: HostRank, key: &[u8], path: Option<&[u8]>) -> u64 {
        let mut state = self.hasher.build_hasher();
        state.write_u8(host as u8);
        state.write(key);
        if let Some(path) = path {
            state.write(path);
        }
        state.finish()
    }

    /// Shows `visit` what `class` has for this host and path.
    pub(super) fn search_all<'r>(&'r self, query: &Query<'_>, visit: &mut impl Visit<'r, T>) {
        self.classes.iter().for_each(|class| self.search(class, query, visit));
    }

    fn search<'r>(&'r self, class: &Class, query: &Query<'_>, visit: &mut impl Visit<'r, T>) {
        let host = class.rank;
        let key = match host {
            HostRank::Exact => query.host,
            HostRank::Wildcard => match wildcard_key(query.host) {
                Some(parent) => parent,
                None => return,
            },
            HostRank::Labels | HostRank::Regexp | HostRank::Any => "",
        };
        let key = key.as_bytes();
        if class.literals > 0 {
            let path = query.path.as_bytes();
            let same = |group: &Group<T>| group.first().is_some_and(|first| first.is_at(host, key, path));
            if let Some(group) = self.literals.find(self.hash(host, key, Some(path)), same) {
                visit.group(group, false);
                if visit.done() {
                    return;
                }
            }
        }
        if class.literals == class.entries {
            return;
        }
        let bucket = match self.shared_index(host) {
            Some(index) => self.shared.get(index).and_then(Option::as_ref),
            None => match self.hosts.find(self.hash(host, key, None), |slot| slot.is_of(host, key)) {
                Some(HostSlot::Single(entry)) => return single(entry, query.path, visit),
                Some(HostSlot::Bucket(bucket)) => Some(bucket),
                None => None,
            },
        };
        if let Some(bucket) = bucket {
            bucket.walk(query.path, &self.hasher, visit);
        }
    }

    fn shared_index(&self, host: HostRank) -> Option<usize> {
        (host as usize).checked_sub(HostRank::Labels as usize)
    }

    /// All entries, in no order that means anything.
    pub(super) fn for_each<'r>(&'r self, see: &mut dyn FnMut(&'r Entry<T>)) {
        self.literals.iter().flat_map(Group::iter).for_each(|entry| see(entry));
        for slot in self.hosts.iter() {
            match slot {
                HostSlot::Single(entry) => see(entry),
                HostSlot::Bucket(bucket) => bucket.for_each(see),
            }
        }
        self.shared.iter().flatten().for_each(|bucket| bucket.for_each(see));
    }
}

fn single<'r, T>(entry: &'r Arc<Entry<T>>, path: &str, visit: &mut impl Visit<'r, T>) {
    let matched = match entry.path {
        PathClass::Regexp | PathClass::Any => true,
        PathClass::Literal | PathClass::Shape => match (entry.shape(), path.as_bytes()) {
            ([b'/', shape @ ..], path @ [b'/', ..]) => {
                crate::expr::shape::match_from(shape, b'/', path, 1, &mut ())
            }
            _ => false,
        },
    };
    if matched {
        visit.entry(entry);
    }
}

impl Vulcand {
    fn position(&self, id: &FrontendId) -> u32 {
        self.positions.get(id).copied().unwrap_or(u32::MAX)
    }

    fn compare<T>(&self, a: &Entry<T>, b: &Entry<T>) -> Ordering {
        (b.priority.cmp(&a.priority))
            .then_with(|| self.position(&a.id).cmp(&self.position(&b.id)))
            .then_with(|| a.compare(b))
    }
}

impl<T> Router<T> {
    /// Brings vulcand's order up to date with the edits before; without it they are found, but where they were. Costs
    /// time in proportion to all routes, and nothing where the order is not vulcand's.
    pub fn settle(&mut self) {
        if let Some(vulcand) = self.vulcand.as_mut().filter(|vulcand| vulcand.stale) {
            let vulcand = Arc::make_mut(vulcand);
            vulcand.positions = Arc::new(vulcand::positions(vulcand.written.iter()));
            vulcand.stale = false;
        }
    }

    fn note_written(&mut self, id: &FrontendId, route: Option<&Route>) {
        let Some(vulcand) = self.vulcand.as_mut().map(Arc::make_mut) else { return };
        let Some(route) = route else {
            vulcand.stale |= vulcand.written.remove(id).is_some();
            return;
        };
        if vulcand.written.get(id).is_some_and(|written| written.text() == route.text()) {
            return;
        }
        match Written::new(route) {
            Some(written) => drop(vulcand.written.insert(id.clone(), Arc::new(written))),
            None => drop(vulcand.written.remove(id)),
        }
        vulcand.stale = true;
    }
}

impl<T: Clone> Router<T> {
    /// Adds the route of frontend `id`; the same id, route and priority again only change the value. A route or a
    /// priority that changes is removed as it was and inserted as it is.
    pub fn insert(&mut self, id: &FrontendId, route: &Route, priority: i64, value: T) {
        self.note_written(id, Some(route));
        for (index, alternative) in route.alternatives().iter().enumerate() {
            let terms = alternative.terms();
            let place = Place::of(terms);
            let key = Key::of(id, priority, index, terms, &place);
            let entry = Arc::new(Entry::new(key, &place, route, terms, value.clone()));
            let literal = place.path == PathClass::Literal;
            let new =
                if literal { self.insert_literal(&place, entry) } else { self.insert_other(&place, entry) };
            if let Some(class) = self.classes.get_mut(place.host as usize) {
                class.bound = class.bound.max(priority);
                class.entries += usize::from(new);
                class.literals += usize::from(new && literal);
            }
        }
    }

    /// Removes what was inserted with the same id, route and priority.
    pub fn remove(&mut self, id: &FrontendId, route: &Route, priority: i64) {
        self.note_written(id, None);
        for (index, alternative) in route.alternatives().iter().enumerate() {
            let terms = alternative.terms();
            let place = Place::of(terms);
            let key = Key::of(id, priority, index, terms, &place);
            let literal = place.path == PathClass::Literal;
            let removed =
                if literal { self.remove_literal(&place, key) } else { self.remove_other(&place, key) };
            if let Some(class) = self.classes.get_mut(place.host as usize) {
                class.entries -= usize::from(removed);
                class.literals -= usize::from(removed && literal);
                if class.entries == 0 {
                    class.bound = i64::MIN;
                }
            }
        }
    }

    fn insert_literal(&mut self, place: &Place<'_>, entry: Arc<Entry<T>>) -> bool {
        let hash = self.hash(place.host, place.key, Some(place.shape));
        let same = |group: &Group<T>| {
            group.first().is_some_and(|first| first.is_at(place.host, place.key, place.shape))
        };
        match self.literals.find_mut(hash, same) {
            Some(group) => group.insert(entry),
            None => {
                self.literals.add(hash, Group::One(entry));
                true
            }
        }
    }

    fn remove_literal(&mut self, place: &Place<'_>, key: Key<'_>) -> bool {
        let hash = self.hash(place.host, place.key, Some(place.shape));
        let same = |group: &Group<T>| {
            group.first().is_some_and(|first| first.is_at(place.host, place.key, place.shape))
        };
        let Some(group) = self.literals.remove(hash, same) else { return false };
        let (removed, left) = group.remove(key);
        if let Some(group) = left {
            self.literals.add(hash, group);
        }
        removed
    }

    fn insert_other(&mut self, place: &Place<'_>, entry: Arc<Entry<T>>) -> bool {
        if let Some(bucket) = self.shared_index(place.host).and_then(|index| self.shared.get_mut(index)) {
            let bucket = bucket.get_or_insert_with(|| Arc::new(Bucket::new(place.host, place.key)));
            return Arc::make_mut(bucket).insert(entry, &self.hasher);
        }
        let hash = self.hash(place.host, place.key, None);
        match self.hosts.find_mut(hash, |slot| slot.is_of(place.host, place.key)) {
            Some(HostSlot::Bucket(bucket)) => Arc::make_mut(bucket).insert(entry, &self.hasher),
            Some(HostSlot::Single(only)) if only.key() == entry.key() && only.shape() == entry.shape() => {
                *only = entry;
                false
            }
            Some(slot) => {
                let mut bucket = Bucket::new(place.host, place.key);
                if let HostSlot::Single(only) = slot {
                    bucket.insert(only.clone(), &self.hasher);
                }
                let new = bucket.insert(entry, &self.hasher);
                *slot = HostSlot::Bucket(Arc::new(bucket));
                new
            }
            None => {
                self.hosts.add(hash, HostSlot::Single(entry));
                true
            }
        }
    }

    fn remove_other(&mut self, place: &Place<'_>, key: Key<'_>) -> bool {
        if let Some(shared) = self.shared_index(place.host).and_then(|index| self.shared.get_mut(index)) {
            let Some(mut bucket) = shared.take() else { return false };
            let removed = Arc::make_mut(&mut bucket).remove(place, key, &self.hasher);
            *shared = (!bucket.is_empty()).then_some(bucket);
            return removed;
        }
        let hash = self.hash(place.host, place.key, None);
        let same = |slot: &HostSlot<T>| slot.is_of(place.host, place.key);
        match self.hosts.find_mut(hash, same) {
            Some(HostSlot::Single(only)) if only.key() != key || only.shape() != place.shape => return false,
            Some(HostSlot::Bucket(bucket)) => {
                let inner = Arc::make_mut(bucket);
                let removed = inner.remove(place, key, &self.hasher);
                if !inner.is_empty() {
                    return removed;
                }
            }
            Some(HostSlot::Single(_)) => {}
            None => return false,
        }
        self.hosts.remove(hash, same).is_some()
    }
}

impl<T: Send + Sync + 'static> Router<T> {
    /// What the best route that matches leads to; `params` become those of that route. Does not allocate.
    pub fn find<'r>(&'r self, query: &Query<'_>, params: &mut Params) -> Option<&'r T> {
        if let Some(vulcand) = &self.vulcand {
            return self.find_as_vulcand(vulcand, query, params);
        }
        let mut best = Best { query, found: None, bound: i64::MIN };
        for class in &self.classes {
            best.bound = class.bound;
            if class.entries > 0 && !best.done() {
                self.search(class, query, &mut best);
            }
        }
        params.set(best.found.filter(|entry| entry.captures()).map(|entry| entry.clone() as _));
        best.found.map(|entry| &entry.value)
    }
}

impl<T: Send + Sync + 'static> Router<T> {
    /// Vulcand's order knows no more specific hosts, so all places are searched.
    fn find_as_vulcand<'r>(
        &'r self,
        vulcand: &'r Vulcand,
        query: &Query<'_>,
        params: &mut Params,
    ) -> Option<&'r T> {
        let mut first = First { query, vulcand, found: None };
        self.search_all(query, &mut first);
        params.set(first.found.filter(|entry| entry.captures()).map(|entry| entry.clone() as _));
        first.found.map(|entry| &entry.value)
    }
}

/// Keeps the entry that the request meets and vulcand prefers.
struct First<'r, 'q, T> {
    query: &'q Query<'q>,
    vulcand: &'r Vulcand,
    found: Option<&'r Arc<Entry<T>>>,
}

impl<'r, T> Visit<'r, T> for First<'r, '_, T> {
    fn group(&mut self, group: &'r Group<T>, ended: bool) {
        for entry in group.iter().filter(|entry| !(ended && entry.takes_rest())) {
            self.entry(entry);
        }
    }

    fn entry(&mut self, entry: &'r Arc<Entry<T>>) {
        let is_first = |found: &Arc<Entry<T>>| self.vulcand.compare(entry, found) == Ordering::Less;
        if entry.unmet(self.query).is_none() && self.found.is_none_or(is_first) {
            self.found = Some(entry);
        }
    }

    fn done(&self) -> bool {
        false
    }
}

/// Keeps the best entry that the request meets.
struct Best<'r, 'q, T> {
    query: &'q Query<'q>,
    found: Option<&'r Arc<Entry<T>>>,
    /// No priority in what is searched now is higher.
    bound: i64,
}

impl<'r, T> Visit<'r, T> for Best<'r, '_, T> {
    fn group(&mut self, group: &'r Group<T>, ended: bool) {
        for entry in group.iter() {
            if self.found.is_some_and(|found| entry.priority <= found.priority) {
                return;
            }
            if !(ended && entry.takes_rest()) {
                self.entry(entry);
            }
        }
    }

    fn entry(&mut self, entry: &'r Arc<Entry<T>>) {
        if self.found.is_none_or(|found| entry.priority > found.priority) && entry.unmet(self.query).is_none()
        {
            self.found = Some(entry);
        }
    }

    fn done(&self) -> bool {
        self.found.is_some_and(|found| found.priority >= self.bound)
    }
}
