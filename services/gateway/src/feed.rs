//! From what is read to who is connected.
//!
//! One task, the reader, appends to the history and hands events out; clients that catch up read
//! the history at their own pace. The two meet without a gap and without a repeat because both go
//! by the events' numbers: a client is handed what comes from the very number on before which it has
//! read everything from the history.

use std::{
    cell::OnceCell,
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::RwLock;
use synapse_realtime::{
    close::CloseReason,
    hub::{Hub, Room},
    link::{Link, Pushed},
    outbox::Piece,
};
use synapse_rs::EntryId;
use tokio::{sync::watch, time::sleep};

use crate::{
    audience::Audience,
    client::{Client, Run},
    filters::{Filters, Verdicts},
    frames::{Encoded, Protocol},
    history::{Capacity, History, Past, before_last},
    metrics,
    position::Position,
    sealed::{Live, Sealed},
    streams::{Stream, StreamSet},
};

/// Sockets written one after the other: what waking another task costs is little beside so many.
const WRITTEN_TOGETHER: usize = 64;
/// Connections that are closed at once at least when all are to be, and the pause behind them: 2,000 a second find another
/// replica in no haste.
const CLOSED_TOGETHER: usize = 100;
const CLOSING_PAUSE: Duration = Duration::from_millis(50);
/// Events taken from the history at a time.
const PAGE: usize = 256;

/// How far events have been handed out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Every event with a lower number has been handed to everyone who is to get it.
    pub sequence: u64,
    /// The same as a place in the streams.
    pub position: Position,
}

/// Events on their way to clients.
#[derive(Debug)]
pub struct Feed {
    /// Who is connected.
    pub hub: Hub<Client>,
    /// Their conditions.
    pub(crate) filters: Filters,
    history: RwLock<History>,
    progress: watch::Sender<Progress>,
}

/// What a client that catches up is to do.
#[derive(Debug)]
pub enum Step {
    /// Take these.
    Take(Vec<Arc<Sealed>>),
    /// Read what is older than the history.
    ReadOlder,
    /// Wait until this process has read as far as the client has.
    Wait,
    /// Nothing more: events are handed to it as they come.
    Done,
}

impl Feed {
    /// Nothing read, nobody connected.
    pub fn new(capacity: Capacity) -> Self {
        Self {
            hub: Hub::default(),
            filters: Filters::default(),
            history: RwLock::new(History::new(capacity)),
            progress: watch::Sender::new(Progress::default()),
        }
    }

    /// How far events have been handed out, and to hear of more.
    pub fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.subscribe()
    }

    /// Where the history begins and ends.
    pub fn extent(&self) -> (Position, Position) {
        let history = self.history.read();
        (history.floor(), history.head())
    }

    // === for the reader ===

    /// The number of the next event.
    pub(crate) fn next_sequence(&self) -> u64 {
        self.history.read().next_sequence()
    }

    /// Takes events that were read, hands them out and says so. `head` is how far was read.
    pub(crate) fn publish(&self, events: &[Live], head: Position) {
        let next = {
            let mut history = self.history.write();
            for event in events {
                history.push(event.sealed.clone());
            }
            for stream in Stream::all() {
                history.advance(stream, head[stream]);
            }
            metrics::history(history.bytes());
            history.next_sequence()
        };
        if !events.is_empty() {
            self.deliver(events);
        }
        self.progress.send_replace(Progress { sequence: next, position: head });
    }

    /// Forgets a stream's past: what comes next follows this entry.
    pub(crate) fn restart(&self, stream: Stream, id: EntryId) {
        self.history.write().restart(stream, id);
        self.progress.send_modify(|progress| progress.position[stream] = id);
    }

    /// Bytes that wait for clients, together and for the one for whom most do.
    pub(crate) fn waiting_bytes(&self) -> (usize, usize) {
        let (mut sum, mut most) = (0, 0);
        self.hub.each(|client| {
            let waiting = client.link.waiting_bytes();
            sum += waiting;
            most = most.max(waiting);
        });
        (sum, most)
    }

    /// Ends every connection.
    pub fn close_all(&self, reason: CloseReason) {
        self.hub.each(|client| client.link.close(reason));
    }

    /// Ends every connection, a few at a time: all within so long.
    pub(crate) async fn close_by_and_by(&self, reason: CloseReason, within: Duration) {
        let mut links = Vec::with_capacity(self.hub.len());
        self.hub.each(|client| links.push(client.link.clone()));
        let (together, pause) = pace(links.len(), within);
        for (number, links) in links.chunks(together).enumerate() {
            if number > 0 {
                sleep(pause).await;
            }
            for link in links {
                link.close(reason);
            }
        }
        // Who has come meanwhile.
        self.close_all(reason);
    }

    fn deliver(&self, events: &[Live]) {
        let begin = Instant::now();
        let encoded = [const { OnceCell::new() }; Protocol::ALL.len()];
        let mut sent = [(0, 0); Protocol::ALL.len()];
        let mut to_flush = Vec::new();
        let verdicts = Verdicts::on(events);
        for run in runs(events) {
            let visit = |client: &Arc<Client>| {
                let protocol = client.protocol as usize;
                let encoded = encoded[protocol].get_or_init(|| Encoded::new(client.protocol, events));
                let offered = client.offer(&run, encoded, &verdicts);
                sent[protocol].0 += offered.count;
                sent[protocol].1 += offered.bytes;
                if offered.flush {
                    to_flush.push(client.link.clone());
                }
            };
            match &run.events[0].sealed.audience {
                Audience::Everyone => self.hub.each(visit),
                Audience::Room(room) => self.hub.each_in(room, visit),
            }
        }
        flush(to_flush);
        for protocol in Protocol::ALL {
            let (count, bytes) = sent[protocol as usize];
            metrics::sent(protocol, count, bytes);
        }
        metrics::filters_tried(verdicts.tried());
        metrics::broadcast(begin.elapsed());
    }

    /// Says something beside the events to those in a room that `is_meant`; how many get it.
    pub(crate) fn say(
        &self,
        room: &Room,
        frame: impl Fn(Protocol) -> Vec<u8>,
        is_meant: impl Fn(&Arc<Client>) -> bool,
    ) -> usize {
        let frames = [const { OnceCell::new() }; Protocol::ALL.len()];
        let (mut count, mut to_flush) = (0, Vec::new());
        self.hub.each_in(room, |client| {
            if !is_meant(client) {
                return;
            }
            let protocol = client.protocol;
            let frame = frames[protocol as usize].get_or_init(|| Piece::from(frame(protocol)));
            count += 1;
            if client.link.push(frame.clone()) == Pushed::FlushIt {
                to_flush.push(client.link.clone());
            }
        });
        flush(to_flush);
        count
    }

    // === for clients ===

    /// Hands a client events from now on; where it stands.
    pub(crate) fn follow(&self, client: &Client) -> Position {
        let history = self.history.read();
        client.release(history.next_sequence());
        history.head()
    }

    /// Stops handing a client events; the number before which it still gets all.
    pub(crate) fn hold(&self, client: &Client) -> u64 {
        let history = self.history.read();
        client.hold(history.next_sequence(), history.head());
        history.next_sequence()
    }

    /// What a client that catches up is to do next.
    pub(crate) fn next_step(&self, client: &Client, cursor: &Position, wanted: StreamSet) -> Step {
        let history = self.history.read();
        match history.after(cursor, wanted, PAGE) {
            Past::TooOld => Step::ReadOlder,
            Past::Events(events) if !events.is_empty() => Step::Take(events),
            Past::Events(_) if !history.head().is_at_or_after(cursor) => Step::Wait,
            Past::Events(_) => {
                client.release(history.next_sequence());
                Step::Done
            }
        }
    }

    /// The cursor before the last `count` events of these streams that a client wants.
    pub(crate) fn before_last(&self, count: usize, wanted: StreamSet, client: &Client) -> Position {
        let (events, floor, head) = {
            let history = self.history.read();
            (history.all(wanted), history.floor(), history.head())
        };
        before_last(count, &events, floor, head, |event| client.wants(event))
    }
}

/// How many connections are closed at a time, and how long the pause behind them is.
fn pace(count: usize, within: Duration) -> (usize, Duration) {
    let slots = within.as_secs_f64() / CLOSING_PAUSE.as_secs_f64();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a number of connections")]
    let together = (count as f64 / slots.max(1.0)).ceil() as usize;
    (together.max(CLOSED_TOGETHER), CLOSING_PAUSE.min(within))
}

/// Consecutive events with the same audience.
fn runs(events: &[Live]) -> impl Iterator<Item = Run<'_>> {
    let mut first = 0;
    events.chunk_by(|one, next| one.sealed.audience == next.sealed.audience).map(move |events| {
        let streams = events.iter().map(|event| event.sealed.stream).collect();
        let run = Run { events, first, streams };
        first += events.len();
        run
    })
}

/// Writes what waits for each: the first few itself, meanwhile the others by other tasks. Each of these ends after one
/// round of writes that do not wait, so nobody needs to end them.
fn flush(mut links: Vec<Arc<Link>>) {
    while links.len() > WRITTEN_TOGETHER {
        let together = links.split_off(links.len() - WRITTEN_TOGETHER);
        tokio::spawn(async move { write(&together) });
    }
    write(&links);
}

fn write(links: &[Arc<Link>]) {
    for link in links {
        link.flush();
    }
}

#[cfg(test)]
mod tests;
