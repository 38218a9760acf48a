//! One line of the log, as each kind of process writes it.

use jiff::{Timestamp, ZonedDateTime};
use serde_json::{Map, Value, json};

use crate::terminal::{Line, Style};
use synapse_chassis::console::human;

/// Columns for the name of a process: those of `notifications`.
const NAME_COLUMNS: usize = 13;

/// What redis-server says in four lines at every start.
const OVERCOMMIT: &str =
    "memory overcommit is off: saving may fail when memory is low (sysctl vm.overcommit_memory=1)";

/// How important a line is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    /// For the developers of a library.
    Trace,
    /// For developers.
    Debug,
    /// What happens.
    Info,
    /// Worth a look.
    Warn,
    /// Someone has to act.
    Error,
}

impl Level {
    fn named(name: &str) -> Option<Self> {
        Some(match name.to_ascii_uppercase().as_str() {
            "TRACE" => Self::Trace,
            "DEBUG" => Self::Debug,
            "INFO" => Self::Info,
            "WARN" | "WARNING" => Self::Warn,
            "ERROR" => Self::Error,
            _ => return None,
        })
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Trace => "TRACE",
            Self::Debug => "DEBUG",
            Self::Info => "INFO",
            Self::Warn => "WARN",
            Self::Error => "ERROR",
        }
    }

    const fn style(self) -> Style {
        match self {
            Self::Trace | Self::Debug => Style::Dim,
            Self::Info => Style::Good,
            Self::Warn => Style::Warning,
            Self::Error => Style::Failure,
        }
    }
}

/// A line of the log: when, how important, what, and named values beside it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Record {
    time: Timestamp,
    /// How important it is.
    pub(crate) level: Level,
    /// What happened.
    pub(crate) message: String,
    fields: Map<String, Value>,
}

impl Record {
    /// A line of this moment.
    pub(crate) fn now(level: Level, message: impl Into<String>) -> Self {
        Self { time: Timestamp::now(), level, message: message.into(), fields: Map::new() }
    }

    /// A line of a service, which logs JSON; any other line (a panic, a refused setting) is taken as it is.
    pub(crate) fn of_service(line: &str, otherwise: Level) -> Self {
        let parsed = serde_json::from_str::<Map<String, Value>>(line).ok();
        parsed.and_then(Self::of_tracing).unwrap_or_else(|| Self::now(otherwise, line))
    }

    /// `{"timestamp", "level", "target", "fields": {"message", …}}`, the fields also beside the others.
    fn of_tracing(mut record: Map<String, Value>) -> Option<Self> {
        let level = Level::named(record.shift_remove("level")?.as_str()?)?;
        let time = record.shift_remove("timestamp");
        let time = time.and_then(|time| time.as_str()?.parse().ok()).unwrap_or_else(Timestamp::now);
        if let Some(Value::Object(fields)) = record.shift_remove("fields") {
            record.extend(fields);
        }
        record.shift_remove("target");
        let message = match record.shift_remove("message") {
            Some(Value::String(message)) => message,
            Some(other) => other.to_string(),
            None => String::new(),
        };
        Some(Self { time, level, message, fields: record })
    }

    /// A line of redis-server; `None` for its chatter.
    ///
    /// `4711:M 23 Nov 2026 09:04:54.436 # message`, with `#` for warnings. Some of what it calls a warning is none.
    pub(crate) fn of_redis(line: &str) -> Option<Self> {
        const CHATTER: [&str; 10] = [
            "oO0OoO0OoO0Oo",
            "Redis version=",
            "Valkey version=",
            "Configuration loaded",
            "Server initialized",
            "User requested shutdown",
            "Received SIGTERM",
            "Redis is now ready to exit",
            "Valkey is now ready to exit",
            "WARNING: no config file",
        ];
        let line = line.trim();
        if line.contains(":signal-handler (") {
            return None;
        }
        let Some((mark, message)) = redis_parts(line) else { return Some(Self::now(Level::Warn, line)) };
        if message.starts_with("WARNING Memory overcommit must be enabled") {
            return Some(Self::now(Level::Warn, OVERCOMMIT));
        }
        let chatter = CHATTER.iter().any(|chatter| message.starts_with(chatter));
        (mark == "#" && !chatter).then(|| Self::now(Level::Warn, message))
    }

    /// For people.
    pub(crate) fn as_line(&self, name: &str) -> Line {
        let mut line = Line::default();
        let ms = u64::try_from(self.time.as_millisecond()).unwrap_or(0);
        line.push(Style::Dim, &human::clock(ms, &ZonedDateTime::now()));
        line.push(Style::Plain, "  ");
        line.push_padded(Style::of_name(name), name, NAME_COLUMNS);
        line.push(Style::Plain, "  ");
        line.push_padded(self.level.style(), self.level.name(), 5);
        line.push(if self.level == Level::Debug { Style::Dim } else { Style::Plain }, "  ");
        line.push(if self.level >= Level::Error { Style::Failure } else { Style::Plain }, &self.message);
        for (name, value) in &self.fields {
            line.push(Style::Dim, &format!("  {name}="));
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            line.push(Style::Plain, &text);
        }
        line
    }

    /// For programs: one JSON object.
    pub(crate) fn as_json(&self, name: &str) -> String {
        let mut record = json!({
            "timestamp": format!("{:.6}", self.time),
            "level": self.level.name(),
            "service": name,
            "message": self.message,
        });
        if let Value::Object(record) = &mut record {
            for (name, value) in &self.fields {
                record.entry(name).or_insert_with(|| value.clone());
            }
        }
        record.to_string()
    }
}

/// The mark of the level and the message of a line of redis-server.
fn redis_parts(line: &str) -> Option<(&str, &str)> {
    let mut parts = line.splitn(7, ' ');
    let process = parts.next()?;
    let (pid, role) = process.split_once(':')?;
    if role.len() != 1 || !pid.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    // Day, month, year, time.
    let mark = parts.nth(4)?;
    Some((mark, parts.next()?))
}

#[cfg(test)]
mod tests;
