//! What a head costs: reading it and writing it anew, with warm buffers. Prints nanoseconds per message.
#![allow(missing_docs, clippy::print_stdout, clippy::expect_used)]

use std::hint::black_box;
use std::time::Instant;

use flipgate::message::{
    BodyDecoder, BodyLength, Decoded, Limits, Method, RequestHead, RequestWrite, ResponseHead, ResponseWrite,
    Scan, Spare,
};

const REQUEST_4: &str = "GET /shop/items?page=2 HTTP/1.1\r\nHost: shop.example.com\r\nUser-Agent: curl/8.5.0\r\n\
    Accept: */*\r\nX-Trace: 0123456789abcdef\r\n\r\n";
const REQUEST_20: &str = "GET /shop/items/4711/details?page=2&sort=price&lang=en HTTP/1.1\r\nHost: shop.example.com\r\n\
    Connection: keep-alive\r\nsec-ch-ua: \"Chromium\";v=\"130\", \"Not?A_Brand\";v=\"99\"\r\nsec-ch-ua-mobile: ?0\r\n\
    sec-ch-ua-platform: \"Linux\"\r\nUpgrade-Insecure-Requests: 1\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36\r\n\
    Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8\r\n\
    Sec-Fetch-Site: same-origin\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-User: ?1\r\nSec-Fetch-Dest: document\r\n\
    Referer: https://shop.example.com/shop/items?page=2\r\nAccept-Encoding: gzip, deflate, br, zstd\r\n\
    Accept-Language: en-GB,en;q=0.9,nl;q=0.8\r\nCookie: session=0123456789abcdef0123456789abcdef; theme=dark; cart=17\r\n\
    If-None-Match: \"5f3a-1a2b3c4d\"\r\nCache-Control: max-age=0\r\nDNT: 1\r\nPriority: u=0, i\r\n\r\n";
const RESPONSE: &str = "HTTP/1.1 200 OK\r\nServer: nginx\r\nDate: Tue, 15 Nov 1994 08:12:31 GMT\r\n\
    Content-Type: text/html; charset=utf-8\r\nContent-Length: 1270\r\nConnection: keep-alive\r\nETag: \"5f3a-1a2b3c4d\"\r\n\
    Cache-Control: no-cache\r\nVary: Accept-Encoding\r\n\r\n";
const ROUNDS: u32 = 200_000;
const SAMPLES: u32 = 11;

/// Prints the median over some samples of the time one call takes.
fn measure(what: &str, mut call: impl FnMut()) {
    let mut samples: Vec<f64> = (0..SAMPLES)
        .map(|_| {
            let start = Instant::now();
            (0..ROUNDS).for_each(|_| call());
            start.elapsed().as_secs_f64() * 1e9 / f64::from(ROUNDS)
        })
        .collect();
    samples.sort_by(f64::total_cmp);
    let median = samples.get(samples.len() / 2).copied().unwrap_or_default();
    let best = samples.first().copied().unwrap_or_default();
    println!("{what:<44} {median:8.1} ns   best {best:8.1} ns");
}

fn request(what: &str, raw: &str, forward: bool) {
    let (mut scan, mut spare, limits) = (Scan::default(), Spare::default(), Limits::default());
    let (mut buffer, mut out) = (Vec::with_capacity(8192), Vec::with_capacity(8192));
    measure(what, || {
        buffer.extend_from_slice(black_box(raw.as_bytes()));
        let head = RequestHead::read(&mut buffer, &mut scan, &mut spare, &limits);
        let mut head = head.expect("valid").expect("complete");
        if forward {
            head.fields.remove_hop_by_hop();
            head.fields.set_with("X-Forwarded-For", |value| value.extend_from_slice(b"192.0.2.1"));
            head.fields.set_with("X-Forwarded-Proto", |value| value.extend_from_slice(b"https"));
            black_box((head.host(), head.path(), head.method()));
        }
        out.clear();
        let options = RequestWrite {
            host: None,
            body: head.body,
            upgrade: None,
            trailers: false,
            expect_continue: false,
        };
        head.write_http1(&mut out, &options);
        black_box(&out);
        head.recycle(&mut spare);
    });
}

fn response(what: &str, raw: &str) {
    let (mut scan, mut spare, limits) = (Scan::default(), Spare::default(), Limits::default());
    let (mut buffer, mut out) = (Vec::with_capacity(8192), Vec::with_capacity(8192));
    measure(what, || {
        buffer.extend_from_slice(black_box(raw.as_bytes()));
        let head = ResponseHead::read(&mut buffer, &mut scan, &mut spare, &limits, Method::Get);
        let mut head = head.expect("valid").expect("complete");
        head.fields.remove_hop_by_hop();
        out.clear();
        let options =
            ResponseWrite { body: head.body, close: false, keep_alive_10: false, upgrade: None, date: None };
        head.write_http1(&mut out, &options);
        black_box(&out);
        head.recycle(&mut spare);
    });
}

fn chunks(what: &str, raw: &[u8]) {
    let limits = Limits::default();
    measure(what, || {
        let mut decoder = BodyDecoder::new(BodyLength::Chunked, &limits);
        let mut rest = black_box(raw);
        while let Decoded::Data { skip, length } = decoder.decode(rest).expect("valid") {
            rest = rest.get(skip + length..).unwrap_or_default();
        }
    });
}

fn main() {
    request("request, 4 fields: read and write", REQUEST_4, false);
    request("request, 4 fields: read, edit and write", REQUEST_4, true);
    request("request, 20 fields: read and write", REQUEST_20, false);
    request("request, 20 fields: read, edit and write", REQUEST_20, true);
    response("answer, 8 fields: read, strip and write", RESPONSE);
    chunks(
        "body, 4 chunks: decode",
        b"5\r\nhello\r\n10\r\n0123456789abcdef\r\n1\r\nx\r\n2\r\nyz\r\n0\r\n\r\n",
    );
}
