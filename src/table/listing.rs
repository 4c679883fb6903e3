//! What a table serves, as `GET /v3/routes` and `flipgate explain` show it.

use super::Table;
use crate::model::{BackendId, Frontend, FrontendId, ServerId, ServerState};
use std::time::Instant;

/// One route of the table.
#[derive(Debug, Clone, PartialEq)]
pub struct ListedRoute {
    /// From 1, best first.
    pub rank: usize,
    /// Whose it is.
    pub frontend: FrontendId,
    /// The alternative's expression.
    pub route: String,
    /// The frontend's.
    pub priority: i64,
    /// As the frontend names it.
    pub backend: BackendId,
    /// The real backend behind it, or none.
    pub resolved: Option<BackendId>,
    /// The servers of that one, by id.
    pub servers: Vec<ListedServer>,
}

/// One server of a listed route.
#[derive(Debug, Clone, PartialEq)]
pub struct ListedServer {
    /// From the key.
    pub id: ServerId,
    /// `http://10.2.3.4:8080`
    pub url: String,
    /// As stored.
    pub state: ServerState,
    /// Whether it gets requests now.
    pub healthy: bool,
    /// How it stands, all in all: see [`Standing::as_str`](crate::upstream::Standing::as_str).
    pub standing: &'static str,
    /// Requests that have not ended, over all workers.
    pub in_flight: u32,
}

impl Table {
    /// The routes of the table, best first: all of them, those that take requests for `host`, or one frontend's; at most
    /// `limit`, and whether there are more. Costs time in proportion to the number of routes.
    pub fn listed_routes(
        &self,
        host: Option<&str>,
        frontend: Option<&FrontendId>,
        limit: usize,
    ) -> (Vec<ListedRoute>, bool) {
        let ranked = self.router.ranked(host).into_iter().zip(1..);
        let mut chosen =
            ranked.filter(|(route, _)| frontend.is_none_or(|frontend| route.value.object.id == *frontend));
        let listed = chosen.by_ref().take(limit).map(|(route, rank)| {
            let object = &route.value.object;
            let (resolved, servers) = self.listed_servers(&object.backend);
            ListedRoute {
                rank,
                frontend: object.id.clone(),
                route: expression(object, route.rank.alternative),
                priority: object.priority,
                backend: object.backend.clone(),
                resolved,
                servers,
            }
        });
        let listed = listed.collect();
        (listed, chosen.next().is_some())
    }

    /// The servers behind a backend id, and the real backend's id.
    pub fn listed_servers(&self, backend: &BackendId) -> (Option<BackendId>, Vec<ListedServer>) {
        let Some(backend) = self.backend(backend) else { return (None, Vec::new()) };
        let now = Instant::now();
        let servers = backend.servers().iter().map(|server| ListedServer {
            id: server.id.clone(),
            url: server.url.to_string(),
            state: server.state,
            healthy: backend.is_eligible(server, now),
            standing: server.standing(now).as_str(),
            in_flight: server.in_flight(),
        });
        (Some(backend.id.clone()), servers.collect())
    }
}

/// One alternative of a frontend's route; as written where there is only one.
fn expression(frontend: &Frontend, alternative: usize) -> String {
    match frontend.route.alternatives() {
        [_] => frontend.route.text().to_owned(),
        all => {
            let terms = all.get(alternative).map(|alternative| alternative.terms()).unwrap_or_default();
            terms.iter().map(ToString::to_string).collect::<Vec<_>>().join(" && ")
        }
    }
}
