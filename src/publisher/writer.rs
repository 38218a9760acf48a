//! The one task that sends what a publisher has accepted.
//!
//! While a batch is on its way the next one gathers by itself. Requests are settled strictly in the
//! order of their replies; what was not settled when a connection ends is sent again on the next one,
//! before anything newer.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, WriteHalf};

use super::{
    DeliveryError, Shared,
    batch::{Batch, Settling},
    queue::WORTH_SENDING_BYTES,
};
use crate::{
    backoff::Backoff,
    stream::{EntryId, StreamError, reply, resp, wire::Wire},
};

/// Batches that may be on their way at once: one being executed, one in the socket's buffer behind it.
const MAX_IN_FLIGHT: usize = 2;

/// How much of the replies is read at once.
const REPLIES_BYTES: usize = 64 * 1024;

/// Sends what its publisher accepts, until the publisher is closed. See [`super::Publisher::new`].
#[derive(Debug)]
pub struct Writer {
    shared: Arc<Shared>,
    /// Older than anything in the queue: what an ended connection left unsettled, and what was refused for now.
    resend: VecDeque<Batch>,
    /// Written to the connection, wholly or in part; the oldest first.
    in_flight: VecDeque<Batch>,
    /// Bytes of the last batch in flight that are not written yet.
    unwritten: usize,
    /// Refused by the server for the moment; older than what is in flight.
    refused: Option<Batch>,
    backoff: Backoff,
}

/// Why a connection was left.
#[derive(Debug)]
enum SessionEnd {
    /// The publisher is closed, and all it had accepted is settled.
    Closed,
    /// The connection broke, or never came to be.
    Lost(StreamError),
    /// The server can't take events for the moment: its words.
    Refused(String),
}

/// What one piece of replies settled.
#[derive(Default)]
struct Settled {
    published: u64,
    failed: u64,
    bytes: u64,
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            resend: VecDeque::new(),
            in_flight: VecDeque::new(),
            unwritten: 0,
            refused: None,
            backoff: Backoff::default(),
        }
    }

    /// Sends until the publisher is closed and everything is settled, or until it is told to stop.
    pub async fn run(mut self) {
        let stop = self.shared.stop.clone();
        // Also when the task is dropped: whoever waits for this writer must not wait for ever.
        let _end = EndQueue(self.shared.clone());
        stop.run_until_cancelled(self.send_until_closed()).await;
        self.abandon();
    }

    async fn send_until_closed(&mut self) {
        self.shared.queue.ready(1).await;
        loop {
            let end = match self.connect().await {
                Ok(wire) => self.session(wire).await,
                Err(error) => SessionEnd::Lost(error),
            };
            self.take_back();
            match end {
                SessionEnd::Closed => return,
                SessionEnd::Lost(error) => self.shared.stats.lost(&error.to_string()),
                SessionEnd::Refused(reason) => self.shared.stats.lost(&reason),
            }
            if self.has_nothing() && self.shared.queue.is_closed() {
                return;
            }
            tokio::time::sleep(self.backoff.next_delay()).await;
            if self.has_nothing() {
                self.shared.queue.ready(1).await;
            }
        }
    }

    async fn connect(&mut self) -> Result<Wire, StreamError> {
        let mut wire = Wire::open(&self.shared.settings).await?;
        wire.greet(&self.shared.settings).await?;
        Ok(wire)
    }

    /// Writes batches and counts replies, both at once, until the connection has to be left.
    async fn session(&mut self, wire: Wire) -> SessionEnd {
        let shared = self.shared.clone();
        let (mut reader, mut writer) = tokio::io::split(wire);
        let mut replies = Vec::with_capacity(REPLIES_BYTES);
        loop {
            if let Err(end) = self.fill_window().await {
                return end;
            }
            let worth = if self.in_flight.is_empty() { 1 } else { WORTH_SENDING_BYTES };
            // A closed queue is always ready. With nothing in flight that ends the session, or sends what was
            // accepted just before; otherwise the replies come first.
            let may_take = self.may_take() && (self.in_flight.is_empty() || !shared.queue.is_closed());
            let progress = tokio::select! {
                biased;
                read = reader.read_buf(&mut replies) => self.count_replies(read, &mut replies),
                wrote = Self::write(&mut writer, self.in_flight.back(), self.unwritten), if self.unwritten > 0 => {
                    wrote.map(|count| self.unwritten -= count).map_err(|error| self.lost(&error.to_string()))
                }
                () = shared.queue.ready(worth), if may_take => Ok(()),
            };
            if let Err(end) = progress {
                return end;
            }
        }
    }

    /// Puts the next batch on its way if there is one, and says when there is nothing more to do here.
    async fn fill_window(&mut self) -> Result<(), SessionEnd> {
        if self.in_flight.is_empty() && self.refused.is_some() {
            let reason = self.shared.stats.last_refusal();
            return Err(SessionEnd::Refused(reason));
        }
        if !self.may_take() {
            return Ok(());
        }
        let Some(batch) = self.next_batch().await else {
            let is_done = self.in_flight.is_empty() && self.shared.queue.is_closed();
            return if is_done && self.shared.queue.depth().queued_bytes == 0 {
                Err(SessionEnd::Closed)
            } else {
                Ok(())
            };
        };
        self.unwritten = batch.unsettled_bytes().len();
        self.in_flight.push_back(batch);
        Ok(())
    }

    fn may_take(&self) -> bool {
        self.unwritten == 0 && self.refused.is_none() && self.in_flight.len() < MAX_IN_FLIGHT
    }

    async fn next_batch(&mut self) -> Option<Batch> {
        if let Some(batch) = self.resend.pop_front() {
            return Some(batch);
        }
        let queue = &self.shared.queue;
        let linger = self.shared.config.linger;
        if !self.in_flight.is_empty() {
            return queue.take(WORTH_SENDING_BYTES);
        }
        let is_waiting = queue.depth().queued_bytes > 0;
        if linger > Duration::ZERO && is_waiting && !queue.is_flushing() {
            let _ = tokio::time::timeout(linger, queue.ready(WORTH_SENDING_BYTES)).await;
        }
        queue.take(1)
    }

    async fn write(
        writer: &mut WriteHalf<Wire>,
        batch: Option<&Batch>,
        unwritten: usize,
    ) -> std::io::Result<usize> {
        let Some(batch) = batch else { return Ok(0) };
        let count = writer.write(batch.tail(unwritten)).await?;
        if count == 0 {
            return Err(std::io::ErrorKind::WriteZero.into());
        }
        if count == unwritten {
            // TLS may hold back the end of what it was given.
            writer.flush().await?;
        }
        Ok(count)
    }

    /// Settles the requests whose replies have come.
    fn count_replies(
        &mut self,
        read: std::io::Result<usize>,
        replies: &mut Vec<u8>,
    ) -> Result<(), SessionEnd> {
        match read {
            Ok(0) => return Err(self.lost("the server closed the connection")),
            Ok(_) => {}
            Err(error) => return Err(self.lost(&error.to_string())),
        }
        let (mut settled, mut at) = (Settled::default(), 0);
        let outcome = loop {
            match resp::next(replies, at) {
                Ok(None) => break Ok(()),
                Ok(Some((reply, behind))) => {
                    if !self.settle_next(reply, replies, &mut settled) {
                        break Err(self.lost("it sent a reply that nothing was asked for"));
                    }
                    at = behind;
                }
                Err(error) => break Err(self.lost(&error.to_string())),
            }
        };
        replies.drain(..at);
        self.report(&settled);
        outcome
    }

    /// Settles the oldest request by its reply; `false` if there is no request to settle.
    fn settle_next(&mut self, reply: resp::Reply, replies: &[u8], settled: &mut Settled) -> bool {
        let Some(batch) = self.in_flight.front_mut() else { return false };
        let seq = batch.oldest_seq();
        let Some(Settling { stream, bytes, receipt }) = batch.settle() else { return false };
        let len = bytes.len() as u64;
        match reply {
            resp::Reply::Value(range) => {
                settled.published += 1;
                settled.bytes += len;
                if let Some(receipt) = receipt {
                    receipt.settle(&entry_id(&replies[range]));
                }
            }
            resp::Reply::Error(range) => {
                let reason = String::from_utf8_lossy(&replies[range]).into_owned();
                if reply::is_waited_out(&reason) {
                    refused_batch(&mut self.refused, seq).push(&[bytes], stream, receipt);
                    self.shared.stats.refused_for_now(reason);
                } else {
                    settled.failed += 1;
                    settled.bytes += len;
                    self.shared.give_up(stream, reason, receipt.as_ref());
                }
            }
        }
        if let Some(batch) = self.in_flight.pop_front_if(|batch| batch.is_empty()) {
            self.shared.queue.recycle(batch);
        }
        true
    }

    fn report(&mut self, settled: &Settled) {
        if settled.published > 0 {
            // Health is proven by an event that arrived, not by a connection that opened.
            self.backoff.reset();
            self.shared.stats.healthy(settled.published);
        }
        let events = settled.published + settled.failed;
        if events > 0 {
            self.shared.queue.settled(events, settled.bytes, self.oldest_seq());
        }
    }

    /// The number below which every event is settled.
    fn oldest_seq(&self) -> u64 {
        let held =
            self.refused.iter().chain(&self.in_flight).chain(&self.resend).map(Batch::oldest_seq).min();
        held.unwrap_or_else(|| self.shared.queue.oldest_seq())
    }

    /// After a connection: what is not settled comes first on the next one.
    fn take_back(&mut self) {
        let unwritten = std::mem::take(&mut self.unwritten);
        let last = self.in_flight.len().saturating_sub(1);
        let begun = self.in_flight.iter().enumerate();
        let begun: usize = begun
            .map(|(place, batch)| if place == last { batch.begun(unwritten) } else { batch.len() })
            .sum();
        let refused = self.refused.take();
        let retried = begun + refused.as_ref().map_or(0, Batch::len);
        self.shared.stats.taken_back(retried as u64, begun as u64);
        while let Some(batch) = self.in_flight.pop_back() {
            self.resend.push_front(batch);
        }
        if let Some(batch) = refused {
            self.resend.push_front(batch);
        }
    }

    fn has_nothing(&self) -> bool {
        self.resend.is_empty() && self.shared.queue.depth().queued_bytes == 0
    }

    /// Told to stop: what is left is given up, and whoever holds a receipt is told.
    fn abandon(&mut self) {
        self.take_back();
        self.shared.queue.close();
        while let Some(batch) = self.shared.queue.take(1) {
            self.resend.push_back(batch);
        }
        let (mut events, mut bytes) = (0, 0);
        for mut batch in std::mem::take(&mut self.resend) {
            while let Some(Settling { stream, bytes: request, receipt }) = batch.settle() {
                events += 1;
                bytes += request.len() as u64;
                self.shared.abandon(stream, receipt.as_ref());
            }
        }
        self.shared.queue.settled(events, bytes, self.oldest_seq());
    }

    fn lost(&self, reason: &str) -> SessionEnd {
        let address = self.shared.settings.to_string();
        SessionEnd::Lost(StreamError::Unreachable { address, reason: reason.to_owned() })
    }
}

/// Where requests gather that the server refuses for the moment, from the one numbered `seq` on.
fn refused_batch(refused: &mut Option<Batch>, seq: u64) -> &mut Batch {
    refused.get_or_insert_with(|| {
        let mut batch = Batch::default();
        batch.first_seq = seq;
        batch
    })
}

fn entry_id(text: &[u8]) -> Result<EntryId, DeliveryError> {
    let id = std::str::from_utf8(text).ok().and_then(|text| text.parse().ok());
    id.ok_or_else(|| DeliveryError::Refused {
        stream: String::new(),
        reason: format!(
            "the server answered with {:?}, which is not an entry id",
            String::from_utf8_lossy(text)
        ),
    })
}

/// Ends the queue when the writer is gone, however it went.
struct EndQueue(Arc<Shared>);

impl Drop for EndQueue {
    fn drop(&mut self) {
        self.0.queue.end();
    }
}
