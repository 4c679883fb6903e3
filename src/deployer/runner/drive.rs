//! One charge, from look to look.

use super::Looks;
use crate::deployer::charge::{Beat, Charge, Timings, Trouble, beat, delete_state, one_line};
use crate::deployer::desk::Desk;
use crate::deployer::machine::{Ask, Course, Look, Next, Position, Stage, next};
use crate::deployer::record::{Status, ask_key};
use crate::flip::record::unix_ms;
use crate::kubernetes::{Backoff, Pauses};
use crate::store::{Area, Expected, Transaction};
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

/// Pauses after looks that failed.
const PAUSES: Pauses = Pauses { least: Duration::from_millis(500), most: Duration::from_secs(5) };
/// What is waited for is not said more often than this, and the longer it lasts the less often.
const SAID_EVERY: Duration = Duration::from_secs(2);
/// Of the time in a stage, the part for which nothing more is said.
const SAID_PART: u32 = 20;
/// The most that counts from one look to the next: a process that slept did not wait for anything.
const COUNTED_MAX: Duration = Duration::from_secs(30);
/// For so long after an API server was away, what it forbids may be allowed again: it does not know its rules yet.
const FORBIDS_MAX: Duration = Duration::from_secs(15);

/// What drives a charge.
pub(super) struct Parts {
    pub(super) desk: Desk,
    pub(super) looks: Arc<dyn Looks>,
    pub(super) timings: Timings,
    pub(super) stop: CancellationToken,
}

/// Moves a deployment on until it is over, another process has it, or this one ends.
pub(super) async fn drive(parts: Parts, charge: Charge) {
    let beat = beat(&charge, parts.timings);
    let now = Instant::now();
    let (spent, counted, said) = (Duration::ZERO, now, None);
    let (away, is_stamped, backoff) = (None, false, Backoff::new(PAUSES));
    let mut drive = Drive { parts, charge, spent, counted, away, said, is_stamped, backoff };
    match drive.run(&beat).await {
        End::Over => {}
        End::Lost => {
            tracing::warn!(app = %drive.charge.app, "another deployer has taken it over; nothing more is done here");
        }
        End::Stopped => {
            drop(beat);
            drive.charge.release().await;
        }
    }
}

/// Why nothing more is done here.
enum End {
    Over,
    Lost,
    Stopped,
}

struct Drive {
    parts: Parts,
    charge: Charge,
    /// Time in this stage, but for that during which the store or the API server was away.
    spent: Duration,
    /// Until when it is counted.
    counted: Instant,
    /// When the store or the API server was last away.
    away: Option<Instant>,
    /// When it was last said what is waited for.
    said: Option<Instant>,
    is_stamped: bool,
    backoff: Backoff,
}

impl Drive {
    async fn run(&mut self, beat: &Beat) -> End {
        self.say_stage();
        loop {
            if beat.lost.is_cancelled() {
                return End::Lost;
            }
            if self.parts.stop.is_cancelled() {
                return End::Stopped;
            }
            match self.turn(beat).await {
                Ok(Turn::Over) => return End::Over,
                Ok(Turn::Moved) => self.backoff.worked(),
                Ok(Turn::Stays) => {
                    self.backoff.worked();
                    self.pause(beat, Instant::now() + self.parts.timings.look).await;
                }
                Ok(Turn::Failed) => self.pause_longer(beat).await,
                Err(Trouble::Lost(_)) => return End::Lost,
                Err(trouble) => {
                    if matches!(trouble, Trouble::Away(_)) {
                        self.was_away();
                    }
                    tracing::debug!(app = %self.charge.app, %trouble, "not written");
                    self.pause_longer(beat).await;
                }
            }
        }
    }

    /// One look, and what comes of it.
    async fn turn(&mut self, beat: &Beat) -> Result<Turn, Trouble> {
        if !self.charge.settle().await? {
            return Ok(Turn::Over);
        }
        let Some(position) = self.charge.deployment.position.clone() else {
            self.charge.finish(Status::Failure, Some("its record does not say where it is".into())).await?;
            return Ok(Turn::Over);
        };
        let (ask, as_known) = self.asked();
        let look = self.look(&position, ask).await?;
        self.count(&look, beat);
        let over = self.parts.looks.time(position.stage, &self.charge).is_some_and(|time| self.spent >= time);
        // A look that did not write what it meant to is settled before anything else is written.
        if !self.charge.settle().await? {
            return Ok(Turn::Over);
        }
        match next(&position, &look, over, ask, unix_ms(SystemTime::now())) {
            Next::Stay => self.stay(&position, &look).await,
            Next::Enter(entered) => self.enter(&position, &look, entered, (ask, as_known)).await,
            Next::End(status, reason) => self.end(status, reason).await,
        }
    }

    fn asked(&self) -> (Option<Ask>, Expected) {
        self.parts.desk.asked(&self.charge.app, &self.charge.deployment.id)
    }

    async fn look(&mut self, position: &Position, ask: Option<Ask>) -> Result<Look, Trouble> {
        if ask == Some(Ask::Back) && position.can_go_back() {
            // What is undone anyway is not done before.
            return Ok(Look::Waits("it goes back".into()));
        }
        let looked = if self.is_stamped {
            self.parts.looks.look(&mut self.charge).await
        } else {
            match self.parts.looks.stamp(&mut self.charge).await {
                Ok(Look::Done) => {
                    self.is_stamped = true;
                    self.parts.looks.look(&mut self.charge).await
                }
                stamped => stamped,
            }
        };
        match looked {
            Ok(Look::Failed(reason)) if self.is_not_yet_back() && reason.contains("forbidden") => {
                Ok(Look::Waits(reason))
            }
            Err(Trouble::Away(reason)) => Ok(Look::Away(format!("the store does not answer: {reason}"))),
            Err(Trouble::Changed(key)) => Ok(Look::Waits(format!("{key} was changed meanwhile"))),
            Err(Trouble::Refused(reason)) => Ok(Look::Failed(one_line(reason))),
            looked => looked.map(bounded),
        }
    }

    fn count(&mut self, look: &Look, beat: &Beat) {
        let now = Instant::now();
        // Where a look had nothing to write, only signs of life tell of the store.
        if matches!(look, Look::Away(_)) || beat.is_away() {
            return self.was_away();
        }
        self.spent += now.saturating_duration_since(self.counted).min(COUNTED_MAX);
        self.counted = now;
    }

    /// The time until now does not count.
    fn was_away(&mut self) {
        let now = Instant::now();
        (self.counted, self.away) = (now, Some(now));
    }

    fn is_not_yet_back(&self) -> bool {
        self.away.is_some_and(|away| away.elapsed() < FORBIDS_MAX)
    }

    async fn stay(&mut self, position: &Position, look: &Look) -> Result<Turn, Trouble> {
        let what = name(position);
        let (turn, failure) = match look {
            Look::Done => (Turn::Stays, None),
            Look::Waits(text) => {
                let (now, rest) = (Instant::now(), SAID_EVERY.max(self.spent / SAID_PART));
                if self.said.is_none_or(|said| now.saturating_duration_since(said) >= rest) {
                    self.said = Some(now);
                    self.charge.say(format!("{what}: {text}"));
                }
                (Turn::Stays, None)
            }
            Look::Away(text) => {
                self.charge.say(format!("{what}: {text}; waits"));
                (Turn::Failed, self.charge.deployment.reason.clone())
            }
            Look::Failed(text) => {
                self.charge.say(format!("{what}: {text}; it is tried again"));
                (Turn::Failed, Some(format!("{}: {text}", position.stage)))
            }
        };
        if failure == self.charge.deployment.reason {
            self.charge.flush().await?;
        } else {
            self.charge.deployment.reason = failure;
            self.charge.save(Transaction::default()).await?;
        }
        Ok(turn)
    }

    async fn enter(
        &mut self,
        position: &Position,
        look: &Look,
        entered: Position,
        (ask, as_known): (Option<Ask>, Expected),
    ) -> Result<Turn, Trouble> {
        match (look, &entered.reason) {
            (Look::Done, _) => self.charge.say(format!("{}: done", name(position))),
            (_, Some(reason)) if position.course == Course::Forward && entered.course == Course::Back => {
                self.charge.say(format!("goes back: {reason}"));
            }
            (Look::Waits(text), _) => self.charge.say(format!("{}: goes on, though {text}", name(position))),
            _ => {}
        }
        let is_taken_up = match ask {
            Some(Ask::Back) => entered.course == Course::Back,
            Some(Ask::Finish) => entered.course == Course::Back || entered.stage > Stage::KeepWarm,
            None => false,
        };
        let mut also = Transaction::default();
        if is_taken_up || position.can_go_back() && !entered.can_go_back() {
            // What is asked at the same time is not passed over.
            also.expect.push((Area::State, ask_key(&self.charge.app), as_known));
        }
        if is_taken_up {
            also.operations.push(delete_state(ask_key(&self.charge.app)));
        }
        self.charge.deployment.position = Some(entered);
        self.charge.deployment.reason = None;
        self.charge.save(also).await?;
        (self.spent, self.counted, self.said) = (Duration::ZERO, Instant::now(), None);
        self.say_stage();
        Ok(Turn::Moved)
    }

    async fn end(&mut self, status: Status, reason: Option<String>) -> Result<Turn, Trouble> {
        self.charge.say(match (status, &reason) {
            (Status::Deployed, _) => format!("version {} is deployed", self.charge.deployment.version),
            (Status::Undeployed, _) => format!("version {} is undeployed", self.charge.deployment.version),
            (_, Some(reason)) => format!("failed, and all was undone: {reason}"),
            (_, None) => "failed".to_owned(),
        });
        self.charge.finish(status, reason).await?;
        Ok(Turn::Over)
    }

    /// Said once it is written down, and written with what the first look has to say.
    fn say_stage(&mut self) {
        if let Some(position) = &self.charge.deployment.position {
            let line = format!("{}: begins", name(position));
            self.charge.say(line);
        }
    }

    async fn pause_longer(&mut self, beat: &Beat) {
        self.backoff.failed();
        let until = self.backoff.until().unwrap_or_else(Instant::now);
        self.pause(beat, until).await;
    }

    /// Ends sooner when something is asked.
    async fn pause(&self, beat: &Beat, until: Instant) {
        let (before, mut changes) = (self.asked(), self.parts.desk.changes());
        let asked = async { while self.asked() == before && changes.changed().await.is_ok() {} };
        tokio::select! {
            () = sleep_until(until) => {}
            () = asked => {}
            () = self.parts.stop.cancelled() => {}
            () = beat.lost.cancelled() => {}
        }
    }
}

/// What a turn came to.
enum Turn {
    /// The next stage is entered.
    Moved,
    /// The same stage again.
    Stays,
    /// The same stage again, not too soon.
    Failed,
    /// The deployment is over.
    Over,
}

/// With a text that fits a record beside the descriptor: an API server may say a whole object back.
fn bounded(look: Look) -> Look {
    match look {
        Look::Done => Look::Done,
        Look::Waits(text) => Look::Waits(one_line(text)),
        Look::Failed(text) => Look::Failed(one_line(text)),
        Look::Away(text) => Look::Away(one_line(text)),
    }
}

fn name(position: &Position) -> String {
    match position.course {
        Course::Forward => position.stage.to_string(),
        Course::Back => format!("undo {}", position.stage),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_say_fits_a_record_and_a_terminal() {
        let long = "x".repeat(2 * 1024 * 1024);
        for (look, expected) in [
            (Look::Failed(format!("a\u{1b}[2J\nb{long}")), "a [2J bx"),
            (Look::Waits(long.clone()), "xxx"),
            (Look::Away(long.clone()), "xxx"),
        ] {
            let (Look::Failed(text) | Look::Waits(text) | Look::Away(text)) = bounded(look) else { panic!() };
            assert!(text.len() <= 4096 && text.starts_with(expected), "{expected}");
        }
    }
}
