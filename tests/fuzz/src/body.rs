//! A chunked body has the same data and the same end however it is cut, and what is sent on reads the same.

use super::strict;
use flipgate::message::{
    BodyDecoder, BodyLength, CHUNK_END, Decoded, Limits, write_chunk_head, write_last_chunk,
};

/// The data, where the body ends (`None`: cut short), and the trailers. Malformed bodies differ in how much came before.
type Read = (Vec<u8>, Option<usize>, Vec<(String, Vec<u8>)>);

pub fn check(raw: &[u8]) {
    let limits = Limits::default();
    let whole = decode(raw, raw.len().max(1), &limits);
    for step in [1, 7] {
        assert_eq!(whole, decode(raw, step, &limits));
    }
    match (&whole, naive(raw)) {
        (Ok((data, Some(end), _)), Ok(found)) => assert_eq!((data.clone(), *end), found),
        // The naive one has no limits and no opinion about extensions.
        (Ok((_, Some(end), _)), Err(why)) => panic!("{why}: {}", raw[..*end].escape_ascii()),
        _ => {}
    }
    let Ok((data, Some(_), trailers)) = whole else { return };
    let mut wire = Vec::new();
    for chunk in data.chunks(1000) {
        write_chunk_head(&mut wire, chunk.len());
        wire.extend_from_slice(chunk);
        wire.extend_from_slice(CHUNK_END);
    }
    let mut fields = flipgate::message::Fields::default();
    for (name, value) in &trailers {
        fields.add(name, value).expect("what was read can be written");
    }
    write_last_chunk(&mut wire, (!trailers.is_empty()).then_some(&fields));
    assert_eq!(decode(&wire, 5, &strict::roomy()), Ok((data.clone(), Some(wire.len()), trailers)));
    assert_eq!(naive(&wire), Ok((data, wire.len())));
}

fn decode(raw: &[u8], step: usize, limits: &Limits) -> Result<Read, ()> {
    let mut decoder = BodyDecoder::new(BodyLength::Chunked, limits);
    let (mut data, mut at, mut end) = (Vec::new(), 0, 0);
    loop {
        match decoder.decode(&raw[at..end]).map_err(drop)? {
            Decoded::Data { skip, length } => {
                assert!(length > 0);
                data.extend_from_slice(&raw[at + skip..at + skip + length]);
                at += skip + length;
            }
            Decoded::NeedMore { skip } => {
                at += skip;
                assert!(!decoder.is_end());
                if end == raw.len() {
                    assert!(decoder.on_eof().is_err());
                    return Ok((data, None, Vec::new()));
                }
                end = raw.len().min(end + step);
            }
            Decoded::End { skip, trailers } => {
                assert!(decoder.is_end());
                let trailers = trailers.unwrap_or_default();
                let trailers =
                    trailers.iter().map(|field| (field.name.to_owned(), field.value.to_vec())).collect();
                return Ok((data, Some(at + skip), trailers));
            }
        }
    }
}

/// The data and the end of a chunked body that is whole, read line by line.
fn naive(raw: &[u8]) -> Result<(Vec<u8>, usize), &'static str> {
    let (mut data, mut at) = (Vec::new(), 0);
    let line = |at: usize| -> Result<&[u8], &'static str> {
        let rest = &raw[at..];
        let end = rest.windows(2).position(|two| two == b"\r\n").ok_or("a line without an end")?;
        let is_clean = |b: &u8| *b == b'\t' || (*b >= b' ' && *b != 0x7f);
        if rest[..end].iter().all(is_clean) { Ok(&rest[..end]) } else { Err("a control character") }
    };
    loop {
        let text = line(at)?;
        at += text.len() + 2;
        let digits = text.split(|b| *b == b';').next().unwrap_or_default();
        if digits.is_empty() || digits.len() > 16 || !digits.iter().all(u8::is_ascii_hexdigit) {
            return Err("a size that is none");
        }
        let size = usize::from_str_radix(&String::from_utf8_lossy(digits), 16).map_err(|_| "a size")?;
        if size == 0 {
            break;
        }
        let chunk = raw.get(at..at.saturating_add(size)).ok_or("cut short")?;
        data.extend_from_slice(chunk);
        at += size;
        if raw.get(at..at + 2) != Some(b"\r\n") {
            return Err("no line end behind a chunk");
        }
        at += 2;
    }
    loop {
        let text = line(at)?;
        at += text.len() + 2;
        if text.is_empty() {
            return Ok((data, at));
        }
        if !text.contains(&b':') || matches!(text.first(), Some(b' ' | b'\t' | b':')) {
            return Err("a trailer that is none");
        }
    }
}
