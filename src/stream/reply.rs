//! What the server's replies mean.

use bytes::Bytes;
use redis::Value;

use super::{Entry, EntryId, StreamError};

/// The codes of errors that pass by themselves: the server is out of memory, can't persist, is
/// loading, is a replica for the moment or has too few of them, is moving slots, is busy with a script, or has not been
/// given its password yet.
pub(super) const WAITED_OUT: [&str; 10] = [
    "OOM",
    "MISCONF",
    "LOADING",
    "READONLY",
    "TRYAGAIN",
    "CLUSTERDOWN",
    "MASTERDOWN",
    "NOREPLICAS",
    "NOAUTH",
    "BUSY",
];

/// Whether a command answered with this error may work later without anyone changing the command.
///
/// `error` is the server's text, starting with its code, without the leading `-`.
pub fn is_waited_out(error: &str) -> bool {
    let code = error.split(' ').next().unwrap_or_default();
    WAITED_OUT.contains(&code)
}

/// Whether an event refused with this error is refused for good: the key is no stream, its user may not write to it,
/// or the command is wrong. What else a server or a proxy before it may say is no reason to lose an event.
pub(crate) fn is_final(error: &str) -> bool {
    matches!(error.split(' ').next(), Some("WRONGTYPE" | "NOPERM" | "ERR"))
}

pub(super) fn unexpected(what: &str, answer: &Value) -> StreamError {
    let mut answer = format!("{answer:?}");
    if let Some((cut, _)) = answer.char_indices().nth(80) {
        answer.truncate(cut);
    }
    StreamError::Unexpected { command: what.to_owned(), answer }
}

pub(super) fn array(value: Value, what: &str) -> Result<Vec<Value>, StreamError> {
    match value {
        Value::Array(items) => Ok(items),
        Value::Nil => Ok(Vec::new()),
        other => Err(unexpected(what, &other)),
    }
}

pub(super) fn integer(value: &Value, what: &str) -> Result<i64, StreamError> {
    match value {
        Value::Int(number) => Ok(*number),
        other => Err(unexpected(what, other)),
    }
}

pub(super) fn text(value: &Value, what: &str) -> Result<String, StreamError> {
    match value {
        Value::BulkString(bytes) => Ok(String::from_utf8_lossy(bytes).into_owned()),
        Value::SimpleString(text) => Ok(text.clone()),
        other => Err(unexpected(what, other)),
    }
}

pub(super) fn entry_id(value: &Value, what: &str) -> Result<EntryId, StreamError> {
    match value {
        Value::BulkString(bytes) => EntryId::from_bytes(bytes).ok_or_else(|| unexpected(what, value)),
        other => Err(unexpected(what, other)),
    }
}

pub(super) fn entry_ids(value: Value, what: &str) -> Result<Vec<EntryId>, StreamError> {
    array(value, what)?.iter().map(|id| entry_id(id, what)).collect()
}

/// The entries of `[[id, [field, value, …]], …]`; those whose fields are nil (deleted while pending) come without fields.
///
/// Redis 6.2 answers `XAUTOCLAIM` with nil for a whole entry that was deleted: it has no id to go on with.
pub(super) fn entries(value: Value, what: &str) -> Result<Vec<Entry>, StreamError> {
    let items = array(value, what)?.into_iter().filter(|item| *item != Value::Nil);
    items.map(|item| entry(item, what)).collect()
}

fn entry(value: Value, what: &str) -> Result<Entry, StreamError> {
    let mut parts = array(value, what)?.into_iter();
    let (Some(id), Some(fields), None) = (parts.next(), parts.next(), parts.next()) else {
        return Err(unexpected(what, &Value::Nil));
    };
    Ok(Entry::new(entry_id(&id, what)?, self::fields(fields, what)?))
}

/// The field/value pairs of an entry.
pub(super) fn fields(value: Value, what: &str) -> Result<Vec<(Bytes, Bytes)>, StreamError> {
    let mut values = array(value, what)?.into_iter();
    let mut fields = Vec::with_capacity(values.len() / 2);
    while let (Some(field), Some(value)) = (values.next(), values.next()) {
        fields.push((bulk(field, what)?, bulk(value, what)?));
    }
    Ok(fields)
}

fn bulk(value: Value, what: &str) -> Result<Bytes, StreamError> {
    match value {
        Value::BulkString(bytes) => Ok(Bytes::from(bytes)),
        other => Err(unexpected(what, &other)),
    }
}

/// The pairs of a flat `[name, value, …]`, as `XINFO` answers.
pub(super) fn pairs(value: Value, what: &str) -> Result<Vec<(String, Value)>, StreamError> {
    let mut items = array(value, what)?.into_iter();
    let mut found = Vec::with_capacity(items.len() / 2);
    while let (Some(name), Some(value)) = (items.next(), items.next()) {
        found.push((text(&name, what)?, value));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_that_is_nil_as_a_whole_is_left_out() {
        let text = |text: &str| Value::BulkString(text.into());
        let entry = Value::Array(vec![text("5-0"), Value::Array(vec![text("event"), text("error")])]);
        let gone = Value::Array(vec![text("6-0"), Value::Nil]);
        let found = entries(Value::Array(vec![Value::Nil, entry, gone]), "XAUTOCLAIM").unwrap();
        let found: Vec<_> = found.iter().map(|entry| (entry.id.ms, entry.fields().len())).collect();
        assert_eq!(found, [(5, 1), (6, 0)]);
    }
}
