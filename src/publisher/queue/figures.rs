//! What is asked of a queue, and what is said of it.

use super::WORTH_SENDING_BYTES;

/// What the writer waits for.
#[derive(Clone, Copy, Debug)]
pub(in crate::publisher) struct Wanted {
    /// So many bytes are ready; or any at all, if somebody waits for a flush.
    pub(super) bytes: usize,
    /// The queue is nearly full.
    pub(super) crowd: bool,
}

impl Wanted {
    /// Anything to send.
    pub(in crate::publisher) const ANYTHING: Self = Self { bytes: 1, crowd: false };
    /// Enough for a batch of its own.
    pub(in crate::publisher) const A_BATCH: Self = Self { bytes: WORTH_SENDING_BYTES, crowd: false };
    /// A queue that is nearly full.
    pub(in crate::publisher) const A_CROWD: Self = Self { bytes: usize::MAX, crowd: true };
}

/// What is settled at once, and the room that it took.
#[derive(Debug, Default)]
pub(in crate::publisher) struct Settled {
    pub published: u64,
    pub failed: u64,
    pub events: u64,
    pub bytes: u64,
    /// Of the events: those on disk.
    pub kept: u64,
}

impl Settled {
    /// An event of so many bytes is settled; one that is on disk took room only if it has a receipt.
    #[inline]
    pub(in crate::publisher) fn add(&mut self, bytes: usize, is_on_disk: bool, has_receipt: bool) {
        if is_on_disk {
            self.events += u64::from(has_receipt);
            self.kept += u64::from(has_receipt);
        } else {
            self.events += 1;
            self.bytes += bytes as u64;
        }
    }
}

/// What is queued and in flight.
#[derive(Clone, Copy, Debug)]
pub(in crate::publisher) struct Depth {
    pub accepted: u64,
    pub settled_before: u64,
    pub events: u64,
    pub bytes: u64,
    pub kept: u64,
    pub inherited: u64,
    pub queued: u64,
    pub queued_bytes: usize,
}
