//! The variables behind a command, with its flags laid over them.

use std::time::Duration;

use synapse_chassis::settings::{self, SettingError};
use synapse_rs::{RedisSettings, retention::RetentionPolicy};

use crate::{
    arguments::{Common, Doctor, Trim, Up},
    commands::Commands,
    up::{
        as_environment,
        environment::{self, Variables},
    },
};

synapse_chassis::variables! {
    /// What streams keep, as the hub reads it.
    pub(crate) RETENTION_VARIABLES:
    /// Entries younger than this are kept.
    RETENTION: Duration = "24h";
    /// A stream that takes more memory loses its oldest entries even if they are younger. Unset: no limit.
    RETENTION_BYTES: Bytes;
    /// A stream that has more entries loses its oldest even if a group has not read them.
    MAXLEN: Number = "1000000";
    /// A group that nobody has used for so long is not waited for.
    GROUP_EXPIRY: Duration = "7d";
}

/// The flags that win over those variables.
#[derive(Debug, Default)]
pub(crate) struct RetentionFlags {
    retention: Option<Duration>,
    retention_bytes: Option<u64>,
    hard_limit: Option<u64>,
    group_expiry: Option<Duration>,
}

impl From<&Trim> for RetentionFlags {
    fn from(options: &Trim) -> Self {
        Self {
            retention: options.retention,
            retention_bytes: options.retention_bytes,
            hard_limit: options.maxlen,
            group_expiry: options.group_expiry,
        }
    }
}

impl From<&Doctor> for RetentionFlags {
    fn from(options: &Doctor) -> Self {
        Self { retention: options.retention, hard_limit: options.maxlen, ..Self::default() }
    }
}

/// The variables of this process and the flags that win over them.
#[derive(Debug)]
pub(crate) struct Settings {
    variables: Variables,
    redis_by_flag: bool,
}

impl Settings {
    /// Lays the flags of every command over the variables.
    pub(crate) fn of(mut variables: Variables, common: &Common) -> Self {
        if let Some(url) = &common.redis_url {
            environment::set(&mut variables, "REDIS_URL", url.into());
        }
        Self { variables, redis_by_flag: common.redis_url.is_some() }
    }

    /// Where Redis is.
    pub(crate) fn redis(&self) -> Result<RedisSettings, SettingError> {
        settings::redis(&as_environment(&self.variables))
    }

    /// How commands are typed that go to the same server.
    pub(crate) fn commands(&self) -> Result<Commands, SettingError> {
        Ok(Commands::of(&self.redis()?, self.redis_by_flag))
    }

    /// What streams keep.
    pub(crate) fn retention(&self, flags: &RetentionFlags) -> Result<RetentionPolicy, SettingError> {
        let environment = as_environment(&self.variables);
        let bytes = match environment.text(&RETENTION_BYTES)? {
            Some(_) => u64::try_from(environment.bytes(&RETENTION_BYTES, 1..=usize::MAX)?).ok(),
            None => None,
        };
        let hard_limit = || environment.number(&MAXLEN, 1..=1_000_000_000);
        Ok(RetentionPolicy {
            retention: flags.retention.map_or_else(|| environment.duration(&RETENTION), Ok)?,
            retention_bytes: flags.retention_bytes.or(bytes),
            hard_limit: flags.hard_limit.map_or_else(hard_limit, Ok)?,
            group_expiry: flags.group_expiry.map_or_else(|| environment.duration(&GROUP_EXPIRY), Ok)?,
        })
    }

    /// What the services are started with.
    pub(crate) fn for_services(mut self, options: &Up) -> Variables {
        if let Some(path) = &options.data_dir {
            environment::set(&mut self.variables, "DATA_DIR", path.into());
        }
        self.variables
    }
}
