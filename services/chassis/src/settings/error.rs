//! What can be wrong with settings.

use std::{io, path::PathBuf};

/// Why a service refuses to start: each message names the variable, what it is, and what is allowed.
#[derive(Debug, thiserror::Error)]
pub enum SettingError {
    /// A value of the wrong form or out of its range. Secrets are given as `***`.
    #[error("{name} is {value:?}; allowed: {allowed}")]
    Invalid {
        /// The variable.
        name: String,
        /// Its value, `***` for a secret.
        value: String,
        /// What it may be.
        allowed: String,
    },
    /// Not valid UTF-8.
    #[error("{0} is not valid UTF-8")]
    NotUtf8(String),
    /// A secret given twice.
    #[error("{name} and {name}_FILE are both set; set one of them")]
    SetTwice {
        /// The variable.
        name: String,
    },
    /// The file that a variable names.
    #[error("{name} is {path:?}, which can't be read: {source}", path = path.display().to_string())]
    Unreadable {
        /// The variable.
        name: String,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Settings that each are right, but not together.
    #[error("{0}")]
    Conflict(String),
    /// A flag nobody knows.
    #[error("unknown argument {0:?}; --help lists them all")]
    UnknownArgument(String),
    /// A flag without its value.
    #[error("{0} needs a value, as in {0}=VALUE")]
    MissingValue(String),
}

impl SettingError {
    /// A value that is not what is allowed.
    pub fn invalid(name: impl Into<String>, value: impl Into<String>, allowed: impl Into<String>) -> Self {
        Self::Invalid { name: name.into(), value: value.into(), allowed: allowed.into() }
    }
}
