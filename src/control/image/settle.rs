//! Which form of an object is in force: looked at once per event after everything it depends on, and again whenever
//! something it waits for changes.

use super::form::{Form, Slot, object_hash};
use super::links::{Awaited, Named};
use super::read::{Read, error, may_be_missing, read};
use super::{Image, Kept};
use crate::model::{Backend, BackendId, Finding, Frontend, FrontendId, InForce, ObjectKey};
use std::sync::Arc;

/// Looks at one object in one event, on average, after which the rest waits for the next event. Far beyond what any
/// store needs; a bound all the same.
const LOOKS_PER_OBJECT_MAX: usize = 16;

/// Why a valid form is not taken, and what would change that.
#[derive(Default)]
struct Refusal {
    findings: Vec<Finding>,
    awaited: Vec<Awaited>,
}

impl Refusal {
    fn add(&mut self, field: &str, reason: String, awaited: Option<Awaited>) {
        self.findings.push(error(field, reason));
        self.awaited.extend(awaited);
    }
}

impl Image {
    /// Looks at everything that changed, and at what depends on it, until nothing is left.
    pub(super) fn settle(&mut self) {
        let mut budget = LOOKS_PER_OBJECT_MAX.saturating_mul(self.slots.len() + self.work.dirty.len() + 64);
        loop {
            self.wake();
            if budget == 0 {
                tracing::error!(
                    left = self.work.dirty.len(),
                    "objects keep waking each other; the rest waits"
                );
                return;
            }
            budget -= 1;
            let Some((_, key)) = self.work.dirty.pop_first() else { return };
            self.look(&key);
        }
    }

    /// Soils what waits for backends that changed.
    fn wake(&mut self) {
        for (id, before) in self.links.take_changed() {
            let after = self.links.node(&id);
            if after.is_served() || !after.is_reached() {
                self.backends_emptied.returned(&id);
            }
            let is_other = before.exists() != after.exists()
                || before.is_alias() != after.is_alias()
                || (before.aliases > 0) != (after.aliases > 0);
            if is_other {
                self.soil_waiting(&Awaited::Backend(id.clone()));
            }
            if !before.is_alias() && after.is_alias() {
                let servers: Vec<_> = self.servers_of(&id).map(|(key, _)| key.clone()).collect();
                servers.into_iter().for_each(|key| self.soil(key));
            }
            let object = ObjectKey::Backend(id.clone());
            if self.ghosts.contains_key(&object) {
                self.soil(object);
            }
            self.soil_ghost_servers(&id);
            self.work.nodes_before.entry(id).or_insert(before);
        }
    }

    pub(super) fn soil_ghost_servers(&mut self, id: &BackendId) {
        if self.ghost_servers.contains_key(id) {
            let servers: Vec<_> = self.servers_of(id).map(|(key, _)| key.clone()).collect();
            servers
                .into_iter()
                .filter(|key| self.ghosts.contains_key(key))
                .collect::<Vec<_>>()
                .into_iter()
                .for_each(|key| self.soil(key));
        }
    }

    fn soil_waiting(&mut self, awaited: &Awaited) {
        let keys: Vec<_> = self.links.waiting_for(awaited).cloned().collect();
        keys.into_iter().for_each(|key| self.soil(key));
    }

    /// A frontend that waits may be waiting for this middleware of its own.
    pub(super) fn soil_parent(&mut self, key: &ObjectKey) {
        if let ObjectKey::OwnMiddleware(frontend, _) = key {
            let frontend = ObjectKey::Frontend(frontend.clone());
            if self.slots.get(&frontend).is_some_and(|slot| slot.in_force != InForce::This) {
                self.soil(frontend);
            }
        }
    }

    fn look(&mut self, key: &ObjectKey) {
        let Some(slot) = self.slots.get(key) else { return };
        let Some(stored) = slot.stored.clone() else { return self.look_at_ghost(key) };
        self.links.stop_waiting(key);
        if let ObjectKey::Server(of, _) = key
            && slot.form.is_some()
            && self.links.node(of).is_alias()
        {
            self.unseat(key);
        }
        if self.slots.get(key).is_some_and(|slot| slot.in_force == InForce::This) {
            return;
        }
        let Read { form, mut findings } = read(key, &stored.raw, &self.environment);
        if let Some(form) = form {
            let refusal = self.refusal(key, &form, stored.created);
            if refusal.findings.is_empty() {
                self.seat(key, form, InForce::This);
                self.findings.set(key, findings, &self.work.moment);
                self.soil_parent(key);
                return;
            }
            findings.extend(refusal.findings);
            self.links.wait(key, refusal.awaited);
        }
        self.seat_last_good(key, stored.created);
        self.findings.set(key, findings, &self.work.moment);
        self.soil_parent(key);
    }

    /// A form that had to go for another one's sake comes back if it can.
    fn seat_last_good(&mut self, key: &ObjectKey, created: u64) {
        let Some(slot) = self.slots.get(key) else { return };
        let Some(raw) = slot.last_good.clone().filter(|_| slot.form.is_none()) else { return };
        if let Some(form) = read(key, &raw, &self.environment).form {
            let refusal = self.refusal(key, &form, created);
            if refusal.findings.is_empty() {
                self.seat(key, form, InForce::Previous);
            } else {
                self.links.wait(key, refusal.awaited);
            }
        }
    }

    /// Why this form cannot be in force beside everything that is.
    fn refusal(&self, key: &ObjectKey, form: &Form, created: u64) -> Refusal {
        let mut refusal = Refusal::default();
        let old = self.slots.get(key).and_then(|slot| slot.form.as_ref());
        match (key, form) {
            (ObjectKey::Frontend(id), Form::Frontend(frontend)) => {
                let old = match old {
                    Some(Form::Frontend(old)) => Some(&**old),
                    _ => None,
                };
                self.refuse_frontend(id, frontend, old, created, &mut refusal);
            }
            (ObjectKey::Backend(id), Form::Backend(backend, _)) => {
                if let Backend::Alias { target, .. } = &**backend {
                    let is_kept = match old {
                        Some(Form::Backend(old, _)) => {
                            matches!(&**old, Backend::Alias { target: old, .. } if old == target)
                        }
                        _ => false,
                    };
                    if !is_kept {
                        self.refuse_alias(id, target, &mut refusal);
                    }
                }
            }
            (_, Form::Middleware(middleware)) => {
                let old = match old {
                    Some(Form::Middleware(old)) => old.spec.backend(),
                    _ => None,
                };
                if let Some(backend) = middleware.spec.backend()
                    && old != Some(backend)
                    && !self.links.node(backend).exists()
                {
                    let reason =
                        format!("no backend {backend} exists, neither an object nor a server below it");
                    refusal.add("Middleware.BackendId", reason, Some(Awaited::Backend(backend.clone())));
                }
            }
            (ObjectKey::Server(of, _), _) if self.links.node(of).is_alias() => {
                let reason = format!(
                    "{of} is an alias, which has no servers of its own; put it under the alias's target"
                );
                refusal.add("", reason, Some(Awaited::Backend(of.clone())));
            }
            _ => {}
        }
        refusal
    }

    fn refuse_alias(&self, id: &BackendId, target: &BackendId, refusal: &mut Refusal) {
        let node = self.links.node(target);
        let awaited = || Some(Awaited::Backend(target.clone()));
        if target == id {
            refusal.add("Target", "an alias cannot name itself; it names a real backend".into(), None);
        } else if node.is_alias() {
            let reason = format!("{target} is an alias itself; an alias names a real backend");
            refusal.add("Target", reason, awaited());
        } else if !node.exists() {
            let reason = format!("no backend {target} exists, neither an object nor a server below it");
            refusal.add("Target", reason, awaited());
        }
        if self.links.node(id).aliases > 0 {
            let reason = format!("other aliases name {id}, so it cannot be an alias itself");
            refusal.add("Type", reason, Some(Awaited::Backend(id.clone())));
        }
    }

    fn refuse_frontend(
        &self,
        id: &FrontendId,
        frontend: &Frontend,
        old: Option<&Frontend>,
        created: u64,
        refusal: &mut Refusal,
    ) {
        for backend in frontend.backends() {
            let is_kept = old.is_some_and(|old| old.backends().any(|kept| kept == backend));
            if !is_kept && !self.links.node(backend).exists() {
                let reason = format!("no backend {backend} exists, neither an object nor a server below it");
                let field = frontend.backend_field();
                refusal.add(field, reason, Some(Awaited::Backend(backend.clone())));
            }
        }
        for middleware in &frontend.settings.middlewares {
            let key = ObjectKey::SharedMiddleware(middleware.clone());
            let is_there = self.slots.get(&key).is_some_and(|slot| slot.form.is_some());
            if !is_there {
                let reason = format!(
                    "no shared middleware {middleware} is in force; the frontend is not served without it"
                );
                refusal.add("Settings.Middlewares", reason, Some(Awaited::Shared(middleware.clone())));
            }
        }
        for (key, slot) in self.own_middlewares_of(id) {
            let is_guard = slot.stored.as_ref().is_some_and(|stored| !may_be_missing(&stored.raw));
            if slot.form.is_none() && is_guard {
                refusal.add(
                    "",
                    format!("its middleware {key} is not in force, and it is not served without it"),
                    None,
                );
            }
        }
        let route = self.links.route_key(frontend);
        if let Some(holder) = self.links.holder(route).filter(|holder| *holder != id) {
            let slot = self.slots.get(&ObjectKey::Frontend(holder.clone()));
            // A ghost has nothing stored, and gives way.
            let is_earlier = slot
                .and_then(|slot| slot.stored.as_ref())
                .is_some_and(|stored| (stored.created, holder) < (created, id));
            if is_earlier {
                let reason = format!("frontend {holder}, created earlier, has the same route and priority");
                refusal.add("Route", reason, Some(Awaited::Route(route)));
            }
        }
    }

    /// Puts a form that nothing speaks against in force.
    fn seat(&mut self, key: &ObjectKey, mut form: Form, in_force: InForce) {
        if let Form::Frontend(frontend) = &mut form {
            let route = self.links.route_key(frontend);
            if let Some(name) = self.links.shared_name(&frontend.backend)
                && let Some(frontend) = Arc::get_mut(frontend)
            {
                frontend.backend = name;
            }
            let holder = self.links.holder(route).cloned().map(ObjectKey::Frontend);
            if let Some(holder) = holder.filter(|holder| holder != key) {
                self.displace(&holder);
            }
        }
        if let Some(slot) = self.slots.get_mut(key)
            && in_force == InForce::This
        {
            let is_reverted =
                slot.last_good.take().is_some_and(|raw| slot.stored.as_ref().is_some_and(|it| it.raw == raw));
            // The same bytes as those in force: keep what the table already has, and with it its state.
            if is_reverted && !matches!(form, Form::Host(..)) {
                form = slot.form.clone().unwrap_or(form);
            }
        }
        self.set_form(key, Some(form), in_force);
    }

    /// Takes a form out of force that was in force; it is looked at again when it may come back.
    fn unseat(&mut self, key: &ObjectKey) {
        self.set_form(key, None, InForce::None);
    }

    /// A frontend loses its route to one created earlier.
    fn displace(&mut self, key: &ObjectKey) {
        if self.ghosts.contains_key(key) {
            self.release(key);
        } else {
            self.unseat(key);
            self.soil(key.clone());
        }
    }

    /// A frontend created anew may have lost its claim to its route.
    pub(super) fn recall_route(&mut self, key: &ObjectKey) {
        let Some(Slot { form: Some(Form::Frontend(frontend)), stored: Some(stored), .. }) =
            self.slots.get(key)
        else {
            return;
        };
        let route = self.links.route_key(frontend);
        let created = stored.created;
        let is_contested = self.links.waiting_for(&Awaited::Route(route)).any(|other| {
            let other_created =
                self.slots.get(other).and_then(|slot| slot.stored.as_ref()).map(|it| it.created);
            other_created.is_some_and(|other_created| (other_created, other) < (created, key))
        });
        if is_contested {
            self.unseat(key);
            self.soil_waiting(&Awaited::Route(route));
        }
    }

    /// The one place where forms change: the hash, the links and the list of changes follow.
    pub(super) fn set_form(&mut self, key: &ObjectKey, form: Option<Form>, in_force: InForce) {
        let Some(slot) = self.slots.get_mut(key) else { return };
        let old = std::mem::replace(&mut slot.form, form.clone());
        slot.in_force = in_force;
        let hash = match slot.in_force_raw() {
            Some(raw) if form.is_some() => object_hash(key, raw),
            _ => 0,
        };
        self.hash = self.hash.wrapping_sub(slot.hash).wrapping_add(hash);
        slot.hash = hash;
        self.work.touched.insert(key.clone());
        self.work.before.entry((super::rank(key), key.clone())).or_insert_with(|| old.clone());
        match key {
            ObjectKey::Frontend(id) => self.relink_frontend(id, frontend(&old), frontend(&form)),
            ObjectKey::Backend(id) => {
                let named = match &form {
                    Some(Form::Backend(it, _)) => match &**it {
                        Backend::Alias { target, .. } => Named::Alias(target.clone()),
                        Backend::Http { .. } => Named::Http,
                    },
                    _ => Named::Nothing,
                };
                self.links.backend(id, named, &self.work.moment);
            }
            ObjectKey::Server(of, _) if old.is_some() != form.is_some() => {
                self.links.server(of, form.is_some(), &self.work.moment);
            }
            ObjectKey::OwnMiddleware(..) => self.relink_middleware(old.as_ref(), form.as_ref()),
            ObjectKey::SharedMiddleware(id) => {
                self.relink_middleware(old.as_ref(), form.as_ref());
                if old.is_none() && form.is_some() {
                    self.soil_waiting(&Awaited::Shared(id.clone()));
                }
            }
            _ => {}
        }
    }

    fn relink_middleware(&mut self, old: Option<&Form>, new: Option<&Form>) {
        for (form, enters) in [(new, true), (old, false)] {
            if let Some(Form::Middleware(middleware)) = form
                && let Some(backend) = middleware.spec.backend()
            {
                self.links.middleware(backend, enters, &self.work.moment);
            }
        }
    }

    fn relink_frontend(&mut self, id: &FrontendId, old: Option<&Arc<Frontend>>, new: Option<&Arc<Frontend>>) {
        let old_route = old.map(|it| self.links.route_key(it));
        let new_route = new.map(|it| self.links.route_key(it));
        // Entering before leaving: what both name is never without a user in between.
        if let Some(new) = new {
            self.links.frontend(new, true, &self.work.moment);
            self.frontends_in_force += 1;
            self.frontends_gone.returned(id);
        }
        if let Some(old) = old {
            self.links.frontend(old, false, &self.work.moment);
            self.frontends_in_force = self.frontends_in_force.saturating_sub(1);
            for middleware in &old.settings.middlewares {
                let key = ObjectKey::SharedMiddleware(middleware.clone());
                if self.ghosts.contains_key(&key) {
                    self.soil(key);
                }
            }
        }
        if old_route != new_route {
            if let Some(route) = new_route {
                self.links.claim(route, id);
            }
            if let Some(route) = old_route
                && self.links.unclaim(route, id)
            {
                self.soil_waiting(&Awaited::Route(route));
            }
        }
    }

    /// One object as the journal kept it.
    pub(super) fn restore_one(&mut self, key: ObjectKey, kept: Kept) {
        let slot = self.slots.entry(key.clone()).or_default();
        slot.stored = kept.stored;
        slot.last_good = kept.last_good;
        slot.in_force = kept.in_force;
        let raw = slot.in_force_raw().cloned();
        slot.in_force = InForce::None;
        let is_ghost = slot.stored.is_none();
        let form = raw.and_then(|raw| {
            let Read { form, findings } = read(&key, &raw, &self.environment);
            if kept.in_force == InForce::This {
                self.findings.set(&key, findings, &self.work.moment);
            }
            form
        });
        let is_taken =
            frontend_of(&form).is_some_and(|it| self.links.holder(self.links.route_key(it)).is_some());
        match form.filter(|_| !is_taken) {
            Some(form) => {
                if let (true, Some((kind, revision))) = (is_ghost, kept.ghost) {
                    self.raise_ghost(&key, kind, revision);
                }
                self.set_form(&key, Some(form), kept.in_force);
            }
            None if is_ghost => {
                self.slots.remove(&key);
                self.work.touched.insert(key);
                return;
            }
            None => {}
        }
        if kept.in_force != InForce::This || self.slots.get(&key).is_some_and(|slot| slot.form.is_none()) {
            self.soil(key);
        }
    }
}

fn frontend(form: &Option<Form>) -> Option<&Arc<Frontend>> {
    frontend_of(form)
}

fn frontend_of(form: &Option<Form>) -> Option<&Arc<Frontend>> {
    match form {
        Some(Form::Frontend(it)) => Some(it),
        _ => None,
    }
}
