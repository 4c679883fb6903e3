//! Which servers a proxy would send requests to: those of the backends that something in force leads to.

use crate::cli::references::Objects;
use crate::model::{Backend, BackendId, Object, ObjectKey, ServerState};
use std::collections::{BTreeMap, BTreeSet};

/// Most places that are connected to.
pub(super) const PLACES_MAX: usize = 10_000;

/// Host and port of a server: an address without brackets, or a name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) host: Box<str>,
    pub(super) port: u16,
}

/// What is to be connected to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Reached {
    /// Names of the servers at each place: `shop-blue/a`.
    pub(super) places: BTreeMap<Place, Vec<String>>,
    /// Backends that have them.
    pub(super) backends: usize,
    /// Servers that get no new requests: draining, disabled, or of weight 0.
    pub(super) resting: usize,
    /// Places beyond [`PLACES_MAX`].
    pub(super) left_out: usize,
}

/// The servers of all backends that frontends and middlewares lead to, through aliases too.
pub(super) fn reached(objects: &Objects) -> Reached {
    let backends = backends(objects);
    let mut reached = Reached { backends: backends.len(), ..Reached::default() };
    for (object, _) in objects.valid.values() {
        let Object::Server(server) = object else { continue };
        if !backends.contains(&server.backend) {
            continue;
        }
        if server.state != ServerState::Active || server.weight == 0 {
            reached.resting += 1;
            continue;
        }
        let place = Place { host: server.url.host.clone(), port: server.url.port };
        if reached.places.len() >= PLACES_MAX && !reached.places.contains_key(&place) {
            reached.left_out += 1;
            continue;
        }
        let name = format!("{}/{}", server.backend, server.id);
        reached.places.entry(place).or_default().push(name);
    }
    reached
}

/// The real backends behind every name.
fn backends(objects: &Objects) -> BTreeSet<&BackendId> {
    let mut found = BTreeSet::new();
    for (object, _) in objects.valid.values() {
        match object {
            Object::Frontend(frontend) => found.extend(frontend.backends()),
            Object::Middleware(middleware) => found.extend(middleware.spec.backend()),
            _ => {}
        }
    }
    let real = |id| match objects.valid.get(&ObjectKey::Backend(BackendId::clone(id))) {
        Some((Object::Backend(Backend::Alias { target, .. }), _)) => target,
        _ => id,
    };
    found.into_iter().map(real).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Strictness;
    use crate::store::Entry;

    fn objects(all: &[(&str, &str)]) -> Objects {
        let entry = |(key, value): &(&str, &str)| {
            let entry = Entry {
                key: (*key).into(),
                value: value.as_bytes().to_vec().into(),
                version: 1,
                created: 1,
                lease: None,
            };
            (ObjectKey::parse(key).unwrap(), entry)
        };
        let (objects, rows) = crate::cli::check::load(&all.iter().map(entry).collect(), Strictness::Stored);
        assert!(rows.is_empty());
        objects
    }

    #[test]
    fn only_what_something_leads_to_is_connected_to() {
        let objects = objects(&[
            ("backends/blue/servers/a", r#"{"URL": "http://10.0.0.1:8080"}"#),
            ("backends/blue/servers/b", r#"{"URL": "http://10.0.0.2:8080", "State": "draining"}"#),
            ("backends/blue/servers/c", r#"{"URL": "http://10.0.0.3:8080", "Weight": 0}"#),
            ("backends/gate/servers/a", r#"{"URL": "https://[fd00::1]"}"#),
            ("backends/green/servers/a", r#"{"URL": "http://10.0.0.9:8080"}"#),
            ("backends/shop/backend", r#"{"Type": "alias", "Target": "blue"}"#),
            ("backends/beside/servers/a", r#"{"URL": "http://10.0.0.1:8080"}"#),
            ("frontends/f/frontend", r#"{"Type": "http", "BackendId": "shop", "Route": "Path(`/`)"}"#),
            (
                "frontends/f/middlewares/m",
                r#"{"Type": "mirror", "Middleware": {"BackendId": "beside", "Percent": 5}}"#,
            ),
            (
                "middlewares/auth",
                r#"{"Type": "forwardauth", "Middleware": {"BackendId": "gate", "Path": "/ask"}}"#,
            ),
        ]);
        let found = reached(&objects);
        let place = |host: &str, port| Place { host: host.into(), port };
        let names = |all: &[&str]| all.iter().map(|name| name.to_string()).collect::<Vec<_>>();
        let places = BTreeMap::from([
            (place("10.0.0.1", 8080), names(&["beside/a", "blue/a"])),
            (place("fd00::1", 443), names(&["gate/a"])),
        ]);
        assert_eq!(found, Reached { places, backends: 3, resting: 2, left_out: 0 });
    }
}
