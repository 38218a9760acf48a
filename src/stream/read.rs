//! Blocking reads, with a group and without.

use std::{sync::Arc, time::Duration};

use super::{BlockingConnection, Entry, EntryId, StreamError, entry::Reply, tape::Token};

/// Where a member of a group reads.
#[derive(Clone, Copy, Debug)]
pub struct Member<'a> {
    /// The consumer group.
    pub group: &'a str,
    /// The consumer's name, unique among the group's processes.
    pub consumer: &'a str,
}

impl BlockingConnection {
    /// At most `count` entries of each stream after the given ids, waiting up to `block` for the first (`XREAD`).
    ///
    /// Streams without news are not in the answer; it is empty when the time was up.
    pub async fn read(
        &mut self,
        positions: &[(String, EntryId)],
        count: usize,
        block: Duration,
    ) -> Result<Vec<(String, Vec<Entry>)>, StreamError> {
        self.read_streams(&request(positions, count, block), block, "XREAD").await
    }

    /// At most `count` entries of each stream that no member of the group has been given yet (`XREADGROUP >`).
    pub async fn read_group<S: AsRef<str>>(
        &mut self,
        member: Member<'_>,
        streams: &[S],
        count: usize,
        block: Duration,
    ) -> Result<Vec<(String, Vec<Entry>)>, StreamError> {
        let mut request = group_request(member, count);
        request.extend(["BLOCK".to_owned(), milliseconds(block), "STREAMS".to_owned()]);
        request.extend(streams.iter().map(|stream| stream.as_ref().to_owned()));
        request.extend(streams.iter().map(|_| ">".to_owned()));
        self.read_streams(&request, block, &format!("XREADGROUP {}", member.group)).await
    }

    /// The server's number for this connection, by which another can end its waiting.
    pub async fn client_id(&mut self) -> Result<i64, StreamError> {
        const WHAT: &str = "CLIENT ID";
        let reply = self.query(&["CLIENT", "ID"].map(str::to_owned), Duration::ZERO, WHAT).await?;
        match reply.tokens.first() {
            Some(Token::Integer(id)) => Ok(*id),
            _ => Err(unexpected(&reply, WHAT)),
        }
    }

    async fn read_streams(
        &mut self,
        request: &[String],
        block: Duration,
        what: &str,
    ) -> Result<Vec<(String, Vec<Entry>)>, StreamError> {
        let reply = self.query(request, block, what).await?;
        streams(&reply).ok_or_else(|| unexpected(&reply, what))
    }
}

/// `XREAD`.
pub(super) fn request(positions: &[(String, EntryId)], count: usize, block: Duration) -> Vec<String> {
    let mut request = Vec::with_capacity(6 + 2 * positions.len());
    request.extend(["XREAD", "COUNT"].map(str::to_owned));
    request.extend([count.to_string(), "BLOCK".to_owned(), milliseconds(block), "STREAMS".to_owned()]);
    request.extend(positions.iter().map(|(stream, _)| stream.clone()));
    request.extend(positions.iter().map(|(_, id)| id.to_string()));
    request
}

fn group_request(member: Member<'_>, count: usize) -> Vec<String> {
    let words = ["XREADGROUP", "GROUP", member.group, member.consumer, "COUNT", &count.to_string()];
    words.map(str::to_owned).into()
}

/// `BLOCK 0` would mean for ever.
fn milliseconds(block: Duration) -> String {
    u64::try_from(block.as_millis()).unwrap_or(u64::MAX).max(1).to_string()
}

pub(super) fn unexpected(reply: &Reply, what: &str) -> StreamError {
    let start = &reply.bytes[..reply.bytes.len().min(80)];
    StreamError::Unexpected { command: what.to_owned(), answer: String::from_utf8_lossy(start).into_owned() }
}

/// The streams of `[[stream, entries], …]`, or none; `None` if the reply is of another form.
pub(super) fn streams(reply: &Arc<Reply>) -> Option<Vec<(String, Vec<Entry>)>> {
    Walk { reply, at: 0 }.streams()
}

/// The entries of `[[id, [field, value, …]], …]`; `None` if the reply is of another form.
pub(super) fn entries(reply: &Arc<Reply>) -> Option<Vec<Entry>> {
    Walk { reply, at: 0 }.entries()
}

/// Goes through the values of a reply; each step is `None` if the value is of another form.
struct Walk<'a> {
    reply: &'a Arc<Reply>,
    at: usize,
}

impl Walk<'_> {
    /// `[[stream, entries], …]`, or nothing.
    fn streams(&mut self) -> Option<Vec<(String, Vec<Entry>)>> {
        let mut streams = Vec::new();
        for _ in 0..self.array()? {
            if self.array()? != 2 {
                return None;
            }
            let name = String::from_utf8_lossy(self.bulk()?).into_owned();
            streams.push((name, self.entries()?));
        }
        Some(streams)
    }

    /// `[[id, [field, value, …]], …]`; those whose fields are nil (deleted while pending) come without fields.
    fn entries(&mut self) -> Option<Vec<Entry>> {
        let count = self.array()?;
        let mut entries = Vec::with_capacity(count);
        for _ in 0..count {
            if self.array()? != 2 {
                return None;
            }
            let id = EntryId::from_bytes(self.bulk()?)?;
            let values = self.array()?;
            let first = self.at;
            for _ in 0..values {
                self.bulk()?;
            }
            let (first, pairs) = (u32::try_from(first).ok()?, u32::try_from(values / 2).ok()?);
            entries.push(Entry::part(id, self.reply, first, pairs));
        }
        Some(entries)
    }

    fn next(&mut self) -> Option<Token> {
        let token = self.reply.tokens.get(self.at).copied();
        self.at += 1;
        token
    }

    /// The length of an array; 0 of nothing.
    fn array(&mut self) -> Option<usize> {
        match self.next()? {
            Token::Array(length) => Some(length as usize),
            Token::Nil => Some(0),
            _ => None,
        }
    }

    fn bulk(&mut self) -> Option<&[u8]> {
        match self.next()? {
            Token::Bulk { .. } => Some(self.reply.text(self.at - 1)),
            _ => None,
        }
    }
}
