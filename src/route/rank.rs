//! The order in which routes that match the same request are preferred.

use crate::expr::shape::{self, SegmentKind};
use crate::model::FrontendId;
use std::cmp::Ordering;

/// How specific a route is about the host, most specific first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HostRank {
    /// One host.
    Exact,
    /// `*` or `<name>` for the whole first label.
    Wildcard,
    /// Parameters elsewhere in the host.
    Labels,
    /// `HostRegexp`.
    Regexp,
    /// Any host, or only `!Host(..)`.
    Any,
}

/// Where one alternative of a route stands; the smaller rank wins. In this order: higher priority; host; path, segment
/// by segment (literal, literal and parameter, `<int:>`, `<name>`, `<path:>` or the end of a prefix), then
/// `PathRegexp`, then none; more predicates; id; place among the alternatives of its route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rank {
    /// The frontend's; higher first.
    pub priority: i64,
    /// How specific about the host.
    pub host: HostRank,
    /// How specific about the path.
    pub path: PathRank,
    /// Matchers beside the host and the path that place it, negated ones among them; more first.
    pub predicates: usize,
    /// The frontend.
    pub id: FrontendId,
    /// Place among the alternatives of its route, from 0.
    pub alternative: usize,
}

/// How specific a route is about the path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathRank {
    /// `Path` or `PathPrefix`, by its [shape](crate::expr::shape).
    Shape(Box<str>),
    /// `PathRegexp`.
    Regexp,
    /// Any path.
    Any,
}

impl PathRank {
    fn class(&self) -> u8 {
        match self {
            PathRank::Shape(_) => 0,
            PathRank::Regexp => 1,
            PathRank::Any => 2,
        }
    }
}

impl Ord for Rank {
    fn cmp(&self, other: &Self) -> Ordering {
        let paths = || match (&self.path, &other.path) {
            (PathRank::Shape(a), PathRank::Shape(b)) => compare_shapes(a.as_bytes(), b.as_bytes()),
            (a, b) => a.class().cmp(&b.class()),
        };
        (other.priority.cmp(&self.priority))
            .then(self.host.cmp(&other.host))
            .then_with(paths)
            .then(other.predicates.cmp(&self.predicates))
            .then_with(|| self.id.cmp(&other.id))
            .then(self.alternative.cmp(&other.alternative))
    }
}

impl PartialOrd for Rank {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Segment by segment; literals are equal whatever they say, since no path matches two.
pub(super) fn compare_shapes(a: &[u8], b: &[u8]) -> Ordering {
    let (mut left, mut right) = (Some(a), Some(b));
    loop {
        let (Some(a), Some(b)) = (left, right) else {
            return left.is_some().cmp(&right.is_some());
        };
        let (first, a_behind) = shape::split(a, b'/');
        let (second, b_behind) = shape::split(b, b'/');
        match compare_segments(first, second) {
            Ordering::Equal => (left, right) = (a_behind, b_behind),
            unequal => return unequal,
        }
    }
}

/// Mixed segments: more literal bytes first, then by text.
pub(super) fn compare_segments(a: &[u8], b: &[u8]) -> Ordering {
    let (a_kind, b_kind) = (shape::kind(a), shape::kind(b));
    a_kind.cmp(&b_kind).then_with(|| match a_kind {
        SegmentKind::Mixed => literal_bytes(b).cmp(&literal_bytes(a)).then_with(|| a.cmp(b)),
        _ => Ordering::Equal,
    })
}

fn literal_bytes(segment: &[u8]) -> usize {
    segment.iter().filter(|byte| !shape::is_parameter(**byte)).count()
}
