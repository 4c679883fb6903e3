//! Who names whom among the objects in force, and who waits for what. Counters and sparse maps only: the work of a
//! change does not depend on how many objects there are.

use super::Moment;
use crate::model::{BackendId, Frontend, FrontendId, MiddlewareId, ObjectKey, Revision};
use foldhash::fast::RandomState;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{BuildHasher, Hash, Hasher};
use std::time::SystemTime;

/// What a backend's name stands for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) enum Named {
    /// No object of its own in force; servers, if any, make a plain http backend.
    #[default]
    Nothing,
    Http,
    Alias(BackendId),
}

/// A backend's name, with who is behind it and who names it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Node {
    pub(super) named: Named,
    pub(super) servers: u32,
    /// Frontends in force that name it.
    pub(super) frontends: u32,
    /// Aliases in force that name it.
    pub(super) aliases: u32,
    /// Those of them that a frontend names.
    pub(super) reaching_aliases: u32,
    /// Middlewares in force that name it.
    pub(super) middlewares: u32,
}

impl Node {
    pub(super) fn exists(&self) -> bool {
        self.named != Named::Nothing || self.servers > 0
    }

    pub(super) fn is_alias(&self) -> bool {
        matches!(self.named, Named::Alias(_))
    }

    pub(super) fn is_named(&self) -> bool {
        self.frontends > 0 || self.aliases > 0 || self.middlewares > 0
    }

    /// A frontend leads here, itself or through an alias.
    pub(super) fn is_reached(&self) -> bool {
        self.frontends > 0 || self.reaching_aliases > 0
    }

    /// Requests can end here.
    pub(super) fn is_served(&self) -> bool {
        self.is_reached() && !self.is_alias() && self.servers > 0
    }
}

/// What an object that is not in force, or whose previous form is, waits for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Awaited {
    Backend(BackendId),
    Shared(MiddlewareId),
    Route(RouteKey),
}

/// A frontend's normalised route and priority, as 128 bits under this process's random seeds.
pub(super) type RouteKey = (u64, u64);

#[derive(Debug, Default)]
pub(super) struct Links {
    nodes: HashMap<BackendId, Node, RandomState>,
    /// Backends that are named and do not exist, and since when.
    pub(super) missing: BTreeMap<BackendId, (Revision, SystemTime)>,
    /// How many nodes are [`Node::is_served`].
    pub(super) served: u32,
    /// Frontends in force by shared middleware that they name.
    shared_users: HashMap<MiddlewareId, u32, RandomState>,
    routes: HashMap<RouteKey, FrontendId, RandomState>,
    seeds: (RandomState, RandomState),
    waiting: BTreeMap<Awaited, BTreeSet<ObjectKey>>,
    waits: BTreeMap<ObjectKey, Vec<Awaited>>,
    /// Nodes that changed since [`Links::take_changed`], as they were before.
    changed: BTreeMap<BackendId, Node>,
}

impl Links {
    pub(super) fn node(&self, id: &BackendId) -> Node {
        self.nodes.get(id).cloned().unwrap_or_default()
    }

    /// The name's own allocation, so that 100,000 frontends of one backend share it.
    pub(super) fn shared_name(&self, id: &BackendId) -> Option<BackendId> {
        self.nodes.get_key_value(id).map(|(name, _)| name.clone())
    }

    fn update(&mut self, id: &BackendId, now: &Moment, edit: impl FnOnce(&mut Node)) {
        let mut node = self.node(id);
        let before = node.clone();
        edit(&mut node);
        if node == before {
            return;
        }
        match (before.is_served(), node.is_served()) {
            (false, true) => self.served += 1,
            (true, false) => self.served = self.served.saturating_sub(1),
            _ => {}
        }
        if node.is_named() && !node.exists() {
            self.missing.entry(id.clone()).or_insert((now.revision, now.wall));
        } else {
            self.missing.remove(id);
        }
        self.changed.entry(id.clone()).or_insert(before);
        if node == Node::default() {
            self.nodes.remove(id);
        } else if let Some(place) = self.nodes.get_mut(id) {
            *place = node;
        } else {
            self.nodes.insert(id.clone(), node);
        }
    }

    /// Nodes that changed since the last call, as they were then.
    pub(super) fn take_changed(&mut self) -> BTreeMap<BackendId, Node> {
        std::mem::take(&mut self.changed)
    }

    /// A frontend came into force (`true`) or left.
    pub(super) fn frontend(&mut self, frontend: &Frontend, enters: bool, now: &Moment) {
        for id in frontend.backends() {
            let before = self.node(id);
            self.update(id, now, |node| step(&mut node.frontends, enters));
            let is_reaching = self.node(id).frontends > 0;
            if let Named::Alias(target) = before.named
                && is_reaching != (before.frontends > 0)
            {
                self.update(&target, now, |node| step(&mut node.reaching_aliases, is_reaching));
            }
        }
        for middleware in &frontend.settings.middlewares {
            let users = self.shared_users.entry(middleware.clone()).or_default();
            step(users, enters);
            if *users == 0 {
                self.shared_users.remove(middleware);
            }
        }
    }

    /// A middleware that names this backend came into force (`true`) or left.
    pub(super) fn middleware(&mut self, backend: &BackendId, enters: bool, now: &Moment) {
        self.update(backend, now, |node| step(&mut node.middlewares, enters));
    }

    /// A backend's name stands for something else from now on.
    pub(super) fn backend(&mut self, id: &BackendId, named: Named, now: &Moment) {
        let before = self.node(id);
        let is_reaching = before.frontends > 0;
        let old = match &before.named {
            Named::Alias(target) => Some(target.clone()),
            _ => None,
        };
        let new = match &named {
            Named::Alias(target) => Some(target.clone()),
            _ => None,
        };
        self.update(id, now, |node| node.named = named);
        for (target, enters) in [(old, false), (new, true)] {
            let Some(target) = target else { continue };
            self.update(&target, now, |node| {
                step(&mut node.aliases, enters);
                if is_reaching {
                    step(&mut node.reaching_aliases, enters);
                }
            });
        }
    }

    /// A server came into force or left.
    pub(super) fn server(&mut self, id: &BackendId, enters: bool, now: &Moment) {
        self.update(id, now, |node| step(&mut node.servers, enters));
    }

    pub(super) fn is_shared_used(&self, id: &MiddlewareId) -> bool {
        self.shared_users.contains_key(id)
    }

    pub(super) fn route_key(&self, frontend: &Frontend) -> RouteKey {
        let hash = |seed: &RandomState| {
            let mut hasher = seed.build_hasher();
            frontend.route.normalised().hash(&mut hasher);
            frontend.priority.hash(&mut hasher);
            hasher.finish()
        };
        (hash(&self.seeds.0), hash(&self.seeds.1))
    }

    /// The frontend in force with this route and priority.
    pub(super) fn holder(&self, route: RouteKey) -> Option<&FrontendId> {
        self.routes.get(&route)
    }

    pub(super) fn claim(&mut self, route: RouteKey, id: &FrontendId) {
        self.routes.insert(route, id.clone());
    }

    /// Gives a route free; true if `id` held it.
    pub(super) fn unclaim(&mut self, route: RouteKey, id: &FrontendId) -> bool {
        if self.routes.get(&route) != Some(id) {
            return false;
        }
        self.routes.remove(&route);
        true
    }

    pub(super) fn wait(&mut self, key: &ObjectKey, awaited: Vec<Awaited>) {
        if awaited.is_empty() {
            return;
        }
        for one in &awaited {
            self.waiting.entry(one.clone()).or_default().insert(key.clone());
        }
        self.waits.entry(key.clone()).or_default().extend(awaited);
    }

    pub(super) fn stop_waiting(&mut self, key: &ObjectKey) {
        for one in self.waits.remove(key).unwrap_or_default() {
            if let Some(keys) = self.waiting.get_mut(&one) {
                keys.remove(key);
                if keys.is_empty() {
                    self.waiting.remove(&one);
                }
            }
        }
    }

    pub(super) fn waiting_for(&self, awaited: &Awaited) -> impl Iterator<Item = &ObjectKey> {
        self.waiting.get(awaited).into_iter().flatten()
    }
}

fn step(counter: &mut u32, up: bool) {
    *counter = if up { counter.saturating_add(1) } else { counter.saturating_sub(1) };
}
