//! Notifications on their way to connections: every replica hears all announcements and hands each to its own clients.

use std::sync::Arc;

use parking_lot::Mutex;
use synapse_chassis::health::Condition;
use synapse_realtime::{
    close::CloseReason,
    hub::{Hub, Room},
    outbox::Piece,
    recent::Recent,
    socketio::packet,
    websocket::frame,
};
use synapse_rs::{
    Event, RedisSettings,
    backoff::Backoff,
    shutdown::Shutdown,
    tail::{After, News, Tail},
};
use tokio::sync::{Notify, watch};
use uuid::Uuid;

use crate::{
    announce::{Marks, STREAM},
    client::{Client, Offered},
    metrics,
    notification::{Notification, announced},
    store::Mark,
};

/// How many announcements are remembered, to skip their repetition: more than the stream keeps.
const REMEMBERED: usize = 20_000;
/// The name of the event clients get.
const EVENT: &str = "notification";

/// Who is connected, and what has been announced.
#[derive(Debug)]
pub struct Feed {
    /// The connections, each in its user's room.
    pub hub: Hub<Client>,
    /// Where it is said what reached a connection.
    pub marks: Marks,
    seen: Mutex<Recent>,
    is_following: watch::Sender<bool>,
    /// Some announcements may not have been heard.
    pub(crate) may_lack: Notify,
}

/// Shows a client what was missed in a room, and what has come since.
pub(crate) fn show(client: &Client, room: &Room, missed: &[Notification]) {
    let frame_of = |missed: &Notification| frame::text(&packet::event(EVENT, &missed.to_json())).into();
    let mut room_left = client.link.limit() / 2;
    // The newest of them; what does not fit is shown at another connection.
    let fits = |(_, frame): &(_, Piece)| {
        let is_first = room_left == client.link.limit() / 2;
        let fits = is_first || frame.len() <= room_left;
        room_left = room_left.saturating_sub(frame.len());
        fits
    };
    let newest_first = missed.iter().rev().map(|missed| (missed.id, frame_of(missed)));
    let mut frames: Vec<_> = newest_first.take_while(fits).collect();
    frames.reverse();
    metrics::sent("missed", client.release(room, frames));
}

impl Feed {
    /// Nobody is connected.
    pub fn new(marks: Marks) -> Arc<Self> {
        let is_following = watch::Sender::new(false);
        let seen = Mutex::new(Recent::new(REMEMBERED));
        Arc::new(Self { hub: Hub::default(), marks, seen, is_following, may_lack: Notify::new() })
    }

    /// Whether announcements are heard: before that, clients would miss some.
    pub(crate) fn is_following(&self) -> bool {
        *self.is_following.borrow()
    }

    /// Hears announcements until `shutdown`.
    pub async fn follow(&self, redis: RedisSettings, ready: Condition, shutdown: Shutdown) {
        let opening = self.open(redis, &ready);
        let Some(mut tail) = shutdown.run_until_cancelled(opening).await else { return };
        self.is_following.send_replace(true);
        ready.met();
        while let Some(news) = shutdown.run_until_cancelled(tail.next()).await {
            match news {
                News::Entries(entries) => {
                    entries.iter().filter_map(|entry| entry.event.as_ref().ok()?.as_ref()).for_each(
                        |event| {
                            self.deliver(event);
                        },
                    );
                }
                News::Interrupted(error) => tracing::debug!(%error, "announcements can't be heard"),
                News::Resumed(_) => {
                    tracing::info!("announcements are heard again");
                    // Some may have been trimmed away meanwhile, or lost by a fail-over, which can't always be seen.
                    self.may_lack.notify_one();
                }
            }
        }
    }

    async fn open(&self, redis: RedisSettings, ready: &Condition) -> Tail {
        let mut backoff = Backoff::default();
        loop {
            match Tail::open(redis.clone(), &[STREAM.to_owned()], After::Now).await {
                Ok(tail) => return tail,
                Err(error) => {
                    if backoff.attempts() == 0 {
                        tracing::warn!(%error, "waiting for redis");
                    }
                    ready.waiting_because(error.to_string());
                }
            }
            tokio::time::sleep(backoff.next_delay()).await;
        }
    }

    /// Hands an announcement to the connections of its user.
    fn deliver(&self, event: &Event) {
        let Some((user, id, shown)) = announced(event) else { return };
        if !self.seen.lock().insert(id) {
            metrics::skipped();
            return;
        }
        let Ok(room) = Room::user(user) else { return };
        let (mut shared, mut taken, mut to_flush) = (None, 0, Vec::new());
        self.hub.each_in(&room, |client| {
            let frame = shared.get_or_insert_with(|| Piece::from(frame::text(&packet::event(EVENT, &shown))));
            match client.offer(id, frame) {
                Offered::FlushIt => {
                    taken += 1;
                    to_flush.push(client.clone());
                }
                Offered::Taken => {
                    taken += 1;
                    client.link.nudge();
                }
                Offered::Held | Offered::No => {}
            }
        });
        for client in to_flush {
            client.link.flush();
            client.link.nudge();
        }
        metrics::sent("live", taken);
    }

    /// Notes that a client has got these.
    pub(crate) fn arrived(&self, ids: Vec<Uuid>) {
        metrics::delivered(ids.len());
        for id in ids {
            self.marks.say(id, Mark::Delivered);
        }
    }

    /// Tells every client to come back elsewhere.
    pub(crate) fn close_all(&self, reason: CloseReason) {
        self.hub.each(|client| client.link.close(reason));
    }
}
