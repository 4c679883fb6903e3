//! The etcd store against a real server that is killed, frozen, wiped and restored.

use crate::support::etcd::Etcd;
use flipgate::model::Revision;
use flipgate::store::conformance::{Image, batch, delete, in_sync, next, put, run, snapshot, write};
use flipgate::store::etcd::{EtcdOptions, EtcdStore, Timing};
use flipgate::store::{Area, EtcdAccess, Event, LeaseChoice, Operation, Store, StoreError, Transaction};
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(20);

fn options(etcd: &Etcd) -> EtcdOptions {
    EtcdOptions::new(vec![etcd.endpoint()])
}

fn store(etcd: &Etcd) -> EtcdStore {
    EtcdStore::new(options(etcd)).unwrap()
}

/// Checks often, so that a test need not wait.
fn brisk(etcd: &Etcd) -> EtcdStore {
    let timing = Timing { check: Duration::from_millis(300), ..Timing::default() };
    EtcdStore::new(EtcdOptions { timing, ..options(etcd) }).unwrap()
}

async fn within<T>(limit: Duration, what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(limit, future).await.unwrap_or_else(|_| panic!("{what}: not within {limit:?}"))
}

async fn put_one(store: &EtcdStore, key: &str, value: &str) -> Revision {
    store.commit(write(vec![put(Area::Routing, key, value)])).await.unwrap()
}

async fn lost(feed: &mut flipgate::store::Feed) -> String {
    match next(feed).await {
        Event::Lost { reason } => reason,
        other => panic!("expected an outage, got {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn conforms() {
    let etcd = Etcd::start().await;
    let count = AtomicUsize::new(0);
    within(Duration::from_secs(120), "conformance", async {
        run(|| {
            let timing = Timing { check: Duration::from_millis(500), ..Timing::default() };
            let prefix = format!("/conformance-{}", count.fetch_add(1, Ordering::Relaxed));
            let store = EtcdStore::new(EtcdOptions { timing, prefix, ..options(&etcd) }).unwrap();
            async move { (Arc::new(store) as Arc<dyn Store>, ()) }
        })
        .await;
    })
    .await;
}

#[tokio::test]
async fn a_put_is_an_event_within_milliseconds() {
    let etcd = Etcd::start().await;
    let store = store(&etcd);
    let mut feed = store.follow(Area::Routing);
    snapshot(&mut feed).await;
    put_one(&store, "backends/warm", "{}").await;
    batch(&mut feed).await;
    let mut times = Vec::new();
    for n in 0..200 {
        let value = n.to_string();
        let began = Instant::now();
        let (revision, seen) = tokio::join!(put_one(&store, "backends/b", &value), batch(&mut feed));
        times.push(began.elapsed());
        assert_eq!(seen.revision, revision);
    }
    times.sort();
    println!("put to event: median {:?}, p99 {:?}, max {:?}", times[100], times[197], times[199]);
    assert!(times[100] < Duration::from_millis(100));
}

#[tokio::test]
async fn killed_and_restarted_it_goes_on_where_it_was() {
    let mut etcd = Etcd::start().await;
    let store = store(&etcd);
    let mut feed = store.follow(Area::Routing);
    snapshot(&mut feed).await;
    let one = put_one(&store, "backends/a", "1").await;
    assert_eq!(batch(&mut feed).await.revision, one);
    in_sync(&mut feed, one).await;
    let began = Instant::now();
    etcd.kill();
    let reason = lost(&mut feed).await;
    println!("killed: noticed after {:?}: {reason}", began.elapsed());
    assert!(began.elapsed() < Duration::from_millis(500), "{:?}", began.elapsed());
    let refused = store.commit(write(vec![put(Area::Routing, "backends/b", "1")])).await;
    assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
    etcd.restart().await;
    let began = Instant::now();
    let two = put_one(&store, "backends/b", "2").await;
    assert_eq!(batch(&mut feed).await.revision, two);
    println!("back: seen after {:?}", began.elapsed());
    assert!(began.elapsed() < Duration::from_secs(2));
    in_sync(&mut feed, two).await;
}

#[tokio::test]
async fn compacted_while_cut_off_it_lists_anew() {
    let mut etcd = Etcd::start().await;
    let store = brisk(&etcd);
    let mut feed = store.follow(Area::Routing);
    snapshot(&mut feed).await;
    put_one(&store, "backends/a", "1").await;
    batch(&mut feed).await;
    // The feed is cut off by never being read: its server dies, comes back, changes and compacts before the next try.
    etcd.kill();
    lost(&mut feed).await;
    etcd.restart_soon();
    let mut client = etcd.client().await;
    let mut put_raw = async |key: &str| loop {
        if client.put(format!("/flipgate/{key}"), "2", None).await.is_ok() {
            return client.clone();
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    put_raw("backends/b").await;
    let mut client = put_raw("backends/c").await;
    let revision = client.delete("/flipgate/backends/a", None).await.unwrap().header().unwrap().revision();
    client.compact(revision, None).await.unwrap();
    let mut image = Image::default();
    let wanted = |image: &Image| image.keys.len() == 2 && image.keys.contains_key("backends/c");
    image.until(&mut feed, PATIENCE, wanted).await;
    let after = put_one(&store, "backends/d", "3").await;
    image.until(&mut feed, PATIENCE, |image| image.revision >= after).await;
    assert_eq!(image.keys.len(), 3);
}

#[tokio::test]
async fn a_start_that_was_compacted_is_listed_anew_without_an_outage() {
    let etcd = Etcd::start().await;
    let timing = Timing {
        slow_reader: Duration::from_millis(200),
        check: Duration::from_millis(300),
        ..Timing::default()
    };
    let store = EtcdStore::new(EtcdOptions { timing, ..options(&etcd) }).unwrap();
    let mut feed = store.follow(Area::Routing);
    snapshot(&mut feed).await;
    // Nobody reads the feed: its watch is given up, and what it would have told is compacted.
    let mut last = Revision(0);
    for n in 0..400 {
        last = put_one(&store, &format!("backends/b{n}"), "1").await;
    }
    tokio::time::sleep(Duration::from_millis(400)).await;
    for n in 0..400 {
        last = put_one(&store, &format!("backends/b{n}"), "2").await;
    }
    let mut client = etcd.client().await;
    client.compact(i64::try_from(last.0).unwrap(), None).await.unwrap();
    let mut image = Image::default();
    image.until(&mut feed, PATIENCE, |image| image.revision >= last).await;
    assert_eq!((image.keys.len(), image.snapshots, image.losses), (400, 1, 0));
    assert!(image.keys.values().all(|value| value == "2"));
}

#[tokio::test]
async fn wiped_it_tells_that_everything_is_gone() {
    let mut etcd = Etcd::start().await;
    let store = brisk(&etcd);
    let mut feed = store.follow(Area::Routing);
    snapshot(&mut feed).await;
    for n in 0..5 {
        put_one(&store, &format!("backends/b{n}"), "1").await;
        batch(&mut feed).await;
    }
    etcd.wipe();
    lost(&mut feed).await;
    etcd.restart_soon();
    let empty = within(PATIENCE, "the empty store", snapshot(&mut feed)).await;
    assert!(empty.entries.is_empty());
    let revision = put_one(&store, "backends/new", "1").await;
    assert_eq!(batch(&mut feed).await.revision, revision);
    assert!(revision < Revision(6));
}

#[tokio::test]
async fn a_restored_backup_is_told_even_when_its_revision_has_caught_up() {
    let mut etcd = Etcd::start().await;
    put_one(&store(&etcd), "backends/old", "1").await;
    let backup = etcd.backup();
    etcd.restart().await;
    // The feed comes back when the restored store is already past what it saw.
    let timing =
        Timing { check: Duration::from_millis(300), retry: Duration::from_secs(4), ..Timing::default() };
    let store = EtcdStore::new(EtcdOptions { timing, ..options(&etcd) }).unwrap();
    let mut feed = store.follow(Area::Routing);
    assert_eq!(within(PATIENCE, "the first list", snapshot(&mut feed)).await.entries.len(), 1);
    let later = put_one(&store, "backends/later", "1").await;
    assert_eq!(batch(&mut feed).await.revision, later);
    etcd.restore(&backup);
    assert!(!lost(&mut feed).await.is_empty());
    etcd.restart().await;
    let mut past = Revision(0);
    for n in 0..20 {
        let write = write(vec![put(Area::State, &format!("history/{n}"), "{}")]);
        past = store.commit(write).await.unwrap();
    }
    assert!(past > later);
    let restored = within(PATIENCE, "the restored list", snapshot(&mut feed)).await;
    let keys: Vec<_> = restored.entries.iter().map(|entry| &*entry.key).collect();
    assert_eq!(keys, ["backends/old"]);
    let now = put_one(&store, "backends/now", "1").await;
    assert_eq!(batch(&mut feed).await.revision, now);
}

#[tokio::test]
async fn a_frozen_server_is_noticed() {
    let etcd = Etcd::start().await;
    let store = store(&etcd);
    let mut feed = store.follow(Area::Routing);
    let first = snapshot(&mut feed).await;
    in_sync(&mut feed, first.revision).await;
    etcd.freeze();
    let began = Instant::now();
    let reason = lost(&mut feed).await;
    println!("frozen: noticed after {:?}: {reason}", began.elapsed());
    assert!(began.elapsed() < Duration::from_secs(6), "{:?}", began.elapsed());
    let refused = store.list(Area::Routing).await;
    assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
    etcd.thaw();
    let revision = put_one(&store, "backends/a", "1").await;
    assert_eq!(within(PATIENCE, "the batch", batch(&mut feed)).await.revision, revision);
}

#[tokio::test]
async fn an_idle_connection_is_not_closed_for_its_pings() {
    let etcd = Etcd::start().await;
    let store = store(&etcd);
    let mut feed = store.follow(Area::Routing);
    let mut image = Image::default();
    let idle = image.until(&mut feed, Duration::from_secs(13), |_| false);
    // `until` panics when its time is up, which is what is wanted here.
    let ended = tokio::time::timeout(Duration::from_secs(12), idle).await;
    assert!(ended.is_err());
    assert_eq!((image.snapshots, image.losses), (1, 0));
    put_one(&store, "backends/a", "1").await;
}

#[tokio::test]
async fn large_values_and_large_lists_arrive() {
    let etcd = Etcd::start_with(&["--max-request-bytes=8388608"]).await;
    let store = store(&etcd);
    let mut feed = store.follow(Area::Routing);
    snapshot(&mut feed).await;
    let large = "x".repeat(2 * 1024 * 1024);
    let revision = put_one(&store, "backends/large", &large).await;
    let seen = batch(&mut feed).await;
    assert_eq!(seen.revision, revision);
    // Three of them in one revision: etcd splits the answer, and the feed joins it.
    let three = (0..3).map(|n| put(Area::Routing, &format!("backends/l{n}"), &large)).collect();
    let revision = store.commit(write(three)).await.unwrap();
    let seen = batch(&mut feed).await;
    assert_eq!((seen.revision, seen.changes.len()), (revision, 3));
    // More than one message may hold.
    for n in 0..40 {
        put_one(&store, &format!("backends/m{n}"), &large).await;
    }
    let listed = store.list(Area::Routing).await.unwrap();
    assert_eq!(listed.entries.len(), 44);
    let too_large = "x".repeat(9 * 1024 * 1024);
    let refused = store.commit(write(vec![put(Area::Routing, "backends/no", &too_large)])).await;
    assert!(
        matches!(&refused, Err(StoreError::Refused(why)) if why.contains("--max-request-bytes")),
        "{refused:?}"
    );
}

#[tokio::test]
async fn split_answers_are_joined() {
    let mut etcd = Etcd::start().await;
    let timing =
        Timing { check: Duration::from_millis(300), retry: Duration::from_secs(4), ..Timing::default() };
    let store = EtcdStore::new(EtcdOptions { timing, ..options(&etcd) }).unwrap();
    let mut feed = store.follow(Area::Routing);
    snapshot(&mut feed).await;
    put_one(&store, "backends/a", "1").await;
    let first = batch(&mut feed).await.revision;
    etcd.kill();
    lost(&mut feed).await;
    etcd.restart().await;
    // While the feed waits for its next try: more than one answer of etcd's holds.
    let large = "x".repeat(300 * 1024);
    let mut last = first;
    for n in 0..12 {
        let four = (0..4).map(|m| put(Area::Routing, &format!("backends/b{n}-{m}"), &large)).collect();
        last = store.commit(write(four)).await.unwrap();
    }
    let mut client = etcd.client().await;
    let options = etcd_client::WatchOptions::new()
        .with_prefix()
        .with_start_revision(i64::try_from(first.0).unwrap())
        .with_fragment();
    let mut watch = client.watch("/flipgate/", Some(options)).await.unwrap();
    let mut split = false;
    while !split {
        split = within(PATIENCE, "a part", watch.message()).await.unwrap().unwrap().0.fragment;
    }
    for n in 1..=12 {
        let seen = within(PATIENCE, "what was missed", batch(&mut feed)).await;
        assert_eq!((seen.revision.0, seen.changes.len()), (first.0 + n, 4));
    }
    in_sync(&mut feed, last).await;
}

#[tokio::test]
async fn a_prefix_never_reads_its_neighbours() {
    let etcd = Etcd::start().await;
    let mut client = etcd.client().await;
    for key in ["vulcand/backends/a", "vulcand2/backends/b", "/vulcand/backends/c", "vulcand", "vulcandx"] {
        client.put(key, "{}", None).await.unwrap();
    }
    let of = |prefix: &str| EtcdStore::new(EtcdOptions { prefix: prefix.into(), ..options(&etcd) }).unwrap();
    let vulcand = of("vulcand");
    let mut feed = vulcand.follow(Area::Routing);
    let first = snapshot(&mut feed).await;
    assert_eq!(first.entries.len(), 1);
    client.put("vulcand2/backends/d", "{}", None).await.unwrap();
    client.put("vulcand/backends/d", "{}", None).await.unwrap();
    assert_eq!(batch(&mut feed).await.changes.len(), 1);
    assert_eq!(vulcand.twin_prefix().await, Ok(None));
    for (prefix, twin) in [("/vulcand2", Some("vulcand2")), ("/vulcand", None), ("/vulcan", None)] {
        let said = of(prefix).twin_prefix().await.unwrap();
        assert_eq!(said.is_some(), twin.is_some(), "{prefix} {said:?}");
        assert!(twin.is_none_or(|twin| said.unwrap().contains(&format!("\"{twin}\""))));
    }
}

#[tokio::test]
async fn no_event_is_lost_over_restarts() {
    const PUTS: usize = 2000;
    let mut etcd = Etcd::start().await;
    let store = Arc::new(brisk(&etcd));
    let mut feed = store.follow(Area::Routing);
    let mut image = Image::default();
    image.until(&mut feed, PATIENCE, |image| image.snapshots == 1).await;
    let writer = {
        let store = store.clone();
        tokio::spawn(async move {
            for n in 0..PUTS {
                let one = match n % 7 {
                    6 => delete(Area::Routing, &format!("backends/b{}", n % 50)),
                    _ => put(Area::Routing, &format!("backends/b{}", n % 50), &n.to_string()),
                };
                while store.commit(write(vec![one.clone()])).await.is_err() {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
            put_one(&store, "backends/last", "1").await
        })
    };
    for _ in 0..3 {
        let from = image.revision.0;
        image.until(&mut feed, PATIENCE, |image| image.revision.0 > from + 300).await;
        etcd.restart_soon();
    }
    image.until(&mut feed, Duration::from_secs(60), |image| image.keys.contains_key("backends/last")).await;
    let last = writer.await.unwrap();
    assert_eq!(image.revision, last);
    let listed = store.list(Area::Routing).await.unwrap();
    let mut want = Image::default();
    want.apply(Event::Snapshot(listed));
    assert_eq!(image.keys, want.keys);
    assert_eq!(image.snapshots, 1, "what could be resumed was listed");
}

#[tokio::test]
async fn the_next_end_point_is_used() {
    let etcd = Etcd::start().await;
    let dead = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let store = EtcdStore::new(EtcdOptions::new(vec![dead, etcd.endpoint()])).unwrap();
    let mut feed = store.follow(Area::Routing);
    assert!(lost(&mut feed).await.contains("refused"));
    within(Duration::from_secs(2), "the other end point", snapshot(&mut feed)).await;
    put_one(&store, "backends/a", "1").await;
    batch(&mut feed).await;
}

#[tokio::test]
async fn logins_are_renewed_and_rights_are_respected() {
    // Tokens of a second; every change of users makes older ones invalid.
    let etcd = Etcd::start_with(&["--auth-token=simple", "--auth-token-ttl=1"]).await;
    let mut client = etcd.client().await;
    client.user_add("root", "root", None).await.unwrap();
    client.user_grant_role("root", "root").await.unwrap();
    client.user_add("gate", "secret", None).await.unwrap();
    client.role_add("gate").await.unwrap();
    let range = etcd_client::PermissionType::Readwrite;
    let permission = etcd_client::Permission::new(range, "/flipgate/").with_range_end("/flipgate0");
    client.role_grant_permission("gate", permission).await.unwrap();
    client.user_grant_role("gate", "gate").await.unwrap();
    client.auth_enable().await.unwrap();
    let mut root = etcd.client_as("root", "root").await;

    let dir = tempfile::tempdir().unwrap();
    let password_file = dir.path().join("password");
    std::fs::write(&password_file, "secret\n").unwrap();
    let access = EtcdAccess {
        user: Some("gate".into()),
        password_file: Some(password_file.clone()),
        ..EtcdAccess::default()
    };
    let timing = Timing {
        check: Duration::from_millis(500),
        retry_denied: Duration::from_secs(1),
        ..Timing::default()
    };
    let store = EtcdStore::new(EtcdOptions { access, timing, ..options(&etcd) }).unwrap();
    let mut feed = store.follow(Area::Routing);
    let mut state = store.follow(Area::State);
    let first = snapshot(&mut feed).await;
    in_sync(&mut feed, first.revision).await;
    let denied = lost(&mut state).await;
    assert!(denied.contains("not permitted"), "{denied}");
    let refused = store.commit(write(vec![put(Area::State, "members/a", "{}")])).await;
    assert!(matches!(refused, Err(StoreError::Denied(_))), "{refused:?}");
    assert!(root.get("/flipgate.state/flipgate/members/a", None).await.unwrap().kvs().is_empty());

    tokio::time::sleep(Duration::from_millis(2500)).await;
    let revision = put_one(&store, "backends/a", "1").await;
    assert_eq!(batch(&mut feed).await.revision, revision);
    root.user_add("another", "x", None).await.unwrap();
    let revision = put_one(&store, "backends/a", "2").await;
    assert_eq!(batch(&mut feed).await.revision, revision);
    in_sync(&mut feed, revision).await;

    let permission =
        etcd_client::Permission::new(range, "/flipgate.state/").with_range_end("/flipgate.state0");
    root.role_grant_permission("gate", permission).await.unwrap();
    within(PATIENCE, "the state, once permitted", snapshot(&mut state)).await;

    std::fs::write(&password_file, "wrong").unwrap();
    let access =
        EtcdAccess { user: Some("gate".into()), password_file: Some(password_file), ..EtcdAccess::default() };
    let wrong = EtcdStore::new(EtcdOptions { access, ..options(&etcd) }).unwrap();
    let refused = wrong.list(Area::Routing).await;
    assert!(matches!(&refused, Err(StoreError::Denied(why)) if !why.contains("wrong")), "{refused:?}");
}

#[tokio::test]
async fn connections_are_encrypted_and_both_sides_prove_who_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let ca_key = rcgen::KeyPair::generate().unwrap();
    let mut ca = rcgen::CertificateParams::new(Vec::<String>::new()).unwrap();
    ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca_file = file("ca.pem", &ca.self_signed(&ca_key).unwrap().pem());
    let issuer = rcgen::Issuer::new(ca, ca_key);
    let issue = |name: &str| {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params =
            rcgen::CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
        params.extended_key_usages =
            vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth, rcgen::ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = params.signed_by(&key, &issuer).unwrap();
        (file(&format!("{name}.pem"), &certificate.pem()), file(&format!("{name}.key"), &key.serialize_pem()))
    };
    let (server, server_key) = issue("server");
    let (client, client_key) = issue("client");
    let access = EtcdAccess {
        ca: Some(ca_file.clone()),
        certificate: Some(client),
        key: Some(client_key),
        ..EtcdAccess::default()
    };
    let etcd = Etcd::start_encrypted(&server, &server_key, &ca_file).await;
    let store = EtcdStore::new(EtcdOptions { access: access.clone(), ..options(&etcd) }).unwrap();
    let mut feed = store.follow(Area::Routing);
    within(PATIENCE, "the first list", snapshot(&mut feed)).await;
    let revision = put_one(&store, "backends/a", "1").await;
    assert_eq!(batch(&mut feed).await.revision, revision);

    let access = EtcdAccess { certificate: None, key: None, ..access };
    let unproven = EtcdStore::new(EtcdOptions { access, ..options(&etcd) }).unwrap();
    assert!(unproven.list(Area::Routing).await.is_err());
    let mut feed = unproven.follow(Area::Routing);
    let reason = lost(&mut feed).await;
    println!("without a certificate: {reason}");
    assert!(reason.contains(&etcd.endpoint()), "{reason}");
}

#[tokio::test]
async fn a_conflict_gives_its_lease_back() {
    let etcd = Etcd::start().await;
    let store = store(&etcd);
    let transaction = Transaction {
        expect: vec![(Area::State, "alive/a".into(), flipgate::store::Expected::Present)],
        operations: vec![Operation::Put {
            area: Area::State,
            key: "alive/a".into(),
            value: "{}".into(),
            lease: LeaseChoice::Ttl(Duration::from_secs(60)),
        }],
    };
    assert_eq!(store.commit(transaction).await, Err(StoreError::Conflict { key: "alive/a".into() }));
    assert!(etcd.client().await.leases().await.unwrap().leases().is_empty());
}
