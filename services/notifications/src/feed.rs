//! Notifications on their way to connections: every replica hears all announcements and hands each to its own clients.

use std::{
    collections::{HashSet, VecDeque},
    sync::Arc,
};

use parking_lot::Mutex;
use synapse_chassis::health::Condition;
use synapse_realtime::{
    close::CloseReason,
    hub::{Hub, Room},
    outbox::Piece,
    socketio::packet,
    websocket::frame,
};
use synapse_rs::{
    Event, RedisSettings,
    backoff::Backoff,
    shutdown::Shutdown,
    tail::{After, News, Tail},
};
use tokio::sync::watch;
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
    seen: Mutex<Seen>,
    is_following: watch::Sender<bool>,
}

/// The last ids that were seen.
#[derive(Debug, Default)]
struct Seen {
    ids: HashSet<Uuid>,
    order: VecDeque<Uuid>,
}

impl Seen {
    /// Whether it was not seen before.
    fn insert(&mut self, id: Uuid) -> bool {
        if !self.ids.insert(id) {
            return false;
        }
        self.order.push_back(id);
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.ids.remove(&oldest);
        }
        true
    }
}

/// A notification as a frame.
pub(crate) fn frame_of(notification: &Notification) -> Piece {
    Piece::from(frame::text(&packet::event(EVENT, &notification.to_json())))
}

impl Feed {
    /// Nobody is connected.
    pub fn new(marks: Marks) -> Arc<Self> {
        let is_following = watch::Sender::new(false);
        Arc::new(Self { hub: Hub::default(), marks, seen: Mutex::default(), is_following })
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
                News::Resumed(rewound) => {
                    tracing::info!("announcements are heard again");
                    if !rewound.is_empty() {
                        // Redis has lost some. Who comes back is shown what nobody was.
                        self.close_all(CloseReason::EventsLost);
                    }
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
                    to_flush.push(client.link.clone());
                }
                Offered::Taken => taken += 1,
                Offered::Held | Offered::No => {}
            }
        });
        for link in to_flush {
            link.flush();
        }
        if taken > 0 {
            metrics::delivered("live", taken);
            self.marks.say(id, Mark::Delivered);
        }
    }

    /// Tells every client to come back elsewhere.
    pub(crate) fn close_all(&self, reason: CloseReason) {
        self.hub.each(|client| client.link.close(reason));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_ids_are_remembered_and_older_ones_forgotten() {
        let mut seen = Seen::default();
        let id = |number: usize| Uuid::from_u128(number as u128);
        assert!((0..REMEMBERED).all(|number| seen.insert(id(number))));
        assert!(!seen.insert(id(0)) && !seen.insert(id(REMEMBERED - 1)));
        assert!(seen.insert(id(REMEMBERED)), "a new one");
        assert!(seen.insert(id(0)), "the oldest was forgotten for it");
        assert_eq!(seen.ids.len(), REMEMBERED);
    }
}
