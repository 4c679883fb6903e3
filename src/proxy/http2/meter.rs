//! What a client's HTTP/2 connection costs beyond its messages, from the frames that pass in both directions. Pure: bytes and
//! times in, limits out.

use super::budget::{Budget, FRAME, Odd, Rates};
use super::frames::{self, Event, Frame, Frames};
use crate::telemetry::Limit;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// `CONTINUATION` frames of one header block.
const CONTINUATIONS_MAX: u32 = 32;
/// A `DATA` frame with no more than this is tiny: the smallest message of gRPC takes five bytes.
const TINY_BYTES: u32 = 4;
/// A client takes its answers if it takes so much of one in the time for that.
const PROGRESS_BYTES: u64 = 1024;
/// Sent bytes for which a window may be opened once more: clients do that for 4 KiB and more.
const BYTES_PER_WINDOW_UPDATE: i64 = 1024;
/// Settings that cost as much as a frame.
const SETTINGS_PER_FRAME: i64 = 8;
/// A request that is refused costs as much as so many frames: its fields were read for nothing.
const REFUSED_FRAMES: i64 = 4;

/// `RST_STREAM` for what the client did: PROTOCOL_ERROR, FLOW_CONTROL_ERROR, STREAM_CLOSED, FRAME_SIZE_ERROR,
/// REFUSED_STREAM, COMPRESSION_ERROR (RFC 9113 section 7).
const CLIENTS_FAULT: [u32; 6] = [0x1, 0x3, 0x5, 0x6, 0x7, 0x9];

/// What one connection may cost.
#[derive(Debug, Clone, Copy)]
pub(super) struct MeterLimits {
    pub rates: Rates,
    pub streams: u32,
    /// Fields of one header block, however few bytes they take.
    pub fields: u32,
    /// Bytes of one header block.
    pub block_bytes: u32,
    /// For the client's preface, and for a header block.
    pub head_time: Duration,
    /// For a client to take something of what is ready, and to begin a body it announced.
    pub stall_time: Duration,
}

/// A stream that is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Overdue {
    pub stream: u32,
    pub limit: Limit,
}

/// The meter of one connection.
#[derive(Debug)]
pub(super) struct Meter {
    received: Frames,
    sent: Frames,
    ledger: Ledger,
}

#[derive(Debug)]
struct Ledger {
    limits: MeterLimits,
    started: Instant,
    now_ms: u32,
    budget: Budget,
    preface: bool,
    /// In the order of their numbers; mostly the first ones end first.
    streams: VecDeque<Stream>,
    last_stream: u32,
    last_reset_ms: Option<u32>,
    block: Option<Block>,
    window: i64,
    initial_window: i64,
    /// Sent and not yet answered.
    pings: u32,
    settings_acknowledged: bool,
    written: u64,
    /// Since when the client takes no more bytes, and how many were written by then.
    blocked: Option<(u32, u64)>,
    breach: Option<Limit>,
}

/// A header block that goes on.
#[derive(Debug)]
struct Block {
    since_ms: u32,
    bytes: u32,
    continuations: u32,
}

/// A stream that at least one side has not ended.
#[derive(Debug)]
struct Stream {
    id: u32,
    /// The client has not ended it, the server has not.
    receiving: bool,
    sending: bool,
    /// Some of the body has come.
    body: bool,
    /// The answer has begun.
    answered: bool,
    window: i64,
    sent: u64,
    /// When what is ready was last seen to flow, and how much of it had been sent by then. Before the answer: the beginning.
    mark_ms: u32,
    mark_sent: u64,
}

impl Meter {
    pub(super) fn new(limits: MeterLimits, now: Instant) -> Self {
        let ledger = Ledger {
            limits,
            started: now,
            now_ms: 0,
            budget: Budget::new(limits.rates),
            preface: false,
            streams: VecDeque::new(),
            last_stream: 0,
            last_reset_ms: None,
            block: None,
            window: 65_535,
            initial_window: 65_535,
            pings: 0,
            settings_acknowledged: false,
            written: 0,
            blocked: None,
            breach: None,
        };
        Self { received: Frames::of_client(), sent: Frames::of_server(), ledger }
    }

    /// The client sent this. What breaks a limit is not to be handed on.
    pub(super) fn received(&mut self, bytes: &[u8], now: Instant) {
        self.ledger.at(now);
        let ledger = &mut self.ledger;
        self.received.read(bytes, |event| {
            let counted = ledger.on_received(event);
            ledger.note(counted)
        });
    }

    /// The client got this.
    pub(super) fn sent(&mut self, bytes: &[u8], now: Instant) {
        self.ledger.at(now);
        self.ledger.wrote(bytes.len());
        let ledger = &mut self.ledger;
        self.sent.read(bytes, |event| {
            let counted = ledger.on_sent(event);
            ledger.note(counted)
        });
    }

    /// A request was refused for what its head says.
    pub(super) fn refused(&mut self, now: Instant) {
        self.ledger.at(now);
        let ledger = &mut self.ledger;
        let counted = ledger.budget.take(Odd::Other, REFUSED_FRAMES * FRAME, ledger.now_ms);
        ledger.note(counted);
    }

    /// The client takes no more bytes for now.
    pub(super) fn blocked(&mut self, now: Instant) {
        self.ledger.at(now);
        let (now_ms, written) = (self.ledger.now_ms, self.ledger.written);
        self.ledger.blocked.get_or_insert((now_ms, written));
    }

    /// It took all there was.
    pub(super) fn flushed(&mut self) {
        self.ledger.blocked = None;
    }

    /// The limit that the connection has broken.
    pub(super) fn breach(&self) -> Option<Limit> {
        self.ledger.breach
    }

    /// The limit that the connection is nearest to.
    pub(super) fn suspect(&self) -> Limit {
        let block = self.ledger.block.as_ref().map(|_| Limit::H2Continuations);
        block.or(self.ledger.budget.fullest()).unwrap_or(Limit::H2Fields)
    }

    /// The last stream that the client began.
    pub(super) fn last_stream(&self) -> u32 {
        self.ledger.last_stream
    }

    /// Whether a frame of another hand may stand in what the client sends next.
    pub(super) fn between_received(&self) -> bool {
        self.received.is_between() && self.ledger.preface && self.ledger.block.is_none()
    }

    /// Whether a frame of another hand may stand in what the client gets next.
    pub(super) fn between_sent(&self) -> bool {
        self.sent.is_between()
    }

    /// Whether there is anything that may become overdue.
    pub(super) fn is_busy(&self) -> bool {
        let ledger = &self.ledger;
        !ledger.preface
            || !ledger.streams.is_empty()
            || ledger.block.is_some()
            || ledger.blocked.is_some()
            || ledger.breach.is_some()
    }

    /// Whether the client reset a stream not longer ago than `span`.
    pub(super) fn reset_within(&self, span: Duration, now: Instant) -> bool {
        let now_ms = millis(now, self.ledger.started);
        self.ledger.last_reset_ms.is_some_and(|at| u128::from(now_ms.saturating_sub(at)) <= span.as_millis())
    }

    /// Looks for what is overdue. Streams are told once; whoever asks ends them.
    pub(super) fn overdue(&mut self, now: Instant) -> Vec<Overdue> {
        self.ledger.at(now);
        let late = self.ledger.late();
        self.ledger.note(late.map_or(Ok(()), Err));
        self.ledger.overdue()
    }
}

impl Ledger {
    fn at(&mut self, now: Instant) {
        self.now_ms = millis(now, self.started).max(self.now_ms);
    }

    /// Keeps the first limit that was broken; says whether none is.
    fn note(&mut self, counted: Result<(), Limit>) -> bool {
        if let Err(limit) = counted {
            self.breach.get_or_insert(limit);
        }
        self.breach.is_none()
    }

    fn odd(&mut self, odd: Odd) -> Result<(), Limit> {
        self.budget.take(odd, FRAME, self.now_ms)
    }

    fn place(&self, id: u32) -> Option<usize> {
        self.streams.binary_search_by_key(&id, |stream| stream.id).ok()
    }

    fn stream(&mut self, id: u32) -> Option<&mut Stream> {
        let place = self.place(id)?;
        self.streams.get_mut(place)
    }

    fn forget(&mut self, id: u32) -> bool {
        let place = self.place(id);
        if let Some(place) = place {
            self.streams.remove(place);
        }
        place.is_some()
    }

    fn on_received(&mut self, event: Event) -> Result<(), Limit> {
        let frame = match event {
            Event::Preface => {
                self.preface = true;
                return Ok(());
            }
            Event::InitialWindow(size) => {
                let change = i64::from(size) - self.initial_window;
                self.initial_window += change;
                self.streams.iter_mut().for_each(|stream| stream.window += change);
                return Ok(());
            }
            Event::Fields(count) if count > self.limits.fields => return Err(Limit::H2Fields),
            Event::Fields(_) => return Ok(()),
            Event::Frame(frame) => frame,
        };
        match frame.kind {
            frames::DATA => self.on_data(frame),
            frames::HEADERS => self.on_headers(frame),
            frames::CONTINUATION => self.on_continuation(frame),
            frames::PRIORITY | frames::PRIORITY_UPDATE => self.odd(Odd::Priority),
            frames::RST_STREAM => {
                self.last_reset_ms = Some(self.now_ms);
                self.forget(frame.stream);
                self.odd(Odd::Reset)
            }
            frames::SETTINGS if frame.has(frames::ACK) => {
                // More than one is refused by whoever speaks the protocol.
                if std::mem::replace(&mut self.settings_acknowledged, true) {
                    return self.odd(Odd::Settings);
                }
                Ok(())
            }
            frames::SETTINGS => {
                let entries = i64::from(frame.length) / 6;
                let cost = FRAME + entries * FRAME / SETTINGS_PER_FRAME;
                self.budget.take(Odd::Settings, cost, self.now_ms)
            }
            frames::PING if frame.has(frames::ACK) && self.pings > 0 => {
                self.pings -= 1;
                Ok(())
            }
            frames::PING => self.odd(Odd::Ping),
            frames::WINDOW_UPDATE => self.on_window_update(frame),
            _ => self.odd(Odd::Unknown),
        }
    }

    fn on_data(&mut self, frame: Frame) -> Result<(), Limit> {
        let (data, ended) = (frame.data(), frame.has(frames::END_STREAM));
        match self.stream(frame.stream).filter(|stream| stream.receiving) {
            Some(stream) => {
                stream.body |= data > 0;
                stream.receiving = !ended;
                if ended && !stream.sending {
                    self.forget(frame.stream);
                }
            }
            // It may have been on its way when the stream was ended here.
            None => self.odd(Odd::Other)?,
        }
        self.budget.give(Odd::Ping, FRAME);
        match data {
            _ if ended => Ok(()),
            0 => self.odd(Odd::Empty),
            1..=TINY_BYTES => self.budget.take(Odd::Empty, 1, self.now_ms),
            _ => Ok(()),
        }
    }

    fn on_headers(&mut self, frame: Frame) -> Result<(), Limit> {
        let ended = frame.has(frames::END_STREAM);
        let block = Block { since_ms: self.now_ms, bytes: frame.length, continuations: 0 };
        self.block = (!frame.has(frames::END_HEADERS)).then_some(block);
        if frame.stream > self.last_stream {
            self.last_stream = frame.stream;
            self.budget.give(Odd::Priority, FRAME);
            self.budget.give(Odd::Unknown, FRAME);
            self.streams.push_back(Stream {
                id: frame.stream,
                receiving: !ended,
                sending: true,
                body: false,
                answered: false,
                window: self.initial_window,
                sent: 0,
                mark_ms: self.now_ms,
                mark_sent: 0,
            });
            // The rest of them is refused.
            let most = 2 * self.limits.streams as usize;
            return if self.streams.len() > most { self.odd(Odd::Reset) } else { Ok(()) };
        }
        match self.stream(frame.stream).filter(|stream| stream.receiving) {
            Some(stream) => {
                stream.receiving = !ended;
                if ended && !stream.sending {
                    self.forget(frame.stream);
                }
                Ok(())
            }
            None => self.odd(Odd::Reset),
        }
    }

    fn on_continuation(&mut self, frame: Frame) -> Result<(), Limit> {
        let Some(block) = &mut self.block else { return Ok(()) };
        block.continuations += 1;
        block.bytes = block.bytes.saturating_add(frame.length);
        if block.continuations > CONTINUATIONS_MAX || block.bytes > self.limits.block_bytes {
            return Err(Limit::H2Continuations);
        }
        if frame.has(frames::END_HEADERS) {
            self.block = None;
        }
        Ok(())
    }

    fn on_window_update(&mut self, frame: Frame) -> Result<(), Limit> {
        let increment = i64::from(frame.word & 0x7fff_ffff);
        if frame.stream == 0 {
            self.window += increment;
        } else if let Some(stream) = self.stream(frame.stream) {
            stream.window += increment;
        }
        if increment == 0 {
            self.odd(Odd::Other)?;
        }
        self.odd(Odd::WindowUpdate)
    }

    fn on_sent(&mut self, event: Event) -> Result<(), Limit> {
        let Event::Frame(frame) = event else { return Ok(()) };
        let ended = frame.has(frames::END_STREAM);
        match frame.kind {
            frames::DATA => {
                let length = i64::from(frame.length);
                self.window -= length;
                self.budget.give(Odd::WindowUpdate, (2 + length / BYTES_PER_WINDOW_UPDATE) * FRAME);
                self.budget.give(Odd::Ping, FRAME);
                if let Some(stream) = self.stream(frame.stream) {
                    stream.window -= length;
                    stream.sent += length as u64;
                }
            }
            frames::HEADERS => {
                let now_ms = self.now_ms;
                if let Some(stream) = self.stream(frame.stream) {
                    stream.answered = true;
                    stream.mark_ms = now_ms;
                }
            }
            frames::RST_STREAM => {
                self.forget(frame.stream);
                let faulty = CLIENTS_FAULT.contains(&frame.word);
                return if faulty { self.odd(Odd::Reset) } else { Ok(()) };
            }
            frames::PING if !frame.has(frames::ACK) => self.pings = self.pings.saturating_add(1),
            _ => {}
        }
        if ended && matches!(frame.kind, frames::DATA | frames::HEADERS) {
            self.on_answered(frame.stream);
        }
        Ok(())
    }

    /// The answer is whole.
    fn on_answered(&mut self, id: u32) {
        self.budget.give(Odd::Reset, FRAME);
        let Some(stream) = self.stream(id) else { return };
        stream.sending = false;
        if !stream.receiving {
            self.forget(id);
        }
    }

    fn wrote(&mut self, count: usize) {
        self.written += count as u64;
        if let Some((since_ms, before)) = &mut self.blocked
            && self.written - *before >= PROGRESS_BYTES
        {
            (*since_ms, *before) = (self.now_ms, self.written);
        }
    }

    fn is_past(&self, since_ms: u32, time: Duration) -> bool {
        u128::from(self.now_ms.saturating_sub(since_ms)) >= time.as_millis()
    }

    /// The connection itself is late with something.
    fn late(&self) -> Option<Limit> {
        let head_time = self.limits.head_time;
        let unfinished = self.block.as_ref().map(|block| block.since_ms);
        let head = unfinished.or((!self.preface).then_some(0));
        if head.is_some_and(|since_ms| self.is_past(since_ms, head_time)) {
            return Some(Limit::HeadTime);
        }
        let stalled =
            self.blocked.is_some_and(|(since_ms, _)| self.is_past(since_ms, self.limits.stall_time));
        stalled.then_some(Limit::H2Stall)
    }

    fn overdue(&mut self) -> Vec<Overdue> {
        let (now_ms, window, stall_ms) = (self.now_ms, self.window, self.limits.stall_time.as_millis());
        let mut overdue = Vec::new();
        self.streams.retain_mut(|stream| {
            let past = u128::from(now_ms.saturating_sub(stream.mark_ms)) >= stall_ms;
            let limit = if stream.answered {
                let open = !stream.sending || (stream.window > 0 && window > 0);
                let flows = stream.sent - stream.mark_sent >= PROGRESS_BYTES;
                if open || (past && flows) {
                    stream.mark_ms = now_ms;
                    stream.mark_sent = stream.sent;
                    return true;
                }
                Limit::H2Stall
            } else if stream.receiving && !stream.body {
                Limit::BodyTime
            } else {
                return true;
            };
            if past {
                overdue.push(Overdue { stream: stream.id, limit });
            }
            !past
        });
        overdue
    }
}

fn millis(now: Instant, since: Instant) -> u32 {
    now.saturating_duration_since(since).as_millis().try_into().unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
