//! What is refused before a store is asked, the same for every store.

use super::{Capabilities, LeaseChoice, Operation, StoreError, Transaction};
use std::collections::HashSet;

/// Longest key below an area's root, in bytes.
pub const KEY_BYTES_MAX: usize = 1024;

/// How the value of a file that is neither JSON nor YAML begins, within its quotes.
const UNREADABLE: &str = "unreadable: ";

/// The value that stands for a file that cannot be read: a JSON string, so that a reader of objects that does not know
/// of it still shows the reason ("expected an object, found the string ..").
pub(super) fn unreadable_value(reason: &str) -> bytes::Bytes {
    serde_json::Value::String(format!("{UNREADABLE}{reason}")).to_string().into()
}

/// Why the file behind a value could not be read, if the value stands for such a file: one sentence with line and
/// column where they are known.
pub fn unreadable(value: &[u8]) -> Option<String> {
    if value.first() != Some(&b'"') {
        return None;
    }
    let text: String = serde_json::from_slice(value).ok()?;
    text.strip_prefix(UNREADABLE).map(str::to_owned)
}

impl Operation {
    /// Tree and key that it writes.
    pub fn target(&self) -> (super::Area, &str) {
        match self {
            Self::Put { area, key, .. } | Self::Delete { area, key } => (*area, key),
        }
    }
}

/// Refuses what no store could do: too much of it, a key twice, a key that is none.
pub(super) fn check(transaction: &Transaction, offered: &Capabilities) -> Result<(), StoreError> {
    let most = offered.operations_max;
    if transaction.operations.len() > most || transaction.expect.len() > most {
        return Err(StoreError::Refused(format!(
            "a transaction has at most {most} operations, this one has {}: point the frontends at an alias and \
             move the alias, or write in several steps",
            transaction.operations.len().max(transaction.expect.len())
        )));
    }
    let mut seen = HashSet::with_capacity(transaction.operations.len());
    for operation in &transaction.operations {
        let (area, key) = operation.target();
        check_key(key)?;
        if !seen.insert((area, key)) {
            return Err(StoreError::Refused(format!("{key} is written twice in one transaction")));
        }
        let Operation::Put { value, lease, .. } = operation else { continue };
        if value.len() > offered.value_bytes_max {
            return Err(StoreError::Refused(format!(
                "{key} has {} bytes, at most {} can be stored",
                value.len(),
                offered.value_bytes_max
            )));
        }
        if !offered.leases && matches!(lease, LeaseChoice::Ttl(_) | LeaseChoice::Existing(_)) {
            return Err(StoreError::Unsupported(format!(
                "{key} cannot have a lease here: keys that end by themselves need etcd (--store etcd://HOST:PORT)"
            )));
        }
    }
    transaction.expect.iter().try_for_each(|(_, key, _)| check_key(key))
}

/// A key has segments between single slashes, none empty, and no control characters.
pub(super) fn check_key(key: &str) -> Result<(), StoreError> {
    let wrong = if key.is_empty() {
        "it is empty"
    } else if key.len() > KEY_BYTES_MAX {
        "it is too long"
    } else if key.split('/').any(str::is_empty) {
        "it has an empty segment, or a slash at an end"
    } else if key.chars().any(char::is_control) {
        "it has a control character"
    } else {
        return Ok(());
    };
    Err(StoreError::Refused(format!("{key:?} is no key: {wrong}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Area;
    use std::time::Duration;

    fn put(key: &str) -> Operation {
        Operation::Put { area: Area::Routing, key: key.into(), value: "{}".into(), lease: LeaseChoice::Keep }
    }

    #[test]
    fn refuses_what_no_store_can_do() {
        let offered = Capabilities { leases: false, operations_max: 2, value_bytes_max: 4 };
        let of = |operations| check(&Transaction { expect: vec![], operations }, &offered);
        assert_eq!(of(vec![put("a"), put("b")]), Ok(()));
        let refused = |operations, part: &str| match of(operations) {
            Err(StoreError::Refused(text)) => assert!(text.contains(part), "{text}"),
            other => panic!("{other:?}"),
        };
        refused(vec![put("a"), put("a")], "twice");
        refused(vec![put("a"), put("b"), put("c")], "alias");
        for key in ["", "/a", "a/", "a//b", "a\nb"] {
            refused(vec![put(key)], "is no key");
        }
        let (area, key) = (Area::Routing, "a".into());
        let long = Operation::Put { area, key, value: "12345".into(), lease: LeaseChoice::Keep };
        refused(vec![long], "at most 4");
        let (key, lease) = ("a".into(), LeaseChoice::Ttl(Duration::from_secs(5)));
        let leased = Operation::Put { area, key, value: "{}".into(), lease };
        assert!(matches!(of(vec![leased]), Err(StoreError::Unsupported(text)) if text.contains("etcd")));
    }

    #[test]
    fn an_unreadable_value_carries_its_reason() {
        assert_eq!(unreadable(&unreadable_value("line 3: \"x\"")).as_deref(), Some("line 3: \"x\""));
        for value in ["{}", "\"text\"", "", "\"unreadable: "] {
            assert_eq!(unreadable(value.as_bytes()), None);
        }
    }
}
