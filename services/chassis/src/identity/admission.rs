//! Which requests are let in at all, whoever asks.

use std::net::IpAddr;

use http::{HeaderMap, HeaderName};

use super::{
    Origins, Refusal, Trust, TrustedProxies,
    origins::{host_of, is_loopback_authority, is_loopback_origin, origin_of},
};
use crate::settings::Common;

/// Headers that only a proxy writes; with any of them a request does not come from this machine.
const FORWARDING: [&str; 2] = ["forwarded", "x-real-ip"];
const FORWARDING_PREFIX: &str = "x-forwarded-";
/// Where the page is from that asks, by the browser's word.
const FETCH_SITE: &str = "sec-fetch-site";

/// The rules that hold before anyone is asked for a token.
#[derive(Clone, Debug)]
pub struct Admission {
    loopback_only: bool,
    origins: Origins,
    proxies: TrustedProxies,
}

impl Admission {
    /// The rules that follow from the settings.
    pub fn new(common: &Common) -> Self {
        Self {
            loopback_only: common.identity.trust == Trust::LoopbackOnly,
            origins: common.cors_origins.clone(),
            proxies: common.trusted_proxies.clone(),
        }
    }

    /// Refuses a request of a web page whose `Origin` is not allowed (no `Origin`: not a web page).
    ///
    /// While no key is set, it also refuses what does not come from this machine: another peer, a
    /// forwarding header, or a `Host` that is not loopback, as a page has whose name was rebound to
    /// 127.0.0.1 in the DNS.
    pub fn admit(&self, peer: IpAddr, headers: &HeaderMap) -> Result<(), Refusal> {
        let origin = origin_of(headers).map_err(|()| Refusal::OriginRefused)?;
        let host = host_of(headers).map_err(|()| Refusal::HostRefused);
        if self.loopback_only {
            if headers.keys().any(is_forwarding) || !peer.to_canonical().is_loopback() {
                return Err(Refusal::ForwardedRefused);
            }
            if host?.is_some_and(|host| !is_loopback_authority(host)) {
                return Err(Refusal::HostRefused);
            }
            if origin.is_some_and(|origin| !is_loopback_origin(origin)) {
                return Err(Refusal::OriginRefused);
            }
        }
        match origin {
            Some(origin) if !self.origins.allow(origin, host?) => Err(Refusal::OriginRefused),
            _ => Ok(()),
        }
    }

    /// Whether cookies of this request may say who is asking. A browser sends them whatever page asks, so the page must
    /// be of the service's own origin or one that is named: `CORS_ORIGINS=*` names none.
    pub fn takes_cookies(&self, headers: &HeaderMap) -> bool {
        match (origin_of(headers), host_of(headers)) {
            (Ok(Some(origin)), Ok(host)) => self.origins.name(origin, host),
            // No page that could read the answer, unless the browser says that it is of another site.
            (Ok(None), Ok(_)) => headers.get(FETCH_SITE).is_none_or(|site| site != "cross-site"),
            _ => false,
        }
    }

    /// The address of the client itself, for limits per address.
    pub fn client_address(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        self.proxies.client_address(peer, headers)
    }

    /// Which web pages may call.
    pub(super) fn origins(&self) -> &Origins {
        &self.origins
    }
}

fn is_forwarding(name: &HeaderName) -> bool {
    FORWARDING.contains(&name.as_str()) || name.as_str().starts_with(FORWARDING_PREFIX)
}

#[cfg(test)]
mod tests;
