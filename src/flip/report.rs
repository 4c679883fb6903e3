//! The fleet and its history for programs, and taking a lost member off the list.

use super::FlipError;
use super::fleet::Fleet;
use super::record::{ALIVE, Alive, Deed, MEMBERS, Past, Phase, unix_ms};
use crate::store::{Area, Operation, Store, Transaction};
use crate::telemetry::rfc3339;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::time::Instant;

/// A record without a lease that was not written for so long has no living writer: whoever lives was made to write just
/// before this is asked.
const UNLEASED_MAX: Duration = Duration::from_secs(5);

/// `{"members":[...],"flips":[...]}`: every member with its processes, and every open flip. `has_leases`: of the store.
pub fn report(fleet: &Fleet, has_leases: bool, now: Instant, wall: SystemTime) -> Value {
    let is_fresh = |alive: &Alive| {
        let age = unix_ms(wall).saturating_sub(alive.at);
        has_leases || u128::from(age) < UNLEASED_MAX.as_millis()
    };
    let members: Vec<Value> = fleet
        .members(now)
        .into_iter()
        .map(|member| {
            let boots: Vec<Value> = member.boots.iter().filter(|(_, it)| is_fresh(it)).map(boot).collect();
            let draining = member.boots.iter().any(|(_, alive)| alive.draining);
            let state = if boots.is_empty() {
                "lost"
            } else if draining {
                "draining"
            } else {
                "alive"
            };
            json!({ "name": member.name, "state": state, "processes": boots })
        })
        .collect();
    let flips: Vec<Value> = fleet
        .flips(now)
        .into_iter()
        .map(|open| {
            let targets: Vec<Value> = open.flip.targets.iter().map(target).collect();
            json!({
                "id": open.flip.id,
                "deed": open.flip.deed,
                "by": open.flip.by,
                "since": time(open.flip.since),
                "phase": match open.flip.phase { Phase::Prepare => "prepare", Phase::Committed => "committed" },
                "owned": open.owner.is_some(),
                "targets": targets,
            })
        })
        .collect();
    json!({ "members": members, "flips": flips, "unreadable": fleet.broken().collect::<Vec<_>>() })
}

fn boot((id, alive): &(String, Alive)) -> Value {
    json!({
        "id": id,
        "served": alive.served,
        "quiet": alive.quiet,
        "storeRevision": alive.synced,
        "hash": alive.hash,
        "version": alive.version,
        "draining": alive.draining,
        "notInForce": alive.not_in_force,
        "backends": alive.backends,
    })
}

fn target(target: &super::record::FlipTarget) -> Value {
    json!({ "target": target.target, "from": target.from, "to": target.to })
}

fn time(ms: u64) -> String {
    rfc3339(UNIX_EPOCH + Duration::from_millis(ms.min(1 << 47)))
}

/// An entry of the history for programs.
pub fn past_json(past: &Past) -> Value {
    json!({
        "id": past.id,
        "deed": match past.deed { Deed::Flip => "flip", Deed::Rollback => "rollback" },
        "by": past.by,
        "at": time(past.at),
        "revision": past.revision,
        "targets": past.targets.iter().map(target).collect::<Vec<_>>(),
        "ending": past.ending.as_str(),
        "reason": past.reason,
        "undoes": past.undoes,
        "requests": past.counted.attempts,
        "errors": past.counted.failures,
    })
}

/// Takes a lost member off the list: whoever says so knows that it serves no traffic.
///
/// # Errors
/// There is no such member, or it lives; the store does not answer.
pub async fn forget(store: &Arc<dyn Store>, fleet: &Fleet, name: &str) -> Result<(), FlipError> {
    let all = report(fleet, store.capabilities().leases, Instant::now(), SystemTime::now());
    let is_it = |member: &&Value| member.get("name").and_then(Value::as_str) == Some(name);
    let member = all.get("members").and_then(Value::as_array).and_then(|list| list.iter().find(is_it));
    match member.and_then(|member| member.get("state")).and_then(Value::as_str) {
        None => return Err(FlipError::Refused(format!("there is no member {name}"))),
        Some("lost") => {}
        Some(_) => {
            return Err(FlipError::Refused(format!(
                "{name} lives; it takes itself off the list when it is stopped"
            )));
        }
    }
    let mut keys: Vec<String> = fleet.boots(name).collect();
    debug_assert!(keys.iter().all(|key| key.starts_with(ALIVE)));
    keys.push(format!("{MEMBERS}{name}"));
    let operations =
        keys.into_iter().map(|key| Operation::Delete { area: Area::State, key: key.into() }).collect();
    store.commit(Transaction { expect: Vec::new(), operations }).await?;
    Ok(())
}
