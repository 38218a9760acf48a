//! What the notification service reads beside the common settings.

use std::{path::PathBuf, time::Duration};

use synapse_chassis::settings::{About, Action, Environment, SettingError};
use synapse_database::{DatabaseSettings, settings::DATABASE};
use synapse_realtime::connections::Limits;

use crate::vapid::{self, VapidKey};

synapse_chassis::variables! {
    /// What the notification service reads.
    pub VARIABLES:
    /// How old an event may be and still be shown at once and pushed; older ones are for the inbox only.
    NOTIFY_MAX_AGE: Duration = "5m";
    /// How long a notification is kept.
    INBOX_RETENTION: Duration = "30d";
    /// How many events are worked on at once; those of one user one after the other.
    NOTIFY_CONCURRENCY: Number = "256";
    /// The public key of Web Push: base64url, as `web-push generate-vapid-keys` prints it. Unset: both keys are made at
    /// the first start and kept, in `DATA_DIR` or in the database that replicas share.
    VAPID_PUBLIC_KEY: Text;
    /// The private key that belongs to it.
    VAPID_PRIVATE_KEY: Secret;
    /// Where push services reach whoever runs this: an email address, or an https address.
    VAPID_EMAIL: Text = "admin@localhost";
    /// Whether pushes may go to addresses that are not public, and by http: `true` or `false`. For closed networks.
    PUSH_ALLOW_PRIVATE: Choice = "false";
    /// How many pushes are sent at once.
    PUSH_CONCURRENCY: Number = "32";
    /// How long a push service may take.
    PUSH_TIMEOUT: Duration = "10s";
    /// How much may wait for one connection; a client that reads more slowly is closed with code 3001 and comes back.
    OUTBOX_BYTES: Bytes = "1MiB";
    /// The largest message a client may send; beyond it 3502.
    MAX_MESSAGE_BYTES: Bytes = "64KiB";
    /// How many messages a client may send each second; beyond it 3503. 0: any number.
    MAX_MESSAGES_PER_SECOND: Number = "100";
    /// How many connections one address may have; one more is answered with 429. 0: any number. Many users may
    /// share an address; behind a proxy set TRUSTED_PROXIES first.
    MAX_CONNECTIONS_PER_ADDRESS: Number = "0";
    /// How often each connection is asked whether it lives.
    PING_INTERVAL: Duration = "25s";
    /// How long it may take to answer; beyond it 3002.
    PING_TIMEOUT: Duration = "20s";
    /// How long a client may take to finish the protocol's handshake; beyond it 3006.
    CONNECT_TIMEOUT: Duration = "45s";
}

const MIN_RETENTION: Duration = Duration::from_hours(1);
const MAX_PUSH_TIMEOUT: Duration = Duration::from_mins(1);

/// The command that brings the tables to this version's form.
pub const MIGRATE: &str = "migrate";

/// The service in the words of `--help`.
pub const ABOUT: About = About {
    name: "synapse-notifications",
    version: env!("CARGO_PKG_VERSION"),
    summary: "turns events into notifications: an inbox, live over Socket.IO, and Web Push",
    default_port: 5005,
    variables: VARIABLES,
    shared: &[("Database", DATABASE)],
    commands: &[Action {
        name: MIGRATE,
        meaning: "brings the tables to this version's form, and leaves",
        flags: &[],
    }],
};

/// What the notification service is configured by.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where everything is kept.
    pub database: DatabaseSettings,
    /// Where the key of Web Push is kept, if it is not given and the database is not shared.
    pub data_dir: PathBuf,
    /// How old an event may be and still be shown at once.
    pub max_age: Duration,
    /// How long a notification is kept.
    pub retention: Duration,
    /// How many events are worked on at once.
    pub concurrency: usize,
    /// The key of Web Push, if it was given.
    pub vapid: Option<VapidKey>,
    /// Where push services reach whoever runs this, as a URL.
    pub contact: String,
    /// How pushes are sent.
    pub push: PushSettings,
    /// What one connection may take.
    pub limits: Limits,
    /// Time between two pings.
    pub ping_interval: Duration,
    /// Time for the answer.
    pub ping_timeout: Duration,
}

/// How pushes are sent.
#[derive(Clone, Copy, Debug)]
pub struct PushSettings {
    /// Whether they may go to addresses that are not public, and by http.
    pub allow_private: bool,
    /// How many are sent at once.
    pub concurrency: usize,
    /// How long a push service may take.
    pub timeout: Duration,
}

impl Settings {
    /// Reads and checks all of it.
    pub fn read(environment: &Environment) -> Result<Self, SettingError> {
        let duration = |variable| match environment.duration(variable)? {
            Duration::ZERO => Err(environment.refused(variable, "a duration longer than 0")),
            duration => Ok(duration),
        };
        Ok(Self {
            database: DatabaseSettings::read(environment, "notifications.db")?,
            data_dir: synapse_chassis::settings::data_dir(environment)?,
            max_age: environment.duration(&NOTIFY_MAX_AGE)?,
            retention: match environment.duration(&INBOX_RETENTION)? {
                // An event that comes once more must find its notification.
                retention if retention >= MIN_RETENTION => retention,
                _ => return Err(environment.refused(&INBOX_RETENTION, "a duration of 1h or more")),
            },
            concurrency: environment.number(&NOTIFY_CONCURRENCY, 1..=10_000)?,
            vapid: vapid_key(environment)?,
            contact: contact(environment)?,
            push: PushSettings {
                allow_private: environment
                    .choice(&PUSH_ALLOW_PRIVATE, &[("false", false), ("true", true)])?,
                concurrency: environment.number(&PUSH_CONCURRENCY, 1..=1_000)?,
                timeout: match duration(&PUSH_TIMEOUT)? {
                    // Well within the time for which others leave a push alone.
                    timeout if timeout <= MAX_PUSH_TIMEOUT => timeout,
                    _ => return Err(environment.refused(&PUSH_TIMEOUT, "a duration of up to 60s")),
                },
            },
            limits: Limits {
                outbox_bytes: environment.bytes(&OUTBOX_BYTES, 64 << 10..=1 << 30)?,
                max_message_bytes: environment.bytes(&MAX_MESSAGE_BYTES, 1 << 10..=16 << 20)?,
                max_messages_per_second: environment.number(&MAX_MESSAGES_PER_SECOND, 0..=1_000_000)?,
                max_connections_per_address: environment
                    .number(&MAX_CONNECTIONS_PER_ADDRESS, 0..=1_000_000)?,
                // As many as there may be connections, which are counted elsewhere.
                max_polled: usize::MAX,
                connect_timeout: duration(&CONNECT_TIMEOUT)?,
            },
            ping_interval: duration(&PING_INTERVAL)?,
            ping_timeout: duration(&PING_TIMEOUT)?,
        })
    }
}

/// Both keys or neither, and they must belong together.
fn vapid_key(environment: &Environment) -> Result<Option<VapidKey>, SettingError> {
    let public = environment.read(&VAPID_PUBLIC_KEY, vapid::PUBLIC_FORM, vapid::decode_public)?;
    let private = match environment.secret(&VAPID_PRIVATE_KEY)? {
        None => None,
        Some(secret) => Some(VapidKey::decode(secret.reveal()).ok_or_else(|| {
            environment.refused(&VAPID_PRIVATE_KEY, "32 bytes in base64url, without padding")
        })?),
    };
    match (public, private) {
        (None, None) => Ok(None),
        (Some(public), Some(private)) if private.public_point() == public => Ok(Some(private)),
        (Some(_), Some(_)) => Err(SettingError::Conflict(
            "VAPID_PUBLIC_KEY does not belong to VAPID_PRIVATE_KEY; set a pair as web-push generate-vapid-keys prints it"
                .to_owned(),
        )),
        _ => Err(SettingError::Conflict(
            "of VAPID_PUBLIC_KEY and VAPID_PRIVATE_KEY one is set; set both, or neither to have a pair made"
                .to_owned(),
        )),
    }
}

fn contact(environment: &Environment) -> Result<String, SettingError> {
    let allowed = "an email address such as admin@example.com, or an https address";
    let contact = environment.read(&VAPID_EMAIL, allowed, |text| {
        if text.len() > 254 || text.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return None;
        }
        if text.starts_with("https://") {
            return url::Url::parse(text).ok().map(|url| url.to_string());
        }
        let address = text.strip_prefix("mailto:").unwrap_or(text);
        let (user, host) = address.split_once('@')?;
        (!user.is_empty() && !host.is_empty()).then(|| format!("mailto:{address}"))
    })?;
    Ok(contact.unwrap_or_default())
}

#[cfg(test)]
mod tests;
