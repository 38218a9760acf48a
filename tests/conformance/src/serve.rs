//! Requests, and the connections they open.

use std::{collections::HashMap, sync::Arc, time::Duration};

use axum::{
    body::Body,
    extract::{Query, Request, State},
    http::StatusCode,
    response::{IntoResponse as _, Response},
};
use synapse_chassis::serve::Peer;
use synapse_realtime::{
    connections::{Connections, Limits},
    driver::{Ending, Intake, drive},
    link::Link,
    socketio::{
        engine::Heartbeat,
        requests::{self, Asked},
        session::{Rules, SocketIo},
    },
    websocket::handshake::{Handshake, Upgrade},
};
use tokio::time::Instant;

use crate::{Protocol, Settings, engine::Echo, socket::Echoes};

/// What the suites expect.
pub(crate) const MAX_PAYLOAD: usize = 1_000_000;
/// How much earlier than promised a ping is sent. The suites look exactly at its last moment whether a session that
/// does not answer is gone, and Node's timers may be early by a millisecond as ours may be late on a busy machine.
const AHEAD: Duration = Duration::from_millis(50);
/// Mocha gives a test two seconds.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
const OUTBOX_BYTES: usize = 4 << 20;
const MAX_POLLED: usize = 10_000;
const PATIENCE: Duration = Duration::from_secs(2);

pub(crate) struct Server {
    settings: Settings,
    connections: Connections,
}

impl Server {
    pub(crate) fn new(settings: Settings) -> Self {
        let connections = Connections::new(Limits {
            outbox_bytes: OUTBOX_BYTES,
            max_message_bytes: MAX_PAYLOAD,
            max_messages_per_second: 0,
            max_connections_per_address: 0,
            max_polled: MAX_POLLED,
            connect_timeout: CONNECT_TIMEOUT,
        });
        Self { settings, connections }
    }

    pub(crate) async fn drain(&self) {
        self.connections.drain(PATIENCE).await;
    }
}

/// By when the next ping is to be sent.
pub(crate) fn next_ping(heartbeat: Heartbeat) -> Instant {
    Instant::now() + heartbeat.interval.saturating_sub(AHEAD)
}

async fn converse(
    Settings { protocol, heartbeat }: Settings,
    link: Arc<Link>,
    mut intake: Box<Intake>,
) -> Ending {
    match protocol {
        Protocol::Engine => {
            drive(&link, &mut Echo::new(link.clone(), intake.sid(), heartbeat), &mut intake).await
        }
        Protocol::Socket => {
            let rules = Rules { heartbeat, max_payload: MAX_PAYLOAD, connect_timeout: CONNECT_TIMEOUT };
            let application = Echoes::new(link.clone(), heartbeat);
            drive(&link, &mut SocketIo::new(link.clone(), intake.sid(), application, rules), &mut intake)
                .await
        }
    }
}

pub(crate) async fn answer(
    State(server): State<Arc<Server>>,
    Query(parameters): Query<HashMap<String, String>>,
    request: Request,
) -> Response {
    let parameter = |name| parameters.get(name).map(String::as_str);
    let query = requests::Query {
        version: parameter("EIO"),
        transport: parameter("transport"),
        session: parameter("sid"),
    };
    let (settings, connections) = (server.settings, &server.connections);
    let peer = request.extensions().get::<Peer>().cloned();
    let talk = move |link, intake| converse(settings, link, intake);
    let session = match Asked::of(connections, request.method(), query) {
        Ok(Asked::WebSocket) => {
            return upgraded(request, |upgrade| connections.serve(upgrade, peer, talk, |_| {}));
        }
        Ok(Asked::Upgrade(session)) => {
            return upgraded(request, |upgrade| connections.upgrade(session, upgrade, peer));
        }
        Ok(Asked::Polling) => match connections.serve_polled((), talk, |_| {}) {
            Some(session) => session,
            None => return StatusCode::SERVICE_UNAVAILABLE.into_response(),
        },
        Ok(Asked::Poll(session)) => session,
        Err(error) => return requests::refuse(error).map(Body::new),
    };
    requests::answer(&session, request, MAX_PAYLOAD).await.map(Body::new)
}

fn upgraded(mut request: Request, serve: impl FnOnce(Upgrade)) -> Response {
    match Handshake::of(&mut request) {
        Ok(handshake) => {
            let (response, upgrade) = handshake.accept::<Body>();
            serve(upgrade);
            response
        }
        Err(error) => (error.status(), error.to_string()).into_response(),
    }
}
