//! Whatever is done to a spool, in whatever order, it is a queue; and after a crash, of the process or of the machine,
//! it is the same queue, but for what no sync had returned for.

mod steps;

use std::{
    collections::{BTreeMap, HashMap},
    fs::{self, OpenOptions},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
};

use proptest::{collection::vec, prelude::*};

use super::{
    Bench, drain,
    faults::{Fault, fail, spare_the_disk},
    owned, segment_files,
};
use crate::publisher::spool::{
    Spool, SpoolError, disk::Operation, header::HEADER_BYTES, record::FRAME_BYTES,
};

use steps::{Damage, Step, step};

/// Small, so that a few records fill some.
const SEGMENT_BYTES: u64 = 2_000;

/// How much more than there is a spool may count: the distance of two marks, and a record.
const COUNTING_SLACK_BYTES: u64 = 16 * 1024 + 1_000;

const NOTE_BYTES: usize = 6_000;

/// The content of a record is told by its number and size.
fn content(number: u64, size: usize) -> Vec<u8> {
    number.to_le_bytes().into_iter().cycle().take(size).collect()
}

/// What a spool should be.
struct Model {
    bench: Bench,
    spool: Spool,
    /// Those that are not done.
    records: BTreeMap<u64, Vec<u8>>,
    done: u64,
    next_read: u64,
    end: u64,
    /// Everything below is on the disk.
    kept_before: u64,
    /// What each version of the cursor said.
    cursors: HashMap<u64, (u64, Vec<u8>)>,
    kept_cursor: u64,
    /// How much of each segment is on the disk for sure.
    kept_bytes: BTreeMap<PathBuf, u64>,
    /// A power failure has taken some from in between, which a spool knows of once it comes to read them.
    has_gaps: bool,
}

impl Model {
    fn new(max_bytes: u64) -> Self {
        let bench = Bench::with_limit(max_bytes);
        let spool = open(&bench);
        let cursors = HashMap::from([(1, (0, Vec::new()))]);
        Self {
            bench,
            spool,
            records: BTreeMap::new(),
            done: 0,
            next_read: 0,
            end: 0,
            kept_before: 0,
            cursors,
            kept_cursor: 0,
            kept_bytes: BTreeMap::new(),
            has_gaps: false,
        }
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::Append(sizes) => self.append(sizes),
            Step::Read(max_bytes) => self.read(*max_bytes),
            Step::Skip(count) => {
                self.spool.skip(*count);
                self.next_read = (self.next_read + count).min(self.end);
            }
            Step::Rewind => {
                self.spool.rewind();
                self.next_read = self.done;
            }
            Step::Settle(part, note) => self.settle(*part, *note),
            Step::Sync => {
                self.spool.sync().unwrap();
                assert!(self.spool.is_synced());
                self.note_kept();
            }
            Step::Reopen => self.reopen(),
            Step::Kill(sizes, part) => self.kill(sizes, *part),
            Step::PowerFailure(damages) => self.fail_power(damages),
            Step::Failing(fault, step) => self.take_failing(*fault, step),
        }
        self.check();
    }

    /// Does it with a disk that fails: it may fail then, and does not the next time.
    fn take_failing(&mut self, fault: Fault, step: &Step) {
        if matches!(step, Step::Reopen) {
            self.close();
        }
        let failing = fail([fault]);
        match step {
            Step::Append(sizes) => {
                let batch: Vec<_> =
                    (self.end..).zip(sizes).map(|(number, size)| content(number, *size)).collect();
                let appended = self.spool.append(batch.iter().map(|record| [record.as_slice()]));
                if appended.is_ok() {
                    self.records.extend((self.end..).zip(batch));
                    self.end = self.spool.end();
                }
            }
            Step::Settle(part, note) => {
                let (before, note) = self.settling(*part, *note);
                let _ = self.spool.settle(before, &note);
                drop(failing);
                self.cursors.entry(self.newest_cursor()).or_insert((self.spool.first(), note.clone()));
                self.settle(*part, note.len());
            }
            Step::Sync => {
                let newest = self.newest_cursor();
                if self.spool.sync().is_ok() {
                    self.note_kept();
                }
                // It may have had to write another copy.
                let same = self.cursors[&newest].clone();
                self.cursors.insert(self.newest_cursor(), same);
            }
            Step::Read(max_bytes) => {
                let position = self.spool.next_read();
                if let Ok(records) = self.spool.read(*max_bytes) {
                    assert!(
                        owned(&records).all(|(number, record)| self.records.get(&number) == Some(&record))
                    );
                    self.next_read = self.spool.next_read();
                } else {
                    assert!(self.spool.next_read() == position || self.has_gaps);
                }
            }
            _ => {
                let _ = Spool::open_all(&self.bench.config());
                drop(failing);
                self.reopen();
            }
        }
    }

    fn append(&mut self, sizes: &[usize]) {
        let batch: Vec<_> = (self.end..).zip(sizes).map(|(number, size)| content(number, *size)).collect();
        let there: u64 = self.records.values().map(|record| (record.len() + FRAME_BYTES) as u64).sum();
        let needed: u64 = batch.iter().map(|record| (record.len() + FRAME_BYTES) as u64).sum();
        let halves = batch.iter().map(|record| <[&[u8]; 2]>::from(record.split_at(record.len() / 2)));
        match self.spool.append(halves) {
            Ok(number) => {
                assert_eq!(number, self.end);
                assert!(batch.is_empty() || there + needed <= self.bench.max_bytes);
                self.records.extend((self.end..).zip(batch));
                self.end = self.spool.end();
            }
            Err(error) => {
                assert!(matches!(error, SpoolError::Full { .. }), "{error}");
                assert!(there + needed + COUNTING_SLACK_BYTES > self.bench.max_bytes, "{error}");
            }
        }
    }

    fn read(&mut self, max_bytes: usize) {
        let read: Vec<_> = owned(&self.spool.read(max_bytes).unwrap()).collect();
        let next = self.records.range(self.next_read..).map(|(number, record)| (*number, record.clone()));
        let expected: Vec<_> = next.take(read.len().max(1)).collect();
        assert_eq!(read, expected);
        let bytes: usize = read.iter().map(|(_, record)| record.len()).sum();
        assert!(read.len() <= 1 || bytes <= max_bytes);
        self.next_read = self.spool.next_read();
        assert_eq!(self.next_read, read.last().map_or(self.end, |(number, _)| number + 1));
    }

    fn settling(&self, part: u64, note: usize) -> (u64, Vec<u8>) {
        let before = self.done + (self.next_read - self.done) * part / 100;
        (before, content(before, note))
    }

    fn settle(&mut self, part: u64, note: usize) {
        let (before, note) = self.settling(part, note);
        self.spool.settle(before, &note).unwrap();
        self.records = self.records.split_off(&before);
        let next = self.records.keys().next().copied().unwrap_or(self.end);
        self.done = self.spool.first();
        // What is lost right behind it is done with it.
        assert!(self.done == before || self.has_gaps && (before..=next).contains(&self.done));
        self.next_read = self.next_read.max(self.done);
        self.cursors.insert(self.newest_cursor(), (self.done, note));
        for (path, kept) in &mut self.kept_bytes {
            *kept = path.metadata().map_or(0, |metadata| metadata.len()).min(*kept);
        }
    }

    fn reopen(&mut self) {
        self.restart();
        assert!(self.spool.first() == self.done || self.has_gaps);
        self.done = self.spool.first();
        self.next_read = self.done;
        self.kept_cursor = self.newest_cursor();
    }

    /// Puts one aside that has nothing to do with it.
    fn close(&mut self) {
        self.spool = open(&Bench::new());
    }

    fn restart(&mut self) {
        self.close();
        self.spool = open(&self.bench);
    }

    fn kill(&mut self, sizes: &[usize], part: u64) {
        let lens = self.segment_lens();
        let before = self.end;
        self.append(sizes);
        let (mut written, mut torn) = (0, 0);
        for (path, len) in self.segment_lens() {
            let was = lens.get(&path).copied().unwrap_or(0);
            let is = was + (len - was) * part / 1_000;
            cut(&path, is);
            match (is - was).checked_sub(if was == 0 { HEADER_BYTES as u64 } else { 0 }) {
                Some(bytes) => written += bytes,
                None => torn += is,
            }
        }
        // All that are whole are there, and no more.
        let added = self.records.split_off(&before);
        self.end = before;
        for (number, record) in added {
            let bytes = (record.len() + FRAME_BYTES) as u64;
            if bytes > written {
                break;
            }
            written -= bytes;
            self.records.insert(number, record);
            self.end = number + 1;
        }
        self.reopen();
        assert_eq!(self.spool.recovery().torn_bytes, torn + written, "what is there of the next one");
    }

    fn fail_power(&mut self, damages: &[Damage]) {
        let mut damages = damages.iter().copied().cycle();
        let mut next = || damages.next().unwrap();
        for (path, len) in self.segment_lens() {
            let kept = self.kept_bytes.get(&path).copied().unwrap_or(0);
            next().strike(&path, kept, len);
        }
        let (mut survivor, newest) = (0, self.newest_cursor());
        for path in self.cursor_files() {
            let version = version_of(&path);
            let damage = if version > self.kept_cursor { next() } else { Damage::None };
            damage.strike(&path, 0, 36);
            if matches!(damage, Damage::None) {
                survivor = survivor.max(version);
            } else {
                // So that it is never taken for one that is to survive the next failure.
                OpenOptions::new().write(true).open(&path).unwrap().write_all_at(&[0; 8], 12).unwrap();
            }
        }
        let was_done = self.done;
        let before = std::mem::take(&mut self.records);
        self.restart();

        let (done, note) = self.cursors.get(&survivor).cloned().unwrap_or_default();
        assert!(survivor == newest || survivor >= self.kept_cursor);
        assert_eq!(self.spool.note(), note);
        let first = self.spool.first();
        assert!(first >= done);
        let recovered: BTreeMap<_, _> = drain(&mut self.spool).into_iter().collect();
        self.spool.rewind();
        for (number, record) in before.range(was_done..self.kept_before.max(was_done)) {
            assert_eq!(recovered.get(number), Some(record), "record {number} was on the disk");
        }
        for (number, record) in &recovered {
            assert_eq!(*record, content(*number, record.len()), "record {number} was never appended");
            assert!(*number < was_done || before.get(number) == Some(record));
        }
        self.records = recovered;
        (self.done, self.next_read, self.end) = (self.spool.first(), self.spool.first(), self.spool.end());
        let numbers = self.end - first;
        self.has_gaps = first > done || numbers > self.records.len() as u64 || self.spool.recovery().lost > 0;
        self.cursors = HashMap::from([(self.newest_cursor(), (done, note))]);
        // What was found after a power failure is on the disk.
        self.kept_before = self.end;
        self.kept_cursor = survivor;
        self.kept_bytes = self.segment_lens();
    }

    fn check(&mut self) {
        let spool = &self.spool;
        if self.has_gaps {
            // It may have come to know of one.
            assert!(
                self.records.range(self.done..).next().is_none_or(|(number, _)| *number >= spool.first())
            );
            self.done = self.done.max(spool.first());
            assert!(
                self.records.range(self.next_read..spool.next_read().max(self.next_read)).next().is_none()
            );
            self.next_read = self.next_read.max(spool.next_read());
        }
        assert_eq!((spool.first(), spool.next_read(), spool.end()), (self.done, self.next_read, self.end));
        let len = self.records.len() as u64;
        assert!(spool.len() == len || self.has_gaps && spool.len() > len, "{} for {len}", spool.len());
        assert!(spool.is_empty() == self.records.is_empty() || self.has_gaps);
        assert_eq!(spool.note(), self.cursors[&self.newest_cursor()].1);
        let bytes: u64 = self.records.values().map(|record| (record.len() + FRAME_BYTES) as u64).sum();
        let slack = if spool.is_empty() { 0 } else { COUNTING_SLACK_BYTES };
        // What can't be read counts until it is gone.
        let is_right =
            (bytes..=bytes + slack).contains(&spool.bytes()) || self.has_gaps && spool.bytes() > bytes;
        assert!(is_right, "{} for {bytes}", spool.bytes());
        let on_disk: u64 = self.segment_lens().values().sum();
        assert!(on_disk <= bytes + SEGMENT_BYTES * 2 + 10_000 || self.records.len() > 1);
    }

    fn note_kept(&mut self) {
        self.kept_before = self.end;
        self.kept_cursor = self.newest_cursor();
        self.kept_bytes = self.segment_lens();
    }

    fn segment_lens(&self) -> BTreeMap<PathBuf, u64> {
        let slot = self.bench.slot();
        let paths = segment_files(&slot).into_iter().map(|name| slot.join(name));
        paths.map(|path| (path.clone(), path.metadata().unwrap().len())).collect()
    }

    fn cursor_files(&self) -> [PathBuf; 3] {
        [0, 1, 2].map(|place| self.bench.slot().join(format!("cursor.{place}")))
    }

    fn newest_cursor(&self) -> u64 {
        self.cursor_files().iter().map(|path| version_of(path)).max().unwrap()
    }
}

fn open(bench: &Bench) -> Spool {
    let mut spool = bench.open();
    spool.segment_bytes = SEGMENT_BYTES;
    spool
}

fn cut(path: &Path, len: u64) {
    OpenOptions::new().write(true).open(path).unwrap().set_len(len).unwrap();
}

fn version_of(cursor: &Path) -> u64 {
    let bytes = fs::read(cursor).unwrap();
    bytes.get(12..20).map_or(0, |version| u64::from_le_bytes(version.try_into().unwrap()))
}

proptest! {
    #[test]
    fn a_spool_is_a_queue(
        max_bytes in prop_oneof![Just(1_000_000_u64), 20_000..40_000_u64],
        steps in vec(step(), 1..60),
    ) {
        spare_the_disk();
        let mut model = Model::new(max_bytes);
        for step in &steps {
            model.take(step);
        }
        model.reopen();
        let left: Vec<_> = drain(&mut model.spool);
        prop_assert_eq!(left, model.records.into_iter().collect::<Vec<_>>());
    }
}
