//! Certificates on their way into the store.

use super::Planner;
use crate::model::{OWNER, Object, ObjectKey, Strictness};
use crate::registrar::ledger::{WantedCertificate, is_same};
use crate::tls::{Keeper, with_pair, without_pair};
use serde_json::{Map, Value};

impl Planner {
    fn keeper(&self) -> Keeper<'_> {
        Keeper { seal_keys: &self.seal_keys, plain_keys: self.plain_keys }
    }

    /// Whether the stored text is the wanted host with the wanted certificate, sealed with the first seal key.
    pub(super) fn holds(
        &self,
        key: &ObjectKey,
        host: &WantedCertificate,
        owner: &str,
        stored: &[u8],
    ) -> bool {
        let Some(pair) =
            Object::parse(key, stored, Strictness::Stored).object.and_then(|it| it.key_pair().cloned())
        else {
            return false;
        };
        let Some(without) = serde_json::from_slice(stored).ok().map(without_pair) else { return false };
        let mut value = host.value.clone();
        value.entry("Settings").or_insert_with(|| Map::new().into());
        value.insert(OWNER.into(), owner.into());
        self.keeper().is(&pair, &host.certificate, &host.key)
            && is_same(Value::Object(value).to_string().as_bytes(), without.to_string().as_bytes())
    }

    /// The text of a host with its certificate; else why there is none, as a predicate.
    pub(super) fn make(&self, host: &WantedCertificate, owner: &str) -> Result<Vec<u8>, String> {
        let pair = self.keeper().pair(&host.certificate, &host.key)?;
        let mut value = with_pair(host.value.clone(), &pair);
        value.insert(OWNER.into(), owner.into());
        Ok(Value::Object(value).to_string().into_bytes())
    }
}
