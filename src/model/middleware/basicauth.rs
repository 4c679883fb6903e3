//! `basicauth` and vulcand's `auth`: who has a name and its password.

use crate::model::fields::{FIELDS_MAX, Fields, quote, show};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};
use std::fmt;

/// Most of bcrypt's work that is taken: each step up doubles it, and at 10 a check takes about 60 ms of a worker's time.
const BCRYPT_COST_MAX: u32 = 12;
/// Shown by browsers where nothing else is given.
const REALM_DEFAULT: &str = "Restricted";
const TEXT_BYTES_MAX: usize = 256;

/// `{"Username","Password","Users","Realm","PassAuthorization"}`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BasicAuthSpec {
    /// `Username` with `Password`, vulcand's, and `Users`: names are told apart by case, and none stands twice.
    pub users: Vec<(Box<str>, Secret)>,
    /// `Realm`: what the password is for, as browsers show it.
    pub realm: Box<str>,
    /// `PassAuthorization`: whether the server sees the `Authorization` field; default false.
    pub pass_authorization: bool,
}

/// What proves a user. Its `Debug` shows nothing of it.
#[derive(Clone, PartialEq, Eq)]
pub enum Secret {
    /// The password itself.
    Plain(Box<str>),
    /// `$2a$`, `$2b$` or `$2y$`: bcrypt, with the cost that stands in it, at most 12.
    Bcrypt(Box<str>, u32),
    /// `$apr1$` or `$1$`: a thousand rounds of MD5, as `htpasswd` writes it unless it is told otherwise. Weak.
    Md5(Box<str>),
    /// `{SHA}`: SHA-1 in base64, as `htpasswd -s` writes it.
    Sha1([u8; 20]),
    /// `{SHA256}`: SHA-256 in base64.
    Sha256([u8; 32]),
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

impl Secret {
    /// Reads a hash.
    ///
    /// # Errors
    /// What is wrong, without anything of it.
    fn of_hash(text: &str) -> Result<Self, &'static str> {
        let decoded = |text: &str| STANDARD.decode(text).unwrap_or_default();
        if let Some(sum) = text.strip_prefix("{SHA}") {
            let sum = decoded(sum).try_into().map_err(|_| "is no SHA-1 in base64")?;
            return Ok(Self::Sha1(sum));
        }
        if let Some(sum) = text.strip_prefix("{SHA256}") {
            let sum = decoded(sum).try_into().map_err(|_| "is no SHA-256 in base64")?;
            return Ok(Self::Sha256(sum));
        }
        if let Some(rest) = ["$apr1$", "$1$"].iter().find_map(|prefix| text.strip_prefix(prefix)) {
            let is_digit = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'.' || byte == b'/';
            let whole = rest.split_once('$').is_some_and(|(salt, sum)| {
                (1..=8).contains(&salt.len()) && sum.len() == 22 && sum.bytes().all(is_digit)
            });
            return if whole { Ok(Self::Md5(text.into())) } else { Err("is no whole hash of MD5") };
        }
        let Some(rest) = ["$2a$", "$2b$", "$2y$"].iter().find_map(|prefix| text.strip_prefix(prefix)) else {
            return Err(
                "is no hash that is known: bcrypt (`$2y$`, from `htpasswd -nbB NAME PASSWORD`), `{SHA}`, `{SHA256}` or \
                 `$apr1$` is expected",
            );
        };
        let is_salt = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'.' || byte == b'/';
        let cost = rest.split_once('$').filter(|(_, salt)| salt.len() == 53 && salt.bytes().all(is_salt));
        match cost.and_then(|(cost, _)| cost.parse::<u32>().ok().filter(|_| cost.len() == 2)) {
            Some(cost @ 4..=BCRYPT_COST_MAX) => Ok(Self::Bcrypt(text.into(), cost)),
            Some(13..=31) => Err("is bcrypt with a cost over 12, which takes too long; \
                                  `htpasswd -nbB -C 12 NAME PASSWORD` makes one that is taken"),
            _ => Err("is no whole hash of bcrypt"),
        }
    }

    fn to_text(&self) -> String {
        match self {
            Self::Plain(text) | Self::Bcrypt(text, _) | Self::Md5(text) => text.to_string(),
            Self::Sha1(sum) => format!("{{SHA}}{}", STANDARD.encode(sum)),
            Self::Sha256(sum) => format!("{{SHA256}}{}", STANDARD.encode(sum)),
        }
    }
}

pub(super) fn read(fields: &mut Fields<'_>) -> Option<BasicAuthSpec> {
    let mut users = Vec::new();
    match (fields.text("Username"), fields.text("Password")) {
        (Some(name), Some(password)) => match name_error(name) {
            Some(reason) => fields.error("Username", format!("is {}, which {reason}", quote(name))),
            None => users.push((name.into(), Secret::Plain(password.into()))),
        },
        (Some(_), None) => fields.error("Password", "is missing beside Username"),
        (None, Some(_)) => fields.error("Username", "is missing beside Password"),
        (None, None) => {}
    }
    read_users(fields, &mut users);
    let realm = fields.text("Realm").unwrap_or(REALM_DEFAULT);
    if realm.len() > TEXT_BYTES_MAX || realm.chars().any(|c| c.is_control() || c == '"' || c == '\\') {
        let reason = "has a quotation mark, a backslash or a control character, or is longer than 256 bytes";
        fields.error("Realm", reason);
    }
    let pass_authorization = fields.boolean("PassAuthorization").unwrap_or(false);
    if users.is_empty() && !fields.report().has_errors() {
        let reason = "names nobody: Username and Password, or Users are expected";
        fields.report().error(fields.path(), reason);
    }
    Some(BasicAuthSpec { users, realm: realm.into(), pass_authorization })
}

/// Names with hashes, or a list of lines of a file that `htpasswd` made.
fn read_users(fields: &mut Fields<'_>, users: &mut Vec<(Box<str>, Secret)>) {
    let path = fields.path_of("Users");
    let report = fields.report();
    let mut take = |path: String, name: &str, hash: &str| {
        if let Some(reason) = name_error(name) {
            report.error(path, format!("has a name that {reason}"));
        } else if users.iter().any(|(known, _)| &**known == name) {
            report.error(path, format!("names {} once more", quote(name)));
        } else {
            match Secret::of_hash(hash) {
                Ok(secret) => users.push((name.into(), secret)),
                Err(reason) => report.error(path, reason),
            }
        }
    };
    match fields.value("Users") {
        None => {}
        Some(Value::Object(map)) if map.len() <= FIELDS_MAX => {
            for (name, value) in map {
                let path = format!("{path}.{}", name.chars().take(60).collect::<String>());
                match value {
                    Value::String(hash) => take(path, name, hash),
                    other => report.error(path, format!("is {}; a hash is expected", show(other))),
                }
            }
        }
        Some(Value::Array(lines)) if lines.len() <= FIELDS_MAX => {
            for (index, line) in lines.iter().enumerate() {
                let path = format!("{path}[{index}]");
                match line.as_str().and_then(|line| line.split_once(':')) {
                    Some((name, hash)) => take(path, name, hash.trim()),
                    None => report.error(path, "is no line of the form `NAME:HASH`"),
                }
            }
        }
        Some(Value::Object(_) | Value::Array(_)) => {
            report.error(path, format!("has too many users; at most {FIELDS_MAX} are read"));
        }
        Some(other) => {
            let reason =
                format!("is {}; an object of names with hashes, or a list of lines is expected", show(other));
            report.error(path, reason);
        }
    }
}

fn name_error(name: &str) -> Option<&'static str> {
    let wrong = name.is_empty()
        || name.len() > TEXT_BYTES_MAX
        || name.contains(':')
        || name.chars().any(char::is_control);
    wrong.then_some("is empty, longer than 256 bytes, or has a colon or a control character")
}

impl BasicAuthSpec {
    pub(super) fn to_map(&self) -> Map<String, Value> {
        let mut value = Map::new();
        let mut users = Map::new();
        for (name, secret) in &self.users {
            if let Secret::Plain(password) = secret {
                value.insert("Username".into(), (&**name).into());
                value.insert("Password".into(), (&**password).into());
            } else {
                users.insert((&**name).into(), secret.to_text().into());
            }
        }
        if !users.is_empty() {
            value.insert("Users".into(), users.into());
        }
        if &*self.realm != REALM_DEFAULT {
            value.insert("Realm".into(), (&*self.realm).into());
        }
        if self.pass_authorization {
            value.insert("PassAuthorization".into(), true.into());
        }
        value
    }
}
