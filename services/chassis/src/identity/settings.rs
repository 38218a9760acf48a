//! Which key there is, if any, and what that allows.

use std::path::PathBuf;

use synapse_rs::config::Secret;
use url::Url;

use super::Origins;
use crate::settings::{Environment, SettingError, Variable, is_loopback};

crate::variables! {
    /// Who may do what.
    pub IDENTITY:
    /// `off` takes the client's word for who it is, on any HOST. Without it and without a key, HOST must be loopback.
    AUTH: Choice;
    /// The key of tokens signed with HS256, at least 32 bytes. Set one of `JWT_SECRET`, `JWT_PUBLIC_KEY`, `JWKS_FILE` and `JWKS_URL`.
    JWT_SECRET: Secret;
    /// The public key of tokens signed with RS256, ES256 or `EdDSA`, by the key's own kind: PEM (BEGIN PUBLIC KEY).
    JWT_PUBLIC_KEY: Secret;
    /// A file with a JSON Web Key Set; read again whenever it changes.
    JWKS_FILE: Path;
    /// The address of a JSON Web Key Set, `http://` or `https://`; read again every 5 minutes and for an unknown key.
    JWKS_URL: Text;
    /// Whom a token must be from (`iss`); several are comma-separated.
    JWT_ISSUER: List;
    /// Whom a token must be for (`aud`); several are comma-separated.
    JWT_AUDIENCE: List;
    /// `deny` refuses sockets without a token; `allow` lets them see what is for everyone. Needs a key.
    ANONYMOUS: Choice;
    /// Origins whose web pages may call, besides the service's own, as `https://app.example.com`; * for all.
    /// Unset: loopback ones.
    CORS_ORIGINS: List;
    /// Proxies (addresses or networks such as 10.0.0.0/8) whose X-Forwarded-For tells the client's address.
    TRUSTED_PROXIES: List;
}

/// Where the key that tokens are checked against comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeySource {
    /// `JWT_SECRET`.
    Secret(Secret),
    /// `JWT_PUBLIC_KEY`, PEM.
    PublicKey(Secret),
    /// `JWKS_FILE`.
    File(PathBuf),
    /// `JWKS_URL`.
    Url(Url),
}

/// On what ground somebody is believed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trust {
    /// A key: tokens are checked.
    Key(KeySource),
    /// No key, a loopback `HOST`: the client's word, for this machine only.
    LoopbackOnly,
    /// `AUTH=off`: the client's word.
    Off,
}

/// Who may do what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentitySettings {
    /// On what ground somebody is believed.
    pub trust: Trust,
    /// Accepted values of `iss`; any if empty.
    pub issuers: Vec<String>,
    /// Accepted values of `aud`; any if empty.
    pub audiences: Vec<String>,
    /// Whether a socket without a token is refused.
    pub deny_anonymous: bool,
}

impl IdentitySettings {
    /// Reads them; `on_loopback` tells whether `HOST` is reachable from this machine only.
    pub fn read(environment: &Environment, on_loopback: bool) -> Result<Self, SettingError> {
        let source = key_source(environment)?;
        let off = environment.optional_choice(&AUTH, &[("off", ())])?.is_some();
        let trust = match (source, off) {
            (Some(_), true) => {
                return Err(conflict("AUTH is off, but there is a key as well; unset AUTH or the key"));
            }
            (Some(source), false) => Trust::Key(source),
            (None, true) => Trust::Off,
            (None, false) if on_loopback => Trust::LoopbackOnly,
            (None, false) => return Err(unprotected(environment)?),
        };
        if !matches!(trust, Trust::Key(_)) {
            for variable in [&JWT_ISSUER, &JWT_AUDIENCE, &ANONYMOUS] {
                needs_key(environment, variable)?;
            }
        }
        if trust == Trust::LoopbackOnly {
            needs_key(environment, &TRUSTED_PROXIES)?;
        }
        let owned = |list: Vec<&str>| list.into_iter().map(str::to_owned).collect();
        Ok(Self {
            trust,
            issuers: owned(environment.list(&JWT_ISSUER)?),
            audiences: owned(environment.list(&JWT_AUDIENCE)?),
            deny_anonymous: environment
                .optional_choice(&ANONYMOUS, &[("allow", false), ("deny", true)])?
                .unwrap_or(false),
        })
    }

    /// Refuses a list of origins that the lack of a key makes void.
    pub(crate) fn check_origins(&self, origins: &Origins) -> Result<(), SettingError> {
        if self.trust == Trust::LoopbackOnly && !origins.all_loopback() {
            return Err(conflict(
                "CORS_ORIGINS lists more than loopback origins, but there is no key: \
                 set JWT_SECRET, JWT_PUBLIC_KEY, JWKS_FILE or JWKS_URL, or AUTH=off",
            ));
        }
        Ok(())
    }
}

fn key_source(environment: &Environment) -> Result<Option<KeySource>, SettingError> {
    let sources = [
        (&JWT_SECRET, environment.secret(&JWT_SECRET)?.map(KeySource::Secret)),
        (&JWT_PUBLIC_KEY, environment.secret(&JWT_PUBLIC_KEY)?.map(KeySource::PublicKey)),
        (&JWKS_FILE, environment.path(&JWKS_FILE)?.map(KeySource::File)),
        (&JWKS_URL, jwks_url(environment)?.map(KeySource::Url)),
    ];
    let mut given = sources.into_iter().filter_map(|(variable, source)| Some((variable, source?)));
    let first = given.next();
    if let (Some((first, _)), Some((second, _))) = (&first, given.next()) {
        let message = format!("{} and {} are both set; only one key can count", first.name, second.name);
        return Err(SettingError::Conflict(message));
    }
    Ok(first.map(|(_, source)| source))
}

fn jwks_url(environment: &Environment) -> Result<Option<Url>, SettingError> {
    environment.read(&JWKS_URL, "an http:// or https:// address without user and password", |text| {
        let url = Url::parse(text).ok()?;
        let sound = matches!(url.scheme(), "http" | "https")
            && url.has_host()
            && url.username().is_empty()
            && url.password().is_none();
        sound.then_some(url)
    })
}

/// A listener that others can reach, with nothing to tell them apart.
fn unprotected(environment: &Environment) -> Result<SettingError, SettingError> {
    let host = environment.text(&crate::settings::HOST)?.unwrap_or_default();
    debug_assert!(!is_loopback(host.trim()), "asked only for hosts that are not loopback");
    Ok(SettingError::invalid(
        crate::settings::HOST.name,
        host,
        "a loopback address such as 127.0.0.1 while there is no key; set JWT_SECRET, JWT_PUBLIC_KEY, \
         JWKS_FILE or JWKS_URL, or take every client's word with AUTH=off",
    ))
}

fn needs_key(environment: &Environment, variable: &Variable) -> Result<(), SettingError> {
    match environment.text(variable)? {
        Some(_) => Err(environment.refused(variable, "unset while there is no key (JWT_SECRET and others)")),
        None => Ok(()),
    }
}

fn conflict(message: &str) -> SettingError {
    SettingError::Conflict(message.to_owned())
}
