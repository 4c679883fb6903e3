//! The annotations of one Ingress, as they are read: what cannot be read is noted, and counts as not given.

use super::super::Converted;
use super::annotations::{Annotation, PREFIX, Support};
use crate::registrar::seen::{Ingress, Secret};
use crate::registrar::unit::Source;
use crate::registrar::world::World;
use ipnet::IpNet;
use std::ops::RangeInclusive;
use std::time::Duration;

/// Longest part of a value that a note repeats, in characters.
const SHOWN_MAX: usize = 60;

/// What an Ingress says in its annotations. Names are those behind [`PREFIX`].
pub(super) struct Said<'i> {
    ingress: &'i Ingress,
    about: Source,
}

impl<'i> Said<'i> {
    pub(super) fn of(ingress: &'i Ingress) -> Self {
        Self { ingress, about: Source::Ingress(ingress.meta.name.clone()) }
    }

    pub(super) fn ingress(&self) -> &'i Ingress {
        self.ingress
    }

    /// As it stands, without spaces around it; an empty one counts as not given.
    pub(super) fn text(&self, name: &str) -> Option<&'i str> {
        let key = [PREFIX, name].concat();
        self.ingress.meta.annotation(&key).map(str::trim).filter(|text| !text.is_empty())
    }

    /// What stands between commas.
    pub(super) fn list(&self, name: &str) -> impl Iterator<Item = &'i str> + use<'i> {
        let items = self.text(name).unwrap_or_default().split(',');
        items.map(str::trim).filter(|item| !item.is_empty())
    }

    /// `true` or `false`.
    pub(super) fn flag(&self, name: &str, converted: &mut Converted) -> Option<bool> {
        let text = self.text(name)?;
        match text {
            _ if text.eq_ignore_ascii_case("true") => Some(true),
            _ if text.eq_ignore_ascii_case("false") => Some(false),
            _ => self.unreadable(name, "`true` or `false`", converted),
        }
    }

    /// `on` or `off`, or `true` and `false`.
    pub(super) fn switch(&self, name: &str, converted: &mut Converted) -> Option<bool> {
        match self.text(name)? {
            "on" | "true" => Some(true),
            "off" | "false" => Some(false),
            _ => self.unreadable(name, "`on` or `off`", converted),
        }
    }

    /// A whole number.
    pub(super) fn number(
        &self,
        name: &str,
        range: RangeInclusive<u64>,
        converted: &mut Converted,
    ) -> Option<u64> {
        let number = self.text(name)?.parse().ok().filter(|number| range.contains(number));
        let expected = || format!("a whole number from {} to {}", range.start(), range.end());
        number.or_else(|| self.unreadable(name, &expected(), converted))
    }

    /// Seconds, also with an `s` behind them; 0 is no time.
    pub(super) fn seconds(&self, name: &str, converted: &mut Converted) -> Option<Duration> {
        /// 365 days, the most that a timeout may be.
        const SECONDS_MAX: u64 = 365 * 24 * 3_600;
        let text = self.text(name)?;
        let number = text.strip_suffix('s').unwrap_or(text).parse().ok();
        match number.filter(|seconds| (1..=SECONDS_MAX).contains(seconds)) {
            Some(seconds) => Some(Duration::from_secs(seconds)),
            None => self.unreadable(name, "a number of seconds", converted),
        }
    }

    /// Bytes as nginx writes them: `8m`.
    pub(super) fn size(&self, name: &str, converted: &mut Converted) -> Option<i64> {
        let text = self.text(name)?;
        let (digits, unit) = match text.char_indices().last() {
            Some((at, 'k' | 'K')) => (text.get(..at), 1 << 10),
            Some((at, 'm' | 'M')) => (text.get(..at), 1 << 20),
            Some((at, 'g' | 'G')) => (text.get(..at), 1 << 30),
            _ => (Some(text), 1),
        };
        let number: Option<i64> = digits.and_then(|digits| digits.parse().ok());
        let bytes = number.filter(|number| *number >= 0).and_then(|number| number.checked_mul(unit));
        bytes.or_else(|| self.unreadable(name, "a size like `8m`", converted))
    }

    /// Addresses and networks. `None`: one of them cannot be read, or there is none.
    pub(super) fn networks(&self, name: &str, converted: &mut Converted) -> Option<Vec<IpNet>> {
        self.text(name)?;
        match self.list(name).map(crate::model::parse_network).collect::<Option<Vec<_>>>() {
            Some(networks) if !networks.is_empty() => Some(networks),
            _ => self.unreadable(name, "a list of networks like `10.0.0.0/8,192.0.2.7`", converted),
        }
    }

    /// One of a few words, without regard to case.
    pub(super) fn word(
        &self,
        name: &str,
        words: &[&'static str],
        converted: &mut Converted,
    ) -> Option<&'static str> {
        let text = self.text(name)?;
        let word = words.iter().find(|word| word.eq_ignore_ascii_case(text)).copied();
        word.or_else(|| self.unreadable(name, &quoted_list(words), converted))
    }

    /// The Secret that an annotation names, which has to be in the Ingress's own namespace: whoever may write an Ingress
    /// in one could otherwise make use of what another keeps.
    pub(super) fn secret<'w>(
        &self,
        world: &'w World,
        name: &str,
        converted: &mut Converted,
    ) -> Option<&'w Secret> {
        let secret = self.ingress.secret_name(self.text(name)?);
        if secret.namespace != self.ingress.meta.name.namespace {
            self.error(name, format!("names {secret}, which is in another namespace"), converted);
            return None;
        }
        let found = world.secret(&secret);
        if found.is_none() {
            self.error(
                name,
                format!("names the Secret {secret}, which does not exist or may not be read"),
                converted,
            );
        }
        found
    }

    /// Says that a value is not of the form that is expected.
    pub(super) fn unreadable<T>(&self, name: &str, expected: &str, converted: &mut Converted) -> Option<T> {
        let text = self.text(name).unwrap_or_default();
        self.error(name, format!("is {}; {expected} is expected", shown(text)), converted);
        None
    }

    /// Says of an annotation what keeps it from being in force.
    pub(super) fn error(&self, name: &str, reason: impl Into<Box<str>>, converted: &mut Converted) {
        converted.error(&self.about, &[PREFIX, name].concat(), reason);
    }

    /// Says of an annotation what of it is not carried over.
    pub(super) fn warning(&self, name: &str, reason: impl Into<Box<str>>, converted: &mut Converted) {
        converted.warning(&self.about, &[PREFIX, name].concat(), reason);
    }

    /// Says of a field of the Ingress what keeps it from being in force.
    pub(super) fn field_error(&self, field: &str, reason: impl Into<Box<str>>, converted: &mut Converted) {
        converted.error(&self.about, field, reason);
    }

    /// Names all that is there and not carried over.
    pub(super) fn name_unsupported(&self, converted: &mut Converted) {
        let keys = self.ingress.meta.annotations.keys();
        for name in keys.filter_map(|key| key.strip_prefix(PREFIX)) {
            match Annotation::find(name) {
                Some(Annotation { support: Support::No, note, .. }) => {
                    self.warning(name, format!("is not carried over: {note}"), converted);
                }
                Some(_) => {}
                None => self.warning(name, "is not known, and not carried over", converted),
            }
        }
    }
}

/// A value as a note repeats it.
pub(super) fn shown(text: &str) -> String {
    let mut short: String = text.chars().filter(|c| !c.is_control()).take(SHOWN_MAX).collect();
    if short.len() < text.len() {
        short.push_str("...");
    }
    format!("`{short}`")
}

fn quoted_list(words: &[&str]) -> String {
    let words: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
    match words.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} or {last}", rest.join(", ")),
        _ => words.concat(),
    }
}
