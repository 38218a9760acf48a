//! A packet some of whose attachments are still to come.

use bytes::Bytes;

use crate::{close::CloseReason, socketio::packet::Packet};

/// The packet and what has come of its attachments. Kept as text: its size is what is bounded.
pub(super) struct Incomplete {
    text: Box<str>,
    missing: u32,
    attachments: Vec<Bytes>,
    bytes: usize,
}

impl Incomplete {
    /// A packet that has attachments, and its text.
    pub(super) fn of(packet: &Packet<'_>, text: &str) -> Self {
        let (missing, bytes) = (packet.attachments, text.len());
        Self { text: text.into(), missing, attachments: Vec::new(), bytes }
    }

    /// Takes the next attachment; whether it was the last.
    ///
    /// # Errors
    ///
    /// If the packet is larger than `max_bytes`, all of it together.
    pub(super) fn take(&mut self, attachment: &[u8], max_bytes: usize) -> Result<bool, CloseReason> {
        self.bytes += attachment.len();
        if self.bytes > max_bytes {
            return Err(CloseReason::MessageTooLarge);
        }
        self.attachments.push(Bytes::copy_from_slice(attachment));
        self.missing -= 1;
        Ok(self.missing == 0)
    }

    /// The packet.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// What has come of its attachments.
    pub(super) fn attachments(&self) -> &[Bytes] {
        &self.attachments
    }
}
