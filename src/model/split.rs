//! A frontend that sends to several backends, by weight and by what requests say.

use super::balance::{ClientKey, cookie_name_error};
use super::fields::{Fields, quote};
use super::frontend::read_backend_id;
use super::id::BackendId;
use super::middleware::field_name_error;
use serde_json::{Map, Value, json};

/// Most parts of a split.
pub const PARTS_MAX: usize = 32;
/// Largest `Weight` of a part.
pub const WEIGHT_MAX: u32 = 10_000;

/// `Split`: replaces `BackendId`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Split {
    /// In the order written; at least one has a weight.
    pub parts: Vec<SplitPart>,
    /// `SplitBy`: requests with the same key go to the same part; `None`: each request is drawn by itself.
    pub by: Option<ClientKey>,
}

/// `{"BackendId":"shop-green","Weight":1}`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SplitPart {
    /// A backend or an alias.
    pub backend: BackendId,
    /// `Weight`: its share of the requests that no pin decides, 0 to 10000; default 1. 0: only by pin.
    pub weight: u32,
    /// `Header` or `Cookie`: requests that say so come here and nowhere else, whatever its weight.
    pub pin: Option<Pin>,
}

/// `"Header": "X-Preview=green"`; the first part whose pin fits takes the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pin {
    /// A request header of this name and exact value.
    Header(Box<str>, Box<str>),
    /// A cookie of this name and exact value.
    Cookie(Box<str>, Box<str>),
}

impl Split {
    /// The part that a point of `0..=u64::MAX` falls on, by weight.
    pub fn at(&self, point: u64) -> Option<&BackendId> {
        let sum: u64 = self.parts.iter().map(|part| u64::from(part.weight)).sum();
        let mut place = ((u128::from(point) * u128::from(sum)) >> 64) as u64;
        self.parts.iter().find_map(|part| match place.checked_sub(u64::from(part.weight)) {
            None => Some(&part.backend),
            Some(rest) => {
                place = rest;
                None
            }
        })
    }

    /// The part with the largest weight, which stands for the frontend where one backend is to be shown.
    pub fn main(&self) -> Option<&BackendId> {
        let best = self.parts.iter().reduce(|best, part| if part.weight > best.weight { part } else { best });
        best.map(|part| &part.backend)
    }
}

/// The split in `Split` and `SplitBy`; `None`: there is none, or it is reported.
pub(super) fn read(fields: &mut Fields<'_>) -> Option<Split> {
    let by = fields.value("SplitBy").map(|_| ClientKey::read(fields, "SplitBy"));
    let items = match fields.value("Split") {
        None => {
            if by.is_some() {
                fields.error("SplitBy", "is only for a frontend with `Split`");
            }
            return None;
        }
        Some(Value::Array(items)) if items.len() > PARTS_MAX => {
            fields.error("Split", format!("has {} parts; at most {PARTS_MAX} are allowed", items.len()));
            return None;
        }
        Some(Value::Array(items)) => items,
        Some(other) => {
            return fields.wrong("Split", "a list like [{\"BackendId\":\"shop-blue\",\"Weight\":9}]", other);
        }
    };
    let path = fields.path_of("Split");
    let report = fields.report();
    let parts: Vec<_> = items
        .iter()
        .enumerate()
        .filter_map(|(place, item)| {
            Fields::read(report, &format!("{path}[{place}]"), item, read_part).flatten()
        })
        .collect();
    if parts.len() < items.len() {
        return None;
    }
    if parts.iter().all(|part| part.weight == 0) {
        fields
            .error("Split", "has no part with a weight, so that nobody would get the requests without a pin");
        return None;
    }
    Some(Split { parts, by })
}

fn read_part(fields: &mut Fields<'_>) -> Option<SplitPart> {
    let backend = read_backend_id(fields, "BackendId");
    let weight = fields.integer("Weight", 0..=i64::from(WEIGHT_MAX)).unwrap_or(1);
    let header = read_pin(fields, "Header", field_name_error).map(|(name, value)| Pin::Header(name, value));
    let cookie = read_pin(fields, "Cookie", cookie_name_error).map(|(name, value)| Pin::Cookie(name, value));
    if header.is_some() && cookie.is_some() {
        fields.error("Cookie", "stands beside `Header`; a part has one pin");
    }
    Some(SplitPart { backend: backend?, weight: u32::try_from(weight).unwrap_or(1), pin: header.or(cookie) })
}

fn read_pin(
    fields: &mut Fields<'_>,
    name: &'static str,
    wrong: fn(&str) -> Option<&'static str>,
) -> Option<(Box<str>, Box<str>)> {
    let text = fields.text(name)?;
    let Some((key, value)) = text.split_once('=') else {
        fields.error(name, format!("is {}; `NAME=VALUE` is expected", quote(text)));
        return None;
    };
    if let Some(error) = wrong(key) {
        fields.error(name, error);
        return None;
    }
    Some((key.into(), value.into()))
}

impl Split {
    /// The value of `Split`.
    pub(super) fn to_value(&self) -> Value {
        let part = |part: &SplitPart| {
            let mut value = Map::new();
            value.insert("BackendId".into(), part.backend.as_str().into());
            value.insert("Weight".into(), part.weight.into());
            match &part.pin {
                Some(Pin::Header(name, text)) => {
                    value.insert("Header".into(), json!(format!("{name}={text}")))
                }
                Some(Pin::Cookie(name, text)) => {
                    value.insert("Cookie".into(), json!(format!("{name}={text}")))
                }
                None => None,
            };
            Value::from(value)
        };
        self.parts.iter().map(part).collect::<Vec<_>>().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_fall_on_parts_by_weight() {
        let part =
            |name: &str, weight| SplitPart { backend: BackendId::try_from(name).unwrap(), weight, pin: None };
        let split = Split { parts: vec![part("a", 3), part("b", 0), part("c", 1)], by: None };
        let at = |share: f64| split.at((share * u64::MAX as f64) as u64).unwrap().as_str();
        assert_eq!([at(0.0), at(0.74), at(0.76), at(1.0)], ["a", "a", "c", "c"]);
        assert_eq!(split.main().unwrap().as_str(), "a");
    }
}
