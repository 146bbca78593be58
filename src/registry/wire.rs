//! One request on its way: retried while the registry is busy, redirected as far as `reach` allows, with limits on time
//! and size. Knows nothing of tokens beyond the header it is given.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::{Bytes, BytesMut};
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue, LOCATION, RETRY_AFTER};
use reqwest::{Method, Request, Response, StatusCode};
use url::Url;

use super::client::Options;
use super::connect::{self, Connections};
use super::error::{Error, parse_body, printable, redacted};
use super::reach::{self, Origin};
use super::retry;

const MOST_REDIRECTS: usize = 5;
/// Of an error answer no more than this is read.
const ERROR_BODY: usize = 64 << 10;
/// A port that says nothing to a TLS greeting for so long does not speak TLS.
const TLS_TIMEOUT: Duration = Duration::from_secs(5);

/// The way to all registries.
pub struct Wire {
    connections: Connections,
    options: Options,
}

/// A request to a registry or to what it named.
pub struct Ask<'a> {
    pub method: Method,
    pub url: Url,
    pub headers: HeaderMap,
    pub body: Bytes,
    /// The registry on whose behalf this is asked.
    pub home: &'a Origin,
    pub expect: Expect,
}

/// What to do with the body of a good answer.
#[derive(Clone, Copy)]
pub enum Expect {
    /// Read it, at most so many bytes.
    Bytes(usize),
    /// Leave it to the caller.
    Stream,
}

pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    /// Where the answer came from, after redirects.
    pub url: Url,
    pub bytes: Bytes,
    /// The unread body of a good answer, when asked for.
    pub stream: Option<Response>,
}

/// A failed attempt.
pub enum Fault {
    /// May pass: worth another attempt, not before the pause that the registry asked for.
    Passing(String, Option<Duration>),
    Final(Error),
}

impl<'a> Ask<'a> {
    /// A GET whose body is of no interest.
    pub fn get(url: Url, home: &'a Origin) -> Self {
        let (headers, body) = (HeaderMap::new(), Bytes::new());
        Self { method: Method::GET, url, headers, body, home, expect: Expect::Bytes(ERROR_BODY) }
    }

    /// An answer that breaks the specification or a limit.
    pub fn unusable(&self, reason: impl Into<String>) -> Error {
        Error::Answer { method: self.method.clone(), url: redacted(&self.url), reason: reason.into() }
    }

    /// The registry's "no".
    pub fn refused(&self, answer: &Answer) -> Error {
        let (code, message) = parse_body(&answer.bytes);
        let url = redacted(&self.url);
        Error::Refused { method: self.method.clone(), url, status: answer.status, code, message }
    }
}

impl Answer {
    fn of(response: &Response) -> Self {
        let (status, headers) = (response.status(), response.headers().clone());
        Self { status, headers, url: response.url().clone(), bytes: Bytes::new(), stream: None }
    }

    /// A header that is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

impl Wire {
    pub fn new(options: Options) -> Self {
        Self { connections: Connections::new(), options }
    }

    pub fn options(&self) -> &Options {
        &self.options
    }

    /// Sends until an answer comes that is not "not now", or the attempts are used up.
    pub async fn send(&self, ask: &Ask<'_>, authorization: Option<&HeaderValue>) -> Result<Answer, Error> {
        let mut causes = Vec::new();
        loop {
            let (cause, wait) = match self.attempt(ask, authorization).await {
                Ok(answer) => return Ok(answer),
                Err(Fault::Final(error)) => return Err(error),
                Err(Fault::Passing(cause, wait)) => (cause, wait),
            };
            self.pause_or_give_up(&mut causes, cause, wait, &ask.method, &ask.url).await?;
        }
    }

    /// Notes a failed attempt and waits for the next one; an error when there is none left.
    pub async fn pause_or_give_up(
        &self,
        causes: &mut Vec<String>,
        cause: String,
        wait: Option<Duration>,
        method: &Method,
        url: &Url,
    ) -> Result<(), Error> {
        causes.push(cause);
        let failed = u32::try_from(causes.len()).unwrap_or(u32::MAX);
        if failed >= self.options.attempts {
            let causes = std::mem::take(causes);
            return Err(Error::GaveUp { method: method.clone(), url: redacted(url), causes });
        }
        tokio::time::sleep(retry::pause(self.options.pause, failed, wait)).await;
        Ok(())
    }

    /// Where a registry's API is. Registries are https, except on this machine and where the user allowed plain HTTP: there
    /// the port is asked once whether it speaks TLS.
    pub async fn find_origin(&self, registry: &str) -> Result<Origin, Error> {
        let host = if registry == "docker.io" { "registry-1.docker.io" } else { registry };
        let parse = |scheme: &str| {
            let (what, text) = (format!("registry `{}`", printable(registry, 100)), format!("{scheme}://{host}/"));
            Url::parse(&text).map_err(|error| Error::Invalid { what, reason: error.to_string() })
        };
        let mut base = parse("https")?;
        let reach = connect::resolved_reach(&base).await;
        let plain_allowed = reach::is_loopback_host(&base) || self.options.allows_plain_http(registry);
        let origin = Origin { base: base.clone(), reach };
        if plain_allowed && !self.speaks_tls(&origin).await? {
            base = parse("http")?;
        }
        Ok(Origin { base, reach })
    }

    /// One HTTP exchange without retry, redirect or time limit, for bodies that are streamed.
    pub async fn execute(
        &self,
        home: &Origin,
        mut request: Request,
        authorization: Option<&HeaderValue>,
    ) -> Result<Response, Fault> {
        let (method, url) = (request.method().clone(), request.url().clone());
        reach::check_target(home, &url).map_err(|denied| Fault::Final(Error::redirect(home, &method, &url, denied)))?;
        if let Some(authorization) = authorization.filter(|_| reach::same_origin(&home.base, &url)) {
            request.headers_mut().insert(AUTHORIZATION, authorization.clone());
        }
        let client = self.connections.client(home.reach, &self.options).map_err(Fault::Final)?;
        client.execute(request).await.map_err(|error| connect::fault(&error.without_url(), home, &method, &url))
    }

    /// Waits for something of an answer, but no longer than the patience.
    pub async fn patiently<T>(&self, what: impl Future<Output = Result<T, Fault>>) -> Result<T, Fault> {
        let patience = self.options.patience;
        let late = |_| Fault::Passing(format!("no answer within {} s", patience.as_secs_f32()), None);
        tokio::time::timeout(patience, what).await.map_err(late)?
    }

    /// The next piece of a body.
    pub async fn chunk(&self, response: &mut Response) -> Result<Option<Bytes>, Fault> {
        let broken = |error: reqwest::Error| {
            Fault::Passing(format!("the answer broke off: {}", connect::innermost(&error.without_url())), None)
        };
        self.patiently(async { response.chunk().await.map_err(broken) }).await
    }

    /// The answer to an exchange whose body is of no interest beyond an error's text.
    pub async fn read_answer(&self, mut response: Response) -> Result<Answer, Fault> {
        let mut answer = Answer::of(&response);
        answer.bytes = self.read_some(&mut response, ERROR_BODY).await?;
        Ok(answer)
    }

    async fn attempt(&self, ask: &Ask<'_>, authorization: Option<&HeaderValue>) -> Result<Answer, Fault> {
        let mut response = self.follow(ask, authorization).await?;
        let mut answer = Answer::of(&response);
        if retry::is_busy(answer.status) {
            let body = self.read_some(&mut response, ERROR_BODY).await.unwrap_or_default();
            return Err(Fault::Passing(busy_cause(answer.status, &body), asked_pause(&answer)));
        }
        match ask.expect {
            _ if ask.method == Method::HEAD => {}
            _ if !answer.status.is_success() => answer.bytes = self.read_some(&mut response, ERROR_BODY).await?,
            Expect::Stream => answer.stream = Some(response),
            Expect::Bytes(limit) => {
                answer.bytes = self.read_some(&mut response, limit.saturating_add(1)).await?;
                if answer.bytes.len() > limit {
                    return Err(Fault::Final(ask.unusable(format!("it is larger than {limit} bytes"))));
                }
            }
        }
        Ok(answer)
    }

    /// Sends one request and follows redirects of reading ones. The authorization stays with the registry.
    async fn follow(&self, ask: &Ask<'_>, authorization: Option<&HeaderValue>) -> Result<Response, Fault> {
        let mut url = ask.url.clone();
        for _ in 0..=MOST_REDIRECTS {
            let mut request = Request::new(ask.method.clone(), url.clone());
            *request.headers_mut() = ask.headers.clone();
            if !matches!(ask.method, Method::GET | Method::HEAD | Method::DELETE) {
                *request.body_mut() = Some(ask.body.clone().into());
            }
            let exchange = self.execute(ask.home, request, authorization);
            let response = self.patiently(exchange).await?;
            let reading = matches!(ask.method, Method::GET | Method::HEAD);
            if !(reading && matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308)) {
                return Ok(response);
            }
            let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
            let target = location.and_then(|text| url.join(text).ok());
            url = target.ok_or_else(|| Fault::Final(ask.unusable("a redirect without a usable `Location`")))?;
        }
        Err(Fault::Final(ask.unusable(format!("more than {MOST_REDIRECTS} redirects"))))
    }

    /// Reads a small body, at most `limit` bytes of it, within four times the patience in all.
    async fn read_some(&self, response: &mut Response, limit: usize) -> Result<Bytes, Fault> {
        let reading = async {
            let mut bytes = BytesMut::new();
            while bytes.len() < limit {
                let Some(chunk) = self.chunk(response).await? else { break };
                let room = limit - bytes.len();
                bytes.extend_from_slice(chunk.get(..room).unwrap_or(&chunk));
            }
            Ok(bytes.freeze())
        };
        let late = |_| Fault::Passing("the answer comes too slowly".to_owned(), None);
        tokio::time::timeout(self.options.patience.saturating_mul(4), reading).await.map_err(late)?
    }

    /// Whether a port where plain HTTP is allowed speaks TLS all the same. A bad certificate is TLS too.
    async fn speaks_tls(&self, origin: &Origin) -> Result<bool, Error> {
        let url = origin.base.join("v2/").unwrap_or_else(|_| origin.base.clone());
        let mut causes = Vec::new();
        loop {
            let client = self.connections.client(origin.reach, &self.options)?;
            let request = client.execute(Request::new(Method::GET, url.clone()));
            let cause = match tokio::time::timeout(TLS_TIMEOUT.min(self.options.patience), request).await {
                Ok(Ok(_)) => return Ok(true),
                Ok(Err(error)) if connect::is_certificate_fault(&error) => return Ok(true),
                Ok(Err(error)) if connect::was_connected(&error) => return Ok(false),
                Ok(Err(error)) => connect::cause(&error.without_url()),
                Err(_) => return Ok(false),
            };
            self.pause_or_give_up(&mut causes, cause, None, &Method::GET, &url).await?;
        }
    }
}

/// The pause that an answer asks for.
pub fn asked_pause(answer: &Answer) -> Option<Duration> {
    answer.header(RETRY_AFTER.as_str()).and_then(|value| retry::retry_after(value, now()))
}

/// A busy answer in few words.
pub fn busy_cause(status: StatusCode, body: &[u8]) -> String {
    match parse_body(body) {
        (_, message) if message.is_empty() => status.to_string(),
        (_, message) => format!("{status}: {message}"),
    }
}

fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).ok().and_then(|since| i64::try_from(since.as_secs()).ok()).unwrap_or(0)
}
