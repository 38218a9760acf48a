//! Which database, and where.

use std::{path::PathBuf, str::FromStr as _, time::Duration};

use sqlx::postgres::PgConnectOptions;
use synapse_chassis::settings::{Environment, SettingError};
use url::Url;

synapse_chassis::variables! {
    /// What a service with a database reads.
    pub DATABASE:
    /// `postgres://user:password@host:port/database`; more of what libpq takes as parameters (`sslmode`, …). Unset: a file
    /// of SQLite in `DATA_DIR`, for one process.
    DATABASE_URL: Secret;
    /// How many connections to PostgreSQL may be open at once.
    DATABASE_CONNECTIONS: Number = "16";
    /// How long a request waits for the database; beyond it 503.
    DATABASE_TIMEOUT: Duration = "5s";
}

/// Which database, and where.
#[derive(Clone, Debug)]
pub struct DatabaseSettings {
    /// Which.
    pub location: Location,
    /// How many connections to PostgreSQL may be open at once.
    pub connections: u32,
    /// How long a request waits.
    pub timeout: Duration,
}

/// Where the data is.
#[derive(Clone)]
pub enum Location {
    /// A file of SQLite; it and its directory are made if they are not there.
    Sqlite(PathBuf),
    /// A server; the URL has a password in it.
    Postgres(Url),
}

impl std::fmt::Debug for Location {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Sqlite(path) => formatter.debug_tuple("Sqlite").field(path).finish(),
            Self::Postgres(url) => {
                let mut url = url.clone();
                // A URL that has a password can have another.
                let _ = url.set_password(url.password().map(|_| "***"));
                url.set_query(None);
                formatter.debug_tuple("Postgres").field(&url.as_str()).finish()
            }
        }
    }
}

impl DatabaseSettings {
    /// Reads and checks all of it; SQLite's file is called `file_name`.
    pub fn read(environment: &Environment, file_name: &str) -> Result<Self, SettingError> {
        let location = match environment.secret(&DATABASE_URL)? {
            None => Location::Sqlite(synapse_chassis::settings::data_dir(environment)?.join(file_name)),
            Some(secret) => Location::Postgres(postgres(secret.reveal()).ok_or_else(|| {
                environment.refused(&DATABASE_URL, "postgres://user:password@host:port/database")
            })?),
        };
        Ok(Self {
            location,
            connections: environment.number(&DATABASE_CONNECTIONS, 1..=1_000)?,
            timeout: match environment.duration(&DATABASE_TIMEOUT)? {
                Duration::ZERO => {
                    return Err(environment.refused(&DATABASE_TIMEOUT, "a duration longer than 0"));
                }
                timeout => timeout,
            },
        })
    }
}

fn postgres(text: &str) -> Option<Url> {
    let url: Url = text.trim().parse().ok()?;
    let has_name = url.path().len() > 1;
    // What of it PostgreSQL's driver does not take is refused now.
    PgConnectOptions::from_str(url.as_str()).ok()?;
    (matches!(url.scheme(), "postgres" | "postgresql") && url.has_host() && has_name).then_some(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_variable_is_documented_as_it_is() {
        synapse_chassis::settings::assert_documented(DATABASE);
    }
}
