//! Sending on one connection: batches out, replies in, both at once.

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _, WriteHalf},
    time::Instant,
};

use super::{
    DeliveryError,
    backlog::SYNC_INTERVAL,
    batch::{Batch, Settling},
    queue::{Queue, Settled, Wanted},
    writer::{SessionEnd, Writer, ended_by, thinned},
};
use crate::stream::{
    EntryId, StreamError,
    append_connection::{AppendConnection, Session},
    reply, resp,
    wire::Wire,
};

/// Batches that may be on their way at once: one being executed, one in the socket's buffer behind it.
const MAX_IN_FLIGHT: usize = 2;

/// How much of the replies is read at once.
const REPLIES_BYTES: usize = 64 * 1024;

/// Why the exchange stops.
enum Pause {
    /// The next batch writes to streams of which it is not known how far they go; nothing is in flight.
    NewStreams,
    End(SessionEnd),
}

/// The way out of a connection.
struct Out {
    /// What is written may be held back, by TLS, until it is flushed.
    is_buffered: bool,
    is_held_back: bool,
}

impl Out {
    /// Writes some of what is not written, or flushes if all is. One thing at a time: a future that is dropped has
    /// done nothing that its caller does not know of.
    async fn write(
        &mut self,
        writer: &mut WriteHalf<&mut Wire>,
        batch: Option<&Batch>,
        unwritten: usize,
    ) -> std::io::Result<usize> {
        let Some(batch) = batch.filter(|_| unwritten > 0) else {
            writer.flush().await?;
            self.is_held_back = false;
            return Ok(0);
        };
        let count = writer.write(batch.tail(unwritten)).await?;
        if count == 0 {
            return Err(std::io::ErrorKind::WriteZero.into());
        }
        self.is_held_back = self.is_buffered;
        Ok(count)
    }
}

impl Writer {
    /// Sends until the connection has to be left.
    pub(super) async fn exchange(&mut self, connection: &mut AppendConnection) -> SessionEnd {
        loop {
            match self.send_and_count(connection).await {
                Pause::End(end) => return end,
                Pause::NewStreams => {
                    let stop = self.shared.stop.clone();
                    match stop.run_until_cancelled(self.look_up(connection)).await {
                        None => return SessionEnd::Stopped,
                        Some(Err(error)) => return ended_by(error),
                        Some(Ok(())) => {}
                    }
                }
            }
        }
    }

    /// Asks how far the streams of the next batch go, those that are written to for the first time.
    async fn look_up(&mut self, connection: &mut AppendConnection) -> Result<(), StreamError> {
        let Some(next) = self.resend.front() else { return Ok(()) };
        for place in self.bounds.missing(next.max_stream()) {
            let name = self.shared.queue.stream(place).name;
            match connection.extent(&name).await {
                Ok(extent) => self.bounds.add(Some(extent)),
                Err(error @ StreamError::Refused { .. }) if !error.is_transient() => self.bounds.add(None),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Writes batches and counts replies, both at once.
    async fn send_and_count(&mut self, connection: &mut AppendConnection) -> Pause {
        let (shared, session) = (self.shared.clone(), connection.session.clone());
        let mut out = Out { is_buffered: connection.wire().is_buffered(), is_held_back: false };
        let (mut reader, mut writer) = tokio::io::split(connection.wire());
        let mut replies = Vec::with_capacity(REPLIES_BYTES);
        let mut heard = Instant::now();
        loop {
            // The queue is ready without asking the runtime, which must not keep it from reading replies.
            tokio::task::coop::consume_budget().await;
            if let Err(pause) = self.fill_window(session.as_ref()).await {
                return pause;
            }
            let is_idle = self.in_flight.is_empty();
            if is_idle {
                heard = Instant::now();
            }
            let wanted = self.wanted();
            let disk = self.disk_work();
            let silent_at = heard.checked_add(shared.config.response_timeout);
            let progress = tokio::select! {
                biased;
                read = reader.read_buf(&mut replies) => {
                    heard = Instant::now();
                    self.count_replies(read, &mut replies)
                }
                wrote = out.write(&mut writer, self.in_flight.back(), self.unwritten),
                    if self.unwritten > 0 || out.is_held_back =>
                {
                    heard = Instant::now();
                    wrote.map(|count| self.unwritten -= count).map_err(|error| self.lost(&error.to_string()))
                }
                () = shared.stop.cancelled() => Err(SessionEnd::Stopped),
                () = shared.queue.ready(wanted.unwrap_or(Wanted::ANYTHING)), if wanted.is_some() => Ok(()),
                () = tokio::time::sleep_until(disk.unwrap_or(heard)), if disk.is_some() => {
                    self.backlog.sync().await;
                    Ok(())
                }
                () = tokio::time::sleep_until(silent_at.unwrap_or(heard)), if !is_idle && silent_at.is_some() => {
                    Err(self.lost(&format!("no reply within {:?}", shared.config.response_timeout)))
                }
            };
            if let Err(end) = progress {
                return Pause::End(end);
            }
        }
    }

    /// What of the queue to wait for.
    fn wanted(&self) -> Option<Wanted> {
        // A closed queue is always ready. With nothing in flight that ends the session, or sends what was accepted
        // just before; otherwise the replies come first.
        let is_idle = self.in_flight.is_empty();
        let is_closed = self.shared.queue.is_closed();
        // What is to be sent again and could not be taken waits for replies: it is for streams to be looked up.
        if self.may_take() && self.backlog.is_empty() && self.resend.is_empty() {
            let wanted = if is_idle { Wanted::ANYTHING } else { Wanted::A_BATCH };
            return (is_idle || !is_closed).then_some(wanted);
        }
        (self.backlog.is_usable() && !is_closed).then_some(Wanted::A_CROWD)
    }

    /// When to see to the disk: to make it keep what it was given, or to try again what failed.
    fn disk_work(&self) -> Option<Instant> {
        let is_stuck = self.in_flight.is_empty() && !self.backlog.is_empty();
        self.backlog.next_work().or_else(|| is_stuck.then(|| Instant::now() + SYNC_INTERVAL))
    }

    /// Puts the next batch on its way if there is one, and says when there is nothing more to do here.
    async fn fill_window(&mut self, session: Option<&Session>) -> Result<(), Pause> {
        if self.in_flight.is_empty() && (self.refused.is_some() || self.refused_on_disk) {
            let reason = self.shared.stats.last_refusal();
            return Err(Pause::End(SessionEnd::Refused(reason)));
        }
        if self.backlog.is_usable() && self.shared.queue.has_crowd() {
            self.store(session).await;
        }
        if self.backlog.clear().await {
            self.settle_lost();
        }
        if self.backlog.is_missing() && self.holds_nothing() {
            self.open_backlog().await;
        }
        if self.doubt.is_some() {
            // What another publisher had on its way, from whose spool is read now: that is found out first.
            return Err(Pause::End(SessionEnd::Idle));
        }
        if !self.may_take() {
            return Ok(());
        }
        let next = self.next_batch().await;
        if self.doubt.is_some() {
            return Err(Pause::End(SessionEnd::Idle));
        }
        let Some(batch) = next else {
            return if self.in_flight.is_empty() && self.is_done() {
                Err(Pause::End(SessionEnd::Closed))
            } else {
                Ok(())
            };
        };
        if !self.bounds.missing(batch.max_stream()).is_empty() {
            self.resend.push_front(batch);
            return if self.in_flight.is_empty() { Err(Pause::NewStreams) } else { Ok(()) };
        }
        if batch.on_disk.is_some() {
            self.backlog.declare(&batch, session, &self.bounds).await;
        }
        self.unwritten = batch.unsettled_bytes().len();
        self.in_flight.push_back(batch);
        Ok(())
    }

    fn may_take(&self) -> bool {
        let is_refused = self.refused.is_some() || self.refused_on_disk;
        self.unwritten == 0 && !is_refused && self.in_flight.len() < MAX_IN_FLIGHT
    }

    /// The oldest requests that are not in flight.
    async fn next_batch(&mut self) -> Option<Batch> {
        if let Some(batch) = self.resend.pop_front() {
            return Some(batch);
        }
        if !self.backlog.is_empty() {
            self.read_backlog().await;
            return self.resend.pop_front();
        }
        let queue = &self.shared.queue;
        let linger = self.shared.config.linger;
        if !self.in_flight.is_empty() {
            return queue.take(Wanted::A_BATCH);
        }
        let is_waiting = queue.depth().queued_bytes > 0;
        if !linger.is_zero() && is_waiting && !queue.is_flushing() {
            let _ = tokio::time::timeout(linger, queue.ready(Wanted::A_BATCH)).await;
        }
        queue.take(Wanted::ANYTHING)
    }

    /// Settles the requests whose replies have come.
    fn count_replies(
        &mut self,
        read: std::io::Result<usize>,
        replies: &mut Vec<u8>,
    ) -> Result<(), SessionEnd> {
        let broken = match read {
            Ok(0) => Some("the server closed the connection".to_owned()),
            Ok(_) => None,
            Err(error) => Some(error.to_string()),
        };
        if let Some(reason) = broken {
            // Servers may end connections that carry nothing for long; that keeps nothing from being sent.
            return Err(if self.in_flight.is_empty() { SessionEnd::Idle } else { self.lost(&reason) });
        }
        let (mut settled, mut at) = (Settled::default(), 0);
        let outcome = loop {
            match resp::next(replies, at) {
                Ok(None) => break Ok(()),
                Ok(Some((reply, behind))) => {
                    if let Err(reason) = self.settle_next(reply, replies, &mut settled) {
                        break Err(self.lost(reason));
                    }
                    at = behind;
                }
                Err(error) => break Err(self.lost(&error.to_string())),
            }
        };
        self.bounds.keep(replies);
        replies.drain(..at);
        self.report(&settled);
        outcome
    }

    /// Settles the oldest request by its reply; says what is wrong if it can't be the reply to that.
    fn settle_next(
        &mut self,
        reply: resp::Reply,
        replies: &[u8],
        settled: &mut Settled,
    ) -> Result<(), &'static str> {
        const UNASKED: &str = "it sent a reply that nothing was asked for";
        let is_last = self.in_flight.len() == 1;
        let Some(batch) = self.in_flight.front_mut() else { return Err(UNASKED) };
        if is_last && self.unwritten > 0 && batch.is_part_of_oldest(self.unwritten) {
            return Err(UNASKED);
        }
        if let resp::Reply::Value(range) = &reply
            && !replies[range.clone()].first().is_some_and(u8::is_ascii_digit)
        {
            return Err("it answered an event with something that is no entry's id; is it redis?");
        }
        let (seq, on_disk) = (batch.oldest_seq(), batch.oldest_on_disk());
        let Some(Settling { stream, bytes, receipt }) = batch.settle() else { return Err(UNASKED) };
        match reply {
            resp::Reply::Value(range) => {
                settled.published += 1;
                settled.add(bytes.len(), on_disk.is_some(), receipt.is_some());
                if let Some(receipt) = receipt {
                    receipt.settle(&entry_id(stream, &replies[range.clone()], &self.shared.queue));
                }
                self.bounds.acknowledged(stream, range);
                self.backlog.note_settled(on_disk);
            }
            resp::Reply::Error(range) => {
                let reason = String::from_utf8_lossy(&replies[range]).into_owned();
                if reply::is_final(&reason) {
                    settled.failed += 1;
                    settled.add(bytes.len(), on_disk.is_some(), receipt.is_some());
                    self.shared.give_up(stream, bytes, reason, receipt.as_ref());
                    self.backlog.note_settled(on_disk);
                } else {
                    match on_disk {
                        Some(number) => {
                            self.refused_on_disk = true;
                            self.backlog.take_back(number, receipt);
                        }
                        None => thinned(&mut self.refused, seq).push(&[bytes], stream, receipt),
                    }
                    self.shared.stats.refused_for_now(reason);
                }
            }
        }
        if let Some(batch) = self.in_flight.pop_front_if(|batch| batch.is_empty()) {
            self.shared.queue.recycle(batch);
        }
        Ok(())
    }

    pub(super) fn report(&mut self, settled: &Settled) {
        if settled.published > 0 {
            // Health is proven by an event that arrived, not by a connection that opened.
            self.backoff.reset();
            self.shared.stats.healthy(settled.published);
        }
        if settled.published + settled.failed > 0 {
            self.backlog.report();
            self.shared.queue.settled(settled, self.oldest_seq());
        }
    }

    fn lost(&self, reason: &str) -> SessionEnd {
        let address = self.shared.settings.to_string();
        SessionEnd::Lost(StreamError::Unreachable { address, reason: reason.to_owned() })
    }
}

/// The id of the entry that an event became.
fn entry_id(stream: u16, text: &[u8], queue: &Queue) -> Result<EntryId, DeliveryError> {
    EntryId::from_bytes(text).ok_or_else(|| DeliveryError::Refused {
        stream: queue.stream(stream).name.to_string(),
        reason: format!("redis answered {:?}, which is not an entry id", String::from_utf8_lossy(text)),
    })
}
