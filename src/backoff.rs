//! Waiting between attempts.

use std::time::Duration;

/// How long to wait before the next attempt: doubling from a first delay up to a limit, with full jitter.
///
/// Full jitter (a delay drawn evenly from zero to the current limit) spreads the attempts of many
/// clients that failed at the same moment.
///
/// ```
/// use std::time::Duration;
/// use synapse_rs::backoff::Backoff;
///
/// let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(30));
/// assert!(backoff.next_delay() <= Duration::from_millis(100));
/// assert!(backoff.next_delay() <= Duration::from_millis(200));
/// backoff.reset(); // on proven health
/// assert!(backoff.next_delay() <= Duration::from_millis(100));
/// ```
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    limit: Duration,
    attempts: u32,
}

impl Backoff {
    /// Delays from `first`, doubling up to `limit`.
    pub fn new(first: Duration, limit: Duration) -> Self {
        Self { first, limit, attempts: 0 }
    }

    /// The upper bound of the delay after this many failed attempts.
    pub fn ceiling(&self, attempts: u32) -> Duration {
        let factor = 2_u32.saturating_pow(attempts);
        self.first.saturating_mul(factor).min(self.limit)
    }

    /// The next delay; each is drawn from a range twice as long as the one before.
    pub fn next_delay(&mut self) -> Duration {
        let ceiling = self.ceiling(self.attempts);
        self.attempts = self.attempts.saturating_add(1);
        ceiling.mul_f64(fastrand::f64())
    }

    /// How many delays were drawn since the last reset.
    pub fn attempts(&self) -> u32 {
        self.attempts
    }

    /// Starts over; to be called when the other side has proven its health, not when it was merely reached.
    pub fn reset(&mut self) {
        self.attempts = 0;
    }
}

/// For connections: 50 ms to 5 s.
impl Default for Backoff {
    fn default() -> Self {
        Self::new(Duration::from_millis(50), Duration::from_secs(5))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_the_limit_and_never_overflow() {
        let backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(30));
        let ceilings: Vec<_> = (0..12).map(|attempts| backoff.ceiling(attempts).as_millis()).collect();
        assert_eq!(ceilings, [100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600, 30000, 30000, 30000]);
        assert_eq!(backoff.ceiling(u32::MAX), Duration::from_secs(30));
    }

    #[test]
    fn delays_are_spread_over_the_whole_range() {
        let mut backoff = Backoff::new(Duration::from_secs(1), Duration::from_secs(1));
        let delays: Vec<_> = (0..200).map(|_| backoff.next_delay()).collect();
        assert!(delays.iter().any(|delay| *delay < Duration::from_millis(250)));
        assert!(delays.iter().any(|delay| *delay > Duration::from_millis(750)));
    }
}
