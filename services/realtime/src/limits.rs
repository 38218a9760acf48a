//! How much one client or one address may do.

use std::{
    collections::{HashMap, hash_map::Entry},
    hash::Hash,
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

/// Counts what each has at a time: an address its connections, a user its requests.
#[derive(Clone, Debug)]
pub struct Limit<K> {
    counts: Arc<Mutex<HashMap<K, usize>>>,
}

/// One place under a [`Limit`]; given back when dropped.
#[derive(Debug)]
pub struct Permit<K: Hash + Eq> {
    counts: Arc<Mutex<HashMap<K, usize>>>,
    key: K,
}

/// Connections of an address.
pub type AddressLimit = Limit<IpAddr>;
/// One connection's place.
pub type AddressPermit = Permit<IpAddr>;
/// Connections of a user.
pub type UserLimit = Limit<Box<str>>;
/// One connection's place.
pub type UserPermit = Permit<Box<str>>;

impl<K> Default for Limit<K> {
    fn default() -> Self {
        Self { counts: Arc::default() }
    }
}

impl<K: Hash + Eq + Clone> Limit<K> {
    /// A place for one more; `None` if there are `limit` already. 0 is no limit.
    pub fn acquire(&self, key: K, limit: usize) -> Option<Permit<K>> {
        let mut counts = self.counts.lock();
        match counts.entry(key.clone()) {
            Entry::Occupied(count) if limit != 0 && *count.get() >= limit => return None,
            Entry::Occupied(mut count) => *count.get_mut() += 1,
            Entry::Vacant(vacant) => {
                vacant.insert(1);
            }
        }
        Some(Permit { counts: self.counts.clone(), key })
    }
}

impl<K: Hash + Eq> Permit<K> {
    /// Who takes the place.
    pub fn key(&self) -> &K {
        &self.key
    }
}

impl<K: Hash + Eq> Drop for Permit<K> {
    fn drop(&mut self) {
        let mut counts = self.counts.lock();
        if let Some(count) = counts.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests;
