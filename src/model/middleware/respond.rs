//! `respond`: an answer that is always the same.

use super::content::{
    FieldList, body_to_value, pairs_to_value, read_body, read_content_type, read_fields, read_status,
};
use crate::model::fields::Fields;
use bytes::Bytes;
use serde_json::{Map, Value};

/// `{"Status","Body","ContentType","Headers"}`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RespondSpec {
    /// `Status`: 200 to 599; default 200.
    pub status: u16,
    /// `Body`: default empty.
    pub body: Bytes,
    /// `ContentType`: default `text/plain; charset=utf-8` where there is a body.
    pub content_type: Option<Box<str>>,
    /// `Headers`: further fields.
    pub fields: FieldList,
}

pub(super) fn read(fields: &mut Fields<'_>) -> Option<RespondSpec> {
    let body = Bytes::from(read_body(fields, "Body").unwrap_or_default());
    let status = read_status(fields, "Status", !body.is_empty()).unwrap_or(200);
    let content_type = read_content_type(fields);
    let list = read_fields(fields, "Headers");
    if list.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type")) {
        fields.error("Headers", "has Content-Type, which is ContentType here");
    }
    Some(RespondSpec { status, body, content_type, fields: list })
}

impl RespondSpec {
    pub(super) fn to_map(&self) -> Map<String, Value> {
        let mut value = Map::new();
        if self.status != 200 {
            value.insert("Status".into(), self.status.into());
        }
        if !self.body.is_empty() {
            value.insert("Body".into(), body_to_value(&self.body));
        }
        if let Some(content_type) = &self.content_type {
            value.insert("ContentType".into(), (&**content_type).into());
        }
        if !self.fields.is_empty() {
            value.insert("Headers".into(), pairs_to_value(&self.fields));
        }
        value
    }
}
