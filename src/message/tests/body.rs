use super::*;

/// Data, trailer lines, and how many bytes were used.
type Whole = (Vec<u8>, Vec<String>, usize);
/// The same as it is expected; `None`: cut short.
type Expected<'a> = Result<Option<(&'a str, &'a [&'a str], usize)>, BodyError>;

/// Decodes `input` in pieces of `step` bytes.
fn decode(
    length: BodyLength,
    input: &[u8],
    step: usize,
    limits: &Limits,
) -> Result<Option<Whole>, BodyError> {
    let mut decoder = BodyDecoder::new(length, limits);
    let (mut data, mut at, mut end) = (Vec::new(), 0, 0);
    loop {
        match decoder.decode(&input[at..end])? {
            Decoded::Data { skip, length } => {
                assert!(length > 0);
                data.extend_from_slice(&input[at + skip..at + skip + length]);
                at += skip + length;
            }
            Decoded::NeedMore { skip } => {
                at += skip;
                if end == input.len() {
                    return decoder.on_eof().map(|()| Some((data, Vec::new(), at))).or(Ok(None));
                }
                end = input.len().min(end + step);
            }
            Decoded::End { skip, trailers } => {
                assert!(decoder.is_end());
                assert!(matches!(decoder.decode(b"x"), Ok(Decoded::End { skip: 0, trailers: None })));
                return Ok(Some((data, trailers.as_ref().map(lines).unwrap_or_default(), at + skip)));
            }
        }
    }
}

#[track_caller]
fn check(length: BodyLength, input: &[u8], expected: Expected<'_>) {
    let limits =
        Limits { trailer_bytes: 100, trailer_fields: 4, chunk_extension_bytes: 50, ..Limits::default() };
    for step in [1, 2, 3, 7, usize::MAX / 2] {
        let found = decode(length, input, step.min(input.len().max(1)), &limits);
        let found = found.map(|whole| {
            whole.map(|(data, trailers, used)| (String::from_utf8(data).unwrap(), trailers, used))
        });
        let expected = expected.map(|whole| {
            whole.map(|(data, trailers, used)| {
                (data.to_owned(), trailers.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>(), used)
            })
        });
        assert_eq!(found, expected, "{} by {step}", input.escape_ascii());
    }
}

fn chunked(input: &str, expected: Expected<'_>) {
    check(BodyLength::Chunked, input.as_bytes(), expected);
}

#[test]
fn bodies_of_known_length_end_there() {
    check(BodyLength::None, b"GET", Ok(Some(("", &[], 0))));
    check(BodyLength::Known(0), b"GET", Ok(Some(("", &[], 0))));
    check(BodyLength::Known(3), b"abcGET", Ok(Some(("abc", &[], 3))));
    check(BodyLength::Known(3), b"ab", Ok(None));
    check(BodyLength::Known(u64::MAX), b"ab", Ok(None));
    check(BodyLength::UntilClose, b"abc", Ok(Some(("abc", &[], 3))));
    let mut decoder = BodyDecoder::new(BodyLength::Known(3), &Limits::default());
    assert_eq!((decoder.remaining(), decoder.is_end()), (Some(3), false));
    assert!(matches!(decoder.decode(b"abcd"), Ok(Decoded::Data { skip: 0, length: 3 })));
    assert_eq!((decoder.remaining(), decoder.is_end()), (Some(0), true));
}

#[test]
fn chunks_are_joined() {
    chunked("0\r\n\r\n", Ok(Some(("", &[], 5))));
    chunked("3\r\nabc\r\n0\r\n\r\nGET", Ok(Some(("abc", &[], 13))));
    chunked("0003\r\nabc\r\nA\r\n0123456789\r\n000\r\n\r\n", Ok(Some(("abc0123456789", &[], 33))));
    chunked("a\r\n0123456789\r\n0\r\n\r\n", Ok(Some(("0123456789", &[], 20))));
    chunked("3;a;b=c;d=\"e \\\"f\"\r\nabc\r\n0;z\r\n\r\n", Ok(Some(("abc", &[], 31))));
    for cut in [
        "",
        "3",
        "3\r",
        "3\r\n",
        "3\r\nab",
        "3\r\nabc",
        "3\r\nabc\r\n",
        "3\r\nabc\r\n0\r\n",
        "0\r\n\r",
        "0\r\nA: b\r\n",
    ] {
        chunked(cut, Ok(None));
    }
}

#[test]
fn chunk_sizes_are_hexadecimal_digits() {
    for bad in [
        "0x5\r\n",
        "+5\r\n",
        "-0\r\n",
        " 5\r\n",
        "5 \r\n",
        "5\t\r\n",
        "5_0\r\n",
        "\r\n",
        "Z\r\n",
        "1these\r\n",
        "5\n",
        "5\r5",
        "5\r\r\n",
        "5 ;a\r\n",
        ";a\r\n",
        "12345678901234567\r\n",
        "00000000000000000\r\n",
        "0\n\r\n",
        "5\0\r\n",
        "\u{b2}\r\n",
    ] {
        chunked(bad, Err(BodyError::ChunkSize));
    }
    chunked("ffffffffffffffff\r\nab", Ok(None));
}

#[test]
fn chunk_extensions_are_judged_and_bounded() {
    for bad in [
        "5;a\nX",
        "5;a\rX",
        "5;\r\n",
        "5;a;\r\n",
        "5;=b\r\n",
        "5;a=\r\n",
        "5;a=;\r\n",
        "5;a b\r\n",
        "5; a\r\n",
        "5;a\0\r\n",
        "5;a=\"b\n\"\r\n",
        "5;a=\"b\r\n",
        "5;a=\"b\"c\r\n",
        "5;a=b=c\r\n",
        "5;a=\u{e9}\r\n",
    ] {
        let error = if bad == "5;a\rX" { BodyError::ChunkSize } else { BodyError::ChunkExtension };
        chunked(bad, Err(error));
    }
    let long = format!("5;{}", "a".repeat(51));
    chunked(&long, Err(BodyError::ChunkExtensionTooLong));
    chunked(&"1;abcdefghijkl\r\nx\r\n".repeat(10), Err(BodyError::ChunkExtensionTooLong));
}

#[test]
fn a_chunk_ends_where_its_size_says() {
    for bad in ["3\r\nabcd\r\n0\r\n\r\n", "3\r\nabc\n0\r\n\r\n", "3\r\nabc\rx", "3\r\nabc0\r\n\r\n"] {
        chunked(bad, Err(BodyError::ChunkEnd));
    }
}

#[test]
fn trailers_are_fields_of_their_own() {
    chunked("0\r\nX-A: 1\r\nx-b:2 \r\n\r\nGET", Ok(Some(("", &["X-A: 1", "x-b: 2"], 21))));
    let forbidden = "0\r\nContent-Length: 1\r\nHost: x\r\nX-Forwarded-For: x\r\nX_Real_IP: 1\r\n\r\n";
    chunked(forbidden, Ok(Some(("", &[], forbidden.len()))));
    for bad in [
        "0\r\nA: b\n\r\n",
        "0\r\nA: b\r\n\n",
        "0\r\n\n",
        "0\r\nA: b\r\n c\r\n\r\n",
        "0\r\nA : b\r\n\r\n",
        "0\r\nA\r\n\r\n",
        "0\r\n: b\r\n\r\n",
        "0\r\nA: \0\r\n\r\n",
        "0\r\nA: b\rc\r\n\r\n",
        "0\r\nGET / HTTP/1.1\r\n\r\n",
    ] {
        chunked(bad, Err(BodyError::Trailer));
    }
    chunked(&format!("0\r\nA: {}\r\n\r\n", "b".repeat(200)), Err(BodyError::TrailerTooLong));
    chunked("0\r\nA: b\r\nA: b\r\nA: b\r\nA: b\r\nA: b\r\n\r\n", Err(BodyError::TrailerTooLong));
}

#[test]
fn chunks_are_written() {
    for (length, head) in [
        (1, "1\r\n"),
        (15, "f\r\n"),
        (16, "10\r\n"),
        (4096, "1000\r\n"),
        (usize::MAX, "ffffffffffffffff\r\n"),
    ] {
        let mut out = Vec::new();
        write_chunk_head(&mut out, length);
        assert_eq!(out, head.as_bytes());
    }
    let mut trailers = Fields::default();
    trailers.add("grpc-status", b"0").unwrap();
    trailers.add("Content-Length", b"5").unwrap();
    let mut out = Vec::new();
    write_last_chunk(&mut out, Some(&trailers));
    write_last_chunk(&mut out, None);
    assert_eq!(out, b"0\r\ngrpc-status: 0\r\n\r\n0\r\n\r\n");
}
