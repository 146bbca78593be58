//! Gzip on all cores: fixed blocks as members of one stream.
//!
//! The input is cut every mebibyte; each block becomes a gzip member of its own (time 0, no name, unknown OS), and members
//! are written in order. Where a block ends depends only on the input, so the output never depends on the number of
//! threads. It does depend on the compressor's version: no signature may ever contain this digest (decisions 3.4).

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::mpsc::{self, Receiver, Sender, SyncSender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use libdeflater::{CompressionLvl, Compressor};
use sha2::Digest as _;

use crate::ids::Digest;

const BLOCK: usize = 1 << 20;
const LEVEL: i32 = 3;

/// Compresses what is written to it into `W`.
///
/// At most a few blocks per core are in memory. Without [`finish`](Self::finish) the stream stays incomplete.
pub struct GzipWriter<W: Write> {
    out: Counted<W>,
    block: Vec<u8>,
    compressors: Compressors,
    pending: VecDeque<Receiver<io::Result<Vec<u8>>>>,
    any: bool,
}

impl<W: Write> GzipWriter<W> {
    /// On as many threads as the machine has cores.
    pub fn new(out: W) -> Self {
        Self::with_threads(out, thread::available_parallelism().map_or(1, usize::from))
    }

    fn with_threads(out: W, threads: usize) -> Self {
        Self {
            out: Counted::new(out),
            block: Vec::with_capacity(BLOCK),
            compressors: Compressors::start(threads.max(1)),
            pending: VecDeque::new(),
            any: false,
        }
    }

    /// Writes what is left. Gives back where it went, the digest of the compressed stream and its length in bytes.
    pub fn finish(mut self) -> io::Result<(W, Digest, u64)> {
        // Nothing at all is still a valid, empty member.
        if !self.block.is_empty() || !self.any {
            self.submit()?;
        }
        while !self.pending.is_empty() {
            self.write_oldest()?;
        }
        self.out.finish()
    }

    fn submit(&mut self) -> io::Result<()> {
        if self.pending.len() >= 2 * self.compressors.threads.len() {
            self.write_oldest()?;
        }
        let block = std::mem::replace(&mut self.block, Vec::with_capacity(BLOCK));
        self.pending.push_back(self.compressors.submit(block)?);
        self.any = true;
        Ok(())
    }

    fn write_oldest(&mut self) -> io::Result<()> {
        let Some(receiver) = self.pending.pop_front() else { return Ok(()) };
        let member = receiver.recv().map_err(|_| io::Error::other("a compressing thread has ended"))??;
        self.out.write_all(&member)
    }
}

impl<W: Write> Write for GzipWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(BLOCK - self.block.len());
        self.block.extend_from_slice(bytes.get(..taken).unwrap_or_default());
        if self.block.len() == BLOCK {
            self.submit()?;
        }
        Ok(taken)
    }

    /// Does nothing: a block is complete when it is full, or at the end.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// One gzip member over the whole stream, on one core, for consumers that cannot read several (spec/dependencies.md 4).
pub struct SingleGzipWriter<W: Write>(flate2::write::GzEncoder<Counted<W>>);

impl<W: Write> SingleGzipWriter<W> {
    pub fn new(out: W) -> Self {
        let builder = flate2::GzBuilder::new().mtime(0).operating_system(255);
        Self(builder.write(Counted::new(out), flate2::Compression::new(LEVEL.unsigned_abs())))
    }

    /// As [`GzipWriter::finish`].
    pub fn finish(self) -> io::Result<(W, Digest, u64)> {
        self.0.finish()?.finish()
    }
}

impl<W: Write> Write for SingleGzipWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

type Job = (Vec<u8>, SyncSender<io::Result<Vec<u8>>>);

/// Threads that turn blocks into members until no more can come.
struct Compressors {
    jobs: Option<Sender<Job>>,
    threads: Vec<thread::JoinHandle<()>>,
}

impl Compressors {
    fn start(threads: usize) -> Self {
        let (jobs, receiver) = mpsc::channel::<Job>();
        let receiver = Arc::new(Mutex::new(receiver));
        let threads = (0..threads).map(|_| {
            thread::spawn({
                let receiver = Arc::clone(&receiver);
                move || compress_all(&receiver)
            })
        });
        Self { jobs: Some(jobs), threads: threads.collect() }
    }

    fn submit(&self, block: Vec<u8>) -> io::Result<Receiver<io::Result<Vec<u8>>>> {
        let (sender, receiver) = mpsc::sync_channel(1);
        let sent = self.jobs.as_ref().map(|jobs| jobs.send((block, sender)));
        sent.and_then(Result::ok).map(|()| receiver).ok_or_else(|| io::Error::other("no compressing thread is left"))
    }
}

impl Drop for Compressors {
    fn drop(&mut self) {
        drop(self.jobs.take());
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn compress_all(jobs: &Mutex<Receiver<Job>>) {
    let mut compressor = Compressor::new(CompressionLvl::new(LEVEL).unwrap_or_default());
    loop {
        let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok((block, answer)) = job else { return };
        // Nobody waits for the answer when the writer was dropped.
        let _ = answer.send(member(&mut compressor, &block));
    }
}

fn member(compressor: &mut Compressor, block: &[u8]) -> io::Result<Vec<u8>> {
    let mut member = vec![0; compressor.gzip_compress_bound(block.len())];
    let length = compressor.gzip_compress(block, &mut member).map_err(io::Error::other)?;
    member.truncate(length);
    Ok(member)
}

/// Where compressed bytes go, with their digest and number.
struct Counted<W> {
    out: W,
    hash: sha2::Sha256,
    size: u64,
}

impl<W: Write> Counted<W> {
    fn new(out: W) -> Self {
        Self { out, hash: sha2::Sha256::new(), size: 0 }
    }

    fn finish(mut self) -> io::Result<(W, Digest, u64)> {
        self.out.flush()?;
        Ok((self.out, Digest::from_sha256(&self.hash.finalize()), self.size))
    }
}

impl<W: Write> Write for Counted<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.hash.update(bytes.get(..written).unwrap_or_default());
        self.size += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    fn sample(length: usize) -> Vec<u8> {
        (0..length).map(|at| (at * at / 97) as u8).collect()
    }

    fn gunzip(bytes: &[u8]) -> Vec<u8> {
        let mut plain = Vec::new();
        flate2::read::MultiGzDecoder::new(bytes).read_to_end(&mut plain).unwrap();
        plain
    }

    #[test]
    fn the_output_does_not_depend_on_threads_or_write_sizes() {
        for length in [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 9 * BLOCK + 17] {
            let plain = sample(length);
            let compress = |threads, piece: usize| {
                let mut writer = GzipWriter::with_threads(Vec::new(), threads);
                plain.chunks(piece).for_each(|chunk| writer.write_all(chunk).unwrap());
                writer.finish().unwrap()
            };
            let (one, digest, size) = compress(1, usize::MAX);
            assert_eq!(compress(7, 4093), (one.clone(), digest.clone(), size), "{length}");
            assert_eq!((Digest::of(&one), one.len() as u64), (digest, size));
            assert_eq!(gunzip(&one), plain);
        }
    }

    #[test]
    fn the_header_tells_nothing_of_the_host() {
        let (bytes, ..) = GzipWriter::new(Vec::new()).finish().unwrap();
        assert_eq!(bytes[..10], [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255]);
        let (bytes, ..) = SingleGzipWriter::new(Vec::new()).finish().unwrap();
        assert_eq!((&bytes[..8], bytes[9]), (&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0][..], 255));
    }

    #[test]
    fn a_single_member_holds_everything() {
        let plain = sample(3 * BLOCK);
        let mut writer = SingleGzipWriter::new(Vec::new());
        writer.write_all(&plain).unwrap();
        let (bytes, digest, size) = writer.finish().unwrap();
        assert_eq!((Digest::of(&bytes), bytes.len() as u64), (digest, size));
        let mut first = Vec::new();
        flate2::read::GzDecoder::new(&bytes[..]).read_to_end(&mut first).unwrap();
        assert_eq!(first, plain);
    }

    #[test]
    fn a_full_disk_is_reported_and_ends_the_threads() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::Error::from(io::ErrorKind::StorageFull))
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut writer = GzipWriter::new(Full);
        let written = writer.write_all(&sample(40 * BLOCK)).and_then(|()| writer.finish().map(drop));
        assert_eq!(written.unwrap_err().kind(), io::ErrorKind::StorageFull);
    }
}
