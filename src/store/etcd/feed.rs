//! List and watch: the feed of one area.
//!
//! A session is one connection to one end point: look at the server (a linearizable read), list unless what was told
//! so far can be continued, watch from the next revision on. When a session ends, the next end point is tried; what was
//! told stays told, so nothing is told twice and nothing is left out.
//!
//! What can go wrong without an error, and what is done about it:
//!
//! * The watch's start was compacted while we were away: the watch is cancelled, everything is listed.
//! * The store was wiped or an older backup was restored: a watch beyond the server's revision is silent for ever. Every
//!   check compares revision, raft term and cluster with what was seen; lower or other means list.
//! * The same, but the server is past our revision again: after each outage, and every few minutes for events that etcd
//!   itself lost, keys and revisions are listed and compared with what was told.
//! * A frozen server or a dead network: pings on the idle connection.
//! * Progress that runs ahead of events (etcd 3.4): it never moves our position, and counts as "in sync" only after the
//!   watch was quiet for a while.
//! * A reader that takes nothing: the watch is given up, and resumed when the reader goes on.

use super::connect::{Connection, Failure, Head, MESSAGE_BYTES_MAX};
use super::list::{entry, list};
use super::watch::{Joiner, Told};
use super::{Shared, range_end};
use crate::model::Revision;
use crate::store::log::FEED_EVENTS_MAX;
use crate::store::{Area, Batch, Change, Event, Feed, Snapshot};
use etcd_client::{WatchOptions, WatchStream};
use foldhash::fast::RandomState;
use futures_util::future::BoxFuture;
use std::collections::{HashMap, HashSet, VecDeque};
use std::future::pending;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};

/// Checks without a confirmation after which a session is given up.
const CHECKS_UNCONFIRMED_MAX: u32 = 4;

/// Starts the task of a feed; it ends when the feed is dropped.
pub(super) fn start(shared: Arc<Shared>, area: Area) -> Feed {
    let (sender, feed) = mpsc::channel(FEED_EVENTS_MAX);
    tokio::spawn(async move {
        let turns = vec![Instant::now(); shared.endpoints.len()];
        let mut follower = Follower {
            shared,
            area,
            sender: sender.clone(),
            waiting: VecDeque::new(),
            position: None,
            image: Image::default(),
            outage: Outage::None,
            endpoint: 0,
            turns,
            logged_out: false,
        };
        tokio::select! {
            () = follower.run() => {}
            () = sender.closed() => {}
        }
    });
    feed
}

/// Why a session ended.
#[derive(Debug)]
enum Ended {
    /// What was told cannot be continued; a new list can.
    Relist(&'static str),
    /// The reader takes nothing.
    Slow,
    /// Nobody reads.
    Closed,
    /// A watch that stood was denied: the login may have ended.
    LoggedOut(String),
    /// It broke.
    Failed(Failure),
}

impl From<Failure> for Ended {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Compacted => Self::Relist("the revision to go on from was compacted"),
            other => Self::Failed(other),
        }
    }
}

/// What was told of an outage, the worse the later: one that people have to end is told also where it follows another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Outage {
    None,
    Away,
    Denied,
}

/// The feed's side of things, over all sessions.
struct Follower {
    shared: Arc<Shared>,
    area: Area,
    sender: mpsc::Sender<Event>,
    /// Told to the reader, but not taken over by the channel yet.
    waiting: VecDeque<Event>,
    /// The server as last seen, with the revision of the last event; none when the next session has to list.
    position: Option<Head>,
    image: Image,
    outage: Outage,
    endpoint: usize,
    /// When each end point may be tried again.
    turns: Vec<Instant>,
    /// The session before was logged out, and nothing was confirmed since.
    logged_out: bool,
}

impl Follower {
    async fn run(&mut self) {
        loop {
            self.turn().await;
            match self.session().await {
                Ended::Closed => return,
                Ended::Relist(why) => {
                    tracing::info!(area = ?self.area, why, "the store is listed anew");
                    self.position = None;
                }
                Ended::Slow => {
                    tracing::warn!(area = ?self.area, "the reader of a feed is slow: its watch is given up until it goes on");
                    if self.flush().await.is_err() {
                        return;
                    }
                }
                Ended::LoggedOut(_) if !std::mem::replace(&mut self.logged_out, true) => {}
                Ended::LoggedOut(reason) => {
                    if self.failed(Failure::Denied(reason)).await.is_err() {
                        return;
                    }
                }
                Ended::Failed(failure) => {
                    if self.failed(failure).await.is_err() {
                        return;
                    }
                }
            }
        }
    }

    /// Says so, once an outage and once more when it is a denial, and turns to the next end point.
    async fn failed(&mut self, failure: Failure) -> Result<(), Ended> {
        let mut reason = failure.reason();
        if let Some(endpoint) = self.shared.endpoints.get(self.endpoint)
            && !reason.contains(endpoint.as_str())
        {
            reason = format!("{endpoint}: {reason}");
        }
        let denied = matches!(failure, Failure::Denied(_) | Failure::Refused(_));
        let outage = if denied { Outage::Denied } else { Outage::Away };
        if outage > self.outage {
            self.outage = outage;
            tracing::warn!(area = ?self.area, reason, "the store does not answer");
            self.waiting.push_back(Event::Lost { reason });
        } else {
            tracing::debug!(area = ?self.area, reason, "the store still does not answer");
        }
        if denied {
            let later = Instant::now() + self.shared.timing.retry_denied;
            self.turns.iter_mut().for_each(|turn| *turn = (*turn).max(later));
        }
        self.endpoint = (self.endpoint + 1) % self.turns.len().max(1);
        self.flush().await
    }

    /// Waits until this end point may be tried, and sets when it may be tried next.
    async fn turn(&mut self) {
        let retry = self.shared.timing.retry;
        if let Some(turn) = self.turns.get_mut(self.endpoint) {
            sleep_until(*turn).await;
            *turn = Instant::now() + retry + retry.mul_f64(rand::random_range(0.0..0.2));
        }
    }

    /// Hands over what waits for the reader.
    async fn flush(&mut self) -> Result<(), Ended> {
        while !self.waiting.is_empty() {
            let permit = self.sender.reserve().await.map_err(|_| Ended::Closed)?;
            if let Some(event) = self.waiting.pop_front() {
                permit.send(event);
            }
        }
        Ok(())
    }

    async fn session(&mut self) -> Ended {
        match self.connected().await {
            Ok(never) => match never {},
            Err(ended) => ended,
        }
    }

    async fn connected(&mut self) -> Result<std::convert::Infallible, Ended> {
        let shared = self.shared.clone();
        let root = shared.root(self.area);
        self.image.deleted = None;
        let connection = Arc::new(Connection::open(&shared, self.endpoint, true).await?);
        let head = connection.head(root).await?;
        let resumed = self.position.filter(|position| continues(position, &head));
        let position = match resumed {
            Some(position) => position,
            None => self.list(&connection, root).await?,
        };
        let watch = watch(&connection, &shared, root, position.revision).await?;
        let mut session = Session::new(&shared, connection, position, resumed.is_some());
        session.run(self, root, watch).await
    }

    /// Everything anew: the next event is a snapshot.
    async fn list(&mut self, connection: &Connection, root: &str) -> Result<Head, Ended> {
        self.position = None;
        let listed = list(connection, root, false, |kv| entry(root, kv)).await?;
        let snapshot = Snapshot {
            revision: listed.head.revision,
            entries: listed.items.into_iter().flatten().collect(),
        };
        self.image = Image::default();
        for entry in &snapshot.entries {
            self.image.put(&entry.key, entry.version);
        }
        self.waiting.push_back(Event::Snapshot(snapshot));
        self.position = Some(listed.head);
        Ok(listed.head)
    }
}

/// Whether a server can be the one that was seen before, or one of its fellows.
fn continues(before: &Head, now: &Head) -> bool {
    now.cluster == before.cluster && now.term >= before.term && now.revision >= before.revision
}

async fn watch(
    connection: &Connection,
    shared: &Shared,
    root: &str,
    after: Revision,
) -> Result<WatchStream, Failure> {
    let from = i64::try_from(after.0).unwrap_or(i64::MAX).saturating_add(1);
    let options = WatchOptions::new().with_range(range_end(root)).with_start_revision(from).with_fragment();
    let mut client = connection.client.watch_client().max_decoding_message_size(MESSAGE_BYTES_MAX);
    match timeout(shared.timing.request, client.watch(root, Some(options))).await {
        Ok(stream) => stream.map_err(super::connect::judge),
        Err(_) => Err(Failure::Away("no watch within its time".to_owned())),
    }
}

/// How far the confirmation that nothing was missed has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Confirming {
    No,
    /// The watch was asked how far it is.
    Asked {
        up_to: Revision,
    },
    /// It said far enough; nothing may come until then.
    Quiet {
        up_to: Revision,
        until: Instant,
    },
}

type Reading = BoxFuture<'static, Result<Head, Failure>>;
type Listing = BoxFuture<'static, Result<(Revision, Vec<(u64, u64)>), Failure>>;

/// One connection's share of a feed.
struct Session {
    connection: Arc<Connection>,
    check: Duration,
    quiet: Duration,
    compare: Duration,
    slow_reader: Duration,
    position: Head,
    joiner: Joiner,
    check_at: Instant,
    unconfirmed: u32,
    reading: Option<Reading>,
    /// The position when the reading began.
    asked_at: Head,
    confirming: Confirming,
    confirmed: Option<Revision>,
    /// Nothing is said to be in sync before what was told has been compared: the store may have been replaced.
    doubtful: bool,
    compare_at: Instant,
    listing: Option<Listing>,
    /// A list that waits until the watch has told everything up to its revision.
    listed: Option<(Revision, Vec<(u64, u64)>)>,
}

impl Session {
    fn new(shared: &Shared, connection: Arc<Connection>, position: Head, resumed: bool) -> Self {
        let timing = &shared.timing;
        let now = Instant::now();
        let spread = timing.compare.mul_f64(rand::random_range(0.9..1.1));
        Self {
            connection,
            check: timing.check,
            quiet: timing.quiet,
            compare: timing.compare,
            slow_reader: timing.slow_reader,
            position,
            joiner: Joiner::default(),
            check_at: now,
            unconfirmed: 0,
            reading: None,
            asked_at: position,
            confirming: Confirming::No,
            confirmed: None,
            doubtful: resumed,
            compare_at: if resumed { now } else { now + spread },
            listing: None,
            listed: None,
        }
    }

    async fn run(
        &mut self,
        follower: &mut Follower,
        root: &str,
        mut watch: WatchStream,
    ) -> Result<std::convert::Infallible, Ended> {
        loop {
            match timeout(self.slow_reader, follower.flush()).await {
                Ok(flushed) => flushed?,
                Err(_) => return Err(Ended::Slow),
            }
            let quiet_until = match self.confirming {
                Confirming::Quiet { until, .. } => Some(until),
                _ => None,
            };
            tokio::select! {
                told = watch.message() => {
                    let told = match told.map_err(super::connect::judge) {
                        Ok(Some(told)) => self.joiner.take(root, told.0),
                        Ok(None) => Err(Failure::Away("etcd ended the watch".to_owned())),
                        Err(failure) => Err(failure),
                    };
                    let told = told.map_err(|failure| match failure {
                        Failure::Denied(reason) => Ended::LoggedOut(reason),
                        other => other.into(),
                    })?;
                    match told {
                        Told::Nothing => {}
                        Told::Progress(revision) => self.progress(revision),
                        Told::Batches(batches) => self.batches(follower, batches)?,
                    }
                }
                head = due(&mut self.reading) => {
                    self.reading = None;
                    self.read(head?, follower)?;
                    if let Confirming::Asked { .. } = self.confirming {
                        watch.request_progress().await.map_err(super::connect::judge)?;
                    }
                }
                listed = due(&mut self.listing) => {
                    self.listing = None;
                    self.listed = Some(listed?);
                    self.check_at = Instant::now();
                    self.judge_list(follower)?;
                }
                () = sleep_until(self.check_at), if self.reading.is_none() => self.check(root)?,
                () = sleep_until(self.compare_at), if self.listing.is_none() && self.listed.is_none() => {
                    self.list_keys(follower, root);
                }
                () = at(quiet_until) => {
                    if let Confirming::Quiet { up_to, .. } = self.confirming {
                        self.confirm(up_to, follower)?;
                    }
                }
            }
        }
    }

    /// Reads the server's head, without stopping the watch for it.
    fn check(&mut self, root: &str) -> Result<(), Ended> {
        self.check_at = Instant::now() + self.check;
        self.unconfirmed += 1;
        if self.unconfirmed > CHECKS_UNCONFIRMED_MAX {
            return Err(Ended::Failed(Failure::Away("the watch does not say how far it is".to_owned())));
        }
        self.asked_at = self.position;
        let (connection, root) = (self.connection.clone(), root.to_owned());
        self.reading = Some(Box::pin(async move { connection.head(&root).await }));
        Ok(())
    }

    fn read(&mut self, head: Head, follower: &mut Follower) -> Result<(), Ended> {
        // Events may have overtaken the answer, so it is compared with what was seen when it was asked for.
        if !continues(&self.asked_at, &head) {
            return Err(Ended::Relist("the store was replaced or went back"));
        }
        self.position.term = head.term;
        follower.position = Some(self.position);
        if head.revision <= self.position.revision {
            return self.confirm(head.revision, follower);
        }
        // What was asked before is confirmed first: a busy store would never be in sync.
        if self.confirming == Confirming::No {
            self.confirming = Confirming::Asked { up_to: head.revision };
        }
        Ok(())
    }

    fn progress(&mut self, revision: Revision) {
        if let Confirming::Asked { up_to } = self.confirming
            && revision >= up_to
        {
            self.confirming = Confirming::Quiet { up_to, until: Instant::now() + self.quiet };
        }
    }

    fn batches(&mut self, follower: &mut Follower, batches: Vec<Batch>) -> Result<(), Ended> {
        for batch in batches {
            if batch.revision <= self.position.revision {
                return Err(Ended::Relist("etcd told a revision again"));
            }
            self.position.revision = batch.revision;
            follower.image.apply(&batch);
            follower.waiting.push_back(Event::Batch(batch));
        }
        follower.position = Some(self.position);
        self.unconfirmed = 0;
        match self.confirming {
            Confirming::Asked { up_to } | Confirming::Quiet { up_to, .. }
                if self.position.revision >= up_to =>
            {
                self.confirm(up_to, follower)?;
            }
            Confirming::Quiet { up_to, .. } => {
                self.confirming = Confirming::Quiet { up_to, until: Instant::now() + self.quiet };
            }
            _ => {}
        }
        Ok(())
    }

    /// Everything up to `revision` was told.
    fn confirm(&mut self, revision: Revision, follower: &mut Follower) -> Result<(), Ended> {
        self.confirming = Confirming::No;
        self.unconfirmed = 0;
        follower.logged_out = false;
        let revision = revision.max(self.position.revision);
        self.confirmed = Some(revision);
        self.judge_list(follower)?;
        if !self.doubtful {
            follower.outage = Outage::None;
            follower.waiting.push_back(Event::InSync { revision });
        }
        Ok(())
    }

    /// Lists keys and revisions, without stopping the watch for it.
    fn list_keys(&mut self, follower: &mut Follower, root: &str) {
        let (connection, root, hasher) =
            (self.connection.clone(), root.to_owned(), follower.image.hasher.clone());
        follower.image.deleted = Some(HashSet::new());
        self.listing = Some(Box::pin(async move {
            let item = |kv: etcd_client::KeyValue| {
                entry(&root, kv).map(|entry| (hasher.hash_one(&*entry.key), entry.version))
            };
            let listed = list(&connection, &root, true, item).await?;
            Ok((listed.head.revision, listed.items.into_iter().flatten().collect()))
        }));
    }

    /// Compares a list with what was told, as soon as everything up to its revision was.
    fn judge_list(&mut self, follower: &mut Follower) -> Result<(), Ended> {
        let Some((revision, listed)) = &self.listed else { return Ok(()) };
        if self.confirmed.is_none_or(|confirmed| confirmed < *revision) {
            return Ok(());
        }
        if !follower.image.agrees(*revision, listed) {
            return Err(Ended::Relist("what the store holds differs from what it told"));
        }
        self.listed = None;
        follower.image.deleted = None;
        self.doubtful = false;
        self.compare_at = Instant::now() + self.compare.mul_f64(rand::random_range(0.9..1.1));
        Ok(())
    }
}

/// The answer of what is under way, or never.
async fn due<T>(under_way: &mut Option<BoxFuture<'static, T>>) -> T {
    match under_way {
        Some(future) => future.await,
        None => pending().await,
    }
}

async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => pending().await,
    }
}

/// What was told, small: 64 bits of each key and its revision.
#[derive(Default)]
struct Image {
    hasher: RandomState,
    versions: HashMap<u64, u64>,
    /// Keys that ended since a list began.
    deleted: Option<HashSet<u64>>,
}

impl Image {
    fn put(&mut self, key: &str, version: u64) {
        self.versions.insert(self.hasher.hash_one(key), version);
    }

    fn apply(&mut self, batch: &Batch) {
        for change in &batch.changes {
            match change {
                Change::Put(entry) => self.put(&entry.key, entry.version),
                Change::Delete { key } => {
                    let key = self.hasher.hash_one(&**key);
                    self.versions.remove(&key);
                    if let Some(deleted) = &mut self.deleted {
                        deleted.insert(key);
                    }
                }
            }
        }
    }

    /// Whether this is what a list at `revision` shows, or what came of it since.
    fn agrees(&self, revision: Revision, listed: &[(u64, u64)]) -> bool {
        let mut same = 0;
        for (key, version) in listed {
            match self.versions.get(key) {
                Some(told) if told == version => same += 1,
                Some(told) if *told > revision.0 => {}
                None if self.deleted.as_ref().is_some_and(|deleted| deleted.contains(key)) => {}
                _ => return false,
            }
        }
        same == self.versions.values().filter(|told| **told <= revision.0).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Entry;

    fn put(key: &str, version: u64) -> Change {
        Change::Put(Entry { key: key.into(), value: "".into(), version, created: 1, lease: None })
    }

    #[test]
    fn a_list_agrees_with_what_was_told_or_with_what_came_since() {
        let check = |told: &[(u64, Change)], listed: &[(&str, u64)], agrees: bool| {
            let mut image = Image { deleted: Some(HashSet::new()), ..Image::default() };
            for (revision, change) in told {
                image.apply(&Batch { revision: Revision(*revision), changes: vec![change.clone()] });
            }
            let listed: Vec<_> = listed.iter().map(|(k, v)| (image.hasher.hash_one(*k), *v)).collect();
            assert_eq!(image.agrees(Revision(10), &listed), agrees, "{told:?} {listed:?}");
        };
        let delete = |key: &str| Change::Delete { key: key.into() };
        check(&[], &[], true);
        check(&[(4, put("a", 4))], &[("a", 4)], true);
        check(&[(4, put("a", 4)), (12, put("a", 12))], &[("a", 4)], true);
        check(&[(4, put("a", 4)), (12, delete("a"))], &[("a", 4)], true);
        check(&[(12, put("b", 12))], &[], true);
        check(&[(4, put("a", 4))], &[("a", 5)], false);
        check(&[(4, put("a", 4))], &[], false);
        check(&[], &[("a", 4)], false);
        check(&[(7, put("a", 7))], &[("a", 3)], false);
    }
}
