//! What the router holds and why it answers as it does, for people.

use super::entry::Entry;
use super::group::Group;
use super::query::Query;
use super::rank::Rank;
use super::router::Router;
use super::tree::Visit;
use std::sync::Arc;

/// One alternative of a route.
#[derive(Debug, Clone, PartialEq)]
pub struct Ranked<'r, T> {
    /// Where it stands, and whose it is.
    pub rank: Rank,
    /// What it leads to.
    pub value: &'r T,
}

/// An alternative whose host and path match a request, and what became of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate<'r, T> {
    /// Where it stands, and whose it is.
    pub rank: Rank,
    /// What it leads to.
    pub value: &'r T,
    /// What became of it.
    pub outcome: Outcome,
}

/// What became of a candidate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// It takes the request.
    Chosen,
    /// It matches too, but stands behind the chosen one.
    Behind,
    /// The request does not meet this term, as it stands in the route.
    Unmet(String),
}

impl<T> Router<T> {
    /// All alternatives of all routes, best first; with `host`, those that take requests for it. Costs time and memory
    /// in proportion to the number of routes.
    pub fn ranked(&self, host: Option<&str>) -> Vec<Ranked<'_, T>> {
        let mut entries = Vec::new();
        self.for_each(&mut |entry| {
            if host.is_none_or(|host| entry.takes_host(host)) {
                entries.push(entry);
            }
        });
        entries.sort_by(|a, b| self.compare(a, b));
        entries.into_iter().map(|entry| Ranked { rank: entry.rank(), value: &entry.value }).collect()
    }

    /// Every alternative whose host and path match, best first, and what became of it; at most one is chosen, and it is
    /// what [`find`](Router::find) finds.
    pub fn explain(&self, query: &Query<'_>) -> Vec<Candidate<'_, T>> {
        let mut all = All(Vec::new());
        self.search_all(query, &mut all);
        all.0.sort_by(|a, b| self.compare(a, b));
        let mut chosen = false;
        let outcome = |entry: &Entry<T>| match entry.unmet(query) {
            Some(term) => Outcome::Unmet(term.to_string()),
            None if std::mem::replace(&mut chosen, true) => Outcome::Behind,
            None => Outcome::Chosen,
        };
        let outcomes: Vec<_> = all.0.iter().copied().map(outcome).collect();
        (all.0.iter().zip(outcomes))
            .map(|(entry, outcome)| Candidate { rank: entry.rank(), value: &entry.value, outcome })
            .collect()
    }
}

struct All<'r, T>(Vec<&'r Entry<T>>);

impl<'r, T> Visit<'r, T> for All<'r, T> {
    fn group(&mut self, group: &'r Group<T>, ended: bool) {
        self.0.extend(group.iter().map(|entry| &**entry).filter(|entry| !(ended && entry.takes_rest())));
    }

    fn entry(&mut self, entry: &'r Arc<Entry<T>>) {
        self.0.push(entry);
    }

    fn done(&self) -> bool {
        false
    }
}
