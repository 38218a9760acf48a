//! What the writer brings to disk, and reads from there.

use std::collections::VecDeque;

use super::{
    backlog::Inherited,
    batch::{Batch, Settling},
    queue::{Queue, Settled, Wanted},
    reconcile::Doubt,
    writer::Writer,
};
use crate::stream::append_connection::Session;

/// How often that is done before anything else is looked after.
const MAX_STORES: usize = 8;

/// About so many bytes of the queue are brought to disk at once.
const STORE_BYTES: usize = 1024 * 1024;

impl Writer {
    /// Takes up the spool, and what an earlier publisher left in it.
    pub(super) async fn open_backlog(&mut self) {
        // What is in memory would come behind what is on disk.
        let only_if_empty = !self.holds_nothing();
        if let Some(inherited) = self.backlog.open(only_if_empty).await {
            self.inherit(inherited);
        }
        if !self.backlog.is_open() {
            self.shared.queue.inherited(0);
        }
    }

    /// What an earlier publisher may have sent is found out about like what we sent ourselves.
    fn inherit(&mut self, Inherited { doubt, batches }: Inherited) {
        self.doubt = Some(doubt);
        self.in_flight.extend(batches);
    }

    /// Brings everything that is not settled to disk, if there is a spool and it takes it.
    ///
    /// `session` is the connection that carries what is in flight, if it is not lost.
    pub(super) async fn store(&mut self, session: Option<&Session>) {
        if !self.backlog.is_usable() {
            return;
        }
        if !self.backlog.is_open() {
            self.open_backlog().await;
        }
        if self.backlog.is_open() && self.store_held(session).await {
            self.store_queue().await;
        }
    }

    /// What the queue does not hold any more, but comes before what it holds.
    async fn store_held(&mut self, session: Option<&Session>) -> bool {
        if !self.backlog.is_empty() || self.holds_nothing() {
            return true;
        }
        if let Some(inherited) = self.backlog.turn().await {
            self.inherit(inherited);
            return true;
        }
        if !self.backlog.is_own() {
            return false;
        }
        let refused = usize::from(self.refused.is_some());
        let in_flight = self.in_flight.len();
        let sent = refused + in_flight;
        let held: Vec<_> = self
            .refused
            .take()
            .into_iter()
            .chain(self.in_flight.drain(..))
            .chain(self.resend.drain(..))
            .collect();
        let doubt = match &self.doubt {
            Some(doubt) => doubt.clone(),
            None => Doubt { session: session.cloned(), bounds: self.bounds.of(&held[..sent]) },
        };
        self.backlog.expect(&held[..sent], doubt).await;
        let (held, numbers) = self.backlog.append(held, Some(sent)).await;
        let mut held = VecDeque::from(held);
        for (batch, number) in held.iter_mut().zip(numbers.iter().flatten()) {
            put_on_disk(&self.shared.queue, batch, *number);
        }
        if refused > 0 {
            self.refused = held.pop_front();
        }
        self.resend = held.split_off(in_flight.min(held.len()));
        self.in_flight = held;
        if numbers.is_none() {
            self.backlog.expect_nothing();
            return false;
        }
        if let Some(refused) = self.refused.take() {
            self.refused_on_disk = session.is_some();
            self.return_to_disk(refused);
        }
        for batch in std::mem::take(&mut self.resend) {
            self.return_to_disk(batch);
        }
        true
    }

    /// Brings what is queued to disk; not for ever, if more comes as fast.
    async fn store_queue(&mut self) {
        for _ in 0..MAX_STORES {
            let (mut batches, mut bytes) = (Vec::new(), 0);
            while bytes < STORE_BYTES
                && let Some(batch) = self.shared.queue.take(Wanted::ANYTHING)
            {
                bytes += batch.buffered_bytes();
                batches.push(batch);
            }
            if batches.is_empty() {
                return;
            }
            let (batches, numbers) = self.backlog.append(batches, None).await;
            let Some(numbers) = numbers else {
                batches.into_iter().rev().for_each(|batch| self.shared.queue.put_back(batch));
                return;
            };
            for (mut batch, number) in batches.into_iter().zip(numbers) {
                put_on_disk(&self.shared.queue, &mut batch, number);
                self.return_to_disk(batch);
            }
        }
    }

    /// Forgets a batch that is on disk, and keeps its receipts until it is read again.
    pub(super) fn return_to_disk(&mut self, mut batch: Batch) {
        if let Some(first) = batch.oldest_on_disk() {
            for (place, receipt) in batch.take_receipts() {
                self.backlog.take_back(first + place, Some(receipt));
            }
        }
        self.shared.queue.recycle(batch);
    }

    /// Puts what comes next on disk in front of what is to be sent.
    pub(super) async fn read_backlog(&mut self) {
        if self.in_flight.is_empty()
            && let Some(inherited) = self.backlog.turn().await
        {
            self.inherit(inherited);
            return;
        }
        let batches = self.backlog.read().await;
        self.resend.extend(batches);
        self.settle_lost();
    }

    /// What can't be read from disk any more is settled; a flush may wait for that.
    pub(super) fn settle_lost(&mut self) {
        let settled = self.backlog.settle_lost();
        self.shared.queue.settled(&settled, self.oldest_seq());
    }

    /// The publisher ends: what is left goes to disk; if there is none, it is given up, and who asks is told.
    pub(super) async fn leave_behind(&mut self) {
        self.shared.queue.close();
        self.backlog.try_again();
        self.store(None).await;
        if self.backlog.is_open() {
            self.backlog.write_note().await;
            self.backlog.sync().await;
        }
        self.give_up_rest();
    }

    /// Gives up what is not on disk, and tells who asks.
    pub(super) fn give_up_rest(&mut self) {
        self.shared.queue.close();
        while let Some(batch) = self.shared.queue.take(Wanted::ANYTHING) {
            self.resend.push_back(batch);
        }
        let held =
            self.refused.take().into_iter().chain(self.in_flight.drain(..)).chain(self.resend.drain(..));
        let mut settled = Settled::default();
        for mut batch in held.collect::<Vec<_>>() {
            let is_on_disk = batch.on_disk.is_some();
            while let Some(Settling { stream, bytes, receipt }) = batch.settle() {
                settled.add(bytes.len(), is_on_disk, receipt.is_some());
                if is_on_disk {
                    self.shared.left_on_disk(receipt);
                } else {
                    self.shared.abandon(stream, bytes, receipt.as_ref());
                }
            }
        }
        for receipt in self.backlog.take_receipts() {
            settled.add(0, true, true);
            self.shared.left_on_disk(Some(receipt));
        }
        self.shared.queue.settled(&settled, self.oldest_seq());
    }
}

/// Notes down that a batch is on disk, its unsettled requests from this number on.
fn put_on_disk(queue: &Queue, batch: &mut Batch, number: u64) {
    let (events, kept) = (batch.len() as u64, batch.receipts() as u64);
    queue.spooled(events - kept, batch.unsettled_bytes().len() as u64, kept);
    batch.put_on_disk(number);
}
