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
    /// The greatest place of a stream in it.
    max_stream: u16,
    pub first_seq: u64,
    /// The number that its first request ever has on disk, if it is there; the others' follow.
    pub on_disk: Option<u64>,
}

impl Batch {
    pub(super) fn with_capacity(bytes: usize) -> Self {
        Self { bytes: Vec::with_capacity(bytes), ..Self::default() }
    }

    /// A batch for requests from the one numbered `first_seq` on.
    pub(super) fn from_seq(first_seq: u64) -> Self {
        Self { first_seq, ..Self::default() }
    }

    /// A batch for what is on disk from this number on.
    pub(super) fn from_disk(number: u64) -> Self {
        Self { on_disk: Some(number), ..Self::default() }
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
        self.max_stream = self.max_stream.max(stream);
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

    /// The unsettled requests with their streams, the oldest first.
    pub(super) fn requests(&self) -> impl Iterator<Item = (u16, &[u8])> {
        self.requests.iter().scan(self.settled_bytes, |start, request| {
            let end = *start + request.len as usize;
            let bytes = &self.bytes[*start..end];
            *start = end;
            Some((request.stream, bytes))
        })
    }

    /// Takes the receipts of the unsettled requests, each with the place of its request among these.
    pub(super) fn take_receipts(&mut self) -> impl Iterator<Item = (u64, Arc<ReceiptState>)> {
        let settled = self.settled;
        std::mem::take(&mut self.receipts).into_iter().map(move |(place, receipt)| (place - settled, receipt))
    }

    /// How many receipts of unsettled requests someone holds.
    pub(super) fn receipts(&self) -> usize {
        self.receipts.len()
    }

    /// Takes off the last requests, those of which some of the last `unwritten` bytes are part.
    pub(super) fn split_off(&mut self, unwritten: usize) -> Self {
        let written = self.bytes.len() - unwritten;
        let (mut end, mut whole) = (self.settled_bytes, 0);
        for request in &self.requests {
            if end + request.len as usize > written {
                break;
            }
            end += request.len as usize;
            whole += 1;
        }
        let at = self.settled + whole as u64;
        let receipts = self.receipts.partition_point(|(place, _)| *place < at);
        let receipts = self.receipts.split_off(receipts).into_iter();
        Self {
            bytes: self.bytes.split_off(end),
            requests: self.requests.split_off(whole),
            receipts: receipts.map(|(place, receipt)| (place - at, receipt)).collect(),
            settled_bytes: 0,
            settled: 0,
            max_stream: self.max_stream,
            first_seq: self.first_seq + at,
            on_disk: self.on_disk.map(|number| number.wrapping_add(at)),
        }
    }

    /// Bytes of all requests that are not settled.
    pub(super) fn unsettled_bytes(&self) -> &[u8] {
        &self.bytes[self.settled_bytes..]
    }

    /// The last `len` bytes of the buffer: what is not written yet.
    pub(super) fn tail(&self, len: usize) -> &[u8] {
        &self.bytes[self.bytes.len() - len..]
    }

    /// Whether some of the last `unwritten` bytes are part of the oldest unsettled request.
    pub(super) fn is_part_of_oldest(&self, unwritten: usize) -> bool {
        let written = self.bytes.len() - unwritten;
        self.requests.front().is_some_and(|oldest| self.settled_bytes + oldest.len as usize > written)
    }

    /// How many requests are not settled.
    pub(super) fn len(&self) -> usize {
        self.requests.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }

    /// The greatest place of a stream that it ever held a request for.
    pub(super) fn max_stream(&self) -> u16 {
        self.max_stream
    }

    /// The number of the oldest unsettled request; exact for a batch that was never thinned out.
    pub(super) fn oldest_seq(&self) -> u64 {
        self.first_seq + self.settled
    }

    /// The number on disk of the oldest unsettled request, if it is there.
    pub(super) fn oldest_on_disk(&self) -> Option<u64> {
        self.on_disk.map(|number| number.wrapping_add(self.settled))
    }

    /// It is on disk as well, its unsettled requests from this number on.
    pub(super) fn put_on_disk(&mut self, number: u64) {
        self.on_disk = Some(number.wrapping_sub(self.settled));
    }

    /// Bytes of the whole buffer, settled requests included.
    pub(super) fn buffered_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Empties it for another use, keeping the memory.
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        let (bytes, mut requests) = (std::mem::take(&mut self.bytes), std::mem::take(&mut self.requests));
        requests.clear();
        *self = Self { bytes, requests, ..Self::default() };
    }
}
