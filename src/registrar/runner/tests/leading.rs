//! One writes: whoever leads, and nobody else, whatever the clocks say.

use super::scene::{Scene, Trouble, endpoint_lists, service};
use crate::kubernetes::lease::Leadership;
use crate::store::Area;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::{Instant, sleep};

const FOREVER: Duration = Duration::from_secs(1_000_000);

fn many(count: usize) -> Scene {
    let scene = Scene::new();
    for n in 0..count {
        scene.see(service(&format!("s{n}"), Some(&format!("Host(`s{n}.example`)")), 1));
        scene.see(endpoint_lists(&format!("s{n}"), &["10.0.0.1 ready"]));
    }
    scene.listed();
    scene
}

#[tokio::test(start_paused = true)]
async fn who_follows_writes_nothing_and_takes_over_warm() {
    let scene = many(3);
    let first = scene.start("one");
    let second = scene.start_with("two", Leadership::Follows { holder: "one".to_owned() });
    scene.settled().await;
    second.until(|progress| progress.is_in_sync()).await;
    assert!(!second.progress().leading);
    // What another does is not kept until it ends.
    for round in 0..9 {
        scene.see(endpoint_lists("s1", &[&format!("10.0.1.{round} ready")]));
        scene.settled().await;
    }
    second.until(|progress| progress.revision == scene.store.revision() && progress.pending == 0).await;
    first.stop().await;
    scene.see(endpoint_lists("s0", &["10.0.0.2 ready"]));
    sleep(Duration::from_secs(60)).await;
    assert!(!scene.differences().is_empty());
    second.leadership.send_replace(Leadership::Leads { until: Instant::now() + FOREVER, term: 2 });
    scene.settled().await;
    second.stop().await;
}

#[tokio::test(start_paused = true)]
async fn who_slept_past_its_lease_cannot_write() {
    let scene = many(3);
    let first = scene.start("one");
    scene.settled().await;
    // Another took the lease over; the first one was stopped meanwhile, and does not know yet.
    let second = scene.start("two");
    second.until(|progress| progress.leading).await;
    scene.settled().await;
    let until = Instant::now() + Duration::from_secs(8);
    first.leadership.send_replace(Leadership::Leads { until, term: 1 });
    scene.delete("frontends/shop-s0/frontend");
    first.until(|progress| !progress.leading).await;
    scene.settled().await;
    sleep(Duration::from_secs(60)).await;
    assert!(second.progress().leading && !first.progress().leading);
    // A lease that is renewed again is a lease.
    second.leadership.send_replace(Leadership::Unknown);
    first.leadership.send_replace(Leadership::Leads { until: Instant::now() + FOREVER, term: 3 });
    scene.see(endpoint_lists("s0", &["10.0.0.2 ready"]));
    scene.settled().await;
    first.stop().await;
    second.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_long_queue_stops_with_the_leadership() {
    let scene = many(40);
    scene.trouble.operations_max.store(4, Ordering::Relaxed);
    let (tell, told) = std::sync::mpsc::channel::<tokio::sync::watch::Sender<Leadership>>();
    scene.trouble.on_routing(Trouble::Call(Box::new(|| {})));
    scene.trouble.on_routing(Trouble::Call(Box::new(move || {
        told.recv().unwrap().send_replace(Leadership::Unknown);
    })));
    let runner = scene.start("one");
    tell.send(runner.leadership.clone()).unwrap();
    scene.committed(2).await;
    runner.until(|progress| !progress.leading).await;
    sleep(Duration::from_secs(60)).await;
    assert_eq!(scene.trouble.commits.load(Ordering::Relaxed), 2);
    // As does one whose time has passed, though nobody tells.
    let until = Instant::now() + Duration::from_secs(2);
    runner.leadership.send_replace(Leadership::Leads { until, term: 2 });
    scene.settled().await;
    sleep(Duration::from_secs(3)).await;
    assert!(!runner.progress().leading);
    runner.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_epoch_of_another_in_the_middle_of_a_queue_ends_it() {
    let scene = many(40);
    scene.trouble.operations_max.store(4, Ordering::Relaxed);
    let store = scene.store.clone();
    scene.trouble.on_routing(Trouble::Call(Box::new(|| {})));
    scene.trouble.on_routing(Trouble::Call(Box::new(move || {
        store.put(Area::State, "registrar/kubernetes/leader", r#"{"Term": 9}"#).unwrap();
    })));
    let until = Instant::now() + Duration::from_secs(8);
    let runner = scene.start_with("one", Leadership::Leads { until, term: 1 });
    scene.committed(2).await;
    runner.until(|progress| !progress.leading).await;
    sleep(Duration::from_secs(60)).await;
    assert_eq!(scene.trouble.commits.load(Ordering::Relaxed), 2);
    runner.leadership.send_replace(Leadership::Leads { until: Instant::now() + FOREVER, term: 2 });
    scene.settled().await;
    let (_, epoch) =
        crate::store::Store::get(&scene.store, Area::State, "registrar/kubernetes/leader").await.unwrap();
    assert!(String::from_utf8_lossy(&epoch.unwrap().value).contains("\"Term\":10"));
    runner.stop().await;
}
