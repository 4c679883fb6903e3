//! Descriptors that are stored by themselves.

use super::{Denied, Desk, denied};
use crate::deployer::charge::{OPERATIONS_MAX, delete_state, put_state};
use crate::deployer::descriptor::Descriptor;
use crate::deployer::record::{StoredDescriptor, descriptor_key};
use crate::flip::record::new_id;
use crate::kubernetes::Name;
use crate::store::{Area, Expected, StoreError, Transaction};
use crate::telemetry::rfc3339;
use std::time::SystemTime;

pub(super) async fn store(
    desk: &Desk,
    mut descriptor: Descriptor,
    id: Option<&str>,
    version: Option<u64>,
) -> Result<(String, u64), Denied> {
    let (app, now) = (descriptor.app(), SystemTime::now());
    desk.check_room(&app.namespace)?;
    let expected = match id {
        Some(id) => {
            let (former, found) = former(desk, &app, id).await?;
            if version.is_some_and(|version| version != found) {
                return Err(Denied::Changed(found));
            }
            (descriptor.id, descriptor.created) = (id.to_owned(), former.0.created);
            Expected::Version(found)
        }
        None => {
            (descriptor.id, descriptor.created) = (new_id(now), rfc3339(now));
            Expected::Absent
        }
    };
    descriptor.last_modified = rfc3339(now);
    let id = descriptor.id.clone();
    let key = descriptor_key(&app, &id);
    let expect = vec![(Area::State, key.clone(), expected)];
    let operations = vec![put_state(key, &StoredDescriptor(descriptor))];
    match desk.store().commit(Transaction { expect, operations }).await {
        Ok(revision) => {
            desk.heard(revision.0).await;
            Ok((id, revision.0))
        }
        Err(StoreError::Conflict { .. }) => Err(Denied::Changed(self::former(desk, &app, &id).await?.1)),
        Err(error) => Err(denied(error)),
    }
}

pub(super) async fn forget(desk: &Desk, app: &Name, ids: &[String]) -> Result<(), Denied> {
    for ids in ids.chunks(OPERATIONS_MAX) {
        let operations = ids.iter().map(|id| delete_state(descriptor_key(app, id))).collect();
        let revision = desk.store().commit(Transaction { expect: Vec::new(), operations }).await;
        desk.heard(revision.map_err(denied)?.0).await;
    }
    Ok(())
}

async fn former(desk: &Desk, app: &Name, id: &str) -> Result<(StoredDescriptor, u64), Denied> {
    let found = super::read::<StoredDescriptor>(&**desk.store(), &descriptor_key(app, id)).await;
    if let Some(found) = found.map_err(denied)? {
        return Ok(found);
    }
    match desk.book().descriptor(&app.namespace, id) {
        Some((other, _)) if other != app => Err(Denied::Conflict(format!(
            "descriptor {id} is of {other}: its appName cannot be changed to {}",
            app.name
        ))),
        _ => Err(Denied::NotFound(format!("{} has no descriptor {id}", app.namespace))),
    }
}
