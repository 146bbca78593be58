//! Blobs: streamed down and up with memory that does not depend on their size, resumed after a cut, mounted where the
//! registry has them already.

use std::io::SeekFrom;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt};
use reqwest::header::{CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION, RANGE};
use reqwest::{Body, Method, Request, Response, StatusCode};
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncReadExt, AsyncSeekExt, AsyncWrite, AsyncWriteExt};
use tokio_util::io::ReaderStream;
use url::Url;

use super::auth::{Access, Host, Scope};
use super::client::{Client, api_url, found, header_digest};
use super::error::Error;
use super::manifest::Descriptor;
use super::reach::Origin;
use super::retry;
use super::wire::{Answer, Ask, Expect, Fault, asked_pause, busy_cause};
use crate::ids::Digest;
use crate::image_ref::ImageRef;

/// Bytes read from a file at a time.
const PIECE: usize = 256 << 10;
/// A cut after at least so many new bytes does not count against the attempts.
const PROGRESS: u64 = 1 << 20;
/// How long a registry may take to check and store a blob that it has received whole.
const STORING: Duration = Duration::from_secs(600);

/// Called with the number of bytes transferred so far; it may go back when a transfer starts again.
pub type Progress = Arc<dyn Fn(u64) + Send + Sync>;

/// Where the bytes of an upload come from.
#[derive(Clone, Debug)]
pub enum BlobSource {
    Bytes(Bytes),
    File(PathBuf),
    /// The same blob in another repository, of any registry; it passes through without touching the disk.
    Registry(ImageRef),
}

/// What an upload did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UploadOutcome {
    /// The repository had the blob.
    Existed,
    /// The registry took it from another of its repositories.
    Mounted,
    /// So many bytes, the size of the blob, were sent.
    Uploaded(u64),
}

impl Client {
    /// Writes a blob to `out`. Length and digest are checked: after an error what was written is not to be used.
    pub async fn blob(
        &self,
        name: &ImageRef,
        descriptor: &Descriptor,
        out: &mut (impl AsyncWrite + Unpin + Send),
        progress: &Progress,
    ) -> Result<(), Error> {
        let failed = |source| Error::Local { what: format!("writing blob {}", descriptor.digest), source };
        let mut download = Download::new(self, name, descriptor, 0);
        let mut hash = Sha256::new();
        while let Some(piece) = download.next().await? {
            hash.update(&piece);
            out.write_all(&piece).await.map_err(failed)?;
            progress(download.position);
        }
        out.flush().await.map_err(failed)?;
        check_digest(name, descriptor, Digest::from_sha256(&hash.finalize()))
    }

    /// Writes a blob to a file, which appears only when it is whole and checked.
    pub async fn blob_file(
        &self,
        name: &ImageRef,
        descriptor: &Descriptor,
        path: &Path,
        progress: &Progress,
    ) -> Result<(), Error> {
        let failed = |source| Error::Local { what: format!("writing `{}`", path.display()), source };
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let temporary = tempfile::NamedTempFile::new_in(directory).map_err(failed)?;
        let mut out = tokio::fs::File::from_std(temporary.as_file().try_clone().map_err(failed)?);
        self.blob(name, descriptor, &mut out, progress).await?;
        out.sync_all().await.map_err(failed)?;
        temporary.persist(path).map(drop).map_err(|error| failed(error.error))
    }

    /// A small blob, such as an image's configuration, of at most `limit` bytes.
    pub async fn blob_bytes(&self, name: &ImageRef, descriptor: &Descriptor, limit: u64) -> Result<Bytes, Error> {
        if descriptor.size > limit {
            let what = format!("blob {} of {}", descriptor.digest, name.name());
            return Err(Error::LengthMismatch { what, expected: limit, actual: descriptor.size });
        }
        let mut bytes = Vec::new();
        self.blob(name, descriptor, &mut bytes, &no_progress()).await?;
        Ok(Bytes::from(bytes))
    }

    pub async fn blob_exists(&self, name: &ImageRef, descriptor: &Descriptor) -> Result<bool, Error> {
        let host = self.host(name);
        let origin = host.origin(&self.wire).await?;
        let mut ask =
            Ask::get(api_url(&origin.base, &name.repository, &["blobs", descriptor.digest.as_str()])?, origin);
        ask.method = Method::HEAD;
        let answer = host.call(&self.wire, &Scope::new(&name.repository, Access::Push), &ask).await?;
        found(&ask, &answer)
    }

    /// Makes sure that a repository has a blob: looks, mounts it from `mount_from` (a repository of the same registry) if
    /// that is given, else uploads it in one request, which is taken up again where the registry says it was cut.
    pub async fn upload(
        &self,
        name: &ImageRef,
        descriptor: &Descriptor,
        source: &BlobSource,
        mount_from: Option<&str>,
        progress: &Progress,
    ) -> Result<UploadOutcome, Error> {
        if self.blob_exists(name, descriptor).await? {
            return Ok(UploadOutcome::Existed);
        }
        let upload = Upload { client: self, host: self.host(name), name, descriptor, source, progress };
        let Some(session) = upload.open(mount_from.filter(|from| *from != name.repository)).await? else {
            return Ok(UploadOutcome::Mounted);
        };
        upload.run(session).await?;
        Ok(UploadOutcome::Uploaded(descriptor.size))
    }
}

/// For callers that show none.
pub fn no_progress() -> Progress {
    Arc::new(|_| ())
}

/// A blob on its way down: pieces in order, whatever the connection does.
struct Download {
    client: Client,
    host: Arc<Host>,
    name: ImageRef,
    descriptor: Descriptor,
    /// Bytes given out so far.
    position: u64,
    /// Bytes of the answer that were given out before and are passed over.
    skip: u64,
    answer: Option<Response>,
    causes: Vec<String>,
    /// Where the last cut was that counted.
    cut_at: u64,
}

impl Download {
    fn new(client: &Client, name: &ImageRef, descriptor: &Descriptor, position: u64) -> Self {
        Self {
            client: client.clone(),
            host: client.host(name),
            name: name.clone(),
            descriptor: descriptor.clone(),
            position,
            skip: 0,
            answer: None,
            causes: Vec::new(),
            cut_at: position,
        }
    }

    async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        loop {
            let mut answer = match self.answer.take() {
                Some(answer) => answer,
                None if self.position == self.descriptor.size => return Ok(None),
                None => self.open().await?,
            };
            match self.client.wire.chunk(&mut answer).await {
                Ok(None) => return self.ended(),
                Ok(Some(piece)) => {
                    self.answer = Some(answer);
                    let new = self.unseen(piece);
                    if !new.is_empty() {
                        return self.advance(new).map(Some);
                    }
                }
                Err(Fault::Final(error)) => return Err(error),
                Err(Fault::Passing(cause, wait)) => self.cut(cause, wait).await?,
            }
        }
    }

    /// Asks for the rest. A registry that ignores the range sends all, and what is known is passed over.
    async fn open(&mut self) -> Result<Response, Error> {
        let origin = self.host.origin(&self.client.wire).await?;
        let segments = ["blobs", self.descriptor.digest.as_str()];
        let mut ask = Ask::get(api_url(&origin.base, &self.name.repository, &segments)?, origin);
        ask.expect = Expect::Stream;
        if self.position > 0
            && let Ok(range) = HeaderValue::from_str(&format!("bytes={}-", self.position))
        {
            ask.headers.insert(RANGE, range);
        }
        let scope = Scope::new(&self.name.repository, Access::Pull);
        let mut answer = self.host.call(&self.client.wire, &scope, &ask).await?;
        if answer.status == StatusCode::RANGE_NOT_SATISFIABLE {
            ask.headers.remove(RANGE);
            answer = self.host.call(&self.client.wire, &scope, &ask).await?;
        }
        let start = match answer.status {
            StatusCode::PARTIAL_CONTENT => {
                range_start(&answer).ok_or_else(|| ask.unusable("a part without a readable `Content-Range`"))?
            }
            _ => 0,
        };
        self.skip = self.position.checked_sub(start).ok_or_else(|| ask.unusable("a part that starts too late"))?;
        if !answer.status.is_success() {
            return Err(ask.refused(&answer));
        }
        answer.stream.ok_or_else(|| ask.unusable("it has no body"))
    }

    /// The part of a piece that was not given out before.
    fn unseen(&mut self, mut piece: Bytes) -> Bytes {
        let known = usize::try_from(self.skip).unwrap_or(usize::MAX).min(piece.len());
        self.skip -= known as u64;
        piece.split_off(known)
    }

    fn advance(&mut self, piece: Bytes) -> Result<Bytes, Error> {
        self.position = self.position.saturating_add(piece.len() as u64);
        if self.position > self.descriptor.size { Err(self.wrong_length()) } else { Ok(piece) }
    }

    fn ended(&self) -> Result<Option<Bytes>, Error> {
        if self.position == self.descriptor.size { Ok(None) } else { Err(self.wrong_length()) }
    }

    /// Notes a cut and waits. One that came after real progress starts a new count.
    async fn cut(&mut self, cause: String, wait: Option<Duration>) -> Result<(), Error> {
        if self.position.saturating_sub(self.cut_at) >= PROGRESS {
            self.causes.clear();
        }
        self.cut_at = self.position;
        let origin = self.host.origin(&self.client.wire).await?;
        let url = api_url(&origin.base, &self.name.repository, &["blobs", self.descriptor.digest.as_str()])?;
        self.client.wire.pause_or_give_up(&mut self.causes, cause, wait, &Method::GET, &url).await
    }

    fn wrong_length(&self) -> Error {
        let what = format!("blob {} of {}", self.descriptor.digest, self.name.name());
        Error::LengthMismatch { what, expected: self.descriptor.size, actual: self.position }
    }
}

/// A blob on its way up.
struct Upload<'a> {
    client: &'a Client,
    host: Arc<Host>,
    name: &'a ImageRef,
    descriptor: &'a Descriptor,
    source: &'a BlobSource,
    progress: &'a Progress,
}

/// An open upload: where to send, and how much the registry has.
struct Session {
    location: Url,
    offset: u64,
}

/// How one attempt to send ended.
enum Sent {
    Stored,
    /// The session is of no use any more; a new one may be.
    Lost(String),
}

impl Upload<'_> {
    /// Opens a session; `None` when the registry mounted the blob instead. A registry that cannot mount it answers with
    /// a session, which is used.
    async fn open(&self, mount_from: Option<&str>) -> Result<Option<Session>, Error> {
        let origin = self.host.origin(&self.client.wire).await?;
        let mut ask = Ask::get(api_url(&origin.base, &self.name.repository, &["blobs", "uploads", ""])?, origin);
        ask.method = Method::POST;
        ask.headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
        let mut scope = self.scope();
        if let Some(from) = mount_from {
            ask.url.query_pairs_mut().append_pair("mount", self.descriptor.digest.as_str()).append_pair("from", from);
            scope.mount_from = Some(from.to_owned());
        }
        let answer = match self.host.call(&self.client.wire, &scope, &ask).await {
            // The source may be out of our sight; that is no reason not to upload.
            Err(Error::Unauthorized { .. }) if mount_from.is_some() => return Box::pin(self.open(None)).await,
            other => other?,
        };
        match answer.status {
            StatusCode::CREATED if mount_from.is_some() => {
                self.check_stored(&ask, &answer)?;
                Ok(None)
            }
            StatusCode::ACCEPTED => Ok(Some(Session { location: location(&ask, &answer)?, offset: 0 })),
            _ if mount_from.is_some() && answer.status.is_client_error() => Box::pin(self.open(None)).await,
            _ if answer.status.is_success() => Err(ask.unusable(format!("unexpected status {}", answer.status))),
            _ => Err(ask.refused(&answer)),
        }
    }

    /// Sends until the registry has stored the blob or the attempts are used up.
    async fn run(&self, mut session: Session) -> Result<(), Error> {
        let mut causes = Vec::new();
        loop {
            let (cause, wait, lost) = match self.send_rest(&session).await {
                Ok(Sent::Stored) => return Ok(()),
                Ok(Sent::Lost(cause)) => (cause, None, true),
                Err(Fault::Passing(cause, wait)) => (cause, wait, false),
                Err(Fault::Final(error)) => return Err(error),
            };
            let wire = &self.client.wire;
            wire.pause_or_give_up(&mut causes, cause, wait, &Method::PUT, &session.location).await?;
            let resumed = if lost { None } else { self.state(&session).await? };
            session = match resumed {
                Some(session) => session,
                None => self.new_session().await?,
            };
        }
    }

    async fn new_session(&self) -> Result<Session, Error> {
        let session = self.open(None).await?;
        session.ok_or_else(|| Error::Setup { cause: "an upload was answered like a mount".to_owned() })
    }

    /// One attempt: all in one PUT, or after a cut the rest in a PATCH and an empty PUT.
    async fn send_rest(&self, session: &Session) -> Result<Sent, Fault> {
        if session.offset == 0 {
            let (ask, answer) = self.stream(Method::PUT, self.closing(&session.location), 0).await?;
            return self.judge(&ask, &answer);
        }
        let mut last = session.location.clone();
        if session.offset < self.descriptor.size {
            let (ask, answer) = self.stream(Method::PATCH, last, session.offset).await?;
            if !answer.status.is_success() {
                return self.judge(&ask, &answer);
            }
            last = location(&ask, &answer).map_err(Fault::Final)?;
        }
        let mut ask = Ask::get(self.closing(&last), self.origin().await?);
        ask.method = Method::PUT;
        ask.headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
        let answer = self.host.call(&self.client.wire, &self.scope(), &ask).await.map_err(Fault::Final)?;
        self.judge(&ask, &answer)
    }

    /// Sends the blob from `offset` on, once.
    async fn stream(&self, method: Method, url: Url, offset: u64) -> Result<(Ask<'_>, Answer), Fault> {
        let wire = &self.client.wire;
        let mut ask = Ask::get(url, self.origin().await?);
        ask.method = method;
        let authorization = self.host.authorization(wire, &self.scope(), None).await.map_err(Fault::Final)?;
        let activity = Arc::new(Activity::new(self.descriptor.size));
        let mut request = Request::new(ask.method.clone(), ask.url.clone());
        *request.headers_mut() = self.stream_headers(&ask.method, offset);
        *request.body_mut() = Some(self.body(offset, activity.clone()).await.map_err(Fault::Final)?);
        let response = tokio::select! {
            response = wire.execute(ask.home, request, authorization.as_ref()) => response?,
            () = activity.stalled(wire.options().patience) => {
                return Err(Fault::Passing("the upload came to a standstill".to_owned(), None));
            }
        };
        let answer = wire.read_answer(response).await?;
        Ok((ask, answer))
    }

    fn stream_headers(&self, method: &Method, offset: u64) -> HeaderMap {
        let size = self.descriptor.size;
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        headers.insert(CONTENT_LENGTH, HeaderValue::from(size.saturating_sub(offset)));
        if *method == Method::PATCH
            && let Ok(range) = HeaderValue::from_str(&format!("{offset}-{}", size.saturating_sub(1)))
        {
            headers.insert(CONTENT_RANGE, range);
        }
        headers
    }

    /// What the registry's answer to the last request of an upload means.
    fn judge(&self, ask: &Ask<'_>, answer: &Answer) -> Result<Sent, Fault> {
        let status = answer.status;
        if matches!(status, StatusCode::CREATED | StatusCode::NO_CONTENT) {
            return self.check_stored(ask, answer).map(|()| Sent::Stored).map_err(Fault::Final);
        }
        if retry::is_busy(status) {
            return Err(Fault::Passing(busy_cause(status, &answer.bytes), asked_pause(answer)));
        }
        // Upload unknown, token expired on the way, range not what the registry has: begin anew.
        if matches!(status.as_u16(), 401 | 404 | 416) {
            return Ok(Sent::Lost(status.to_string()));
        }
        Err(Fault::Final(ask.refused(answer)))
    }

    /// How much of a session the registry has; `None` when nothing can be taken up.
    async fn state(&self, session: &Session) -> Result<Option<Session>, Error> {
        let origin = self.host.origin(&self.client.wire).await?;
        let ask = Ask::get(session.location.clone(), origin);
        let Ok(answer) = self.host.call(&self.client.wire, &self.scope(), &ask).await else { return Ok(None) };
        let end = answer.header(RANGE.as_str()).and_then(|range| range.rsplit_once('-')?.1.parse::<u64>().ok());
        let offset = end.unwrap_or(0).saturating_add(1);
        // `0-0` stands for nothing as well as for one byte.
        if answer.status != StatusCode::NO_CONTENT || offset <= 1 || offset > self.descriptor.size {
            return Ok(None);
        }
        Ok(Some(Session { location: location(&ask, &answer).unwrap_or(ask.url), offset }))
    }

    async fn body(&self, offset: u64, activity: Arc<Activity>) -> Result<Body, Error> {
        let progress = self.progress.clone();
        let pieces = self.pieces(offset).await?;
        let mut sent = offset;
        let observed = pieces.inspect(move |piece| {
            sent = sent.saturating_add(piece.as_ref().map_or(0, |piece| piece.len() as u64));
            activity.note(sent);
            progress(sent);
        });
        Ok(Body::wrap_stream(observed))
    }

    async fn pieces(&self, offset: u64) -> Result<BoxStream<'static, std::io::Result<Bytes>>, Error> {
        match self.source {
            BlobSource::Bytes(bytes) => {
                self.check_source(bytes.len() as u64)?;
                let mut rest = bytes.clone().split_off(usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len()));
                let next = move || (!rest.is_empty()).then(|| Ok(rest.split_to(rest.len().min(PIECE))));
                Ok(stream::iter(std::iter::from_fn(next)).boxed())
            }
            BlobSource::File(path) => {
                let failed = |source| Error::Local { what: format!("reading `{}`", path.display()), source };
                let mut file = tokio::fs::File::open(path).await.map_err(failed)?;
                self.check_source(file.metadata().await.map_err(failed)?.len())?;
                file.seek(SeekFrom::Start(offset)).await.map_err(failed)?;
                let rest = file.take(self.descriptor.size.saturating_sub(offset));
                Ok(ReaderStream::with_capacity(rest, PIECE).boxed())
            }
            BlobSource::Registry(from) => {
                let download = Download::new(self.client, from, self.descriptor, offset);
                Ok(stream::try_unfold(download, async |mut download| {
                    let piece = download.next().await.map_err(std::io::Error::other)?;
                    Ok(piece.map(|piece| (piece, download)))
                })
                .boxed())
            }
        }
    }

    fn check_source(&self, actual: u64) -> Result<(), Error> {
        let expected = self.descriptor.size;
        if actual == expected {
            return Ok(());
        }
        let what = match self.source {
            BlobSource::File(path) => format!("`{}`, to be uploaded as {}", path.display(), self.descriptor.digest),
            _ => format!("content to be uploaded as {}", self.descriptor.digest),
        };
        Err(Error::LengthMismatch { what, expected, actual })
    }

    fn check_stored(&self, ask: &Ask<'_>, answer: &Answer) -> Result<(), Error> {
        match header_digest(ask, answer)? {
            Some(actual) => check_digest(self.name, self.descriptor, actual),
            None => Ok(()),
        }
    }

    /// The address that ends an upload.
    fn closing(&self, location: &Url) -> Url {
        let mut url = location.clone();
        url.query_pairs_mut().append_pair("digest", self.descriptor.digest.as_str());
        url
    }

    async fn origin(&self) -> Result<&Origin, Fault> {
        self.host.origin(&self.client.wire).await.map_err(Fault::Final)
    }

    fn scope(&self) -> Scope {
        Scope::new(&self.name.repository, Access::Push)
    }
}

/// When an upload last moved.
struct Activity {
    size: u64,
    last: Mutex<(Instant, u64)>,
}

impl Activity {
    fn new(size: u64) -> Self {
        Self { size, last: Mutex::new((Instant::now(), 0)) }
    }

    fn note(&self, sent: u64) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = (Instant::now(), sent);
    }

    /// Ends when nothing has moved for the patience; when all is sent the registry gets time to store it.
    async fn stalled(&self, patience: Duration) {
        loop {
            let (last, sent) = *self.last.lock().unwrap_or_else(PoisonError::into_inner);
            let due = last + if sent >= self.size { STORING.max(patience) } else { patience };
            if due <= Instant::now() {
                return;
            }
            tokio::time::sleep_until(due.into()).await;
        }
    }
}

fn check_digest(name: &ImageRef, descriptor: &Descriptor, actual: Digest) -> Result<(), Error> {
    let expected = descriptor.digest.clone();
    if actual == expected {
        return Ok(());
    }
    Err(Error::DigestMismatch { what: format!("blob of {}", name.name()), expected, actual })
}

/// The address where an upload goes on. It is checked again before anything is sent there.
fn location(ask: &Ask<'_>, answer: &Answer) -> Result<Url, Error> {
    let text = answer.header(LOCATION.as_str()).ok_or_else(|| ask.unusable("it has no `Location`"))?;
    answer.url.join(text).map_err(|_| ask.unusable("its `Location` is not an address"))
}

/// The first byte of `bytes 100-199/200`.
fn range_start(answer: &Answer) -> Option<u64> {
    let range = answer.header(CONTENT_RANGE.as_str())?.trim().strip_prefix("bytes")?;
    range.trim().split('-').next()?.parse().ok()
}
