//! The connection of a publisher: requests as bytes, and what tells after its loss which of them arrived.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{
    BlockingConnection, Entry, EntryId, ServerInfo, StreamError, entry::Reply, read::unexpected, reply,
    tape::Token, wire::Wire,
};
use crate::config::RedisSettings;

/// A connection as its server knows it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Session {
    /// The server's `run_id`: another one for each start of each server.
    pub run_id: String,
    /// The server's number for the connection, unique while the server runs.
    pub client_id: i64,
    /// How many commands the server had refused when the connection was opened, where it counts them.
    pub refusals: Option<u64>,
}

/// How far a stream goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) struct Extent {
    /// The first entry's id, if it holds any.
    pub first_id: Option<EntryId>,
    /// The id of the last entry ever appended, trimmed or not.
    pub last_generated_id: EntryId,
    /// How many entries were ever trimmed or deleted; `None` before Redis 7.
    pub removed: Option<u64>,
}

/// One connection that carries a publisher's requests and, while none is in flight, its questions.
#[derive(Debug)]
pub(crate) struct AppendConnection {
    inner: BlockingConnection,
    /// `None` where the server does not tell.
    pub session: Option<Session>,
}

impl AppendConnection {
    /// Connects and authenticates, and asks the server who it is.
    pub(crate) async fn open(settings: &RedisSettings) -> Result<Self, StreamError> {
        let mut inner = BlockingConnection::open(settings).await?;
        let session = session(&mut inner).await?;
        Ok(Self { inner, session })
    }

    /// The byte stream, for requests that are answered in their order.
    pub(crate) fn wire(&mut self) -> &mut Wire {
        self.inner.wire()
    }

    /// Ends another connection of this user; nothing that it sent is executed after that. Not an error if it is gone.
    pub(crate) async fn kill(&mut self, client_id: i64) -> Result<(), StreamError> {
        let request = ["CLIENT", "KILL", "ID", &client_id.to_string()].map(str::to_owned);
        self.inner.query(&request, Duration::ZERO, "CLIENT KILL").await.map(drop)
    }

    /// How many commands the server has refused so far, where it counts them.
    pub(crate) async fn refusals(&mut self) -> Result<Option<u64>, StreamError> {
        refusals(&mut self.inner).await
    }

    /// How far a stream goes; nothing of everything if there is no such stream.
    pub(crate) async fn extent(&mut self, stream: &str) -> Result<Extent, StreamError> {
        let what = format!("XINFO STREAM {stream}");
        let request = ["XINFO", "STREAM", stream].map(str::to_owned);
        let reply = match self.inner.query(&request, Duration::ZERO, &what).await {
            Ok(reply) => reply,
            Err(StreamError::Refused { reason, .. }) if reason.contains("no such key") => {
                return Ok(Extent { removed: Some(0), ..Extent::default() });
            }
            Err(error) => return Err(error),
        };
        read_extent(&reply).ok_or_else(|| unexpected(&reply, &what))
    }

    /// At most `count` entries from `from` to `to`, both included, oldest first.
    pub(crate) async fn range(
        &mut self,
        stream: &str,
        from: EntryId,
        to: EntryId,
        count: usize,
    ) -> Result<Vec<Entry>, StreamError> {
        let what = format!("XRANGE {stream}");
        let (from, to, count) = (from.to_string(), to.to_string(), count.to_string());
        let request = ["XRANGE", stream, &from, &to, "COUNT", &count].map(str::to_owned);
        let reply = self.inner.query(&request, Duration::ZERO, &what).await?;
        super::read::entries(&reply).ok_or_else(|| unexpected(&reply, &what))
    }
}

/// Who the server says it and this connection are; `None` if it refuses to. A server that takes no events is an error.
async fn session(connection: &mut BlockingConnection) -> Result<Option<Session>, StreamError> {
    let Some(role) = info(connection, "replication").await? else { return Ok(None) };
    let role = ServerInfo::parse(&role);
    if role.says("role", "slave") && !role.says("slave_read_only", "0") {
        // It does not know what its master has, nor whom its clients were.
        let reason = "READONLY the address leads to a replica".to_owned();
        return Err(StreamError::Refused { command: "XADD".to_owned(), reason });
    }
    let client_id = match connection.client_id().await {
        Ok(client_id) => client_id,
        Err(error) => return untold(error),
    };
    let Some(server) = info(connection, "server").await? else { return Ok(None) };
    let refusals = refusals(connection).await?;
    let server = ServerInfo::parse(&server);
    let session = |run_id: &str| Session { run_id: run_id.to_owned(), client_id, refusals };
    Ok(server.text("run_id").map(session))
}

/// How many commands the server has refused for reasons for which it may refuse an event.
async fn refusals(connection: &mut BlockingConnection) -> Result<Option<u64>, StreamError> {
    let Some(text) = info(connection, "errorstats").await? else { return Ok(None) };
    // Servers before 6.2 know no such section; one with errors of too many kinds has given up counting.
    if !text.starts_with("# Errorstats") || text.contains("DISABLED") {
        return Ok(None);
    }
    let errors = ServerInfo::parse(&text);
    let count = |code: &str| {
        let count = errors.text(&format!("errorstat_{code}"))?.strip_prefix("count=")?;
        count.parse::<u64>().ok()
    };
    let codes = reply::WAITED_OUT.into_iter().chain(["WRONGTYPE", "NOPERM"]);
    Ok(Some(codes.filter_map(count).sum()))
}

/// A section of what the server says of itself; `None` if it refuses to.
async fn info(connection: &mut BlockingConnection, section: &str) -> Result<Option<String>, StreamError> {
    let request = ["INFO", section].map(str::to_owned);
    match connection.query(&request, Duration::ZERO, &format!("INFO {section}")).await {
        Ok(reply) => Ok(Some(String::from_utf8_lossy(reply.text(0)).into_owned())),
        Err(error) => untold(error),
    }
}

/// A server that refuses to tell is one without a name; one that can't be reached is an error.
fn untold<T>(error: StreamError) -> Result<Option<T>, StreamError> {
    match error {
        StreamError::Refused { .. } | StreamError::Unexpected { .. } => Ok(None),
        other => Err(other),
    }
}

/// The fields of `XINFO STREAM` that say how far the stream goes.
fn read_extent(reply: &Reply) -> Option<Extent> {
    let Some(Token::Array(_)) = reply.tokens.first() else { return None };
    let (mut extent, mut length, mut added) = (Extent::default(), 0, None);
    // Names of fields are met among all values: none of them is an entry's id, a number or a group's name.
    for (index, _) in reply.tokens.iter().enumerate().filter(|(_, token)| matches!(token, Token::Bulk { .. }))
    {
        let value = reply.tokens.get(index + 1);
        match (reply.text(index), value) {
            (b"length", Some(Token::Integer(value))) => length = value.unsigned_abs(),
            (b"entries-added", Some(Token::Integer(value))) => added = Some(value.unsigned_abs()),
            (b"last-generated-id", Some(Token::Bulk { .. })) => {
                extent.last_generated_id = EntryId::from_bytes(reply.text(index + 1))?;
            }
            (b"first-entry", Some(Token::Array(_))) => {
                extent.first_id = Some(EntryId::from_bytes(reply.text(index + 2))?);
                break;
            }
            _ => {}
        }
    }
    extent.removed = added.map(|added: u64| added.saturating_sub(length));
    Some(extent)
}
