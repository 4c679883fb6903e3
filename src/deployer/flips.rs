//! The flips that a charge runs, each in a task of its own, and the fleet as it follows it. What matters of a flip stands
//! in the store; from here come the lines for the log, and why a flip was refused, which is written nowhere.

use super::charge::Trouble;
use super::record::application_key;
use crate::flip::record::Flip;
use crate::flip::{Event, Fleet, FlipError, Outcome, Runner};
use crate::kubernetes::Name;
use crate::store::{Area, Expected, Store, StoreError};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

/// Lines of one flip that wait to be taken; what is beyond is not kept.
const LINES_MAX: usize = 256;
/// How long the fleet is followed without being asked for.
const FOLLOWED_FOR: Duration = Duration::from_secs(5);

/// The flips of one charge. Dropping it ends their tasks; a written flip is then gone on with by others.
#[derive(Default)]
pub(super) struct Flips {
    tasks: BTreeMap<String, Task>,
    /// Flips that were refused, and why.
    refused: BTreeMap<String, String>,
    followed: Option<Followed>,
    /// The backend that proxies were asked to tell of.
    watched: Option<String>,
}

struct Task {
    lines: mpsc::Receiver<String>,
    last: String,
    end: oneshot::Receiver<Result<Outcome, FlipError>>,
    resumes: bool,
    _handle: AbortOnDropHandle<()>,
}

struct Followed {
    runner: Runner,
    used: Instant,
}

/// What is to be done with a flip.
pub(super) enum Work {
    /// It is carried out; it may take so long until it is safe.
    Flip(Box<Flip>, Duration),
    /// It is gone on with, or taken away where nothing was written.
    Resume,
    /// The last flip of a target is undone.
    Rollback {
        /// `alias/ID`.
        target: String,
        /// Who asks.
        by: String,
        /// How long it may take until it is safe.
        wait: Duration,
    },
}

impl Flips {
    /// Starts a task for a flip, in place of a former one.
    pub(super) fn start(&mut self, id: &str, work: Work, store: Arc<dyn Store>, fence: Fence) {
        let (tell, lines) = mpsc::channel(LINES_MAX);
        let (ends, end) = oneshot::channel();
        let (own, resumes) = (id.to_owned(), matches!(work, Work::Resume));
        let handle = tokio::spawn(async move {
            // Nobody listens where the charge is over.
            let _ = ends.send(run(&own, work, store, fence, tell).await);
        });
        let task = Task { lines, last: String::new(), end, resumes, _handle: AbortOnDropHandle::new(handle) };
        self.tasks.insert(id.to_owned(), task);
    }

    /// Ends a flip's task.
    pub(super) fn stop(&mut self, id: &str) {
        self.tasks.remove(id);
    }

    /// Whether a flip's task runs.
    pub(super) fn is_running(&self, id: &str) -> bool {
        self.tasks.contains_key(id)
    }

    /// Whether it runs to go on with a flip of somebody else, or to take it away.
    pub(super) fn is_resuming(&self, id: &str) -> bool {
        self.tasks.get(id).is_some_and(|task| task.resumes)
    }

    /// What a flip's task said last.
    pub(super) fn last_line(&self, id: &str) -> &str {
        self.tasks.get(id).map(|task| task.last.as_str()).unwrap_or_default()
    }

    /// Why a flip was refused.
    pub(super) fn refusal(&self, id: &str) -> Option<&str> {
        self.refused.get(id).map(String::as_str)
    }

    /// How many flips were refused.
    pub(super) fn refusals(&self) -> usize {
        self.refused.len()
    }

    /// Takes what tasks said, and forgets those that have ended.
    ///
    /// # Errors
    /// A flip was not written, since another process has the application in its charge.
    pub(super) fn hear(&mut self, app: &Name) -> Result<Vec<String>, Trouble> {
        let (mut said, mut ended) = (Vec::new(), Vec::new());
        for (id, task) in &mut self.tasks {
            // First: what is said before the end is in the queue then.
            let end = task.end.try_recv();
            while let Ok(line) = task.lines.try_recv() {
                task.last.clone_from(&line);
                said.push(line);
            }
            match end {
                Err(oneshot::error::TryRecvError::Empty) => {}
                Err(oneshot::error::TryRecvError::Closed) => ended.push((id.clone(), None)),
                Ok(end) => ended.push((id.clone(), Some(end))),
            }
        }
        for (id, end) in ended {
            let resumed = self.tasks.remove(&id).is_some_and(|task| task.resumes);
            match end {
                Some(
                    Ok(Outcome::Refused(reason))
                    | Err(FlipError::Refused(reason) | FlipError::Invalid(reason)),
                ) if !resumed => {
                    said.push(format!("the flip was refused: {reason}"));
                    self.refused.insert(id, reason);
                }
                Some(Err(FlipError::Store(StoreError::Conflict { key })))
                    if *key == *application_key(app) =>
                {
                    return Err(Trouble::Lost(app.clone()));
                }
                // The store says how things are.
                _ => {}
            }
        }
        Ok(said)
    }

    /// The fleet, with all that was told so far.
    ///
    /// # Errors
    /// The store does not answer.
    pub(super) async fn fleet(&mut self, store: &Arc<dyn Store>) -> Result<&Fleet, Trouble> {
        let now = Instant::now();
        let mut followed = match self.followed.take() {
            Some(followed) if now.saturating_duration_since(followed.used) < FOLLOWED_FOR => followed,
            _ => Followed { runner: Runner::open(store.clone()).await?, used: now },
        };
        followed.used = Instant::now();
        followed.runner.catch_up();
        Ok(self.followed.insert(followed).runner.fleet())
    }

    /// Notes that proxies are asked to tell of a backend; false: they were already.
    pub(super) fn note_watched(&mut self, backend: &str) -> bool {
        let is_new = self.watched.as_deref() != Some(backend);
        self.watched = Some(backend.to_owned());
        is_new
    }

    /// Notes that they no longer are; true: they were.
    pub(super) fn forget_watched(&mut self) -> bool {
        self.watched.take().is_some()
    }
}

/// What all writes of a flip expect.
pub(super) type Fence = Vec<(Area, Box<str>, Expected)>;

async fn run(
    id: &str,
    work: Work,
    store: Arc<dyn Store>,
    fence: Fence,
    tell: mpsc::Sender<String>,
) -> Result<Outcome, FlipError> {
    let mut runner = Runner::open(store).await?.with_fence(fence);
    let mut sink = |event: Event| {
        // A line that nobody has room for is only a line.
        let _ = tell.try_send(event.to_string());
    };
    match work {
        Work::Flip(flip, wait) => runner.flip(*flip, wait, &mut sink).await,
        Work::Resume => runner.resume(id, &mut sink).await,
        Work::Rollback { target, by, wait } => runner.rollback(id, &target, &by, wait, &mut sink).await,
    }
}

impl From<FlipError> for Trouble {
    fn from(error: FlipError) -> Self {
        match error {
            FlipError::Invalid(reason) | FlipError::Refused(reason) => Self::Refused(reason),
            FlipError::Store(error) => error.into(),
        }
    }
}
