//! Does what is written down: takes applications into this process's charge, and moves their deployments on.
//!
//! One loop follows the store into the desk's book and begins a task for each charge: those that began at this
//! process's desk, and those that are under way while nobody gives a sign of life. A sweeper removes what a
//! process that slept may have left behind.

mod drive;
mod sweep;

use super::charge::{Charge, Timings, Trouble, take_over};
use super::cluster;
use super::desk::Desk;
use super::machine::{Look, Stage};
use super::stages;
use super::world::World;
use crate::kubernetes::Name;
use crate::store::{Area, Event, Feed};
use futures_util::future::BoxFuture;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::{Id, JoinSet};
use tokio::time::{Instant, sleep_until, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

/// How often charges are looked for when nothing is told.
const LOOK_AROUND: Duration = Duration::from_secs(1);

/// What is done in stages. Tests put something else in its place.
pub(super) trait Looks: Send + Sync + 'static {
    /// Writes the charge's term on what is there already, so that whoever had it before can do nothing more. Called until
    /// it is done, before the first look.
    fn stamp<'a>(&'a self, charge: &'a mut Charge) -> BoxFuture<'a, Result<Look, Trouble>>;
    /// One look at the stage in which the deployment is.
    fn look<'a>(&'a self, charge: &'a mut Charge) -> BoxFuture<'a, Result<Look, Trouble>>;
    /// How long a stage may take.
    fn time(&self, stage: Stage, charge: &Charge) -> Option<Duration>;
}

/// The cluster and the table as they are.
struct Real(Arc<World>);

impl Looks for Real {
    fn stamp<'a>(&'a self, charge: &'a mut Charge) -> BoxFuture<'a, Result<Look, Trouble>> {
        Box::pin(cluster::stamp(&self.0, charge))
    }

    fn look<'a>(&'a self, charge: &'a mut Charge) -> BoxFuture<'a, Result<Look, Trouble>> {
        Box::pin(stages::look(&self.0, charge))
    }

    fn time(&self, stage: Stage, charge: &Charge) -> Option<Duration> {
        stages::time(stage, charge)
    }
}

/// Follows the store into the desk's book, goes on with every deployment whose one in charge is dead, and runs those of
/// this process, until `stop`.
pub async fn run(desk: Desk, world: Arc<World>, holder: String, stop: CancellationToken) {
    let timings = Timings::default();
    desk.set_holder(&holder);
    desk.set_world(world.clone());
    let swept = Arc::new(Notify::new());
    let sweeper = sweep::run(desk.clone(), swept.clone(), timings.sweep);
    let _sweeper = AbortOnDropHandle::new(tokio::spawn(sweeper));
    Runner::new(desk, Arc::new(Real(world)), holder, timings, swept).run(stop).await;
}

pub(super) struct Runner {
    desk: Desk,
    looks: Arc<dyn Looks>,
    holder: String,
    timings: Timings,
    /// Woken when a deployment has ended.
    ended: Arc<Notify>,
    feed: Feed,
    /// The book says what the store has.
    in_sync: bool,
    tasks: JoinSet<()>,
    running: HashMap<Id, Name>,
    /// When those without a sign of life are taken over.
    due: BTreeMap<Name, Instant>,
    /// Until then nothing is taken over: the store was away, and signs of life come again.
    rests: Option<Instant>,
}

impl Runner {
    pub(super) fn new(
        desk: Desk,
        looks: Arc<dyn Looks>,
        holder: String,
        timings: Timings,
        ended: Arc<Notify>,
    ) -> Self {
        desk.set_holder(&holder);
        let feed = desk.store().follow(Area::State);
        let (tasks, running, due) = (JoinSet::new(), HashMap::new(), BTreeMap::new());
        Self { desk, looks, holder, timings, ended, feed, in_sync: false, tasks, running, due, rests: None }
    }

    pub(super) async fn run(mut self, stop: CancellationToken) {
        loop {
            for charge in self.desk.take_begun() {
                self.begin(charge, &stop);
            }
            self.look_around(&stop);
            let wake = self.due.values().min().copied();
            let wake = wake.unwrap_or_else(|| Instant::now() + LOOK_AROUND);
            tokio::select! {
                () = stop.cancelled() => break,
                event = self.feed.recv() => self.hear(event),
                () = self.desk.has_begun() => {}
                Some(ended) = self.tasks.join_next_with_id() => {
                    let id = match ended {
                        Ok((id, ())) => id,
                        Err(error) => {
                            tracing::error!(%error, "a charge was dropped; it is taken over");
                            error.id()
                        }
                    };
                    self.running.remove(&id);
                    self.ended.notify_one();
                }
                () = sleep_until(wake) => {}
            }
        }
        // Those that do not end in time are dropped, and their locks end by themselves.
        let until = Instant::now() + self.timings.stop;
        while let Ok(Some(_)) = timeout_at(until, self.tasks.join_next()).await {}
    }

    fn hear(&mut self, event: Option<Event>) {
        let Some(event) = event else {
            self.in_sync = false;
            self.feed = self.desk.store().follow(Area::State);
            return;
        };
        match &event {
            Event::Snapshot(_) | Event::Batch(_) => {}
            Event::InSync { .. } if self.in_sync => {}
            Event::InSync { .. } => {
                self.in_sync = true;
                self.rests = self.rests.map(|_| Instant::now() + 2 * self.timings.beat);
            }
            Event::Lost { reason } => {
                tracing::warn!(reason, "the store is away");
                self.in_sync = false;
                self.rests = Some(Instant::now());
            }
        }
        self.desk.hear(&event);
    }

    /// Takes over what has been without a sign of life for long enough.
    fn look_around(&mut self, stop: &CancellationToken) {
        if !self.in_sync {
            return self.due.clear();
        }
        let (abandoned, now) = (self.abandoned(), Instant::now());
        self.due.retain(|app, _| abandoned.contains_key(app));
        for (app, id) in abandoned {
            let pause = self.timings.takeover.mul_f64(rand::random_range(0.2..=1.0));
            let after = self.rests.map_or(now, |until| until.max(now)) + pause;
            let due = *self.due.entry(app.clone()).or_insert(after);
            if due <= now {
                self.due.remove(&app);
                self.take_over(app, &id, stop);
            }
        }
    }

    fn abandoned(&self) -> BTreeMap<Name, String> {
        let book = self.desk.book();
        let is_free =
            |app: &Name| !book.locks.contains_key(app) && !self.running.values().any(|own| own == app);
        let open = book.applications.iter().filter_map(|(app, kept)| Some((app, kept.value.open.as_ref()?)));
        open.filter(|(app, _)| is_free(app)).map(|(app, id)| (app.clone(), id.clone())).collect()
    }

    fn begin(&mut self, charge: Charge, stop: &CancellationToken) {
        let app = charge.app.clone();
        let task = drive::drive(self.drive(stop), charge);
        self.running.insert(self.tasks.spawn(task).id(), app);
    }

    fn take_over(&mut self, app: Name, id: &str, stop: &CancellationToken) {
        let lines = self.desk.book().log(&app, id).last().map_or(0, |(number, _)| number);
        let (parts, holder, own) = (self.drive(stop), self.holder.clone(), app.clone());
        let task = async move {
            let ttl = parts.timings.lock_ttl;
            match take_over(parts.desk.store(), &own, &holder, lines, ttl).await {
                Ok(mut charge) => {
                    let stage = charge.deployment.position.as_ref().map_or("its end", |at| at.stage.as_str());
                    charge
                        .say(format!("{holder} takes over, in term {}, at {stage}", charge.application.term));
                    drive::drive(parts, charge).await;
                }
                Err(Trouble::Lost(_) | Trouble::Changed(_)) => {}
                Err(trouble) => tracing::warn!(app = %own, %trouble, "cannot be taken over"),
            }
        };
        self.running.insert(self.tasks.spawn(task).id(), app);
    }

    fn drive(&self, stop: &CancellationToken) -> drive::Parts {
        let (desk, looks) = (self.desk.clone(), self.looks.clone());
        drive::Parts { desk, looks, timings: self.timings, stop: stop.clone() }
    }
}

#[cfg(test)]
mod tests;
