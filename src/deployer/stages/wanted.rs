//! What a descriptor wants to stand before the backends.

use super::change::Wanted;
use crate::deployer::descriptor::Descriptor;
use crate::expr::literal;
use crate::kubernetes::Name;
use serde_json::json;

/// Frontends and middlewares by key.
pub(super) fn wanted(app: &Name, descriptor: &Descriptor) -> Wanted {
    let Some(host) = &descriptor.frontend else { return Wanted::new() };
    let id = format!("{}-{}", app.namespace, app.name);
    let frontend = json!({
        "Type": "http", "BackendId": id, "Route": format!("Host({})", literal(host)),
        "Settings": { "PassHostHeader": true },
    });
    Wanted::from([(format!("frontends/{id}/frontend"), frontend)])
}

/// The hosts whose requests come here.
pub(super) fn hosts(descriptor: &Descriptor) -> Vec<String> {
    let Some(host) = &descriptor.frontend else { return Vec::new() };
    let www = descriptor.redirect_www.then(|| format!("www.{host}"));
    std::iter::once(host.clone()).chain(www).collect()
}

/// Secrets that may have the certificate, the most fitting first.
pub(super) fn tls_secret_names(descriptor: &Descriptor) -> Vec<String> {
    match (&descriptor.tls_secret_name, &descriptor.frontend) {
        (Some(name), _) => vec![name.clone()],
        (None, Some(host)) => vec![host.clone()],
        (None, None) => Vec::new(),
    }
}
