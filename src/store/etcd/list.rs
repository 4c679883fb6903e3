//! Everything below a root at one revision, in pages.

use super::connect::{Connection, Failure, Head, MESSAGE_BYTES_MAX};
use super::range_end;
use crate::store::Entry;
use etcd_client::{GetOptions, KeyValue};

/// Keys asked for at once.
const PAGE_KEYS: i64 = 1000;
/// Times that a list is begun anew because its revision was compacted meanwhile.
const BEGINNINGS_MAX: usize = 5;
/// Most that one area may hold, in bytes of keys and values.
pub(super) const AREA_BYTES_MAX: usize = 1024 * 1024 * 1024;

/// What was below a root.
pub(super) struct Listed<T> {
    /// The revision that it is complete at.
    pub(super) head: Head,
    /// In key order.
    pub(super) items: Vec<T>,
}

/// First key that does not start with `prefix`; `\0` (no end) if there is none.
pub(super) fn prefix_end(prefix: &[u8]) -> Vec<u8> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if let Some(next) = last.checked_add(1) {
            end.push(next);
            return end;
        }
    }
    vec![0]
}

/// An entry of an area, if the key lies below its root. Bytes that are no UTF-8 become replacement characters.
pub(super) fn entry(root: &str, kv: KeyValue) -> Option<Entry> {
    let number = |number: i64| u64::try_from(number).unwrap_or(0);
    let (version, created, lease) = (number(kv.mod_revision()), number(kv.create_revision()), kv.lease());
    let (key, value) = kv.into_key_value();
    let key = String::from_utf8_lossy(key.strip_prefix(root.as_bytes())?).into_owned();
    Some(Entry {
        key: key.into(),
        value: value.into(),
        version,
        created,
        lease: (lease != 0).then_some(lease),
    })
}

/// Lists what is below `root` and keeps what `convert` makes of it. Pages after the first are read at the first one's
/// revision; one whose revision is compacted begins anew, one that is too large is asked for in smaller pieces.
pub(super) async fn list<T>(
    connection: &Connection,
    root: &str,
    keys_only: bool,
    convert: impl Fn(KeyValue) -> T,
) -> Result<Listed<T>, Failure> {
    for _ in 0..BEGINNINGS_MAX {
        match list_once(connection, root, keys_only, &convert).await {
            Err(Failure::Compacted) => {}
            listed => return listed,
        }
    }
    Err(Failure::Away("what was being listed was compacted again and again".to_owned()))
}

async fn list_once<T>(
    connection: &Connection,
    root: &str,
    keys_only: bool,
    convert: impl Fn(KeyValue) -> T,
) -> Result<Listed<T>, Failure> {
    let end = range_end(root);
    let mut from = root.as_bytes().to_vec();
    let mut head = None;
    let mut items = Vec::new();
    let mut page_keys = PAGE_KEYS;
    let mut bytes: usize = 0;
    loop {
        let mut options = GetOptions::new().with_range(end.clone()).with_limit(page_keys);
        if keys_only {
            options = options.with_keys_only();
        }
        if let Some(Head { revision, .. }) = head {
            options = options.with_revision(i64::try_from(revision.0).unwrap_or(i64::MAX));
        }
        let ask = |client: etcd_client::Client| {
            let (from, options) = (from.clone(), options.clone());
            async move {
                client.kv_client().max_decoding_message_size(MESSAGE_BYTES_MAX).get(from, Some(options)).await
            }
        };
        let mut page = match connection.call(ask).await {
            Err(Failure::TooLarge) if page_keys > 1 => {
                page_keys = (page_keys / 8).max(1);
                continue;
            }
            page => page?,
        };
        let first = Head::of(page.header())?;
        let head = *head.get_or_insert(first);
        let more = page.more();
        let kvs = page.take_kvs();
        if let Some(last) = kvs.last() {
            from = last.key().to_vec();
            from.push(0);
        }
        let empty = kvs.is_empty();
        for kv in kvs {
            bytes = bytes.saturating_add(kv.key().len()).saturating_add(kv.value().len());
            items.push(convert(kv));
        }
        if bytes > AREA_BYTES_MAX {
            return Err(Failure::Refused(format!("{root} holds more than {AREA_BYTES_MAX} bytes")));
        }
        if !more || empty {
            return Ok(Listed { head, items });
        }
    }
}
