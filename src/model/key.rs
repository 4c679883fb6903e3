//! Where an object stands in the store: the key below the prefix.

use super::fields::nearest;
use super::id::{BackendId, FrontendId, HostName, InvalidId, ListenerId, MiddlewareId, ServerId};
use std::fmt;
use std::str::FromStr;

/// The kinds of objects, as users name them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// `listener`
    Listener,
    /// `host`
    Host,
    /// `frontend`
    Frontend,
    /// `middleware`, a frontend's own or shared
    Middleware,
    /// `backend`
    Backend,
    /// `server`
    Server,
}

impl Kind {
    /// In the order of a request's way.
    pub const ALL: [Self; 6] =
        [Self::Listener, Self::Host, Self::Frontend, Self::Middleware, Self::Backend, Self::Server];

    /// `frontend`
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Listener => "listener",
            Self::Host => "host",
            Self::Frontend => "frontend",
            Self::Middleware => "middleware",
            Self::Backend => "backend",
            Self::Server => "server",
        }
    }

    /// `frontends`, as in keys and paths of the API.
    pub fn plural(self) -> &'static str {
        match self {
            Self::Listener => "listeners",
            Self::Host => "hosts",
            Self::Frontend => "frontends",
            Self::Middleware => "middlewares",
            Self::Backend => "backends",
            Self::Server => "servers",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Kind {
    type Err = InvalidKey;

    /// Singular or plural, without regard to case.
    fn from_str(text: &str) -> Result<Self, InvalidKey> {
        let is = |kind: &Self| {
            text.eq_ignore_ascii_case(kind.as_str()) || text.eq_ignore_ascii_case(kind.plural())
        };
        match Self::ALL.iter().find(|kind| is(kind)) {
            Some(kind) => Ok(*kind),
            None => Err(InvalidKey::Kind {
                text: text.chars().take(60).collect(),
                near: nearest(text, Self::ALL.iter().map(|kind| kind.as_str())),
            }),
        }
    }
}

/// Why a kind and an id do not name an object.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKey {
    /// Not a kind.
    #[error("{text:?} is no kind; a kind is listener, host, frontend, middleware, backend or server{}",
        .near.map(|near| format!(" (did you mean `{near}`?)")).unwrap_or_default())]
    Kind {
        /// What stands there.
        text: String,
        /// What was perhaps meant.
        near: Option<&'static str>,
    },
    /// A server without its backend.
    #[error("a server is named as BACKEND/SERVER, {0:?} has no slash")]
    NoParent(String),
    /// An id that cannot be one.
    #[error(transparent)]
    Id(#[from] InvalidId),
}

/// An object's identity. Its `Display` is the canonical key below the prefix, without a leading slash.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ObjectKey {
    /// `listeners/<id>`
    Listener(ListenerId),
    /// `hosts/<name>/host`
    Host(HostName),
    /// `frontends/<id>/frontend`; `frontends/<id>` is read too.
    Frontend(FrontendId),
    /// `frontends/<id>/middlewares/<id>`
    OwnMiddleware(FrontendId, MiddlewareId),
    /// `middlewares/<id>`
    SharedMiddleware(MiddlewareId),
    /// `backends/<id>/backend`; `backends/<id>` is read too.
    Backend(BackendId),
    /// `backends/<id>/servers/<id>`
    Server(BackendId, ServerId),
}

impl ObjectKey {
    /// The object that a key below the prefix names, in its canonical form or in the short one (`frontends/<id>`,
    /// `backends/<id>`, `hosts/<name>`). `None`: not a key of an object.
    pub fn parse(key: &str) -> Option<Self> {
        let mut parts = key.split('/');
        let (collection, id) = (parts.next()?, parts.next()?);
        let (below, last) = (parts.next(), parts.next());
        if parts.next().is_some() {
            return None;
        }
        Some(match (collection, below, last) {
            ("listeners", None, None) => Self::Listener(id.try_into().ok()?),
            ("hosts", None | Some("host"), None) => Self::Host(id.try_into().ok()?),
            ("frontends", None | Some("frontend"), None) => Self::Frontend(id.try_into().ok()?),
            ("frontends", Some("middlewares"), Some(own)) => {
                Self::OwnMiddleware(id.try_into().ok()?, own.try_into().ok()?)
            }
            ("middlewares", None, None) => Self::SharedMiddleware(id.try_into().ok()?),
            ("backends", None | Some("backend"), None) => Self::Backend(id.try_into().ok()?),
            ("backends", Some("servers"), Some(server)) => {
                Self::Server(id.try_into().ok()?, server.try_into().ok()?)
            }
            _ => return None,
        })
    }

    /// The key of `ID`, or of `PARENT/ID` for a server or a frontend's own middleware.
    ///
    /// # Errors
    /// An id is empty, too long or has a character that a key cannot carry; a server lacks its backend.
    pub fn from_kind_id(kind: Kind, id: &str) -> Result<Self, InvalidKey> {
        Ok(match (kind, id.split_once('/')) {
            (Kind::Listener, _) => Self::Listener(id.try_into()?),
            (Kind::Host, _) => Self::Host(id.try_into()?),
            (Kind::Frontend, _) => Self::Frontend(id.try_into()?),
            (Kind::Middleware, Some((frontend, own))) => {
                Self::OwnMiddleware(frontend.try_into()?, own.try_into()?)
            }
            (Kind::Middleware, None) => Self::SharedMiddleware(id.try_into()?),
            (Kind::Backend, _) => Self::Backend(id.try_into()?),
            (Kind::Server, Some((backend, server))) => Self::Server(backend.try_into()?, server.try_into()?),
            (Kind::Server, None) => return Err(InvalidKey::NoParent(id.chars().take(60).collect())),
        })
    }

    /// What kind of object it names.
    pub fn kind(&self) -> Kind {
        match self {
            Self::Listener(_) => Kind::Listener,
            Self::Host(_) => Kind::Host,
            Self::Frontend(_) => Kind::Frontend,
            Self::OwnMiddleware(..) | Self::SharedMiddleware(_) => Kind::Middleware,
            Self::Backend(_) => Kind::Backend,
            Self::Server(..) => Kind::Server,
        }
    }

    /// `ID` or `PARENT/ID`: what [`ObjectKey::from_kind_id`] reads.
    pub fn id(&self) -> String {
        match self {
            Self::Listener(id) => id.to_string(),
            Self::Host(name) => name.to_string(),
            Self::Frontend(id) => id.to_string(),
            Self::OwnMiddleware(frontend, id) => format!("{frontend}/{id}"),
            Self::SharedMiddleware(id) => id.to_string(),
            Self::Backend(id) => id.to_string(),
            Self::Server(backend, id) => format!("{backend}/{id}"),
        }
    }

    /// The key to write to, below the prefix and without a leading slash.
    pub fn canonical(&self) -> String {
        self.to_string()
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listener(id) => write!(f, "listeners/{id}"),
            Self::Host(name) => write!(f, "hosts/{name}/host"),
            Self::Frontend(id) => write!(f, "frontends/{id}/frontend"),
            Self::OwnMiddleware(frontend, id) => write!(f, "frontends/{frontend}/middlewares/{id}"),
            Self::SharedMiddleware(id) => write!(f, "middlewares/{id}"),
            Self::Backend(id) => write!(f, "backends/{id}/backend"),
            Self::Server(backend, id) => write!(f, "backends/{backend}/servers/{id}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(key: &str, canonical: Option<&str>) {
        let parsed = ObjectKey::parse(key);
        assert_eq!(parsed.as_ref().map(ObjectKey::canonical).as_deref(), canonical, "{key:?}");
        if let Some(parsed) = parsed {
            assert_eq!(ObjectKey::parse(&parsed.canonical()), Some(parsed.clone()));
            assert_eq!(ObjectKey::from_kind_id(parsed.kind(), &parsed.id()), Ok(parsed));
        }
    }

    #[test]
    fn keys_are_read_in_both_forms() {
        check("listeners/l1", Some("listeners/l1"));
        check("hosts/a.example/host", Some("hosts/a.example/host"));
        check("hosts/*.a.example/host", Some("hosts/*.a.example/host"));
        check("hosts/a.example", Some("hosts/a.example/host"));
        check("frontends/f/frontend", Some("frontends/f/frontend"));
        check("frontends/f", Some("frontends/f/frontend"));
        check("frontends/frontend", Some("frontends/frontend/frontend"));
        check("frontends/f/middlewares/m", Some("frontends/f/middlewares/m"));
        check("middlewares/m", Some("middlewares/m"));
        check("backends/b/backend", Some("backends/b/backend"));
        check("backends/b", Some("backends/b/backend"));
        check("backends/b/servers/s", Some("backends/b/servers/s"));
        check("backends/b/servers/10.2.3.4:8080", Some("backends/b/servers/10.2.3.4:8080"));

        for other in [
            "",
            "/",
            "frontends",
            "frontends/",
            "/frontends/f",
            "frontends//frontend",
            "frontends/f/backend",
            "frontends/f/frontend/",
            "frontends/f/frontend/x",
            "frontends/f/middlewares",
            "frontends/f/middlewares/",
            "backends/b/servers",
            "backends/b/servers/s/x",
            "backends/b/server/s",
            "listeners/l/listener",
            "middlewares/m/x",
            "autocert_cache/acme",
            "Frontends/f",
            "frontends/a\nb",
            "frontends/a\u{85}b/frontend",
        ] {
            check(other, None);
        }
        check(
            &format!("frontends/{}", "x".repeat(255)),
            Some(&format!("frontends/{}/frontend", "x".repeat(255))),
        );
        check(&format!("frontends/{}", "x".repeat(256)), None);
    }

    #[track_caller]
    fn check_id(kind: &str, id: &str, expected: Result<&str, &str>) {
        let key = kind.parse::<Kind>().and_then(|kind| ObjectKey::from_kind_id(kind, id));
        let shown = key.map(|key| key.canonical()).map_err(|error| error.to_string());
        assert_eq!(shown.as_deref().map_err(String::as_str), expected);
    }

    #[test]
    fn kinds_and_ids_name_objects() {
        check_id("listener", "l", Ok("listeners/l"));
        check_id("Hosts", "a.b", Ok("hosts/a.b/host"));
        check_id("frontends", "f", Ok("frontends/f/frontend"));
        check_id("middleware", "f/m", Ok("frontends/f/middlewares/m"));
        check_id("middleware", "m", Ok("middlewares/m"));
        check_id("backend", "b", Ok("backends/b/backend"));
        check_id("server", "b/s", Ok("backends/b/servers/s"));
        check_id("server", "s", Err("a server is named as BACKEND/SERVER, \"s\" has no slash"));
        check_id("server", "b/s/t", Err("an id cannot contain '/'"));
        check_id("frontend", "a/b", Err("an id cannot contain '/'"));
        check_id("frontend", "", Err("an id is missing"));
        check_id("server", "/s", Err("an id is missing"));
        check_id(
            "fronted",
            "f",
            Err("\"fronted\" is no kind; a kind is listener, host, frontend, middleware, backend or server \
                 (did you mean `frontend`?)"),
        );
        check_id(
            "x",
            "f",
            Err("\"x\" is no kind; a kind is listener, host, frontend, middleware, backend or server"),
        );
    }
}
