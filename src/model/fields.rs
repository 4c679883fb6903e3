//! Reads the fields of a JSON object: names without regard to case, as Go does; all findings of one object at once.

use super::Strictness;
use super::duration;
use super::problem::{Finding, Severity};
use serde_json::{Map, Value};
use std::cell::RefCell;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::time::Duration;

/// Most fields that one JSON object may have.
pub(crate) const FIELDS_MAX: usize = 256;

/// Most findings kept of one object; what comes after them is counted in a last one.
pub(crate) const FINDINGS_MAX: usize = 64;

/// Longest piece of a value that a finding shows, in characters.
const SHOWN_CHARACTERS_MAX: usize = 60;

/// A shorter duration that is written as a plain number was rather meant as seconds or milliseconds.
const PLAIN_NANOSECONDS_MIN: u64 = 1_000_000;

/// What reading one object has found so far.
#[derive(Debug)]
pub(crate) struct Report {
    strictness: Strictness,
    findings: RefCell<Vec<Finding>>,
}

impl Report {
    pub(crate) fn new(strictness: Strictness) -> Self {
        Self { strictness, findings: RefCell::new(Vec::new()) }
    }

    pub(crate) fn error(&self, field: impl Into<String>, reason: impl Into<String>) {
        self.push(field.into(), reason.into(), Severity::Error);
    }

    pub(crate) fn warning(&self, field: impl Into<String>, reason: impl Into<String>) {
        self.push(field.into(), reason.into(), Severity::Warning);
    }

    fn push(&self, field: String, reason: String, severity: Severity) {
        self.findings.borrow_mut().push(Finding { field, reason, severity });
    }

    /// Errors first, each group in the order found, at most [`FINDINGS_MAX`].
    pub(crate) fn into_findings(self) -> Vec<Finding> {
        let mut findings = self.findings.into_inner();
        findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
        if findings.len() > FINDINGS_MAX {
            let more = findings.len() - FINDINGS_MAX;
            let severity = findings.get(FINDINGS_MAX).map_or(Severity::Warning, |finding| finding.severity);
            findings.truncate(FINDINGS_MAX);
            findings.push(Finding {
                field: String::new(),
                reason: format!("has {more} more findings"),
                severity,
            });
        }
        findings
    }

    pub(crate) fn has_errors(&self) -> bool {
        self.findings.borrow().iter().any(|finding| finding.severity == Severity::Error)
    }
}

/// One JSON object while it is read. Every field that a reader asks for becomes a known one; what nobody asked for is
/// unknown when the object ends.
pub(crate) struct Fields<'v> {
    report: &'v Report,
    path: String,
    slots: Vec<Slot<'v>>,
    known: Vec<&'static str>,
}

struct Slot<'v> {
    name: &'v str,
    value: &'v Value,
    used: bool,
}

impl<'v> Fields<'v> {
    /// Reads `value`, which must be an object, with `read`; then reports what `read` did not ask for. `path` is the
    /// object's own path, empty at the top. `None`: not an object, which is reported.
    pub(crate) fn read<T>(
        report: &'v Report,
        path: &str,
        value: &'v Value,
        read: impl FnOnce(&mut Self) -> T,
    ) -> Option<T> {
        let Value::Object(map) = value else {
            report.error(path, format!("is {}; a JSON object is expected", show(value)));
            return None;
        };
        let mut fields = Self::new(report, path, map)?;
        let result = read(&mut fields);
        fields.finish();
        Some(result)
    }

    fn new(report: &'v Report, path: &str, map: &'v Map<String, Value>) -> Option<Self> {
        if map.len() > FIELDS_MAX {
            report.error(path, format!("has {} fields; at most {FIELDS_MAX} are read", map.len()));
            return None;
        }
        let mut slots: Vec<Slot<'v>> = Vec::with_capacity(map.len());
        for (name, value) in map {
            match slots.iter_mut().find(|slot| slot.name.eq_ignore_ascii_case(name)) {
                Some(slot) => {
                    let reason = format!(
                        "stands here twice, as {} and {}; the last one is used",
                        quote(slot.name),
                        quote(name)
                    );
                    report.warning(join(path, name), reason);
                    *slot = Slot { name, value, used: false };
                }
                None => slots.push(Slot { name, value, used: false }),
            }
        }
        Some(Self { report, path: path.to_owned(), slots, known: Vec::new() })
    }

    fn finish(self) {
        for slot in self.slots.iter().filter(|slot| !slot.used) {
            let mut reason = "is not a known field".to_owned();
            match nearest(slot.name, self.known.iter().copied()) {
                Some(near) => reason.push_str(&format!("; did you mean `{near}`?")),
                None if self.known.is_empty() => {}
                None => reason.push_str(&format!("; known here are {}", self.known.join(", "))),
            }
            let field = join(&self.path, slot.name);
            match self.report.strictness {
                Strictness::Stored => self.report.warning(field, reason),
                Strictness::Written => self.report.error(field, reason),
            }
        }
    }

    pub(crate) fn error(&self, name: &str, reason: impl Into<String>) {
        self.report.error(self.path_of(name), reason);
    }

    pub(crate) fn warning(&self, name: &str, reason: impl Into<String>) {
        self.report.warning(self.path_of(name), reason);
    }

    pub(crate) fn report(&self) -> &'v Report {
        self.report
    }

    /// Where this object stands; empty at the top.
    pub(crate) fn path(&self) -> &str {
        &self.path
    }

    /// `name` with the path of this object before it.
    pub(crate) fn path_of(&self, name: &str) -> String {
        join(&self.path, name)
    }

    /// The value of a field, whatever its type; null counts as absent.
    pub(crate) fn value(&mut self, name: &'static str) -> Option<&'v Value> {
        if !self.known.contains(&name) {
            self.known.push(name);
        }
        let slot = self.slots.iter_mut().find(|slot| slot.name.eq_ignore_ascii_case(name))?;
        slot.used = true;
        Some(slot.value).filter(|value| !value.is_null())
    }

    /// All fields with their names as written, all used: for objects whose names are data.
    pub(crate) fn all(&mut self) -> impl Iterator<Item = (&'v str, &'v Value)> {
        self.slots.iter_mut().map(|slot| {
            slot.used = true;
            (slot.name, slot.value)
        })
    }

    /// A text that is not empty; the empty one counts as absent, as Go writes it for an unset field.
    pub(crate) fn text(&mut self, name: &'static str) -> Option<&'v str> {
        self.text_or_empty(name).filter(|text| !text.is_empty())
    }

    pub(crate) fn text_or_empty(&mut self, name: &'static str) -> Option<&'v str> {
        match self.value(name)? {
            Value::String(text) => Some(text),
            other => self.wrong(name, "a string", other),
        }
    }

    /// A text that must be there.
    pub(crate) fn required_text(&mut self, name: &'static str, what: &str) -> Option<&'v str> {
        match self.value(name) {
            Some(Value::String(text)) if !text.is_empty() => Some(text),
            None | Some(Value::String(_)) => {
                self.error(name, format!("is missing: {what}"));
                None
            }
            Some(other) => self.wrong(name, "a string", other),
        }
    }

    pub(crate) fn boolean(&mut self, name: &'static str) -> Option<bool> {
        match self.value(name)? {
            Value::Bool(value) => Some(*value),
            other => self.wrong(name, "true or false", other),
        }
    }

    pub(crate) fn integer(&mut self, name: &'static str, range: RangeInclusive<i64>) -> Option<i64> {
        let value = self.value(name)?;
        match value.as_i64() {
            Some(number) if range.contains(&number) => Some(number),
            _ if value.is_i64() || value.is_u64() => {
                self.error(name, format!("is {value}; from {} to {} is allowed", range.start(), range.end()));
                None
            }
            _ => self.wrong(name, "a whole number", value),
        }
    }

    /// A positive duration, at most `max`: Go's form, or a whole number of nanoseconds. The empty text counts as
    /// absent; so does zero, which is vulcand's way of saying "the default", with a warning.
    pub(crate) fn duration(&mut self, name: &'static str, max: Duration) -> Option<Duration> {
        let value = self.value(name)?;
        let duration = match value {
            Value::String(text) if text.is_empty() => return None,
            Value::String(text) => match duration::parse(text) {
                Ok(duration) => duration,
                Err(error) => {
                    self.error(name, format!("{} {error}", quote(text)));
                    return None;
                }
            },
            Value::Number(number) => match (number.as_u64(), number.as_i64()) {
                (Some(nanoseconds), _) => {
                    if (1..PLAIN_NANOSECONDS_MIN).contains(&nanoseconds) {
                        let unit = "a number without a unit is nanoseconds";
                        self.warning(
                            name,
                            format!("is {number}, and {unit}: write \"{number}s\" for seconds"),
                        );
                    }
                    Duration::from_nanos(nanoseconds)
                }
                (None, Some(_)) => {
                    self.error(
                        name,
                        format!("is {number}, a negative number of nanoseconds; more than 0 is expected"),
                    );
                    return None;
                }
                (None, None) => {
                    return self.wrong(name, "a duration like `50ms` or whole nanoseconds", value);
                }
            },
            other => return self.wrong(name, "a duration like `50ms`", other),
        };
        if duration > max {
            let (given, max) = (duration::format(duration), duration::format(max));
            self.error(name, format!("is {given}; at most {max} is allowed"));
            return None;
        }
        if duration.is_zero() {
            // As vulcand and vctl write what was not given.
            if !value.is_number() && value.as_str() != Some("0s") {
                self.warning(name, "is zero, which stands for the default");
            }
            return None;
        }
        Some(duration)
    }

    /// An object within this one, read with `read`.
    pub(crate) fn object<T>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(&mut Fields<'v>) -> T,
    ) -> Option<T> {
        let value = self.value(name)?;
        Fields::read(self.report, &self.path_of(name), value, read)
    }

    /// A list of texts, each with its path; items of another type are reported and left out.
    pub(crate) fn texts(&mut self, name: &'static str) -> Vec<(String, &'v str)> {
        let items = match self.value(name) {
            None => return Vec::new(),
            Some(Value::Array(items)) if items.len() > FIELDS_MAX => {
                self.error(name, format!("has {} items; at most {FIELDS_MAX} are read", items.len()));
                return Vec::new();
            }
            Some(Value::Array(items)) => items,
            Some(other) => return self.wrong(name, "a list of strings", other).unwrap_or_default(),
        };
        let path = self.path_of(name);
        let mut texts = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            let path = format!("{path}[{index}]");
            match item {
                Value::String(text) => texts.push((path, text.as_str())),
                other => self.report.error(path, wrong_type("a string", other)),
            }
        }
        texts
    }

    /// Fields that this version knows but does not act on: a warning for each that says something.
    pub(crate) fn inert(&mut self, names: &[&'static str]) {
        for name in names {
            if self.value(name).is_some_and(|value| !says_nothing(value)) {
                self.warning(name, "is read and kept, but not acted on by this version");
            }
        }
    }

    /// Fields that need no action because what they ask for is always so.
    pub(crate) fn satisfied(&mut self, names: &[&'static str]) {
        for name in names {
            self.value(name);
        }
    }

    /// `Id` or `Name` within the value: the key's counts; another one there is a warning.
    pub(crate) fn id_from_key(&mut self, name: &'static str, id: &str) {
        if let Some(text) = self.text(name).filter(|text| *text != id) {
            self.warning(name, format!("is {}, but the key says {}; the key counts", quote(text), quote(id)));
        }
    }

    pub(crate) fn wrong<T>(&self, name: &str, expected: &str, found: &Value) -> Option<T> {
        self.error(name, wrong_type(expected, found));
        None
    }
}

fn wrong_type(expected: &str, found: &Value) -> String {
    format!("is {}; {expected} is expected", show(found))
}

fn join(path: &str, name: &str) -> String {
    // A name is shown whole only as far as a person would read it.
    let name = cut(name);
    if path.is_empty() { name } else { format!("{path}.{name}") }
}

/// Null, false, zero, empty, or made of nothing else: what Go writes for a field that was never set.
fn says_nothing(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Bool(true) => false,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(map) => map.values().all(says_nothing),
    }
}

/// The type of a value, and the value itself where it is short and of a kind that cannot be a secret.
pub(crate) fn show(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Number(number) => format!("the number {number}"),
        Value::String(_) => "a string".to_owned(),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "an object".to_owned(),
    }
}

/// A text as a finding shows it: quoted, escaped, cut.
pub(crate) fn quote(text: &str) -> String {
    format!("{:?}", cut(text))
}

fn cut(text: &str) -> String {
    let mut shown: String = text.chars().take(SHOWN_CHARACTERS_MAX).collect();
    if shown.len() < text.len() {
        shown.push_str("...");
    }
    shown
}

/// The known name that a writer most likely meant; none where no one is close.
pub fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    if name.len() > SHOWN_CHARACTERS_MAX {
        return None;
    }
    let name = name.to_ascii_lowercase();
    known
        .map(|candidate| (strsim::damerau_levenshtein(&name, &candidate.to_ascii_lowercase()), candidate))
        .filter(|(distance, candidate)| *distance <= 1 + candidate.len().min(name.len()) / 4)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Says that `found` is none of `known`.
pub(crate) fn not_one_of(found: impl Display, known: &[&str]) -> String {
    let found = found.to_string();
    let mut reason = format!("is {}; ", quote(&found));
    match known {
        [only] => reason.push_str(&format!("`{only}` is expected")),
        _ => reason.push_str(&format!("one of {} is expected", known.join(", "))),
    }
    if let Some(near) = nearest(&found, known.iter().copied()).filter(|_| known.len() > 1) {
        reason.push_str(&format!("; did you mean `{near}`?"));
    }
    reason
}
