//! One request on its way through the proxy: what was decided about it, and its one line in the log at the end.

use super::client::Client;
use super::error::Failure;
use super::trust::Trust;
use super::worker::Worker;
use crate::message::{RequestHead, ResponseHead, Version};
use crate::meter::millis;
use crate::middleware::{Mirror, TraceFacts, Traced, Visit};
use crate::model::Revision;
use crate::table::Frontend;
use crate::telemetry::counters::Outcome;
use crate::telemetry::{AccessRecord, Limit, Reason};
use crate::upstream::{Backend, BackendGuard, Observation, Server, ServerGuard};
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A request from its complete head to its answer's last byte. Dropping it writes the log line and counts it.
pub(super) struct Passage {
    pub worker: Rc<Worker>,
    pub client: Rc<Client>,
    /// Who is at the other end, as far as proxies between are to be believed. None over a Unix socket.
    pub client_ip: Option<IpAddr>,
    /// What the head's forwarding fields are worth; settled once the frontend is known.
    pub trust: Trust,
    pub head: RequestHead,
    /// The path as the client sent it: the log tells it also after a rewrite.
    pub path: PathAsSent,
    /// What the chain's steps did with it.
    pub visit: Visit,
    /// The copies that other backends get of it.
    pub mirrors: Vec<(Mirror, Arc<Backend>)>,
    pub id: u64,
    pub started: Instant,
    pub revision: Revision,
    /// Of the table that was loaded, for as long as a further attempt may begin.
    pub generation: Option<u64>,
    pub frontend: Option<Arc<Frontend>>,
    pub backend: Option<(Arc<Backend>, BackendGuard)>,
    pub server: Option<(Arc<Server>, ServerGuard)>,
    /// What tells the client apart, for backends that hash.
    pub client_key: Option<u64>,
    /// The server that the client's cookie names.
    pub sticky: Option<u64>,
    pub attempts: u32,
    pub attempt_started: Option<Instant>,
    pub upstream_us: Option<u64>,
    pub bytes_in: u64,
    pub bytes_out: u64,
    pub status: u16,
    pub reason: Option<Reason>,
    /// What exactly, where that has a name.
    pub detail: Option<&'static str>,
    /// It goes along with another one, and is neither logged nor counted as a request.
    pub aside: bool,
}

/// The path before any middleware; kept apart only when one changed it.
pub(super) enum PathAsSent {
    Unchanged,
    Was(Box<str>),
}

impl Passage {
    pub(super) fn begin(worker: Rc<Worker>, client: Rc<Client>, head: RequestHead) -> Self {
        Self {
            id: worker.next_request_id(),
            worker,
            client_ip: client.ip(),
            client,
            trust: Trust::Nobody,
            head,
            path: PathAsSent::Unchanged,
            visit: Visit::default(),
            mirrors: Vec::new(),
            started: Instant::now(),
            revision: Revision(0),
            generation: None,
            frontend: None,
            backend: None,
            server: None,
            client_key: None,
            sticky: None,
            attempts: 0,
            attempt_started: None,
            upstream_us: None,
            bytes_in: 0,
            bytes_out: 0,
            status: 0,
            reason: None,
            detail: None,
            aside: false,
        }
    }

    /// A request that goes along with another one, to a backend of the same table: it too counts for that table until it
    /// can begin no further attempt.
    pub(super) fn aside(
        worker: &Rc<Worker>,
        client: Rc<Client>,
        head: RequestHead,
        backend: &Arc<Backend>,
        generation: Option<u64>,
    ) -> Self {
        if let Some(generation) = generation {
            worker.enter(generation);
        }
        let mut aside = Self::begin(worker.clone(), client, head);
        aside.generation = generation;
        aside.backend = Some((backend.clone(), backend.enter()));
        aside.aside = true;
        aside
    }

    /// No further attempt begins from here on.
    pub(super) fn settle(&mut self) {
        if let Some(generation) = self.generation.take() {
            self.worker.settle(generation);
        }
    }

    /// A new attempt at `server` begins.
    pub(super) fn attempt(&mut self, server: &Arc<Server>) {
        self.attempts += 1;
        // Until the first attempt nothing was waited for.
        self.attempt_started = Some(if self.attempts == 1 { self.started } else { Instant::now() });
        self.server = Some((server.clone(), server.enter()));
    }

    /// Lets the chain see the answer's head.
    pub(super) fn on_response(&mut self, head: &mut ResponseHead) {
        if self.visit.is_watched() {
            self.end_visit(head.status, Instant::now());
        }
        if let Some(frontend) = &self.frontend {
            frontend.chain.on_response(&mut self.visit, &self.head, head);
        }
    }

    /// Tells the steps that wait for it how the request was answered.
    fn end_visit(&mut self, status: u16, now: Instant) {
        self.visit.end(status, now, self.worker.index);
        self.pass_effect();
    }

    /// Hands on what a step wants done.
    pub(super) fn pass_effect(&mut self) {
        if let Some(effect) = self.visit.take_effect() {
            self.worker.shared.effects.send(effect);
        }
    }

    /// A limit ended the request.
    pub(super) fn reached(&mut self, limit: Limit) {
        self.worker.reached(limit);
        self.detail = Some(limit.as_str());
    }

    /// The attempt's answer has its head.
    pub(super) fn answered(&mut self, status: u16) {
        let latency = self.attempt_started.map(|started| started.elapsed());
        self.upstream_us = latency.map(|latency| latency.as_micros() as u64).or(self.upstream_us);
        self.count_attempt(Outcome::Status(status), latency);
    }

    /// The attempt failed.
    pub(super) fn failed(&mut self, reason: Reason) {
        self.count_attempt(Outcome::Failed(reason), self.attempt_started.map(|started| started.elapsed()));
    }

    fn count_attempt(&self, outcome: Outcome, latency: Option<Duration>) {
        let Some((backend, _)) = &self.backend else { return };
        let latency = latency.unwrap_or_default();
        let (index, micros) = (self.worker.index, latency.as_micros() as u64);
        backend.counters().at(index).record(outcome, micros);
        let observed = match outcome {
            Outcome::Status(status) => Observation::Answered(status),
            Outcome::Failed(Reason::ConnectFailed | Reason::ConnectTimeout) => Observation::ConnectFailed,
            Outcome::Failed(reason) if reason.is_network_error() => Observation::Failed,
            // Not the server's fault.
            Outcome::Failed(_) => return,
        };
        if let Some((server, _)) = &self.server {
            let now = self.worker.now();
            backend.observe(server, now, observed, latency);
            let (status, failed) = match outcome {
                Outcome::Status(status) => (status, false),
                Outcome::Failed(Reason::ConnectTimeout | Reason::UpstreamTimeout) => (504, true),
                Outcome::Failed(_) => (502, true),
            };
            server.trips().at(index).record(millis(now), status, failed, micros);
        }
    }

    fn trace(&self, traces: Vec<Traced>) {
        let facts = TraceFacts {
            method: self.head.method(),
            tls: self.client.tls.map(|tls| (tls.version, tls.cipher)),
            tls_resumed: self.client.tls.is_some_and(|tls| tls.resumed),
            tls_server: &self.client.server_name,
            bytes_in: self.bytes_in,
            status: self.status,
            bytes_out: self.bytes_out,
            roundtrip: self.started.elapsed(),
        };
        for traced in traces {
            if let Some(address) = traced.address().cloned() {
                self.worker.shared.traces.record(&address, traced.record(&facts));
            }
        }
    }

    /// The request's id as it stands in headers, answers and the log.
    pub(super) fn id_text(&self) -> IdText {
        id_text(self.id)
    }
}

/// Writes the log line of what was no request: nothing it says of itself is to be believed, or repeated.
pub(super) fn log_refused(worker: &Worker, client: &Client, protocol: Version, id: u64, failure: Failure) {
    let mut log = worker.access_log.borrow_mut();
    if !log.is_on() {
        return;
    }
    log.record(&AccessRecord {
        time_unix_micros: worker.unix_micros(Instant::now()),
        id: id_text(id).as_str(),
        client: client.ip(),
        listener: client.listener.id.as_str(),
        protocol: protocol_text(protocol),
        tls: client.tls.map(|tls| tls.version),
        method: "",
        host: "",
        path: "",
        status: failure.status,
        reason: Some(failure.reason),
        frontend: None,
        backend: None,
        server: None,
        attempts: 0,
        bytes_in: 0,
        bytes_out: 0,
        duration_us: 0,
        upstream_us: None,
        revision: 0,
        detail: failure.detail,
    });
}

fn protocol_text(version: Version) -> &'static str {
    match version {
        Version::H10 => "HTTP/1.0",
        Version::H11 => "HTTP/1.1",
        Version::H2 => "HTTP/2",
    }
}

/// Sixteen hexadecimal digits.
pub(super) struct IdText([u8; 16]);

impl IdText {
    pub(super) fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

pub(super) fn id_text(id: u64) -> IdText {
    let mut text = [0; 16];
    for (place, digit) in text.iter_mut().rev().enumerate() {
        let nibble = (id >> (4 * place)) as u8 & 0xF;
        *digit = if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 };
    }
    IdText(text)
}

impl Drop for Passage {
    fn drop(&mut self) {
        self.settle();
        if self.aside {
            return;
        }
        if std::thread::panicking() {
            self.reason = Some(Reason::Internal);
            if self.status == 0 {
                self.status = 500;
            }
        }
        let duration_us = self.started.elapsed().as_micros() as u64;
        if self.status == 0 && self.reason.is_none() {
            self.reason = Some(Reason::ClientGone);
        }
        if self.status == 0 {
            // Nobody was told anything.
            self.status = 499;
        }
        if self.visit.is_watched() {
            // Without an answer's head of HTTP: nobody was told anything, or the connection changed protocols.
            let answered = self.upstream_us.map(Duration::from_micros).zip(self.attempt_started);
            let now = answered.map_or_else(Instant::now, |(latency, started)| started + latency);
            self.end_visit(self.status, now);
        }
        let worker = &self.worker;
        let counters = match &self.frontend {
            Some(frontend) => frontend.counters.at(worker.index),
            None => worker.shared.unmatched.at(worker.index),
        };
        counters.record(self.status, duration_us);
        if let Some(frontend) = &self.frontend {
            let failed = self.reason.is_some_and(Reason::is_network_error);
            let trips = frontend.trips.at(worker.index);
            trips.record(millis(worker.now()), self.status, failed, duration_us);
            trips.end();
        }
        if let Some(reason) = self.reason {
            worker.shared.refused.at(worker.index).record(reason);
        }
        let traces = self.visit.take_traces();
        if !traces.is_empty() {
            self.trace(traces);
        }
        let worker = &self.worker;
        let mut log = worker.access_log.borrow_mut();
        if !log.is_on() {
            return;
        }
        log.record(&AccessRecord {
            time_unix_micros: worker.unix_micros(self.started),
            id: self.id_text().as_str(),
            client: self.client_ip,
            listener: self.client.listener.id.as_str(),
            protocol: protocol_text(self.head.version),
            tls: self.client.tls.map(|tls| tls.version),
            method: self.head.method(),
            host: self.head.host(),
            path: match &self.path {
                PathAsSent::Unchanged => self.head.path(),
                PathAsSent::Was(path) => path,
            },
            status: self.status,
            reason: self.reason,
            frontend: self.frontend.as_ref().map(|frontend| frontend.object.id.as_str()),
            backend: self.backend.as_ref().map(|(backend, _)| backend.id.as_str()),
            server: self.server.as_ref().map(|(server, _)| server.id.as_str()),
            attempts: self.attempts,
            bytes_in: self.bytes_in,
            bytes_out: self.bytes_out,
            duration_us,
            upstream_us: self.upstream_us,
            revision: self.revision.0,
            detail: self.detail,
        });
    }
}
