//! Where our order of routes and vulcand's lead a request to different frontends.
//!
//! Both orders are those of the router itself. Examples are made of pairs of routes that stand the other way round in the
//! two orders, and each is run through both routers over all routes: what is told is what would happen.

use super::super::context::Context;
use super::super::explain::Asked;
use super::super::references::Objects;
use super::super::table::{count, table};
use super::example::{FILLINGS, example};
use crate::expr::shape::{self, HostKind};
use crate::expr::{Alternative, Matcher, Route, Term};
use crate::model::{FrontendId, Object, RouteOrder};
use crate::route::{Params, Router, is_vulcands, lost_by_vulcand};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Most differences that are told.
const DIFFERENCES_MAX: usize = 1_000;

/// Most pairs of routes that are looked at: a few seconds.
const PAIRS_MAX: usize = 4_000_000;

/// Most pairs that are tried out.
const TRIALS_MAX: usize = 300_000;

/// A pair of routes with a request that shows the difference.
#[derive(Debug)]
pub(in crate::cli) struct Difference {
    /// The request.
    pub(in crate::cli) asked: Asked,
    /// Whom we send it to.
    pub(in crate::cli) ours: FrontendId,
    /// Whom vulcand sends it to; none: it answers 404.
    pub(in crate::cli) vulcands: Option<FrontendId>,
}

/// All that were found.
#[derive(Debug, Default)]
pub(in crate::cli) struct Differences {
    /// By the frontends' ids.
    pub(in crate::cli) found: Vec<Difference>,
    /// There may be more.
    pub(in crate::cli) more: bool,
    /// Routes that vulcand takes and never finds, with why.
    pub(in crate::cli) lost: Vec<(FrontendId, &'static str)>,
    /// Frontends whose routes only we have.
    pub(in crate::cli) new: usize,
}

impl Differences {
    /// For programs.
    pub(in crate::cli) fn to_json(&self) -> Value {
        let one = |difference: &Difference| {
            let Difference { asked, ours, vulcands } = difference;
            let headers: Vec<Value> =
                asked.headers.iter().map(|(name, value)| json!({ "name": name, "value": value })).collect();
            let and = if asked.query.is_empty() { "" } else { "?" };
            json!({
                "method": asked.method,
                "url": format!("http://{}{}{and}{}", asked.host, asked.path, asked.query),
                "headers": headers,
                "flipgate": ours.as_str(),
                "vulcand": vulcands.as_ref().map(|id| id.as_str()),
            })
        };
        json!({
            "differences": self.found.iter().map(one).collect::<Vec<Value>>(),
            "more": self.more,
            "notCompared": self.new,
        })
    }

    /// For people: requests as `flipgate explain` takes them.
    pub(in crate::cli) fn print(&self, context: &mut Context<'_, '_>) -> anyhow::Result<()> {
        if !self.found.is_empty() {
            let none = || "none: 404".to_owned();
            let rows = self.found.iter().map(|difference| {
                let vulcands = difference.vulcands.as_ref().map_or_else(none, |id| id.as_str().to_owned());
                [difference.ours.as_str().to_owned(), vulcands, difference.asked.to_string()]
            });
            context.say(table(["HERE", "VULCAND", "REQUEST"], rows))?;
        }
        if self.more {
            let found = self.found.len();
            context.note(format_args!(
                "there may be more: the search ended after {found} differences or {PAIRS_MAX} pairs"
            ));
        }
        if self.new > 0 {
            let new = count(self.new, "frontend");
            context.note(format_args!("{new} not compared: vulcand has no such routes"));
        }
        let (differ, keeps) = match self.found.len() {
            0 => ("no pair of routes goes another way than in vulcand".to_owned(), ""),
            found => (
                format!("{} of frontends would get other requests than from vulcand", count(found, "pair")),
                "; `--route-order vulcand` keeps its order",
            ),
        };
        context.note(format_args!("{differ}{keeps}"));
        Ok(())
    }
}

/// What an alternative can be found by.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct Place {
    /// `None`: more than one host.
    host: Option<String>,
    /// The first segment; `None`: more than one.
    segment: Option<Vec<u8>>,
}

struct Candidate<'o> {
    alternative: &'o Alternative,
    /// Of its frontend in our order, and in vulcand's.
    places: (usize, usize),
}

/// Compares the two orders for all frontends whose routes vulcand has.
pub(in crate::cli) fn differences(objects: &Objects) -> Differences {
    let frontends: Vec<_> = objects
        .valid
        .values()
        .filter_map(|(object, _)| match object {
            Object::Frontend(frontend) => Some(frontend),
            _ => None,
        })
        .collect();
    let routes: Vec<(&FrontendId, &Route, i64)> = frontends
        .iter()
        .filter(|frontend| is_vulcands(&frontend.route))
        .map(|frontend| (&frontend.id, &frontend.route, frontend.priority))
        .collect();
    let lost: BTreeMap<&FrontendId, &'static str> =
        lost_by_vulcand(routes.iter().map(|(id, route, _)| (*id, *route))).into_iter().collect();
    let (mut ours, mut vulcands) = (Router::new(), Router::with_order(RouteOrder::Vulcand));
    for (id, route, priority) in &routes {
        ours.insert(id, route, *priority, (*id).clone());
        if !lost.contains_key(id) {
            // Vulcand knows no priorities.
            vulcands.insert(id, route, 0, (*id).clone());
        }
    }
    vulcands.settle();
    let places = |router: &Router<FrontendId>| -> HashMap<FrontendId, usize> {
        router.ranked(None).iter().enumerate().map(|(place, ranked)| (ranked.value.clone(), place)).collect()
    };
    let (our_places, their_places) = (places(&ours), places(&vulcands));
    let place = |places: &HashMap<FrontendId, usize>, id| places.get(id).copied().unwrap_or(usize::MAX);
    let candidates: Vec<Candidate<'_>> = routes
        .iter()
        .flat_map(|(id, route, _)| route.alternatives().iter().map(move |alternative| (*id, alternative)))
        .map(|(id, alternative)| Candidate {
            alternative,
            places: (place(&our_places, id), place(&their_places, id)),
        })
        .collect();
    let mut search = Search { ours: &ours, vulcands: &vulcands, seen: BTreeSet::new(), found: Vec::new() };
    let complete = search.run(&candidates);
    let mut found = search.found;
    found.sort_by(|a, b| (&a.ours, &a.vulcands).cmp(&(&b.ours, &b.vulcands)));
    Differences {
        found,
        more: !complete,
        lost: lost.into_iter().map(|(id, why)| (id.clone(), why)).collect(),
        new: frontends.len() - routes.len(),
    }
}

struct Search<'r> {
    ours: &'r Router<FrontendId>,
    vulcands: &'r Router<FrontendId>,
    seen: BTreeSet<(FrontendId, Option<FrontendId>)>,
    found: Vec<Difference>,
}

impl Search<'_> {
    /// Whether it came to its end.
    fn run(&mut self, candidates: &[Candidate<'_>]) -> bool {
        let mut groups: BTreeMap<Place, Vec<&Candidate<'_>>> = BTreeMap::new();
        for candidate in candidates {
            groups.entry(place(candidate.alternative)).or_default().push(candidate);
        }
        let anywhere = groups.keys().filter(|place| place.host.is_none());
        let segments: BTreeSet<&Option<Vec<u8>>> = anywhere.map(|place| &place.segment).collect();
        let (mut pairs, mut trials) = (0, 0);
        for (place, group) in &groups {
            for (index, one) in group.iter().enumerate() {
                self.try_out(&[one.alternative]);
                let rest = group.get(index + 1..).unwrap_or_default();
                let others =
                    wider(place, &segments).into_iter().filter_map(|place| groups.get(&place)).flatten();
                for other in rest.iter().chain(others) {
                    pairs += 1;
                    if pairs > PAIRS_MAX || trials > TRIALS_MAX || self.found.len() >= DIFFERENCES_MAX {
                        return false;
                    }
                    let same = (one.places.0 < other.places.0) == (one.places.1 < other.places.1);
                    if !same {
                        trials += 1;
                        self.try_out(&[one.alternative, other.alternative]);
                    }
                }
            }
        }
        true
    }

    /// Notes what a request that meets these tells, if it is new.
    fn try_out(&mut self, alternatives: &[&Alternative]) {
        let terms: Vec<&Term> = alternatives.iter().flat_map(|alternative| alternative.terms()).collect();
        for filling in FILLINGS {
            let Some(asked) = example(&terms, filling) else { return };
            let ours = self.ours.find(&asked.question(), &mut Params::new());
            let vulcands = self.vulcands.find(&asked.question(), &mut Params::new());
            let Some(ours) = ours.filter(|ours| Some(*ours) != vulcands) else { continue };
            if self.found.len() < DIFFERENCES_MAX && self.seen.insert((ours.clone(), vulcands.cloned())) {
                self.found.push(Difference { asked, ours: ours.clone(), vulcands: vulcands.cloned() });
            }
        }
    }
}

fn place(alternative: &Alternative) -> Place {
    let mut place = Place { host: None, segment: None };
    for term in alternative.terms().iter().filter(|term| !term.negated) {
        match &term.matcher {
            Matcher::Host(host) if host.kind() == HostKind::Exact => {
                place.host = Some(host.shape().to_owned())
            }
            Matcher::Path(path) => {
                let inside = path.shape().as_bytes().get(1..).unwrap_or_default();
                let (first, _) = shape::split(inside, b'/');
                place.segment = (!first.iter().copied().any(shape::is_parameter)).then(|| first.to_owned());
            }
            _ => {}
        }
    }
    place
}

/// The places whose routes can meet one of `place`, each pair of places from one side only. `segments` are those of
/// routes for more than one host.
fn wider(place: &Place, segments: &BTreeSet<&Option<Vec<u8>>>) -> Vec<Place> {
    let of = |host: &Option<String>, segment: &Option<Vec<u8>>| Place {
        host: host.clone(),
        segment: segment.clone(),
    };
    let mut found = Vec::new();
    if place.segment.is_some() {
        found.push(of(&place.host, &None));
    }
    if place.host.is_some() {
        match &place.segment {
            Some(_) => found.extend([of(&None, &place.segment), of(&None, &None)]),
            None => found.extend(segments.iter().map(|segment| of(&None, segment))),
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ObjectKey, Strictness};
    use std::time::Instant;

    fn objects<'a>(routes: impl IntoIterator<Item = (&'a str, &'a str, i64)>) -> Objects {
        let mut objects = Objects::default();
        for (id, route, priority) in routes {
            let key = ObjectKey::parse(&format!("frontends/{id}")).unwrap();
            let value = json!({ "BackendId": "b", "Route": route, "Priority": priority });
            let object = Object::parse_value(&key, &value, Strictness::Stored).object.unwrap();
            objects.valid.insert(key, (object, 0));
        }
        objects
    }

    #[track_caller]
    fn check(routes: &[(&str, &str)], expected: &[&str]) {
        let found = differences(&objects(routes.iter().map(|(id, route)| (*id, *route, 0))));
        let lines = found.found.iter().map(|difference| {
            let vulcands = difference.vulcands.as_ref().map_or("none", |id| id.as_str());
            format!("{} {vulcands}: {}", difference.ours, difference.asked)
        });
        assert_eq!(lines.collect::<Vec<_>>(), expected);
        assert!(!found.more);
    }

    #[test]
    fn pairs_are_found_with_a_request() {
        check(&[("a", r#"Path("/x")"#), ("b", r#"Path("/<p>")"#)], &[]);
        check(&[("a", r#"Path("/42")"#), ("b", r#"Path("/<p>")"#)], &["a b: GET http://any.example/42"]);
        check(
            &[("a", r#"Host("h") && Path("/x")"#), ("b", r#"PathRegexp("/.*")"#), ("c", r#"Path("/y")"#)],
            &["a b: GET http://h/x", "c b: GET http://any.example/y"],
        );
        check(
            &[("a", r#"Path("/<p>/7")"#), ("b", r#"Path("/7/<p>")"#), ("c", r#"Path("/7/7")"#)],
            &["c b: GET http://any.example/7/7"],
        );
        check(&[("a", r#"Header("T", "1")"#), ("b", r#"Host("h")"#), ("c", r#"Host("<h>.b")"#)], &[]);
        // What only we have is not compared.
        let found = differences(&objects([("a", r#"PathPrefix("/")"#, 0), ("b", r#"Path("/")"#, 0)]));
        assert_eq!((found.new, found.found.len()), (1, 0));
        // A priority is unknown to vulcand.
        let found = differences(&objects([("a", r#"Path("/x")"#, 0), ("b", r#"Path("/<p>")"#, 1)]));
        assert_eq!(found.found.len(), 1);
    }

    #[test]
    fn routes_that_vulcand_loses_are_found() {
        let routes = [("a", r#"Host("h") && Path("/x")"#), ("b", r#"Host("h") && Method("GET")"#)];
        check(&routes, &["a b: GET http://h/x"]);
        let found = differences(&objects(routes.iter().map(|(id, route)| (*id, *route, 0))));
        assert_eq!(found.lost.len(), 1);
        check(&[("a", r#"Path("/<p>") && Method("GET")"#)], &["a none: GET http://any.example/x"]);
        check(&[("a", r#"Host("<h>.b") && Path("/x")"#)], &[]);
    }

    #[test]
    fn ten_thousand_frontends_take_seconds() {
        let routes: Vec<(String, String)> = (0..10_000)
            .map(|n| (format!("f{n}"), format!(r#"Host("h{}") && Path("/s{}/<p>")"#, n % 500, n)))
            .chain([("any".to_owned(), r#"PathRegexp("^/s7/.*")"#.to_owned())])
            .collect();
        let objects = objects(routes.iter().map(|(id, route)| (id.as_str(), route.as_str(), 0)));
        let began = Instant::now();
        let found = differences(&objects);
        assert_eq!(found.found.len(), 1, "{:?}", found.found);
        assert!(began.elapsed().as_secs() < 60, "{:?}", began.elapsed());
    }
}
