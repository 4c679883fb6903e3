//! Load of our own, for what wrk and h2load do not tell: every answer is checked, POSTs carry numbers that pods
//! remember, and the first failures are kept as they were.
//!
//! It runs on one thread and goes on until stopped, for [`Plan::most`] at the longest.

mod colours;
mod http1;
mod http2;
mod wire;

pub use colours::Colours;
pub use wire::Encrypted;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::time::{sleep_until, timeout};

/// Longest time for one answer.
const ANSWER_MAX: Duration = Duration::from_secs(10);

/// Failures that are kept word for word.
const FAILURES_KEPT: usize = 8;

/// What is asked, of whom, and over which connections. Clients take the proxies in turn.
#[derive(Clone)]
pub struct Plan {
    pub proxies: Vec<SocketAddr>,
    pub host: String,
    /// Clients with an HTTP/1.1 connection that is kept.
    pub kept: usize,
    /// Clients with a connection for each request.
    pub short: usize,
    /// HTTP/2 connections, and the clients on each.
    pub http2: (usize, usize),
    /// Of a hundred requests.
    pub posts: u64,
    /// Requests a second over all clients; as many as go through, if none.
    pub rate: Option<u64>,
    /// Over TLS, if there is something to trust.
    pub encrypted: Option<Encrypted>,
    /// Which colours are right at what time; any, if none.
    pub colours: Option<Colours>,
    pub most: Duration,
    /// Whether a kept connection may end in good order, between requests (a close seen before the next one, or GOAWAY).
    pub reconnects: bool,
}

/// What came back.
#[derive(Debug, Clone, Default)]
pub struct Tally {
    pub requests: u64,
    /// Of them, executed POSTs.
    pub posts: u64,
    pub failed: u64,
    /// The first failures.
    pub failures: Vec<String>,
    pub by_colour: BTreeMap<String, u64>,
    /// Milliseconds from a request to its answer's end, or to its failure.
    pub millis: Vec<f64>,
}

/// Running load.
pub struct Traffic {
    shared: Arc<Shared>,
    thread: Option<std::thread::JoinHandle<()>>,
}

struct Shared {
    plan: Plan,
    next: AtomicU64,
    stopped: AtomicBool,
    ends: Instant,
    tally: Mutex<Tally>,
}

/// One request and the answer that it must get.
struct Question {
    number: u64,
    is_post: bool,
    body: Vec<u8>,
}

impl Plan {
    /// A mix of everything.
    pub fn mixed(proxies: &[SocketAddr], host: &str) -> Self {
        Self {
            proxies: proxies.to_vec(),
            host: host.to_owned(),
            kept: 12,
            short: 3,
            http2: (3, 4),
            posts: 30,
            rate: None,
            encrypted: None,
            colours: None,
            most: Duration::from_secs(3_600),
            reconnects: false,
        }
    }

    /// GETs over kept HTTP/1.1 connections at a steady rate.
    pub fn steady(proxies: &[SocketAddr], host: &str, clients: usize, rate: u64) -> Self {
        let plan = Self::mixed(proxies, host);
        Self { kept: clients, short: 0, http2: (0, 0), posts: 0, rate: Some(rate), ..plan }
    }

    fn clients(&self) -> usize {
        self.kept + self.short + self.http2.0 * self.http2.1
    }

    fn proxy(&self, number: usize) -> SocketAddr {
        self.proxies[number % self.proxies.len()]
    }
}

impl Traffic {
    pub fn start(plan: Plan) -> Self {
        let ends = Instant::now() + plan.most;
        let shared = Arc::new(Shared {
            plan,
            next: AtomicU64::new(1),
            stopped: AtomicBool::new(false),
            ends,
            tally: Mutex::default(),
        });
        let for_thread = shared.clone();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(run(for_thread));
        });
        Self { shared, thread: Some(thread) }
    }

    /// Answered and failed requests so far, without those taken.
    pub fn requests(&self) -> u64 {
        self.shared.tally().requests
    }

    /// What came since the start or the last time it was taken.
    pub fn take(&self) -> Tally {
        std::mem::take(&mut *self.shared.tally())
    }

    /// Ends it after the requests that are open; what came since it was last taken.
    pub fn stop(mut self) -> Tally {
        self.shared.stopped.store(true, Ordering::SeqCst);
        self.thread.take().unwrap().join().expect("the load did not panic");
        assert!(Instant::now() < self.shared.ends, "the load ended before the test");
        self.take()
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Tally {
    /// `"0 failed of 5 requests, 2 of them POSTs; blue 3, green 2"`
    pub fn summary(&self) -> String {
        let colours = self.by_colour.iter().map(|(colour, count)| format!("{colour} {count}"));
        let colours = colours.collect::<Vec<_>>().join(", ");
        let Self { requests, posts, failed, .. } = self;
        format!("{failed} failed of {requests} requests, {posts} of them POSTs; {colours}")
    }

    pub fn of(&self, colour: &str) -> u64 {
        self.by_colour.get(colour).copied().unwrap_or(0)
    }

    pub fn add(&mut self, other: Tally) {
        self.requests += other.requests;
        self.posts += other.posts;
        self.failed += other.failed;
        self.failures.extend(other.failures);
        self.failures.truncate(FAILURES_KEPT);
        for (colour, count) in other.by_colour {
            *self.by_colour.entry(colour).or_default() += count;
        }
        self.millis.extend(other.millis);
    }
}

async fn run(shared: Arc<Shared>) {
    let plan = &shared.plan;
    let mut clients = tokio::task::JoinSet::new();
    for number in 0..plan.kept + plan.short {
        let client = http1::Client::new(plan.proxy(number), number < plan.kept);
        clients.spawn(http1::run(shared.clone(), Pace::new(plan, number), client));
    }
    for connection in 0..plan.http2.0 {
        clients.spawn(http2::run(shared.clone(), connection));
    }
    while let Some(ended) = clients.join_next().await {
        ended.expect("no client panics");
    }
}

/// When a client asks next.
struct Pace {
    due: tokio::time::Instant,
    interval: Option<Duration>,
}

impl Pace {
    fn new(plan: &Plan, client: usize) -> Self {
        let interval = plan.rate.map(|rate| Duration::from_secs(1) * plan.clients() as u32 / rate as u32);
        // Clients that begin together would go on asking together.
        let offset = interval.unwrap_or_default() * client as u32 / plan.clients() as u32;
        Self { due: tokio::time::Instant::now() + offset, interval }
    }

    async fn wait(&mut self) {
        let Some(interval) = self.interval else {
            // Nothing waits for sockets that are always ready, so others must be let in.
            return tokio::task::yield_now().await;
        };
        sleep_until(self.due).await;
        // What is late is not made up for at once.
        self.due = (self.due + interval).max(tokio::time::Instant::now() - interval);
    }
}

impl Shared {
    fn tally(&self) -> std::sync::MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn goes_on(&self) -> bool {
        !self.stopped.load(Ordering::Relaxed) && Instant::now() < self.ends
    }

    fn question(&self) -> Question {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let is_post = number * 37 % 100 < self.plan.posts;
        let body = if is_post { vec![number as u8 | 1; 200 + number as usize % 300] } else { Vec::new() };
        Question { number, is_post, body }
    }

    /// Waits for an answer and notes it. `ask` gives status and body. Whether it was well.
    async fn note(
        &self,
        question: &Question,
        ask: impl Future<Output = Result<(u16, Vec<u8>), String>>,
    ) -> bool {
        let begin = Instant::now();
        let answer =
            timeout(ANSWER_MAX, ask).await.unwrap_or_else(|_| Err(format!("nothing in {ANSWER_MAX:?}")));
        let millis = begin.elapsed().as_secs_f64() * 1e3;
        let checked = answer.and_then(|(status, body)| {
            let colour = question.check(status, &body)?;
            match &self.plan.colours {
                Some(colours) => colours.check(&colour, begin).map(|()| colour),
                None => Ok(colour),
            }
        });
        let mut tally = self.tally();
        tally.requests += 1;
        tally.millis.push(millis);
        match checked {
            Ok(colour) => {
                tally.posts += u64::from(question.is_post);
                match tally.by_colour.get_mut(&colour) {
                    Some(count) => *count += 1,
                    None => {
                        tally.by_colour.insert(colour, 1);
                    }
                }
                true
            }
            Err(reason) => {
                tally.failed += 1;
                if tally.failures.len() < FAILURES_KEPT {
                    let method = if question.is_post { "POST" } else { "GET" };
                    tally
                        .failures
                        .push(format!("{method} {} after {millis:.1} ms: {reason}", question.number));
                }
                false
            }
        }
    }
}

impl Question {
    /// The colour of the pod that answered this question and no other.
    fn check(&self, status: u16, body: &[u8]) -> Result<String, String> {
        let text = String::from_utf8_lossy(body);
        if status != 200 {
            return Err(format!("{status} {}", text.trim()));
        }
        let sum = self.body.iter().fold(0_u64, |sum, byte| sum + u64::from(*byte));
        let expected = format!(" {} {} {sum}\n", self.number, self.body.len());
        let rest = text.strip_suffix(&expected).ok_or_else(|| format!("another's answer: {text:?}"))?;
        Ok(rest.split(' ').next().unwrap_or_default().to_owned())
    }
}

#[test]
fn load_reaches_pods_and_sees_what_fails() {
    let _machine = super::shared();
    let pods = super::Pod::start_many("green", 2);
    let addresses = pods.iter().map(super::Pod::address).collect::<Vec<_>>();
    let traffic = Traffic::start(Plan::mixed(&addresses, "shop.example"));
    super::until("requests", Duration::from_secs(20), || (traffic.requests() > 2_000).then_some(()));
    let tally = traffic.stop();
    assert_eq!(tally.failed, 0, "{:?}", tally.failures);
    assert_eq!((tally.of("green"), tally.millis.len() as u64), (tally.requests, tally.requests));
    let mut posts = pods.iter().flat_map(super::Pod::posts).collect::<Vec<_>>();
    posts.sort_unstable();
    posts.dedup();
    assert_eq!(posts.len() as u64, tally.posts);
    let begun = pods.iter().map(|pod| pod.stats().begun).sum::<u64>();
    assert_eq!(begun, tally.requests);

    pods[0].mode(super::Mode::Failing(500));
    pods[1].mode(super::Mode::Reset);
    let begin = Instant::now();
    let traffic = Traffic::start(Plan { rate: Some(1_000), ..Plan::mixed(&addresses, "shop.example") });
    super::until("requests", Duration::from_secs(20), || (traffic.requests() > 400).then_some(()));
    let (tally, took) = (traffic.stop(), begin.elapsed().as_secs_f64());
    assert!(tally.failed * 2 > tally.requests && tally.of("green") > 0, "{}", tally.summary());
    assert!(tally.requests as f64 <= 1_100.0 * took, "{} in {took} s", tally.requests);
}
