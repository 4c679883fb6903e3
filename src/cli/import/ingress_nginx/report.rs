//! How it is said: a block for each Ingress, the ConfigMap, and a summary.

use super::configmap::Row;
use super::weigh::{Fate, Verdict, Weighed};
use crate::cli::context::{Context, Output};
use crate::cli::import::say_changes;
use crate::cli::plan::Plan;
use crate::cli::table::{count, table};
use crate::cli::target::Target;
use crate::kubernetes::Name;
use crate::registrar::convert::ingress::Support;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Everything that is to be said.
pub(super) struct Report<'r> {
    pub(super) weighed: &'r Weighed,
    /// Its name, whether it is there, and its keys.
    pub(super) configmap: (&'r Name, bool, &'r [Row]),
    /// What a store would get.
    pub(super) changes: Option<(&'r Target, &'r Plan)>,
}

impl Report<'_> {
    pub(super) fn print(&self, context: &mut Context<'_, '_>) -> anyhow::Result<()> {
        if context.output == Output::Json {
            return Ok(context.json(&self.json())?);
        }
        for fate in &self.weighed.ingresses {
            context.say(ingress(fate))?;
        }
        self.print_configmap(context)?;
        for line in self.summary() {
            context.say(line)?;
        }
        match self.changes {
            Some((target, plan)) => say_changes(context, plan, Some(target)),
            None => Ok(()),
        }
    }

    fn print_configmap(&self, context: &mut Context<'_, '_>) -> anyhow::Result<()> {
        let (name, is_there, keys) = self.configmap;
        if !is_there {
            context.say(format_args!("no configmap {name} (--configmap names it)\n"))?;
            return Ok(());
        }
        context.say(format_args!("configmap {name}"))?;
        let row = |row: &Row| {
            let value = row.value.as_deref().unwrap_or("(not set)");
            [format!("  {}", row.key), shortened(value), word(row.support).to_owned(), row.note.clone()]
        };
        context.say(table(["  KEY", "VALUE", "CARRIED", "AS"], keys.iter().map(row)))?;
        context.say("")?;
        Ok(())
    }

    fn summary(&self) -> Vec<String> {
        let ingresses = &self.weighed.ingresses;
        let mut kinds: BTreeMap<&'static str, usize> = BTreeMap::new();
        for key in self.weighed.documents.keys() {
            *kinds.entry(key.kind().as_str()).or_default() += 1;
        }
        let kinds: Vec<String> = kinds.iter().map(|(kind, number)| count(*number, kind)).collect();
        let carried = if kinds.is_empty() { "nothing".to_owned() } else { kinds.join(", ") };
        let verb = if ingresses.len() == 1 { "becomes" } else { "become" };
        let ours = count_of(ingresses.len(), "ingress", "ingresses");
        let mut lines = vec![format!("{ours} {verb} {carried}")];
        let verdicts = ingresses.iter().flat_map(|fate| &fate.verdicts).map(|verdict| Some(verdict.support));
        lines.push(format!("annotations and fields: {}", tally(verdicts)));
        if self.configmap.1 {
            let set = self.configmap.2.iter().filter(|row| row.value.is_some());
            lines.push(format!("keys of the configmap: {}", tally(set.map(|row| row.support))));
        }
        if !self.weighed.others.is_empty() {
            let mut classes: Vec<&str> =
                self.weighed.others.iter().map(|(_, class)| class.as_deref().unwrap_or("none")).collect();
            classes.sort_unstable();
            classes.dedup();
            let others = count_of(self.weighed.others.len(), "ingress", "ingresses");
            lines.push(format!(
                "{others} of other classes: {} (--ingress-class names them)",
                classes.join(", ")
            ));
        }
        lines
    }

    fn json(&self) -> Value {
        let (name, is_there, keys) = self.configmap;
        let key = |row: &Row| json!({ "key": row.key, "value": row.value, "support": word(row.support), "note": row.note });
        let other =
            |(name, class): &(Name, Option<String>)| json!({ "ingress": name.to_string(), "class": class });
        let step = |(_, plan): (&Target, &Plan)| -> Vec<Value> {
            let steps = plan.steps.iter();
            steps.map(|step| json!({ "key": step.stored_key, "change": step.verb() })).collect()
        };
        json!({
            "ingresses": self.weighed.ingresses.iter().map(fate).collect::<Vec<Value>>(),
            "others": self.weighed.others.iter().map(other).collect::<Vec<Value>>(),
            "configmap": {
                "name": name.to_string(),
                "found": is_there,
                "keys": keys.iter().map(key).collect::<Vec<Value>>(),
            },
            "carried": self.weighed.documents.keys().map(|key| key.canonical()).collect::<Vec<String>>(),
            "changes": self.changes.map(step),
        })
    }
}

fn fate(fate: &Fate) -> Value {
    let frontends = fate.frontends.iter().map(|frontend| {
        json!({ "id": frontend.id, "route": frontend.route, "leadsTo": frontend.leads_to,
            "middlewares": frontend.middlewares })
    });
    let hosts = fate.hosts.iter().map(|(name, secret)| json!({ "name": name, "certificate": secret }));
    let verdict = |verdict: &Verdict| {
        let Verdict { what, support, reason } = verdict;
        json!({ "what": what, "support": support.as_str(), "reason": reason })
    };
    json!({
        "ingress": fate.name.to_string(),
        "canary": fate.is_canary,
        "frontends": frontends.collect::<Vec<Value>>(),
        "backends": fate.backends,
        "hosts": hosts.collect::<Vec<Value>>(),
        "verdicts": fate.verdicts.iter().map(verdict).collect::<Vec<Value>>(),
    })
}

/// One Ingress for people.
fn ingress(fate: &Fate) -> String {
    let mut text = format!("ingress {}\n", fate.name);
    if fate.is_canary {
        text.push_str("  a canary: its Services are parts of the splits of others\n");
    }
    let mut rows: Vec<[String; 3]> = Vec::new();
    for frontend in &fate.frontends {
        let more = match frontend.middlewares {
            0 => String::new(),
            some => format!(", {}", count(some, "middleware")),
        };
        rows.push([
            format!("  frontend {}", frontend.id),
            frontend.route.clone(),
            format!("to {}{more}", frontend.leads_to),
        ]);
    }
    for (name, secret) in &fate.hosts {
        let certificate = secret.as_ref().map_or(String::new(), |secret| format!("certificate of {secret}"));
        rows.push([format!("  host {name}"), certificate, String::new()]);
    }
    if rows.is_empty() && !fate.is_canary {
        text.push_str("  nothing\n");
    }
    if !rows.is_empty() {
        text.push_str(&table(["  OBJECT", "ROUTE", "LEADS"], rows));
        text.push('\n');
    }
    if !fate.verdicts.is_empty() {
        let row = |verdict: &Verdict| {
            [format!("  {}", verdict.what), verdict.support.as_str().to_owned(), verdict.reason.clone()]
        };
        text.push_str(&table(["  ANNOTATION", "CARRIED", "AS"], fate.verdicts.iter().map(row)));
        text.push('\n');
    }
    text
}

fn word(support: Option<Support>) -> &'static str {
    support.map_or("unknown", Support::as_str)
}

/// `3 yes, 1 partly, 2 no`.
fn tally(supports: impl Iterator<Item = Option<Support>>) -> String {
    let mut counts: BTreeMap<Option<Support>, usize> = BTreeMap::new();
    for support in supports {
        *counts.entry(support).or_default() += 1;
    }
    let unknown = counts.remove(&None);
    let known = counts.into_iter().chain(unknown.map(|number| (None, number)));
    let parts: Vec<String> = known.map(|(support, number)| format!("{number} {}", word(support))).collect();
    if parts.is_empty() { "none".to_owned() } else { parts.join(", ") }
}

fn count_of(number: usize, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

/// The first line of a value, and not all of a long one.
fn shortened(value: &str) -> String {
    const SHOWN_MAX: usize = 40;
    let line = value.lines().next().unwrap_or_default();
    let shown: String = line.chars().take(SHOWN_MAX).collect();
    if shown.len() < value.trim_end().len() { format!("{shown}...") } else { shown }
}
