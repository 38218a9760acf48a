//! Which web pages may call.

use http::{HeaderMap, header};
use url::Url;

use super::settings::CORS_ORIGINS;
use crate::settings::{Environment, SettingError, is_loopback};

/// What `CORS_ORIGINS` allows, besides the service's own origin.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Origins {
    /// Pages from this machine, on any port.
    #[default]
    Loopback,
    /// These, as a browser writes them.
    Listed(Vec<String>),
    /// All.
    Any,
}

impl Origins {
    /// Reads `CORS_ORIGINS`.
    pub fn read(environment: &Environment) -> Result<Self, SettingError> {
        let texts = environment.list(&CORS_ORIGINS)?;
        match texts.as_slice() {
            [] => Ok(Self::Loopback),
            ["*"] => Ok(Self::Any),
            _ => {
                let listed: Option<Vec<_>> = texts.into_iter().map(normalised).collect();
                listed.map(Self::Listed).ok_or_else(|| {
                    environment.refused(
                        &CORS_ORIGINS,
                        "origins such as https://app.example.com (scheme, host and port only), or * alone",
                    )
                })
            }
        }
    }

    /// Whether every allowed origin is on this machine.
    pub fn all_loopback(&self) -> bool {
        match self {
            Self::Loopback => true,
            Self::Listed(listed) => listed.iter().all(|origin| is_loopback_origin(origin)),
            Self::Any => false,
        }
    }

    /// Whether a page of this origin may call the service at this `Host`.
    pub fn allow(&self, origin: &str, host: Option<&str>) -> bool {
        match self {
            Self::Any => true,
            Self::Loopback => is_loopback_origin(origin) || self.name(origin, host),
            Self::Listed(_) => self.name(origin, host),
        }
    }

    /// Whether a page of this origin is meant in particular, and not merely one of all, or one of another machine
    /// than the service.
    pub fn name(&self, origin: &str, host: Option<&str>) -> bool {
        let named = match self {
            Self::Any => false,
            Self::Loopback => is_loopback_origin(origin) && host.is_some_and(is_loopback_authority),
            Self::Listed(listed) => listed.iter().any(|listed| listed == origin),
        };
        named || host.is_some_and(|host| is_same_origin(origin, host))
    }
}

/// The `Origin` of a request; `Err` if it is there but not one readable value.
pub(super) fn origin_of(headers: &HeaderMap) -> Result<Option<&str>, ()> {
    one_value(headers, header::ORIGIN)
}

/// The `Host` of a request, in the same way.
pub(super) fn host_of(headers: &HeaderMap) -> Result<Option<&str>, ()> {
    one_value(headers, header::HOST)
}

fn one_value(headers: &HeaderMap, name: header::HeaderName) -> Result<Option<&str>, ()> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => value.to_str().map(Some).map_err(drop),
        (Some(_), Some(_)) => Err(()),
    }
}

/// An origin of this machine, on any port.
pub(super) fn is_loopback_origin(origin: &str) -> bool {
    parsed(origin).and_then(|url| url.host_str().map(is_loopback)).unwrap_or(false)
}

/// Whether a `Host` header (a name or address, perhaps a port) is this machine.
pub(super) fn is_loopback_authority(host: &str) -> bool {
    parsed(&format!("http://{}", host.to_ascii_lowercase().trim_end_matches(":80")))
        .and_then(|url| url.host_str().map(is_loopback))
        .unwrap_or(false)
}

/// The scheme does not count: behind a proxy that ends TLS the service can't know its own.
fn is_same_origin(origin: &str, host: &str) -> bool {
    let Some(page) = parsed(origin) else { return false };
    let Ok(own) = Url::parse(&format!("{}://{host}", page.scheme())) else { return false };
    page.host() == own.host() && page.port_or_known_default() == own.port_or_known_default()
}

/// A web origin exactly as a browser writes it, and nothing that merely resembles one.
fn parsed(origin: &str) -> Option<Url> {
    let url = Url::parse(origin).ok().filter(|url| matches!(url.scheme(), "http" | "https"))?;
    (url.origin().ascii_serialization() == origin).then_some(url)
}

/// As a browser will send it: lower case, without a default port or trailing slash.
fn normalised(text: &str) -> Option<String> {
    let (scheme, rest) = text.trim_end_matches('/').split_once("://")?;
    if scheme.is_empty() || rest.is_empty() || rest.contains(['/', '?', '#', '@', '*', ' ']) {
        return None;
    }
    match scheme.to_ascii_lowercase().as_str() {
        "http" | "https" => Url::parse(text).ok().map(|url| url.origin().ascii_serialization()),
        // Applications with schemes of their own, such as capacitor://localhost.
        _ => Some(text.trim_end_matches('/').to_ascii_lowercase()),
    }
}
