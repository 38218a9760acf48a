//! Reading on, past whatever can't be read.

use std::ops::Range;

use super::{
    Spool, SpoolError,
    segment::{Chunk, ChunkEnd, Position},
};

/// Records read at once, with consecutive numbers.
#[derive(Debug, Default)]
pub(in crate::publisher) struct Records {
    first: u64,
    buffer: Vec<u8>,
    payloads: Vec<Range<usize>>,
}

// === impl Records ===

impl Records {
    /// Those of a chunk that are numbered from `first` on.
    fn new(mut chunk: Chunk, first: u64) -> Self {
        let done = first.saturating_sub(chunk.first).min(chunk.payloads.len() as u64);
        chunk.payloads.drain(..usize::try_from(done).unwrap_or(usize::MAX));
        Self { first: chunk.first + done, buffer: chunk.buffer, payloads: chunk.payloads }
    }

    pub(in crate::publisher) fn len(&self) -> usize {
        self.payloads.len()
    }

    pub(in crate::publisher) fn is_empty(&self) -> bool {
        self.payloads.is_empty()
    }

    /// Each record's number and content, in order.
    pub(in crate::publisher) fn iter(&self) -> impl Iterator<Item = (u64, &[u8])> {
        (self.first..).zip(self.payloads.iter().map(|payload| &self.buffer[payload.clone()]))
    }
}

// === impl Spool ===

impl Spool {
    /// The next records behind those read last: about `max_bytes` at most, but one at least; none at the end.
    ///
    /// Those that can't be read are passed over and counted in [`Spool::recovery`].
    pub(in crate::publisher) fn read(&mut self, max_bytes: usize) -> Result<Records, SpoolError> {
        self.check_ours()?;
        while self.next_read < self.end {
            let Some((index, position)) = self.locate() else {
                // There is no such segment; that can't be, but must not hang either.
                self.pass(None, self.end);
                break;
            };
            let until = self.until(index);
            let segment = &mut self.segments[index];
            let chunk = segment.read(position, until, max_bytes)?;
            self.position = Some((segment.first, chunk.next));
            let (next, end) = (chunk.next, chunk.end);
            let records = self.take_new(chunk);
            if !records.is_empty() {
                return Ok(records);
            }
            match end {
                ChunkEnd::Limit => {}
                ChunkEnd::Segment => self.leave_segment(index, until),
                ChunkEnd::Damage => self.pass_damage(index, next, until)?,
            }
        }
        Ok(Records::default())
    }

    /// A chunk's records from the one on that is to be read next.
    fn take_new(&mut self, chunk: Chunk) -> Records {
        if chunk.payloads.is_empty() {
            return Records::default();
        }
        if chunk.first > self.next_read {
            // Numbers that this segment never had: they were done when it was emptied.
            if self.first == self.next_read {
                self.first = chunk.first;
            }
            self.next_read = chunk.first;
        }
        let records = Records::new(chunk, self.next_read);
        self.next_read += records.len() as u64;
        records
    }

    /// Counts the next `count` records as read without reading them.
    pub(in crate::publisher) fn skip(&mut self, count: u64) {
        self.next_read = self.next_read.saturating_add(count).min(self.end);
        self.position = None;
    }

    /// Goes back: the first record that is not done is read next.
    pub(in crate::publisher) fn rewind(&mut self) {
        self.next_read = self.first;
        self.position = None;
    }

    /// In which segment, and where in it, to read on.
    fn locate(&self) -> Option<(usize, Position)> {
        if let Some((first, position)) = self.position
            && let Ok(index) = self.segments.binary_search_by_key(&first, |segment| segment.first)
        {
            return Some((index, position));
        }
        let behind = self.segments.partition_point(|segment| segment.first <= self.next_read);
        let index = behind.checked_sub(1)?;
        Some((index, self.segments[index].position_before(self.next_read)))
    }

    /// The number that a segment's records end before.
    fn until(&self, index: usize) -> u64 {
        self.segments.get(index + 1).map_or(self.end, |next| next.first)
    }

    fn leave_segment(&mut self, index: usize, until: u64) {
        let is_last = index + 1 == self.segments.len();
        let segment = &mut self.segments[index];
        if !is_last && segment.is_synced() {
            segment.close();
        }
        self.position = None;
        // Unless its end is missing, there is nothing left to pass.
        self.pass(Some(index), until);
    }

    /// Goes on with the first sound record behind a damaged place, or with the next segment.
    fn pass_damage(&mut self, index: usize, damage: Position, until: u64) -> Result<(), SpoolError> {
        let segment = &mut self.segments[index];
        let after = damage.number.unwrap_or(segment.first);
        let sound = segment.search(damage.offset, after, until)?;
        self.position = sound.map(|position| (segment.first, position));
        self.pass(Some(index), sound.and_then(|position| position.number).unwrap_or(until));
        Ok(())
    }

    /// Passes over what can't be read before the record numbered `before`.
    fn pass(&mut self, index: Option<usize>, before: u64) {
        let lost = self.next_read..before;
        self.next_read = self.next_read.max(before);
        self.lose(index, lost);
    }

    /// Counts records as lost, unless they are done or known to be lost.
    pub(super) fn lose(&mut self, index: Option<usize>, mut lost: Range<u64>) {
        lost.start = lost.start.max(self.first);
        if lost.is_empty() {
            return;
        }
        // Those known that touch it become one with it.
        let from = self.lost.partition_point(|known| known.end < lost.start);
        let to = self.lost.partition_point(|known| known.start <= lost.end);
        let mut known_count = 0;
        for known in self.lost.drain(from..to) {
            known_count += known.end - known.start;
            lost = lost.start.min(known.start)..lost.end.max(known.end);
        }
        let count = lost.end - lost.start - known_count;
        self.lost.insert(from, lost);
        self.pass_lost();
        if count > 0 {
            self.recovery.lost += count;
            self.report_damage(index);
        }
    }

    fn report_damage(&mut self, index: Option<usize>) {
        let Some(segment) = index.and_then(|index| self.segments.get_mut(index)) else { return };
        segment.is_damaged = true;
        segment.is_sealed = true;
        let path = segment.damaged_path();
        if !self.recovery.damaged.contains(&path) {
            self.recovery.damaged.push(path);
        }
    }

    /// What is lost counts as done as soon as everything before it is.
    pub(super) fn pass_lost(&mut self) {
        while let Some(lost) = self.lost.pop_front_if(|lost| lost.start <= self.first) {
            self.first = self.first.max(lost.end);
        }
        if self.next_read < self.first {
            self.next_read = self.first;
            self.position = None;
        }
    }
}
