//! HTTP/2 floods, F01 to F14: what a connection may cost, and when it is ended.

use super::h2::{Edge, Frames};
use crate::support::h2raw::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, ENHANCE_YOUR_CALM, HEADERS, PING, PREFACE, PRIORITY,
    RST_STREAM, RawHttp2, SETTINGS, block, frame, get, pseudo, request, reset, settings, window_update,
};
use crate::support::{Connection, Haproxy, Recorder, full, quantile, resident_bytes, scaled, shared, until};
use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const MIB: f64 = 1024.0 * 1024.0;
/// Growth of the process for one connection, and what may be left of it 5 s later, in MiB.
const GROWTH_MAX: f64 = 8.0;
const LEFT_MAX: f64 = 2.0;
/// Rounds that are sent at once.
const BATCH: u32 = 25;
/// Under load a machine that builds beside the tests is late by so much, and nobody's fault.
const LATE: f64 = 50.0;

/// One way to burden a connection.
struct Flood<'a> {
    name: &'static str,
    /// Sent after the preface.
    settings: &'a [(u16, u32)],
    /// What is sent once, then again and again.
    first: Vec<u8>,
    round: Frames<'a>,
    /// After so many rounds it is over.
    most: u32,
    /// The limits of which one ends it; none: hyper may end it before for breaking the protocol.
    limits: &'a [&'static str],
}

/// What a flood did.
struct Poured {
    rounds: u32,
    closed: bool,
    code: Option<u32>,
    growth: f64,
    left: f64,
}

impl Flood<'_> {
    /// The connection is ended in time and by the limit, holds little, leaves nothing, and nobody else notices.
    fn is_ended(&self) {
        let _shared = shared();
        let edge = Edge::new();
        let mut quiet = Others::ask(edge.address(), || std::thread::sleep(Duration::from_millis(300)));
        let mut poured = None;
        let mut beside = Others::ask(edge.address(), || {
            for _ in 0..scaled(2, 20) {
                poured = Some(self.pour(edge.address(), edge.flipgate.pid()));
            }
        });
        let poured = poured.unwrap();
        self.compare(&edge, &poured);
        assert!(poured.closed, "{}: open after {} rounds", self.name, poured.rounds);
        let calm = poured.code.is_none_or(|code| code == ENHANCE_YOUR_CALM);
        assert!(calm || self.limits.is_empty(), "{}: GOAWAY {:?}", self.name, poured.code);
        let reached = self.limits.iter().map(|limit| edge.reached(limit)).sum::<u64>();
        assert!(self.limits.is_empty() || reached > 0, "{}: none of {:?}", self.name, self.limits);
        assert!(poured.growth <= GROWTH_MAX, "{}: {:.1} MiB more", self.name, poured.growth);
        assert!(poured.left <= LEFT_MAX, "{}: {:.1} MiB left", self.name, poured.left);
        // A quick run has too few requests for more than their median.
        let share = scaled(0.5, 0.99);
        let (before, during) = (quantile(&mut quiet, share), quantile(&mut beside, share));
        println!("floods {}: others' quantile {share} is {during:.1} ms, quiet {before:.1} ms", self.name);
        assert!(during <= (2.0 * before).max(before + LATE), "{}: {before} ms, {during} ms", self.name);
        let mut client = RawHttp2::open(edge.address());
        client.send(&get(1));
        assert_eq!(client.outcome(1).status, 200, "{}", self.name);
    }

    fn compare(&self, edge: &Edge, ours: &Poured) {
        let say = |poured: &Poured| {
            let end = if poured.closed { "closed" } else { "open" };
            format!("growth {:.1} MiB, {end} after at most {} rounds", poured.growth, poured.rounds)
        };
        let theirs = full().then(|| {
            let haproxy = Haproxy::http2_before(edge.server.address());
            say(&self.pour(haproxy.address(), haproxy.pid()))
        });
        let theirs = theirs.map_or(String::new(), |theirs| format!("; haproxy {theirs}"));
        println!("floods {}: flipgate {}{theirs}", self.name, say(ours));
    }

    fn pour(&self, address: SocketAddr, pid: u32) -> Poured {
        let before = resident_bytes(pid);
        let grown = |before: u64| (resident_bytes(pid) as f64 - before as f64) / MIB;
        let mut client = RawHttp2::open_with(address, self.settings);
        let mut poured = Poured { rounds: 0, closed: false, code: None, growth: 0.0, left: 0.0 };
        let mut open = client.try_send(&self.first).is_ok();
        while open && poured.rounds < self.most {
            let bytes = (0..BATCH).flat_map(|index| (self.round)(poured.rounds + index)).collect::<Vec<_>>();
            open = client.try_send(&bytes).is_ok();
            poured.rounds += BATCH;
            open &= client.is_open();
            poured.growth = poured.growth.max(grown(before));
        }
        let late = Instant::now() + Duration::from_secs(10);
        while client.is_open() && Instant::now() < late {
            std::thread::sleep(Duration::from_millis(5));
            poured.growth = poured.growth.max(grown(before));
        }
        poured.closed = !client.is_open();
        poured.code = client.go_away();
        drop(client);
        let late = Instant::now() + Duration::from_secs(5);
        poured.left = grown(before);
        while poured.left > LEFT_MAX && Instant::now() < late {
            std::thread::sleep(Duration::from_millis(50));
            poured.left = grown(before);
        }
        poured
    }
}

/// Other clients.
struct Others;

impl Others {
    /// How long their requests take while something is done, in milliseconds.
    fn ask(address: SocketAddr, meanwhile: impl FnOnce()) -> Vec<f64> {
        let over = Arc::new(AtomicBool::new(false));
        let told = over.clone();
        let thread = std::thread::spawn(move || {
            let mut times = Vec::new();
            let mut connection = Connection::open(address);
            while !told.load(Ordering::SeqCst) || times.len() < 20 {
                let start = Instant::now();
                assert_eq!(connection.get("a.example", "/").unwrap().status, 200);
                times.push(start.elapsed().as_secs_f64() * 1000.0);
                std::thread::sleep(Duration::from_millis(2));
            }
            times
        });
        meanwhile();
        over.store(true, Ordering::SeqCst);
        thread.join().unwrap()
    }
}

/// Number of a client's stream.
fn id(round: u32) -> u32 {
    2 * round + 1
}

#[test]
fn f01_rapid_reset() {
    Flood {
        name: "F01",
        settings: &[],
        first: Vec::new(),
        round: &|round| [get(id(round)), reset(id(round), 8)].concat(),
        most: 1000,
        limits: &["h2_resets", "h2_oddities"],
    }
    .is_ended();
}

#[test]
fn f02_window_updates_of_nothing() {
    Flood {
        name: "F02",
        settings: &[],
        first: Vec::new(),
        round: &|round| [get(id(round)), window_update(id(round), 0)].concat(),
        most: 1000,
        limits: &[],
    }
    .is_ended();
}

#[test]
fn f03_windows_that_overflow() {
    Flood {
        name: "F03",
        settings: &[],
        first: Vec::new(),
        round: &|round| [get(id(round)), window_update(id(round), 0x7fff_ffff)].concat(),
        most: 1000,
        limits: &["h2_resets", "h2_window_updates", "h2_oddities"],
    }
    .is_ended();
}

#[test]
fn f04_priorities_that_are_none() {
    Flood {
        name: "F04 length",
        settings: &[],
        first: Vec::new(),
        round: &|round| [get(id(round)), frame(PRIORITY, 0, id(round), &[0; 4])].concat(),
        most: 1000,
        limits: &[],
    }
    .is_ended();
    Flood {
        name: "F04 itself",
        settings: &[],
        first: Vec::new(),
        round: &|round| {
            let priority = [id(round).to_be_bytes().as_slice(), &[5]].concat();
            [get(id(round)), frame(PRIORITY, 0, id(round), &priority)].concat()
        },
        most: 1000,
        limits: &["h2_resets", "h2_priorities", "h2_oddities"],
    }
    .is_ended();
}

#[test]
fn f05_frames_after_the_end() {
    let after = block(&[("x", "y")]);
    Flood {
        name: "F05 data",
        settings: &[],
        first: Vec::new(),
        round: &|round| [get(id(round)), frame(DATA, END_STREAM, id(round), &after)].concat(),
        most: 1000,
        limits: &[],
    }
    .is_ended();
    Flood {
        name: "F05 headers",
        settings: &[],
        first: Vec::new(),
        round: &|round| {
            [get(id(round)), frame(HEADERS, END_STREAM | END_HEADERS, id(round), &after)].concat()
        },
        most: 1000,
        limits: &[],
    }
    .is_ended();
}

#[test]
fn f06_continuations_with_fields() {
    let field = block(&[("x", "y".repeat(59))]);
    Flood {
        name: "F06",
        settings: &[],
        first: frame(HEADERS, END_STREAM, 1, &block(&pseudo("GET", "/"))),
        round: &|_| frame(CONTINUATION, 0, 1, &field),
        most: 4 * 1024,
        limits: &["h2_continuations", "h2_fields"],
    }
    .is_ended();
    // As many as fit into each frame.
    let fields = field.repeat(16_000 / field.len());
    Flood {
        name: "F06 large",
        settings: &[],
        first: frame(HEADERS, END_STREAM, 1, &block(&pseudo("GET", "/"))),
        round: &|_| frame(CONTINUATION, 0, 1, &fields),
        most: 100,
        limits: &["h2_continuations", "h2_fields"],
    }
    .is_ended();
}

#[test]
fn f07_empty_continuations() {
    Flood {
        name: "F07",
        settings: &[],
        first: frame(HEADERS, END_STREAM, 1, &block(&pseudo("GET", "/"))),
        round: &|_| frame(CONTINUATION, 0, 1, b""),
        most: 1500,
        limits: &["h2_continuations"],
    }
    .is_ended();
}

#[test]
fn f08_frames_that_carry_nothing() {
    let kinds: [(&'static str, Frames<'_>, &'static str); 5] = [
        ("F08 ping", &|_| frame(PING, 0, 0, &[0; 8]), "h2_pings"),
        ("F08 settings", &|_| frame(SETTINGS, 0, 0, b""), "h2_settings"),
        ("F08 unknown", &|_| frame(0xbb, 0, 0, b"any"), "h2_unknown"),
        ("F08 priority", &|_| frame(PRIORITY, 0, 3, &[0, 0, 0, 1, 5]), "h2_priorities"),
        ("F08 window", &|_| window_update(0, 1), "h2_window_updates"),
    ];
    for (name, round, limit) in kinds {
        Flood { name, settings: &[], first: Vec::new(), round, most: 10_000, limits: &[limit] }.is_ended();
    }
}

#[test]
fn f09_data_that_is_none() {
    let post = || request(1, &pseudo("POST", "/"), false);
    Flood {
        name: "F09 empty",
        settings: &[],
        first: post(),
        round: &|_| frame(DATA, 0, 1, b""),
        most: 1000,
        limits: &["h2_empty_frames"],
    }
    .is_ended();
    Flood {
        name: "F09 one byte",
        settings: &[],
        first: post(),
        round: &|_| frame(DATA, 0, 1, b"1"),
        most: 100_000,
        limits: &["h2_empty_frames"],
    }
    .is_ended();
}

/// A request that names one entry of the table again and again; the first one brings the entry.
fn bomb(stream: u32, name: &str, value: &str, references: usize) -> Vec<u8> {
    let mut fields = block(&pseudo("GET", "/"));
    if stream == 1 {
        fields.extend(
            [&[0x40, name.len() as u8], name.as_bytes(), &[value.len() as u8], value.as_bytes()].concat(),
        );
    }
    // 62, the entry that was added last.
    fields.extend(vec![0xbe; references]);
    frame(HEADERS, END_HEADERS | END_STREAM, stream, &fields)
}

fn bombs(name: &'static str, field: &'static str, value: &'static str) {
    Flood {
        name,
        settings: &[(4, 0)],
        first: Vec::new(),
        round: &|round| bomb(id(round), field, value, 8000),
        most: 3000,
        limits: &["h2_fields"],
    }
    .is_ended();
    // Just below what ends a connection: each is refused, and none holds what it stands for.
    let slim: &'static str = if field == "cookie" { "F11 slim" } else { "F10 slim" };
    Flood {
        name: slim,
        settings: &[(4, 0)],
        first: Vec::new(),
        round: &|round| bomb(id(round), field, value, 390),
        most: 3000,
        limits: &["h2_resets", "h2_oddities"],
    }
    .is_ended();
}

#[test]
fn f10_one_field_many_times() {
    bombs("F10", "a", "");
}

#[test]
fn f11_one_crumb_many_times() {
    bombs("F11", "cookie", "a=bcdefghijklmnopqrstuvwxyz");
}

#[test]
fn f12_windows_that_stay_closed() {
    let _shared = shared();
    let stall = scaled(Duration::from_secs(3), Duration::from_secs(25));
    let text = format!("{}s", stall.as_secs());
    let server = Recorder::with(|_, stream| {
        let head = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n".as_slice();
        stream.write_all(&[head, &[b'x'; 100]].concat()).is_ok()
    });
    let edge = Edge::to(server, &["--h2-stall-timeout", &text]);
    let mut client = RawHttp2::open_with(edge.address(), &[(4, 0)]);
    let start = Instant::now();
    for round in 0..100 {
        client.send(&get(id(round)));
    }
    let mut ended = Vec::new();
    let mut opened = Instant::now();
    let late = stall + Duration::from_secs(10);
    while ended.len() < 100 {
        assert!(start.elapsed() < late, "{} of 100 ended", ended.len());
        if opened.elapsed() >= stall / scaled(3, 6) {
            opened = Instant::now();
            for round in 0..100 {
                client.send(&window_update(id(round), 1));
            }
        }
        if let Ok(frame) = client.next(Duration::from_millis(100))
            && frame.kind == RST_STREAM
        {
            ended.push(start.elapsed());
        }
    }
    let last = ended.iter().max().unwrap().as_secs_f64();
    println!("floods F12: 100 streams ended after {last:.1} s at most (bound 30 s)");
    assert_eq!(edge.reached("h2_stall"), 100);
    // Their places are free.
    for round in 200..300 {
        client.send(&[get(id(round)), window_update(id(round), 100)].concat());
        assert_eq!(client.outcome(id(round)).body, [b'x'; 100]);
    }
}

#[test]
fn f13_settings_without_measure() {
    let _shared = shared();
    let edge = Edge::new();
    let pid = edge.flipgate.pid();
    let mut client = RawHttp2::open_with(edge.address(), &[(1, u32::MAX), (5, 0xff_ffff), (6, u32::MAX)]);
    assert!(client.answers());
    let before = resident_bytes(pid);
    for round in 0..scaled(300, 3000) {
        let fields = [pseudo("GET", "/").as_slice(), &[("x-number", "7")]].concat();
        client.send(&request(id(round), &fields, true));
        assert!(client.outcome(id(round)).ended);
    }
    let growth = (resident_bytes(pid) as f64 - before as f64) / MIB;
    println!("floods F13: growth {growth:.1} MiB");
    assert!(growth < 2.0, "{growth} MiB");
    // A thousand entries are borne, ten times as many at once are not.
    let entries = (0..1000).map(|index| (0x100 + index, 1)).collect::<Vec<_>>();
    client.send(&settings(&entries).repeat(10));
    assert_eq!(client.until_closed(Duration::from_secs(10)), Some(ENHANCE_YOUR_CALM));
    assert_eq!(edge.reached("h2_settings"), 1);
}

#[test]
fn f14_streams_without_end() {
    let _shared = shared();
    let edge = Edge::to(Recorder::start(), &["--h2-requests", "100000000"]);
    let pid = edge.flipgate.pid();
    let mut client = RawHttp2::open(edge.address());
    let (warm, most) = scaled((500, 5_000), (20_000, 1_000_000));
    let mut before = 0;
    for round in 0..most {
        if round == warm {
            before = resident_bytes(pid);
        }
        client.send(&get(id(round)));
        assert!(client.outcome(id(round)).ended);
    }
    let growth = (resident_bytes(pid) as f64 - before as f64) / MIB;
    println!("floods F14: growth {growth:.1} MiB over {most} streams");
    assert!(growth <= 1.0, "{growth} MiB");

    let edge = Edge::to(Recorder::start(), &["--h2-requests", "100"]);
    let mut client = RawHttp2::open(edge.address());
    for round in 0..100 {
        client.send(&get(id(round)));
        assert!(client.outcome(id(round)).ended);
    }
    assert_eq!(client.until_closed(Duration::from_secs(10)), Some(0));
    assert_eq!(edge.reached("h2_requests"), 1);
}

#[test]
fn a_preface_or_a_header_block_that_does_not_end() {
    let edge = Edge::to(Recorder::start(), &["--head-timeout", "1s"]);
    let most = Duration::from_secs(6);
    let mut client = RawHttp2::open(edge.address());
    client.send(&frame(HEADERS, END_STREAM, 1, &block(&pseudo("GET", "/"))));
    assert_eq!(client.until_closed(most), Some(ENHANCE_YOUR_CALM));
    let mut client = RawHttp2::silent(edge.address());
    client.send(&PREFACE[..20]);
    client.until_closed(most);
    assert_eq!(edge.server.connections(), 0);
    assert_eq!(edge.reached("head_time"), 1);
}

#[test]
fn a_body_that_does_not_begin() {
    let edge = Edge::to(Recorder::start(), &["--h2-stall-timeout", "2s"]);
    let mut client = RawHttp2::open(edge.address());
    client.send(&request(1, &pseudo("POST", "/"), false));
    assert_eq!(client.outcome(1).reset, Some(8));
    assert_eq!(edge.reached("body_time"), 1);
    until("the request to the server is broken off", Duration::from_secs(5), || {
        (edge.server.open_connections() == 0).then_some(())
    });
    client.send(&get(3));
    assert_eq!(client.outcome(3).status, 200);
}

#[test]
fn a_client_that_takes_no_bytes() {
    let large = Recorder::with(|_, stream| {
        let head = b"HTTP/1.1 200 OK\r\nContent-Length: 50000000\r\n\r\n";
        let piece = vec![b'x'; 100_000];
        stream.write_all(head).is_ok() && (0..500).all(|_| stream.write_all(&piece).is_ok())
    });
    let edge = Edge::to(large, &["--h2-stall-timeout", "2s"]);
    let mut client = RawHttp2::open_with(edge.address(), &[(4, 0x7fff_ffff)]);
    client.send(&[window_update(0, 0x7000_0000), get(1)].concat());
    until("the connection is ended", Duration::from_secs(20), || {
        (edge.reached("h2_stall") > 0).then_some(())
    });
    until("the server's too", Duration::from_secs(5), || (edge.server.open_connections() == 0).then_some(()));
    drop(client);
}
