use super::{Connection, Entry, EntryId, StreamError, reply};

impl Connection {
    /// At most `count` entries from `from` to `to`, both included, oldest first.
    pub async fn range(
        &self,
        stream: &str,
        from: EntryId,
        to: EntryId,
        count: usize,
    ) -> Result<Vec<Entry>, StreamError> {
        self.range_command("XRANGE", stream, from, to, count).await
    }

    /// At most `count` entries from `from` down to `to`, both included, newest first.
    pub async fn rev_range(
        &self,
        stream: &str,
        from: EntryId,
        to: EntryId,
        count: usize,
    ) -> Result<Vec<Entry>, StreamError> {
        self.range_command("XREVRANGE", stream, from, to, count).await
    }

    async fn range_command(
        &self,
        name: &str,
        stream: &str,
        from: EntryId,
        to: EntryId,
        count: usize,
    ) -> Result<Vec<Entry>, StreamError> {
        let mut command = redis::cmd(name);
        command.arg(stream).arg(from.to_string()).arg(to.to_string()).arg("COUNT").arg(count);
        let what = format!("{name} {stream}");
        let answer = self.query(&command, &what).await?;
        reply::entries(answer, &what)
    }
}
