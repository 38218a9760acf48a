//! Keys that stay fresh: a file read again when it changes, an address asked again from time to time.

use std::{path::Path, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use jsonwebtoken::{Algorithm, DecodingKey};
use synapse_rs::{backoff::Backoff, shutdown::Shutdown};
use tokio::{
    io::AsyncReadExt as _,
    sync::{Notify, watch},
    time::{Instant, sleep, timeout},
};
use tracing::{info, warn};

use super::{
    KeySource,
    fetch::{Fetcher, MAX_DOCUMENT_BYTES},
    jwks,
    keys::{Key, KeySet, STRONG_SECRET_BYTES},
    pem_key,
    settings::{JWKS_FILE, JWKS_URL, JWT_PUBLIC_KEY},
};
use crate::settings::SettingError;

/// How often the keys are read, and how long a token of an unknown key may wait for that.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// Between readings while all is well.
    every: Duration,
    /// Between a reading and the next one that an unknown key asks for.
    at_least_apart: Duration,
    /// The first and the longest delay after a failure.
    retry: (Duration, Duration),
    /// How long a token of an unknown key waits.
    patience: Duration,
}

const FILE_PACE: Pace = Pace {
    every: Duration::from_secs(2),
    at_least_apart: Duration::from_millis(200),
    retry: (Duration::from_secs(2), Duration::from_secs(2)),
    patience: Duration::from_secs(1),
};
const URL_PACE: Pace = Pace {
    every: Duration::from_mins(5),
    at_least_apart: Duration::from_secs(10),
    retry: (Duration::from_secs(1), Duration::from_mins(1)),
    patience: Duration::from_secs(6),
};

/// The keys of now, and where later ones come from.
#[derive(Debug)]
pub(super) struct Keys {
    current: ArcSwap<KeySet>,
    source: Option<Source>,
}

#[derive(Debug)]
struct Source {
    origin: Origin,
    pace: Pace,
    /// An unknown key was seen.
    wanted: Notify,
    /// When the last reading ended, whatever came of it.
    last_read: watch::Sender<Option<Instant>>,
}

#[derive(Debug)]
enum Origin {
    File(std::path::PathBuf),
    Url(Fetcher),
}

impl Keys {
    /// Reads what is on this machine; what is behind an address is empty until [`Keys::keep_fresh`] has it.
    pub(super) fn load(source: &KeySource) -> Result<Self, SettingError> {
        match source {
            KeySource::Secret(secret) => {
                let secret = secret.reveal().as_bytes();
                if secret.len() < STRONG_SECRET_BYTES {
                    warn!(
                        bytes = secret.len(),
                        "JWT_SECRET is short enough to be guessed; use at least {STRONG_SECRET_BYTES} random bytes"
                    );
                }
                let (algorithm, decoding) = (Algorithm::HS256, DecodingKey::from_secret(secret));
                Ok(Self::fixed(KeySet::single(Key { id: None, algorithm, decoding })))
            }
            KeySource::PublicKey(text) => pem_key::read(text.reveal())
                .map(Self::fixed)
                .map_err(|allowed| SettingError::invalid(JWT_PUBLIC_KEY.name, "***", allowed)),
            KeySource::File(path) => {
                let keys = read_file_now(path)?;
                Ok(Self::renewed(keys, Origin::File(path.clone()), FILE_PACE))
            }
            KeySource::Url(url) => {
                let fetcher = Fetcher::new(url.clone()).map_err(|error| {
                    SettingError::invalid(JWKS_URL.name, url.as_str(), format!("a usable address ({error})"))
                })?;
                Ok(Self::renewed(KeySet::default(), Origin::Url(fetcher), URL_PACE))
            }
        }
    }

    fn fixed(keys: KeySet) -> Self {
        Self { current: ArcSwap::from_pointee(keys), source: None }
    }

    fn renewed(keys: KeySet, origin: Origin, pace: Pace) -> Self {
        let source = Source { origin, pace, wanted: Notify::new(), last_read: watch::Sender::new(None) };
        Self { current: ArcSwap::from_pointee(keys), source: Some(source) }
    }

    pub(super) fn current(&self) -> Arc<KeySet> {
        self.current.load_full()
    }

    /// Asks for the keys to be read again and waits for it; `false` if that can't be or was just done.
    pub(super) async fn read_again(&self) -> bool {
        let Some(source) = &self.source else { return false };
        let mut last_read = source.last_read.subscribe();
        let recent = |read: Instant| read.elapsed() < source.pace.at_least_apart;
        if last_read.borrow_and_update().is_some_and(recent) {
            return false;
        }
        source.wanted.notify_one();
        matches!(timeout(source.pace.patience, last_read.changed()).await, Ok(Ok(())))
    }

    /// Reads the keys again and again until the end; `loaded` is called after each success.
    pub(super) async fn keep_fresh(&self, shutdown: &Shutdown, mut loaded: impl FnMut()) {
        let Some(source) = &self.source else { return loaded() };
        if !self.current().is_empty() {
            loaded();
        }
        let mut last_text = Vec::new();
        let mut backoff = Backoff::new(source.pace.retry.0, source.pace.retry.1);
        loop {
            let read = tokio::select! {
                read = source.origin.read() => read,
                () = shutdown.cancelled() => return,
            };
            let changed = read.as_ref().is_ok_and(|text| *text != last_text);
            let outcome = match read {
                Ok(text) if changed => self.adopt(&text).map(|()| last_text = text),
                other => other.map(drop),
            };
            let delay = match outcome {
                Ok(()) => {
                    loaded();
                    backoff.reset();
                    source.pace.every
                }
                Err(reason) => {
                    let kept = self.current().len();
                    warn!(source = %source.origin, reason, kept, "the keys for tokens could not be read; trying again");
                    backoff.next_delay()
                }
            };
            source.last_read.send_replace(Some(Instant::now()));
            tokio::select! {
                () = sleep(delay) => {}
                () = source.wanted.notified() => {}
                () = shutdown.cancelled() => return,
            }
        }
    }

    fn adopt(&self, text: &[u8]) -> Result<(), String> {
        let keys = jwks::read(text).map_err(|error| error.to_string())?;
        info!(keys = keys.len(), "the keys for tokens were read");
        self.current.store(Arc::new(keys));
        Ok(())
    }
}

impl Origin {
    async fn read(&self) -> Result<Vec<u8>, String> {
        match self {
            Self::File(path) => read_file(path).await.map_err(|error| error.to_string()),
            Self::Url(fetcher) => fetcher.fetch().await.map_err(|error| error.to_string()),
        }
    }
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Url(fetcher) => write!(f, "{}", fetcher.url()),
        }
    }
}

async fn read_file(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut text = Vec::new();
    let limit = MAX_DOCUMENT_BYTES as u64;
    tokio::fs::File::open(path).await?.take(limit).read_to_end(&mut text).await?;
    Ok(text)
}

fn read_file_now(path: &Path) -> Result<KeySet, SettingError> {
    let text = std::fs::read(path).map_err(|source| SettingError::Unreadable {
        name: JWKS_FILE.name.to_owned(),
        path: path.to_owned(),
        source,
    })?;
    jwks::read(&text).map_err(|error| {
        SettingError::invalid(
            JWKS_FILE.name,
            path.display().to_string(),
            format!("a file with a JSON Web Key Set ({error})"),
        )
    })
}

#[cfg(test)]
mod tests;
