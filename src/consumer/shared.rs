//! What the tasks of a subscription share, and how they wake one another.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use serde_json::Value;
use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};
use tracing::warn;

use super::{
    ConsumerConfig, ConsumerStats, Delivery,
    dispatch::{Body, Content, Dispatcher, Outlook, Parcel, Place, Rules, Verdict},
    stats::Counters,
};
use crate::{
    config::RedisSettings,
    event::{
        Event,
        decode::{Decoded, decode},
    },
    filter::reach,
    shutdown::Shutdown,
    stream::{Entry, EntryId, SharedConnection, read::Member},
    sync::Mutex,
};

/// How many entries may be in hand at once, those that wait to be delivered again included.
const MAX_IN_HAND: usize = 100_000;

/// What an entry is taken to be large before any was seen.
const TYPICAL_ENTRY_BYTES: usize = 1024;

/// How long entries that are to be tried alone hold up the others at most.
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(super) struct Shared {
    pub config: ConsumerConfig,
    pub consumer: String,
    pub redis: SharedConnection,
    pub streams: Vec<StreamState>,
    pub signals: Signals,
    /// Ends reading, renewing and delivering again.
    pub stop: Shutdown,
    /// Ends burying.
    pub drained: Shutdown,
    /// Ends settling, and with it the membership.
    pub leave: Shutdown,
    pub lost_connections: AtomicU64,
    /// What an entry is large, as far as was seen lately.
    pub entry_bytes: AtomicUsize,
    dispatcher: Mutex<Dispatcher>,
}

#[derive(Debug)]
pub(super) struct StreamState {
    pub name: Arc<str>,
    pub counters: Counters,
}

/// A bell for each task.
#[derive(Debug, Default)]
pub(super) struct Signals {
    pub taker: Notify,
    pub reader: Notify,
    pub clerk: Notify,
    pub retrier: Notify,
    pub undertaker: Notify,
}

impl Shared {
    pub(super) fn new(settings: RedisSettings, config: ConsumerConfig) -> Self {
        let state = |name: &String| StreamState {
            name: name.as_str().into(),
            counters: Counters::new(name, &config.group),
        };
        let rules = Rules {
            max_deliveries: config.max_deliveries,
            backoff: config.backoff,
            patience: PATIENCE.min(config.min_idle / 4),
            batch: config.batch,
            bytes: config.max_in_hand_bytes,
            in_hand: MAX_IN_HAND,
        };
        Self {
            streams: config.streams.iter().map(state).collect(),
            dispatcher: Mutex::new(Dispatcher::new(config.streams.len(), rules, Instant::now())),
            consumer: consumer_name(),
            redis: SharedConnection::new(settings),
            signals: Signals::default(),
            stop: Shutdown::new(),
            drained: Shutdown::new(),
            leave: Shutdown::new(),
            lost_connections: AtomicU64::new(0),
            entry_bytes: AtomicUsize::new(TYPICAL_ENTRY_BYTES),
            config,
        }
    }

    pub(super) fn member(&self) -> Member<'_> {
        Member { group: &self.config.group, consumer: &self.consumer }
    }

    /// The number of one of our streams.
    pub(super) fn number(&self, name: &str) -> Option<usize> {
        self.streams.iter().position(|stream| &*stream.name == name)
    }

    /// Does something with the dispatcher and wakes who has something to do for it.
    pub(super) fn with<T>(&self, act: impl FnOnce(&mut Dispatcher) -> T) -> T {
        let (result, wakes) = {
            let mut dispatcher = self.dispatcher.lock();
            let result = act(&mut dispatcher);
            (result, dispatcher.take_wakes())
        };
        for (is_woken, signal) in [
            (wakes.taker, &self.signals.taker),
            (wakes.reader, &self.signals.reader),
            (wakes.clerk, &self.signals.clerk),
            (wakes.retrier, &self.signals.retrier),
            (wakes.undertaker, &self.signals.undertaker),
        ] {
            if is_woken {
                signal.notify_one();
            }
        }
        result
    }

    /// Waits until there may be something to take. Safe to cancel.
    pub(super) async fn ready(&self) {
        // Whoever is woken and does not take, because it was cancelled or its turn was over, wakes the next.
        let _passed_on = PassOn(&self.signals.taker);
        loop {
            let news = self.signals.taker.notified();
            let outlook = self.dispatcher.lock().outlook(Instant::now());
            match outlook {
                Outlook::Now => return,
                Outlook::At(time) => {
                    tokio::select! {
                        () = news => {}
                        () = sleep_until(time) => {}
                    }
                }
                Outlook::Later => news.await,
            }
        }
    }

    /// At most `max` events that are ready; those that can't be read or are not wanted are settled here and now.
    pub(super) fn take(&self, max: usize, singly: bool) -> Vec<Delivery> {
        loop {
            let parcels = self.with(|dispatcher| dispatcher.take(Instant::now(), max, singly));
            let (mut taken, mut settled) = (Vec::with_capacity(parcels.len()), Vec::new());
            let is_empty = parcels.is_empty();
            for Parcel { place, deliveries, body } in parcels {
                let event = match body {
                    Body::Event(event) => Ok(event),
                    Body::Entry(entry) => self.decode(place, &entry),
                };
                match event {
                    Ok(event) => {
                        let stream = self.streams[place.stream].name.clone();
                        taken.push(Delivery { stream, id: place.id, deliveries, event });
                    }
                    Err(verdict) => settled.push((place, verdict)),
                }
            }
            if !settled.is_empty() {
                let now = Instant::now();
                self.with(|dispatcher| {
                    for (place, verdict) in settled {
                        dispatcher.settle(now, place, verdict);
                    }
                });
            }
            if is_empty || !taken.is_empty() {
                self.count_delivered(&taken);
                return taken;
            }
        }
    }

    fn count_delivered(&self, taken: &[Delivery]) {
        for of_stream in taken.chunk_by(|one, next| one.stream == next.stream) {
            if let Some(number) = self.number(&of_stream[0].stream) {
                self.streams[number].counters.delivered.add(of_stream.len());
            }
        }
    }

    /// How many more entries of the usual size may be read; 0 if there is no room.
    pub(super) fn room(&self) -> usize {
        self.dispatcher.lock().room(self.entry_bytes.load(Ordering::Relaxed))
    }

    /// How many entries that are delivered again may be read; 0 if memory is full of what others are to take first.
    pub(super) fn room_to_read_again(&self) -> usize {
        let (ready, bytes, _) = self.dispatcher.lock().load();
        let bytes_left = self.config.max_in_hand_bytes.saturating_sub(bytes);
        let room = bytes_left / self.entry_bytes.load(Ordering::Relaxed).max(1);
        if ready == 0 { room.max(1) } else { room }
    }

    /// What entries that are in hand turn out to be.
    pub(super) fn bring(&self, entries: impl IntoIterator<Item = (Place, u32, Entry)>) {
        // Looked into before the dispatcher is locked: takers are not to wait for it.
        let contents = entries
            .into_iter()
            .map(|(place, deliveries, entry)| (place, self.content(place, deliveries, entry)));
        let contents: Vec<_> = contents.collect();
        self.with(|dispatcher| {
            for (place, content) in contents {
                dispatcher.bring(place, content);
            }
        });
    }

    /// Decoding is left to who takes the entry, unless it has to be looked into before.
    fn content(&self, place: Place, deliveries: u32, entry: Entry) -> Content {
        let size_bytes = entry.size_bytes();
        if self.config.ordered_by.is_none() && self.config.condition.is_none() {
            let parcel = Parcel { place, deliveries, body: Body::Entry(entry) };
            return Content::Parcel { parcel, key: None, size_bytes };
        }
        match self.decode(place, &entry) {
            Ok(event) => {
                let path = self.config.ordered_by.as_deref();
                let key = path.and_then(|path| reach(event.fields(), path)).and_then(key_of);
                let parcel = Parcel { place, deliveries, body: Body::Event(event) };
                Content::Parcel { parcel, key, size_bytes }
            }
            Err(Verdict::Permanent { error, .. }) => Content::Undecodable(error),
            Err(_) => Content::Nothing,
        }
    }

    /// The event of an entry, or what becomes of one that has none for the handler.
    fn decode(&self, place: Place, entry: &Entry) -> Result<Event, Verdict> {
        let StreamState { name, counters } = &self.streams[place.stream];
        if entry.fields().len() == 0 {
            self.count_lost(place.stream, 1);
            return Err(Verdict::Done);
        }
        let event = match decode(name, entry.fields()) {
            Ok(Decoded::Event(event)) => event,
            Ok(Decoded::Nameless) => {
                counters.nameless.add(1);
                return Err(Verdict::Done);
            }
            Err(error) => {
                return Err(Verdict::Permanent { reason: "undecodable", error: error.to_string() });
            }
        };
        if self.config.condition.as_ref().is_some_and(|condition| !condition.matches(&event)) {
            counters.unwanted.add(1);
            return Err(Verdict::Done);
        }
        Ok(event)
    }

    /// Entries that were trimmed away before they were handled.
    pub(super) fn count_lost(&self, stream: usize, count: usize) {
        let StreamState { name, counters } = &self.streams[stream];
        counters.lost.add(count);
        warn!(
            stream = %name,
            group = self.config.group,
            count,
            "entries were trimmed away before they were handled; raise the stream's maxlen or its retention"
        );
    }

    pub(super) fn stats(&self) -> ConsumerStats {
        let (ready, bytes, in_hand) = self.dispatcher.lock().load();
        let mut stats = ConsumerStats {
            lost_connections: self.lost_connections.load(Ordering::Relaxed),
            in_hand: in_hand as u64,
            ready: ready as u64,
            in_hand_bytes: bytes as u64,
            ..ConsumerStats::default()
        };
        for stream in &self.streams {
            stream.counters.add_to(&mut stats);
        }
        stats
    }

    /// Up to where each stream is settled, as far as it came to us; with `confirmed`, as far as Redis knows.
    pub(super) fn positions(&self, confirmed: bool) -> Vec<(Arc<str>, EntryId)> {
        let dispatcher = self.dispatcher.lock();
        let position = |(number, stream): (usize, &StreamState)| {
            let id = if confirmed {
                dispatcher.acknowledged_up_to(number)
            } else {
                dispatcher.settled_up_to(number)
            };
            (stream.name.clone(), id)
        };
        self.streams.iter().enumerate().map(position).collect()
    }
}

/// The value by which events are ordered; `None` if it is nothing.
fn key_of(value: &Value) -> Option<Arc<str>> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.as_str().into()),
        other => Some(other.to_string().into()),
    }
}

/// A name that no other process, and no other consumer of this one, has.
fn consumer_name() -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("{}-{}-{count}-{:08x}", host.trim(), std::process::id(), fastrand::u32(..))
}

/// Rings a bell when it goes.
struct PassOn<'a>(&'a Notify);

impl Drop for PassOn<'_> {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

/// Waits for a bell, at most until `time`.
pub(super) async fn notified_until(bell: &Notify, time: Option<Instant>) {
    match time {
        None => bell.notified().await,
        Some(time) => {
            tokio::select! {
                () = bell.notified() => {}
                () = sleep_until(time) => {}
            }
        }
    }
}

/// How long a failed attempt of a task is not repeated.
pub(super) const RETRY_PAUSE: Duration = Duration::from_millis(200);
