//! Frontends, middlewares and host.

use super::certificate::{self, Missing};
use super::change::{self, Changes, Wanted, is_before_backends};
use super::followed::behind;
use crate::deployer::charge::{Charge, Trouble};
use crate::deployer::machine::Look;
use crate::deployer::record::Facts;
use crate::deployer::routing::{self, is_frontend};
use crate::deployer::world::World;
use crate::model::{Frontend, Object, ObjectKey, Strictness};
use crate::store::{Area, Entry};

/// Whether it could be done: the host may be the namespace's, nobody else has it, and its certificate is there. The inner
/// error is for people.
///
/// # Errors
/// The store does not answer.
pub(super) async fn check(world: &World, charge: &Charge) -> Result<Result<(), String>, Trouble> {
    let entries = list(world).await?;
    Ok(match wanted(world, charge, &entries).await {
        Ok((wanted, _)) => may_have(world, charge, &entries, &wanted),
        Err(Hindrance::Wrong(reason)) => Err(reason),
        Err(Hindrance::Away(reason)) => return Err(Trouble::Away(reason)),
    })
}

pub(super) async fn look(world: &World, charge: &mut Charge) -> Result<Look, Trouble> {
    let entries = list(world).await?;
    let (wanted, remarks) = match wanted(world, charge, &entries).await {
        Ok(wanted) => wanted,
        Err(Hindrance::Wrong(reason)) => return Ok(Look::Failed(reason)),
        Err(Hindrance::Away(reason)) => return Ok(Look::Away(reason)),
    };
    if let Err(reason) = may_have(world, charge, &entries, &wanted) {
        return Ok(Look::Failed(reason));
    }
    let obsolete = obsolete(charge);
    let Changes { transaction, before } = change::to_wanted(&entries, &wanted, &obsolete);
    if transaction.operations.is_empty() {
        return served(world, charge).await;
    }
    let keys: Vec<&str> = before.keys().map(String::as_str).collect();
    let line = format!("written: {}", keys.join(", "));
    let note = |facts: &mut Facts| {
        for (key, value) in before {
            facts.before.entry(key).or_insert(value);
        }
    };
    charge.note(note, transaction).await?;
    for line in remarks.into_iter().chain([line]) {
        charge.say(line);
    }
    Ok(Look::Waits("the proxies take the frontends in".to_owned()))
}

pub(super) async fn undo(world: &World, charge: &mut Charge) -> Result<Look, Trouble> {
    let entries = list(world).await?;
    let mut before = charge.deployment.facts.before.clone();
    before.retain(|key, _| is_before_backends(key));
    let wanted = routing::wanted(&charge.app, &charge.deployment.descriptor);
    let Changes { transaction, before } = change::to_before(&entries, &before, &wanted);
    if transaction.operations.is_empty() {
        return served(world, charge).await;
    }
    let keys: Vec<&str> = before.keys().map(String::as_str).collect();
    let line = format!("as before: {}", keys.join(", "));
    charge.save(transaction).await?;
    charge.say(line);
    Ok(Look::Waits("the proxies take the frontends in".to_owned()))
}

/// Whether an object is one that this application's deployments have made.
pub(super) fn is_ours(charge: &Charge, key: &str) -> bool {
    let object = ObjectKey::parse(key);
    let mut made = charge.application.keys.iter().chain(charge.deployment.facts.before.keys());
    made.any(|own| own == key || object.is_some() && ObjectKey::parse(own) == object)
}

async fn list(world: &World) -> Result<Vec<Entry>, Trouble> {
    Ok(world.store.list(Area::Routing).await?.entries)
}

/// What earlier versions made before the backends, but for hosts that this one has, too: without a Secret they keep the
/// certificate that they have.
fn obsolete(charge: &Charge) -> Vec<String> {
    let hosts = routing::hosts(&charge.deployment.descriptor);
    let hosts: Vec<String> = hosts.iter().map(|host| format!("hosts/{host}/host")).collect();
    let keys = charge.application.keys.iter();
    keys.filter(|key| is_before_backends(key) && !hosts.contains(*key)).cloned().collect()
}

/// Waits until all that was written is served.
async fn served(world: &World, charge: &mut Charge) -> Result<Look, Trouble> {
    let version = charge.version;
    let behind = behind(world, charge, version, None).await?;
    Ok(behind.map_or(Look::Done, |who| Look::Waits(format!("the proxies take the frontends in: {who}"))))
}

/// Why there is nothing to write.
enum Hindrance {
    /// It will not be, for people.
    Wrong(String),
    /// The API server does not answer.
    Away(String),
}

/// What is to stand before the backends: frontends and middlewares, and hosts where there is a certificate. With what is
/// to be said of it.
async fn wanted(
    world: &World,
    charge: &Charge,
    entries: &[Entry],
) -> Result<(Wanted, Vec<String>), Hindrance> {
    let descriptor = &charge.deployment.descriptor;
    let mut wanted = routing::wanted(&charge.app, descriptor);
    let (hosts, names) = (routing::hosts(descriptor), routing::tls_secret_names(descriptor));
    if hosts.is_empty() || names.is_empty() {
        return Ok((wanted, Vec::new()));
    }
    let must = descriptor.tls_secret_name.is_some();
    let pair = match certificate::find(world, &charge.app.namespace, &names, must).await {
        Ok(pair) => pair,
        Err(Missing::None(reason)) => {
            return Ok((wanted, vec![format!("{reason}; there is no host object")]));
        }
        Err(Missing::Wrong(reason)) => return Err(Hindrance::Wrong(reason)),
        Err(Missing::Away(reason)) => return Err(Hindrance::Away(reason)),
    };
    let mut remarks = Vec::new();
    for host in hosts {
        let key = format!("hosts/{host}/host");
        if !pair.covers(&host) {
            remarks.push(format!("the certificate in the Secret {} is not for {host}", pair.secret));
            // What was asked for is done all the same, but only for what was asked.
            if !must || descriptor.frontend.as_ref() != Some(&host) {
                continue;
            }
        }
        match pair.host(world, charge, entries, &key).map_err(Hindrance::Wrong)? {
            Some(value) => drop(wanted.insert(key, value)),
            None => remarks.push(format!("{key} is somebody else's, and stays as it is")),
        }
    }
    Ok((wanted, remarks))
}

/// Whether nothing of what is wanted is somebody else's.
fn may_have(world: &World, charge: &Charge, entries: &[Entry], wanted: &Wanted) -> Result<(), String> {
    let namespace = &charge.app.namespace;
    for host in routing::hosts(&charge.deployment.descriptor) {
        if !world.hosts.may_have(namespace, Some(&host)) {
            return Err(format!("the namespace {namespace} may not have the host {host} (--host-of)"));
        }
    }
    let foreign = wanted.keys().find(|key| change::stored(entries, key).is_some() && !is_ours(charge, key));
    if let Some(key) = foreign {
        return Err(format!("{key} exists, and no deployment of {} has made it", charge.app));
    }
    let routes: Vec<Frontend> = wanted
        .iter()
        .filter(|(key, _)| is_frontend(key))
        .filter_map(|(key, value)| frontend(key, value.to_string().as_bytes()))
        .collect();
    for entry in entries.iter().filter(|entry| is_frontend(&entry.key) && !wanted.contains_key(&*entry.key)) {
        let Some(other) = frontend(&entry.key, &entry.value).filter(|_| !is_ours(charge, &entry.key)) else {
            continue;
        };
        let same = |own: &&Frontend| {
            own.priority == other.priority && own.route.normalised() == other.route.normalised()
        };
        if let Some(own) = routes.iter().find(same) {
            return Err(format!("the frontend {} has the route {} already", other.id, own.route.text()));
        }
    }
    Ok(())
}

fn frontend(key: &str, value: &[u8]) -> Option<Frontend> {
    match Object::parse(&ObjectKey::parse(key)?, value, Strictness::Stored).object {
        Some(Object::Frontend(frontend)) => Some(frontend),
        _ => None,
    }
}
