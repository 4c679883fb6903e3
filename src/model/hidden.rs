//! Passwords and other secrets on their way out of a store and back: they go in, and are never shown.
//!
//! A value is shown with a mark in their places. A value that carries the mark back gets what the store has, so that what
//! was read can be edited and written. Key pairs have marks of their own, since those tell something.

use super::edit;
use super::key::ObjectKey;
use serde_json::{Map, Value};

/// What stands for a secret.
pub const HIDDEN: &str = "(hidden)";

/// An object's value without the secrets that may stand in it, but for its key pair: passwords, their hashes, and header
/// fields with credentials in a middleware, the account's key of `AutoCert` in a host.
pub fn hide(key: &ObjectKey, mut value: Value) -> Value {
    match key {
        ObjectKey::OwnMiddleware(..) | ObjectKey::SharedMiddleware(_) => {
            if let Some(spec) = part_mut(&mut value, "middleware") {
                hide_below(spec, &is_secret);
                hide_users(spec);
            }
        }
        ObjectKey::Host(_) => {
            let auto = part_mut(&mut value, "settings")
                .and_then(|settings| edit::last_spelled_mut(settings, "autocert"));
            if let Some(Value::Object(auto)) = auto {
                hide_below(auto, &|name| name.eq_ignore_ascii_case("key"));
            }
        }
        _ => {}
    }
    value
}

/// Puts what is stored in place of the marks. A mark that the store itself has stays.
///
/// # Errors
/// The field that has a mark and nothing stored for it.
pub fn restore(key: &ObjectKey, value: &mut Value, stored: Option<&Value>) -> Result<(), String> {
    match key {
        ObjectKey::OwnMiddleware(..) | ObjectKey::SharedMiddleware(_) => {
            let mut stored = stored.cloned();
            let stored = stored.as_mut().and_then(|stored| part_mut(stored, "middleware"));
            let Some(spec) = part_mut(value, "middleware") else { return Ok(()) };
            restore_users(spec, stored.as_deref())?;
            let stored = stored.map(|fields| Value::Object(std::mem::take(fields)));
            restore_fields(spec, stored.as_ref(), "Middleware", &is_secret)
        }
        ObjectKey::Host(_) | ObjectKey::Backend(_) => restore_below(value, stored, ""),
        _ => Ok(()),
    }
}

/// Whether a field of a middleware, or a header field named in one, is a credential.
fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let names = ["password", "authorization", "proxy-authorization", "cookie", "set-cookie"];
    let parts = ["token", "secret", "api-key", "apikey"];
    names.contains(&&*name) || parts.iter().any(|part| name.contains(part))
}

/// Hides every text in fields of such names.
fn hide_below(fields: &mut Map<String, Value>, is_secret: &dyn Fn(&str) -> bool) {
    for (name, value) in fields.iter_mut() {
        match value {
            _ if is_secret(name) => hide_texts(value),
            Value::Object(inner) => hide_below(inner, is_secret),
            // A part may stand as JSON in a text, as vulcand takes it; what cannot be told apart is hidden whole.
            Value::String(text) if text.trim_start().starts_with('{') && has_secret(text, is_secret) => {
                *value = HIDDEN.into();
            }
            _ => {}
        }
    }
}

fn has_secret(text: &str, is_secret: &dyn Fn(&str) -> bool) -> bool {
    match serde_json::from_str(text) {
        Ok(Value::Object(mut fields)) => {
            let before = fields.clone();
            hide_below(&mut fields, is_secret);
            fields != before
        }
        _ => false,
    }
}

fn hide_texts(value: &mut Value) {
    match value {
        Value::Null | Value::Bool(_) => {}
        Value::String(text) if text.is_empty() => {}
        Value::Array(items) => items.iter_mut().for_each(hide_texts),
        Value::Object(fields) => fields.values_mut().for_each(hide_texts),
        other => *other = HIDDEN.into(),
    }
}

fn hide_users(spec: &mut Map<String, Value>) {
    spec.iter_mut().filter(|(name, _)| name.eq_ignore_ascii_case("users")).for_each(|(_, it)| hide_list(it));
}

fn hide_list(users: &mut Value) {
    match users {
        Value::Null => {}
        Value::Object(users) => users.values_mut().for_each(|hash| *hash = HIDDEN.into()),
        Value::Array(lines) => lines.iter_mut().for_each(hide_line),
        other => *other = HIDDEN.into(),
    }
}

fn hide_line(line: &mut Value) {
    let name = line.as_str().and_then(|line| line.split_once(':')).map(|(name, _)| name);
    *line = name.map_or_else(|| HIDDEN.into(), |name| format!("{name}:{HIDDEN}").into());
}

fn restore_users(spec: &mut Map<String, Value>, stored: Option<&Map<String, Value>>) -> Result<(), String> {
    for (name, users) in spec.iter_mut().filter(|(name, _)| name.eq_ignore_ascii_case("users")) {
        let stored = stored.and_then(|stored| find(stored, name));
        // As it was shown: whatever it is, and be it no list of users, it stays as it stands.
        if let Some(stored) = stored {
            let mut shown = stored.clone();
            hide_list(&mut shown);
            if shown == *users {
                *users = stored.clone();
                continue;
            }
        }
        restore_list(users, stored, &format!("Middleware.{name}"))?;
    }
    Ok(())
}

fn restore_list(users: &mut Value, stored: Option<&Value>, path: &str) -> Result<(), String> {
    let hash_of = |user: &str| match stored? {
        Value::Object(users) => users.get(user)?.as_str().map(str::to_owned),
        Value::Array(lines) => lines
            .iter()
            .filter_map(|line| line.as_str()?.split_once(':'))
            .find(|(name, _)| *name == user)
            .map(|(_, hash)| hash.trim().to_owned()),
        _ => None,
    };
    match users {
        Value::Object(users) => {
            for (user, hash) in users.iter_mut().filter(|(_, hash)| **hash == HIDDEN) {
                *hash = hash_of(user).ok_or_else(|| format!("{path}.{user}"))?.into();
            }
        }
        Value::Array(lines) => {
            for (index, line) in lines.iter_mut().enumerate() {
                let nothing = || format!("{path}[{index}]");
                match line.as_str().map(|line| line.split_once(':').unwrap_or((line, ""))) {
                    Some((HIDDEN, "")) => return Err(nothing()),
                    Some((user, HIDDEN)) => {
                        *line = format!("{user}:{}", hash_of(user).ok_or_else(nothing)?).into();
                    }
                    _ => {}
                }
            }
        }
        other if *other == HIDDEN => return Err(path.to_owned()),
        _ => {}
    }
    Ok(())
}

/// Restores what [`hide_below`] hides.
fn restore_fields(
    fields: &mut Map<String, Value>,
    stored: Option<&Value>,
    path: &str,
    is_secret: &dyn Fn(&str) -> bool,
) -> Result<(), String> {
    for (name, value) in fields.iter_mut() {
        let stored = stored.and_then(|stored| find(stored.as_object()?, name));
        let path = format!("{path}.{name}");
        match value {
            _ if is_secret(name) => restore_below(value, stored, &path)?,
            Value::Object(inner) => restore_fields(inner, stored, &path, is_secret)?,
            // A part that was hidden whole.
            Value::String(text) if text == HIDDEN => {
                let kept = stored.and_then(Value::as_str);
                if let Some(kept) = kept.filter(|kept| has_secret(kept, is_secret)) {
                    *value = kept.into();
                }
            }
            _ => {}
        }
    }
    Ok(())
}

fn restore_below(value: &mut Value, stored: Option<&Value>, path: &str) -> Result<(), String> {
    match value {
        Value::String(text) if text == HIDDEN => match stored {
            Some(kept) if !kept.is_null() => *value = kept.clone(),
            _ => return Err(path.to_owned()),
        },
        Value::Object(fields) => {
            for (name, value) in fields.iter_mut() {
                let dot = if path.is_empty() { "" } else { "." };
                let stored = stored.and_then(|stored| find(stored.as_object()?, name));
                restore_below(value, stored, &format!("{path}{dot}{name}"))?;
            }
        }
        Value::Array(items) => {
            for (index, value) in items.iter_mut().enumerate() {
                let stored = stored.and_then(|stored| stored.as_array()?.get(index));
                restore_below(value, stored, &format!("{path}[{index}]"))?;
            }
        }
        _ => {}
    }
    Ok(())
}

/// The field of this very name, else the last one in another spelling.
fn find<'v>(fields: &'v Map<String, Value>, name: &str) -> Option<&'v Value> {
    fields.get(name).or_else(|| edit::last_spelled(fields, name))
}

/// The last one counts where there are several spellings.
fn part_mut<'v>(value: &'v mut Value, name: &str) -> Option<&'v mut Map<String, Value>> {
    edit::last_spelled_mut(value.as_object_mut()?, name)?.as_object_mut()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn key(text: &str) -> ObjectKey {
        ObjectKey::parse(text).unwrap()
    }

    #[test]
    fn what_is_hidden_comes_back() {
        let middleware = key("frontends/f/middlewares/m");
        let host = key("hosts/a.example/host");
        let webhook = json!({"Type": "webhook", "Action": {"URL": "http://a/", "Headers": {
            "Authorization": ["hush"], "X-Api-Token": ["hush", "hush"], "X-Who": ["ann"]}}});
        for (key, stored) in [
            (&middleware, json!({"Type": "auth", "Middleware": {"Username": "ann", "Password": "hush"}})),
            (&middleware, json!({"Type": "auth", "middleware": {"users": {"ann": "hush", "bob": "hush"}}})),
            (&middleware, json!({"Type": "basicauth", "Middleware": {"Users": ["ann:hush", "bob:hush"]}})),
            (
                &middleware,
                json!({"Type": "basicauth", "Middleware": {"Users": ["ann: hush", "hush", "ann:hush2"]}}),
            ),
            (&middleware, json!({"Type": "ann", "Middleware": {"Users": 3}})),
            (&middleware, json!({"Type": "cbreaker", "ann": 1, "Middleware": {"OnTripped": webhook}})),
            (
                &middleware,
                json!({"Type": "cbreaker", "ann": 1, "Middleware": {"OnTripped": webhook.to_string()}}),
            ),
            (
                &middleware,
                json!({"Type": "headers", "Middleware": {"Request": {"Set":
                    {"authorization": "hush", "X": "ann"}}}}),
            ),
            (&host, json!({"settings": {"AutoCert": {"Email": "ann", "key": "hush"}}})),
        ] {
            let mut shown = hide(key, stored.clone());
            assert!(!shown.to_string().contains("hush"), "{shown}");
            assert!(shown.to_string().contains("ann"), "{shown}");
            assert_eq!(hide(key, shown.clone()), shown);
            assert_eq!(restore(key, &mut shown.clone(), Some(&shown)), Ok(()));
            assert_eq!(restore(key, &mut shown, Some(&stored)), Ok(()));
            assert_eq!(shown, stored);
        }
    }

    #[test]
    fn a_mark_with_nothing_behind_it_is_named() {
        let middleware = key("middlewares/m");
        let stored = json!({"Middleware": {"Users": ["ann:hush"]}});
        let mut value = json!({"Middleware": {"Users": {"ann": HIDDEN}}});
        assert_eq!(restore(&middleware, &mut value, Some(&stored)), Ok(()));
        assert_eq!(value, json!({"Middleware": {"Users": {"ann": "hush"}}}));
        for (key, value, named) in [
            (&middleware, json!({"Middleware": {"Password": HIDDEN}}), "Middleware.Password"),
            (&middleware, json!({"Middleware": {"Users": {"bob": HIDDEN}}}), "Middleware.Users.bob"),
            (&middleware, json!({"Middleware": {"Users": ["x:y", "bob:(hidden)"]}}), "Middleware.Users[1]"),
            (&middleware, json!({"Middleware": {"Users": [HIDDEN]}}), "Middleware.Users[0]"),
            (&middleware, json!({"Middleware": {"Users": HIDDEN}}), "Middleware.Users"),
            (
                &middleware,
                json!({"Middleware": {"OnStandby": {"Action": {"Headers": {"Cookie": [HIDDEN]}}}}}),
                "Middleware.OnStandby.Action.Headers.Cookie[0]",
            ),
            (
                &key("hosts/a.example/host"),
                json!({"Settings": {"AutoCert": {"Key": HIDDEN}}}),
                "Settings.AutoCert.Key",
            ),
            (&key("backends/b/backend"), json!({"Settings": {"TLS": {"CA": HIDDEN}}}), "Settings.TLS.CA"),
        ] {
            assert_eq!(restore(key, &mut value.clone(), Some(&stored)), Err(named.to_owned()), "{value}");
        }
        // What is no secret, and what is not even an object, passes.
        for other in [
            json!({"Middleware": {"Requests": 1, "Body": "(hidden)", "RequestHeaders": ["Authorization"]}}),
            json!(5),
            json!({"Middleware": "x"}),
        ] {
            assert_eq!(hide(&middleware, other.clone()), other);
            let mut back = other.clone();
            assert_eq!(restore(&middleware, &mut back, None), Ok(()));
            assert_eq!(back, other);
        }
    }
}
