//! What is on disk and not settled: older than anything in the queue, newer than nothing.
//!
//! The invariant: while the backlog is not empty, every unsettled event older than those in the queue is in it, also what
//! is in flight. So the order on disk is the order in which events were accepted, and the records from the first that is
//! not settled up to the last that was sent are all that a connection, or a killed process, can leave in doubt. A note
//! beside the records says which those are, and what is needed to find out about them.
//!
//! Files are read and written on threads that may wait, one thing at a time.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    fmt,
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::{
    Shared,
    batch::Batch,
    bounds::{Bound, Bounds},
    receipt::ReceiptState,
    reconcile::Doubt,
    record::{self, Stream},
    spool::{Spool, SpoolError},
};
use crate::stream::append_connection::Session;

/// How often what is on disk is made to survive a power failure.
pub(super) const SYNC_INTERVAL: Duration = Duration::from_millis(200);

/// About so many bytes of what may have been sent are read at once.
const READ_BYTES: usize = 4 * 1024 * 1024;

/// How long nothing is tried with a spool that failed.
const PAUSE: Duration = Duration::from_secs(1);

/// Every publisher's spools: those that others left first, its own last.
type Shelf = Arc<Mutex<VecDeque<Spool>>>;

pub(super) struct Backlog {
    shared: Arc<Shared>,
    shelf: Option<Shelf>,
    /// When it last refused to take events: being full, it still gives them.
    refused: Option<Instant>,
    /// When anything else last failed.
    failed: Option<Instant>,
    figures: Figures,
    /// Of the spool that is read: the first record that is not settled.
    first: u64,
    /// Records behind that which are settled all the same: one before them was refused for the moment.
    holes: BTreeSet<u64>,
    /// The next read begins with `first`.
    is_rewound: bool,
    /// The connection that carried the records that are in doubt.
    session: Option<Session>,
    /// Every record before this one may have been sent.
    sent: u64,
    /// From where on those would be looked for, by the places of their streams.
    noted: BTreeMap<u16, Bound>,
    /// Of our own spool: the receipts of records that are not in flight.
    receipts: BTreeMap<u64, Arc<ReceiptState>>,
    /// Of our own spool: which events its records are, by the numbers of the first record and event of each run.
    seqs: VecDeque<(u64, u64)>,
    /// Of our own spool: where what an earlier publisher left ends.
    inherited_end: u64,
    next_sync: Option<Instant>,
}

impl fmt::Debug for Backlog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Backlog").field("figures", &self.figures).finish_non_exhaustive()
    }
}

/// How much is on disk.
#[derive(Clone, Copy, Debug, Default)]
struct Figures {
    records: u64,
    bytes: u64,
    /// Spools of others that come before our own.
    others: usize,
    /// Records in them.
    others_records: u64,
    /// Of the spool that is read: its records, and the first of them that the disk knows as not settled.
    front_records: u64,
    first: u64,
    /// Of our own: the first record that the disk knows as not settled, and the next to be.
    own_first: u64,
    own_end: u64,
    is_synced: bool,
}

impl Figures {
    fn of(spools: &VecDeque<Spool>) -> Self {
        let (Some(front), Some(own)) = (spools.front(), spools.back()) else { return Self::default() };
        let others = spools.len() - 1;
        Self {
            records: spools.iter().map(Spool::len).sum(),
            bytes: spools.iter().map(Spool::bytes).sum(),
            others,
            others_records: spools.iter().take(others).map(Spool::len).sum(),
            front_records: front.len(),
            first: front.first(),
            own_first: own.first(),
            own_end: own.end(),
            is_synced: own.is_synced(),
        }
    }
}

/// What is kept beside the records.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Note {
    /// The connection that carried the records in doubt: the server's `run_id` and its number for it.
    session: Option<(String, i64)>,
    /// Every record before this one may have been sent.
    sent: u64,
    /// From where on those would be looked for, by the names of their streams.
    bounds: HashMap<String, Bound>,
}

/// Records that are read again since they may have been sent, and what is needed to find out.
pub(super) struct Inherited {
    pub doubt: Doubt,
    pub batches: Vec<Batch>,
}

impl Backlog {
    pub(super) fn new(shared: &Arc<Shared>) -> Self {
        Self {
            shared: shared.clone(),
            shelf: None,
            refused: None,
            failed: None,
            figures: Figures::default(),
            first: 0,
            holes: BTreeSet::new(),
            is_rewound: false,
            session: None,
            sent: 0,
            noted: BTreeMap::new(),
            receipts: BTreeMap::new(),
            seqs: VecDeque::new(),
            inherited_end: 0,
            next_sync: None,
        }
    }

    // === what is there ===

    pub(super) fn is_empty(&self) -> bool {
        self.figures.records == self.unwritten()
    }

    /// Records that are settled, which the disk does not know yet.
    fn unwritten(&self) -> u64 {
        self.first - self.figures.first + self.holes.len() as u64
    }

    /// Whether there is a spool.
    pub(super) fn is_open(&self) -> bool {
        self.shelf.is_some()
    }

    /// Whether there is to be a spool that takes events, and has not just refused to.
    pub(super) fn is_usable(&self) -> bool {
        self.shared.config.spool.is_some() && is_over(self.refused) && is_over(self.failed)
    }

    /// When something is to be done on disk next, if anything is.
    pub(super) fn next_sync(&self) -> Option<Instant> {
        self.next_sync
    }

    /// The number of the oldest event that is on disk and not settled.
    pub(super) fn oldest_seq(&self) -> Option<u64> {
        let first = if self.figures.others == 0 { self.first } else { self.figures.own_first };
        let run = self.seqs.iter().rev().find(|(record, _)| *record <= first).or(self.seqs.front());
        let (record, seq) = run.filter(|_| first < self.figures.own_end)?;
        Some(seq + first.saturating_sub(*record))
    }

    // === what becomes of records ===

    /// A record of the spool that is read is settled.
    pub(super) fn note_settled(&mut self, on_disk: Option<u64>) {
        let Some(number) = on_disk else { return };
        if number != self.first {
            self.holes.insert(number);
            return;
        }
        self.pass_to(number + 1);
    }

    /// All records before this one are settled.
    fn pass_to(&mut self, number: u64) {
        self.first = number;
        self.holes = self.holes.split_off(&number);
        while self.holes.remove(&self.first) {
            self.first += 1;
        }
    }

    /// A record that was in flight is to be read again.
    pub(super) fn take_back(&mut self, number: u64, receipt: Option<Arc<ReceiptState>>) {
        if let Some(receipt) = receipt {
            self.receipts.insert(number, receipt);
        }
    }

    /// Takes the receipts of what is not in flight.
    pub(super) fn take_receipts(&mut self) -> impl Iterator<Item = Arc<ReceiptState>> {
        std::mem::take(&mut self.receipts).into_values()
    }

    /// The next to be read is the first record that is not settled.
    pub(super) fn rewind(&mut self) {
        self.is_rewound = true;
    }

    /// Tells the queue and the figures how far it is.
    pub(super) fn report(&mut self) {
        if self.shelf.is_none() {
            return;
        }
        let own_first = if self.figures.others == 0 { self.first } else { self.figures.own_first };
        while self.seqs.get(1).is_some_and(|(record, _)| *record <= own_first) {
            self.seqs.pop_front();
        }
        let unwritten = self.unwritten();
        let others = if self.figures.others == 0 { 0 } else { self.figures.others_records - unwritten };
        self.shared.queue.inherited(others + self.inherited_end.saturating_sub(own_first));
        let records = self.figures.records - unwritten;
        let bytes = if records == 0 { 0 } else { self.figures.bytes };
        self.shared.stats.on_disk(records, bytes);
    }

    // === the disk ===

    /// Takes up the spool, if there is to be one; with `alone`, only if nothing is in it.
    ///
    /// Gives what an earlier publisher may have sent of it.
    pub(super) async fn open(&mut self, alone: bool) -> Option<Inherited> {
        let config = self.shared.config.spool.clone()?;
        let opened = tokio::task::spawn_blocking(move || Spool::open_all(&config)).await.ok()?;
        let spools = match opened {
            Ok(spools) => spools,
            Err(error) => {
                self.fail(&error);
                return None;
            }
        };
        if alone && !spools.iter().all(Spool::is_empty) {
            self.refused = Some(Instant::now());
            return None;
        }
        for spool in &spools {
            self.shared.stats.recovered(spool.recovery());
        }
        self.figures = Figures::of(&spools);
        self.inherited_end = self.figures.own_end;
        self.shelf = Some(Arc::new(Mutex::new(spools)));
        self.take_up().await
    }

    /// Begins with the spool that is first.
    async fn take_up(&mut self) -> Option<Inherited> {
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
        self.first = self.figures.first;
        self.holes.clear();
        self.rewind();
        let session = note.session.map(|(run_id, client_id)| Session { run_id, client_id });
        self.noted.clear();
        for (name, bound) in note.bounds {
            if let Ok(place) = self.shared.queue.place_of(&name) {
                self.noted.insert(place, bound);
            }
        }
        (self.session, self.sent) = (session, note.sent);
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
    pub(super) async fn turn(&mut self) -> Option<Inherited> {
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
    pub(super) async fn read(&mut self) -> Vec<Batch> {
        if !is_over(self.failed) {
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
            front.read(max_bytes)
        });
        let Some(page) = read.await else { return Vec::new() };
        self.is_rewound = false;
        self.compose(page.iter())
    }

    /// Notes down that a batch of records is about to be sent, and from where on it would be looked for.
    pub(super) async fn declare(&mut self, batch: &Batch, session: Option<&Session>, bounds: &Bounds) {
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
    pub(super) async fn write_note(&mut self) {
        let name = |place: u16| self.shared.queue.stream(place).name.to_string();
        let note = Note {
            session: self.session.clone().map(|session| (session.run_id, session.client_id)),
            sent: self.sent,
            bounds: self.noted.iter().map(|(place, bound)| (name(*place), *bound)).collect(),
        };
        let note = serde_json::to_vec(&note).expect("text, numbers and lists of them are JSON");
        let first = self.first;
        self.with(move |spools| front(spools).settle(first, &note)).await;
    }

    /// Whether the disk does not know yet that all is settled.
    pub(super) fn is_behind(&self) -> bool {
        self.is_empty() && self.unwritten() > 0
    }

    /// Notes down that the next records, those of these batches, may have been sent; for an empty backlog.
    pub(super) async fn expect(&mut self, sent: &[Batch], doubt: Doubt) {
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
    pub(super) async fn append(
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
    pub(super) async fn sync(&mut self) {
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
        if self.first < figures.first {
            // What can't be read any more is passed over by the disk.
            self.pass_to(figures.first);
        }
    }

    fn fail(&mut self, error: &SpoolError) {
        self.failed = Some(Instant::now());
        self.shared.stats.spool_failed(error);
    }

    /// Records as requests. One that can't be read is given up.
    fn compose<'a>(&mut self, records: impl Iterator<Item = (u64, &'a [u8])>) -> Vec<Batch> {
        let mut batches: Vec<Batch> = Vec::new();
        let (mut expected, mut last) = (None, None::<(&[u8], u16, Stream)>);
        for (number, bytes) in records {
            if number < self.first || self.holes.contains(&number) {
                continue;
            }
            let Some((name, fields, body)) = record::split(bytes) else {
                self.shared.stats.given_up("the spool", &format!("record {number} is not an event"));
                self.note_settled(Some(number));
                continue;
            };
            if last.as_ref().is_none_or(|(of, ..)| *of != name) {
                last = self.stream(name).map(|(place, stream)| (name, place, stream));
            }
            let Some((_, place, stream)) = &last else {
                self.shared.stats.given_up("the spool", &format!("record {number} names no stream"));
                self.note_settled(Some(number));
                continue;
            };
            if expected != Some(number) {
                batches.push(Batch::from_disk(number));
            }
            let batch = batches.last_mut().expect("one was pushed if there was none");
            let mut count = itoa::Buffer::new();
            let count = count.format(stream.head.arguments + 2 * fields).as_bytes();
            batch.push(
                &[b"*", count, b"\r\n", &stream.head.text, body],
                *place,
                self.receipts.remove(&number),
            );
            expected = Some(number + 1);
        }
        batches
    }

    fn stream(&self, name: &[u8]) -> Option<(u16, Stream)> {
        let place = self.shared.queue.place_of(std::str::from_utf8(name).ok()?).ok()?;
        Some((place, self.shared.queue.stream(place)))
    }
}

/// Whether a failure is long enough ago to try again.
fn is_over(failed: Option<Instant>) -> bool {
    failed.is_none_or(|failed| failed.elapsed() >= PAUSE)
}

fn front(spools: &mut VecDeque<Spool>) -> &mut Spool {
    spools.front_mut().expect("a publisher's own spool is never taken off")
}

/// Appends batches; with `sent` to a spool that is empty, and the records of the first so many count as read.
fn store(
    own: &mut Spool,
    batches: &[Batch],
    streams: &[Stream],
    sent: Option<usize>,
) -> Result<Vec<u64>, SpoolError> {
    let mut number = own.end();
    let mut numbers = Vec::with_capacity(batches.len());
    for batch in batches {
        numbers.push(number);
        number += batch.len() as u64;
    }
    own.append(batches.iter().flat_map(Batch::requests).map(|(place, request)| {
        let stream = &streams[usize::from(place)];
        [&*stream.label, stream.count(request), stream.body(request)]
    }))?;
    if let Some(sent) = sent {
        own.rewind();
        own.skip(batches[..sent].iter().map(|batch| batch.len() as u64).sum());
    }
    Ok(numbers)
}
