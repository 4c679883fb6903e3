//! The certificate of an application's host: from a Secret of its namespace into host objects.

use super::change::stored;
use crate::deployer::charge::Charge;
use crate::deployer::world::World;
use crate::kubernetes::{Refusal, in_time};
use crate::model::{HostName, Object, ObjectKey, Strictness};
use crate::store::Entry;
use crate::tls::{Certificate, Keeper, with_pair};
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use serde_json::{Map, Value};
use std::fmt;
use zeroize::Zeroizing;

/// The type of Secrets with a certificate.
const KIND: &str = "kubernetes.io/tls";

/// A certificate with its private key, as PEM. `Debug` shows neither.
pub(super) struct Pair {
    /// The Secret's name.
    pub secret: String,
    certificate: Zeroizing<Vec<u8>>,
    key: Zeroizing<Vec<u8>>,
}

impl fmt::Debug for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pair({})", self.secret)
    }
}

/// Why there is no certificate.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Missing {
    /// There is none among the Secrets that may have one; it goes without.
    None(String),
    /// The one that was asked for is not there, or is none.
    Wrong(String),
    /// The API server does not answer.
    Away(String),
}

/// The first of the Secrets that has a certificate. `must`: the first one has to.
pub(super) async fn find(
    world: &World,
    namespace: &str,
    names: &[String],
    must: bool,
) -> Result<Pair, Missing> {
    let secrets: Api<Secret> = Api::namespaced(world.client.clone(), namespace);
    for name in names {
        let reason = match in_time(secrets.get_opt(name)).await {
            Ok(Some(secret)) => match pair(secret, name) {
                Ok(pair) => return Ok(pair),
                Err(reason) => reason,
            },
            Ok(None) => "does not exist".to_owned(),
            Err(Refusal::Later(reason)) => return Err(Missing::Away(reason)),
            Err(Refusal::Forbidden(reason) | Refusal::Final(reason)) => format!("may not be read: {reason}"),
        };
        if must {
            return Err(Missing::Wrong(format!("the Secret {namespace}/{name} {reason}")));
        }
    }
    Err(Missing::None(format!("no certificate was found in the Secrets {}", names.join(", "))))
}

/// The pair of a Secret, or what is wrong with it, as a predicate.
fn pair(secret: Secret, name: &str) -> Result<Pair, String> {
    if secret.type_.as_deref() != Some(KIND) {
        return Err(format!("is not of the type {KIND}"));
    }
    let mut data = secret.data.unwrap_or_default();
    let mut part = |field: &str| data.remove(field).map(|part| Zeroizing::new(part.0));
    let (Some(certificate), Some(key)) = (part("tls.crt"), part("tls.key")) else {
        return Err("has no `tls.crt` and `tls.key`".to_owned());
    };
    Certificate::from_pem(&certificate, &key).map_err(|error| format!("cannot be used: {error}"))?;
    Ok(Pair { secret: name.to_owned(), certificate, key })
}

impl Pair {
    /// Whether clients of a host accept it.
    pub(super) fn covers(&self, host: &str) -> bool {
        let (Ok(host), Ok(certificate)) =
            (HostName::try_from(host), Certificate::from_pem(&self.certificate, &self.key))
        else {
            return false;
        };
        certificate.covers(&host)
    }

    /// The host object with this certificate; what stands there already, if it has it. None: somebody else's stands
    /// there, which stays.
    ///
    /// # Errors
    /// It cannot be stored.
    pub(super) fn host(
        &self,
        world: &World,
        charge: &Charge,
        entries: &[Entry],
        key: &str,
    ) -> Result<Option<Value>, String> {
        let keeper = Keeper { seal_keys: &world.seal_keys, plain_keys: world.plain_keys };
        let entry = stored(entries, key);
        if entry.is_some() && !super::route::is_ours(charge, key) {
            return Ok(None);
        }
        let old: Option<Value> = entry.and_then(|entry| serde_json::from_slice(&entry.value).ok());
        if let (Some(entry), Some(old), Some(object)) = (entry, &old, ObjectKey::parse(key)) {
            let parsed = Object::parse(&object, &entry.value, Strictness::Stored).object;
            let held = parsed.as_ref().and_then(Object::key_pair);
            if held.is_some_and(|held| keeper.is(held, &self.certificate, &self.key)) {
                return Ok(Some(old.clone()));
            }
        }
        let sealed = keeper.pair(&self.certificate, &self.key).map_err(|reason| format!("{key} {reason}"))?;
        let fields: Map<String, Value> = old.and_then(|old| old.as_object().cloned()).unwrap_or_default();
        Ok(Some(with_pair(fields, &sealed).into()))
    }
}
