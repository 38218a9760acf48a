//! The redis-server of our own, for whoever has none.

use std::{
    env,
    ffi::OsString,
    io,
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
};

use synapse_rs::{RedisSettings, config::Endpoint};

use super::{
    data_lock::DataLock,
    environment::Variables,
    process::{Dialect, Recipe},
};

/// Ports that are easy to remember, tried in this order; then any that is free.
const PREFERRED_PORTS: std::ops::RangeInclusive<u16> = 6379..=6389;
/// Either speaks the same.
const PROGRAMS: [&str; 2] = ["redis-server", "valkey-server"];
/// The server has no use for our other variables, and the secrets among them are not for it.
const VARIABLES: [&str; 4] = ["PATH", "LANG", "TZ", "TMPDIR"];

/// A server that is not installed.
#[derive(Debug, thiserror::Error)]
#[error(
    "redis-server is not installed; install it (apt-get install redis-server), or set REDIS_URL to a server that runs elsewhere"
)]
pub(crate) struct NotInstalled;

/// Where a private server will run, and on what.
#[derive(Debug)]
pub(crate) struct PrivateRedis {
    /// The executable.
    program: PathBuf,
    /// Its data.
    pub(crate) directory: PathBuf,
    /// Its port on the loopback address.
    pub(crate) port: u16,
}

impl PrivateRedis {
    /// Finds the executable and a free port.
    pub(crate) fn find(directory: &Path) -> Result<Self, NotInstalled> {
        let path = env::var_os("PATH").unwrap_or_default();
        let program = PROGRAMS
            .iter()
            .flat_map(|name| env::split_paths(&path).map(move |folder| folder.join(name)))
            .find(|program| program.is_file())
            .ok_or(NotInstalled)?;
        Ok(Self { program, directory: directory.to_owned(), port: 0 })
    }

    /// Chooses a port; to be called when the servers of earlier runs are gone.
    ///
    /// Everyone who starts at this moment looks at the same easy ports: after two attempts any port will do.
    pub(crate) fn choose_port(&mut self, attempt: u32) -> io::Result<()> {
        let easy = if attempt <= 2 { PREFERRED_PORTS.into_iter().find(|port| is_free(*port)) } else { None };
        self.port = match easy {
            Some(port) => port,
            None => TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port(),
        };
        Ok(())
    }

    /// Its address.
    pub(crate) fn settings(&self) -> RedisSettings {
        RedisSettings::at(Endpoint::Tcp { host: Ipv4Addr::LOCALHOST.to_string(), port: self.port })
    }

    /// Its address as a URL.
    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// How to start it.
    pub(crate) fn recipe(&self, lock: &DataLock) -> io::Result<Recipe> {
        let settings = [
            ("bind", "127.0.0.1"),
            ("port", &self.port.to_string()),
            ("daemonize", "no"),
            ("loglevel", "warning"),
            ("logfile", ""),
            ("appendonly", "yes"),
            ("appendfsync", "everysec"),
            // The append-only file has it all.
            ("save", ""),
            ("maxmemory-policy", "noeviction"),
        ];
        let mut arguments = Vec::new();
        for (name, value) in settings {
            arguments.extend([OsString::from(format!("--{name}")), OsString::from(value)]);
        }
        arguments.extend([OsString::from("--dir"), self.directory.clone().into()]);
        let variables: Variables =
            VARIABLES.iter().filter_map(|name| Some((OsString::from(name), env::var_os(name)?))).collect();
        Ok(Recipe {
            name: "redis",
            program: self.program.clone(),
            arguments,
            variables,
            dialect: Dialect::Redis,
            lock: Some(lock.share()?),
        })
    }
}

/// Whether a server that ended says that someone was quicker to take its port.
pub(crate) fn is_port_lost(last_words: &str) -> bool {
    last_words.contains("Failed listening on port")
        || last_words.contains("create server TCP listening socket")
}

fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}
