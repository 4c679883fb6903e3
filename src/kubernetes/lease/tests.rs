//! Processes and a lease in memory, on paused time.

use super::*;
use std::sync::{Arc, Mutex};

/// What stands between a process and the API server.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Link {
    Fine,
    /// Requests fail at once.
    Away,
    /// Nothing is answered.
    Silent,
    /// What is written arrives, and the answer does not.
    LosesAnswers,
}

#[derive(Clone, Default)]
struct Server(Arc<Mutex<(Option<Lease>, u64)>>);

struct Client {
    server: Server,
    link: Arc<Mutex<Link>>,
}

impl Client {
    async fn pass(&self) -> Result<Link, Failure> {
        let link = *self.link.lock().unwrap();
        match link {
            Link::Away => Err(Failure::Other("refused".to_owned())),
            Link::Silent => std::future::pending().await,
            Link::Fine | Link::LosesAnswers => Ok(link),
        }
    }
}

impl Objects for Client {
    async fn read(&self) -> Result<Option<Lease>, Failure> {
        self.pass().await?;
        Ok(self.server.0.lock().unwrap().0.clone())
    }

    async fn write(&self, mut lease: Lease) -> Result<Lease, Failure> {
        let link = self.pass().await?;
        let mut state = self.server.0.lock().unwrap();
        let version = state.0.as_ref().and_then(|lease| lease.metadata.resource_version.clone());
        if lease.metadata.resource_version != version {
            return Err(Failure::Conflict);
        }
        state.1 += 1;
        lease.metadata.resource_version = Some(state.1.to_string());
        state.0 = Some(lease.clone());
        if link == Link::LosesAnswers { Err(Failure::Other("lost".to_owned())) } else { Ok(lease) }
    }
}

struct Process {
    hold: Hold,
    link: Arc<Mutex<Link>>,
}

impl Process {
    fn start(server: &Server, holder: &str) -> Self {
        let link = Arc::new(Mutex::new(Link::Fine));
        let client = Client { server: server.clone(), link: link.clone() };
        let name = Name::new("flipgate", "registrar");
        Self { hold: start(client, &name, holder.to_owned(), Timings::default()), link }
    }

    fn set(&self, link: Link) {
        *self.link.lock().unwrap() = link;
    }

    /// The term, if it leads as far as it knows.
    fn leads(&self) -> Option<i64> {
        match *self.hold.leadership.borrow() {
            Leadership::Leads { until, term } if until > Instant::now() => Some(term),
            _ => None,
        }
    }

    /// Waits until it leads; the term, and after how long.
    async fn led(&self) -> (i64, Duration) {
        let since = Instant::now();
        let mut leadership = self.hold.leadership();
        let wait = leadership.wait_for(|now| matches!(now, Leadership::Leads { .. }));
        timeout(Duration::from_secs(60), wait).await.expect("it never leads").unwrap();
        (self.leads().unwrap(), since.elapsed())
    }

    async fn follows(&self, leader: &str) {
        let mut leadership = self.hold.leadership();
        let wait = leadership.wait_for(|now| *now == Leadership::Follows { holder: leader.to_owned() });
        timeout(Duration::from_secs(60), wait).await.expect("it never follows").unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn another_takes_over_within_15_s_of_a_death() {
    for alive in [0, 1, 1999, 2000, 2001, 7777] {
        let server = Server::default();
        let first = Process::start(&server, "first");
        assert_eq!(first.led().await.0, 1);
        let second = Process::start(&server, "second");
        second.follows("first").await;
        tokio::time::sleep(Duration::from_millis(alive)).await;
        first.hold.task.abort();
        let (term, after) = second.led().await;
        assert_eq!(term, 2);
        assert!(after <= Duration::from_secs(15), "{after:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_clean_end_gives_the_lease_to_the_next_at_once() {
    let server = Server::default();
    let first = Process::start(&server, "first");
    first.led().await;
    let second = Process::start(&server, "second");
    second.follows("first").await;
    first.hold.release().await;
    let (term, after) = second.led().await;
    assert_eq!(term, 2);
    assert!(after <= Duration::from_secs(2), "{after:?}");
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_cannot_renew_ends_before_another_begins() {
    for link in [Link::Away, Link::Silent] {
        let server = Server::default();
        let first = Process::start(&server, "first");
        first.led().await;
        let second = Process::start(&server, "second");
        second.follows("first").await;
        let Leadership::Leads { until, .. } = *first.hold.leadership.borrow() else { panic!("it leads") };
        first.set(link);
        let mut leadership = first.hold.leadership();
        leadership.wait_for(|now| *now == Leadership::Unknown).await.unwrap();
        let late = Instant::now() - until;
        assert!(late < Duration::from_millis(10), "{late:?}");
        assert_eq!(second.leads(), None);
        second.led().await;
        first.set(Link::Fine);
        first.follows("second").await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_interrupted_leadership_goes_on_in_another_term() {
    let server = Server::default();
    let only = Process::start(&server, "only");
    only.led().await;
    only.set(Link::Away);
    let mut leadership = only.hold.leadership();
    leadership.wait_for(|now| *now == Leadership::Unknown).await.unwrap();
    only.set(Link::Fine);
    assert_eq!(only.led().await.0, 2);
}

#[tokio::test(start_paused = true)]
async fn a_short_absence_of_the_server_interrupts_nothing() {
    let server = Server::default();
    let only = Process::start(&server, "only");
    only.led().await;
    for _ in 0..20 {
        only.set(Link::Silent);
        tokio::time::sleep(Duration::from_millis(3500)).await;
        only.set(Link::Fine);
        tokio::time::sleep(Duration::from_millis(3500)).await;
        assert_eq!(only.leads(), Some(1));
    }
}

#[tokio::test(start_paused = true)]
async fn lost_answers_keep_nobody_from_leading() {
    let server = Server::default();
    let only = Process::start(&server, "only");
    only.set(Link::LosesAnswers);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(only.leads(), None);
    only.set(Link::Fine);
    assert!(only.led().await.1 <= Duration::from_secs(2));
}

#[tokio::test(start_paused = true)]
async fn a_deleted_lease_is_made_again_in_a_later_term() {
    let server = Server::default();
    let only = Process::start(&server, "only");
    only.led().await;
    server.0.lock().unwrap().0 = None;
    let mut leadership = only.hold.leadership();
    let wait = leadership.wait_for(|now| matches!(now, Leadership::Leads { term: 2, .. }));
    timeout(Duration::from_secs(3), wait).await.unwrap().unwrap();
    assert!(server.0.lock().unwrap().0.is_some());
}

#[tokio::test(start_paused = true)]
async fn whatever_happens_two_never_lead_at_once_and_terms_only_grow() {
    use rand::{Rng, SeedableRng, rngs::StdRng};
    let seed: u64 = rand::random();
    let mut chance = StdRng::seed_from_u64(seed);
    let server = Server::default();
    let processes: Vec<Process> =
        ["a", "b", "c"].iter().map(|holder| Process::start(&server, holder)).collect();
    let mut last = 0;
    let mut leader = None;
    for step in 0..20_000 {
        if chance.random_ratio(1, 20) {
            let link = match chance.random_range(0..6) {
                0 => Link::Away,
                1 => Link::Silent,
                2 => Link::LosesAnswers,
                _ => Link::Fine,
            };
            processes[chance.random_range(0..3)].set(link);
        }
        tokio::time::sleep(Duration::from_millis(chance.random_range(1..200))).await;
        let leading: Vec<(usize, i64)> = (0..3).filter_map(|at| Some((at, processes[at].leads()?))).collect();
        assert!(leading.len() <= 1, "seed {seed}, step {step}: {leading:?}");
        if let Some((at, term)) = leading.first().copied() {
            assert!(term > last || (term == last && leader == Some(at)), "seed {seed}, step {step}");
            (last, leader) = (term, Some(at));
        }
    }
    assert!(last > 10, "seed {seed}: nothing happened");
}
