//! What the task orchestrator reads beside the common settings.

use std::time::Duration;

use synapse_chassis::{
    request::READ_FACTOR,
    settings::{About, Action, Environment, SettingError},
};
use synapse_database::{DatabaseSettings, settings::DATABASE};

synapse_chassis::variables! {
    /// What the task orchestrator reads.
    pub VARIABLES:
    /// The largest body of a request.
    MAX_BODY_BYTES: Bytes = "4MiB";
    /// How much memory the bodies of all requests may take together, forty times their bytes each, as they
    /// arrive, for what is read from them; one more waits, then is answered with 503.
    BODIES_BYTES: Bytes = "256MiB";
    /// How long what was answered to an Idempotency-Key is remembered, and an event after it was published.
    REMEMBER: Duration = "24h";
}

/// The service in the words of `--help`.
pub const ABOUT: About = About {
    name: "synapse-tasks",
    version: env!("CARGO_PKG_VERSION"),
    summary: "keeps tasks, their versions and dependencies, and publishes their events",
    default_port: 5002,
    variables: VARIABLES,
    shared: &[("Database", DATABASE)],
    commands: &[Action {
        name: "migrate",
        meaning: "brings the database's tables to this version's form, and leaves",
        flags: &[],
    }],
};

/// What the task orchestrator is configured by.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where tasks are kept.
    pub database: DatabaseSettings,
    /// Bytes of a request's body.
    pub max_body_bytes: usize,
    /// Bytes of all bodies together.
    pub bodies_bytes: usize,
    /// How long answers and published events are kept.
    pub remember: Duration,
}

impl Settings {
    /// Reads and checks all of it.
    pub fn read(environment: &Environment) -> Result<Self, SettingError> {
        let settings = Self {
            database: DatabaseSettings::read(environment, "tasks.db")?,
            max_body_bytes: environment.bytes(&MAX_BODY_BYTES, 64 << 10..=64 << 20)?,
            bodies_bytes: environment.bytes(&BODIES_BYTES, 1 << 20..=64 << 30)?,
            remember: environment.duration(&REMEMBER)?,
        };
        if settings.bodies_bytes < READ_FACTOR * settings.max_body_bytes {
            return Err(environment.refused(&BODIES_BYTES, "forty times MAX_BODY_BYTES or more"));
        }
        if settings.remember < Duration::from_mins(1) {
            return Err(environment.refused(&REMEMBER, "1m or more"));
        }
        Ok(settings)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_variable_is_documented_as_it_is() {
        synapse_chassis::settings::assert_documented(VARIABLES);
    }

    #[test]
    fn a_bad_value_is_named_with_what_is_allowed() {
        for (name, value) in [("MAX_BODY_BYTES", "1"), ("BODIES_BYTES", "1MiB"), ("REMEMBER", "1s")] {
            let message =
                Settings::read(&Environment::from_map([(name, value)])).expect_err(name).to_string();
            assert!(message.contains(name) && message.contains(value), "{message}");
        }
    }
}
