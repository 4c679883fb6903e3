//! Carries a flip out against a store: writes its record, waits for the proxies, writes the new values, says how far the
//! proxies are, and ends it. Whoever runs it may die at any point: before the write the flip lapses, after it another
//! process claims the record and goes on. A claim changes the record, so that of two owners only one can write.

use super::bake::Looks;
use super::fleet::{Fleet, OpenFlip};
use super::outcome::Outcome;
use super::plan::{self, Elapsed, Step};
use super::record::{Ending, FLIPS, Flip, Past, Phase, Totals, WATCH, new_id, unix_ms, write};
use super::told::{Event, Sink, Told};
use super::{FlipError, past, request, undo};
use crate::expr::Condition;
use crate::store::{self, Area, Expected, Feed, LeaseChoice, Operation, Store, StoreError, Transaction};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::time::{Instant, sleep_until, timeout};

mod owning;

/// How long a flip's owner may be silent before it counts as dead, where the store has leases.
pub const OWNER_TTL: Duration = Duration::from_secs(5);
/// How often an owner says that it lives.
const OWNER_BEAT: Duration = Duration::from_millis(1_200);
/// How often times are looked at when nothing else happens.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How long the state area gets to be read.
const FIRST_READ: Duration = Duration::from_secs(10);
/// Times that a rollback is written because other flips' records changed meanwhile.
const TRIES_MAX: usize = 5;
/// How long proxies get to answer when somebody looks.
const POKED_FOR: Duration = Duration::from_millis(700);
/// Names of what still leads to the old side that are told.
const NAMING_MAX: usize = 8;

/// Runs one flip.
pub struct Runner {
    pub(super) store: Arc<dyn Store>,
    feed: Feed,
    pub(super) fleet: Fleet,
    leases: bool,
    /// Text that tells this runner apart from all others.
    pub(super) me: String,
    beat_at: Instant,
    beats: u64,
    /// It does not wait for the old side to have been warm for long enough.
    leaves_warm: bool,
    /// What all that it writes of a flip expects beside.
    fence: Vec<(Area, Box<str>, Expected)>,
}

impl Runner {
    /// Reads the state area and follows it.
    ///
    /// # Errors
    /// The store does not answer in time.
    pub async fn open(store: Arc<dyn Store>) -> Result<Self, FlipError> {
        let leases = store.capabilities().leases;
        let mut runner = Self {
            feed: store.follow(Area::State),
            store,
            fleet: Fleet::new(leases),
            leases,
            me: new_id(SystemTime::now()),
            beat_at: Instant::now(),
            beats: 0,
            leaves_warm: true,
            fence: Vec::new(),
        };
        let first = async {
            while !runner.fleet.is_known() {
                let Some(event) = runner.feed.recv().await else {
                    return Err("it has stopped answering".to_owned());
                };
                if let store::Event::Lost { reason } = &event {
                    return Err(reason.clone());
                }
                runner.fleet.apply(&event, Instant::now());
            }
            Ok(())
        };
        match timeout(FIRST_READ, first).await {
            Ok(Ok(())) => Ok(runner),
            Ok(Err(reason)) => Err(StoreError::Unavailable(reason).into()),
            Err(_) => Err(StoreError::Unavailable("its state area was not told in time".into()).into()),
        }
    }

    /// The same, for somebody who acts only as long as these keys are as expected: so are the record, the values and the
    /// end of each flip that it writes. When one of the keys is not, the error is a [`StoreError::Conflict`] that names
    /// it, and a written flip is left to the proxies, who know no fence.
    #[must_use]
    pub fn with_fence(mut self, expect: Vec<(Area, Box<str>, Expected)>) -> Self {
        self.fence = expect;
        self
    }

    /// Takes in what was told since, without waiting.
    pub fn catch_up(&mut self) {
        while let Ok(event) = self.feed.try_recv() {
            self.fleet.apply(&event, Instant::now());
        }
    }

    /// The fleet as it is told.
    pub fn fleet(&self) -> &Fleet {
        &self.fleet
    }

    /// In a store without leases, lets every proxy write how it is; those that do not are not heard of.
    ///
    /// # Errors
    /// The store does not answer.
    pub async fn poke(&mut self) -> Result<(), FlipError> {
        if self.leases {
            return Ok(());
        }
        let (area, key): (_, Box<str>) = (Area::State, format!("{WATCH}{}", self.me).into());
        let put = put_state(key.clone(), "{}".into());
        let at = self.store.commit(Transaction { expect: Vec::new(), operations: vec![put] }).await?;
        let until = Instant::now() + POKED_FOR;
        while self.fleet.heard_before(at.0) && self.next(until).await {}
        let operations = vec![Operation::Delete { area, key }];
        self.store.commit(Transaction { expect: Vec::new(), operations }).await?;
        Ok(())
    }

    /// Waits until the fleet changed, or `at`; false: `at`.
    pub async fn changed(&mut self, at: Instant) -> bool {
        self.next(at).await
    }

    /// Carries a planned flip out. `wait` bounds the time until it is safe; the bake comes on top.
    ///
    /// # Errors
    /// The store does not answer, or another open flip is about the same targets.
    pub async fn flip(
        &mut self,
        mut flip: Flip,
        wait: Duration,
        sink: Sink<'_>,
    ) -> Result<Outcome, FlipError> {
        let began = Instant::now();
        self.refuse_beside_open(&flip)?;
        flip.owner.clone_from(&self.me);
        let key: Box<str> = format!("{FLIPS}{}", flip.id).into();
        let mut transaction = Transaction::default();
        transaction.expect.push((Area::State, key.clone(), Expected::Absent));
        transaction.operations.push(put_state(key, write(&flip)));
        transaction.operations.push(self.owner_put(&flip.id));
        self.commit_fenced(transaction).await?;
        match self.prepare(&flip.id, began, wait, sink).await? {
            Ok(revision) => self.watch(&flip.id, revision, Some(began + wait), sink).await,
            Err(reason) => Ok(Outcome::Refused(reason)),
        }
    }

    /// Goes on with a written flip whose owner has died, until it is over.
    ///
    /// # Errors
    /// The store does not answer; somebody else was faster.
    pub async fn resume(&mut self, id: &str, sink: Sink<'_>) -> Result<Outcome, FlipError> {
        self.leaves_warm = false;
        let open = self.claim(id).await?;
        if open.flip.phase == Phase::Prepare {
            self.give_up(id).await;
            return Ok(Outcome::Refused("its owner died before anything was written".into()));
        }
        self.watch(id, revision_of(&open), None, sink).await
    }

    /// Writes the values before the last flip of `target` again; `id` becomes this rollback's.
    ///
    /// # Errors
    /// There is nothing to undo, or it was changed since; the store does not answer.
    pub async fn rollback(
        &mut self,
        id: &str,
        target: &str,
        by: &str,
        wait: Duration,
        sink: Sink<'_>,
    ) -> Result<Outcome, FlipError> {
        let began = Instant::now();
        let mut tries = 1;
        let revision = loop {
            match undo::undo_last(self, id, target, by).await {
                // Another record changed meanwhile; the feed tells of it soon.
                Err(error) if self.is_passing(&error) && tries < TRIES_MAX => {
                    tries += 1;
                    self.next(Instant::now() + LOOK_EVERY).await;
                }
                written => break written?,
            }
        };
        sink(Event::Written { revision });
        self.watch(id, revision, Some(began + wait), sink).await
    }

    /// An id for [`rollback`](Self::rollback).
    pub fn rollback_id(&self) -> String {
        new_id(SystemTime::now())
    }

    fn refuse_beside_open(&self, flip: &Flip) -> Result<(), FlipError> {
        for open in self.fleet.flips(Instant::now()).iter().filter(|open| open.flip.phase == Phase::Prepare) {
            for target in &open.flip.targets {
                if open.owner.is_some() && flip.targets.iter().any(|mine| mine.key == target.key) {
                    return Err(FlipError::Refused(format!(
                        "{} is being flipped by {} just now; nothing was changed",
                        target.target, open.flip.by
                    )));
                }
            }
        }
        Ok(())
    }

    /// Waits until the proxies are ready, and writes. The inner error says why nothing was changed.
    async fn prepare(
        &mut self,
        id: &str,
        began: Instant,
        wait: Duration,
        sink: Sink<'_>,
    ) -> Result<Result<u64, String>, FlipError> {
        let (mut told, mut unwell_since) = (Told::new(began), None);
        loop {
            let now = Instant::now();
            // What was written is told soon.
            if let Some(open) = self.fleet.flip(id).cloned() {
                if open.flip.owner != self.me {
                    return Ok(Err("another process has taken it for abandoned".into()));
                }
                let members = self.fleet.members(now);
                let found = plan::preparation(&open.flip, &members);
                told.preparation(&found, now, sink);
                let is_unwell = !found.unwell.is_empty() && found.missing.is_empty();
                unwell_since = if is_unwell { unwell_since.or(Some(now)) } else { None };
                let elapsed = Elapsed {
                    asked: now - began,
                    unwell: unwell_since.map_or(Duration::ZERO, |since| now - since),
                    ..Elapsed::default()
                };
                match plan::before_commit(&open.flip, &found, elapsed, wait) {
                    Step::Commit => {
                        if let Some(written) = self.commit(open, sink).await? {
                            return Ok(written);
                        }
                    }
                    Step::Refuse(reason) => {
                        self.give_up(id).await;
                        return Ok(Err(reason));
                    }
                    _ => {}
                }
            } else if now - began > FIRST_READ {
                return Ok(Err("its record is gone".into()));
            }
            self.next(now + LOOK_EVERY).await;
            self.keep_owning(id).await;
        }
    }

    /// Writes the new values. None: another flip's record changed meanwhile, and it is to be tried again.
    async fn commit(
        &mut self,
        open: OpenFlip,
        sink: Sink<'_>,
    ) -> Result<Option<Result<u64, String>>, FlipError> {
        let OpenFlip { mut flip, version, .. } = open;
        let members = self.fleet.members(Instant::now());
        flip.phase = Phase::Committed;
        flip.committed_at = unix_ms(SystemTime::now());
        flip.baseline = plan::baseline(&flip, &members);
        flip.base = plan::base(&flip, &members);
        let key: Box<str> = format!("{FLIPS}{}", flip.id).into();
        let mut transaction = Transaction::default();
        transaction.expect.push((Area::State, key.clone(), Expected::Version(version)));
        for target in &flip.targets {
            let to = target.to.first().map(String::as_str).unwrap_or_default();
            request::put(&mut transaction, &target.key, target.version, request::moved(target, to)?);
        }
        transaction.operations.push(put_state(key.clone(), write(&flip)));
        undo::supersede(&self.fleet, &flip, Ending::Superseded, &mut transaction);
        let committed = self.commit_fenced(transaction).await;
        let revision = match committed {
            Ok(revision) => revision.0,
            Err(StoreError::Conflict { key }) if self.is_fence(&key) => {
                self.give_up(&flip.id).await;
                return Err(StoreError::Conflict { key }.into());
            }
            Err(StoreError::Conflict { key: other }) if other.starts_with(FLIPS) && *other != *key => {
                return Ok(None);
            }
            Err(StoreError::Conflict { key }) => {
                self.give_up(&flip.id).await;
                return Ok(Some(Err(format!("{key} was changed meanwhile; nothing was flipped"))));
            }
            Err(StoreError::Unavailable(reason)) => {
                // It may have happened.
                match self.store.get(Area::State, &key).await? {
                    (revision, Some(entry)) => match super::record::read::<Flip>(&key, &entry.value) {
                        Ok(found) if found.phase == Phase::Committed => {
                            if self.leases {
                                entry.version
                            } else {
                                revision.0
                            }
                        }
                        _ => {
                            self.give_up(&flip.id).await;
                            return Err(StoreError::Unavailable(reason).into());
                        }
                    },
                    (_, None) => return Err(StoreError::Unavailable(reason).into()),
                }
            }
            Err(error) => {
                self.give_up(&flip.id).await;
                return Err(error.into());
            }
        };
        sink(Event::Written { revision });
        Ok(Some(Ok(revision)))
    }

    /// Follows a written flip until it is over, or `until` if it is not safe by then. What cannot go on here is left to
    /// others.
    async fn watch(
        &mut self,
        id: &str,
        revision: u64,
        until: Option<Instant>,
        sink: Sink<'_>,
    ) -> Result<Outcome, FlipError> {
        let watched = self.watch_on(id, revision, until, sink).await;
        if watched.is_err() {
            self.release(id).await;
        }
        watched
    }

    async fn watch_on(
        &mut self,
        id: &str,
        revision: u64,
        until: Option<Instant>,
        sink: Sink<'_>,
    ) -> Result<Outcome, FlipError> {
        let mut told = Told::new(Instant::now());
        told.restart(Instant::now());
        let (mut looks, mut reason) = (Looks::default(), "the fleet has not answered".to_owned());
        let mut was_seen = false;
        loop {
            let now = Instant::now();
            let open = self.fleet.flip(id).cloned();
            match open.filter(|open| open.flip.phase == Phase::Committed) {
                None if was_seen && self.fleet.flip(id).is_none() => {
                    return self.over(id, revision, told.safe).await;
                }
                None => {}
                Some(open) => {
                    was_seen = true;
                    let members = self.fleet.members(now);
                    let mine = open.flip.owner == self.me;
                    if members.is_empty() && mine {
                        sink(Event::NoProxy);
                        self.close(&open, revision, Ending::Closed, "no proxy was there", Totals::default())
                            .await?;
                        return Ok(Outcome::Done { revision });
                    }
                    let found = plan::progress(&open.flip, revision, &members);
                    told.progress(&open.flip, revision, &found, now, sink);
                    for backend in told.newly_named(&found) {
                        let by = request::naming(&self.store, &backend, NAMING_MAX).await;
                        sink(Event::StillNamed { backend, by });
                    }
                    reason = missing(&found);
                    match self.act(&open, revision, &found, &mut looks, &mut told, sink).await {
                        Ok(None) => {}
                        Ok(Some(outcome)) => return Ok(outcome),
                        Err(error) if self.is_passing(&error) => {}
                        Err(error) => return Err(error),
                    }
                }
            }
            if until.is_some_and(|until| !told.safe && now >= until) {
                self.release(id).await;
                return Ok(Outcome::NotSafe { revision, reason });
            }
            let at = now + LOOK_EVERY;
            self.next(until.filter(|_| !told.safe).map_or(at, |until| at.min(until))).await;
            if self.fleet.flip(id).is_some_and(|open| open.flip.owner == self.me) {
                self.keep_owning(id).await;
            }
        }
    }

    /// Does what comes next for a written flip, if it is this runner's.
    async fn act(
        &mut self,
        open: &OpenFlip,
        revision: u64,
        found: &plan::Progress,
        looks: &mut Looks,
        told: &mut Told,
        sink: Sink<'_>,
    ) -> Result<Option<Outcome>, FlipError> {
        let flip = &open.flip;
        let members = self.fleet.members(Instant::now());
        let (wall, counted) = (unix_ms(SystemTime::now()), plan::counted(flip, &members));
        let bake_end = flip.bake.as_ref().map(|bake| flip.committed_at.saturating_add(bake.millis));
        let bake_left = Duration::from_millis(bake_end.unwrap_or_default().saturating_sub(wall));
        let is_last = bake_left.is_zero() && !told.baked;
        let worse = match &flip.bake {
            Some(bake) if !told.baked => looks
                .look(flip.baseline, counted, is_last)
                .or_else(|| condition_holds(bake.rollback_on.as_deref(), counted)),
            _ => None,
        };
        if flip.bake.is_some() && is_last && worse.is_none() {
            told.baked = true;
            sink(Event::Baked { counted });
        }
        if flip.owner != self.me {
            return Ok(None);
        }
        let keep = flip.keep_warm_ms.unwrap_or_default();
        let warm_left = match flip.safe_at {
            0 => Duration::from_millis(keep),
            since => Duration::from_millis(since.saturating_add(keep).saturating_sub(wall)),
        };
        match plan::after_commit(flip, found, Elapsed { bake_left, warm_left, ..Elapsed::default() }, worse) {
            Step::Revert(reason) => match undo::revert(self, open, revision, &reason, counted).await {
                Ok(back) => {
                    sink(Event::RolledBack { reason: reason.clone(), revision: back });
                    Ok(Some(Outcome::RolledBack(reason)))
                }
                // Somebody has changed a target since, and it is theirs now.
                Err(FlipError::Refused(why)) => {
                    let reason = format!("{reason}; not rolled back: {why}");
                    self.close(open, revision, Ending::Superseded, &reason, counted).await?;
                    Err(FlipError::Refused(reason))
                }
                Err(error) => Err(error),
            },
            Step::Close => {
                self.close(open, revision, Ending::Closed, "", counted).await?;
                Ok(Some(Outcome::Done { revision }))
            }
            _ if found.safe && flip.safe_at == 0 && keep > 0 => {
                let mut flip = flip.clone();
                (flip.safe_at, flip.revision) = (wall, revision);
                self.rewrite(&flip, open.version).await;
                Ok(None)
            }
            // Proxies close it when the old side has been warm for long enough.
            _ if found.safe && keep > 0 && bake_left.is_zero() && self.leaves_warm => {
                self.release(&flip.id).await;
                Ok(Some(Outcome::Done { revision }))
            }
            _ => Ok(None),
        }
    }

    /// How a flip ended whose record somebody else took away.
    async fn over(&mut self, id: &str, revision: u64, safe: bool) -> Result<Outcome, FlipError> {
        let found = past::history(&self.store).await?.into_iter().find(|past| past.id == id);
        Ok(match found {
            Some(Past { ending: Ending::RolledBack, reason, .. }) => Outcome::RolledBack(reason),
            Some(Past { ending: Ending::Superseded, reason, .. }) if !safe => {
                Outcome::Superseded { revision, reason }
            }
            Some(_) => Outcome::Done { revision },
            None if safe => Outcome::Done { revision },
            None => Outcome::NotSafe { revision, reason: "its record is gone".into() },
        })
    }

    async fn close(
        &mut self,
        open: &OpenFlip,
        revision: u64,
        ending: Ending,
        reason: &str,
        counted: Totals,
    ) -> Result<(), FlipError> {
        let past = Past::of(&open.flip, revision, ending, reason.to_owned(), counted);
        let mut transaction = Transaction::default();
        past::end(&mut transaction, &past, open.version);
        self.commit_fenced(transaction).await?;
        let store = self.store.clone();
        tokio::spawn(async move { past::prune(&store).await });
        Ok(())
    }

    /// Takes an event, and all that wait behind it; false: `at` has come first.
    async fn next(&mut self, at: Instant) -> bool {
        let event = tokio::select! {
            event = self.feed.recv() => event,
            () = sleep_until(at) => return false,
        };
        let Some(event) = event else {
            // The store has stopped telling; times are all that is left.
            sleep_until(at).await;
            return false;
        };
        self.fleet.apply(&event, Instant::now());
        self.catch_up();
        true
    }
}

/// The revision at which a flip was written.
pub(super) fn revision_of(open: &OpenFlip) -> u64 {
    if open.flip.revision > 0 { open.flip.revision } else { open.revision }
}

pub(super) fn put_state(key: Box<str>, value: bytes::Bytes) -> Operation {
    Operation::Put { area: Area::State, key, value, lease: LeaseChoice::Keep }
}

/// Who and what is missing, for people.
fn missing(found: &plan::Progress) -> String {
    let mut texts: Vec<String> =
        found.waiting.iter().map(|it| format!("{}: {}", it.member, it.reason)).collect();
    texts.extend(found.named.iter().map(|id| format!("something still names {id}")));
    if texts.is_empty() { "the proxies have not settled".to_owned() } else { texts.join("; ") }
}

/// The condition, if it is one and holds.
fn condition_holds(text: Option<&str>, counted: Totals) -> Option<String> {
    let condition = Condition::parse(text?).ok()?;
    let measures = crate::expr::Measures {
        requests: counted.attempts as f64,
        errors: counted.failures as f64,
        micros: counted.micros as f64,
    };
    condition.holds(&measures).then(|| {
        format!("{condition} ({} of {} requests failed on the new side)", counted.failures, counted.attempts)
    })
}
