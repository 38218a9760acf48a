//! Between requests and the records that stand for them on disk.

use super::Backlog;
use crate::publisher::{
    batch::Batch,
    record::{self, Stream},
    spool::{Spool, SpoolError},
};

impl Backlog {
    /// Records as requests. One that can't be read is given up.
    pub(super) fn compose<'a>(&mut self, records: impl Iterator<Item = (u64, &'a [u8])>) -> Vec<Batch> {
        let is_own = self.figures.others == 0;
        let mut batches: Vec<Batch> = Vec::new();
        let (mut expected, mut last) = (None, None::<(&[u8], u16, Stream)>);
        for (number, bytes) in records {
            if number < self.first || self.holes.contains(&number) {
                continue;
            }
            let Some((name, fields, body)) = record::split(bytes) else {
                self.shared.stats.given_up("the spool", &format!("record {number} is not an event"));
                self.give_up(number);
                continue;
            };
            if last.as_ref().is_none_or(|(of, ..)| *of != name) {
                last = self.stream(name).map(|(place, stream)| (name, place, stream));
            }
            let Some((_, place, stream)) = &last else {
                self.shared.stats.given_up("the spool", &format!("record {number} names no stream"));
                self.give_up(number);
                continue;
            };
            if expected != Some(number) {
                batches.push(Batch::from_disk(number));
            }
            let batch = batches.last_mut().expect("one was pushed if there was none");
            let mut count = itoa::Buffer::new();
            let count = count.format(stream.head.arguments + 2 * fields).as_bytes();
            // Those of other spools have no receipts.
            let receipt = if is_own { self.receipts.remove(&number) } else { None };
            batch.push(&[b"*", count, b"\r\n", &stream.head.text, body], *place, receipt);
            expected = Some(number + 1);
        }
        batches
    }

    fn stream(&self, name: &[u8]) -> Option<(u16, Stream)> {
        let place = self.shared.queue.place_of(std::str::from_utf8(name).ok()?).ok()?;
        Some((place, self.shared.queue.stream(place)))
    }
}

/// Appends batches; with `sent` to a spool that is empty, and the records of the first so many count as read.
pub(super) fn store(
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
