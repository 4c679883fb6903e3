//! The store: whether it answers, what may be read and written, what is wrong with its objects, and with the fleet.

use super::report::{Check, Grade};
use crate::cli::check::Row;
use crate::cli::table::count;
use crate::flip::record::new_id;
use crate::flip::{Runner, report};
use crate::model::Severity;
use crate::store::{Area, Expected, LeaseChoice, Operation, Snapshot, Store, StoreError, Transaction};
use nix::unistd::{AccessFlags, access};
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::time::Instant;

/// Keys that this program writes to find out whether it may, in the state area; they are removed at once.
const PROBES: &str = "doctor/";
/// A key left behind by one that was ended meanwhile goes by itself, where the store has leases.
const PROBE_TTL: Duration = Duration::from_secs(60);
/// Findings that are shown.
const FINDINGS_MAX: usize = 10;

/// Lists all objects, and says whether and how fast the store answered.
pub(super) async fn answers(store: &Arc<dyn Store>) -> (Check, Option<Snapshot>) {
    let begin = Instant::now();
    let listed = store.list(Area::Routing).await;
    let (took, kind, place) = (begin.elapsed(), store.kind(), store.location());
    match listed {
        Ok(snapshot) => {
            let (keys, revision) = (count(snapshot.entries.len(), "key"), snapshot.revision);
            let detail =
                format!("{place} answers: revision {revision}, {keys}, listed in {} ms", took.as_millis());
            let check = Check::new(Grade::Ok, "store", detail)
                .fact("revision", revision.0)
                .fact("keys", snapshot.entries.len())
                .fact("milliseconds", u64::try_from(took.as_millis()).unwrap_or(u64::MAX));
            (check.fact("kind", kind).fact("location", place), Some(snapshot))
        }
        Err(error) => {
            let check = Check::new(Grade::Failed, "store", format!("{place}: {error}")).advise(match &error {
                StoreError::Denied(_) => "let the user of --etcd-user read everything below --prefix",
                _ => {
                    "see whether the store runs and this machine reaches it; proxies that have a table go on serving it"
                }
            });
            (check.fact("kind", kind).fact("location", place), None)
        }
    }
}

/// Whether the prefix is empty where another one, that differs by a slash, is not.
pub(super) async fn prefix(store: &Arc<dyn Store>) -> Option<Check> {
    let said = store.twin_prefix().await.ok()??;
    Some(
        Check::new(Grade::Failed, "prefix", said)
            .advise("name the prefix exactly as it is written: --prefix PREFIX"),
    )
}

/// Whether the state area may be read and written: a key is written, read and removed.
pub(super) async fn state(store: &Arc<dyn Store>) -> Check {
    match probe_state(store).await {
        Ok(()) => Check::new(Grade::Ok, "state area", "may be read and written"),
        Err(error) => Check::new(Grade::Failed, "state area", error.to_string()).advise(match error {
            StoreError::Denied(_) => {
                "proxies register there, and flips are kept there: let the user read and write everything below \
                 --state-prefix, or in a directory store DIR.state"
            }
            _ => "proxies register there, and flips are kept there: see what the store's own log says",
        }),
    }
}

async fn probe_state(store: &Arc<dyn Store>) -> Result<(), StoreError> {
    let (area, key): (_, Box<str>) = (Area::State, format!("{PROBES}{}", new_id(SystemTime::now())).into());
    let lease = if store.capabilities().leases { LeaseChoice::Ttl(PROBE_TTL) } else { LeaseChoice::Keep };
    let put = Operation::Put { area, key: key.clone(), value: "{}".into(), lease };
    let expect = vec![(area, key.clone(), Expected::Absent)];
    store.commit(Transaction { expect, operations: vec![put] }).await?;
    let found = store.get(area, &key).await;
    let delete = Operation::Delete { area, key };
    store.commit(Transaction { expect: Vec::new(), operations: vec![delete] }).await?;
    match found?.1 {
        Some(_) => Ok(()),
        None => Err(StoreError::Unavailable("a key that was just written is not there".to_owned())),
    }
}

/// Whether objects may be written. None is: the transaction expects what is not so, and a store looks at rights first.
pub(super) async fn routing(store: &Arc<dyn Store>) -> Check {
    let denied = match store.kind() {
        "directory" => {
            let place = store.location();
            let path = Path::new(place.strip_prefix("dir:").unwrap_or(&place));
            access(path, AccessFlags::W_OK)
                .err()
                .map(|error| format!("{place} cannot be written: {}", error.desc()))
        }
        _ => match store.commit(never()).await {
            Err(StoreError::Denied(reason)) => Some(reason),
            Ok(_) | Err(StoreError::Conflict { .. }) => None,
            Err(error) => return Check::new(Grade::Failed, "routing area", error.to_string()),
        },
    };
    match denied {
        None => Check::new(Grade::Ok, "routing area", "may be read and written"),
        Some(reason) => {
            Check::new(Grade::Warning, "routing area", format!("may be read and not written: {reason}")).advise(
                "a proxy needs no more; `apply`, `flip` and the registrar have to write everything below --prefix",
            )
        }
    }
}

/// Writes of the usual kinds below a key that is not there, and has to be.
fn never() -> Transaction {
    let id = new_id(SystemTime::now());
    let keys = [format!("frontends/{id}/frontend"), format!("backends/{id}/backend")];
    let delete = |key: &String| Operation::Delete { area: Area::Routing, key: key.as_str().into() };
    let expect = keys.first().map(|key| (Area::Routing, key.as_str().into(), Expected::Present));
    Transaction { expect: expect.into_iter().collect(), operations: keys.iter().map(delete).collect() }
}

/// What is wrong with the objects.
pub(super) fn objects(checked: usize, mut rows: Vec<Row>) -> Check {
    rows.sort_by(|a, b| (b.finding.severity, &a.place).cmp(&(a.finding.severity, &b.place)));
    let errors = rows.iter().filter(|row| row.finding.severity == Severity::Error).count();
    let (warnings, objects) = (rows.len() - errors, count(checked, "object"));
    let grade = match (errors, warnings) {
        (0, 0) => Grade::Ok,
        (0, _) => Grade::Warning,
        _ => Grade::Failed,
    };
    let detail = match grade {
        Grade::Ok => format!("{objects}, none with a problem"),
        _ => format!("{objects}: {}, {}", count(errors, "error"), count(warnings, "warning")),
    };
    let mut check = Check::new(grade, "objects", detail)
        .fact("objects", checked)
        .fact("errors", errors)
        .fact("warnings", warnings);
    for Row { place, finding } in rows.iter().take(FINDINGS_MAX) {
        let field = if finding.field.is_empty() { String::new() } else { format!(" {}", finding.field) };
        check = check.advise(format!("{place}{field}: {}", finding.reason));
    }
    if rows.len() > FINDINGS_MAX {
        check = check.advise(format!("`flipgate check` lists {} more", rows.len() - FINDINGS_MAX));
    }
    check
}

/// Proxies that are lost, objects that a proxy does not have in force, records that cannot be read.
pub(super) async fn fleet(store: &Arc<dyn Store>) -> Check {
    let told = async {
        let mut runner = Runner::open(store.clone()).await?;
        runner.poke().await?;
        let leases = store.capabilities().leases;
        Ok::<_, crate::flip::FlipError>(report(runner.fleet(), leases, Instant::now(), SystemTime::now()))
    };
    match told.await {
        Ok(fleet) => judge_fleet(&fleet),
        Err(error) => Check::new(Grade::Failed, "fleet", error.to_string()),
    }
}

fn judge_fleet(fleet: &Value) -> Check {
    let list =
        |value: &Value, name: &str| value.get(name).and_then(Value::as_array).cloned().unwrap_or_default();
    let text =
        |value: &Value, name: &str| value.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let members = list(fleet, "members");
    let lost = members.iter().filter(|member| text(member, "state") == "lost");
    let lost = lost.map(|member| text(member, "name")).collect::<Vec<_>>();
    let mut lacking = Vec::new();
    for member in &members {
        let keys = list(member, "processes").iter().flat_map(|process| list(process, "notInForce")).count();
        if keys > 0 {
            lacking.push(format!("{} has {} not in force", text(member, "name"), count(keys, "object")));
        }
    }
    let unreadable = list(fleet, "unreadable");
    let grade = match (lost.is_empty() && unreadable.is_empty(), lacking.is_empty()) {
        (true, true) => Grade::Ok,
        (true, false) => Grade::Warning,
        (false, _) => Grade::Failed,
    };
    let proxies = if members.len() == 1 { "proxy" } else { "proxies" };
    let mut said = vec![match members.len() {
        0 => "no proxy follows the store".to_owned(),
        number => format!("{number} {proxies}"),
    }];
    if !lost.is_empty() {
        said.push(format!("lost: {}", lost.join(", ")));
    }
    said.extend(lacking.iter().cloned());
    if !unreadable.is_empty() {
        said.push(format!("{} cannot be read", count(unreadable.len(), "record")));
    }
    let mut check = Check::new(grade, "fleet", said.join("; "))
        .fact("members", members.len())
        .fact("lost", json!(lost))
        .fact("unreadable", unreadable);
    if let Some(name) = lost.first() {
        check = check.advise(format!(
            "a lost proxy may be cut off and still send requests: look at its machine, or say that it is gone with \
             `flipgate fleet forget {name}`"
        ));
    }
    if !lacking.is_empty() {
        check = check.advise("`flipgate status --admin URL` of that proxy says why");
    }
    check
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Finding;
    use crate::store::memory::MemoryStore;

    #[tokio::test]
    async fn a_store_is_left_as_it_was() {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let (check, snapshot) = answers(&store).await;
        assert_eq!((check.grade, &check.facts["kind"]), (Grade::Ok, &json!("memory")));
        assert_eq!(snapshot.map(|snapshot| snapshot.entries.len()), Some(0));
        assert_eq!(prefix(&store).await, None);
        assert_eq!(state(&store).await.grade, Grade::Ok);
        assert_eq!(routing(&store).await.grade, Grade::Ok);
        for area in [Area::State, Area::Routing] {
            assert_eq!(store.list(area).await.unwrap().entries, []);
        }
    }

    #[test]
    fn findings_are_counted_and_the_worst_come_first() {
        let row = |place: &str, severity| Row {
            place: place.to_owned(),
            finding: Finding { field: "Route".into(), reason: "is odd".into(), severity },
        };
        let found = objects(3, vec![row("a", Severity::Warning), row("b", Severity::Error)]);
        assert_eq!((found.grade, found.detail.as_str()), (Grade::Failed, "3 objects: 1 error, 1 warning"));
        assert_eq!(found.advice, ["b Route: is odd", "a Route: is odd"]);
        assert_eq!(objects(1, vec![row("a", Severity::Warning)]).grade, Grade::Warning);
        assert_eq!(objects(1, Vec::new()).detail, "1 object, none with a problem");
        let many = objects(50, (0..25).map(|n| row(&format!("{n:02}"), Severity::Error)).collect());
        assert_eq!(many.advice.last().unwrap(), "`flipgate check` lists 15 more");
    }

    #[test]
    fn a_fleet_is_well_if_nobody_is_lost() {
        let judged = |fleet: Value| {
            let check = judge_fleet(&fleet);
            (check.grade, check.detail)
        };
        let well = |name: &str| json!({"name": name, "state": "alive", "processes": [{"notInForce": []}]});
        let lacking = json!({"name": "b", "state": "alive", "processes": [{"notInForce": ["hosts/x/host"]}]});
        let lost = json!({"name": "c", "state": "lost", "processes": []});
        assert_eq!(judged(json!({})), (Grade::Ok, "no proxy follows the store".into()));
        assert_eq!(judged(json!({"members": [well("a")]})), (Grade::Ok, "1 proxy".into()));
        assert_eq!(
            judged(json!({"members": [well("a"), lacking]})),
            (Grade::Warning, "2 proxies; b has 1 object not in force".into())
        );
        assert_eq!(
            judged(json!({"members": [well("a"), lost], "unreadable": ["x"]})),
            (Grade::Failed, "2 proxies; lost: c; 1 record cannot be read".into())
        );
    }
}
