//! The server: its version, its requests, and what its answers mean.

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use axum::body::Bytes;
use base64::{Engine as _, prelude::BASE64_STANDARD};
use http::{
    HeaderMap, HeaderValue, Method, Request, StatusCode,
    header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, USER_AGENT},
};
use http_body_util::Full;
use parking_lot::Mutex;
use synapse_chassis::outgoing::{self, Client, OutgoingError, Tls};
use tokio::{sync::Semaphore, time::timeout};
use url::Url;

use super::{
    settings::{InfluxSettings, Version},
    words::{dropped, is_of_a_limit, retry_after, words_of},
};
use crate::store::StoreError;

/// How much of an answer to a write is read: a server quotes what it refuses, and says why behind that.
const MAX_WRITE_ANSWER_BYTES: usize = 4 << 20;
/// How long the words behind the status of a write may take.
const WORDS_PATIENCE: Duration = Duration::from_secs(2);
/// How much of the answer to a ping, or to the making of a database, is read.
const MAX_SHORT_ANSWER_BYTES: usize = 64 << 10;
/// Questions that are asked at once; the others wait. Each may hold an answer of many megabytes.
const MAX_QUESTIONS: usize = 4;
/// How often the size of a body is halved at most, and the least that it comes to.
const MAX_HALVINGS: u32 = 12;
const MIN_BODY_BYTES: usize = 1 << 10;

/// A server of InfluxDB.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) settings: InfluxSettings,
    client: Client,
    authorization: Option<HeaderValue>,
    /// Asked once it is needed.
    version: Mutex<Option<Version>>,
    /// How often in a row a write was not answered in time.
    timeouts: AtomicU32,
    /// Questions that may be asked at once.
    questions: Semaphore,
    /// A line that it has stored: to store it again changes nothing.
    pub(super) known_line: Mutex<Option<Bytes>>,
}

/// What is wanted of an answer.
#[derive(Clone, Copy)]
enum Wanted {
    /// All of it, up to so many bytes.
    Whole(usize),
    /// Its status, and the words with it.
    Status,
}

/// What a write came to.
#[derive(Debug)]
pub(super) enum Answer {
    /// All of it is stored.
    Stored,
    /// For a flaw of some points, in the server's words. Where it says so: how many; the others are stored.
    Refused {
        /// Its words.
        words: String,
        /// How many, if it says so.
        dropped: Option<usize>,
    },
    /// Too large for the server.
    TooLarge(String),
    /// Something is wrong, with the server or with the points.
    Broken(String),
    /// The database is not there.
    NoDatabase(String),
}

impl Server {
    pub(super) fn new(settings: InfluxSettings) -> Result<Self, OutgoingError> {
        let tls = if settings.url.scheme() == "https" { Some(Tls::new()?) } else { None };
        Ok(Self {
            client: Client::new(tls, settings.timeout),
            authorization: authorization(&settings),
            version: Mutex::new(settings.version),
            timeouts: AtomicU32::new(0),
            questions: Semaphore::new(MAX_QUESTIONS),
            known_line: Mutex::new(None),
            settings,
        })
    }

    /// How large a body may be: half as large after each write that was not answered in time, for the next one may be.
    pub(super) fn body_bytes(&self) -> usize {
        let halvings = self.timeouts.load(Ordering::Relaxed).min(MAX_HALVINGS);
        (self.settings.body_bytes >> halvings).max(MIN_BODY_BYTES)
    }

    /// Its version, asked once; a server that does not say is taken for InfluxDB 2.
    pub(super) async fn version(&self) -> Result<Version, StoreError> {
        if let Some(version) = *self.version.lock() {
            return Ok(version);
        }
        let address = self.address("ping", &[]);
        let answer = self.send(Method::GET, address, HeaderMap::new(), Bytes::new(), Wanted::Status).await?;
        if answer.status().is_server_error() {
            return Err(self.away(&format!("/ping answers {}", answer.status())));
        }
        let said = answer.headers().get("x-influxdb-version").and_then(|version| version.to_str().ok());
        let is_one = said.is_some_and(|version| version.trim_start_matches('v').starts_with("1."));
        let version = if is_one { Version::One } else { Version::Two };
        tracing::info!(url = %self.settings.url, said = said.unwrap_or("nothing"), ?version, "InfluxDB's version");
        *self.version.lock() = Some(version);
        Ok(version)
    }

    /// Writes points, as they were compressed.
    pub(super) async fn write(&self, body: Bytes) -> Result<Answer, StoreError> {
        let version = self.version().await?;
        let InfluxSettings { org, bucket, .. } = &self.settings;
        let address = match version {
            Version::One => self.address("write", &[("db", bucket), ("precision", "ns")]),
            Version::Two => {
                self.address("api/v2/write", &[("org", org), ("bucket", bucket), ("precision", "ns")])
            }
        };
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        let answer = self.send(Method::POST, address, headers, body, Wanted::Status).await?;
        // Slowly back to the full size.
        let _ =
            self.timeouts.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| count.checked_sub(1));
        self.judge(answer.status(), answer.headers(), answer.body(), version)
    }

    /// What the answer to a write means.
    fn judge(
        &self,
        status: StatusCode,
        headers: &HeaderMap,
        body: &[u8],
        version: Version,
    ) -> Result<Answer, StoreError> {
        let words = match words_of(body) {
            words if words.is_empty() => status.to_string(),
            words => words,
        };
        match status {
            StatusCode::NO_CONTENT => Ok(Answer::Stored),
            // What a limit of the server keeps out is no flaw of the point: with more room it goes in.
            StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY if is_of_a_limit(&words) => Err(self
                .away(&format!(
                    "{words}; raise the limit in InfluxDB's configuration, or leave users out of the tags by \
                     INFLUXDB_USER_TAG=off"
                ))),
            StatusCode::BAD_REQUEST | StatusCode::UNPROCESSABLE_ENTITY => {
                Ok(Answer::Refused { dropped: dropped(&words), words })
            }
            StatusCode::PAYLOAD_TOO_LARGE => Ok(Answer::TooLarge(words)),
            StatusCode::NOT_FOUND if version == Version::One && words.contains("database not found") => {
                Ok(Answer::NoDatabase(words))
            }
            StatusCode::NOT_FOUND => {
                // Another server may be there now.
                *self.version.lock() = self.settings.version;
                Err(self.away(&self.not_found(&words, version)))
            }
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(self.shut_out(status, &words)),
            StatusCode::TOO_MANY_REQUESTS
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::BAD_GATEWAY
            | StatusCode::GATEWAY_TIMEOUT => Err(self.busy(status, headers, &words)),
            _ if status.is_server_error() => Ok(Answer::Broken(format!("{status}: {words}"))),
            _ => {
                Err(self
                    .away(&format!("answers {status}: {words}; is INFLUXDB_URL the address of an InfluxDB?")))
            }
        }
    }

    /// Asks something in InfluxQL.
    pub(super) async fn ask(&self, question: &str, max_bytes: usize) -> Result<Bytes, StoreError> {
        let limit = self.settings.timeout;
        let turn = timeout(limit, self.questions.acquire()).await.map_err(|_| StoreError::Slow(limit))?;
        let _turn = turn.map_err(|_| self.away("no more is asked"))?;
        let form = url::form_urlencoded::Serializer::new(String::new()).append_pair("q", question).finish();
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
        let address = self.address("query", &[("db", &self.settings.bucket), ("epoch", "ns")]);
        let answer = self.send(Method::POST, address, headers, form.into(), Wanted::Whole(max_bytes)).await?;
        let (status, words) = (answer.status(), words_of(answer.body()));
        match status {
            _ if status.is_success() => Ok(answer.into_body()),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(self.shut_out(status, &words)),
            StatusCode::NOT_FOUND if words.contains("not found") => {
                Err(self.away(&self.not_found(&words, Version::Two)))
            }
            StatusCode::TOO_MANY_REQUESTS => Err(self.busy(status, answer.headers(), &words)),
            _ if status.is_server_error() => Err(self.busy(status, answer.headers(), &words)),
            _ => Err(StoreError::Failed(format!("{} answers {status}: {words}", self.settings.url))),
        }
    }

    /// Makes the database of InfluxDB 1.
    pub(super) async fn create_database(&self) -> Result<(), StoreError> {
        let name = &self.settings.bucket;
        let question = format!("CREATE DATABASE {}", super::query::identifier(name));
        let made = self.ask(&question, MAX_SHORT_ANSWER_BYTES).await.map_err(|error| error.to_string());
        let refusal = match made {
            Ok(body) => super::query::error_in(&body),
            Err(error) => Some(error),
        };
        match refusal {
            None => {
                tracing::info!(database = name, url = %self.settings.url, "the database was not there, and is made");
                Ok(())
            }
            Some(words) => Err(self.away(&format!(
                "there is no database {name:?} and it can't be made ({words}); make it, by {question} as a user who may, \
                 or set INFLUXDB_BUCKET"
            ))),
        }
    }

    /// One request, within the time for it.
    async fn send(
        &self,
        method: Method,
        address: Url,
        mut headers: HeaderMap,
        body: Bytes,
        wanted: Wanted,
    ) -> Result<http::Response<Bytes>, StoreError> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = method.clone();
        *request.uri_mut() =
            address.as_str().parse().map_err(|error| StoreError::Failed(format!("{address}: {error}")))?;
        headers.insert(USER_AGENT, HeaderValue::from_static(outgoing::USER_AGENT));
        if let Some(authorization) = &self.authorization {
            headers.insert(AUTHORIZATION, authorization.clone());
        }
        *request.headers_mut() = headers;
        let limit = self.settings.timeout;
        let sent = async {
            match wanted {
                Wanted::Whole(max_bytes) => self.client.send(request, max_bytes).await,
                Wanted::Status => {
                    let max_bytes = MAX_WRITE_ANSWER_BYTES;
                    self.client.send_for_status(request, max_bytes, WORDS_PATIENCE.min(limit / 2)).await
                }
            }
        };
        match timeout(limit, sent).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(OutgoingError::Body { limit, .. })) => Err(StoreError::Unanswerable(format!(
                "the answer has more than {} MiB; ask for a shorter window, longer steps or fewer points",
                limit >> 20
            ))),
            Ok(Err(error)) => Err(self.away(&error.to_string())),
            Err(_) if address.path().ends_with("/query") => Err(StoreError::Slow(limit)),
            Err(_) => {
                if method == Method::POST {
                    self.timeouts.fetch_add(1, Ordering::Relaxed);
                }
                Err(self.away(&format!(
                    "no answer within {limit:?} (INFLUXDB_TIMEOUT); with less at once it may be quicker, and gets that"
                )))
            }
        }
    }

    /// A path below the server's address.
    fn address(&self, path: &str, parameters: &[(&str, &str)]) -> Url {
        let mut address = self.settings.url.clone();
        address.set_path(&format!("{}/{path}", address.path().trim_end_matches('/')));
        if !parameters.is_empty() {
            address.query_pairs_mut().extend_pairs(parameters);
        }
        address
    }

    pub(super) fn away(&self, reason: &str) -> StoreError {
        StoreError::unavailable(format!("InfluxDB at {}: {reason}", self.settings.url))
    }

    fn busy(&self, status: StatusCode, headers: &HeaderMap, words: &str) -> StoreError {
        StoreError::Unavailable {
            reason: format!("InfluxDB at {} answers {status}: {words}", self.settings.url),
            retry_after: retry_after(headers),
        }
    }

    fn shut_out(&self, status: StatusCode, words: &str) -> StoreError {
        self.away(&format!(
            "answers {status}: {words}; check INFLUXDB_TOKEN, and that it may write and read the bucket"
        ))
    }

    fn not_found(&self, words: &str, version: Version) -> String {
        let InfluxSettings { org, bucket, .. } = &self.settings;
        match version {
            Version::One => format!("{words}; is INFLUXDB_URL the address of an InfluxDB?"),
            Version::Two => format!(
                "{words}; check INFLUXDB_ORG ({org}) and INFLUXDB_BUCKET ({bucket}), or make it: influx bucket create \
                 --org {org} --name {bucket}"
            ),
        }
    }
}

/// Tokens of InfluxDB 2, users of InfluxDB 1.
fn authorization(settings: &InfluxSettings) -> Option<HeaderValue> {
    let basic = |pair: String| format!("Basic {}", BASE64_STANDARD.encode(pair));
    let text = match (&settings.token, &settings.user) {
        (Some(token), _) if settings.version != Some(Version::Two) && token.reveal().contains(':') => {
            basic(token.reveal().to_owned())
        }
        (Some(token), _) => format!("Token {}", token.reveal()),
        (None, Some((user, password))) => basic(format!("{user}:{}", password.reveal())),
        (None, None) => return None,
    };
    let mut value = HeaderValue::try_from(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}
