//! A blob on its way down: streamed, and taken up again after a cut.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{CONTENT_RANGE, HeaderValue, RANGE};
use reqwest::{Method, Response, StatusCode};

use super::auth::{Access, Host, Scope};
use super::client::{Client, api_url};
use super::error::Error;
use super::manifest::Descriptor;
use super::wire::{Answer, Ask, Expect, Fault};
use crate::image_ref::ImageRef;

/// A cut after at least so many new bytes does not count against the attempts.
const PROGRESS: u64 = 1 << 20;

/// A blob on its way down: pieces in order, whatever the connection does.
pub struct Download {
    client: Client,
    host: Arc<Host>,
    name: ImageRef,
    descriptor: Descriptor,
    /// Bytes given out so far.
    pub position: u64,
    /// Bytes of the answer that were given out before and are passed over.
    skip: u64,
    answer: Option<Response>,
    causes: Vec<String>,
    /// Where the last cut was that counted.
    cut_at: u64,
}

impl Download {
    /// From byte `position` on.
    pub fn new(client: &Client, name: &ImageRef, descriptor: &Descriptor, position: u64) -> Self {
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

    /// The next piece; `None` after the last. The digest is not checked here.
    pub async fn next(&mut self) -> Result<Option<Bytes>, Error> {
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

/// The first byte of `bytes 100-199/200`.
fn range_start(answer: &Answer) -> Option<u64> {
    let range = answer.header(CONTENT_RANGE.as_str())?.trim().strip_prefix("bytes")?;
    range.trim().split('-').next()?.parse().ok()
}
