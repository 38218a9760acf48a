//! Settings: each variable read once, checked before any port is bound.
//!
//! A service declares its own variables with [`variables!`](crate::variables), names them in its
//! [`About`], and reads them from an [`Environment`] beside [`Common`]. `--help`, the documentation
//! and the reading share that one table.

use std::{net::IpAddr, path::PathBuf, time::Duration};

use synapse_rs::RedisSettings;

use crate::identity::{IdentitySettings, Origins, TrustedProxies};

mod arguments;
mod environment;
mod error;
mod redis;
mod reference;
mod values;
mod variable;

pub use arguments::{Command, help};
pub use environment::Environment;
pub use error::SettingError;
pub use redis::*;
pub use reference::{assert_documented, reference};
pub use values::{parse_bytes, parse_duration};
pub use variable::{Kind, Variable};

crate::variables! {
    /// What every service reads.
    pub COMMON:
    /// The address or name to listen on. Anything but a loopback address needs a key (see `JWT_SECRET`) or `AUTH=off`.
    HOST: Text = "127.0.0.1";
    /// The port to listen on; 0 takes a free one. The address is printed.
    PORT: Number;
    /// A port of its own for /ready and /metrics; 0 takes a free one. Unset: both are on PORT.
    ADMIN_PORT: Number;
    /// How many connections may be open at once on a port; one more is answered with 503.
    MAX_CONNECTIONS: Number = "20000";
    /// Where files are kept. Unset: `synapse` in the user's data directory, else ./synapse-data.
    DATA_DIR: Path;
    /// How the log on stderr is written: text or json.
    LOG_FORMAT: Choice = "text";
    /// Which log lines are written, as level or target=level, comma-separated.
    RUST_LOG: Text = "info";
    /// How long a service may take to leave after SIGTERM before it cuts what is left.
    SHUTDOWN_GRACE: Duration = "10s";
}

/// The service in the words of `--help`, and the variables it reads.
#[derive(Clone, Copy, Debug)]
pub struct About {
    /// The name of the binary, for example `synapse-gateway`.
    pub name: &'static str,
    /// Its version.
    pub version: &'static str,
    /// What it does, in one line.
    pub summary: &'static str,
    /// The default of `PORT`.
    pub default_port: u16,
    /// The variables of this service alone.
    pub variables: &'static [Variable],
    /// Those that it shares with some others, with the title of each group.
    pub shared: &'static [(&'static str, &'static [Variable])],
    /// What it can do instead of serving.
    pub commands: &'static [Action],
}

/// What a service can do instead of serving.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Action {
    /// The word on the command line.
    pub name: &'static str,
    /// What it does.
    pub meaning: &'static str,
    /// What it can be told behind that word, and nowhere else: they are flags only, and no variables of the environment.
    pub flags: &'static [Variable],
}

impl About {
    /// All variables in groups with titles.
    pub fn groups(&self) -> impl Iterator<Item = (&'static str, &'static [Variable])> {
        let common = [("Common", COMMON), ("Redis", redis::REDIS), ("Identity", crate::identity::IDENTITY)];
        let own = [("Of this service", self.variables)].into_iter().chain(self.shared.iter().copied());
        own.chain(common).filter(|(_, variables)| !variables.is_empty())
    }

    /// All variables.
    pub fn all_variables(&self) -> impl Iterator<Item = &'static Variable> {
        self.groups().flat_map(|(_, variables)| variables)
    }

    /// The default of a variable in this service.
    pub fn default_of(&self, variable: &Variable) -> Option<String> {
        if *variable == PORT {
            Some(self.default_port.to_string())
        } else {
            variable.default.map(str::to_owned)
        }
    }
}

/// How the log is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// What every service is configured by.
#[derive(Clone, Debug)]
pub struct Common {
    /// The address or name to listen on, as given.
    pub host: String,
    /// The public port; 0 for a free one.
    pub port: u16,
    /// The port of `/ready` and `/metrics`, if apart.
    pub admin_port: Option<u16>,
    /// How many connections may be open at once on a port.
    pub max_connections: usize,
    /// Where Redis is.
    pub redis: RedisSettings,
    /// Where files are kept; not created yet.
    pub data_dir: PathBuf,
    /// How the log is written.
    pub log_format: LogFormat,
    /// Which log lines are written; known to be well-formed.
    pub log_filter: String,
    /// How long leaving may take.
    pub shutdown_grace: Duration,
    /// Who may do what.
    pub identity: IdentitySettings,
    /// Which web pages may call.
    pub cors_origins: Origins,
    /// Whose word about a client's address is taken.
    pub trusted_proxies: TrustedProxies,
}

impl Common {
    /// Reads and checks all of it. `default_port` is used when `PORT` is unset.
    pub fn read(environment: &Environment, default_port: u16) -> Result<Self, SettingError> {
        let host = environment.text(&HOST)?.unwrap_or_default().trim().to_owned();
        if host.is_empty() || host.contains(['/', ' ']) || (host.contains(':') && parse_ip(&host).is_none()) {
            return Err(environment.refused(&HOST, "an address or a host name, without scheme and port"));
        }
        let common = Self {
            port: environment.optional_number(&PORT, 0..=u16::MAX)?.unwrap_or(default_port),
            admin_port: environment.optional_number(&ADMIN_PORT, 0..=u16::MAX)?,
            max_connections: environment.number(&MAX_CONNECTIONS, 1..=1_000_000)?,
            redis: redis(environment)?,
            data_dir: data_dir(environment)?,
            log_format: environment
                .choice(&LOG_FORMAT, &[("text", LogFormat::Text), ("json", LogFormat::Json)])?,
            log_filter: log_filter(environment)?,
            shutdown_grace: environment.duration(&SHUTDOWN_GRACE)?,
            identity: IdentitySettings::read(environment, is_loopback(&host))?,
            cors_origins: Origins::read(environment)?,
            trusted_proxies: TrustedProxies::read(environment)?,
            host,
        };
        if common.port != 0 && common.admin_port == Some(common.port) {
            return Err(environment.refused(&ADMIN_PORT, "another port than PORT, or unset for the same one"));
        }
        common.identity.check_origins(&common.cors_origins)?;
        Ok(common)
    }

    /// Whether `HOST` is reachable from this machine only.
    pub fn is_loopback(&self) -> bool {
        is_loopback(&self.host)
    }
}

/// `localhost`, 127.0.0.0/8 or `::1`, with or without brackets; other names are not looked up.
pub fn is_loopback(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost")
        || parse_ip(host).is_some_and(|address| address.to_canonical().is_loopback())
}

fn parse_ip(host: &str) -> Option<IpAddr> {
    host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host).parse().ok()
}

fn log_filter(environment: &Environment) -> Result<String, SettingError> {
    let allowed = "levels (off, error, warn, info, debug, trace) and target=level, comma-separated";
    let read = |text: &str| crate::telemetry::is_filter(text).then(|| text.to_owned());
    Ok(environment.read(&RUST_LOG, allowed, read)?.unwrap_or_default())
}

/// `DATA_DIR`, or else where the XDG base directory specification has the user's data.
pub fn data_dir(environment: &Environment) -> Result<PathBuf, SettingError> {
    if let Some(path) = environment.path(&DATA_DIR)? {
        return Ok(path);
    }
    let absolute = |name| environment.get(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let of_user =
        absolute("XDG_DATA_HOME").or_else(|| absolute("HOME").map(|home| home.join(".local/share")));
    Ok(of_user.map_or_else(|| PathBuf::from("./synapse-data"), |path| path.join("synapse")))
}

#[cfg(test)]
mod tests;
