//! Buffers that wait for their next message.

use super::fields::Slot;

/// Most buffers of a kind that are kept.
const KEPT_MAX: usize = 64;
/// A buffer that grew past this is given back to the allocator.
const BUFFER_BYTES_KEPT_MAX: usize = 16 * 1024;
/// A list of fields that grew past this is given back to the allocator.
const SLOTS_KEPT_MAX: usize = 1024;
/// What a new buffer can hold at first.
const BUFFER_BYTES: usize = 4 * 1024;
/// How many fields a new list can hold at first.
const SLOTS: usize = 32;

/// Keeps a few cleared buffers, so that a warm connection allocates nothing. One per connection or per worker.
#[derive(Debug, Default)]
pub struct Spare {
    buffers: Vec<Vec<u8>>,
    slots: Vec<Vec<Slot>>,
}

impl Spare {
    /// An empty buffer.
    pub fn buffer(&mut self) -> Vec<u8> {
        self.buffers.pop().unwrap_or_else(|| Vec::with_capacity(BUFFER_BYTES))
    }

    /// Takes a buffer back, whatever it holds.
    pub fn keep_buffer(&mut self, mut buffer: Vec<u8>) {
        if self.buffers.len() < KEPT_MAX && (1..=BUFFER_BYTES_KEPT_MAX).contains(&buffer.capacity()) {
            buffer.clear();
            self.buffers.push(buffer);
        }
    }

    pub(super) fn slots(&mut self) -> Vec<Slot> {
        self.slots.pop().unwrap_or_else(|| Vec::with_capacity(SLOTS))
    }

    pub(super) fn keep_slots(&mut self, mut slots: Vec<Slot>) {
        if self.slots.len() < KEPT_MAX && (1..=SLOTS_KEPT_MAX).contains(&slots.capacity()) {
            slots.clear();
            self.slots.push(slots);
        }
    }
}
