//! vulcand and Flipgate on the same keys, asked the same: what the client gets, which server is chosen and what reaches
//! it is equal, or stands in the list of [differences](super::differences).

use super::cases::{self, Ask, Kind, Set, Step};
use super::differences::{self, DIFFERENCES};
use super::secure::{SECURE_HOST, SealedPair};
use super::upstreams::{Upstreams, read_frame, write_frame};
use super::{PREFIX, Vulcand};
use crate::support::{Answer, Connection, Flipgate, Keys, free_port, get, shared, until};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Listeners in the store.
const LISTENERS: [&str; 4] = ["http", "scoped", "proxied", "secure"];

/// Sets that run beside each other; most of their time is waiting.
const THREADS: usize = 8;

/// Longest time until a written key is in force.
const FOLLOW_MAX: Duration = Duration::from_secs(15);

/// What one of both made of a request, by field: `status`, `server`, `body`, `answer.NAME`, `seen.line`, `seen.NAME`.
type Outcome = BTreeMap<String, String>;

/// Where requests of one side go.
struct Side<'a> {
    mark: char,
    listeners: BTreeMap<&'static str, SocketAddr>,
    upstreams: &'a Upstreams,
}

/// A difference that was found.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// `SET/NUMBER of the request`.
    pub case: String,
    pub field: String,
    /// `-` where there is none.
    pub vulcand: String,
    pub flipgate: String,
}

#[test]
fn both_answer_alike() {
    let _machine = shared();
    let sets = cases::all();
    let compared = sets.iter().filter(|set| !set.alone).collect::<Vec<_>>();
    let requests = compared.iter().map(|set| asks(set).count()).sum::<usize>();
    assert!(compared.len() >= 60 && requests >= 150, "cases were lost: {} sets, {requests}", compared.len());

    let upstreams = Upstreams::start();
    let mut keys = Keys::start().below(PREFIX);
    let places = places(&upstreams);
    let Some(pair) = SealedPair::new() else { return };
    put_common(&mut keys, &places);
    keys.put(&format!("hosts/{SECURE_HOST}/host"), &pair.host);
    put_all(&mut keys, sets.iter().filter(|set| !set.live), &places);
    let Some(vulcand) = Vulcand::start(&keys, &[&format!("-sealKey={}", pair.seal_key)]) else { return };
    let flipgate = |arguments: &[&str]| {
        let key_file = pair.seal_key_file();
        let moved = LISTENERS.map(|id| format!("--listener={id}=127.0.0.1:0"));
        let own = [&["--prefix", PREFIX, "--seal-key-file", &key_file], arguments].concat();
        Flipgate::on(&keys.url()).arguments(&own).arguments(&moved.each_ref().map(String::as_str)).ready()
    };
    let ours = flipgate(&[]);
    let ordered = flipgate(&["--route-order", "vulcand"]);
    let place = |name: &str| places.iter().find(|(other, _)| *other == name).unwrap().1;
    let theirs = LISTENERS.map(|id| (id, place(id)));
    put_all(&mut keys, sets.iter().filter(|set| set.live), &places);
    // Vulcand applies events in order and tells of none of them.
    let last = keys.put("frontends/last/frontend", &frontend("blue", "Host(`last.test`)"));
    until("vulcand has read everything", FOLLOW_MAX, || {
        (get(theirs[0].1, "last.test", "/").status == 200).then_some(())
    });

    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let side = |mark, listeners: [(&'static str, SocketAddr); 4]| {
        let mut listeners = BTreeMap::from(listeners);
        listeners.entry("secure").and_modify(|address| *address = pair.encrypted(&runtime, *address));
        Side { mark, listeners, upstreams: &upstreams }
    };
    let side_of = |mark, proxy: &Flipgate| {
        proxy.admin().served(last);
        side(mark, LISTENERS.map(|id| (id, proxy.address(id))))
    };
    let (theirs, ours) = (side('v', theirs), side_of('f', &ours));
    let ordered = side_of('o', &ordered);
    let found = Mutex::new(Vec::new());
    let wrong = Mutex::new(Vec::new());
    let next = AtomicUsize::new(0);
    let work = || {
        while let Some(set) = sets.get(next.fetch_add(1, Ordering::SeqCst)) {
            let reference = (!set.alone).then(|| theirs.run(set));
            let own = ours.run(set);
            wrong.lock().unwrap().extend(not_as_said(set, reference.as_ref().unwrap_or(&own)));
            let Some(reference) = reference else { continue };
            found.lock().unwrap().extend(compare(&set.name, set, &reference, &own));
            if set.order {
                let name = format!("{}+order", set.name);
                found.lock().unwrap().extend(compare(&name, set, &reference, &ordered.run(set)));
            }
        }
    };
    let begin = Instant::now();
    std::thread::scope(|scope| (0..THREADS).for_each(|_| drop(scope.spawn(work))));
    println!("asked in {:.1} s", begin.elapsed().as_secs_f64());
    drop(vulcand);
    let wrong = wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "not the answers that the cases say:\n{}", wrong.join("\n"));
    let problems = differences::judge(&found.into_inner().unwrap());
    assert!(problems.is_empty(), "{} problems:\n{}", problems.len(), problems.join("\n"));
    println!(
        "vulcand 2: {} key sets and {requests} requests compared, equal but for {} listed differences: ok",
        compared.len(),
        DIFFERENCES.len()
    );
}

fn places(upstreams: &Upstreams) -> Vec<(&'static str, SocketAddr)> {
    let mut places = upstreams.places();
    places.extend(LISTENERS.map(|id| (id, SocketAddr::from(([127, 0, 0, 1], free_port())))));
    places
}

fn frontend(backend: &str, route: &str) -> Value {
    json!({"Type": "http", "BackendId": backend, "Route": route})
}

/// The listeners, and the backends `blue` (server `a`), `green` (`b`) and `pair` (both).
fn put_common(keys: &mut Keys, places: &[(&'static str, SocketAddr)]) {
    let server = |name: &str| {
        let (_, address) = places.iter().find(|(other, _)| *other == name).unwrap();
        json!({"URL": format!("http://{address}")})
    };
    for id in LISTENERS {
        let (_, address) = places.iter().find(|(other, _)| *other == id).unwrap();
        let address = json!({"Network": "tcp", "Address": address.to_string()});
        let protocol = if id == "secure" { "https" } else { "http" };
        let mut listener = json!({"Protocol": protocol, "Address": address});
        if id == "scoped" {
            listener["Scope"] = json!("Host(`scope.test`) && Path(`/in`)");
        } else if id == "proxied" {
            listener["ProxyProtocol"] = json!("PROXY_V1");
            // Whose word counts; vulcand takes everybody's, and does not know this field.
            listener["ProxyProtocolFrom"] = json!(["127.0.0.0/8"]);
        }
        keys.put(&format!("listeners/{id}"), &listener);
    }
    for (id, servers) in [("blue", &["a"][..]), ("green", &["b"]), ("pair", &["a", "b"])] {
        keys.put(&format!("backends/{id}/backend"), &json!({"Type": "http"}));
        for name in servers {
            keys.put(&format!("backends/{id}/servers/{name}"), &server(name));
        }
    }
}

fn put_all<'a>(keys: &mut Keys, sets: impl Iterator<Item = &'a Set>, places: &[(&'static str, SocketAddr)]) {
    for (key, value) in sets.flat_map(|set| &set.keys) {
        let value = places.iter().fold(value.clone(), |value, (name, address)| {
            value.replace(&format!("{{{name}}}"), &address.to_string())
        });
        keys.put_bytes(key, value.into_bytes());
    }
}

impl Side<'_> {
    /// The outcomes of a set's requests, one each, in order.
    fn run(&self, set: &Set) -> Vec<Outcome> {
        let mut outcomes = Vec::new();
        let mut held: Vec<(usize, String, JoinHandle<Outcome>)> = Vec::new();
        let release = |held: &mut Vec<(usize, String, JoinHandle<Outcome>)>, outcomes: &mut Vec<Outcome>| {
            for (at, token, asked) in held.drain(..) {
                self.upstreams.release(&token);
                outcomes[at] = asked.join().unwrap();
            }
        };
        for step in &set.steps {
            let ask = match step {
                Step::Release => {
                    release(&mut held, &mut outcomes);
                    continue;
                }
                Step::Sleep(millis) => {
                    std::thread::sleep(Duration::from_millis(*millis));
                    continue;
                }
                Step::Ask(ask) => ask,
            };
            let address = self.listeners[ask.listener.as_str()];
            for _ in 0..ask.times {
                let token = format!("{}.{}.{}", self.mark, set.name, outcomes.len());
                let message = message(ask, &token);
                if ask.kind == Kind::Hold {
                    let to_head = ask.method == "HEAD";
                    let asked = std::thread::spawn(move || told(exchange(address, &message, to_head)));
                    until("the request is held or answered", FOLLOW_MAX, || {
                        (self.upstreams.holds(&token) || asked.is_finished()).then_some(())
                    });
                    held.push((outcomes.len(), token, asked));
                    outcomes.push(Outcome::new());
                } else if ask.kind == Kind::Websocket {
                    outcomes.push(websocket(address, &message));
                } else {
                    outcomes.push(told(exchange(address, &message, ask.method == "HEAD")));
                }
            }
        }
        release(&mut held, &mut outcomes);
        let mut names = self.upstreams.places();
        names.extend(self.listeners.iter().map(|(id, address)| (*id, *address)));
        for value in outcomes.iter_mut().flat_map(|outcome| outcome.values_mut()) {
            for (name, address) in &names {
                *value = value.replace(&address.to_string(), &format!("{{{name}}}"));
            }
        }
        outcomes
    }
}

/// The bytes of a request.
fn message(ask: &Ask, token: &str) -> Vec<u8> {
    let mut text = ask.proxy.as_ref().map(|line| format!("PROXY {line}\r\n")).unwrap_or_default();
    text.push_str(&format!("{} {} HTTP/1.1\r\n", ask.method, ask.target));
    for (name, value) in &ask.fields {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    text.push_str(&format!("X-Token: {token}\r\n"));
    match ask.kind {
        Kind::Plain => {}
        Kind::Hold => text.push_str("X-Hold: yes\r\n"),
        Kind::Websocket => text.push_str(
            "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
        ),
    }
    match &ask.body {
        Some(body) if ask.chunked => {
            text.push_str(&format!(
                "Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n",
                body.len()
            ));
        }
        Some(body) => text.push_str(&format!("Content-Length: {}\r\n\r\n{body}", body.len())),
        None => text.push_str("\r\n"),
    }
    text.into_bytes()
}

fn exchange(address: SocketAddr, message: &[u8], to_head: bool) -> std::io::Result<Answer> {
    let mut connection = Connection::try_open(address)?;
    connection.try_send(message)?;
    connection.try_answer(to_head)
}

/// What is compared of an answer: all but what frames it and the date.
fn told(answer: std::io::Result<Answer>) -> Outcome {
    let mut outcome = Outcome::new();
    let answer = match answer {
        Ok(answer) => answer,
        Err(_) => {
            outcome.insert("status".to_owned(), "0".to_owned());
            return outcome;
        }
    };
    outcome.insert("status".to_owned(), answer.status.to_string());
    for (name, value) in &answer.fields {
        let name = name.to_ascii_lowercase();
        let value = String::from_utf8_lossy(value);
        match name.as_str() {
            "date" | "connection" | "content-length" | "transfer-encoding" => {}
            "x-server" => drop(outcome.insert("server".to_owned(), value.into_owned())),
            _ => add(&mut outcome, format!("answer.{name}"), &value),
        }
    }
    match outcome.contains_key("server") && !answer.body.is_empty() {
        true => seen(&mut outcome, &answer.json()),
        false => add(&mut outcome, "body".to_owned(), &answer.text()),
    }
    outcome
}

fn add(outcome: &mut Outcome, field: String, value: &str) {
    match outcome.get_mut(&field) {
        Some(before) => before.push_str(&format!(" & {value}")),
        None => drop(outcome.insert(field, value.to_owned())),
    }
}

/// What a server says that it saw.
fn seen(outcome: &mut Outcome, told: &Value) {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    outcome.insert("seen.line".to_owned(), text(&told["line"]));
    outcome.insert("seen.body".to_owned(), text(&told["body"]));
    outcome.insert("seen.attempt".to_owned(), told["attempt"].to_string());
    for field in told["fields"].as_array().into_iter().flatten() {
        let name = text(&field[0]).to_ascii_lowercase();
        if name != "x-token" {
            add(outcome, format!("seen.{name}"), &text(&field[1]));
        }
    }
}

/// A handshake, what the server tells in its first message, and one message there and back.
fn websocket(address: SocketAddr, message: &[u8]) -> Outcome {
    let mut connection = Connection::open(address);
    connection.send(message);
    let answer = connection.answer();
    let is_open = answer.status == 101;
    let mut outcome = told(Ok(answer));
    if is_open {
        let mut stream = Exact(&mut connection);
        let first = read_frame(&mut stream).unwrap();
        seen(&mut outcome, &serde_json::from_str(&first).unwrap());
        let mut hello = Vec::new();
        write_frame(&mut hello, "hello", Some([1, 2, 3, 4])).unwrap();
        connection.send(&hello);
        let again = read_frame(&mut Exact(&mut connection)).unwrap();
        outcome.insert("body".to_owned(), again);
    }
    outcome
}

/// A connection to read frames from.
struct Exact<'a>(&'a mut Connection);

impl Read for Exact<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let most = buffer.len().min(1);
        self.0.read_exact(&mut buffer[..most])?;
        Ok(most)
    }
}

/// Requests of a set, each as often as it is sent.
fn asks(set: &Set) -> impl Iterator<Item = &Ask> {
    set.steps.iter().flat_map(|step| match step {
        Step::Ask(ask) => std::iter::repeat_n(ask, ask.times),
        _ => std::iter::repeat_n(EMPTY, 0),
    })
}

/// Never yielded.
static EMPTY: &Ask = &Ask {
    kind: Kind::Plain,
    method: String::new(),
    target: String::new(),
    times: 0,
    listener: String::new(),
    proxy: None,
    fields: Vec::new(),
    body: None,
    chunked: false,
    status: 0,
    server: None,
};

/// Answers that are not what the cases say of vulcand, or of Flipgate where it is asked alone.
fn not_as_said(set: &Set, outcomes: &[Outcome]) -> Vec<String> {
    let mut wrong = Vec::new();
    for (number, (ask, outcome)) in asks(set).zip(outcomes).enumerate() {
        let server = outcome.get("server").map(String::as_str);
        let fits = match ask.server.as_deref() {
            Some("any") => server.is_some(),
            expected => server == expected,
        };
        if outcome["status"] != ask.status.to_string() || !fits {
            let said = format!("{} {}", ask.status, ask.server.as_deref().unwrap_or("-"));
            wrong.push(format!("{}/{number} says {said}, and it is {outcome:?}", set.name));
        }
    }
    wrong
}

fn compare(name: &str, set: &Set, vulcand: &[Outcome], flipgate: &[Outcome]) -> Vec<Found> {
    let mut found = Vec::new();
    for (number, ((ask, theirs), ours)) in asks(set).zip(vulcand).zip(flipgate).enumerate() {
        // Where only one has asked a server, nothing else can be compared.
        let whole = theirs.contains_key("server") == ours.contains_key("server");
        let fields = theirs.keys().chain(ours.keys()).collect::<BTreeSet<_>>();
        let compared = |field: &&String| whole || matches!(field.as_str(), "status" | "server");
        for field in fields.into_iter().filter(compared) {
            // Which of several takes the first turn is nobody's promise; `Host` is the server's own address.
            let by_chance =
                ask.server.as_deref() == Some("any") && matches!(field.as_str(), "server" | "seen.host");
            let value = |outcome: &Outcome| outcome.get(field).cloned().unwrap_or_else(|| "-".to_owned());
            let (vulcand, flipgate) = (value(theirs), value(ours));
            if vulcand != flipgate && !by_chance && !say_nearly_the_same_time(&vulcand, &flipgate) {
                found.push(Found {
                    case: format!("{name}/{number}"),
                    field: field.clone(),
                    vulcand,
                    flipgate,
                });
            }
        }
    }
    found
}

/// Both end in a duration of Go's, and these differ by less than what may pass between both requests: `1m40s` and
/// `1m39.998s`.
fn say_nearly_the_same_time(one: &str, other: &str) -> bool {
    let split = |text: &str| {
        let (before, duration) = text.rsplit_once(' ').unwrap_or(("", text));
        seconds(duration).map(|seconds| (before.to_owned(), seconds))
    };
    match (split(one), split(other)) {
        (Some((one, a)), Some((other, b))) => one == other && (a - b).abs() < 5.0,
        _ => false,
    }
}

/// A duration as Go prints it.
fn seconds(text: &str) -> Option<f64> {
    let (mut sum, mut rest) = (0.0, text);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number = rest[..digits].parse::<f64>().ok()?;
        rest = &rest[digits..];
        let units = [("ms", 0.001), ("h", 3_600.0), ("m", 60.0), ("s", 1.0)];
        let (unit, size) = units.iter().find(|(unit, _)| rest.starts_with(unit))?;
        rest = &rest[unit.len()..];
        sum += number * size;
    }
    (!text.is_empty()).then_some(sum)
}

#[test]
fn durations_are_compared_with_some_room() {
    let check = |one: &str, other: &str, same: bool| {
        assert_eq!(say_nearly_the_same_time(one, other), same, "{one:?} {other:?}");
    };
    check("1m40s", "1m39.998s", true);
    check("retry-in 33.333333333s", "retry-in 33.3s", true);
    check("200ms", "1s", true);
    check("1m40s", "1m30s", false);
    check("a 1s", "b 1s", false);
    check("404", "405", false);
    check("-", "1s", false);
}
