//! Tells browsers which origins' pages may use what they ask for (the Fetch standard's CORS protocol).

use super::{Outcome, Reply, Visit, add_vary};
use crate::message::{Fields, Method, RequestHead, ResponseHead};
use crate::model::CorsSpec;

/// Fields that this step alone decides, whatever a server said.
const OWN: [&str; 3] =
    ["Access-Control-Allow-Origin", "Access-Control-Allow-Credentials", "Access-Control-Expose-Headers"];

/// Answers a preflight; notes who asks, since a later step may take `Origin` away from the server.
pub(super) fn on_request(spec: &CorsSpec, visit: &mut Visit, request: &RequestHead) -> Outcome {
    let Some(origin) = origin(request) else { return Outcome::Pass };
    visit.rare().origin.get_or_insert_with(|| origin.into());
    if !is_preflight(request) {
        return Outcome::Pass;
    }
    let mut reply = Reply::of(204);
    let asked = ["Access-Control-Request-Method", "Access-Control-Request-Headers"].join(", ");
    reply.fields.push(("Vary", asked.into()));
    if spec.allow_origins.iter().any(|allowed| allowed.fits(origin)) {
        for (name, list) in [
            ("Access-Control-Allow-Methods", &spec.allow_methods),
            ("Access-Control-Allow-Headers", &spec.allow_headers),
        ] {
            if !list.is_empty() {
                reply.fields.push((name, list.join(", ").into()));
            }
        }
        if let Some(age) = spec.max_age {
            reply.fields.push(("Access-Control-Max-Age", age.as_secs().to_string().into()));
        }
    }
    Outcome::Reply(reply)
}

/// Marks the answer as one that the asking page may read, or as one that it may not.
pub(super) fn on_response(
    spec: &CorsSpec,
    visit: &Visit,
    request: &RequestHead,
    response: &mut ResponseHead,
) {
    let noted = visit.rare.as_ref().and_then(|rare| rare.origin.as_deref());
    let origin = noted.or(origin(request));
    let fields = &mut response.fields;
    OWN.into_iter().for_each(|name| fields.remove(name));
    if !spec.allows_any() {
        // Also where nobody asked: a cache must not give that answer to a page that does.
        add_vary(fields, "Origin");
    }
    let Some(origin) = origin.filter(|origin| spec.allow_origins.iter().any(|it| it.fits(origin))) else {
        return;
    };
    let told = if spec.allows_any() { "*" } else { origin };
    set(fields, "Access-Control-Allow-Origin", told);
    if spec.allow_credentials {
        set(fields, "Access-Control-Allow-Credentials", "true");
    }
    if !spec.expose_headers.is_empty() && !is_preflight(request) {
        set(fields, "Access-Control-Expose-Headers", &spec.expose_headers.join(", "));
    }
}

fn is_preflight(request: &RequestHead) -> bool {
    request.method_kind == Method::Options
        && request.fields.get("Access-Control-Request-Method").is_some()
        && request.fields.get("Origin").is_some()
}

/// The one origin that is named. Several fields are what no browser sends: nobody is let in for one of them.
fn origin(request: &RequestHead) -> Option<&str> {
    let mut all = request.fields.get_all("Origin");
    let origin = std::str::from_utf8(all.next()?).ok()?;
    all.next().is_none().then_some(origin)
}

fn set(fields: &mut Fields, name: &str, value: &str) {
    // Both were read from fields or checked when the middleware was read.
    let _ = fields.set(name, value.as_bytes());
}
