//! This proxy as a member of the fleet: it registers before it accepts traffic, says how far it is and what it sees of
//! the backends of open flips, gets ready for what they move traffic to, and goes on with flips whose owner has died.
//!
//! `members/<name>` stays until the process ended cleanly, or `flipgate fleet forget`; `alive/<name>/<boot>` ends with the
//! process. In a store without leases it is written only while a flip is open or somebody looks, and counts its writes.

mod bucket;
#[cfg(test)]
mod tests;
mod view;

use super::{Control, STORE_WAIT};
use crate::flip::record::{
    ALIVE, Alive, LISTED_MAX, MEMBERS, Member, check_name, new_id, read, unix_ms, write,
};
use crate::flip::{Fleet, FlipError, OpenFlip, Runner};
use crate::model::{InForce, Severity};
use crate::store::{Area, Expected, LeaseChoice, Operation, Store, StoreError, Transaction};
use crate::telemetry::{PanicIn, Restarts};
use bucket::Bucket;
use futures_util::FutureExt;
use std::collections::{HashMap, HashSet};
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use view::{Memory, Warmed};

/// How long a record outlives its writer, where the store has leases.
const TTL: Duration = Duration::from_secs(10);
/// How often it is written at least, with leases.
const BEAT: Duration = Duration::from_secs(3);
/// Without leases every write is an edit of files: while nobody looks, there are none.
const SLOW_BEAT: Duration = Duration::from_secs(3_600);
/// How often numbers of open flips are told, and every record without a lease while one is open.
const FLIP_BEAT: Duration = Duration::from_millis(900);
/// How often requests on an old side are counted.
const DRAIN_LOOK: Duration = Duration::from_millis(15);
/// Marks that rise together are written together.
const GATHER: Duration = Duration::from_millis(1);
/// Least time between two writes when the first failed.
const RETRY: Duration = Duration::from_millis(500);
/// The same where the store's rights do not cover it.
const RETRY_DENIED: Duration = Duration::from_secs(15);
/// How long a flip has no owner before it is taken over.
const ORPHANED: Duration = Duration::from_millis(300);
/// How long the end may take.
const FAREWELL: Duration = Duration::from_secs(2);
/// Names that are tried on one machine: `gate`, `gate-2`, ...
const NAMES_MAX: usize = 64;

/// Which member a process wants to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Its name, or else the machine's; with a number where a proxy with another home has that.
    pub name: Option<String>,
    /// Tells apart proxies of one machine over restarts; otherwise every process is another one.
    pub home: Option<String>,
    /// A proxy that is cut off from its store for so long asks to be ended.
    pub isolation_stop_after: Option<Duration>,
}

/// This process as a member.
pub struct Membership {
    store: Arc<dyn Store>,
    identity: Identity,
    home: String,
    name: String,
    boot: String,
    is_registered: bool,
}

impl Membership {
    /// Registers, waiting for the store no longer than a start does; if it does not answer, [`run`](Self::run) goes on.
    pub async fn register(store: Arc<dyn Store>, identity: Identity) -> Self {
        let boot = new_id(SystemTime::now());
        let machine = machine();
        let home = match &identity.home {
            Some(home) => format!("{machine}:{home}"),
            None => format!("{machine}:{boot}"),
        };
        let name = identity.name.clone().unwrap_or(machine);
        let mut membership = Self { store, identity, home, name, boot, is_registered: false };
        match timeout(STORE_WAIT, membership.try_register()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "not registered as a member of the fleet"),
            Err(_) => tracing::warn!("not registered as a member of the fleet: the store has not answered"),
        }
        membership
    }

    /// The name that it has, or will try to have.
    pub fn name(&self) -> &str {
        &self.name
    }

    async fn try_register(&mut self) -> Result<(), StoreError> {
        let wanted = self.name.clone();
        for number in 1..=NAMES_MAX {
            let name = if number == 1 { wanted.clone() } else { format!("{wanted}-{number}") };
            let key = format!("{MEMBERS}{name}");
            let (_, entry) = self.store.get(Area::State, &key).await?;
            // A name that another home has is not taken over: who had it may be cut off, and still serve.
            let is_ours = |member: &Member| member.home == self.home;
            let expected = match &entry {
                None => Expected::Absent,
                Some(entry) if read::<Member>(&key, &entry.value).map_or(true, |it| is_ours(&it)) => {
                    Expected::Version(entry.version)
                }
                Some(_) => continue,
            };
            let transaction = Transaction {
                expect: vec![(Area::State, key.into(), expected)],
                operations: vec![self.member_put(&name), self.alive_put(&name, &first(), true)],
            };
            match self.store.commit(transaction).await {
                Ok(_) => {
                    tracing::info!(name, "a member of the fleet");
                    (self.name, self.is_registered) = (name, true);
                    return Ok(());
                }
                // Another proxy was faster.
                Err(StoreError::Conflict { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Err(StoreError::Refused(format!(
            "{wanted} and all names made from it are taken; give one with --name"
        )))
    }

    fn member_put(&self, name: &str) -> Operation {
        let since = unix_ms(SystemTime::now());
        let member = Member { home: self.home.clone(), since, version: env!("CARGO_PKG_VERSION").to_owned() };
        let (key, value) = (format!("{MEMBERS}{name}").into(), write(&member));
        Operation::Put { area: Area::State, key, value, lease: LeaseChoice::Keep }
    }

    fn alive_put(&self, name: &str, alive: &Alive, renews: bool) -> Operation {
        let has_leases = self.store.capabilities().leases;
        let lease = if renews && has_leases { LeaseChoice::Ttl(TTL) } else { LeaseChoice::Keep };
        let (key, value) = (format!("{ALIVE}{name}/{}", self.boot).into(), write(alive));
        Operation::Put { area: Area::State, key, value, lease }
    }

    /// Takes part until `stop`, then takes its records away. While `draining`, it says so. `isolated` is cancelled when it
    /// has been cut off for too long.
    pub async fn run(
        self,
        control: Control,
        draining: watch::Receiver<bool>,
        isolated: CancellationToken,
        stop: CancellationToken,
    ) {
        let now = Instant::now();
        let (memory, mut warmed) = Memory::new(now);
        let fleet = Fleet::new(self.store.capabilities().leases);
        let is_slow = self.is_registered && !self.store.capabilities().leases;
        let mut task = Task {
            membership: self,
            control,
            draining,
            fleet,
            memory,
            bucket: Bucket::new(now),
            told: first(),
            beat: 0,
            beat_at: now + if is_slow { SLOW_BEAT } else { Duration::ZERO },
            is_watched: false,
            retry_at: now,
            heard_at: now,
            renewed_at: None,
            orphans: HashMap::new(),
            taken: HashSet::new(),
            not_in_force: (None, Vec::new()),
        };
        let mut restarts = Restarts::of(PanicIn::Membership);
        // A new feed begins with everything there is.
        while AssertUnwindSafe(task.turn_until(&mut warmed, &isolated, &stop)).catch_unwind().await.is_err() {
            tokio::time::sleep(restarts.after_panic()).await;
        }
        if timeout(FAREWELL, task.leave()).await.is_err() {
            tracing::warn!(name = task.membership.name, "the member could not be taken off the list");
        }
    }
}

/// What is said before there is anything to say.
fn first() -> Alive {
    Alive {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        at: unix_ms(SystemTime::now()),
        ..Alive::default()
    }
}

/// The machine's name, as far as it can name a member.
fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).ok().map(|text| text.trim().to_owned());
    let name = read("/proc/sys/kernel/hostname").or_else(|| read("/etc/hostname")).unwrap_or_default();
    if check_name(&name).is_ok() { name } else { "flipgate".to_owned() }
}

struct Task {
    membership: Membership,
    control: Control,
    draining: watch::Receiver<bool>,
    fleet: Fleet,
    memory: Memory,
    bucket: Bucket,
    told: Alive,
    beat: u64,
    /// When the record is written although nothing has changed.
    beat_at: Instant,
    retry_at: Instant,
    /// When the store last took a write.
    heard_at: Instant,
    /// When the lease was last renewed; none: it has none, or it has ended.
    renewed_at: Option<Instant>,
    /// A flip is open, or somebody looks.
    is_watched: bool,
    /// Since when flips have no owner.
    orphans: HashMap<String, Instant>,
    /// Flips that this process goes on with, and how it tells that it is done.
    taken: HashSet<String>,
    /// Keys of objects not in force, for the table of this generation.
    not_in_force: (Option<u64>, Vec<String>),
}

impl Task {
    async fn turn_until(
        &mut self,
        warmed: &mut mpsc::UnboundedReceiver<Warmed>,
        isolated: &CancellationToken,
        stop: &CancellationToken,
    ) {
        let mut feed = self.membership.store.follow(Area::State);
        let (mut marks, mut synced) = (self.control.board().marks(), self.control.synced());
        let mut swaps = self.control.board().swaps();
        let (done, mut ended) = mpsc::unbounded_channel();
        let mut has_feed = true;
        loop {
            PanicIn::Membership.trip();
            let now = Instant::now();
            let wake_at = self.turn(&done, now).await;
            if let Some(limit) = self.membership.identity.isolation_stop_after
                && self.heard_at.elapsed() >= limit
                && !isolated.is_cancelled()
            {
                tracing::error!(?limit, "cut off from the store for too long; this proxy stops");
                isolated.cancel();
            }
            tokio::select! {
                () = stop.cancelled() => return,
                event = feed.recv(), if has_feed => match event {
                    Some(event) => {
                        self.fleet.apply(&event, Instant::now());
                        while let Ok(event) = feed.try_recv() {
                            self.fleet.apply(&event, Instant::now());
                        }
                    }
                    None => has_feed = false,
                },
                Ok(()) = marks.changed() => tokio::time::sleep(GATHER).await,
                Ok(()) = swaps.changed() => {}
                Ok(()) = synced.changed() => {}
                Ok(()) = self.draining.changed() => {}
                Some(answer) = warmed.recv() => self.memory.note_warmed(answer),
                Some(id) = ended.recv() => drop(self.taken.remove(&id)),
                () = sleep_until(wake_at) => {}
            }
        }
    }

    /// Looks at everything, and writes what has changed. When to look again at the latest.
    async fn turn(&mut self, done: &mpsc::UnboundedSender<String>, now: Instant) -> Instant {
        let flips = self.fleet.flips(now);
        self.memory.sample(&self.control, now);
        self.memory.prepare(&self.control, &flips, &self.fleet.watched(), now);
        let is_watched = !flips.is_empty() || !self.fleet.watched().is_empty();
        if is_watched && !std::mem::replace(&mut self.is_watched, is_watched) {
            self.beat_at = now;
        }
        self.is_watched = is_watched;
        self.take_over(&flips, done, now);
        let alive = self.compose(&flips, now);
        let is_due = now >= self.beat_at;
        let has_leases = self.membership.store.capabilities().leases;
        let is_told = has_leases || is_watched || alive.draining;
        let has_moved = is_told && differs(&alive, &self.told);
        let mut wake_at = self.beat_at;
        if now < self.retry_at {
            wake_at = self.retry_at;
        } else if is_due || has_moved {
            match self.bucket.take(is_due || is_watched, now) {
                Ok(()) => {
                    self.tell(alive, is_watched).await;
                    wake_at = self.beat_at;
                }
                Err(wait) => wake_at = wake_at.min(now + wait),
            }
        }
        if let Some(orphan_at) = self.orphans.values().min() {
            wake_at = wake_at.min(*orphan_at + ORPHANED);
        }
        if !is_watched {
            return wake_at.min(now + BEAT);
        }
        let drains = self.told.backends.values().any(|view| !view.named && view.in_flight > 0);
        let look = if drains { DRAIN_LOOK } else { FLIP_BEAT / 4 };
        let silence = self.fleet.next_silence(now).unwrap_or(wake_at);
        wake_at.min(now + look).min(silence.max(now + DRAIN_LOOK))
    }

    fn compose(&mut self, flips: &[OpenFlip], now: Instant) -> Alive {
        let (served, quiet) = self.control.served_and_quiet();
        let table = self.control.board().table();
        let mut backends = self.memory.backends(&self.control, flips, &self.fleet.watched(), quiet);
        if now >= self.beat_at {
            for (id, view) in Memory::leftovers(&self.control) {
                backends.entry(id).or_insert(view);
            }
            if self.not_in_force.0 != Some(table.generation) {
                let (_, problems) = self.control.problems();
                let errors = problems.into_iter().filter(|it| {
                    it.severity == Severity::Error && it.in_force != InForce::This && !it.key.is_empty()
                });
                let keys = errors.take(LISTED_MAX).map(|problem| problem.key).collect();
                self.not_in_force = (Some(table.generation), keys);
            }
        } else {
            for (id, view) in &self.told.backends {
                if !backends.contains_key(id) && view.in_flight > 0 {
                    backends.insert(id.clone(), view.clone());
                }
            }
        }
        Alive {
            served: served.0,
            quiet: quiet.0,
            synced: self.control.synced_revision().0,
            hash: format!("{:016x}", table.hash),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            draining: *self.draining.borrow(),
            beat: self.beat,
            at: unix_ms(SystemTime::now()),
            not_in_force: self.not_in_force.1.clone(),
            backends,
            flips: self.memory.flips(&self.control, flips),
        }
    }

    /// Writes the record. A lease is renewed by a new one; the old one ends with nothing on it.
    async fn tell(&mut self, alive: Alive, has_flips: bool) {
        let now = Instant::now();
        let has_leases = self.membership.store.capabilities().leases;
        let told = if self.membership.is_registered {
            self.write(&alive, has_leases, now).await
        } else {
            self.membership.try_register().await
        };
        let now = Instant::now();
        match told {
            Ok(()) => {
                self.heard_at = now;
                self.beat += 1;
                self.told = alive;
                let every = match (has_flips, has_leases) {
                    (true, _) => FLIP_BEAT,
                    (false, true) => BEAT,
                    (false, false) => SLOW_BEAT,
                };
                self.beat_at = now + every;
            }
            Err(error) => {
                let retry = match error {
                    StoreError::Denied(_) | StoreError::Refused(_) | StoreError::Unsupported(_) => {
                        RETRY_DENIED
                    }
                    _ => RETRY,
                };
                tracing::debug!(%error, "the fleet is not told of this proxy");
                self.retry_at = now + retry;
            }
        }
    }

    async fn write(&mut self, alive: &Alive, has_leases: bool, now: Instant) -> Result<(), StoreError> {
        let name = self.membership.name.clone();
        let key: Box<str> = format!("{ALIVE}{name}/{}", self.membership.boot).into();
        let is_listed = !self.fleet.is_known() || self.fleet.is_member(&name);
        let renewed = self.renewed_at.filter(|at| has_leases && is_listed && now.duration_since(*at) < BEAT);
        if renewed.is_some() {
            let transaction = Transaction {
                expect: vec![(Area::State, key, Expected::Present)],
                operations: vec![self.membership.alive_put(&name, alive, false)],
            };
            match self.membership.store.commit(transaction).await {
                Err(StoreError::Conflict { .. }) => {}
                written => return written.map(drop),
            }
        }
        let mut operations = vec![self.membership.alive_put(&name, alive, true)];
        if !is_listed {
            operations.push(self.membership.member_put(&name));
        }
        self.membership.store.commit(Transaction { expect: Vec::new(), operations }).await?;
        self.renewed_at = Some(now);
        Ok(())
    }

    /// Goes on with flips whose owner has died; of several proxies that try, one succeeds.
    fn take_over(&mut self, flips: &[OpenFlip], done: &mpsc::UnboundedSender<String>, now: Instant) {
        self.orphans.retain(|id, _| flips.iter().any(|open| open.flip.id == *id && open.owner.is_none()));
        if *self.draining.borrow() {
            return;
        }
        for open in flips.iter().filter(|open| open.owner.is_none()) {
            let id = open.flip.id.clone();
            let since = *self.orphans.entry(id.clone()).or_insert(now);
            if now.saturating_duration_since(since) < ORPHANED || self.taken.contains(&id) {
                continue;
            }
            self.orphans.insert(id.clone(), now);
            self.taken.insert(id.clone());
            let (store, done) = (self.membership.store.clone(), done.clone());
            tokio::spawn(async move {
                let resumed = async {
                    let mut runner = Runner::open(store).await?;
                    runner.resume(&id, &mut |event| tracing::info!(flip = id, "{event}")).await
                };
                match resumed.await {
                    Ok(outcome) => tracing::info!(flip = id, ?outcome, "a flip whose owner was gone is over"),
                    Err(FlipError::Store(StoreError::Conflict { .. }) | FlipError::Refused(_)) => {}
                    Err(error) => {
                        tracing::warn!(flip = id, %error, "a flip whose owner is gone cannot go on")
                    }
                }
                // Nobody listens once the process ends.
                let _ = done.send(id);
            });
        }
    }

    /// Takes the records away; the lasting one only if no other process has the name.
    async fn leave(&mut self) {
        if !self.membership.is_registered {
            return;
        }
        let (name, own) = (&self.membership.name, &self.membership.boot);
        let own: Box<str> = format!("{ALIVE}{name}/{own}").into();
        let is_shared = self.fleet.boots(name).any(|key| *key != *own);
        let mut operations = vec![Operation::Delete { area: Area::State, key: own }];
        if !is_shared {
            operations.push(Operation::Delete { area: Area::State, key: format!("{MEMBERS}{name}").into() });
        }
        if let Err(error) = self.membership.store.commit(Transaction { expect: Vec::new(), operations }).await
        {
            tracing::warn!(%error, name, "the member could not be taken off the list");
        }
    }
}

/// Whether something that others wait for has changed.
fn differs(new: &Alive, old: &Alive) -> bool {
    let marks = |alive: &Alive| (alive.served, alive.quiet, alive.draining);
    let open = |alive: &Alive| {
        let views = alive.backends.iter();
        views.map(|(id, it)| (id.clone(), it.in_flight > 0, it.named, it.free)).collect::<Vec<_>>()
    };
    let flips = |alive: &Alive| {
        let views = alive.flips.iter();
        views.map(|(id, it)| (id.clone(), it.prepared.clone(), it.not_in_force.clone())).collect::<Vec<_>>()
    };
    marks(new) != marks(old) || open(new) != open(old) || flips(new) != flips(old)
}
