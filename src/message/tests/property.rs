use proptest::prelude::*;

use super::*;

/// Pieces of messages, so that random requests are nearly right.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    let texts: &[&[u8]] = &[
        b"GET / HTTP/1.1\r\n",
        b"POST /a?b HTTP/1.0\r\n",
        b"GET http://b/ HTTP/1.1\r\n",
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.0 304\r\n",
        b"Host: a\r\n",
        b"host:B:80 \r\n",
        b"Content-Length: 3\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Connection: close, x\r\n",
        b"X: y\r\n",
        b"x-y:\r\n",
        b"Cookie: \xff\r\n",
        b"X_Real_IP: 1\r\n",
        b"Expect: 100-continue\r\n",
        b"\r\n",
        b"\n",
        b"\r",
        b" ",
        b":",
        b"\t",
        b"\0",
        b"3\r\nabc\r\n",
        b"0\r\n",
        b";a=b",
    ];
    prop_oneof![
        20 => proptest::sample::select(texts).prop_map(<[u8]>::to_vec),
        1 => proptest::collection::vec(any::<u8>(), 1..6),
    ]
}

fn soup() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(piece(), 0..12).prop_map(|pieces| pieces.concat())
}

/// A request that is right, with its fields.
fn request() -> impl Strategy<Value = (Vec<u8>, Vec<(String, Vec<u8>)>)> {
    let name = "[A-Za-z][A-Za-z0-9-]{0,20}"
        .prop_filter("framing is told apart", |name| Known::of(name) == Known::Other);
    let value = proptest::collection::vec(
        any::<u8>().prop_map(|b| if b < b' ' || b == 127 { b'~' } else { b }),
        0..40,
    )
    .prop_map(|value| value.trim_ascii().to_vec());
    let fields = proptest::collection::vec((name, value, "[ \t]{0,2}", "[ \t]{0,2}"), 0..20);
    ("[A-Z]{1,8}", "/[a-z0-9/%.?=&]{0,40}", fields)
        .prop_filter("form", |(method, target, _)| method != "CONNECT" && !target.contains("%00"))
        .prop_map(|(method, target, fields)| {
            let mut raw = format!("{method} {target} HTTP/1.1\r\nHost: a\r\n").into_bytes();
            for (name, value, before, after) in &fields {
                raw.extend_from_slice(format!("{name}:{before}").as_bytes());
                raw.extend_from_slice(value);
                raw.extend_from_slice(format!("{after}\r\n").as_bytes());
            }
            raw.extend_from_slice(b"\r\n");
            (raw, fields.into_iter().map(|(name, value, ..)| (name, value)).collect())
        })
}

/// The request line, the fields, and what is left behind them.
type Read = (String, Vec<String>, Vec<u8>);

/// What reading piece by piece comes to: the head's lines and what is left, a refusal, or nothing yet.
fn verdict(raw: &[u8], cuts: &[usize]) -> Result<Option<Read>, ()> {
    let (mut buffer, mut scan, mut spare, limits) =
        (Vec::new(), Scan::default(), Spare::default(), Limits::default());
    let mut at = 0;
    for cut in cuts.iter().map(|cut| cut % (raw.len() + 1)).chain([raw.len()]) {
        if cut < at {
            continue;
        }
        buffer.extend_from_slice(&raw[at..cut]);
        at = cut;
        if let Some(head) = RequestHead::read(&mut buffer, &mut scan, &mut spare, &limits).map_err(|_| ())? {
            let rest = [&buffer, &raw[at..]].concat();
            let line = format!("{} {} {} {:?}", head.method(), head.target(), head.host(), head.body);
            return Ok(Some((line, lines(&head.fields), rest)));
        }
    }
    Ok(None)
}

fn pairs(fields: &Fields) -> Vec<(String, Vec<u8>)> {
    fields
        .iter()
        .filter(|field| field.known == Known::Other)
        .map(|field| (field.name.to_owned(), field.value.to_vec()))
        .collect()
}

proptest! {
    #[test]
    fn a_split_changes_no_verdict(raw in soup(), mut cuts in proptest::collection::vec(any::<usize>(), 0..6)) {
        cuts.iter_mut().for_each(|cut| *cut %= raw.len() + 1);
        cuts.sort_unstable();
        let every: Vec<usize> = (0..raw.len()).collect();
        let whole = verdict(&raw, &[]);
        prop_assert_eq!(&verdict(&raw, &cuts), &whole);
        prop_assert_eq!(&verdict(&raw, &every), &whole);
    }

    #[test]
    fn nothing_panics(raw in proptest::collection::vec(any::<u8>(), 0..300)) {
        let (mut spare, limits) = (Spare::default(), Limits::default());
        let _ = RequestHead::read(&mut raw.clone(), &mut Scan::default(), &mut spare, &limits);
        let _ = ResponseHead::read(&mut raw.clone(), &mut Scan::default(), &mut spare, &limits, Method::Get);
        let mut decoder = BodyDecoder::new(BodyLength::Chunked, &limits);
        let _ = decoder.decode(&raw);
    }

    #[test]
    fn what_is_written_reads_the_same((raw, fields) in request()) {
        let head = read_request(&raw).unwrap();
        prop_assert_eq!(pairs(&head.fields), fields.clone());
        let out = forward(&head);
        let again = read_request(&out).unwrap();
        prop_assert_eq!(pairs(&again.fields), fields);
        prop_assert_eq!((again.method(), again.target(), again.host()), (head.method(), head.target(), head.host()));
        prop_assert_eq!(forward(&again), out);
    }

    #[test]
    fn an_accepted_soup_is_clean_upstream(raw in soup()) {
        let mut buffer = raw;
        let read = RequestHead::read(&mut buffer, &mut Scan::default(), &mut Spare::default(), &Limits::default());
        if let Ok(Some(mut head)) = read
            && !head.host().is_empty()
        {
            head.fields.remove_hop_by_hop();
            let again = read_request(&forward(&head)).unwrap();
            prop_assert_eq!((again.target(), again.body), (head.target(), head.body));
            prop_assert_eq!(pairs(&again.fields), pairs(&head.fields));
        }
    }

    #[test]
    fn chunks_decode_to_what_was_encoded(
        chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..50), 0..6),
        step in 1_usize..20,
    ) {
        let mut wire = Vec::new();
        for chunk in &chunks {
            write_chunk_head(&mut wire, chunk.len());
            wire.extend_from_slice(chunk);
            wire.extend_from_slice(CHUNK_END);
        }
        write_last_chunk(&mut wire, None);
        let mut decoder = BodyDecoder::new(BodyLength::Chunked, &Limits::default());
        let (mut data, mut at, mut end) = (Vec::new(), 0, 0);
        loop {
            match decoder.decode(&wire[at..end]).unwrap() {
                Decoded::Data { skip, length } => {
                    data.extend_from_slice(&wire[at + skip..at + skip + length]);
                    at += skip + length;
                }
                Decoded::NeedMore { skip } => {
                    at += skip;
                    end = wire.len().min(end + step);
                }
                Decoded::End { skip, .. } => {
                    prop_assert_eq!(at + skip, wire.len());
                    break;
                }
            }
        }
        prop_assert_eq!(data, chunks.concat());
    }
}
