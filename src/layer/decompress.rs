//! Compressed streams by their first bytes, with a limit on what they may swell to.

use std::io::{self, BufReader, Chain, Cursor, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Largest zstd window that is accepted: 128 MiB.
const WINDOW_LOG: u32 = 27;
/// Streams below this many bytes may have any ratio.
const RATIO_FREE: u64 = 1 << 30;

/// The plain bytes of a layer: gzip with any number of members, zstd with any number of frames, or plain already.
///
/// Reading fails when the compressed form is damaged, cut off or followed by anything else, and when more than `ratio` times
/// its size comes out of it (beyond the first GiB).
pub(super) fn open(mut stream: impl Read + Send + 'static, ratio: u64) -> io::Result<Box<dyn Read + Send>> {
    let mut magic = [0; 6];
    let mut length = 0;
    while let Some(rest) = magic.get_mut(length..).filter(|rest| !rest.is_empty()) {
        match stream.read(rest) {
            Ok(0) => break,
            Ok(read) => length += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    let consumed = Arc::new(Consumption::default());
    let start = Cursor::new(magic.get(..length).unwrap_or_default().to_vec());
    let compressed = BufReader::with_capacity(
        128 * 1024,
        Consumed { stream: start.chain(stream), consumption: Arc::clone(&consumed) },
    );
    // Headers are read in small pieces.
    let limited = |plain| {
        let guarded = Guarded { plain, consumed, produced: 0, ratio };
        Box::new(BufReader::with_capacity(128 * 1024, guarded))
    };
    match magic {
        [0x1f, 0x8b, ..] => Ok(limited(Box::new(flate2::bufread::MultiGzDecoder::new(compressed)))),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(compressed)?;
            decoder.window_log_max(WINDOW_LOG)?;
            Ok(limited(Box::new(decoder)))
        }
        [0xfd, b'7', b'z', b'X', b'Z', 0] => Err(unsupported("xz")),
        [b'B', b'Z', b'h', b'1'..=b'9', b'1', b'A'] => Err(unsupported("bzip2")),
        _ => Ok(Box::new(compressed)),
    }
}

fn unsupported(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("it is compressed with {what}; layers are gzip, zstd or plain"))
}

/// What has been read of the compressed stream.
#[derive(Default)]
struct Consumption {
    bytes: AtomicU64,
    failed: AtomicBool,
}

struct Consumed<R> {
    stream: Chain<Cursor<Vec<u8>>, R>,
    consumption: Arc<Consumption>,
}

impl<R: Read> Read for Consumed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.stream.read(buffer);
        match &read {
            Ok(read) => self.consumption.bytes.fetch_add(*read as u64, Ordering::Relaxed),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
            Err(_) => u64::from(self.consumption.failed.swap(true, Ordering::Relaxed)),
        };
        read
    }
}

struct Guarded {
    plain: Box<dyn Read + Send>,
    consumed: Arc<Consumption>,
    produced: u64,
    ratio: u64,
}

impl Read for Guarded {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let invalid = |message: String| io::Error::new(io::ErrorKind::InvalidData, message);
        let read = self.plain.read(buffer).map_err(|error| {
            // The stream below failed by itself, or the decoder did not like what it got.
            let passed_on = self.consumed.failed.load(Ordering::Relaxed) || error.kind() == io::ErrorKind::Interrupted;
            if passed_on { error } else { invalid(format!("its compressed stream is damaged or cut off ({error})")) }
        })?;
        self.produced += read as u64;
        let allowed = self.consumed.bytes.load(Ordering::Relaxed).saturating_mul(self.ratio).max(RATIO_FREE);
        if self.produced > allowed {
            return Err(invalid(format!("it swells to more than {} times its compressed size", self.ratio)));
        }
        Ok(read)
    }
}
