//! From etcd's watch answers to whole revisions; pure.

use super::connect::Failure;
use super::list::{AREA_BYTES_MAX, entry};
use crate::model::Revision;
use crate::store::{Batch, Change};
use etcd_client::KeyValue;
use etcd_client::proto::{PbEvent, PbWatchResponse};
use std::collections::HashMap;

// etcd's numbers for kinds of events. etcd-client's own reading of them panics on an unknown one.
const PUT: i32 = 0;
const DELETE: i32 = 1;

/// What one answer of a watch told.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// The watch stands, or a part of a larger answer came.
    Nothing,
    /// Asked how far it is, the server says so. etcd 3.4 may say it before events that it sent meanwhile.
    Progress(Revision),
    /// Whole revisions, in order.
    Batches(Vec<Batch>),
}

/// Joins answers that etcd split because they were large: all but the last part are marked.
#[derive(Default)]
pub(super) struct Joiner {
    parts: Vec<PbEvent>,
    bytes: usize,
}

impl Joiner {
    /// Takes one answer in. A cancelled watch is a failure.
    pub(super) fn take(&mut self, root: &str, response: PbWatchResponse) -> Result<Told, Failure> {
        if response.canceled {
            // The reason is empty when the start was compacted.
            return Err(if response.compact_revision > 0 {
                Failure::Compacted
            } else if ["permission denied", "PermissionDenied", "auth"]
                .iter()
                .any(|part| response.cancel_reason.contains(part))
            {
                Failure::Denied(response.cancel_reason)
            } else {
                Failure::Away(format!("etcd ended the watch: {}", response.cancel_reason))
            });
        }
        if response.created {
            return Ok(Told::Nothing);
        }
        if response.events.is_empty() && !response.fragment && self.parts.is_empty() {
            let revision = response.header.map_or(0, |header| header.revision);
            return Ok(Told::Progress(Revision(u64::try_from(revision).unwrap_or(0))));
        }
        let size = |event: &PbEvent| event.kv.as_ref().map_or(0, |kv| kv.key.len() + kv.value.len());
        self.bytes = self.bytes.saturating_add(response.events.iter().map(size).sum());
        self.parts.extend(response.events);
        if self.bytes > AREA_BYTES_MAX {
            return Err(Failure::Refused(format!("one revision has more than {AREA_BYTES_MAX} bytes")));
        }
        if response.fragment {
            return Ok(Told::Nothing);
        }
        self.bytes = 0;
        batches(root, std::mem::take(&mut self.parts)).map(Told::Batches)
    }
}

fn batches(root: &str, events: Vec<PbEvent>) -> Result<Vec<Batch>, Failure> {
    let mut batches: Vec<Batch> = Vec::new();
    // Where each key of the last batch stands in it.
    let mut places: HashMap<Box<str>, usize> = HashMap::new();
    for event in events {
        let Some(kv) = event.kv else { continue };
        let revision = Revision(u64::try_from(kv.mod_revision).unwrap_or(0));
        let Some(entry) = entry(root, KeyValue(kv)) else { continue };
        let key = entry.key.clone();
        let change = match event.r#type {
            PUT => Change::Put(entry),
            DELETE => Change::Delete { key: entry.key },
            other => return Err(Failure::Away(format!("etcd sent an event of the unknown kind {other}"))),
        };
        if batches.last().is_none_or(|batch| batch.revision != revision) {
            batches.push(Batch { revision, changes: Vec::new() });
            places.clear();
        }
        let Some(batch) = batches.last_mut() else { continue };
        match places.get(&key).and_then(|place| batch.changes.get_mut(*place)) {
            Some(earlier) => *earlier = change,
            None => {
                places.insert(key, batch.changes.len());
                batch.changes.push(change);
            }
        }
    }
    Ok(batches)
}

#[cfg(test)]
mod tests {
    use super::*;
    use etcd_client::proto::{PbKeyValue, PbResponseHeader};

    fn event(kind: i32, key: &str, revision: i64) -> PbEvent {
        let kv =
            PbKeyValue { key: key.into(), mod_revision: revision, value: "v".into(), ..Default::default() };
        PbEvent { r#type: kind, kv: Some(kv), prev_kv: None }
    }

    fn response(events: Vec<PbEvent>, fragment: bool) -> PbWatchResponse {
        PbWatchResponse { events, fragment, ..Default::default() }
    }

    fn told(joiner: &mut Joiner, response: PbWatchResponse) -> Vec<(u64, Vec<String>)> {
        let name = |change: &Change| match change {
            Change::Put(entry) => format!("+{}", entry.key),
            Change::Delete { key } => format!("-{key}"),
        };
        match joiner.take("/p/", response) {
            Ok(Told::Batches(batches)) => {
                batches.iter().map(|b| (b.revision.0, b.changes.iter().map(name).collect())).collect()
            }
            Ok(Told::Nothing) => vec![],
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_split_revision_is_joined() {
        let mut joiner = Joiner::default();
        assert!(
            told(&mut joiner, response(vec![event(PUT, "/p/a", 4), event(PUT, "/p/b", 5)], true)).is_empty()
        );
        assert!(told(&mut joiner, response(vec![event(PUT, "/p/c", 5)], true)).is_empty());
        let whole = told(&mut joiner, response(vec![event(DELETE, "/p/d", 5), event(PUT, "/p/e", 6)], false));
        let names = |names: &[&str]| names.iter().map(|name| name.to_string()).collect::<Vec<_>>();
        assert_eq!(whole, [(4, names(&["+a"])), (5, names(&["+b", "+c", "-d"])), (6, names(&["+e"]))]);
        assert_eq!(told(&mut joiner, response(vec![event(PUT, "/p/f", 7)], false)), [(7, names(&["+f"]))]);
    }

    #[test]
    fn a_key_is_named_once_and_others_not_at_all() {
        let events = vec![event(DELETE, "/p/a", 4), event(PUT, "/q/x", 4), event(PUT, "/p/a", 4)];
        assert_eq!(told(&mut Joiner::default(), response(events, false)), [(4, vec!["+a".to_owned()])]);
    }

    #[test]
    fn a_cancelled_watch_says_why() {
        let cancelled = |compact_revision, reason: &str| {
            let response = PbWatchResponse {
                canceled: true,
                created: true,
                compact_revision,
                cancel_reason: reason.to_owned(),
                ..Default::default()
            };
            Joiner::default().take("/p/", response)
        };
        assert_eq!(cancelled(7, ""), Err(Failure::Compacted));
        assert!(matches!(cancelled(0, "rpc error: code = PermissionDenied"), Err(Failure::Denied(_))));
        assert!(matches!(cancelled(0, "etcdserver: no leader"), Err(Failure::Away(_))));
    }

    #[test]
    fn an_unknown_kind_of_event_is_an_error_and_no_panic() {
        let answer = Joiner::default().take("/p/", response(vec![event(9, "/p/a", 4)], false));
        assert!(matches!(answer, Err(Failure::Away(reason)) if reason.contains('9')));
    }

    #[test]
    fn an_empty_answer_is_progress() {
        let header = PbResponseHeader { revision: 9, ..Default::default() };
        let response = PbWatchResponse { header: Some(header), watch_id: -1, ..Default::default() };
        assert_eq!(Joiner::default().take("/p/", response), Ok(Told::Progress(Revision(9))));
    }
}
