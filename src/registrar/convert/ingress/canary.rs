//! Canaries: Ingresses that take a part of what another one has for the same host and path.

use super::super::form::BackendRef;
use super::super::{Converted, Remit};
use super::said::{Said, shown};
use super::upstream::Custom;
use super::{backend, is_ours};
use crate::expr::is_token;
use crate::model::BackendId;
use crate::registrar::seen::{Ingress, IngressBackend, IngressPath};
use crate::registrar::world::World;

/// Largest sum of weights that a split takes as it is.
const WEIGHT_MAX: u64 = 10_000;

/// Which requests a canary gets.
#[derive(Debug, PartialEq, Eq)]
struct Share {
    weight: u64,
    total: u64,
    /// The field of a pin with the name, and the values for the canary and against it.
    pins: Vec<(&'static str, String, String, Option<&'static str>)>,
}

/// Where a path's requests go.
#[derive(Debug, PartialEq)]
pub(super) struct Parts {
    pub(super) backends: Vec<BackendRef>,
    pub(super) split_by: Option<String>,
}

/// The parts of a path of `said`'s, whose own backend is `main`.
pub(super) fn parts(
    world: &World,
    remit: &Remit,
    said: &Said<'_>,
    custom: &Custom,
    (host, path): (Option<&str>, &IngressPath),
    main: BackendId,
    converted: &mut Converted,
) -> Parts {
    let whole = |main| Parts { backends: vec![BackendRef::whole(main)], split_by: None };
    let namespace = &said.ingress().meta.name.namespace;
    let mut canaries =
        world.canaries(namespace, host).filter(|canary| is_ours(world, &remit.classes, canary));
    let Some((canary, way)) = canaries.find_map(|canary| Some((canary, way(canary, host, path)?))) else {
        return whole(main);
    };
    let canary = Said::of(canary);
    // What is wrong with it is said once, by the canary's own conversion.
    let mut unheard = Converted::default();
    let share = Share::of(&canary, &mut unheard);
    let own = custom.of_canary(&canary, &mut unheard);
    let name = if own == *custom { said } else { &canary };
    let field = format!("canary {}", canary.ingress().meta.name);
    let Some(relief) = backend::put(world, name, &own, way, &field, converted) else { return whole(main) };
    let is_sticky = own.settings.contains_key("Sticky")
        && canary.text("affinity-canary-behavior").is_none_or(|behaviour| behaviour != "legacy");
    Parts { backends: share.backends(main, relief), split_by: is_sticky.then(|| "client_ip".to_owned()) }
}

/// The backend of the rule that a canary has for the same host and path.
fn way<'w>(canary: &'w Ingress, host: Option<&str>, path: &IngressPath) -> Option<&'w IngressBackend> {
    let text = |path: &IngressPath| path.path.clone().unwrap_or_else(|| "/".into());
    let rules = canary.rules.iter().filter(|rule| rule.host.as_deref() == host);
    let mut paths = rules.flat_map(|rule| &rule.paths);
    paths.find(|it| it.kind == path.kind && text(it) == text(path)).map(|path| &path.backend)
}

/// What a canary's author must know.
pub(super) fn tell(world: &World, remit: &Remit, said: &Said<'_>, converted: &mut Converted) {
    Share::of(said, converted);
    Custom::default().of_canary(said, converted);
    said.word("affinity-canary-behavior", &["sticky", "legacy"], converted);
    let canary = said.ingress();
    let others = || world.ingresses().filter(|it| !it.is_canary() && is_ours(world, &remit.classes, it));
    for (number, rule) in canary.rules.iter().enumerate() {
        for (place, path) in rule.paths.iter().enumerate() {
            let host = rule.host.as_deref();
            let is_relief = |it: &Ingress| {
                it.meta.name.namespace == canary.meta.name.namespace && way(it, host, path).is_some()
            };
            if !others().any(is_relief) {
                let field = format!("spec.rules[{number}].http.paths[{place}]");
                said.field_error(&field, "is no host and path of an Ingress that is no canary", converted);
            }
        }
    }
}

impl Share {
    fn of(said: &Said<'_>, converted: &mut Converted) -> Self {
        let total = said.number("canary-weight-total", 1..=u64::from(u32::MAX), converted).unwrap_or(100);
        let weight = said.number("canary-weight", 0..=total, converted).unwrap_or(0);
        let mut pins = Vec::new();
        for (name, field) in [("canary-by-header", "Header"), ("canary-by-cookie", "Cookie")] {
            let Some(key) = said.text(name) else { continue };
            if !is_token(key) {
                said.error(name, format!("is {}; a name is expected", shown(key)), converted);
                continue;
            }
            let value = said.text("canary-by-header-value").filter(|_| field == "Header");
            pins.push(match value {
                Some(value) => (field, key.to_owned(), value.to_owned(), None),
                None => (field, key.to_owned(), "always".to_owned(), Some("never")),
            });
        }
        Self { weight, total, pins }
    }

    /// The header decides before the cookie, and both before the weight.
    fn backends(&self, main: BackendId, relief: BackendId) -> Vec<BackendRef> {
        let mut backends = Vec::new();
        for (field, name, with, without) in &self.pins {
            let pin = |id: &BackendId, value: &str| BackendRef {
                id: id.clone(),
                weight: 0,
                pins: vec![(*field, format!("{name}={value}"))],
            };
            backends.push(pin(&relief, with));
            backends.extend(without.map(|without| pin(&main, without)));
        }
        let scale = |weight: u64| match self.total > WEIGHT_MAX {
            true => u32::try_from(weight.saturating_mul(WEIGHT_MAX) / self.total).unwrap_or(0),
            false => u32::try_from(weight).unwrap_or(0),
        };
        let share = scale(self.weight);
        backends.push(BackendRef { id: main, weight: scale(self.total) - share, pins: Vec::new() });
        if share > 0 {
            backends.push(BackendRef { id: relief, weight: share, pins: Vec::new() });
        }
        backends
    }
}
