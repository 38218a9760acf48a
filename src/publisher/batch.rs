//! Requests that travel together.

use std::{collections::VecDeque, sync::Arc};

use super::receipt::ReceiptState;

/// One request of a batch.
#[derive(Clone, Copy, Debug)]
struct Request {
    /// Bytes of the request.
    len: u32,
    /// Which stream, by its place in the queue's table.
    stream: u16,
}

/// A request taken out of its batch.
pub(super) struct Settling<'a> {
    pub stream: u16,
    /// The request as it was sent.
    pub bytes: &'a [u8],
    pub receipt: Option<Arc<ReceiptState>>,
}

/// Requests in the order they were accepted, one behind the other in one buffer.
///
/// `first_seq` is the number of the oldest request in it, counted from the publisher's first: as long
/// as the batch is unsettled, no event from that number on counts as settled.
#[derive(Debug, Default)]
pub(super) struct Batch {
    bytes: Vec<u8>,
    requests: VecDeque<Request>,
    /// Receipts that someone holds, with the place of their request counted from the batch's first ever.
    receipts: VecDeque<(u64, Arc<ReceiptState>)>,
    /// Bytes of requests that are settled already.
    settled_bytes: usize,
    /// Requests that are settled already.
    settled: u64,
    pub first_seq: u64,
}

impl Batch {
    pub(super) fn with_capacity(bytes: usize) -> Self {
        Self { bytes: Vec::with_capacity(bytes), ..Self::default() }
    }

    /// Adds the request that `parts` make up together.
    pub(super) fn push(&mut self, parts: &[&[u8]], stream: u16, receipt: Option<Arc<ReceiptState>>) {
        let before = self.bytes.len();
        for part in parts {
            self.bytes.extend_from_slice(part);
        }
        if let Some(receipt) = receipt {
            self.receipts.push_back((self.settled + self.requests.len() as u64, receipt));
        }
        let len = u32::try_from(self.bytes.len() - before).expect("an entry is bounded far below 4 GiB");
        self.requests.push_back(Request { len, stream });
    }

    /// Takes the oldest unsettled request out.
    pub(super) fn settle(&mut self) -> Option<Settling<'_>> {
        let request = self.requests.pop_front()?;
        let start = self.settled_bytes;
        self.settled_bytes += request.len as usize;
        let is_ours = self.receipts.front().is_some_and(|(place, _)| *place == self.settled);
        let receipt = if is_ours { self.receipts.pop_front() } else { None };
        self.settled += 1;
        let bytes = &self.bytes[start..self.settled_bytes];
        Some(Settling { stream: request.stream, bytes, receipt: receipt.map(|(_, receipt)| receipt) })
    }

    /// Bytes of all requests that are not settled.
    pub(super) fn unsettled_bytes(&self) -> &[u8] {
        &self.bytes[self.settled_bytes..]
    }

    /// The last `len` bytes of the buffer: what is not written yet.
    pub(super) fn tail(&self, len: usize) -> &[u8] {
        &self.bytes[self.bytes.len() - len..]
    }

    /// How many unsettled requests begin before the last `unwritten` bytes of the buffer.
    pub(super) fn begun(&self, unwritten: usize) -> usize {
        let written = self.bytes.len() - unwritten;
        let mut start = self.settled_bytes;
        let is_begun = |request: &&Request| -> bool {
            let begun = start < written;
            start += request.len as usize;
            begun
        };
        self.requests.iter().take_while(is_begun).count()
    }

    /// How many requests are not settled.
    pub(super) fn len(&self) -> usize {
        self.requests.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    /// The number of the oldest unsettled request; exact for a batch that was never thinned out.
    pub(super) fn oldest_seq(&self) -> u64 {
        self.first_seq + self.settled
    }

    /// Bytes of the whole buffer, settled requests included.
    pub(super) fn buffered_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Empties it for another use, keeping the memory.
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.requests.clear();
        self.receipts.clear();
        self.settled_bytes = 0;
        self.settled = 0;
        self.first_seq = 0;
    }
}
