//! Which bytes may stand where.

/// May stand in a token (RFC 9110 section 5.6.2).
const TOKEN: u8 = 1;
/// May stand in a field value: HTAB, SP, visible characters, and bytes from 0x80 (RFC 9110 section 5.5).
const VALUE: u8 = 2;
/// May stand in the path or query of a request target.
const TARGET: u8 = 4;
/// May stand in a registered name: letters, digits, `-`, `.`, `_`.
const HOST: u8 = 8;
/// An ASCII capital.
const UPPER: u8 = 16;
/// The percent sign.
const PERCENT: u8 = 32;
/// The dot.
const DOT: u8 = 64;

#[allow(clippy::indexing_slicing, reason = "runs in the compiler only")]
const CLASSES: [u8; 256] = {
    let mut classes = [0; 256];
    let mut at = 0;
    while at < 256 {
        let b = at as u8;
        let mut class = 0;
        if b.is_ascii_alphanumeric()
            || matches!(
                b,
                b'!' | b'#'
                    | b'$'
                    | b'%'
                    | b'&'
                    | b'\''
                    | b'*'
                    | b'+'
                    | b'-'
                    | b'.'
                    | b'^'
                    | b'_'
                    | b'`'
                    | b'|'
                    | b'~'
            )
        {
            class |= TOKEN;
        }
        if b == b'\t' || (b >= b' ' && b != 0x7f) {
            class |= VALUE;
        }
        // `"`, `{`, `|`, `}`, `^`, `[` and `]` are no URI characters but in use; what HTTP/2's types cannot carry is out.
        if b > b' ' && b < 0x7f && !matches!(b, b'#' | b'\\' | b'<' | b'>' | b'`') {
            class |= TARGET;
        }
        if b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_') {
            class |= HOST;
        }
        if b.is_ascii_uppercase() {
            class |= UPPER;
        }
        if b == b'%' {
            class |= PERCENT;
        }
        if b == b'.' {
            class |= DOT;
        }
        classes[at] = class;
        at += 1;
    }
    classes
};

fn class(b: u8) -> u8 {
    CLASSES.get(usize::from(b)).copied().unwrap_or_default()
}

fn all(bytes: &[u8], wanted: u8) -> bool {
    bytes.iter().fold(wanted, |seen, b| seen & class(*b)) == wanted
}

/// Whether `b` may stand in a token.
pub(super) fn is_token_byte(b: u8) -> bool {
    class(b) & TOKEN != 0
}

/// Whether `b` may stand in a field value.
pub(super) fn is_value_byte(b: u8) -> bool {
    class(b) & VALUE != 0
}

/// Whether `bytes` is a token.
pub(super) fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && all(bytes, TOKEN)
}

/// Whether `bytes` can be sent as a field value as it is: no control characters, no white space at its ends.
pub(super) fn is_value(bytes: &[u8]) -> bool {
    all(bytes, VALUE)
        && !matches!(bytes.first(), Some(b' ' | b'\t'))
        && !matches!(bytes.last(), Some(b' ' | b'\t'))
}

/// Whether all of `bytes` may stand in the path and query of a request target, and whether a `%` is among them.
pub(super) fn target_bytes(bytes: &[u8]) -> (bool, bool) {
    let (every, any) = bytes.iter().fold((TARGET, 0), |(every, any), b| (every & class(*b), any | class(*b)));
    (every & TARGET != 0, any & PERCENT != 0)
}

/// Length of the registered name at the front of `bytes`, and whether it has capitals; a name has no empty label but
/// the last.
pub(super) fn host_name(bytes: &[u8]) -> (usize, bool) {
    let (mut length, mut any, mut last) = (0, 0, DOT);
    for b in bytes {
        let class = class(*b);
        if class & HOST == 0 || class & last & DOT != 0 {
            break;
        }
        any |= class;
        last = class;
        length += 1;
    }
    (length, any & UPPER != 0)
}

/// `bytes` without SP and HTAB at its ends.
pub(super) fn trim(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = bytes {
        bytes = rest;
    }
    while let [rest @ .., b' ' | b'\t'] = bytes {
        bytes = rest;
    }
    bytes
}

/// The members of a comma-separated list, trimmed; empty ones are left out (RFC 9110 section 5.6.1).
pub(super) fn members(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|b| *b == b',').map(trim).filter(|member| !member.is_empty())
}
