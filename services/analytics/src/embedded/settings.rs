//! How long the embedded store keeps what, and how much.

use std::time::Duration;

use synapse_chassis::settings::{Environment, SettingError};

synapse_chassis::variables! {
    /// What the embedded store reads.
    pub EMBEDDED:
    /// How long each inference is kept by itself in the embedded store. Within it a repeated event is told from a new one, and
    /// windows are exact to the nanosecond; beyond it they are made of whole minutes.
    ANALYTICS_RAW_RETENTION: Duration = "7d";
    /// How long the embedded store keeps the sums of each minute, what was said of training, and the figures of users.
    ANALYTICS_ROLLUP_RETENTION: Duration = "90d";
    /// How much the embedded store may hold; beyond it the oldest inferences go before their time, of which the sums stay,
    /// then the oldest figures of users, then what was said of training.
    ANALYTICS_MAX_BYTES: Bytes = "10GiB";
    /// How long the embedded store may take to write or to answer.
    ANALYTICS_STORE_TIMEOUT: Duration = "10s";
}

/// How long the embedded store keeps what, and how much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EmbeddedSettings {
    /// How long each inference is kept by itself.
    pub raw_retention: Duration,
    /// How long sums of a minute, training and figures of users are kept.
    pub rollup_retention: Duration,
    /// How many bytes of the file may be in use.
    pub max_bytes: u64,
    /// How long a write or an answer may take.
    pub timeout: Duration,
}

impl EmbeddedSettings {
    /// Reads and checks all of it.
    pub fn read(environment: &Environment) -> Result<Self, SettingError> {
        let raw_retention = environment.duration(&ANALYTICS_RAW_RETENTION)?;
        if raw_retention < Duration::from_mins(10) {
            return Err(environment.refused(&ANALYTICS_RAW_RETENTION, "a duration of 10m or longer"));
        }
        let rollup_retention = environment.duration(&ANALYTICS_ROLLUP_RETENTION)?;
        if rollup_retention < raw_retention {
            let allowed = "a duration that is not shorter than ANALYTICS_RAW_RETENTION";
            return Err(environment.refused(&ANALYTICS_ROLLUP_RETENTION, allowed));
        }
        let timeout = environment.duration(&ANALYTICS_STORE_TIMEOUT)?;
        if timeout.is_zero() {
            return Err(environment.refused(&ANALYTICS_STORE_TIMEOUT, "a duration longer than 0"));
        }
        let max_bytes = environment.bytes(&ANALYTICS_MAX_BYTES, 16 << 20..=1 << 46)? as u64;
        Ok(Self { raw_retention, rollup_retention, max_bytes, timeout })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<EmbeddedSettings, SettingError> {
        EmbeddedSettings::read(&Environment::from_map(variables.iter().copied()))
    }

    #[test]
    fn a_bad_value_is_named_with_what_is_allowed() {
        for (name, value) in [
            ("ANALYTICS_RAW_RETENTION", "1m"),
            ("ANALYTICS_ROLLUP_RETENTION", "6d"),
            ("ANALYTICS_MAX_BYTES", "1MiB"),
            ("ANALYTICS_STORE_TIMEOUT", "0"),
        ] {
            let message = read(&[(name, value)]).expect_err("refused").to_string();
            assert!(message.contains(name) && message.contains(value), "{message}");
        }
    }

    #[test]
    fn the_defaults_are_those_of_the_documentation() {
        let settings = read(&[]).unwrap();
        assert_eq!(settings.raw_retention, Duration::from_hours(24 * 7));
        assert_eq!(settings.rollup_retention, Duration::from_hours(24 * 90));
        assert_eq!((settings.max_bytes, settings.timeout), (10 << 30, Duration::from_secs(10)));
        assert_eq!(
            read(&[("ANALYTICS_RAW_RETENTION", "90d")]).unwrap().raw_retention,
            settings.rollup_retention
        );
    }
}
