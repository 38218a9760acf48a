//! Appending entries.

use bytes::Bytes;

use super::{Connection, EntryId, StreamError, reply, resp};

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

    /// Appends entries in their order, all sent at once; the stream keeps about `maxlen`.
    ///
    /// An error is that of the first that was refused; others may have been appended, before it and behind it.
    pub async fn append_all(
        &self,
        stream: &str,
        entries: &[Vec<(Bytes, Bytes)>],
        maxlen: u64,
    ) -> Result<Vec<EntryId>, StreamError> {
        let what = format!("XADD {stream}");
        let mut commands = redis::pipe();
        for fields in entries {
            commands.cmd("XADD").arg(stream).arg("MAXLEN").arg("~").arg(maxlen).arg("*");
            for (field, value) in fields {
                commands.arg(field.as_ref()).arg(value.as_ref());
            }
        }
        let answers = self.query_all(&commands, false, &what).await?;
        answers.into_iter().map(|answer| reply::entry_id(&self.answered(answer, &what)?, &what)).collect()
    }
}

/// The part of a request to append that comes before an entry's fields, the same for all entries of a stream.
#[derive(Debug)]
pub(crate) struct AppendHead {
    /// How many arguments it holds, the command's name included.
    pub arguments: usize,
    /// The arguments as bulk strings.
    pub text: Box<[u8]>,
}

impl AppendHead {
    /// `XADD stream [MAXLEN ~ maxlen] *`; a `maxlen` of 0 stands for no limit.
    pub(crate) fn new(stream: &str, maxlen: u64) -> Self {
        let mut arguments = vec!["XADD".to_owned(), stream.to_owned()];
        if maxlen > 0 {
            arguments.extend(["MAXLEN".to_owned(), "~".to_owned(), maxlen.to_string()]);
        }
        arguments.push("*".to_owned());
        let text = resp::bulk_strings(&arguments);
        Self { arguments: arguments.len(), text: text.into() }
    }
}
