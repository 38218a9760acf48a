//! Event ids: UUID version 7.
//!
//! 48 bits of milliseconds and 74 random bits. The random bits come from a generator per thread
//! (xoshiro256++, 256 bits of state) that the operating system seeds, so that an id costs no
//! system call and no shared lock; a child process seeds its own after a `fork`.

use std::{
    cell::RefCell,
    time::{SystemTime, UNIX_EPOCH},
};

use uuid::Uuid;

use crate::fork;

/// Bytes of an id's text.
pub(super) const LENGTH: usize = 36;

/// A new id, as lower-case text: `019dd6c2-8a40-7c3e-9b1f-2f6f0c9d7a51`.
pub(super) fn new(now: SystemTime) -> [u8; LENGTH] {
    let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    let ms = since.as_secs().wrapping_mul(1000) + u64::from(since.subsec_millis());
    let (high, low) = random_pair();
    let high_bits = (ms << 16) | 0x7000 | (high & 0x0fff);
    let low_bits = (1 << 63) | (low >> 2);
    let mut text = [0; LENGTH];
    Uuid::from_u64_pair(high_bits, low_bits).hyphenated().encode_lower(&mut text);
    text
}

fn random_pair() -> (u64, u64) {
    thread_local! {
        static GENERATOR: RefCell<Generator> = const { RefCell::new(Generator::UNSEEDED) };
    }
    GENERATOR.with_borrow_mut(|generator| {
        let generation = fork::generation();
        if generator.generation != generation {
            *generator = Generator::seeded(generation);
        }
        (generator.next(), generator.next())
    })
}

/// xoshiro256++ by Blackman and Vigna.
struct Generator {
    /// The process it was seeded in; 0 for none.
    generation: u64,
    state: [u64; 4],
}

impl Generator {
    const UNSEEDED: Self = Self { generation: 0, state: [0; 4] };

    /// Seeded by two random UUIDs, which are 244 bits from the operating system; never all zero,
    /// since each has its version bits set.
    fn seeded(generation: u64) -> Self {
        let (a, b) = Uuid::new_v4().as_u64_pair();
        let (c, d) = Uuid::new_v4().as_u64_pair();
        Self { generation, state: [a, b, c, d] }
    }

    fn next(&mut self) -> u64 {
        let state = &mut self.state;
        let result = state[0].wrapping_add(state[3]).rotate_left(23).wrapping_add(state[0]);
        let shifted = state[1] << 17;
        state[2] ^= state[0];
        state[3] ^= state[1];
        state[1] ^= state[2];
        state[0] ^= state[3];
        state[2] ^= shifted;
        state[3] = state[3].rotate_left(45);
        result
    }
}

#[cfg(test)]
mod tests;
