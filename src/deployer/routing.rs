//! The objects of a deployment in the table.

use super::descriptor::Descriptor;
use super::record;
use crate::kubernetes::Name;

pub(super) fn backend(_descriptor: &Descriptor) -> String {
    r#"{"Type":"http"}"#.to_owned()
}

pub(super) fn alias_id(app: &Name) -> String {
    format!("{}-{}", app.namespace, app.name)
}

pub(super) fn backend_id(record: &record::Deployment) -> String {
    format!("{}-{}", alias_id(&record.descriptor.app()), record.version)
}

pub(super) fn backend_key(id: &str) -> String {
    format!("backends/{id}/backend")
}
