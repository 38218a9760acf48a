//! What the analytics service reads beside the common settings.

use std::{path::PathBuf, time::Duration};

use synapse_chassis::settings::{About, Action, Environment, SettingError};

use crate::{
    backfill::{BACKFILL, FLAGS},
    consume::Reading,
    embedded::{EmbeddedSettings, settings::EMBEDDED},
    influx::{INFLUXDB, InfluxSettings},
};

synapse_chassis::variables! {
    /// What the analytics service reads.
    pub VARIABLES:
    /// How many events are stored at once at most.
    ANALYTICS_BATCH: Number = "5000";
    /// How many such batches are on their way at once.
    ANALYTICS_BATCHES: Number = "2";
    /// How many bytes of events may be in memory.
    ANALYTICS_IN_HAND_BYTES: Bytes = "64MiB";
    /// The longest window that can be asked about.
    ANALYTICS_MAX_WINDOW: Duration = "31d";
    /// The largest body of a request.
    MAX_BODY_BYTES: Bytes = "64KiB";
}

/// The service in the words of `--help`.
pub const ABOUT: About = About {
    name: "synapse-analytics",
    version: env!("CARGO_PKG_VERSION"),
    summary: "every inference and training event in InfluxDB or a file, and answers from it",
    default_port: 5004,
    variables: VARIABLES,
    shared: &[("InfluxDB", INFLUXDB), ("The embedded store", EMBEDDED)],
    commands: &[Action {
        name: BACKFILL,
        meaning: "stores a part of the streams once more, and leaves; harmless to repeat",
        flags: FLAGS,
    }],
};

/// What the analytics service is configured by.
#[derive(Clone, Debug)]
pub struct Settings {
    /// InfluxDB, if that is the store.
    pub influx: Option<InfluxSettings>,
    /// The embedded store, if not.
    pub embedded: EmbeddedSettings,
    /// Where its file is.
    pub data_dir: PathBuf,
    /// How events are read.
    pub reading: Reading,
    /// The longest window that can be asked about.
    pub max_window: Duration,
    /// The largest body of a request.
    pub max_body_bytes: usize,
}

impl Settings {
    /// Reads and checks all of it.
    pub fn read(environment: &Environment) -> Result<Self, SettingError> {
        Ok(Self {
            influx: InfluxSettings::read(environment)?,
            embedded: EmbeddedSettings::read(environment)?,
            data_dir: synapse_chassis::settings::data_dir(environment)?,
            reading: Reading {
                batch: environment.number(&ANALYTICS_BATCH, 1..=50_000)?,
                batches: environment.number(&ANALYTICS_BATCHES, 1..=64)?,
                in_hand_bytes: environment.bytes(&ANALYTICS_IN_HAND_BYTES, 1 << 20..=4 << 30)?,
            },
            max_window: match environment.duration(&ANALYTICS_MAX_WINDOW)? {
                window if (Duration::from_mins(1)..=Duration::from_hours(24 * 3_660)).contains(&window) => {
                    window
                }
                _ => return Err(environment.refused(&ANALYTICS_MAX_WINDOW, "a duration of 1m to 3660d")),
            },
            max_body_bytes: environment.bytes(&MAX_BODY_BYTES, 1 << 10..=16 << 20)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_variable_is_documented_as_it_is() {
        synapse_chassis::settings::assert_documented(VARIABLES);
        synapse_chassis::settings::assert_documented(EMBEDDED);
    }
}
