use super::*;
use crate::deployer::charge::delete_state;
use crate::deployer::machine::{Course, Task};
use crate::deployer::record::{Facts, Made, Status, ask_key, log_key};
use crate::deployer::testing::{app, application, cluster, deployment, descriptor, desk, desk_of};
use crate::flip::record::unix_ms;
use crate::store::Area;
use crate::store::Transaction;
use crate::store::memory::MemoryStore;
use serde_json::json;
use std::sync::atomic::{AtomicUsize, Ordering};

fn store() -> Arc<dyn Store> {
    Arc::new(MemoryStore::new())
}

/// Deploys a version and writes that it is over.
async fn run(desk: &Desk, app: &Name, version: &str, status: Status) -> Deployment {
    let begun = desk.deploy(descriptor(app, version), None, "me").await.unwrap();
    end(desk, status).await;
    begun
}

async fn end(desk: &Desk, status: Status) {
    let mut charge = desk.take_begun().pop().unwrap();
    let version = charge.deployment.version.clone();
    charge.deployment.made = Some(Made { uid: Some("uid".into()), ..Made::named(&charge.app, &version) });
    charge.finish(status, None).await.unwrap();
    desk.heard(charge.fence).await;
}

fn conflict(text: &str, denied: &Denied) {
    assert!(matches!(denied, Denied::Conflict(said) if said.contains(text)), "{text}: {denied:?}");
}

#[tokio::test(start_paused = true)]
async fn of_two_calls_at_once_one_runs() {
    for again in 0..20 {
        let store = store();
        let ((one, _first), (other, _second)) = (desk(&store), desk(&store));
        let app = app();
        let (left, right) = tokio::join!(
            one.deploy(descriptor(&app, "1"), None, "one"),
            other.deploy(descriptor(&app, "2"), None, "other"),
        );
        let (winner, loser) = match (left, right) {
            (Ok(winner), Err(loser)) | (Err(loser), Ok(winner)) => (winner, loser),
            both => panic!("{again}: {both:?}"),
        };
        let Denied::Busy { id, reason } = loser else { panic!("{loser:?}") };
        assert_eq!(id, winner.id);
        assert!(reason.contains("validate") && reason.contains("prod/shop"), "{reason}");
        assert_eq!(application(&store, &app).await.open, Some(winner.id.clone()));
        let all = store.list(Area::State).await.unwrap().entries;
        let records = all.iter().filter(|entry| entry.key.starts_with("deployer/deployments/"));
        assert_eq!(records.count(), 1, "the loser wrote nothing");
        assert!(
            one.book().deployment("prod", &winner.id).is_some()
                || other.book().deployment("prod", &winner.id).is_some()
        );
    }
}

#[tokio::test(start_paused = true)]
async fn the_book_knows_when_a_call_returns() {
    let store = store();
    let (desk, _pump) = desk(&store);
    let begun = desk.deploy(descriptor(&app(), "#"), None, "me").await.unwrap();
    let book = desk.book();
    let (_, kept) = book.deployment("prod", &begun.id).unwrap();
    assert_eq!((&kept.value, &*begun.version), (&begun, "1"));
    assert!(book.locks.contains_key(&app()), "its one in charge is alive");
}

#[tokio::test(start_paused = true)]
async fn what_would_be_is_told_and_nothing_written() {
    let store = store();
    let (desk, _pump) = desk(&store);
    run(&desk, &app(), "#", Status::Deployed).await;
    let before = store.list(Area::State).await.unwrap();
    let told = desk.check(&descriptor(&app(), "#")).await.unwrap();
    assert_eq!(told, ["version 2 of prod/shop with 2 pods, in the place of version 1"]);
    conflict("deployed already", &desk.check(&descriptor(&app(), "1")).await.unwrap_err());
    assert_eq!(store.list(Area::State).await.unwrap(), before);
}

#[tokio::test(start_paused = true)]
async fn numbers_go_on() {
    let store = store();
    let (desk, _pump) = desk(&store);
    let mut given = Vec::new();
    for (version, status) in [
        ("#", Status::Deployed),
        ("#", Status::Failure),
        ("7", Status::Deployed),
        ("blue", Status::Failure),
        ("#", Status::Deployed),
    ] {
        given.push(run(&desk, &app(), version, status).await.version);
    }
    assert_eq!(given, ["1", "2", "7", "blue", "8"]);
    assert_eq!(application(&store, &app()).await.last_number, 8);
}

#[tokio::test(start_paused = true)]
async fn what_is_live_is_not_deployed_again() {
    let store = store();
    let (desk, _pump) = desk(&store);
    let first = run(&desk, &app(), "1", Status::Deployed).await;
    let denied = desk.deploy(descriptor(&app(), "1"), None, "me").await.unwrap_err();
    conflict("deployed already", &denied);
    let denied = desk.deploy(descriptor(&app(), "1"), Some(&first.id), "me").await.unwrap_err();
    conflict("live already", &denied);
    let denied = desk.deploy(descriptor(&app(), "1"), Some("x"), "me").await.unwrap_err();
    assert!(matches!(denied, Denied::NotFound(_)), "{denied:?}");

    let second = run(&desk, &app(), "2", Status::Deployed).await;
    assert_eq!(
        second.facts.previous.as_ref().map(|it| (&*it.id, &*it.made.backend)),
        Some((&*first.id, "prod-shop-1"))
    );
    let old = deployment(&store, &app(), &first.id).await;
    assert_eq!((old.status, old.made), (Status::Undeployed, None));
    let keys = application(&store, &app()).await.keys;
    assert_eq!(keys, ["backends/prod-shop-2/backend"]);

    let again = desk.deploy(descriptor(&app(), "1"), Some(&first.id), "me").await.unwrap();
    assert_eq!((&again.id, &again.created, again.status), (&first.id, &first.created, Status::Deploying));
    let denied = desk.deploy(descriptor(&app(), "2"), Some(&second.id), "me").await.unwrap_err();
    assert!(matches!(&denied, Denied::Busy { id, .. } if *id == first.id), "{denied:?}");
    end(&desk, Status::Deployed).await;
    assert_eq!(application(&store, &app()).await.live, Some(first.id));
}

#[tokio::test(start_paused = true)]
async fn names_that_hyphens_make_the_same_are_refused() {
    let store = store();
    let (desk, _pump) = desk(&store);
    run(&desk, &Name::new("a-b", "c"), "1", Status::Deployed).await;
    run(&desk, &Name::new("a", "shop"), "blue-1", Status::Deployed).await;
    for (app, version, said) in [
        (Name::new("a", "b-c"), "1", "the backend a-b-c is the one of a-b/c"),
        (Name::new("a", "b"), "c", "the backend a-b-c is the one of a-b/c"),
        (Name::new("a-b", "c-1"), "2", "the backend a-b-c-1 is the one of a version of a-b/c"),
        (Name::new("a", "shop-blue"), "1", "the backend a-shop-blue-1 is the one of a version of a/shop"),
    ] {
        let denied = desk.deploy(descriptor(&app, version), None, "me").await.unwrap_err();
        conflict(said, &denied);
    }
    run(&desk, &Name::new("a", "shop-blue"), "2", Status::Deployed).await;
}

#[tokio::test(start_paused = true)]
async fn only_what_is_live_can_be_undeployed() {
    let store = store();
    let (desk, _pump) = desk(&store);
    let first = run(&desk, &app(), "1", Status::Deployed).await;
    let second = run(&desk, &app(), "2", Status::Deployed).await;
    conflict("not live", &desk.undeploy(&app(), &first.id, "me").await.unwrap_err());
    assert!(matches!(desk.undeploy(&app(), "x", "me").await, Err(Denied::NotFound(_))));
    let going = desk.undeploy(&app(), &second.id, "me").await.unwrap();
    assert_eq!((going.status, going.position.unwrap().task), (Status::Undeploying, Task::Undeploy));
    assert!(
        matches!(desk.undeploy(&app(), &second.id, "me").await, Err(Denied::Busy { id, .. }) if id == second.id)
    );
    end(&desk, Status::Undeployed).await;
    let over = application(&store, &app()).await;
    assert_eq!((over.live, over.open, over.keys), (None, None, Vec::new()));
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_done_any_more_is_not_asked() {
    use Stage::{Destroy, Detach, Flip, KeepWarm};
    let store = store();
    let (desk, _pump) = desk(&store);
    let begun = desk.deploy(descriptor(&app(), "1"), None, "me").await.unwrap();
    let mut charge = desk.take_begun().pop().unwrap();
    let (forward, back) = (Course::Forward, Course::Back);
    for (task, stage, course, ask, refused) in [
        (Task::Deploy, Flip, forward, Ask::Finish, None),
        (Task::Deploy, KeepWarm, forward, Ask::Finish, None),
        (Task::Deploy, KeepWarm, forward, Ask::Back, None),
        (Task::Deploy, Flip, back, Ask::Back, None),
        (Task::Deploy, Flip, back, Ask::Finish, Some("goes back already")),
        (Task::Deploy, Destroy, forward, Ask::Back, Some("cannot go back")),
        (Task::Deploy, Destroy, forward, Ask::Finish, Some("keeps nothing warm")),
        (Task::Undeploy, Detach, forward, Ask::Back, Some("cannot go back")),
    ] {
        store
            .commit(Transaction { operations: vec![delete_state(ask_key(&app()))], ..Transaction::default() })
            .await
            .unwrap();
        charge.deployment.position = Some(Position { stage, course, ..Position::first(task, 0) });
        charge.save(Transaction::default()).await.unwrap();
        let asked = desk.ask(&app(), &begun.id, ask, "me").await;
        match (refused, asked) {
            (None, Ok(())) => assert_eq!(desk.asked(&app(), &begun.id).0, Some(ask)),
            (Some(text), Err(denied)) => conflict(text, &denied),
            other => panic!("{stage} {course:?} {ask:?}: {other:?}"),
        }
    }
    assert!(matches!(desk.ask(&app(), "x", Ask::Back, "me").await, Err(Denied::NotFound(_))));
    charge.finish(Status::Failure, None).await.unwrap();
    conflict("not under way", &desk.ask(&app(), &begun.id, Ask::Back, "me").await.unwrap_err());
}

#[tokio::test(start_paused = true)]
async fn to_go_back_is_not_taken_back() {
    let store = store();
    let (desk, _pump) = desk(&store);
    let begun = desk.deploy(descriptor(&app(), "1"), None, "me").await.unwrap();
    desk.ask(&app(), &begun.id, Ask::Finish, "me").await.unwrap();
    desk.ask(&app(), &begun.id, Ask::Back, "me").await.unwrap();
    conflict("asked to go back", &desk.ask(&app(), &begun.id, Ask::Finish, "me").await.unwrap_err());
}

#[test]
fn who_is_refused_reads_how_to_end_it() {
    let position = |stage| Position { stage, ..Position::first(Task::Deploy, 1_000) };
    let check = |position: Position, text: &str| {
        let mut descriptor = descriptor(&app(), "2");
        descriptor.flip.keep_warm = Duration::from_secs(60);
        let record = Deployment {
            id: "x".into(),
            created: String::new(),
            last_modified: String::new(),
            version: "2".into(),
            status: Status::Deploying,
            descriptor,
            reason: None,
            position: Some(position),
            facts: Facts::default(),
            made: None,
        };
        let reason = busy_reason(&app(), "x", Some(&record));
        assert!(reason.contains(text) && reason.contains("deployment x of prod/shop"), "{reason}");
    };
    check(position(Stage::Ready), "in stage ready; ask it to go back");
    check(position(Stage::KeepWarm), "warm until 1970-01-01T00:01:01Z; ask it to finish");
    check(position(Stage::Destroy), "in stage destroy; it cannot go back");
    check(Position { course: Course::Back, ..position(Stage::Flip) }, "goes back and undoes flip");
    assert!(unix_ms(SystemTime::now()) > 0);
}

#[tokio::test(start_paused = true)]
async fn descriptors_are_stored_and_changed_by_version() {
    let store = store();
    let (desk, _pump) = desk(&store);
    let (id, version) = desk.store_descriptor(descriptor(&app(), "1"), None, None).await.unwrap();
    assert_eq!(desk.book().descriptor("prod", &id).unwrap().1.value.0.new_version, "1");
    let stored = desk.store_descriptor(descriptor(&app(), "2"), Some(&id), Some(version)).await.unwrap();
    assert!(stored.0 == id && stored.1 > version);
    {
        let book = desk.book();
        let kept = &book.descriptor("prod", &id).unwrap().1.value.0;
        assert_eq!((&*kept.id, &*kept.new_version, kept.created.is_empty()), (&*id, "2", false));
    }
    let denied = desk.store_descriptor(descriptor(&app(), "3"), Some(&id), Some(version)).await;
    assert_eq!(denied, Err(Denied::Changed(stored.1)));
    let other = Name::new("prod", "other");
    let denied = desk.store_descriptor(descriptor(&other, "3"), Some(&id), None).await.unwrap_err();
    conflict("appName cannot be changed", &denied);
    let denied = desk.store_descriptor(descriptor(&app(), "3"), Some("x"), None).await;
    assert!(matches!(denied, Err(Denied::NotFound(_))));
    desk.forget_descriptors(&app(), &[id, "x".into()]).await.unwrap();
    assert!(desk.book().descriptors.is_empty());
}

#[tokio::test(start_paused = true)]
async fn so_many_that_are_over_are_kept() {
    let store = store();
    let (desk, _pump) = desk(&store);
    let live = run(&desk, &app(), "live", Status::Deployed).await;
    let mut ids = Vec::new();
    for number in 0..retention::CLOSED_MAX + 3 {
        let begun = desk.deploy(descriptor(&app(), &format!("v{number}")), None, "me").await.unwrap();
        let mut charge = desk.take_begun().pop().unwrap();
        for line in 0..120 {
            charge.say(format!("line {line}"));
        }
        while !charge.said.is_empty() {
            charge.flush().await.unwrap();
        }
        charge.finish(Status::Failure, None).await.unwrap();
        desk.heard(charge.fence).await;
        ids.push(begun.id);
    }
    let begun = desk.deploy(descriptor(&app(), "last"), None, "me").await.unwrap();
    let book = desk.book();
    let kept = ids.iter().filter(|id| book.deployment("prod", id).is_some()).count();
    assert_eq!(kept, retention::CLOSED_MAX);
    for (id, is_kept) in ids.iter().zip([false, false, false, true, true]) {
        assert_eq!(book.deployment("prod", id).is_some(), is_kept);
        assert_eq!(book.log(&app(), id).next().is_some(), is_kept, "its log goes with it");
    }
    assert!(book.deployment("prod", &live.id).is_some() && book.deployment("prod", &begun.id).is_some());
}

#[tokio::test(start_paused = true)]
async fn only_what_is_over_is_forgotten() {
    let store = store();
    let (desk, _pump) = desk(&store);
    let live = run(&desk, &app(), "1", Status::Deployed).await;
    let failed = run(&desk, &app(), "2", Status::Failure).await;
    conflict(
        "is not over",
        &desk.forget_deployments(&app(), &[failed.id.clone(), live.id]).await.unwrap_err(),
    );
    assert!(desk.book().deployment("prod", &failed.id).is_some(), "nothing is removed then");
    desk.forget_deployments(&app(), &[failed.id.clone(), "x".into()]).await.unwrap();
    assert!(desk.book().deployment("prod", &failed.id).is_none());
    assert!(store.get(Area::State, &log_key(&app(), &failed.id, 1)).await.unwrap().1.is_none());
}

#[tokio::test(start_paused = true)]
async fn the_live_version_gets_another_number_of_pods() {
    let store = store();
    let (patches, conflicts) = (Arc::new(Mutex::new(Vec::new())), AtomicUsize::new(1));
    let seen = patches.clone();
    let client = cluster(move |method, path, body| {
        assert!(path.starts_with("/apis/apps/v1/namespaces/prod/deployments/shop-1"), "{path}");
        let metadata = json!({ "name": "shop-1", "uid": "uid", "resourceVersion": "9" });
        let object = json!({ "apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata });
        if method == "PATCH" {
            seen.lock().unwrap().push(body);
            if conflicts.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok()
            {
                return (409, json!({}));
            }
        }
        (200, object)
    });
    let (desk, _pump) = desk_of(&store, client);
    let live = run(&desk, &app(), "1", Status::Deployed).await;
    let scaled = desk.scale(&app(), &live.id, 5, "me").await.unwrap();
    assert_eq!(scaled.descriptor.replicas, 5);
    assert_eq!(deployment(&store, &app(), &live.id).await, scaled);
    let patch = json!({ "metadata": { "uid": "uid", "resourceVersion": "9" }, "spec": { "replicas": 5 } });
    assert_eq!(*patches.lock().unwrap(), [patch.clone(), patch]);

    assert!(matches!(desk.scale(&app(), &live.id, 0, "me").await, Err(Denied::Invalid(_))));
    assert!(matches!(desk.scale(&app(), "x", 5, "me").await, Err(Denied::NotFound(_))));
    let begun = desk.deploy(descriptor(&app(), "2"), None, "me").await.unwrap();
    assert!(
        matches!(desk.scale(&app(), &live.id, 5, "me").await, Err(Denied::Busy { id, .. }) if id == begun.id)
    );
}

#[tokio::test(start_paused = true)]
async fn a_store_that_is_away_is_said() {
    let memory = MemoryStore::new();
    let store: Arc<dyn Store> = Arc::new(memory.clone());
    let (desk, _pump) = desk(&store);
    memory.set_outage(Some("gone"));
    let denied = desk.deploy(descriptor(&app(), "1"), None, "me").await;
    assert!(matches!(&denied, Err(Denied::Away(text)) if text.contains("gone")), "{denied:?}");
}

#[tokio::test(start_paused = true)]
async fn a_namespace_does_not_fill_the_store() {
    let store = store();
    let (desk, _pump) = desk(&store);
    let mut large = descriptor(&app(), "1");
    large.kept.insert("email".into(), "x".repeat(512 * 1024).into());
    let most = NAMESPACE_BYTES_MAX / (512 * 1024);
    for _ in 0..most {
        desk.store_descriptor(large.clone(), None, None).await.unwrap();
    }
    conflict("64 MiB", &desk.store_descriptor(large.clone(), None, None).await.unwrap_err());
    conflict("64 MiB", &desk.deploy(descriptor(&app(), "1"), None, "me").await.unwrap_err());
    let other = Name::new("other", "shop");
    desk.deploy(descriptor(&other, "1"), None, "me").await.unwrap();
    let ids: Vec<String> = desk.book().descriptors.keys().map(|(_, id)| id.to_string()).collect();
    desk.forget_descriptors(&app(), &ids).await.unwrap();
    desk.deploy(descriptor(&app(), "1"), None, "me").await.unwrap();
}
