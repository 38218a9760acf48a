//! Which events become notifications, and what they say.

use serde_json::{Map, Value};
use synapse_rs::{
    Event,
    stream::{INFERENCE_EVENTS, PLATFORM_EVENTS},
};

/// One row: what is to be done about the events of a stream that it is about.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// The stream.
    pub stream: &'static str,
    /// Which of its events.
    pub when: When,
    /// What they become; `None`: nothing.
    pub makes: Option<Makes>,
}

/// Which events a rule is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// Those of this name.
    Named(&'static str),
    /// Inferences that failed, however their publisher says so.
    InferenceFailed,
    /// All others.
    Any,
}

/// What an event becomes.
#[derive(Clone, Copy, Debug)]
pub struct Makes {
    /// The notification's type; `None`: the event's name.
    pub kind: Option<&'static str>,
    /// What stands above the message in a push.
    pub title: &'static str,
    /// The message.
    pub message: Message,
    /// What goes along for programs.
    pub data: Data,
}

/// A message: a text, and behind it the value of a field.
#[derive(Clone, Copy, Debug)]
pub struct Message {
    /// How it begins.
    pub text: &'static str,
    /// The field (a dotted path reaches into objects) whose value follows, and what follows where it has none.
    pub field: Option<(&'static str, &'static str)>,
}

/// What goes along for programs.
#[derive(Clone, Copy, Debug)]
pub enum Data {
    /// The event's own `data`.
    OfEvent,
    /// These fields, and what each is where the event has none.
    Fields(&'static [(&'static str, &'static str)]),
}

const UNKNOWN_ERROR: &str = "Unknown error";

/// The first row that fits an event counts; an event that none fits makes no notification.
pub const RULES: &[Rule] = &[
    Rule {
        stream: PLATFORM_EVENTS,
        when: When::Named("task-completed"),
        makes: Some(Makes {
            kind: None,
            title: "Task completed",
            message: Message { text: "Task completed successfully", field: None },
            data: Data::OfEvent,
        }),
    },
    Rule {
        stream: PLATFORM_EVENTS,
        when: When::Named("task-failed"),
        makes: Some(Makes {
            kind: None,
            title: "Task failed",
            message: Message { text: "Task failed: ", field: Some(("data.error", UNKNOWN_ERROR)) },
            data: Data::OfEvent,
        }),
    },
    Rule { stream: PLATFORM_EVENTS, when: When::Named("user-interaction"), makes: None },
    Rule {
        stream: PLATFORM_EVENTS,
        when: When::Any,
        makes: Some(Makes {
            kind: None,
            title: "News",
            message: Message { text: "Event: ", field: Some(("event", "")) },
            data: Data::OfEvent,
        }),
    },
    Rule {
        stream: INFERENCE_EVENTS,
        when: When::InferenceFailed,
        makes: Some(Makes {
            kind: Some("inference-failed"),
            title: "AI inference failed",
            message: Message {
                text: "AI inference failed for model: ",
                field: Some(("model_name", "unknown")),
            },
            data: Data::Fields(&[("model_name", "unknown"), ("error", UNKNOWN_ERROR)]),
        }),
    },
];

/// The streams that some rule is about.
pub fn streams() -> Vec<&'static str> {
    let mut streams: Vec<_> = RULES.iter().map(|rule| rule.stream).collect();
    streams.dedup();
    streams
}

/// What an event becomes, if anything.
pub fn makes(stream: &str, event: &Event) -> Option<&'static Makes> {
    RULES.iter().find(|rule| rule.stream == stream && rule.when.fits(event))?.makes.as_ref()
}

// === impl When ===

impl When {
    fn fits(self, event: &Event) -> bool {
        match self {
            Self::Named(name) => event.name() == name,
            Self::InferenceFailed => event.inference_failed(),
            Self::Any => true,
        }
    }
}

// === impl Message ===

impl Message {
    /// What it says of this event.
    pub fn of(self, event: &Event) -> String {
        let Some((path, otherwise)) = self.field else { return self.text.to_owned() };
        let said = match value_at(event, path) {
            Some(Value::String(text)) => text.clone(),
            Some(value) => value.to_string(),
            None => otherwise.to_owned(),
        };
        self.text.to_owned() + &said
    }
}

// === impl Data ===

impl Data {
    /// What goes along with this event.
    pub fn of(self, event: &Event) -> Value {
        match self {
            Self::OfEvent => event.get("data").cloned().unwrap_or_else(|| Value::Object(Map::new())),
            Self::Fields(fields) => {
                let value = |(name, otherwise): &(&str, &str)| {
                    let value = value_at(event, name).cloned().unwrap_or_else(|| Value::from(*otherwise));
                    ((*name).to_owned(), value)
                };
                fields.iter().map(value).collect::<Map<_, _>>().into()
            }
        }
    }
}

/// The value of a field, unless it says nothing.
fn value_at<'a>(event: &'a Event, path: &str) -> Option<&'a Value> {
    let mut names = path.split('.');
    let first = event.get(names.next()?)?;
    let value = names.try_fold(first, |value, name| value.get(name))?;
    let says_nothing = value.is_null() || value.as_str() == Some("");
    (!says_nothing).then_some(value)
}

#[cfg(test)]
mod tests;
