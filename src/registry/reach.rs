//! What a registry may make us contact, and who may see its credentials. Pure (spec/hostile-inputs.md 17-19).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use url::{Host, Url};

/// How close an address is. A registry may point only to what is at least as far away as itself: a public registry
/// never makes us call into the private network, and nobody but this machine itself makes us call this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reach {
    Public,
    Private,
    Loopback,
}

/// Where a registry's API is, found out once per registry.
#[derive(Clone, Debug)]
pub struct Origin {
    /// `https://host:port/`
    pub base: Url,
    pub reach: Reach,
}

/// Why an address is not contacted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    Scheme,
    Downgrade,
    UserInfo,
    LinkLocal,
    Closer,
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Scheme => "it is not an http or https address",
            Self::Downgrade => "it is plain http and the registry is https",
            Self::UserInfo => "it carries a user name",
            Self::LinkLocal => "it is a link-local, metadata or unspecified address",
            Self::Closer => "it is an address of this machine or of a private network, and the registry is not",
        })
    }
}

/// Whether an address that the registry named (a redirect, an upload location, a token service) may be contacted.
/// Names are checked again when they are resolved ([`allowed_address`]).
pub fn check_target(home: &Origin, target: &Url) -> Result<(), Denied> {
    if !matches!(target.scheme(), "http" | "https") {
        return Err(Denied::Scheme);
    }
    if !target.username().is_empty() || target.password().is_some() {
        return Err(Denied::UserInfo);
    }
    if same_origin(&home.base, target) {
        return Ok(());
    }
    if target.scheme() == "http" && home.base.scheme() == "https" {
        return Err(Denied::Downgrade);
    }
    match address_reach(target) {
        Some(Err(denied)) => Err(denied),
        Some(Ok(reach)) if reach > home.reach => Err(Denied::Closer),
        _ => Ok(()),
    }
}

/// Whether a resolved address may be contacted on behalf of a registry of this reach.
pub fn allowed_address(ip: IpAddr, home: Reach) -> bool {
    ip_reach(ip).is_some_and(|reach| reach <= home)
}

/// How close an address is; `None` for those that no registry can have (link-local, metadata, multicast, unspecified).
pub fn ip_reach(ip: IpAddr) -> Option<Reach> {
    match ip.to_canonical() {
        IpAddr::V4(ip) => v4_reach(ip),
        IpAddr::V6(ip) => v6_reach(ip),
    }
}

/// Scheme, host and port agree: only then an `Authorization` header may go along.
pub fn same_origin(a: &Url, b: &Url) -> bool {
    a.scheme() == b.scheme() && a.host() == b.host() && a.port_or_known_default() == b.port_or_known_default()
}

/// Whether a host (without port) is this machine by its name alone.
pub fn is_loopback_host(url: &Url) -> bool {
    matches!(address_reach(url), Some(Ok(Reach::Loopback)))
}

/// How close the token service of a registry may be. A registry and its GitLab may sit on both sides of a split DNS: over
/// https, where the certificate says who answers, a public registry may name a service in a private network.
pub fn realm_reach(home: &Origin, realm: &Url) -> Reach {
    if home.base.scheme() == "https" && realm.scheme() == "https" { home.reach.max(Reach::Private) } else { home.reach }
}

/// Whether credentials of a registry may go to the token service it names.
///
/// Who the registry is was proved by its certificate: then any https address is its own choice. Over plain HTTP anybody on
/// the way can name any address, so the service must be on the registry's own host (or both on this machine), or be a
/// host for which the user has allowed plain HTTP. An https registry never sends credentials to plain HTTP.
pub fn check_realm(home: &Origin, realm: &Url, allowed_by_user: bool) -> Result<(), &'static str> {
    let same_host = home.base.host() == realm.host();
    let both_here = home.reach == Reach::Loopback && is_loopback_host(realm);
    match (home.base.scheme(), realm.scheme()) {
        ("https", "https") => Ok(()),
        ("https", _) => Err("credentials of an https registry never go over plain http"),
        _ if same_host || both_here || allowed_by_user => Ok(()),
        _ => Err("over plain http anybody can name another host"),
    }
}

/// The reach of a literal address or of `localhost`; `None` for other names.
fn address_reach(url: &Url) -> Option<Result<Reach, Denied>> {
    let ip = match url.host()? {
        Host::Ipv4(ip) => IpAddr::V4(ip),
        Host::Ipv6(ip) => IpAddr::V6(ip),
        Host::Domain(name) => {
            let name = name.trim_end_matches('.');
            let local = name == "localhost" || name.ends_with(".localhost");
            return local.then_some(Ok(Reach::Loopback));
        }
    };
    Some(ip_reach(ip).ok_or(Denied::LinkLocal))
}

fn v4_reach(ip: Ipv4Addr) -> Option<Reach> {
    let [a, b, ..] = ip.octets();
    if ip.is_loopback() {
        Some(Reach::Loopback)
    } else if a == 0 || a >= 224 || ip.is_link_local() {
        None
    } else if ip.is_private() || (a == 100 && (64..128).contains(&b)) {
        Some(Reach::Private)
    } else {
        Some(Reach::Public)
    }
}

fn v6_reach(ip: Ipv6Addr) -> Option<Reach> {
    // Cloud metadata services that sit in the unique local range, where ordinary private hosts are too.
    const METADATA: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);
    let segments = ip.segments();
    if ip.is_loopback() {
        Some(Reach::Loopback)
    } else if ip.is_unspecified() || ip.is_multicast() || ip.is_unicast_link_local() || ip == METADATA {
        None
    } else if let [0x64, 0xff9b, 0, 0, 0, 0, high, low] = segments {
        // NAT64: the last four bytes are the IPv4 address that is reached in the end.
        v4_reach(Ipv4Addr::from((u32::from(high) << 16) | u32::from(low)))
    } else if ip.is_unique_local() {
        Some(Reach::Private)
    } else {
        Some(Reach::Public)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn origin(base: &str, reach: Reach) -> Origin {
        Origin { base: base.parse().unwrap(), reach }
    }

    /// Hostile inputs 18: where a `Location` may lead.
    #[test]
    fn a_registry_points_only_outward() {
        let public = origin("https://registry.example.com/", Reach::Public);
        let private = origin("https://registry.lan/", Reach::Private);
        let local = origin("http://127.0.0.1:5000/", Reach::Loopback);
        for (home, target, expected) in [
            (&public, "https://storage.example.net/blob?sig=1", Ok(())),
            (&public, "https://registry.example.com/v2/x", Ok(())),
            (&public, "http://registry.example.com/v2/x", Err(Denied::Downgrade)),
            (&public, "file:///etc/shadow", Err(Denied::Scheme)),
            (&public, "https://169.254.169.254/latest/meta-data", Err(Denied::LinkLocal)),
            (&public, "https://[::ffff:169.254.169.254]/", Err(Denied::LinkLocal)),
            (&public, "https://2852039166/", Err(Denied::LinkLocal)),
            (&public, "https://[64:ff9b::a9fe:a9fe]/", Err(Denied::LinkLocal)),
            (&public, "https://[fd00:ec2::254]/", Err(Denied::LinkLocal)),
            (&public, "https://10.0.0.1/", Err(Denied::Closer)),
            (&public, "https://100.64.0.1/", Err(Denied::Closer)),
            (&public, "https://localhost:2376/", Err(Denied::Closer)),
            (&public, "https://me:pw@storage.example.net/", Err(Denied::UserInfo)),
            (&private, "https://10.0.0.1/", Ok(())),
            (&private, "https://127.0.0.1/", Err(Denied::Closer)),
            (&local, "http://127.0.0.1:9000/bucket", Ok(())),
            (&local, "http://169.254.169.254/", Err(Denied::LinkLocal)),
            (&local, "http://0.0.0.0:5000/", Err(Denied::LinkLocal)),
        ] {
            assert_eq!(check_target(home, &target.parse().unwrap()), expected, "{target} from {}", home.base);
        }
    }

    /// Hostile inputs 19: which token service sees the credentials.
    #[test]
    fn credentials_go_only_to_a_token_service_of_the_registry() {
        let public = origin("https://registry.example.com/", Reach::Public);
        let plain = origin("http://registry.lan:5000/", Reach::Private);
        let local = origin("http://127.0.0.1:5000/", Reach::Loopback);
        for (home, realm, by_user, expected) in [
            (&public, "https://gitlab.example.com/jwt/auth", false, true),
            (&public, "http://registry.example.com/token", false, false),
            (&public, "http://gitlab.lan/jwt/auth", true, false),
            (&plain, "http://registry.lan:5001/token", false, true),
            (&plain, "https://evil.example.com/token", false, false),
            (&plain, "http://gitlab.lan/jwt/auth", false, false),
            (&plain, "http://gitlab.lan/jwt/auth", true, true),
            (&local, "http://localhost:5001/auth", false, true),
            (&local, "https://evil.example.com/auth", false, false),
        ] {
            let verdict = check_realm(home, &realm.parse().unwrap(), by_user);
            assert_eq!(verdict.is_ok(), expected, "{realm} for {}", home.base);
        }
        let reach = |realm: &str| realm_reach(&public, &realm.parse().unwrap());
        assert_eq!((reach("https://10.0.0.1/auth"), reach("http://10.0.0.1/auth")), (Reach::Private, Reach::Public));
    }
}
