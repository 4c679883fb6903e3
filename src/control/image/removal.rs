//! What becomes of deleted objects: obeyed, kept because they are named, or held as ghosts until confirmed.
//!
//! A hold begins with the event that crosses a bound. That event's removals, and all later ones, are held until they
//! are confirmed, but for servers of backends that keep another server, and backends that nothing names. A ghost
//! leaves when its object is written again; a server's ghost leaves as soon as its backend has a server of the store.

use super::form::{Form, GhostKind};
use super::hold::{BACKENDS_MIN, Confirmation, FRONTENDS_MIN, Ghost};
use super::links::Named;
use super::{Image, Slot};
use crate::model::{Backend, BackendId, FrontendId, InForce, ObjectKey, Revision};
use std::collections::BTreeSet;
use std::sync::Arc;

impl Image {
    /// Decides on everything the event deleted, now that it is known what the event left.
    pub(super) fn judge_removals(&mut self) {
        let mut removed = std::mem::take(&mut self.work.removed);
        if removed.is_empty() {
            return;
        }
        let is_held = self.is_held(&removed);
        // Frontends first: they decide which backends and servers are still reached.
        removed.sort_by_key(|(key, form, _)| haunting_order(key, form));
        for (key, form, raw) in removed {
            let kind = match &key {
                _ if is_held => GhostKind::Held,
                ObjectKey::SharedMiddleware(id) if self.links.is_shared_used(id) => GhostKind::Named,
                _ => continue,
            };
            if kind == GhostKind::Named || self.may_be_held(&key, &form) {
                self.haunt(key, form, raw, kind);
            }
        }
        self.settle();
    }

    /// Whether a hold is on, or the event crosses a bound; if neither, its removals are counted.
    fn is_held(&mut self, removed: &[(ObjectKey, Form, Arc<[u8]>)]) -> bool {
        if self.ghosts.values().any(|ghost| ghost.kind == GhostKind::Held) {
            return true;
        }
        let moment = self.work.moment;
        let frontends: Vec<FrontendId> = removed
            .iter()
            .filter_map(|(key, ..)| match key {
                ObjectKey::Frontend(id) => Some(id.clone()),
                _ => None,
            })
            .collect();
        let emptied = self.emptied(removed);
        let (before, served) = (self.work.frontends_before, self.work.served_before);
        let is_confirmed = self.confirmed.is_some_and(|it| it.covers(moment.revision, moment.wall));
        if !is_confirmed
            && (self.frontends_gone.is_crossed(moment.instant, frontends.len(), before, FRONTENDS_MIN)
                || self.backends_emptied.is_crossed(moment.instant, emptied.len(), served, BACKENDS_MIN))
        {
            return true;
        }
        self.frontends_gone.went(moment.instant, frontends, before);
        self.backends_emptied.went(moment.instant, emptied, served);
        false
    }

    /// Backends that requests could end at before the event and that it left without any server. One that frontends
    /// were led away from does not count; one whose frontends the event deleted does.
    fn emptied(&self, removed: &[(ObjectKey, Form, Arc<[u8]>)]) -> Vec<BackendId> {
        if !removed.iter().any(|(key, ..)| matches!(key, ObjectKey::Server(..))) {
            return Vec::new();
        }
        let mut left = BTreeSet::new();
        for (_, form, _) in removed {
            let Form::Frontend(frontend) = form else { continue };
            for backend in frontend.backends() {
                let before = self.work.nodes_before.get(backend).cloned();
                let before = before.unwrap_or_else(|| self.links.node(backend));
                if let Named::Alias(target) = before.named {
                    left.insert(target);
                }
                left.insert(backend.clone());
            }
        }
        let is_emptied = |id: &BackendId| {
            let after = self.links.node(id);
            after.servers == 0 && !after.is_alias() && (after.is_reached() || left.contains(id))
        };
        let nodes = self.work.nodes_before.iter();
        nodes.filter(|(id, before)| before.is_served() && is_emptied(id)).map(|(id, _)| id.clone()).collect()
    }

    /// Whether a removal of this object can be held, or go on being held.
    fn may_be_held(&self, key: &ObjectKey, form: &Form) -> bool {
        match key {
            ObjectKey::Frontend(id) => match form {
                Form::Frontend(it) => {
                    self.links.holder(self.links.route_key(it)).is_none_or(|holder| holder == id)
                }
                _ => false,
            },
            ObjectKey::OwnMiddleware(of, _) => {
                self.slots.get(&ObjectKey::Frontend(of.clone())).is_some_and(|slot| slot.form.is_some())
            }
            ObjectKey::Backend(id) => self.links.node(id).is_named(),
            ObjectKey::Server(of, _) => {
                let node = self.links.node(of);
                let ghosts = self.ghost_servers.get(of).copied().unwrap_or_default();
                node.is_reached() && !node.is_alias() && node.servers == ghosts
            }
            ObjectKey::Listener(_) | ObjectKey::Host(_) | ObjectKey::SharedMiddleware(_) => true,
        }
    }

    /// Puts a deleted object back in force.
    fn haunt(&mut self, key: ObjectKey, form: Form, raw: Arc<[u8]>, kind: GhostKind) {
        self.slots.insert(key.clone(), Slot { last_good: Some(raw), ..Slot::default() });
        self.raise_ghost(&key, kind, self.work.moment.revision);
        self.set_form(&key, Some(form), InForce::Previous);
    }

    /// Notes that a key is in force although the store lacks it.
    pub(super) fn raise_ghost(&mut self, key: &ObjectKey, kind: GhostKind, revision: Revision) {
        let ghost = Ghost { kind, revision, since: self.work.moment.wall };
        if self.ghosts.insert(key.clone(), ghost).is_none()
            && let ObjectKey::Server(of, _) = key
        {
            *self.ghost_servers.entry(of.clone()).or_default() += 1;
        }
    }

    /// Ends a key's being a ghost: it was written again, or goes.
    pub(super) fn lay_ghost(&mut self, key: &ObjectKey) {
        if self.ghosts.remove(key).is_none() {
            return;
        }
        if let ObjectKey::Server(of, _) = key {
            if let Some(count) = self.ghost_servers.get_mut(of) {
                *count = count.saturating_sub(1);
                if *count == 0 {
                    self.ghost_servers.remove(of);
                }
            }
            self.soil_ghost_servers(of);
        }
    }

    /// A ghost stays as long as it has a reason to.
    pub(super) fn look_at_ghost(&mut self, key: &ObjectKey) {
        let Some(ghost) = self.ghosts.get(key) else { return };
        let stays = match (ghost.kind, key) {
            (GhostKind::Named, ObjectKey::SharedMiddleware(id)) => self.links.is_shared_used(id),
            (GhostKind::Named, _) => false,
            (GhostKind::Held, _) => match self.slots.get(key).and_then(|slot| slot.form.as_ref()) {
                Some(form) => self.may_be_held(key, form),
                None => false,
            },
        };
        if !stays {
            self.release(key);
        }
    }

    /// Lets a ghost go.
    pub(super) fn release(&mut self, key: &ObjectKey) {
        if let ObjectKey::SharedMiddleware(id) = key
            && self.links.is_shared_used(id)
        {
            if let Some(ghost) = self.ghosts.get_mut(key) {
                ghost.kind = GhostKind::Named;
            }
            self.work.touched.insert(key.clone());
            return;
        }
        self.lay_ghost(key);
        self.drop_slot(key);
    }

    pub(super) fn release_confirmed(&mut self, confirmation: Confirmation) {
        let mut keys: Vec<_> = self
            .ghosts
            .iter()
            .filter(|(_, ghost)| {
                ghost.kind == GhostKind::Held && confirmation.covers(ghost.revision, ghost.since)
            })
            .map(|(key, _)| key.clone())
            .collect();
        if keys.is_empty() {
            return;
        }
        self.frontends_gone.clear();
        self.backends_emptied.clear();
        // Shared middlewares last: the frontends that name them may go, too.
        keys.sort_by_key(|key| matches!(key, ObjectKey::SharedMiddleware(_)));
        for key in keys {
            self.release(&key);
        }
    }
}

/// The order in which removed objects are put back: who names comes before who is named.
fn haunting_order(key: &ObjectKey, form: &Form) -> u8 {
    match (key, form) {
        (ObjectKey::Listener(_) | ObjectKey::Host(_) | ObjectKey::Frontend(_), _) => 0,
        (ObjectKey::SharedMiddleware(_) | ObjectKey::OwnMiddleware(..), _) => 1,
        (ObjectKey::Backend(_), Form::Backend(it, _)) if matches!(**it, Backend::Alias { .. }) => 2,
        (ObjectKey::Backend(_), _) => 3,
        (ObjectKey::Server(..), _) => 4,
    }
}
