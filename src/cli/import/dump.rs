//! The saved answer of etcd's API version 2: directories in directories.

use super::carry::{Fate, Note};
use anyhow::{anyhow, bail};
use serde_json::Value;

/// Deepest directory that is looked into; vulcand's lie five deep.
const DEPTH_MAX: usize = 16;

/// One key of vulcand.
#[derive(Debug, PartialEq)]
pub(super) struct Key {
    /// Behind the prefix, without a slash in front.
    pub(super) key: String,
    pub(super) value: Vec<u8>,
    /// It goes when nobody writes it again.
    pub(super) ends: bool,
}

/// All keys below the node that was asked for.
///
/// # Errors
/// The text is no such answer.
pub(super) fn read(text: &str) -> anyhow::Result<(Vec<Key>, Vec<Note>)> {
    let answer: Value =
        serde_json::from_str(text).map_err(|error| anyhow!("the saved answer is not JSON: {error}"))?;
    if let Some(message) = answer.get("message").and_then(Value::as_str) {
        bail!("the saved answer is an error of etcd: {message}");
    }
    let Some(root) = answer.get("node") else {
        bail!("the saved answer has no `node`: save what GET /v2/keys/vulcand?recursive=true gives");
    };
    let prefix = root.get("key").and_then(Value::as_str).unwrap_or_default().to_owned();
    let mut found = (Vec::new(), Vec::new());
    walk(root, &prefix, false, 0, &mut found);
    Ok(found)
}

/// A directory that ends takes what is in it along.
fn walk(node: &Value, prefix: &str, ends: bool, depth: usize, found: &mut (Vec<Key>, Vec<Note>)) {
    let path = node.get("key").and_then(Value::as_str).unwrap_or_default();
    let key = path.strip_prefix(prefix).unwrap_or(path).trim_start_matches('/').to_owned();
    let ends = ends || node.get("ttl").and_then(Value::as_i64).is_some_and(|ttl| ttl > 0);
    if let Some(value) = node.get("value").and_then(Value::as_str) {
        found.0.push(Key { key, value: value.as_bytes().to_vec(), ends });
        return;
    }
    let nodes = node.get("nodes").and_then(Value::as_array);
    if depth >= DEPTH_MAX || (nodes.is_none() && node.get("dir").is_none()) {
        let reason = "is neither a value nor a directory of vulcand's".to_owned();
        found.1.push(Note { fate: Fate::NotCarried, key, field: String::new(), reason });
        return;
    }
    for inner in nodes.into_iter().flatten() {
        walk(inner, prefix, ends, depth + 1, found);
    }
}
