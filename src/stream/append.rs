//! Appending entries.

use bytes::Bytes;
use redis::Value;

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

    /// Appends entries in their order, as one step; the stream keeps about `maxlen`.
    ///
    /// What the server refuses for want of memory or the like it refuses as a whole; where it does refuse an entry, the
    /// ids are those of the entries before it. After [`StreamError::Unreachable`] all or none were appended.
    pub async fn append_all(
        &self,
        stream: &str,
        entries: &[Vec<(Bytes, Bytes)>],
        maxlen: u64,
    ) -> Result<Appended, StreamError> {
        let what = format!("XADD {stream}");
        let mut commands = redis::pipe();
        commands.atomic();
        for fields in entries {
            commands.cmd("XADD").arg(stream).arg("MAXLEN").arg("~").arg(maxlen).arg("*");
            for (field, value) in fields {
                commands.arg(field.as_ref()).arg(value.as_ref());
            }
        }
        let executed = self.query_all(&commands, true, &what).await?.into_iter().next();
        let answers = match executed.unwrap_or(Value::Nil) {
            Value::Array(answers) => answers,
            other => return Err(reply::unexpected(&what, &self.answered(other, &what)?)),
        };
        let mut appended = Appended { ids: Vec::with_capacity(answers.len()), refusal: None };
        for answer in answers {
            match self.answered(answer, &what).and_then(|answer| reply::entry_id(&answer, &what)) {
                Ok(id) => appended.ids.push(id),
                Err(error) => {
                    appended.refusal = Some(error);
                    break;
                }
            }
        }
        Ok(appended)
    }
}

/// What became of entries that were to be appended.
#[derive(Clone, Debug)]
pub struct Appended {
    /// The ids of the entries, up to the first that was refused.
    pub ids: Vec<EntryId>,
    /// Why that was refused; those behind it may have been appended.
    pub refusal: Option<StreamError>,
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
