//! `mirror`: copies of requests for another backend, whose answers nobody sees.

use super::forwardauth::read_backend;
use crate::model::BackendId;
use crate::model::fields::Fields;
use serde_json::{Map, Value};

/// Who gets copies of what.
#[derive(Debug, Clone, PartialEq)]
pub struct MirrorSpec {
    /// `BackendId`: who gets the copies.
    pub backend: BackendId,
    /// `Percent`: how many of a hundred requests are copied, evenly spread; 1 to 100, default 100.
    pub percent: u8,
    /// `MaxBodyBytes`: a request with a longer body is not copied; default 64 KiB, at most 1 MiB.
    pub body_bytes_max: usize,
}

const PERCENT: u8 = 100;
const BODY_BYTES_MAX: usize = 64 * 1024;

pub(super) fn read(fields: &mut Fields<'_>) -> Option<MirrorSpec> {
    let backend = read_backend(fields, "the mirror");
    let percent = fields.integer("Percent", 1..=100).and_then(|it| u8::try_from(it).ok()).unwrap_or(PERCENT);
    let most = fields.integer("MaxBodyBytes", 0..=1024 * 1024).and_then(|it| usize::try_from(it).ok());
    Some(MirrorSpec { backend: backend?, percent, body_bytes_max: most.unwrap_or(BODY_BYTES_MAX) })
}

impl MirrorSpec {
    pub(super) fn to_map(&self) -> Map<String, Value> {
        let mut value = Map::new();
        value.insert("BackendId".into(), self.backend.as_str().into());
        if self.percent != PERCENT {
            value.insert("Percent".into(), self.percent.into());
        }
        if self.body_bytes_max != BODY_BYTES_MAX {
            value.insert("MaxBodyBytes".into(), self.body_bytes_max.into());
        }
        value
    }
}
