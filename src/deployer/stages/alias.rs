//! The alias of an application: where it leads.

use crate::deployer::charge::{Charge, Trouble};
use crate::deployer::routing::{alias_id, backend_id, backend_key};
use crate::deployer::world::World;
use crate::kubernetes::Name;
use crate::model::{Backend, BackendId, Object, ObjectKey, Strictness};
use crate::store::{Area, Entry, Expected, LeaseChoice, Operation, Store, StoreError, Transaction};
use serde_json::json;

/// The alias as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::deployer) enum Alias {
    /// There is none.
    Absent,
    /// It leads to a backend.
    To {
        /// Which.
        target: String,
        /// Of the key, which is also the revision of its last change.
        version: u64,
        /// The key, in either spelling.
        key: Box<str>,
    },
    /// Something else has its name.
    Other,
}

/// `NAMESPACE-APP`.
pub(super) fn id(charge: &Charge) -> String {
    alias_id(&charge.app)
}

/// Where it is written.
pub(super) fn key(charge: &Charge) -> String {
    backend_key(&id(charge))
}

/// The backend of the deployment under way.
pub(super) fn green(charge: &Charge) -> String {
    match &charge.deployment.made {
        Some(made) => made.backend.clone(),
        None => backend_id(&charge.app, &charge.deployment.version),
    }
}

/// The backend of the version before.
pub(super) fn blue(charge: &Charge) -> Option<String> {
    charge.deployment.facts.previous.as_ref().map(|previous| previous.made.backend.clone())
}

/// Looks it up.
pub(super) async fn find(world: &World, charge: &Charge) -> Result<Alias, Trouble> {
    Ok(of(&*world.store, &charge.app).await?)
}

/// That of an application, in either spelling of its key.
///
/// # Errors
/// The store's.
pub(in crate::deployer) async fn of(store: &dyn Store, app: &Name) -> Result<Alias, StoreError> {
    let id = alias_id(app);
    for key in [backend_key(&id), format!("backends/{id}")] {
        if let (_, Some(entry)) = store.get(Area::Routing, &key).await? {
            return Ok(read(&id, entry));
        }
    }
    Ok(Alias::Absent)
}

fn read(id: &str, entry: Entry) -> Alias {
    let Ok(id) = BackendId::try_from(id) else { return Alias::Other };
    match Object::parse(&ObjectKey::Backend(id), &entry.value, Strictness::Stored).object {
        Some(Object::Backend(Backend::Alias { target, .. })) => {
            Alias::To { target: target.to_string(), version: entry.version, key: entry.key }
        }
        _ => Alias::Other,
    }
}

/// The write that makes it, and what it expects.
pub(super) fn creation(charge: &Charge, target: &str) -> Transaction {
    let (area, key): (_, Box<str>) = (Area::Routing, key(charge).into());
    let value = json!({ "Type": "alias", "Target": target }).to_string().into();
    Transaction {
        expect: vec![(area, key.clone(), Expected::Absent)],
        operations: vec![Operation::Put { area, key, value, lease: LeaseChoice::Without }],
    }
}

/// The write that removes it as it was found.
pub(super) fn removal(key: Box<str>, version: u64) -> Transaction {
    let area = Area::Routing;
    Transaction {
        expect: vec![(area, key.clone(), Expected::Version(version))],
        operations: vec![Operation::Delete { area, key }],
    }
}
