use super::*;
use crate::deployer::machine::{Ask, Course, Task};
use crate::deployer::record::{Asked, Deployment, Status, ask_key, lock_key};
use crate::deployer::testing::{Process, Script, app, application, deployment, descriptor, process, until};
use crate::store::memory::MemoryStore;
use crate::store::{LeaseChoice, Operation, Store, Transaction};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

type Act = dyn for<'a> Fn(&'a mut Charge) -> BoxFuture<'a, Result<Look, Trouble>> + Send + Sync;

fn at(charge: &Charge) -> (Course, Stage) {
    charge.deployment.position.as_ref().map(|at| (at.course, at.stage)).unwrap()
}

/// Leaves a key in the table for each stage that is done, and takes it away when it is undone.
fn marks<'a>(charge: &'a mut Charge) -> BoxFuture<'a, Result<Look, Trouble>> {
    Box::pin(async move {
        let (course, stage) = at(charge);
        let (area, key): (_, Box<str>) =
            (Area::Routing, format!("done/{}/{stage}", charge.deployment.version).into());
        let operation = match course {
            Course::Forward => Operation::Put { area, key, value: "{}".into(), lease: LeaseChoice::Without },
            Course::Back => Operation::Delete { area, key },
        };
        charge.save(Transaction { operations: vec![operation], ..Transaction::default() }).await?;
        Ok(Look::Done)
    })
}

/// As [`marks`], but that one stage comes to `look`.
fn but(stage: Stage, look: Look) -> Box<Act> {
    Box::new(move |charge| match at(charge) {
        (Course::Forward, found) if found == stage => {
            let look = look.clone();
            Box::pin(async move { Ok(look) })
        }
        _ => marks(charge),
    })
}

/// As [`marks`], but a stage hangs once the test says so, and says so in turn.
fn hangs(stage: (Course, Stage), hung: &Arc<AtomicBool>, also_after: bool) -> Box<Act> {
    let hung = hung.clone();
    Box::new(move |charge| {
        let hung = hung.clone();
        Box::pin(async move {
            if at(charge) == stage {
                if also_after {
                    marks(charge).await?;
                }
                hung.store(true, Ordering::SeqCst);
                std::future::pending::<()>().await;
            }
            if at(charge) == (Course::Forward, Stage::Drain) && stage.0 == Course::Back {
                return Ok(Look::Failed("no".into()));
            }
            marks(charge).await
        })
    })
}

async fn over(store: &Arc<dyn Store>, id: &str) -> Deployment {
    until("it is over", async || !deployment(store, &app(), id).await.status.is_open()).await;
    deployment(store, &app(), id).await
}

async fn begin(process: &Process, version: &str) -> String {
    process.desk.deploy(descriptor(&app(), version), None, "me").await.unwrap().id
}

fn memory() -> (MemoryStore, Arc<dyn Store>) {
    let memory = MemoryStore::new();
    (memory.clone(), Arc::new(memory))
}

/// What stages have left in the table.
fn left(memory: &MemoryStore, version: &str) -> Vec<String> {
    let start = format!("done/{version}/");
    let all = memory.snapshot(Area::Routing).entries;
    all.iter().filter_map(|entry| entry.key.strip_prefix(&start).map(str::to_owned)).collect()
}

fn all_stages() -> Vec<String> {
    let mut all: Vec<String> = Task::Deploy.stages().iter().map(ToString::to_string).collect();
    all.sort_unstable();
    all
}

/// What goes back leaves what has no undo.
fn without_undo(all: &[String]) -> bool {
    let has_undo =
        |name: &String| Task::Deploy.stages().iter().any(|it| it.has_undo() && it.as_str() == name);
    !all.iter().any(has_undo)
}

fn nothing_is_held(memory: &MemoryStore) {
    for entry in memory.snapshot(Area::State).entries {
        let is_held = entry.key.starts_with("deployer/locks/") || entry.key.starts_with("deployer/asks/");
        assert!(!is_held, "{}", entry.key);
    }
}

#[tokio::test(start_paused = true)]
async fn from_version_to_version_and_away() {
    let (memory, store) = memory();
    let one = process(&store, "one", Box::new(marks));
    let first = begin(&one, "1").await;
    assert_eq!(over(&store, &first).await.status, Status::Deployed);
    assert_eq!(left(&memory, "1"), all_stages());
    let second = begin(&one, "2").await;
    let live = over(&store, &second).await;
    assert_eq!((live.status, live.position, live.reason), (Status::Deployed, None, None));
    assert_eq!(deployment(&store, &app(), &first).await.status, Status::Undeployed);
    one.desk.undeploy(&app(), &second, "me").await.unwrap();
    assert_eq!(over(&store, &second).await.status, Status::Undeployed);
    let found = application(&store, &app()).await;
    assert_eq!((found.live, found.open, found.term), (None, None, 3));
    nothing_is_held(&memory);
    let log: Vec<String> = one.desk.book().log(&app(), &second).map(|(_, line)| line.text.clone()).collect();
    for line in [
        "validate: begins",
        "validate: done",
        "flip: begins",
        "version 2 is deployed",
        "detach: done",
        "version 2 is undeployed",
    ] {
        assert!(log.iter().any(|said| said == line), "{line}: {log:#?}");
    }
}

#[tokio::test(start_paused = true)]
async fn another_one_takes_over_at_every_stage() {
    let back: Vec<Stage> = Task::Deploy.stages().iter().rev().copied().filter(|it| it.has_undo()).collect();
    let forward = Task::Deploy.stages().iter().map(|stage| (Course::Forward, *stage));
    let stages: Vec<_> = forward.chain(back.into_iter().map(|stage| (Course::Back, stage))).collect();
    for (stage, also_after) in stages.into_iter().flat_map(|stage| [(stage, false), (stage, true)]) {
        let (memory, store) = memory();
        let hung = Arc::new(AtomicBool::new(false));
        let one = process(&store, "one", hangs(stage, &hung, also_after));
        let id = begin(&one, "1").await;
        until("it hangs", async || hung.load(Ordering::SeqCst)).await;
        drop(one);
        let fails = stage.0 == Course::Back;
        let act: Box<Act> =
            if fails { but(Stage::Drain, Look::Failed("no".into())) } else { Box::new(marks) };
        let other = process(&store, "other", act);
        let record = over(&store, &id).await;
        let (status, reason) =
            if fails { (Status::Failure, Some("drain: no")) } else { (Status::Deployed, None) };
        assert_eq!((record.status, record.reason.as_deref()), (status, reason), "{stage:?}");
        match fails {
            true => assert!(without_undo(&left(&memory, "1")), "{stage:?}: {:?}", left(&memory, "1")),
            false => assert_eq!(left(&memory, "1"), all_stages(), "{stage:?}"),
        }
        let found = application(&store, &app()).await;
        assert_eq!((found.term, &*found.holder, found.live.is_some()), (2, "other", !fails), "{stage:?}");
        nothing_is_held(&memory);
        let book = other.desk.book();
        assert!(book.log(&app(), &id).any(|(_, line)| line.text.contains("other takes over")), "{stage:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn who_slept_while_another_went_on_does_no_harm() {
    let (memory, store) = memory();
    let (hung, wakes) = (Arc::new(AtomicBool::new(false)), Arc::new(Notify::new()));
    let (told, woken) = (hung.clone(), wakes.clone());
    let late = Arc::new(Mutex::new(Vec::new()));
    let tried = late.clone();
    // A look that lasts for ever, with the signs of life that do not come through: as of a process that sleeps.
    let sleeper = process(
        &store,
        "sleeper",
        Box::new(move |charge| {
            let (told, woken, tried) = (told.clone(), woken.clone(), tried.clone());
            Box::pin(async move {
                if at(charge) == (Course::Forward, Stage::Flip) {
                    told.store(true, Ordering::SeqCst);
                    woken.notified().await;
                    let saved = marks(charge).await;
                    tried.lock().unwrap().push(saved.clone());
                    return saved;
                }
                marks(charge).await
            })
        }),
    );
    let id = begin(&sleeper, "1").await;
    until("it sleeps", async || hung.load(Ordering::SeqCst)).await;
    let other = process(&store, "other", Box::new(marks));
    memory.delete(Area::State, &lock_key(&app())).unwrap();
    until("it is taken over", async || application(&store, &app()).await.term == 2).await;
    assert_eq!(over(&store, &id).await.status, Status::Deployed);
    let before = (memory.snapshot(Area::State).entries, memory.snapshot(Area::Routing).entries);
    wakes.notify_one();
    until("it tried", async || !late.lock().unwrap().is_empty()).await;
    tokio::time::sleep(Duration::from_secs(30)).await;
    assert_eq!(*late.lock().unwrap(), [Err(Trouble::Lost(app()))]);
    assert_eq!((memory.snapshot(Area::State).entries, memory.snapshot(Area::Routing).entries), before);
    // It is none the worse for it.
    drop(other);
    let next = begin(&sleeper, "2").await;
    until("it sleeps again", async || left(&memory, "2").contains(&"register".to_owned())).await;
    wakes.notify_one();
    assert_eq!(over(&store, &next).await.status, Status::Deployed);
}

#[tokio::test(start_paused = true)]
async fn it_waits_while_the_store_is_away() {
    for stage in [Stage::Validate, Stage::Flip, Stage::Destroy] {
        let (memory, store) = memory();
        let (outage, once) = (memory.clone(), AtomicBool::new(true));
        let one = process(
            &store,
            "one",
            Box::new(move |charge| {
                if at(charge).1 == stage && once.swap(false, Ordering::SeqCst) {
                    outage.set_outage(Some("gone"));
                }
                marks(charge)
            }),
        );
        let id = begin(&one, "1").await;
        until("it is away", async || store.list(Area::State).await.is_err()).await;
        // Longer than any stage may take.
        tokio::time::sleep(Duration::from_secs(90)).await;
        memory.set_outage(None);
        let record = over(&store, &id).await;
        assert_eq!((record.status, left(&memory, "1")), (Status::Deployed, all_stages()), "{stage}");
        let lines = one.desk.book().log(&app(), &id).count();
        assert!(lines < 60, "{lines}");
        nothing_is_held(&memory);
    }
}

#[tokio::test(start_paused = true)]
async fn time_in_a_stage_does_not_count_while_nobody_answers() {
    let (_, store) = memory();
    let away = Arc::new(AtomicBool::new(true));
    let answers = away.clone();
    let one = process(
        &store,
        "one",
        Box::new(move |charge| match at(charge) {
            (Course::Forward, Stage::Ready) => {
                let away = answers.load(Ordering::SeqCst);
                Box::pin(std::future::ready(Ok(match away {
                    true => Look::Away("the API server does not answer".into()),
                    false => Look::Waits("1 of 2 pods".into()),
                })))
            }
            _ => marks(charge),
        }),
    );
    let id = begin(&one, "1").await;
    tokio::time::sleep(Duration::from_secs(300)).await;
    assert_eq!(deployment(&store, &app(), &id).await.position.unwrap().stage, Stage::Ready);
    away.store(false, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert_eq!(deployment(&store, &app(), &id).await.status, Status::Deploying);
    let record = over(&store, &id).await;
    assert_eq!(
        (record.status, record.reason.as_deref()),
        (Status::Failure, Some("ready: not in time: 1 of 2 pods"))
    );
    let book = one.desk.book();
    let waits = book.log(&app(), &id).filter(|(_, line)| line.text.contains("1 of 2 pods")).count();
    assert!(waits <= 3, "a line that was said is not said again: {waits}");
}

#[tokio::test(start_paused = true)]
async fn it_does_what_is_asked() {
    for (ask, status) in [(Ask::Back, Status::Failure), (Ask::Finish, Status::Deployed)] {
        let (memory, store) = memory();
        let one = process(&store, "one", but(Stage::KeepWarm, Look::Waits("it is kept warm".into())));
        let id = begin(&one, "1").await;
        let is_warm = async || {
            deployment(&store, &app(), &id).await.position.is_some_and(|at| at.stage == Stage::KeepWarm)
        };
        until("it is warm", is_warm).await;
        let asked = Instant::now();
        one.desk.ask(&app(), &id, ask, "me").await.unwrap();
        let record = over(&store, &id).await;
        assert!(asked.elapsed() < Duration::from_secs(1), "at once: {:?}", asked.elapsed());
        assert_eq!(record.status, status);
        nothing_is_held(&memory);
        if ask == Ask::Back {
            assert_eq!(record.reason.as_deref(), Some("it was asked to go back"));
            assert!(without_undo(&left(&memory, "1")));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_asked_is_taken_up_with_what_comes_of_it() {
    let (memory, store) = memory();
    let hung = Arc::new(AtomicBool::new(false));
    let one = process(&store, "one", hangs((Course::Back, Stage::Create), &hung, false));
    let id = begin(&one, "1").await;
    until("it hangs", async || hung.load(Ordering::SeqCst)).await;
    // It has gone back by itself: what is asked now is that it does so, and goes when it is over.
    one.desk.ask(&app(), &id, Ask::Back, "me").await.unwrap();
    assert!(store.get(Area::State, &ask_key(&app())).await.unwrap().1.is_some());
    drop(one);
    let _other = process(&store, "other", Box::new(marks));
    assert_eq!(over(&store, &id).await.status, Status::Failure);
    nothing_is_held(&memory);
}

#[tokio::test(start_paused = true)]
async fn what_is_asked_at_the_last_moment_is_not_passed_over() {
    let (memory, store) = memory();
    let asks = memory.clone();
    let one = process(
        &store,
        "one",
        Box::new(move |charge| {
            if at(charge) == (Course::Forward, Stage::KeepWarm) {
                // While the look lasts, which then comes to its end.
                let deployment = charge.deployment.id.clone();
                let asked = Asked { deployment, ask: Ask::Back, by: "me".into() };
                asks.put(Area::State, &ask_key(&app()), serde_json::to_vec(&asked).unwrap()).unwrap();
                return Box::pin(std::future::ready(Ok(Look::Done)));
            }
            marks(charge)
        }),
    );
    let id = begin(&one, "1").await;
    assert_eq!(over(&store, &id).await.status, Status::Failure);
    assert!(!left(&memory, "1").contains(&"destroy".to_owned()));
    nothing_is_held(&memory);
}

#[tokio::test(start_paused = true)]
async fn who_was_merely_cut_off_goes_on() {
    let (memory, store) = memory();
    let one = process(&store, "one", but(Stage::KeepWarm, Look::Waits("time".into())));
    let _other = process(&store, "other", Box::new(marks));
    let id = begin(&one, "1").await;
    for _ in 0..5 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        memory.set_outage(Some("gone"));
        tokio::time::sleep(Duration::from_secs(11)).await;
        let lock = lock_key(&app());
        assert!(
            memory.snapshot(Area::State).entries.iter().all(|entry| entry.key != lock),
            "its lock has ended"
        );
        memory.set_outage(None);
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert!(memory.snapshot(Area::State).entries.iter().any(|entry| entry.key == lock));
    }
    one.desk.ask(&app(), &id, Ask::Finish, "me").await.unwrap();
    assert_eq!(over(&store, &id).await.status, Status::Deployed);
    assert_eq!((application(&store, &app()).await.term, left(&memory, "1").len()), (1, 13));
}

#[tokio::test(start_paused = true)]
async fn who_ends_hands_over_at_once() {
    let (memory, store) = memory();
    let mut one = process(&store, "one", but(Stage::Ready, Look::Waits("pods".into())));
    let id = begin(&one, "1").await;
    let is_there =
        async || deployment(&store, &app(), &id).await.position.is_some_and(|at| at.stage == Stage::Ready);
    until("it waits", is_there).await;
    one.stop.cancel();
    (&mut one.task).await.unwrap();
    assert!(memory.snapshot(Area::State).entries.iter().all(|entry| *entry.key != *lock_key(&app())));
    assert!(deployment(&store, &app(), &id).await.status.is_open());
    let (_other, began) = (process(&store, "other", Box::new(marks)), Instant::now());
    over(&store, &id).await;
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_look_that_panics_is_looked_again() {
    let (_, store) = memory();
    let once = AtomicBool::new(true);
    let one = process(
        &store,
        "one",
        Box::new(move |charge| {
            assert!(!(at(charge).1 == Stage::Health && once.swap(false, Ordering::SeqCst)), "as asked");
            marks(charge)
        }),
    );
    let id = begin(&one, "1").await;
    assert_eq!(over(&store, &id).await.status, Status::Deployed);
    assert_eq!(application(&store, &app()).await.term, 2);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_undone_yet_is_tried_again_and_said() {
    let (_, store) = memory();
    let heals = Arc::new(AtomicBool::new(false));
    let healed = heals.clone();
    let one = process(
        &store,
        "one",
        Box::new(move |charge| match at(charge) {
            (Course::Forward, Stage::Ready) => Box::pin(std::future::ready(Ok(Look::Failed("ill".into())))),
            (Course::Back, Stage::Create) if !healed.load(Ordering::SeqCst) => {
                Box::pin(std::future::ready(Err(Trouble::Refused("not now".into()))))
            }
            _ => marks(charge),
        }),
    );
    let id = begin(&one, "1").await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    let stuck = deployment(&store, &app(), &id).await;
    assert_eq!(stuck.reason.as_deref(), Some("create: not now"));
    heals.store(true, Ordering::SeqCst);
    let record = over(&store, &id).await;
    assert_eq!((record.status, record.reason.as_deref()), (Status::Failure, Some("ready: ill")));
    drop(one);
}

#[test]
fn looks_can_be_shared() {
    fn check<T: Looks>() {}
    check::<Script>();
    check::<Real>();
}

#[tokio::test(start_paused = true)]
async fn time_in_which_nothing_can_be_written_does_not_count() {
    let (memory, store) = memory();
    // The stage itself does not ask the store.
    let one = process(&store, "one", but(Stage::Ready, Look::Waits("1 of 2 pods".into())));
    let id = begin(&one, "1").await;
    let is_there =
        async || deployment(&store, &app(), &id).await.position.is_some_and(|at| at.stage == Stage::Ready);
    until("it waits", is_there).await;
    memory.set_outage(Some("gone"));
    tokio::time::sleep(Duration::from_secs(120)).await;
    memory.set_outage(None);
    tokio::time::sleep(Duration::from_secs(15)).await;
    assert_eq!(deployment(&store, &app(), &id).await.status, Status::Deploying);
    assert_eq!(over(&store, &id).await.reason.as_deref(), Some("ready: not in time: 1 of 2 pods"));
}
