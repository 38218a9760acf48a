//! What clients may write in paths, queries and bodies.

use std::{borrow::Cow, collections::HashMap};

use axum::{
    RequestPartsExt as _,
    body::Body,
    extract::{FromRequestParts, Path, Request},
};
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, StatusCode, header, request::Parts};
use http_body_util::BodyExt as _;
use serde::de::DeserializeOwned;
use serde_json::Value;
use synapse_chassis::error::ApiError;
use synapse_rs::{EntryId, Filter, stream};
use tokio::{
    sync::OwnedSemaphorePermit,
    time::{Duration, Instant, timeout, timeout_at},
};

use crate::hub::Hub;

/// What a body becomes when it is read takes so many times its bytes, about.
pub(crate) const READ_FACTOR: usize = 8;
/// The longest text of a moment or a reason, in bytes.
pub const MAX_TEXT_BYTES: usize = 512;
/// How many entries or letters a replay may be limited to.
pub const MAX_LIMIT: u64 = 1_000_000_000;
/// How long a whole body may take.
const BODY_TIMEOUT: Duration = Duration::from_mins(1);
/// Within each stretch so long of it so many bytes have to come, or the rest: who sends nothing holds no memory.
const PACE: Duration = Duration::from_secs(5);
const PACE_BYTES: usize = 64 << 10;
/// How long a body waits for memory.
const MEMORY_TIMEOUT: Duration = Duration::from_secs(2);

/// The names in a path, `{stream}` and `{group}`, percent-decoded.
#[derive(Debug)]
pub struct Names {
    /// The stream.
    pub stream: String,
    /// The group; empty where the path has none.
    pub group: String,
}

impl<S: Send + Sync> FromRequestParts<S> for Names {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let Path(mut names) = parts
            .extract::<Path<HashMap<String, String>>>()
            .await
            .map_err(|error| ApiError::bad_request("invalid_path", error.body_text()))?;
        let stream = names.remove("stream").unwrap_or_default();
        check_name("stream", &stream)?;
        let group = names.remove("group");
        if let Some(group) = &group {
            check_name("group", group)?;
        }
        Ok(Self { stream, group: group.unwrap_or_default() })
    }
}

/// Refuses names that no stream or group can sensibly have.
pub fn check_name(what: &'static str, name: &str) -> Result<(), ApiError> {
    let code = if what == "group" { "invalid_group" } else { "invalid_stream" };
    stream::check_name(what, name).map_err(|error| ApiError::bad_request(code, error.to_string()))
}

/// Refuses streams that only the platform itself writes to.
pub fn check_writable(stream: &str) -> Result<(), ApiError> {
    stream::check_writable(stream).map_err(|error| ApiError::bad_request("invalid_stream", error.to_string()))
}

/// Refuses to replay nothing at all, or more than any stream has.
pub fn check_limit(limit: Option<u64>) -> Result<(), ApiError> {
    match limit {
        Some(limit) if !(1..=MAX_LIMIT).contains(&limit) => Err(ApiError::bad_request(
            "invalid_request",
            format!("limit is {limit}, expected 1 to {MAX_LIMIT}"),
        )),
        _ => Ok(()),
    }
}

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

    /// The condition of all `where` parameters.
    pub fn filter(&self) -> Result<Filter, ApiError> {
        Filter::from_pairs(self.all("where"))
            .map_err(|error| ApiError::bad_request("invalid_where", error.to_string()))
    }
}

/// Refuses a text that is longer than any that means something.
pub fn check_text(name: &str, text: &str) -> Result<(), ApiError> {
    if text.len() <= MAX_TEXT_BYTES {
        return Ok(());
    }
    let message = format!("{name} has {} bytes, expected {MAX_TEXT_BYTES} at most", text.len());
    Err(ApiError::bad_request("invalid_request", message))
}

/// An entry id, or the first one that a time can have: `1795424694440-0`, `2026-11-23T09:00:00Z`; a date is its midnight,
/// UTC.
pub fn moment(name: &str, text: &str) -> Result<EntryId, ApiError> {
    check_text(name, text)?;
    if let Ok(id) = text.parse() {
        return Ok(id);
    }
    // A blank is what a + in a query means.
    let time = text.replace(' ', "+").parse::<jiff::Timestamp>().ok().or_else(|| midnight(text));
    let ms = time.and_then(|time| u64::try_from(time.as_millisecond()).ok());
    ms.map(|ms| EntryId::new(ms, 0)).ok_or_else(|| {
        ApiError::bad_request(
            "invalid_id",
            format!(
                "{name} is {:?}, expected an entry id (1795424694440-0) or a time (2026-11-23T09:00:00Z)",
                cut(text)
            ),
        )
    })
}

/// The beginning of a date, `2026-11-23`.
fn midnight(text: &str) -> Option<jiff::Timestamp> {
    let is_date = text.len() == "2026-11-23".len();
    is_date.then(|| format!("{text}T00:00:00Z").parse().ok()).flatten()
}

/// A body of JSON within its limit, and the memory it takes.
pub async fn body(hub: &Hub, request: Request) -> Result<(Bytes, OwnedSemaphorePermit), ApiError> {
    let limit = hub.settings.max_body_bytes;
    let too_large = || {
        ApiError::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "body_too_large",
            format!("the body has more than {limit} bytes; send fewer events at once"),
        )
    };
    let announced = length_of(request.headers());
    if announced.is_some_and(|bytes| bytes > limit as u64) {
        return Err(too_large());
    }
    receive(hub, request.into_body(), limit).await?.ok_or_else(too_large)
}

/// Takes memory as the bytes come; `None` for more than `limit` of them.
async fn receive(
    hub: &Hub,
    mut body: Body,
    limit: usize,
) -> Result<Option<(Bytes, OwnedSemaphorePermit)>, ApiError> {
    let mut held = 1;
    let mut permit = reserve(hub, held).await?;
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
        let Some(frame) = frame else { return Ok(Some((read.freeze(), permit))) };
        let frame = frame
            .map_err(|_| ApiError::bad_request("body_incomplete", "the body did not arrive as a whole"))?;
        let Some(data) = frame.data_ref() else { continue };
        if read.len() + data.len() > limit {
            return Ok(None);
        }
        let kib = kib_of(read.len() + data.len()).saturating_sub(held);
        if kib > 0 {
            permit.merge(reserve(hub, kib).await?);
            held += kib;
        }
        read.extend_from_slice(data);
        if read.len() >= wanted {
            (due, wanted) = (Instant::now() + PACE, read.len() + PACE_BYTES);
        }
    }
}

/// Memory for what a body becomes, in KiB.
fn kib_of(bytes: usize) -> u32 {
    u32::try_from((READ_FACTOR * bytes).div_ceil(1 << 10)).unwrap_or(u32::MAX)
}

/// Memory for bodies, once there is some.
async fn reserve(hub: &Hub, kib: u32) -> Result<OwnedSemaphorePermit, ApiError> {
    match timeout(MEMORY_TIMEOUT, hub.bodies.clone().acquire_many_owned(kib)).await {
        Ok(Ok(permit)) => Ok(permit),
        _ => Err(ApiError::unavailable("busy", "too many bodies at once; try again")),
    }
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

/// A body that may be left out, or `null`.
pub async fn optional_json<T: DeserializeOwned + Default>(
    hub: &Hub,
    request: Request,
) -> Result<T, ApiError> {
    let checked = check_json(request.headers());
    let (body, _memory) = body(hub, request).await?;
    if body.is_empty() {
        return Ok(T::default());
    }
    checked?;
    if body.trim_ascii() == b"null" { Ok(T::default()) } else { parse_object(&body) }
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
    fn names_have_up_to_512_bytes_and_no_control_characters() {
        for name in ["s", "a/b", "ü%", &"x".repeat(512)] {
            assert!(check_name("stream", name).is_ok(), "{name}");
        }
        for name in ["", "a\0b", "a\nb", &"x".repeat(513)] {
            assert_eq!(code(check_name("stream", name)), "invalid_stream", "{name:?}");
        }
        assert_eq!(code(check_name("group", "")), "invalid_group");
        assert_eq!(code(check_writable("s:dlq")), "invalid_stream");
        assert_eq!(code(check_writable("synapse:trimmer")), "invalid_stream");
    }

    #[test]
    fn moments_are_ids_or_times() {
        assert_eq!(moment("after", "5-3").unwrap(), EntryId::new(5, 3));
        assert_eq!(moment("after", "5").unwrap(), EntryId::new(5, 0));
        let time = EntryId::new(1_795_424_400_000, 0);
        assert_eq!(moment("after", "2026-11-23T09:00:00Z").unwrap(), time);
        assert_eq!(moment("after", "2026-11-23T10:00:00 01:00").unwrap(), time);
        for text in ["", "x", "5-", "-5", "1969-01-01T00:00:00Z", "99999999999999999999999"] {
            assert_eq!(code(moment("after", text)), "invalid_id", "{text}");
        }
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
