//! Who keeps an object as it is: the field `Owner`, which no proxy looks at.

use super::edit::last_spelled;
use serde_json::Value;

/// The field, in the spelling that is written.
pub const OWNER: &str = "Owner";

/// Who keeps the object: `CLUSTER:SOURCE`, such as `kubernetes:service/shop/web`. `None`: nobody; it stays as it was
/// written.
pub fn owner(value: &Value) -> Option<&str> {
    last_spelled(value.as_object()?, OWNER)?.as_str().filter(|owner| !owner.is_empty())
}
