//! What comes next in a deployment: pure. A deployment goes forward stage by stage; from a failure on it goes back,
//! undoing what its stages did, last first. Which stage it is in is written down before anything of that stage is done,
//! so that whoever takes a deployment over knows what may have happened.

use super::record::Status;
use serde::{Deserialize, Serialize};
use std::fmt;

/// A part of a deployment that is done, or undone, as one. In order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Stage {
    /// The cluster would take all objects, and there is room for the new version beside the old one. Nothing is created.
    Validate,
    /// The hook before the flip, a Job; undone: no Job.
    Migrate,
    /// The new version's Deployment and backend; undone: neither, nor pods nor servers.
    Create,
    /// All pods are ready, as Kubernetes sees it.
    Ready,
    /// All pods say that they are healthy, asked on their own addresses.
    Health,
    /// All ready pods are servers of the backend.
    Register,
    /// The alias leads to the new version; undone: to the old one, with nothing open on the new one.
    Flip,
    /// Frontends, their middlewares and the host are as the descriptor says; undone: as before.
    Route,
    /// The Service within the cluster selects the new version; undone: the old one.
    Service,
    /// The flip's record is closed: the new side did well for as long as was asked, the old one is safe.
    Bake,
    /// The hook after the flip, a Job; undone: no Job.
    Follow,
    /// Time for what came through the Service to end.
    Drain,
    /// The old version stays, so that the way back is short.
    KeepWarm,
    /// Nothing leads to the application: no frontend, no alias, no Service.
    Detach,
    /// The version that is over is removed: Deployment, pods, servers, backend. From here on there is no way back.
    Destroy,
}

/// What a deployment's work is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Task {
    /// A version takes the place of another, or is the first.
    Deploy,
    /// A version that is live goes, and nothing takes its place.
    Undeploy,
}

/// Which way it goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Course {
    /// Stages are done.
    Forward,
    /// Stages are undone.
    Back,
}

/// Where a deployment is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Position {
    /// What is to be done.
    pub task: Task,
    /// The stage that is being done or undone.
    pub stage: Stage,
    /// Which of the two.
    pub course: Course,
    /// When that began, in milliseconds since 1970.
    pub entered: u64,
    /// Why it goes back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What a look at a stage came to. Every look is idempotent: it does what is still to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Look {
    /// The stage is done, or undone.
    Done,
    /// Not yet, and what it waits for.
    Waits(String),
    /// It will not be done, and why.
    Failed(String),
    /// The store or the API server does not answer. The time does not count.
    Away(String),
}

/// What somebody asked of a deployment under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Ask {
    /// That it go back.
    Back,
    /// That the old version stay warm no longer.
    Finish,
}

/// What comes next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// The same stage again, after a while.
    Stay,
    /// This is to be written down, and then to be done.
    Enter(Position),
    /// It is over; if it failed, why.
    End(Status, Option<String>),
}

/// What happens when a stage has had its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Overdue {
    /// The deployment fails.
    Fails,
    /// It goes on, and says so.
    GoesOn,
    /// It waits on.
    Waits,
}

const DEPLOY: [Stage; 14] = [
    Stage::Validate,
    Stage::Migrate,
    Stage::Create,
    Stage::Ready,
    Stage::Health,
    Stage::Register,
    Stage::Flip,
    Stage::Route,
    Stage::Service,
    Stage::Bake,
    Stage::Follow,
    Stage::Drain,
    Stage::KeepWarm,
    Stage::Destroy,
];
const UNDEPLOY: [Stage; 3] = [Stage::Detach, Stage::Drain, Stage::Destroy];

impl Task {
    /// All stages, in order.
    pub fn stages(self) -> &'static [Stage] {
        match self {
            Self::Deploy => &DEPLOY,
            Self::Undeploy => &UNDEPLOY,
        }
    }

    /// How it ends when all stages are done.
    fn goal(self) -> Status {
        match self {
            Self::Deploy => Status::Deployed,
            Self::Undeploy => Status::Undeployed,
        }
    }
}

impl Stage {
    /// Whether it did something that has to be undone.
    pub fn has_undo(self) -> bool {
        matches!(self, Self::Migrate | Self::Create | Self::Flip | Self::Route | Self::Service | Self::Follow)
    }

    /// What its time's end means.
    pub fn overdue(self) -> Overdue {
        match self {
            Self::Bake => Overdue::GoesOn,
            Self::Drain | Self::KeepWarm | Self::Detach | Self::Destroy => Overdue::Waits,
            _ => Overdue::Fails,
        }
    }

    /// For keys, logs and the API: `keepWarm`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Validate => "validate",
            Self::Migrate => "migrate",
            Self::Create => "create",
            Self::Ready => "ready",
            Self::Health => "health",
            Self::Register => "register",
            Self::Flip => "flip",
            Self::Route => "route",
            Self::Service => "service",
            Self::Bake => "bake",
            Self::Follow => "follow",
            Self::Drain => "drain",
            Self::KeepWarm => "keepWarm",
            Self::Detach => "detach",
            Self::Destroy => "destroy",
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Position {
    /// The beginning of a task.
    pub fn first(task: Task, now: u64) -> Self {
        let stage = task.stages().first().copied().unwrap_or(Stage::Validate);
        Self { task, stage, course: Course::Forward, entered: now, reason: None }
    }

    /// Whether it can still be sent back.
    pub fn can_go_back(&self) -> bool {
        self.task == Task::Deploy && self.course == Course::Forward && self.stage < Stage::Detach
    }

    fn at(&self, stage: Stage, now: u64) -> Self {
        Self { stage, entered: now, ..self.clone() }
    }

    fn after(&self, now: u64) -> Next {
        let mut rest = self.task.stages().iter().skip_while(|stage| **stage != self.stage).skip(1);
        match rest.next() {
            Some(stage) => Next::Enter(self.at(*stage, now)),
            None => Next::End(self.task.goal(), None),
        }
    }

    /// The last stage before or, if `with` says so, at this one that has something to undo.
    fn before(&self, with: bool, now: u64) -> Next {
        let earlier =
            |stage: &&Stage| stage.has_undo() && (**stage < self.stage || with && **stage == self.stage);
        match self.task.stages().iter().rev().find(earlier) {
            Some(stage) => Next::Enter(Self { course: Course::Back, ..self.at(*stage, now) }),
            None => Next::End(Status::Failure, self.reason.clone()),
        }
    }

    fn back(&self, reason: String, now: u64) -> Next {
        Self { reason: Some(reason), ..self.clone() }.before(true, now)
    }
}

/// What comes next after a look at the stage of `position`. `over`: the stage has had its time, not counting that during
/// which the store or the API server was away. `now`: milliseconds since 1970.
pub fn next(position: &Position, look: &Look, over: bool, ask: Option<Ask>, now: u64) -> Next {
    if position.course == Course::Back {
        // What was begun is undone, however long it takes.
        return if *look == Look::Done { position.before(false, now) } else { Next::Stay };
    }
    if ask == Some(Ask::Back) && position.can_go_back() {
        return position.back("it was asked to go back".to_owned(), now);
    }
    match look {
        Look::Done => position.after(now),
        Look::Away(_) => Next::Stay,
        Look::Waits(_) if ask == Some(Ask::Finish) && position.stage == Stage::KeepWarm => {
            position.after(now)
        }
        Look::Waits(what) if over => match position.stage.overdue() {
            Overdue::Fails => position.back(format!("{}: not in time: {what}", position.stage), now),
            Overdue::GoesOn => position.after(now),
            Overdue::Waits => Next::Stay,
        },
        Look::Failed(reason) if position.can_go_back() => {
            position.back(format!("{}: {reason}", position.stage), now)
        }
        Look::Waits(_) | Look::Failed(_) => Next::Stay,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a task whose looks come to `Done`, but at `fails`. The stages done, those undone, and the end.
    fn run(task: Task, fails: Option<(Stage, Look, bool)>) -> (Vec<Stage>, Vec<Stage>, Status) {
        let (mut done, mut undone, mut position) = (Vec::new(), Vec::new(), Position::first(task, 0));
        for now in 1..100 {
            let (look, over) = match &fails {
                Some((stage, look, over))
                    if *stage == position.stage && position.course == Course::Forward =>
                {
                    (look.clone(), *over)
                }
                _ => (Look::Done, false),
            };
            match position.course {
                Course::Forward if look == Look::Done => done.push(position.stage),
                Course::Forward => {}
                Course::Back => undone.push(position.stage),
            }
            match next(&position, &look, over, None, now) {
                Next::Stay => return (done, undone, Status::Deploying),
                Next::Enter(entered) => position = entered,
                Next::End(status, reason) => {
                    assert_eq!(reason.is_some(), status == Status::Failure, "{position:?}");
                    return (done, undone, status);
                }
            }
        }
        panic!("it does not end");
    }

    #[test]
    fn all_stages_in_order() {
        assert_eq!(run(Task::Deploy, None), (DEPLOY.to_vec(), Vec::new(), Status::Deployed));
        assert_eq!(run(Task::Undeploy, None), (UNDEPLOY.to_vec(), Vec::new(), Status::Undeployed));
        assert!(DEPLOY.is_sorted(), "{DEPLOY:?}");
    }

    #[test]
    fn a_failure_undoes_what_was_begun_last_first() {
        let failed = || Look::Failed("no".into());
        for (at, stage) in DEPLOY.iter().enumerate().filter(|(_, stage)| **stage != Stage::Destroy) {
            let (done, undone, status) = run(Task::Deploy, Some((*stage, failed(), false)));
            let expected: Vec<Stage> =
                DEPLOY[..=at].iter().rev().copied().filter(|stage| stage.has_undo()).collect();
            assert_eq!(
                (done.as_slice(), undone, status),
                (&DEPLOY[..at], expected, Status::Failure),
                "{stage}"
            );
        }
    }

    #[test]
    fn there_is_no_way_back_from_destroying() {
        for (task, stage) in [(Task::Deploy, Stage::Destroy), (Task::Undeploy, Stage::Detach)] {
            let (_, undone, status) = run(task, Some((stage, Look::Failed("no".into()), true)));
            assert_eq!((undone, status), (Vec::new(), Status::Deploying));
            let position = Position { stage, ..Position::first(task, 0) };
            let asked = next(&position, &Look::Waits(String::new()), false, Some(Ask::Back), 1);
            assert_eq!(asked, Next::Stay);
        }
    }

    #[test]
    fn time_counts_only_while_somebody_answers() {
        let (waits, away) = (Look::Waits("pods".into()), Look::Away("gone".into()));
        assert_eq!(run(Task::Deploy, Some((Stage::Ready, away, true))).2, Status::Deploying);
        assert_eq!(run(Task::Deploy, Some((Stage::Ready, waits.clone(), false))).2, Status::Deploying);
        assert_eq!(run(Task::Deploy, Some((Stage::Ready, waits.clone(), true))).2, Status::Failure);
        assert_eq!(run(Task::Deploy, Some((Stage::Bake, waits, true))).2, Status::Deployed);
    }

    #[test]
    fn it_does_what_is_asked() {
        let warm = Position { stage: Stage::KeepWarm, ..Position::first(Task::Deploy, 0) };
        let waits = Look::Waits("time".into());
        let finished = next(&warm, &waits, false, Some(Ask::Finish), 1);
        assert!(matches!(finished, Next::Enter(Position { stage: Stage::Destroy, .. })), "{finished:?}");
        let back = next(&warm, &waits, false, Some(Ask::Back), 1);
        let Next::Enter(back) = back else { panic!("{back:?}") };
        assert_eq!((back.stage, back.course), (Stage::Follow, Course::Back));
        assert_eq!(back.reason.as_deref(), Some("it was asked to go back"));
    }

    #[test]
    fn names_are_those_of_the_record() {
        for stage in DEPLOY.iter().chain(&UNDEPLOY) {
            assert_eq!(serde_json::to_value(stage).unwrap(), stage.as_str());
        }
    }
}
