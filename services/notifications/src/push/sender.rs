//! One push: encrypted for the browser, signed, and sent to its push service.

use std::{
    io,
    time::{Duration, SystemTime},
};

use axum::body::Bytes;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{Request, Response, StatusCode, header};
use http_body_util::Full;
use p256::PublicKey;
use synapse_chassis::outgoing::{Tls, USER_AGENT, exchange_for_status};
use synapse_database::DatabaseError;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::{OnceCell, Semaphore},
    time::{Instant, timeout, timeout_at},
};
use tokio_rustls::rustls::pki_types::ServerName;
use url::Url;
use web_push_native::Auth;

use super::address::{self, AddressError};
use crate::{
    settings::PushSettings,
    store::{Store, Subscription},
    vapid::{VapidKey, decode_public},
};

/// Bytes of the secret shared with a browser.
const AUTH_BYTES: usize = 16;
/// What is read of a push service's answer, and for how long once its status is known.
const ANSWER: (usize, Duration) = (1 << 10, Duration::from_secs(1));

/// A subscription that has been looked at: where to and with which keys.
#[derive(Clone, Debug)]
pub struct Target {
    endpoint: Url,
    p256dh: PublicKey,
    auth: [u8; AUTH_BYTES],
}

/// Why a subscription can't be one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSubscription {
    /// Its address.
    #[error("endpoint: {0}")]
    Endpoint(#[from] AddressError),
    /// Its public key.
    #[error("keys.p256dh: expected a point of P-256 in base64url, 65 bytes")]
    PublicKey,
    /// Its secret.
    #[error("keys.auth: expected {AUTH_BYTES} bytes in base64url")]
    Auth,
}

/// Why a push was not taken.
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    /// The browser has withdrawn: the subscription is worth nothing any more.
    #[error("the push service no longer knows the subscription ({0})")]
    Gone(StatusCode),
    /// It will be refused again.
    #[error("the push service refuses the push ({status}): {reason}")]
    Refused {
        /// The answer.
        status: StatusCode,
        /// How it begins.
        reason: String,
    },
    /// The subscription can't be sent to.
    #[error(transparent)]
    Invalid(#[from] InvalidSubscription),
    /// It may be taken later.
    #[error("the push service does not take it now ({status})")]
    Later {
        /// The answer.
        status: StatusCode,
        /// When to come back, if it says so.
        after: Option<Duration>,
    },
    /// Requests push more than we send at once.
    #[error("too many pushes are being sent; try again soon")]
    Busy,
    /// Nobody wants it any more.
    #[error("the push could not be sent while somebody wanted it")]
    TooLate,
    /// No answer.
    #[error("the push service can't be reached: {0}")]
    Unreachable(String),
    /// Our own side.
    #[error("{0}")]
    Own(String),
}

impl PushError {
    /// Whether it may be taken later.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Later { .. } | Self::Unreachable(_) | Self::Own(_) | Self::Busy)
    }
}

/// Sends pushes.
#[derive(Debug)]
pub struct Sender {
    settings: PushSettings,
    contact: String,
    store: Store,
    key: OnceCell<VapidKey>,
    /// Read when it is needed first: without a push nobody needs certificate authorities.
    tls: OnceCell<Tls>,
    /// Places for pushes that requests ask for; those of notifications have their own.
    for_requests: Semaphore,
}

impl Target {
    /// Looks at a subscription.
    pub fn of(subscription: &Subscription, allow_private: bool) -> Result<Self, InvalidSubscription> {
        let endpoint = address::endpoint(&subscription.endpoint, allow_private)?;
        let p256dh = decode_public(&standard(&subscription.p256dh)).ok_or(InvalidSubscription::PublicKey)?;
        let auth = URL_SAFE_NO_PAD.decode(standard(&subscription.auth)).ok();
        let auth = auth.and_then(|auth| auth.try_into().ok()).ok_or(InvalidSubscription::Auth)?;
        Ok(Self { endpoint, p256dh, auth })
    }
}

/// Some clients send plain base64.
fn standard(text: &str) -> String {
    text.trim_end_matches('=').replace('+', "-").replace('/', "_")
}

impl Sender {
    /// With this key, or else the one that is kept in the database, once it answers.
    pub fn new(settings: PushSettings, contact: String, key: Option<VapidKey>, store: Store) -> Self {
        Self {
            for_requests: Semaphore::new(settings.concurrency),
            key: OnceCell::new_with(key),
            tls: OnceCell::new(),
            settings,
            contact,
            store,
        }
    }

    /// The key by which push services know us.
    pub async fn key(&self) -> Result<&VapidKey, DatabaseError> {
        let kept = async || {
            let kept = self.store.vapid_key(VapidKey::generate().encode()).await?;
            VapidKey::decode(&kept)
                .ok_or_else(|| DatabaseError::Broken("the table vapid holds no key of Web Push".to_owned()))
        };
        self.key.get_or_try_init(kept).await
    }

    /// Whether a subscription can be sent to.
    pub fn check(&self, subscription: &Subscription) -> Result<Target, InvalidSubscription> {
        Target::of(subscription, self.settings.allow_private)
    }

    /// Sends a payload that a request asks for, once there is a place for it.
    pub async fn send_for_request(
        &self,
        to: &Subscription,
        payload: &str,
        life: Duration,
    ) -> Result<(), PushError> {
        let place = timeout(self.settings.timeout, self.for_requests.acquire()).await;
        let _place = place.map_err(|_| PushError::Busy)?;
        self.send(to, payload, life).await
    }

    /// Sends a payload, of which a push service need not keep anything for longer than its `life`.
    pub async fn send(&self, to: &Subscription, payload: &str, life: Duration) -> Result<(), PushError> {
        let target = self.check(to)?;
        let key = self.key().await.map_err(|error| PushError::Own(error.to_string()))?;
        let body =
            web_push_native::encrypt(payload.as_bytes().to_vec(), &target.p256dh, &Auth::from(target.auth));
        let body = body.map_err(|error| PushError::Own(error.to_string()))?;
        let authorization = key
            .authorization(&target.endpoint, &self.contact, SystemTime::now())
            .map_err(|error| PushError::Own(error.to_string()))?;
        let url = &target.endpoint;
        let request = Request::post(&url[url::Position::BeforePath..url::Position::AfterQuery])
            .header(header::HOST, &url[url::Position::BeforeHost..url::Position::AfterPort])
            .header(header::USER_AGENT, USER_AGENT)
            .header(header::AUTHORIZATION, authorization)
            .header(header::CONTENT_TYPE, "application/octet-stream")
            .header(header::CONTENT_ENCODING, "aes128gcm")
            .header("ttl", life.as_millis().div_ceil(1_000).to_string())
            .header("urgency", "high")
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| PushError::Own(error.to_string()))?;
        let deadline = Instant::now() + self.settings.timeout;
        // Once the status is there, its page has a time of its own.
        match timeout_at(deadline + ANSWER.1, self.deliver(url, request, deadline)).await {
            Ok(answer) => judge(&answer?),
            Err(_) => Err(PushError::Unreachable(format!("no answer within {:?}", self.settings.timeout))),
        }
    }

    async fn deliver(
        &self,
        url: &Url,
        request: Request<Full<Bytes>>,
        deadline: Instant,
    ) -> Result<Response<Bytes>, PushError> {
        let addresses = match address::resolve(url, self.settings.allow_private).await {
            Ok(addresses) => addresses,
            Err(AddressError::Unresolved(reason)) => return Err(PushError::Unreachable(reason)),
            Err(error) => return Err(InvalidSubscription::Endpoint(error).into()),
        };
        let unreachable = |error: io::Error| PushError::Unreachable(error.to_string());
        let stream = TcpStream::connect(addresses.as_slice()).await.map_err(unreachable)?;
        if url.scheme() != "https" {
            return finish(stream, request, deadline).await;
        }
        let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let name = ServerName::try_from(host)
            .map_err(|_| InvalidSubscription::Endpoint(AddressError::NotAnEndpoint))?;
        let tls = self.tls.get_or_try_init(async || Tls::new()).await;
        let tls = tls.map_err(|error| PushError::Own(error.to_string()))?;
        finish(tls.0.connect(name, stream).await.map_err(unreachable)?, request, deadline).await
    }
}

async fn finish<S>(
    stream: S,
    request: Request<Full<Bytes>>,
    deadline: Instant,
) -> Result<Response<Bytes>, PushError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let answer = exchange_for_status(stream, request, ANSWER.0, deadline, ANSWER.1).await;
    answer.map_err(|error| PushError::Unreachable(error.to_string()))
}

fn judge(answer: &Response<Bytes>) -> Result<(), PushError> {
    let status = answer.status();
    match status {
        _ if status.is_success() => Ok(()),
        StatusCode::NOT_FOUND | StatusCode::GONE => Err(PushError::Gone(status)),
        StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT => Err(later(answer)),
        _ if status.is_server_error() => Err(later(answer)),
        _ => {
            // Whatever it is, it stays one line of a log.
            let shown = |letter: char| if letter.is_control() { ' ' } else { letter };
            let reason = String::from_utf8_lossy(answer.body()).chars().take(200).map(shown).collect();
            Err(PushError::Refused { status, reason })
        }
    }
}

fn later(answer: &Response<Bytes>) -> PushError {
    let text = answer.headers().get(header::RETRY_AFTER).and_then(|after| after.to_str().ok());
    PushError::Later { status: answer.status(), after: text.and_then(retry_after) }
}

/// Seconds, or a date.
fn retry_after(text: &str) -> Option<Duration> {
    if let Ok(seconds) = text.trim().parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = jiff::fmt::rfc2822::parse(text.trim()).ok()?.timestamp();
    let left_ms = date.as_millisecond() - jiff::Timestamp::now().as_millisecond();
    u64::try_from(left_ms).ok().map(Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_push_service_may_say_when_to_come_back_in_two_ways() {
        assert_eq!(retry_after("120"), Some(Duration::from_mins(2)));
        let soon = retry_after("Fri, 01 Jan 2100 00:00:00 GMT").unwrap();
        assert!(soon > Duration::from_hours(24));
        assert_eq!(retry_after("Thu, 01 Jan 1970 00:00:00 GMT"), None);
        assert_eq!(retry_after("soon"), None);
    }

    #[test]
    fn a_subscription_has_a_point_of_the_curve_and_a_secret_of_its_length() {
        let key = VapidKey::generate().public();
        let subscription = |endpoint: &str, p256dh: &str, auth: &str| Subscription {
            endpoint: endpoint.to_owned(),
            p256dh: p256dh.to_owned(),
            auth: auth.to_owned(),
        };
        let (endpoint, auth) = ("https://push.example.com/1", "BTBZMqHH6r4Tts7J_aSIgg");
        let check = |subscription| Target::of(&subscription, false).map(drop);
        assert_eq!(check(subscription(endpoint, &key, auth)), Ok(()));
        assert_eq!(check(subscription(endpoint, &key, &format!("{auth}=="))), Ok(()));
        assert_eq!(check(subscription(endpoint, &key, "AAAA")), Err(InvalidSubscription::Auth));
        let off_the_curve = URL_SAFE_NO_PAD.encode([4; 65]);
        assert_eq!(check(subscription(endpoint, &off_the_curve, auth)), Err(InvalidSubscription::PublicKey));
        let refused = check(subscription("https://127.0.0.1/", &key, auth));
        assert_eq!(refused, Err(InvalidSubscription::Endpoint(AddressError::NotPublic)));
    }
}
