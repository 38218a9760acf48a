//! The `where` condition, by which readers choose events.
//!
//! A condition is a JSON object: all its keys must match. A list of values matches any of them; a
//! key with dots reaches into objects. It can also be written as terms `key=value`.

mod wanted;

use serde_json::{Map, Value};

use crate::event::{Event, excerpt, infer};
use wanted::Wanted;

/// The most keys of a condition.
pub const MAX_KEYS: usize = 32;
/// The most values of all its keys together.
pub const MAX_VALUES: usize = 256;
/// The most parts of a key, between dots.
pub const MAX_SEGMENTS: usize = 8;
/// The most bytes of all its keys and texts together.
pub const MAX_BYTES: usize = 16 * 1024;
/// How deep the objects and lists that are to be equalled may be nested.
pub const MAX_DEPTH: usize = 16;

/// Which events are wanted.
///
/// Numbers are compared by value (1 is 1.0), text exactly; an object, or a list within the list of
/// values, is matched by one that is equal. `null` is matched by a field that is null or not
/// there. Filters that say the same are equal and have the same hash.
///
/// ```
/// use serde_json::json;
/// use synapse_rs::{Event, Filter};
///
/// let filter = Filter::from_json(&json!({"model_name": ["a", "b"], "data.status": "done"})).unwrap();
/// let event = Event::new("task-completed").with("model_name", "b").with("data", json!({"status": "done"}));
/// assert!(filter.matches(&event));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Filter {
    /// Sorted by key; no key twice.
    conditions: Vec<Condition>,
}

/// One key and the values of which it must have one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Condition {
    key: String,
    /// Sorted, none twice.
    any_of: Vec<Wanted>,
}

/// Why a condition can't be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidFilter {
    /// Not an object.
    #[error(
        "where is {0}, expected an object such as {{\"model_name\": \"m\"}}, or terms such as model_name=m"
    )]
    NotAnObject(String),
    /// A term without `=`, or without a key before it.
    #[error("where term {0} has no key and value, expected key=value, for example model_name=m")]
    MalformedTerm(String),
    /// A term that begins as a JSON object does and is none.
    #[error("where term {term} begins as a JSON object and is none: {reason}")]
    MalformedJson {
        /// The term, cut short.
        term: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A key that no field can have.
    #[error(
        "where key {key:?} can't be reached: it needs 1 to {MAX_SEGMENTS} non-empty parts between its dots"
    )]
    MalformedKey {
        /// The key, cut short.
        key: String,
    },
    /// A list without values, which nothing matches.
    #[error("where key {key} has an empty list, which nothing matches; name a value or leave the key out")]
    NoValues {
        /// The key, cut short.
        key: String,
    },
    /// More than we are willing to test on every event.
    #[error("where has more than {limit} {what}; ask for less, or filter what you receive")]
    TooMuch {
        /// Of what there is too much.
        what: &'static str,
        /// The most there may be.
        limit: usize,
    },
}

impl Filter {
    /// Reads a condition from a JSON object; `null` is one that all events match.
    pub fn from_json(condition: &Value) -> Result<Self, InvalidFilter> {
        let mut builder = Builder::default();
        match condition {
            Value::Null => {}
            Value::Object(keys) => builder.object(keys)?,
            other => return Err(InvalidFilter::NotAnObject(excerpt::described(other))),
        }
        Ok(builder.finish())
    }

    /// Reads a condition from terms, as they stand in a URL or on a command line: `key=value`, or
    /// a whole JSON object. A key that is there several times matches any of its values.
    ///
    /// A value is read as the text of an unknown field would be ([`infer`]), and matches a field
    /// with that very text as well, so that `user_id=007` and `version=1.0` say what they seem to.
    pub fn from_pairs<T: AsRef<str>>(terms: impl IntoIterator<Item = T>) -> Result<Self, InvalidFilter> {
        let mut builder = Builder::default();
        for term in terms {
            builder.term(term.as_ref())?;
        }
        Ok(builder.finish())
    }

    /// Whether the event is wanted.
    pub fn matches(&self, event: &Event) -> bool {
        self.conditions.iter().all(|condition| condition.matches(event.fields()))
    }

    /// Whether every event is wanted.
    pub fn is_empty(&self) -> bool {
        self.conditions.is_empty()
    }
}

impl Condition {
    fn matches(&self, fields: &Map<String, Value>) -> bool {
        let value = reach(fields, &self.key);
        self.any_of.iter().any(|wanted| match value {
            Some(value) => wanted.is(value),
            None => *wanted == Wanted::Null,
        })
    }
}

/// The value at a key: of the field with that very name, else within the object named by the part
/// before the first dot.
pub(crate) fn reach<'a>(fields: &'a Map<String, Value>, key: &str) -> Option<&'a Value> {
    if let Some(value) = fields.get(key) {
        return Some(value);
    }
    let (head, rest) = key.split_once('.')?;
    reach(fields.get(head)?.as_object()?, rest)
}

/// A condition while it is read, with what of the limits is used up.
#[derive(Default)]
struct Builder {
    conditions: Vec<Condition>,
    values: usize,
    bytes: usize,
}

impl Builder {
    fn object(&mut self, keys: &Map<String, Value>) -> Result<(), InvalidFilter> {
        for (key, value) in keys {
            match value {
                Value::Array(values) if values.is_empty() => {
                    return Err(InvalidFilter::NoValues { key: excerpt::cut(key) });
                }
                Value::Array(values) => values.iter().try_for_each(|value| self.want(key, value))?,
                value => self.want(key, value)?,
            }
        }
        Ok(())
    }

    fn term(&mut self, term: &str) -> Result<(), InvalidFilter> {
        if term.starts_with('{') {
            let keys = serde_json::from_str(term).map_err(|error| InvalidFilter::MalformedJson {
                term: excerpt::quoted(term),
                reason: error.to_string(),
            })?;
            return self.object(&keys);
        }
        let Some((key, text)) = term.split_once('=').filter(|(key, _)| !key.is_empty()) else {
            return Err(InvalidFilter::MalformedTerm(excerpt::quoted(term)));
        };
        self.want(key, &Value::from(text))?;
        match infer(text) {
            Some(Value::Array(values)) => values.iter().try_for_each(|value| self.want(key, value)),
            Some(value) => self.want(key, &value),
            None => Ok(()),
        }
    }

    /// Adds a value to those that a key may have.
    fn want(&mut self, key: &str, value: &Value) -> Result<(), InvalidFilter> {
        let segments = key.split('.').count();
        if key.split('.').any(str::is_empty) || segments > MAX_SEGMENTS {
            return Err(InvalidFilter::MalformedKey { key: excerpt::cut(key) });
        }
        let wanted = Wanted::of(value, MAX_DEPTH)
            .ok_or(InvalidFilter::TooMuch { what: "levels", limit: MAX_DEPTH })?;
        self.values += 1;
        self.bytes += key.len() + wanted.size_bytes();
        let any_of = self.values_of(key);
        if !any_of.contains(&wanted) {
            any_of.push(wanted);
        }
        for (what, count, limit) in [
            ("keys", self.conditions.len(), MAX_KEYS),
            ("values", self.values, MAX_VALUES),
            ("bytes", self.bytes, MAX_BYTES),
        ] {
            if count > limit {
                return Err(InvalidFilter::TooMuch { what, limit });
            }
        }
        Ok(())
    }

    fn values_of(&mut self, key: &str) -> &mut Vec<Wanted> {
        let known = self.conditions.iter().position(|condition| condition.key == key);
        let index = known.unwrap_or_else(|| {
            self.conditions.push(Condition { key: key.to_owned(), any_of: Vec::new() });
            self.conditions.len() - 1
        });
        &mut self.conditions[index].any_of
    }

    fn finish(mut self) -> Filter {
        for condition in &mut self.conditions {
            condition.any_of.sort_unstable();
        }
        self.conditions.sort_unstable();
        Filter { conditions: self.conditions }
    }
}

#[cfg(test)]
mod tests;
