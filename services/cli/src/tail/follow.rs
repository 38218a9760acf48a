//! Reading streams from where one is, over whatever happens to Redis.

use std::time::Duration;

use synapse_rs::{
    EntryId, RedisSettings,
    backoff::Backoff,
    stream::{BlockingConnection, Connection, Entry, StreamError},
};
use tokio::time::sleep;

use crate::output;

/// How long one read waits for news; also how soon a closed output is noticed.
const BLOCK: Duration = Duration::from_secs(1);
/// Entries of each stream per read.
const BATCH: usize = 500;
const FIRST_DELAY: Duration = Duration::from_millis(50);
const LONGEST_DELAY: Duration = Duration::from_secs(2);

/// Follows streams. Every read starts at a concrete id, so that nothing between two reads is missed.
#[derive(Debug)]
pub(crate) struct Follower {
    settings: RedisSettings,
    /// The last entry seen of each stream.
    positions: Vec<(String, EntryId)>,
    connection: Option<BlockingConnection>,
}

impl Follower {
    /// Starts after an id, or at the present end of each stream; fails where Redis can't be reached or used.
    pub(crate) async fn start(
        settings: RedisSettings,
        streams: Vec<String>,
        after: Option<EntryId>,
    ) -> Result<Self, StreamError> {
        let connection = Connection::open(&settings).await?;
        let mut positions = Vec::with_capacity(streams.len());
        for stream in streams {
            let info = connection.info(&stream).await?;
            if info.is_none() {
                output::note(format_args!("{stream} does not exist yet; waiting for its first event"));
            }
            let end = info.map_or(EntryId::MIN, |info| info.last_generated_id);
            positions.push((stream, after.unwrap_or(end)));
        }
        let connection = Some(BlockingConnection::open(&settings).await?);
        Ok(Self { settings, positions, connection })
    }

    /// Waits for news; nothing after a second without any. Fails only for what waiting does not mend.
    pub(crate) async fn next(&mut self) -> Result<Vec<(String, Vec<Entry>)>, StreamError> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.connect_again().await?,
        };
        match connection.read(&self.positions, BATCH, BLOCK).await {
            Ok(news) => {
                self.connection = Some(connection);
                self.advance(&news);
                Ok(news)
            }
            Err(error) if error.is_transient() => {
                output::note(format_args!("synapse: {error}; trying again"));
                Ok(Vec::new())
            }
            Err(error) => Err(error),
        }
    }

    fn advance(&mut self, news: &[(String, Vec<Entry>)]) {
        for (stream, entries) in news {
            let position = self.positions.iter_mut().find(|(name, _)| name == stream);
            if let (Some((_, position)), Some(last)) = (position, entries.last()) {
                *position = last.id;
            }
        }
    }

    async fn connect_again(&mut self) -> Result<BlockingConnection, StreamError> {
        let mut backoff = Backoff::new(FIRST_DELAY, LONGEST_DELAY);
        loop {
            sleep(backoff.next_delay()).await;
            match self.reopened().await {
                Ok(connection) => {
                    output::note(format_args!("synapse: connected to {} again", self.settings));
                    return Ok(connection);
                }
                Err(error) if error.is_transient() && !output::is_closed() => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// A new connection, and positions that the server still knows.
    async fn reopened(&mut self) -> Result<BlockingConnection, StreamError> {
        let connection = Connection::open(&self.settings).await?;
        for (stream, position) in &mut self.positions {
            let last = connection.last_id(stream).await?;
            // A server that lost its newest entries hands out their ids, or earlier ones, again: an id that it has
            // not reached yet would stay silent until it does.
            if last < *position {
                output::note(format_args!(
                    "synapse: {stream} ends at {last}, before {position} where we were: redis has lost entries; going on from its end"
                ));
                *position = last;
            }
        }
        BlockingConnection::open(&self.settings).await
    }
}
