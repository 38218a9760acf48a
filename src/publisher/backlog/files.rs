//! The backlog's files: what is written to them and read from them.

use std::collections::{HashMap, VecDeque};

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::{Arc, Backlog, Figures, Inherited, SYNC_INTERVAL, is_over, records::store};
use crate::{
    publisher::{
        batch::Batch,
        bounds::{Bound, Bounds},
        queue::Settled,
        reconcile::Doubt,
        spool::{Spool, SpoolError},
        stats::Counters,
    },
    stream::append_connection::Session,
    sync::Mutex,
};

/// About so many bytes of what may have been sent are read at once.
const READ_BYTES: usize = 4 * 1024 * 1024;

/// A note that would be longer goes without the bounds: then it can't be found out what arrived.
const MAX_NOTE_BYTES: usize = 1024 * 1024;

/// What is kept beside the records.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Note {
    /// The connection that carried the records in doubt.
    session: Option<Session>,
    /// Every record before this one may have been sent.
    sent: u64,
    /// From where on those would be looked for, by the names of their streams.
    bounds: HashMap<String, Bound>,
}

impl Note {
    fn text(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("text, numbers and lists of them are JSON")
    }
}

impl Backlog {
    /// Takes up the spool, if there is to be one; with `only_if_empty`, only if nothing is in it.
    ///
    /// Gives what an earlier publisher may have sent of it.
    pub(in crate::publisher) async fn open(&mut self, only_if_empty: bool) -> Option<Inherited> {
        let config = self.shared.config.spool.clone()?;
        let opened = tokio::task::spawn_blocking(move || Spool::open_all(&config)).await.ok()?;
        let spools = match opened {
            Ok(spools) => spools,
            Err(error) => {
                self.fail(&error);
                return None;
            }
        };
        if only_if_empty && !spools.iter().all(Spool::is_empty) {
            self.refused = Some(Instant::now());
            return None;
        }
        for spool in &spools {
            Counters::recovered(spool.recovery());
        }
        let figures = Figures::of(&spools);
        self.first = figures.first;
        self.found(figures);
        self.inherited_end = self.figures.own_end;
        self.shelf = Some(Arc::new(Mutex::new(spools)));
        self.take_up().await
    }

    /// Begins with the spool that is first.
    async fn take_up(&mut self) -> Option<Inherited> {
        self.first = self.figures.first;
        self.holes.clear();
        self.rewind();
        self.is_new = true;
        let read = self.with(|spools| {
            let front = front(spools);
            front.rewind();
            let note: Note = serde_json::from_slice(front.note()).unwrap_or_default();
            let mut pages = Vec::new();
            while front.next_read() < note.sent.min(front.end()) {
                pages.push(front.read(READ_BYTES)?);
            }
            Ok((note, pages))
        });
        let (note, pages) = read.await?;
        self.is_new = false;
        self.noted.clear();
        for (name, bound) in note.bounds {
            if let Ok(place) = self.shared.queue.place_of(&name) {
                self.noted.insert(place, bound);
            }
        }
        (self.session, self.sent) = (note.session, note.sent);
        let mut batches = Vec::new();
        for page in &pages {
            batches.extend(self.compose(page.iter().filter(|(number, _)| *number < note.sent)));
        }
        self.report();
        let bounds = self.noted.iter().map(|(place, bound)| (*place, *bound)).collect();
        let doubt = Doubt { session: self.session.clone(), bounds };
        (!batches.is_empty()).then_some(Inherited { doubt, batches })
    }

    /// Leaves spools of others that are empty; gives what may have been sent of the next that is not.
    pub(in crate::publisher) async fn turn(&mut self) -> Option<Inherited> {
        if self.is_new {
            return if is_over(self.failed) { self.take_up().await } else { None };
        }
        while self.figures.others > 0 && self.figures.front_records == self.unwritten() {
            self.write_note().await;
            // An emptied one leaves its files to the next who comes.
            self.with(|spools| Ok(spools.pop_front().map(drop))).await?;
            if let Some(inherited) = self.take_up().await {
                return Some(inherited);
            }
        }
        None
    }

    /// The next records as requests, each batch a run of records without a gap.
    pub(in crate::publisher) async fn read(&mut self) -> Vec<Batch> {
        if self.is_new || !is_over(self.failed) {
            return Vec::new();
        }
        if self.is_rewound {
            // The disk goes back to the first record that it knows as not settled.
            self.write_note().await;
        }
        let (max_bytes, is_rewound) = (self.shared.config.max_batch_bytes, self.is_rewound);
        let read = self.with(move |spools| {
            let front = front(spools);
            if is_rewound {
                front.rewind();
            }
            let from = front.next_read();
            Ok((from, front.read(max_bytes)?, front.next_read()))
        });
        let Some((from, page, to)) = read.await else { return Vec::new() };
        self.is_rewound = false;
        self.pass_lost(from, page.iter().map(|(number, _)| number), to);
        let batches = self.compose(page.iter());
        self.report();
        batches
    }

    /// Notes down that a batch of records is about to be sent, and from where on it would be looked for.
    pub(in crate::publisher) async fn declare(
        &mut self,
        batch: &Batch,
        session: Option<&Session>,
        bounds: &Bounds,
    ) {
        let Some(first) = batch.oldest_on_disk() else { return };
        self.session = session.cloned();
        self.sent = self.sent.max(first + batch.len() as u64);
        if self.holes.is_empty() {
            // All that is acknowledged comes before the first record that is not settled.
            for (place, bound) in &mut self.noted {
                *bound = bounds.get(*place).unwrap_or(*bound);
            }
        }
        for (place, _) in batch.requests() {
            if let Some(bound) = bounds.get(place) {
                self.noted.entry(place).or_insert(bound);
            }
        }
        self.write_note().await;
    }

    /// Tells the disk which records are settled and which are in doubt.
    pub(in crate::publisher) async fn write_note(&mut self) {
        let name = |place: u16| self.shared.queue.stream(place).name.to_string();
        if self.is_new {
            // The spool's own note is not read yet.
            return;
        }
        let mut note = Note {
            session: self.session.clone(),
            sent: self.sent,
            bounds: self.noted.iter().map(|(place, bound)| (name(*place), *bound)).collect(),
        };
        let mut text = note.text();
        if text.len() > MAX_NOTE_BYTES {
            note.bounds.clear();
            text = note.text();
        }
        let first = self.first;
        self.with(move |spools| front(spools).settle(first, &text)).await;
    }

    /// Tells the disk that all is settled, if it does not know yet; whether it did not.
    pub(in crate::publisher) async fn clear(&mut self) -> bool {
        let is_behind = !self.is_new && is_over(self.failed) && self.is_empty() && self.unwritten() > 0;
        if is_behind {
            self.noted.clear();
            self.write_note().await;
            self.report();
        }
        is_behind
    }

    /// Notes down that the next records, those of these batches, may have been sent; for an empty backlog.
    pub(in crate::publisher) async fn expect(&mut self, sent: &[Batch], doubt: Doubt) {
        self.session = doubt.session;
        self.sent = self.figures.own_end + sent.iter().map(|batch| batch.len() as u64).sum::<u64>();
        self.noted = doubt.bounds.into_iter().collect();
        self.is_rewound = false;
        self.write_note().await;
    }

    /// Brings batches to disk, behind all that is there; gives them back, and the number of each one's first record.
    ///
    /// With `sent`, so many of the batches may have been sent ([`Backlog::expect`]), and are not read until it is known
    /// whether they arrived.
    pub(in crate::publisher) async fn append(
        &mut self,
        batches: Vec<Batch>,
        sent: Option<usize>,
    ) -> (Vec<Batch>, Option<Vec<u64>>) {
        let streams = self.shared.queue.streams();
        let shared = self.shelf.clone().expect("opened before anything is stored");
        let append = move || {
            let mut spools = shared.lock();
            let own = spools.back_mut().expect("a publisher's own spool is never taken off");
            let stored = store(own, &batches, &streams, sent);
            (batches, stored, Figures::of(&spools))
        };
        // A runtime that is shutting down takes the work with it.
        let Ok((batches, stored, figures)) = tokio::task::spawn_blocking(append).await else {
            return (Vec::new(), None);
        };
        self.found(figures);
        match stored {
            Ok(numbers) => {
                self.refused = None;
                self.shared.stats.stored(batches.iter().map(|batch| batch.len() as u64).sum());
                for (batch, number) in batches.iter().zip(&numbers) {
                    self.seqs.push_back((*number, batch.oldest_seq()));
                }
                self.next_sync.get_or_insert_with(|| Instant::now() + SYNC_INTERVAL);
                self.report();
                (batches, Some(numbers))
            }
            Err(error) => {
                self.refused = Some(Instant::now());
                self.shared.stats.spool_failed(&error);
                (batches, None)
            }
        }
    }

    /// Makes what is on disk survive a power failure.
    pub(in crate::publisher) async fn sync(&mut self) {
        self.next_sync = None;
        if self.shelf.is_some() && !self.figures.is_synced {
            self.with(|spools| spools.back_mut().map_or(Ok(()), Spool::sync)).await;
        }
    }

    /// Does something with the spools on a thread that may wait; `None` if it failed.
    async fn with<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut VecDeque<Spool>) -> Result<T, SpoolError> + Send + 'static,
    ) -> Option<T> {
        let shared = self.shelf.clone()?;
        let work = move || {
            let mut spools = shared.lock();
            (work(&mut spools), Figures::of(&spools))
        };
        let (done, figures) = tokio::task::spawn_blocking(work).await.ok()?;
        self.found(figures);
        match done {
            Ok(done) => Some(done),
            Err(error) => {
                self.fail(&error);
                None
            }
        }
    }

    fn found(&mut self, figures: Figures) {
        self.figures = figures;
        if figures.lost > self.lost {
            self.shared.stats.lost_on_disk(figures.lost - self.lost);
        }
        self.lost = figures.lost;
        while self.first < figures.first {
            // What can't be read any more is passed over by the disk.
            self.give_up(self.first);
        }
    }

    /// Settles the records between `from` and `to` that are not on the page read from there: they can't be read any more.
    fn pass_lost(&mut self, from: u64, page: impl Iterator<Item = u64>, to: u64) {
        let mut next = from;
        for number in page.chain([to]) {
            for lost in next..number {
                if lost >= self.first && !self.holes.contains(&lost) {
                    self.give_up(lost);
                }
            }
            next = number + 1;
        }
    }

    /// A record can't be read any more.
    pub(super) fn give_up(&mut self, number: u64) {
        let receipt = if self.is_own() { self.receipts.remove(&number) } else { None };
        if let Some(receipt) = receipt {
            self.shared.unreadable(&receipt);
            self.unkept += 1;
        }
        self.note_settled(Some(number));
    }

    /// Tells the queue what was settled on disk without a word from redis.
    pub(in crate::publisher) fn settle_lost(&mut self) -> Settled {
        let kept = std::mem::take(&mut self.unkept);
        Settled { events: kept, kept, ..Settled::default() }
    }

    fn fail(&mut self, error: &SpoolError) {
        self.failed = Some(Instant::now());
        self.shared.stats.spool_failed(error);
    }
}

fn front(spools: &mut VecDeque<Spool>) -> &mut Spool {
    spools.front_mut().expect("a publisher's own spool is never taken off")
}
