//! Names that an application's versions get, and whether they are free.

use crate::deployer::book::Book;
use crate::deployer::record::{Deployment, Made};
use crate::deployer::routing::alias_id;
use crate::kubernetes::Name;

/// The number after all that the application has had.
pub(super) fn next_number(book: &Book, app: &Name, last: u64) -> u64 {
    let own = book.deployments.iter().filter(|((of, _), _)| of == app);
    let numbers = own.filter_map(|(_, kept)| kept.value.version.parse::<u64>().ok());
    numbers.max().unwrap_or_default().max(last).saturating_add(1)
}

/// Why a deployment's names are those of another application: hyphens join them, and stand within them too.
pub(super) fn taken(book: &Book, app: &Name, deployment: &Deployment) -> Option<String> {
    let alias = alias_id(app);
    let Made { name: object, backend, .. } = Made::named(app, &deployment.version);
    for other in book.applications.keys().filter(|other| *other != app) {
        let its_alias = alias_id(other);
        if its_alias == alias || its_alias == backend {
            return Some(format!(
                "the backend {its_alias} is the one of {other}: use another name or version"
            ));
        }
    }
    let others = book.deployments.iter().filter(|((of, _), _)| of != app);
    for ((other, _), record) in others.map(|(key, kept)| (key, &kept.value)) {
        let Made { name: its_object, backend: its_backend, .. } = match &record.made {
            Some(made) => made.clone(),
            None if record.status.is_open() => Made::named(other, &record.version),
            None => continue,
        };
        if its_backend == alias || its_backend == backend {
            return Some(format!(
                "the backend {its_backend} is the one of a version of {other}: use another name or version"
            ));
        }
        if other.namespace == app.namespace && its_object == object {
            return Some(format!(
                "the Deployment {object} is the one of {other}: use another name or version"
            ));
        }
    }
    None
}
