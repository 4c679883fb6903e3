//! Logs of deployments: what there is, and what comes.

use super::Api;
use super::call::{Call, Nothing};
use super::deployments::find;
use super::office::Office;
use super::shares::Share;
use crate::deployer::record::{LogLine, Status};
use crate::kubernetes::Name;
use crate::web::answer::Failure;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream::{self, Stream, StreamExt};
use serde_json::json;
use std::convert::Infallible;
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::Instant;

/// Most streams of logs at once.
pub const STREAMS_MAX: usize = 128;

/// Most of them for one namespace: who may read there does not keep others from reading elsewhere.
pub(super) const STREAMS_OF_ONE_MAX: usize = 32;

/// Longest life of a stream. Who is still interested begins another one, with `Last-Event-ID`.
pub const STREAM_TIME_MAX: Duration = Duration::from_secs(3600);

/// Most lines that are taken from the book at once.
const LINES_MAX: usize = 256;

/// Between signs of life of a stream that has nothing to say.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// For a client to take one message.
const SEND_PATIENCE: Duration = Duration::from_secs(30);

/// Largest message of a client, which has nothing to say.
const CLIENT_BYTES_MAX: usize = 4096;

/// Text; or a stream, for those who accept that alone.
pub(super) async fn logs(
    State(api): State<Arc<Api>>,
    call: Call<Nothing>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let (app, _) = find(&api, &call.namespace, &id)?;
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    if accept.contains("text/event-stream") {
        return events(Tail::new(&api, app, id, last_seen(&headers))?);
    }
    let book = api.office.book();
    let text: String = book.log(&app, &id).map(|(_, line)| text(line) + "\n").collect();
    Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response())
}

/// A WebSocket for those who ask for one, Server-Sent Events for others.
pub(super) async fn stream(
    State(api): State<Arc<Api>>,
    call: Call<Nothing>,
    Path(id): Path<String>,
    headers: HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Failure> {
    let found = find(&api, &call.namespace, &id).map(|(app, _)| app);
    match upgrade {
        Ok(upgrade) => {
            // Clients of Amdatu's read errors from the socket.
            let tail = found.and_then(|app| Tail::new(&api, app, id, 0));
            let upgrade = upgrade.max_message_size(CLIENT_BYTES_MAX).max_frame_size(CLIENT_BYTES_MAX);
            Ok(upgrade.on_upgrade(|socket| tell(socket, tail)))
        }
        Err(_) if headers.contains_key(header::UPGRADE) => {
            Err(Failure::new(StatusCode::BAD_REQUEST, "this is not the beginning of a WebSocket"))
        }
        Err(_) => events(Tail::new(&api, found?, id, last_seen(&headers))?),
    }
}

fn last_seen(headers: &HeaderMap) -> u64 {
    let last = headers.get("last-event-id").and_then(|id| id.to_str().ok());
    last.and_then(|id| id.trim().parse().ok()).unwrap_or(0)
}

fn text(line: &LogLine) -> String {
    format!("{} {}", line.at, line.text)
}

/// What comes next in a log.
enum News {
    Lines(Vec<(u64, String)>),
    /// The deployment is at rest, or its record is gone.
    End(Option<Status>),
    /// The stream has lived long enough.
    Pause,
}

/// One who reads a log to its end.
struct Tail {
    office: Arc<dyn Office>,
    changes: watch::Receiver<u64>,
    app: Name,
    id: Box<str>,
    /// The number of the last line that was told.
    seen: u64,
    until: Instant,
    _permit: OwnedSemaphorePermit,
    _share: Share,
}

impl Tail {
    fn new(api: &Api, app: Name, id: String, seen: u64) -> Result<Self, Failure> {
        let too_many =
            || Failure::new(StatusCode::SERVICE_UNAVAILABLE, "there are too many streams of logs; try again");
        let share = api.stream_shares.take(&app.namespace, STREAMS_OF_ONE_MAX).ok_or_else(too_many)?;
        let permit = Arc::clone(&api.streams).try_acquire_owned().map_err(|_| too_many())?;
        let office = Arc::clone(&api.office);
        let (changes, until) = (office.changes(), Instant::now() + STREAM_TIME_MAX);
        Ok(Self { office, changes, app, id: id.into(), seen, until, _permit: permit, _share: share })
    }

    /// Nothing is lost when this is dropped.
    async fn next(&mut self) -> News {
        loop {
            self.changes.borrow_and_update();
            if let Some(news) = self.look() {
                return news;
            }
            match tokio::time::timeout_at(self.until, self.changes.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) | Err(_) => return News::Pause,
            }
        }
    }

    fn look(&mut self) -> Option<News> {
        let book = self.office.book();
        let key = |number| (self.app.clone(), self.id.clone(), number);
        let unseen = (Bound::Excluded(key(self.seen)), Bound::Included(key(u64::MAX)));
        let lines = match self.seen {
            u64::MAX => Vec::new(),
            _ => book.logs.range(unseen).take(LINES_MAX).map(|(key, line)| (key.2, text(line))).collect(),
        };
        if let Some((last, _)) = lines.last() {
            self.seen = *last;
            return Some(News::Lines(lines));
        }
        let deployment = book.deployments.get(&(self.app.clone(), self.id.clone()));
        match deployment.map(|kept| kept.value.status) {
            Some(status) if status.is_open() => None,
            status => Some(News::End(status)),
        }
    }
}

fn events(tail: Tail) -> Result<Response, Failure> {
    let events = stream::unfold(Some(tail), |tail| async {
        let mut tail = tail?;
        match tail.next().await {
            News::Lines(lines) => Some((lines.into_iter().map(line_event).collect(), Some(tail))),
            News::End(status) => Some((vec![end_event(status)], None)),
            News::Pause => None,
        }
    });
    let events = events.flat_map(|events: Vec<Event>| stream::iter(events.into_iter().map(Ok)));
    Ok(respond(events))
}

fn respond(events: impl Stream<Item = Result<Event, Infallible>> + Send + 'static) -> Response {
    Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response()
}

fn line_event((number, text): (u64, String)) -> Event {
    // A carriage return would end the field, and the library refuses it.
    Event::default().id(number.to_string()).data(text.replace('\r', " "))
}

fn end_event(status: Option<Status>) -> Event {
    Event::default().event("end").data(json!({ "status": status }).to_string())
}

/// What there is in one message, then what comes, then the end.
async fn tell(mut socket: WebSocket, tail: Result<Tail, Failure>) {
    let mut tail = match tail {
        Ok(tail) => tail,
        Err(failure) => {
            let _ = send(&mut socket, Message::text(format!("!!error {}", failure.message()))).await;
            let _ = send(&mut socket, Message::Close(None)).await;
            return;
        }
    };
    let mut ticks = tokio::time::interval_at(Instant::now() + KEEP_ALIVE, KEEP_ALIVE);
    loop {
        let message = tokio::select! {
            news = tail.next() => match news {
                News::Lines(lines) => Message::text(lines.into_iter().map(|(_, text)| text + "\n").collect::<String>()),
                News::End(_) | News::Pause => break,
            },
            heard = socket.recv() => match heard {
                Some(Ok(Message::Close(_)) | Err(_)) | None => return,
                Some(Ok(_)) => continue,
            },
            _ = ticks.tick() => Message::Ping(bytes::Bytes::new()),
        };
        if !send(&mut socket, message).await {
            return;
        }
    }
    let _ = send(&mut socket, Message::Close(None)).await;
}

async fn send(socket: &mut WebSocket, message: Message) -> bool {
    matches!(tokio::time::timeout(SEND_PATIENCE, socket.send(message)).await, Ok(Ok(())))
}
