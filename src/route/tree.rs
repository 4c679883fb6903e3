//! The tree over path shapes with parameters or prefixes, one level a segment.
//!
//! A subtree with one shape is a leaf that hangs as high as it can; what is left of the shape is matched against the
//! entry's own text. Literal segments that all shapes of a subtree share are one string. So a tree has a node only where
//! shapes part, and most look-ups see one.

use super::entry::{Entry, Key, Text};
use super::group::Group;
use super::rank::compare_segments;
use super::sharded::Shards;
use crate::expr::shape::{self, SegmentKind};
use foldhash::quality::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;

/// Sees the groups whose shape matches, in the order of preference among equal priorities.
pub(super) trait Visit<'r, T> {
    /// If `ended`, nothing is left for `<path:>`, so entries with one do not match.
    fn group(&mut self, group: &'r Group<T>, ended: bool);
    /// As `group` for one entry that matches.
    fn entry(&mut self, entry: &'r Arc<Entry<T>>);
    /// Whether nothing that follows in this tree matters.
    fn done(&self) -> bool;
}

#[derive(Debug)]
pub(super) enum Edge<T> {
    /// All of one shape.
    Leaf(Group<T>),
    Node(Arc<Node<T>>),
}

impl<T> Clone for Edge<T> {
    fn clone(&self) -> Self {
        match self {
            Edge::Leaf(group) => Edge::Leaf(group.clone()),
            Edge::Node(node) => Edge::Node(node.clone()),
        }
    }
}

/// Where shapes part.
#[derive(Debug)]
pub(super) struct Node<T> {
    /// The segment that led here, which is how the node above finds it if it is literal, and behind it the literal
    /// segments that all shapes below share, each with its slash.
    text: Text,
    segment_bytes: usize,
    literals: Shards<Edge<T>>,
    parameters: Option<Box<Parameters<T>>>,
    /// Shapes that end here.
    ends: Option<Group<T>>,
    /// Shapes that end with `<path:>` or as a prefix behind this segment.
    tails: Option<Group<T>>,
}

#[derive(Debug)]
struct Parameters<T> {
    /// Sorted by [`compare_segments`].
    mixed: Vec<(Box<[u8]>, Edge<T>)>,
    int: Option<Edge<T>>,
    name: Option<Edge<T>>,
}

impl<T> Clone for Node<T> {
    fn clone(&self) -> Self {
        Self {
            text: self.text.clone(),
            segment_bytes: self.segment_bytes,
            literals: self.literals.clone(),
            parameters: self.parameters.clone(),
            ends: self.ends.clone(),
            tails: self.tails.clone(),
        }
    }
}

impl<T> Clone for Parameters<T> {
    fn clone(&self) -> Self {
        Self { mixed: self.mixed.clone(), int: self.int.clone(), name: self.name.clone() }
    }
}

/// How far a path and a shape are walked. Each is the offset of the next segment, or one more than the length when
/// there is none.
#[derive(Clone, Copy)]
struct At {
    path: usize,
    shape: usize,
}

/// A walk over one tree with one path.
pub(super) struct Walk<'a> {
    pub(super) path: &'a [u8],
    pub(super) hasher: &'a RandomState,
}

impl Walk<'_> {
    /// Shows `visit` every group of the tree whose shape matches.
    pub(super) fn run<'r, T>(&self, root: &'r Edge<T>, visit: &mut impl Visit<'r, T>) {
        if self.path.first() == Some(&b'/') {
            self.edge(root, At { path: 1, shape: 1 }, visit);
        }
    }

    fn edge<'r, T>(&self, edge: &'r Edge<T>, at: At, visit: &mut impl Visit<'r, T>) {
        match edge {
            Edge::Leaf(group) => {
                let shape = group.first().map(|entry| entry.shape()).unwrap_or_default();
                let matched = match (shape.get(at.shape..), at.path <= self.path.len()) {
                    (None, more) => !more,
                    (Some(rest), false) => rest == [shape::PREFIX],
                    (Some(rest), true) => shape::match_from(rest, b'/', self.path, at.path, &mut ()),
                };
                if matched {
                    visit.group(group, false);
                }
            }
            Edge::Node(node) => self.node(node, at, visit),
        }
    }

    fn node<'r, T>(&self, node: &'r Node<T>, mut at: At, visit: &mut impl Visit<'r, T>) {
        let shared = node.shared();
        if !shared.is_empty() {
            let rest = self.path.get(at.path..).unwrap_or_default();
            // The path may end where the shared segments do, without their last slash.
            let ends =
                shared.split_last().is_some_and(|(_, shared)| rest == shared) && at.path <= self.path.len();
            if !ends && !rest.starts_with(shared) {
                return;
            }
            at.path += shared.len();
            at.shape += shared.len();
        }
        let Some(rest) = self.path.get(at.path..) else {
            for group in node.ends.iter().chain(&node.tails) {
                visit.group(group, true);
            }
            return;
        };
        let segment = shape::split(rest, b'/').0;
        let behind = |used: usize| At { path: at.path + segment.len() + 1, shape: at.shape + used + 1 };
        let found = node.literals.find(hash(self.hasher, segment), |edge| edge.segment(at.shape) == segment);
        if let Some(edge) = found {
            self.edge(edge, behind(segment.len()), visit);
            if visit.done() {
                return;
            }
        }
        if let Some(parameters) = &node.parameters {
            let mixed = parameters.mixed.iter().map(|(pattern, edge)| (&**pattern, edge));
            let int = parameters.int.iter().map(|edge| (&[shape::INT] as &[u8], edge));
            let name = parameters.name.iter().map(|edge| (&[shape::NAME] as &[u8], edge));
            for (pattern, edge) in mixed.chain(int).chain(name) {
                if shape::match_segment(pattern, segment, at.path, &mut ()) {
                    self.edge(edge, behind(pattern.len()), visit);
                    if visit.done() {
                        return;
                    }
                }
            }
        }
        if let Some(group) = &node.tails {
            visit.group(group, false);
        }
    }
}

fn hash(hasher: &RandomState, segment: &[u8]) -> u64 {
    let mut state = hasher.build_hasher();
    state.write(segment);
    state.finish()
}

/// The segment at `at`; `None` behind the last.
fn segment_at(shape: &[u8], at: usize) -> Option<&[u8]> {
    shape.get(at..).map(|rest| shape::split(rest, b'/').0)
}

/// Length of the literal segments, each with a slash behind it, with which both begin.
fn shared_bytes(a: &[u8], b: &[u8]) -> usize {
    let mut shared = 0;
    let equal = a.iter().zip(b).take_while(|(a, b)| a == b && !shape::is_parameter(**a)).enumerate();
    for (index, (byte, _)) in equal {
        if *byte == b'/' {
            shared = index + 1;
        }
    }
    shared
}

impl<T> Edge<T> {
    /// The segment that leads here, which begins at `at` in the shapes below.
    fn segment(&self, at: usize) -> &[u8] {
        match self {
            Edge::Leaf(group) => {
                group.first().and_then(|entry| segment_at(entry.shape(), at)).unwrap_or_default()
            }
            Edge::Node(node) => node.text.bytes().get(..node.segment_bytes).unwrap_or_default(),
        }
    }

    /// Adds an entry below; says whether it is new.
    pub(super) fn insert(&mut self, entry: Arc<Entry<T>>, hasher: &RandomState) -> bool {
        self.insert_at(entry, 1, &[], hasher)
    }

    fn insert_at(&mut self, entry: Arc<Entry<T>>, at: usize, segment: &[u8], hasher: &RandomState) -> bool {
        if let Edge::Leaf(group) = self {
            if group.first().is_some_and(|first| first.shape() == entry.shape()) {
                return group.insert(entry);
            }
            let rest = |shape: &[u8]| shape.get(at..).unwrap_or_default().to_vec();
            let old = group.first().map(|first| rest(first.shape())).unwrap_or_default();
            let shared = shared_bytes(&old, &rest(entry.shape()));
            let mut node = Node::new(segment, old.get(..shared).unwrap_or_default());
            node.attach(group.clone(), at + shared, hasher);
            *self = Edge::Node(Arc::new(node));
        }
        match self {
            Edge::Node(node) => {
                let node = Arc::make_mut(node);
                let rest = entry.shape().get(at..).unwrap_or_default();
                let shared = shared_bytes(rest, node.shared());
                if shared < node.shared().len() {
                    node.part(shared, hasher);
                }
                node.insert(entry, at + shared, hasher)
            }
            Edge::Leaf(_) => false,
        }
    }

    /// Removes the entry of that shape and key: whether there was one, and what is left.
    pub(super) fn remove(self, shape: &[u8], key: Key<'_>, hasher: &RandomState) -> (bool, Option<Self>) {
        self.remove_at(shape, key, 1, hasher)
    }

    fn remove_at(self, shape: &[u8], key: Key<'_>, at: usize, hasher: &RandomState) -> (bool, Option<Self>) {
        match self {
            Edge::Leaf(group) => {
                if group.first().is_none_or(|first| first.shape() != shape) {
                    return (false, Some(Edge::Leaf(group)));
                }
                let (removed, left) = group.remove(key);
                (removed, left.map(Edge::Leaf))
            }
            Edge::Node(mut node) => {
                let inner = Arc::make_mut(&mut node);
                let shared = inner.shared();
                let below = shape.get(at..).is_some_and(|rest| rest.starts_with(shared)) || shared.is_empty();
                let at = at + shared.len();
                let removed = below && inner.remove(shape, key, at, hasher);
                let left = !inner.is_empty();
                (removed, left.then_some(Edge::Node(node)))
            }
        }
    }

    /// All entries below, in no order that means anything.
    pub(super) fn for_each<'r>(&'r self, see: &mut dyn FnMut(&'r Entry<T>)) {
        match self {
            Edge::Leaf(group) => group.iter().for_each(|entry| see(entry)),
            Edge::Node(node) => {
                node.literals.iter().for_each(|edge| edge.for_each(see));
                for parameters in node.parameters.iter() {
                    parameters.mixed.iter().for_each(|(_, edge)| edge.for_each(see));
                    parameters.int.iter().chain(&parameters.name).for_each(|edge| edge.for_each(see));
                }
                node.ends.iter().chain(&node.tails).flat_map(Group::iter).for_each(|entry| see(entry));
            }
        }
    }
}

/// Where an entry goes in a node.
enum Slot<'a, T> {
    Group(&'a mut Option<Group<T>>),
    Edge(&'a mut Option<Edge<T>>),
    Literal,
    Mixed(Result<usize, usize>),
}

impl<T> Node<T> {
    fn new(segment: &[u8], shared: &[u8]) -> Self {
        Node {
            text: Text::new(segment, shared),
            segment_bytes: segment.len(),
            literals: Shards::default(),
            parameters: None,
            ends: None,
            tails: None,
        }
    }

    /// The literal segments that all shapes below begin with, each with its slash.
    fn shared(&self) -> &[u8] {
        self.text.bytes().get(self.segment_bytes..).unwrap_or_default()
    }

    /// Keeps the first `kept` bytes of the shared segments and hands the rest, with all that is below, down to a new
    /// node; `kept` ends with a slash or is 0, and is not all.
    fn part(&mut self, kept: usize, hasher: &RandomState) {
        let (kept, rest) = self.shared().split_at_checked(kept).unwrap_or_default();
        let (next, shared) = shape::split(rest, b'/');
        let segment = self.text.bytes().get(..self.segment_bytes).unwrap_or_default();
        let upper = Node::new(segment, kept);
        let lower_text = Text::new(next, shared.unwrap_or_default());
        let (lower_hash, lower_segment_bytes) = (hash(hasher, next), next.len());
        let mut lower = std::mem::replace(self, upper);
        lower.text = lower_text;
        lower.segment_bytes = lower_segment_bytes;
        self.literals.add(lower_hash, Edge::Node(Arc::new(lower)));
    }

    fn is_empty(&self) -> bool {
        self.literals.is_empty() && self.parameters.is_none() && self.ends.is_none() && self.tails.is_none()
    }

    fn parameters(&mut self) -> &mut Parameters<T> {
        self.parameters
            .get_or_insert_with(|| Box::new(Parameters { mixed: Vec::new(), int: None, name: None }))
    }

    fn slot(&mut self, segment: Option<&[u8]>) -> Slot<'_, T> {
        let Some(segment) = segment else { return Slot::Group(&mut self.ends) };
        match shape::kind(segment) {
            SegmentKind::Literal => Slot::Literal,
            SegmentKind::Tail => Slot::Group(&mut self.tails),
            SegmentKind::Int => Slot::Edge(&mut self.parameters().int),
            SegmentKind::Name => Slot::Edge(&mut self.parameters().name),
            SegmentKind::Mixed => {
                let mixed = &self.parameters().mixed;
                Slot::Mixed(mixed.binary_search_by(|(other, _)| compare_segments(other, segment)))
            }
        }
    }

    /// Puts a group where nothing of its shape, nor of the first segment of it, is.
    fn attach(&mut self, group: Group<T>, at: usize, hasher: &RandomState) {
        let Some(first) = group.first().cloned() else { return };
        let segment = segment_at(first.shape(), at);
        match self.slot(segment) {
            Slot::Group(place) => *place = Some(group),
            Slot::Edge(place) => *place = Some(Edge::Leaf(group)),
            Slot::Literal => {
                self.literals.add(hash(hasher, segment.unwrap_or_default()), Edge::Leaf(group));
            }
            Slot::Mixed(Ok(_)) => {}
            Slot::Mixed(Err(index)) => {
                let segment = segment.unwrap_or_default();
                self.parameters().mixed.insert(index, (segment.into(), Edge::Leaf(group)));
            }
        }
    }

    fn insert(&mut self, entry: Arc<Entry<T>>, at: usize, hasher: &RandomState) -> bool {
        let own = entry.clone();
        let segment = segment_at(own.shape(), at);
        let text = segment.unwrap_or_default();
        let below = match self.slot(segment) {
            Slot::Group(Some(group)) => return group.insert(entry),
            Slot::Group(None) => None,
            Slot::Edge(edge) => edge.as_mut(),
            Slot::Literal => self.literals.find_mut(hash(hasher, text), |edge| edge.segment(at) == text),
            Slot::Mixed(Ok(index)) => self.parameters().mixed.get_mut(index).map(|(_, edge)| edge),
            Slot::Mixed(Err(_)) => None,
        };
        match below {
            Some(edge) => edge.insert_at(entry, at + text.len() + 1, text, hasher),
            None => {
                self.attach(Group::One(entry), at, hasher);
                true
            }
        }
    }

    fn remove(&mut self, shape: &[u8], key: Key<'_>, at: usize, hasher: &RandomState) -> bool {
        let segment = segment_at(shape, at);
        let text = segment.unwrap_or_default();
        let next = at + text.len() + 1;
        let removed = match self.slot(segment) {
            Slot::Group(place) => match place.take() {
                Some(group) => {
                    let (removed, left) = group.remove(key);
                    *place = left;
                    removed
                }
                None => false,
            },
            Slot::Edge(place) => match place.take() {
                Some(edge) => {
                    let (removed, left) = edge.remove_at(shape, key, next, hasher);
                    *place = left;
                    removed
                }
                None => false,
            },
            Slot::Literal => {
                let hash = hash(hasher, text);
                // Taken out and put back: what is left may be nothing.
                match self.literals.remove(hash, |edge| edge.segment(at) == text) {
                    Some(edge) => {
                        let (removed, left) = edge.remove_at(shape, key, next, hasher);
                        if let Some(edge) = left {
                            self.literals.add(hash, edge);
                        }
                        removed
                    }
                    None => false,
                }
            }
            Slot::Mixed(Ok(index)) => {
                let (segment, edge) = self.parameters().mixed.remove(index);
                let (removed, left) = edge.remove_at(shape, key, next, hasher);
                if let Some(edge) = left {
                    self.parameters().mixed.insert(index, (segment, edge));
                }
                removed
            }
            Slot::Mixed(Err(_)) => false,
        };
        let unused = |p: &Parameters<T>| p.mixed.is_empty() && p.int.is_none() && p.name.is_none();
        if self.parameters.as_deref().is_some_and(unused) {
            self.parameters = None;
        }
        removed
    }
}
