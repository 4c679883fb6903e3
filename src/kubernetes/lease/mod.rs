//! Who leads: one of several processes holds a Lease of the Kubernetes API, and another takes it over within 15 s of
//! its death.
//!
//! A leader renews every [`Timings::renew`], and considers its leadership over once it could not for
//! [`Timings::deadline`]; a candidate takes the lease once it saw it unchanged for [`Timings::duration`], which is longer.
//! Each judges by its own clock alone, which only has to run as fast as the others'. All writes are conditional, so two
//! candidates cannot both succeed.
//!
//! A lease alone does not keep two from acting at once: a leader may be stopped between looking at its watch and
//! writing, and somebody may delete the lease. What it protects has to compare something that the next leader changes.

mod decide;
mod object;

use crate::kubernetes::Name;
use crate::kubernetes::lease::decide::{Action, Observed, decide};
use crate::kubernetes::lease::object::{Failure, KubeLease, Objects, Record};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::jiff::Timestamp;
use std::time::Duration;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

/// Whether this process leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Leadership {
    /// Nobody knows: the API server was not asked yet, or does not answer.
    Unknown,
    /// Another process leads.
    Follows {
        /// Which one.
        holder: String,
    },
    /// This process leads.
    Leads {
        /// It does not any more from then on, unless it is renewed before. Look at it before each act: a process that
        /// was stopped learns from nothing else that it slept past it.
        until: Instant,
        /// Greater than that of each leader before, as far as this process knows of them. It changes when the
        /// leadership was interrupted, even where nobody else led meanwhile.
        term: i64,
    },
}

/// How long things take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timings {
    /// How long a lease holds after it was last renewed: 10 s. Whole seconds.
    pub duration: Duration,
    /// How long its holder believes so: 8 s. Shorter than `duration`.
    pub deadline: Duration,
    /// How often a leader renews, and a candidate looks: 2 s.
    pub renew: Duration,
    /// How long one attempt may take: 3 s.
    pub attempt: Duration,
    /// How long after a failed attempt the next one comes: 1 s.
    pub retry: Duration,
}

impl Default for Timings {
    fn default() -> Self {
        Self {
            duration: Duration::from_secs(10),
            deadline: Duration::from_secs(8),
            renew: Duration::from_secs(2),
            attempt: Duration::from_secs(3),
            retry: Duration::from_secs(1),
        }
    }
}

/// A process that leads, or waits to. Once this is dropped the lease is given back.
#[derive(Debug)]
pub struct Hold {
    leadership: watch::Receiver<Leadership>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

/// How soon the lease is looked at again after somebody else was faster.
const CONFLICT_PAUSE: Duration = Duration::from_millis(100);

/// Begins to hold the lease `name`, or to wait for it. `holder` has to be this process's alone, over restarts too: see
/// [`unique_holder`].
pub fn hold(client: kube::Client, name: &Name, holder: String, timings: Timings) -> Hold {
    start(KubeLease::new(client, name), name, holder, timings)
}

/// A name that no other process has, with something that people know: `<prefix>_1f0c93ab`.
pub fn unique_holder(prefix: &str) -> String {
    format!("{prefix}_{:08x}", rand::random::<u32>())
}

impl Hold {
    /// Whether this process leads, now and from now on.
    pub fn leadership(&self) -> watch::Receiver<Leadership> {
        self.leadership.clone()
    }

    /// Ends the leadership and gives the lease back, so that the next one takes over at once. What the leadership
    /// protected has to have ended before. Takes as long as one attempt at most.
    pub async fn release(self) {
        drop(self.stop);
        if let Err(error) = self.task.await {
            tracing::warn!(%error, "the lease's task ended badly");
        }
    }
}

fn start<O: Objects>(objects: O, name: &Name, holder: String, timings: Timings) -> Hold {
    let (tell, leadership) = watch::channel(Leadership::Unknown);
    let (stop, stopped) = oneshot::channel();
    let elector = Elector {
        objects,
        name: name.clone(),
        me: holder,
        timings,
        observed: Observed::default(),
        current: None,
        leads: None,
        tell,
        failure: None,
    };
    Hold { leadership, stop, task: tokio::spawn(elector.run(stopped)) }
}

struct Elector<O> {
    objects: O,
    name: Name,
    me: String,
    timings: Timings,
    observed: Observed,
    /// The object as it was last read or written.
    current: Option<Lease>,
    leads: Option<Leads>,
    tell: watch::Sender<Leadership>,
    /// Why the last attempt failed.
    failure: Option<String>,
}

/// What this process believes of its own leadership.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Leads {
    until: Instant,
    term: i64,
}

impl<O: Objects> Elector<O> {
    async fn run(mut self, stopped: oneshot::Receiver<()>) {
        tokio::select! {
            () = self.turns() => {}
            // Also when the other end is dropped.
            _ = stopped => {}
        }
        self.give_back().await;
    }

    async fn turns(&mut self) {
        loop {
            let next = self.turn().await;
            sleep_until(next).await;
        }
    }

    /// One attempt; when the next one is due.
    async fn turn(&mut self) -> Instant {
        self.lapse();
        let mut limit = Instant::now() + self.timings.attempt;
        if let Some(leads) = self.leads {
            // So that the end of the leadership is told when it comes.
            limit = limit.min(leads.until);
        }
        let tried = match timeout_at(limit, self.attempt()).await {
            Ok(tried) => tried,
            Err(_) => Err(Failure::Other("the API server does not answer in time".to_owned())),
        };
        match tried {
            Ok(next) => {
                self.failure = None;
                next
            }
            Err(Failure::Conflict) => Instant::now() + CONFLICT_PAUSE,
            Err(Failure::Other(reason)) => self.fail(reason),
        }
    }

    async fn attempt(&mut self) -> Result<Instant, Failure> {
        self.current = self.objects.read().await?;
        let now = Instant::now();
        self.observed.see(self.current.as_ref().map(Record::of), now);
        let term = self.leads.map(|leads| leads.term);
        match decide(&self.observed, now, &self.me, term, &self.timings) {
            Action::Follow { holder, free_at } => {
                if self.leads.take().is_some() {
                    tracing::warn!(lease = %self.name, holder, "the lease was taken by another");
                }
                self.tell(Leadership::Follows { holder });
                Ok(free_at.min(now + self.timings.renew))
            }
            Action::Write { term } => self.write(term).await,
        }
    }

    async fn write(&mut self, term: i64) -> Result<Instant, Failure> {
        // The lease holds from when it is written, which is not before this.
        let sent = Instant::now();
        let wall = Timestamp::now();
        let lease =
            object::held(self.current.take(), &self.name, &self.me, term, self.timings.duration, wall);
        let written = self.objects.write(lease).await?;
        self.observed.see(Some(Record::of(&written)), Instant::now());
        self.current = Some(written);
        if self.leads.is_none_or(|leads| leads.term != term) {
            tracing::info!(lease = %self.name, term, "this process leads");
        }
        let until = sent + self.timings.deadline;
        self.leads = Some(Leads { until, term });
        self.tell(Leadership::Leads { until, term });
        Ok(sent + self.timings.renew)
    }

    /// Says that the leadership is over if its time is.
    fn lapse(&mut self) {
        if self.leads.is_some_and(|leads| leads.until <= Instant::now()) {
            tracing::warn!(lease = %self.name, "the lease could not be renewed: this process leads no more");
            self.leads = None;
            self.tell(Leadership::Unknown);
        }
    }

    fn fail(&mut self, reason: String) -> Instant {
        self.lapse();
        if self.failure.as_ref() != Some(&reason) {
            tracing::warn!(lease = %self.name, reason, "the lease cannot be read or written");
        }
        self.failure = Some(reason);
        let next = Instant::now() + self.timings.retry;
        match self.leads {
            Some(leads) => next.min(leads.until),
            None => {
                self.tell(Leadership::Unknown);
                next
            }
        }
    }

    async fn give_back(mut self) {
        self.tell(Leadership::Unknown);
        let give_back = async {
            // A write may be on its way that nobody waited for.
            let lease = self.objects.read().await?;
            match lease.filter(|lease| Record::of(lease).holder == self.me) {
                Some(lease) => self.objects.write(object::released(lease, Timestamp::now())).await.map(drop),
                None => Ok(()),
            }
        };
        match timeout(self.timings.attempt, give_back).await {
            Ok(Ok(()) | Err(Failure::Conflict)) => {}
            Ok(Err(Failure::Other(reason))) => {
                tracing::warn!(lease = %self.name, reason, "the lease is not given back, and expires");
            }
            Err(_) => tracing::warn!(lease = %self.name, "the lease is not given back in time, and expires"),
        }
    }

    fn tell(&mut self, leadership: Leadership) {
        self.tell.send_if_modified(|told| {
            let changes = *told != leadership;
            *told = leadership;
            changes
        });
    }
}

#[cfg(test)]
mod tests;
