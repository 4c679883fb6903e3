//! Finds the heads of HTTP/2's frames in a stream of bytes that may be cut anywhere (RFC 9113 section 4.1). Nothing is
//! copied but the head itself and what little of a payload counts.

use super::fields::FieldCount;

/// What an HTTP/2 client says first (RFC 9113 section 3.4).
const PREFACE_BYTES: usize = 24;
/// Bytes of a frame's head.
pub(super) const HEAD_BYTES: usize = 9;

pub(super) const DATA: u8 = 0x0;
pub(super) const HEADERS: u8 = 0x1;
pub(super) const PRIORITY: u8 = 0x2;
pub(super) const RST_STREAM: u8 = 0x3;
pub(super) const SETTINGS: u8 = 0x4;
pub(super) const PING: u8 = 0x6;
pub(super) const GOAWAY: u8 = 0x7;
pub(super) const WINDOW_UPDATE: u8 = 0x8;
pub(super) const CONTINUATION: u8 = 0x9;
/// RFC 9218 section 7.1.
pub(super) const PRIORITY_UPDATE: u8 = 0x10;

pub(super) const END_STREAM: u8 = 0x1;
pub(super) const ACK: u8 = 0x1;
pub(super) const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;
const HAS_PRIORITY: u8 = 0x20;

/// `SETTINGS_INITIAL_WINDOW_SIZE`
const INITIAL_WINDOW_SIZE: u16 = 0x4;

/// A frame, as far as it counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    /// Of the payload, in bytes.
    pub length: u32,
    /// The payload's first four bytes, where the kind has a number there; fewer are filled up with zeros.
    pub word: u32,
}

impl Frame {
    pub(super) fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// Bytes of a `DATA` frame that are data.
    pub(super) fn data(&self) -> u32 {
        if self.has(PADDED) { self.length.saturating_sub(1 + (self.word >> 24)) } else { self.length }
    }
}

/// What is told of the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Event {
    /// The client's preface is there.
    Preface,
    /// A frame has begun; what counts of its payload is there.
    Frame(Frame),
    /// The windows that streams begin with are to be so large.
    InitialWindow(u32),
    /// So many fields has the header block by now.
    Fields(u32),
}

/// The reader of one direction of a connection.
#[derive(Debug)]
pub(super) struct Frames {
    state: State,
    /// The head, or the number or setting that is being read.
    part: [u8; HEAD_BYTES],
    filled: u8,
    frame: Frame,
    fields: FieldCount,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Preface(usize),
    Head,
    /// Of a payload, `left` bytes, its first `want` still to be gathered.
    Word {
        want: u8,
        left: u32,
    },
    Settings {
        left: u32,
    },
    /// What stands before a header block's fragment: `left` bytes of payload in all.
    Prefix {
        want: u8,
        left: u32,
    },
    /// `block` bytes of a fragment, and `rest` of padding.
    Block {
        block: u32,
        rest: u32,
    },
    Skip(u32),
}

impl Frames {
    /// What a client sends.
    pub(super) fn of_client() -> Self {
        Self::new(State::Preface(PREFACE_BYTES))
    }

    /// What a server sends.
    pub(super) fn of_server() -> Self {
        Self::new(State::Head)
    }

    fn new(state: State) -> Self {
        let frame = Frame { kind: 0, flags: 0, stream: 0, length: 0, word: 0 };
        Self { state, part: [0; HEAD_BYTES], filled: 0, frame, fields: FieldCount::default() }
    }

    /// Whether another frame could stand here.
    pub(super) fn is_between(&self) -> bool {
        matches!(self.state, State::Head) && self.filled == 0
    }

    /// Reads on; `tell` stops it by returning false.
    pub(super) fn read(&mut self, mut bytes: &[u8], mut tell: impl FnMut(Event) -> bool) {
        while !bytes.is_empty() {
            if !self.step(&mut bytes, &mut tell) {
                return;
            }
        }
    }

    fn step(&mut self, bytes: &mut &[u8], tell: &mut impl FnMut(Event) -> bool) -> bool {
        match self.state {
            State::Preface(left) => {
                let left = left - take(bytes, left).len();
                self.state = if left == 0 { State::Head } else { State::Preface(left) };
                left > 0 || tell(Event::Preface)
            }
            State::Skip(left) => {
                let left = left - take(bytes, left as usize).len() as u32;
                self.state = skip(left);
                true
            }
            State::Head => {
                // Mostly it is whole.
                if self.filled == 0
                    && let Some((head, rest)) = bytes.split_first_chunk()
                {
                    self.part = *head;
                    *bytes = rest;
                    return self.begin(tell);
                }
                !self.gather(bytes, HEAD_BYTES as u8) || self.begin(tell)
            }
            State::Word { want, left } => {
                if !self.gather(bytes, want) {
                    return true;
                }
                let [a, b, c, d, ..] = self.part;
                self.frame.word = u32::from_be_bytes([a, b, c, d]);
                self.state = skip(left - u32::from(want));
                tell(Event::Frame(self.frame))
            }
            State::Settings { left } => {
                if !self.gather(bytes, 6) {
                    return true;
                }
                let [id, id_low, a, b, c, d, ..] = self.part;
                let left = left - 6;
                self.state = if left >= 6 { State::Settings { left } } else { skip(left) };
                u16::from_be_bytes([id, id_low]) != INITIAL_WINDOW_SIZE
                    || tell(Event::InitialWindow(u32::from_be_bytes([a, b, c, d])))
            }
            State::Prefix { want, left } => {
                if !self.gather(bytes, want) {
                    return true;
                }
                let [padding, ..] = self.part;
                let padding = if self.frame.has(PADDED) { u32::from(padding) } else { 0 };
                let left = left - u32::from(want);
                self.state = block(left.saturating_sub(padding), padding.min(left));
                true
            }
            State::Block { block: left, rest } => {
                let fragment = take(bytes, left as usize);
                let before = self.fields.count();
                self.fields.read(fragment);
                self.state = block(left - fragment.len() as u32, rest);
                let count = self.fields.count();
                count == before || tell(Event::Fields(count))
            }
        }
    }

    /// A head is there.
    fn begin(&mut self, tell: &mut impl FnMut(Event) -> bool) -> bool {
        let [a, b, c, kind, flags, d, e, f, g] = self.part;
        let length = u32::from_be_bytes([0, a, b, c]);
        let stream = u32::from_be_bytes([d, e, f, g]) & 0x7fff_ffff;
        self.frame = Frame { kind, flags, stream, length, word: 0 };
        let padded = self.frame.has(PADDED);
        let want = match kind {
            PRIORITY | RST_STREAM | WINDOW_UPDATE => 4.min(length) as u8,
            DATA if padded => 1.min(length) as u8,
            _ => 0,
        };
        if want > 0 {
            self.part = [0; HEAD_BYTES];
            self.state = State::Word { want, left: length };
            return true;
        }
        self.state = match kind {
            SETTINGS if length >= 6 => State::Settings { left: length },
            HEADERS => {
                self.fields = FieldCount::default();
                let prefix = u8::from(padded) + if self.frame.has(HAS_PRIORITY) { 5 } else { 0 };
                match prefix {
                    0 => block(length, 0),
                    // Malformed, and the connection's end.
                    _ if u32::from(prefix) > length => skip(length),
                    _ => State::Prefix { want: prefix, left: length },
                }
            }
            CONTINUATION => block(length, 0),
            _ => skip(length),
        };
        tell(Event::Frame(self.frame))
    }

    /// Takes bytes until there are `want`; says whether there are, and is ready for the next.
    fn gather(&mut self, bytes: &mut &[u8], want: u8) -> bool {
        let missing = usize::from(want.saturating_sub(self.filled));
        let taken = take(bytes, missing);
        let start = usize::from(self.filled);
        if let Some(place) = self.part.get_mut(start..start + taken.len()) {
            place.copy_from_slice(taken);
        }
        self.filled += taken.len() as u8;
        let whole = self.filled >= want;
        if whole {
            self.filled = 0;
        }
        whole
    }
}

fn take<'a>(bytes: &mut &'a [u8], most: usize) -> &'a [u8] {
    let (taken, rest) = bytes.split_at_checked(most).unwrap_or((bytes, &[]));
    *bytes = rest;
    taken
}

fn skip(left: u32) -> State {
    if left == 0 { State::Head } else { State::Skip(left) }
}

fn block(block: u32, rest: u32) -> State {
    if block == 0 { skip(rest) } else { State::Block { block, rest } }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
        bytes.extend([kind, flags]);
        bytes.extend(stream.to_be_bytes());
        bytes.extend(payload);
        bytes
    }

    fn events(frames: &mut Frames, bytes: &[u8]) -> Vec<Event> {
        let mut events = Vec::new();
        frames.read(bytes, |event| {
            events.push(event);
            true
        });
        events
    }

    fn told(kind: u8, flags: u8, stream: u32, length: u32, word: u32) -> Event {
        Event::Frame(Frame { kind, flags, stream, length, word })
    }

    #[test]
    fn what_counts_of_each_kind_is_told() {
        let settings = [0, 3, 0, 0, 0, 100, 0, 4, 0, 0, 1, 0];
        let table: &[(Vec<u8>, &[Event])] = &[
            (frame(PING, 0, 0, &[7; 8]), &[told(PING, 0, 0, 8, 0)]),
            (frame(WINDOW_UPDATE, 0, 5, &[0, 0, 1, 2]), &[told(WINDOW_UPDATE, 0, 5, 4, 258)]),
            (frame(WINDOW_UPDATE, 0, 5, &[]), &[told(WINDOW_UPDATE, 0, 5, 0, 0)]),
            (frame(RST_STREAM, 0, 5, &[0, 0, 0, 8]), &[told(RST_STREAM, 0, 5, 4, 8)]),
            (frame(PRIORITY, 0, 5, &[0, 0, 0, 5, 9]), &[told(PRIORITY, 0, 5, 5, 5)]),
            (frame(DATA, END_STREAM, 1, b"data"), &[told(DATA, END_STREAM, 1, 4, 0)]),
            (frame(DATA, PADDED, 1, b"\x03d..."), &[told(DATA, PADDED, 1, 5, 3 << 24)]),
            (frame(SETTINGS, 0, 0, &settings), &[told(SETTINGS, 0, 0, 12, 0), Event::InitialWindow(256)]),
            (frame(HEADERS, 5, 1, &[0x82, 0x86]), &[told(HEADERS, 5, 1, 2, 0), Event::Fields(2)]),
            // Padding and priority are no fields.
            (
                frame(HEADERS, PADDED | HAS_PRIORITY, 1, &[2, 0, 0, 0, 3, 16, 0x82, 0x80, 0x80]),
                &[told(HEADERS, PADDED | HAS_PRIORITY, 1, 9, 0), Event::Fields(1)],
            ),
            (frame(HEADERS, PADDED, 1, &[200, 0x82]), &[told(HEADERS, PADDED, 1, 2, 0)]),
            (frame(0xfa, 0, 0x8000_0001, b"grease"), &[told(0xfa, 0, 1, 6, 0)]),
        ];
        for (bytes, expected) in table {
            let mut frames = Frames::of_server();
            assert_eq!(events(&mut frames, bytes), *expected, "{bytes:?}");
            assert!(frames.is_between(), "{bytes:?}");
        }
        let padded = Frame { kind: DATA, flags: PADDED, stream: 1, length: 5, word: 3 << 24 };
        assert_eq!(padded.data(), 1);
    }

    #[test]
    fn the_fields_of_a_block_are_counted_over_its_frames() {
        let mut bytes = frame(HEADERS, 0, 1, &[0x82]);
        bytes.extend(frame(CONTINUATION, 0, 1, &[]));
        bytes.extend(frame(CONTINUATION, END_HEADERS, 1, &[0x86, 0x84]));
        bytes.extend(frame(HEADERS, END_HEADERS, 3, &[0x82]));
        let counts = events(&mut Frames::of_server(), &bytes).into_iter().filter_map(|event| match event {
            Event::Fields(count) => Some(count),
            _ => None,
        });
        assert_eq!(counts.collect::<Vec<_>>(), [1, 3, 1]);
    }

    #[test]
    fn whoever_stops_it_is_told_no_more() {
        let bytes = frame(PING, 0, 0, &[0; 8]).repeat(3);
        let mut told = 0;
        Frames::of_server().read(&bytes, |_| {
            told += 1;
            told < 2
        });
        assert_eq!(told, 2);
    }

    proptest! {
        /// However the bytes are cut, the same is told of them; of a block its last count.
        #[test]
        fn cuts_do_not_matter(
            frames in prop::collection::vec((0_u8..12, any::<u8>(), 0_u32..9, prop::collection::vec(any::<u8>(), 0..40)), 0..20),
            cuts in prop::collection::vec(1_usize..9, 1..400),
        ) {
            let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
            for (kind, flags, stream, payload) in &frames {
                bytes.extend(frame(*kind, *flags, *stream, payload));
            }
            let whole = events(&mut Frames::of_client(), &bytes);
            let (mut reader, mut pieces, mut rest) = (Frames::of_client(), Vec::new(), bytes.as_slice());
            for cut in cuts.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (piece, after) = rest.split_at((*cut).min(rest.len()));
                pieces.extend(events(&mut reader, piece));
                rest = after;
            }
            prop_assert_eq!(last_counts(&whole), last_counts(&pieces));
            prop_assert!(reader.is_between());
        }

        #[test]
        fn any_bytes_are_survived(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
            events(&mut Frames::of_server(), &bytes);
        }
    }

    fn last_counts(events: &[Event]) -> Vec<Event> {
        let mut kept: Vec<Event> = Vec::new();
        for event in events {
            if let (Some(Event::Fields(_)), Event::Fields(_)) = (kept.last(), event) {
                kept.pop();
            }
            kept.push(*event);
        }
        kept
    }
}
