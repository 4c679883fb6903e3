//! The version that is over goes: Deployment and pods, then servers and backend.

use super::alias::{self, Alias};
use super::change::removal;
use crate::deployer::charge::{Charge, Trouble};
use crate::deployer::cluster::{Cluster, Fate, Pods, Stop, Which, record, routing, settle};
use crate::deployer::machine::{Look, Task};
use crate::deployer::record::{Deployment as Record, Made};
use crate::deployer::routing as table;
use crate::deployer::world::World;
use crate::flip::record::unix_ms;
use crate::model::{Backend, Object, ObjectKey, Strictness};
use crate::store::{Area, Entry, Transaction};
use k8s_openapi::api::apps::v1::Deployment;
use std::time::{Duration, SystemTime};

/// How long a registrar has to remove the servers of pods that are gone.
const REGISTRAR_MAX: Duration = Duration::from_secs(15);

/// A version that is to go.
#[derive(Debug, Clone)]
pub(super) struct Version {
    /// The deployment that made it.
    id: String,
    made: Made,
    /// It is that of the deployment under way.
    is_own: bool,
}

impl Version {
    /// That of the deployment under way.
    pub(super) fn own(charge: &Charge) -> Option<Self> {
        let made = charge.deployment.made.clone()?;
        Some(Self { id: charge.deployment.id.clone(), made, is_own: true })
    }

    /// The one before.
    fn previous(charge: &Charge) -> Option<Self> {
        let previous = charge.deployment.facts.previous.clone()?;
        Some(Self { id: previous.id, made: previous.made, is_own: false })
    }

    fn which(&self) -> Which<'_> {
        self.made.uid.as_deref().map_or(Which::Of(&self.id), Which::Uid)
    }
}

pub(super) async fn look(world: &World, charge: &mut Charge) -> Result<Look, Trouble> {
    let task = charge.deployment.position.as_ref().map_or(Task::Deploy, |position| position.task);
    let version = match task {
        Task::Deploy => Version::previous(charge),
        Task::Undeploy => Version::own(charge),
    };
    settle(match version {
        Some(version) => remove(world, charge, &version).await,
        None => Ok(Look::Done),
    })
}

/// Removes a version, once nothing leads to it any more.
pub(super) async fn remove(world: &World, charge: &mut Charge, version: &Version) -> Result<Look, Stop> {
    let Made { name, backend, .. } = &version.made;
    let all = world.store.list(Area::Routing).await?;
    if let Some(key) = named(&all.entries, backend) {
        return Err(Stop::waits(format!("{key} still leads to {backend}")));
    }
    let cluster = Cluster::of(world, charge);
    // In the foreground: as long as it is there, so may be pods.
    if !cluster.remove::<Deployment>(name, version.which(), Fate::First).await? {
        return Err(Stop::waits(format!("the Deployment {name} is being removed")));
    }
    let pods = Pods::of(&cluster, name).await?;
    if pods.len() > 0 {
        return Err(Stop::waits(format!("{} pods of {name} are ending", pods.len())));
    }
    let keys = keys(world, backend, all.entries).await?;
    if keys.servers.is_empty() || is_overdue(charge).await? {
        return forget(world, charge, version, keys).await;
    }
    Ok(Look::Waits(format!("the registrar has still to remove {} servers of {backend}", keys.servers.len())))
}

/// What the table has of a backend.
#[derive(Debug, Default)]
struct Keys {
    servers: Vec<Entry>,
    backend: Option<Entry>,
}

async fn keys(world: &World, backend: &str, entries: Vec<Entry>) -> Result<Keys, Stop> {
    let key = table::backend_key(backend);
    let below = format!("backends/{backend}/servers/");
    let mut keys = Keys { backend: routing(world, &key).await?, servers: Vec::new() };
    keys.servers.extend(entries.into_iter().filter(|entry| entry.key.starts_with(&below)));
    Ok(keys)
}

/// Whether the pods have been gone for so long that no registrar can be expected to remove their servers.
async fn is_overdue(charge: &mut Charge) -> Result<bool, Stop> {
    let now = unix_ms(SystemTime::now());
    let Some(gone) = charge.deployment.facts.gone else {
        record(charge, |deployment| deployment.facts.gone = Some(now), Transaction::default()).await?;
        return Ok(false);
    };
    Ok(Duration::from_millis(now.saturating_sub(gone)) > REGISTRAR_MAX)
}

/// Removes what is left of it in the table, and from the record.
async fn forget(world: &World, charge: &mut Charge, version: &Version, keys: Keys) -> Result<Look, Stop> {
    if !keys.servers.is_empty() {
        charge.say(format!(
            "no registrar has removed {} servers of {} in {REGISTRAR_MAX:?}; the deployer does",
            keys.servers.len(),
            version.made.backend
        ));
    }
    // As many in one transaction as fit beside the record itself; the backend last.
    let room = world.store.capabilities().operations_max.saturating_sub(2).clamp(1, 90);
    let mut entries = keys.servers;
    let more = entries.len() > room;
    entries.truncate(room);
    entries.extend(keys.backend.filter(|entry| !more && is_ours(charge, version, &entry.key)));
    let ends = version.is_own && !more;
    if !entries.is_empty() || ends {
        let change = |deployment: &mut Record| {
            if ends {
                deployment.made = None;
            }
        };
        record(charge, change, removal(&entries)).await?;
    }
    Ok(if more { Look::Waits(format!("servers of {} are left", version.made.backend)) } else { Look::Done })
}

/// Whether the backend was made by a deployment: one that somebody else had put there before stays.
fn is_ours(charge: &Charge, version: &Version, key: &str) -> bool {
    !version.is_own
        || charge.application.keys.iter().any(|own| own == key)
        || !matches!(charge.deployment.facts.before.get(key), Some(Some(_)))
}

/// The key of an alias or a frontend that leads to a backend, whoever has made it.
fn named(entries: &[Entry], backend: &str) -> Option<Box<str>> {
    let leads = |entry: &Entry| {
        let parsed = ObjectKey::parse(&entry.key)
            .and_then(|key| Object::parse(&key, &entry.value, Strictness::Stored).object);
        match parsed {
            Some(Object::Backend(Backend::Alias { target, .. })) => target.to_string() == backend,
            Some(Object::Frontend(frontend)) => frontend.backends().any(|id| id.to_string() == backend),
            _ => false,
        }
    };
    entries.iter().find(|entry| leads(entry)).map(|entry| entry.key.clone())
}

/// Whether the application's alias leads to a backend.
pub(super) async fn leads_to(world: &World, charge: &Charge, backend: &str) -> Result<bool, Stop> {
    Ok(matches!(alias::find(world, charge).await?, Alias::To { target, .. } if target == backend))
}
