//! The services there are, in the order they are started.

use std::{io, path::PathBuf};

/// A service that `synapse up` runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Service {
    /// As people call it, and as its settings are prefixed: `SYNAPSE_GATEWAY_PORT`.
    pub(crate) name: &'static str,
    /// The file name of its executable.
    pub(crate) binary: &'static str,
    /// Where it listens unless told otherwise.
    pub(crate) default_port: u16,
    /// What is to be found at its address, for the table that `up` prints.
    pub(crate) offers: &'static str,
}

/// All of them. A service whose executable is not there is left out, and said so.
pub(crate) const SERVICES: [Service; 5] = [
    Service {
        name: "gateway",
        binary: "synapse-gateway",
        default_port: 5008,
        offers: "Socket.IO at /socket.io/, WebSocket at /ws",
    },
    Service {
        name: "hub",
        binary: "synapse-hub",
        default_port: 8002,
        offers: "the streams over HTTP: /streams, /events/…, /dlq; /openapi.json",
    },
    Service {
        name: "tasks",
        binary: "synapse-tasks",
        default_port: 5002,
        offers: "tasks over REST: /tasks, /dependencies; /openapi.json",
    },
    Service {
        name: "notifications",
        binary: "synapse-notifications",
        default_port: 5005,
        offers: "Socket.IO at /socket.io/, /notifications, /push/…; /openapi.json",
    },
    Service {
        name: "analytics",
        binary: "synapse-analytics",
        default_port: 5004,
        offers: "answers about models and training: /analytics/…, /time-series/…; /openapi.json",
    },
];

impl Service {
    /// What its settings start with: `SYNAPSE_GATEWAY_`.
    pub(crate) fn prefix(&self) -> String {
        format!("SYNAPSE_{}_", self.name.to_ascii_uppercase())
    }

    /// A variable as it is given to this service alone: `SYNAPSE_GATEWAY_PORT`.
    pub(crate) fn variable(&self, name: &str) -> String {
        self.prefix() + name
    }

    /// Its executable beside our own, if it is there.
    pub(crate) fn executable(&self) -> io::Result<Option<PathBuf>> {
        let own = std::env::current_exe()?;
        let path = own.with_file_name(self.binary);
        Ok(path.is_file().then_some(path))
    }
}
