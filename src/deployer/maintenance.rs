//! Maintenance of an application: all its frontends answer 503, with a page, until it is over. What is open goes on in any
//! case, tunnels too: a frontend's `Maintenance` is about requests that begin. So a drain is maintenance of which clients
//! learn no more than that they may come again: without a page it has a `Retry-After` of its own.

use super::desk::{Denied, Maintenance, denied};
use super::routing::is_frontend;
use crate::model::edit::set_path;
use crate::model::{Object, ObjectKey, Strictness};
use crate::store::{Area, Entry, Expected, LeaseChoice, Operation, Store, StoreError, Transaction};
use serde_json::{Map, Value};
use std::sync::Arc;
use std::time::Duration;

/// Times that it is written because a frontend was changed meanwhile.
const TRIES_MAX: usize = 5;
/// `Retry-After` of a drain that says nothing of it.
const DRAIN_RETRY: Duration = Duration::from_secs(5);

/// Puts all frontends among `keys` into maintenance, or takes them out: all or none. Everything else of them stays.
///
/// # Errors
/// There is no frontend, a page is too long, or the store is away.
pub(super) async fn set(
    store: &Arc<dyn Store>,
    keys: &[String],
    maintenance: Option<&Maintenance>,
) -> Result<(), Denied> {
    let wanted = maintenance.map_or(Value::Null, value);
    for _ in 0..TRIES_MAX {
        let mut transaction = Transaction::default();
        let mut found = false;
        for key in keys.iter().filter(|key| is_frontend(key)) {
            let (_, entry) = store.get(Area::Routing, key).await.map_err(denied)?;
            let Some(entry) = entry else { continue };
            found = true;
            edit(&entry, &wanted, &mut transaction).map_err(Denied::Conflict)?;
        }
        if !found {
            return Err(Denied::NotFound("the application has no frontend".to_owned()));
        }
        if transaction.operations.is_empty() {
            return Ok(());
        }
        match store.commit(transaction).await {
            Ok(_) => return Ok(()),
            Err(StoreError::Conflict { .. }) => {}
            Err(error) => return Err(denied(error)),
        }
    }
    Err(Denied::Conflict("a frontend is being changed all the time".to_owned()))
}

/// The field `Maintenance` of a frontend.
fn value(maintenance: &Maintenance) -> Value {
    let mut value = Map::new();
    if let Some(page) = &maintenance.page {
        value.insert("Page".into(), serde_json::json!({ "Body": page }));
    }
    let own = maintenance.retry_after.map(|seconds| Duration::from_secs(seconds.into()));
    if let Some(time) = own.or(maintenance.drain.then_some(DRAIN_RETRY)) {
        value.insert("RetryAfter".into(), crate::model::duration::format(time).into());
    }
    if value.is_empty() { true.into() } else { value.into() }
}

/// Adds the write of a frontend with another `Maintenance`, unless it has it.
fn edit(entry: &Entry, wanted: &Value, transaction: &mut Transaction) -> Result<(), String> {
    let failed = |reason: String| format!("{}: {reason}", entry.key);
    let before: Value = serde_json::from_slice(&entry.value).map_err(|error| failed(error.to_string()))?;
    let mut value = before.clone();
    set_path(&mut value, "Maintenance", wanted.clone()).map_err(|error| failed(error.to_string()))?;
    if value == before {
        return Ok(());
    }
    let text = value.to_string();
    let Some(key) = ObjectKey::parse(&entry.key) else { return Err(failed("is no object".to_owned())) };
    let parsed = Object::parse(&key, text.as_bytes(), Strictness::Stored);
    if parsed.object.is_none() {
        let wrong: Vec<String> =
            parsed.findings.iter().map(|it| format!("{} {}", it.field, it.reason)).collect();
        return Err(failed(wrong.join("; ")));
    }
    let (area, key) = (Area::Routing, entry.key.clone());
    transaction.expect.push((area, key.clone(), Expected::Version(entry.version)));
    let lease = LeaseChoice::Keep;
    transaction.operations.push(Operation::Put { area, key, value: text.into(), lease });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::memory::MemoryStore;

    const BEFORE: &str = r#"{"Type":"http","BackendId":"shop-web","Route":"Host(`a`)","mine":1}"#;
    const KEY: &str = "frontends/shop-web/frontend";

    #[tokio::test]
    async fn frontends_are_closed_and_opened_and_stay_as_they_are_otherwise() {
        let memory = MemoryStore::new();
        let store: Arc<dyn Store> = Arc::new(memory.clone());
        let keys =
            ["backends/shop-web/backend".to_owned(), KEY.to_owned(), "frontends/gone/frontend".to_owned()];
        memory.put(Area::Routing, KEY, BEFORE).unwrap();
        let page = Maintenance { page: Some("soon".into()), retry_after: Some(90), drain: false };
        for (maintenance, expected) in [
            (Some(Maintenance::default()), Some("true")),
            (Some(page), Some(r#"{"Page":{"Body":"soon"},"RetryAfter":"1m30s"}"#)),
            (Some(Maintenance { drain: true, ..Maintenance::default() }), Some(r#"{"RetryAfter":"5s"}"#)),
            (None, None),
            (None, None),
        ] {
            set(&store, &keys, maintenance.as_ref()).await.unwrap();
            let entry = store.get(Area::Routing, KEY).await.unwrap().1.unwrap();
            let text = String::from_utf8(entry.value.to_vec()).unwrap();
            let expected = match expected {
                Some(value) => BEFORE.replace('}', &format!(",\"Maintenance\":{value}}}")),
                None => BEFORE.to_owned(),
            };
            assert_eq!(text, expected);
        }
    }

    #[tokio::test]
    async fn what_cannot_be_is_said() {
        let memory = MemoryStore::new();
        let store: Arc<dyn Store> = Arc::new(memory.clone());
        let none = set(&store, &[KEY.to_owned()], None).await;
        assert!(matches!(none, Err(Denied::NotFound(_))), "{none:?}");
        memory.put(Area::Routing, KEY, BEFORE).unwrap();
        let page =
            Maintenance { page: Some("x".repeat(crate::model::PAGE_BYTES_MAX + 1)), ..Default::default() };
        let long = set(&store, &[KEY.to_owned()], Some(&page)).await;
        assert!(matches!(long, Err(Denied::Conflict(_))), "{long:?}");
        memory.set_outage(Some("gone"));
        let away = set(&store, &[KEY.to_owned()], None).await;
        assert!(matches!(away, Err(Denied::Away(_))), "{away:?}");
    }
}
