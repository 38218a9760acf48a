//! What clients may write in their requests, whatever protocol carries them.

use serde_json::Value;
use synapse_realtime::socketio::application::Failure;
use synapse_rs::Filter;

use crate::{
    position::After,
    resume::Request,
    streams::{Stream, StreamSet},
};

/// The most of the latest events that are sent first.
const MAX_LAST: u64 = 1_000;

/// Refuses fields that nobody reads: a condition with a misspelt name would else let everything through.
pub(crate) fn check_fields(request: &Value, known: &[&str]) -> Result<(), Failure> {
    match request {
        Value::Null => Ok(()),
        Value::Object(fields) => match fields.keys().find(|field| !known.contains(&field.as_str())) {
            None => Ok(()),
            Some(field) => {
                let field: String = field.chars().take(60).collect();
                Err(invalid(format!("unknown field {field:?}; known are {}", known.join(", "))))
            }
        },
        _ => Err(invalid("expected an object".to_owned())),
    }
}

/// What a client asks for, and from where on: `after` a position or entry, or with so many of the latest first.
pub(crate) fn request_for(
    streams: StreamSet,
    condition: Option<Filter>,
    after: Option<&str>,
    last: Option<u64>,
) -> Result<Request, Failure> {
    let after = after.map(After::parse).transpose();
    let after = after.map_err(|error| Failure::new("invalid_position", error.to_string()))?;
    if matches!(after, Some(After::Entry(_))) && names(streams).len() != 1 {
        let message = "the id of an entry is of one stream: name that stream alone, or give a position";
        return Err(Failure::new("invalid_position", message));
    }
    let last = match last {
        Some(_) if after.is_some() => return Err(invalid("give after or last, not both".to_owned())),
        Some(last) if last > MAX_LAST => return Err(invalid_last()),
        last => last.and_then(|last| usize::try_from(last).ok()),
    };
    Ok(Request { streams, condition, after, last })
}

pub(crate) fn invalid_last() -> Failure {
    invalid(format!("last is a whole number up to {MAX_LAST}"))
}

/// The names of streams, as clients know them.
pub(crate) fn names(streams: StreamSet) -> Vec<&'static str> {
    let mut names: Vec<_> = streams.iter().map(Stream::name).collect();
    names.dedup();
    names
}

/// The streams of a request; all if it names none.
pub(crate) fn streams_of(request: &Value) -> Result<StreamSet, Failure> {
    let names = match &request["streams"] {
        Value::Null => return Ok(StreamSet::ALL),
        Value::Array(names) => names,
        _ => return Err(invalid("streams is a list of names".to_owned())),
    };
    let mut streams = StreamSet::default();
    for name in names {
        let name = name.as_str().ok_or_else(|| invalid("streams is a list of names".to_owned()))?;
        streams = streams.with(stream_named(name)?);
    }
    Ok(streams)
}

/// The streams a client means by a name.
pub(crate) fn stream_named(name: &str) -> Result<StreamSet, Failure> {
    StreamSet::named(name).ok_or_else(|| {
        let name: String = name.chars().take(60).collect();
        let known = names(StreamSet::ALL).join(", ");
        Failure::new("unknown_stream", format!("there is no stream {name:?}; there are {known}"))
    })
}

/// The condition of a request, if it has one.
pub(crate) fn condition_of(request: &Value) -> Result<Option<Filter>, Failure> {
    match &request["where"] {
        Value::Null => Ok(None),
        condition => Filter::from_json(condition)
            .map(Some)
            .map_err(|error| Failure::new("invalid_where", error.to_string())),
    }
}

/// An id as programs write them: text or a whole number.
pub(crate) fn id_of(value: Option<&Value>, name: &str) -> Result<String, Failure> {
    match value {
        Some(Value::String(id)) if !id.is_empty() => Ok(id.clone()),
        Some(Value::Number(id)) if id.is_i64() || id.is_u64() => Ok(id.to_string()),
        _ => Err(invalid(format!("expected {name}, a text that is not empty or a whole number"))),
    }
}

pub(crate) fn invalid(message: String) -> Failure {
    Failure::new("invalid_request", message)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn requests_that_say_something_else_are_refused_by_name() {
        let unknown = check_fields(&json!({"streams": [], "wher": {}}), &["streams", "where"]).unwrap_err();
        assert!(unknown.message.contains("\"wher\""), "{unknown}");
        let stream = streams_of(&json!({"streams": ["model-events", "x"]})).unwrap_err();
        assert_eq!(stream.code, "unknown_stream");
        assert!(stream.message.contains("\"x\"") && stream.message.contains("training-events"), "{stream}");
        assert_eq!(streams_of(&json!({"streams": "model-events"})).unwrap_err().code, "invalid_request");
        assert_eq!(condition_of(&json!({"where": 1})).unwrap_err().code, "invalid_where");
    }

    #[test]
    fn no_streams_are_all_streams_and_an_empty_list_is_none() {
        assert_eq!(streams_of(&json!({})), Ok(StreamSet::ALL));
        assert_eq!(streams_of(&json!({"streams": []})), Ok(StreamSet::default()));
    }

    #[test]
    fn ids_are_texts_or_whole_numbers() {
        assert_eq!(id_of(Some(&json!("a")), "id").as_deref(), Ok("a"));
        assert_eq!(id_of(Some(&json!(42)), "id").as_deref(), Ok("42"));
        for other in [json!(""), json!(1.5), json!(null), json!({})] {
            assert!(id_of(Some(&other), "id").is_err(), "{other}");
        }
        assert!(id_of(None, "id").is_err());
    }
}
