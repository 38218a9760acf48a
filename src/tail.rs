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
    interrupted: bool,
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
    /// Redis answers again. Nothing was missed, but on streams that lost entries.
    Resumed(Vec<Rewound>),
}

/// A stream that ended before our place when we came back: redis has lost its newest entries.
///
/// Reading goes on from its end; at a place it has not reached yet it would stay silent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rewound {
    /// The stream.
    pub stream: String,
    /// The last entry we had seen.
    pub seen: EntryId,
    /// Where it ended when we came back.
    pub end: EntryId,
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
        let (reader, backoff) = (Some(reader), Backoff::default());
        Ok(Self { settings, positions, batch: 1_000, reader, interrupted: false, backoff })
    }

    /// Waits for the next entries.
    ///
    /// Safe to cancel: the position moves only with what is returned.
    pub async fn next(&mut self) -> News {
        loop {
            // Taken out, so that a cancelled read leaves no connection with a reply on its way.
            let read = match self.reader.take() {
                Some(reader) => self.read(reader).await,
                None => match self.reconnect().await {
                    Ok(rewound) if self.interrupted || !rewound.is_empty() => {
                        self.interrupted = false;
                        return News::Resumed(rewound);
                    }
                    Ok(_) => continue,
                    Err(error) => Err(error),
                },
            };
            match read {
                Ok(read) if read.is_empty() => self.backoff.reset(),
                Ok(read) => {
                    self.backoff.reset();
                    return News::Entries(self.tailed(read));
                }
                Err(error) => {
                    self.interrupted = true;
                    tokio::time::sleep(self.backoff.next_delay()).await;
                    return News::Interrupted(error);
                }
            }
        }
    }

    async fn read(
        &mut self,
        mut reader: BlockingConnection,
    ) -> Result<Vec<(String, Vec<Entry>)>, StreamError> {
        let read = reader.read(&self.positions, self.batch, BLOCK).await?;
        self.reader = Some(reader);
        Ok(read)
    }

    /// After a fail-over or a lost tail of the log a stream may end before our place, which would stay silent.
    async fn reconnect(&mut self) -> Result<Vec<Rewound>, StreamError> {
        let connection = Connection::open(&self.settings).await?;
        let mut ends = Vec::with_capacity(self.positions.len());
        for (stream, _) in &self.positions {
            ends.push(connection.last_id(stream).await?);
        }
        let reader = BlockingConnection::open(&self.settings).await?;
        // From here on nothing can fail or be cancelled: what was rewound is reported.
        self.reader = Some(reader);
        let mut rewound = Vec::new();
        for ((stream, position), end) in self.positions.iter_mut().zip(ends) {
            if *position > end {
                tracing::warn!(stream, %position, %end, "the stream went back; reading on from its end");
                metrics::counter!("synapse_tail_rewinds_total", "stream" => stream.clone()).increment(1);
                rewound.push(Rewound { stream: stream.clone(), seen: *position, end });
                *position = end;
            }
        }
        Ok(rewound)
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
