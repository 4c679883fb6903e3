//! The way back: the values before, in one write.

use super::fleet::Fleet;
use super::past::{self, history};
use super::record::{Deed, Ending, FLIPS, Flip, FlipTarget, MinHealthy, Past, Phase, Totals, unix_ms, write};
use super::request::{self, find, put};
use super::runner::{Runner, put_state, revision_of};
use super::{FlipError, OpenFlip};
use crate::store::{Area, Expected, Store, StoreError, Transaction};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;
use tokio::time::Instant;

/// Ends written flips whose targets `flip` moves on.
pub(super) fn supersede(fleet: &Fleet, flip: &Flip, ending: Ending, transaction: &mut Transaction) {
    for open in fleet.flips(Instant::now()) {
        let meets = open.flip.targets.iter().any(|old| flip.targets.iter().any(|new| new.key == old.key));
        if open.flip.id != flip.id && open.flip.phase == Phase::Committed && meets {
            let reason = match flip.deed {
                Deed::Flip => format!("a later flip by {} moved its targets on", flip.by),
                Deed::Rollback => format!("undone by {}", flip.by),
            };
            let past = Past::of(&open.flip, revision_of(&open), ending, reason, Totals::default());
            past::end(transaction, &past, open.version);
        }
    }
}

/// Writes the values before the last written flip of `target` again, as a flip of its own. The revision.
pub(super) async fn undo_last(
    runner: &mut Runner,
    id: &str,
    target: &str,
    by: &str,
) -> Result<u64, FlipError> {
    let store = runner.store.clone();
    let name = find(&store, target).await?.name;
    let is_about = |targets: &[FlipTarget]| targets.iter().any(|it| it.target == name);
    let now = SystemTime::now();
    let open = runner.fleet().flips(Instant::now());
    let open =
        open.into_iter().filter(|open| open.flip.phase == Phase::Committed && is_about(&open.flip.targets));
    let mut candidates: Vec<Past> =
        history(&store).await?.into_iter().filter(|it| is_about(&it.targets)).collect();
    candidates.extend(
        open.map(|it| Past::of(&it.flip, revision_of(&it), Ending::Closed, String::new(), Totals::default())),
    );
    // What was rolled back by its own bake is undone already, as is what a rollback cut short.
    let undone: Vec<String> = candidates.iter().filter_map(|it| it.undoes.clone()).collect();
    let is_undone = |it: &Past| it.ending == Ending::RolledBack || undone.contains(&it.id);
    let last = candidates.into_iter().filter(|it| !is_undone(it)).max_by_key(|it| it.revision);
    let Some(last) = last else {
        return Err(FlipError::Refused(format!("the history has no flip of {name} to undo")));
    };
    let mut transaction = Transaction::default();
    let mut targets = Vec::new();
    for moved in &last.targets {
        let current = current(&store, moved).await?;
        put(
            &mut transaction,
            &moved.key,
            current.version,
            request::restored(moved, &current.value, &moved.previous)?,
        );
        targets.push(FlipTarget {
            target: moved.target.clone(),
            key: moved.key.clone(),
            version: current.version,
            from: moved.to.clone(),
            to: moved.from.clone(),
            old: moved.new.clone(),
            new: moved.old.clone(),
            previous: String::from_utf8_lossy(&current.value).into_owned(),
        });
    }
    let flip = Flip {
        id: id.to_owned(),
        deed: Deed::Rollback,
        by: by.to_owned(),
        since: unix_ms(now),
        phase: Phase::Committed,
        targets,
        min_healthy: MinHealthy::Count(0),
        force: true,
        bake: None,
        keep_warm_ms: None,
        owner: runner.me.clone(),
        revision: 0,
        committed_at: unix_ms(now),
        safe_at: 0,
        baseline: Totals::default(),
        base: BTreeMap::new(),
        undoes: Some(last.id.clone()),
    };
    let key: Box<str> = format!("{FLIPS}{}", flip.id).into();
    transaction.expect.push((Area::State, key.clone(), Expected::Absent));
    transaction.operations.push(put_state(key, write(&flip)));
    transaction.operations.push(runner.owner_put(&flip.id));
    supersede(runner.fleet(), &flip, Ending::RolledBack, &mut transaction);
    match runner.commit_fenced(transaction).await {
        Ok(revision) => Ok(revision.0),
        Err(StoreError::Conflict { key }) if !key.starts_with(FLIPS) && !runner.is_fence(&key) => {
            Err(FlipError::Refused(format!("{key} was changed meanwhile; nothing was changed")))
        }
        Err(error) => Err(error.into()),
    }
}

/// Writes the values before an open flip again and ends it. The revision.
pub(super) async fn revert(
    runner: &mut Runner,
    open: &OpenFlip,
    revision: u64,
    reason: &str,
    counted: Totals,
) -> Result<u64, FlipError> {
    let mut transaction = Transaction::default();
    for moved in &open.flip.targets {
        let current = current(&runner.store, moved).await?;
        put(
            &mut transaction,
            &moved.key,
            current.version,
            request::restored(moved, &current.value, &moved.previous)?,
        );
    }
    let past = Past::of(&open.flip, revision, Ending::RolledBack, reason.to_owned(), counted);
    past::end(&mut transaction, &past, open.version);
    Ok(runner.commit_fenced(transaction).await?.0)
}

/// A target as it stands, which must lead to where it was moved.
async fn current(store: &Arc<dyn Store>, moved: &FlipTarget) -> Result<crate::store::Entry, FlipError> {
    let found = find(store, &moved.target).await?;
    if found.leads_to != moved.to || *found.entry.key != *moved.key {
        return Err(FlipError::Refused(format!(
            "{} leads to {} now, not to {}, where the last flip moved it; use `flipgate flip` to move it",
            moved.target,
            found.leads_to.join(", "),
            moved.to.join(", ")
        )));
    }
    Ok(found.entry)
}
