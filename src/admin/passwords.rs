//! Passwords and their hashes on their way through the API: they go in, and never come out.
//!
//! A middleware is answered with a mark in their places. A value that carries the mark back keeps what the store has, so
//! that what was read can be edited and written.

use super::secrets::HIDDEN;
use serde_json::{Map, Value};

/// A middleware's value without its passwords, whatever its type.
pub(super) fn redact(mut value: Value) -> Value {
    let Some(spec) = spec_mut(&mut value) else { return value };
    for (name, field) in spec.iter_mut() {
        match (name.to_ascii_lowercase().as_str(), field) {
            ("password", field) if !field.is_null() => *field = HIDDEN.into(),
            ("users", Value::Object(users)) => users.values_mut().for_each(|hash| *hash = HIDDEN.into()),
            ("users", Value::Array(lines)) => lines.iter_mut().for_each(hide_line),
            ("users", field) if !field.is_null() => *field = HIDDEN.into(),
            _ => {}
        }
    }
    value
}

fn hide_line(line: &mut Value) {
    let name = line.as_str().and_then(|line| line.split_once(':')).map(|(name, _)| name);
    *line = name.map_or_else(|| HIDDEN.into(), |name| format!("{name}:{HIDDEN}").into());
}

/// Puts what is stored in place of the marks. Says which field has a mark and nothing stored for it.
pub(super) fn admit(value: &mut Value, stored: Option<&Value>) -> Result<(), String> {
    let mut stored = stored.cloned();
    let stored = stored.as_mut().and_then(spec_mut);
    let find = |name: &str| {
        stored.as_deref()?.iter().rfind(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    };
    let hash_of = |user: &str| match find("Users")? {
        Value::Object(users) => users.get(user)?.as_str().map(str::to_owned),
        Value::Array(lines) => lines
            .iter()
            .filter_map(|line| line.as_str()?.split_once(':'))
            .find(|(name, _)| *name == user)
            .map(|(_, hash)| hash.trim().to_owned()),
        _ => None,
    };
    let Some(spec) = spec_mut(value) else { return Ok(()) };
    for (name, field) in spec.iter_mut() {
        match (name.to_ascii_lowercase().as_str(), field) {
            ("password", field) if *field == HIDDEN => {
                *field = find("Password").cloned().ok_or_else(|| format!("Middleware.{name}"))?;
            }
            ("users", Value::Object(users)) => {
                for (user, hash) in users.iter_mut().filter(|(_, hash)| **hash == HIDDEN) {
                    *hash = hash_of(user).ok_or_else(|| format!("Middleware.{name}.{user}"))?.into();
                }
            }
            ("users", Value::Array(lines)) => {
                for (index, line) in lines.iter_mut().enumerate() {
                    let Some((user, HIDDEN)) = line.as_str().and_then(|line| line.split_once(':')) else {
                        continue;
                    };
                    let hash = hash_of(user).ok_or_else(|| format!("Middleware.{name}[{index}]"))?;
                    *line = format!("{user}:{hash}").into();
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// The last one counts where there are several spellings.
fn spec_mut(value: &mut Value) -> Option<&mut Map<String, Value>> {
    let fields = value.as_object_mut()?.iter_mut();
    fields.filter(|(name, _)| name.eq_ignore_ascii_case("middleware")).last()?.1.as_object_mut()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_hidden_comes_back() {
        for stored in [
            json!({"Type": "auth", "Middleware": {"Username": "ann", "Password": "hush"}}),
            json!({"Type": "auth", "middleware": {"users": {"ann": "hush", "bob": "hush"}}}),
            json!({"Type": "basicauth", "Middleware": {"Users": ["ann:hush", "bob:hush"], "Realm": "x"}}),
        ] {
            let mut shown = redact(stored.clone());
            assert!(!shown.to_string().contains("hush"), "{shown}");
            assert!(shown.to_string().contains("ann"), "{shown}");
            assert!(admit(&mut shown.clone(), None).is_err(), "{shown}");
            assert_eq!(admit(&mut shown, Some(&stored)), Ok(()));
            assert_eq!(shown, stored);
        }
    }

    #[test]
    fn a_mark_with_nothing_behind_it_is_named() {
        let stored = json!({"Middleware": {"Users": ["ann:hush"]}});
        let mut value = json!({"Middleware": {"Users": {"ann": HIDDEN}}});
        assert_eq!(admit(&mut value, Some(&stored)), Ok(()));
        assert_eq!(value, json!({"Middleware": {"Users": {"ann": "hush"}}}));
        for (value, named) in [
            (json!({"Middleware": {"Password": HIDDEN}}), "Middleware.Password"),
            (json!({"Middleware": {"Users": {"bob": HIDDEN}}}), "Middleware.Users.bob"),
            (json!({"Middleware": {"Users": ["x:y", "bob:(hidden)"]}}), "Middleware.Users[1]"),
        ] {
            assert_eq!(admit(&mut value.clone(), Some(&stored)), Err(named.to_owned()), "{value}");
        }
        // What is no password, and what is not even an object, passes.
        for other in [json!({"Middleware": {"Requests": 1}}), json!(5), json!({"Middleware": "x"})] {
            assert_eq!(redact(other.clone()), other);
        }
    }
}
