//! What the store tells of flips and of the proxies.

use crate::deployer::charge::{Charge, Trouble};
use crate::deployer::flips::Work;
use crate::deployer::world::World;
use crate::flip::record::{FLIPS, Flip, OWNERS, Past, WATCH, read};
use crate::flip::{history, plan};
use crate::store::{Area, LeaseChoice, Operation, Transaction};
use std::time::{Duration, SystemTime};
use tokio::time::Instant;

/// How long proxies are asked to tell of a backend beyond the time that is waited for them.
const WATCH_SPARE: Duration = Duration::from_secs(10);

/// What stands of a flip in the store.
pub(super) enum Record {
    /// It is under way.
    Open(Box<Open>),
    /// It is over.
    Past(Box<Past>),
    /// Nothing: it was not written, or was long ago.
    Gone,
}

/// A flip that is under way.
pub(super) struct Open {
    /// As written.
    pub flip: Flip,
    /// At which its values were written, if they are.
    pub revision: u64,
    /// Somebody who lives runs it.
    pub owned: bool,
}

/// What stands of a flip in the store.
pub(super) async fn record(world: &World, id: &str) -> Result<Record, Trouble> {
    let key = format!("{FLIPS}{id}");
    if let (_, Some(entry)) = world.store.get(Area::State, &key).await? {
        let flip: Flip = read(&key, &entry.value).map_err(Trouble::Refused)?;
        let owner = format!("{OWNERS}{id}");
        let (_, owner) = world.store.get(Area::State, &owner).await?;
        let revision = if flip.revision > 0 { flip.revision } else { entry.version };
        return Ok(Record::Open(Box::new(Open { flip, revision, owned: owner.is_some() })));
    }
    let past = history(&world.store).await?.into_iter().find(|past| past.id == id);
    Ok(past.map_or(Record::Gone, |past| Record::Past(Box::new(past))))
}

/// Starts a task of a flip, under the charge's fence.
pub(super) fn start(world: &World, charge: &mut Charge, id: &str, work: Work) {
    let fence = vec![charge.fence()];
    charge.flips.start(id, work, world.store.clone(), fence);
}

/// Goes on with a flip whose owner has died, unless somebody does already.
pub(super) fn adopt(world: &World, charge: &mut Charge, open: &Open) {
    if !open.owned && !charge.flips.is_running(&open.flip.id) {
        charge.say("the flip's owner is gone; it is gone on with here");
        start(world, charge, &open.flip.id, Work::Resume);
    }
}

/// Writes what flips said into the log.
pub(super) fn hear(charge: &mut Charge) -> Result<(), Trouble> {
    let said = charge.flips.hear(&charge.app)?;
    for line in said {
        charge.say(line);
    }
    Ok(())
}

/// How far the proxies are with a written flip; a member that is lost is not among those that are waited for.
pub(super) struct Far {
    /// All that live serve it.
    pub served: bool,
    /// Nothing can reach the old side any more.
    pub safe: bool,
    /// Who has not, and what; may be empty.
    pub waiting: String,
}

/// How far the proxies are with a written flip.
pub(super) async fn far(world: &World, charge: &mut Charge, open: &Open) -> Result<Far, Trouble> {
    let now = Instant::now();
    let fleet = charge.flips.fleet(&world.store).await?;
    let (members, lost) = (fleet.members(now), fleet.lost(now).len());
    let found = plan::progress(&open.flip, open.revision, &members);
    let waiting: Vec<String> =
        found.waiting.iter().map(|it| format!("{}: {}", it.member, it.reason)).collect();
    Ok(Far { served: found.served + lost >= found.of, safe: found.safe, waiting: waiting.join("; ") })
}

/// Who of the proxies that live does not serve a revision yet; with a backend, also who has not drained it. None: all do.
pub(super) async fn behind(
    world: &World,
    charge: &mut Charge,
    revision: u64,
    drained: Option<&str>,
) -> Result<Option<String>, Trouble> {
    let now = Instant::now();
    let fleet = charge.flips.fleet(&world.store).await?;
    if fleet.members(now).iter().all(|member| member.boots.is_empty()) {
        charge.say("no proxy is there to wait for");
        return Ok(None);
    }
    let behind = fleet.behind(revision, drained, now);
    Ok((!behind.is_empty()).then(|| behind.join("; ")))
}

/// Asks the proxies to tell of a backend for so long.
pub(super) async fn watch(
    world: &World,
    charge: &mut Charge,
    backend: &str,
    time: Duration,
) -> Result<(), Trouble> {
    if charge.flips.note_watched(backend) {
        let (area, key) = (Area::State, watch_key(charge, backend));
        let lease = LeaseChoice::Ttl(time + WATCH_SPARE);
        let operations = vec![Operation::Put { area, key, value: "{}".into(), lease }];
        world.store.commit(Transaction { expect: Vec::new(), operations }).await?;
    }
    Ok(())
}

/// Lets them be silent again.
pub(super) async fn unwatch(world: &World, charge: &mut Charge, backend: &str) {
    if charge.flips.forget_watched() {
        let (area, key) = (Area::State, watch_key(charge, backend));
        let operations = vec![Operation::Delete { area, key }];
        // Its lease ends it in any case.
        let _ = world.store.commit(Transaction { expect: Vec::new(), operations }).await;
    }
}

fn watch_key(charge: &Charge, backend: &str) -> Box<str> {
    format!("{WATCH}{backend}/{}", charge.deployment.id).into()
}

/// How long the stage has lasted.
pub(super) fn since_entered(charge: &Charge) -> Duration {
    let entered = charge.deployment.position.as_ref().map_or(0, |position| position.entered);
    let now = crate::flip::record::unix_ms(SystemTime::now());
    Duration::from_millis(now.saturating_sub(entered))
}
