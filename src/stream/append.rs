use super::{Connection, EntryId, StreamError, reply};

impl Connection {
    /// Appends one entry of these field/value pairs; with `maxlen` the stream keeps about that many.
    pub async fn append<F, V>(
        &self,
        stream: &str,
        fields: impl IntoIterator<Item = (F, V)>,
        maxlen: Option<u64>,
    ) -> Result<EntryId, StreamError>
    where
        F: redis::ToRedisArgs,
        V: redis::ToRedisArgs,
    {
        let mut command = redis::cmd("XADD");
        command.arg(stream);
        if let Some(maxlen) = maxlen {
            command.arg("MAXLEN").arg("~").arg(maxlen);
        }
        command.arg("*");
        for (field, value) in fields {
            command.arg(field).arg(value);
        }
        let what = format!("XADD {stream}");
        let answer = self.query(&command, &what).await?;
        reply::entry_id(&answer, &what)
    }
}
