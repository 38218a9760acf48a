//! How much one client or one address may do.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;

/// Lets so many messages pass each second, and as many at once after a quiet second.
#[derive(Clone, Copy, Debug)]
pub struct RateLimit {
    per_second: u32,
    /// When the bucket would be full, had nothing passed since.
    full_at: Instant,
}

impl RateLimit {
    /// A full bucket; 0 lets everything pass.
    pub fn new(per_second: u32, now: Instant) -> Self {
        Self { per_second, full_at: now }
    }

    /// Whether one more may pass now.
    pub fn allow(&mut self, now: Instant) -> bool {
        let Some(interval) = Duration::from_secs(1).checked_div(self.per_second) else { return true };
        let full_at = self.full_at.max(now) + interval;
        let allowed = full_at - now <= Duration::from_secs(1);
        if allowed {
            self.full_at = full_at;
        }
        allowed
    }
}

/// Counts the connections of each address.
#[derive(Clone, Debug, Default)]
pub struct AddressLimit {
    counts: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

/// One connection's place under an [`AddressLimit`]; given back when dropped.
#[derive(Debug)]
pub struct AddressPermit {
    counts: Arc<Mutex<HashMap<IpAddr, usize>>>,
    address: IpAddr,
}

impl AddressLimit {
    /// A place for one more connection of this address; `None` if it has `limit` already. 0 is no limit.
    pub fn acquire(&self, address: IpAddr, limit: usize) -> Option<AddressPermit> {
        let address = address.to_canonical();
        let mut counts = self.counts.lock();
        let count = counts.entry(address).or_default();
        if limit != 0 && *count >= limit {
            return None;
        }
        *count += 1;
        Some(AddressPermit { counts: self.counts.clone(), address })
    }
}

impl Drop for AddressPermit {
    fn drop(&mut self) {
        let mut counts = self.counts.lock();
        if let Some(count) = counts.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests;
