//! How a confirmation of removals stands in the state area: `{"revision":R,"at":S,"by":"..."}` below `confirm/`, with
//! the time in seconds since the Unix epoch.

use super::image::Confirmation;
use crate::model::Revision;
use serde_json::{Value, json};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Confirmations lie below it in the state area.
pub const PREFIX: &str = "confirm/";
/// Where `flipgate confirm` writes; every confirmation covers those before it, so one key is enough.
pub const KEY: &str = "confirm/removals";
/// Where a registrar says that what it removed had been confirmed to it: proxies hold by the same rule, and the removals
/// are later than what people confirmed.
pub const REGISTRAR_KEY: &str = "confirm/registrar";

/// The value to write.
pub fn to_value(confirmation: &Confirmation, by: &str) -> Value {
    let at = confirmation.at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    json!({ "revision": confirmation.revision, "at": at, "by": by })
}

/// What a value says.
///
/// # Errors
/// It is something else; the text says what is expected.
pub fn from_slice(value: &[u8]) -> Result<Confirmation, String> {
    let expected =
        || "a confirmation is {\"revision\":R,\"at\":seconds since 1970,\"by\":\"...\"}".to_owned();
    let value: Value = serde_json::from_slice(value).map_err(|_| expected())?;
    let number = |name: &str| value.get(name).and_then(Value::as_u64).ok_or_else(expected);
    let at = UNIX_EPOCH.checked_add(Duration::from_secs(number("at")?)).unwrap_or(SystemTime::now());
    Ok(Confirmation { revision: Revision(number("revision")?), at })
}
