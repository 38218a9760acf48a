//! Reading streams without a group: everyone who tails sees every event.

use std::time::Duration;

use crate::{
    Event,
    backoff::Backoff,
    config::RedisSettings,
    event::decode::{DecodeError, Decoded, decode},
    stream::{BlockingConnection, Connection, Entry, EntryId, StreamError},
};

/// How long one read waits for news.
const BLOCK: Duration = Duration::from_secs(5);

/// Where to begin on a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// With the first entry that is appended from now on.
    Now,
    /// With the entry behind this one; [`EntryId::MIN`] for the stream's beginning.
    Entry(EntryId),
}

/// Reads streams from a place on, through failures of Redis.
///
/// The place is always a concrete id, asked for once: `$` repeated at each read would miss what is
/// appended between two reads.
#[derive(Debug)]
pub struct Tail {
    settings: RedisSettings,
    positions: Vec<(String, EntryId)>,
    batch: usize,
    reader: Option<BlockingConnection>,
    backoff: Backoff,
}

/// An entry that a tail has read.
#[derive(Clone, Debug)]
pub struct Tailed {
    /// The stream it is on.
    pub stream: String,
    /// Its id.
    pub id: EntryId,
    /// What it says, or why it can't be read; `None` if it holds no event.
    pub event: Result<Option<Event>, DecodeError>,
}

/// What [`Tail::next`] has to tell.
#[derive(Debug)]
pub enum News {
    /// Entries, in stream order.
    Entries(Vec<Tailed>),
    /// Redis does not answer, for this reason; the next call waits and tries again.
    Interrupted(StreamError),
}

impl Tail {
    /// Connects and finds out where the streams are now.
    pub async fn open(
        settings: RedisSettings,
        streams: &[String],
        after: After,
    ) -> Result<Self, StreamError> {
        let connection = Connection::open(&settings).await?;
        let mut positions = Vec::with_capacity(streams.len());
        for stream in streams {
            let id = match after {
                After::Entry(id) => id,
                After::Now => connection.last_id(stream).await?,
            };
            positions.push((stream.clone(), id));
        }
        let reader = BlockingConnection::open(&settings).await?;
        Ok(Self { settings, positions, batch: 1_000, reader: Some(reader), backoff: Backoff::default() })
    }

    /// Waits for the next entries.
    ///
    /// Safe to cancel: the position moves only with what is returned.
    pub async fn next(&mut self) -> News {
        loop {
            match self.read().await {
                Ok(read) if read.is_empty() => {}
                Ok(read) => {
                    self.backoff.reset();
                    return News::Entries(self.tailed(read));
                }
                Err(error) => {
                    tokio::time::sleep(self.backoff.next_delay()).await;
                    return News::Interrupted(error);
                }
            }
        }
    }

    async fn read(&mut self) -> Result<Vec<(String, Vec<Entry>)>, StreamError> {
        // Taken out, so that a cancelled read leaves no connection with a reply on its way.
        let mut reader = match self.reader.take() {
            Some(reader) => reader,
            None => self.reconnect().await?,
        };
        let read = reader.read(&self.positions, self.batch, BLOCK).await?;
        self.reader = Some(reader);
        Ok(read)
    }

    /// After a fail-over or a lost tail of the log a stream may end before our place, which would stay silent.
    async fn reconnect(&mut self) -> Result<BlockingConnection, StreamError> {
        let connection = Connection::open(&self.settings).await?;
        for (stream, position) in &mut self.positions {
            let last = connection.last_id(stream).await?;
            if *position > last {
                tracing::warn!(stream, %position, %last, "the stream went back; reading on from its end");
                metrics::counter!("synapse_tail_rewinds_total", "stream" => stream.clone()).increment(1);
                *position = last;
            }
        }
        BlockingConnection::open(&self.settings).await
    }

    fn tailed(&mut self, read: Vec<(String, Vec<Entry>)>) -> Vec<Tailed> {
        let mut found = Vec::new();
        for (stream, entries) in read {
            if let (Some(last), Some(position)) =
                (entries.last(), self.positions.iter_mut().find(|(name, _)| *name == stream))
            {
                position.1 = last.id;
            }
            for entry in entries {
                let event = decode(&stream, entry.fields()).map(Decoded::event);
                found.push(Tailed { stream: stream.clone(), id: entry.id, event });
            }
        }
        found
    }

    /// Where it is on each stream.
    pub fn positions(&self) -> &[(String, EntryId)] {
        &self.positions
    }
}
