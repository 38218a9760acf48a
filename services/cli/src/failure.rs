//! Why a command ended without having done its work, and the exit status that says so.

use std::{io, process::ExitCode};

use synapse_chassis::console::moment::InvalidMoment;
use synapse_chassis::settings::SettingError;
use synapse_rs::stream::StreamError;

use crate::up::UpError;

/// `EX_USAGE` of sysexits: bad settings or arguments.
const USAGE: u8 = 64;
/// Of `synapse doctor`, for errors and warnings.
const FINDINGS: u8 = 2;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// A variable or flag.
    #[error(transparent)]
    Settings(#[from] SettingError),
    /// An argument of the wrong form.
    #[error("{0}")]
    Usage(String),
    /// A moment of the wrong form.
    #[error("{flag}: {source}")]
    Moment {
        /// Where it was given.
        flag: &'static str,
        /// What is wrong with it.
        source: InvalidMoment,
    },
    /// Redis.
    #[error(transparent)]
    Stream(#[from] StreamError),
    /// `synapse up`.
    #[error(transparent)]
    Up(#[from] UpError),
    /// Standard output, where it is not just a reader that has seen enough.
    #[error("standard output can't be written: {0}")]
    Output(io::Error),
    /// Whoever read our standard output has seen enough.
    #[error("standard output was closed")]
    OutputClosed,
    /// What `synapse doctor` has found, which it has printed itself.
    #[error("something is wrong")]
    Findings,
    /// Anything else, in words.
    #[error("{0}")]
    Other(String),
}

impl Failure {
    /// 64 for what the caller has to write otherwise, 1 for what went wrong, 2 for what was found wrong, 0 for a reader that has seen enough.
    pub(crate) fn exit_code(&self) -> ExitCode {
        match self {
            Self::Settings(_) | Self::Usage(_) | Self::Moment { .. } => ExitCode::from(USAGE),
            Self::Up(error) if error.is_bad_settings() => ExitCode::from(USAGE),
            Self::Findings => ExitCode::from(FINDINGS),
            Self::OutputClosed => ExitCode::SUCCESS,
            _ => ExitCode::FAILURE,
        }
    }
}

impl From<io::Error> for Failure {
    /// Of writing to standard output.
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::OutputClosed,
            _ => Self::Output(error),
        }
    }
}
