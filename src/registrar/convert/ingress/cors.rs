//! What pages of other sites may use.

use super::super::Converted;
use super::said::{Said, shown};
use super::treatment::{Treatment, filter, order};
use crate::model::duration;
use serde_json::{Value, json};
use std::time::Duration;

/// What browsers may ask with, unless something else is given; as with ingress-nginx.
const METHODS: &str = "GET,PUT,POST,DELETE,PATCH,OPTIONS";
const HEADERS: &str =
    "DNT,User-Agent,X-Requested-With,If-Modified-Since,Cache-Control,Content-Type,Range,Authorization";
/// How long a browser may remember it: there twenty days, of which no browser takes more than one.
const AGE_MAX: u64 = 24 * 3_600;
/// Longest `cors-max-age`.
const AGE_GIVEN_MAX: u64 = 100 * 365 * 24 * 3_600;

pub(super) fn read(said: &Said<'_>, treatment: &mut Treatment, converted: &mut Converted) {
    if said.flag("enable-cors", converted) != Some(true) {
        return;
    }
    let mut origins: Vec<String> = said.list("cors-allow-origin").map(origin).collect();
    if origins.is_empty() || origins.iter().any(|origin| origin == "*") {
        origins = vec!["*".to_owned()];
    }
    let list = |name: &str, default: &str| -> Vec<String> {
        let given: Vec<String> = said.list(name).map(str::to_owned).collect();
        match given.is_empty() {
            true => default.split(',').filter(|item| !item.is_empty()).map(str::to_owned).collect(),
            false => given,
        }
    };
    let methods = list("cors-allow-methods", METHODS);
    let mut headers = list("cors-allow-headers", HEADERS);
    headers.retain(|name| {
        // Browsers do not ask for these: they belong to the connection.
        let is_own = ["Keep-Alive", "Connection", "TE"].iter().any(|own| own.eq_ignore_ascii_case(name));
        if is_own {
            let reason = format!("has {}, which no page can set: it is left out", shown(name));
            said.warning("cors-allow-headers", reason, converted);
        }
        !is_own
    });
    let exposed = list("cors-expose-headers", "");
    let has_star = [&origins, &methods, &headers, &exposed].into_iter().flatten().any(|item| item == "*");
    let wanted = said.flag("cors-allow-credentials", converted);
    if wanted == Some(true) && has_star {
        let reason = "is left out: beside a `*` browsers do not heed it";
        said.warning("cors-allow-credentials", reason, converted);
    }
    let age = said.number("cors-max-age", 0..=AGE_GIVEN_MAX, converted).unwrap_or(AGE_MAX);
    let mut spec = json!({
        "AllowOrigins": origins,
        "AllowMethods": methods,
        "AllowHeaders": headers,
        "AllowCredentials": wanted.unwrap_or(true) && !has_star,
        "MaxAge": duration::format(Duration::from_secs(age.min(AGE_MAX))),
    });
    if let Value::Object(spec) = &mut spec
        && !exposed.is_empty()
    {
        spec.insert("ExposeHeaders".into(), exposed.into());
    }
    treatment.add(said, "enable-cors", filter("cors", "cors", order::CORS, spec), converted);
}

/// As browsers send it: in lower case, without a slash at its end, and without the scheme's own port.
fn origin(text: &str) -> String {
    let text = text.trim_end_matches('/').to_ascii_lowercase();
    for (scheme, port) in [("http://", ":80"), ("https://", ":443")] {
        if let Some(rest) = text.strip_prefix(scheme).and_then(|rest| rest.strip_suffix(port)) {
            return format!("{scheme}{rest}");
        }
    }
    text
}
