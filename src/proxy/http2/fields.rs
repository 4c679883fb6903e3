//! Counts the fields of a header block without decoding it: HPACK says of each where it ends (RFC 7541 section 6). What one
//! byte can stand for is why that counts: a thousand fields may take a thousand bytes on the wire, and a hundred times as
//! much once decoded.

/// The count over one header block, which may come in any pieces.
#[derive(Debug, Default)]
pub(super) struct FieldCount {
    state: State,
    count: u32,
}

#[derive(Debug, Default, Clone, Copy)]
enum State {
    #[default]
    Start,
    /// The rest of an index, and so many strings after it.
    Index { strings: u8 },
    /// The length of the first of so many strings.
    Length { strings: u8 },
    /// The rest of that length.
    LengthMore { strings: u8, value: u32, shift: u8 },
    /// So many bytes of the first of so many strings.
    String { strings: u8, left: u32 },
    /// No number is that long: whoever decodes the block will say so.
    Broken,
}

impl FieldCount {
    pub(super) fn count(&self) -> u32 {
        self.count
    }

    pub(super) fn read(&mut self, mut bytes: &[u8]) {
        while let [first, rest @ ..] = bytes {
            if let State::String { strings, left } = self.state {
                let taken = bytes.len().min(left as usize);
                bytes = bytes.get(taken..).unwrap_or_default();
                self.state = match left - taken as u32 {
                    0 => after_string(strings),
                    left => State::String { strings, left },
                };
                continue;
            }
            bytes = rest;
            self.state = self.next(*first);
        }
    }

    fn next(&mut self, byte: u8) -> State {
        match self.state {
            State::Start => self.begin(byte),
            State::Index { strings } if byte & 0x80 != 0 => State::Index { strings },
            State::Index { strings } => before_strings(strings),
            State::Length { strings } => match byte & 0x7f {
                0x7f => State::LengthMore { strings, value: 0x7f, shift: 0 },
                left => string(strings, left.into()),
            },
            State::LengthMore { shift: 28.., .. } => State::Broken,
            State::LengthMore { strings, value, shift } => {
                let value = value.saturating_add(u32::from(byte & 0x7f) << shift);
                match byte & 0x80 {
                    0 => string(strings, value),
                    _ => State::LengthMore { strings, value, shift: shift + 7 },
                }
            }
            State::String { .. } | State::Broken => self.state,
        }
    }

    /// The first byte of a field, or of a change of the table's size.
    fn begin(&mut self, byte: u8) -> State {
        let (prefix, literal) = match byte {
            0x80.. => (0x7f, false),
            0x40.. => (0x3f, true),
            0x20.. => (0x1f, false),
            _ => (0x0f, true),
        };
        // A change of size is no field, but costs as much to read.
        self.count = self.count.saturating_add(1);
        let index = byte & prefix;
        let strings = match (literal, index) {
            (false, _) => 0,
            (true, 0) => 2,
            (true, _) => 1,
        };
        if index == prefix { State::Index { strings } } else { before_strings(strings) }
    }
}

fn before_strings(strings: u8) -> State {
    if strings == 0 { State::Start } else { State::Length { strings } }
}

fn string(strings: u8, left: u32) -> State {
    if left == 0 { after_string(strings) } else { State::String { strings, left } }
}

fn after_string(strings: u8) -> State {
    before_strings(strings - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_counted_whatever_their_form_and_however_they_are_cut() {
        let long = [&[0x00, 0x01, b'a', 0x7f, 0x01], vec![b'v'; 128].as_slice()].concat();
        let table: &[(&[u8], u32)] = &[
            (b"", 0),
            (&[0x82], 1),
            (&[0xbe; 50], 50),
            // An index of more than one byte.
            (&[0xff, 0x80, 0x01, 0x82], 2),
            // Literals: indexed or not, with a name of their own or not, empty ones too.
            (b"\x40\x01a\x02bc\x82", 2),
            (b"\x00\x01a\x00\x10\x00\x00", 2),
            (b"\x44\x01/\x04\x01/", 2),
            (b"\x7f\x00\x81h\x0f\x2f\x81h", 2),
            (&long, 1),
            // A table size.
            (b"\x3f\xe1\x1f\x82", 2),
            // A length without end.
            (b"\x40\x01a\x7f\xff\xff\xff\xff\xff\xff\x82\x82", 1),
        ];
        for (block, expected) in table {
            for step in [1, 2, 3, 7, 1000] {
                let mut fields = FieldCount::default();
                block.chunks(step).for_each(|piece| fields.read(piece));
                assert_eq!(fields.count(), *expected, "{block:?} by {step}");
            }
        }
    }
}
