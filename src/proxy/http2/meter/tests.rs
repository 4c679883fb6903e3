use super::*;
use proptest::prelude::*;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// `:method: GET`, `:scheme: http`, `:path: /`
const GET: &[u8] = &[0x82, 0x86, 0x84];

fn limits() -> MeterLimits {
    MeterLimits {
        rates: Rates { per_second: 50, burst: 500 },
        streams: 100,
        fields: 400,
        block_bytes: 256 * 1024,
        head_time: Duration::from_secs(10),
        stall_time: Duration::from_secs(30),
    }
}

/// A meter whose client has said its preface, and the time at which it began.
fn meter() -> (Meter, Instant) {
    let now = Instant::now();
    let mut meter = Meter::new(limits(), now);
    meter.received(PREFACE, now);
    (meter, now)
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

fn request(stream: u32, ended: bool) -> Vec<u8> {
    let flags = frames::END_HEADERS | if ended { frames::END_STREAM } else { 0 };
    frame(frames::HEADERS, flags, stream, GET)
}

fn answer(stream: u32, ended: bool) -> Vec<u8> {
    frame(frames::HEADERS, frames::END_HEADERS | u8::from(ended), stream, &[0x88])
}

fn window(stream: u32, increment: u32) -> Vec<u8> {
    frame(frames::WINDOW_UPDATE, 0, stream, &increment.to_be_bytes())
}

/// How many rounds of a flood pass, at a thousand a second, before which limit.
fn flood(most: u32, mut round: impl FnMut(&mut Meter, u32, Instant)) -> Result<u32, (u32, Limit)> {
    let (mut meter, start) = meter();
    for number in 0..most {
        round(&mut meter, number, start + Duration::from_millis(number.into()));
        if let Some(limit) = meter.breach() {
            return Err((number, limit));
        }
    }
    Ok(most)
}

#[test]
fn each_flood_meets_its_limit() {
    let id = |number: u32| 2 * number + 1;
    type Round = fn(u32) -> (Vec<u8>, Vec<u8>);
    let reset = |stream: u32, code: u8| frame(frames::RST_STREAM, 0, stream, &[0, 0, 0, code]);
    let rapid = flood(10_000, |meter, number, now| {
        meter.received(&[request(id(number), true), reset(id(number), 8)].concat(), now);
    });
    assert!(matches!(rapid, Err((450..600, Limit::H2Resets))), "{rapid:?}");
    let provoked = flood(10_000, |meter, number, now| {
        meter.received(&request(id(number), true), now);
        meter.sent(&reset(id(number), 3), now);
    });
    assert!(matches!(provoked, Err((450..600, Limit::H2Resets))), "{provoked:?}");
    let table: &[(Round, u32, Limit)] = &[
        (|_| (frame(frames::PING, 0, 0, &[0; 8]), Vec::new()), 600, Limit::H2Pings),
        // Answers to pings that were not sent.
        (|_| (frame(frames::PING, frames::ACK, 0, &[0; 8]), Vec::new()), 600, Limit::H2Pings),
        (|_| (frame(frames::SETTINGS, 0, 0, &[]), Vec::new()), 600, Limit::H2Settings),
        (|_| (frame(frames::SETTINGS, 0, 0, &[0; 6 * 1000]), Vec::new()), 10, Limit::H2Settings),
        (|_| (window(0, 1), Vec::new()), 600, Limit::H2WindowUpdates),
        (|_| (frame(frames::PRIORITY, 0, 3, &[0, 0, 0, 1, 5]), Vec::new()), 600, Limit::H2Priorities),
        (|_| (frame(frames::PRIORITY_UPDATE, 0, 0, b"...."), Vec::new()), 600, Limit::H2Priorities),
        (|_| (frame(0xbb, 0, 0, b"any"), Vec::new()), 600, Limit::H2Unknown),
        (|_| (window(3, 0), Vec::new()), 600, Limit::H2WindowUpdates),
    ];
    for (round, most, limit) in table {
        let ended = flood(10_000, |meter, number, now| {
            let (received, sent) = round(number);
            meter.received(&received, now);
            meter.sent(&sent, now);
        });
        assert!(matches!(ended, Err((number, by)) if number < *most && by == *limit), "{limit:?}: {ended:?}");
    }
    let body = |data: &'static [u8]| {
        flood(100_000, move |meter, number, now| {
            if number == 0 {
                meter.received(&request(1, false), now);
            }
            meter.received(&frame(frames::DATA, 0, 1, data), now);
        })
    };
    assert!(matches!(body(b""), Err((450..600, Limit::H2EmptyFrames))), "{:?}", body(b""));
    assert!(matches!(body(b"1"), Err((8000.., Limit::H2EmptyFrames))), "{:?}", body(b"1"));
    assert_eq!(body(b"grpc!"), Ok(100_000));
    let after_end = flood(10_000, |meter, number, now| {
        if number == 0 {
            meter.received(&request(1, true), now);
        }
        meter.received(&frame(frames::DATA, frames::END_STREAM, 1, b"more"), now);
    });
    let refused = flood(10_000, |meter, _, now| meter.refused(now));
    assert!(matches!(refused, Err((240..300, Limit::H2Oddities))), "{refused:?}");
    assert!(matches!(after_end, Err((900..1200, Limit::H2Oddities))), "{after_end:?}");
}

#[test]
fn what_traffic_explains_is_no_flood() {
    let data = frame(frames::DATA, 0, 1, &[0; 16 * 1024]);
    // As the clients of Go do it: each 4 KiB, for the stream and for the connection; and a ping for each frame.
    let download = flood(20_000, |meter, number, now| {
        if number == 0 {
            meter.received(&request(1, true), now);
            meter.sent(&answer(1, false), now);
        }
        meter.sent(&data, now);
        for _ in 0..4 {
            meter.received(&[window(0, 4096), window(1, 4096)].concat(), now);
        }
        meter.received(&frame(frames::PING, 0, 0, &[0; 8]), now);
    });
    assert_eq!(download, Ok(20_000));
    let requests = flood(20_000, |meter, number, now| {
        let id = 2 * number + 1;
        let priority = frame(frames::PRIORITY_UPDATE, 0, 0, b"....u=1");
        meter.received(&[request(id, true), priority].concat(), now);
        meter.sent(&[answer(id, false), frame(frames::DATA, frames::END_STREAM, id, b"x")].concat(), now);
        assert!(!meter.is_busy());
    });
    assert_eq!(requests, Ok(20_000));
}

#[test]
fn a_header_block_is_bounded() {
    let block = |start: &[u8], piece: &[u8]| {
        let (mut meter, now) = meter();
        meter.received(&frame(frames::HEADERS, 0, 1, start), now);
        let pieces = (0..10_000).take_while(|_| {
            meter.received(&frame(frames::CONTINUATION, 0, 1, piece), now);
            meter.breach().is_none()
        });
        (pieces.count(), meter.breach())
    };
    assert_eq!(block(GET, b""), (32, Some(Limit::H2Continuations)));
    assert_eq!(block(b"\x00\x01a\x7f\x80\x80\x7f", &[b'v'; 16_000]), (16, Some(Limit::H2Continuations)));
    assert_eq!(block(GET, &[0xbe; 100]), (3, Some(Limit::H2Fields)));
    // A block ends, and the next is counted anew.
    let (mut meter, now) = meter();
    for number in 0..50 {
        meter.received(&frame(frames::HEADERS, 5, 2 * number + 1, &[0xbe; 300]), now);
    }
    assert_eq!(meter.breach(), None);
}

#[test]
fn a_preface_and_a_header_block_have_their_time() {
    let start = Instant::now();
    let mut silent = Meter::new(limits(), start);
    silent.received(&PREFACE[..23], start);
    assert_eq!(silent.overdue(start + Duration::from_secs(9)), []);
    assert_eq!(silent.breach(), None);
    silent.overdue(start + Duration::from_secs(10));
    assert_eq!(silent.breach(), Some(Limit::HeadTime));

    let (mut meter, start) = meter();
    let later = start + Duration::from_secs(100);
    meter.received(&frame(frames::HEADERS, 0, 1, GET), later);
    assert!(!meter.between_received());
    meter.overdue(later + Duration::from_secs(9));
    assert_eq!(meter.breach(), None);
    meter.received(&frame(frames::CONTINUATION, 0, 1, GET), later + Duration::from_secs(9));
    meter.overdue(later + Duration::from_secs(10));
    assert_eq!(meter.breach(), Some(Limit::HeadTime));
}

#[test]
fn an_answer_that_its_client_does_not_take_is_overdue() {
    let (mut meter, start) = meter();
    let at = |seconds| start + Duration::from_secs(seconds);
    meter.received(&frame(frames::SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]), start);
    for id in [1, 3, 5] {
        meter.received(&request(id, true), start);
    }
    // One waits for its server, one gets a window that is no progress, one takes what it can.
    for id in [3, 5] {
        meter.sent(&answer(id, false), start);
    }
    for second in (5..30).step_by(5) {
        meter.received(&[window(3, 1), window(5, 1000)].concat(), at(second));
        meter.sent(&frame(frames::DATA, 0, 3, &[0; 1]), at(second));
        meter.sent(&frame(frames::DATA, 0, 5, &[0; 1000]), at(second));
        assert_eq!(meter.overdue(at(second)), []);
    }
    assert_eq!(meter.overdue(at(31)), [Overdue { stream: 3, limit: Limit::H2Stall }]);
    assert_eq!(meter.overdue(at(32)), []);
    assert_eq!(meter.overdue(at(62)), [Overdue { stream: 5, limit: Limit::H2Stall }]);
    // The server still has its time.
    assert_eq!(meter.overdue(at(3600)), []);
    assert_eq!(meter.breach(), None);
    // An open window without anything to send is no fault of the client's.
    meter.sent(&answer(1, false), at(3600));
    meter.received(&window(1, 1), at(3601));
    meter.overdue(at(3602));
    assert_eq!(meter.overdue(at(7200)), []);
}

#[test]
fn a_body_that_does_not_begin_is_overdue() {
    let (mut meter, start) = meter();
    for id in [1, 3, 5] {
        meter.received(&request(id, false), start);
    }
    meter.received(&frame(frames::DATA, 0, 3, b"data"), start);
    meter.sent(&answer(5, false), start);
    let overdue = meter.overdue(start + Duration::from_secs(30));
    assert_eq!(overdue, [Overdue { stream: 1, limit: Limit::BodyTime }]);
}

#[test]
fn a_client_that_reads_nothing_is_late() {
    let (mut meter, start) = meter();
    let at = |seconds| start + Duration::from_secs(seconds);
    meter.blocked(start);
    meter.sent(&[0; 100], at(20));
    meter.blocked(at(20));
    meter.flushed();
    meter.overdue(at(40));
    assert_eq!(meter.breach(), None);
    meter.blocked(at(40));
    meter.sent(&[0; 2000], at(60));
    meter.blocked(at(60));
    meter.overdue(at(89));
    assert_eq!(meter.breach(), None);
    meter.overdue(at(90));
    assert_eq!(meter.breach(), Some(Limit::H2Stall));
}

proptest! {
    /// Whatever passes in whatever pieces, the meter survives it and keeps no more streams than can be open.
    #[test]
    fn any_traffic_is_survived(
        pieces in prop::collection::vec((any::<bool>(), 0_u8..12, any::<u8>(), 0_u32..40, prop::collection::vec(any::<u8>(), 0..20), 1_usize..30), 0..200),
    ) {
        let (mut meter, start) = meter();
        for (index, (inward, kind, flags, stream, payload, cut)) in pieces.iter().enumerate() {
            let now = start + Duration::from_secs(index as u64);
            for piece in frame(*kind, *flags, *stream, payload).chunks(*cut) {
                if *inward { meter.received(piece, now) } else { meter.sent(piece, now) }
            }
            meter.overdue(now);
        }
        prop_assert!(meter.ledger.streams.len() <= 40);
        prop_assert!(meter.ledger.streams.iter().is_sorted_by_key(|stream| stream.id));
    }
}
