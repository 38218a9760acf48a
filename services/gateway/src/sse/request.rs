//! `GET /events`: what is asked for, and the answers to those who get no events.
//!
//! An `EventSource` comes back by itself after an answer of 200, and never after any other; it does not see why. So who
//! is refused is told why by status and JSON at first. One that comes back (with `Last-Event-ID`) is told by what it
//! understands: 204, not to come back, when its token is refused; a stream of one `closing`, to come back later, when
//! it is refused for the moment only.

use std::{borrow::Cow, collections::HashMap, sync::Arc};

use axum::{
    extract::{Request as HttpRequest, State},
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use synapse_chassis::{
    error::ApiError,
    request::{Query, cut},
    serve::hand_over,
};
use synapse_realtime::{socketio::application::Failure, sse};

use crate::{
    gateway::{Gateway, Place},
    handshake::{Hello, place_for},
    metrics,
    requests::{invalid_last, request_for, stream_named},
    resume::Request,
    streams::StreamSet,
    who::Who,
};

/// Where a client was that comes back.
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
const EVENT_STREAM: HeaderValue = HeaderValue::from_static("text/event-stream");
/// What the request says of who asks.
const OF_WHO: [&str; 5] = ["token", "userId", "user_id", "organizationId", "organization_id"];
const KNOWN: [&str; 9] =
    ["streams", "where", "last", "after", "token", "userId", "user_id", "organizationId", "organization_id"];

/// `/events`.
pub(crate) async fn events(State(gateway): State<Arc<Gateway>>, request: HttpRequest) -> Response {
    let request = request.map(drop);
    match answer(&gateway, &request).await {
        Ok(response) => response,
        Err(error) if comes_back(request.headers()) => for_one_that_comes_back(&gateway, error),
        Err(error) => explained(error),
    }
}

async fn answer(gateway: &Arc<Gateway>, request: &http::Request<()>) -> Result<Response, ApiError> {
    let is_head = match *request.method() {
        Method::GET => false,
        Method::HEAD => true,
        _ => {
            let message = "events are got by GET";
            return Err(ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message));
        }
    };
    if !accepts_events(request.headers()) {
        let message = "this address answers with text/event-stream; ask for it by the header Accept";
        return Err(ApiError::new(StatusCode::NOT_ACCEPTABLE, "not_acceptable", message));
    }
    let query = Query::read(request.uri().query(), &KNOWN)?;
    let asked = asked(&query, request.headers())?;
    let (permit, peer) = place_for(gateway, request)?;
    let who = identify(gateway, &query, request.headers()).await?;
    let mut response = head();
    if !is_head {
        let place = Place { _address: permit, _peer: peer };
        gateway.serve_events(who, asked, place, hand_over(&mut response));
    }
    Ok(response)
}

/// What is asked for. `Last-Event-ID` goes before what the address says: that stays the same over all connections.
fn asked(query: &Query<'_>, headers: &HeaderMap) -> Result<Request, ApiError> {
    let mut streams = StreamSet::default();
    for name in query.all("streams").flat_map(|names| names.split(',')) {
        streams = streams.with(stream_named(name.trim()).map_err(bad_request)?);
    }
    if query.all("streams").next().is_none() {
        streams = StreamSet::ALL;
    }
    let condition = Some(query.filter()?);
    let (after, last) = match last_event_id(headers)? {
        Some(id) => (Some(Cow::from(id)), None),
        None => (query.one("after")?.map(Cow::from), query.one("last")?),
    };
    let last = last.map(|last| last.parse().map_err(|_| bad_request(invalid_last()))).transpose()?;
    request_for(streams, condition, after.as_deref(), last).map_err(bad_request)
}

async fn identify(gateway: &Gateway, query: &Query<'_>, headers: &HeaderMap) -> Result<Who, ApiError> {
    let mut parameters = HashMap::new();
    for name in OF_WHO {
        if let Some(value) = query.one(name)? {
            parameters.insert(name.to_owned(), value.to_owned());
        }
    }
    let Hello { token, word, .. } = Hello::of(headers, parameters);
    let token = token.or_else(|| token_of_cookie(gateway, headers).map(str::to_owned));
    let who = gateway.identify(token.as_deref(), word).await.map_err(|refusal| {
        metrics::refused(refusal.code());
        ApiError::from(refusal)
    })?;
    gateway.own_rooms(&who).map_err(bad_request)?;
    // Looked at here, where there is a status to answer with; taken once there is a connection.
    gateway.place_of(&who).map_err(too_many)?;
    Ok(who)
}

/// The token in the cookie that `AUTH_COOKIE` names, if the page that asks may use it.
fn token_of_cookie<'a>(gateway: &Gateway, headers: &'a HeaderMap) -> Option<&'a str> {
    let name = gateway.settings.auth_cookie.as_deref()?;
    if !gateway.service.authenticator.admission().takes_cookies(headers) {
        return None;
    }
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|cookies| cookies.to_str().ok());
    let mut pairs = cookies.flat_map(|cookies| cookies.split(';')).filter_map(|pair| pair.split_once('='));
    let (_, value) = pairs.find(|(own, _)| own.trim() == name)?;
    let value = value.trim();
    let value = value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value);
    Some(value).filter(|value| !value.is_empty())
}

/// Whether events are among what the client takes.
fn accepts_events(headers: &HeaderMap) -> bool {
    if !headers.contains_key(header::ACCEPT) {
        return true;
    }
    let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|accepted| accepted.to_str().ok());
    accepted.flat_map(|accepted| accepted.split(',')).any(|range| {
        let mut parts = range.split(';').map(str::trim);
        let kind = parts.next().unwrap_or_default().to_ascii_lowercase();
        let is_refused = parts.any(|part| {
            part.strip_prefix("q=")
                .is_some_and(|weight| weight.parse::<f32>().is_ok_and(|weight| weight <= 0.0))
        });
        !is_refused && ["text/event-stream", "text/*", "*/*"].contains(&kind.as_str())
    })
}

/// Where the client says it was; an empty word says nothing.
fn last_event_id(headers: &HeaderMap) -> Result<Option<&str>, ApiError> {
    let mut values = headers.get_all(LAST_EVENT_ID).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return if headers.contains_key(LAST_EVENT_ID) { Err(malformed_id()) } else { Ok(None) };
    };
    let id = value.to_str().map_err(|_| malformed_id())?;
    Ok(Some(id).filter(|id| !id.is_empty()))
}

fn malformed_id() -> ApiError {
    ApiError::bad_request("invalid_position", "Last-Event-ID is one position, as it came with an event")
}

fn comes_back(headers: &HeaderMap) -> bool {
    headers.get(LAST_EVENT_ID).is_some_and(|id| !id.is_empty())
}

fn bad_request(failure: Failure) -> ApiError {
    ApiError::bad_request(failure.code, cut_off(failure.message))
}

fn too_many(failure: Failure) -> ApiError {
    ApiError::new(StatusCode::TOO_MANY_REQUESTS, failure.code, failure.message)
}

/// Messages name what was given, which may be long.
fn cut_off(message: String) -> String {
    if message.len() > 400 { cut(&message) } else { message }
}

/// The head of an answer that does not end.
fn head() -> Response {
    let mut response = StatusCode::OK.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, EVENT_STREAM);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // Nginx would hold events back until it has a few kilobytes of them.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    let now = jiff::fmt::rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&jiff::Timestamp::now());
    if let Some(now) = now.ok().and_then(|now| HeaderValue::try_from(now).ok()) {
        headers.insert(header::DATE, now);
    }
    response
}

fn explained(error: ApiError) -> Response {
    let status = error.status;
    let mut response = error.into_response();
    if status == StatusCode::METHOD_NOT_ALLOWED {
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
    }
    response
}

fn for_one_that_comes_back(gateway: &Gateway, error: ApiError) -> Response {
    match error.status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => StatusCode::NO_CONTENT.into_response(),
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
            let mut body = Vec::new();
            sse::push_retry(&mut body, gateway.retry());
            body.extend(super::closing(error.code, &error.message, None));
            let (parts, _) = head().into_parts();
            Response::from_parts(parts, body.into())
        }
        _ => explained(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepts(accept: &str) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, accept.parse().unwrap());
        accepts_events(&headers)
    }

    #[test]
    fn who_takes_events_is_known_by_accept() {
        assert!(accepts_events(&HeaderMap::new()));
        for accept in ["text/event-stream", "*/*", "text/html, text/*;q=0.5", "TEXT/Event-Stream; q=0.1"] {
            assert!(accepts(accept), "{accept}");
        }
        for accept in ["application/json", "", "text/event-stream;q=0", "text/event-streams", "image/*"] {
            assert!(!accepts(accept), "{accept}");
        }
    }
}
