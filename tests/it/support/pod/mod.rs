//! Pods: processes of their own that serve HTTP/1.1 and HTTP/2 on one port, misbehave when told to, and know what
//! they were asked.
//!
//! A pod is this test program, started once more with a variable set; the test that follows is its main function.
//!
//! Told to end, a pod is polite: it accepts nothing more, finishes the requests that it has, says `Connection: close` to
//! them, closes what is idle, and exits with 0. [`Setup::environment`] makes it otherwise.

mod server;

use super::http::{Answer, Connection};
use super::process::Process;
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::process::{Command, ExitStatus};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tempfile::TempDir;

/// The variable that makes a process a pod. Its value is the pod's name.
const NAME: &str = "FLIPGATE_TEST_POD";

/// The variable for its colour, if that does not stand in its name.
const COLOUR: &str = "FLIPGATE_TEST_POD_COLOUR";

/// The variable for the addresses where it listens, divided by commas; else a free port of loopback.
const LISTEN: &str = "FLIPGATE_TEST_POD_LISTEN";

/// The variable that makes it tell what it is asked.
const ECHO: &str = "ECHO";

const START_MAX: Duration = Duration::from_secs(20);

#[test]
fn main_of_a_pod() {
    if let Ok(name) = std::env::var(NAME) {
        server::run(&name);
    }
}

/// How a pod is started, if not as usual.
#[derive(Debug, Clone, Default)]
pub struct Setup {
    /// Where it listens, if not on a free port of loopback. The first is its address.
    pub listen: Vec<SocketAddr>,
    /// Its colour, if not what stands before the last hyphen of its name.
    pub colour: Option<String>,
    /// Variables. It knows `ON_TERM`, which says what it does when told to end: `drain` as described above, `exit` at
    /// once with all that is open, `stay` until it is killed; and `LINGER_MILLIS`, for which it goes on accepting before
    /// it drains. With `ECHO` it answers with what it was asked, as JSON. With `EXIT_CODE` it ends by itself, after
    /// `RUN_MILLIS`, or soon. `HEALTH` says how it answers to `/health`: with JSON whose `healthy` is true (`ok`, or none
    /// given) or false (`sick`), after a minute (`slow`), or to `POST` alone (`post`). With `FAILING` it answers 500 to so
    /// many per thousand from the first.
    pub environment: Vec<(String, String)>,
}

/// What a pod does with requests that are not its own questions (`/pod/...`).
#[derive(Debug, Clone, Copy)]
pub enum Mode {
    /// Answers.
    Well,
    /// Accepts and never answers, not even checks.
    Silent,
    /// Resets the connection as soon as it is asked something.
    Reset,
    /// Answers 500 at once.
    Error,
    /// Answers after so many milliseconds.
    Slow(u64),
    /// Answers 500 to so many per thousand, and well to checks.
    Failing(u64),
    /// Answers 503 to checks, and everything else well.
    Sick,
}

/// What a pod was asked. Checks and the test's own questions do not count.
#[derive(Debug, Clone, Copy, serde::Deserialize)]
pub struct Stats {
    /// Requests whose heads were read.
    pub begun: u64,
    /// Those not answered yet.
    pub open: u64,
    /// Connections ever accepted that such a request came over.
    pub connections: u64,
    /// Requests begun since [`Pod::mark`].
    pub after_mark: u64,
    /// Requests begun later than the grace after [`Pod::mark`].
    pub late: u64,
    /// How often it was checked.
    pub checks: u64,
}

/// A running pod. Dropping it kills it; it ends by itself when the test program does.
pub struct Pod {
    name: String,
    address: SocketAddr,
    process: Mutex<Process>,
    _dir: TempDir,
}

impl Pod {
    /// One with a name like `green-1`, whose colour is what stands before the last hyphen.
    pub fn start(name: &str) -> Self {
        Self::start_all(&[name.to_owned()]).remove(0)
    }

    /// `count` of one colour.
    pub fn start_many(colour: &str, count: usize) -> Vec<Self> {
        Self::start_all(&(0..count).map(|number| format!("{colour}-{number}")).collect::<Vec<_>>())
    }

    /// Several that start beside each other.
    pub fn start_all(names: &[String]) -> Vec<Self> {
        let started = names.iter().map(|name| Self::spawn(name, &Setup::default())).collect::<Vec<_>>();
        started.into_iter().map(Self::listening).collect()
    }

    /// One that is set up otherwise.
    #[cfg(feature = "kubernetes")]
    pub fn start_as(name: &str, setup: &Setup) -> Self {
        Self::listening(Self::spawn(name, setup))
    }

    fn spawn(name: &str, setup: &Setup) -> (String, Process, TempDir) {
        let dir = tempfile::tempdir().unwrap();
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["support::pod::main_of_a_pod", "--exact", "--nocapture"]).env(NAME, name);
        if let Some(colour) = &setup.colour {
            command.env(COLOUR, colour);
        }
        if !setup.listen.is_empty() {
            let listen = setup.listen.iter().map(SocketAddr::to_string).collect::<Vec<_>>();
            command.env(LISTEN, listen.join(","));
        }
        command.envs(setup.environment.iter().map(|(name, value)| (name, value)));
        (name.to_owned(), Process::start(&mut command, &dir.path().join("output")), dir)
    }

    fn listening((name, mut process, dir): (String, Process, TempDir)) -> Self {
        let address = process.printed("pod listening on ", START_MAX).parse().unwrap();
        Self { name, address, process: Mutex::new(process), _dir: dir }
    }

    fn process(&self) -> MutexGuard<'_, Process> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// As a server's object has it.
    pub fn server(&self) -> Value {
        json!({"URL": format!("http://{}", self.address)})
    }

    pub fn stats(&self) -> Stats {
        serde_json::from_value(self.ask("GET", "stats", "").json()).unwrap()
    }

    /// The numbers of the POSTs that it executed, in order, each as often as it did.
    pub fn posts(&self) -> Vec<u64> {
        let (numbers, rest) = {
            let body = self.ask("GET", "posts", "").body;
            let numbers = body.chunks_exact(8).map(|eight| u64::from_le_bytes(eight.try_into().unwrap()));
            (numbers.collect(), body.len() % 8)
        };
        assert_eq!(rest, 0);
        numbers
    }

    /// Requests begun from now on are counted apart.
    pub fn mark(&self) {
        self.ask("POST", "mark", "");
    }

    pub fn mode(&self, mode: Mode) {
        let (name, amount) = match mode {
            Mode::Well => ("well", 0),
            Mode::Silent => ("silent", 0),
            Mode::Reset => ("reset", 0),
            Mode::Error => ("error", 0),
            Mode::Slow(millis) => ("slow", millis),
            Mode::Failing(per_thousand) => ("failing", per_thousand),
            Mode::Sick => ("sick", 0),
        };
        self.ask("POST", "mode", &json!({"mode": name, "amount": amount}).to_string());
    }

    fn ask(&self, method: &str, what: &str, body: &str) -> Answer {
        let mut connection = Connection::open(self.address);
        let length = body.len();
        connection.send(
            format!("{method} /pod/{what} HTTP/1.1\r\nHost: pod\r\nContent-Length: {length}\r\n\r\n{body}")
                .as_bytes(),
        );
        let answer = connection.answer();
        assert_eq!(answer.status, 200, "{method} /pod/{what} of {}: {}", self.name, answer.text());
        answer
    }

    /// SIGTERM: it accepts nothing more, finishes what it has, and exits.
    pub fn tell_to_end(&self) {
        let mut process = self.process();
        // It may have ended by itself.
        if process.ended().is_none() {
            process.signal(Signal::SIGTERM);
        }
    }

    /// How it ended, if it has.
    #[cfg(feature = "kubernetes")]
    pub fn ended(&self) -> Option<ExitStatus> {
        self.process().ended()
    }

    /// Waits until it has ended well.
    pub fn end(self, most: Duration) {
        let status = self.process().end(most);
        assert!(status.success(), "{} ended with {status}", self.name);
    }

    /// kill -9
    pub fn kill(&self) {
        self.process().kill();
    }
}

#[test]
fn pods_know_what_they_were_asked() {
    let _machine = super::shared();
    let mut pods = Pod::start_many("green", 2);
    let pod = &pods[0];
    let mut connection = Connection::open(pod.address());
    let answer = connection.get("shop.example", "/x").unwrap();
    assert_eq!((answer.status, answer.field("x-pod")), (200, Some("green-0")));
    pod.mark();
    for _ in 0..2 {
        connection.send(b"POST /x HTTP/1.1\r\nHost: a\r\nX-Request-Number: 7\r\nContent-Length: 2\r\n\r\nab");
        assert_eq!(connection.answer().text(), "green green-0 7 2 195\n");
    }
    let stats = pod.stats();
    assert_eq!((stats.begun, stats.open, stats.connections, stats.after_mark), (3, 0, 1, 2), "{stats:?}");
    assert_eq!(pod.posts(), [7, 7]);
    assert_eq!(pods[1].stats().begun, 0);

    pod.mode(Mode::Error);
    assert_eq!(connection.get("a", "/").unwrap().status, 500);
    pod.mode(Mode::Sick);
    assert_eq!(connection.get("a", "/").unwrap().status, 200);
    assert_eq!(connection.get("a", "/health").unwrap().status, 503);
    pod.mode(Mode::Failing(1_000));
    assert_eq!(connection.get("a", "/").unwrap().status, 500);
    assert_eq!(connection.get("a", "/health").unwrap().status, 200);
    pod.mode(Mode::Reset);
    assert!(connection.get("a", "/").is_err());
    let mut connection = Connection::open(pod.address());
    pod.mode(Mode::Silent);
    connection.set_silence_max(Duration::from_millis(200));
    assert!(connection.get("a", "/").is_err());

    // Told to end, it finishes what it has and closes what is idle.
    pod.mode(Mode::Slow(300));
    let mut busy = Connection::open(pod.address());
    let mut idle = Connection::open(pod.address());
    busy.send(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n");
    super::until("the request is open", Duration::from_secs(5), || (pod.stats().open == 1).then_some(()));
    pod.tell_to_end();
    assert!(idle.rest().is_empty());
    assert_eq!(busy.answer().status, 200);
    assert!(busy.rest().is_empty());
    assert!(Connection::try_open(pod.address()).is_err());
    pods.remove(0).end(Duration::from_secs(5));
    pods[0].kill();
}
