//! One alternative of a route as the router keeps it: small, and everything a look-up compares in one place.

use super::query::{Captures, Query};
use super::rank::{HostRank, PathRank, Rank};
use crate::expr::shape::{self, HostKind};
use crate::expr::{Matcher, Names, Route, Span, Spans, Term};
use crate::model::FrontendId;
use std::cmp::{Ordering, Reverse};

/// An alternative with all it needs to be found, ranked and judged. What a look-up reads stands in front, together.
#[derive(Debug)]
#[repr(C)]
pub(super) struct Entry<T> {
    text: Text,
    pub(super) priority: i64,
    host_bytes: u16,
    predicates: u16,
    pub(super) host: HostRank,
    pub(super) path: PathClass,
    alternative: u8,
    needs: Needs,
    pub(super) value: T,
    /// `None` where host and path say everything and nothing is captured.
    extra: Option<Box<Extra>>,
    pub(super) id: FrontendId,
}

/// What is left when an entry is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Needs {
    Nothing,
    /// Host or path have parameters.
    Names,
    /// Terms are left to look at.
    Look,
    LookAndNames,
}

/// How the path places an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum PathClass {
    /// A shape without parameters: one path.
    Literal,
    /// A shape with parameters, or a prefix.
    Shape,
    Regexp,
    Any,
}

#[derive(Debug)]
struct Extra {
    route: Route,
    /// The terms that need no look: finding the entry has answered them.
    answered: [Option<u16>; 2],
    /// The terms that place the entry.
    placing: [Option<u16>; 2],
}

/// Up to [`INLINE_BYTES`] without an allocation and without a second cache miss.
#[derive(Debug, Clone)]
pub(super) enum Text {
    Inline(u8, [u8; INLINE_BYTES]),
    Heap(Box<[u8]>),
}

const INLINE_BYTES: usize = 46;

impl Text {
    /// Both, one behind the other.
    pub(super) fn new(host: &[u8], path: &[u8]) -> Self {
        let length = host.len() + path.len();
        let mut bytes = [0; INLINE_BYTES];
        match (bytes.get_mut(..length), u8::try_from(length)) {
            (Some(room), Ok(short)) => {
                room.iter_mut().zip(host.iter().chain(path)).for_each(|(to, from)| *to = *from);
                Text::Inline(short, bytes)
            }
            _ => Text::Heap([host, path].concat().into()),
        }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Text::Inline(length, bytes) => bytes.get(..usize::from(*length)).unwrap_or_default(),
            Text::Heap(bytes) => bytes,
        }
    }
}

/// Where a route's alternative belongs.
pub(super) struct Place<'a> {
    pub(super) host: HostRank,
    /// The host for `Exact`, what follows the first label for `Wildcard`, otherwise empty.
    pub(super) key: &'a [u8],
    pub(super) path: PathClass,
    /// Empty unless `path` is `Literal` or `Shape`.
    pub(super) shape: &'a [u8],
    host_term: Option<usize>,
    path_term: Option<usize>,
}

impl<'a> Place<'a> {
    /// The first host and the first path that are not negated place it.
    pub(super) fn of(terms: &'a [Term]) -> Self {
        let mut place = Place {
            host: HostRank::Any,
            key: &[],
            path: PathClass::Any,
            shape: &[],
            host_term: terms.iter().position(|term| !term.negated && term.matcher.is_host()),
            path_term: terms.iter().position(|term| !term.negated && term.matcher.is_path()),
        };
        match place.host_term.and_then(|index| terms.get(index)).map(|term| &term.matcher) {
            Some(Matcher::Host(pattern)) => {
                let shape = pattern.shape().as_bytes();
                (place.host, place.key) = match pattern.kind() {
                    HostKind::Exact => (HostRank::Exact, shape),
                    HostKind::Wildcard => (HostRank::Wildcard, shape.get(2..).unwrap_or_default()),
                    HostKind::Labels => (HostRank::Labels, &[] as &[u8]),
                };
            }
            Some(_) => place.host = HostRank::Regexp,
            None => {}
        }
        match place.path_term.and_then(|index| terms.get(index)).map(|term| &term.matcher) {
            Some(Matcher::Path(pattern) | Matcher::PathPrefix(pattern)) => {
                place.path = if pattern.is_literal() { PathClass::Literal } else { PathClass::Shape };
                place.shape = pattern.shape().as_bytes();
            }
            Some(_) => place.path = PathClass::Regexp,
            None => {}
        }
        place
    }
}

/// What tells the entries of one frontend apart, and those of others: the order within a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key<'a> {
    priority: Reverse<i64>,
    predicates: Reverse<u16>,
    id: &'a FrontendId,
    alternative: u8,
}

impl<'a> Key<'a> {
    /// Of the alternative at `index`, before there is an entry.
    pub(super) fn of(
        id: &'a FrontendId,
        priority: i64,
        index: usize,
        terms: &[Term],
        place: &Place<'_>,
    ) -> Self {
        let placed = usize::from(place.host_term.is_some()) + usize::from(place.path_term.is_some());
        Key {
            priority: Reverse(priority),
            predicates: Reverse((terms.len() - placed) as u16),
            id,
            alternative: index as u8,
        }
    }
}

impl<T> Entry<T> {
    /// `key` and `place` are those of the alternative.
    pub(super) fn new(key: Key<'_>, place: &Place<'_>, route: &Route, terms: &[Term], value: T) -> Self {
        let matcher =
            |index: Option<usize>| index.and_then(|index| terms.get(index)).map(|term| &term.matcher);
        let captures = [place.host_term, place.path_term].into_iter().any(|index| match matcher(index) {
            Some(Matcher::Host(pattern)) => pattern.names().is_some(),
            Some(Matcher::Path(pattern) | Matcher::PathPrefix(pattern)) => pattern.names().is_some(),
            _ => false,
        });
        let narrow = |index: Option<usize>| index.and_then(|index| u16::try_from(index).ok());
        let host_known = matches!(place.host, HostRank::Exact | HostRank::Wildcard | HostRank::Any);
        let path_known = place.path != PathClass::Regexp;
        let asks = key.predicates.0 > 0 || !host_known || !path_known;
        let placing = [narrow(place.host_term), narrow(place.path_term)];
        let [host_term, path_term] = placing;
        let extra = (asks || captures).then(|| {
            Box::new(Extra {
                route: route.clone(),
                answered: [host_term.filter(|_| host_known), path_term.filter(|_| path_known)],
                placing,
            })
        });
        let needs = match (asks, captures) {
            (false, false) => Needs::Nothing,
            (false, true) => Needs::Names,
            (true, false) => Needs::Look,
            (true, true) => Needs::LookAndNames,
        };
        Entry {
            text: Text::new(place.key, place.shape),
            priority: key.priority.0,
            host_bytes: place.key.len() as u16,
            predicates: key.predicates.0,
            host: place.host,
            path: place.path,
            alternative: key.alternative,
            needs,
            value,
            extra,
            id: key.id.clone(),
        }
    }

    pub(super) fn key(&self) -> Key<'_> {
        Key {
            priority: Reverse(self.priority),
            predicates: Reverse(self.predicates),
            id: &self.id,
            alternative: self.alternative,
        }
    }

    /// See [`Place::key`].
    pub(super) fn host_key(&self) -> &[u8] {
        self.text.bytes().get(..usize::from(self.host_bytes)).unwrap_or_default()
    }

    /// See [`Place::shape`].
    pub(super) fn shape(&self) -> &[u8] {
        self.text.bytes().get(usize::from(self.host_bytes)..).unwrap_or_default()
    }

    /// Whether it takes the rest of the path, which must be there, unlike behind a prefix.
    pub(super) fn takes_rest(&self) -> bool {
        self.path == PathClass::Shape && self.shape().last() == Some(&shape::REST)
    }

    pub(super) fn is_at(&self, host: HostRank, key: &[u8], shape: &[u8]) -> bool {
        let text = self.text.bytes();
        self.host == host
            && usize::from(self.host_bytes) == key.len()
            && text.len() == key.len() + shape.len()
            && text.ends_with(shape)
            && text.starts_with(key)
    }

    /// Whether host or path have parameters.
    pub(super) fn captures(&self) -> bool {
        matches!(self.needs, Needs::Names | Needs::LookAndNames)
    }

    /// The first term that the request does not meet, among those that finding the entry has not answered.
    pub(super) fn unmet(&self, query: &Query<'_>) -> Option<&Term> {
        if matches!(self.needs, Needs::Nothing | Needs::Names) {
            return None;
        }
        let extra = self.extra.as_ref()?;
        let asked = self.terms().iter().enumerate();
        let mut open = asked
            .filter(|(index, _)| !extra.answered.iter().flatten().any(|known| usize::from(*known) == *index));
        open.find(|(_, term)| holds(&term.matcher, query) == term.negated).map(|(_, term)| term)
    }

    /// Empty where there is nothing but what places the entry.
    fn terms(&self) -> &[Term] {
        self.extra
            .as_ref()
            .and_then(|extra| extra.route.alternatives().get(usize::from(self.alternative)))
            .map_or(&[], |alternative| alternative.terms())
    }

    pub(super) fn rank(&self) -> Rank {
        Rank {
            priority: self.priority,
            host: self.host,
            path: match self.path {
                PathClass::Literal | PathClass::Shape => {
                    PathRank::Shape(String::from_utf8_lossy(self.shape()).into_owned().into())
                }
                PathClass::Regexp => PathRank::Regexp,
                PathClass::Any => PathRank::Any,
            },
            predicates: usize::from(self.predicates),
            id: self.id.clone(),
            alternative: usize::from(self.alternative),
        }
    }

    /// As comparing [`rank`](Self::rank)s, without making them.
    pub(super) fn compare(&self, other: &Self) -> Ordering {
        let paths = || match (self.path, other.path) {
            (PathClass::Literal | PathClass::Shape, PathClass::Literal | PathClass::Shape) => {
                super::rank::compare_shapes(self.shape(), other.shape())
            }
            (a, b) => (a.max(PathClass::Shape)).cmp(&b.max(PathClass::Shape)),
        };
        (other.priority.cmp(&self.priority))
            .then(self.host.cmp(&other.host))
            .then_with(paths)
            .then_with(|| self.key().cmp(&other.key()))
    }

    /// Whether the host alone lets a request pass; a path that is negated or comes second is not looked at.
    pub(super) fn takes_host(&self, host: &str) -> bool {
        let placed = match self.host {
            HostRank::Exact => self.host_key() == host.as_bytes(),
            HostRank::Wildcard => {
                wildcard_key(host).is_some_and(|parent| parent.as_bytes() == self.host_key())
            }
            HostRank::Labels | HostRank::Regexp | HostRank::Any => true,
        };
        let mut hosts = self.terms().iter().filter(|term| term.matcher.is_host());
        placed && hosts.all(|term| host_holds(&term.matcher, host) != term.negated)
    }
}

impl<T: Send + Sync> Captures for Entry<T> {
    fn each<'t>(&self, host: &'t str, path: &'t str, see: &mut dyn FnMut(&str, &'t str)) {
        let placing = self.extra.iter().flat_map(|extra| extra.placing.iter().flatten());
        for term in placing.filter_map(|index| self.terms().get(usize::from(*index))) {
            let mut spans = Spans::new();
            match &term.matcher {
                Matcher::Host(pattern) => {
                    pattern.matches(host, &mut spans);
                    name(pattern.names(), &spans, host, see);
                }
                Matcher::Path(pattern) | Matcher::PathPrefix(pattern) => {
                    pattern.matches(path, &mut spans);
                    name(pattern.names(), &spans, path, see);
                }
                _ => {}
            }
        }
    }
}

fn name<'t>(names: &Names, spans: &[Span], text: &'t str, see: &mut dyn FnMut(&str, &'t str)) {
    for (name, span) in names.iter().flat_map(|names| names.iter()).zip(spans) {
        if let Some(value) = text.get(span.start as usize..span.end as usize) {
            see(name, value);
        }
    }
}

impl PartialOrd for PathClass {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for PathClass {
    fn cmp(&self, other: &Self) -> Ordering {
        (*self as u8).cmp(&(*other as u8))
    }
}

/// What follows the first label, which must not be empty.
pub(super) fn wildcard_key(host: &str) -> Option<&str> {
    host.split_once('.').filter(|(label, _)| !label.is_empty()).map(|(_, parent)| parent)
}

fn host_holds(matcher: &Matcher, host: &str) -> bool {
    match matcher {
        Matcher::Host(pattern) => pattern.matches(host, &mut ()),
        Matcher::HostRegexp(pattern) => pattern.is_match(host),
        _ => false,
    }
}

fn holds(matcher: &Matcher, query: &Query<'_>) -> bool {
    let lookup = query.lookup;
    match matcher {
        Matcher::Host(_) | Matcher::HostRegexp(_) => host_holds(matcher, query.host),
        Matcher::Path(pattern) | Matcher::PathPrefix(pattern) => pattern.matches(query.path, &mut ()),
        Matcher::PathRegexp(pattern) => pattern.is_match(query.path),
        Matcher::Method(method) => **method == *query.method,
        Matcher::MethodRegexp(pattern) => pattern.is_match(query.method),
        Matcher::Header(name, wanted) => lookup.header(name, &mut |value| value == wanted.as_bytes()),
        Matcher::HeaderRegexp(name, pattern) => lookup.header(name, &mut |value| pattern.is_match(value)),
        Matcher::Query(name, wanted) => lookup.query(name, &mut |value| value == wanted.as_bytes()),
        Matcher::Cookie(name, wanted) => lookup.cookie(name, &mut |value| value == wanted.as_bytes()),
        Matcher::ClientIp(net) => query.client.is_some_and(|client| net.contains(&client.to_canonical())),
    }
}
