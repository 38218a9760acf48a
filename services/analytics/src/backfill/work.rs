//! The work itself: read a batch, store it, and again.

use std::time::Duration;

use synapse_chassis::console::{BetweenPieces, Progress};
use synapse_rs::{
    EntryId,
    backoff::Backoff,
    event::decode::{Decoded, decode},
    stream::{Connection, Entry, pages::Pages},
};
use tokio::time::{Instant, sleep, sleep_until};

use super::NAMED;
use crate::{
    sample::Sample,
    store::{Store, StoreError, Written},
    stores::Stores,
};

/// How long the store is left alone while it is away, at first and at most.
const REST: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(10));
/// How much of a stream is taken at once, but for a single entry that is larger.
const GATHERED_BYTES: usize = 16 << 20;
/// How soon Ctrl-C is noticed in between.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// How it ended.
#[derive(Debug)]
pub(super) enum Ended {
    /// All of it was looked at.
    Done,
    /// Something came in between.
    Broken(String),
}

/// A part of a stream on its way into the store.
pub(super) struct Work<'a> {
    connection: &'a Connection,
    store: &'a Stores,
    stream: &'a str,
    from: EntryId,
    to: EntryId,
    batch: usize,
    /// All up to and with this entry is done.
    pub(super) position: Option<EntryId>,
    /// Events that the store has.
    pub(super) stored: u64,
    /// Entries that hold nothing to be stored.
    pub(super) passed: u64,
    /// What can't be stored, and why: the first few.
    pub(super) left_out: Vec<(EntryId, String)>,
    /// How many those are in all.
    pub(super) left_out_count: u64,
}

impl<'a> Work<'a> {
    pub(super) fn new(
        connection: &'a Connection,
        store: &'a Stores,
        stream: &'a str,
        (from, to): (EntryId, EntryId),
        batch: usize,
    ) -> Self {
        let (position, left_out) = (None, Vec::new());
        Self {
            connection,
            store,
            stream,
            from,
            to,
            batch,
            position,
            stored: 0,
            passed: 0,
            left_out,
            left_out_count: 0,
        }
    }

    /// Stores until the end, or Ctrl-C; pieces are not broken off.
    pub(super) async fn finish(&mut self) -> Ended {
        let mut stop = BetweenPieces::listen();
        // The stream does not tell how many entries lie between two: the way is the time between them.
        let way = self.to.ms.saturating_sub(self.from.ms) + 1;
        let progress = Progress::of(Some(way), "event", "stored");
        let ended = self.advance_all(&mut stop, &progress).await;
        progress.finish();
        match ended {
            Ok(()) => Ended::Done,
            Err(why) => Ended::Broken(why),
        }
    }

    async fn advance_all(&mut self, stop: &mut BetweenPieces, progress: &Progress) -> Result<(), String> {
        let mut pages = Pages::new(self.stream, self.from, self.to);
        let mut entries = self.read(&mut pages).await?;
        while let Some(last) = entries.last().map(|entry| entry.id) {
            let samples = self.samples(&entries);
            // The next ones are read meanwhile.
            let (following, stored) = tokio::join!(
                gather(self.connection, &mut pages, self.batch),
                store_all(self.store, samples, stop)
            );
            let (stored, refused) = stored?;
            self.stored += stored;
            for (id, reason) in refused {
                self.leave_out(id, reason);
            }
            self.position = Some(last);
            progress.reached(last.ms.saturating_sub(self.from.ms), self.stored);
            entries = following.map_err(|error| error.to_string())?;
            if stop.came().await {
                return Err("interrupted".to_owned());
            }
        }
        Ok(())
    }

    async fn read(&self, pages: &mut Pages) -> Result<Vec<Entry>, String> {
        gather(self.connection, pages, self.batch).await.map_err(|error| error.to_string())
    }

    /// What these entries say; what can't be read is left out.
    fn samples(&mut self, entries: &[Entry]) -> Vec<(EntryId, Sample)> {
        let mut samples = Vec::with_capacity(entries.len());
        for entry in entries {
            let event = match decode(self.stream, entry.fields()) {
                Ok(Decoded::Event(event)) => event,
                Ok(Decoded::Nameless) => {
                    self.passed += 1;
                    continue;
                }
                Err(error) => {
                    self.leave_out(entry.id, error.to_string());
                    continue;
                }
            };
            match Sample::of(self.stream, entry.id, event) {
                Ok(Some(sample)) => samples.push((entry.id, sample)),
                Ok(None) => self.passed += 1,
                Err(error) => self.leave_out(entry.id, error.to_string()),
            }
        }
        samples
    }

    fn leave_out(&mut self, id: EntryId, reason: String) {
        self.left_out_count += 1;
        if self.left_out.len() < NAMED {
            self.left_out.push((id, reason));
        }
    }
}

/// Entries of some pages together: so many, so many bytes of them, or those that there are.
async fn gather(
    connection: &Connection,
    pages: &mut Pages,
    most: usize,
) -> Result<Vec<Entry>, synapse_rs::stream::StreamError> {
    let (mut entries, mut bytes) = (Vec::new(), 0);
    while entries.len() < most && bytes < GATHERED_BYTES {
        let page = pages.at_most(connection, most - entries.len(), GATHERED_BYTES - bytes).await?;
        if page.is_empty() {
            break;
        }
        bytes += page.iter().map(Entry::size_bytes).sum::<usize>();
        entries.extend(page);
    }
    Ok(entries)
}

/// Stores samples, however long the store is away; how many, and what is refused.
async fn store_all(
    store: &Stores,
    samples: Vec<(EntryId, Sample)>,
    stop: &mut BetweenPieces,
) -> Result<(u64, Vec<(EntryId, String)>), String> {
    let (mut ids, mut samples): (Vec<_>, Vec<_>) = samples.into_iter().unzip();
    let (mut stored, mut refused) = (0, Vec::new());
    let mut backoff = Backoff::new(REST.0, REST.1);
    while !samples.is_empty() {
        let obstacle = match store.write(&samples).await {
            Ok(written) => {
                let waiting = settle(written, (ids, samples), &mut stored, &mut refused);
                (ids, samples) = (waiting.ids, waiting.samples);
                waiting.obstacle
            }
            Err(error) => Some(error),
        };
        let Some(obstacle) = obstacle else { break };
        if backoff.attempts() == 0 {
            tracing::warn!(error = %obstacle, "the store takes nothing for the moment; waiting until it does");
        }
        let rest = backoff.next_delay();
        let rest = match obstacle {
            StoreError::Unavailable { retry_after: Some(after), .. } => after.max(rest),
            _ => rest,
        };
        if came_within(stop, rest).await {
            return Err(format!("interrupted while the store takes nothing: {obstacle}"));
        }
    }
    Ok((stored, refused))
}

/// What is not decided yet, and why.
struct Waiting {
    ids: Vec<EntryId>,
    samples: Vec<Sample>,
    obstacle: Option<StoreError>,
}

fn settle(
    written: Vec<Written>,
    (ids, samples): (Vec<EntryId>, Vec<Sample>),
    stored: &mut u64,
    refused: &mut Vec<(EntryId, String)>,
) -> Waiting {
    let mut waiting = Waiting { ids: Vec::new(), samples: Vec::new(), obstacle: None };
    for ((outcome, id), sample) in written.into_iter().zip(ids).zip(samples) {
        match outcome {
            Written::Stored => *stored += 1,
            Written::Refused(reason) => refused.push((id, reason)),
            Written::Waiting(error) => {
                waiting.ids.push(id);
                waiting.samples.push(sample);
                waiting.obstacle.get_or_insert(error);
            }
        }
    }
    waiting
}

/// Waits; whether Ctrl-C came.
async fn came_within(stop: &mut BetweenPieces, rest: Duration) -> bool {
    let end = Instant::now() + rest;
    while Instant::now() < end {
        if stop.came().await {
            return true;
        }
        tokio::select! {
            () = sleep(LOOK_EVERY) => {}
            () = sleep_until(end) => {}
        }
    }
    stop.came().await
}
