//! Where a request comes from when proxies stand between.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderName};
use ipnet::IpNet;

use super::settings::TRUSTED_PROXIES;
use crate::settings::{Environment, SettingError};

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
/// How many hops are followed.
const MAX_HOPS: usize = 32;

/// The proxies whose word about a client's address is taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustedProxies(Vec<IpNet>);

impl TrustedProxies {
    /// Reads `TRUSTED_PROXIES`.
    pub fn read(environment: &Environment) -> Result<Self, SettingError> {
        let allowed = "addresses and networks such as 10.0.0.0/8, 192.168.1.7 or fd00::/8, comma-separated";
        let texts = environment.list(&TRUSTED_PROXIES)?;
        let networks: Option<Vec<_>> = texts.into_iter().map(network).collect();
        networks.map(Self).ok_or_else(|| environment.refused(&TRUSTED_PROXIES, allowed))
    }

    /// The client's address: the peer's, or if that is a trusted proxy, the last address in
    /// `X-Forwarded-For` that is not one itself. Whatever stands left of it anyone could have written.
    pub fn client_address(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let mut client = peer.to_canonical();
        let lines = headers.get_all(FORWARDED_FOR).iter().rev();
        let hops = lines.flat_map(|line| line.to_str().unwrap_or("unreadable").rsplit(','));
        for hop in hops.take(MAX_HOPS) {
            if !self.contains(client) {
                break;
            }
            let Some(address) = hop_address(hop) else { break };
            client = address;
        }
        client
    }

    fn contains(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(&address))
    }
}

fn network(text: &str) -> Option<IpNet> {
    text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(|address| address.to_canonical().into()))
}

/// `192.0.2.1`, `192.0.2.1:4711`, `2001:db8::1`, `[2001:db8::1]`, `[2001:db8::1]:4711`.
fn hop_address(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let bare = text.trim_start_matches('[').trim_end_matches(']');
    let with_port = || text.parse::<SocketAddr>().ok().map(|address| address.ip());
    bare.parse().ok().or_else(with_port).map(|address: IpAddr| address.to_canonical())
}
