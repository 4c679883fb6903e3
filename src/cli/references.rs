//! What objects say about each other: who names whom, and what leads nowhere.

use crate::model::{Backend, BackendId, Finding, Object, ObjectKey, ServerState, Severity};
use std::collections::{BTreeMap, BTreeSet};

/// Objects that can be read, and the keys of those that cannot.
#[derive(Debug, Default)]
pub(super) struct Objects {
    /// With the age of each; where nobody knows, all are of one age.
    pub(super) valid: BTreeMap<ObjectKey, (Object, u64)>,
    /// They exist, so naming them is not what is wrong.
    pub(super) invalid: BTreeSet<ObjectKey>,
}

impl Objects {
    fn get(&self, key: &ObjectKey) -> Option<&Object> {
        self.valid.get(key).map(|(object, _)| object)
    }

    fn backend(&self, id: &BackendId) -> Option<&Backend> {
        match self.get(&ObjectKey::Backend(id.clone())) {
            Some(Object::Backend(backend)) => Some(backend),
            _ => None,
        }
    }

    fn servers<'o>(&'o self, id: &'o BackendId) -> impl Iterator<Item = &'o ObjectKey> {
        let keys = self.valid.keys().chain(&self.invalid);
        keys.filter(move |key| matches!(key, ObjectKey::Server(backend, _) if backend == id))
    }

    /// A backend exists if it has an object or a server.
    fn has_backend(&self, id: &BackendId) -> bool {
        let key = ObjectKey::Backend(id.clone());
        self.valid.contains_key(&key) || self.invalid.contains(&key) || self.servers(id).next().is_some()
    }

    /// What names an object, with the field that does.
    pub(super) fn naming(&self, key: &ObjectKey) -> Vec<(&ObjectKey, &'static str)> {
        let named = |object: &Object| match (key, object) {
            (ObjectKey::Backend(id), Object::Frontend(frontend))
                if frontend.backends().any(|it| it == id) =>
            {
                Some(frontend.backend_field())
            }
            (ObjectKey::Backend(id), Object::Backend(Backend::Alias { target, .. })) if target == id => {
                Some("Target")
            }
            (ObjectKey::Backend(id), Object::Middleware(middleware))
                if middleware.spec.backend() == Some(id) =>
            {
                Some("Middleware.BackendId")
            }
            (ObjectKey::SharedMiddleware(id), Object::Frontend(frontend))
                if frontend.settings.middlewares.contains(id) =>
            {
                Some("Settings.Middlewares")
            }
            _ => None,
        };
        self.valid.iter().filter_map(|(key, (object, _))| Some((key, named(object)?))).collect()
    }

    /// Everything that is wrong between objects: names that lead nowhere, aliases of aliases, equal routes.
    pub(super) fn findings(&self) -> Vec<(ObjectKey, Finding)> {
        let mut findings = Findings(Vec::new());
        for (key, (object, _)) in &self.valid {
            if let Object::Middleware(middleware) = object
                && let Some(backend) = middleware.spec.backend()
            {
                self.check_backend(&mut findings, key, "Middleware.BackendId", backend);
            }
            match (key, object) {
                (_, Object::Frontend(frontend)) => {
                    for backend in frontend.backends() {
                        self.check_backend(&mut findings, key, frontend.backend_field(), backend);
                        self.check_servers(&mut findings, key, backend);
                    }
                    for id in &frontend.settings.middlewares {
                        let shared = ObjectKey::SharedMiddleware(id.clone());
                        if self.get(&shared).is_none() && !self.invalid.contains(&shared) {
                            let reason = format!("names the shared middleware {id}, which does not exist");
                            findings.error(key, "Settings.Middlewares", reason);
                        }
                    }
                }
                (_, Object::Backend(Backend::Alias { target, .. })) => {
                    self.check_backend(&mut findings, key, "Target", target);
                    if let Some(Backend::Alias { target: behind, .. }) = self.backend(target) {
                        let reason =
                            format!("names {target}, an alias itself; name {behind}, the real backend");
                        findings.error(key, "Target", reason);
                    }
                }
                (ObjectKey::Server(backend, _), _) => {
                    if let Some(Backend::Alias { target, .. }) = self.backend(backend) {
                        let reason =
                            format!("stands below an alias; servers belong to {target}, the real backend");
                        findings.error(key, "", reason);
                    }
                }
                (ObjectKey::OwnMiddleware(frontend, _), _) => {
                    let parent = ObjectKey::Frontend(frontend.clone());
                    if self.get(&parent).is_none() && !self.invalid.contains(&parent) {
                        findings.warning(
                            key,
                            format!("belongs to the frontend {frontend}, which does not exist"),
                        );
                    }
                }
                _ => {}
            }
        }
        self.check_routes(&mut findings);
        findings.0
    }

    fn check_backend(&self, findings: &mut Findings, key: &ObjectKey, field: &str, id: &BackendId) {
        if self.has_backend(id) {
            return;
        }
        let near = self.nearest_backend(id).map_or(String::new(), |near| format!("; did you mean {near}?"));
        findings.error(key, field, format!("names the backend {id}, which does not exist{near}"));
    }

    /// A frontend whose requests would find nobody.
    fn check_servers(&self, findings: &mut Findings, key: &ObjectKey, id: &BackendId) {
        let real = match self.backend(id) {
            Some(Backend::Alias { target, .. }) => target,
            _ => id,
        };
        let takes_requests = |server: &ObjectKey| match self.get(server) {
            Some(Object::Server(server)) => server.state == ServerState::Active && server.weight > 0,
            _ => false,
        };
        if self.has_backend(real) && !self.servers(real).any(takes_requests) {
            findings.warning(key, format!("leads to {real}, which has no server that takes requests"));
        }
    }

    fn nearest_backend(&self, id: &BackendId) -> Option<&BackendId> {
        let known = self.valid.keys().filter_map(|key| match key {
            ObjectKey::Backend(id) | ObjectKey::Server(id, _) => Some(id),
            _ => None,
        });
        let distances = known.map(|known| (strsim::damerau_levenshtein(known.as_str(), id.as_str()), known));
        let near = distances.filter(|(distance, _)| *distance <= 1 + id.as_str().len() / 4);
        near.min_by_key(|(distance, _)| *distance).map(|(_, known)| known)
    }

    /// Of two frontends with one route and priority the older one is in force.
    fn check_routes(&self, findings: &mut Findings) {
        let mut by_age: Vec<_> = self.valid.iter().map(|(key, (object, age))| (age, key, object)).collect();
        by_age.sort_by_key(|(age, key, _)| (**age, *key));
        let mut routes: BTreeMap<(String, i64), &ObjectKey> = BTreeMap::new();
        for (_, key, object) in by_age {
            let Object::Frontend(frontend) = object else { continue };
            let route = (frontend.route.normalised(), frontend.priority);
            match routes.get(&route) {
                Some(first) => {
                    let reason = format!(
                        "is the route of the frontend {} as well; change one of them, or give them different priorities",
                        first.id()
                    );
                    findings.error(key, "Route", reason);
                }
                None => {
                    routes.insert(route, key);
                }
            }
        }
    }
}

struct Findings(Vec<(ObjectKey, Finding)>);

impl Findings {
    fn error(&mut self, key: &ObjectKey, field: &str, reason: String) {
        self.0.push((key.clone(), Finding { field: field.to_owned(), reason, severity: Severity::Error }));
    }

    fn warning(&mut self, key: &ObjectKey, reason: String) {
        self.0.push((key.clone(), Finding { field: String::new(), reason, severity: Severity::Warning }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Strictness;

    fn objects(entries: &[(&str, &str)]) -> Objects {
        let mut objects = Objects::default();
        for (age, (key, value)) in entries.iter().enumerate() {
            let key = ObjectKey::parse(key).unwrap();
            match Object::parse(&key, value.as_bytes(), Strictness::Stored).object {
                Some(object) => drop(objects.valid.insert(key, (object, age as u64))),
                None => drop(objects.invalid.insert(key)),
            }
        }
        objects
    }

    #[track_caller]
    fn check(entries: &[(&str, &str)], expected: &[&str]) {
        let findings = objects(entries).findings();
        let lines: Vec<String> = findings
            .iter()
            .map(|(key, finding)| format!("{key} {}: {}", finding.field, finding.reason))
            .collect();
        assert_eq!(lines, expected);
    }

    const SERVER: &str = r#"{"URL":"http://127.0.0.1:1"}"#;
    const FRONTEND: &str = r#"{"BackendId":"shop","Route":"Path(\"/\")"}"#;

    #[test]
    fn names_lead_somewhere() {
        check(&[("backends/shop/servers/a", SERVER), ("frontends/f", FRONTEND)], &[]);
        check(
            &[("backends/shopp", "{}"), ("frontends/f", FRONTEND)],
            &[
                "frontends/f/frontend BackendId: names the backend shop, which does not exist; did you mean shopp?",
            ],
        );
        check(
            &[("middlewares/m", r#"{"Type":"mirror","Middleware":{"BackendId":"shop"}}"#)],
            &["middlewares/m Middleware.BackendId: names the backend shop, which does not exist"],
        );
        check(
            &[("backends/shop", "{}"), ("frontends/f", FRONTEND)],
            &["frontends/f/frontend : leads to shop, which has no server that takes requests"],
        );
        check(
            &[
                ("backends/shop/servers/a", SERVER),
                (
                    "frontends/f",
                    r#"{"BackendId":"shop","Route":"Path(\"/\")","Settings":{"Middlewares":["m"]}}"#,
                ),
                ("frontends/g/middlewares/m", r#"{"Type":"headers","Middleware":{}}"#),
            ],
            &[
                "frontends/f/frontend Settings.Middlewares: names the shared middleware m, which does not exist",
                "frontends/g/middlewares/m : belongs to the frontend g, which does not exist",
            ],
        );
        // What exists and is not valid is said once, where it is not valid.
        check(&[("backends/shop", "5"), ("backends/shop/servers/a", SERVER), ("frontends/f", FRONTEND)], &[]);
    }

    #[test]
    fn aliases_name_real_backends() {
        check(
            &[
                ("backends/a", r#"{"Type":"alias","Target":"b"}"#),
                ("backends/b", r#"{"Type":"alias","Target":"c"}"#),
                ("backends/c", "{}"),
                ("backends/b/servers/s", SERVER),
            ],
            &[
                "backends/a/backend Target: names b, an alias itself; name c, the real backend",
                "backends/b/servers/s : stands below an alias; servers belong to c, the real backend",
            ],
        );
    }

    #[test]
    fn equal_routes_are_the_younger_ones_problem() {
        check(
            &[
                ("backends/shop/servers/a", SERVER),
                ("frontends/z", r#"{"BackendId":"shop","Route":"Path(\"/\") && Host(\"A\")"}"#),
                ("frontends/a", r#"{"BackendId":"shop","Route":"Host(\"a\") && Path(\"/\")"}"#),
                ("frontends/b", r#"{"BackendId":"shop","Route":"Host(\"a\") && Path(\"/\")","Priority":1}"#),
            ],
            &[
                "frontends/a/frontend Route: is the route of the frontend z as well; change one of them, or give them \
                 different priorities",
            ],
        );
    }

    #[test]
    fn who_names_whom() {
        let objects = objects(&[
            ("frontends/f", FRONTEND),
            ("backends/x", r#"{"Type":"alias","Target":"shop"}"#),
            ("backends/shop", "{}"),
        ]);
        let shop = ObjectKey::parse("backends/shop").unwrap();
        let naming: Vec<_> =
            objects.naming(&shop).iter().map(|(key, field)| format!("{key} {field}")).collect();
        assert_eq!(naming, ["frontends/f/frontend BackendId", "backends/x/backend Target"]);
    }
}
