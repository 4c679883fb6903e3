//! The fields of a head, as ranges into one buffer.

use super::error::InvalidField;
use super::known::{self, Known};
use super::spare::Spare;
use super::syntax;

/// A range of the buffer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) start: u32,
    pub(super) length: u32,
}

impl Span {
    /// From offsets that were checked to fit.
    pub(super) fn new(start: usize, length: usize) -> Self {
        Self { start: start as u32, length: length as u32 }
    }

    pub(super) fn end(self) -> usize {
        self.start as usize + self.length as usize
    }
}

/// Whether a field is there, and how its line lies in the buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Removed.
    Gone,
    /// Name and value lie somewhere.
    Parts,
    /// They lie in one line as it is written: name, colon, one space, value, CRLF.
    Line,
}

/// One field: where its name and its value lie.
#[derive(Debug, Clone, Copy)]
pub(super) struct Slot {
    pub(super) name_start: u32,
    pub(super) value_start: u32,
    pub(super) value_length: u32,
    pub(super) name_length: u16,
    pub(super) known: Known,
    pub(super) state: State,
}

impl Slot {
    fn name(&self) -> Span {
        Span { start: self.name_start, length: self.name_length.into() }
    }

    fn is_live(&self) -> bool {
        self.state != State::Gone
    }

    pub(super) fn value(&self) -> Span {
        Span { start: self.value_start, length: self.value_length }
    }
}

/// One field as it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field<'a> {
    /// The name in the sender's case.
    pub name: &'a str,
    /// The value without white space at its ends; no control characters but HTAB, any byte from 0x80.
    pub value: &'a [u8],
    /// Which known name it is.
    pub known: Known,
}

/// The fields of a head or a trailer section in the sender's order, case and bytes. Names match in any case.
///
/// `Host`, `Content-Length` and the fields of a connection can be read here; what is sent of them comes from the
/// head's typed values and the options of writing.
#[derive(Debug, Clone, Default)]
pub struct Fields {
    pub(super) bytes: Vec<u8>,
    pub(super) slots: Vec<Slot>,
    /// Known names that may be among the live ones.
    pub(super) present: u64,
}

impl Fields {
    /// No fields, in recycled buffers.
    pub fn new(spare: &mut Spare) -> Self {
        Self { bytes: spare.buffer(), slots: spare.slots(), present: 0 }
    }

    /// How many fields there are.
    pub fn len(&self) -> usize {
        self.slots.iter().filter(|slot| slot.is_live()).count()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        !self.slots.iter().any(|slot| slot.is_live())
    }

    /// All fields in order.
    pub fn iter(&self) -> impl Iterator<Item = Field<'_>> {
        self.live().map(|slot| Field {
            name: self.text(slot.name()),
            value: self.slice(slot.value()),
            known: slot.known,
        })
    }

    /// The first value of this name.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.get_all(name).next()
    }

    /// Every value of this name, in order.
    pub fn get_all(&self, name: &str) -> impl Iterator<Item = &[u8]> {
        let (known, name) = (Known::of(name), name.as_bytes());
        self.live().filter(move |slot| self.is(slot, known, name)).map(|slot| self.slice(slot.value()))
    }

    /// The first value of a known name.
    pub fn known(&self, known: Known) -> Option<&[u8]> {
        self.known_all(known).next()
    }

    /// Every value of a known name, in order.
    pub fn known_all(&self, known: Known) -> impl Iterator<Item = &[u8]> {
        let slots = if self.contains(known) { self.slots.as_slice() } else { &[] };
        slots
            .iter()
            .filter(move |slot| slot.is_live() && slot.known == known)
            .map(|slot| self.slice(slot.value()))
    }

    /// Whether there is a field of a known name. Always false for `Other`.
    pub fn contains(&self, known: Known) -> bool {
        self.present & known.bit() != 0
    }

    /// Removes every field of a known name; `Other` removes nothing.
    pub fn remove_known(&mut self, known: Known) {
        self.remove_set(known.bit());
    }

    /// Removes every field of this name.
    pub fn remove(&mut self, name: &str) {
        self.remove_bytes(name.as_bytes());
    }

    /// Makes this the only field of its name: in the place of the first one, else at the end.
    ///
    /// # Errors
    /// [`InvalidField`] where the name is not a token or the value has a control character or outer white space;
    /// nothing has changed then.
    pub fn set(&mut self, name: &str, value: &[u8]) -> Result<(), InvalidField> {
        if !syntax::is_token(name.as_bytes()) || !syntax::is_value(value) {
            return Err(InvalidField);
        }
        let slot = self.append(name.as_bytes(), |out| out.extend_from_slice(value))?;
        self.replace(slot, name.as_bytes());
        Ok(())
    }

    /// Adds a field at the end, beside others of its name.
    ///
    /// # Errors
    /// As [`Fields::set`].
    pub fn add(&mut self, name: &str, value: &[u8]) -> Result<(), InvalidField> {
        if !syntax::is_token(name.as_bytes()) || !syntax::is_value(value) {
            return Err(InvalidField);
        }
        let slot = self.append(name.as_bytes(), |out| out.extend_from_slice(value))?;
        self.push(slot);
        Ok(())
    }

    /// As [`Fields::set`], with a value that `write` appends to the buffer. Both texts are trusted: one that is no
    /// valid field leaves the field removed.
    pub fn set_with(&mut self, name: &str, write: impl FnOnce(&mut Vec<u8>)) {
        match self.append(name.as_bytes(), write) {
            Ok(slot) if syntax::is_value(self.slice(slot.value())) => self.replace(slot, name.as_bytes()),
            _ => self.remove(name),
        }
    }

    /// As [`Fields::set_with`] for a known name, in its usual spelling; `Other` sets nothing.
    pub fn set_known(&mut self, known: Known, write: impl FnOnce(&mut Vec<u8>)) {
        let name = known.name().as_bytes();
        if name.is_empty() {
            return;
        }
        match self.append_as(known, name, write) {
            Ok(slot) if syntax::is_value(self.slice(slot.value())) => self.replace(slot, name),
            _ => self.remove_known(known),
        }
    }

    /// Removes what belongs to one connection (RFC 9110 section 7.6.1): `Connection` and all it names,
    /// `Keep-Alive`, `Proxy-Connection`, `TE`, `Transfer-Encoding`, `Upgrade`, `HTTP2-Settings`, and the proxy
    /// authentication fields. `Connection` cannot take away `Host`, framing, or the fields the proxy vouches for.
    pub fn remove_hop_by_hop(&mut self) {
        if self.contains(Known::Connection) {
            self.remove_listed();
        }
        self.remove_set(known::CONNECTION_SPECIFIC | known::PROXY_ONLY);
    }

    /// Gives the buffers back.
    pub fn recycle(self, spare: &mut Spare) {
        spare.keep_buffer(self.bytes);
        spare.keep_slots(self.slots);
    }

    fn remove_listed(&mut self) {
        for at in 0..self.slots.len() {
            let Some(slot) =
                self.slots.get(at).filter(|slot| slot.is_live() && slot.known == Known::Connection)
            else {
                continue;
            };
            let (mut start, end) = (slot.value().start as usize, slot.value().end());
            while start < end {
                let rest = self.bytes.get(start..end).unwrap_or_default();
                let length = memchr::memchr(b',', rest).unwrap_or(rest.len());
                self.remove_option(start, start + length);
                start += length + 1;
            }
        }
    }

    /// Removes the fields that one option of `Connection`, at `start..end` of the buffer, names.
    fn remove_option(&mut self, start: usize, end: usize) {
        let Self { bytes, slots, present } = self;
        let option = syntax::trim(bytes.get(start..end).unwrap_or_default());
        if option.is_empty()
            || option.eq_ignore_ascii_case(b"close")
            || option.eq_ignore_ascii_case(b"keep-alive")
        {
            return;
        }
        let known = match Known::class(option) {
            known::Class::Name(known) => known,
            _ => Known::Other,
        };
        if known.bit() & known::PROTECTED != 0 {
            return;
        }
        for slot in slots.iter_mut().filter(|slot| slot.is_live() && slot.known == known) {
            let name = slot.name();
            let name = bytes.get(name.start as usize..name.end()).unwrap_or_default();
            if known.bit() & known::CONNECTION_SPECIFIC == 0 && name.eq_ignore_ascii_case(option) {
                slot.state = State::Gone;
            }
        }
        if known.bit() & known::CONNECTION_SPECIFIC == 0 {
            *present &= !known.bit();
        }
    }

    pub(super) fn remove_set(&mut self, set: u64) {
        if self.present & set == 0 {
            return;
        }
        for slot in &mut self.slots {
            if slot.known.bit() & set != 0 {
                slot.state = State::Gone;
            }
        }
        self.present &= !set;
    }

    fn remove_bytes(&mut self, name: &[u8]) {
        let known = Known::of(std::str::from_utf8(name).unwrap_or_default());
        if known != Known::Other {
            return self.remove_set(known.bit());
        }
        let Self { bytes, slots, .. } = self;
        for slot in slots.iter_mut().filter(|slot| slot.is_live() && slot.known == Known::Other) {
            let at = slot.name();
            if bytes.get(at.start as usize..at.end()).unwrap_or_default().eq_ignore_ascii_case(name) {
                slot.state = State::Gone;
            }
        }
    }

    /// Puts an appended field in the place of the first one of its name and removes the others.
    fn replace(&mut self, new: Slot, name: &[u8]) {
        let known = new.known;
        let mut placed = false;
        if known == Known::Other || self.present & known.bit() != 0 {
            let Self { bytes, slots, .. } = self;
            for slot in slots.iter_mut().filter(|slot| slot.is_live() && slot.known == known) {
                let at = slot.name();
                let same = known != Known::Other
                    || bytes.get(at.start as usize..at.end()).unwrap_or_default().eq_ignore_ascii_case(name);
                if same && placed {
                    slot.state = State::Gone;
                } else if same {
                    *slot = new;
                    placed = true;
                }
            }
        }
        if !placed {
            self.push(new);
        }
    }

    pub(super) fn push(&mut self, slot: Slot) {
        self.present |= slot.known.bit();
        self.slots.push(slot);
    }

    /// Appends a field line to the buffer.
    pub(super) fn append(
        &mut self,
        name: &[u8],
        write: impl FnOnce(&mut Vec<u8>),
    ) -> Result<Slot, InvalidField> {
        let known = match Known::class(name) {
            known::Class::Name(known) => known,
            _ => Known::Other,
        };
        self.append_as(known, name, write)
    }

    fn append_as(
        &mut self,
        known: Known,
        name: &[u8],
        write: impl FnOnce(&mut Vec<u8>),
    ) -> Result<Slot, InvalidField> {
        let name_length = u16::try_from(name.len()).map_err(|_| InvalidField)?;
        let name_start = self.bytes.len();
        self.bytes.extend_from_slice(name);
        self.bytes.extend_from_slice(b": ");
        let value_start = self.bytes.len();
        write(&mut self.bytes);
        let value_end = self.bytes.len();
        self.bytes.extend_from_slice(b"\r\n");
        if value_end < value_start || u32::try_from(self.bytes.len()).is_err() {
            self.bytes.truncate(name_start);
            return Err(InvalidField);
        }
        let value = Span::new(value_start, value_end - value_start);
        Ok(Slot {
            name_start: name_start as u32,
            value_start: value.start,
            value_length: value.length,
            name_length,
            known,
            state: State::Line,
        })
    }

    fn is(&self, slot: &Slot, known: Known, name: &[u8]) -> bool {
        slot.known == known && (known != Known::Other || self.slice(slot.name()).eq_ignore_ascii_case(name))
    }

    fn live(&self) -> impl Iterator<Item = &Slot> {
        self.slots.iter().filter(|slot| slot.is_live())
    }

    pub(super) fn slice(&self, span: Span) -> &[u8] {
        self.bytes.get(span.start as usize..span.end()).unwrap_or_default()
    }

    /// Text of a range that was checked to be ASCII when it was taken.
    pub(super) fn text(&self, span: Span) -> &str {
        std::str::from_utf8(self.slice(span)).unwrap_or_default()
    }

    /// Writes all live fields whose known name is not in `without`. Lines that were found to lie as they are written,
    /// one behind the other, are copied in one piece.
    pub(super) fn write(&self, out: &mut Vec<u8>, without: u64) {
        let mut run = 0..0;
        for slot in &self.slots {
            if slot.known.bit() & without != 0 || slot.state == State::Gone {
                continue;
            }
            let start = slot.name_start as usize;
            if slot.state == State::Line && start == run.end {
                run.end = slot.value().end() + 2;
                continue;
            }
            out.extend_from_slice(self.bytes.get(run.clone()).unwrap_or_default());
            if slot.state == State::Line {
                run = start..slot.value().end() + 2;
                continue;
            }
            run = 0..0;
            out.extend_from_slice(self.slice(slot.name()));
            out.extend_from_slice(b": ");
            out.extend_from_slice(self.slice(slot.value()));
            out.extend_from_slice(b"\r\n");
        }
        out.extend_from_slice(self.bytes.get(run).unwrap_or_default());
    }
}
