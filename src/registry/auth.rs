//! Who we are to a registry: challenges, tokens, and which credentials may be shown to whom
//! (distribution specification "token authentication"; spec/hostile-inputs.md 19).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use reqwest::Method;
use reqwest::header::{CONTENT_TYPE, HeaderValue, WWW_AUTHENTICATE};
use tokio::sync::OnceCell;
use url::Url;

use super::docker_config::Credentials;
use super::error::{Error, parse_body, redacted};
use super::reach::{self, Origin};
use super::wire::{Answer, Ask, Expect, Wire};

const LARGEST_TOKEN_ANSWER: usize = 1 << 20;
/// What a token without `expires_in` is good for (distribution specification).
const DEFAULT_LIFETIME: u64 = 60;

/// What is known of one registry. Shared by all calls, so that each fact is found out once.
pub struct Host {
    pub registry: String,
    origin: OnceCell<Origin>,
    credentials: OnceCell<Option<Credentials>>,
    challenge: Mutex<Option<Challenge>>,
    tokens: Mutex<HashMap<Scope, TokenSlot>>,
}

/// Locked while a token is fetched: callers of the same scope wait for one request.
type TokenSlot = Arc<tokio::sync::Mutex<Option<Token>>>;

struct Token {
    header: HeaderValue,
    good_until: Instant,
}

/// What a call needs to be allowed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Scope {
    pub repository: String,
    pub access: Access,
    /// A repository to read from as well, for a mount.
    pub mount_from: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Access {
    /// Nothing in particular: is the user known?
    Login,
    Pull,
    Push,
    Delete,
}

/// How a registry wants to be told who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Challenge {
    Basic,
    Bearer { realm: Url, service: String },
}

impl Host {
    pub fn new(registry: &str) -> Self {
        Self {
            registry: registry.to_owned(),
            origin: OnceCell::new(),
            credentials: OnceCell::new(),
            challenge: Mutex::default(),
            tokens: Mutex::default(),
        }
    }

    /// A registry asked with given credentials instead of configured ones.
    pub fn with_credentials(registry: &str, credentials: Credentials) -> Self {
        Self { credentials: OnceCell::new_with(Some(Some(credentials))), ..Self::new(registry) }
    }

    pub async fn origin(&self, wire: &Wire) -> Result<&Origin, Error> {
        self.origin.get_or_try_init(|| wire.find_origin(&self.registry)).await
    }

    /// Sends with the authorization that the registry asked for earlier, and once more when it asks now.
    pub async fn call(&self, wire: &Wire, scope: &Scope, ask: &Ask<'_>) -> Result<Answer, Error> {
        let shown = self.authorization(wire, scope, None).await?;
        let answer = wire.send(ask, shown.as_ref()).await?;
        if !self.is_challenge(ask.home, &answer) {
            return Ok(answer);
        }
        self.learn(&answer);
        let renewed = self.authorization(wire, scope, shown.as_ref()).await?;
        if renewed.is_none() {
            return Err(self.unauthorized(ask, "it", &answer));
        }
        let answer = wire.send(ask, renewed.as_ref()).await?;
        if self.is_challenge(ask.home, &answer) {
            return Err(self.unauthorized(ask, "it", &answer));
        }
        Ok(answer)
    }

    /// The header for a scope. `stale` is one that the registry has just refused.
    pub async fn authorization(
        &self,
        wire: &Wire,
        scope: &Scope,
        stale: Option<&HeaderValue>,
    ) -> Result<Option<HeaderValue>, Error> {
        let challenge = self.challenge.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(challenge) = challenge else { return Ok(None) };
        let credentials = self.credentials(wire).await?;
        match (challenge, credentials) {
            (_, Some(Credentials::RegistryToken(token))) => bearer_header(token).map(Some),
            (Challenge::Basic, Some(Credentials::Basic { user, password })) => basic_header(user, password).map(Some),
            (Challenge::Basic, _) => Ok(None),
            (Challenge::Bearer { realm, service }, credentials) => {
                if let Some(wider) = self.live_push_token(scope, stale) {
                    return Ok(Some(wider));
                }
                let slot = self.slot(scope);
                let mut token = slot.lock().await;
                let live = token.as_ref().filter(|token| token.good_until > Instant::now());
                if let Some(live) = live.filter(|live| stale != Some(&live.header)) {
                    return Ok(Some(live.header.clone()));
                }
                let fresh = self.fetch_token(wire, &realm, &service, scope, credentials).await?;
                let header = fresh.header.clone();
                *token = Some(fresh);
                Ok(Some(header))
            }
        }
    }

    async fn credentials(&self, wire: &Wire) -> Result<Option<&Credentials>, Error> {
        let read = async || Ok::<_, Error>(wire.options().docker_config.credentials(&self.registry).await?);
        Ok(self.credentials.get_or_try_init(read).await?.as_ref())
    }

    /// A 401 of the registry itself; one of a storage it redirected to says nothing about our login.
    fn is_challenge(&self, home: &Origin, answer: &Answer) -> bool {
        answer.status == reqwest::StatusCode::UNAUTHORIZED && reach::same_origin(&home.base, &answer.url)
    }

    fn learn(&self, answer: &Answer) {
        let headers = answer.headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok());
        if let Some(challenge) = headers.filter_map(parse_challenge).max_by_key(|it| *it != Challenge::Basic) {
            *self.challenge.lock().unwrap_or_else(PoisonError::into_inner) = Some(challenge);
        }
    }

    async fn fetch_token(
        &self,
        wire: &Wire,
        realm: &Url,
        service: &str,
        scope: &Scope,
        credentials: Option<&Credentials>,
    ) -> Result<Token, Error> {
        let home = self.origin(wire).await?;
        self.check_realm(wire, home, realm, credentials.is_some())?;
        // For this one request the token service is "home": the header goes there, and not along with a redirect.
        let service_origin = Origin { base: realm.clone(), reach: reach::realm_reach(home, realm) };
        let (ask, authorization) = token_request(&service_origin, service, scope, credentials)?;
        let answer = wire.send(&ask, authorization.as_ref()).await?;
        if matches!(answer.status.as_u16(), 400 | 401 | 403) {
            return Err(self.unauthorized(&ask, "its token service", &answer));
        }
        if !answer.status.is_success() {
            return Err(ask.refused(&answer));
        }
        parse_token(&answer.bytes).map_err(|reason| ask.unusable(reason))
    }

    fn check_realm(&self, wire: &Wire, home: &Origin, realm: &Url, with_credentials: bool) -> Result<(), Error> {
        if with_credentials {
            let host = realm.host_str().unwrap_or_default();
            let port = realm.port().map_or(String::new(), |port| format!(":{port}"));
            let by_user = wire.options().allows_plain_http(&format!("{host}{port}"));
            let (registry, shown) = (self.registry.clone(), redacted(realm));
            reach::check_realm(home, realm, by_user).map_err(|reason| Error::Realm {
                registry,
                realm: shown,
                reason,
            })?;
        }
        let limit = Origin { base: home.base.clone(), reach: reach::realm_reach(home, realm) };
        reach::check_target(&limit, realm).map_err(|denied| Error::redirect(home, &Method::GET, realm, denied))
    }

    /// `who` of the registry says no, perhaps with a message.
    fn unauthorized(&self, ask: &Ask<'_>, who: &str, answer: &Answer) -> Error {
        let known = matches!(self.credentials.get(), Some(Some(_)));
        let refuses =
            if known { "does not accept the credentials" } else { "asks for a login, and no credentials are known" };
        let (_, message) = parse_body(&answer.bytes);
        let colon = if message.is_empty() { "" } else { ": " };
        let (registry, url) = (self.registry.clone(), redacted(&ask.url));
        let reason = format!("{who} {refuses}{colon}{message}");
        Error::Unauthorized { registry, method: ask.method.clone(), url, reason }
    }

    /// A token for pushing also serves pulling: one round trip less.
    fn live_push_token(&self, scope: &Scope, stale: Option<&HeaderValue>) -> Option<HeaderValue> {
        if scope.access != Access::Pull || scope.mount_from.is_some() {
            return None;
        }
        let wider = Scope { access: Access::Push, ..scope.clone() };
        let slot = self.tokens.lock().unwrap_or_else(PoisonError::into_inner).get(&wider).cloned()?;
        let token = slot.try_lock().ok()?;
        let live = token.as_ref().filter(|token| token.good_until > Instant::now())?;
        (stale != Some(&live.header)).then(|| live.header.clone())
    }

    fn slot(&self, scope: &Scope) -> TokenSlot {
        self.tokens.lock().unwrap_or_else(PoisonError::into_inner).entry(scope.clone()).or_default().clone()
    }
}

impl Scope {
    pub fn new(repository: &str, access: Access) -> Self {
        Self { repository: repository.to_owned(), access, mount_from: None }
    }

    /// The values of the `scope` parameter.
    fn values(&self) -> Vec<String> {
        let actions = match self.access {
            Access::Login => return Vec::new(),
            Access::Pull => "pull",
            Access::Push => "pull,push",
            Access::Delete => "pull,push,delete",
        };
        let from = self.mount_from.iter().map(|from| format!("repository:{from}:pull"));
        std::iter::once(format!("repository:{}:{actions}", self.repository)).chain(from).collect()
    }
}

/// The request for a token: a GET with the user's password, or a POST that trades an identity token (OAuth 2).
fn token_request<'a>(
    service_origin: &'a Origin,
    service: &str,
    scope: &Scope,
    credentials: Option<&Credentials>,
) -> Result<(Ask<'a>, Option<HeaderValue>), Error> {
    let mut parameters: Vec<(&str, String)> = Vec::new();
    if !service.is_empty() {
        parameters.push(("service", service.to_owned()));
    }
    parameters.extend(scope.values().into_iter().map(|value| ("scope", value)));
    let mut ask = Ask::get(service_origin.base.clone(), service_origin);
    ask.expect = Expect::Bytes(LARGEST_TOKEN_ANSWER);
    if let Some(Credentials::IdentityToken(token)) = credentials {
        // OAuth 2 takes one `scope` with spaces.
        parameters.retain(|(name, _)| *name != "scope");
        parameters.push(("scope", scope.values().join(" ")));
        parameters.push(("grant_type", "refresh_token".to_owned()));
        parameters.push(("client_id", "slipway".to_owned()));
        parameters.push(("refresh_token", token.clone()));
        let form = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(parameters).finish();
        ask.method = Method::POST;
        ask.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        ask.body = Bytes::from(form);
        return Ok((ask, None));
    }
    let mut authorization = None;
    if let Some(Credentials::Basic { user, password }) = credentials {
        parameters.push(("account", user.clone()));
        authorization = Some(basic_header(user, password)?);
    }
    ask.url.query_pairs_mut().extend_pairs(parameters);
    Ok((ask, authorization))
}

/// The answer of a token service. Nothing of it is ever quoted.
fn parse_token(body: &[u8]) -> Result<Token, &'static str> {
    #[derive(serde::Deserialize)]
    struct Body {
        token: Option<String>,
        access_token: Option<String>,
        expires_in: Option<u64>,
    }
    let body: Body = serde_json::from_slice(body).map_err(|_| "it is not the JSON of a token")?;
    let text = body.token.or(body.access_token).filter(|text| !text.is_empty()).ok_or("it holds no token")?;
    let header = bearer_header(&text).map_err(|_| "its token has characters that no header can have")?;
    // Renewed a little before it ends; a lifetime of days is not believed.
    let lifetime = Duration::from_secs(body.expires_in.unwrap_or(DEFAULT_LIFETIME).clamp(10, 24 * 3600));
    Ok(Token { header, good_until: Instant::now() + lifetime.mul_f32(0.8) })
}

fn basic_header(user: &str, password: &str) -> Result<HeaderValue, Error> {
    secret_header(format!("Basic {}", BASE64.encode(format!("{user}:{password}"))))
}

fn bearer_header(token: &str) -> Result<HeaderValue, Error> {
    secret_header(format!("Bearer {token}"))
}

/// A header value that `Debug` does not show.
fn secret_header(text: String) -> Result<HeaderValue, Error> {
    let invalid = |_| Error::Invalid {
        what: "the credentials".to_owned(),
        reason: "they have characters that no header can have".to_owned(),
    };
    let mut header = HeaderValue::try_from(text).map_err(invalid)?;
    header.set_sensitive(true);
    Ok(header)
}

/// Reads a `WWW-Authenticate` header, which may hold several challenges: `Bearer` if it is there, else `Basic`.
pub fn parse_challenge(header: &str) -> Option<Challenge> {
    let mut basic = false;
    let mut in_bearer = false;
    let (mut realm, mut service) = (None, String::new());
    let mut rest = header.trim();
    while !rest.is_empty() {
        let (word, after) = rest.split_at(rest.find([' ', ',', '=']).unwrap_or(rest.len()));
        let Some(value) = after.strip_prefix('=') else {
            in_bearer = word.eq_ignore_ascii_case("bearer");
            basic |= word.eq_ignore_ascii_case("basic");
            rest = after.trim_start_matches([' ', ',']);
            continue;
        };
        let (value, after) = parameter_value(value);
        match word.to_ascii_lowercase().as_str() {
            "realm" if in_bearer => realm = Url::parse(&value).ok(),
            "service" if in_bearer => service = value,
            _ => {}
        }
        rest = after.trim_start_matches([' ', ',']);
    }
    match realm {
        Some(realm) => Some(Challenge::Bearer { realm, service }),
        None => basic.then_some(Challenge::Basic),
    }
}

/// A quoted string with backslash escapes, or a token, and what follows it.
fn parameter_value(text: &str) -> (String, &str) {
    let Some(quoted) = text.strip_prefix('"') else {
        let (value, rest) = text.split_at(text.find([',', ' ']).unwrap_or(text.len()));
        return (value.to_owned(), rest);
    };
    let mut value = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return (value, quoted.get(at + 1..).unwrap_or_default()),
            '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
            other => value.push(other),
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_come_alone_or_together() {
        let bearer = |realm: &str, service: &str| {
            Some(Challenge::Bearer { realm: realm.parse().unwrap(), service: service.to_owned() })
        };
        for (header, expected) in [
            (
                r#"Bearer realm="https://a.io/token",service="a.io",scope="repository:x:pull,push""#,
                bearer("https://a.io/token", "a.io"),
            ),
            (r#"bearer service=s, realm=https://a.io/t"#, bearer("https://a.io/t", "s")),
            (
                r#"Basic realm="Registry", Bearer realm="https://a.io/t\"x", service="a, b""#,
                bearer("https://a.io/t\"x", "a, b"),
            ),
            (r#"Bearer realm="https://a.io/t", Basic realm="other""#, bearer("https://a.io/t", "")),
            (r#"Basic realm="Sonatype Nexus Repository Manager""#, Some(Challenge::Basic)),
            (r#"Bearer realm="not a url""#, None),
            (r#"Negotiate"#, None),
            (r#"Bearer realm="unclosed"#, None),
            ("", None),
            ("=,= =\"", None),
        ] {
            assert_eq!(parse_challenge(header), expected, "{header}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_header_is_read_to_its_end(header in r#"([Bb]earer|Basic|realm|service|[=," \\\\]|\\PC){0,40}"#) {
            let _ = parse_challenge(&header);
        }
    }

    #[test]
    fn a_mount_asks_to_read_its_source_too() {
        let scope = Scope { mount_from: Some("base/python".to_owned()), ..Scope::new("group/app", Access::Push) };
        assert_eq!(scope.values(), ["repository:group/app:pull,push", "repository:base/python:pull"]);
    }
}
