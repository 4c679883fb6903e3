//! From one table and the changes since to the next table. Pure; work is proportional to the change.

use super::{BackendEntry, Frontend, Table};
use crate::expr::Route;
use crate::middleware::{Chain, Step};
use crate::model::{self, BackendId, FrontendId, HostName, ListenerId, MiddlewareId, Revision, ServerId};
use crate::route::Router;
use crate::telemetry::WorkerSlots;
use crate::tls::{Certificate, Certificates, ClientPolicies, HostTls};
use crate::upstream;
use std::collections::BTreeSet;
use std::sync::Arc;

/// One object's new form in force; `None` where it is gone.
#[derive(Debug, Clone)]
pub enum Change {
    /// A listener.
    Listener(ListenerId, Option<Arc<model::Listener>>),
    /// A host, with what it names, loaded.
    Host(HostName, Option<(Arc<model::Host>, HostTls)>),
    /// A frontend.
    Frontend(FrontendId, Option<Arc<model::Frontend>>),
    /// A frontend's own middleware; it may come before its frontend.
    OwnMiddleware(FrontendId, MiddlewareId, Option<Arc<model::Middleware>>),
    /// A shared middleware; it may come after frontends that name it.
    SharedMiddleware(MiddlewareId, Option<Arc<model::Middleware>>),
    /// A backend or alias, with the certificate that goes with its key pair; it may come before or after its servers.
    Backend(BackendId, Option<(Arc<model::Backend>, Option<Arc<Certificate>>)>),
    /// A server; one whose backend has no object makes a plain http backend.
    Server(BackendId, ServerId, Option<Arc<model::Server>>),
}

/// The next table: `previous` with `changes`, which hold each object at most once, at `revision`. `hash` is the sum of
/// the hashes of all objects then in force.
pub fn compile(previous: &Table, revision: Revision, hash: u64, changes: &[Change]) -> Table {
    let mut next =
        Next { table: previous.clone(), frontends: BTreeSet::new(), backends: BTreeSet::new(), hosts: false };
    next.table.revision = revision;
    next.table.hash = hash;
    for change in changes {
        next.note(change);
    }
    next.finish()
}

/// A table in the making, with what must be made anew once all changes are noted.
struct Next {
    table: Table,
    frontends: BTreeSet<FrontendId>,
    backends: BTreeSet<BackendId>,
    hosts: bool,
}

impl Next {
    fn note(&mut self, change: &Change) {
        match change {
            Change::Listener(id, object) => {
                let listeners = Arc::make_mut(&mut self.table.listeners);
                match object {
                    Some(object) => listeners.insert(id.clone(), object.clone()),
                    None => listeners.remove(id),
                };
                self.note_scope(id, object.as_ref().and_then(|object| object.scope.as_ref()));
            }
            Change::Host(name, entry) => {
                let hosts = Arc::make_mut(&mut self.table.hosts);
                match entry {
                    Some(entry) => hosts.insert(name.clone(), entry.clone()),
                    None => hosts.remove(name),
                };
                self.hosts = true;
            }
            Change::Frontend(id, object) => self.note_frontend(id, object.as_ref()),
            Change::OwnMiddleware(frontend, id, object) => {
                let mut own =
                    self.table.own_middlewares.get(frontend).map(|own| (**own).clone()).unwrap_or_default();
                match object {
                    Some(object) => {
                        let step = Step::compile(object.clone(), own.get(id).map(|step| &**step));
                        own.insert(id.clone(), step)
                    }
                    None => own.remove(id),
                };
                if own.is_empty() {
                    self.table.own_middlewares.remove(frontend);
                } else {
                    self.table.own_middlewares.insert(frontend.clone(), Arc::new(own));
                }
                self.frontends.insert(frontend.clone());
            }
            Change::SharedMiddleware(id, object) => {
                let entry = Arc::make_mut(&mut self.table.shared_middlewares).entry(id.clone()).or_default();
                let step = object.clone().map(|object| Step::compile(object, entry.step.as_deref()));
                entry.step = step;
                self.frontends.extend(entry.users.iter().cloned());
                self.forget_unused(id);
            }
            Change::Backend(id, object) => self.entry(id, |entry| {
                (entry.object, entry.certificate) = match object.clone() {
                    Some((object, certificate)) => (Some(object), certificate),
                    None => (None, None),
                };
            }),
            Change::Server(backend, id, object) => self.entry(backend, |entry| match object {
                Some(object) => {
                    entry.servers.insert(id.clone(), object.clone());
                }
                None => {
                    entry.servers.remove(id);
                }
            }),
        }
    }

    fn note_scope(&mut self, id: &ListenerId, scope: Option<&Route>) {
        let scopes = Arc::make_mut(&mut self.table.scopes);
        scopes.remove(id);
        if let (Some(scope), Ok(name)) = (scope, FrontendId::try_from(id.as_str())) {
            let mut router = Router::new();
            router.insert(&name, scope, 0, ());
            scopes.insert(id.clone(), router);
        }
    }

    /// Takes the old form out of the router and puts the bare new one into the map; `finish` compiles it.
    fn note_frontend(&mut self, id: &FrontendId, object: Option<&Arc<model::Frontend>>) {
        let old = self.table.frontends.get(id).cloned();
        if let Some(old) = &old {
            self.table.router.remove(id, &old.object.route, old.object.priority);
            self.name_shared(id, &old.object.settings.middlewares, false);
        }
        match object {
            Some(object) => {
                self.name_shared(id, &object.settings.middlewares, true);
                let (counters, trips) = match old {
                    Some(old) => (old.counters.clone(), old.trips.clone()),
                    None => {
                        let workers = self.table.workers;
                        (Arc::new(WorkerSlots::new(workers)), Arc::new(WorkerSlots::new(workers)))
                    }
                };
                let frontend = Frontend { object: object.clone(), chain: Chain::empty(), counters, trips };
                self.table.frontends.insert(id.clone(), Arc::new(frontend));
                self.frontends.insert(id.clone());
            }
            None => {
                self.table.frontends.remove(id);
                self.frontends.remove(id);
            }
        }
    }

    fn name_shared(&mut self, frontend: &FrontendId, middlewares: &[MiddlewareId], named: bool) {
        for id in middlewares {
            let entry = Arc::make_mut(&mut self.table.shared_middlewares).entry(id.clone()).or_default();
            if named {
                entry.users.insert(frontend.clone());
            } else {
                entry.users.remove(frontend);
                self.forget_unused(id);
            }
        }
    }

    fn forget_unused(&mut self, id: &MiddlewareId) {
        let shared = Arc::make_mut(&mut self.table.shared_middlewares);
        if shared.get(id).is_some_and(|entry| entry.step.is_none() && entry.users.is_empty()) {
            shared.remove(id);
        }
    }

    fn entry(&mut self, id: &BackendId, edit: impl FnOnce(&mut BackendEntry)) {
        let mut entry = self.table.backends.get(id).map(|entry| (**entry).clone()).unwrap_or_default();
        edit(&mut entry);
        self.table.backends.insert(id.clone(), Arc::new(entry));
        self.backends.insert(id.clone());
    }

    fn finish(mut self) -> Table {
        for id in std::mem::take(&mut self.frontends) {
            self.compile_frontend(&id);
        }
        self.table.router.settle();
        for id in std::mem::take(&mut self.backends) {
            self.compile_backend(&id);
        }
        if self.hosts {
            let certificates = self.table.hosts.iter().filter_map(|(name, (host, tls))| {
                tls.certificate.as_ref().map(|certificate| (name.clone(), host.default, certificate.clone()))
            });
            self.table.certificates = Arc::new(Certificates::new(certificates.collect()));
            let hosts = self.table.hosts.iter().map(|(name, (host, tls))| (name, host.default, tls));
            self.table.client_policies = ClientPolicies::new(hosts).map(Arc::new);
        }
        self.table
    }

    fn compile_frontend(&mut self, id: &FrontendId) {
        let Some(old) = self.table.frontends.get(id).cloned() else { return };
        let own = self.table.own_middlewares.get(id);
        let shared = old.object.settings.middlewares.iter();
        let shared = shared.filter_map(|id| self.table.shared_middlewares.get(id)?.step.clone());
        let own = own.iter().flat_map(|own| own.values().cloned());
        let chain = Chain::compile(&shared.chain(own).collect::<Vec<_>>());
        let (counters, trips) = (old.counters.clone(), old.trips.clone());
        let frontend = Arc::new(Frontend { object: old.object.clone(), chain, counters, trips });
        self.table.router.insert(id, &frontend.object.route, frontend.object.priority, frontend.clone());
        self.table.frontends.insert(id.clone(), frontend);
    }

    fn compile_backend(&mut self, id: &BackendId) {
        let Some(entry) = self.table.backends.get(id) else { return };
        if entry.object.is_none() && entry.servers.is_empty() {
            entry.compiled.iter().for_each(|backend| backend.leave());
            self.table.backends.remove(id);
            return;
        }
        let compiled = match entry.object.as_deref() {
            Some(model::Backend::Alias { .. }) => None,
            Some(model::Backend::Http { settings, .. }) => Some(settings.clone()),
            None => Some(Arc::default()),
        };
        let compiled = compiled.map(|settings| {
            let servers = entry.servers.values().map(|server| &**server);
            Arc::new(upstream::Backend::compile(
                id,
                settings,
                entry.certificate.as_ref(),
                servers,
                entry.compiled.as_deref(),
                self.table.workers,
            ))
        });
        let entry = BackendEntry { compiled, ..(**entry).clone() };
        self.table.backends.insert(id.clone(), Arc::new(entry));
    }
}
