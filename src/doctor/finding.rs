//! What is wrong, where, and what to do.

use std::fmt;

use serde::Serialize;

/// How bad it is; the worst is the least.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Events are lost or refused, or will be at the next restart or shortage.
    Error,
    /// Something hangs or is about to go wrong.
    Warning,
    /// Worth to know.
    Note,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Note => "note",
        })
    }
}

/// What a finding is about; the server itself if all is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Place {
    /// The stream.
    pub stream: Option<String>,
    /// Its consumer group.
    pub group: Option<String>,
    /// The group's consumer.
    pub consumer: Option<String>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(stream) = &self.stream else { return f.write_str("server") };
        f.write_str(stream)?;
        if let Some(group) = &self.group {
            write!(f, ", group {group}")?;
        }
        match &self.consumer {
            Some(consumer) => write!(f, ", consumer {consumer}"),
            None => Ok(()),
        }
    }
}

/// Something to do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// In words.
    Advice(String),
    /// A setting of the server: at once by `CONFIG SET`, for good in its configuration file.
    Setting {
        /// Its name.
        name: &'static str,
        /// What it should be.
        value: String,
    },
    /// A command to the server, by argument.
    Redis(Vec<String>),
    /// Arguments of our own command line.
    Synapse(Vec<String>),
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// What was checked, in one word, for programs: `eviction-policy`.
    pub check: &'static str,
    /// Where it is.
    pub place: Place,
    /// What is wrong, in words.
    pub problem: String,
    /// What to do, in this order.
    pub remedies: Vec<Remedy>,
}

impl Finding {
    /// About the server.
    pub(super) fn new(severity: Severity, check: &'static str, problem: impl Into<String>) -> Self {
        Self { severity, check, place: Place::default(), problem: problem.into(), remedies: Vec::new() }
    }

    /// About a stream.
    pub(super) fn stream(mut self, stream: &str) -> Self {
        self.place.stream = Some(stream.to_owned());
        self
    }

    /// About a group of the stream.
    pub(super) fn group(mut self, group: &str) -> Self {
        self.place.group = Some(group.to_owned());
        self
    }

    /// About a consumer of the group.
    pub(super) fn consumer(mut self, consumer: &str) -> Self {
        self.place.consumer = Some(consumer.to_owned());
        self
    }

    /// What to do, in words; before a command it says when.
    pub(super) fn advice(mut self, words: impl Into<String>) -> Self {
        self.remedies.push(Remedy::Advice(words.into()));
        self
    }

    /// The setting that mends it.
    pub(super) fn setting(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.remedies.push(Remedy::Setting { name, value: value.into() });
        self
    }

    /// The command to the server that mends or shows it.
    pub(super) fn redis(mut self, arguments: &[&str]) -> Self {
        self.remedies.push(Remedy::Redis(arguments.iter().map(|&argument| argument.to_owned()).collect()));
        self
    }

    /// The command of ours that mends or shows it.
    pub(super) fn synapse(mut self, arguments: &[&str]) -> Self {
        self.remedies.push(Remedy::Synapse(arguments.iter().map(|&argument| argument.to_owned()).collect()));
        self
    }
}
