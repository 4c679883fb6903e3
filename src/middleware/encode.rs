//! Content codings as streams: what goes in comes out smaller, a piece at a time, in bounded memory.

use crate::model::Coding;
use bytes::Bytes;
use std::io::{self, Write};
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bodies that are encoded at once in a process. Clients who do not take what they asked for hold memory for each.
pub const ENCODED_MAX: usize = 512;

/// How far back brotli and zstd look, as a power of two: 256 KiB, so that an open stream costs one or two megabytes.
const WINDOW_LOG: u32 = 18;
/// Room for the output of brotli before it is handed on.
const BROTLI_BUFFER: usize = 4096;

static PLACES: Places = Places(AtomicUsize::new(0));

/// One body on its way through a coding.
pub struct Encoder(Box<Kind>, #[expect(dead_code, reason = "given back when it is dropped")] Place);

/// How many are taken of [`ENCODED_MAX`].
struct Places(AtomicUsize);

struct Place(&'static Places);

impl Places {
    fn take(&'static self) -> Option<Place> {
        let fits = |count: usize| (count < ENCODED_MAX).then_some(count + 1);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).ok()?;
        Some(Place(self))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[expect(clippy::large_enum_variant, reason = "it lies in a box of its own")]
enum Kind {
    Gzip(flate2::write::GzEncoder<Vec<u8>>),
    Brotli(brotli::CompressorWriter<Vec<u8>>),
    Zstd(zstd::stream::write::Encoder<'static, Vec<u8>>),
    Ended,
}

impl std::fmt::Debug for Encoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Encoder")
    }
}

impl Encoder {
    /// `level` is 1 to 9; `None`: 5 for gzip, 4 for brotli, 3 for zstd.
    ///
    /// # Errors
    /// There is no memory for it, or [`ENCODED_MAX`] are open ([`ResourceBusy`](io::ErrorKind::ResourceBusy)).
    pub fn new(coding: Coding, level: Option<u8>) -> io::Result<Self> {
        let place = PLACES.take().ok_or(io::ErrorKind::ResourceBusy)?;
        let kind = match coding {
            Coding::Gzip => {
                let level = flate2::Compression::new(level.unwrap_or(5).into());
                Kind::Gzip(flate2::write::GzEncoder::new(Vec::new(), level))
            }
            Coding::Brotli => {
                let level = u32::from(level.unwrap_or(4));
                Kind::Brotli(brotli::CompressorWriter::new(Vec::new(), BROTLI_BUFFER, level, WINDOW_LOG))
            }
            Coding::Zstd => {
                let mut encoder =
                    zstd::stream::write::Encoder::new(Vec::new(), i32::from(level.unwrap_or(3)))?;
                encoder.window_log(WINDOW_LOG)?;
                Kind::Zstd(encoder)
            }
        };
        Ok(Self(Box::new(kind), place))
    }

    /// Takes data in; its output may wait for more.
    ///
    /// # Errors
    /// The coding broke down, or has ended.
    pub fn push(&mut self, data: &[u8]) -> io::Result<()> {
        match &mut *self.0 {
            Kind::Gzip(encoder) => encoder.write_all(data),
            Kind::Brotli(encoder) => encoder.write_all(data),
            Kind::Zstd(encoder) => encoder.write_all(data),
            Kind::Ended => Err(io::ErrorKind::BrokenPipe.into()),
        }
    }

    /// Brings out everything that was taken in, so that its reader need not wait for more.
    ///
    /// # Errors
    /// As [`push`](Self::push).
    pub fn flush(&mut self) -> io::Result<()> {
        match &mut *self.0 {
            Kind::Gzip(encoder) => encoder.flush(),
            Kind::Brotli(encoder) => encoder.flush(),
            Kind::Zstd(encoder) => encoder.flush(),
            Kind::Ended => Ok(()),
        }
    }

    /// What has come out so far.
    pub fn take(&mut self) -> Bytes {
        match &mut *self.0 {
            Kind::Gzip(encoder) => std::mem::take(encoder.get_mut()).into(),
            Kind::Brotli(encoder) => std::mem::take(encoder.get_mut()).into(),
            Kind::Zstd(encoder) => std::mem::take(encoder.get_mut()).into(),
            Kind::Ended => Bytes::new(),
        }
    }

    /// How much has come out and was not taken.
    pub fn waiting(&self) -> usize {
        match &*self.0 {
            Kind::Gzip(encoder) => encoder.get_ref().len(),
            Kind::Brotli(encoder) => encoder.get_ref().len(),
            Kind::Zstd(encoder) => encoder.get_ref().len(),
            Kind::Ended => 0,
        }
    }

    /// Ends the coding; the rest of what comes out. Nothing follows.
    ///
    /// # Errors
    /// As [`push`](Self::push).
    pub fn finish(&mut self) -> io::Result<Bytes> {
        match std::mem::replace(&mut *self.0, Kind::Ended) {
            Kind::Gzip(encoder) => encoder.finish().map(Bytes::from),
            Kind::Brotli(encoder) => Ok(encoder.into_inner().into()),
            Kind::Zstd(encoder) => encoder.finish().map(Bytes::from),
            Kind::Ended => Ok(Bytes::new()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    fn decode(coding: Coding, data: &[u8]) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        match coding {
            Coding::Gzip => flate2::read::GzDecoder::new(data).read_to_end(&mut out)?,
            Coding::Brotli => brotli::Decompressor::new(data, 4096).read_to_end(&mut out)?,
            Coding::Zstd => zstd::stream::read::Decoder::new(data)?.read_to_end(&mut out)?,
        };
        Ok(out)
    }

    /// As much as can be read of a stream that was not ended.
    fn decode_part(coding: Coding, data: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut reader: Box<dyn Read + '_> = match coding {
            Coding::Gzip => Box::new(flate2::read::GzDecoder::new(data)),
            Coding::Brotli => Box::new(brotli::Decompressor::new(data, 4096)),
            Coding::Zstd => Box::new(zstd::stream::read::Decoder::new(data).unwrap()),
        };
        let mut byte = [0; 64];
        while let Ok(count @ 1..) = reader.read(&mut byte) {
            out.extend_from_slice(&byte[..count]);
        }
        out
    }

    #[test]
    fn what_goes_in_comes_out() {
        let text: Vec<u8> =
            (0..200_000_u32).flat_map(|n| format!("line {}\n", n % 977).into_bytes()).collect();
        for coding in Coding::ALL {
            for level in [None, Some(1), Some(9)] {
                let mut encoder = Encoder::new(coding, level).unwrap();
                let mut out = Vec::new();
                for chunk in text.chunks(16 * 1024) {
                    encoder.push(chunk).unwrap();
                    out.extend_from_slice(&encoder.take());
                }
                out.extend_from_slice(&encoder.finish().unwrap());
                assert!(out.len() < text.len() / 5, "{coding:?} {level:?}: {}", out.len());
                assert_eq!(decode(coding, &out).unwrap(), text, "{coding:?} {level:?}");
                assert!(encoder.push(b"x").is_err() && encoder.finish().unwrap().is_empty());
            }
        }
    }

    #[test]
    fn only_so_many_are_open_at_once() {
        static PLACES: Places = Places(AtomicUsize::new(0));
        let mut taken: Vec<_> = (0..ENCODED_MAX).map(|_| PLACES.take().unwrap()).collect();
        assert!(PLACES.take().is_none());
        taken.pop();
        taken.push(PLACES.take().unwrap());
        assert!(PLACES.take().is_none());
        drop(taken);
        assert!(PLACES.take().is_some());
    }

    #[test]
    fn a_flush_brings_everything_out() {
        for coding in Coding::ALL {
            let mut encoder = Encoder::new(coding, None).unwrap();
            let (mut came, mut went) = (Vec::new(), Vec::new());
            for event in 0..20 {
                let event = format!("data: {event}\n\n");
                encoder.push(event.as_bytes()).unwrap();
                encoder.flush().unwrap();
                assert!(encoder.waiting() > 0, "{coding:?}");
                went.extend_from_slice(event.as_bytes());
                came.extend_from_slice(&encoder.take());
                assert_eq!(decode_part(coding, &came), went, "{coding:?}");
            }
            came.extend_from_slice(&encoder.finish().unwrap());
            assert_eq!(decode(coding, &came).unwrap(), went);
        }
    }
}
