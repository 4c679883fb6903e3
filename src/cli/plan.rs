//! What applying documents would change. Pure: documents and what is stored in, steps out.

use super::document::Document;
use super::put::valid;
use super::references::Objects;
use super::secret::{admitted, redacted};
use super::target::short;
use super::value::{replaced, same, spelled, to_yaml};
use crate::model::{Finding, Object, ObjectKey, Severity, Strictness};
use crate::store::{Area, Entry, Expected, LeaseChoice, Operation, Transaction};
use crate::tls::SealKeys;
use anyhow::bail;
use serde_json::Value;
use similar::TextDiff;
use std::collections::{BTreeMap, BTreeSet};
use std::mem::discriminant;

/// What becomes of one object.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Step {
    pub(super) key: ObjectKey,
    /// Where it stands in the store, or will.
    pub(super) stored_key: Box<str>,
    /// As stored, with its version; none: it is new.
    pub(super) old: Option<(Value, u64)>,
    /// As it will be; none: it goes.
    pub(super) new: Option<Value>,
}

impl Step {
    /// `new`, `changed` or `removed`.
    pub(super) fn verb(&self) -> &'static str {
        match (&self.old, &self.new) {
            (None, _) => "new",
            (Some(_), Some(_)) => "changed",
            (Some(_), None) => "removed",
        }
    }

    /// What is named stands before what names it.
    fn rank(&self) -> (bool, u8) {
        let rank = match self.key {
            ObjectKey::SharedMiddleware(_) => 0,
            ObjectKey::Backend(_) => 1,
            ObjectKey::Server(..) => 2,
            ObjectKey::Host(_) => 3,
            ObjectKey::Listener(_) => 4,
            ObjectKey::OwnMiddleware(..) => 5,
            ObjectKey::Frontend(_) => 6,
        };
        // What goes, goes last, and what names others first.
        if self.new.is_some() { (false, rank) } else { (true, 6 - rank) }
    }

    /// The change as a unified diff, without private keys.
    pub(super) fn diff(&self) -> anyhow::Result<String> {
        let yaml = |value: Option<&Value>| {
            value.map_or(Ok(String::new()), |value| to_yaml(&redacted(&self.key, value)))
        };
        let (old, new) = (yaml(self.old.as_ref().map(|(value, _)| value))?, yaml(self.new.as_ref())?);
        let name = |exists: bool, side: &str| {
            if exists { format!("{side}/{}", self.stored_key) } else { "/dev/null".to_owned() }
        };
        let (before, after) = (name(self.old.is_some(), "a"), name(self.new.is_some(), "b"));
        let diff = TextDiff::from_lines(&old, &new);
        let text = diff.unified_diff().context_radius(3).header(&before, &after).to_string();
        if text.is_empty() {
            return Ok(format!("--- {before}\n+++ {after}\n# only secrets differ, which are not shown\n"));
        }
        Ok(text)
    }

    fn operations(&self) -> Vec<Operation> {
        let area = Area::Routing;
        match &self.new {
            Some(value) => vec![Operation::Put {
                area,
                key: self.stored_key.clone(),
                value: value.to_string().into(),
                lease: LeaseChoice::Keep,
            }],
            None => {
                let keys = [Some(self.key.canonical()), short(&self.key)].into_iter().flatten();
                keys.map(|key| Operation::Delete { area, key: key.into() }).collect()
            }
        }
    }

    fn expected(&self) -> (Area, Box<str>, Expected) {
        let expected = self.old.as_ref().map_or(Expected::Absent, |(_, version)| Expected::Version(*version));
        (Area::Routing, self.stored_key.clone(), expected)
    }
}

/// Everything that applying would do.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Plan {
    /// In the order in which they are written if one transaction does not hold them.
    pub(super) steps: Vec<Step>,
    /// Documents that say what is stored.
    pub(super) unchanged: usize,
}

/// Compares documents with what is stored. `prune` removes objects of the kinds that the documents have, but for those
/// whose keys end with a lease.
///
/// # Errors
/// Everything that is wrong with any document.
pub(super) fn plan(
    documents: &BTreeMap<ObjectKey, Document>,
    stored: &BTreeMap<ObjectKey, Entry>,
    prune: bool,
    seal: &SealKeys,
) -> anyhow::Result<Plan> {
    let (mut plan, mut wrong) = (Plan::default(), Vec::new());
    for (key, document) in documents {
        match step(key, document, stored.get(key), seal) {
            Ok(Some(step)) => plan.steps.push(step),
            Ok(None) => plan.unchanged += 1,
            Err(error) => wrong.push(format!("{}: {error}", document.origin)),
        }
    }
    if !wrong.is_empty() {
        bail!("{}", wrong.join("\nflipgate: "));
    }
    if prune {
        let kinds: Vec<_> = documents.keys().map(discriminant).collect();
        for (key, entry) in stored {
            // Whoever holds the lease takes care of the key.
            let is_ours = entry.lease.is_none();
            if is_ours && kinds.contains(&discriminant(key)) && !documents.contains_key(key) {
                let old = serde_json::from_slice(&entry.value).unwrap_or_default();
                plan.steps.push(Step {
                    key: key.clone(),
                    stored_key: entry.key.clone(),
                    old: Some((old, entry.version)),
                    new: None,
                });
            }
        }
    }
    plan.steps.sort_by(|a, b| (a.rank(), &a.key).cmp(&(b.rank(), &b.key)));
    Ok(plan)
}

fn step(
    key: &ObjectKey,
    document: &Document,
    stored: Option<&Entry>,
    seal: &SealKeys,
) -> anyhow::Result<Option<Step>> {
    // What is no JSON is replaced.
    let old: Option<Value> = stored.map(|entry| serde_json::from_slice(&entry.value).unwrap_or_default());
    let new = match &old {
        Some(old) => replaced(old, &document.value),
        None => spelled(&document.value),
    };
    let new = admitted(key, &new, old.as_ref(), seal)?;
    valid(key, &new, old.as_ref())?;
    if old.as_ref().is_some_and(|old| same(old, &new)) {
        return Ok(None);
    }
    let stored_key = stored.map_or_else(|| key.canonical().into(), |entry| entry.key.clone());
    let old = old.zip(stored.map(|entry| entry.version));
    Ok(Some(Step { key: key.clone(), stored_key, old, new: Some(new) }))
}

impl Plan {
    /// As transactions of at most `operations_max` operations: one, or as many as it takes.
    pub(super) fn transactions(&self, operations_max: usize) -> Vec<Transaction> {
        let mut transactions: Vec<Transaction> = Vec::new();
        for step in &self.steps {
            let operations = step.operations();
            let fits = |last: &&mut Transaction| last.operations.len() + operations.len() <= operations_max;
            match transactions.last_mut().filter(fits) {
                Some(last) => {
                    last.expect.push(step.expected());
                    last.operations.extend(operations);
                }
                None => transactions.push(Transaction { expect: vec![step.expected()], operations }),
            }
        }
        transactions
    }

    /// What would be wrong between objects afterwards and is not now.
    pub(super) fn consequences(&self, stored: &BTreeMap<ObjectKey, Entry>) -> Vec<(ObjectKey, Finding)> {
        let (before, _) = super::check::load(stored, Strictness::Stored);
        let mut after = Objects { valid: before.valid.clone(), invalid: before.invalid.clone() };
        for step in &self.steps {
            let age = after.valid.remove(&step.key).map_or(u64::MAX, |(_, age)| age);
            after.invalid.remove(&step.key);
            let object =
                step.new.as_ref().map(|new| Object::parse_value(&step.key, new, Strictness::Stored).object);
            match object {
                Some(Some(object)) => drop(after.valid.insert(step.key.clone(), (object, age))),
                Some(None) => drop(after.invalid.insert(step.key.clone())),
                None => {}
            }
        }
        let known: BTreeSet<_> =
            before.findings().into_iter().map(|(key, finding)| (key, finding.reason)).collect();
        let mut findings = after.findings();
        findings.retain(|(key, finding)| !known.contains(&(key.clone(), finding.reason.clone())));
        findings
    }

    /// Of the consequences, those that removing brings: what stays names what goes.
    pub(super) fn breaks<'f>(
        &self,
        consequences: &'f [(ObjectKey, Finding)],
    ) -> Vec<&'f (ObjectKey, Finding)> {
        let removes = self.steps.iter().any(|step| step.new.is_none());
        let touched: BTreeSet<&ObjectKey> = self.steps.iter().map(|step| &step.key).collect();
        let is_broken = |(key, finding): &&(ObjectKey, Finding)| {
            finding.severity == Severity::Error && !touched.contains(key)
        };
        consequences.iter().filter(is_broken).filter(|_| removes).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn documents(entries: &[(&str, Value)]) -> BTreeMap<ObjectKey, Document> {
        let document = |(key, value): &(&str, Value)| {
            (ObjectKey::parse(key).unwrap(), Document { origin: "f".into(), value: value.clone() })
        };
        entries.iter().map(document).collect()
    }

    fn stored(entries: &[(&str, Value)]) -> BTreeMap<ObjectKey, Entry> {
        let entry = |(key, value): &(&str, Value)| {
            let entry = Entry {
                key: (*key).into(),
                value: value.to_string().into(),
                version: 3,
                created: 1,
                lease: None,
            };
            (ObjectKey::parse(key).unwrap(), entry)
        };
        entries.iter().map(entry).collect()
    }

    fn server(port: u16) -> Value {
        json!({ "url": format!("http://127.0.0.1:{port}") })
    }

    #[track_caller]
    fn check(
        given: &[(&str, Value)],
        there: &[(&str, Value)],
        prune: bool,
        expected: &[&str],
        unchanged: usize,
    ) -> Plan {
        let plan = plan(&documents(given), &stored(there), prune, &SealKeys::none()).unwrap();
        let lines: Vec<_> =
            plan.steps.iter().map(|step| format!("{} {}", step.verb(), step.stored_key)).collect();
        assert_eq!(lines, expected);
        assert_eq!(plan.unchanged, unchanged);
        plan
    }

    #[test]
    fn only_what_differs_is_written() {
        let route = json!({ "backendId": "b", "route": "Path(\"/\")" });
        let plan = check(
            &[
                ("frontends/f", route.clone()),
                ("backends/b/servers/a", server(1)),
                ("backends/b/servers/c", server(3)),
            ],
            &[
                ("frontends/f", json!({ "Route": "Path(\"/\")", "BackendId": "b", "x-mine": 1 })),
                ("backends/b/servers/a", server(2)),
                ("backends/b/servers/z", server(9)),
            ],
            false,
            &["changed backends/b/servers/a", "new backends/b/servers/c"],
            1,
        );
        let transactions = plan.transactions(128);
        assert_eq!(transactions.len(), 1);
        assert_eq!(transactions[0].expect[0].2, Expected::Version(3));
        assert_eq!(transactions[0].expect[1].2, Expected::Absent);
        assert_eq!(plan.transactions(1).len(), 2);
    }

    #[test]
    fn pruning_takes_only_kinds_that_are_there_and_says_what_breaks() {
        let there = [
            ("frontends/f", json!({ "Route": "Path(\"/\")", "BackendId": "old" })),
            ("backends/old/backend", json!({})),
            ("backends/old/servers/a", server(1)),
            ("middlewares/m", json!({ "Type": "headers", "Middleware": {} })),
        ];
        let plan = check(
            &[("backends/new", json!({})), ("backends/new/servers/a", server(1))],
            &there,
            true,
            &[
                "new backends/new/backend",
                "new backends/new/servers/a",
                "removed backends/old/servers/a",
                "removed backends/old/backend",
            ],
            0,
        );
        let consequences = plan.consequences(&stored(&there));
        let broken: Vec<_> = plan.breaks(&consequences).iter().map(|(key, _)| key.canonical()).collect();
        assert_eq!(broken, ["frontends/f/frontend"]);
        assert_eq!(plan.transactions(128)[0].operations.len(), 5);
    }

    #[test]
    fn pruning_leaves_leased_keys_to_whoever_keeps_them_alive() {
        let mut there =
            stored(&[("backends/b/servers/pod", server(1)), ("backends/b/servers/old", server(2))]);
        there.get_mut(&ObjectKey::parse("backends/b/servers/pod").unwrap()).unwrap().lease = Some(7);
        let given = documents(&[("backends/b/servers/a", server(3))]);
        let plan = plan(&given, &there, true, &SealKeys::none()).unwrap();
        let keys: Vec<_> = plan.steps.iter().map(|step| &*step.stored_key).collect();
        assert_eq!(keys, ["backends/b/servers/a", "backends/b/servers/old"]);
    }

    #[test]
    fn a_diff_shows_lines_and_no_keys() {
        let plan = check(
            &[("backends/b/servers/a", server(2))],
            &[("backends/b/servers/a", server(1))],
            false,
            &["changed backends/b/servers/a"],
            0,
        );
        assert_eq!(
            plan.steps[0].diff().unwrap(),
            "--- a/backends/b/servers/a\n+++ b/backends/b/servers/a\n@@ -1 +1 @@\n-url: http://127.0.0.1:1\n\
             +url: http://127.0.0.1:2\n"
        );
        let pair = |text: &str| {
            json!({ "Settings": { "KeyPair": {
                "Cert": format!("-----BEGIN CERTIFICATE-----{text}"), "Key": format!("-----BEGIN KEY-----{text}") } } })
        };
        let host = check(
            &[("hosts/a/host", pair("two"))],
            &[("hosts/a/host", pair("one"))],
            false,
            &["changed hosts/a/host"],
            0,
        );
        assert!(host.steps[0].diff().unwrap().ends_with("# only secrets differ, which are not shown\n"));
    }

    #[test]
    fn everything_that_is_wrong_is_said_at_once() {
        let given = documents(&[
            ("backends/b/servers/a", json!({ "ulr": "x" })),
            ("frontends/f", json!({ "route": "Path(" })),
        ]);
        let error = plan(&given, &BTreeMap::new(), false, &SealKeys::none()).unwrap_err().to_string();
        assert!(
            error.contains("server b/a is not valid") && error.contains("frontend f is not valid"),
            "{error}"
        );
    }
}
