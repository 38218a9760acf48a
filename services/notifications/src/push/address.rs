//! Where pushes may go. Endpoints come from users: without a check this service would send requests into its own network.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::net::lookup_host;
use url::{Host, Url};

/// The longest endpoint, in bytes.
const MAX_ENDPOINT_BYTES: usize = 2_048;

/// Why nothing is sent to an endpoint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// It can't be one.
    #[error(
        "the endpoint must be an https URL of up to {MAX_ENDPOINT_BYTES} bytes, without user and password"
    )]
    NotAnEndpoint,
    /// It is in a network that is not public.
    #[error("the endpoint's address is not a public one (PUSH_ALLOW_PRIVATE allows others)")]
    NotPublic,
    /// Its name is not known for the moment.
    #[error("the endpoint's name can't be resolved: {0}")]
    Unresolved(String),
}

/// Reads an endpoint, and refuses those that can't be right whatever their name means.
pub fn endpoint(text: &str, allow_private: bool) -> Result<Url, AddressError> {
    if text.len() > MAX_ENDPOINT_BYTES {
        return Err(AddressError::NotAnEndpoint);
    }
    let url = Url::parse(text).map_err(|_| AddressError::NotAnEndpoint)?;
    let is_allowed = url.scheme() == "https" || (allow_private && url.scheme() == "http");
    if !is_allowed || !url.username().is_empty() || url.password().is_some() {
        return Err(AddressError::NotAnEndpoint);
    }
    let address = match url.host() {
        None => return Err(AddressError::NotAnEndpoint),
        Some(Host::Domain(_)) => None,
        Some(Host::Ipv4(address)) => Some(IpAddr::V4(address)),
        Some(Host::Ipv6(address)) => Some(IpAddr::V6(address)),
    };
    match address {
        Some(address) if !allow_private && !is_public(address) => Err(AddressError::NotPublic),
        _ => Ok(url),
    }
}

/// The addresses that an endpoint's name means now and that may be connected to: to one of these very addresses, for the
/// name may mean another one the next time.
pub async fn resolve(url: &Url, allow_private: bool) -> Result<Vec<SocketAddr>, AddressError> {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    let port = url.port_or_known_default().unwrap_or(443);
    let found =
        lookup_host((host, port)).await.map_err(|error| AddressError::Unresolved(error.to_string()))?;
    let mut found: Vec<_> = found.collect();
    if found.is_empty() {
        return Err(AddressError::Unresolved("it has no address".to_owned()));
    }
    if !allow_private {
        found.retain(|address| is_public(address.ip()));
    }
    if found.is_empty() { Err(AddressError::NotPublic) } else { Ok(found) }
}

/// Whether an address is one that anybody on the internet could be asked at.
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

/// By IANA's registry of special addresses (RFC 6890 and its successors).
fn is_public_v4(address: Ipv4Addr) -> bool {
    !matches!(
        address.octets(),
        [0 | 10 | 127 | 224..=255, ..]
            | [100, 64..=127, ..]
            | [169, 254, ..]
            | [172, 16..=31, ..]
            | [192, 0, 0 | 2, _]
            | [192, 88, 99, _]
            | [192, 168, ..]
            | [198, 18 | 19, ..]
            | [198, 51, 100, _]
            | [203, 0, 113, _]
    )
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let embedded =
        |high: u16, low: u16| is_public_v4(Ipv4Addr::from((u32::from(high) << 16) | u32::from(low)));
    match address.segments() {
        // Translated (NAT64) and tunnelled (6to4) ones reach an address of IPv4.
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => embedded(high, low),
        // Teredo and others of 2001::/23, and documentation.
        [0x2001, 0..=0x1ff | 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => false,
        // Global unicast, and nothing else: neither ::1 nor ::ffff:127.0.0.1 nor unique local ones.
        [first, ..] => first & 0xe000 == 0x2000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_public_addresses_are_public() {
        for text in [
            "0.0.0.0",
            "10.1.2.3",
            "100.64.0.1",
            "127.0.0.1",
            "127.9.9.9",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.8",
            "192.0.2.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::ffff:8.8.8.8",
            "::7f00:1",
            "64:ff9b::7f00:1",
            "64:ff9b::a9fe:a9fe",
            "64:ff9b:1::1",
            "2002:7f00:1::",
            "2002:a00:1::",
            "2001:db8::1",
            "2001::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "ff02::1",
            "3fff::1",
        ] {
            assert!(!is_public(text.parse().unwrap()), "{text}");
        }
        for text in [
            "8.8.8.8",
            "100.63.0.1",
            "100.128.0.1",
            "172.15.0.1",
            "172.32.0.1",
            "192.167.0.1",
            "169.253.0.1",
            "2a00:1450:4001::1",
            "2606:4700::1",
            "64:ff9b::808:808",
            "2002:808:808::",
        ] {
            assert!(is_public(text.parse().unwrap()), "{text}");
        }
    }

    #[test]
    fn endpoints_are_https_and_name_no_private_address() {
        assert!(endpoint("https://push.example.com/send/1", false).is_ok());
        assert!(endpoint("https://8.8.8.8/x", false).is_ok());
        for text in [
            "http://push.example.com/",
            "ftp://push.example.com/",
            "https://u:p@push.example.com/",
            "https://",
            "x",
            "",
            "javascript:alert(1)",
            "data:text/plain,x",
        ] {
            assert_eq!(endpoint(text, false), Err(AddressError::NotAnEndpoint), "{text}");
        }
        // Every spelling of an address that a URL can have.
        for text in [
            "https://127.0.0.1/",
            "https://2130706433/",
            "https://0x7f.1/",
            "https://017700000001/",
            "https://[::1]/",
            "https://[::ffff:127.0.0.1]/",
            "https://169.254.169.254/latest/meta-data",
            "https://127.1/",
            "https://0/",
        ] {
            assert_eq!(endpoint(text, false), Err(AddressError::NotPublic), "{text}");
            assert!(endpoint(text, true).is_ok(), "{text}");
        }
        assert_eq!(
            endpoint(&format!("https://e/{}", "x".repeat(2_048)), false),
            Err(AddressError::NotAnEndpoint)
        );
    }

    #[tokio::test]
    async fn a_name_that_means_a_private_address_is_refused_when_it_is_resolved() {
        let url = endpoint("https://localhost:1/", false).unwrap();
        assert_eq!(resolve(&url, false).await, Err(AddressError::NotPublic));
        assert!(resolve(&url, true).await.unwrap().iter().all(|address| address.ip().is_loopback()));
    }
}
