use super::*;
use crate::deployer::desk::Desk;
use crate::deployer::machine::{Position, Stage, Task};
use crate::deployer::record::{Status, lock_key, log_key};
use crate::deployer::testing::{Forgetful, app, application, deployment, descriptor, no_cluster, until};
use crate::store::LeaseChoice;
use crate::store::memory::MemoryStore;
use std::sync::atomic::{AtomicUsize, Ordering};

const TTL: Duration = Duration::from_secs(10);

/// A charge that began a moment ago; the book knows of nothing.
async fn begin(store: &Arc<dyn Store>) -> Charge {
    let desk = Desk::new(store.clone(), no_cluster());
    desk.deploy(descriptor(&app(), "1"), None, "me").await.unwrap();
    desk.take_begun().pop().unwrap()
}

async fn lose(store: &Arc<dyn Store>) -> Charge {
    let operations = vec![delete_state(lock_key(&app()))];
    store.commit(Transaction { operations, ..Transaction::default() }).await.unwrap();
    take_over(store, &app(), "other", 0, TTL).await.unwrap()
}

fn routing(key: &str) -> Transaction {
    let (area, key, value) = (Area::Routing, key.into(), "{}".into());
    Transaction {
        operations: vec![Operation::Put { area, key, value, lease: LeaseChoice::Without }],
        ..Transaction::default()
    }
}

async fn log(store: &Arc<dyn Store>, id: &str) -> Vec<String> {
    let mut lines = Vec::new();
    for number in 1.. {
        let (_, entry) = store.get(Area::State, &log_key(&app(), id, number)).await.unwrap();
        let Some(entry) = entry else { break };
        lines.push(serde_json::from_slice::<LogLine>(&entry.value).unwrap().text);
    }
    lines
}

#[tokio::test(start_paused = true)]
async fn who_was_followed_writes_nothing() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let mut sleeper = begin(&store).await;
    assert_eq!(
        take_over(&store, &app(), "other", 0, TTL).await.err(),
        Some(Trouble::Changed("deployer/locks/prod/shop".into()))
    );
    let mut other = lose(&store).await;
    assert_eq!((other.application.term, &*other.application.holder), (sleeper.application.term + 1, "other"));
    let before = store.list(Area::State).await.unwrap();
    let lost = || Err(Trouble::Lost(app()));
    sleeper.deployment.reason = Some("late".into());
    sleeper.say("late");
    assert_eq!(sleeper.save(routing("frontends/late/frontend")).await, lost());
    assert_eq!(sleeper.flush().await, lost());
    assert_eq!(sleeper.finish(Status::Deployed, None).await, lost());
    sleeper.release().await;
    let after = store.list(Area::State).await.unwrap();
    assert_eq!(before, after);
    assert!(store.list(Area::Routing).await.unwrap().entries.is_empty());
    other.save(routing("frontends/in-time/frontend")).await.unwrap();
    assert_eq!(store.list(Area::Routing).await.unwrap().entries.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_write_whose_answer_is_lost_is_learned_of() {
    let forgetful = Arc::new(Forgetful { store: MemoryStore::new(), silent: AtomicUsize::new(0) });
    let store: Arc<dyn Store> = forgetful.clone();
    let mut charge = begin(&store).await;
    for settles in [false, true] {
        forgetful.silent.store(1, Ordering::SeqCst);
        charge.deployment.facts.flip = Some(format!("flip-{settles}"));
        assert!(matches!(charge.save(Transaction::default()).await, Err(Trouble::Away(_))));
        if settles {
            charge.settle().await.unwrap();
            assert_eq!(charge.deployment.facts.flip.as_deref(), Some("flip-true"), "it was written");
        }
        charge.deployment.facts.migration = Some("job".into());
        charge.save(Transaction::default()).await.unwrap();
        let stored = deployment(&store, &app(), &charge.deployment.id).await;
        assert_eq!(stored, charge.deployment);
    }
    forgetful.silent.store(1, Ordering::SeqCst);
    assert!(matches!(charge.finish(Status::Failure, None).await, Err(Trouble::Away(_))));
    assert_eq!(charge.settle().await, Ok(false), "it is over");
}

#[tokio::test(start_paused = true)]
async fn what_was_not_written_does_not_stay_in_memory() {
    let memory = MemoryStore::new();
    let store: Arc<dyn Store> = Arc::new(memory.clone());
    let mut charge = begin(&store).await;
    charge.deployment.facts.flip = Some("flip".into());
    memory.set_outage(Some("gone"));
    assert!(matches!(charge.save(Transaction::default()).await, Err(Trouble::Away(_))));
    assert!(matches!(charge.settle().await, Err(Trouble::Away(_))));
    memory.set_outage(None);
    assert_eq!(charge.settle().await, Ok(true));
    assert_eq!(charge.deployment.facts.flip, None);

    charge.deployment.facts.flip = Some("flip".into());
    let mut also = routing("frontends/a/frontend");
    also.expect.push((Area::Routing, "frontends/a/frontend".into(), Expected::Present));
    assert_eq!(charge.save(also).await, Err(Trouble::Changed("frontends/a/frontend".into())));
    assert_eq!(charge.settle().await, Ok(true));
    assert_eq!(charge.deployment.facts.flip, None);
    charge.save(Transaction::default()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_stage_that_writes_the_application_moves_the_fence() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let mut charge = begin(&store).await;
    charge.application.keys.push("hosts/x/host".into());
    let put = put_state(application_key(&app()), &charge.application);
    charge.save(Transaction { operations: vec![put], ..Transaction::default() }).await.unwrap();
    charge.save(Transaction::default()).await.unwrap();
    assert!(application(&store, &app()).await.keys.contains(&"hosts/x/host".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn only_a_new_stage_or_status_is_a_change() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let mut charge = begin(&store).await;
    "long ago".clone_into(&mut charge.deployment.last_modified);
    charge.save(Transaction::default()).await.unwrap();
    assert_eq!(charge.deployment.last_modified, "long ago");
    charge.deployment.position = Some(Position { stage: Stage::Flip, ..Position::first(Task::Deploy, 0) });
    charge.save(Transaction::default()).await.unwrap();
    assert_ne!(charge.deployment.last_modified, "long ago");
}

#[tokio::test(start_paused = true)]
async fn a_log_has_its_limits() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let mut charge = begin(&store).await;
    let id = charge.deployment.id.clone();
    for line in ["same", "same", "two\nlines", "same"] {
        charge.say(line);
    }
    charge.say("é".repeat(log::LINE_BYTES_MAX));
    charge.flush().await.unwrap();
    let lines = super::tests::log(&store, &id).await;
    assert_eq!(lines[1..4], ["same", "two lines", "same"]);
    assert!(lines[4].len() <= log::LINE_BYTES_MAX && lines[4].ends_with("é..."));
    for number in 0..3_000 {
        charge.say(format!("line {number}"));
    }
    for _ in 0..100 {
        charge.flush().await.unwrap();
    }
    let lines = super::tests::log(&store, &id).await;
    assert_eq!(u64::try_from(lines.len()), Ok(log::LINES_MAX));
    assert!(lines.last().unwrap().contains("the log ends here"));
    charge.say("more");
    assert!(charge.said.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_log_goes_on_where_it_ended_and_nothing_is_written_twice() {
    let forgetful = Arc::new(Forgetful { store: MemoryStore::new(), silent: AtomicUsize::new(0) });
    let store: Arc<dyn Store> = forgetful.clone();
    let mut charge = begin(&store).await;
    let id = charge.deployment.id.clone();
    charge.say("one");
    forgetful.silent.store(1, Ordering::SeqCst);
    charge.flush().await.unwrap_err();
    charge.say("two");
    charge.flush().await.unwrap();
    let mut other = lose(&store).await;
    other.say("three");
    other.save(Transaction::default()).await.unwrap();
    assert_eq!(log(&store, &id).await[1..], ["one", "two", "three"]);
}

#[tokio::test(start_paused = true)]
async fn a_sign_of_life_is_given_until_somebody_else_follows() {
    let memory = MemoryStore::new();
    let store: Arc<dyn Store> = Arc::new(memory.clone());
    let charge = begin(&store).await;
    let lock = async || store.get(Area::State, &lock_key(&app())).await.unwrap().1;
    let beat = beat(&charge, Timings::default());
    for _ in 0..40 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(lock().await.is_some());
    }
    memory.set_outage(Some("gone"));
    tokio::time::sleep(Duration::from_secs(30)).await;
    memory.set_outage(None);
    assert!(lock().await.is_none(), "nobody else noticed");
    until("the lock is there again", async || lock().await.is_some()).await;
    assert!(!beat.lost.is_cancelled());
    let _other = lose(&store).await;
    until("it is lost", async || beat.lost.is_cancelled()).await;
}

#[tokio::test(start_paused = true)]
async fn what_is_under_way_without_a_record_is_over() {
    let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
    let charge = begin(&store).await;
    let operations =
        vec![delete_state(deployment_key(&app(), &charge.deployment.id)), delete_state(lock_key(&app()))];
    store.commit(Transaction { operations, ..Transaction::default() }).await.unwrap();
    assert_eq!(take_over(&store, &app(), "other", 0, TTL).await.err(), Some(Trouble::Lost(app())));
    assert_eq!(application(&store, &app()).await.open, None);
}
