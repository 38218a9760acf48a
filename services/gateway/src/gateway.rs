//! What all connections share, and the life of one connection.

use std::{net::IpAddr, sync::Arc, time::Duration};

use synapse_chassis::{
    identity::{Identity, Refusal},
    request::Bodies,
    service::Service,
};
use synapse_realtime::{
    close::CloseReason,
    connections::Connections,
    driver::{Ending, Intake, drive},
    hub::Room,
    limits::{AddressPermit, UserLimit, UserPermit},
    link::Link,
    socketio::{application::Failure, polling::Polled, session::SocketIo},
    websocket::handshake::Upgrade,
};
use synapse_rs::shutdown::Shutdown;
use tokio::{
    sync::{Semaphore, watch},
    time::{Instant, sleep},
};

use crate::{
    audience::Audiences,
    client::Client,
    feed::Feed,
    frames::Protocol,
    handshake::Hello,
    lag,
    memory::Memories,
    metrics,
    reader::Reader,
    redis_access::RedisAccess,
    relay::Relay,
    resume::Resume,
    sealed::Sealer,
    settings::Settings,
    socketio::{self, SocketIoClient},
    websocket::WebSocketClient,
    who::{Who, Word},
};

/// The part of the grace over which clients are told that the gateway leaves.
const TELLING_OF_GRACE: f64 = 0.5;
/// The part of the grace in which they go.
const GOODBYES_OF_GRACE: f64 = 0.8;

/// How often it is looked how much waits for clients.
const WEIGHED_EVERY: Duration = Duration::from_secs(1);

/// Memory for the bodies of requests.
const BODIES_BYTES: usize = 16 << 20;

/// What all connections share.
#[derive(Debug)]
pub struct Gateway {
    /// The gateway's own settings.
    pub settings: Settings,
    /// Events on their way.
    pub feed: Arc<Feed>,
    /// How clients come back.
    pub resume: Resume,
    /// What clients find again that come back to Socket.IO.
    pub(crate) memories: Memories,
    /// What is said beside the events, on all replicas.
    pub(crate) relay: Relay,
    /// Reads the bodies of requests.
    pub(crate) bodies: Bodies,
    pub(crate) service: Service,
    pub(crate) connections: Connections,
    /// Connections of each user, where they are limited.
    users: UserLimit,
    is_loaded: watch::Receiver<bool>,
}

impl Gateway {
    /// Starts reading the streams; what must be over when the service leaves is spawned on it.
    pub fn start(settings: Settings, service: &Service) -> Arc<Self> {
        metrics::describe();
        let redis = service.common.redis.clone();
        let feed = Arc::new(Feed::new(settings.history));
        let sealer = Sealer { audiences: Audiences { is_open: service.authenticator.is_open() } };
        let reader = Reader::new(redis.clone(), feed.clone(), sealer, &settings);
        let (standing, shutdown) = (reader.standing(), service.shutdown.clone());
        let telling = lag::tell(redis.clone(), standing, shutdown);
        let is_loaded = reader.is_loaded();
        let mut loaded = is_loaded.clone();
        let ready = service.readiness.condition("history");
        let (memories, writing) = Memories::new(redis.clone(), settings.ping_interval);
        let gateway = Arc::new(Self {
            resume: Resume {
                feed: feed.clone(),
                redis: Arc::new(RedisAccess::new(redis.clone())),
                sealer,
                looking: Arc::new(Semaphore::new(1)),
            },
            relay: Relay::new(redis.clone(), feed.clone()),
            memories,
            bodies: Bodies::new(settings.max_message_bytes, BODIES_BYTES),
            feed,
            service: service.clone(),
            connections: Connections::new(settings.connections(service.common.max_connections)),
            users: UserLimit::default(),
            settings,
            is_loaded,
        });
        let reading = Shutdown::new();
        let relaying = reading.clone();
        let (shutdown, drained, end_reading) = (service.shutdown.clone(), gateway.clone(), reading.clone());
        service.spawn("drain", async move {
            shutdown.cancelled().await;
            drained.drain().await;
            end_reading.cancel();
            drained.relay.close().await;
        });
        let mut followed = gateway.relay.is_following();
        service.spawn("reader", async move {
            tokio::select! {
                () = reader.run(reading) => {}
                () = async {
                    let is = |is: &bool| *is;
                    if loaded.wait_for(is).await.is_ok() && followed.wait_for(is).await.is_ok() {
                        ready.met();
                    }
                    std::future::pending::<()>().await;
                } => {}
            }
        });
        let mut loaded = gateway.is_loaded.clone();
        service.spawn("lag", async move {
            // Before that it stands nowhere.
            if loaded.wait_for(|loaded| *loaded).await.is_ok() {
                telling.await;
            }
        });
        let (weighed, shutdown) = (gateway.clone(), service.shutdown.clone());
        service.spawn("outboxes", async move {
            shutdown.run_until_cancelled(weighed.weigh_outboxes()).await;
        });
        let (keeper, shutdown) = (gateway.clone(), service.shutdown.clone());
        service.spawn("memories", async move { keeper.memories.write(writing, shutdown).await });
        // Who has not been told to leave is told everything.
        let relay = gateway.clone();
        service.spawn("relay", async move { relay.relay.follow(relaying).await });
        let (relay, shutdown) = (gateway.clone(), service.shutdown.clone());
        service.spawn("relay's stream", async move {
            shutdown.run_until_cancelled(relay.relay.keep_short()).await;
        });
        gateway
    }

    /// Tells every client to come back elsewhere, a few at a time so that they do not come there all at once, and waits
    /// until all have gone; those that take too long to hear it are left without. Who has not been told yet gets
    /// events as before.
    async fn drain(&self) {
        let grace = self.service.common.shutdown_grace;
        let begun = Instant::now();
        self.feed.close_by_and_by(CloseReason::Draining, grace.mul_f64(TELLING_OF_GRACE)).await;
        self.connections.drain(grace.mul_f64(GOODBYES_OF_GRACE).saturating_sub(begun.elapsed())).await;
    }

    /// Looks now and then how much waits for clients, and lets it not be too much.
    async fn weigh_outboxes(&self) {
        loop {
            let (sum, most) = self.feed.weigh_outboxes(self.settings.outboxes_bytes);
            metrics::waiting(sum, most);
            sleep(WEIGHED_EVERY).await;
        }
    }

    pub(crate) fn shutdown(&self) -> &Shutdown {
        &self.service.shutdown
    }

    /// Whether no key is set, so that identity is by the client's word.
    pub fn is_open(&self) -> bool {
        self.service.authenticator.is_open()
    }

    /// Whether clients can be told where they stand.
    pub(crate) fn is_loaded(&self) -> bool {
        *self.is_loaded.borrow()
    }

    /// The address of a client, for limits.
    pub(crate) fn address_of(&self, peer: IpAddr, headers: &http::HeaderMap) -> IpAddr {
        self.service.authenticator.admission().client_address(peer, headers)
    }

    // === who is who ===

    /// Who asks by HTTP.
    pub(crate) async fn require(&self, headers: &http::HeaderMap) -> Result<Identity, Refusal> {
        self.service.authenticator.require(headers).await
    }

    /// Who connects with this token, or says to be whom.
    pub(crate) async fn identify(&self, token: Option<&str>, word: Word) -> Result<Who, Refusal> {
        let identity = self.service.authenticator.identify(token).await?;
        Who::of(identity, word)
    }

    /// The rooms that are somebody's own.
    pub(crate) fn own_rooms(&self, who: &Who) -> Result<Vec<Room>, Failure> {
        let mut own = Vec::with_capacity(2);
        if let Some(user) = &who.user {
            own.push(Room::user(user).map_err(|error| Failure::new("invalid_user", error.to_string()))?);
        }
        if let Some(organisation) = &who.organisation {
            let room = Room::organisation(organisation);
            own.push(room.map_err(|error| Failure::new("invalid_organization", error.to_string()))?);
        }
        if !self.is_open() && who.has_scope("events:all") {
            own.push(Room::AllEvents);
        }
        Ok(own)
    }

    /// A place among somebody's connections; none for nobody, or where there is no limit.
    pub(crate) fn place_of(&self, who: &Who) -> Result<Option<UserPermit>, Failure> {
        let limit = self.settings.max_connections_per_user;
        let Some(user) = who.user.as_deref().filter(|_| limit > 0) else { return Ok(None) };
        let place = self.users.acquire(user.into(), limit).ok_or_else(|| {
            let reason = CloseReason::TooManyConnections;
            metrics::refused(reason.name());
            Failure::new(reason.name(), reason.message())
        })?;
        Ok(Some(place))
    }

    /// Puts a client into the rooms that are its own, and out of those that were.
    pub(crate) fn assume(&self, client: &Arc<Client>, who: &Who) -> Result<(), Failure> {
        let own = self.own_rooms(who)?;
        if !who.user.as_ref().is_some_and(|user| client.has_place_of(user)) {
            client.take_place(self.place_of(who)?);
        }
        for room in client.replace_own_rooms(own) {
            self.feed.hub.part(&room, client);
        }
        for room in client.own_rooms() {
            self.feed.hub.join(&room, client);
        }
        Ok(())
    }

    /// Puts a client into a room that it names: any but another user's.
    pub(crate) fn join(&self, client: &Arc<Client>, who: &Who, room: &Room) -> Result<(), Failure> {
        if let Room::User(user) = room
            && !who.may_act_as(user)
        {
            return Err(Failure::new("not_yours", "this room belongs to another user"));
        }
        let limit = self.settings.max_rooms;
        if client.note_room(room, limit).is_none() {
            return Err(Failure::new(
                "too_many_rooms",
                format!("a connection may be in at most {limit} rooms"),
            ));
        }
        self.feed.hub.join(room, client);
        Ok(())
    }

    /// Takes a client out of a room that it has joined, unless it is its own.
    pub(crate) fn part(&self, client: &Arc<Client>, room: &Room) {
        if client.forget_room(room) {
            self.feed.hub.part(room, client);
        }
    }

    /// Takes a client out of every room and hands it nothing more.
    pub(crate) fn retire(&self, client: &Arc<Client>) {
        client.silence();
        for room in client.take_rooms() {
            self.feed.hub.part(&room, client);
        }
    }

    // === the life of a connection ===

    /// Serves a connection to its end, once its handshake has been answered.
    pub(crate) fn serve(
        self: &Arc<Self>,
        protocol: Protocol,
        upgrade: Upgrade,
        hello: Box<Hello>,
        place: Place,
    ) {
        let gateway = self.clone();
        let converse = async move |link, intake| gateway.converse(protocol, link, intake, hello).await;
        self.connections.serve(upgrade, place, converse, move |ending| ended(protocol, ending));
    }

    /// The same for a Socket.IO client that polls.
    pub(crate) fn serve_polled(
        self: &Arc<Self>,
        hello: Box<Hello>,
        place: AddressPermit,
    ) -> Option<Arc<Polled>> {
        let (gateway, protocol) = (self.clone(), Protocol::SocketIo);
        let converse = async move |link, intake| gateway.converse(protocol, link, intake, hello).await;
        self.connections.serve_polled(place, converse, move |ending| ended(protocol, ending))
    }

    async fn converse(
        self: &Arc<Self>,
        protocol: Protocol,
        link: Arc<Link>,
        mut intake: Box<Intake>,
        hello: Box<Hello>,
    ) -> Ending {
        let protocol = match protocol {
            Protocol::SocketIo if hello.resumes => Protocol::SocketIoWithOffsets,
            protocol => protocol,
        };
        let present = Present::new(self, Client::new(link, protocol));
        if self.shutdown().is_cancelled() {
            present.client.link.close(CloseReason::Draining);
        }
        self.drive(&present.client, &mut intake, hello).await
    }

    async fn drive(self: &Arc<Self>, client: &Arc<Client>, intake: &mut Intake, hello: Box<Hello>) -> Ending {
        if client.protocol.is_socketio() {
            let application = SocketIoClient::new(self.clone(), client.clone(), hello);
            let rules = socketio::rules(&self.settings);
            let link = &client.link;
            drive(link, &mut SocketIo::new(link.clone(), intake.sid(), application, rules), intake).await
        } else {
            let mut session = WebSocketClient::new(self.clone(), client.clone(), hello);
            drive(&client.link, &mut session, intake).await
        }
    }
}

pub(crate) fn ended(protocol: Protocol, ending: Ending) {
    metrics::ended(ending);
    tracing::debug!(protocol = protocol.name(), ?ending, "a connection has ended");
}

/// A client that is in the hub; it leaves when this is dropped, however its connection ends.
pub(crate) struct Present<'a> {
    gateway: &'a Gateway,
    pub(crate) client: Arc<Client>,
}

impl<'a> Present<'a> {
    pub(crate) fn new(gateway: &'a Gateway, client: Arc<Client>) -> Self {
        gateway.feed.hub.enter(&client);
        metrics::connected(client.protocol);
        Self { gateway, client }
    }
}

impl Drop for Present<'_> {
    fn drop(&mut self) {
        self.gateway.retire(&self.client);
        self.gateway.feed.hub.leave(&self.client);
        metrics::disconnected(self.client.protocol);
    }
}

/// A connection's places under the limits; given back when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) _address: AddressPermit,
    pub(crate) _peer: synapse_chassis::serve::Peer,
}
