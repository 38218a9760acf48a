//! The variables behind a command, with its flags laid over them.

use synapse_chassis::settings::{self, SettingError};
use synapse_rs::RedisSettings;

use crate::{
    arguments::{Common, Up},
    up::{
        as_environment,
        environment::{self, Variables},
    },
};

/// The variables of this process and the flags that win over them.
#[derive(Debug)]
pub(crate) struct Settings {
    variables: Variables,
}

impl Settings {
    /// Lays the flags of every command over the variables.
    pub(crate) fn of(mut variables: Variables, common: &Common) -> Self {
        if let Some(url) = &common.redis_url {
            environment::set(&mut variables, "REDIS_URL", url.into());
        }
        Self { variables }
    }

    /// Where Redis is.
    pub(crate) fn redis(&self) -> Result<RedisSettings, SettingError> {
        settings::redis(&as_environment(&self.variables))
    }

    /// What the services are started with.
    pub(crate) fn for_services(mut self, options: &Up) -> Variables {
        if let Some(path) = &options.data_dir {
            environment::set(&mut self.variables, "DATA_DIR", path.into());
        }
        self.variables
    }
}
