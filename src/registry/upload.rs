//! A blob on its way up: in one request, taken up again after a cut where the registry says.

use std::io::SeekFrom;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::stream::{self, BoxStream, StreamExt};
use reqwest::header::{CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION, RANGE};
use reqwest::{Body, Method, Request, StatusCode};
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use tokio_util::io::ReaderStream;
use url::Url;

use super::auth::{Access, Host, Scope};
use super::client::{Client, api_url, header_digest};
use super::download::Download;
use super::error::Error;
use super::manifest::Descriptor;
use super::reach::Origin;
use super::retry;
use super::transfer::{BlobSource, Progress, check_digest};
use super::wire::{Answer, Ask, Fault, asked_pause, busy_cause};
use crate::image_ref::ImageRef;

/// Bytes read from a file at a time.
const PIECE: usize = 256 << 10;
/// How long a registry may take to check and store a blob that it has received whole.
const STORING: Duration = Duration::from_secs(600);

/// A blob on its way up.
pub struct Upload<'a> {
    pub client: &'a Client,
    pub host: Arc<Host>,
    pub name: &'a ImageRef,
    pub descriptor: &'a Descriptor,
    pub source: &'a BlobSource,
    pub progress: &'a Progress,
}

/// An open upload: where to send, and how much the registry has.
pub struct Session {
    location: Url,
    offset: u64,
}

/// What a registry makes of the wish to mount.
enum Mounted {
    Done,
    /// It cannot, and takes the bytes instead.
    Session(Session),
}

impl Session {
    fn begin(ask: &Ask<'_>, answer: &Answer) -> Result<Self, Error> {
        Ok(Self { location: location(ask, answer)?, offset: 0 })
    }
}

/// How one attempt to send ended.
enum Sent {
    Stored,
    /// The session is of no use any more; a new one may be.
    Lost(String),
}

impl Upload<'_> {
    /// Mounts the blob if it can be had from another repository (`None`), else opens a session.
    pub async fn start(&self, mount_from: Option<&str>) -> Result<Option<Session>, Error> {
        if let Some(from) = mount_from
            && let Some(mounted) = self.mount(from).await?
        {
            return Ok(match mounted {
                Mounted::Done => None,
                Mounted::Session(session) => Some(session),
            });
        }
        self.open().await.map(Some)
    }

    /// Asks the registry to take the blob from another of its repositories. `None` when it refuses: the source may be out of
    /// our sight, and that is no reason not to upload.
    async fn mount(&self, from: &str) -> Result<Option<Mounted>, Error> {
        let mut ask = self.ask_session().await?;
        ask.url.query_pairs_mut().append_pair("mount", self.descriptor.digest.as_str()).append_pair("from", from);
        let scope = Scope { mount_from: Some(from.to_owned()), ..self.scope() };
        let answer = match self.host.call(&self.client.wire, &scope, &ask).await {
            Err(Error::Unauthorized { .. }) => return Ok(None),
            other => other?,
        };
        match answer.status {
            StatusCode::CREATED => self.check_stored(&ask, &answer).map(|()| Some(Mounted::Done)),
            StatusCode::ACCEPTED => Ok(Some(Mounted::Session(Session::begin(&ask, &answer)?))),
            _ => Ok(None),
        }
    }

    async fn open(&self) -> Result<Session, Error> {
        let ask = self.ask_session().await?;
        let answer = self.host.call(&self.client.wire, &self.scope(), &ask).await?;
        match answer.status {
            StatusCode::ACCEPTED => Session::begin(&ask, &answer),
            status if status.is_success() => Err(ask.unusable(format!("unexpected status {status}"))),
            _ => Err(ask.refused(&answer)),
        }
    }

    async fn ask_session(&self) -> Result<Ask<'_>, Error> {
        let origin = self.host.origin(&self.client.wire).await?;
        let mut ask = Ask::get(api_url(&origin.base, &self.name.repository, &["blobs", "uploads", ""])?, origin);
        ask.method = Method::POST;
        ask.headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
        Ok(ask)
    }

    /// Sends until the registry has stored the blob or the attempts are used up.
    pub async fn run(&self, mut session: Session) -> Result<(), Error> {
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
                None => self.open().await?,
            };
        }
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

/// The address where an upload goes on. It is checked again before anything is sent there.
fn location(ask: &Ask<'_>, answer: &Answer) -> Result<Url, Error> {
    let text = answer.header(LOCATION.as_str()).ok_or_else(|| ask.unusable("it has no `Location`"))?;
    answer.url.join(text).map_err(|_| ask.unusable("its `Location` is not an address"))
}
