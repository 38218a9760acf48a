//! What clients may write in queries and bodies.

use std::{borrow::Cow, sync::Arc};

use axum::{body::Body, extract::Request};
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, StatusCode, header};
use http_body_util::BodyExt as _;
use serde::de::DeserializeOwned;
use serde_json::Value;
use synapse_rs::Filter;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Duration, Instant, timeout, timeout_at},
};

use crate::error::ApiError;

/// What a body becomes when it is read takes up to so many times its bytes: `[0,0,…]` does, measured.
pub const READ_FACTOR: usize = 40;
/// How long a whole body may take.
const BODY_TIMEOUT: Duration = Duration::from_mins(1);
/// Within each stretch so long of it so many bytes have to come, or the rest: who sends nothing holds no memory.
const PACE: Duration = Duration::from_secs(5);
const PACE_BYTES: usize = 64 << 10;
/// How long a body waits for memory.
const MEMORY_TIMEOUT: Duration = Duration::from_secs(2);

/// The parameters of a query, in order.
#[derive(Debug)]
pub struct Query<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

impl<'a> Query<'a> {
    /// Reads them, and refuses those that nobody knows.
    pub fn read(query: Option<&'a str>, known: &[&str]) -> Result<Self, ApiError> {
        let parameters: Vec<_> = url::form_urlencoded::parse(query.unwrap_or_default().as_bytes()).collect();
        match parameters.iter().find(|(name, _)| !known.contains(&name.as_ref())) {
            None => Ok(Self(parameters)),
            Some((name, _)) => {
                let known = match known {
                    [] => "there are none here".to_owned(),
                    known => format!("known are {}", known.join(", ")),
                };
                let message = format!("unknown parameter {:?}; {known}", cut(name));
                Err(ApiError::bad_request("unknown_parameter", message))
            }
        }
    }

    /// A parameter that may be there once.
    pub fn one(&self, name: &str) -> Result<Option<&str>, ApiError> {
        let mut values = self.all(name);
        let first = values.next();
        if values.next().is_some() {
            return Err(ApiError::bad_request(
                "repeated_parameter",
                format!("{name} is given twice; give it once"),
            ));
        }
        Ok(first)
    }

    /// All values of a parameter.
    pub fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(own, _)| own == name).map(|(_, value)| value.as_ref())
    }

    /// How many are asked for: 1 to `most`.
    pub fn count(&self, default: usize, most: usize) -> Result<usize, ApiError> {
        let Some(text) = self.one("count")? else { return Ok(default) };
        text.parse().ok().filter(|count| (1..=most).contains(count)).ok_or_else(|| {
            ApiError::bad_request("invalid_count", format!("count is {:?}, expected 1 to {most}", cut(text)))
        })
    }

    /// How many a page may have at most, by its `limit`: 1 to `most`.
    pub fn limit(&self, default: usize, most: usize) -> Result<usize, ApiError> {
        let Some(text) = self.one("limit")? else { return Ok(default) };
        let limit = text.parse().ok().filter(|limit| (1..=most).contains(limit));
        limit.ok_or_else(|| ApiError::bad_field("limit", format!("is {:?}, expected 1 to {most}", cut(text))))
    }

    /// The condition of all `where` parameters.
    pub fn filter(&self) -> Result<Filter, ApiError> {
        Filter::from_pairs(self.all("where"))
            .map_err(|error| ApiError::bad_request("invalid_where", error.to_string()))
    }
}

/// Bodies of requests, each within a limit, and all together within the memory set aside for them.
#[derive(Clone, Debug)]
pub struct Bodies {
    max_bytes: usize,
    /// In KiB.
    memory: Arc<Semaphore>,
}

/// A body, and its share of the memory for bodies for as long as this is held.
#[derive(Debug)]
pub struct Received {
    /// The body.
    pub bytes: Bytes,
    _memory: OwnedSemaphorePermit,
}

impl Bodies {
    /// Bodies of up to `max_bytes` each; for all together, and for what is read from them, `memory` bytes.
    pub fn new(max_bytes: usize, memory: usize) -> Self {
        Self { max_bytes, memory: Arc::new(Semaphore::new(memory >> 10)) }
    }

    /// The body of a request, whatever it is.
    pub async fn receive(&self, request: Request) -> Result<Received, ApiError> {
        let too_large = || {
            ApiError::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "body_too_large",
                format!("the body has more than {} bytes; send less at once", self.max_bytes),
            )
        };
        let announced = length_of(request.headers());
        if announced.is_some_and(|bytes| bytes > self.max_bytes as u64) {
            return Err(too_large());
        }
        self.receive_up_to(request.into_body()).await?.ok_or_else(too_large)
    }

    /// A body of JSON.
    pub async fn json(&self, request: Request) -> Result<Received, ApiError> {
        check_json(request.headers())?;
        self.receive(request).await
    }

    /// A body that may be left out, or `null`.
    pub async fn optional_json<T: DeserializeOwned + Default>(
        &self,
        request: Request,
    ) -> Result<T, ApiError> {
        let checked = check_json(request.headers());
        let received = self.receive(request).await?;
        if received.bytes.is_empty() {
            return Ok(T::default());
        }
        checked?;
        if received.bytes.trim_ascii() == b"null" { Ok(T::default()) } else { parse_object(&received.bytes) }
    }

    /// Takes memory as the bytes come; `None` for more of them than are allowed.
    async fn receive_up_to(&self, mut body: Body) -> Result<Option<Received>, ApiError> {
        let mut held = 1;
        let mut memory = self.reserve(held).await?;
        let mut read = BytesMut::new();
        let deadline = Instant::now() + BODY_TIMEOUT;
        // When so many bytes have to be there.
        let (mut due, mut wanted) = (Instant::now() + PACE, PACE_BYTES);
        loop {
            let Ok(frame) = timeout_at(due.min(deadline), body.frame()).await else {
                let what = if due < deadline {
                    format!("less than {PACE_BYTES} bytes of the body came within {PACE:?}")
                } else {
                    format!("the body took longer than {BODY_TIMEOUT:?}")
                };
                return Err(ApiError::new(StatusCode::REQUEST_TIMEOUT, "body_too_slow", what));
            };
            let Some(frame) = frame else {
                return Ok(Some(Received { bytes: read.freeze(), _memory: memory }));
            };
            let frame = frame.map_err(|_| {
                ApiError::bad_request("body_incomplete", "the body did not arrive as a whole")
            })?;
            let Some(data) = frame.data_ref() else { continue };
            if read.len() + data.len() > self.max_bytes {
                return Ok(None);
            }
            let kib = kib_of(read.len() + data.len()).saturating_sub(held);
            if kib > 0 {
                memory.merge(self.reserve(kib).await?);
                held += kib;
            }
            read.extend_from_slice(data);
            if read.len() >= wanted {
                (due, wanted) = (Instant::now() + PACE, read.len() + PACE_BYTES);
            }
        }
    }

    /// Memory for bodies, once there is some.
    async fn reserve(&self, kib: u32) -> Result<OwnedSemaphorePermit, ApiError> {
        match timeout(MEMORY_TIMEOUT, self.memory.clone().acquire_many_owned(kib)).await {
            Ok(Ok(memory)) => Ok(memory),
            _ => Err(ApiError::unavailable("busy", "too many bodies at once; try again")),
        }
    }
}

/// Memory for what a body becomes, in KiB.
fn kib_of(bytes: usize) -> u32 {
    u32::try_from((READ_FACTOR * bytes).div_ceil(1 << 10)).unwrap_or(u32::MAX)
}

/// Refuses bodies that say to be something else than JSON.
pub fn check_json(headers: &HeaderMap) -> Result<(), ApiError> {
    let kind = headers.get(header::CONTENT_TYPE).map(|kind| kind.to_str().unwrap_or_default());
    let essence = kind.unwrap_or_default().split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json")) {
        return Ok(());
    }
    Err(ApiError::new(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "not_json",
        "send JSON, with the header Content-Type: application/json",
    ))
}

/// A body as a value of this form.
pub fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    serde_json::from_slice(body).map_err(|error| {
        let code = if error.is_data() { "invalid_request" } else { "invalid_json" };
        ApiError::bad_request(code, format!("the body is not what is expected: {error}"))
    })
}

/// A body as a value of this form, of which the fields are named.
pub fn parse_object<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    let value: Value = parse(body)?;
    if !value.is_object() {
        let message = "the body is not what is expected: an object with named fields";
        return Err(ApiError::bad_request("invalid_request", message));
    }
    serde_json::from_value(value).map_err(|error| {
        ApiError::bad_request("invalid_request", format!("the body is not what is expected: {error}"))
    })
}

/// A text for a message, cut short.
pub fn cut(text: &str) -> String {
    text.chars().take(60).collect()
}

fn length_of(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code<T>(result: Result<T, ApiError>) -> &'static str {
        result.err().expect("refused").code
    }

    #[test]
    fn queries_are_read_by_name_and_strangers_refused() {
        let query = Query::read(Some("count=7&where=a%3D1&where=b=2"), &["count", "where"]).unwrap();
        assert_eq!(query.count(1, 10).unwrap(), 7);
        assert_eq!(query.all("where").collect::<Vec<_>>(), ["a=1", "b=2"]);
        assert_eq!(code(query.one("where")), "repeated_parameter");
        assert_eq!(code(query.count(1, 6)), "invalid_count");
        assert_eq!(code(Query::read(Some("cuont=7"), &["count"])), "unknown_parameter");
    }

    #[test]
    fn bodies_are_json_by_their_own_word() {
        let check = |kind: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, kind.parse().unwrap());
            check_json(&headers)
        };
        for kind in ["application/json", "Application/JSON; charset=utf-8", "application/cloudevents+json"] {
            assert!(check(kind).is_ok(), "{kind}");
        }
        for kind in ["text/plain", "application/jsonx", "multipart/form-data"] {
            assert_eq!(code(check(kind)), "not_json", "{kind}");
        }
        assert_eq!(code(check_json(&HeaderMap::new())), "not_json");
    }
}
