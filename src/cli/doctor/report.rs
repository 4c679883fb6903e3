//! What a doctor found, for people and for programs.

use serde_json::{Map, Value, json};
use std::collections::HashSet;
use std::fmt;

/// How one thing is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Grade {
    /// Well.
    Ok,
    /// Not looked at; the detail says why.
    Skipped,
    /// It works, and somebody should know.
    Warning,
    /// It does not work.
    Failed,
}

impl Grade {
    /// As printed: what does not work stands out.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Skipped => "skipped",
            Self::Warning => "warning",
            Self::Failed => "FAILED",
        }
    }
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Check {
    pub(super) grade: Grade,
    /// A few words: `store`, `network 10.244.1.0/24`.
    pub(super) what: String,
    /// How it is, in one sentence.
    pub(super) detail: String,
    /// What to do, most likely first; a line each, or several where a file is shown.
    pub(super) advice: Vec<String>,
    /// What programs may want to know beside the detail.
    pub(super) facts: Map<String, Value>,
}

impl Check {
    /// Without advice and facts.
    pub(super) fn new(grade: Grade, what: impl Into<String>, detail: impl Into<String>) -> Self {
        let (what, detail) = (what.into(), detail.into());
        Self { grade, what, detail, advice: Vec::new(), facts: Map::new() }
    }

    /// With one more thing to do.
    pub(super) fn advise(mut self, advice: impl Into<String>) -> Self {
        self.advice.push(advice.into());
        self
    }

    /// With one more fact.
    pub(super) fn fact(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.facts.insert(name.to_owned(), value.into());
        self
    }
}

/// Everything that was looked at, in the order of looking.
#[derive(Debug, Default)]
pub(super) struct Report(pub(super) Vec<Check>);

impl Report {
    /// Nothing failed.
    pub(super) fn is_well(&self) -> bool {
        self.0.iter().all(|check| check.grade != Grade::Failed)
    }

    /// `{"well": true, "checks": [..]}`
    pub(super) fn to_json(&self) -> Value {
        let check = |check: &Check| {
            let mut value = Map::new();
            value.insert("grade".into(), check.grade.as_str().to_lowercase().into());
            value.insert("what".into(), check.what.as_str().into());
            value.insert("detail".into(), check.detail.as_str().into());
            value.insert("advice".into(), json!(check.advice));
            value.extend(check.facts.clone());
            Value::Object(value)
        };
        json!({ "well": self.is_well(), "checks": self.0.iter().map(check).collect::<Vec<_>>() })
    }
}

/// Columns of grade, what and detail. Advice follows its line, each piece once: many networks need the same.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.0.iter().map(|check| check.what.chars().count()).max().unwrap_or_default();
        let mut said = HashSet::new();
        let mut end = "";
        for check in &self.0 {
            write!(f, "{end}{:<7}  {:<width$}  {}", check.grade.as_str(), check.what, check.detail)?;
            end = "\n";
            for advice in check.advice.iter().filter(|advice| said.insert(advice.as_str())) {
                let mut lines = advice.lines();
                write!(f, "\n         -> {}", lines.next().unwrap_or_default())?;
                for line in lines {
                    write!(f, "\n            {line}")?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advice_follows_what_needs_it_and_is_not_repeated() {
        let network = |name: &str| {
            Check::new(Grade::Failed, name, "0 of 2 servers reached")
                .advise("a route:\nip route")
                .advise("or this")
        };
        let report = Report(vec![
            Check::new(Grade::Ok, "store", "answers").fact("revision", 7),
            network("network a"),
            network("network b").advise("and this"),
        ]);
        assert_eq!(
            report.to_string(),
            "ok       store      answers\n\
             FAILED   network a  0 of 2 servers reached\n\
             \x20        -> a route:\n\
             \x20           ip route\n\
             \x20        -> or this\n\
             FAILED   network b  0 of 2 servers reached\n         -> and this"
        );
        assert!(!report.is_well());
        let json = report.to_json();
        assert_eq!(
            json["checks"][0],
            json!({"grade": "ok", "what": "store", "detail": "answers", "advice": [], "revision": 7})
        );
        assert_eq!((&json["well"], &json["checks"][1]["grade"]), (&json!(false), &json!("failed")));
        assert_eq!(json["checks"][2]["advice"].as_array().map(Vec::len), Some(3));
    }
}
