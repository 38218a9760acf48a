//! What the hub reads beside the common settings.

use std::{ops::RangeInclusive, time::Duration};

use synapse_chassis::{
    request::READ_FACTOR,
    settings::{About, Environment, SettingError},
};
use synapse_rs::{retention::RetentionPolicy, stream};

synapse_chassis::variables! {
    /// What the hub reads.
    pub VARIABLES:
    /// How long a stream keeps its entries; longer what a consumer group has not read or not acknowledged.
    RETENTION: Duration = "24h";
    /// How much of Redis's memory a stream may take; beyond it its oldest entries go earlier. Unset: any amount.
    RETENTION_BYTES: Bytes;
    /// How many entries a stream has at most, whoever needs them; publishing here sends it as MAXLEN.
    MAXLEN: Number = "1000000";
    /// How long a consumer group that nobody uses is waited for before entries it has not read go.
    GROUP_EXPIRY: Duration = "7d";
    /// How often streams are trimmed, by one of all hubs; 10ms or more. 0: never by this hub.
    TRIM_INTERVAL: Duration = "1m";
    /// Which streams are trimmed, dead letters (…:dlq) apart; * alone for every stream. Unset: the platform's own.
    TRIM_STREAMS: List;
    /// How long after the hub that trims has died another takes over; 100ms to 10m.
    TRIM_TAKEOVER: Duration = "15s";
    /// How often lag, lengths and the like are looked up for /metrics.
    METRICS_INTERVAL: Duration = "15s";
    /// The largest body of a request.
    MAX_BODY_BYTES: Bytes = "4MiB";
    /// How much memory the bodies of all requests may take together, forty times their bytes each, as they
    /// arrive, for what is read from them; one more waits, then is answered with 503.
    BODIES_BYTES: Bytes = "256MiB";
    /// How many events one request may publish.
    MAX_EVENTS: Number = "1000";
    /// How long publishing waits for Redis; beyond it 503.
    PUBLISH_TIMEOUT: Duration = "10s";
    /// How many bytes of events may wait for Redis.
    QUEUE_BYTES: Bytes = "64MiB";
    /// How long any other request may take to ask Redis; beyond it 503.
    REQUEST_TIMEOUT: Duration = "10s";
    /// How many replays this hub runs at once; one more is answered with 429.
    MAX_REPLAYS: Number = "4";
}

/// How long the lock of the hub that trims may live.
const TAKEOVER: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_mins(10);
/// Trimming more often would be all that the hub does.
const MIN_INTERVAL: Duration = Duration::from_millis(10);

/// The service in the words of `--help`.
pub const ABOUT: About = About {
    name: "synapse-hub",
    version: env!("CARGO_PKG_VERSION"),
    summary: "serves the streams over HTTP, trims them and tells their lag",
    default_port: 8002,
    variables: VARIABLES,
    shared: &[],
    commands: &[],
};

/// What the hub is configured by.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What streams keep.
    pub retention: RetentionPolicy,
    /// Time between two rounds of trimming; zero for none.
    pub trim_interval: Duration,
    /// Which streams are trimmed.
    pub trim_streams: TrimStreams,
    /// How long the lock of the hub that trims lives without being renewed.
    pub trim_takeover: Duration,
    /// Time between two looks for metrics.
    pub metrics_interval: Duration,
    /// Bytes of a request's body.
    pub max_body_bytes: usize,
    /// Bytes of all bodies together.
    pub bodies_bytes: usize,
    /// Events of a request.
    pub max_events: usize,
    /// How long publishing waits.
    pub publish_timeout: Duration,
    /// Bytes of events that may wait for Redis.
    pub queue_bytes: u64,
    /// How long anything else may take.
    pub request_timeout: Duration,
    /// Replays at once.
    pub max_replays: usize,
}

/// Which streams are trimmed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TrimStreams {
    /// Every stream of the database.
    All,
    /// These.
    Named(Vec<String>),
}

impl Settings {
    /// Reads and checks all of it.
    pub fn read(environment: &Environment) -> Result<Self, SettingError> {
        let duration = |variable| match environment.duration(variable)? {
            Duration::ZERO => Err(environment.refused(variable, "a duration longer than 0")),
            duration => Ok(duration),
        };
        let trim_takeover = duration(&TRIM_TAKEOVER)?;
        if !TAKEOVER.contains(&trim_takeover) {
            return Err(environment.refused(&TRIM_TAKEOVER, "100ms to 10m"));
        }
        let trim_interval = environment.duration(&TRIM_INTERVAL)?;
        if !trim_interval.is_zero() && trim_interval < MIN_INTERVAL {
            return Err(environment.refused(&TRIM_INTERVAL, "0, or 10ms or more"));
        }
        let settings = Self {
            retention: RetentionPolicy {
                retention: duration(&RETENTION)?,
                retention_bytes: optional_bytes(environment)?,
                hard_limit: environment.number(&MAXLEN, 1..=1_000_000_000)?,
                group_expiry: duration(&GROUP_EXPIRY)?,
            },
            trim_interval,
            trim_streams: trim_streams(environment)?,
            trim_takeover,
            metrics_interval: duration(&METRICS_INTERVAL)?,
            max_body_bytes: environment.bytes(&MAX_BODY_BYTES, 1 << 10..=64 << 20)?,
            bodies_bytes: environment.bytes(&BODIES_BYTES, 1 << 20..=64 << 30)?,
            max_events: environment.number(&MAX_EVENTS, 1..=100_000)?,
            publish_timeout: duration(&PUBLISH_TIMEOUT)?,
            queue_bytes: environment.bytes(&QUEUE_BYTES, 2 << 20..=64 << 30)? as u64,
            request_timeout: duration(&REQUEST_TIMEOUT)?,
            max_replays: environment.number(&MAX_REPLAYS, 1..=1_000)?,
        };
        if settings.bodies_bytes < READ_FACTOR * settings.max_body_bytes {
            return Err(environment.refused(&BODIES_BYTES, "forty times MAX_BODY_BYTES or more"));
        }
        Ok(settings)
    }
}

fn trim_streams(environment: &Environment) -> Result<TrimStreams, SettingError> {
    let named: Vec<_> = environment.list(&TRIM_STREAMS)?.into_iter().map(str::to_owned).collect();
    if named.is_empty() {
        return Ok(TrimStreams::Named(stream::ALL.map(str::to_owned).to_vec()));
    }
    if named == ["*"] {
        return Ok(TrimStreams::All);
    }
    if named.iter().any(|name| name == "*") {
        return Err(environment.refused(&TRIM_STREAMS, "names, or * alone"));
    }
    // Dead letters have a limit of their own; the platform's own keys are no streams.
    if named.iter().any(|name| stream::check_writable(name).is_err()) {
        let allowed = "names of up to 512 bytes, neither …:dlq nor synapse:…";
        return Err(environment.refused(&TRIM_STREAMS, allowed));
    }
    Ok(TrimStreams::Named(named))
}

fn optional_bytes(environment: &Environment) -> Result<Option<u64>, SettingError> {
    match environment.text(&RETENTION_BYTES)? {
        None => Ok(None),
        Some(_) => Ok(Some(environment.bytes(&RETENTION_BYTES, 1 << 20..=1 << 50)? as u64)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &str, value: &str) -> Result<Settings, SettingError> {
        Settings::read(&Environment::from_map([(name, value)]))
    }

    #[test]
    fn the_defaults_are_those_of_the_rule() {
        let settings = Settings::read(&Environment::default()).unwrap();
        assert_eq!(settings.retention, RetentionPolicy::default());
        assert_eq!(settings.trim_interval, Duration::from_mins(1));
        assert!(matches!(settings.trim_streams, TrimStreams::Named(names) if names == stream::ALL));
    }

    #[test]
    fn every_variable_is_documented_as_it_is() {
        synapse_chassis::settings::assert_documented(VARIABLES);
    }

    #[test]
    fn streams_to_trim_are_named_or_all() {
        assert_eq!(read("TRIM_STREAMS", "*").unwrap().trim_streams, TrimStreams::All);
        let named = TrimStreams::Named(vec!["a".to_owned(), "b".to_owned()]);
        assert_eq!(read("TRIM_STREAMS", "a, b").unwrap().trim_streams, named);
        assert_eq!(read("TRIM_INTERVAL", "0").unwrap().trim_interval, Duration::ZERO);
    }

    #[test]
    fn a_bad_value_is_named_with_what_is_allowed() {
        for (name, value) in [
            ("RETENTION", "0"),
            ("RETENTION_BYTES", "1"),
            ("MAXLEN", "0"),
            ("TRIM_TAKEOVER", "1ms"),
            ("TRIM_TAKEOVER", "1d"),
            ("TRIM_INTERVAL", "1ms"),
            ("TRIM_STREAMS", "a,*"),
            ("TRIM_STREAMS", "model-events:dlq"),
            ("TRIM_STREAMS", "synapse:trimmer"),
            ("MAX_EVENTS", "many"),
            ("BODIES_BYTES", "1MiB"),
        ] {
            let message = read(name, value).expect_err("refused").to_string();
            assert!(message.contains(name) && message.contains(value), "{message}");
        }
    }
}
