//! Connections: who may be connected to on a registry's behalf, and what a failed connection means.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use reqwest::Method;
use reqwest::dns::{Name, Resolve, Resolving};
use url::Url;

use super::client::Options;
use super::error::{Error, printable, redacted};
use super::reach::{self, Denied, Origin, Reach};
use super::wire::Fault;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);

/// The HTTP clients, one for each reach: what a registry names is resolved with the registry's own reach as the limit.
#[derive(Default)]
pub struct Connections {
    clients: [OnceLock<reqwest::Client>; 3],
}

impl Connections {
    pub fn new() -> Self {
        // One crypto provider for the process (spec/dependencies.md, section 0); a second installation changes nothing.
        let _ = rustls::crypto::ring::default_provider().install_default();
        Self::default()
    }

    /// The client for what a registry of this reach is or names.
    pub fn client(&self, reach: Reach, options: &Options) -> Result<&reqwest::Client, Error> {
        let [public, private, loopback] = &self.clients;
        let slot = match reach {
            Reach::Public => public,
            Reach::Private => private,
            Reach::Loopback => loopback,
        };
        if slot.get().is_none() {
            let built = build_client(reach, options).map_err(|error| Error::Setup { cause: innermost(&error) })?;
            let _ = slot.set(built);
        }
        slot.get().ok_or_else(|| Error::Setup { cause: "no client".to_owned() })
    }
}

/// The closest of a registry's addresses. A name that does not resolve here (behind a proxy) is public.
pub async fn resolved_reach(base: &Url) -> Reach {
    if reach::is_loopback_host(base) {
        return Reach::Loopback;
    }
    let port = base.port_or_known_default().unwrap_or(443);
    let host = base.host_str().unwrap_or_default().trim_matches(['[', ']']);
    let Ok(addresses) = tokio::net::lookup_host((host, port)).await else { return Reach::Public };
    addresses.filter_map(|address| reach::ip_reach(address.ip())).max().unwrap_or(Reach::Public)
}

/// Why no answer came, and whether another attempt can help.
pub fn fault(error: &reqwest::Error, home: &Origin, method: &Method, url: &Url) -> Fault {
    if links(error).any(|link| link.is::<TooClose>()) {
        return Fault::Final(Error::redirect(home, method, url, Denied::Closer));
    }
    let (method, shown) = (method.clone(), redacted(url));
    if is_certificate_fault(error) {
        return Fault::Final(Error::Certificate { method, url: shown, cause: innermost(error) });
    }
    if links(error).any(|link| matches!(link.downcast_ref(), Some(rustls::Error::InvalidMessage(_)))) {
        return Fault::Final(Error::NotTls { method, url: shown });
    }
    if error.is_builder() {
        return Fault::Final(Error::Answer { method, url: shown, reason: innermost(error) });
    }
    Fault::Passing(cause(error), None)
}

/// A failed attempt in few words.
pub fn cause(error: &reqwest::Error) -> String {
    let what = if error.is_connect() { "cannot connect" } else { "the connection failed" };
    format!("{what}: {}", innermost(error))
}

pub fn is_certificate_fault(error: &reqwest::Error) -> bool {
    links(error).any(|link| matches!(link.downcast_ref(), Some(rustls::Error::InvalidCertificate(_))))
}

/// Whether somebody listened at all: then a failure is about what was said.
pub fn was_connected(error: &reqwest::Error) -> bool {
    use std::io::ErrorKind::{ConnectionReset, InvalidData, UnexpectedEof};
    links(error).any(|link| {
        link.is::<rustls::Error>()
            || link
                .downcast_ref::<std::io::Error>()
                .is_some_and(|error| matches!(error.kind(), ConnectionReset | InvalidData | UnexpectedEof))
    })
}

/// The error and all behind it; an I/O error's content is a link of its own.
fn links<'a>(
    error: &'a (dyn std::error::Error + 'static),
) -> impl Iterator<Item = &'a (dyn std::error::Error + 'static)> {
    std::iter::successors(Some(error), |link| match link.downcast_ref::<std::io::Error>().and_then(|io| io.get_ref()) {
        Some(inner) => Some(inner as &(dyn std::error::Error + 'static)),
        None => link.source(),
    })
}

/// The message at the bottom: the ones above only say that something below failed.
pub fn innermost(error: &reqwest::Error) -> String {
    printable(&links(error).last().map(ToString::to_string).unwrap_or_default(), 200)
}

fn build_client(reach: Reach, options: &Options) -> Result<reqwest::Client, reqwest::Error> {
    let proxies = &options.proxies;
    let guard = Guard { reach, proxies: proxies.hosts() };
    let mut builder = reqwest::Client::builder()
        .user_agent(concat!("slipway/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none())
        .referer(false)
        .connect_timeout(CONNECT_TIMEOUT.min(options.patience))
        .tls_danger_accept_invalid_certs(options.skip_tls_verify)
        .dns_resolver(Arc::new(guard))
        .no_proxy();
    // This machine is never behind a proxy.
    if reach != Reach::Loopback {
        let except = proxies.except.as_deref().and_then(reqwest::NoProxy::from_string);
        if let Some(address) = &proxies.https {
            builder = builder.proxy(reqwest::Proxy::https(address)?.no_proxy(except.clone()));
        }
        if let Some(address) = &proxies.http {
            builder = builder.proxy(reqwest::Proxy::http(address)?.no_proxy(except));
        }
    }
    builder.build()
}

/// Resolves names, leaving out addresses that are closer than the registry on whose behalf we ask. Proxies are the
/// administrator's word and exempt.
struct Guard {
    reach: Reach,
    proxies: BTreeSet<String>,
}

#[derive(Debug, thiserror::Error)]
#[error("`{0}` resolves only to addresses of this machine or of a private network")]
struct TooClose(String);

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let name = name.as_str().to_owned();
        let limit = (!self.proxies.contains(&name)).then_some(self.reach);
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            let allowed = found.into_iter();
            let allowed =
                allowed.filter(move |address| limit.is_none_or(|it| reach::allowed_address(address.ip(), it)));
            let allowed: Vec<SocketAddr> = allowed.collect();
            if allowed.is_empty() {
                return Err(TooClose(name).into());
            }
            Ok(Box::new(allowed.into_iter()) as reqwest::dns::Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hostile inputs 18: a name says nothing about where it leads.
    #[tokio::test]
    async fn names_are_resolved_with_the_registrys_reach_as_the_limit() {
        let resolve = async |reach, proxies: &[&str]| {
            let guard = Guard { reach, proxies: proxies.iter().map(|&name| name.to_owned()).collect() };
            guard.resolve("localhost".parse().unwrap()).await.map(|found| found.count() > 0).map_err(|e| e.to_string())
        };
        assert_eq!(resolve(Reach::Loopback, &[]).await, Ok(true));
        assert_eq!(resolve(Reach::Public, &["localhost"]).await, Ok(true));
        insta::assert_snapshot!(resolve(Reach::Private, &[]).await.unwrap_err(), @"`localhost` resolves only to addresses of this machine or of a private network");
    }
}
