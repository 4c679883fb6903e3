//! The machine's clock jumps, and its disk is full, read-only or damaged.

use super::scene::{HOST, Scene};
use crate::edge::curl;
use crate::support::keys::frontend;
use crate::support::{Connection, Flipgate, Keys, Mode, Pod, TestAuthority, figure, get, shared, until};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

const MOST: Duration = Duration::from_secs(20);

/// The read timeout of a backend that never answers.
const READ_SECONDS: f64 = 2.0;

/// libfaketime for programs with threads: Debian's `faketime`.
fn library() -> PathBuf {
    let places = std::fs::read_dir("/usr/lib").unwrap().flatten().map(|entry| entry.path());
    let mut found =
        places.map(|place| place.join("faketime/libfaketimeMT.so.1")).filter(|path| path.exists());
    found.next().expect("libfaketime (Debian's faketime; tests/tools.sh installs it)")
}

/// A host whose clients need a certificate, and a backend that times out.
fn put_more(keys: &mut Keys, authority: &TestAuthority, server: &Value, stuck: &Pod) -> i64 {
    let mut host = server.clone();
    host["Settings"]["Default"] = json!(false);
    host["Settings"]["ClientAuth"] = json!({"Mode": "required", "CA": authority.certificate});
    keys.put("hosts/needs.example/host", &host);
    keys.put_frontend("needs", "Host(`needs.example`)", "shop-blue");
    let read = format!("{READ_SECONDS}s");
    keys.put("backends/stuck/backend", &json!({"Type": "http", "Settings": {"Timeouts": {"Read": read}}}));
    keys.put("backends/stuck/servers/a", &stuck.server());
    keys.put_frontend("stuck", "Host(`stuck.example`)", "stuck")
}

#[test]
fn p06_the_wall_clock_jumps() {
    let _machine = shared();
    let dir = tempfile::tempdir().unwrap();
    let (clock, log) = (dir.path().join("clock"), dir.path().join("access.json"));
    let set = |offset: &str| std::fs::write(&clock, format!("{offset}\n")).unwrap();
    set("+0");
    let keys = Keys::start_with(&["--unsafe-no-fsync"]);
    let url = keys.url();
    let mut scene = Scene::with(keys, &url, |builder| {
        let library = library();
        let faked = [
            ("LD_PRELOAD", library.to_str().unwrap()),
            ("FAKETIME_TIMESTAMP_FILE", clock.to_str().unwrap()),
            ("FAKETIME_CACHE_DURATION", "1"),
            // What timers go by stays true, as it does when an administrator sets the clock.
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
            ("DONT_FAKE_MONOTONIC", "1"),
        ];
        let builder = builder.arguments(&["--access-log", log.to_str().unwrap()]);
        faked.iter().fold(builder, |builder, (name, value)| builder.variable(name, value))
    });
    let stuck = Pod::start("stuck-0");
    stuck.mode(Mode::Silent);
    let authority = TestAuthority::new("ours");
    let client = authority.client("client", 10);
    let certificate = crate::support::TestCertificate::of(&[HOST, "needs.example"]);
    let last = put_more(&mut scene.keys, &authority, &certificate.host(false), &stuck);
    scene.flipgate.admin().served(last);
    let pair = client.write_pair(dir.path(), "client.pem");
    let let_in = |scene: &Scene| {
        let port = scene.secure.port();
        let resolve = format!("needs.example:{port}:127.0.0.1");
        let url = format!("https://needs.example:{port}/");
        curl(&["-k", "--cert", pair.to_str().unwrap(), "--resolve", &resolve, &url]).status == 200
    };
    let load = scene.load();
    let now = year(&log);
    for (offset, years, certificate_is_good) in
        [("+0", 0, true), ("+1d", 0, true), ("-1d", 0, true), ("+36525d", 100, false), ("+0", 0, true)]
    {
        let begin = Instant::now();
        let mut waiting = Connection::open(scene.address);
        waiting.send(b"GET / HTTP/1.1\r\nHost: stuck.example\r\n\r\n");
        set(offset);
        let answer = waiting.answer();
        let seconds = begin.elapsed().as_secs_f64();
        assert_eq!(answer.status, 504, "{offset}: {}", answer.text());
        assert!(seconds > READ_SECONDS * 0.9 && seconds < READ_SECONDS + 6.0, "{offset}: {seconds} s");
        until(&format!("{offset}: the log follows the clock"), MOST, || {
            (year(&log) == now + years).then_some(())
        });
        until(&format!("{offset}: certificates are judged by it"), MOST, || {
            (let_in(&scene) == certificate_is_good).then_some(())
        });
        scene.flips(2, Duration::from_millis(20));
    }
    assert!(!scene.flipgate.output().contains("panicked"), "{}", scene.flipgate.output());
    load.stop_well("P06");
}

/// Of the last whole line of an access log.
fn year(log: &Path) -> i32 {
    until("a line of the log", MOST, || {
        let text = std::fs::read_to_string(log).ok()?;
        let line = text[..text.rfind('\n')?].lines().last()?;
        serde_json::from_str::<Value>(line).ok()?["time"].as_str()?.get(..4)?.parse().ok()
    })
}

#[test]
fn p06_a_monotonic_clock_of_years() {
    let _machine = shared();
    let pod = Pod::start("blue-0");
    let stuck = Pod::start("stuck-0");
    stuck.mode(Mode::Silent);
    let mut keys = Keys::start();
    keys.put_listener();
    keys.put_backend("shop", &[pod.address()]);
    keys.put_frontend("shop", &format!("Host(`{HOST}`)"), "shop");
    keys.put("backends/stuck/backend", &json!({"Type": "http", "Settings": {"Timeouts": {"Read": "1s"}}}));
    keys.put("backends/stuck/servers/a", &stuck.server());
    let last = keys.put("frontends/stuck/frontend", &frontend("Host(`stuck.example`)", "stuck"));
    let years = (20_i64 * 365 * 86_400).to_string();
    let shift = ["unshare", "--time", "--monotonic", &years, "--boottime", &years];
    let can = Command::new(shift[0]).args(&shift[1..]).args(["--fork", "true"]).output();
    if !can.is_ok_and(|output| output.status.success()) {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "no time namespaces");
        println!("SKIPPED, no clocks of the test's own, which takes root with CAP_SYS_ADMIN");
        return;
    }
    let under = [&shift[..], &["--fork", "--kill-child", "--"]].concat();
    let flipgate = Flipgate::on(&keys.url()).under(&under).ready();
    flipgate.admin().served(last);
    let address = flipgate.address("http");
    assert_eq!(get(address, HOST, "/").status, 200);
    let begin = Instant::now();
    assert_eq!(get(address, "stuck.example", "/").status, 504);
    let seconds = begin.elapsed().as_secs_f64();
    assert!(seconds > 0.9 && seconds < 8.0, "{seconds} s");
}

/// A file system of 1 MiB in memory, mounted until dropped.
struct Mount(PathBuf);

impl Mount {
    /// `None` where this is not allowed, which is said, and fails in continuous integration.
    fn small(at: &Path) -> Option<Self> {
        std::fs::create_dir_all(at).unwrap();
        let done = mount(&["-t", "tmpfs", "-o", "size=1m,mode=700", "tmpfs", at.to_str().unwrap()]);
        if done {
            return Some(Self(at.to_owned()));
        }
        assert!(std::env::var("CI").as_deref() != Ok("true"), "nothing can be mounted");
        println!("SKIPPED, no file system of the test's own, which takes root with CAP_SYS_ADMIN");
        None
    }

    fn remount(&self, how: &str) {
        assert!(mount(&["-o", &format!("remount,{how}"), self.0.to_str().unwrap()]), "remount {how}");
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).output();
    }
}

fn mount(arguments: &[&str]) -> bool {
    Command::new("mount").args(arguments).output().is_ok_and(|output| output.status.success())
}

/// Waits for the alarm: a listed problem, counted, and a line of the log.
fn alarmed(scene: &Scene, words: &str) {
    let tells = |problem: &Value| {
        problem["reason"].as_str().is_some_and(|reason| reason.contains("image") && reason.contains(words))
    };
    scene.flipgate.admin().problem(words, tells);
    assert!(scene.metric("flipgate_problems") >= 1.0);
    assert!(scene.flipgate.output().contains(words), "not logged:\n{}", scene.flipgate.output());
}

/// Keys worth more than half a MiB on the disk.
fn put_much(keys: &mut Keys, host: &str) -> i64 {
    let note = "x".repeat(4_000);
    let one = |number: usize| {
        let mut value = frontend(&format!("Host(`{host}{number}.example`)"), "shop-blue");
        value["Settings"] = json!({"Hostname": note});
        (format!("frontends/{host}{number}/frontend"), value)
    };
    keys.put_many(&(0..300).map(one).collect::<Vec<_>>())
}

#[test]
fn p07_a_disk_that_is_full() {
    let _machine = shared();
    let dir = tempfile::tempdir().unwrap();
    let Some(_disk) = Mount::small(dir.path()) else { return };
    let keys = Keys::start_with(&["--unsafe-no-fsync"]);
    let url = keys.url();
    let mut scene = Scene::with(keys, &url, |builder| builder.data_dir(dir.path()));
    let load = scene.load();
    let last = put_much(&mut scene.keys, "much");
    scene.flipgate.admin().served(last);
    alarmed(&scene, "written");
    scene.flips(3, Duration::from_millis(50));
    load.stop_well("P07, full");
    scene.flipgate.kill();
}

#[test]
fn p07_a_disk_that_is_read_only() {
    let _machine = shared();
    let dir = tempfile::tempdir().unwrap();
    let Some(disk) = Mount::small(dir.path()) else { return };
    let keys = Keys::start_with(&["--unsafe-no-fsync"]);
    let url = keys.url();
    let mut scene = Scene::with(keys, &url, |builder| builder.data_dir(dir.path()));
    assert!(scene.flipgate.stop().success());
    disk.remount("ro");
    // What is there is read all the same.
    scene.keys.kill();
    scene.flipgate.start_again();
    scene.flipgate.wait_ready(MOST);
    let load = scene.load();
    scene.keys.restart();
    scene.wait_connected(true, MOST);
    scene.flips(3, Duration::from_millis(50));
    alarmed(&scene, "written");
    scene.flips(3, Duration::from_millis(50));
    load.stop_well("P07, read-only");
    scene.flipgate.kill();
}

/// Each byte flipped and cuts at each length are in the journal's own tests; here a process meets some.
#[test]
fn p07_a_damaged_image_counts_for_none_and_the_older_one_is_used() {
    let _machine = shared();
    let mut scene = Scene::start();
    let dir = scene.flipgate.data_dir();
    // Green at the end of the first generation, blue in the second.
    scene.flip();
    assert!(scene.flipgate.stop().success());
    scene.flipgate.start_again();
    scene.flipgate.wait_ready(MOST);
    scene.flip();
    assert!(scene.flipgate.stop().success());
    scene.keys.kill();
    let files = read_all(&dir);
    let newest = files.keys().rfind(|path| is_base(path)).expect("an image").clone();
    assert_eq!(files.keys().filter(|path| is_base(path)).count(), 2);
    let whole = files[&newest].clone();
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 1;
    for (how, bytes) in
        [("flipped", flipped), ("cut", whole[..whole.len() - 1].to_vec()), ("empty", Vec::new())]
    {
        // The start before this one left a newer image.
        read_all(&dir).keys().for_each(|path| std::fs::remove_file(path).unwrap());
        files.iter().for_each(|(path, bytes)| std::fs::write(path, bytes).unwrap());
        std::fs::write(&newest, bytes).unwrap();
        scene.flipgate.start_again();
        scene.flipgate.wait_ready(MOST);
        let seconds = scene.flipgate.started().elapsed().as_secs_f64();
        assert!(figure("failures P07: ready from the older image", seconds, "s", how, 1.0));
        assert_eq!(scene.asked(), "green", "{how}: the older image");
        let name = newest.file_name().unwrap().to_str().unwrap();
        let tells = |problem: &Value| problem["reason"].as_str().is_some_and(|reason| reason.contains(name));
        scene.flipgate.admin().problem(name, tells);
        scene.flipgate.kill();
    }
}

fn is_base(path: &Path) -> bool {
    path.extension().is_some_and(|end| end == "base")
}

/// The files of a data directory, oldest image first.
fn read_all(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let files = std::fs::read_dir(dir).unwrap().flatten().map(|entry| entry.path());
    files.map(|path| (path.clone(), std::fs::read(path).unwrap())).collect()
}
