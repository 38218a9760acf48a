//! What all requests and connections share, and the life of a connection.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use futures_util::StreamExt as _;
use synapse_chassis::{
    identity::{Identity, Refusal},
    request::Bodies,
    service::Service,
};
use synapse_realtime::{
    close::CloseReason,
    connections::{Connections, Limits},
    driver::{Ending, Intake, drive},
    hub::Room,
    limits::{AddressPermit, Limit},
    link::Link,
    socketio::{
        engine::Heartbeat,
        polling::Polled,
        session::{Rules, SocketIo},
    },
    websocket::handshake::Upgrade,
};
use tokio::time::Instant;

use crate::{
    client::Client,
    feed::{Feed, show},
    metrics,
    notification::Notification,
    push::Sender,
    settings::Settings,
    socketio::SocketIoClient,
    store::Store,
};

/// How much of what was missed is shown when a user connects; the rest is in the inbox.
const MAX_MISSED: usize = 100;
/// The same in bytes, if the outbox takes as much: a client on a slow line must have read them in time to answer the ping
/// behind them.
const MAX_MISSED_BYTES: usize = 128 << 10;
/// How many connections at once are looked after when announcements may have been lost.
const CATCHING_UP: usize = 8;
/// The largest body of a request, and the memory for all of them.
const BODY_BYTES: usize = 256 << 10;
const BODIES_BYTES: usize = 64 << 20;
/// The part of the grace in which clients are told that the service leaves.
const GOODBYES_OF_GRACE: f64 = 0.8;

/// What all requests and connections share.
#[derive(Debug)]
pub struct Platform {
    /// The service's own settings.
    pub settings: Settings,
    /// What is kept.
    pub store: Store,
    /// Notifications on their way.
    pub feed: Arc<Feed>,
    /// Sends pushes.
    pub sender: Arc<Sender>,
    /// Reads the bodies of requests.
    pub bodies: Bodies,
    /// The process around it.
    pub service: Service,
    /// Requests to push, by user.
    pub(crate) pushing: Limit<String>,
    pub(crate) connections: Connections,
}

/// On whose behalf a connection acts.
#[derive(Clone, Debug)]
pub(crate) struct Who {
    pub(crate) user: String,
    pub(crate) room: Room,
    /// When the token expires.
    pub(crate) expires_at: Option<Instant>,
}

/// A connection's places under the limits; given back when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) address: AddressPermit,
    pub(crate) _peer: synapse_chassis::serve::Peer,
}

impl Platform {
    /// Nobody is connected yet.
    pub fn new(
        settings: Settings,
        store: Store,
        feed: Arc<Feed>,
        sender: Arc<Sender>,
        service: &Service,
    ) -> Arc<Self> {
        Arc::new(Self {
            connections: Connections::new(Limits {
                max_polled: service.common.max_connections,
                ..settings.limits
            }),
            pushing: Limit::default(),
            bodies: Bodies::new(BODY_BYTES, BODIES_BYTES),
            service: service.clone(),
            settings,
            store,
            feed,
            sender,
        })
    }

    /// Who sends a request.
    pub(crate) async fn require(&self, headers: &http::HeaderMap) -> Result<Identity, Refusal> {
        self.service.authenticator.require(headers).await
    }

    /// Waits for the service to leave, and tells every client to come back elsewhere.
    pub async fn drain_connections(self: Arc<Self>) {
        self.service.shutdown.cancelled().await;
        self.feed.close_all(CloseReason::Draining);
        self.connections.drain(self.service.common.shutdown_grace.mul_f64(GOODBYES_OF_GRACE)).await;
    }

    /// Puts a connection into its user's room, and looks up what the user missed. Until [`show`] what comes
    /// is held back, so that nothing is lost between the two.
    pub(crate) async fn admit(&self, client: &Arc<Client>, who: &Who) -> Vec<Notification> {
        // It renews its token: it has got everything, whatever is written of that yet.
        if client.is_followed(&who.room) {
            return Vec::new();
        }
        if client.room().is_some_and(|before| before != who.room) {
            self.retire(client);
        }
        client.hold(who.room.clone());
        self.feed.hub.join(&who.room, client);
        self.missed(who.user.clone()).await
    }

    /// What a user missed, the newest of it.
    async fn missed(&self, user: String) -> Vec<Notification> {
        let max_bytes = MAX_MISSED_BYTES.min(self.settings.limits.outbox_bytes / 2);
        match self.store.missed(user.clone(), MAX_MISSED, max_bytes).await {
            Ok(missed) => {
                if let Some(sequence) = missed.passed_over {
                    self.feed.marks.pass_over(user, sequence);
                }
                missed.notifications
            }
            Err(error) => {
                metrics::missed_failed();
                tracing::warn!(%error, "what a user missed can't be looked up; it is shown at the next connection");
                Vec::new()
            }
        }
    }

    /// Shows connected users what they missed each time that announcements may have been lost, until the service leaves.
    pub async fn catch_up(self: Arc<Self>) {
        let shutdown = self.service.shutdown.clone();
        while shutdown.run_until_cancelled(self.feed.may_lack.notified()).await.is_some() {
            let mut clients = Vec::new();
            self.feed.hub.each(|client| clients.push(client.clone()));
            let each = futures_util::stream::iter(clients).for_each_concurrent(CATCHING_UP, |client| {
                let platform = self.clone();
                async move { platform.catch_up_one(&client).await }
            });
            shutdown.run_until_cancelled(each).await;
        }
    }

    async fn catch_up_one(&self, client: &Client) {
        let Some(room) = client.hold_again() else { return };
        let Room::User(user) = &room else { return };
        let missed = self.missed(user.to_string()).await;
        show(client, &room, &missed);
    }

    /// Takes a connection out of its room.
    pub(crate) fn retire(&self, client: &Arc<Client>) {
        if let Some(room) = client.silence() {
            self.feed.hub.part(&room, client);
        }
    }

    /// Serves a connection to its end, once its handshake has been answered.
    pub(crate) fn serve(self: &Arc<Self>, upgrade: Upgrade, token: Option<String>, place: Place) {
        let platform = self.clone();
        let converse = async move |link, intake| platform.converse(link, intake, token).await;
        self.connections.serve(upgrade, place, converse, ended);
    }

    /// The same for a client that polls.
    pub(crate) fn serve_polled(
        self: &Arc<Self>,
        token: Option<String>,
        place: AddressPermit,
    ) -> Option<Arc<Polled>> {
        let platform = self.clone();
        let converse = async move |link, intake| platform.converse(link, intake, token).await;
        self.connections.serve_polled(place, converse, ended)
    }

    async fn converse(
        self: &Arc<Self>,
        link: Arc<Link>,
        mut intake: Box<Intake>,
        token: Option<String>,
    ) -> Ending {
        let present = Present::new(self, Client::new(link));
        if self.service.shutdown.is_cancelled() {
            present.client.link.close(CloseReason::Draining);
        }
        let link = present.client.link.clone();
        let application = SocketIoClient::new(self.clone(), present.client.clone(), token);
        let mut session = SocketIo::new(link.clone(), intake.sid(), application, self.rules());
        drive(&link, &mut session, &mut intake).await
    }

    fn rules(&self) -> Rules {
        let settings = &self.settings;
        Rules {
            heartbeat: Heartbeat { interval: settings.ping_interval, timeout: settings.ping_timeout },
            max_payload: settings.limits.max_message_bytes,
            connect_timeout: settings.limits.connect_timeout,
        }
    }
}

/// When an identity's token expires, for timers.
pub(crate) fn expiry_of(identity: &Identity) -> Option<Instant> {
    identity.expires_at.map(|end| {
        let left = end.duration_since(SystemTime::now()).unwrap_or(Duration::ZERO);
        // Beyond any timer is as good as never.
        Instant::now() + left.min(Duration::from_hours(24 * 365))
    })
}

fn ended(ending: Ending) {
    if let Ending::ServerClosed(reason) = ending {
        metrics::disconnected(reason.code());
    }
    tracing::debug!(?ending, "a connection has ended");
}

/// A client that is in the hub; it leaves when this is dropped, however its connection ends.
struct Present<'a> {
    platform: &'a Platform,
    client: Arc<Client>,
}

impl<'a> Present<'a> {
    fn new(platform: &'a Platform, client: Arc<Client>) -> Self {
        platform.feed.hub.enter(&client);
        Self { platform, client }
    }
}

impl Drop for Present<'_> {
    fn drop(&mut self) {
        self.platform.retire(&self.client);
        self.platform.feed.hub.leave(&self.client);
    }
}
