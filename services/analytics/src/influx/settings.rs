//! Where InfluxDB is, and how it is spoken to.

use std::time::Duration;

use synapse_chassis::settings::{Environment, SettingError};
use synapse_rs::config::Secret;
use url::Url;

synapse_chassis::variables! {
    /// Where InfluxDB is, and how it is spoken to.
    pub INFLUXDB:
    /// `http://host:8086`, or https; also with `user:password@` for InfluxDB 1. Unset: what is stored goes into a file in
    /// `DATA_DIR`, and no server is needed.
    INFLUXDB_URL: Secret;
    /// The token that may write and read the bucket; of InfluxDB 1 `user:password`.
    INFLUXDB_TOKEN: Secret;
    /// The organisation of InfluxDB 2 that has the bucket.
    INFLUXDB_ORG: Text = "deepiri";
    /// The bucket; of InfluxDB 1 the database, which is made if it is not there.
    INFLUXDB_BUCKET: Text = "analytics";
    /// The version that is spoken: 1 or 2. Unset: the server is asked, and what does not say is spoken to as 2.
    INFLUXDB_VERSION: Choice;
    /// How long the server may take for a request.
    INFLUXDB_TIMEOUT: Duration = "10s";
    /// How many bytes of points are sent at once, before they are compressed.
    INFLUXDB_BODY_BYTES: Bytes = "4MiB";
    /// Whether inferences have the tag `user_id`: on or off. With many users each is a series of its own, which costs
    /// InfluxDB 1 memory; switched off, inferences can't be told apart by user there.
    INFLUXDB_USER_TAG: Choice = "on";
}

/// The longest name of an organisation, a bucket or a database.
const MAX_NAME_BYTES: usize = 256;

/// Which of the ways to write a server has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// `/write`, databases, users.
    One,
    /// `/api/v2/write`, organisations, buckets, tokens.
    Two,
}

/// Where InfluxDB is, and how it is spoken to.
#[derive(Clone, Debug)]
pub struct InfluxSettings {
    /// Where, without credentials.
    pub url: Url,
    /// A user's name and password.
    pub user: Option<(String, Secret)>,
    /// A token.
    pub token: Option<Secret>,
    /// The organisation.
    pub org: String,
    /// The bucket, or database.
    pub bucket: String,
    /// The version, if it is not to be asked for.
    pub version: Option<Version>,
    /// How long the server may take for a request.
    pub timeout: Duration,
    /// How many bytes of points are sent at once.
    pub body_bytes: usize,
    /// Whether inferences have the tag `user_id`.
    pub has_user_tag: bool,
}

impl InfluxSettings {
    /// Reads and checks all of it; `None` without a URL.
    pub fn read(environment: &Environment) -> Result<Option<Self>, SettingError> {
        let name = |variable| {
            let read =
                |text: &str| (!text.is_empty() && text.len() <= MAX_NAME_BYTES).then(|| text.to_owned());
            environment.read(variable, "a name of up to 256 bytes", read).map(Option::unwrap_or_default)
        };
        let settings = Self {
            url: Url::parse("http://127.0.0.1:8086").expect("a URL"),
            user: None,
            token: environment.secret(&INFLUXDB_TOKEN)?,
            org: name(&INFLUXDB_ORG)?,
            bucket: name(&INFLUXDB_BUCKET)?,
            version: environment
                .optional_choice(&INFLUXDB_VERSION, &[("1", Version::One), ("2", Version::Two)])?,
            timeout: match environment.duration(&INFLUXDB_TIMEOUT)? {
                Duration::ZERO => {
                    return Err(environment.refused(&INFLUXDB_TIMEOUT, "a duration longer than 0"));
                }
                timeout => timeout,
            },
            body_bytes: environment.bytes(&INFLUXDB_BODY_BYTES, 1 << 10..=64 << 20)?,
            has_user_tag: environment.choice(&INFLUXDB_USER_TAG, &[("on", true), ("off", false)])?,
        };
        let Some(secret) = environment.secret(&INFLUXDB_URL)? else { return Ok(None) };
        let refused = || environment.refused(&INFLUXDB_URL, "http://host:port or https://host:port");
        let (url, user) = address(secret.reveal()).ok_or_else(refused)?;
        Ok(Some(Self { url, user, ..settings }))
    }
}

/// The address without the credentials in it, and those.
fn address(text: &str) -> Option<(Url, Option<(String, Secret)>)> {
    let mut url: Url = text.trim().parse().ok()?;
    if !matches!(url.scheme(), "http" | "https") || url.query().is_some() || url.fragment().is_some() {
        return None;
    }
    url.host_str().filter(|host| !host.is_empty())?;
    let plain = |text: &str| percent_encoding::percent_decode_str(text).decode_utf8().ok().map(String::from);
    let user = plain(url.username())?;
    let password = plain(url.password().unwrap_or_default())?;
    url.set_username("").ok()?;
    url.set_password(None).ok()?;
    let user = (!user.is_empty()).then(|| (user, Secret::new(password)));
    Some((url, user))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Option<InfluxSettings>, SettingError> {
        InfluxSettings::read(&Environment::from_map(variables.iter().copied()))
    }

    #[test]
    fn every_variable_is_documented_as_it_is() {
        synapse_chassis::settings::assert_documented(INFLUXDB);
    }

    #[test]
    fn credentials_leave_the_address() {
        let settings = read(&[("INFLUXDB_URL", "https://me:s%40t@db:8087/influx")]).unwrap().unwrap();
        assert_eq!(settings.url.as_str(), "https://db:8087/influx");
        let (user, password) = settings.user.clone().unwrap();
        assert_eq!((user.as_str(), password.reveal()), ("me", "s@t"));
        assert!(!format!("{settings:?}").contains("s@t"));
    }

    #[test]
    fn what_can_not_work_is_refused_by_name() {
        assert!(read(&[]).unwrap().is_none());
        for (name, value) in [
            ("INFLUXDB_URL", "db:8086"),
            ("INFLUXDB_URL", "unix:///tmp/x"),
            ("INFLUXDB_URL", "http://db/?db=x"),
            ("INFLUXDB_VERSION", "3"),
            ("INFLUXDB_TIMEOUT", "0"),
            ("INFLUXDB_BODY_BYTES", "10"),
            ("INFLUXDB_USER_TAG", "maybe"),
        ] {
            let error = read(&[(name, value)]).unwrap_err().to_string();
            assert!(error.contains(name), "{error}");
        }
    }
}
