//! The one task that sends what a publisher has accepted.
//!
//! It connects, finds out what became of the events that an earlier connection carried, and sends what has gathered
//! ([`session`](super::session)) until the connection has to be left; then again. Requests are settled strictly in the
//! order of their replies. What is not settled comes before anything newer; what redis can't take for now goes to disk,
//! if there is a spool ([`backlog`](super::backlog)).

use std::{collections::VecDeque, sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{
    DeliveryError, Shared,
    backlog::{Backlog, SYNC_INTERVAL},
    batch::{Batch, Settling},
    bounds::Bounds,
    queue::{Settled, Wanted},
    reconcile::{Doubt, Doubtful, Fate, fates},
};
use crate::{
    backoff::Backoff,
    stream::{
        StreamError,
        append_connection::{AppendConnection, Session},
    },
};

/// Sends what its publisher accepts, until the publisher is closed. See [`super::Publisher::new`].
#[derive(Debug)]
pub struct Writer {
    pub(super) shared: Arc<Shared>,
    /// Older than anything in the queue: what is to be sent again, and what waits for a word about its streams.
    pub(super) resend: VecDeque<Batch>,
    /// Written to the connection, wholly or in part; the oldest first.
    pub(super) in_flight: VecDeque<Batch>,
    /// Bytes of the last batch in flight that are not written yet.
    pub(super) unwritten: usize,
    /// Refused by the server for the moment; older than what is in flight.
    pub(super) refused: Option<Batch>,
    /// Some of what is on disk was refused for the moment.
    pub(super) refused_on_disk: bool,
    /// The connection that carried what is in flight is lost.
    pub(super) doubt: Option<Doubt>,
    pub(super) bounds: Bounds,
    pub(super) backlog: Backlog,
    pub(super) backoff: Backoff,
    /// Redis took nothing when last asked.
    is_down: bool,
    /// Whoever waits for this writer must not wait for ever, however it ends.
    _end: EndQueue,
}

/// Why a connection was left.
#[derive(Debug)]
pub(super) enum SessionEnd {
    /// The publisher is closed, and all it had accepted is settled.
    Closed,
    /// The publisher was told to stop.
    Stopped,
    /// The server ended it while there was nothing to send.
    Idle,
    /// The connection broke, or never came to be.
    Lost(StreamError),
    /// The server can't take events for the moment: its words.
    Refused(String),
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self {
            _end: EndQueue(shared.clone()),
            backlog: Backlog::new(&shared),
            shared,
            resend: VecDeque::new(),
            in_flight: VecDeque::new(),
            unwritten: 0,
            refused: None,
            refused_on_disk: false,
            doubt: None,
            bounds: Bounds::default(),
            backoff: Backoff::default(),
            is_down: false,
        }
    }

    /// Sends until the publisher is closed and everything is settled, or until it is told to stop.
    pub async fn run(mut self) {
        self.send_until_closed().await;
        self.leave_behind().await;
    }

    async fn send_until_closed(&mut self) {
        let stop = self.shared.stop.clone();
        self.open_backlog().await;
        loop {
            if self.has_nothing() {
                if stop.run_until_cancelled(self.shared.queue.ready(Wanted::ANYTHING)).await.is_none() {
                    return;
                }
                if self.is_done() {
                    return;
                }
            }
            let end = match self.reach().await {
                None => return,
                Some(Ok(connection)) => self.carry(connection).await,
                Some(Err(error)) => SessionEnd::Lost(error),
            };
            self.is_down = !matches!(end, SessionEnd::Idle);
            match end {
                SessionEnd::Closed | SessionEnd::Stopped => return,
                SessionEnd::Idle => tracing::debug!("redis ended an idle connection"),
                SessionEnd::Lost(error) => self.shared.stats.lost(&error.to_string(), self.backlog.is_open()),
                SessionEnd::Refused(reason) => self.shared.stats.lost(&reason, self.backlog.is_open()),
            }
        }
    }

    /// Connects, after a while if redis took nothing when last asked; meanwhile what gathers goes to disk.
    ///
    /// `None` if the publisher is to end.
    async fn reach(&mut self) -> Option<Result<AppendConnection, StreamError>> {
        let (shared, stop) = (self.shared.clone(), self.shared.stop.clone());
        let delay = if self.is_down { self.backoff.next_delay() } else { Duration::ZERO };
        let attempt = async {
            tokio::time::sleep(delay).await;
            AppendConnection::open(&shared.settings).await
        };
        tokio::pin!(attempt);
        let mut next_look = Instant::now() + SYNC_INTERVAL;
        loop {
            if self.is_down || shared.queue.has_crowd() {
                self.store(None).await;
                if self.shared.is_orphaned() && self.is_all_on_disk() {
                    return None;
                }
            }
            let wanted = if self.is_down { Wanted::A_BATCH } else { Wanted::A_CROWD };
            // A closed queue is always ready; what it holds goes to disk by and by.
            let may_store = self.backlog.is_usable() && !shared.queue.is_closed();
            tokio::select! {
                biased;
                () = stop.cancelled() => return None,
                reached = &mut attempt => return Some(reached),
                () = shared.queue.ready(wanted), if may_store => {}
                () = tokio::time::sleep_until(next_look), if shared.config.spool.is_some() => {
                    next_look = Instant::now() + SYNC_INTERVAL;
                    self.backlog.sync().await;
                }
            }
        }
    }

    /// Uses a connection until it has to be left, and keeps what is then in doubt.
    async fn carry(&mut self, mut connection: AppendConnection) -> SessionEnd {
        let session = connection.session.clone();
        let end = self.session(&mut connection).await;
        self.leave(session);
        end
    }

    async fn session(&mut self, connection: &mut AppendConnection) -> SessionEnd {
        let stop = self.shared.stop.clone();
        match stop.run_until_cancelled(self.clear_up(connection)).await {
            None => return SessionEnd::Stopped,
            Some(Err(error)) => return ended_by(error),
            Some(Ok(())) => {}
        }
        self.send_again();
        self.exchange(connection).await
    }

    /// Finds out what became of the events that the last connection carried.
    async fn clear_up(&mut self, connection: &mut AppendConnection) -> Result<(), StreamError> {
        let Some(doubt) = &self.doubt else { return Ok(()) };
        let streams = self.shared.queue.streams();
        let requests = self.in_flight.iter().flat_map(Batch::requests);
        let doubtful =
            |(stream, request)| Doubtful { stream, body: streams[usize::from(stream)].body(request) };
        let events: Vec<_> = requests.map(doubtful).collect();
        let fates = fates(connection, doubt, &events, &streams).await?;
        self.doubt = None;
        self.settle_by(&fates);
        Ok(())
    }

    /// Settles what arrived; what did not, or may not have, is to be sent again.
    fn settle_by(&mut self, fates: &[Fate]) {
        let mut fates = fates.iter();
        let (mut settled, mut again) = (Settled::default(), VecDeque::new());
        for mut batch in std::mem::take(&mut self.in_flight) {
            let mut rest: Option<Batch> = None;
            loop {
                let (seq, on_disk) = (batch.oldest_seq(), batch.oldest_on_disk());
                let Some(Settling { stream, bytes, receipt }) = batch.settle() else { break };
                let outcome = match fates.next().expect("a fate for each event") {
                    Fate::Arrived(id) => Ok(*id),
                    Fate::Trimmed => {
                        let stream = self.shared.queue.stream(stream).name.to_string();
                        Err(DeliveryError::Trimmed { stream })
                    }
                    fate @ (Fate::Absent | Fate::Unknown) => {
                        self.shared.stats.sent_again(1, u64::from(*fate == Fate::Unknown));
                        match on_disk {
                            Some(number) => self.backlog.take_back(number, receipt),
                            None => thinned(&mut rest, seq).push(&[bytes], stream, receipt),
                        }
                        continue;
                    }
                };
                settled.published += 1;
                self.backlog.note_settled(on_disk);
                settled.add(bytes.len(), on_disk.is_some(), receipt.is_some());
                if let Some(receipt) = receipt {
                    receipt.settle(&outcome);
                }
            }
            again.extend(rest);
        }
        again.append(&mut self.resend);
        self.resend = again;
        self.report(&settled);
    }

    /// What is to be sent again comes first, in the order in which it was accepted.
    fn send_again(&mut self) {
        if let Some(refused) = self.refused.take() {
            self.shared.stats.sent_again(refused.len() as u64, 0);
            self.resend.push_front(refused);
        }
        self.refused_on_disk = false;
        // What is on disk is read from there again.
        for batch in std::mem::take(&mut self.resend) {
            match batch.on_disk {
                Some(_) => self.return_to_disk(batch),
                None => self.resend.push_back(batch),
            }
        }
        self.backlog.rewind();
    }

    /// After a connection: what was written to it and not answered is in doubt.
    fn leave(&mut self, session: Option<Session>) {
        if self.doubt.is_some() {
            return;
        }
        let unwritten = std::mem::take(&mut self.unwritten);
        if let Some(last) = self.in_flight.back_mut() {
            let rest = last.split_off(unwritten);
            if !rest.is_empty() {
                self.resend.push_front(rest);
            }
        }
        self.in_flight.retain(|batch| !batch.is_empty());
        if !self.in_flight.is_empty() {
            self.doubt = Some(Doubt { session, bounds: self.bounds.of(&self.in_flight) });
        }
    }

    /// The number below which every event is settled.
    pub(super) fn oldest_seq(&self) -> u64 {
        let in_memory = self.held().filter(|batch| batch.on_disk.is_none()).map(Batch::oldest_seq).min();
        let oldest = [in_memory, self.backlog.oldest_seq()].into_iter().flatten().min();
        oldest.unwrap_or_else(|| self.shared.queue.oldest_seq())
    }

    /// Whether there is nothing to send.
    fn has_nothing(&self) -> bool {
        self.is_all_on_disk() && self.backlog.is_empty()
    }

    fn is_all_on_disk(&self) -> bool {
        self.holds_nothing() && self.shared.queue.depth().queued_bytes == 0
    }

    /// Whether nothing that left the queue is in memory alone.
    pub(super) fn holds_nothing(&self) -> bool {
        self.held().all(|batch| batch.on_disk.is_some())
    }

    fn held(&self) -> impl Iterator<Item = &Batch> {
        self.refused.iter().chain(&self.in_flight).chain(&self.resend)
    }

    /// Whether the publisher is closed and nothing is left.
    pub(super) fn is_done(&self) -> bool {
        self.shared.queue.is_closed() && self.has_nothing()
    }
}

/// Where requests gather that are to be sent again, from the one numbered `seq` on.
pub(super) fn thinned(batch: &mut Option<Batch>, seq: u64) -> &mut Batch {
    batch.get_or_insert_with(|| Batch::from_seq(seq))
}

/// A question to the server that was not answered.
pub(super) fn ended_by(error: StreamError) -> SessionEnd {
    match error {
        StreamError::Refused { reason, .. } => SessionEnd::Refused(reason),
        other => SessionEnd::Lost(other),
    }
}

/// A writer that did not come to its end takes what it holds with it: who asks is told.
impl Drop for Writer {
    fn drop(&mut self) {
        self.give_up_rest();
        self.shared.stats.ended();
    }
}

/// Ends the queue when the writer is gone.
#[derive(Debug)]
struct EndQueue(Arc<Shared>);

impl Drop for EndQueue {
    fn drop(&mut self) {
        self.0.queue.end();
    }
}
