//! `flipgate explain`: which route takes a request, and why the ones before it do not.

use super::api::escape;
use super::check::load;
use super::context::{Context, Exit, Output};
use super::flags::TargetFlags;
use super::references::Objects;
use super::table::{count, table};
use super::target::{Target, objects};
use super::value::with;
use crate::expr::Route;
use crate::model::{FrontendId, Object, ObjectKey, Revision, RouteOrder, Strictness};
use crate::route::{Lookup, Params, Query, Router};
use crate::table::{Change, ListedRoute, Table, compile};
use anyhow::{anyhow, bail};
use http::Uri;
use serde_json::{Value, json};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

/// Most routes that are asked for; the router looks at far fewer.
const ROUTES_MAX: usize = 10_000;

/// Show which route takes a request, and where it leads
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  flipgate explain GET https://shop.example/cart
  flipgate explain POST http://shop.example/api -H 'Content-Type: application/json' --client 10.1.2.3
  flipgate explain GET http://shop.example/ --store dir:routes      without a proxy, from what the store says

Routes are listed in the order in which they are preferred, up to the one that matches. Exits with 1 if none does.")]
pub(super) struct Explain {
    /// GET, POST ...
    #[arg(value_name = "METHOD")]
    method: String,
    /// Of the request, with its host
    #[arg(value_name = "URL")]
    url: String,
    /// A header field of the request (repeatable)
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE", value_parser = parse_header)]
    headers: Vec<(String, String)>,
    /// The client's address
    #[arg(long, value_name = "IP")]
    client: Option<IpAddr>,
    /// Also show the routes after the one that matches
    #[arg(long)]
    all: bool,
    /// With --store, the order that proxies prefer routes in [default: what the settings name]
    #[arg(long, value_name = "flipgate|vulcand", value_parser = parse_order)]
    route_order: Option<RouteOrder>,
    #[command(flatten)]
    target: TargetFlags,
}

fn parse_order(text: &str) -> Result<RouteOrder, String> {
    let known = [RouteOrder::Flipgate, RouteOrder::Vulcand].into_iter().find(|order| order.as_str() == text);
    known.ok_or_else(|| "`flipgate` or `vulcand` is expected".to_owned())
}

fn parse_header(text: &str) -> Result<(String, String), String> {
    match text.split_once(':') {
        Some((name, value)) if !name.trim().is_empty() => {
            Ok((name.trim().to_owned(), value.trim().to_owned()))
        }
        _ => Err("`NAME: VALUE` is expected, like `Accept: text/html`".to_owned()),
    }
}

/// A request as the router sees it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) method: String,
    pub(super) host: String,
    pub(super) path: String,
    pub(super) query: String,
    pub(super) headers: Vec<(String, String)>,
    pub(super) client: Option<IpAddr>,
}

/// What is listed of one route.
struct Looked {
    route: Value,
    /// The first matcher that does not match; none: all do.
    fails: Option<String>,
}

impl Explain {
    pub(super) async fn run(self, context: &mut Context<'_, '_>) -> anyhow::Result<Exit> {
        let asked = Asked::new(&self)?;
        let listing = if self.target.store_given() {
            let order = match self.route_order {
                Some(order) => order,
                None => self.target.route_order(context)?,
            };
            from_store(&context.target(&self.target)?, &asked.host, order).await?
        } else {
            from_proxy(&self.target, context, &asked.host).await?
        };
        let revision = listing.get("revision").and_then(Value::as_u64).unwrap_or_default();
        let order = text(&listing, "order");
        let routes = listing.get("routes").and_then(Value::as_array).cloned().unwrap_or_default();
        let mut looked = Vec::new();
        let mut taken = None;
        for route in routes {
            let fails = asked.fails(&route)?;
            if fails.is_none() && taken.is_none() {
                taken = Some(route.clone());
            }
            looked.push(Looked { route, fails });
            if taken.is_some() && !self.all {
                break;
            }
        }
        if context.output == Output::Json {
            let seen = looked.iter().map(|looked| {
                let route = with(looked.route.clone(), "matches", looked.fails.is_none());
                with(route, "fails", looked.fails.clone())
            });
            let seen: Vec<Value> = seen.collect();
            context
                .json(&json!({ "revision": revision, "order": order, "matched": taken, "routes": seen }))?;
        } else {
            print(context, &asked, (revision, &order), &looked, taken.as_ref())?;
        }
        if listing.get("truncated").and_then(Value::as_bool) == Some(true) && taken.is_none() {
            context.note(format_args!("only the first {ROUTES_MAX} routes were looked at"));
        }
        Ok(if taken.is_some() { Exit::Done } else { Exit::No })
    }
}

fn text(value: &Value, name: &str) -> String {
    match value.get(name) {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

fn print(
    context: &mut Context<'_, '_>,
    asked: &Asked,
    (revision, order): (u64, &str),
    looked: &[Looked],
    taken: Option<&Value>,
) -> anyhow::Result<()> {
    let Asked { method, host, path, .. } = asked;
    let order = if order == RouteOrder::Vulcand.as_str() { ", in vulcand's order" } else { "" };
    context.say(format_args!("{method} {path} for {host:?} at revision {revision}{order}"))?;
    let rows = looked.iter().map(|looked| {
        let verdict = match &looked.fails {
            None => "matches".to_owned(),
            Some(fails) => format!("no: {fails}"),
        };
        let part = |name| text(&looked.route, name);
        [part("rank"), part("frontend"), part("priority"), part("route"), verdict]
    });
    if !looked.is_empty() {
        context.say("")?;
        context.say(table(["RANK", "FRONTEND", "PRIORITY", "ROUTE", ""], rows))?;
    }
    context.say("")?;
    let Some(taken) = taken else {
        let of = count(looked.len(), "route");
        return Ok(context.say(format_args!("no route takes it ({of} for this host): 404"))?);
    };
    let (backend, resolved) = (text(taken, "backend"), text(taken, "resolved"));
    context.say(format_args!("frontend  {}", text(taken, "frontend")))?;
    let alias =
        if !resolved.is_empty() && resolved != backend { format!(" -> {resolved}") } else { String::new() };
    context.say(format_args!("backend   {backend}{alias}"))?;
    let servers = taken.get("servers").and_then(Value::as_array).cloned().unwrap_or_default();
    if resolved.is_empty() {
        return Ok(context.say("          which does not exist: 503 no_backend")?);
    }
    if servers.is_empty() {
        return Ok(context.say("          which has no server: 503 no_server")?);
    }
    let rows = servers.iter().map(|server| {
        let health = match server.get("healthy").and_then(Value::as_bool) {
            Some(true) => "takes requests",
            _ => "takes none",
        };
        let part = |name| text(server, name);
        [part("id"), part("url"), part("state"), health.to_owned(), part("inFlight")]
    });
    context.say("")?;
    Ok(context.say(table(["SERVER", "URL", "STATE", "HEALTH", "IN FLIGHT"], rows))?)
}

impl Asked {
    fn new(explain: &Explain) -> anyhow::Result<Self> {
        let wrong = || anyhow!("{:?} is no URL of a request, like https://shop.example/cart", explain.url);
        let url =
            if explain.url.contains("://") { explain.url.clone() } else { format!("http://{}", explain.url) };
        let uri: Uri = url.parse().map_err(|_| wrong())?;
        let authority = uri.authority().ok_or_else(wrong)?;
        let mut headers = explain.headers.clone();
        let given = headers.iter().position(|(name, _)| name.eq_ignore_ascii_case("host"));
        let host = match given {
            Some(index) => {
                headers.swap_remove(index).1.parse::<http::uri::Authority>().map_err(|_| wrong())?
            }
            None => authority.clone(),
        };
        headers.push(("host".to_owned(), host.to_string()));
        let host = host.host().trim_start_matches('[').trim_end_matches(']').trim_end_matches('.');
        Ok(Self {
            method: explain.method.clone(),
            host: host.to_ascii_lowercase(),
            path: uri.path().to_owned(),
            query: uri.query().unwrap_or_default().to_owned(),
            headers,
            client: explain.client,
        })
    }

    /// The first matcher of a listed route that does not match.
    fn fails(&self, route: &Value) -> anyhow::Result<Option<String>> {
        let expression = text(route, "route");
        let parsed = Route::parse(&expression).map_err(|error| {
            anyhow!("the proxy lists a route that this program cannot read: {expression}: {error}")
        })?;
        if self.matches(&parsed) {
            return Ok(None);
        }
        let terms = parsed.alternatives().iter().flat_map(|alternative| alternative.terms());
        let fails = terms.map(ToString::to_string).find(|term| {
            // A term by itself is an expression.
            Route::parse(term).is_ok_and(|term| !self.matches(&term))
        });
        Ok(Some(fails.unwrap_or(expression)))
    }

    fn matches(&self, route: &Route) -> bool {
        let Ok(id) = FrontendId::try_from("asked") else { return false };
        let mut router = Router::new();
        router.insert(&id, route, 0, ());
        router.find(&self.question(), &mut Params::new()).is_some()
    }

    pub(super) fn question(&self) -> Query<'_> {
        Query { host: &self.host, path: &self.path, method: &self.method, client: self.client, lookup: self }
    }
}

/// As `explain` takes it.
impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let and = if self.query.is_empty() { "" } else { "?" };
        write!(f, "{} http://{}{}{and}{}", self.method, self.host, self.path, self.query)?;
        for (name, value) in &self.headers {
            write!(f, " -H '{name}: {value}'")?;
        }
        self.client.iter().try_for_each(|client| write!(f, " --client {client}"))
    }
}

impl Lookup for Asked {
    fn header(&self, name: &str, test: &mut dyn FnMut(&[u8]) -> bool) -> bool {
        let mut values = self.headers.iter().filter(|(found, _)| found.eq_ignore_ascii_case(name));
        values.any(|(_, value)| test(value.as_bytes()))
    }

    fn query(&self, name: &str, test: &mut dyn FnMut(&[u8]) -> bool) -> bool {
        let mut pairs = self.query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        pairs.any(|(found, value)| found == name && test(value.as_bytes()))
    }

    fn cookie(&self, name: &str, test: &mut dyn FnMut(&[u8]) -> bool) -> bool {
        let cookies = self.headers.iter().filter(|(found, _)| found.eq_ignore_ascii_case("cookie"));
        let mut pairs =
            cookies.flat_map(|(_, value)| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
        pairs.any(|(found, value)| found == name && test(value.as_bytes()))
    }
}

async fn from_proxy(target: &TargetFlags, context: &Context<'_, '_>, host: &str) -> anyhow::Result<Value> {
    let client = target.admin(context)?;
    let answer = client.get(&format!("/v3/routes?host={}&limit={ROUTES_MAX}", escape(host))).await?;
    if !answer.status.is_success() {
        bail!("{}: {}", client.url(), answer.message());
    }
    Ok(answer.body)
}

/// What a proxy would list that begins with what the store holds now.
async fn from_store(target: &Target, host: &str, order: RouteOrder) -> anyhow::Result<Value> {
    let snapshot = target.list().await?;
    let revision = snapshot.revision;
    let (entries, _) = objects(snapshot);
    let (loaded, _) = load(&entries, Strictness::Stored);
    let table = compiled(&loaded, revision, order);
    let (routes, truncated) = table.listed_routes(Some(host), None, ROUTES_MAX);
    let routes: Vec<Value> = routes.iter().map(listed).collect();
    Ok(json!({ "revision": revision, "order": order.as_str(), "routes": routes, "truncated": truncated }))
}

fn compiled(objects: &Objects, revision: Revision, order: RouteOrder) -> Table {
    let change = |(key, (object, _)): (&ObjectKey, &(Object, u64))| match (key, object) {
        (ObjectKey::Frontend(id), Object::Frontend(object)) => {
            Some(Change::Frontend(id.clone(), Some(Arc::new(object.clone()))))
        }
        (ObjectKey::Backend(id), Object::Backend(object)) => {
            Some(Change::Backend(id.clone(), Some((Arc::new(object.clone()), None))))
        }
        (ObjectKey::Server(backend, id), Object::Server(object)) => {
            Some(Change::Server(backend.clone(), id.clone(), Some(Arc::new(object.clone()))))
        }
        _ => None,
    };
    // What is wrong between objects keeps a frontend out of force that has no form from before.
    let findings = objects.findings();
    let is_wrong = |key: &ObjectKey| {
        findings
            .iter()
            .any(|(found, finding)| found == key && finding.severity == crate::model::Severity::Error)
    };
    let changes: Vec<Change> =
        objects.valid.iter().filter(|(key, _)| !is_wrong(key)).filter_map(change).collect();
    compile(&Table::with_order(1, order), revision, 0, &changes)
}

/// As the admin API lists it.
fn listed(route: &ListedRoute) -> Value {
    let servers = route.servers.iter().map(|server| {
        json!({
            "id": server.id.as_str(), "url": server.url, "state": server.state,
            "healthy": server.healthy, "standing": server.standing, "inFlight": server.in_flight,
        })
    });
    json!({
        "rank": route.rank,
        "frontend": route.frontend.as_str(),
        "route": route.route,
        "priority": route.priority,
        "backend": route.backend.as_str(),
        "resolved": route.resolved.as_ref().map(|id| id.as_str()),
        "servers": servers.collect::<Vec<Value>>(),
    })
}
