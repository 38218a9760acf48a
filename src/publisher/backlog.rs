//! What is on disk and not settled: older than anything in the queue, newer than nothing.
//!
//! The invariant: while the backlog is not empty, every unsettled event older than those in the queue is in it, also what
//! is in flight. So the order on disk is the order in which events were accepted, and the records from the first that is
//! not settled up to the last that was sent are all that a connection, or a killed process, can leave in doubt. A note
//! beside the records says which those are, and what is needed to find out about them.
//!
//! Files are read and written on threads that may wait, one thing at a time.

mod files;
mod records;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fmt,
    sync::Arc,
    time::Duration,
};

use tokio::time::Instant;

use super::{Shared, batch::Batch, bounds::Bound, receipt::ReceiptState, reconcile::Doubt, spool::Spool};
use crate::{stream::append_connection::Session, sync::Mutex};

/// How often what is on disk is made to survive a power failure.
pub(super) const SYNC_INTERVAL: Duration = Duration::from_millis(200);

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
    /// What the spool that is read says of what may have been sent is still to be read.
    is_new: bool,
    /// Records found to be lost so far.
    lost: u64,
    /// Of those: whose receipts somebody held.
    unkept: u64,
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
    /// Of the records: those that can't be read any more, as far as it is known.
    unreadable: u64,
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
    /// Records found to be lost, in the spools that are there.
    lost: u64,
    is_synced: bool,
}

impl Figures {
    fn of(spools: &VecDeque<Spool>) -> Self {
        let (Some(front), Some(own)) = (spools.front(), spools.back()) else { return Self::default() };
        let others = spools.len() - 1;
        Self {
            records: spools.iter().map(records).sum(),
            unreadable: spools.iter().map(|spool| records(spool) - spool.len()).sum(),
            bytes: spools.iter().map(Spool::bytes).sum(),
            others,
            others_records: spools.iter().take(others).map(records).sum(),
            front_records: records(front),
            first: front.first(),
            own_first: own.first(),
            own_end: own.end(),
            lost: spools.iter().map(|spool| spool.recovery().lost).sum(),
            is_synced: own.is_synced(),
        }
    }
}

/// Records that are not settled, those that can't be read any more included.
fn records(spool: &Spool) -> u64 {
    spool.end() - spool.first()
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
            is_new: false,
            lost: 0,
            unkept: 0,
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

    /// What failed is tried again at once.
    pub(super) fn try_again(&mut self) {
        (self.refused, self.failed) = (None, None);
    }

    /// Whether it is our own spool that is read.
    pub(super) fn is_own(&self) -> bool {
        self.figures.others == 0
    }

    /// Whether there is to be a spool, and it could not be taken up yet.
    pub(super) fn is_missing(&self) -> bool {
        self.shelf.is_none() && self.is_usable()
    }

    /// When something is to be done on disk next, if anything is.
    pub(super) fn next_work(&self) -> Option<Instant> {
        let is_missing = self.shelf.is_none() && self.shared.config.spool.is_some();
        self.next_sync.or_else(|| is_missing.then(|| Instant::now() + PAUSE))
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

    /// The records that may have been sent did not come to disk.
    pub(super) fn expect_nothing(&mut self) {
        self.sent = self.first;
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
        let records = (self.figures.records - unwritten).saturating_sub(self.figures.unreadable);
        let bytes = if records == 0 { 0 } else { self.figures.bytes };
        self.shared.stats.on_disk(records, bytes);
    }
}

/// Whether a failure is long enough ago to try again.
fn is_over(failed: Option<Instant>) -> bool {
    failed.is_none_or(|failed| failed.elapsed() >= PAUSE)
}
