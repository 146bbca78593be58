//! The client: manifests, tags, login. Blobs are in `transfer`.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, LINK};
use reqwest::{Method, StatusCode};
use url::Url;

use super::auth::{Access, Host, Scope};
use super::docker_config::{Credentials, DockerConfig};
use super::error::Error;
use super::manifest::{self, Document, FetchedManifest, Manifest, ManifestError, Platform};
use super::reach;
use super::wire::{Answer, Ask, Expect, Wire};
use crate::ids::Digest;
use crate::image_ref::ImageRef;
use crate::sys::env::Env;

/// The largest manifest (distribution specification: at least 4 MiB must be taken).
const LARGEST_MANIFEST: usize = 4 << 20;
const LARGEST_TAGS_PAGE: usize = 16 << 20;
const MOST_TAG_PAGES: usize = 10_000;
/// Indexes of indexes: one level is seen in the wild.
const DEEPEST_INDEX: usize = 4;
const DIGEST_HEADER: &str = "docker-content-digest";

/// Speaks to any number of registries. Cheap to clone; clones share connections, tokens and what is known of a registry.
#[derive(Clone)]
pub struct Client {
    pub(super) wire: Arc<Wire>,
    hosts: Arc<Mutex<HashMap<String, Arc<Host>>>>,
}

/// How to speak to registries.
#[derive(Clone, Debug)]
pub struct Options {
    pub docker_config: DockerConfig,
    /// Registries (`host[:port]`) that may be spoken to over plain HTTP when they do not speak TLS
    /// (`--insecure-registry`). This machine always may.
    pub plain_http: BTreeSet<String>,
    /// As if `plain_http` named every registry.
    pub plain_http_everywhere: bool,
    /// No certificate is checked (`--skip-tls-verify-registry`).
    pub skip_tls_verify: bool,
    pub proxies: Proxies,
    /// How often a call is tried while its failure may pass; at least once.
    pub attempts: u32,
    /// The pause before the second attempt; doubled for each further one.
    pub pause: Duration,
    /// How long nothing may happen before an attempt has failed.
    pub patience: Duration,
}

/// Proxies as the environment names them (`https_proxy`, `http_proxy`, `no_proxy`).
#[derive(Clone, Default)]
pub struct Proxies {
    pub https: Option<String>,
    pub http: Option<String>,
    /// Hosts that are reached without a proxy, separated by commas.
    pub except: Option<String>,
}

impl Options {
    /// Whether the user allows plain HTTP for a registry (`host[:port]`).
    pub(super) fn allows_plain_http(&self, registry: &str) -> bool {
        self.plain_http_everywhere || self.plain_http.contains(registry)
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            docker_config: DockerConfig::default(),
            plain_http: BTreeSet::new(),
            plain_http_everywhere: false,
            skip_tls_verify: false,
            proxies: Proxies::default(),
            attempts: 5,
            pause: Duration::from_millis(500),
            patience: Duration::from_secs(30),
        }
    }
}

impl Client {
    pub fn new(options: Options) -> Self {
        Self { wire: Arc::new(Wire::new(options)), hosts: Arc::default() }
    }

    /// The manifest or index of a tag or digest; `None` when the registry has none. The bytes are what the digest says: that
    /// of the reference, the header and the body must agree.
    pub async fn manifest(&self, image: &ImageRef) -> Result<Option<FetchedManifest>, Error> {
        let host = self.host(image);
        let (ask, answer) = self.ask_manifest(&host, image, Method::GET).await?;
        if !found(&ask, &answer)? {
            return Ok(None);
        }
        let actual = Digest::of(&answer.bytes);
        let what = || format!("manifest of {image}");
        for expected in [image.digest.clone(), header_digest(&ask, &answer)?].into_iter().flatten() {
            if expected != actual {
                return Err(Error::DigestMismatch { what: what(), expected, actual });
            }
        }
        Ok(Some(FetchedManifest { media_type: media_type(&answer), digest: actual, bytes: answer.bytes }))
    }

    /// The manifest of one image: an index is followed to the entry of the platform. The second value is the parsed form.
    pub async fn image_manifest(
        &self,
        image: &ImageRef,
        platform: &Platform,
    ) -> Result<Option<(FetchedManifest, Manifest)>, Error> {
        let failed = |source: ManifestError| Error::Manifest { image: image.to_string(), source };
        let mut reference = image.clone();
        for _ in 0..DEEPEST_INDEX {
            let Some(fetched) = self.manifest(&reference).await? else { return Ok(None) };
            match fetched.parse().map_err(failed)? {
                Document::Image(manifest) => return Ok(Some((fetched, manifest))),
                // Each step goes by digest, so a tag that moves meanwhile changes nothing.
                Document::Index(index) => {
                    reference.digest = Some(index.select(platform).map_err(failed)?.digest.clone());
                }
            }
        }
        Err(failed(ManifestError::TooDeep(DEEPEST_INDEX)))
    }

    /// Digest, media type and size of what a tag or digest names, without its content; `None` when there is nothing.
    pub async fn manifest_head(&self, image: &ImageRef) -> Result<Option<(Digest, String, u64)>, Error> {
        let host = self.host(image);
        let (ask, answer) = self.ask_manifest(&host, image, Method::HEAD).await?;
        if !found(&ask, &answer)? {
            return Ok(None);
        }
        let size = answer.header(CONTENT_LENGTH.as_str()).and_then(|text| text.parse().ok());
        if let (Some(digest), Some(size)) = (header_digest(&ask, &answer)?, size) {
            if let Some(expected) = image.digest.clone().filter(|expected| *expected != digest) {
                return Err(Error::DigestMismatch { what: format!("manifest of {image}"), expected, actual: digest });
            }
            return Ok(Some((digest, media_type(&answer), size)));
        }
        // A registry that does not tell the digest has to show the content.
        let fetched = self.manifest(image).await?;
        Ok(fetched.map(|fetched| (fetched.digest, fetched.media_type, fetched.bytes.len() as u64)))
    }

    /// Stores a manifest under the reference's tag, or under its digest when it has no tag. Gives its digest; that of the
    /// reference, if it has one, must be the same.
    pub async fn put_manifest(&self, image: &ImageRef, media_type: &str, bytes: Bytes) -> Result<Digest, Error> {
        let digest = Digest::of(&bytes);
        if let Some(expected) = image.digest.clone().filter(|expected| *expected != digest) {
            return Err(Error::DigestMismatch { what: format!("manifest for {image}"), expected, actual: digest });
        }
        let host = self.host(image);
        let origin = host.origin(&self.wire).await?;
        let reference = image.tag.as_deref().unwrap_or(digest.as_str());
        let mut ask = Ask::get(api_url(&origin.base, &image.repository, &["manifests", reference])?, origin);
        ask.method = Method::PUT;
        let media_type = HeaderValue::from_str(media_type).map_err(|_| ask.unusable("the media type is not text"))?;
        ask.headers.insert(CONTENT_TYPE, media_type);
        ask.body = bytes;
        let answer = host.call(&self.wire, &Scope::new(&image.repository, Access::Push), &ask).await?;
        if !answer.status.is_success() {
            return Err(ask.refused(&answer));
        }
        match header_digest(&ask, &answer)?.filter(|stored| *stored != digest) {
            Some(actual) => {
                Err(Error::DigestMismatch { what: format!("pushed manifest of {image}"), expected: digest, actual })
            }
            None => Ok(digest),
        }
    }

    /// Deletes what the reference's digest names, with every tag that points to it; without a digest the tag is looked
    /// up first. `false` when it was not there.
    pub async fn delete_manifest(&self, image: &ImageRef) -> Result<bool, Error> {
        let digest = match &image.digest {
            Some(digest) => digest.clone(),
            None => match self.manifest_head(image).await? {
                Some((digest, ..)) => digest,
                None => return Ok(false),
            },
        };
        let host = self.host(image);
        let origin = host.origin(&self.wire).await?;
        let mut ask = Ask::get(api_url(&origin.base, &image.repository, &["manifests", digest.as_str()])?, origin);
        ask.method = Method::DELETE;
        let answer = host.call(&self.wire, &Scope::new(&image.repository, Access::Delete), &ask).await?;
        found(&ask, &answer)
    }

    /// All tags of a repository, sorted; none when it does not exist. Pages are followed while the registry names a next
    /// one on its own host and each brings something new.
    pub async fn tags(&self, name: &ImageRef) -> Result<Vec<String>, Error> {
        let host = self.host(name);
        let origin = host.origin(&self.wire).await?;
        let mut url = api_url(&origin.base, &name.repository, &["tags", "list"])?;
        url.set_query(Some("n=1000"));
        let mut tags = BTreeSet::new();
        for _ in 0..MOST_TAG_PAGES {
            let mut ask = Ask::get(url, origin);
            ask.expect = Expect::Bytes(LARGEST_TAGS_PAGE);
            let answer = host.call(&self.wire, &Scope::new(&name.repository, Access::Pull), &ask).await?;
            if !found(&ask, &answer)? {
                return Ok(Vec::new());
            }
            let before = tags.len();
            tags.extend(parse_tags(&answer.bytes).map_err(|reason| ask.unusable(reason))?);
            url = match next_page(&ask, &answer)? {
                None => return Ok(tags.into_iter().collect()),
                Some(_) if tags.len() == before => {
                    return Err(ask.unusable("a page brings nothing new and names another"));
                }
                Some(next) => next,
            };
        }
        let first = api_url(&origin.base, &name.repository, &["tags", "list"])?;
        Err(Ask::get(first, origin).unusable(format!("more than {MOST_TAG_PAGES} pages")))
    }

    /// Whether a registry (`host[:port]`) accepts a user and password: the handshake that `docker login` does.
    pub async fn check_login(&self, registry: &str, user: &str, password: &str) -> Result<(), Error> {
        let credentials = Credentials::Basic { user: user.to_owned(), password: password.to_owned() };
        let host = Host::with_credentials(registry, credentials);
        let origin = host.origin(&self.wire).await?;
        let ask = Ask::get(join(&origin.base, "v2/")?, origin);
        let answer = host.call(&self.wire, &Scope::new("", Access::Login), &ask).await?;
        if answer.status.is_success() { Ok(()) } else { Err(ask.refused(&answer)) }
    }

    /// What is known of the registry of an image.
    pub(super) fn host(&self, image: &ImageRef) -> Arc<Host> {
        let mut hosts = self.hosts.lock().unwrap_or_else(PoisonError::into_inner);
        hosts.entry(image.registry.clone()).or_insert_with(|| Arc::new(Host::new(&image.registry))).clone()
    }

    async fn ask_manifest<'a>(
        &self,
        host: &'a Host,
        image: &ImageRef,
        method: Method,
    ) -> Result<(Ask<'a>, Answer), Error> {
        let origin = host.origin(&self.wire).await?;
        let mut ask = Ask::get(api_url(&origin.base, &image.repository, &["manifests", image.reference()])?, origin);
        ask.method = method;
        ask.expect = Expect::Bytes(LARGEST_MANIFEST);
        ask.headers.insert(ACCEPT, HeaderValue::from_static(manifest::ACCEPTED));
        let answer = host.call(&self.wire, &Scope::new(&image.repository, Access::Pull), &ask).await?;
        Ok((ask, answer))
    }
}

impl Proxies {
    /// Lower-case names come first; `all_proxy` stands in for either.
    pub fn from_env(env: &Env) -> Self {
        let either = |lower: &str, upper: &str| env.get(lower).or_else(|| env.get(upper)).map(str::to_owned);
        let all = either("all_proxy", "ALL_PROXY");
        Self {
            https: either("https_proxy", "HTTPS_PROXY").or_else(|| all.clone()),
            http: either("http_proxy", "HTTP_PROXY").or(all),
            except: either("no_proxy", "NO_PROXY"),
        }
    }

    /// The host names of the proxies themselves.
    pub(super) fn hosts(&self) -> BTreeSet<String> {
        let host = |text: &String| {
            let with_scheme = if text.contains("://") { text.clone() } else { format!("http://{text}") };
            Url::parse(&with_scheme).ok()?.host_str().map(str::to_owned)
        };
        [&self.https, &self.http].into_iter().flatten().filter_map(host).collect()
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("options", self.wire.options()).finish_non_exhaustive()
    }
}

/// Proxy addresses may hold a password.
impl fmt::Debug for Proxies {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Proxies").field("hosts", &self.hosts()).finish_non_exhaustive()
    }
}

/// `<base>v2/<repository>/<segments>`.
pub(super) fn api_url(base: &Url, repository: &str, segments: &[&str]) -> Result<Url, Error> {
    join(base, &format!("v2/{repository}/{}", segments.join("/")))
}

fn join(base: &Url, path: &str) -> Result<Url, Error> {
    base.join(path).map_err(|error| Error::Invalid { what: format!("`{path}` at {base}"), reason: error.to_string() })
}

/// Success is yes, "unknown" is no, everything else an error. A damaged image is an error, not an absent one.
pub(super) fn found(ask: &Ask<'_>, answer: &Answer) -> Result<bool, Error> {
    if answer.status.is_success() {
        return Ok(true);
    }
    let refused = ask.refused(answer);
    if answer.status == StatusCode::NOT_FOUND && refused.is_absent() { Ok(false) } else { Err(refused) }
}

/// The digest that the registry claims; one that cannot be read is an error.
pub(super) fn header_digest(ask: &Ask<'_>, answer: &Answer) -> Result<Option<Digest>, Error> {
    let Some(text) = answer.header(DIGEST_HEADER) else { return Ok(None) };
    text.trim().parse().map(Some).map_err(|_| ask.unusable("its digest header is not a sha256 digest"))
}

fn media_type(answer: &Answer) -> String {
    let declared = answer.header(CONTENT_TYPE.as_str()).unwrap_or_default();
    declared.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

fn parse_tags(body: &[u8]) -> Result<Vec<String>, String> {
    #[derive(serde::Deserialize)]
    struct Page {
        /// Distribution writes `null` for an empty repository.
        tags: Option<Vec<String>>,
    }
    let page: Page = serde_json::from_slice(body).map_err(|error| format!("not a list of tags: {error}"))?;
    let tags = page.tags.unwrap_or_default();
    match tags.iter().find(|tag| !crate::image_ref::is_tag(tag)) {
        Some(bad) => Err(format!("`{}` cannot be a tag", super::error::printable(bad, 50))),
        None => Ok(tags),
    }
}

/// The `Link` with `rel="next"`: on the registry's own origin, or not followed (spec/hostile-inputs.md 17).
fn next_page(ask: &Ask<'_>, answer: &Answer) -> Result<Option<Url>, Error> {
    for value in answer.headers.get_all(LINK).iter().filter_map(|value| value.to_str().ok()) {
        let Some((target, parameters)) = value.trim().strip_prefix('<').and_then(|rest| rest.split_once('>')) else {
            return Err(ask.unusable("its `Link` header cannot be read"));
        };
        if !parameters.replace(['"', ' '], "").contains("rel=next") {
            continue;
        }
        let next = answer.url.join(target).map_err(|_| ask.unusable("its `Link` header is not an address"))?;
        if !reach::same_origin(&ask.home.base, &next) {
            return Err(ask.unusable(format!("its next page is on another host, `{}`", super::error::redacted(&next))));
        }
        return Ok(Some(next));
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxies_come_from_the_environment() {
        let variables =
            [("https_proxy", "http://me:hunter2@proxy.lan:3128"), ("ALL_PROXY", "cache:80"), ("NO_PROXY", ".lan")];
        let proxies = Proxies::from_env(&Env::literal(variables, "/"));
        assert_eq!(proxies.http.as_deref(), Some("cache:80"));
        assert_eq!(proxies.except.as_deref(), Some(".lan"));
        insta::assert_snapshot!(format!("{proxies:?}"), @r#"Proxies { hosts: {"cache", "proxy.lan"}, .. }"#);
    }
}
