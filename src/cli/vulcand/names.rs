//! Ids and routes that vulcand confuses while it still runs on the same store.

use super::super::check::Row;
use super::super::references::Objects;
use super::super::table::count;
use crate::model::{Finding, Object, ObjectKey, Severity};
use std::collections::{BTreeMap, BTreeSet};

/// Pairs of ids that one finding names.
const NAMED_MAX: usize = 3;

/// Whether a prefix is one that vulcand is usually told.
pub(in crate::cli) fn is_vulcands_prefix(prefix: &str) -> bool {
    matches!(prefix.trim_matches('/'), "vulcand" | "vulcan")
}

/// What is in danger while vulcand writes to the store: ids that begin with another id, which its deletions hit
/// as well, and expressions that two frontends share, of which it keeps one.
pub(in crate::cli) fn shared(objects: &Objects) -> Vec<Row> {
    let keys = objects.valid.keys().chain(&objects.invalid);
    let mut groups: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for key in keys {
        let path = key.canonical();
        let path = path.strip_suffix("/frontend").or(path.strip_suffix("/backend")).unwrap_or(&path);
        let path = path.strip_suffix("/host").unwrap_or(path);
        // What lies below an id stands for the id, which need not have an object.
        let parts: Vec<&str> = path.split('/').collect();
        for end in (2..=parts.len()).step_by(2) {
            let (Some(group), Some(id)) = (parts.get(..end - 1), parts.get(end - 1)) else { continue };
            groups.entry(group.join("/")).or_default().insert((*id).to_owned());
        }
    }
    let mut rows: Vec<Row> = groups.into_iter().filter_map(|(group, ids)| siblings(&group, ids)).collect();
    let mut routes: BTreeMap<&str, (&ObjectKey, i64)> = BTreeMap::new();
    for (key, (object, _)) in &objects.valid {
        let Object::Frontend(frontend) = object else { continue };
        match routes.get(frontend.route.text()) {
            // The same priority is an error anyway.
            Some((first, priority)) if *priority != frontend.priority => {
                let reason = format!(
                    "is the text of the frontend {}'s as well: vulcand keeps one of them, whatever their priorities",
                    first.id()
                );
                rows.push(warning(key.canonical(), "Route", reason));
            }
            Some(_) => {}
            None => drop(routes.insert(frontend.route.text(), (key, frontend.priority))),
        }
    }
    rows
}

/// All ids below one key that begin with another one.
fn siblings(group: &str, ids: BTreeSet<String>) -> Option<Row> {
    let (mut pairs, mut shown) = (0, Vec::new());
    // The ids that the current one begins with, each of them a beginning of the next.
    let mut beginnings: Vec<&str> = Vec::new();
    for id in &ids {
        while beginnings.last().is_some_and(|last| !id.starts_with(last)) {
            beginnings.pop();
        }
        for beginning in &beginnings {
            pairs += 1;
            if shown.len() < NAMED_MAX {
                shown.push(format!("{beginning} and {id}"));
            }
        }
        beginnings.push(id);
    }
    let more = match pairs - shown.len() {
        0 => String::new(),
        more => format!(", and {}", count(more, "other pair")),
    };
    let reason = format!(
        "has ids that begin with another: {}{more}; a deletion of the shorter one through vulcand takes the longer one \
         along",
        shown.join(", ")
    );
    (pairs > 0).then(|| warning(group.to_owned(), "", reason))
}

fn warning(place: String, field: &str, reason: String) -> Row {
    Row { place, finding: Finding { field: field.to_owned(), reason, severity: Severity::Warning } }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Strictness;

    fn check(entries: &[(&str, &str)], expected: &[&str]) {
        let mut objects = Objects::default();
        for (key, value) in entries {
            let key = ObjectKey::parse(key).unwrap();
            match Object::parse(&key, value.as_bytes(), Strictness::Stored).object {
                Some(object) => drop(objects.valid.insert(key, (object, 0))),
                None => drop(objects.invalid.insert(key)),
            }
        }
        let rows = shared(&objects);
        let lines: Vec<String> = rows
            .iter()
            .map(|row| format!("{} {}: {}", row.place, row.finding.field, row.finding.reason))
            .collect();
        assert_eq!(lines, expected);
    }

    #[test]
    fn ids_that_begin_with_another_are_told() {
        let along = "a deletion of the shorter one through vulcand takes the longer one along";
        check(&[("backends/a", "{}"), ("backends/b", "{}"), ("frontends/ab", "{}")], &[]);
        check(
            &[("frontends/f1", "5"), ("frontends/f10", "5"), ("frontends/f2", "5")],
            &[&format!("frontends : has ids that begin with another: f1 and f10; {along}")],
        );
        check(
            &[
                ("hosts/example.com", "5"),
                ("hosts/example.com.au", "5"),
                ("listeners/l", "5"),
                ("listeners/l2", "5"),
            ],
            &[
                &format!("hosts : has ids that begin with another: example.com and example.com.au; {along}"),
                &format!("listeners : has ids that begin with another: l and l2; {along}"),
            ],
        );
        check(
            &[
                ("backends/b/servers/a", "5"),
                ("backends/b/servers/ab", "5"),
                ("backends/b/servers/abc", "5"),
                ("backends/b/servers/abd", "5"),
                ("backends/c/servers/abe", "5"),
            ],
            &[&format!(
                "backends/b/servers : has ids that begin with another: a and ab, a and abc, ab and abc, and 2 other \
                 pairs; {along}"
            )],
        );
    }

    #[test]
    fn expressions_of_two_frontends_are_told() {
        let route = |priority| format!(r#"{{"BackendId":"b","Route":"Path(\"/\")","Priority":{priority}}}"#);
        check(
            &[("frontends/a", &route(0)), ("frontends/b", &route(1)), ("frontends/c", &route(0))],
            &[
                "frontends/b/frontend Route: is the text of the frontend a's as well: vulcand keeps one of them, whatever \
               their priorities",
            ],
        );
    }
}
