//! What comes next for a flip, from what is seen of the fleet. Pure.

use super::fleet::MemberView;
use super::record::{Alive, Flip, Phase, Totals, Warmth};
use std::collections::BTreeMap;
use std::time::Duration;

/// How long a new side that is not well enough may take to become so after every proxy has answered: a server that was
/// written just before the flip may not have been seen yet.
pub const GRACE: Duration = Duration::from_secs(1);
/// How long proxies get to answer; each gives its servers less.
pub const PREPARE_MAX: Duration = Duration::from_secs(15);
/// How long a forced flip waits for proxies to get ready.
pub const FORCED_MAX: Duration = Duration::from_secs(3);

/// Somebody that is waited for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Waiting {
    /// The member's name.
    pub member: String,
    /// What it has not done.
    pub reason: String,
}

/// How ready the proxies are.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Preparation {
    /// Members.
    pub of: usize,
    /// Those that are ready.
    pub done: usize,
    /// Those that live and have not answered.
    pub missing: Vec<Waiting>,
    /// Those that are lost; they are not waited for.
    pub lost: Vec<Waiting>,
    /// What is not well enough, by who says so.
    pub unwell: Vec<Waiting>,
}

/// How far a written flip is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Progress {
    /// Members.
    pub of: usize,
    /// Those that serve it.
    pub served: usize,
    /// Those in which no request can still begin on the old side by an older table.
    pub quiet: usize,
    /// Those that in addition have no request open there.
    pub drained: usize,
    /// Requests open there, as far as it is known.
    pub open: u64,
    /// Backends of the old side that something in force still names.
    pub named: Vec<String>,
    /// Every member has drained the old side and names it no more.
    pub safe: bool,
    /// Who has not, and what.
    pub waiting: Vec<Waiting>,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Look again when something changes.
    Wait,
    /// Write the new values.
    Commit,
    /// Give up before anything was changed.
    Refuse(String),
    /// Write the values before.
    Revert(String),
    /// It is over.
    Close,
}

/// The times that matter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Elapsed {
    /// Since proxies were asked to get ready.
    pub asked: Duration,
    /// Since everybody has answered and somebody said that the new side is not well; zero: nobody has.
    pub unwell: Duration,
    /// What is left of the bake; zero: nothing.
    pub bake_left: Duration,
    /// What is left of the time that the old side is kept warm after *safe*.
    pub warm_left: Duration,
}

/// How ready the proxies are for what a flip moves traffic to.
pub fn preparation(flip: &Flip, members: &[MemberView]) -> Preparation {
    let mut found = Preparation { of: members.len(), ..Preparation::default() };
    for member in members {
        let waiting = |reason: &str| Waiting { member: member.name.clone(), reason: reason.to_owned() };
        if member.boots.is_empty() {
            found.lost.push(waiting("it is lost"));
            continue;
        }
        let answers: Vec<_> = member
            .boots
            .iter()
            .map(|(_, alive)| alive.flips.get(&flip.id).map(|view| &view.prepared))
            .collect();
        let answered =
            |backend: &&str| answers.iter().all(|view| view.is_some_and(|view| view.contains_key(*backend)));
        if !flip.new_side().iter().all(answered) {
            found.missing.push(waiting("it has not said that it is ready"));
            continue;
        }
        found.done += 1;
        for prepared in answers.into_iter().flatten() {
            for backend in flip.new_side() {
                let Some(warmth) = prepared.get(backend) else { continue };
                let needed = flip.min_healthy.needed(warmth.active);
                if warmth.well < needed {
                    found.unwell.push(waiting(&unwell(backend, warmth, needed)));
                }
            }
        }
    }
    found
}

fn unwell(backend: &str, warmth: &Warmth, needed: u32) -> String {
    let Warmth { active, well, unwell } = warmth;
    if *active == 0 {
        return format!("{backend} has no server that takes requests");
    }
    let mut text = format!("{well} of {active} servers of {backend} are well, and {needed} must be");
    for (place, (server, reason)) in unwell.iter().enumerate() {
        text.push_str(if place == 0 { ": " } else { ", " });
        text.push_str(&format!("{server} ({reason})"));
    }
    text
}

/// How far the members are with a flip that was written at `revision`.
pub fn progress(flip: &Flip, revision: u64, members: &[MemberView]) -> Progress {
    let mut found = Progress { of: members.len(), ..Progress::default() };
    let mut free = 0;
    for member in members {
        let mut waiting =
            |reason: String| found.waiting.push(Waiting { member: member.name.clone(), reason });
        if member.boots.is_empty() {
            waiting("it is lost: it may be cut off and still send requests to the old side".to_owned());
            continue;
        }
        let all = |check: &dyn Fn(&Alive) -> bool| member.boots.iter().all(|(_, alive)| check(alive));
        if let Some(reason) = member.boots.iter().find_map(|(_, alive)| unserved(flip, revision, alive)) {
            waiting(reason);
            continue;
        }
        found.served += 1;
        if !all(&|alive| alive.quiet >= revision) {
            waiting("requests that began before can still go to the old side".to_owned());
            continue;
        }
        found.quiet += 1;
        let views = || {
            member.boots.iter().flat_map(|(_, alive)| {
                flip.old_side().into_iter().map(move |id| (id.to_owned(), alive.backends.get(id)))
            })
        };
        let open: u64 = views().filter_map(|(_, view)| view).map(|view| view.in_flight).sum();
        found.open += open;
        if views().any(|(_, view)| view.is_none()) {
            waiting("it has not told of the old side".to_owned());
            continue;
        }
        for (id, view) in views() {
            if view.is_some_and(|view| view.named) && !found.named.contains(&id) {
                found.named.push(id);
            }
        }
        if open > 0 {
            waiting(format!("{open} requests are open on the old side"));
            continue;
        }
        found.drained += 1;
        if views().all(|(_, view)| view.is_some_and(|view| view.free)) {
            free += 1;
        }
    }
    found.safe = found.drained == found.of && free == found.of;
    found
}

/// Why a process does not serve the flip yet.
fn unserved(flip: &Flip, revision: u64, alive: &Alive) -> Option<String> {
    if alive.served < revision {
        return Some(format!("it serves revision {}", alive.served));
    }
    match alive.flips.get(&flip.id) {
        None => Some("it has not told of this flip".to_owned()),
        Some(view) if !view.not_in_force.is_empty() => {
            let targets = view.not_in_force.join(", ");
            Some(format!("there {targets} still leads to the old side: the new value is not in force"))
        }
        Some(_) => None,
    }
}

/// What comes next before the write.
pub fn before_commit(flip: &Flip, preparation: &Preparation, elapsed: Elapsed, patience: Duration) -> Step {
    let listed = |list: &[Waiting]| {
        let texts: Vec<_> = list.iter().map(|it| format!("{}: {}", it.member, it.reason)).collect();
        texts.join("; ")
    };
    let is_answered = preparation.missing.is_empty();
    if is_answered && (preparation.unwell.is_empty() || flip.force) {
        return Step::Commit;
    }
    if flip.force {
        return if elapsed.asked >= FORCED_MAX.min(patience) { Step::Commit } else { Step::Wait };
    }
    if !preparation.unwell.is_empty() && is_answered && elapsed.unwell >= GRACE {
        return Step::Refuse(listed(&preparation.unwell));
    }
    if elapsed.asked >= PREPARE_MAX.min(patience) {
        let all: Vec<_> = preparation.unwell.iter().chain(&preparation.missing).cloned().collect();
        return Step::Refuse(listed(&all));
    }
    Step::Wait
}

/// What comes next after the write. `worse`: why the new side has to go, if it has to.
pub fn after_commit(flip: &Flip, progress: &Progress, elapsed: Elapsed, worse: Option<String>) -> Step {
    debug_assert_eq!(flip.phase, Phase::Committed);
    match worse {
        Some(reason) => Step::Revert(reason),
        None if progress.safe && elapsed.bake_left.is_zero() && elapsed.warm_left.is_zero() => Step::Close,
        None => Step::Wait,
    }
}

/// What a process has counted of the new side.
fn of_new_side(flip: &Flip, alive: &Alive) -> Totals {
    let views = flip.new_side().into_iter().filter_map(|id| alive.backends.get(id));
    views.map(|view| view.totals).fold(Totals::default(), Totals::plus)
}

/// By process: what it has counted of the new side.
pub fn base(flip: &Flip, members: &[MemberView]) -> BTreeMap<String, Totals> {
    let boots = members.iter().flat_map(|member| &member.boots);
    boots.map(|(boot, alive)| (boot.clone(), of_new_side(flip, alive))).collect()
}

/// What the new side has counted since the write.
pub fn counted(flip: &Flip, members: &[MemberView]) -> Totals {
    let boots = members.iter().flat_map(|member| &member.boots);
    boots
        .map(|(boot, alive)| of_new_side(flip, alive).since(flip.base.get(boot).copied().unwrap_or_default()))
        .fold(Totals::default(), Totals::plus)
}

/// The old side's last minute, over all members.
pub fn baseline(flip: &Flip, members: &[MemberView]) -> Totals {
    let boots = members.iter().flat_map(|member| &member.boots);
    let views = boots.filter_map(|(_, alive)| alive.flips.get(&flip.id));
    views.map(|view| view.baseline).fold(Totals::default(), Totals::plus)
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
