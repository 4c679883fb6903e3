//! The pieces of an OpenAPI 3.1 document.

use super::answer::with;
use serde_json::{Map, Value, json};

/// An operation with a body of JSON.
pub fn with_body(operation: Value, schema: Value) -> Value {
    let content = json!({ "application/json": { "schema": schema } });
    with(operation, "requestBody", json!({ "required": true, "content": content }))
}

/// An answer of JSON.
pub fn answer(status: u16, description: &str, schema: &str) -> (u16, Value) {
    let content = json!({ "application/json": { "schema": reference(schema) } });
    (status, json!({ "description": description, "content": content }))
}

/// A part of the path that is an id.
pub fn id_parameter(name: &str) -> Value {
    json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string", "maxLength": 255 } })
}

/// A name in the query.
pub fn query(name: &str, kind: &str, description: &str) -> Value {
    json!({ "name": name, "in": "query", "description": description, "schema": { "type": kind } })
}

/// A field of the request's head.
pub fn header(name: &str, description: &str) -> Value {
    json!({ "name": name, "in": "header", "description": description, "schema": { "type": "string" } })
}

/// A schema of the document's own.
pub fn reference(schema: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{schema}") })
}

/// An object of these properties; a name that ends with `!` is required.
pub fn object<const N: usize>(properties: [(&str, Value); N]) -> Value {
    let required: Vec<&str> = properties.iter().filter_map(|(name, _)| name.strip_suffix('!')).collect();
    let properties: Map<String, Value> = properties
        .into_iter()
        .map(|(name, schema)| (name.trim_end_matches('!').to_owned(), schema))
        .collect();
    json!({ "type": "object", "properties": properties, "required": required })
}

/// Several of them.
pub fn list(items: Value) -> Value {
    json!({ "type": "array", "items": items })
}

/// One of these texts.
pub fn one_of(names: &[&str]) -> Value {
    json!({ "type": "string", "enum": names })
}
