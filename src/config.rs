//! Where Redis is and how to reach it.

use std::{fmt, path::PathBuf};

/// The address used when nothing is set.
pub const DEFAULT_REDIS_URL: &str = "redis://127.0.0.1:6379";
const DEFAULT_PORT: u16 = 6379;

/// A value that must not be seen: prints as `***`.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Hides a value.
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The value itself, for the one place that needs it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// The socket a server listens on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// A host name or address, and a port.
    Tcp {
        /// Host name, IPv4 or IPv6 address (without brackets).
        host: String,
        /// TCP port.
        port: u16,
    },
    /// The path of a Unix socket.
    Unix(PathBuf),
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

/// The certificates of an encrypted connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsSettings {
    /// A PEM file of the authorities that may have signed the server's certificate; the system's own if unset.
    pub ca_file: Option<PathBuf>,
    /// A PEM file with our certificate, for servers that ask for one.
    pub certificate_file: Option<PathBuf>,
    /// The PEM file with its key.
    pub key_file: Option<PathBuf>,
}

/// Where Redis is and how to reach it.
///
/// ```
/// use synapse_rs::RedisSettings;
///
/// let settings = RedisSettings::from_url("redis://localhost:6380/2").unwrap();
/// assert_eq!(settings.endpoint.to_string(), "localhost:6380");
/// assert_eq!(settings.database, 2);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RedisSettings {
    /// The server's socket.
    pub endpoint: Endpoint,
    /// Set for `rediss://`.
    pub tls: Option<TlsSettings>,
    /// The ACL user; the server's default user if unset.
    pub username: Option<String>,
    /// Its password.
    pub password: Option<Secret>,
    /// The database number.
    pub database: u32,
}

/// Why an address of Redis can't be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRedisUrl {
    /// Not of the form of a URL with a host or path.
    #[error("not a URL of Redis: {0}; expected redis://[user:password@]host[:port][/database]")]
    Malformed(String),
    /// A scheme nobody knows.
    #[error("unknown scheme {0:?}; expected redis://, rediss:// or redis+unix://")]
    UnknownScheme(String),
    /// A scheme that will come: Sentinel, Cluster.
    #[error("{0}:// is not supported yet; give the address of one server as redis://host:port")]
    NotSupportedYet(String),
    /// The path is not a database number.
    #[error("{0:?} is not a database number; expected redis://host:port/0 to /15")]
    InvalidDatabase(String),
    /// A query parameter nobody knows.
    #[error("unknown parameter {0:?}; expected {1}")]
    UnknownParameter(String, &'static str),
}

impl RedisSettings {
    /// Reads `redis://[user:password@]host[:port][/database]`, `rediss://` likewise with the query
    /// parameters `ca`, `cert` and `key` (paths of PEM files), or `redis+unix:///path?db=0&user=…&pass=…`.
    pub fn from_url(text: &str) -> Result<Self, InvalidRedisUrl> {
        let url = url::Url::parse(text).map_err(|error| InvalidRedisUrl::Malformed(error.to_string()))?;
        match url.scheme() {
            "redis" | "valkey" => Self::from_network_url(&url, None),
            "rediss" | "valkeys" => Self::from_network_url(&url, Some(TlsSettings::default())),
            "redis+unix" | "unix" | "valkey+unix" => Self::from_unix_url(&url),
            scheme if scheme.contains("sentinel") || scheme.contains("cluster") => {
                Err(InvalidRedisUrl::NotSupportedYet(scheme.to_owned()))
            }
            scheme => Err(InvalidRedisUrl::UnknownScheme(scheme.to_owned())),
        }
    }

    fn from_network_url(url: &url::Url, mut tls: Option<TlsSettings>) -> Result<Self, InvalidRedisUrl> {
        let host = match url.host_str() {
            Some(host) if !host.is_empty() => {
                percent_decoded(host.trim_start_matches('[').trim_end_matches(']'))
            }
            _ => return Err(InvalidRedisUrl::Malformed("no host".to_owned())),
        };
        let mut database = url.path().trim_start_matches('/').to_owned();
        for (name, value) in url.query_pairs() {
            match (name.as_ref(), tls.as_mut()) {
                ("db", _) => database = value.into_owned(),
                ("ca", Some(tls)) => tls.ca_file = Some(value.as_ref().into()),
                ("cert", Some(tls)) => tls.certificate_file = Some(value.as_ref().into()),
                ("key", Some(tls)) => tls.key_file = Some(value.as_ref().into()),
                ("protocol", _) => {}
                _ => {
                    return Err(InvalidRedisUrl::UnknownParameter(
                        name.into_owned(),
                        "db; for rediss:// also ca, cert, key",
                    ));
                }
            }
        }
        let username = percent_decoded(url.username());
        Ok(Self {
            endpoint: Endpoint::Tcp { host, port: url.port().unwrap_or(DEFAULT_PORT) },
            tls,
            username: (!username.is_empty()).then_some(username),
            password: url.password().map(|password| Secret::new(percent_decoded(password))),
            database: database_number(&database)?,
        })
    }

    fn from_unix_url(url: &url::Url) -> Result<Self, InvalidRedisUrl> {
        let path = percent_decoded(url.path());
        if path.len() < 2 {
            return Err(InvalidRedisUrl::Malformed("no socket path".to_owned()));
        }
        let mut settings = Self::at(Endpoint::Unix(path.into()));
        for (name, value) in url.query_pairs() {
            match name.as_ref() {
                "db" => settings.database = database_number(&value)?,
                "user" => settings.username = Some(value.into_owned()),
                "pass" => settings.password = Some(Secret::new(value)),
                "protocol" => {}
                _ => return Err(InvalidRedisUrl::UnknownParameter(name.into_owned(), "db, user, pass")),
            }
        }
        Ok(settings)
    }

    /// Database 0 of the server at this endpoint, without credentials or encryption.
    pub fn at(endpoint: Endpoint) -> Self {
        Self { endpoint, tls: None, username: None, password: None, database: 0 }
    }
}

impl Default for RedisSettings {
    fn default() -> Self {
        Self::at(Endpoint::Tcp { host: "127.0.0.1".to_owned(), port: DEFAULT_PORT })
    }
}

/// For people and logs: without credentials.
impl fmt::Display for RedisSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match (&self.endpoint, &self.tls) {
            (Endpoint::Unix(_), _) => "redis+unix",
            (_, Some(_)) => "rediss",
            (_, None) => "redis",
        };
        write!(f, "{scheme}://{}/{}", self.endpoint, self.database)
    }
}

fn database_number(text: &str) -> Result<u32, InvalidRedisUrl> {
    if text.is_empty() {
        return Ok(0);
    }
    text.parse().map_err(|_| InvalidRedisUrl::InvalidDatabase(text.to_owned()))
}

fn percent_decoded(text: &str) -> String {
    percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests;
