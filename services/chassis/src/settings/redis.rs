//! Where Redis is: `REDIS_URL`, or its parts.

use synapse_rs::{
    RedisSettings,
    config::{Endpoint, InvalidRedisUrl, TlsSettings},
};

use super::{Environment, SettingError};

crate::variables! {
    /// How Redis is reached.
    pub REDIS:
    /// `redis://[user:password@]host[:port][/database]`, `rediss://` with TLS, or `redis+unix:///path?db=0`.
    /// Unset: built from the parts below. Set, it wins over `REDIS_HOST` and `REDIS_PORT`; the other parts fill in what it leaves out.
    REDIS_URL: Secret;
    /// The server's name or address.
    REDIS_HOST: Text = "127.0.0.1";
    /// The server's port, or `tcp://host:port` as Kubernetes injects it.
    REDIS_PORT: Text = "6379";
    /// The user of the access control list; the server's default user if unset.
    REDIS_USERNAME: Text;
    /// The password.
    REDIS_PASSWORD: Secret;
    /// The number of the database.
    REDIS_DB: Number;
    /// A PEM file of the authorities that may sign the server's certificate; the system's own if unset. Needs `rediss://`.
    REDIS_TLS_CA_FILE: Path;
    /// A PEM file with the certificate to show to the server. Needs `rediss://` and `REDIS_TLS_KEY_FILE`.
    REDIS_TLS_CERT_FILE: Path;
    /// The PEM file with the key of that certificate.
    REDIS_TLS_KEY_FILE: Path;
}

/// Reads where Redis is.
pub fn redis(environment: &Environment) -> Result<RedisSettings, SettingError> {
    let mut settings = match environment.secret(&REDIS_URL)? {
        Some(url) => RedisSettings::from_url(url.reveal().trim()).map_err(|error| refused_url(&error))?,
        None => RedisSettings::at(endpoint(environment)?),
    };
    if settings.username.is_none() {
        settings.username = environment.text(&REDIS_USERNAME)?.map(str::to_owned);
    }
    let password = environment.secret(&REDIS_PASSWORD)?;
    settings.password = settings.password.or(password);
    let database = environment.optional_number(&REDIS_DB, 0..=u32::MAX)?;
    if settings.database == 0 {
        settings.database = database.unwrap_or(0);
    }
    certificates(environment, &mut settings)?;
    Ok(settings)
}

/// Like the core's message, but never with a piece of a password that was not percent-encoded.
fn refused_url(error: &InvalidRedisUrl) -> SettingError {
    let allowed = match error {
        InvalidRedisUrl::InvalidDatabase(path) if path.contains('@') => {
            "redis://[user:password@]host[:port][/database]; a / in the password is written %2F".to_owned()
        }
        _ => format!("a Redis URL ({error})"),
    };
    SettingError::invalid(REDIS_URL.name, "***", allowed)
}

fn endpoint(environment: &Environment) -> Result<Endpoint, SettingError> {
    let allowed = "a port from 1 to 65535, or tcp://host:port";
    let given = environment.read(&REDIS_PORT, allowed, host_and_port)?;
    let (injected, port) = given.unwrap_or((None, 6379));
    // The host of the link that Kubernetes injects counts unless someone says otherwise.
    let host = match (environment.get(REDIS_HOST.name), injected) {
        (None, Some(host)) => host,
        _ => environment.text(&REDIS_HOST)?.unwrap_or_default().trim().to_owned(),
    };
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let is_address = host.parse::<std::net::IpAddr>().is_ok();
    if host.is_empty() || host.contains(['/', '@', ' ']) || (host.contains(':') && !is_address) {
        return Err(environment.refused(
            &REDIS_HOST,
            "a host name or address; the port goes into REDIS_PORT, a whole URL into REDIS_URL",
        ));
    }
    Ok(Endpoint::Tcp { host, port })
}

fn host_and_port(text: &str) -> Option<(Option<String>, u16)> {
    let port = |text: &str| text.parse().ok().filter(|port| *port != 0);
    match text.strip_prefix("tcp://") {
        Some(link) => {
            let (host, number) = link.rsplit_once(':')?;
            (!host.is_empty()).then_some((Some(host.to_owned()), port(number)?))
        }
        None => Some((None, port(text)?)),
    }
}

fn certificates(environment: &Environment, settings: &mut RedisSettings) -> Result<(), SettingError> {
    let given = TlsSettings {
        ca_file: environment.path(&REDIS_TLS_CA_FILE)?,
        certificate_file: environment.path(&REDIS_TLS_CERT_FILE)?,
        key_file: environment.path(&REDIS_TLS_KEY_FILE)?,
    };
    let files = [
        (&REDIS_TLS_CA_FILE, &given.ca_file),
        (&REDIS_TLS_CERT_FILE, &given.certificate_file),
        (&REDIS_TLS_KEY_FILE, &given.key_file),
    ];
    for (variable, path) in files {
        let Some(path) = path else { continue };
        if settings.tls.is_none() {
            return Err(environment.refused(variable, "unset, unless REDIS_URL begins with rediss://"));
        }
        std::fs::File::open(path).map_err(|source| SettingError::Unreadable {
            name: variable.name.to_owned(),
            path: path.clone(),
            source,
        })?;
    }
    if let Some(tls) = &mut settings.tls {
        tls.ca_file = tls.ca_file.take().or(given.ca_file);
        tls.certificate_file = tls.certificate_file.take().or(given.certificate_file);
        tls.key_file = tls.key_file.take().or(given.key_file);
        if tls.certificate_file.is_some() != tls.key_file.is_some() {
            return Err(SettingError::Conflict(
                "a client certificate needs its key: set both REDIS_TLS_CERT_FILE and REDIS_TLS_KEY_FILE, or neither"
                    .to_owned(),
            ));
        }
    }
    Ok(())
}
